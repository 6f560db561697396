/*
 * See http.h.  Every connection is closed after its reply: what libwebsockets 4.1 does between two
 * requests on one connection has let requests read freed memory.
 */
#include "http.h"

#include "post.h"

#include "cli.h"
#include "clock.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

enum { MAX_PATH = 256 };

struct request {
	enum lws_token_indexes method; /* its URI token */
	char path[MAX_PATH];           /* without the query */
};

/* Method and path.  False: neither is known, or the path is too long to be one of ours. */
static bool
get_request(struct lws *wsi, struct request *r)
{
	static const enum lws_token_indexes methods[] = {
		WSI_TOKEN_GET_URI,
		WSI_TOKEN_HEAD_URI,
		WSI_TOKEN_POST_URI,
		WSI_TOKEN_PUT_URI,
		WSI_TOKEN_PATCH_URI,
		WSI_TOKEN_DELETE_URI,
		WSI_TOKEN_OPTIONS_URI,
	};

	for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
		if (lws_hdr_total_length(wsi, methods[i]) > 0) {
			r->method = methods[i];
			return lws_hdr_copy(wsi, r->path, sizeof r->path, methods[i]) > 0;
		}
	return false;
}

/* Is there a body that the client may still be sending? */
static bool
has_body(struct lws *wsi)
{
	return lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH) > 0 ||
	    lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING) > 0;
}

/*
 * Reply, and close.  status is "404 Not Found"; headers are whole lines.  A client that is still
 * sending gets time to read the reply: closing at once would reset the connection.
 */
static int
reply(struct client *c, const char *status, const char *headers, const char *text)
{
	char buf[LWS_PRE + 1024];
	bool head = lws_hdr_total_length(c->wsi, WSI_TOKEN_HEAD_URI) > 0;
	int len;

	len = snprintf(buf + LWS_PRE, sizeof buf - LWS_PRE,
	    "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
	    "Cache-Control: no-store\r\nConnection: close\r\n%s\r\n%s",
	    status, strlen(text), headers, head ? "" : text);
	if (lws_write(c->wsi, (unsigned char *)buf + LWS_PRE, (size_t)len, LWS_WRITE_HTTP_HEADERS) <
	    0)
		return -1;
	c->kind = CLIENT_REPLIED;
	c->since_us = clock_now();
	if (!has_body(c->wsi) || lws_hdr_total_length(c->wsi, WSI_TOKEN_HTTP_EXPECT) > 0)
		return -1;
	shutdown(lws_get_socket_fd(c->wsi), SHUT_WR);
	return 0;
}

static int
not_found(struct client *c)
{
	return reply(c, "404 Not Found", "",
	    "nothing is here: see /ws, /ws/echo, /echo, /healthz\n");
}

static int
unavailable(struct client *c, const char *why)
{
	char text[WIRE_MAX_REASON + 2];

	snprintf(text, sizeof text, "%s\n", why);
	return reply(c, "503 Service Unavailable", "Retry-After: 5\r\n", text);
}

static void
turn_away(struct client *c, const char *why)
{
	cli_note(0, "%s: refused: 503 %s", c->peer, why);
	unavailable(c, why);
}

/* The value of a header that must be that token, in any case. */
static bool
header_is(struct lws *wsi, enum lws_token_indexes header, const char *value)
{
	char buf[64];

	return lws_hdr_copy(wsi, buf, sizeof buf, header) > 0 && strcasecmp(buf, value) == 0;
}

/* The WebSocket at that path, into c->kind and c->tag.  False: there is none. */
static bool
get_endpoint(struct client *c, const char *path)
{
	if (strcmp(path, "/ws/echo") == 0) {
		c->kind = CLIENT_ECHO;
		return true;
	}
	if (strcmp(path, "/ws") != 0) {
		const char *tag = path + 4;

		if (strncmp(path, "/ws/", 4) != 0 || !wire_tag_valid(tag, strlen(tag)))
			return false;
		memcpy(c->tag, tag, strlen(tag) + 1);
	}
	c->kind = CLIENT_AUDIO;
	return true;
}

/* What libwebsockets would close the connection for without a word. */
static const char *
upgrade_fault(struct lws *wsi)
{
	char buf[256];

	if (lws_hdr_total_length(wsi, WSI_TOKEN_HOST) <= 0)
		return "no Host header\n";
	if (lws_hdr_total_length(wsi, WSI_TOKEN_KEY) <= 0 ||
	    lws_hdr_total_length(wsi, WSI_TOKEN_KEY) > 64)
		return "no usable Sec-WebSocket-Key header\n";
	if (lws_hdr_copy(wsi, buf, 128, WSI_TOKEN_CONNECTION) <= 0 ||
	    strcasestr(buf, "upgrade") == NULL)
		return "no Connection: Upgrade header\n";
	if (lws_hdr_total_length(wsi, WSI_TOKEN_PROTOCOL) > 0)
		return "no subprotocol is known here: leave Sec-WebSocket-Protocol out\n";
	return NULL;
}

int
http_upgrade(struct client *c)
{
	struct lws *wsi = c->wsi;
	struct request r;
	const char *why;

	/* Without its headers the request was answered already, and they are freed. */
	if (lws_hdr_total_length(wsi, WSI_TOKEN_UPGRADE) <= 0)
		return -1;
	if (!get_request(wsi, &r))
		not_found(c);
	else if (r.method != WSI_TOKEN_GET_URI)
		reply(c, "400 Bad Request", "", "Upgrade is for GET\n");
	else if (!header_is(wsi, WSI_TOKEN_UPGRADE, "websocket"))
		http_request(c); /* another protocol was offered, not demanded */
	else if (!get_endpoint(c, r.path))
		not_found(c);
	else if (!header_is(wsi, WSI_TOKEN_VERSION, "13"))
		reply(c, "426 Upgrade Required",
		    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
		    "Sec-WebSocket-Version must be 13\n");
	else if ((why = upgrade_fault(wsi)) != NULL)
		reply(c, "400 Bad Request", "", why);
	else if (c->kind == CLIENT_AUDIO && (why = server_busy(c->server)) != NULL)
		turn_away(c, why);
	else
		return 0;
	return -1;
}

static int
health(struct client *c)
{
	const char *trouble = server_trouble(c->server);

	return trouble == NULL ? reply(c, "200 OK", "", "ok\n") : unavailable(c, trouble);
}

int
http_request(struct client *c)
{
	struct request r;
	bool get;

	if (!get_request(c->wsi, &r))
		return not_found(c);
	get = r.method == WSI_TOKEN_GET_URI || r.method == WSI_TOKEN_HEAD_URI;
	if (strcmp(r.path, "/healthz") == 0) {
		if (!get)
			return reply(c, "405 Method Not Allowed", "Allow: GET, HEAD\r\n",
			    "GET or HEAD\n");
		return health(c);
	}
	if (strcmp(r.path, "/echo") == 0) {
		const char *headers, *text, *status;

		if (r.method != WSI_TOKEN_POST_URI)
			return reply(c, "405 Method Not Allowed", "Allow: POST\r\n", "POST\n");
		status = post_start(c, &headers, &text);
		return status == NULL ? 0 : reply(c, status, headers, text);
	}
	if (get_endpoint(c, r.path)) {
		if (!get)
			return reply(c, "405 Method Not Allowed", "Allow: GET\r\n", "GET\n");
		return reply(c, "426 Upgrade Required",
		    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n",
		    "this is a WebSocket\n");
	}
	return not_found(c);
}
