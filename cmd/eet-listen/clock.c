/* See clock.h. */
#include "clock.h"

#include "wire.h"

#include <stdbool.h>
#include <time.h>

static uint64_t wall_start, boot_start, longest;
static uint64_t passed; /* since the start, on the boot-time clock */
static uint64_t lived;  /* of that, what clock_now() counts */
static bool fresh;
static bool behind; /* the wall clock is still that of a machine which has none while it is off */

#define EARLIEST (WIRE_CLOCK_SET_S * 1000000)

static uint64_t
read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void
look(void)
{
	uint64_t before = passed, turn;

	if (fresh)
		return;
	fresh = true;
	passed = read_clock(CLOCK_BOOTTIME) - boot_start;
	turn = passed - before;
	lived += turn < longest ? turn : longest;
	if (behind && read_clock(CLOCK_REALTIME) >= EARLIEST) {
		behind = false;
		wall_start = read_clock(CLOCK_REALTIME) - passed;
	}
}

void
clock_start(uint64_t longest_turn)
{
	longest = longest_turn;
	wall_start = read_clock(CLOCK_REALTIME);
	boot_start = read_clock(CLOCK_BOOTTIME);
	behind = wall_start < EARLIEST;
}

void
clock_turn(void)
{
	fresh = false;
}

uint64_t
clock_now(void)
{
	look();
	return lived;
}

uint64_t
clock_record(void)
{
	look();
	return wall_start + passed;
}

int64_t
clock_drift(void)
{
	return (int64_t)(read_clock(CLOCK_REALTIME) - clock_record());
}
