/*
 * The server: libwebsockets on libuv, its clients, and the turns of the loop.
 *
 * Two rules keep what clients sent from being lost or torn:
 * - A client is never held (read no more) and never closed inside a callback of its own: the rest
 *   of what libwebsockets has read of it would be lost.  server_hold() and client_end() only note
 *   it; it happens at the end of the turn.
 * - To end a session is our decision: its CLOSE is recorded at once, whatever the client still
 *   sends is dropped, and the WebSocket closing handshake goes on without us.
 */
#ifndef EET_LISTEN_SERVER_H
#define EET_LISTEN_SERVER_H

#include "command.h"
#include "listen.h"
#include "output.h"
#include "stream.h"
#include "wire.h"

#include <libwebsockets.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

enum {
	/*
	 * Read at once from one client.  A frame of 12 bytes arrives as 18 and is recorded as 36,
	 * so that one read becomes at most 64 KiB in the queue.
	 */
	SERVER_READ = 32 << 10
};

enum client_kind {
	CLIENT_NEW,    /* no request yet */
	CLIENT_AUDIO,  /* /ws */
	CLIENT_ECHO,   /* /ws/echo */
	CLIENT_POST,   /* POST /echo under way */
	CLIENT_REPLIED /* an HTTP reply was sent; what still comes is dropped */
};

/* What /ws keeps per client. */
struct audio {
	uint32_t session; /* 0: the handshake is due */
	struct stream stream;
	uint8_t *message; /* pieces of an unfinished message, NULL: none */
	size_t have, size;
	uint64_t total; /* how long it is known to be at least */
};

/* What /ws/echo keeps per client: pieces to be sent, see echo.c. */
struct echo {
	uint8_t *pieces;
	size_t done, end, size;
	uint32_t utf8; /* state of the check */
	bool started;  /* the message's first piece was queued */
	bool text;
};

/* What POST /echo keeps per client, see post.c. */
struct post {
	struct post_wait *wait; /* until the socket is writable again; NULL: not waiting */
	bool complete;          /* all of the body was there */
};

struct client {
	struct server *server;
	struct lws *wsi;
	TAILQ_ENTRY(client) all;
	TAILQ_ENTRY(client) held_entry, ending_entry;
	enum client_kind kind;
	bool ending;    /* client_end() was called, or the peer closes */
	bool websocket; /* the upgrade is done */
	bool held;      /* read no more for now */
	bool queued;    /* in the list of those to be closed */
	bool ping_due, pinged;
	uint64_t since_us; /* clock_now(): when it was accepted; when a reply was sent */
	uint64_t heard_us; /* when something was received last */
	uint16_t close_code;
	char close_reason[WIRE_MAX_REASON + 1];
	char peer[LISTEN_PEER];
	char tag[WIRE_MAX_TAG + 1]; /* "": none */
	union {
		struct audio audio;
		struct echo echo;
		struct post post;
	};
};

TAILQ_HEAD(client_list, client);

struct server_options {
	uint32_t sessions; /* 0: any number */
	uint32_t first_session;
	uint64_t max_frame;
	/* Microseconds; 0: no limit. */
	uint64_t handshake_timeout, idle_timeout, idle_exit;
};

enum server_state {
	SERVER_RUNNING,
	SERVER_CLOSING, /* the clients are being closed */
	SERVER_STORING, /* they are gone; what they sent is being stored */
	SERVER_DONE
};

struct server {
	const struct server_options *options;
	uv_loop_t loop;
	struct lws_context *context;
	struct lws_vhost *vhost;
	struct listener listener;
	struct output output;
	struct command command;
	struct client_list clients, held, ending;
	size_t client_count, held_count, open_count, client_max;
	struct client *marked;           /* to be held when its read is done */
	uint32_t next_session, sessions; /* the next one's number; how many there were */
	uint64_t last_open_us;           /* clock_now() when a stream was open last */
	uint64_t drift_said_us;
	bool said_stuck, said_max, created;
	enum server_state state;
	uint64_t stopped_us;
	int status;
	bool passed_on;      /* a signal, to the command */
	bool leaving;        /* the command has ended, what was sent is still being read */
	uint64_t leaving_us; /* clock_now() then, or when a client was held last */
	int command_status;
	uv_prepare_t prepare;
	uv_check_t check;
	uv_idle_t again; /* active while held clients may go on: for another turn */
	uv_timer_t sweep, tick;
	uv_signal_t signals[5];
};

/* How often it looks at its clients, and so the longest turn of an idle loop: in milliseconds. */
uint64_t server_sweep_ms(const struct server_options *options);

/*
 * Make the loop and libwebsockets' context; each client may need per_client descriptors, others are
 * for more than the usual.
 * 0; -1: said why.  Then: s->output gets its sinks, s->listener is opened, and server_run() serves
 * until it is stopped.
 */
int server_init(struct server *s, const struct server_options *options, bool raw, size_t per_client,
    size_t others);

/* Runs the command too, if s->command has one.  Returns the exit status, when everything is closed and freed. */
int server_run(struct server *s);

/* Close all clients with that code, store what they sent, then return from server_run(). */
void server_stop(struct server *s, int status, uint16_t code, const char *reason);

/* Read no more from c when its current read is done, until that is undone. */
void server_hold(struct client *c);
void server_release(struct client *c);

/* Why what clients send can't be stored now, NULL: it can. */
const char *server_trouble(const struct server *s);

/* Why no more sessions are taken, NULL: they are. */
const char *server_busy(const struct server *s);

/*
 * End c with this WebSocket close code, and whatever session it has.  c stays valid until the end
 * of the turn at least.
 */
void client_end(struct client *c, uint16_t code, const char *reason);

/* A WebSocket session has begun or ended (audio.c says so). */
void server_opened(struct server *s);
void server_closed(struct server *s);

#endif
