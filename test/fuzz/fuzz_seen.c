/*
 * What DIR/.seen may hold: any bytes.  Each line counts as it does in a file of its own, and what is
 * appended is read again as what it says, after whatever was there.
 */
#include "fuzz.h"
#include "seen.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static void
read_bytes(struct seen *s, const uint8_t *data, size_t size)
{
	int fd = memfd_create("seen", MFD_CLOEXEC);

	require(fd != -1 && write(fd, data, size) == (ssize_t)size);
	require(lseek(fd, 0, SEEK_SET) == 0 && seen_read(s, fd) == 0);
	close(fd);
}

static void
require_same(const struct seen *a, const struct seen *b)
{
	require(a->n == b->n);
	for (size_t i = 0; i < a->n; i++) {
		require(a->lines[i].next == b->lines[i].next);
		require(a->lines[i].time_s == b->lines[i].time_s);
		require(a->lines[i].next >= 1 && a->lines[i].next <= UINT64_C(1) << 32);
		require(a->lines[i].time_s >= WIRE_CLOCK_SET_S);
	}
}

/* One directory for all inputs. */
static int
directory(void)
{
	static int fd = -1;

	if (fd == -1) {
		const char *tmp = getenv("TMPDIR");
		char path[256];

		snprintf(path, sizeof path, "%s/eet-fuzz.XXXXXX", tmp != NULL ? tmp : "/tmp");
		require(mkdtemp(path) != NULL);
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	require(fd != -1);
	return fd;
}

static void
append(const uint8_t *data, size_t size, struct seen *all)
{
	const uint64_t next = all->n + 1, time_s = WIRE_CLOCK_SET_S + size;
	int dir = directory();
	int fd = openat(dir, SEEN_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct seen again = { 0 };

	require(fd != -1 && write(fd, data, size) == (ssize_t)size);
	close(fd);
	require(seen_append(all, dir, 0600, false, next, time_s) == 0);
	require(seen_load(&again, dir) == 0);
	require(again.n >= all->n); /* a torn line may have been whole but for its end */
	require(again.lines[again.n - 1].next == next);
	require(again.lines[again.n - 1].time_s == time_s);
	seen_free(&again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen all = { 0 }, each = { 0 };
	const uint8_t *nl;

	read_bytes(&all, data, size);
	for (size_t at = 0; (nl = memchr(data + at, '\n', size - at)) != NULL;
	     at = (size_t)(nl + 1 - data))
		read_bytes(&each, data + at, (size_t)(nl + 1 - data) - at);
	require_same(&all, &each);
	append(data, size, &all);
	seen_free(&all);
	seen_free(&each);
	return 0;
}
