/*
 * See writer.h.  O_NONBLOCK belongs to the open file, which other programs share with our standard
 * output: a pipe is therefore opened once more for us alone.  Where that is not allowed, and for
 * sockets, the flag is set and given back at the end.
 */
#include "writer.h"

#include "bytes.h"
#include "clock.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { LOOK_US = 1000000, TRIES = 4 /* with a file that is emptied again and again */ };

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
	w->capture = w->named && own;
	w->place = WRITER_IN_PLACE;
	w->size = (uint64_t)st.st_size;
	w->emptied = 0;
	w->head = NULL;
	w->head_len = w->head_done = 0;
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

/*
 * ---- A capture that begins anew ----
 */

/* Where the record begins that holds the queue's byte at that position, or would hold it. */
static uint64_t
record_start(const struct queue *q, uint64_t position)
{
	const struct queue_block *b;
	size_t at = 0, size;

	if (position == q->end)
		return position;
	for (b = queue_at(q, position);; at += size) {
		const uint8_t *p = b->data + at;

		size = le32_load(p) == WIRE_MAGIC_HANDSHAKE ? WIRE_HANDSHAKE_SIZE
							    : LOG_PREFIX_SIZE + le32_load(p + 4);
		if (b->start + at + size > position)
			return b->start + at;
	}
}

static void
drop_head(struct writer *w)
{
	free(w->head);
	w->head = NULL;
	w->head_len = w->head_done = 0;
}

/* The file holds nothing, or nothing to be gone on with: what it lacks comes first. */
static void
begin_anew(struct writer *w, uint64_t size)
{
	drop_head(w);
	w->size = size;
	w->position = record_start(w->queue, w->position);
	w->head = w->begin(w->arg, w->position, &w->head_len);
}

/*
 * Is everything there that was written before, and of the last batch of so many bytes?  If not, it
 * was emptied, and it is as if the batch had not been written: it is all that the file holds, unless
 * it was emptied after it.
 */
static bool
is_there(struct writer *w, size_t batch)
{
	struct stat st;

	if (!w->capture || fstat(w->fd, &st) == -1)
		return true;
	if ((uint64_t)st.st_size >= w->size + batch) {
		w->size = (uint64_t)st.st_size;
		return true;
	}
	if (batch > 0 && (size_t)st.st_size == batch) {
		if (ftruncate(w->fd, 0) == -1) {
			w->error = errno;
			return false;
		}
		st.st_size = 0;
	}
	w->emptied++;
	begin_anew(w, (uint64_t)st.st_size);
	return false;
}

int
writer_reopen(struct writer *w, int fd)
{
	int old = w->fd;
	uint64_t partial = w->position - record_start(w->queue, w->position);

	/* Nothing of it is lost: it is written as a whole to the new file. */
	if (partial > 0 && partial <= w->size)
		(void)!ftruncate(old, (off_t)(w->size - partial));
	w->fd = fd;
	w->place = WRITER_IN_PLACE;
	w->looked_us = clock_now();
	begin_anew(w, 0);
	return old;
}

/*
 * ---- Writing ----
 */

/* Write once, as much of the head and the queue as one call takes.  Bytes, or -1 with errno. */
static ssize_t
write_some(const struct writer *w, size_t *totalo)
{
	struct iovec iov[64];
	struct msghdr msg = { .msg_iov = iov };
	const struct queue_block *b =
	    w->position < w->queue->end ? queue_at(w->queue, w->position) : NULL;
	size_t skip = b != NULL ? (size_t)(w->position - b->start) : 0;
	ssize_t n;
	int count = 0;

	*totalo = w->head_len - w->head_done;
	if (*totalo > 0)
		iov[count++] = (struct iovec){ w->head + w->head_done, *totalo };
	for (; b != NULL && count < 64; b = b->next, skip = 0, count++) {
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

/* So many bytes of the head and the queue were written. */
static void
advance(struct writer *w, size_t n)
{
	size_t head = w->head_len - w->head_done;

	if (n < head) {
		w->head_done += n;
		return;
	}
	if (head > 0)
		drop_head(w);
	w->position += n - head;
}

/* See whether a file is still where it was: nothing fails when it is not. */
static void
look_at_place(struct writer *w)
{
	struct stat st, named;

	if (fstat(w->fd, &st) == -1)
		return;
	if (!w->capture) {
		if (st.st_nlink == 0)
			w->error = ENOENT;
		return;
	}
	w->place = WRITER_IN_PLACE;
	if (st.st_nlink == 0)
		w->place = WRITER_REMOVED;
	else if (stat(w->name, &named) == 0 ? named.st_dev != st.st_dev || named.st_ino != st.st_ino
					    : errno == ENOENT || errno == ENOTDIR)
		w->place = WRITER_MOVED;
}

/* Once a second. */
static void
look(struct writer *w)
{
	if (!w->named || w->error != 0 || clock_now() - w->looked_us < LOOK_US)
		return;
	w->looked_us = clock_now();
	look_at_place(w);
	is_there(w, 0);
}

static bool
lacks(const struct writer *w)
{
	return w->head != NULL || w->position < w->queue->end;
}

void
writer_write(struct writer *w)
{
	size_t total;
	ssize_t n;
	int tries = 0;

	w->full = false;
	look(w);
	while (w->error == 0 && !w->blocked && lacks(w) && tries < TRIES) {
		is_there(w, 0);
		n = write_some(w, &total);
		if (n >= 0) {
			if (!is_there(w, (size_t)n)) {
				tries++;
				continue;
			}
			advance(w, (size_t)n);
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
	if (w->capture) {
		look_at_place(w);
		is_there(w, 0);
	}
	drop_head(w);
	if (pollable(w)) {
		uv_close((uv_handle_t *)&w->poll, NULL);
		if (w->restore != -1)
			fcntl(w->fd, F_SETFL, w->restore);
	}
	return w->own ? close(w->fd) : 0;
}
