/* stream: what sequence numbers mean, and how much audio there is. */
#include "stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct wire_handshake pcm = { 1, 8000, 2, WIRE_PCM16, 100, 0, 0 };

/* Judge and take a frame of 100 samples. */
static struct stream_step
next(struct stream *s, uint32_t seq)
{
	struct stream before = *s;
	struct stream_step step = stream_look(s, seq);

	assert_memory_equal(s, &before, sizeof *s);
	stream_take(s, seq, step, 100);
	return step;
}

static void
assert_next(struct stream *s, uint32_t seq, enum stream_kind kind, uint32_t gap)
{
	struct stream_step step = next(s, seq);

	assert_int_equal(step.kind, kind);
	assert_int_equal(step.gap, gap);
}

static void
in_order(void **state)
{
	struct stream s;

	(void)state;
	stream_init(&s, &pcm);
	assert_false(s.started);
	assert_next(&s, 4294967294, STREAM_NEXT, 0); /* whatever it is, it starts the count */
	assert_next(&s, 4294967295, STREAM_NEXT, 0);
	assert_next(&s, 0, STREAM_NEXT, 0);
	assert_next(&s, 1, STREAM_NEXT, 0);
	assert_int_equal(s.expected, 2);
	assert_int_equal(s.first_seq, 4294967294);
	assert_int_equal(s.last_seq, 1);
	assert_int_equal(s.frames, 4);
	assert_int_equal(s.samples, 400);
	assert_int_equal(s.position, 400);
	assert_int_equal(s.gaps + s.repeats + s.restarts, 0);
}

static void
gaps(void **state)
{
	struct stream s;

	(void)state;
	stream_init(&s, &pcm);
	next(&s, 4294967290);
	assert_next(&s, 4294967292, STREAM_GAP, 1);
	assert_next(&s, 4, STREAM_GAP, 7);
	assert_int_equal(s.position, 300 + 800);
	/* The longest: one less than half of the numbers. */
	assert_next(&s, 5 + 0x7fffffffu, STREAM_GAP, 0x7fffffff);
	assert_next(&s, 0x80000005, STREAM_NEXT, 0);
	assert_int_equal(s.gaps, 3);
	assert_int_equal(s.gap_frames, 8 + UINT64_C(0x7fffffff));
	assert_int_equal(s.samples, 500);
	assert_int_equal(s.position, 500 + 100 * (8 + UINT64_C(0x7fffffff)));
}

static void
repeats(void **state)
{
	struct stream s;

	(void)state;
	stream_init(&s, &pcm);
	next(&s, 10);
	assert_next(&s, 10, STREAM_REPEAT, 0);
	assert_int_equal(s.expected, 11);
	assert_int_equal(s.last_seq, 10);
	assert_next(&s, 11, STREAM_NEXT, 0);
	assert_next(&s, 12u - 1024, STREAM_REPEAT, 0); /* behind by 1024, over 2^32 */
	assert_int_equal(s.last_seq, 12 - UINT32_C(1024));
	assert_int_equal(s.expected, 12);
	assert_int_equal(s.samples, 200); /* repeats are no audio */
	assert_int_equal(s.position, 200);
	assert_int_equal(s.frames, 4);
	assert_int_equal(s.repeats, 2);
	assert_next(&s, 12u - 1025, STREAM_RESTART, 0); /* 1025 is too far */
	assert_next(&s, 13u - 1025, STREAM_NEXT, 0);
	assert_int_equal(s.restarts, 1);
	assert_int_equal(s.position, 400);
}

static void
restarts(void **state)
{
	struct stream s;
	int i;

	(void)state;
	stream_init(&s, &pcm);
	next(&s, 0);
	assert_next(&s, 0x80000001, STREAM_RESTART, 0); /* half of the numbers away is behind */
	assert_int_equal(s.expected, 0x80000002);
	assert_int_equal(s.position, 200);
	next(&s, 0x80000002);

	/* 1024 repeats in a row are repeats, one more is a sender that began again near by. */
	for (i = 0; i < 1024; i++)
		assert_next(&s, 0x80000000, STREAM_REPEAT, 0);
	assert_next(&s, 0x80000000, STREAM_RESTART, 0);
	assert_int_equal(s.expected, 0x80000001);
	assert_int_equal(s.repeats, 1024);
	assert_int_equal(s.restarts, 2);
	/* The run was broken: all begins again. */
	for (i = 0; i < 1024; i++)
		assert_next(&s, 0x80000000, STREAM_REPEAT, 0);
	assert_next(&s, 0x80000001, STREAM_NEXT, 0);
	for (i = 0; i < 1024; i++)
		assert_next(&s, 0x80000001, STREAM_REPEAT, 0);
	assert_next(&s, 0x80000003, STREAM_GAP, 1);
	assert_next(&s, 0x80000003, STREAM_REPEAT, 0);
	assert_int_equal(s.restarts, 2);
}

/* A hostile sender claims to have lost all there is, again and again: the sum does not wrap. */
static void
position_stops_at_the_end(void **state)
{
	struct wire_handshake h = pcm;
	struct stream s;
	uint64_t before;
	uint32_t seq = 0;
	int i;

	(void)state;
	h.frame_samples = 65535;
	stream_init(&s, &h);
	next(&s, seq);
	for (i = 0; i < 140000; i++) {
		before = s.position;
		seq += 0x7fffffff;
		assert_int_equal(next(&s, seq).kind, STREAM_GAP);
		assert_true(s.position >= before);
	}
	assert_true(s.position == UINT64_MAX);
}

static void
samples(void **state)
{
	struct wire_handshake h = pcm;

	(void)state;
	assert_int_equal(stream_samples(&h, ADPCM_BARE, 0), 0);
	assert_int_equal(stream_samples(&h, ADPCM_BARE, 12), 3);
	assert_int_equal(stream_samples(&h, ADPCM_WAV, 400), 100);
	assert_int_equal(stream_samples_any(&h, 12), 3);

	h.codec = WIRE_ADPCM;
	h.channels = 1;
	assert_int_equal(stream_samples(&h, ADPCM_STATE, 34), 60);
	assert_int_equal(stream_samples(&h, ADPCM_WAV, 34), 61);
	assert_int_equal(stream_samples(&h, ADPCM_BARE, 34), 68);

	/* Full blocks of 100 samples: state and state-high 54 bytes, wav 56, bare 50. */
	assert_int_equal(stream_samples_any(&h, 54), 100);
	assert_int_equal(stream_samples_any(&h, 56), 100);
	assert_int_equal(stream_samples_any(&h, 50), 100);
	assert_int_equal(stream_samples_any(&h, 49), 90);
	assert_int_equal(stream_samples_any(&h, 51), 94);
	assert_int_equal(stream_samples_any(&h, 53), 98);
	assert_int_equal(stream_samples_any(&h, 3), 0);
	assert_int_equal(stream_samples_any(&h, 0), 0);
	h.frame_samples = 101; /* rounded either way: state-high 54 or 55, bare 50 or 51 */
	assert_int_equal(stream_samples_any(&h, 54), 101);
	assert_int_equal(stream_samples_any(&h, 55), 101);
	assert_int_equal(stream_samples_any(&h, 50), 101);
	assert_int_equal(stream_samples_any(&h, 51), 101);
	assert_int_equal(stream_samples_any(&h, 52), 96);
	h.frame_samples = 1; /* bare rounded down has no bytes, which are no samples */
	assert_int_equal(stream_samples_any(&h, 0), 0);
	assert_int_equal(stream_samples_any(&h, 1), 1);
	assert_int_equal(stream_samples_any(&h, 4), 1);

	h.channels = 2;
	h.frame_samples = 9; /* state 24 bytes, wav 16 */
	assert_int_equal(stream_samples_any(&h, 24), 9);
	assert_int_equal(stream_samples_any(&h, 16), 9);
	assert_int_equal(stream_samples_any(&h, 8), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order),
		cmocka_unit_test(gaps),
		cmocka_unit_test(repeats),
		cmocka_unit_test(restarts),
		cmocka_unit_test(position_stops_at_the_end),
		cmocka_unit_test(samples),
	};

	return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
