#include "sink.h"

#include "cli.h"
#include "fdio.h"
#include "stop.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

enum { BATCH = 256 }; /* pieces in one system call */

static void
add_due(struct sinks *ss, struct sink *s)
{
	if (s->due)
		return;
	s->due = true;
	s->next = ss->due;
	ss->due = s;
}

bool
sinks_add(struct sinks *ss, struct sink *s, const void *data, size_t len)
{
	struct sink_piece *p = s->last;

	if (s->lost)
		return true;
	if (p != NULL && (const char *)p->bytes.iov_base + p->bytes.iov_len == (const char *)data) {
		p->bytes.iov_len += len;
		return true;
	}
	if (ss->used == SINK_PIECES && !sinks_flush(ss))
		return false;
	if (s->lost)
		return true;
	p = &ss->pieces[ss->used++];
	p->bytes = (struct iovec){ (void *)data, len };
	p->next = NULL;
	*(s->last != NULL ? &s->last->next : &s->first) = p;
	s->last = p;
	add_due(ss, s);
	return true;
}

void
sinks_end(struct sinks *ss, struct sink *s)
{
	s->ending = true;
	add_due(ss, s);
}

/*
 * Write what is waiting.  0: it is written.  -1: errno, EAGAIN if there has to be room for more of
 * it; what is left still waits.
 */
static int
write_pieces(struct sink *s)
{
	struct sink_piece *batch[BATCH], *p;
	struct iovec iov[BATCH];
	size_t n, done;

	if (s->first != NULL && s->ops->ready != NULL && s->ops->ready(s) == -1)
		return -1;
	while ((p = s->first) != NULL) {
		for (n = 0; p != NULL && n < BATCH; p = p->next) {
			batch[n] = p;
			iov[n++] = p->bytes;
		}
		if (fdio_writev_full(s->fd, iov, n, &done) == -1) {
			s->first = batch[done];
			s->first->bytes = iov[done];
			return -1;
		}
		s->first = p;
	}
	s->last = NULL;
	return 0;
}

/* The same, but one write of so much as whoever says that there is room surely has room for. */
static int
write_carefully(struct sink *s)
{
	struct iovec *v = &s->first->bytes;
	size_t done;
	int status = fdio_write_full(s->fd, v->iov_base,
	    v->iov_len < PIPE_BUF ? v->iov_len : PIPE_BUF, &done);

	v->iov_base = (char *)v->iov_base + done;
	v->iov_len -= done;
	if (v->iov_len == 0)
		s->first = s->first->next;
	if (s->first == NULL)
		s->last = NULL;
	if (status == 0 && s->first != NULL) {
		errno = EAGAIN;
		status = -1;
	}
	return status;
}

static void
lose(struct sink *s)
{
	s->lost = true;
	s->first = s->last = NULL;
}

/*
 * Write what can be written without waiting, and forget the sinks that are done with.  polled: what
 * poll(2) said about those that are due, in their order; NULL: they were not asked.
 */
static bool
turn(struct sinks *ss, const struct pollfd *polled)
{
	struct sink **link = &ss->due, *s;

	while ((s = *link) != NULL) {
		bool wait = polled != NULL ? (polled++)->revents == 0 : s->careful;

		if (!wait && (s->careful ? write_carefully(s) : write_pieces(s)) == -1) {
			if (errno == EAGAIN)
				wait = true;
			else if (s->ops->failed(s))
				lose(s);
			else
				return false;
		}
		if (wait) {
			link = &s->next;
			continue;
		}
		*link = s->next;
		s->due = false;
		if (s->ending && !s->ops->end(s))
			return false;
	}
	return true;
}

bool
sinks_wait(struct sinks *ss, struct pollfd *p, nfds_t n)
{
	bool on = stop_poll(p, n);

	if (ss->waited != NULL)
		ss->waited(ss->arg);
	return on;
}

/* Wait until one of those that are due can go on. */
static bool
wait_for_room(struct sinks *ss)
{
	size_t n = 0;

	for (const struct sink *s = ss->due; s != NULL; s = s->next)
		n++;
	if (n > ss->room) {
		struct pollfd *polls = reallocarray(ss->polls, 2 * n, sizeof *polls);

		if (polls == NULL)
			cli_die(CLI_EFAIL, "can't wait for %zu outputs", n);
		ss->polls = polls;
		ss->room = 2 * n;
	}
	n = 0;
	for (const struct sink *s = ss->due; s != NULL; s = s->next)
		ss->polls[n++] = (struct pollfd){ .fd = s->fd, .events = POLLOUT };
	return sinks_wait(ss, ss->polls, n);
}

bool
sinks_flush(struct sinks *ss)
{
	bool sound = turn(ss, NULL);

	while (sound && ss->due != NULL) {
		if (!wait_for_room(ss)) {
			for (const struct sink *s = ss->due; s != NULL; s = s->next)
				cli_warnx("%s: stopped, its reader takes nothing", s->label);
			return false;
		}
		sound = turn(ss, ss->polls);
	}
	ss->used = 0;
	return sound;
}
