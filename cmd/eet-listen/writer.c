/*
 * See writer.h.  O_NONBLOCK belongs to the open file, which other programs share with our standard
 * output: a pipe is therefore opened once more for us alone.  Where that is not allowed, and for
 * sockets, the flag is set and given back at the end.
 */
#include "writer.h"

#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { LOOK_US = 1000000 };

static bool
pollable(const struct writer *w)
{
	return w->type == S_IFIFO || w->type == S_IFSOCK;
}

static void
on_poll(uv_poll_t *handle, int status, int events)
{
	struct writer *w = handle->data;

	(void)events;
	w->blocked = false;
	if (status < 0) /* the other end is gone; libuv does not watch any more */
		w->error = EPIPE;
	else
		writer_write(w);
	w->progress(w->arg);
}

/* Wait for room; on a pipe also for the end of its reader, or it would not be noticed in time. */
static void
watch(struct writer *w)
{
	int events = (w->blocked ? UV_WRITABLE : 0) | (w->type == S_IFIFO ? UV_DISCONNECT : 0);

	if (events == w->events || !pollable(w) || w->error != 0)
		return;
	w->events = events;
	if (events == 0)
		uv_poll_stop(&w->poll);
	else
		uv_poll_start(&w->poll, events, on_poll);
}

int
writer_open(struct writer *w, uv_loop_t *loop, const struct queue *q, int fd, bool own,
    const char *name)
{
	char path[64];
	struct stat st;
	int again, e;

	if (fstat(fd, &st) == -1)
		return -1;
	w->queue = q;
	w->name = name;
	w->fd = fd;
	w->type = st.st_mode & S_IFMT;
	w->own = own;
	w->restore = -1;
	w->position = q->end;
	w->blocked = w->full = false;
	w->named = w->type == S_IFREG && st.st_nlink > 0;
	w->looked_us = clock_now();
	w->error = w->events = 0;
	if (!pollable(w))
		return 0;
	if (w->type == S_IFIFO && !own) {
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		if ((again = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC)) != -1) {
			w->fd = again;
			w->own = true;
		}
	}
	if (!w->own && (w->restore = fcntl(fd, F_GETFL)) == -1)
		return -1;
	if ((e = uv_poll_init(loop, &w->poll, w->fd)) < 0) {
		errno = -e;
		return -1;
	}
	w->poll.data = w;
	watch(w);
	return 0;
}

/* Write once, as much of the queue as one call takes.  Bytes written, or -1 with errno. */
static ssize_t
write_some(const struct writer *w, size_t *totalo)
{
	struct iovec iov[64];
	struct msghdr msg = { .msg_iov = iov };
	const struct queue_block *b = queue_at(w->queue, w->position);
	size_t skip = (size_t)(w->position - b->start);
	ssize_t n;
	int count;

	*totalo = 0;
	for (count = 0; b != NULL && count < 64; b = b->next, skip = 0, count++) {
		iov[count].iov_base = (uint8_t *)b->data + skip;
		iov[count].iov_len = b->used - skip;
		*totalo += b->used - skip;
	}
	msg.msg_iovlen = (size_t)count;
	do
		n = w->type == S_IFSOCK ? sendmsg(w->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL)
					: writev(w->fd, iov, count);
	while (n == -1 && errno == EINTR);
	return n;
}

/* Once a second: what was removed is written to without an error. */
static void
look(struct writer *w)
{
	struct stat st;

	if (!w->named || w->error != 0 || clock_now() - w->looked_us < LOOK_US)
		return;
	w->looked_us = clock_now();
	if (fstat(w->fd, &st) == 0 && st.st_nlink == 0)
		w->error = ENOENT;
}

void
writer_write(struct writer *w)
{
	size_t total;
	ssize_t n;

	w->full = false;
	look(w);
	while (w->error == 0 && !w->blocked && w->position < w->queue->end) {
		n = write_some(w, &total);
		if (n >= 0) {
			w->position += (uint64_t)n;
			/* A pipe that took less than all is full: no need to hear it say so. */
			w->blocked = (size_t)n < total && pollable(w);
		} else if (errno == EAGAIN && pollable(w)) {
			w->blocked = true;
		} else if (errno == ENOSPC || errno == EDQUOT) {
			w->full = true;
			break;
		} else {
			w->error = errno;
		}
	}
	watch(w);
}

int
writer_close(struct writer *w)
{
	if (pollable(w)) {
		uv_close((uv_handle_t *)&w->poll, NULL);
		if (w->restore != -1)
			fcntl(w->fd, F_SETFL, w->restore);
	}
	return w->own ? close(w->fd) : 0;
}
