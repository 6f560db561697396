#include "remover.h"

#include "thread.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum { THREADS = 4 };

struct removal {
	struct remover_result result;
	bool is_done;
};

struct remover {
	const struct segment_dir *dir;
	int event; /* eventfd: the first one is done */
	pthread_t threads[THREADS];
	size_t n_threads;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t wake;
	/* A ring; the counts only grow.  [first, next) is being done, or is, [next, end) waits. */
	struct removal removals[REMOVER_MOST];
	size_t first, next, end;
	bool ending;
};

/*
 * In the order of removal: the WAV first, so that what is cut short leaves a log, from which all can
 * be made again.
 */
static const char *const extensions[] = { ".wav", ".eet.damaged", ".eet" };

enum { FILES = sizeof extensions / sizeof extensions[0] };

/* Which of a segment's files are there, and ours; all false if none of its logs is. */
static void
look(const struct segment_dir *d, const struct name *n, bool ours[FILES], struct stat st[FILES])
{
	char file[NAME_FILE_SIZE];

	for (size_t i = 0; i < FILES; i++) {
		name_file(n, extensions[i], file);
		ours[i] = fstatat(d->fd, file, &st[i], AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st[i].st_mode) && segment_is_ours(d, &st[i]);
	}
	ours[0] = ours[0] && (ours[1] || ours[2]);
}

struct remover_size
remover_measure(const struct segment_dir *d, const struct name *n)
{
	struct remover_size size = { 0 };
	struct stat st[FILES];
	bool ours[FILES];

	look(d, n, ours, st);
	for (size_t i = 0; i < FILES; i++)
		if (ours[i]) {
			size.files++;
			size.bytes += (uint64_t)st[i].st_size;
			size.space += (uint64_t)st[i].st_blocks * 512;
		}
	return size;
}

/*
 * A segment whose line waits for space has the names of its parts, too, and gives nothing back while
 * they are there.  A part that is another file is another segment's.
 */
static void
remove_part(const struct segment_dir *d, const struct name *n, const char *extension,
    const struct stat *st)
{
	char part[NAME_FILE_SIZE], with_part[sizeof ".eet.damaged.part"];
	struct stat other;

	snprintf(with_part, sizeof with_part, "%s.part", extension);
	name_file(n, with_part, part);
	if (st->st_nlink > 1 && fstatat(d->fd, part, &other, AT_SYMLINK_NOFOLLOW) == 0 &&
	    other.st_dev == st->st_dev && other.st_ino == st->st_ino)
		unlinkat(d->fd, part, 0);
}

static void
remove_segment(const struct segment_dir *d, struct remover_result *r)
{
	char file[NAME_FILE_SIZE];
	struct stat st[FILES];
	bool ours[FILES];

	look(d, &r->name, ours, st);
	for (size_t i = 0; i < FILES; i++) {
		name_file(&r->name, extensions[i], file);
		if (!ours[i])
			continue;
		remove_part(d, &r->name, extensions[i], &st[i]);
		if (unlinkat(d->fd, file, 0) == 0) {
			r->was_there = true;
			r->bytes += (uint64_t)st[i].st_size;
		} else if (errno != ENOENT) {
			r->error = errno;
			r->failed = extensions[i];
			return;
		}
	}
}

static struct removal *
at(struct remover *r, size_t count)
{
	return &r->removals[count % REMOVER_MOST];
}

static void
announce(struct remover *r)
{
	uint64_t one = 1;

	/* Fails only when the counter is full, and then it is readable anyway. */
	if (write(r->event, &one, sizeof one) == -1)
		return;
}

static void *
work(void *arg)
{
	struct remover *r = arg;

	pthread_mutex_lock(&r->lock);
	for (;;) {
		struct removal *mine;

		while (!r->ending && r->next == r->end)
			pthread_cond_wait(&r->wake, &r->lock);
		if (r->ending)
			break;
		mine = at(r, r->next++);
		pthread_mutex_unlock(&r->lock);
		remove_segment(r->dir, &mine->result);
		pthread_mutex_lock(&r->lock);
		mine->is_done = true;
		if (at(r, r->first)->is_done)
			announce(r);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

struct remover *
remover_new(const struct segment_dir *d)
{
	struct remover *r = calloc(1, sizeof *r);
	int e;

	if (r == NULL)
		return NULL;
	r->dir = d;
	if ((r->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) == -1) {
		free(r);
		return NULL;
	}
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->wake, NULL);
	for (; r->n_threads < THREADS; r->n_threads++)
		if (thread_start(&r->threads[r->n_threads], work, r) == -1) {
			e = errno;
			remover_end(r);
			errno = e;
			return NULL;
		}
	return r;
}

void
remover_put(struct remover *r, const struct name *n)
{
	pthread_mutex_lock(&r->lock);
	*at(r, r->end++) = (struct removal){ .result.name = *n };
	pthread_cond_signal(&r->wake);
	pthread_mutex_unlock(&r->lock);
}

int
remover_fd(const struct remover *r)
{
	return r->event;
}

bool
remover_take(struct remover *r, struct remover_result *o)
{
	uint64_t n;
	bool is_done;

	pthread_mutex_lock(&r->lock);
	is_done = r->first < r->next && at(r, r->first)->is_done;
	if (is_done)
		*o = at(r, r->first++)->result;
	else if (read(r->event, &n, sizeof n) == -1)
		n = 0; /* nothing was announced: fine */
	pthread_mutex_unlock(&r->lock);
	return is_done;
}

bool
remover_end(struct remover *r)
{
	if (r == NULL)
		return true;
	pthread_mutex_lock(&r->lock);
	r->ending = true;
	pthread_cond_broadcast(&r->wake);
	pthread_mutex_unlock(&r->lock);
	if (!thread_end(r->threads, r->n_threads))
		return false;
	pthread_cond_destroy(&r->wake);
	pthread_mutex_destroy(&r->lock);
	close(r->event);
	free(r);
	return true;
}
