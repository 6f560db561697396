/*
 * Listening sockets: an address becomes one or two of them (both families on one port), and
 * connections are accepted one turn of the loop at a time.
 */
#ifndef EET_LISTEN_LISTEN_H
#define EET_LISTEN_LISTEN_H

#include "cli.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <uv.h>

enum { LISTEN_MAX = 8, LISTEN_PEER = 64 };

struct listener {
	int fds[LISTEN_MAX];
	size_t count;
	uv_poll_t polls[LISTEN_MAX];
	uv_timer_t pause;
	bool started, paused;
	bool said;      /* that connections can't be accepted */
	char url[320];  /* one that can be connected to */
	char path[108]; /* of a unix socket, "": none */
	dev_t dev;      /* which it was when we made it */
	ino_t ino;
	/* Takes over fd.  False: no more at the moment, until listener_resume(). */
	bool (*accepted)(void *arg, int fd, const char *peer);
	void *arg;
};

/* Bind and listen.  0; -1: said why. */
int listener_open(struct listener *l, const struct cli_address *address);

/* Accept from now on, with l->accepted and l->arg set.  0; -1: said why. */
int listener_start(struct listener *l, uv_loop_t *loop);

/* Accept again after accepted() was false. */
void listener_resume(struct listener *l);

/* Accept no more, ever, if that was begun; a unix socket's path is removed. */
void listener_close(struct listener *l);

#endif
