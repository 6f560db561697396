/* Sessions of one stream that follow each other become one stream of samples. */
#ifndef EET_ADPCM_RECORDING_H
#define EET_ADPCM_RECORDING_H

#include "pcm.h"
#include "samples.h"

struct recording {
	const struct settings *set;
	struct out *out;
	const char *label;            /* of the log */
	struct samples *samples;      /* NULL until there is a frame */
	struct pcm rules;             /* what becomes of its seq */
	struct wire_handshake format; /* of the latest session */
	uint32_t session; /* with that number; without frames, the first one; 0: there is none */
	bool open;        /* and it has not ended */
};

/* A session begins. */
void recording_open(struct recording *r, uint32_t session, const struct wire_handshake *h);

/*
 * Its next frame, whose ADPCM is of that layout; pcm has room for its samples.  *damagedo: its block
 * is damaged.  Returns an exit status: CLI_EUSAGE if it can't be part of the recording.  What went
 * wrong was reported, with the frame's offset.
 */
int recording_frame(struct recording *r, uint32_t session, const struct wire_handshake *h,
    enum adpcm_layout layout, const struct wire_frame *f, uint64_t offset, int16_t *pcm,
    bool *damagedo);

void recording_close(struct recording *r, uint32_t session);

/* That was the log, which was read with this exit status.  Returns the one of the whole. */
int recording_end(struct recording *r, int status);

#endif
