/*
 * The sessions that are open at a position of the queue, with their OPENs (raw: handshakes), so that a
 * capture that begins anew amid them can be read from its beginning.
 */
#ifndef EET_LISTEN_OPENS_H
#define EET_LISTEN_OPENS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct opens {
	void *all;                          /* by session: tsearch(3) */
	TAILQ_HEAD(open_list, open) closed; /* those that are still to be written, in order */
};

void opens_init(struct opens *o);

/* The session's record[0..len), which is copied, ends at that position.  Without memory: the end. */
void opens_add(struct opens *o, uint32_t session, uint64_t end, const uint8_t *record, size_t len);

/* The session is over at that position, the end of its CLOSE. */
void opens_close(struct opens *o, uint32_t session, uint64_t end);

/* Nothing before that position will be asked for any more. */
void opens_forget(struct opens *o, uint64_t position);

/*
 * The records of all sessions that are open at that position, a record's start, in the order of their
 * numbers; those of a mux log with time_us as their time.  To be freed; *leno 0: there is none, or no
 * memory, which ends the program.
 */
uint8_t *opens_records(const struct opens *o, uint64_t position, uint64_t time_us, size_t *leno);

void opens_free(struct opens *o);

#endif
