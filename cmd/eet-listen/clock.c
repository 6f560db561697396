/* See clock.h. */
#include "clock.h"

#include <stdbool.h>
#include <time.h>

static uint64_t wall_start, boot_start, now;
static bool fresh;

static uint64_t
read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

void
clock_start(void)
{
	wall_start = read_clock(CLOCK_REALTIME);
	boot_start = read_clock(CLOCK_BOOTTIME);
}

void
clock_turn(void)
{
	fresh = false;
}

uint64_t
clock_now(void)
{
	if (!fresh) {
		now = read_clock(CLOCK_BOOTTIME) - boot_start;
		fresh = true;
	}
	return now;
}

uint64_t
clock_record(void)
{
	return wall_start + clock_now();
}

int64_t
clock_drift(void)
{
	return (int64_t)(read_clock(CLOCK_REALTIME) - clock_record());
}
