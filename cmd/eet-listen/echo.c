/*
 * See echo.h.  Pieces wait in one buffer, each behind a small header of its own: its length and
 * how it is sent.  A client that does not read its echo is read no more when MAX_WAITING bytes
 * wait; what one read brings can come on top of that.
 *
 * Text has to be valid UTF-8 (RFC 6455, section 8.1).
 */
#include "echo.h"

#include "clock.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_WAITING = 64 << 10, FIRST_SIZE = 512 };

struct piece {
	uint32_t len;
	uint32_t how; /* enum lws_write_protocol */
};

/* Append a piece.  False: no memory. */
static bool
append(struct echo *e, const uint8_t *in, size_t len, int how)
{
	struct piece piece = { (uint32_t)len, (uint32_t)how };
	size_t need, size;
	uint8_t *p;

	/* What was sent makes room when it is half of all, so that each byte moves once at most. */
	if (e->done > LWS_PRE && e->done >= e->end / 2) {
		memmove(e->pieces + LWS_PRE, e->pieces + e->done, e->end - e->done);
		e->end -= e->done - LWS_PRE;
		e->done = LWS_PRE;
	}
	if (e->pieces == NULL) {
		if ((e->pieces = malloc(FIRST_SIZE)) == NULL)
			return false;
		e->size = FIRST_SIZE;
		e->done = e->end = LWS_PRE; /* libwebsockets writes its header before a piece */
	}
	need = e->end + sizeof piece + len;
	if (need > e->size) {
		for (size = e->size; size < need;)
			size *= 2;
		if ((p = realloc(e->pieces, size)) == NULL)
			return false;
		e->pieces = p;
		e->size = size;
	}
	memcpy(e->pieces + e->end, &piece, sizeof piece);
	if (len > 0)
		memcpy(e->pieces + e->end + sizeof piece, in, len);
	e->end = need;
	return true;
}

void
echo_receive(struct client *c, const uint8_t *in, size_t len)
{
	struct echo *e = &c->echo;
	bool last = lws_is_final_fragment(c->wsi);
	int how = LWS_WRITE_CONTINUATION;

	if (lws_is_first_fragment(c->wsi)) {
		e->text = !lws_frame_is_binary(c->wsi);
		e->utf8 = 0;
		how = e->text ? LWS_WRITE_TEXT : LWS_WRITE_BINARY;
	}
	if (!last)
		how |= LWS_WRITE_NO_FIN;
	if (e->text && (!utf8_add(&e->utf8, in, len) || (last && e->utf8 != 0))) {
		client_end(c, LWS_CLOSE_STATUS_INVALID_PAYLOAD, "text that is not valid UTF-8");
		return;
	}
	if (!append(e, in, len, how)) {
		client_end(c, WIRE_CLOSE_ERROR, "out of memory");
		return;
	}
	lws_callback_on_writable(c->wsi);
	if (e->end - e->done >= MAX_WAITING)
		server_hold(c);
}

int
echo_writable(struct client *c)
{
	struct echo *e = &c->echo;
	struct piece piece;

	while (e->done < e->end) {
		if (lws_send_pipe_choked(c->wsi)) {
			lws_callback_on_writable(c->wsi);
			return 0;
		}
		memcpy(&piece, e->pieces + e->done, sizeof piece);
		e->done += sizeof piece;
		if (lws_write(c->wsi, e->pieces + e->done, piece.len,
			(enum lws_write_protocol)piece.how) < 0)
			return -1;
		e->done += piece.len;
		c->heard_us = clock_now(); /* it reads: that is a sign of life, too */
	}
	echo_free(c);
	server_release(c);
	return 0;
}

void
echo_free(struct client *c)
{
	struct echo *e = &c->echo;

	free(e->pieces);
	e->pieces = NULL;
	e->done = e->end = e->size = 0;
}
