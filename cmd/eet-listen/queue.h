/*
 * What waits to be stored: one stream of bytes in blocks of memory, appended at the end, read by
 * any number of sinks at their own positions, released when the last of them is done.
 *
 * A position counts the bytes since the start.  What is appended in one go (a record) lies in one
 * block, and no byte moves until it is released.
 */
#ifndef EET_LISTEN_QUEUE_H
#define EET_LISTEN_QUEUE_H

#include <stddef.h>
#include <stdint.h>

enum { QUEUE_BLOCK = 128 << 10 };

struct queue_block {
	struct queue_block *next;
	uint64_t start; /* position of data[0] */
	size_t used, size;
	uint8_t data[];
};

struct queue {
	struct queue_block *first, *last;
	struct queue_block *spare; /* one that was released, for the next */
	uint64_t end;              /* the position behind the last byte */
};

/* Append len bytes (not 0), to be filled in by the caller.  Without memory the program ends. */
uint8_t *queue_add(struct queue *q, size_t len);

/* The block that holds the byte at a position before the end, and was not released. */
struct queue_block *queue_at(const struct queue *q, uint64_t position);

/* Nothing before that position is needed any more. */
void queue_release(struct queue *q, uint64_t position);

/* Free all memory. */
void queue_free(struct queue *q);

#endif
