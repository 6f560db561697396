/* eet-listen's opens: which sessions are open at a position of the queue, and how they are told. */
#include "../../cmd/eet-listen/opens.h"

#include "logs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static const struct wire_handshake pcm = {
	.sample_rate = 8000,
	.channels = 1,
	.frame_samples = 160,
};

static void
opened(struct opens *o, uint32_t session, uint64_t end)
{
	struct bytes record = { 0 };

	put_open(&record, session, 1000, &pcm, "tag=kitchen\n");
	opens_add(o, session, end, record.p, record.len);
	bytes_free(&record);
}

/* At that position just these are open, in this order, with that time, and else unchanged. */
static void
assert_open(const struct opens *o, uint64_t position, const uint32_t *sessions, size_t n)
{
	struct bytes expected = { 0 };
	size_t len;
	uint8_t *got = opens_records(o, position, 2000, &len);

	for (size_t i = 0; i < n; i++)
		put_open(&expected, sessions[i], 2000, &pcm, "tag=kitchen\n");
	assert_int_equal(len, expected.len);
	if (len > 0)
		assert_memory_equal(got, expected.p, len);
	free(got);
	bytes_free(&expected);
}

#define ASSERT_OPEN(o, position, ...) \
	assert_open(o, position, (const uint32_t[]){ __VA_ARGS__ }, \
	    sizeof(const uint32_t[]){ __VA_ARGS__ } / sizeof(uint32_t))

/* What waits to be written counts from where it is written: the queue brings its OPEN or CLOSE. */
static void
by_position(void **state)
{
	struct opens o;

	(void)state;
	opens_init(&o);
	assert_open(&o, 0, NULL, 0);
	opened(&o, 7, 100);
	opened(&o, 3, 200);
	opened(&o, 5, 300);
	opens_close(&o, 3, 400); /* its CLOSE begins at 350 */
	opens_close(&o, 99, 500);
	assert_open(&o, 0, NULL, 0);
	ASSERT_OPEN(&o, 100, 7);
	ASSERT_OPEN(&o, 200, 3, 7);
	ASSERT_OPEN(&o, 350, 3, 5, 7);
	ASSERT_OPEN(&o, 400, 5, 7);
	opens_forget(&o, 399);
	ASSERT_OPEN(&o, 399, 3, 5, 7);
	opens_forget(&o, 400);
	ASSERT_OPEN(&o, 399, 5, 7); /* it will not be asked for */
	opened(&o, 8, 500);
	opens_close(&o, 5, 600);
	ASSERT_OPEN(&o, 600, 7, 8);
	opens_free(&o);
	assert_open(&o, 600, NULL, 0);
}

/* A handshake of a frame log has no time of its own. */
static void
raw(void **state)
{
	uint8_t handshake[WIRE_HANDSHAKE_SIZE], *got;
	struct opens o;
	size_t len;

	(void)state;
	opens_init(&o);
	wire_pack_handshake(handshake, &pcm);
	opens_add(&o, 1, 32, handshake, sizeof handshake);
	got = opens_records(&o, 32, 2000, &len);
	assert_int_equal(len, sizeof handshake);
	assert_memory_equal(got, handshake, len);
	free(got);
	opens_close(&o, 1, 700); /* it is over without a record */
	got = opens_records(&o, 699, 2000, &len);
	assert_int_equal(len, sizeof handshake);
	free(got);
	assert_null(opens_records(&o, 700, 2000, &len));
	assert_int_equal(len, 0);
	opens_free(&o);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_position),
		cmocka_unit_test(raw),
	};

	return cmocka_run_group_tests_name("opens", tests, NULL, NULL);
}
