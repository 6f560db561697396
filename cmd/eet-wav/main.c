/*
 * eet-wav: logs to WAVs.  Operands become sources; those that belong to one recording are
 * converted together.
 */
#include "cli.h"
#include "convert.h"
#include "input.h"
#include "outfile.h"
#include "settings.h"
#include "source.h"
#include "stop.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

struct sources {
	struct source *list;
	size_t n, size;
};

/* Add path to all.  Returns an exit status; what went wrong was said. */
static int
add(struct sources *all, const char *path)
{
	if (all->n == all->size) {
		size_t size = 2 * all->size + 16;
		struct source *list = reallocarray(all->list, size, sizeof *list);

		if (list == NULL)
			cli_die(CLI_EFAIL, "%s", path);
		all->list = list;
		all->size = size;
	}
	if (source_init(&all->list[all->n], path) == -1) {
		cli_warn("%s", path);
		return CLI_EFAIL;
	}
	all->list[all->n].order = all->n;
	all->n++;
	return CLI_OK;
}

/* Segments by their place in time, then other files by their names. */
static int
by_time(const void *va, const void *vb)
{
	const struct source *a = va, *b = vb;

	if (a->is_segment != b->is_segment)
		return a->is_segment ? -1 : 1;
	if (a->is_segment && a->name.time_ms != b->name.time_ms)
		return a->name.time_ms < b->name.time_ms ? -1 : 1;
	return strcmp(a->path, b->path);
}

static int
compare(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

/* What belongs to one recording comes together, in the order of time. */
static int
by_recording(const void *va, const void *vb)
{
	const struct source *a = va, *b = vb;
	size_t dir = a->dir_length < b->dir_length ? a->dir_length : b->dir_length;
	int c;

	if (a->is_segment != b->is_segment)
		return a->is_segment ? -1 : 1;
	if (!a->is_segment)
		return compare(a->order, b->order);
	if ((c = memcmp(a->path, b->path, dir)) == 0 &&
	    (c = compare(a->dir_length, b->dir_length)) == 0 &&
	    (c = compare(a->name.session, b->name.session)) == 0 &&
	    (c = compare(a->name.stream_id, b->name.stream_id)) == 0)
		c = compare(a->name.time_ms, b->name.time_ms);
	return c != 0 ? c : strcmp(a->path, b->path);
}

static bool
same_recording(const struct source *a, const struct source *b)
{
	return a->is_segment && b->is_segment && a->name.session == b->name.session &&
	    a->name.stream_id == b->name.stream_id && a->dir_length == b->dir_length &&
	    memcmp(a->path, b->path, a->dir_length) == 0;
}

/* Add the complete frame logs of a directory.  Returns an exit status. */
static int
add_directory(struct sources *all, const char *path)
{
	DIR *dir = opendir(path);
	size_t before = all->n, len = strlen(path);
	const struct dirent *d;
	int status = CLI_OK;

	if (dir == NULL) {
		cli_warn("%s", path);
		return CLI_EFAIL;
	}
	while (len > 1 && path[len - 1] == '/')
		len--;
	while (errno = 0, (d = readdir(dir)) != NULL) {
		enum name_suffix suffix;
		size_t stem;
		char *file;

		suffix = name_suffix(d->d_name, &stem);
		if (suffix == NAME_EET_PART)
			cli_note(1, "%s/%s: left alone, it still grows", path, d->d_name);
		if (suffix != NAME_EET)
			continue;
		if (asprintf(&file, "%.*s/%s", (int)len, path, d->d_name) == -1)
			cli_die(CLI_EFAIL, "%s", path);
		if (input_is_regular(file))
			status = worse(status, add(all, file));
		free(file);
	}
	if (errno != 0) {
		cli_warn("%s", path);
		status = CLI_EFAIL;
	}
	closedir(dir);
	if (all->n > before)
		qsort(all->list + before, all->n - before, sizeof *all->list, by_time);
	else
		cli_note(0, "%s: no complete frame log in it", path);
	return status;
}

static int
add_operand(struct sources *all, const char *path)
{
	struct stat st;

	if (strcmp(path, "-") != 0 && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return add_directory(all, path);
	return add(all, path);
}

/* Leave out the sources from the nth on: a signal came. */
static void
leave_out(struct sources *all, size_t n)
{
	for (size_t i = n; i < all->n; i++) {
		cli_warnx("%s: not read", all->list[i].label);
		source_free(&all->list[i]);
	}
	all->n = n;
}

/* A file that was named twice, or is in a directory that was, is one all the same. */
static void
unite(struct sources *all)
{
	size_t n = 0;

	qsort(all->list, all->n, sizeof *all->list, by_recording);
	for (size_t i = 0; i < all->n; i++) {
		struct source *s = &all->list[i];

		if (i > 0 && s->is_segment && strcmp(s->path, all->list[n - 1].path) == 0)
			source_free(s);
		else
			all->list[n++] = *s;
	}
	all->n = n;
}

static int
to_file(struct sources *all, const struct settings *set, const char *file)
{
	struct target target = { .file = file };
	char *dir = NULL;
	bool cut;
	int status;

	target.copies = !outfile_is_pipe(file);
	if (target.copies && strcmp(file, "-") != 0 && (dir = outfile_directory(file)) == NULL)
		cli_die(CLI_EFAIL, "%s", file);
	target.copies_dir = dir;
	status = convert(all->list, all->n, set, &target, &cut);
	free(dir);
	return status;
}

static int
to_directory(struct sources *all, const struct settings *set, const char *dir)
{
	const struct target target = { .dir = dir, .copies = true, .copies_dir = dir };
	struct rlimit files;
	bool cut = false;
	int status = CLI_OK;

	if (mkdir(dir, 0750) == -1 && errno != EEXIST) {
		cli_warn("%s", dir);
		return CLI_EFAIL;
	}
	/* A descriptor for each session that is open at the same time. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (all->n > 0)
		unite(all);
	for (size_t i = 0, next; i < all->n; i = next) {
		for (next = i + 1; next < all->n; next++)
			if (!same_recording(&all->list[i], &all->list[next]))
				break;
		status = worse(status, convert(all->list + i, next - i, set, &target, &cut));
		if (cut || stop_now()) {
			leave_out(all, next);
			status = worse(status, CLI_EDATA);
		}
	}
	return status;
}

static struct moment
moment(const char *option, const char *arg)
{
	struct moment m;

	if (!moment_parse(arg, &m))
		cli_usage("%s %s: neither a position (90, 1.5s, 2m) nor a time "
			  "(2026-01-31T10:15:00Z)",
		    option, arg);
	return m;
}

enum { OPTION_GAPS = 0x100, OPTION_LAYOUT, OPTION_FROM, OPTION_TO };

#define HELP \
	"Usage: eet-wav [OPTION]... [FILE | DIR]...\n" \
	"Turn logs (standard input by default) into PCM16 WAV.\n" \
	"\n" \
	"  -o, --output FILE    instead of standard output; it appears when it is whole\n" \
	"  -d, --directory DIR  one WAV per recording, in DIR\n" \
	"      --gaps KIND      silence for lost frames (default), or skip\n" \
	"      --from T         only what is at T or behind it: a position in the WAV\n" \
	"                       (90, 1.5s, 2m), or a time (2026-01-31T10:15:00Z)\n" \
	"      --to T           only what is before T\n" \
	"      --layout LAYOUT  of ADPCM blocks: state, state-high, dvi4, wav or bare\n" INPUT_HELP \
	    CLI_HELP

int
main(int argc, char *argv[])
{
	static const struct option longs[] = {
		{ "output", required_argument, NULL, 'o' },
		{ "directory", required_argument, NULL, 'd' },
		{ "gaps", required_argument, NULL, OPTION_GAPS },
		{ "layout", required_argument, NULL, OPTION_LAYOUT },
		{ "from", required_argument, NULL, OPTION_FROM },
		{ "to", required_argument, NULL, OPTION_TO },
		INPUT_LONG,
		CLI_LONG,
		{ 0 },
	};
	struct settings set = { .fill = true, .to = { .kind = MOMENT_END } };
	const char *file = NULL, *dir = NULL;
	struct sources all = { 0 };
	int c, status = CLI_OK;

	cli_init(argv);
	while ((c = cli_getopt(argc, argv, ":o:d:" INPUT_SHORT CLI_SHORT, longs, HELP)) != -1)
		switch (c) {
		case 'o': file = optarg; break;
		case 'd': dir = optarg; break;
		case OPTION_GAPS:
			if (strcmp(optarg, "silence") != 0 && strcmp(optarg, "skip") != 0)
				cli_usage("--gaps %s: silence or skip", optarg);
			set.fill = strcmp(optarg, "silence") == 0;
			break;
		case OPTION_LAYOUT:
			set.layout = input_layout(optarg);
			set.layout_given = true;
			break;
		case OPTION_FROM: set.from = moment("--from", optarg); break;
		case OPTION_TO: set.to = moment("--to", optarg); break;
		default:
			if (!input_option(&set.log, c, optarg))
				cli_usage("unknown option");
		}
	input_check(&set.log);
	if (set.from.kind == set.to.kind && set.from.us >= set.to.us)
		cli_usage("--to must be behind --from");
	if (file != NULL && dir != NULL)
		cli_usage("-o and -d exclude each other");
	if (file == NULL)
		file = "-";
	input_operands(argv + optind, dir == NULL ? file : NULL);
	if (dir == NULL && strcmp(file, "-") == 0)
		cli_no_terminal(STDOUT_FILENO, "a WAV", "redirect it, or use -o FILE");

	stop_init(dir == NULL && outfile_is_pipe(file));
	for (int i = optind; i < argc; i++)
		status = worse(status, add_operand(&all, argv[i]));
	if (optind == argc)
		status = add(&all, "-");
	if (dir != NULL)
		status = worse(status, to_directory(&all, &set, dir));
	else if (status == CLI_OK && all.n == 0)
		status = CLI_EDATA;
	else if (status == CLI_OK)
		status = to_file(&all, &set, file);
	for (size_t i = 0; i < all.n; i++)
		source_free(&all.list[i]);
	free(all.list);
	return cli_finish(status);
}
