#include "recovery.h"

#include "completer.h"
#include "index.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Everything in the directory that has one name, whatever it ends in. */
struct found {
	struct name name;
	bool has[NAME_WAV_PART + 1];
	bool listed; /* the index has its line */
	bool gone;   /* the index lists it, or the one before it, but it is not here */
};

struct recovery {
	const struct segment_dir *dir;
	int index;
	const struct spool_options *options;
	struct upkeep *upkeep; /* NULL: nobody is told */
	char *failed;
	struct found *found;
	size_t n, capacity;
	uint32_t last;
	struct completer_job *jobs[COMPLETER_BATCH]; /* waiting to be completed together */
	size_t n_jobs;
	const struct found *asked; /* whom gap_before() was last asked of; NULL: nobody */
	struct stream past;        /* … and what followed up to its end */
	bool said_full;
	uint32_t unknown; /* the session whose layout was last reported as unknown */
};

__attribute__((format(printf, 4, 5))) static void
report(struct recovery *rc, enum spool_report_kind kind, const char *file, const char *fmt, ...)
{
	char text[SEGMENT_PATH + 256];
	int n = snprintf(text, SEGMENT_PATH, "%s/%s: ", rc->dir->path, file);
	va_list ap;

	if (n < 0 || n >= SEGMENT_PATH)
		n = SEGMENT_PATH - 1;
	va_start(ap, fmt);
	vsnprintf(text + n, sizeof text - (size_t)n, fmt, ap);
	va_end(ap);
	rc->options->report(rc->options->arg, &(struct spool_report){ .kind = kind, .text = text });
}

static int
fail(struct recovery *rc, const char *file)
{
	snprintf(rc->failed, SEGMENT_PATH, "%s%s%s", rc->dir->path, *file != '\0' ? "/" : "", file);
	return -1;
}

/*
 * ---- What is there ----
 */

/* By session, then time: a session's segments in their order. */
static int
compare(const void *a, const void *b)
{
	return name_compare(&((const struct found *)a)->name, &((const struct found *)b)->name);
}

static int
add(struct recovery *rc, const struct name *name, enum name_suffix suffix)
{
	if (rc->n == rc->capacity) {
		size_t capacity = rc->capacity > 0 ? 2 * rc->capacity : 256;
		struct found *found = realloc(rc->found, capacity * sizeof *found);

		if (found == NULL)
			return -1;
		rc->found = found;
		rc->capacity = capacity;
	}
	rc->found[rc->n] = (struct found){ .name = *name };
	rc->found[rc->n].has[suffix] = true;
	rc->n++;
	return 0;
}

static void
merge(struct recovery *rc)
{
	size_t n = 0;

	qsort(rc->found, rc->n, sizeof *rc->found, compare);
	for (size_t i = 0; i < rc->n; i++) {
		if (n > 0 && compare(&rc->found[n - 1], &rc->found[i]) == 0) {
			for (size_t k = 0; k <= NAME_WAV_PART; k++)
				rc->found[n - 1].has[k] |= rc->found[i].has[k];
		} else {
			rc->found[n++] = rc->found[i];
		}
	}
	rc->n = n;
}

static int
list(struct recovery *rc)
{
	int fd = openat(rc->dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *e;
	int status = 0;

	if (dir == NULL) {
		if (fd != -1)
			close(fd);
		return fail(rc, "");
	}
	while (errno = 0, status == 0 && (e = readdir(dir)) != NULL) {
		size_t stem;
		enum name_suffix suffix = name_suffix(e->d_name, &stem);
		struct name name;

		if (suffix == NAME_NONE)
			continue;
		if (name_parse(e->d_name, stem, &name)) {
			if (name.session > rc->last)
				rc->last = name.session;
			status = add(rc, &name, suffix);
		} else if (suffix == NAME_EET_PART || suffix == NAME_WAV_PART) {
			report(rc, SPOOL_WARNING, e->d_name,
			    "not the name of a segment, left as it is");
		}
	}
	if (status == 0 && errno != 0)
		status = -1;
	if (status == -1)
		fail(rc, "");
	closedir(dir);
	if (rc->n > 0)
		merge(rc);
	return status;
}

static void
mark(void *arg, const struct index_item *item)
{
	struct recovery *rc = arg;
	size_t low = 0, high = rc->n, stem;
	struct found key = { 0 }, *f; /* the one of that name, or the next */

	if (item->session > rc->last)
		rc->last = item->session;
	if (item->event != INDEX_SEGMENT || name_suffix(item->eet, &stem) != NAME_EET ||
	    !name_parse(item->eet, stem, &key.name))
		return;
	while (low < high) {
		size_t middle = (low + high) / 2;

		if (compare(&rc->found[middle], &key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == rc->n)
		return;
	f = &rc->found[low];
	if (f->has[NAME_EET] && compare(f, &key) == 0)
		f->listed = true;
	else if (f->name.session == key.name.session)
		f->gone = true;
}

/*
 * ---- What is done about it ----
 */

/* Open a file of the spool, if it is one: regular, ours, and for a .part with one link.  -1: left. */
static int
open_ours(struct recovery *rc, const char *file, bool part)
{
	struct stat st;
	const char *why = NULL;
	int fd = -1;

	if (fstatat(rc->dir->fd, file, &st, AT_SYMLINK_NOFOLLOW) == -1)
		why = strerror(errno);
	else if (!S_ISREG(st.st_mode))
		why = "not a regular file";
	else if ((fd = openat(rc->dir->fd, file,
		      (part ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)) == -1 ||
	    fstat(fd, &st) == -1)
		why = strerror(errno);
	else if (!S_ISREG(st.st_mode))
		why = "not a regular file";
	else if (!segment_is_ours(rc->dir, &st))
		why = "belongs to another user";
	else if (part && st.st_nlink != 1)
		why = "has more than one link";
	if (why == NULL)
		return fd;
	report(rc, SPOOL_WARNING, file, "%s, left as it is", why);
	if (fd != -1)
		close(fd);
	return -1;
}

/* 0, or -1 with errno: whoever is to be told of it could not be. */
static int
done(struct recovery *rc, struct completer_job *j)
{
	const struct segment *s = &j->segment;
	char eet[SEGMENT_PATH], wav[SEGMENT_PATH], file[NAME_FILE_SIZE];
	char text[ADPCM_VERDICT_TEXT];
	int status = 0;

	segment_path(rc->dir, &s->name, ".eet", eet);
	segment_path(rc->dir, &s->name, ".wav", wav);
	name_file(&s->name, ".eet", file);
	report(rc, SPOOL_NOTE, file, "recovered, %" PRIu64 " frames", s->facts.frames);
	rc->options->report(rc->options->arg,
	    &(struct spool_report){
		.kind = SPOOL_SEGMENT,
		.eet = eet,
		.wav = s->has_wav ? wav : NULL,
		.line = j->line,
	    });
	if (j->unknown && s->name.session != rc->unknown) {
		adpcm_verdict_text(&s->facts.verdict, text);
		report(rc, SPOOL_NOTE, file, "%s", text);
		rc->unknown = s->name.session;
	}
	if (rc->upkeep != NULL)
		status = upkeep_completed(rc->upkeep, &s->name, s->has_wav);
	if (status == -1)
		fail(rc, "");
	completer_free_job(j);
	return status;
}

/* Wait so long, or until the caller wants no more: -1, EINTR. */
static int
pause_for(struct recovery *rc, int ms)
{
	if (poll(&(struct pollfd){ .fd = rc->options->stop_fd, .events = POLLIN }, 1, ms) < 1)
		return 0;
	snprintf(rc->failed, SEGMENT_PATH, "%s: stopped during recovery; the next start goes on",
	    rc->dir->path);
	errno = EINTR;
	return -1;
}

static void
say_full(struct recovery *rc, int e)
{
	char text[SEGMENT_PATH + 128];

	if (rc->said_full)
		return;
	rc->said_full = true;
	snprintf(text, sizeof text, "%s: recovery waits for space: %s", rc->failed, strerror(e));
	rc->options->report(rc->options->arg,
	    &(struct spool_report){ .kind = SPOOL_WARNING, .text = text });
}

static void
placed(void *arg, const struct name *n)
{
	upkeep_placed(arg, n);
}

/* Has the first job's segment, which had its name before, been removed meanwhile?  Then it is done. */
static bool
has_gone(struct recovery *rc, int e)
{
	struct stat st;
	char file[NAME_FILE_SIZE];

	if (e != ENOENT || rc->n_jobs == 0 || !rc->jobs[0]->segment.is_complete)
		return false;
	name_file(&rc->jobs[0]->segment.name, ".eet", file);
	if (fstatat(rc->dir->fd, file, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return false;
	completer_free_job(rc->jobs[0]);
	rc->n_jobs--;
	memmove(rc->jobs, rc->jobs + 1, rc->n_jobs * sizeof *rc->jobs);
	return true;
}

static int
run_jobs(struct recovery *rc)
{
	if (pause_for(rc, 0) == -1)
		return -1;
	for (;;) {
		size_t n;
		int status =
		    completer_run(rc->dir, rc->index, rc->jobs, rc->n_jobs, &n, rc->failed);
		int e = errno;

		for (size_t i = 0; i < n; i++)
			if (done(rc, rc->jobs[i]) == -1) {
				e = errno;
				status = -1;
			}
		rc->n_jobs -= n;
		memmove(rc->jobs, rc->jobs + n, rc->n_jobs * sizeof *rc->jobs);
		errno = e;
		if (status == -1 && has_gone(rc, e))
			continue;
		if (status == 0 || (e != ENOSPC && e != EDQUOT))
			return status;
		say_full(rc, e);
		if (rc->upkeep != NULL)
			completer_each_placed(rc->jobs, rc->n_jobs, e, placed, rc->upkeep);
		if (pause_for(rc, 1000) == -1)
			return -1;
	}
}

/* segment_follow(), but that it can't be read is said, and no reason not to go on. */
static int
follow_fd(struct recovery *rc, const struct found *f, int fd, struct stream *s)
{
	char file[NAME_FILE_SIZE];
	int n = segment_follow(fd, s), e = errno;

	name_file(&f->name, ".eet", file);
	if (n == -1)
		report(rc, SPOOL_WARNING, file,
		    "can't be read, so what is missing there is unknown: %s", strerror(e));
	return n;
}

/* Have s follow a segment that has its final name, or is about to get it.  False: unreadable. */
static bool
follow(struct recovery *rc, const struct found *f, struct stream *s)
{
	static const char *const extensions[] = { ".eet", ".eet.part" };
	char file[NAME_FILE_SIZE];

	for (size_t i = 0; i < 2; i++) {
		int fd, n;

		name_file(&f->name, extensions[i], file);
		fd = openat(rc->dir->fd, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (fd == -1)
			continue;
		n = follow_fd(rc, f, fd, s);
		close(fd);
		if (n != 0)
			return n == 1;
	}
	return true;
}

/*
 * How many frames are missing between a segment, open on fd, and the one before it.  All of that one
 * may be repeats, and then says nothing about what was due: so many frames before it are followed
 * that not all of them are, or all since the last segment of the session that this was asked of.
 */
static uint64_t
gap_before(struct recovery *rc, const struct found *f, int fd)
{
	const struct found *from = f, *asked = rc->asked;
	struct stream before = { 0 }, own = { 0 };
	uint64_t frames = 0;

	rc->asked = NULL;
	while (frames <= STREAM_MAX_REPEATS && !from->gone && from > rc->found &&
	    from[-1].name.session == f->name.session && from - 1 != asked) {
		struct stream alone = { 0 };

		if (!follow(rc, --from, &alone))
			return INDEX_UNKNOWN;
		frames += alone.frames;
	}
	if (!from->gone && from > rc->found && from - 1 == asked &&
	    asked->name.session == f->name.session)
		before = rc->past;
	for (const struct found *next = from; next < f; next++)
		if (!follow(rc, next, &before))
			return INDEX_UNKNOWN;
	rc->past = before;
	if (follow_fd(rc, f, fd, &own) != 1 || follow_fd(rc, f, fd, &rc->past) != 1)
		return INDEX_UNKNOWN;
	rc->asked = f;
	if (before.frames == 0)
		return from->gone ? INDEX_UNKNOWN : 0; /* or the session's first */
	return stream_look(&before, own.first_seq).gap;
}

/* Queue a segment to be completed.  fd is its .eet.part (part), or its .eet. */
static int
queue(struct recovery *rc, const struct found *f, int fd, bool part)
{
	struct completer_job *j = calloc(1, sizeof *j);

	if (j == NULL)
		return -1;
	j->segment.name = f->name;
	j->segment.is_complete = !part;
	j->segment.has_wav = !part && f->has[NAME_WAV];
	strcpy(j->tag, f->name.tag);
	j->first_us = f->name.time_ms * 1000;
	j->last_us = INDEX_UNKNOWN;
	j->gap_before = gap_before(rc, f, fd);
	j->recovered = true;
	rc->jobs[rc->n_jobs++] = j;
	if (rc->n_jobs == sizeof rc->jobs / sizeof rc->jobs[0])
		return run_jobs(rc);
	return 0;
}

static int
remove_file(struct recovery *rc, const char *file, const char *why)
{
	if (unlinkat(rc->dir->fd, file, 0) == -1)
		return fail(rc, file);
	report(rc, SPOOL_NOTE, file, "removed: %s", why);
	return 0;
}

/*
 * Where renaming is linking and unlinking, being killed in between leaves one file under two names.
 * 1: the first of them was removed, 0: it is another file, or there is none; -1: errno.
 */
static int
drop_second_name(struct recovery *rc, const struct found *f, const char *part, const char *whole)
{
	char file[NAME_FILE_SIZE];
	struct stat a, b;

	name_file(&f->name, whole, file);
	if (fstatat(rc->dir->fd, file, &b, AT_SYMLINK_NOFOLLOW) == -1)
		return 0;
	name_file(&f->name, part, file);
	if (fstatat(rc->dir->fd, file, &a, AT_SYMLINK_NOFOLLOW) == -1 || a.st_dev != b.st_dev ||
	    a.st_ino != b.st_ino)
		return 0;
	return remove_file(rc, file, "it has its final name as well") == -1 ? -1 : 1;
}

static int
recover_part(struct recovery *rc, const struct found *f)
{
	char file[NAME_FILE_SIZE];
	uint64_t cut;
	int fd, n, status = -1;

	if ((n = drop_second_name(rc, f, ".eet.part", ".eet")) != 0)
		return n == -1 ? -1 : 0;
	name_file(&f->name, ".eet.part", file);
	if ((fd = open_ours(rc, file, true)) == -1)
		return 0;
	n = segment_cut(fd, &cut);
	if (n == -1) {
		fail(rc, file);
	} else if (n == 0) {
		status = remove_file(rc, file, "no whole frame in it");
	} else {
		if (cut > 0)
			report(rc, SPOOL_NOTE, file,
			    "cut after its last whole frame, by %" PRIu64 " bytes", cut);
		status = queue(rc, f, fd, true);
	}
	close(fd);
	return status;
}

static int
recover_complete(struct recovery *rc, const struct found *f)
{
	char file[NAME_FILE_SIZE];
	struct stream unused = { 0 };
	int fd, n, status = 0;

	name_file(&f->name, ".eet", file);
	if ((fd = open_ours(rc, file, false)) == -1)
		return 0;
	if ((n = segment_follow(fd, &unused)) == 1)
		status = queue(rc, f, fd, false);
	else if (n == 0)
		report(rc, SPOOL_WARNING, file, "no frame log, left as it is");
	else
		status = fail(rc, file);
	close(fd);
	return status;
}

/*
 * Never trusted: where there is still something to make it from, it is made again.  1: there is
 * none any more; 0: it is not ours, and stays; -1: errno.
 */
static int
recover_wav_part(struct recovery *rc, const struct found *f)
{
	char file[NAME_FILE_SIZE];
	int fd, n;

	if ((n = drop_second_name(rc, f, ".wav.part", ".wav")) != 0)
		return n;
	name_file(&f->name, ".wav.part", file);
	if ((fd = open_ours(rc, file, true)) == -1)
		return 0;
	close(fd);
	return remove_file(rc, file, "it is made again from its log") == -1 ? -1 : 1;
}

static int
recover(struct recovery *rc, const struct found *f)
{
	bool complete = f->has[NAME_EET] && !f->listed;
	int n = f->has[NAME_WAV_PART] ? recover_wav_part(rc, f) : 1;

	if (n == -1)
		return -1;
	if (n == 0 && rc->dir->wav && (complete || f->has[NAME_EET_PART])) {
		char file[NAME_FILE_SIZE];

		name_file(&f->name, complete ? ".eet" : ".eet.part", file);
		report(rc, SPOOL_WARNING, file, "has no place for its WAV, left as it is");
		return 0;
	}
	if (complete && recover_complete(rc, f) == -1)
		return -1;
	/* Two logs of one name would be made one WAV.part: the second gets another name, but later. */
	if (complete && f->has[NAME_EET_PART] && rc->n_jobs > 0 && run_jobs(rc) == -1)
		return -1;
	return f->has[NAME_EET_PART] ? recover_part(rc, f) : 0;
}

int
recovery_run(const struct segment_dir *d, int index, const struct spool_options *o,
    struct upkeep *u, uint32_t *lasto, char failed[SEGMENT_PATH])
{
	struct recovery rc = { .dir = d,
		.index = index,
		.options = o,
		.upkeep = u,
		.failed = failed };
	int status = list(&rc), e;

	if (status == 0 && (status = index_each(index, mark, &rc)) == -1)
		fail(&rc, INDEX_FILE);
	for (size_t i = 0; status == 0 && i < rc.n; i++)
		status = recover(&rc, &rc.found[i]);
	if (status == 0 && rc.n_jobs > 0)
		status = run_jobs(&rc);
	e = errno;
	for (size_t i = 0; i < rc.n_jobs; i++)
		completer_free_job(rc.jobs[i]);
	free(rc.found);
	*lasto = rc.last;
	errno = e;
	return status;
}
