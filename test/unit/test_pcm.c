/* pcm: what becomes silence, what is left out, what is joined, how loud it was. */
#include "pcm.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 1000 };

static const struct wire_handshake pcm = { 1, 1000, 1, WIRE_PCM16, 10, 0, 99 };
static const struct wire_handshake adpcm = { 1, 8000, 1, WIRE_ADPCM, 10, 0, 99 };

/*
 * A second decoder that is shown the same frames, but only for planning: its steps are the same,
 * whatever a test does with the first.
 */
struct pair {
	struct pcm p;
	struct pcm plan;
	int16_t out[MOST];
};

static void
begin(struct pair *t, const struct wire_handshake *h, enum adpcm_layout layout, bool fill)
{
	pcm_init(&t->p, h, layout, fill);
	pcm_init(&t->plan, h, layout, fill);
}

static void
join(struct pair *t, const struct wire_handshake *h, uint32_t first_seq)
{
	pcm_join(&t->p, h, first_seq);
	pcm_join(&t->plan, h, first_seq);
}

static struct pcm_step
frame(struct pair *t, uint32_t seq, const void *payload, uint32_t length)
{
	struct wire_frame f = { seq, length, payload };
	struct pcm_step s = pcm_plan(&t->p, &f), other = pcm_plan(&t->plan, &f);

	assert_int_equal(s.step.kind, other.step.kind);
	assert_int_equal(s.step.gap, other.step.gap);
	assert_int_equal(s.silence, other.silence);
	assert_int_equal(s.samples, other.samples);
	assert_int_equal(t->p.audio, t->plan.audio);
	assert_int_equal(t->p.silence, t->plan.silence);
	assert_int_equal(t->p.unfilled, t->plan.unfilled);
	assert_true(s.samples * t->p.stream.format.channels <= MOST);
	memset(t->out, 0x55, sizeof t->out);
	pcm_decode(&t->p, &f, s, t->out);
	return s;
}

/* A full frame of 10 samples, of zeros. */
static struct pcm_step
quiet(struct pair *t, uint32_t seq)
{
	static const uint8_t zeros[20];

	return frame(t, seq, zeros, t->p.stream.format.codec == WIRE_PCM16 ? 20 : 9);
}

static void
bytes_to_samples(void **state)
{
	static const uint8_t payload[] = { 0x34, 0x12, 0xff, 0xff, 0x00, 0x80, 0xff, 0x7f };
	struct wire_handshake stereo = pcm;
	struct pair t;
	struct pcm_step s;

	(void)state;
	stereo.channels = 2;
	begin(&t, &stereo, ADPCM_STATE, true);
	s = frame(&t, 7, payload, sizeof payload);
	assert_int_equal(s.silence, 0);
	assert_int_equal(s.samples, 2);
	assert_int_equal(t.out[0], 0x1234);
	assert_int_equal(t.out[1], -1);
	assert_int_equal(t.out[2], INT16_MIN);
	assert_int_equal(t.out[3], INT16_MAX);
	assert_int_equal(t.out[4], 0x5555);
	assert_int_equal(t.p.audio, 2);
}

static void
gaps_become_silence(void **state)
{
	struct pair t;
	struct pcm_step s;

	(void)state;
	begin(&t, &pcm, ADPCM_STATE, true);
	quiet(&t, 4294967295);
	s = quiet(&t, 5);
	assert_int_equal(s.silence, 50);
	assert_int_equal(s.samples, 10);
	assert_int_equal(t.p.silence, 50);
	assert_int_equal(t.p.unfilled, 0);
	s = quiet(&t, 5); /* repeat */
	assert_int_equal(s.silence + s.samples, 0);
	assert_int_equal(t.out[0], 0x5555);
	s = quiet(&t, 4000); /* behind by too much: restart, no silence */
	assert_int_equal(s.silence, 39940);
	s = quiet(&t, 3);
	assert_int_equal(s.step.kind, STREAM_RESTART);
	assert_int_equal(s.silence, 0);
	assert_int_equal(s.samples, 10);
	assert_int_equal(t.p.audio, 40);

	begin(&t, &pcm, ADPCM_STATE, false);
	quiet(&t, 0);
	s = quiet(&t, 5);
	assert_int_equal(s.silence, 0);
	assert_int_equal(s.samples, 10);
	assert_int_equal(t.p.unfilled, 1);
	assert_int_equal(t.p.stream.gap_frames, 4);
}

static void
long_gaps_stay(void **state)
{
	struct wire_handshake h = pcm;
	struct pair t;

	(void)state;
	/* 60 s are 6000 frames. */
	begin(&t, &pcm, ADPCM_STATE, true);
	quiet(&t, 0);
	assert_int_equal(quiet(&t, 6001).silence, 60000);
	begin(&t, &pcm, ADPCM_STATE, true);
	quiet(&t, 0);
	assert_int_equal(quiet(&t, 6002).silence, 0);
	assert_int_equal(t.p.unfilled, 1);
	assert_int_equal(t.p.silence, 0);
	assert_int_equal(quiet(&t, 6002 + 0x7fffffffu).silence, 0);
	assert_int_equal(t.p.unfilled, 2);

	/* 16 MiB of PCM are 131072 samples of 64 channels: 2 frames of 65535, but not 3. */
	h.sample_rate = 768000;
	h.channels = 64;
	h.frame_samples = 65535;
	begin(&t, &h, ADPCM_STATE, true);
	frame(&t, 0, "", 0);
	assert_int_equal(frame(&t, 3, "", 0).silence, 2 * 65535);
	assert_int_equal(frame(&t, 7, "", 0).silence, 0);
	assert_int_equal(t.p.unfilled, 1);
	h.frame_samples = 32768; /* exactly 16 MiB: 4 frames */
	begin(&t, &h, ADPCM_STATE, true);
	frame(&t, 0, "", 0);
	assert_int_equal(frame(&t, 5, "", 0).silence, 131072);
	assert_int_equal(frame(&t, 11, "", 0).silence, 0);

	/* The largest gap there is. */
	h.frame_samples = 65535;
	begin(&t, &h, ADPCM_STATE, true);
	frame(&t, 0, "", 0);
	assert_int_equal(frame(&t, 0x80000000, "", 0).silence, 0);
}

/* All silence together is at most the audio before it and 60 s. */
static void
silence_is_bounded_by_audio(void **state)
{
	struct pair t;

	(void)state;
	begin(&t, &pcm, ADPCM_STATE, true);
	quiet(&t, 0);
	assert_int_equal(quiet(&t, 5001).silence, 50000);
	assert_int_equal(quiet(&t, 6005).silence, 0); /* 60030 is more than 20 + 60000 */
	assert_int_equal(t.p.unfilled, 1);
	assert_int_equal(quiet(&t, 7009).silence, 10030); /* 60030 is not more than 30 + 60000 */
	assert_int_equal(quiet(&t, 7012).silence, 0);
	assert_int_equal(quiet(&t, 7015).silence, 20);
	assert_int_equal(t.p.unfilled, 2);
	assert_int_equal(t.p.silence, 60050);
	assert_int_equal(t.p.audio, 60);
}

static void
inputs_are_joined(void **state)
{
	struct wire_handshake other = pcm;
	struct pair t;
	struct pcm_step s;

	(void)state;
	begin(&t, &pcm, ADPCM_STATE, true);
	join(&t, &pcm, 4); /* nothing came yet */
	quiet(&t, 4);
	quiet(&t, 6);
	quiet(&t, 6);
	join(&t, &pcm, 7); /* the expected one */
	s = quiet(&t, 7);
	assert_int_equal(s.step.kind, STREAM_NEXT);
	join(&t, &pcm, 10); /* after it */
	s = quiet(&t, 10);
	assert_int_equal(s.step.kind, STREAM_GAP);
	assert_int_equal(s.silence, 20);
	assert_int_equal(t.p.stream.frames, 5);
	assert_int_equal(t.p.stream.first_seq, 4);
	join(&t, &pcm, 11 + 0x7fffffffu); /* as far after it as there is: still this take */
	assert_int_equal(t.p.stream.frames, 5);

	join(&t, &pcm, 11u - 1025u); /* before it, by more than repeats may be: a new take */
	assert_false(t.p.stream.started);
	assert_int_equal(t.p.frames, 5);
	assert_int_equal(t.p.gaps, 2);
	assert_int_equal(t.p.gap_frames, 3);
	assert_int_equal(t.p.repeats, 1);
	assert_int_equal(t.p.restarts, 0);
	s = quiet(&t, 10);
	assert_int_equal(s.step.kind, STREAM_NEXT);
	assert_int_equal(t.p.stream.first_seq, 10);
	quiet(&t, 5000);
	quiet(&t, 1);
	assert_int_equal(t.p.stream.restarts, 1);

	other.timestamp_ms++;
	join(&t, &other, 2); /* not the same handshake */
	assert_int_equal(t.p.frames, 8);
	assert_int_equal(t.p.restarts, 1);
	assert_int_equal(t.p.gap_frames, 3 + 4989);
	assert_int_equal(quiet(&t, 700).step.kind, STREAM_NEXT);
	assert_int_equal(t.p.stream.format.timestamp_ms, 100);
	other.reserved = 1;
	join(&t, &other, 701);
	assert_false(t.p.stream.started);
	quiet(&t, 701);
	other.stream_id = 1000;
	join(&t, &other, 702);
	assert_false(t.p.stream.started);
	assert_int_equal(t.p.audio, 90);
}

/*
 * bare's state goes over gaps, repeats and joined inputs; a restart and a new take set it to 0/0.
 * 10 codes of 7 climb from 0/0 to more than 20000, at index 80.
 */
static void
bare_carries_its_state(void **state)
{
	static const uint8_t climb[] = { 0x77, 0x77, 0x77, 0x77, 0x77 };
	static const uint8_t still[] = { 0x08, 0x08, 0x08, 0x08, 0x08 };
	struct pair t;
	struct adpcm_state reached;

	(void)state;
	begin(&t, &adpcm, ADPCM_BARE, true);
	frame(&t, 0, climb, sizeof climb);
	reached = t.p.carry[0];
	assert_int_equal(t.out[0], 11);
	assert_int_equal(t.out[9], reached.predictor);
	assert_true(reached.predictor > 20000);
	assert_int_equal(reached.index, 80);

	frame(&t, 0, climb, sizeof climb); /* a repeat */
	assert_int_equal(t.p.carry[0].predictor, reached.predictor);
	assert_int_equal(t.p.carry[0].index, 80);
	frame(&t, 3, still, sizeof still); /* over a gap */
	assert_true(t.out[0] > 20000);
	assert_int_equal(t.p.carry[0].index, 70);
	frame(&t, 4, "", 0);
	join(&t, &adpcm, 6);
	frame(&t, 6, still, sizeof still); /* over a join */
	assert_true(t.out[0] > 20000);
	assert_int_equal(t.p.carry[0].index, 60);

	frame(&t, 5000, "", 0);
	frame(&t, 5, "", 0); /* a restart, even one without samples */
	assert_int_equal(t.p.stream.restarts, 1);
	assert_int_equal(t.p.carry[0].predictor, 0);
	assert_int_equal(t.p.carry[0].index, 0);
	frame(&t, 6, climb, sizeof climb);
	assert_int_equal(t.out[0], 11);
	join(&t, &adpcm, 8000000); /* goes on */
	frame(&t, 8000000, climb, sizeof climb);
	assert_true(t.out[0] > 20000);
	join(&t, &adpcm, 0); /* a new take */
	frame(&t, 0, climb, sizeof climb);
	assert_int_equal(t.out[0], 11);
}

/* What is sent again, in part or more than once, over inputs that are joined, is heard once. */
static void
sent_again(void **state)
{
	static const uint64_t clocks[] = { 0, 1767225599999, 1767225600000, UINT64_MAX };
	static const uint32_t behind[] = { 1, 3, 1024, 1025, 5000, 0x80000000u };
	struct wire_handshake h = pcm;
	struct pair t;
	uint32_t seq, first;

	(void)state;
	for (size_t c = 0; c < 4; c++) {
		h.timestamp_ms = clocks[c];
		for (size_t b = 0; b < 6; b++) {
			bool again = c >= 2 || behind[b] <= 1024;

			begin(&t, &h, ADPCM_STATE, true);
			for (seq = 10; seq < 20; seq++)
				quiet(&t, seq);
			first = seq - behind[b];
			join(&t, &h, first);
			assert_int_equal(quiet(&t, first).samples, again ? 0 : 10);
			assert_int_equal(t.p.stream.started, true);
			assert_int_equal(t.p.stream.repeats, again);
			assert_int_equal(t.p.frames, again ? 0 : 10);
			if (!again)
				continue;
			if (behind[b] > 1)
				assert_int_equal(quiet(&t, 19).samples, 0);
			assert_int_equal(t.p.stream.expected, 20);
			assert_int_equal(quiet(&t, 20).samples, 10);
			assert_int_equal(t.p.stream.gaps + t.p.stream.restarts, 0);
		}
	}

	/* 2000 frames again, in two inputs, and what comes after them; then the rules are as ever. */
	h.timestamp_ms = 1767225600000;
	begin(&t, &h, ADPCM_STATE, true);
	for (seq = 0; seq < 2000; seq++)
		quiet(&t, seq);
	join(&t, &h, 0);
	for (seq = 0; seq < 1500; seq++)
		assert_int_equal(quiet(&t, seq).samples, 0);
	join(&t, &h, seq);
	for (; seq < 2000; seq++)
		assert_int_equal(quiet(&t, seq).samples, 0);
	assert_int_equal(quiet(&t, seq).step.kind, STREAM_NEXT);
	assert_int_equal(t.p.stream.repeats, 2000);
	assert_int_equal(quiet(&t, 0).step.kind, STREAM_RESTART);

	/* It may go on after a gap, which is one of the take's. */
	begin(&t, &h, ADPCM_STATE, true);
	quiet(&t, 5000);
	join(&t, &h, 1);
	quiet(&t, 1);
	assert_int_equal(quiet(&t, 5003).silence, 20);
	assert_int_equal(quiet(&t, 2).step.kind, STREAM_RESTART);

	/* A take that is another's forgets it. */
	begin(&t, &h, ADPCM_STATE, true);
	quiet(&t, 5000);
	join(&t, &h, 1);
	quiet(&t, 1);
	h.timestamp_ms++;
	join(&t, &h, 9000);
	quiet(&t, 9000);
	assert_int_equal(quiet(&t, 7).step.kind, STREAM_RESTART);
}

static void
damage_is_counted(void **state)
{
	static const uint8_t bad[9] = { 1, 0, 89, 0, 0x77 };
	struct pair t;

	(void)state;
	begin(&t, &adpcm, ADPCM_STATE, true);
	frame(&t, 0, bad, 9);
	assert_int_equal(t.p.damaged, 1);
	assert_int_equal(frame(&t, 1, bad, 3).samples, 0);
	assert_int_equal(t.p.damaged, 2);
	frame(&t, 2, "", 0);
	quiet(&t, 3);
	frame(&t, 3, bad, 9); /* a repeat is not looked into */
	assert_int_equal(t.p.damaged, 2);
	assert_int_equal(t.p.audio, 20);
}

static void
levels(void **state)
{
	enum { N = 997 };
	struct wire_handshake h = pcm;
	struct pair t;
	uint8_t payload[2 * N];
	double dbfs = 4711;
	uint64_t squares = 0;
	uint32_t seed = 1;
	int16_t v;
	size_t i;

	(void)state;
	h.frame_samples = N;
	begin(&t, &h, ADPCM_STATE, true);
	assert_false(pcm_peak_dbfs(&t.p.levels, &dbfs));
	quiet(&t, 0);
	quiet(&t, 2);
	assert_int_equal(t.p.levels.values, 20); /* silence for gaps is not measured */
	assert_false(pcm_peak_dbfs(&t.p.levels, &dbfs));
	assert_false(pcm_rms_dbfs(&t.p.levels, &dbfs));
	assert_true(dbfs >= 4711 && dbfs <= 4711);

	frame(&t, 3, "\xff\xff\x02\x00", 4);
	assert_int_equal(t.p.levels.peak, 2);
	assert_true(fabs(t.p.levels.squares - 5) < DBL_EPSILON);
	assert_int_equal(t.p.levels.clipped, 0);

	/* Values of all kinds, at every place of a long frame. */
	for (i = 0; i < N; i++) {
		seed = seed * 1664525 + 1013904223;
		v = i == 500   ? INT16_MIN
		    : i == 996 ? INT16_MAX
			       : (int16_t)((int)(seed >> 17) - 16384);
		squares += (uint64_t)((int64_t)v * v);
		payload[2 * i] = (uint8_t)(uint16_t)v;
		payload[2 * i + 1] = (uint8_t)((uint16_t)v >> 8);
	}
	frame(&t, 4, payload, sizeof payload);
	assert_int_equal(t.p.levels.peak, 32768);
	assert_int_equal(t.p.levels.clipped, 2);
	assert_int_equal(t.p.levels.values, 22 + N);
	assert_true(fabs(t.p.levels.squares - 5 - (double)squares) < 0.5);

	/* Full scale all the time is 0 dBFS, half of it 6.02 below. */
	begin(&t, &pcm, ADPCM_STATE, true);
	frame(&t, 0, "\x00\x80\x00\x80", 4);
	assert_true(pcm_peak_dbfs(&t.p.levels, &dbfs));
	assert_true(fabs(dbfs) < 1e-9);
	assert_true(pcm_rms_dbfs(&t.p.levels, &dbfs));
	assert_true(fabs(dbfs) < 1e-9);
	assert_int_equal(t.p.levels.clipped, 2);
	begin(&t, &pcm, ADPCM_STATE, true);
	frame(&t, 0, "\x00\x40\x00\xc0", 4);
	assert_true(pcm_peak_dbfs(&t.p.levels, &dbfs));
	assert_true(fabs(dbfs + 6.0206) < 1e-4);
	assert_true(pcm_rms_dbfs(&t.p.levels, &dbfs));
	assert_true(fabs(dbfs + 6.0206) < 1e-4);
}

/* The longest frame of the loudest samples: the sum of its squares is exact. */
static void
levels_do_not_overflow(void **state)
{
	struct wire_handshake h = { 1, 768000, 64, WIRE_PCM16, 65535, 0, 0 };
	size_t n = 64 * 65535, i;
	uint8_t *payload = malloc(2 * n);
	int16_t *out = malloc(2 * n);
	struct wire_frame f = { 0, (uint32_t)(2 * n), payload };
	struct pcm p;

	(void)state;
	assert_non_null(payload);
	assert_non_null(out);
	for (i = 0; i < 2 * n; i++)
		payload[i] = i % 2 == 0 ? 0x00 : 0x80;
	pcm_init(&p, &h, ADPCM_STATE, true);
	pcm_decode(&p, &f, pcm_plan(&p, &f), out);
	assert_int_equal(p.levels.clipped, n);
	assert_true(fabs(p.levels.squares - (double)n * 32768 * 32768) < 0.5);
	free(payload);
	free(out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_to_samples),
		cmocka_unit_test(gaps_become_silence),
		cmocka_unit_test(long_gaps_stay),
		cmocka_unit_test(silence_is_bounded_by_audio),
		cmocka_unit_test(inputs_are_joined),
		cmocka_unit_test(sent_again),
		cmocka_unit_test(bare_carries_its_state),
		cmocka_unit_test(damage_is_counted),
		cmocka_unit_test(levels),
		cmocka_unit_test(levels_do_not_overflow),
	};

	return cmocka_run_group_tests_name("pcm", tests, NULL, NULL);
}
