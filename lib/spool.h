/*
 * A spool: a directory of rotating segments, one frame log (.eet) and one WAV
 * each, and index.jsonl (eet-formats(5), "Spool").  It is fed with the
 * records of a log, from whatever hand; time enters only as the records' own.
 *
 * The caller's thread takes records and writes frames; one of the spool's own completes segments
 * (fsync, decode, rename), and others remove those that are no longer kept.  All calls are made from
 * the caller's thread; none waits for these, but spool_close().
 */
#ifndef EET_SPOOL_H
#define EET_SPOOL_H

#include "adpcm.h"
#include "log.h"
#include "retention.h"
#include "segment.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum spool_sync { SPOOL_SYNC_SEGMENT, SPOOL_SYNC_NONE };

enum spool_report_kind {
	SPOOL_SEGMENT, /* a segment is complete: eet, wav (NULL with --no-wav), line */
	SPOOL_SESSION, /* a session has ended and all its segments are complete: line */
	SPOOL_LINE,    /* something else that the index now says: line */
	SPOOL_NOTE,    /* something to know: text */
	SPOOL_DETAIL,  /* something to know for who wants to know all: text */
	SPOOL_WARNING, /* something is wrong, nothing of this run is lost: text */
	SPOOL_FAILURE, /* … because the system said no: text */
	SPOOL_DAMAGE   /* stored data is damaged: text */
};

struct spool_report {
	enum spool_report_kind kind;
	const char *eet; /* path: DIR/name, as DIR was given */
	const char *wav;
	const char *line; /* the index line, without newline */
	const char *text; /* begins with the path it speaks of; of a segment: its layout, or NULL */
};

struct spool_options {
	uint64_t period_us; /* -t; 0: time ends no segment */
	bool align;         /* boundaries at multiples of the period in UTC */
	uint64_t size;      /* -s; 0: size ends no segment */
	bool wav;           /* write .wav files */
	enum spool_sync sync;
	uint64_t sync_us; /* what grows is fsynced so often; 0: not before it is complete */
	mode_t mode;      /* of files; the umask is honoured */
	bool layout_given;
	enum adpcm_layout layout;
	const char *exec;   /* command for each completed segment, NULL: none */
	unsigned exec_jobs; /* how many at once */
	struct retention_limits keep;
	/* Called from within spool_open(), spool_reap() and spool_close(), in the caller's thread. */
	void (*report)(void *arg, const struct spool_report *r);
	void *arg;
};

struct spool;

/* Defaults: 10 s, no size limit, WAVs, sync per segment, 0640, layout decided per segment. */
void spool_defaults(struct spool_options *o);

/*
 * Open dir (created if missing, 0750), lock it, and begin to complete in the background what an
 * earlier run left.  NULL on failure: text[] then says what (with the path), errno why;
 * EBUSY: another writer has the lock.
 */
enum { SPOOL_TEXT = SEGMENT_PATH };
struct spool *spool_open(const char *dir, const struct spool_options *o, char text[SPOOL_TEXT]);

/*
 * Take a record: LOG_OPEN, LOG_FRAME, LOG_CLOSE, LOG_TICK, LOG_ROTATE; all other events
 * are nothing to a spool.  Frames' bytes (r->data) are not copied: they must stay where they are
 * until spool_flush() has returned 0.  r->session->user is the spool's.
 * A session ends with its LOG_CLOSE, which a reader yields for every one: made up if need be,
 * after log_eof().
 *
 * 0: taken.  -1: not taken, to be offered again, the same record:
 *	ENOSPC, EDQUOT   the disk is full: again in a second; so with all of fdio_passes()
 *	EAGAIN           too many segments wait to be completed: again when
 *	                 spool_fd() is readable, after spool_reap()
 *	anything else    for good: the directory has failed; spool_failure() says what
 * A segment whose file fails (an I/O error, a file that was removed) is given up alone, and
 * reported; its session goes on in a new one.
 */
int spool_put(struct spool *sp, const struct log_record *r);

/* Hand all frames taken so far to the kernel.  0, or -1 as spool_put(). */
int spool_flush(struct spool *sp);

/*
 * No more is to come than what was received: it may be written into what --min-free keeps for
 * completing.  True if spool_flush() waited for that.
 */
bool spool_use_reserve(struct spool *sp);

/*
 * Complete no more of what earlier runs left than the file in hand: the next start goes on.  To be
 * called once a signal asks for the end.
 */
void spool_stop_salvage(struct spool *sp);

/* Readable when spool_reap() has something to do. */
int spool_fd(const struct spool *sp);

/*
 * Deliver reports, start commands, remove what is no longer kept.  1: everything that ended is
 * completed, its commands have succeeded, and what was to be removed is; 0: more is to be done; -1:
 * completing failed: what passes (fdio_passes()) it waits for, and goes on by itself; anything else: for
 * good, spool_failure() says what.
 */
int spool_reap(struct spool *sp);

/* What the last failure was, with the path; "" if there was none. */
const char *spool_failure(const struct spool *sp);

/*
 * Free sp, unlock.  What is unfinished then, in sessions that were not closed or because completing
 * failed, is left for the next spool_open() to recover; a completing or removing under way is finished
 * first, but one that waits for space, or takes longer than a second, is given up; the latter is not
 * even freed, because only the end of the process ends it.  NULL is fine.
 */
void spool_close(struct spool *sp);

#endif
