/*
 * See cli.h.  A message is formatted into a buffer on the stack and escaped into a second one, which
 * is written at once: no allocation that can fail, and nothing between the parts of a line.
 *
 * What standard error does not take at once is left to a thread, and so is everything after that.
 * To find out, no flag of the descriptor is set, because other programs share its file: pipes and
 * terminals are opened once more, without waiting, and sockets are told so with each message.
 */
#include "cli.h"

#include "lines.h"
#include "utf8.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	WAITING = 64 << 10, /* bytes of messages */
	PATIENCE_MS = 1000  /* at the end, while standard error takes nothing */
};

int cli_level;

static const char *name = "eet";

static pid_t self;            /* a child after fork(2) has another one, and no thread */
static struct lines *waiting; /* messages that standard error has still to take; NULL: never any */

/*
 * ---- Standard error ----
 */

/*
 * Write a message, without waiting; async-signal-safe.  Returns as write(2) does; EAGAIN if it would
 * have to wait, or if that can't be known.
 */
static ssize_t
write_now(const char *p, size_t len)
{
	static volatile int again = -1; /* a pipe or a terminal, opened once more */
	struct stat st;

	if (fstat(STDERR_FILENO, &st) == -1)
		return -1;
	if (S_ISSOCK(st.st_mode))
		return send(STDERR_FILENO, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (!S_ISFIFO(st.st_mode) && !isatty(STDERR_FILENO))
		return write(STDERR_FILENO, p, len);
	if (again == -1)
		again = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (again == -1) {
		errno = EAGAIN;
		return -1;
	}
	return write(again, p, len);
}

static void
note_dropped(char text[LINES_NOTE], uint64_t n)
{
	snprintf(text, LINES_NOTE, "%.64s: %" PRIu64 " message%s dropped: nobody read them", name,
	    n, n == 1 ? "" : "s");
}

/* Leave a message, whose newline is off, to the thread. */
static void
write_later(char *line, size_t len)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };

	if (waiting == NULL)
		waiting = lines_new(STDERR_FILENO, WAITING, note_dropped);
	if (waiting != NULL) {
		lines_put(waiting, line);
	} else if (poll(&p, 1, 0) == 1) { /* the best that can be done without a thread */
		line[len] = '\n';
		(void)!write(STDERR_FILENO, line, len + 1);
	}
}

/* Write line[0..len), which ends in a newline: now, or else later. */
static void
write_line(char *line, size_t len)
{
	ssize_t n = 0;

	if (waiting == NULL || getpid() != self) {
		do
			n = write_now(line, len);
		while (n == -1 && errno == EINTR);
		if (n == (ssize_t)len || (n == -1 && errno != EAGAIN) || getpid() != self)
			return;
		if (n == -1)
			n = 0;
	}
	line[len - 1] = '\0';
	write_later(line + n, len - 1 - (size_t)n);
}

/* The program ends: give standard error a last chance to take what waits. */
static void
finish_messages(void)
{
	int unused;

	if (waiting != NULL && getpid() == self)
		lines_end(waiting, PATIENCE_MS, &unused);
	waiting = NULL;
}

void
cli_last_words(const char *line)
{
	int saved = errno;

	(void)!write_now(line, strlen(line));
	errno = saved;
}

void
cli_init(char *const argv[])
{
	int fd;

	if (argv[0] != NULL) {
		name = strrchr(argv[0], '/');
		name = name == NULL ? argv[0] : name + 1;
	}
	for (fd = 0; fd <= 2; fd++) /* open() takes the lowest that is free: this one */
		if (fcntl(fd, F_GETFD) == -1 &&
		    open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			_exit(CLI_EFAIL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	self = getpid();
	atexit(finish_messages); /* as the last of all: others may have something to say */
}

const char *
cli_name(void)
{
	return name;
}

/* Length of the UTF-8 sequence at s[0..len) if it is valid and no control character, else 0. */
static size_t
printable(const unsigned char *s, size_t len)
{
	size_t n = utf8_character(s, len);

	if (n == 1 && (s[0] < 0x20 || s[0] == 0x7f))
		return 0;
	/* C1 controls, U+0080 to U+009F */
	return n == 2 && s[0] == 0xc2 && s[1] < 0xa0 ? 0 : n;
}

size_t
cli_escape(char *dst, size_t size, const char *src, size_t len)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t from = 0, to = 0, n;

	while (from < len) {
		const unsigned char *s = (const unsigned char *)src + from;

		n = printable(s, len - from);
		if (size - to <= (n == 0 ? 4 : n))
			break;
		if (n == 0) {
			dst[to++] = '\\';
			dst[to++] = 'x';
			dst[to++] = hex[s[0] >> 4];
			dst[to++] = hex[s[0] & 15];
			from++;
		} else {
			memcpy(dst + to, s, n);
			to += n;
			from += n;
		}
	}
	dst[to] = '\0';
	return from;
}

/* One line: the message, then ": " and errno's text if err is not 0, then tail. */
static void __attribute__((format(printf, 3, 0)))
message(int err, const char *tail, const char *fmt, va_list ap)
{
	static const char cut[] = "...";
	char raw[CLI_LINE], line[CLI_LINE];
	size_t len, room = sizeof line - sizeof cut, used;
	int n, saved = errno;

	n = snprintf(raw, sizeof raw, "%s: ", name);
	len = n < 0 ? 0 : (size_t)n < sizeof raw ? (size_t)n : sizeof raw - 1;
	vsnprintf(raw + len, sizeof raw - len, fmt, ap);
	len += strlen(raw + len);
	if (err != 0)
		snprintf(raw + len, sizeof raw - len, ": %s", strerror(err));
	len += strlen(raw + len);
	snprintf(raw + len, sizeof raw - len, "%s", tail);
	len += strlen(raw + len);

	n = cli_escape(line, room, raw, len) < len || len == sizeof raw - 1;
	used = strlen(line);
	if (n) {
		memcpy(line + used, cut, sizeof cut - 1);
		used += sizeof cut - 1;
	}
	line[used++] = '\n';
	write_line(line, used);
	errno = saved;
}

void
cli_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	message(errno, "", fmt, ap);
	va_end(ap);
}

void
cli_warnx(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	message(0, "", fmt, ap);
	va_end(ap);
}

void
cli_die(int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	message(errno, "", fmt, ap);
	va_end(ap);
	exit(status);
}

void
cli_diex(int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	message(0, "", fmt, ap);
	va_end(ap);
	exit(status);
}

void
cli_note(int level, const char *fmt, ...)
{
	va_list ap;

	if (cli_level < level)
		return;
	va_start(ap, fmt);
	message(0, "", fmt, ap);
	va_end(ap);
}

void
cli_usage(const char *fmt, ...)
{
	char tail[128];
	va_list ap;

	snprintf(tail, sizeof tail, "; try '%s --help'", name);
	va_start(ap, fmt);
	message(0, tail, fmt, ap);
	va_end(ap);
	exit(CLI_EUSAGE);
}

int
cli_finish(int status)
{
	int bad = ferror(stdout);

	if (fclose(stdout) != 0 || bad) {
		cli_warn("standard output");
		return CLI_EFAIL;
	}
	return status;
}

void
cli_no_terminal(int fd, const char *what, const char *hint)
{
	if (isatty(fd))
		cli_usage("%s is binary, and the output is a terminal: %s", what, hint);
}

/* Does the option with this value exist, as a letter or as a long one? */
static bool
known(int value, const char *shorts, const struct option *longs)
{
	if (isascii(value) && isalnum(value) && strchr(shorts, value) != NULL)
		return true;
	for (; longs->name != NULL; longs++)
		if (longs->val == value)
			return true;
	return false;
}

int
cli_getopt(int argc, char *argv[], const char *shorts, const struct option *longs, const char *help)
{
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1)
		switch (c) {
		case 'h': fputs(help, stdout); exit(cli_finish(CLI_OK));
		case 'V': printf("%s %s\n", name, EET_VERSION); exit(cli_finish(CLI_OK));
		case 'q': cli_level = -1; break;
		case 'v': cli_level++; break;
		case ':':
			if (optopt < 256 && strncmp(argv[optind - 1], "--", 2) != 0)
				cli_usage("option -%c needs a value", optopt);
			cli_usage("option %s needs a value", argv[optind - 1]);
		case '?':
			if (optopt == 0)
				cli_usage("unknown or ambiguous option %s", argv[optind - 1]);
			if (known(optopt, shorts, longs))
				cli_usage("option %s takes no value", argv[optind - 1]);
			cli_usage("unknown option -%c", optopt);
		default: return c;
		}
	return -1;
}

/*
 * Read digits at *s into *o, and move *s past them.  Fails, and moves nothing, if there are none or
 * if the number is larger than max.
 */
static bool
digits(const char **s, uint64_t max, uint64_t *o)
{
	const char *p = *s;
	uint64_t n = 0;

	for (; *p >= '0' && *p <= '9'; p++) {
		uint64_t d = (uint64_t)(*p - '0');

		if (d > max || n > (max - d) / 10)
			return false;
		n = n * 10 + d;
	}
	if (p == *s)
		return false;
	*s = p;
	*o = n;
	return true;
}

bool
cli_parse_number(const char *s, uint64_t min, uint64_t max, uint64_t *o)
{
	uint64_t n;

	if (!digits(&s, max, &n) || *s != '\0' || n < min)
		return false;
	*o = n;
	return true;
}

bool
cli_parse_duration(const char *s, uint64_t *uso)
{
	static const struct {
		const char *suffix;
		uint64_t us;
	} units[] = {
		{ "", 1000000 },
		{ "ms", 1000 },
		{ "s", 1000000 },
		{ "m", 60000000 },
		{ "h", 3600000000 },
	};
	const char *fraction = NULL;
	uint64_t n, us, part = 0;
	size_t i, places = 0;

	if (!digits(&s, INT64_MAX, &n))
		return false;
	if (*s == '.') {
		fraction = ++s;
		places = strspn(s, "0123456789");
		if (places == 0)
			return false;
		s += places;
	}
	for (i = 0; i < sizeof units / sizeof *units; i++)
		if (strcmp(s, units[i].suffix) == 0)
			break;
	if (i == sizeof units / sizeof *units || n > INT64_MAX / units[i].us)
		return false;
	us = n * units[i].us;
	for (; places > 0; places--) {
		part += units[i].us * (uint64_t)(fraction[places - 1] - '0');
		if (part % 10 != 0)
			return false; /* finer than a microsecond */
		part /= 10;
	}
	if (us + part > INT64_MAX)
		return false;
	*uso = us + part;
	return true;
}

bool
cli_parse_size(const char *s, uint64_t *o)
{
	unsigned int shift;
	uint64_t n;

	if (!digits(&s, INT64_MAX, &n))
		return false;
	switch (*s) {
	case '\0': *o = n; return true;
	case 'k':
	case 'K': shift = 10; break;
	case 'm':
	case 'M': shift = 20; break;
	case 'g':
	case 'G': shift = 30; break;
	default: return false;
	}
	if (s[1] != '\0' || n > (uint64_t)INT64_MAX >> shift)
		return false;
	*o = n << shift;
	return true;
}

bool
cli_parse_mode(const char *s, mode_t *o)
{
	mode_t mode = 0;

	if (*s == '\0')
		return false;
	for (; *s != '\0'; s++) {
		if (*s < '0' || *s > '7')
			return false;
		mode = mode << 3 | (mode_t)(*s - '0');
		if (mode > 0777)
			return false;
	}
	*o = mode;
	return true;
}

/* Is s[0..len) an IPv6 address, perhaps with a %zone? */
static bool
is_ipv6(const char *s, size_t len)
{
	char addr[INET6_ADDRSTRLEN];
	struct in6_addr in6;
	const char *zone = memchr(s, '%', len);

	if (zone != NULL) {
		if (zone + 1 == s + len)
			return false;
		len = (size_t)(zone - s);
	}
	if (len >= sizeof addr)
		return false;
	memcpy(addr, s, len);
	addr[len] = '\0';
	return inet_pton(AF_INET6, addr, &in6) == 1;
}

const char *
cli_parse_address(const char *s, struct cli_address *o)
{
	static const char name_chars[] = "abcdefghijklmnopqrstuvwxyz"
					 "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
					 "0123456789.-_";
	const char *host = s, *colon = strrchr(s, ':');
	struct cli_address a = { 0 };
	uint64_t port;
	size_t len;

	if (strncmp(s, "unix:", 5) == 0) {
		len = strlen(s + 5);
		if (len == 0)
			return "no path after unix:";
		if (len >= sizeof a.path)
			return "the path of a socket has at most 107 bytes";
		a.kind = CLI_UNIX;
		memcpy(a.path, s + 5, len);
		*o = a;
		return NULL;
	}
	a.kind = CLI_INET;
	if (is_ipv6(s, strlen(s)))
		return "an IPv6 address stands in brackets, with a port: [::1]:5096";
	if (colon == NULL || colon[strlen(colon) - 1] == ']')
		return s[0] != '\0' && s[strspn(s, "0123456789")] == '\0'
		    ? "write :PORT for every interface, localhost:PORT for this machine"
		    : "no port; write ADDRESS:PORT";
	if (!cli_parse_number(colon + 1, 0, UINT16_MAX, &port))
		return "the port is a number from 0 to 65535";
	a.port = (uint16_t)port;
	len = (size_t)(colon - s);
	if (len > 0 && s[0] == '[') {
		if (s[len - 1] != ']' || !is_ipv6(s + 1, len - 2))
			return "no IPv6 address in the brackets";
		host++;
		len -= 2;
	} else if (memchr(s, ':', len) != NULL) {
		return "an IPv6 address stands in brackets, with a port: [::1]:5096";
	} else if (strspn(s, name_chars) < len) {
		return "not a host name or address";
	}
	if (len >= sizeof a.host)
		return "the host name is too long";
	memcpy(a.host, host, len);
	*o = a;
	return NULL;
}

uint64_t
cli_number(const char *opt, const char *s, uint64_t min, uint64_t max)
{
	uint64_t n;

	if (!cli_parse_number(s, min, max, &n))
		cli_usage("%s %s: not a number from %ju to %ju", opt, s, (uintmax_t)min,
		    (uintmax_t)max);
	return n;
}

uint64_t
cli_duration(const char *opt, const char *s)
{
	uint64_t us;

	if (!cli_parse_duration(s, &us))
		cli_usage("%s %s: not a duration (10, 10s, 500ms, 2m, 1h)", opt, s);
	return us;
}

uint64_t
cli_size(const char *opt, const char *s)
{
	uint64_t n;

	if (!cli_parse_size(s, &n))
		cli_usage("%s %s: not a size (4096, 64k, 100M, 1G)", opt, s);
	return n;
}

mode_t
cli_mode(const char *opt, const char *s)
{
	mode_t mode;

	if (!cli_parse_mode(s, &mode))
		cli_usage("%s %s: not a file mode in octal, 0 to 0777", opt, s);
	return mode;
}

void
cli_address(const char *s, struct cli_address *o)
{
	const char *why = cli_parse_address(s, o);

	if (why != NULL)
		cli_usage("%s: %s", s, why);
}
