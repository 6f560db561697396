/*
 * ThreadSanitizer does not know pthread_clockjoin_np(3), and takes what is behind it for a race: the
 * same, of what it knows.
 */
#ifndef EET_TSAN_H
#define EET_TSAN_H

#include <errno.h>
#include <pthread.h>
#include <time.h>

static inline int
tsan_clockjoin(pthread_t thread, void **result, clockid_t clock, const struct timespec *end)
{
	const struct timespec pause = { 0, 1000000 };
	struct timespec now;
	int e, saved = errno;

	while ((e = pthread_tryjoin_np(thread, result)) == EBUSY) {
		clock_gettime(clock, &now);
		if (now.tv_sec > end->tv_sec ||
		    (now.tv_sec == end->tv_sec && now.tv_nsec >= end->tv_nsec))
			break;
		nanosleep(&pause, NULL);
	}
	errno = saved;
	return e == EBUSY ? ETIMEDOUT : e;
}

#define pthread_clockjoin_np tsan_clockjoin

#endif
