/* See capture.h. */
#include "capture.h"

#include "bytes.h"
#include "cli.h"
#include "fdio.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is to be known of a capture before it can go on. */
struct state {
	uint64_t size;
	uint64_t whole;   /* bytes of it that are whole records */
	uint64_t last_us; /* the last record's time */
	uint32_t highest; /* session */
	uint32_t *open;   /* sessions without a CLOSE */
	size_t open_count;
};

enum what {
	WHOLE_RECORD,
	TORN_RECORD, /* the file ends inside it */
	NO_RECORD
};

static bool
only_zeros(int fd, uint64_t offset)
{
	uint8_t buf[1 << 14];
	ssize_t n;

	while ((n = pread(fd, buf, sizeof buf, (off_t)offset)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] != 0)
				return false;
		offset += (uint64_t)n;
	}
	return n == 0;
}

/*
 * What is at the offset of something damaged?  *uso: its time, if that can be known.  Zeros up to the
 * end count as cut off: a power cut leaves them where the size was on the disk, and not the data.
 */
static enum what
look_at(int fd, uint64_t offset, uint64_t size, uint64_t *uso)
{
	uint8_t magic[4], buf[LOG_HEADER_SIZE];
	ssize_t n = pread(fd, buf, sizeof buf, (off_t)offset);
	size_t have = n > 0 ? (size_t)n : 0;
	uint32_t length = have < LOG_PREFIX_SIZE ? 0 : le32_load(buf + 4);

	le32_store(magic, LOG_MAGIC);
	if (length < LOG_HEADER_SIZE - LOG_PREFIX_SIZE || length > LOG_MAX_LENGTH ||
	    memcmp(buf, magic, 4) != 0) {
		while (have > 0 && buf[have - 1] == 0)
			have--;
		return have < LOG_PREFIX_SIZE && only_zeros(fd, offset + have) &&
			memcmp(buf, magic, have < 4 ? have : 4) == 0
		    ? TORN_RECORD
		    : NO_RECORD;
	}
	if (LOG_PREFIX_SIZE + length > size - offset)
		return TORN_RECORD;
	if (le64_load(buf + 16) <= LOG_MAX_TIME)
		*uso = le64_load(buf + 16);
	return WHOLE_RECORD;
}

/* Read the log in fd.  0; -1: said why. */
static int
examine(const char *path, int fd, struct state *st)
{
	struct log_reader *r = log_new(fd, NULL);
	struct log_record rec;
	enum what what = WHOLE_RECORD; /* of what is damaged, the last */
	uint32_t *grown;

	if (r == NULL)
		goto failed;
	st->whole = st->size;
	while (log_get(r, &rec) != LOG_END) {
		if (rec.event == LOG_ERROR)
			goto failed;
		/* Sessions that ended because of what comes now are no concern of ours. */
		if (rec.event != LOG_CLOSE || !rec.made_up)
			st->open_count = 0;
		if (rec.record != NULL)
			st->last_us = rec.time_us;
		if (rec.event == LOG_OPEN && rec.session->number > st->highest)
			st->highest = rec.session->number;
		if (rec.event == LOG_CLOSE && rec.made_up) {
			grown = realloc(st->open, (st->open_count + 1) * sizeof *st->open);
			if (grown == NULL)
				goto failed;
			st->open = grown;
			st->open[st->open_count++] = rec.session->number;
		}
		if (rec.event == LOG_DAMAGE)
			what = look_at(fd, rec.offset, st->size, &st->last_us);
		if (rec.event == LOG_DAMAGE && what != WHOLE_RECORD)
			st->whole = rec.offset;
	}
	if (st->whole > 0 && !log_is_mux(r)) {
		cli_warnx("%s: not a mux log, so nothing can be appended", path);
		goto refused;
	}
	/* What is behind it is out of reach, and would be so for what is appended. */
	if (what == NO_RECORD) {
		cli_warnx("%s: offset %" PRIu64 ": not a record, so nothing can be appended", path,
		    st->whole);
		goto refused;
	}
	if (st->highest == UINT32_MAX) {
		cli_warnx("%s: session numbers are used up", path);
		goto refused;
	}
	log_free(r);
	return 0;

failed:
	cli_warn("%s", path);
refused:
	log_free(r);
	return -1;
}

/* Cut what is torn, close what is open.  0; -1: said why. */
static int
repair(const char *path, int fd, const struct state *st)
{
	uint8_t buf[LOG_MAX_CLOSE];

	if (st->whole < st->size) {
		if (ftruncate(fd, (off_t)st->whole) == -1) {
			cli_warn("%s", path);
			return -1;
		}
		cli_note(0, "%s: offset %" PRIu64 ": torn record cut off, %" PRIu64 " bytes", path,
		    st->whole, st->size - st->whole);
	}
	for (size_t i = 0; i < st->open_count; i++) {
		size_t len =
		    log_pack_close(buf, st->open[i], st->last_us, WIRE_CLOSE_ABNORMAL, NULL, 0);

		if (fdio_write_full(fd, buf, len, NULL) == -1) {
			cli_warn("%s", path);
			return -1;
		}
	}
	if (st->open_count > 0)
		cli_note(0, "%s: %zu session%s left open, closed now as %d", path, st->open_count,
		    st->open_count == 1 ? " was" : "s were", WIRE_CLOSE_ABNORMAL);
	return 0;
}

/* Make the log in path, open as fd, ready to be appended to.  0; -1: said why. */
static int
resume(const char *path, int fd, uint64_t size, uint32_t *sessiono)
{
	struct state st = { .size = size };
	int in, status;

	/* A second descriptor to read, because fd writes. */
	if ((in = open(path, O_RDONLY | O_CLOEXEC)) == -1) {
		cli_warn("%s", path);
		return -1;
	}
	status = examine(path, in, &st);
	close(in);
	if (status == 0)
		status = repair(path, fd, &st);
	free(st.open);
	if (status == 0)
		*sessiono = st.highest + 1;
	return status;
}

int
capture_open(const char *path, bool append, uint32_t *sessiono)
{
	struct stat st;
	/* O_NONBLOCK is for FIFOs: without a reader the open fails instead of waiting. */
	int fd =
	    open(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0640);

	if (fd == -1 || fstat(fd, &st) == -1) {
		cli_warn("%s", path);
		return -1;
	}
	if (!S_ISREG(st.st_mode))
		return fd;
	if (flock(fd, LOCK_EX | LOCK_NB) == -1) {
		if (errno == EWOULDBLOCK)
			cli_warnx("%s: another program is writing it", path);
		else
			cli_warn("%s", path);
	} else if (st.st_size > 0 && !append) {
		cli_warnx("%s: not empty: --append goes on with it", path);
	} else if (st.st_size == 0 || resume(path, fd, (uint64_t)st.st_size, sessiono) == 0) {
		return fd;
	}
	close(fd);
	return -1;
}
