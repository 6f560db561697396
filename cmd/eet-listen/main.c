/* eet-listen: streams of audio over WebSocket become one mux log.  See eet-listen(1). */
#include "cli.h"
#include "clock.h"
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	OPT_RAW = 0x100,
	OPT_SESSIONS,
	OPT_IDLE_EXIT,
	OPT_READY_FD,
	OPT_MAX_FRAME,
	OPT_HANDSHAKE_TIMEOUT,
	OPT_IDLE_TIMEOUT
};

static const char help[] =
    "Usage: eet-listen [OPTION]... [[ADDRESS]:PORT | unix:PATH]\n"
    "Take streams of audio over WebSocket, and write what they send as a mux log to\n"
    "standard output.  Listens on localhost:5096 by default.\n"
    "\n"
    "  -o FILE                   write the log to FILE, which must be new or empty\n"
    "      --raw                 write a plain frame log, of one stream at a time\n"
    "\n"
    "      --sessions N          take N streams, end when they have ended\n"
    "      --idle-exit TIME      end when no stream was open for TIME\n"
    "      --ready-fd FD         when ready, write the URL to FD and close it\n"
    "      --max-frame SIZE      the longest frame that a stream may announce (1M)\n"
    "      --handshake-timeout TIME  from connection to handshake (10s; 0: any time)\n"
    "      --idle-timeout TIME   close who sent nothing for so long (50s; 0: never)\n"
    "\n"
    "  -q, --quiet               errors only\n"
    "  -v, --verbose             say more\n"
    "  -h, --help                this text\n"
    "  -V, --version             the version\n"
    "\n"
    "TIME is 10, 10s, 500ms, 2m or 1h; SIZE is 4096, 64k, 100M or 1G.\n";

static const struct option longs[] = {
	{ "raw", no_argument, NULL, OPT_RAW },
	{ "sessions", required_argument, NULL, OPT_SESSIONS },
	{ "idle-exit", required_argument, NULL, OPT_IDLE_EXIT },
	{ "ready-fd", required_argument, NULL, OPT_READY_FD },
	{ "max-frame", required_argument, NULL, OPT_MAX_FRAME },
	{ "handshake-timeout", required_argument, NULL, OPT_HANDSHAKE_TIMEOUT },
	{ "idle-timeout", required_argument, NULL, OPT_IDLE_TIMEOUT },
	CLI_LONG,
	{ NULL, 0, NULL, 0 },
};

/* Say where we listen: on stderr, and to whoever started us. */
static void
ready(const char *url, int fd)
{
	char line[400];
	int len = snprintf(line, sizeof line, "%s\n", url);

	cli_note(0, "listening on %s", url);
	if (fd == -1)
		return;
	if (write(fd, line, (size_t)len) != len)
		cli_warn("--ready-fd %d", fd);
	close(fd);
}

int
main(int argc, char *argv[])
{
	static struct server server;
	struct server_options options = {
		.first_session = 1,
		.max_frame = 1 << 20,
		.handshake_timeout = 10000000,
		.idle_timeout = 50000000,
	};
	const char *where = "localhost:5096";
	struct cli_address address;
	bool raw = false, where_given = false;
	int c, ready_fd = -1;

	cli_init(argv);
	while ((c = cli_getopt(argc, argv, "-:o:" CLI_SHORT, longs, help)) != -1)
		switch (c) {
		case 1:
			if (where_given)
				cli_usage("%s: one address is enough", optarg);
			where = optarg;
			where_given = true;
			break;
		case OPT_RAW: raw = true; break;
		case OPT_SESSIONS:
			options.sessions =
			    (uint32_t)cli_number("--sessions", optarg, 1, UINT32_MAX);
			break;
		case OPT_IDLE_EXIT: options.idle_exit = cli_duration("--idle-exit", optarg); break;
		case OPT_READY_FD:
			ready_fd = (int)cli_number("--ready-fd", optarg, 0, INT32_MAX);
			break;
		case OPT_MAX_FRAME: options.max_frame = cli_size("--max-frame", optarg); break;
		case OPT_HANDSHAKE_TIMEOUT:
			options.handshake_timeout = cli_duration("--handshake-timeout", optarg);
			break;
		case OPT_IDLE_TIMEOUT:
			options.idle_timeout = cli_duration("--idle-timeout", optarg);
			break;
		}
	if (optind < argc)
		cli_usage("%s: nothing can stand after --", argv[optind]);
	cli_address(where, &address);
	if (ready_fd != -1 && (ready_fd == STDOUT_FILENO || fcntl(ready_fd, F_GETFD) == -1))
		cli_usage("--ready-fd %d: not an open descriptor that is ours to use", ready_fd);
	cli_no_terminal(STDOUT_FILENO, "a log", "redirect it, or use -o FILE");

	clock_start();
	if (server_init(&server, &options, raw) == -1)
		return CLI_EFAIL;
	if (output_to(&server.output, &server.loop, STDOUT_FILENO, false, "standard output") == -1)
		cli_die(CLI_EFAIL, "standard output");
	if (listener_open(&server.listener, &address) == -1)
		return CLI_EFAIL;
	ready(server.listener.url, ready_fd);
	return cli_finish(server_run(&server));
}
