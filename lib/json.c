#include "json.h"

#include "utf8.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 2, 3))) static void
add(struct json *j, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(j->out + j->len, j->size - j->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		j->len += (size_t)n;
	if (j->len > j->size - 1)
		j->len = j->size - 1;
}

static void
add_key(struct json *j, const char *key)
{
	add(j, "%s\"%s\":", j->len > 1 ? "," : "", key);
}

void
json_begin(struct json *j, char *out, size_t size)
{
	*j = (struct json){ .out = out, .size = size };
	add(j, "{");
}

void
json_string(struct json *j, const char *key, const char *value)
{
	const char *s = value, *end;

	add_key(j, key);
	if (s == NULL || *s == '\0') {
		add(j, "null");
		return;
	}
	add(j, "\"");
	for (end = s + strlen(s); s < end;) {
		size_t n = utf8_character(s, (size_t)(end - s));

		if (n == 0)
			add(j, "\\ufffd");
		else if ((unsigned char)*s < 0x20 || *s == 0x7f)
			add(j, "\\u%04x", (unsigned)*s);
		else if (*s == '"' || *s == '\\')
			add(j, "\\%c", *s);
		else
			add(j, "%.*s", (int)n, s);
		s += n > 0 ? n : 1;
	}
	add(j, "\"");
}

void
json_number(struct json *j, const char *key, uint64_t value)
{
	add_key(j, key);
	if (value == JSON_UNKNOWN)
		add(j, "null");
	else
		add(j, "%" PRIu64, value);
}

void
json_fixed(struct json *j, const char *key, bool known, int decimals, double value)
{
	add_key(j, key);
	if (known)
		add(j, "%.*f", decimals, value);
	else
		add(j, "null");
}

void
json_bool(struct json *j, const char *key, bool value)
{
	add_key(j, key);
	add(j, value ? "true" : "false");
}

size_t
json_end(struct json *j)
{
	add(j, "}\n");
	return j->len;
}
