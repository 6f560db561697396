#include "outfile.h"

#include "cli.h"
#include "fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool
is_standard(const char *path)
{
	return strcmp(path, "-") == 0;
}

bool
outfile_is_pipe(const char *path)
{
	struct stat st;

	if ((is_standard(path) ? fstat(STDOUT_FILENO, &st) : stat(path, &st)) == -1)
		return false;
	return !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

char *
outfile_directory(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (slash == NULL)
		return strdup(".");
	return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

/*
 * Call take(arg, name) with names in dir until one is free: they tell whose they are, and are too
 * short to be refused.  Returns what it does, *nameo being to be freed; -1: errno.
 */
static int
take_name(const char *dir, int (*take)(void *arg, const char *name), void *arg, char **nameo)
{
	char *name = NULL;
	int status = -1;

	*nameo = NULL;
	for (unsigned i = 0; status == -1; i++) {
		if (asprintf(&name, "%s/.%s.%ld.%u", dir, cli_name(), (long)getpid(), i) == -1)
			break;
		if ((status = take(arg, name)) != -1) {
			*nameo = name;
			break;
		}
		free(name);
		if (errno != EEXIST)
			break;
	}
	return status;
}

static int
create(void *mode, const char *name)
{
	return open(name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, *(mode_t *)mode);
}

static int
give(void *fd, const char *name)
{
	char self[sizeof "/proc/self/fd/" + 3 * sizeof(int)];

	snprintf(self, sizeof self, "/proc/self/fd/%d", *(int *)fd);
	return linkat(AT_FDCWD, self, AT_FDCWD, name, AT_SYMLINK_FOLLOW);
}

/*
 * A new file in dir, for reading and writing.  Without a name if the file system allows it, so that
 * nothing is left whatever happens to the program; else *nameo is its name.
 */
static int
create_in(const char *dir, mode_t mode, char **nameo)
{
	int fd = -1;

	*nameo = NULL;
	if (access("/proc/self/fd/", X_OK) == 0)
		fd = open(dir, O_RDWR | O_TMPFILE | O_CLOEXEC, mode);
	return fd != -1 ? fd : take_name(dir, create, &mode, nameo);
}

static int
create_beside(const char *path, mode_t mode, char **nameo)
{
	char *dir = outfile_directory(path);
	int fd = dir != NULL ? create_in(dir, mode, nameo) : -1;

	free(dir);
	return fd;
}

static int
create_nameless(const char *dir)
{
	char *name;
	int fd = create_in(dir, 0600, &name);

	if (name != NULL)
		unlink(name);
	free(name);
	return fd;
}

int
outfile_scratch(const char *dir, const char **whereo)
{
	const char *given = getenv("TMPDIR");
	int fd;

	if (dir == NULL && given != NULL && *given != '\0')
		dir = given;
	*whereo = dir != NULL ? dir : "/var/tmp, /tmp";
	if (dir != NULL)
		return create_nameless(dir);
	if ((fd = create_nameless("/var/tmp")) == -1)
		fd = create_nameless("/tmp");
	return fd;
}

int
outfile_open(struct outfile *o, const char *path, bool replace, mode_t mode)
{
	struct stat st;
	bool exists;

	*o =
	    (struct outfile){ .fd = STDOUT_FILENO, .label = "standard output", .replace = replace };
	if (is_standard(path))
		return 0;
	o->label = path;
	exists = stat(path, &st) == 0;
	if (exists && !replace) {
		errno = EEXIST;
		return -1;
	}
	if (exists && !S_ISREG(st.st_mode)) /* a device or a FIFO; a directory fails here */
		return (o->fd = open(path, O_WRONLY | O_CLOEXEC)) == -1 ? -1 : 0;
	/* A symbolic link stays one: what it points to is replaced. */
	o->path = exists ? realpath(path, NULL) : strdup(path);
	if (o->path == NULL)
		return -1;
	if ((o->fd = create_beside(o->path, mode, &o->temporary)) == -1)
		goto fail;
	if (exists && fchmod(o->fd, st.st_mode & 07777) == -1)
		goto fail;
	return 0;
fail:
	outfile_discard(o);
	return -1;
}

/* Its name, at last.  0, or -1 with errno. */
static int
name_it(struct outfile *o)
{
	char *dir;
	int status;

	if (o->temporary == NULL) {
		if (give(&o->fd, o->path) == 0)
			return 0;
		/* What is there can't be replaced but by something that has a name. */
		if (errno != EEXIST || !o->replace || (dir = outfile_directory(o->path)) == NULL)
			return -1;
		status = take_name(dir, give, &o->fd, &o->temporary);
		free(dir);
		if (status == -1)
			return -1;
	}
	return o->replace ? rename(o->temporary, o->path)
			  : fdio_rename_new(AT_FDCWD, o->temporary, o->path);
}

int
outfile_commit(struct outfile *o)
{
	int e;

	if (o->path == NULL) {
		if (o->fd != STDOUT_FILENO && close(o->fd) == -1)
			return -1;
		return 0;
	}
	/* Not before the data are on disk: else a power cut could leave an empty file under the name. */
	if (fsync(o->fd) == -1 || name_it(o) == -1) {
		e = errno;
		outfile_discard(o);
		errno = e;
		return -1;
	}
	close(o->fd); /* it can't fail any more: all is synced */
	free(o->temporary);
	free(o->path);
	return 0;
}

void
outfile_discard(struct outfile *o)
{
	int e = errno;

	if (o->fd != -1 && o->fd != STDOUT_FILENO)
		close(o->fd);
	if (o->temporary != NULL)
		unlink(o->temporary);
	free(o->temporary);
	free(o->path);
	errno = e;
}
