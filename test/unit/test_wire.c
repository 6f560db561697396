/* wire: bytes of handshakes and frames, what is refused, with which close code and which words. */
#include "bytes.h"
#include "wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* clang-format off */
static const uint8_t hello[WIRE_HANDSHAKE_SIZE] = {
	'C', 'P', 'D', 'A', 1, 0, 32, 0,
	0x44, 0x33, 0x22, 0x11, 0x80, 0x3e, 0, 0,
	2, 0, 1, 0, 0x40, 0x01, 0xcd, 0xab,
	0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01
};
/* clang-format on */

static const struct wire_handshake adpcm = { 7, 16000, 1, WIRE_ADPCM, 640, 0, 0 };
static const struct wire_handshake adpcm3 = { 7, 16000, 3, WIRE_ADPCM, 9, 0, 0 };
static const struct wire_handshake pcm = { 7, 16000, 2, WIRE_PCM16, 100, 0, 0 };

static void
handshake_bytes(void **state)
{
	struct wire_handshake h;
	struct wire_fault f;
	uint8_t out[WIRE_HANDSHAKE_SIZE];

	(void)state;
	assert_true(wire_parse_handshake(hello, sizeof hello, &h, &f));
	assert_int_equal(h.stream_id, 0x11223344);
	assert_int_equal(h.sample_rate, 16000);
	assert_int_equal(h.channels, 2);
	assert_int_equal(h.codec, WIRE_ADPCM);
	assert_int_equal(h.frame_samples, 320);
	assert_int_equal(h.reserved, 0xabcd);
	assert_true(h.timestamp_ms == UINT64_C(0x0102030405060708));
	wire_pack_handshake(out, &h);
	assert_memory_equal(out, hello, sizeof out);
}

/* The handshake with bytes at an offset replaced, or of another length, and what comes back. */
static void
handshake_refused(void **state)
{
	static const struct {
		size_t at, count;
		uint8_t bytes[4];
		const char *reason; /* NULL: taken */
	} cases[] = {
		{ 0, 4, "ADPC",
		    "handshake magic is the text \"ADPC\"; it is the number 0x41445043, little-endian: "
		    "bytes \"CPDA\"" },
		{ 0, 4, "XPDA", "handshake magic 0x41445058, must be 0x41445043" },
		{ 0, 4, { 0 }, "handshake magic 0x00000000, must be 0x41445043" },
		{ 0, 4, "FPDA",
		    "frame magic 0x41445046 before the handshake, whose magic is 0x41445043" },
		{ 0, 4, "PCMF",
		    "frame magic 0x464D4350 before the handshake, whose magic is 0x41445043" },
		{ 4, 2, { 2, 0 }, "handshake version 2, must be 1" },
		{ 4, 2, { 0, 1 }, "handshake version 256, must be 1" },
		{ 6, 2, { 31, 0 }, "handshake header_len 31, must be 32" },
		{ 12, 4, { 0 }, "handshake sample_rate 0, 1 to 768000" },
		{ 12, 4, { 1, 0, 0, 0 }, NULL },
		{ 12, 4, { 0x00, 0xb8, 0x0b, 0 }, NULL },
		{ 12, 4, { 0x01, 0xb8, 0x0b, 0 }, "handshake sample_rate 768001, 1 to 768000" },
		{ 12, 4, { 0xff, 0xff, 0xff, 0xff },
		    "handshake sample_rate 4294967295, 1 to 768000" },
		{ 16, 2, { 0 }, "handshake channels 0, 1 to 64" },
		{ 16, 2, { 64, 0 }, NULL },
		{ 16, 2, { 65, 0 }, "handshake channels 65, 1 to 64" },
		{ 18, 2, { 0 }, NULL },
		{ 18, 2, { 2, 0 }, "handshake codec 2, 0 (PCM16) or 1 (IMA ADPCM)" },
		{ 20, 2, { 0 }, "handshake frame_samples 0, 1 to 65535" },
		{ 20, 2, { 1, 0 }, NULL },
		{ 20, 2, { 0xff, 0xff }, NULL },
		{ 22, 2, { 0xff, 0xff }, NULL },
	};
	struct wire_handshake h, before;
	struct wire_fault f;
	uint8_t buf[WIRE_HANDSHAKE_SIZE];
	size_t i;

	(void)state;
	memset(&before, 0x5a, sizeof before);
	for (i = 0; i < sizeof cases / sizeof *cases; i++) {
		memcpy(buf, hello, sizeof buf);
		memcpy(buf + cases[i].at, cases[i].bytes, cases[i].count);
		h = before;
		if (cases[i].reason == NULL) {
			assert_true(wire_parse_handshake(buf, sizeof buf, &h, &f));
			continue;
		}
		assert_false(wire_parse_handshake(buf, sizeof buf, &h, &f));
		assert_memory_equal(&h, &before, sizeof h);
		assert_string_equal(f.reason, cases[i].reason);
		assert_int_equal(f.code, WIRE_CLOSE_POLICY);
	}
}

static void
handshake_sizes(void **state)
{
	static const struct {
		size_t len;
		uint16_t code;
		const char *reason;
	} cases[] = {
		{ 0, WIRE_CLOSE_POLICY, "handshake of 0 bytes, must be 32" },
		{ 3, WIRE_CLOSE_POLICY, "handshake of 3 bytes, must be 32" },
		{ 31, WIRE_CLOSE_POLICY, "handshake of 31 bytes, must be 32" },
		{ 33, WIRE_CLOSE_POLICY, "handshake of 33 bytes, must be 32" },
		{ 65536, WIRE_CLOSE_POLICY, "handshake of 65536 bytes, must be 32" },
		{ 65537, WIRE_CLOSE_TOO_BIG,
		    "first message of 65537 bytes, must be a handshake of 32" },
	};
	uint8_t *buf = calloc(1, 65537);
	struct wire_handshake h;
	struct wire_fault f;
	size_t i;

	(void)state;
	assert_non_null(buf);
	memcpy(buf, hello, sizeof hello);
	for (i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_false(wire_parse_handshake(buf, cases[i].len, &h, &f));
		assert_int_equal(f.code, cases[i].code);
		assert_string_equal(f.reason, cases[i].reason);
	}
	/* A magic that is not due comes before the length, the text "ADPC" before the exact size. */
	le32_store(buf, WIRE_MAGIC_PCM);
	assert_false(wire_parse_handshake(buf, 65537, &h, &f));
	assert_int_equal(f.code, WIRE_CLOSE_POLICY);
	le32_store(buf, 0x43504441); /* "ADPC" */
	assert_false(wire_parse_handshake(buf, 40, &h, &f));
	assert_non_null(strstr(f.reason, "CPDA"));
	assert_false(wire_parse_handshake(buf, 65537, &h, &f));
	assert_int_equal(f.code, WIRE_CLOSE_TOO_BIG);
	free(buf);
}

static void
frame_bytes(void **state)
{
	uint8_t buf[WIRE_FRAME_HEADER_SIZE + 12] = { 0 };
	struct wire_frame frame;
	struct wire_fault f;

	(void)state;
	wire_pack_frame(buf, WIRE_ADPCM, 12, 0x80000001);
	assert_memory_equal(buf, "FPDA\x0c\0\0\0\x01\0\0\x80", 12);
	assert_true(wire_parse_frame(&adpcm3, buf, sizeof buf, &frame, &f));
	assert_int_equal(frame.seq, 0x80000001);
	assert_int_equal(frame.length, 12);
	assert_ptr_equal(frame.payload, buf + WIRE_FRAME_HEADER_SIZE);
	wire_pack_frame(buf, WIRE_PCM16, 4, 5);
	assert_memory_equal(buf, "PCMF\x04\0\0\0\x05\0\0\0", 12);
	assert_true(wire_parse_frame(&pcm, buf, 16, &frame, &f));
	/* No samples: fine. */
	wire_pack_frame(buf, WIRE_PCM16, 0, 6);
	assert_true(wire_parse_frame(&pcm, buf, 12, &frame, &f));
	assert_int_equal(frame.length, 0);
}

static void
frame_refused(void **state)
{
	static const struct {
		const struct wire_handshake *h;
		const char *magic;
		uint32_t length; /* the field */
		uint32_t len;    /* the message */
		uint16_t code;
		const char *reason; /* NULL: taken */
	} cases[] = {
		{ &adpcm, "FPDA", 324, 336, 0, NULL },
		{ &adpcm, "FPDA", 1, 13, 0, NULL },
		{ &adpcm, "FPDA", 325, 337, WIRE_CLOSE_TOO_BIG,
		    "frame seq 17: payload 325 bytes, at most 324 (frame_samples 640)" },
		{ &adpcm, "FPDA", 100, 412, WIRE_CLOSE_TOO_BIG,
		    "frame seq 17: payload 400 bytes, at most 324 (frame_samples 640)" },
		{ &adpcm, "FPDA", 100, 111, WIRE_CLOSE_POLICY,
		    "frame seq 17: length 100, must be 99, the message's 111 bytes less 12" },
		{ &adpcm, "FPDA", 0xffffffff, 12, WIRE_CLOSE_POLICY,
		    "frame seq 17: length 4294967295, must be 0, the message's 12 bytes less 12" },
		{ &adpcm, "FPDA", 0, 11, WIRE_CLOSE_POLICY, "frame of 11 bytes, at least 12" },
		{ &adpcm, "FPDA", 0, 0, WIRE_CLOSE_POLICY, "frame of 0 bytes, at least 12" },
		{ &adpcm, "CPDA", 20, 32, WIRE_CLOSE_POLICY,
		    "second handshake (magic 0x41445043), one per connection" },
		{ &adpcm, "CPDA", 400, 412, WIRE_CLOSE_POLICY,
		    "second handshake (magic 0x41445043), one per connection" },
		{ &adpcm, "PCMF", 400, 412, WIRE_CLOSE_POLICY,
		    "frame magic 0x464D4350, must be 0x41445046 (handshake codec 1, adpcm)" },
		{ &pcm, "FPDA", 400, 412, WIRE_CLOSE_POLICY,
		    "frame magic 0x41445046, must be 0x464D4350 (handshake codec 0, pcm)" },
		{ &adpcm, "ADPF", 4, 16, WIRE_CLOSE_POLICY,
		    "frame magic is the text \"ADPF\"; it is the number 0x41445046, little-endian: "
		    "bytes \"FPDA\"" },
		{ &pcm, "FMCP", 4, 16, WIRE_CLOSE_POLICY,
		    "frame magic is the text \"FMCP\"; it is the number 0x464D4350, little-endian: "
		    "bytes \"PCMF\"" },
		{ &pcm, "FMCP", 404, 416, WIRE_CLOSE_TOO_BIG,
		    "frame seq 17: payload 404 bytes, at most 400 (frame_samples 100)" },
		{ &pcm, "RIFF", 4, 16, WIRE_CLOSE_POLICY,
		    "frame magic 0x46464952, must be 0x464D4350" },
		{ &pcm, "PCMF", 400, 412, 0, NULL },
		{ &pcm, "PCMF", 4, 16, 0, NULL },
		{ &pcm, "PCMF", 402, 414, WIRE_CLOSE_TOO_BIG,
		    "frame seq 17: payload 402 bytes, at most 400 (frame_samples 100)" },
		{ &pcm, "PCMF", 6, 18, WIRE_CLOSE_POLICY,
		    "frame seq 17: payload 6 bytes, must be a multiple of 4 (channels 2)" },
		{ &adpcm3, "FPDA", 36, 48, 0, NULL },
		{ &adpcm3, "FPDA", 12, 24, 0, NULL },
		{ &adpcm3, "FPDA", 37, 49, WIRE_CLOSE_TOO_BIG,
		    "frame seq 17: payload 37 bytes, at most 36 (frame_samples 9)" },
		{ &adpcm3, "FPDA", 16, 28, WIRE_CLOSE_POLICY,
		    "frame seq 17: payload 16 bytes, must be a multiple of 12 (channels 3)" },
	};
	struct wire_frame frame, before;
	struct wire_fault f;
	uint8_t buf[500];
	size_t i;

	(void)state;
	memset(&before, 0x5a, sizeof before);
	for (i = 0; i < sizeof cases / sizeof *cases; i++) {
		memset(buf, 0, sizeof buf);
		wire_pack_frame(buf, WIRE_ADPCM, cases[i].length, 17);
		memcpy(buf, cases[i].magic, 4);
		frame = before;
		if (cases[i].reason == NULL) {
			assert_true(wire_parse_frame(cases[i].h, buf, cases[i].len, &frame, &f));
			continue;
		}
		assert_false(wire_parse_frame(cases[i].h, buf, cases[i].len, &frame, &f));
		assert_memory_equal(&frame, &before, sizeof frame);
		assert_string_equal(f.reason, cases[i].reason);
		assert_int_equal(f.code, cases[i].code);
	}
}

static void
start_of_a_message(void **state)
{
	uint8_t buf[WIRE_FRAME_HEADER_SIZE];
	struct wire_fault f;

	(void)state;
	/* Before the handshake. */
	assert_true(wire_check_start(NULL, hello, 0, 0, &f));
	assert_true(wire_check_start(NULL, hello, 4, 32, &f));
	assert_true(wire_check_start(NULL, (const uint8_t *)"what", 4, 65536, &f));
	assert_false(wire_check_start(NULL, (const uint8_t *)"what", 4, 65537, &f));
	assert_int_equal(f.code, WIRE_CLOSE_TOO_BIG);
	assert_true(wire_check_start(NULL, (const uint8_t *)"PCM", 3, 100, &f));
	assert_false(wire_check_start(NULL, (const uint8_t *)"PCMF", 4, 100, &f));
	assert_int_equal(f.code, WIRE_CLOSE_POLICY);
	assert_false(wire_check_start(NULL, (const uint8_t *)"PCMF", 4, 100000, &f));
	assert_int_equal(f.code, WIRE_CLOSE_POLICY);

	/* After it: the first 4 bytes, then the length, however little of the message is there. */
	wire_pack_frame(buf, WIRE_PCM16, 400, 9);
	assert_true(wire_check_start(&pcm, buf, sizeof buf, 412, &f));
	assert_true(wire_check_start(&pcm, buf, 0, 412, &f));
	assert_false(wire_check_start(&pcm, buf, 0, 413, &f));
	assert_int_equal(f.code, WIRE_CLOSE_TOO_BIG);
	assert_string_equal(f.reason, "frame: payload 401 bytes, at most 400 (frame_samples 100)");
	assert_false(wire_check_start(&pcm, buf, sizeof buf, UINT64_MAX, &f));
	assert_string_equal(f.reason,
	    "frame seq 9: payload 18446744073709551603 bytes, at most 400 (frame_samples 100)");
	assert_false(wire_check_start(&pcm, hello, 4, 413, &f));
	assert_int_equal(f.code, WIRE_CLOSE_POLICY);
}

static void
longest_payloads(void **state)
{
	static const struct {
		uint16_t channels, codec, frame_samples;
		uint32_t payload;
	} cases[] = {
		{ 1, WIRE_PCM16, 1, 2 },
		{ 64, WIRE_PCM16, 65535, 8388480 },
		{ 1, WIRE_ADPCM, 1, 8 },
		{ 1, WIRE_ADPCM, 160, 84 },
		{ 1, WIRE_ADPCM, 161, 88 },
		{ 2, WIRE_ADPCM, 505, 520 },
		{ 64, WIRE_ADPCM, 65535, 2097408 },
	};
	struct wire_handshake h = adpcm;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof cases / sizeof *cases; i++) {
		h.channels = cases[i].channels;
		h.codec = cases[i].codec;
		h.frame_samples = cases[i].frame_samples;
		assert_int_equal(wire_max_payload(&h), cases[i].payload);
	}
	assert_int_equal(WIRE_MAX_MESSAGE, 8388492);
}

static void
names(void **state)
{
	struct wire_handshake other = adpcm;

	(void)state;
	assert_string_equal(wire_codec_name(WIRE_PCM16), "pcm");
	assert_string_equal(wire_codec_name(WIRE_ADPCM), "adpcm");
	assert_int_equal(wire_frame_magic(WIRE_PCM16), 0x464D4350);
	assert_int_equal(wire_frame_magic(WIRE_ADPCM), 0x41445046);

	other.stream_id++;
	other.reserved++;
	other.timestamp_ms++;
	assert_true(wire_same_format(&adpcm, &other));
	other.sample_rate++;
	assert_false(wire_same_format(&adpcm, &other));
	other = adpcm;
	other.channels++;
	assert_false(wire_same_format(&adpcm, &other));
	other = adpcm;
	other.codec = WIRE_PCM16;
	assert_false(wire_same_format(&adpcm, &other));
	other = adpcm;
	other.frame_samples++;
	assert_false(wire_same_format(&adpcm, &other));
}

static void
tags(void **state)
{
	static const char longest[] =
	    "a23456789012345678901234567890123456789012345678901234567890123:x";
	static const char *const good[] = { "a", "0", "kitchen", "00:1A:2b:3c:4d:5e", "a._:-",
		"jsonl", "ajsonl", "a.jsonl2", "a.json" };
	static const char *const bad[] = { "", ".", "-a", "_a", ":a", "a/b", "a b", "a\n",
		"\xc3\xa4", "a\x80", "../etc", "a.jsonl", "index.jsonl", "sessions.JSONL",
		"x.JsOnL" };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof good / sizeof *good; i++)
		assert_true(wire_tag_valid(good[i], strlen(good[i])));
	for (i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(wire_tag_valid(bad[i], strlen(bad[i])));
	assert_false(wire_tag_valid("a\0b", 3));
	assert_true(wire_tag_valid(longest, WIRE_MAX_TAG));
	assert_false(wire_tag_valid(longest, WIRE_MAX_TAG + 1));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handshake_bytes),
		cmocka_unit_test(handshake_refused),
		cmocka_unit_test(handshake_sizes),
		cmocka_unit_test(frame_bytes),
		cmocka_unit_test(frame_refused),
		cmocka_unit_test(start_of_a_message),
		cmocka_unit_test(longest_payloads),
		cmocka_unit_test(names),
		cmocka_unit_test(tags),
	};

	return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
