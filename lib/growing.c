#include "growing.h"

#include "bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECES_AT_ONCE = 256 }; /* in one write */

void
growing_init(struct growing_set *set, const struct segment_dir *d, size_t max_open)
{
	*set = (struct growing_set){ .dir = d, .max_open = max_open };
	TAILQ_INIT(&set->open);
	TAILQ_INIT(&set->dirty);
}

void
growing_begin(struct growing *g, const uint8_t handshake[WIRE_HANDSHAKE_SIZE])
{
	*g = (struct growing){ .fd = -1 };
	memcpy(g->handshake, handshake, WIRE_HANDSHAKE_SIZE);
}

/*
 * ---- Descriptors ----
 */

static void
close_file(struct growing_set *set, struct growing *g)
{
	if (g->fd == -1)
		return;
	TAILQ_REMOVE(&set->open, g, by_use);
	set->n_open--;
	close(g->fd);
	g->fd = -1;
}

static void
use_file(struct growing_set *set, struct growing *g, int fd)
{
	g->fd = fd;
	TAILQ_INSERT_TAIL(&set->open, g, by_use);
	set->n_open++;
}

/* Close others until there may be one more.  failed: even fewer than thought; false: none is left. */
static bool
make_room(struct growing_set *set, bool failed)
{
	if (failed && (TAILQ_EMPTY(&set->open) || (errno != EMFILE && errno != ENFILE)))
		return false;
	if (failed)
		close_file(set, TAILQ_FIRST(&set->open));
	while (set->n_open >= set->max_open)
		close_file(set, TAILQ_FIRST(&set->open));
	return true;
}

int
growing_create(struct growing_set *set, struct growing *g, struct name *n)
{
	int fd;

	make_room(set, false);
	while ((fd = segment_create(set->dir, n)) == -1)
		if (!make_room(set, true))
			return -1;
	g->name = *n;
	g->exists = true;
	g->base = 0;
	g->size = 0;
	for (size_t i = g->first; i < g->n; i++)
		g->size += g->pieces[i].len;
	g->size += WIRE_HANDSHAKE_SIZE;
	use_file(set, g, fd);
	return 0;
}

/* Bytes of the log that are in the file.  The handshake goes out with the first piece. */
static uint64_t
written(const struct growing *g)
{
	uint64_t bytes = g->base + g->skip;

	for (size_t i = 0; i < g->first; i++)
		bytes += g->pieces[i].len;
	return bytes;
}

/* Is it as it was left?  Its inode may have gone to another file since it was removed. */
static bool
is_its_file(const struct growing *g, int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == written(g);
}

/* Have the file open, and be the last one to be closed. */
static int
open_file(struct growing_set *set, struct growing *g)
{
	char file[NAME_FILE_SIZE];
	int fd;

	if (g->fd != -1) {
		TAILQ_REMOVE(&set->open, g, by_use);
		TAILQ_INSERT_TAIL(&set->open, g, by_use);
		return 0;
	}
	make_room(set, false);
	name_file(&g->name, ".eet.part", file);
	while ((fd = openat(set->dir->fd, file,
		    O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW)) == -1)
		if (!make_room(set, true))
			return -1;
	if (!is_its_file(g, fd)) {
		close(fd);
		errno = ENOENT;
		return -1;
	}
	use_file(set, g, fd);
	return 0;
}

/*
 * ---- Frames ----
 */

/* Frames of a frame log lie side by side. */
static bool
extends_last(const struct growing *g, const uint8_t *frame, uint32_t gap)
{
	const struct growing_piece *last;

	if (g->n == g->first || gap > 0)
		return false;
	last = &g->pieces[g->n - 1];
	return last->data + last->len == frame;
}

int
growing_append(struct growing_set *set, struct growing *g, const uint8_t *frame, size_t len,
    uint64_t time_us, uint32_t gap)
{
	if (extends_last(g, frame, gap)) {
		g->pieces[g->n - 1].len += len;
		g->size += len;
		return 0;
	}
	if (g->n == g->capacity) {
		size_t capacity = g->capacity > 0 ? 2 * g->capacity : 8;
		struct growing_piece *pieces = realloc(g->pieces, capacity * sizeof *pieces);

		if (pieces == NULL)
			return -1;
		g->pieces = pieces;
		g->capacity = capacity;
	}
	if (g->n == 0)
		TAILQ_INSERT_TAIL(&set->dirty, g, by_flush);
	g->pieces[g->n++] = (struct growing_piece){ frame, len, time_us, gap };
	g->size += len;
	return 0;
}

/* All pieces are written, or remain with nobody. */
static void
forget_pieces(struct growing_set *set, struct growing *g)
{
	if (g->n > 0)
		TAILQ_REMOVE(&set->dirty, g, by_flush);
	g->first = g->n = g->skip = 0;
}

/* The next bytes to be written, as many as one call takes, into iov.  Returns how many entries. */
static int
next_pieces(const struct growing *g, struct iovec iov[PIECES_AT_ONCE + 1])
{
	size_t skip = g->skip;
	int n = 0;

	/* writev(2) only reads. */
	if (g->base < WIRE_HANDSHAKE_SIZE)
		iov[n++] = (struct iovec){ (void *)(uintptr_t)(g->handshake + g->base),
			WIRE_HANDSHAKE_SIZE - g->base };
	for (size_t i = g->first; i < g->n && n <= PIECES_AT_ONCE; i++, skip = 0)
		iov[n++] = (struct iovec){ (void *)(uintptr_t)(g->pieces[i].data + skip),
			g->pieces[i].len - skip };
	return n;
}

/* So many bytes more are in the file. */
static void
advance(struct growing *g, size_t bytes)
{
	size_t part = g->base < WIRE_HANDSHAKE_SIZE ? WIRE_HANDSHAKE_SIZE - g->base : 0;

	if (part > bytes)
		part = bytes;
	g->base += part;
	g->skip += bytes - part;
	while (g->first < g->n && g->skip >= g->pieces[g->first].len)
		g->skip -= g->pieces[g->first++].len;
}

int
growing_write(struct growing_set *set, struct growing *g)
{
	struct iovec iov[PIECES_AT_ONCE + 1];

	if (g->n == 0)
		return 0;
	if (open_file(set, g) == -1)
		return -1;
	while (g->first < g->n) {
		ssize_t n = writev(g->fd, iov, next_pieces(g, iov));

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			return -1;
		advance(g, (size_t)n);
	}
	g->base = g->size;
	g->unsynced = true;
	forget_pieces(set, g);
	return 0;
}

bool
growing_is_removed(const struct growing *g)
{
	struct stat st;

	return g->fd != -1 && fstat(g->fd, &st) == 0 && st.st_nlink == 0;
}

/*
 * Go back to the frame that is only in part in the file, if there is one: within its piece, frames
 * are found by their lengths.  Returns how many of its bytes are in the file.
 */
static size_t
keep_torn_frame(struct growing *g)
{
	struct growing_piece *p;
	size_t at = 0, next;

	if (g->first == g->n)
		return 0;
	p = &g->pieces[g->first];
	while ((next = at + WIRE_FRAME_HEADER_SIZE + le32_load(p->data + at + 4)) <= g->skip)
		at = next;
	p->data += at;
	p->len -= at;
	if (at > 0)
		p->gap = 0;
	next = g->skip - at;
	g->skip = 0;
	return next;
}

const struct growing_piece *
growing_rest(const struct growing *g)
{
	return g->first < g->n ? &g->pieces[g->first] : NULL;
}

int
growing_give_up(struct growing_set *set, struct growing *g, bool cut, bool *wholeo)
{
	uint64_t end = written(g), whole = end - keep_torn_frame(g);
	int status = 0, e;

	if (cut && whole < end)
		status = ftruncate(g->fd, (off_t)whole);
	e = errno;
	close_file(set, g);
	g->exists = false;
	g->size = whole;
	if (g->first == g->n)
		forget_pieces(set, g);
	else
		memmove(g->pieces, g->pieces + g->first, (g->n - g->first) * sizeof *g->pieces);
	g->n -= g->first;
	g->first = 0;
	*wholeo = whole > WIRE_HANDSHAKE_SIZE;
	errno = e;
	return status;
}

void
growing_end(struct growing_set *set, struct growing *g)
{
	close_file(set, g);
	g->exists = false;
}

void
growing_free(struct growing_set *set, struct growing *g)
{
	close_file(set, g);
	forget_pieces(set, g);
	free(g->pieces);
	g->pieces = NULL;
	g->exists = false;
}
