/* See stream.h. */
#include "stream.h"

#include <string.h>

void
stream_init(struct stream *s, const struct wire_handshake *format)
{
	memset(s, 0, sizeof *s);
	s->format = *format;
}

struct stream_step
stream_look(const struct stream *s, uint32_t seq)
{
	struct stream_step step = { STREAM_NEXT, 0 };
	uint32_t ahead = seq - s->expected, behind = s->expected - seq;

	if (!s->started || ahead == 0)
		return step;
	if (ahead < UINT32_C(1) << 31) {
		step.kind = STREAM_GAP;
		step.gap = ahead;
	} else if (behind <= STREAM_MAX_BEHIND && s->repeats_run < STREAM_MAX_REPEATS) {
		step.kind = STREAM_REPEAT;
	} else {
		step.kind = STREAM_RESTART;
	}
	return step;
}

/* position is a sum of what a sender claims: it stops at the end instead of starting again. */
static uint64_t
add(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

void
stream_take(struct stream *s, uint32_t seq, struct stream_step step, uint32_t samples)
{
	if (!s->started)
		s->first_seq = seq;
	s->started = true;
	s->last_seq = seq;
	s->frames++;
	if (step.kind == STREAM_REPEAT) {
		s->repeats++;
		s->repeats_run++;
		return;
	}
	s->repeats_run = 0;
	s->expected = seq + 1;
	if (step.kind == STREAM_GAP) {
		s->gaps++;
		s->gap_frames += step.gap;
		s->position = add(s->position, (uint64_t)step.gap * s->format.frame_samples);
	} else if (step.kind == STREAM_RESTART) {
		s->restarts++;
	}
	s->samples += samples;
	s->position = add(s->position, samples);
}

uint32_t
stream_samples(const struct wire_handshake *h, enum adpcm_layout layout, size_t length)
{
	if (h->codec == WIRE_PCM16)
		return (uint32_t)(length / (2u * h->channels));
	return adpcm_block_samples(layout, h->channels, h->frame_samples, length);
}

uint32_t
stream_samples_any(const struct wire_handshake *h, size_t length)
{
	int layout;

	if (h->codec == WIRE_ADPCM)
		for (layout = 0; layout < ADPCM_LAYOUTS; layout++)
			if (adpcm_block_full((enum adpcm_layout)layout, h->channels,
				h->frame_samples, length))
				return h->frame_samples;
	return stream_samples(h, ADPCM_STATE, length);
}
