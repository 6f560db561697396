#include "retention.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { AT_ONCE = 16 };

struct kept {
	struct name name;
	uint64_t bytes;
};

/* Oldest first; what is removed leaves at the front, mostly. */
struct retention {
	const struct segment_dir *dir;
	struct retention_limits limits;
	struct kept *kept;
	size_t first, n, capacity; /* kept[first .. n) */
	uint64_t bytes;
};

static const char *const extensions[] = { ".eet", ".wav" };

/*
 * Is there a file of a segment, and is it ours: regular, of our user?  Whatever else has such a name
 * is somebody else's, counts for nothing and stays.
 */
static bool
is_ours(const struct retention *r, const char *file, struct stat *sto)
{
	return fstatat(r->dir->fd, file, sto, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(sto->st_mode) &&
	    sto->st_uid == geteuid();
}

/* What a segment takes on disk; 0 if it is no longer there. */
static uint64_t
size_of(const struct retention *r, const struct name *n)
{
	char file[NAME_FILE_SIZE];
	uint64_t bytes = 0;

	for (size_t i = 0; i < 2; i++) {
		struct stat st;

		name_file(n, extensions[i], file);
		if (is_ours(r, file, &st))
			bytes += (uint64_t)st.st_size;
	}
	return bytes;
}

static int
append(struct retention *r, const struct name *n)
{
	if (r->n == r->capacity) {
		/* Room at the front is used before more is asked for. */
		if (r->first > r->n / 2) {
			memmove(r->kept, r->kept + r->first, (r->n - r->first) * sizeof *r->kept);
			r->n -= r->first;
			r->first = 0;
		} else {
			size_t capacity = r->capacity > 0 ? 2 * r->capacity : 256;
			struct kept *kept = realloc(r->kept, capacity * sizeof *kept);

			if (kept == NULL)
				return -1;
			r->kept = kept;
			r->capacity = capacity;
		}
	}
	r->kept[r->n++] = (struct kept){ .name = *n, .bytes = size_of(r, n) };
	r->bytes += r->kept[r->n - 1].bytes;
	return 0;
}

static int
older(const void *a, const void *b)
{
	const struct name *x = &((const struct kept *)a)->name;
	const struct name *y = &((const struct kept *)b)->name;

	if (x->time_ms != y->time_ms)
		return x->time_ms < y->time_ms ? -1 : 1;
	return x->session < y->session ? -1 : x->session > y->session;
}

struct retention *
retention_new(const struct segment_dir *d, const struct retention_limits *l)
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
	while (errno = 0, status == 0 && (entry = readdir(dir)) != NULL) {
		struct name n;
		struct stat st;
		size_t stem;

		if (name_suffix(entry->d_name, &stem) == NAME_EET &&
		    name_parse(entry->d_name, stem, &n) && is_ours(r, entry->d_name, &st))
			status = append(r, &n);
	}
	e = errno;
	closedir(dir);
	if (status == -1 || e != 0) {
		retention_free(r);
		errno = e;
		return NULL;
	}
	if (r->n > 0)
		qsort(r->kept, r->n, sizeof *r->kept, older);
	return r;
}

int
retention_add(struct retention *r, const struct name *n)
{
	size_t i;

	if (append(r, n) == -1)
		return -1;
	for (i = r->n - 1; i > r->first && older(&r->kept[i], &r->kept[i - 1]) < 0; i--) {
		struct kept swap = r->kept[i];

		r->kept[i] = r->kept[i - 1];
		r->kept[i - 1] = swap;
	}
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
	    (uint64_t)fs.f_bavail * fs.f_frsize < r->limits.min_free)
		return "min-free";
	return NULL;
}

/* 1, or 0 if a stranger was faster; -1 errno, failed[]. */
static int
remove_segment(const struct retention *r, const struct kept *k, char failed[SEGMENT_PATH])
{
	char file[NAME_FILE_SIZE];
	struct stat st;
	int was_there = 0;

	/* The WAV first: what is cut short leaves a log, from which all can be made again. */
	for (size_t i = 2; i-- > 0;) {
		name_file(&k->name, extensions[i], file);
		if (!is_ours(r, file, &st))
			continue;
		if (unlinkat(r->dir->fd, file, 0) == 0) {
			was_there = 1;
		} else if (errno != ENOENT) {
			segment_path(r->dir, &k->name, extensions[i], failed);
			return -1;
		}
	}
	return was_there;
}

int
retention_step(struct retention *r, uint64_t now_us,
    bool (*needed)(void *arg, const struct name *n),
    void (*removed)(void *arg, const struct name *n, uint64_t bytes, const char *why), void *arg,
    char failed[SEGMENT_PATH])
{
	size_t at = r->first;

	/* Where no limit is passed, who is needed need not be asked. */
	if (at == r->n || over(r, &r->kept[at], now_us) == NULL)
		return 1;
	for (int left = AT_ONCE; left > 0; left--) {
		struct kept k;
		const char *why;
		int was_there;

		while (at < r->n && needed(arg, &r->kept[at].name))
			at++;
		if (at == r->n || (why = over(r, &r->kept[at], now_us)) == NULL)
			return 1;
		k = r->kept[at];
		if ((was_there = remove_segment(r, &k, failed)) == -1)
			return -1;
		/* Those before it stay, a place further on. */
		memmove(r->kept + r->first + 1, r->kept + r->first,
		    (at - r->first) * sizeof *r->kept);
		r->first++;
		at++;
		r->bytes -= k.bytes;
		if (was_there)
			removed(arg, &k.name, k.bytes, why);
	}
	return 0;
}

void
retention_free(struct retention *r)
{
	if (r == NULL)
		return;
	free(r->kept);
	free(r);
}
