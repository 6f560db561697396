#include "stop.h"

#include "cli.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE = 5 }; /* seconds */

enum { GOING, ASKED, STOPPING };

static volatile sig_atomic_t state;
static bool to_pipe;

static char stuck[128]; /* a handler may not format */

/* The clock that a first signal starts is one more of them. */
static void
on_signal(int sig)
{
	(void)sig;
	if (state == STOPPING) {
		if (!to_pipe)
			return;
		(void)!write(STDERR_FILENO, stuck, strlen(stuck));
		_exit(CLI_EFAIL);
	}
	state++;
	if (state == ASKED || to_pipe)
		alarm(PATIENCE);
}

void
stop_init(bool pipe)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGALRM };
	struct sigaction sa = { .sa_handler = on_signal }; /* no SA_RESTART: open() of a FIFO */

	to_pipe = pipe;
	snprintf(stuck, sizeof stuck, "%s: the output's reader takes nothing\n", cli_name());
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		sigaddset(&sa.sa_mask, signals[i]);
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
		struct sigaction old;

		/* nohup(1) is asked for, and stays in force. */
		sigaction(signals[i], NULL, &old);
		if (signals[i] != SIGHUP || old.sa_handler != SIG_IGN)
			sigaction(signals[i], &sa, NULL);
	}
}

bool
stop_now(void)
{
	return state == STOPPING;
}

bool
stop_asked(void)
{
	return state != GOING;
}

void
stop_begin(bool hurry)
{
	alarm(hurry ? PATIENCE : 0);
	state = hurry ? ASKED : GOING;
}

bool
stop_wait(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	sigset_t all, old;
	int n = 0;

	/* Signals come while waiting, or before the last look at the state: never in between. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	while (state != STOPPING && (n = ppoll(&p, 1, NULL, &old)) == -1 && errno == EINTR)
		;
	sigprocmask(SIG_SETMASK, &old, NULL);
	return state != STOPPING;
}
