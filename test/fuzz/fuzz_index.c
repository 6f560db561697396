/*
 * The index.  The first byte: if the rest, lines, is repeated, and how often; they are read in one file as
 * each in a file of its own.  What is written, of whatever text, is one line of JSON that is read
 * again as what it says.
 */
#include "fuzz.h"
#include "index.h"
#include "name.h"

#include <sys/mman.h>
#include <unistd.h>

/* A file in memory with these bytes. */
static int
file_of(const void *data, size_t size)
{
	int fd = memfd_create("index", MFD_CLOEXEC);

	require(fd != -1 && write(fd, data, size) == (ssize_t)size);
	return fd;
}

/* FNV-1a of what lines say. */
struct said {
	uint64_t hash;
	unsigned items;
};

static void
hear(void *arg, const struct index_item *item)
{
	struct said *said = arg;
	size_t len = strlen(item->line) + 1;

	require(strlen(item->eet) < NAME_FILE_SIZE && strchr(item->line, '\n') == NULL);
	for (size_t i = 0; i < len; i++)
		said->hash = (said->hash ^ (uint8_t)item->line[i]) * UINT64_C(0x100000001b3);
	said->hash = (said->hash ^ item->session ^ item->event) * UINT64_C(0x100000001b3);
	said->items++;
}

static void
check_reading(const uint8_t *data, size_t size, unsigned times)
{
	struct said all = { 0 }, each = { 0 };
	int fd = file_of(data, size);
	uint8_t *p;
	const uint8_t *nl;

	for (unsigned i = 1; i < times; i++)
		require(write(fd, data, size) == (ssize_t)size);
	require(index_each(fd, hear, &all) == 0);
	close(fd);
	p = malloc(size * times + 1);
	require(p != NULL);
	for (unsigned i = 0; i < times && size > 0; i++)
		memcpy(p + i * size, data, size);
	for (size_t at = 0; (nl = memchr(p + at, '\n', size * times - at)) != NULL;
	     at = (size_t)(nl + 1 - p)) {
		fd = file_of(p + at, (size_t)(nl + 1 - p) - at);
		require(index_each(fd, hear, &each) == 0);
		close(fd);
	}
	free(p);
	require(all.items == each.items && all.hash == each.hash);
}

struct expected {
	const char *eet;
	uint32_t session;
	unsigned lines;
};

static void
expect(void *arg, const struct index_item *item)
{
	struct expected *e = arg;

	require(item->session == e->session && strcmp(item->eet, e->eet) == 0);
	e->lines++;
}

/* One line, printable, its strings closed and its braces those at its ends. */
static void
check_json(const char *line, size_t len)
{
	bool string = false;

	require(len > 2 && len <= INDEX_LINE && strlen(line) == len);
	require(line[0] == '{' && line[len - 2] == '}' && line[len - 1] == '\n');
	for (size_t i = 1; i < len - 2; i++) {
		const unsigned char c = (unsigned char)line[i];

		require(c >= 0x20 && c != 0x7f);
		if (c == '"')
			string = !string;
		else if (c == '\\' && string)
			require(strchr("\"\\u", line[++i]) != NULL);
		else
			require(string || c < 0x7f);
	}
	require(!string);
}

/* Text from outside, in all the places where there can be some. */
static void
make_line(const uint8_t *data, size_t size)
{
	static const char eet[] = "stream_1_20260131T101500.250Z_s5.eet";
	const struct wire_handshake h = { 1, 8000, 1, WIRE_PCM16, 160, 0, 0 };
	const struct pcm_levels levels = { 0 };
	char peer[129], reason[124], out[INDEX_LINE + 1];
	struct expected expected = { eet, 5, 0 };
	struct index_entry e = { .event = "segment",
		.eet = eet,
		.session = 5,
		.peer = peer,
		.format = &h,
		.levels = &levels,
		.is_session = true,
		.close_reason = reason };
	size_t len, n;
	int fd;

	memset(peer, 0, sizeof peer);
	memset(reason, 0, sizeof reason);
	n = size < sizeof peer - 1 ? size : sizeof peer - 1;
	memcpy(peer, data, n);
	size -= n;
	memcpy(reason, data + n, size < sizeof reason - 1 ? size : sizeof reason - 1);
	len = index_format(&e, out);
	check_json(out, len);
	fd = file_of(out, len);
	require(index_each(fd, expect, &expected) == 0 && expected.lines == 1);
	close(fd);
}

/* Whatever does not fit, what is there stays within its bounds, and ends. */
static void
fill_json(struct input in)
{
	size_t room = 3u + input_byte(&in), len = 64;
	char *out = malloc(room), *text = input_text(&in, &len);
	struct json j;

	require(out != NULL);
	json_begin(&j, out, room);
	json_string(&j, "text", text);
	json_number(&j, "number", len);
	json_fixed(&j, "fixed", len % 2 == 0, 2, -1e18 * (double)len);
	json_bool(&j, "true", true);
	require(json_end(&j) < room && strlen(out) == j.len);
	free(text);
	free(out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	uint8_t times = input_byte(&in);

	check_reading(in.p, in.left, times < 240 ? 1 : times - 180);
	make_line(in.p, in.left);
	fill_json(in);
	return 0;
}
