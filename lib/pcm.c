/* See pcm.h. */
#include "pcm.h"

#include "bytes.h"

#include <math.h>
#include <string.h>

void
pcm_init(struct pcm *p, const struct wire_handshake *h, enum adpcm_layout layout, bool fill)
{
	memset(p, 0, sizeof *p);
	stream_init(&p->stream, h);
	p->layout = layout;
	p->fill = fill;
}

static bool
same_handshake(const struct wire_handshake *a, const struct wire_handshake *b)
{
	return wire_same_format(a, b) && a->stream_id == b->stream_id &&
	    a->reserved == b->reserved && a->timestamp_ms == b->timestamp_ms;
}

/* An equal handshake with that first seq: the same take? */
static bool
carries_on(struct pcm *p, const struct wire_handshake *h, uint32_t first_seq)
{
	uint32_t behind = p->stream.expected - first_seq;

	if (!p->stream.started || behind == 0 || behind > UINT32_C(1) << 31)
		return true;
	if (h->timestamp_ms < WIRE_CLOCK_SET_S * 1000)
		return behind <= STREAM_MAX_BEHIND;
	p->resent = true;
	return true;
}

void
pcm_join(struct pcm *p, const struct wire_handshake *h, uint32_t first_seq)
{
	const struct stream *s = &p->stream;

	if (same_handshake(&s->format, h) && carries_on(p, h, first_seq))
		return;
	p->frames += s->frames;
	p->gaps += s->gaps;
	p->gap_frames += s->gap_frames;
	p->repeats += s->repeats;
	p->restarts += s->restarts;
	stream_init(&p->stream, h);
	p->resent = false;
	memset(p->carry, 0, sizeof p->carry);
}

/* Samples per channel of silence for a gap of that many frames. */
static uint64_t
silence_for(const struct pcm *p, uint32_t gap)
{
	const struct wire_handshake *h = &p->stream.format;
	uint64_t samples = (uint64_t)gap * h->frame_samples;
	uint64_t limit = (uint64_t)h->sample_rate * PCM_MAX_SILENCE_SECONDS;

	/* Frames cost a sender nothing but 12 bytes: what they claim to have lost is bounded. */
	if (!p->fill || samples > limit || samples * 2 * h->channels > PCM_MAX_SILENCE_BYTES ||
	    p->silence + samples > p->audio + limit)
		return 0;
	return samples;
}

/* What a frame means; where it is known that frames are sent again, however many they are. */
static struct stream_step
judge(struct pcm *p, uint32_t seq)
{
	struct stream_step step = stream_look(&p->stream, seq);

	if (p->resent && step.kind == STREAM_RESTART)
		step.kind = STREAM_REPEAT;
	p->resent = p->resent && step.kind == STREAM_REPEAT;
	return step;
}

struct pcm_step
pcm_plan(struct pcm *p, const struct wire_frame *f)
{
	struct pcm_step s = { judge(p, f->seq), 0, 0 };

	if (s.step.kind == STREAM_GAP) {
		s.silence = silence_for(p, s.step.gap);
		if (s.silence == 0)
			p->unfilled++;
	} else if (s.step.kind == STREAM_RESTART) {
		memset(p->carry, 0, sizeof p->carry);
	}
	if (s.step.kind != STREAM_REPEAT)
		s.samples = stream_samples(&p->stream.format, p->layout, f->length);
	stream_take(&p->stream, f->seq, s.step, s.samples);
	p->silence += s.silence;
	p->audio += s.samples;
	return s;
}

/*
 * For a constant n, compilers make vector code of this.  Squares are summed in two halves, so that
 * 32 bits are enough for 65536 of them.
 */
static inline void
measure_some(struct pcm_levels *l, uint64_t *squares, const int16_t *v, size_t n)
{
	uint32_t low = 0, high = 0, clipped = 0, square;
	int16_t lowest = 0, highest = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		lowest = v[i] < lowest ? v[i] : lowest;
		highest = v[i] > highest ? v[i] : highest;
		clipped += (v[i] == INT16_MIN) | (v[i] == INT16_MAX);
		square = (uint32_t)(v[i] * v[i]);
		low += square & 0xffff;
		high += square >> 16;
	}
	*squares += ((uint64_t)high << 16) + low;
	l->clipped += clipped;
	l->peak = (uint32_t)(-lowest) > l->peak ? (uint32_t)(-lowest) : l->peak;
	l->peak = (uint32_t)highest > l->peak ? (uint32_t)highest : l->peak;
}

static void
measure(struct pcm_levels *l, const int16_t *v, size_t n)
{
	enum { SOME = 64 };
	uint64_t squares = 0;

	l->values += n;
	for (; n >= SOME; n -= SOME, v += SOME)
		measure_some(l, &squares, v, SOME);
	measure_some(l, &squares, v, n);
	l->squares += (double)squares;
}

void
pcm_decode(struct pcm *p, const struct wire_frame *f, struct pcm_step s, int16_t *out)
{
	const struct wire_handshake *h = &p->stream.format;
	size_t n = (size_t)s.samples * h->channels, i;
	bool damaged = false;

	if (s.step.kind == STREAM_REPEAT)
		return;
	if (h->codec == WIRE_PCM16)
		for (i = 0; i < n; i++)
			out[i] = (int16_t)le16_load(f->payload + 2 * i);
	else
		adpcm_decode(p->layout, h->channels, h->frame_samples, f->payload, f->length,
		    p->carry, out, &damaged);
	p->damaged += damaged;
	measure(&p->levels, out, n);
}

bool
pcm_peak_dbfs(const struct pcm_levels *l, double *o)
{
	if (l->peak == 0)
		return false;
	*o = 20 * log10(l->peak / 32768.0);
	return true;
}

bool
pcm_rms_dbfs(const struct pcm_levels *l, double *o)
{
	if (l->peak == 0)
		return false;
	*o = 10 * log10(l->squares / (double)l->values / (32768.0 * 32768.0));
	return true;
}
