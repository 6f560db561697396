/*
 * A command for each completed segment: a few at once, again and again until
 * it succeeds.  Single-threaded: children and waiting times make an epoll
 * descriptor readable, and exec_step() does what is due.
 */
#ifndef EET_EXEC_H
#define EET_EXEC_H

#include "name.h"

#include <stdbool.h>
#include <stddef.h>

/* Seconds until a command that failed is run again: doubled each time, between these. */
enum { EXEC_FIRST_RETRY = 1, EXEC_LAST_RETRY = 300 };

struct exec;

/*
 * dir: the spool's path, for the command's arguments; command: for sh -c; both stay the
 * caller's.  jobs: how many run at once.  NULL on failure, with errno.
 */
struct exec *exec_new(const char *dir, const char *command, unsigned jobs);

/* Queue a segment.  0, or -1 with errno (nothing changed). */
int exec_put(struct exec *e, const struct name *n, bool has_wav);

/* Readable when exec_step() has something to do. */
int exec_fd(const struct exec *e);

/*
 * Start what can be started and take what has ended.  done() is called for each segment whose
 * command succeeded, failed() for each try that did not: text says how it ended.
 */
void exec_step(struct exec *e, void (*done)(void *arg, const struct name *n),
    void (*failed)(void *arg, const struct name *n, const char *text), void *arg);

/* How many segments wait or run. */
size_t exec_pending(const struct exec *e);

/* Call fn for each of them; true if this segment is among them. */
void exec_each(const struct exec *e, void (*fn)(void *arg, const struct name *n), void *arg);
bool exec_has(const struct exec *e, const struct name *n);

/* Stop the commands that run (SIGTERM to their process groups), forget the rest.  NULL is fine. */
void exec_free(struct exec *e);

#endif
