/* Logs to WAVs: one, or one for each recording. */
#ifndef EET_WAV_CONVERT_H
#define EET_WAV_CONVERT_H

#include "settings.h"
#include "source.h"

#include <stddef.h>

struct target {
	const char *file;       /* of the one WAV; "-": standard output */
	const char *dir;        /* else the directory of one for each recording */
	bool copies;            /* pipes are copied; else they can be read only once */
	const char *copies_dir; /* to where; NULL: to where temporary files go */
};

/*
 * Convert sources that follow each other.
 * Returns an exit status; what went wrong was said.  *cuto: a signal ended it early.
 */
int convert(struct source *sources, size_t n, const struct settings *set,
    const struct target *target, bool *cuto);

#endif
