#include "retention.h"

#include "fdio.h"
#include "remover.h"
#include "seen.h"
#include "thread.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND_US UINT64_C(1000000)
#define DAY_US    (86400 * SECOND_US)
#define FLOOR_US  (WIRE_CLOCK_SET_S * SECOND_US)

/* Limits are looked at so often, because what others write fills the disk too. */
enum { LOOK_US = 1000000 };

/* Measured between two looks at everything else. */
enum { MEASURED_AT_ONCE = 256 };

/* errno is below that. */
enum { ERRORS = 4096 };

enum why { STAYS, KEEP_AGE, KEEP_BYTES, MIN_FREE };

/* One segment; a name costs what it needs, because there may be a million. */
struct kept {
	union {
		struct kept *next; /* in a list */
		uint64_t space;    /* while it is being removed: what the disk has for its files */
	} u;
	uint64_t time_ms;
	uint64_t bytes; /* if it is measured or removed */
	uint32_t session, stream_id;
	uint32_t seen_s;   /* dated before WIRE_CLOCK_SET_S: there since then; 0: not known */
	uint8_t why;       /* it is being removed, because of that; STAYS: it is not */
	uint8_t files;     /* … so many */
	uint8_t round;     /* it could not be removed in this one */
	bool measured : 1; /* bytes count in those of all */
	bool has_line : 1; /* SEEN_FILE says so, too */
	char tag[];
};

struct list {
	struct kept *first, **end;
};

struct retention {
	const struct segment_dir *dir;
	struct retention_limits limits;
	DIR *listing; /* NULL: it has been read */
	struct remover *remover;
	int wake;  /* eventfd: the thread has something to do */
	int event; /* eventfd: the caller has */
	pthread_t thread;
	bool started;

	pthread_mutex_t lock; /* all of this paragraph */
	struct list completed, removed;
	struct retention_result failure; /* error 0: none */
	void *held;                      /* of struct name, tsearch(3) */
	uint64_t first, ended;           /* numbers of sessions */
	bool ending;
	bool asked; /* the caller has said something that the thread has not heard */
	bool idle;

	/* The thread's own from here on.  Oldest first; what is removed leaves at the front, mostly. */
	struct kept **kept;
	size_t from, n, capacity; /* kept[from .. n) */
	size_t measured; /* from there on all are; those before are over keep_bytes, or will be */
	uint64_t bytes;  /* of those that are measured, and stay */
	unsigned leaving;
	uint64_t space_leaving; /* so much more will be free */
	uint64_t files_leaving;
	uint64_t first_now, ended_now; /* first and ended, as of this turn */
	struct seen seen;
	bool seen_loaded;
	uint8_t seen_failed; /* in that round */
	uint64_t wall_start, boot_start, boot_begin;
	uint64_t next_look; /* on the clock of boot_start */
	unsigned failures;  /* in this second */
	uint8_t round;      /* counts the seconds, never 0 */
	bool said[ERRORS];
};

static uint64_t
read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * SECOND_US + (uint64_t)ts.tv_nsec / 1000;
}

/*
 * By which nothing is older than it is, if one of them is right: the clock, and the clock at the
 * start plus the time that has passed since.  Set forward by mistake, it must not cost everything.
 * One that had never been set at the start is believed once it is.
 */
static uint64_t
careful_now(struct retention *r)
{
	uint64_t wall = read_clock(CLOCK_REALTIME), boot = read_clock(CLOCK_BOOTTIME);
	uint64_t passed = r->wall_start + (boot - r->boot_start);

	if (passed < FLOOR_US && wall >= FLOOR_US) {
		r->wall_start = passed = wall;
		r->boot_start = boot;
	}
	return wall < passed ? wall : passed;
}

/*
 * ---- Names ----
 */

static struct name
name_of(const struct kept *k)
{
	struct name n = { .stream_id = k->stream_id, .session = k->session, .time_ms = k->time_ms };

	strcpy(n.tag, k->tag);
	return n;
}

static struct kept *
new_kept(const struct name *n)
{
	const size_t tag = strlen(n->tag) + 1;
	struct kept *k = calloc(1, sizeof *k + tag);

	if (k == NULL)
		return NULL;
	k->time_ms = n->time_ms;
	k->session = n->session;
	k->stream_id = n->stream_id;
	memcpy(k->tag, n->tag, tag);
	return k;
}

static int
older(const struct kept *x, const struct kept *y)
{
	if (x->time_ms != y->time_ms)
		return x->time_ms < y->time_ms ? -1 : 1;
	if (x->session != y->session)
		return x->session < y->session ? -1 : 1;
	if (x->stream_id != y->stream_id)
		return x->stream_id < y->stream_id ? -1 : 1;
	return strcmp(x->tag, y->tag);
}

static int
older_of(const void *x, const void *y)
{
	return older(*(struct kept *const *)x, *(struct kept *const *)y);
}

static int
compare_names(const void *x, const void *y)
{
	return name_compare(x, y);
}

/* Where those begin that are dated at time_ms or later. */
static size_t
since(const struct retention *r, uint64_t time_ms)
{
	size_t low = r->from, high = r->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (r->kept[middle]->time_ms < time_ms)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * ---- To and from the caller ----
 */

static void
list_init(struct list *l)
{
	l->first = NULL;
	l->end = &l->first;
}

static void
list_put(struct list *l, struct kept *k)
{
	k->u.next = NULL;
	*l->end = k;
	l->end = &k->u.next;
}

static struct kept *
list_take(struct list *l)
{
	struct kept *k = l->first;

	if (k != NULL && (l->first = k->u.next) == NULL)
		l->end = &l->first;
	return k;
}

static void
list_free(struct list *l)
{
	struct kept *k;

	while ((k = list_take(l)) != NULL)
		free(k);
}

static void
announce(int event)
{
	uint64_t one = 1;

	/* Fails only when the counter is full, and then it is readable anyway. */
	if (write(event, &one, sizeof one) == -1)
		return;
}

/* Have the thread look at what the caller has said.  Called with the lock. */
static void
ask(struct retention *r)
{
	r->asked = true;
	r->idle = false;
	announce(r->wake);
}

static void
hear_announced(int event)
{
	uint64_t n;

	if (read(event, &n, sizeof n) == -1)
		return; /* nothing was announced: fine */
}

/* Once for each errno, for there may be a million segments: while one waits to be taken, no other. */
static void
tell_failure(struct retention *r, int error, const char *what, const char *path)
{
	if (error <= 0 || error >= ERRORS || r->said[error])
		return;
	pthread_mutex_lock(&r->lock);
	if (r->failure.error == 0) {
		r->said[error] = true;
		r->failure = (struct retention_result){ .error = error, .what = what };
		snprintf(r->failure.failed, SEGMENT_PATH, "%s", path);
		announce(r->event);
	}
	pthread_mutex_unlock(&r->lock);
}

static bool
is_held(struct retention *r, const struct kept *k)
{
	struct name n = name_of(k);
	bool held;

	pthread_mutex_lock(&r->lock);
	held = tfind(&n, &r->held, compare_names) != NULL;
	pthread_mutex_unlock(&r->lock);
	return held;
}

/*
 * ---- What is there ----
 */

static int
make_room(struct retention *r)
{
	size_t capacity = r->capacity > 0 ? 2 * r->capacity : 256;
	struct kept **kept;

	if (r->n < r->capacity)
		return 0;
	/* Room at the front is used before more is asked for. */
	if (r->from > r->n / 2) {
		memmove(r->kept, r->kept + r->from, (r->n - r->from) * sizeof *r->kept);
		r->n -= r->from;
		r->measured -= r->from;
		r->from = 0;
		return 0;
	}
	if ((kept = realloc(r->kept, capacity * sizeof *kept)) == NULL)
		return -1;
	r->kept = kept;
	r->capacity = capacity;
	return 0;
}

/* Of which segment there is a log, damaged or not, or what is to become one: part. */
static bool
parse(const char *file, struct name *no, bool *parto)
{
	enum name_suffix suffix = name_read(file, no);

	*parto = suffix == NAME_EET_PART;
	return suffix == NAME_EET || suffix == NAME_DAMAGED || suffix == NAME_EET_PART;
}

/* Take names from the directory until one can't be had.  0: that was all; -1: errno. */
static int
read_names(struct retention *r)
{
	struct dirent *entry;

	while (errno = 0, (entry = readdir(r->listing)) != NULL) {
		struct kept *k;
		struct name n;
		bool part;

		if (!parse(entry->d_name, &n, &part))
			continue;
		if (make_room(r) == -1 || (k = new_kept(&n)) == NULL)
			return -1;
		k->why = part ? MIN_FREE : STAYS; /* marked until the list is sorted */
		r->kept[r->n++] = k;
	}
	return errno == 0 ? 0 : -1;
}

/*
 * Each name once; what is still to be completed under its name is not there yet: of that
 * retention_completed() tells.
 */
static void
merge_names(struct retention *r)
{
	size_t n = 0;

	for (size_t i = 0, end; i < r->n; i = end) {
		bool part = false;

		for (end = i; end < r->n && older(r->kept[i], r->kept[end]) == 0; end++)
			part = part || r->kept[end]->why != STAYS;
		if (!part)
			r->kept[n++] = r->kept[i];
		for (size_t k = part ? i : i + 1; k < end; k++)
			free(r->kept[k]);
	}
	r->n = r->measured = n;
}

/* What can't be listed is nobody's to remove, and no reason not to remove the others. */
static void
list_directory(struct retention *r)
{
	if (read_names(r) == -1)
		tell_failure(r, errno, "can't be listed", r->dir->path);
	closedir(r->listing);
	r->listing = NULL;
	if (r->n == 0)
		return;
	qsort(r->kept, r->n, sizeof *r->kept, older_of);
	merge_names(r);
	if (r->limits.keep_bytes == 0)
		r->measured = 0;
}

static void
measure(struct retention *r, struct kept *k)
{
	struct name n = name_of(k);

	k->bytes = remover_measure(r->dir, &n).bytes;
	k->measured = true;
	r->bytes += k->bytes;
}

/* The newest first: once they are over, all that are older are, and need not be measured. */
static bool
measure_some(struct retention *r)
{
	if (r->limits.keep_bytes == 0)
		return false;
	for (int i = 0; i < MEASURED_AT_ONCE; i++) {
		if (r->measured <= r->from || r->bytes > r->limits.keep_bytes)
			return false;
		if (r->kept[--r->measured]->why == STAYS)
			measure(r, r->kept[r->measured]);
	}
	return true;
}

/* A segment more, which may have been listed, too. */
static int
insert(struct retention *r, struct kept *k)
{
	size_t at;

	if (make_room(r) == -1)
		return -1;
	for (at = since(r, k->time_ms); at < r->n && older(r->kept[at], k) < 0;)
		at++;
	if (at < r->n && older(r->kept[at], k) == 0) {
		free(k);
		return 0;
	}
	memmove(r->kept + at + 1, r->kept + at, (r->n - at) * sizeof *r->kept);
	r->kept[at] = k;
	r->n++;
	if (at < r->measured)
		r->measured++;
	else if (r->limits.keep_bytes > 0)
		measure(r, k);
	return 0;
}

/*
 * ---- Since when it is there ----
 */

static uint32_t
to_seen(uint64_t seconds)
{
	return seconds < UINT32_MAX ? (uint32_t)seconds : UINT32_MAX;
}

/* That a line is needed is known before it can be written: sessions that go on have none. */
static bool
find_seen(struct retention *r, size_t undated, uint64_t now_s)
{
	bool needs_line = false;

	for (size_t i = r->from; i < undated; i++) {
		struct kept *k = r->kept[i];
		uint64_t seen_s;

		if (k->has_line)
			continue;
		if ((seen_s = seen_at(&r->seen, k->session, now_s)) > 0)
			k->has_line = true;
		else
			needs_line = needs_line || k->session < r->ended_now;
		if (k->seen_s == 0)
			k->seen_s = to_seen(seen_s > 0 ? seen_s : now_s);
	}
	return needs_line;
}

static void
seen_fails(struct retention *r, const char *what)
{
	char path[SEGMENT_PATH];

	r->seen_failed = r->round;
	/* Until there is space, this run remembers. */
	if (errno == ENOSPC || errno == EDQUOT)
		return;
	snprintf(path, sizeof path, "%s/%s", r->dir->path, SEEN_FILE);
	tell_failure(r, errno, what, path);
}

/* Since when it is there, what was recorded while the clock had not been set. */
static void
look_at_undated(struct retention *r, uint64_t now_us)
{
	const size_t undated = since(r, WIRE_CLOCK_SET_S * 1000);
	const uint64_t now_s = now_us / SECOND_US;

	if (undated == r->from || now_us < FLOOR_US || r->seen_failed == r->round)
		return;
	if (!r->seen_loaded && seen_load(&r->seen, r->dir->fd) == -1) {
		seen_fails(r, "can't be read");
		return;
	}
	r->seen_loaded = true;
	if (find_seen(r, undated, now_s) &&
	    seen_append(&r->seen, r->dir->fd, r->dir->mode, r->dir->sync, r->ended_now, now_s) ==
		-1)
		seen_fails(r, "can't be written");
}

/*
 * ---- What goes ----
 */

uint64_t
retention_inodes(const struct statvfs *fs, uint64_t min_free)
{
	const double bytes = (double)fs->f_blocks * (double)fs->f_frsize;
	double part;

	if (fs->f_files == 0 || min_free == 0 || bytes <= 0)
		return 0;
	part = (double)min_free / bytes * (double)fs->f_files;
	return part < 8 ? 8 : part > 1000 ? 1000 : (uint64_t)part;
}

static bool
is_scarce(const struct retention *r)
{
	const uint64_t least = r->limits.min_free;
	struct statvfs fs;

	if (least == 0 || fstatvfs(r->dir->fd, &fs) == -1)
		return false;
	return (uint64_t)fs.f_bavail * fs.f_frsize + r->space_leaving < least ||
	    (uint64_t)fs.f_favail + r->files_leaving < retention_inodes(&fs, least);
}

static bool
is_aged(const struct retention *r, const struct kept *k, uint64_t now_us)
{
	uint64_t since_us = k->time_ms * 1000;

	if (r->limits.keep_age_us == 0 || now_us <= r->limits.keep_age_us)
		return false;
	if (since_us < FLOOR_US && (since_us = k->seen_s * SECOND_US) == 0)
		return false;
	return since_us < now_us - r->limits.keep_age_us;
}

/* Which limit is passed, if this is the candidate for removal. */
static enum why
over(const struct retention *r, const struct kept *k, uint64_t now_us)
{
	if (is_aged(r, k, now_us))
		return KEEP_AGE;
	if (r->limits.keep_bytes > 0 && r->bytes > r->limits.keep_bytes)
		return KEEP_BYTES;
	return is_scarce(r) ? MIN_FREE : STAYS;
}

static bool
may_go(struct retention *r, const struct kept *k)
{
	return k->why == STAYS && k->round != r->round && !is_held(r, k);
}

static bool
can_choose(const struct retention *r)
{
	return r->leaving < REMOVER_MOST && r->failures < REMOVER_MOST;
}

static void
remove_one(struct retention *r, struct kept *k, enum why why)
{
	struct name n = name_of(k);
	struct remover_size size = remover_measure(r->dir, &n);

	if (k->measured)
		r->bytes -= k->bytes;
	k->why = (uint8_t)why;
	k->u.space = size.space;
	k->files = (uint8_t)size.files;
	r->leaving++;
	r->space_leaving += k->u.space;
	r->files_leaving += k->files;
	remover_put(r->remover, &n);
}

/* Of kept[at .. end), the oldest that are over a limit; earlier: only those that this run did not record. */
static void
choose(struct retention *r, size_t at, size_t end, bool earlier, uint64_t now_us)
{
	for (; at < end && can_choose(r); at++) {
		struct kept *k = r->kept[at];
		enum why why;

		if (k->why != STAYS || (earlier && k->session >= r->first_now))
			continue;
		/* Where no limit is passed, who is held need not be asked. */
		if ((why = over(r, k, now_us)) == STAYS)
			return;
		if (may_go(r, k))
			remove_one(r, k, why);
	}
}

/* Those that are dated before the clock was set, in their order, but aged in another. */
static void
choose_aged(struct retention *r, size_t at, size_t end, uint64_t now_us)
{
	for (; at < end && can_choose(r); at++)
		if (is_aged(r, r->kept[at], now_us) && may_go(r, r->kept[at]))
			remove_one(r, r->kept[at], KEEP_AGE);
}

static void
choose_all(struct retention *r, uint64_t now_us)
{
	const size_t undated = since(r, WIRE_CLOCK_SET_S * 1000);

	/* A clock that was years ahead must not keep its files for ever; nor one that is behind cost any. */
	if (read_clock(CLOCK_BOOTTIME) - r->boot_begin > DAY_US)
		choose(r, since(r, (now_us + DAY_US) / 1000 + 1), r->n, true, now_us);
	choose_aged(r, r->from, undated, now_us);
	choose(r, r->from, undated, false, now_us);
	choose(r, undated, r->n, false, now_us);
}

/* Where the one of that name is, which is being removed. */
static size_t
find(const struct retention *r, const struct name *n)
{
	size_t i = since(r, n->time_ms);

	for (;; i++) {
		struct name other = name_of(r->kept[i]);

		if (name_compare(&other, n) == 0)
			return i;
	}
}

/* It was not removed. */
static void
stays(struct retention *r, size_t i, const struct remover_result *result)
{
	struct kept *k = r->kept[i];
	char path[SEGMENT_PATH];

	k->why = STAYS;
	k->round = r->round;
	r->failures++;
	/* Some of it may have gone. */
	k->measured = false;
	if (i >= r->measured && r->limits.keep_bytes > 0)
		measure(r, k);
	segment_path(r->dir, &result->name, result->failed, path);
	tell_failure(r, result->error, "can't be removed", path);
}

static void
goes(struct retention *r, size_t i, const struct remover_result *result)
{
	struct kept *k = r->kept[i];

	/* Those before it stay, a place further on. */
	memmove(r->kept + r->from + 1, r->kept + r->from, (i - r->from) * sizeof *r->kept);
	r->from++;
	if (i >= r->measured)
		r->measured++;
	if (!result->was_there) {
		free(k);
		return;
	}
	k->bytes = result->bytes;
	pthread_mutex_lock(&r->lock);
	list_put(&r->removed, k);
	announce(r->event);
	pthread_mutex_unlock(&r->lock);
}

/* Hear what became of those that were to be removed. */
static void
hear_remover(struct retention *r)
{
	struct remover_result result;

	while (remover_take(r->remover, &result)) {
		size_t i = find(r, &result.name);

		r->leaving--;
		r->space_leaving -= r->kept[i]->u.space;
		r->files_leaving -= r->kept[i]->files;
		if (result.error != 0)
			stays(r, i, &result);
		else
			goes(r, i, &result);
	}
}

/*
 * ---- The thread ----
 */

/* Hear what the caller has to say.  False: that this is the end. */
static bool
hear_caller(struct retention *r, struct list *completed)
{
	bool goes_on;

	pthread_mutex_lock(&r->lock);
	hear_announced(r->wake);
	while (r->completed.first != NULL)
		list_put(completed, list_take(&r->completed));
	r->first_now = r->first;
	r->ended_now = r->ended;
	r->asked = false;
	goes_on = !r->ending;
	pthread_mutex_unlock(&r->lock);
	return goes_on;
}

static void
take_completed(struct retention *r, struct list *completed)
{
	struct kept *k;

	while ((k = completed->first) != NULL) {
		struct kept *next = k->u.next;

		if (insert(r, k) == -1)
			return; /* for want of memory; it will be tried again */
		completed->first = next;
	}
	completed->end = &completed->first;
}

/* Once a second, what could not be done is tried again. */
static void
begin_round(struct retention *r, uint64_t boot)
{
	if (boot < r->next_look)
		return;
	r->next_look = boot + LOOK_US;
	r->failures = 0;
	r->round = r->round == UINT8_MAX ? 1 : r->round + 1;
}

static void
settle(struct retention *r, bool idle)
{
	pthread_mutex_lock(&r->lock);
	idle = idle && r->leaving == 0 && !r->asked;
	if (idle && !r->idle)
		announce(r->event);
	r->idle = idle;
	pthread_mutex_unlock(&r->lock);
}

static void
wait_for_more(struct retention *r)
{
	struct pollfd fds[] = {
		{ .fd = r->wake, .events = POLLIN },
		{ .fd = remover_fd(r->remover), .events = POLLIN },
	};
	uint64_t boot = read_clock(CLOCK_BOOTTIME);
	uint64_t us = r->next_look > boot ? r->next_look - boot : 0;

	poll(fds, 2, (int)((us < LOOK_US ? us : LOOK_US) / 1000 + 1));
}

static void *
work(void *arg)
{
	struct retention *r = arg;
	struct list completed;

	list_init(&completed);
	list_directory(r);
	while (hear_caller(r, &completed)) {
		uint64_t now_us = careful_now(r);
		bool more;

		begin_round(r, read_clock(CLOCK_BOOTTIME));
		take_completed(r, &completed);
		hear_remover(r);
		look_at_undated(r, now_us);
		more = measure_some(r);
		choose_all(r, now_us);
		settle(r, !more && completed.first == NULL);
		if (!more)
			wait_for_more(r);
	}
	list_free(&completed);
	return NULL;
}

/*
 * ---- The caller's side ----
 */

struct retention *
retention_new(const struct segment_dir *d, const struct retention_limits *l)
{
	struct retention *r = calloc(1, sizeof *r);
	int e;

	if (r == NULL)
		return NULL;
	r->dir = d;
	r->limits = *l;
	r->first = UINT64_MAX;
	list_init(&r->completed);
	list_init(&r->removed);
	pthread_mutex_init(&r->lock, NULL);
	r->wall_start = read_clock(CLOCK_REALTIME);
	r->boot_start = r->boot_begin = read_clock(CLOCK_BOOTTIME);
	r->event = -1;
	/* Descriptors are had now: later there may be none. */
	if ((r->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) != -1 &&
	    (r->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) != -1 &&
	    (r->listing = fdio_opendir(d->fd)) != NULL && (r->remover = remover_new(d)) != NULL)
		return r;
	e = errno;
	retention_free(r);
	errno = e;
	return NULL;
}

int
retention_start(struct retention *r)
{
	int status = thread_start(&r->thread, work, r);

	r->started = status == 0;
	return status;
}

void
retention_sessions(struct retention *r, uint64_t first, uint64_t ended)
{
	pthread_mutex_lock(&r->lock);
	if (r->ended != ended || r->first != first) {
		r->first = first;
		r->ended = ended;
		ask(r);
	}
	pthread_mutex_unlock(&r->lock);
}

int
retention_completed(struct retention *r, const struct name *n)
{
	struct kept *k = new_kept(n);

	if (k == NULL)
		return -1;
	pthread_mutex_lock(&r->lock);
	list_put(&r->completed, k);
	ask(r);
	pthread_mutex_unlock(&r->lock);
	return 0;
}

int
retention_hold(struct retention *r, const struct name *n)
{
	struct name *copy = malloc(sizeof *copy);
	const void *node;

	if (copy == NULL)
		return -1;
	*copy = *n;
	pthread_mutex_lock(&r->lock);
	node = tsearch(copy, &r->held, compare_names);
	pthread_mutex_unlock(&r->lock);
	if (node == NULL || *(struct name *const *)node != copy)
		free(copy);
	return node == NULL ? -1 : 0;
}

void
retention_release(struct retention *r, const struct name *n)
{
	const void *node;

	pthread_mutex_lock(&r->lock);
	if ((node = tfind(n, &r->held, compare_names)) != NULL) {
		struct name *held = *(struct name *const *)node;

		tdelete(n, &r->held, compare_names);
		free(held);
		ask(r);
	}
	pthread_mutex_unlock(&r->lock);
}

void
retention_wake(struct retention *r)
{
	pthread_mutex_lock(&r->lock);
	ask(r);
	pthread_mutex_unlock(&r->lock);
}

int
retention_fd(const struct retention *r)
{
	return r->event;
}

bool
retention_take(struct retention *r, struct retention_result *o)
{
	static const char *const limits[] = { "", "keep-age", "keep-bytes", "min-free" };
	struct kept *k = NULL;
	bool failed;

	pthread_mutex_lock(&r->lock);
	hear_announced(r->event);
	failed = r->failure.error != 0;
	if (failed) {
		*o = r->failure;
		r->failure.error = 0;
	} else if ((k = list_take(&r->removed)) != NULL) {
		o->error = 0;
		o->name = name_of(k);
		o->bytes = k->bytes;
		o->why = limits[k->why];
	}
	/* Whoever takes only some is to come again. */
	if (failed || k != NULL)
		announce(r->event);
	pthread_mutex_unlock(&r->lock);
	free(k);
	return failed || k != NULL;
}

bool
retention_idle(struct retention *r)
{
	bool idle;

	pthread_mutex_lock(&r->lock);
	idle = r->idle && r->removed.first == NULL && r->failure.error == 0;
	pthread_mutex_unlock(&r->lock);
	return idle;
}

bool
retention_free(struct retention *r)
{
	bool ended;

	if (r == NULL)
		return true;
	pthread_mutex_lock(&r->lock);
	r->ending = true;
	pthread_mutex_unlock(&r->lock);
	if (r->wake != -1)
		announce(r->wake);
	if (r->started && !thread_end(&r->thread, 1))
		return false;
	/* What is chosen need not go. */
	ended = remover_end(r->remover);
	if (r->listing != NULL)
		closedir(r->listing);
	for (size_t i = r->from; i < r->n; i++)
		free(r->kept[i]);
	free(r->kept);
	list_free(&r->completed);
	list_free(&r->removed);
	tdestroy(r->held, free);
	seen_free(&r->seen);
	pthread_mutex_destroy(&r->lock);
	if (r->wake != -1)
		close(r->wake);
	if (r->event != -1)
		close(r->event);
	free(r);
	return ended;
}
