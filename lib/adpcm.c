/*
 * See adpcm.h.  All layouts are one: codes come in groups of 8 (4 bytes), one group per channel in
 * turn, after a header of 4 bytes per channel that `bare` leaves out.  Mono codes that run on are
 * the case of one channel, whose last group may be cut short.
 */
#include "adpcm.h"

#include "bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	CODES = 16,
	GROUP = 8, /* codes */
	GROUP_SIZE = 4,
	HEADER_SIZE = 4,
	SNIFF_PAIRS = 63,
	SNIFF_BLOCKS = 64,
	WAV_LEAST = 16,     /* the index alone is compared, which fits by chance now and then */
	UNKNOWN_LEAST = 16, /* pairs that fit no layout */
};

/*
 * What a code does at a step: the IMA's tables, multiplied out.  A row has the 16 codes of a step
 * index, and next is where the next one's row begins: from sample to sample a decoder waits for
 * one addition and one load.
 */
struct effect {
	int32_t diff;
	uint32_t next;
};

/* clang-format off */
#define STEPS(X) \
	X(0, 7) X(1, 8) X(2, 9) X(3, 10) X(4, 11) X(5, 12) X(6, 13) X(7, 14) X(8, 16) X(9, 17) \
	X(10, 19) X(11, 21) X(12, 23) X(13, 25) X(14, 28) X(15, 31) X(16, 34) X(17, 37) X(18, 41) \
	X(19, 45) X(20, 50) X(21, 55) X(22, 60) X(23, 66) X(24, 73) X(25, 80) X(26, 88) X(27, 97) \
	X(28, 107) X(29, 118) X(30, 130) X(31, 143) X(32, 157) X(33, 173) X(34, 190) X(35, 209) \
	X(36, 230) X(37, 253) X(38, 279) X(39, 307) X(40, 337) X(41, 371) X(42, 408) X(43, 449) \
	X(44, 494) X(45, 544) X(46, 598) X(47, 658) X(48, 724) X(49, 796) X(50, 876) X(51, 963) \
	X(52, 1060) X(53, 1166) X(54, 1282) X(55, 1411) X(56, 1552) X(57, 1707) X(58, 1878) \
	X(59, 2066) X(60, 2272) X(61, 2499) X(62, 2749) X(63, 3024) X(64, 3327) X(65, 3660) \
	X(66, 4026) X(67, 4428) X(68, 4871) X(69, 5358) X(70, 5894) X(71, 6484) X(72, 7132) \
	X(73, 7845) X(74, 8630) X(75, 9493) X(76, 10442) X(77, 11487) X(78, 12635) X(79, 13899) \
	X(80, 15289) X(81, 16818) X(82, 18500) X(83, 20350) X(84, 22385) X(85, 24623) X(86, 27086) \
	X(87, 29794) X(88, 32767)

#define SIZE(i, step) step,
static const uint16_t steps[] = { STEPS(SIZE) };

#define DIFF(step, code) (((step) >> 3) + ((code) & 1 ? (step) >> 2 : 0) + \
	((code) & 2 ? (step) >> 1 : 0) + ((code) & 4 ? (step) : 0))
#define DOWN(i) (uint32_t)(CODES * ((i) > 0 ? (i) - 1 : 0))
#define UP(i, by) \
	(uint32_t)(CODES * ((i) + (by) < ADPCM_MAX_INDEX ? (i) + (by) : ADPCM_MAX_INDEX))
#define HALF(i, step, sign) \
	{ sign DIFF(step, 0), DOWN(i) }, { sign DIFF(step, 1), DOWN(i) }, \
	{ sign DIFF(step, 2), DOWN(i) }, { sign DIFF(step, 3), DOWN(i) }, \
	{ sign DIFF(step, 4), UP(i, 2) }, { sign DIFF(step, 5), UP(i, 4) }, \
	{ sign DIFF(step, 6), UP(i, 6) }, { sign DIFF(step, 7), UP(i, 8) }
#define ROW(i, step) HALF(i, step, +), HALF(i, step, -),
static const struct effect effects[] = { STEPS(ROW) };
/* clang-format on */

static const char *const layout_names[ADPCM_LAYOUTS] = {
	[ADPCM_STATE] = "state",
	[ADPCM_STATE_HIGH] = "state-high",
	[ADPCM_DVI4] = "dvi4",
	[ADPCM_WAV] = "wav",
	[ADPCM_BARE] = "bare",
};

const char *
adpcm_layout_name(enum adpcm_layout layout)
{
	return layout_names[layout];
}

bool
adpcm_layout_parse(const char *name, enum adpcm_layout *lo)
{
	int i;

	for (i = 0; i < ADPCM_LAYOUTS; i++)
		if (strcmp(name, layout_names[i]) == 0) {
			*lo = (enum adpcm_layout)i;
			return true;
		}
	return false;
}

const char *
adpcm_rule_name(enum adpcm_rule rule)
{
	static const char *const names[] = { "chain", "length", "given" };

	return names[rule];
}

const char *
adpcm_verdict_name(const struct adpcm_verdict *v)
{
	return v->unknown ? "unknown" : adpcm_layout_name(v->layout);
}

void
adpcm_verdict_text(const struct adpcm_verdict *v, char out[ADPCM_VERDICT_TEXT])
{
	if (v->unknown)
		snprintf(out, ADPCM_VERDICT_TEXT,
		    "blocks fit no known layout, decoded as %s; if it sounds like noise, give "
		    "--layout",
		    adpcm_layout_name(v->layout));
	else
		snprintf(out, ADPCM_VERDICT_TEXT, "layout %s (%s)", adpcm_layout_name(v->layout),
		    adpcm_rule_name(v->rule));
}

bool
adpcm_layout_allowed(enum adpcm_layout layout, unsigned ch)
{
	return ch == 1 || layout == ADPCM_STATE || layout == ADPCM_WAV;
}

static bool
high_first(enum adpcm_layout layout)
{
	return layout == ADPCM_STATE_HIGH || layout == ADPCM_DVI4 || layout == ADPCM_BARE;
}

static uint32_t
header_size(enum adpcm_layout layout, unsigned ch)
{
	return layout == ADPCM_BARE ? 0 : HEADER_SIZE * ch;
}

/* The first sample of a WAV block is in its header. */
static uint32_t
codes_of(enum adpcm_layout layout, uint32_t samples)
{
	return samples - (layout == ADPCM_WAV);
}

uint32_t
adpcm_block_length(enum adpcm_layout layout, unsigned ch, uint32_t samples)
{
	uint32_t codes = codes_of(layout, samples);

	if (ch == 1 && layout != ADPCM_WAV)
		return header_size(layout, ch) + (codes + 1) / 2;
	return header_size(layout, ch) + ch * GROUP_SIZE * ((codes + GROUP - 1) / GROUP);
}

bool
adpcm_block_full(enum adpcm_layout layout, unsigned ch, uint32_t n, size_t length)
{
	uint32_t full = adpcm_block_length(layout, ch, n);

	return adpcm_layout_allowed(layout, ch) && length > 0 &&
	    (length == full || (high_first(layout) && n % 2 != 0 && length == full - 1));
}

uint32_t
adpcm_block_samples(enum adpcm_layout layout, unsigned ch, uint32_t n, size_t length)
{
	size_t header = header_size(layout, ch), samples;

	if (length == 0 || length < header)
		return 0;
	samples = ch == 1 ? 2 * (length - header) : GROUP * ((length - header) / (GROUP_SIZE * ch));
	samples += layout == ADPCM_WAV;
	return samples < n ? (uint32_t)samples : n;
}

enum adpcm_layout
adpcm_block_likely(unsigned ch, uint32_t n, size_t length)
{
	enum adpcm_layout likely = ADPCM_STATE;
	uint32_t samples, most = 0;
	int i;

	for (i = 0; i < ADPCM_LAYOUTS; i++) {
		if (!adpcm_block_full((enum adpcm_layout)i, ch, n, length))
			continue;
		samples = adpcm_block_samples((enum adpcm_layout)i, ch, n, length);
		if (samples > most)
			likely = (enum adpcm_layout)i;
		most = samples > most ? samples : most;
	}
	return likely;
}

/* A channel's header; false if its index is impossible, and was taken as 88. */
static bool
load_header(enum adpcm_layout layout, const uint8_t *p, struct adpcm_state *o)
{
	o->predictor = (int16_t)(layout == ADPCM_DVI4 ? be16_load(p) : le16_load(p));
	o->index = p[2] <= ADPCM_MAX_INDEX ? p[2] : ADPCM_MAX_INDEX;
	return p[2] <= ADPCM_MAX_INDEX;
}

static inline int
clamp(int v)
{
	return v < INT16_MIN ? INT16_MIN : v > INT16_MAX ? INT16_MAX : v;
}

/* A decoder at work: row is its step index as effects[] counts. */
struct position {
	int predictor;
	uint32_t row;
};

static inline struct position
load_state(const struct adpcm_state *s)
{
	return (struct position){ s->predictor, (uint32_t)CODES * s->index };
}

static inline void
store_state(struct adpcm_state *s, const struct position *at)
{
	s->predictor = (int16_t)at->predictor;
	s->index = (uint8_t)(at->row / CODES);
}

static inline void
apply(struct position *at, unsigned code)
{
	const struct effect *e = &effects[at->row + code];

	at->predictor = clamp(at->predictor + e->diff);
	at->row = e->next;
}

/* Exchange the codes of each byte. */
static inline uint32_t
swap(uint32_t w)
{
	return (w & 0x0f0f0f0f) << 4 | (w >> 4 & 0x0f0f0f0f);
}

/* A group's codes, the first in the lowest bits; fewer than 8 end with their byte. */
static inline uint32_t
load_group(const uint8_t *p, uint32_t codes, bool high)
{
	uint8_t b[GROUP_SIZE] = { 0 };
	uint32_t w;

	if (codes < GROUP) {
		memcpy(b, p, (codes + 1) / 2);
		p = b;
	}
	w = le32_load(p);
	return high ? swap(w) : w;
}

/* Decode a group of one channel, n codes, into every ch-th place of out[]. */
static inline void
decode_group(struct adpcm_state *s, uint32_t group, uint32_t n, unsigned ch, int16_t *out)
{
	struct position at = load_state(s);
	uint32_t i;

	for (i = 0; i < n; i++, group >>= 4, out += ch) {
		apply(&at, group & 15);
		*out = (int16_t)at.predictor;
	}
	store_state(s, &at);
}

/* Decode codes per channel from p on; after each group, out moves on by so many values. */
static void
decode_codes(unsigned ch, const uint8_t *p, uint32_t codes, bool high, struct adpcm_state *state,
    int16_t *out, size_t move)
{
	unsigned c;

	for (; codes >= GROUP; codes -= GROUP, out += move)
		for (c = 0; c < ch; c++, p += GROUP_SIZE)
			decode_group(&state[c], load_group(p, GROUP, high), GROUP, ch, out + c);
	if (codes > 0)
		for (c = 0; c < ch; c++, p += GROUP_SIZE)
			decode_group(&state[c], load_group(p, codes, high), codes, ch, out + c);
}

/* Digital silence: from a state of 0/0, codes of 0 lead to nothing else. */
static bool
is_zero(const uint8_t *block, size_t length)
{
	return length > 0 && block[0] == 0 && memcmp(block, block + 1, length - 1) == 0;
}

static bool
at_zero(const struct adpcm_state *state, unsigned ch)
{
	for (unsigned c = 0; c < ch; c++)
		if (state[c].predictor != 0 || state[c].index != 0)
			return false;
	return true;
}

uint32_t
adpcm_decode(enum adpcm_layout layout, unsigned ch, uint32_t n, const uint8_t *block, size_t length,
    struct adpcm_state *state, int16_t *out, bool *damagedo)
{
	uint32_t samples = adpcm_block_samples(layout, ch, n, length);
	size_t header = header_size(layout, ch);
	unsigned c;

	if (length < header) {
		if (length > 0)
			*damagedo = true;
		return 0;
	}
	for (c = 0; c < header / HEADER_SIZE; c++) {
		struct adpcm_state s;

		if (!load_header(layout, block + HEADER_SIZE * c, &s))
			*damagedo = true;
		if (samples > 0)
			state[c] = s;
	}
	if (is_zero(block, length) && at_zero(state, ch)) {
		memset(out, 0, sizeof *out * ch * samples);
		return samples;
	}
	if (layout == ADPCM_WAV)
		for (c = 0; c < ch; c++)
			*out++ = state[c].predictor;
	decode_codes(ch, block + header, codes_of(layout, samples), high_first(layout), state, out,
	    (size_t)GROUP * ch);
	return samples;
}

static void
store_header(enum adpcm_layout layout, uint8_t *p, const struct adpcm_state *s)
{
	if (layout == ADPCM_DVI4)
		be16_store(p, (uint16_t)s->predictor);
	else
		le16_store(p, (uint16_t)s->predictor);
	p[2] = s->index;
	p[3] = 0;
}

/* The code whose effect comes nearest to the sample.  A branch here would be a guess. */
static inline unsigned
choose(const struct position *at, int sample)
{
	int diff = sample - at->predictor, step = steps[at->row / CODES];
	int code = diff < 0 ? 8 : 0, bit;

	diff = abs(diff);
	for (bit = 4; bit > 0; bit >>= 1, step >>= 1) {
		int reached = -(diff >= step);

		code |= bit & reached;
		diff -= step & reached;
	}
	return (unsigned)code;
}

uint32_t
adpcm_encode(enum adpcm_layout layout, unsigned ch, const int16_t *in, uint32_t samples,
    struct adpcm_state *state, uint8_t *out)
{
	uint32_t length = adpcm_block_length(layout, ch, samples);
	uint32_t codes = codes_of(layout, samples);
	uint8_t *p = out, *end = out + length, b[GROUP_SIZE];
	uint32_t n, w, i;
	size_t size;
	unsigned c;

	for (c = 0; c < header_size(layout, ch) / HEADER_SIZE; c++, p += HEADER_SIZE) {
		if (layout == ADPCM_WAV)
			state[c].predictor = *in++;
		store_header(layout, p, &state[c]);
	}
	for (; codes > 0; codes -= n, in += (size_t)n * ch) {
		n = codes < GROUP ? codes : GROUP;
		for (c = 0; c < ch; c++) {
			struct position at = load_state(&state[c]);

			for (w = 0, i = 0; i < n; i++) {
				unsigned code = choose(&at, in[i * ch + c]);

				apply(&at, code);
				w |= code << 4 * i;
			}
			store_state(&state[c], &at);
			le32_store(b, high_first(layout) ? swap(w) : w);
			size = end - p < GROUP_SIZE ? (size_t)(end - p) : GROUP_SIZE;
			memcpy(p, b, size);
			p += size;
		}
	}
	return length;
}

void
adpcm_sniff_init(struct adpcm_sniff *s, unsigned ch, uint32_t n)
{
	memset(s, 0, sizeof *s);
	s->ch = ch;
	s->n = n;
}

/* The layouts that the chain can tell, the first that is right first. */
static const enum adpcm_layout chained[] = { ADPCM_STATE, ADPCM_STATE_HIGH, ADPCM_DVI4, ADPCM_WAV };
enum { CHAINED = sizeof chained / sizeof chained[0] };

/* One channel's part of it: the header says the index, and but for wav the predictor as well. */
static bool
meets(enum adpcm_layout layout, const struct adpcm_state *end, const struct adpcm_state *begin)
{
	return end->index == begin->index &&
	    (layout == ADPCM_WAV || end->predictor == begin->predictor);
}

/* With the high nibble first, a block with an odd number of samples may lack its last code. */
static bool
drops_code(uint32_t n, size_t length)
{
	return n % 2 != 0 && length == HEADER_SIZE + (n - 1) / 2;
}

/* A block read in this layout ended at after[]: does the next one's header say the same? */
static bool
fits(enum adpcm_layout layout, unsigned ch, const struct adpcm_state *after, bool dropped_code,
    const uint8_t *block)
{
	struct adpcm_state begin, end;
	unsigned c, code;
	int16_t heard;

	for (c = 0; c < ch; c++) {
		load_header(layout, block + HEADER_SIZE * c, &begin);
		end = after[c];
		if (high_first(layout) && dropped_code) {
			for (code = 0; code < 16; code++) {
				end = after[c];
				decode_group(&end, code, 1, 1, &heard);
				if (meets(layout, &end, &begin))
					break;
			}
		}
		if (!meets(layout, &end, &begin))
			return false;
	}
	return true;
}

bool
adpcm_chain_holds(enum adpcm_layout layout, unsigned ch, uint32_t n,
    const struct adpcm_state *after, size_t previous, const uint8_t *block, size_t length)
{
	return layout != ADPCM_BARE && previous >= HEADER_SIZE * (size_t)ch &&
	    length >= HEADER_SIZE * (size_t)ch &&
	    fits(layout, ch, after, drops_code(n, previous), block);
}

/* The previous block and this one, which follows it. */
static void
look_at_pair(struct adpcm_sniff *s, const uint8_t *block, bool has_header)
{
	bool fit[ADPCM_LAYOUTS] = { false }, all = true;
	size_t i;

	for (i = 0; i < CHAINED; i++)
		if (adpcm_layout_allowed(chained[i], s->ch)) {
			fit[chained[i]] = has_header && s->previous_header &&
			    fits(chained[i], s->ch, s->after[chained[i]], s->dropped_code, block);
			all = all && fit[chained[i]];
		}
	if (all && s->pairs == 0) {
		s->silent = true;
		return;
	}
	s->pairs++;
	if (all)
		return;
	s->counted++;
	for (i = 0; i < CHAINED; i++)
		s->fits[chained[i]] += fit[chained[i]];
}

/* Where each layout's decoder would stand after this block. */
static void
remember(struct adpcm_sniff *s, uint32_t seq, const uint8_t *block, size_t length)
{
	int16_t heard[GROUP * ADPCM_MAX_CHANNELS]; /* by nobody */
	uint32_t codes;
	unsigned c;
	size_t i;

	s->have_previous = true;
	s->previous_seq = seq;
	s->previous_header = length >= HEADER_SIZE * (size_t)s->ch;
	s->previous_zero = is_zero(block, length);
	s->dropped_code = drops_code(s->n, length);
	if (!s->previous_header)
		return;
	for (i = 0; i < CHAINED; i++) {
		codes = codes_of(chained[i], adpcm_block_samples(chained[i], s->ch, s->n, length));
		for (c = 0; c < s->ch; c++)
			load_header(chained[i], block + HEADER_SIZE * c, &s->after[chained[i]][c]);
		if (!s->previous_zero)
			decode_codes(s->ch, block + HEADER_SIZE * s->ch, codes,
			    high_first(chained[i]), s->after[chained[i]], heard, 0);
	}
}

static void
count_lengths(struct adpcm_sniff *s, const uint8_t *block, size_t length)
{
	if (++s->blocks > SNIFF_BLOCKS)
		return;
	if (s->blocks == 1)
		s->first_is_bare = length < HEADER_SIZE || block[3] != 0;
	s->last_bare = adpcm_block_full(ADPCM_BARE, s->ch, s->n, length);
	s->last_wav = s->n % 8 == 1 && adpcm_block_full(ADPCM_WAV, s->ch, s->n, length);
	s->bare_lengths += s->last_bare;
	s->wav_lengths += s->last_wav;
}

static bool
chain_decides(const struct adpcm_sniff *s, enum adpcm_layout *lo)
{
	size_t i;

	for (i = 0; i < CHAINED; i++)
		if (s->counted >= (chained[i] == ADPCM_WAV ? WAV_LEAST : 1) &&
		    s->fits[chained[i]] * 10 >= s->counted * 9) {
			*lo = chained[i];
			return true;
		}
	return false;
}

/* Enough pairs say something, and none of the layouts is what most of them say. */
static bool
chain_denies(const struct adpcm_sniff *s)
{
	uint32_t most = 0;
	size_t i;

	for (i = 0; i < CHAINED; i++)
		if (s->fits[chained[i]] > most)
			most = s->fits[chained[i]];
	return s->counted >= UNKNOWN_LEAST && 2 * most <= s->counted;
}

/* True if the lengths of the blocks are those of one layout; false: they are anything. */
static bool
length_decides(const struct adpcm_sniff *s, enum adpcm_layout *lo)
{
	uint32_t looked = s->blocks, bare = s->bare_lengths, wav = s->wav_lengths;

	if (s->blocks == 1) {
		bare = bare == 1 && s->first_is_bare;
	} else if (s->blocks > SNIFF_BLOCKS) {
		looked = SNIFF_BLOCKS;
	} else if (s->blocks > 0) {
		/* The last block of a log may be short. */
		looked--;
		bare -= s->last_bare;
		wav -= s->last_wav;
	}
	if (looked == 0 || (bare < looked && wav < looked))
		return false;
	*lo = bare == looked ? ADPCM_BARE : ADPCM_WAV;
	return true;
}

static bool
final(const struct adpcm_sniff *s)
{
	enum adpcm_layout layout;

	return s->pairs == SNIFF_PAIRS && (s->blocks > SNIFF_BLOCKS || chain_decides(s, &layout));
}

bool
adpcm_sniff_add(struct adpcm_sniff *s, uint32_t seq, const uint8_t *block, size_t length)
{
	bool pair = s->have_previous && length > 0 && seq == s->previous_seq + 1;

	if (final(s))
		return false;
	if (s->have_previous && !pair && !s->previous_zero)
		s->unsettled = true;
	if (length == 0) {
		s->have_previous = false;
		return true;
	}
	if (s->blocks <= SNIFF_BLOCKS)
		count_lengths(s, block, length);
	if (s->pairs < SNIFF_PAIRS) {
		s->silent = false;
		if (pair)
			look_at_pair(s, block, length >= HEADER_SIZE * (size_t)s->ch);
		remember(s, seq, block, length);
	}
	return !final(s);
}

bool
adpcm_sniff_silent(const struct adpcm_sniff *s)
{
	return s->silent && !s->unsettled;
}

struct adpcm_verdict
adpcm_sniff_verdict(const struct adpcm_sniff *s)
{
	struct adpcm_verdict v = { ADPCM_STATE, ADPCM_BY_CHAIN, false };

	if (chain_decides(s, &v.layout))
		return v;
	v.rule = ADPCM_BY_LENGTH;
	/* Blocks of bare are no chain, nor are those of encoders that search the index anew. */
	if (!length_decides(s, &v.layout))
		v.unknown = chain_denies(s);
	return v;
}
