#include "heap.h"

#include <stdlib.h>

/* The children of entries[i] are entries[2 * i + 1] and the one behind it; none has a smaller key. */

int
heap_reserve(struct heap *h, size_t n)
{
	struct heap_entry **entries;
	size_t capacity = h->capacity > 0 ? h->capacity : 16;

	if (n <= h->capacity)
		return 0;
	while (capacity < n)
		capacity *= 2;
	if ((entries = realloc(h->entries, capacity * sizeof(struct heap_entry *))) == NULL)
		return -1;
	h->entries = entries;
	h->capacity = capacity;
	return 0;
}

static void
place(struct heap *h, struct heap_entry *e, size_t i)
{
	h->entries[i] = e;
	e->place = i;
}

/* Have e, for which entries[i] is free, at its place from there upwards. */
static void
rise(struct heap *h, struct heap_entry *e, size_t i)
{
	for (; i > 0 && h->entries[(i - 1) / 2]->key > e->key; i = (i - 1) / 2)
		place(h, h->entries[(i - 1) / 2], i);
	place(h, e, i);
}

void
heap_put(struct heap *h, struct heap_entry *e)
{
	rise(h, e, h->n++);
}

void
heap_remove(struct heap *h, struct heap_entry *e)
{
	struct heap_entry *last = h->entries[--h->n];
	size_t i = e->place;

	/* The last one fills the hole, which first goes down to the bottom. */
	for (size_t child; (child = 2 * i + 1) < h->n; i = child) {
		if (child + 1 < h->n && h->entries[child + 1]->key < h->entries[child]->key)
			child++;
		place(h, h->entries[child], i);
	}
	if (last != e)
		rise(h, last, i);
}

static void
each_upto(const struct heap *h, size_t i, uint64_t key, void (*fn)(void *arg, struct heap_entry *e),
    void *arg)
{
	/* Recursion as deep as the heap: log2(n). */
	if (i >= h->n || h->entries[i]->key > key)
		return;
	fn(arg, h->entries[i]);
	each_upto(h, 2 * i + 1, key, fn, arg);
	each_upto(h, 2 * i + 2, key, fn, arg);
}

void
heap_each_upto(const struct heap *h, uint64_t key, void (*fn)(void *arg, struct heap_entry *e),
    void *arg)
{
	each_upto(h, 0, key, fn, arg);
}

void
heap_free(struct heap *h)
{
	free(h->entries);
	*h = (struct heap){ 0 };
}
