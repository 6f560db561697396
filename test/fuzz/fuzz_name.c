/* Names: what is taken for one is one, and what is written is read again as what it says. */
#include "fuzz.h"
#include "name.h"

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
	for (enum name_suffix s = NAME_EET; s < NAME_SUFFIXES; s++) {
		name_file(&n, name_extension(s), file);
		require(name_suffix(file, &stem) == s && stem == size);
		require(name_read(file, &again) == s && name_compare(&n, &again) == 0);
	}
}

/* A name of whatever numbers and tag is one that can be parsed. */
static void
make_name(const uint8_t *data, size_t size)
{
	struct name n = { 0 }, again, part;
	char out[NAME_SIZE], file[NAME_FILE_SIZE];
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
	name_file(&n, ".eet.part", file);
	require(name_read(file, &part) == NAME_EET_PART && name_compare(&n, &part) == 0);
	require(again.stream_id == n.stream_id && again.session == n.session);
	require(again.time_ms == n.time_ms && strlen(again.tag) == strlen(n.tag));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_name(data, size);
	make_name(data, size);
	return 0;
}
