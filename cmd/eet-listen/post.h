/* POST /echo: a body goes back as it comes. */
#ifndef EET_LISTEN_POST_H
#define EET_LISTEN_POST_H

#include "server.h"

/*
 * The request's headers are there.  NULL: the reply has begun.  Otherwise it is refused:
 * a status line's end, header lines and a text.
 */
const char *post_start(struct client *c, const char **headerso, const char **texto);

/* A piece of the body; its end; room for more of the reply.  As http.h says: 0 or -1. */
int post_body(struct client *c, const uint8_t *in, size_t len);
int post_complete(struct client *c);
int post_writable(struct client *c);

/* The connection goes away. */
void post_free(struct client *c);

#endif
