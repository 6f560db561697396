/*
 * Lines to a descriptor that may be slow, stuck or dead, without ever holding
 * up the caller: a thread writes them, at most LINES_MAX_WAITING bytes wait,
 * then lines are dropped and counted.
 */
#ifndef EET_LINES_H
#define EET_LINES_H

#include <stdbool.h>
#include <stdint.h>

enum { LINES_MAX_WAITING = 1 << 20 };

struct lines;

/* Start on a duplicate of fd, which stays the caller's.  NULL on failure, with errno. */
struct lines *lines_new(int fd);

/* Queue a line (without newline).  Never waits; drops it when too much waits or fd failed. */
void lines_put(struct lines *l, const char *line);

/* The errno of the first write that failed; 0: none.  Everything after it is dropped. */
int lines_error(struct lines *l);

/*
 * Wait until all is written, it failed, or no byte went out for wait_ms
 * milliseconds; then free l.  Returns how many lines were dropped in all (those in a write
 * that did not come back count, though they may still arrive); *errno_o is what lines_error()
 * would say.
 */
uint64_t lines_end(struct lines *l, unsigned wait_ms, int *errno_o);

#endif
