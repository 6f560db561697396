/* See queue.h. */
#include "queue.h"

#include "cli.h"

#include <stdlib.h>

uint8_t *
queue_add(struct queue *q, size_t len)
{
	struct queue_block *b = q->last;

	if (b == NULL || b->size - b->used < len) {
		if (q->spare != NULL && len <= QUEUE_BLOCK) {
			b = q->spare;
			q->spare = NULL;
		} else {
			size_t size = len > QUEUE_BLOCK ? len : QUEUE_BLOCK;

			if ((b = malloc(sizeof *b + size)) == NULL)
				cli_die(CLI_EFAIL, "%zu bytes for what waits to be stored", size);
			b->size = size;
		}
		b->next = NULL;
		b->start = q->end;
		b->used = 0;
		*(q->last != NULL ? &q->last->next : &q->first) = b;
		q->last = b;
	}
	b->used += len;
	q->end += len;
	return b->data + b->used - len;
}

struct queue_block *
queue_at(const struct queue *q, uint64_t position)
{
	struct queue_block *b = q->first;

	while (position >= b->start + b->used)
		b = b->next;
	return b;
}

void
queue_release(struct queue *q, uint64_t position)
{
	struct queue_block *b;

	while ((b = q->first) != NULL && b->start + b->used <= position) {
		q->first = b->next;
		if (b->next == NULL)
			q->last = NULL;
		if (q->spare == NULL && b->size == QUEUE_BLOCK)
			q->spare = b;
		else
			free(b);
	}
}

void
queue_free(struct queue *q)
{
	queue_release(q, q->end);
	free(q->spare);
	q->spare = NULL;
}
