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
#include "heap.h"
#include "index.h"
#include "recovery.h"
#include "segment.h"
#include "upkeep.h"

#include <errno.h>
#include <fcntl.h>
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
	uint8_t handshake[WIRE_HANDSHAKE_SIZE];
	struct completer_sums *sums;

	bool has_frames;
	uint64_t t0;      /* its first frame's time: where its boundaries are counted from */
	uint64_t last_us; /* its last frame's */

	/* The segment that is growing. */
	bool growing;
	int fd;           /* -1: closed until it is written to */
	struct name name; /* of the one before, while none grows */
	uint64_t size;    /* bytes, those still to be written included */
	uint64_t first_us, gap_before;
	bool unsynced;               /* --sync TIME: something was written since the last time */
	struct heap_entry boundary;  /* it ends there; in sp->growing, if growing */
	TAILQ_ENTRY(session) by_use; /* in sp->open, if fd is */

	/* What of it is still in the caller's memory. */
	struct iovec *iov;
	size_t iov_first, iov_n, iov_capacity;
	TAILQ_ENTRY(session) by_flush; /* in sp->dirty, if iov_n > 0 */

	/* The current record ends its segment, and if it is closed, itself. */
	bool ending, closed;
	uint16_t close_code;
	char close_reason[WIRE_MAX_REASON + 1];
};

TAILQ_HEAD(sessions, session);

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
	uint64_t first_session; /* of this run */
	int epoll;              /* both have something for spool_reap() */
	uint32_t last_session;
	struct sessions all; /* in the order of their numbers */
	size_t n_all;
	struct heap growing;  /* those with a segment, by its boundary */
	struct sessions open; /* those whose descriptor is, not written to for longest first */
	size_t n_open, max_open;
	struct sessions dirty;
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
		.stop_fd = -1,
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
		status = fdio_sync(parent);
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

struct spool *
spool_open(const char *dir, const struct spool_options *o, char text[SPOOL_TEXT])
{
	struct spool *sp = calloc(1, sizeof *sp);
	size_t len = strlen(dir);
	uint64_t cut = 0;
	int e;

	snprintf(text, SPOOL_TEXT, "%s", dir);
	if (sp == NULL)
		return NULL;
	while (len > 1 && dir[len - 1] == '/')
		len--;
	sp->options = *o;
	TAILQ_INIT(&sp->all);
	TAILQ_INIT(&sp->open);
	TAILQ_INIT(&sp->dirty);
	sp->index = sp->epoll = -1;
	sp->max_open = most_open(o);
	sp->spare = UINT64_MAX;
	sp->dir = (struct segment_dir){
		.fd = -1,
		.path = sp->path = strndup(dir, len),
		.mode = o->mode,
		.wav = o->wav,
		.sync = o->sync == SPOOL_SYNC_SEGMENT,
		.exec = o->exec != NULL,
		.layout_given = o->layout_given,
		.layout = o->layout,
	};
	if (sp->path == NULL || lock_directory(sp, text) == -1)
		goto fail;
	if ((sp->index = index_open(sp->dir.fd, o->mode, &cut)) == -1) {
		snprintf(text, SPOOL_TEXT, "%s/%s", sp->path, INDEX_FILE);
		goto fail;
	}
	if (cut > 0) {
		char note[SPOOL_TEXT];

		snprintf(note, sizeof note, "%s/%s: torn end of %llu bytes cut off", sp->path,
		    INDEX_FILE, (unsigned long long)cut);
		o->report(o->arg, &(struct spool_report){ .kind = SPOOL_NOTE, .text = note });
	}
	if ((sp->completer = completer_new(&sp->dir, sp->index)) == NULL ||
	    (sp->upkeep = upkeep_new(&sp->dir, sp->index, &sp->options, sp->completer, text)) ==
		NULL ||
	    recovery_run(&sp->dir, sp->index, o, sp->upkeep, &sp->last_session, text) == -1)
		goto fail;
	sp->first_session = (uint64_t)sp->last_session + 1;
	tell_sessions(sp);
	if ((sp->epoll = epoll_create1(EPOLL_CLOEXEC)) == -1 ||
	    watch(sp, completer_fd(sp->completer)) == -1 || watch(sp, upkeep_fd(sp->upkeep)) == -1)
		goto fail;
	text[0] = '\0';
	return sp;
fail:
	e = errno;
	spool_close(sp);
	errno = e;
	return NULL;
}

static void
close_segment(struct spool *sp, struct session *s)
{
	if (s->fd == -1)
		return;
	TAILQ_REMOVE(&sp->open, s, by_use);
	sp->n_open--;
	close(s->fd);
	s->fd = -1;
}

/* Its segment grows no more. */
static void
stop_growing(struct spool *sp, struct session *s)
{
	if (!s->growing)
		return;
	close_segment(sp, s);
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
	free(s->sums);
	free(s->iov);
	free(s);
}

void
spool_close(struct spool *sp)
{
	struct session *s;
	bool ended;

	if (sp == NULL)
		return;
	/* In this order: the completer tells upkeep. */
	ended = completer_end(sp->completer);
	if (!upkeep_free(sp->upkeep) || !ended)
		return;
	if (sp->epoll != -1)
		close(sp->epoll);
	while ((s = TAILQ_FIRST(&sp->all)) != NULL)
		session_free(sp, s);
	if (sp->index != -1)
		close(sp->index);
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

	segment_path(&sp->dir, &s->name, ".eet.part", sp->failure);
	errno = e;
	return -1;
}

static int
append(struct spool *sp, struct session *s, const void *data, size_t len)
{
	if (s->iov_n > 0) {
		struct iovec *last = &s->iov[s->iov_n - 1];

		/* Frames of a frame log lie side by side. */
		if ((const uint8_t *)last->iov_base + last->iov_len == (const uint8_t *)data) {
			last->iov_len += len;
			s->size += len;
			sp->taken += len;
			return 0;
		}
	}
	if (s->iov_n == s->iov_capacity) {
		size_t capacity = s->iov_capacity > 0 ? 2 * s->iov_capacity : 8;
		struct iovec *iov = realloc(s->iov, capacity * sizeof *iov);

		if (iov == NULL)
			return fail(sp, s);
		s->iov = iov;
		s->iov_capacity = capacity;
	}
	if (s->iov_n == 0)
		TAILQ_INSERT_TAIL(&sp->dirty, s, by_flush);
	/* writev(2) only reads. */
	s->iov[s->iov_n++] = (struct iovec){ .iov_base = (void *)(uintptr_t)data, .iov_len = len };
	s->size += len;
	sp->taken += len;
	return 0;
}

/* There is to be a descriptor for one more. */
static void
make_room(struct spool *sp)
{
	while (sp->n_open >= sp->max_open)
		close_segment(sp, TAILQ_FIRST(&sp->open));
}

static void
use_segment(struct spool *sp, struct session *s, int fd)
{
	s->fd = fd;
	TAILQ_INSERT_TAIL(&sp->open, s, by_use);
	sp->n_open++;
}

/* Have the segment's descriptor open, and be the last one to be closed. */
static int
open_segment(struct spool *sp, struct session *s)
{
	char file[NAME_FILE_SIZE];
	int fd;

	if (s->fd != -1) {
		TAILQ_REMOVE(&sp->open, s, by_use);
		TAILQ_INSERT_TAIL(&sp->open, s, by_use);
		return 0;
	}
	make_room(sp);
	name_file(&s->name, ".eet.part", file);
	fd = openat(sp->dir.fd, file, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
	if (fd == -1)
		return fail(sp, s);
	use_segment(sp, s, fd);
	return 0;
}

static int
write_out(struct spool *sp, struct session *s)
{
	size_t done = 0;

	if (s->iov_n == 0)
		return 0;
	if (open_segment(sp, s) == -1)
		return -1;
	if (fdio_writev_full(s->fd, s->iov + s->iov_first, s->iov_n - s->iov_first, &done) == -1) {
		s->iov_first += done;
		return fail(sp, s);
	}
	s->iov_first = s->iov_n = 0;
	s->unsynced = true;
	TAILQ_REMOVE(&sp->dirty, s, by_flush);
	return 0;
}

/* Have fsynced, by the thread, what was written since the last time.  Not done: soon again. */
static void
sync_growing(struct spool *sp)
{
	struct completer_job *j;
	struct session *s;
	size_t n = 0;

	TAILQ_FOREACH(s, &sp->all, all)
	n += s->growing && s->unsynced;
	if (n == 0 || (j = calloc(1, sizeof *j)) == NULL)
		return;
	j->kind = COMPLETER_SYNC;
	if ((j->names = calloc(n, sizeof *j->names)) != NULL)
		TAILQ_FOREACH(s, &sp->all, all)
	if (s->growing && s->unsynced)
		j->names[j->n_names++] = s->name;
	if (j->n_names == n && completer_put(sp->completer, j, sp->failure) == 0) {
		TAILQ_FOREACH(s, &sp->all, all)
		s->unsynced = false;
		sp->sync_at = sp->last_us + sp->options.sync_us;
		sp->syncing = true;
	} else {
		completer_free_job(j);
	}
}

/* What was removed is written to without an error, and no more at the end. */
static int
look_at_files(struct spool *sp)
{
	struct session *s;
	struct stat st, named;

	/* Nor would anybody look for lines where the index has been moved to. */
	if (fstatat(sp->dir.fd, INDEX_FILE, &named, AT_SYMLINK_NOFOLLOW) == -1 ||
	    fstat(sp->index, &st) == -1 || st.st_ino != named.st_ino || st.st_dev != named.st_dev) {
		snprintf(sp->failure, sizeof sp->failure, "%s/%s", sp->path, INDEX_FILE);
		errno = ENOENT;
		return -1;
	}
	TAILQ_FOREACH(s, &sp->open, by_use)
	if (fstat(s->fd, &st) == 0 && st.st_nlink == 0) {
		errno = ENOENT;
		return fail(sp, s);
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
look_around(struct spool *sp)
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
		return look_at_files(sp);
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
	struct session *s, *next;
	int e = 0;

	if (!TAILQ_EMPTY(&sp->dirty) && look_around(sp) == -1)
		return -1;
	/* That one has to wait for space is no reason to keep the others from it. */
	for (s = TAILQ_FIRST(&sp->dirty); s != NULL; s = next) {
		next = TAILQ_NEXT(s, by_flush);
		if (write_out(sp, s) == -1) {
			e = errno;
			if (e != ENOSPC && e != EDQUOT)
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
	if (s->ending)
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
		if (s->growing && sp->options.size > 0 && s->size + r->length > sp->options.size)
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
end_segment(struct spool *sp, struct session *s)
{
	struct completer_job *j;

	if (write_out(sp, s) == -1)
		return -1;
	if ((j = new_job(s)) != NULL) {
		j->segment.name = s->name;
		j->first_us = s->first_us;
		j->gap_before = s->gap_before;
	}
	if (put_job(sp, s, j) == -1)
		return -1;
	stop_growing(sp, s);
	return 0;
}

static int
end_session(struct spool *sp, struct session *s)
{
	struct completer_job *j = new_job(s);

	if (j != NULL) {
		j->kind = COMPLETER_SESSION;
		j->session = s->number;
		j->stream = s->log->stream;
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

static int
begin_session(struct spool *sp, const struct log_record *r)
{
	struct session *s = make_room_for_session(sp) == 0 ? calloc(1, sizeof *s) : NULL;

	if (s != NULL && sp->last_session == UINT32_MAX) {
		free(s);
		s = NULL;
		errno = EOVERFLOW;
	}
	if (s == NULL || (s->sums = calloc(1, sizeof *s->sums)) == NULL) {
		snprintf(sp->failure, sizeof sp->failure, "%s: no session after %lu", sp->path,
		    (unsigned long)sp->last_session);
		free(s);
		return -1;
	}
	s->number = ++sp->last_session;
	s->log = r->session;
	s->fd = -1;
	memcpy(s->handshake, r->session->handshake, sizeof s->handshake);
	TAILQ_INSERT_TAIL(&sp->all, s, all);
	sp->n_all++;
	r->session->user = s;
	return 0;
}

static int
begin_segment(struct spool *sp, struct session *s, const struct log_record *r)
{
	const uint64_t t = r->time_us, period = sp->options.period_us;
	struct name name = {
		.stream_id = r->session->format.stream_id,
		.session = s->number,
		.time_ms = t / 1000,
	};
	int fd;

	strcpy(name.tag, r->session->tag);
	/* Names of a session sort as its segments follow each other. */
	if (s->has_frames && name.time_ms <= s->name.time_ms)
		name.time_ms = s->name.time_ms + 1;
	make_room(sp);
	if ((fd = segment_create(&sp->dir, &name)) == -1) {
		int e = errno;

		segment_path(&sp->dir, &name, ".eet.part", sp->failure);
		errno = e;
		return -1;
	}
	if (!s->has_frames)
		s->t0 = t;
	s->has_frames = true;
	s->name = name;
	s->growing = true;
	s->size = 0;
	s->first_us = t;
	s->gap_before = r->step.gap;
	s->boundary.key = UINT64_MAX;
	if (period > 0) {
		uint64_t from = sp->options.align ? 0 : s->t0;

		s->boundary.key = from + ((t - from) / period + 1) * period;
	}
	heap_put(&sp->growing, &s->boundary);
	use_segment(sp, s, fd);
	return 0;
}

static int
take_frame(struct spool *sp, struct session *s, const struct log_record *r)
{
	if (!s->growing && begin_segment(sp, s, r) == -1)
		return -1;
	if (s->size == 0 && append(sp, s, s->handshake, sizeof s->handshake) == -1)
		return -1;
	if (append(sp, s, r->data, r->length) == -1)
		return -1;
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
	if (j->unknown) {
		snprintf(text, sizeof text, "%s: %s", eet, layout);
		sp->options.report(sp->options.arg,
		    &(struct spool_report){ .kind = SPOOL_NOTE, .text = text });
	}
	if (f->damaged > 0) {
		snprintf(text, sizeof text, "%s: damaged blocks: %llu", eet,
		    (unsigned long long)f->damaged);
		sp->options.report(sp->options.arg,
		    &(struct spool_report){ .kind = SPOOL_DAMAGE, .text = text });
	}
	if (f->unfilled > 0) {
		snprintf(text, sizeof text, "%s: gaps too long to be filled with silence: %llu",
		    eet, (unsigned long long)f->unfilled);
		sp->options.report(sp->options.arg,
		    &(struct spool_report){ .kind = SPOOL_NOTE, .text = text });
	}
}

static int
take_result(struct spool *sp, const struct completer_job *j)
{
	struct spool_report line = { .kind = SPOOL_SESSION, .line = j->line };

	switch (j->kind) {
	case COMPLETER_SEGMENT:
		report_segment(sp, j);
		return upkeep_completed(sp->upkeep, &j->segment.name, j->segment.has_wav);
	case COMPLETER_LINE: line.kind = SPOOL_LINE; /* fallthrough */
	case COMPLETER_SESSION: sp->options.report(sp->options.arg, &line); break;
	case COMPLETER_SYNC: sp->syncing = false; break;
	}
	return 0;
}

int
spool_reap(struct spool *sp)
{
	struct completer_job *done, *next;
	char failed[SEGMENT_PATH];
	int status = completer_take(sp->completer, &done, failed), e = errno;

	for (struct completer_job *j = done; j != NULL; j = next) {
		next = j->next;
		if (take_result(sp, j) == -1 && status != -1) {
			e = errno;
			snprintf(failed, sizeof failed, "%s", sp->path);
			status = -1;
		}
		completer_free_job(j);
	}
	/* It may have become due while the last one was under way. */
	sync_if_due(sp);
	tell_sessions(sp);
	if (status == -1 && (e == ENOSPC || e == EDQUOT))
		upkeep_wants_space(sp->upkeep);
	if (!upkeep_step(sp->upkeep) && status == 1)
		status = 0;
	/* Commands that succeeded have a line to be written. */
	if (status == 1 && !completer_idle(sp->completer))
		status = 0;
	if (status == -1)
		memcpy(sp->failure, failed, sizeof failed);
	errno = e;
	return status;
}
