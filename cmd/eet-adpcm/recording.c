#include "recording.h"

#include "cli.h"
#include "wav.h"

#include <inttypes.h>

void
recording_open(struct recording *r, uint32_t session, const struct wire_handshake *h)
{
	if (r->session > 0)
		return;
	r->format = *h;
	r->session = session;
}

static bool
begin(struct recording *r)
{
	r->samples =
	    samples_new(r->set, r->out, r->format.sample_rate, r->format.channels, WAV_UNKNOWN);
	return r->samples != NULL;
}

/* A session's first frame: does it go on with what there is?  An exit status. */
static int
join(struct recording *r, uint32_t session, const struct wire_handshake *h, uint64_t offset,
    uint32_t seq)
{
	const struct wire_handshake *before = &r->format;

	if (r->samples == NULL) {
		pcm_init(&r->rules, h, ADPCM_STATE, true);
	} else if (!r->open && h->stream_id == before->stream_id && wire_same_format(h, before)) {
		pcm_join(&r->rules, h, seq);
	} else {
		cli_warnx("%s: offset %" PRIu64 ": session %" PRIu32 " (stream %" PRIu32
			  ") %s %" PRIu32 " (stream %" PRIu32
			  "): choose one with eet-demux -S SESSION",
		    r->label, offset, session, h->stream_id,
		    r->open ? "begins during session" : "has another format or id than session",
		    r->session, before->stream_id);
		return CLI_EUSAGE;
	}
	r->format = *h;
	r->session = session;
	r->open = true;
	return r->samples != NULL || begin(r) ? CLI_OK : CLI_EFAIL;
}

int
recording_frame(struct recording *r, uint32_t session, const struct wire_handshake *h,
    enum adpcm_layout layout, const struct wire_frame *f, uint64_t offset, int16_t *pcm,
    bool *damagedo)
{
	uint64_t damaged;
	struct pcm_step step;
	int status;

	*damagedo = false;
	if ((!r->open || r->session != session) &&
	    (status = join(r, session, h, offset, f->seq)) != CLI_OK)
		return status;
	r->rules.layout = layout;
	damaged = r->rules.damaged;
	step = pcm_plan(&r->rules, f);
	pcm_decode(&r->rules, f, step, pcm);
	*damagedo = r->rules.damaged > damaged;
	return samples_silence(r->samples, step.silence) &&
		samples_put(r->samples, pcm, step.samples)
	    ? CLI_OK
	    : CLI_EFAIL;
}

void
recording_close(struct recording *r, uint32_t session)
{
	if (r->session == session)
		r->open = false;
}

int
recording_end(struct recording *r, int status)
{
	const struct stream *s = &r->rules.stream;
	uint64_t gaps = r->rules.gaps + s->gaps, repeats = r->rules.repeats + s->repeats;
	bool failed = status == CLI_EFAIL || status == CLI_EUSAGE;

	if (gaps + repeats > 0)
		cli_note(0,
		    "%s: gaps: %" PRIu64 " (frames missing: %" PRIu64 ", not filled: %" PRIu64
		    "), repeats: %" PRIu64,
		    r->label, gaps, r->rules.gap_frames + s->gap_frames, r->rules.unfilled,
		    repeats);
	if (r->samples == NULL && !failed) {
		if (r->session == 0) {
			cli_warnx("%s: no audio in it", r->label);
			return CLI_EDATA;
		}
		if (!begin(r))
			return CLI_EFAIL;
	}
	return samples_end(r->samples, status != CLI_EFAIL) ? status : CLI_EFAIL;
}
