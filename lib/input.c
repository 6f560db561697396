#include "input.h"

#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool
input_option(struct log_options *o, int c, const char *arg)
{
	struct wire_handshake *h = &o->format;

	switch (c) {
	case INPUT_RECOVER: o->recover = true; break;
	case 'r': h->sample_rate = (uint32_t)cli_number("--rate", arg, 1, WIRE_MAX_RATE); break;
	case 'c':
		h->channels = (uint16_t)cli_number("--channels", arg, 1, WIRE_MAX_CHANNELS);
		break;
	case 'n':
		h->frame_samples =
		    (uint16_t)cli_number("--frame-samples", arg, 1, WIRE_MAX_FRAME_SAMPLES);
		break;
	case INPUT_CODEC:
		if (strcmp(arg, "pcm") == 0)
			h->codec = WIRE_PCM16;
		else if (strcmp(arg, "adpcm") == 0)
			h->codec = WIRE_ADPCM;
		else
			cli_usage("--codec %s: pcm or adpcm", arg);
		o->codec_given = true;
		break;
	default: return false;
	}
	return true;
}

void
input_check(struct log_options *o)
{
	const struct wire_handshake *h = &o->format;
	int given = (h->sample_rate > 0) + (h->channels > 0) + (h->frame_samples > 0);

	if (given != 0 && given != 3)
		cli_usage("--rate, --channels and --frame-samples go together");
	if (given == 0 && o->codec_given)
		cli_usage("--codec goes with --rate, --channels and --frame-samples");
	o->headless = given == 3;
}

static bool
is_standard(const char *path)
{
	return strcmp(path, "-") == 0;
}

void
input_not_output(const char *in, const char *out)
{
	struct stat a, b;

	if ((is_standard(in) ? fstat(STDIN_FILENO, &a) : stat(in, &a)) == 0 &&
	    (is_standard(out) ? fstat(STDOUT_FILENO, &b) : stat(out, &b)) == 0 &&
	    S_ISREG(a.st_mode) && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
		cli_usage("%s: the input is the output, too",
		    is_standard(in) ? "standard input" : in);
}

void
input_operands(char *const operands[], const char *out)
{
	static char *const none[] = { "-", NULL };
	bool standard = false;

	if (operands[0] == NULL)
		operands = none;
	for (; *operands != NULL; operands++) {
		if (is_standard(*operands) && standard)
			cli_usage("standard input can be read once");
		standard = standard || is_standard(*operands);
		if (out != NULL)
			input_not_output(*operands, out);
	}
	if (standard && isatty(STDIN_FILENO))
		cli_usage("standard input is a terminal: name a log, or feed it one");
}

bool
input_is_regular(const char *path)
{
	struct stat st;

	/* What is gone, or can't be seen, is met again when it is opened. */
	if (lstat(path, &st) == -1 || S_ISREG(st.st_mode))
		return true;
	cli_warnx("%s: not a regular file, left out", path);
	return false;
}

enum adpcm_layout
input_layout(const char *arg)
{
	enum adpcm_layout layout = ADPCM_STATE;

	if (!adpcm_layout_parse(arg, &layout))
		cli_usage("--layout %s: state, state-high, dvi4, wav or bare", arg);
	return layout;
}

/* So many messages of a kind about one input are written; the others are counted. */
enum { MOST_SAID = 20 };

/* Kinds of messages that any number of records may need. */
enum kind { DAMAGE, UNCLOSED, KINDS };

static struct {
	char *name; /* of the input; NULL: none yet */
	uint64_t n[KINDS];
} said;

static const char *const kinds[KINDS] = { "damage", "sessions without CLOSE" };

static void
say_counts(void)
{
	for (size_t i = 0; i < KINDS; i++)
		if (said.n[i] > MOST_SAID)
			cli_warnx("%s: %s: %" PRIu64 ", the first %d were named", said.name,
			    kinds[i], said.n[i], MOST_SAID);
}

/* Count one of that kind.  True: it is to be named. */
static bool
count(const char *name, enum kind kind)
{
	if (said.name == NULL || strcmp(said.name, name) != 0) {
		if (said.name == NULL)
			atexit(say_counts);
		else
			say_counts();
		free(said.name);
		said.n[DAMAGE] = said.n[UNCLOSED] = 0;
		if ((said.name = strdup(name)) == NULL)
			cli_die(CLI_EFAIL, "%s", name);
	}
	if (++said.n[kind] == MOST_SAID + 1)
		cli_warnx("%s: %s: the rest is counted", name, kinds[kind]);
	return said.n[kind] <= MOST_SAID;
}

bool
input_report(const char *name, const struct log_reader *r, const struct log_record *rec)
{
	switch (rec->event) {
	case LOG_DAMAGE:
		if (count(name, DAMAGE))
			cli_warnx("%s: offset %" PRIu64 ": %s", name, rec->offset, rec->text);
		return true;
	case LOG_OPEN:
		if (rec->text[0] != '\0')
			cli_note(0, "%s: offset %" PRIu64 ": %s", name, rec->offset, rec->text);
		break;
	case LOG_CLOSE:
		if (rec->made_up && log_is_mux(r) && cli_level >= 0 && count(name, UNCLOSED))
			cli_note(0,
			    "%s: offset %" PRIu64 ": session %" PRIu32
			    " has no CLOSE, ended as 1006",
			    name, rec->offset, rec->session->number);
		break;
	default: break;
	}
	return false;
}
