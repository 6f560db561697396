/*
 * IMA ADPCM blocks <-> 16-bit samples, the five layouts that senders use, and
 * which one a stream has (eet-formats(5), "ADPCM").
 *
 * Arithmetic: IMA Digital Audio Focus and Technical Working Groups,
 * "Recommended Practices for Enhancing Digital Audio Compatibility in
 * Multimedia Systems", rev. 3.00, 1992: diff = step>>3 (+ step>>2, step>>1,
 * step for bits 0, 1, 2), shifts and additions, no multiplication.
 *
 * ch = channels (1..64), n = frame_samples (samples per channel in a full
 * block, 1..65535); samples are interleaved.  Nothing here allocates or does
 * I/O.
 */
#ifndef EET_ADPCM_H
#define EET_ADPCM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ADPCM_MAX_CHANNELS = 64, ADPCM_MAX_INDEX = 88 };

enum adpcm_layout {
	ADPCM_STATE,      /* header: the decoder's state before the block; low nibble first */
	ADPCM_STATE_HIGH, /* the same, high nibble first (CPython's audioop); mono */
	ADPCM_DVI4,       /* the same, and the predictor is big-endian (RFC 3551, DVI4); mono */
	ADPCM_WAV,        /* the header's predictor is the first sample; low nibble first */
	ADPCM_BARE, /* no header, state carried from block to block; high nibble first; mono */
	ADPCM_LAYOUTS
};

/* One channel's decoder or encoder. */
struct adpcm_state {
	int16_t predictor;
	uint8_t index; /* 0..88 */
};

/* "state", "state-high", "dvi4", "wav", "bare". */
const char *adpcm_layout_name(enum adpcm_layout layout);

/* The layout of that name into *lo, or false. */
bool adpcm_layout_parse(const char *name, enum adpcm_layout *lo);

/* state-high, dvi4 and bare are mono only. */
bool adpcm_layout_allowed(enum adpcm_layout layout, unsigned ch);

/* Bytes of a block that holds samples (1..65535) per channel; odd mono codes are padded. */
uint32_t adpcm_block_length(enum adpcm_layout layout, unsigned ch, uint32_t samples);

/*
 * Samples per channel that a block of length bytes holds, never more than n.
 * 0 for an empty block and for one shorter than its layout's header.
 */
uint32_t adpcm_block_samples(enum adpcm_layout layout, unsigned ch, uint32_t n, size_t length);

/*
 * True if a full block (n samples per channel) of that layout may have this length: state-high,
 * dvi4 and bare round an odd number of codes either way.  False for an empty block, and for a layout
 * that the channel count forbids.
 */
bool adpcm_block_full(enum adpcm_layout layout, unsigned ch, uint32_t n, size_t length);

/*
 * The likeliest layout of a block of which nothing but its length is known: of those in which it is
 * a full one the first that gives it the most samples (others lack a code), else ADPCM_STATE.
 */
enum adpcm_layout adpcm_block_likely(unsigned ch, uint32_t n, size_t length);

/*
 * Decode a block into out[0 .. ch * returned), returned = adpcm_block_samples().
 * state[0..ch): read by ADPCM_BARE (start with zeros), and left as the decoder's state
 * after the last sample by all; unchanged when nothing was decoded.
 * *damagedo becomes true (it is never set to false) for a non-empty block shorter than its
 * header and for a header index above 88, which is decoded as 88.
 */
uint32_t adpcm_decode(enum adpcm_layout layout, unsigned ch, uint32_t n, const uint8_t *block,
    size_t length, struct adpcm_state *state, int16_t *out, bool *damagedo);

/*
 * Greedy encoder: samples (1..65535) per channel of in[] become one block of
 * adpcm_block_length() bytes in out[]; returns that length.  state[0..ch)
 * carries predictor and index from block to block (start with zeros); the
 * padding codes are 0 and do not touch it.  All layouts.
 */
uint32_t adpcm_encode(enum adpcm_layout layout, unsigned ch, const int16_t *in, uint32_t samples,
    struct adpcm_state *state, uint8_t *out);

/*
 * Does a block begin where the one before it, of that many bytes, ended, whose decoder stood at
 * after[0..ch)?  n: samples per channel of a full frame.  This is the chain of eet-formats(5).
 * False for ADPCM_BARE, and when either block is shorter than its header.
 */
bool adpcm_chain_holds(enum adpcm_layout layout, unsigned ch, uint32_t n,
    const struct adpcm_state *after, size_t previous, const uint8_t *block, size_t length);

/* Which rule decided (eet-formats(5), "Which layout a stream has"). */
enum adpcm_rule { ADPCM_BY_CHAIN, ADPCM_BY_LENGTH, ADPCM_GIVEN };

/* "chain", "length", "given". */
const char *adpcm_rule_name(enum adpcm_rule rule);

struct adpcm_verdict {
	enum adpcm_layout layout;
	enum adpcm_rule rule;
	bool unknown; /* the blocks fit no known layout: this one is a guess */
};

/* What an index says: the layout's name, or "unknown". */
const char *adpcm_verdict_name(const struct adpcm_verdict *v);

/*
 * For people: "layout wav (chain)", or that the blocks fit no known layout, which the user should be
 * told without asking, and what can be done about it.
 */
enum { ADPCM_VERDICT_TEXT = 128 };
void adpcm_verdict_text(const struct adpcm_verdict *v, char out[ADPCM_VERDICT_TEXT]);

/*
 * Decides a stream's layout from its own blocks, in constant memory.  The
 * members belong to adpcm.c.
 */
struct adpcm_sniff {
	unsigned ch;
	uint32_t n;
	bool have_previous; /* there was a frame before, and it had a payload */
	uint32_t previous_seq;
	bool previous_header; /* it was long enough for its header */
	bool previous_zero;   /* it was all zeros, which sound the same in every layout */
	bool dropped_code;    /* with the high nibble first it may lack its last code */
	/* Where each layout's decoder ended it. */
	struct adpcm_state after[ADPCM_LAYOUTS][ADPCM_MAX_CHANNELS];
	bool
	    unsettled; /* no block follows one with sound in it, which each layout hears otherwise */
	bool silent;   /* the last frame closed a leading pair that all layouts fit */
	uint32_t pairs; /* looked at, after the leading silence; at most 63 */
	uint32_t counted;
	uint32_t fits[ADPCM_LAYOUTS];
	uint32_t blocks;       /* non-empty ones so far, at most 65 */
	uint32_t bare_lengths; /* of the first 64 blocks, how many have that layout's full length */
	uint32_t wav_lengths;
	bool last_bare; /* the same of the last of those */
	bool last_wav;
	bool first_is_bare; /* the first block's fourth byte, if there is one, is not 0 */
};

void adpcm_sniff_init(struct adpcm_sniff *s, unsigned ch, uint32_t n);

/*
 * Show the next frame's payload (frames in the order of the log, empty ones
 * too).  True: later frames may still change the verdict.  False: it is
 * final, further calls change nothing.
 */
bool adpcm_sniff_add(struct adpcm_sniff *s, uint32_t seq, const uint8_t *block, size_t length);

/*
 * True while every pair of blocks so far said nothing, no block but zeros lacked the one that would
 * make a pair with it, and the frame just added closed a pair (silence): a reader that can't wait may decode the frames before it as adpcm_block_likely()
 * says, which gives each full one all its samples.  In the frame itself sound may begin.
 */
bool adpcm_sniff_silent(const struct adpcm_sniff *s);

/* The verdict if the log ended here; also the final one once adpcm_sniff_add() said false. */
struct adpcm_verdict adpcm_sniff_verdict(const struct adpcm_sniff *s);

#endif
