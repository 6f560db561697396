/*
 * See post.h.  What the client does not read yet waits in libwebsockets, at most a few pieces:
 * while something waits there, no more is read.  libwebsockets 4.1 serves a connection that is not
 * read from nothing at all, not even the room to write; so that room is waited for on a second
 * descriptor of the same socket.
 */
#include "post.h"

#include "cli.h"
#include "clock.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct post_wait {
	uv_poll_t poll;
	int fd;
	struct client *client; /* NULL: it is gone, or waits no more */
};

/* The client's Content-Type, if it is harmless in a header of ours. */
static const char *
content_type(struct lws *wsi, char *buf, size_t size)
{
	int len = lws_hdr_copy(wsi, buf, (int)size, WSI_TOKEN_HTTP_CONTENT_TYPE);

	for (int i = 0; i < len; i++)
		if (buf[i] < ' ' || buf[i] > '~')
			return "application/octet-stream";
	return len > 0 ? buf : "application/octet-stream";
}

const char *
post_start(struct client *c, const char **headerso, const char **texto)
{
	struct lws *wsi = c->wsi;
	char buf[LWS_PRE + 512], value[160];
	uint64_t length;
	int len;

	*headerso = "";
	if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING) > 0 ||
	    lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH) <= 0) {
		*texto = "a body needs a Content-Length\n";
		return "411 Length Required";
	}
	if (lws_hdr_copy(wsi, value, sizeof value, WSI_TOKEN_HTTP_CONTENT_LENGTH) <= 0 ||
	    !cli_parse_number(value, 0, INT64_MAX, &length)) {
		*texto = "Content-Length is not a number\n";
		return "400 Bad Request";
	}
	if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_EXPECT) > 0) {
		static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";

		if (lws_hdr_copy(wsi, value, sizeof value, WSI_TOKEN_HTTP_EXPECT) <= 0 ||
		    strcasecmp(value, "100-continue") != 0) {
			*texto = "only 100-continue can be expected\n";
			return "417 Expectation Failed";
		}
		memcpy(buf + LWS_PRE, go_on, sizeof go_on);
		lws_write(wsi, (unsigned char *)buf + LWS_PRE, sizeof go_on - 1,
		    LWS_WRITE_HTTP_HEADERS);
	}
	len = snprintf(buf + LWS_PRE, sizeof buf - LWS_PRE,
	    "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %" PRIu64
	    "\r\nConnection: close\r\n\r\n",
	    content_type(wsi, value, sizeof value), length);
	lws_write(wsi, (unsigned char *)buf + LWS_PRE, (size_t)len, LWS_WRITE_HTTP_HEADERS);
	c->kind = CLIENT_POST;
	return NULL;
}

static void
on_closed(uv_handle_t *handle)
{
	struct post_wait *w = handle->data;

	close(w->fd);
	free(w);
}

/* Wait no more. */
static void
stop_waiting(struct client *c)
{
	struct post_wait *w = c->post.wait;

	if (w == NULL)
		return;
	c->post.wait = NULL;
	w->client = NULL;
	uv_close((uv_handle_t *)&w->poll, on_closed);
}

/* There is room, or an error that libwebsockets will meet when it goes on. */
static void
on_writable(uv_poll_t *poll, int status, int events)
{
	struct client *c = ((struct post_wait *)poll->data)->client;

	(void)status;
	(void)events;
	stop_waiting(c);
	c->heard_us = clock_now();
	lws_rx_flow_control(c->wsi, 1);
	lws_callback_on_writable(c->wsi);
}

/* Read no more until the socket takes more.  False: that can't be. */
static bool
start_waiting(struct client *c)
{
	struct post_wait *w = malloc(sizeof *w);

	if (w == NULL)
		return false;
	w->fd = fcntl(lws_get_socket_fd(c->wsi), F_DUPFD_CLOEXEC, 0);
	if (w->fd == -1 || uv_poll_init(&c->server->loop, &w->poll, w->fd) < 0) {
		if (w->fd != -1)
			close(w->fd);
		free(w);
		return false;
	}
	w->poll.data = w;
	w->client = c;
	c->post.wait = w;
	uv_poll_start(&w->poll, UV_WRITABLE, on_writable);
	lws_rx_flow_control(c->wsi, 0);
	return true;
}

int
post_body(struct client *c, const uint8_t *in, size_t len)
{
	c->heard_us = clock_now();
	if (len > 0 && lws_write(c->wsi, (unsigned char *)in, len, LWS_WRITE_HTTP) < 0)
		return -1;
	if (lws_partial_buffered(c->wsi) && c->post.wait == NULL && !start_waiting(c))
		return -1;
	return 0;
}

int
post_complete(struct client *c)
{
	c->post.complete = true;
	lws_callback_on_writable(c->wsi);
	return lws_partial_buffered(c->wsi) ? 0 : -1;
}

int
post_writable(struct client *c)
{
	return c->post.complete ? -1 : 0;
}

void
post_free(struct client *c)
{
	stop_waiting(c);
}
