/*
 * A capture that is to be gone on with, whatever is in it.  It is refused, and stays as it is, or what
 * is whole of it stays, what is open is closed, and the next session's number is free.
 */
#include "../../cmd/eet-listen/capture.h"

#include "bytes.h"
#include "cli.h"
#include "fuzz.h"
#include "log.h"

#include <sys/mman.h>
#include <unistd.h>

/* Nobody reads what it says. */
void
cli_warn(const char *fmt, ...)
{
	(void)fmt;
}

void
cli_warnx(const char *fmt, ...)
{
	(void)fmt;
}

void
cli_note(int level, const char *fmt, ...)
{
	(void)level, (void)fmt;
}

/* All of a file; to be freed. */
static uint8_t *
content(int fd, size_t *leno)
{
	off_t len = lseek(fd, 0, SEEK_END);
	uint8_t *p = malloc((size_t)len + 1);

	require(p != NULL && pread(fd, p, (size_t)len, 0) == len);
	*leno = (size_t)len;
	return p;
}

/* Behind what was, there are CLOSEs, and no session is open.  Returns the highest. */
static uint32_t
check_log(int fd, size_t kept)
{
	struct log_reader *r = log_new(fd, NULL);
	struct log_record rec;
	uint32_t highest = 0;
	bool left_open = false, times_damaged = false;

	require(r != NULL && lseek(fd, 0, SEEK_SET) == 0);
	while (log_get(r, &rec) != LOG_END) {
		if (rec.event == LOG_OPEN && rec.session->number > highest)
			highest = rec.session->number;
		left_open = rec.event == LOG_CLOSE && rec.made_up;
		/* What is appended may tell more of times that were damaged before it. */
		times_damaged = times_damaged || (rec.event == LOG_DAMAGE && rec.wrong == LOG_TIME);
		require(
		    rec.offset < kept || times_damaged || (rec.event == LOG_CLOSE && !rec.made_up));
	}
	require(!left_open && log_offset(r) == (uint64_t)lseek(fd, 0, SEEK_END));
	log_free(r);
	return highest;
}

/* There is no sound record in data[at..size): a magic and a length that leads to a magic, or the end. */
static void
require_no_record(const uint8_t *data, size_t at, size_t size)
{
	for (; at + LOG_PREFIX_SIZE <= size; at++) {
		uint64_t length = le32_load(data + at + 4), next = at + LOG_PREFIX_SIZE + length;

		if (le32_load(data + at) != LOG_MAGIC ||
		    length < LOG_HEADER_SIZE - LOG_PREFIX_SIZE || length > LOG_MAX_LENGTH)
			continue;
		require(next != size);
		require(next + 4 > size || le32_load(data + next) != LOG_MAGIC);
	}
}

/* How much was kept: all, or all but the beginning of a record that can be, perhaps in zeros. */
static size_t
find_kept(const uint8_t *data, size_t size)
{
	uint8_t magic[4];
	uint32_t length;
	size_t at = 0;

	le32_store(magic, LOG_MAGIC);
	while (size - at >= LOG_PREFIX_SIZE && memcmp(data + at, magic, 4) == 0) {
		length = le32_load(data + at + 4);
		if (length < LOG_HEADER_SIZE - LOG_PREFIX_SIZE || length > LOG_MAX_LENGTH)
			break;
		if (LOG_PREFIX_SIZE + length > size - at)
			return at;
		at += LOG_PREFIX_SIZE + length;
	}
	while (size > at && data[size - 1] == 0)
		size--;
	require(size - at < LOG_PREFIX_SIZE);
	require(memcmp(data + at, magic, size - at < 4 ? size - at : 4) == 0);
	return at;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int file = memfd_create("capture", MFD_CLOEXEC), fd;
	uint32_t session = 1, again = 1, highest;
	uint64_t last_us = 0;
	size_t len, len_again, kept;
	uint8_t *p, *q;
	char path[64];

	require(file != -1 && write(file, data, size) == (ssize_t)size);
	snprintf(path, sizeof path, "/proc/self/fd/%d", file);
	fd = capture_open(path, true, &session, &last_us);
	p = content(file, &len);
	if (fd == -1) {
		require(len == size && memcmp(p, data, size) == 0 && session == 1);
	} else {
		kept = find_kept(data, size);
		require_no_record(data, kept, size);
		require(close(fd) == 0 && len >= kept && memcmp(p, data, kept) == 0);
		highest = check_log(file, kept);
		require(size == 0 || session == highest + 1);
		fd = capture_open(path, true, &again, &last_us);
		require(fd != -1 && close(fd) == 0 && again == session);
		q = content(file, &len_again);
		require(len_again == len && memcmp(p, q, len) == 0);
		free(q);
	}
	free(p);
	close(file);
	return 0;
}
