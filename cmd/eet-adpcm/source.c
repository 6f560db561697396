#include "source.h"

#include "cli.h"
#include "fdio.h"
#include "stop.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool
source_open(struct source *s, const char *path)
{
	struct stat st;

	*s = (struct source){ .label = path, .fd = STDIN_FILENO, .pump = -1 };
	if (strcmp(path, "-") == 0)
		s->label = "standard input";
	else
		/* A FIFO's open() waits for its writer. */
		do
			s->fd = open(path, O_RDONLY | O_NOCTTY | O_CLOEXEC);
		while (s->fd == -1 && errno == EINTR && !stop_now());
	if (s->fd == -1 || fstat(s->fd, &st) == -1) {
		cli_warn("%s", s->label);
		return false;
	}
	s->regular = S_ISREG(st.st_mode);
	s->start = s->regular ? lseek(s->fd, 0, SEEK_CUR) : 0;
	return true;
}

int
source_close(struct source *s)
{
	int status = CLI_OK;

	if (s->pump != -1)
		close(s->pump);
	else if (s->fd != STDIN_FILENO)
		close(s->fd);
	if (s->error != 0) {
		errno = s->error;
		cli_warn("%s: offset %" PRIu64, s->label, s->offset);
		status = CLI_EFAIL;
	} else if (s->stopped) {
		cli_warnx("%s: offset %" PRIu64 ": stopped here, the input has not ended", s->label,
		    s->offset);
		status = CLI_EDATA;
	}
	return status;
}

/* The same, past the head. */
static size_t
read_on(struct source *s, void *buf, size_t len)
{
	ssize_t n;

	do {
		if (s->regular ? stop_now() : !stop_wait(s->fd)) {
			s->stopped = true;
			return 0;
		}
		n = fdio_read(s->fd, buf, len);
	} while (n == -1 && errno == EAGAIN);
	if (n == -1) {
		s->error = errno;
		return 0;
	}
	s->offset += (uint64_t)n;
	return (size_t)n;
}

size_t
source_read(struct source *s, void *buf, size_t len)
{
	size_t n = s->head_len < len ? s->head_len : len;

	if (n == 0)
		return read_on(s, buf, len);
	memcpy(buf, s->head, n);
	s->head_len -= n;
	memmove(s->head, s->head + n, s->head_len);
	return n;
}

size_t
source_peek(struct source *s, size_t len)
{
	size_t n = 1;

	while (s->head_len < len && n > 0) {
		n = read_on(s, s->head + s->head_len, len - s->head_len);
		s->head_len += n;
	}
	return s->head_len;
}

struct pump {
	struct source *source;
	int to;
	sigset_t signals;
};

/*
 * Copies the source into the pipe.  It takes all signals, to be woken up by them; and stays for
 * that when there is nothing left to copy, because the other thread may have to be ended while it
 * writes to somebody who reads nothing.
 */
static void *
pump(void *arg)
{
	struct pump *p = arg;
	static uint8_t buf[1 << 16];
	size_t n;

	pthread_sigmask(SIG_SETMASK, &p->signals, NULL);
	while ((n = source_read(p->source, buf, sizeof buf)) > 0)
		if (fdio_write_full(p->to, buf, n, NULL) == -1)
			break; /* it is read no longer, for a reason that was told */
	close(p->to);
	for (;;)
		pause();
	return NULL;
}

int
source_descriptor(struct source *s)
{
	static struct pump p;
	pthread_t thread;
	sigset_t all;
	int fds[2];

	if (s->regular) {
		if (lseek(s->fd, s->start, SEEK_SET) == -1) {
			cli_warn("%s", s->label);
			return -1;
		}
		s->head_len = 0;
		return s->fd;
	}
	if (pipe2(fds, O_CLOEXEC) == -1) {
		cli_warn("%s", s->label);
		return -1;
	}
	p = (struct pump){ .source = s, .to = fds[1] };
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &p.signals);
	if ((errno = pthread_create(&thread, NULL, pump, &p)) != 0) {
		cli_warn("%s", s->label);
		return -1;
	}
	return s->pump = fds[0];
}
