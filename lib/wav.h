/*
 * PCM16 WAV files, through libsndfile; this is the only file that knows it.
 * Plain RIFF with a 44-byte header while the file stays below 4 GiB, RF64 above, which is
 * why the number of samples has to be known before.  Same input, same bytes.
 */
#ifndef EET_WAV_H
#define EET_WAV_H

#include <stdbool.h>
#include <stdint.h>

struct wav_writer;

enum { WAV_STREAM_HEADER_SIZE = 44 };

/*
 * Begin a WAV on fd (a regular file, empty, open for reading and writing; stays the caller's).
 * samples: per channel, exactly as many as will be written.  NULL on failure,
 * with errno.
 */
struct wav_writer *wav_new(int fd, uint32_t rate, unsigned channels, uint64_t samples);

/* Write n samples per channel, interleaved.  0, or -1 with errno (the write's own). */
int wav_write(struct wav_writer *w, const int16_t *pcm, uint64_t n);

/* Write n samples per channel of silence. */
int wav_silence(struct wav_writer *w, uint64_t n);

/*
 * Finish: all is written to fd (not fsynced), w is freed, also on failure.
 * 0, or -1 with errno; EINVAL when fewer or more samples came than announced.
 */
int wav_end(struct wav_writer *w);

/*
 * The header of a WAV on a pipe, where nothing can be corrected later.
 * samples UINT64_MAX: unknown, both sizes are 0xFFFFFFFF; otherwise the exact header that
 * wav_new() would write, which must fit plain RIFF (wav_fits_riff()).
 */
void wav_stream_header(uint8_t out[WAV_STREAM_HEADER_SIZE], uint32_t rate, unsigned channels,
    uint64_t samples);

/* True when that many samples per channel make a plain RIFF file. */
bool wav_fits_riff(unsigned channels, uint64_t samples);

#endif
