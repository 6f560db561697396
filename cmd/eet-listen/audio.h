/* /ws: one stream of audio per connection. */
#ifndef EET_LISTEN_AUDIO_H
#define EET_LISTEN_AUDIO_H

#include "server.h"

/* A piece of a message. */
void audio_receive(struct client *c, const uint8_t *in, size_t len);

/* The session is over, if there is one: record and report it. */
void audio_end(struct client *c, uint16_t code, const char *reason);

/* Free what c has in memory. */
void audio_free(struct client *c);

/* One line about an open stream, on stderr. */
void audio_show(const struct client *c);

#endif
