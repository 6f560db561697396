/* fdio: whole transfers, whatever the kernel makes of a single one; a rename that destroys nothing. */
#include "fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { SIZE = 300000, PIECES = 2500 }; /* more than a pipe holds; more pieces than IOV_MAX */

static atomic_uint signals;

static void
on_signal(int sig)
{
	(void)sig;
	signals++;
}

/* The other end: a thread that reads or writes all of SIZE bytes in small pieces. */
struct peer {
	pthread_t thread;
	pthread_t main;
	int fd;
	uint8_t data[SIZE];
	size_t len;
};

/* Let the main thread take signals, most of which will find it in a system call. */
static void
interrupt(struct peer *p)
{
	unsigned before = signals;

	while (signals - before < 20)
		pthread_kill(p->main, SIGUSR1);
}

static void *
feed(void *arg)
{
	struct peer *p = arg;

	for (size_t at = 0; at < SIZE; at += 1000) {
		if (at % 30000 == 0)
			interrupt(p);
		if (write(p->fd, p->data + at, 1000) != 1000)
			break;
	}
	interrupt(p);
	close(p->fd);
	return NULL;
}

static void *
drain(void *arg)
{
	struct peer *p = arg;
	ssize_t n;

	interrupt(p);
	while ((n = read(p->fd, p->data + p->len, p->len + 777 < SIZE ? 777 : SIZE - p->len)) > 0) {
		if (p->len / 30000 != (p->len + (size_t)n) / 30000)
			interrupt(p);
		p->len += (size_t)n;
	}
	return NULL;
}

static uint8_t
pattern(size_t i)
{
	return (uint8_t)(i * 7 + i / 251);
}

/* Start `run` on one end of a pipe; *fdo is ours. */
static struct peer *
start(void *(*run)(void *), int *fdo)
{
	struct peer *p = calloc(1, sizeof *p);
	struct sigaction sa = { .sa_handler = on_signal }; /* no SA_RESTART: EINTR is wanted */
	int fds[2];

	assert_non_null(p);
	assert_int_equal(sigaction(SIGUSR1, &sa, NULL), 0);
	assert_int_equal(pipe(fds), 0);
	p->main = pthread_self();
	p->fd = run == feed ? fds[1] : fds[0];
	*fdo = run == feed ? fds[0] : fds[1];
	if (run == feed)
		for (size_t i = 0; i < SIZE; i++)
			p->data[i] = pattern(i);
	assert_int_equal(pthread_create(&p->thread, NULL, run, p), 0);
	return p;
}

static void
reads_whole(void **state)
{
	static uint8_t buf[SIZE + 1000];
	struct peer *p;
	int fd;

	(void)state;
	p = start(feed, &fd);
	assert_int_equal(fdio_read_full(fd, buf, 12345), 12345);
	assert_int_equal(fdio_read_full(fd, buf + 12345, sizeof buf - 12345), SIZE - 12345);
	assert_memory_equal(buf, p->data, SIZE);
	assert_int_equal(fdio_read(fd, buf, sizeof buf), 0);
	assert_int_equal(fdio_read_full(fd, buf, sizeof buf), 0);
	pthread_join(p->thread, NULL);
	close(fd);
	free(p);
}

static void
writes_whole(void **state)
{
	static uint8_t buf[SIZE];
	struct peer *p;
	size_t done = 1;
	int fd;

	(void)state;
	for (size_t i = 0; i < SIZE; i++)
		buf[i] = pattern(i);
	p = start(drain, &fd);
	assert_int_equal(fdio_write_full(fd, buf, SIZE, &done), 0);
	assert_int_equal(done, SIZE);
	pthread_join(p->thread, NULL);
	assert_int_equal(p->len, SIZE);
	assert_memory_equal(buf, p->data, SIZE);
	assert_int_equal(fdio_write_full(fd, buf, 0, NULL), 0);
	close(fd);
	close(p->fd);
	free(p);
}

/* SIZE bytes in PIECES pieces of different lengths, empty ones among them. */
static void
cut(uint8_t *buf, struct iovec *iov)
{
	size_t at = 0;

	for (size_t i = 0; i < PIECES; i++) {
		size_t len = i == PIECES - 1 ? SIZE - at : i % 5 == 0 ? 0 : i % 200;

		assert_true(at + len <= SIZE);
		iov[i].iov_base = buf + at;
		iov[i].iov_len = len;
		at += len;
	}
}

static void
writes_pieces(void **state)
{
	static uint8_t buf[SIZE];
	static struct iovec iov[PIECES];
	struct peer *p;
	size_t first = 0;
	int fd;

	(void)state;
	for (size_t i = 0; i < SIZE; i++)
		buf[i] = pattern(i);
	cut(buf, iov);
	p = start(drain, &fd);
	assert_int_equal(fdio_writev_full(fd, iov, PIECES, &first), 0);
	assert_int_equal(first, PIECES);
	pthread_join(p->thread, NULL);
	assert_int_equal(p->len, SIZE);
	assert_memory_equal(buf, p->data, SIZE);
	assert_int_equal(fdio_writev_full(fd, iov, 0, &first), 0);
	assert_int_equal(first, 0);
	close(fd);
	close(p->fd);
	free(p);
}

/* A full non-blocking pipe: what was not written can be written later, and nothing twice. */
static void
says_what_is_left(void **state)
{
	static uint8_t buf[SIZE], got[SIZE];
	static struct iovec iov[PIECES];
	size_t first, left = 0, got_len = 0, done;
	int fds[2];

	(void)state;
	for (size_t i = 0; i < SIZE; i++)
		buf[i] = pattern(i);
	assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
	cut(buf, iov);
	first = 0;
	for (size_t from = 0; from < PIECES; from += first) {
		int rc = fdio_writev_full(fds[1], iov + from, PIECES - from, &first);
		int error = errno;
		ssize_t n = fdio_read(fds[0], got + got_len, SIZE - got_len);

		if (rc == -1)
			assert_int_equal(error, EAGAIN);
		assert_true(n >= 0);
		got_len += (size_t)n;
		if (rc == 0)
			break;
		left++;
	}
	assert_true(left > 0);
	while (got_len < SIZE) {
		ssize_t n = fdio_read(fds[0], got + got_len, SIZE - got_len);

		assert_true(n > 0);
		got_len += (size_t)n;
	}
	assert_memory_equal(got, buf, SIZE);

	assert_int_equal(fdio_write_full(fds[1], buf, SIZE, &done), -1);
	assert_int_equal(errno, EAGAIN);
	assert_true(done > 0 && done < SIZE);
	assert_int_equal(fdio_read_full(fds[0], got, done), done);
	assert_memory_equal(got, buf, done);
	assert_int_equal(fdio_read(fds[0], got, 1), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(fdio_read_full(fds[0], got, 1), -1);
	close(fds[0]);
	close(fds[1]);
}

static void
says_why_not(void **state)
{
	struct iovec iov = { "abc", 3 };
	size_t done = 9, first = 9;
	int fds[2], fd;

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(fds), 0);
	close(fds[0]);
	assert_int_equal(fdio_write_full(fds[1], "abc", 3, &done), -1);
	assert_int_equal(errno, EPIPE);
	assert_int_equal(done, 0);
	assert_int_equal(fdio_writev_full(fds[1], &iov, 1, &first), -1);
	assert_int_equal(errno, EPIPE);
	assert_int_equal(first, 0);
	assert_int_equal(iov.iov_len, 3);
	close(fds[1]);

	fd = open("/dev/full", O_WRONLY);
	assert_int_not_equal(fd, -1);
	assert_int_equal(fdio_write_full(fd, "abc", 3, NULL), -1);
	assert_int_equal(errno, ENOSPC);
	close(fd);
	assert_int_equal(fdio_read_full(fd, &fd, sizeof fd), -1);
	assert_int_equal(errno, EBADF);
}

static int sync_error;

int
fsync(int fd)
{
	(void)fd;
	errno = sync_error;
	return sync_error == 0 ? 0 : -1;
}

int
fdatasync(int fd)
{
	return fsync(fd);
}

/* A full disk passes; what a sync has lost stays lost. */
static void
failed_sync_is_for_good(void **state)
{
	static const int errors[][2] = { { ENOSPC, EIO }, { EDQUOT, EIO }, { EIO, EIO },
		{ EROFS, EROFS } };

	(void)state;
	assert_int_equal(fdio_sync(0), 0);
	assert_int_equal(fdio_datasync(0), 0);
	for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
		sync_error = errors[i][0];
		assert_int_equal(fdio_sync(0), -1);
		assert_int_equal(errno, errors[i][1]);
		assert_int_equal(fdio_datasync(0), -1);
		assert_int_equal(errno, errors[i][1]);
	}
}

static void
rename_never_replaces(void **state)
{
	char dir[] = "/tmp/test_fdio.XXXXXX", got[4] = "";
	int d, fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_not_equal(d = open(dir, O_RDONLY | O_DIRECTORY), -1);
	for (const char *name = "a"; *name != '\0'; name = *name == 'a' ? "b" : "") {
		assert_int_not_equal(fd = openat(d, name, O_WRONLY | O_CREAT, 0600), -1);
		assert_int_equal(fdio_write_full(fd, name, 1, NULL), 0);
		close(fd);
	}
	assert_int_equal(fdio_rename_new(d, "a", "b"), -1);
	assert_int_equal(errno, EEXIST);
	assert_int_equal(fdio_rename_new(d, "a", "c"), 0);
	assert_int_equal(fdio_rename_new(d, "a", "e"), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_not_equal(fd = openat(d, "c", O_RDONLY), -1);
	assert_int_equal(fdio_read(fd, got, sizeof got), 1);
	assert_string_equal(got, "a");
	close(fd);
	assert_int_equal(unlinkat(d, "b", 0), 0);
	assert_int_equal(unlinkat(d, "c", 0), 0);
	close(d);
	assert_int_equal(rmdir(dir), 0);
}

static void
tells_same_files(void **state)
{
	char dir[] = "/tmp/eet-fdio.XXXXXX", *big = calloc(1, 100001);
	static const char *const files[] = { "a", "b", "c", "d", "e" };
	static const size_t sizes[] = { 100000, 100000, 100000, 100001, 0 };
	int d, fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_not_equal(d = open(dir, O_RDONLY | O_DIRECTORY), -1);
	for (size_t i = 0; i < 5; i++) {
		big[99999] = i == 2;
		fd = openat(d, files[i], O_WRONLY | O_CREAT | O_EXCL, 0600);
		assert_int_equal(fdio_write_full(fd, big, sizes[i], NULL), 0);
		close(fd);
	}
	assert_int_equal(mkfifoat(d, "f", 0600), 0);
	assert_int_equal(symlinkat("a", d, "g"), 0);
	errno = 77;
	assert_true(fdio_same(d, "a", "b"));
	assert_true(fdio_same(d, "e", "e"));
	for (const char *other = "cdefghx"; *other != '\0'; other++)
		assert_false(fdio_same(d, "a", (char[]){ *other, '\0' }));
	assert_false(fdio_same(d, "f", "f"));
	assert_int_equal(errno, 77);
	for (const char *one = "abcdefg"; *one != '\0'; one++)
		assert_int_equal(unlinkat(d, (char[]){ *one, '\0' }, 0), 0);
	close(d);
	assert_int_equal(rmdir(dir), 0);
	free(big);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_whole),
		cmocka_unit_test(writes_whole),
		cmocka_unit_test(writes_pieces),
		cmocka_unit_test(says_what_is_left),
		cmocka_unit_test(says_why_not),
		cmocka_unit_test(failed_sync_is_for_good),
		cmocka_unit_test(rename_never_replaces),
		cmocka_unit_test(tells_same_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
