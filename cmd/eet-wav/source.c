#include "source.h"

#include "cli.h"
#include "fdio.h"
#include "outfile.h"
#include "stop.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int
source_init(struct source *s, const char *path)
{
	struct stat st;
	const char *base;
	size_t stem;

	*s = (struct source){ .fd = -1, .pipe = -1, .end = UINT64_MAX };
	if (strcmp(path, "-") == 0) {
		s->label = "standard input";
		s->fd = STDIN_FILENO;
		if (fstat(s->fd, &st) == -1)
			return -1;
		s->regular = S_ISREG(st.st_mode);
		s->start = s->regular ? lseek(s->fd, 0, SEEK_CUR) : 0;
		return 0;
	}
	if (stat(path, &st) == -1 || (s->path = strdup(path)) == NULL)
		return -1;
	s->label = s->path;
	s->regular = S_ISREG(st.st_mode);
	base = strrchr(s->path, '/');
	base = base == NULL ? s->path : base + 1;
	s->dir_length = (size_t)(base - s->path);
	name_suffix(base, &stem);
	s->is_segment = name_parse(base, stem, &s->name);
	return 0;
}

void
source_free(struct source *s)
{
	if (s->fd != -1 && s->fd != STDIN_FILENO)
		close(s->fd);
	free(s->path);
}

int
source_open(struct source *s)
{
	int fd;

	if (s->fd != -1)
		return s->regular && lseek(s->fd, s->start, SEEK_SET) == -1 ? -1 : s->fd;
	/* A FIFO's open() waits for its writer. */
	do
		fd = open(s->path, O_RDONLY | O_CLOEXEC);
	while (fd == -1 && errno == EINTR && !stop_now());
	return fd;
}

static void
end_copy(struct source *s)
{
	if (s->pipe != -1 && s->pipe != STDIN_FILENO)
		close(s->pipe);
	s->pipe = -1;
}

void
source_close(struct source *s, int fd)
{
	if (fd != s->fd)
		close(fd);
	end_copy(s);
}

int
source_begin_copy(struct source *s, const char *dir)
{
	const char *where;
	int copy, pipe;

	if ((copy = outfile_scratch(dir, &where)) == -1) {
		cli_warn("%s: no temporary file", where);
		return -1;
	}
	if ((pipe = source_open(s)) == -1) {
		if (errno != EINTR)
			cli_warn("%s", s->label);
		close(copy);
		return -1;
	}
	s->fd = copy;
	s->pipe = pipe;
	s->regular = true;
	return 0;
}

int
source_pipe(const struct source *s)
{
	return s->pipe != -1 && lseek(s->fd, 0, SEEK_CUR) == (off_t)s->copied ? s->pipe : -1;
}

int
source_more(struct source *s)
{
	static uint8_t buf[1 << 16];
	ssize_t n = fdio_read(s->pipe, buf, sizeof buf), k;

	if (n == -1) {
		if (errno != EAGAIN)
			cli_warn("%s: offset %" PRIu64, s->label, s->copied);
		return -1;
	}
	if (n == 0)
		end_copy(s);
	/* Where the reader stands is left as it is. */
	for (const uint8_t *p = buf; n > 0; p += k, n -= k, s->copied += (uint64_t)k)
		if ((k = pwrite(s->fd, p, (size_t)n, (off_t)s->copied)) == -1) {
			cli_warn("%s: temporary file", s->label);
			return -1;
		}
	return 0;
}
