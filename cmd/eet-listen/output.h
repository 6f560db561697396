/*
 * Where everything goes that streams send: records of a mux log (or, raw, one plain frame log) in
 * one queue, and the sinks that take it: a descriptor, a spool, or both.
 *
 * The queue is bounded by its users: they ask output_pressed() after each read and then read no
 * more from that client until output_relaxed().
 */
#ifndef EET_LISTEN_OUTPUT_H
#define EET_LISTEN_OUTPUT_H

#include "opens.h"
#include "queue.h"
#include "store.h"
#include "wire.h"
#include "writer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

enum {
	/* With a block begun, one half read and one spare, what waits stays within 1 MiB. */
	OUTPUT_HIGH = 640 << 10,
	OUTPUT_LOW = 256 << 10
};

struct output {
	struct queue queue;
	bool raw;
	struct writer *writer; /* NULL: none */
	struct writer writer_room;
	struct store *store; /* NULL: none */
	struct store store_room;
	const char *store_name;
	uv_timer_t retry; /* while the disk is full */
	uint64_t
	    record_us; /* time of the log's last record; 0: none yet, may be set at the start */
	uint64_t progress_us; /* clock_now() when a sink last took something, or had all */
	uint64_t stored;      /* the position that all sinks have reached */
	bool failed;          /* for good, and said so */
	bool said_full;
	struct opens opens; /* while there is a capture */
	size_t syncing;     /* old files of it */
	bool sync_failed;
	unsigned said_emptied;
	enum writer_place said_place;
};

void output_init(struct output *o, uv_loop_t *loop, bool raw);

/* Write to fd, called name.  0, or -1 with errno. */
int output_to(struct output *o, uv_loop_t *loop, int fd, bool own, const char *name);

/* Store in r's spool, called name; r becomes o's.  0, or -1 with errno: r stays the caller's. */
int output_spool(struct output *o, uv_loop_t *loop, struct recorder *r, const char *name);

/*
 * What happened, with the time of this turn of the loop.  If that is more than ten seconds after the
 * last record's, or before it, a TICK goes first.
 */
void output_open(struct output *o, uint32_t session, const uint8_t handshake[WIRE_HANDSHAKE_SIZE],
    const char *peer, const char *tag);
void output_frame(struct output *o, uint32_t session, const uint8_t *frame, size_t len);
void output_close(struct output *o, uint32_t session, uint16_t code, const char *reason);
void output_tick(struct output *o);

/*
 * All segments end; a capture is synced, and reopened unless its name is still its own: what follows
 * goes to the new file, after the OPENs of the sessions that are open.
 */
void output_rotate(struct output *o);

/* The end of a turn: hand everything to the sinks that they take now. */
void output_turn(struct output *o);

/* So much waits that clients have to wait too; so little that some may go on. */
bool output_pressed(const struct output *o);
bool output_relaxed(const struct output *o);

/* Since when (clock_now()) nothing was taken of what waits; UINT64_MAX: all is well. */
uint64_t output_stuck_since(const struct output *o);

/* The disk is full: it is tried once a second. */
bool output_full(const struct output *o);

/* Nothing waits for anything but its completion by the spool, which comes by itself. */
bool output_completing(const struct output *o);

/* Say once that what is completing takes long. */
void output_say_slow(const struct output *o);

/* No more is to come: what the spool keeps free for completing may be used for it. */
void output_use_reserve(struct output *o);

/* A signal asks for the end: what earlier runs left unfinished is left to the next. */
void output_stop_salvage(struct output *o);

/* All is stored and complete. */
bool output_done(struct output *o);

/* Why nothing can be stored at the moment; NULL: it can. */
const char *output_trouble(const struct output *o);

/* Say on standard error that nothing was taken for long, and that so many streams wait for it. */
void output_say_stuck(const struct output *o, size_t held);

/*
 * The end.  output_close_sinks() closes them, whether they have everything or not, which it says;
 * output_free(), when the loop has closed their handles, frees the rest.
 * Returns the exit status.
 */
int output_close_sinks(struct output *o);
void output_free(struct output *o);

#endif
