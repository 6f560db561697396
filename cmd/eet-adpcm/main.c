/*
 * eet-adpcm: PCM to ADPCM and back.  What comes in, a log, an audio file or raw samples, is told by
 * the options and its first bytes.
 */
#include "audio.h"
#include "bytes.h"
#include "cli.h"
#include "convert.h"
#include "encode.h"
#include "input.h"
#include "out.h"
#include "outfile.h"
#include "settings.h"
#include "source.h"
#include "stop.h"

#include <string.h>
#include <unistd.h>

/* Begins it as a log does?  Nothing is an empty log. */
static bool
is_log(const struct source *src)
{
	uint32_t magic;

	if (src->head_len < SOURCE_HEAD)
		return src->head_len == 0;
	magic = le32_load(src->head);
	return magic == LOG_MAGIC || magic == WIRE_MAGIC_HANDSHAKE || magic == WIRE_MAGIC_PCM ||
	    magic == WIRE_MAGIC_ADPCM;
}

/* What was said of the input must not be at odds with what it is. */
static void
check(const struct settings *set, const struct source *src, bool log)
{
	const struct wire_handshake *h = &set->log.format;

	if (!log && set->log.headless)
		cli_usage("%s: -r and -c are for raw samples (--raw) and for logs without "
			  "handshake, and this is neither",
		    src->label);
	if (log && set->new_log)
		cli_usage("%s: a log, whose stream ids and times stay as they are", src->label);
	if (log && set->wav == NULL && h->frame_samples > 0 && !set->log.headless)
		cli_usage("%s: a log, whose frames stay as long as they are: -n goes with -r and "
			  "-c, for one without handshake",
		    src->label);
}

static int
run(const struct settings *set, struct source *src, struct out *out)
{
	bool log;

	if (!set->encode)
		return convert(set, src, out);
	if (set->raw)
		return audio_encode_raw(set, src, out);
	source_peek(src, SOURCE_HEAD);
	if (src->error != 0 || src->stopped)
		return CLI_OK; /* source_close() has the say */
	/* What is to be recovered is a log, however it begins. */
	log = set->log.recover || is_log(src);
	check(set, src, log);
	return log ? convert(set, src, out) : audio_encode_file(set, src, out);
}

static int
adpcm(const struct settings *set, const char *path)
{
	static struct source src;
	static struct out out;
	int status, closed;

	if (!source_open(&src, path))
		return CLI_EFAIL;
	out_init(&out, STDOUT_FILENO, "standard output");
	status = run(set, &src, &out);
	closed = source_close(&src);
	if (status == CLI_EFAIL || closed == CLI_EFAIL)
		return CLI_EFAIL;
	return status != CLI_OK ? status : closed;
}

enum { OPTION_RAW = 0x100, OPTION_STREAM_ID, OPTION_TIMESTAMP };

#define HELP \
	"Usage: eet-adpcm (-e | -d) [OPTION]... [FILE]\n" \
	"Encode audio or PCM logs as IMA ADPCM, or decode ADPCM logs.\n" \
	"\n" \
	"  -e, --encode         an audio file, raw samples or a log, to a log\n" \
	"  -d, --decode         a log, to a log with PCM\n" \
	"      --raw            bare s16le: what is encoded (with -r and -c), or decoded\n" \
	"  -o, --output FILE    with -e: an IMA ADPCM WAV instead of a log\n" \
	"  -l, --layout LAYOUT  with -e: of blocks, state (default) or wav\n" \
	"                       with -d: what they have: state, state-high, dvi4, wav\n" \
	"                       or bare\n" \
	"  -Q, --effort N       with -e: 0 (fast) to 9 (good), 1 by default\n" \
	"      --stream-id ID   with -e: of the new log, 1 by default\n" \
	"      --timestamp MS   with -e: of the new log, Unix time, 0 by default\n" \
	"  -r, --rate RATE      of raw samples, in Hz\n" \
	"  -c, --channels CHANNELS\n" \
	"                       of raw samples\n" \
	"  -n, --frame-samples SAMPLES\n" \
	"                       per channel in a frame, or in a WAV's block; 20 ms\n" \
	"                       with -r and -c: the format of a log without handshake\n" \
	"      --codec CODEC    and its codec, pcm or adpcm, if it is not to be guessed\n" \
	"      --recover        go on behind damage with the next sound record\n" CLI_HELP

/* Options that do not go together. */
static void
check_options(struct settings *set, bool decode, bool effort)
{
	const struct wire_handshake *h = &set->log.format;

	if (set->encode == decode)
		cli_usage("either -e or -d is needed");
	if (decode) {
		if (set->wav != NULL)
			cli_usage("-o goes with -e; eet-wav -o makes a WAV of what is decoded");
		if (effort || set->new_log)
			cli_usage("%s goes with -e", effort ? "-Q" : "--stream-id or --timestamp");
		input_check(&set->log);
		return;
	}
	if (set->layout != ADPCM_STATE && set->layout != ADPCM_WAV)
		cli_usage("-e -l %s: state or wav", adpcm_layout_name(set->layout));
	if (set->wav != NULL) {
		if (set->layout_given && set->layout != ADPCM_WAV)
			cli_usage("-l %s: the layout of a WAV's blocks is wav",
			    adpcm_layout_name(set->layout));
		if (set->new_log)
			cli_usage("--stream-id and --timestamp are for a log, -o makes a WAV");
	}
	if (set->raw) {
		if (h->sample_rate == 0 || h->channels == 0)
			cli_usage("-e --raw needs -r RATE and -c CHANNELS");
		if (set->log.codec_given || set->log.recover)
			cli_usage("--codec and --recover are for logs, --raw is for samples");
	} else if (h->sample_rate > 0 || h->channels > 0 || set->log.codec_given) {
		input_check(&set->log);
	}
}

int
main(int argc, char *argv[])
{
	static const struct option longs[] = {
		{ "encode", no_argument, NULL, 'e' },
		{ "decode", no_argument, NULL, 'd' },
		{ "raw", no_argument, NULL, OPTION_RAW },
		{ "output", required_argument, NULL, 'o' },
		{ "layout", required_argument, NULL, 'l' },
		{ "effort", required_argument, NULL, 'Q' },
		{ "stream-id", required_argument, NULL, OPTION_STREAM_ID },
		{ "timestamp", required_argument, NULL, OPTION_TIMESTAMP },
		INPUT_LONG,
		CLI_LONG,
		{ 0 },
	};
	struct settings set = { .effort = 1, .stream_id = 1 };
	bool decode = false, effort = false;
	const char *path;
	int c;

	cli_init(argv);
	while ((c = cli_getopt(argc, argv, ":edo:l:Q:" INPUT_SHORT CLI_SHORT, longs, HELP)) != -1)
		switch (c) {
		case 'e': set.encode = true; break;
		case 'd': decode = true; break;
		case OPTION_RAW: set.raw = true; break;
		case 'o': set.wav = optarg; break;
		case 'l':
			set.layout = input_layout(optarg);
			set.layout_given = true;
			break;
		case 'Q':
			set.effort = (unsigned)cli_number("-Q", optarg, 0, ENCODE_MAX_EFFORT);
			effort = true;
			break;
		case OPTION_STREAM_ID:
			set.stream_id = (uint32_t)cli_number("--stream-id", optarg, 0, UINT32_MAX);
			set.new_log = true;
			break;
		case OPTION_TIMESTAMP:
			set.timestamp_ms = cli_number("--timestamp", optarg, 0, UINT64_MAX);
			set.new_log = true;
			break;
		default:
			if (!input_option(&set.log, c, optarg))
				cli_usage("unknown option");
		}
	check_options(&set, decode, effort);
	if (argc - optind > 1)
		cli_usage("one input at a time");
	path = optind < argc ? argv[optind] : "-";
	if (strcmp(path, "-") == 0 && isatty(STDIN_FILENO))
		cli_usage("standard input is a terminal: name a file, or feed it one");
	input_not_output(path, set.wav != NULL ? set.wav : "-");
	if (set.wav == NULL)
		cli_no_terminal(STDOUT_FILENO, set.raw && decode ? "raw audio" : "a log",
		    set.encode ? "redirect it, or use -o FILE" : "redirect it, or use eet-wav");
	stop_init(outfile_is_pipe(set.wav != NULL ? set.wav : "-"));
	return cli_finish(adpcm(&set, path));
}
