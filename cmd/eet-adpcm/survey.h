/* A first reading of a log, for the layouts of its sessions. */
#ifndef EET_ADPCM_SURVEY_H
#define EET_ADPCM_SURVEY_H

#include "adpcm.h"
#include "log.h"

#include <stdbool.h>
#include <stddef.h>

struct survey {
	struct adpcm_verdict *verdicts; /* of the sessions, in the order of their OPENs */
	size_t n, size;
	uint64_t end; /* offset in the log up to which it was read */
	/* Of the sessions that are one recording, the frames of which decide together. */
	bool joined, sniffing;
	bool over; /* a frame was seen that is none of it */
	struct wire_handshake format;
	struct adpcm_sniff sniff;
};

/*
 * Read the log at fd; joined: the sessions are one recording, up to the first frame of another stream
 * id or format than the first one's.  False: out of memory.
 */
bool survey_read(struct survey *v, int fd, const struct log_options *options, bool joined);

void survey_free(struct survey *v);

#endif
