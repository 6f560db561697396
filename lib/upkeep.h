/*
 * What becomes of complete segments: a command is run for each (exec.h), and
 * the oldest are removed (retention.h).  Both are recorded in the index, so
 * that the next start knows which commands are still to be run.
 */
#ifndef EET_UPKEEP_H
#define EET_UPKEEP_H

#include "completer.h"
#include "segment.h"
#include "spool.h"

#include <stdbool.h>

struct upkeep;

/*
 * Begin, after recovery: what is pending according to the index is taken up.  d, o and c are the
 * caller's and stay.  NULL on failure, with errno, failed[] says where.
 */
struct upkeep *upkeep_new(const struct segment_dir *d, int index, const struct spool_options *o,
    struct completer *c, char failed[SEGMENT_PATH]);

/* A segment has been completed and is in the index.  0, or -1 with errno. */
int upkeep_completed(struct upkeep *u, const struct name *n, bool has_wav);

/* Readable when upkeep_step() has something to do. */
int upkeep_fd(const struct upkeep *u);

/* Do what is due; never waits.  False: commands are still to be run, or segments being removed. */
bool upkeep_step(struct upkeep *u);

/*
 * End; commands that were still to be run are named (the next start runs them).  NULL is fine.  False:
 * as thread_end(); d has to stay.
 */
bool upkeep_free(struct upkeep *u);

#endif
