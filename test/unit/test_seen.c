/* seen: lines that are sound count, in their order, whatever else is in the file. */
#include "scratch.h"
#include "seen.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/resource.h>

#include <cmocka.h>

#define NOW UINT64_C(1800000000) /* 2027-01-15 */

static struct scratch place;

static int
set_up(void **state)
{
	(void)state;
	place = scratch_new();
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	scratch_free(&place);
	return 0;
}

/* What a file of these bytes says: "NEXT TIME," of each line. */
static void
assert_says(const void *bytes, size_t len, const char *expected)
{
	struct seen s = { 0 };
	char said[256] = "";

	scratch_write(&place, SEEN_FILE, bytes, len);
	assert_int_equal(seen_load(&s, place.fd), 0);
	for (size_t i = 0; i < s.n; i++)
		snprintf(said + strlen(said), sizeof said - strlen(said), "%llu %llu,",
		    (unsigned long long)s.lines[i].next, (unsigned long long)s.lines[i].time_s);
	assert_string_equal(said, expected);
	seen_free(&s);
}

#define SAYS(bytes, expected) assert_says(bytes, sizeof bytes - 1, expected)

static void
sound_lines(void **state)
{
	struct seen s = { 0 };

	(void)state;
	assert_int_equal(seen_load(&s, place.fd), 0);
	assert_int_equal(s.n, 0);
	SAYS("", "");
	SAYS("5 1767225600\n1 253402300799\n4294967296 1800000000\n",
	    "5 1767225600,1 253402300799,4294967296 1800000000,");
	/* Numbers that are out of bounds, or not written as we do. */
	SAYS("5 1767225599\n0 1800000000\n4294967297 1800000000\n5 253402300800\n"
	     "5 99999999999999999999\n99999999999999999999 1800000000\n",
	    "");
	SAYS("5  1800000000\n 5 1800000000\n5 1800000000 \n05 1800000000\n5 01800000000\n"
	     "+5 1800000000\n5\t1800000000\n5 1800000000\r\n5 18000000x0\n5\n\n5 \n",
	    "");
	/* Torn, zeros, what is no text, a line longer than any of ours, and sound ones around them. */
	SAYS("5 1800000000", "");
	SAYS("5 1800000000\n6 18000", "5 1800000000,");
	SAYS("5 1800000000\n\0\0\0\0\0\0\0006 1800000001\n7 1800000002\n\0\0\0",
	    "5 1800000000,7 1800000002,");
	SAYS("\377\376\n5 1800000000\n", "5 1800000000,");
	SAYS("                                                 6 1800000000\n5 1800000000\n",
	    "5 1800000000,");
}

/* Wherever reads end, and whatever their length. */
static void
long_files(void **state)
{
	struct bytes b = { 0 };
	struct seen s = { 0 };

	(void)state;
	for (unsigned i = 1; i <= 5000; i++) {
		char line[64];
		int n = snprintf(line, sizeof line, "%u %u\n", i, 1800000000 + i);

		bytes_add(&b, line, (size_t)n);
	}
	scratch_write(&place, SEEN_FILE, b.p, b.len);
	assert_int_equal(seen_load(&s, place.fd), 0);
	assert_int_equal(s.n, 5000);
	for (unsigned i = 1; i <= 5000; i++) {
		assert_int_equal(s.lines[i - 1].next, i);
		assert_int_equal(s.lines[i - 1].time_s, 1800000000 + i);
	}
	seen_free(&s);
	bytes_free(&b);

	for (unsigned i = 0; i < 100000; i++)
		bytes_add(&b, "9", 1);
	bytes_add(&b, " 1800000000\n3 1800000000\n", 25);
	scratch_write(&place, SEEN_FILE, b.p, b.len);
	assert_int_equal(seen_load(&s, place.fd), 0);
	assert_int_equal(s.n, 1);
	assert_int_equal(s.lines[0].next, 3);
	seen_free(&s);
	bytes_free(&b);
}

/* The first line above a session counts; one from a clock that was ahead does not, until it is right. */
static void
first_above(void **state)
{
	static const char text[] = "3 1800000000\n2 1790000000\n9 1900000000\n9 1800000500\n";
	struct seen s = { 0 };

	(void)state;
	scratch_write(&place, SEEN_FILE, text, strlen(text));
	assert_int_equal(seen_load(&s, place.fd), 0);
	assert_int_equal(seen_at(&s, 1, NOW), 1800000000);
	assert_int_equal(seen_at(&s, 2, NOW), 1800000000);
	assert_int_equal(seen_at(&s, 3, NOW), 1800000500);
	assert_int_equal(seen_at(&s, 8, NOW), 1800000500);
	assert_int_equal(seen_at(&s, 9, NOW), 0);
	assert_int_equal(seen_at(&s, UINT32_MAX, NOW), 0);
	assert_int_equal(seen_at(&s, 3, 1900000000 - 86400), 1900000000);
	assert_int_equal(seen_at(&s, 1, 1800000000 - 86400), 1800000000);
	assert_int_equal(seen_at(&s, 1, 1800000000 - 86401), 1790000000);
	seen_free(&s);
}

static void
assert_file(const char *expected)
{
	struct bytes b = scratch_read(&place, SEEN_FILE);

	assert_int_equal(b.len, strlen(expected));
	assert_memory_equal(b.p, expected, b.len);
	bytes_free(&b);
}

static void
appended(void **state)
{
	struct seen s = { 0 };
	struct stat st;

	(void)state;
	assert_int_equal(seen_append(&s, place.fd, 0600, true, 7, NOW), 0);
	assert_file("7 1800000000\n");
	assert_int_equal(fstatat(place.fd, SEEN_FILE, &st, 0), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(seen_append(&s, place.fd, 0600, false, UINT64_C(1) << 32, NOW + 1), 0);
	assert_file("7 1800000000\n4294967296 1800000001\n");
	assert_int_equal(seen_at(&s, 6, NOW), NOW);
	assert_int_equal(seen_at(&s, UINT32_MAX, NOW), NOW + 1);
	/* After a torn line a new one begins. */
	scratch_write(&place, SEEN_FILE, "7 18000", 7);
	assert_int_equal(seen_append(&s, place.fd, 0600, true, 8, NOW), 0);
	assert_file("7 18000\n8 1800000000\n");
	seen_free(&s);
}

/* Whatever has that name and is no file is left alone, and nothing waits for it. */
static void
no_file(void **state)
{
	struct seen s = { 0 };

	(void)state;
	assert_int_equal(mkfifoat(place.fd, SEEN_FILE, 0600), 0);
	assert_int_equal(seen_load(&s, place.fd), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(seen_append(&s, place.fd, 0600, true, 7, NOW), -1);
	assert_int_equal(unlinkat(place.fd, SEEN_FILE, 0), 0);
	assert_int_equal(symlinkat("target", place.fd, SEEN_FILE), 0);
	assert_int_equal(seen_append(&s, place.fd, 0600, true, 7, NOW), -1);
	assert_int_equal(errno, ELOOP);
	assert_false(scratch_has(&place, "target"));
	assert_int_equal(s.n, 0);
}

/* A write that fails, or ends early, leaves no line, not even a part of one. */
static void
full(void **state)
{
	static const rlim_t sizes[] = { 13, 20 };
	struct rlimit before;
	struct seen s = { 0 };

	(void)state;
	assert_int_equal(seen_append(&s, place.fd, 0600, true, 7, NOW), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	signal(SIGXFSZ, SIG_IGN);
	for (size_t i = 0; i < 2; i++) {
		setrlimit(RLIMIT_FSIZE, &(struct rlimit){ sizes[i], before.rlim_max });
		assert_int_equal(seen_append(&s, place.fd, 0600, true, 8, NOW), -1);
		assert_int_equal(errno, EFBIG);
		setrlimit(RLIMIT_FSIZE, &before);
		assert_file("7 1800000000\n");
		assert_int_equal(s.n, 1);
	}
	signal(SIGXFSZ, SIG_DFL);
	seen_free(&s);
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(sound_lines),
		TEST(long_files),
		TEST(first_above),
		TEST(appended),
		TEST(no_file),
		TEST(full),
	};

	return cmocka_run_group_tests_name("seen", tests, NULL, NULL);
}
