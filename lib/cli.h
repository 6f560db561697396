/*
 * cli: how a program speaks and how it ends.  Used by cmd/ alone; no other module of the library
 * includes it, because the library neither prints nor exits.
 *
 * A message is one line on standard error, `program: what: reason`, written with one write(2), so
 * lines of programs that share a terminal do not mix.  Whatever the arguments contain, control
 * characters and bytes that are not valid UTF-8 come out as \xNN: a stream's tag can neither move
 * the cursor nor fake a second line.  A line longer than CLI_LINE is cut, which "..." shows.
 *
 * Messages never hold a program up.  What standard error can't take (the pipe is full, the terminal
 * was stopped) waits, at most 64 KiB of it, and is written by a thread; more is dropped, and counted
 * in a line of its own where it is missing.  When the program ends, it waits for a second at most in
 * which nothing is taken.  All messages come from one thread.
 *
 * cli_parse_* are pure: they read a string whole or refuse it, and leave *o unchanged when they do.
 * The functions without "parse" do the same for an option's value, and end the program with a
 * usage error when it is refused.
 */
#ifndef EET_CLI_H
#define EET_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum cli_status {
	CLI_OK = 0,
	CLI_EFAIL = 1,  /* the system said no */
	CLI_EUSAGE = 2, /* called wrongly; nothing was done */
	CLI_EDATA = 3,  /* the input is damaged; all that could be saved was */
};

enum { CLI_LINE = 4096 }; /* longest line on standard error, the newline included: PIPE_BUF */

/* Options that every program has: in its optstring, and in its table of long options. */
#define CLI_SHORT "hqvV"
/* clang-format off */
#define CLI_LONG \
	{ "help", no_argument, NULL, 'h' }, \
	{ "quiet", no_argument, NULL, 'q' }, \
	{ "verbose", no_argument, NULL, 'v' }, \
	{ "version", no_argument, NULL, 'V' }
/* Their part of --help. */
#define CLI_HELP \
	"  -q, --quiet          only errors\n" \
	"  -v, --verbose        more\n" \
	"  -h, --help           this\n" \
	"  -V, --version        name and version\n"
/* clang-format on */

/* 0; -1 with -q: errors only; 1 and up: one for each -v. */
extern int cli_level;

/*
 * First call of every main().  Takes the program's name from argv[0], ignores SIGPIPE and SIGXFSZ
 * (the write fails then, like any other), but not SIGCHLD, whoever started us (there would be no
 * child to wait for), and sees to it that descriptors 0, 1 and 2 are open: one
 * that was closed becomes /dev/null, opened so that using it fails with EBADF.  A program that needs
 * it says so, one that does not is not bothered, and no file that is opened later becomes standard
 * output by accident.
 */
void cli_init(char *const argv[]);

/* The program's name, without its directory. */
const char *cli_name(void);

/*
 * getopt_long(3) that deals with errors (a usage error) and with the options in CLI_SHORT: -q and
 * -v set cli_level, -h prints `help` and -V the version on standard output and exit.  Returns what
 * else was met, or -1 at the end.  shorts begins with ':', or "-:" or "+:".
 */
int cli_getopt(int argc, char *argv[], const char *shorts, const struct option *longs,
    const char *help);

/* An error: `program: MESSAGE: strerror(errno)`, and without errno.  errno is kept. */
void cli_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void cli_warnx(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The same, then exit(status). */
_Noreturn void cli_die(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void cli_diex(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * For signal handlers, before _exit(2): write a whole line, its newline included, if that is possible
 * without waiting.
 */
void cli_last_words(const char *line);

/* Not an error: shown when cli_level >= level, so 0 is for all but -q, 1 for -v. */
void cli_note(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* `program: MESSAGE; try 'program --help'`, then exit(CLI_EUSAGE). */
_Noreturn void cli_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * A usage error if fd is a terminal: `WHAT is binary, and the output is a terminal: HINT`.
 * what: "a log"; hint: "redirect it, or use -o FILE".
 */
void cli_no_terminal(int fd, const char *what, const char *hint);

/*
 * Last call of every main(): closes stdout, and returns status, or CLI_EFAIL with a message when
 * something that went to stdout did not arrive.
 */
int cli_finish(int status);

/*
 * Copy src[0..len) to dst as a message would show it, and end it with 0.  At most size - 1 bytes
 * are written, and no sequence is torn; size >= 1.  Returns how many bytes of src were taken.
 */
size_t cli_escape(char *dst, size_t size, const char *src, size_t len);

/* Decimal digits only, min..max. */
bool cli_parse_number(const char *s, uint64_t min, uint64_t max, uint64_t *o);

/*
 * A number, a fraction if there is one, and ms, s, m or h; s when none is given.  In microseconds,
 * at most INT64_MAX; what is not a whole number of them is refused.
 */
bool cli_parse_duration(const char *s, uint64_t *uso);

/* A number and k, M or G in either case, powers of 1024; bytes when none is given; <= INT64_MAX. */
bool cli_parse_size(const char *s, uint64_t *o);

/* Permission bits, 0 to 0777, in octal with or without leading zeros. */
bool cli_parse_mode(const char *s, mode_t *o);

struct cli_address {
	enum cli_address_kind { CLI_INET, CLI_UNIX } kind;
	char host[256]; /* CLI_INET: name or number, no brackets; "" is every interface */
	uint16_t port;  /* CLI_INET: 0 is any free one */
	char path[108]; /* CLI_UNIX: fits sun_path with its 0 */
};

/*
 * [ADDRESS]:PORT or unix:PATH; an IPv6 address in brackets.
 * Returns NULL, or what is wrong with it; *o is then unchanged.
 */
const char *cli_parse_address(const char *s, struct cli_address *o);

/* Value s of option opt ("-n", "--mode"), or a usage error that names both. */
uint64_t cli_number(const char *opt, const char *s, uint64_t min, uint64_t max);
uint64_t cli_duration(const char *opt, const char *s);
uint64_t cli_size(const char *opt, const char *s);
mode_t cli_mode(const char *opt, const char *s);
void cli_address(const char *s, struct cli_address *o);

#endif
