/*
 * What a WebSocket client writes: RFC 6455, section 5.2.
 */
#ifndef EET_BENCH_WS_H
#define EET_BENCH_WS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10, WS_MAX_HEADER = 14 };

/* Write the header of a frame with len bytes, which are masked.  Returns its size. */
static inline size_t
ws_header(uint8_t *p, int opcode, size_t len, const uint8_t mask[4])
{
	size_t n = 2;

	p[0] = (uint8_t)(0x80 | opcode);
	if (len < 126) {
		p[1] = (uint8_t)(0x80 | len);
	} else if (len < 65536) {
		p[1] = 0x80 | 126;
		p[2] = (uint8_t)(len >> 8);
		p[3] = (uint8_t)len;
		n = 4;
	} else {
		p[1] = 0x80 | 127;
		for (int i = 0; i < 8; i++)
			p[2 + i] = (uint8_t)((uint64_t)len >> (56 - 8 * i));
		n = 10;
	}
	memcpy(p + n, mask, 4);
	return n + 4;
}

/* Mask a frame's payload, or bytes of it that begin at a multiple of 4. */
static inline void
ws_mask(uint8_t *p, size_t len, const uint8_t mask[4])
{
	for (size_t i = 0; i < len; i++)
		p[i] ^= mask[i & 3];
}

#endif
