/*
 * Whole reads and writes on descriptors: EINTR and short transfers are dealt
 * with here and nowhere else.  And a rename that destroys nothing.
 */
#ifndef EET_FDIO_H
#define EET_FDIO_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* One read(2) of up to len bytes, repeated on EINTR.  Bytes read, 0 at the end, -1 errno. */
ssize_t fdio_read(int fd, void *buf, size_t len);

/*
 * Fill buf.  Returns the bytes read: len, or fewer when the file ended before
 * that; -1 with errno.
 */
ssize_t fdio_read_full(int fd, void *buf, size_t len);

/* Write all of buf.  0, or -1 with errno; *donep (if not NULL) is what was written even then. */
int fdio_write_full(int fd, const void *buf, size_t len, size_t *donep);

/*
 * Write all that iov[0..count) holds, any count.  Returns 0, or -1 with
 * errno.  iov is used up: on failure it describes what is left, beginning at
 * iov[*firsto].
 */
int fdio_writev_full(int fd, struct iovec *iov, size_t count, size_t *firsto);

/*
 * fsync(2) and fdatasync(2).  0, or -1 with errno, never ENOSPC or EDQUOT, which pass: when a sync has
 * failed, what it was to write may be gone, and the next one succeed without it.
 */
int fdio_sync(int fd);
int fdio_datasync(int fd);

/* Open the directory dirfd once more, to be listed from its beginning.  NULL with errno. */
DIR *fdio_opendir(int dirfd);

/* fsync(2) of a directory, as fdio_sync(); where the file system has no such operation, 0. */
int fdio_sync_dir(int fd);

/*
 * True if errno value e is for want of something that others may give back: space, descriptors,
 * memory.  The same call may succeed later.
 */
bool fdio_passes(int e);

/* True if errno value e means that the file system has no hard links: link(2) of a file failed. */
bool fdio_no_links(int e);

/*
 * rename(2) within dirfd that never replaces: EEXIST.  Also where the file system has no such
 * flag; where it has no links either, only if nobody else creates that name meanwhile.
 */
int fdio_rename_new(int dirfd, const char *from, const char *to);

/*
 * True if a and b, in dirfd, are regular files of the same bytes.  False too if that can't be read;
 * errno is then unchanged.
 */
bool fdio_same(int dirfd, const char *a, const char *b);

#endif
