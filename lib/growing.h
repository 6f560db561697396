/*
 * Logs that grow: frames stay in the caller's memory until they are written, a descriptor is open
 * while it is used and others do not need it more.
 */
#ifndef EET_GROWING_H
#define EET_GROWING_H

#include "name.h"
#include "segment.h"
#include "wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/uio.h>

/* Frames that lie side by side in memory, and what is known of the first. */
struct growing_piece {
	const uint8_t *data;
	size_t len;
	uint64_t time_us;
	uint32_t gap; /* frames missing before it */
};

struct growing {
	struct name name;
	bool exists;   /* it has a file: from growing_create() to growing_end() */
	uint64_t size; /* bytes of the log, those still to be written included */
	bool unsynced; /* something was written since the caller last set this to false */
	/* The module's. */
	int fd; /* -1: closed until it is written to */
	uint8_t handshake[WIRE_HANDSHAKE_SIZE];
	struct growing_piece *pieces; /* [first, n) are still to be written, but for skip bytes */
	size_t first, n, capacity, skip;
	uint64_t base;                 /* bytes of the log before pieces[0] */
	TAILQ_ENTRY(growing) by_use;   /* in open, if fd is */
	TAILQ_ENTRY(growing) by_flush; /* in dirty, if n > 0 */
};

TAILQ_HEAD(growing_list, growing);

struct growing_set {
	const struct segment_dir *dir;
	struct growing_list open; /* not written to for longest first */
	struct growing_list dirty;
	size_t n_open, max_open;
};

/* An empty set; at most max_open (1 and up) descriptors are open.  d is the caller's and stays. */
void growing_init(struct growing_set *set, const struct segment_dir *d, size_t max_open);

/* A log without a file, whose session began with that handshake.  To be freed by growing_free(). */
void growing_begin(struct growing *g, const uint8_t handshake[WIRE_HANDSHAKE_SIZE]);

/*
 * Create its file, as segment_create() with *n; pieces that a growing_give_up() left are written to
 * it first.  0, or -1 with errno, and *g unchanged.
 */
int growing_create(struct growing_set *set, struct growing *g, struct name *n);

/*
 * A frame more, which is not copied: frame[0..len) stays the caller's, unchanged until
 * growing_write() has returned 0.  time_us and gap: of the frame.  0, or -1 with errno, and *g unchanged.
 */
int growing_append(struct growing_set *set, struct growing *g, const uint8_t *frame, size_t len,
    uint64_t time_us, uint32_t gap);

/* Hand all of it to the kernel.  0; -1 with errno: the rest remains to be written. */
int growing_write(struct growing_set *set, struct growing *g);

/* True if the file, open at the moment, has been removed. */
bool growing_is_removed(const struct growing *g);

/* The first frames that are not written yet; NULL: all are. */
const struct growing_piece *growing_rest(const struct growing *g);

/*
 * Its file can't be written to any more; it stays, but is not g's any more.  cut: after its last
 * whole frame.  Frames that are not wholly in it remain, for the next growing_create(); the time and
 * gap of a frame in the middle of a piece are then those of the piece, and 0.
 * size: of the handshake and the whole frames that the file has.  *wholeo: it has one.  0; -1: errno
 * of the cut.
 */
int growing_give_up(struct growing_set *set, struct growing *g, bool cut, bool *wholeo);

/* Its file is whole: it grows no more. */
void growing_end(struct growing_set *set, struct growing *g);

/* Forget it, written or not.  Its file stays. */
void growing_free(struct growing_set *set, struct growing *g);

#endif
