/*
 * A walk goes through the records of all sources in order and hands frames to parts; a part is
 * what becomes one WAV.  Sources that can be read twice, or copied when they are read first, are walked
 * twice: once to measure the parts, once to write them, so that every header is right from the start.
 * Otherwise one walk writes what it meets.  Where there are more parts at once than descriptors, more
 * walks write those that were put off.
 */
#include "convert.h"

#include "cli.h"
#include "input.h"
#include "measure.h"
#include "outfile.h"
#include "render.h"
#include "stop.h"
#include "wav.h"

#include <errno.h>
#include <inttypes.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum walk_kind { MEASURING, WRITING, STREAMING };

/* What becomes one WAV. */
struct part {
	struct wire_handshake format; /* of its latest take */
	uint32_t session;             /* that take's */
	bool open;                    /* and it has not ended */
	struct range range;           /* of it that is written */
	struct measure measure;       /* while measuring */
	size_t number;                /* its place among the plans */
	struct render *render;        /* while writing; NULL: that failed */
	bool refused;                 /* it can't be decoded as the user wants */
	struct outfile output;
	char *path;
	struct part *next, *previous; /* of all that are not finished */
};

struct walk {
	enum walk_kind kind;
	const struct settings *set;
	const struct target *target;
	struct plan *plans; /* of the parts, in the order of their first frames */
	size_t n_plans, size_plans;
	size_t begun; /* parts so far */
	struct part *parts;
	struct part *current; /* the one that the next take may join */
	bool has_format;      /* an OPEN was met; there may be no more to the log */
	struct wire_handshake format;
	int status;

	/* Of the source that is being read. */
	struct source *source;
	struct log_reader *log;
	size_t begun_in_source;
	bool put_off;  /* some parts, for want of descriptors */
	bool finished; /* nothing more is to be read */
	bool cut;      /* … because of a signal */
	bool broken;   /* … because it can't be: what there is so far is not the whole */
};

static bool
one_wav(const struct walk *w)
{
	return w->target->dir == NULL;
}

static void
finish(struct walk *w, int status)
{
	w->status = worse(w->status, status);
	w->finished = true;
}

/* Nothing can come of it. */
static void
give_up(struct walk *w)
{
	w->broken = true;
	finish(w, CLI_EFAIL);
}

/* The source can't be read on, for the reason in errno, or is not what it was. */
static void
source_failed(struct walk *w)
{
	if (errno == EINVAL)
		cli_warnx("%s: has changed while it was read", w->source->label);
	else if (w->log != NULL)
		cli_warn("%s: offset %" PRIu64, w->source->label, log_offset(w->log));
	else if (errno != EINTR)
		cli_warn("%s", w->source->label);
	give_up(w);
}

/*
 * ---- Parts ----
 */

/* What this run has written, tsearch(3): paths. */
static void *written;

static int
by_path(const void *a, const void *b)
{
	return strcmp(a, b);
}

/*
 * The path of that name, or with the next millisecond whose is not of this run: where logs were
 * joined, two sessions may have one name.  NULL: out of memory.
 */
static char *
free_path(const struct walk *w, struct name name)
{
	char stem[NAME_SIZE], *path;

	for (;; name.time_ms++) {
		name_format(&name, stem);
		if (asprintf(&path, "%s/%s.wav", w->target->dir, stem) == -1)
			return NULL;
		if (name.time_ms >= NAME_MAX_MS || tfind(path, &written, by_path) == NULL)
			return path;
		free(path);
	}
}

/* The path of a part that begins with this session; NULL: out of memory. */
static char *
part_path(const struct walk *w, const struct log_session *s)
{
	const struct source *source = w->source;
	const char *base, *dot;
	char *path;
	int stem, n;

	if (log_is_mux(w->log) || source->path == NULL) {
		struct name name = { .stream_id = s->format.stream_id,
			.session = s->number,
			.time_ms = s->open_us / 1000 };

		memcpy(name.tag, s->tag, sizeof name.tag);
		return free_path(w, name);
	} else if (source->is_segment && w->begun_in_source == 0) {
		return free_path(w, source->name);
	} else {
		base = source->path + source->dir_length;
		dot = strrchr(base, '.');
		stem = (int)(dot == NULL || dot == base ? strlen(base) : (size_t)(dot - base));
		if (w->begun_in_source == 0)
			n = asprintf(&path, "%s/%.*s.wav", w->target->dir, stem, base);
		else
			n = asprintf(&path, "%s/%.*s_s%" PRIu32 ".wav", w->target->dir, stem, base,
			    s->number);
	}
	return n == -1 ? NULL : path;
}

/* May another walk find descriptors, because this one has used them? */
static bool
may_put_off(const struct walk *w)
{
	if (w->kind == WRITING && (errno == EMFILE || errno == ENFILE))
		for (const struct part *p = w->parts; p != NULL; p = p->next)
			if (p->render != NULL)
				return true;
	return false;
}

/*
 * Begin to write a part: its output and all, or put it off.  False: it can't be, which was said.
 */
static bool
part_write(struct walk *w, struct part *p, const struct log_session *s)
{
	const struct plan *plan = NULL;
	const char *path = w->target->file;

	if (w->kind == WRITING)
		plan = &w->plans[p->number];
	if (!one_wav(w) && (path = p->path = part_path(w, s)) == NULL) {
		cli_warn("%s", w->target->dir);
		return false;
	}
	if (outfile_open(&p->output, path, one_wav(w), one_wav(w) ? 0666 : 0640) == -1) {
		if (may_put_off(w)) {
			w->plans[p->number].done = false;
			w->put_off = true;
			return true;
		}
		cli_warn("%s", path);
		return false;
	}
	if (one_wav(w))
		cli_no_terminal(p->output.fd, "a WAV", "redirect it, or use -o FILE");
	if ((p->render = render_new(&p->output, &p->format, p->range, plan, w->set)) == NULL) {
		cli_warn("%s", p->output.label);
		outfile_discard(&p->output);
		return false;
	}
	if (p->path != NULL && tsearch(p->path, &written, by_path) != NULL)
		p->path = NULL; /* it is the tree's, and lives as long as the program */
	return true;
}

/* The layout that was given must be one for the stream. */
static bool
layout_fits(const struct walk *w, const struct log_session *s)
{
	const struct wire_handshake *h = &s->format;

	if (h->codec != WIRE_ADPCM || !w->set->layout_given ||
	    adpcm_layout_allowed(w->set->layout, h->channels))
		return true;
	if (w->kind != WRITING)
		cli_warnx("%s: session %" PRIu32 " (stream %" PRIu32
			  ") has %u channels, --layout %s is for 1",
		    w->source->label, s->number, h->stream_id, (unsigned)h->channels,
		    adpcm_layout_name(w->set->layout));
	return false;
}

/* start_us: the time of its first frame. */
static struct part *
part_begin(struct walk *w, const struct log_session *s, uint64_t start_us)
{
	struct part *p = NULL;
	bool done = false;

	if (w->kind == WRITING && w->begun == w->n_plans)
		errno = EINVAL;
	else
		p = calloc(1, sizeof *p);
	if (p == NULL) {
		source_failed(w);
		return NULL;
	}
	p->format = s->format;
	p->session = s->number;
	p->open = true;
	p->range = range_between(w->set->from, w->set->to, s->format.sample_rate, start_us);
	p->number = w->begun++;
	if (w->kind == WRITING) {
		done = w->plans[p->number].done;
		w->plans[p->number].done = true;
	}
	p->next = w->parts;
	if (p->next != NULL)
		p->next->previous = p;
	w->parts = p;
	/* Other recordings are written all the same. */
	if (!layout_fits(w, s)) {
		p->refused = true;
		w->status = worse(w->status, CLI_EUSAGE);
		w->finished = one_wav(w);
	} else if (w->kind == MEASURING) {
		measure_begin(&p->measure, &p->format, p->range, w->set);
	} else if (!done && !part_write(w, p, s)) {
		w->status = worse(w->status, CLI_EFAIL);
		w->finished = one_wav(w);
	}
	w->begun_in_source++;
	return p;
}

/* True when no later frame changes anything. */
static bool
part_is_complete(const struct walk *w, const struct part *p)
{
	if (w->kind == MEASURING)
		return measure_is_complete(&p->measure);
	return p->render != NULL && render_is_complete(p->render);
}

/* The part's last write failed. */
static void
part_failed(struct walk *w, struct part *p)
{
	bool damaged;

	if (errno == EINVAL)
		cli_warnx("%s: its input has changed while it was read", p->output.label);
	else
		cli_warn("%s", p->output.label);
	if (p->render != NULL)
		render_end(p->render, true, &damaged);
	p->render = NULL;
	outfile_discard(&p->output);
	w->status = worse(w->status, CLI_EFAIL);
	w->finished = one_wav(w);
}

static void
part_keep_plan(struct walk *w, const struct part *p)
{
	if (w->size_plans <= p->number) {
		size_t size = 2 * p->number + 16;
		struct plan *plans = reallocarray(w->plans, size, sizeof *plans);

		if (plans == NULL) {
			source_failed(w);
			return;
		}
		w->plans = plans;
		w->size_plans = size;
	}
	w->plans[p->number] = p->refused ? (struct plan){ 0 } : measure_end(&p->measure);
	w->n_plans = w->begun;
}

static void
part_finish(struct walk *w, struct part *p)
{
	bool damaged = false;

	if (w->current == p)
		w->current = NULL;
	*(p->previous != NULL ? &p->previous->next : &w->parts) = p->next;
	if (p->next != NULL)
		p->next->previous = p->previous;
	if (w->kind == MEASURING) {
		part_keep_plan(w, p);
	} else if (p->render != NULL) {
		struct render *r = p->render;

		p->render = NULL;
		if (render_end(r, w->cut, &damaged) == -1) {
			part_failed(w, p);
		} else if (w->broken) {
			outfile_discard(&p->output);
		} else if (outfile_commit(&p->output) == -1) {
			cli_warn("%s", p->output.label);
			w->status = worse(w->status, CLI_EFAIL);
		}
	}
	if (damaged)
		w->status = worse(w->status, CLI_EDATA);
	free(p->path);
	free(p);
}

/*
 * ---- Takes ----
 */

static bool
same_stream(const struct wire_handshake *a, const struct wire_handshake *b)
{
	return a->stream_id == b->stream_id && wire_same_format(a, b);
}

/* One WAV can't hold this take too. */
static void
refuse(struct walk *w, const struct log_record *rec)
{
	static const char hint[] =
	    "choose one with eet-demux -S SESSION, or write each with -d DIR";
	const struct part *p = w->current;
	const struct wire_handshake *a = &p->format, *b = &rec->session->format;

	if (p->open)
		cli_warnx("%s: offset %" PRIu64 ": session %" PRIu32 " (stream %" PRIu32
			  ") begins while session %" PRIu32 " (stream %" PRIu32
			  ") is open, and one WAV holds one at a time: %s",
		    w->source->label, rec->offset, rec->session->number, b->stream_id, p->session,
		    a->stream_id, hint);
	else
		cli_warnx("%s: offset %" PRIu64 ": session %" PRIu32 " is stream %" PRIu32
			  " (%s, %" PRIu32
			  " Hz, channels %u, frames of %u), the one before stream %" PRIu32
			  " (%s, %" PRIu32 " Hz, channels %u, frames of %u): %s",
		    w->source->label, rec->offset, rec->session->number, b->stream_id,
		    wire_codec_name(b->codec), b->sample_rate, (unsigned)b->channels,
		    (unsigned)b->frame_samples, a->stream_id, wire_codec_name(a->codec),
		    a->sample_rate, (unsigned)a->channels, (unsigned)a->frame_samples, hint);
	finish(w, CLI_EUSAGE);
}

/* When a recording's first frame was: a segment's name knows more than its log. */
static uint64_t
start_time(const struct walk *w, const struct log_record *rec)
{
	const struct source *s = w->source;

	if (s->is_segment && w->begun_in_source == 0 && !log_is_mux(w->log))
		return s->name.time_ms * 1000;
	return rec->time_us;
}

/*
 * A session's first frame: which part does it belong to?  *joino: it goes on with one that has
 * had a take before.  NULL: none, and the walk is over.
 */
static struct part *
take_begin(struct walk *w, const struct log_record *rec, bool *joino)
{
	const struct log_session *s = rec->session;
	bool alone = !one_wav(w) && log_is_mux(w->log); /* each session is a recording */
	struct part *p = alone ? NULL : w->current;

	*joino = false;
	if (p != NULL && !p->open && same_stream(&p->format, &s->format)) {
		p->format = s->format;
		p->session = s->number;
		p->open = true;
		*joino = true;
		return p;
	}
	if (p != NULL && one_wav(w)) {
		refuse(w, rec);
		return NULL;
	}
	if (p != NULL)
		part_finish(w, p);
	if ((p = part_begin(w, s, start_time(w, rec))) != NULL && !alone)
		w->current = p;
	return p;
}

static void
take_frame(struct walk *w, const struct log_record *rec)
{
	struct place at = { w->source->label, rec->offset, rec->time_us };
	struct part *p = rec->session->user;
	bool join = false;

	if (p == NULL) {
		if ((p = rec->session->user = take_begin(w, rec, &join)) == NULL)
			return;
	}
	if (p->refused)
		return;
	if (w->kind == MEASURING) {
		if (join)
			measure_join(&p->measure, &p->format, rec->frame.seq);
		measure_frame(&p->measure, &rec->frame);
	} else if (p->render != NULL) {
		if (render_frame(p->render, join ? &p->format : NULL, &rec->frame, &at) == -1)
			part_failed(w, p);
	}
}

static void
take_end(struct walk *w, const struct log_record *rec)
{
	struct part *p = rec->session->user;

	if (p == NULL) {
		if (!one_wav(w) && w->kind == MEASURING)
			cli_note(0, "%s: session %" PRIu32 " (stream %" PRIu32 ") has no frames",
			    w->source->label, rec->session->number, rec->session->format.stream_id);
		return;
	}
	p->open = false;
	if (p != w->current)
		part_finish(w, p);
}

/*
 * ---- Walks ----
 */

/* Read on, when it can be without waiting or there is still time to.  False: that was the end. */
static bool
fill(struct walk *w, int fd)
{
	struct source *s = w->source;
	int pipe = s->regular ? source_pipe(s) : fd;

	if (w->kind == STREAMING) {
		/* What came so far is heard now, however long the next frame takes. */
		for (struct part *p = w->parts; p != NULL; p = p->next)
			if (p->render != NULL && render_flush(p->render) == -1)
				part_failed(w, p);
		if (w->finished)
			return false;
	}
	if (pipe == -1 ? stop_now() : !stop_wait(pipe)) {
		cli_warnx("%s: offset %" PRIu64 ": stopped here, the input has not ended", s->label,
		    log_offset(w->log));
		w->cut = true;
		finish(w, CLI_EDATA);
		return false;
	}
	if (s->regular && pipe != -1 && source_more(s) == -1) {
		if (errno == EAGAIN)
			return true;
		give_up(w);
		return false;
	}
	if (log_fill(w->log) == -1 && errno != EAGAIN) {
		source_failed(w);
		return false;
	}
	return true;
}

/* Deal with one record.  False: the source has ended. */
static bool
take_record(struct walk *w, const struct log_record *rec)
{
	/* A file may have grown since it was measured. */
	if (w->kind == WRITING && rec->offset >= w->source->end && !rec->made_up)
		return false;
	if (w->kind != WRITING && input_report(w->source->label, w->log, rec))
		w->status = worse(w->status, CLI_EDATA);
	switch (rec->event) {
	case LOG_OPEN:
		if (!w->has_format)
			w->format = rec->session->format;
		w->has_format = true;
		break;
	case LOG_FRAME: take_frame(w, rec); break;
	case LOG_CLOSE: take_end(w, rec); break;
	case LOG_ERROR: source_failed(w); break;
	case LOG_END: return false;
	default: break;
	}
	if (w->kind == MEASURING && !w->finished && rec->event != LOG_DAMAGE)
		w->source->end = log_offset(w->log);
	/* Nothing behind --to is of interest, and there may be no end to it. */
	if (one_wav(w) && w->current != NULL && part_is_complete(w, w->current))
		w->finished = true;
	return !w->finished;
}

static void
walk_source(struct walk *w, struct source *s)
{
	struct log_record rec;
	int fd;

	w->source = s;
	w->begun_in_source = 0;
	if (w->kind == MEASURING)
		s->end = 0;
	if (!s->regular && w->kind == MEASURING &&
	    source_begin_copy(s, w->target->copies_dir) == -1) {
		give_up(w);
		return;
	}
	if ((fd = source_open(s)) == -1 || (w->log = log_new(fd, &w->set->log)) == NULL) {
		source_failed(w);
		if (fd != -1)
			source_close(s, fd);
		return;
	}
	for (;;) {
		enum log_event e = log_next(w->log, &rec);

		if (e == LOG_MORE ? !fill(w, fd) : !take_record(w, &rec))
			break;
	}
	log_free(w->log);
	w->log = NULL;
	source_close(s, fd);
}

/* A segment whose session ended with an earlier source, others in between. */
static bool
returns(const struct source *sources, size_t i)
{
	const struct name *a = &sources[i].name, *b;

	if (i == 0 || !sources[i].is_segment)
		return false;
	for (size_t k = i; k-- > 0;) {
		b = &sources[k].name;
		if (sources[k].is_segment && b->session == a->session &&
		    b->stream_id == a->stream_id &&
		    sources[k].dir_length == sources[i].dir_length &&
		    memcmp(sources[k].path, sources[i].path, sources[i].dir_length) == 0)
			return k != i - 1;
	}
	return false;
}

/* All sources, one after the other.  Returns how many were read. */
static size_t
walk(struct walk *w, struct source *sources, size_t n)
{
	struct log_session none = { 0 };
	size_t i;

	w->begun = 0;
	w->put_off = false;
	for (i = 0; i < n && !w->finished; i++) {
		if (one_wav(w) && returns(sources, i)) {
			cli_warnx(
			    "%s: its session returns after another one, and one WAV holds one at "
			    "a time: write each with -d DIR",
			    sources[i].label);
			finish(w, CLI_EUSAGE);
			break;
		}
		walk_source(w, &sources[i]);
	}
	/* A log without a frame has a format all the same: its WAV is empty. */
	if (one_wav(w) && w->begun == 0 && (w->status == CLI_OK || w->status == CLI_EDATA)) {
		none.format = w->format;
		if (w->has_format)
			part_begin(w, &none, 0);
		else
			cli_warnx("%s: no stream in it, so no WAV", sources[0].label);
		w->status = worse(w->status, w->has_format ? CLI_OK : CLI_EDATA);
	} else if (!one_wav(w) && w->kind == MEASURING && !w->has_format && !w->broken) {
		cli_note(0, "%s: no stream in it", sources[0].label);
	}
	for (struct part *p = w->parts, *next; p != NULL; p = next) {
		next = p->next;
		part_finish(w, p);
	}
	return i;
}

int
convert(struct source *sources, size_t n, const struct settings *set, const struct target *target,
    bool *cuto)
{
	struct walk measuring = { .kind = MEASURING, .set = set, .target = target };
	struct walk writing = { .kind = WRITING, .set = set, .target = target };
	bool regular = true, twice, asked = false;

	for (size_t i = 0; i < n; i++)
		regular = regular && sources[i].regular;
	twice = regular || target->copies;
	if (twice) {
		n = walk(&measuring, sources, n);
		/* What could be read of a pipe is converted, however long that takes. */
		asked = stop_asked();
		if (measuring.cut || !regular)
			stop_begin(regular);
		writing.plans = measuring.plans;
		writing.n_plans = measuring.n_plans;
	} else {
		writing.kind = STREAMING;
	}
	if (!measuring.broken && (!twice || measuring.n_plans > 0))
		do
			walk(&writing, sources, n);
		while (writing.put_off && !writing.finished);
	if (asked && !regular)
		stop_begin(true); /* so that the next pipe is not read for ever */
	free(measuring.plans);
	*cuto = measuring.cut || writing.cut;
	return worse(measuring.status, writing.status);
}
