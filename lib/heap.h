/*
 * A binary heap: entries with a key, of which the smallest are found at once.
 * Entries are the caller's, mostly a member of something larger.
 */
#ifndef EET_HEAP_H
#define EET_HEAP_H

#include <stddef.h>
#include <stdint.h>

struct heap_entry {
	uint64_t key; /* stays, while the entry is in a heap */
	size_t place; /* the heap's */
};

/* All zero is an empty one. */
struct heap {
	struct heap_entry **entries; /* n of them, in no order to rely on */
	size_t n, capacity;
};

/* Have room for so many entries in all.  0; or -1 with errno, and nothing has changed. */
int heap_reserve(struct heap *h, size_t n);

/* Take in an entry, for which there is room, or out one that is in it: O(log n), never fails. */
void heap_put(struct heap *h, struct heap_entry *e);
void heap_remove(struct heap *h, struct heap_entry *e);

/* Call fn, which must leave the heap alone, for each entry with a key of at most that, in no order. */
void heap_each_upto(const struct heap *h, uint64_t key, void (*fn)(void *arg, struct heap_entry *e),
    void *arg);

/* Free what is the heap's. */
void heap_free(struct heap *h);

#endif
