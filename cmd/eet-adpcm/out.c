#include "out.h"

#include "cli.h"
#include "fdio.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

void
out_init(struct out *o, int fd, const char *label)
{
	o->fd = fd;
	o->label = label;
	o->failed = false;
	o->len = 0;
}

bool
out_flush(struct out *o)
{
	const uint8_t *p = o->buffer;
	size_t done;

	while (!o->failed && fdio_write_full(o->fd, p, o->len, &done) == -1) {
		struct pollfd room = { .fd = o->fd, .events = POLLOUT };

		if (errno == EAGAIN) { /* somebody else made it so */
			p += done;
			o->len -= done;
			poll(&room, 1, -1);
			continue;
		}
		cli_warn("%s", o->label);
		o->failed = true;
	}
	o->len = 0;
	return !o->failed;
}

bool
out_add(struct out *o, const void *p, size_t len)
{
	while (len > 0) {
		size_t room = sizeof o->buffer - o->len, part = len < room ? len : room;

		memcpy(o->buffer + o->len, p, part);
		o->len += part;
		p = (const uint8_t *)p + part;
		len -= part;
		if (o->len == sizeof o->buffer && !out_flush(o))
			return false;
	}
	return !o->failed;
}

bool
out_zeros(struct out *o, uint64_t len)
{
	static const uint8_t zeros[4096];

	while (len > 0) {
		size_t part = len < sizeof zeros ? (size_t)len : sizeof zeros;

		if (!out_add(o, zeros, part))
			return false;
		len -= part;
	}
	return !o->failed;
}
