/*
 * Requests, as libwebsockets has taken them apart.  The first byte: method, and what the server is
 * at; then the path (up to a newline) and headers: which (a byte), and its value (up to a newline).
 * Every request gets one whole reply, or the WebSocket or echo that it has a right to, and nothing
 * that it sends gets into the head of a reply.
 */
#include "../../cmd/eet-listen/http.h"

#include "../../cmd/eet-listen/clock.h"
#include "../../cmd/eet-listen/post.h"
#include "cli.h"
#include "fuzz.h"

#include <ctype.h>
#include <strings.h>

enum { TOKENS = WSI_TOKEN_COUNT, MAX_REPLY = 2048 };

static char *headers[TOKENS];
static char reply[MAX_REPLY];
static size_t replied;
static bool busy, ill;

int
lws_hdr_total_length(struct lws *wsi, enum lws_token_indexes h)
{
	(void)wsi;
	return headers[h] != NULL ? (int)strlen(headers[h]) : 0;
}

/* libwebsockets' own contract: -1 and nothing if there is no room for value and NUL. */
int
lws_hdr_copy(struct lws *wsi, char *dest, int len, enum lws_token_indexes h)
{
	int n = lws_hdr_total_length(wsi, h);

	*dest = '\0';
	if (n == 0)
		return 0;
	if (n >= len)
		return -1;
	strcpy(dest, headers[h]);
	return n;
}

int
lws_write(struct lws *wsi, unsigned char *buf, size_t len, enum lws_write_protocol how)
{
	(void)wsi, (void)how;
	require(replied + len < MAX_REPLY);
	memcpy(reply + replied, buf, len);
	replied += len;
	return (int)len;
}

lws_sockfd_type
lws_get_socket_fd(struct lws *wsi)
{
	(void)wsi;
	return -1;
}

int
lws_rx_flow_control(struct lws *wsi, int enable)
{
	(void)wsi, (void)enable;
	return 0;
}

int
lws_callback_on_writable(struct lws *wsi)
{
	(void)wsi;
	return 0;
}

int
lws_partial_buffered(struct lws *wsi)
{
	(void)wsi;
	return 0;
}

uint64_t
clock_now(void)
{
	return 0;
}

const char *
server_busy(const struct server *s)
{
	(void)s;
	return busy ? "busy" : NULL;
}

const char *
server_trouble(const struct server *s)
{
	(void)s;
	return ill ? "ill" : NULL;
}

static const enum lws_token_indexes methods[] = { WSI_TOKEN_GET_URI, WSI_TOKEN_HEAD_URI,
	WSI_TOKEN_POST_URI, WSI_TOKEN_PUT_URI, WSI_TOKEN_PATCH_URI, WSI_TOKEN_DELETE_URI,
	WSI_TOKEN_OPTIONS_URI, WSI_TOKEN_CONNECT };

/* The value of a header line in reply[from ..), without its end; NULL: there is none. */
static const char *
line_of(const char *from, const char *name)
{
	static char value[MAX_REPLY];
	const char *p = strstr(from, name), *end = strstr(from, "\r\n\r\n");

	if (p == NULL || p > end)
		return NULL;
	p += strlen(name);
	memcpy(value, p, strcspn(p, "\r"));
	value[strcspn(p, "\r")] = '\0';
	return value;
}

/* One status line, lines of headers, an empty line: its status.  *bodyo: what is behind it. */
static int
check_head(const char *p, const char **bodyo)
{
	const char *end = strstr(p, "\r\n\r\n");
	int status;

	require(end != NULL && sscanf(p, "HTTP/1.1 %3d ", &status) == 1);
	for (const char *q = p; q < end; q++)
		require(isprint((unsigned char)*q) || strncmp(q, "\r\n", 2) == 0 ||
		    (*q == '\n' && q[-1] == '\r'));
	*bodyo = end + 4;
	return status;
}

/* A reply that is all there is. */
static int
check_reply(bool head)
{
	const char *body, *length;
	int status = check_head(reply, &body);

	require((length = line_of(reply, "\r\nContent-Length: ")) != NULL);
	require(strlen(body) == (head ? 0 : strtoul(length, NULL, 10)));
	require(strcmp(line_of(reply, "\r\nConnection: "), "close") == 0 || status == 426);
	return status;
}

static void
check_path(const struct client *c, const char *path)
{
	if (c->kind == CLIENT_ECHO)
		require(strcmp(path, "/ws/echo") == 0);
	else if (c->tag[0] == '\0')
		require(c->kind == CLIENT_AUDIO && strcmp(path, "/ws") == 0);
	else
		require(c->kind == CLIENT_AUDIO && strncmp(path, "/ws/", 4) == 0 &&
		    strcmp(path + 4, c->tag) == 0 && wire_tag_valid(c->tag, strlen(c->tag)));
}

/* Granted: then it was asked for in all that RFC 6455 (section 4.2.1) demands. */
static void
check_upgrade(const struct client *c, const char *path)
{
	require(replied == 0 && headers[WSI_TOKEN_GET_URI] != NULL);
	check_path(c, path);
	require(strcasecmp(headers[WSI_TOKEN_UPGRADE], "websocket") == 0);
	require(headers[WSI_TOKEN_CONNECTION] != NULL && headers[WSI_TOKEN_HOST] != NULL &&
	    headers[WSI_TOKEN_KEY] != NULL && strcmp(headers[WSI_TOKEN_VERSION], "13") == 0);
	require(!busy || c->kind == CLIENT_ECHO);
}

/* An echo begins: with as long a body as was announced. */
static void
check_echo(void)
{
	const char *go_on = headers[WSI_TOKEN_HTTP_EXPECT], *body = reply;
	uint64_t said, echoed;

	if (go_on != NULL)
		require(strcasecmp(go_on, "100-continue") == 0 && check_head(reply, &body) == 100);
	require(cli_parse_number(headers[WSI_TOKEN_HTTP_CONTENT_LENGTH], 0, INT64_MAX, &said));
	require(cli_parse_number(line_of(body, "\r\nContent-Length: "), 0, INT64_MAX, &echoed));
	require(said == echoed && check_head(body, &body) == 200 && *body == '\0');
}

/* Text up to a newline; to be freed. */
static char *
take_line(struct input *in)
{
	const uint8_t *nl = in->left > 0 ? memchr(in->p, '\n', in->left) : NULL;
	size_t len = nl != NULL ? (size_t)(nl - in->p) : in->left;
	char *text = input_text(in, &len);

	input_byte(in);
	return text;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct client c = { .kind = CLIENT_NEW, .peer = "peer" };
	struct input in = { data, size };
	uint8_t how = input_byte(&in);
	enum lws_token_indexes method = methods[how & 7];
	char *path;
	int status;

	cli_level = -1;
	busy = (how & 8) != 0;
	ill = (how & 16) != 0;
	memset(headers, 0, sizeof headers);
	memset(reply, 0, sizeof reply);
	replied = 0;
	path = take_line(&in);
	headers[method] = path;
	while (in.left > 0) {
		char **value = &headers[input_byte(&in) % TOKENS], *text = take_line(&in);
		bool is_method = false;

		for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
			is_method |= value == &headers[methods[i]];
		if (is_method || *value != NULL || text[0] == '\0')
			free(text);
		else
			*value = text;
	}
	if (lws_hdr_total_length(NULL, WSI_TOKEN_UPGRADE) > 0) {
		status = http_upgrade(&c);
		if (status == 0)
			check_upgrade(&c, path);
	} else {
		status = http_request(&c);
	}
	if (c.kind == CLIENT_POST) {
		require(strcmp(path, "/echo") == 0 && method == WSI_TOKEN_POST_URI);
		check_echo();
		require(status == 0 || headers[WSI_TOKEN_UPGRADE] != NULL);
		post_free(&c);
	} else if (status == -1 || c.kind == CLIENT_REPLIED) {
		int code = check_reply(method == WSI_TOKEN_HEAD_URI && path[0] != '\0');

		require(c.kind == CLIENT_REPLIED);
		require(code != 200 || (strcmp(path, "/healthz") == 0 && !ill));
	}
	for (size_t i = 0; i < TOKENS; i++)
		free(headers[i]);
	return 0;
}
