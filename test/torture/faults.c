/*
 * Preloaded, it lets a call go wrong that changes a file or a directory, and says which: it is killed
 * before it, fails, or does not come back.  Each write to a file is done in two halves, so that it can
 * go wrong in the middle, too; nothing is synced, because a kill leaves the system alone.
 *
 *	EET_FAULT=N		the Nth call (1)
 *	EET_WHILE=FILE		… and all that follow, as long as FILE is there; nothing is said
 *	EET_CALLS="CALL ..."	only these are counted; read, pread and readdir are if they are named
 *	EET_ON=TEXT		only those on a file whose path ends in TEXT,
 *	EET_ACTION=kill		the process is killed
 *	EET_ACTION=ENOSPC	it fails with that error, or any other
 *	EET_ACTION=stall	it takes 3 seconds, or until FILE is gone
 *	EET_RENAME=link		the file system knows no RENAME_NOREPLACE
 *	EET_RENAME=plain	… and no links
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static const char *
setting(const char *name, const char *otherwise)
{
	const char *value = getenv(name);

	return value != NULL ? value : otherwise;
}

static bool
is_counted(const char *call)
{
	const char *calls = setting("EET_CALLS",
	    "open openat mkdir write writev pwrite ftruncate fsync fdatasync syncfs rename renameat renameat2 "
	    "linkat unlink unlinkat");
	size_t len = strlen(call);

	for (const char *p = calls; (p = strstr(p, call)) != NULL; p += len)
		if ((p == calls || p[-1] == ' ') && (p[len] == ' ' || p[len] == '\0'))
			return true;
	return false;
}

static int
error_named(const char *name)
{
	for (int e = 1; e < 200; e++) {
		const char *known = strerrorname_np(e);

		if (known != NULL && strcmp(known, name) == 0)
			return e;
	}
	abort();
}

/* Does text end in one of the endings, which spaces separate? */
static bool
ends_in(const char *text, const char *endings)
{
	size_t len = strlen(text);

	for (const char *p = endings; *p != '\0';) {
		size_t n = strcspn(p, " ");

		if (n > 0 && len >= n && memcmp(text + len - n, p, n) == 0)
			return true;
		p += n + (p[n] == ' ');
	}
	return false;
}

/* Is a call on file, or (NULL) on fd, on one that EET_ON speaks of? */
static bool
is_meant(int fd, const char *file)
{
	const char *endings = setting("EET_ON", "");
	char link[40], path[PATH_MAX] = "";

	if (*endings == '\0')
		return true;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	if (file == NULL && readlink(link, path, sizeof path - 1) > 0)
		file = path;
	return file != NULL && ends_in(file, endings);
}

/* A call on file, or (NULL) on fd.  0: it is to be made; -1: it has failed, with errno. */
static int
point(const char *call, int fd, const char *file)
{
	static atomic_long visited;
	const char *action = setting("EET_ACTION", "kill"), *flag = getenv("EET_WHILE");
	long fault = strtol(setting("EET_FAULT", flag != NULL ? "1" : "0"), NULL, 10), n;
	char link[40], path[PATH_MAX] = "";

	/* What is asked of all files at once is meant with any of them. */
	if (!is_counted(call) || (strcmp(call, "syncfs") != 0 && !is_meant(fd, file)) ||
	    ((n = atomic_fetch_add(&visited, 1) + 1) != fault && (flag == NULL || n < fault)) ||
	    (flag != NULL && access(flag, F_OK) == -1))
		return 0;
	if (flag == NULL) {
		snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		if (file == NULL && readlink(link, path, sizeof path - 1) > 0)
			file = path;
		dprintf(STDERR_FILENO, "point %ld: %s %s\n", n, call, file);
	}
	if (strcmp(action, "kill") == 0) {
		raise(SIGKILL);
	} else if (strcmp(action, "stall") == 0) {
		for (int i = 0; flag != NULL ? access(flag, F_OK) == 0 : i < 300; i++)
			usleep(10000);
		return 0;
	}
	errno = error_named(action);
	return -1;
}

/* A file's own data: what is said on standard error is not. */
static bool
is_file(int fd)
{
	struct stat st;

	return fd != STDERR_FILENO && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* Half of what a file is given is written at first; the caller goes on, to another point. */
static bool
halves(void)
{
	static _Thread_local bool first;

	return first = !first;
}

ssize_t
write(int fd, const void *buf, size_t len)
{
	if (is_file(fd)) {
		if (point("write", fd, NULL) == -1)
			return -1;
		if (len > 1 && halves())
			len /= 2;
	}
	return syscall(SYS_write, fd, buf, len);
}

ssize_t
pwrite64(int fd, const void *buf, size_t len, off_t at)
{
	if (is_file(fd) && point("pwrite", fd, NULL) == -1)
		return -1;
	return syscall(SYS_pwrite64, fd, buf, len, at);
}

ssize_t
writev(int fd, const struct iovec *iov, int n)
{
	if (is_file(fd)) {
		if (point("writev", fd, NULL) == -1)
			return -1;
		if (iov[0].iov_len > 1 && halves())
			return syscall(SYS_write, fd, iov[0].iov_base, iov[0].iov_len / 2);
	}
	return syscall(SYS_writev, fd, iov, n);
}

/* A stream's data goes out through write() above: within the C library, it would not. */

static ssize_t
write_cookie(void *cookie, const char *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write((int)(intptr_t)cookie, buf + done, len - done);

		if (n == -1)
			return -1;
		done += (size_t)n;
	}
	return (ssize_t)len;
}

static int
close_cookie(void *cookie)
{
	return close((int)(intptr_t)cookie);
}

FILE *
fdopen(int fd, const char *mode)
{
	if (strcmp(mode, "w") != 0)
		abort();
	return fopencookie((void *)(intptr_t)fd, mode,
	    (cookie_io_functions_t){ .write = write_cookie, .close = close_cookie });
}

ssize_t
read(int fd, void *buf, size_t len)
{
	if (is_file(fd) && point("read", fd, NULL) == -1)
		return -1;
	return syscall(SYS_read, fd, buf, len);
}

ssize_t
pread(int fd, void *buf, size_t len, off_t offset)
{
	if (point("pread", fd, NULL) == -1)
		return -1;
	return syscall(SYS_pread64, fd, buf, len, offset);
}

struct dirent *
readdir(DIR *dir)
{
	static __typeof__(readdir) *real;

	if (point("readdir", dirfd(dir), NULL) == -1)
		return NULL;
	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "readdir64");
	return real(dir);
}

int
fsync(int fd)
{
	return point("fsync", fd, NULL);
}

int
fdatasync(int fd)
{
	return point("fdatasync", fd, NULL);
}

int
syncfs(int fd)
{
	return point("syncfs", fd, NULL);
}

int
ftruncate(int fd, off_t size)
{
	if (point("ftruncate", fd, NULL) == -1)
		return -1;
	return (int)syscall(SYS_ftruncate, fd, size);
}

int
rename(const char *from, const char *to)
{
	if (point("rename", -1, to) == -1)
		return -1;
	return (int)syscall(SYS_rename, from, to);
}

int
renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	if (point("renameat", -1, to) == -1)
		return -1;
	return (int)syscall(SYS_renameat, from_fd, from, to_fd, to);
}

int
renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	if (getenv("EET_RENAME") != NULL) {
		errno = EINVAL;
		return -1;
	}
	if (point("renameat2", -1, to) == -1)
		return -1;
	return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
}

int
linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	if (strcmp(setting("EET_RENAME", ""), "plain") == 0) {
		errno = EPERM;
		return -1;
	}
	if (point("linkat", -1, to) == -1)
		return -1;
	return (int)syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
}

int
unlink(const char *file)
{
	if (point("unlink", -1, file) == -1)
		return -1;
	return (int)syscall(SYS_unlink, file);
}

int
unlinkat(int fd, const char *file, int flags)
{
	if (point("unlinkat", -1, file) == -1)
		return -1;
	return (int)syscall(SYS_unlinkat, fd, file, flags);
}

int
mkdir(const char *file, mode_t mode)
{
	if (point("mkdir", -1, file) == -1)
		return -1;
	return (int)syscall(SYS_mkdir, file, mode);
}

/* What is opened to be read is no point. */
static int
opened(const char *call, int fd, const char *file, int flags, va_list ap)
{
	mode_t mode = 0;

	if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE) {
		mode = va_arg(ap, mode_t);
		if (point(call, -1, file) == -1)
			return -1;
	}
	return (int)syscall(SYS_openat, fd, file, flags, mode);
}

int
openat(int fd, const char *file, int flags, ...)
{
	va_list ap;
	int new;

	va_start(ap, flags);
	new = opened("openat", fd, file, flags, ap);
	va_end(ap);
	return new;
}

int
open(const char *file, int flags, ...)
{
	va_list ap;
	int new;

	va_start(ap, flags);
	new = opened("open", AT_FDCWD, file, flags, ap);
	va_end(ap);
	return new;
}
