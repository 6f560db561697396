/*
 * See encode.h.  From sample to sample, states move between step indices in five ways only: down by
 * one (codes 0 to 3), or up by 2, 4, 6 or 8 (codes 4 to 7).  So what may become of four
 * neighbouring indices is found at once, in vectors of the compilers' own kind, from five loads.
 * Indices are lanes of an array; a state that would leave it at one end arrives in a lane
 * beyond, from which it is brought back.
 *
 * A path that has cost more than the whole of the greedy encoder's leads nowhere, which is known
 * of most states after a few samples.
 *
 * Costs and predictors are floats, because vectors of them can be multiplied and compared
 * everywhere; predictors and errors are whole numbers, so nothing is rounded but costs, and these
 * in the same way on every machine.
 */
#include "encode.h"

#include "bytes.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
	VECTOR = 4,
	/* An index's lane: one more than the index, since one below is a lane, too. */
	INDEX_0 = 1,
	INDEX_MAX = INDEX_0 + ADPCM_MAX_INDEX,
	HIGHEST = INDEX_MAX + 8,
	LANES = (HIGHEST / VECTOR + 1) * VECTOR,
	BEFORE = 8, /* lanes that are never alive, but read */
	AFTER = VECTOR,
	ROW = BEFORE + LANES + AFTER,

	PIECE = 256, /* samples searched together; more are no better */
	MAX_WIDTH = 32,
	GROUP = 8, /* codes in the 4 bytes that are one channel's turn */
	GROUP_SIZE = 4,
	HEADER_SIZE = 4,

	/* How a state was reached: by this code, from this rank, in this lane. */
	HOW_RANK = 4,
	HOW_LANE = 9,
};

#define DEAD 1e30f /* the cost of what is no state; no cost comes near */

typedef float floats __attribute__((vector_size(sizeof(float) * VECTOR)));
typedef int32_t ints __attribute__((vector_size(sizeof(int32_t) * VECTOR)));
typedef int64_t halves __attribute__((vector_size(sizeof(int32_t) * VECTOR)));

/* The states of one moment: of each index, so many as the search is wide, the best first. */
struct states {
	float cost[MAX_WIDTH][ROW];
	float predictor[MAX_WIDTH][ROW];
};

struct encoder {
	unsigned width; /* 0: greedy */
	float bound;    /* no path that costs so much is of interest */
	/* What codes add, in the lane where they lead to. */
	float least[LANES], quarter[LANES], half[LANES]; /* codes 0 to 3 */
	float high[4][LANES];                            /* codes 4 to 7 */
	struct states states[2];
	int32_t (*how)[LANES]; /* of each sample, width rows */
};

/* Which index a code adds to the one before. */
static int
climb(unsigned code)
{
	code &= 7;
	return code < 4 ? -1 : 2 * ((int)code - 3);
}

/* What a code adds at an index, as the decoder has it. */
static float
diff(int index, unsigned code)
{
	const uint8_t block[HEADER_SIZE + 1] = { 0x00, 0x80, (uint8_t)index, 0, (uint8_t)code };
	struct adpcm_state state;
	bool damaged = false;
	int16_t out;

	if (index < 0 || index > ADPCM_MAX_INDEX)
		return 0;
	adpcm_decode(ADPCM_STATE, 1, 1, block, sizeof block, &state, &out, &damaged);
	return (float)(out - INT16_MIN);
}

struct encoder *
encode_new(unsigned effort)
{
	static const unsigned widths[] = { 0, 1, 2, 3, 4, 6, 8, 12, 16, MAX_WIDTH };
	struct encoder *e;

	if (effort > ENCODE_MAX_EFFORT) {
		errno = EINVAL;
		return NULL;
	}
	if ((e = calloc(1, sizeof *e)) == NULL)
		return NULL;
	e->width = widths[effort];
	if (e->width == 0)
		return e;
	if ((e->how = calloc((size_t)PIECE * e->width, sizeof *e->how)) == NULL) {
		free(e);
		return NULL;
	}
	for (int lane = 0; lane < LANES; lane++) {
		int low = lane - INDEX_0 - climb(0);

		e->least[lane] = diff(low, 0);
		e->quarter[lane] = diff(low, 1) - diff(low, 0);
		e->half[lane] = diff(low, 2) - diff(low, 0);
		for (unsigned i = 0; i < 4; i++)
			e->high[i][lane] = diff(lane - INDEX_0 - climb(4 + i), 4 + i);
	}
	for (unsigned rank = 0; rank < e->width; rank++)
		for (int i = 0; i < ROW; i++)
			e->states[0].cost[rank][i] = e->states[1].cost[rank][i] = DEAD;
	return e;
}

void
encode_free(struct encoder *e)
{
	if (e != NULL)
		free(e->how);
	free(e);
}

static inline floats
load(const float *p)
{
	floats v;

	memcpy(&v, p, sizeof v);
	return v;
}

static inline ints
choose_ints(ints mask, ints a, ints b)
{
	return (mask & a) | (~mask & b);
}

static inline floats
choose(ints mask, floats a, floats b)
{
	return (floats)choose_ints(mask, (ints)a, (ints)b);
}

static inline bool
any(ints mask)
{
	halves h = (halves)mask;

	return (h[0] | h[1]) != 0;
}

/* States that may be reached in four lanes, the best so far; width of them. */
struct best {
	unsigned width;
	floats cost[MAX_WIDTH], predictor[MAX_WIDTH];
	ints how[MAX_WIDTH];
};

/* Put states among the best, where they belong by cost.  Of those with one predictor one stays. */
static inline __attribute__((always_inline)) void
insert(struct best *b, floats cost, floats predictor, ints how)
{
	const floats wanted = predictor, dead = DEAD - (floats){ 0 };

	if (b->width > 1 && !any(cost < b->cost[b->width - 1]))
		return;
	for (unsigned i = 0; i < b->width; i++) {
		ints take = cost <= b->cost[i], same = b->predictor[i] == wanted;
		floats c = b->cost[i], p = b->predictor[i];
		ints h = b->how[i];

		b->cost[i] = choose(take, cost, c);
		b->predictor[i] = choose(take, predictor, p);
		b->how[i] = choose_ints(take, how, h);
		if (b->width == 1)
			break;
		/* The other one goes on to the next place, unless the newcomer has replaced it. */
		cost = choose(same, dead, choose(take, c, cost));
		predictor = choose(take, p, predictor);
		how = choose_ints(take, h, how);
	}
}

/* Add a code's states, for a sample: from a state's cost and predictor, by what the code adds. */
static inline __attribute__((always_inline)) void
offer(struct best *b, floats sample, floats cost, floats from, floats add, ints how)
{
	const floats top = INT16_MAX - (floats){ 0 }, bottom = INT16_MIN - (floats){ 0 };
	floats to = from + add, error;

	to = choose(to > top, top, to);
	to = choose(to < bottom, bottom, to);
	error = sample - to;
	error *= error;
	insert(b, cost + error, to, how);
}

static inline ints
sign_of(floats v)
{
	return (ints)v & INT32_MIN;
}

/* Offer codes 0 to 3: the one that comes nearest, and if there is a choice its neighbours. */
static inline __attribute__((always_inline)) void
offer_low(struct best *b, const struct encoder *e, int lane, floats sample, floats cost,
    floats from, ints how)
{
	const floats least = load(e->least + lane), dead = DEAD - (floats){ 0 };
	const ints quarter = (ints)load(e->quarter + lane), half = (ints)load(e->half + lane);
	floats distance = sample - from, size;
	ints sign = sign_of(distance), minus = sign != 0, two, one, neg;

	size = (floats)((ints)distance ^ sign);
	two = size >= (floats)half;
	one = size - (floats)(two & half) >= (floats)quarter;
#define LOW(COST, NEG, TWO, ONE) \
	offer(b, sample, COST, from, \
	    (floats)((ints)(least + (floats)((TWO)&half) + (floats)((ONE)&quarter)) ^ \
		((NEG)&INT32_MIN)), \
	    how | ((NEG)&8) | ((TWO)&2) | ((ONE)&1))
	LOW(cost, minus, two, one);
	if (b->width == 1)
		return;
	LOW(choose(two & one, dead, cost), minus, two | one, ~one);
	neg = minus ^ ~(two | one); /* below the least is the least of the other sign */
	LOW(cost, neg, two & one, two & ~one);
#undef LOW
}

/*
 * Offer one of codes 4 to 7, away from the sample as well: in front of a sudden sound it can be
 * worth it, for the step size.
 */
static inline __attribute__((always_inline)) void
offer_high(struct best *b, const struct encoder *e, unsigned i, int lane, floats sample,
    floats cost, floats from, ints how)
{
	const ints add = (ints)load(e->high[i] + lane), away = (ints){ 0 } + INT32_MIN;
	ints sign = sign_of(sample - from), minus = sign != 0;

	how |= (int32_t)(4 + i);
	offer(b, sample, cost, from, (floats)(add ^ sign), how | (minus & 8));
	if (b->width > 1)
		offer(b, sample, cost, from, (floats)(add ^ sign ^ away), how | (~minus & 8));
}

/* From the states before a sample to those behind it, in all lanes. */
static inline __attribute__((always_inline)) void
advance(const struct encoder *e, unsigned width, float value, const struct states *before,
    struct states *after, int32_t (*how)[LANES])
{
	const floats sample = value - (floats){ 0 };
	struct best b = { .width = width };

	for (int lane = 0; lane < LANES; lane += VECTOR) {
		for (unsigned rank = 0; rank < width; rank++) {
			b.cost[rank] = e->bound - (floats){ 0 };
			b.predictor[rank] = (floats){ 0 };
			b.how[rank] = (ints){ 0 };
		}
		for (unsigned rank = 0; rank < width; rank++) {
			const float *costs = before->cost[rank] + BEFORE + lane;
			const float *predictors = before->predictor[rank] + BEFORE + lane;
			const ints by = (int32_t)(rank << HOW_RANK) - (ints){ 0 };

			for (unsigned i = 0; i < 5; i++) {
				int from = i == 0 ? -climb(0) : -climb(3 + i);
				floats cost = load(costs + from);

				if (!any(cost < b.cost[width - 1]))
					continue;
				if (i == 0)
					offer_low(&b, e, lane, sample, cost,
					    load(predictors + from), by);
				else
					offer_high(&b, e, i - 1, lane, sample, cost,
					    load(predictors + from), by);
			}
		}
		for (unsigned rank = 0; rank < width; rank++) {
			const ints lanes = { lane, lane + 1, lane + 2, lane + 3 };
			ints h = b.how[rank] | lanes << HOW_LANE;

			memcpy(after->cost[rank] + BEFORE + lane, &b.cost[rank], sizeof(floats));
			memcpy(after->predictor[rank] + BEFORE + lane, &b.predictor[rank],
			    sizeof(floats));
			memcpy(how[rank] + lane, &h, sizeof h);
		}
	}
}

/* Bring a state from beyond an end back to the index at that end. */
static void
bring_back(struct states *st, unsigned width, int32_t (*how)[LANES], int from, int to)
{
	for (unsigned rank = 0; rank < width; rank++) {
		float cost = st->cost[rank][BEFORE + from];
		float predictor = st->predictor[rank][BEFORE + from];
		unsigned place = 0, end = 0;

		if (cost >= st->cost[width - 1][BEFORE + to])
			break;
		while (st->cost[place][BEFORE + to] < cost)
			place++;
		/* The newcomer takes the place of its like, if there is one, or else of the last. */
		while (end < width - 1 && st->predictor[end][BEFORE + to] != predictor)
			end++;
		if (end < place)
			continue;
		for (; end > place; end--) {
			st->cost[end][BEFORE + to] = st->cost[end - 1][BEFORE + to];
			st->predictor[end][BEFORE + to] = st->predictor[end - 1][BEFORE + to];
			how[end][to] = how[end - 1][to];
		}
		st->cost[place][BEFORE + to] = cost;
		st->predictor[place][BEFORE + to] = predictor;
		how[place][to] = how[rank][from];
	}
	for (unsigned rank = 0; rank < width; rank++)
		st->cost[rank][BEFORE + from] = DEAD;
}

static void
step(const struct encoder *e, float sample, const struct states *before, struct states *after,
    int32_t (*how)[LANES])
{
	/* For a constant width the compiler leaves out what it does not need. */
	if (e->width == 1)
		advance(e, 1, sample, before, after, how);
	else
		advance(e, e->width, sample, before, after, how);
	bring_back(after, e->width, how, INDEX_0 - 1, INDEX_0);
	for (int lane = INDEX_MAX + 1; lane <= HIGHEST; lane++)
		bring_back(after, e->width, how, lane, INDEX_MAX);
}

/*
 * What the greedy encoder does: codes and the state behind them.  Returns its cost, added up as the
 * cost of a path is.
 */
static float
greedy(const int16_t *in, uint32_t n, struct adpcm_state *state, uint8_t *codes)
{
	uint8_t block[HEADER_SIZE + PIECE / 2];
	struct adpcm_state decoder;
	int16_t out[PIECE];
	bool damaged = false;
	float cost = 0, error;
	uint32_t length = adpcm_encode(ADPCM_STATE, 1, in, n, state, block);

	adpcm_decode(ADPCM_STATE, 1, n, block, length, &decoder, out, &damaged);
	for (uint32_t i = 0; i < n; i++) {
		codes[i] = block[HEADER_SIZE + i / 2] >> 4 * (i & 1) & 15;
		error = (float)(in[i] - out[i]);
		error *= error;
		cost += error;
	}
	return cost;
}

/* From which step index does the greedy encoder do best, if it begins at the first sample? */
static void
begin_greedy(const int16_t *in, uint32_t n, struct adpcm_state *state)
{
	struct adpcm_state best = { n > 0 ? in[0] : 0, 0 };
	uint8_t codes[PIECE];
	float least = DEAD, cost;

	for (uint8_t index = 0; index <= ADPCM_MAX_INDEX && n > 0; index++) {
		*state = (struct adpcm_state){ in[0], index };
		if ((cost = greedy(in, n, state, codes)) < least) {
			least = cost;
			best.index = index;
		}
	}
	*state = best;
}

/*
 * Find good codes for n (at most PIECE) samples.  Moves *state on.  free: it need not be the index
 * to begin with; *state becomes the one that was begun with in *begino.
 */
static void
find_codes(struct encoder *e, const int16_t *in, uint32_t n, struct adpcm_state *state,
    bool free_index, uint8_t *codes, struct adpcm_state *begino)
{
	struct states *st = &e->states[0];
	int lane = INDEX_0;
	uint32_t i, rank = 0;

	*begino = *state;
	e->bound = greedy(in, n, state, codes);
	for (unsigned r = 0; r < e->width; r++)
		for (int l = 0; l < LANES; l++)
			st->cost[r][BEFORE + l] = DEAD;
	for (int l = INDEX_0; l <= INDEX_MAX; l++) {
		st->predictor[0][BEFORE + l] = begino->predictor;
		if (free_index || l == INDEX_0 + begino->index)
			st->cost[0][BEFORE + l] = 0;
	}
	for (i = 0; i < n; i++, st = &e->states[i & 1])
		step(e, in[i], st, &e->states[~i & 1], e->how + (size_t)i * e->width);
	for (int l = INDEX_0; l <= INDEX_MAX; l++)
		if (st->cost[0][BEFORE + l] < st->cost[0][BEFORE + lane])
			lane = l;
	/* Of those states that are not kept, one could have been the greedy encoder's. */
	if (st->cost[0][BEFORE + lane] >= e->bound)
		return;
	state->index = (uint8_t)(lane - INDEX_0);
	state->predictor = (int16_t)st->predictor[0][BEFORE + lane];
	while (i-- > 0) {
		int32_t how = e->how[(size_t)i * e->width + rank][lane];

		codes[i] = how & 15;
		rank = (uint32_t)how >> HOW_RANK & (MAX_WIDTH - 1);
		lane = (how >> HOW_LANE) - climb(codes[i]);
	}
	begino->index = (uint8_t)(lane - INDEX_0);
}

/* Copy every stride-th value. */
static void
gather(const int16_t *in, size_t stride, uint32_t n, int16_t *out)
{
	for (uint32_t i = 0; i < n; i++)
		out[i] = in[i * stride];
}

static void
store_header(uint8_t *p, const struct adpcm_state *s)
{
	le16_store(p, (uint16_t)s->predictor);
	p[2] = s->index;
	p[3] = 0;
}

uint32_t
encode_block(struct encoder *e, enum adpcm_layout layout, unsigned ch, const int16_t *in,
    uint32_t samples, struct adpcm_state *state, uint8_t *out)
{
	uint32_t length = adpcm_block_length(layout, ch, samples), first = layout == ADPCM_WAV, n;
	uint8_t *p = out + (size_t)HEADER_SIZE * ch, codes[PIECE];
	bool any[ADPCM_MAX_CHANNELS];
	struct adpcm_state begin;
	int16_t piece[PIECE];

	for (unsigned c = 0; c < ch; c++) {
		any[c] = state[c].index == ENCODE_ANY_INDEX;
		if (!any[c])
			continue;
		n = samples - first < PIECE ? samples - first : PIECE;
		gather(in + (size_t)first * ch + c, ch, n, piece);
		begin_greedy(piece, n, &state[c]);
	}
	if (e->width == 0)
		return adpcm_encode(layout, ch, in, samples, state, out);
	memset(p, 0, length - (size_t)HEADER_SIZE * ch);
	for (unsigned c = 0; c < ch; c++) {
		if (layout == ADPCM_WAV)
			state[c].predictor = in[c];
		store_header(out + (size_t)HEADER_SIZE * c, &state[c]);
	}
	in += (size_t)first * ch;
	samples -= first;
	for (uint32_t at = 0; at < samples;
	     at += n, in += (size_t)n * ch, p += (size_t)n / 2 * ch) {
		n = samples - at < PIECE ? samples - at : PIECE;
		for (unsigned c = 0; c < ch; c++) {
			gather(in + c, ch, n, piece);
			find_codes(e, piece, n, &state[c], any[c] && at == 0, codes, &begin);
			if (at == 0)
				store_header(out + (size_t)HEADER_SIZE * c, &begin);
			for (uint32_t i = 0; i < n; i++) {
				uint8_t *group = p + ((size_t)i / GROUP * ch + c) * GROUP_SIZE;

				group[i % GROUP / 2] |= (uint8_t)(codes[i] << 4 * (i & 1));
			}
		}
	}
	return length;
}
