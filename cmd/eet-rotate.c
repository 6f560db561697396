/*
 * eet-rotate: a log in, a spool out.  One loop reads, takes records and
 * hands frames to the kernel before it reads again; completing is the spool's thread's work.
 */
#include "child.h"
#include "cli.h"
#include "input.h"
#include "log.h"
#include "recorder.h"
#include "spool.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

/* After SIGTERM the input is given so long to end; completing may take so long without a word. */
enum { PATIENCE_MS = 5000, SLOW_MS = 5000, RETRY_MS = 1000 };

#define INPUT_NAME "standard input"

struct rotate {
	struct recorder *recorder;
	struct spool *spool;
	struct log_reader *reader;
	int signals;
	int stops;        /* SIGINT and SIGTERM so far */
	uint64_t stop_by; /* milliseconds, monotonic; when there was one */
	uint64_t waits;   /* … since then, for the completing; 0: it does not */
	bool hang_up;     /* SIGHUP: to be taken to the spool */
	uint64_t last_us; /* time of the last record */
	uint64_t stored;  /* offset in the input up to which the kernel has all */
	bool completed;   /* so is everything that ended */
	int status;       /* of reading */
};

static uint64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void
take_signals(struct rotate *ro)
{
	struct signalfd_siginfo s;

	while (read(ro->signals, &s, sizeof s) == (ssize_t)sizeof s) {
		if (s.ssi_signo == SIGHUP) {
			ro->hang_up = true;
			continue;
		}
		if (s.ssi_signo == SIGCHLD) {
			child_reap();
			continue;
		}
		if (ro->stops++ > 0)
			continue;
		ro->stop_by = now_ms() + PATIENCE_MS;
		spool_stop_salvage(ro->spool);
		if (spool_use_reserve(ro->spool))
			recorder_resumed(ro->recorder);
	}
}

/* After a signal nobody waits for space. */
static bool
gives_up(const struct rotate *ro)
{
	return ro->stops > 0 && recorder_full(ro->recorder);
}

/*
 * Hear what was completed.  writes: our own writes succeed, so that only the completing can be
 * waiting for space.  False: it has failed.
 */
static bool
reap(struct rotate *ro, bool writes)
{
	int n = spool_reap(ro->spool);

	ro->completed = n == 1;
	if (n == -1)
		return recorder_waits(ro->recorder, errno);
	if (writes)
		recorder_resumed(ro->recorder);
	return true;
}

/* Until the spool has something to do. */
static void
wait_for_spool(struct rotate *ro, int timeout)
{
	struct pollfd p[] = {
		{ .fd = ro->signals, .events = POLLIN },
		{ .fd = spool_fd(ro->spool), .events = POLLIN },
	};

	poll(p, 2, timeout);
	take_signals(ro);
}

static void
wait_for_completing(struct rotate *ro)
{
	if (ro->waits == 0)
		ro->waits = now_ms();
	wait_for_spool(ro, RETRY_MS);
	if (now_ms() - ro->waits >= SLOW_MS)
		recorder_say_slow(ro->recorder);
}

/* What is done while something can't go on; then it is tried again.  False: give up. */
static bool
wait_for_room(struct rotate *ro, int error)
{
	bool queued = error == EAGAIN;

	if (!recorder_waits(ro->recorder, error))
		return false;
	if (!gives_up(ro)) {
		if (queued)
			wait_for_completing(ro);
		else
			wait_for_spool(ro, RETRY_MS);
		if (!reap(ro, queued))
			return false;
	}
	return !gives_up(ro) && ro->stops < 2;
}

static bool
put(struct rotate *ro, const struct log_record *rec)
{
	while (spool_put(ro->spool, rec) == -1)
		if (!wait_for_room(ro, errno))
			return false;
	ro->waits = 0;
	return true;
}

static bool
flush(struct rotate *ro)
{
	while (spool_flush(ro->spool) == -1)
		if (!wait_for_room(ro, errno))
			return false;
	ro->stored = log_offset(ro->reader);
	return true;
}

/* Take all records that are buffered.  LOG_MORE, LOG_END; LOG_ERROR: they can't be stored. */
static enum log_event
take_records(struct rotate *ro)
{
	struct log_record rec;
	enum log_event e;

	while ((e = log_next(ro->reader, &rec)) != LOG_MORE && e != LOG_END) {
		if (e == LOG_ERROR) {
			cli_warn("%s: offset %" PRIu64, INPUT_NAME, log_offset(ro->reader));
			return LOG_ERROR;
		}
		if (input_report(INPUT_NAME, ro->reader, &rec))
			ro->status = CLI_EDATA;
		if (e != LOG_DAMAGE)
			ro->last_us = rec.time_us;
		if (!put(ro, &rec)) {
			/* What was taken before it is to be stored all the same. */
			if (spool_flush(ro->spool) == 0)
				ro->stored = rec.offset;
			return LOG_ERROR;
		}
	}
	if (!flush(ro))
		return LOG_ERROR;
	return e;
}

/* Wait until there is input, and read it, or something else to do.  False: that was the end of it. */
static bool
wait_for_input(struct rotate *ro)
{
	struct pollfd p[] = {
		{ .fd = ro->signals, .events = POLLIN },
		{ .fd = spool_fd(ro->spool), .events = POLLIN },
		{ .fd = STDIN_FILENO, .events = POLLIN },
	};
	int timeout = -1, n;

	if (ro->stops > 0) {
		uint64_t now = now_ms();

		timeout = now < ro->stop_by ? (int)(ro->stop_by - now) : 0;
	}
	poll(p, 3, timeout);
	take_signals(ro);
	if (p[2].revents != 0) {
		if ((n = log_fill(ro->reader)) == 0)
			return false;
		if (n == -1 && errno != EAGAIN) {
			cli_warn("%s: offset %" PRIu64, INPUT_NAME, log_offset(ro->reader));
			ro->status = CLI_EFAIL;
			return false;
		}
	}
	return true;
}

/* Read and store to the end of the input.  False: not all of it can be stored. */
static bool
record(struct rotate *ro)
{
	for (;;) {
		enum log_event e = take_records(ro);

		if (e == LOG_END)
			return true;
		if (e == LOG_ERROR || !reap(ro, true) || gives_up(ro))
			return false;
		if (ro->hang_up) {
			struct log_record rotate = { .event = LOG_ROTATE, .time_us = ro->last_us };

			ro->hang_up = false;
			if (!put(ro, &rotate))
				return false;
			continue;
		}
		if (!wait_for_input(ro)) {
			log_eof(ro->reader);
		} else if (ro->stops > 1 || (ro->stops == 1 && now_ms() >= ro->stop_by)) {
			cli_warnx("%s: offset %" PRIu64 ": stopped here, the input has not ended",
			    INPUT_NAME, log_offset(ro->reader));
			ro->status = CLI_EDATA;
			log_eof(ro->reader);
		}
	}
}

/* Wait for what the completing has still to do.  False: it can't, or one signal too many came. */
static bool
complete(struct rotate *ro)
{
	for (;;) {
		int stops = ro->stops;

		if (!reap(ro, true) || gives_up(ro))
			return false;
		if (ro->completed)
			return true;
		wait_for_completing(ro);
		if (ro->stops > stops && ro->stops > 1)
			return false;
	}
}

static int
rotate(const char *dir, const struct recorder_options *options, const struct log_options *input)
{
	struct rotate ro = { 0 };
	sigset_t set;
	bool stored;
	int closed;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	ro.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (ro.signals == -1 || (ro.reader = log_new(STDIN_FILENO, input)) == NULL)
		cli_die(CLI_EFAIL, "can't start");
	if ((ro.recorder = recorder_open(dir, options)) == NULL) {
		log_free(ro.reader);
		close(ro.signals);
		return CLI_EFAIL;
	}
	ro.spool = recorder_spool(ro.recorder);
	stored = record(&ro);
	if (!stored)
		cli_warnx("%s: offset %" PRIu64 ": from here on it is not stored", INPUT_NAME,
		    ro.stored);
	stored = stored && complete(&ro);
	closed = recorder_close(ro.recorder, stored);
	log_free(ro.reader);
	close(ro.signals);
	if (!stored || ro.status == CLI_EFAIL || closed == CLI_EFAIL)
		return CLI_EFAIL;
	return ro.status != CLI_OK ? ro.status : closed;
}

#define HELP \
	"Usage: eet-rotate [OPTION]... DIR\n" \
	"Record the log on standard input into rotating files in DIR.\n" \
	"The path of each completed file is printed on standard output.\n" \
	"\n" RECORDER_HELP INPUT_HELP CLI_HELP

int
main(int argc, char *argv[])
{
	static const struct option longs[] = { RECORDER_LONG, INPUT_LONG, CLI_LONG, { 0 } };
	struct recorder_options options;
	struct log_options input = { 0 };
	struct rlimit files;
	int c;

	cli_init(argv);
	recorder_defaults(&options);
	while ((c = cli_getopt(argc, argv, ":" RECORDER_SHORT INPUT_SHORT CLI_SHORT, longs,
		    HELP)) != -1)
		if (!recorder_option(&options, c, optarg) && !input_option(&input, c, optarg))
			cli_usage("unknown option");
	input_check(&input);
	if (argc - optind != 1)
		cli_usage("one directory is needed");
	if (isatty(STDIN_FILENO))
		cli_usage("standard input is a terminal: feed it a log");
	input_not_output("-", "-");
	/* A descriptor for each growing segment. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	return cli_finish(rotate(argv[optind], &options, &input));
}
