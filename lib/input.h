/*
 * What all programs that read a log have in common: the options that say how
 * to read it, and the messages about what is wrong with it.  Like cli it belongs to cmd/:
 * it prints, and a usage error exits.
 */
#ifndef EET_INPUT_H
#define EET_INPUT_H

#include "adpcm.h"
#include "log.h"

#include <getopt.h>
#include <stdbool.h>

/* For getopt_long(): to be put among a program's own options. */
enum input_option { INPUT_RECOVER = 0x300, INPUT_CODEC };

#define INPUT_SHORT "r:c:n:"
/* clang-format off */
#define INPUT_LONG \
	{ "recover", no_argument, NULL, INPUT_RECOVER }, \
	{ "rate", required_argument, NULL, 'r' }, \
	{ "channels", required_argument, NULL, 'c' }, \
	{ "frame-samples", required_argument, NULL, 'n' }, \
	{ "codec", required_argument, NULL, INPUT_CODEC }
/* clang-format on */

/* Their part of --help. */
/* clang-format off */
#define INPUT_HELP \
	"      --recover        go on behind damage with the next sound record\n" \
	"  -r, --rate RATE, -c, --channels CHANNELS, -n, --frame-samples SAMPLES\n" \
	"                       what a frame log without handshake holds\n" \
	"      --codec CODEC    and its codec, pcm or adpcm, if it is not to be guessed\n"
/* clang-format on */

/* True if c was one of these options, taken with its argument; a bad one exits with 2. */
bool input_option(struct log_options *o, int c, const char *arg);

/* After the last option: what goes only together is there together, or exit with 2. */
void input_check(struct log_options *o);

/*
 * Exit with 2 if both are the same file, "-" being standard input or output: what is written would
 * be read again, without end, or destroy what is still to be read.
 */
void input_not_output(const char *in, const char *out);

/*
 * The same for operands, none being standard input, which is also to be named once and to be no
 * terminal.  out may be NULL.
 */
void input_operands(char *const operands[], const char *out);

/*
 * Is what was found in a directory, at path, a regular file?  What is not is no log of that
 * directory, whatever its name: a FIFO would be waited for, a symbolic link lead elsewhere.  It is
 * said to be left out.
 */
bool input_is_regular(const char *path);

/* The argument of --layout, which not every program that reads a log takes from here. */
enum adpcm_layout input_layout(const char *arg);

/*
 * Print what a record of the log called name has to be told about: damage, a tag that
 * was dropped, a session that ended without a CLOSE.  True if it was damage.  Of each kind the first
 * messages about a log are written, and how many there were behind them when the next log begins, or
 * the program ends.
 */
bool input_report(const char *name, const struct log_reader *r, const struct log_record *rec);

#endif
