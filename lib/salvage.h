/*
 * What a crash, a power cut or a failed disk left unfinished, completed in the background
 * (eet-formats(5), "Salvage").  Every whole frame that can be read becomes part of a segment; a log
 * that is damaged is kept beside it as it was.  A leftover that can't be read or completed is
 * reported and left; none keeps anybody from recording.
 */
#ifndef EET_SALVAGE_H
#define EET_SALVAGE_H

#include "completer.h"
#include "segment.h"
#include "spool.h"
#include "upkeep.h"

#include <stdbool.h>
#include <stdint.h>

struct salvage;

/* Something to report, in the order in which it happened; one allocation, to be freed. */
struct salvage_note {
	struct salvage_note *next;
	enum spool_report_kind kind;
	char text[]; /* begins with the path that it is about */
};

/*
 * List the leftovers in d, whose lock the caller has, before anything new is made there.  d and
 * index (a descriptor) are the caller's and stay.  NULL on failure, with errno, failed[] says where.
 */
struct salvage *salvage_new(const struct segment_dir *d, int index, char failed[SEGMENT_PATH]);

/* The highest session number among the leftovers, or (all) in the name of any file; 0: none. */
uint32_t salvage_highest(const struct salvage *sv, bool all);

/*
 * Begin to complete them, in a thread of low priority.  u, which is the caller's and stays, hears when
 * it waits for space.  0, or -1 with errno.
 */
int salvage_start(struct salvage *sv, struct upkeep *u);

/* Readable when salvage_take() has something to say. */
int salvage_fd(const struct salvage *sv);

/*
 * What was done since the last call: notes into *noteso, segments that were completed, or failed, into
 * *doneo; both lists are then the caller's.  1: all is done, or salvage_stop() has ended it; 0: more is to be
 * done; -1: errno: the directory has failed, failed[] says where.
 */
int salvage_take(struct salvage *sv, struct salvage_note **noteso, struct completer_job **doneo,
    char failed[SEGMENT_PATH]);

/* End after the files in hand, or at once if they wait for space.  The next start goes on. */
void salvage_stop(struct salvage *sv);

/* End, and free all.  NULL is fine.  False: as thread_end(); d has to stay. */
bool salvage_end(struct salvage *sv);

#endif
