/*
 * libsndfile wants a file in which it can go back to the header, and writes its errors to nobody.
 * It gets one made of the functions below: the header stays in memory until libsndfile, told
 * what the size will be, has made it final; then header and samples go out through one buffer, and
 * what libsndfile would write over the header at the end is dropped.
 */
#include "wav.h"

#include "adpcm.h"
#include "bytes.h"
#include "fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <sndfile.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	RIFF_HEADER = 44,
	RIFF_SIZE = 4, /* offsets of the sizes within it */
	DATA_SIZE = 40,
	MAX_HEADER = 128, /* RF64: 104 */
	BUFFER = 64 * 1024,
	HOLE = 8192, /* less is not worth the calls */
};

struct wav_writer {
	SNDFILE *snd;
	int fd;
	int error; /* errno of the first write that failed */
	uint32_t rate;
	unsigned channels;
	bool riff; /* else RF64 */
	uint64_t announced;
	uint64_t samples;
	bool holes;       /* fd can have them */
	uint64_t silence; /* bytes that are to come before what is written next */
	bool header_done; /* what libsndfile writes over it later is dropped */
	sf_count_t size;  /* of the whole file to be */
	sf_count_t pos;   /* where libsndfile believes it is */
	uint8_t header[MAX_HEADER];
	sf_count_t header_size;
	size_t len;
	uint8_t buffer[BUFFER];
};

bool
wav_fits_riff(unsigned channels, uint64_t samples)
{
	return samples <= (UINT32_MAX - RIFF_HEADER) / (2 * channels);
}

/* Write p[0..len), waiting for room where somebody made the file non-blocking. */
static int
write_out(struct wav_writer *w, const uint8_t *p, size_t len)
{
	size_t done;

	while (w->error == 0 && fdio_write_full(w->fd, p, len, &done) == -1) {
		p += done;
		len -= done;
		if (errno == EAGAIN)
			poll(&(struct pollfd){ .fd = w->fd, .events = POLLOUT }, 1, -1);
		else
			w->error = errno;
	}
	return w->error == 0 ? 0 : -1;
}

static int
flush_buffer(struct wav_writer *w)
{
	int status = write_out(w, w->buffer, w->len);

	w->len = 0;
	return status;
}

/* Through the buffer, but around it for what is larger. */
static int
put(struct wav_writer *w, const uint8_t *p, size_t len)
{
	if (len > BUFFER - w->len && flush_buffer(w) == -1)
		return -1;
	if (len > BUFFER)
		return write_out(w, p, len);
	memcpy(w->buffer + w->len, p, len);
	w->len += len;
	return w->error == 0 ? 0 : -1;
}

/* Make the file longer by n bytes that are not written.  False: it can't be, and is what it was. */
static bool
skip(struct wav_writer *w, uint64_t n)
{
	struct stat st;
	off_t here = lseek(w->fd, 0, SEEK_CUR);

	return here != -1 && fstat(w->fd, &st) == 0 && st.st_size <= here &&
	    n <= (uint64_t)(INT64_MAX - here) && ftruncate(w->fd, here + (off_t)n) == 0 &&
	    lseek(w->fd, here + (off_t)n, SEEK_SET) != -1;
}

/* Write the silence so far. */
static int
put_silence(struct wav_writer *w)
{
	static const uint8_t zeros[4096];
	uint64_t n = w->silence;
	int status = 0;

	w->silence = 0;
	if (w->holes && n >= HOLE) {
		if (flush_buffer(w) == -1)
			return -1;
		errno = 0;
		if (skip(w, n))
			return 0;
		if (errno == EFBIG || errno == ENOSPC || errno == EDQUOT) {
			w->error = errno;
			return -1;
		}
		w->holes = false;
	}
	for (; status == 0 && n > 0; n -= n < sizeof zeros ? n : sizeof zeros)
		status = put(w, zeros, n < sizeof zeros ? (size_t)n : sizeof zeros);
	return status;
}

static sf_count_t
vio_length(void *arg)
{
	struct wav_writer *w = arg;

	return w->size;
}

static sf_count_t
vio_seek(sf_count_t offset, int whence, void *arg)
{
	struct wav_writer *w = arg;

	if (whence == SEEK_CUR)
		offset += w->pos;
	else if (whence == SEEK_END)
		offset += w->size;
	return w->pos = offset;
}

static sf_count_t
vio_read(void *buf, sf_count_t len, void *arg)
{
	(void)buf, (void)len, (void)arg;
	return 0;
}

static sf_count_t
vio_write(const void *buf, sf_count_t len, void *arg)
{
	struct wav_writer *w = arg;

	if (!w->header_done) {
		if (w->pos + len > MAX_HEADER)
			return 0;
		memcpy(w->header + w->pos, buf, (size_t)len);
		w->pos += len;
		if (w->header_size < w->pos)
			w->header_size = w->pos;
		return len;
	}
	if (w->pos >= w->header_size && put(w, buf, (size_t)len) == -1)
		return 0;
	w->pos += len;
	return len;
}

static sf_count_t
vio_tell(void *arg)
{
	struct wav_writer *w = arg;

	return w->pos;
}

static SF_VIRTUAL_IO vio = {
	.get_filelen = vio_length,
	.seek = vio_seek,
	.read = vio_read,
	.write = vio_write,
	.tell = vio_tell,
};

static bool
can_have_holes(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (fcntl(fd, F_GETFL) & O_APPEND) == 0;
}

/* A writer whose header is final and not in the buffer yet. */
static struct wav_writer *
begin(int fd, uint32_t rate, unsigned channels, uint64_t samples, bool riff)
{
	bool known = samples != WAV_UNKNOWN;
	uint64_t bytes = 2 * channels * (known ? samples : 0);
	SF_INFO info = {
		.samplerate = (int)rate,
		.channels = (int)channels,
		.format = (riff ? SF_FORMAT_WAV : SF_FORMAT_RF64) | SF_FORMAT_PCM_16,
	};
	struct wav_writer *w = malloc(sizeof *w);

	if (w == NULL)
		return NULL;
	memset(w, 0, offsetof(struct wav_writer, buffer));
	w->fd = fd;
	w->rate = rate;
	w->channels = channels;
	w->riff = riff;
	w->announced = samples;
	w->holes = can_have_holes(fd);
	if ((w->snd = sf_open_virtual(&vio, SFM_WRITE, &info, w)) == NULL) {
		errno = sf_error(NULL) == SF_ERR_SYSTEM ? ENOMEM : EINVAL;
		free(w);
		return NULL;
	}
	w->size = w->header_size + (sf_count_t)bytes;
	sf_command(w->snd, SFC_UPDATE_HEADER_NOW, NULL, 0);
	/* RF64 has its sizes from w->size now; RIFF's data size libsndfile would fill in last. */
	if (riff)
		le32_store(w->header + DATA_SIZE, (uint32_t)bytes);
	if (!known) {
		le32_store(w->header + RIFF_SIZE, UINT32_MAX);
		le32_store(w->header + DATA_SIZE, UINT32_MAX);
	}
	w->header_done = true;
	return w;
}

struct wav_writer *
wav_new(int fd, uint32_t rate, unsigned channels, uint64_t samples)
{
	bool known = samples != WAV_UNKNOWN;
	struct wav_writer *w;

	if (known && samples > (INT64_MAX - MAX_HEADER) / (2 * channels)) {
		errno = EFBIG;
		return NULL;
	}
	w = begin(fd, rate, channels, samples, !known || wav_fits_riff(channels, samples));
	if (w != NULL)
		put(w, w->header, (size_t)w->header_size);
	return w;
}

int
wav_write(struct wav_writer *w, const int16_t *pcm, uint64_t n)
{
	if (put_silence(w) == 0 && sf_writef_short(w->snd, pcm, (sf_count_t)n) == (sf_count_t)n) {
		w->samples += n;
		return 0;
	}
	if (w->error == 0)
		w->error = EIO;
	errno = w->error;
	return -1;
}

int
wav_silence(struct wav_writer *w, uint64_t n)
{
	uint64_t most = (INT64_MAX - w->silence) / (2 * w->channels);

	if (w->error == 0 && n > most)
		w->error = EFBIG;
	if (w->error != 0) {
		errno = w->error;
		return -1;
	}
	/* libsndfile is told nothing: the header, which it would correct, is final. */
	w->silence += 2 * w->channels * n;
	w->samples += n;
	w->pos += (sf_count_t)(2 * w->channels * n);
	return 0;
}

/* All that came goes out. */
static int
flush_all(struct wav_writer *w)
{
	return put_silence(w) == -1 ? -1 : flush_buffer(w);
}

int
wav_flush(struct wav_writer *w)
{
	if (flush_all(w) == -1) {
		errno = w->error;
		return -1;
	}
	return 0;
}

static int
end(struct wav_writer *w)
{
	int error = w->error;

	sf_close(w->snd);
	free(w);
	if (error == 0)
		return 0;
	errno = error;
	return -1;
}

int
wav_end(struct wav_writer *w)
{
	flush_all(w);
	if (w->error == 0 && w->announced != WAV_UNKNOWN && w->samples != w->announced)
		w->error = EINVAL;
	return end(w);
}

/* Write the header anew, for as many samples as there are, if fd allows it.  0, or an errno. */
static int
rewrite_header(struct wav_writer *w)
{
	off_t size = w->header_size + (off_t)(2 * w->channels * w->samples);
	off_t here = lseek(w->fd, 0, SEEK_CUR);
	struct wav_writer *again;
	int error = 0;

	if (here < size || (fcntl(w->fd, F_GETFL) & O_APPEND) != 0)
		return 0;
	if ((again = begin(w->fd, w->rate, w->channels, w->samples, w->riff)) == NULL)
		return errno;
	if (lseek(w->fd, here - size, SEEK_SET) == -1 ||
	    write_out(again, again->header, (size_t)again->header_size) == -1 ||
	    lseek(w->fd, here, SEEK_SET) == -1)
		error = errno;
	end(again);
	return error;
}

int
wav_cut(struct wav_writer *w)
{
	if (w->announced == WAV_UNKNOWN || w->samples == w->announced)
		return wav_end(w);
	if (flush_all(w) == 0)
		w->error = rewrite_header(w);
	return end(w);
}

/*
 * ---- IMA ADPCM WAV ----
 *
 * Multimedia Data Standards Update, "DVI ADPCM Wave Type", Microsoft, 1994.
 */

bool
wav_pack_ima(uint8_t out[WAV_IMA_HEADER], uint32_t rate, unsigned channels, uint32_t block_samples,
    uint64_t samples)
{
	uint64_t block = channels * (4 + (uint64_t)(block_samples - 1) / 2);
	uint64_t data = UINT32_MAX, riff = UINT32_MAX;

	if (block > UINT16_MAX)
		return false;
	if (samples != WAV_UNKNOWN) {
		if (samples > UINT32_MAX)
			return false;
		data = (samples + block_samples - 1) / block_samples * block;
		riff = WAV_IMA_HEADER - 8 + data;
		if (riff > UINT32_MAX)
			return false;
	}
	memcpy(out, "RIFF....WAVEfmt ", 16);
	le32_store(out + 4, (uint32_t)riff);
	le32_store(out + 16, 20);
	le16_store(out + 20, 17);
	le16_store(out + 22, (uint16_t)channels);
	le32_store(out + 24, rate);
	le32_store(out + 28, (uint32_t)((rate * block + block_samples / 2) / block_samples));
	le16_store(out + 32, (uint16_t)block);
	le16_store(out + 34, 4);
	le16_store(out + 36, 2); /* bytes more in fmt: */
	le16_store(out + 38, (uint16_t)block_samples);
	memcpy(out + 40, "fact", 4);
	le32_store(out + 44, 4);
	le32_store(out + 48, samples == WAV_UNKNOWN ? UINT32_MAX : (uint32_t)samples);
	memcpy(out + 52, "data", 4);
	le32_store(out + 56, (uint32_t)data);
	return true;
}

/*
 * ---- Reading ----
 */

enum {
	FLOATS = 4096,
	/* Programs that write to a pipe don't know the size, and put about the largest there is. */
	ANY_SIZE = 0x7f000000
};

/* A regular file with its header patched, for libsndfile. */
struct mended {
	int fd;
	off_t start; /* of the file in fd */
	sf_count_t size, at;
};

/* IMA ADPCM, block by block. */
struct ima {
	int fd;
	uint64_t left;  /* bytes of blocks; CONTAINER_UNKNOWN */
	uint64_t limit; /* samples per channel in all of them; WAV_UNKNOWN */
	uint8_t *block;
	int16_t *pcm;
	uint32_t have, taken; /* samples per channel in pcm */
};

struct wav_reader {
	SNDFILE *snd; /* NULL: ima */
	struct container container;
	struct mended mended;
	struct ima ima;
	unsigned channels;
	uint64_t promised; /* samples per channel; WAV_UNKNOWN */
	uint64_t samples;  /* per channel, so far */
	bool short_file;   /* the header promises more bytes than there are */
	bool floats;
	uint64_t clipped;
	int error; /* libsndfile's first, and what it says about it */
	char text[WAV_TEXT];
	float buffer[FLOATS];
};

/* libsndfile believes a file's length more than its header, and tells the difference in its log only. */
static bool
is_short(SNDFILE *snd)
{
	static const char *const chunks[] = { "data : ", "SSND : " };
	char text[16384];
	const char *p;

	sf_command(snd, SFC_GET_LOG_INFO, text, sizeof text);
	for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
		unsigned long long said, is;

		if ((p = strstr(text, chunks[i])) != NULL &&
		    sscanf(p + strlen(chunks[i]), "%llu (should be %llu", &said, &is) == 2)
			return said > is && said < ANY_SIZE;
	}
	return false;
}

/* Samples that a file says to hold. */
static uint64_t
promised(SNDFILE *snd, const SF_INFO *info)
{
	/* libsndfile 1.2 divides by the frames. */
	int rate = info->frames > 0 ? sf_current_byterate(snd) : 0;

	if ((info->format & SF_FORMAT_TYPEMASK) == SF_FORMAT_MPEG || /* a guess */
	    info->frames < 0 || info->frames > INT64_MAX / 1024 ||
	    (rate > 0 && (double)info->frames / info->samplerate * rate >= ANY_SIZE))
		return WAV_UNKNOWN;
	return (uint64_t)info->frames;
}

static void
describe(const SF_INFO *info, struct wav_audio *o)
{
	SF_FORMAT_INFO type = { .format = info->format & SF_FORMAT_TYPEMASK };
	SF_FORMAT_INFO subtype = { .format = info->format & SF_FORMAT_SUBMASK };

	sf_command(NULL, SFC_GET_FORMAT_INFO, &type, sizeof type);
	sf_command(NULL, SFC_GET_FORMAT_INFO, &subtype, sizeof subtype);
	snprintf(o->format, sizeof o->format, "%s, %s", type.name != NULL ? type.name : "?",
	    subtype.name != NULL ? subtype.name : "?");
}

/* What libsndfile has as floats, and gives as 16-bit samples without the care that we take. */
static bool
has_floats(int format)
{
	switch (format & SF_FORMAT_SUBMASK) {
	case SF_FORMAT_FLOAT:
	case SF_FORMAT_DOUBLE:
	case SF_FORMAT_VORBIS:
	case SF_FORMAT_OPUS:
	case SF_FORMAT_MPEG_LAYER_I:
	case SF_FORMAT_MPEG_LAYER_II:
	case SF_FORMAT_MPEG_LAYER_III: return true;
	default: return false;
	}
}

bool
wav_read_needs_file(const uint8_t head[4])
{
	return memcmp(head, "ID3", 3) == 0 || (head[0] == 0xff && (head[1] & 0xe0) == 0xe0);
}

/* The size of the regular file on fd, which begins where that stands; -1: it is none. */
static off_t
size_from_here(int fd, off_t *starto)
{
	struct stat st;

	if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode) ||
	    (*starto = lseek(fd, 0, SEEK_CUR)) == -1 || *starto > st.st_size)
		return -1;
	return st.st_size - *starto;
}

static size_t
look(void *arg, uint64_t offset, uint8_t *buf, size_t len)
{
	const struct mended *m = arg;
	ssize_t n;

	if (offset >= (uint64_t)m->size)
		return 0;
	n = pread(m->fd, buf, len, m->start + (off_t)offset);
	return n > 0 ? (size_t)n : 0;
}

void
wav_read_container(int fd, struct container *o)
{
	struct mended m = { .fd = fd };

	if ((m.size = size_from_here(fd, &m.start)) == -1)
		memset(o, 0, sizeof *o);
	else
		container_parse(look, &m, (uint64_t)m.size, o);
}

static void
system_failed(struct wav_reader *r)
{
	r->error = SF_ERR_SYSTEM;
	snprintf(r->text, WAV_TEXT, "%s", strerror(errno));
}

static sf_count_t
mended_length(void *arg)
{
	const struct wav_reader *r = arg;

	return r->mended.size;
}

static sf_count_t
mended_seek(sf_count_t offset, int whence, void *arg)
{
	struct mended *m = &((struct wav_reader *)arg)->mended;

	m->at = offset + (whence == SEEK_CUR ? m->at : whence == SEEK_END ? m->size : 0);
	return m->at;
}

static sf_count_t
mended_read(void *buf, sf_count_t len, void *arg)
{
	struct wav_reader *r = arg;
	struct mended *m = &r->mended;
	ssize_t n = pread(m->fd, buf, (size_t)len, m->start + m->at);

	if (n == -1)
		system_failed(r);
	if (n <= 0)
		return 0;
	container_patch(&r->container, (uint64_t)m->at, buf, (size_t)n);
	m->at += n;
	lseek(m->fd, m->start + m->at,
	    SEEK_SET); /* where a reader that is stopped would say it was */
	return n;
}

static sf_count_t
mended_tell(void *arg)
{
	const struct wav_reader *r = arg;

	return r->mended.at;
}

static SF_VIRTUAL_IO mended_io = {
	.get_filelen = mended_length,
	.seek = mended_seek,
	.read = mended_read,
	.write = NULL,
	.tell = mended_tell,
};

static uint64_t
ima_samples(const struct container *c, uint64_t size)
{
	return size == CONTAINER_UNKNOWN ? WAV_UNKNOWN : container_ima_samples(c, size);
}

/* 0: open; an errno. */
static int
open_ima(struct wav_reader *r, int fd, off_t size, struct wav_audio *o)
{
	const struct container *c = &r->container;
	struct ima *ima = &r->ima;
	uint8_t skipped[512];
	uint64_t data = c->data;

	ima->fd = fd;
	ima->left = c->size;
	if (size != -1 && ima->left > (uint64_t)size - data)
		ima->left = (uint64_t)size - data;
	while (data > 0) {
		size_t part = data < sizeof skipped ? (size_t)data : sizeof skipped;

		if (fdio_read_full(fd, skipped, part) == -1)
			return errno;
		data -= part;
	}
	ima->block = malloc(c->block);
	ima->pcm = malloc(sizeof *ima->pcm * c->channels * c->block_samples);
	if (ima->block == NULL || ima->pcm == NULL)
		return ENOMEM;
	r->channels = c->channels;
	r->promised = ima_samples(c, c->size);
	ima->limit = ima_samples(c, ima->left);
	o->rate = (int)c->rate;
	o->channels = (int)c->channels;
	o->samples = ima->limit;
	o->finer = false;
	snprintf(o->format, sizeof o->format, "WAV (Microsoft), IMA ADPCM");
	return 0;
}

static bool
open_sndfile(struct wav_reader *r, int fd, off_t size, struct wav_audio *o)
{
	SF_INFO info = { 0 };

	r->snd = size != -1 && r->container.n_patches > 0
	    ? sf_open_virtual(&mended_io, SFM_READ, &info, r)
	    : sf_open_fd(fd, SFM_READ, &info, 0);
	if (r->snd == NULL)
		return false;
	r->channels = (unsigned)info.channels;
	r->promised = promised(r->snd, &info);
	r->short_file =
	    is_short(r->snd) || (size != -1 && container_is_cut(&r->container, (uint64_t)size));
	r->floats = has_floats(info.format);
	o->rate = info.samplerate;
	o->channels = info.channels;
	o->samples = r->promised;
	o->finer = r->floats || (info.format & SF_FORMAT_SUBMASK) == SF_FORMAT_PCM_24 ||
	    (info.format & SF_FORMAT_SUBMASK) == SF_FORMAT_PCM_32;
	describe(&info, o);
	return true;
}

static void
reader_free(struct wav_reader *r)
{
	if (r->snd != NULL)
		sf_close(r->snd);
	free(r->ima.block);
	free(r->ima.pcm);
	free(r);
}

struct wav_reader *
wav_read_new(int fd, const struct container *c, struct wav_audio *o, char texto[WAV_TEXT],
    bool *failedo)
{
	struct wav_reader *r = malloc(sizeof *r);
	int error = errno;

	*failedo = true;
	if (r == NULL) {
		snprintf(texto, WAV_TEXT, "%s", strerror(error));
		return NULL;
	}
	memset(r, 0, offsetof(struct wav_reader, buffer));
	r->container = *c;
	r->error = SF_ERR_NO_ERROR;
	r->mended.fd = fd;
	r->mended.size = size_from_here(fd, &r->mended.start);
	if (c->ima) {
		if ((error = open_ima(r, fd, r->mended.size, o)) == 0)
			return r;
		snprintf(texto, WAV_TEXT, "%s", strerror(error));
	} else {
		if (open_sndfile(r, fd, r->mended.size, o))
			return r;
		*failedo = sf_error(NULL) == SF_ERR_SYSTEM;
		snprintf(texto, WAV_TEXT, "%s", sf_strerror(NULL));
	}
	reader_free(r);
	return NULL;
}

/* Decode the next block.  False: there is none, or it can't be read. */
static bool
next_block(struct wav_reader *r)
{
	const struct container *c = &r->container;
	struct adpcm_state state[ADPCM_MAX_CHANNELS];
	struct ima *ima = &r->ima;
	bool damaged = false;
	ssize_t n = fdio_read_full(ima->fd, ima->block,
	    ima->left < c->block ? (size_t)ima->left : c->block);

	if (n == -1) {
		system_failed(r);
		return false;
	}
	if (ima->left != CONTAINER_UNKNOWN)
		ima->left -= (uint64_t)n;
	ima->taken = 0;
	ima->have = adpcm_decode(ADPCM_WAV, c->channels, c->block_samples, ima->block, (size_t)n,
	    state, ima->pcm, &damaged);
	return ima->have > 0;
}

static uint64_t
read_ima(struct wav_reader *r, int16_t *pcm, uint64_t n)
{
	const size_t unit = r->channels;
	struct ima *ima = &r->ima;
	uint64_t done = 0;

	if (n > ima->limit - r->samples)
		n = ima->limit - r->samples;
	while (
	    done < n && r->error == SF_ERR_NO_ERROR && (ima->taken < ima->have || next_block(r))) {
		uint32_t part = ima->have - ima->taken;

		if (part > n - done)
			part = (uint32_t)(n - done);
		memcpy(pcm + done * unit, ima->pcm + ima->taken * unit, sizeof *pcm * part * unit);
		ima->taken += part;
		done += part;
	}
	r->samples += done;
	return done;
}

static int16_t
round_sample(struct wav_reader *r, float v)
{
	if (v > 1 || v < -1)
		r->clipped++;
	v *= 32768;
	if (v >= INT16_MAX)
		return INT16_MAX;
	if (v <= INT16_MIN)
		return INT16_MIN;
	return isnan(v) ? 0 : (int16_t)lrintf(v);
}

uint64_t
wav_read(struct wav_reader *r, int16_t *pcm, uint64_t n)
{
	uint64_t done = 0, most = r->floats ? FLOATS / r->channels : INT32_MAX;
	sf_count_t got = 1;

	if (r->snd == NULL)
		return read_ima(r, pcm, n);
	while (done < n && got > 0) {
		sf_count_t part = (sf_count_t)(n - done < most ? n - done : most);
		int16_t *out = pcm + done * r->channels;

		if (r->floats) {
			got = sf_readf_float(r->snd, r->buffer, part);
			for (sf_count_t i = 0; i < got * (sf_count_t)r->channels; i++)
				out[i] = round_sample(r, r->buffer[i]);
		} else {
			got = sf_readf_short(r->snd, out, part);
		}
		if (r->error == SF_ERR_NO_ERROR && (r->error = sf_error(r->snd)) != SF_ERR_NO_ERROR)
			snprintf(r->text, WAV_TEXT, "%s", sf_strerror(r->snd));
		done += got > 0 ? (uint64_t)got : 0;
	}
	r->samples += done;
	return done;
}

uint64_t
wav_read_clipped(const struct wav_reader *r)
{
	return r->clipped;
}

bool
wav_read_end(struct wav_reader *r, char texto[WAV_TEXT], bool *failedo)
{
	bool whole = false;

	*failedo = r->error == SF_ERR_SYSTEM;
	if (r->error != SF_ERR_NO_ERROR)
		memcpy(texto, r->text, WAV_TEXT);
	else if (r->short_file)
		snprintf(texto, WAV_TEXT, "shorter than its header says");
	else if (r->samples == 0 && r->container.has_no_data)
		snprintf(texto, WAV_TEXT, "ends within its header");
	else if (r->promised != WAV_UNKNOWN && r->samples < r->promised)
		snprintf(texto, WAV_TEXT,
		    "ends after %" PRIu64 " samples, its header says %" PRIu64, r->samples,
		    r->promised);
	else
		whole = true;
	reader_free(r);
	return whole;
}
