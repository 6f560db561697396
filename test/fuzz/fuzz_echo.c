/*
 * /ws/echo, without its sockets: pieces of messages, each as how it comes (a byte), its length (u16)
 * and bytes.  What goes back is what came, message for message, however slowly it is taken; text
 * that is no UTF-8 ends it.
 */
#include "../../cmd/eet-listen/echo.h"

#include "../../cmd/eet-listen/clock.h"
#include "fuzz.h"
#include "utf8.h"

/* What libwebsockets says of the piece that is delivered. */
static bool first = true, last, text;
static unsigned choked; /* so many pieces more, and there is no room */

/* What came and what went, each as messages: b or t, the bytes, and a dot. */
static uint8_t *came, *went;
static size_t came_len, went_len;
static bool ended, held, between = true; /* went: between two messages */

int
lws_is_first_fragment(struct lws *wsi)
{
	(void)wsi;
	return first;
}

int
lws_is_final_fragment(struct lws *wsi)
{
	(void)wsi;
	return last;
}

int
lws_frame_is_binary(struct lws *wsi)
{
	(void)wsi;
	return !text;
}

int
lws_callback_on_writable(struct lws *wsi)
{
	(void)wsi;
	return 0;
}

int
lws_send_pipe_choked(struct lws *wsi)
{
	(void)wsi;
	return choked == 0 ? 1 : (choked--, 0);
}

int
lws_write(struct lws *wsi, unsigned char *buf, size_t len, enum lws_write_protocol how)
{
	static unsigned char before[LWS_PRE];
	bool binary = (how & 0x1f) == LWS_WRITE_BINARY,
	     begins = binary || (how & 0x1f) == LWS_WRITE_TEXT;

	(void)wsi;
	memcpy(buf - LWS_PRE, before, LWS_PRE); /* as it does: that room is its own */
	require(begins == between);
	between = (how & LWS_WRITE_NO_FIN) == 0;
	if (begins)
		went[went_len++] = binary ? 'b' : 't';
	memcpy(went + went_len, buf, len);
	went_len += len;
	if (between)
		went[went_len++] = '.';
	return (int)len;
}

uint64_t
clock_now(void)
{
	return 0;
}

void
server_hold(struct client *c)
{
	(void)c;
	held = true;
}

void
server_release(struct client *c)
{
	(void)c;
	held = false;
}

void
client_end(struct client *c, uint16_t code, const char *why)
{
	(void)why;
	require(code == 1007 && !ended);
	c->ending = ended = true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct client c = { .kind = CLIENT_ECHO };
	struct input in = { data, size };
	size_t message = 0; /* where its bytes begin in came */

	came = malloc(3 * size + 2);
	went = malloc(3 * size + 2);
	require(came != NULL && went != NULL);
	came_len = went_len = 0;
	ended = held = false;
	first = between = true;
	while (in.left > 0 && !ended) {
		uint8_t how = input_byte(&in), low = input_byte(&in);
		size_t len = low | (size_t)input_byte(&in) << 8;
		char *piece = input_text(&in, &len);

		last = (how & 1) != 0;
		if (first) {
			text = (how & 2) != 0;
			came[came_len++] = text ? 't' : 'b';
			message = came_len;
		}
		echo_receive(&c, (uint8_t *)piece, len);
		if (!ended) {
			memcpy(came + came_len, piece, len);
			came_len += len;
			require(!text || !last || utf8_valid(came + message, came_len - message));
			if (last)
				came[came_len++] = '.';
			first = last;
		} else {
			/* It is not for nothing. */
			memcpy(came + came_len, piece, len);
			require(text && !utf8_valid(came + message, came_len + len - message));
		}
		free(piece);
		choked = how >> 4;
		if ((how & 4) != 0)
			require(echo_writable(&c) == 0);
		require(went_len <= came_len && memcmp(went, came, went_len) == 0);
	}
	choked = 1 << 30;
	if (!ended) {
		require(echo_writable(&c) == 0 && !held);
		require(went_len == came_len && memcmp(went, came, went_len) == 0);
	}
	echo_free(&c);
	free(came);
	free(went);
	return 0;
}
