/* See store.h. */
#include "store.h"

#include "cli.h"

#include <errno.h>
#include <string.h>

/* Something failed: is it to be tried again? */
static void
failure(struct store *st, int e)
{
	if (!recorder_waits(st->recorder, e))
		st->failed = true;
}

/* Hear what was completed.  True: everything that ended is. */
static bool
reap(struct store *st)
{
	int n = spool_reap(st->spool);

	if (n == -1)
		failure(st, errno);
	return n == 1;
}

static void
on_completed(uv_poll_t *poll, int status, int events)
{
	struct store *st = poll->data;

	(void)status;
	(void)events;
	reap(st);
	store_turn(st);
	st->progress(st->arg);
}

int
store_open(struct store *st, uv_loop_t *loop, const struct queue *q, struct recorder *r)
{
	int e;

	memset(st, 0, sizeof *st);
	st->queue = q;
	st->recorder = r;
	st->spool = recorder_spool(r);
	st->read = st->position = q->end;
	if ((st->reader = log_new(-1, NULL)) == NULL)
		return -1;
	if ((e = uv_poll_init(loop, &st->poll, spool_fd(st->spool))) < 0) {
		log_free(st->reader);
		errno = -e;
		return -1;
	}
	st->poll.data = st;
	uv_poll_start(&st->poll, UV_READABLE, on_completed);
	return 0;
}

/* The next record into st->record.  False: there is none at the moment. */
static bool
next_record(struct store *st)
{
	while (log_next(st->reader, &st->record) == LOG_MORE) {
		const struct queue_block *b;
		size_t skip;

		if (st->read == st->queue->end)
			return false;
		b = queue_at(st->queue, st->read);
		skip = (size_t)(st->read - b->start);
		log_window(st->reader, b->data + skip, b->used - skip);
		st->read = b->start + b->used;
	}
	if (st->record.event == LOG_ERROR) {
		cli_warn("a session to be stored");
		st->failed = true;
		return false;
	}
	return true;
}

void
store_turn(struct store *st)
{
	if (st->failed)
		return;
	while (st->pending || next_record(st)) {
		st->pending = true;
		if (spool_put(st->spool, &st->record) == -1) {
			failure(st, errno);
			return;
		}
		st->pending = false;
	}
	if (st->failed)
		return;
	if (spool_flush(st->spool) == -1) {
		failure(st, errno);
		return;
	}
	st->position = st->read;
	if (recorder_full(st->recorder) && spool_reap(st->spool) != -1)
		recorder_resumed(st->recorder);
}

bool
store_done(struct store *st)
{
	return st->position == st->queue->end && reap(st);
}

int
store_close(struct store *st)
{
	uv_close((uv_handle_t *)&st->poll, NULL);
	log_free(st->reader);
	return recorder_close(st->recorder, st->position == st->queue->end);
}
