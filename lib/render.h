/*
 * A frame log as sound: which layout its blocks have, its WAV, and the facts for its index line.
 * Live recording, recovery and eet-wav make the same bytes of the same .eet, because all of them
 * come here or to pcm.h and wav.h.
 */
#ifndef EET_RENDER_H
#define EET_RENDER_H

#include "adpcm.h"
#include "pcm.h"
#include "wire.h"

#include <stdbool.h>
#include <stdint.h>

/* What a frame log holds, from its own bytes alone. */
struct render_facts {
	struct wire_handshake format;
	struct adpcm_verdict verdict; /* ADPCM only */
	bool has_frames;
	uint32_t first_seq, last_seq;
	uint32_t expected; /* the seq after the last */
	uint64_t frames, gaps, gap_frames, repeats, restarts;
	uint64_t samples;  /* per channel in the WAV: audio and the silence for gaps */
	uint64_t unfilled; /* gaps too long for silence */
	uint64_t damaged;  /* ADPCM blocks, and places in the log */
	uint64_t places;   /* … of these, places in the log */
	struct pcm_levels levels;
};

/*
 * Measure and decode the frame log on fd (read from its start, several times).
 * layout: overrides what the blocks show; NULL: they decide.
 * wav: an empty file to be filled, or -1: levels are measured all the same.
 * 0: *fo is filled; -1 with errno (EINVAL: no sound handshake); *fo is then unchanged, wav may hold a part.
 */
int render_log(int fd, int wav, const enum adpcm_layout *layout, struct render_facts *fo);

#endif
