/*
 * Which complete segments a spool still keeps: by their bytes, their age, and
 * what is left free on the disk.  The oldest go first, those before them that a wrong clock has
 * dated in the future; never one that grows, or that its keeper still needs.
 */
#ifndef EET_RETENTION_H
#define EET_RETENTION_H

#include "name.h"
#include "segment.h"

#include <stdbool.h>
#include <stdint.h>

struct retention_limits {
	uint64_t keep_bytes;  /* of complete segments, .eet and .wav; 0: any */
	uint64_t keep_age_us; /* counted from a segment's first frame; 0: any */
	uint64_t min_free;    /* bytes free on the file system, half of them kept; 0: any */
};

struct retention;

/*
 * Begin with the complete segments that are in the directory and in its index.  What is not listed
 * there after a recovery is none: a stranger's file of such a name.  d is the caller's and stays.
 * NULL on failure, with errno.
 */
struct retention *retention_new(const struct segment_dir *d, int index,
    const struct retention_limits *l);

/* A segment has been completed.  0, or -1 with errno. */
int retention_add(struct retention *r, const struct name *n);

/* Readable when retention_step() has something to hear of. */
int retention_fd(const struct retention *r);

/*
 * Have removed what is over a limit, at now_us (Unix epoch), if there may be more; others do that, and
 * nobody waits for them.  needed() says which segments must stay; one that is not must never be
 * needed again.  removed() is told of each that was unlinked since the last call, in the order in
 * which they were chosen: whether there was a WAV, and why.  Few are under way at a time, so it is to be
 * called again when retention_fd() is readable, or a limit may have been passed.
 * 0; -1: errno, failed[] says what could not be removed.  It stays, until the next call.
 */
int retention_step(struct retention *r, uint64_t now_us, bool more,
    bool (*needed)(void *arg, const struct name *n),
    void (*removed)(void *arg, const struct name *n, bool wav, uint64_t bytes, const char *why),
    void *arg, char failed[SEGMENT_PATH]);

/* True when nothing is being removed. */
bool retention_idle(const struct retention *r);

/*
 * End, after what is just being unlinked, of which nobody is told any more.  NULL is fine.  False: as
 * thread_end(); d has to stay.
 */
bool retention_free(struct retention *r);

#endif
