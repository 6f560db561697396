/*
 * Frames of a stream -> samples: what becomes silence, what is left out, what
 * is decoded, and how loud it was.  The same rules for every program that
 * makes sound from a log (eet-formats(5), "Silence for gaps").
 */
#ifndef EET_PCM_H
#define EET_PCM_H

#include "adpcm.h"
#include "stream.h"
#include "wire.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	/* A gap longer than that is reported, not filled. */
	PCM_MAX_SILENCE_SECONDS = 60,
	PCM_MAX_SILENCE_BYTES = 16 << 20
};

struct pcm_levels {
	uint64_t values;  /* sample values measured, all channels, without silence for gaps */
	uint32_t peak;    /* largest magnitude, 0..32768 */
	double squares;   /* sum */
	uint64_t clipped; /* values at -32768 or 32767 */
};

/* One decoding of one or more joined frame logs.  Members are for reading only. */
struct pcm {
	struct stream stream; /* of the current take */
	enum adpcm_layout layout;
	bool fill;   /* gaps become silence */
	bool resent; /* a joined input begins behind, and has not come to what is new */
	struct adpcm_state carry[ADPCM_MAX_CHANNELS];
	uint64_t audio;    /* samples per channel decoded, all takes */
	uint64_t silence;  /* samples per channel of silence, all takes */
	uint64_t unfilled; /* gaps that were too long to be filled, or not to be filled */
	uint64_t damaged;  /* blocks with a bad index, or shorter than their header */
	/* Totals of the takes before the current one. */
	uint64_t frames, gaps, gap_frames, repeats, restarts;
	struct pcm_levels levels;
};

/* What one frame adds to the output: silence first, then its own samples, per channel. */
struct pcm_step {
	struct stream_step step;
	uint64_t silence;
	uint32_t samples; /* 0 for a repeat */
};

/* Begin.  layout is not looked at for PCM. */
void pcm_init(struct pcm *p, const struct wire_handshake *h, enum adpcm_layout layout, bool fill);

/*
 * The next input to be joined begins, with this handshake (of the same format) and that first seq.
 * An equal handshake carries on: the gap before a later first seq is included, and what is sent
 * again from an earlier one is left out, up to the expected seq.  Of a device without a clock, whose
 * handshakes are all alike (timestamp_ms before 2026-01-01), only as much is believed to be sent
 * again as within an input.  Otherwise a new take begins and the count starts at first_seq.
 */
void pcm_join(struct pcm *p, const struct wire_handshake *h, uint32_t first_seq);

/*
 * Take a frame: counted, judged, but not decoded.  To know a file's size
 * before it is written, a first pass over the frames calls this alone.
 */
struct pcm_step pcm_plan(struct pcm *p, const struct wire_frame *f);

/*
 * Decode the frame that pcm_plan() has just judged: s.samples per channel into
 * out[0 .. channels * s.samples), and measure them.  To be called for every frame: one without
 * samples may be damage, which is counted here; a repeat is nothing to it.
 */
void pcm_decode(struct pcm *p, const struct wire_frame *f, struct pcm_step s, int16_t *out);

/* dBFS of the levels; false (and *o unchanged) when all was digital silence or nothing. */
bool pcm_peak_dbfs(const struct pcm_levels *l, double *o);
bool pcm_rms_dbfs(const struct pcm_levels *l, double *o);

#endif
