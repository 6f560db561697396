#include "recorder.h"

#include "cli.h"
#include "fdio.h"
#include "input.h"
#include "lines.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* At the end, a reader of the list that takes nothing for so long is given up. */
enum {
	LIST_WAITING = 1 << 20, /* bytes */
	LIST_PATIENCE_MS = 5000,
	LIST_HURRY_MS = 300 /* when the disk is full */
};

struct recorder {
	struct recorder_options options;
	const char *dir;
	struct spool *spool;
	struct lines *list;
	bool full;
	bool said_slow;
	bool reader_gone;
	bool failed; /* something else than the recording */
	uint64_t damaged;
};

void
recorder_defaults(struct recorder_options *o)
{
	*o = (struct recorder_options){ 0 };
	spool_defaults(&o->spool);
}

bool
recorder_option(struct recorder_options *o, int c, const char *arg)
{
	struct spool_options *s = &o->spool;

	switch (c) {
	case 't': s->period_us = cli_duration("--time", arg); break;
	case 's':
		s->size = cli_size("--size", arg);
		if (s->size == 0)
			cli_usage("--size 0, at least 1");
		break;
	case RECORDER_NO_WAV: s->wav = false; break;
	case RECORDER_JSON: o->json = true; break;
	case RECORDER_SYNC:
		s->sync = strcmp(arg, "none") == 0 ? SPOOL_SYNC_NONE : SPOOL_SYNC_SEGMENT;
		s->sync_us = 0;
		if (strcmp(arg, "segment") != 0 && strcmp(arg, "none") != 0 &&
		    (!cli_parse_duration(arg, &s->sync_us) || s->sync_us == 0))
			cli_usage("--sync %s: segment, none or a time", arg);
		break;
	case RECORDER_ALIGN: s->align = true; break;
	case RECORDER_EXEC:
		if (*arg == '\0')
			cli_usage("--exec needs a command");
		s->exec = arg;
		break;
	case RECORDER_EXEC_JOBS:
		s->exec_jobs = (unsigned)cli_number("--exec-jobs", arg, 1, 256);
		break;
	case RECORDER_KEEP_BYTES: s->keep.keep_bytes = cli_size("--keep-bytes", arg); break;
	case RECORDER_KEEP_AGE: s->keep.keep_age_us = cli_duration("--keep-age", arg); break;
	case RECORDER_MIN_FREE: s->keep.min_free = cli_size("--min-free", arg); break;
	case RECORDER_MODE: s->mode = cli_mode("--mode", arg); break;
	case RECORDER_LAYOUT:
		s->layout = input_layout(arg);
		s->layout_given = true;
		break;
	default: return false;
	}
	o->given = true;
	return true;
}

/* A dead list is no reason to stop recording; it is said once, and at the end. */
static void
list(struct recorder *r, const char *line)
{
	int e;

	if (line == NULL)
		return;
	lines_put(r->list, line);
	if ((e = lines_error(r->list)) != 0 && !r->reader_gone) {
		errno = e;
		cli_warn("standard output: no list of files any more");
		r->reader_gone = true;
	}
}

static void
report(void *arg, const struct spool_report *s)
{
	struct recorder *r = arg;

	switch (s->kind) {
	case SPOOL_SEGMENT:
		if (s->text != NULL)
			cli_note(1, "%s", s->text);
		if (r->options.json) {
			list(r, s->line);
		} else {
			list(r, s->eet);
			list(r, s->wav);
		}
		break;
	case SPOOL_SESSION:
	case SPOOL_LINE:
		if (r->options.json)
			list(r, s->line);
		break;
	case SPOOL_DETAIL: cli_note(1, "%s", s->text); break;
	case SPOOL_NOTE: cli_note(0, "%s", s->text); break;
	case SPOOL_WARNING: cli_warnx("%s", s->text); break;
	case SPOOL_FAILURE:
		cli_warnx("%s", s->text);
		r->failed = true;
		break;
	case SPOOL_DAMAGE:
		cli_warnx("%s", s->text);
		r->damaged++;
		break;
	}
}

struct recorder *
recorder_open(const char *dir, const struct recorder_options *o)
{
	struct recorder *r = calloc(1, sizeof *r);
	char text[SPOOL_TEXT];
	int unused;

	if (r == NULL || (r->list = lines_new(STDOUT_FILENO, LIST_WAITING, NULL)) == NULL) {
		cli_warn("can't start");
		free(r);
		return NULL;
	}
	r->dir = dir;
	r->options = *o;
	r->options.spool.report = report;
	r->options.spool.arg = r;
	if ((r->spool = spool_open(dir, &r->options.spool, text)) != NULL)
		return r;
	if (errno == EBUSY)
		cli_warnx("%s", text); /* it has said why */
	else
		cli_warn("%s", text);
	lines_end(r->list, LIST_PATIENCE_MS, &unused);
	free(r);
	return NULL;
}

struct spool *
recorder_spool(struct recorder *r)
{
	return r->spool;
}

bool
recorder_waits(struct recorder *r, int e)
{
	if (e == EAGAIN)
		return true;
	errno = e;
	if (!fdio_passes(e)) {
		cli_warn("%s", spool_failure(r->spool));
		return false;
	}
	if (!r->full)
		cli_warn(e == ENOSPC || e == EDQUOT ? "%s: recording waits for space"
						    : "%s: recording waits",
		    spool_failure(r->spool));
	r->full = true;
	return true;
}

void
recorder_resumed(struct recorder *r)
{
	if (r->full)
		cli_note(0, "there is space again, recording goes on");
	r->full = false;
}

void
recorder_say_slow(struct recorder *r)
{
	if (!r->said_slow)
		cli_warnx("%s: completing segments, or their commands, takes long", r->dir);
	r->said_slow = true;
}

bool
recorder_full(const struct recorder *r)
{
	return r->full;
}

int
recorder_close(struct recorder *r, bool whole)
{
	int status = r->damaged > 0 ? CLI_EDATA : CLI_OK, e;
	uint64_t dropped;

	if (spool_reap(r->spool) != 1 || !whole) {
		cli_warnx("%s: what is not completed will be by the next start", r->dir);
		status = CLI_EFAIL;
	}
	spool_close(r->spool);
	dropped = lines_end(r->list, r->full ? LIST_HURRY_MS : LIST_PATIENCE_MS, &e);
	if (e != 0 && !r->reader_gone) {
		errno = e;
		cli_warn("standard output");
	}
	if (dropped > 0)
		cli_warnx("standard output: lines of the list that were dropped: %" PRIu64,
		    dropped);
	if (e != 0 || dropped > 0 || r->failed)
		status = CLI_EFAIL;
	free(r);
	return status;
}
