/*
 * Load for eet-listen: N streams at once, as fast as it takes them or one frame every so often.
 *
 *	flood [-n STREAMS] [-f FRAMES] [-t SECONDS] [-b PAYLOAD] [-c pcm|adpcm] [-i MS] PORT
 *
 * Ends after FRAMES frames per stream, or SECONDS, with a closing handshake, so that the server has
 * taken everything.  Prints one line: streams, frames, seconds, frames/s, and the smallest and the
 * largest number of frames that a stream could send.
 */
#include "wire.h"

#include "bytes.h"
#include "ws.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64 << 10, EVENTS = 256 };

static const uint8_t mask[4] = { 0x5a, 0xc3, 0x0f, 0x96 };

struct stream {
	int fd;
	uint32_t seq;    /* of the next frame to be queued */
	uint64_t frames; /* queued */
	uint8_t *out;    /* what is being sent */
	size_t out_at, out_len;
	double due; /* paced: when the next frame is */
	int closing;
};

static size_t frame_size; /* WebSocket header and message */
static uint8_t *frame_template;

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void
send_all(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n <= 0)
			die("send");
		p += n;
		len -= (size_t)n;
	}
}

static void
open_stream(struct stream *s, int port, uint32_t id, uint16_t codec, uint16_t samples)
{
	static const char request[] =
	    "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
	    "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	    "Sec-WebSocket-Version: 13\r\n\r\n";
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct wire_handshake h = { id, 16000, 1, codec, samples, 0, 0 };
	uint8_t buf[64];
	char reply[1024];
	size_t have = 0, n;
	int on = 1;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->fd == -1 || connect(s->fd, (struct sockaddr *)&a, sizeof a) == -1)
		die("connect");
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	send_all(s->fd, request, sizeof request - 1);
	do {
		ssize_t got = recv(s->fd, reply + have, sizeof reply - 1 - have, 0);

		if (got <= 0)
			die("no reply");
		have += (size_t)got;
		reply[have] = '\0';
	} while (strstr(reply, "\r\n\r\n") == NULL);
	if (strncmp(reply, "HTTP/1.1 101", 12) != 0) {
		fputs(reply, stderr);
		exit(1);
	}
	n = ws_header(buf, WS_BINARY, WIRE_HANDSHAKE_SIZE, mask);
	wire_pack_handshake(buf + n, &h);
	ws_mask(buf + n, WIRE_HANDSHAKE_SIZE, mask);
	send_all(s->fd, buf, n + WIRE_HANDSHAKE_SIZE);
	fcntl(s->fd, F_SETFL, O_NONBLOCK);
}

static void
make_template(uint16_t codec, uint32_t payload)
{
	size_t n;

	frame_template = calloc(1, 32 + WIRE_FRAME_HEADER_SIZE + payload);
	if (frame_template == NULL)
		die("calloc");
	n = ws_header(frame_template, WS_BINARY, WIRE_FRAME_HEADER_SIZE + payload, mask);
	wire_pack_frame(frame_template + n, codec, payload, 0);
	for (size_t i = 0; i < payload; i++)
		frame_template[n + WIRE_FRAME_HEADER_SIZE + i] = (uint8_t)(i * 7);
	ws_mask(frame_template + n, WIRE_FRAME_HEADER_SIZE + payload, mask);
	frame_size = n + WIRE_FRAME_HEADER_SIZE + payload;
}

/* Queue up to count frames.  The sequence number is all that differs between them. */
static void
fill(struct stream *s, uint64_t count, uint32_t payload)
{
	size_t at = frame_size - payload - 4;

	s->out_at = s->out_len = 0;
	for (; count > 0; count--, s->seq++, s->frames++) {
		uint8_t *p = s->out + s->out_len;

		memcpy(p, frame_template, frame_size);
		le32_store(p + at, s->seq);
		ws_mask(p + at, 4, mask);
		s->out_len += frame_size;
	}
}

int
main(int argc, char *argv[])
{
	uint32_t payload = 164;
	uint64_t limit = UINT64_MAX, total = 0, least = UINT64_MAX, most = 0, batch;
	double seconds = 2, start, end, interval = 0;
	int n = 1, c, epfd, open_count;
	uint16_t codec = WIRE_ADPCM, samples;
	struct epoll_event events[EVENTS];
	struct rlimit rl;
	struct stream *streams;

	while ((c = getopt(argc, argv, "n:f:t:b:c:i:")) != -1)
		switch (c) {
		case 'n': n = atoi(optarg); break;
		case 'f':
			limit = strtoull(optarg, NULL, 10);
			seconds = 3600;
			break;
		case 't': seconds = atof(optarg); break;
		case 'b': payload = (uint32_t)atoi(optarg); break;
		case 'c': codec = strcmp(optarg, "pcm") == 0 ? WIRE_PCM16 : WIRE_ADPCM; break;
		case 'i': interval = atof(optarg) / 1000; break;
		default: return 2;
		}
	if (optind != argc - 1 || n < 1)
		return 2;
	if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
	samples = (uint16_t)(codec == WIRE_PCM16 ? payload / 2 : (payload - 4) * 2);
	make_template(codec, payload);
	batch = frame_size > BATCH ? 1 : BATCH / frame_size;
	if ((streams = calloc((size_t)n, sizeof *streams)) == NULL)
		die("calloc");
	epfd = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i < n; i++) {
		struct epoll_event ev = { .events = EPOLLOUT, .data.ptr = &streams[i] };

		open_stream(&streams[i], atoi(argv[optind]), (uint32_t)i, codec, samples);
		streams[i].out = malloc(interval > 0 ? frame_size : batch * frame_size);
		if (streams[i].out == NULL)
			die("malloc");
		if (interval == 0)
			epoll_ctl(epfd, EPOLL_CTL_ADD, streams[i].fd, &ev);
	}
	start = now();
	end = start + seconds;
	for (int i = 0; i < n; i++)
		streams[i].due = start + interval * i / n;
	open_count = n;
	while (interval > 0 && now() < end) {
		/* The streams take turns, evenly spread over the interval. */
		double t, next = end;

		for (int i = 0; i < n; i++) {
			struct stream *s = &streams[i];

			if (s->due > now()) {
				next = s->due;
				break;
			}
			if (s->frames == limit) {
				end = 0;
				break;
			}
			fill(s, 1, payload);
			if (send(s->fd, s->out, s->out_len, MSG_NOSIGNAL) != (ssize_t)s->out_len)
				die("send: the server does not keep up");
			s->due += interval;
			if (i == n - 1)
				i = -1;
		}
		t = next - now();
		if (t > 0 && end > 0)
			usleep((useconds_t)(t * 1e6));
	}
	while (interval == 0 && open_count > 0) {
		int got = epoll_wait(epfd, events, EVENTS, 1000);

		for (int i = 0; i < got; i++) {
			struct stream *s = events[i].data.ptr;

			if (s->out_at == s->out_len) {
				uint64_t left = limit - s->frames;

				if (left == 0 || now() >= end) {
					epoll_ctl(epfd, EPOLL_CTL_DEL, s->fd, NULL);
					open_count--;
					continue;
				}
				fill(s, left < batch ? left : batch, payload);
			}
			for (;;) {
				ssize_t sent = send(s->fd, s->out + s->out_at,
				    s->out_len - s->out_at, MSG_NOSIGNAL);

				if (sent == -1 && errno == EAGAIN)
					break;
				if (sent <= 0)
					die("send");
				s->out_at += (size_t)sent;
				if (s->out_at == s->out_len)
					break;
			}
		}
	}
	for (int i = 0; i < n; i++) {
		struct stream *s = &streams[i];
		uint8_t close_frame[8] = { 0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8 }, buf[256];

		fcntl(s->fd, F_SETFL, 0);
		send_all(s->fd, close_frame, sizeof close_frame);
		while (recv(s->fd, buf, sizeof buf, 0) > 0)
			;
		close(s->fd);
		total += s->frames;
		least = s->frames < least ? s->frames : least;
		most = s->frames > most ? s->frames : most;
		free(s->out);
	}
	end = now();
	printf("streams %d frames %llu seconds %.3f rate %.0f least %llu most %llu\n", n,
	    (unsigned long long)total, end - start, (double)total / (end - start),
	    (unsigned long long)least, (unsigned long long)most);
	free(streams);
	free(frame_template);
	return 0;
}
