/*
 * See audio.h.  A message that is whole in one callback (nearly all are) is checked where it lies
 * and copied once, into the output.  Pieces of others are gathered; the first ones are enough to
 * refuse a message that has no right to be, whatever length it claims.
 */
#include "audio.h"

#include "cli.h"
#include "clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_SIZE = 512 }; /* of the buffer for pieces; it doubles up to the limit */

/* The longest message that is due. */
static size_t
limit(const struct audio *a)
{
	if (a->session == 0)
		return WIRE_MAX_FIRST_MESSAGE;
	return WIRE_FRAME_HEADER_SIZE + wire_max_payload(&a->stream.format);
}

static void
drop_message(struct audio *a)
{
	free(a->message);
	a->message = NULL;
	a->have = a->size = 0;
}

static void
refuse(struct client *c, const struct wire_fault *fault)
{
	drop_message(&c->audio);
	client_end(c, fault->code, fault->reason);
}

/* Who it is, for messages: "127.0.0.1:4711", "127.0.0.1:4711 (kitchen)". */
static const char *
who(const struct client *c)
{
	static char buf[LISTEN_PEER + WIRE_MAX_TAG + 4];

	if (c->tag[0] == '\0')
		return c->peer;
	snprintf(buf, sizeof buf, "%s (%s)", c->peer, c->tag);
	return buf;
}

static void
take_handshake(struct client *c, const uint8_t *buf, size_t len)
{
	struct server *s = c->server;
	struct audio *a = &c->audio;
	struct wire_handshake h;
	struct wire_fault fault;
	const char *busy;
	uint64_t longest;

	if (!wire_parse_handshake(buf, len, &h, &fault)) {
		refuse(c, &fault);
		return;
	}
	longest = WIRE_FRAME_HEADER_SIZE + (uint64_t)wire_max_payload(&h);
	if (longest > s->options->max_frame) {
		fault.code = WIRE_CLOSE_POLICY;
		snprintf(fault.reason, sizeof fault.reason,
		    "handshake: frames of up to %" PRIu64 " bytes, at most %" PRIu64
		    " here (channels %u, frame_samples %u)",
		    longest, s->options->max_frame, h.channels, h.frame_samples);
		refuse(c, &fault);
		return;
	}
	if ((busy = server_busy(s)) != NULL) {
		client_end(c, WIRE_CLOSE_TRY_LATER, busy);
		return;
	}
	a->session = s->next_session++;
	stream_init(&a->stream, &h);
	output_open(&s->output, a->session, buf, c->peer, c->tag);
	server_opened(s);
	cli_note(0,
	    "%s: session %" PRIu32 " opened: stream %" PRIu32 ", %s, %" PRIu32
	    " Hz, %u channel%s, %u samples a frame",
	    who(c), a->session, h.stream_id, wire_codec_name(h.codec), h.sample_rate, h.channels,
	    h.channels == 1 ? "" : "s", h.frame_samples);
}

static void
take_frame(struct client *c, const uint8_t *buf, size_t len)
{
	struct audio *a = &c->audio;
	struct stream *st = &a->stream;
	struct wire_frame frame;
	struct wire_fault fault;

	if (!wire_parse_frame(&st->format, buf, len, &frame, &fault)) {
		refuse(c, &fault);
		return;
	}
	stream_take(st, frame.seq, stream_look(st, frame.seq),
	    stream_samples_any(&st->format, frame.length));
	output_frame(&c->server->output, a->session, buf, len);
}

static void
take_message(struct client *c, const uint8_t *buf, size_t len)
{
	if (c->audio.session == 0)
		take_handshake(c, buf, len);
	else
		take_frame(c, buf, len);
}

/* Keep a piece: no more than the limit, however long the message claims to be. */
static bool
gather(struct audio *a, const uint8_t *in, size_t len)
{
	size_t need, size;
	uint8_t *p;

	if (len > limit(a) - a->have)
		len = limit(a) - a->have;
	need = a->have + len;
	if (need > a->size) {
		for (size = a->size > 0 ? a->size : FIRST_SIZE; size < need;)
			size *= 2;
		if (size > limit(a))
			size = limit(a);
		if ((p = realloc(a->message, size)) == NULL)
			return false;
		a->message = p;
		a->size = size;
	}
	if (len > 0)
		memcpy(a->message + a->have, in, len);
	a->have = need;
	return true;
}

void
audio_receive(struct client *c, const uint8_t *in, size_t len)
{
	struct audio *a = &c->audio;
	struct wire_handshake *h = a->session == 0 ? NULL : &a->stream.format;
	bool first = lws_is_first_fragment(c->wsi), last = lws_is_final_fragment(c->wsi);
	struct wire_fault fault;

	if (!lws_frame_is_binary(c->wsi)) {
		client_end(c, WIRE_CLOSE_UNSUPPORTED, "text message, audio is sent in binary ones");
		return;
	}
	if (first && last) {
		take_message(c, in, len);
	} else {
		if (first) {
			drop_message(a);
			a->total = 0;
		}
		a->total += len;
		if (!gather(a, in, len)) {
			client_end(c, WIRE_CLOSE_ERROR, "out of memory");
			return;
		}
		/* A frame's header is waited for, so that the same fault has always the same reason. */
		if ((last || a->have >= WIRE_FRAME_HEADER_SIZE) &&
		    !wire_check_start(h, a->message, a->have,
			a->total + lws_remaining_packet_payload(c->wsi), &fault)) {
			refuse(c, &fault);
			return;
		}
		if (!last)
			return;
		take_message(c, a->message, a->have);
		drop_message(a);
	}
	if (output_pressed(&c->server->output))
		server_hold(c);
}

void
audio_end(struct client *c, uint16_t code, const char *reason)
{
	struct audio *a = &c->audio;
	const struct stream *st = &a->stream;

	drop_message(a);
	if (a->session == 0) {
		if (c->close_code != 0)
			cli_note(0, "%s: refused: %u %s", who(c), code, reason);
		else
			cli_note(1, "%s: closed without a handshake", who(c));
		return;
	}
	output_close(&c->server->output, a->session, code, reason);
	cli_note(0,
	    "%s: session %" PRIu32 " closed: %u%s%s, %" PRIu64 " frames, %.3f s, %" PRIu64 " gaps",
	    who(c), a->session, code, reason[0] != '\0' ? " " : "", reason, st->frames,
	    (double)st->samples / st->format.sample_rate, st->gaps);
	a->session = 0;
	server_closed(c->server);
}

void
audio_free(struct client *c)
{
	drop_message(&c->audio);
}

void
audio_show(const struct client *c)
{
	const struct audio *a = &c->audio;
	const struct stream *st = &a->stream;

	cli_note(-1,
	    "%s: session %" PRIu32 ": stream %" PRIu32 ", %s, %" PRIu32
	    " Hz, %u channel%s, %" PRIu64 " frames, %.3f s, %" PRIu64 " gaps, %" PRIu64
	    " repeats, %" PRIu64 " restarts%s",
	    who(c), a->session, st->format.stream_id, wire_codec_name(st->format.codec),
	    st->format.sample_rate, st->format.channels, st->format.channels == 1 ? "" : "s",
	    st->frames, (double)st->samples / st->format.sample_rate, st->gaps, st->repeats,
	    st->restarts, c->held ? ", held back" : "");
}
