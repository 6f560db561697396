#include "next.h"

#include "fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LONGEST = 12 }; /* "4294967296\n" and a byte more */

int
next_open(int dirfd, mode_t mode)
{
	int fd =
	    openat(dirfd, NEXT_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, mode);
	struct stat st;

	if (fd != -1 && fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
		close(fd);
		errno = EINVAL;
		return -1;
	}
	return fd;
}

int
next_read(int fd, uint64_t *o)
{
	char text[LONGEST];
	ssize_t n = pread(fd, text, sizeof text, 0);
	uint64_t number = 0;
	ssize_t i;

	if (n == 0)
		return 0;
	for (i = 0; i < n && text[i] >= '0' && text[i] <= '9'; i++)
		number = number * 10 + (uint64_t)(text[i] - '0');
	if (n < 2 || i == 0 || i != n - 1 || text[i] != '\n' || number == 0 ||
	    number > (uint64_t)UINT32_MAX + 1)
		return -1;
	*o = number;
	return 1;
}

int
next_write(int fd, uint64_t number)
{
	char text[LONGEST];
	int len = snprintf(text, sizeof text, "%" PRIu64 "\n", number);
	ssize_t n;

	do
		n = pwrite(fd, text, (size_t)len, 0);
	while (n == -1 && errno == EINTR);
	if (n != -1 && n < len)
		errno = EIO;
	return n == len ? 0 : -1;
}
