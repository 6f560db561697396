/* The input: a file, standard input, or a FIFO, whose first bytes say what it is. */
#ifndef EET_ADPCM_SOURCE_H
#define EET_ADPCM_SOURCE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { SOURCE_HEAD = 4, SOURCE_LOOK = 1 << 16 };

struct source {
	const char *label;
	int fd;
	bool regular;    /* can be read again */
	off_t start;     /* where a regular one begins */
	uint64_t offset; /* how far it is read */
	int error;       /* errno of a read that failed */
	bool stopped;    /* by a signal, before the end */
	uint8_t head[SOURCE_LOOK];
	size_t head_len;
	int pump; /* the pipe into which all is copied; -1 */
};

/* Open path ("-": standard input), which stays the caller's.  False: it can't be, which was said. */
bool source_open(struct source *s, const char *path);

/* Close it, and tell if it was not read to its end.  Returns an exit status. */
int source_close(struct source *s);

/*
 * Read at most len bytes.  0: that was the end, or a signal came, or it failed; source_close() will
 * tell.
 */
size_t source_read(struct source *s, void *buf, size_t len);

/*
 * Read the first len bytes (at most SOURCE_LOOK) into s->head, for a look, if they are not there.
 * Returns how many there are: fewer at the end only.
 */
size_t source_peek(struct source *s, size_t len);

/*
 * A descriptor to read all of it, the head included: a pipe if it is not a regular file, which a
 * thread fills and takes signals meanwhile; nothing else may be read from s then.  -1: it can't be,
 * which was said.
 */
int source_descriptor(struct source *s);

#endif
