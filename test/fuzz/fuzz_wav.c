/*
 * Any file as audio.  The first byte: bit 0, through a pipe; bit 1, as samples to be written as WAV,
 * where that byte's rest says how many channels.  A file is read to an end, a whole one the same in
 * whatever portions, and none is said to be whole that is shorter than it says; what is written is
 * read again.
 */
#include "fuzz.h"
#include "wav.h"

#include "bytes.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

/* They lose memory over damaged files; a program that reads one and ends can bear that. */
const char *__lsan_default_suppressions(void);

const char *
__lsan_default_suppressions(void)
{
	return "leak:libsndfile.so\nleak:libvorbis.so\nleak:libFLAC.so\nleak:libmpg123.so\n"
	       "leak:libopus.so\nleak:libogg.so\n";
}

enum { MOST = 1 << 18 /* values that are read of one file */ };

struct reading {
	struct wav_audio audio;
	bool opened, whole;
	char text[WAV_TEXT];
	uint64_t samples, clipped, hash;
};

static int
file_of(const uint8_t *p, size_t size, bool through_pipe)
{
	int fds[2];

	if (through_pipe) {
		require(pipe2(fds, O_CLOEXEC) == 0);
		require(fcntl(fds[1], F_SETPIPE_SZ, 1 << 20) >= (int)size);
		require(write(fds[1], p, size) == (ssize_t)size && close(fds[1]) == 0);
		return fds[0];
	}
	fds[0] = memfd_create("audio", MFD_CLOEXEC);
	require(fds[0] != -1 && pwrite(fds[0], p, size, 0) == (ssize_t)size);
	return fds[0];
}

static void
read_some(struct wav_reader *r, struct reading *o, uint64_t portion)
{
	uint64_t ch = (uint64_t)o->audio.channels, n = portion;
	int16_t *pcm = malloc(sizeof *pcm * portion * ch);

	require(pcm != NULL);
	while (n == portion && o->samples * ch < MOST) {
		n = wav_read(r, pcm, portion);
		require(n <= portion);
		for (uint64_t i = 0; i < n * ch; i++)
			o->hash = (o->hash ^ (uint16_t)pcm[i]) * UINT64_C(0x100000001b3);
		o->samples += n;
	}
	o->clipped = wav_read_clipped(r);
	free(pcm);
}

static struct reading
read_file(const uint8_t *p, size_t size, bool through_pipe, uint64_t portion)
{
	struct reading o = { .hash = UINT64_C(0xcbf29ce484222325) };
	int fd = file_of(p, size, through_pipe);
	struct container c;
	struct wav_reader *r;

	wav_read_container(fd, &c);
	r = wav_read_new(fd, &c, &o.audio, o.text, &(bool){ false });

	if (r != NULL) {
		bool failed;

		o.opened = true;
		require(o.audio.rate > 0 && o.audio.channels > 0 && o.audio.channels <= 1024);
		require(memchr(o.audio.format, '\0', WAV_TEXT) != NULL);
		read_some(r, &o, portion);
		o.whole = wav_read_end(r, o.text, &failed);
		if (o.whole && o.audio.samples != WAV_UNKNOWN &&
		    o.samples * (uint64_t)o.audio.channels < MOST)
			require(o.samples >= o.audio.samples);
	}
	require(o.opened || memchr(o.text, '\0', WAV_TEXT) != NULL);
	close(fd);
	return o;
}

static void
read_twice(const uint8_t *p, size_t size, bool through_pipe)
{
	struct reading a, b;

	if (through_pipe && size >= 4 && wav_read_needs_file(p))
		return;
	a = read_file(p, size, through_pipe, 4096);
	b = read_file(p, size, through_pipe, 1024);
	require(a.opened == b.opened && a.whole == b.whole);
	/* libmpg123 gives nothing of a portion in which it meets damage. */
	require(!a.whole || (a.samples == b.samples && a.hash == b.hash && a.clipped == b.clipped));
}

static void
write_and_read(const uint8_t *p, size_t size, unsigned ch)
{
	uint64_t n = size / (2 * ch), known = n % 2 == 0 ? n : WAV_UNKNOWN;
	struct reading expected = { .hash = UINT64_C(0xcbf29ce484222325) }, is;
	int fd = memfd_create("wav", MFD_CLOEXEC);
	struct wav_writer *w = wav_new(fd, 8000, ch, known);
	uint8_t *made;

	require(fd != -1 && w != NULL);
	for (uint64_t i = 0; i < n; i++) {
		int16_t pcm[64];

		for (unsigned c = 0; c < ch; c++) {
			pcm[c] = (int16_t)le16_load(p + 2 * (i * ch + c));
			expected.hash =
			    (expected.hash ^ (uint16_t)pcm[c]) * UINT64_C(0x100000001b3);
		}
		require(wav_write(w, pcm, 1) == 0);
	}
	require(wav_end(w) == 0 && lseek(fd, 0, SEEK_CUR) == (off_t)(44 + 2 * ch * n));
	made = mmap(NULL, 44 + 2 * ch * n, PROT_READ, MAP_PRIVATE, fd, 0);
	require(made != MAP_FAILED);
	is = read_file(made, 44 + 2 * ch * n, false, 4096);
	require(is.opened && is.whole && is.audio.rate == 8000);
	require(is.audio.channels == (int)ch && is.samples == n && is.hash == expected.hash);
	munmap(made, 44 + 2 * ch * n);
	close(fd);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	uint8_t how = input_byte(&in);

	if ((how & 2) != 0)
		write_and_read(in.p, in.left, 1u + (how >> 2));
	else
		read_twice(in.p, in.left, (how & 1) != 0);
	return 0;
}
