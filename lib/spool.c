/*
 * The caller's half of a spool: which segment a frame belongs to, and when
 * segments end.  Frames are written where they lie (writev from the caller's
 * memory), segments that have ended go to the completer.
 *
 * A record that can't be taken whole is refused, and offered again: every
 * step on its way is such that doing it again, after it was done, does nothing.
 */
#include "spool.h"

#include "completer.h"
#include "fdio.h"
#include "growing.h"
#include "heap.h"
#include "index.h"
#include "name.h"
#include "next.h"
#include "salvage.h"
#include "segment.h"
#include "upkeep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* What the caller and the completer need besides growing segments; a second is long enough. */
enum { OTHER_DESCRIPTORS = 64, LOOK_MS = 1000 };

struct session {
	TAILQ_ENTRY(session) all;
	uint32_t number;         /* the spool's own */
	struct log_session *log; /* its truth, while it is open */
	struct completer_sums *sums;

	bool has_frames;
	uint64_t t0;      /* its first frame's time: where its boundaries are counted from */
	uint64_t last_us; /* its last frame's */

	/* The segment that is growing. */
	bool growing;        /* until it is handed to the completer */
	int error;           /* it was given up: an errno, 0 for one that got too large */
	unsigned barren;     /* so many in a row were given up before a frame was stored */
	struct growing file; /* its log; the one before, while none grows */
	uint64_t first_us, gap_before;
	struct heap_entry boundary; /* it ends there; in sp->growing, if growing */

	/* The current record ends its segment, and if it is closed, itself. */
	bool ending, closed;
	uint16_t close_code;
	char close_reason[WIRE_MAX_REASON + 1];
};

TAILQ_HEAD(sessions, session);

static struct session *
session_of_file(struct growing *file)
{
	return (struct session *)(void *)((char *)file - offsetof(struct session, file));
}

static struct session *
session_of(struct heap_entry *boundary)
{
	return (struct session *)(void *)((char *)boundary - offsetof(struct session, boundary));
}

struct spool {
	struct spool_options options;
	struct segment_dir dir;
	char *path;
	int index;
	struct completer *completer;
	struct upkeep *upkeep;
	struct salvage *salvage;
	uint64_t first_session; /* of this run */
	int epoll;              /* these have something for spool_reap() */
	uint32_t last_session;
	uint32_t unknown;    /* the session whose layout was last reported as unknown */
	struct sessions all; /* in the order of their numbers */
	size_t n_all;
	struct heap growing; /* those with a segment, by its boundary */
	struct growing_set files;
	struct session **ending; /* by number; [ending_first .. ending_n) are still to be ended */
	size_t ending_first, ending_n, ending_capacity;
	bool collected;        /* what the current record ends is in there */
	uint64_t last_us;      /* the last record's time */
	uint64_t sync_at;      /* --sync TIME: when it is due */
	bool syncing;          /* … and the last one is not over */
	uint64_t looked_ms;    /* when spool_flush() last looked around */
	uint64_t spare, taken; /* --min-free: what was free then besides the reserve; taken since */
	bool uses_reserve;
	char failure[SPOOL_TEXT];
};

void
spool_defaults(struct spool_options *o)
{
	*o = (struct spool_options){
		.period_us = 10 * 1000000,
		.wav = true,
		.sync = SPOOL_SYNC_SEGMENT,
		.mode = 0640,
		.exec_jobs = 4,
	};
}

const char *
spool_failure(const struct spool *sp)
{
	return sp->failure;
}

int
spool_fd(const struct spool *sp)
{
	return sp->epoll;
}

/*
 * ---- Open and close ----
 */

/* The directory is to survive a power cut too, whoever made it, perhaps a moment ago. */
static int
sync_parent(int dir)
{
	int parent = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC), status = 0, e;
	struct stat here, above;

	/* Not ours to read, perhaps: then the directory is as durable as its parent. */
	if (parent == -1)
		return 0;
	if (fstat(dir, &here) == 0 && fstat(parent, &above) == 0 && here.st_dev == above.st_dev)
		status = fdio_sync_dir(parent);
	e = errno;
	close(parent);
	errno = e;
	return status;
}

static int
lock_directory(struct spool *sp, char text[SPOOL_TEXT])
{
	struct segment_dir *d = &sp->dir;

	if (mkdir(d->path, 0750) == -1 && errno != EEXIST) {
		snprintf(text, SPOOL_TEXT, "%s: can't be created", d->path);
		return -1;
	}
	if ((d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1) {
		snprintf(text, SPOOL_TEXT, "%s", d->path);
		return -1;
	}
	if (flock(d->fd, LOCK_EX | LOCK_NB) == -1) {
		if (errno == EWOULDBLOCK) /* which is EAGAIN, and that has other reasons */
			errno = EBUSY;
		snprintf(text, SPOOL_TEXT,
		    errno == EBUSY ? "%s: another program records into it" : "%s", d->path);
		return -1;
	}
	if (d->sync && sync_parent(d->fd) == -1) {
		snprintf(text, SPOOL_TEXT, "%s", d->path);
		return -1;
	}
	d->owner = segment_owner(d->fd);
	return 0;
}

/* How many descriptors growing segments may have. */
static size_t
most_open(const struct spool_options *o)
{
	const size_t others = OTHER_DESCRIPTORS + (o->exec != NULL ? o->exec_jobs : 0);
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == -1 || files.rlim_cur == RLIM_INFINITY)
		return SIZE_MAX;
	return files.rlim_cur > others ? files.rlim_cur - others : 1;
}

static int
watch(const struct spool *sp, int fd)
{
	struct epoll_event event = { .events = EPOLLIN };

	return epoll_ctl(sp->epoll, EPOLL_CTL_ADD, fd, &event);
}

/* Which sessions are of this run, and which of all have ended. */
static void
tell_sessions(struct spool *sp)
{
	const struct session *s = TAILQ_FIRST(&sp->all);

	upkeep_sessions(sp->upkeep, sp->first_session,
	    s != NULL ? s->number : (uint64_t)sp->last_session + 1);
}

__attribute__((format(printf, 3, 4))) static void
report(struct spool *sp, enum spool_report_kind kind, const char *fmt, ...)
{
	char text[SPOOL_TEXT + 256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	sp->options.report(sp->options.arg, &(struct spool_report){ .kind = kind, .text = text });
}

/* 0, or -1 with errno and text[]. */
static int
open_index(struct spool *sp, char text[SPOOL_TEXT])
{
	uint64_t cut = 0;

	if ((sp->index = index_open(sp->dir.fd, sp->options.mode, &cut)) == -1) {
		snprintf(text, SPOOL_TEXT, "%s/%s", sp->path, INDEX_FILE);
		return -1;
	}
	if (cut > 0)
		report(sp, SPOOL_NOTE, "%s/%s: torn end of %llu bytes cut off", sp->path,
		    INDEX_FILE, (unsigned long long)cut);
	return 0;
}

static void
note_session(void *arg, const struct index_item *item)
{
	uint32_t *highest = arg;

	if (item->session > *highest)
		*highest = item->session;
}

/*
 * From which number on sessions are new: what .next says, or the names of what is unfinished, if that
 * is higher.  Without it, all names and lines are read.  0, or -1 with errno and text[].
 */
static int
find_last_session(struct spool *sp, char text[SPOOL_TEXT])
{
	const uint32_t unfinished = salvage_highest(sp->salvage, false);
	uint32_t highest = unfinished;
	uint64_t next = 0;
	int known = sp->dir.next == -1 ? 0 : next_read(sp->dir.next, &next);

	if (known < 1) {
		highest = salvage_highest(sp->salvage, true);
		snprintf(text, SPOOL_TEXT, "%s/%s", sp->path, INDEX_FILE);
		if (index_each(sp->index, note_session, &highest) == -1)
			return -1;
		snprintf(text, SPOOL_TEXT, "%s/%s", sp->path, NEXT_FILE);
		if (known == -1 && ftruncate(sp->dir.next, 0) == -1)
			return -1;
		if (known == -1 || highest > unfinished)
			report(sp, SPOOL_WARNING,
			    "%s/%s: %s; sessions go on after %lu, the highest number of a file or line",
			    sp->path, NEXT_FILE, known == -1 ? "damaged" : "missing",
			    (unsigned long)highest);
	} else if (next > (uint64_t)highest + 1) {
		highest = (uint32_t)(next - 1);
	}
	sp->last_session = highest;
	snprintf(text, SPOOL_TEXT, "%s/%s", sp->path, NEXT_FILE);
	/* A power cut can leave a file of a session, and not the number that was written before it. */
	if ((known == 1 && next > highest) || sp->dir.next == -1 ||
	    next_write(sp->dir.next, (uint64_t)highest + 1) == 0)
		return 0;
	return fdio_passes(errno) ? 0 : -1; /* then with the first session */
}

/* Have the numbers of sessions kept.  0; -1: errno (which may pass: then later). */
static int
open_next(struct spool *sp)
{
	if (sp->dir.next != -1)
		return 0;
	sp->dir.next = next_open(sp->dir.fd, sp->options.mode);
	return sp->dir.next == -1 ? -1 : 0;
}

/* What an earlier run left is listed before anything is made, and completed in the background. */
static int
begin_completing(struct spool *sp, char text[SPOOL_TEXT])
{
	if ((sp->salvage = salvage_new(&sp->dir, sp->index, text)) == NULL)
		return -1;
	if (open_next(sp) == -1 && !fdio_passes(errno)) {
		snprintf(text, SPOOL_TEXT, "%s/%s", sp->path, NEXT_FILE);
		return -1;
	}
	if (find_last_session(sp, text) == -1)
		return -1;
	snprintf(text, SPOOL_TEXT, "%s", sp->path);
	if ((sp->completer = completer_new(&sp->dir, sp->index)) == NULL ||
	    (sp->upkeep = upkeep_new(&sp->dir, sp->index, &sp->options, sp->completer, text)) ==
		NULL ||
	    salvage_start(sp->salvage, sp->upkeep) == -1)
		return -1;
	sp->first_session = (uint64_t)sp->last_session + 1;
	tell_sessions(sp);
	return watch(sp, completer_fd(sp->completer)) == -1 ||
		watch(sp, upkeep_fd(sp->upkeep)) == -1 || watch(sp, salvage_fd(sp->salvage)) == -1
	    ? -1
	    : 0;
}

struct spool *
spool_open(const char *dir, const struct spool_options *o, char text[SPOOL_TEXT])
{
	struct spool *sp = calloc(1, sizeof *sp);
	size_t len = strlen(dir);
	int e;

	snprintf(text, SPOOL_TEXT, "%s", dir);
	if (sp == NULL)
		return NULL;
	while (len > 1 && dir[len - 1] == '/')
		len--;
	sp->options = *o;
	TAILQ_INIT(&sp->all);
	growing_init(&sp->files, &sp->dir, most_open(o));
	sp->index = sp->epoll = -1;
	sp->spare = UINT64_MAX;
	sp->dir = (struct segment_dir){
		.fd = -1,
		.next = -1,
		.path = sp->path = strndup(dir, len),
		.mode = o->mode,
		.wav = o->wav,
		.sync = o->sync == SPOOL_SYNC_SEGMENT,
		.exec = o->exec != NULL,
		.layout_given = o->layout_given,
		.layout = o->layout,
	};
	if (sp->path != NULL && lock_directory(sp, text) == 0 && open_index(sp, text) == 0 &&
	    (sp->epoll = epoll_create1(EPOLL_CLOEXEC)) != -1 && begin_completing(sp, text) == 0) {
		text[0] = '\0';
		return sp;
	}
	e = errno;
	spool_close(sp);
	errno = e;
	return NULL;
}

/* Its segment grows no more. */
static void
stop_growing(struct spool *sp, struct session *s)
{
	if (!s->growing)
		return;
	growing_end(&sp->files, &s->file);
	heap_remove(&sp->growing, &s->boundary);
	s->growing = false;
}

/* Forget a session; what its segment lacks is left as it is. */
static void
session_free(struct spool *sp, struct session *s)
{
	stop_growing(sp, s);
	TAILQ_REMOVE(&sp->all, s, all);
	sp->n_all--;
	growing_free(&sp->files, &s->file);
	free(s->sums);
	free(s);
}

void
spool_close(struct spool *sp)
{
	struct session *s;
	bool ended;

	if (sp == NULL)
		return;
	/* In this order: the first two tell upkeep. */
	ended = salvage_end(sp->salvage);
	ended = completer_end(sp->completer) && ended;
	if (!upkeep_free(sp->upkeep) || !ended)
		return;
	if (sp->epoll != -1)
		close(sp->epoll);
	while ((s = TAILQ_FIRST(&sp->all)) != NULL)
		session_free(sp, s);
	if (sp->index != -1)
		close(sp->index);
	if (sp->dir.next != -1)
		close(sp->dir.next);
	if (sp->dir.fd != -1)
		close(sp->dir.fd); /* and with it goes the lock */
	heap_free(&sp->growing);
	free(sp->ending);
	free(sp->path);
	free(sp);
}

/*
 * ---- Writing ----
 */

static int
fail(struct spool *sp, const struct session *s)
{
	int e = errno;

	segment_path(&sp->dir, &s->file.name, ".eet.part", sp->failure);
	errno = e;
	return -1;
}

/* Hand the segment, or what could be stored of it, to the completer. */
static int queue_segment(struct spool *sp, struct session *s);

/* Create a segment for frames that remain, or for one of that time and gap.  0, or -1 as spool_put(). */
static int begin_segment(struct spool *sp, struct session *s, uint64_t time_us, uint64_t gap);

/* The file can't be written to, for that reason: it is left as it is. */
static void
give_up_file(struct spool *sp, struct session *s, int e)
{
	bool too_large = e == EFBIG, has_frames;

	s->error = e;
	if (growing_give_up(&sp->files, &s->file, too_large, &has_frames) == -1)
		s->error = errno;
	else if (too_large && has_frames)
		s->error = 0; /* as with --size: it ends here, and the next one goes on */
	s->barren = has_frames ? 0 : s->barren + 1;
}

/* Write what the session has; a file that fails is given up, and the rest goes into a new one. */
static int
write_out(struct spool *sp, struct session *s)
{
	const struct growing_piece *rest;

	for (;;) {
		/* This is gone through again after what could not be done at once. */
		if (s->growing && !s->file.exists && queue_segment(sp, s) == -1)
			return -1;
		if (!s->growing && (rest = growing_rest(&s->file)) != NULL &&
		    begin_segment(sp, s, rest->time_us, rest->gap) == -1)
			return -1;
		if (growing_write(&sp->files, &s->file) == 0) {
			if (s->file.exists && s->file.size > WIRE_HANDSHAKE_SIZE)
				s->barren = 0;
			return 0;
		}
		if (fdio_passes(errno))
			return fail(sp, s);
		give_up_file(sp, s, errno);
		if (s->barren > 1) {
			errno = s->error;
			return fail(sp, s);
		}
	}
}

/* Have fsynced, by the thread, what was written since the last time.  Not done: soon again. */
static void
sync_growing(struct spool *sp)
{
	struct completer_job *j;
	struct session *s;
	size_t n = 0;

	TAILQ_FOREACH(s, &sp->all, all)
	n += s->growing && s->file.unsynced;
	if (n == 0 || (j = calloc(1, sizeof *j)) == NULL)
		return;
	j->kind = COMPLETER_SYNC;
	j->names = calloc(n, sizeof *j->names);
	j->errors = calloc(n, sizeof *j->errors);
	if (j->names != NULL && j->errors != NULL)
		TAILQ_FOREACH(s, &sp->all, all)
	if (s->growing && s->file.unsynced)
		j->names[j->n_names++] = s->file.name;
	if (j->n_names == n && completer_put(sp->completer, j, sp->failure) == 0) {
		TAILQ_FOREACH(s, &sp->all, all)
		s->file.unsynced = false;
		sp->sync_at = sp->last_us + sp->options.sync_us;
		sp->syncing = true;
	} else {
		completer_free_job(j);
	}
}

/* Nobody would look for lines where the index has been moved to. */
static int
check_index(struct spool *sp)
{
	struct stat st, named;

	if (fstatat(sp->dir.fd, INDEX_FILE, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	    fstat(sp->index, &st) == 0 && st.st_ino == named.st_ino && st.st_dev == named.st_dev)
		return 0;
	snprintf(sp->failure, sizeof sp->failure, "%s/%s", sp->path, INDEX_FILE);
	errno = ENOENT;
	return -1;
}

/* A file that was removed is written to without an error, and is no more at the end. */
static int
give_up_removed(struct spool *sp)
{
	struct growing *file, *next;

	for (file = TAILQ_FIRST(&sp->files.open); file != NULL; file = next) {
		next = TAILQ_NEXT(file, by_use);
		if (!growing_is_removed(file))
			continue;
		give_up_file(sp, session_of_file(file), ENOENT);
		if (write_out(sp, session_of_file(file)) == -1)
			return -1;
	}
	return 0;
}

/* How much space there is besides what --min-free keeps for completing. */
static uint64_t
spare_space(const struct spool *sp)
{
	const uint64_t reserve = sp->options.keep.min_free / 2;
	struct statvfs fs;
	uint64_t free;

	if (reserve == 0 || sp->uses_reserve || fstatvfs(sp->dir.fd, &fs) == -1)
		return UINT64_MAX;
	if ((uint64_t)fs.f_favail < retention_inodes(&fs, sp->options.keep.min_free) / 2)
		return 0;
	free = (uint64_t)fs.f_bavail * fs.f_frsize;
	return free > reserve ? free - reserve : 0;
}

/* Once a second, or when much was taken.  0, or -1 as spool_flush(). */
static int
check_space_and_files(struct spool *sp)
{
	struct timespec t;
	uint64_t now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	now = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
	if (now - sp->looked_ms < LOOK_MS && sp->taken < sp->spare / 2)
		return 0;
	sp->looked_ms = now;
	sp->spare = spare_space(sp);
	sp->taken = 0;
	if (sp->spare > 0)
		return check_index(sp) == -1 ? -1 : give_up_removed(sp);
	snprintf(sp->failure, sizeof sp->failure, "%s: no more than half of --min-free is free",
	    sp->path);
	errno = ENOSPC;
	return -1;
}

bool
spool_use_reserve(struct spool *sp)
{
	bool waited = sp->spare == 0 && !sp->uses_reserve;

	sp->uses_reserve = true;
	return waited;
}

static void
sync_if_due(struct spool *sp)
{
	/* Times may begin anew, and earlier: another log has been joined. */
	if (sp->options.sync_us > 0 && !sp->syncing &&
	    (sp->last_us >= sp->sync_at || sp->sync_at - sp->last_us > sp->options.sync_us))
		sync_growing(sp);
}

int
spool_flush(struct spool *sp)
{
	struct growing *file, *next;
	int e = 0;

	if (!TAILQ_EMPTY(&sp->files.dirty) && check_space_and_files(sp) == -1)
		return -1;
	/* That one has to wait for space is no reason to keep the others from it. */
	for (file = TAILQ_FIRST(&sp->files.dirty); file != NULL; file = next) {
		next = TAILQ_NEXT(file, by_flush);
		if (write_out(sp, session_of_file(file)) == -1) {
			e = errno;
			if (!fdio_passes(e))
				break;
		}
	}
	sync_if_due(sp);
	errno = e;
	return e == 0 ? 0 : -1;
}

/*
 * ---- Segments end ----
 */

static void
will_end(struct spool *sp, struct session *s)
{
	/* No later name could follow: at the end of the year 9999 a segment ends with its session. */
	if (s->ending || (s->growing && s->file.name.time_ms == NAME_MAX_MS && !s->closed))
		return;
	s->ending = true;
	sp->ending[sp->ending_n++] = s;
}

static void
boundary_passed(void *arg, struct heap_entry *boundary)
{
	will_end(arg, session_of(boundary));
}

static int
by_number(const void *a, const void *b)
{
	const uint32_t x = (*(struct session *const *)a)->number;
	const uint32_t y = (*(struct session *const *)b)->number;

	return (x > y) - (x < y);
}

/* Which segments and sessions the record ends. */
static void
collect(struct spool *sp, const struct log_record *r)
{
	struct session *s = r->session != NULL ? r->session->user : NULL, *other;

	heap_each_upto(&sp->growing, r->time_us, boundary_passed, sp);
	switch (r->event) {
	case LOG_ROTATE:
		TAILQ_FOREACH(other, &sp->all, all)
		if (other->growing)
			will_end(sp, other);
		break;
	case LOG_CLOSE:
		s->closed = true;
		s->close_code = r->code;
		strcpy(s->close_reason, r->reason);
		will_end(sp, s);
		break;
	case LOG_FRAME:
		if (s->growing && sp->options.size > 0 &&
		    s->file.size + r->length > sp->options.size)
			will_end(sp, s);
		break;
	default: break;
	}
	if (sp->ending_n > 1)
		qsort(sp->ending, sp->ending_n, sizeof(struct session *), by_number);
	sp->collected = true;
}

static struct completer_job *
new_job(const struct session *s)
{
	struct completer_job *j = calloc(1, sizeof *j);

	if (j == NULL)
		return NULL;
	strcpy(j->tag, s->log->tag);
	strcpy(j->peer, s->log->peer);
	j->sums = s->sums;
	j->stream = s->log->stream;
	j->last_us = s->has_frames ? s->last_us : INDEX_UNKNOWN;
	return j;
}

static int
put_job(struct spool *sp, struct session *s, struct completer_job *j)
{
	if (j == NULL)
		return fail(sp, s);
	if (completer_put(sp->completer, j, sp->failure) == 0)
		return 0;
	free(j);
	return -1;
}

static int
queue_segment(struct spool *sp, struct session *s)
{
	struct completer_job *j = new_job(s);

	if (j != NULL) {
		j->segment.name = s->file.name;
		j->segment.size = s->file.size;
		j->first_us = s->first_us;
		j->gap_before = s->gap_before;
		if (s->error != 0)
			segment_fail(&j->segment, NAME_EET_PART, s->error);
	}
	if (put_job(sp, s, j) == -1)
		return -1;
	stop_growing(sp, s);
	return 0;
}

static int
end_segment(struct spool *sp, struct session *s)
{
	if (write_out(sp, s) == -1)
		return -1;
	return s->growing ? queue_segment(sp, s) : 0;
}

static int
end_session(struct spool *sp, struct session *s)
{
	struct completer_job *j = new_job(s);

	if (j != NULL) {
		j->kind = COMPLETER_SESSION;
		j->session = s->number;
		j->first_us = s->has_frames ? s->t0 : INDEX_UNKNOWN;
		j->close_code = s->close_code;
		strcpy(j->close_reason, s->close_reason);
	}
	if (put_job(sp, s, j) == -1)
		return -1;
	s->sums = NULL; /* the job's now */
	s->log->user = NULL;
	return 0;
}

static int
end_collected(struct spool *sp)
{
	for (; sp->ending_first < sp->ending_n; sp->ending_first++) {
		struct session *s = sp->ending[sp->ending_first];

		if (s->growing && end_segment(sp, s) == -1)
			return -1;
		if (s->closed && end_session(sp, s) == -1)
			return -1;
		s->ending = false;
		if (s->closed)
			session_free(sp, s);
	}
	sp->ending_first = sp->ending_n = 0;
	return 0;
}

/*
 * ---- Sessions and segments begin ----
 */

/* Then what it does later can't fail for want of memory. */
static int
make_room_for_session(struct spool *sp)
{
	if (sp->n_all == sp->ending_capacity) {
		size_t capacity = sp->n_all > 0 ? 2 * sp->n_all : 16;
		struct session **ending = realloc(sp->ending, capacity * sizeof(struct session *));

		if (ending == NULL)
			return -1;
		sp->ending = ending;
		sp->ending_capacity = capacity;
	}
	return heap_reserve(&sp->growing, sp->n_all + 1);
}

/* The next session's number is about to be used: then the one after it is the next. */
static int
number_session(struct spool *sp)
{
	int e;

	if (sp->last_session == UINT32_MAX)
		errno = EOVERFLOW;
	else if (open_next(sp) == 0 &&
	    next_write(sp->dir.next, (uint64_t)sp->last_session + 2) == 0)
		return 0;
	e = errno;
	snprintf(sp->failure, sizeof sp->failure, "%s/%s: no session after %lu", sp->path,
	    NEXT_FILE, (unsigned long)sp->last_session);
	errno = e;
	return -1;
}

static int
begin_session(struct spool *sp, const struct log_record *r)
{
	struct session *s = make_room_for_session(sp) == 0 ? calloc(1, sizeof *s) : NULL;
	int e;

	if (s != NULL && number_session(sp) == -1) {
		e = errno;
		free(s);
		errno = e;
		return -1;
	}
	if (s == NULL || (s->sums = calloc(1, sizeof *s->sums)) == NULL) {
		snprintf(sp->failure, sizeof sp->failure, "%s: a session more", sp->path);
		free(s);
		return -1;
	}
	s->number = ++sp->last_session;
	s->log = r->session;
	growing_begin(&s->file, r->session->handshake);
	TAILQ_INSERT_TAIL(&sp->all, s, all);
	sp->n_all++;
	r->session->user = s;
	return 0;
}

/* The first boundary after t of a session whose first frame came at t0, which may be later. */
static uint64_t
next_boundary(const struct spool_options *o, uint64_t t0, uint64_t t)
{
	uint64_t first;

	if (o->period_us == 0)
		return UINT64_MAX;
	first = o->align ? 0 : t0 % o->period_us;
	return t < first ? first : first + ((t - first) / o->period_us + 1) * o->period_us;
}

static int
begin_segment(struct spool *sp, struct session *s, uint64_t t, uint64_t gap)
{
	struct name name = {
		.stream_id = s->log->format.stream_id,
		.session = s->number,
		.time_ms = t / 1000,
	};

	strcpy(name.tag, s->log->tag);
	/* Names of a session sort as its segments follow each other. */
	if (s->has_frames && name.time_ms <= s->file.name.time_ms)
		name.time_ms = s->file.name.time_ms + 1;
	if (growing_create(&sp->files, &s->file, &name) == -1) {
		int e = errno;

		segment_path(&sp->dir, &name, ".eet.part", sp->failure);
		errno = e;
		return -1;
	}
	if (!s->has_frames)
		s->t0 = t;
	s->has_frames = true;
	s->growing = true;
	s->error = 0;
	s->first_us = t;
	s->gap_before = gap;
	s->boundary.key = next_boundary(&sp->options, s->t0, t);
	heap_put(&sp->growing, &s->boundary);
	return 0;
}

static int
take_frame(struct spool *sp, struct session *s, const struct log_record *r)
{
	/* Frames that a file did not take come first. */
	if (!s->growing && growing_rest(&s->file) != NULL && write_out(sp, s) == -1)
		return -1;
	if (!s->growing && begin_segment(sp, s, r->time_us, r->step.gap) == -1)
		return -1;
	if (growing_append(&sp->files, &s->file, r->data, r->length, r->time_us, r->step.gap) == -1)
		return fail(sp, s);
	sp->taken += r->length;
	s->last_us = r->time_us;
	return 0;
}

int
spool_put(struct spool *sp, const struct log_record *r)
{
	switch (r->event) {
	case LOG_OPEN:
	case LOG_FRAME:
	case LOG_CLOSE:
	case LOG_TICK:
	case LOG_ROTATE: break;
	default: return 0;
	}
	if (!sp->collected)
		collect(sp, r);
	if (end_collected(sp) == -1)
		return -1;
	if (r->event == LOG_OPEN && begin_session(sp, r) == -1)
		return -1;
	if (r->event == LOG_FRAME && take_frame(sp, r->session->user, r) == -1)
		return -1;
	sp->collected = false;
	sp->last_us = r->time_us;
	return 0;
}

/*
 * ---- Reports ----
 */

/* Say what is to be known of a completed segment besides its line. */
static void
report_facts(struct spool *sp, const struct completer_job *j, const char *eet)
{
	const struct segment *s = &j->segment;
	const struct render_facts *f = &s->facts;

	if (f->damaged > 0)
		report(sp, SPOOL_DAMAGE, "%s: damaged blocks: %llu", eet,
		    (unsigned long long)f->damaged);
	if (f->unfilled > 0)
		report(sp, SPOOL_NOTE, "%s: gaps too long to be filled with silence: %llu", eet,
		    (unsigned long long)f->unfilled);
	if (j->remains != 0)
		report(sp, SPOOL_FAILURE, "%s: the names of its parts can't be removed: %s", eet,
		    strerror(j->remains));
	if (s->wav_error != 0)
		report(sp, SPOOL_FAILURE, "%s: completed without its WAV: %s", eet,
		    strerror(s->wav_error));
}

static void
report_failed(struct spool *sp, const struct completer_job *j)
{
	char part[SEGMENT_PATH];

	segment_path(&sp->dir, &j->segment.name, name_extension(j->segment.failed), part);
	report(sp, SPOOL_FAILURE,
	    j->recovered ? "%s: %s; left as it is" : "%s: %s; left as it is, recording goes on",
	    part, segment_why(&j->segment));
	if (j->line != NULL)
		sp->options.report(sp->options.arg,
		    &(struct spool_report){ .kind = SPOOL_LINE, .line = j->line });
}

static void
report_segment(struct spool *sp, const struct completer_job *j)
{
	const struct segment *s = &j->segment;
	const struct render_facts *f = &s->facts;
	char eet[SEGMENT_PATH], wav[SEGMENT_PATH], text[SEGMENT_PATH + 2 * ADPCM_VERDICT_TEXT];
	char layout[ADPCM_VERDICT_TEXT];
	struct spool_report r = { .kind = SPOOL_SEGMENT,
		.eet = eet,
		.line = j->line,
		.text = text };

	segment_path(&sp->dir, &s->name, ".eet", eet);
	segment_path(&sp->dir, &s->name, ".wav", wav);
	if (j->recovered)
		report(sp, SPOOL_NOTE, "%s: recovered, %llu frames", eet,
		    (unsigned long long)f->frames);
	if (s->has_wav)
		r.wav = wav;
	adpcm_verdict_text(&f->verdict, layout);
	if (f->format.codec == WIRE_ADPCM && !j->unknown)
		snprintf(text, sizeof text, "%s: %s%s", eet, layout,
		    j->follows && f->verdict.layout == ADPCM_BARE
			? "; it begins in the middle, its WAV may carry an offset"
			: "");
	else
		r.text = NULL;
	sp->options.report(sp->options.arg, &r);
	/* Once per session, those of earlier runs included. */
	if (j->unknown && s->name.session != sp->unknown)
		report(sp, SPOOL_NOTE, "%s: %s", eet, layout);
	if (j->unknown)
		sp->unknown = s->name.session;
	report_facts(sp, j, eet);
}

/* Growing files whose sync failed are given up.  0, or -1 as spool_flush(). */
static int
take_synced(struct spool *sp, const struct completer_job *j)
{
	struct session *s;

	sp->syncing = false;
	for (size_t i = 0; i < j->n_names; i++) {
		if (j->errors[i] == 0)
			continue;
		TAILQ_FOREACH(s, &sp->all, all)
		if (s->growing && s->file.exists &&
		    name_compare(&s->file.name, &j->names[i]) == 0) {
			give_up_file(sp, s, j->errors[i]);
			if (write_out(sp, s) == -1)
				return -1;
		}
	}
	return 0;
}

static int
take_result(struct spool *sp, const struct completer_job *j)
{
	struct spool_report line = { .kind = SPOOL_SESSION, .line = j->line };

	switch (j->kind) {
	case COMPLETER_SEGMENT:
		if (j->segment.stage == SEGMENT_FAILED) {
			report_failed(sp, j);
			return 0;
		}
		report_segment(sp, j);
		return upkeep_completed(sp->upkeep, &j->segment.name, j->segment.has_wav);
	case COMPLETER_LINE: line.kind = SPOOL_LINE; /* fallthrough */
	case COMPLETER_SESSION: sp->options.report(sp->options.arg, &line); break;
	case COMPLETER_SYNC: return take_synced(sp, j);
	}
	return 0;
}

/* 0, or -1 with errno and failed[]. */
static int
take_results(struct spool *sp, struct completer_job *done, char failed[SEGMENT_PATH])
{
	struct completer_job *next;
	int status = 0, e = 0;

	for (struct completer_job *j = done; j != NULL; j = next) {
		next = j->next;
		if (take_result(sp, j) == -1 && status == 0) {
			e = errno;
			status = -1;
			snprintf(failed, SEGMENT_PATH, "%s", sp->path);
		}
		completer_free_job(j);
	}
	errno = e;
	return status;
}

/* As spool_reap(), of what earlier runs left. */
static int
reap_salvaged(struct spool *sp, char failed[SEGMENT_PATH])
{
	struct completer_job *done;
	struct salvage_note *notes, *next;
	int status = salvage_take(sp->salvage, &notes, &done, failed), e = errno;

	for (struct salvage_note *n = notes; n != NULL; n = next) {
		next = n->next;
		report(sp, n->kind, "%s", n->text);
		free(n);
	}
	if (take_results(sp, done, failed) == -1 && status != -1)
		return -1;
	errno = e;
	return status;
}

int
spool_reap(struct spool *sp)
{
	struct completer_job *done;
	char failed[SEGMENT_PATH], other[SEGMENT_PATH];
	int status = completer_take(sp->completer, &done, failed), e = errno, salvaged;

	if (take_results(sp, done, other) == -1 && status != -1) {
		e = errno;
		memcpy(failed, other, sizeof failed);
		status = -1;
	}
	if ((salvaged = reap_salvaged(sp, other)) == -1 && status != -1) {
		e = errno;
		memcpy(failed, other, sizeof failed);
		status = -1;
	}
	/* It may have become due while the last one was under way. */
	sync_if_due(sp);
	tell_sessions(sp);
	if (status == -1 && (e == ENOSPC || e == EDQUOT))
		upkeep_wants_space(sp->upkeep);
	if (!upkeep_step(sp->upkeep) && status == 1)
		status = 0;
	/* Commands that succeeded have a line to be written. */
	if (status == 1 && (salvaged == 0 || !completer_idle(sp->completer)))
		status = 0;
	if (status == -1)
		memcpy(sp->failure, failed, sizeof failed);
	errno = e;
	return status;
}

void
spool_stop_salvage(struct spool *sp)
{
	salvage_stop(sp->salvage);
}
