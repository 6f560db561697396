#include "source.h"

#include "cli.h"
#include "fdio.h"
#include "stop.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int
source_init(struct source *s, const char *path)
{
	struct stat st;
	const char *base;
	size_t stem;

	*s = (struct source){ .fd = -1, .end = UINT64_MAX };
	if (strcmp(path, "-") == 0) {
		s->label = "standard input";
		s->fd = STDIN_FILENO;
		if (fstat(s->fd, &st) == -1)
			return -1;
		s->regular = S_ISREG(st.st_mode);
		s->start = s->regular ? lseek(s->fd, 0, SEEK_CUR) : 0;
		return 0;
	}
	if (stat(path, &st) == -1 || (s->path = strdup(path)) == NULL)
		return -1;
	s->label = s->path;
	s->regular = S_ISREG(st.st_mode);
	base = strrchr(s->path, '/');
	base = base == NULL ? s->path : base + 1;
	s->dir_length = (size_t)(base - s->path);
	name_suffix(base, &stem);
	s->is_segment = name_parse(base, stem, &s->name);
	return 0;
}

void
source_free(struct source *s)
{
	if (s->fd != -1 && s->fd != STDIN_FILENO)
		close(s->fd);
	free(s->path);
}

int
source_open(struct source *s)
{
	int fd;

	if (s->fd != -1)
		return s->regular && lseek(s->fd, s->start, SEEK_SET) == -1 ? -1 : s->fd;
	/* A FIFO's open() waits for its writer. */
	do
		fd = open(s->path, O_RDONLY | O_CLOEXEC);
	while (fd == -1 && errno == EINTR && !stop_now());
	return fd;
}

void
source_close(const struct source *s, int fd)
{
	if (fd != s->fd)
		close(fd);
}

static int
nameless_file(const char *dir)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char *path;

	if (fd != -1 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
		return fd;
	/* Not every file system has files without a name. */
	if (asprintf(&path, "%s/.eet-wav.XXXXXX", dir) == -1)
		return -1;
	if ((fd = mkostemp(path, O_CLOEXEC)) != -1)
		unlink(path);
	free(path);
	return fd;
}

int
source_copy(struct source *s, const char *dir)
{
	static uint8_t buf[1 << 16];
	uint64_t size = 0;
	ssize_t n = 1;
	int in, out, status = CLI_OK;

	if ((out = nameless_file(dir)) == -1) {
		cli_warn("%s: no temporary file", dir);
		return CLI_EFAIL;
	}
	if ((in = source_open(s)) == -1) {
		if (errno != EINTR)
			cli_warn("%s", s->label);
		close(out);
		return CLI_EFAIL;
	}
	while (n > 0 && status == CLI_OK) {
		if (!stop_wait(in)) {
			cli_warnx("%s: offset %" PRIu64 ": stopped here, the input has not ended",
			    s->label, size);
			status = CLI_EDATA;
		} else if ((n = fdio_read(in, buf, sizeof buf)) == -1 && errno != EAGAIN) {
			cli_warn("%s: offset %" PRIu64, s->label, size);
			status = CLI_EFAIL;
		} else if (n > 0 && fdio_write_full(out, buf, (size_t)n, NULL) == -1) {
			cli_warn("%s: temporary file", dir);
			status = CLI_EFAIL;
		} else {
			size += n > 0 ? (uint64_t)n : 0;
			n = n == -1 ? 1 : n;
		}
	}
	source_close(s, in);
	s->fd = out;
	s->start = 0;
	s->regular = true;
	return status;
}
