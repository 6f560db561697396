/* log: one reader for both kinds of log, whatever they hold and however they arrive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "logs.h"

static const struct wire_handshake pcm = { 7, 8000, 1, WIRE_PCM16, 4, 0, 1000 };
static const struct wire_handshake stereo = { 8, 44100, 2, WIRE_PCM16, 10, 0, 0 };
static const struct wire_handshake adpcm = { 9, 8000, 1, WIRE_ADPCM, 8, 0, 2000 };
static const struct log_options recover = { .recover = true };

/*
 * ---- A reading as a text, one line an event, so that two can be compared ----
 */

struct reading {
	const struct bytes *log;
	const struct log_options *options;
	char *text;
	size_t size;
	FILE *out;
	uint64_t offset;     /* of the event before */
	unsigned open;       /* sessions */
	uint64_t damage;     /* events */
	uint64_t damaged_to; /* the offset of what comes next */
	char wrongs[200];    /* the kinds of damage */
	FILE *wrong;
	size_t searched; /* up to where in the log frames were found */
};

static void
begin(struct reading *rd, const struct bytes *log, const struct log_options *o)
{
	*rd = (struct reading){ .log = log, .options = o };
	rd->out = open_memstream(&rd->text, &rd->size);
	assert_non_null(rd->out);
	rd->wrong = fmemopen(rd->wrongs, sizeof rd->wrongs, "w");
	assert_non_null(rd->wrong);
}

static void
note_session(struct reading *rd, const struct log_record *rec)
{
	fprintf(rd->out, " s%" PRIu32, rec->session->number);
	assert_int_equal(wire_max_payload(&rec->session->format),
	    wire_max_payload(&rec->session->stream.format));
}

/* What kind of damage it is, and how far it goes. */
static void
note_wrong(struct reading *rd, const struct log_record *rec)
{
	static const char *const names[] = { "", "RECORD", "LOST", "TAIL", "TORN", "ZEROS",
		"TIME" };
	const bool last =
	    rec->wrong == LOG_TAIL || rec->wrong == LOG_TORN || rec->wrong == LOG_ZEROS;

	fprintf(rd->wrong, "%s ", names[rec->wrong]);
	if (rec->wrong == LOG_TIME) {
		assert_int_equal(rec->skipped, 0);
	} else if (rec->wrong == LOG_RECORD || (rd->options != NULL && rd->options->recover)) {
		assert_true(rec->skipped > 0);
		assert_true((rec->offset + rec->skipped == rd->log->len) >= last);
		rd->damaged_to = rec->offset + rec->skipped;
	}
	for (uint64_t i = 0; rec->wrong == LOG_ZEROS && i < rec->skipped; i++)
		assert_int_equal(rd->log->p[rec->offset + i], 0);
}

/* Check what is always true of an event, and write it down. */
static void
note(struct reading *rd, const struct log_record *rec)
{
	static const char *const names[] = { "MORE", "OPEN", "FRAME", "CLOSE", "TICK", "ROTATE",
		"DAMAGE", "END", "ERROR" };
	const bool has_session =
	    rec->event == LOG_OPEN || rec->event == LOG_FRAME || rec->event == LOG_CLOSE;

	fprintf(rd->out, "%" PRIu64 " %s", rec->offset, names[rec->event]);
	assert_true(rec->offset >= rd->offset && rec->offset <= rd->log->len);
	assert_true(rec->offset >= rd->damaged_to);
	assert_true((rec->wrong != 0) == (rec->event == LOG_DAMAGE));
	rd->offset = rec->offset;
	assert_true(has_session == (rec->session != NULL));
	if (rec->record != NULL) {
		assert_true(rec->offset + rec->record_length <= rd->log->len);
		assert_memory_equal(rec->record, rd->log->p + rec->offset, rec->record_length);
	}
	if (has_session)
		note_session(rd, rec);
	if (rec->event != LOG_DAMAGE && rec->event != LOG_END)
		fprintf(rd->out, " @%" PRIu64, rec->time_us);
	switch (rec->event) {
	case LOG_OPEN:
		rd->open++;
		assert_int_equal(rec->length, WIRE_HANDSHAKE_SIZE);
		assert_memory_equal(rec->data, rec->session->handshake, WIRE_HANDSHAKE_SIZE);
		assert_true(rec->session->open_us == rec->time_us);
		assert_null(rec->session->user);
		rec->session->user = rd;
		fprintf(rd->out, " id=%" PRIu32 " tag=%s peer=%s %s",
		    rec->session->format.stream_id, rec->session->tag, rec->session->peer,
		    rec->text);
		break;
	case LOG_FRAME: {
		const uint8_t *found = memmem(rd->log->p + rd->searched,
		    rd->log->len - rd->searched, rec->data, rec->length);

		assert_ptr_equal(rec->session->user, rd);
		assert_ptr_equal(rec->frame.payload, rec->data + WIRE_FRAME_HEADER_SIZE);
		assert_int_equal(rec->length, rec->frame.length + WIRE_FRAME_HEADER_SIZE);
		assert_true(rec->frame.length <= wire_max_payload(&rec->session->format));
		assert_non_null(found);
		rd->searched = (size_t)(found - rd->log->p) + rec->length;
		fprintf(rd->out, " seq=%" PRIu32 " len=%" PRIu32 " kind=%d gap=%" PRIu32,
		    rec->frame.seq, rec->frame.length, (int)rec->step.kind, rec->step.gap);
		break;
	}
	case LOG_CLOSE:
		assert_true(rd->open > 0);
		rd->open--;
		assert_ptr_equal(rec->session->user, rd);
		assert_true(rec->made_up == (rec->record == NULL));
		fprintf(rd->out, " %d %s%s", rec->code, rec->reason, rec->made_up ? "made up" : "");
		break;
	case LOG_DAMAGE:
		rd->damage++;
		assert_true(rec->text[0] != '\0');
		note_wrong(rd, rec);
		fprintf(rd->out, " +%" PRIu64 " %s", rec->skipped, rec->text);
		break;
	case LOG_END: assert_int_equal(rd->open, 0); break;
	default: break;
	}
	fputc('\n', rd->out);
}

/* The text, to be freed by the caller. */
static char *
finish(struct reading *rd, struct log_reader *r, struct log_record *rec)
{
	assert_int_equal(rec->event, LOG_END);
	assert_int_equal(log_next(r, rec), LOG_END);
	assert_int_equal(log_damage(r), rd->damage);
	log_free(r);
	fclose(rd->out);
	fclose(rd->wrong);
	return rd->text;
}

/* Read a log through a pipe, in pieces: the first is of `first` bytes, the others of `step`. */
static char *
read_in_pieces(const struct bytes *log, const struct log_options *o, size_t first, size_t step)
{
	struct log_record rec;
	struct log_reader *r;
	struct reading rd;
	size_t done = 0, piece = first;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_non_null(r = log_new(fds[0], o));
	begin(&rd, log, o);
	for (;;) {
		if (log_next(r, &rec) != LOG_MORE) {
			note(&rd, &rec);
			if (rec.event == LOG_END)
				break;
			continue;
		}
		if (piece > log->len - done)
			piece = log->len - done;
		if (piece > 0) {
			assert_int_equal(write(fds[1], log->p + done, piece), piece);
			done += piece;
			piece = step;
		} else if (fds[1] != -1) {
			close(fds[1]);
			fds[1] = -1;
		}
		assert_int_equal(log_fill(r), fds[1] != -1);
	}
	close(fds[0]);
	if (fds[1] != -1)
		close(fds[1]);
	return finish(&rd, r, &rec);
}

/* Read a log of any size at once, as a program does with a file. */
static char *
read_file(const struct bytes *log, const struct log_options *o)
{
	int fd = memfd_create("log", MFD_CLOEXEC);
	struct log_record rec;
	struct log_reader *r;
	struct reading rd;

	assert_true(fd != -1);
	assert_int_equal(write(fd, log->p, log->len), log->len);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_non_null(r = log_new(fd, o));
	begin(&rd, log, o);
	do {
		assert_int_not_equal(log_get(r, &rec), LOG_ERROR);
		note(&rd, &rec);
	} while (rec.event != LOG_END);
	close(fd);
	return finish(&rd, r, &rec);
}

/* The kinds of damage in a log, and where the last of them begins. */
static void
assert_wrong(const struct bytes *log, const struct log_options *o, const char *expected,
    uint64_t offset)
{
	struct log_reader *r = log_new(-1, o);
	struct log_record rec;
	struct reading rd;
	uint64_t last = UINT64_MAX;

	assert_non_null(r);
	begin(&rd, log, o);
	log_window(r, log->p, log->len);
	log_eof(r);
	while (log_next(r, &rec) != LOG_END) {
		note(&rd, &rec);
		if (rec.event == LOG_DAMAGE)
			last = rec.offset;
	}
	free(finish(&rd, r, &rec));
	assert_string_equal(rd.wrongs, expected);
	assert_true(last == offset);
}

static void
assert_reads(const struct bytes *log, const struct log_options *o, const char *expected)
{
	char *text = read_file(log, o);

	assert_string_equal(text, expected);
	free(text);
}

/* Wherever it is cut into pieces, the events are the same. */
static void
assert_pieces(const struct bytes *log, const struct log_options *o)
{
	char *whole = read_file(log, o), *text;

	for (size_t first = 1; first < log->len; first++) {
		text = read_in_pieces(log, o, first, log->len);
		assert_string_equal(text, whole);
		free(text);
	}
	for (size_t step = 1; step < 40; step += step < 5 ? 1 : 7) {
		text = read_in_pieces(log, o, step, step);
		assert_string_equal(text, whole);
		free(text);
	}
	free(whole);
}

/*
 * ---- Sound logs ----
 */

static struct bytes
small_mux(void)
{
	struct bytes b = { 0 };

	put_open(&b, 1, 10, &pcm, "peer=127.0.0.1:4711\ntag=kitchen\n");
	put_mux_frame(&b, 1, 20, WIRE_PCM16, 5, 8);
	put_open(&b, 3, 20, &adpcm, "");
	put_mux_frame(&b, 3, 30, WIRE_ADPCM, 0, 8);
	put_mux_frame(&b, 1, 40, WIRE_PCM16, 8, 0);
	put_empty(&b, LOG_KIND_TICK, 50);
	put_close(&b, 1, 60, 1001, "bye");
	put_empty(&b, LOG_KIND_ROTATE, 70);
	put_mux_frame(&b, 3, 80, WIRE_ADPCM, 0, 3);
	return b;
}

static const char small_mux_events[] = "0 OPEN s1 @10 id=7 tag=kitchen peer=127.0.0.1:4711 \n"
				       "88 FRAME s1 @20 seq=5 len=8 kind=0 gap=0\n"
				       "132 OPEN s3 @20 id=9 tag= peer= \n"
				       "188 FRAME s3 @30 seq=0 len=8 kind=0 gap=0\n"
				       "232 FRAME s1 @40 seq=8 len=0 kind=1 gap=2\n"
				       "268 TICK @50\n"
				       "292 CLOSE s1 @60 1001 bye\n"
				       "321 ROTATE @70\n"
				       "345 FRAME s3 @80 seq=0 len=3 kind=2 gap=0\n"
				       "384 CLOSE s3 @80 1006 made up\n"
				       "384 END\n";

static struct bytes
small_frames(void)
{
	struct bytes b = { 0 };

	put_handshake(&b, &pcm);
	put_frame(&b, WIRE_PCM16, 4294967295, 8);
	put_frame(&b, WIRE_PCM16, 0, 2);
	put_frame(&b, WIRE_PCM16, 3, 0);
	put_handshake(&b, &adpcm);
	put_frame(&b, WIRE_ADPCM, 0, 8);
	put_handshake(&b, &adpcm);
	put_handshake(&b, &pcm);
	put_frame(&b, WIRE_PCM16, 1, 8);
	return b;
}

static const char small_frames_events[] = "0 OPEN s1 @1000000 id=7 tag= peer= \n"
					  "32 FRAME s1 @1000000 seq=4294967295 len=8 kind=0 gap=0\n"
					  "52 FRAME s1 @1000500 seq=0 len=2 kind=0 gap=0\n"
					  "66 FRAME s1 @1001625 seq=3 len=0 kind=1 gap=2\n"
					  "78 CLOSE s1 @1001625 0 made up\n"
					  "78 OPEN s2 @2000000 id=9 tag= peer= \n"
					  "110 FRAME s2 @2000000 seq=0 len=8 kind=0 gap=0\n"
					  "130 CLOSE s2 @2000000 0 made up\n"
					  "130 OPEN s3 @2000000 id=9 tag= peer= \n"
					  "162 CLOSE s3 @2000000 0 made up\n"
					  "162 OPEN s4 @1000000 id=7 tag= peer= \n"
					  "194 FRAME s4 @1000000 seq=1 len=8 kind=0 gap=0\n"
					  "214 CLOSE s4 @1000000 0 made up\n"
					  "214 END\n";

static void
both_kinds(void **state)
{
	struct bytes mux = small_mux(), frames = small_frames();

	(void)state;
	assert_reads(&mux, NULL, small_mux_events);
	assert_reads(&frames, NULL, small_frames_events);
	bytes_free(&mux);
	bytes_free(&frames);
}

static void
nothing_at_all(void **state)
{
	const struct bytes empty = { (uint8_t *)"", 0 };

	(void)state;
	assert_reads(&empty, NULL, "0 END\n");
	assert_reads(&empty, &recover, "0 END\n");
}

static void
in_pieces(void **state)
{
	struct bytes mux = small_mux(), frames = small_frames();

	(void)state;
	assert_pieces(&mux, NULL);
	assert_pieces(&frames, NULL);
	/* … damaged ones too. */
	for (size_t at = 100; at < 135; at += 7) {
		mux.p[at] ^= 0x55;
		frames.p[at] ^= 0x55;
		assert_pieces(&mux, NULL);
		assert_pieces(&mux, &recover);
		assert_pieces(&frames, NULL);
		assert_pieces(&frames, &recover);
		mux.p[at] ^= 0x55;
		frames.p[at] ^= 0x55;
	}
	bytes_free(&mux);
	bytes_free(&frames);
}

/* Windows begin and end between records; all the ways to divide nine records into such. */
static void
windows(void **state)
{
	static const size_t bounds[] = { 88, 132, 188, 232, 268, 292, 321, 345, 384 };
	struct bytes log = small_mux();

	(void)state;
	for (unsigned ways = 0; ways < 1u << 8; ways++) {
		struct log_reader *r = log_new(-1, NULL);
		struct log_record rec;
		struct reading rd;
		size_t done = 0, i = 0;
		uint8_t *window = NULL;
		char *text;

		assert_non_null(r);
		begin(&rd, &log, NULL);
		for (;;) {
			if (log_next(r, &rec) != LOG_MORE) {
				note(&rd, &rec);
				if (rec.event == LOG_END)
					break;
				continue;
			}
			assert_int_equal(log_offset(r), done);
			free(window);
			window = NULL;
			if (done == log.len) {
				log_eof(r);
				continue;
			}
			while (i < 8 && (ways & 1u << i) == 0)
				i++;
			/* A copy, so that nothing is looked at beyond or behind it. */
			window = malloc(bounds[i] - done);
			assert_non_null(window);
			memcpy(window, log.p + done, bounds[i] - done);
			log_window(r, window, bounds[i] - done);
			done = bounds[i++];
		}
		free(window);
		text = finish(&rd, r, &rec);
		assert_string_equal(text, small_mux_events);
		free(text);
	}
	bytes_free(&log);
}

/* The reader's pointers, offsets and answers, seen from close by. */
static void
what_a_record_says(void **state)
{
	struct bytes log = small_mux();
	struct log_reader *r = log_new(-1, NULL);
	struct log_record rec;

	(void)state;
	assert_int_equal(log_next(r, &rec), LOG_MORE);
	assert_false(log_is_mux(r));
	log_window(r, log.p, log.len);
	assert_int_equal(log_next(r, &rec), LOG_OPEN);
	assert_true(log_is_mux(r));
	assert_ptr_equal(rec.record, log.p);
	assert_int_equal(rec.record_length, 88);
	assert_int_equal(log_offset(r), 88);
	assert_int_equal(log_next(r, &rec), LOG_FRAME);
	assert_ptr_equal(rec.data, log.p + 88 + 24);
	assert_int_equal(rec.length, 20);
	assert_int_equal(rec.session->stream.frames, 1);
	assert_int_equal(rec.session->stream.expected, 6);
	log_free(r); /* with an open session */
	bytes_free(&log);
}

static void
open_again(void **state)
{
	struct bytes b = { 0 };

	(void)state;
	put_open(&b, 1, 10, &pcm, "");
	put_mux_frame(&b, 1, 10, WIRE_PCM16, 5, 8);
	put_open(&b, 1, 20, &adpcm, "");
	put_mux_frame(&b, 1, 20, WIRE_ADPCM, 5, 8);
	put_close(&b, 1, 30, 1000, "");
	assert_reads(&b, NULL,
	    "0 OPEN s1 @10 id=7 tag= peer= \n"
	    "56 FRAME s1 @10 seq=5 len=8 kind=0 gap=0\n"
	    "100 CLOSE s1 @20 1006 made up\n"
	    "100 OPEN s1 @20 id=9 tag= peer= \n"
	    "156 FRAME s1 @20 seq=5 len=8 kind=0 gap=0\n"
	    "200 CLOSE s1 @30 1000 \n"
	    "226 END\n");
	assert_pieces(&b, NULL);
	bytes_free(&b);
}

/* Two logs joined: nothing of the first goes on, the numbers begin again. */
static void
joined(void **state)
{
	struct bytes b = { 0 };

	(void)state;
	put_open(&b, 1, 100, &pcm, "");
	put_open(&b, 2, 110, &pcm, "");
	put_mux_frame(&b, 2, 110, WIRE_PCM16, 5, 8);
	put_open(&b, 1, 50, &adpcm, "");
	put_mux_frame(&b, 2, 60, WIRE_PCM16, 6, 8);
	put_close(&b, 1, 70, 1000, "");
	put_empty(&b, LOG_KIND_TICK, 5);
	assert_reads(&b, NULL,
	    "0 OPEN s1 @100 id=7 tag= peer= \n"
	    "56 OPEN s2 @110 id=7 tag= peer= \n"
	    "112 FRAME s2 @110 seq=5 len=8 kind=0 gap=0\n"
	    "156 CLOSE s1 @110 1006 made up\n"
	    "156 CLOSE s2 @110 1006 made up\n"
	    "156 OPEN s1 @50 id=9 tag= peer= \n"
	    "212 DAMAGE +44 FRAME of session 2, which is not open\n"
	    "256 CLOSE s1 @70 1000 \n"
	    "282 TICK @70\n"
	    "306 END\n");
	assert_pieces(&b, NULL);
	bytes_free(&b);
}

/*
 * ---- Times ----
 */

/* So many seconds after 2026-01-31T10:15:00Z, in microseconds. */
#define SECOND     1000000
#define SECONDS(n) ((uint64_t)(INT64_C(1769854500000000) + INT64_C(n) * SECOND))

/* What a reading of a mux log yields of each record, and what else. */
struct heard {
	unsigned n;
	struct {
		enum log_event event;
		uint64_t offset, time_us;
		uint32_t session;
	} records[64];
	unsigned damage, made_up_closes, made_up_rotates;
	uint64_t damage_offset;
};

static void
hear(struct heard *h, const struct bytes *log)
{
	struct log_reader *r = log_new(-1, NULL);
	struct log_record rec;

	memset(h, 0, sizeof *h);
	assert_non_null(r);
	log_window(r, log->p, log->len);
	log_eof(r);
	while (log_next(r, &rec) != LOG_END) {
		if (rec.event == LOG_DAMAGE) {
			assert_int_equal(rec.wrong, LOG_TIME);
			assert_int_equal(rec.skipped, 0);
			h->damage++;
			h->damage_offset = rec.offset;
		} else if (rec.made_up) {
			*(rec.event == LOG_ROTATE ? &h->made_up_rotates : &h->made_up_closes) += 1;
		} else {
			assert_in_range(h->n, 0, 63);
			h->records[h->n].event = rec.event;
			h->records[h->n].offset = rec.offset;
			h->records[h->n].time_us = rec.time_us;
			h->records[h->n++].session = rec.session != NULL ? rec.session->number : 0;
		}
	}
	log_free(r);
}

/* Two streams, a frame every 20 ms from one of them, for a while; the second one stays open. */
static struct bytes
busy_log(void)
{
	struct bytes b = { 0 };
	uint64_t t = SECONDS(0);

	put_open(&b, 1, t, &pcm, "");
	put_open(&b, 2, t += 20000, &adpcm, "");
	for (uint32_t seq = 0; seq < 6; seq++) {
		put_mux_frame(&b, 1, t += 20000, WIRE_PCM16, seq, 8);
		put_mux_frame(&b, 2, t += 20000, WIRE_ADPCM, seq, 8);
	}
	put_empty(&b, LOG_KIND_TICK, t += SECOND);
	put_close(&b, 1, t += 20000, 1000, "");
	put_empty(&b, LOG_KIND_ROTATE, t += 20000);
	put_mux_frame(&b, 2, t += 20000, WIRE_ADPCM, 6, 8);
	return b;
}

/* Whatever bit of whatever time is flipped: nothing ends, and all other times are within 10 s. */
static void
flipped_times(void **state)
{
	struct bytes b = busy_log();
	struct heard sound, h;

	(void)state;
	hear(&sound, &b);
	assert_int_equal(sound.n, 18);
	assert_int_equal(sound.damage, 0);
	assert_int_equal(sound.made_up_closes, 1);
	assert_int_equal(sound.records[17].time_us, SECONDS(1) + 16 * 20000);
	for (unsigned i = 0; i < sound.n; i++)
		for (unsigned bit = 0; bit < 64; bit++) {
			uint8_t *at = b.p + sound.records[i].offset + 16 + bit / 8;

			*at ^= (uint8_t)(1 << bit % 8);
			hear(&h, &b);
			*at ^= (uint8_t)(1 << bit % 8);
			assert_int_equal(h.n, sound.n);
			assert_int_equal(h.made_up_closes, 1);
			assert_int_equal(h.made_up_rotates, 0);
			/* Less than ten seconds can't be told from the truth; the last one is no damage. */
			assert_int_equal(h.damage > 0,
			    bit > 23 && i < sound.n - 1 &&
				/* an OPEN somewhat before the rest */
				!(i == 0 && bit < 32 && (SECONDS(0) >> bit & 1) == 1));
			if (h.damage > 0)
				assert_int_equal(h.damage_offset, sound.records[i].offset);
			for (unsigned j = 0; j < h.n; j++) {
				assert_int_equal(h.records[j].event, sound.records[j].event);
				assert_int_equal(h.records[j].offset, sound.records[j].offset);
				assert_int_equal(h.records[j].session, sound.records[j].session);
				if (j > 0 || bit > 31)
					assert_in_range(h.records[j].time_us,
					    sound.records[j].time_us - 10 * SECOND,
					    sound.records[j].time_us + 10 * SECOND);
			}
		}
	bytes_free(&b);
}

/* Any number of damaged times is reported once. */
static void
damaged_times(void **state)
{
	struct bytes b = { 0 };
	struct heard h;

	(void)state;
	put_open(&b, 1, SECONDS(0), &pcm, "");
	put_empty(&b, LOG_KIND_TICK, SECONDS(1));
	put_mux_frame(&b, 1, 0, WIRE_PCM16, 0, 8);
	put_mux_frame(&b, 1, UINT64_MAX, WIRE_PCM16, 1, 8);
	put_mux_frame(&b, 1, SECONDS(2), WIRE_PCM16, 2, 8);
	put_mux_frame(&b, 1, SECONDS(100000), WIRE_PCM16, 3, 8);
	put_mux_frame(&b, 1, SECONDS(3), WIRE_PCM16, 4, 8);
	hear(&h, &b);
	assert_int_equal(h.n, 7);
	assert_int_equal(h.damage, 1);
	assert_int_equal(h.damage_offset, h.records[2].offset);
	assert_int_equal(h.made_up_rotates, 0);
	assert_int_equal(h.records[2].time_us, SECONDS(1));
	assert_int_equal(h.records[3].time_us, SECONDS(1));
	assert_int_equal(h.records[4].time_us, SECONDS(2));
	assert_int_equal(h.records[5].time_us, SECONDS(2));
	assert_int_equal(h.records[6].time_us, SECONDS(3));
	assert_pieces(&b, NULL);
	assert_pieces(&b, &recover);
	bytes_free(&b);
}

/* Up to ten seconds before the last time counts as that; a time past the year 9999 is its end. */
static void
near_times(void **state)
{
	struct bytes b = { 0 };
	struct heard h;

	(void)state;
	put_open(&b, 1, SECONDS(0), &pcm, "");
	put_empty(&b, LOG_KIND_TICK, SECONDS(10));
	put_empty(&b, LOG_KIND_TICK, SECONDS(0));
	put_empty(&b, LOG_KIND_TICK, SECONDS(9));
	put_empty(&b, LOG_KIND_TICK, SECONDS(20));
	hear(&h, &b);
	assert_int_equal(h.damage + h.made_up_rotates, 0);
	assert_int_equal(h.records[1].time_us, SECONDS(10));
	assert_int_equal(h.records[2].time_us, SECONDS(10));
	assert_int_equal(h.records[3].time_us, SECONDS(10));
	assert_int_equal(h.records[4].time_us, SECONDS(20));
	bytes_free(&b);
	put_open(&b, 1, LOG_MAX_TIME - 1, &pcm, "");
	put_mux_frame(&b, 1, UINT64_MAX, WIRE_PCM16, 0, 8);
	put_mux_frame(&b, 1, LOG_MAX_TIME + 1, WIRE_PCM16, 1, 8);
	hear(&h, &b);
	assert_int_equal(h.damage + h.made_up_rotates, 0);
	assert_int_equal(h.records[1].time_us, LOG_MAX_TIME);
	assert_int_equal(h.records[2].time_us, LOG_MAX_TIME);
	bytes_free(&b);
}

/* A clock that has moved: the next record says so. */
static void
clock_moves(void **state)
{
	struct bytes b = { 0 };
	struct heard h;

	(void)state;
	put_open(&b, 1, SECONDS(0), &pcm, "");
	put_mux_frame(&b, 1, SECONDS(1), WIRE_PCM16, 0, 8);
	/* Forward, announced by a TICK; without one, less than an hour before the next; */
	put_empty(&b, LOG_KIND_TICK, SECONDS(100000));
	put_mux_frame(&b, 1, SECONDS(100000), WIRE_PCM16, 1, 8);
	put_mux_frame(&b, 1, SECONDS(200000), WIRE_PCM16, 2, 8);
	put_mux_frame(&b, 1, SECONDS(203600), WIRE_PCM16, 3, 8);
	put_mux_frame(&b, 1, SECONDS(203601), WIRE_PCM16, 4, 8);
	hear(&h, &b);
	assert_int_equal(h.n, 7);
	assert_int_equal(h.damage + h.made_up_rotates, 0);
	assert_int_equal(h.records[2].time_us, SECONDS(100000));
	assert_int_equal(h.records[4].time_us, SECONDS(200000));
	assert_int_equal(h.records[5].time_us, SECONDS(203600));
	/* backward: all segments end, the sessions go on. */
	put_empty(&b, LOG_KIND_TICK, SECONDS(500));
	put_mux_frame(&b, 1, SECONDS(500), WIRE_PCM16, 5, 8);
	put_close(&b, 1, SECONDS(501), 1000, "");
	/* With no session, there is nothing to end. */
	put_empty(&b, LOG_KIND_TICK, SECONDS(400));
	put_open(&b, 2, SECONDS(400), &pcm, "");
	put_close(&b, 2, SECONDS(400), 1000, "");
	hear(&h, &b);
	assert_int_equal(h.n, 13);
	assert_int_equal(h.damage, 0);
	assert_int_equal(h.made_up_closes, 0);
	assert_int_equal(h.made_up_rotates, 1);
	assert_int_equal(h.records[7].time_us, SECONDS(500));
	assert_int_equal(h.records[9].event, LOG_CLOSE);
	assert_int_equal(h.records[10].time_us, SECONDS(400));
	assert_pieces(&b, NULL);
	bytes_free(&b);

	/* The ROTATE ends what there was, at its time, before anything has the new one. */
	put_open(&b, 1, SECONDS(60), &pcm, "");
	put_empty(&b, LOG_KIND_TICK, SECONDS(61));
	put_empty(&b, LOG_KIND_TICK, SECONDS(0));
	put_mux_frame(&b, 1, SECONDS(0), WIRE_PCM16, 5, 8);
	assert_reads(&b, NULL,
	    "0 OPEN s1 @1769854560000000 id=7 tag= peer= \n"
	    "56 TICK @1769854561000000\n"
	    "80 ROTATE @1769854561000000\n"
	    "80 TICK @1769854500000000\n"
	    "104 FRAME s1 @1769854500000000 seq=5 len=8 kind=0 gap=0\n"
	    "148 CLOSE s1 @1769854500000000 1006 made up\n"
	    "148 END\n");
	bytes_free(&b);
}

/* Nothing follows a doubtful time: it is neither believed nor damage. */
static void
last_times(void **state)
{
	struct bytes b = { 0 };
	struct heard h;

	(void)state;
	put_open(&b, 1, SECONDS(0), &pcm, "");
	hear(&h, &b);
	assert_int_equal(h.records[0].time_us, SECONDS(0));
	put_close(&b, 1, SECONDS(86400), 1000, "");
	hear(&h, &b);
	assert_int_equal(h.n, 2);
	assert_int_equal(h.damage, 0);
	assert_int_equal(h.records[0].time_us, SECONDS(0));
	assert_int_equal(h.records[1].time_us, SECONDS(0));
	/* What follows is torn before its time. */
	put_empty(&b, LOG_KIND_TICK, SECONDS(86400));
	b.len -= 4;
	assert_wrong(&b, NULL, "TORN ", b.len - 20);
	bytes_free(&b);
}

/* The first time of a log has no other before it: the two after it judge. */
static void
first_times(void **state)
{
	struct bytes b = { 0 };
	struct heard h;

	(void)state;
	/* A machine slept after its first record: the TICK says so. */
	put_open(&b, 1, SECONDS(0), &pcm, "");
	put_empty(&b, LOG_KIND_TICK, SECONDS(90000));
	put_mux_frame(&b, 1, SECONDS(90000), WIRE_PCM16, 0, 8);
	hear(&h, &b);
	assert_int_equal(h.damage + h.made_up_rotates, 0);
	assert_int_equal(h.records[0].time_us, SECONDS(0));
	assert_int_equal(h.records[2].time_us, SECONDS(90000));
	/* The first one is wrong: it has the second one's time. */
	le64_store(b.p + 56 + 16, SECONDS(89999));
	hear(&h, &b);
	assert_int_equal(h.damage, 1);
	assert_int_equal(h.made_up_rotates, 0);
	assert_int_equal(h.records[0].time_us, SECONDS(89999));
	/* The second one is. */
	le64_store(b.p + 16, SECONDS(89999));
	le64_store(b.p + 56 + 16, SECONDS(0));
	hear(&h, &b);
	assert_int_equal(h.damage, 1);
	assert_int_equal(h.made_up_rotates, 0);
	assert_int_equal(h.records[0].time_us, SECONDS(89999));
	assert_int_equal(h.records[1].time_us, SECONDS(89999));
	assert_int_equal(h.records[2].time_us, SECONDS(90000));
	bytes_free(&b);
}

/*
 * Logs that are joined: a lower time and a number that was there before begin a new one.  One of the
 * two alone does not.
 */
static void
joined_times(void **state)
{
	struct bytes one = busy_log(), b = { 0 };
	struct heard h;
	size_t second;

	(void)state;
	bytes_add(&b, one.p, one.len);
	second = b.len;
	bytes_add(&b, one.p, one.len);
	hear(&h, &b);
	assert_int_equal(h.n, 36);
	assert_int_equal(h.damage + h.made_up_rotates, 0);
	assert_int_equal(h.made_up_closes, 2);
	assert_int_equal(h.records[18].time_us, SECONDS(0));
	/* A damaged time at the joint, or after it, joins or parts nothing. */
	for (unsigned record = 18; record < 21; record++)
		for (unsigned bit = 24; bit < 64; bit++) {
			uint8_t *at = b.p + h.records[record].offset + 16 + bit / 8;
			struct heard flipped;

			*at ^= (uint8_t)(1 << bit % 8);
			hear(&flipped, &b);
			*at ^= (uint8_t)(1 << bit % 8);
			assert_int_equal(flipped.n, 36);
			assert_int_equal(flipped.made_up_closes, 2);
			assert_int_equal(flipped.made_up_rotates, 0);
			assert_int_equal(flipped.records[35].time_us, h.records[35].time_us);
		}
	/* A number that was not there: the same log, whose clock went back. */
	le32_store(b.p + second + 8, 3);
	le64_store(b.p + second + 16, SECONDS(-60));
	le64_store(b.p + second + 56 + 16, SECONDS(-59));
	le32_store(b.p + second + 56 + 8, 4);
	b.len = second + 112;
	hear(&h, &b);
	assert_int_equal(h.made_up_closes, 3);
	assert_int_equal(h.made_up_rotates, 1);
	bytes_free(&b);
	bytes_free(&one);
}

/* A writer that reads its own records gets each at once, though nothing follows it. */
static void
window_holds_nothing_back(void **state)
{
	static const uint64_t times[] = { SECONDS(0), SECONDS(1), SECONDS(90000), SECONDS(90000),
		SECONDS(-5000), SECONDS(-5000), 0, UINT64_MAX };
	struct log_reader *r = log_new(-1, NULL);
	struct log_record rec;
	uint64_t last = 0;

	(void)state;
	assert_non_null(r);
	for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
		uint64_t t = times[i] < LOG_MAX_TIME ? times[i] : LOG_MAX_TIME;
		struct bytes b = { 0 };

		if (i == 0)
			put_open(&b, 1, times[i], &pcm, "");
		else
			put_mux_frame(&b, 1, times[i], WIRE_PCM16, (uint32_t)i, 8);
		log_window(r, b.p, b.len);
		if (t < last) {
			assert_int_equal(log_next(r, &rec), LOG_ROTATE);
			assert_true(rec.made_up);
		}
		assert_int_equal(log_next(r, &rec), i == 0 ? LOG_OPEN : LOG_FRAME);
		assert_int_equal(rec.time_us, t);
		assert_int_equal(log_next(r, &rec), LOG_MORE);
		last = t;
		bytes_free(&b);
	}
	log_free(r);
}

/* A reader of a pipe holds back a doubtful record until the next one's header, and no other. */
static void
pipe_waits_for_the_next(void **state)
{
	struct bytes b = { 0 };
	struct log_record rec;
	struct log_reader *r;
	int fds[2];

	(void)state;
	put_open(&b, 1, SECONDS(0), &pcm, "");
	put_mux_frame(&b, 1, SECONDS(1), WIRE_PCM16, 0, 8);
	put_mux_frame(&b, 1, SECONDS(100), WIRE_PCM16, 1, 8);
	put_mux_frame(&b, 1, SECONDS(100), WIRE_PCM16, 2, 8);
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	assert_non_null(r = log_new(fds[0], NULL));
	assert_int_equal(write(fds[1], b.p, 144), 144);
	assert_int_equal(log_get(r, &rec), LOG_OPEN);
	assert_int_equal(log_get(r, &rec), LOG_FRAME);
	assert_int_equal(log_get(r, &rec), LOG_ERROR);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(log_offset(r), 100);
	assert_int_equal(write(fds[1], b.p + 144, 24), 24);
	assert_int_equal(log_get(r, &rec), LOG_FRAME);
	assert_int_equal(rec.time_us, SECONDS(100));
	assert_int_equal(write(fds[1], b.p + 168, 20), 20);
	assert_int_equal(log_get(r, &rec), LOG_FRAME);
	close(fds[1]);
	assert_int_equal(log_get(r, &rec), LOG_CLOSE);
	log_free(r);
	close(fds[0]);
	bytes_free(&b);
}

static void
assert_open(const char *keys, size_t len, const char *tag, const char *peer, const char *text)
{
	struct bytes body = { 0 }, b = { 0 };
	struct log_reader *r = log_new(-1, NULL);
	struct log_record rec;

	put_handshake(&body, &pcm);
	bytes_add(&body, keys, len);
	put_record(&b, 1, LOG_KIND_OPEN, 1, body.p, body.len);
	log_window(r, b.p, b.len);
	assert_int_equal(log_next(r, &rec), LOG_OPEN);
	assert_string_equal(rec.session->tag, tag);
	assert_string_equal(rec.session->peer, peer);
	assert_string_equal(rec.text, text);
	log_free(r);
	bytes_free(&body);
	bytes_free(&b);
}

static void
keys(void **state)
{
#define ALLOWED " dropped, allowed is [A-Za-z0-9][A-Za-z0-9._:-]{0,63}, not ending in .jsonl"
	static const char tag64[] =
	    "a123456789b123456789c123456789d123456789e123456789f123456789g123";
	char line[300], text[300];

	(void)state;
	assert_open("", 0, "", "", "");
	assert_open("tag=a", 5, "a", "", ""); /* no newline at the end */
	assert_open("peer=::1\ntag=00:1B-x.y_z\n", 25, "00:1B-x.y_z", "::1", "");
	assert_open("colour=red\n\n=\ntag\ntags=x\nTAG=y\npeer=p\n", 39, "", "p", "");
	assert_open("tag=../etc\n", 11, "", "", "session 1: tag \"../etc\"" ALLOWED);
	assert_open("tag=\n", 5, "", "", "session 1: tag \"\"" ALLOWED);
	assert_open("tag=-a\n", 7, "", "", "session 1: tag \"-a\"" ALLOWED);
	assert_open("tag=a b\ntag=good\n", 17, "good", "", "session 1: tag \"a b\"" ALLOWED);
	assert_open("tag=a\0b\npeer=\0\n", 15, "", "?", "session 1: tag \"a?b\"" ALLOWED);
	assert_open("tag=index.JsonL\n", 16, "", "", "session 1: tag \"index.JsonL\"" ALLOWED);
	assert_open("tag=a\r\n", 7, "", "", "session 1: tag \"a\r\"" ALLOWED);
	snprintf(line, sizeof line, "tag=%s\n", tag64);
	assert_open(line, 69, tag64, "", "");
	snprintf(line, sizeof line, "tag=%s4\n", tag64);
	snprintf(text, sizeof text, "session 1: tag \"%s\"" ALLOWED, tag64);
	assert_open(line, 70, "", "", text);
	memset(line, 'p', sizeof line);
	memcpy(line, "peer=", 5);
	memset(text, 'p', sizeof text);
	text[LOG_MAX_PEER] = '\0';
	assert_open(line, sizeof line, "", text, "");
}

static void
most_keys(void **state)
{
	char keys[LOG_MAX_KEYS + 2];
	struct bytes b = { 0 };

	(void)state;
	memset(keys, '\n', sizeof keys);
	keys[LOG_MAX_KEYS] = '\0';
	put_open(&b, 1, 1, &pcm, keys);
	keys[LOG_MAX_KEYS] = '\n';
	keys[LOG_MAX_KEYS + 1] = '\0';
	put_open(&b, 2, 1, &pcm, keys);
	assert_reads(&b, NULL,
	    "0 OPEN s1 @1 id=7 tag= peer= \n"
	    "4152 DAMAGE +4153 OPEN of session 2: 4097 bytes of keys, at most 4096\n"
	    "8305 CLOSE s1 @1 1006 made up\n"
	    "8305 END\n");
	bytes_free(&b);
}

/* Kinds from the future have a time, and nothing else that is known. */
static void
unknown_kinds(void **state)
{
	struct bytes b = { 0 };

	(void)state;
	put_record(&b, 77, 0, 1, "zero", 4);
	put_record(&b, 0, 6, 2, NULL, 0);
	put_record(&b, 4294967295, 65535, 3, "EETMEETM", 8);
	put_empty(&b, LOG_KIND_TICK, 4);
	b.p[b.len - 24 + 14] = 0xff; /* flags */
	b.p[b.len - 24 + 8] = 9;     /* a session */
	assert_reads(&b, NULL,
	    "0 TICK @1\n"
	    "28 TICK @2\n"
	    "52 TICK @3\n"
	    "84 TICK @4\n"
	    "108 END\n");
	bytes_free(&b);
}

/* The longest records that the wire allows, and one from the future that is as long as can be. */
static void
longest_records(void **state)
{
	static const struct wire_handshake wide = { 1, 768000, 64, WIRE_PCM16, 65535, 0, 0 };
	struct bytes b = { 0 }, frames = { 0 }, body = { 0 };
	uint8_t *most = calloc(1, LOG_MAX_LENGTH);

	(void)state;
	assert_non_null(most);
	put_open(&b, 1, 1, &wide, "");
	put_mux_frame(&b, 1, 2, WIRE_PCM16, 0, 2 * 64 * 65535);
	put_record(&b, 1, 9, 3, most, LOG_MAX_LENGTH - 12);
	put_mux_frame(&b, 1, 4, WIRE_PCM16, 1, 128);
	assert_reads(&b, NULL,
	    "0 OPEN s1 @1 id=1 tag= peer= \n"
	    "56 FRAME s1 @2 seq=0 len=8388480 kind=0 gap=0\n"
	    "8388572 TICK @3\n"
	    "25165824 FRAME s1 @4 seq=1 len=128 kind=0 gap=0\n"
	    "25165988 CLOSE s1 @4 1006 made up\n"
	    "25165988 END\n");
	put_handshake(&frames, &wide);
	put_frame(&frames, WIRE_PCM16, 0, 2 * 64 * 65535);
	put_frame(&frames, WIRE_PCM16, 1, 128);
	assert_reads(&frames, NULL,
	    "0 OPEN s1 @0 id=1 tag= peer= \n"
	    "32 FRAME s1 @0 seq=0 len=8388480 kind=0 gap=0\n"
	    "8388524 FRAME s1 @85332 seq=1 len=128 kind=0 gap=0\n"
	    "8388664 CLOSE s1 @85332 0 made up\n"
	    "8388664 END\n");
	free(most);
	bytes_free(&body);
	bytes_free(&b);
	bytes_free(&frames);
}

/*
 * ---- Frame logs: no handshake, times ----
 */

static void
headless(void **state)
{
	struct log_options o = { .headless = true,
		.format = { .sample_rate = 8000, .channels = 1, .frame_samples = 4 } };
	struct bytes b = { 0 };

	(void)state;
	put_frame(&b, WIRE_PCM16, 3, 8);
	put_frame(&b, WIRE_PCM16, 4, 8);
	put_handshake(&b, &adpcm);
	put_frame(&b, WIRE_ADPCM, 0, 8);
	assert_reads(&b, NULL,
	    "0 DAMAGE +0 a frame without a handshake before it: give -r RATE -c CHANNELS -n "
	    "FRAME_SAMPLES\n"
	    "0 END\n");
	assert_reads(&b, &o,
	    "0 OPEN s1 @0 id=0 tag= peer= \n"
	    "0 FRAME s1 @0 seq=3 len=8 kind=0 gap=0\n"
	    "20 FRAME s1 @500 seq=4 len=8 kind=0 gap=0\n"
	    "40 CLOSE s1 @500 0 made up\n"
	    "40 OPEN s2 @2000000 id=9 tag= peer= \n"
	    "72 FRAME s2 @2000000 seq=0 len=8 kind=0 gap=0\n"
	    "92 CLOSE s2 @2000000 0 made up\n"
	    "92 END\n");
	assert_pieces(&b, &o);
	/* The codec is guessed from the first frame only if it is not given. */
	o.codec_given = true;
	o.format.codec = WIRE_PCM16;
	assert_pieces(&b, &o);
	o.format.codec = WIRE_ADPCM;
	assert_reads(&b, &o,
	    "0 DAMAGE +0 magic 0x464d4350, expected a handshake's or an ADPCM frame's\n"
	    "0 END\n");
	o.recover = true;
	assert_reads(&b, &o,
	    "0 DAMAGE +40 magic 0x464d4350, expected a handshake's or an ADPCM frame's; "
	    "40 bytes skipped, up to offset 40\n"
	    "40 OPEN s1 @2000000 id=9 tag= peer= \n"
	    "72 FRAME s1 @2000000 seq=0 len=8 kind=0 gap=0\n"
	    "92 CLOSE s1 @2000000 0 made up\n"
	    "92 END\n");
	bytes_free(&b);
}

/* When the last of these frames was recorded. */
static uint64_t
time_of_last(const struct bytes *b)
{
	struct log_reader *r = log_new(-1, NULL);
	struct log_record rec;
	uint64_t t = UINT64_MAX;

	log_window(r, b->p, b->len);
	log_eof(r);
	while (log_next(r, &rec) != LOG_END)
		if (rec.event == LOG_FRAME)
			t = rec.time_us;
	log_free(r);
	return t;
}

static void
times(void **state)
{
	const struct wire_handshake cd = { 1, 44100, 2, WIRE_PCM16, 441, 0, 0 };
	const struct wire_handshake odd = { 1, 3, 1, WIRE_PCM16, 2, 0, 0 };
	struct bytes b = { 0 };

	(void)state;
	/* Rounded down, each from the start, so errors don't add up: 3 Hz, 1/3 s is 333333 us. */
	put_handshake(&b, &odd);
	for (uint32_t seq = 0; seq < 100; seq++) {
		put_frame(&b, WIRE_PCM16, seq, 2);
		assert_int_equal(time_of_last(&b), seq * UINT64_C(1000000) / 3);
	}
	/* A gap is full frames, a repeat nothing, and its time is that of what is due. */
	put_frame(&b, WIRE_PCM16, 110, 2);
	assert_int_equal(time_of_last(&b), (100 + 2 * 10) * UINT64_C(1000000) / 3);
	put_frame(&b, WIRE_PCM16, 105, 4);
	assert_int_equal(time_of_last(&b), (101 + 2 * 10) * UINT64_C(1000000) / 3);
	put_frame(&b, WIRE_PCM16, 111, 4);
	assert_int_equal(time_of_last(&b), (101 + 2 * 10) * UINT64_C(1000000) / 3);
	bytes_free(&b);

	/* A gap as long as can be, at 44100 Hz. */
	put_handshake(&b, &cd);
	put_frame(&b, WIRE_PCM16, 0, 4 * 441);
	put_frame(&b, WIRE_PCM16, 0x7fffffff, 4);
	assert_int_equal(time_of_last(&b), UINT64_C(0x7fffffff) * 10000);
	bytes_free(&b);
}

/* Products that 64 bits can't hold, up to the end of the year 9999, to the microsecond. */
static void
year_9999(void **state)
{
	/* 2^31 - 1 frames of 65535 samples at 1 Hz are 4459704 years. */
	const struct wire_handshake slow = { 1, 1, 1, WIRE_PCM16, 65535, 0, 0 };
	struct wire_handshake late = { 1, 500000, 1, WIRE_PCM16, 499, 0, LOG_MAX_TIME / 1000 };
	struct bytes b = { 0 };

	(void)state;
	put_handshake(&b, &slow);
	put_frame(&b, WIRE_PCM16, 0, 2);
	/* The last that fits: (253402300799 - 1) / 65535 frames, and one more. */
	put_frame(&b, WIRE_PCM16, 1 + 3866671, 2);
	assert_int_equal(time_of_last(&b), (1 + 3866671 * UINT64_C(65535)) * 1000000);
	put_frame(&b, WIRE_PCM16, 1 + 3866671 + 2, 2);
	/* It has the last time there is; the one that is behind is a repeat. */
	put_frame(&b, WIRE_PCM16, 1 + 3866671 + 1, 2);
	assert_reads(&b, NULL,
	    "0 OPEN s1 @0 id=1 tag= peer= \n"
	    "32 FRAME s1 @0 seq=0 len=2 kind=0 gap=0\n"
	    "46 FRAME s1 @253402283986000000 seq=3866672 len=2 kind=1 gap=3866671\n"
	    "60 FRAME s1 @253402300799999999 seq=3866674 len=2 kind=1 gap=1\n"
	    "74 FRAME s1 @253402300799999999 seq=3866673 len=2 kind=2 gap=0\n"
	    "88 CLOSE s1 @253402300799999999 0 made up\n"
	    "88 END\n");
	put_frame(&b, WIRE_PCM16, 1 + 3866671 + 0x7fffffffu, 2);
	assert_int_equal(time_of_last(&b), LOG_MAX_TIME);
	bytes_free(&b);

	/* The last millisecond holds 500 samples, the last of them 2 us long. */
	put_handshake(&b, &late);
	put_frame(&b, WIRE_PCM16, 0, 2 * 499);
	put_frame(&b, WIRE_PCM16, 1, 2);
	assert_int_equal(time_of_last(&b), LOG_MAX_TIME - 1);
	put_frame(&b, WIRE_PCM16, 2, 2);
	assert_reads(&b, NULL,
	    "0 OPEN s1 @253402300799999000 id=1 tag= peer= \n"
	    "32 FRAME s1 @253402300799999000 seq=0 len=998 kind=0 gap=0\n"
	    "1042 FRAME s1 @253402300799999998 seq=1 len=2 kind=0 gap=0\n"
	    "1056 FRAME s1 @253402300799999999 seq=2 len=2 kind=0 gap=0\n"
	    "1070 CLOSE s1 @253402300799999999 0 made up\n"
	    "1070 END\n");
	bytes_free(&b);

	/* A clock that is past it starts at 0. */
	late.timestamp_ms++;
	put_handshake(&b, &late);
	put_frame(&b, WIRE_PCM16, 0, 2);
	assert_int_equal(time_of_last(&b), 0);
	bytes_free(&b);
	late.timestamp_ms = UINT64_MAX;
	put_handshake(&b, &late);
	put_frame(&b, WIRE_PCM16, 0, 2);
	assert_int_equal(time_of_last(&b), 0);
	bytes_free(&b);
}

/*
 * ---- Damage ----
 */

/* An OPEN (56 bytes), then something, then a frame: the damage is at 56. */
static struct bytes
opened(void)
{
	struct bytes b = { 0 };

	put_open(&b, 1, 10, &stereo, "");
	return b;
}

/* Damage that is skipped by its length: what follows is read. */
static void
assert_skipped(struct bytes *b, const char *what)
{
	size_t end = b->len;
	char expected[600];

	put_mux_frame(b, 1, 20, WIRE_PCM16, 5, 8);
	snprintf(expected, sizeof expected,
	    "0 OPEN s1 @10 id=8 tag= peer= \n"
	    "56 DAMAGE +%zu %s\n"
	    "%zu FRAME s1 @20 seq=5 len=8 kind=0 gap=0\n"
	    "%zu CLOSE s1 @20 1006 made up\n"
	    "%zu END\n",
	    end - 56, what, end, b->len, b->len);
	assert_reads(b, NULL, expected);
	assert_pieces(b, NULL);
	bytes_free(b);
}

static void
skipped_records(void **state)
{
	struct wire_handshake bad = stereo;
	struct bytes b, body = { 0 };
	char longest[128];

	(void)state;
	b = opened();
	put_mux_frame(&b, 2, 10, WIRE_PCM16, 0, 4);
	assert_skipped(&b, "FRAME of session 2, which is not open");
	b = opened();
	put_mux_frame(&b, 0, 10, WIRE_PCM16, 0, 4);
	assert_skipped(&b, "FRAME of session 0, which is not open");
	b = opened();
	put_close(&b, 2, 10, 1000, "");
	assert_skipped(&b, "CLOSE of session 2, which is not open");
	b = opened();
	put_record(&b, 1, LOG_KIND_CLOSE, 10, "x", 1);
	assert_skipped(&b, "CLOSE of session 1: 1 bytes, 2 to 125");
	b = opened();
	memset(longest, 'x', sizeof longest);
	put_record(&b, 1, LOG_KIND_CLOSE, 10, longest, 126);
	assert_skipped(&b, "CLOSE of session 1: 126 bytes, 2 to 125");
	b = opened();
	put_open(&b, 0, 10, &pcm, "");
	assert_skipped(&b, "OPEN of session 0, at least 1");
	b = opened();
	put_record(&b, 2, LOG_KIND_OPEN, 10, longest, 31);
	assert_skipped(&b, "OPEN of session 2: 31 bytes, at least 32");
	b = opened();
	bad.channels = 65;
	put_open(&b, 2, 10, &bad, "");
	assert_skipped(&b, "OPEN of session 2: handshake channels 65, 1 to 64");
	b = opened();
	/* Even of the session that is open: a handshake that is none ends nothing. */
	put_open(&b, 1, 10, &bad, "");
	assert_skipped(&b, "OPEN of session 1: handshake channels 65, 1 to 64");

	/* Frames that break the rules of the wire. */
	b = opened();
	put_mux_frame(&b, 1, 10, WIRE_PCM16, 3, 6);
	assert_skipped(&b,
	    "session 1: frame seq 3: payload 6 bytes, must be a multiple of 4 (channels 2)");
	b = opened();
	put_mux_frame(&b, 1, 10, WIRE_PCM16, 3, 44);
	assert_skipped(&b,
	    "session 1: frame seq 3: payload 44 bytes, at most 40 (frame_samples 10)");
	b = opened();
	put_mux_frame(&b, 1, 10, WIRE_ADPCM, 3, 4);
	assert_skipped(&b,
	    "session 1: frame magic 0x41445046, must be 0x464D4350 (handshake codec 0, pcm)");
	b = opened();
	put_record(&b, 1, LOG_KIND_FRAME, 10, "", 0);
	assert_skipped(&b, "session 1: frame of 0 bytes, at least 12");
	put_frame(&body, WIRE_PCM16, 3, 4);
	b = opened();
	put_record(&b, 1, LOG_KIND_FRAME, 10, body.p, body.len - 1);
	assert_skipped(&b,
	    "session 1: frame seq 3: length 4, must be 3, the message's 15 bytes less 12");
	bytes_free(&body);
	put_handshake(&body, &stereo);
	b = opened();
	put_record(&b, 1, LOG_KIND_FRAME, 10, body.p, body.len);
	assert_skipped(&b, "session 1: second handshake (magic 0x41445043), one per connection");
	bytes_free(&body);
}

/* In a frame log as well: a payload that is no whole number of sample frames. */
static void
skipped_frame(void **state)
{
	struct bytes b = { 0 };

	(void)state;
	put_handshake(&b, &stereo);
	put_frame(&b, WIRE_PCM16, 0, 6);
	put_frame(&b, WIRE_PCM16, 1, 8);
	assert_reads(&b, NULL,
	    "0 OPEN s1 @0 id=8 tag= peer= \n"
	    "32 DAMAGE +18 frame seq 0: payload 6 bytes, must be a multiple of 4 (channels 2)\n"
	    "50 FRAME s1 @0 seq=1 len=8 kind=0 gap=0\n"
	    "70 CLOSE s1 @0 0 made up\n"
	    "70 END\n");
	assert_pieces(&b, NULL);
	bytes_free(&b);
}

/* Damage that ends the reading: the rest is not looked at; b has what is behind the OPEN. */
static void
assert_ends(struct bytes *b, const char *what)
{
	char expected[600], *text;

	snprintf(expected, sizeof expected,
	    "0 OPEN s1 @10 id=8 tag= peer= \n"
	    "56 DAMAGE +0 %s\n"
	    "56 CLOSE s1 @10 1006 made up\n"
	    "56 END\n",
	    what);
	put_mux_frame(b, 1, 20, WIRE_PCM16, 5, 8);
	text = read_in_pieces(b, NULL, b->len, 1);
	assert_string_equal(text, expected);
	free(text);
	assert_pieces(b, NULL);
	bytes_free(b);
}

static void
fatal_records(void **state)
{
	struct bytes b;

	(void)state;
	b = opened();
	bytes_add(&b, "garbage that is no record", 25);
	assert_ends(&b, "magic 0x62726167, expected 0x4d544545 (\"EETM\")");
	b = opened();
	put_frame(&b, WIRE_PCM16, 0, 8);
	assert_ends(&b, "magic 0x464d4350, expected 0x4d544545 (\"EETM\")");
	b = opened();
	put_empty(&b, LOG_KIND_TICK, 10);
	le32_store(b.p + 56 + 4, 11);
	assert_ends(&b, "record length 11, 12 to 16777240");
	b = opened();
	put_empty(&b, LOG_KIND_TICK, 10);
	le32_store(b.p + 56 + 4, LOG_MAX_LENGTH + 1);
	assert_ends(&b, "record length 16777241, 12 to 16777240");
	b = opened();
	put_empty(&b, LOG_KIND_TICK, 10);
	le32_store(b.p + 56 + 4, UINT32_MAX);
	assert_ends(&b, "record length 4294967295, 12 to 16777240");
}

static void
fatal_frames(void **state)
{
	struct bytes b = { 0 };

	(void)state;
	bytes_add(&b, "RIFF....WAVE", 12);
	assert_reads(&b, NULL,
	    "0 DAMAGE +0 magic 0x46464952: neither a mux log nor a frame log\n"
	    "0 END\n");
	bytes_free(&b);

#define BEFORE \
	"0 OPEN s1 @1000000 id=7 tag= peer= \n" \
	"32 FRAME s1 @1000000 seq=0 len=8 kind=0 gap=0\n"
#define AFTER \
	"52 CLOSE s1 @1000000 0 made up\n" \
	"52 END\n"
	put_handshake(&b, &pcm);
	put_frame(&b, WIRE_PCM16, 0, 8);
	put_frame(&b, WIRE_ADPCM, 1, 8);
	assert_reads(&b, NULL,
	    BEFORE
	    "52 DAMAGE +0 magic 0x41445046, expected a handshake's or a PCM frame's\n" AFTER);
	le32_store(b.p + 52, LOG_MAGIC); /* a mux record in a frame log */
	assert_reads(&b, NULL,
	    BEFORE
	    "52 DAMAGE +0 magic 0x4d544545, expected a handshake's or a PCM frame's\n" AFTER);
	le32_store(b.p + 52, WIRE_MAGIC_PCM);
	le32_store(b.p + 56, 9);
	assert_reads(&b, NULL, BEFORE "52 DAMAGE +0 frame length 9, at most 8\n" AFTER);
	le32_store(b.p + 56, UINT32_MAX);
	assert_reads(&b, NULL, BEFORE "52 DAMAGE +0 frame length 4294967295, at most 8\n" AFTER);
	assert_pieces(&b, NULL);
	bytes_free(&b);

	/* In an ADPCM take it says so; before any take, a handshake is all that is expected. */
	put_handshake(&b, &adpcm);
	put_frame(&b, WIRE_PCM16, 0, 8);
	assert_reads(&b, NULL,
	    "0 OPEN s1 @2000000 id=9 tag= peer= \n"
	    "32 DAMAGE +0 magic 0x464d4350, expected a handshake's or an ADPCM frame's\n"
	    "32 CLOSE s1 @2000000 0 made up\n"
	    "32 END\n");
	bytes_free(&b);
}

/*
 * A handshake that is not sound costs its own take, and neither the one before nor the one after:
 * its frames are given to no other, and reading goes on.
 */
static void
broken_handshake(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} broken[] = {
		{ 4, 2 },
		{ 6, 33 },
		{ 12 + 3, 1 },
		{ 16, 0 },
		{ 17, 9 },
		{ 18, 2 },
		{ 20, 0 },
	};
	struct bytes b = { 0 };
	char *text, *again;

	(void)state;
	put_handshake(&b, &pcm);
	put_frame(&b, WIRE_PCM16, 0, 8);
	put_handshake(&b, &pcm);
	put_frame(&b, WIRE_PCM16, 0, 8);
	put_frame(&b, WIRE_PCM16, 1, 8);
	put_handshake(&b, &adpcm);
	put_frame(&b, WIRE_ADPCM, 0, 8);
	for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
		uint8_t *at = b.p + 52 + broken[i].at, was = *at;

		*at = broken[i].value;
		if (broken[i].at == 20)
			at[1] = 0;
		assert_wrong(&b, NULL, "LOST ", 52);
		assert_wrong(&b, &recover, "LOST ", 52);
		text = read_file(&b, NULL);
		again = read_file(&b, &recover);
		assert_string_equal(text, again);
		assert_non_null(
		    strstr(text, "52 CLOSE s1 @1000000 0 made up\n52 DAMAGE +72 handshake "));
		assert_non_null(
		    strstr(text, "\n124 OPEN s3 @2000000 id=9 tag= peer= \n156 FRAME s3 "));
		free(text);
		free(again);
		assert_pieces(&b, NULL);
		assert_pieces(&b, &recover);
		*at = was;
	}
	/* Two in a row are one place; the first, too. */
	b.p[52 + 4] = b.p[4] = 0;
	assert_wrong(&b, NULL, "LOST ", 0);
	/* The last, too. */
	b.p[124 + 4] = 0;
	assert_wrong(&b, NULL, "TAIL ", 0);
	assert_wrong(&b, &recover, "TAIL ", 0);
	b.p[4] = b.p[52 + 4] = 1;
	assert_wrong(&b, NULL, "TAIL ", 124);
	assert_wrong(&b, &recover, "TAIL ", 124);
	bytes_free(&b);
}

/* Other damage within a take of unknown format, or just before its handshake. */
static void
broken_take(void **state)
{
	struct bytes b = { 0 };
	char *text;

	(void)state;
	put_handshake(&b, &pcm);
	put_frame(&b, WIRE_PCM16, 0, 8);
	put_handshake(&b, &pcm);
	put_frame(&b, WIRE_PCM16, 0, 8);
	put_frame(&b, WIRE_PCM16, 1, 8);
	put_frame(&b, WIRE_PCM16, 2, 8);
	put_handshake(&b, &pcm);
	put_frame(&b, WIRE_PCM16, 0, 8);
	b.p[52 + 4] = 7;
	b.p[84] = 'x';
	assert_wrong(&b, NULL, "TAIL ", 52);
	assert_wrong(&b, &recover, "LOST ", 52);
	text = read_file(&b, &recover);
	assert_non_null(strstr(text, "52 DAMAGE +92 handshake version 7"));
	assert_non_null(strstr(text, "\n144 OPEN s3 "));
	free(text);
	assert_pieces(&b, NULL);
	assert_pieces(&b, &recover);
	b.p[84] = 'P';
	b.p[32] = 'x'; /* the frame before the handshake */
	text = read_file(&b, &recover);
	assert_null(strstr(text, "FRAME s1"));
	assert_non_null(strstr(text, "32 DAMAGE +112 magic "));
	assert_non_null(strstr(text, "\n144 OPEN s3 "));
	free(text);
	assert_pieces(&b, &recover);
	bytes_free(&b);
}

/* Whoever says what the format is can read a take whose handshake is broken. */
static void
broken_headless(void **state)
{
	const struct log_options o = { .headless = true,
		.format = { .sample_rate = 8000, .channels = 1, .frame_samples = 4 } };
	struct bytes b = { 0 };

	(void)state;
	put_handshake(&b, &pcm);
	put_frame(&b, WIRE_PCM16, 3, 8);
	b.p[16] = 77; /* channels */
	assert_reads(&b, &o,
	    "0 DAMAGE +32 handshake channels 77, 1 to 64\n"
	    "32 OPEN s1 @0 id=0 tag= peer= \n"
	    "32 FRAME s1 @0 seq=3 len=8 kind=0 gap=0\n"
	    "52 CLOSE s1 @0 0 made up\n"
	    "52 END\n");
	bytes_free(&b);
}

/* Where the records of a log begin, its end included. */
static size_t
boundaries(const struct bytes *log, size_t out[32])
{
	struct log_reader *r = log_new(-1, NULL);
	struct log_record rec;
	size_t n = 0;

	log_window(r, log->p, log->len);
	log_eof(r);
	while (log_next(r, &rec) != LOG_END)
		if (n == 0 || out[n - 1] != rec.offset)
			out[n++] = rec.offset;
	if (n == 0 || out[n - 1] != log->len)
		out[n++] = log->len;
	log_free(r);
	return n;
}

/* Cut at every byte: all whole records are there; inside a record that is damage, once. */
static void
assert_cuts(const struct bytes *log, const struct log_options *o)
{
	char *whole = read_file(log, NULL);
	size_t at[32], n = boundaries(log, at);

	for (size_t len = 0; len < log->len; len++) {
		struct bytes part = { 0 };
		char *text, damage[64];
		size_t last = 0, same;

		while (last + 1 < n && at[last + 1] <= len)
			last++;
		bytes_add(&part, log->p, len);
		text = read_file(&part, o);
		/* The same up to there, */
		for (same = 0; whole[same] != '\0' && text[same] == whole[same]; same++)
			;
		while (same > 0 && text[same - 1] != '\n')
			same--;
		/* then the damage, */
		snprintf(damage, sizeof damage,
		    "%zu DAMAGE +%zu the input ends %zu bytes into a record", at[last],
		    len - at[last], len - at[last]);
		if (len == at[last])
			assert_null(strstr(text, "DAMAGE"));
		else
			assert_memory_equal(text + same, damage, strlen(damage));
		/* and the end of all sessions. */
		assert_int_equal(strstr(text, "END\n") + 4 - text, strlen(text));
		free(text);
		bytes_free(&part);
	}
	free(whole);
}

static void
cut_anywhere(void **state)
{
	struct bytes mux = small_mux(), frames = small_frames();

	(void)state;
	assert_cuts(&mux, NULL);
	assert_cuts(&mux, &recover);
	assert_cuts(&frames, NULL);
	assert_cuts(&frames, &recover);
	bytes_free(&mux);
	bytes_free(&frames);
}

/*
 * How a log ends is told apart, wherever it is cut: in order, in a torn record, in zeros, in
 * anything else.
 */
static void
assert_told_apart(const struct bytes *log)
{
	static const uint8_t zeros[5000];
	size_t at[32], n = boundaries(log, at), last = 0;

	for (size_t len = 0; len <= log->len; len++) {
		struct bytes b = { 0 };

		while (last + 1 < n && at[last + 1] <= len)
			last++;
		bytes_add(&b, log->p, len);
		if (len == at[last]) {
			assert_wrong(&b, &recover, "", UINT64_MAX);
			bytes_add(&b, zeros, 1);
			assert_wrong(&b, &recover, "ZEROS ", len);
			bytes_add(&b, zeros, sizeof zeros);
			assert_wrong(&b, &recover, "ZEROS ", len);
			bytes_add(&b, "x", 1);
			assert_wrong(&b, &recover, "TAIL ", len);
		} else {
			assert_wrong(&b, &recover, "TORN ", at[last]);
			assert_wrong(&b, NULL, "TORN ", at[last]);
			b.p[at[last]] ^= 0x10;
			assert_wrong(&b, NULL, "TAIL ", at[last]);
			if (last > 0) /* a mux log's first record holds a frame log's handshake */
				assert_wrong(&b, &recover, "TAIL ", at[last]);
		}
		bytes_free(&b);
	}
}

static void
how_it_ends(void **state)
{
	struct bytes mux = small_mux(), frames = small_frames();
	static const uint8_t zeros[100];

	(void)state;
	assert_told_apart(&mux);
	assert_told_apart(&frames);
	/* A prefix that is torn, and zeros where more was to come. */
	for (size_t len = 1; len <= 7; len++) {
		struct bytes b = { 0 };

		bytes_add(&b, mux.p, 268 + len);
		bytes_add(&b, zeros, sizeof zeros);
		/* 268 is a TICK: length 12. */
		assert_wrong(&b, &recover, len < 5 ? "TORN " : "ZEROS ", len < 5 ? 268 : 292);
		bytes_free(&b);
	}
	bytes_free(&mux);
	bytes_free(&frames);
}

/* The last record's end never came to the disk, and zeros are in its place, and after it. */
static void
zeros_in_a_record(void **state)
{
	static const uint8_t zeros[100];
	struct bytes b = small_mux();

	(void)state;
	b.len = 345 + 24; /* the last FRAME's header */
	bytes_add(&b, zeros, 12 + 3 - 1);
	assert_wrong(&b, &recover, "TORN ", 345);
	bytes_add(&b, zeros, 1);
	assert_wrong(&b, &recover, "RECORD ", 345);
	bytes_add(&b, zeros, 1);
	assert_wrong(&b, &recover, "RECORD ZEROS ", 384);
	bytes_add(&b, zeros, sizeof zeros);
	assert_wrong(&b, &recover, "RECORD ZEROS ", 384);
	assert_pieces(&b, &recover);
	bytes_add(&b, "x", 1);
	assert_wrong(&b, &recover, "TAIL ", 345);
	bytes_free(&b);
}

/* What reaches beyond the end and holds another record is not torn: its length is wrong. */
static void
torn_or_wrong(void **state)
{
	struct bytes b = { 0 };

	(void)state;
	put_handshake(&b, &stereo);
	put_frame(&b, WIRE_PCM16, 0, 4);
	put_frame(&b, WIRE_PCM16, 1, 4);
	put_frame(&b, WIRE_PCM16, 2, 40);
	b.len -= 20;
	assert_wrong(&b, &recover, "TORN ", 64);
	b.p[52] = 40;
	assert_wrong(&b, &recover, "TAIL ", 48);
	/* The one after it is whole: it is found. */
	b.len = 64;
	put_frame(&b, WIRE_PCM16, 2, 8);
	assert_wrong(&b, &recover, "LOST ", 48);
	b.p[52] = 4;
	assert_wrong(&b, &recover, "", UINT64_MAX);
	/* Two bytes too many, and one sample frame and a half: the length is wrong. */
	b.p[52] = 6;
	assert_wrong(&b, &recover, "LOST ", 48);
	assert_wrong(&b, NULL, "RECORD TAIL ", 66);
	bytes_free(&b);
}

/* A flipped bit in the length of any record of a mux log costs no other record, with recover. */
static void
flipped_lengths(void **state)
{
	struct bytes b = small_mux();
	size_t at[32], n = boundaries(&b, at);
	char *sound = read_file(&b, NULL);

	(void)state;
	for (size_t i = 1; i + 1 < n; i++)
		for (unsigned bit = 0; bit < 32; bit++) {
			char line[300], *text, *next;

			b.p[at[i] + 4 + bit / 8] ^= (uint8_t)(1 << bit % 8);
			text = read_file(&b, &recover);
			b.p[at[i] + 4 + bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_non_null(strstr(text, "DAMAGE"));
			for (size_t j = 0; j + 1 < n; j++) {
				snprintf(line, sizeof line, "\n%zu FRAME ", at[j]);
				next = strstr(sound, line);
				/* An OPEN's keys and a CLOSE's reason may be anything. */
				if (j == i || next == NULL || at[i] == 132 || at[i] == 292)
					continue;
				assert_non_null(strstr(text, line));
			}
			free(text);
		}
	free(sound);
	bytes_free(&b);
}

/*
 * ---- --recover ----
 */

struct found {
	uint64_t frames;    /* of the log before it was damaged */
	uint64_t strangers; /* frames that were not in it */
};

static struct found
look_for_frames(const struct bytes *damaged, const struct log_options *o, const struct bytes *log)
{
	struct log_reader *r = log_new(-1, o);
	struct log_record rec;
	struct found found = { 0 };
	size_t from = 0;

	log_window(r, damaged->p, damaged->len);
	log_eof(r);
	while (log_next(r, &rec) != LOG_END) {
		const uint8_t *p;

		if (rec.event != LOG_FRAME)
			continue;
		p = memmem(log->p + from, log->len - from, rec.data, rec.length);
		if (p != NULL) {
			from = (size_t)(p - log->p) + rec.length;
			found.frames++;
		} else {
			found.strangers++;
		}
	}
	log_free(r);
	return found;
}

/*
 * Garbage at every place.  Between records it costs nothing; within a record it costs that one,
 * and what hangs on it if it was an OPEN.  There are no checksums: a frame that is torn apart but
 * long enough is still a frame.
 */
static void
assert_garbage(const struct bytes *log, const void *garbage, size_t len)
{
	const uint64_t all = look_for_frames(log, NULL, log).frames;
	size_t at[32], n = boundaries(log, at), next = 0;

	for (size_t place = 0; place <= log->len; place++) {
		struct bytes b = { 0 };
		struct found found;

		while (at[next] < place)
			next++;
		assert_true(next < n);
		bytes_add(&b, log->p, place);
		bytes_add(&b, garbage, len);
		bytes_add(&b, log->p + place, log->len - place);
		found = look_for_frames(&b, &recover, log);
		assert_true(found.strangers <= (at[next] == place ? 0 : 1));
		assert_true(found.frames <= all);
		if (at[next] == place)
			assert_int_equal(found.frames, all);
		free(read_in_pieces(&b, &recover, place / 2 + 1, 50));
		bytes_free(&b);
	}
}

static void
garbage_anywhere(void **state)
{
	/* Also such that begins like records and frames that are longer than all that follows. */
	static const uint8_t like[] = "EETMxxxx\1\0\0\0\2\0\0\0EETMEETMPCMFxxxxCPDACPDAEETM";
	struct bytes mux = small_mux(), frames = small_frames();

	(void)state;
	assert_garbage(&mux, "x", 1);
	assert_garbage(&mux, "seventeen bytes..", 17);
	assert_garbage(&mux, like, sizeof like);
	assert_garbage(&mux, "EETM", 4);
	assert_garbage(&frames, "x", 1);
	assert_garbage(&frames, "seventeen bytes..", 17);
	assert_garbage(&frames, like + 24, sizeof like - 24);
	assert_garbage(&frames, "PCMF", 4);
	bytes_free(&mux);
	bytes_free(&frames);
}

static void
what_recover_says(void **state)
{
	struct bytes b = opened();

	(void)state;
	bytes_add(&b, "garbage", 7);
	put_mux_frame(&b, 1, 20, WIRE_PCM16, 5, 8);
	put_empty(&b, LOG_KIND_TICK, 30);
	put_empty(&b, LOG_KIND_TICK, 30);
	le32_store(b.p + b.len - 24 + 4, 11);
	put_empty(&b, LOG_KIND_ROTATE, 40);
	bytes_add(&b, "and more.....", 13);
	assert_reads(&b, &recover,
	    "0 OPEN s1 @10 id=8 tag= peer= \n"
	    "56 DAMAGE +7 magic 0x62726167, expected 0x4d544545 (\"EETM\"); 7 bytes skipped, "
	    "up to offset 63\n"
	    "63 FRAME s1 @20 seq=5 len=8 kind=0 gap=0\n"
	    "107 TICK @30\n"
	    /* The ROTATE, too: no magic is behind it. */
	    "131 DAMAGE +61 record length 11, 12 to 16777240; the remaining 61 bytes are skipped, "
	    "no sound record among them\n"
	    "192 CLOSE s1 @30 1006 made up\n"
	    "192 END\n");
	assert_pieces(&b, &recover);
	bytes_free(&b);
}

/* In a frame log a frame is sound only in a take of its codec, or behind a handshake. */
static void
recover_frames(void **state)
{
	struct bytes b = { 0 };

	(void)state;
	bytes_add(&b, "junk", 4);
	put_frame(&b, WIRE_PCM16, 0, 8);
	put_frame(&b, WIRE_PCM16, 1, 8);
	put_handshake(&b, &pcm);
	put_frame(&b, WIRE_PCM16, 2, 8);
	put_frame(&b, WIRE_ADPCM, 3, 8);
	put_frame(&b, WIRE_ADPCM, 4, 8);
	put_frame(&b, WIRE_PCM16, 5, 8);
	bytes_add(&b, "j", 1);
	put_frame(&b, WIRE_PCM16, 6, 8);
	put_handshake(&b, &adpcm);
	assert_reads(&b, &recover,
	    "0 DAMAGE +44 magic 0x6b6e756a: neither a mux log nor a frame log; 44 bytes skipped, "
	    "up to offset 44\n"
	    "44 OPEN s1 @1000000 id=7 tag= peer= \n"
	    "76 FRAME s1 @1000000 seq=2 len=8 kind=0 gap=0\n"
	    /* 5 is followed by junk. */
	    "96 DAMAGE +61 magic 0x41445046, expected a handshake's or a PCM frame's; 61 bytes "
	    "skipped, up to offset 157\n"
	    "157 FRAME s1 @1002000 seq=6 len=8 kind=1 gap=3\n"
	    "177 CLOSE s1 @1002000 0 made up\n"
	    "177 OPEN s2 @2000000 id=9 tag= peer= \n"
	    "209 CLOSE s2 @2000000 0 made up\n"
	    "209 END\n");
	assert_pieces(&b, &recover);
	bytes_free(&b);
}

/* A scan through what looks like the beginnings of records everywhere takes no time. */
static void
scan_is_linear(void **state)
{
	struct bytes b = { 0 };
	char *text;

	(void)state;
	b.len = 8 << 20;
	b.p = malloc(b.len);
	assert_non_null(b.p);
	memset(b.p, 0, b.len);
	for (size_t i = 0; i + 8 <= b.len; i += 8) {
		le32_store(b.p + i, LOG_MAGIC);
		le32_store(b.p + i + 4, LOG_MAX_LENGTH);
	}
	le32_store(b.p, 0);
	text = read_file(&b, &recover);
	assert_non_null(strstr(text, "0 DAMAGE +8388608 magic 0x00000000: neither"));
	free(text);
	bytes_free(&b);
}

/*
 * ---- Bounds, and what the system says ----
 */

/* Sessions beyond the limit are refused, those that are open go on. */
static void
too_many_sessions(void **state)
{
	struct log_reader *r = log_new(-1, NULL);
	struct log_record rec;
	struct bytes open = { 0 }, frame = { 0 };

	(void)state;
	for (uint32_t i = 1; i <= LOG_MAX_SESSIONS + 2; i++) {
		bytes_free(&open);
		put_open(&open, i, 1, &pcm, "");
		log_window(r, open.p, open.len);
		assert_int_equal(log_next(r, &rec), i <= LOG_MAX_SESSIONS ? LOG_OPEN : LOG_DAMAGE);
		if (i <= LOG_MAX_SESSIONS)
			assert_int_equal(log_next(r, &rec), LOG_MORE);
	}
	assert_string_equal(rec.text,
	    "OPEN of session 262146: 262144 sessions are open, at most that many");
	put_mux_frame(&frame, LOG_MAX_SESSIONS, 1, WIRE_PCM16, 0, 8);
	put_mux_frame(&frame, LOG_MAX_SESSIONS + 1, 1, WIRE_PCM16, 0, 8);
	put_close(&frame, 77, 1, 1000, "");
	put_open(&frame, LOG_MAX_SESSIONS + 1, 1, &pcm, "");
	log_window(r, frame.p, frame.len);
	assert_int_equal(log_next(r, &rec), LOG_FRAME);
	assert_int_equal(log_next(r, &rec), LOG_DAMAGE);
	assert_int_equal(log_next(r, &rec), LOG_CLOSE);
	assert_int_equal(log_next(r, &rec), LOG_OPEN);
	log_eof(r);
	/* In the order of their OPENs. */
	for (uint32_t i = 1; i <= LOG_MAX_SESSIONS + 1; i++)
		if (i != 77) {
			assert_int_equal(log_next(r, &rec), LOG_CLOSE);
			assert_int_equal(rec.session->number, i);
		}
	assert_int_equal(log_next(r, &rec), LOG_END);
	log_free(r);
	bytes_free(&open);
	bytes_free(&frame);
}

/* Wherever the first bytes were read before, the log is the same. */
static void
unread(void **state)
{
	struct bytes log = small_mux();
	struct log_record rec;

	(void)state;
	for (size_t head = 0; head <= log.len; head += head < 30 ? 1 : 17) {
		struct log_reader *r;
		int fds[2], records = 0;

		assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
		assert_int_equal(write(fds[1], log.p + head, log.len - head), log.len - head);
		close(fds[1]);
		r = log_new(fds[0], NULL);
		assert_int_equal(log_unread(r, log.p, head), 0);
		while (log_get(r, &rec) != LOG_END) {
			assert_int_not_equal(rec.event, LOG_DAMAGE);
			records++;
		}
		assert_int_equal(log_offset(r), log.len);
		assert_true(records > 5);
		log_free(r);
		close(fds[0]);
	}
	bytes_free(&log);
}

static void
no_data_yet(void **state)
{
	struct bytes log = small_mux();
	struct log_record rec;
	struct log_reader *r;
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	r = log_new(fds[0], NULL);
	assert_int_equal(log_fill(r), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(write(fds[1], log.p, 100), 100);
	assert_int_equal(log_fill(r), 1);
	/* The first record's time is not judged before the next one's is known. */
	assert_int_equal(log_next(r, &rec), LOG_MORE);
	assert_int_equal(write(fds[1], log.p + 100, 20), 20);
	assert_int_equal(log_fill(r), 1);
	assert_int_equal(log_next(r, &rec), LOG_OPEN);
	assert_int_equal(log_next(r, &rec), LOG_MORE);
	assert_int_equal(log_fill(r), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(log_next(r, &rec), LOG_MORE);
	assert_int_equal(log_get(r, &rec), LOG_ERROR);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(write(fds[1], log.p + 120, 80), 80);
	assert_int_equal(log_get(r, &rec), LOG_FRAME);
	/* What is still to come does not matter once there is said to be no more. */
	assert_int_equal(log_get(r, &rec), LOG_OPEN);
	log_eof(r);
	assert_int_equal(log_fill(r), 0);
	assert_int_equal(log_get(r, &rec), LOG_DAMAGE);
	assert_int_equal(log_get(r, &rec), LOG_CLOSE);
	assert_int_equal(log_get(r, &rec), LOG_CLOSE);
	assert_int_equal(log_get(r, &rec), LOG_END);
	log_free(r);
	close(fds[0]);
	close(fds[1]);
	bytes_free(&log);
}

static void
unreadable(void **state)
{
	int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct log_reader *r = log_new(fd, NULL);
	struct log_record rec;

	(void)state;
	assert_int_equal(log_get(r, &rec), LOG_ERROR);
	assert_int_equal(errno, EISDIR);
	log_free(r);
	close(fd);
	log_free(NULL);
}

/*
 * ---- The writer ----
 */

static void
written(void **state)
{
	uint8_t out[LOG_MAX_OPEN], handshake[WIRE_HANDSHAKE_SIZE];
	char text[300];
	size_t len;

	(void)state;
	wire_pack_handshake(handshake, &pcm);
	log_pack_header(out, 0x01020304, LOG_KIND_TICK, UINT64_C(0x1112131415161718), 0x20);
	assert_memory_equal(out, "EETM\x2c\0\0\0\4\3\2\1\4\0\0\0\x18\x17\x16\x15\x14\x13\x12\x11",
	    24);

	len = log_pack_open(out, 5, 6, handshake, "1.2.3.4:5", "a:b");
	assert_int_equal(len, 24 + 32 + 15 + 8);
	assert_memory_equal(out + 24, handshake, 32);
	assert_memory_equal(out + 56, "peer=1.2.3.4:5\ntag=a:b\n", 23);
	assert_int_equal(le32_load(out + 4), len - 12);
	assert_int_equal(log_pack_open(out, 5, 6, handshake, NULL, NULL), 56);
	assert_int_equal(log_pack_open(out, 5, 6, handshake, "", ""), 56);
	/* A peer can't forge a line. */
	len = log_pack_open(out, 5, 6, handshake, "a\ntag=x\r\x7f", NULL);
	assert_int_equal(len, 56 + 5 + 9 + 1);
	assert_memory_equal(out + 56, "peer=a?tag=x??\n", 15);
	memset(text, 'p', sizeof text);
	text[sizeof text - 1] = '\0';
	assert_int_equal(log_pack_open(out, 5, 6, handshake, text, NULL),
	    56 + 5 + LOG_MAX_PEER + 1);

	len = log_pack_close(out, 9, 10, 1008, "why", 3);
	assert_int_equal(len, 29);
	assert_memory_equal(out + 24, "\xf0\x03why", 5);
	assert_int_equal(log_pack_close(out, 9, 10, 1008, text, sizeof text - 1), 24 + 2 + 123);
	assert_int_equal(log_pack_close(out, 9, 10, 1006, NULL, 0), 26);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_kinds),
		cmocka_unit_test(nothing_at_all),
		cmocka_unit_test(in_pieces),
		cmocka_unit_test(windows),
		cmocka_unit_test(what_a_record_says),
		cmocka_unit_test(open_again),
		cmocka_unit_test(joined),
		cmocka_unit_test(flipped_times),
		cmocka_unit_test(damaged_times),
		cmocka_unit_test(near_times),
		cmocka_unit_test(clock_moves),
		cmocka_unit_test(last_times),
		cmocka_unit_test(first_times),
		cmocka_unit_test(joined_times),
		cmocka_unit_test(window_holds_nothing_back),
		cmocka_unit_test(pipe_waits_for_the_next),
		cmocka_unit_test(keys),
		cmocka_unit_test(most_keys),
		cmocka_unit_test(unknown_kinds),
		cmocka_unit_test(longest_records),
		cmocka_unit_test(headless),
		cmocka_unit_test(times),
		cmocka_unit_test(year_9999),
		cmocka_unit_test(skipped_records),
		cmocka_unit_test(skipped_frame),
		cmocka_unit_test(fatal_records),
		cmocka_unit_test(fatal_frames),
		cmocka_unit_test(broken_handshake),
		cmocka_unit_test(broken_take),
		cmocka_unit_test(broken_headless),
		cmocka_unit_test(cut_anywhere),
		cmocka_unit_test(how_it_ends),
		cmocka_unit_test(zeros_in_a_record),
		cmocka_unit_test(torn_or_wrong),
		cmocka_unit_test(flipped_lengths),
		cmocka_unit_test(garbage_anywhere),
		cmocka_unit_test(what_recover_says),
		cmocka_unit_test(recover_frames),
		cmocka_unit_test(scan_is_linear),
		cmocka_unit_test(too_many_sessions),
		cmocka_unit_test(unread),
		cmocka_unit_test(no_data_yet),
		cmocka_unit_test(unreadable),
		cmocka_unit_test(written),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
