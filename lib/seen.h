/*
 * DIR/.seen: since when segments are known to be there that are dated before recorders had the time
 * (eet-formats(5), "Spool").  A line NEXT TIME, decimal: at TIME, in seconds since the epoch, sessions
 * below NEXT had been recorded.
 */
#ifndef EET_SEEN_H
#define EET_SEEN_H

#include "wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SEEN_FILE ".seen"

struct seen_line {
	uint64_t next, time_s;
};

/* What the file says: its sound lines, in their order.  Zeros: nothing. */
struct seen {
	struct seen_line *lines;
	size_t n, capacity;
};

/*
 * Add the sound lines of a file, open on fd, to s; whatever else is in it is passed over.  A line is
 * sound that ends, whose NEXT is 1 to 2^32, and whose TIME is neither before WIRE_CLOCK_SET_S nor after the
 * year 9999.  0, or -1 with errno; s is then as it was.
 */
int seen_read(struct seen *s, int fd);

/*
 * The same for the SEEN_FILE of a directory, which may be missing; one that is no regular file: EINVAL.
 */
int seen_load(struct seen *s, int dirfd);

/*
 * When a session was first there, in seconds: of the first line that says so, and that is not more than
 * a day later than now_s.  0: none does.
 */
uint64_t seen_at(const struct seen *s, uint32_t session, uint64_t now_s);

/*
 * Append a line to the SEEN_FILE of a directory, created with mode if missing, and to s; sync: have both
 * it and a new name on the disk.  What the file ends in within a line is ended first.  0; -1: errno;
 * the file is then as it was, unless only syncing failed.
 */
int seen_append(struct seen *s, int dirfd, mode_t mode, bool sync, uint64_t next, uint64_t time_s);

void seen_free(struct seen *s);

#endif
