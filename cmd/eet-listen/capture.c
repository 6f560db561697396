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

/*
 * Take note of damage.  Only a torn last record may be cut off, and a tail of zeros, which a power
 * cut leaves where the size was on the disk, and not the data.  False: it is neither, which was said.
 */
static bool
take_damage(const char *path, const struct log_record *rec, struct state *st)
{
	switch (rec->wrong) {
	case LOG_TIME: return true;
	case LOG_RECORD: st->last_us = rec->time_us; return true;
	case LOG_TORN:
	case LOG_ZEROS: st->whole = rec->offset; return true;
	case LOG_LOST:
		cli_warnx("%s: offset %" PRIu64
			  ": damaged, with sound records after it from offset "
			  "%" PRIu64 ", so nothing can be appended; eet-demux --recover saves them",
		    path, rec->offset, rec->offset + rec->skipped);
		return false;
	case LOG_TAIL: break;
	}
	cli_warnx("%s: offset %" PRIu64 ": not a record, so nothing can be appended; "
		  "eet-demux --recover saves what is sound",
	    path, rec->offset);
	return false;
}

/* Is it a mux log, or so short that it may have been one? */
static bool
mux_log(int fd, const struct log_reader *r, uint64_t whole)
{
	uint8_t magic[4], first[4] = { 0 };
	ssize_t n = pread(fd, first, sizeof first, 0);

	if (log_is_mux(r) || whole > 0 || n < 0)
		return log_is_mux(r);
	while (n > 0 && first[n - 1] == 0)
		n--;
	le32_store(magic, LOG_MAGIC);
	return memcmp(first, magic, (size_t)n) == 0;
}

static bool
note_open(struct state *st, uint32_t session)
{
	uint32_t *grown = realloc(st->open, (st->open_count + 1) * sizeof *st->open);

	if (grown == NULL)
		return false;
	st->open = grown;
	st->open[st->open_count++] = session;
	return true;
}

/* Read the log in fd, which changes nothing.  0; -1: said why. */
static int
examine(const char *path, int fd, struct state *st)
{
	const struct log_options options = { .recover = true };
	struct log_reader *r = log_new(fd, &options);
	struct log_record rec;

	if (r == NULL)
		goto failed;
	st->whole = st->size;
	while (log_get(r, &rec) != LOG_END) {
		bool left_open = rec.event == LOG_CLOSE && rec.made_up;

		/* Sessions that ended because of what comes now are no concern of ours. */
		if (!left_open)
			st->open_count = 0;
		else if (!note_open(st, rec.session->number))
			goto failed;
		if (rec.event == LOG_ERROR)
			goto failed;
		if (rec.record != NULL)
			st->last_us = rec.time_us;
		if (rec.event == LOG_OPEN && rec.session->number > st->highest)
			st->highest = rec.session->number;
		if (rec.event == LOG_DAMAGE && !take_damage(path, &rec, st))
			goto refused;
	}
	if (st->size > 0 && !mux_log(fd, r, st->whole)) {
		cli_warnx("%s: not a mux log, so nothing can be appended", path);
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
resume(const char *path, int fd, uint64_t size, uint32_t *sessiono, uint64_t *last_uso)
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
	if (status == 0) {
		*sessiono = st.highest + 1;
		*last_uso = st.last_us;
	}
	return status;
}

/* Open it for writing at its end.  The descriptor; -1: said why. */
static int
open_file(const char *path, struct stat *o)
{
	/* O_NONBLOCK is for FIFOs: without a reader the open fails instead of waiting. */
	int fd =
	    open(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0640);

	if (fd != -1 && fstat(fd, o) == 0)
		return fd;
	cli_warn("%s", path);
	if (fd != -1)
		close(fd);
	return -1;
}

/* Lock it against other writers.  False: said why not. */
static bool
lock(const char *path, int fd)
{
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return true;
	if (errno == EWOULDBLOCK)
		cli_warnx("%s: another program is writing it", path);
	else
		cli_warn("%s", path);
	return false;
}

int
capture_open(const char *path, bool append, uint32_t *sessiono, uint64_t *last_uso)
{
	struct stat st;
	int fd = open_file(path, &st);

	if (fd == -1 || !S_ISREG(st.st_mode))
		return fd;
	if (!lock(path, fd))
		goto refused;
	if (st.st_size > 0 && !append)
		cli_warnx("%s: not empty: --append goes on with it", path);
	else if (st.st_size == 0 || resume(path, fd, (uint64_t)st.st_size, sessiono, last_uso) == 0)
		return fd;
refused:
	close(fd);
	return -1;
}

int
capture_reopen(const char *path, int fd)
{
	struct stat old, st;
	int again;

	if (fstat(fd, &old) == 0 && stat(path, &st) == 0 && st.st_dev == old.st_dev &&
	    st.st_ino == old.st_ino)
		return fd;
	if ((again = open_file(path, &st)) == -1)
		return -1;
	if (!S_ISREG(st.st_mode))
		cli_warnx("%s: not a regular file", path);
	else if (lock(path, again)) {
		if (st.st_size == 0)
			return again;
		cli_warnx("%s: not empty, and not a file of this run", path);
	}
	close(again);
	return -1;
}
