/*
 * Which complete segments a spool still keeps: by their bytes, their age, and what is left free on the
 * disk, inodes included.  Names alone decide, no index is read, and the oldest go first (eet-formats(5),
 * "Removal").  It has threads of its own, and needs neither space nor inodes nor more memory for what
 * it removes: it goes on while all others wait for a disk that is full.
 */
#ifndef EET_RETENTION_H
#define EET_RETENTION_H

#include "name.h"
#include "segment.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/statvfs.h>

struct retention_limits {
	uint64_t keep_bytes;  /* of complete segments, with WAVs and damaged originals; 0: any */
	uint64_t keep_age_us; /* counted from a segment's first frame; 0: any */
	uint64_t min_free;    /* bytes free on the file system, half of them kept; 0: any */
};

/*
 * How many inodes are to stay free where so many bytes are: as large a part of all, but at least 8 and at
 * most 1000.  0: the file system does not count them.
 */
uint64_t retention_inodes(const struct statvfs *fs, uint64_t min_free);

struct retention;

/*
 * Of the directory d, which is the caller's and stays, under its lock.  Nothing is looked at before
 * retention_start().  NULL with errno.
 */
struct retention *retention_new(const struct segment_dir *d, const struct retention_limits *l);

/*
 * Begin to list the directory, to measure what is in it, and to remove what is over a limit; nobody waits
 * for that.
 */
int retention_start(struct retention *r);

/*
 * This run numbers its sessions from first on, and all below ended have ended: no more of them
 * will be recorded.  Until then it is taken to have none.
 */
void retention_sessions(struct retention *r, uint64_t first, uint64_t ended);

/* A segment has been completed, and is to be kept within the limits.  0, or -1 with errno. */
int retention_completed(struct retention *r, const struct name *n);

/*
 * A segment stays, whatever the limits say, until it is released.  Held are those that were before
 * retention_start() or retention_completed().  0, or -1 with errno.
 */
int retention_hold(struct retention *r, const struct name *n);
void retention_release(struct retention *r, const struct name *n);

/* Something waits for space: look now, not within a second. */
void retention_wake(struct retention *r);

struct retention_result {
	/* A segment that was removed, */
	struct name name;
	uint64_t bytes;  /* … of its files */
	const char *why; /* … for that limit: "keep-age", "keep-bytes" or "min-free" */
	/* or, if error is not 0, what could not be done; each errno once. */
	int error;
	const char *what; /* "can't be removed", "can't be listed" … */
	char failed[SEGMENT_PATH];
};

/* Readable when retention_take() or retention_idle() has something new to say. */
int retention_fd(const struct retention *r);

/* The next result.  False: there is none yet. */
bool retention_take(struct retention *r, struct retention_result *o);

/*
 * True when no limit is passed by anything that could be removed, what was completed and what has
 * ended so far included, and no result is left to be taken.
 */
bool retention_idle(struct retention *r);

/*
 * End, after what is just being unlinked, of which nobody is told any more.  NULL is fine.  False: as
 * thread_end(); d has to stay.
 */
bool retention_free(struct retention *r);

#endif
