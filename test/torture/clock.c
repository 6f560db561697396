/*
 * Preloaded, it sets the system's clock and lets the machine sleep: then the system's clock and the
 * boot-time clock have gone on, the monotonic clock has not, nor has what waits by it.
 *
 *	EET_CLOCK	a file of two i64 in the machine's order, to be written in place: how many
 *			seconds the clock is ahead, and how many were slept so far
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *ahead, *slept;

/* What the program starts is left in peace. */
__attribute__((constructor)) static void
begin(void)
{
	const char *path = getenv("EET_CLOCK");
	int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *p = mmap(NULL, 2 * sizeof *ahead, PROT_READ, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		abort();
	close(fd);
	ahead = p;
	slept = ahead + 1;
	unsetenv("LD_PRELOAD");
}

int
clock_gettime(clockid_t id, struct timespec *t)
{
	int status = (int)syscall(SYS_clock_gettime, id, t);

	if (status == -1 || slept == NULL) /* a sanitizer asks before all others */
		return status;
	if (id == CLOCK_REALTIME || id == CLOCK_BOOTTIME)
		t->tv_sec += *slept;
	if (id == CLOCK_REALTIME)
		t->tv_sec += *ahead;
	return 0;
}
