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

enum { FRAME_HEADERS = LOG_HEADER_SIZE + WIRE_FRAME_HEADER_SIZE };

/* What is to be known of a capture before it can go on. */
struct state {
	uint64_t size;
	uint64_t whole;     /* bytes of it that are whole records */
	uint64_t cut_short; /* a record ends there that is longer than it says; 0: none does */
	uint64_t last_us;   /* the last record's time */
	uint32_t highest;   /* session */
	uint32_t *open;     /* sessions without a CLOSE */
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
 * Is it nothing but the start of a record's prefix, and zeros to the end of the file?  A power cut
 * leaves zeros where the size was on the disk, and not the data.
 */
static bool
zero_tail(int fd, uint64_t offset, const uint8_t *buf, size_t have)
{
	uint8_t magic[4];

	le32_store(magic, LOG_MAGIC);
	while (have > 0 && buf[have - 1] == 0)
		have--;
	return have < LOG_PREFIX_SIZE && only_zeros(fd, offset + have) &&
	    memcmp(buf, magic, have < 4 ? have : 4) == 0;
}

/*
 * Is it a FRAME that holds a whole frame, with another record or the end after that, where the
 * record's own length leads elsewhere?  Then it is that length which is damaged.
 */
static bool
wrong_length(int fd, uint64_t offset, uint64_t size, const uint8_t *buf, size_t have)
{
	const uint8_t *frame = buf + LOG_HEADER_SIZE;
	uint8_t magic[4], next[4];
	uint64_t end;
	ssize_t n;

	if (have < FRAME_HEADERS || le16_load(buf + 12) != LOG_KIND_FRAME ||
	    (le32_load(frame) != WIRE_MAGIC_PCM && le32_load(frame) != WIRE_MAGIC_ADPCM))
		return false;
	end = offset + FRAME_HEADERS + le32_load(frame + 4);
	if (end == offset + LOG_PREFIX_SIZE + le32_load(buf + 4) || end > size)
		return false;
	le32_store(magic, LOG_MAGIC);
	n = pread(fd, next, sizeof next, (off_t)end);
	return n >= 0 && memcmp(next, magic, (size_t)n) == 0;
}

/* What is at the offset of something damaged? */
static enum what
look_at(int fd, uint64_t offset, struct state *st)
{
	uint8_t buf[FRAME_HEADERS];
	ssize_t n = pread(fd, buf, sizeof buf, (off_t)offset);
	size_t have = n > 0 ? (size_t)n : 0;
	uint32_t length = have < LOG_PREFIX_SIZE ? 0 : le32_load(buf + 4);
	bool wrong;

	if (length < LOG_HEADER_SIZE - LOG_PREFIX_SIZE || length > LOG_MAX_LENGTH ||
	    le32_load(buf) != LOG_MAGIC)
		return zero_tail(fd, offset, buf, have) ? TORN_RECORD : NO_RECORD;
	wrong = wrong_length(fd, offset, st->size, buf, have);
	if (LOG_PREFIX_SIZE + length > st->size - offset)
		return wrong ? NO_RECORD : TORN_RECORD;
	st->cut_short = wrong ? offset + LOG_PREFIX_SIZE + length : 0;
	if (le64_load(buf + 16) <= LOG_MAX_TIME)
		st->last_us = le64_load(buf + 16);
	return WHOLE_RECORD;
}

/*
 * Take note of damage that r has met, and of all up to the next sound record.  Only a torn last
 * record may be cut off, and a tail of zeros.  False: it is neither, which was said.
 */
static bool
take_damage(const char *path, int fd, const struct log_reader *r, uint64_t offset, struct state *st)
{
	enum what what = look_at(fd, offset, st);

	if (what == WHOLE_RECORD)
		return true;
	if (log_offset(r) < st->size) {
		cli_warnx("%s: offset %" PRIu64
			  ": damaged, with sound records after it from offset "
			  "%" PRIu64 ", so nothing can be appended; eet-demux --recover saves them",
		    path, offset, log_offset(r));
		return false;
	}
	if (what == NO_RECORD || (offset > 0 && offset == st->cut_short)) {
		cli_warnx("%s: offset %" PRIu64 ": not a record, so nothing can be appended; "
			  "eet-demux --recover saves what is sound",
		    path, offset);
		return false;
	}
	st->whole = offset;
	return true;
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
		if (rec.event == LOG_DAMAGE && !take_damage(path, fd, r, rec.offset, st))
			goto refused;
	}
	if (st->whole > 0 && !log_is_mux(r)) {
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
capture_open(const char *path, bool append, uint32_t *sessiono)
{
	struct stat st;
	int fd = open_file(path, &st);

	if (fd == -1 || !S_ISREG(st.st_mode))
		return fd;
	if (!lock(path, fd))
		goto refused;
	if (st.st_size > 0 && !append)
		cli_warnx("%s: not empty: --append goes on with it", path);
	else if (st.st_size == 0 || resume(path, fd, (uint64_t)st.st_size, sessiono) == 0)
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
