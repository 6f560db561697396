#include "index.h"

#include "fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct text {
	char *p;
	size_t len;
};

__attribute__((format(printf, 2, 3))) static void
add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->p + t->len, INDEX_LINE + 1 - t->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->len += (size_t)n;
	if (t->len > INDEX_LINE)
		t->len = INDEX_LINE;
}

/* How many bytes of valid UTF-8 (RFC 3629) stand at s; 0: none. */
static size_t
utf8_length(const unsigned char *s)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = s[0] < 0x80 ? 1
	    : s[0] < 0xc2      ? 0
	    : s[0] < 0xe0      ? 2
	    : s[0] < 0xf0      ? 3
	    : s[0] < 0xf5      ? 4
			       : 0;
	uint32_t c;

	if (n < 2)
		return n;
	c = s[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

/* A JSON string (RFC 8259, section 7); what is not UTF-8 becomes U+FFFD. */
static void
add_string(struct text *t, const char *key, const char *value)
{
	const unsigned char *s = (const unsigned char *)value;

	add(t, ",\"%s\":", key);
	if (s == NULL || *s == '\0') {
		add(t, "null");
		return;
	}
	add(t, "\"");
	while (*s != '\0') {
		size_t n = utf8_length(s);

		if (n == 0)
			add(t, "\\ufffd");
		else if (*s < 0x20 || *s == 0x7f)
			add(t, "\\u%04x", *s);
		else if (*s == '"' || *s == '\\')
			add(t, "\\%c", *s);
		else
			add(t, "%.*s", (int)n, (const char *)s);
		s += n > 0 ? n : 1;
	}
	add(t, "\"");
}

static void
add_number(struct text *t, const char *key, uint64_t v)
{
	if (v == INDEX_UNKNOWN)
		add(t, ",\"%s\":null", key);
	else
		add(t, ",\"%s\":%" PRIu64, key, v);
}

static void
add_dbfs(struct text *t, const char *key, bool known, double v)
{
	if (known)
		add(t, ",\"%s\":%.2f", key, v);
	else
		add(t, ",\"%s\":null", key);
}

static struct text
begin(char *out, const char *event, const char *eet, const char *wav, uint32_t session)
{
	struct text t = { .p = out };

	add(&t, "{\"event\":\"%s\"", event);
	add_string(&t, "eet", eet);
	add_string(&t, "wav", wav);
	add_number(&t, "session", session);
	return t;
}

size_t
index_format(const struct index_entry *e, char out[INDEX_LINE + 1])
{
	const struct wire_handshake *f = e->format;
	struct text t = begin(out, e->event, e->eet, e->wav, e->session);
	double dbfs = 0;
	bool known;

	add_number(&t, "stream_id", f->stream_id);
	add_string(&t, "tag", e->tag);
	add_string(&t, "peer", e->peer);
	add_string(&t, "codec", wire_codec_name(f->codec));
	add_string(&t, "layout", e->layout);
	add_number(&t, "rate", f->sample_rate);
	add_number(&t, "channels", f->channels);
	add_number(&t, "frame_samples", f->frame_samples);
	add_number(&t, "first_seq", e->has_frames ? e->first_seq : INDEX_UNKNOWN);
	add_number(&t, "last_seq", e->has_frames ? e->last_seq : INDEX_UNKNOWN);
	add_number(&t, "first_us", e->first_us);
	add_number(&t, "last_us", e->last_us);
	add_number(&t, "frames", e->frames);
	add_number(&t, "samples", e->samples);
	add(&t, ",\"seconds\":%.6f", (double)e->samples / f->sample_rate);
	add_number(&t, "gaps", e->gaps);
	add_number(&t, "gap_frames", e->gap_frames);
	add_number(&t, "gap_before", e->gap_before);
	add_number(&t, "repeats", e->repeats);
	add_number(&t, "restarts", e->restarts);
	add_number(&t, "damaged", e->damaged);
	known = pcm_peak_dbfs(e->levels, &dbfs);
	add_dbfs(&t, "peak_dbfs", known, dbfs);
	known = pcm_rms_dbfs(e->levels, &dbfs);
	add_dbfs(&t, "rms_dbfs", known, dbfs);
	add_number(&t, "clipped", e->levels->clipped);
	add(&t, ",\"recovered\":%s", e->recovered ? "true" : "false");
	if (e->is_session) {
		add_number(&t, "close_code", e->close_code != 0 ? e->close_code : INDEX_UNKNOWN);
		add_string(&t, "close_reason", e->close_reason);
	}
	add(&t, "}\n");
	return t.len;
}

size_t
index_format_exec(const char *eet, const char *wav, uint32_t session, bool done,
    char out[INDEX_LINE + 1])
{
	struct text t = begin(out, "exec", eet, wav, session);

	add_string(&t, "state", done ? "done" : "pending");
	add(&t, "}\n");
	return t.len;
}

size_t
index_format_removed(const char *eet, const char *wav, uint32_t session, uint64_t bytes,
    const char *why, char out[INDEX_LINE + 1])
{
	struct text t = begin(out, "removed", eet, wav, session);

	add_number(&t, "bytes", bytes);
	add_string(&t, "why", why);
	add(&t, "}\n");
	return t.len;
}

/* Where the last whole line of fd ends. */
static off_t
whole_lines(int fd, off_t size)
{
	char buf[4096];

	while (size > 0) {
		size_t want = size < (off_t)sizeof buf ? (size_t)size : sizeof buf;
		ssize_t n = pread(fd, buf, want, size - (off_t)want);
		const char *nl;

		if (n != (ssize_t)want) {
			if (n >= 0)
				errno = EIO; /* it became shorter */
			return -1;
		}
		nl = memrchr(buf, '\n', want);
		if (nl != NULL)
			return size - (off_t)want + (nl - buf) + 1;
		size -= (off_t)want;
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
	if (end < st.st_size && ftruncate(fd, end) == -1)
		goto fail;
	*cuto = (uint64_t)(st.st_size - end);
	return fd;
fail:
	e = errno;
	close(fd);
	errno = e;
	return -1;
}

int
index_append(int fd, const char *line, size_t len)
{
	off_t before = lseek(fd, 0, SEEK_END);
	int e;

	if (before == -1)
		return -1;
	if (fdio_write_full(fd, line, len, NULL) == 0)
		return 0;
	e = errno;
	/* If this fails too, the torn line is cut by the next start. */
	if (ftruncate(fd, before) == -1)
		errno = e;
	errno = e;
	return -1;
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
		{ "{\"event\":\"removed\"", INDEX_REMOVED },
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
each_line(char *line, void (*fn)(void *arg, const struct index_item *item), void *arg)
{
	const char *session = value_of(line, "\"session\":");
	const char *eet = value_of(line, "\"eet\":\"");
	struct index_item item = { .eet = "" };
	char *end;
	unsigned long long n;

	if (!event_of(line, &item.event) || session == NULL || *session < '0' || *session > '9')
		return;
	n = strtoull(session, NULL, 10);
	if (n > UINT32_MAX)
		return;
	item.session = (uint32_t)n;
	if (eet != NULL && (end = strchr(eet, '"')) != NULL) {
		*end = '\0';
		item.eet = eet;
	}
	fn(arg, &item);
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
			if (!foreign)
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
