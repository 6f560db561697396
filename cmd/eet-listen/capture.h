/* -o FILE: a mux log that grows under its own name, and is gone on with after a crash. */
#ifndef EET_LISTEN_CAPTURE_H
#define EET_LISTEN_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Open FILE for writing at its end, locked against other writers.  It must be new or empty, or,
 * with append, a mux log: a torn last record, or a tail of zeros, is cut off, sessions that were left
 * open are closed as 1006, *sessiono becomes the number after its highest session, and *last_uso the
 * time of its last record (both unchanged if there is no log yet).  A log with
 * sound records after something that is none, or with anything else at its end, is refused.
 * The descriptor; -1: said why, and FILE is unchanged.
 */
int capture_open(const char *path, bool append, uint32_t *sessiono, uint64_t *last_uso);

/*
 * Open FILE again, which is written as fd: a new or empty file, locked, is taken.  Returns its
 * descriptor; fd if FILE is still that file; -1: said why, and fd can be written on.
 */
int capture_reopen(const char *path, int fd);

#endif
