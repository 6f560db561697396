/*
 * The queue to a descriptor: standard output or a file.  Never waits: a pipe or socket that is
 * full is written to again when it can be, a full disk when writer_write() is called again.
 *
 * A capture, which is a file that was opened by its name, is watched: one that was emptied begins
 * anew, with the sessions that are open; one that is no longer found under its name goes on until
 * writer_reopen().
 */
#ifndef EET_LISTEN_WRITER_H
#define EET_LISTEN_WRITER_H

#include "queue.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

enum writer_place {
	WRITER_IN_PLACE,
	WRITER_MOVED, /* it has another name now, and its own is that of another file, or of none */
	WRITER_REMOVED /* it has no name any more */
};

struct writer {
	const struct queue *queue;
	const char *name; /* for messages */
	int fd;
	mode_t type;             /* S_IFIFO, S_IFSOCK, S_IFREG, … */
	bool own;                /* fd is closed by writer_close() */
	bool named;              /* it is a file in a directory, and is to stay there */
	bool capture;            /* … which was opened by its name */
	uint64_t looked_us;      /* clock_now() when it was seen there */
	enum writer_place place; /* … of a capture */
	uint64_t size;           /* of a capture, with all that was written */
	unsigned emptied;        /* how often it was, or was cut */
	uint8_t *head;           /* to be written before the queue's next record */
	size_t head_len, head_done;
	int restore;                 /* flags to be given back to fd, -1: none */
	uint64_t position;           /* everything before it was written */
	bool blocked;                /* until it is writable */
	bool full;                   /* no space left on the disk */
	int error;                   /* for good: an errno, and nothing more is written */
	uv_poll_t poll;              /* of pipes and sockets */
	int events;                  /* what poll waits for */
	void (*progress)(void *arg); /* called when it was writable again, or failed, by itself */
	/* The head of a capture that begins with the queue's record at that position; to be freed. */
	uint8_t *(*begin)(void *arg, uint64_t position, size_t *leno);
	void *arg;
};

/*
 * Begin to write q to fd, which writer_close() closes if own; a file is then a capture called name.
 * progress, begin and arg are set by the caller.  0, or -1 with errno.
 */
int writer_open(struct writer *w, uv_loop_t *loop, const struct queue *q, int fd, bool own,
    const char *name);

/* Write what it takes now. */
void writer_write(struct writer *w);

/*
 * Go on with fd, another file, at the start of a record: what the old one has of it is cut off.
 * Returns the old descriptor, which is the caller's now.
 */
int writer_reopen(struct writer *w, int fd);

/*
 * Stop writing; w must live until the loop has seen its handle closed.  w->place is up to date
 * then.  0, or -1 with errno.
 */
int writer_close(struct writer *w);

#endif
