/*
 * Lines to a descriptor that may be slow, stuck or dead, without ever holding
 * up the caller: a thread writes them, a limited number of bytes waits,
 * then lines are dropped and counted.
 */
#ifndef EET_LINES_H
#define EET_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LINES_NOTE = 128 };

/* Put into text a line (without newline) that tells how many lines were dropped. */
typedef void lines_note(char text[LINES_NOTE], uint64_t dropped);

struct lines;

/*
 * Start on a duplicate of fd, which stays the caller's; at most max bytes wait.  note, if not NULL,
 * makes the line that goes where lines are missing, as soon as there is room for it.
 * NULL on failure, with errno.
 */
struct lines *lines_new(int fd, size_t max, lines_note *note);

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
