#include "facts.h"

#include "bytes.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	DRIFT_SECONDS = 10, /* shorter streams say nothing about a clock */
	DRIFT_LIMIT = 10000 /* ppm; beyond that it is no clock's doing */
};

/* Decoded samples: one frame's; all sessions share the memory. */
static int16_t *samples;
static size_t capacity;

static bool
followed(const struct facts *f, enum adpcm_layout l)
{
	if (!f->sniffing)
		return l == f->verdict.layout;
	return adpcm_layout_allowed(l, f->sniff.ch);
}

struct facts *
facts_new(const struct log_session *s, const struct facts_options *o, bool arrivals)
{
	struct facts *f = calloc(1, sizeof *f);
	size_t need = (size_t)s->format.channels * s->format.frame_samples;

	if (f == NULL)
		return NULL;
	if (need > capacity) {
		int16_t *p = realloc(samples, need * sizeof *p);

		if (p == NULL)
			goto fail;
		samples = p;
		capacity = need;
	}
	f->arrivals = arrivals;
	f->verdict = (struct adpcm_verdict){ o->layout, ADPCM_GIVEN, false };
	f->sniffing = s->format.codec == WIRE_ADPCM && !o->layout_given;
	if (f->sniffing)
		adpcm_sniff_init(&f->sniff, s->format.channels, s->format.frame_samples);
	for (enum adpcm_layout l = 0; l < ADPCM_LAYOUTS; l++) {
		struct reading *r = &f->reading[l];

		if (!followed(f, l))
			continue;
		pcm_init(&r->pcm, &s->format, l, true);
		if (o->hash &&
		    ((r->hash = EVP_MD_CTX_new()) == NULL ||
			EVP_DigestInit_ex(r->hash, EVP_sha256(), NULL) != 1))
			goto fail;
	}
	return f;
fail:
	facts_free(f);
	errno = ENOMEM;
	return NULL;
}

void
facts_free(struct facts *f)
{
	if (f == NULL)
		return;
	for (enum adpcm_layout l = 0; l < ADPCM_LAYOUTS; l++)
		EVP_MD_CTX_free(f->reading[l].hash);
	free(f);
}

static void
hash(struct reading *r, struct pcm_step step, unsigned channels)
{
	static const uint8_t zeros[4096];
	uint64_t silence = step.silence * channels * 2;
	size_t n = (size_t)step.samples * channels;
	uint8_t *bytes = (uint8_t *)samples;

	for (uint64_t part; silence > 0; silence -= part) {
		part = silence < sizeof zeros ? silence : sizeof zeros;
		EVP_DigestUpdate(r->hash, zeros, (size_t)part);
	}
	/* In place: the samples are not needed as numbers any more. */
	for (size_t i = 0; i < n; i++)
		le16_store(bytes + 2 * i, (uint16_t)samples[i]);
	EVP_DigestUpdate(r->hash, bytes, 2 * n);
}

static bool
silent(size_t n)
{
	size_t i = 0;

	while (i < n && samples[i] == 0)
		i++;
	return i == n;
}

static struct pcm_step
read_frame(struct reading *r, const struct log_record *rec, bool pair, uint32_t previous)
{
	const struct wire_frame *frame = &rec->frame;
	const unsigned channels = r->pcm.stream.format.channels;
	uint64_t damaged = r->pcm.damaged;
	struct pcm_step step;

	if (pair &&
	    adpcm_chain_holds(r->pcm.layout, channels, r->pcm.stream.format.frame_samples,
		r->pcm.carry, previous, frame->payload, frame->length))
		r->chain_held++;
	step = pcm_plan(&r->pcm, frame);
	pcm_decode(&r->pcm, frame, step, samples);
	if (r->pcm.damaged > damaged && damaged == 0)
		r->damage_offset = rec->offset;
	if (step.samples > 0 && silent((size_t)step.samples * channels))
		r->silent_frames++;
	if (r->hash != NULL)
		hash(r, step, channels);
	return step;
}

/* How regularly it comes.  position: samples per channel before the frame, gaps counted. */
static void
take_arrival(struct facts *f, const struct log_record *rec, uint64_t position)
{
	double media = (double)position * 1e6 / rec->session->format.sample_rate;
	double arrival = (double)(int64_t)(rec->time_us - f->first_us); /* a clock may move back */
	double transit = arrival - media;
	struct regression *d = &f->drift;

	if (d->n > 0)
		f->jitter_us += (fabs(transit - f->transit_us) - f->jitter_us) / 16;
	else
		d->since_us = rec->time_us;
	f->transit_us = transit;
	d->n++;
	d->sx += media;
	d->sy += transit;
	d->sxx += media * media;
	d->sxy += media * transit;
}

struct pcm_step
facts_frame(struct facts *f, const struct log_record *rec)
{
	const struct wire_frame *frame = &rec->frame;
	const struct stream *st = &rec->session->stream;
	bool pair = f->previous_length > 0 && frame->length > 0 &&
	    frame->seq == f->previous_seq + 1 && st->format.codec == WIRE_ADPCM &&
	    rec->step.kind == STREAM_NEXT;
	struct pcm_step step[ADPCM_LAYOUTS] = { 0 };
	struct adpcm_verdict v;

	if (f->sniffing && !adpcm_sniff_add(&f->sniff, frame->seq, frame->payload, frame->length)) {
		f->verdict = adpcm_sniff_verdict(&f->sniff);
		f->sniffing = false;
	}
	f->pairs += pair;
	for (enum adpcm_layout l = 0; l < ADPCM_LAYOUTS; l++)
		if (followed(f, l))
			step[l] = read_frame(&f->reading[l], rec, pair, f->previous_length);
	if (st->frames == 1)
		f->first_us = rec->time_us;
	f->last_us = rec->time_us;
	f->bytes += frame->length;
	f->previous_length = frame->length;
	f->previous_seq = frame->seq;
	if (rec->step.kind == STREAM_RESTART)
		f->drift = (struct regression){ 0 }; /* how much is missing there, nobody knows */
	if (f->arrivals && rec->step.kind != STREAM_REPEAT)
		take_arrival(f, rec, st->position - stream_samples_any(&st->format, frame->length));
	facts_reading(f, &v);
	return step[v.layout];
}

const struct reading *
facts_reading(const struct facts *f, struct adpcm_verdict *vo)
{
	*vo = f->sniffing ? adpcm_sniff_verdict(&f->sniff) : f->verdict;
	return &f->reading[vo->layout];
}

void
facts_hash(const struct facts *f, char out[65])
{
	struct adpcm_verdict v;
	const struct reading *r = facts_reading(f, &v);
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	out[0] = '\0';
	if (r->hash == NULL || EVP_DigestFinal_ex(r->hash, md, &n) != 1)
		return;
	for (unsigned i = 0; i < n && i < 32; i++)
		snprintf(out + 2 * i, 3, "%02x", md[i]);
}

bool
facts_drift_ppm(const struct facts *f, double *o)
{
	const struct regression *d = &f->drift;
	double n = (double)d->n, spread = n * d->sxx - d->sx * d->sx, slope;

	if (d->n < 2 || spread <= 0 ||
	    (int64_t)(f->last_us - d->since_us) < DRIFT_SECONDS * INT64_C(1000000))
		return false;
	/* Frames that take longer to come than to play are those of a clock that runs slow. */
	slope = -(n * d->sxy - d->sx * d->sy) / spread * 1e6;
	if (fabs(slope) > DRIFT_LIMIT)
		return false;
	*o = slope;
	return true;
}
