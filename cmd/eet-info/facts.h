/*
 * What is to be known about one stream, gathered frame by frame in constant
 * memory.  Until its ADPCM layout is decided, every one that it may have is
 * followed; then the others are dropped.
 */
#ifndef EET_INFO_FACTS_H
#define EET_INFO_FACTS_H

#include "adpcm.h"
#include "log.h"
#include "pcm.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>

/* One way to read the stream. */
struct reading {
	struct pcm pcm;
	EVP_MD_CTX *hash;       /* of the samples, as eet-wav writes them; NULL: not asked for */
	uint64_t silent_frames; /* all samples 0 */
	uint64_t chain_held;    /* pairs of blocks whose chain holds */
	uint64_t damage_offset; /* of the first damaged block */
};

/* Least squares of how late frames arrive, over media time. */
struct regression {
	uint64_t n;
	uint64_t since_us; /* arrival of the first one */
	double sx, sy, sxx, sxy;
};

struct facts {
	struct reading reading[ADPCM_LAYOUTS];
	bool sniffing;
	struct adpcm_sniff sniff;
	struct adpcm_verdict verdict;
	bool arrivals;  /* the log's times are those of arrival */
	uint64_t bytes; /* payload */
	uint64_t pairs; /* blocks that follow each other */
	uint32_t previous_seq, previous_length;
	uint64_t first_us, last_us;
	double transit_us; /* arrival less media time, of the frame before */
	double jitter_us;  /* RFC 3550, section 6.4.1 */
	struct regression drift;
};

struct facts_options {
	bool hash;
	bool layout_given;
	enum adpcm_layout layout;
};

/* Begin with a session's LOG_OPEN; arrivals: it is in a mux log.  NULL on failure, with errno. */
struct facts *facts_new(const struct log_session *s, const struct facts_options *o, bool arrivals);
void facts_free(struct facts *f);

/* Take a LOG_FRAME.  Returns what it means in the reading that counts so far. */
struct pcm_step facts_frame(struct facts *f, const struct log_record *rec);

/* The reading that counts; before the end: the one that would, if it were now. */
const struct reading *facts_reading(const struct facts *f, struct adpcm_verdict *vo);

/* The samples' SHA-256 in hexadecimal, "" if it was not asked for.  To be called once. */
void facts_hash(const struct facts *f, char out[65]);

/*
 * How much faster the sender's clock runs than ours, in parts per million; false: too short, or the
 * frames did not come in real time.
 */
bool facts_drift_ppm(const struct facts *f, double *o);

#endif
