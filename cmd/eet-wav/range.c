#include "range.h"

#include "cli.h"

#include <string.h>
#include <time.h>

enum { SECOND = 1000000 };

/* What is lenient here, writing the time again finds: it is written in one way only. */
static bool
parse_time(const char *s, uint64_t *uso)
{
	static const char format[] = "%Y-%m-%dT%H:%M:%S";
	struct tm tm = { 0 };
	const char *p = strptime(s, format, &tm);
	uint64_t us = 0, unit = SECOND;
	char again[32];
	time_t t;

	if (p == NULL || (t = timegm(&tm)) < 0)
		return false;
	if (strftime(again, sizeof again, format, &tm) != (size_t)(p - s) ||
	    memcmp(again, s, (size_t)(p - s)) != 0)
		return false;
	if (p[0] == '.' && p[1] != 'Z')
		for (p++; unit > 1 && *p >= '0' && *p <= '9'; p++)
			us += (unit /= 10) * (uint64_t)(*p - '0');
	if (strcmp(p, "Z") != 0)
		return false;
	*uso = (uint64_t)t * SECOND + us;
	return true;
}

bool
moment_parse(const char *s, struct moment *o)
{
	struct moment m = { .kind = MOMENT_POSITION };

	if (!cli_parse_duration(s, &m.us)) {
		m.kind = MOMENT_TIME;
		if (!parse_time(s, &m.us))
			return false;
	}
	*o = m;
	return true;
}

static uint64_t
in_samples(struct moment m, uint32_t rate, uint64_t start_us)
{
	if (m.kind == MOMENT_END)
		return UINT64_MAX;
	if (m.kind == MOMENT_TIME)
		m.us = m.us > start_us ? m.us - start_us : 0;
	/* In two parts, neither of which overflows. */
	return m.us / SECOND * rate + m.us % SECOND * rate / SECOND;
}

struct range
range_between(struct moment from, struct moment to, uint32_t rate, uint64_t start_us)
{
	struct range r = { in_samples(from, rate, start_us), in_samples(to, rate, start_us) };

	if (r.from > r.to)
		r.from = r.to;
	return r;
}

/* How many of n samples that stand at at are before the border. */
static uint64_t
before(uint64_t border, uint64_t at, uint64_t n)
{
	if (border <= at)
		return 0;
	return border - at < n ? border - at : n;
}

struct range
range_cut(struct range r, uint64_t at, uint64_t n)
{
	return (struct range){ before(r.from, at, n), before(r.to, at, n) };
}
