/* What the targets share: a promise, and an input that is used up from its front. */
#ifndef EET_FUZZ_H
#define EET_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define require(truth) ((truth) ? (void)0 : broken(#truth, __FILE__, __LINE__))

_Noreturn static inline void
broken(const char *promise, const char *file, int line)
{
	fprintf(stderr, "%s:%d: broken: %s\n", file, line, promise);
	abort();
}

struct input {
	const uint8_t *p;
	size_t left;
};

/* The next byte; 0 when there is none. */
static inline uint8_t
input_byte(struct input *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->p++;
}

/* The next bytes, at most so many as there are: *leno becomes that. */
static inline const uint8_t *
input_bytes(struct input *in, size_t *leno)
{
	const uint8_t *p = in->p;

	if (*leno > in->left)
		*leno = in->left;
	in->p += *leno;
	in->left -= *leno;
	return p;
}

/* The same as a copy in memory of its own, whose bounds are watched, with a NUL behind it. */
static inline char *
input_text(struct input *in, size_t *leno)
{
	const uint8_t *p = input_bytes(in, leno);
	char *text = malloc(*leno + 1);

	require(text != NULL);
	if (*leno > 0)
		memcpy(text, p, *leno);
	text[*leno] = '\0';
	return text;
}

#endif
