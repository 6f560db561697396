/* Audio files and raw samples -> samples. */
#ifndef EET_ADPCM_AUDIO_H
#define EET_ADPCM_AUDIO_H

#include "out.h"
#include "settings.h"
#include "source.h"

/*
 * Encode all of the source, whose head was peeked at.  Return exit statuses; what went wrong was
 * said, but for what source_close() will say.
 */
int audio_encode_raw(const struct settings *set, struct source *src, struct out *out);
int audio_encode_file(const struct settings *set, struct source *src, struct out *out);

#endif
