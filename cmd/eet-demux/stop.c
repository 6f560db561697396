#include "stop.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 5000 };

static uint64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int
stop_init(struct stop *st)
{
	struct sigaction hang_up;
	sigset_t set;

	*st = (struct stop){ .fd = -1 };
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGCHLD);
	/* nohup(1) stays in force; a blocked signal would come even though it is ignored. */
	sigaction(SIGHUP, NULL, &hang_up);
	if (hang_up.sa_handler != SIG_IGN)
		sigaddset(&set, SIGHUP);
	/* Ignored by whoever started us, it would leave no child to wait for. */
	signal(SIGCHLD, SIG_DFL);
	sigprocmask(SIG_BLOCK, &set, NULL);
	st->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return st->fd == -1 ? -1 : 0;
}

bool
stop_now(const struct stop *st)
{
	return st->signals > 1 || (st->signals == 1 && !st->patient && now_ms() >= st->by);
}

static void
take_signals(struct stop *st)
{
	struct signalfd_siginfo s;

	while (read(st->fd, &s, sizeof s) == (ssize_t)sizeof s) {
		if (s.ssi_signo == SIGCHLD) {
			if (st->on_child != NULL)
				st->on_child(st->arg);
		} else if (st->signals++ == 0) {
			st->by = now_ms() + PATIENCE_MS;
		}
	}
}

bool
stop_poll(struct stop *st, struct pollfd *p, nfds_t n)
{
	int timeout = -1;

	if (stop_now(st))
		return false;
	if (st->signals == 1 && !st->patient) {
		uint64_t now = now_ms();

		timeout = now < st->by ? (int)(st->by - now) : 0;
	}
	p[0] = (struct pollfd){ .fd = st->fd, .events = POLLIN };
	if (poll(p, n, timeout) == -1)
		for (nfds_t i = 1; i < n; i++)
			p[i].revents = 0;
	take_signals(st);
	return !stop_now(st);
}
