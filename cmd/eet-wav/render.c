#include "render.h"

#include "cli.h"
#include "wav.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	/* The rules want 64 blocks that follow each other; where some are missing, others may do. */
	HOLD_BLOCKS = 128,
	HOLD_FRAMES = 1024, /* empty ones included */
	HOLD_BYTES = 64 << 20,
};

/* A frame that waits. */
struct held {
	struct place at;
	struct wire_handshake handshake;
	bool joins;
	uint32_t seq;
	uint32_t length;
	uint8_t *payload;
};

struct render {
	const char *label;
	struct pcm pcm;
	struct range range;
	struct wav_writer *wav;
	int16_t *out;
	bool sniffing;
	struct adpcm_sniff sniff;
	struct held *held;
	unsigned n_held, blocks_held;
	size_t bytes_held;
	uint64_t damaged; /* as far as told */
};

/* A time, if it is one. */
struct stamp {
	char text[32];
};

static struct stamp
stamp(uint64_t us)
{
	struct stamp s;
	time_t t = (time_t)(us / 1000000);
	struct tm tm;
	size_t n;

	gmtime_r(&t, &tm);
	n = strftime(s.text, sizeof s.text, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(s.text + n, sizeof s.text - n, ".%03uZ", (unsigned)(us / 1000 % 1000));
	return s;
}

static double
seconds(const struct render *r, uint64_t samples)
{
	return (double)samples / r->pcm.stream.format.sample_rate;
}

static void
tell_layout(const struct render *r, struct adpcm_verdict v)
{
	char text[ADPCM_VERDICT_TEXT];

	if (r->pcm.stream.format.codec != WIRE_ADPCM)
		return;
	adpcm_verdict_text(&v, text);
	cli_note(v.unknown ? 0 : 1, "%s: stream %" PRIu32 ": ADPCM %s", r->label,
	    r->pcm.stream.format.stream_id, text);
}

/* Samples so far, in the range or not. */
static uint64_t
position(const struct render *r)
{
	return r->pcm.audio + r->pcm.silence;
}

struct render *
render_new(const struct outfile *out, const struct wire_handshake *h, struct range range,
    const struct plan *plan, const struct settings *set)
{
	struct render *r = calloc(1, sizeof *r);
	struct adpcm_verdict v = { set->layout, ADPCM_GIVEN, false };

	if (r == NULL)
		return NULL;
	r->label = out->label;
	r->range = range;
	r->sniffing = plan == NULL && !set->layout_given && h->codec == WIRE_ADPCM;
	if (plan != NULL)
		v = plan->verdict;
	if (r->sniffing) {
		adpcm_sniff_init(&r->sniff, h->channels, h->frame_samples);
		if ((r->held = calloc(HOLD_FRAMES, sizeof *r->held)) == NULL)
			goto fail;
	}
	pcm_init(&r->pcm, h, r->sniffing ? ADPCM_STATE : v.layout, set->fill);
	if ((r->out = malloc(sizeof *r->out * h->channels * h->frame_samples)) == NULL ||
	    (r->wav = wav_new(out->fd, h->sample_rate, h->channels,
		 plan != NULL ? plan->samples : WAV_UNKNOWN)) == NULL)
		goto fail;
	if (!r->sniffing)
		tell_layout(r, v);
	return r;
fail:
	free(r->held);
	free(r->out);
	free(r);
	return NULL;
}

static void
tell_step(const struct render *r, const struct wire_frame *f, struct pcm_step step,
    uint32_t expected, const struct place *at)
{
	/* Before this frame and its silence. */
	uint64_t start = position(r) - step.silence - step.samples;
	struct stamp time = stamp(at->time_us);

	switch (step.step.kind) {
	case STREAM_NEXT: break;
	case STREAM_GAP:
		if (step.silence > 0)
			cli_note(1,
			    "%s: offset %" PRIu64 ": seq %" PRIu32 ", %s: gap of %" PRIu32
			    ", %.3f s of silence at %.3f s",
			    at->label, at->offset, f->seq, time.text, step.step.gap,
			    seconds(r, step.silence), seconds(r, start));
		else
			cli_note(1,
			    "%s: offset %" PRIu64 ": seq %" PRIu32 ", %s: gap of %" PRIu32
			    ", %s, at %.3f s",
			    at->label, at->offset, f->seq, time.text, step.step.gap,
			    r->pcm.fill ? "too long to be filled" : "skipped", seconds(r, start));
		break;
	case STREAM_REPEAT:
		cli_note(1, "%s: offset %" PRIu64 ": seq %" PRIu32 ", %s: a repeat, left out",
		    at->label, at->offset, f->seq, time.text);
		break;
	case STREAM_RESTART:
		cli_note(1,
		    "%s: offset %" PRIu64 ": seq %" PRIu32
		    ", %s: restart, expected was seq %" PRIu32 ", at %.3f s",
		    at->label, at->offset, f->seq, time.text, expected, seconds(r, start));
		break;
	}
}

/* The first damaged block is told with its place, the others are counted. */
static void
tell_damage(struct render *r, const struct wire_frame *f, const struct place *at)
{
	uint32_t header = 4u * r->pcm.stream.format.channels;

	if (r->damaged++ > 0)
		return;
	if (r->pcm.layout != ADPCM_BARE && f->length < header)
		cli_warnx("%s: offset %" PRIu64 ": frame seq %" PRIu32 ": ADPCM block of %" PRIu32
			  " bytes, at least %" PRIu32,
		    at->label, at->offset, f->seq, f->length, header);
	else
		cli_warnx("%s: offset %" PRIu64 ": frame seq %" PRIu32
			  ": ADPCM step index, at most %d, decoded as that",
		    at->label, at->offset, f->seq, ADPCM_MAX_INDEX);
}

/* Write those of n samples (NULL: silence) at a position that are in the range. */
static int
put(struct render *r, uint64_t at, const int16_t *pcm, uint64_t n)
{
	struct range part = range_cut(r->range, at, n);

	if (part.from == part.to)
		return 0;
	if (pcm == NULL)
		return wav_silence(r->wav, part.to - part.from);
	return wav_write(r->wav, pcm + part.from * r->pcm.stream.format.channels,
	    part.to - part.from);
}

static int
decode(struct render *r, const struct wire_handshake *join, const struct wire_frame *f,
    const struct place *at)
{
	const struct wire_handshake *h = &r->pcm.stream.format;
	uint64_t start = position(r);
	struct pcm_step step;
	uint32_t expected;

	if (join != NULL)
		pcm_join(&r->pcm, join, f->seq);
	if (r->sniffing) /* silence that does not wait */
		r->pcm.layout = adpcm_block_likely(h->channels, h->frame_samples, f->length);
	expected = r->pcm.stream.expected;
	step = pcm_plan(&r->pcm, f);
	if (step.step.kind != STREAM_NEXT && cli_level > 0)
		tell_step(r, f, step, expected, at);
	pcm_decode(&r->pcm, f, step, r->out);
	if (r->pcm.damaged > r->damaged)
		tell_damage(r, f, at);
	if (put(r, start, NULL, step.silence) == -1)
		return -1;
	return put(r, start + step.silence, r->out, step.samples);
}

/* Decode all that waits but the last keep frames. */
static int
release(struct render *r, unsigned keep)
{
	unsigned n = r->n_held - keep;
	int status = 0;

	for (unsigned i = 0; i < n; i++) {
		struct held *h = &r->held[i];
		struct wire_frame f = { h->seq, h->length, h->payload };

		if (status == 0)
			status = decode(r, h->joins ? &h->handshake : NULL, &f, &h->at);
		r->blocks_held -= h->payload != NULL;
		r->bytes_held -= h->length;
		free(h->payload);
	}
	memmove(r->held, r->held + n, keep * sizeof *r->held);
	r->n_held = keep;
	return status;
}

static int
decide(struct render *r)
{
	struct adpcm_verdict v = adpcm_sniff_verdict(&r->sniff);

	r->sniffing = false;
	r->pcm.layout = v.layout;
	tell_layout(r, v);
	return release(r, 0);
}

static int
hold(struct render *r, const struct wire_handshake *join, const struct wire_frame *f,
    const struct place *at)
{
	struct held *h = &r->held[r->n_held];

	*h = (struct held){ .at = *at, .joins = join != NULL, .seq = f->seq, .length = f->length };
	if (join != NULL)
		h->handshake = *join;
	if (f->length > 0) {
		if ((h->payload = malloc(f->length)) == NULL)
			return -1;
		memcpy(h->payload, f->payload, f->length);
		r->blocks_held++;
		r->bytes_held += f->length;
	}
	r->n_held++;
	return 0;
}

/* Silence, whatever the layout. */
static bool
is_zero(const struct wire_frame *f)
{
	for (uint32_t i = 0; i < f->length; i++)
		if (f->payload[i] != 0)
			return false;
	return true;
}

int
render_frame(struct render *r, const struct wire_handshake *join, const struct wire_frame *f,
    const struct place *at)
{
	bool more;

	if (!r->sniffing)
		return decode(r, join, f, at);
	if (hold(r, join, f, at) == -1)
		return -1;
	more = adpcm_sniff_add(&r->sniff, f->seq, f->payload, f->length);
	/* What the pair's first block decodes to is settled; its second may be where sound begins. */
	if (more && adpcm_sniff_silent(&r->sniff))
		return release(r, is_zero(f) ? 0 : 1);
	if (!more || r->blocks_held == HOLD_BLOCKS || r->n_held == HOLD_FRAMES ||
	    r->bytes_held > HOLD_BYTES)
		return decide(r);
	return 0;
}

bool
render_is_complete(const struct render *r)
{
	return position(r) >= r->range.to;
}

int
render_flush(struct render *r)
{
	return wav_flush(r->wav);
}

/* What the listener will notice. */
static void
tell_total(const struct render *r)
{
	const struct pcm *p = &r->pcm;
	const struct stream *s = &p->stream;
	const struct wire_handshake *h = &s->format;
	struct range all = range_cut(r->range, 0, position(r));
	uint64_t gaps = p->gaps + s->gaps, repeats = p->repeats + s->repeats,
		 restarts = p->restarts + s->restarts;

	if (gaps + repeats + restarts > 0)
		cli_note(0,
		    "%s: gaps: %" PRIu64 " (frames missing: %" PRIu64 ", not filled: %" PRIu64
		    "), repeats: %" PRIu64 ", restarts: %" PRIu64,
		    r->label, gaps, p->gap_frames + s->gap_frames, p->unfilled, repeats, restarts);
	if (r->damaged > 1)
		cli_warnx("%s: damaged ADPCM blocks: %" PRIu64, r->label, r->damaged);
	if (all.from == all.to && (r->range.from > 0 || r->range.to < UINT64_MAX))
		cli_note(0, "%s: nothing lies between --from and --to", r->label);
	cli_note(1, "%s: stream %" PRIu32 ", %s, %" PRIu32 " Hz, channels %u, %.3f s", r->label,
	    h->stream_id, wire_codec_name(h->codec), h->sample_rate, (unsigned)h->channels,
	    seconds(r, all.to - all.from));
}

int
render_end(struct render *r, bool cut, bool *damagedo)
{
	int status = r->sniffing ? decide(r) : 0, e = errno;

	if ((cut ? wav_cut(r->wav) : wav_end(r->wav)) == -1 && status == 0) {
		e = errno;
		status = -1;
	}
	if (status == 0) {
		tell_total(r);
		*damagedo = r->damaged > 0;
	}
	free(r->held);
	free(r->out);
	free(r);
	errno = e;
	return status;
}
