#include "stop.h"

#include "cli.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum { PATIENCE = 5 }; /* seconds */

static volatile sig_atomic_t signals, late;
static bool to_pipe, patient;

static char stuck[128]; /* a handler may not format */

bool
stop_now(void)
{
	return signals > 1 || late;
}

bool
stop_asked(void)
{
	return signals > 0 || late;
}

/* The clock that a first signal starts is one more of them. */
static void
on_signal(int sig)
{
	if (stop_now()) {
		if (!to_pipe)
			return;
		cli_last_words(stuck);
		_exit(CLI_EFAIL);
	}
	if (sig == SIGALRM)
		late = true;
	else
		signals++;
	if (!patient && (!stop_now() || to_pipe))
		alarm(PATIENCE);
}

void
stop_init(bool pipe)
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGALRM };
	struct sigaction sa = { .sa_handler = on_signal }; /* no SA_RESTART: open() of a FIFO */

	to_pipe = pipe;
	snprintf(stuck, sizeof stuck, "%s: the output's reader takes nothing\n", cli_name());
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		sigaddset(&sa.sa_mask, numbers[i]);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		struct sigaction old;

		/* nohup(1) is asked for, and stays in force. */
		sigaction(numbers[i], NULL, &old);
		if (numbers[i] != SIGHUP || old.sa_handler != SIG_IGN)
			sigaction(numbers[i], &sa, NULL);
	}
}

void
stop_begin(bool hurry)
{
	alarm(hurry ? PATIENCE : 0);
	signals = hurry;
	late = false;
}

void
stop_patiently(void)
{
	patient = true;
	alarm(0);
	late = false;
}

static void
on_child(int sig)
{
	(void)sig;
}

void
stop_children(void)
{
	struct sigaction sa = { .sa_handler = on_child };
	sigset_t child;

	sigaction(SIGCHLD, &sa, NULL);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
}

bool
stop_poll(struct pollfd *p, nfds_t n)
{
	sigset_t all, before, waiting;

	/* Signals come while waiting, or before the last look at them: never in between. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	waiting = before;
	sigdelset(&waiting, SIGCHLD);
	if (!stop_now() && ppoll(p, n, NULL, &waiting) == -1)
		for (nfds_t i = 0; i < n; i++)
			p[i].revents = 0;
	sigprocmask(SIG_SETMASK, &before, NULL);
	return !stop_now();
}

bool
stop_wait(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	while (stop_poll(&p, 1))
		if (p.revents != 0)
			return true;
	return false;
}
