/*
 * See wire.h.  A reason names the field, its value and the limit, for somebody who is writing a
 * sender and sees nothing but this text.
 */
#include "wire.h"

#include "bytes.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool refuse(struct wire_fault *fo, enum wire_close code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static bool
refuse(struct wire_fault *fo, enum wire_close code, const char *fmt, ...)
{
	va_list ap;

	fo->code = (uint16_t)code;
	va_start(ap, fmt);
	vsnprintf(fo->reason, sizeof fo->reason, fmt, ap);
	va_end(ap);
	return false;
}

const char *
wire_codec_name(uint16_t codec)
{
	return codec == WIRE_PCM16 ? "pcm" : "adpcm";
}

uint32_t
wire_frame_magic(uint16_t codec)
{
	return codec == WIRE_PCM16 ? WIRE_MAGIC_PCM : WIRE_MAGIC_ADPCM;
}

uint32_t
wire_max_payload(const struct wire_handshake *h)
{
	if (h->codec == WIRE_PCM16)
		return 2u * h->channels * h->frame_samples;
	return h->channels * (4u + 4u * ((h->frame_samples + 7u) / 8u));
}

bool
wire_same_format(const struct wire_handshake *a, const struct wire_handshake *b)
{
	return a->sample_rate == b->sample_rate && a->channels == b->channels &&
	    a->codec == b->codec && a->frame_samples == b->frame_samples;
}

/* A magic is written as a number by some, as a text by others: the second is big-endian. */
static bool
reversed(const uint8_t *p, uint32_t magic)
{
	return p[0] == magic >> 24 && p[1] == (magic >> 16 & 0xff) && p[2] == (magic >> 8 & 0xff) &&
	    p[3] == (magic & 0xff);
}

/* The reason for a magic that is none of ours; what is "handshake" or "frame". */
static bool
refuse_magic(struct wire_fault *fo, const char *what, const uint8_t *p, uint32_t due)
{
	uint8_t b[4];

	if (!reversed(p, due))
		return refuse(fo, WIRE_CLOSE_POLICY,
		    "%s magic 0x%08" PRIX32 ", must be 0x%08" PRIX32, what, le32_load(p), due);
	le32_store(b, due);
	return refuse(fo, WIRE_CLOSE_POLICY,
	    "%s magic is the text \"%.4s\"; it is the number 0x%08" PRIX32
	    ", little-endian: bytes \"%c%c%c%c\"",
	    what, (const char *)p, due, b[0], b[1], b[2], b[3]);
}

void
wire_pack_handshake(uint8_t out[WIRE_HANDSHAKE_SIZE], const struct wire_handshake *h)
{
	le32_store(out, WIRE_MAGIC_HANDSHAKE);
	le16_store(out + 4, WIRE_VERSION);
	le16_store(out + 6, WIRE_HANDSHAKE_SIZE);
	le32_store(out + 8, h->stream_id);
	le32_store(out + 12, h->sample_rate);
	le16_store(out + 16, h->channels);
	le16_store(out + 18, h->codec);
	le16_store(out + 20, h->frame_samples);
	le16_store(out + 22, h->reserved);
	le64_store(out + 24, h->timestamp_ms);
}

bool
wire_parse_handshake(const uint8_t *buf, size_t len, struct wire_handshake *ho,
    struct wire_fault *fo)
{
	struct wire_handshake h;
	uint16_t version, header_len;

	if (!wire_check_start(NULL, buf, len, len, fo))
		return false;
	if (len >= 4 && reversed(buf, WIRE_MAGIC_HANDSHAKE))
		return refuse_magic(fo, "handshake", buf, WIRE_MAGIC_HANDSHAKE);
	if (len != WIRE_HANDSHAKE_SIZE)
		return refuse(fo, WIRE_CLOSE_POLICY, "handshake of %zu bytes, must be %d", len,
		    WIRE_HANDSHAKE_SIZE);
	if (le32_load(buf) != WIRE_MAGIC_HANDSHAKE)
		return refuse_magic(fo, "handshake", buf, WIRE_MAGIC_HANDSHAKE);

	version = le16_load(buf + 4);
	header_len = le16_load(buf + 6);
	h.stream_id = le32_load(buf + 8);
	h.sample_rate = le32_load(buf + 12);
	h.channels = le16_load(buf + 16);
	h.codec = le16_load(buf + 18);
	h.frame_samples = le16_load(buf + 20);
	h.reserved = le16_load(buf + 22);
	h.timestamp_ms = le64_load(buf + 24);

	if (version != WIRE_VERSION)
		return refuse(fo, WIRE_CLOSE_POLICY, "handshake version %d, must be %d", version,
		    WIRE_VERSION);
	if (header_len != WIRE_HANDSHAKE_SIZE)
		return refuse(fo, WIRE_CLOSE_POLICY, "handshake header_len %d, must be %d",
		    header_len, WIRE_HANDSHAKE_SIZE);
	if (h.sample_rate < 1 || h.sample_rate > WIRE_MAX_RATE)
		return refuse(fo, WIRE_CLOSE_POLICY, "handshake sample_rate %" PRIu32 ", 1 to %d",
		    h.sample_rate, WIRE_MAX_RATE);
	if (h.channels < 1 || h.channels > WIRE_MAX_CHANNELS)
		return refuse(fo, WIRE_CLOSE_POLICY, "handshake channels %d, 1 to %d", h.channels,
		    WIRE_MAX_CHANNELS);
	if (h.codec != WIRE_PCM16 && h.codec != WIRE_ADPCM)
		return refuse(fo, WIRE_CLOSE_POLICY,
		    "handshake codec %d, 0 (PCM16) or 1 (IMA ADPCM)", h.codec);
	if (h.frame_samples < 1)
		return refuse(fo, WIRE_CLOSE_POLICY, "handshake frame_samples %d, 1 to %d",
		    h.frame_samples, WIRE_MAX_FRAME_SAMPLES);
	*ho = h;
	return true;
}

void
wire_pack_frame(uint8_t out[WIRE_FRAME_HEADER_SIZE], uint16_t codec, uint32_t length, uint32_t seq)
{
	le32_store(out, wire_frame_magic(codec));
	le32_store(out + 4, length);
	le32_store(out + 8, seq);
}

bool
wire_parse_frame(const struct wire_handshake *h, const uint8_t *buf, size_t len,
    struct wire_frame *fo, struct wire_fault *fault)
{
	uint32_t magic = wire_frame_magic(h->codec), length, seq, payload, unit;

	if (!wire_check_start(h, buf, len, len, fault))
		return false;
	if (len >= 4 && le32_load(buf) != magic)
		return refuse_magic(fault, "frame", buf, magic);
	if (len < WIRE_FRAME_HEADER_SIZE)
		return refuse(fault, WIRE_CLOSE_POLICY, "frame of %zu bytes, at least %d", len,
		    WIRE_FRAME_HEADER_SIZE);

	payload = (uint32_t)len - WIRE_FRAME_HEADER_SIZE;
	length = le32_load(buf + 4);
	seq = le32_load(buf + 8);
	if (length != payload)
		return refuse(fault, WIRE_CLOSE_POLICY,
		    "frame seq %" PRIu32 ": length %" PRIu32 ", must be %" PRIu32
		    ", the message's %zu bytes less %d",
		    seq, length, payload, len, WIRE_FRAME_HEADER_SIZE);
	/* Mono ADPCM may have any length: its last block need not be whole. */
	unit = h->codec == WIRE_PCM16 ? 2u * h->channels : h->channels > 1 ? 4u * h->channels : 1;
	if (payload % unit != 0)
		return refuse(fault, WIRE_CLOSE_POLICY,
		    "frame seq %" PRIu32 ": payload %" PRIu32
		    " bytes, must be a multiple of %" PRIu32 " (channels %d)",
		    seq, payload, unit, h->channels);
	fo->seq = seq;
	fo->length = payload;
	fo->payload = buf + WIRE_FRAME_HEADER_SIZE;
	return true;
}

/* The first 4 bytes are one of our magics, but not the one that is due. */
static bool
check_magic(const struct wire_handshake *h, uint32_t magic, struct wire_fault *fo)
{
	uint32_t due = h == NULL ? WIRE_MAGIC_HANDSHAKE : wire_frame_magic(h->codec);

	if (magic == due ||
	    (magic != WIRE_MAGIC_HANDSHAKE && magic != WIRE_MAGIC_ADPCM && magic != WIRE_MAGIC_PCM))
		return true;
	if (h == NULL)
		return refuse(fo, WIRE_CLOSE_POLICY,
		    "frame magic 0x%08" PRIX32 " before the handshake, whose magic is 0x%08" PRIX32,
		    magic, due);
	if (magic == WIRE_MAGIC_HANDSHAKE)
		return refuse(fo, WIRE_CLOSE_POLICY,
		    "second handshake (magic 0x%08" PRIX32 "), one per connection", magic);
	return refuse(fo, WIRE_CLOSE_POLICY,
	    "frame magic 0x%08" PRIX32 ", must be 0x%08" PRIX32 " (handshake codec %d, %s)", magic,
	    due, h->codec, wire_codec_name(h->codec));
}

bool
wire_check_start(const struct wire_handshake *h, const uint8_t *buf, size_t have, uint64_t total,
    struct wire_fault *fo)
{
	uint32_t max;

	if (have >= 4 && !check_magic(h, le32_load(buf), fo))
		return false;
	if (h == NULL) {
		if (total > WIRE_MAX_FIRST_MESSAGE)
			return refuse(fo, WIRE_CLOSE_TOO_BIG,
			    "first message of %" PRIu64 " bytes, must be a handshake of %d", total,
			    WIRE_HANDSHAKE_SIZE);
		return true;
	}
	max = wire_max_payload(h);
	if (total <= (uint64_t)max + WIRE_FRAME_HEADER_SIZE)
		return true;
	total -= WIRE_FRAME_HEADER_SIZE;
	if (have < WIRE_FRAME_HEADER_SIZE)
		return refuse(fo, WIRE_CLOSE_TOO_BIG,
		    "frame: payload %" PRIu64 " bytes, at most %" PRIu32 " (frame_samples %d)",
		    total, max, h->frame_samples);
	return refuse(fo, WIRE_CLOSE_TOO_BIG,
	    "frame seq %" PRIu32 ": payload %" PRIu64 " bytes, at most %" PRIu32
	    " (frame_samples %d)",
	    le32_load(buf + 8), total, max, h->frame_samples);
}

static bool
alphanumeric(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

bool
wire_tag_valid(const char *tag, size_t len)
{
	static const char suffix[] = ".jsonl"; /* a tag's folder must not have an index's name */
	const size_t n = sizeof suffix - 1;
	size_t i;

	if (len < 1 || len > WIRE_MAX_TAG || !alphanumeric(tag[0]))
		return false;
	if (len >= n && strncasecmp(tag + len - n, suffix, n) == 0)
		return false;
	for (i = 1; i < len; i++)
		if (!alphanumeric(tag[i]) && tag[i] != '.' && tag[i] != '_' && tag[i] != ':' &&
		    tag[i] != '-')
			return false;
	return true;
}
