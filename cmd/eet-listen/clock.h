/*
 * Time, read once per turn of the event loop.
 *
 * What is recorded is the wall clock at the start plus the boot-time clock elapsed since: a wall
 * clock that is stepped meanwhile neither stalls nor bursts a rotation, and times never decrease.
 */
#ifndef EET_LISTEN_CLOCK_H
#define EET_LISTEN_CLOCK_H

#include <stdint.h>

/* Set the start.  To be called once, before anything else here. */
void clock_start(void);

/* A new turn begins: the next question reads the clock. */
void clock_turn(void);

/* Microseconds since clock_start(), in this turn; for timeouts. */
uint64_t clock_now(void);

/* The time to record, in this turn: microseconds since the Unix epoch. */
uint64_t clock_record(void);

/* How far the wall clock is ahead of the times recorded, in microseconds; negative when behind. */
int64_t clock_drift(void);

#endif
