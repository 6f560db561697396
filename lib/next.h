/*
 * The number of a spool's next session, kept in DIR/.next: decimal, replaced in place.  It is
 * written before a number is used, so that no number is used twice, however long ago that was.
 */
#ifndef EET_NEXT_H
#define EET_NEXT_H

#include <stdint.h>
#include <sys/types.h>

#define NEXT_FILE ".next"

/*
 * Read the number from the file open on fd.  1: *o is it; 0: the file is empty; -1: it is damaged, or
 * can't be read.
 */
int next_read(int fd, uint64_t *o);

/*
 * Open the file in dirfd, created with mode if it is missing.  Descriptor, or -1 with errno.
 */
int next_open(int dirfd, mode_t mode);

/* Write the number.  0, or -1 with errno. */
int next_write(int fd, uint64_t number);

#endif
