/* eet-listen's writer: a capture that other programs empty or move, at the worst of moments. */
#include "../../cmd/eet-listen/writer.h"

#include "../../cmd/eet-listen/clock.h"
#include "scratch.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <cmocka.h>

enum { PAYLOAD = 100, RECORD = LOG_HEADER_SIZE + PAYLOAD };

/* What happens to the next write: the writer is linked with this instead of the C library's. */
static enum { NOTHING, EMPTIED_BEFORE, EMPTIED_AFTER, NO_SPACE } fate;
static size_t space; /* for so many bytes, when there is none for more */

ssize_t
writev(int fd, const struct iovec *iov, int count)
{
	struct iovec first = iov[0];
	ssize_t n;

	if (fate == NO_SPACE && space == 0) {
		errno = ENOSPC;
		return -1;
	}
	if (fate == EMPTIED_BEFORE)
		assert_int_equal(ftruncate(fd, 0), 0);
	if (fate == NO_SPACE) {
		if (first.iov_len > space)
			first.iov_len = space;
		n = syscall(SYS_writev, fd, &first, 1);
		space -= (size_t)n;
		return n;
	}
	n = syscall(SYS_writev, fd, iov, count);
	if (fate == EMPTIED_AFTER)
		assert_int_equal(ftruncate(fd, 0), 0);
	fate = NOTHING;
	return n;
}

/* A capture in a directory, and what is written to it. */
struct test {
	struct scratch dir;
	struct queue queue;
	struct bytes all; /* that the queue has been given */
	struct writer writer;
	uv_loop_t loop;
};

static void
progress(void *arg)
{
	(void)arg;
}

/* The head tells from which position on the queue follows. */
static uint8_t *
begin(void *arg, uint64_t position, size_t *leno)
{
	struct bytes head = { 0 };
	uint64_t at = position;

	(void)arg;
	put_record(&head, 9, LOG_KIND_OPEN, 1, &at, sizeof at);
	*leno = head.len;
	return head.p;
}

static int
create(const struct test *t, const char *name)
{
	int fd = openat(t->dir.fd, name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);

	assert_true(fd != -1);
	return fd;
}

static void
put(struct test *t, size_t n)
{
	uint8_t body[PAYLOAD];

	for (; n > 0; n--) {
		size_t from = t->all.len;

		memset(body, (int)(from / RECORD), sizeof body);
		put_record(&t->all, 1, LOG_KIND_FRAME, 1, body, sizeof body);
		memcpy(queue_add(&t->queue, RECORD), t->all.p + from, RECORD);
	}
}

static void
start(struct test *t)
{
	char path[160];

	memset(t, 0, sizeof *t);
	fate = NOTHING;
	t->dir = scratch_new();
	snprintf(path, sizeof path, "%s/log", t->dir.path);
	uv_loop_init(&t->loop);
	t->writer.progress = progress;
	t->writer.begin = begin;
	assert_int_equal(
	    writer_open(&t->writer, &t->loop, &t->queue, create(t, "log"), true, strdup(path)), 0);
}

static void
end(struct test *t)
{
	writer_close(&t->writer);
	free((char *)(uintptr_t)t->writer.name);
	queue_free(&t->queue);
	bytes_free(&t->all);
	scratch_free(&t->dir);
	uv_loop_close(&t->loop);
}

/* The file is the head, and what the queue has had from that position on, up to `to`. */
static void
assert_begins_at(const struct test *t, const char *file, uint64_t position, size_t to)
{
	struct bytes expected = { 0 }, got = scratch_read(&t->dir, file);

	expected.p = begin(NULL, position, &expected.len);
	bytes_add(&expected, t->all.p + position, to - position);
	assert_int_equal(got.len, expected.len);
	assert_memory_equal(got.p, expected.p, got.len);
	bytes_free(&expected);
	bytes_free(&got);
}

static void
emptied(void **state)
{
	struct test t;

	(void)state;
	/* Between two writes: what was written is in the copy that was made. */
	start(&t);
	put(&t, 2);
	writer_write(&t.writer);
	assert_int_equal(ftruncate(t.writer.fd, 0), 0);
	put(&t, 2);
	writer_write(&t.writer);
	assert_int_equal(t.writer.emptied, 1);
	assert_begins_at(&t, "log", 2 * RECORD, 4 * RECORD);
	/* Just before a write, when nobody looks, and just after it: that is written again. */
	fate = EMPTIED_BEFORE;
	put(&t, 2);
	writer_write(&t.writer);
	assert_int_equal(t.writer.emptied, 2);
	assert_begins_at(&t, "log", 4 * RECORD, 6 * RECORD);
	fate = EMPTIED_AFTER;
	put(&t, 2);
	writer_write(&t.writer);
	assert_int_equal(t.writer.emptied, 3);
	assert_begins_at(&t, "log", 6 * RECORD, 8 * RECORD);
	/* And then it goes on. */
	put(&t, 2);
	writer_write(&t.writer);
	assert_begins_at(&t, "log", 6 * RECORD, 10 * RECORD);
	assert_int_equal(t.writer.emptied, 3);
	assert_int_equal(t.writer.position, t.queue.end);
	end(&t);
}

/* The disk was full amid a record: that is written again as a whole. */
static void
emptied_amid_a_record(void **state)
{
	struct test t;

	(void)state;
	start(&t);
	fate = NO_SPACE;
	space = RECORD + 30;
	put(&t, 3);
	writer_write(&t.writer);
	assert_true(t.writer.full);
	assert_int_equal(ftruncate(t.writer.fd, 0), 0);
	fate = NOTHING;
	writer_write(&t.writer);
	assert_false(t.writer.full);
	assert_begins_at(&t, "log", RECORD, 3 * RECORD);
	end(&t);
}

static void
reopened(void **state)
{
	struct bytes old;
	struct test t;

	(void)state;
	start(&t);
	put(&t, 2);
	writer_write(&t.writer);
	assert_int_equal(renameat(t.dir.fd, "log", t.dir.fd, "first"), 0);
	close(writer_reopen(&t.writer, create(&t, "log")));
	assert_int_equal(t.writer.place, WRITER_IN_PLACE);
	/* Amid a record, on a full disk: none of it stays in the old file. */
	fate = NO_SPACE;
	space = LOG_HEADER_SIZE + 8 + RECORD + 30;
	put(&t, 3);
	writer_write(&t.writer);
	assert_true(t.writer.full);
	assert_int_equal(renameat(t.dir.fd, "log", t.dir.fd, "second"), 0);
	close(writer_reopen(&t.writer, create(&t, "log")));
	fate = NOTHING;
	writer_write(&t.writer);
	old = scratch_read(&t.dir, "first");
	assert_int_equal(old.len, 2 * RECORD);
	assert_memory_equal(old.p, t.all.p, old.len);
	bytes_free(&old);
	assert_begins_at(&t, "second", 2 * RECORD, 3 * RECORD);
	assert_begins_at(&t, "log", 3 * RECORD, 5 * RECORD);
	end(&t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(emptied),
		cmocka_unit_test(emptied_amid_a_record),
		cmocka_unit_test(reopened),
	};

	clock_start(1000000);
	return cmocka_run_group_tests_name("writer", tests, NULL, NULL);
}
