/* See utf8.h. */
#include "utf8.h"

/* What the next byte may be: after some first bytes the second one's range is narrower. */
enum range { RANGE_ANY, RANGE_A0_UP, RANGE_TO_9F, RANGE_90_UP, RANGE_TO_8F };

static const struct {
	uint8_t from, to;
} ranges[] = { { 0x80, 0xbf }, { 0xa0, 0xbf }, { 0x80, 0x9f }, { 0x90, 0xbf }, { 0x80, 0x8f } };

bool
utf8_add(uint32_t *state, const uint8_t *p, size_t len)
{
	uint32_t due = *state & 3,
		 range = *state >> 2; /* bytes to come, and the next one's range */

	for (size_t i = 0; i < len; i++) {
		uint8_t c = p[i];

		if (due > 0) {
			if (c < ranges[range].from || c > ranges[range].to)
				return false;
			due--;
			range = RANGE_ANY;
		} else if (c >= 0xc2 && c <= 0xdf) {
			due = 1;
		} else if (c >= 0xe0 && c <= 0xef) {
			due = 2;
			range = c == 0xe0 ? RANGE_A0_UP : c == 0xed ? RANGE_TO_9F : RANGE_ANY;
		} else if (c >= 0xf0 && c <= 0xf4) {
			due = 3;
			range = c == 0xf0 ? RANGE_90_UP : c == 0xf4 ? RANGE_TO_8F : RANGE_ANY;
		} else if (c >= 0x80) {
			return false;
		}
	}
	*state = range << 2 | due;
	return true;
}

bool
utf8_valid(const void *p, size_t len)
{
	uint32_t state = 0;

	return utf8_add(&state, p, len) && state == 0;
}

size_t
utf8_character(const void *p, size_t len)
{
	const uint8_t *s = p;
	uint32_t state = 0;

	for (size_t n = 0; n < len; n++) {
		if (!utf8_add(&state, s + n, 1))
			return 0;
		if (state == 0)
			return n + 1;
	}
	return 0;
}
