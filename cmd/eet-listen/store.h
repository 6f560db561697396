/*
 * The queue to a spool: the records in it are read back where they lie, and offered.  Never
 * waits: what is not taken is offered again by the next store_turn().
 */
#ifndef EET_LISTEN_STORE_H
#define EET_LISTEN_STORE_H

#include "log.h"
#include "queue.h"
#include "recorder.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct store {
	const struct queue *queue;
	struct recorder *recorder;
	struct spool *spool;
	struct log_reader *reader;
	uint64_t read;               /* the reader has been given everything before it */
	uint64_t position;           /* the kernel has everything before it */
	struct log_record record;    /* the current one */
	bool pending;                /* it was not taken yet */
	bool failed;                 /* for good, and said so */
	uv_poll_t poll;              /* something was completed */
	void (*progress)(void *arg); /* called then, after store_turn() */
	void *arg;
};

/*
 * Begin to feed q to the recorder's spool; the recorder becomes st's.  progress and arg are set by
 * the caller.  0, or -1 with errno; the recorder stays the caller's then.
 */
int store_open(struct store *st, uv_loop_t *loop, const struct queue *q, struct recorder *r);

/* Store what can be stored now. */
void store_turn(struct store *st);

/* Is everything so far stored, and every segment that ended complete? */
bool store_done(struct store *st);

/* Stop feeding, close the spool and the recorder.  Returns the exit status. */
int store_close(struct store *st);

#endif
