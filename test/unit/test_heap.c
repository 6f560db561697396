/* heap: who is due, whatever came and went before. */
#include "heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 300 };

struct item {
	struct heap_entry entry;
	bool in, told;
};

static void
tell(void *arg, struct heap_entry *e)
{
	struct item *item = (struct item *)(void *)e; /* its first member */

	assert_true(e->key <= *(uint64_t *)arg);
	assert_true(item->in);
	assert_false(item->told);
	item->told = true;
}

/* Each item that is in, with a key of at most that, is told once, and no other. */
static void
assert_due(const struct heap *h, struct item items[N], uint64_t key)
{
	for (size_t i = 0; i < N; i++)
		items[i].told = false;
	heap_each_upto(h, key, tell, &key);
	for (size_t i = 0; i < N; i++)
		assert_int_equal(items[i].told, items[i].in && items[i].entry.key <= key);
}

static void
any_order(void **state)
{
	static struct item items[N];
	struct heap h = { 0 };
	unsigned short seed[3] = { 1, 2, 3 };

	(void)state;
	assert_due(&h, items, UINT64_MAX);
	assert_int_equal(heap_reserve(&h, N), 0);
	for (int round = 0; round < 20000; round++) {
		struct item *item = &items[nrand48(seed) % N];

		if (item->in) {
			heap_remove(&h, &item->entry);
		} else {
			/* Few keys, so that many are equal. */
			item->entry.key = (uint64_t)nrand48(seed) % 50;
			heap_put(&h, &item->entry);
		}
		item->in = !item->in;
		if (round % 16 == 0)
			assert_due(&h, items, (uint64_t)nrand48(seed) % 60);
	}
	for (size_t i = 0; i < N; i++)
		if (items[i].in) {
			heap_remove(&h, &items[i].entry);
			items[i].in = false;
		}
	assert_due(&h, items, UINT64_MAX);
	heap_free(&h);
}

static void
extreme_keys(void **state)
{
	static struct item items[N];
	struct heap h = { 0 };

	(void)state;
	assert_int_equal(heap_reserve(&h, 1), 0);
	assert_int_equal(heap_reserve(&h, 3), 0);
	for (size_t i = 0; i < 3; i++) {
		items[i].in = true;
		items[i].entry.key = i == 1 ? 0 : UINT64_MAX;
		heap_put(&h, &items[i].entry);
	}
	assert_due(&h, items, 0);
	assert_due(&h, items, UINT64_MAX - 1);
	assert_due(&h, items, UINT64_MAX);
	heap_free(&h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_order),
		cmocka_unit_test(extreme_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
