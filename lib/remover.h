/*
 * The threads that unlink complete segments: a disk may take milliseconds for each file, during which
 * it does others, and nobody else is to wait for that.  Segments go in, results come out in the
 * same order.
 */
#ifndef EET_REMOVER_H
#define EET_REMOVER_H

#include "name.h"
#include "segment.h"

#include <stdbool.h>
#include <stdint.h>

/* Segments that may be under way: between remover_put() and remover_take(). */
enum { REMOVER_MOST = 64 };

struct remover_result {
	struct name name;
	uint64_t bytes;     /* of the files that were unlinked */
	bool was_there;     /* else a stranger was faster, or it was none of ours */
	int error;          /* 0, or errno: it was not removed, or not all of it */
	const char *failed; /* … and this is the extension of the file that stays */
};

/* What a segment takes. */
struct remover_size {
	unsigned files;
	uint64_t bytes;
	uint64_t space; /* what the disk has for them, in whole blocks */
};

/*
 * Measure the files of a segment: .eet, .wav and .eet.damaged, as far as they are regular and ours.
 * Without a log of ours, damaged or not, it is none: what only has its name is somebody else's,
 * takes nothing, and stays.
 */
struct remover_size remover_measure(const struct segment_dir *d, const struct name *n);

struct remover;

/* Start the threads.  d is the caller's and stays.  NULL with errno. */
struct remover *remover_new(const struct segment_dir *d);

/* Have a segment removed; at most REMOVER_MOST may be under way. */
void remover_put(struct remover *r, const struct name *n);

/* Readable when remover_take() has something to say. */
int remover_fd(const struct remover *r);

/* The next result.  False: there is none yet. */
bool remover_take(struct remover *r, struct remover_result *o);

/*
 * End the threads after the segments that they are at (what waits stays), free all.  NULL is fine.
 * False: as thread_end().
 */
bool remover_end(struct remover *r);

#endif
