/*
 * The reader is a state machine over a window of bytes: log_next() parses at
 * pos and either yields an event and moves on, or asks for more.  Whatever has to
 * be said before the record at pos (sessions that end because of it) is
 * yielded first, without moving; the record is then parsed again.
 */
#include "log.h"

#include "bytes.h"
#include "fdio.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* A time is believed up to NEAR from the last one, or if the next one is within HOUR after it. */
#define NEAR UINT64_C(10000000)
#define HOUR UINT64_C(3600000000)

/*
 * ---- Writer ----
 */

void
log_pack_header(uint8_t out[LOG_HEADER_SIZE], uint32_t session, enum log_kind kind,
    uint64_t time_us, uint32_t body)
{
	le32_store(out, LOG_MAGIC);
	le32_store(out + 4, LOG_HEADER_SIZE - LOG_PREFIX_SIZE + body);
	le32_store(out + 8, session);
	le16_store(out + 12, (uint16_t)kind);
	le16_store(out + 14, 0);
	le64_store(out + 16, time_us);
}

size_t
log_pack_open(uint8_t out[LOG_MAX_OPEN], uint32_t session, uint64_t time_us,
    const uint8_t handshake[WIRE_HANDSHAKE_SIZE], const char *peer, const char *tag)
{
	uint8_t *body = out + LOG_HEADER_SIZE;
	char *keys = (char *)body + WIRE_HANDSHAKE_SIZE;
	size_t len = 0;

	memcpy(body, handshake, WIRE_HANDSHAKE_SIZE);
	if (peer != NULL && *peer != '\0') {
		len += (size_t)sprintf(keys + len, "peer=%.*s\n", LOG_MAX_PEER, peer);
		for (size_t i = 0; i < len - 1; i++)
			if ((unsigned char)keys[i] < ' ' || keys[i] == 0x7f)
				keys[i] = '?';
	}
	if (tag != NULL && *tag != '\0')
		len += (size_t)sprintf(keys + len, "tag=%.*s\n", WIRE_MAX_TAG, tag);
	log_pack_header(out, session, LOG_KIND_OPEN, time_us,
	    (uint32_t)(WIRE_HANDSHAKE_SIZE + len));
	return LOG_HEADER_SIZE + WIRE_HANDSHAKE_SIZE + len;
}

size_t
log_pack_close(uint8_t out[LOG_MAX_CLOSE], uint32_t session, uint64_t time_us, uint16_t code,
    const char *reason, size_t reason_len)
{
	if (reason_len > WIRE_MAX_REASON)
		reason_len = WIRE_MAX_REASON;
	log_pack_header(out, session, LOG_KIND_CLOSE, time_us, (uint32_t)(2 + reason_len));
	le16_store(out + LOG_HEADER_SIZE, code);
	if (reason_len > 0)
		memcpy(out + LOG_HEADER_SIZE + 2, reason, reason_len);
	return LOG_HEADER_SIZE + 2 + reason_len;
}

/*
 * ---- Sessions: a hash by number, and a list in the order of their OPENs ----
 */

struct entry {
	struct log_session session; /* first, so that a session's address is its entry's */
	struct entry *same_hash;
	struct entry *next, *prev;
};

enum kind { KIND_UNKNOWN, KIND_MUX, KIND_FRAMES };

struct log_reader {
	int fd;
	enum kind kind;
	struct log_options options;

	const uint8_t *win; /* the bytes at hand: own buffer, or log_window()'s */
	size_t pos, end;
	uint64_t base; /* offset in the input of win[0] */
	uint8_t *buffer;
	size_t capacity;

	struct entry **table; /* of 2^table_bits slots; NULL: none yet */
	uint64_t multiplier;  /* odd, and a secret: numbers are chosen by whoever made the log */
	size_t open;
	struct entry *first, *last;
	struct entry *dying; /* closed by the last event; freed by the next log_next() */
	unsigned table_bits;

	uint32_t highest; /* mux logs: of the session numbers so far */
	uint64_t last_us; /* the last time believed */
	uint64_t take_us; /* frame logs: the current take's start */
	uint32_t takes;   /* frame logs: handshakes so far */

	bool eof;
	bool closing_all; /* every open session ends before anything else is yielded */
	bool ended;       /* nothing more is read */
	bool timed;       /* mux logs: last_us is the time of a record of this log */
	bool time_told;   /* mux logs: a damaged time has been reported */
	bool unknown; /* frame logs: the take has no sound handshake, so its format is unknown */

	/* Looking for the next sound record: */
	bool scanning;
	bool walking;     /* by the lengths of frames whose format is unknown */
	bool scan_torn;   /* the input ends inside the record that begins at scan_from */
	bool scan_second; /* after scan_from there is what may be a record's beginning */
	uint8_t scan_head[LOG_PREFIX_SIZE]; /* the first bytes at scan_from */
	char scan_text[160];
	uint64_t scan_from;
	uint64_t
	    scan_record;    /* so long is the damaged record at scan_from, if its length is right */
	uint64_t scan_last; /* from scan_from, so many bytes up to the last one that is not 0 */

	uint64_t damage;
};

/*
 * Multiply-shift hashing (Dietzfelbinger et al., 1997): whatever the numbers are, two of them meet
 * with a probability of at most 2 / 2^table_bits.
 */
static size_t
slot(const struct log_reader *r, uint32_t number)
{
	return (size_t)(number * r->multiplier >> (64 - r->table_bits));
}

static struct entry *
session_find(const struct log_reader *r, uint32_t number)
{
	struct entry *e = r->table != NULL ? r->table[slot(r, number)] : NULL;

	while (e != NULL && e->session.number != number)
		e = e->same_hash;
	return e;
}

static bool
table_grow(struct log_reader *r)
{
	unsigned bits = r->table != NULL ? r->table_bits + 1 : 6;
	struct entry **table = calloc((size_t)1 << bits, sizeof *table);

	if (table == NULL)
		return false;
	free(r->table);
	r->table = table;
	r->table_bits = bits;
	for (struct entry *e = r->first; e != NULL; e = e->next) {
		struct entry **head = &r->table[slot(r, e->session.number)];

		e->same_hash = *head;
		*head = e;
	}
	return true;
}

static struct entry *
session_add(struct log_reader *r, uint32_t number, const struct wire_handshake *format)
{
	struct entry *e;

	if ((r->table == NULL || r->open >> r->table_bits > 0) && !table_grow(r))
		return NULL;
	if ((e = calloc(1, sizeof *e)) == NULL)
		return NULL;
	e->session.number = number;
	e->session.format = *format;
	stream_init(&e->session.stream, format);
	e->same_hash = r->table[slot(r, number)];
	r->table[slot(r, number)] = e;
	e->prev = r->last;
	*(r->last != NULL ? &r->last->next : &r->first) = e;
	r->last = e;
	r->open++;
	return e;
}

static void
session_remove(struct log_reader *r, struct entry *e)
{
	struct entry **p = &r->table[slot(r, e->session.number)];

	while (*p != e)
		p = &(*p)->same_hash;
	*p = e->same_hash;
	*(e->prev != NULL ? &e->prev->next : &r->first) = e->next;
	*(e->next != NULL ? &e->next->prev : &r->last) = e->prev;
	r->open--;
	r->dying = e;
}

/*
 * ---- Reader ----
 */

struct log_reader *
log_new(int fd, const struct log_options *o)
{
	struct log_reader *r = calloc(1, sizeof *r);

	if (r == NULL)
		return NULL;
	r->fd = fd;
	/* Early at boot there may be no secrets yet: then a constant has to do. */
	if (getrandom(&r->multiplier, sizeof r->multiplier, GRND_NONBLOCK) == -1)
		r->multiplier = UINT64_C(0x9E3779B97F4A7C15);
	r->multiplier |= 1;
	if (o != NULL)
		r->options = *o;
	return r;
}

void
log_free(struct log_reader *r)
{
	if (r == NULL)
		return;
	for (struct entry *e = r->first, *next; e != NULL; e = next) {
		next = e->next;
		free(e);
	}
	free(r->dying);
	free(r->table);
	free(r->buffer);
	free(r);
}

int
log_unread(struct log_reader *r, const uint8_t *bytes, size_t len)
{
	if ((r->buffer = malloc(2 * LOG_READ_SIZE)) == NULL)
		return -1;
	memcpy(r->buffer, bytes, len);
	r->win = r->buffer;
	r->capacity = 2 * LOG_READ_SIZE;
	r->end = len;
	return 0;
}

int
log_fill(struct log_reader *r)
{
	size_t have = r->end - r->pos;
	ssize_t n;

	if (r->eof)
		return 0;
	if (r->capacity - r->end < LOG_READ_SIZE) {
		/* Moving only when half is free keeps the cost linear, however long the records. */
		if (r->capacity < 2 * (have + LOG_READ_SIZE)) {
			size_t capacity = 2 * (have + 2 * LOG_READ_SIZE);
			uint8_t *buffer = malloc(capacity);

			if (buffer == NULL)
				return -1;
			if (have > 0)
				memcpy(buffer, r->win + r->pos, have);
			free(r->buffer);
			r->win = r->buffer = buffer;
			r->capacity = capacity;
		} else {
			memmove(r->buffer, r->buffer + r->pos, have);
		}
		r->base += r->pos;
		r->pos = 0;
		r->end = have;
	}
	n = fdio_read(r->fd, r->buffer + r->end, LOG_READ_SIZE);
	if (n < 0)
		return -1;
	if (n == 0) {
		r->eof = true;
		return 0;
	}
	r->end += (size_t)n;
	return 1;
}

void
log_window(struct log_reader *r, const uint8_t *buf, size_t len)
{
	r->base += r->pos;
	r->win = buf;
	r->pos = 0;
	r->end = len;
}

void
log_eof(struct log_reader *r)
{
	r->eof = true;
}

bool
log_is_mux(const struct log_reader *r)
{
	return r->kind == KIND_MUX;
}

uint64_t
log_offset(const struct log_reader *r)
{
	return r->base + r->pos;
}

uint64_t
log_damage(const struct log_reader *r)
{
	return r->damage;
}

__attribute__((format(printf, 5, 6))) static enum log_event
damage(struct log_reader *r, struct log_record *ro, enum log_wrong wrong, uint64_t skipped,
    const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(ro->text, sizeof ro->text, fmt, ap);
	va_end(ap);
	ro->wrong = wrong;
	ro->skipped = skipped;
	ro->record = NULL;
	ro->record_length = 0;
	r->damage++;
	return LOG_DAMAGE;
}

static enum log_event
closes(struct log_reader *r, struct log_record *ro, struct entry *e)
{
	ro->session = &e->session;
	ro->time_us = r->last_us;
	ro->code = r->kind == KIND_MUX ? WIRE_CLOSE_ABNORMAL : 0;
	ro->made_up = true;
	ro->record = NULL;
	ro->record_length = 0;
	session_remove(r, e);
	return LOG_CLOSE;
}

static bool
is_frame_magic(uint32_t magic)
{
	return magic == WIRE_MAGIC_PCM || magic == WIRE_MAGIC_ADPCM;
}

/* The handshake that stands for the one that a headless log lacks. */
static struct wire_handshake
headless_format(const struct log_reader *r, uint32_t magic)
{
	struct wire_handshake h = r->options.format;

	if (!r->options.codec_given)
		h.codec = magic == WIRE_MAGIC_PCM ? WIRE_PCM16 : WIRE_ADPCM;
	return h;
}

/* In a frame log: can a handshake or a frame of the current session begin with this? */
static bool
frames_magic(const struct log_reader *r, uint32_t magic)
{
	if (magic == WIRE_MAGIC_HANDSHAKE)
		return true;
	if (r->unknown)
		return false;
	if (r->first != NULL)
		return magic == wire_frame_magic(r->first->session.format.codec);
	return r->options.headless && magic == wire_frame_magic(headless_format(r, magic).codec);
}

/* Can a record of this log begin with this magic? */
static bool
due(const struct log_reader *r, uint32_t magic)
{
	return magic == LOG_MAGIC ? r->kind != KIND_FRAMES
				  : r->kind != KIND_MUX && frames_magic(r, magic);
}

/*
 * How long is the record that begins with b[0..avail), going by its magic and its length?
 * 0: none can begin so.  SIZE_MAX: more bytes are needed to tell.
 */
static size_t
claimed(const struct log_reader *r, const uint8_t *b, size_t avail)
{
	struct wire_handshake h;
	struct wire_fault fault;
	uint32_t magic, length;

	if (avail < 4)
		return SIZE_MAX;
	magic = le32_load(b);
	if (!due(r, magic))
		return 0;
	if (avail < LOG_PREFIX_SIZE)
		return SIZE_MAX;
	length = le32_load(b + 4);
	if (magic == LOG_MAGIC)
		return length < LOG_HEADER_SIZE - LOG_PREFIX_SIZE || length > LOG_MAX_LENGTH
		    ? 0
		    : LOG_PREFIX_SIZE + length;
	if (magic == WIRE_MAGIC_HANDSHAKE) {
		if (avail < WIRE_HANDSHAKE_SIZE)
			return SIZE_MAX;
		return wire_parse_handshake(b, WIRE_HANDSHAKE_SIZE, &h, &fault)
		    ? WIRE_HANDSHAKE_SIZE
		    : 0;
	}
	h = r->first != NULL ? r->first->session.format : headless_format(r, magic);
	return length > wire_max_payload(&h) ? 0 : WIRE_FRAME_HEADER_SIZE + length;
}

/* May the record at b be followed by one with the magic next? */
static bool
goes_on(const uint8_t *b, uint32_t next)
{
	uint32_t magic = le32_load(b);

	if (magic == LOG_MAGIC)
		return next == LOG_MAGIC;
	if (magic == WIRE_MAGIC_HANDSHAKE && is_frame_magic(next))
		return next == wire_frame_magic(le16_load(b + 18));
	return next == WIRE_MAGIC_HANDSHAKE || next == magic;
}

/*
 * Is there a sound record at pos: a magic, a plausible length, and a magic or the end after it?
 * 1 yes, 0 no, -1 more bytes are needed to tell.
 */
static int
sound(struct log_reader *r)
{
	const uint8_t *b = r->win + r->pos;
	size_t avail = r->end - r->pos, size = claimed(r, b, avail);

	if (size == 0)
		return 0;
	if (!r->eof && (size == SIZE_MAX || avail < size + 4))
		return -1;
	if (size != SIZE_MAX && r->kind == KIND_FRAMES && log_offset(r) > r->scan_from)
		r->scan_second = true;
	if (avail < size || avail - size < 4)
		return avail == size;
	return goes_on(b, le32_load(b + size));
}

/* Are b[0..len), or the first 4 of them, the beginning of a magic? */
static bool
magic_begins(const struct log_reader *r, const uint8_t *b, size_t len)
{
	static const uint32_t magics[] = { LOG_MAGIC, WIRE_MAGIC_HANDSHAKE, WIRE_MAGIC_PCM,
		WIRE_MAGIC_ADPCM };
	uint8_t magic[4];

	for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
		le32_store(magic, magics[i]);
		if (due(r, magics[i]) && memcmp(b, magic, len < 4 ? len : 4) == 0)
			return true;
	}
	return false;
}

/* How long is the FRAME record at b[0..have) going by its frame's length?  0: that is not known. */
static size_t
frame_record(const uint8_t *b, size_t have)
{
	const uint8_t *frame = b + LOG_HEADER_SIZE;

	if (have < LOG_HEADER_SIZE + WIRE_FRAME_HEADER_SIZE || le32_load(b) != LOG_MAGIC ||
	    le16_load(b + 12) != LOG_KIND_FRAME || !is_frame_magic(le32_load(frame)) ||
	    le32_load(frame + 4) > WIRE_MAX_MESSAGE)
		return 0;
	return LOG_HEADER_SIZE + WIRE_FRAME_HEADER_SIZE + le32_load(frame + 4);
}

/*
 * A record whose length leads beyond the end of the input, b[0..have): is a whole frame in it, with
 * another record or the end after that?  Then it is not torn, its length is wrong.
 */
static bool
holds_frame(const uint8_t *b, size_t have)
{
	size_t size = frame_record(b, have);
	uint8_t magic[4];

	if (size == 0 || size > have)
		return false;
	le32_store(magic, LOG_MAGIC);
	return memcmp(b + size, magic, have - size < 4 ? have - size : 4) == 0;
}

/* Nothing is read after scan_from any more. */
static enum log_event
stop(struct log_reader *r, struct log_record *ro, enum log_wrong wrong)
{
	uint64_t end = r->base + r->end;

	r->scanning = false;
	r->ended = r->closing_all = true;
	ro->offset = r->scan_from;
	return damage(r, ro, wrong, r->eof ? end - r->scan_from : 0, "%s", r->scan_text);
}

/*
 * No record can be found at pos.  Reading stops here, or a scan begins; then the damage is
 * reported when it is known how much was skipped.
 */
__attribute__((format(printf, 4, 5))) static enum log_event
lost(struct log_reader *r, struct log_record *ro, enum log_wrong wrong, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->scan_text, sizeof r->scan_text, fmt, ap);
	va_end(ap);
	r->scan_from = ro->offset;
	r->scan_last = 0;
	r->scan_second = false;
	r->scan_torn = wrong == LOG_TORN;
	r->scan_record = 0;
	if (!r->options.recover)
		return stop(r, ro, wrong);
	r->scanning = true;
	return LOG_MORE; /* the caller goes round again */
}

/*
 * The record at pos, whose size in bytes is ro->record_length, is damaged.  It is passed over as a whole,
 * unless its length is as wrong as the rest: there is more after it, but no record.
 */
__attribute__((format(printf, 3, 4))) static enum log_event
wrong(struct log_reader *r, struct log_record *ro, const char *fmt, ...)
{
	size_t size = ro->record_length, after = r->end - r->pos - size;
	char text[sizeof ro->text];
	va_list ap;

	if (r->options.recover && after < 4 && !r->eof && r->fd != -1)
		return LOG_MORE;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (r->options.recover && after > 0 &&
	    (after < 4 || !goes_on(r->win + r->pos, le32_load(r->win + r->pos + size)))) {
		enum log_event e = lost(r, ro, LOG_TAIL, "%s", text);

		if (frame_record(ro->record, size) <= size)
			r->scan_record = size;
		return e;
	}
	r->pos += size;
	return damage(r, ro, LOG_RECORD, size, "%s", text);
}

/*
 * Does a record begin at scan_from that is torn?  After the first bytes of its prefix there may be
 * zeros, which a power cut leaves where the size was on the disk already, and the data was not.
 */
static bool
scanned_torn(const struct log_reader *r)
{
	if (r->scan_second)
		return false;
	return r->scan_torn ||
	    (r->scan_last < LOG_PREFIX_SIZE && magic_begins(r, r->scan_head, (size_t)r->scan_last));
}

/* The scan has reached the end of the input. */
static enum log_event
scanned_all(struct log_reader *r, struct log_record *ro, uint64_t size)
{
	if (r->scan_last > 0 && r->scan_last <= r->scan_record) {
		/* Nothing but zeros follow it: so far its length was right. */
		enum log_event e = damage(r, ro, LOG_RECORD, r->scan_record, "%s", r->scan_text);

		ro->time_us = r->last_us;
		r->scanning = true;
		r->scan_from += r->scan_record;
		r->scan_last = r->scan_record = 0;
		strcpy(r->scan_text, "no record");
		return e;
	}
	if (r->scan_last == 0)
		return damage(r, ro, LOG_ZEROS, size,
		    "%s; the remaining %" PRIu64 " bytes are zeros", r->scan_text, size);
	return damage(r, ro, scanned_torn(r) ? LOG_TORN : LOG_TAIL, size,
	    "%s; the remaining %" PRIu64 " bytes are skipped, no sound record among them",
	    r->scan_text, size);
}

/* A handshake that is not sound begins a take of unknown format. */
static void
begin_unknown(struct log_reader *r)
{
	r->unknown = true;
	r->takes++;
}

/*
 * Pass over the frames of takes of unknown format.  1: up to a sound handshake; 0: up to what is
 * neither frame nor handshake; -1: more bytes are needed.
 */
static int
walk(struct log_reader *r)
{
	for (;;) {
		const uint8_t *b = r->win + r->pos;
		size_t avail = r->end - r->pos, size;
		struct wire_handshake h;
		struct wire_fault fault;

		if (avail < LOG_PREFIX_SIZE)
			return r->eof ? 0 : -1;
		if (le32_load(b) == WIRE_MAGIC_HANDSHAKE)
			size = WIRE_HANDSHAKE_SIZE;
		else if (is_frame_magic(le32_load(b)) && le32_load(b + 4) <= WIRE_MAX_MESSAGE)
			size = WIRE_FRAME_HEADER_SIZE + le32_load(b + 4);
		else
			return 0;
		if (avail < size)
			return r->eof ? 0 : -1;
		if (le32_load(b) == WIRE_MAGIC_HANDSHAKE) {
			if (wire_parse_handshake(b, size, &h, &fault))
				return 1;
			begin_unknown(r);
		}
		r->pos += size;
	}
}

/* The scan passes over the byte at pos, where no sound record begins. */
static void
scan_byte(struct log_reader *r)
{
	const uint8_t *b = r->win + r->pos;
	uint64_t n = log_offset(r) - r->scan_from;

	if (n < sizeof r->scan_head)
		r->scan_head[n] = *b;
	if (*b != 0)
		r->scan_last = n + 1;
	r->pos++;
}

/*
 * Does a take whose handshake is not sound begin at pos?  Among bytes that belong to nothing the
 * magic alone proves little: a message has to follow.  1 yes, 0 no, -1 more bytes are needed to tell.
 */
static int
unsound_take(const struct log_reader *r)
{
	const uint8_t *b = r->win + r->pos;
	size_t avail = r->end - r->pos;
	uint32_t next;

	if (r->kind != KIND_FRAMES || avail < 4 || le32_load(b) != WIRE_MAGIC_HANDSHAKE)
		return 0;
	if (avail < WIRE_HANDSHAKE_SIZE + 4)
		return r->eof ? 0 : -1;
	next = le32_load(b + WIRE_HANDSHAKE_SIZE);
	return is_frame_magic(next) || next == WIRE_MAGIC_HANDSHAKE;
}

/* Byte by byte: as walk(), up to a sound record. */
static int
scan_bytes(struct log_reader *r)
{
	for (; r->pos < r->end; scan_byte(r)) {
		int s = sound(r);

		if (s == 0 && (s = unsound_take(r)) == 1) {
			begin_unknown(r);
			s = 0;
		}
		if (s != 0)
			return s;
	}
	return r->eof ? 0 : -1;
}

/* Look for the next sound record; report what was skipped when it, or the end, is reached. */
static enum log_event
scan(struct log_reader *r, struct log_record *ro)
{
	uint64_t skipped;
	int found = 0;

	if (r->walking)
		found = walk(r);
	if (found == 0) {
		r->walking = false;
		if (!r->options.recover)
			return stop(r, ro, LOG_TAIL);
		found = scan_bytes(r);
	}
	if (found < 0)
		return LOG_MORE;
	r->scanning = r->walking = false;
	ro->offset = r->scan_from;
	skipped = log_offset(r) - r->scan_from;
	if (found == 0)
		return scanned_all(r, ro, skipped);
	return damage(r, ro, LOG_LOST, skipped,
	    "%s; %" PRIu64 " bytes skipped, up to offset %" PRIu64, r->scan_text, skipped,
	    log_offset(r));
}

/* The input ends inside a record of size bytes (0: not even that is known). */
static enum log_event
cut(struct log_reader *r, struct log_record *ro, size_t size)
{
	const uint8_t *b = r->win + r->pos;
	size_t have = r->end - r->pos;
	enum log_wrong wrong =
	    magic_begins(r, b, have) && !holds_frame(b, have) ? LOG_TORN : LOG_TAIL;
	enum log_event e;

	if (size == 0)
		e = lost(r, ro, wrong, "the input ends %zu bytes into a record", have);
	else
		e = lost(r, ro, wrong, "the input ends %zu bytes into a record of %zu", have, size);
	if (e == LOG_DAMAGE)
		r->pos = r->end;
	return e;
}

/* Copy a peer's address or a reason, which come from outside, as a string without NULs. */
static void
copy_text(char *out, size_t size, const uint8_t *in, size_t len)
{
	if (len > size - 1)
		len = size - 1;
	for (size_t i = 0; i < len; i++)
		out[i] = in[i] == '\0' ? '?' : (char)in[i];
	out[len] = '\0';
}

/* The key=value lines of an OPEN.  What is not understood is ignored. */
static void
parse_keys(struct log_session *s, struct log_record *ro, const uint8_t *p, size_t len)
{
	const uint8_t *end = p + len;

	while (p < end) {
		const uint8_t *nl = memchr(p, '\n', (size_t)(end - p));
		const uint8_t *stop = nl != NULL ? nl : end;
		size_t n = (size_t)(stop - p);

		if (n >= 5 && memcmp(p, "peer=", 5) == 0) {
			copy_text(s->peer, sizeof s->peer, p + 5, n - 5);
		} else if (n >= 4 && memcmp(p, "tag=", 4) == 0) {
			if (wire_tag_valid((const char *)p + 4, n - 4)) {
				copy_text(s->tag, sizeof s->tag, p + 4, n - 4);
			} else {
				char tag[WIRE_MAX_TAG + 1];

				copy_text(tag, sizeof tag, p + 4, n - 4);
				snprintf(ro->text, sizeof ro->text,
				    "session %" PRIu32
				    ": tag \"%s\" dropped, allowed is [A-Za-z0-9][A-Za-z0-9._:-]{0,63}"
				    ", not ending in .jsonl",
				    s->number, tag);
			}
		}
		p = nl != NULL ? nl + 1 : end;
	}
}

static enum log_event
mux_open(struct log_reader *r, struct log_record *ro, uint32_t number, const uint8_t *body,
    size_t len)
{
	struct wire_handshake format;
	struct wire_fault fault;
	struct entry *e;

	if (number == 0)
		return wrong(r, ro, "OPEN of session 0, at least 1");
	if (len < WIRE_HANDSHAKE_SIZE)
		return wrong(r, ro, "OPEN of session %" PRIu32 ": %zu bytes, at least %d", number,
		    len, WIRE_HANDSHAKE_SIZE);
	if (len > WIRE_HANDSHAKE_SIZE + LOG_MAX_KEYS)
		return wrong(r, ro, "OPEN of session %" PRIu32 ": %zu bytes of keys, at most %d",
		    number, len - WIRE_HANDSHAKE_SIZE, LOG_MAX_KEYS);
	if (!wire_parse_handshake(body, WIRE_HANDSHAKE_SIZE, &format, &fault))
		return wrong(r, ro, "OPEN of session %" PRIu32 ": %s", number, fault.reason);
	if ((e = session_find(r, number)) != NULL)
		return closes(r, ro, e); /* and here again, with pos unmoved */
	if (r->open >= LOG_MAX_SESSIONS)
		return wrong(r, ro,
		    "OPEN of session %" PRIu32 ": %d sessions are open, at most that many", number,
		    LOG_MAX_SESSIONS);
	if ((e = session_add(r, number, &format)) == NULL)
		return LOG_ERROR;
	memcpy(e->session.handshake, body, WIRE_HANDSHAKE_SIZE);
	if (number > r->highest)
		r->highest = number;
	e->session.open_us = ro->time_us;
	parse_keys(&e->session, ro, body + WIRE_HANDSHAKE_SIZE, len - WIRE_HANDSHAKE_SIZE);
	ro->session = &e->session;
	ro->data = body;
	ro->length = WIRE_HANDSHAKE_SIZE;
	r->pos += ro->record_length;
	return LOG_OPEN;
}

static enum log_event
mux_frame(struct log_reader *r, struct log_record *ro, uint32_t number, const uint8_t *body,
    size_t len)
{
	struct entry *e = session_find(r, number);
	struct wire_fault fault;
	struct stream *s;

	if (e == NULL)
		return wrong(r, ro, "FRAME of session %" PRIu32 ", which is not open", number);
	s = &e->session.stream;
	if (!wire_parse_frame(&s->format, body, len, &ro->frame, &fault))
		return wrong(r, ro, "session %" PRIu32 ": %s", number, fault.reason);
	ro->step = stream_look(s, ro->frame.seq);
	stream_take(s, ro->frame.seq, ro->step, stream_samples_any(&s->format, ro->frame.length));
	ro->session = &e->session;
	ro->data = body;
	ro->length = (uint32_t)len;
	r->pos += ro->record_length;
	return LOG_FRAME;
}

static enum log_event
mux_close(struct log_reader *r, struct log_record *ro, uint32_t number, const uint8_t *body,
    size_t len)
{
	struct entry *e = session_find(r, number);

	if (e == NULL)
		return wrong(r, ro, "CLOSE of session %" PRIu32 ", which is not open", number);
	if (len < 2 || len > 2 + WIRE_MAX_REASON)
		return wrong(r, ro, "CLOSE of session %" PRIu32 ": %zu bytes, 2 to %d", number, len,
		    2 + WIRE_MAX_REASON);
	ro->session = &e->session;
	ro->code = le16_load(body);
	copy_text(ro->reason, sizeof ro->reason, body + 2, len - 2);
	session_remove(r, e);
	r->pos += ro->record_length;
	return LOG_CLOSE;
}

/*
 * ---- The times of a mux log: eet-formats(5), "Times" ----
 */

static uint64_t
distance(uint64_t a, uint64_t b)
{
	return a < b ? b - a : a - b;
}

/* Can a record have been written at us, when the next one says that it was written at next? */
static bool
follows(uint64_t us, uint64_t next)
{
	return next >= us && next - us <= HOUR;
}

/*
 * The time of the record after the one at *at, whose prefix is sound.  1: *uso, and *at is moved to
 * it.  0: there is none.  -1: more bytes are needed to tell.
 */
static int
next_time(const struct log_reader *r, size_t *at, uint64_t *uso)
{
	size_t size = LOG_PREFIX_SIZE + le32_load(r->win + *at + 4);
	const uint8_t *b = r->win + *at + size;

	if (r->end - *at < size + LOG_HEADER_SIZE)
		return r->eof || r->fd == -1 ? 0 : -1;
	if (claimed(r, b, LOG_HEADER_SIZE) == 0)
		return 0;
	*at += size;
	*uso = le64_load(b + 16) < LOG_MAX_TIME ? le64_load(b + 16) : LOG_MAX_TIME;
	return 1;
}

/*
 * What to believe of us, the time of the record at pos, with which a log may begin.  If the next
 * record does not follow it, one of the two is wrong, and the third shows which; unless the next
 * one is a TICK that announces a new time, which the third then has.  False: more bytes are needed.
 */
static bool
first_time(const struct log_reader *r, uint64_t us, uint64_t *uso)
{
	size_t at = r->pos;
	uint64_t next, third;
	int more = next_time(r, &at, &next);
	bool tick;

	*uso = us;
	if (more <= 0 || follows(us, next) || distance(us, next) <= NEAR)
		return more >= 0;
	tick = le16_load(r->win + at + 12) == LOG_KIND_TICK;
	more = next_time(r, &at, &third);
	if (more == 0 && r->timed) {
		third = r->last_us; /* where another log ends, perhaps */
		more = 1;
	}
	if (more > 0 && !(tick && third == next) && distance(third, next) < distance(third, us))
		*uso = next;
	return more >= 0;
}

/* A time that is not believed counts as `as`.  True: it is reported first, as *eo. */
static bool
report_time(struct log_reader *r, struct log_record *ro, uint64_t as, enum log_event *eo)
{
	if (r->time_told)
		return false;
	r->time_told = true;
	*eo = damage(r, ro, LOG_TIME, 0,
	    "time %" PRIu64 " us does not fit the records around it, counts as %" PRIu64
	    " us; others like it are not reported",
	    le64_load(r->win + r->pos + 16), as);
	return true;
}

/* As judge(), for the first record of a log. */
static bool
judge_first(struct log_reader *r, struct log_record *ro, uint64_t us, enum log_event *eo)
{
	uint64_t believed;

	*eo = LOG_MORE;
	if (!first_time(r, us, &believed) || (believed != us && report_time(r, ro, believed, eo)))
		return false;
	r->timed = true;
	r->last_us = believed;
	return true;
}

/* As judge(), for a time that is far from the last one believed: the next one decides. */
static bool
judge_doubtful(struct log_reader *r, struct log_record *ro, uint64_t us, enum log_event *eo)
{
	size_t at = r->pos;
	uint64_t last = r->last_us, next;
	int more = next_time(r, &at, &next);

	*eo = LOG_MORE;
	if (more < 0)
		return false;
	if (more == 0) {
		/* A window is its writer's memory, in which nothing is damaged. */
		if (r->eof || r->fd != -1)
			return true;
		next = us;
	}
	if (!follows(us, next) || distance(next, last) <= NEAR)
		return !report_time(r, ro, last, eo);
	r->last_us = us;
	if (us > last || r->first == NULL)
		return true;
	ro->time_us = last;
	ro->made_up = true;
	ro->record = NULL;
	ro->record_length = 0;
	*eo = LOG_ROTATE;
	return false;
}

/*
 * Judge us, the time of the record at pos, which is not at or shortly after the last one believed.
 * known: it is an OPEN whose number is not above all before it.  True: r->last_us is to be its time.
 * False: *eo comes first.
 */
static bool
judge(struct log_reader *r, struct log_record *ro, uint64_t us, bool known, enum log_event *eo)
{
	uint64_t believed;

	if (us > LOG_MAX_TIME)
		us = LOG_MAX_TIME;
	if (!r->timed)
		return judge_first(r, ro, us, eo);
	*eo = LOG_MORE;
	if (known) {
		if (!first_time(r, us, &believed))
			return false;
		if (believed < r->last_us) {
			r->closing_all = true; /* another log begins here */
			return false;
		}
	}
	if (distance(us, r->last_us) > NEAR)
		return judge_doubtful(r, ro, us, eo);
	if (us > r->last_us)
		r->last_us = us;
	return true;
}

/*
 * A record that says what it is by its kind alone.  Nothing but its length tells how much of what
 * follows is its body, so that is to be followed by a record, or it is wrong.
 */
static enum log_event
mux_plain(struct log_reader *r, struct log_record *ro, unsigned kind)
{
	const size_t size = ro->record_length, after = r->end - r->pos - size;

	if (r->options.recover && size > LOG_HEADER_SIZE) {
		if (after < 4 && !r->eof && r->fd != -1)
			return LOG_MORE;
		if (after >= 4 && le32_load(ro->record + size) != LOG_MAGIC)
			return wrong(r, ro, "kind %u: %zu bytes, and no record after them", kind,
			    size - LOG_HEADER_SIZE);
	}
	r->pos += size;
	return kind == LOG_KIND_ROTATE ? LOG_ROTATE : LOG_TICK;
}

static enum log_event
next_mux(struct log_reader *r, struct log_record *ro)
{
	const uint8_t *p = r->win + r->pos;
	size_t avail = r->end - r->pos, size, body;
	uint32_t magic, length, number;
	uint64_t time_us;
	uint16_t kind;
	enum log_event e;

	if (avail < LOG_PREFIX_SIZE)
		return r->eof ? cut(r, ro, 0) : LOG_MORE;
	magic = le32_load(p);
	length = le32_load(p + 4);
	if (magic != LOG_MAGIC)
		return lost(r, ro, LOG_TAIL, "magic 0x%08" PRIx32 ", expected 0x%08x (\"EETM\")",
		    magic, LOG_MAGIC);
	if (length < LOG_HEADER_SIZE - LOG_PREFIX_SIZE || length > LOG_MAX_LENGTH)
		return lost(r, ro, LOG_TAIL, "record length %" PRIu32 ", %d to %d", length,
		    LOG_HEADER_SIZE - LOG_PREFIX_SIZE, LOG_MAX_LENGTH);
	size = LOG_PREFIX_SIZE + length;
	if (avail < size)
		return r->eof ? cut(r, ro, size) : LOG_MORE;
	number = le32_load(p + 8);
	time_us = le64_load(p + 16);
	kind = le16_load(p + 12);
	ro->record = p;
	ro->record_length = (uint32_t)size;
	if (r->timed && time_us - r->last_us <= NEAR && time_us <= LOG_MAX_TIME)
		r->last_us = time_us;
	else if (!judge(r, ro, time_us, kind == LOG_KIND_OPEN && number <= r->highest, &e))
		return e;
	ro->time_us = r->last_us;
	body = size - LOG_HEADER_SIZE;
	p += LOG_HEADER_SIZE;
	switch (kind) {
	case LOG_KIND_OPEN: return mux_open(r, ro, number, p, body);
	case LOG_KIND_FRAME: return mux_frame(r, ro, number, p, body);
	case LOG_KIND_CLOSE: return mux_close(r, ro, number, p, body);
	default: return mux_plain(r, ro, kind); /* kinds from the future are a time, as TICK is */
	}
}

/* A new take: from its handshake at p, or from the options where there is none (p NULL). */
static enum log_event
take_open(struct log_reader *r, struct log_record *ro, const struct wire_handshake *format,
    const uint8_t *p)
{
	struct entry *e;

	if (r->first != NULL)
		return closes(r, ro, r->first); /* and here again, with pos unmoved */
	if ((e = session_add(r, r->takes + 1, format)) == NULL)
		return LOG_ERROR;
	r->takes++;
	r->unknown = false;
	r->take_us = format->timestamp_ms <= LOG_MAX_TIME / 1000 ? format->timestamp_ms * 1000 : 0;
	r->last_us = r->take_us;
	if (p != NULL)
		memcpy(e->session.handshake, p, WIRE_HANDSHAKE_SIZE);
	else
		wire_pack_handshake(e->session.handshake, format);
	e->session.open_us = r->take_us;
	ro->session = &e->session;
	ro->time_us = r->take_us;
	ro->data = e->session.handshake;
	ro->length = WIRE_HANDSHAKE_SIZE;
	if (p != NULL) {
		ro->record = p;
		ro->record_length = WIRE_HANDSHAKE_SIZE;
		r->pos += WIRE_HANDSHAKE_SIZE;
	}
	return LOG_OPEN;
}

/* A handshake that is not sound: no frame up to the next sound one belongs to a known format. */
static enum log_event
take_unknown(struct log_reader *r, struct log_record *ro, const struct wire_fault *fault)
{
	if (r->first != NULL)
		return closes(r, ro, r->first); /* and here again, with pos unmoved */
	if (r->options.headless) {
		r->pos += WIRE_HANDSHAKE_SIZE;
		return damage(r, ro, LOG_RECORD, WIRE_HANDSHAKE_SIZE, "%s", fault->reason);
	}
	snprintf(r->scan_text, sizeof r->scan_text, "%s", fault->reason);
	r->scan_from = ro->offset;
	r->scan_last = WIRE_HANDSHAKE_SIZE;
	r->scan_torn = r->scan_second = false;
	r->scan_record = 0;
	r->scanning = r->walking = true;
	return LOG_MORE;
}

/* When a frame that starts after so many samples per channel was recorded. */
static uint64_t
take_time(const struct log_reader *r, const struct stream *s, struct stream_step step)
{
	__extension__ unsigned __int128 us = s->position;

	us += (uint64_t)step.gap * s->format.frame_samples;
	us = us * 1000000 / s->format.sample_rate + r->take_us;
	return us < LOG_MAX_TIME ? (uint64_t)us : LOG_MAX_TIME;
}

static enum log_event
next_frames(struct log_reader *r, struct log_record *ro)
{
	const uint8_t *p = r->win + r->pos;
	size_t avail = r->end - r->pos, size;
	struct wire_handshake format;
	struct wire_fault fault;
	struct stream *s;
	uint32_t magic, length;

	if (avail < LOG_PREFIX_SIZE)
		return r->eof ? cut(r, ro, 0) : LOG_MORE;
	magic = le32_load(p);
	if (magic == WIRE_MAGIC_HANDSHAKE) {
		if (avail < WIRE_HANDSHAKE_SIZE)
			return r->eof ? cut(r, ro, WIRE_HANDSHAKE_SIZE) : LOG_MORE;
		if (!wire_parse_handshake(p, WIRE_HANDSHAKE_SIZE, &format, &fault))
			return take_unknown(r, ro, &fault);
		return take_open(r, ro, &format, p);
	}
	if (r->first == NULL && is_frame_magic(magic) && !r->options.headless)
		return lost(r, ro, LOG_TAIL,
		    "a frame without a handshake before it: give -r RATE -c CHANNELS -n FRAME_SAMPLES");
	if (!frames_magic(r, magic))
		return lost(r, ro, LOG_TAIL, "magic 0x%08" PRIx32 ", expected a handshake's%s",
		    magic,
		    frames_magic(r, WIRE_MAGIC_PCM)         ? " or a PCM frame's"
			: frames_magic(r, WIRE_MAGIC_ADPCM) ? " or an ADPCM frame's"
							    : "");
	if (r->first == NULL) {
		format = headless_format(r, magic);
		return take_open(r, ro, &format, NULL);
	}
	s = &r->first->session.stream;
	length = le32_load(p + 4);
	if (length > wire_max_payload(&s->format))
		return lost(r, ro, LOG_TAIL, "frame length %" PRIu32 ", at most %" PRIu32, length,
		    wire_max_payload(&s->format));
	size = WIRE_FRAME_HEADER_SIZE + length;
	if (avail < size)
		return r->eof ? cut(r, ro, size) : LOG_MORE;
	ro->record = p;
	ro->record_length = (uint32_t)size;
	if (!wire_parse_frame(&s->format, p, size, &ro->frame, &fault))
		return wrong(r, ro, "%s", fault.reason);
	ro->step = stream_look(s, ro->frame.seq);
	ro->time_us = r->last_us = take_time(r, s, ro->step);
	stream_take(s, ro->frame.seq, ro->step, stream_samples_any(&s->format, length));
	ro->session = &r->first->session;
	ro->data = p;
	ro->length = (uint32_t)size;
	r->pos += size;
	return LOG_FRAME;
}

static enum log_event
next_unknown(struct log_reader *r, struct log_record *ro)
{
	uint32_t magic;

	if (r->end - r->pos < 4)
		return r->eof ? cut(r, ro, 0) : LOG_MORE;
	magic = le32_load(r->win + r->pos);
	if (magic == LOG_MAGIC)
		r->kind = KIND_MUX;
	else if (magic == WIRE_MAGIC_HANDSHAKE || is_frame_magic(magic))
		r->kind = KIND_FRAMES;
	else
		return lost(r, ro, LOG_TAIL,
		    "magic 0x%08" PRIx32 ": neither a mux log nor a frame log", magic);
	return LOG_MORE;
}

enum log_event
log_next(struct log_reader *r, struct log_record *ro)
{
	free(r->dying);
	r->dying = NULL;
	for (;;) {
		size_t before = r->pos;
		enum kind kind = r->kind;
		bool scanning = r->scanning;
		enum log_event e;

		ro->session = NULL;
		ro->time_us = 0;
		ro->data = ro->record = NULL;
		ro->length = ro->record_length = 0;
		ro->code = 0;
		ro->made_up = false;
		ro->reason[0] = ro->text[0] = '\0';
		ro->skipped = 0;
		ro->wrong = 0;
		ro->offset = log_offset(r);
		if (r->closing_all) {
			if (r->first != NULL)
				return ro->event = closes(r, ro, r->first);
			r->closing_all = r->timed = r->time_told = false;
			r->last_us = 0;
			r->highest = 0;
		}
		if (r->ended)
			return ro->event = LOG_END;
		if (r->pos == r->end && r->eof && !r->scanning) {
			r->ended = r->closing_all = true;
			continue;
		}
		if (r->scanning)
			e = scan(r, ro);
		else if (r->pos == r->end)
			e = LOG_MORE;
		else if (r->kind == KIND_MUX)
			e = next_mux(r, ro);
		else if (r->kind == KIND_FRAMES)
			e = next_frames(r, ro);
		else
			e = next_unknown(r, ro);
		/* Something moved without an event to tell: look again. */
		if (e == LOG_MORE &&
		    (r->pos != before || r->kind != kind || r->scanning != scanning ||
			r->closing_all))
			continue;
		return ro->event = e;
	}
}

enum log_event
log_get(struct log_reader *r, struct log_record *ro)
{
	while (log_next(r, ro) == LOG_MORE)
		if (log_fill(r) < 0)
			return ro->event = LOG_ERROR;
	return ro->event;
}
