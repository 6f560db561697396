/*
 * PCM16 WAV, through libsndfile, and the reading of audio files; no other file knows it.
 * Plain RIFF with a 44-byte header while the file stays below 4 GiB, RF64 (EBU Tech 3306) above:
 * the number of samples has to be known before.  Then nothing has to be corrected afterwards, so
 * a WAV can go to a pipe as well as to a file.  Same input, same bytes.
 */
#ifndef EET_WAV_H
#define EET_WAV_H

#include "container.h"

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

/*
 * Write n samples per channel of silence: where fd is a regular file that ends there and is not for
 * appending, as a hole, so that it takes no space where the file system can do that.  It may fail
 * later, as other writes do.
 */
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

/*
 * ---- IMA ADPCM WAV: its header; what follows are blocks of equal size, ADPCM_WAV. ----
 */

enum { WAV_IMA_HEADER = 60 };

/*
 * Write the header (format 17, with a fact chunk) for blocks that hold so many samples per channel,
 * 1 more than a multiple of 8, and for all samples per channel, of which the last block may have
 * fewer.  WAV_UNKNOWN: all sizes 0xFFFFFFFF.  False: WAV can't hold so much, or such blocks.
 */
bool wav_pack_ima(uint8_t out[WAV_IMA_HEADER], uint32_t rate, unsigned channels,
    uint32_t block_samples, uint64_t samples);

/*
 * ---- Any audio file that libsndfile knows, as 16-bit samples.  IMA ADPCM WAVs, whose short last
 * blocks it would fill up with what it had before, are decoded here. ----
 */

struct wav_reader;

enum { WAV_TEXT = 128 };

struct wav_audio {
	int rate, channels;    /* more than 0, else anything */
	uint64_t samples;      /* per channel, as it says itself, or WAV_UNKNOWN */
	char format[WAV_TEXT]; /* what it is, for people */
	bool finer;            /* than 16 bit, or of floats: samples are rounded, and clipped */
};

/*
 * Does a file with these first bytes need to be one, because it can't be read from a pipe?  Not all
 * that can't be is known by them, but what is must not be tried: libsndfile 1.2 would read an MP3
 * from beyond its buffer.
 */
bool wav_read_needs_file(const uint8_t head[4]);

/* What the header of the regular file on fd, which begins where that stands, says (container.h). */
void wav_read_container(int fd, struct container *o);

/*
 * Open what fd has from where it stands; a pipe will do for those formats that can be read
 * strictly forward.  fd stays the caller's.  c: what the header says, which has been patched where
 * it comes through a pipe; it is not needed afterwards.  NULL if that can't be, and texto says why;
 * *failedo: because of the system.
 */
struct wav_reader *wav_read_new(int fd, const struct container *c, struct wav_audio *o,
    char texto[WAV_TEXT], bool *failedo);

/* Read up to n samples per channel, interleaved.  Returns how many there were; fewer at the end. */
uint64_t wav_read(struct wav_reader *r, int16_t *pcm, uint64_t n);

/* How many values were beyond what 16 bit can hold. */
uint64_t wav_read_clipped(const struct wav_reader *r);

/*
 * Finish; r is freed.  True: that was all.  False: the file is damaged, or shorter than it says,
 * and texto says how; *failedo: reading it failed.
 */
bool wav_read_end(struct wav_reader *r, char texto[WAV_TEXT], bool *failedo);

#endif
