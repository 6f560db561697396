/*
 * What eet-rotate and eet-listen --spool have in common as programs: the
 * options, the spool's messages on stderr, the list of completed files on
 * stdout.  Like cli it belongs to cmd/: it prints, and a usage error exits.
 */
#ifndef EET_RECORDER_H
#define EET_RECORDER_H

#include "spool.h"

#include <getopt.h>
#include <stdbool.h>

/* For getopt_long(): to be put among a program's own options. */
enum recorder_option {
	RECORDER_NO_WAV = 0x200,
	RECORDER_JSON,
	RECORDER_SYNC,
	RECORDER_MODE,
	RECORDER_LAYOUT,
	RECORDER_ALIGN,
	RECORDER_EXEC,
	RECORDER_EXEC_JOBS,
	RECORDER_KEEP_BYTES,
	RECORDER_KEEP_AGE,
	RECORDER_MIN_FREE
};

#define RECORDER_SHORT "t:s:"
/* clang-format off */
#define RECORDER_LONG \
	{ "time", required_argument, NULL, 't' }, \
	{ "size", required_argument, NULL, 's' }, \
	{ "no-wav", no_argument, NULL, RECORDER_NO_WAV }, \
	{ "json", no_argument, NULL, RECORDER_JSON }, \
	{ "sync", required_argument, NULL, RECORDER_SYNC }, \
	{ "mode", required_argument, NULL, RECORDER_MODE }, \
	{ "layout", required_argument, NULL, RECORDER_LAYOUT }, \
	{ "align", no_argument, NULL, RECORDER_ALIGN }, \
	{ "exec", required_argument, NULL, RECORDER_EXEC }, \
	{ "exec-jobs", required_argument, NULL, RECORDER_EXEC_JOBS }, \
	{ "keep-bytes", required_argument, NULL, RECORDER_KEEP_BYTES }, \
	{ "keep-age", required_argument, NULL, RECORDER_KEEP_AGE }, \
	{ "min-free", required_argument, NULL, RECORDER_MIN_FREE }
/* clang-format on */

/* Their part of --help: lines of "  -t, --time TIME   …". */
/* clang-format off */
#define RECORDER_HELP \
	"  -t, --time TIME      end a segment after TIME of its session (10s; 0: never)\n" \
	"  -s, --size SIZE      end a segment before its log grows larger than SIZE\n" \
	"      --align          end segments at multiples of TIME in UTC\n" \
	"      --no-wav         write logs only, no WAV files\n" \
	"      --json           list index lines instead of paths\n" \
	"      --sync WHEN      fsync segments when complete (segment), growing ones\n" \
	"                       every TIME as well, or leave it to the system (none)\n" \
	"      --mode MODE      permissions of files (0640)\n" \
	"      --layout LAYOUT  ADPCM layout: state, state-high, dvi4, wav or bare,\n" \
	"                       instead of the one that each segment shows\n" \
	"      --exec CMD       run sh -c CMD for each completed segment, with the log as\n" \
	"                       $1 and the WAV as $2, again until it succeeds\n" \
	"      --exec-jobs N    run so many at once (4, at most 256)\n" \
	"      --keep-bytes SIZE, --keep-age TIME, --min-free SIZE\n" \
	"                       remove the oldest complete segments when they are more\n" \
	"                       or older than that, or leave less space free (0: no\n" \
	"                       limit)\n"
/* clang-format on */

struct recorder_options {
	struct spool_options spool;
	bool json;  /* the list shows index lines instead of paths */
	bool given; /* one of the options was used */
};

void recorder_defaults(struct recorder_options *o);

/* True if c was one of the recorder's options, taken with its argument; a bad one exits with 2. */
bool recorder_option(struct recorder_options *o, int c, const char *arg);

struct recorder;

/*
 * Open the spool in dir, which is kept, not copied, with messages to stderr, and start the list on
 * stdout.  NULL when it can't be: the reason was printed.
 */
struct recorder *recorder_open(const char *dir, const struct recorder_options *o);

struct spool *recorder_spool(struct recorder *r);

/*
 * A put, flush or reap failed with errno e.  True: to be tried again (the disk is full: said
 * once, and once more when recorder_resumed() ends it; or the queue is full).  False:
 * for good, and said so.
 */
bool recorder_waits(struct recorder *r, int e);
void recorder_resumed(struct recorder *r);

/* The completing is waited for, and takes long: said once. */
void recorder_say_slow(struct recorder *r);

/* True while the disk is full (recorder_waits() said so, recorder_resumed() not yet). */
bool recorder_full(const struct recorder *r);

/*
 * Close the spool and end the list.  whole: all that there was has been put.  Returns the exit
 * status: CLI_OK, CLI_EFAIL when something is left to the next start or could not be removed, which is
 * said, or the list's reader died, CLI_EDATA when what was stored is damaged.
 */
int recorder_close(struct recorder *r, bool whole);

#endif
