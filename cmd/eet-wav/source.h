/* A log to be read: a file, standard input, or the copy of what came through a pipe. */
#ifndef EET_WAV_SOURCE_H
#define EET_WAV_SOURCE_H

#include "name.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct source {
	char *path; /* NULL: standard input */
	const char *label;
	bool regular;    /* can be read as often as needed */
	int fd;          /* standard input, or a copy; -1: path is opened for each reading */
	int pipe;        /* the rest of the copy is there; -1: it is whole, or there is none */
	uint64_t copied; /* bytes */
	off_t start;     /* of the log in fd */
	uint64_t end;    /* reading ends here: known from the first one, in case the file grows */
	bool is_segment; /* of a spool, by its name */
	struct name name;
	size_t order;      /* among the operands */
	size_t dir_length; /* of the directory in path, with its slash; 0: none */
};

/*
 * Take a path ("-": standard input) that is no directory.  0; -1 with errno if there is no such
 * file; s is then as good as freed.
 */
int source_init(struct source *s, const char *path);

void source_free(struct source *s);

/* Open for reading from the start.  Descriptor, or -1 with errno; EINTR: stop_now(). */
int source_open(struct source *s);
void source_close(struct source *s, int fd);

/*
 * Make a source that is not regular one that is: its first reading copies it to a file without a
 * name in dir (NULL: where temporary files go), with source_more() whenever source_pipe() says so,
 * and source_close() ends that.
 * 0; -1: what went wrong was said.
 */
int source_begin_copy(struct source *s, const char *dir);

/* The pipe, if the copy has to grow before it can be read on, else -1. */
int source_pipe(const struct source *s);

/* One read(2) of the pipe.  0; -1 with errno: EAGAIN, or what was said. */
int source_more(struct source *s);

#endif
