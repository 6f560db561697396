#include "reindex.h"

#include "cli.h"
#include "index.h"
#include "name.h"
#include "spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMPORARY "index.jsonl.part"

struct work {
	const char *dir;
	int fd; /* of the directory */
	FILE *out;
	void *seen; /* names of segments that have their line, tsearch(3) */
	uint64_t kept, dropped, added;
};

static int
compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* Is this segment here, and met for the first time? */
static bool
wanted(struct work *w, const char *eet)
{
	struct stat st;
	char *copy;

	if (fstatat(w->fd, eet, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
	    tfind(eet, &w->seen, compare) != NULL)
		return false;
	if ((copy = strdup(eet)) == NULL || tsearch(copy, &w->seen, compare) == NULL)
		cli_die(CLI_EFAIL, "%s", w->dir);
	return true;
}

static void
keep(void *arg, const struct index_item *item)
{
	struct work *w = arg;

	if (item->event == INDEX_SEGMENT && !wanted(w, item->eet)) {
		w->dropped++;
		return;
	}
	fprintf(w->out, "%s\n", item->line);
	w->kept++;
}

/* Write what is to be kept beside the index, and put it in its place. */
static int
filter(struct work *w)
{
	uint64_t cut;
	struct stat st;
	int old, new, status;

	if (unlinkat(w->fd, TEMPORARY, 0) == -1 && errno != ENOENT)
		return -1;
	if ((old = index_open(w->fd, 0640, &cut)) == -1)
		return -1;
	new = openat(w->fd, TEMPORARY, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (new == -1 || (w->out = fdopen(new, "w")) == NULL) {
		close(old);
		return -1;
	}
	/* Whoever could read it, or write to it, still can. */
	status = fstat(old, &st) == -1 || fchmod(new, st.st_mode & 0777) == -1 ||
		(st.st_uid != geteuid() && fchown(new, st.st_uid, st.st_gid) == -1)
	    ? -1
	    : index_each(old, keep, w);
	close(old);
	if (status == -1 || fflush(w->out) == EOF || fsync(new) == -1) {
		fclose(w->out);
		unlinkat(w->fd, TEMPORARY, 0);
		return -1;
	}
	if (fclose(w->out) == EOF)
		return -1;
	return renameat(w->fd, TEMPORARY, w->fd, INDEX_FILE) == 0 ? fsync(w->fd) : -1;
}

static int
is_wav(const struct dirent *d)
{
	size_t stem;
	enum name_suffix s = name_suffix(d->d_name, &stem);

	return s == NAME_WAV || s == NAME_WAV_PART;
}

/* A spool without any was recorded with --no-wav, and is to stay so. */
static bool
has_wav(const char *dir)
{
	struct dirent **list;
	int n = scandir(dir, &list, is_wav, NULL);

	if (n == -1)
		return false;
	for (int i = 0; i < n; i++)
		free(list[i]);
	free(list);
	return n > 0;
}

static void
report(void *arg, const struct spool_report *r)
{
	struct work *w = arg;

	if (r->kind == SPOOL_SEGMENT)
		w->added++;
	else if (r->kind == SPOOL_WARNING || r->kind == SPOOL_DAMAGE)
		cli_warnx("%s", r->text);
	else if (r->text != NULL)
		cli_note(1, "%s", r->text);
}

int
reindex(const char *dir)
{
	struct work w = { .dir = dir };
	struct spool_options o;
	struct spool *sp;
	bool wavs;
	char text[SPOOL_TEXT];
	int status;

	/* The lock is given up before the spool takes it; who comes in between only does its work. */
	if ((w.fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1) {
		cli_warn("%s", dir);
		return CLI_EFAIL;
	}
	if (flock(w.fd, LOCK_EX | LOCK_NB) == -1) {
		cli_warnx("%s: another program records into it", dir);
		close(w.fd);
		return CLI_EFAIL;
	}
	wavs = has_wav(dir);
	if ((status = filter(&w)) == -1)
		cli_warn("%s/%s", dir, INDEX_FILE);
	tdestroy(w.seen, free);
	close(w.fd);
	if (status == -1)
		return CLI_EFAIL;
	spool_defaults(&o);
	o.wav = wavs;
	o.report = report;
	o.arg = &w;
	if ((sp = spool_open(dir, &o, text)) == NULL) {
		cli_warn("%s", text);
		return CLI_EFAIL;
	}
	spool_close(sp);
	cli_note(0, "%s/%s: lines kept %" PRIu64 ", dropped %" PRIu64 ", added %" PRIu64, dir,
	    INDEX_FILE, w.kept, w.dropped, w.added);
	return CLI_OK;
}
