/*
 * An ADPCM encoder that looks further than the next sample.
 *
 * The greedy encoder takes the code that comes nearest to each sample, though the step index that
 * it leads to may serve the following ones badly.  Here the codes of many samples are found
 * together, as the path through the decoder's states (predictor, step index) whose squared error
 * is the least: a Viterbi search that keeps, of each step index, the few best predictors only.  (The
 * best states regardless of their index would not do: none of those with a large step would be left
 * when a loud sound begins.)
 *
 * State is carried from block to block as by adpcm_encode(), so blocks form the chain by which a
 * reader knows their layout.  Same input, same bytes, on every machine.
 */
#ifndef EET_ENCODE_H
#define EET_ENCODE_H

#include "adpcm.h"

#include <stdint.h>

enum {
	ENCODE_MAX_EFFORT = 9,
	ENCODE_ANY_INDEX =
	    255 /* a stream's first block may begin in any state: a good one is found */
};

struct encoder;

/*
 * effort: 0 is adpcm_encode(); 1 keeps one predictor of each step index, which is most of the
 * gain; each one more keeps more, up to 32.  An encoder serves any number of streams, but one thread.
 * NULL with errno on failure.
 */
struct encoder *encode_new(unsigned effort);

/* NULL is fine. */
void encode_free(struct encoder *e);

/*
 * As adpcm_encode(), for ADPCM_STATE and ADPCM_WAV; and state[c].index may be ENCODE_ANY_INDEX.
 * A sound that begins loud would be distorted for a while if the step size had to grow first.
 */
uint32_t encode_block(struct encoder *e, enum adpcm_layout layout, unsigned ch, const int16_t *in,
    uint32_t samples, struct adpcm_state *state, uint8_t *out);

#endif
