/* retention: the oldest segments go, for each limit, and none that is needed. */
#include "retention.h"
#include "index.h"
#include "scratch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#include <cmocka.h>

#define MS UINT64_C(1769854500000) /* 20260131T101500.000Z */

static char told[8192];

static int refusal; /* errno of unlinkat(2); 0: it does what it is told */

/* The disk: a thread that removes something waits for it. */
static pthread_mutex_t disk = PTHREAD_MUTEX_INITIALIZER;
static pthread_t tester; /* does not */
static bool stepping;
static atomic_ullong freed; /* what was unlinked took so much */
static bool is_full;        /* nothing else is free */

int
unlinkat(int fd, const char *file, int flags)
{
	struct stat st;

	if (pthread_equal(pthread_self(), tester)) {
		assert_false(stepping);
	} else {
		pthread_mutex_lock(&disk);
		pthread_mutex_unlock(&disk);
	}
	if (refusal != 0) {
		errno = refusal;
		return -1;
	}
	if (fstatat(fd, file, &st, AT_SYMLINK_NOFOLLOW) == 0)
		freed += (unsigned long long)st.st_blocks * 512;
	return (int)syscall(SYS_unlinkat, fd, file, flags);
}

int
fstatvfs(int fd, struct statvfs *o)
{
	int status = statvfs("/proc/self/fd", o);

	(void)fd;
	o->f_frsize = 1;
	o->f_bavail = is_full ? freed : INT64_MAX - 1;
	return status;
}

static const struct name *spared; /* this one is needed */

static bool
needed(void *arg, const struct name *n)
{
	assert_ptr_equal(arg, told);
	return spared != NULL && spared->time_ms == n->time_ms && spared->session == n->session;
}

static void
removed(void *arg, const struct name *n, bool wav, uint64_t bytes, const char *why)
{
	size_t len = strlen(told);

	(void)wav;
	assert_ptr_equal(arg, told);
	snprintf(told + len, sizeof told - len, "%u+%u %u %s\n", (unsigned)n->session,
	    (unsigned)(n->time_ms - MS), (unsigned)bytes, why);
}

static int lines; /* of the index */

static void
list(const char *file)
{
	static const struct wire_handshake format = { .sample_rate = 8000 };
	static const struct pcm_levels levels;
	const struct index_entry e = {
		.event = "segment",
		.eet = file,
		.format = &format,
		.levels = &levels,
	};
	char line[INDEX_LINE + 1];

	assert_int_equal(index_append(lines, line, index_format(&e, line)), 0);
}

/* A segment of 100 bytes, and its WAV of so many more. */
static struct name
segment(const struct scratch *s, uint32_t session, unsigned ms, size_t wav)
{
	static const char zeros[1000];
	struct name n = { 1, session, MS + ms, "" };
	char file[NAME_SIZE + 8], *end;

	name_format(&n, file);
	end = file + strlen(file);
	strcpy(end, ".eet");
	scratch_write(s, file, zeros, 100);
	list(file);
	strcpy(end, ".wav");
	if (wav > 0)
		scratch_write(s, file, zeros, wav);
	return n;
}

static struct retention *
begin(const struct segment_dir *d, struct retention_limits l)
{
	struct retention *r = retention_new(d, lines, &l);

	assert_non_null(r);
	told[0] = '\0';
	spared = NULL;
	return r;
}

static char failed[SEGMENT_PATH];

/* Once.  0, or errno. */
static int
one_step(struct retention *r, uint64_t now_us)
{
	int status;

	stepping = true;
	status = retention_step(r, now_us, true, needed, removed, told, failed);
	stepping = false;
	return status == 0 ? 0 : errno;
}

static void
wait_for(struct retention *r)
{
	struct pollfd p = { .fd = retention_fd(r), .events = POLLIN };

	assert_int_equal(poll(&p, 1, 300000), 1);
}

/* To the end; how often it was called again. */
static int
step(struct retention *r, uint64_t now_us)
{
	int calls = 0;

	while (assert_int_equal(one_step(r, now_us), 0), !retention_idle(r)) {
		wait_for(r);
		calls++;
	}
	return calls;
}

static void
by_bytes(void **state)
{
	struct scratch s = scratch_new();
	struct segment_dir d = { .fd = s.fd, .path = s.path };
	struct retention *r;
	struct name n;

	(void)state;
	segment(&s, 2, 500, 200);
	segment(&s, 1, 500, 0);
	segment(&s, 3, 0, 300);
	/* No segments: one that grows, and files of others, whatever the index says. */
	list("stream_1_20260131T101401.000Z_s1.eet");
	list("stream_1_20260131T101402.000Z_s1.eet");
	scratch_write(&s, "stream_1_20260131T101403.000Z_s1.eet", "unlisted", 8);
	scratch_write(&s, "stream_1_20260131T101400.000Z_s1.eet.part", "x", 1);
	scratch_write(&s, "index.jsonl", "x", 1);
	scratch_write(&s, "notes.eet", "x", 1);
	assert_int_equal(symlinkat("notes.eet", s.fd, "stream_1_20260131T101401.000Z_s1.eet"), 0);
	assert_int_equal(mkdirat(s.fd, "stream_1_20260131T101402.000Z_s1.eet", 0750), 0);
	assert_int_equal(mkdirat(s.fd, "stream_1_20260131T101501.000Z_s1.wav", 0750), 0);
	r = begin(&d, (struct retention_limits){ .keep_bytes = 800 });
	assert_int_equal(step(r, 0), 0);
	assert_string_equal(told, ""); /* 400 + 100 + 300: just so many */

	n = segment(&s, 1, 1000, 0);
	assert_int_equal(retention_add(r, &n), 0);
	step(r, 0);
	assert_string_equal(told, "3+0 400 keep-bytes\n");
	n = segment(&s, 4, 250, 600); /* completed late: older than others */
	assert_int_equal(retention_add(r, &n), 0);
	told[0] = '\0';
	step(r, 0);
	assert_string_equal(told, "4+250 700 keep-bytes\n");
	retention_free(r);

	/* With the next start, from the directory, the same order; by session where times are equal. */
	r = begin(&d, (struct retention_limits){ .keep_bytes = 1 });
	step(r, 0);
	assert_string_equal(told,
	    "1+500 100 keep-bytes\n2+500 300 keep-bytes\n1+1000 100 keep-bytes\n");
	retention_free(r);
	char *list = scratch_list(&s);

	assert_string_equal(list,
	    "index.jsonl\nnotes.eet\nstream_1_20260131T101400.000Z_s1.eet.part\n"
	    "stream_1_20260131T101401.000Z_s1.eet\nstream_1_20260131T101402.000Z_s1.eet\n"
	    "stream_1_20260131T101403.000Z_s1.eet\nstream_1_20260131T101501.000Z_s1.wav\n");
	free(list);
	scratch_free(&s);
}

static void
by_age(void **state)
{
	struct scratch s = scratch_new();
	struct segment_dir d = { .fd = s.fd, .path = s.path };
	struct retention *r;

	(void)state;
	segment(&s, 1, 0, 10);
	segment(&s, 1, 1000, 10);
	segment(&s, 1, 2000, 10);
	r = begin(&d, (struct retention_limits){ .keep_age_us = 3000000 });
	step(r, 0); /* a clock that was never set */
	step(r, (MS + 3000) * 1000);
	assert_string_equal(told, ""); /* the first is just that old */
	step(r, (MS + 3000) * 1000 + 1);
	assert_string_equal(told, "1+0 110 keep-age\n");
	step(r, (MS + 4500) * 1000);
	assert_string_equal(told, "1+0 110 keep-age\n1+1000 110 keep-age\n");
	retention_free(r);
	scratch_free(&s);
}

static void
misdated(void **state)
{
	static const char *const gone[] = {
		"2+70000 100 keep-bytes\n",
		"2+80000 100 keep-bytes\n",
		"1+9000 100 keep-bytes\n",
		"3+9500 100 keep-bytes\n",
	};
	const uint64_t now = (MS + 10000) * 1000;
	struct scratch s = scratch_new();
	struct segment_dir d = { .fd = s.fd, .path = s.path };
	struct retention *r;
	struct name n;

	(void)state;
	segment(&s, 1, 0, 0);
	segment(&s, 1, 9000, 0);
	segment(&s, 2, 70000, 0);
	segment(&s, 2, 80000, 0);

	/* As long as nothing comes, all dates are believed. */
	r = begin(&d, (struct retention_limits){ .keep_bytes = 300 });
	step(r, now);
	assert_string_equal(told, "1+0 100 keep-bytes\n");

	/* What comes is younger than what is dated in the future. */
	for (unsigned i = 0; i < 4; i++) {
		n = segment(&s, 3, 9500 + i, 0);
		assert_int_equal(retention_add(r, &n), 0);
		told[0] = '\0';
		step(r, now);
		assert_string_equal(told, gone[i]);
	}
	retention_free(r);
	scratch_empty(&s);

	/* An old log that is recorded now does not make younger ones older, */
	segment(&s, 1, 9000, 0);
	r = begin(&d, (struct retention_limits){ .keep_bytes = 100 });
	n = segment(&s, 2, 0, 0);
	assert_int_equal(retention_add(r, &n), 0);
	step(r, now);
	assert_string_equal(told, "2+0 100 keep-bytes\n");
	retention_free(r);

	/* nor does a clock that was set back behind the log's times. */
	r = begin(&d, (struct retention_limits){ .keep_bytes = 100 });
	n = segment(&s, 2, 9500, 0);
	assert_int_equal(retention_add(r, &n), 0);
	step(r, MS * 1000);
	assert_string_equal(told, "1+9000 100 keep-bytes\n");
	retention_free(r);

	/* Age finds those behind the misdated. */
	segment(&s, 1, 0, 0);
	segment(&s, 1, 90000, 0);
	r = begin(&d, (struct retention_limits){ .keep_age_us = 5000000 });
	n = segment(&s, 3, 9600, 0);
	assert_int_equal(retention_add(r, &n), 0);
	step(r, now);
	assert_string_equal(told, "1+0 100 keep-age\n");
	retention_free(r);
	scratch_free(&s);
}

static void
by_free_space(void **state)
{
	struct scratch s = scratch_new();
	struct segment_dir d = { .fd = s.fd, .path = s.path };
	struct retention *r;

	(void)state;
	segment(&s, 1, 0, 0);
	r = begin(&d, (struct retention_limits){ .min_free = 1 });
	step(r, 0);
	assert_string_equal(told, "");
	retention_free(r);
	r = begin(&d, (struct retention_limits){ .min_free = INT64_MAX });
	step(r, 0);
	assert_string_equal(told, "1+0 100 min-free\n");
	retention_free(r);
	scratch_free(&s);
}

static void
not_what_is_needed(void **state)
{
	struct scratch s = scratch_new();
	struct segment_dir d = { .fd = s.fd, .path = s.path };
	struct name middle, first;
	struct retention *r;

	(void)state;
	first = segment(&s, 1, 0, 0);
	middle = segment(&s, 1, 1000, 0);
	segment(&s, 1, 2000, 0);
	r = begin(&d, (struct retention_limits){ .keep_bytes = 1 });
	spared = &middle;
	step(r, 0);
	assert_string_equal(told, "1+0 100 keep-bytes\n1+2000 100 keep-bytes\n");
	/* Once it is not needed any more, it goes. */
	told[0] = '\0';
	spared = NULL;
	step(r, 0);
	assert_string_equal(told, "1+1000 100 keep-bytes\n");
	retention_free(r);

	/* A needed one that is not the oldest of what is over does not make others go. */
	segment(&s, 1, 0, 0);
	segment(&s, 1, 1000, 0);
	r = begin(&d, (struct retention_limits){ .keep_age_us = 1000000 });
	spared = &first;
	step(r, (MS + 1500) * 1000);
	assert_string_equal(told, "");
	retention_free(r);
	scratch_free(&s);
}

static void
many_and_strangers(void **state)
{
	struct scratch s = scratch_new();
	struct segment_dir d = { .fd = s.fd, .path = s.path };
	char file[NAME_SIZE + 8];
	struct retention *r;
	struct name n, last;
	char *list, line[64], *end = told;

	(void)state;
	for (unsigned i = 0; i < 200; i++)
		last = segment(&s, 1, 199 - i, 0);
	r = begin(&d, (struct retention_limits){ .keep_bytes = 50 });
	assert_true(step(r, 0) >= 3); /* some at a time */
	for (unsigned i = 0; i < 200; i++) {
		snprintf(line, sizeof line, "1+%u 100 keep-bytes\n", i);
		assert_memory_equal(end, line, strlen(line));
		end += strlen(line);
	}
	assert_string_equal(end, "");
	list = scratch_list(&s);
	assert_string_equal(list, "");
	free(list);

	/* Many more than are ever kept: what is removed leaves its place to others. */
	retention_free(r);
	r = begin(&d, (struct retention_limits){ .keep_bytes = 250 });
	for (unsigned i = 0; i < 1000; i++) {
		n = segment(&s, 1, i, 0);
		assert_int_equal(retention_add(r, &n), 0);
		step(r, 0);
		told[0] = '\0';
	}
	list = scratch_list(&s);
	assert_string_equal(list,
	    "stream_1_20260131T101500.998Z_s1.eet\nstream_1_20260131T101500.999Z_s1.eet\n");
	free(list);

	/* A stranger was faster: nothing to tell, and nothing that keeps others from going. */
	n.time_ms--;
	name_format(&n, file);
	strcat(file, ".eet");
	assert_int_equal(unlinkat(s.fd, file, 0), 0);
	n = segment(&s, 1, 2000, 0);
	assert_int_equal(retention_add(r, &n), 0);
	told[0] = '\0';
	step(r, 0);
	assert_string_equal(told, "");
	retention_free(r);
	scratch_empty(&s);

	/* What can't be removed is said, and tried again. */
	last = segment(&s, 1, 0, 0);
	name_format(&last, file);
	strcat(file, ".eet");
	r = begin(&d, (struct retention_limits){ .keep_age_us = 1 });
	refusal = EPERM;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(one_step(r, (MS + 1) * 1000), 0);
		wait_for(r);
		failed[0] = '\0';
		assert_int_equal(one_step(r, (MS + 1) * 1000), EPERM);
		assert_non_null(strstr(failed, file));
		assert_true(retention_idle(r));
	}
	refusal = 0;
	step(r, (MS + 1) * 1000);
	retention_free(r);
	scratch_free(&s);
}

/* Whatever the disk does, nobody waits, and no more is chosen than is over a limit. */
static void
slow_disk(void **state)
{
	struct scratch s = scratch_new();
	struct segment_dir d = { .fd = s.fd, .path = s.path };
	struct retention *r;
	struct stat st;
	struct name n;

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		n = segment(&s, 1, i, 0);
	r = begin(&d, (struct retention_limits){ .keep_bytes = 700 });
	pthread_mutex_lock(&disk);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(one_step(r, 0), 0);
	/* What is being removed counts no more. */
	n = segment(&s, 1, 10, 0);
	assert_int_equal(retention_add(r, &n), 0);
	assert_int_equal(one_step(r, 0), 0);
	assert_string_equal(told, "");
	assert_false(retention_idle(r));
	pthread_mutex_unlock(&disk);
	step(r, 0);
	assert_string_equal(told,
	    "1+0 100 keep-bytes\n1+1 100 keep-bytes\n1+2 100 keep-bytes\n1+3 100 keep-bytes\n");
	retention_free(r);

	/* Free is what will be, too: one segment and a part of another are enough. */
	assert_int_equal(fstatat(s.fd, "stream_1_20260131T101500.004Z_s1.eet", &st, 0), 0);
	is_full = true;
	freed = 0;
	r = begin(&d, (struct retention_limits){ .min_free = (uint64_t)st.st_blocks * 512 + 1 });
	pthread_mutex_lock(&disk);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(one_step(r, 0), 0);
	pthread_mutex_unlock(&disk);
	step(r, 0);
	assert_string_equal(told, "1+4 100 min-free\n1+5 100 min-free\n");
	retention_free(r);

	/* While there is to be no more, there is none, and what is under way at the end goes. */
	is_full = false;
	r = begin(&d, (struct retention_limits){ .keep_bytes = 400 });
	assert_int_equal(retention_step(r, 0, false, needed, removed, told, failed), 0);
	assert_true(retention_idle(r));
	assert_int_equal(one_step(r, 0), 0);
	wait_for(r);
	assert_true(retention_free(r));
	assert_string_equal(told, "");
	assert_false(scratch_has(&s, "stream_1_20260131T101500.006Z_s1.eet"));
	assert_true(scratch_has(&s, "stream_1_20260131T101500.007Z_s1.eet"));
	scratch_free(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_bytes),
		cmocka_unit_test(by_age),
		cmocka_unit_test(misdated),
		cmocka_unit_test(by_free_space),
		cmocka_unit_test(not_what_is_needed),
		cmocka_unit_test(many_and_strangers),
		cmocka_unit_test(slow_disk),
	};

	tester = pthread_self();
	lines = memfd_create("index", MFD_CLOEXEC);
	return cmocka_run_group_tests_name("retention", tests, NULL, NULL);
}
