/* What the options say. */
#ifndef EET_ADPCM_SETTINGS_H
#define EET_ADPCM_SETTINGS_H

#include "adpcm.h"
#include "log.h"

#include <stdbool.h>
#include <stdint.h>

struct settings {
	bool encode;            /* else decode */
	bool raw;               /* bare s16le: to be encoded, or decoded */
	const char *wav;        /* an IMA ADPCM WAV is to be written here; NULL: no */
	struct log_options log; /* -r, -c and -n are in its format, 0 if not given */
	bool layout_given;
	enum adpcm_layout layout; /* of blocks that are written, or read */
	unsigned effort;
	bool new_log; /* --stream-id or --timestamp */
	uint32_t stream_id;
	uint64_t timestamp_ms;
};

#endif
