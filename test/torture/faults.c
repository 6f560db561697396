/*
 * Preloaded, it kills the process at the EET_FAULT-th point, and says where: before each call that
 * changes a file or a directory, and in the middle of each write to a file.  A kill leaves the
 * system alone, so nothing is flushed.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* What the program starts is left in peace. */
__attribute__((constructor)) static void
begin(void)
{
	unsetenv("LD_PRELOAD");
}

static void
point(const char *call, const char *file)
{
	static atomic_long visited;
	const char *fault = getenv("EET_FAULT");
	long n = atomic_fetch_add(&visited, 1) + 1;

	if (fault == NULL || n != strtol(fault, NULL, 10))
		return;
	dprintf(STDERR_FILENO, "point %ld: %s %s\n", n, call, file);
	raise(SIGKILL);
}

static int
is_file(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* Half of what a file is given is written at first; the caller goes on, to another point. */
static int
halves(void)
{
	static _Thread_local int second;

	return second = !second;
}

ssize_t
write(int fd, const void *buf, size_t len)
{
	if (is_file(fd)) {
		point("write", "");
		if (len > 1 && halves())
			len /= 2;
	}
	return syscall(SYS_write, fd, buf, len);
}

ssize_t
writev(int fd, const struct iovec *iov, int n)
{
	if (is_file(fd)) {
		point("writev", "");
		if (iov[0].iov_len > 1 && halves())
			return syscall(SYS_write, fd, iov[0].iov_base, iov[0].iov_len / 2);
	}
	return syscall(SYS_writev, fd, iov, n);
}

int
fsync(int fd)
{
	(void)fd;
	point("fsync", "");
	return 0;
}

int
fdatasync(int fd)
{
	(void)fd;
	point("fdatasync", "");
	return 0;
}

int
ftruncate(int fd, off_t size)
{
	point("ftruncate", "");
	return (int)syscall(SYS_ftruncate, fd, size);
}

int
renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	point("renameat2", to);
	return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
}

int
unlinkat(int fd, const char *file, int flags)
{
	point("unlinkat", file);
	return (int)syscall(SYS_unlinkat, fd, file, flags);
}

int
mkdir(const char *file, mode_t mode)
{
	point("mkdir", file);
	return (int)syscall(SYS_mkdir, file, mode);
}

int
openat(int fd, const char *file, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	if ((flags & O_CREAT) != 0) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
		point("openat", file);
	}
	return (int)syscall(SYS_openat, fd, file, flags, mode);
}
