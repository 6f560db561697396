/*
 * Names of segments (eet-formats(5), "Spool"):
 *
 *	stream_<stream_id>[_<tag>]_<YYYYMMDD>T<hhmmss>.<mmm>Z_s<session>
 *
 * followed by an extension.  A ':' in the tag, which FAT forbids, is written as '-', but as '+',
 * which no tag contains, if the extension ends in .part: the exact tag survives a crash.
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
	char tag[WIRE_MAX_TAG + 1]; /* "": none */
};

/* Write the name without extension, as completed files have it. */
void name_format(const struct name *n, char out[NAME_SIZE]);

/* Write the name with an extension of at most 15 bytes, such as ".eet.part". */
enum { NAME_FILE_SIZE = NAME_SIZE + 16 };
void name_file(const struct name *n, const char *extension, char out[NAME_FILE_SIZE]);

/* <0, 0, >0: by session, then time (a session's segments in their order), stream_id, tag. */
int name_compare(const struct name *a, const struct name *b);

/*
 * Parse text[0..len) as name_format() writes it.  True: *no is filled, and
 * name_format() would give the same text.  False: *no is unchanged.
 */
bool name_parse(const char *text, size_t len, struct name *no);

enum name_suffix {
	NAME_NONE,
	NAME_EET,       /* .eet */
	NAME_WAV,       /* .wav */
	NAME_DAMAGED,   /* .eet.damaged: a log as it was before salvage */
	NAME_EET_PART,  /* .eet.part: a log that grows, or is not completed */
	NAME_WAV_PART,  /* .wav.part */
	NAME_NEW_PART,  /* .eet.new.part: what salvage takes out of a damaged log */
	NAME_LINE_PART, /* .line.part: an index line to be appended after a rename */
	NAME_SUFFIXES
};

/* The text of a suffix (not NAME_NONE), for name_file(). */
const char *name_extension(enum name_suffix suffix);

/* What a file name ends in; *stemo is the length of what precedes it. */
enum name_suffix name_suffix(const char *file, size_t *stemo);

/*
 * Read the name of a file of a spool.  Returns its suffix, *no is then filled and name_file() gives
 * the same name; or NAME_NONE if it is not a segment's, *no is then unchanged.
 */
enum name_suffix name_read(const char *file, struct name *no);

#endif
