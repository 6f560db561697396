#include "completer.h"

#include "fdio.h"
#include "index.h"
#include "next.h"
#include "thread.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct completer {
	const struct segment_dir *dir;
	int index;
	int event; /* eventfd: something was done, or went wrong */
	pthread_t thread;
	void (*on_full)(void *arg, const struct name *n); /* NULL: nobody is told */
	void *on_full_arg;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t wake;
	struct completer_job *sync; /* has its turn before all that waits */
	struct completer_job *waiting, **waiting_end;
	size_t jobs;  /* waiting or being completed */
	size_t lines; /* … of these, COMPLETER_LINE */
	struct completer_job *done, **done_end;
	bool ending;
	int error; /* errno of what fails now; with ENOSPC it is tried again, else it is the end */
	char failed[SEGMENT_PATH];
};

void
completer_free_job(struct completer_job *j)
{
	if (j == NULL)
		return;
	if (j->kind == COMPLETER_SESSION)
		free(j->sums);
	free(j->names);
	free(j->errors);
	free(j->line);
	free(j);
}

static void
sum_up(struct completer_sums *s, const struct render_facts *f)
{
	s->samples += f->samples;
	s->damaged += f->damaged;
	s->levels.values += f->levels.values;
	s->levels.squares += f->levels.squares;
	s->levels.clipped += f->levels.clipped;
	if (f->levels.peak > s->levels.peak)
		s->levels.peak = f->levels.peak;
	if (s->layout_known && s->layout != f->verdict.layout)
		s->layout_mixed = true;
	s->layout = f->verdict.layout;
	s->layout_known = true;
	s->unknown = s->unknown || f->verdict.unknown;
}

/* Which file of a segment failed, and why, for its line. */
static void
describe_failure(const struct segment *s, char *out, size_t size)
{
	char file[NAME_FILE_SIZE];

	name_file(&s->name, name_extension(s->failed), file);
	snprintf(out, size, "%s: %s", file, segment_why(s));
}

static size_t
segment_line(const struct completer_job *j, const struct segment *s, char out[INDEX_LINE + 1])
{
	const struct render_facts *f = &s->facts;
	const bool failed = s->stage == SEGMENT_FAILED;
	char eet[NAME_FILE_SIZE], wav[NAME_FILE_SIZE], error[NAME_FILE_SIZE + 64];

	name_file(&s->name, ".eet", eet);
	name_file(&s->name, ".wav", wav);
	if (failed)
		describe_failure(s, error, sizeof error);
	return index_format(
	    &(struct index_entry){
		.event = "segment",
		.eet = eet,
		.wav = s->has_wav && !failed ? wav : NULL,
		.session = s->name.session,
		.tag = j->tag,
		.peer = j->peer,
		.layout = !failed && f->format.codec == WIRE_ADPCM ? adpcm_verdict_name(&f->verdict)
								   : NULL,
		.format = failed ? &j->stream.format : &f->format,
		.has_facts = !failed,
		.has_frames = f->has_frames && !failed,
		.first_seq = f->first_seq,
		.last_seq = f->last_seq,
		.first_us = j->first_us,
		.last_us = j->last_us,
		.frames = f->frames,
		.samples = f->samples,
		.gaps = f->gaps,
		.gap_frames = f->gap_frames,
		.gap_before = j->gap_before,
		.repeats = f->repeats,
		.restarts = f->restarts,
		.damaged = f->damaged + j->places,
		.levels = &f->levels,
		.recovered = j->recovered,
		.error = failed ? error : NULL,
	    },
	    out);
}

size_t
completer_line(const struct completer_job *j, char out[INDEX_LINE + 1])
{
	return segment_line(j, &j->segment, out);
}

static size_t
session_line(const struct completer_job *j, char out[INDEX_LINE + 1])
{
	const struct stream *s = &j->stream;
	const struct completer_sums *sums = j->sums;
	const bool adpcm = s->format.codec == WIRE_ADPCM;
	const struct adpcm_verdict v = { .layout = sums->layout, .unknown = sums->unknown };

	return index_format(
	    &(struct index_entry){
		.event = "session",
		.session = j->session,
		.tag = j->tag,
		.peer = j->peer,
		.layout = adpcm && sums->layout_known && !sums->layout_mixed
		    ? adpcm_verdict_name(&v)
		    : NULL,
		.format = &s->format,
		.has_facts = true,
		.has_frames = s->started,
		.first_seq = s->first_seq,
		.last_seq = s->last_seq,
		.first_us = j->first_us,
		.last_us = j->last_us,
		.frames = s->frames,
		.samples = sums->samples,
		.gaps = s->gaps,
		.gap_frames = s->gap_frames,
		.gap_before = INDEX_UNKNOWN,
		.repeats = s->repeats,
		.restarts = s->restarts,
		.damaged = sums->damaged,
		.levels = &sums->levels,
		.is_session = true,
		.close_code = j->close_code,
		.close_reason = j->close_reason,
	    },
	    out);
}

/*
 * A segment's line.  If there is a command to be run for it, that is said first, in the same write:
 * a write that is torn by a crash then leaves a segment without its line, which is recovered.
 */
static int
append_segment(const struct segment_dir *d, int index, struct completer_job *j)
{
	const bool failed = j->segment.stage == SEGMENT_FAILED;
	char lines[2 * INDEX_LINE + 1], eet[NAME_FILE_SIZE], wav[NAME_FILE_SIZE];
	size_t first = 0, len;

	name_file(&j->segment.name, ".eet", eet);
	name_file(&j->segment.name, ".wav", wav);
	if (d->exec && !failed)
		first = index_format_exec(eet, j->segment.has_wav ? wav : NULL,
		    j->segment.name.session, false, lines);
	len = completer_line(j, lines + first);
	if (j->line == NULL && (j->line = strndup(lines + first, len - 1)) == NULL)
		return -1;
	if (index_append(index, lines, first + len) == -1)
		return -1;
	j->unknown =
	    !failed && j->segment.facts.verdict.unknown && (j->sums == NULL || !j->sums->unknown);
	if (j->sums != NULL && !failed) {
		j->follows = j->sums->layout_known;
		sum_up(j->sums, &j->segment.facts);
	}
	return 0;
}

static int
append_session(int index, struct completer_job *j)
{
	char line[INDEX_LINE + 1];
	size_t len = session_line(j, line);

	if (j->line == NULL && (j->line = strndup(line, len - 1)) == NULL)
		return -1;
	return index_append(index, line, len);
}

static int
append_line(int index, const char *text)
{
	char line[INDEX_LINE + 2];

	return index_append(index, line, (size_t)snprintf(line, sizeof line, "%s\n", text));
}

/* Sync what grows, or grew; a segment that has been completed since then needs it no more. */
static int
sync_part(const struct segment_dir *d, const struct name *n)
{
	char file[NAME_FILE_SIZE];
	int fd, status, e;

	name_file(n, ".eet.part", file);
	fd = openat(d->fd, file, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (fd == -1)
		return errno == ENOENT ? 0 : -1;
	status = fdio_datasync(fd);
	e = errno;
	close(fd);
	errno = e;
	return status;
}

/* Each file fails alone, the directory does not. */
static int
sync_parts(const struct segment_dir *d, const struct completer_job *j, char failed[SEGMENT_PATH])
{
	for (size_t i = 0; i < j->n_names; i++)
		j->errors[i] = sync_part(d, &j->names[i]) == 0 ? 0 : errno;
	snprintf(failed, SEGMENT_PATH, "%s", d->path);
	return fdio_sync_dir(d->fd);
}

static int
append_line_of(const struct segment_dir *d, int index, struct completer_job *j)
{
	int status = -1;

	switch (j->kind) {
	case COMPLETER_SEGMENT:
		/* A leftover that fails has its line, or none, from the run that recorded it. */
		if (j->recovered && j->segment.stage == SEGMENT_FAILED)
			status = 0;
		else
			status = append_segment(d, index, j);
		break;
	case COMPLETER_SESSION: status = append_session(index, j); break;
	case COMPLETER_LINE: status = append_line(index, j->line); break;
	case COMPLETER_SYNC: break; /* it does not wait among these */
	}
	j->is_done = status == 0;
	return status;
}

static size_t
format_line(void *arg, const struct segment *s, char *out)
{
	return segment_line(arg, s, out);
}

/*
 * Bring the segments of jobs[0..n) to SEGMENT_PLACED, or SEGMENT_FAILED.  Returns how many jobs got
 * there, those without a segment included; if not all, errno and failed[].
 */
static size_t
place_segments(const struct segment_dir *d, struct completer_job *const jobs[], size_t n,
    char failed[SEGMENT_PATH])
{
	struct segment *segments[COMPLETER_BATCH] = { NULL };
	size_t m = 0, rendered, placed;
	int e = 0;

	for (rendered = 0; rendered < n; rendered++) {
		struct segment *s = &jobs[rendered]->segment;

		if (jobs[rendered]->kind != COMPLETER_SEGMENT)
			continue;
		if (segment_render(d, s, failed) == -1) {
			e = errno;
			break;
		}
		segments[m++] = s;
	}
	segment_sync(d, segments, m);
	for (placed = 0; placed < rendered; placed++) {
		const struct segment_line line = { format_line, jobs[placed] };

		if (jobs[placed]->kind == COMPLETER_SEGMENT &&
		    segment_place(d, &jobs[placed]->segment, &line, failed) == -1) {
			e = errno;
			break;
		}
	}
	errno = e;
	return placed;
}

/* The directory and the session numbers in use are to be on the disk before the lines are. */
static int
sync_names(const struct segment_dir *d, bool placed, char failed[SEGMENT_PATH])
{
	snprintf(failed, SEGMENT_PATH, "%s", d->path);
	if (!d->sync)
		return 0;
	if (d->next != -1 && fdio_datasync(d->next) == -1) {
		snprintf(failed, SEGMENT_PATH, "%s/%s", d->path, NEXT_FILE);
		return -1;
	}
	return placed ? fdio_sync_dir(d->fd) : 0;
}

static bool
has_segments(struct completer_job *const jobs[], size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (jobs[i]->kind == COMPLETER_SEGMENT)
			return true;
	return false;
}

/*
 * The parts of those that are placed, and in the index, are not needed any more; names that stay are
 * removed by the next start.  0, or -1 with errno, which passes, and failed[].
 */
static int
finish_segments(const struct segment_dir *d, struct completer_job *const jobs[], size_t n,
    char failed[SEGMENT_PATH])
{
	for (size_t i = 0; i < n; i++) {
		jobs[i]->remains = 0;
		if (jobs[i]->kind != COMPLETER_SEGMENT ||
		    jobs[i]->segment.stage != SEGMENT_PLACED ||
		    segment_finish(d, &jobs[i]->segment, failed) == 0)
			continue;
		if (fdio_passes(errno))
			return -1;
		jobs[i]->remains = errno;
	}
	return 0;
}

int
completer_run(const struct segment_dir *d, int index, struct completer_job *const jobs[], size_t n,
    size_t *doneo, char failed[SEGMENT_PATH])
{
	char where[SEGMENT_PATH] = "";
	size_t placed, i;
	int e;

	*doneo = 0;
	placed = place_segments(d, jobs, n, where);
	e = placed < n ? errno : 0;
	/* When one has to wait, those before it are done all the same: that may be what makes room. */
	if (placed > 0 && sync_names(d, has_segments(jobs, placed), failed) == -1)
		return -1;
	for (i = 0; i < placed && (jobs[i]->is_done || append_line_of(d, index, jobs[i]) == 0); i++)
		;
	if (i < placed) {
		e = errno;
		snprintf(where, sizeof where, "%s/%s", d->path, INDEX_FILE);
	}
	if (i > 0 && d->sync && fdio_datasync(index) == -1) {
		snprintf(failed, SEGMENT_PATH, "%s/%s", d->path, INDEX_FILE);
		return -1;
	}
	if (finish_segments(d, jobs, i, failed) == -1)
		return -1;
	*doneo = i;
	memcpy(failed, where, sizeof where);
	errno = e;
	return e == 0 ? 0 : -1;
}

void
completer_each_placed(struct completer_job *const jobs[], size_t n, int e,
    void (*fn)(void *arg, const struct name *n), void *arg)
{
	if (!fdio_passes(e))
		return;
	for (size_t i = 0; i < n; i++)
		if (jobs[i]->kind == COMPLETER_SEGMENT && !jobs[i]->is_done &&
		    jobs[i]->segment.stage == SEGMENT_PLACED)
			fn(arg, &jobs[i]->segment.name);
}

void
completer_on_full(struct completer *c, void (*fn)(void *arg, const struct name *n), void *arg)
{
	c->on_full = fn;
	c->on_full_arg = arg;
}

static void
announce(struct completer *c)
{
	uint64_t one = 1;

	/* Fails only when the counter is full, and then it is readable anyway. */
	if (write(c->event, &one, sizeof one) == -1)
		return;
}

/* The first n jobs of the queue are done. */
static void
hand_over(struct completer *c, struct completer_job *const jobs[], size_t n)
{
	struct completer_job *last = jobs[n - 1];

	for (size_t i = 0; i < n; i++)
		c->lines -= jobs[i]->kind == COMPLETER_LINE;
	*c->done_end = c->waiting;
	c->done_end = &last->next;
	c->waiting = last->next;
	last->next = NULL;
	if (c->waiting == NULL)
		c->waiting_end = &c->waiting;
	c->jobs -= n;
}

/* Called with the lock.  False: the end came. */
static bool
wait_a_second(struct completer *c)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec++;
	while (!c->ending && pthread_cond_timedwait(&c->wake, &c->lock, &t) == 0)
		;
	return !c->ending;
}

/* What has ended, and waits to be completed, can wait longer than --sync TIME.  Called with the lock. */
static void
sync_waiting(struct completer *c)
{
	for (struct completer_job *j = c->waiting; j != NULL; j = j->next) {
		int status, e;

		if (j->kind != COMPLETER_SEGMENT || j->is_synced ||
		    j->segment.stage != SEGMENT_GROWN)
			continue;
		pthread_mutex_unlock(&c->lock);
		status = sync_part(c->dir, &j->segment.name);
		e = errno;
		pthread_mutex_lock(&c->lock);
		if (status == -1)
			segment_fail(&j->segment, NAME_EET_PART, e);
		j->is_synced = true;
	}
}

/* Called with the lock.  False: the directory has failed. */
static bool
sync_first(struct completer *c)
{
	struct completer_job *j = c->sync;
	char failed[SEGMENT_PATH];
	int status;

	sync_waiting(c);
	pthread_mutex_unlock(&c->lock);
	status = sync_parts(c->dir, j, failed);
	pthread_mutex_lock(&c->lock);
	if (status == 0) {
		c->sync = NULL;
		*c->done_end = j;
		c->done_end = &j->next;
		c->jobs--;
	} else {
		c->error = errno;
		memcpy(c->failed, failed, sizeof failed);
	}
	announce(c);
	return status == 0;
}

static void *
work(void *arg)
{
	struct completer *c = arg;

	pthread_mutex_lock(&c->lock);
	for (;;) {
		struct completer_job *batch[COMPLETER_BATCH];
		char failed[SEGMENT_PATH];
		size_t n = 0, done;
		int status, e;

		while (!c->ending && c->waiting == NULL && c->sync == NULL)
			pthread_cond_wait(&c->wake, &c->lock);
		if (c->ending || (c->sync != NULL && !sync_first(c)))
			break;
		if (c->waiting == NULL)
			continue;
		for (struct completer_job *j = c->waiting; j != NULL && n < COMPLETER_BATCH;
		     j = j->next)
			batch[n++] = j;
		/* They stay at the head of the queue, which only this thread shortens. */
		pthread_mutex_unlock(&c->lock);
		status = completer_run(c->dir, c->index, batch, n, &done, failed);
		e = errno;
		pthread_mutex_lock(&c->lock);
		if (status == -1 && c->on_full != NULL && !c->ending)
			completer_each_placed(batch + done, n - done, e, c->on_full,
			    c->on_full_arg);
		if (done > 0)
			hand_over(c, batch, done);
		c->error = status == 0 ? 0 : e;
		if (status == -1)
			memcpy(c->failed, failed, sizeof failed);
		announce(c);
		if (c->error != 0 && (!fdio_passes(c->error) || !wait_a_second(c)))
			break;
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

struct completer *
completer_new(const struct segment_dir *d, int index)
{
	struct completer *c = calloc(1, sizeof *c);
	pthread_condattr_t attr;
	int e;

	if (c == NULL)
		return NULL;
	c->dir = d;
	c->index = index;
	c->waiting_end = &c->waiting;
	c->done_end = &c->done;
	if ((c->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) == -1)
		goto err_free;
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (thread_start(&c->thread, work, c) == 0)
		return c;
	e = errno;
	pthread_cond_destroy(&c->wake);
	pthread_mutex_destroy(&c->lock);
	close(c->event);
	errno = e;
err_free:
	free(c);
	return NULL;
}

static bool
is_too_many(const struct completer *c, enum completer_kind kind)
{
	switch (kind) {
	case COMPLETER_SEGMENT:
	case COMPLETER_SESSION: return c->jobs - c->lines >= COMPLETER_WAITING;
	case COMPLETER_SYNC: return c->sync != NULL;
	default: return false;
	}
}

int
completer_put(struct completer *c, struct completer_job *j, char failed[SEGMENT_PATH])
{
	int e = 0;

	pthread_mutex_lock(&c->lock);
	if (c->error != 0 && !fdio_passes(c->error)) {
		e = c->error;
		memcpy(failed, c->failed, SEGMENT_PATH);
	} else if (is_too_many(c, j->kind)) {
		e = EAGAIN;
	} else {
		j->next = NULL;
		if (j->kind == COMPLETER_SYNC) {
			c->sync = j;
		} else {
			*c->waiting_end = j;
			c->waiting_end = &j->next;
		}
		c->jobs++;
		c->lines += j->kind == COMPLETER_LINE;
		pthread_cond_signal(&c->wake);
	}
	pthread_mutex_unlock(&c->lock);
	errno = e;
	return e == 0 ? 0 : -1;
}

int
completer_fd(const struct completer *c)
{
	return c->event;
}

int
completer_take(struct completer *c, struct completer_job **doneo, char failed[SEGMENT_PATH])
{
	uint64_t n;
	int status, e;

	pthread_mutex_lock(&c->lock);
	if (read(c->event, &n, sizeof n) == -1)
		n = 0; /* nothing was announced: fine */
	*doneo = c->done;
	c->done = NULL;
	c->done_end = &c->done;
	e = c->error;
	if (e != 0)
		memcpy(failed, c->failed, SEGMENT_PATH);
	status = e != 0 ? -1 : c->jobs == 0;
	pthread_mutex_unlock(&c->lock);
	errno = e;
	return status;
}

bool
completer_idle(struct completer *c)
{
	bool idle;

	pthread_mutex_lock(&c->lock);
	idle = c->jobs == 0;
	pthread_mutex_unlock(&c->lock);
	return idle;
}

static void
free_jobs(struct completer_job *j)
{
	while (j != NULL) {
		struct completer_job *next = j->next;

		completer_free_job(j);
		j = next;
	}
}

bool
completer_end(struct completer *c)
{
	if (c == NULL)
		return true;
	pthread_mutex_lock(&c->lock);
	c->ending = true;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
	if (!thread_end(&c->thread, 1))
		return false;
	completer_free_job(c->sync);
	free_jobs(c->waiting);
	free_jobs(c->done);
	pthread_cond_destroy(&c->wake);
	pthread_mutex_destroy(&c->lock);
	close(c->event);
	free(c);
	return true;
}
