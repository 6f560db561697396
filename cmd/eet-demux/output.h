/*
 * What becomes of the selected records: standard.c passes them on to standard output, files.c
 * makes a frame log of each session in a directory, filters.c feeds one to a command each.
 */
#ifndef EET_DEMUX_OUTPUT_H
#define EET_DEMUX_OUTPUT_H

#include "log.h"
#include "name.h"
#include "sink.h"

#include <stdbool.h>

struct output {
	/* What gets all that is selected, record by record; NULL: each session has a sink. */
	struct sink *common;

	/*
	 * A selected session begins, of this name: make the sink that its `user` points to from now
	 * on.  Left NULL, the session is passed over.  False: this is the end, which was said.
	 */
	bool (*begin)(struct output *o, struct log_session *s, const struct name *n);

	/* There is nothing more, or it can't be written: finish and free.  Returns an exit status. */
	int (*finish)(struct output *o);
};

/* Each returns NULL when it can't be, which was said. */
struct output *output_standard(void);
struct output *output_files(struct sinks *ss, const char *dir);
struct output *output_filters(struct sinks *ss, const char *command);

#endif
