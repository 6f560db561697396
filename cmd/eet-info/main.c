/* eet-info: what is in a log, is it whole, and how does it sound? */
#include "cli.h"
#include "facts.h"
#include "input.h"
#include "log.h"
#include "name.h"
#include "reindex.h"
#include "show.h"
#include "stop.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct info {
	struct log_options log;
	struct facts_options facts;
	enum show_style style;
	uint64_t damage; /* in the log that is read */
	int status;
};

/* The worse of what was and what is: the system's no before damage. */
static void
set_status(struct info *in, int status)
{
	if (in->status != CLI_EFAIL && status != CLI_OK)
		in->status = status;
}

static void
damage(struct info *in, const char *file, uint64_t offset, uint64_t skipped, const char *text)
{
	show_damage(in->style, file, offset, skipped, text);
	in->damage++;
	set_status(in, CLI_EDATA);
}

static void
close_stream(struct info *in, const char *file, const struct log_record *rec)
{
	struct facts *f = rec->session->user;
	struct adpcm_verdict v;
	const struct reading *r = facts_reading(f, &v);
	char text[ADPCM_VERDICT_TEXT];

	show_stream(in->style, file, rec, f);
	if (v.unknown) {
		adpcm_verdict_text(&v, text);
		cli_note(0, "%s: session %" PRIu32 ": ADPCM %s", file, rec->session->number, text);
	}
	if (r->pcm.damaged > 0) {
		snprintf(text, sizeof text,
		    "session %" PRIu32 ": damaged ADPCM blocks: %" PRIu64 ", the first one here",
		    rec->session->number, r->pcm.damaged);
		damage(in, file, r->damage_offset, 0, text);
		cli_warnx("%s: offset %" PRIu64 ": %s", file, r->damage_offset, text);
	}
	facts_free(f);
	rec->session->user = NULL;
}

/* False: out of memory, which was said. */
static bool
take(struct info *in, const char *file, const struct log_reader *r, const struct log_record *rec)
{
	struct pcm_step step;

	if (input_report(file, r, rec))
		damage(in, file, rec->offset, rec->skipped, rec->text);
	switch (rec->event) {
	case LOG_OPEN:
		rec->session->user = facts_new(rec->session, &in->facts, log_is_mux(r));
		if (rec->session->user != NULL)
			return true;
		cli_warn("%s: offset %" PRIu64, file, rec->offset);
		return false;
	case LOG_FRAME:
		step = facts_frame(rec->session->user, rec);
		if (step.step.kind == STREAM_GAP)
			show_gap(in->style, file, rec, step);
		return true;
	case LOG_CLOSE: close_stream(in, file, rec); return true;
	default: return true;
	}
}

static void
inspect(struct info *in, int fd, const char *file)
{
	struct log_reader *r = log_new(fd, &in->log);
	struct log_record rec;
	uint64_t streams = 0;
	enum log_event e;
	bool stopped = false;
	int n;

	if (r == NULL) {
		cli_warn("%s", file);
		set_status(in, CLI_EFAIL);
		return;
	}
	show_begin();
	in->damage = 0;
	while ((e = log_next(r, &rec)) != LOG_END) {
		if (e == LOG_ERROR)
			cli_warn("%s: offset %" PRIu64, file, log_offset(r));
		if (e == LOG_ERROR || (e != LOG_MORE && !take(in, file, r, &rec))) {
			set_status(in, CLI_EFAIL);
			break;
		}
		streams += e == LOG_OPEN;
		if (e != LOG_MORE)
			continue;
		/* Standing rows are to be seen while a live log is waited for. */
		if (fflush(stdout) == EOF || ferror(stdout))
			exit(cli_finish(CLI_EFAIL));
		if (!stopped && !stop_wait(fd)) {
			cli_warnx("%s: offset %" PRIu64 ": stopped here, the input has not ended",
			    file, log_offset(r));
			set_status(in, CLI_EDATA);
			stopped = true;
		}
		if (stopped) {
			log_eof(r);
		} else if ((n = log_fill(r)) == -1 && errno != EAGAIN) {
			cli_warn("%s: offset %" PRIu64, file, log_offset(r));
			set_status(in, CLI_EFAIL);
			log_eof(r);
		}
	}
	show_end(in->style, file, log_is_mux(r), log_offset(r), streams, in->damage);
	log_free(r);
}

static void
inspect_file(struct info *in, const char *file)
{
	int fd;

	if (stop_now()) {
		cli_warnx("%s: not read", file);
		set_status(in, CLI_EDATA);
		return;
	}
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd == -1) {
		cli_warn("%s", file);
		set_status(in, CLI_EFAIL);
		return;
	}
	inspect(in, fd, file);
	close(fd);
}

/* A spool's complete segments. */
static int
is_segment(const struct dirent *d)
{
	struct name n;
	size_t stem;

	return name_suffix(d->d_name, &stem) == NAME_EET && name_parse(d->d_name, stem, &n);
}

/* By recording, then time. */
static int
by_session(const struct dirent **a, const struct dirent **b)
{
	struct name x = { 0 }, y = { 0 };
	size_t stem;

	name_suffix((*a)->d_name, &stem);
	name_parse((*a)->d_name, stem, &x);
	name_suffix((*b)->d_name, &stem);
	name_parse((*b)->d_name, stem, &y);
	if (x.session != y.session)
		return x.session < y.session ? -1 : 1;
	return x.time_ms < y.time_ms ? -1 : x.time_ms > y.time_ms;
}

static void
inspect_spool(struct info *in, const char *dir)
{
	struct dirent **list;
	size_t len = strlen(dir);
	int n = scandir(dir, &list, is_segment, by_session);

	if (n == -1) {
		cli_warn("%s", dir);
		set_status(in, CLI_EFAIL);
		return;
	}
	for (int i = 0; i < n; i++) {
		char *file;

		if (asprintf(&file, "%s%s%s", dir, dir[len - 1] == '/' ? "" : "/",
			list[i]->d_name) == -1)
			cli_die(CLI_EFAIL, "%s", dir);
		if (input_is_regular(file))
			inspect_file(in, file);
		free(file);
		free(list[i]);
	}
	free(list);
}

static void
inspect_operand(struct info *in, const char *operand)
{
	struct stat st;

	if (strcmp(operand, "-") == 0)
		inspect(in, STDIN_FILENO, "standard input");
	else if (stat(operand, &st) == 0 && S_ISDIR(st.st_mode))
		inspect_spool(in, operand);
	else
		inspect_file(in, operand);
}

enum { OPT_JSON = 0x100, OPT_CHECK, OPT_HASH, OPT_REINDEX, OPT_LAYOUT };

#define HELP \
	"Usage: eet-info [OPTION]... [FILE | DIR]...\n" \
	"       eet-info --reindex DIR\n" \
	"Show what is in logs: streams, formats, gaps, damage, levels.  A directory is a\n" \
	"spool, whose complete segments are shown.  Without operand: standard input.\n" \
	"\n" \
	"      --json           JSON lines instead of a table\n" \
	"      --check          print nothing but damage, as messages\n" \
	"      --hash           SHA-256 of each stream's samples, as eet-wav writes them\n" \
	"      --reindex DIR    append the lines that a spool's index.jsonl lacks\n" \
	"      --layout LAYOUT  ADPCM layout: state, state-high, dvi4, wav or bare,\n" \
	"                       instead of the one that the blocks show\n" INPUT_HELP CLI_HELP

int
main(int argc, char *argv[])
{
	static const struct option longs[] = {
		{ "json", no_argument, NULL, OPT_JSON },
		{ "check", no_argument, NULL, OPT_CHECK },
		{ "hash", no_argument, NULL, OPT_HASH },
		{ "reindex", required_argument, NULL, OPT_REINDEX },
		{ "layout", required_argument, NULL, OPT_LAYOUT },
		INPUT_LONG,
		CLI_LONG,
		{ 0 },
	};
	struct info in = { .style = SHOW_TABLE };
	const char *spool = NULL;
	bool check = false;
	int c;

	cli_init(argv);
	while ((c = cli_getopt(argc, argv, ":" INPUT_SHORT CLI_SHORT, longs, HELP)) != -1)
		switch (c) {
		case OPT_JSON: in.style = SHOW_JSON; break;
		case OPT_CHECK: check = true; break;
		case OPT_HASH: in.facts.hash = true; break;
		case OPT_REINDEX: spool = optarg; break;
		case OPT_LAYOUT:
			in.facts.layout = input_layout(optarg);
			in.facts.layout_given = true;
			break;
		default: input_option(&in.log, c, optarg);
		}
	input_check(&in.log);
	if (check && (in.style == SHOW_JSON || in.facts.hash))
		cli_usage("--check prints nothing, so it goes neither with --json nor with --hash");
	if (check) {
		in.style = SHOW_NOTHING;
		cli_level = -1;
	}
	if (spool != NULL) {
		if (optind < argc)
			cli_usage("--reindex takes one directory and no other operand");
		return cli_finish(reindex(spool));
	}
	input_operands(argv + optind, "-");
	stop_init(true);
	if (optind == argc)
		inspect_operand(&in, "-");
	for (; optind < argc; optind++)
		inspect_operand(&in, argv[optind]);
	return cli_finish(in.status);
}
