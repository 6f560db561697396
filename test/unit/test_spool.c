/* spool: which frame goes into which file, when files end, and what the index says of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <cmocka.h>

#include "scratch.h"
#include "index.h"
#include "segment.h"
#include "spool.h"

static const struct wire_handshake mono = { 7, 8000, 1, WIRE_PCM16, 4, 0, 0 };
static const struct wire_handshake other = { 9, 16000, 2, WIRE_PCM16, 8, 0, 0 };
static const struct wire_handshake coded = { 8, 8000, 1, WIRE_ADPCM, 8, 0, 0 };

/* 2026-01-31T10:15:00Z, where times in tests begin. */
#define T0 UINT64_C(1769854500000000)
#define MS UINT64_C(1000)
#define S  UINT64_C(1000000)

static atomic_int growing_synced; /* how often */

int
fdatasync(int fd)
{
	char link[64], file[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, file, sizeof file);
	if (n > 5 && memcmp(file + n - 5, ".part", 5) == 0)
		atomic_fetch_add(&growing_synced, 1);
	return (int)syscall(SYS_fdatasync, fd);
}

static atomic_bool index_is_full; /* there is no space for a line */

ssize_t
write(int fd, const void *buf, size_t len)
{
	char link[64], file[PATH_MAX] = "";

	if (index_is_full) {
		snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		if (readlink(link, file, sizeof file - 1) > 0 &&
		    strstr(file, "/" INDEX_FILE) != NULL) {
			errno = ENOSPC;
			return -1;
		}
	}
	return syscall(SYS_write, fd, buf, len);
}

static struct scratch place;
static struct spool_options options;
static bool take_away; /* whoever is told of a segment removes it, when there is no room */
static char told[4][SPOOL_TEXT]; /* what is to be removed */
static size_t n_told;
static char *reports; /* of the spool, one a line */
static size_t reports_size;
static FILE *reports_file;

/* The next write to a file of this session fails with that error, or all do; 0: none. */
static uint32_t failing_session;
static int failing_error;
static bool failing_always;
static off_t largest_file; /* of logs, as the file system allows it; 0: any */

static bool
is_of_session(int fd, uint32_t session)
{
	char self[64], path[PATH_MAX], end[40];
	ssize_t n;

	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	snprintf(end, sizeof end, "_s%" PRIu32 ".eet.part", session);
	n = readlink(self, path, sizeof path - 1);
	path[n > 0 ? n : 0] = '\0';
	return strstr(path, end) != NULL;
}

ssize_t
writev(int fd, const struct iovec *iov, int n)
{
	if (failing_session != 0 && is_of_session(fd, failing_session)) {
		if (!failing_always)
			failing_session = 0;
		errno = failing_error;
		return -1;
	}
	if (largest_file > 0) {
		off_t size = lseek(fd, 0, SEEK_END);
		struct iovec part = iov[0];

		if (size >= largest_file) {
			errno = EFBIG;
			return -1;
		}
		if (part.iov_len > (size_t)(largest_file - size))
			part.iov_len = (size_t)(largest_file - size);
		return syscall(SYS_writev, fd, &part, 1);
	}
	return syscall(SYS_writev, fd, iov, n);
}

/* The session numbers of the next spool go on. */
static void
scratch_empty_but_next(void)
{
	struct dirent **names;
	int n = scratch_names(&place, &names);

	while (n-- > 0) {
		if (strcmp(names[n]->d_name, ".next") != 0)
			assert_int_equal(unlinkat(place.fd, names[n]->d_name, 0), 0);
		free(names[n]);
	}
	free(names);
}

/* The report's text less the directory. */
static void
note(const char *kind, const char *text)
{
	size_t len = strlen(place.path);

	if (text != NULL && strncmp(text, place.path, len) == 0)
		text += len + 1;
	fprintf(reports_file, "%s %s\n", kind, text);
}

static void
report(void *arg, const struct spool_report *r)
{
	assert_ptr_equal(arg, &options);
	switch (r->kind) {
	case SPOOL_SEGMENT:
		assert_non_null(r->line);
		assert_non_null(strstr(r->line, "\"event\":\"segment\""));
		note("segment", r->eet);
		if (r->wav != NULL)
			note("wav", r->wav);
		if (take_away) {
			assert_true(n_told + 2 <= sizeof told / sizeof told[0]);
			snprintf(told[n_told++], SPOOL_TEXT, "%s", r->eet);
			snprintf(told[n_told++], SPOOL_TEXT, "%s", r->wav);
		}
		if (r->text != NULL)
			note("text", r->text);
		break;
	case SPOOL_SESSION:
		assert_non_null(strstr(r->line, "\"event\":\"session\""));
		note("session", strstr(r->line, "\"session\":"));
		break;
	case SPOOL_WARNING: note("warning", r->text); break;
	case SPOOL_FAILURE: note("failure", r->text); break;
	case SPOOL_DAMAGE: note("damage", r->text); break;
	default: note("note", r->text); break;
	}
	fflush(reports_file);
}

static int
set_up(void **state)
{
	(void)state;
	place = scratch_new();
	spool_defaults(&options);
	options.sync = SPOOL_SYNC_NONE;
	options.report = report;
	options.arg = &options;
	reports_file = open_memstream(&reports, &reports_size);
	fflush(reports_file);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	fclose(reports_file);
	free(reports);
	umount2(place.path, MNT_DETACH); /* if it was one */
	scratch_free(&place);
	return 0;
}

static struct spool *
open_spool(void)
{
	char text[SPOOL_TEXT] = "unchanged";
	struct spool *sp = spool_open(place.path, &options, text);

	if (sp == NULL)
		fail_msg("%s: %s", text, strerror(errno));
	assert_string_equal(text, "");
	return sp;
}

/* Wait until there is something to reap, and reap it. */
static int
reap(struct spool *sp)
{
	struct pollfd p = { .fd = spool_fd(sp), .events = POLLIN };

	assert_true(poll(&p, 1, 300000) == 1);
	return spool_reap(sp);
}

static void
put(struct spool *sp, const struct log_record *rec)
{
	while (spool_put(sp, rec) == -1) {
		assert_int_equal(errno, EAGAIN);
		assert_true(reap(sp) >= 0);
	}
}

static void
complete(struct spool *sp)
{
	int n;

	while ((n = spool_reap(sp)) == 0)
		reap(sp);
	assert_int_equal(n, 1);
}

/* Feed a log to a spool, records up to the end of what is given. */
static void
feed(struct spool *sp, struct log_reader *r, const struct bytes *log, bool end)
{
	struct log_record rec;
	enum log_event e;

	log_window(r, log->p, log->len);
	if (end)
		log_eof(r);
	while ((e = log_next(r, &rec)) != LOG_MORE && e != LOG_END)
		put(sp, &rec);
	assert_int_equal(e, end ? LOG_END : LOG_MORE);
	assert_int_equal(spool_flush(sp), 0);
}

/* --sync TIME: what came while the disk was syncing is synced behind that, though nothing more comes. */
static void
synced_in_time(void **state)
{
	struct log_reader *r = log_new(-1, NULL);
	struct bytes first = { 0 }, second = { 0 };
	struct spool *sp;

	(void)state;
	options.sync = SPOOL_SYNC_SEGMENT;
	options.sync_us = S;
	atomic_store(&growing_synced, 0);
	sp = open_spool();
	put_open(&first, 1, T0, &mono, "");
	put_mux_frame(&first, 1, T0, WIRE_PCM16, 0, 8);
	put_mux_frame(&second, 1, T0 + S, WIRE_PCM16, 1, 8);
	feed(sp, r, &first, false);
	feed(sp, r, &second, false);
	while (atomic_load(&growing_synced) < 2)
		assert_true(reap(sp) >= 0);
	spool_close(sp);
	log_free(r);
	bytes_free(&first);
	bytes_free(&second);
}

/* Record a log from its beginning to its end, in one go; the log is freed. */
static void
record(struct bytes *log)
{
	struct spool *sp = open_spool();
	struct log_reader *r = log_new(-1, NULL);

	feed(sp, r, log, true);
	complete(sp);
	spool_close(sp);
	log_free(r);
	bytes_free(log);
}

static void
assert_list(const char *expected)
{
	char *list = scratch_list(&place), *files = list;

	/* The number of the next session is beside them. */
	if (strncmp(list, ".next\n", 6) == 0)
		files += 6;
	assert_string_equal(files, expected);
	free(list);
}

/* A value in a line of the index, quotes included. */
static const char *
value(const char *line, const char *key)
{
	static char out[4][200];
	static unsigned turn;
	char quoted[40], *o = out[turn++ % 4];
	const char *p;
	size_t n;

	snprintf(quoted, sizeof quoted, "\"%s\":", key);
	p = strstr(line, quoted);
	if (p == NULL)
		return "missing";
	p += strlen(quoted);
	n = *p == '"' ? strcspn(p + 1, "\"") + 2 : strcspn(p, ",}");
	snprintf(o, 200, "%.*s", (int)n, p);
	return o;
}

/*
 * The index, a line each: the name's time and session of a segment, its first seq, its frames, and
 * the gap before it; or a session, its frames and close code.
 */
static void
assert_index(const char *expected)
{
	struct bytes index = scratch_read(&place, INDEX_FILE);
	char *text, *line, *rest;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	bytes_add(&index, "", 1);
	for (line = (char *)index.p; (rest = strchr(line, '\n')) != NULL; line = rest + 1) {
		*rest = '\0';
		if (strstr(line, "{\"event\":\"segment\"") == line) {
			const char *eet = value(line, "eet"), *time = strrchr(eet, 'T');

			fprintf(out, "%.*s s%s %s+%s", 11, time + 1, value(line, "session"),
			    value(line, "first_seq"), value(line, "frames"));
			if (strcmp(value(line, "gap_before"), "0") != 0)
				fprintf(out, " gap %s", value(line, "gap_before"));
			fprintf(out, "%s\n",
			    strcmp(value(line, "recovered"), "true") == 0 ? " recovered" : "");
		} else {
			fprintf(out, "end of s%s %s %s\n", value(line, "session"),
			    value(line, "frames"), value(line, "close_code"));
		}
	}
	assert_string_equal(line, "");
	fclose(out);
	assert_string_equal(text, expected);
	free(text);
	bytes_free(&index);
}

/* The segments of a session joined, less the repeated handshakes: what was sent. */
static struct bytes
joined(uint32_t session)
{
	struct dirent **names;
	struct bytes all = { 0 };
	char end[32];
	int n = scratch_names(&place, &names);

	snprintf(end, sizeof end, "_s%" PRIu32 ".eet", session);
	for (int i = 0; i < n; i++) {
		size_t len = strlen(names[i]->d_name);

		if (len > strlen(end) && strcmp(names[i]->d_name + len - strlen(end), end) == 0) {
			struct bytes b = scratch_read(&place, names[i]->d_name);
			size_t skip = all.len > 0 ? WIRE_HANDSHAKE_SIZE : 0;

			if (skip > 0)
				assert_memory_equal(b.p, all.p, skip);
			bytes_add(&all, b.p + skip, b.len - skip);
			bytes_free(&b);
		}
		free(names[i]);
	}
	free(names);
	return all;
}

/*
 * ---- One session ----
 */

static void
session_and_its_files(void **state)
{
	struct bytes b = { 0 }, eet, sent = { 0 }, index;

	(void)state;
	put_open(&b, 5, T0, &mono, "peer=1.2.3.4:5\ntag=00:1B\n");
	put_mux_frame(&b, 5, T0 + 250 * MS + 1, WIRE_PCM16, 9, 8);
	put_mux_frame(&b, 5, T0 + 251 * MS, WIRE_PCM16, 11, 4);
	put_close(&b, 5, T0 + 300 * MS, 1001, "bye");
	record(&b);
	assert_list("index.jsonl\n"
		    "stream_7_00-1B_20260131T101500.250Z_s1.eet\n"
		    "stream_7_00-1B_20260131T101500.250Z_s1.wav\n");
	assert_string_equal(reports,
	    "segment stream_7_00-1B_20260131T101500.250Z_s1.eet\n"
	    "wav stream_7_00-1B_20260131T101500.250Z_s1.wav\n"
	    "session \"session\":1,\"stream_id\":7,\"tag\":\"00:1B\",\"peer\":\"1.2.3.4:5\","
	    "\"codec\":\"pcm\",\"layout\":null,\"rate\":8000,\"channels\":1,\"frame_samples\":4,"
	    "\"first_seq\":9,\"last_seq\":11,\"first_us\":1769854500250001,"
	    "\"last_us\":1769854500251000,\"frames\":2,\"samples\":10,\"seconds\":0.001250,"
	    "\"gaps\":1,\"gap_frames\":1,\"gap_before\":null,\"repeats\":0,\"restarts\":0,"
	    "\"damaged\":0,\"peak_dbfs\":-15.27,\"rms_dbfs\":-18.42,\"clipped\":0,"
	    "\"recovered\":false,\"error\":null,\"close_code\":1001,\"close_reason\":\"bye\"}\n");
	eet = scratch_read(&place, "stream_7_00-1B_20260131T101500.250Z_s1.eet");
	put_handshake(&sent, &mono);
	put_frame(&sent, WIRE_PCM16, 9, 8);
	put_frame(&sent, WIRE_PCM16, 11, 4);
	assert_int_equal(eet.len, sent.len);
	assert_memory_equal(eet.p, sent.p, sent.len);
	bytes_free(&eet);
	bytes_free(&sent);
	index = scratch_read(&place, INDEX_FILE);
	bytes_add(&index, "", 1);
	/* The segment's line has the same keys, and no close code. */
	assert_non_null(strstr((char *)index.p,
	    "{\"event\":\"segment\",\"eet\":\"stream_7_00-1B_20260131T101500.250Z_s1.eet\","
	    "\"wav\":\"stream_7_00-1B_20260131T101500.250Z_s1.wav\",\"session\":1,"
	    "\"stream_id\":7,\"tag\":\"00:1B\",\"peer\":\"1.2.3.4:5\","));
	assert_non_null(strstr((char *)index.p,
	    "\"clipped\":0,\"recovered\":false,\"error\":null}\n{\"event\":\"session\",\"eet\":null,"));
	bytes_free(&index);
}

static void
no_frames_no_file(void **state)
{
	struct bytes b = { 0 };

	(void)state;
	put_open(&b, 1, T0, &mono, "");
	put_open(&b, 2, T0, &mono, "");
	put_empty(&b, LOG_KIND_ROTATE, T0);
	put_close(&b, 1, T0 + 1, 1008, "x");
	record(&b);
	assert_list("index.jsonl\n");
	assert_index("end of s1 0 1008\nend of s2 0 1006\n");
}

static void
no_wav(void **state)
{
	struct bytes b = { 0 };

	(void)state;
	options.wav = false;
	put_open(&b, 1, T0, &coded, "");
	put_mux_frame(&b, 1, T0, WIRE_ADPCM, 0, 8);
	record(&b);
	assert_list("index.jsonl\nstream_8_20260131T101500.000Z_s1.eet\n");
	assert_non_null(strstr(reports, "text stream_8_20260131T101500.000Z_s1.eet: layout "));
}

/* Sessions of one stream_id, at one time, are two recordings. */
static void
same_stream_id(void **state)
{
	struct bytes b = { 0 }, first, second;

	(void)state;
	put_open(&b, 4, T0, &mono, "tag=a\n");
	put_open(&b, 2, T0, &mono, "tag=a\n");
	for (uint32_t i = 0; i < 10; i++) {
		put_mux_frame(&b, 2, T0 + i, WIRE_PCM16, i, 8);
		put_mux_frame(&b, 4, T0 + i, WIRE_PCM16, 100 + i, 6);
	}
	record(&b);
	assert_index("101500.000Z s1 100+10\nend of s1 10 1006\n101500.000Z s2 0+10\n"
		     "end of s2 10 1006\n");
	first = joined(1);
	second = joined(2);
	assert_int_equal(first.len, 32 + 10 * 18);
	assert_int_equal(second.len, 32 + 10 * 20);
	bytes_free(&first);
	bytes_free(&second);
}

/*
 * ---- Rotation ----
 */

static void
boundaries(void **state)
{
	/* t0 is 100.000; boundaries at 101, 102 … whatever the segments' first frames are. */
	const uint64_t t0 = T0 + 100 * S,
		       times[] = { t0, t0 + S - 1, t0 + S, t0 + S + 900 * MS, t0 + 2 * S - 1,
			       t0 + 2 * S + 1, t0 + 7 * S - 1, t0 + 7 * S, t0 + 8 * S - 1,
			       t0 + 8 * S };
	struct bytes b = { 0 }, sent = { 0 }, stored;

	(void)state;
	options.period_us = S;
	put_open(&b, 1, T0, &mono, "");
	put_handshake(&sent, &mono);
	for (uint32_t i = 0; i < sizeof times / sizeof times[0]; i++) {
		put_mux_frame(&b, 1, times[i], WIRE_PCM16, i, 8);
		put_frame(&sent, WIRE_PCM16, i, 8);
	}
	record(&b);
	assert_index("101640.000Z s1 0+2\n"
		     "101641.000Z s1 2+3\n"
		     "101642.000Z s1 5+1\n"
		     "101646.999Z s1 6+1\n"
		     "101647.000Z s1 7+2\n"
		     "101648.000Z s1 9+1\n"
		     "end of s1 10 1006\n");
	stored = joined(1);
	assert_int_equal(stored.len, sent.len);
	assert_memory_equal(stored.p, sent.p, sent.len);
	bytes_free(&stored);
	bytes_free(&sent);
}

/* k by division: a microsecond's rotation over eight thousand years is done at once. */
static void
far_boundaries(void **state)
{
	struct bytes b = { 0 };

	(void)state;
	options.period_us = 1;
	put_open(&b, 1, 0, &mono, "");
	put_mux_frame(&b, 1, 0, WIRE_PCM16, 0, 8);
	put_mux_frame(&b, 1, LOG_MAX_TIME - 1001, WIRE_PCM16, 1, 8);
	put_mux_frame(&b, 1, LOG_MAX_TIME, WIRE_PCM16, 2, 8);
	record(&b);
	assert_index("000000.000Z s1 0+1\n235959.998Z s1 1+1\n235959.999Z s1 2+1\n"
		     "end of s1 3 1006\n");
	scratch_empty(&place);
	/* The longest period never ends. */
	options.period_us = INT64_MAX;
	put_open(&b, 1, 0, &mono, "");
	put_mux_frame(&b, 1, LOG_MAX_TIME - 1, WIRE_PCM16, 0, 8);
	put_mux_frame(&b, 1, LOG_MAX_TIME, WIRE_PCM16, 1, 8);
	record(&b);
	assert_index("235959.999Z s1 0+2\nend of s1 2 1006\n");
}

static void
never(void **state)
{
	struct bytes b = { 0 };

	(void)state;
	options.period_us = 0;
	put_open(&b, 1, 0, &mono, "");
	put_mux_frame(&b, 1, 0, WIRE_PCM16, 0, 8);
	put_mux_frame(&b, 1, LOG_MAX_TIME, WIRE_PCM16, 1, 8);
	record(&b);
	assert_index("000000.000Z s1 0+2\nend of s1 2 1006\n");
}

/* Any record's time ends segments, of all sessions, in the order of their numbers. */
static void
ended_by_any_record(void **state)
{
	for (int kind = 0; kind < 5; kind++) {
		struct bytes b = { 0 };

		options.period_us = 10 * S;
		put_open(&b, 1, T0, &mono, "");
		put_open(&b, 2, T0, &mono, "");
		put_open(&b, 3, T0, &mono, "");
		put_open(&b, 4, T0, &mono, "");
		/* Their boundaries come in another order; the fourth's is not reached. */
		put_mux_frame(&b, 3, T0 + 1 * S, WIRE_PCM16, 0, 8);
		put_mux_frame(&b, 1, T0 + 2 * S, WIRE_PCM16, 0, 8);
		put_mux_frame(&b, 2, T0 + 3 * S, WIRE_PCM16, 0, 8);
		put_mux_frame(&b, 4, T0 + 3 * S + 1, WIRE_PCM16, 0, 8);
		if (kind == 0)
			put_empty(&b, LOG_KIND_TICK, T0 + 13 * S);
		else if (kind == 1)
			put_open(&b, 5, T0 + 13 * S, &mono, "");
		else if (kind == 2)
			put_mux_frame(&b, 4, T0 + 13 * S, WIRE_PCM16, 1, 8);
		else if (kind == 3)
			put_close(&b, 4, T0 + 13 * S, 1000, "");
		else
			put_record(&b, 0, 99, T0 + 13 * S, "", 0);
		put_mux_frame(&b, 3, T0 + 13 * S, WIRE_PCM16, 1, 8);
		record(&b);
		assert_index(kind == 1
			? "101502.000Z s1 0+1\n101503.000Z s2 0+1\n101501.000Z s3 0+1\n"
			  "end of s1 1 1006\nend of s2 1 1006\n101513.000Z s3 1+1\n"
			  "end of s3 2 1006\n101503.000Z s4 0+1\nend of s4 1 1006\n"
			  "end of s5 0 1006\n"
			: kind == 2 ? "101502.000Z s1 0+1\n101503.000Z s2 0+1\n101501.000Z s3 0+1\n"
				      "end of s1 1 1006\nend of s2 1 1006\n101513.000Z s3 1+1\n"
				      "end of s3 2 1006\n101503.000Z s4 0+2\nend of s4 2 1006\n"
			: kind == 3 ? "101502.000Z s1 0+1\n101503.000Z s2 0+1\n101501.000Z s3 0+1\n"
				      "101503.000Z s4 0+1\nend of s4 1 1000\n"
				      "end of s1 1 1006\nend of s2 1 1006\n101513.000Z s3 1+1\n"
				      "end of s3 2 1006\n"
				    : "101502.000Z s1 0+1\n101503.000Z s2 0+1\n101501.000Z s3 0+1\n"
				      "end of s1 1 1006\nend of s2 1 1006\n101513.000Z s3 1+1\n"
				      "end of s3 2 1006\n101503.000Z s4 0+1\nend of s4 1 1006\n");
		scratch_empty(&place);
	}
	(void)state;
}

static void
rotate(void **state)
{
	struct bytes b = { 0 };

	(void)state;
	put_open(&b, 1, T0, &mono, "");
	put_open(&b, 2, T0, &mono, "");
	put_open(&b, 3, T0, &mono, "");
	put_mux_frame(&b, 3, T0, WIRE_PCM16, 0, 8);
	put_mux_frame(&b, 1, T0 + 1, WIRE_PCM16, 0, 8);
	put_empty(&b, LOG_KIND_ROTATE, T0 + 2);
	put_empty(&b, LOG_KIND_ROTATE, T0 + 2); /* nothing has grown since */
	put_mux_frame(&b, 3, T0 + 15 * MS, WIRE_PCM16, 3, 8);
	put_close(&b, 3, T0 + 16 * MS, 1000, "");
	put_close(&b, 1, T0 + 16 * MS, 1000, "");
	put_close(&b, 2, T0 + 16 * MS, 1000, "");
	record(&b);
	assert_index("101500.000Z s1 0+1\n"
		     "101500.000Z s3 0+1\n"
		     "101500.015Z s3 3+1 gap 2\n"
		     "end of s3 2 1000\n"
		     "end of s1 1 1000\n"
		     "end of s2 0 1000\n");
}

/* The boundaries of a session stay where they were, whatever else ended a segment. */
static void
boundaries_after_rotate(void **state)
{
	struct bytes b = { 0 };

	(void)state;
	options.period_us = 10 * S;
	put_open(&b, 1, T0, &mono, "");
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 0, 8);
	put_empty(&b, LOG_KIND_ROTATE, T0 + 4 * S);
	put_mux_frame(&b, 1, T0 + 5 * S, WIRE_PCM16, 1, 8);
	put_mux_frame(&b, 1, T0 + 10 * S, WIRE_PCM16, 2, 8);
	put_mux_frame(&b, 1, T0 + 19 * S, WIRE_PCM16, 3, 8);
	put_empty(&b, LOG_KIND_TICK, T0 + 20 * S);
	put_mux_frame(&b, 1, T0 + 20 * S, WIRE_PCM16, 4, 8);
	record(&b);
	assert_index("101500.000Z s1 0+1\n101505.000Z s1 1+1\n101510.000Z s1 2+2\n"
		     "101520.000Z s1 4+1\nend of s1 5 1006\n");
}

static void
by_size(void **state)
{
	struct bytes b = { 0 };

	(void)state;
	options.size = 32 + 20 + 14; /* a handshake, a frame of 8 bytes, one of 2 */
	put_open(&b, 1, T0, &mono, "");
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 0, 8);
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 1, 2); /* just fits */
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 2, 8);
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 3, 4); /* 2 too many */
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 4, 0);
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 5, 0);
	record(&b);
	assert_index("101500.000Z s1 0+2\n101500.001Z s1 2+1\n101500.002Z s1 3+2\n"
		     "101500.003Z s1 5+1\nend of s1 6 1006\n");
	scratch_empty(&place);
	/* One frame is more than that already: then it is alone. */
	options.size = 1;
	put_open(&b, 1, T0, &mono, "");
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 0, 8);
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 1, 8);
	record(&b);
	assert_index("101500.000Z s1 0+1\n101500.001Z s1 1+1\nend of s1 2 1006\n");
}

/* Taken names are passed over, and a session's names sort as its segments follow each other. */
static void
names(void **state)
{
	struct bytes b = { 0 };

	(void)state;
	/* Session numbers go on after what is there, so names are taken by such as come later. */
	scratch_write(&place, "stream_7_20260131T101500.000Z_s2.wav", "", 0);
	put_open(&b, 1, T0, &mono, "");
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 0, 8);
	put_empty(&b, LOG_KIND_ROTATE, T0);
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 1, 8);
	put_empty(&b, LOG_KIND_ROTATE, T0);
	put_mux_frame(&b, 1, T0 + 1 * MS, WIRE_PCM16, 2, 8);
	put_empty(&b, LOG_KIND_ROTATE, T0 + 1 * MS);
	put_mux_frame(&b, 1, T0 + 2 * MS + 999, WIRE_PCM16, 3, 8);
	put_empty(&b, LOG_KIND_ROTATE, T0 + 3 * MS);
	put_mux_frame(&b, 1, T0 + 10 * MS, WIRE_PCM16, 4, 8);
	record(&b);
	assert_index("101500.000Z s3 0+1\n101500.001Z s3 1+1\n101500.002Z s3 2+1\n"
		     "101500.003Z s3 3+1\n101500.010Z s3 4+1\nend of s3 5 1006\n");
}

static void
taken_while_growing(void **state)
{
	struct spool *sp;
	struct log_reader *r = log_new(-1, NULL);
	struct bytes b = { 0 };

	(void)state;
	sp = open_spool();
	scratch_write(&place, "stream_7_20260131T101500.000Z_s1.eet", "mine", 4);
	put_open(&b, 1, T0, &mono, "");
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 0, 8);
	feed(sp, r, &b, false);
	assert_list("index.jsonl\nstream_7_20260131T101500.000Z_s1.eet\n"
		    "stream_7_20260131T101500.001Z_s1.eet.part\n");
	scratch_write(&place, "stream_7_20260131T101500.001Z_s1.eet", "mine", 4);
	scratch_write(&place, "stream_7_20260131T101500.002Z_s1.wav", "mine", 4);
	b.len = 0;
	feed(sp, r, &b, true);
	complete(sp);
	spool_close(sp);
	log_free(r);
	bytes_free(&b);
	assert_list("index.jsonl\nstream_7_20260131T101500.000Z_s1.eet\n"
		    "stream_7_20260131T101500.001Z_s1.eet\nstream_7_20260131T101500.002Z_s1.wav\n"
		    "stream_7_20260131T101500.003Z_s1.eet\nstream_7_20260131T101500.003Z_s1.wav\n");
	assert_index("101500.003Z s1 0+1\nend of s1 1 1006\n");
}

static void
session_numbers(void **state)
{
	static const char lines[] = "{\"event\":\"segment\",\"eet\":\"x.eet\",\"session\":41}\n";
	struct bytes b = { 0 };

	(void)state;
	scratch_write(&place, INDEX_FILE, lines, sizeof lines - 1);
	scratch_write(&place, "stream_1_x_20260131T101500.000Z_s17.wav", "", 0);
	put_open(&b, 1, T0, &mono, "");
	record(&b);
	put_open(&b, 77, T0, &mono, "");
	record(&b);
	assert_non_null(strstr(reports, "session \"session\":42,"));
	assert_non_null(strstr(reports, "session \"session\":43,"));
	/* The last number there is. */
	scratch_empty(&place);
	scratch_write(&place, "stream_1_x_20260131T101500.000Z_s4294967294.wav", "", 0);
	put_open(&b, 1, T0, &mono, "");
	record(&b);
	assert_non_null(strstr(reports, "session \"session\":4294967295,"));
	{
		struct spool *sp = open_spool();
		struct log_reader *r = log_new(-1, NULL);
		struct log_record rec;

		put_open(&b, 1, T0, &mono, "");
		log_window(r, b.p, b.len);
		assert_int_equal(log_next(r, &rec), LOG_OPEN);
		assert_int_equal(spool_put(sp, &rec), -1);
		assert_int_equal(errno, EOVERFLOW);
		assert_non_null(strstr(spool_failure(sp), "no session after 4294967295"));
		spool_close(sp);
		log_free(r);
		bytes_free(&b);
	}
}

/* What lies between a session's segments is counted where it is: before the second. */
static void
gap_before(void **state)
{
	struct bytes b = { 0 };

	(void)state;
	put_open(&b, 1, T0, &mono, "");
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 1000, 8); /* the first is no gap, whatever it is */
	put_empty(&b, LOG_KIND_ROTATE, T0);
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 1004, 8); /* 3 are missing */
	put_empty(&b, LOG_KIND_ROTATE, T0);
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 1004, 8); /* a repeat */
	put_empty(&b, LOG_KIND_ROTATE, T0);
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 1005, 8); /* what was due */
	put_empty(&b, LOG_KIND_ROTATE, T0);
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 0x80000000u + 1006, 8); /* a restart */
	put_empty(&b, LOG_KIND_ROTATE, T0);
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 1005, 8); /* … and the longest gap */
	record(&b);
	assert_index("101500.000Z s1 1000+1\n"
		     "101500.001Z s1 1004+1 gap 3\n"
		     "101500.002Z s1 1004+1\n"
		     "101500.003Z s1 1005+1\n"
		     "101500.004Z s1 2147484654+1\n"
		     "101500.005Z s1 1005+1 gap 2147483646\n"
		     "end of s1 6 1006\n");
}

static void
sessions_of_a_frame_log(void **state)
{
	struct bytes b = { 0 };

	(void)state;
	options.period_us = 1 * MS;
	put_handshake(&b, &mono);
	for (uint32_t i = 0; i < 4; i++)
		put_frame(&b, WIRE_PCM16, i, 8); /* 0.5 ms each */
	put_handshake(&b, &mono);
	put_frame(&b, WIRE_PCM16, 0, 8);
	record(&b);
	assert_index("000000.000Z s1 0+2\n000000.001Z s1 2+2\nend of s1 4 null\n"
		     "000000.000Z s2 0+1\nend of s2 1 null\n");
}

static void
sums_of_a_session(void **state)
{
	struct bytes b = { 0 };

	(void)state;
	put_open(&b, 1, T0, &coded, "");
	put_mux_frame(&b, 1, T0, WIRE_ADPCM, 0, 8);
	put_mux_frame(&b, 1, T0, WIRE_ADPCM, 1, 3); /* shorter than its header: damage */
	put_empty(&b, LOG_KIND_ROTATE, T0);
	put_mux_frame(&b, 1, T0, WIRE_ADPCM, 4, 8); /* before a segment, a gap is not filled */
	put_mux_frame(&b, 1, T0, WIRE_ADPCM, 6, 8);
	put_mux_frame(&b, 1, T0, WIRE_ADPCM, 6, 8);
	record(&b);
	assert_non_null(strstr(reports, "_s1.eet: damaged blocks: 1\n"));
	/* The stream's gaps: 2 and 1; samples are the WAVs': 8 + 8 + 8 and 8 of silence. */
	assert_non_null(strstr(reports,
	    "\"layout\":\"state\",\"rate\":8000,\"channels\":1,\"frame_samples\":8,\"first_seq\":0,"
	    "\"last_seq\":6,\"first_us\":1769854500000000,\"last_us\":1769854500000000,"
	    "\"frames\":5,\"samples\":32,\"seconds\":0.004000,\"gaps\":2,\"gap_frames\":3,"
	    "\"gap_before\":null,\"repeats\":1,\"restarts\":0,\"damaged\":1,"));
}

/*
 * ---- The directory ----
 */

static void
one_writer(void **state)
{
	struct spool *sp = open_spool();
	char text[SPOOL_TEXT], expected[SPOOL_TEXT];
	int fd = open(place.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	assert_null(spool_open(place.path, &options, text));
	assert_int_equal(errno, EBUSY);
	snprintf(expected, sizeof expected, "%s: another program records into it", place.path);
	assert_string_equal(text, expected);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), -1);
	spool_close(sp);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	assert_null(spool_open(place.path, &options, text));
	close(fd);
	spool_close(open_spool());
	spool_close(NULL);
}

static void
made_if_missing(void **state)
{
	char dir[300], text[SPOOL_TEXT], expected[SPOOL_TEXT];
	mode_t old = umask(0);
	struct stat st;

	(void)state;
	snprintf(dir, sizeof dir, "%s/new///", place.path);
	options.sync = SPOOL_SYNC_SEGMENT;
	spool_close(spool_open(dir, &options, text));
	umask(old);
	assert_int_equal(fstatat(place.fd, "new", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(fstatat(place.fd, "new/index.jsonl", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	unlinkat(place.fd, "new/index.jsonl", 0);
	unlinkat(place.fd, "new/.next", 0);

	snprintf(dir, sizeof dir, "%s/none/new", place.path);
	assert_null(spool_open(dir, &options, text));
	assert_int_equal(errno, ENOENT);
	snprintf(expected, sizeof expected, "%s: can't be created", dir);
	assert_string_equal(text, expected);

	scratch_write(&place, "file", "", 0);
	snprintf(dir, sizeof dir, "%s/file", place.path);
	assert_null(spool_open(dir, &options, text));
	assert_int_equal(errno, ENOTDIR);
	assert_string_equal(text, dir);

	assert_int_equal(mkdirat(place.fd, INDEX_FILE, 0700), 0);
	assert_null(spool_open(place.path, &options, text));
	assert_int_equal(errno, EISDIR);
	snprintf(expected, sizeof expected, "%s/index.jsonl", place.path);
	assert_string_equal(text, expected);
}

/* As long as a path can be, all of it is said. */
static void
long_path(void **state)
{
	char dir[PATH_MAX], part[NAME_MAX + 1], text[SPOOL_TEXT], expected[PATH_MAX + 64];
	struct spool *sp;
	struct log_reader *r = log_new(-1, NULL);
	struct bytes b = { 0 };
	size_t len = strlen(place.path);

	(void)state;
	memset(part, 'd', sizeof part);
	part[240] = '\0';
	strcpy(dir, place.path);
	for (int i = 0; i < 10; i++) {
		len += (size_t)snprintf(dir + len, sizeof dir - len, "/%s", part);
		assert_int_equal(mkdir(dir, 0700), 0);
	}
	assert_non_null(sp = spool_open(dir, &options, text));
	put_open(&b, 1, T0, &mono, "");
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 0, 8);
	feed(sp, r, &b, true);
	complete(sp);
	spool_close(sp);
	log_free(r);
	bytes_free(&b);
	snprintf(expected, sizeof expected, "segment %s/stream_7_20260131T101500.000Z_s1.eet\n",
	    dir + strlen(place.path) + 1);
	assert_int_equal(strncmp(reports, expected, strlen(expected)), 0);
	for (int i = 0; i < 10; i++) {
		int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		unlinkat(fd, INDEX_FILE, 0);
		unlinkat(fd, ".next", 0);
		unlinkat(fd, "stream_7_20260131T101500.000Z_s1.eet", 0);
		unlinkat(fd, "stream_7_20260131T101500.000Z_s1.wav", 0);
		close(fd);
		assert_int_equal(rmdir(dir), 0);
		*strrchr(dir, '/') = '\0';
	}
}

static void
modes(void **state)
{
	struct bytes b = { 0 };
	struct stat st;
	mode_t old = umask(0022);

	(void)state;
	options.mode = 0666;
	put_open(&b, 1, T0, &mono, "");
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 0, 8);
	record(&b);
	umask(old);
	assert_int_equal(fstatat(place.fd, "stream_7_20260131T101500.000Z_s1.eet", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(fstatat(place.fd, "stream_7_20260131T101500.000Z_s1.wav", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(fstatat(place.fd, INDEX_FILE, &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
}

static int
descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

/* A descriptor for each segment that grows; all are given back, also when it ends early. */
static void
gives_descriptors_back(void **state)
{
	int before = descriptors();
	struct spool *sp = open_spool();
	struct log_reader *r = log_new(-1, NULL);
	struct bytes b = { 0 };

	(void)state;
	for (uint32_t i = 1; i <= 20; i++) {
		put_open(&b, i, T0, &mono, "");
		put_mux_frame(&b, i, T0, WIRE_PCM16, 0, 8);
	}
	feed(sp, r, &b, false);
	assert_true(descriptors() >= before + 20);
	put_empty(&b, LOG_KIND_ROTATE, T0);
	b.p += b.len - 24; /* that one alone */
	b.len = 24;
	feed(sp, r, &b, false);
	assert_true(descriptors() < before + 20);
	spool_close(sp);
	assert_int_equal(descriptors(), before);
	log_free(r);
	free(b.p - 20 * (56 + 44));
}

/*
 * ---- The system says no ----
 */

/* Whatever else waits to be completed: at some point more is refused, and later taken. */
static void
queue_is_bounded(void **state)
{
	struct spool *sp = open_spool();
	struct log_reader *r = log_new(-1, NULL);
	struct log_record rec;
	struct bytes b = { 0 };
	unsigned refused = 0, i = 0;

	(void)state;
	options.wav = false;
	put_open(&b, 1, T0, &mono, "");
	put_close(&b, 1, T0, 1000, "");
	do {
		log_window(r, b.p, b.len);
		while (log_next(r, &rec) != LOG_MORE)
			while (spool_put(sp, &rec) == -1) {
				assert_int_equal(errno, EAGAIN);
				refused++;
				assert_true(reap(sp) >= 0);
			}
	} while (++i < 20000 && refused == 0);
	complete(sp);
	spool_close(sp);
	log_free(r);
	bytes_free(&b);
	assert_true(refused > 0);
	/* Every one of them was taken. */
	b = scratch_read(&place, INDEX_FILE);
	bytes_add(&b, "", 1);
	for (char *p = (char *)b.p; (p = strchr(p, '\n')) != NULL; p++)
		i--;
	assert_int_equal(i, 0);
	bytes_free(&b);
}

/* A file that may not grow any more ends a segment as --size does, between frames; nothing is wrong. */
static void
file_too_large(void **state)
{
	struct spool *sp = open_spool();
	struct log_reader *r = log_new(-1, NULL);
	struct bytes b = { 0 };

	(void)state;
	put_open(&b, 1, T0, &mono, "");
	for (uint32_t i = 0; i < 10; i++)
		put_mux_frame(&b, 1, T0 + i * 1000, WIRE_PCM16, i, 8);
	largest_file = 100; /* a handshake, three frames and a part of the fourth */
	feed(sp, r, &b, false);
	largest_file = 0;
	b.len = 0;
	feed(sp, r, &b, true);
	complete(sp);
	spool_close(sp);
	log_free(r);
	bytes_free(&b);
	b = joined(1);
	assert_int_equal(b.len, 32 + 10 * 20);
	bytes_free(&b);
	assert_index("101500.000Z s1 0+3\n101500.003Z s1 3+3\n101500.006Z s1 6+3\n"
		     "101500.009Z s1 9+1\nend of s1 10 1006\n");
	assert_null(strstr(reports, "failure"));
}

/*
 * One stream's file fails, each time for another reason: that file is left, the stream goes on in the
 * next, and those beside it do not notice.
 */
static void
one_file_fails_alone(void **state)
{
	static const int errors[] = { EIO, EACCES, ENOENT, EFBIG };

	(void)state;
	for (size_t k = 0; k < sizeof errors / sizeof errors[0]; k++) {
		struct spool *sp = open_spool();
		struct log_reader *r = log_new(-1, NULL);
		struct bytes b = { 0 }, all;
		char *list;

		for (uint32_t i = 1; i <= 10; i++) {
			put_open(&b, i, T0, &mono, "");
			put_mux_frame(&b, i, T0, WIRE_PCM16, 0, 8);
		}
		feed(sp, r, &b, false);
		b.len = 0;
		failing_session = (uint32_t)(10 * k + 5);
		failing_error = errors[k];
		for (uint32_t i = 1; i <= 10; i++) {
			put_mux_frame(&b, i, T0 + 1000, WIRE_PCM16, 1, 8);
			put_mux_frame(&b, i, T0 + 1000, WIRE_PCM16, 2, 8);
		}
		feed(sp, r, &b, true);
		complete(sp);
		spool_close(sp);
		log_free(r);
		bytes_free(&b);
		assert_int_equal(failing_session, 0);
		for (uint32_t i = 1; i <= 10; i++) {
			all = joined((uint32_t)(10 * k) + i);
			/* The first frame is in the file that failed, if it is there. */
			assert_int_equal(all.len,
			    i == 5 && errors[k] != EFBIG ? 32 + 2 * 20 : 32 + 3 * 20);
			bytes_free(&all);
		}
		list = scratch_list(&place);
		assert_int_equal(strstr(list, ".eet.part") != NULL, errors[k] != EFBIG);
		free(list);
		assert_int_equal(strstr(reports, "failure stream_7") != NULL, errors[k] != EFBIG);
		/* The next start completes what is left of it. */
		if (errors[k] != EFBIG) {
			sp = open_spool();
			complete(sp);
			spool_close(sp);
			all = joined((uint32_t)(10 * k) + 5);
			assert_int_equal(all.len, 32 + 3 * 20);
			bytes_free(&all);
		}
		fclose(reports_file);
		free(reports);
		reports_file = open_memstream(&reports, &reports_size);
		fflush(reports_file);
		scratch_empty_but_next();
	}
}

/* After the last name that there can be, a segment ends with its session: nothing is lost. */
static void
end_of_time(void **state)
{
	struct bytes b = { 0 };

	(void)state;
	options.size = 40;
	put_open(&b, 1, LOG_MAX_TIME - 2 * MS, &mono, "");
	for (uint32_t i = 0; i < 10; i++)
		put_mux_frame(&b, 1, LOG_MAX_TIME - 2 * MS + i * MS / 2, WIRE_PCM16, i, 8);
	put_empty(&b, LOG_KIND_ROTATE, LOG_MAX_TIME);
	put_mux_frame(&b, 1, LOG_MAX_TIME, WIRE_PCM16, 10, 8);
	record(&b);
	b = joined(1);
	assert_int_equal(b.len, 32 + 11 * 20);
	bytes_free(&b);
	assert_null(strstr(reports, "failure"));
}

/* A new file that fails before it holds a frame, as the one before it did: the disk is at fault. */
static void
every_file_fails(void **state)
{
	struct spool *sp = open_spool();
	struct log_reader *r = log_new(-1, NULL);
	struct log_record rec;
	struct bytes b = { 0 };

	(void)state;
	put_open(&b, 1, T0, &mono, "");
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 0, 8);
	failing_session = 1;
	failing_error = EIO;
	failing_always = true;
	log_window(r, b.p, b.len);
	while (log_next(r, &rec) != LOG_MORE)
		put(sp, &rec);
	assert_int_equal(spool_flush(sp), -1);
	assert_int_equal(errno, EIO);
	assert_non_null(strstr(spool_failure(sp), ".eet.part"));
	failing_always = false;
	failing_session = 0;
	spool_close(sp);
	log_free(r);
	bytes_free(&b);
}

/* The directory is removed: that is the end, at the latest with the next file. */
static void
directory_removed(void **state)
{
	struct spool *sp = open_spool();
	struct log_reader *r = log_new(-1, NULL);
	struct log_record rec;
	struct bytes b = { 0 };

	(void)state;
	put_open(&b, 1, T0, &mono, "");
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 0, 8);
	put_empty(&b, LOG_KIND_ROTATE, T0);
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 1, 8);
	log_window(r, b.p, b.len);
	assert_int_equal(log_next(r, &rec), LOG_OPEN);
	put(sp, &rec);
	assert_int_equal(log_next(r, &rec), LOG_FRAME);
	put(sp, &rec);
	assert_int_equal(spool_flush(sp), 0);
	scratch_empty(&place);
	assert_int_equal(rmdir(place.path), 0);
	assert_int_equal(log_next(r, &rec), LOG_ROTATE);
	put(sp, &rec); /* taken: it is completing that fails */
	assert_int_equal(log_next(r, &rec), LOG_FRAME);
	assert_int_equal(spool_put(sp, &rec), -1);
	assert_int_equal(errno, ENOENT);
	assert_non_null(strstr(spool_failure(sp), ".eet.part"));
	assert_int_equal(mkdir(place.path, 0700), 0);
	spool_close(sp);
	log_free(r);
	bytes_free(&b);
	close(place.fd);
	place.fd = open(place.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* What can't be completed has a line that says why, and others go on. */
static void
completing_fails_alone(void **state)
{
	struct spool *sp = open_spool();
	struct log_reader *r = log_new(-1, NULL);
	struct bytes b = { 0 }, index;

	(void)state;
	put_open(&b, 1, T0, &mono, "");
	put_open(&b, 2, T0, &other, "");
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 0, 8);
	put_mux_frame(&b, 2, T0, WIRE_PCM16, 0, 8);
	feed(sp, r, &b, false);
	assert_int_equal(unlinkat(place.fd, "stream_9_20260131T101500.000Z_s2.eet.part", 0), 0);
	b.len = 0;
	put_empty(&b, LOG_KIND_ROTATE, T0);
	put_mux_frame(&b, 2, T0, WIRE_PCM16, 1, 8);
	feed(sp, r, &b, true);
	complete(sp);
	spool_close(sp);
	log_free(r);
	bytes_free(&b);
	assert_true(scratch_has(&place, "stream_7_20260131T101500.000Z_s1.eet"));
	assert_true(scratch_has(&place, "stream_9_20260131T101500.001Z_s2.eet"));
	assert_non_null(strstr(reports, "failure stream_9_20260131T101500.000Z_s2.eet.part"));
	index = scratch_read(&place, INDEX_FILE);
	bytes_add(&index, "", 1);
	assert_non_null(strstr((char *)index.p,
	    "\"error\":\"stream_9_20260131T101500.000Z_s2.eet.part: No such file or directory\""));
	bytes_free(&index);
}

static void
resize(const char *size)
{
	assert_int_equal(
	    mount("none", place.path, "tmpfs", MS_REMOUNT | MS_NOSUID | MS_NODEV, size), 0);
}

/* What failed for want of space finds some more, and a bit more when that is not enough. */
static void
make_room(struct spool *sp, unsigned *times)
{
	static const char *const sizes[] = { "size=96k", "size=128k", "size=4m" };

	assert_int_equal(errno, ENOSPC);
	assert_non_null(strstr(spool_failure(sp), place.path));
	assert_true(*times < 20);
	resize(sizes[*times < 3 ? *times : 2]);
	++*times;
}

static void
try_again(struct spool *sp, unsigned *times)
{
	if (errno != EAGAIN)
		make_room(sp, times);
	if (spool_reap(sp) == -1)
		make_room(sp, times);
}

/* A full disk: nothing is lost, and it goes on by itself when there is space. */
static void
disk_full(void **state)
{
	struct bytes b = { 0 }, sent = { 0 }, stored;
	struct spool *sp;
	struct log_reader *r;
	struct log_record rec;
	unsigned full = 0;
	int n;

	(void)state;
	if (mount("none", place.path, "tmpfs", MS_NOSUID | MS_NODEV, "size=64k") == -1)
		skip(); /* needs root */
	close(place.fd);
	place.fd = open(place.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	sp = open_spool();
	r = log_new(-1, NULL);
	put_open(&b, 1, T0, &other, "");
	put_handshake(&sent, &other);
	for (uint32_t i = 0; i < 2000; i++) {
		put_mux_frame(&b, 1, T0 + i * 40 * MS, WIRE_PCM16, i, 32);
		put_frame(&sent, WIRE_PCM16, i, 32);
	}
	log_window(r, b.p, b.len);
	log_eof(r);
	for (unsigned i = 0; log_next(r, &rec) != LOG_END; i++) {
		while (spool_put(sp, &rec) == -1)
			try_again(sp, &full);
		while (i % 50 == 0 && spool_flush(sp) == -1)
			try_again(sp, &full);
	}
	assert_int_equal(spool_flush(sp), 0);
	while ((n = spool_reap(sp)) != 1) {
		if (n == -1)
			make_room(sp, &full);
		poll(&(struct pollfd){ .fd = spool_fd(sp), .events = POLLIN }, 1, 2000);
	}
	spool_close(sp);
	log_free(r);
	assert_true(full >= 3);
	stored = joined(1);
	assert_int_equal(stored.len, sent.len);
	assert_memory_equal(stored.p, sent.p, sent.len);
	bytes_free(&stored);
	bytes_free(&sent);
	bytes_free(&b);
	close(place.fd);
	assert_int_equal(umount(place.path), 0);
	place.fd = open(place.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void
remove_told(void)
{
	while (n_told > 0)
		assert_int_equal(unlink(told[--n_told]), 0);
}

/* Two end at once, and there is room for the WAV of one: who takes that away makes room. */
static void
room_for_one(void **state)
{
	static const struct wire_handshake big = { 7, 8000, 1, WIRE_PCM16, 1000, 0, 0 };
	struct bytes b = { 0 };
	struct spool *sp;
	struct log_reader *r;
	bool full = false;
	int n;

	(void)state;
	if (mount("none", place.path, "tmpfs", MS_NOSUID | MS_NODEV, "size=60k") == -1)
		skip(); /* needs root */
	close(place.fd);
	place.fd = open(place.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	put_open(&b, 1, T0, &big, "");
	put_open(&b, 2, T0, &big, "");
	for (uint32_t i = 0; i < 8; i++) {
		put_mux_frame(&b, 1, T0 + i, WIRE_PCM16, i, 2000);
		put_mux_frame(&b, 2, T0 + i, WIRE_PCM16, i, 2000);
	}
	put_empty(&b, LOG_KIND_ROTATE, T0 + S);
	take_away = true;
	sp = open_spool();
	r = log_new(-1, NULL);
	feed(sp, r, &b, true);
	while ((n = spool_reap(sp)) != 1) {
		assert_true(n == 0 || errno == ENOSPC);
		if (n == -1) {
			/* The one that has its room was told of, though the other waits. */
			assert_true(full || n_told == 2);
			full = true;
			remove_told();
		}
		poll(&(struct pollfd){ .fd = spool_fd(sp), .events = POLLIN }, 1, 2000);
	}
	spool_close(sp);
	log_free(r);
	bytes_free(&b);
	take_away = false;
	assert_true(full);
	remove_told();
	assert_list("index.jsonl\n");
	assert_index(
	    "101500.000Z s1 0+8\n101500.000Z s2 0+8\nend of s1 8 1006\nend of s2 8 1006\n");
	close(place.fd);
	assert_int_equal(umount(place.path), 0);
	place.fd = open(place.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* What has its name, and waits for space for its line, may be what is to make some. */
static void
removed_without_line(void **state)
{
	struct bytes b = { 0 };
	struct log_reader *r = log_new(-1, NULL);
	struct spool *sp;

	(void)state;
	options.keep.keep_bytes = 1;
	sp = open_spool();
	put_open(&b, 1, T0, &mono, "");
	put_mux_frame(&b, 1, T0, WIRE_PCM16, 0, 8);
	put_mux_frame(&b, 1, T0 + 20 * S, WIRE_PCM16, 1, 8);
	index_is_full = true;
	feed(sp, r, &b, false);
	while (strstr(reports, "101500.000Z_s1.eet: removed because of --keep-bytes") == NULL)
		if (reap(sp) == -1)
			assert_int_equal(errno, ENOSPC);
	assert_false(scratch_has(&place, "stream_7_20260131T101500.000Z_s1.eet"));
	assert_false(scratch_has(&place, "stream_7_20260131T101500.000Z_s1.wav"));
	assert_true(scratch_has(&place, "stream_7_20260131T101520.000Z_s1.eet.part"));
	/* Its line is written when there is space, and the next one is removed, too. */
	index_is_full = false;
	b.len = 0;
	feed(sp, r, &b, true);
	while (spool_reap(sp) != 1)
		reap(sp);
	assert_list("index.jsonl\n");
	assert_index("101500.000Z s1 0+1\n101520.000Z s1 1+1\nend of s1 2 1006\n");
	spool_close(sp);
	log_free(r);
	bytes_free(&b);
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(session_and_its_files),
		TEST(removed_without_line),
		TEST(no_frames_no_file),
		TEST(no_wav),
		TEST(same_stream_id),
		TEST(boundaries),
		TEST(far_boundaries),
		TEST(never),
		TEST(ended_by_any_record),
		TEST(rotate),
		TEST(boundaries_after_rotate),
		TEST(by_size),
		TEST(names),
		TEST(taken_while_growing),
		TEST(session_numbers),
		TEST(gap_before),
		TEST(sessions_of_a_frame_log),
		TEST(sums_of_a_session),
		TEST(one_writer),
		TEST(made_if_missing),
		TEST(long_path),
		TEST(modes),
		TEST(gives_descriptors_back),
		TEST(queue_is_bounded),
		TEST(file_too_large),
		TEST(one_file_fails_alone),
		TEST(end_of_time),
		TEST(every_file_fails),
		TEST(directory_removed),
		TEST(completing_fails_alone),
		TEST(synced_in_time),
		TEST(disk_full),
		TEST(room_for_one),
	};

	return cmocka_run_group_tests_name("spool", tests, NULL, NULL);
}
