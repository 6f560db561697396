#include "survey.h"

#include "stop.h"

#include <stdlib.h>

/* A session that is not decided yet. */
struct candidate {
	size_t number;
	struct adpcm_sniff sniff;
};

static bool
begin(struct survey *v, struct log_session *s)
{
	struct candidate *c;

	if (v->n == v->size) {
		size_t size = 2 * v->size + 16;
		struct adpcm_verdict *more = reallocarray(v->verdicts, size, sizeof *more);

		if (more == NULL)
			return false;
		v->verdicts = more;
		v->size = size;
	}
	v->verdicts[v->n] = (struct adpcm_verdict){ ADPCM_STATE, ADPCM_GIVEN, false };
	if (s->format.codec == WIRE_ADPCM && !v->joined) {
		if ((c = s->user = malloc(sizeof *c)) == NULL)
			return false;
		c->number = v->n;
		adpcm_sniff_init(&c->sniff, s->format.channels, s->format.frame_samples);
	}
	v->n++;
	return true;
}

static void
decide(struct survey *v, struct log_session *s)
{
	struct candidate *c = s->user;

	v->verdicts[c->number] = adpcm_sniff_verdict(&c->sniff);
	free(c);
	s->user = NULL;
}

/* A frame of a recording; with one of another stream it is over, as will be reported. */
static void
take_joined(struct survey *v, const struct wire_handshake *h, const struct wire_frame *f)
{
	if (!v->sniffing) {
		v->sniffing = true;
		v->format = *h;
		adpcm_sniff_init(&v->sniff, h->channels, h->frame_samples);
	}
	v->over =
	    v->over || h->stream_id != v->format.stream_id || !wire_same_format(h, &v->format);
	if (!v->over && h->codec == WIRE_ADPCM)
		adpcm_sniff_add(&v->sniff, f->seq, f->payload, f->length);
}

static bool
take(struct survey *v, const struct log_record *rec)
{
	struct candidate *c = rec->session != NULL ? rec->session->user : NULL;
	const struct wire_frame *f = &rec->frame;

	if (rec->event == LOG_OPEN)
		return begin(v, rec->session);
	if (v->joined && rec->event == LOG_FRAME)
		take_joined(v, &rec->session->format, f);
	if (c == NULL)
		return true;
	if (rec->event == LOG_CLOSE ||
	    (rec->event == LOG_FRAME && !adpcm_sniff_add(&c->sniff, f->seq, f->payload, f->length)))
		decide(v, rec->session);
	return true;
}

bool
survey_read(struct survey *v, int fd, const struct log_options *options, bool joined)
{
	struct log_reader *r = log_new(fd, options);
	struct log_record rec;
	enum log_event e;
	bool sound = r != NULL;

	*v = (struct survey){ .joined = joined };
	while (sound && (e = log_next(r, &rec)) != LOG_END) {
		if (e != LOG_MORE)
			sound = e != LOG_ERROR && take(v, &rec);
		else if (stop_now() || log_fill(r) == -1)
			log_eof(r); /* the second reading will say so */
	}
	if (sound)
		v->end = log_offset(r);
	for (size_t i = 0; v->sniffing && i < v->n; i++)
		v->verdicts[i] = adpcm_sniff_verdict(&v->sniff);
	log_free(r);
	return sound;
}

void
survey_free(struct survey *v)
{
	free(v->verdicts);
}
