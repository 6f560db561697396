/*
 * Whatever a log holds and however it arrives, the reader ends, keeps its promises, and yields the
 * same events; and if it is a sound mux log, a damaged time costs no frame.  The first byte: recover, headless, codec given, stereo; the second: how the rest,
 * the log, is divided into reads.
 */
#include "log.h"

#include "bytes.h"
#include "fuzz.h"

#include <fcntl.h>
#include <unistd.h>

enum { PIPE_SIZE = 65536 };

/* One reading of a log. */
struct reading {
	const uint8_t *log;
	size_t size;
	uint64_t hash;   /* of its events: FNV-1a */
	uint64_t frames; /* the same of its frames and whose they are */
	uint64_t offset;
	uint64_t time;
	uint64_t events, damage, skipped;
	unsigned open;
	bool mux;
};

static void
mix_into(uint64_t *hash, const void *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		*hash = (*hash ^ ((const uint8_t *)p)[i]) * UINT64_C(0x100000001b3);
}

static void
mix(struct reading *rd, const void *p, size_t len)
{
	mix_into(&rd->hash, p, len);
}

static void
mix_number(struct reading *rd, uint64_t n)
{
	mix(rd, &n, sizeof n);
}

/* What must be true of every event; and its part of the hash. */
static void
check(struct reading *rd, const struct log_record *rec)
{
	const struct log_session *s = rec->session;
	struct wire_frame frame;
	struct wire_fault fault;

	/* Each event but a CLOSE moves on; there is one CLOSE to an OPEN. */
	require(++rd->events <= 2 * rd->size + 2);
	require(rec->offset >= rd->offset && rec->offset <= rd->size);
	rd->offset = rec->offset;
	require((s != NULL) ==
	    (rec->event == LOG_OPEN || rec->event == LOG_FRAME || rec->event == LOG_CLOSE));
	require(rec->time_us <= LOG_MAX_TIME);
	if (rec->record != NULL) {
		require(rec->offset + rec->record_length <= rd->size);
		require(memcmp(rec->record, rd->log + rec->offset, rec->record_length) == 0);
	}
	require(memchr(rec->text, '\0', sizeof rec->text) != NULL);
	require(memchr(rec->reason, '\0', sizeof rec->reason) != NULL);
	mix_number(rd, rec->event);
	mix_number(rd, rec->offset);
	mix(rd, rec->text, strlen(rec->text));
	mix_number(rd, rec->wrong);
	require((rec->wrong != 0) == (rec->event == LOG_DAMAGE));
	if (rec->event == LOG_DAMAGE) {
		rd->damage++;
		require(rec->text[0] != '\0' && rec->offset + rec->skipped <= rd->size);
	} else if (rec->event != LOG_END) {
		mix_number(rd, rec->time_us);
		/* It goes back only between sessions, or when all segments have ended. */
		require(rec->time_us >= rd->time || rd->open == 0 ||
		    (rec->event == LOG_CLOSE && rec->made_up));
		rd->time = rec->event == LOG_ROTATE && rec->made_up ? 0 : rec->time_us;
	}
	if (s != NULL) {
		struct wire_handshake h;

		mix_number(rd, s->number);
		require(wire_parse_handshake(s->handshake, WIRE_HANDSHAKE_SIZE, &h, &fault));
		require(wire_same_format(&h, &s->format));
		require(s->tag[0] == '\0' || wire_tag_valid(s->tag, strlen(s->tag)));
		require(strlen(s->peer) <= LOG_MAX_PEER);
	}
	switch (rec->event) {
	case LOG_OPEN:
		require(s->user == NULL && s->stream.frames == 0);
		rec->session->user = rd;
		rd->open++;
		mix(rd, s->tag, strlen(s->tag));
		mix(rd, s->peer, strlen(s->peer));
		break;
	case LOG_FRAME:
		require(s->user == rd && s->stream.frames > 0);
		require(rec->data >= rec->record &&
		    rec->data + rec->length == rec->record + rec->record_length);
		require(wire_parse_frame(&s->format, rec->data, rec->length, &frame, &fault));
		require(frame.seq == rec->frame.seq && frame.payload == rec->frame.payload);
		mix(rd, rec->data, rec->length);
		mix_into(&rd->frames, &s->number, sizeof s->number);
		mix_into(&rd->frames, rec->data, rec->length);
		mix_number(rd, rec->step.kind);
		mix_number(rd, rec->step.gap);
		break;
	case LOG_CLOSE:
		require(s->user == rd && rd->open > 0);
		require(rec->made_up == (rec->record == NULL));
		rec->session->user = NULL;
		rd->open--;
		mix_number(rd, rec->code);
		mix(rd, rec->reason, strlen(rec->reason));
		break;
	case LOG_END: require(rd->open == 0); break;
	case LOG_ERROR: abort();
	default: break;
	}
}

/* Read the log through a pipe, in pieces of 1 to 4 * most bytes. */
static struct reading
read_log(const uint8_t *log, size_t size, const struct log_options *o, size_t most)
{
	static int fds[2] = { -1, -1 };
	struct reading rd = { .log = log,
		.size = size,
		.hash = UINT64_C(0xcbf29ce484222325),
		.frames = UINT64_C(0xcbf29ce484222325) };
	struct log_reader *r;
	struct log_record rec;
	size_t done = 0, turn = 0;

	if (fds[0] == -1)
		require(pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0);
	require((r = log_new(fds[0], o)) != NULL);
	for (;;) {
		size_t piece = most < PIPE_SIZE ? 1 + (turn++ * 7 + log[0]) % (4 * most) : most;

		if (log_next(r, &rec) != LOG_MORE) {
			check(&rd, &rec);
			if (rec.event == LOG_END)
				break;
			continue;
		}
		require(log_offset(r) <= done);
		if (piece > size - done)
			piece = size - done;
		if (piece == 0) {
			log_eof(r);
			continue;
		}
		require(write(fds[1], log + done, piece) == (ssize_t)piece);
		require(log_fill(r) == 1);
		done += piece;
	}
	require(log_next(r, &rec) == LOG_END);
	require(log_damage(r) == rd.damage);
	require(log_offset(r) <= size);
	rd.mux = log_is_mux(r);
	log_free(r);
	return rd;
}

/* A sound mux log, but a record each 20 ms; then with one bit of one of their times flipped. */
static void
damage_time(uint8_t *log, size_t size, uint8_t which, unsigned bit)
{
	struct reading even, damaged;
	uint64_t t = UINT64_C(1769854500000000);
	size_t at, records = 0;

	for (at = 0; at < size; at += LOG_PREFIX_SIZE + le32_load(log + at + 4), records++)
		le64_store(log + at + 16, t += 20000);
	even = read_log(log, size, NULL, PIPE_SIZE);
	require(even.damage == 0);
	for (at = 0, which %= records; which > 0; which--)
		at += LOG_PREFIX_SIZE + le32_load(log + at + 4);
	log[at + 16 + bit / 8] ^= (uint8_t)(1 << bit % 8);
	damaged = read_log(log, size, NULL, PIPE_SIZE);
	require(damaged.frames == even.frames && damaged.damage <= 1);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct log_options o = { .format = { .sample_rate = 8000, .frame_samples = 160 } };
	struct reading whole;
	uint8_t *copy;

	if (size < 3)
		return 0;
	o.recover = (data[0] & 1) != 0;
	o.headless = (data[0] & 2) != 0;
	o.codec_given = (data[0] & 4) != 0;
	o.format.codec = data[0] >> 3 & 1;
	o.format.channels = 1 + (data[0] >> 4 & 1);
	whole = read_log(data + 2, size - 2, &o, PIPE_SIZE);
	require(whole.hash == read_log(data + 2, size - 2, &o, 1 + data[1]).hash);
	if (whole.mux && whole.damage == 0) {
		require((copy = malloc(size - 2)) != NULL);
		memcpy(copy, data + 2, size - 2);
		damage_time(copy, size - 2, data[1], data[0] & 63);
		free(copy);
	}
	return 0;
}
