/*
 * The wire: one handshake, then audio frames, each one WebSocket binary
 * message (eet-formats(5), "Wire").  A frame log holds the same bytes.
 *
 *	handshake  magic u32, version u16, header_len u16, stream_id u32,
 *	           sample_rate u32, channels u16, codec u16, frame_samples u16,
 *	           reserved u16, timestamp_ms u64
 *	frame      magic u32, length u32, seq u32, payload
 *
 * Nothing here allocates or does I/O.
 */
#ifndef EET_WIRE_H
#define EET_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_MAGIC_HANDSHAKE 0x41445043u
#define WIRE_MAGIC_ADPCM     0x41445046u
#define WIRE_MAGIC_PCM       0x464D4350u

/* 2026-01-01T00:00:00Z, seconds since the epoch: a clock that shows less was never set. */
#define WIRE_CLOCK_SET_S     UINT64_C(1767225600)

enum {
	WIRE_VERSION = 1,
	WIRE_HANDSHAKE_SIZE = 32,
	WIRE_FRAME_HEADER_SIZE = 12,
	WIRE_MAX_RATE = 768000,
	WIRE_MAX_CHANNELS = 64,
	WIRE_MAX_FRAME_SAMPLES = 65535,
	/* A message longer than this before the handshake is too big (1009). */
	WIRE_MAX_FIRST_MESSAGE = 65536,
	/* The longest frame message that any handshake allows: PCM, 64 channels. */
	WIRE_MAX_MESSAGE = WIRE_FRAME_HEADER_SIZE + 2 * WIRE_MAX_CHANNELS * WIRE_MAX_FRAME_SAMPLES,
	WIRE_MAX_REASON = 123
};

enum wire_codec { WIRE_PCM16 = 0, WIRE_ADPCM = 1 };

/* WebSocket close codes in use here: RFC 6455, section 7.4.1; 1013 from the IANA registry. */
enum wire_close {
	WIRE_CLOSE_NORMAL = 1000,
	WIRE_CLOSE_GOING_AWAY = 1001,
	WIRE_CLOSE_UNSUPPORTED = 1003,
	WIRE_CLOSE_ABNORMAL = 1006,
	WIRE_CLOSE_POLICY = 1008,
	WIRE_CLOSE_TOO_BIG = 1009,
	WIRE_CLOSE_ERROR = 1011,
	WIRE_CLOSE_TRY_LATER = 1013
};

struct wire_handshake {
	uint32_t stream_id;
	uint32_t sample_rate; /* Hz */
	uint16_t channels;
	uint16_t codec;         /* enum wire_codec */
	uint16_t frame_samples; /* per channel, in a full frame */
	uint16_t reserved;
	uint64_t timestamp_ms; /* the client's clock, Unix epoch; any value */
};

struct wire_frame {
	uint32_t seq;
	uint32_t length;        /* payload bytes */
	const uint8_t *payload; /* within the buffer that was parsed */
};

/* Why a message is refused: the close code and the reason text sent with it. */
struct wire_fault {
	uint16_t code;
	char reason[WIRE_MAX_REASON + 1];
};

/* "pcm" or "adpcm". */
const char *wire_codec_name(uint16_t codec);

/* The magic that frames of this codec carry. */
uint32_t wire_frame_magic(uint16_t codec);

/* The longest payload in bytes that a frame of this stream may have. */
uint32_t wire_max_payload(const struct wire_handshake *h);

/* True when two streams have the same rate, channels, codec and frame_samples. */
bool wire_same_format(const struct wire_handshake *a, const struct wire_handshake *b);

/* Write *h (reserved included) as 32 bytes. */
void wire_pack_handshake(uint8_t out[WIRE_HANDSHAKE_SIZE], const struct wire_handshake *h);

/*
 * Parse and check the handshake message buf[0..len).  True: *ho is filled.
 * False: *ho is unchanged, *fo says why (the causes in the order of
 * eet-formats(5): magic of another message, length, then each field).
 */
bool wire_parse_handshake(const uint8_t *buf, size_t len, struct wire_handshake *ho,
    struct wire_fault *fo);

/* Write a frame's 12 header bytes. */
void wire_pack_frame(uint8_t out[WIRE_FRAME_HEADER_SIZE], uint16_t codec, uint32_t length,
    uint32_t seq);

/*
 * Parse and check the frame message buf[0..len) of a stream with handshake
 * *h.  True: *fo is filled and points into buf.  False: *fo is unchanged,
 * *fault says why.
 */
bool wire_parse_frame(const struct wire_handshake *h, const uint8_t *buf, size_t len,
    struct wire_frame *fo, struct wire_fault *fault);

/*
 * Refuse a message before all of it is there.  buf[0..have) is its beginning,
 * total is how long it is known to be at least.  h is NULL while the
 * handshake is due.  False: *fo says why.  True: nothing is wrong yet; the
 * whole message still has to be parsed.  To be called with each new piece, it
 * decides on the first 4 bytes (a magic that is not due), then on total.
 */
bool wire_check_start(const struct wire_handshake *h, const uint8_t *buf, size_t have,
    uint64_t total, struct wire_fault *fo);

/* A tag, in tag[0..len): [A-Za-z0-9][A-Za-z0-9._:-]{0,63}, not ending in ".jsonl" in any case. */
bool wire_tag_valid(const char *tag, size_t len);

enum { WIRE_MAX_TAG = 64 };

#endif
