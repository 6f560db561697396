/*
 * Logs: one reader for both kinds (mux logs and frame logs, told apart by
 * their first magic, from pipes and files), and the mux log's writer.
 * eet-formats(5), "Mux log" and "Frame log".
 *
 * A log is untrusted input: whatever it holds, the reader stays within its
 * bounds, reports damage with its offset, and yields only records that keep
 * the rules of the wire, in sessions that are open.
 */
#ifndef EET_LOG_H
#define EET_LOG_H

#include "stream.h"
#include "wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LOG_MAGIC    0x4D544545u
/* 9999-12-31T23:59:59.999999Z is the last time there is. */
#define LOG_MAX_TIME UINT64_C(253402300799999999)

enum {
	LOG_PREFIX_SIZE = 12,             /* magic, length, number: of every record and frame */
	LOG_HEADER_SIZE = 24,             /* of a mux record */
	LOG_MAX_LENGTH = (16 << 20) + 24, /* the length field's largest value */
	LOG_MAX_KEYS = 4096,              /* bytes of key=value lines in an OPEN */
	LOG_MAX_SESSIONS = 1 << 18,       /* open at once; one more is damage */
	LOG_READ_SIZE = 65536,
	LOG_MAX_PEER = 128
};

enum log_kind {
	LOG_KIND_OPEN = 1,
	LOG_KIND_FRAME = 2,
	LOG_KIND_CLOSE = 3,
	LOG_KIND_TICK = 4,
	LOG_KIND_ROTATE = 5
};

/*
 * ---- Writer: records in memory; the caller owns buffers and descriptors. ----
 */

/* Write a record's 24-byte header, for a body of that many bytes. */
void log_pack_header(uint8_t out[LOG_HEADER_SIZE], uint32_t session, enum log_kind kind,
    uint64_t time_us, uint32_t body);

/*
 * Write a whole OPEN record: the handshake as received, then peer= and tag=
 * lines (NULL: no such line; a peer's control characters become '?').
 * Returns its size, at most LOG_MAX_OPEN.
 */
enum { LOG_MAX_OPEN = LOG_HEADER_SIZE + WIRE_HANDSHAKE_SIZE + LOG_MAX_KEYS };
size_t log_pack_open(uint8_t out[LOG_MAX_OPEN], uint32_t session, uint64_t time_us,
    const uint8_t handshake[WIRE_HANDSHAKE_SIZE], const char *peer, const char *tag);

/* Write a whole CLOSE record; a reason is cut at WIRE_MAX_REASON bytes.  Returns its size. */
enum { LOG_MAX_CLOSE = LOG_HEADER_SIZE + 2 + WIRE_MAX_REASON };
size_t log_pack_close(uint8_t out[LOG_MAX_CLOSE], uint32_t session, uint64_t time_us, uint16_t code,
    const char *reason, size_t reason_len);

/*
 * ---- Reader ----
 */

/* An open session, from its LOG_OPEN up to the log_next() after its LOG_CLOSE. */
struct log_session {
	uint32_t number; /* the log's own; in a frame log 1, 2, 3 … one per handshake */
	struct wire_handshake format;
	uint8_t handshake[WIRE_HANDSHAKE_SIZE]; /* as received */
	struct stream stream;        /* every frame yielded so far, the current one included */
	uint64_t open_us;            /* the OPEN's time */
	char tag[WIRE_MAX_TAG + 1];  /* "": none */
	char peer[LOG_MAX_PEER + 1]; /* "": unknown; bytes from outside */
	void *user; /* the caller's; starts as NULL, the reader does not look at it */
};

enum log_event {
	LOG_MORE, /* nothing whole is buffered: log_fill(), or log_window(), or log_eof() */
	LOG_OPEN,
	LOG_FRAME,
	LOG_CLOSE, /* also made up, for sessions that end without one */
	LOG_TICK,  /* only a time: a TICK, or a record of a kind unknown here */
	LOG_ROTATE,
	LOG_DAMAGE, /* something is wrong: *text says what; reading goes on with log_next() */
	LOG_END,    /* for good: the end of input, or of what can be read of it */
	LOG_ERROR   /* out of memory (errno) */
};

/*
 * What a LOG_DAMAGE is about.  Its bytes are exactly those from its offset on, `skipped` of them;
 * what comes next is at offset + skipped.  Without log_options.recover, LOG_TORN and LOG_TAIL end the
 * reading, LOG_TAIL without a look at what follows.
 */
enum log_wrong {
	LOG_RECORD = 1, /* a whole record that breaks a rule: it alone is passed over */
	LOG_LOST,       /* bytes that belong to no record; a sound one is at offset + skipped */
	LOG_TAIL,       /* as LOG_LOST, but no sound record follows up to the end of the input */
	LOG_TORN, /* as LOG_TAIL: the last record, whose end is missing (zeros may follow its prefix) */
	LOG_ZEROS, /* as LOG_TAIL: every byte is 0 */
	LOG_TIME /* a mux record's time, which is not believed; skipped is 0: the record comes next */
};

struct log_record {
	enum log_event event;
	uint64_t offset;             /* in the input, of the record or the damage */
	uint64_t time_us;            /* OPEN, FRAME, CLOSE, TICK, ROTATE; DAMAGE: of a LOG_RECORD */
	struct log_session *session; /* OPEN, FRAME, CLOSE; else NULL */
	struct wire_frame frame;     /* FRAME */
	struct stream_step step;     /* FRAME: what its seq meant */
	const uint8_t *data;         /* OPEN: the handshake; FRAME: the message, header included */
	uint32_t length;             /* bytes of data */
	uint16_t code; /* CLOSE; 0 where the log does not say: a frame log has no CLOSE */
	bool made_up;  /* CLOSE: no such record was in the log */
	char reason[WIRE_MAX_REASON + 1]; /* CLOSE; bytes from outside, NULs replaced by '?' */
	/* DAMAGE: what, and the limit.  OPEN: "", or what was dropped from its keys.  Holds bytes from outside. */
	char text[256];
	enum log_wrong wrong; /* DAMAGE; else 0 */
	uint64_t skipped; /* DAMAGE: bytes passed over because of it, 0 if the end is not known */
	const uint8_t *record; /* the record verbatim as it stands in the log; NULL if made up */
	uint32_t record_length;
};

struct log_options {
	bool recover;     /* scan for the next sound record instead of ending at a bad one */
	bool headless;    /* frame logs may begin with a frame: format describes it */
	bool codec_given; /* headless: format.codec counts; else the first frame's magic decides */
	struct wire_handshake format; /* headless: sample_rate, channels, frame_samples, codec */
};

struct log_reader;

/*
 * A reader of fd (-1: of memory, log_window()).  Does not read yet, never
 * closes fd.  o may be NULL.  NULL on failure, with errno.
 */
struct log_reader *log_new(int fd, const struct log_options *o);

/* Frees r and all its sessions; their user pointers are the caller's.  NULL is fine. */
void log_free(struct log_reader *r);

/*
 * The first bytes of the input, at most LOG_READ_SIZE, were read from fd already: here they are.
 * Before all else.  0, or -1 with errno.
 */
int log_unread(struct log_reader *r, const uint8_t *bytes, size_t len);

/*
 * One read(2) of the descriptor into the reader's buffer; what it holds is moved, so that
 * pointers out of earlier records end here.  1: bytes came; 0: end of input
 * (log_next() then yields what is left, and LOG_END); -1: errno (EAGAIN as
 * it is), the reader is unchanged.
 */
int log_fill(struct log_reader *r);

/*
 * Instead of a descriptor: the next piece of the log is buf[0..len), to be
 * kept unchanged until log_next() says LOG_MORE.  It must begin and end at record
 * boundaries.
 */
void log_window(struct log_reader *r, const uint8_t *buf, size_t len);

/* There is no more input: log_next() yields what is left, then LOG_END. */
void log_eof(struct log_reader *r);

/*
 * The next event, into *ro (ro->event is what is returned).  Pointers in *ro are
 * good until the next log_fill(), ro->session until the next log_next().
 */
enum log_event log_next(struct log_reader *r, struct log_record *ro);

/* log_next(), with log_fill() as often as it takes; LOG_ERROR with errno if a read fails. */
enum log_event log_get(struct log_reader *r, struct log_record *ro);

/* True once the log is known to be a mux log, false for a frame log or when not known yet. */
bool log_is_mux(const struct log_reader *r);

/* How far the reader has come, in bytes of input. */
uint64_t log_offset(const struct log_reader *r);

/* How many LOG_DAMAGE events there were. */
uint64_t log_damage(const struct log_reader *r);

#endif
