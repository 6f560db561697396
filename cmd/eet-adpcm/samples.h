/*
 * Where a stream of samples goes: as ADPCM into a frame log or an IMA ADPCM WAV, or as bare s16le.
 */
#ifndef EET_ADPCM_SAMPLES_H
#define EET_ADPCM_SAMPLES_H

#include "out.h"
#include "settings.h"

struct samples;

/*
 * Begin, on out or, if there is to be a WAV, on that.  total: samples per channel that will come as
 * far as is known, or WAV_UNKNOWN.  NULL: it can't be, which was said.
 */
struct samples *samples_new(const struct settings *set, struct out *out, uint32_t rate, unsigned ch,
    uint64_t total);

/* Samples per channel that are best given at a time. */
uint32_t samples_portion(const struct samples *s);

/* n samples per channel.  False: they can't be written, which was said. */
bool samples_put(struct samples *s, const int16_t *pcm, uint64_t n);
bool samples_silence(struct samples *s, uint64_t n);

/* Hand over what is ready, because nothing more may come for a while. */
bool samples_flush(struct samples *s);

/*
 * That was all.  keep: a file is worth to be kept.  Frees s (NULL is fine).  False: not all is
 * written, which was said.
 */
bool samples_end(struct samples *s, bool keep);

#endif
