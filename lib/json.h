/*
 * One JSON object on one line (RFC 8259), key after key, into a buffer of the
 * caller's.  What does not fit is left out, and the object is then not
 * closed: give it room for the longest that can come.
 */
#ifndef EET_JSON_H
#define EET_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A number that is not known: null. */
#define JSON_UNKNOWN UINT64_MAX

struct json {
	char *out;
	size_t size; /* of out, the NUL included */
	size_t len;
};

/* Begin an object in out[0..size). */
void json_begin(struct json *j, char *out, size_t size);

/* Keys are ours and need no escaping; values may be any bytes: what is not UTF-8 becomes U+FFFD. */
void json_string(struct json *j, const char *key, const char *value); /* NULL and "": null */
void json_number(struct json *j, const char *key, uint64_t value);    /* JSON_UNKNOWN: null */
void json_fixed(struct json *j, const char *key, bool known, int decimals, double value);
void json_bool(struct json *j, const char *key, bool value);

/* End it, with a newline and a NUL.  Returns the length without the NUL. */
size_t json_end(struct json *j);

#endif
