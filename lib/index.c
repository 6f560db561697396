#include "index.h"

#include "fdio.h"
#include "json.h"
#include "name.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void
begin(struct json *j, char *out, const char *event, const char *eet, const char *wav,
    uint32_t session)
{
	json_begin(j, out, INDEX_LINE + 1);
	json_string(j, "event", event);
	json_string(j, "eet", eet);
	json_string(j, "wav", wav);
	json_number(j, "session", session);
}

size_t
index_format(const struct index_entry *e, char out[INDEX_LINE + 1])
{
	const struct wire_handshake *f = e->format;
	const bool facts = e->has_facts;
	struct json j;
	double dbfs = 0;
	bool known;

	begin(&j, out, e->event, e->eet, e->wav, e->session);
	json_number(&j, "stream_id", f != NULL ? f->stream_id : e->stream_id);
	json_string(&j, "tag", e->tag);
	json_string(&j, "peer", e->peer);
	json_string(&j, "codec", f != NULL ? wire_codec_name(f->codec) : NULL);
	json_string(&j, "layout", e->layout);
	json_number(&j, "rate", f != NULL ? f->sample_rate : INDEX_UNKNOWN);
	json_number(&j, "channels", f != NULL ? f->channels : INDEX_UNKNOWN);
	json_number(&j, "frame_samples", f != NULL ? f->frame_samples : INDEX_UNKNOWN);
	json_number(&j, "first_seq", e->has_frames ? e->first_seq : INDEX_UNKNOWN);
	json_number(&j, "last_seq", e->has_frames ? e->last_seq : INDEX_UNKNOWN);
	json_number(&j, "first_us", e->first_us);
	json_number(&j, "last_us", e->last_us);
	json_number(&j, "frames", facts ? e->frames : INDEX_UNKNOWN);
	json_number(&j, "samples", facts ? e->samples : INDEX_UNKNOWN);
	json_fixed(&j, "seconds", facts, 6, facts ? (double)e->samples / f->sample_rate : 0);
	json_number(&j, "gaps", facts ? e->gaps : INDEX_UNKNOWN);
	json_number(&j, "gap_frames", facts ? e->gap_frames : INDEX_UNKNOWN);
	json_number(&j, "gap_before", e->gap_before);
	json_number(&j, "repeats", facts ? e->repeats : INDEX_UNKNOWN);
	json_number(&j, "restarts", facts ? e->restarts : INDEX_UNKNOWN);
	json_number(&j, "damaged", facts ? e->damaged : INDEX_UNKNOWN);
	known = facts && pcm_peak_dbfs(e->levels, &dbfs);
	json_fixed(&j, "peak_dbfs", known, 2, dbfs);
	known = facts && pcm_rms_dbfs(e->levels, &dbfs);
	json_fixed(&j, "rms_dbfs", known, 2, dbfs);
	json_number(&j, "clipped", facts ? e->levels->clipped : INDEX_UNKNOWN);
	json_bool(&j, "recovered", e->recovered);
	json_string(&j, "error", e->error);
	if (e->is_session) {
		json_number(&j, "close_code", e->close_code != 0 ? e->close_code : INDEX_UNKNOWN);
		json_string(&j, "close_reason", e->close_reason);
	}
	return json_end(&j);
}

size_t
index_format_exec(const char *eet, const char *wav, uint32_t session, bool done,
    char out[INDEX_LINE + 1])
{
	struct json j;

	begin(&j, out, "exec", eet, wav, session);
	json_string(&j, "state", done ? "done" : "pending");
	return json_end(&j);
}

/* Where the last whole line of fd, of that size, ends: after its last newline.  -1: errno. */
static off_t
whole_lines(int fd, off_t size)
{
	char buf[8 * INDEX_LINE];

	while (size > 0) {
		off_t at = size > (off_t)sizeof buf ? size - (off_t)sizeof buf : 0;
		ssize_t n = pread(fd, buf, (size_t)(size - at), at);
		const char *nl = n > 0 ? memrchr(buf, '\n', (size_t)n) : NULL;

		if (n == -1)
			return -1;
		if (nl != NULL)
			return at + (nl - buf) + 1;
		size = at;
	}
	return 0;
}

int
index_open(int dirfd, mode_t mode, uint64_t *cuto)
{
	int fd = openat(dirfd, INDEX_FILE,
	    O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, mode);
	struct stat st;
	off_t end;
	int e;

	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == -1)
		goto fail;
	if (!S_ISREG(st.st_mode)) {
		errno = EINVAL;
		goto fail;
	}
	if ((end = whole_lines(fd, st.st_size)) < 0)
		goto fail;
	/* The cut is to be on the disk before a line is: else what was cut may come back around it. */
	if (end < st.st_size && (ftruncate(fd, end) == -1 || fdio_datasync(fd) == -1))
		goto fail;
	*cuto = (uint64_t)(st.st_size - end);
	return fd;
fail:
	e = errno;
	close(fd);
	errno = e;
	return -1;
}

/* One writer at a time: a line that was torn is cut off before the next one comes. */
static pthread_mutex_t appending = PTHREAD_MUTEX_INITIALIZER;

int
index_append(int fd, const char *line, size_t len)
{
	off_t before;
	int e = 0;

	pthread_mutex_lock(&appending);
	before = lseek(fd, 0, SEEK_END);
	if (before == -1 || fdio_write_full(fd, line, len, NULL) == -1)
		e = errno;
	/* If this fails too, only the next start can cut the torn line: none must follow it. */
	if (e != 0 && before != -1 && ftruncate(fd, before) == -1)
		e = EIO;
	pthread_mutex_unlock(&appending);
	errno = e;
	return e == 0 ? 0 : -1;
}

/* The text behind key in a line that index_format() wrote: quotes inside strings are escaped. */
static const char *
value_of(const char *line, const char *key)
{
	const char *p = strstr(line, key);

	return p != NULL ? p + strlen(key) : NULL;
}

static bool
event_of(const char *line, enum index_event *o)
{
	static const struct {
		const char *start;
		enum index_event event;
	} known[] = {
		{ "{\"event\":\"segment\"", INDEX_SEGMENT },
		{ "{\"event\":\"session\"", INDEX_SESSION },
		{ "{\"event\":\"exec\"", INDEX_EXEC_PENDING },
	};
	const char *state = value_of(line, "\"state\":\"");

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
		if (strncmp(line, known[i].start, strlen(known[i].start)) != 0)
			continue;
		*o = known[i].event;
		if (*o == INDEX_EXEC_PENDING && state != NULL && strncmp(state, "done\"", 5) == 0)
			*o = INDEX_EXEC_DONE;
		return true;
	}
	return false;
}

static void
each_line(const char *line, void (*fn)(void *arg, const struct index_item *item), void *arg)
{
	const char *session = value_of(line, "\"session\":");
	const char *eet = value_of(line, "\"eet\":\"");
	char file[NAME_FILE_SIZE] = "";
	struct index_item item = { .eet = file, .line = line };
	unsigned long long n;

	if (!event_of(line, &item.event) || session == NULL || *session < '0' || *session > '9')
		return;
	n = strtoull(session, NULL, 10);
	if (n > UINT32_MAX)
		return;
	item.session = (uint32_t)n;
	/* A longer one is no name of ours: cut, it is none either. */
	if (eet != NULL)
		snprintf(file, sizeof file, "%.*s", (int)strcspn(eet, "\""), eet);
	fn(arg, &item);
}

/*
 * Does text[0..len) hold a whole line of a completed segment that begins with start?  whole: text begins
 * a line.  One with zeros in it is damaged, and may be the end of another.
 */
static bool
holds(const char *text, size_t len, bool whole, const char *start)
{
	static const char complete[] = "\"error\":null";
	const char *end = text + len, *p = text, *stop;

	for (; (p = memmem(p, (size_t)(end - p), start, strlen(start))) != NULL; p++) {
		stop = memchr(p, '\n', (size_t)(end - p));
		if ((p > text ? p[-1] == '\n' : whole) && stop != NULL &&
		    memchr(p, '\0', (size_t)(stop - p)) == NULL &&
		    memmem(p, (size_t)(stop - p), complete, sizeof complete - 1) != NULL)
			return true;
	}
	return false;
}

int
index_has(int fd, const char *eet)
{
	char buf[8 * INDEX_LINE], start[NAME_FILE_SIZE + 64];
	off_t end = lseek(fd, 0, SEEK_END);

	snprintf(start, sizeof start, "{\"event\":\"segment\",\"eet\":\"%s\"", eet);
	while (end > 0) {
		off_t at = end > (off_t)sizeof buf ? end - (off_t)sizeof buf : 0;
		ssize_t n = pread(fd, buf, (size_t)(end - at), at);

		if (n == -1)
			return -1;
		if (holds(buf, (size_t)n, at == 0, start))
			return 1;
		/* A line that begins before this piece lies whole in the next. */
		end = at > 0 ? at + INDEX_LINE : 0;
	}
	return end == -1 ? -1 : 0;
}

int
index_each(int fd, void (*fn)(void *arg, const struct index_item *item), void *arg)
{
	char buf[8 * INDEX_LINE];
	bool foreign = false; /* it begins within a line longer than any of ours */
	size_t have = 0, start;
	off_t at = 0;
	ssize_t n;
	char *end;

	while ((n = pread(fd, buf + have, sizeof buf - have, at)) > 0) {
		at += n;
		have += (size_t)n;
		for (start = 0; (end = memchr(buf + start, '\n', have - start)) != NULL;
		     start = (size_t)(end + 1 - buf)) {
			*end = '\0';
			if (!foreign && strlen(buf + start) == (size_t)(end - (buf + start)))
				each_line(buf + start, fn, arg);
			foreign = false;
		}
		have -= start;
		memmove(buf, buf + start, have);
		if (have == sizeof buf) {
			foreign = true;
			have = 0;
		}
	}
	return (int)n;
}
