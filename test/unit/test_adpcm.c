/*
 * adpcm: blocks and samples against libsndfile, sox and audioop, and which layout a stream has,
 * from what real encoders wrote.
 */
#include "adpcm.h"
#include "bytes.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sndfile.h>

enum { MAX_SAMPLES = 65535 };

#define COUNT(a) (sizeof(a) / sizeof *(a))

static uint32_t
noise(void)
{
	static uint32_t seed = 1;

	seed = seed * 1664525 + 1013904223;
	return seed >> 16;
}

/* A sine of 12000, 62 samples long. */
static int16_t
sine(size_t i)
{
	enum { LENGTH = 997 };
	static int16_t values[LENGTH];
	size_t k;

	if (values[1] == 0)
		for (k = 0; k < LENGTH; k++)
			values[k] = (int16_t)(12000 * sin(2 * M_PI * 16 * (double)k / LENGTH));
	return values[i % LENGTH];
}

static int16_t
white(void)
{
	return (int16_t)((int)noise() - 32768);
}

static void *
allocate(size_t size)
{
	void *p = malloc(size == 0 ? 1 : size);

	assert_non_null(p);
	return p;
}

/* A block whose headers are sound and whose codes are anything. */
static void
random_block(unsigned ch, uint8_t *block, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
		block[i] = (uint8_t)noise();
	for (i = 0; i < ch; i++) {
		block[4 * i + 2] = (uint8_t)(noise() % 89);
		block[4 * i + 3] = 0;
	}
}

/* Decode a block that stands, like its samples, at the end of its memory. */
static uint32_t
decode(enum adpcm_layout layout, unsigned ch, uint32_t n, const uint8_t *block, size_t length,
    struct adpcm_state *state, int16_t *out, bool *damagedo)
{
	uint32_t samples = adpcm_block_samples(layout, ch, n, length);
	uint8_t *b = allocate(length);
	int16_t *o = allocate(sizeof *o * samples * ch);

	memcpy(b, block, length);
	assert_int_equal(adpcm_decode(layout, ch, n, b, length, state, o, damagedo), samples);
	memcpy(out, o, sizeof *o * samples * ch);
	free(b);
	free(o);
	return samples;
}

static void
names(void **state)
{
	static const char *const expected[] = { "state", "state-high", "dvi4", "wav", "bare" };
	enum adpcm_layout layout = ADPCM_BARE;
	int i;

	(void)state;
	for (i = 0; i < ADPCM_LAYOUTS; i++) {
		assert_string_equal(adpcm_layout_name((enum adpcm_layout)i), expected[i]);
		assert_true(adpcm_layout_parse(expected[i], &layout));
		assert_int_equal(layout, i);
	}
	layout = ADPCM_WAV;
	assert_false(adpcm_layout_parse("State", &layout));
	assert_false(adpcm_layout_parse("", &layout));
	assert_int_equal(layout, ADPCM_WAV);
	assert_string_equal(adpcm_rule_name(ADPCM_BY_CHAIN), "chain");
	assert_string_equal(adpcm_rule_name(ADPCM_BY_LENGTH), "length");
	assert_string_equal(adpcm_rule_name(ADPCM_GIVEN), "given");
	for (i = 0; i < ADPCM_LAYOUTS; i++) {
		assert_true(adpcm_layout_allowed((enum adpcm_layout)i, 1));
		assert_int_equal(adpcm_layout_allowed((enum adpcm_layout)i, 2),
		    i == ADPCM_STATE || i == ADPCM_WAV);
	}
}

static void
lengths(void **state)
{
	static const struct {
		enum adpcm_layout layout;
		unsigned ch;
		uint32_t n, length;
	} full[] = {
		{ ADPCM_STATE, 1, 1, 5 },
		{ ADPCM_STATE, 1, 160, 84 },
		{ ADPCM_STATE, 1, 161, 85 },
		{ ADPCM_STATE, 1, 65535, 32772 },
		{ ADPCM_STATE, 2, 1, 16 },
		{ ADPCM_STATE, 2, 8, 16 },
		{ ADPCM_STATE, 2, 9, 24 },
		{ ADPCM_STATE, 64, 65535, 2097408 },
		{ ADPCM_STATE_HIGH, 1, 160, 84 },
		{ ADPCM_STATE_HIGH, 1, 441, 225 },
		{ ADPCM_DVI4, 1, 160, 84 },
		{ ADPCM_DVI4, 1, 441, 225 },
		{ ADPCM_WAV, 1, 1, 4 },
		{ ADPCM_WAV, 1, 2, 8 },
		{ ADPCM_WAV, 1, 480, 244 },
		{ ADPCM_WAV, 1, 505, 256 },
		{ ADPCM_WAV, 2, 505, 512 },
		{ ADPCM_WAV, 6, 10, 72 },
		{ ADPCM_BARE, 1, 160, 80 },
		{ ADPCM_BARE, 1, 7, 4 },
	};
	static const struct {
		enum adpcm_layout layout;
		unsigned ch;
		uint32_t n, length, samples;
	} some[] = {
		{ ADPCM_STATE, 1, 160, 0, 0 },
		{ ADPCM_STATE, 1, 160, 3, 0 },
		{ ADPCM_STATE, 1, 160, 4, 0 },
		{ ADPCM_STATE, 1, 160, 5, 2 },
		{ ADPCM_STATE, 1, 160, 83, 158 },
		{ ADPCM_STATE, 1, 160, 84, 160 },
		{ ADPCM_STATE, 1, 160, 85, 160 },
		{ ADPCM_STATE, 1, 161, 85, 161 },
		{ ADPCM_STATE, 1, 160, UINT32_MAX, 160 },
		{ ADPCM_STATE, 6, 160, 23, 0 },
		{ ADPCM_STATE, 6, 160, 24, 0 },
		{ ADPCM_STATE, 6, 160, 48, 8 },
		{ ADPCM_STATE, 6, 7, 48, 7 },
		{ ADPCM_STATE_HIGH, 1, 441, 224, 440 },
		{ ADPCM_STATE_HIGH, 1, 441, 225, 441 },
		{ ADPCM_DVI4, 1, 160, 3, 0 },
		{ ADPCM_DVI4, 1, 160, 83, 158 },
		{ ADPCM_DVI4, 1, 441, 224, 440 },
		{ ADPCM_WAV, 1, 505, 3, 0 },
		{ ADPCM_WAV, 1, 505, 4, 1 },
		{ ADPCM_WAV, 1, 505, 5, 3 },
		{ ADPCM_WAV, 1, 480, 244, 480 },
		{ ADPCM_WAV, 1, 505, 256, 505 },
		{ ADPCM_WAV, 2, 505, 8, 1 },
		{ ADPCM_WAV, 2, 505, 16, 9 },
		{ ADPCM_BARE, 1, 160, 1, 2 },
		{ ADPCM_BARE, 1, 160, 84, 160 },
		{ ADPCM_BARE, 1, 7, 3, 6 },
		{ ADPCM_BARE, 1, 7, 4, 7 },
	};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(full); i++) {
		assert_int_equal(adpcm_block_length(full[i].layout, full[i].ch, full[i].n),
		    full[i].length);
		assert_int_equal(
		    adpcm_block_samples(full[i].layout, full[i].ch, full[i].n, full[i].length),
		    full[i].n);
		assert_true(
		    adpcm_block_full(full[i].layout, full[i].ch, full[i].n, full[i].length));
		assert_false(
		    adpcm_block_full(full[i].layout, full[i].ch, full[i].n, full[i].length + 1));
		/* Only where an odd number of codes runs on is one byte less full, too. */
		assert_int_equal(
		    adpcm_block_full(full[i].layout, full[i].ch, full[i].n, full[i].length - 1),
		    full[i].n % 2 != 0 &&
			(full[i].layout == ADPCM_STATE_HIGH || full[i].layout == ADPCM_DVI4 ||
			    full[i].layout == ADPCM_BARE));
	}
	for (i = 0; i < COUNT(some); i++)
		assert_int_equal(
		    adpcm_block_samples(some[i].layout, some[i].ch, some[i].n, some[i].length),
		    some[i].samples);
	assert_false(adpcm_block_full(ADPCM_BARE, 1, 1, 0));
	assert_false(adpcm_block_full(ADPCM_BARE, 2, 8, 4));
	assert_false(adpcm_block_full(ADPCM_STATE_HIGH, 2, 8, 16));
	assert_false(adpcm_block_full(ADPCM_DVI4, 2, 8, 16));
}

/* ---- Decoding ---- */

/* A file in memory, for libsndfile. */
struct memory {
	uint8_t *bytes;
	sf_count_t size, at;
};

static sf_count_t
memory_size(void *arg)
{
	return ((struct memory *)arg)->size;
}

static sf_count_t
memory_seek(sf_count_t offset, int whence, void *arg)
{
	struct memory *m = arg;

	m->at = offset + (whence == SEEK_CUR ? m->at : whence == SEEK_END ? m->size : 0);
	return m->at;
}

static sf_count_t
memory_read(void *to, sf_count_t n, void *arg)
{
	struct memory *m = arg;

	if (n > m->size - m->at)
		n = m->size - m->at;
	memcpy(to, m->bytes + m->at, (size_t)n);
	m->at += n;
	return n;
}

static sf_count_t
memory_write(const void *from, sf_count_t n, void *arg)
{
	struct memory *m = arg;

	memcpy(m->bytes + m->at, from, (size_t)n);
	m->at += n;
	if (m->at > m->size)
		m->size = m->at;
	return n;
}

static sf_count_t
memory_tell(void *arg)
{
	return ((struct memory *)arg)->at;
}

static SF_VIRTUAL_IO memory_io = { memory_size, memory_seek, memory_read, memory_write,
	memory_tell };

/* What libsndfile makes of WAV blocks, n samples per channel each: all of them, into out. */
static void
sndfile_decode(unsigned ch, uint32_t n, const uint8_t *blocks, size_t length, size_t count,
    int16_t *out)
{
	static const uint8_t header[60] = "RIFF....WAVEfmt \24\0\0\0\21\0" /* IMA ADPCM */
					  "..\100\37\0\0\100\37\0\0..\4\0\2\0.."
					  "fact\4\0\0\0....data....";
	struct memory m = { allocate(sizeof header + length * count), 0, 0 };
	SF_INFO info = { 0 };
	SNDFILE *f;
	uint8_t *p = m.bytes;

	memcpy(p, header, sizeof header);
	le32_store(p + 4, (uint32_t)(sizeof header - 8 + length * count));
	le16_store(p + 22, (uint16_t)ch);
	le16_store(p + 32, (uint16_t)length);
	le16_store(p + 38, (uint16_t)n);
	le32_store(p + 48, (uint32_t)(n * count));
	le32_store(p + 56, (uint32_t)(length * count));
	memcpy(p + sizeof header, blocks, length * count);
	m.size = (sf_count_t)(sizeof header + length * count);
	f = sf_open_virtual(&memory_io, SFM_READ, &info, &m);
	assert_non_null(f);
	assert_int_equal(info.format, SF_FORMAT_WAV | SF_FORMAT_IMA_ADPCM);
	assert_int_equal(sf_readf_short(f, out, (sf_count_t)(n * count)), n * count);
	sf_close(f);
	free(m.bytes);
}

/* A state block equals a WAV block of one more sample whose first is dropped. */
static void
like_libsndfile(void **state)
{
	enum { BLOCKS = 40 };
	static const uint32_t groups[] = { 1, 2, 20, 63, 500 };
	unsigned ch;
	uint32_t n;
	size_t i, k, length;
	bool damaged = false;

	(void)state;
	for (ch = 1; ch <= 2; ch++) {
		for (i = 0; i < COUNT(groups); i++) {
			struct adpcm_state s[2] = { { 0, 0 }, { 0, 0 } };
			uint8_t *blocks;
			int16_t *expected, *out;

			n = 8 * groups[i] + 1;
			length = ch * (4 + 4 * groups[i]);
			blocks = allocate(length * BLOCKS);
			expected = allocate(sizeof *expected * n * ch * BLOCKS);
			out = allocate(sizeof *out * n * ch);
			for (k = 0; k < BLOCKS; k++)
				random_block(ch, blocks + k * length, length);
			sndfile_decode(ch, n, blocks, length, BLOCKS, expected);
			for (k = 0; k < BLOCKS; k++) {
				const int16_t *e = expected + n * ch * k;

				assert_int_equal(decode(ADPCM_WAV, ch, n, blocks + k * length,
						     length, s, out, &damaged),
				    n);
				assert_memory_equal(out, e, sizeof *out * n * ch);
				assert_int_equal(decode(ADPCM_STATE, ch, n - 1, blocks + k * length,
						     length, s, out, &damaged),
				    n - 1);
				assert_memory_equal(out, e + ch, sizeof *out * (n - 1) * ch);
				assert_int_equal(s[ch - 1].predictor, e[n * ch - 1]);
			}
			free(blocks);
			free(expected);
			free(out);
		}
	}
	assert_false(damaged);
}

/* Six channels: two WAV blocks of 9 samples, and what sox 14.4.2 makes of them. */
static void
like_sox(void **state)
{
	/* clang-format off */
	static const uint8_t blocks[2][48] = { {
		0x00, 0x00, 0x00, 0x00, 0xff, 0x7f, 0x58, 0x00, 0x00, 0x80, 0x58, 0x00,
		0xe8, 0x03, 0x28, 0x00, 0xe0, 0xb1, 0x3c, 0x00, 0x39, 0x30, 0x14, 0x00,
		0x29, 0xf8, 0x85, 0x12, 0x00, 0x4a, 0xf0, 0xbf, 0xa3, 0x0b, 0x8b, 0xfa,
		0x65, 0xd3, 0x30, 0x62, 0x87, 0x2d, 0xd9, 0xab, 0x2f, 0xb9, 0xd1, 0x80
	}, {
		0xf2, 0x63, 0x0c, 0x00, 0xf2, 0xe4, 0x51, 0x00, 0x16, 0x15, 0x0c, 0x00,
		0x63, 0x97, 0x4b, 0x00, 0xd8, 0xe6, 0x53, 0x00, 0x83, 0x38, 0x3e, 0x00,
		0x63, 0x7f, 0x7d, 0x7f, 0xb6, 0x77, 0x77, 0x7f, 0x80, 0xff, 0x46, 0x6b,
		0xff, 0x77, 0xaa, 0x7f, 0xc1, 0x7f, 0x80, 0xff, 0xd8, 0x77, 0xff, 0x2d
	} };
	static const int16_t expected[2][54] = { {
		0, 32767, -32768, 1000, -20000, 12345,
		-1, 32767, -4099, 1463, -15740, 12252,
		2, 32767, -22720, 2265, -16348, 12318,
		2, 15839, -32768, 3031, -22436, 12282,
		-9, 32767, -29691, 1937, -18384, 12205,
		13, 32767, -32768, 2082, -20593, 12235,
		11, -18018, -32768, 3009, -27959, 12135,
		23, -32768, -32768, 3610, -32768, 12148,
		29, -32768, -32768, 5033, -32768, 12136
	}, {
		25586, -6926, 5398, -26781, -6440, 14467,
		25604, 20403, 5400, -32768, 1190, 14124,
		25637, -5666, 5398, -32768, -19622, 10689,
		25569, 32767, 5364, 28668, -32768, 17551,
		25719, 32767, 5288, 32767, 28668, 32259,
		25482, 32767, 5431, 12289, 32763, 726,
		25955, 32767, 5607, -6332, 29039, -32768,
		24935, -28669, 5442, -32768, -21746, -32768,
		27120, 32767, 5722, 28668, -32768, -12290
	} };
	/* clang-format on */
	struct adpcm_state s[6] = { { 0, 0 } };
	int16_t out[54];
	bool damaged = false;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		assert_int_equal(decode(ADPCM_WAV, 6, 9, blocks[i], 48, s, out, &damaged), 9);
		assert_memory_equal(out, expected[i], sizeof out);
		assert_int_equal(decode(ADPCM_STATE, 6, 8, blocks[i], 48, s, out, &damaged), 8);
		assert_memory_equal(out, expected[i] + 6, 8 * 6 * sizeof *out);
		/* Not all of the last group is wanted. */
		assert_int_equal(decode(ADPCM_STATE, 6, 3, blocks[i], 48, s, out, &damaged), 3);
		assert_memory_equal(out, expected[i] + 6, 3 * 6 * sizeof *out);
		assert_int_equal(s[5].predictor, expected[i][6 * 3 + 5]);
	}
	assert_false(damaged);
}

/* CPython 3.11's audioop, to which an encoder is a function of samples and a state. */
/* clang-format off */
static const int16_t audioop_in[] = {
	0, 5, 60, 700, 8000, 32767, -32768, -32768, 32767, 100, -100, 50, 0, 0, 1, 2, 3, -4, 20000,
	20001, 20002, -5, -3000, -32768, 1, 2, 3
};
/* clang-format on */

/* 9 samples each; audioop drops the ninth code, but its state has taken it in. */
static const uint8_t audioop_state[3][8] = {
	{ 0x00, 0x00, 0x00, 0x00, 0x03, 0x77, 0x77, 0xff },
	{ 0xa5, 0x02, 0x38, 0x00, 0x98, 0x08, 0x08, 0x08 },
	{ 0x2e, 0x00, 0x2f, 0x00, 0x77, 0x7d, 0x9f, 0x48 },
};
static const int16_t audioop_state_out[3][8] = {
	{ 0, 4, 15, 45, 108, 244, -49, -680 },
	{ 95, -81, 79, -66, 66, -54, 55, -44 },
	{ 1279, 3923, 9593, 678, -2881, -19061, 1751, -1047 },
};
/* 8 samples each. */
static const uint8_t audioop_bare[3][4] = {
	{ 0x03, 0x77, 0x77, 0xff },
	{ 0x79, 0x80, 0x80, 0x80 },
	{ 0x80, 0x77, 0x7d, 0x9f },
};
static const int16_t audioop_bare_out[3][8] = {
	{ 0, 4, 15, 45, 108, 244, -49, -680 },
	{ 677, 95, -81, 79, -66, 66, -54, 55 },
	{ -44, 46, 1279, 3923, 9593, 678, -2881, -19061 },
};

static void
like_audioop(void **state)
{
	struct adpcm_state s = { 0, 0 };
	int16_t out[9];
	uint8_t block[9];
	bool damaged = false;
	int i;

	(void)state;
	for (i = 0; i < 3; i++) {
		assert_int_equal(
		    decode(ADPCM_STATE_HIGH, 1, 9, audioop_state[i], 8, &s, out, &damaged), 8);
		assert_memory_equal(out, audioop_state_out[i], sizeof audioop_state_out[i]);
	}
	s = (struct adpcm_state){ 0, 0 };
	for (i = 0; i < 3; i++) {
		assert_int_equal(decode(ADPCM_BARE, 1, 8, audioop_bare[i], 4, &s, out, &damaged),
		    8);
		assert_memory_equal(out, audioop_bare_out[i], sizeof audioop_bare_out[i]);
	}
	assert_false(damaged);

	/* Its encoder chooses the same codes. */
	s = (struct adpcm_state){ 0, 0 };
	for (i = 0; i < 3; i++) {
		assert_int_equal(
		    adpcm_encode(ADPCM_STATE_HIGH, 1, audioop_in + 9 * i, 9, &s, block), 9);
		assert_memory_equal(block, audioop_state[i], 8);
		assert_int_equal(block[8] & 0x0f, 0);
	}
	assert_int_equal(s.predictor, 1496);
	assert_int_equal(s.index, 82);
	s = (struct adpcm_state){ 0, 0 };
	for (i = 0; i < 3; i++) {
		assert_int_equal(adpcm_encode(ADPCM_BARE, 1, audioop_in + 8 * i, 8, &s, block), 4);
		assert_memory_equal(block, audioop_bare[i], 4);
	}
}

/* The same blocks, but for the order of the predictor's bytes. */
static void
dvi4_is_big_endian(void **state)
{
	struct adpcm_state s = { 0, 0 };
	int16_t out[9];
	uint8_t block[9], first;
	bool damaged = false;

	(void)state;
	for (int i = 0; i < 3; i++) {
		memcpy(block, audioop_state[i], sizeof audioop_state[i]);
		first = block[0];
		block[0] = block[1];
		block[1] = first;
		assert_int_equal(decode(ADPCM_DVI4, 1, 9, block, 8, &s, out, &damaged), 8);
		assert_memory_equal(out, audioop_state_out[i], sizeof audioop_state_out[i]);
	}
	assert_false(damaged);

	s = (struct adpcm_state){ 0x1234, 5 };
	assert_int_equal(adpcm_encode(ADPCM_DVI4, 1, audioop_in, 9, &s, block), 9);
	assert_memory_equal(block, "\x12\x34\5", 4);
}

/*
 * Every code at every step, from the middle and the ends of the scale: roughly what the IMA's
 * design says (each step 11/10 of the one before; the oracles above say it exactly), never beyond
 * the scale, and where the step goes from there.
 */
static void
every_step(void **state)
{
	static const int moves[] = { -1, -1, -1, -1, 2, 4, 6, 8 };
	static const int16_t from[] = { 0, INT16_MIN, INT16_MAX, 1000, -31000 };
	bool damaged = false;
	int index, code, next;
	size_t i;

	(void)state;
	for (index = 0; index <= ADPCM_MAX_INDEX; index++) {
		for (code = 0; code < 16; code++) {
			double change = 7 * pow(1.1, index) * (1 + 2 * (code & 7)) / 8;

			next = index + moves[code & 7];
			next = next < 0 ? 0 : next > ADPCM_MAX_INDEX ? ADPCM_MAX_INDEX : next;
			for (i = 0; i < COUNT(from); i++) {
				struct adpcm_state s = { from[i], (uint8_t)index };
				uint8_t block = (uint8_t)(code << 4);
				double ideal = from[i] + (code & 8 ? -change : change);
				int16_t out = 0;

				ideal = fmax(INT16_MIN, fmin(INT16_MAX, ideal));
				decode(ADPCM_BARE, 1, 1, &block, 1, &s, &out, &damaged);
				assert_true(fabs(out - ideal) <= 4 + 0.08 * change);
				assert_int_equal(s.predictor, out);
				assert_int_equal(s.index, next);
			}
		}
	}
}

static void
damage(void **state)
{
	static const uint8_t bad[] = { 0x10, 0x27, 89, 0, 0x25, 0x9f };
	static const uint8_t worst[] = { 0x10, 0x27, 255, 0, 0x25, 0x9f };
	static const uint8_t last[] = { 0x10, 0x27, 88, 0, 0x25, 0x9f };
	static const uint8_t two[16] = { 0, 0, 1, 0, 0, 0, 89, 0 };
	struct adpcm_state s = { 1, 2 }, pair[2] = { { 1, 2 }, { 3, 4 } };
	int16_t out[18], expected[18];
	bool damaged = false;

	(void)state;
	assert_int_equal(decode(ADPCM_STATE, 1, 9, last, 6, &s, expected, &damaged), 4);
	assert_false(damaged);
	assert_int_equal(decode(ADPCM_STATE, 1, 9, bad, 6, &s, out, &damaged), 4);
	assert_true(damaged);
	assert_memory_equal(out, expected, 4 * sizeof *out);
	damaged = false;
	assert_int_equal(decode(ADPCM_STATE, 1, 9, worst, 6, &s, out, &damaged), 4);
	assert_true(damaged);
	assert_memory_equal(out, expected, 4 * sizeof *out);
	decode(ADPCM_STATE, 1, 9, last, 6, &s, out, &damaged);
	assert_true(damaged); /* never set to false */
	damaged = false;
	assert_int_equal(decode(ADPCM_WAV, 2, 9, two, 16, pair, out, &damaged), 9);
	assert_true(damaged);

	/* Shorter than its header: damage, and nothing else happens.  No bytes: nothing at all. */
	s = (struct adpcm_state){ 1, 2 };
	damaged = false;
	assert_int_equal(decode(ADPCM_WAV, 1, 9, last, 3, &s, out, &damaged), 0);
	assert_true(damaged);
	damaged = false;
	pair[0] = s;
	assert_int_equal(decode(ADPCM_STATE, 2, 9, two, 7, pair, out, &damaged), 0);
	assert_true(damaged);
	assert_int_equal(pair[0].predictor, 1);
	damaged = false;
	assert_int_equal(decode(ADPCM_STATE_HIGH, 1, 9, last, 0, &s, out, &damaged), 0);
	assert_int_equal(decode(ADPCM_STATE, 1, 9, last, 4, &s, out, &damaged), 0);
	assert_int_equal(decode(ADPCM_BARE, 1, 9, last, 0, &s, out, &damaged), 0);
	assert_false(damaged);
	assert_int_equal(decode(ADPCM_STATE, 1, 9, bad, 4, &s, out, &damaged), 0);
	assert_true(damaged);
	assert_int_equal(s.predictor, 1);
	assert_int_equal(s.index, 2);
}

/* Digital silence takes a short cut: where it is none, a block of zeros fades. */
static void
zeros(void **state)
{
	static const uint8_t block[64];
	struct adpcm_state s[2];
	int16_t out[2 * 60];
	bool damaged = false;

	(void)state;
	for (enum adpcm_layout layout = 0; layout < ADPCM_LAYOUTS; layout++)
		for (unsigned ch = 1; ch <= 2; ch++)
			for (size_t length = 4 * ch; length <= 24; length += 4 * ch) {
				uint32_t n = adpcm_block_samples(layout, ch, 29, length);

				if (!adpcm_layout_allowed(layout, ch))
					continue;
				memset(out, 0x55, sizeof out);
				s[0] = s[1] = (struct adpcm_state){ 0, 0 };
				assert_int_equal(
				    decode(layout, ch, 29, block, length, s, out, &damaged), n);
				for (unsigned i = 0; i < 2 * 60; i++)
					assert_int_equal(out[i], i < n * ch ? 0 : 0x5555);
				assert_true(s[0].predictor == 0 && s[0].index == 0);
			}
	s[0] = (struct adpcm_state){ 100, 30 };
	assert_int_equal(decode(ADPCM_BARE, 1, 8, block, 4, s, out, &damaged), 8);
	assert_int_equal(out[0], 100 + 130 / 8);
	assert_int_equal(s[0].index, 22);
	s[0] = (struct adpcm_state){ 1, 0 };
	assert_int_equal(decode(ADPCM_BARE, 1, 8, block, 4, s, out, &damaged), 8);
	assert_int_equal(out[7], 1);
	assert_false(damaged);
}

/* ---- Encoding ---- */

/* Some blocks: the decoder ends each where the encoder did, and the sine comes back well. */
static void
go_there_and_back(enum adpcm_layout layout, unsigned ch, uint32_t n)
{
	struct adpcm_state e[ADPCM_MAX_CHANNELS] = { { 0, 0 } },
			   d[ADPCM_MAX_CHANNELS] = { { 0, 0 } };
	size_t values = (size_t)n * ch, count = n < 1000 ? 2000 / n + 3 : 1, i, k;
	int16_t *in = allocate(sizeof *in * values), *out = allocate(sizeof *out * values);
	uint32_t length = adpcm_block_length(layout, ch, n);
	uint8_t *block = allocate(length);
	double signal = 0, error = 0;
	bool damaged = false;

	for (k = 0; k < count; k++) {
		for (i = 0; i < values; i++)
			in[i] = sine(k * n + i / ch + 7 * (i % ch));
		assert_int_equal(adpcm_encode(layout, ch, in, n, e, block), length);
		assert_int_equal(decode(layout, ch, n, block, length, d, out, &damaged), n);
		for (i = 0; i < ch; i++) {
			assert_int_equal(d[i].predictor, e[i].predictor);
			assert_int_equal(d[i].index, e[i].index);
			assert_int_equal(d[i].predictor, out[values - ch + i]);
		}
		for (i = 0; i < values; i++) {
			if (k == 0 && i / ch < 100)
				continue; /* it gets into its stride */
			signal += (double)in[i] * in[i];
			error += (double)(in[i] - out[i]) * (in[i] - out[i]);
		}
	}
	assert_false(damaged);
	assert_true(error < signal / 100); /* 20 dB */
	free(in);
	free(out);
	free(block);
}

static void
there_and_back(void **state)
{
	static const unsigned channels[] = { 1, 2, 6, 64 };
	static const uint32_t sizes[] = { 1, 2, 7, 8, 9, 160, 320, 441, MAX_SAMPLES };
	size_t c, i;
	int layout;

	(void)state;
	for (c = 0; c < COUNT(channels); c++)
		for (i = 0; i < COUNT(sizes); i++)
			for (layout = 0; layout < ADPCM_LAYOUTS; layout++)
				if (adpcm_layout_allowed((enum adpcm_layout)layout, channels[c]))
					go_there_and_back((enum adpcm_layout)layout, channels[c],
					    sizes[i]);
}

/* libsndfile's encoder, in blocks of 505 samples, chooses the same codes as ours. */
static void
encodes_like_libsndfile(void **state)
{
	enum { N = 505, BLOCKS = 20, ROOM = 1 << 16 };
	struct memory m = { allocate(ROOM), 0, 0 };
	SF_INFO info = { .samplerate = 8000,
		.channels = 1,
		.format = SF_FORMAT_WAV | SF_FORMAT_IMA_ADPCM };
	struct adpcm_state s = { 0, 0 };
	int16_t in[N * BLOCKS];
	uint8_t block[256];
	SNDFILE *f;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(in); i++)
		in[i] = i / 1000 % 3 == 0 ? 0 : i / 1000 % 3 == 1 ? white() : sine(i);
	f = sf_open_virtual(&memory_io, SFM_WRITE, &info, &m);
	assert_non_null(f);
	assert_int_equal(sf_writef_short(f, in, N * BLOCKS), N * BLOCKS);
	sf_close(f);
	assert_int_equal(m.size, 60 + 256 * BLOCKS);
	for (i = 0; i < BLOCKS; i++) {
		assert_int_equal(adpcm_encode(ADPCM_WAV, 1, in + N * i, N, &s, block), 256);
		assert_memory_equal(block, m.bytes + 60 + 256 * i, 256);
	}
	free(m.bytes);
}

static void
padding_is_zero(void **state)
{
	int16_t in[2 * 11];
	struct adpcm_state s[2] = { { 0, 40 }, { 0, 40 } };
	uint8_t block[32];
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(in); i++)
		in[i] = (int16_t)(i % 2 == 0 ? 20000 : -20000);
	memset(block, 0xff, sizeof block);
	assert_int_equal(adpcm_encode(ADPCM_STATE, 2, in, 3, s, block), 16);
	assert_int_equal(block[3] + block[7], 0);
	assert_true(block[9] != 0 && block[9] < 16 && block[13] != 0 && block[13] < 16);
	assert_int_equal(block[10] + block[11] + block[14] + block[15], 0);
	memset(block, 0xff, sizeof block);
	assert_int_equal(adpcm_encode(ADPCM_WAV, 1, in, 2, s, block), 8);
	assert_true(block[4] < 16);
	assert_int_equal(block[5] + block[6] + block[7], 0);
	assert_int_equal(block[8], 0xff);
	memset(block, 0xff, sizeof block);
	assert_int_equal(adpcm_encode(ADPCM_BARE, 1, in, 11, s, block), 6);
	assert_int_equal(block[5] & 0x0f, 0);
	assert_int_equal(block[6], 0xff);
}

/* ---- Which layout a stream has ---- */

/* A stream as a reader meets it. */
struct stream {
	unsigned ch;
	uint32_t n, seq; /* of the next frame */
	size_t count, room;
	struct {
		uint32_t seq;
		size_t length;
		uint8_t *bytes;
	} * frames;
};

static void
begin(struct stream *t, unsigned ch, uint32_t n)
{
	memset(t, 0, sizeof *t);
	t->ch = ch;
	t->n = n;
}

static void
end(struct stream *t)
{
	while (t->count > 0)
		free(t->frames[--t->count].bytes);
	free(t->frames);
}

static void
put(struct stream *t, const void *bytes, size_t length)
{
	if (t->count == t->room) {
		t->room = t->room * 2 + 16;
		t->frames = realloc(t->frames, t->room * sizeof *t->frames);
		assert_non_null(t->frames);
	}
	t->frames[t->count].seq = t->seq++;
	t->frames[t->count].length = length;
	t->frames[t->count].bytes = allocate(length);
	memcpy(t->frames[t->count++].bytes, bytes, length);
}

/* Blocks of zeros, which every encoder makes of digital silence at its start. */
static void
put_silence(struct stream *t, size_t count, size_t length)
{
	uint8_t *zeros = calloc(1, length);

	assert_non_null(zeros);
	while (count-- > 0)
		put(t, zeros, length);
	free(zeros);
}

/* The verdict; the same if one stops at the first false, and if one goes on. */
static struct adpcm_verdict
sniff(const struct stream *t)
{
	struct adpcm_sniff s;
	struct adpcm_verdict v, first = { ADPCM_STATE, ADPCM_GIVEN, false };
	bool more = true;
	size_t i;

	adpcm_sniff_init(&s, t->ch, t->n);
	for (i = 0; i < t->count; i++) {
		bool now =
		    adpcm_sniff_add(&s, t->frames[i].seq, t->frames[i].bytes, t->frames[i].length);

		assert_true(more || !now);
		if (more && !now)
			first = adpcm_sniff_verdict(&s);
		more = now;
	}
	v = adpcm_sniff_verdict(&s);
	if (!more) {
		assert_int_equal(v.layout, first.layout);
		assert_int_equal(v.rule, first.rule);
		assert_int_equal(v.unknown, first.unknown);
	}
	return v;
}

static void
assert_verdict(const struct stream *t, enum adpcm_layout layout, enum adpcm_rule rule)
{
	struct adpcm_verdict v = sniff(t);

	assert_string_equal(adpcm_layout_name(v.layout), adpcm_layout_name(layout));
	assert_string_equal(adpcm_rule_name(v.rule), adpcm_rule_name(rule));
	assert_string_equal(adpcm_verdict_name(&v), adpcm_layout_name(layout));
	assert_false(v.unknown);
}

/* The blocks fit no layout; the one that they are decoded by is state. */
static void
assert_unknown(const struct stream *t)
{
	struct adpcm_verdict v = sniff(t);
	char text[ADPCM_VERDICT_TEXT];

	assert_true(v.unknown);
	assert_int_equal(v.layout, ADPCM_STATE);
	assert_int_equal(v.rule, ADPCM_BY_LENGTH);
	assert_string_equal(adpcm_verdict_name(&v), "unknown");
	adpcm_verdict_text(&v, text);
	assert_non_null(strstr(text, "no known layout"));
	assert_non_null(strstr(text, "as state"));
	assert_non_null(strstr(text, "--layout"));
}

/* Blocks out of a file: channels - 1, frame_samples (u16), then length (u16) and bytes of each. */
static void
put_file(struct stream *t, const char *name)
{
	uint8_t head[3], bytes[1024];
	char path[128];
	FILE *f;

	snprintf(path, sizeof path, "test/fuzz/corpus/adpcm/%s", name);
	f = fopen(path, "rb");
	if (f == NULL)
		fail_msg("%s: cannot open; unit tests run in the tree's top folder", path);
	assert_int_equal(fread(head, 1, 3, f), 3);
	assert_int_equal(head[0] + 1, t->ch);
	assert_int_equal(le16_load(head + 1), t->n);
	while (fread(head, 1, 2, f) == 2) {
		size_t length = le16_load(head);

		assert_in_range(length, 1, sizeof bytes);
		assert_int_equal(fread(bytes, 1, length, f), length);
		put(t, bytes, length);
	}
	fclose(f);
}

/* Every sender, from its first block on, after a second of silence, and after losses. */
static void
senders(void **state)
{
	static const struct {
		const char *name;
		unsigned ch;
		uint32_t n;
		size_t length;
		enum adpcm_layout layout;
		enum adpcm_rule rule;
	} known[] = {
		{ "ffmpeg", 1, 505, 256, ADPCM_WAV, ADPCM_BY_CHAIN },
		{ "ffmpeg-stereo", 2, 505, 512, ADPCM_WAV, ADPCM_BY_CHAIN },
		{ "sndfile", 1, 505, 256, ADPCM_WAV, ADPCM_BY_CHAIN },
		{ "sndfile-stereo", 2, 505, 512, ADPCM_WAV, ADPCM_BY_CHAIN },
		{ "sox", 1, 505, 256, ADPCM_WAV, ADPCM_BY_LENGTH },
		{ "sox-stereo", 2, 505, 512, ADPCM_WAV, ADPCM_BY_LENGTH },
		{ "audioop", 1, 160, 84, ADPCM_STATE_HIGH, ADPCM_BY_CHAIN },
		{ "audioop-odd", 1, 441, 224, ADPCM_STATE_HIGH, ADPCM_BY_CHAIN },
		{ "audioop-bare", 1, 160, 80, ADPCM_BARE, ADPCM_BY_LENGTH },
	};
	struct stream t;
	size_t i, k;

	(void)state;
	for (i = 0; i < COUNT(known); i++) {
		begin(&t, known[i].ch, known[i].n);
		put_file(&t, known[i].name);
		assert_verdict(&t, known[i].layout, known[i].rule);
		end(&t);

		begin(&t, known[i].ch, known[i].n);
		put_silence(&t, (8000 + known[i].n - 1) / known[i].n, known[i].length);
		put_file(&t, known[i].name);
		assert_verdict(&t, known[i].layout, known[i].rule);
		/* The fourth and the fifth block of sound are lost. */
		k = t.count - 14;
		for (; k < t.count; k++)
			t.frames[k].seq += 2;
		assert_verdict(&t, known[i].layout, known[i].rule);
		end(&t);
	}
}

/* Our own encoder: sine or noise, silence before them or not. */
static void
own_stream(enum adpcm_layout layout, unsigned ch, uint32_t n, bool noisy, bool silent_first)
{
	struct adpcm_state s[6] = { { 0, 0 } };
	size_t values = (size_t)n * ch, blocks = n < 100 ? 150 : 20, i, k;
	uint32_t length = adpcm_block_length(layout, ch, n);
	int16_t *in = allocate(sizeof *in * values);
	uint8_t *block = allocate(length);
	struct stream t;

	begin(&t, ch, n);
	if (silent_first)
		put_silence(&t, 50, length);
	for (k = 0; k < blocks; k++) {
		for (i = 0; i < values; i++)
			in[i] = noisy ? white() : sine(k * n + i / ch);
		adpcm_encode(layout, ch, in, n, s, block);
		put(&t, block, length);
	}
	assert_verdict(&t, layout, layout == ADPCM_BARE ? ADPCM_BY_LENGTH : ADPCM_BY_CHAIN);
	end(&t);
	free(in);
	free(block);
}

static void
own_streams(void **state)
{
	static const uint32_t sizes[] = { 1, 2, 7, 9, 160, 320, 441, 480 };
	static const unsigned channels[] = { 1, 2, 6 };
	size_t c, i;
	int layout, kind;

	(void)state;
	for (layout = 0; layout < ADPCM_LAYOUTS; layout++) {
		enum adpcm_layout l = (enum adpcm_layout)layout;

		for (c = 0; c < COUNT(channels); c++)
			for (i = 0; i < COUNT(sizes); i++)
				for (kind = 0; kind < 4 && adpcm_layout_allowed(l, channels[c]);
				     kind++)
					own_stream(l, channels[c], sizes[i], kind & 1, kind & 2);
		own_stream(l, 1, MAX_SAMPLES, false, false);
	}
}

enum { N = 16 }; /* samples a block in what follows: 12 bytes, and no length but bare's speaks */

/* A block of noise, and the same spoilt: its last code is another, so that no chain goes on. */
static void
put_noise(struct stream *t, enum adpcm_layout layout, struct adpcm_state *s, bool spoilt)
{
	int16_t in[N];
	uint8_t block[12];
	size_t i;

	for (i = 0; i < N; i++)
		in[i] = white();
	assert_int_equal(adpcm_encode(layout, 1, in, N, s, block), sizeof block);
	/* Its sign turned decides the predictor; a large one for a small one the index. */
	if (spoilt)
		block[11] ^= layout == ADPCM_WAV ? 0x04 : 0x80;
	put(t, block, sizeof block);
}

/*
 * From where the stream is, codes of 0, which make it fade out: state and state-high say the same
 * of them, and wav, too, as soon as the index has come down to 0.
 */
static void
put_fading(struct stream *t, struct adpcm_state *s)
{
	uint8_t block[12] = { (uint8_t)s->predictor, (uint8_t)((uint16_t)s->predictor >> 8),
		s->index };
	int16_t out[N];
	bool damaged = false;

	assert_int_equal(adpcm_decode(ADPCM_STATE, 1, N, block, 12, s, out, &damaged), N);
	put(t, block, sizeof block);
}

/* 57 of 63 are 90 %, 56 are not. */
static void
nine_of_ten(void **state)
{
	struct adpcm_state s;
	struct stream t;
	int bad, i;

	(void)state;
	for (bad = 5; bad < 9; bad++) {
		begin(&t, 1, N);
		s = (struct adpcm_state){ 0, 0 };
		for (i = 0; i < 64; i++)
			put_noise(&t, ADPCM_STATE, &s, i % 7 == 3 && i / 7 < bad);
		assert_verdict(&t, ADPCM_STATE, bad <= 6 ? ADPCM_BY_CHAIN : ADPCM_BY_LENGTH);
		end(&t);
	}
}

/* One pair is enough for state, but 16 for wav. */
static void
pairs_enough(void **state)
{
	static const enum adpcm_layout layouts[] = { ADPCM_STATE, ADPCM_STATE_HIGH, ADPCM_DVI4,
		ADPCM_WAV };
	struct adpcm_state s;
	struct stream t;
	uint32_t count;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(layouts); i++) {
		count = layouts[i] == ADPCM_WAV ? 16 : 1;
		begin(&t, 1, N);
		s = (struct adpcm_state){ 0, 0 };
		while (t.count < count)
			put_noise(&t, layouts[i], &s, false);
		assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH);
		put_noise(&t, layouts[i], &s, false);
		assert_verdict(&t, layouts[i], ADPCM_BY_CHAIN);
		end(&t);
	}
}

/*
 * Silence before the first pair that says something is passed over; from then on it uses up places.
 * The 500 silent blocks end with one of noise, whose beginning fits them: pair 1 is that and the
 * next one.
 */
static void
window(void **state)
{
	struct adpcm_state s;
	struct stream t;
	int quiet, i;

	(void)state;
	for (quiet = 62; quiet >= 57; quiet -= 5) {
		begin(&t, 1, N);
		put_silence(&t, 500, 12);
		s = (struct adpcm_state){ 0, 0 };
		put_noise(&t, ADPCM_STATE_HIGH, &s, false);
		put_noise(&t, ADPCM_STATE_HIGH, &s, false);
		for (i = 0; i < quiet; i++)
			put_fading(&t, &s);
		assert_verdict(&t, ADPCM_STATE_HIGH, ADPCM_BY_CHAIN);
		for (i = 0; i < 100; i++)
			put_noise(&t, ADPCM_STATE, &s, true);
		/* 63 pairs and what follows is not looked at; or 58 and 5 of what follows. */
		if (quiet == 62)
			assert_verdict(&t, ADPCM_STATE_HIGH, ADPCM_BY_CHAIN);
		else
			assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH);
		end(&t);
	}
}

/* A pair is two neighbours with seq + 1, neither of them empty. */
static void
what_is_a_pair(void **state)
{
	struct adpcm_state s = { 0, 0 };
	struct stream t;
	size_t i;

	(void)state;
	begin(&t, 1, N);
	t.seq = UINT32_MAX;
	put_noise(&t, ADPCM_STATE_HIGH, &s, false);
	put_noise(&t, ADPCM_STATE_HIGH, &s, false); /* over 2^32 */
	assert_verdict(&t, ADPCM_STATE_HIGH, ADPCM_BY_CHAIN);
	t.frames[1].seq++;
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH);
	t.frames[1].seq -= 2;
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH);
	end(&t);

	/* An empty frame between them, whatever its number. */
	s = (struct adpcm_state){ 0, 0 };
	begin(&t, 1, N);
	put_noise(&t, ADPCM_STATE_HIGH, &s, false);
	put(&t, "", 0);
	put_noise(&t, ADPCM_STATE_HIGH, &s, false);
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH);
	t.frames[1].seq = 0;
	t.frames[2].seq = 1;
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH);
	end(&t);

	/* Blocks too short for their header fit nothing, and say so. */
	s = (struct adpcm_state){ 0, 0 };
	begin(&t, 1, N);
	for (i = 0; i < 10; i++)
		put_noise(&t, ADPCM_STATE_HIGH, &s, false);
	assert_verdict(&t, ADPCM_STATE_HIGH, ADPCM_BY_CHAIN); /* 9 of 9 */
	put(&t, "\0\0\0", 3);
	assert_verdict(&t, ADPCM_STATE_HIGH, ADPCM_BY_CHAIN); /* 9 of 10 */
	put_noise(&t, ADPCM_STATE_HIGH, &s, false);
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH); /* 9 of 11 */
	end(&t);
}

/* A header index above 88 counts as 88: in the block that is decoded, and in the one after it. */
static void
impossible_index(void **state)
{
	static const uint8_t first[] = { 0, 0, 200, 0, 0x7f };
	uint8_t second[] = { 0, 0, 99, 0, 0x7f };
	struct stream t;

	(void)state;
	le16_store(second, 28668); /* down to -32768, then up by 61436 */
	begin(&t, 1, 2);
	put(&t, first, sizeof first);
	put(&t, second, sizeof second);
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_CHAIN);
	t.frames[1].bytes[2] = 88;
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_CHAIN);
	t.frames[1].bytes[2] = 87;
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH);
	end(&t);
}

/*
 * A state-high or dvi4 block of an odd size that lacks its last code: any code may have been it.
 * That one of an even size may lack two is not believed.
 */
static void
dropped_code(void **state)
{
	struct stream t;

	(void)state;
	begin(&t, 1, 1);
	put(&t, "\5\0\0", 4);
	put(&t, "\6\0\0", 4); /* 1 up by code 1 */
	assert_verdict(&t, ADPCM_STATE_HIGH, ADPCM_BY_CHAIN);
	t.n = 2;
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH);
	t.n = 1;
	t.frames[1].bytes[0] = 200; /* no code goes so far */
	assert_verdict(&t, ADPCM_WAV, ADPCM_BY_LENGTH);
	end(&t);

	begin(&t, 1, 1);
	put(&t, "\0\5\0", 4);
	put(&t, "\0\6\0", 4);
	assert_verdict(&t, ADPCM_DVI4, ADPCM_BY_CHAIN);
	end(&t);
}

/* Asked of one pair, the chain says what it says of a stream's. */
static void
one_pair(void **state)
{
	static const enum adpcm_layout layouts[] = { ADPCM_STATE, ADPCM_STATE_HIGH, ADPCM_DVI4,
		ADPCM_WAV };
	struct adpcm_state begins[2] = { { 0, 0 }, { 0, 0 } }, ends[2];
	int16_t in[2 * N], heard[2 * N];
	uint8_t block[64], next[64], index;
	uint32_t length;
	bool damaged;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(layouts); i++) {
		unsigned ch = adpcm_layout_allowed(layouts[i], 2) ? 2 : 1;

		for (size_t k = 0; k < COUNT(in); k++)
			in[k] = white();
		length = adpcm_encode(layouts[i], ch, in, N, begins, block);
		assert_in_range(length, 8, sizeof block);
		assert_int_equal(adpcm_encode(layouts[i], ch, in, N, begins, next), length);
		memset(ends, 0, sizeof ends);
		adpcm_decode(layouts[i], ch, N, block, length, ends, heard, &damaged);
		assert_true(adpcm_chain_holds(layouts[i], ch, N, ends, length, next, length));
		assert_false(adpcm_chain_holds(ADPCM_BARE, ch, N, ends, length, next, length));
		/* Headers alone say enough, parts of them nothing. */
		assert_true(adpcm_chain_holds(layouts[i], ch, N, ends, length, next, 4 * ch));
		assert_false(adpcm_chain_holds(layouts[i], ch, N, ends, length, next, 4 * ch - 1));
		assert_false(adpcm_chain_holds(layouts[i], ch, N, ends, 4 * ch - 1, next, length));
		/* The last channel's index, and its predictor, which is wav's own sample. */
		index = next[4 * ch - 2];
		next[4 * ch - 2] = (uint8_t)(index > 0 ? index - 1 : 1);
		assert_false(adpcm_chain_holds(layouts[i], ch, N, ends, length, next, length));
		next[4 * ch - 2] = index;
		next[4 * ch - 4] ^= 1;
		assert_int_equal(adpcm_chain_holds(layouts[i], ch, N, ends, length, next, length),
		    layouts[i] == ADPCM_WAV);
	}

	/* A last code that was dropped, 1, took the predictor from 5 to 6. */
	memset(ends, 0, sizeof ends);
	ends[0].predictor = 5;
	assert_true(
	    adpcm_chain_holds(ADPCM_STATE_HIGH, 1, 1, ends, 4, (const uint8_t *)"\6\0\0", 4));
	assert_false(
	    adpcm_chain_holds(ADPCM_STATE_HIGH, 1, 2, ends, 4, (const uint8_t *)"\6\0\0", 4));
	assert_false(adpcm_chain_holds(ADPCM_STATE, 1, 1, ends, 4, (const uint8_t *)"\6\0\0", 4));
}

/* Blocks of which each is sound and none goes on where the one before it ended. */
static void
put_unchained(struct stream *t, size_t count)
{
	struct adpcm_state s = { 0, 0 };

	while (count-- > 0)
		put_noise(t, ADPCM_STATE, &s, true);
}

/* What fits no layout is known from 16 pairs that say so, unless one fits more than half of them. */
static void
no_known_layout(void **state)
{
	struct adpcm_state s = { 0, 0 };
	struct stream t;
	uint8_t bare[9 / 2];
	size_t i;

	(void)state;
	begin(&t, 1, N);
	put_unchained(&t, 16);
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH); /* 15 pairs */
	put_unchained(&t, 1);
	assert_unknown(&t);
	put_unchained(&t, 100);
	assert_unknown(&t);
	end(&t);

	/* 8 of 16 are not more than half, 9 are. */
	for (i = 8; i <= 9; i++) {
		s = (struct adpcm_state){ 0, 0 };
		begin(&t, 1, N);
		while (t.count < 17)
			put_noise(&t, ADPCM_DVI4, &s, t.count >= i);
		if (i == 8)
			assert_unknown(&t);
		else
			assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH);
		end(&t);
	}

	/* Silence before them says nothing; silence among them counts for none of the 16. */
	begin(&t, 1, N);
	put_silence(&t, 200, 12);
	put_unchained(&t, 60);
	assert_unknown(&t);
	end(&t);

	/* Two layouts that no chain tells have blocks of lengths that are theirs alone. */
	begin(&t, 1, 9);
	for (i = 0; i < 40; i++) {
		random_block(1, bare, sizeof bare);
		put(&t, bare, sizeof bare);
	}
	assert_verdict(&t, ADPCM_BARE, ADPCM_BY_LENGTH);
	end(&t);
}

/* Headers that are laid out in other ways: big-endian with the low nibble first; the index first. */
static void
headers_of_others(void **state)
{
	struct adpcm_state s = { 0, 0 };
	uint8_t block[4 + 80], head[4];
	int16_t in[160];
	struct stream t;

	(void)state;
	for (int kind = 0; kind < 2; kind++) {
		begin(&t, 1, 160);
		for (size_t k = 0; k < 100; k++) {
			for (size_t i = 0; i < COUNT(in); i++)
				in[i] = sine(k * 160 + i);
			adpcm_encode(ADPCM_STATE, 1, in, 160, &s, block);
			memcpy(head, block, 4);
			if (kind == 0) {
				block[0] = head[1];
				block[1] = head[0];
			} else {
				memcpy(block, (uint8_t[]){ head[2], 0, head[0], head[1] }, 4);
			}
			put(&t, block, sizeof block);
		}
		assert_unknown(&t);
		end(&t);
	}
}

/* With more channels only state and wav take part, and all channels must fit. */
static void
more_channels(void **state)
{
	struct adpcm_state s[2] = { { 0, 0 }, { 0, 0 } };
	int16_t in[2 * N];
	uint8_t block[24];
	struct stream t;
	size_t i, k;

	(void)state;
	begin(&t, 2, N);
	for (k = 0; k < 3; k++) {
		for (i = 0; i < COUNT(in); i++)
			in[i] = i % 2 == 0 ? (int16_t)0 : white();
		assert_int_equal(adpcm_encode(ADPCM_STATE, 2, in, N, s, block), sizeof block);
		put(&t, block, sizeof block);
	}
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_CHAIN);
	/* The silent channel spoilt. */
	t.frames[0].bytes[8] = 0x70;
	t.frames[1].bytes[8] = 0x70;
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH);
	end(&t);

	/* In silence both fit. */
	begin(&t, 2, 505);
	put_silence(&t, 100, 512);
	assert_verdict(&t, ADPCM_WAV, ADPCM_BY_LENGTH);
	t.ch = 1;
	t.n = 1009;
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH);
	t.n = 1017;
	assert_verdict(&t, ADPCM_WAV, ADPCM_BY_LENGTH);
	end(&t);
}

/* Blocks whose numbers leave gaps make no pairs: only their lengths speak. */
static void
put_apart(struct stream *t, const void *bytes, size_t length)
{
	put(t, bytes, length);
	t->seq += 10;
}

static void
by_length(void **state)
{
	struct stream t;
	size_t i;

	(void)state;
	begin(&t, 1, 8);
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH); /* nothing at all */
	put_apart(&t, "", 0);
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH);
	put_apart(&t, "\1\2\3\0", 4); /* alone: may be a header */
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH);
	t.frames[1].bytes[3] = 1; /* is none */
	assert_verdict(&t, ADPCM_BARE, ADPCM_BY_LENGTH);
	t.n = 10;
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH);
	t.n = 9;
	assert_verdict(&t, ADPCM_BARE, ADPCM_BY_LENGTH); /* rounded down */
	t.n = 7;
	assert_verdict(&t, ADPCM_BARE, ADPCM_BY_LENGTH); /* rounded up */
	t.n = 8;
	t.frames[1].bytes[3] = 0;
	put_apart(&t, "\1", 1); /* the last one is exempt */
	assert_verdict(&t, ADPCM_BARE, ADPCM_BY_LENGTH);
	put_apart(&t, "", 0); /* an empty frame is no block */
	assert_verdict(&t, ADPCM_BARE, ADPCM_BY_LENGTH);
	put_apart(&t, "\1\2\3\4", 4);
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH);
	end(&t);

	begin(&t, 1, 2);
	put_apart(&t, "\7", 1); /* alone, and too short for any header */
	assert_verdict(&t, ADPCM_BARE, ADPCM_BY_LENGTH);
	end(&t);

	/* The 64th block is exempt while it is the last; the 65th is not looked at. */
	begin(&t, 1, 8);
	for (i = 0; i < 63; i++)
		put_apart(&t, "\1\2\3\4", 4);
	put_apart(&t, "\1\2\3", 3);
	assert_verdict(&t, ADPCM_BARE, ADPCM_BY_LENGTH);
	put_apart(&t, "\1\2\3\4", 4);
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH);
	t.frames[63].length = 4;
	t.frames[64].length = 3;
	put_apart(&t, "\1\2\3", 3);
	t.frames[63].bytes = realloc(t.frames[63].bytes, 4);
	assert_non_null(t.frames[63].bytes);
	t.frames[63].bytes[3] = 4;
	assert_verdict(&t, ADPCM_BARE, ADPCM_BY_LENGTH);
	end(&t);

	/* wav: N mod 8 = 1; a block alone will do, but not a short one. */
	begin(&t, 1, 9);
	put_apart(&t, "\1\2\3\4\5\6\7", 7);
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH);
	end(&t);
	begin(&t, 2, 9);
	put_apart(&t, "\1\2\3\0\1\2\3\0\1\1\1\1\1\1\1\1", 16);
	assert_verdict(&t, ADPCM_WAV, ADPCM_BY_LENGTH);
	t.n = 8;
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH);
	end(&t);
	begin(&t, 1, 9);
	put_apart(&t, "\1\2\3\4\5\6\7\7", 8);
	assert_verdict(&t, ADPCM_WAV, ADPCM_BY_LENGTH);
	put_apart(&t, "\1\2\3\4\5", 5);
	assert_verdict(&t, ADPCM_WAV, ADPCM_BY_LENGTH);
	t.n = 8;
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH);
	t.n = 9;
	put_apart(&t, "\1\2\3\4\5\6\7\7", 8);
	assert_verdict(&t, ADPCM_STATE, ADPCM_BY_LENGTH);
	end(&t);
}

/* It is final after 63 pairs that decide, after 65 blocks if they do not, and never before. */
static void
when_it_is_final(void **state)
{
	struct adpcm_state s = { 0, 0 };
	struct adpcm_sniff sniffer;
	struct stream t;
	size_t i;
	int spoilt;

	(void)state;
	for (spoilt = 0; spoilt < 2; spoilt++) {
		begin(&t, 1, N);
		for (i = 0; i < 70; i++)
			put_noise(&t, ADPCM_STATE, &s, spoilt != 0);
		adpcm_sniff_init(&sniffer, 1, N);
		for (i = 0; i < t.count; i++) {
			assert_int_equal(adpcm_sniff_add(&sniffer, t.frames[i].seq,
					     t.frames[i].bytes, t.frames[i].length),
			    i + 1 < (spoilt ? 65 : 64));
			assert_false(adpcm_sniff_silent(&sniffer));
		}
		end(&t);
	}
}

/* What follows sound without a frame between them, or with one that is empty, settles nothing. */
static void
sound_without_a_pair_is_no_silence(void **state)
{
	static const uint8_t zeros[12], sound[12] = { 0, 0, 0, 0, 0x77, 0x77 };
	struct adpcm_sniff s;
	int empty;

	(void)state;
	for (empty = 0; empty < 2; empty++) {
		adpcm_sniff_init(&s, 1, N);
		assert_true(adpcm_sniff_add(&s, 0, zeros, 12));
		assert_true(adpcm_sniff_add(&s, 1, sound, 12));
		assert_true(adpcm_sniff_silent(&s)); /* block 0 is */
		if (empty) {
			assert_true(adpcm_sniff_add(&s, 2, zeros, 0));
			assert_false(adpcm_sniff_silent(&s));
		}
		assert_true(adpcm_sniff_add(&s, 3, zeros, 12));
		assert_true(adpcm_sniff_add(&s, 4, zeros, 12));
		assert_false(adpcm_sniff_silent(&s));
	}
}

/* What a block alone says of its layout, so that a full one has all its samples. */
static void
the_likeliest_layout_of_a_block(void **state)
{
	static const struct {
		unsigned ch;
		uint32_t n;
		size_t length;
		enum adpcm_layout layout;
		uint32_t samples;
	} some[] = {
		{ 1, 160, 84, ADPCM_STATE, 160 },
		{ 1, 160, 80, ADPCM_BARE, 160 },
		{ 1, 160, 44, ADPCM_STATE, 80 },
		{ 1, 505, 256, ADPCM_WAV, 505 },
		{ 1, 505, 257, ADPCM_STATE, 505 },
		{ 1, 441, 224, ADPCM_WAV, 441 },
		{ 1, 443, 225, ADPCM_STATE_HIGH, 442 },
		{ 2, 505, 512, ADPCM_WAV, 505 },
		{ 2, 160, 168, ADPCM_STATE, 160 },
		{ 1, 160, 0, ADPCM_STATE, 0 },
	};
	enum adpcm_layout likely;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(some); i++) {
		likely = adpcm_block_likely(some[i].ch, some[i].n, some[i].length);
		assert_int_equal(likely, some[i].layout);
		assert_int_equal(adpcm_block_samples(likely, some[i].ch, some[i].n, some[i].length),
		    some[i].samples);
	}
}

/* A reader of a pipe learns how far there is nothing but silence. */
static void
silence_is_known(void **state)
{
	static const uint8_t zeros[12], sound[12] = { 0, 0, 0, 0, 0x77, 0x77 };
	struct adpcm_sniff s;

	(void)state;
	adpcm_sniff_init(&s, 1, N);
	assert_false(adpcm_sniff_silent(&s));
	assert_true(adpcm_sniff_add(&s, 0, zeros, 12));
	assert_false(adpcm_sniff_silent(&s)); /* one block says nothing about itself */
	assert_true(adpcm_sniff_add(&s, 1, zeros, 12));
	assert_true(adpcm_sniff_silent(&s));
	assert_true(adpcm_sniff_add(&s, 2, zeros, 0));
	assert_true(adpcm_sniff_silent(&s));
	assert_true(adpcm_sniff_add(&s, 3, zeros, 12)); /* not in a pair yet */
	assert_false(adpcm_sniff_silent(&s));
	assert_true(adpcm_sniff_add(&s, 4, zeros, 12));
	assert_true(adpcm_sniff_silent(&s));
	assert_true(adpcm_sniff_add(&s, 5, sound, 12)); /* where it begins fits all layouts */
	assert_true(adpcm_sniff_silent(&s));
	assert_true(adpcm_sniff_add(&s, 6, zeros, 12));
	assert_false(adpcm_sniff_silent(&s));
	assert_true(adpcm_sniff_add(&s, 7, zeros, 12));
	assert_false(adpcm_sniff_silent(&s));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(lengths),
		cmocka_unit_test(like_libsndfile),
		cmocka_unit_test(like_sox),
		cmocka_unit_test(like_audioop),
		cmocka_unit_test(dvi4_is_big_endian),
		cmocka_unit_test(every_step),
		cmocka_unit_test(damage),
		cmocka_unit_test(zeros),
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(encodes_like_libsndfile),
		cmocka_unit_test(padding_is_zero),
		cmocka_unit_test(senders),
		cmocka_unit_test(own_streams),
		cmocka_unit_test(nine_of_ten),
		cmocka_unit_test(pairs_enough),
		cmocka_unit_test(window),
		cmocka_unit_test(what_is_a_pair),
		cmocka_unit_test(impossible_index),
		cmocka_unit_test(dropped_code),
		cmocka_unit_test(one_pair),
		cmocka_unit_test(no_known_layout),
		cmocka_unit_test(headers_of_others),
		cmocka_unit_test(more_channels),
		cmocka_unit_test(by_length),
		cmocka_unit_test(when_it_is_final),
		cmocka_unit_test(silence_is_known),
		cmocka_unit_test(sound_without_a_pair_is_no_silence),
		cmocka_unit_test(the_likeliest_layout_of_a_block),
	};

	return cmocka_run_group_tests_name("adpcm", tests, NULL, NULL);
}
