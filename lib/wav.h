/*
 * PCM16 WAV, through libsndfile; this is the only file that knows it.
 * Plain RIFF with a 44-byte header while the file stays below 4 GiB, RF64 (EBU Tech 3306) above:
 * the number of samples has to be known before.  Then nothing has to be corrected afterwards, so
 * a WAV can go to a pipe as well as to a file.  Same input, same bytes.
 */
#ifndef EET_WAV_H
#define EET_WAV_H

#include <stdbool.h>
#include <stdint.h>

struct wav_writer;

/* samples for wav_new(): how many will come is not known. */
#define WAV_UNKNOWN UINT64_MAX

/*
 * Begin a WAV on fd, from where that stands, strictly forward; fd stays the caller's.
 * samples: per channel, exactly as many as will be written, or WAV_UNKNOWN: plain RIFF, both
 * sizes 0xFFFFFFFF.  NULL on failure, with errno; EFBIG: not even RF64 can hold so many.
 */
struct wav_writer *wav_new(int fd, uint32_t rate, unsigned channels, uint64_t samples);

/* Write n samples per channel, interleaved.  0, or -1 with errno (the write's own). */
int wav_write(struct wav_writer *w, const int16_t *pcm, uint64_t n);

/* Write n samples per channel of silence. */
int wav_silence(struct wav_writer *w, uint64_t n);

/* Hand everything so far to the kernel, the header included.  0, or -1 with errno. */
int wav_flush(struct wav_writer *w);

/*
 * Finish: all is written to fd (not fsynced), w is freed, also on failure.
 * 0, or -1 with errno; EINVAL when fewer or more samples came than announced.
 * After a failed call only this one is of use; it then fails with the same errno.
 */
int wav_end(struct wav_writer *w);

/*
 * Finish early: as wav_end(), but if fewer samples came than announced, the header is written again
 * to say so where fd allows it, which a pipe does not.
 */
int wav_cut(struct wav_writer *w);

/* True when that many samples per channel make a plain RIFF file. */
bool wav_fits_riff(unsigned channels, uint64_t samples);

#endif
