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
#include <unistd.h>

struct upkeep {
	const struct segment_dir *dir;
	const struct spool_options *options;
	struct completer *completer;
	int epoll;
	struct exec *exec;           /* NULL: no command */
	struct retention *retention; /* NULL: everything is kept */
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

/* What is still to be completed under its name will be put then. */
static void
take_up(struct pending *p, const struct name *n)
{
	char eet[NAME_FILE_SIZE], wav[NAME_FILE_SIZE], part[NAME_FILE_SIZE];

	name_file(n, ".eet", eet);
	name_file(n, ".wav", wav);
	name_file(n, ".eet.part", part);
	if (exists(p->upkeep, eet)) {
		if (exec_put(p->upkeep->exec, n, exists(p->upkeep, wav)) == -1)
			p->error = errno;
	} else if (!exists(p->upkeep, part)) {
		report(p->upkeep, SPOOL_WARNING, n,
		    "its command was still to be run, but it is gone");
	}
}

static void
keep_pending(const void *node, VISIT visit, void *arg)
{
	const struct name *n = *(const struct name *const *)node;
	struct pending *p = arg;
	struct upkeep *u = p->upkeep;

	if (visit != postorder && visit != leaf) /* in order: by time */
		return;
	if (u->retention != NULL && retention_hold(u->retention, n) == -1)
		p->error = errno;
	if (u->exec != NULL)
		take_up(p, n);
}

/* Without --exec they wait for a start that has it, and are kept until then. */
static int
look_at_pending(struct upkeep *u, int index)
{
	struct pending p = { .upkeep = u };

	if (index_each(index, note_pending, &p) == -1)
		p.error = errno;
	if (p.error == 0)
		twalk_r(p.tree, keep_pending, &p);
	tdestroy(p.tree, free);
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
begin_exec(struct upkeep *u)
{
	const struct spool_options *o = u->options;

	if (o->exec == NULL)
		return 0;
	u->exec = exec_new(u->dir->path, o->exec, o->exec_jobs);
	return u->exec != NULL ? watch(u, exec_fd(u->exec)) : -1;
}

static void
placed(void *arg, const struct name *n)
{
	upkeep_placed(arg, n);
}

static int
begin_retention(struct upkeep *u)
{
	const struct retention_limits *l = &u->options->keep;

	if (l->keep_bytes == 0 && l->keep_age_us == 0 && l->min_free == 0)
		return 0;
	u->retention = retention_new(u->dir, l);
	completer_on_full(u->completer, placed, u);
	return u->retention != NULL ? watch(u, retention_fd(u->retention)) : -1;
}

static int
begin(struct upkeep *u, int index)
{
	if (begin_exec(u) == -1 || begin_retention(u) == -1)
		return -1;
	if ((u->exec != NULL || u->retention != NULL) && look_at_pending(u, index) == -1)
		return -1;
	return u->retention != NULL ? retention_start(u->retention) : 0;
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
	*u = (struct upkeep){ .dir = d, .options = o, .completer = c };
	u->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (u->epoll != -1 && begin(u, index) == 0)
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
	ended = retention_free(u->retention);
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

void
upkeep_sessions(struct upkeep *u, uint64_t first, uint64_t ended)
{
	if (u->retention != NULL)
		retention_sessions(u->retention, first, ended);
}

int
upkeep_completed(struct upkeep *u, const struct name *n, bool has_wav)
{
	if (u->exec != NULL && u->retention != NULL && retention_hold(u->retention, n) == -1)
		return -1;
	if (u->exec != NULL && !exec_has(u->exec, n) && exec_put(u->exec, n, has_wav) == -1)
		return -1;
	return u->retention != NULL ? retention_completed(u->retention, n) : 0;
}

void
upkeep_placed(struct upkeep *u, const struct name *n)
{
	/* One that is to have a command is needed.  Without memory, it waits for its line. */
	if (u->exec == NULL && u->retention != NULL && retention_completed(u->retention, n) == -1)
		return;
}

void
upkeep_found(struct upkeep *u, const struct name *n)
{
	/* Its command, if it waits, was taken up from the index, and holds it.  Without memory it stays. */
	if (u->retention != NULL && retention_completed(u->retention, n) == -1)
		return;
}

void
upkeep_wants_space(struct upkeep *u)
{
	if (u->retention != NULL)
		retention_wake(u->retention);
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
	if (u->retention != NULL)
		retention_release(u->retention, n);
	report(u, SPOOL_DETAIL, n, "its command succeeded");
}

static void
exec_failed(void *arg, const struct name *n, const char *text)
{
	report(arg, SPOOL_WARNING, n, "its command failed: %s", text);
}

static void
report_retention(struct upkeep *u, const struct retention_result *r)
{
	char text[SEGMENT_PATH + 128];

	if (r->error == 0) {
		report(u, SPOOL_NOTE, &r->name, "removed because of --%s, %" PRIu64 " bytes",
		    r->why, r->bytes);
		return;
	}
	snprintf(text, sizeof text, "%s: %s: %s", r->failed, r->what, strerror(r->error));
	u->options->report(u->options->arg,
	    &(struct spool_report){ .kind = SPOOL_FAILURE, .text = text });
}

bool
upkeep_step(struct upkeep *u)
{
	struct retention_result result;

	if (u->exec != NULL)
		exec_step(u->exec, exec_done, exec_failed, u);
	while (u->retention != NULL && retention_take(u->retention, &result))
		report_retention(u, &result);
	return (u->exec == NULL || exec_pending(u->exec) == 0) &&
	    (u->retention == NULL || retention_idle(u->retention));
}
