#include "child.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/wait.h>

static LIST_HEAD(, child) kept = LIST_HEAD_INITIALIZER(kept);

static bool
is_kept(pid_t pid)
{
	const struct child *c;

	LIST_FOREACH(c, &kept, link)
	if (c->pid == pid)
		return true;
	return false;
}

void
child_keep(struct child *c, pid_t pid)
{
	c->pid = pid;
	LIST_INSERT_HEAD(&kept, c, link);
}

void
child_release(struct child *c)
{
	LIST_REMOVE(c, link);
	child_reap();
}

void
child_reap(void)
{
	siginfo_t info = { 0 };

	/* Look first: what an owner is to be told cannot be given back. */
	while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0 &&
	    !is_kept(info.si_pid))
		if (waitpid(info.si_pid, NULL, WNOHANG) != info.si_pid)
			return;
}
