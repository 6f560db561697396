/* eet-listen's capture: nothing that holds a whole frame is cut off when it is appended to. */
#include "../../cmd/eet-listen/capture.h"

#include "cli.h"
#include "scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

enum { PAYLOAD = 1280, RECORDS = 12 };

static const struct wire_handshake pcm = {
	.stream_id = 7,
	.sample_rate = 8000,
	.channels = 1,
	.codec = WIRE_PCM16,
	.frame_samples = PAYLOAD / 2,
};

/* A log, and where its records begin. */
struct sample {
	struct bytes log;
	size_t at[RECORDS + 1]; /* the last one is where it ends */
	size_t n;
	bool last_is_frame;
};

/* What was said last. */
static char said[512];

static void __attribute__((format(printf, 1, 0))) say(const char *fmt, va_list ap)
{
	vsnprintf(said, sizeof said, fmt, ap);
}

void
cli_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}

void
cli_warnx(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}

void
cli_note(int level, const char *fmt, ...)
{
	(void)level, (void)fmt;
}

static void
next(struct sample *s)
{
	s->at[s->n++] = s->log.len;
}

/* A frame of silence: it looks like a power cut's zeros. */
static void
put_silence(struct bytes *log, uint64_t time_us, uint32_t seq)
{
	uint8_t frame[WIRE_FRAME_HEADER_SIZE + PAYLOAD] = { 0 };

	wire_pack_frame(frame, WIRE_PCM16, PAYLOAD, seq);
	put_record(log, 1, LOG_KIND_FRAME, time_us, frame, sizeof frame);
}

/* Frames of sound and of silence in turn, and what the log is to end with. */
static struct sample
sample(enum log_kind last, bool silent)
{
	struct sample s = { .last_is_frame = last == LOG_KIND_FRAME };
	uint32_t seq = 0;

	next(&s);
	put_open(&s.log, 1, 1000, &pcm, "tag=kitchen\n");
	while (s.n < RECORDS - 1) {
		next(&s);
		if (seq % 2 == 0)
			put_mux_frame(&s.log, 1, 2000 + seq, WIRE_PCM16, seq, PAYLOAD);
		else
			put_silence(&s.log, 2000 + seq, seq);
		seq++;
	}
	next(&s);
	if (last == LOG_KIND_CLOSE)
		put_close(&s.log, 1, 3000, 1000, "that was it");
	else if (last == LOG_KIND_TICK)
		put_empty(&s.log, LOG_KIND_TICK, 3000);
	else if (silent)
		put_silence(&s.log, 3000, seq);
	else
		put_mux_frame(&s.log, 1, 3000, WIRE_PCM16, seq, PAYLOAD);
	s.at[s.n] = s.log.len;
	return s;
}

static const struct {
	enum log_kind kind;
	bool silent;
} endings[] = {
	{ LOG_KIND_FRAME, false },
	{ LOG_KIND_FRAME, true },
	{ LOG_KIND_CLOSE, false },
	{ LOG_KIND_TICK, false },
};

/* The last place, up to that offset, at which a record begins or the log ends. */
static size_t
boundary(const struct sample *s, size_t offset)
{
	size_t i = s->n;

	while (s->at[i] > offset)
		i--;
	return s->at[i];
}

/*
 * Append to a capture of these bytes.  False: it was refused.  *kepto: how many are still there, of
 * the last record all or none: the records that are appended begin like any other.
 */
static bool
append(const struct scratch *dir, const struct sample *s, const uint8_t *p, size_t len,
    size_t *kepto)
{
	uint32_t session = 1;
	uint64_t last_us = 0;
	char path[160];
	struct bytes now;
	int fd;

	scratch_write(dir, "capture", p, len);
	snprintf(path, sizeof path, "%s/capture", dir->path);
	said[0] = '\0';
	fd = capture_open(path, true, &session, &last_us);
	now = scratch_read(dir, "capture");
	for (*kepto = 0; *kepto < len && *kepto < now.len && now.p[*kepto] == p[*kepto];)
		++*kepto;
	if (fd == -1) {
		assert_int_equal(now.len, len);
		assert_int_equal(*kepto, len);
		assert_int_not_equal(said[0], '\0');
	} else {
		close(fd);
		*kepto = boundary(s, *kepto);
	}
	bytes_free(&now);
	return fd != -1;
}

/* Whatever bit of magic or length is wrong, in whatever record. */
static void
one_flipped_bit(void **state)
{
	struct scratch dir = scratch_new();

	(void)state;
	for (size_t e = 0; e < sizeof endings / sizeof *endings; e++) {
		struct sample s = sample(endings[e].kind, endings[e].silent);

		for (size_t i = 0; i < s.n; i++)
			for (size_t bit = 0; bit < 64; bit++) {
				uint8_t *byte = s.log.p + s.at[i] + bit / 8;
				bool is_last = i == s.n - 1, taken;
				size_t kept;

				*byte ^= (uint8_t)(1 << bit % 8);
				taken = append(&dir, &s, s.log.p, s.log.len, &kept);
				*byte ^= (uint8_t)(1 << bit % 8);
				if (taken && is_last && !s.last_is_frame)
					assert_true(kept >= s.at[i]);
				else if (taken)
					assert_int_equal(kept, s.log.len);
				/* A record in front of others can't be missed. */
				if (!is_last)
					assert_false(taken);
			}
		bytes_free(&s.log);
	}
	scratch_free(&dir);
}

/* It is named, and what reads the rest. */
static void
where_it_is_damaged(void **state)
{
	struct scratch dir = scratch_new();
	struct sample s = sample(LOG_KIND_FRAME, false);
	char place[64];
	size_t kept;

	(void)state;
	s.log.p[s.at[5] + 7] ^= 0x40; /* longer than a record can be */
	assert_false(append(&dir, &s, s.log.p, s.log.len, &kept));
	snprintf(place, sizeof place, "offset %zu:", s.at[5]);
	assert_non_null(strstr(said, place));
	snprintf(place, sizeof place, "offset %zu,", s.at[6]);
	assert_non_null(strstr(said, place));
	assert_non_null(strstr(said, "eet-demux --recover"));
	bytes_free(&s.log);
	scratch_free(&dir);
}

static void
a_hole_anywhere(void **state)
{
	enum { HOLE = 512 };
	struct scratch dir = scratch_new();

	(void)state;
	for (size_t e = 0; e < sizeof endings / sizeof *endings; e++) {
		struct sample s = sample(endings[e].kind, endings[e].silent);
		struct bytes holed = { 0 };

		for (size_t from = 0; from + HOLE < s.log.len; from += 61) {
			size_t kept, last = s.at[s.n - 1];

			bytes_add(&holed, s.log.p, s.log.len);
			memset(holed.p + from, 0, HOLE);
			if (append(&dir, &s, holed.p, holed.len, &kept) && kept < s.log.len) {
				/* All that went is the last record, of which the hole took the start. */
				assert_true(kept >= last && from <= last + LOG_HEADER_SIZE);
				assert_false(s.last_is_frame && !endings[e].silent);
			}
			bytes_free(&holed);
		}
		bytes_free(&s.log);
	}
	scratch_free(&dir);
}

/* Cut off at any byte, with zeros after it or not, it loses its last record, which is not whole. */
static void
a_torn_end(void **state)
{
	enum { EMPTY_FRAME = LOG_HEADER_SIZE + WIRE_FRAME_HEADER_SIZE };
	static const size_t zeros[] = { 0, 1, 7, 4096 };
	struct scratch dir = scratch_new();
	struct sample s = sample(LOG_KIND_FRAME, false);

	(void)state;
	for (size_t len = 1; len <= s.log.len; len += len % 100 < 60 ? 1 : 13) {
		size_t whole = boundary(&s, len);

		for (size_t z = 0; z < sizeof zeros / sizeof *zeros; z++) {
			struct bytes torn = { 0 };
			uint8_t none[4096] = { 0 };
			size_t kept;

			bytes_add(&torn, s.log.p, len);
			bytes_add(&torn, none, zeros[z]);
			if (!append(&dir, &s, torn.p, torn.len, &kept))
				/* Zeros may make a whole frame of it: one without samples. */
				assert_true(zeros[z] > 0 && torn.len - whole == EMPTY_FRAME);
			else if (zeros[z] == 0)
				assert_int_equal(kept, whole);
			else /* zeros may complete a record, as far as its length goes */
				assert_true(kept >= whole);
			bytes_free(&torn);
		}
	}
	bytes_free(&s.log);
	scratch_free(&dir);
}

/* A sender may send anything as audio, records of a log too. */
static void
a_torn_record_of_records(void **state)
{
	enum { INNER = LOG_HEADER_SIZE };
	struct scratch dir = scratch_new();
	struct sample s = sample(LOG_KIND_FRAME, false);
	struct bytes frame = { 0 };
	uint8_t header[WIRE_FRAME_HEADER_SIZE];
	size_t start = s.log.len, inner, kept;

	(void)state;
	wire_pack_frame(header, WIRE_PCM16, PAYLOAD / INNER * INNER, 11);
	bytes_add(&frame, header, sizeof header);
	while (frame.len + INNER <= sizeof header + PAYLOAD)
		put_empty(&frame, LOG_KIND_TICK, 4000);
	put_record(&s.log, 1, LOG_KIND_FRAME, 4000, frame.p, frame.len);
	inner = start + LOG_HEADER_SIZE + sizeof header;
	/* Sound ones among what is left of it can't be told from those that a flipped bit hides. */
	assert_false(append(&dir, &s, s.log.p, inner + 10 * INNER, &kept));
	assert_false(append(&dir, &s, s.log.p, inner + 10 * INNER + 5, &kept));
	/* The beginning of one is none. */
	assert_true(append(&dir, &s, s.log.p, inner + INNER - 1, &kept));
	assert_int_equal(kept, start);
	bytes_free(&frame);
	bytes_free(&s.log);
	scratch_free(&dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_flipped_bit),
		cmocka_unit_test(where_it_is_damaged),
		cmocka_unit_test(a_hole_anywhere),
		cmocka_unit_test(a_torn_end),
		cmocka_unit_test(a_torn_record_of_records),
	};

	return cmocka_run_group_tests_name("capture", tests, NULL, NULL);
}
