/* name: what a segment is called, and what is none of its names. */
#include "name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Parse text where its allocation ends with it, so that nothing behind it is looked at. */
static bool
parse(const char *text, size_t len, struct name *no)
{
	char *copy = malloc(len > 0 ? len : 1);
	bool ok;

	assert_non_null(copy);
	memcpy(copy, text, len);
	ok = name_parse(copy, len, no);
	free(copy);
	return ok;
}

static void
assert_name(const struct name *n, const char *text)
{
	char out[NAME_SIZE];
	struct name again;

	name_format(n, out);
	assert_string_equal(out, text);
	assert_true(parse(text, strlen(text), &again));
	assert_int_equal(again.stream_id, n->stream_id);
	assert_int_equal(again.session, n->session);
	assert_int_equal(again.time_ms, n->time_ms);
	for (size_t i = 0; i <= WIRE_MAX_TAG; i++) {
		assert_int_equal(again.tag[i], n->tag[i] == ':' ? '-' : n->tag[i]);
		if (n->tag[i] == '\0')
			break;
	}
}

static void
round_trips(void **state)
{
	static const char longest[] =
	    "stream_4294967295_a123456789b123456789c123456789d123456789e123456789f123456789g123"
	    "_99991231T235959.999Z_s4294967295";
	struct name n = { .stream_id = 4294967295, .session = 4294967295, .time_ms = NAME_MAX_MS };

	(void)state;
	assert_name(&(struct name){ 7, 3, UINT64_C(1769854500250), "kitchen" },
	    "stream_7_kitchen_20260131T101500.250Z_s3");
	assert_name(&(struct name){ 0, 0, 0, "" }, "stream_0_19700101T000000.000Z_s0");
	assert_name(&(struct name){ 1, 1, UINT64_C(951782400001), "" },
	    "stream_1_20000229T000000.001Z_s1");
	strcpy(n.tag, "a123456789b123456789c123456789d123456789e123456789f123456789g123");
	assert_name(&n, longest);
	assert_true(sizeof longest + sizeof ".eet.part" <= NAME_SIZE);
}

/* Ten thousand times, spread over all years, days and seconds. */
static void
calendar(void **state)
{
	struct name n = { .stream_id = 1, .session = 1 }, again;
	char out[NAME_SIZE], before[NAME_SIZE] = "";

	(void)state;
	for (uint64_t s = 0; s < UINT64_C(253402300800); s += 86399 * UINT64_C(290)) {
		n.time_ms = s * 1000 + s % 1000;
		name_format(&n, out);
		assert_true(name_parse(out, strlen(out), &again));
		assert_int_equal(again.time_ms, n.time_ms);
		assert_true(strcmp(before, out) < 0); /* names sort as times do */
		strcpy(before, out);
	}
	/* A time past the last is written as the last. */
	n.time_ms = NAME_MAX_MS + 1;
	name_format(&n, out);
	assert_string_equal(out, "stream_1_99991231T235959.999Z_s1");
}

/* A tag may hold whatever else is in a name; what comes from the end is not the tag's. */
static void
tags_with_separators(void **state)
{
	static const char *const tags[] = { "0", "a_", "a__", "7_", "00:1B:44:11:3A:B7", "s1",
		"a_s1", "20260131T101500.250Z", "20260131T101500.250Z_s3", "a.eet", "a.eet.part",
		"a-b", "x.", "1_2_3", "stream_7" };

	(void)state;
	for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++) {
		struct name n = { .stream_id = 7, .session = 12, .time_ms = 1001 };
		char text[NAME_SIZE];

		strcpy(n.tag, tags[i]);
		snprintf(text, sizeof text, "stream_7_%s_19700101T000001.001Z_s12", tags[i]);
		for (char *p = text; *p != '\0'; p++)
			if (*p == ':')
				*p = '-';
		assert_name(&n, text);
	}
}

static void
foreign_names(void **state)
{
	static const char *const names[] = {
		"",
		"stream_",
		"stream__",
		"stream_1",
		"stream_1_20260131T101500.250Z",
		"stream_1_20260131T101500.250Z_s",
		"stream_1_20260131T101500.250Z_1",
		"stream_1_20260131T101500.250Z_s1 ",
		"stream_1_20260131T101500.250Z_s-1",
		"stream_1_20260131T101500.250Z_s+1",
		"stream_1_20260131T101500.250Z_s01",
		"stream_1_20260131T101500.250Z_s4294967296",
		"stream_1_20260131T101500.250Z_s18446744073709551617",
		"stream_4294967296_20260131T101500.250Z_s1",
		"stream_01_20260131T101500.250Z_s1",
		"stream_-1_20260131T101500.250Z_s1",
		"stream_ 1_20260131T101500.250Z_s1",
		"stream__20260131T101500.250Z_s1",
		"stream_20260131T101500.250Z_s1",
		"stream_1__20260131T101500.250Z_s1",
		"stream_1_-a_20260131T101500.250Z_s1",
		"stream_1_a b_20260131T101500.250Z_s1",
		"stream_1_a/b_20260131T101500.250Z_s1",
		"stream_1_a:b_20260131T101500.250Z_s1", /* ours has '-' there */
		"stream_1_\xc3\xa4_20260131T101500.250Z_s1",
		("stream_1_a123456789b123456789c123456789d123456789e123456789f123456789g1234_"
		 "20260131T101500.250Z_s1"),
		"Stream_1_20260131T101500.250Z_s1",
		"xstream_1_20260131T101500.250Z_s1",
		/* Times that there are not, or that are written otherwise. */
		"stream_1_20260230T101500.250Z_s1",
		"stream_1_20261331T101500.250Z_s1",
		"stream_1_20260031T101500.250Z_s1",
		"stream_1_20260100T101500.250Z_s1",
		"stream_1_20260131T241500.250Z_s1",
		"stream_1_20260131T106000.250Z_s1",
		"stream_1_20260131T101560.250Z_s1",
		"stream_1_19691231T235959.999Z_s1",
		"stream_1_00000101T000000.000Z_s1",
		"stream_1_20260131t101500.250Z_s1",
		"stream_1_20260131T101500.250z_s1",
		"stream_1_20260131T101500,250Z_s1",
		"stream_1_ 2026131T101500.250Z_s1",
		"stream_1_+2026131T101500.250Z_s1",
		"stream_1_-0010131T101500.250Z_s1",
		"stream_1_20260131T101500. 50Z_s1",
		"stream_1_20260131T101500.-50Z_s1",
		"stream_1_20260131T 11500.250Z_s1",
		"stream_1_2026-1-1T101500.250Z_s1",
		"stream_1_x0260131T101500.250Z_s1",
	};
	struct name n, before;

	(void)state;
	memset(&n, 0x5a, sizeof n);
	before = n;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (parse(names[i], strlen(names[i]), &n))
			fail_msg("\"%s\" was taken for a name", names[i]);
		assert_memory_equal(&n, &before, sizeof n);
	}
}

/* A name ends where it is said to end, and every byte of it counts. */
static void
every_byte(void **state)
{
	static const char good[] = "stream_10_ab_20260131T101500.250Z_s12";
	const size_t len = sizeof good - 1;
	struct name n;

	(void)state;
	assert_true(parse(good, len, &n));
	for (size_t cut = 0; cut < len - 1; cut++)
		assert_false(parse(good, cut, &n));
	assert_true(parse(good, len - 1, &n));
	assert_int_equal(n.session, 1);
	for (size_t at = 0; at < len; at++)
		for (int c = 0; c < 256; c++) {
			char text[sizeof good], again[NAME_SIZE];

			memcpy(text, good, sizeof good);
			text[at] = (char)c;
			if (!parse(text, len, &n))
				continue;
			name_format(&n, again);
			assert_string_equal(again, text);
		}
}

static void
suffixes(void **state)
{
	static const struct {
		const char *file;
		enum name_suffix suffix;
		size_t stem;
	} files[] = {
		{ "a.eet", NAME_EET, 1 },
		{ "a.wav", NAME_WAV, 1 },
		{ "a.eet.part", NAME_EET_PART, 1 },
		{ "a.wav.part", NAME_WAV_PART, 1 },
		{ "a.eet.damaged", NAME_DAMAGED, 1 },
		{ "a.eet.new.part", NAME_NEW_PART, 1 },
		{ "a.line.part", NAME_LINE_PART, 1 },
		{ "a.eet.wav", NAME_WAV, 5 },
		{ "a.part.eet", NAME_EET, 6 },
		{ "", NAME_NONE, 0 },
		{ "a", NAME_NONE, 1 },
		{ ".eet", NAME_NONE, 4 },
		{ ".eet.part", NAME_NONE, 9 },
		{ "a.EET", NAME_NONE, 5 },
		{ "a.eet~", NAME_NONE, 6 },
		{ "a.part", NAME_NONE, 6 },
		{ "index.jsonl", NAME_NONE, 11 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		size_t stem;

		assert_int_equal(name_suffix(files[i].file, &stem), files[i].suffix);
		assert_int_equal(stem, files[i].stem);
	}
}

/* A ':' is written as '+' while a file is unfinished, and the tag is read as it was. */
static void
colons(void **state)
{
	const struct name n = { .stream_id = 7, .session = 3, .time_ms = 1001, .tag = "a:b-c" };
	char file[NAME_FILE_SIZE];
	struct name again;

	(void)state;
	for (enum name_suffix s = NAME_EET; s < NAME_SUFFIXES; s++) {
		const bool part = s >= NAME_EET_PART;

		name_file(&n, name_extension(s), file);
		assert_non_null(strstr(file, part ? "_a+b-c_" : "_a-b-c_"));
		assert_int_equal(name_read(file, &again), s);
		assert_string_equal(again.tag, part ? "a:b-c" : "a-b-c");
		assert_int_equal(again.session, 3);
	}
	assert_int_equal(name_read("stream_7_a+b_19700101T000001.001Z_s3.eet", &again), NAME_NONE);
	assert_int_equal(name_read("stream_7_a:b_19700101T000001.001Z_s3.eet.part", &again),
	    NAME_NONE);
	assert_int_equal(name_read("stream_7_+b_19700101T000001.001Z_s3.eet.part", &again),
	    NAME_NONE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trips),
		cmocka_unit_test(calendar),
		cmocka_unit_test(tags_with_separators),
		cmocka_unit_test(foreign_names),
		cmocka_unit_test(every_byte),
		cmocka_unit_test(suffixes),
		cmocka_unit_test(colons),
	};

	return cmocka_run_group_tests_name("name", tests, NULL, NULL);
}
