/* json: what any values become; utf8: what is a character, and what is none. */
#include "json.h"
#include "utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
every_kind(void **state)
{
	static const char expected[] =
	    "{\"name\":\"kitchen\",\"none\":null,\"empty\":null,\"zero\":0,"
	    "\"most\":18446744073709551614,\"unknown\":null,\"level\":-6.02,\"whole\":-0,"
	    "\"silent\":null,\"yes\":true,\"no\":false}\n";
	char out[sizeof expected];
	struct json j;

	(void)state;
	json_begin(&j, out, sizeof out);
	json_string(&j, "name", "kitchen");
	json_string(&j, "none", NULL);
	json_string(&j, "empty", "");
	json_number(&j, "zero", 0);
	json_number(&j, "most", UINT64_MAX - 1);
	json_number(&j, "unknown", JSON_UNKNOWN);
	json_fixed(&j, "level", true, 2, -6.0206);
	json_fixed(&j, "whole", true, 0, -0.4);
	json_fixed(&j, "silent", false, 2, 1);
	json_bool(&j, "yes", true);
	json_bool(&j, "no", false);
	assert_int_equal(json_end(&j), sizeof expected - 1);
	assert_string_equal(out, expected);
}

static void
nothing(void **state)
{
	char out[4];
	struct json j;

	(void)state;
	json_begin(&j, out, sizeof out);
	assert_int_equal(json_end(&j), 3);
	assert_string_equal(out, "{}\n");
}

static void
assert_text(const char *value, const char *expected)
{
	char out[256], all[256];
	struct json j;

	json_begin(&j, out, sizeof out);
	json_string(&j, "k", value);
	json_end(&j);
	snprintf(all, sizeof all, "{\"k\":\"%s\"}\n", expected);
	assert_string_equal(out, all);
}

static void
any_bytes(void **state)
{
	(void)state;
	assert_text("say \"a\\b\"/", "say \\\"a\\\\b\\\"/");
	assert_text("\n\r\t\b\f\x01\x1f\x7f ",
	    "\\u000a\\u000d\\u0009\\u0008\\u000c\\u0001\\u001f"
	    "\\u007f ");
	assert_text("K\xc3\xbc"
		    "che \xe2\x82\xac \xf0\x9f\x8e\x99",
	    "K\xc3\xbc"
	    "che \xe2\x82\xac \xf0\x9f\x8e\x99");
	/* What is none becomes U+FFFD byte by byte; what follows stays. */
	assert_text("a\xff"
		    "b",
	    "a\\ufffdb");
	assert_text("\xc3", "\\ufffd");
	assert_text("\xe2\x82", "\\ufffd\\ufffd");
	assert_text("\xe2\x82\"", "\\ufffd\\ufffd\\\"");
	assert_text("\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd");
}

static void
too_small(void **state)
{
	static const char whole[] = "{\"key\":\"v\xc3\xbc\",\"n\":1234}\n";
	struct json j;

	(void)state;
	for (size_t size = 1; size <= sizeof whole; size++) {
		char *out = malloc(size);
		size_t len;

		assert_non_null(out);
		json_begin(&j, out, size);
		json_string(&j, "key", "v\xc3\xbc");
		json_number(&j, "n", 1234);
		len = json_end(&j);
		assert_int_equal(len, size - 1);
		assert_int_equal(strlen(out), len);
		assert_memory_equal(out, whole, len);
		free(out);
	}
}

/* Where its allocation ends with it, so that nothing behind it is looked at. */
static size_t
character(const char *text, size_t len)
{
	char *copy = malloc(len > 0 ? len : 1);
	size_t n;

	assert_non_null(copy);
	memcpy(copy, text, len);
	n = utf8_character(copy, len);
	free(copy);
	return n;
}

static void
characters(void **state)
{
	static const struct {
		const char *text;
		size_t len;
	} last[] = {
		/* The first and the last of each length, and around the surrogates. */
		{ "", 1 },
		{ "\x7f", 1 },
		{ "\xc2\x80", 2 },
		{ "\xdf\xbf", 2 },
		{ "\xe0\xa0\x80", 3 },
		{ "\xed\x9f\xbf", 3 },
		{ "\xee\x80\x80", 3 },
		{ "\xef\xbf\xbf", 3 },
		{ "\xf0\x90\x80\x80", 4 },
		{ "\xf4\x8f\xbf\xbf", 4 },
	};
	static const char *const none[] = {
		"\x80",             /* it can't begin so */
		"\xbf",             /**/
		"\xc0\x80",         /* longer than need be */
		"\xc1\xbf",         /**/
		"\xe0\x9f\xbf",     /**/
		"\xf0\x8f\xbf\xbf", /**/
		"\xed\xa0\x80",     /* surrogates */
		"\xed\xbf\xbf",     /**/
		"\xf4\x90\x80\x80", /* past U+10FFFF */
		"\xf5\x80\x80\x80", /**/
		"\xfe",             /**/
		"\xff",             /**/
		"\xc3(",            /* something else follows */
		"\xe2\x82(",        /**/
		"\xe2(\x82",        /**/
		"\xf0\x9f\x8e(",    /**/
	};

	(void)state;
	for (size_t i = 0; i < sizeof last / sizeof *last; i++) {
		char more[8];

		memcpy(more, last[i].text, last[i].len);
		memcpy(more + last[i].len, "\xff", 1);
		assert_int_equal(character(more, last[i].len), last[i].len);
		assert_int_equal(character(more, last[i].len + 1), last[i].len);
		assert_true(utf8_valid(last[i].text, last[i].len));
		assert_false(utf8_valid(more, last[i].len + 1));
		for (size_t n = 0; n < last[i].len; n++) {
			assert_int_equal(character(more, n), 0);
			assert_int_equal(utf8_valid(more, n), n == 0);
		}
	}
	for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
		assert_int_equal(character(none[i], strlen(none[i])), 0);
		assert_false(utf8_valid(none[i], strlen(none[i])));
	}
}

static void
in_pieces(void **state)
{
	static const char text[] = "a\xc3\xbc\xe2\x82\xac\xf0\x9f\x8e\x99z";
	static const bool ends[] = { true, true, false, true, false, false, true, false, false,
		false, true, true };
	const uint8_t *p = (const uint8_t *)text;

	(void)state;
	for (size_t cut = 0; cut < sizeof text; cut++) {
		uint32_t s = 0;

		assert_true(utf8_add(&s, p, cut));
		assert_int_equal(s == 0, ends[cut]);
		assert_true(utf8_add(&s, p + cut, sizeof text - 1 - cut));
		assert_int_equal(s, 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind),
		cmocka_unit_test(nothing),
		cmocka_unit_test(any_bytes),
		cmocka_unit_test(too_small),
		cmocka_unit_test(characters),
		cmocka_unit_test(in_pieces),
	};

	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
