#include "fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

ssize_t
fdio_read(int fd, void *buf, size_t len)
{
	ssize_t n;

	do
		n = read(fd, buf, len);
	while (n == -1 && errno == EINTR);
	return n;
}

ssize_t
fdio_read_full(int fd, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = fdio_read(fd, (char *)buf + done, len - done);

		if (n == -1)
			return -1;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int
fdio_write_full(int fd, const void *buf, size_t len, size_t *donep)
{
	size_t done = 0;
	int status = 0;

	while (done < len) {
		ssize_t n = write(fd, (const char *)buf + done, len - done);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1) {
			status = -1;
			break;
		}
		done += (size_t)n;
	}
	if (donep != NULL)
		*donep = done;
	return status;
}

int
fdio_writev_full(int fd, struct iovec *iov, size_t count, size_t *firsto)
{
	size_t first = 0;
	int status = 0;

	for (;;) {
		/* Empty pieces are passed over first: writev() of nothing else would return 0. */
		while (first < count && iov[first].iov_len == 0)
			first++;
		if (first == count)
			break;

		size_t pieces = count - first;
		ssize_t n = writev(fd, iov + first, pieces < IOV_MAX ? (int)pieces : IOV_MAX);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1) {
			status = -1;
			break;
		}
		for (size_t left = (size_t)n; left > 0;) {
			struct iovec *v = iov + first;
			size_t taken = left < v->iov_len ? left : v->iov_len;

			v->iov_base = (char *)v->iov_base + taken;
			v->iov_len -= taken;
			left -= taken;
			if (v->iov_len == 0)
				first++;
		}
	}
	*firsto = first;
	return status;
}

static int
for_good(int status)
{
	if (status == -1 && (errno == ENOSPC || errno == EDQUOT))
		errno = EIO;
	return status;
}

int
fdio_sync(int fd)
{
	return for_good(fsync(fd));
}

int
fdio_datasync(int fd)
{
	return for_good(fdatasync(fd));
}

DIR *
fdio_opendir(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), e;
	DIR *dir = fd == -1 ? NULL : fdopendir(fd);

	if (dir == NULL && fd != -1) {
		e = errno;
		close(fd);
		errno = e;
	}
	return dir;
}

int
fdio_sync_dir(int fd)
{
	int status = fsync(fd);

	/* Some drivers (vboxsf, old smbfs) have nothing to sync there. */
	if (status == -1 && (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP))
		return 0;
	return for_good(status);
}

bool
fdio_passes(int e)
{
	return e == ENOSPC || e == EDQUOT || e == EMFILE || e == ENFILE || e == ENOMEM;
}

bool
fdio_no_links(int e)
{
	/* FAT: EPERM.  FUSE without the operation: ENOSYS.  NFS and SMB servers: EOPNOTSUPP. */
	return e == EPERM || e == ENOSYS || e == EOPNOTSUPP || e == EINVAL || e == EMLINK;
}

int
fdio_rename_new(int dirfd, const char *from, const char *to)
{
	struct stat st;

	if (renameat2(dirfd, from, dirfd, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (linkat(dirfd, from, dirfd, to, 0) == 0)
		return unlinkat(dirfd, from, 0);
	if (!fdio_no_links(errno))
		return -1;
	/* No links either. */
	if (fstatat(dirfd, to, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		errno = EEXIST;
		return -1;
	}
	return renameat(dirfd, from, dirfd, to);
}

/* As fdio_same(), of two descriptors. */
static bool
same(int a, int b)
{
	char in_a[1 << 14], in_b[sizeof in_a];
	struct stat st_a, st_b;
	ssize_t n;

	if (fstat(a, &st_a) == -1 || fstat(b, &st_b) == -1 || !S_ISREG(st_a.st_mode) ||
	    !S_ISREG(st_b.st_mode) || st_a.st_size != st_b.st_size)
		return false;
	while ((n = fdio_read_full(a, in_a, sizeof in_a)) > 0)
		if (fdio_read_full(b, in_b, (size_t)n) != n || memcmp(in_a, in_b, (size_t)n) != 0)
			return false;
	return n == 0;
}

bool
fdio_same(int dirfd, const char *a, const char *b)
{
	int e = errno;
	int fd_a = openat(dirfd, a, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	int fd_b = openat(dirfd, b, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	bool status = fd_a != -1 && fd_b != -1 && same(fd_a, fd_b);

	if (fd_a != -1)
		close(fd_a);
	if (fd_b != -1)
		close(fd_b);
	errno = e;
	return status;
}
