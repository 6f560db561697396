/* A directory of a test's own, and what is in it. */
#ifndef EET_TEST_SCRATCH_H
#define EET_TEST_SCRATCH_H

#include "logs.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct scratch {
	char path[128];
	int fd;
};

static inline struct scratch
scratch_new(void)
{
	const char *tmp = getenv("TMPDIR");
	struct scratch s;

	snprintf(s.path, sizeof s.path, "%s/eet-unit.XXXXXX", tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(s.path) == NULL ||
	    (s.fd = open(s.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1)
		abort();
	return s;
}

/* Everything in it, "." and ".." left out, sorted. */
static inline int
scratch_names(const struct scratch *s, struct dirent ***o)
{
	int n = scandir(s->path, o, NULL, alphasort), kept = 0;

	if (n < 0)
		abort();
	for (int i = 0; i < n; i++)
		if (strcmp((*o)[i]->d_name, ".") == 0 || strcmp((*o)[i]->d_name, "..") == 0)
			free((*o)[i]);
		else
			(*o)[kept++] = (*o)[i];
	return kept;
}

static inline void
scratch_empty(const struct scratch *s)
{
	struct dirent **names;
	int n = scratch_names(s, &names);

	while (n-- > 0) {
		if (unlinkat(s->fd, names[n]->d_name, 0) == -1 &&
		    unlinkat(s->fd, names[n]->d_name, AT_REMOVEDIR) == -1)
			abort();
		free(names[n]);
	}
	free(names);
}

static inline void
scratch_free(struct scratch *s)
{
	scratch_empty(s);
	close(s->fd);
	rmdir(s->path);
}

/* The names, a line each, to be freed by the caller. */
static inline char *
scratch_list(const struct scratch *s)
{
	struct dirent **names;
	int n = scratch_names(s, &names);
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	for (int i = 0; i < n; i++) {
		fprintf(f, "%s\n", names[i]->d_name);
		free(names[i]);
	}
	free(names);
	fclose(f);
	return text;
}

static inline void
scratch_write(const struct scratch *s, const char *file, const void *p, size_t len)
{
	int fd = openat(s->fd, file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

	if (fd == -1 || write(fd, p, len) != (ssize_t)len || close(fd) == -1)
		abort();
}

/* All of a file, to be freed by the caller. */
static inline struct bytes
scratch_read(const struct scratch *s, const char *file)
{
	int fd = openat(s->fd, file, O_RDONLY | O_CLOEXEC);
	struct bytes b = { 0 };
	uint8_t buf[65536];
	ssize_t n;

	if (fd == -1) {
		fprintf(stderr, "%s/%s can't be read\n", s->path, file);
		abort();
	}
	while ((n = read(fd, buf, sizeof buf)) > 0)
		bytes_add(&b, buf, (size_t)n);
	close(fd);
	return b;
}

static inline bool
scratch_has(const struct scratch *s, const char *file)
{
	return faccessat(s->fd, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

#endif
