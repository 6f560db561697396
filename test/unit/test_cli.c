/* cli: what is parsed and what is refused, what a message looks like, how a program starts and ends. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { UNTOUCHED = 4711 };

static void
number(void **state)
{
	static const char *const bad[] = { "", " 5", "5 ", "+5", "-5", "0x5", "5x", "5.0", "4",
		"1001", "18446744073709551616", "99999999999999999999999" };
	uint64_t n = UNTOUCHED;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_false(cli_parse_number(bad[i], 5, 1000, &n));
		assert_int_equal(n, UNTOUCHED);
	}
	assert_true(cli_parse_number("5", 5, 1000, &n));
	assert_int_equal(n, 5);
	assert_true(cli_parse_number("01000", 5, 1000, &n));
	assert_int_equal(n, 1000);
	assert_true(cli_parse_number("18446744073709551615", 0, UINT64_MAX, &n));
	assert_true(n == UINT64_MAX);
	assert_false(cli_parse_number("18446744073709551616", 0, UINT64_MAX, &n));
	assert_false(cli_parse_number("18446744073709551615", 0, UINT64_MAX - 1, &n));
	assert_true(cli_parse_number("0", 0, 0, &n));
	assert_int_equal(n, 0);
	assert_false(cli_parse_number("7", 0, 5, &n));
}

static void
duration(void **state)
{
	static const struct {
		const char *s;
		uint64_t us;
	} good[] = {
		{ "0", 0 },
		{ "10", 10000000 },
		{ "10s", 10000000 },
		{ "500ms", 500000 },
		{ "2m", 120000000 },
		{ "1h", 3600000000 },
		{ "1.5s", 1500000 },
		{ "1.5", 1500000 },
		{ "0.25h", 900000000 },
		{ "0.001ms", 1 },
		{ "0.000001", 1 },
		{ "0.00000500000000000m", 300 },
		{ "0.000000005h", 18 },
		{ "1.0000000000000000000000000s", 1000000 },
		{ "9223372036854.775807", INT64_MAX },
		{ "2562047788h", 9223372036800000000 },
	};
	static const char *const bad[] = { "", "s", "10S", "10 s", " 10s", "10s ", "-1", "+1",
		"1e3", "1.s", ".5s", "1.5.5", "1us", "1d", "1hm", "1m30s", "ms", "0.0000001",
		"1.00000001s", "0.0001ms", "0.00001ms", "9223372036854.775808", "9223372036855",
		"2562047789h", "99999999999999999999s", "0x10", "10\ns" };
	uint64_t us;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof good / sizeof *good; i++) {
		us = UNTOUCHED;
		assert_true(cli_parse_duration(good[i].s, &us));
		assert_true(us == good[i].us);
	}
	for (us = UNTOUCHED, i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_false(cli_parse_duration(bad[i], &us));
		assert_int_equal(us, UNTOUCHED);
	}
}

static void
size(void **state)
{
	static const struct {
		const char *s;
		uint64_t n;
	} good[] = {
		{ "0", 0 },
		{ "4096", 4096 },
		{ "64k", 65536 },
		{ "64K", 65536 },
		{ "100M", 104857600 },
		{ "100m", 104857600 },
		{ "1G", 1073741824 },
		{ "1g", 1073741824 },
		{ "9223372036854775807", INT64_MAX },
		{ "8589934591G", 9223372035781033984 },
	};
	static const char *const bad[] = { "", "k", "64kb", "64kB", "64KiB", "1T", "1.5M", "-1",
		"+1", " 1", "1 ", "1 k", "9223372036854775808", "8589934592G",
		"9007199254740992k" };
	uint64_t n;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof good / sizeof *good; i++) {
		n = UNTOUCHED;
		assert_true(cli_parse_size(good[i].s, &n));
		assert_true(n == good[i].n);
	}
	for (n = UNTOUCHED, i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_false(cli_parse_size(bad[i], &n));
		assert_int_equal(n, UNTOUCHED);
	}
}

static void
mode(void **state)
{
	static const char *const bad[] = { "", "8", "0o640", "1000", "0001000", "-640", "u=rw",
		"640 ", "77777777777777777777777" };
	mode_t m = UNTOUCHED;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_false(cli_parse_mode(bad[i], &m));
		assert_int_equal(m, UNTOUCHED);
	}
	assert_true(cli_parse_mode("0640", &m));
	assert_int_equal(m, 0640);
	assert_true(cli_parse_mode("000640", &m));
	assert_int_equal(m, 0640);
	assert_true(cli_parse_mode("777", &m));
	assert_int_equal(m, 0777);
	assert_true(cli_parse_mode("0", &m));
	assert_int_equal(m, 0);
}

static void
address(void **state)
{
	static const struct {
		const char *s, *host;
		uint16_t port;
	} inet[] = {
		{ ":5096", "", 5096 },
		{ "localhost:0", "localhost", 0 },
		{ "127.0.0.1:80", "127.0.0.1", 80 },
		{ "[::1]:80", "::1", 80 },
		{ "[::]:65535", "::", 65535 },
		{ "[fe80::1%eth0]:80", "fe80::1%eth0", 80 },
		{ "[::ffff:10.0.0.1]:80", "::ffff:10.0.0.1", 80 },
		{ "my_host-2.example.org:05096", "my_host-2.example.org", 5096 },
	};
	static const struct {
		const char *s, *why;
	} bad[] = {
		{ "", "no port" },
		{ "localhost", "no port" },
		{ "[::1]", "no port" },
		{ "[::]", "no port" },
		{ "5096", ":PORT" },
		{ "::1", "brackets" },
		{ "::", "brackets" },
		{ "::1:80", "brackets" },
		{ "fe80::1%eth0:80", "brackets" },
		{ "a:b:80", "brackets" },
		{ "localhost:", "port" },
		{ ":", "port" },
		{ ":65536", "port" },
		{ ":-1", "port" },
		{ ":http", "port" },
		{ ":80 ", "port" },
		{ "[:80", "brackets" },
		{ "[]:80", "brackets" },
		{ "[::1:80", "brackets" },
		{ "[localhost]:80", "brackets" },
		{ "[::1%]:80", "brackets" },
		{ "[127.0.0.1]:80", "brackets" },
		{ "a b:80", "host name" },
		{ "*:80", "host name" },
		{ "http//x:80", "host name" },
		{ "unix:", "path" },
	};
	struct cli_address a, before;
	char text[512];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof inet / sizeof *inet; i++) {
		assert_null(cli_parse_address(inet[i].s, &a));
		assert_int_equal(a.kind, CLI_INET);
		assert_string_equal(a.host, inet[i].host);
		assert_int_equal(a.port, inet[i].port);
	}
	before = a;
	for (i = 0; i < sizeof bad / sizeof *bad; i++) {
		const char *why = cli_parse_address(bad[i].s, &a);

		assert_non_null(why);
		assert_non_null(strstr(why, bad[i].why));
		assert_memory_equal(&a, &before, sizeof a);
	}
	assert_null(cli_parse_address("unix:/run/eet.sock", &a));
	assert_int_equal(a.kind, CLI_UNIX);
	assert_string_equal(a.path, "/run/eet.sock");
	assert_null(cli_parse_address("unix:a:80", &a));
	assert_string_equal(a.path, "a:80");

	/* the longest ones, and one more */
	memset(text, 'a', sizeof text);
	memcpy(text, "unix:", 5);
	text[5 + 107] = '\0';
	assert_null(cli_parse_address(text, &a));
	assert_int_equal(strlen(a.path), 107);
	text[5 + 107] = 'a';
	text[5 + 108] = '\0';
	assert_non_null(cli_parse_address(text, &a));
	memset(text, 'a', sizeof text);
	memcpy(text + 255, ":80", 4);
	assert_null(cli_parse_address(text, &a));
	assert_int_equal(strlen(a.host), 255);
	memcpy(text + 256, ":80", 4);
	text[255] = 'a';
	assert_non_null(cli_parse_address(text, &a));
}

static void
escape(void **state)
{
	static const struct {
		const char *in, *out;
	} pairs[] = {
		{ "", "" },
		{ "plain \\x41 ~", "plain \\x41 ~" },
		{ "a\nb\tc\x7f\x1b[2J", "a\\x0Ab\\x09c\\x7F\\x1B[2J" },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x8e\xb5", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x8e\xb5" },
		{ "\xf4\x8f\xbf\xbf\xee\x80\x80", "\xf4\x8f\xbf\xbf\xee\x80\x80" },
		{ "\xc2\x9b\xc2\xa0", "\\xC2\\x9B\xc2\xa0" },            /* C1, then nbsp */
		{ "\x80\xbf\xff\xfe", "\\x80\\xBF\\xFF\\xFE" },          /* never first bytes */
		{ "\xc0\xaf\xe0\x80\xaf", "\\xC0\\xAF\\xE0\\x80\\xAF" }, /* overlong */
		{ "\xf0\x80\x80\xaf", "\\xF0\\x80\\x80\\xAF" },
		{ "\xed\xa0\x80", "\\xED\\xA0\\x80" },          /* surrogate */
		{ "\xf4\x90\x80\x80", "\\xF4\\x90\\x80\\x80" }, /* past U+10FFFF */
		{ "\xe2\x82", "\\xE2\\x82" },                   /* cut */
		{ "\xe2\x82x", "\\xE2\\x82x" },
	};
	char out[64];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof pairs / sizeof *pairs; i++) {
		size_t len = strlen(pairs[i].in);

		assert_int_equal(cli_escape(out, sizeof out, pairs[i].in, len), len);
		assert_string_equal(out, pairs[i].out);
	}
	/* zero bytes, and neither a write past the end nor a torn sequence */
	assert_int_equal(cli_escape(out, sizeof out, "a\0b", 3), 3);
	assert_string_equal(out, "a\\x00b");
	memset(out, '#', sizeof out);
	assert_int_equal(cli_escape(out, 5, "ab\ncd", 5), 2);
	assert_string_equal(out, "ab");
	assert_int_equal(out[5], '#');
	assert_int_equal(cli_escape(out, 7, "ab\ncd", 5), 3);
	assert_string_equal(out, "ab\\x0A");
	assert_int_equal(out[7], '#');
	assert_int_equal(cli_escape(out, 3, "a\xc3\xa4", 3), 1);
	assert_string_equal(out, "a");
	assert_int_equal(cli_escape(out, 4, "a\xc3\xa4", 3), 3);
	assert_string_equal(out, "a\xc3\xa4");
	assert_int_equal(cli_escape(out, 1, "a", 1), 0);
	assert_string_equal(out, "");
}

struct ended {
	int status; /* exit status, or 128 + signal */
	char out[CLI_LINE * 2], err[CLI_LINE * 2];
};

static void
drain(int fd, char *buf, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while (len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
		len += (size_t)n;
	buf[len] = '\0';
	close(fd);
}

/* Run f in a process of its own, as a program would, and return how it ended. */
static struct ended
run(void (*f)(void))
{
	static struct ended e;
	int out[2], err[2], status;
	pid_t pid;

	assert_int_equal(pipe(out), 0);
	assert_int_equal(pipe(err), 0);
	fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		char *argv[] = { (char[]){ "some/where/eet-test" }, NULL };

		dup2(out[1], STDOUT_FILENO);
		dup2(err[1], STDERR_FILENO);
		close(out[0]);
		close(out[1]);
		close(err[0]);
		close(err[1]);
		cli_init(argv);
		f();
		_exit(99);
	}
	close(out[1]);
	close(err[1]);
	drain(out[0], e.out, sizeof e.out);
	drain(err[0], e.err, sizeof e.err);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	e.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return e;
}

static void
say(void)
{
	errno = ENOSPC;
	cli_warn("%s: offset %d", "a\n.eet", 4128);
	if (errno != ENOSPC)
		_exit(98);
	cli_warnx("frame length %d, at most %d", 70000, 1280);
	cli_note(0, "shown");
	cli_note(1, "not shown");
	cli_level = 1;
	cli_note(1, "shown too");
	cli_level = -1;
	cli_note(0, "not shown");
	errno = ENOENT;
	cli_die(CLI_EFAIL, "b");
}

static void
say_too_much(void)
{
	char *text = malloc(100000);

	memset(text, '\n', 99999);
	text[99999] = '\0';
	cli_diex(CLI_EDATA, "%s", text);
}

static void
use_wrongly(void)
{
	cli_usage("no %s", "operand");
}

static void
messages(void **state)
{
	struct ended e;

	(void)state;
	e = run(say);
	assert_int_equal(e.status, CLI_EFAIL);
	assert_string_equal(e.out, "");
	assert_string_equal(e.err,
	    "eet-test: a\\x0A.eet: offset 4128: No space left on device\n"
	    "eet-test: frame length 70000, at most 1280\n"
	    "eet-test: shown\n"
	    "eet-test: shown too\n"
	    "eet-test: b: No such file or directory\n");
	e = run(say_too_much);
	assert_int_equal(e.status, CLI_EDATA);
	assert_true(strlen(e.err) <= CLI_LINE);
	assert_string_equal(e.err + strlen(e.err) - 8, "\\x0A...\n");
	assert_ptr_equal(strchr(e.err, '\n'), e.err + strlen(e.err) - 1);
	e = run(use_wrongly);
	assert_int_equal(e.status, CLI_EUSAGE);
	assert_string_equal(e.err, "eet-test: no operand; try 'eet-test --help'\n");
}

static char *args[8];

static void
options(void)
{
	static const struct option longs[] = { CLI_LONG, { "number", required_argument, NULL, 'n' },
		{ "numeral", no_argument, NULL, 0x200 }, { NULL, 0, NULL, 0 } };
	int argc = 0, c;

	while (args[argc] != NULL)
		argc++;
	optind = 0;
	while ((c = cli_getopt(argc, args, ":xn:" CLI_SHORT, longs, "Usage: eet-test\n")) != -1)
		switch (c) {
		case 'n': printf("n=%s ", optarg); break;
		default: printf("%x ", (unsigned int)c);
		}
	printf("level=%d rest=%d", cli_level, argc - optind);
	exit(cli_finish(CLI_OK));
}

static void
expect(int status, const char *out, const char *err, const char *a, const char *b, const char *c)
{
	struct ended e;
	const char *list[] = { "eet-test", a, b, c };
	size_t i;

	for (i = 0; i < 4; i++)
		args[i] = list[i] == NULL ? NULL : strdup(list[i]);
	e = run(options);
	for (i = 0; i < 4; i++)
		free(args[i]);
	assert_string_equal(e.err, err);
	assert_string_equal(e.out, out);
	assert_int_equal(e.status, status);
}

#define TRY "; try 'eet-test --help'\n"

static void
getopt_cases(void **state)
{
	(void)state;
	expect(0, "level=0 rest=0", "", NULL, NULL, NULL);
	expect(0, "n=5 78 level=0 rest=1", "", "-n5", "file", "-x");
	expect(0, "n=7 level=2 rest=1", "", "-vv", "--numb=7", "file");
	expect(0, "200 level=-1 rest=1", "", "-vq", "--numeral", "file");
	expect(0, "level=0 rest=2", "", "--", "-x", "file");
	expect(0, "Usage: eet-test\n", "", "--help", "--wrong", NULL);
	expect(0, "eet-test " EET_VERSION "\n", "", "-V", NULL, NULL);
	expect(2, "n=3 ", "eet-test: unknown option -y" TRY, "--number=3", "-yx", NULL);
	expect(2, "", "eet-test: unknown option -\\x1B" TRY, "-\x1b[2J", NULL, NULL);
	expect(2, "", "eet-test: unknown or ambiguous option --wrong" TRY, "--wrong", "a", NULL);
	expect(2, "", "eet-test: unknown or ambiguous option --nu" TRY, "--nu", "a", NULL);
	expect(2, "", "eet-test: option --quiet=2 takes no value" TRY, "--quiet=2", "a", NULL);
	expect(2, "", "eet-test: option --numeral=2 takes no value" TRY, "--numeral=2", "a", NULL);
	expect(2, "78 ", "eet-test: option -n needs a value" TRY, "a", "-xn", NULL);
	expect(2, "", "eet-test: option --number needs a value" TRY, "a", "--number", NULL);
}

static void
bad_number(void)
{
	cli_number("-n", "x", 1, 65535);
}

static void
bad_duration(void)
{
	cli_duration("-t", "1y");
}

static void
bad_size(void)
{
	cli_size("--max-frame", "-1");
}

static void
bad_mode(void)
{
	cli_mode("--mode", "999");
}

static void
bad_address(void)
{
	struct cli_address a;

	cli_address("host", &a);
}

static void
good_values(void)
{
	struct cli_address a;

	cli_address(":5096", &a);
	printf("%d %d %d %o %d", (int)cli_number("-n", "5", 1, 9), (int)cli_duration("-t", "1ms"),
	    (int)cli_size("-s", "1k"), cli_mode("--mode", "640"), a.port);
	exit(cli_finish(CLI_EDATA));
}

static void
values(void **state)
{
	static const struct {
		void (*f)(void);
		const char *err;
	} bad[] = {
		{ bad_number, "eet-test: -n x: not a number from 1 to 65535" TRY },
		{ bad_duration, "eet-test: -t 1y: not a duration (10, 10s, 500ms, 2m, 1h)" TRY },
		{ bad_size, "eet-test: --max-frame -1: not a size (4096, 64k, 100M, 1G)" TRY },
		{ bad_mode, "eet-test: --mode 999: not a file mode in octal, 0 to 0777" TRY },
		{ bad_address, "eet-test: host: no port; write ADDRESS:PORT" TRY },
	};
	struct ended e;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof bad / sizeof *bad; i++) {
		e = run(bad[i].f);
		assert_int_equal(e.status, CLI_EUSAGE);
		assert_string_equal(e.err, bad[i].err);
	}
	e = run(good_values);
	assert_int_equal(e.status, CLI_EDATA);
	assert_string_equal(e.out, "5 1000 1024 640 5096");
}

static void
write_to_full(void)
{
	dup2(open("/dev/full", O_WRONLY), STDOUT_FILENO);
	printf("lost");
	exit(cli_finish(CLI_OK));
}

static void
write_to_nobody(void)
{
	int fd[2];

	if (pipe(fd) == -1)
		_exit(98);
	close(fd[0]);
	dup2(fd[1], STDOUT_FILENO);
	printf("lost"); /* and no SIGPIPE */
	exit(cli_finish(CLI_OK));
}

static void
write_past_limit(void)
{
	const struct rlimit nothing = { 0, 0 };

	setrlimit(RLIMIT_FSIZE, &nothing);
	dup2(fileno(tmpfile()), STDOUT_FILENO);
	printf("lost"); /* and no SIGXFSZ */
	exit(cli_finish(CLI_OK));
}

/* With 0, 1 and 2 closed at the start: reads and writes fail, opened files go elsewhere. */
static void
start_without_descriptors(void)
{
	char *argv[] = { (char[]){ "eet-test" }, NULL };
	int spare = dup(STDERR_FILENO), fd;
	char byte;

	close(0);
	close(1);
	close(2);
	cli_init(argv);
	fd = open("/dev/null", O_RDONLY);
	if (fd < 3)
		dprintf(spare, "a file became descriptor %d\n", fd);
	if (read(0, &byte, 1) != -1 || errno != EBADF)
		dprintf(spare, "standard input can be read\n");
	if (write(1, "x", 1) != -1 || errno != EBADF)
		dprintf(spare, "standard output can be written\n");
	if (write(2, "x", 1) != -1 || errno != EBADF)
		dprintf(spare, "standard error can be written\n");
	cli_warnx("nobody hears this");
	printf("lost");
	_exit(cli_finish(CLI_OK));
}

/* A program that writes nothing to standard output does not mind that it is closed. */
static void
start_without_output(void)
{
	char *argv[] = { (char[]){ "eet-test" }, NULL };

	close(1);
	cli_init(argv);
	exit(cli_finish(CLI_EDATA));
}

static void
start_without_name(void)
{
	char *argv[] = { NULL };

	cli_init(argv);
	cli_diex(CLI_OK, "called %s", cli_name());
}

static void
start_and_finish(void **state)
{
	struct ended e;

	(void)state;
	e = run(write_to_full);
	assert_int_equal(e.status, CLI_EFAIL);
	assert_string_equal(e.err, "eet-test: standard output: No space left on device\n");
	e = run(write_to_nobody);
	assert_int_equal(e.status, CLI_EFAIL);
	assert_string_equal(e.err, "eet-test: standard output: Broken pipe\n");
	e = run(write_past_limit);
	assert_int_equal(e.status, CLI_EFAIL);
	assert_string_equal(e.err, "eet-test: standard output: File too large\n");
	e = run(start_without_descriptors);
	assert_int_equal(e.status, CLI_EFAIL);
	assert_string_equal(e.err, "");
	e = run(start_without_output);
	assert_int_equal(e.status, CLI_EDATA);
	assert_string_equal(e.err, "");
	e = run(start_without_name);
	assert_string_equal(e.err, "eet-test: called eet-test\n");
}

static void
to_terminal(void)
{
	int fd = posix_openpt(O_RDWR | O_NOCTTY);

	if (fd == -1)
		_exit(98);
	cli_no_terminal(STDOUT_FILENO, "a log", "use -o FILE"); /* a pipe: returns */
	cli_no_terminal(fd, "a log", "use -o FILE");
}

static void
terminal(void **state)
{
	struct ended e;

	(void)state;
	e = run(to_terminal);
	assert_int_equal(e.status, CLI_EUSAGE);
	assert_string_equal(e.err,
	    "eet-test: a log is binary, and the output is a terminal: use -o FILE" TRY);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(number),
		cmocka_unit_test(duration),
		cmocka_unit_test(size),
		cmocka_unit_test(mode),
		cmocka_unit_test(address),
		cmocka_unit_test(escape),
		cmocka_unit_test(messages),
		cmocka_unit_test(getopt_cases),
		cmocka_unit_test(values),
		cmocka_unit_test(start_and_finish),
		cmocka_unit_test(terminal),
	};

	return cmocka_run_group_tests_name("cli", tests, NULL, NULL);
}
