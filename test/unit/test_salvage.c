/*
 * salvage: whatever a killed writer, a full or a failing disk leaves, the next one completes.
 *
 * The calls that change a directory go through this file on their way to the system, so that a
 * child process can be killed, or a call be refused, at each of them in turn.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

#include <cmocka.h>

#include "scratch.h"
#include "index.h"
#include "segment.h"
#include "spool.h"

/*
 * ---- Calls to the system ----
 */

static atomic_long calls_left = -1; /* so many succeed; -1: all */
static atomic_int refusal;          /* errno of the one after them; 0: it kills */
static atomic_bool refused;
static bool no_links;

/*
 * End a child, with all its threads and without another word: checkers that look a process over
 * when it exits would find everything that a kill leaves behind.
 */
static void
leave(bool completed)
{
	const char *program = completed ? "/bin/true" : "/bin/false";

	execl(program, program, (char *)NULL);
	abort();
}

/* True when this call is to fail; errno is set.  Before a kill, half of what it writes is written. */
static bool
refuse(int fd, const void *buf, size_t len)
{
	long left = atomic_load(&calls_left);

	if (left < 0)
		return false;
	left = atomic_fetch_sub(&calls_left, 1);
	if (left > 0)
		return false;
	if (atomic_load(&refusal) == 0) {
		if (len > 1)
			syscall(SYS_write, fd, buf, len / 2);
		leave(false);
	}
	if (atomic_exchange(&refused, true))
		return false;
	errno = atomic_load(&refusal);
	return true;
}

/*
 * Nothing here is to outlive the machine, so nothing is flushed.  A flush that fails is never mended:
 * it is not where a disk is full.
 */
static int
flush(int fd)
{
	return atomic_load(&refusal) != ENOSPC && refuse(fd, NULL, 0) ? -1 : 0;
}

int
fsync(int fd)
{
	return flush(fd);
}

int
fdatasync(int fd)
{
	return flush(fd);
}

int
ftruncate(int fd, off_t size)
{
	return refuse(fd, NULL, 0) ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}

ssize_t
write(int fd, const void *buf, size_t len)
{
	/* An eventfd is no file. */
	if (len > sizeof(uint64_t) && refuse(fd, buf, len))
		return -1;
	return syscall(SYS_write, fd, buf, len);
}

ssize_t
writev(int fd, const struct iovec *iov, int n)
{
	if (refuse(fd, iov[0].iov_base, iov[0].iov_len))
		return -1;
	return syscall(SYS_writev, fd, iov, n);
}

int
linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	if (refuse(from_fd, NULL, 0))
		return -1;
	if (no_links) {
		errno = EPERM;
		return -1;
	}
	return (int)syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
}

ssize_t
pwrite(int fd, const void *buf, size_t len, off_t at)
{
	return refuse(-1, NULL, 0) ? -1 : syscall(SYS_pwrite64, fd, buf, len, at);
}

int
renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	return refuse(from_fd, NULL, 0) ? -1
					: (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, 0);
}

int
renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	if (refuse(from_fd, NULL, 0))
		return -1;
	return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
}

int
unlinkat(int fd, const char *file, int flags)
{
	return refuse(fd, NULL, 0) ? -1 : (int)syscall(SYS_unlinkat, fd, file, flags);
}

int
openat(int fd, const char *file, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	if ((flags & O_CREAT) != 0) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
		if (refuse(fd, NULL, 0))
			return -1;
	}
	return (int)syscall(SYS_openat, fd, file, flags, mode);
}

/* A second's wait before something is tried again is over at once. */
int
pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until)
{
	(void)cond;
	(void)until;
	pthread_mutex_unlock(mutex);
	sched_yield();
	pthread_mutex_lock(mutex);
	return ETIMEDOUT;
}

/*
 * ---- What is recorded ----
 */

#define T0 UINT64_C(1769854500000000)
#define S  UINT64_C(1000000)

static const struct wire_handshake mono = { 7, 8000, 1, WIRE_PCM16, 4, 0, 0 };
static const struct wire_handshake coded = { 8, 8000, 1, WIRE_ADPCM, 8, 0, 0 };

enum { PIECES = 64 };

static struct scratch place;
static struct spool_options options;
static unsigned long reported;
static struct bytes input;         /* a mux log */
static size_t piece[PIECES];       /* where it is read in pieces: their ends */
static uint64_t frames[PIECES][2]; /* frames of both sessions up to there */
static size_t pieces;
static struct bytes sent[2]; /* by session: handshake and frames */

static void
end_of_piece(uint64_t first, uint64_t second)
{
	piece[pieces] = input.len;
	frames[pieces][0] = first;
	frames[pieces][1] = second;
	pieces++;
}

/* Two sessions, segments that end by time, size and ROTATE, gaps in and between them. */
static int
make_input(void **state)
{
	uint32_t first = 0, second = 0, seq = 0;

	(void)state;
	put_open(&input, 1, T0, &mono, "tag=a\npeer=p\n");
	put_open(&input, 2, T0, &coded, "");
	put_handshake(&sent[0], &mono);
	put_handshake(&sent[1], &coded);
	for (uint32_t i = 0; i < 30; i++) {
		const uint64_t t = T0 + i * S / 4;

		seq += i % 9 == 8 ? 3 : 1;
		put_mux_frame(&input, 1, t, WIRE_PCM16, seq, 8);
		put_frame(&sent[0], WIRE_PCM16, seq, 8);
		first++;
		if (i % 2 == 0) {
			put_mux_frame(&input, 2, t, WIRE_ADPCM, i, 8);
			put_frame(&sent[1], WIRE_ADPCM, i, 8);
			second++;
		}
		if (i == 18)
			put_empty(&input, LOG_KIND_ROTATE, t);
		if (i % 3 == 2)
			end_of_piece(first, second);
	}
	put_close(&input, 2, T0 + 8 * S, 1000, "");
	end_of_piece(first, second);
	put_close(&input, 1, T0 + 9 * S, 1000, "");
	end_of_piece(first, second);
	return 0;
}

static int
free_input(void **state)
{
	(void)state;
	bytes_free(&input);
	bytes_free(&sent[0]);
	bytes_free(&sent[1]);
	return 0;
}

static void
report(void *arg, const struct spool_report *r)
{
	(void)arg;
	assert_true(r->line != NULL || r->text != NULL);
	reported++;
}

static int
set_up(void **state)
{
	(void)state;
	place = scratch_new();
	spool_defaults(&options);
	options.period_us = S;
	options.report = report;
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	scratch_free(&place);
	return 0;
}

/* Something was refused: for want of space it is to be tried again. */
static bool
again(struct spool *sp)
{
	if (errno != ENOSPC && errno != EAGAIN)
		return false;
	return spool_reap(sp) != -1 || errno == ENOSPC;
}

/*
 * Record the input into the directory, to the end if nothing prevents it.  *doneo: how many pieces
 * the spool has said that the kernel has.  False: the spool said that it can't go on.
 */
static bool
record(atomic_size_t *doneo)
{
	char text[SPOOL_TEXT];
	struct spool *sp = spool_open(place.path, &options, text);
	struct log_reader *r;
	struct log_record rec;
	size_t from = 0;
	bool ok = true;
	int n;

	if (sp == NULL) {
		assert_true(text[0] == '/');
		return false;
	}
	r = log_new(-1, NULL);
	for (size_t i = 0; ok && i < pieces; i++) {
		log_window(r, input.p + from, piece[i] - from);
		from = piece[i];
		while (ok && log_next(r, &rec) != LOG_MORE)
			while (ok && spool_put(sp, &rec) == -1)
				ok = again(sp);
		while (ok && spool_flush(sp) == -1)
			ok = again(sp);
		if (ok)
			atomic_store(doneo, i + 1);
		if (ok && spool_reap(sp) == -1)
			ok = again(sp);
	}
	while (ok && (n = spool_reap(sp)) != 1) {
		ok = n == 0 || errno == ENOSPC;
		if (ok)
			poll(&(struct pollfd){ .fd = spool_fd(sp), .events = POLLIN }, 1, 300000);
	}
	if (!ok)
		assert_true(spool_failure(sp)[0] == '/');
	spool_close(sp);
	log_free(r);
	return ok;
}

/* Open the spool, wait until all that is left over is completed, and close it. */
static void
recover(void)
{
	char text[SPOOL_TEXT];
	struct spool *sp = spool_open(place.path, &options, text);

	if (sp == NULL)
		fail_msg("%s: %s", text, strerror(errno));
	while (spool_reap(sp) == 0)
		poll(&(struct pollfd){ .fd = spool_fd(sp), .events = POLLIN }, 1, 20000);
	assert_int_equal(spool_reap(sp), 1);
	spool_close(sp);
}

/* recover(), which may fail. */
static void
try_to_recover(void)
{
	char text[SPOOL_TEXT];
	struct spool *sp = spool_open(place.path, &options, text);
	int n;

	if (sp == NULL)
		return;
	while ((n = spool_reap(sp)) != 1 && (n == 0 || errno == ENOSPC))
		poll(&(struct pollfd){ .fd = spool_fd(sp), .events = POLLIN }, 1, 20000);
	spool_close(sp);
}

/*
 * ---- What must be true afterwards ----
 */

/* Everything in the directory, names and contents, as one text. */
static struct bytes
all_of(const struct scratch *s)
{
	struct dirent **names;
	struct bytes all = { 0 };
	int n = scratch_names(s, &names);

	for (int i = 0; i < n; i++) {
		struct bytes b = scratch_read(s, names[i]->d_name);

		bytes_add(&all, names[i]->d_name, strlen(names[i]->d_name) + 1);
		bytes_add(&all, b.p, b.len);
		bytes_free(&b);
		free(names[i]);
	}
	free(names);
	return all;
}

/* The WAV is what its log makes it. */
static void
assert_wav_of(const char *eet)
{
	const struct segment_dir dir = { .fd = place.fd, .path = place.path };
	int in = openat(place.fd, eet, O_RDONLY | O_CLOEXEC);
	int out = memfd_create("wav", MFD_CLOEXEC);
	struct render_facts facts;
	struct bytes wav;
	char file[NAME_MAX + 1];
	uint8_t *made;
	off_t len;

	assert_int_equal(render_log(in, out, dir.layout_given ? &dir.layout : NULL, &facts), 0);
	assert_true(facts.has_frames);
	assert_int_equal(facts.damaged, 0);
	len = lseek(out, 0, SEEK_END);
	made = mmap(NULL, (size_t)len, PROT_READ, MAP_PRIVATE, out, 0);
	snprintf(file, sizeof file, "%.*s.wav", (int)strlen(eet) - 4, eet);
	wav = scratch_read(&place, file);
	assert_int_equal(wav.len, len);
	assert_memory_equal(wav.p, made, wav.len);
	bytes_free(&wav);
	munmap(made, (size_t)len);
	close(in);
	close(out);
}

/* The index as a string. */
static char *
read_index(void)
{
	struct bytes index = scratch_read(&place, INDEX_FILE);

	bytes_add(&index, "", 1);
	return (char *)index.p;
}

/* How often a segment is in the index without an error. */
static int
lines_of(const char *index, const char *eet)
{
	char text[300];
	int n = 0;

	snprintf(text, sizeof text, "{\"event\":\"segment\",\"eet\":\"%s\",", eet);
	for (const char *p = index; (p = strstr(p, text)) != NULL; p++) {
		const char *error = strstr(p, "\"error\":");

		assert_true(p == index || p[-1] == '\n');
		assert_non_null(error);
		n += strncmp(error, "\"error\":null", 12) == 0;
	}
	return n;
}

/* A number in the line of a segment. */
static long
number_of(const char *index, const char *eet, const char *key)
{
	char text[300];
	const char *p;

	snprintf(text, sizeof text, "\"eet\":\"%s\"", eet);
	p = strstr(index, text);
	if (p == NULL)
		return -1;
	snprintf(text, sizeof text, "\"%s\":", key);
	p = strstr(p, text);
	assert_non_null(p);
	return strtol(p + strlen(text), NULL, 10);
}

static char *whole_index; /* of a recording that nothing disturbed */

/*
 * All segments are complete and listed once, and hold the first frames of each session: at least
 * those of so many pieces.
 */
static void
assert_complete(size_t done)
{
	struct dirent **names;
	struct bytes joined[2] = { { 0 } };
	char *index = read_index();
	int n = scratch_names(&place, &names);

	assert_true(index[0] == '\0' || index[strlen(index) - 1] == '\n');
	for (int i = 0; i < n; i++) {
		const char *file = names[i]->d_name;
		size_t stem;

		switch (name_suffix(file, &stem)) {
		case NAME_EET: {
			struct bytes b = scratch_read(&place, file), *all;
			struct name name;

			assert_int_equal(lines_of(index, file), 1);
			assert_wav_of(file);
			assert_true(name_parse(file, stem, &name));
			assert_true(name.session == 1 || name.session == 2);
			all = &joined[name.session == 2];
			assert_memory_equal(b.p, sent[name.session == 2].p, WIRE_HANDSHAKE_SIZE);
			bytes_add(all, b.p + (all->len > 0 ? WIRE_HANDSHAKE_SIZE : 0),
			    b.len - (all->len > 0 ? WIRE_HANDSHAKE_SIZE : 0));
			bytes_free(&b);
			break;
		}
		case NAME_WAV: break;
		default: assert_true(strcmp(file, INDEX_FILE) == 0 || strcmp(file, ".next") == 0);
		}
		free(names[i]);
	}
	free(names);
	for (int s = 0; s < 2; s++) {
		/* Frames of session 1 have 20 bytes, those of session 2 too. */
		const uint64_t least = done > 0 ? frames[done - 1][s] : 0;

		assert_true(joined[s].len <= sent[s].len);
		if (joined[s].len > 0)
			assert_memory_equal(joined[s].p, sent[s].p, joined[s].len);
		assert_true(joined[s].len >= (least > 0 ? 32 + 20 * least : 0));
		bytes_free(&joined[s]);
	}
	free(index);
}

/* Once more, and there is nothing to be done or said. */
static void
assert_settled(void)
{
	struct bytes before = all_of(&place), after;

	reported = 0;
	recover();
	assert_int_equal(reported, 0);
	after = all_of(&place);
	assert_int_equal(after.len, before.len);
	assert_memory_equal(after.p, before.p, before.len);
	bytes_free(&before);
	bytes_free(&after);
}

/*
 * ---- Killed, refused ----
 */

/* Do something in a child that is killed after so many calls.  True: it was. */
static bool
killed_after(long calls, bool recovering, atomic_size_t *done)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	assert_true(pid != -1);
	if (pid == 0) {
		atomic_store(&refusal, 0);
		atomic_store(&calls_left, calls);
		if (recovering)
			recover();
		else
			record(done);
		leave(true);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status) != 0;
}

/* Not all cases can be tried under valgrind, nor where there are several times as many calls. */
static long
stride(void)
{
	return (RUNNING_ON_VALGRIND ? 23 : 1) * (no_links ? 5 : 1);
}

static atomic_size_t *
shared(void)
{
	void *p = mmap(NULL, sizeof(atomic_size_t), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

/* Nothing disturbs: what all others are compared with. */
static void
undisturbed(void **state)
{
	atomic_size_t done = 0;

	(void)state;
	assert_true(record(&done));
	assert_int_equal(done, pieces);
	free(whole_index);
	whole_index = read_index();
	assert_complete(done);
	assert_settled();
	assert_non_null(strstr(whole_index, "\"gap_before\":2"));
}

static void
killed_anywhere(void **state)
{
	atomic_size_t *done = shared();
	long calls = 0;

	(void)state;
	while (atomic_store(done, 0), killed_after(calls, false, done)) {
		recover();
		assert_complete(*done);
		assert_settled();
		scratch_empty(&place);
		calls += stride();
	}
	assert_int_equal(*done, pieces);
	assert_true(calls > 100);
	munmap(done, sizeof *done);
}

/* Recovery is killed after one call, the next one after two, and so on. */
static void
recovery_killed(void **state)
{
	atomic_size_t *done = shared();

	(void)state;
	for (long calls = 3;; calls += 23 * stride()) {
		bool killed;

		atomic_store(done, 0);
		killed = killed_after(calls, false, done);
		for (long i = 0; killed_after(i, true, NULL); i += stride())
			;
		assert_complete(*done);
		assert_settled();
		scratch_empty(&place);
		if (!killed)
			break;
	}
	munmap(done, sizeof *done);
}

/* One call says EIO: the spool goes on if it can, or says so; the next start does the rest. */
static void
input_output_error(void **state)
{
	(void)state;
	for (long calls = 0;; calls += stride()) {
		atomic_size_t done = 0;
		bool ok;

		atomic_store(&refusal, EIO);
		atomic_store(&refused, false);
		atomic_store(&calls_left, calls);
		ok = record(&done);
		atomic_store(&calls_left, -1);
		if (!atomic_load(&refused)) {
			assert_true(ok);
			break;
		}
		if (ok)
			assert_int_equal(done, pieces);
		recover();
		assert_complete(done);
		assert_settled();
		scratch_empty(&place);
	}
}

/* One call says that the disk is full: nobody sees anything of it afterwards. */
static void
disk_full_once(void **state)
{
	struct bytes whole = { 0 }, after;
	atomic_size_t done = 0;

	(void)state;
	assert_true(record(&done));
	whole = all_of(&place);
	for (long calls = 0;; calls += stride()) {
		bool ok;

		scratch_empty(&place);
		atomic_store(&refusal, ENOSPC);
		atomic_store(&refused, false);
		atomic_store(&calls_left, calls);
		ok = record(&done);
		atomic_store(&calls_left, -1);
		if (!ok) {
			/* That was the index itself. */
			assert_true(calls < 3);
			continue;
		}
		after = all_of(&place);
		assert_int_equal(after.len, whole.len);
		assert_memory_equal(after.p, whole.p, whole.len);
		bytes_free(&after);
		if (!atomic_load(&refused))
			break;
	}
	bytes_free(&whole);
}

/*
 * ---- What else may lie there ----
 */

#define NAME "stream_7_a_20260131T101500.000Z_s1"

/* A .part that is cut at every byte of its last frame. */
static void
cut_anywhere(void **state)
{
	const size_t whole = WIRE_HANDSHAKE_SIZE + 3 * 20;

	(void)state;
	for (size_t len = 0; len <= whole; len++) {
		const size_t left = len < 32 + 20 ? 0 : len - (len - 32) % 20;
		struct bytes b;

		scratch_write(&place, NAME ".eet.part", sent[0].p, len);
		recover();
		assert_false(scratch_has(&place, NAME ".eet.part"));
		assert_false(scratch_has(&place, NAME ".wav.part"));
		assert_true(scratch_has(&place, NAME ".eet") == (left > 0));
		assert_true(scratch_has(&place, NAME ".wav") == (left > 0));
		if (left > 0) {
			char *index = read_index();

			b = scratch_read(&place, NAME ".eet");
			assert_int_equal(b.len, left);
			assert_memory_equal(b.p, sent[0].p, left);
			bytes_free(&b);
			assert_wav_of(NAME ".eet");
			assert_int_equal(number_of(index, NAME ".eet", "frames"), (left - 32) / 20);
			free(index);
		}
		assert_settled();
		scratch_empty(&place);
	}
}

/* Bytes of the last frame that never reached the disk. */
static void
zeros_at_the_end(void **state)
{
	static const uint8_t zeros[4096];
	struct bytes b = { 0 };

	(void)state;
	bytes_add(&b, sent[0].p, 32 + 20 + 2);
	bytes_add(&b, zeros, sizeof zeros);
	scratch_write(&place, NAME ".eet.part", b.p, b.len);
	scratch_write(&place, "stream_7_20260131T101500.000Z_s2.eet.part", zeros, sizeof zeros);
	recover();
	bytes_free(&b);
	b = scratch_read(&place, NAME ".eet");
	assert_int_equal(b.len, 52);
	bytes_free(&b);
	assert_false(scratch_has(&place, "stream_7_20260131T101500.000Z_s2.eet.part"));
	assert_settled();
}

/* A recovered line knows what the name and the frames say, and no more. */
static void
recovered_line(void **state)
{
	char *index;

	(void)state;
	scratch_write(&place, NAME ".eet.part", sent[0].p, 32 + 2 * 20);
	recover();
	index = read_index();
	assert_int_equal(strncmp(index,
			     "{\"event\":\"segment\",\"eet\":\"" NAME ".eet\",\"wav\":\"" NAME
			     ".wav\",\"session\":1,\"stream_id\":7,\"tag\":\"a\",\"peer\":null,"
			     "\"codec\":\"pcm\",\"layout\":null,\"rate\":8000,\"channels\":1,"
			     "\"frame_samples\":4,\"first_seq\":1,\"last_seq\":2,"
			     "\"first_us\":1769854500000000,\"last_us\":null,\"frames\":2,"
			     "\"samples\":8,\"seconds\":0.001000,\"gaps\":0,\"gap_frames\":0,"
			     "\"gap_before\":null,\"repeats\":0,\"restarts\":0,\"damaged\":0,",
			     280),
	    0);
	assert_non_null(strstr(index, "\"recovered\":true,\"error\":null}\n"));
	free(index);
}

/* Killed while the names of the parts were still there: what is missing is done, nothing twice. */
static void
placed_already(void **state)
{
	char *index;

	(void)state;
	scratch_write(&place, NAME ".eet.part", sent[0].p, 32 + 20);
	scratch_write(&place, NAME ".wav.part", "left over", 9);
	assert_int_equal(linkat(place.fd, NAME ".eet.part", place.fd, NAME ".eet", 0), 0);
	recover();
	assert_complete(0);
	/* The same with the line in the index, and the WAV in its place. */
	assert_int_equal(linkat(place.fd, NAME ".eet", place.fd, NAME ".eet.part", 0), 0);
	assert_int_equal(linkat(place.fd, NAME ".wav", place.fd, NAME ".wav.part", 0), 0);
	recover();
	assert_complete(0);
	index = read_index();
	assert_int_equal(lines_of(index, NAME ".eet"), 1);
	free(index);
	assert_settled();
}

static void
without_wavs(void **state)
{
	char *index;

	(void)state;
	options.wav = false;
	scratch_write(&place, NAME ".eet.part", sent[0].p, 32 + 20);
	scratch_write(&place, NAME ".wav.part", "left over", 9);
	recover();
	assert_true(scratch_has(&place, NAME ".eet"));
	assert_false(scratch_has(&place, NAME ".wav"));
	assert_false(scratch_has(&place, NAME ".wav.part"));
	index = read_index();
	assert_non_null(strstr(index, "\"wav\":null,"));
	free(index);
	/* It is listed, so it is left alone, with WAVs too. */
	options.wav = true;
	assert_settled();
	scratch_empty(&place);

	/* Nor does one stay behind when its log takes another name. */
	options.wav = false;
	scratch_write(&place, NAME ".eet", "stranger", 8);
	scratch_write(&place, NAME ".eet.part", sent[0].p, 32 + 20);
	scratch_write(&place, NAME ".wav.part", "left over", 9);
	recover();
	assert_true(scratch_has(&place, "stream_7_a_20260131T101500.001Z_s1.eet"));
	assert_false(scratch_has(&place, NAME ".wav.part"));
}

/* What is not ours to touch stays, and is no reason not to record. */
static void
strangers(void **state)
{
	static const char other[] = "stream_7_20260131T101500.000Z_s5.eet.part";
	atomic_size_t done = 0;
	struct bytes b;

	(void)state;
	scratch_write(&place, "target", sent[0].p, 32 + 20 + 5);
	assert_int_equal(symlinkat("target", place.fd, NAME ".eet.part"), 0);
	assert_int_equal(
	    linkat(place.fd, "target", place.fd, "stream_7_20260131T101500.000Z_s2.eet.part", 0),
	    0);
	assert_int_equal(mkfifoat(place.fd, "stream_7_20260131T101500.000Z_s3.eet.part", 0600), 0);
	assert_int_equal(mkdirat(place.fd, "stream_7_20260131T101500.000Z_s4.eet.part", 0700), 0);
	scratch_write(&place, "holiday.eet.part", "x", 1);
	if (geteuid() == 0) {
		scratch_write(&place, other, sent[0].p, 32 + 20);
		assert_int_equal(fchownat(place.fd, other, 65534, 65534, 0), 0);
	}
	reported = 0;
	recover();
	assert_int_equal(reported, geteuid() == 0 ? 6 : 5);
	/* They are said each time. */
	reported = 0;
	recover();
	assert_int_equal(reported, geteuid() == 0 ? 6 : 5);
	b = scratch_read(&place, "target");
	assert_int_equal(b.len, 32 + 20 + 5);
	bytes_free(&b);
	assert_true(record(&done));
	assert_true(scratch_has(&place, "stream_7_a_20260131T101500.000Z_s6.eet"));
}

/* A stranger's file has the name: the segment moves on, not onto that of another one. */
static void
one_name(void **state)
{
	struct bytes b = { 0 };

	(void)state;
	put_handshake(&b, &mono);
	put_frame(&b, WIRE_PCM16, 9, 8);
	scratch_write(&place, "stream_7_a_20260131T101500.000Z_s1.eet", "stranger", 8);
	scratch_write(&place, "stream_7_a_20260131T101500.000Z_s1.eet.part", b.p, b.len);
	scratch_write(&place, "stream_7_a_20260131T101500.001Z_s1.eet.part", sent[0].p, 32 + 20);
	scratch_write(&place, "stream_7_a_20260131T101500.003Z_s1.eet.part", sent[0].p, 32 + 20);
	scratch_write(&place, "stream_7_a_20260131T101500.003Z_s1.wav", "stranger", 8);
	recover();
	assert_wav_of("stream_7_a_20260131T101500.001Z_s1.eet");
	assert_wav_of("stream_7_a_20260131T101500.002Z_s1.eet");
	assert_wav_of("stream_7_a_20260131T101500.004Z_s1.eet");
	assert_settled();
	bytes_free(&b);
}

/* Where its WAV has to grow lies a directory: the log is left, reported each time, and others go on. */
static void
no_place_for_wav(void **state)
{
	atomic_size_t done = 0;

	(void)state;
	scratch_write(&place, NAME ".eet.part", sent[0].p, 32 + 20);
	assert_int_equal(mkdirat(place.fd, NAME ".wav.part", 0700), 0);
	reported = 0;
	recover();
	assert_int_equal(reported, 1);
	assert_true(scratch_has(&place, NAME ".eet.part"));
	assert_true(record(&done));
	assert_int_equal(unlinkat(place.fd, NAME ".wav.part", AT_REMOVEDIR), 0);
	recover();
	assert_wav_of(NAME ".eet");
	assert_settled();
}

/* Once a signal asks for the end, what is not in hand is left to the next start. */
static void
told_to_stop(void **state)
{
	char file[64], text[SPOOL_TEXT], *list;
	struct spool *sp;

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		snprintf(file, sizeof file, "stream_7_20260131T101500.%03uZ_s1.eet.part", i);
		scratch_write(&place, file, sent[0].p, 32 + 20);
	}
	sp = spool_open(place.path, &options, text);
	assert_non_null(sp);
	spool_stop_salvage(sp);
	while (spool_reap(sp) == 0)
		poll(&(struct pollfd){ .fd = spool_fd(sp), .events = POLLIN }, 1, 20000);
	assert_int_equal(spool_reap(sp), 1);
	spool_close(sp);
	list = scratch_list(&place);
	assert_non_null(strstr(list, ".eet.part\n"));
	free(list);
	recover();
	list = scratch_list(&place);
	assert_null(strstr(list, ".part\n"));
	free(list);
	assert_settled();
}

/* More than one batch, the oldest first. */
static void
many(void **state)
{
	char file[64], *index;
	const char *at;

	(void)state;
	for (unsigned i = 0; i < 150; i++) {
		snprintf(file, sizeof file, "stream_7_20260131T101500.%03uZ_s%u.eet.part", 149 - i,
		    i % 3 + 1);
		scratch_write(&place, file, sent[0].p, 32 + 20);
	}
	recover();
	at = index = read_index();
	for (unsigned i = 0; i < 150; i++) {
		snprintf(file, sizeof file, "\"eet\":\"stream_7_20260131T101500.%03uZ_s%u.eet\"", i,
		    (149 - i) % 3 + 1);
		at = strstr(at, file);
		assert_non_null(at);
	}
	free(index);
	assert_settled();
}

/*
 * ---- Damage ----
 */

enum { FRAMES = 12, FRAME = 20 };

/* A log of frames 0 to FRAMES - 1 of the first stream, as .eet.part. */
static struct bytes
make_log(void)
{
	struct bytes b = { 0 };

	put_handshake(&b, &mono);
	for (uint32_t i = 0; i < FRAMES; i++)
		put_frame(&b, WIRE_PCM16, i, 8);
	return b;
}

/* Does the file hold that frame, whole? */
static bool
holds_frame(const struct bytes *file, uint32_t seq)
{
	struct bytes frame = { 0 };
	bool holds;

	put_frame(&frame, WIRE_PCM16, seq, 8);
	holds = memmem(file->p, file->len, frame.p, frame.len) != NULL;
	bytes_free(&frame);
	return holds;
}

/*
 * Every frame whose bytes are in the log that was left is in the completed segment, once, in order, and if
 * anything but its end was cut, the log as it was is beside it.
 */
static void
assert_salvaged(const struct bytes *left, bool damaged)
{
	struct bytes eet = scratch_read(&place, NAME ".eet"), kept;
	char *index = read_index();
	size_t n = 0;

	assert_wav_of(NAME ".eet");
	assert_int_equal(lines_of(index, NAME ".eet"), 1);
	for (uint32_t i = 0; i < FRAMES; i++) {
		assert_int_equal(holds_frame(&eet, i), holds_frame(left, i));
		n += holds_frame(left, i);
	}
	/* A frame whose length is damaged may look like an empty one. */
	assert_in_range(eet.len, WIRE_HANDSHAKE_SIZE + n * FRAME, left->len);
	assert_in_range(number_of(index, NAME ".eet", "frames"), n, FRAMES);
	assert_int_equal(scratch_has(&place, NAME ".eet.damaged"), damaged);
	assert_int_equal(number_of(index, NAME ".eet", "damaged") > 0, damaged);
	if (damaged) {
		kept = scratch_read(&place, NAME ".eet.damaged");
		assert_int_equal(kept.len, left->len);
		assert_memory_equal(kept.p, left->p, left->len);
		bytes_free(&kept);
	}
	free(index);
	bytes_free(&eet);
}

/* Holes of zeros, of any size, anywhere but in the handshake. */
static void
holes(void **state)
{
	static const size_t sizes[] = { 1, 7, 12, 20, 53, 4096 };

	(void)state;
	for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++)
		for (size_t at = WIRE_HANDSHAKE_SIZE + FRAME;
		     at < WIRE_HANDSHAKE_SIZE + FRAMES * FRAME; at += 3 * (size_t)stride()) {
			struct bytes b = make_log();
			size_t end = at + sizes[k] < b.len ? at + sizes[k] : b.len;
			bool tells = false, is_end = true;

			/* What stands in a payload or a sequence number can't be told from sound. */
			for (size_t i = at; i < end; i++)
				tells = tells || (b.p[i] != 0 && (i - 32) % FRAME < 8);
			memset(b.p + at, 0, end - at);
			for (size_t i = at; i < b.len; i++)
				is_end = is_end && b.p[i] == 0;
			scratch_write(&place, NAME ".eet.part", b.p, b.len);
			recover();
			assert_salvaged(&b, tells && !is_end);
			assert_settled();
			scratch_empty(&place);
			bytes_free(&b);
		}
}

/* Garbage in place of the last frames is damage; so is what comes after it. */
static void
garbage_at_the_end(void **state)
{
	struct bytes b = make_log();

	(void)state;
	bytes_add(&b, "something else that is no frame at all", 38);
	scratch_write(&place, NAME ".eet.part", b.p, b.len);
	recover();
	assert_salvaged(&b, true);
	assert_settled();
	bytes_free(&b);
}

/* A block of another log lies in the middle: its handshake is damage, and costs none of our frames. */
static void
block_of_another(void **state)
{
	static const struct wire_handshake strange[] = { { 9, 16000, 2, WIRE_PCM16, 8, 0, 0 },
		{ 8, 8000, 1, WIRE_ADPCM, 8, 0, 0 }, { 7, 8000, 1, WIRE_PCM16, 4, 0, 0 } };

	(void)state;
	for (size_t k = 0; k < 3; k++) {
		struct bytes b = { 0 };

		put_handshake(&b, &mono);
		for (uint32_t i = 0; i < FRAMES; i++) {
			if (i == 5)
				put_handshake(&b, &strange[k]);
			put_frame(&b, WIRE_PCM16, i, 8);
		}
		scratch_write(&place, NAME ".eet.part", b.p, b.len);
		recover();
		assert_salvaged(&b, true);
		assert_settled();
		scratch_empty(&place);
		bytes_free(&b);
	}
}

/* Another log is .eet.damaged already: both are kept, and the next start has nothing to do. */
static void
damaged_twice(void **state)
{
	static const char next[] = "stream_7_a_20260131T101500.001Z_s1";
	struct bytes kept;
	char *list;

	(void)state;
	for (int round = 0; round < 3; round++) {
		struct bytes b = make_log();

		no_links = round == 1;
		memset(b.p + (round == 2 ? 0 : 32 + 5 * FRAME), 0, 30);
		scratch_write(&place, NAME ".eet.part", b.p, b.len);
		scratch_write(&place, NAME ".eet.damaged", "another", 7);
		recover();
		kept = scratch_read(&place, NAME ".eet.damaged");
		assert_int_equal(kept.len, 7);
		bytes_free(&kept);
		kept = scratch_read(&place, "stream_7_a_20260131T101500.001Z_s1.eet.damaged");
		assert_int_equal(kept.len, b.len);
		assert_memory_equal(kept.p, b.p, b.len);
		bytes_free(&kept);
		list = scratch_list(&place);
		assert_int_equal(strstr(list, ".eet\n") != NULL, round < 2);
		assert_non_null(strstr(list, next));
		free(list);
		assert_settled();
		scratch_empty(&place);
		bytes_free(&b);
		no_links = false;
	}
}

/* The handshake is gone: another segment of the session has the same. */
static void
handshake_of_another(void **state)
{
	struct bytes b = make_log(), other = { 0 };

	(void)state;
	put_handshake(&other, &mono);
	put_frame(&other, WIRE_PCM16, 100, 8);
	for (int whole = 0; whole < 2; whole++) {
		scratch_write(&place, "stream_7_a_20260131T101400.000Z_s1.eet", other.p, other.len);
		if (whole)
			memset(b.p, 0, WIRE_HANDSHAKE_SIZE);
		else
			b.p[4] ^= 1; /* the version */
		scratch_write(&place, NAME ".eet.part", b.p, b.len);
		recover();
		assert_salvaged(&b, true);
		scratch_empty(&place);
	}
	bytes_free(&b);
	bytes_free(&other);
}

/* Of those there are, one is damaged too, and looks sound: taken is the one that fits. */
static void
handshake_that_fits(void **state)
{
	static const char *const names[] = { "stream_7_a_20260131T101400.000Z_s1.eet",
		"stream_7_a_20260131T101430.000Z_s1.eet" };
	struct bytes b = make_log(), other = { 0 }, wrong = { 0 };

	(void)state;
	put_handshake(&other, &mono);
	put_frame(&other, WIRE_PCM16, 100, 8);
	bytes_add(&wrong, other.p, other.len);
	wrong.p[18] ^= WIRE_ADPCM; /* the codec */
	memset(b.p, 0, WIRE_HANDSHAKE_SIZE);
	/* Whichever is found first. */
	for (size_t i = 0; i < 2; i++) {
		scratch_write(&place, names[i], other.p, other.len);
		scratch_write(&place, names[1 - i], wrong.p, wrong.len);
		scratch_write(&place, NAME ".eet.part", b.p, b.len);
		recover();
		assert_salvaged(&b, true);
		scratch_empty(&place);
	}
	bytes_free(&b);
	bytes_free(&other);
	bytes_free(&wrong);
}

/* … without one, the log is kept as it is. */
static void
handshake_gone(void **state)
{
	struct bytes b = make_log(), kept;
	char *index;

	(void)state;
	memset(b.p, 0, WIRE_HANDSHAKE_SIZE);
	scratch_write(&place, NAME ".eet.part", b.p, b.len);
	scratch_write(&place, NAME ".wav.part", "left over", 9);
	recover();
	assert_false(scratch_has(&place, NAME ".wav.part"));
	assert_false(scratch_has(&place, NAME ".eet"));
	assert_false(scratch_has(&place, NAME ".eet.part"));
	kept = scratch_read(&place, NAME ".eet.damaged");
	assert_int_equal(kept.len, b.len);
	assert_memory_equal(kept.p, b.p, b.len);
	index = read_index();
	assert_non_null(strstr(index, "\"error\":\""));
	assert_non_null(strstr(index, "\"rate\":null"));
	free(index);
	assert_settled();
	bytes_free(&b);
	bytes_free(&kept);
}

/* Placed, and damaged since: without a sync, a power cut can leave that. */
static void
placed_and_damaged(void **state)
{
	struct bytes b = make_log();

	(void)state;
	memset(b.p + 32 + 5 * FRAME, 0, 30);
	scratch_write(&place, NAME ".eet.part", b.p, b.len);
	scratch_write(&place, NAME ".wav.part", "left over", 9);
	assert_int_equal(linkat(place.fd, NAME ".eet.part", place.fd, NAME ".eet", 0), 0);
	assert_int_equal(linkat(place.fd, NAME ".wav.part", place.fd, NAME ".wav", 0), 0);
	recover();
	assert_salvaged(&b, true);
	assert_settled();
	bytes_free(&b);
}

/* Its log is placed, and then a stranger takes the WAV's name: the log is not there twice. */
static void
placed_moves_on(void **state)
{
	(void)state;
	scratch_write(&place, NAME ".eet.part", sent[0].p, 32 + 20);
	assert_int_equal(linkat(place.fd, NAME ".eet.part", place.fd, NAME ".eet", 0), 0);
	scratch_write(&place, NAME ".wav", "stranger", 8);
	recover();
	assert_false(scratch_has(&place, NAME ".eet"));
	assert_wav_of("stream_7_a_20260131T101500.001Z_s1.eet");
	assert_settled();
}

/* Killed at any point of the salvage of a damaged log, with links and without: nothing changes. */
static void
damaged_killed(void **state)
{
	(void)state;
	for (int round = 0; round < 2; round++) {
		struct bytes b = make_log();

		no_links = round == 1;
		memset(b.p + 32 + 5 * FRAME, 0, 30);
		for (long calls = 0;; calls += stride()) {
			bool killed;

			scratch_write(&place, NAME ".eet.part", b.p, b.len);
			killed = killed_after(calls, true, NULL);
			recover();
			assert_salvaged(&b, true);
			assert_settled();
			scratch_empty(&place);
			if (!killed)
				break;
			assert_true(calls < 100);
		}
		no_links = false;
		bytes_free(&b);
	}
}

/* One call of a salvage fails: the next start does what is missing. */
static void
damaged_refused(void **state)
{
	static const int errors[] = { EIO, ENOSPC };

	(void)state;
	for (size_t k = 0; k < 2; k++)
		for (long calls = 0;; calls += stride()) {
			struct bytes b = make_log();
			bool was;

			memset(b.p + 32 + 5 * FRAME, 0, 30);
			scratch_write(&place, NAME ".eet.part", b.p, b.len);
			atomic_store(&refusal, errors[k]);
			atomic_store(&refused, false);
			atomic_store(&calls_left, calls);
			try_to_recover();
			atomic_store(&calls_left, -1);
			was = atomic_load(&refused);
			recover();
			assert_salvaged(&b, true);
			assert_settled();
			scratch_empty(&place);
			bytes_free(&b);
			if (!was)
				break;
		}
}

/* Without links, too, whatever is killed is completed, and never over another file. */
static void
killed_without_links(void **state)
{
	(void)state;
	no_links = true;
	killed_anywhere(state);
	scratch_empty(&place);
	recovery_killed(state);
	no_links = false;
}

/* The tag is the one that was sent, whatever names may not hold. */
static void
exact_tag(void **state)
{
	char *index;

	(void)state;
	scratch_write(&place, "stream_7_room+1_20260131T101500.000Z_s1.eet.part", sent[0].p,
	    32 + 20);
	recover();
	assert_true(scratch_has(&place, "stream_7_room-1_20260131T101500.000Z_s1.eet"));
	index = read_index();
	assert_non_null(strstr(index, "\"tag\":\"room:1\""));
	free(index);
}

/* A power cut left a session's file, and not its number: that is not used again, once the file is gone. */
static void
number_lost(void **state)
{
	struct bytes next;

	(void)state;
	scratch_write(&place, ".next", "1\n", 2);
	scratch_write(&place, "stream_7_a_20260131T101500.000Z_s5.eet.part", sent[0].p, 32 + 20);
	recover();
	next = scratch_read(&place, ".next");
	assert_int_equal(next.len, 2);
	assert_memory_equal(next.p, "6\n", 2);
	bytes_free(&next);
}

/* A number is never used twice, though all that it named is gone. */
static void
numbers_go_on(void **state)
{
	atomic_size_t done = 0;
	struct bytes next;
	char *list;

	(void)state;
	assert_true(record(&done));
	list = scratch_list(&place);
	for (char *file = strtok(list, "\n"); file != NULL; file = strtok(NULL, "\n"))
		if (strcmp(file, ".next") != 0)
			assert_int_equal(unlinkat(place.fd, file, 0), 0);
	free(list);
	assert_true(record(&done));
	assert_true(scratch_has(&place, "stream_7_a_20260131T101500.000Z_s3.eet"));
	/* Damaged, or missing: the names say where to go on. */
	for (int missing = 0; missing < 2; missing++) {
		if (missing)
			assert_int_equal(unlinkat(place.fd, ".next", 0), 0);
		else
			scratch_write(&place, ".next", "1\0\n", 3);
		reported = 0;
		recover();
		assert_int_equal(reported, 1);
	}
	assert_true(record(&done));
	assert_true(scratch_has(&place, "stream_7_a_20260131T101500.000Z_s5.eet"));
	next = scratch_read(&place, ".next");
	assert_int_equal(next.len, 2);
	assert_memory_equal(next.p, "7\n", 2);
	bytes_free(&next);
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(undisturbed),
		TEST(killed_anywhere),
		TEST(recovery_killed),
		TEST(input_output_error),
		TEST(disk_full_once),
		TEST(cut_anywhere),
		TEST(zeros_at_the_end),
		TEST(recovered_line),
		TEST(placed_already),
		TEST(placed_and_damaged),
		TEST(placed_moves_on),
		TEST(without_wavs),
		TEST(strangers),
		TEST(one_name),
		TEST(no_place_for_wav),
		TEST(told_to_stop),
		TEST(many),
		TEST(holes),
		TEST(garbage_at_the_end),
		TEST(block_of_another),
		TEST(damaged_twice),
		TEST(handshake_of_another),
		TEST(handshake_that_fits),
		TEST(handshake_gone),
		TEST(damaged_killed),
		TEST(damaged_refused),
		TEST(killed_without_links),
		TEST(exact_tag),
		TEST(number_lost),
		TEST(numbers_go_on),
	};
	int status = cmocka_run_group_tests_name("salvage", tests, make_input, free_input);

	free(whole_index);
	return status;
}
