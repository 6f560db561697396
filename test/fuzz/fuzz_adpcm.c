/*
 * Blocks as they come: channels - 1 (a byte, its top bits a sequence number's jumps),
 * frame_samples (u16), then for each frame its length (u16) and payload.  Every layout decodes
 * them as a decoder by the book does, within its bounds; the verdict, once final, stays.
 */
#include "adpcm.h"
#include "bytes.h"
#include "fuzz.h"

static void *
allocate(size_t size)
{
	void *p = calloc(1, size == 0 ? 1 : size);

	require(p != NULL);
	return p;
}

/* The IMA's decoder, a line for each of its sentences. */
static void
by_the_book(struct adpcm_state *s, unsigned code)
{
	static const uint16_t steps[] = { 7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 19, 21, 23, 25, 28,
		31, 34, 37, 41, 45, 50, 55, 60, 66, 73, 80, 88, 97, 107, 118, 130, 143, 157, 173,
		190, 209, 230, 253, 279, 307, 337, 371, 408, 449, 494, 544, 598, 658, 724, 796, 876,
		963, 1060, 1166, 1282, 1411, 1552, 1707, 1878, 2066, 2272, 2499, 2749, 3024, 3327,
		3660, 4026, 4428, 4871, 5358, 5894, 6484, 7132, 7845, 8630, 9493, 10442, 11487,
		12635, 13899, 15289, 16818, 18500, 20350, 22385, 24623, 27086, 29794, 32767 };
	static const int moves[] = { -1, -1, -1, -1, 2, 4, 6, 8 };
	int step = steps[s->index], diff = step >> 3, value, index;

	if (code & 1)
		diff += step >> 2;
	if (code & 2)
		diff += step >> 1;
	if (code & 4)
		diff += step;
	value = s->predictor + (code & 8 ? -diff : diff);
	s->predictor = (int16_t)(value > 32767 ? 32767 : value < -32768 ? -32768 : value);
	index = s->index + moves[code & 7];
	s->index = (uint8_t)(index < 0 ? 0 : index > 88 ? 88 : index);
}

/* Sample i of channel c of a block with a header (or none: bare) of that many bytes. */
static unsigned
code_at(const uint8_t *block, size_t header, unsigned ch, unsigned c, size_t i, bool high)
{
	size_t byte = header + (i / 8 * ch + c) * 4 + i % 8 / 2;

	return (i % 2 == 0) == high ? block[byte] >> 4 : block[byte] & 15;
}

static void
check_decoder(enum adpcm_layout layout, unsigned ch, uint32_t n, const uint8_t *block,
    size_t length, struct adpcm_state *state)
{
	uint32_t samples = adpcm_block_samples(layout, ch, n, length), i;
	size_t header = layout == ADPCM_BARE ? 0 : 4 * (size_t)ch;
	bool high = layout == ADPCM_STATE_HIGH || layout == ADPCM_DVI4 || layout == ADPCM_BARE;
	bool damaged = false, expected = length > 0 && length < header;
	struct adpcm_state before[ADPCM_MAX_CHANNELS], s;
	int16_t *out = allocate(sizeof *out * samples * ch);
	unsigned c;

	require(samples <= n);
	memcpy(before, state, sizeof before);
	require(adpcm_decode(layout, ch, n, block, length, state, out, &damaged) == samples);
	for (c = 0; c < ch; c++) {
		s = before[c];
		if (header > 0 && length >= header) {
			expected = expected || block[4 * c + 2] > 88;
			s.predictor = (int16_t)(layout == ADPCM_DVI4 ? be16_load(block + 4 * c)
								     : le16_load(block + 4 * c));
			s.index = block[4 * c + 2] > 88 ? 88 : block[4 * c + 2];
		}
		for (i = 0; i < samples; i++) {
			if (layout != ADPCM_WAV)
				by_the_book(&s, code_at(block, header, ch, c, i, high));
			else if (i > 0)
				by_the_book(&s, code_at(block, header, ch, c, i - 1, high));
			require(out[(size_t)i * ch + c] == s.predictor);
		}
		if (samples == 0)
			s = before[c];
		require(state[c].predictor == s.predictor && state[c].index == s.index);
	}
	require(damaged == expected);
	free(out);
}

/* What was decoded, encoded again, is a block of the same size that decodes to its own state. */
static void
check_encoder(enum adpcm_layout layout, unsigned ch, const uint8_t *block, size_t length)
{
	uint32_t samples = (uint32_t)(length / 2 / ch), size;
	struct adpcm_state e[ADPCM_MAX_CHANNELS] = { { 0, 0 } },
			   d[ADPCM_MAX_CHANNELS] = { { 0, 0 } };
	int16_t *in, *out;
	uint8_t *b;
	bool damaged = false;
	unsigned c;
	size_t i;

	if (samples == 0)
		return;
	size = adpcm_block_length(layout, ch, samples);
	in = allocate(sizeof *in * samples * ch);
	out = allocate(sizeof *out * samples * ch);
	b = allocate(size);
	for (i = 0; i < (size_t)samples * ch; i++)
		in[i] = (int16_t)le16_load(block + 2 * i);
	require(adpcm_encode(layout, ch, in, samples, e, b) == size);
	require(adpcm_block_full(layout, ch, samples, size));
	require(adpcm_decode(layout, ch, samples, b, size, d, out, &damaged) == samples);
	require(!damaged);
	for (c = 0; c < ch; c++)
		require(e[c].predictor == d[c].predictor && e[c].index == d[c].index);
	free(in);
	free(out);
	free(b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct adpcm_state state[ADPCM_LAYOUTS][ADPCM_MAX_CHANNELS];
	struct adpcm_sniff sniff;
	struct adpcm_verdict final = { ADPCM_STATE, ADPCM_GIVEN, false }, v;
	bool more = true, now;
	uint32_t n, seq = 0xfffffffe;
	unsigned ch;
	size_t at, length, frames = 0;
	uint8_t *block;
	int layout;

	if (size < 3)
		return 0;
	ch = data[0] % 64 + 1u;
	n = le16_load(data + 1);
	n = n == 0 ? 1 : n;
	memset(state, 0, sizeof state);
	adpcm_sniff_init(&sniff, ch, n);
	for (at = 3; at + 2 <= size; at += length) {
		length = le16_load(data + at);
		at += 2;
		if (length > size - at)
			length = size - at;
		block = allocate(length);
		memcpy(block, data + at, length);
		for (layout = 0; layout < ADPCM_LAYOUTS; layout++)
			if (adpcm_layout_allowed((enum adpcm_layout)layout, ch)) {
				check_decoder((enum adpcm_layout)layout, ch, n, block, length,
				    state[layout]);
				if (frames < 4)
					check_encoder((enum adpcm_layout)layout, ch, block, length);
			}
		seq += data[0] & 0x40 && frames % 8 == 7 ? 2 : 1;
		frames++;
		now = adpcm_sniff_add(&sniff, seq, block, length);
		require(more || !now);
		v = adpcm_sniff_verdict(&sniff);
		require(adpcm_layout_allowed(v.layout, ch));
		require(v.rule == ADPCM_BY_CHAIN || v.rule == ADPCM_BY_LENGTH);
		require(!v.unknown || (v.layout == ADPCM_STATE && v.rule == ADPCM_BY_LENGTH));
		require(!adpcm_sniff_silent(&sniff) || (now && v.rule == ADPCM_BY_LENGTH));
		if (more && !now)
			final = v;
		require(now ||
		    (v.layout == final.layout && v.rule == final.rule &&
			v.unknown == final.unknown));
		more = now;
		free(block);
	}
	return 0;
}
