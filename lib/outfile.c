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

/* A new file beside path, for writing.  Its name says whose it is and is too short to be refused. */
static int
create_beside(const char *path, mode_t mode, char **nameo)
{
	char *dir = outfile_directory(path), *name = NULL;
	int fd = -1;

	if (dir == NULL)
		return -1;
	for (unsigned i = 0; fd == -1; i++) {
		if (asprintf(&name, "%s/.%s.%ld.%u", dir, cli_name(), (long)getpid(), i) == -1) {
			name = NULL;
			break;
		}
		fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
		if (fd != -1)
			break;
		free(name);
		name = NULL;
		if (errno != EEXIST)
			break;
	}
	free(dir);
	*nameo = name;
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

int
outfile_commit(struct outfile *o)
{
	int e, status;

	if (o->temporary == NULL) {
		if (o->fd != STDOUT_FILENO && close(o->fd) == -1)
			return -1;
		return 0;
	}
	/* Not before the data are on disk: else a power cut could leave an empty file under the name. */
	if (fsync(o->fd) == -1)
		goto fail;
	status = close(o->fd);
	o->fd = -1;
	if (status == -1)
		goto fail;
	if ((o->replace ? rename(o->temporary, o->path)
			: fdio_rename_new(AT_FDCWD, o->temporary, o->path)) == -1)
		goto fail;
	free(o->temporary);
	free(o->path);
	return 0;
fail:
	e = errno;
	outfile_discard(o);
	errno = e;
	return -1;
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
