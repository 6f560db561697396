/*
 * Logs in memory for tests: bytes that grow, and records put on their end.  A log made here ends
 * where its allocation ends, so that a sanitizer sees one byte read too many.
 */
#ifndef EET_TEST_LOGS_H
#define EET_TEST_LOGS_H

#include "bytes.h"
#include "log.h"
#include "wire.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct bytes {
	uint8_t *p;
	size_t len;
};

static inline void
bytes_add(struct bytes *b, const void *p, size_t len)
{
	if (len == 0)
		return;
	b->p = realloc(b->p, b->len + len);
	if (b->p == NULL)
		abort();
	memcpy(b->p + b->len, p, len);
	b->len += len;
}

static inline void
bytes_free(struct bytes *b)
{
	free(b->p);
	b->p = NULL;
	b->len = 0;
}

/* --- frame logs --- */

static inline void
put_handshake(struct bytes *b, const struct wire_handshake *h)
{
	uint8_t out[WIRE_HANDSHAKE_SIZE];

	wire_pack_handshake(out, h);
	bytes_add(b, out, sizeof out);
}

/* Payload bytes that differ from frame to frame, none of which can begin a magic. */
static inline void
put_frame(struct bytes *b, uint16_t codec, uint32_t seq, uint32_t length)
{
	uint8_t *frame = malloc(WIRE_FRAME_HEADER_SIZE + length);

	if (frame == NULL)
		abort();
	wire_pack_frame(frame, codec, length, seq);
	for (uint32_t i = 0; i < length; i++)
		frame[WIRE_FRAME_HEADER_SIZE + i] = (uint8_t)((seq * 7 + i * 3) % 64);
	bytes_add(b, frame, WIRE_FRAME_HEADER_SIZE + length);
	free(frame);
}

/* --- mux logs --- */

static inline void
put_record(struct bytes *b, uint32_t session, int kind, uint64_t time_us, const void *body,
    size_t len)
{
	uint8_t head[LOG_HEADER_SIZE];

	log_pack_header(head, session, (enum log_kind)kind, time_us, (uint32_t)len);
	bytes_add(b, head, sizeof head);
	bytes_add(b, body, len);
}

static inline void
put_open(struct bytes *b, uint32_t session, uint64_t time_us, const struct wire_handshake *h,
    const char *keys)
{
	struct bytes body = { 0 };

	put_handshake(&body, h);
	bytes_add(&body, keys, strlen(keys));
	put_record(b, session, LOG_KIND_OPEN, time_us, body.p, body.len);
	bytes_free(&body);
}

static inline void
put_mux_frame(struct bytes *b, uint32_t session, uint64_t time_us, uint16_t codec, uint32_t seq,
    uint32_t length)
{
	struct bytes body = { 0 };

	put_frame(&body, codec, seq, length);
	put_record(b, session, LOG_KIND_FRAME, time_us, body.p, body.len);
	bytes_free(&body);
}

static inline void
put_close(struct bytes *b, uint32_t session, uint64_t time_us, uint16_t code, const char *reason)
{
	uint8_t out[LOG_MAX_CLOSE];

	bytes_add(b, out, log_pack_close(out, session, time_us, code, reason, strlen(reason)));
}

static inline void
put_empty(struct bytes *b, int kind, uint64_t time_us)
{
	put_record(b, 0, kind, time_us, NULL, 0);
}

#endif
