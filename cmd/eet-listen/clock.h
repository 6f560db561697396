/*
 * Time, read once per turn of the event loop.
 *
 * What is recorded is the wall clock at the start plus the boot-time clock elapsed since: a wall
 * clock that is stepped meanwhile neither stalls nor bursts a rotation, and times never decrease.  Only
 * a wall clock that is before 2026 at the start, for want of one that runs while the machine is off, is
 * followed, once, when it passes the beginning of that year.
 *
 * Timeouts go by the time in which the loop turned.  While the process was stopped, the machine
 * asleep, or a disk slow, clients could not be heard: what they sent then is still to be read.
 */
#ifndef EET_LISTEN_CLOCK_H
#define EET_LISTEN_CLOCK_H

#include <stdint.h>

/*
 * Set the start.  To be called once, before anything else here.  longest_turn: how many
 * microseconds a turn of the loop takes at most, as long as nothing keeps it from turning.
 */
void clock_start(uint64_t longest_turn);

/* A new turn begins: the next question reads the clock. */
void clock_turn(void);

/* Microseconds since clock_start(), in this turn, longer ones cut short; for timeouts. */
uint64_t clock_now(void);

/* The time to record, in this turn: microseconds since the Unix epoch. */
uint64_t clock_record(void);

/* How far the wall clock is ahead of the times recorded, in microseconds; negative when behind. */
int64_t clock_drift(void);

#endif
