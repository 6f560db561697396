/* See output.h. */
#include "output.h"

#include "cli.h"
#include "clock.h"
#include "log.h"

#include <errno.h>
#include <string.h>

enum {
	EARLY = 64 << 10, /* so much is written without waiting for the turn's end */
	RETRY_MS = 1000   /* how often a full disk is tried */
};

static void
on_retry(uv_timer_t *timer)
{
	output_turn(timer->data);
}

/* See how far the sinks have come, and what is to be said about them. */
static void
look(struct output *o)
{
	struct writer *w = o->writer;
	uint64_t done = o->queue.end;

	if (w != NULL && w->error != 0 && !o->failed) {
		errno = w->error;
		cli_warn(errno == EPIPE ? "%s: the reader is gone" : "%s", w->name);
		o->failed = true;
	}
	if (w != NULL && w->error == 0 && w->position < done)
		done = w->position;
	if (done > o->stored || done == o->queue.end)
		o->progress_us = clock_now();
	o->stored = done;
	queue_release(&o->queue, done);

	if (output_full(o) && !o->said_full) {
		cli_warnx("%s: no space left on the disk; clients wait until there is some",
		    w->name);
		o->said_full = true;
		uv_timer_start(&o->retry, on_retry, RETRY_MS, RETRY_MS);
	} else if (!output_full(o) && o->said_full) {
		cli_note(0, "%s: there is space on the disk again", w->name);
		o->said_full = false;
		uv_timer_stop(&o->retry);
	}
}

static void
on_progress(void *arg)
{
	look(arg);
}

void
output_init(struct output *o, uv_loop_t *loop, bool raw)
{
	memset(o, 0, sizeof *o);
	o->raw = raw;
	uv_timer_init(loop, &o->retry);
	o->retry.data = o;
}

int
output_to(struct output *o, uv_loop_t *loop, int fd, bool own, const char *name)
{
	if (writer_open(&o->writer_room, loop, &o->queue, fd, own, name) == -1)
		return -1;
	o->writer = &o->writer_room;
	o->writer->progress = on_progress;
	o->writer->arg = o;
	return 0;
}

/* A record has been appended. */
static void
appended(struct output *o)
{
	struct writer *w = o->writer;

	o->record_us = clock_now();
	if (w != NULL && !w->blocked && !w->full && o->queue.end - w->position >= EARLY) {
		writer_write(w);
		look(o);
	}
}

void
output_open(struct output *o, uint32_t session, const uint8_t handshake[WIRE_HANDSHAKE_SIZE],
    const char *peer, const char *tag)
{
	uint8_t buf[LOG_MAX_OPEN];
	size_t len;

	if (o->raw) {
		memcpy(queue_add(&o->queue, WIRE_HANDSHAKE_SIZE), handshake, WIRE_HANDSHAKE_SIZE);
	} else {
		len = log_pack_open(buf, session, clock_record(), handshake, peer, tag);
		memcpy(queue_add(&o->queue, len), buf, len);
	}
	appended(o);
}

void
output_frame(struct output *o, uint32_t session, const uint8_t *frame, size_t len)
{
	size_t header = o->raw ? 0 : LOG_HEADER_SIZE;
	uint8_t *p = queue_add(&o->queue, header + len);

	if (!o->raw)
		log_pack_header(p, session, LOG_KIND_FRAME, clock_record(), (uint32_t)len);
	memcpy(p + header, frame, len);
	appended(o);
}

void
output_close(struct output *o, uint32_t session, uint16_t code, const char *reason)
{
	uint8_t buf[LOG_MAX_CLOSE];
	size_t len;

	if (o->raw)
		return;
	len = log_pack_close(buf, session, clock_record(), code, reason, strlen(reason));
	memcpy(queue_add(&o->queue, len), buf, len);
	appended(o);
}

/* A record without a session and a body. */
static void
mark(struct output *o, enum log_kind kind)
{
	if (o->raw)
		return;
	log_pack_header(queue_add(&o->queue, LOG_HEADER_SIZE), 0, kind, clock_record(), 0);
	appended(o);
}

void
output_tick(struct output *o)
{
	mark(o, LOG_KIND_TICK);
}

void
output_rotate(struct output *o)
{
	mark(o, LOG_KIND_ROTATE);
}

void
output_turn(struct output *o)
{
	if (o->writer != NULL)
		writer_write(o->writer);
	look(o);
}

uint64_t
output_waiting(const struct output *o)
{
	return o->queue.end - o->stored;
}

bool
output_pressed(const struct output *o)
{
	return output_waiting(o) >= OUTPUT_HIGH;
}

bool
output_relaxed(const struct output *o)
{
	return output_waiting(o) < OUTPUT_LOW;
}

uint64_t
output_stuck_since(const struct output *o)
{
	return output_waiting(o) > 0 ? o->progress_us : UINT64_MAX;
}

bool
output_full(const struct output *o)
{
	return o->writer != NULL && o->writer->full;
}

const char *
output_trouble(const struct output *o)
{
	if (o->failed)
		return "the output is gone";
	if (output_full(o))
		return "the disk is full";
	return NULL;
}

const char *
output_name(const struct output *o)
{
	return o->writer->name;
}

int
output_close_all(struct output *o)
{
	int status = o->failed ? CLI_EFAIL : CLI_OK;

	uv_close((uv_handle_t *)&o->retry, NULL);
	if (o->writer != NULL && writer_close(o->writer) == -1) {
		cli_warn("%s", o->writer->name);
		status = CLI_EFAIL;
	}
	return status;
}

void
output_free(struct output *o)
{
	queue_free(&o->queue);
}
