/* wav: headers byte for byte, what libsndfile reads back, and the errno of the real write. */
#include "adpcm.h"
#include "wav.h"

#include "bytes.h"
#include "fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sndfile.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

enum { RIFF_HEADER = 44, RF64_HEADER = 104 };

static int
temp_file(void)
{
	char path[] = "/tmp/test_wav.XXXXXX";
	int fd = mkstemp(path);

	assert_int_not_equal(fd, -1);
	assert_int_equal(unlink(path), 0);
	return fd;
}

/* The canonical header: RIFF, fmt of 16 bytes, data. */
static void
riff_header(uint8_t out[RIFF_HEADER], uint32_t rate, unsigned ch, uint32_t riff, uint32_t data)
{
	/* As numbers: 0x46464952 reads "RIFF". */

	le32_store(out, 0x46464952);
	le32_store(out + 4, riff);
	le32_store(out + 8, 0x45564157);  /* WAVE */
	le32_store(out + 12, 0x20746D66); /* fmt */
	le32_store(out + 16, 16);
	le16_store(out + 20, 1);
	le16_store(out + 22, (uint16_t)ch);
	le32_store(out + 24, rate);
	le32_store(out + 28, rate * ch * 2);
	le16_store(out + 32, (uint16_t)(ch * 2));
	le16_store(out + 34, 16);
	le32_store(out + 36, 0x61746164); /* data */
	le32_store(out + 40, data);
}

/* The first len bytes that wav_new() makes; nothing else of the file is written. */
static void
header_of(uint32_t rate, unsigned ch, uint64_t samples, uint8_t *out, size_t len)
{
	int fd = temp_file();
	struct wav_writer *w = wav_new(fd, rate, ch, samples);

	assert_non_null(w);
	assert_int_equal(wav_flush(w), 0);
	wav_end(w);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), len);
	assert_int_equal(pread(fd, out, len, 0), len);
	close(fd);
}

static void
riff_headers(void **state)
{
	static const uint32_t rates[] = { 1, 8000, 44100, 48000, 768000 };
	uint8_t expected[RIFF_HEADER], header[RIFF_HEADER];

	(void)state;
	for (unsigned ch = 1; ch <= 64; ch++)
		for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
			for (uint32_t samples = 0; samples < 3000000; samples += 999999) {
				uint32_t data = samples * ch * 2;

				header_of(rates[i], ch, samples, header, sizeof header);
				riff_header(expected, rates[i], ch, data + 36, data);
				assert_memory_equal(header, expected, sizeof header);
			}
}

static void
unknown_length(void **state)
{
	uint8_t expected[RIFF_HEADER], header[RIFF_HEADER];

	(void)state;
	header_of(44100, 2, WAV_UNKNOWN, header, sizeof header);
	riff_header(expected, 44100, 2, UINT32_MAX, UINT32_MAX);
	assert_memory_equal(header, expected, sizeof header);
}

/* RIFF as long as the file stays below 4 GiB, with 1 to 64 channels; then RF64, sizes in ds64. */
static void
boundary(void **state)
{
	uint8_t expected[RIFF_HEADER], h[RF64_HEADER];

	(void)state;
	for (unsigned ch = 1; ch <= 64; ch++) {
		uint64_t most = (UINT32_MAX - RIFF_HEADER) / (2 * ch), data = most * 2 * ch;

		assert_true(wav_fits_riff(ch, most));
		assert_false(wav_fits_riff(ch, most + 1));
		assert_true(data + RIFF_HEADER <= UINT32_MAX);
		header_of(48000, ch, most, h, RIFF_HEADER);
		riff_header(expected, 48000, ch, (uint32_t)data + 36, (uint32_t)data);
		assert_memory_equal(h, expected, RIFF_HEADER);

		for (uint64_t samples = most + 1; samples < most << 20; samples = samples * 8 + 7) {
			data = samples * 2 * ch;
			header_of(48000, ch, samples, h, RF64_HEADER);
			assert_memory_equal(h, "RF64\xff\xff\xff\xffWAVEds64", 16);
			assert_int_equal(le64_load(h + 20), data + RF64_HEADER - 8);
			assert_int_equal(le64_load(h + 28), data);
			assert_int_equal(le64_load(h + 36), samples);
			assert_int_equal(le16_load(h + 58), ch);
			assert_int_equal(le32_load(h + 60), 48000);
			assert_memory_equal(h + 96, "data\xff\xff\xff\xff", 8);
		}
	}
	assert_null(wav_new(STDOUT_FILENO, 48000, 2, UINT64_MAX / 2));
	assert_int_equal(errno, EFBIG);
}

/* A file of 4 GiB and more, most of it a hole: libsndfile finds the last sample where it is. */
static void
beyond_4gib(void **state)
{
	static const int16_t last[2] = { -12345, 23456 };
	const uint64_t samples = UINT64_C(3) << 30;
	uint8_t header[RF64_HEADER];
	SF_INFO info = { 0 };
	SNDFILE *snd;
	int16_t got[2] = { 0 };
	int fd = temp_file();

	(void)state;
	header_of(96000, 2, samples, header, sizeof header);
	assert_int_equal(pwrite(fd, header, sizeof header, 0), sizeof header);
	assert_int_equal(pwrite(fd, last, 4, (off_t)(RF64_HEADER + 4 * (samples - 1))), 4);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_non_null(snd = sf_open_fd(fd, SFM_READ, &info, 0));
	assert_int_equal(info.frames, samples);
	assert_int_equal(info.samplerate, 96000);
	assert_int_equal(info.channels, 2);
	assert_int_equal(info.format, SF_FORMAT_RF64 | SF_FORMAT_PCM_16);
	assert_int_equal(sf_seek(snd, (sf_count_t)samples - 1, SEEK_SET), samples - 1);
	assert_int_equal(sf_readf_short(snd, got, 1), 1);
	assert_memory_equal(got, last, 4);
	sf_close(snd);
	close(fd);
}

/* What is written is what is read, in pieces of any size, around the buffer's too. */
static void
roundtrip(void **state)
{
	enum { SAMPLES = 400000, SILENCE = 100000 };
	static const uint64_t pieces[] = { 1, 17, 0, 1000, 65535, 65536, 65537, 3, 131073 };
	static int16_t in[3 * SAMPLES], out[3 * (SAMPLES + SILENCE)], zeros[3 * SILENCE];

	(void)state;
	for (size_t i = 0; i < 3 * SAMPLES; i++)
		in[i] = (int16_t)(i * 2654435761u >> 16);
	for (unsigned ch = 1; ch <= 3; ch++) {
		SF_INFO info = { 0 };
		SNDFILE *snd;
		uint64_t at = 0;
		int fd = temp_file();
		struct wav_writer *w = wav_new(fd, 16000, ch, SAMPLES + SILENCE);

		assert_non_null(w);
		for (size_t i = 0; at < SAMPLES; i++) {
			uint64_t n = pieces[i % 9] < SAMPLES - at ? pieces[i % 9] : SAMPLES - at;

			assert_int_equal(wav_write(w, in + at * ch, n), 0);
			at += n;
			if (at == 1)
				assert_int_equal(wav_silence(w, SILENCE), 0);
		}
		assert_int_equal(wav_end(w), 0);
		assert_int_equal(lseek(fd, 0, SEEK_END),
		    RIFF_HEADER + (SAMPLES + SILENCE) * ch * 2);
		assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
		assert_non_null(snd = sf_open_fd(fd, SFM_READ, &info, 0));
		assert_int_equal(info.frames, SAMPLES + SILENCE);
		assert_int_equal(info.channels, ch);
		assert_int_equal(sf_readf_short(snd, out, SAMPLES + SILENCE), SAMPLES + SILENCE);
		assert_memory_equal(out, in, 2 * ch);
		assert_memory_equal(out + ch, zeros, 2 * ch * SILENCE);
		assert_memory_equal(out + ch * (1 + SILENCE), in + ch, 2 * ch * (SAMPLES - 1));
		sf_close(snd);
		close(fd);
	}
}

/* So much silence, a sample, so much again, after what fd has; the same bytes as through a pipe. */
static void
write_silence(int fd, uint64_t before, uint64_t behind)
{
	static const int16_t sample = 0x1234;
	struct wav_writer *w = wav_new(fd, 8000, 1, before + 1 + behind);

	assert_non_null(w);
	for (uint64_t part = 0; part < 2; part++) /* in two calls, with nothing between them */
		assert_int_equal(wav_silence(w, before / 2), 0);
	assert_int_equal(wav_write(w, &sample, 1), 0);
	assert_int_equal(wav_silence(w, behind), 0);
	assert_int_equal(wav_end(w), 0);
}

static blkcnt_t
blocks(int fd)
{
	struct stat st;

	assert_int_equal(fsync(fd), 0);
	assert_int_equal(fstat(fd, &st), 0);
	return st.st_blocks;
}

/* In a file that ends where it is written, silence takes no space, and reads as zeros all the same. */
static void
silence_is_holes(void **state)
{
	enum { MANY = 1 << 20, SIZE = RIFF_HEADER + 4 * MANY + 2 };
	uint8_t *bytes = malloc(SIZE + 1);
	int fd = temp_file();

	(void)state;
	assert_non_null(bytes);
	write_silence(fd, MANY, MANY);
	assert_in_range(blocks(fd), 1, 64);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), SIZE);
	assert_int_equal(pread(fd, bytes, SIZE + 1, 0), SIZE);
	for (size_t i = RIFF_HEADER; i < SIZE; i++)
		assert_int_equal(bytes[i],
		    i == RIFF_HEADER + 2 * MANY           ? 0x34
			: i == RIFF_HEADER + 2 * MANY + 1 ? 0x12
							  : 0);

	/* After what is there; over what is there, which is not to be heard. */
	assert_int_equal(lseek(fd, 3, SEEK_SET), 3);
	memset(bytes, 0x55, SIZE);
	assert_int_equal(pwrite(fd, bytes, SIZE, 0), SIZE);
	write_silence(fd, 50000, 50000);
	assert_int_equal(pread(fd, bytes, SIZE, 0), SIZE);
	for (size_t i = 3 + RIFF_HEADER; i < 3 + RIFF_HEADER + 200002; i++)
		assert_true(bytes[i] == 0 || (i - 3 - RIFF_HEADER) / 2 == 50000);
	assert_int_equal(bytes[3 + RIFF_HEADER + 200002], 0x55);

	/* Appending: the end is wherever others have put it. */
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_APPEND), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	write_silence(fd, 50000, 50000);
	assert_int_equal(lseek(fd, 0, SEEK_END), RIFF_HEADER + 200002);
	close(fd);
	free(bytes);
}

/* What the file system can't hold is told as that, wherever it is met. */
static void
too_large_for_the_file_system(void **state)
{
	struct rlimit before, limit;
	int fd = temp_file();
	struct wav_writer *w;
	int16_t sample = 1;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = before;
	limit.rlim_cur = 1 << 20;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	for (int end = 0; end < 2; end++) {
		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
		w = wav_new(fd, 8000, 1, (1 << 20) + 1);
		assert_non_null(w);
		assert_int_equal(wav_silence(w, 1 << 20), 0);
		errno = 0;
		if (end == 0) {
			assert_int_equal(wav_write(w, &sample, 1), -1);
			assert_int_equal(errno, EFBIG);
		}
		assert_int_equal(wav_end(w), -1);
		assert_int_equal(errno, EFBIG);
		assert_in_range(lseek(fd, 0, SEEK_END), 0, RIFF_HEADER);
	}
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	signal(SIGXFSZ, SIG_DFL);
	close(fd);
}

/* The WAV is what libsndfile would have made of a file of its own. */
static void
as_libsndfile_does(void **state)
{
	static int16_t in[6 * 1000];
	static uint8_t ours[RIFF_HEADER + sizeof in], theirs[sizeof ours];

	(void)state;
	for (size_t i = 0; i < 6 * 1000; i++)
		in[i] = (int16_t)(i * 40503);
	for (unsigned ch = 1; ch <= 6; ch++) {
		SF_INFO info = { .samplerate = 22050,
			.channels = (int)ch,
			.format = SF_FORMAT_WAV | SF_FORMAT_PCM_16 };
		int mine = temp_file(), its = temp_file();
		struct wav_writer *w = wav_new(mine, 22050, ch, 1000);
		SNDFILE *snd = sf_open_fd(its, SFM_RDWR, &info, 0);
		size_t len = RIFF_HEADER + 2000 * ch;

		assert_non_null(snd);
		assert_int_equal(sf_writef_short(snd, in, 1000), 1000);
		assert_int_equal(sf_close(snd), 0);
		assert_int_equal(wav_write(w, in, 1000), 0);
		assert_int_equal(wav_end(w), 0);
		assert_int_equal(pread(mine, ours, sizeof ours, 0), len);
		assert_int_equal(pread(its, theirs, sizeof theirs, 0), len);
		assert_memory_equal(ours, theirs, len);
		close(mine);
		close(its);
	}
}

static void
not_as_many_as_announced(void **state)
{
	static const int16_t pcm[4];
	int fd = temp_file();

	(void)state;
	for (uint64_t n = 0; n <= 4; n++) {
		struct wav_writer *w = wav_new(fd, 8000, 1, 3);

		assert_int_equal(wav_write(w, pcm, n), 0);
		errno = 0;
		assert_int_equal(wav_end(w), n == 3 ? 0 : -1);
		assert_int_equal(errno, n == 3 ? 0 : EINVAL);
	}
	close(fd);
}

/* Ended early: the header says what there is, in a file; in a pipe it stays. */
static void
cut(void **state)
{
	static const int16_t pcm[400];
	uint8_t expected[RIFF_HEADER], h[RF64_HEADER];
	int fd = temp_file(), fds[2];
	struct wav_writer *w;

	(void)state;
	assert_int_equal(write(fd, "before", 6), 6);
	assert_non_null(w = wav_new(fd, 8000, 2, 1000));
	assert_int_equal(wav_write(w, pcm, 200), 0);
	assert_int_equal(wav_cut(w), 0);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 6 + RIFF_HEADER + 800);
	assert_int_equal(lseek(fd, 0, SEEK_END), 6 + RIFF_HEADER + 800);
	riff_header(expected, 8000, 2, 836, 800);
	assert_int_equal(pread(fd, h, RIFF_HEADER, 6), RIFF_HEADER);
	assert_memory_equal(h, expected, RIFF_HEADER);

	/* RF64 stays RF64: what follows the header can't be moved. */
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_non_null(w = wav_new(fd, 8000, 2, UINT64_C(1) << 40));
	assert_int_equal(wav_write(w, pcm, 200), 0);
	assert_int_equal(wav_cut(w), 0);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), RF64_HEADER + 800);
	assert_int_equal(pread(fd, h, RF64_HEADER, 0), RF64_HEADER);
	assert_memory_equal(h, "RF64", 4);
	assert_int_equal(le64_load(h + 20), RF64_HEADER - 8 + 800);
	assert_int_equal(le64_load(h + 28), 800);
	assert_int_equal(le64_load(h + 36), 200);

	/* Appending, it would be written somewhere else. */
	assert_int_equal(fcntl(fd, F_SETFL, O_APPEND), 0);
	assert_non_null(w = wav_new(fd, 8000, 2, 1000));
	assert_int_equal(wav_cut(w), 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), RF64_HEADER + 800 + RIFF_HEADER);
	close(fd);

	assert_int_equal(pipe(fds), 0);
	assert_non_null(w = wav_new(fds[1], 8000, 2, 1000));
	assert_int_equal(wav_write(w, pcm, 5), 0);
	assert_int_equal(wav_cut(w), 0);
	assert_int_equal(fdio_read(fds[0], h, RF64_HEADER), RIFF_HEADER + 20);
	riff_header(expected, 8000, 2, 4036, 4000);
	assert_memory_equal(h, expected, RIFF_HEADER);
	close(fds[0]);
	close(fds[1]);
}

struct reader {
	pthread_t thread;
	int fd;
	size_t got;
};

static void *
read_all(void *arg)
{
	struct reader *r = arg;
	char buf[4096];
	ssize_t n;

	while ((n = fdio_read(r->fd, buf, sizeof buf)) > 0)
		r->got += (size_t)n;
	return NULL;
}

/* A pipe that somebody made non-blocking is waited for. */
static void
nonblocking(void **state)
{
	struct reader r = { .got = 0 };
	struct wav_writer *w;
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
	r.fd = fds[0];
	assert_int_equal(pthread_create(&r.thread, NULL, read_all, &r), 0);
	w = wav_new(fds[1], 8000, 1, WAV_UNKNOWN);
	assert_int_equal(wav_silence(w, 3000000), 0);
	assert_int_equal(wav_end(w), 0);
	close(fds[1]);
	pthread_join(r.thread, NULL);
	assert_int_equal(r.got, RIFF_HEADER + 6000000);
	close(fds[0]);
}

/* Flushed samples are in the file at once, header and all. */
static void
flush_is_immediate(void **state)
{
	static const int16_t pcm[100] = { 1, 2, 3 };
	uint8_t got[1000];
	int fds[2];
	struct wav_writer *w;

	(void)state;
	assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
	w = wav_new(fds[1], 8000, 1, WAV_UNKNOWN);
	assert_int_equal(wav_write(w, pcm, 100), 0);
	assert_int_equal(fdio_read(fds[0], got, sizeof got), -1);
	assert_int_equal(wav_flush(w), 0);
	assert_int_equal(fdio_read(fds[0], got, sizeof got), RIFF_HEADER + sizeof pcm);
	assert_memory_equal(got + RIFF_HEADER, pcm, sizeof pcm);
	assert_int_equal(wav_write(w, pcm, 1), 0);
	assert_int_equal(wav_end(w), 0);
	assert_int_equal(fdio_read(fds[0], got, sizeof got), 2);
	close(fds[0]);
	close(fds[1]);
}

/* Write until it fails, in pieces of n samples; every call from then on says the same. */
static void
fails_with(int fd, int error, uint64_t n)
{
	static const int16_t pcm[1 << 20];
	struct wav_writer *w = wav_new(fd, 8000, 1, WAV_UNKNOWN);
	int tries = 0;

	assert_non_null(w);
	while (wav_write(w, pcm, n) == 0)
		assert_true(tries++ < 1000000);
	assert_int_equal(errno, error);
	errno = 0;
	assert_int_equal(wav_flush(w), -1);
	assert_int_equal(errno, error);
	assert_int_equal(wav_silence(w, 5), -1);
	assert_int_equal(errno, error);
	errno = 0;
	assert_int_equal(wav_end(w), -1);
	assert_int_equal(errno, error);
}

static void
real_errors(void **state)
{
	struct rlimit old, small = { 1 << 20, 1 << 20 };
	int fd, fds[2];

	(void)state;
	for (uint64_t n = 1; n <= 1 << 20; n *= 16) {
		assert_int_not_equal(fd = open("/dev/full", O_WRONLY), -1);
		fails_with(fd, ENOSPC, n);
		close(fd);
	}

	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(fds), 0);
	close(fds[0]);
	fails_with(fds[1], EPIPE, 100);
	close(fds[1]);

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small.rlim_max = old.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	fd = temp_file();
	fails_with(fd, EFBIG, 100);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	close(fd);

	/* Nothing but the end sees it. */
	assert_int_not_equal(fd = open("/dev/full", O_WRONLY), -1);
	struct wav_writer *w = wav_new(fd, 8000, 1, 10);
	assert_non_null(w);
	assert_int_equal(wav_silence(w, 10), 0);
	assert_int_equal(wav_end(w), -1);
	assert_int_equal(errno, ENOSPC);
	close(fd);
}

/* The bytes of an IMA ADPCM WAV's header, written out. */
static void
ima_header(void **state)
{
	static const uint8_t expected[WAV_IMA_HEADER] = { 'R', 'I', 'F', 'F', 0x34, 0x06, 0, 0, 'W',
		'A', 'V', 'E', /* 52 + 3 blocks of 512 */
		'f', 'm', 't', ' ', 20, 0, 0, 0, 17, 0, 2, 0, 0x44, 0xac, 0, 0, /* 44100 Hz */
		0xa7, 0xae, 0, 0, /* 44100 * 512 / 505 */
		0, 2, 4, 0, 2, 0, 0xf9, 1, 'f', 'a', 'c', 't', 4, 0, 0, 0, 0xf3, 3, 0, 0, 'd', 'a',
		't', 'a', 0, 6, 0, 0 };
	uint8_t header[WAV_IMA_HEADER];

	(void)state;
	assert_true(wav_pack_ima(header, 44100, 2, 505, 1011));
	assert_memory_equal(header, expected, sizeof header);
	assert_true(wav_pack_ima(header, 8000, 1, 505, 0));
	assert_int_equal(le32_load(header + 4), 52);
	assert_int_equal(le32_load(header + 48), 0);
	assert_int_equal(le32_load(header + 56), 0);
	assert_true(wav_pack_ima(header, 8000, 1, 505, WAV_UNKNOWN));
	assert_int_equal(le32_load(header + 4), UINT32_MAX);
	assert_int_equal(le32_load(header + 48), UINT32_MAX);
	assert_int_equal(le32_load(header + 56), UINT32_MAX);

	/* What it can't hold: 4 GiB, 64 KiB in a block, more samples than fact has room for. */
	assert_true(wav_pack_ima(header, 8000, 2, 505, UINT64_C(8388607) * 505));
	assert_int_equal(le32_load(header + 56), 0xfffffe00);
	assert_false(wav_pack_ima(header, 8000, 2, 505, UINT64_C(8388607) * 505 + 1));
	assert_false(wav_pack_ima(header, 8000, 1, 505, UINT64_C(1) << 32));
	assert_true(wav_pack_ima(header, 8000, 64, 2033, 1));
	assert_false(wav_pack_ima(header, 8000, 64, 2041, 1));
}

static struct wav_reader *
read_new(int fd, struct wav_audio *o, char text[WAV_TEXT], bool *failedo)
{
	struct container c;

	wav_read_container(fd, &c);
	return wav_read_new(fd, &c, o, text, failedo);
}

/* Open what fd holds; it is to be read from the start. */
static struct wav_reader *
read_from_start(int fd, struct wav_audio *o)
{
	char text[WAV_TEXT] = "";
	struct wav_reader *r;
	bool failed;

	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	if ((r = read_new(fd, o, text, &failed)) == NULL)
		fail_msg("%s", text);
	return r;
}

/* A file in some format of libsndfile's, with these values. */
static int
file_of(int format, int channels, const double *values, sf_count_t n)
{
	SF_INFO info = { .samplerate = 22050, .channels = channels, .format = format };
	int fd = temp_file();
	SNDFILE *snd = sf_open_fd(fd, SFM_WRITE, &info, 0);

	assert_non_null(snd);
	if ((format & SF_FORMAT_SUBMASK) > SF_FORMAT_PCM_32) {
		assert_int_equal(sf_write_double(snd, values, n), n);
	} else {
		int exact[256]; /* libsndfile would multiply by 32767 */

		for (sf_count_t i = 0; i < n; i++)
			exact[i] = (int)(values[i] * 0x1p31);
		assert_int_equal(sf_write_int(snd, exact, n), n);
	}
	sf_close(snd);
	return fd;
}

/*
 * IMA ADPCM of five channels, more than libsndfile reads, in portions that end anywhere: two blocks
 * and one that is short, of which the fact chunk leaves out some.
 */
static void
reads_ima(void **state)
{
	enum { CH = 5, N = 17, BLOCK = CH * 12, ALL = N + N + 9 };
	uint8_t file[WAV_IMA_HEADER + 3 * BLOCK];
	int16_t expected[ALL * CH], pcm[ALL * CH + CH];
	struct adpcm_state s[CH];
	struct wav_audio audio;
	struct wav_reader *r;
	char text[WAV_TEXT];
	bool failed, damaged = false;
	uint64_t at, n;
	int fd = temp_file();

	(void)state;
	assert_true(wav_pack_ima(file, 8000, CH, N, ALL));
	le32_store(file + 56, 2 * BLOCK + CH * 8);
	for (size_t i = 0; i < 3 * BLOCK; i++)
		file[WAV_IMA_HEADER + i] =
		    i % BLOCK < CH * 4 && i % 4 > 1 ? (i % 4 == 2 ? 40 : 0) : (uint8_t)(i * 37);
	for (int i = 0; i < 3; i++)
		adpcm_decode(ADPCM_WAV, CH, N, file + WAV_IMA_HEADER + i * BLOCK,
		    i < 2 ? BLOCK : CH * 8, s, expected + (size_t)i * N * CH, &damaged);
	assert_int_equal(pwrite(fd, file, WAV_IMA_HEADER + 2 * BLOCK + CH * 8, 0),
	    WAV_IMA_HEADER + 2 * BLOCK + CH * 8);
	for (uint64_t portion = 1; portion <= ALL + 1; portion += 5)
		for (uint32_t fact = ALL - 8; fact <= ALL; fact += 8) {
			le32_store(file, fact);
			assert_int_equal(pwrite(fd, file, 4, 48), 4);
			r = read_from_start(fd, &audio);
			assert_int_equal(audio.samples, fact);
			assert_int_equal(audio.rate, 8000);
			assert_int_equal(audio.channels, CH);
			for (at = 0; (n = wav_read(r, pcm + at * CH, portion)) > 0; at += n)
				assert_in_range(at + n, 1, fact);
			assert_int_equal(at, fact);
			assert_memory_equal(pcm, expected, sizeof *pcm * CH * fact);
			assert_true(wav_read_end(r, text, &failed));
		}
	close(fd);
}

static void
reads_any_format(void **state)
{
	static const double values[] = { 0, 0.5, -0.5, 0.25, -1, 0.999969482421875, 1.5, -2 };
	static const int16_t expected[] = { 0, 16384, -16384, 8192, -32768, 32767, 32767, -32768 };
	static const struct {
		int format;
		bool finer;
		sf_count_t n; /* of those values */
		const char *name;
	} formats[] = {
		{ SF_FORMAT_WAV | SF_FORMAT_PCM_16, false, 6, "Signed 16 bit PCM" },
		{ SF_FORMAT_WAV | SF_FORMAT_PCM_24, true, 6, "Signed 24 bit PCM" },
		{ SF_FORMAT_WAV | SF_FORMAT_PCM_32, true, 6, "Signed 32 bit PCM" },
		{ SF_FORMAT_AIFF | SF_FORMAT_PCM_16, false, 6, "AIFF" },
		{ SF_FORMAT_FLAC | SF_FORMAT_PCM_16, false, 6, "FLAC" },
		{ SF_FORMAT_WAV | SF_FORMAT_FLOAT, true, 8, "32 bit float" },
		{ SF_FORMAT_AU | SF_FORMAT_DOUBLE, true, 8, "64 bit float" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
		int fd = file_of(formats[i].format, 2, values, formats[i].n);
		uint64_t n = (uint64_t)formats[i].n / 2;
		struct wav_audio audio;
		struct wav_reader *r = read_from_start(fd, &audio);
		char text[WAV_TEXT];
		int16_t pcm[10];
		bool failed;

		assert_int_equal(audio.rate, 22050);
		assert_int_equal(audio.channels, 2);
		assert_int_equal(audio.samples, n);
		assert_int_equal(audio.finer, formats[i].finer);
		assert_non_null(strstr(audio.format, formats[i].name));
		assert_int_equal(wav_read(r, pcm, 1), 1);
		assert_int_equal(wav_read(r, pcm + 2, 4), n - 1);
		assert_memory_equal(pcm, expected, 4 * n);
		assert_int_equal(wav_read(r, pcm, 4), 0);
		assert_int_equal(wav_read_clipped(r), formats[i].n == 8 ? 2 : 0);
		assert_true(wav_read_end(r, text, &failed));
		assert_false(failed);
		close(fd);
	}
}

/* Larger than any buffer, and in pieces of any size. */
static void
reads_floats_in_pieces(void **state)
{
	enum { VALUES = 3 * 5000 };
	static double values[VALUES];
	static int16_t pcm[VALUES];
	struct wav_audio audio;
	struct wav_reader *r;
	char text[WAV_TEXT];
	uint64_t at = 0, n, want = 1;
	bool failed;
	int fd;

	(void)state;
	for (int i = 0; i < VALUES; i++)
		values[i] = (i % 60000 - 30000) / 32768.0;
	fd = file_of(SF_FORMAT_WAV | SF_FORMAT_FLOAT, 3, values, VALUES);
	r = read_from_start(fd, &audio);
	while ((n = wav_read(r, pcm + 3 * at, want < 5000 - at ? want : 5000 - at)) > 0) {
		at += n;
		want = want * 3 + 1;
	}
	assert_int_equal(at, 5000);
	for (int i = 0; i < VALUES; i++)
		assert_int_equal(pcm[i], i % 60000 - 30000);
	assert_true(wav_read_end(r, text, &failed));
	close(fd);
}

static void
reads_what_is_not_whole(void **state)
{
	static const double values[200];
	struct wav_audio audio;
	struct wav_reader *r;
	char text[WAV_TEXT];
	int16_t pcm[200];
	bool failed;
	int fd = file_of(SF_FORMAT_WAV | SF_FORMAT_PCM_16, 1, values, 200), fds[2];
	uint8_t bytes[300];

	(void)state;
	/* Shorter than its header says, as a file and through a pipe. */
	assert_int_equal(ftruncate(fd, 300), 0);
	r = read_from_start(fd, &audio);
	assert_int_equal(wav_read(r, pcm, 200), 128);
	assert_false(wav_read_end(r, text, &failed));
	assert_false(failed);
	assert_string_equal(text, "shorter than its header says");
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(pread(fd, bytes, sizeof bytes, 0), sizeof bytes);
	assert_int_equal(write(fds[1], bytes, sizeof bytes), sizeof bytes);
	close(fds[1]);
	assert_non_null(r = read_new(fds[0], &audio, text, &failed));
	assert_int_equal(audio.samples, 200);
	assert_int_equal(wav_read(r, pcm, 200), 128);
	assert_false(wav_read_end(r, text, &failed));
	assert_string_equal(text, "ends after 128 samples, its header says 200");
	close(fds[0]);

	/* A header that knows no size is no lie, whatever the program that wrote it put there. */
	for (int i = 0; i < 2; i++) {
		le32_store(bytes, i == 0 ? UINT32_MAX : 0x7ffff000);
		assert_int_equal(pwrite(fd, bytes, 4, 4), 4);
		assert_int_equal(pwrite(fd, bytes, 4, 40), 4);
		r = read_from_start(fd, &audio);
		assert_int_equal(wav_read(r, pcm, 200), 128);
		assert_true(wav_read_end(r, text, &failed));
	}

	assert_true(wav_read_needs_file((const uint8_t *)"ID3\4"));
	assert_true(wav_read_needs_file((const uint8_t *)"\xff\xfb\x90\x44"));
	assert_false(wav_read_needs_file((const uint8_t *)"RIFF"));
	assert_false(wav_read_needs_file((const uint8_t *)"\xff\x1b\x90\x44"));

	/* No audio at all; nothing that can be read. */
	assert_int_equal(pwrite(fd, "no audio", 8, 0), 8);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_null(read_new(fd, &audio, text, &failed));
	assert_false(failed);
	assert_true(text[0] != '\0');
	close(fd);
	assert_null(read_new(fd, &audio, text, &failed));
	assert_true(failed);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(riff_headers),
		cmocka_unit_test(unknown_length),
		cmocka_unit_test(boundary),
		cmocka_unit_test(beyond_4gib),
		cmocka_unit_test(roundtrip),
		cmocka_unit_test(silence_is_holes),
		cmocka_unit_test(too_large_for_the_file_system),
		cmocka_unit_test(as_libsndfile_does),
		cmocka_unit_test(not_as_many_as_announced),
		cmocka_unit_test(cut),
		cmocka_unit_test(nonblocking),
		cmocka_unit_test(flush_is_immediate),
		cmocka_unit_test(real_errors),
		cmocka_unit_test(ima_header),
		cmocka_unit_test(reads_ima),
		cmocka_unit_test(reads_any_format),
		cmocka_unit_test(reads_floats_in_pieces),
		cmocka_unit_test(reads_what_is_not_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
