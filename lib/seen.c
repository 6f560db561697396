#include "seen.h"

#include "fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_NEXT   (UINT64_C(1) << 32)
#define MOST_TIME_S UINT64_C(253402300799) /* the end of the year 9999 */

/* Room for both numbers; what is longer is no line of ours. */
enum { LINE_SIZE = 32, DAY_S = 86400 };

static int
add(struct seen *s, const struct seen_line *line)
{
	if (s->n == s->capacity) {
		size_t capacity = s->capacity > 0 ? 2 * s->capacity : 16;
		struct seen_line *lines = realloc(s->lines, capacity * sizeof *lines);

		if (lines == NULL)
			return -1;
		s->lines = lines;
		s->capacity = capacity;
	}
	s->lines[s->n++] = *line;
	return 0;
}

/* A decimal number of at most 12 digits, without leading zeros.  The text after it; NULL: it is none. */
static const char *
number(const char *text, const char *end, uint64_t *o)
{
	const char *p = text;

	for (*o = 0; p < end && *p >= '0' && *p <= '9' && p - text < 12; p++)
		*o = 10 * *o + (uint64_t)(*p - '0');
	return p > text && *text != '0' ? p : NULL;
}

static bool
parse(const char *line, const char *end, struct seen_line *o)
{
	const char *p = number(line, end, &o->next);

	if (p == NULL || p == end || *p != ' ' || (p = number(p + 1, end, &o->time_s)) == NULL)
		return false;
	return p == end && o->next <= MOST_NEXT && o->time_s >= WIRE_CLOCK_SET_S &&
	    o->time_s <= MOST_TIME_S;
}

int
seen_read(struct seen *s, int fd)
{
	const size_t before = s->n;
	char buf[4096];
	size_t have = 0;
	bool foreign = false; /* what is in buf begins within a line longer than any of ours */
	ssize_t n;

	while ((n = fdio_read(fd, buf + have, sizeof buf - have)) > 0) {
		const char *start = buf, *end;
		struct seen_line line;

		have += (size_t)n;
		while ((end = memchr(start, '\n', have - (size_t)(start - buf))) != NULL) {
			if (!foreign && parse(start, end, &line) && add(s, &line) == -1) {
				s->n = before;
				return -1;
			}
			foreign = false;
			start = end + 1;
		}
		have -= (size_t)(start - buf);
		memmove(buf, start, have);
		if (have > LINE_SIZE) {
			foreign = true;
			have = 0;
		}
	}
	if (n == -1)
		s->n = before;
	return (int)n;
}

/* The file, regular, or -1 with errno. */
static int
open_file(int dirfd, int flags, mode_t mode, struct stat *sto)
{
	int fd = openat(dirfd, SEEN_FILE, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, mode), e;

	if (fd == -1)
		return -1;
	if (fstat(fd, sto) == 0) {
		if (S_ISREG(sto->st_mode))
			return fd;
		errno = EINVAL;
	}
	e = errno;
	close(fd);
	errno = e;
	return -1;
}

int
seen_load(struct seen *s, int dirfd)
{
	struct stat st;
	int fd = open_file(dirfd, O_RDONLY, 0, &st), status, e;

	if (fd == -1)
		return errno == ENOENT ? 0 : -1;
	status = seen_read(s, fd);
	e = errno;
	close(fd);
	errno = e;
	return status;
}

uint64_t
seen_at(const struct seen *s, uint32_t session, uint64_t now_s)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->lines[i].next > session && s->lines[i].time_s <= now_s + DAY_S)
			return s->lines[i].time_s;
	return 0;
}

/* Does it end within a line? */
static bool
is_torn(int fd, off_t size)
{
	char last = '\n';

	return size > 0 && (pread(fd, &last, 1, size - 1) != 1 || last != '\n');
}

int
seen_append(struct seen *s, int dirfd, mode_t mode, bool sync, uint64_t next, uint64_t time_s)
{
	const struct seen_line line = { next, time_s };
	char text[LINE_SIZE + 3];
	struct stat st;
	int fd = open_file(dirfd, O_RDWR | O_CREAT | O_APPEND, mode, &st), status, e;

	if (fd == -1)
		return -1;
	snprintf(text, sizeof text, "%s%" PRIu64 " %" PRIu64 "\n",
	    is_torn(fd, st.st_size) ? "\n" : "", next, time_s);
	if ((status = fdio_write_full(fd, text, strlen(text), NULL)) == -1 ||
	    (status = add(s, &line)) == -1) {
		e = errno;
		/* If this fails too, the next line ends the torn one first. */
		if (ftruncate(fd, st.st_size) == -1)
			status = -1;
		errno = e;
	} else if (sync && ((status = fdio_datasync(fd)) == -1 || st.st_size > 0)) {
		; /* it had its name before */
	} else if (sync) {
		status = fdio_sync(dirfd);
	}
	e = errno;
	close(fd);
	errno = e;
	return status;
}

void
seen_free(struct seen *s)
{
	free(s->lines);
	*s = (struct seen){ 0 };
}
