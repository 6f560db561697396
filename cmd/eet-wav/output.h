/*
 * Where a WAV goes: standard output, a device, or a file that appears under its name only when it
 * is whole.
 */
#ifndef EET_WAV_OUTPUT_H
#define EET_WAV_OUTPUT_H

#include <stdbool.h>
#include <sys/types.h>

struct output {
	int fd;
	const char *label; /* the path as it was given, or "standard output" */
	char *path;        /* what the temporary file will be called; NULL: there is none */
	char *temporary;
	bool replace;
};

/* What is at path, "-" standing for standard output, can't be written in place. */
bool output_is_pipe(const char *path);

/* The directory that a file of that path is in; to be freed. */
char *output_directory(const char *path);

/*
 * Open path; label is kept, not copied.  replace: a file of that name is, when this one is
 * whole; else EEXIST, now or at the end.  mode: of a new file.  0, or -1 with errno.
 */
int output_open(struct output *o, const char *path, bool replace, mode_t mode);

/* All was written: give the file its name.  0, or -1 with errno and nothing left. */
int output_commit(struct output *o);

/* Leave no trace. */
void output_discard(struct output *o);

#endif
