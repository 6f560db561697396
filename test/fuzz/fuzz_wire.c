/*
 * A handshake and a frame: what is taken keeps every rule and packs to the same bytes; what is
 * refused is refused with a code and one printable line, early or late.
 */
#include "fuzz.h"
#include "wire.h"

static void
check_fault(const struct wire_fault *f)
{
	size_t i, len = strnlen(f->reason, sizeof f->reason);

	require(f->code == WIRE_CLOSE_POLICY || f->code == WIRE_CLOSE_TOO_BIG);
	require(len > 0 && len <= WIRE_MAX_REASON);
	for (i = 0; i < len; i++)
		require((unsigned char)f->reason[i] >= 0x20 && (unsigned char)f->reason[i] < 0x7f);
}

/*
 * A message of len bytes that parsing took or refused (fault NULL or not): its beginnings say the
 * same, as soon as they say something.
 */
static void
check_beginnings(const struct wire_handshake *h, const uint8_t *buf, size_t len,
    const struct wire_fault *fault)
{
	struct wire_fault early;
	size_t have;

	for (have = 0; have <= len && have <= 2 * WIRE_FRAME_HEADER_SIZE; have++)
		if (!wire_check_start(h, buf, have, len, &early)) {
			check_fault(&early);
			require(fault != NULL);
			/* Without its first 4 bytes, a message can only be too long. */
			require(fault->code == early.code || have < 4);
		}
	/* A longer one of which this is the beginning. */
	if (!wire_check_start(h, buf, len, UINT64_MAX, &early))
		check_fault(&early);
	else
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t first = size < WIRE_HANDSHAKE_SIZE ? size : WIRE_HANDSHAKE_SIZE, len, i;
	struct wire_handshake h;
	struct wire_frame frame;
	struct wire_fault fault;
	uint8_t packed[WIRE_HANDSHAKE_SIZE], *buf;

	wire_tag_valid((const char *)data, size);
	if (!wire_parse_handshake(data, size, &h, &fault)) {
		check_fault(&fault);
		check_beginnings(NULL, data, size, &fault);
	}
	if (!wire_parse_handshake(data, first, &h, &fault))
		return 0;
	check_beginnings(NULL, data, first, NULL);
	wire_pack_handshake(packed, &h);
	require(memcmp(packed, data, sizeof packed) == 0);
	require(wire_max_payload(&h) <= WIRE_MAX_MESSAGE - WIRE_FRAME_HEADER_SIZE);

	/* The frame, in memory of its own. */
	len = size - first;
	buf = malloc(len == 0 ? 1 : len);
	if (buf == NULL)
		abort();
	for (i = 0; i < len; i++)
		buf[i] = data[first + i];
	if (wire_parse_frame(&h, buf, len, &frame, &fault)) {
		check_beginnings(&h, buf, len, NULL);
		require(frame.length == len - WIRE_FRAME_HEADER_SIZE);
		require(frame.length <= wire_max_payload(&h));
		require(frame.payload == buf + WIRE_FRAME_HEADER_SIZE);
		wire_pack_frame(packed, h.codec, frame.length, frame.seq);
		require(memcmp(packed, buf, WIRE_FRAME_HEADER_SIZE) == 0);
		require(h.codec != WIRE_PCM16 || frame.length % (2u * h.channels) == 0);
		require(h.codec != WIRE_ADPCM || h.channels == 1 ||
		    frame.length % (4u * h.channels) == 0);
	} else {
		check_fault(&fault);
		check_beginnings(&h, buf, len, &fault);
	}
	free(buf);
	return 0;
}
