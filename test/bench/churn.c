/*
 * Churn for eet-listen: N streams in real time that come and go, and an account of each session.
 *
 *	churn [-n STREAMS] [-t SECONDS] [-l LIFE] [-s SEED] PORT
 *
 * A stream sends a frame of 20 ms every 20 ms, every fourth one PCM, the others ADPCM, with a ping
 * once a second.  Its bytes follow from the session's number, which is its handshake's timestamp;
 * ids repeat, and there are tags.  It lives for at most LIFE seconds, mostly much shorter, and is
 * followed by another one within a second, after it ended in one of these ways:
 *
 *	close	with a closing handshake, 1000
 *	eof	nothing more is sent, without a close frame
 *	half	the same, in the middle of a frame
 *	silent	nothing is sent, not even pongs, until the server has enough
 *	reset	with a TCP RST, which costs what the server has not read
 *
 * After SECONDS all of them end.  Prints a line for each session that has ended: its number, how
 * (gone: by the server, stuck: not by the server), the server's close code (0: none), the frames
 * that were sent whole, those that the server is known to have read, because it answered a ping
 * behind them, and the SHA-256 of the handshake and all frames; after a reset, those of the
 * handshake and each number of frames from read to sent.  The last line is a JSON object:
 * milliseconds (50 %, 99 %, most) until a ping was answered, and that frames were sent late, and how
 * often and how long at most the server held a stream back.
 */
#include "wire.h"

#include "bytes.h"
#include "ws.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	SAMPLES = 320,
	MESSAGE = WIRE_FRAME_HEADER_SIZE + 2 * SAMPLES,
	FRAME_HEADER = 8, /* WebSocket's, of either codec's frames */
	PING_EVERY = 50,
	PING = 16,
	IN = 1024,
	OUT = 8192,
	NOISE = 1 << 16,
	EVENTS = 256,
	UNITS = 600000 /* of a tenth of a millisecond: a minute */
};

static const double interval = 0.02, patience = 120;

enum ending { BY_CLOSE, BY_EOF, BY_HALF, BY_SILENCE, BY_RESET, ENDINGS };
static const char *const endings[ENDINGS] = { "close", "eof", "half", "silent", "reset" };

enum state { AWAY, UPGRADING, STREAMING, ENDING };

struct slot {
	enum state state;
	int fd;
	double tick; /* when it is looked at next */
	double at;   /* when it connects, when it ends, when it is stuck */
	double start;
	double held; /* since when nothing could be sent; 0: it can */
	uint8_t in[IN], out[OUT];
	size_t have, out_at, out_len;
	uint32_t batch; /* frames at the beginning of out */
	/* The session. */
	struct wire_handshake h;
	uint32_t number, payload, seq;
	enum ending ending;
	uint8_t mask[4];
	uint32_t queued, read; /* frames */
	uint16_t code;
	EVP_MD_CTX *hash; /* of the handshake, and the frames that were read */
};

static struct sockaddr_in server = { .sin_family = AF_INET };
static uint8_t noise[NOISE];
static int epfd;
static double life = 300;
static uint32_t sessions;
static uint64_t frames, held;
static double longest;
static uint32_t pings[UNITS], lates[UNITS];

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
count(uint32_t histogram[UNITS], double seconds)
{
	double unit = seconds * 1e4;

	histogram[unit < 0 ? 0 : unit < UNITS - 1 ? (size_t)unit : UNITS - 1]++;
}

/* In milliseconds. */
static double
percentile(const uint32_t histogram[UNITS], double part)
{
	uint64_t all = 0, seen = 0;
	size_t i;

	for (i = 0; i < UNITS; i++)
		all += histogram[i];
	for (i = 0; i < UNITS - 1; i++)
		if ((double)(seen += histogram[i]) >= part * (double)all)
			break;
	return (double)i / 10;
}

/*
 * ---- What is sent, and the account of it ----
 */

/* The session's frame k, as a message.  Returns its size. */
static size_t
frame(const struct slot *s, uint32_t k, uint8_t out[MESSAGE])
{
	uint8_t *p = out + WIRE_FRAME_HEADER_SIZE;

	wire_pack_frame(out, s->h.codec, s->payload, s->seq + k);
	memcpy(p, noise + (s->number * 40503 + k * 2654435761U) % (NOISE - 2 * SAMPLES),
	    s->payload);
	if (s->h.codec == WIRE_ADPCM) {
		p[2] %= 89;
		p[3] = 0;
	}
	return WIRE_FRAME_HEADER_SIZE + s->payload;
}

static void
hash_to(struct slot *s, uint32_t n)
{
	uint8_t message[MESSAGE];

	for (; s->read < n; s->read++)
		EVP_DigestUpdate(s->hash, message, frame(s, s->read, message));
}

static void
print_hash(const struct slot *s)
{
	EVP_MD_CTX *copy = EVP_MD_CTX_new();
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (copy == NULL || !EVP_MD_CTX_copy_ex(copy, s->hash) ||
	    !EVP_DigestFinal_ex(copy, digest, &n))
		die("SHA-256");
	EVP_MD_CTX_free(copy);
	putchar(' ');
	for (unsigned i = 0; i < n; i++)
		printf("%02x", digest[i]);
}

/* Frames that the kernel has taken whole. */
static uint32_t
sent(const struct slot *s)
{
	uint32_t whole =
	    (uint32_t)(s->out_at / (FRAME_HEADER + WIRE_FRAME_HEADER_SIZE + s->payload));

	return s->queued - s->batch + (whole < s->batch ? whole : s->batch);
}

/* The session has ended.  how: unless it is as it was meant to. */
static void
account(struct slot *s, const char *how, double t)
{
	uint32_t n = sent(s);

	printf("%u %s %u %u %u", s->number, how != NULL ? how : endings[s->ending], s->code, n,
	    s->read);
	if (s->ending != BY_RESET)
		hash_to(s, n);
	print_hash(s);
	while (s->read < n) {
		hash_to(s, s->read + 1);
		print_hash(s);
	}
	putchar('\n');
	frames += n;
	close(s->fd);
	s->state = AWAY;
	s->at = t + drand48();
}

/*
 * ---- A stream ----
 */

/* Append to what is sent; it fits. */
static void
queue(struct slot *s, int opcode, const void *data, size_t len)
{
	uint8_t *p = s->out + s->out_len;
	size_t n = ws_header(p, opcode, len, s->mask);

	memcpy(p + n, data, len);
	ws_mask(p + n, len, s->mask);
	s->out_len += n + len;
}

/* True when nothing is left to be sent. */
static bool
flush(struct slot *s, double t)
{
	while (s->out_at < s->out_len) {
		ssize_t n = send(s->fd, s->out + s->out_at, s->out_len - s->out_at, MSG_NOSIGNAL);

		if (n > 0) {
			s->out_at += (size_t)n;
			continue;
		}
		/* Whatever else it is, reading will tell. */
		if (errno == EAGAIN && s->held == 0 && s->state == STREAMING) {
			s->held = t;
			held++;
		}
		return false;
	}
	if (s->held > 0)
		longest = fmax(longest, t - s->held);
	s->held = 0;
	s->out_at = s->out_len = s->batch = 0;
	return true;
}

static void
begin(struct slot *s, double t)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = s };
	uint32_t key = (uint32_t)mrand48();
	char tag[16] = "";
	int on = 1;

	s->number = ++sessions;
	s->ending = (enum ending)(drand48() * ENDINGS);
	s->h = (struct wire_handshake){
		.stream_id = s->number % 3 == 0 ? 7 : s->number,
		.sample_rate = 16000,
		.channels = 1,
		.codec = s->number % 4 == 0 ? WIRE_PCM16 : WIRE_ADPCM,
		.frame_samples = SAMPLES,
		.timestamp_ms = s->number,
	};
	s->payload = s->h.codec == WIRE_PCM16 ? 2 * SAMPLES : 4 + SAMPLES / 2;
	s->seq = s->number * 2654435761U;
	le32_store(s->mask, key);
	s->queued = s->read = s->batch = 0;
	s->have = s->out_at = s->out_len = 0;
	s->code = 0;
	s->held = 0;
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->fd == -1)
		die("socket");
	if (connect(s->fd, (struct sockaddr *)&server, sizeof server) == -1 && errno != EINPROGRESS)
		die("connect");
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (epoll_ctl(epfd, EPOLL_CTL_ADD, s->fd, &ev) == -1)
		die("epoll_ctl");
	if (s->number % 5 == 0)
		snprintf(tag, sizeof tag, "/room-%u", s->number % 4);
	s->out_len = (size_t)snprintf((char *)s->out, OUT,
	    "GET /ws%s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
	    "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	    "Sec-WebSocket-Version: 13\r\n\r\n",
	    tag);
	s->state = UPGRADING;
	s->at = t + patience;
}

/* The server takes it: the handshake, and what follows. */
static void
upgraded(struct slot *s, double t)
{
	uint8_t handshake[WIRE_HANDSHAKE_SIZE];

	wire_pack_handshake(handshake, &s->h);
	if (!EVP_DigestInit_ex(s->hash, EVP_sha256(), NULL) ||
	    !EVP_DigestUpdate(s->hash, handshake, sizeof handshake))
		die("SHA-256");
	queue(s, WS_BINARY, handshake, sizeof handshake);
	s->state = STREAMING;
	s->start = fmax(s->tick, t);
	s->at = t + life * pow(300, drand48() - 1);
}

/* Queue frames that are due, up to a ping or what fits. */
static void
fill(struct slot *s, uint32_t due, double t)
{
	while (
	    s->queued < due && s->out_len + FRAME_HEADER + MESSAGE + WS_MAX_HEADER + PING <= OUT) {
		uint8_t message[MESSAGE];

		count(lates, t - s->start - interval * s->queued);
		queue(s, WS_BINARY, message, frame(s, s->queued, message));
		s->batch++;
		if (++s->queued % PING_EVERY == 0) {
			uint8_t ping[PING];

			le64_store(ping, s->queued);
			le64_store(ping + 8, (uint64_t)(t * 1e9));
			queue(s, WS_PING, ping, sizeof ping);
			return;
		}
	}
}

static void
begin_end(struct slot *s, double t)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };
	static const uint8_t normal[2] = { 0x03, 0xe8 };
	uint8_t message[MESSAGE];

	if (s->ending == BY_RESET) {
		setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
		account(s, NULL, t);
		return;
	}
	if (!flush(s, t))
		return;
	if (s->ending == BY_CLOSE)
		queue(s, WS_CLOSE, normal, sizeof normal);
	if (s->ending == BY_HALF) {
		queue(s, WS_BINARY, message, frame(s, s->queued, message));
		s->out_len /= 2;
	}
	s->state = ENDING;
	s->at = t + patience;
}

/* What is due to be done for a stream now. */
static void
tick(struct slot *s, double t, bool stop)
{
	switch (s->state) {
	case AWAY:
		if (t >= s->at && !stop)
			begin(s, t);
		break;
	case UPGRADING: flush(s, t); break;
	case STREAMING:
		if (t >= s->at || stop) {
			begin_end(s, t);
			break;
		}
		while (flush(s, t)) {
			uint32_t due = (uint32_t)((t - s->start) / interval + 1.5);

			if (s->queued >= due)
				break;
			fill(s, due, t);
		}
		break;
	case ENDING:
		if (flush(s, t) && (s->ending == BY_EOF || s->ending == BY_HALF))
			shutdown(s->fd, SHUT_WR);
		break;
	}
	if ((s->state == UPGRADING || s->state == ENDING) && t >= s->at)
		account(s, "stuck", t);
}

/* A frame from the server, with at most 125 bytes. */
static void
answer(struct slot *s, int opcode, const uint8_t *p, size_t len, double t)
{
	if (opcode == WS_PONG && len == PING) {
		count(pings, t - (double)le64_load(p + 8) / 1e9);
		hash_to(s, (uint32_t)le64_load(p));
	} else if (opcode == WS_CLOSE && len >= 2) {
		s->code = (uint16_t)(p[0] << 8 | p[1]);
	}
	/* The server's pings are for who has nothing to send. */
}

/* The server has something to say, or is gone. */
static void
readable(struct slot *s, double t)
{
	ssize_t got = recv(s->fd, s->in + s->have, IN - 1 - s->have, 0);
	size_t at = 0;

	if (got == -1 && errno == EAGAIN)
		return;
	if (got <= 0) {
		account(s, s->state == ENDING ? NULL : "gone", t);
		return;
	}
	s->have += (size_t)got;
	if (s->state == UPGRADING) {
		const char *end;

		s->in[s->have] = '\0';
		if ((end = strstr((char *)s->in, "\r\n\r\n")) == NULL)
			return;
		if (strncmp((char *)s->in, "HTTP/1.1 101 ", 13) != 0) {
			fprintf(stderr, "%s", (char *)s->in);
			exit(1);
		}
		at = (size_t)(end + 4 - (char *)s->in);
		upgraded(s, t);
	}
	while (s->have - at >= 2 && s->have - at >= 2 + (size_t)s->in[at + 1]) {
		answer(s, s->in[at] & 15, s->in + at + 2, s->in[at + 1], t);
		at += 2 + (size_t)s->in[at + 1];
	}
	s->have -= at;
	memmove(s->in, s->in + at, s->have);
}

int
main(int argc, char *argv[])
{
	int n = 500, c, open_count;
	long seed = 1;
	double seconds = 60, t, end;
	struct epoll_event events[EVENTS];
	struct rlimit rl;
	struct slot *slots;

	while ((c = getopt(argc, argv, "n:t:l:s:")) != -1)
		switch (c) {
		case 'n': n = atoi(optarg); break;
		case 't': seconds = atof(optarg); break;
		case 'l': life = atof(optarg); break;
		case 's': seed = atol(optarg); break;
		default: return 2;
		}
	if (optind != argc - 1 || n < 1)
		return 2;
	server.sin_port = htons((uint16_t)atoi(argv[optind]));
	server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	srand48(seed);
	for (size_t i = 0; i < NOISE; i++)
		noise[i] = (uint8_t)mrand48();
	epfd = epoll_create1(EPOLL_CLOEXEC);
	if (epfd == -1 || (slots = calloc((size_t)n, sizeof *slots)) == NULL)
		die("no memory");
	t = now();
	end = t + seconds;
	for (int i = 0; i < n; i++) {
		slots[i].tick = t + interval * i / n;
		slots[i].at = t + drand48();
		if ((slots[i].hash = EVP_MD_CTX_new()) == NULL)
			die("SHA-256");
	}
	/* They have their turns one after the other, evenly spread over the interval. */
	for (int i = 0, got;;) {
		open_count = 0;
		for (int k = 0; k < n && slots[i].tick <= t; k++, i = (i + 1) % n) {
			tick(&slots[i], t, t >= end);
			slots[i].tick = fmax(slots[i].tick + interval, t);
		}
		got = epoll_wait(epfd, events, EVENTS,
		    (int)(fmax(slots[i].tick - now(), 0) * 1e3 + 1));
		t = now();
		for (int k = 0; k < got; k++)
			readable(events[k].data.ptr, t);
		for (int k = 0; k < n && t >= end; k++)
			open_count += slots[k].state != AWAY;
		if (t >= end && open_count == 0)
			break;
	}
	printf("{\"sessions\": %u, \"frames\": %llu, \"ping_ms\": [%.1f, %.1f, %.1f], "
	       "\"late_ms\": [%.1f, %.1f, %.1f], \"held\": %llu, \"longest_s\": %.3f}\n",
	    sessions, (unsigned long long)frames, percentile(pings, 0.5), percentile(pings, 0.99),
	    percentile(pings, 1), percentile(lates, 0.5), percentile(lates, 0.99),
	    percentile(lates, 1), (unsigned long long)held, longest);
	for (int i = 0; i < n; i++)
		EVP_MD_CTX_free(slots[i].hash);
	free(slots);
	close(epfd);
	return 0;
}
