/*
 * The queue to a descriptor: standard output or a file.  Never waits: a pipe or socket that is
 * full is written to again when it can be, a full disk when writer_write() is called again.
 */
#ifndef EET_LISTEN_WRITER_H
#define EET_LISTEN_WRITER_H

#include "queue.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

struct writer {
	const struct queue *queue;
	const char *name; /* for messages */
	int fd;
	mode_t type;                 /* S_IFIFO, S_IFSOCK, S_IFREG, … */
	bool own;                    /* fd is closed by writer_close() */
	bool named;                  /* it is a file in a directory, and is to stay there */
	uint64_t looked_us;          /* clock_now() when it was seen there */
	int restore;                 /* flags to be given back to fd, -1: none */
	uint64_t position;           /* everything before it was written */
	bool blocked;                /* until it is writable */
	bool full;                   /* no space left on the disk */
	int error;                   /* for good: an errno, and nothing more is written */
	uv_poll_t poll;              /* of pipes and sockets */
	int events;                  /* what poll waits for */
	void (*progress)(void *arg); /* called when it was writable again, or failed, by itself */
	void *arg;
};

/*
 * Begin to write q to fd, which writer_close() closes if own.  progress and arg are set by the
 * caller.  0, or -1 with errno.
 */
int writer_open(struct writer *w, uv_loop_t *loop, const struct queue *q, int fd, bool own,
    const char *name);

/* Write what it takes now. */
void writer_write(struct writer *w);

/* Stop writing; w must live until the loop has seen its handle closed.  0, or -1 with errno. */
int writer_close(struct writer *w);

#endif
