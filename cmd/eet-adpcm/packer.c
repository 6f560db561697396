#include "packer.h"

#include "cli.h"

#include <inttypes.h>
#include <string.h>

void
packer_init(struct packer *p, struct encoder *e, enum adpcm_layout layout, unsigned ch, uint32_t n)
{
	memset(p, 0, sizeof *p);
	p->encoder = e;
	p->layout = layout;
	p->ch = ch;
	p->n = n;
	for (unsigned c = 0; c < ch; c++)
		p->state[c].index = ENCODE_ANY_INDEX;
	adpcm_sniff_init(&p->sniff, ch, n);
}

void
packer_fill(const struct packer *p, int16_t *pcm, uint32_t samples, uint32_t n)
{
	for (int16_t *end = pcm + (size_t)n * p->ch, *to = pcm + (size_t)samples * p->ch; to < end;
	     to++)
		*to = *(to - p->ch);
}

/* Layouts that blocks of ADPCM_WAV may be taken for. */
static const enum adpcm_layout others[] = { ADPCM_STATE, ADPCM_STATE_HIGH, ADPCM_DVI4 };
enum { OTHERS = sizeof others / sizeof others[0] };

/* Would a block that begins so seem to follow the last one, in one layout that it has not? */
static bool
misleads(const struct packer *p, int predictor)
{
	uint8_t header[4] = { (uint8_t)predictor, (uint8_t)((uint16_t)predictor >> 8),
		p->state[0].index };
	int holds = 0;

	for (int i = 0; i < OTHERS; i++)
		holds += adpcm_chain_holds(others[i], 1, p->n, &p->after[others[i]], p->last_length,
		    header, sizeof header);
	return holds != 0 && holds != OTHERS;
}

/*
 * In a WAV block the first sample is anything, and now and then, in quiet passages often, what
 * another layout's decoder would expect there; by which a reader would be misled.  One beside it is
 * as good.  (If it fits in all, as in silence, the reader draws no conclusion.)
 */
static int16_t
first_sample(const struct packer *p, int16_t wanted)
{
	for (int by = 0; by < 8; by++) {
		if (wanted + by <= INT16_MAX && !misleads(p, wanted + by))
			return (int16_t)(wanted + by);
		if (wanted - by >= INT16_MIN && !misleads(p, wanted - by))
			return (int16_t)(wanted - by);
	}
	return wanted;
}

uint32_t
packer_block(struct packer *p, int16_t *pcm, uint32_t samples, uint32_t seq, uint8_t *out)
{
	uint32_t length = 0, room;
	bool damaged = false;

	if (samples > 0) {
		room = adpcm_block_samples(p->layout, p->ch, p->n,
		    adpcm_block_length(p->layout, p->ch, samples));
		packer_fill(p, pcm, samples, room);
		p->filled += room - samples;
		if (p->layout == ADPCM_WAV && p->ch == 1)
			pcm[0] = first_sample(p, pcm[0]);
		length = encode_block(p->encoder, p->layout, p->ch, pcm, room, p->state, out);
	}
	if (p->layout == ADPCM_WAV && p->ch == 1) {
		for (int i = 0; i < OTHERS; i++)
			adpcm_decode(others[i], 1, p->n, out, length, &p->after[others[i]], pcm,
			    &damaged);
		p->last_length = length;
	}
	adpcm_sniff_add(&p->sniff, seq, out, length);
	return length;
}

void
packer_check(const struct packer *p, const char *name, uint32_t session)
{
	struct adpcm_verdict v = adpcm_sniff_verdict(&p->sniff);

	if (p->sniff.blocks > 0 && v.layout != p->layout)
		cli_note(0,
		    "%s: session %" PRIu32
		    ": its blocks will be taken for layout %s: readers need --layout %s",
		    name, session, adpcm_layout_name(v.layout), adpcm_layout_name(p->layout));
}
