/* See command.h. */
#include "command.h"

#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the child: become the command. */
_Noreturn static void
run(const struct command *c, const char *url)
{
	sigset_t none;
	int e;

	for (int i = 1; i < NSIG; i++)
		signal(i, i == SIGHUP && c->nohup ? SIG_IGN : SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setrlimit(RLIMIT_NOFILE, &c->files);
	dup2(c->out, STDOUT_FILENO);
	closefrom(STDERR_FILENO + 1);
	if (setenv("EET_URL", url, 1) == 0)
		execvp(c->argv[0], c->argv);
	e = errno;
	cli_warn("%s", c->argv[0]);
	_exit(e == ENOENT ? 127 : 126);
}

static int
status_of(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void
forget(struct command *c)
{
	child_release(&c->child);
	c->child.pid = 0;
}

static void
on_ended(uv_poll_t *poll, int error, int events)
{
	struct command *c = poll->data;
	int status;

	(void)error;
	(void)events;
	if (waitpid(c->child.pid, &status, WNOHANG) != c->child.pid)
		return;
	uv_poll_stop(poll);
	forget(c);
	if (WIFSIGNALED(status))
		cli_note(0, "%s: killed by signal %d (%s)", c->argv[0], WTERMSIG(status),
		    strsignal(WTERMSIG(status)));
	else
		cli_note(1, "%s: exit status %d", c->argv[0], WEXITSTATUS(status));
	c->ended(c->arg, status_of(status));
}

int
command_start(struct command *c, uv_loop_t *loop, const char *url)
{
	pid_t pid = fork();
	int e;

	if (pid == 0)
		run(c, url);
	if (pid == -1)
		return -1;
	child_keep(&c->child, pid);
	if ((c->pidfd = pidfd_open(pid, 0)) == -1) {
		e = errno;
	} else if ((e = -uv_poll_init(loop, &c->poll, c->pidfd)) != 0) {
		close(c->pidfd);
	} else {
		c->poll.data = c;
		uv_poll_start(&c->poll, UV_READABLE, on_ended);
		return 0;
	}
	command_kill(c);
	errno = e;
	return -1;
}

/* Do we share the terminal's foreground, so that Ctrl-C goes to the command too? */
static bool
in_foreground(void)
{
	int tty = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);
	bool yes;

	if (tty == -1)
		return false;
	yes = tcgetpgrp(tty) == getpgrp();
	close(tty);
	return yes;
}

void
command_signal(const struct command *c, int number)
{
	if (c->child.pid != 0 && (number != SIGINT || !in_foreground()))
		kill(c->child.pid, number);
}

int
command_kill(struct command *c)
{
	int status = 0;

	if (c->child.pid == 0)
		return 0;
	kill(c->child.pid, SIGKILL);
	while (waitpid(c->child.pid, &status, 0) == -1 && errno == EINTR)
		;
	forget(c);
	return status_of(status);
}

void
command_close(struct command *c)
{
	uv_close((uv_handle_t *)&c->poll, NULL);
	close(c->pidfd);
}
