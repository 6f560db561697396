/*
 * -- CMD: a command that runs while the server does, and knows it by $EET_URL.  Its process is
 * watched through a descriptor of its own, so other children are none of its business.
 */
#ifndef EET_LISTEN_COMMAND_H
#define EET_LISTEN_COMMAND_H

#include "child.h"

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <uv.h>

struct command {
	/* How it is run, set by the caller. */
	char *const *argv; /* NULL: there is none */
	int out;           /* becomes its standard output */
	bool nohup;        /* SIGHUP stays ignored */
	struct rlimit files;
	/* Called once when it has ended: its exit status, or 128 + the signal that killed it. */
	void (*ended)(void *arg, int status);
	void *arg;

	struct child child; /* its pid is 0 when it does not run */
	int pidfd;
	uv_poll_t poll;
};

/*
 * Run it, with url as EET_URL, our standard input and error, and no other descriptors.  One that
 * can't be run says so, and ends with status 127 (not found) or 126, as with env(1).
 * 0, or -1 with errno.
 */
int command_start(struct command *c, uv_loop_t *loop, const char *url);

/* Pass a signal on, if it runs.  SIGINT of a terminal that is its too has reached it already. */
void command_signal(const struct command *c, int number);

/* Kill it, if it runs.  Returns as ended() gets it, 0 if it did not run. */
int command_kill(struct command *c);

/* Watch it no more. */
void command_close(struct command *c);

#endif
