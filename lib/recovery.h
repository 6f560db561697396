/*
 * What a spool does before anything else: complete what an earlier run left
 * behind, and find out where session numbers go on (eet-formats(5),
 * "Recovery").
 */
#ifndef EET_RECOVERY_H
#define EET_RECOVERY_H

#include "segment.h"
#include "spool.h"
#include "upkeep.h"

#include <stdint.h>

/*
 * Recover the directory d, whose lock is held, and whose index is open on index.  Being
 * killed at any point changes nothing: the next run does the rest.  A
 * full disk is reported and waited for.  u, which goes on meanwhile, is told of what is completed; NULL:
 * nobody is.
 * 0: *lasto is the highest session number in use; -1: errno, failed[] says where.
 */
int recovery_run(const struct segment_dir *d, int index, const struct spool_options *o,
    struct upkeep *u, uint32_t *lasto, char failed[SEGMENT_PATH]);

#endif
