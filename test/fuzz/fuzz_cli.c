/*
 * Whatever is typed: values are what a model says or refused untouched, messages stay printable
 * lines.
 */
#include "cli.h"
#include "fuzz.h"

enum { MODEL_DIGITS = 18 /* so many can't overflow the model */ };

__extension__ typedef unsigned __int128 u128;

struct unit {
	const char *suffix;
	uint64_t times;
};

static const struct unit times[] = { { "", 1000000 }, { "ms", 1000 }, { "s", 1000000 },
	{ "m", 60000000 }, { "h", UINT64_C(3600000000) }, { NULL, 0 } };
static const struct unit sizes[] = { { "", 1 }, { "k", 1 << 10 }, { "K", 1 << 10 },
	{ "m", 1 << 20 }, { "M", 1 << 20 }, { "g", 1 << 30 }, { "G", 1 << 30 }, { NULL, 0 } };

static const struct unit numbers[] = { { "", 1 }, { NULL, 0 } };

/* Digits, perhaps a point and digits, a unit: a whole number up to INT64_MAX of the smallest. */
static bool
model(const char *s, const struct unit *u, bool fractions, uint64_t *o)
{
	size_t whole = strspn(s, "0123456789"), part = 0;
	u128 n = 0, scale = 1;

	if (whole == 0)
		return false;
	for (size_t i = 0; i < whole; i++)
		n = n * 10 + (u128)(*s++ - '0');
	if (fractions && *s == '.') {
		part = strspn(++s, "0123456789");
		if (part == 0)
			return false;
		for (size_t i = 0; i < part; i++, scale *= 10)
			n = n * 10 + (u128)(*s++ - '0');
	}
	while (u->suffix != NULL && strcmp(u->suffix, s) != 0)
		u++;
	if (u->suffix == NULL || n * u->times % scale != 0 || n * u->times / scale > INT64_MAX)
		return false;
	*o = (uint64_t)(n * u->times / scale);
	return true;
}

static void
check_values(const char *s)
{
	static const uint64_t untouched = 0x123456789abcdef0;
	bool small = strspn(s, "0123456789.") <= MODEL_DIGITS;
	uint64_t n = untouched, m = 0;
	mode_t mode = 01234;

	require(cli_parse_number(s, 10, 1000, &n) ? n >= 10 && n <= 1000 : n == untouched);
	if (small)
		require(
		    (model(s, numbers, false, &m) && m >= 10 && m <= 1000 ? m : untouched) == n);
	n = untouched;
	require(cli_parse_duration(s, &n) ? n <= INT64_MAX : n == untouched);
	require(!small || (model(s, times, true, &m) ? m : untouched) == n);
	n = untouched;
	require(cli_parse_size(s, &n) ? n <= INT64_MAX : n == untouched);
	require(!small || (model(s, sizes, false, &m) ? m : untouched) == n);
	require(
	    cli_parse_mode(s, &mode) ? mode <= 0777 && mode == strtoul(s, NULL, 8) : mode == 01234);
}

/* What was understood, written down, means the same. */
static void
check_address(const char *s)
{
	struct cli_address a, again;
	char text[512];

	memset(&a, 0, sizeof a);
	memset(&again, 0, sizeof again);
	if (cli_parse_address(s, &a) != NULL) {
		require(a.host[0] == '\0' && a.path[0] == '\0' && a.port == 0);
		return;
	}
	if (a.kind == CLI_UNIX)
		snprintf(text, sizeof text, "unix:%s", a.path);
	else
		snprintf(text, sizeof text, strchr(a.host, ':') != NULL ? "[%s]:%u" : "%s:%u",
		    a.host, a.port);
	require(a.kind == CLI_INET || a.path[0] != '\0');
	require(cli_parse_address(text, &again) == NULL);
	require(again.kind == a.kind && again.port == a.port);
	require(strcmp(again.host, a.host) == 0 && strcmp(again.path, a.path) == 0);
}

static void
check_escape(const char *s, size_t size, size_t room)
{
	char *out = malloc(room);
	size_t taken;

	require(out != NULL);
	taken = cli_escape(out, room, s, size);
	require(taken <= size && strlen(out) < room);
	require(taken == size || strlen(out) + 4 >= room); /* stopped for want of room alone */
	for (size_t i = 0; out[i] != '\0'; i++)
		require((unsigned char)out[i] >= 0x20 && out[i] != 0x7f);
	free(out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	char *s = input_text(&in, &size);

	check_values(s);
	check_address(s);
	check_escape(s, size, size == 0 ? 1 : data[0] % 64 + 1u);
	free(s);
	return 0;
}
