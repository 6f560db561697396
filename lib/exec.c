#include "exec.h"

#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <search.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/queue.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct task {
	struct name name; /* first: where the tree looks */
	TAILQ_ENTRY(task) link;
	bool has_wav;
	struct child child; /* while it runs */
	int pidfd;
	unsigned retry;  /* seconds to the next try, if this one fails */
	uint64_t due_ns; /* not before; CLOCK_BOOTTIME, so that a night's sleep counts */
};

TAILQ_HEAD(tasks, task);

struct exec {
	const char *dir;
	const char *command;
	unsigned jobs;
	int epoll;
	int timer;
	struct tasks waiting; /* by due_ns */
	struct tasks running;
	void *all; /* both, by name: tsearch(3) */
	unsigned n_running;
	size_t n;
};

static int
compare(const void *a, const void *b)
{
	return name_compare(a, b);
}

static uint64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

struct exec *
exec_new(const char *dir, const char *command, unsigned jobs)
{
	struct exec *e = calloc(1, sizeof *e);
	struct epoll_event timer = { .events = EPOLLIN };

	if (e == NULL)
		return NULL;
	e->dir = dir;
	e->command = command;
	e->jobs = jobs;
	TAILQ_INIT(&e->waiting);
	TAILQ_INIT(&e->running);
	e->epoll = epoll_create1(EPOLL_CLOEXEC);
	e->timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (e->epoll != -1 && e->timer != -1 &&
	    epoll_ctl(e->epoll, EPOLL_CTL_ADD, e->timer, &timer) == 0)
		return e;
	exec_free(e);
	return NULL;
}

int
exec_fd(const struct exec *e)
{
	return e->epoll;
}

size_t
exec_pending(const struct exec *e)
{
	return e->n;
}

/* Wake up when the first one is due and may start. */
static void
set_timer(struct exec *e)
{
	const struct task *first = TAILQ_FIRST(&e->waiting);
	struct itimerspec at = { 0 };

	if (first != NULL && e->n_running < e->jobs) {
		uint64_t at_ns = first->due_ns + 1; /* 0 would be: never */

		at.it_value.tv_sec = (time_t)(at_ns / 1000000000);
		at.it_value.tv_nsec = (long)(at_ns % 1000000000);
	}
	timerfd_settime(e->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static void
wait_in_order(struct exec *e, struct task *t)
{
	struct task *before;

	TAILQ_FOREACH_REVERSE(before, &e->waiting, tasks, link)
	if (before->due_ns <= t->due_ns)
		break;
	if (before != NULL)
		TAILQ_INSERT_AFTER(&e->waiting, before, t, link);
	else
		TAILQ_INSERT_HEAD(&e->waiting, t, link);
}

int
exec_put(struct exec *e, const struct name *n, bool has_wav)
{
	struct task *t = calloc(1, sizeof *t);

	if (t == NULL)
		return -1;
	t->name = *n;
	t->has_wav = has_wav;
	t->pidfd = -1;
	t->retry = EXEC_FIRST_RETRY;
	t->due_ns = now_ns();
	if (tsearch(t, &e->all, compare) == NULL) {
		free(t);
		return -1;
	}
	e->n++;
	wait_in_order(e, t);
	set_timer(e);
	return 0;
}

/*
 * ---- One command ----
 */

static bool
is_ours(const char *variable)
{
	static const char *const names[] = { "EET_STREAM_ID=", "EET_SESSION=", "EET_TAG=",
		"EET_NAME=" };

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (strncmp(variable, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

/* NAME=value, in the way posix_spawn() wants it; the environment's other variables stay. */
static char **
environment(const struct task *t, const char *stem)
{
	extern char **environ;
	size_t n = 0, k = 0;
	char **env, *text;

	while (environ[n] != NULL)
		n++;
	if ((env = calloc(n + 5, sizeof *env)) == NULL)
		return NULL;
	for (size_t i = 0; i < n; i++)
		if (!is_ours(environ[i]))
			env[k++] = environ[i];
	/* One allocation for the four of them, freed by its first. */
	if (asprintf(&text,
		"EET_STREAM_ID=%" PRIu32 "%cEET_SESSION=%" PRIu32 "%cEET_TAG=%s%cEET_NAME=%s",
		t->name.stream_id, '\0', t->name.session, '\0', t->name.tag, '\0', stem) == -1) {
		free(env);
		return NULL;
	}
	for (int i = 0; i < 4; i++) {
		env[k++] = text;
		text += strlen(text) + 1;
	}
	return env;
}

static void
free_environment(char **env)
{
	size_t n = 0;

	if (env == NULL)
		return;
	while (env[n] != NULL)
		n++;
	free(env[n - 4]);
	free(env);
}

/*
 * Start t's command, as *pid: stdin is /dev/null, stdout our stderr, signals as at birth.
 * 0 or an errno.
 */
static int
spawn(const struct exec *e, const struct task *t, pid_t *pid)
{
	char stem[NAME_SIZE], *eet = NULL, *wav = NULL, **env = NULL;
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t all, none;
	int error = ENOMEM;

	name_format(&t->name, stem);
	sigfillset(&all);
	sigemptyset(&none);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
	posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
	posix_spawnattr_init(&attr);
	/* A group of its own: Ctrl-C on the recorder is no reason for an upload to break off. */
	posix_spawnattr_setflags(&attr,
	    POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setpgroup(&attr, 0);
	if (asprintf(&eet, "%s/%s.eet", e->dir, stem) == -1)
		eet = NULL;
	if (!t->has_wav)
		wav = strdup("");
	else if (asprintf(&wav, "%s/%s.wav", e->dir, stem) == -1)
		wav = NULL;
	env = environment(t, stem);
	if (eet != NULL && wav != NULL && env != NULL) {
		char sh[] = "sh", c[] = "-c";
		char *argv[] = { sh, c, (char *)(uintptr_t)e->command, sh, eet, wav, NULL };

		error = posix_spawn(pid, "/bin/sh", &files, &attr, argv, env);
	}
	free_environment(env);
	free(wav);
	free(eet);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return error;
}

static int
start(struct exec *e, struct task *t)
{
	struct epoll_event ended = { .events = EPOLLIN };
	pid_t pid;
	int error = spawn(e, t, &pid);

	if (error != 0)
		return error;
	if ((t->pidfd = pidfd_open(pid, 0)) == -1 ||
	    epoll_ctl(e->epoll, EPOLL_CTL_ADD, t->pidfd, &ended) == -1) {
		error = errno;
		kill(-pid, SIGKILL);
		waitpid(pid, NULL, 0);
		if (t->pidfd != -1)
			close(t->pidfd);
		t->pidfd = -1;
		return error;
	}
	child_keep(&t->child, pid);
	TAILQ_INSERT_TAIL(&e->running, t, link);
	e->n_running++;
	return 0;
}

/* A try failed: again later. */
static void
later(struct exec *e, struct task *t)
{
	t->due_ns = now_ns() + (uint64_t)t->retry * 1000000000;
	t->retry = t->retry * 2 < EXEC_LAST_RETRY ? t->retry * 2 : EXEC_LAST_RETRY;
	wait_in_order(e, t);
}

void
exec_step(struct exec *e, void (*done)(void *arg, const struct name *n),
    void (*failed)(void *arg, const struct name *n, const char *text), void *arg)
{
	struct task *t, *next;
	uint64_t now, n;
	char text[128];

	for (t = TAILQ_FIRST(&e->running); t != NULL; t = next) {
		siginfo_t info = { 0 };

		next = TAILQ_NEXT(t, link);
		if (waitid(P_PIDFD, (id_t)t->pidfd, &info, WEXITED | WNOHANG) == -1 ||
		    info.si_pid == 0)
			continue;
		child_release(&t->child);
		TAILQ_REMOVE(&e->running, t, link);
		e->n_running--;
		close(t->pidfd); /* which takes it out of the epoll set */
		t->pidfd = -1;
		if (info.si_code == CLD_EXITED && info.si_status == 0) {
			done(arg, &t->name);
			e->n--;
			tdelete(t, &e->all, compare);
			free(t);
			continue;
		}
		snprintf(text, sizeof text, "%s %d, again in %u s",
		    info.si_code == CLD_EXITED ? "exit status" : "signal", info.si_status,
		    t->retry);
		failed(arg, &t->name, text);
		later(e, t);
	}
	now = now_ns();
	if (read(e->timer, &n, sizeof n) == -1)
		n = 0; /* it was not the timer */
	while (
	    e->n_running < e->jobs && (t = TAILQ_FIRST(&e->waiting)) != NULL && t->due_ns <= now) {
		int error;

		TAILQ_REMOVE(&e->waiting, t, link);
		if ((error = start(e, t)) == 0)
			continue;
		snprintf(text, sizeof text, "can't be started: %s, again in %u s", strerror(error),
		    t->retry);
		failed(arg, &t->name, text);
		later(e, t);
	}
	set_timer(e);
}

void
exec_each(const struct exec *e, void (*fn)(void *arg, const struct name *n), void *arg)
{
	const struct task *t;

	TAILQ_FOREACH(t, &e->running, link)
	fn(arg, &t->name);
	TAILQ_FOREACH(t, &e->waiting, link)
	fn(arg, &t->name);
}

bool
exec_has(const struct exec *e, const struct name *n)
{
	return tfind(n, &e->all, compare) != NULL;
}

static void
ignore(void *task)
{
	(void)task;
}

void
exec_free(struct exec *e)
{
	struct task *t;

	if (e == NULL)
		return;
	tdestroy(e->all, ignore); /* the lists free the tasks */
	while ((t = TAILQ_FIRST(&e->running)) != NULL) {
		TAILQ_REMOVE(&e->running, t, link);
		kill(-t->child.pid, SIGTERM);
		child_release(&t->child);
		close(t->pidfd);
		free(t);
	}
	while ((t = TAILQ_FIRST(&e->waiting)) != NULL) {
		TAILQ_REMOVE(&e->waiting, t, link);
		free(t);
	}
	if (e->timer != -1)
		close(e->timer);
	if (e->epoll != -1)
		close(e->epoll);
	free(e);
}
