/* eet-listen: streams of audio over WebSocket become a log, or files.  See eet-listen(1). */
#include "capture.h"
#include "cli.h"
#include "clock.h"
#include "index.h"
#include "name.h"
#include "outfile.h"
#include "recorder.h"
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	OPT_APPEND = 0x100,
	OPT_RAW,
	OPT_SPOOL,
	OPT_SESSIONS,
	OPT_IDLE_EXIT,
	OPT_READY_FD,
	OPT_MAX_FRAME,
	OPT_HANDSHAKE_TIMEOUT,
	OPT_IDLE_TIMEOUT
};

static const char help[] =
    "Usage: eet-listen [OPTION]... [[ADDRESS]:PORT | unix:PATH] [-- CMD [ARG]...]\n"
    "Take streams of audio over WebSocket, and write what they send as a mux log to\n"
    "standard output, or as rotating files.  Listens on localhost:5096 by default.\n"
    "With CMD, run it with the URL in $EET_URL, and end with it, and with its status.\n"
    "\n"
    "  -o, --output FILE        write the log to FILE, which must be new or empty\n"
    "      --append             -o: go on with a log that is there\n"
    "      --raw                write a plain frame log, of one stream at a time\n"
    "      --spool DIR          write rotating files into DIR, and list them on\n"
    "                           standard output; with -o, the log too\n"
    "\n"
    "With --spool:\n" RECORDER_HELP "\n"
    "      --sessions N         take N streams, and end when they have ended\n"
    "      --idle-exit TIME     end when no stream was open for TIME (0: never)\n"
    "      --ready-fd FD        when ready, write the URL to FD and close it\n"
    "      --max-frame SIZE     the longest frame that a stream may announce (1M)\n"
    "      --handshake-timeout TIME\n"
    "                           from connecting to the handshake (10s; 0: any time)\n"
    "      --idle-timeout TIME  close who sends nothing for so long (50s; 0: never)\n"
    "\n"
    "  -q, --quiet              errors only\n"
    "  -v, --verbose            say more\n"
    "  -h, --help               this text\n"
    "  -V, --version            the version\n"
    "\n"
    "TIME is 10, 10s, 500ms, 2m or 1h; SIZE is 4096, 64k, 100M or 1G.\n";

static const struct option longs[] = {
	{ "output", required_argument, NULL, 'o' },
	{ "append", no_argument, NULL, OPT_APPEND },
	{ "raw", no_argument, NULL, OPT_RAW },
	{ "spool", required_argument, NULL, OPT_SPOOL },
	{ "sessions", required_argument, NULL, OPT_SESSIONS },
	{ "idle-exit", required_argument, NULL, OPT_IDLE_EXIT },
	{ "ready-fd", required_argument, NULL, OPT_READY_FD },
	{ "max-frame", required_argument, NULL, OPT_MAX_FRAME },
	{ "handshake-timeout", required_argument, NULL, OPT_HANDSHAKE_TIMEOUT },
	{ "idle-timeout", required_argument, NULL, OPT_IDLE_TIMEOUT },
	RECORDER_LONG,
	CLI_LONG,
	{ NULL, 0, NULL, 0 },
};

struct settings {
	struct cli_address address;
	const char *file;  /* -o; NULL: none, "-" too */
	const char *spool; /* NULL: none */
	bool append, raw;
	int ready_fd;         /* -1: none */
	char *const *command; /* NULL: none */
	struct server_options server;
	struct recorder_options recorder;
};

static bool
same_directory(const char *a, const char *b)
{
	struct stat x, y;
	bool has_x = stat(a, &x) == 0, has_y = stat(b, &y) == 0;

	/* One that is not there can be written into only if it is the spool, which is made. */
	if (!has_x || !has_y)
		return !has_x && !has_y;
	return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Is file, in that spool, of a name that is the spool's to use? */
static bool
is_of_spool(const char *file, const char *spool)
{
	char *real = realpath(file, NULL); /* a symbolic link may lead there */
	const char *path = real != NULL ? real : file, *slash = strrchr(path, '/');
	const char *base = slash != NULL ? slash + 1 : path;
	char *dir = outfile_directory(path);
	size_t stem;
	bool is;

	if (dir == NULL)
		cli_die(CLI_EFAIL, "%s", file);
	is = (name_suffix(base, &stem) != NAME_NONE ||
		 strncmp(base, INDEX_FILE, strlen(INDEX_FILE)) == 0) &&
	    same_directory(dir, spool);
	free(dir);
	free(real);
	return is;
}

static void
parse(int argc, char *argv[], struct settings *set)
{
	const char *where = NULL;
	bool to_stdout = false;
	int c, last = optind;

	while ((c = cli_getopt(argc, argv, "-:o:" RECORDER_SHORT CLI_SHORT, longs, help)) != -1) {
		last = optind;
		switch (c) {
		case 1:
			if (where != NULL)
				cli_usage("%s: one address is enough", optarg);
			where = optarg;
			break;
		case 'o':
			to_stdout = strcmp(optarg, "-") == 0;
			set->file = to_stdout ? NULL : optarg;
			break;
		case OPT_APPEND: set->append = true; break;
		case OPT_RAW: set->raw = true; break;
		case OPT_SPOOL: set->spool = optarg; break;
		case OPT_SESSIONS:
			set->server.sessions =
			    (uint32_t)cli_number("--sessions", optarg, 1, UINT32_MAX);
			break;
		case OPT_IDLE_EXIT:
			set->server.idle_exit = cli_duration("--idle-exit", optarg);
			break;
		case OPT_READY_FD:
			set->ready_fd = (int)cli_number("--ready-fd", optarg, 0, INT32_MAX);
			break;
		case OPT_MAX_FRAME:
			set->server.max_frame = cli_size("--max-frame", optarg);
			if (set->server.max_frame < WIRE_FRAME_HEADER_SIZE)
				cli_usage("--max-frame %s, at least %d", optarg,
				    WIRE_FRAME_HEADER_SIZE);
			break;
		case OPT_HANDSHAKE_TIMEOUT:
			set->server.handshake_timeout = cli_duration("--handshake-timeout", optarg);
			break;
		case OPT_IDLE_TIMEOUT:
			set->server.idle_timeout = cli_duration("--idle-timeout", optarg);
			break;
		default: recorder_option(&set->recorder, c, optarg);
		}
	}
	if (optind < argc)
		set->command = argv + optind;
	else if (optind > last && strcmp(argv[optind - 1], "--") == 0)
		cli_usage("no command after --");
	if (set->command != NULL && set->server.idle_exit > 0)
		cli_usage("--idle-exit: a command says itself when it is over");
	if (set->spool != NULL && set->raw)
		cli_usage("--spool and --raw exclude each other");
	if (set->spool != NULL && to_stdout)
		cli_usage("--spool lists files on standard output, so -o - is not possible");
	if (set->spool != NULL && set->file != NULL && is_of_spool(set->file, set->spool))
		cli_usage("-o %s: a name that the spool uses itself", set->file);
	if (set->spool == NULL && set->recorder.given)
		cli_usage("options of a spool need --spool DIR");
	if (set->append && (set->file == NULL || set->raw))
		cli_usage("--append goes with -o FILE, and not with --raw");
	if (set->ready_fd != -1 &&
	    (set->ready_fd == STDOUT_FILENO || fcntl(set->ready_fd, F_GETFD) == -1))
		cli_usage("--ready-fd %d: must be an open descriptor, not standard output",
		    set->ready_fd);
	cli_address(where != NULL ? where : "localhost:5096", &set->address);
	if (set->file == NULL && set->spool == NULL)
		cli_no_terminal(STDOUT_FILENO, "a log",
		    "redirect it, or use -o FILE or --spool DIR");
}

/* Open what the log goes to.  Returns an exit status; what went wrong was said. */
static int
open_sinks(struct server *s, struct settings *set)
{
	struct recorder *r;
	const char *name = set->file != NULL ? set->file : "standard output";
	int fd = STDOUT_FILENO;

	if (set->spool != NULL) {
		if ((r = recorder_open(set->spool, &set->recorder)) == NULL)
			return CLI_EFAIL;
		if (output_spool(&s->output, &s->loop, r, set->spool) == -1) {
			cli_warn("%s", set->spool);
			return CLI_EFAIL;
		}
		if (set->file == NULL)
			return CLI_OK;
	}
	if (set->file != NULL &&
	    (fd = capture_open(set->file, set->append, &set->server.first_session,
		 &s->output.record_us)) == -1)
		return CLI_EFAIL;
	if (isatty(fd)) {
		cli_warnx("%s: a terminal, and a log is binary", name);
		return CLI_EUSAGE;
	}
	if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY) {
		errno = EBADF; /* closed by whoever started us, see cli_init() */
		cli_warn("%s", name);
		return CLI_EFAIL;
	}
	if (output_to(&s->output, &s->loop, fd, set->file != NULL, name) == -1) {
		cli_warn("%s", name);
		return CLI_EFAIL;
	}
	return CLI_OK;
}

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
	if (fd > STDERR_FILENO)
		close(fd);
}

int
main(int argc, char *argv[])
{
	static struct server server;
	struct settings set = {
		.ready_fd = -1,
		.server = {
			.first_session = 1,
			.max_frame = 1 << 20,
			.handshake_timeout = 10000000,
			.idle_timeout = 50000000,
		},
	};
	size_t commands;
	int status;

	cli_init(argv);
	recorder_defaults(&set.recorder);
	parse(argc, argv, &set);
	clock_start(server_sweep_ms(&set.server) * 1000);
	commands = set.recorder.spool.exec != NULL ? set.recorder.spool.exec_jobs : 0;
	if (server_init(&server, &set.server, set.raw, set.spool != NULL ? 2 : 1, commands) == -1 ||
	    listener_open(&server.listener, &set.address) == -1)
		return CLI_EFAIL;
	if ((status = open_sinks(&server, &set)) != CLI_OK) {
		listener_close(&server.listener);
		return status;
	}
	server.command.argv = set.command;
	server.command.out = set.file != NULL || set.spool != NULL ? STDOUT_FILENO : STDERR_FILENO;
	ready(server.listener.url, set.ready_fd);
	return cli_finish(server_run(&server));
}
