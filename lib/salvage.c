#include "salvage.h"

#include "bytes.h"
#include "fdio.h"
#include "index.h"
#include "log.h"
#include "next.h"
#include "thread.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	NICENESS = 10,
	/* A batch is completed when its logs are that large: a stop waits for no more. */
	BATCH_BYTES = 8 << 20
};

/* The unfinished files of one segment. */
struct leftover {
	struct name name;
	bool has[NAME_SUFFIXES];
};

struct salvage {
	const struct segment_dir *dir;
	int index;
	struct upkeep *upkeep;      /* told what is in the way of a full disk */
	int event;                  /* eventfd: there is something to take */
	struct leftover *leftovers; /* oldest first */
	size_t n, capacity;
	uint32_t highest_part, highest;
	/* The thread's. */
	struct completer_job *jobs[COMPLETER_BATCH]; /* waiting to be completed together */
	size_t n_jobs;
	uint64_t batch_bytes;
	bool said_full;
	size_t dropped; /* jobs that were given up */
	bool gave_up;   /* a wait for space was ended by a stop */

	pthread_t thread;
	bool started;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t wake;
	struct salvage_note *notes, **notes_end;
	struct completer_job *done, **done_end;
	bool stopping, ended;
	int error; /* the directory has failed */
	char failed[SEGMENT_PATH];
};

/*
 * ---- What is said, from the thread and before it ----
 */

static void
announce(struct salvage *sv)
{
	uint64_t one = 1;

	/* Fails only when the counter is full, and then it is readable anyway. */
	if (write(sv->event, &one, sizeof one) == -1)
		return;
}

static void
put_note(struct salvage *sv, enum spool_report_kind kind, const char *text)
{
	size_t len = strlen(text) + 1;
	struct salvage_note *n = malloc(sizeof *n + len);

	/* Without memory for a message, the message is lost, and nothing else. */
	if (n == NULL)
		return;
	n->next = NULL;
	n->kind = kind;
	memcpy(n->text, text, len);
	pthread_mutex_lock(&sv->lock);
	*sv->notes_end = n;
	sv->notes_end = &n->next;
	announce(sv);
	pthread_mutex_unlock(&sv->lock);
}

__attribute__((format(printf, 4, 5))) static void
note(struct salvage *sv, enum spool_report_kind kind, const char *file, const char *fmt, ...)
{
	char text[SEGMENT_PATH + 512];
	size_t len;
	va_list ap;

	snprintf(text, SEGMENT_PATH, "%s/%s: ", sv->dir->path, file);
	len = strlen(text);
	va_start(ap, fmt);
	vsnprintf(text + len, sizeof text - len, fmt, ap);
	va_end(ap);
	put_note(sv, kind, text);
}

static void
file_of(const struct leftover *l, enum name_suffix suffix, char out[NAME_FILE_SIZE])
{
	name_file(&l->name, name_extension(suffix), out);
}

/* A file of a leftover can't be read or written: it is left, and the others go on. */
static void
leave(struct salvage *sv, const struct leftover *l, enum name_suffix suffix, int error)
{
	char file[NAME_FILE_SIZE];

	file_of(l, suffix, file);
	note(sv, SPOOL_FAILURE, file, "%s; left as it is", strerror(error));
}

static bool
is_stopping(struct salvage *sv)
{
	bool stopping;

	pthread_mutex_lock(&sv->lock);
	stopping = sv->stopping;
	pthread_mutex_unlock(&sv->lock);
	return stopping;
}

/*
 * ---- Listing ----
 */

/* Oldest first; those of one segment beside each other. */
static int
older(const void *a, const void *b)
{
	const struct leftover *x = a, *y = b;

	if (x->name.time_ms != y->name.time_ms)
		return x->name.time_ms < y->name.time_ms ? -1 : 1;
	return name_compare(&x->name, &y->name);
}

static int
add(struct salvage *sv, const struct name *name, enum name_suffix suffix)
{
	if (sv->n == sv->capacity) {
		size_t capacity = sv->capacity > 0 ? 2 * sv->capacity : 64;
		struct leftover *leftovers = realloc(sv->leftovers, capacity * sizeof *leftovers);

		if (leftovers == NULL)
			return -1;
		sv->leftovers = leftovers;
		sv->capacity = capacity;
	}
	sv->leftovers[sv->n] = (struct leftover){ .name = *name };
	sv->leftovers[sv->n++].has[suffix] = true;
	return 0;
}

static void
merge(struct salvage *sv)
{
	size_t n = 0;

	if (sv->n == 0)
		return;
	qsort(sv->leftovers, sv->n, sizeof *sv->leftovers, older);
	for (size_t i = 1; i < sv->n; i++) {
		if (older(&sv->leftovers[n], &sv->leftovers[i]) != 0)
			sv->leftovers[++n] = sv->leftovers[i];
		else
			for (enum name_suffix s = NAME_EET; s < NAME_SUFFIXES; s++)
				sv->leftovers[n].has[s] |= sv->leftovers[i].has[s];
	}
	sv->n = n + 1;
}

static int
list_file(struct salvage *sv, const char *file)
{
	struct name name;
	size_t stem;
	enum name_suffix suffix = name_read(file, &name);

	if (suffix == NAME_NONE) {
		if (name_suffix(file, &stem) >= NAME_EET_PART)
			note(sv, SPOOL_WARNING, file, "not the name of a segment, left as it is");
		return 0;
	}
	if (name.session > sv->highest)
		sv->highest = name.session;
	if (suffix < NAME_EET_PART)
		return 0;
	if (name.session > sv->highest_part)
		sv->highest_part = name.session;
	return add(sv, &name, suffix);
}

static int
list(struct salvage *sv)
{
	DIR *dir = fdio_opendir(sv->dir->fd);
	struct dirent *e;
	int status = 0, error;

	if (dir == NULL)
		return -1;
	while (errno = 0, status == 0 && (e = readdir(dir)) != NULL)
		status = list_file(sv, e->d_name);
	error = errno;
	closedir(dir);
	errno = error;
	if (status == 0 && error != 0)
		status = -1;
	merge(sv);
	return status;
}

uint32_t
salvage_highest(const struct salvage *sv, bool all)
{
	return all ? sv->highest : sv->highest_part;
}

/*
 * ---- Completing ----
 */

/* Hand jobs[0..n) to the caller's thread. */
static void
hand_over(struct salvage *sv, size_t n)
{
	pthread_mutex_lock(&sv->lock);
	for (size_t i = 0; i < n; i++) {
		sv->jobs[i]->next = NULL;
		*sv->done_end = sv->jobs[i];
		sv->done_end = &sv->jobs[i]->next;
	}
	if (n > 0)
		announce(sv);
	pthread_mutex_unlock(&sv->lock);
	sv->n_jobs -= n;
	memmove(sv->jobs, sv->jobs + n, sv->n_jobs * sizeof sv->jobs[0]);
}

/* Wait a second for space at path.  False: the end was asked for. */
static bool
wait_for_space(struct salvage *sv, const char *path, int error)
{
	char text[SEGMENT_PATH + 128];
	struct timespec t;
	bool stopping;

	snprintf(text, sizeof text, "%s: salvage waits: %s", path, strerror(error));
	if (!sv->said_full)
		put_note(sv, SPOOL_WARNING, text);
	sv->said_full = true;
	upkeep_wants_space(sv->upkeep);
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec++;
	pthread_mutex_lock(&sv->lock);
	while (!sv->stopping && pthread_cond_timedwait(&sv->wake, &sv->lock, &t) == 0)
		;
	stopping = sv->stopping;
	pthread_mutex_unlock(&sv->lock);
	sv->gave_up = stopping;
	return !stopping;
}

static void
fail_directory(struct salvage *sv, const char *failed, int error)
{
	pthread_mutex_lock(&sv->lock);
	sv->error = error;
	snprintf(sv->failed, sizeof sv->failed, "%s", failed);
	sv->stopping = true;
	pthread_mutex_unlock(&sv->lock);
}

/* The index, or .next, can't be read or written: errno. */
static void
fail_file(struct salvage *sv, const char *file)
{
	char path[SEGMENT_PATH];
	int e = errno;

	snprintf(path, sizeof path, "%s/%s", sv->dir->path, file);
	fail_directory(sv, path, e);
}

static void
tell_placed(void *arg, const struct name *n)
{
	upkeep_placed(arg, n);
}

static void
run_jobs(struct salvage *sv)
{
	char failed[SEGMENT_PATH];
	size_t done;
	int status, e;

	while (sv->n_jobs > 0) {
		status = completer_run(sv->dir, sv->index, sv->jobs, sv->n_jobs, &done, failed);
		e = errno;
		hand_over(sv, done);
		if (status == 0)
			break;
		if (!fdio_passes(e)) {
			fail_directory(sv, failed, e);
			break;
		}
		completer_each_placed(sv->jobs, sv->n_jobs, e, tell_placed, sv->upkeep);
		if (!wait_for_space(sv, failed, e))
			break;
	}
	/* What is left then is left to the next start. */
	sv->dropped += sv->n_jobs;
	for (size_t i = 0; i < sv->n_jobs; i++)
		completer_free_job(sv->jobs[i]);
	sv->n_jobs = 0;
	sv->batch_bytes = 0;
}

/* Did an earlier run place the WAV? */
static bool
has_placed_wav(const struct salvage *sv, const struct leftover *l, bool renamed)
{
	struct stat wav, part;

	if (!segment_has(sv->dir, &l->name, NAME_WAV, &wav) || !S_ISREG(wav.st_mode) ||
	    !segment_is_ours(sv->dir, &wav))
		return false;
	if (!segment_has(sv->dir, &l->name, NAME_WAV_PART, &part))
		return renamed;
	return part.st_dev == wav.st_dev && part.st_ino == wav.st_ino;
}

/* Have a segment completed, whose log has that many bytes and damaged places. */
static void
queue(struct salvage *sv, const struct leftover *l, uint64_t bytes, uint64_t places, bool renamed)
{
	struct completer_job *j = calloc(1, sizeof *j);

	if (j == NULL) {
		leave(sv, l, NAME_EET_PART, errno);
		return;
	}
	j->segment.name = l->name;
	j->segment.is_renamed = renamed;
	j->segment.has_damaged = places > 0;
	j->segment.has_placed_wav = has_placed_wav(sv, l, renamed);
	strcpy(j->tag, l->name.tag);
	j->first_us = l->name.time_ms * 1000;
	j->last_us = INDEX_UNKNOWN;
	j->gap_before = INDEX_UNKNOWN;
	j->recovered = true;
	j->places = places;
	sv->jobs[sv->n_jobs++] = j;
	sv->batch_bytes += bytes;
	if (sv->n_jobs == COMPLETER_BATCH || sv->batch_bytes >= BATCH_BYTES)
		run_jobs(sv);
}

/*
 * ---- Reading ----
 */

/* What a log holds. */
struct look {
	bool has_handshake; /* it begins with a sound one */
	uint64_t frames;
	uint64_t places; /* damaged ones, a torn or zero end not counted */
	uint64_t end;    /* after the last sound record */
	uint64_t size;   /* all bytes */
};

/* Are there only zeros in fd from the offset on?  1, 0, or -1 with errno. */
static int
only_zeros(int fd, uint64_t offset)
{
	uint8_t buf[1 << 14];
	ssize_t n;

	while ((n = pread(fd, buf, sizeof buf, (off_t)offset)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] != 0)
				return 0;
		offset += (uint64_t)n;
	}
	return n == 0 ? 1 : -1;
}

/* Does the log on fd begin with a sound handshake? */
static bool
read_own_handshake(int fd, struct wire_handshake *o)
{
	uint8_t head[WIRE_HANDSHAKE_SIZE];
	struct wire_fault fault;

	return pread(fd, head, sizeof head, 0) == (ssize_t)sizeof head &&
	    wire_parse_handshake(head, sizeof head, o, &fault);
}

/* How a log is read, and what is done with its records. */
struct pass {
	const struct wire_handshake *handshake; /* borrowed; NULL: it has its own */
	int (*record)(void *arg,
	    const struct log_record *rec); /* OPEN and FRAME; 0, or -1 with errno */
	void *arg;
};

/*
 * Read the log on fd from an offset on, as --recover does; handshake: what its frames are, if it does not
 * begin with one there.  Up to the end; or to after a second handshake, which is another log's, since a
 * segment has one: *nexto is where to go on.  1: to go on; 0; -1: errno.
 */
static int
read_take(int fd, uint64_t start, const struct wire_handshake *handshake, const struct pass *p,
    struct look *o, uint64_t *nexto)
{
	struct log_options options = { .recover = true };
	struct log_record rec;
	struct log_reader *r;
	int status = 0, opens = 0, e;

	if (handshake != NULL) {
		options.headless = options.codec_given = true;
		options.format = *handshake;
	}
	if (lseek(fd, (off_t)start, SEEK_SET) == -1 || (r = log_new(fd, &options)) == NULL)
		return -1;
	while (status == 0 && log_get(r, &rec) != LOG_END) {
		if (rec.event == LOG_ERROR)
			status = -1;
		if (rec.event == LOG_DAMAGE && rec.wrong != LOG_TORN && rec.wrong != LOG_ZEROS)
			o->places++;
		if (rec.event == LOG_OPEN && opens++ > 0) {
			o->places++;
			*nexto = start + log_offset(r);
			status = 1;
		}
		if (status != 0 || (rec.event != LOG_OPEN && rec.event != LOG_FRAME))
			continue;
		/* What stands for the handshake comes once. */
		if (rec.event == LOG_OPEN && start > WIRE_HANDSHAKE_SIZE)
			continue;
		o->frames += rec.event == LOG_FRAME;
		o->end = start + log_offset(r);
		if (p->record != NULL)
			status = p->record(p->arg, &rec);
	}
	e = errno;
	log_free(r);
	errno = e;
	return status;
}

/* Read the whole log on fd.  0, or -1 with errno. */
static int
read_log(int fd, const struct pass *p, struct look *o)
{
	uint64_t at = p->handshake != NULL ? WIRE_HANDSHAKE_SIZE : 0;
	const struct wire_handshake *handshake = p->handshake;
	struct wire_handshake own;
	int status;

	while ((status = read_take(fd, at, handshake, p, o, &at)) == 1) {
		if (handshake == NULL && read_own_handshake(fd, &own))
			handshake = &own;
	}
	return status;
}

/* Look at the log on fd, with that handshake instead of its own (NULL: its own).  0, or -1 with errno. */
static int
look_at(int fd, const struct wire_handshake *borrowed, struct look *o)
{
	struct wire_handshake own;
	struct stat st;

	*o = (struct look){ 0 };
	if (fstat(fd, &st) == -1)
		return -1;
	o->size = (uint64_t)st.st_size;
	o->has_handshake = read_own_handshake(fd, &own);
	if (!o->has_handshake && borrowed != NULL)
		o->places = 1;
	return read_log(fd, &(struct pass){ .handshake = o->has_handshake ? NULL : borrowed }, o);
}

/* A file of that name in the directory, read for its handshake. */
static bool
read_handshake(const struct segment_dir *d, const char *file, struct wire_handshake *o)
{
	int fd = openat(d->fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	bool is;

	if (fd == -1)
		return false;
	is = read_own_handshake(fd, o);
	close(fd);
	return is;
}

/* Is it another log of l's session, and has it the handshake of that stream?  It is then in *o. */
static bool
has_sibling_handshake(const struct salvage *sv, const struct leftover *l, const char *file,
    struct wire_handshake *o)
{
	struct name name;
	enum name_suffix suffix = name_read(file, &name);

	return (suffix == NAME_EET || suffix == NAME_EET_PART) && name.session == l->name.session &&
	    name.stream_id == l->name.stream_id && read_handshake(sv->dir, file, o) &&
	    o->stream_id == name.stream_id;
}

/*
 * All segments of a session begin with the same handshake: look for one of them, with which the log on fd
 * has the most frames, for a damaged one can look sound.  *looko: what it then holds.  1, 0: there is
 * none; -1: errno.
 */
static int
borrow_handshake(const struct salvage *sv, const struct leftover *l, int fd,
    struct wire_handshake *o, struct look *looko)
{
	DIR *dir = fdio_opendir(sv->dir->fd);
	struct wire_handshake other, last = { 0 };
	struct dirent *e;
	struct look look;
	int found = 0, error;

	if (dir == NULL)
		return -1;
	while (found != -1 && (e = readdir(dir)) != NULL) {
		if (!has_sibling_handshake(sv, l, e->d_name, &other) ||
		    (found == 1 && memcmp(&other, &last, sizeof last) == 0))
			continue;
		last = other;
		if (look_at(fd, &other, &look) == -1) {
			found = -1;
		} else if (found == 0 || look.frames > looko->frames) {
			*o = other;
			*looko = look;
			found = 1;
		}
	}
	error = errno;
	closedir(dir);
	errno = error;
	return found;
}

/*
 * ---- What is done about a leftover ----
 */

/* A step failed, and errno passes: the whole leftover is gone through again. */
enum outcome { DONE, AGAIN };

static enum outcome
fail_step(struct salvage *sv, const struct leftover *l, enum name_suffix suffix)
{
	if (fdio_passes(errno))
		return AGAIN;
	leave(sv, l, suffix, errno);
	return DONE;
}

static int
unlink_file(struct salvage *sv, const struct leftover *l, enum name_suffix suffix)
{
	char file[NAME_FILE_SIZE];

	file_of(l, suffix, file);
	return unlinkat(sv->dir->fd, file, 0) == 0 || errno == ENOENT ? 0 : -1;
}

static enum outcome
remove_file(struct salvage *sv, const struct leftover *l, enum name_suffix suffix, const char *why)
{
	char file[NAME_FILE_SIZE];

	if (unlink_file(sv, l, suffix) == -1)
		return fail_step(sv, l, suffix);
	file_of(l, suffix, file);
	note(sv, SPOOL_NOTE, file, "removed: %s", why);
	return DONE;
}

static int
rename_file(struct salvage *sv, const struct leftover *l, enum name_suffix from,
    enum name_suffix to, bool replace)
{
	char a[NAME_FILE_SIZE], b[NAME_FILE_SIZE];

	file_of(l, from, a);
	file_of(l, to, b);
	return replace ? renameat(sv->dir->fd, a, sv->dir->fd, b)
		       : fdio_rename_new(sv->dir->fd, a, b);
}

static bool
is_same_file(const struct salvage *sv, const struct leftover *l, enum name_suffix suffix,
    const struct stat *st)
{
	struct stat other;

	return segment_has(sv->dir, &l->name, suffix, &other) && other.st_dev == st->st_dev &&
	    other.st_ino == st->st_ino;
}

/* Why a file of the spool is not one to be completed or removed; NULL: it is. */
static const char *
why_strange(const struct salvage *sv, const struct leftover *l, const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return "not a regular file";
	if (!segment_is_ours(sv->dir, st))
		return "belongs to another user";
	/* Two names are what an interrupted completing leaves. */
	if (st->st_nlink > 2 ||
	    (st->st_nlink == 2 && !is_same_file(sv, l, NAME_EET, st) &&
		!is_same_file(sv, l, NAME_WAV, st) && !is_same_file(sv, l, NAME_DAMAGED, st)))
		return "has a link elsewhere";
	return NULL;
}

/* Open a log of the spool, if it is one: regular, ours, with no name but its own.  -1: left. */
static int
open_log(struct salvage *sv, const struct leftover *l, enum name_suffix suffix, struct stat *sto)
{
	char file[NAME_FILE_SIZE];
	const char *why;
	int fd = -1;

	file_of(l, suffix, file);
	if (fstatat(sv->dir->fd, file, sto, AT_SYMLINK_NOFOLLOW) == -1 ||
	    (S_ISREG(sto->st_mode) &&
		((fd = openat(sv->dir->fd, file, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)) ==
			-1 ||
		    fstat(fd, sto) == -1))) {
		leave(sv, l, suffix, errno);
		if (fd != -1)
			close(fd);
		return -1;
	}
	why = why_strange(sv, l, sto);
	if (why == NULL)
		return fd;
	note(sv, SPOOL_WARNING, file, "%s, left as it is", why);
	if (fd != -1)
		close(fd);
	return -1;
}

static void
say_damaged(struct salvage *sv, const struct leftover *l, uint64_t places)
{
	char part[NAME_FILE_SIZE], damaged[NAME_FILE_SIZE];

	file_of(l, NAME_EET_PART, part);
	file_of(l, NAME_DAMAGED, damaged);
	note(sv, SPOOL_DAMAGE, part,
	    "damaged in %" PRIu64 " place%s, its sound frames are completed; the log as it was: %s",
	    places, places == 1 ? "" : "s", damaged);
}

/*
 * The log, which is sound, may be what was sound of a damaged one, when a crash came before it was
 * complete.  Returns how many places are damaged in that; 0: it is not.
 */
static uint64_t
count_places(struct salvage *sv, const struct leftover *l, enum name_suffix log)
{
	char file[NAME_FILE_SIZE];
	struct wire_handshake own;
	struct look before;
	struct stat st;
	uint64_t places = 1;
	bool known;
	int fd;

	if (!segment_has(sv->dir, &l->name, NAME_DAMAGED, NULL) ||
	    (fd = open_log(sv, l, NAME_DAMAGED, &st)) == -1)
		return 0;
	file_of(l, log, file);
	known = read_handshake(sv->dir, file, &own);
	if (look_at(fd, known ? &own : NULL, &before) == 0 && before.places > 0)
		places = before.places;
	close(fd);
	say_damaged(sv, l, places);
	return places;
}

/* Is there such a file that is not ours to remove?  It is reported, and stays. */
static bool
is_strange(struct salvage *sv, const struct leftover *l, enum name_suffix suffix)
{
	char file[NAME_FILE_SIZE];
	const char *why;
	struct stat st;

	if (!segment_has(sv->dir, &l->name, suffix, &st) || (why = why_strange(sv, l, &st)) == NULL)
		return false;
	file_of(l, suffix, file);
	note(sv, SPOOL_WARNING, file, "%s, left as it is", why);
	return true;
}

static int
sync_file(struct salvage *sv, const struct leftover *l, enum name_suffix suffix)
{
	char file[NAME_FILE_SIZE];
	int fd, status, e;

	file_of(l, suffix, file);
	if ((fd = openat(sv->dir->fd, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)) == -1)
		return errno == ENOENT ? 0 : -1;
	status = fdio_sync(fd);
	e = errno;
	close(fd);
	errno = e;
	return status;
}

/*
 * A run that was killed may have written the line, or placed the files, and not synced them: that they can
 * be read does not say that they are on the disk.  0, the directory may have failed then; or -1 with errno
 * and *what.
 */
static int
sync_listed(struct salvage *sv, const struct leftover *l, enum name_suffix *what)
{
	static const enum name_suffix placed[] = { NAME_EET, NAME_WAV };

	for (size_t i = 0; sv->dir->sync && i < sizeof placed / sizeof placed[0]; i++)
		if (sync_file(sv, l, *what = placed[i]) == -1)
			return -1;
	if (sv->dir->sync && sv->dir->next != -1 && fdio_datasync(sv->dir->next) == -1)
		fail_file(sv, NEXT_FILE);
	else if (sv->dir->sync && fdio_sync_dir(sv->dir->fd) == -1)
		fail_directory(sv, sv->dir->path, errno);
	else if (sv->dir->sync && fdio_datasync(sv->index) == -1)
		fail_file(sv, INDEX_FILE);
	return 0;
}

/* The log has its final name: what is missing of completing it is done. */
static enum outcome
go_on_completing(struct salvage *sv, const struct leftover *l, uint64_t bytes, bool renamed)
{
	struct segment s = { .name = l->name, .is_renamed = renamed };
	char eet[NAME_FILE_SIZE], failed[SEGMENT_PATH];
	enum name_suffix what;
	int listed;

	file_of(l, NAME_EET, eet);
	if ((listed = index_has(sv->index, eet)) == -1) {
		fail_file(sv, INDEX_FILE);
		return DONE;
	}
	if (listed == 0) {
		enum name_suffix log = renamed ? NAME_EET : NAME_EET_PART;

		queue(sv, l, bytes, count_places(sv, l, log), renamed);
		return DONE;
	}
	if (sync_listed(sv, l, &what) == -1)
		return fail_step(sv, l, what);
	if (is_stopping(sv))
		return DONE;
	if (segment_finish(sv->dir, &s, failed) == -1)
		return fail_step(sv, l, renamed ? NAME_LINE_PART : NAME_EET_PART);
	upkeep_found(sv->upkeep, &l->name);
	note(sv, SPOOL_DETAIL, eet, "was complete but for its .part names");
	return DONE;
}

/* Where sound records go. */
struct copy {
	FILE *out;
	const struct wire_handshake *handshake; /* for a record that is not in the log */
};

static int
copy_record(void *arg, const struct log_record *rec)
{
	const struct copy *c = arg;
	uint8_t handshake[WIRE_HANDSHAKE_SIZE];

	if (rec->record == NULL)
		wire_pack_handshake(handshake, c->handshake);
	return fwrite(rec->record != NULL ? rec->record : handshake,
		   rec->record != NULL ? rec->record_length : sizeof handshake, 1, c->out) == 1
	    ? 0
	    : -1;
}

/* Write the sound frames of the log on fd to .eet.new.part.  0, or -1 with errno. */
static int
write_sound(struct salvage *sv, const struct leftover *l, int fd,
    const struct wire_handshake *borrowed)
{
	char file[NAME_FILE_SIZE];
	struct copy copy = { .handshake = borrowed };
	struct look unused = { 0 };
	int out, status, e;

	file_of(l, NAME_NEW_PART, file);
	if (unlink_file(sv, l, NAME_NEW_PART) == -1)
		return -1;
	out = openat(sv->dir->fd, file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
	    sv->dir->mode);
	if (out == -1 || (copy.out = fdopen(out, "w")) == NULL) {
		e = errno;
		if (out != -1)
			close(out);
		errno = e;
		return -1;
	}
	status = read_log(fd, &(struct pass){ borrowed, copy_record, &copy }, &unused);
	if (status == 0 && (fflush(copy.out) == EOF || (sv->dir->sync && fdio_sync(out) == -1)))
		status = -1;
	e = errno;
	if (fclose(copy.out) == EOF && status == 0) {
		status = -1;
		e = errno;
	}
	errno = e;
	return status;
}

/* Have the damaged log under the name .eet.damaged, too; without links, only there.  0, or -1 with errno. */
static int
keep_damaged(struct salvage *sv, const struct leftover *l)
{
	char part[NAME_FILE_SIZE], damaged[NAME_FILE_SIZE];
	struct stat st;

	file_of(l, NAME_EET_PART, part);
	file_of(l, NAME_DAMAGED, damaged);
	if (linkat(sv->dir->fd, part, sv->dir->fd, damaged, 0) == -1) {
		if (errno == EEXIST) {
			if (!segment_has(sv->dir, &l->name, NAME_EET_PART, &st) ||
			    !is_same_file(sv, l, NAME_DAMAGED, &st)) {
				errno = EEXIST;
				return -1;
			}
		} else if (!fdio_no_links(errno) ||
		    rename_file(sv, l, NAME_EET_PART, NAME_DAMAGED, false) == -1) {
			return -1;
		}
	}
	return sv->dir->sync ? fdio_sync_dir(sv->dir->fd) : 0;
}

/* A step failed at that file, while the damaged log has its name: what was made of it is of no use. */
static enum outcome
drop_new_part(struct salvage *sv, const struct leftover *l, enum name_suffix suffix)
{
	int e = errno;

	if (segment_has(sv->dir, &l->name, NAME_EET_PART, NULL))
		unlink_file(sv, l, NAME_NEW_PART);
	errno = e;
	return fail_step(sv, l, suffix);
}

/*
 * Another log has the name .eet.damaged: this one takes the next free name.  The other stays, and counts
 * as a segment of its own.  0, or -1 with errno.
 */
static int
move_part(struct salvage *sv, struct leftover *l)
{
	struct segment s = { .name = l->name };

	if (unlink_file(sv, l, NAME_NEW_PART) == -1 || segment_move_on(sv->dir, &s) == -1)
		return -1;
	l->name = s.name;
	return 0;
}

/* The sound frames become the segment, the log as it was is kept. */
static enum outcome
split_damaged(struct salvage *sv, struct leftover *l, int fd, const struct look *look,
    const struct wire_handshake *borrowed)
{
	if (write_sound(sv, l, fd, borrowed) == -1)
		return drop_new_part(sv, l, NAME_NEW_PART);
	if (keep_damaged(sv, l) == -1) {
		if (errno == EEXIST && move_part(sv, l) == 0)
			return split_damaged(sv, l, fd, look, borrowed);
		return drop_new_part(sv, l, NAME_DAMAGED);
	}
	if (rename_file(sv, l, NAME_NEW_PART, NAME_EET_PART, true) == -1)
		return fail_step(sv, l, NAME_NEW_PART);
	say_damaged(sv, l, look->places);
	queue(sv, l, look->size, look->places, false);
	return DONE;
}

/* The line of a log that can't be a segment. */
static int
append_damaged_line(struct salvage *sv, const struct leftover *l, const char *damaged,
    const char *why)
{
	char line[INDEX_LINE + 1];
	size_t len = index_format(
	    &(struct index_entry){
		.event = "segment",
		.eet = damaged,
		.session = l->name.session,
		.stream_id = l->name.stream_id,
		.tag = l->name.tag,
		.first_us = l->name.time_ms * 1000,
		.last_us = INDEX_UNKNOWN,
		.gap_before = INDEX_UNKNOWN,
		.recovered = true,
		.error = why,
	    },
	    line);

	if (index_append(sv->index, line, len) == -1)
		return -1;
	return sv->dir->sync ? fdio_datasync(sv->index) : 0;
}

/* None of its frames can be read: it is kept as it is, under a name that says so. */
static enum outcome
keep_unreadable(struct salvage *sv, struct leftover *l, bool has_handshake)
{
	const char *why = has_handshake ? "it has no sound frame" : "its handshake is damaged";
	char damaged[NAME_FILE_SIZE], part[NAME_FILE_SIZE];

	while (keep_damaged(sv, l) == -1)
		if (errno != EEXIST || move_part(sv, l) == -1)
			return fail_step(sv, l, NAME_DAMAGED);
	file_of(l, NAME_DAMAGED, damaged);
	file_of(l, NAME_EET_PART, part);
	if (append_damaged_line(sv, l, damaged, why) == -1) {
		if (fdio_passes(errno))
			return AGAIN;
		fail_file(sv, INDEX_FILE);
		return DONE;
	}
	if (unlink_file(sv, l, NAME_WAV_PART) == -1 || unlink_file(sv, l, NAME_EET_PART) == -1)
		return fail_step(sv, l, NAME_EET_PART);
	note(sv, SPOOL_DAMAGE, part, "%s, kept as %s%s", why, damaged,
	    has_handshake ? ""
			  : "; -r RATE -c CHANNELS -n FRAME_SAMPLES --recover may read its frames");
	return DONE;
}

/* Cut off what is not a whole frame, and have it completed. */
static enum outcome
complete_sound(struct salvage *sv, const struct leftover *l, int fd, const struct look *look)
{
	char part[NAME_FILE_SIZE];

	file_of(l, NAME_EET_PART, part);
	if (look->end < look->size) {
		if (ftruncate(fd, (off_t)look->end) == -1)
			return fail_step(sv, l, NAME_EET_PART);
		note(sv, SPOOL_NOTE, part, "cut after its last whole frame, by %" PRIu64 " bytes",
		    look->size - look->end);
	}
	queue(sv, l, look->end, count_places(sv, l, NAME_EET_PART), false);
	return DONE;
}

/* Zeros, or less than a frame. */
static enum outcome
remove_empty(struct salvage *sv, const struct leftover *l)
{
	if (unlink_file(sv, l, NAME_WAV_PART) == -1)
		return fail_step(sv, l, NAME_WAV_PART);
	return remove_file(sv, l, NAME_EET_PART, "no whole frame in it");
}

/* Is a log too short for a frame, after the handshake if it begins like one? */
static bool
is_less_than_a_frame(int fd, uint64_t size)
{
	uint8_t magic[4], head[4];

	if (size < WIRE_FRAME_HEADER_SIZE)
		return true;
	le32_store(magic, WIRE_MAGIC_HANDSHAKE);
	return size < WIRE_HANDSHAKE_SIZE + WIRE_FRAME_HEADER_SIZE &&
	    pread(fd, head, sizeof head, 0) == (ssize_t)sizeof head &&
	    memcmp(head, magic, sizeof head) == 0;
}

static enum outcome
salvage_open_log(struct salvage *sv, struct leftover *l, int fd)
{
	struct wire_handshake borrowed;
	struct look look;
	int zeros = only_zeros(fd, 0);
	int borrows = 0;

	if (zeros == -1 || look_at(fd, NULL, &look) == -1)
		return fail_step(sv, l, NAME_EET_PART);
	if (zeros == 1 || is_less_than_a_frame(fd, look.size))
		return remove_empty(sv, l);
	if (!look.has_handshake) {
		if ((borrows = borrow_handshake(sv, l, fd, &borrowed, &look)) == -1)
			return fail_step(sv, l, NAME_EET_PART);
		if (borrows == 0)
			return keep_unreadable(sv, l, false);
	}
	if (look.frames == 0 && look.places == (uint64_t)borrows)
		return remove_empty(sv, l);
	if (look.frames == 0)
		return keep_unreadable(sv, l, true);
	if (look.places > 0)
		return split_damaged(sv, l, fd, &look, borrows == 1 ? &borrowed : NULL);
	return complete_sound(sv, l, fd, &look);
}

/* Of files that were not synced, a power cut can leave the final name without all data. */
static enum outcome
salvage_linked_log(struct salvage *sv, struct leftover *l, int fd, uint64_t bytes)
{
	char eet[NAME_FILE_SIZE];
	struct look look;
	struct stat wav;
	int listed;

	file_of(l, NAME_EET, eet);
	if ((listed = index_has(sv->index, eet)) == -1) {
		fail_file(sv, INDEX_FILE);
		return DONE;
	}
	if (listed == 0 && look_at(fd, NULL, &look) == -1)
		return fail_step(sv, l, NAME_EET_PART);
	if (listed == 1 || (look.frames > 0 && look.places == 0 && look.end == look.size))
		return go_on_completing(sv, l, bytes, false);
	if (segment_has(sv->dir, &l->name, NAME_WAV, &wav) &&
	    is_same_file(sv, l, NAME_WAV_PART, &wav) && unlink_file(sv, l, NAME_WAV) == -1)
		return fail_step(sv, l, NAME_WAV);
	if (unlink_file(sv, l, NAME_EET) == -1)
		return fail_step(sv, l, NAME_EET);
	return salvage_open_log(sv, l, fd);
}

static enum outcome
salvage_log(struct salvage *sv, struct leftover *l)
{
	struct stat st;
	enum outcome o;
	int fd;

	if ((fd = open_log(sv, l, NAME_EET_PART, &st)) == -1)
		return DONE;
	if (is_same_file(sv, l, NAME_EET, &st))
		o = salvage_linked_log(sv, l, fd, (uint64_t)st.st_size);
	else
		o = salvage_open_log(sv, l, fd);
	close(fd);
	return o;
}

/* Renaming was under way: the log has its final name, or the note of it is all that is left. */
static enum outcome
go_on_renaming(struct salvage *sv, const struct leftover *l)
{
	struct stat st;

	if (!segment_has(sv->dir, &l->name, NAME_EET, &st)) {
		if (unlink_file(sv, l, NAME_WAV_PART) == -1)
			return fail_step(sv, l, NAME_WAV_PART);
		return remove_file(sv, l, NAME_LINE_PART, "its log is not here");
	}
	return go_on_completing(sv, l, (uint64_t)st.st_size, true);
}

static enum outcome
salvage_one(struct salvage *sv, struct leftover *l)
{
	if (is_strange(sv, l, NAME_WAV_PART) || is_strange(sv, l, NAME_LINE_PART) ||
	    is_strange(sv, l, NAME_NEW_PART))
		return DONE;
	if (l->has[NAME_LINE_PART] && !l->has[NAME_EET_PART])
		return go_on_renaming(sv, l);
	if (l->has[NAME_LINE_PART] && unlink_file(sv, l, NAME_LINE_PART) == -1)
		return fail_step(sv, l, NAME_LINE_PART);
	if (l->has[NAME_NEW_PART] && l->has[NAME_EET_PART]) {
		if (unlink_file(sv, l, NAME_NEW_PART) == -1)
			return fail_step(sv, l, NAME_NEW_PART);
	} else if (l->has[NAME_NEW_PART]) {
		/* Without links: the damaged one had been renamed, and it was to take its name. */
		if (is_strange(sv, l, NAME_DAMAGED))
			return DONE;
		if (rename_file(sv, l, NAME_NEW_PART, NAME_EET_PART, false) == -1)
			return fail_step(sv, l, NAME_NEW_PART);
		l->has[NAME_EET_PART] = true;
	}
	l->has[NAME_NEW_PART] = l->has[NAME_LINE_PART] = false;
	if (l->has[NAME_EET_PART])
		return salvage_log(sv, l);
	return remove_file(sv, l, NAME_WAV_PART, "its log is not here");
}

/* False: it waited for space, and was stopped. */
static bool
salvage_patiently(struct salvage *sv, struct leftover *l)
{
	char part[SEGMENT_PATH];

	segment_path(sv->dir, &l->name, ".eet.part", part);
	while (salvage_one(sv, l) == AGAIN)
		if (!wait_for_space(sv, part, errno))
			return false;
	return true;
}

static void
say_remaining(struct salvage *sv, size_t n)
{
	char text[SEGMENT_PATH + 128];

	snprintf(text, sizeof text, "%s: %zu unfinished segment%s left to the next start",
	    sv->dir->path, n, n == 1 ? "" : "s");
	put_note(sv, sv->gave_up ? SPOOL_FAILURE : SPOOL_NOTE, text);
}

static void *
work(void *arg)
{
	struct salvage *sv = arg;

	size_t i;

	/* What is recorded now comes first.  On Linux, this is the thread's own. */
	setpriority(PRIO_PROCESS, 0, NICENESS);
	for (i = 0; i < sv->n && !is_stopping(sv); i++)
		if (!salvage_patiently(sv, &sv->leftovers[i]))
			break;
	run_jobs(sv);
	if (i < sv->n || sv->dropped > 0)
		say_remaining(sv, sv->n - i + sv->dropped);
	pthread_mutex_lock(&sv->lock);
	sv->ended = true;
	announce(sv);
	pthread_mutex_unlock(&sv->lock);
	return NULL;
}

/*
 * ---- Begin and end ----
 */

struct salvage *
salvage_new(const struct segment_dir *d, int index, char failed[SEGMENT_PATH])
{
	struct salvage *sv = calloc(1, sizeof *sv);
	pthread_condattr_t attr;
	int e;

	snprintf(failed, SEGMENT_PATH, "%s", d->path);
	if (sv == NULL)
		return NULL;
	sv->dir = d;
	sv->index = index;
	sv->notes_end = &sv->notes;
	sv->done_end = &sv->done;
	if ((sv->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) == -1) {
		free(sv);
		return NULL;
	}
	pthread_mutex_init(&sv->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&sv->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (list(sv) == 0)
		return sv;
	e = errno;
	salvage_end(sv);
	errno = e;
	return NULL;
}

int
salvage_start(struct salvage *sv, struct upkeep *u)
{
	sv->upkeep = u;
	if (sv->n == 0) {
		sv->ended = true;
		return 0;
	}
	if (thread_start(&sv->thread, work, sv) == -1)
		return -1;
	sv->started = true;
	return 0;
}

int
salvage_fd(const struct salvage *sv)
{
	return sv->event;
}

int
salvage_take(struct salvage *sv, struct salvage_note **noteso, struct completer_job **doneo,
    char failed[SEGMENT_PATH])
{
	uint64_t n;
	int status, e;

	pthread_mutex_lock(&sv->lock);
	if (read(sv->event, &n, sizeof n) == -1)
		n = 0; /* nothing was announced: fine */
	*noteso = sv->notes;
	sv->notes = NULL;
	sv->notes_end = &sv->notes;
	*doneo = sv->done;
	sv->done = NULL;
	sv->done_end = &sv->done;
	e = sv->error;
	if (e != 0)
		memcpy(failed, sv->failed, SEGMENT_PATH);
	status = e != 0 ? -1 : sv->ended;
	pthread_mutex_unlock(&sv->lock);
	errno = e;
	return status;
}

void
salvage_stop(struct salvage *sv)
{
	pthread_mutex_lock(&sv->lock);
	sv->stopping = true;
	pthread_cond_signal(&sv->wake);
	pthread_mutex_unlock(&sv->lock);
}

bool
salvage_end(struct salvage *sv)
{
	struct salvage_note *note, *next_note;
	struct completer_job *job, *next_job;

	if (sv == NULL)
		return true;
	salvage_stop(sv);
	if (sv->started && !thread_end(&sv->thread, 1))
		return false;
	for (note = sv->notes; note != NULL; note = next_note) {
		next_note = note->next;
		free(note);
	}
	for (job = sv->done; job != NULL; job = next_job) {
		next_job = job->next;
		completer_free_job(job);
	}
	pthread_cond_destroy(&sv->wake);
	pthread_mutex_destroy(&sv->lock);
	close(sv->event);
	free(sv->leftovers);
	free(sv);
	return true;
}
