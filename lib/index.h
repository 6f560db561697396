/*
 * index.jsonl: one JSON object a line for each completed segment and each
 * ended session, keys always in the same order (eet-formats(5), "Spool").
 */
#ifndef EET_INDEX_H
#define EET_INDEX_H

#include "json.h"
#include "pcm.h"
#include "wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define INDEX_FILE    "index.jsonl"

/* A time or count that is not known: null. */
#define INDEX_UNKNOWN JSON_UNKNOWN

/* Longest line, newline included: a reason of 123 control characters and a peer of 128 fit. */
enum { INDEX_LINE = 4096 };

struct index_entry {
	const char *event; /* "segment", "session" */
	const char *eet;   /* file names; NULL: null, here and below */
	const char *wav;
	uint32_t session;
	const char *tag;  /* "" too: null */
	const char *peer; /* bytes from outside; "" too: null */
	const char *layout;
	const struct wire_handshake *format; /* NULL: unknown, as all that it says but the id */
	uint32_t stream_id;                  /* … which is here then */
	bool
	    has_facts; /* else what only its log tells is null: all numbers from frames on, layout */
	bool has_frames; /* else first_seq, last_seq are null */
	uint32_t first_seq, last_seq;
	uint64_t first_us, last_us;
	uint64_t frames, samples, gaps, gap_frames;
	uint64_t gap_before;
	uint64_t repeats, restarts, damaged;
	const struct pcm_levels *levels;
	bool recovered;
	const char *error;   /* why it is not complete; NULL: it is */
	bool is_session;     /* has close_code and close_reason */
	uint16_t close_code; /* 0: null */
	const char *close_reason;
};

/* Write the line, newline and NUL included.  Returns its length without the NUL. */
size_t index_format(const struct index_entry *e, char out[INDEX_LINE + 1]);

/* Write the line of a segment's --exec command: it is to be run, or has succeeded.  As index_format(). */
size_t index_format_exec(const char *eet, const char *wav, uint32_t session, bool done,
    char out[INDEX_LINE + 1]);

/*
 * Open (create with mode) the index of a directory for appending.  A torn last line, or the zeros
 * that a power cut leaves there, is cut off, and the cut synced; *cuto: how many bytes that were.
 * Descriptor, or -1 with errno.
 */
int index_open(int dirfd, mode_t mode, uint64_t *cuto);

/*
 * Append a line with a single write; any thread may.  0; -1 with errno, and the file as it was
 * before, but for EIO: it may end in a torn line.
 */
int index_append(int fd, const char *line, size_t len);

enum index_event { INDEX_SEGMENT, INDEX_SESSION, INDEX_EXEC_PENDING, INDEX_EXEC_DONE };

/* What a line says. */
struct index_item {
	enum index_event event;
	const char *eet; /* the segment's file; "" for a session */
	uint32_t session;
	const char *line; /* all of it, without newline */
};

/*
 * Is there a line of a completed segment (one without an error) with that eet?  Searched from the
 * end.  1, 0, or -1 with errno.
 */
int index_has(int fd, const char *eet);

/*
 * Call fn for each line.  Memory stays constant; lines that are damaged or not ours are passed over:
 * damage costs the lines that it lies in, no other.  0, or -1 with errno.
 */
int index_each(int fd, void (*fn)(void *arg, const struct index_item *item), void *arg);

#endif
