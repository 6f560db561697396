/*
 * Preloaded, it writes down everything that changes a file or a directory, in its order and with its
 * data, in the file that EET_POWER names, and what is printed on standard output too: power.py makes
 * of it what a disk may hold after a power cut.  Nothing is really synced, which takes its time.
 *
 * EET_POWER_KILL=N kills the process behind the Nth of these calls.
 */
#undef _FILE_OFFSET_BITS /* both names of a function are wanted, with 64 and without */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == sizeof(off64_t), "a machine with 64 bits is needed");

enum kind { CREATE, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, LINK, MKDIR, PRINT };

/* Followed by two strings with their NULs, and by the data. */
struct op {
	uint32_t kind;
	uint32_t strings; /* bytes of them */
	uint64_t data;    /* bytes of it */
	uint64_t file;    /* inode */
	uint64_t dir;     /* inode, of the first string */
	uint64_t where;   /* inode of the second string's directory; offset; size */
};

static int out = -1;
static pthread_mutex_t lock =
    PTHREAD_MUTEX_INITIALIZER; /* from before a call to when it is written */

/* What the program starts is left in peace. */
__attribute__((constructor)) static void
begin(void)
{
	const char *file = getenv("EET_POWER");
	int fd = file == NULL ? -1
			      : (int)syscall(SYS_openat, AT_FDCWD, file,
				    O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	unsetenv("LD_PRELOAD");
	if (file == NULL)
		return;
	/* Out of the way of descriptors that a test has opened. */
	out = fcntl(fd, F_DUPFD_CLOEXEC, 100);
	if (out == -1)
		abort();
	close(fd);
}

/* Called with the lock, which is let go.  One write, so that others can append too. */
static void
note(struct op op, const char *first, const char *second, const struct iovec *iov)
{
	static long calls;
	const char *fault = getenv("EET_POWER_KILL");
	size_t one = strlen(first) + 1, two = strlen(second) + 1, len;
	char *record, *p;

	if (out == -1) {
		pthread_mutex_unlock(&lock);
		return;
	}
	op.strings = (uint32_t)(one + two);
	len = sizeof op + one + two + (size_t)op.data;
	if ((record = malloc(len)) == NULL)
		abort();
	p = mempcpy(record, &op, sizeof op);
	p = mempcpy(p, first, one);
	p = mempcpy(p, second, two);
	for (uint64_t left = op.data; left > 0; iov++) {
		size_t n = iov->iov_len < left ? iov->iov_len : (size_t)left;

		p = mempcpy(p, iov->iov_base, n);
		left -= n;
	}
	if (syscall(SYS_write, out, record, len) != (long)len)
		abort();
	free(record);
	if (fault != NULL && ++calls == strtol(fault, NULL, 10))
		raise(SIGKILL);
	pthread_mutex_unlock(&lock);
}

/* Not to be noted. */
static int
forget(int status)
{
	pthread_mutex_unlock(&lock);
	return status;
}

static uint64_t
inode(int dir, const char *file)
{
	struct stat st;

	return fstatat(dir, file, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) == 0 ? st.st_ino : 0;
}

static const char *
base(const char *file)
{
	const char *slash = strrchr(file, '/');

	return slash != NULL ? slash + 1 : file;
}

/* Of the directory that file is in. */
static uint64_t
parent(int dir, const char *file)
{
	char path[PATH_MAX];

	snprintf(path, sizeof path, "%.*s", (int)(base(file) - file), file);
	return inode(dir, path[0] != '\0' ? path : ".");
}

/* Standard output, or a copy of it. */
static int
is_output(int fd)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && fstat(STDOUT_FILENO, &b) == 0 && a.st_dev == b.st_dev &&
	    a.st_ino == b.st_ino;
}

static int
is_file(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/*
 * ---- Data ----
 */

static ssize_t
write_at(int fd, const struct iovec *iov, int n, off_t offset)
{
	int print = is_output(fd);
	ssize_t done;

	if (!print && !is_file(fd))
		return syscall(SYS_writev, fd, iov, n);
	pthread_mutex_lock(&lock);
	if (offset != -1) {
		done = syscall(SYS_pwritev, fd, iov, n, offset, 0);
	} else {
		int flags = fcntl(fd, F_GETFL);

		offset = lseek(fd, 0, (flags & O_APPEND) != 0 ? SEEK_END : SEEK_CUR);
		done = syscall(SYS_writev, fd, iov, n);
	}
	if (done <= 0)
		return forget((int)done);
	note((struct op){ .kind = print ? PRINT : WRITE,
		 .data = (uint64_t)done,
		 .file = inode(fd, ""),
		 .where = (uint64_t)offset },
	    "", "", iov);
	return done;
}

ssize_t
write(int fd, const void *buf, size_t len)
{
	return write_at(fd, &(struct iovec){ (void *)(uintptr_t)buf, len }, 1, -1);
}

ssize_t
writev(int fd, const struct iovec *iov, int n)
{
	return write_at(fd, iov, n, -1);
}

ssize_t
pwrite(int fd, const void *buf, size_t len, off_t offset)
{
	return write_at(fd, &(struct iovec){ (void *)(uintptr_t)buf, len }, 1, offset);
}

ssize_t
pwrite64(int fd, const void *buf, size_t len, off64_t offset)
{
	return pwrite(fd, buf, len, offset);
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

int
ftruncate(int fd, off_t size)
{
	pthread_mutex_lock(&lock);
	if (syscall(SYS_ftruncate, fd, size) == -1)
		return forget(-1);
	note((struct op){ .kind = TRUNCATE, .file = inode(fd, ""), .where = (uint64_t)size }, "",
	    "", NULL);
	return 0;
}

int
ftruncate64(int fd, off64_t size)
{
	return ftruncate(fd, size);
}

int
fsync(int fd)
{
	pthread_mutex_lock(&lock);
	note((struct op){ .kind = SYNC, .file = inode(fd, "") }, "", "", NULL);
	return 0;
}

int
fdatasync(int fd)
{
	return fsync(fd);
}

/* Of everything: of inode 0. */
int
syncfs(int fd)
{
	(void)fd;
	pthread_mutex_lock(&lock);
	note((struct op){ .kind = SYNC }, "", "", NULL);
	return 0;
}

/*
 * ---- Names ----
 */

static int
open_at(int dir, const char *file, int flags, mode_t mode)
{
	uint64_t before;
	int fd;

	if ((flags & (O_CREAT | O_TRUNC)) == 0)
		return (int)syscall(SYS_openat, dir, file, flags, 0);
	pthread_mutex_lock(&lock);
	before = inode(dir, file);
	fd = (int)syscall(SYS_openat, dir, file, flags, mode);
	if (fd == -1 || (before != 0 && ((flags & O_TRUNC) == 0 || !is_file(fd))))
		return forget(fd);
	note((struct op){ .kind = before == 0 ? CREATE : TRUNCATE,
		 .file = inode(fd, ""),
		 .dir = parent(dir, file) },
	    base(file), "", NULL);
	return fd;
}

#define MODE(mode, flags) \
	do { \
		va_list ap; \
\
		va_start(ap, flags); \
		mode = ((flags)&O_CREAT) != 0 ? va_arg(ap, mode_t) : 0; \
		va_end(ap); \
	} while (0)

int
openat(int dir, const char *file, int flags, ...)
{
	mode_t mode;

	MODE(mode, flags);
	return open_at(dir, file, flags, mode);
}

int
openat64(int dir, const char *file, int flags, ...)
{
	mode_t mode;

	MODE(mode, flags);
	return open_at(dir, file, flags, mode);
}

int
open(const char *file, int flags, ...)
{
	mode_t mode;

	MODE(mode, flags);
	return open_at(AT_FDCWD, file, flags, mode);
}

int
open64(const char *file, int flags, ...)
{
	mode_t mode;

	MODE(mode, flags);
	return open_at(AT_FDCWD, file, flags, mode);
}

int
mkdir(const char *file, mode_t mode)
{
	pthread_mutex_lock(&lock);
	if (syscall(SYS_mkdir, file, mode) == -1)
		return forget(-1);
	note((struct op){ .kind = MKDIR,
		 .file = inode(AT_FDCWD, file),
		 .dir = parent(AT_FDCWD, file) },
	    base(file), "", NULL);
	return 0;
}

int
renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	pthread_mutex_lock(&lock);
	if (syscall(SYS_renameat2, from_dir, from, to_dir, to, flags) == -1)
		return forget(-1);
	note((struct op){ .kind = RENAME,
		 .file = inode(to_dir, to),
		 .dir = parent(from_dir, from),
		 .where = parent(to_dir, to) },
	    base(from), base(to), NULL);
	return 0;
}

int
renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	return renameat2(from_dir, from, to_dir, to, 0);
}

int
rename(const char *from, const char *to)
{
	return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int
linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	pthread_mutex_lock(&lock);
	if (syscall(SYS_linkat, from_dir, from, to_dir, to, flags) == -1)
		return forget(-1);
	note((struct op){ .kind = LINK, .file = inode(to_dir, to), .dir = parent(to_dir, to) },
	    base(to), "", NULL);
	return 0;
}

int
unlinkat(int dir, const char *file, int flags)
{
	uint64_t which;

	pthread_mutex_lock(&lock);
	which = inode(dir, file);
	if (syscall(SYS_unlinkat, dir, file, flags) == -1)
		return forget(-1);
	note((struct op){ .kind = UNLINK, .file = which, .dir = parent(dir, file) }, base(file), "",
	    NULL);
	return 0;
}

int
unlink(const char *file)
{
	return unlinkat(AT_FDCWD, file, 0);
}
