#include "thread.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

enum { PATIENCE_S = 1 };

int
thread_start(pthread_t *o, void *(*run)(void *arg), void *arg)
{
	sigset_t all, old;
	int e;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	e = pthread_create(o, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = e;
	return e == 0 ? 0 : -1;
}

bool
thread_end(const pthread_t threads[], size_t n)
{
	struct timespec t;
	bool ended = true;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += PATIENCE_S;
	for (size_t i = 0; i < n; i++)
		if (pthread_clockjoin_np(threads[i], NULL, CLOCK_MONOTONIC, &t) != 0) {
			pthread_detach(threads[i]);
			ended = false;
		}
	return ended;
}
