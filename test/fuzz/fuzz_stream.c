/*
 * A byte of options (fill, layout), then frame logs one after the other, as something like
 * `eet-wav a.eet b.eet` reads them: the sequence numbers mean what a model without wrapping says,
 * silence keeps its bounds, and planning alone gives the steps that planning and decoding gives.
 */
#include "bytes.h"
#include "fuzz.h"
#include "pcm.h"

/* What the rules say, in signed numbers that do not wrap. */
static struct stream_step
model(const struct stream *s, uint32_t seq)
{
	struct stream_step step = { STREAM_NEXT, 0 };
	int64_t ahead = (int64_t)seq - s->expected;

	if (!s->started)
		return step;
	if (ahead < 0)
		ahead += INT64_C(1) << 32;
	if (ahead >= INT64_C(1) << 31)
		ahead -= INT64_C(1) << 32; /* behind */
	if (ahead > 0) {
		step.kind = STREAM_GAP;
		step.gap = (uint32_t)ahead;
	} else if (ahead < 0) {
		step.kind =
		    ahead >= -1024 && s->repeats_run < 1024 ? STREAM_REPEAT : STREAM_RESTART;
	}
	return step;
}

struct both {
	struct pcm p;
	struct pcm plan;
};

static void
take(struct both *b, const struct wire_frame *f)
{
	const struct wire_handshake *h = &b->p.stream.format;
	struct stream_step expected = model(&b->p.stream, f->seq);
	uint64_t audio = b->p.audio, silence = b->p.silence, position = b->p.stream.position;
	uint64_t minute = UINT64_C(60) * h->sample_rate;
	struct pcm_step s = pcm_plan(&b->p, f), other = pcm_plan(&b->plan, f);
	int16_t *out = malloc(sizeof *out * (s.samples * (size_t)h->channels + 1));

	require(out != NULL);
	require(s.step.kind == expected.kind && s.step.gap == expected.gap);
	require(other.step.kind == s.step.kind && other.step.gap == s.step.gap);
	require(other.silence == s.silence && other.samples == s.samples);
	require(s.samples <= h->frame_samples);
	require(s.step.kind != STREAM_REPEAT || s.samples == 0);
	require(s.silence == 0 || s.silence == (uint64_t)s.step.gap * h->frame_samples);
	require(s.silence <= minute && s.silence * 2 * h->channels <= 64 << 20);
	require(b->p.audio == audio + s.samples && b->p.silence == silence + s.silence);
	require(s.silence == 0 || b->p.silence <= audio + minute);
	require(b->p.stream.position >= position);
	pcm_decode(&b->p, f, s, out);
	free(out);
}

static void
check_totals(const struct both *b)
{
	const struct pcm *p = &b->p, *q = &b->plan;
	double dbfs = 1;

	require(p->audio == q->audio && p->silence == q->silence && p->unfilled == q->unfilled);
	require(p->frames == q->frames && p->gaps == q->gaps && p->repeats == q->repeats &&
	    p->restarts == q->restarts && p->gap_frames == q->gap_frames);
	require(p->unfilled <= p->gaps + p->stream.gaps);
	require(p->levels.peak <= 32768 && p->levels.clipped <= p->levels.values);
	require(p->levels.values == p->audio * p->stream.format.channels);
	require(!pcm_peak_dbfs(&p->levels, &dbfs) || dbfs <= 0);
	require(!pcm_rms_dbfs(&p->levels, &dbfs) || dbfs <= 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_handshake h, next;
	struct wire_fault fault;
	struct wire_frame f;
	struct both b;
	enum adpcm_layout layout;
	uint32_t unit, most;
	size_t at = 1 + WIRE_HANDSHAKE_SIZE;

	if (size < at || !wire_parse_handshake(data + 1, WIRE_HANDSHAKE_SIZE, &h, &fault))
		return 0;
	layout = (enum adpcm_layout)(data[0] & 3);
	if (!adpcm_layout_allowed(layout, h.channels))
		layout = ADPCM_STATE;
	pcm_init(&b.p, &h, layout, data[0] & 4);
	pcm_init(&b.plan, &h, layout, data[0] & 4);
	/* Not every byte has to be right here: a frame's magic is not looked at. */
	unit = h.codec == WIRE_PCM16 ? 2u * h.channels : h.channels > 1 ? 4u * h.channels : 1;
	most = wire_max_payload(&h);
	for (; size - at >= WIRE_FRAME_HEADER_SIZE; at += f.length) {
		if (size - at >= WIRE_HANDSHAKE_SIZE + WIRE_FRAME_HEADER_SIZE &&
		    wire_parse_handshake(data + at, WIRE_HANDSHAKE_SIZE, &next, &fault) &&
		    wire_same_format(&h, &next)) {
			at += WIRE_HANDSHAKE_SIZE;
			pcm_join(&b.p, &next, le32_load(data + at + 8));
			pcm_join(&b.plan, &next, le32_load(data + at + 8));
		}
		f.seq = le32_load(data + at + 8);
		f.length = le32_load(data + at + 4);
		at += WIRE_FRAME_HEADER_SIZE;
		f.payload = data + at;
		if (f.length > most)
			f.length = most;
		if (f.length > size - at)
			f.length = (uint32_t)(size - at);
		f.length -= f.length % unit;
		take(&b, &f);
	}
	check_totals(&b);
	return 0;
}
