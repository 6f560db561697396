/*
 * Text: what is UTF-8 and what is a tag, by the book, and in pieces as whole.  The first byte: how
 * large pieces are.
 */
#include "fuzz.h"
#include "utf8.h"
#include "wire.h"

/* RFC 3629: decoded, and encoded again in the only way there is.  Bytes of the character, or 0. */
static size_t
by_the_book(const uint8_t *p, size_t len)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = p[0] < 0x80 ? 1
	    : p[0] >> 5 == 6   ? 2
	    : p[0] >> 4 == 14  ? 3
	    : p[0] >> 3 == 30  ? 4
			       : 0;
	uint32_t c = n == 1 ? p[0] : p[0] & (0x7fu >> n);

	if (n == 0 || n > len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if (p[i] >> 6 != 2)
			return 0;
		c = c << 6 | (p[i] & 63);
	}
	return c >= least[n] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) ? n : 0;
}

static bool
is_one_of(char c, const char *set)
{
	return c != '\0' && strchr(set, c) != NULL;
}

static void
check_tag(const char *p, size_t len)
{
	static const char letters[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	bool valid = len > 0 && len <= 64 && is_one_of(p[0], letters);

	for (size_t i = 1; i < len; i++)
		valid = valid && (is_one_of(p[i], letters) || is_one_of(p[i], "._:-"));
	if (len >= 6 && p[len - 6] == '.' && (p[len - 5] | 32) == 'j' && (p[len - 4] | 32) == 's' &&
	    (p[len - 3] | 32) == 'o' && (p[len - 2] | 32) == 'n' && (p[len - 1] | 32) == 'l')
		valid = false;
	require(wire_tag_valid(p, len) == valid);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	size_t piece = 1u + input_byte(&in) % 8, len = in.left, at, n;
	char *text = input_text(&in, &len);
	const uint8_t *p = (const uint8_t *)text;
	bool valid = true, pieces = true;
	uint32_t state = 0;

	for (at = 0; at<len; at += n> 0 ? n : 1) {
		n = by_the_book(p + at, len - at);
		require(utf8_character(p + at, len - at) == n);
		valid = valid && n > 0;
	}
	require(utf8_valid(p, len) == valid);
	for (at = 0; at < len && pieces; at += n) {
		n = piece < len - at ? piece : len - at;
		pieces = utf8_add(&state, p + at, n);
		require(!pieces || (state == 0) == utf8_valid(p, at + n));
	}
	require((pieces && state == 0) == valid);
	check_tag(text, len);
	free(text);
	return 0;
}
