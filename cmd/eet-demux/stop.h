/*
 * Signals, and waiting that they end.  After the first SIGINT, SIGTERM or SIGHUP the program goes
 * on for at most 5 seconds or until the next.  They are blocked, so nothing else is interrupted.
 */
#ifndef EET_DEMUX_STOP_H
#define EET_DEMUX_STOP_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

struct stop {
	int fd;
	int signals;                 /* so far */
	uint64_t by;                 /* milliseconds, monotonic; when there was one */
	bool patient;                /* only a second signal counts */
	void (*on_child)(void *arg); /* called when a child may have ended; NULL: nobody cares */
	void *arg;
};

/* Block the signals and take them from now on.  0, or -1 with errno. */
int stop_init(struct stop *st);

/* True when it is time to end. */
bool stop_now(const struct stop *st);

/*
 * poll(2) of p[1..n), p[0] being for the signals, until one of them is ready or something else
 * has happened.  False: stop_now().
 */
bool stop_poll(struct stop *st, struct pollfd *p, nfds_t n);

#endif
