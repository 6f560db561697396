#include "audio.h"

#include "bytes.h"
#include "cli.h"
#include "fdio.h"
#include "samples.h"
#include "stop.h"
#include "wav.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int
audio_encode_raw(const struct settings *set, struct source *src, struct out *out)
{
	static uint8_t bytes[1 << 16];
	static int16_t pcm[sizeof bytes / 2];
	unsigned ch = set->log.format.channels;
	size_t unit = 2 * ch, have = 0, n;
	struct samples *s = samples_new(set, out, set->log.format.sample_rate, ch, WAV_UNKNOWN);

	if (s == NULL)
		return CLI_EFAIL;
	while ((n = source_read(src, bytes + have, sizeof bytes - have)) > 0) {
		have += n;
		n = have / unit;
		for (size_t i = 0; i < n * ch; i++)
			pcm[i] = (int16_t)le16_load(bytes + 2 * i);
		have -= n * unit;
		memmove(bytes, bytes + n * unit, have);
		if (!samples_put(s, pcm, n) || (!src->regular && !samples_flush(s)))
			break;
	}
	if (!samples_end(s, src->error == 0))
		return CLI_EFAIL;
	if (have == 0 || src->stopped)
		return CLI_OK;
	cli_warnx("%s: offset %" PRIu64 ": the input ends %zu bytes into a sample of %zu",
	    src->label, src->offset - have, have, unit);
	return CLI_EDATA;
}

/* Is it to be had without waiting? */
static bool
ready(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) != 0;
}

/* Read what is left, for the sake of who writes it. */
static void
drain(int fd)
{
	static uint8_t buf[1 << 16];

	while (fdio_read(fd, buf, sizeof buf) > 0)
		;
}

static void
tell_format(const char *label, const struct wav_audio *a)
{
	cli_note(1, "%s: %s, %d Hz, channels %d%s", label, a->format, a->rate, a->channels,
	    a->finer ? ", converted to 16 bit" : "");
}

/* All samples of r.  False: they can't be written, which was said. */
static bool
encode(struct source *src, int fd, struct wav_reader *r, unsigned ch, struct samples *s)
{
	uint64_t portion = samples_portion(s), n = 1;
	int16_t *pcm = malloc(sizeof *pcm * portion * ch);
	bool sound = pcm != NULL;

	if (!sound)
		cli_warn("%s", src->label);
	while (sound && n > 0) {
		if (src->regular && stop_now()) {
			src->stopped = true;
			src->offset = (uint64_t)lseek(fd, 0, SEEK_CUR);
			break;
		}
		if (!src->regular && !ready(fd))
			sound = samples_flush(s);
		n = wav_read(r, pcm, portion);
		sound = sound && samples_put(s, pcm, n);
	}
	free(pcm);
	return sound;
}

static size_t
look(void *arg, uint64_t offset, uint8_t *buf, size_t len)
{
	struct source *src = arg;
	size_t have;

	if (offset > SOURCE_LOOK - len)
		return 0;
	have = source_peek(src, (size_t)offset + len);
	have = have < offset ? 0 : have - (size_t)offset;
	if (have > len)
		have = len;
	memcpy(buf, src->head + offset, have);
	return have;
}

/*
 * A descriptor for all of the source, and what its header says; that of a pipe's file becomes what it
 * should.  -1: it can't be had, which was reported.
 */
static int
open_source(struct source *src, struct container *o)
{
	int fd;

	if (!src->regular) {
		container_parse(look, src, CONTAINER_UNKNOWN, o);
		container_patch(o, 0, src->head, src->head_len);
	}
	fd = source_descriptor(src);
	if (fd != -1 && src->regular)
		wav_read_container(fd, o);
	return fd;
}

int
audio_encode_file(const struct settings *set, struct source *src, struct out *out)
{
	int fd, status = CLI_OK;
	struct container container = { 0 };
	struct wav_audio audio;
	struct wav_reader *r;
	struct samples *s;
	char text[WAV_TEXT];
	bool failed, written, whole;

	if (!src->regular && src->head_len >= SOURCE_HEAD && wav_read_needs_file(src->head)) {
		cli_warnx("%s: MP3 can't be read from a pipe", src->label);
		return CLI_EDATA;
	}
	if ((fd = open_source(src, &container)) == -1)
		return CLI_EFAIL;
	if (!src->regular && container.in_blocks && !container.ima &&
	    container.size == CONTAINER_UNKNOWN) {
		cli_warnx("%s: blocks of unknown number can't be read from a pipe", src->label);
		return CLI_EDATA;
	}
	if ((r = wav_read_new(fd, &container, &audio, text, &failed)) == NULL) {
		cli_warnx("%s: neither a log nor audio that can be read%s: %s", src->label,
		    src->regular ? "" : " from a pipe", text);
		return failed ? CLI_EFAIL : CLI_EDATA;
	}
	if (audio.rate > WIRE_MAX_RATE)
		cli_diex(CLI_EUSAGE, "%s: %d Hz, at most %d", src->label, audio.rate,
		    WIRE_MAX_RATE);
	if (audio.channels > WIRE_MAX_CHANNELS)
		cli_diex(CLI_EUSAGE, "%s: %d channels, at most %d", src->label, audio.channels,
		    WIRE_MAX_CHANNELS);
	tell_format(src->label, &audio);
	s = samples_new(set, out, (uint32_t)audio.rate, (unsigned)audio.channels, audio.samples);
	if (s == NULL) {
		wav_read_end(r, text, &failed);
		return CLI_EFAIL;
	}
	written = encode(src, fd, r, (unsigned)audio.channels, s);
	if (written && !src->regular)
		drain(fd);
	if (wav_read_clipped(r) > 0)
		cli_note(0, "%s: values too large for 16 bit, which are clipped: %" PRIu64,
		    src->label, wav_read_clipped(r));
	whole = wav_read_end(r, text, &failed);
	if (whole && !src->regular && container_is_cut(&container, src->offset)) {
		snprintf(text, sizeof text, "shorter than its header says");
		whole = failed = false;
	}
	if (written && !whole && !src->stopped && src->error == 0) {
		cli_warnx("%s: %s", src->label, text);
		status = failed ? CLI_EFAIL : CLI_EDATA;
	}
	written = samples_end(s, written && status != CLI_EFAIL && src->error == 0);
	return written ? status : CLI_EFAIL;
}
