/*
 * Names and index lines: what is taken for a name is one, what is written is one line of JSON that
 * is read again as what it says, and a strange index says nothing strange.
 */
#include "index.h"
#include "name.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool truth)
{
	if (!truth)
		abort();
}

static void
try_name(const uint8_t *data, size_t size)
{
	char out[NAME_SIZE], file[NAME_FILE_SIZE];
	struct name n, again;
	size_t stem;

	if (!name_parse((const char *)data, size, &n))
		return;
	name_format(&n, out);
	require(strlen(out) == size && memcmp(out, data, size) == 0);
	require(n.time_ms <= NAME_MAX_MS && strchr(out, '/') == NULL);
	require(n.tag[0] == '\0' || wire_tag_valid(n.tag, strlen(n.tag)));
	name_file(&n, ".eet.part", file);
	require(name_suffix(file, &stem) == NAME_EET_PART && stem == size);
	require(name_parse(file, stem, &again) && name_compare(&n, &again) == 0);
}

/* A name of whatever numbers and tag is one that can be parsed. */
static void
make_name(const uint8_t *data, size_t size)
{
	struct name n = { 0 }, again;
	char out[NAME_SIZE];
	size_t tag;

	if (size < 16)
		return;
	memcpy(&n.stream_id, data, 4);
	memcpy(&n.session, data + 4, 4);
	memcpy(&n.time_ms, data + 8, 8);
	n.time_ms %= NAME_MAX_MS + 1;
	tag = size - 16 < WIRE_MAX_TAG ? size - 16 : WIRE_MAX_TAG;
	if (wire_tag_valid((const char *)data + 16, tag))
		memcpy(n.tag, data + 16, tag);
	name_format(&n, out);
	require(name_parse(out, strlen(out), &again));
	require(again.stream_id == n.stream_id && again.session == n.session);
	require(again.time_ms == n.time_ms && strlen(again.tag) == strlen(n.tag));
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

static void
accept_any(void *arg, const struct index_item *item)
{
	unsigned *lines = arg;

	require(strlen(item->eet) < NAME_FILE_SIZE && strchr(item->line, '\n') == NULL);
	++*lines;
}

/* A file in memory with these bytes. */
static int
file_of(const void *data, size_t size)
{
	int fd = memfd_create("index", MFD_CLOEXEC);

	require(fd != -1 && write(fd, data, size) == (ssize_t)size);
	return fd;
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

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned lines = 0;
	int fd;

	try_name(data, size);
	make_name(data, size);
	make_line(data, size);
	fd = file_of(data, size);
	require(index_each(fd, accept_any, &lines) == 0);
	require(lines <= size);
	close(fd);
	return 0;
}
