/*
 * Names of segments (eet-formats(5), "Spool"):
 *
 *	stream_<stream_id>[_<tag>]_<YYYYMMDD>T<hhmmss>.<mmm>Z_s<session>
 *
 * followed by .eet or .wav, and .part while the file grows.
 */
#ifndef EET_NAME_H
#define EET_NAME_H

#include "wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Room for a name without extension, and its NUL. */
enum { NAME_SIZE = 160 };

/* 9999-12-31T23:59:59.999Z: a name has four digits for the year. */
#define NAME_MAX_MS UINT64_C(253402300799999)

struct name {
	uint32_t stream_id;
	uint32_t session;
	uint64_t time_ms;           /* Unix epoch, UTC; at most NAME_MAX_MS */
	char tag[WIRE_MAX_TAG + 1]; /* "": none; ':' is written as '-' */
};

/* Write the name, without extension. */
void name_format(const struct name *n, char out[NAME_SIZE]);

/* The same with an extension behind it, of at most 15 bytes: ".eet.part". */
enum { NAME_FILE_SIZE = NAME_SIZE + 16 };
void name_file(const struct name *n, const char *extension, char out[NAME_FILE_SIZE]);

/* <0, 0, >0: by session, then time (a session's segments in their order), stream_id, tag. */
int name_compare(const struct name *a, const struct name *b);

/*
 * Parse text[0..len) as a name without extension.  True: *no is filled, and
 * name_format() would give the same text.  False: *no is unchanged.
 */
bool name_parse(const char *text, size_t len, struct name *no);

enum name_suffix { NAME_NONE, NAME_EET, NAME_WAV, NAME_EET_PART, NAME_WAV_PART };

/* What a file name ends in; *stemo is the length of what stands before it. */
enum name_suffix name_suffix(const char *file, size_t *stemo);

#endif
