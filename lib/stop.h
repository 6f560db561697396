/*
 * SIGINT, SIGTERM and SIGHUP: reading goes on to the end of the input, but for at most 5 seconds
 * or until the next such signal.  For programs; like cli it prints and may exit.
 */
#ifndef EET_STOP_H
#define EET_STOP_H

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

/* Wait until fd is readable (or has failed, which reading it will tell).  False: stop_now(). */
bool stop_wait(int fd);

#endif
