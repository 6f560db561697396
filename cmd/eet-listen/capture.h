/* -o FILE: a mux log that grows under its own name, and is gone on with after a crash. */
#ifndef EET_LISTEN_CAPTURE_H
#define EET_LISTEN_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Open FILE for writing at its end, locked against other writers.  It has to be new or empty, or,
 * with append, a mux log: a torn last record is cut off, sessions that were left open are closed as
 * 1006, and *sessiono becomes the number after its highest session.
 * The descriptor; -1: said why.
 */
int capture_open(const char *path, bool append, uint32_t *sessiono);

#endif
