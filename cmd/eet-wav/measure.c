#include "measure.h"

/* Is the layout in the running: the one that is decided, or any that the channels allow? */
static bool
counts(const struct measure *m, enum adpcm_layout layout)
{
	if (!m->sniffing)
		return layout == m->verdict.layout;
	return adpcm_layout_allowed(layout, m->sniff.ch);
}

void
measure_begin(struct measure *m, const struct wire_handshake *h, struct range range,
    const struct settings *set)
{
	m->range = range;
	m->verdict = (struct adpcm_verdict){ set->layout, ADPCM_GIVEN, false };
	m->sniffing = h->codec == WIRE_ADPCM && !set->layout_given;
	if (m->sniffing)
		adpcm_sniff_init(&m->sniff, h->channels, h->frame_samples);
	for (enum adpcm_layout l = 0; l < ADPCM_LAYOUTS; l++)
		if (counts(m, l))
			pcm_init(&m->pcm[l], h, l, set->fill);
}

void
measure_join(struct measure *m, const struct wire_handshake *h, uint32_t first_seq)
{
	for (enum adpcm_layout l = 0; l < ADPCM_LAYOUTS; l++)
		if (counts(m, l))
			pcm_join(&m->pcm[l], h, first_seq);
}

void
measure_frame(struct measure *m, const struct wire_frame *f)
{
	if (m->sniffing && !adpcm_sniff_add(&m->sniff, f->seq, f->payload, f->length)) {
		m->verdict = adpcm_sniff_verdict(&m->sniff);
		m->sniffing = false;
	}
	for (enum adpcm_layout l = 0; l < ADPCM_LAYOUTS; l++)
		if (counts(m, l))
			pcm_plan(&m->pcm[l], f);
}

static uint64_t
position(const struct pcm *p)
{
	return p->audio + p->silence;
}

bool
measure_is_complete(const struct measure *m)
{
	return !m->sniffing && position(&m->pcm[m->verdict.layout]) >= m->range.to;
}

struct plan
measure_end(const struct measure *m)
{
	struct plan plan = {
		.verdict = m->sniffing ? adpcm_sniff_verdict(&m->sniff) : m->verdict,
	};
	struct range all = range_cut(m->range, 0, position(&m->pcm[plan.verdict.layout]));

	plan.samples = all.to - all.from;
	return plan;
}
