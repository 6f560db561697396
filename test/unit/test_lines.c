/* lines: never in the caller's way, and honest about what was dropped. */
#include "lines.h"

#include "fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { FOREVER = 300000 /* ms; as long as a test may take */, MAX_WAITING = 1 << 20 };

static void
put_numbers(struct lines *l, unsigned from, unsigned to)
{
	char line[32];

	for (unsigned i = from; i < to; i++) {
		snprintf(line, sizeof line, "line %u", i);
		lines_put(l, line);
	}
}

/* The other end of a pipe. */
struct reader {
	pthread_t thread;
	int fd;
	unsigned long lines;
};

/* Reads to the end and checks that it holds "line 0", "line 1" …; counts them. */
static void *
count(void *arg)
{
	struct reader *r = arg;
	FILE *f = fdopen(r->fd, "r");
	char line[64], expected[64];

	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		snprintf(expected, sizeof expected, "line %lu\n", r->lines);
		if (strcmp(line, expected) != 0)
			break;
		r->lines++;
	}
	fclose(f);
	return NULL;
}

static void
all_arrive_in_order(void **state)
{
	enum { LINES = 60000 }; /* ten times what a pipe holds, within MAX_WAITING */
	struct reader reader = { .lines = 0 };
	struct lines *l;
	int fds[2], error = -1;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	reader.fd = fds[0];
	assert_non_null(l = lines_new(fds[1], MAX_WAITING, NULL));
	put_numbers(l, 0, LINES);
	assert_int_equal(lines_error(l), 0);
	assert_int_equal(pthread_create(&reader.thread, NULL, count, &reader), 0);
	assert_int_equal(lines_end(l, FOREVER, &error), 0);
	assert_int_equal(error, 0);
	close(fds[1]);
	pthread_join(reader.thread, NULL);
	assert_int_equal(reader.lines, LINES);
}

static void
nothing_to_write(void **state)
{
	int error = -1;
	struct lines *l = lines_new(STDOUT_FILENO, MAX_WAITING, NULL);

	(void)state;
	assert_non_null(l);
	assert_int_equal(lines_end(l, FOREVER, &error), 0);
	assert_int_equal(error, 0);
}

static void
empty_and_long_lines(void **state)
{
	static char line[20000], got[sizeof line + 8];
	struct lines *l;
	int fds[2], error;

	(void)state;
	memset(line, 'x', sizeof line - 1);
	assert_int_equal(pipe(fds), 0);
	assert_non_null(l = lines_new(fds[1], MAX_WAITING, NULL));
	lines_put(l, "");
	lines_put(l, line);
	lines_put(l, "end");
	assert_int_equal(lines_end(l, FOREVER, &error), 0);
	close(fds[1]);
	assert_int_equal(fdio_read_full(fds[0], got, sizeof got), sizeof line + 5);
	assert_int_equal(got[0], '\n');
	assert_memory_equal(got + 1, line, sizeof line - 1);
	assert_memory_equal(got + sizeof line, "\nend\n", 5);
	close(fds[0]);
}

/* Nobody reads: the caller goes on, memory is bounded, all that did not go out is counted. */
static void
stuck_reader(void **state)
{
	enum { LINES = 300000 };
	struct lines *l;
	uint64_t dropped;
	unsigned arrived = 0;
	ssize_t n;
	char buf[4096];
	int fds[2], error = -1;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_non_null(l = lines_new(fds[1], MAX_WAITING, NULL));
	put_numbers(l, 0, LINES);
	dropped = lines_end(l, 50, &error);
	assert_int_equal(error, 0);
	assert_true(dropped > LINES / 2);
	close(fds[1]);
	while ((n = fdio_read(fds[0], buf, sizeof buf)) > 0)
		for (ssize_t i = 0; i < n; i++)
			arrived += buf[i] == '\n';
	/* The page that was being written came through after all. */
	assert_true(arrived + dropped >= LINES);
	assert_true(arrived + dropped <= LINES + sizeof buf / strlen("line 0\n"));
	close(fds[0]);
}

/* The reader is slow but alive: waiting goes on as long as something moves. */
static void *
sip(void *arg)
{
	struct reader *r = arg;
	ssize_t len;
	char buf[4096];

	while ((len = fdio_read(r->fd, buf, sizeof buf)) > 0) {
		for (ssize_t i = 0; i < len; i++)
			r->lines += buf[i] == '\n';
		poll(NULL, 0, 5);
	}
	return NULL;
}

static void
slow_reader(void **state)
{
	enum { LINES = 20000 }; /* 5 ms a page, so about 300 ms in all */
	struct reader reader = { .lines = 0 };
	struct lines *l;
	int fds[2], error = -1;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	reader.fd = fds[0];
	assert_non_null(l = lines_new(fds[1], MAX_WAITING, NULL));
	put_numbers(l, 0, LINES);
	assert_int_equal(pthread_create(&reader.thread, NULL, sip, &reader), 0);
	assert_int_equal(lines_end(l, FOREVER, &error), 0);
	assert_int_equal(error, 0);
	close(fds[1]);
	pthread_join(reader.thread, NULL);
	assert_int_equal(reader.lines, LINES);
	close(fds[0]);
}

static void
wait_for_error(struct lines *l, int error)
{
	int waited = 0;

	while (lines_error(l) == 0 && waited++ < FOREVER)
		poll(NULL, 0, 1);
	assert_int_equal(lines_error(l), error);
}

static void
dead_reader(void **state)
{
	struct lines *l;
	int fds[2], error = 0;

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(fds), 0);
	close(fds[0]);
	assert_non_null(l = lines_new(fds[1], MAX_WAITING, NULL));
	lines_put(l, "one");
	wait_for_error(l, EPIPE);
	lines_put(l, "two");
	lines_put(l, "three");
	assert_int_equal(lines_end(l, FOREVER, &error), 3);
	assert_int_equal(error, EPIPE);
	close(fds[1]);
}

static void
full_disk(void **state)
{
	struct lines *l;
	int fd = open("/dev/full", O_WRONLY), error = 0;

	(void)state;
	assert_non_null(l = lines_new(fd, MAX_WAITING, NULL));
	lines_put(l, "one");
	assert_int_equal(lines_end(l, FOREVER, &error), 1);
	assert_int_equal(error, ENOSPC);
	close(fd);
}

/* A file that somebody else made non-blocking is waited for. */
static void
nonblocking(void **state)
{
	enum { LINES = 20000 };
	struct reader reader = { .lines = 0 };
	struct lines *l;
	int fds[2], error = -1;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	reader.fd = fds[0];
	assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
	assert_non_null(l = lines_new(fds[1], MAX_WAITING, NULL));
	put_numbers(l, 0, LINES);
	assert_int_equal(pthread_create(&reader.thread, NULL, count, &reader), 0);
	assert_int_equal(lines_end(l, FOREVER, &error), 0);
	assert_int_equal(error, 0);
	close(fds[1]);
	pthread_join(reader.thread, NULL);
	assert_int_equal(reader.lines, LINES);
}

/* Signals stay the program's: the thread takes none. */
static void
signals_are_blocked(void **state)
{
	struct lines *l;
	sigset_t set, pending, old;
	int fds[2], error;

	(void)state;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	assert_int_equal(pipe(fds), 0);
	assert_non_null(l = lines_new(fds[1], MAX_WAITING, NULL));
	assert_int_equal(pthread_sigmask(SIG_BLOCK, &set, &old), 0);
	/* To the process: another thread that could take it would end us here. */
	assert_int_equal(kill(getpid(), SIGTERM), 0);
	assert_int_equal(sigpending(&pending), 0);
	assert_int_equal(sigismember(&pending, SIGTERM), 1);
	assert_int_equal(sigwaitinfo(&set, NULL), SIGTERM);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, &old, NULL), 0);
	lines_end(l, FOREVER, &error);
	close(fds[0]);
	close(fds[1]);
}

static void
note_missing(char text[LINES_NOTE], uint64_t n)
{
	snprintf(text, LINES_NOTE, "%" PRIu64 " missing", n);
}

/* Wherever lines are missing, a line tells how many, also when none comes after them. */
static void
missing_lines_are_told(void **state)
{
	enum { LINES = 20000, MAX = 4096 };
	struct lines *l;
	unsigned long next = 0, n, notes = 0;
	char text[64], *end;
	int fds[2], error = -1;
	FILE *f;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_non_null(f = fdopen(fds[0], "r"));
	assert_non_null(l = lines_new(fds[1], MAX, note_missing));
	close(fds[1]);
	put_numbers(l, 0, LINES);
	while (next < LINES) { /* the last lines are those that are missing */
		assert_non_null(fgets(text, sizeof text, f));
		if (strncmp(text, "line ", 5) == 0) {
			assert_int_equal(strtoul(text + 5, &end, 10), next);
			next++;
		} else {
			n = strtoul(text, &end, 10);
			assert_string_equal(end, " missing\n");
			assert_true(n > 0);
			next += n;
			notes++;
		}
	}
	assert_true(notes > 0);
	put_numbers(l, LINES, LINES + 1);
	assert_non_null(fgets(text, sizeof text, f));
	assert_int_equal(strtoul(text + 5, &end, 10), LINES);
	lines_end(l, FOREVER, &error);
	assert_int_equal(error, 0);
	assert_null(fgets(text, sizeof text, f));
	fclose(f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_arrive_in_order),
		cmocka_unit_test(nothing_to_write),
		cmocka_unit_test(empty_and_long_lines),
		cmocka_unit_test(stuck_reader),
		cmocka_unit_test(slow_reader),
		cmocka_unit_test(dead_reader),
		cmocka_unit_test(full_disk),
		cmocka_unit_test(nonblocking),
		cmocka_unit_test(missing_lines_are_told),
		cmocka_unit_test(signals_are_blocked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
