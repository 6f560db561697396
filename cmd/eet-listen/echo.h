/* /ws/echo: every message goes back, text and binary, piece by piece. */
#ifndef EET_LISTEN_ECHO_H
#define EET_LISTEN_ECHO_H

#include "server.h"

/* A piece of a message. */
void echo_receive(struct client *c, const uint8_t *in, size_t len);

/* There is room to write.  0, or -1 to close the connection. */
int echo_writable(struct client *c);

/* Free what c has in memory. */
void echo_free(struct client *c);

#endif
