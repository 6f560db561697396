/*
 * One session's truth: what its sequence numbers say (next, gap, repeat,
 * restart; eet-formats(5), "seq"), and how much audio came.
 */
#ifndef EET_STREAM_H
#define EET_STREAM_H

#include "adpcm.h"
#include "wire.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	/* Behind by at most so many, for at most so many in a row, is a repeat; else a restart. */
	STREAM_MAX_BEHIND = 1024,
	STREAM_MAX_REPEATS = 1024
};

enum stream_kind { STREAM_NEXT, STREAM_GAP, STREAM_REPEAT, STREAM_RESTART };

/* What one frame means for its stream. */
struct stream_step {
	enum stream_kind kind;
	uint32_t gap; /* frames missing before it; 0 unless STREAM_GAP */
};

struct stream {
	struct wire_handshake format;
	bool started;         /* a frame was taken */
	uint32_t expected;    /* the next frame's seq; the first one's whatever it is */
	uint32_t repeats_run; /* repeats in a row, up to now */
	uint32_t first_seq;
	uint32_t last_seq; /* of the last frame taken, repeats included */
	uint64_t frames;   /* all of them, repeats included */
	uint64_t gaps;
	uint64_t gap_frames;
	uint64_t repeats;
	uint64_t restarts;
	uint64_t samples;  /* per channel, of the frames taken, without repeats */
	uint64_t position; /* samples, and frame_samples for each missing frame */
};

void stream_init(struct stream *s, const struct wire_handshake *format);

/* What a frame with that seq would mean; changes nothing. */
struct stream_step stream_look(const struct stream *s, uint32_t seq);

/* Take a frame as stream_look() judged it; samples per channel in its payload. */
void stream_take(struct stream *s, uint32_t seq, struct stream_step step, uint32_t samples);

/*
 * Samples per channel in a frame.  PCM: exact, layout is not looked at.
 * ADPCM: adpcm_block_samples().
 */
uint32_t stream_samples(const struct wire_handshake *h, enum adpcm_layout layout, size_t length);

/*
 * The same where the layout is not known yet: an ADPCM block that would be a
 * full one in any layout counts frame_samples, a shorter one as
 * ADPCM_STATE's.
 */
uint32_t stream_samples_any(const struct wire_handshake *h, size_t length);

#endif
