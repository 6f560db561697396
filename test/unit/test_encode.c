/* encode: what it writes decodes, in a chain; how near it comes to the best there is. */
#include "encode.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_VALUES = 1 << 14, MAX_BLOCK = 1 << 15 };

static uint32_t seed;

static uint32_t
noise(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed >> 16;
}

static struct encoder *
new_encoder(unsigned effort)
{
	struct encoder *s = encode_new(effort);

	assert_non_null(s);
	return s;
}

/* What is hard to encode, of its kind: 0 tones that come and go; 1 noise; 2 extremes; 3 silence. */
static int16_t
sound(int kind, size_t i)
{
	double t = (double)i;

	switch (kind) {
	case 0:
		return (int16_t)((i / 700 % 2 == 0 ? 12000 : 300) * sin(t * 0.11) +
		    3000 * sin(t * 0.71) + (int)(noise() % 64));
	case 1: return (int16_t)(noise() - 32768);
	case 2: return i / 5 % 2 == 0 ? INT16_MAX : INT16_MIN;
	default: return 0;
	}
}

/*
 * Encode in blocks of n, decode each, and compare the encoder's state with the decoder's.  Returns
 * the squared error.
 */
static double
round_trip(struct encoder *s, enum adpcm_layout layout, unsigned ch, uint32_t n, const int16_t *in,
    size_t samples)
{
	static uint8_t block[MAX_BLOCK];
	static int16_t out[MAX_VALUES];
	struct adpcm_state state[ADPCM_MAX_CHANNELS] = { 0 }, decoder[ADPCM_MAX_CHANNELS];
	bool damaged = false;
	double error = 0;

	for (unsigned c = 0; c < ch; c++)
		state[c].index = c % 2 == 0 ? 0 : ENCODE_ANY_INDEX;
	for (size_t at = 0; at < samples; at += n, in += (size_t)n * ch) {
		uint32_t part = samples - at < n ? (uint32_t)(samples - at) : n;
		uint32_t length = adpcm_block_length(layout, ch, part);

		memset(block, 0xa5, sizeof block);
		assert_int_equal(encode_block(s, layout, ch, in, part, state, block), length);
		assert_int_equal(block[length], 0xa5);
		assert_true(
		    adpcm_decode(layout, ch, part, block, length, decoder, out, &damaged) == part);
		assert_false(damaged);
		for (unsigned c = 0; c < ch; c++) {
			assert_int_equal(state[c].index, decoder[c].index);
			assert_int_equal(state[c].predictor, decoder[c].predictor);
		}
		for (size_t i = 0; i < (size_t)part * ch; i++)
			error += pow(in[i] - out[i], 2);
	}
	return error;
}

static void
decodes(void **state)
{
	static const struct {
		unsigned ch;
		uint32_t n;
		size_t samples;
	} cases[] = { { 1, 160, 1000 }, { 1, 161, 1000 }, { 1, 505, 1700 }, { 1, 1, 30 },
		{ 2, 320, 700 }, { 2, 9, 100 }, { 1, 1600, 3333 }, { 6, 160, 400 },
		{ 64, 17, 60 } };
	static int16_t in[MAX_VALUES];

	(void)state;
	for (unsigned effort = 0; effort <= 4; effort++) {
		struct encoder *s = new_encoder(effort);

		for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
			for (int kind = 0; kind < 4; kind++) {
				for (size_t k = 0; k < cases[i].samples * cases[i].ch; k++)
					in[k] = sound(kind, k / cases[i].ch);
				round_trip(s, ADPCM_STATE, cases[i].ch, cases[i].n, in,
				    cases[i].samples);
				round_trip(s, ADPCM_WAV, cases[i].ch, cases[i].n, in,
				    cases[i].samples);
			}
		encode_free(s);
	}
}

/* Each effort is worth its time: the error falls, most of all with the first. */
static void
efforts(void **state)
{
	enum { SAMPLES = 4000 };
	static int16_t in[SAMPLES];
	double before = INFINITY, error, first = 0;

	(void)state;
	for (size_t i = 0; i < SAMPLES; i++)
		in[i] = sound(0, i);
	for (unsigned effort = 0; effort <= ENCODE_MAX_EFFORT; effort++) {
		struct encoder *s = new_encoder(effort);

		error = round_trip(s, ADPCM_STATE, 1, 160, in, SAMPLES);
		encode_free(s);
		if (effort == 0)
			first = error;
		else if (effort == 1)
			assert_true(error < 0.6 * first);
		assert_true(error < before * 1.005);
		before = error;
	}
	assert_true(before < 0.55 * first);
	errno = 0;
	assert_null(encode_new(ENCODE_MAX_EFFORT + 1));
	assert_int_equal(errno, EINVAL);
	encode_free(NULL);
}

/* Silence and what is nearly that is not made worse. */
static void
silence(void **state)
{
	int16_t in[400] = { 0 };
	struct encoder *s = new_encoder(1), *greedy = new_encoder(0);

	(void)state;
	assert_true(round_trip(s, ADPCM_STATE, 1, 160, in, 400) == 0);
	assert_true(round_trip(s, ADPCM_WAV, 2, 100, in, 200) == 0);
	for (size_t i = 0; i < 400; i++)
		in[i] = (int16_t)(noise() % 3) - 1;
	assert_true(round_trip(s, ADPCM_STATE, 1, 160, in, 400) <=
	    round_trip(greedy, ADPCM_STATE, 1, 160, in, 400));
	encode_free(greedy);
	encode_free(s);
}

/* The least error of all 16^n codings, by trying them. */
static double
least(struct adpcm_state from, const int16_t *in, unsigned n)
{
	double best = INFINITY;

	if (n == 0)
		return 0;
	for (unsigned code = 0; code < 16; code++) {
		uint8_t block[] = { (uint8_t)from.predictor,
			(uint8_t)((uint16_t)from.predictor >> 8), from.index, 0, (uint8_t)code };
		struct adpcm_state to;
		bool damaged = false;
		int16_t out;
		double error;

		adpcm_decode(ADPCM_STATE, 1, 1, block, sizeof block, &to, &out, &damaged);
		error = pow(in[0] - out, 2);
		if (error < best)
			error += least(to, in + 1, n - 1);
		best = error < best ? error : best;
	}
	return best;
}

/* From any state, the widest search finds the best there is; the narrowest comes near it. */
static void
optimum(void **state)
{
	enum { TRIES = 300, SAMPLES = 4 };
	struct encoder *wide = new_encoder(ENCODE_MAX_EFFORT), *narrow = new_encoder(1);
	int found = 0, near = 0;

	(void)state;
	for (int t = 0; t < TRIES; t++) {
		struct adpcm_state start = { (int16_t)(noise() - 32768), (uint8_t)(noise() % 89) };
		struct adpcm_state w = start, n = start, d;
		uint32_t loud = 1u << noise() % 16;
		uint8_t block[16];
		int16_t in[SAMPLES], out[SAMPLES];
		double best, error[2] = { 0 };
		bool damaged = false;

		for (int i = 0; i < SAMPLES; i++) {
			int v = start.predictor + (int)(noise() % (2 * loud)) - (int)loud;

			in[i] = (int16_t)(v > INT16_MAX ? INT16_MAX
				: v < INT16_MIN         ? INT16_MIN
							: v);
		}
		best = least(start, in, SAMPLES);
		for (int i = 0; i < 2; i++) {
			encode_block(i == 0 ? wide : narrow, ADPCM_STATE, 1, in, SAMPLES,
			    i == 0 ? &w : &n, block);
			adpcm_decode(ADPCM_STATE, 1, SAMPLES, block, 6, &d, out, &damaged);
			for (int k = 0; k < SAMPLES; k++)
				error[i] += pow(in[k] - out[k], 2);
			assert_true(error[i] >= best);
		}
		found += error[0] <= best;
		near += error[1] <= best * 1.25 + 1;
	}
	encode_free(wide);
	encode_free(narrow);
	assert_true(found >= TRIES * 97 / 100);
	assert_true(near >= TRIES * 3 / 4);
}

/* What a reader finds is the layout that was written, by the chain. */
static void
chain(void **state)
{
	static int16_t in[20 * 320 * 2];
	uint8_t block[1024];

	(void)state;
	for (unsigned effort = 0; effort <= 5; effort++)
		for (unsigned ch = 1; ch <= 2; ch++)
			for (int l = 0; l < 2; l++) {
				enum adpcm_layout layout = l == 0 ? ADPCM_STATE : ADPCM_WAV;
				struct encoder *s = new_encoder(effort);
				struct adpcm_state st[2] = { 0 };
				struct adpcm_verdict v;
				struct adpcm_sniff sniff;

				for (size_t i = 0; i < sizeof in / sizeof *in; i++)
					in[i] = sound(0, i);
				adpcm_sniff_init(&sniff, ch, 320);
				for (uint32_t i = 0; i < 20; i++)
					adpcm_sniff_add(&sniff, i, block,
					    encode_block(s, layout, ch, in + (size_t)i * 320 * ch,
						320, st, block));
				v = adpcm_sniff_verdict(&sniff);
				assert_int_equal(v.layout, layout);
				assert_int_equal(v.rule, ADPCM_BY_CHAIN);
				encode_free(s);
			}
}

/* A stream that begins loud is as good at its beginning as later, if it may begin in any state. */
static void
any_index(void **state)
{
	enum { SAMPLES = 160 };
	int16_t in[2 * SAMPLES], out[2 * SAMPLES];

	(void)state;
	for (unsigned effort = 0; effort <= 4; effort++)
		for (int l = 0; l < 2; l++) {
			enum adpcm_layout layout = l == 0 ? ADPCM_STATE : ADPCM_WAV;
			struct encoder *e = new_encoder(effort);
			double error[2] = { 0 };

			for (int free = 0; free < 2; free++) {
				struct adpcm_state st[2] = { 0 }, decoder[2];
				uint8_t block[512];
				bool damaged = false;
				uint32_t length;

				/* Loud from the start on the left, silence on the right. */
				for (int i = 0; i < SAMPLES; i++) {
					in[2 * i] = (int16_t)(20000 * cos(i * 0.9));
					in[2 * i + 1] = 0;
				}
				if (free)
					st[0].index = st[1].index = ENCODE_ANY_INDEX;
				length = encode_block(e, layout, 2, in, SAMPLES, st, block);
				adpcm_decode(layout, 2, SAMPLES, block, length, decoder, out,
				    &damaged);
				assert_false(damaged);
				for (int c = 0; c < 2; c++) {
					assert_int_equal(decoder[c].index, st[c].index);
					assert_int_equal(decoder[c].predictor, st[c].predictor);
				}
				for (int i = 0; i < SAMPLES; i++) {
					error[free] += pow(in[2 * i] - out[2 * i], 2);
					assert_int_equal(out[2 * i + 1], 0);
				}
				if (free)
					assert_true(block[2] > 40);
				assert_int_equal(block[6], 0);
			}
			assert_true(error[1] < error[0] / 3);
			encode_free(e);
		}
}

/* An encoder has no memory: another stream before changes nothing. */
static void
repeatable(void **state)
{
	uint8_t one[200], other[200];
	int16_t in[320];

	(void)state;
	for (unsigned effort = 0; effort <= 4; effort++) {
		struct adpcm_state st[3] = { { 100, 20 }, { 0, 0 }, { 100, 20 } };
		struct encoder *s = new_encoder(effort);
		uint32_t length;

		for (size_t i = 0; i < 320; i++)
			in[i] = sound(0, i);
		length = encode_block(s, ADPCM_STATE, 1, in, 320, &st[0], one);
		for (size_t i = 0; i < 320; i++)
			in[i] = sound(1, i);
		encode_block(s, ADPCM_STATE, 1, in, 320, &st[1], other);
		seed = 7;
		for (size_t i = 0; i < 320; i++)
			in[i] = (int16_t)noise();
		seed = 7;
		encode_block(s, ADPCM_STATE, 1, in, 320, &st[2], one);
		encode_free(s);
		s = new_encoder(effort);
		st[2] = (struct adpcm_state){ 100, 20 };
		encode_block(s, ADPCM_STATE, 1, in, 320, &st[2], other);
		assert_memory_equal(one, other, length);
		encode_free(s);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decodes),
		cmocka_unit_test(efforts),
		cmocka_unit_test(silence),
		cmocka_unit_test(optimum),
		cmocka_unit_test(chain),
		cmocka_unit_test(any_index),
		cmocka_unit_test(repeatable),
	};

	seed = 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
