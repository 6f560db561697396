/* See output.h. */
#include "output.h"

#include "bytes.h"
#include "capture.h"
#include "cli.h"
#include "clock.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	/*
	 * So much is stored without waiting for the turn's end.  A spool writes to each stream's
	 * file: the more at once, the fewer writes.
	 */
	EARLY_WRITE = 64 << 10,
	EARLY_STORE = 320 << 10,
	RETRY_MS = 1000, /* how often a full disk is tried */
	/* A reader doubts a time that is further after the one before, until a second record has it. */
	DOUBTFUL_US = 10000000
};

static void
on_retry(uv_timer_t *timer)
{
	output_turn(timer->data);
}

/* Tell what has become of a capture. */
static void
look_at_capture(struct output *o)
{
	const struct writer *w = o->writer;

	if (w->emptied != o->said_emptied)
		cli_warnx(
		    "%s: emptied, or cut, by another program: it begins anew, with the sessions that "
		    "are open",
		    w->name);
	o->said_emptied = w->emptied;
	if (w->place == o->said_place)
		return;
	o->said_place = w->place;
	if (w->place == WRITER_REMOVED)
		cli_warnx("%s: removed: what is recorded is lost until SIGHUP creates it anew",
		    w->name);
	else if (w->place == WRITER_MOVED)
		cli_warnx(
		    "%s: moved or replaced: recording goes on in the old file until SIGHUP reopens "
		    "it",
		    w->name);
	else
		cli_note(0, "%s: in its place", w->name);
}

/* What the writer has to be told about. */
static void
look_at_writer(struct output *o)
{
	const struct writer *w = o->writer;

	if (w->error != 0 && !o->failed) {
		errno = w->error;
		cli_warn(errno == EPIPE ? "%s: the reader is gone" : "%s", w->name);
		o->failed = true;
	}
	if (w->full && !o->said_full)
		cli_warnx("%s: no space left on the disk: clients wait until there is", w->name);
	else if (!w->full && o->said_full && w->error == 0)
		cli_note(0, "%s: there is space on the disk again", w->name);
	o->said_full = w->full;
	look_at_capture(o);
}

/* See how far the sinks have come. */
static void
look(struct output *o)
{
	uint64_t done = o->queue.end;

	if (o->writer != NULL) {
		look_at_writer(o);
		opens_forget(&o->opens, o->writer->error != 0 ? UINT64_MAX : o->writer->position);
		if (o->writer->error == 0 && o->writer->position < done)
			done = o->writer->position;
	}
	if (o->store != NULL) {
		if (o->store->failed)
			o->failed = true;
		else if (o->store->position < done)
			done = o->store->position;
	}
	if (done > o->stored || done == o->queue.end)
		o->progress_us = clock_now();
	o->stored = done;
	queue_release(&o->queue, done);
	if (output_full(o) != (bool)uv_is_active((uv_handle_t *)&o->retry)) {
		if (output_full(o))
			uv_timer_start(&o->retry, on_retry, RETRY_MS, RETRY_MS);
		else
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
	opens_init(&o->opens);
	uv_timer_init(loop, &o->retry);
	o->retry.data = o;
}

/* What a capture begins with whose first record from the queue is that at position. */
static uint8_t *
begin_capture(void *arg, uint64_t position, size_t *leno)
{
	const struct output *o = arg;
	const struct queue_block *b;
	uint64_t now = clock_record();

	/* No time may be after those of the records that still wait. */
	if (!o->raw && position < o->queue.end) {
		b = queue_at(&o->queue, position);
		now = le64_load(b->data + (position - b->start) + 16);
	}
	return opens_records(&o->opens, position, now, leno);
}

int
output_to(struct output *o, uv_loop_t *loop, int fd, bool own, const char *name)
{
	if (writer_open(&o->writer_room, loop, &o->queue, fd, own, name) == -1)
		return -1;
	o->writer = &o->writer_room;
	o->writer->progress = on_progress;
	o->writer->begin = begin_capture;
	o->writer->arg = o;
	return 0;
}

int
output_spool(struct output *o, uv_loop_t *loop, struct recorder *r, const char *name)
{
	if (store_open(&o->store_room, loop, &o->queue, r) == -1)
		return -1;
	o->store = &o->store_room;
	o->store->progress = on_progress;
	o->store->arg = o;
	o->store_name = name;
	return 0;
}

/* A record has been appended. */
static void
appended(struct output *o)
{
	struct writer *w = o->writer;
	struct store *st = o->store;

	o->record_us = clock_record();
	if (w != NULL && !w->blocked && !w->full && o->queue.end - w->position >= EARLY_WRITE) {
		writer_write(w);
		look(o);
	}
	if (st != NULL && !st->pending && o->queue.end - st->position >= EARLY_STORE) {
		store_turn(st);
		look(o);
	}
}

static bool
captures(const struct output *o)
{
	return o->writer != NULL && o->writer->capture && o->writer->error == 0;
}

/*
 * Room for a record of that size, or raw, a message.  If time has moved, a TICK is put before the
 * record, so that nobody who reads both waits for another one.
 */
static uint8_t *
add_record(struct output *o, size_t size)
{
	uint64_t now = clock_record(), last = o->record_us;
	bool moved = !o->raw && last > 0 && (now < last || now - last > DOUBTFUL_US);
	size_t tick = moved ? LOG_HEADER_SIZE : 0;
	uint8_t *p = queue_add(&o->queue, tick + size);

	if (tick > 0)
		log_pack_header(p, 0, LOG_KIND_TICK, now, 0);
	return p + tick;
}

void
output_open(struct output *o, uint32_t session, const uint8_t handshake[WIRE_HANDSHAKE_SIZE],
    const char *peer, const char *tag)
{
	uint8_t buf[LOG_MAX_OPEN];
	size_t len;

	if (o->raw) {
		len = WIRE_HANDSHAKE_SIZE;
		memcpy(buf, handshake, len);
	} else {
		len = log_pack_open(buf, session, clock_record(), handshake, peer, tag);
	}
	memcpy(add_record(o, len), buf, len);
	if (captures(o))
		opens_add(&o->opens, session, o->queue.end, buf, len);
	appended(o);
}

void
output_frame(struct output *o, uint32_t session, const uint8_t *frame, size_t len)
{
	size_t header = o->raw ? 0 : LOG_HEADER_SIZE;
	uint8_t *p = add_record(o, header + len);

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

	if (!o->raw) {
		len = log_pack_close(buf, session, clock_record(), code, reason, strlen(reason));
		memcpy(add_record(o, len), buf, len);
	}
	opens_close(&o->opens, session, o->queue.end);
	if (!o->raw)
		appended(o);
}

/* A record without a session and a body. */
static void
mark(struct output *o, enum log_kind kind)
{
	if (o->raw)
		return;
	log_pack_header(add_record(o, LOG_HEADER_SIZE), 0, kind, clock_record(), 0);
	appended(o);
}

void
output_tick(struct output *o)
{
	mark(o, LOG_KIND_TICK);
}

/* A file that is being synced, after which it is closed. */
struct sync {
	uv_fs_t request; /* first: what is freed */
	struct output *output;
	int fd;
};

static void
on_synced(uv_fs_t *request)
{
	struct sync *sync = request->data;
	struct output *o = sync->output;

	if (request->result < 0) {
		errno = (int)-request->result;
		cli_warn("%s", o->writer->name);
		o->sync_failed = true;
	}
	close(sync->fd);
	o->syncing--;
	uv_fs_req_cleanup(request);
	free(sync);
}

/* Sync fd and close it, while the loop goes on. */
static void
sync_and_close(struct output *o, int fd)
{
	struct sync *sync = malloc(sizeof *sync);

	if (sync == NULL)
		cli_die(CLI_EFAIL, "%s", o->writer->name);
	*sync = (struct sync){ .output = o, .fd = fd };
	sync->request.data = sync;
	o->syncing++;
	uv_fs_fsync(o->retry.loop, &sync->request, fd, on_synced);
}

void
output_rotate(struct output *o)
{
	struct writer *w = o->writer;
	int fd, old;

	mark(o, LOG_KIND_ROTATE);
	if (!captures(o))
		return;
	writer_write(w);
	look(o);
	if (w->error != 0)
		return;
	if ((fd = capture_reopen(w->name, w->fd)) == -1) {
		cli_warnx("%s: recording goes on in the old file", w->name);
		return;
	}
	old = fd != w->fd ? writer_reopen(w, fd) : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (old != -1)
		sync_and_close(o, old);
	o->said_place = w->place;
	output_turn(o);
}

void
output_turn(struct output *o)
{
	if (o->writer != NULL)
		writer_write(o->writer);
	if (o->store != NULL)
		store_turn(o->store);
	look(o);
}

bool
output_pressed(const struct output *o)
{
	return o->queue.end - o->stored >= OUTPUT_HIGH;
}

bool
output_relaxed(const struct output *o)
{
	return o->queue.end - o->stored < OUTPUT_LOW;
}

uint64_t
output_stuck_since(const struct output *o)
{
	return o->stored < o->queue.end ? o->progress_us : UINT64_MAX;
}

bool
output_full(const struct output *o)
{
	return (o->writer != NULL && o->writer->full) ||
	    (o->store != NULL && !o->store->failed && recorder_full(o->store->recorder));
}

/* Does the writer lack something? */
static bool
writing(const struct output *o)
{
	return o->writer != NULL && o->writer->error == 0 &&
	    (o->writer->head != NULL || o->writer->position < o->queue.end);
}

bool
output_completing(const struct output *o)
{
	return o->store != NULL && !o->store->failed && !writing(o) && !output_full(o);
}

void
output_say_slow(const struct output *o)
{
	recorder_say_slow(o->store->recorder);
}

void
output_use_reserve(struct output *o)
{
	if (o->store != NULL && spool_use_reserve(o->store->spool))
		recorder_resumed(o->store->recorder);
}

void
output_stop_salvage(struct output *o)
{
	if (o->store != NULL)
		spool_stop_salvage(o->store->spool);
}

bool
output_done(struct output *o)
{
	return !writing(o) && o->syncing == 0 &&
	    (o->store == NULL || o->store->failed || store_done(o->store));
}

const char *
output_trouble(const struct output *o)
{
	if (o->failed)
		return "the output is gone";
	if (output_full(o))
		return "the disk is full";
	if (o->writer != NULL && o->writer->place == WRITER_REMOVED)
		return "the capture was removed";
	return NULL;
}

void
output_say_stuck(const struct output *o, size_t held)
{
	const char *s = held == 1 ? " is" : "s are";

	if (writing(o))
		cli_warnx("%s: nobody reads it; %zu stream%s held back", o->writer->name, held, s);
	else
		cli_warnx("%s: it takes nothing more; %zu stream%s held back", o->store_name, held,
		    s);
}

static void
say_lost(const char *name, uint64_t bytes)
{
	if (bytes > 0)
		cli_warnx("%s: the last %" PRIu64 " bytes of the log could not be stored", name,
		    bytes);
}

int
output_close_sinks(struct output *o)
{
	int status = o->failed || o->stored < o->queue.end ? CLI_EFAIL : CLI_OK, closed;

	uv_close((uv_handle_t *)&o->retry, NULL);
	if (o->writer != NULL) {
		say_lost(o->writer->name, o->queue.end - o->writer->position);
		if (writer_close(o->writer) == -1) {
			cli_warn("%s", o->writer->name);
			status = CLI_EFAIL;
		}
		look_at_capture(o);
		if (o->writer->place != WRITER_IN_PLACE || o->sync_failed)
			status = CLI_EFAIL;
		else if (status == CLI_OK && o->writer->emptied > 0)
			status = CLI_EDATA;
	}
	if (o->store != NULL) {
		say_lost(o->store_name, o->queue.end - o->store->position);
		closed = store_close(o->store);
		if (status == CLI_OK || closed == CLI_EFAIL)
			status = closed;
	}
	return status;
}

void
output_free(struct output *o)
{
	queue_free(&o->queue);
	opens_free(&o->opens);
}
