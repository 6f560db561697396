/*
 * A file for each session.  All are open as long as there are descriptors; then the one that was
 * not written to for longest is closed, and opened again when it is.
 */
#include "output.h"

#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_SIZE = NAME_SIZE + sizeof ".eet.part" };

struct file {
	struct sink sink; /* first; its fd is -1 while the file is closed */
	struct files *all;
	TAILQ_ENTRY(file) link; /* in all->open or all->closed */
	dev_t dev; /* what was there when it was closed; inodes are used again, hence the size */
	ino_t ino;
	off_t size;
	uint8_t handshake[WIRE_HANDSHAKE_SIZE];
	const char *name; /* in the directory; a part of path */
	char path[];
};

TAILQ_HEAD(list, file);

struct files {
	struct output output; /* first */
	struct sinks *sinks;
	const char *dir;
	int fd;
	struct list open; /* those not written to for longest first */
	struct list closed;
};

/* Close an open file.  False: what was written to it may be lost, which was said. */
static bool
shut(struct file *f)
{
	struct stat st;
	int status = fstat(f->sink.fd, &st);

	if (status == 0 && st.st_nlink == 0) { /* removed, which no write notices */
		errno = ENOENT;
		status = -1;
	}
	if (close(f->sink.fd) == -1)
		status = -1;
	f->sink.fd = -1;
	TAILQ_REMOVE(&f->all->open, f, link);
	TAILQ_INSERT_TAIL(&f->all->closed, f, link);
	if (status == 0) {
		f->dev = st.st_dev;
		f->ino = st.st_ino;
		f->size = st.st_size;
	} else {
		cli_warn("%s", f->path);
	}
	return status == 0;
}

/* openat(2); if there are no more descriptors, at the cost of the file not used for longest. */
static int
open_in(struct files *all, const char *name, int flags)
{
	for (;;) {
		int fd = openat(all->fd, name, flags | O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC,
		    0640);
		int e = errno;

		if (fd != -1 || (e != EMFILE && e != ENFILE) || TAILQ_EMPTY(&all->open))
			return fd;
		if (!shut(TAILQ_FIRST(&all->open))) {
			errno = e;
			return -1;
		}
	}
}

static bool
exists(const struct files *all, const char *name, const char *extension)
{
	char file[FILE_SIZE];
	struct stat st;

	snprintf(file, sizeof file, "%s%s", name, extension);
	return fstatat(all->fd, file, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Create the file of the name that is free from n on; file is what it is called. */
static int
create(struct files *all, struct name n, char file[FILE_SIZE])
{
	for (; n.time_ms <= NAME_MAX_MS; n.time_ms++) {
		char name[NAME_SIZE];
		int fd;

		name_format(&n, name);
		snprintf(file, FILE_SIZE, "%s.eet", name);
		if (exists(all, name, ".wav") || exists(all, name, ".eet.part") ||
		    exists(all, name, ".wav.part"))
			continue;
		fd = open_in(all, file, O_CREAT | O_EXCL);
		if (fd != -1 || errno != EEXIST)
			return fd;
	}
	errno = EEXIST;
	return -1;
}

static int
ready(struct sink *s)
{
	struct file *f = (struct file *)s;
	bool again = s->fd == -1;
	struct stat st;

	if (again && (s->fd = open_in(f->all, f->name, 0)) == -1)
		return -1;
	TAILQ_REMOVE(again ? &f->all->closed : &f->all->open, f, link);
	TAILQ_INSERT_TAIL(&f->all->open, f, link);
	if (!again)
		return 0;
	if (fstat(s->fd, &st) == -1)
		return -1;
	/* What is there now is somebody else's. */
	if (st.st_dev != f->dev || st.st_ino != f->ino || st.st_size != f->size) {
		errno = ESTALE;
		return -1;
	}
	return 0;
}

static bool
failed(struct sink *s)
{
	cli_warn("%s", s->label);
	return false;
}

static bool
end(struct sink *s)
{
	struct file *f = (struct file *)s;
	bool sound = s->fd == -1 || shut(f); /* so it is among the closed ones */

	TAILQ_REMOVE(&f->all->closed, f, link);
	free(f);
	return sound;
}

static bool
begin(struct output *o, struct log_session *s, const struct name *n)
{
	static const struct sink_ops ops = { .ready = ready, .failed = failed, .end = end };
	struct files *all = (struct files *)o;
	size_t dir = strlen(all->dir);
	struct file *f = calloc(1, sizeof *f + dir + 1 + FILE_SIZE);
	char file[FILE_SIZE];

	if (f == NULL) {
		cli_warn("session %" PRIu32, n->session);
		return false;
	}
	f->all = all;
	f->sink = (struct sink){ .ops = &ops, .label = f->path, .fd = create(all, *n, file) };
	sprintf(f->path, "%s/%s", all->dir, file);
	f->name = f->path + dir + 1;
	if (f->sink.fd == -1) {
		cli_warn("%s", f->path);
		free(f);
		return false;
	}
	TAILQ_INSERT_TAIL(&all->open, f, link);
	cli_note(1, "session %" PRIu32 ": %s", n->session, f->path);
	s->user = &f->sink;
	/* A copy, because the session may end before it is written. */
	memcpy(f->handshake, s->handshake, sizeof f->handshake);
	return sinks_add(all->sinks, &f->sink, f->handshake, sizeof f->handshake);
}

static int
finish(struct output *o)
{
	struct files *all = (struct files *)o;
	struct file *f;
	int status = CLI_OK;

	/* Those that are left were not ended, because something failed. */
	while ((f = TAILQ_FIRST(&all->open)) != NULL)
		if (!shut(f))
			status = CLI_EFAIL;
	while ((f = TAILQ_FIRST(&all->closed)) != NULL) {
		TAILQ_REMOVE(&all->closed, f, link);
		free(f);
	}
	close(all->fd);
	free(all);
	return status;
}

struct output *
output_files(struct sinks *ss, const char *dir)
{
	struct files *all = calloc(1, sizeof *all);

	if (all == NULL || (mkdir(dir, 0750) == -1 && errno != EEXIST) ||
	    (all->fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1) {
		cli_warn("%s", dir);
		free(all);
		return NULL;
	}
	all->output = (struct output){ .begin = begin, .finish = finish };
	all->sinks = ss;
	all->dir = dir;
	TAILQ_INIT(&all->open);
	TAILQ_INIT(&all->closed);
	return &all->output;
}
