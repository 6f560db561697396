/*
 * Two buffers: the caller fills `waiting`, the thread writes `going`, and they change places when
 * the thread has nothing left.  The mutex is held for copying and swapping only, never while
 * writing, so lines_put() waits for no reader.
 *
 * The thread blocks in write(2), which no flag of ours could prevent: the descriptor's file may be
 * shared with other programs, whose flags are not ours to change.  When that write doesn't come
 * back, lines_end() leaves l to the thread, which frees it should it ever wake up; hence a
 * descriptor of its own, whose number nobody else can be given meanwhile.
 */
#include "lines.h"

#include "thread.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct buffer {
	char *data;
	size_t len;
	size_t size;
};

struct lines {
	int fd;
	size_t max;
	lines_note *note; /* NULL: what was dropped is not told on the way */
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t work; /* there is something to write, or ending is set */
	pthread_cond_t done; /* bytes went out, or the thread has ended */
	struct buffer waiting;
	struct buffer going;
	size_t written;    /* bytes of going that are out */
	uint64_t progress; /* bytes written in all */
	uint64_t dropped;
	uint64_t told; /* of them, how many note told */
	int error;
	bool ending;
	bool ended;
	bool abandoned; /* nobody waits for the thread any more: l is its own */
};

/* Lines that end in b from byte `from` on. */
static uint64_t
count_lines(const struct buffer *b, size_t from)
{
	uint64_t n = 0;

	for (size_t i = from; i < b->len; i++)
		n += b->data[i] == '\n';
	return n;
}

/*
 * How much to write at once: whole lines, as many as a pipe takes without tearing them apart
 * when others write to it too; a longer line goes in pieces.
 */
static size_t
chunk(const char *p, size_t len)
{
	if (len <= PIPE_BUF)
		return len;

	const char *end = memrchr(p, '\n', PIPE_BUF);

	return end == NULL ? PIPE_BUF : (size_t)(end - p) + 1;
}

/* Write some of p[0..len).  Returns how much; on failure 0, and *erroro. */
static size_t
write_some(int fd, const char *p, size_t len, int *erroro)
{
	ssize_t n = write(fd, p, len);

	if (n >= 0)
		return (size_t)n;
	if (errno == EAGAIN) /* somebody made the file non-blocking */
		poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, -1);
	else if (errno != EINTR)
		*erroro = errno;
	return 0;
}

static void
destroy(struct lines *l)
{
	pthread_cond_destroy(&l->done);
	pthread_cond_destroy(&l->work);
	pthread_mutex_destroy(&l->mutex);
	close(l->fd);
	free(l->waiting.data);
	free(l->going.data);
	free(l);
}

/* Append a line to b, or false when memory is short. */
static bool
append(struct buffer *b, const char *line, size_t len)
{
	if (b->size - b->len < len + 1) {
		size_t size = b->size == 0 ? PIPE_BUF : b->size;

		while (size - b->len < len + 1)
			size *= 2;

		char *data = realloc(b->data, size);

		if (data == NULL)
			return false;
		b->data = data;
		b->size = size;
	}
	memcpy(b->data + b->len, line, len);
	b->data[b->len + len] = '\n';
	b->len += len + 1;
	return true;
}

/* Queue a line, if there is room for it. */
static bool
queue(struct lines *l, const char *line, size_t len)
{
	size_t used = l->waiting.len + l->going.len - l->written;

	return len < l->max - used && append(&l->waiting, line, len);
}

/* Tell what was dropped since this was told last.  False: there is no room for that. */
static bool
tell_dropped(struct lines *l)
{
	char text[LINES_NOTE];

	if (l->note == NULL || l->dropped == l->told)
		return true;
	l->note(text, l->dropped - l->told);
	if (!queue(l, text, strlen(text)))
		return false;
	l->told = l->dropped;
	return true;
}

/* Take what waits to be written, when all else is out.  False: there is nothing. */
static bool
swap(struct lines *l)
{
	struct buffer empty = l->going;

	if (l->waiting.len == 0)
		tell_dropped(l);
	if (l->waiting.len == 0)
		return false;
	l->going = l->waiting;
	l->waiting = empty;
	l->waiting.len = 0;
	l->written = 0;
	return true;
}

static void *
writer(void *arg)
{
	struct lines *l = arg;

	pthread_mutex_lock(&l->mutex);
	while (l->error == 0 && !l->abandoned) {
		if (l->written == l->going.len && !swap(l)) {
			if (l->ending)
				break;
			pthread_cond_wait(&l->work, &l->mutex);
			continue;
		}

		const char *p = l->going.data + l->written;
		size_t len = chunk(p, l->going.len - l->written), done;
		int error = 0;

		pthread_mutex_unlock(&l->mutex);
		done = write_some(l->fd, p, len, &error);
		pthread_mutex_lock(&l->mutex);
		l->error = error;
		l->written += done;
		l->progress += done;
		pthread_cond_signal(&l->done);
	}
	l->ended = true;
	pthread_cond_signal(&l->done);

	bool mine = l->abandoned;

	pthread_mutex_unlock(&l->mutex);
	if (mine)
		destroy(l);
	return NULL;
}

struct lines *
lines_new(int fd, size_t max, lines_note *note)
{
	struct lines *l = calloc(1, sizeof *l);
	pthread_condattr_t attr;
	int error;

	if (l == NULL)
		return NULL;
	l->max = max;
	l->note = note;
	if ((l->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)) == -1) {
		free(l);
		return NULL;
	}
	pthread_mutex_init(&l->mutex, NULL);
	pthread_cond_init(&l->work, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->done, &attr);
	pthread_condattr_destroy(&attr);
	if (thread_start(&l->thread, writer, l) == -1) {
		error = errno;
		destroy(l);
		errno = error;
		return NULL;
	}
	return l;
}

void
lines_put(struct lines *l, const char *line)
{
	pthread_mutex_lock(&l->mutex);
	if (l->error != 0 || !tell_dropped(l) || !queue(l, line, strlen(line)))
		l->dropped++;
	else
		pthread_cond_signal(&l->work);
	pthread_mutex_unlock(&l->mutex);
}

int
lines_error(struct lines *l)
{
	pthread_mutex_lock(&l->mutex);
	int error = l->error;
	pthread_mutex_unlock(&l->mutex);
	return error;
}

/* CLOCK_MONOTONIC in ms milliseconds. */
static struct timespec
in_ms(unsigned ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += (time_t)(ms / 1000);
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

uint64_t
lines_end(struct lines *l, unsigned wait_ms, int *errno_o)
{
	pthread_mutex_lock(&l->mutex);
	l->ending = true;
	pthread_cond_signal(&l->work);

	uint64_t seen = l->progress;
	struct timespec deadline = in_ms(wait_ms);

	while (!l->ended) {
		int timeout = pthread_cond_timedwait(&l->done, &l->mutex, &deadline);

		if (l->progress != seen) {
			seen = l->progress;
			deadline = in_ms(wait_ms);
		} else if (timeout != 0) {
			break;
		}
	}

	pthread_t thread = l->thread;
	bool ended = l->ended;
	uint64_t dropped =
	    l->dropped + count_lines(&l->waiting, 0) + count_lines(&l->going, l->written);

	*errno_o = l->error;
	l->abandoned = !ended;
	pthread_mutex_unlock(&l->mutex);
	if (ended) {
		pthread_join(thread, NULL);
		destroy(l);
	} else {
		pthread_detach(thread);
	}
	return dropped;
}
