/* Logs -> logs of the other codec, or samples. */
#ifndef EET_ADPCM_CONVERT_H
#define EET_ADPCM_CONVERT_H

#include "out.h"
#include "settings.h"
#include "source.h"

/*
 * Convert the log in src, whose head may have been peeked at.  Returns an exit status; what went
 * wrong was said, but for what source_close() will say.
 */
int convert(const struct settings *set, struct source *src, struct out *out);

#endif
