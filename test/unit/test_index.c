/* index: lines of JSON that a program and a person can rely on, and reading them again. */
#include "index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const struct wire_handshake mono = { 7, 8000, 1, WIRE_PCM16, 160, 0, 0 };
static const struct pcm_levels silent = { 0 };

static void
all_keys(void **state)
{
	const struct wire_handshake six = { 4294967295, 48000, 6, WIRE_ADPCM, 65535, 0, 0 };
	const struct pcm_levels levels = { .values = 4,
		.peak = 16384,
		.squares = 4.0 * 8192 * 8192,
		.clipped = 3 };
	const struct index_entry e = {
		.event = "segment",
		.eet = "a.eet",
		.wav = "a.wav",
		.session = 4294967295,
		.tag = "kitchen",
		.peer = "[::1]:5096",
		.layout = "state-high",
		.format = &six,
		.has_facts = true,
		.has_frames = true,
		.first_seq = 4294967295,
		.last_seq = 0,
		.first_us = 1,
		.last_us = UINT64_C(253402300799999999),
		.frames = 5,
		.samples = 48001,
		.gaps = 6,
		.gap_frames = 7,
		.gap_before = 8,
		.repeats = 9,
		.restarts = 10,
		.damaged = 11,
		.levels = &levels,
		.recovered = true,
		.error = "a.eet.part: I/O",
		.is_session = true,
		.close_code = 1001,
		.close_reason = "bye",
	};
	char out[INDEX_LINE + 1];
	size_t len = index_format(&e, out);

	(void)state;
	assert_int_equal(len, strlen(out));
	assert_string_equal(out,
	    "{\"event\":\"segment\",\"eet\":\"a.eet\",\"wav\":\"a.wav\",\"session\":4294967295,"
	    "\"stream_id\":4294967295,\"tag\":\"kitchen\",\"peer\":\"[::1]:5096\","
	    "\"codec\":\"adpcm\",\"layout\":\"state-high\",\"rate\":48000,\"channels\":6,"
	    "\"frame_samples\":65535,\"first_seq\":4294967295,\"last_seq\":0,\"first_us\":1,"
	    "\"last_us\":253402300799999999,\"frames\":5,\"samples\":48001,\"seconds\":1.000021,"
	    "\"gaps\":6,\"gap_frames\":7,\"gap_before\":8,\"repeats\":9,\"restarts\":10,"
	    "\"damaged\":11,\"peak_dbfs\":-6.02,\"rms_dbfs\":-12.04,\"clipped\":3,"
	    "\"recovered\":true,\"error\":\"a.eet.part: I/O\",\"close_code\":1001,\"close_reason\":\"bye\"}\n");
}

static void
unknown_is_null(void **state)
{
	const struct index_entry e = {
		.event = "session",
		.session = 1,
		.tag = "",
		.peer = "",
		.format = &mono,
		.first_us = INDEX_UNKNOWN,
		.last_us = INDEX_UNKNOWN,
		.gap_before = INDEX_UNKNOWN,
		.levels = &silent,
		.is_session = true,
		.close_reason = "",
	};
	char out[INDEX_LINE + 1];

	(void)state;
	index_format(&e, out);
	assert_string_equal(out,
	    "{\"event\":\"session\",\"eet\":null,\"wav\":null,\"session\":1,\"stream_id\":7,"
	    "\"tag\":null,\"peer\":null,\"codec\":\"pcm\",\"layout\":null,\"rate\":8000,"
	    "\"channels\":1,\"frame_samples\":160,\"first_seq\":null,\"last_seq\":null,"
	    "\"first_us\":null,\"last_us\":null,\"frames\":null,\"samples\":null,"
	    "\"seconds\":null,\"gaps\":null,\"gap_frames\":null,\"gap_before\":null,"
	    "\"repeats\":null,\"restarts\":null,\"damaged\":null,\"peak_dbfs\":null,"
	    "\"rms_dbfs\":null,\"clipped\":null,\"recovered\":false,\"error\":null,"
	    "\"close_code\":null,\"close_reason\":null}\n");
}

static void
assert_reason(const char *reason, const char *json)
{
	const struct index_entry e = { .event = "session",
		.format = &mono,
		.levels = &silent,
		.is_session = true,
		.close_code = 1000,
		.close_reason = reason };
	char out[INDEX_LINE + 1], expected[2000];
	size_t len = index_format(&e, out), n;

	n = (size_t)snprintf(expected, sizeof expected,
	    ",\"close_code\":1000,\"close_reason\":\"%s\"}\n", json);
	assert_true(len > n);
	assert_string_equal(out + len - n, expected);
}

/* RFC 8259: quotes, backslashes and controls are escaped; RFC 3629: the rest is UTF-8. */
static void
escapes(void **state)
{
	(void)state;
	assert_reason("a\"b\\c/", "a\\\"b\\\\c/");
	assert_reason("\n\t\001\x1f\x7f", "\\u000a\\u0009\\u0001\\u001f\\u007f");
	assert_reason("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x8e\xa4",
	    "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x8e\xa4");
	assert_reason("\x80", "\\ufffd");
	assert_reason("\xc3", "\\ufffd");
	assert_reason("\xc3(", "\\ufffd(");
	assert_reason("\xe2\x82", "\\ufffd\\ufffd");
	assert_reason("\xc0\xaf", "\\ufffd\\ufffd");                       /* overlong '/' */
	assert_reason("\xe0\x80\xaf", "\\ufffd\\ufffd\\ufffd");            /* so long, too */
	assert_reason("\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd");            /* a surrogate */
	assert_reason("\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"); /* past the end */
	assert_reason("\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf");
	assert_reason("\xff\xfe", "\\ufffd\\ufffd");
}

/* The longest line that there can be is whole. */
static void
longest(void **state)
{
	char eet[160], tag[65], peer[129], reason[124], out[INDEX_LINE + 1];
	const struct wire_handshake six = { 4294967295, 768000, 64, WIRE_ADPCM, 65535, 0, 0 };
	const struct pcm_levels levels = { .values = UINT64_MAX,
		.peak = 1,
		.squares = 1e-300,
		.clipped = UINT64_MAX };
	const uint64_t most = UINT64_MAX - 1;
	const struct index_entry e = { "segment", eet, eet, 4294967295, tag, peer, "state-high",
		&six, 0, true, true, 4294967295, 4294967295, most, most, most, most, most, most,
		most, most, most, most, &levels, true, peer, true, 65535, reason };
	size_t len;

	(void)state;
	memset(eet, 'e', sizeof eet);
	memset(tag, 't', sizeof tag);
	memset(peer, '\001', sizeof peer);
	memset(reason, '\377', sizeof reason);
	eet[sizeof eet - 1] = tag[sizeof tag - 1] = peer[sizeof peer - 1] = '\0';
	reason[sizeof reason - 1] = '\0';
	len = index_format(&e, out);
	assert_true(len < INDEX_LINE);
	assert_string_equal(out + len - 9, "\\ufffd\"}\n");
}

/*
 * ---- The file ----
 */

struct place {
	char path[64];
	int dir;
};

static int
set_up(void **state)
{
	struct place *p = malloc(sizeof *p);

	strcpy(p->path, "/tmp/eet-index.XXXXXX");
	if (mkdtemp(p->path) == NULL)
		return -1;
	p->dir = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = p;
	return 0;
}

static int
tear_down(void **state)
{
	struct place *p = *state;

	unlinkat(p->dir, INDEX_FILE, 0);
	unlinkat(p->dir, INDEX_FILE, AT_REMOVEDIR);
	unlinkat(p->dir, "other", 0);
	close(p->dir);
	rmdir(p->path);
	free(p);
	return 0;
}

static void
make_index(const struct place *p, const void *content, size_t len)
{
	int fd = openat(p->dir, INDEX_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

	assert_true(fd != -1);
	assert_int_equal(write(fd, content, len), len);
	close(fd);
}

/* The index holds just this. */
static void
assert_index(const struct place *p, const char *content)
{
	char got[8192] = "";
	int fd = openat(p->dir, INDEX_FILE, O_RDONLY | O_CLOEXEC);

	assert_true(read(fd, got, sizeof got - 1) >= 0);
	close(fd);
	assert_string_equal(got, content);
}

static void
made_with_mode(void **state)
{
	struct place *p = *state;
	uint64_t cut = 99;
	mode_t old = umask(027);
	int fd = index_open(p->dir, 0666, &cut);
	struct stat st;

	umask(old);
	assert_true(fd != -1);
	assert_int_equal(cut, 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
	assert_int_equal(index_append(fd, "{1}\n", 4), 0);
	/* Appended, wherever the descriptor stands. */
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(index_append(fd, "{2}\n", 4), 0);
	assert_index(p, "{1}\n{2}\n");
	close(fd);
}

/* Cut at every byte, the last line that is not whole is taken away. */
static void
torn(void **state)
{
	static const char lines[] = "{\"a\":1}\n\n{\"b\":22}\n{\"c\":3";
	struct place *p = *state;

	for (size_t len = 0; len < sizeof lines; len++) {
		size_t whole = len >= 18 ? 18 : len >= 9 ? 9 : len >= 8 ? 8 : 0;
		char expected[sizeof lines];
		uint64_t cut;
		int fd;

		make_index(p, lines, len);
		fd = index_open(p->dir, 0640, &cut);
		assert_true(fd != -1);
		assert_int_equal(cut, len - whole);
		close(fd);
		memcpy(expected, lines, whole);
		expected[whole] = '\0';
		assert_index(p, expected);
	}
}

/* … however long, and zeros as a file system leaves them when the power fails. */
static void
torn_far_back(void **state)
{
	struct place *p = *state;
	char *big = calloc(1, 3 * 4096 + 7);
	uint64_t cut;
	int fd;

	memcpy(big, "{}\n", 3);
	make_index(p, big, 3 * 4096 + 7);
	fd = index_open(p->dir, 0640, &cut);
	assert_int_equal(cut, 3 * 4096 + 7 - 3);
	close(fd);
	assert_index(p, "{}\n");
	memset(big, 'x', 3 * 4096);
	make_index(p, big, 3 * 4096);
	fd = index_open(p->dir, 0640, &cut);
	assert_int_equal(cut, 3 * 4096);
	close(fd);
	assert_index(p, "");
	free(big);
}

struct seen {
	char text[1000];
};

static void
see(void *arg, const struct index_item *item)
{
	struct seen *s = arg;
	size_t len = strlen(s->text);

	snprintf(s->text + len, sizeof s->text - len, "%s %u\n", item->eet, item->session);
}

/* Zeros in the middle are damage of the lines that they lie in: all others stay, and are read. */
static void
zeros_between(void **state)
{
#define LINE(n) "{\"event\":\"segment\",\"eet\":\"" #n ".eet\",\"session\":" #n "}\n"
	static const char lines[] = LINE(1) LINE(2) LINE(3) LINE(4);
	const size_t size = sizeof LINE(1) - 1;
	struct place *p = *state;

	for (size_t first = 0; first < sizeof lines - 1; first++) {
		char damaged[sizeof lines], expected[64] = "";
		struct seen s = { "" };
		size_t lost = first / size, next = first % size == size - 1 ? lost + 1 : lost;
		uint64_t cut;
		int fd;

		memcpy(damaged, lines, sizeof lines);
		damaged[first] = '\0';
		make_index(p, damaged, sizeof lines - 1);
		fd = index_open(p->dir, 0640, &cut);
		assert_true(fd != -1);
		/* The last newline gone, its line is torn. */
		assert_int_equal(cut, first == sizeof lines - 2 ? size : 0);
		assert_int_equal(index_each(fd, see, &s), 0);
		for (size_t i = 0; i < 4; i++)
			if (i != lost && i != next)
				sprintf(expected + strlen(expected), "%zu.eet %zu\n", i + 1, i + 1);
		assert_string_equal(s.text, expected);
		close(fd);
	}
}

/* A line is found from the end, wherever it stands; one with an error is none. */
static void
searched(void **state)
{
	struct place *p = *state;
	FILE *f = fdopen(openat(p->dir, INDEX_FILE, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), "w");
	char name[64];
	uint64_t cut;
	int fd;

	for (int i = 0; i < 3000; i++)
		fprintf(f,
		    "{\"event\":\"segment\",\"eet\":\"n%d.eet\",\"x\":\"%.*s\",\"error\":%s}\n", i,
		    i % 100,
		    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
		    "xxxxxxxxxxxxxxxxxxxx",
		    i % 7 == 0 ? "\"EIO\"" : "null");
	fclose(f);
	fd = index_open(p->dir, 0640, &cut);
	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof name, "n%d.eet", i);
		assert_int_equal(index_has(fd, name), i % 7 != 0);
	}
	assert_int_equal(index_has(fd, "n3000.eet"), 0);
	assert_int_equal(index_has(fd, "1.eet"), 0);
	close(fd);
}

/* Zeros that take a line's beginning and the end of the one before it leave neither. */
static void
searched_in_damage(void **state)
{
	static const char merged[] =
	    "{\"event\":\"segment\",\"eet\":\"1.eet\",\"w\0\0\0\0\"error\":null}\n"
	    "{\"event\":\"se\0\0\0\0\",\"eet\":\"2.eet\",\"error\":null}\n"
	    "{\"event\":\"segment\",\"eet\":\"3.eet\",\"error\":null}\n";
	struct place *p = *state;
	uint64_t cut;
	int fd = index_open(p->dir, 0640, &cut);

	assert_int_equal(index_append(fd, merged, sizeof merged - 1), 0);
	assert_int_equal(index_has(fd, "1.eet"), 0);
	assert_int_equal(index_has(fd, "2.eet"), 0);
	assert_int_equal(index_has(fd, "3.eet"), 1);
	close(fd);
}

static void
no_file(void **state)
{
	struct place *p = *state;
	uint64_t cut;
	int other;

	assert_int_equal(mkdirat(p->dir, INDEX_FILE, 0700), 0);
	assert_int_equal(index_open(p->dir, 0640, &cut), -1);
	assert_int_equal(errno, EISDIR);
	assert_int_equal(unlinkat(p->dir, INDEX_FILE, AT_REMOVEDIR), 0);

	/* Opening a FIFO must not wait for somebody at its other end. */
	assert_int_equal(mkfifoat(p->dir, INDEX_FILE, 0600), 0);
	assert_int_equal(index_open(p->dir, 0640, &cut), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(unlinkat(p->dir, INDEX_FILE, 0), 0);

	other = openat(p->dir, "other", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(other, "torn", 4), 4);
	close(other);
	assert_int_equal(symlinkat("other", p->dir, INDEX_FILE), 0);
	assert_int_equal(index_open(p->dir, 0640, &cut), -1);
	assert_int_equal(errno, ELOOP);
}

/* A line, and one that does not fit. */
static void
append_too_much(int fd, int error)
{
	struct rlimit old, small;

	assert_int_equal(index_append(fd, "{\"first\":1}\n", 12), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = 16;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(index_append(fd, "{\"second\":2}\n", 13), -1);
	assert_int_equal(errno, error);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
}

/* A line that does not fit leaves no part of itself behind. */
static void
no_room(void **state)
{
	struct place *p = *state;
	uint64_t cut;
	int fd = index_open(p->dir, 0640, &cut);

	append_too_much(fd, EFBIG);
	assert_index(p, "{\"first\":1}\n");
	assert_int_equal(index_append(fd, "{\"second\":2}\n", 13), 0);
	assert_index(p, "{\"first\":1}\n{\"second\":2}\n");
	close(fd);
}

/* Where that can't be done, no later line must be joined to the part: it is no passing error. */
static void
no_room_and_no_cut(void **state)
{
	int fd = memfd_create(INDEX_FILE, MFD_ALLOW_SEALING | MFD_CLOEXEC);

	(void)state;
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	append_too_much(fd, EIO);
	assert_int_equal(lseek(fd, 0, SEEK_END), 16);
	close(fd);
}

static void
assert_seen(const struct place *p, const void *content, size_t len, const char *expected)
{
	struct seen s = { "" };
	uint64_t cut;
	int fd;

	make_index(p, content, len);
	fd = index_open(p->dir, 0640, &cut);
	assert_true(fd != -1);
	assert_int_equal(index_each(fd, see, &s), 0);
	assert_string_equal(s.text, expected);
	/* Again, from wherever. */
	s.text[0] = '\0';
	assert_int_equal(index_each(fd, see, &s), 0);
	assert_string_equal(s.text, expected);
	close(fd);
}

static void
read_again(void **state)
{
	const struct index_entry segment = { .event = "segment",
		.eet = "a.eet",
		.session = 3,
		.format = &mono,
		.has_facts = true,
		.levels = &silent };
	const struct index_entry session = { .event = "session",
		.session = 4294967295,
		.format = &mono,
		.levels = &silent,
		.is_session = true,
		.close_reason = "\"eet\":\"b.eet\",\"session\":77" };
	struct place *p = *state;
	char lines[3 * INDEX_LINE];
	size_t len = index_format(&segment, lines);

	len += index_format(&session, lines + len);
	len += index_format(&segment, lines + len);
	assert_seen(p, lines, len, "a.eet 3\n 4294967295\na.eet 3\n");
}

/* Lines of others are passed over, and the one behind them is not lost. */
static void
foreign_lines(void **state)
{
#define GOOD "{\"event\":\"segment\",\"eet\":\"a.eet\",\"wav\":null,\"session\":5}\n"
	struct place *p = *state;
	char *big = malloc(200000);
	size_t sizes[] = { 4096, 8 * INDEX_LINE - 1, 8 * INDEX_LINE, 8 * INDEX_LINE + 1, 100000 };

	assert_seen(p, "", 0, "");
	assert_seen(p, "\n\n{}\nhello\n" GOOD "[]\n", 15 + strlen(GOOD), "a.eet 5\n");
	assert_seen(p, "{\"session\":4294967296}\n{\"session\":-1}\n{\"session\":\"x\"}\n" GOOD,
	    23 + 15 + 16 + strlen(GOOD), "a.eet 5\n");
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		/* Its end looks like one of ours, but for the rest of it. */
		memset(big, 'x', sizes[i]);
		memcpy(big + sizes[i] - 40, ",\"eet\":\"b.eet\",\"session\":6,", 27);
		big[sizes[i]] = '\n';
		memcpy(big + sizes[i] + 1, GOOD, strlen(GOOD));
		assert_seen(p, big, sizes[i] + 1 + strlen(GOOD), "a.eet 5\n");
	}
	free(big);
}

static void
count(void *arg, const struct index_item *item)
{
	uint32_t *next = arg;

	assert_int_equal(item->session, *next);
	assert_int_equal(strlen(item->eet), item->session % 100);
	++*next;
}

/* Many buffers of lines, none lost or torn where one ends. */
static void
many_lines(void **state)
{
	struct place *p = *state;
	FILE *f = fdopen(openat(p->dir, INDEX_FILE, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), "w");
	uint32_t seen = 0;
	char name[100];
	uint64_t cut;
	int fd;

	memset(name, 'n', sizeof name);
	for (int i = 0; i < 5000; i++)
		fprintf(f, "{\"event\":\"segment\",\"eet\":\"%.*s\",\"session\":%d}\n", i % 100,
		    name, i);
	fclose(f);
	fd = index_open(p->dir, 0640, &cut);
	assert_int_equal(index_each(fd, count, &seen), 0);
	assert_int_equal(seen, 5000);
	close(fd);
}

int
main(void)
{
#define WITH_FILE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_keys),
		cmocka_unit_test(unknown_is_null),
		cmocka_unit_test(escapes),
		cmocka_unit_test(longest),
		WITH_FILE(made_with_mode),
		WITH_FILE(torn),
		WITH_FILE(torn_far_back),
		WITH_FILE(zeros_between),
		WITH_FILE(searched),
		WITH_FILE(searched_in_damage),
		WITH_FILE(no_file),
		WITH_FILE(no_room),
		WITH_FILE(no_room_and_no_cut),
		WITH_FILE(read_again),
		WITH_FILE(foreign_lines),
		WITH_FILE(many_lines),
	};

	return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
