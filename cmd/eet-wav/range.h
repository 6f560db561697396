/* What --from and --to say: which samples of a WAV are written. */
#ifndef EET_WAV_RANGE_H
#define EET_WAV_RANGE_H

#include <stdbool.h>
#include <stdint.h>

/* A value of --from or --to. */
struct moment {
	enum moment_kind {
		MOMENT_POSITION, /* us from the beginning of the WAV */
		MOMENT_TIME,     /* us since the Unix epoch */
		MOMENT_END       /* of the WAV, wherever that is */
	} kind;
	uint64_t us; /* at most INT64_MAX */
};

/*
 * A duration (cli_parse_duration()), or YYYY-MM-DDThh:mm:ss[.ssssss]Z.  False: it is neither, and
 * *o is unchanged.
 */
bool moment_parse(const char *s, struct moment *o);

/* Samples per channel, from <= to. */
struct range {
	uint64_t from; /* the first one */
	uint64_t to;   /* the first one that is not in it; UINT64_MAX: all are */
};

/*
 * Moments in samples, exactly, rounded down.  start_us: the time of the WAV's beginning, which is where
 * earlier times lie, too.
 */
struct range range_between(struct moment from, struct moment to, uint32_t rate, uint64_t start_us);

/* Of n samples that stand at at: which of them, counted from the first one, are in the range. */
struct range range_cut(struct range r, uint64_t at, uint64_t n);

#endif
