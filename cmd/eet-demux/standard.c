/*
 * Standard output.  It is never waited for in a system call, or a reader that takes nothing would
 * keep signals from being answered.  O_NONBLOCK belongs to the open file, which other programs may
 * share with us: a pipe is therefore opened once more; what can't be is asked before each write.
 */
#include "output.h"

#include "cli.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct standard {
	struct output output; /* first */
	struct sink sink;
};

static bool
failed(struct sink *s)
{
	cli_warn("%s", s->label);
	return false;
}

static bool
begin(struct output *o, struct log_session *s, const struct name *n)
{
	(void)n;
	s->user = o->common;
	return true;
}

static int
finish(struct output *o)
{
	free(o);
	return CLI_OK;
}

struct output *
output_standard(void)
{
	static const struct sink_ops ops = { .failed = failed };
	struct standard *st = calloc(1, sizeof *st);
	struct stat what = { 0 };
	int again = -1;

	if (st == NULL) {
		cli_warn("can't start");
		return NULL;
	}
	st->output = (struct output){ .common = &st->sink, .begin = begin, .finish = finish };
	st->sink = (struct sink){ .ops = &ops, .label = "standard output", .fd = STDOUT_FILENO };
	fstat(STDOUT_FILENO, &what);
	if (S_ISFIFO(what.st_mode))
		again = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (again != -1) {
		dup2(again, STDOUT_FILENO);
		close(again);
	} else {
		st->sink.careful = !S_ISREG(what.st_mode);
	}
	return &st->output;
}
