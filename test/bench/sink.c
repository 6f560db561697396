/*
 * What eet-listen is measured against: a WebSocket receiver that does the least there is to do.  It
 * upgrades whoever asks, reads, unmasks, and writes the payloads of each read to standard output
 * with one write; nothing is checked, nothing is bounded.  Prints its port, and ends with SIGTERM.
 *
 *	sink
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ = 64 << 10, EVENTS = 256, HEADER = 14 };

struct peer {
	int fd;
	int upgraded;
	size_t left;   /* of the frame's payload */
	unsigned turn; /* which of the mask's bytes is next */
	uint8_t mask[4];
	uint8_t header[HEADER]; /* of a frame, as far as it is there */
	size_t have;
	int closing;
};

static uint8_t in[READ], out[READ];

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static void
unmask(struct peer *p, uint8_t *to, const uint8_t *from, size_t len)
{
	uint8_t key[8];
	uint64_t wide, word;
	size_t i;

	for (i = 0; i < 8; i++)
		key[i] = p->mask[(p->turn + i) & 3];
	memcpy(&wide, key, 8);
	for (i = 0; i + 8 <= len; i += 8) {
		memcpy(&word, from + i, 8);
		word ^= wide;
		memcpy(to + i, &word, 8);
	}
	for (; i < len; i++)
		to[i] = from[i] ^ key[i & 7];
	p->turn = (unsigned)(p->turn + len) & 3;
}

/* The frame's header is whole when it has so many bytes. */
static size_t
header_size(const struct peer *p)
{
	unsigned len = p->header[1] & 127;

	return p->have < 2 ? 2 : len < 126 ? 6 : len == 126 ? 8 : 14;
}

/* Payloads out of n bytes at in, to out.  Returns how many there are. */
static size_t
parse(struct peer *p, size_t n)
{
	size_t at = 0, used = 0, len;

	while (at < n) {
		if (p->left > 0) {
			len = p->left < n - at ? p->left : n - at;
			unmask(p, out + used, in + at, len);
			at += len;
			used += len;
			p->left -= len;
			continue;
		}
		p->header[p->have++] = in[at++];
		if (p->have < header_size(p))
			continue;
		len = p->header[1] & 127;
		if (len == 126) {
			len = (size_t)p->header[2] << 8 | p->header[3];
		} else if (len == 127) {
			len = 0;
			for (int i = 2; i < 10; i++)
				len = len << 8 | p->header[i];
		}
		p->closing |= (p->header[0] & 15) == 8;
		memcpy(p->mask, p->header + p->have - 4, 4);
		p->left = len;
		p->turn = 0;
		p->have = 0;
	}
	return used;
}

/* It has something to say.  0: it is gone. */
static int
serve(struct peer *p)
{
	static const char yes[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
				  "Connection: Upgrade\r\n\r\n";
	ssize_t n = recv(p->fd, in, sizeof in, 0);
	size_t used;

	if (n <= 0)
		return 0;
	if (!p->upgraded) {
		p->upgraded = 1;
		return send(p->fd, yes, sizeof yes - 1, MSG_NOSIGNAL) > 0;
	}
	used = parse(p, (size_t)n);
	if (used > 0 && write(STDOUT_FILENO, out, used) < 0)
		die("write");
	return !p->closing;
}

int
main(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof a;
	struct epoll_event events[EVENTS], ev = { .events = EPOLLIN };
	struct rlimit rl;
	int fd, epfd, n;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd == -1 || bind(fd, (struct sockaddr *)&a, sizeof a) == -1 ||
	    listen(fd, SOMAXCONN) == -1 || getsockname(fd, (struct sockaddr *)&a, &len) == -1)
		die("listen");
	fprintf(stderr, "%u\n", ntohs(a.sin_port));
	epfd = epoll_create1(0);
	epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev);
	for (;;) {
		n = epoll_wait(epfd, events, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			struct peer *p = events[i].data.ptr;

			if (p == NULL) {
				if ((p = calloc(1, sizeof *p)) == NULL)
					die("calloc");
				p->fd = accept(fd, NULL, NULL);
				ev.data.ptr = p;
				epoll_ctl(epfd, EPOLL_CTL_ADD, p->fd, &ev);
			} else if (!serve(p)) {
				close(p->fd);
				free(p);
			}
		}
	}
}
