/* Three passes over the file, because a WAV's header comes first. */
#include "render.h"

#include "log.h"
#include "wav.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct pass {
	struct pcm pcm;
	bool begun;   /* a handshake was met, pcm is in use */
	bool joining; /* another handshake was met: the next frame begins a take or carries on */
	bool foreign; /* … and it is of another format, which one WAV cannot hold */
	struct wire_handshake format;
	struct adpcm_sniff *sniff; /* pass 1: which layout; NULL later */
	const struct adpcm_verdict *verdict;
	bool decode; /* pass 3; pass 2 only counts */
	struct wav_writer *wav;
	int16_t *out;
	uint64_t places; /* damaged by the log's rules, not the codec's */
	bool has_frames;
	uint32_t first_seq, last_seq;
};

static void
pass_open(struct pass *p, const struct wire_handshake *h)
{
	if (!p->begun) {
		p->format = *h;
		if (p->sniff != NULL)
			adpcm_sniff_init(p->sniff, h->channels, h->frame_samples);
		else
			pcm_init(&p->pcm, h, p->verdict->layout, true);
		p->begun = true;
	} else if (wire_same_format(&p->format, h)) {
		p->format = *h;
		p->joining = true;
	} else {
		p->foreign = true;
		p->places++;
	}
}

/* 0 to go on, 1 to stop, -1 with errno. */
static int
pass_frame(struct pass *p, const struct wire_frame *f)
{
	struct pcm_step step;

	if (p->sniff != NULL)
		return p->format.codec == WIRE_ADPCM &&
			adpcm_sniff_add(p->sniff, f->seq, f->payload, f->length)
		    ? 0
		    : 1;
	if (p->joining)
		pcm_join(&p->pcm, &p->format, f->seq);
	p->joining = false;
	if (!p->has_frames)
		p->first_seq = f->seq;
	p->has_frames = true;
	p->last_seq = f->seq;
	step = pcm_plan(&p->pcm, f);
	if (!p->decode)
		return 0;
	pcm_decode(&p->pcm, f, step, p->out);
	if (p->wav == NULL)
		return 0;
	if (step.silence > 0 && wav_silence(p->wav, step.silence) == -1)
		return -1;
	return step.samples > 0 ? wav_write(p->wav, p->out, step.samples) : 0;
}

static int
pass_run(struct pass *p, int fd)
{
	struct log_reader *r;
	struct log_record rec;
	int status = 0;

	if (lseek(fd, 0, SEEK_SET) == -1 || (r = log_new(fd, NULL)) == NULL)
		return -1;
	while (status == 0 && !p->foreign)
		switch (log_get(r, &rec)) {
		case LOG_OPEN: pass_open(p, &rec.session->format); break;
		case LOG_FRAME: status = pass_frame(p, &rec.frame); break;
		case LOG_DAMAGE: p->places++; break;
		case LOG_ERROR: status = -1; break;
		case LOG_END: status = 1; break;
		default: break;
		}
	log_free(r);
	return status < 0 ? -1 : 0;
}

static void
facts_of(const struct pass *p, const struct adpcm_verdict *v, struct render_facts *fo)
{
	const struct pcm *pcm = &p->pcm;

	*fo = (struct render_facts){
		.format = pcm->stream.format,
		.verdict = *v,
		.has_frames = p->has_frames,
		.first_seq = p->first_seq,
		.last_seq = p->last_seq,
		.expected = pcm->stream.expected,
		.frames = pcm->frames + pcm->stream.frames,
		.gaps = pcm->gaps + pcm->stream.gaps,
		.gap_frames = pcm->gap_frames + pcm->stream.gap_frames,
		.repeats = pcm->repeats + pcm->stream.repeats,
		.restarts = pcm->restarts + pcm->stream.restarts,
		.samples = pcm->audio + pcm->silence,
		.unfilled = pcm->unfilled,
		.damaged = pcm->damaged + p->places,
		.places = p->places,
		.levels = pcm->levels,
	};
}

int
render_log(int fd, int wav, const enum adpcm_layout *layout, struct render_facts *fo)
{
	struct adpcm_verdict v = { layout != NULL ? *layout : ADPCM_STATE, ADPCM_GIVEN, false };
	struct adpcm_sniff sniff;
	struct pass sniffing = { .sniff = &sniff }, counting = { .verdict = &v },
		    writing = { .verdict = &v, .decode = true };
	const struct wire_handshake *h = &counting.pcm.stream.format;
	int status = -1;

	if (layout == NULL) {
		if (pass_run(&sniffing, fd) == -1)
			return -1;
		if (sniffing.begun)
			v = adpcm_sniff_verdict(&sniff);
	}
	if (pass_run(&counting, fd) == -1)
		return -1;
	if (!counting.begun) {
		errno = EINVAL;
		return -1;
	}
	writing.out = malloc(sizeof *writing.out * h->channels * h->frame_samples);
	if (writing.out == NULL)
		return -1;
	if (wav != -1 &&
	    (writing.wav = wav_new(wav, h->sample_rate, h->channels,
		 counting.pcm.audio + counting.pcm.silence)) == NULL)
		goto out;
	status = pass_run(&writing, fd);
	if (writing.wav != NULL) {
		int e = errno, end = wav_end(writing.wav);

		if (status == -1)
			errno = e;
		else
			status = end;
	}
out:
	free(writing.out);
	if (status == 0)
		facts_of(&writing, &v, fo);
	return status;
}
