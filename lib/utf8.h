/* Is it UTF-8?  RFC 3629, in pieces that may be torn anywhere. */
#ifndef EET_UTF8_H
#define EET_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Look at the next piece.  *state starts as 0 and is 0 again between characters.  False: it is
 * not UTF-8.
 */
bool utf8_add(uint32_t *state, const uint8_t *p, size_t len);

/* Is all of it valid? */
bool utf8_valid(const void *p, size_t len);

/* How many of p[0..len) make one whole character, from p[0] on; 0: none is there. */
size_t utf8_character(const void *p, size_t len);

#endif
