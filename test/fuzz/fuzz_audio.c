/*
 * /ws, without its sockets: messages, each as how it comes (a byte), its length (u16) and bytes.
 * However they are cut into pieces, the same is stored, and the same is said to who breaks the rules.
 */
#include "../../cmd/eet-listen/audio.h"

#include "fuzz.h"

#include "bytes.h"
#include "cli.h"

enum { MAX_MESSAGES = 32 };

struct message {
	bool text;
	bool frames;  /* each piece is a frame; else one frame arrives in pieces */
	size_t piece; /* bytes of each */
	const uint8_t *p;
	size_t len;
};

/* What libwebsockets says of the piece that is delivered. */
static bool first, last, text;
static size_t remaining;

/* What came of it: FNV-1a of all that was stored, and how it ended. */
static uint64_t stored;
static unsigned opened, closed;
static bool ended;
static uint16_t code;
static char reason[WIRE_MAX_REASON + 1];

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

size_t
lws_remaining_packet_payload(struct lws *wsi)
{
	(void)wsi;
	return remaining;
}

static void
store(const void *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		stored = (stored ^ ((const uint8_t *)p)[i]) * UINT64_C(0x100000001b3);
}

void
output_open(struct output *o, uint32_t session, const uint8_t handshake[WIRE_HANDSHAKE_SIZE],
    const char *peer, const char *tag)
{
	struct wire_handshake h;
	struct wire_fault fault;

	(void)o, (void)peer, (void)tag;
	require(session == 1 && opened == 0);
	require(wire_parse_handshake(handshake, WIRE_HANDSHAKE_SIZE, &h, &fault));
	opened++;
	store(handshake, WIRE_HANDSHAKE_SIZE);
}

void
output_frame(struct output *o, uint32_t session, const uint8_t *frame, size_t len)
{
	(void)o;
	require(session == 1 && opened == 1 && closed == 0 && !ended);
	store(&len, sizeof len);
	store(frame, len);
}

void
output_close(struct output *o, uint32_t session, uint16_t close_code, const char *why)
{
	(void)o, (void)why;
	require(session == 1 && opened == 1 && closed == 0);
	require(!ended || close_code == code);
	closed++;
}

bool
output_pressed(const struct output *o)
{
	(void)o;
	return true;
}

void
server_hold(struct client *c)
{
	(void)c;
}

void
server_opened(struct server *s)
{
	(void)s;
}

void
server_closed(struct server *s)
{
	(void)s;
}

const char *
server_busy(const struct server *s)
{
	(void)s;
	return NULL;
}

void
client_end(struct client *c, uint16_t close_code, const char *why)
{
	require(!ended && strlen(why) <= WIRE_MAX_REASON);
	require(close_code == 1003 || close_code == 1008 || close_code == 1009);
	c->ending = ended = true;
	code = close_code;
	strcpy(reason, why);
	audio_end(c, close_code, why);
}

/* As libwebsockets would, one callback after the other; each in memory of its own. */
static void
deliver(struct client *c, const struct message *m, bool whole)
{
	size_t at = 0, piece;
	uint8_t *copy;

	do {
		piece = whole || m->piece > m->len - at ? m->len - at : m->piece;
		copy = malloc(piece > 0 ? piece : 1);
		require(copy != NULL);
		if (piece > 0)
			memcpy(copy, m->p + at, piece);
		first = at == 0;
		text = m->text;
		last = at + piece == m->len;
		remaining = m->frames ? 0 : m->len - at - piece;
		audio_receive(c, copy, piece);
		free(copy);
		at += piece;
		require(c->audio.have <= c->audio.size || c->audio.message == NULL);
		require(c->audio.size <= WIRE_MAX_MESSAGE);
	} while (at < m->len && !ended);
}

/* All messages of one client; what is stored of them is returned. */
static uint64_t
run(const struct message *m, size_t n, bool whole)
{
	static const struct server_options options = { .max_frame = 1 << 20 };
	struct server s = { .options = &options, .next_session = 1 };
	struct client c = { .server = &s, .kind = CLIENT_AUDIO };

	stored = UINT64_C(0xcbf29ce484222325);
	opened = closed = 0;
	ended = false;
	for (size_t i = 0; i < n && !ended; i++)
		deliver(&c, &m[i], whole);
	if (!ended)
		audio_end(&c, WIRE_CLOSE_ABNORMAL, "");
	require(opened == closed);
	audio_free(&c);
	return stored;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct message m[MAX_MESSAGES];
	struct input in = { data, size };
	bool frames = false, whole_ended;
	char whole_reason[sizeof reason];
	uint16_t whole_code;
	uint64_t whole;
	size_t n = 0;

	cli_level = -1;
	for (; n < MAX_MESSAGES && in.left > 0; n++) {
		uint8_t how = input_byte(&in), low = input_byte(&in);

		m[n].text = (how & 31) == 31;
		m[n].frames = (how & 32) != 0;
		m[n].piece = 1 + (size_t)(how >> 6) * 7;
		m[n].len = low | (size_t)input_byte(&in) << 8;
		m[n].p = input_bytes(&in, &m[n].len);
		frames = frames || m[n].frames;
	}
	whole = run(m, n, true);
	whole_ended = ended;
	whole_code = code;
	strcpy(whole_reason, reason);
	require(run(m, n, false) == whole);
	require(ended == whole_ended && (!ended || code == whole_code));
	/* Of a message in many frames only so much is known as has come. */
	require(!ended || frames || strcmp(reason, whole_reason) == 0);
	return 0;
}
