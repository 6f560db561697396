#include "retention.h"

#include "index.h"
#include "remover.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct kept {
	struct name name;
	uint64_t bytes;
	uint64_t space;  /* what the disk has for them, in whole blocks */
	const char *why; /* it is being removed, because of that; NULL: it stays */
	bool listed;     /* in the index, which matters at the start alone */
};

/* Oldest first; what is removed leaves at the front, mostly. */
struct queue {
	struct kept *kept;
	size_t first, n, capacity; /* kept[first .. n) */
};

/* In the order of removal: those whose clock was wrong, then all others. */
enum { MISDATED, DATED, QUEUES };

struct retention {
	const struct segment_dir *dir;
	struct retention_limits limits;
	struct queue queues[QUEUES];
	uint64_t bytes; /* of those that stay */
	/* Those that do not. */
	struct remover *remover;
	size_t leaving;
	uint64_t space_leaving; /* so much more will be free */
	uint64_t newest_ms;     /* of those completed since the start; 0: none */
	bool parted;            /* queues[MISDATED] is made */
};

/* A segment with what it takes, which is nothing if it is no longer there. */
static struct kept
measure(const struct retention *r, const struct name *n)
{
	static const char *const extensions[] = { ".eet", ".wav" };
	struct kept k = { .name = *n };

	for (size_t i = 0; i < 2; i++) {
		char file[NAME_FILE_SIZE];
		struct stat st;

		name_file(n, extensions[i], file);
		if (!remover_is_ours(r->dir, file, &st))
			continue;
		k.bytes += (uint64_t)st.st_size;
		k.space += (uint64_t)st.st_blocks * 512;
	}
	return k;
}

static int
append(struct queue *q, struct kept k)
{
	if (q->n == q->capacity) {
		/* Room at the front is used before more is asked for. */
		if (q->first > q->n / 2) {
			memmove(q->kept, q->kept + q->first, (q->n - q->first) * sizeof *q->kept);
			q->n -= q->first;
			q->first = 0;
		} else {
			size_t capacity = q->capacity > 0 ? 2 * q->capacity : 256;
			struct kept *kept = realloc(q->kept, capacity * sizeof *kept);

			if (kept == NULL)
				return -1;
			q->kept = kept;
			q->capacity = capacity;
		}
	}
	q->kept[q->n++] = k;
	return 0;
}

/* A segment more. */
static int
take(struct retention *r, const struct name *n)
{
	struct kept k = measure(r, n);

	if (append(&r->queues[DATED], k) == -1)
		return -1;
	r->bytes += k.bytes;
	return 0;
}

static int
older(const void *a, const void *b)
{
	const struct name *x = &((const struct kept *)a)->name;
	const struct name *y = &((const struct kept *)b)->name;

	if (x->time_ms != y->time_ms)
		return x->time_ms < y->time_ms ? -1 : 1;
	return name_compare(x, y);
}

static void
mark(void *arg, const struct index_item *item)
{
	struct queue *q = arg;
	struct kept key, *k;
	size_t stem;

	if (item->event != INDEX_SEGMENT || name_suffix(item->eet, &stem) != NAME_EET ||
	    !name_parse(item->eet, stem, &key.name))
		return;
	if ((k = bsearch(&key, q->kept, q->n, sizeof *q->kept, older)) != NULL)
		k->listed = true;
}

/* Forget what is not in the index.  0, or -1 with errno. */
static int
forget_unlisted(struct retention *r, int index)
{
	struct queue *q = &r->queues[DATED];
	size_t n = 0;

	if (q->n == 0)
		return 0;
	qsort(q->kept, q->n, sizeof *q->kept, older);
	if (index_each(index, mark, q) == -1)
		return -1;
	for (size_t i = 0; i < q->n; i++) {
		if (q->kept[i].listed)
			q->kept[n++] = q->kept[i];
		else
			r->bytes -= q->kept[i].bytes;
	}
	q->n = n;
	return 0;
}

struct retention *
retention_new(const struct segment_dir *d, int index, const struct retention_limits *l)
{
	struct retention *r = calloc(1, sizeof *r);
	int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), status = 0, e;
	DIR *dir = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (r == NULL || dir == NULL) {
		e = errno;
		if (dir != NULL)
			closedir(dir);
		else if (fd != -1)
			close(fd);
		free(r);
		errno = e;
		return NULL;
	}
	r->dir = d;
	r->limits = *l;
	while (status == 0 && (errno = 0, (entry = readdir(dir)) != NULL)) {
		struct name n;
		struct stat st;
		size_t stem;

		if (name_suffix(entry->d_name, &stem) == NAME_EET &&
		    name_parse(entry->d_name, stem, &n) && remover_is_ours(d, entry->d_name, &st))
			status = take(r, &n);
	}
	if (status == 0)
		status = errno == 0 ? forget_unlisted(r, index) : -1;
	if (status == 0 && (r->remover = remover_new(d)) == NULL)
		status = -1;
	e = errno;
	closedir(dir);
	if (status == 0)
		return r;
	retention_free(r);
	errno = e;
	return NULL;
}

int
retention_add(struct retention *r, const struct name *n)
{
	struct queue *q = &r->queues[DATED];
	size_t i;

	if (take(r, n) == -1)
		return -1;
	for (i = q->n - 1; i > q->first && older(&q->kept[i], &q->kept[i - 1]) < 0; i--) {
		struct kept swap = q->kept[i];

		q->kept[i] = q->kept[i - 1];
		q->kept[i - 1] = swap;
	}
	if (n->time_ms > r->newest_ms)
		r->newest_ms = n->time_ms;
	return 0;
}

/*
 * What was there at the start and is dated behind all that came since, and behind now, was made by a
 * clock that was wrong, or is called so by one that is.  It is older than what comes: else that
 * would be removed as soon as it is complete, for as long as the clock was wrong.
 */
static int
part(struct retention *r, uint64_t now_us)
{
	struct queue *q = &r->queues[DATED];
	size_t i = q->n;

	while (i > q->first && q->kept[i - 1].name.time_ms > r->newest_ms &&
	    q->kept[i - 1].name.time_ms > now_us / 1000)
		i--;
	for (size_t k = i; k < q->n; k++)
		if (append(&r->queues[MISDATED], q->kept[k]) == -1) {
			r->queues[MISDATED].n = 0;
			return -1;
		}
	q->n = i;
	r->parted = true;
	return 0;
}

/* Which limit is passed, in words, or NULL.  oldest: the candidate for removal. */
static const char *
over(const struct retention *r, const struct kept *oldest, uint64_t now_us)
{
	struct statvfs fs;

	if (r->limits.keep_age_us > 0 && now_us > r->limits.keep_age_us &&
	    oldest->name.time_ms * 1000 < now_us - r->limits.keep_age_us)
		return "keep-age";
	if (r->limits.keep_bytes > 0 && r->bytes > r->limits.keep_bytes)
		return "keep-bytes";
	if (r->limits.min_free > 0 && fstatvfs(r->dir->fd, &fs) == 0 &&
	    (uint64_t)fs.f_bavail * fs.f_frsize + r->space_leaving < r->limits.min_free)
		return "min-free";
	return NULL;
}

/* Have those of a queue that are over a limit removed, as many as may be under way. */
static void
choose(struct retention *r, struct queue *q, uint64_t now_us,
    bool (*needed)(void *arg, const struct name *n), void *arg)
{
	size_t at = q->first;
	const char *why;

	/* Where no limit is passed, who is needed need not be asked. */
	if (at == q->n || over(r, &q->kept[at], now_us) == NULL)
		return;
	for (; r->leaving < REMOVER_MOST; at++) {
		struct kept *k;

		while (at < q->n && (q->kept[at].why != NULL || needed(arg, &q->kept[at].name)))
			at++;
		if (at == q->n || (why = over(r, &q->kept[at], now_us)) == NULL)
			return;
		k = &q->kept[at];
		k->why = why;
		r->bytes -= k->bytes;
		r->leaving++;
		r->space_leaving += k->space;
		remover_put(r->remover, &k->name);
	}
}

/* The one of that name, which is being removed, and where it is. */
static struct kept *
find(struct retention *r, const struct name *n, struct queue **qo)
{
	for (struct queue *q = r->queues; q < r->queues + QUEUES; q++)
		for (size_t i = q->first; i < q->n; i++)
			if (q->kept[i].why != NULL && name_compare(&q->kept[i].name, n) == 0) {
				*qo = q;
				return &q->kept[i];
			}
	return NULL;
}

/* Hear what became of those that were to be removed.  0, or -1 with errno: one was not. */
static int
hear(struct retention *r,
    void (*removed)(void *arg, const struct name *n, bool wav, uint64_t bytes, const char *why),
    void *arg, char failed[SEGMENT_PATH])
{
	struct remover_result result;
	int e = 0;

	while (remover_take(r->remover, &result)) {
		struct queue *q;
		struct kept *k = find(r, &result.name, &q);

		r->leaving--;
		r->space_leaving -= k->space;
		if (result.error != 0) {
			r->bytes += k->bytes;
			k->why = NULL;
			if (e == 0)
				segment_path(r->dir, &result.name, result.failed, failed);
			e = e == 0 ? result.error : e;
			continue;
		}
		if (result.was_there)
			removed(arg, &result.name, result.had_wav, k->bytes, k->why);
		/* Those before it stay, a place further on. */
		memmove(q->kept + q->first + 1, q->kept + q->first,
		    (size_t)(k - (q->kept + q->first)) * sizeof *k);
		q->first++;
	}
	errno = e;
	return e == 0 ? 0 : -1;
}

int
retention_fd(const struct retention *r)
{
	return remover_fd(r->remover);
}

int
retention_step(struct retention *r, uint64_t now_us, bool more,
    bool (*needed)(void *arg, const struct name *n),
    void (*removed)(void *arg, const struct name *n, bool wav, uint64_t bytes, const char *why),
    void *arg, char failed[SEGMENT_PATH])
{
	if (hear(r, removed, arg, failed) == -1)
		return -1;
	if (!r->parted && r->newest_ms > 0 && part(r, now_us) == -1) {
		snprintf(failed, SEGMENT_PATH, "%s", r->dir->path);
		return -1;
	}
	for (size_t i = 0; more && i < QUEUES; i++)
		choose(r, &r->queues[i], now_us, needed, arg);
	return 0;
}

bool
retention_idle(const struct retention *r)
{
	return r->leaving == 0;
}

bool
retention_free(struct retention *r)
{
	bool ended;

	if (r == NULL)
		return true;
	ended = remover_end(r->remover);
	for (size_t i = 0; i < QUEUES; i++)
		free(r->queues[i].kept);
	free(r);
	return ended;
}
