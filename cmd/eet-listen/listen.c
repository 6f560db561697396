/* See listen.h. */
#include "listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	ACCEPT_PER_TURN = 64,
	PAUSE_MS = 100, /* after the system had no descriptor left */
	PORT_TRIES = 100
};

/* The names of an address: what is bound, in order; those after the first may be missing. */
struct names {
	struct sockaddr_storage addr[LISTEN_MAX];
	socklen_t len[LISTEN_MAX];
	size_t count;
	bool optional; /* a family that the machine lacks is skipped */
};

static void
set_port(struct sockaddr_storage *a, in_port_t port)
{
	if (a->ss_family == AF_INET6)
		((struct sockaddr_in6 *)a)->sin6_port = port;
	else
		((struct sockaddr_in *)a)->sin_port = port;
}

static in_port_t
get_port(const struct sockaddr_storage *a)
{
	return a->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)a)->sin6_port
					: ((const struct sockaddr_in *)a)->sin_port;
}

static void
add_name(struct names *n, const struct sockaddr *a, socklen_t len)
{
	for (size_t i = 0; i < n->count; i++)
		if (n->len[i] == len && memcmp(&n->addr[i], a, len) == 0)
			return;
	if (n->count == LISTEN_MAX)
		return;
	memset(&n->addr[n->count], 0, sizeof n->addr[0]);
	memcpy(&n->addr[n->count], a, len);
	n->len[n->count++] = len;
}

/* What the address means.  localhost is both loopbacks, whatever the resolver says. */
static int
resolve(const struct cli_address *address, struct names *n)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list, *a;
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	bool any = address->host[0] == '\0';
	char port[8];
	int e;

	n->count = 0;
	n->optional = true;
	if (any || strcasecmp(address->host, "localhost") == 0) {
		in.sin_addr.s_addr = htonl(any ? INADDR_ANY : INADDR_LOOPBACK);
		in6.sin6_addr = any ? in6addr_any : in6addr_loopback;
		in.sin_port = in6.sin6_port = htons(address->port);
		add_name(n, (struct sockaddr *)&in, sizeof in);
		add_name(n, (struct sockaddr *)&in6, sizeof in6);
		return 0;
	}
	snprintf(port, sizeof port, "%u", address->port);
	if ((e = getaddrinfo(address->host, port, &hints, &list)) != 0) {
		cli_warnx("%s: %s", address->host, gai_strerror(e));
		return -1;
	}
	for (a = list; a != NULL; a = a->ai_next)
		add_name(n, a->ai_addr, a->ai_addrlen);
	freeaddrinfo(list);
	n->optional = n->count > 1;
	return 0;
}

/* A socket bound to that address; -1 with errno. */
static int
bind_to(const struct sockaddr *a, socklen_t len)
{
	int fd, on = 1, e;

	fd = socket(a->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return -1;
	if (a->sa_family != AF_UNIX)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (a->sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
	if (bind(fd, a, len) == -1) {
		e = errno;
		close(fd);
		errno = e;
		return -1;
	}
	return fd;
}

static void
close_fds(struct listener *l)
{
	while (l->count > 0)
		close(l->fds[--l->count]);
}

/*
 * Bind all names to one port: a free one, the same for all, if it is 0.  1: done; 0: the free port
 * of the first is taken in another family; -1: errno, *failedo is the name.
 */
static int
bind_all(struct listener *l, struct names *n, in_port_t port, size_t *failedo)
{
	for (size_t i = 0; i < n->count; i++) {
		struct sockaddr_storage *a = &n->addr[i];
		struct sockaddr_storage bound;
		socklen_t len = sizeof bound;
		in_port_t wanted = port;
		int fd;

		if (port == 0 && l->count > 0) {
			getsockname(l->fds[0], (struct sockaddr *)&bound, &len);
			wanted = get_port(&bound);
		}
		set_port(a, wanted);
		fd = bind_to((struct sockaddr *)a, n->len[i]);
		if (fd != -1) {
			l->fds[l->count++] = fd;
			continue;
		}
		if (port == 0 && wanted != 0 && errno == EADDRINUSE)
			return 0;
		if (n->optional && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL) &&
		    (l->count > 0 || i + 1 < n->count))
			continue;
		*failedo = i;
		return -1;
	}
	return 1;
}

/* HOST:PORT, an IPv6 host in brackets. */
static void
format_name(const struct sockaddr_storage *a, socklen_t len, char *out, size_t size)
{
	char host[INET6_ADDRSTRLEN + 32] = "?", port[8] = "0";

	getnameinfo((const struct sockaddr *)a, len, host, sizeof host, port, sizeof port,
	    NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(out, size, a->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

static int
open_inet(struct listener *l, const struct cli_address *address)
{
	struct names n;
	struct sockaddr_storage bound;
	socklen_t len = sizeof bound;
	size_t failed;
	char name[128];
	int done = 0;

	if (resolve(address, &n) == -1)
		return -1;
	for (int tries = 0; tries < PORT_TRIES && done == 0; tries++) {
		close_fds(l);
		done = bind_all(l, &n, htons(address->port), &failed);
	}
	if (done != 1) {
		if (done == 0) {
			cli_warnx("no port is free in both address families");
		} else {
			int e = errno;

			format_name(&n.addr[failed], n.len[failed], name, sizeof name);
			errno = e;
			cli_warn("%s", name);
		}
		close_fds(l);
		return -1;
	}
	getsockname(l->fds[0], (struct sockaddr *)&bound, &len);
	/* The address to connect to; for every interface, this machine's own. */
	if (address->host[0] == '\0' && bound.ss_family == AF_INET)
		((struct sockaddr_in *)&bound)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else if (address->host[0] == '\0')
		((struct sockaddr_in6 *)&bound)->sin6_addr = in6addr_loopback;
	format_name(&bound, len, name, sizeof name);
	snprintf(l->url, sizeof l->url, "ws://%s/ws", name);
	return 0;
}

/* A socket file that nobody listens on any more was left by a crash. */
static bool
stale(const struct sockaddr_un *a)
{
	struct stat st;
	int fd, e;

	if (lstat(a->sun_path, &st) == -1 || !S_ISSOCK(st.st_mode))
		return false;
	if ((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) == -1)
		return false;
	e = connect(fd, (const struct sockaddr *)a, sizeof *a) == -1 ? errno : 0;
	close(fd);
	return e == ECONNREFUSED;
}

static int
open_unix(struct listener *l, const struct cli_address *address)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct stat st;
	int fd;

	memcpy(a.sun_path, address->path, sizeof a.sun_path);
	fd = bind_to((struct sockaddr *)&a, sizeof a);
	if (fd == -1 && errno == EADDRINUSE && stale(&a)) {
		unlink(a.sun_path);
		fd = bind_to((struct sockaddr *)&a, sizeof a);
	}
	if (fd == -1) {
		cli_warn("unix:%s", address->path);
		return -1;
	}
	if (stat(a.sun_path, &st) == 0) {
		l->dev = st.st_dev;
		l->ino = st.st_ino;
	}
	l->fds[l->count++] = fd;
	memcpy(l->path, address->path, sizeof l->path);
	snprintf(l->url, sizeof l->url, "ws+unix:%s", address->path);
	return 0;
}

int
listener_open(struct listener *l, const struct cli_address *address)
{
	l->count = 0;
	l->started = l->paused = l->said = false;
	l->path[0] = '\0';
	if ((address->kind == CLI_UNIX ? open_unix(l, address) : open_inet(l, address)) == -1)
		return -1;
	for (size_t i = 0; i < l->count; i++)
		if (listen(l->fds[i], SOMAXCONN) == -1) {
			cli_warn("%s", l->url);
			close_fds(l);
			return -1;
		}
	return 0;
}

static void on_connection(uv_poll_t *poll, int status, int events);

static void
pause_all(struct listener *l)
{
	l->paused = true;
	for (size_t i = 0; i < l->count; i++)
		uv_poll_stop(&l->polls[i]);
}

static void
on_pause_end(uv_timer_t *timer)
{
	listener_resume(timer->data);
}

static void
on_connection(uv_poll_t *poll, int status, int events)
{
	struct listener *l = poll->data;
	struct sockaddr_storage a;
	char peer[LISTEN_PEER];
	int fd, on = 1;

	(void)status;
	(void)events;
	for (int i = 0; i < ACCEPT_PER_TURN && !l->paused; i++) {
		socklen_t len = sizeof a;

		fd = accept4(l->fds[poll - l->polls], (struct sockaddr *)&a, &len,
		    SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd == -1 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd == -1 && errno == EAGAIN)
			return;
		if (fd == -1) {
			if (!l->said)
				cli_warn("a connection could not be accepted");
			l->said = true;
			pause_all(l);
			uv_timer_start(&l->pause, on_pause_end, PAUSE_MS, 0);
			return;
		}
		l->said = false;
		if (a.ss_family == AF_UNIX) {
			snprintf(peer, sizeof peer, "unix");
		} else {
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
			format_name(&a, len, peer, sizeof peer);
		}
		if (!l->accepted(l->arg, fd, peer))
			pause_all(l);
	}
}

int
listener_start(struct listener *l, uv_loop_t *loop)
{
	uv_timer_init(loop, &l->pause);
	l->pause.data = l;
	l->started = true;
	for (size_t i = 0; i < l->count; i++) {
		int e = uv_poll_init(loop, &l->polls[i], l->fds[i]);

		if (e < 0) {
			cli_warnx("%s: %s", l->url, uv_strerror(e));
			return -1;
		}
		l->polls[i].data = l;
		uv_poll_start(&l->polls[i], UV_READABLE, on_connection);
	}
	return 0;
}

void
listener_resume(struct listener *l)
{
	if (!l->paused || uv_is_closing((uv_handle_t *)&l->pause))
		return;
	l->paused = false;
	for (size_t i = 0; i < l->count; i++)
		uv_poll_start(&l->polls[i], UV_READABLE, on_connection);
}

void
listener_close(struct listener *l)
{
	struct stat st;

	if (l->started && !uv_is_closing((uv_handle_t *)&l->pause)) {
		uv_close((uv_handle_t *)&l->pause, NULL);
		for (size_t i = 0; i < l->count; i++)
			uv_close((uv_handle_t *)&l->polls[i], NULL);
	}
	close_fds(l);
	if (l->path[0] != '\0' && lstat(l->path, &st) == 0 && st.st_dev == l->dev &&
	    st.st_ino == l->ino)
		unlink(l->path);
	l->path[0] = '\0';
}
