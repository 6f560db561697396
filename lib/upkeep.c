#include "upkeep.h"

#include "exec.h"
#include "index.h"
#include "name.h"
#include "retention.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <search.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct upkeep {
	const struct segment_dir *dir;
	const struct spool_options *options;
	struct completer *completer;
	int epoll;
	int timer; /* limits are looked at once a second, because what grows fills the disk too */
	struct exec *exec; /* NULL: no command */
	void *waiting;     /* without one: names of segments whose command waits, tsearch(3) */
	struct retention *retention;     /* NULL: everything is kept */
	uint64_t wall_start, boot_start; /* when the keeping began, on both clocks */
	bool failed;                     /* a removal has, in this second */
	int said;                        /* errno of it, so that it is said once */
};

__attribute__((format(printf, 4, 5))) static void
report(struct upkeep *u, enum spool_report_kind kind, const struct name *n, const char *fmt, ...)
{
	char text[SEGMENT_PATH + 256];
	size_t len;
	va_list ap;

	segment_path(u->dir, n, ".eet: ", text);
	len = strlen(text);
	va_start(ap, fmt);
	vsnprintf(text + len, sizeof text - len, fmt, ap);
	va_end(ap);
	u->options->report(u->options->arg, &(struct spool_report){ .kind = kind, .text = text });
}

/* Have a line written into the index, in its turn. */
static void
put_line(struct upkeep *u, const struct name *n, const char *line, size_t len)
{
	struct completer_job *j = calloc(1, sizeof *j);
	char failed[SEGMENT_PATH];

	if (j != NULL) {
		j->kind = COMPLETER_LINE;
		j->line = strndup(line, len - 1); /* without newline */
		if (j->line != NULL && completer_put(u->completer, j, failed) == 0)
			return;
		completer_free_job(j);
	}
	report(u, SPOOL_WARNING, n, "what became of it is not in the index");
}

static bool
exists(const struct upkeep *u, const char *file)
{
	struct stat st;

	return fstatat(u->dir->fd, file, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/*
 * ---- What is pending according to the index ----
 */

struct pending {
	struct upkeep *upkeep;
	void *tree; /* of struct name, tsearch(3) */
	int error;
};

/* By time, so that they are taken up in that order. */
static int
compare(const void *a, const void *b)
{
	const struct name *x = a, *y = b;

	if (x->time_ms != y->time_ms)
		return x->time_ms < y->time_ms ? -1 : 1;
	return name_compare(x, y);
}

static void
note_pending(void *arg, const struct index_item *item)
{
	struct pending *p = arg;
	struct name key, *n;
	size_t stem;
	void *node;

	if (item->event == INDEX_SEGMENT || item->event == INDEX_SESSION ||
	    name_suffix(item->eet, &stem) != NAME_EET || !name_parse(item->eet, stem, &key))
		return;
	node = tfind(&key, &p->tree, compare);
	if (item->event == INDEX_EXEC_PENDING && node == NULL) {
		if ((n = malloc(sizeof *n)) == NULL) {
			p->error = errno;
			return;
		}
		*n = key;
		if (tsearch(n, &p->tree, compare) == NULL) {
			p->error = errno;
			free(n);
		}
	} else if (item->event != INDEX_EXEC_PENDING && node != NULL) {
		n = *(struct name **)node;
		tdelete(n, &p->tree, compare);
		free(n);
	}
}

static void
take_up(const void *node, VISIT visit, void *arg)
{
	const struct name *n = *(const struct name *const *)node;
	struct pending *p = arg;
	char eet[NAME_FILE_SIZE], wav[NAME_FILE_SIZE];

	if (visit != postorder && visit != leaf) /* in order: by time */
		return;
	name_file(n, ".eet", eet);
	name_file(n, ".wav", wav);
	if (!exists(p->upkeep, eet))
		report(p->upkeep, SPOOL_WARNING, n,
		    "its command was still to be run, but it is gone");
	else if (exec_put(p->upkeep->exec, n, exists(p->upkeep, wav)) == -1)
		p->error = errno;
}

/* Without --exec they wait for a start that has it, and are kept until then. */
static int
look_at_pending(struct upkeep *u, int index)
{
	struct pending p = { .upkeep = u };

	if (index_each(index, note_pending, &p) == -1)
		p.error = errno;
	if (p.error == 0 && u->exec != NULL)
		twalk_r(p.tree, take_up, &p);
	if (u->exec != NULL)
		tdestroy(p.tree, free);
	else
		u->waiting = p.tree;
	errno = p.error;
	return p.error == 0 ? 0 : -1;
}

/*
 * ---- Begin and end ----
 */

static int
watch(const struct upkeep *u, int fd)
{
	struct epoll_event event = { .events = EPOLLIN };

	return epoll_ctl(u->epoll, EPOLL_CTL_ADD, fd, &event);
}

static int
begin_exec(struct upkeep *u, int index)
{
	const struct spool_options *o = u->options;

	if (o->exec == NULL)
		return 0;
	u->exec = exec_new(u->dir->path, o->exec, o->exec_jobs);
	return u->exec != NULL && watch(u, exec_fd(u->exec)) == 0 ? look_at_pending(u, index) : -1;
}

static uint64_t
read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/*
 * By which nothing is older than it is, if one of them is right: the clock, and the clock at the
 * start plus the time that has passed since.  Set forward by mistake, it must not cost everything.
 */
static uint64_t
careful_now(const struct upkeep *u)
{
	uint64_t wall = read_clock(CLOCK_REALTIME);
	uint64_t passed = u->wall_start + (read_clock(CLOCK_BOOTTIME) - u->boot_start);

	return wall < passed ? wall : passed;
}

static int
begin_retention(struct upkeep *u, int index)
{
	const struct retention_limits *l = &u->options->keep;
	struct itimerspec second = { .it_value.tv_nsec = 1, .it_interval.tv_sec = 1 };

	if (l->keep_bytes == 0 && l->keep_age_us == 0 && l->min_free == 0)
		return 0;
	u->wall_start = read_clock(CLOCK_REALTIME);
	u->boot_start = read_clock(CLOCK_BOOTTIME);
	u->retention = retention_new(u->dir, index, l);
	u->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (u->retention == NULL || u->timer == -1 || watch(u, u->timer) == -1 ||
	    watch(u, retention_fd(u->retention)) == -1)
		return -1;
	if (u->exec == NULL && look_at_pending(u, index) == -1)
		return -1;
	return timerfd_settime(u->timer, 0, &second, NULL);
}

struct upkeep *
upkeep_new(const struct segment_dir *d, int index, const struct spool_options *o,
    struct completer *c, char failed[SEGMENT_PATH])
{
	struct upkeep *u = calloc(1, sizeof *u);
	int e;

	snprintf(failed, SEGMENT_PATH, "%s", d->path);
	if (u == NULL)
		return NULL;
	*u = (struct upkeep){ .dir = d, .options = o, .completer = c, .timer = -1 };
	u->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (u->epoll != -1 && begin_exec(u, index) == 0 && begin_retention(u, index) == 0)
		return u;
	e = errno;
	upkeep_free(u);
	errno = e;
	return NULL;
}

static void
name_abandoned(void *arg, const struct name *n)
{
	report(arg, SPOOL_WARNING, n,
	    "its command was not run, or did not succeed; the next start runs it");
}

bool
upkeep_free(struct upkeep *u)
{
	bool ended;

	if (u == NULL)
		return true;
	if (u->exec != NULL)
		exec_each(u->exec, name_abandoned, u);
	exec_free(u->exec);
	tdestroy(u->waiting, free);
	ended = retention_free(u->retention);
	if (u->timer != -1)
		close(u->timer);
	if (u->epoll != -1)
		close(u->epoll);
	free(u);
	return ended;
}

/*
 * ---- Going on ----
 */

int
upkeep_fd(const struct upkeep *u)
{
	return u->epoll;
}

int
upkeep_completed(struct upkeep *u, const struct name *n, bool has_wav)
{
	if (u->exec != NULL && exec_put(u->exec, n, has_wav) == -1)
		return -1;
	return u->retention != NULL ? retention_add(u->retention, n) : 0;
}

static void
exec_done(void *arg, const struct name *n)
{
	struct upkeep *u = arg;
	char eet[NAME_FILE_SIZE], wav[NAME_FILE_SIZE], line[INDEX_LINE + 1];

	name_file(n, ".eet", eet);
	name_file(n, ".wav", wav);
	put_line(u, n, line,
	    index_format_exec(eet, exists(u, wav) ? wav : NULL, n->session, true, line));
	report(u, SPOOL_DETAIL, n, "its command succeeded");
}

static void
exec_failed(void *arg, const struct name *n, const char *text)
{
	report(arg, SPOOL_WARNING, n, "its command failed: %s", text);
}

static bool
needed(void *arg, const struct name *n)
{
	const struct upkeep *u = arg;

	return u->exec != NULL ? exec_has(u->exec, n) : tfind(n, &u->waiting, compare) != NULL;
}

static void
removed(void *arg, const struct name *n, bool has_wav, uint64_t bytes, const char *why)
{
	struct upkeep *u = arg;
	char eet[NAME_FILE_SIZE], wav[NAME_FILE_SIZE], line[INDEX_LINE + 1];

	name_file(n, ".eet", eet);
	name_file(n, ".wav", wav);
	put_line(u, n, line,
	    index_format_removed(eet, has_wav ? wav : NULL, n->session, bytes, why, line));
	report(u, SPOOL_NOTE, n, "removed because of --%s, %" PRIu64 " bytes", why, bytes);
}

static void
keep_limits(struct upkeep *u)
{
	char failed[SEGMENT_PATH], text[SEGMENT_PATH + 128];
	uint64_t expirations;

	/* Not due, perhaps, but a segment more may be one too many. */
	if (read(u->timer, &expirations, sizeof expirations) != -1)
		u->failed = false;
	if (retention_step(u->retention, careful_now(u),
		!u->failed && completer_takes_lines(u->completer), needed, removed, u, failed) == 0)
		return;
	u->failed = true;
	if (errno == u->said)
		return;
	u->said = errno;
	snprintf(text, sizeof text, "%s: can't be removed: %s", failed, strerror(errno));
	u->options->report(u->options->arg,
	    &(struct spool_report){ .kind = SPOOL_FAILURE, .text = text });
}

bool
upkeep_step(struct upkeep *u)
{
	if (u->exec != NULL)
		exec_step(u->exec, exec_done, exec_failed, u);
	if (u->retention != NULL)
		keep_limits(u);
	return (u->exec == NULL || exec_pending(u->exec) == 0) &&
	    (u->retention == NULL || retention_idle(u->retention));
}
