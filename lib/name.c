#include "name.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { TIME_LENGTH = 20 }; /* YYYYMMDDThhmmss.mmmZ */

/* Write the name with colon for each ':' of the tag. */
static void
format(const struct name *n, char colon, char out[NAME_SIZE])
{
	uint64_t ms = n->time_ms <= NAME_MAX_MS ? n->time_ms : NAME_MAX_MS;
	time_t seconds = (time_t)(ms / 1000);
	struct tm tm;
	int len;

	gmtime_r(&seconds, &tm);
	len = snprintf(out, NAME_SIZE, "stream_%" PRIu32 "%s%.*s", n->stream_id,
	    n->tag[0] != '\0' ? "_" : "", WIRE_MAX_TAG, n->tag);
	for (char *p = out; *p != '\0'; p++)
		if (*p == ':')
			*p = colon;
	snprintf(out + len, NAME_SIZE - (size_t)len, "_%04d%02d%02dT%02d%02d%02d.%03uZ_s%" PRIu32,
	    (tm.tm_year + 1900) % 10000, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
	    tm.tm_sec, (unsigned)(ms % 1000), n->session);
}

void
name_format(const struct name *n, char out[NAME_SIZE])
{
	format(n, '-', out);
}

static bool
ends_in(const char *text, const char *end)
{
	size_t len = strlen(text), n = strlen(end);

	return len >= n && strcmp(text + len - n, end) == 0;
}

void
name_file(const struct name *n, const char *extension, char out[NAME_FILE_SIZE])
{
	format(n, ends_in(extension, ".part") ? '+' : '-', out);
	strncat(out, extension, NAME_FILE_SIZE - NAME_SIZE - 1);
}

int
name_compare(const struct name *a, const struct name *b)
{
	if (a->session != b->session)
		return a->session < b->session ? -1 : 1;
	if (a->time_ms != b->time_ms)
		return a->time_ms < b->time_ms ? -1 : 1;
	if (a->stream_id != b->stream_id)
		return a->stream_id < b->stream_id ? -1 : 1;
	return strcmp(a->tag, b->tag);
}

/* A decimal u32 at p, which must end at end. */
static bool
number(const char *p, const char *end, uint32_t *o)
{
	uint64_t v = 0;

	if (p == end)
		return false;
	for (; p < end; p++) {
		if (*p < '0' || *p > '9')
			return false;
		v = v * 10 + (uint64_t)(*p - '0');
		if (v > UINT32_MAX)
			return false;
	}
	*o = (uint32_t)v;
	return true;
}

/* What is lenient here, name_parse() finds: the same time is written in one way only. */
static bool
parse_time(const char *p, uint64_t *ms)
{
	char text[TIME_LENGTH + 1];
	struct tm tm = { 0 };
	int milli;
	time_t t;

	memcpy(text, p, TIME_LENGTH);
	text[TIME_LENGTH] = '\0';
	if (sscanf(text, "%4d%2d%2dT%2d%2d%2d.%3dZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
		&tm.tm_hour, &tm.tm_min, &tm.tm_sec, &milli) != 7)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	t = timegm(&tm);
	if (t < 0 || milli < 0)
		return false;
	*ms = (uint64_t)t * 1000 + (uint64_t)milli;
	return true;
}

/* Parse text[0..len), in which colon stands for ':' ('-': it may also be itself). */
static bool
parse(const char *text, size_t len, char colon, struct name *no)
{
	static const char prefix[] = "stream_";
	const size_t prefix_len = sizeof prefix - 1;
	const char *end = text + len, *p, *id_end, *time;
	struct name n = { 0 };
	char again[NAME_SIZE];

	if (len >= NAME_SIZE || len < prefix_len || memcmp(text, prefix, prefix_len) != 0)
		return false;
	/* From the end, because a tag may hold any of the separators. */
	p = memrchr(text, '_', len);
	if (p + 1 >= end || p[1] != 's' || !number(p + 2, end, &n.session))
		return false;
	if (p - text < (ptrdiff_t)(prefix_len + 1 + TIME_LENGTH))
		return false;
	time = p - TIME_LENGTH;
	if (time[-1] != '_' || !parse_time(time, &n.time_ms))
		return false;
	id_end = memchr(text + prefix_len, '_', (size_t)(time - text) - prefix_len);
	if (!number(text + prefix_len, id_end, &n.stream_id))
		return false;
	if (id_end + 1 < time) {
		size_t tag = (size_t)(time - 1 - (id_end + 1));

		memcpy(n.tag, id_end + 1, tag < WIRE_MAX_TAG ? tag : WIRE_MAX_TAG);
		for (char *c = n.tag; colon != '-' && *c != '\0'; c++)
			if (*c == colon)
				*c = ':';
		if (!wire_tag_valid(n.tag, tag))
			return false;
	}
	/* One name, one spelling: leading zeros, 30 February and the like are foreign. */
	format(&n, colon, again);
	if (strlen(again) != len || memcmp(again, text, len) != 0)
		return false;
	*no = n;
	return true;
}

bool
name_parse(const char *text, size_t len, struct name *no)
{
	return parse(text, len, '-', no);
}

static const char *const extensions[NAME_SUFFIXES] = {
	[NAME_EET] = ".eet",
	[NAME_WAV] = ".wav",
	[NAME_DAMAGED] = ".eet.damaged",
	[NAME_EET_PART] = ".eet.part",
	[NAME_WAV_PART] = ".wav.part",
	[NAME_NEW_PART] = ".eet.new.part",
	[NAME_LINE_PART] = ".line.part",
};

const char *
name_extension(enum name_suffix suffix)
{
	return extensions[suffix];
}

enum name_suffix
name_suffix(const char *file, size_t *stemo)
{
	size_t len = strlen(file);

	for (enum name_suffix s = NAME_EET; s < NAME_SUFFIXES; s++)
		if (len > strlen(extensions[s]) && ends_in(file, extensions[s])) {
			*stemo = len - strlen(extensions[s]);
			return s;
		}
	*stemo = len;
	return NAME_NONE;
}

enum name_suffix
name_read(const char *file, struct name *no)
{
	size_t stem;
	enum name_suffix suffix = name_suffix(file, &stem);

	if (suffix != NAME_NONE && parse(file, stem, suffix >= NAME_EET_PART ? '+' : '-', no))
		return suffix;
	return NAME_NONE;
}
