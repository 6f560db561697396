/*
 * SIGINT, SIGTERM and SIGHUP: reading goes on to the end of the input, but for at most 5 seconds
 * or until the next such signal.  For programs; like cli it prints and may exit.
 */
#ifndef EET_STOP_H
#define EET_STOP_H

#include <poll.h>
#include <stdbool.h>

/*
 * Take the signals from now on.  pipe: the output may have a reader that takes nothing; if that
 * keeps the program from ending when it should have, it is left at once, with exit status 1.
 */
void stop_init(bool pipe);

/* True when reading has to end here. */
bool stop_now(void);

/* True when a signal has come, since the last stop_begin(). */
bool stop_asked(void);

/* A new phase begins: forget the signals so far; hurry: as if one had just come. */
void stop_begin(bool hurry);

/* From now on there is time: only a second signal counts, one that has come being the first. */
void stop_patiently(void);

/* From now on stop_poll() returns when a child ends, too, and when one has ended before it. */
void stop_children(void);

/*
 * poll(2), until one of p[0..n) is ready or something else has happened; then no revents are set.
 * False: stop_now(), and revents say nothing.
 */
bool stop_poll(struct pollfd *p, nfds_t n);

/* Wait until fd is readable (or has failed, which reading it will tell).  False: stop_now(). */
bool stop_wait(int fd);

#endif
