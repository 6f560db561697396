/* child: orphans are waited for, and what belongs to somebody is left to them. */
#include "child.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A child that has ended with that status, and is a zombie when this returns. */
static pid_t
ended(int status)
{
	siginfo_t info;
	pid_t pid = fork();

	assert_true(pid != -1);
	if (pid == 0)
		_exit(status);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	return pid;
}

/* How many children there are that nobody has waited for. */
static size_t
zombies(const pid_t pids[], size_t n)
{
	size_t left = 0;

	for (size_t i = 0; i < n; i++)
		left += kill(pids[i], 0) == 0;
	return left;
}

static void
others_are_reaped(void **state)
{
	const pid_t pids[] = { ended(0), ended(1), ended(2) };

	(void)state;
	assert_int_equal(zombies(pids, 3), 3);
	child_reap();
	assert_int_equal(zombies(pids, 3), 0);
	child_reap(); /* there are none */
}

static void
an_owner_gets_its_status(void **state)
{
	struct child first, second;
	pid_t pids[4];
	int status;

	(void)state;
	/* In any order with those of nobody. */
	pids[0] = ended(1);
	child_keep(&first, ended(7));
	pids[1] = ended(2);
	child_keep(&second, ended(8));
	pids[2] = ended(3);
	pids[3] = ended(4);
	child_reap();
	assert_int_equal(waitpid(second.pid, &status, WNOHANG), second.pid);
	assert_int_equal(WEXITSTATUS(status), 8);
	child_release(&second);
	assert_int_equal(waitpid(first.pid, &status, WNOHANG), first.pid);
	assert_int_equal(WEXITSTATUS(status), 7);
	child_release(&first);
	assert_int_equal(zombies(pids, 4), 0);
}

static void
one_that_was_given_up_is_reaped(void **state)
{
	struct child c;
	pid_t pid = ended(0);

	(void)state;
	child_keep(&c, pid);
	child_reap();
	assert_int_equal(zombies(&pid, 1), 1);
	child_release(&c);
	assert_int_equal(zombies(&pid, 1), 0);
}

static void
one_that_runs_is_not_waited_for(void **state)
{
	pid_t pid = fork();

	(void)state;
	assert_true(pid != -1);
	if (pid == 0) {
		pause();
		_exit(0);
	}
	child_reap();
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(others_are_reaped),
		cmocka_unit_test(an_owner_gets_its_status),
		cmocka_unit_test(one_that_was_given_up_is_reaped),
		cmocka_unit_test(one_that_runs_is_not_waited_for),
	};

	return cmocka_run_group_tests_name("child", tests, NULL, NULL);
}
