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
 * there after a recovery is none: a stranger's file of such a name.  NULL on failure, with errno.
 */
struct retention *retention_new(const struct segment_dir *d, int index,
    const struct retention_limits *l);

/* A segment has been completed.  0, or -1 with errno. */
int retention_add(struct retention *r, const struct name *n);

/*
 * Remove what is over a limit, at now_us (Unix epoch).  needed() says which segments must stay;
 * removed() is told of each that was unlinked, whether there was a WAV, and why.  At most a few at a
 * time, so that no caller waits long.  1: nothing (more) to remove; 0: call again; -1: errno,
 * failed[] says where.
 */
int retention_step(struct retention *r, uint64_t now_us,
    bool (*needed)(void *arg, const struct name *n),
    void (*removed)(void *arg, const struct name *n, bool wav, uint64_t bytes, const char *why),
    void *arg, char failed[SEGMENT_PATH]);

void retention_free(struct retention *r);

#endif
