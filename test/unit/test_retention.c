/* retention: the oldest segments go, for each limit, and none that is needed; nobody waits for it. */
#include "retention.h"
#include "scratch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>

#include <cmocka.h>

#define MS    UINT64_C(1769854500000) /* 20260131T101500.000Z */
#define OLD   UINT64_C(600000)        /* 19700101T001000.000Z: a clock that was never set */
#define DAY_S UINT64_C(86400)

static char told[16384];
static int failures; /* told of, and the last of them */
static struct retention_result failure;

/* errno of unlinkat(2); 0: it does what it is told.  Only of this file, if there is one. */
static atomic_int refusal;
static const char *refused;

/* The disk: whoever removes something waits for it. */
static pthread_mutex_t disk = PTHREAD_MUTEX_INITIALIZER;
static pthread_t tester;
static atomic_ullong freed; /* what was unlinked took so much, */
static atomic_uint files;   /* … so many files */
static atomic_bool is_full; /* nothing else is free */
static atomic_bool is_out;  /* … no inodes */
static atomic_uint measured;

/* The clocks; one jumps, the other's time passes, too. */
static atomic_ullong wall_us, boot_skip_us;

int
unlinkat(int fd, const char *file, int flags)
{
	struct stat st;

	if (!pthread_equal(pthread_self(), tester)) {
		pthread_mutex_lock(&disk);
		pthread_mutex_unlock(&disk);
		if (refusal != 0 && (refused == NULL || strcmp(refused, file) == 0)) {
			errno = refusal;
			return -1;
		}
	}
	if (fstatat(fd, file, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		freed += (unsigned long long)st.st_blocks * 512;
		files++;
	}
	return (int)syscall(SYS_unlinkat, fd, file, flags);
}

int
fstatat(int fd, const char *restrict file, struct stat *restrict st, int flags)
{
	measured += strstr(file, ".wav") != NULL && !pthread_equal(pthread_self(), tester);
	return (int)syscall(SYS_newfstatat, fd, file, st, flags);
}

int
fstatvfs(int fd, struct statvfs *o)
{
	int status = statvfs("/proc/self/fd", o);

	(void)fd;
	o->f_frsize = 1;
	o->f_blocks = 1000000;
	o->f_bavail = is_full ? freed : 1000000;
	o->f_files = 100000;
	o->f_favail = is_out ? files : 100000;
	return status;
}

int
clock_gettime(clockid_t id, struct timespec *o)
{
	int status = (int)syscall(SYS_clock_gettime, id, o);

	if (id == CLOCK_REALTIME) {
		o->tv_sec = (time_t)(wall_us / 1000000);
		o->tv_nsec = (long)(wall_us % 1000000 * 1000);
	} else if (id == CLOCK_BOOTTIME) {
		o->tv_sec += (time_t)(boot_skip_us / 1000000);
	}
	return status;
}

/* So much later, by both clocks. */
static void
pass(uint64_t seconds)
{
	wall_us += seconds * 1000000;
	boot_skip_us += seconds * 1000000;
}

static struct scratch place;
static struct segment_dir dir;

static int
set_up(void **state)
{
	(void)state;
	place = scratch_new();
	dir = (struct segment_dir){ .fd = place.fd,
		.path = place.path,
		.mode = 0640,
		.owner = geteuid() };
	wall_us = MS * 1000;
	boot_skip_us = 0;
	refusal = 0;
	refused = NULL;
	is_full = is_out = false;
	freed = 0;
	files = 0;
	told[0] = '\0';
	failures = 0;
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	scratch_free(&place);
	return 0;
}

/* A segment of 100 bytes that began then, and its WAV of so many more. */
static struct name
segment_at(uint32_t session, uint64_t ms, size_t wav)
{
	static const char zeros[1000];
	struct name n = { 1, session, ms, "" };
	char file[NAME_FILE_SIZE];

	name_file(&n, ".wav", file);
	if (wav > 0)
		scratch_write(&place, file, zeros, wav);
	name_file(&n, ".eet", file);
	scratch_write(&place, file, zeros, 100);
	return n;
}

static struct name
segment(uint32_t session, unsigned ms, size_t wav)
{
	return segment_at(session, MS + ms, wav);
}

/* What became of segments: "session+ms bytes limit" of each. */
static void
take(struct retention *r)
{
	struct retention_result o;

	while (retention_take(r, &o)) {
		size_t len = strlen(told);

		if (o.error != 0) {
			failures++;
			failure = o;
		} else {
			snprintf(told + len, sizeof told - len, "%u%+lld %u %s\n",
			    (unsigned)o.name.session,
			    (long long)(o.name.time_ms - (o.name.time_ms < MS / 2 ? OLD : MS)),
			    (unsigned)o.bytes, o.why);
		}
	}
}

static void
wait_for(struct retention *r)
{
	struct pollfd p = { .fd = retention_fd(r), .events = POLLIN };

	assert_int_equal(poll(&p, 1, 300000), 1);
}

/* Until nothing is left to do. */
static void
settle(struct retention *r)
{
	while (take(r), !retention_idle(r))
		wait_for(r);
}

/* … now, which may be later. */
static void
look(struct retention *r)
{
	told[0] = '\0';
	retention_wake(r);
	settle(r);
}

static struct retention *
begin(struct retention_limits l)
{
	struct retention *r = retention_new(&dir, &l);

	assert_non_null(r);
	told[0] = '\0';
	assert_int_equal(retention_start(r), 0);
	return r;
}

static void
complete(struct retention *r, struct name n)
{
	told[0] = '\0';
	assert_int_equal(retention_completed(r, &n), 0);
	settle(r);
}

static void
assert_left(const char *expected)
{
	char *list = scratch_list(&place);

	assert_string_equal(list, expected);
	free(list);
}

static void
by_bytes(void **state)
{
	struct retention *r;

	(void)state;
	segment(2, 500, 200);
	segment(1, 500, 0);
	segment(3, 0, 300);
	/* No segments: one that grows, what is no regular file, and what has another name. */
	scratch_write(&place, "stream_1_20260131T101400.000Z_s1.eet.part", "x", 1);
	scratch_write(&place, "stream_1_20260131T101401.000Z_s9.wav", "alone", 5);
	scratch_write(&place, "index.jsonl", "x", 1);
	scratch_write(&place, "notes.eet", "x", 1);
	assert_int_equal(symlinkat("notes.eet", place.fd, "stream_1_20260131T101401.000Z_s1.eet"),
	    0);
	assert_int_equal(mkdirat(place.fd, "stream_1_20260131T101402.000Z_s1.eet", 0750), 0);
	assert_int_equal(mkdirat(place.fd, "stream_1_20260131T101501.000Z_s1.wav", 0750), 0);
	r = begin((struct retention_limits){ .keep_bytes = 800 });
	settle(r);
	assert_string_equal(told, ""); /* 400 + 100 + 300: just so many */

	complete(r, segment(1, 1000, 0));
	assert_string_equal(told, "3+0 400 keep-bytes\n");
	complete(r, segment(4, 250, 600)); /* completed late: older than others */
	assert_string_equal(told, "4+250 700 keep-bytes\n");
	/* Told of twice, it counts once. */
	complete(r, segment(1, 1000, 0));
	complete(r, segment(5, 2000, 200));
	assert_string_equal(told, "");
	assert_true(retention_free(r));

	/* With the next start, from the directory, the same order; by session where times are equal. */
	r = begin((struct retention_limits){ .keep_bytes = 1 });
	settle(r);
	assert_string_equal(told,
	    "1+500 100 keep-bytes\n2+500 300 keep-bytes\n1+1000 100 keep-bytes\n5+2000 300 keep-bytes\n");
	assert_true(retention_free(r));
	assert_left("index.jsonl\nnotes.eet\nstream_1_20260131T101400.000Z_s1.eet.part\n"
		    "stream_1_20260131T101401.000Z_s1.eet\nstream_1_20260131T101401.000Z_s9.wav\n"
		    "stream_1_20260131T101402.000Z_s1.eet\nstream_1_20260131T101501.000Z_s1.wav\n");
}

/* The original of a log that was damaged counts with it, and goes with it, before it; or alone. */
static void
damaged(void **state)
{
	static const char name[] = "stream_1_20260131T101500.000Z_s1.eet.damaged";
	struct retention *r;

	(void)state;
	segment(1, 0, 200);
	scratch_write(&place, name, told, 1000);
	scratch_write(&place, "stream_1_20260131T101501.000Z_s1.eet.damaged", told, 30);
	segment(1, 2000, 0);
	refused = name;
	refusal = EIO;
	r = begin((struct retention_limits){ .keep_bytes = 1229 });
	settle(r);
	assert_int_equal(failures, 1);
	assert_non_null(strstr(failure.failed, name));
	/* It stays, with its log: another one goes instead, but none for the WAV, which has gone. */
	assert_left(
	    "stream_1_20260131T101500.000Z_s1.eet\nstream_1_20260131T101500.000Z_s1.eet.damaged\n"
	    "stream_1_20260131T101502.000Z_s1.eet\n");
	assert_string_equal(told, "1+1000 30 keep-bytes\n");
	assert_true(retention_free(r));

	refusal = 0;
	r = begin((struct retention_limits){ .keep_bytes = 1099 });
	settle(r);
	assert_string_equal(told, "1+0 1100 keep-bytes\n");
	assert_true(retention_free(r));
}

/* What is completed just now is listed under both its names, and can't be removed before it is told of. */
static void
under_both_names(void **state)
{
	struct retention *r;
	struct name n;

	(void)state;
	n = segment(1, 0, 0);
	scratch_write(&place, "stream_1_20260131T101500.000Z_s1.eet.part", "x", 1);
	segment(1, 1000, 0);
	r = begin((struct retention_limits){ .keep_bytes = 1 });
	settle(r);
	assert_string_equal(told, "1+1000 100 keep-bytes\n");
	complete(r, n);
	assert_string_equal(told, "1+0 100 keep-bytes\n");
	assert_true(retention_free(r));
	assert_left("stream_1_20260131T101500.000Z_s1.eet.part\n");
}

/* What must go all the same is not measured before. */
static void
newest_first(void **state)
{
	struct retention *r;

	(void)state;
	for (unsigned i = 0; i < 200; i++)
		segment(1, i, 0);
	r = begin((struct retention_limits){ .keep_bytes = 1000 });
	settle(r);
	assert_true(retention_free(r));
	assert_true(scratch_has(&place, "stream_1_20260131T101500.190Z_s1.eet"));
	assert_false(scratch_has(&place, "stream_1_20260131T101500.189Z_s1.eet"));
	/* Eleven were measured to know it; each that goes is looked at when chosen, and when removed. */
	assert_true(measured <= 3 * (11 + 2 * 190));
	measured = 0;
	r = begin((struct retention_limits){ .keep_age_us = 86400 * UINT64_C(1000000) });
	settle(r);
	assert_int_equal(measured, 0);
	assert_true(retention_free(r));
}

static void
by_age(void **state)
{
	struct retention *r;

	(void)state;
	segment(1, 0, 10);
	segment(1, 10000, 10);
	segment(1, 20000, 10);
	wall_us = 0; /* a clock that was never set */
	r = begin((struct retention_limits){ .keep_age_us = 30000000 });
	settle(r);
	assert_string_equal(told, "");
	assert_true(retention_free(r));

	wall_us = (MS + 30000) * 1000;
	r = begin((struct retention_limits){ .keep_age_us = 30000000 });
	settle(r);
	assert_string_equal(told, ""); /* the first is just that old */
	pass(1);
	look(r);
	assert_string_equal(told, "1+0 110 keep-age\n");
	/* Set forward, the clock makes nothing older: */
	wall_us += 3600 * UINT64_C(1000000);
	look(r);
	assert_string_equal(told, "");
	/* time does. */
	pass(10);
	look(r);
	assert_string_equal(told, "1+10000 110 keep-age\n");
	assert_true(retention_free(r));
}

/* A clock that is set while it runs, from before recorders were made, is believed. */
static void
set_at_last(void **state)
{
	struct retention *r;

	(void)state;
	segment(1, 0, 10);
	segment(1, 10000, 10);
	wall_us = OLD * 1000;
	r = begin((struct retention_limits){ .keep_age_us = 3000000 });
	settle(r);
	assert_string_equal(told, "");
	wall_us = (MS + 4000) * 1000;
	look(r);
	assert_string_equal(told, "1+0 110 keep-age\n");
	/* Once. */
	wall_us = (MS + 3600000) * 1000;
	look(r);
	assert_string_equal(told, "");
	pass(60);
	look(r);
	assert_string_equal(told, "1+10000 110 keep-age\n");
	assert_true(retention_free(r));
}

/* What is dated more than a day in the future goes first, but only after a day, and none of this run's. */
static void
misdated(void **state)
{
	const unsigned day = DAY_S * 1000;
	struct retention *r;

	(void)state;
	segment(1, 0, 0);
	segment(1, 9000, 0);
	segment(2, 3 * day, 0);
	segment(2, 3 * day + 1, 0);
	wall_us = (MS + 10000) * 1000;
	r = begin((struct retention_limits){ .keep_bytes = 400 });
	retention_sessions(r, 3, 3);
	settle(r);
	complete(r, segment(3, 9500, 0));
	assert_string_equal(told, "1+0 100 keep-bytes\n");
	/* Not yet a day. */
	pass(DAY_S - 60);
	complete(r, segment(3, 9600, 0));
	assert_string_equal(told, "1+9000 100 keep-bytes\n");
	/* Of this run, from a log whose writer's clock was ahead. */
	pass(120);
	complete(r, segment(3, 20 * day, 0));
	assert_string_equal(told, "2+259200000 100 keep-bytes\n");
	/* Now less than a day in the future: it has the place that its name gives it. */
	pass(DAY_S);
	complete(r, segment(3, 9700, 0));
	assert_string_equal(told, "3+9500 100 keep-bytes\n");
	assert_true(retention_free(r));
	assert_true(scratch_has(&place, "stream_1_20260203T101500.001Z_s2.eet"));

	/* Age finds those after the misdated. */
	scratch_empty(&place);
	segment(1, 0, 0);
	segment(2, 9 * day, 0);
	wall_us = (MS + 1000) * 1000;
	r = begin((struct retention_limits){ .keep_age_us = 2 * DAY_S * 1000000 });
	retention_sessions(r, 3, 3);
	pass(2 * DAY_S);
	look(r);
	assert_string_equal(told, "1+0 100 keep-age\n");
	assert_true(retention_free(r));
}

static void
assert_seen(const char *expected)
{
	struct bytes b = scratch_read(&place, ".seen");

	assert_int_equal(b.len, strlen(expected));
	assert_memory_equal(b.p, expected, b.len);
	bytes_free(&b);
}

/* What was recorded before the clock was set ages since it was first there under a right one. */
static void
undated(void **state)
{
	const struct retention_limits day = { .keep_age_us = DAY_S * 1000000 };
	struct retention *r;

	(void)state;
	segment_at(1, OLD, 0);
	segment_at(2, OLD + 1, 0);
	segment(2, 0, 0);
	/* Under a clock that is not set, nothing is known. */
	wall_us = OLD * 2000;
	r = begin(day);
	retention_sessions(r, 3, 3);
	settle(r);
	assert_true(retention_free(r));
	assert_false(scratch_has(&place, ".seen"));

	wall_us = (MS + 1000) * 1000;
	r = begin(day);
	retention_sessions(r, 3, 3);
	settle(r);
	assert_string_equal(told, "");
	assert_seen("3 1769854501\n");
	/* This run's own, of a session that goes on: since it was completed, and in a line once it ends. */
	pass(DAY_S / 2);
	retention_sessions(r, 3, 3);
	complete(r, segment_at(3, OLD + 2, 0));
	assert_seen("3 1769854501\n");
	retention_sessions(r, 3, 4);
	settle(r);
	assert_seen("3 1769854501\n4 1769897701\n");
	pass(DAY_S / 2 + 1);
	look(r);
	assert_string_equal(told, "1+0 100 keep-age\n2+1 100 keep-age\n2+0 100 keep-age\n");
	assert_true(retention_free(r));

	/* The next run knows; where all are covered, no line is added. */
	pass(DAY_S / 2 - 10);
	r = begin(day);
	retention_sessions(r, 5, 5);
	settle(r);
	assert_string_equal(told, "");
	assert_true(retention_free(r));
	pass(10);
	r = begin(day);
	retention_sessions(r, 5, 5);
	settle(r);
	assert_string_equal(told, "3+2 100 keep-age\n");
	assert_seen("3 1769854501\n4 1769897701\n");
	assert_true(retention_free(r));
}

/* Those age as their sessions do, whatever their names say of each other. */
static void
undated_in_another_order(void **state)
{
	static const char lines[] = "2 1769681700\n"; /* two days ago */
	struct retention *r;

	(void)state;
	segment_at(5, OLD, 0);
	segment_at(1, OLD + 1, 0);
	segment_at(6, OLD + 2, 0);
	scratch_write(&place, ".seen", lines, strlen(lines));
	r = begin((struct retention_limits){ .keep_age_us = DAY_S * 1000000 });
	settle(r);
	assert_string_equal(told, "1+1 100 keep-age\n");
	assert_true(retention_free(r));
}

/* By bytes, and for space, it has the place that its name gives it. */
static void
undated_by_bytes(void **state)
{
	struct retention *r;

	(void)state;
	segment_at(7, OLD, 0);
	segment(1, 0, 0);
	r = begin((struct retention_limits){ .keep_bytes = 100, .keep_age_us = DAY_S * 1000000 });
	settle(r);
	assert_string_equal(told, "7+0 100 keep-bytes\n");
	assert_true(retention_free(r));
}

/* While it runs, a clock is set: what it has recorded before ages from then on. */
static void
undated_meanwhile(void **state)
{
	struct retention *r;

	(void)state;
	wall_us = OLD * 1000;
	r = begin((struct retention_limits){ .keep_age_us = DAY_S * 1000000 });
	retention_sessions(r, 1, 2);
	complete(r, segment_at(1, OLD, 0));
	pass(2 * DAY_S);
	look(r);
	assert_string_equal(told, "");
	assert_false(scratch_has(&place, ".seen"));
	wall_us = MS * 1000;
	look(r);
	assert_seen("2 1769854500\n");
	pass(DAY_S);
	look(r);
	assert_string_equal(told, "");
	pass(1);
	look(r);
	assert_string_equal(told, "1+0 100 keep-age\n");
	assert_true(retention_free(r));
}

/* A line that can't be had: this run remembers all the same, and says why. */
static void
unwritable(void **state)
{
	struct retention *r;

	(void)state;
	segment_at(1, OLD, 0);
	assert_int_equal(mkdirat(place.fd, ".seen", 0700), 0);
	r = begin((struct retention_limits){ .keep_age_us = 1000000 });
	retention_sessions(r, 2, 2);
	settle(r);
	pass(2);
	look(r);
	assert_string_equal(told, "");
	assert_int_equal(failures, 1);
	assert_non_null(strstr(failure.failed, "/.seen"));
	/* Mended meanwhile. */
	assert_int_equal(unlinkat(place.fd, ".seen", AT_REMOVEDIR), 0);
	pass(2);
	look(r);
	assert_seen("2 1769854504\n");
	assert_true(retention_free(r));
}

static void
by_free_space(void **state)
{
	struct retention *r;
	struct stat st;

	(void)state;
	segment(1, 0, 0);
	r = begin((struct retention_limits){ .min_free = 1000000 });
	settle(r);
	assert_string_equal(told, "");
	is_full = true;
	look(r);
	assert_string_equal(told, "1+0 100 min-free\n");
	assert_true(retention_free(r));

	/* Free is what will be, too: one segment and a part of another are enough. */
	for (unsigned i = 0; i < 10; i++)
		segment(1, i, 0);
	assert_int_equal(fstatat(place.fd, "stream_1_20260131T101500.004Z_s1.eet", &st, 0), 0);
	freed = 0;
	pthread_mutex_lock(&disk);
	r = begin((struct retention_limits){ .min_free = (uint64_t)st.st_blocks * 512 + 1 });
	retention_wake(r);
	pthread_mutex_unlock(&disk);
	settle(r);
	assert_string_equal(told, "1+0 100 min-free\n1+1 100 min-free\n");
	assert_true(retention_free(r));
}

static void
by_inodes(void **state)
{
	const struct statvfs fs = { .f_frsize = 4096, .f_blocks = 1000, .f_files = 4000 };
	struct retention *r;

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		segment(1, i, i % 2 * 100);
	is_out = true;
	/* A millionth of the disk: of inodes, 8 at least. */
	r = begin((struct retention_limits){ .min_free = 1 });
	settle(r);
	assert_string_equal(told,
	    "1+0 100 min-free\n1+1 200 min-free\n1+2 100 min-free\n1+3 200 min-free\n"
	    "1+4 100 min-free\n1+5 200 min-free\n");
	assert_true(retention_free(r));

	assert_int_equal(retention_inodes(&fs, 0), 0);
	assert_int_equal(retention_inodes(&fs, 1), 8);
	assert_int_equal(retention_inodes(&fs, 409600), 400);
	assert_int_equal(retention_inodes(&fs, UINT64_MAX), 1000);
	/* FAT and Btrfs count none. */
	assert_int_equal(
	    retention_inodes(&(struct statvfs){ .f_frsize = 4096, .f_blocks = 1000 }, 409600), 0);
}

static void
held(void **state)
{
	const struct retention_limits least = { .keep_bytes = 1 };
	struct name middle, first, n;
	struct retention *r;

	(void)state;
	first = segment(1, 0, 0);
	middle = segment(1, 1000, 0);
	segment(1, 2000, 0);
	r = retention_new(&dir, &least);
	assert_non_null(r);
	assert_int_equal(retention_hold(r, &middle), 0);
	assert_int_equal(retention_hold(r, &middle), 0);
	assert_int_equal(retention_start(r), 0);
	settle(r);
	assert_string_equal(told, "1+0 100 keep-bytes\n1+2000 100 keep-bytes\n");
	n = segment(1, 3000, 0);
	assert_int_equal(retention_hold(r, &n), 0);
	complete(r, n);
	assert_string_equal(told, "");
	/* Once it is not needed any more, it goes. */
	retention_release(r, &middle);
	settle(r);
	assert_string_equal(told, "1+1000 100 keep-bytes\n");
	assert_true(retention_free(r));

	/* A held one that is the oldest of what is over does not make others go. */
	scratch_empty(&place);
	segment(1, 0, 0);
	segment(1, 1000, 0);
	wall_us = (MS + 1500) * 1000;
	r = retention_new(&dir, &(struct retention_limits){ .keep_age_us = 1000000 });
	assert_non_null(r);
	assert_int_equal(retention_hold(r, &first), 0);
	told[0] = '\0';
	assert_int_equal(retention_start(r), 0);
	settle(r);
	assert_string_equal(told, "");
	assert_true(retention_free(r));
}

/* What is not measured, because it was over the limit anyway, counts once it matters. */
static void
held_and_not_measured(void **state)
{
	const struct retention_limits some = { .keep_bytes = 250 };
	struct retention *r = retention_new(&dir, &some);
	struct name n[4];

	(void)state;
	assert_non_null(r);
	for (unsigned i = 0; i < 4; i++) {
		n[i] = segment(1, 1000 + i, 0);
		assert_int_equal(retention_hold(r, &n[i]), 0);
	}
	assert_int_equal(retention_start(r), 0);
	settle(r);
	complete(r, segment(1, 0, 0)); /* older than all */
	assert_string_equal(told, "1+0 100 keep-bytes\n");
	for (unsigned i = 1; i < 3; i++) {
		told[0] = '\0';
		retention_release(r, &n[i]);
		settle(r);
		assert_string_equal(told,
		    i == 1 ? "1+1001 100 keep-bytes\n" : "1+1002 100 keep-bytes\n");
	}
	assert_true(retention_free(r));
}

static void
many_and_strangers(void **state)
{
	char file[NAME_FILE_SIZE], line[64], *end = told;
	struct retention *r;
	struct name n;

	(void)state;
	for (unsigned i = 0; i < 200; i++)
		segment(1, 199 - i, 0);
	r = begin((struct retention_limits){ .keep_bytes = 50 });
	settle(r);
	for (unsigned i = 0; i < 200; i++) {
		snprintf(line, sizeof line, "1+%u 100 keep-bytes\n", i);
		assert_memory_equal(end, line, strlen(line));
		end += strlen(line);
	}
	assert_string_equal(end, "");
	assert_left("");
	assert_true(retention_free(r));

	/* Many more than are ever kept: what is removed leaves its place to others. */
	r = begin((struct retention_limits){ .keep_bytes = 250 });
	for (unsigned i = 0; i < 1000; i++) {
		n = segment(1, i, 0);
		complete(r, n);
	}
	assert_left("stream_1_20260131T101500.998Z_s1.eet\nstream_1_20260131T101500.999Z_s1.eet\n");

	/* A stranger was faster: nothing to tell, and nothing that keeps others from going. */
	n.time_ms--;
	name_file(&n, ".eet", file);
	assert_int_equal(unlinkat(place.fd, file, 0), 0);
	complete(r, segment(1, 2000, 0));
	assert_string_equal(told, "");
	complete(r, segment(1, 3000, 0));
	assert_string_equal(told, "1+999 100 keep-bytes\n");
	assert_true(retention_free(r));
}

/* What can't be removed is told once for each reason, and tried again; the others go. */
static void
refusals(void **state)
{
	static const char first[] = "stream_1_20260131T101500.000Z_s1.eet";
	struct retention *r;

	(void)state;
	segment(1, 0, 0);
	segment(1, 1, 0);
	wall_us += 10000000;
	refused = first;
	refusal = EPERM;
	r = begin((struct retention_limits){ .keep_age_us = 1 });
	settle(r);
	assert_string_equal(told, "1+1 100 keep-age\n");
	assert_int_equal(failures, 1);
	assert_int_equal(failure.error, EPERM);
	assert_non_null(strstr(failure.failed, first));
	pass(1);
	look(r);
	assert_int_equal(failures, 1);
	refusal = EIO;
	pass(1);
	look(r);
	assert_int_equal(failures, 2);
	assert_int_equal(failure.error, EIO);
	refusal = 0;
	pass(1);
	look(r);
	assert_string_equal(told, "1+0 100 keep-age\n");
	assert_int_equal(failures, 2);
	assert_true(retention_free(r));

	/* It counts as long as it stays. */
	segment(1, 0, 0);
	segment(1, 1, 0);
	segment(1, 2, 0);
	refusal = EPERM;
	r = begin((struct retention_limits){ .keep_bytes = 250 });
	settle(r);
	assert_string_equal(told, "1+1 100 keep-bytes\n");
	refusal = 0;
	pass(1);
	look(r);
	assert_string_equal(told, "");
	assert_true(retention_free(r));
}

/* Whatever the disk does, nobody waits, and no more is chosen than is over a limit. */
static void
slow_disk(void **state)
{
	struct retention *r;
	struct name n;

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		segment(1, i, 0);
	pthread_mutex_lock(&disk);
	r = begin((struct retention_limits){ .keep_bytes = 700 });
	/* What is being removed counts no more. */
	n = segment(1, 10, 0);
	assert_int_equal(retention_completed(r, &n), 0);
	take(r);
	assert_string_equal(told, "");
	assert_false(retention_idle(r));
	pthread_mutex_unlock(&disk);
	settle(r);
	assert_string_equal(told,
	    "1+0 100 keep-bytes\n1+1 100 keep-bytes\n1+2 100 keep-bytes\n1+3 100 keep-bytes\n");
	assert_true(retention_free(r));
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(by_bytes),
		TEST(damaged),
		TEST(under_both_names),
		TEST(newest_first),
		TEST(by_age),
		TEST(set_at_last),
		TEST(misdated),
		TEST(undated),
		TEST(undated_in_another_order),
		TEST(undated_by_bytes),
		TEST(undated_meanwhile),
		TEST(unwritable),
		TEST(by_free_space),
		TEST(by_inodes),
		TEST(held),
		TEST(held_and_not_measured),
		TEST(many_and_strangers),
		TEST(refusals),
		TEST(slow_disk),
	};

	tester = pthread_self();
	return cmocka_run_group_tests_name("retention", tests, NULL, NULL);
}
