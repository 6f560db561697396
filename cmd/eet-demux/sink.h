/*
 * A sink is one place that records go to: standard output, a file, a filter's pipe.  What a sink
 * is to get are pieces of the reader's buffer, which are written before the next read.  So nothing
 * is copied, no more than one read waits in memory, and a sink that takes nothing holds back the
 * reading and no other sink.
 */
#ifndef EET_DEMUX_SINK_H
#define EET_DEMUX_SINK_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

enum { SINK_PIECES = 4096 }; /* more than the records of most reads */

struct sink_piece {
	struct iovec bytes;
	struct sink_piece *next;
};

struct sink;

struct sink_ops {
	/* Have s->fd open, before each writing; NULL: it always is.  0, or -1 with errno. */
	int (*ready)(struct sink *s);
	/* Writing failed; errno says why.  True: s is lost, all else goes on.  False: the end. */
	bool (*failed)(struct sink *s);
	/* After sinks_end(), everything is written: close it.  s may be freed.  False: the end. */
	bool (*end)(struct sink *s);
};

struct sink {
	const struct sink_ops *ops;
	const char *label; /* for messages */
	int fd;
	bool careful; /* fd may block: it is asked first, and given no more than it surely takes */

	/* The rest is not for the owner, who begins with zeros. */
	struct sink_piece *first, *last;
	struct sink *next; /* in sinks.due */
	bool due;
	bool ending;
	bool lost;
};

struct sinks {
	void (*waited)(void *arg); /* called after waiting for whatever; NULL: nobody cares */
	void *arg;
	struct sink *due; /* those with something to be done */
	struct pollfd *polls;
	size_t room;
	size_t used;
	struct sink_piece pieces[SINK_PIECES];
};

/* stop_poll(), for all who wait. */
bool sinks_wait(struct sinks *ss, struct pollfd *p, nfds_t n);

/*
 * Give s the bytes at data, which stay where they are until sinks_flush().  False: it had to be
 * flushed, which failed.
 */
bool sinks_add(struct sinks *ss, struct sink *s, const void *data, size_t len);

/* s gets no more: it is ended, by sinks_flush(), as soon as all is written. */
void sinks_end(struct sinks *ss, struct sink *s);

/*
 * Write everything.  Waits for sinks that are blocked.  False: this is the end; a sink failed for
 * good, or stop_now() while one took nothing; which was said.
 */
bool sinks_flush(struct sinks *ss);

#endif
