#include "name.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { TIME_LENGTH = 20 }; /* YYYYMMDDThhmmss.mmmZ */

void
name_format(const struct name *n, char out[NAME_SIZE])
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
			*p = '-';
	snprintf(out + len, NAME_SIZE - (size_t)len, "_%04d%02d%02dT%02d%02d%02d.%03uZ_s%" PRIu32,
	    (tm.tm_year + 1900) % 10000, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
	    tm.tm_sec, (unsigned)(ms % 1000), n->session);
}

void
name_file(const struct name *n, const char *extension, char out[NAME_FILE_SIZE])
{
	name_format(n, out);
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

bool
name_parse(const char *text, size_t len, struct name *no)
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

		if (!wire_tag_valid(id_end + 1, tag))
			return false;
		memcpy(n.tag, id_end + 1, tag);
	}
	/* One name, one spelling: leading zeros, 30 February and the like are foreign. */
	name_format(&n, again);
	if (strlen(again) != len || memcmp(again, text, len) != 0)
		return false;
	*no = n;
	return true;
}

enum name_suffix
name_suffix(const char *file, size_t *stemo)
{
	static const struct {
		const char *text;
		enum name_suffix suffix;
	} known[] = {
		{ ".eet", NAME_EET },
		{ ".wav", NAME_WAV },
		{ ".eet.part", NAME_EET_PART },
		{ ".wav.part", NAME_WAV_PART },
	};
	size_t len = strlen(file);

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
		size_t n = strlen(known[i].text);

		if (len > n && strcmp(file + len - n, known[i].text) == 0) {
			*stemo = len - n;
			return known[i].suffix;
		}
	}
	*stemo = len;
	return NAME_NONE;
}
