#include "segment.h"

#include "fdio.h"
#include "index.h"

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

bool
segment_has(const struct segment_dir *d, const struct name *n, enum name_suffix suffix,
    struct stat *sto)
{
	char file[NAME_FILE_SIZE];
	struct stat st;

	name_file(n, name_extension(suffix), file);
	return fstatat(d->fd, file, sto != NULL ? sto : &st, AT_SYMLINK_NOFOLLOW) == 0;
}

int
segment_create(const struct segment_dir *d, struct name *n)
{
	for (struct name try = *n; try.time_ms <= NAME_MAX_MS; try.time_ms++) {
		char file[NAME_FILE_SIZE];
		int fd;

		if (segment_has(d, &try, NAME_EET, NULL) || segment_has(d, &try, NAME_WAV, NULL) ||
		    segment_has(d, &try, NAME_DAMAGED, NULL) ||
		    segment_has(d, &try, NAME_WAV_PART, NULL))
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
 * ---- Results ----
 */

void
segment_fail(struct segment *s, enum name_suffix file, int error)
{
	s->stage = SEGMENT_FAILED;
	s->failed = file;
	s->error = error;
}

const char *
segment_why(const struct segment *s)
{
	return s->error == SEGMENT_CHANGED ? "not what was written to it" : strerror(s->error);
}

/* What errno says of one of its files is the segment's own failure, or passes: -1. */
static int
fail_or_wait(const struct segment_dir *d, struct segment *s, enum name_suffix file,
    char failed[SEGMENT_PATH])
{
	segment_path(d, &s->name, name_extension(file), failed);
	if (fdio_passes(errno))
		return -1;
	segment_fail(s, file, errno);
	return 0;
}

/*
 * ---- Rendering ----
 */

static enum name_suffix
log_of(const struct segment *s)
{
	return s->is_renamed ? NAME_EET : NAME_EET_PART;
}

static int
open_file(const struct segment_dir *d, const struct name *n, enum name_suffix suffix, int flags)
{
	char file[NAME_FILE_SIZE];

	name_file(n, name_extension(suffix), file);
	return openat(d->fd, file, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, d->mode);
}

static int
remove_file(const struct segment_dir *d, const struct name *n, enum name_suffix suffix)
{
	char file[NAME_FILE_SIZE];

	name_file(n, name_extension(suffix), file);
	return unlinkat(d->fd, file, 0) == 0 || errno == ENOENT ? 0 : -1;
}

/* Decode the log open on in.  *fileo: which file errno is about. */
static int
write_wav(const struct segment_dir *d, struct segment *s, int in, enum name_suffix *fileo)
{
	const enum adpcm_layout *layout = d->layout_given ? &d->layout : NULL;
	int out, status, e;

	*fileo = NAME_WAV_PART;
	if (remove_file(d, &s->name, NAME_WAV_PART) == -1 ||
	    (out = open_file(d, &s->name, NAME_WAV_PART, O_RDWR | O_CREAT | O_EXCL)) == -1)
		return -1;
	status = render_log(in, out, layout, &s->facts);
	e = errno;
	if (close(out) == -1 && status == 0) {
		status = -1;
		e = errno;
	}
	s->has_wav = status == 0;
	if (status == -1)
		remove_file(d, &s->name, NAME_WAV_PART); /* its space may be what the retry needs */
	errno = e;
	return status;
}

/* Writing the WAV failed: it may be the log that can't be read.  Returns -1, with errno as it was. */
static int
name_culprit(struct segment *s, int in, enum name_suffix *fileo)
{
	int e = errno;

	if (!fdio_passes(e) && render_log(in, -1, NULL, &s->facts) == -1)
		*fileo = log_of(s);
	errno = e;
	return -1;
}

/* Know the facts, and have a WAV if there is to be one.  0, or -1 with errno, *fileo says of what. */
static int
decode(const struct segment_dir *d, struct segment *s, int in, enum name_suffix *fileo)
{
	const enum adpcm_layout *layout = d->layout_given ? &d->layout : NULL;

	s->has_wav = false;
	s->wav_error = 0;
	if (d->wav) {
		if (write_wav(d, s, in, fileo) == 0) {
			s->has_placed_wav = false;
			return 0;
		}
		if (errno == EFBIG)
			s->wav_error = EFBIG;
		else if (!fdio_passes(errno) || !s->has_placed_wav)
			return name_culprit(s, in, fileo);
		s->has_wav = s->wav_error == 0;
	}
	*fileo = log_of(s);
	return render_log(in, -1, layout, &s->facts);
}

/* Is its log shorter or longer than what was written to it? */
static bool
has_other_size(const struct segment *s, int in)
{
	struct stat st;

	return s->size != 0 && fstat(in, &st) == 0 && (uint64_t)st.st_size != s->size;
}

/* Is its log damaged, as decode() found that returned status?  What was written to it was sound. */
static bool
has_damage(const struct segment *s, int status, enum name_suffix file)
{
	if (s->size == 0)
		return false;
	return status == 0 ? s->facts.places > 0 : errno == EINVAL && file == log_of(s);
}

int
segment_render(const struct segment_dir *d, struct segment *s, char failed[SEGMENT_PATH])
{
	enum name_suffix file = log_of(s);
	int in, status = 0, e;
	bool changed;

	if (s->stage != SEGMENT_GROWN)
		return 0;
	if ((in = open_file(d, &s->name, file, O_RDONLY)) == -1)
		return fail_or_wait(d, s, file, failed);
	changed = has_other_size(s, in);
	if (!changed) {
		status = decode(d, s, in, &file);
		changed = has_damage(s, status, file);
	}
	e = errno;
	close(in);
	errno = e;
	if (changed)
		segment_fail(s, log_of(s), SEGMENT_CHANGED);
	else if (status == -1)
		return fail_or_wait(d, s, file, failed);
	else
		s->stage = SEGMENT_RENDERED;
	return 0;
}

/* Is a .wav.part to become its .wav? */
static bool
places_wav(const struct segment *s)
{
	return s->has_wav && !s->has_placed_wav;
}

/*
 * ---- Syncing ----
 */

/* 0; what was taken away or replaced can't be placed either, and is met there. */
static int
sync_file(const struct segment_dir *d, const struct segment *s, enum name_suffix suffix)
{
	int fd = open_file(d, &s->name, suffix, O_RDONLY), status, e;

	if (fd == -1)
		return errno == ENOENT || errno == ELOOP ? 0 : -1;
	status = fdio_sync(fd);
	e = errno;
	close(fd);
	errno = e;
	return status;
}

static void
sync_files(const struct segment_dir *d, struct segment *s)
{
	if (sync_file(d, s, log_of(s)) == -1)
		segment_fail(s, log_of(s), errno);
	else if (places_wav(s) && sync_file(d, s, NAME_WAV_PART) == -1)
		segment_fail(s, NAME_WAV_PART, errno);
}

/*
 * One after the other, each file costs the file system a step of its journal; where they are many,
 * one call for all is several times as fast.  It also writes what others have changed, and fails
 * (since Linux 5.8) where that fails: then, or where the file system can't do it, each file is asked.
 */
void
segment_sync(const struct segment_dir *d, struct segment *const segments[], size_t n)
{
	size_t rendered = 0;
	bool synced;

	for (size_t i = 0; i < n; i++)
		rendered += segments[i]->stage == SEGMENT_RENDERED;
	synced = !d->sync || (rendered >= SYNC_ALL && syncfs(d->fd) == 0);
	for (size_t i = 0; i < n; i++) {
		if (segments[i]->stage != SEGMENT_RENDERED)
			continue;
		if (!synced)
			sync_files(d, segments[i]);
		if (segments[i]->stage == SEGMENT_RENDERED)
			segments[i]->stage = SEGMENT_SYNCED;
	}
}

/*
 * ---- Placing ----
 */

static int
move(const struct segment_dir *d, const struct name *a, enum name_suffix from, const struct name *b,
    enum name_suffix to)
{
	char old[NAME_FILE_SIZE], new[NAME_FILE_SIZE];

	name_file(a, name_extension(from), old);
	name_file(b, name_extension(to), new);
	return fdio_rename_new(d->fd, old, new);
}

/* Is one of the names that a segment may need taken, by whatever file? */
static bool
is_taken(const struct segment_dir *d, const struct name *n)
{
	for (enum name_suffix s = NAME_EET; s < NAME_SUFFIXES; s++)
		if (segment_has(d, n, s, NULL))
			return true;
	return false;
}

/* Are both names of one file? */
static bool
is_linked(const struct segment_dir *d, const struct name *n, enum name_suffix part,
    enum name_suffix whole)
{
	struct stat p, w;

	return segment_has(d, n, part, &p) && segment_has(d, n, whole, &w) &&
	    p.st_dev == w.st_dev && p.st_ino == w.st_ino;
}

int
segment_move_on(const struct segment_dir *d, struct segment *s)
{
	struct name n = s->name;

	do
		n.time_ms++;
	while (n.time_ms <= NAME_MAX_MS && is_taken(d, &n));
	if (n.time_ms > NAME_MAX_MS) {
		errno = EEXIST;
		return -1;
	}
	if (remove_file(d, &s->name, NAME_LINE_PART) == -1 ||
	    (is_linked(d, &s->name, NAME_EET_PART, NAME_EET) &&
		remove_file(d, &s->name, NAME_EET) == -1) ||
	    (places_wav(s) ? move(d, &s->name, NAME_WAV_PART, &n, NAME_WAV_PART)
			   : remove_file(d, &s->name, NAME_WAV_PART)) == -1 ||
	    (s->has_damaged && move(d, &s->name, NAME_DAMAGED, &n, NAME_DAMAGED) == -1) ||
	    move(d, &s->name, NAME_EET_PART, &n, NAME_EET_PART) == -1)
		return -1;
	s->name = n;
	return 0;
}

/* Is there another file than the part in its place?  same: one with the same bytes is none. */
static bool
is_foreign(const struct segment_dir *d, const struct name *n, enum name_suffix part,
    enum name_suffix whole, bool same)
{
	char a[NAME_FILE_SIZE], b[NAME_FILE_SIZE];

	if (!segment_has(d, n, whole, NULL) || is_linked(d, n, part, whole))
		return false;
	name_file(n, name_extension(part), a);
	name_file(n, name_extension(whole), b);
	return !same || !fdio_same(d->fd, a, b);
}

/*
 * A name is taken only if a stranger put a file there.  A WAV with the same bytes is the segment's
 * own: it was placed before a crash, and its .wav.part made anew.
 */
static bool
is_name_taken(const struct segment_dir *d, const struct segment *s)
{
	return is_foreign(d, &s->name, NAME_EET_PART, NAME_EET, false) ||
	    (places_wav(s) && is_foreign(d, &s->name, NAME_WAV_PART, NAME_WAV, true));
}

/* 0 if the part has its final name, too; else -1 with errno. */
static int
link_part(const struct segment_dir *d, const struct segment *s, enum name_suffix part,
    enum name_suffix whole)
{
	char from[NAME_FILE_SIZE], to[NAME_FILE_SIZE];

	name_file(&s->name, name_extension(part), from);
	name_file(&s->name, name_extension(whole), to);
	if (linkat(d->fd, from, d->fd, to, 0) == 0)
		return 0;
	if (errno != EEXIST || is_foreign(d, &s->name, part, whole, whole == NAME_WAV))
		return -1;
	/* An earlier run may have placed it without a sync. */
	return d->sync ? sync_file(d, s, whole) : 0;
}

/* Write the line that is to be appended if the renames were all that a crash left time for. */
static int
write_line(const struct segment_dir *d, const struct segment *s, const struct segment_line *line)
{
	char text[INDEX_LINE + 1];
	size_t len = line->format(line->arg, s, text);
	int fd, status, e;

	if (remove_file(d, &s->name, NAME_LINE_PART) == -1 ||
	    (fd = open_file(d, &s->name, NAME_LINE_PART, O_WRONLY | O_CREAT | O_EXCL)) == -1)
		return -1;
	status = fdio_write_full(fd, text, len, NULL);
	if (status == 0 && d->sync)
		status = fdio_sync(fd);
	e = errno;
	close(fd);
	errno = e;
	return status == 0 && d->sync ? fdio_sync_dir(d->fd) : status;
}

/* 0; -1: errno, *fileo says of what; EEXIST: a name was taken meanwhile, nothing has changed. */
static int
place_by_renames(const struct segment_dir *d, struct segment *s, const struct segment_line *line,
    enum name_suffix *fileo)
{
	char from[NAME_FILE_SIZE], to[NAME_FILE_SIZE];

	*fileo = NAME_LINE_PART;
	/* While it is renamed, the line is the only note of it: it stays as it was written first. */
	if (!s->is_renamed && write_line(d, s, line) == -1)
		return -1;
	*fileo = NAME_EET_PART;
	if (!s->is_renamed && move(d, &s->name, NAME_EET_PART, &s->name, NAME_EET) == -1)
		return -1;
	s->is_renamed = true;
	if (!places_wav(s) || move(d, &s->name, NAME_WAV_PART, &s->name, NAME_WAV) == 0)
		return 0;
	*fileo = NAME_WAV_PART;
	if (errno != EEXIST || is_foreign(d, &s->name, NAME_WAV_PART, NAME_WAV, true))
		return -1;
	name_file(&s->name, ".wav.part", from);
	name_file(&s->name, ".wav", to);
	return renameat(d->fd, from, d->fd, to);
}

/* As place_by_renames(). */
static int
place_by_links(const struct segment_dir *d, struct segment *s, enum name_suffix *fileo)
{
	int e;

	*fileo = NAME_EET_PART;
	if (link_part(d, s, NAME_EET_PART, NAME_EET) == -1)
		return -1;
	*fileo = NAME_WAV_PART;
	if (!places_wav(s) || link_part(d, s, NAME_WAV_PART, NAME_WAV) == 0)
		return 0;
	e = errno;
	if (e == EEXIST)
		remove_file(d, &s->name, NAME_EET);
	errno = e;
	return -1;
}

int
segment_place(const struct segment_dir *d, struct segment *s, const struct segment_line *line,
    char failed[SEGMENT_PATH])
{
	enum name_suffix file = NAME_EET_PART;
	int status = -1;

	if (s->stage != SEGMENT_SYNCED)
		return 0;
	do {
		if (!s->is_renamed && is_name_taken(d, s) && segment_move_on(d, s) == -1)
			break;
		status = s->is_renamed ? -1 : place_by_links(d, s, &file);
		if (s->is_renamed || (status == -1 && fdio_no_links(errno)))
			status = place_by_renames(d, s, line, &file);
	} while (status == -1 && errno == EEXIST && !s->is_renamed);
	if (status == -1)
		return fail_or_wait(d, s, file, failed);
	s->stage = SEGMENT_PLACED;
	return 0;
}

int
segment_finish(const struct segment_dir *d, const struct segment *s, char failed[SEGMENT_PATH])
{
	static const enum name_suffix parts[] = { NAME_WAV_PART, NAME_LINE_PART, NAME_EET_PART };

	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
		if (parts[i] != NAME_LINE_PART || s->is_renamed)
			if (remove_file(d, &s->name, parts[i]) == -1) {
				segment_path(d, &s->name, name_extension(parts[i]), failed);
				return -1;
			}
	return 0;
}
