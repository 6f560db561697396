/* container: where the samples of audio files are, of those whose sizes are wrong as well. */
#include "container.h"

#include "bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { ROOM = 512, AUDIO = 100 };

/* A file in the making. */
struct file {
	uint8_t bytes[ROOM];
	size_t size;
};

static void
add(struct file *f, const void *bytes, size_t n)
{
	assert_in_range(f->size + n, 0, ROOM);
	memcpy(f->bytes + f->size, bytes, n);
	f->size += n;
}

static void
add32(struct file *f, uint32_t v)
{
	uint8_t b[4];

	le32_store(b, v);
	add(f, b, sizeof b);
}

static void
add_big(struct file *f, uint32_t v)
{
	uint8_t b[4] = { (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v };

	add(f, b, sizeof b);
}

/* Samples, none of which looks like text. */
static void
add_audio(struct file *f, size_t n)
{
	uint8_t b[AUDIO];

	memset(b, 0x81, sizeof b);
	add(f, b, n);
}

/* A WAV: its data chunk, which says that size, has so many bytes. */
static void
riff(struct file *f, const char *id, uint32_t said, size_t audio)
{
	f->size = 0;
	add(f, id, 4);
	add32(f, 36);
	add(f, "WAVEfmt \20\0\0\0\1\0\1\0", 16);
	add32(f, 8000);
	add32(f, 16000);
	add(f, "\2\0\20\0data", 8);
	add32(f, said);
	add_audio(f, audio);
}

static size_t
look(void *arg, uint64_t offset, uint8_t *buf, size_t len)
{
	const struct file *f = arg;

	if (offset >= f->size)
		return 0;
	len = len < f->size - offset ? len : (size_t)(f->size - offset);
	memcpy(buf, f->bytes + offset, len);
	return len;
}

static struct container
parse(struct file *f, bool pipe)
{
	struct container c;

	container_parse(look, f, pipe ? CONTAINER_UNKNOWN : f->size, &c);
	return c;
}

/* The samples are at data, size of them; and what is patched says that it is not known. */
static void
assert_found(struct file *f, uint64_t data, uint64_t size, unsigned patches)
{
	for (int pipe = 0; pipe < 2; pipe++) {
		struct container c = parse(f, pipe);

		assert_int_equal(c.data, data);
		assert_int_equal(c.size, size);
		assert_int_equal(c.n_patches, patches);
	}
}

static void
sizes_of_wavs(void **state)
{
	static const uint32_t unknown[] = { 0x7f000000, 0x7ffff000, 0x80000000, UINT32_MAX };
	struct file f;
	struct container c;

	(void)state;
	riff(&f, "RIFF", AUDIO, AUDIO);
	assert_found(&f, 44, AUDIO, 0);
	for (size_t i = 0; i < 4; i++) {
		riff(&f, "RIFF", unknown[i], AUDIO);
		assert_found(&f, 44, CONTAINER_UNKNOWN, 0);
	}
	riff(&f, "RIFF", 0, AUDIO);
	assert_found(&f, 44, CONTAINER_UNKNOWN, 1);
	riff(&f, "RIFF", 0, 2);
	assert_found(&f, 44, CONTAINER_UNKNOWN, 1);
	c = parse(&f, true);
	container_patch(&c, 0, f.bytes, 42); /* in two parts */
	container_patch(&c, 42, f.bytes + 42, f.size - 42);
	assert_memory_equal(f.bytes + 36, "data\xff\xff\xff\xff\x81", 9);

	/* Nothing is nothing, whatever chunk comes behind it. */
	riff(&f, "RIFF", 0, 0);
	assert_found(&f, 44, 0, 0);
	add(&f, "LIST\4\0\0\0INFO", 12);
	assert_found(&f, 44, 0, 0);

	/* Chunks before it, one of an odd size. */
	riff(&f, "RIFF", 0, 0);
	f.size = 36;
	add(&f, "junk\5\0\0\0abcde\0data\0\0\0\0", 22);
	add_audio(&f, 50);
	assert_found(&f, 58, CONTAINER_UNKNOWN, 1);
	assert_false(parse(&f, false).in_blocks);
}

/* RF64 is a RIFF for all who read it where its sizes are wrong, or through a pipe. */
static void
sizes_of_rf64(void **state)
{
	static const struct {
		uint64_t said;
		uint64_t size;
		unsigned patches[2]; /* of a file, through a pipe */
		uint32_t plain;
	} sizes[] = {
		{ AUDIO, AUDIO, { 0, 3 }, AUDIO },
		{ 0, CONTAINER_UNKNOWN, { 3, 3 }, UINT32_MAX },
		{ UINT64_MAX, CONTAINER_UNKNOWN, { 3, 3 }, UINT32_MAX },
		{ AUDIO + 2, AUDIO + 2, { 3, 3 }, AUDIO + 2 },
	};
	struct file f, plain;
	uint8_t b[8];

	(void)state;
	for (size_t i = 0; i < 4; i++)
		for (int pipe = 0; pipe < 2; pipe++) {
			struct container c;

			riff(&plain, "RF64", UINT32_MAX, AUDIO);
			f.size = 0;
			add(&f, plain.bytes, 12);
			add(&f, "ds64\34\0\0\0\0\0\0\0\0\0\0\0", 16);
			le64_store(b, sizes[i].said);
			add(&f, b, 8);
			add(&f, "\0\0\0\0\0\0\0\0\0\0\0\0", 12);
			add(&f, plain.bytes + 12, plain.size - 12);
			c = parse(&f, pipe);
			assert_int_equal(c.data, 80);
			assert_int_equal(c.size, sizes[i].size);
			assert_int_equal(c.n_patches, sizes[i].patches[pipe]);
			if (c.n_patches == 0)
				continue;
			container_patch(&c, 0, f.bytes, f.size);
			assert_memory_equal(f.bytes, "RIFF", 4);
			assert_memory_equal(f.bytes + 12, "JUNK\34", 5);
			assert_int_equal(le32_load(f.bytes + 76), sizes[i].plain);
		}
}

static void
sizes_of_others(void **state)
{
	struct file f = { .size = 0 };

	(void)state;
	add(&f, ".snd", 4);
	add_big(&f, 24);
	add_big(&f, 0);
	add_big(&f, 3);
	add_big(&f, 8000);
	add_big(&f, 1);
	assert_found(&f, 24, 0, 0);
	add_audio(&f, AUDIO);
	assert_found(&f, 24, CONTAINER_UNKNOWN, 1);
	f.bytes[11] = AUDIO;
	assert_found(&f, 24, AUDIO, 0);

	f.size = 0;
	add(&f, "FORM\0\0\0\0AIFFSSND", 16);
	add_big(&f, 8);
	add_big(&f, 0);
	add_big(&f, 0);
	add_audio(&f, AUDIO);
	assert_found(&f, 28, CONTAINER_UNKNOWN, 1);
	f.bytes[19] = 8 + AUDIO;
	assert_found(&f, 28, AUDIO, 0);

	/* What is none of them, or ends before its samples. */
	f.size = 14;
	assert_found(&f, 0, 0, 0);
	riff(&f, "RIFF", 0, 0);
	memcpy(f.bytes + 36, "date", 4);
	assert_found(&f, 0, 0, 0);
	f.size = 40;
	assert_found(&f, 0, 0, 0);
	memcpy(f.bytes, "OggS", 4);
	assert_found(&f, 0, 0, 0);
}

static void
what_is_cut(void **state)
{
	struct file f;
	struct container c;

	(void)state;
	riff(&f, "RIFF", AUDIO, AUDIO);
	c = parse(&f, false);
	assert_false(container_is_cut(&c, f.size));
	assert_false(container_is_cut(&c, f.size + 1));
	assert_true(container_is_cut(&c, f.size - 1));
	riff(&f, "RIFF", 0, AUDIO);
	c = parse(&f, false);
	assert_false(container_is_cut(&c, f.size));
}

/*
 * 17 samples in 12 bytes for each channel.  The fact chunk is believed if it ends in the last block,
 * as it is, or if it counts the channels' samples together, or half of stereo's as libsndfile does.
 */
static void
samples_of_ima(void **state)
{
	static const struct {
		unsigned channels;
		uint64_t fact, size, samples;
	} cases[] = {
		{ 1, CONTAINER_UNKNOWN, 36, 51 },
		{ 1, 40, 36, 40 },
		{ 1, 35, 36, 35 },
		{ 1, 34, 36, 51 }, /* two blocks would do for that */
		{ 1, 51, 36, 51 },
		{ 1, 52, 36, 51 },
		{ 1, 0, 36, 51 },
		{ 1, UINT32_MAX, 36, 51 },
		{ 1, 1, 12, 1 },
		{ 1, 40, 24 + 3, 34 }, /* less than a header */
		{ 1, 40, 24 + 4, 35 },
		{ 1, 40, 24 + 6, 39 },
		{ 1, 36, 24 + 6, 36 },
		{ 2, 40, 72, 40 },
		{ 2, 20, 72, 40 },
		{ 2, 80, 72, 40 },
		{ 2, 90, 72, 45 },
		{ 2, 40, 48 + 16, 40 },
		{ 2, 45, 48 + 16, 43 },
		{ 2, 45, 48 + 15, 35 },
		{ 1, 40, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct container c = {
			.channels = cases[i].channels,
			.block = 12 * cases[i].channels,
			.block_samples = 17,
			.fact = cases[i].fact,
		};

		assert_int_equal(container_ima_samples(&c, cases[i].size), cases[i].samples);
	}
}

static void
format_of_ima(void **state)
{
	struct file f = { .size = 0 };
	struct container c;

	(void)state;
	add(&f, "RIFF\0\0\0\0WAVEfmt \24\0\0\0\21\0\2\0", 24);
	add32(&f, 8000);
	add32(&f, 9000);
	add(&f, "\30\0\4\0\2\0\21\0fact\4\0\0\0\50\0\0\0data\110\0\0\0", 28);
	add_audio(&f, 72);
	c = parse(&f, false);
	assert_true(c.ima && c.in_blocks);
	assert_int_equal(c.channels, 2);
	assert_int_equal(c.rate, 8000);
	assert_int_equal(c.block, 24);
	assert_int_equal(c.block_samples, 17);
	assert_int_equal(c.fact, 40);
	assert_int_equal(c.data, 60);
	assert_int_equal(container_ima_samples(&c, c.size), 40);
	/* More samples than its blocks can hold; no channels; no rate; another number of bits. */
	f.bytes[38] = 18;
	assert_false(parse(&f, false).ima);
	f.bytes[38] = 17;
	f.bytes[22] = 0;
	assert_false(parse(&f, false).ima);
	f.bytes[22] = 65;
	assert_false(parse(&f, false).ima);
	f.bytes[22] = 2;
	assert_true(parse(&f, false).ima);
	memset(f.bytes + 24, 0, 4);
	assert_false(parse(&f, false).ima);
	memset(f.bytes + 24, 1, 4);
	f.bytes[34] = 3;
	assert_false(parse(&f, false).ima);
	/* Microsoft's. */
	f.bytes[34] = 4;
	f.bytes[20] = 2;
	assert_false(parse(&f, false).ima);
	assert_true(parse(&f, false).in_blocks);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_of_wavs),
		cmocka_unit_test(sizes_of_rf64),
		cmocka_unit_test(sizes_of_others),
		cmocka_unit_test(what_is_cut),
		cmocka_unit_test(samples_of_ima),
		cmocka_unit_test(format_of_ima),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
