/* See server.h. */
#include "server.h"

#include "audio.h"
#include "child.h"
#include "cli.h"
#include "clock.h"
#include "echo.h"
#include "http.h"
#include "post.h"
#include "utf8.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define SECOND UINT64_C(1000000)

enum {
	/* libwebsockets has tables for as many descriptors as there may be: 16 bytes each. */
	MAX_DESCRIPTORS = 128 << 10,
	OTHER_DESCRIPTORS = 64, /* for everything but clients */
	RELEASE_PER_TURN = 4,   /* each brings up to 64 KiB: together less than HIGH - LOW */
	CLOSING_MS = 500,       /* for the closing handshakes when the server stops */
	STOPPING_MS = 20,       /* how often to look how stopping gets on */
	LOG_LINES = 10,         /* of libwebsockets, in one minute */
	NEVER_SECONDS = 1 << 30 /* libwebsockets' own timeouts are not used */
};

#define LINGER     (2 * SECOND)  /* for the reader of an HTTP error */
#define QUIET      (SECOND / 10) /* a stream that sends nothing more */
#define LEAVE      (2 * SECOND)  /* for streams that the command has left behind */
#define STUCK      (5 * SECOND)  /* nobody reads the output */
#define COARSE     (SECOND / 50) /* the times of the kernel */
#define STUCK_FULL (SECOND / 2)  /* no space comes: that is all that stopping waits */
#define DRIFT      ((int64_t)(2 * SECOND))
#define MINUTE     (60 * SECOND)

static void
on_lws_log(int level, const char *line)
{
	static uint64_t since;
	static int lines;

	(void)level;
	if (clock_now() - since >= MINUTE) {
		since = clock_now();
		lines = 0;
	}
	if (lines++ < LOG_LINES)
		cli_note(0, "libwebsockets: %.*s", (int)strcspn(line, "\n"), line);
}

/*
 * ---- Clients ----
 */

static bool
on_accepted(void *arg, int fd, const char *peer)
{
	struct server *s = arg;
	struct client *c = calloc(1, sizeof *c);
	lws_adopt_desc_t desc = {
		.vh = s->vhost,
		.type = LWS_ADOPT_HTTP | LWS_ADOPT_SOCKET | LWS_ADOPT_ALLOW_SSL,
		.fd.sockfd = fd,
		.opaque = c,
	};

	if (c == NULL) {
		close(fd);
		return true;
	}
	c->server = s;
	c->since_us = c->heard_us = clock_now();
	snprintf(c->peer, sizeof c->peer, "%s", peer);
	TAILQ_INSERT_TAIL(&s->clients, c, all);
	s->client_count++;
	s->created = false;
	c->wsi = lws_adopt_descriptor_vhost_via_info(&desc);
	if (c->wsi == NULL && !s->created) { /* else its destruction is on its way to us */
		TAILQ_REMOVE(&s->clients, c, all);
		s->client_count--;
		free(c);
	}
	if (s->client_count < s->client_max)
		return true;
	if (!s->said_max)
		cli_warnx(
		    "%zu connections, as many as the limit of descriptors allows: more have to wait",
		    s->client_count);
	s->said_max = true;
	return false;
}

static void
hold_now(struct client *c)
{
	struct server *s = c->server;

	if (c->held || c->ending)
		return;
	c->held = true;
	lws_rx_flow_control(c->wsi, 0);
	if (c->kind == CLIENT_AUDIO) {
		TAILQ_INSERT_TAIL(&s->held, c, held_entry);
		s->held_count++;
	}
}

void
server_hold(struct client *c)
{
	struct server *s = c->server;

	/*
	 * In one turn libuv may come back to the same client many times.  This one is still being
	 * read, but the read of the one before is over.
	 */
	if (s->marked != NULL && s->marked != c)
		hold_now(s->marked);
	s->marked = c;
}

/* c is out of the lists of those that are or will be held. */
static void
forget_hold(struct client *c)
{
	struct server *s = c->server;

	if (s->marked == c)
		s->marked = NULL;
	if (c->held && c->kind == CLIENT_AUDIO) {
		TAILQ_REMOVE(&s->held, c, held_entry);
		s->held_count--;
	}
	c->held = false;
}

void
server_release(struct client *c)
{
	bool held = c->held;

	forget_hold(c);
	if (!held)
		return;
	c->heard_us = clock_now();
	c->pinged = false;
	lws_rx_flow_control(c->wsi, 1);
}

void
client_end(struct client *c, uint16_t code, const char *reason)
{
	if (c->ending)
		return;
	c->ending = true;
	c->close_code = code;
	snprintf(c->close_reason, sizeof c->close_reason, "%s", reason);
	if (c->kind == CLIENT_AUDIO)
		audio_end(c, code, c->close_reason);
	c->queued = true;
	TAILQ_INSERT_TAIL(&c->server->ending, c, ending_entry);
}

/* Begin the closing handshake, or just close what is no WebSocket. */
static void
close_now(struct client *c)
{
	struct lws *wsi = c->wsi;

	if (c->kind == CLIENT_POST)
		post_free(c);
	server_release(c); /* what is still to come before its answer has to be read */
	if (c->websocket)
		lws_close_reason(wsi, (enum lws_close_status)c->close_code,
		    (unsigned char *)c->close_reason, strlen(c->close_reason));
	else
		shutdown(lws_get_socket_fd(wsi), SHUT_RDWR); /* or it waits long for room */
	lws_set_timeout(wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
}

/* The peer sends a close frame: 2 bytes of code, and a reason.  They are sent back as they are. */
static int
peer_closes(struct client *c, uint8_t *in, size_t len)
{
	static const char bad[] = "close reason that is not valid UTF-8";
	char reason[WIRE_MAX_REASON + 1] = "";
	/* RFC 6455, section 7.1.5: 1005 when there is no code. */
	uint16_t code = len == 0 ? 1005 : LWS_CLOSE_STATUS_PROTOCOL_ERR;
	bool sound = len <= 2;

	if (c->queued) {
		/* Refused in this very turn: it still has to hear why. */
		TAILQ_REMOVE(&c->server->ending, c, ending_entry);
		c->queued = false;
		lws_close_reason(c->wsi, (enum lws_close_status)c->close_code,
		    (unsigned char *)c->close_reason, strlen(c->close_reason));
		return -1;
	}
	if (c->ending) {
		/*
		 * Ours waits to be sent, and libwebsockets sends the peer's instead: as much of
		 * ours as has room in it.
		 */
		if (len >= 2 && c->close_code != 0) {
			in[0] = (uint8_t)(c->close_code >> 8);
			in[1] = (uint8_t)c->close_code;
			memset(in + 2, ' ', len - 2);
			memcpy(in + 2, c->close_reason, strnlen(c->close_reason, len - 2));
		}
		return 0;
	}
	c->ending = true;
	if (len >= 2) {
		/* libwebsockets has made 1002 of those below 5000 that nobody may send. */
		if ((in[0] << 8 | in[1]) >= 5000) {
			in[0] = LWS_CLOSE_STATUS_PROTOCOL_ERR >> 8;
			in[1] = LWS_CLOSE_STATUS_PROTOCOL_ERR & 0xff;
		}
		code = (uint16_t)(in[0] << 8 | in[1]);
	}
	if (len > 2 && len - 2 <= WIRE_MAX_REASON && utf8_valid(in + 2, len - 2)) {
		memcpy(reason, in + 2, len - 2);
		sound = true;
	}
	if (c->kind == CLIENT_AUDIO)
		audio_end(c, sound ? code : LWS_CLOSE_STATUS_INVALID_PAYLOAD, reason);
	if (sound)
		return 0;
	lws_close_reason(c->wsi, LWS_CLOSE_STATUS_INVALID_PAYLOAD, (unsigned char *)bad,
	    sizeof bad - 1);
	return -1;
}

/*
 * Its WebSocket is gone: it died, or libwebsockets closes it for a breach of RFC 6455, which is
 * 1002.  The reason may have been overwritten by a ping that came behind.
 */
static void
closed(struct client *c)
{
	const uint8_t *payload = lws_get_close_payload(c->wsi);
	int len = lws_get_close_length(c->wsi);
	char reason[WIRE_MAX_REASON + 1] = "";

	forget_hold(c);
	if (c->ending)
		return;
	c->ending = true;
	if (c->kind != CLIENT_AUDIO)
		return;
	if (len > 2 && len - 2 <= WIRE_MAX_REASON &&
	    (payload[0] << 8 | payload[1]) == LWS_CLOSE_STATUS_PROTOCOL_ERR)
		memcpy(reason, payload + 2, (size_t)len - 2);
	audio_end(c, len > 0 ? LWS_CLOSE_STATUS_PROTOCOL_ERR : WIRE_CLOSE_ABNORMAL, reason);
}

/* Its connection is gone. */
static void
client_free(struct client *c)
{
	struct server *s = c->server;

	if (!c->ending && c->kind == CLIENT_AUDIO) {
		c->ending = true;
		audio_end(c, WIRE_CLOSE_ABNORMAL, "");
	}
	if (!c->ending && c->kind == CLIENT_NEW)
		cli_note(1, "%s: closed without a request", c->peer);
	if (c->queued)
		TAILQ_REMOVE(&s->ending, c, ending_entry);
	forget_hold(c);
	switch (c->kind) {
	case CLIENT_AUDIO: audio_free(c); break;
	case CLIENT_ECHO: echo_free(c); break;
	case CLIENT_POST: post_free(c); break;
	case CLIENT_NEW:
	case CLIENT_REPLIED: break;
	}
	TAILQ_REMOVE(&s->clients, c, all);
	s->client_count--;
	free(c);
	if (s->state == SERVER_RUNNING && s->client_count < s->client_max)
		listener_resume(&s->listener);
}

static void
established(struct client *c)
{
	c->websocket = true;
	c->heard_us = clock_now();
	if (c->server->state != SERVER_RUNNING)
		client_end(c, WIRE_CLOSE_GOING_AWAY, "the server shuts down");
}

static int
writable(struct client *c)
{
	if (c->ending)
		return 0;
	if (c->ping_due) {
		/* With a payload: libwebsockets does not tell us of empty pongs. */
		unsigned char ping[LWS_PRE + 4];

		memcpy(ping + LWS_PRE, "eet?", 4);
		c->ping_due = false;
		lws_callback_on_writable(c->wsi);
		return lws_write(c->wsi, ping + LWS_PRE, 4, LWS_WRITE_PING) < 0 ? -1 : 0;
	}
	return c->kind == CLIENT_ECHO ? echo_writable(c) : 0;
}

static void
receive(struct client *c, const uint8_t *in, size_t len)
{
	if (c->ending)
		return;
	c->heard_us = clock_now();
	c->pinged = false;
	if (c->kind == CLIENT_AUDIO)
		audio_receive(c, in, len);
	else
		echo_receive(c, in, len);
}

static int
on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct client *c = lws_get_opaque_user_data(wsi);

	(void)user;
	if (reason == LWS_CALLBACK_WSI_CREATE) {
		struct server *s = lws_context_user(lws_get_context(wsi));

		s->created = true;
		return 0;
	}
	if (c == NULL)
		return 0;
	c->wsi = wsi;
	switch (reason) {
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE: return http_upgrade(c);
	case LWS_CALLBACK_ESTABLISHED: established(c); return 0;
	case LWS_CALLBACK_RECEIVE: receive(c, in, len); return 0;
	case LWS_CALLBACK_RECEIVE_PONG:
		c->heard_us = clock_now();
		c->pinged = false;
		return 0;
	case LWS_CALLBACK_SERVER_WRITEABLE: return writable(c);
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE: return peer_closes(c, in, len);
	case LWS_CALLBACK_HTTP: return http_request(c);
	case LWS_CALLBACK_HTTP_BODY: return c->kind == CLIENT_POST ? post_body(c, in, len) : 0;
	case LWS_CALLBACK_HTTP_BODY_COMPLETION:
		return c->kind == CLIENT_POST ? post_complete(c) : -1;
	case LWS_CALLBACK_HTTP_WRITEABLE: return c->kind == CLIENT_POST ? post_writable(c) : 0;
	case LWS_CALLBACK_CLOSED: closed(c); return 0;
	case LWS_CALLBACK_CLOSED_HTTP:
		if (c->kind == CLIENT_POST)
			post_free(c);
		return 0;
	case LWS_CALLBACK_WSI_DESTROY: client_free(c); return 0;
	case LWS_CALLBACK_RAW_ADOPT: /* CONNECT is how one gets there */
	case LWS_CALLBACK_RAW_RX: return -1;
	default: return 0;
	}
}

/*
 * ---- Sessions ----
 */

static void on_tick(uv_timer_t *timer);

static void
start_tick(struct server *s, uint64_t us)
{
	uv_timer_start(&s->tick, on_tick, us / 1000 + 1, 0);
}

static void
on_tick(uv_timer_t *timer)
{
	struct server *s = timer->data;
	uint64_t since = clock_record() - s->output.record_us;

	if (s->open_count == 0)
		return;
	if (since >= SECOND && !output_pressed(&s->output)) {
		output_tick(&s->output);
		since = 0;
	}
	start_tick(s, since < SECOND ? SECOND - since : SECOND);
}

void
server_opened(struct server *s)
{
	s->sessions++;
	if (s->open_count++ == 0)
		start_tick(s, SECOND);
}

void
server_closed(struct server *s)
{
	s->last_open_us = clock_now();
	if (--s->open_count == 0 && s->options->sessions > 0 &&
	    s->sessions >= s->options->sessions && s->command.argv == NULL)
		server_stop(s, CLI_OK, WIRE_CLOSE_GOING_AWAY, "the server shuts down");
}

const char *
server_busy(const struct server *s)
{
	if (s->state != SERVER_RUNNING)
		return "the server shuts down";
	if (s->options->sessions > 0 && s->sessions >= s->options->sessions)
		return "all sessions of this run have been taken";
	if (s->output.raw && s->open_count > 0)
		return "one stream at a time, and one is open";
	return NULL;
}

const char *
server_trouble(const struct server *s)
{
	const char *trouble = output_trouble(&s->output);

	if (trouble == NULL && s->said_stuck)
		trouble = "nobody reads the output";
	if (trouble == NULL && s->state != SERVER_RUNNING)
		trouble = "the server shuts down";
	return trouble;
}

/*
 * ---- Time ----
 */

/* When something arrived last that libwebsockets keeps to itself: a ping, a piece of a header. */
static void
ask_kernel(struct client *c)
{
	struct tcp_info info;
	socklen_t len = sizeof info;
	uint64_t ago;

	if (getsockopt(lws_get_socket_fd(c->wsi), IPPROTO_TCP, TCP_INFO, &info, &len) == -1)
		return; /* a unix socket: its pongs have to do */
	ago = (uint64_t)info.tcpi_last_data_recv * 1000;
	if (ago < clock_now() && clock_now() - ago > c->heard_us + COARSE) {
		c->heard_us = clock_now() - ago;
		c->pinged = false;
	}
}

static void
end_late(struct client *c, uint16_t code, const char *what, uint64_t limit)
{
	char reason[WIRE_MAX_REASON + 1];

	snprintf(reason, sizeof reason, "%s %g s", what, (double)limit / SECOND);
	if (!c->websocket)
		cli_note(c->kind == CLIENT_NEW ? 0 : 1, "%s: closed: %s", c->peer, reason);
	client_end(c, code, reason);
}

/* Is it late with anything? */
static void
check_client(struct client *c)
{
	const struct server_options *o = c->server->options;
	uint64_t now = clock_now();
	bool greeted = c->kind == CLIENT_ECHO ? c->websocket
					      : c->kind == CLIENT_AUDIO && c->audio.session != 0;

	if (c->ending)
		return;
	if (c->kind == CLIENT_REPLIED) {
		if (now - c->since_us >= LINGER)
			client_end(c, WIRE_CLOSE_GOING_AWAY, "");
		return;
	}
	if (!greeted && c->kind != CLIENT_POST) {
		if (o->handshake_timeout > 0 && now - c->since_us >= o->handshake_timeout)
			end_late(c, WIRE_CLOSE_POLICY,
			    c->websocket ? "no handshake within" : "no request within",
			    o->handshake_timeout);
		return;
	}
	if (o->idle_timeout == 0 || (c->kind == CLIENT_AUDIO && c->held))
		return;
	if (now - c->heard_us >= o->idle_timeout / 2 && c->websocket)
		ask_kernel(c);
	if (now - c->heard_us >= o->idle_timeout) {
		end_late(c, WIRE_CLOSE_GOING_AWAY, "nothing received for", o->idle_timeout);
	} else if (now - c->heard_us >= o->idle_timeout / 2 && c->websocket && !c->pinged) {
		c->pinged = c->ping_due = true;
		lws_callback_on_writable(c->wsi);
	}
}

static void
check_clock(struct server *s)
{
	int64_t drift = clock_drift();

	if ((drift <= DRIFT && drift >= -DRIFT) ||
	    (s->drift_said_us != 0 && clock_now() - s->drift_said_us < MINUTE))
		return;
	s->drift_said_us = clock_now();
	cli_warnx("the system's clock was set: it is %.1f s %s the times recorded since the start",
	    (double)(drift < 0 ? -drift : drift) / SECOND, drift < 0 ? "behind" : "ahead of");
}

static void
check_output(struct server *s)
{
	uint64_t since = output_stuck_since(&s->output);
	bool stuck =
	    since != UINT64_MAX && clock_now() - since >= STUCK && !output_full(&s->output);

	if (stuck && !s->said_stuck)
		output_say_stuck(&s->output, s->held_count);
	else if (!stuck && s->said_stuck)
		cli_note(0, "the output is taken again");
	s->said_stuck = stuck;
}

/*
 * ---- The command ----
 */

static void on_sweep(uv_timer_t *timer);

static void
on_command_ended(void *arg, int status)
{
	struct server *s = arg;

	s->command_status = status;
	if (s->state != SERVER_RUNNING)
		return;
	if (status == 0 && s->sessions < s->options->sessions) {
		cli_warnx("%s: ended after %" PRIu32 " of %" PRIu32 " sessions", s->command.argv[0],
		    s->sessions, s->options->sessions);
		s->command_status = CLI_EDATA;
	}
	s->leaving = true;
	s->leaving_us = clock_now();
	listener_close(&s->listener);
	uv_timer_start(&s->sweep, on_sweep, STOPPING_MS, STOPPING_MS);
}

/* Was everything read that it has sent?  What its process had sent when it ended may be much. */
static bool
quiet(const struct client *c)
{
	int unread = 0;

	if (c->held || clock_now() - c->heard_us < QUIET)
		return false;
	return ioctl(lws_get_socket_fd(c->wsi), FIONREAD, &unread) == -1 || unread == 0;
}

/* Those that the command's processes opened end by themselves; others are closed. */
static void
leave(struct server *s)
{
	static const char reason[] = "the server shuts down";
	struct client *c;

	TAILQ_FOREACH(c, &s->clients, all)
	if (!c->ending && quiet(c))
		client_end(c, WIRE_CLOSE_GOING_AWAY, reason);
	if (s->held_count > 0)
		s->leaving_us = clock_now();
	if (s->client_count == 0 || clock_now() - s->leaving_us >= LEAVE)
		server_stop(s, s->command_status, WIRE_CLOSE_GOING_AWAY, reason);
}

static void
on_sweep(uv_timer_t *timer)
{
	struct server *s = timer->data;
	const struct server_options *o = s->options;
	struct client *c, *next;

	if (s->state != SERVER_RUNNING)
		return; /* the turn's end looks how stopping gets on */
	for (c = TAILQ_FIRST(&s->clients); c != NULL; c = next) {
		next = TAILQ_NEXT(c, all);
		check_client(c);
	}
	check_clock(s);
	check_output(s);
	if (s->leaving)
		leave(s);
	if (o->idle_exit > 0 && s->open_count == 0 &&
	    clock_now() - s->last_open_us >= o->idle_exit) {
		cli_note(0, "no stream open for %g s", (double)o->idle_exit / SECOND);
		server_stop(s, s->sessions < o->sessions ? CLI_EDATA : CLI_OK,
		    WIRE_CLOSE_GOING_AWAY, "the server shuts down");
	}
}

/* Often enough for the shortest of the times that it looks after. */
uint64_t
server_sweep_ms(const struct server_options *o)
{
	uint64_t times[] = { o->handshake_timeout, o->idle_timeout, o->idle_exit };
	uint64_t ms = 1000;

	for (size_t i = 0; i < sizeof times / sizeof *times; i++)
		if (times[i] > 0 && times[i] / 4000 < ms)
			ms = times[i] / 4000;
	return ms < 10 ? 10 : ms;
}

/*
 * ---- Turns ----
 */

/* Let those go on who wait longest, a few in each turn: all at once would favour the first ones. */
static void
release_some(struct server *s)
{
	struct client *c;

	for (int i = 0; i < RELEASE_PER_TURN && output_relaxed(&s->output) &&
	     (c = TAILQ_FIRST(&s->held)) != NULL;
	     i++)
		server_release(c);
}

static void
on_again(uv_idle_t *idle)
{
	(void)idle;
}

/* How stopping gets on. */
static void
progress(struct server *s)
{
	const struct output *o = &s->output;
	uint64_t now = clock_now(), since;

	if (s->state == SERVER_CLOSING &&
	    (s->client_count == 0 || now - s->stopped_us >= CLOSING_MS * 1000))
		s->state = SERVER_STORING;
	if (s->state != SERVER_STORING)
		return;
	since = output_stuck_since(o) > s->stopped_us ? output_stuck_since(o) : s->stopped_us;
	if (!output_done(&s->output)) {
		if (output_completing(o)) {
			if (now - s->stopped_us >= STUCK)
				output_say_slow(o);
			return;
		}
		if (now < since || now - since < (output_full(o) ? STUCK_FULL : STUCK))
			return;
	}
	if (s->command.child.pid != 0)
		return; /* it was told to end */
	s->state = SERVER_DONE;
	uv_stop(&s->loop);
}

static void
on_prepare(uv_prepare_t *prepare)
{
	(void)prepare;
	clock_turn(); /* the loop sleeps now */
}

/* The end of a turn. */
static void
on_check(uv_check_t *check)
{
	struct server *s = check->data;
	struct client *c;

	if (s->marked != NULL)
		hold_now(s->marked);
	s->marked = NULL;
	output_turn(&s->output);
	if (s->output.failed)
		server_stop(s, CLI_EFAIL, WIRE_CLOSE_ERROR, "the server's output is gone");
	release_some(s);
	while ((c = TAILQ_FIRST(&s->ending)) != NULL) {
		TAILQ_REMOVE(&s->ending, c, ending_entry);
		c->queued = false;
		close_now(c);
	}
	if (s->held_count > 0 && output_relaxed(&s->output))
		uv_idle_start(&s->again, on_again);
	else
		uv_idle_stop(&s->again);
	progress(s);
	clock_turn();
}

/*
 * ---- Start and end ----
 */

void
server_stop(struct server *s, int status, uint16_t code, const char *reason)
{
	struct client *c;

	if (s->state != SERVER_RUNNING) {
		if (status > s->status || s->status == CLI_OK)
			s->status = status;
		return;
	}
	s->state = SERVER_CLOSING;
	s->status = status;
	s->stopped_us = clock_now();
	listener_close(&s->listener);
	output_use_reserve(&s->output);
	command_signal(&s->command, SIGTERM);
	TAILQ_FOREACH(c, &s->clients, all)
	client_end(c, code, reason);
	uv_timer_start(&s->sweep, on_sweep, STOPPING_MS, STOPPING_MS);
}

static void
on_signal(uv_signal_t *handle, int number)
{
	struct server *s = handle->data;
	const struct client *c;

	switch (number) {
	case SIGHUP: output_rotate(&s->output); break;
	case SIGCHLD: child_reap(); break;
	case SIGUSR1:
		cli_note(-1, "%zu streams open, %zu held back, %zu connections", s->open_count,
		    s->held_count, s->client_count);
		TAILQ_FOREACH(c, &s->clients, all)
		if (c->kind == CLIENT_AUDIO && c->audio.session != 0)
			audio_show(c);
		break;
	default:
		output_stop_salvage(&s->output);
		if (s->state == SERVER_RUNNING && s->command.child.pid != 0 && !s->passed_on) {
			s->passed_on = true; /* everything ends with the command */
			command_signal(&s->command, number);
		} else if (s->state == SERVER_RUNNING && s->command.child.pid == 0) {
			server_stop(s, s->command_status, WIRE_CLOSE_GOING_AWAY,
			    "the server shuts down");
		} else {
			if (s->command.child.pid != 0)
				s->status = command_kill(&s->command);
			server_stop(s, s->status, WIRE_CLOSE_GOING_AWAY, "the server shuts down");
			s->state = SERVER_DONE;
			uv_stop(&s->loop);
		}
	}
}

/* As many descriptors as we may have, within reason.  Returns how many; *beforeo: what we had. */
static size_t
raise_descriptors(struct rlimit *beforeo)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
		return 1024;
	*beforeo = limit;
	if (limit.rlim_cur < MAX_DESCRIPTORS || limit.rlim_cur == RLIM_INFINITY) {
		limit.rlim_cur =
		    limit.rlim_max < MAX_DESCRIPTORS ? limit.rlim_max : MAX_DESCRIPTORS;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	return limit.rlim_cur;
}

static int
init_lws(struct server *s)
{
	static const struct lws_protocols protocols[] = {
		{ "eet", on_event, 0, 0, 0, NULL, 0 },
		{ NULL, NULL, 0, 0, 0, NULL, 0 },
	};
	/* We have timeouts of our own: those of libwebsockets cost a walk of a list per message. */
	static const lws_retry_bo_t no_validity = { .secs_since_valid_hangup = 0 };
	void *loops[] = { &s->loop };
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN,
		.protocols = protocols,
		.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
		.foreign_loops = loops,
		.pt_serv_buf_size = SERVER_READ,
		.timeout_secs = NEVER_SECONDS,
		.timeout_secs_ah_idle = NEVER_SECONDS,
		.retry_and_idle_policy = &no_validity,
		.gid = -1,
		.uid = -1,
		.vhost_name = "eet",
		.user = s,
	};

	lws_set_log_level(LLL_ERR | LLL_WARN, on_lws_log);
	s->context = lws_create_context(&info);
	if (s->context == NULL) {
		cli_warnx("libwebsockets has no context for us; is its libuv plugin installed?");
		return -1;
	}
	info.port = CONTEXT_PORT_NO_LISTEN_SERVER;
	s->vhost = lws_create_vhost(s->context, &info);
	if (s->vhost == NULL) {
		cli_warnx("libwebsockets has no virtual host for us");
		return -1;
	}
	return 0;
}

int
server_init(struct server *s, const struct server_options *options, bool raw, size_t per_client,
    size_t others)
{
	static const int numbers[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD };
	size_t descriptors;
	struct sigaction hang_up;

	memset(s, 0, sizeof *s);
	s->options = options;
	TAILQ_INIT(&s->clients);
	TAILQ_INIT(&s->held);
	TAILQ_INIT(&s->ending);
	descriptors = raise_descriptors(&s->command.files);
	others += OTHER_DESCRIPTORS;
	/* The libraries below crash where they have too few. */
	if (descriptors < others + per_client) {
		cli_warnx("descriptors: the limit is %zu, at least %zu are needed (see ulimit -n)",
		    descriptors, others + per_client);
		return -1;
	}
	s->client_max = (descriptors - others) / per_client;
	uv_loop_init(&s->loop);
	if (init_lws(s) == -1)
		return -1;
	uv_prepare_init(&s->loop, &s->prepare);
	uv_check_init(&s->loop, &s->check);
	uv_idle_init(&s->loop, &s->again);
	uv_timer_init(&s->loop, &s->sweep);
	uv_timer_init(&s->loop, &s->tick);
	sigaction(SIGHUP, NULL, &hang_up);
	s->command.nohup = hang_up.sa_handler == SIG_IGN;
	s->command.ended = on_command_ended;
	s->command.arg = s;
	s->check.data = s->sweep.data = s->tick.data = s;
	uv_prepare_start(&s->prepare, on_prepare);
	uv_check_start(&s->check, on_check);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		uv_signal_init(&s->loop, &s->signals[i]);
		s->signals[i].data = s;
		uv_signal_start(&s->signals[i], on_signal, numbers[i]);
	}
	output_init(&s->output, &s->loop, raw);
	return 0;
}

/* Close and free everything. */
static void
destroy(struct server *s)
{
	listener_close(&s->listener);
	uv_close((uv_handle_t *)&s->prepare, NULL);
	uv_close((uv_handle_t *)&s->check, NULL);
	uv_close((uv_handle_t *)&s->again, NULL);
	uv_close((uv_handle_t *)&s->sweep, NULL);
	uv_close((uv_handle_t *)&s->tick, NULL);
	for (size_t i = 0; i < sizeof s->signals / sizeof *s->signals; i++)
		uv_close((uv_handle_t *)&s->signals[i], NULL);
	if (s->command.argv != NULL)
		command_close(&s->command);
	lws_context_destroy(s->context);
	for (int i = 0; i < 100 && uv_run(&s->loop, UV_RUN_NOWAIT) != 0; i++)
		;
	lws_context_destroy(s->context);
	uv_loop_close(&s->loop);
	output_free(&s->output);
}

int
server_run(struct server *s)
{
	int status;

	s->next_session = s->options->first_session;
	s->listener.accepted = on_accepted;
	s->listener.arg = s;
	if (listener_start(&s->listener, &s->loop) == -1)
		return CLI_EFAIL;
	s->last_open_us = clock_now();
	uv_timer_start(&s->sweep, on_sweep, server_sweep_ms(s->options),
	    server_sweep_ms(s->options));
	if (s->command.argv != NULL &&
	    command_start(&s->command, &s->loop, s->listener.url) == -1) {
		cli_warn("%s", s->command.argv[0]);
		return CLI_EFAIL;
	}
	uv_run(&s->loop, UV_RUN_DEFAULT);

	status = output_close_sinks(&s->output);
	destroy(s);
	return status != CLI_OK ? status : s->status;
}
