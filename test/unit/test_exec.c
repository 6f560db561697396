/* exec: commands for segments: what they are given, how many run at once, and again until it works. */
#include "exec.h"
#include "scratch.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>

#include <cmocka.h>

static const struct name kitchen = { 7, 3, UINT64_C(1769854500250), "kitchen" };
static const struct name hall = { 9, 4, UINT64_C(1769854500500), "" };

/*
 * The machine may sleep: CLOCK_BOOTTIME, and what a timer is set to on it, is so many seconds ahead.
 * exec is linked with these instead of the C library's.
 */
static time_t slept;
static struct timespec armed; /* what the timer was set to last; 0: never */

int
clock_gettime(clockid_t id, struct timespec *t)
{
	int status = (int)syscall(SYS_clock_gettime, id, t);

	if (status == 0 && id == CLOCK_BOOTTIME)
		t->tv_sec += slept;
	return status;
}

int
timerfd_settime(int fd, int flags, const struct itimerspec *at, struct itimerspec *old)
{
	struct itimerspec real = *at;

	armed = at->it_value;
	if (armed.tv_sec > slept)
		real.it_value.tv_sec -= slept;
	return (int)syscall(SYS_timerfd_settime, fd, flags, &real, old);
}

static int64_t
in_ns(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t
boot_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return in_ns(t);
}

/* What exec_step() told. */
static char told[1024];

static void
tell(const struct name *n, const char *what)
{
	size_t len = strlen(told);

	snprintf(told + len, sizeof told - len, "s%u %s\n", (unsigned)n->session, what);
}

static void
done(void *arg, const struct name *n)
{
	assert_ptr_equal(arg, told);
	tell(n, "done");
}

static void
failed(void *arg, const struct name *n, const char *text)
{
	assert_ptr_equal(arg, told);
	tell(n, text);
}

static void
count(void *arg, const struct name *n)
{
	(void)n;
	++*(size_t *)arg;
}

/* Go on until so many wait or run, or something has been told. */
static void
run(struct exec *e, size_t pending, const char *until)
{
	struct pollfd p = { .fd = exec_fd(e), .events = POLLIN };

	exec_step(e, done, failed, told);
	while (exec_pending(e) > pending && (until == NULL || strstr(told, until) == NULL)) {
		assert_int_equal(poll(&p, 1, 300000), 1);
		exec_step(e, done, failed, told);
	}
}

static struct exec *
begin(const struct scratch *s, const char *command, unsigned jobs)
{
	struct exec *e = exec_new(s->path, command, jobs);

	assert_non_null(e);
	told[0] = '\0';
	return e;
}

/* All of a file, as text. */
static void
assert_file(const struct scratch *s, const char *file, const char *expected)
{
	struct bytes b = scratch_read(s, file);

	bytes_add(&b, "", 1);
	assert_string_equal((const char *)b.p, expected);
	free(b.p);
}

static void
what_it_is_given(void **state)
{
	struct scratch s = scratch_new();
	struct exec *e;
	char expected[1024], path[256];

	(void)state;
	snprintf(path, sizeof path, "%s", s.path);
	assert_int_equal(setenv("EET_TAG", "of the parent", 1), 0);
	assert_int_equal(setenv("SCRATCH", path, 1), 0);
	signal(SIGPIPE, SIG_IGN);
	e = begin(&s,
	    "{ printf '%s|' \"$@\" \"$EET_STREAM_ID\" \"$EET_SESSION\" \"$EET_TAG\" \"$EET_NAME\";"
	    /* The listing's own descriptor is 3. */
	    " cat; ls /proc/self/fd | tr '\\n' ' ';"
	    " echo $((0x$(grep SigIgn: /proc/self/status | cut -f2) >> 12 & 1)); }"
	    " > \"$SCRATCH/$EET_SESSION\"",
	    4);
	assert_int_equal(exec_put(e, &kitchen, true), 0);
	assert_int_equal(exec_put(e, &hall, false), 0);
	assert_int_equal(exec_pending(e), 2);
	assert_true(exec_has(e, &kitchen));
	run(e, 0, NULL);
	assert_false(exec_has(e, &kitchen));
	exec_free(e);
	signal(SIGPIPE, SIG_DFL);
	snprintf(expected, sizeof expected,
	    "%s/stream_7_kitchen_20260131T101500.250Z_s3.eet|"
	    "%s/stream_7_kitchen_20260131T101500.250Z_s3.wav|7|3|kitchen|"
	    "stream_7_kitchen_20260131T101500.250Z_s3|0 1 2 3 0\n",
	    path, path);
	assert_file(&s, "3", expected);
	snprintf(expected, sizeof expected,
	    "%s/stream_9_20260131T101500.500Z_s4.eet||9|4||stream_9_20260131T101500.500Z_s4|"
	    "0 1 2 3 0\n",
	    path);
	assert_file(&s, "4", expected);
	scratch_free(&s);
}

/* The first try leaves a file and fails, the second one finds it; seconds apart by 1. */
static void
again_until_it_works(void **state)
{
	struct scratch s = scratch_new();
	struct timespec from, to;
	struct exec *e;

	(void)state;
	assert_int_equal(setenv("SCRATCH", s.path, 1), 0);
	e = begin(&s,
	    "[ -e \"$SCRATCH/$EET_SESSION\" ] && exit; : > \"$SCRATCH/$EET_SESSION\";"
	    " [ $EET_SESSION = 3 ] && exit 5; kill -KILL $$",
	    4);
	clock_gettime(CLOCK_BOOTTIME, &from);
	assert_int_equal(exec_put(e, &kitchen, true), 0);
	assert_int_equal(exec_put(e, &hall, true), 0);
	run(e, 0, NULL);
	clock_gettime(CLOCK_BOOTTIME, &to);
	assert_non_null(strstr(told, "s3 exit status 5, again in 1 s\n"));
	assert_non_null(strstr(told, "s4 signal 9, again in 1 s\n"));
	assert_non_null(strstr(told, "s3 done\n"));
	assert_non_null(strstr(told, "s4 done\n"));
	assert_true(
	    (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 >= 999);
	exec_free(e);
	scratch_free(&s);
}

/* The interval doubles with each failure, up to 300 s: of the message and of the timer. */
static void
ever_longer(void **state)
{
	static const int seconds[] = { 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300 };
	struct scratch s = scratch_new();
	struct exec *e = begin(&s, "exit 5", 1);
	char expected[64];

	(void)state;
	assert_int_equal(exec_put(e, &kitchen, true), 0);
	for (size_t i = 0; i < sizeof seconds / sizeof *seconds; i++) {
		int64_t interval = (int64_t)seconds[i] * 1000000000, before = 0, after = 0;
		struct pollfd p = { .fd = exec_fd(e), .events = POLLIN };

		told[0] = '\0';
		exec_step(e, done, failed, told); /* the next try begins */
		assert_string_equal(told, "");
		while (told[0] == '\0') {
			assert_int_equal(poll(&p, 1, 300000), 1);
			before = boot_ns();
			exec_step(e, done, failed, told);
			after = boot_ns();
		}
		snprintf(expected, sizeof expected, "s3 exit status 5, again in %d s\n",
		    seconds[i]);
		assert_string_equal(told, expected);
		assert_in_range(in_ns(armed), before + interval, after + interval + 1);
		slept += seconds[i];
	}
	exec_free(e);
	slept = 0;
	scratch_free(&s);
}

static void
one_after_the_other(void **state)
{
	struct scratch s = scratch_new();
	struct name n = hall;
	struct pollfd p = { .events = POLLIN };
	struct exec *e;
	int fifo;

	(void)state;
	assert_int_equal(setenv("SCRATCH", s.path, 1), 0);
	/* Two at once would meet. */
	e = begin(&s, "mkdir \"$SCRATCH/one\" && rmdir \"$SCRATCH/one\"", 1);
	for (n.session = 1; n.session <= 5; n.session++)
		assert_int_equal(exec_put(e, &n, true), 0);
	run(e, 0, NULL);
	assert_string_equal(told, "s1 done\ns2 done\ns3 done\ns4 done\ns5 done\n");
	exec_free(e);

	/* With room for all five, each can wait until the others have begun. */
	e = begin(&s, "echo > \"$SCRATCH/begun\"; read -r _ < \"$SCRATCH/go\"", 5);
	assert_int_equal(mkfifoat(s.fd, "begun", 0600), 0);
	assert_int_equal(mkfifoat(s.fd, "go", 0600), 0);
	p.fd = openat(s.fd, "begun", O_RDWR | O_CLOEXEC);
	fifo = openat(s.fd, "go", O_RDWR | O_CLOEXEC);
	assert_true(p.fd != -1 && fifo != -1);
	for (n.session = 1; n.session <= 5; n.session++)
		assert_int_equal(exec_put(e, &n, true), 0);
	exec_step(e, done, failed, told);
	for (size_t begun = 0; begun < 5;) {
		char lines[5];
		ssize_t len;

		assert_int_equal(poll(&p, 1, 300000), 1);
		len = read(p.fd, lines, sizeof lines);
		assert_true(len > 0);
		begun += (size_t)len;
	}
	for (int i = 0; i < 5; i++)
		assert_int_equal(write(fifo, "\n", 1), 1);
	run(e, 0, NULL);
	assert_null(strstr(told, "again"));
	close(p.fd);
	close(fifo);
	exec_free(e);
	scratch_free(&s);
}

static void
cannot_be_found(void **state)
{
	struct scratch s = scratch_new();
	struct exec *e = begin(&s, "exec /no/such/program 2> /dev/null", 4);
	size_t n = 0;

	(void)state;
	assert_int_equal(exec_put(e, &kitchen, true), 0);
	run(e, 0, "again");
	assert_string_equal(told, "s3 exit status 127, again in 1 s\n");
	assert_int_equal(exec_pending(e), 1);
	assert_true(exec_has(e, &kitchen));
	exec_each(e, count, &n);
	assert_int_equal(n, 1);
	exec_free(e);
	scratch_free(&s);
}

/* What runs is asked to end, with its children: their end of the pipe closes. */
static void
abandoned(void **state)
{
	struct scratch s = scratch_new();
	int fds[2];
	char command[256], byte;
	struct pollfd p;
	struct exec *e;

	(void)state;
	assert_int_equal(mkfifoat(s.fd, "fifo", 0600), 0);
	fds[0] = openat(s.fd, "fifo", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(fds[0] != -1);
	snprintf(command, sizeof command, "exec > '%s/fifo'; echo; sleep 1000 | cat", s.path);
	e = begin(&s, command, 4);
	assert_int_equal(exec_put(e, &kitchen, true), 0);
	exec_step(e, done, failed, told);
	p = (struct pollfd){ .fd = fds[0], .events = POLLIN };
	assert_int_equal(poll(&p, 1, 300000), 1);
	assert_int_equal(read(fds[0], &byte, 1), 1);
	exec_free(e);
	p.revents = 0;
	assert_int_equal(poll(&p, 1, 300000), 1);
	assert_int_equal(read(fds[0], &byte, 1), 0);
	close(fds[0]);
	exec_free(NULL);
	scratch_free(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_it_is_given),
		cmocka_unit_test(again_until_it_works),
		cmocka_unit_test(ever_longer),
		cmocka_unit_test(one_after_the_other),
		cmocka_unit_test(cannot_be_found),
		cmocka_unit_test(abandoned),
	};

	return cmocka_run_group_tests_name("exec", tests, NULL, NULL);
}
