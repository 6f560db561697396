/* One stream's samples become ADPCM blocks. */
#ifndef EET_ADPCM_PACKER_H
#define EET_ADPCM_PACKER_H

#include "adpcm.h"
#include "encode.h"

struct packer {
	struct encoder *encoder; /* may serve other packers, too */
	enum adpcm_layout layout;
	unsigned ch;
	uint32_t n; /* samples per channel in a full block */
	struct adpcm_state state[ADPCM_MAX_CHANNELS];
	/* ADPCM_WAV, mono: where the other layouts' decoders end the last block. */
	struct adpcm_state after[ADPCM_LAYOUTS];
	uint32_t last_length;     /* 0: there was none */
	struct adpcm_sniff sniff; /* what a reader makes of the blocks */
	uint64_t filled;          /* samples per channel that were added to short blocks */
};

/* Blocks of a log, from which readers have to know their layout. */
void packer_init(struct packer *p, struct encoder *e, enum adpcm_layout layout, unsigned ch,
    uint32_t n);

/*
 * Encode samples per channel (at most n) into out[], which has room for a full block.  Returns its
 * length.  A block that would hold more samples than that (but no more than n) is filled with the
 * last one again, so that nothing is heard of it.  pcm has room for n, and is not what it was
 * afterwards.
 */
uint32_t packer_block(struct packer *p, int16_t *pcm, uint32_t samples, uint32_t seq, uint8_t *out);

/* Hold the last sample: from samples per channel, which are at least 1, up to n. */
void packer_fill(const struct packer *p, int16_t *pcm, uint32_t samples, uint32_t n);

/* Warn if readers of the stream's log, called name, will take its blocks for another layout. */
void packer_check(const struct packer *p, const char *name, uint32_t session);

#endif
