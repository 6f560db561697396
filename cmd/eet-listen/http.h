/* HTTP: what is at which path, and all replies but the echo's. */
#ifndef EET_LISTEN_HTTP_H
#define EET_LISTEN_HTTP_H

#include "server.h"

/*
 * These return what libwebsockets' callback has to return: 0 to go on, -1 to close the
 * connection (which is what happens after each reply).
 */

/* A request to become a WebSocket.  0: granted, and c->kind says what it is to be. */
int http_upgrade(struct client *c);

/* Any other request. */
int http_request(struct client *c);

#endif
