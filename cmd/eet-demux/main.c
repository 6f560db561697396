/*
 * eet-demux: some sessions of a log, to standard output, to a file each or to a command each.  One
 * loop reads, takes records, and writes all of them before it reads again.
 */
#include "bytes.h"
#include "cli.h"
#include "input.h"
#include "log.h"
#include "output.h"
#include "sink.h"
#include "stop.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Numbers that an option gave; none: every number will do. */
struct numbers {
	uint32_t *list;
	size_t n;
};

struct demux {
	struct numbers ids, sessions;
	struct log_options log;
	struct output *output;
	struct sinks sinks;

	/* The log that is being read. */
	const char *name;
	struct log_reader *reader;
	uint64_t delivered; /* offset up to which everything is */

	uint64_t seen_us;   /* time of the last record, */
	uint64_t passed_us; /* and of the last one that was passed on */
	uint8_t tick[LOG_HEADER_SIZE], header[LOG_HEADER_SIZE];

	uint32_t takes; /* of frame logs, so far */
	bool any;       /* a session was selected */
	bool passed;    /* something was passed on to standard output: */
	bool mux;       /* this kind of log */
	int status;
};

/* The worse of two exit statuses: a failure of the system hides what the input is like. */
static int
worse(int a, int b)
{
	if (a == CLI_EFAIL || b == CLI_EFAIL)
		return CLI_EFAIL;
	return a > b ? a : b;
}

static void
add_number(struct numbers *ns, const char *opt, const char *arg, uint32_t min)
{
	uint32_t number = (uint32_t)cli_number(opt, arg, min, UINT32_MAX);
	uint32_t *list = reallocarray(ns->list, ns->n + 1, sizeof *list);

	if (list == NULL)
		cli_die(CLI_EFAIL, "%s %s", opt, arg);
	ns->list = list;
	ns->list[ns->n++] = number;
}

static bool
matches(const struct numbers *ns, uint32_t number)
{
	for (size_t i = 0; i < ns->n; i++)
		if (ns->list[i] == number)
			return true;
	return ns->n == 0;
}

static bool
selected(const struct demux *d, const struct name *n)
{
	return matches(&d->ids, n->stream_id) && matches(&d->sessions, n->session);
}

static bool
selects(const struct demux *d)
{
	return d->ids.n > 0 || d->sessions.n > 0;
}

static const uint64_t believed = 10000000; /* how far a time may be from the last one, at once */

/*
 * The time that passed in records which are left out is told by a TICK, or a reader of what is
 * passed on would doubt the next record's.  False: the end.
 */
static bool
pass_time(struct demux *d, const struct log_record *rec)
{
	const uint64_t last = d->passed_us;
	bool left_out = d->passed && d->seen_us != last;

	d->passed_us = rec->time_us;
	if (!left_out || rec->time_us <= last || rec->time_us - last <= believed)
		return true;
	if (!sinks_flush(&d->sinks)) /* with the TICK before */
		return false;
	log_pack_header(d->tick, 0, LOG_KIND_TICK, rec->time_us, 0);
	return sinks_add(&d->sinks, d->output->common, d->tick, sizeof d->tick);
}

/* A record as it is; where its time was not believed, with that which counts.  False: the end. */
static bool
pass_record(struct demux *d, const struct log_record *rec)
{
	uint64_t time = log_is_mux(d->reader) ? le64_load(rec->record + 16) : rec->time_us;
	const uint8_t *body = rec->record + LOG_HEADER_SIZE;

	if (time - rec->time_us <= believed || rec->time_us - time <= believed)
		return sinks_add(&d->sinks, d->output->common, rec->record, rec->record_length);
	if (!sinks_flush(&d->sinks)) /* with the header before */
		return false;
	memcpy(d->header, rec->record, sizeof d->header);
	le64_store(d->header + 16, rec->time_us);
	return sinks_add(&d->sinks, d->output->common, d->header, sizeof d->header) &&
	    sinks_add(&d->sinks, d->output->common, body, rec->record_length - LOG_HEADER_SIZE);
}

/* A record, if its session is selected or if it is about all of them.  False: the end. */
static bool
pass(struct demux *d, const struct log_record *rec)
{
	bool mux = log_is_mux(d->reader);

	if (rec->session != NULL && rec->session->user == NULL)
		return true;
	/* What kinds of a later day say, and about whom, is not known. */
	if (rec->event == LOG_TICK && selects(d) && le16_load(rec->record + 12) != LOG_KIND_TICK)
		return true;
	if (rec->record == NULL)
		return true;
	if (d->passed && mux != d->mux) {
		sinks_flush(&d->sinks);
		cli_diex(CLI_EUSAGE, "%s: a %s log behind a %s log, one output holds one kind",
		    d->name, mux ? "mux" : "frame", mux ? "frame" : "mux");
	}
	if (mux && !pass_time(d, rec))
		return false;
	d->passed = true;
	d->mux = mux;
	return pass_record(d, rec);
}

/* What a session's own sink gets of a record.  False: the end. */
static bool
split(struct demux *d, const struct log_record *rec)
{
	struct sink *s = rec->session != NULL ? rec->session->user : NULL;

	if (s == NULL)
		return true;
	if (rec->event == LOG_FRAME)
		return sinks_add(&d->sinks, s, rec->data, rec->length);
	if (rec->event == LOG_CLOSE)
		sinks_end(&d->sinks, s);
	return true;
}

/* A session begins.  False: the end. */
static bool
begin(struct demux *d, struct log_session *s)
{
	struct name n = {
		.stream_id = s->format.stream_id,
		.session = s->number,
		.time_ms = s->open_us / 1000,
	};

	memcpy(n.tag, s->tag, sizeof n.tag);
	if (!log_is_mux(d->reader))
		n.session = ++d->takes;
	if (!selected(d, &n))
		return true;
	d->any = true;
	return d->output->begin(d->output, s, &n);
}

static bool
take_record(struct demux *d, const struct log_record *rec)
{
	/* That a session has no CLOSE is of interest if the session is. */
	if ((rec->event != LOG_CLOSE || rec->session->user != NULL) &&
	    input_report(d->name, d->reader, rec))
		d->status = worse(d->status, CLI_EDATA);
	if (rec->event == LOG_DAMAGE)
		return true;
	if (rec->event == LOG_OPEN && !begin(d, rec->session))
		return false;
	if (d->output->common == NULL)
		return split(d, rec);
	if (!pass(d, rec))
		return false;
	d->seen_us = rec->time_us;
	return true;
}

/* Take all records that are buffered, and write them.  LOG_MORE; LOG_END; LOG_ERROR: the end. */
static enum log_event
take_records(struct demux *d)
{
	struct log_record rec;
	enum log_event e;

	while ((e = log_next(d->reader, &rec)) != LOG_MORE && e != LOG_END) {
		if (e == LOG_ERROR)
			cli_warn("%s: offset %" PRIu64, d->name, log_offset(d->reader));
		if (e == LOG_ERROR || !take_record(d, &rec))
			goto fail;
	}
	if (sinks_flush(&d->sinks)) {
		d->delivered = log_offset(d->reader);
		return e;
	}
fail:
	if (stop_now())
		cli_warnx("%s: offset %" PRIu64 ": not all is delivered from here on", d->name,
		    d->delivered);
	d->status = CLI_EFAIL;
	return LOG_ERROR;
}

enum input { INPUT_READ, INPUT_ENDED, INPUT_STOPPED, INPUT_FOR_NOBODY };

/* Wait for input, and read once. */
static enum input
read_input(struct demux *d, int fd)
{
	struct sink *out = d->output->common;
	struct pollfd p[] = {
		{ .fd = fd, .events = POLLIN },
		{ .fd = out != NULL ? out->fd : -1 }, /* without being asked it tells of its end */
	};

	for (;;) {
		if (!sinks_wait(&d->sinks, p, sizeof p / sizeof *p)) {
			cli_warnx("%s: offset %" PRIu64 ": stopped here, the input has not ended",
			    d->name, log_offset(d->reader));
			d->status = worse(d->status, CLI_EDATA);
			return INPUT_STOPPED;
		}
		if (out != NULL && p[1].revents != 0) {
			errno = EPIPE;
			cli_warn("%s", out->label);
			d->status = CLI_EFAIL;
			return INPUT_FOR_NOBODY;
		}
		if (p[0].revents == 0)
			continue;
		switch (log_fill(d->reader)) {
		case 1: return INPUT_READ;
		case 0: return INPUT_ENDED;
		default: break;
		}
		if (errno == EAGAIN)
			continue;
		cli_warn("%s: offset %" PRIu64, d->name, log_offset(d->reader));
		d->status = CLI_EFAIL;
		return INPUT_ENDED;
	}
}

/* Read a log to its end.  False: nothing is to be read behind it. */
static bool
read_log(struct demux *d, int fd)
{
	enum input input = INPUT_READ;
	enum log_event e;

	d->delivered = 0;
	if ((d->reader = log_new(fd, &d->log)) == NULL)
		cli_die(CLI_EFAIL, "%s", d->name);
	while ((e = take_records(d)) == LOG_MORE) {
		if ((input = read_input(d, fd)) == INPUT_FOR_NOBODY)
			break;
		if (input != INPUT_READ)
			log_eof(d->reader);
	}
	log_free(d->reader);
	return e == LOG_END && input != INPUT_STOPPED;
}

/* The same for an operand. */
static bool
read_operand(struct demux *d, const char *path)
{
	bool standard = strcmp(path, "-") == 0, on;
	int fd = STDIN_FILENO;

	d->name = standard ? "standard input" : path;
	/* A FIFO without a writer is waited for where signals are answered. */
	if (!standard && (fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)) == -1) {
		cli_warn("%s", path);
		d->status = CLI_EFAIL;
		return true;
	}
	on = read_log(d, fd);
	if (!standard)
		close(fd);
	return on;
}

static int
demux(struct demux *d, char *const operands[])
{
	static char *const standard[] = { "-", NULL };
	char *const *path = operands[0] != NULL ? operands : standard;

	while (*path != NULL && read_operand(d, *path))
		path++;
	if (*path != NULL)
		while (*++path != NULL)
			cli_warnx("%s: not read", *path);
	if (!d->any && selects(d))
		cli_note(0, "no session has such a stream id and number");
	return worse(d->status, d->output->finish(d->output));
}

#define HELP \
	"Usage: eet-demux [OPTION]... [FILE]...\n" \
	"Split logs (standard input by default) into their sessions, or select some.\n" \
	"\n" \
	"  -i, --stream-id ID   only sessions with this stream id; more with each -i\n" \
	"  -S, --session N      only session N; more with each -S\n" \
	"  -d, --directory DIR  one frame log per session, in DIR\n" \
	"      --filter CMD     one `sh -c CMD` per session, which reads its frame log\n" \
	"      --layout LAYOUT  without effect: nothing is decoded\n" INPUT_HELP CLI_HELP

enum { OPTION_FILTER = 0x100, OPTION_LAYOUT };

int
main(int argc, char *argv[])
{
	static const struct option longs[] = {
		{ "stream-id", required_argument, NULL, 'i' },
		{ "session", required_argument, NULL, 'S' },
		{ "directory", required_argument, NULL, 'd' },
		{ "filter", required_argument, NULL, OPTION_FILTER },
		{ "layout", required_argument, NULL, OPTION_LAYOUT },
		INPUT_LONG,
		CLI_LONG,
		{ 0 },
	};
	static struct demux d;
	const char *dir = NULL, *filter = NULL;
	struct rlimit files;
	int c, status;

	cli_init(argv);
	while ((c = cli_getopt(argc, argv, ":i:S:d:" INPUT_SHORT CLI_SHORT, longs, HELP)) != -1)
		switch (c) {
		case 'i': add_number(&d.ids, "--stream-id", optarg, 0); break;
		case 'S': add_number(&d.sessions, "--session", optarg, 1); break;
		case 'd': dir = optarg; break;
		case OPTION_FILTER: filter = optarg; break;
		case OPTION_LAYOUT: input_layout(optarg); break;
		default:
			if (!input_option(&d.log, c, optarg))
				cli_usage("unknown option");
		}
	input_check(&d.log);
	if (dir != NULL && filter != NULL)
		cli_usage("-d and --filter exclude each other");
	if (filter != NULL && *filter == '\0')
		cli_usage("--filter needs a command");
	input_operands(argv + optind, dir == NULL && filter == NULL ? "-" : NULL);
	if (dir == NULL && filter == NULL)
		cli_no_terminal(STDOUT_FILENO, "a log", "redirect it, or use -d DIR");

	stop_init(false); /* no system call waits for an output here */
	if (dir != NULL)
		d.output = output_files(&d.sinks, dir);
	else if (filter != NULL)
		d.output = output_filters(&d.sinks, filter);
	else
		d.output = output_standard();
	if (d.output == NULL)
		return cli_finish(CLI_EFAIL);
	/* A descriptor for each session that is open at the same time. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	status = demux(&d, argv + optind);
	free(d.ids.list);
	free(d.sessions.list);
	free(d.sinks.polls);
	return cli_finish(status);
}
