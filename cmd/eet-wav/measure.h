/*
 * First look at what will be one WAV: how its ADPCM blocks are laid out, and how many samples it
 * will hold, which depends on that.  So all possible layouts are counted until one is decided.
 */
#ifndef EET_WAV_MEASURE_H
#define EET_WAV_MEASURE_H

#include "pcm.h"
#include "settings.h"

struct plan {
	uint64_t samples; /* per channel, of those in the range */
	struct adpcm_verdict verdict;
	bool done; /* its part was written, or can't be */
};

struct measure {
	struct range range;
	bool sniffing;
	struct adpcm_sniff sniff;
	struct adpcm_verdict verdict;
	struct pcm pcm[ADPCM_LAYOUTS];
};

/* The first take begins. */
void measure_begin(struct measure *m, const struct wire_handshake *h, struct range range,
    const struct settings *set);

/* The next one does: see pcm_join(). */
void measure_join(struct measure *m, const struct wire_handshake *h, uint32_t first_seq);

void measure_frame(struct measure *m, const struct wire_frame *f);

/* True when later frames change nothing: all that is in the range was seen, and the layout is known. */
bool measure_is_complete(const struct measure *m);

struct plan measure_end(const struct measure *m);

#endif
