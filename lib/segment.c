#include "segment.h"

#include "fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* So many are synced with one call. */
enum { SYNC_ALL = 8 };

/* Made and unlinked, where the file system has no files without a name, to see whose it is. */
#define PROBE_FILE ".owner"

void
segment_path(const struct segment_dir *d, const struct name *n, const char *extension,
    char out[SEGMENT_PATH])
{
	char file[NAME_FILE_SIZE];

	name_file(n, extension, file);
	snprintf(out, SEGMENT_PATH, "%s/%s", d->path, file);
}

/*
 * ---- Ours ----
 */

/* A new file.  One of that name was left by a crash, or is a stranger's, whose owner says nothing. */
static int
make_probe(int dir)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
	int fd = openat(dir, PROBE_FILE, flags, 0600);

	if (fd == -1 && errno == EEXIST && unlinkat(dir, PROBE_FILE, 0) == 0)
		fd = openat(dir, PROBE_FILE, flags, 0600);
	return fd;
}

uid_t
segment_owner(int dir)
{
	int fd = openat(dir, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);
	bool named = fd == -1 && (fd = make_probe(dir)) != -1;
	uid_t owner = geteuid();
	struct stat st;

	if (fstat(fd != -1 ? fd : dir, &st) == 0)
		owner = st.st_uid;
	if (named)
		unlinkat(dir, PROBE_FILE, 0);
	if (fd != -1)
		close(fd);
	return owner;
}

bool
segment_is_ours(const struct segment_dir *d, const struct stat *st)
{
	return st->st_uid == geteuid() || st->st_uid == d->owner;
}

/*
 * ---- Names ----
 */

static bool
exists(const struct segment_dir *d, const struct name *n, const char *extension)
{
	char file[NAME_FILE_SIZE];
	struct stat st;

	name_file(n, extension, file);
	return fstatat(d->fd, file, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

int
segment_create(const struct segment_dir *d, struct name *n)
{
	for (struct name try = *n; try.time_ms <= NAME_MAX_MS; try.time_ms++) {
		char file[NAME_FILE_SIZE];
		int fd;

		if (exists(d, &try, ".eet") || exists(d, &try, ".wav") ||
		    exists(d, &try, ".wav.part"))
			continue;
		name_file(&try, ".eet.part", file);
		fd = openat(d->fd, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
		    d->mode);
		if (fd == -1 && errno == EEXIST)
			continue;
		if (fd != -1)
			*n = try;
		return fd;
	}
	errno = EEXIST;
	return -1;
}

/*
 * ---- Completing ----
 */

static int
fail(const struct segment_dir *d, const char *file, char failed[SEGMENT_PATH])
{
	snprintf(failed, SEGMENT_PATH, "%s%s%s", d->path, *file != '\0' ? "/" : "", file);
	return -1;
}

/* Is there a .wav of that name, with the bytes of the segment's .wav.part? */
static bool
same_wav(const struct segment_dir *d, const struct segment *s, const struct name *n)
{
	char part[NAME_FILE_SIZE], wav[NAME_FILE_SIZE];

	name_file(&s->name, ".wav.part", part);
	name_file(n, ".wav", wav);
	return fdio_same(d->fd, part, wav);
}

/* Write the WAV, and know the facts. */
static int
write_wav(const struct segment_dir *d, struct segment *s, char failed[SEGMENT_PATH])
{
	char eet[NAME_FILE_SIZE], part[NAME_FILE_SIZE];
	bool wav = d->wav && !s->has_wav;
	int in, out = -1, e;

	name_file(&s->name, s->is_complete ? ".eet" : ".eet.part", eet);
	name_file(&s->name, ".wav.part", part);
	if ((in = openat(d->fd, eet, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)) == -1)
		return fail(d, eet, failed);
	if (wav) {
		unlinkat(d->fd, part, 0);
		out = openat(d->fd, part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
		    d->mode);
		if (out == -1) {
			fail(d, part, failed);
			goto fail;
		}
	}
	if (render_log(in, out, d->layout_given ? &d->layout : NULL, &s->facts) == -1) {
		fail(d, wav ? part : eet, failed);
		goto fail;
	}
	if (out != -1 && close(out) == -1) {
		out = -1;
		fail(d, part, failed);
		goto fail;
	}
	close(in);
	return 0;
fail:
	e = errno;
	if (out != -1)
		close(out);
	if (wav)
		unlinkat(d->fd, part, 0); /* its space may be what the retry needs */
	close(in);
	errno = e;
	return -1;
}

static int
sync_file(const struct segment_dir *d, const struct segment *s, const char *extension,
    char failed[SEGMENT_PATH])
{
	char file[NAME_FILE_SIZE];
	struct stat st;
	int fd, status = 0, e;

	name_file(&s->name, extension, file);
	fd = openat(d->fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd == -1) /* what was taken away or replaced can't be renamed either, or need not be */
		return errno == ENOENT || errno == ELOOP ? 0 : fail(d, file, failed);
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (status = fdio_sync(fd)) == -1)
		fail(d, file, failed);
	e = errno;
	close(fd);
	errno = e;
	return status;
}

/* With the WAV of a segment that an earlier run completed, perhaps without syncing it. */
static int
sync_files(const struct segment_dir *d, const struct segment *s, char failed[SEGMENT_PATH])
{
	if (sync_file(d, s, s->is_complete ? ".eet" : ".eet.part", failed) == -1)
		return -1;
	return s->has_wav ? sync_file(d, s, ".wav", failed)
	    : d->wav      ? sync_file(d, s, ".wav.part", failed)
			  : 0;
}

/*
 * Bring segments[0..n), which are rendered, to that stage.  One after the other, each file costs the
 * file system a step of its journal; where they are many, one call for all is several times as
 * fast.  It also writes what others have changed, and fails (since Linux 5.8) where that fails: then,
 * or where the file system can't do it, each file is asked.  Returns how many got there; if not all,
 * errno and failed[].
 */
static size_t
sync_rendered(const struct segment_dir *d, struct segment *const segments[], size_t n,
    char failed[SEGMENT_PATH])
{
	bool synced = !d->sync || (n >= SYNC_ALL && syncfs(d->fd) == 0);

	for (size_t i = 0; i < n; i++) {
		struct segment *s = segments[i];

		if (s->stage != SEGMENT_GROWN)
			continue;
		if (!synced && sync_files(d, s, failed) == -1)
			return i;
		s->stage = SEGMENT_RENDERED;
	}
	return n;
}

static int
place_eet(const struct segment_dir *d, struct segment *s, char failed[SEGMENT_PATH])
{
	char from[NAME_FILE_SIZE], to[NAME_FILE_SIZE];
	struct name n = s->name;

	name_file(&n, ".eet.part", from);
	/*
	 * Taken by now only if a stranger put a file there; then the segment moves on, but not to
	 * where another one waits for its place.  Or there is its own WAV: a power cut may have
	 * undone the renaming of the .eet, and not the second one.
	 */
	for (; n.time_ms <= NAME_MAX_MS; n.time_ms++) {
		if (d->wav && exists(d, &n, ".wav") && !same_wav(d, s, &n))
			continue;
		if (n.time_ms != s->name.time_ms &&
		    (exists(d, &n, ".eet.part") || exists(d, &n, ".wav.part")))
			continue;
		name_file(&n, ".eet", to);
		if (fdio_rename_new(d->fd, from, to) == 0)
			break;
		if (errno != EEXIST)
			return fail(d, to, failed);
	}
	if (n.time_ms != s->name.time_ms && d->wav) {
		name_file(&s->name, ".wav.part", from);
		name_file(&n, ".wav.part", to);
		if (fdio_rename_new(d->fd, from, to) == -1)
			return fail(d, to, failed);
	}
	s->name = n;
	s->is_complete = true;
	return 0;
}

static int
place_wav(const struct segment_dir *d, struct segment *s, char failed[SEGMENT_PATH])
{
	char from[NAME_FILE_SIZE], to[NAME_FILE_SIZE];

	name_file(&s->name, ".wav.part", from);
	name_file(&s->name, ".wav", to);
	if (fdio_rename_new(d->fd, from, to) == -1 &&
	    (errno != EEXIST || !same_wav(d, s, &s->name) ||
		renameat(d->fd, from, d->fd, to) == -1))
		return fail(d, to, failed);
	s->has_wav = true;
	return 0;
}

int
segment_complete(const struct segment_dir *d, struct segment *const segments[], size_t n,
    char failed[SEGMENT_PATH])
{
	bool renamed = false;
	size_t rendered = 0, ready;
	int e;

	while (rendered < n &&
	    (segments[rendered]->stage != SEGMENT_GROWN ||
		write_wav(d, segments[rendered], failed) == 0))
		rendered++;
	e = errno;
	if ((ready = sync_rendered(d, segments, rendered, failed)) < rendered)
		e = errno;
	for (size_t i = 0; i < ready; i++) {
		struct segment *s = segments[i];

		if (s->stage == SEGMENT_PLACED)
			continue;
		if (!s->is_complete && place_eet(d, s, failed) == -1)
			return -1;
		if (d->wav && !s->has_wav && place_wav(d, s, failed) == -1)
			return -1;
		renamed = true;
	}
	if (renamed && d->sync && fdio_sync(d->fd) == -1)
		return fail(d, "", failed);
	for (size_t i = 0; i < ready; i++)
		segments[i]->stage = SEGMENT_PLACED;
	errno = e;
	return ready == n ? 0 : -1;
}

/* Read all of fd's frames; the reader's session, with its counts, is gone afterwards. */
static int
each_frame(int fd, void (*fn)(void *arg, const struct log_reader *r, const struct log_record *rec),
    void *arg)
{
	struct log_reader *r;
	struct log_record rec;
	enum log_event e;

	if (lseek(fd, 0, SEEK_SET) == -1 || (r = log_new(fd, NULL)) == NULL)
		return -1;
	while ((e = log_get(r, &rec)) != LOG_END && e != LOG_ERROR)
		if (e == LOG_FRAME && !log_is_mux(r))
			fn(arg, r, &rec);
	log_free(r);
	return e == LOG_ERROR ? -1 : 0;
}

static void
note_end(void *arg, const struct log_reader *r, const struct log_record *rec)
{
	uint64_t *end = arg;

	(void)rec;
	*end = log_offset(r);
}

int
segment_cut(int fd, uint64_t *cuto)
{
	struct stat st;
	uint64_t end = 0;

	if (fstat(fd, &st) == -1 || each_frame(fd, note_end, &end) == -1)
		return -1;
	*cuto = (uint64_t)st.st_size - end;
	if (end == 0)
		return 0;
	return *cuto == 0 || ftruncate(fd, (off_t)end) == 0 ? 1 : -1;
}

static void
follow(void *arg, const struct log_reader *r, const struct log_record *rec)
{
	struct stream *s = arg;

	(void)r;
	if (!s->started)
		stream_init(s, &rec->session->format);
	stream_take(s, rec->frame.seq, stream_look(s, rec->frame.seq), 0);
}

int
segment_follow(int fd, struct stream *s)
{
	uint64_t before = s->frames;

	if (each_frame(fd, follow, s) == -1)
		return -1;
	return s->frames > before ? 1 : 0;
}
