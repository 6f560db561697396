/*
 * Children of the program that nobody started on purpose: process 1 of a container inherits every
 * orphan in it, and a program that a shell has become, by exec(1), the shell's jobs.  Each stays a
 * zombie, and keeps its process number, until it is waited for.
 *
 * Single-threaded: all of these are called by the thread that starts and waits for children.
 */
#ifndef EET_CHILD_H
#define EET_CHILD_H

#include <sys/queue.h>
#include <sys/types.h>

/* A child that whoever started it waits for. */
struct child {
	pid_t pid;
	LIST_ENTRY(child) link;
};

/* The child pid, just started, belongs to the caller, who keeps c until child_release(). */
void child_keep(struct child *c, pid_t pid);

/* c's child was waited for, or nobody will do so any more.  Reaps others, as child_reap() does. */
void child_release(struct child *c);

/*
 * Wait for all children that have ended and belong to nobody.  Never blocks.  To be called on
 * SIGCHLD: a child that has ended and is still to be waited for by its owner may hide others, which
 * child_release() reaps.
 */
void child_reap(void);

#endif
