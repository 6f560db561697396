#include "reindex.h"

#include "cli.h"
#include "completer.h"
#include "fdio.h"
#include "index.h"
#include "name.h"
#include "render.h"
#include "segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

struct work {
	struct segment_dir dir;
	int index;
	void *listed; /* names of segments that have their line, tsearch(3) */
	uint64_t appended;
	int status;
};

static int
compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void
note_listed(void *arg, const struct index_item *item)
{
	struct work *w = arg;
	char *copy;

	if (item->event != INDEX_SEGMENT || strstr(item->line, "\"error\":null") == NULL ||
	    tfind(item->eet, &w->listed, compare) != NULL)
		return;
	if ((copy = strdup(item->eet)) == NULL || tsearch(copy, &w->listed, compare) == NULL)
		cli_die(CLI_EFAIL, "%s", w->dir.path);
}

static void
fail(struct work *w, const char *file)
{
	cli_warn("%s/%s", w->dir.path, file);
	w->status = CLI_EFAIL;
}

/* A line says what its log holds; what only the recorder knew is null. */
static void
append_line(struct work *w, const char *file, const struct name *name)
{
	struct completer_job j = { .segment.name = *name, .segment.stage = SEGMENT_PLACED };
	int fd = openat(w->dir.fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), status;
	char line[INDEX_LINE + 1];

	if (fd == -1 || (status = render_log(fd, -1, NULL, &j.segment.facts)) == -1) {
		fail(w, file);
		if (fd != -1)
			close(fd);
		return;
	}
	close(fd);
	j.segment.has_wav = segment_has(&w->dir, name, NAME_WAV, NULL);
	strcpy(j.tag, name->tag);
	j.first_us = name->time_ms * 1000;
	j.last_us = j.gap_before = INDEX_UNKNOWN;
	j.recovered = true;
	if (index_append(w->index, line, completer_line(&j, line)) == -1)
		fail(w, INDEX_FILE);
	else
		w->appended++;
}

static int
is_complete(const struct dirent *d)
{
	struct name n;

	return name_read(d->d_name, &n) == NAME_EET;
}

/* A session's segments in their order. */
static int
by_name(const struct dirent **a, const struct dirent **b)
{
	struct name x, y;

	name_read((*a)->d_name, &x);
	name_read((*b)->d_name, &y);
	return name_compare(&x, &y);
}

static void
append_missing(struct work *w)
{
	struct dirent **list;
	int n = scandirat(w->dir.fd, ".", &list, is_complete, by_name);

	if (n == -1) {
		fail(w, "");
		return;
	}
	for (int i = 0; i < n; i++) {
		const char *file = list[i]->d_name;
		struct name name;

		name_read(file, &name);
		/* What has a .part is unfinished: the next recording completes it. */
		if (tfind(file, &w->listed, compare) == NULL &&
		    !segment_has(&w->dir, &name, NAME_EET_PART, NULL) &&
		    !segment_has(&w->dir, &name, NAME_LINE_PART, NULL))
			append_line(w, file, &name);
		free(list[i]);
	}
	free(list);
	if (fdio_datasync(w->index) == -1)
		fail(w, INDEX_FILE);
}

/* 0, or -1: the reason was printed. */
static int
lock_directory(struct work *w)
{
	w->dir.fd = open(w->dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->dir.fd != -1 && flock(w->dir.fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (w->dir.fd != -1 && errno == EWOULDBLOCK)
		cli_warnx("%s: another program records into it", w->dir.path);
	else
		cli_warn("%s", w->dir.path);
	if (w->dir.fd != -1)
		close(w->dir.fd);
	return -1;
}

int
reindex(const char *dir)
{
	struct work w = { .dir = { .path = dir, .next = -1 }, .status = CLI_OK };
	uint64_t cut;

	if (lock_directory(&w) == -1)
		return CLI_EFAIL;
	if ((w.index = index_open(w.dir.fd, 0640, &cut)) == -1 ||
	    index_each(w.index, note_listed, &w) == -1)
		fail(&w, INDEX_FILE);
	else
		append_missing(&w);
	if (w.index != -1 && fdio_sync_dir(w.dir.fd) == -1)
		fail(&w, "");
	tdestroy(w.listed, free);
	if (w.index != -1)
		close(w.index);
	close(w.dir.fd);
	cli_note(0, "%s/%s: lines appended: %" PRIu64, dir, INDEX_FILE, w.appended);
	return w.status;
}
