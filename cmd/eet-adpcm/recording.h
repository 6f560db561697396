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
	struct wire_handshake format; /* of the latest session, as PCM */
	uint32_t session; /* with that number; without frames, the first one; 0: there is none */
	bool open;        /* and it has not ended */
};

/* A session begins. */
void recording_open(struct recording *r, uint32_t session, const struct wire_handshake *h);

/*
 * Its next frame, of n samples per channel.  Returns an exit status: CLI_EUSAGE if it can't be
 * part of the recording.  What went wrong was said, with the frame's offset.
 */
int recording_frame(struct recording *r, uint32_t session, const struct wire_handshake *h,
    uint64_t offset, uint32_t seq, const int16_t *pcm, uint32_t n);

void recording_close(struct recording *r, uint32_t session);

/* That was the log, which was read with this exit status.  Returns the one of the whole. */
int recording_end(struct recording *r, int status);

#endif
