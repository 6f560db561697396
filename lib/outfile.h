/*
 * Where a program's output goes: standard output, a device, or a file that appears under its name
 * only when it is whole.  For programs, as cli is.
 */
#ifndef EET_OUTFILE_H
#define EET_OUTFILE_H

#include <stdbool.h>
#include <sys/types.h>

struct outfile {
	int fd;
	const char *label; /* the path as it was given, or "standard output" */
	char *path;        /* what the file will be called; NULL: it has its name */
	char *temporary;   /* what it is called until then; NULL: it has no name */
	bool replace;
};

/* What is at path, "-" standing for standard output, can't be written in place. */
bool outfile_is_pipe(const char *path);

/* The directory that a file of that path is in; to be freed. */
char *outfile_directory(const char *path);

/*
 * An empty file without a name, mode 0600, for data that is gone when its descriptor is closed.  dir:
 * where its bytes are to be; NULL: where temporary files go: TMPDIR if it is set and not empty, else
 * /var/tmp, by custom larger than /tmp, or /tmp if none can be created there.  *whereo: the place,
 * for messages; it lives as long as dir and the environment.  The descriptor, or -1 with errno.
 */
int outfile_scratch(const char *dir, const char **whereo);

/*
 * Open path; label is kept, not copied.  replace: a file of that name is, when this one is
 * whole; else EEXIST, now or at the end.  mode: of a new file.  0, or -1 with errno.
 */
int outfile_open(struct outfile *o, const char *path, bool replace, mode_t mode);

/* All was written: give the file its name.  0, or -1 with errno and nothing left. */
int outfile_commit(struct outfile *o);

/* Leave no trace. */
void outfile_discard(struct outfile *o);

#endif
