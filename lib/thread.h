/*
 * Threads as the library has them: signals are none of their business, and at their end nobody waits
 * for a disk that does not answer.
 */
#ifndef EET_THREAD_H
#define EET_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/* Start one, with all signals blocked.  0, or -1 with errno. */
int thread_start(pthread_t *o, void *(*run)(void *arg), void *arg);

/*
 * Wait for n threads that were told to end, for a second at most.  False: some of them go on, and are
 * left alone; what they use has to stay.
 */
bool thread_end(const pthread_t threads[], size_t n);

#endif
