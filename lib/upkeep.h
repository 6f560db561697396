/*
 * What becomes of complete segments: a command is run for each (exec.h), which the index records, so
 * that the next start knows which are still to be run; and the oldest are removed (retention.h).
 */
#ifndef EET_UPKEEP_H
#define EET_UPKEEP_H

#include "completer.h"
#include "segment.h"
#include "spool.h"

#include <stdbool.h>
#include <stdint.h>

struct upkeep;

/*
 * Begin, before recovery, which may need what is removed: limits are kept from now on, and what is
 * pending according to the index is taken up.  d, o and c are the caller's and stay.  NULL on
 * failure, with errno, failed[] says where.
 */
struct upkeep *upkeep_new(const struct segment_dir *d, int index, const struct spool_options *o,
    struct completer *c, char failed[SEGMENT_PATH]);

/* As retention_sessions(). */
void upkeep_sessions(struct upkeep *u, uint64_t first, uint64_t ended);

/* Something waits for space. */
void upkeep_wants_space(struct upkeep *u);

/* A segment has its name; that its line waits for space does not keep it.  From any thread. */
void upkeep_placed(struct upkeep *u, const struct name *n);

/* A segment of an earlier run is complete, and was in the index already.  From any thread. */
void upkeep_found(struct upkeep *u, const struct name *n);

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
