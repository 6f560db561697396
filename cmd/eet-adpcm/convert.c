/*
 * Records come in, and go out in the same order and with the same times.  Where a stream is to be
 * decoded, its blocks decide how they are laid out: a file is read beforehand for that; from a pipe
 * the stream's first frames wait, and with them everything behind them.
 */
#include "convert.h"

#include "bytes.h"
#include "cli.h"
#include "input.h"
#include "packer.h"
#include "recording.h"
#include "stop.h"
#include "survey.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	/* The rules want 64 blocks that follow each other; where some are missing, others may do. */
	HOLD_BLOCKS = 128,
	HOLD_FRAMES = 1024, /* empty ones included */
	HOLD_BYTES = 64 << 20,
	/* In a mux log: nobody else's frames wait longer for a stream that hardly sends. */
	HOLD_US = 5000000,
};

struct session {
	struct session *next, **link;
	uint32_t number;
	struct wire_handshake format;
	bool recode;               /* else it passes as it is */
	struct packer *packer;     /* for encoding */
	struct adpcm_sniff *sniff; /* until the layout is decided */
	struct adpcm_verdict verdict;
	struct adpcm_state carry[ADPCM_MAX_CHANNELS];
	uint64_t frames;  /* so far */
	uint64_t settled; /* of them: can be decoded, whatever the layout is */
	unsigned frames_held, blocks_held;
	uint64_t damaged;
};

/* A record, or what is to become of it. */
struct event {
	enum log_event kind;
	struct session *session; /* of OPEN, FRAME, CLOSE */
	uint64_t offset, time_us;
	uint64_t place; /* FRAME: among its session's */
	uint32_t seq;
	enum stream_kind step;
	uint32_t payload; /* FRAME: so many bytes at the end are that */
	uint32_t length;  /* of the record's bytes; 0: there was none */
	const uint8_t *bytes;
};

struct held {
	struct held *next;
	struct event event;
	uint8_t bytes[];
};

struct convert {
	const struct settings *set;
	const struct source *src;
	struct out *out;
	struct log_reader *log;
	struct survey survey;
	size_t opened; /* sessions so far */
	struct session *sessions;
	struct held *first, **last; /* records that wait */
	size_t bytes_held;
	int status;
	bool over; /* nothing more is to be read */

	struct encoder *encoder;
	/* Room for a frame: its samples, and its payload in the other codec. */
	int16_t *pcm;
	uint8_t *payload;
	size_t pcm_size, payload_size; /* in bytes */

	bool want_samples;
	struct recording recording;
};

/* A failure of the system hides what the input is like. */
static void
set_status(struct convert *c, int status)
{
	if (c->status != CLI_EFAIL)
		c->status = status;
}

static void
fail(struct convert *c, int status)
{
	set_status(c, status);
	c->over = true;
}

static bool
system_failed(struct convert *c)
{
	cli_warn("%s: offset %" PRIu64, c->src->label, log_offset(c->log));
	fail(c, CLI_EFAIL);
	return false;
}

static bool
decodes(const struct settings *set)
{
	return !set->encode || set->wav != NULL;
}

/*
 * ---- What becomes of a record ----
 */

/* The first damaged block is told with its place, the others are counted. */
static void
damaged_block(struct convert *c, const struct event *ev)
{
	struct session *s = ev->session;

	if (s->damaged++ == 0)
		cli_warnx("%s: offset %" PRIu64 ": session %" PRIu32 ", frame seq %" PRIu32
			  ": ADPCM block is too short for its header, or its step index not "
			  "0 to %d",
		    c->src->label, ev->offset, s->number, ev->seq, ADPCM_MAX_INDEX);
	set_status(c, CLI_EDATA);
}

/* The layout of a stream's blocks; of silence that does not wait for it, what the block's length says. */
static enum adpcm_layout
layout_of(const struct event *ev)
{
	const struct session *s = ev->session;

	if (s->sniff == NULL)
		return s->verdict.layout;
	return adpcm_block_likely(s->format.channels, s->format.frame_samples, ev->payload);
}

/* A frame's samples, into c->pcm.  Returns how many per channel. */
static uint32_t
to_samples(struct convert *c, const struct event *ev)
{
	struct session *s = ev->session;
	const struct wire_handshake *h = &s->format;
	const uint8_t *payload = ev->bytes + (ev->length - ev->payload);
	struct adpcm_state aside[ADPCM_MAX_CHANNELS];
	bool damaged = false;
	uint32_t n;

	if (h->codec == WIRE_PCM16) {
		for (size_t i = 0; i < ev->payload / 2; i++)
			c->pcm[i] = (int16_t)le16_load(payload + 2 * i);
		return ev->payload / 2 / h->channels;
	}
	/* The state that goes from block to block goes past a repeat, and not past a restart. */
	if (ev->step == STREAM_RESTART)
		memset(s->carry, 0, sizeof s->carry);
	memcpy(aside, s->carry, sizeof aside);
	n = adpcm_decode(layout_of(ev), h->channels, h->frame_samples, payload, ev->payload,
	    ev->step == STREAM_REPEAT ? aside : s->carry, c->pcm, &damaged);
	if (damaged)
		damaged_block(c, ev);
	return n;
}

/* A frame of a recording, whose rules say what is heard of it. */
static bool
record_frame(struct convert *c, const struct event *ev)
{
	struct session *s = ev->session;
	const struct wire_frame f = { ev->seq, ev->payload,
		ev->bytes + (ev->length - ev->payload) };
	bool damaged;
	int status = recording_frame(&c->recording, s->number, &s->format, layout_of(ev), &f,
	    ev->offset, c->pcm, &damaged);

	if (damaged)
		damaged_block(c, ev);
	if (status != CLI_OK)
		fail(c, status);
	return status == CLI_OK;
}

/* A frame of a stream that changes. */
static bool
put_frame(struct convert *c, const struct event *ev)
{
	struct session *s = ev->session;
	uint8_t header[LOG_HEADER_SIZE + WIRE_FRAME_HEADER_SIZE];
	uint32_t n, length;
	uint16_t codec = c->set->encode ? WIRE_ADPCM : WIRE_PCM16;
	size_t skip = log_is_mux(c->log) ? 0 : LOG_HEADER_SIZE;

	if (c->want_samples)
		return record_frame(c, ev);
	n = to_samples(c, ev);
	length = 2 * s->format.channels * n;
	if (codec == WIRE_ADPCM)
		length = packer_block(s->packer, c->pcm, n, ev->seq, c->payload);
	else
		for (size_t i = 0; i < length / 2; i++)
			le16_store(c->payload + 2 * i, (uint16_t)c->pcm[i]);
	log_pack_header(header, s->number, LOG_KIND_FRAME, ev->time_us,
	    WIRE_FRAME_HEADER_SIZE + length);
	wire_pack_frame(header + LOG_HEADER_SIZE, codec, length, ev->seq);
	return out_add(c->out, header + skip, sizeof header - skip) &&
	    out_add(c->out, c->payload, length);
}

static void
session_free(struct session *s)
{
	*s->link = s->next;
	if (s->next != NULL)
		s->next->link = s->link;
	free(s->packer);
	free(s->sniff);
	free(s);
}

static void
session_end(struct convert *c, struct session *s)
{
	if (s->packer != NULL) {
		if (s->packer->filled > 0)
			cli_note(1,
			    "%s: session %" PRIu32 ": short blocks were filled up, by %" PRIu64
			    " samples",
			    c->src->label, s->number, s->packer->filled);
		packer_check(s->packer, c->src->label, s->number);
	}
	if (s->damaged > 1)
		cli_warnx("%s: session %" PRIu32 ": damaged ADPCM blocks: %" PRIu64, c->src->label,
		    s->number, s->damaged);
	session_free(s);
}

/* Its time has come. */
static void
deliver(struct convert *c, const struct event *ev)
{
	bool sound = true;

	if (c->over)
		return;
	if (ev->kind == LOG_FRAME && ev->session->recode)
		sound = put_frame(c, ev);
	else if (!c->want_samples)
		sound = out_add(c->out, ev->bytes, ev->length);
	else if (ev->kind == LOG_CLOSE)
		recording_close(&c->recording, ev->session->number);
	if (ev->kind == LOG_CLOSE)
		session_end(c, ev->session);
	if (!sound && !c->over)
		fail(c, CLI_EFAIL);
}

/*
 * ---- Waiting ----
 */

static bool
waits(const struct event *ev)
{
	return ev->kind == LOG_FRAME && ev->session->sniff != NULL &&
	    ev->place >= ev->session->settled;
}

static void
drain(struct convert *c)
{
	struct held *h;

	while ((h = c->first) != NULL && (c->over || !waits(&h->event))) {
		deliver(c, &h->event);
		c->first = h->next;
		if (c->first == NULL)
			c->last = &c->first;
		c->bytes_held -= sizeof *h + h->event.length;
		free(h);
	}
}

static void
tell_layout(const struct convert *c, const struct session *s)
{
	char text[ADPCM_VERDICT_TEXT];

	adpcm_verdict_text(&s->verdict, text);
	cli_note(s->verdict.unknown ? 0 : 1,
	    "%s: session %" PRIu32 " (stream %" PRIu32 "): ADPCM %s", c->src->label, s->number,
	    s->format.stream_id, text);
}

static void
decide(struct convert *c, struct session *s)
{
	s->verdict = adpcm_sniff_verdict(s->sniff);
	free(s->sniff);
	s->sniff = NULL;
	tell_layout(c, s);
}

/* Deliver the record behind those that wait, now or later. */
static bool
submit(struct convert *c, const struct event *ev)
{
	struct held *h;

	if (c->first == NULL && !waits(ev)) {
		deliver(c, ev);
		return true;
	}
	if ((h = malloc(sizeof *h + ev->length)) == NULL)
		return system_failed(c);
	h->next = NULL;
	h->event = *ev;
	h->event.bytes = h->bytes;
	if (ev->length > 0)
		memcpy(h->bytes, ev->bytes, ev->length);
	*c->last = h;
	c->last = &h->next;
	c->bytes_held += sizeof *h + ev->length;
	drain(c);
	while (c->first != NULL &&
	    (c->bytes_held > HOLD_BYTES ||
		(log_is_mux(c->log) && ev->time_us - c->first->event.time_us > HOLD_US))) {
		decide(c, c->first->event.session);
		drain(c);
	}
	return true;
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

/* Let a frame speak for its stream's layout. */
static void
sniff(struct convert *c, struct session *s, const struct wire_frame *f)
{
	bool more = adpcm_sniff_add(s->sniff, f->seq, f->payload, f->length);

	s->frames_held++;
	s->blocks_held += f->length > 0;
	/* What the pair's first block decodes to is settled; its second may be where sound begins. */
	if (more && adpcm_sniff_silent(s->sniff)) {
		s->frames_held = is_zero(f) ? 0 : 1;
		s->blocks_held = s->frames_held;
		s->settled = s->frames - s->frames_held;
	}
	if (!more || s->blocks_held == HOLD_BLOCKS || s->frames_held == HOLD_FRAMES)
		decide(c, s);
}

/*
 * ---- Records ----
 */

/* p, if it has room for size bytes, else memory that has (what p held is lost), or NULL. */
static void *
reserve(void *p, size_t *have, size_t size)
{
	if (size <= *have)
		return p;
	free(p);
	p = malloc(size);
	*have = p != NULL ? size : 0;
	return p;
}

/* Make room for that stream's frames.  Of two streams, one may have more samples, one more bytes. */
static bool
make_room(struct convert *c, const struct wire_handshake *h)
{
	size_t samples = sizeof *c->pcm * h->channels * h->frame_samples;
	struct wire_handshake coded = *h;
	size_t block;

	coded.codec = WIRE_ADPCM;
	block = wire_max_payload(&coded);
	c->pcm = reserve(c->pcm, &c->pcm_size, samples);
	c->payload = reserve(c->payload, &c->payload_size, block > samples ? block : samples);
	return c->pcm != NULL && c->payload != NULL;
}

/* Make ready for a session's frames.  False: it can't be, which was said. */
static bool
session_begin(struct convert *c, const struct log_record *rec)
{
	const struct settings *set = c->set;
	const struct wire_handshake *h = &rec->session->format;
	struct session *s = calloc(1, sizeof *s);
	size_t place = c->opened++;

	if (s == NULL)
		return system_failed(c);
	rec->session->user = s;
	s->next = c->sessions;
	s->link = &c->sessions;
	if (s->next != NULL)
		s->next->link = &s->next;
	c->sessions = s;
	s->number = rec->session->number;
	s->format = *h;
	s->recode = c->want_samples || (h->codec == WIRE_PCM16) == set->encode;
	if (c->want_samples)
		recording_open(&c->recording, s->number, h);
	if (s->recode && !make_room(c, h))
		return system_failed(c);
	if (s->recode && h->codec == WIRE_ADPCM) {
		if (set->layout_given && !set->encode) {
			s->verdict = (struct adpcm_verdict){ set->layout, ADPCM_GIVEN, false };
			tell_layout(c, s);
			if (adpcm_layout_allowed(set->layout, h->channels))
				return true;
			cli_warnx("%s: offset %" PRIu64 ": session %" PRIu32 " (stream %" PRIu32
				  ") has %u channels, --layout %s is for 1",
			    c->src->label, rec->offset, s->number, h->stream_id,
			    (unsigned)h->channels, adpcm_layout_name(set->layout));
			fail(c, CLI_EUSAGE);
			return false;
		}
		if (place < c->survey.n) {
			s->verdict = c->survey.verdicts[place];
			tell_layout(c, s);
			return true;
		}
		if ((s->sniff = malloc(sizeof *s->sniff)) == NULL)
			return system_failed(c);
		adpcm_sniff_init(s->sniff, h->channels, h->frame_samples);
	} else if (s->recode && !c->want_samples) {
		if ((s->packer = malloc(sizeof *s->packer)) == NULL)
			return system_failed(c);
		packer_init(s->packer, c->encoder, set->layout, h->channels, h->frame_samples);
	}
	return true;
}

/* The OPEN's bytes as they go out: with the other codec.  They are in buf. */
static void
open_record(const struct convert *c, const struct log_record *rec, struct event *ev,
    uint8_t buf[LOG_MAX_OPEN])
{
	/* A frame log may have begun without. */
	const uint8_t *from = rec->record != NULL ? rec->record : rec->data;

	ev->length = rec->record != NULL ? rec->record_length : rec->length;
	ev->bytes = buf;
	memcpy(buf, from, ev->length);
	if (ev->session->recode)
		le16_store(buf + (log_is_mux(c->log) ? LOG_HEADER_SIZE : 0) + 18,
		    c->set->encode ? WIRE_ADPCM : WIRE_PCM16);
}

static bool
take(struct convert *c, const struct log_record *rec)
{
	struct session *s = rec->session != NULL ? rec->session->user : NULL;
	struct event ev = {
		.kind = rec->event,
		.session = s,
		.offset = rec->offset,
		.time_us = rec->time_us,
		.bytes = rec->record,
		.length = rec->record_length,
	};
	uint8_t open[LOG_MAX_OPEN];

	switch (rec->event) {
	case LOG_OPEN:
		if (!session_begin(c, rec))
			return false;
		ev.session = rec->session->user;
		open_record(c, rec, &ev, open);
		break;
	case LOG_FRAME:
		ev.seq = rec->frame.seq;
		ev.step = rec->step.kind;
		ev.payload = rec->frame.length;
		ev.place = s->frames++;
		if (s->sniff != NULL)
			sniff(c, s, &rec->frame);
		break;
	case LOG_CLOSE:
		if (s->sniff != NULL)
			decide(c, s);
		break;
	default: break;
	}
	return submit(c, &ev);
}

/* Wait for more, and read it. */
static void
fill(struct convert *c)
{
	const struct recording *r = &c->recording;

	if (r->samples != NULL ? !samples_flush(r->samples) : !out_flush(c->out)) {
		fail(c, CLI_EFAIL);
	} else if (c->src->regular ? stop_now() : !stop_wait(c->src->fd)) {
		cli_warnx("%s: offset %" PRIu64 ": stopped here, the input has not ended",
		    c->src->label, log_offset(c->log));
		set_status(c, CLI_EDATA);
		log_eof(c->log);
	} else if (log_fill(c->log) == -1 && errno != EAGAIN) {
		cli_warn("%s: offset %" PRIu64, c->src->label, log_offset(c->log));
		set_status(c, CLI_EFAIL);
		log_eof(c->log);
	}
}

static void
read_log(struct convert *c)
{
	struct log_record rec;
	enum log_event e;

	while (!c->over && (e = log_next(c->log, &rec)) != LOG_END) {
		if (e == LOG_MORE) {
			fill(c);
			continue;
		}
		if (e == LOG_ERROR) {
			system_failed(c);
			break;
		}
		/* A file may have grown since the first reading. */
		if (c->survey.end > 0 && rec.offset >= c->survey.end && e != LOG_DAMAGE &&
		    !rec.made_up)
			break;
		if (input_report(c->src->label, c->log, &rec))
			set_status(c, CLI_EDATA);
		else if (!take(c, &rec))
			break;
	}
}

/* Prepare for reading.  False: it can't be, which was said. */
static bool
begin(struct convert *c, struct source *src)
{
	const struct settings *set = c->set;

	c->src = src;
	c->last = &c->first;
	c->want_samples = set->wav != NULL || (!set->encode && set->raw);
	c->recording = (struct recording){ .set = set, .out = c->out, .label = src->label };
	if (!src->regular) {
		c->log = log_new(src->fd, &set->log);
		if (c->log != NULL && log_unread(c->log, src->head, src->head_len) == 0)
			return true;
	} else if (lseek(src->fd, src->start, SEEK_SET) != -1) {
		if (decodes(set) && (set->encode || !set->layout_given) &&
		    (!survey_read(&c->survey, src->fd, &set->log, c->want_samples) ||
			lseek(src->fd, src->start, SEEK_SET) == -1)) {
			cli_warn("%s", src->label);
			return false;
		}
		if ((c->log = log_new(src->fd, &set->log)) != NULL)
			return true;
	}
	cli_warn("%s", src->label);
	return false;
}

int
convert(const struct settings *set, struct source *src, struct out *out)
{
	struct convert c = { .set = set, .out = out };

	if (!begin(&c, src) || (set->encode && (c.encoder = encode_new(set->effort)) == NULL)) {
		c.status = CLI_EFAIL;
		goto end;
	}
	read_log(&c);
	/* What still waits are sessions that have not ended. */
	for (struct session *s = c.sessions; s != NULL; s = s->next)
		if (s->sniff != NULL && !c.over)
			decide(&c, s);
	drain(&c);
	if (c.want_samples)
		c.status = recording_end(&c.recording, c.status);
	else if (!out_flush(out))
		c.status = CLI_EFAIL;
end:
	for (struct session *s = c.sessions, *next; s != NULL; s = next) {
		next = s->next;
		if (c.over)
			session_free(s);
		else
			session_end(&c, s);
	}
	log_free(c.log);
	survey_free(&c.survey);
	encode_free(c.encoder);
	free(c.pcm);
	free(c.payload);
	return c.status;
}
