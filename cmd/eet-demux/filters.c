/*
 * A process for each session, `sh -c COMMAND`, which reads a pipe.  It is kept here until it has
 * ended and the session has too, in whichever order.
 */
#include "output.h"

#include "cli.h"
#include "stop.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LABEL_SIZE = NAME_SIZE + 32 };

struct filter {
	struct sink sink; /* first; its fd is -1 when the session is over */
	struct filters *all;
	struct filter *next;
	pid_t pid; /* 0: it has ended */
	uint8_t handshake[WIRE_HANDSHAKE_SIZE];
	char label[LABEL_SIZE];
};

struct filters {
	struct output output; /* first */
	struct sinks *sinks;
	const char *command;
	struct rlimit files; /* as we were given it */
	struct filter *first;
	int status;
};

/* Forget those that are done with. */
static void
sweep(struct filters *all)
{
	struct filter **link = &all->first, *f;

	while ((f = *link) != NULL) {
		if (f->pid != 0 || f->sink.fd != -1) {
			link = &f->next;
		} else {
			*link = f->next;
			free(f);
		}
	}
}

static bool
failed(struct sink *s)
{
	struct filter *f = (struct filter *)s;

	if (errno == EPIPE) {
		cli_note(0, "%s: the filter reads no more, the rest is dropped", s->label);
	} else {
		cli_warn("%s", s->label);
		f->all->status = CLI_EFAIL;
	}
	return true;
}

static bool
end(struct sink *s)
{
	struct filter *f = (struct filter *)s;

	close(s->fd);
	s->fd = -1;
	sweep(f->all);
	return true;
}

/* Tell how a filter ended. */
static void
ended(struct filter *f, int status)
{
	bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;

	if (good)
		cli_note(1, "%s: the filter exited with status 0", f->label);
	else if (WIFEXITED(status))
		cli_warnx("%s: the filter exited with status %d", f->label, WEXITSTATUS(status));
	else
		cli_warnx("%s: the filter was killed by signal %d (%s)", f->label, WTERMSIG(status),
		    strsignal(WTERMSIG(status)));
	if (!good)
		f->all->status = CLI_EFAIL;
	f->pid = 0;
}

static void
reap(void *arg)
{
	struct filters *all = arg;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (struct filter *f = all->first; f != NULL; f = f->next)
			if (f->pid == pid)
				ended(f, status);
	sweep(all);
}

/* In the child: become the filter. */
_Noreturn static void
run(const struct filters *all, const struct name *n, int input)
{
	char id[16], session[16], name[NAME_SIZE];
	sigset_t none;

	/* SIGHUP is as we were given it: nohup(1) holds for the filters too. */
	for (int i = 1; i < NSIG; i++)
		if (i != SIGHUP)
			signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setrlimit(RLIMIT_NOFILE, &all->files);
	dup2(input, STDIN_FILENO);
	closefrom(STDERR_FILENO + 1);
	snprintf(id, sizeof id, "%" PRIu32, n->stream_id);
	snprintf(session, sizeof session, "%" PRIu32, n->session);
	name_format(n, name);
	if (setenv("EET_STREAM_ID", id, 1) == 0 && setenv("EET_SESSION", session, 1) == 0 &&
	    setenv("EET_TAG", n->tag, 1) == 0 && setenv("EET_NAME", name, 1) == 0)
		execl("/bin/sh", "sh", "-c", "--", all->command, (char *)NULL);
	cli_warn("/bin/sh");
	_exit(127);
}

static bool
begin(struct output *o, struct log_session *s, const struct name *n)
{
	static const struct sink_ops ops = { .failed = failed, .end = end };
	struct filters *all = (struct filters *)o;
	struct filter *f = calloc(1, sizeof *f);
	char name[NAME_SIZE];
	int pipes[2], status;

	if (f == NULL) {
		cli_warn("session %" PRIu32, n->session);
		return false;
	}
	name_format(n, name);
	snprintf(f->label, sizeof f->label, "session %" PRIu32 " (%s)", n->session, name);
	status = pipe2(pipes, O_CLOEXEC);
	if (status == -1 && errno == EMFILE) {
		/* Those that have ended since the last flush have not been closed yet. */
		if (!sinks_flush(all->sinks)) {
			free(f);
			return false;
		}
		status = pipe2(pipes, O_CLOEXEC);
	}
	if (status == -1)
		goto fail;
	if (fcntl(pipes[1], F_SETFL, O_NONBLOCK) == -1 || (f->pid = fork()) == -1) {
		close(pipes[0]);
		close(pipes[1]);
		goto fail;
	}
	if (f->pid == 0)
		run(all, n, pipes[0]);
	close(pipes[0]);
	cli_note(1, "%s: the filter is process %ld", f->label, (long)f->pid);
	f->all = all;
	f->sink = (struct sink){ .ops = &ops, .label = f->label, .fd = pipes[1] };
	f->next = all->first;
	all->first = f;
	s->user = &f->sink;
	/* A copy, because the session may end before it is written. */
	memcpy(f->handshake, s->handshake, sizeof f->handshake);
	return sinks_add(all->sinks, &f->sink, f->handshake, sizeof f->handshake);
fail:
	/* The others go on: what they get is not less because of this one. */
	cli_warn("%s: no filter, the session is dropped", f->label);
	all->status = CLI_EFAIL;
	free(f);
	return true;
}

static int
finish(struct output *o)
{
	struct filters *all = (struct filters *)o;
	int status;

	/* Those that are open were not ended, because something failed or time was up. */
	for (struct filter *f = all->first; f != NULL; f = f->next) {
		if (f->sink.fd != -1)
			close(f->sink.fd);
		f->sink.fd = -1;
	}
	/* They end in their own time, unless somebody insists. */
	stop_patiently();
	reap(all);
	while (all->first != NULL && stop_poll(NULL, 0))
		reap(all);
	for (struct filter *f = all->first, *next; f != NULL; f = next) {
		next = f->next;
		cli_warnx("%s: the filter still runs, process %ld", f->label, (long)f->pid);
		all->status = CLI_EFAIL;
		free(f);
	}
	status = all->status;
	free(all);
	return status;
}

struct output *
output_filters(struct sinks *ss, const char *command)
{
	struct filters *all = calloc(1, sizeof *all);

	if (all == NULL) {
		cli_warn("can't start");
		return NULL;
	}
	all->output = (struct output){ .begin = begin, .finish = finish };
	all->sinks = ss;
	all->command = command;
	getrlimit(RLIMIT_NOFILE, &all->files);
	stop_children();
	ss->waited = reap;
	ss->arg = all;
	return &all->output;
}
