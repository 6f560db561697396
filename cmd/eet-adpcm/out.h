/* Output through a buffer. */
#ifndef EET_ADPCM_OUT_H
#define EET_ADPCM_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct out {
	int fd;
	const char *label;
	bool failed;
	size_t len;
	uint8_t buffer[1 << 16];
};

/* label is for messages, and stays the caller's. */
void out_init(struct out *o, int fd, const char *label);

/* False: it can't be written, now or before, which was said. */
bool out_add(struct out *o, const void *p, size_t len);
bool out_zeros(struct out *o, uint64_t len);
bool out_flush(struct out *o);

#endif
