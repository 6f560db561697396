/* What the options say about how logs are read and made into sound. */
#ifndef EET_WAV_SETTINGS_H
#define EET_WAV_SETTINGS_H

#include "adpcm.h"
#include "cli.h"
#include "log.h"
#include "range.h"

#include <stdbool.h>

struct settings {
	struct log_options log;
	bool fill;              /* gaps become silence */
	struct moment from, to; /* what is written */
	bool layout_given;
	enum adpcm_layout layout;
};

/* The worse of two exit statuses: the system's no, then usage, then damage. */
static inline int
worse(int a, int b)
{
	static const int
	    rank[] = { [CLI_OK] = 0, [CLI_EDATA] = 1, [CLI_EUSAGE] = 2, [CLI_EFAIL] = 3 };

	return rank[a] > rank[b] ? a : b;
}

#endif
