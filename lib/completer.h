/*
 * The thread that completes segments, so that nobody else waits for a flush
 * or a decode.  Jobs go in, in order; results come out, in the same order,
 * when files have their names and the index has their line.
 */
#ifndef EET_COMPLETER_H
#define EET_COMPLETER_H

#include "index.h"
#include "log.h"
#include "segment.h"
#include "stream.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Segments and sessions that may wait; more are refused, which holds back whoever feeds the spool.
 * Of lines, whoever has many asks first.
 */
enum { COMPLETER_WAITING = 4096 };

/* A session's sums over its segments; shared by its jobs, freed by the last one. */
struct completer_sums {
	uint64_t samples;
	uint64_t damaged;
	struct pcm_levels levels;
	bool layout_known; /* a segment was decoded */
	bool layout_mixed; /* they were not all of one layout */
	bool unknown;      /* blocks of one fit no known layout */
	enum adpcm_layout layout;
};

enum completer_kind {
	COMPLETER_SEGMENT, /* a segment to be completed */
	COMPLETER_SESSION, /* a session's end: its line */
	COMPLETER_LINE,    /* a line of another kind, ready in line */
	COMPLETER_SYNC     /* what grows, and what waits, is fsynced, before anything else: names */
};

struct completer_job {
	struct completer_job *next;
	enum completer_kind kind;
	char tag[WIRE_MAX_TAG + 1];
	char peer[LOG_MAX_PEER + 1];
	uint64_t first_us, last_us;  /* INDEX_UNKNOWN: null */
	struct completer_sums *sums; /* NULL in recovery */
	/* A segment. */
	struct segment segment;
	uint64_t gap_before;
	bool recovered;
	uint64_t places; /* recovered: damaged places in its log as it was */
	bool is_synced;  /* by a COMPLETER_SYNC, while it waited */
	int remains;  /* result: errno of what kept the names of its parts from being removed; 0 */
	bool follows; /* result: its session has an earlier one; false in recovery */
	bool unknown; /* result: its blocks fit no known layout, and no earlier one's did so */
	/* A session. */
	uint32_t session;
	struct stream stream;
	uint16_t close_code;
	char close_reason[WIRE_MAX_REASON + 1];
	/* Segments that grow; result: an errno of each, 0 if it was synced. */
	struct name *names;
	int *errors;
	size_t n_names;
	char *line; /* in the index, without newline; of a segment or a session it is the result */
	bool is_done; /* it is in the index, or was synced */
};

/*
 * Complete jobs[0..n), at most COMPLETER_BATCH, in the calling thread, lines appended to index (a
 * descriptor).  A segment that fails has a line, too, and is left in SEGMENT_FAILED.  0; or -1 with
 * errno and failed[] (a path): if that passes (fdio_passes()), to be called again with the same jobs,
 * it goes on where it stopped; else the directory has failed.  *doneo: how many of them, from the first
 * on, are done by now.
 */
enum { COMPLETER_BATCH = 64 }; /* one sync of the directory for all of them */
int completer_run(const struct segment_dir *d, int index, struct completer_job *const jobs[],
    size_t n, size_t *doneo, char failed[SEGMENT_PATH]);

/* Write the index line of a completed segment's job to out.  Returns its length. */
size_t completer_line(const struct completer_job *j, char out[INDEX_LINE + 1]);

void completer_free_job(struct completer_job *j);

struct completer;

/* Start the thread.  d and index are the caller's and stay.  NULL with errno. */
struct completer *completer_new(const struct segment_dir *d, int index);

/*
 * Have fn called, from the thread, for each segment that has its name but must wait for its line, because
 * the disk is full: it may be what is to make room.  It may be called again for it, and not after
 * completer_end().  Before the first job.
 */
void completer_on_full(struct completer *c, void (*fn)(void *arg, const struct name *n), void *arg);

/* The same of jobs that completer_run() left for want of space: errno e. */
void completer_each_placed(struct completer_job *const jobs[], size_t n, int e,
    void (*fn)(void *arg, const struct name *n), void *arg);

/*
 * Queue a job, which is then the completer's.  0; or -1: EAGAIN (of the one kind, too many wait; of
 * COMPLETER_SYNC, one), or what made the completer end, and failed[] says where.
 */
int completer_put(struct completer *c, struct completer_job *j, char failed[SEGMENT_PATH]);

/* Readable when completer_take() has something to say. */
int completer_fd(const struct completer *c);

/*
 * What is done so far, as a list, into *doneo; jobs in it are the caller's.
 * 1: nothing is left to do; 0: more is; -1: errno (if it passes, fdio_passes(), it waits and
 * goes on by itself; else it has ended), failed[] says where.
 */
int completer_take(struct completer *c, struct completer_job **doneo, char failed[SEGMENT_PATH]);

/* True when nothing waits or is being done. */
bool completer_idle(struct completer *c);

/*
 * End the thread after what it is at (what waits is dropped), free all.  NULL is fine.  False: as
 * thread_end().
 */
bool completer_end(struct completer *c);

#endif
