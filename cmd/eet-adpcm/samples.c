#include "samples.h"

#include "bytes.h"
#include "cli.h"
#include "outfile.h"
#include "packer.h"
#include "wav.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum samples_kind { TO_LOG, TO_WAV, TO_RAW };

struct samples {
	enum samples_kind kind;
	const struct settings *set;
	struct out *out;
	uint32_t rate;
	unsigned ch;
	uint64_t samples; /* per channel, so far */

	/* Blocks. */
	struct encoder *encoder;
	struct packer packer;
	int16_t *pcm; /* the next block's */
	uint32_t have;
	uint32_t seq;
	uint8_t *block;

	/* WAV. */
	struct outfile file;
	struct out file_out;
	uint64_t announced;
	off_t header; /* where it is to be corrected; -1: it can't be */
};

/* Samples per channel in a block: 20 ms; in a WAV what is customary for its rate. */
static uint32_t
block_samples(const struct settings *set, uint32_t rate, unsigned ch)
{
	uint32_t n = set->log.format.frame_samples, most;

	if (set->wav != NULL) {
		most = (UINT16_MAX / ch - 4) / 4 * 8 + 1;
		if (n == 0) {
			n = rate < 22050 ? 505 : rate < 44100 ? 1017 : 2041;
			return n < most ? n : most;
		}
		if (n % 8 != 1)
			cli_usage("-n %" PRIu32 ": a WAV's blocks hold 1 sample more than a "
				  "multiple of 8",
			    n);
		if (n > most)
			cli_usage("-n %" PRIu32 ": at most %" PRIu32
				  " samples in a WAV's block of %u channels",
			    n, most, ch);
		return n;
	}
	if (n > 0)
		return n;
	n = (rate + 25) / 50;
	if (n == 0)
		n = 1;
	/* Lengths tell this layout, even of the shortest streams, if they are as a WAV's. */
	return set->layout == ADPCM_WAV ? (n + 3) / 8 * 8 + 1 : n;
}

static bool
wav_begin(struct samples *s, uint64_t total)
{
	uint8_t header[WAV_IMA_HEADER];
	int flags;

	if (outfile_open(&s->file, s->set->wav, true, 0666) == -1) {
		cli_warn("%s", s->set->wav);
		s->file.fd = -1;
		return false;
	}
	cli_no_terminal(s->file.fd, "a WAV", "redirect it, or use -o FILE");
	out_init(&s->file_out, s->file.fd, s->file.label);
	s->out = &s->file_out;
	flags = fcntl(s->file.fd, F_GETFL);
	s->header = (flags & O_APPEND) != 0 ? -1 : lseek(s->file.fd, 0, SEEK_CUR);
	s->announced = total;
	if (!wav_pack_ima(header, s->rate, s->ch, s->packer.n, total)) {
		errno = EFBIG;
		cli_warn("%s", s->file.label);
		return false;
	}
	if (s->ch > 2)
		cli_note(0, "%s: few programs read IMA ADPCM WAVs of more than 2 channels",
		    s->file.label);
	return out_add(s->out, header, sizeof header);
}

static bool
log_begin(struct samples *s)
{
	struct wire_handshake h = {
		.stream_id = s->set->stream_id,
		.sample_rate = s->rate,
		.channels = (uint16_t)s->ch,
		.codec = WIRE_ADPCM,
		.frame_samples = (uint16_t)s->packer.n,
		.timestamp_ms = s->set->timestamp_ms,
	};
	uint8_t handshake[WIRE_HANDSHAKE_SIZE];

	wire_pack_handshake(handshake, &h);
	return out_add(s->out, handshake, sizeof handshake);
}

static bool
blocks_begin(struct samples *s, uint64_t total)
{
	uint32_t n = block_samples(s->set, s->rate, s->ch);
	enum adpcm_layout layout = s->kind == TO_WAV ? ADPCM_WAV : s->set->layout;

	s->pcm = malloc(sizeof *s->pcm * n * s->ch);
	s->block = malloc(adpcm_block_length(layout, s->ch, n));
	s->encoder = encode_new(s->set->effort);
	if (s->pcm == NULL || s->block == NULL || s->encoder == NULL) {
		cli_warn("can't start");
		return false;
	}
	packer_init(&s->packer, s->encoder, layout, s->ch, n);
	return s->kind == TO_WAV ? wav_begin(s, total) : log_begin(s);
}

struct samples *
samples_new(const struct settings *set, struct out *out, uint32_t rate, unsigned ch, uint64_t total)
{
	struct samples *s = calloc(1, sizeof *s);

	if (s == NULL) {
		cli_warn("can't start");
		return NULL;
	}
	s->kind = set->wav != NULL ? TO_WAV : set->encode ? TO_LOG : TO_RAW;
	s->set = set;
	s->out = out;
	s->rate = rate;
	s->ch = ch;
	s->file.fd = -1;
	if (s->kind != TO_RAW && !blocks_begin(s, total)) {
		s->out->failed = true;
		samples_end(s, false);
		return NULL;
	}
	return s;
}

uint32_t
samples_portion(const struct samples *s)
{
	return s->kind == TO_LOG ? s->packer.n : 4096;
}

/* Encode what there is.  False: it can't be written, which was said. */
static bool
put_frame(struct samples *s)
{
	uint8_t header[WIRE_FRAME_HEADER_SIZE];
	uint32_t length = packer_block(&s->packer, s->pcm, s->have, s->seq, s->block);

	wire_pack_frame(header, WIRE_ADPCM, length, s->seq++);
	return out_add(s->out, header, sizeof header) && out_add(s->out, s->block, length);
}

static bool
put_wav_block(struct samples *s)
{
	uint8_t header[WAV_IMA_HEADER];
	uint32_t n = s->packer.n, length;

	if (s->header != -1 && !wav_pack_ima(header, s->rate, s->ch, n, s->samples)) {
		errno = EFBIG;
		cli_warn("%s", s->out->label);
		s->out->failed = true;
		return false;
	}
	packer_fill(&s->packer, s->pcm, s->have, n);
	length = encode_block(s->encoder, ADPCM_WAV, s->ch, s->pcm, n, s->packer.state, s->block);
	return out_add(s->out, s->block, length);
}

static bool
put_block(struct samples *s)
{
	bool sound = s->kind == TO_WAV ? put_wav_block(s) : put_frame(s);

	s->have = 0;
	return sound;
}

static bool
put_raw(struct samples *s, const int16_t *pcm, uint64_t n)
{
	uint8_t bytes[4096];

	for (uint64_t left = n * s->ch, part; left > 0; left -= part, pcm += part) {
		part = left < sizeof bytes / 2 ? left : sizeof bytes / 2;
		for (uint64_t i = 0; i < part; i++)
			le16_store(bytes + 2 * i, (uint16_t)pcm[i]);
		if (!out_add(s->out, bytes, 2 * (size_t)part))
			return false;
	}
	return true;
}

/* pcm NULL: silence. */
static bool
put(struct samples *s, const int16_t *pcm, uint64_t n)
{
	if (s->kind == TO_RAW)
		return pcm != NULL ? put_raw(s, pcm, n) : out_zeros(s->out, 2 * s->ch * n);
	while (n > 0) {
		uint32_t room = s->packer.n - s->have, part = n < room ? (uint32_t)n : room;
		int16_t *to = s->pcm + (size_t)s->have * s->ch;
		size_t values = (size_t)part * s->ch;

		if (pcm != NULL) {
			memcpy(to, pcm, sizeof *pcm * values);
			pcm += values;
		} else {
			memset(to, 0, sizeof *to * values);
		}
		s->have += part;
		s->samples += part;
		n -= part;
		if (s->have == s->packer.n && !put_block(s))
			return false;
	}
	return true;
}

bool
samples_put(struct samples *s, const int16_t *pcm, uint64_t n)
{
	return put(s, pcm, n);
}

bool
samples_silence(struct samples *s, uint64_t n)
{
	return put(s, NULL, n);
}

bool
samples_flush(struct samples *s)
{
	return out_flush(s->out);
}

/* Say in the header how many samples there are, if that was not known. */
static bool
correct_header(struct samples *s)
{
	uint8_t header[WAV_IMA_HEADER];

	if (s->header == -1 || s->announced == s->samples)
		return true;
	wav_pack_ima(header, s->rate, s->ch, s->packer.n, s->samples);
	if (pwrite(s->file.fd, header, sizeof header, s->header) == (ssize_t)sizeof header)
		return true;
	cli_warn("%s", s->file.label);
	return false;
}

static void
tell_total(const struct samples *s)
{
	cli_note(1, "%s: %" PRIu32 " Hz, channels %u, %.3f s, blocks of %" PRIu32 ", layout %s",
	    s->out->label, s->rate, s->ch, (double)s->samples / s->rate, s->packer.n,
	    adpcm_layout_name(s->packer.layout));
	if (s->samples == 0)
		cli_note(0, "%s: holds no samples", s->out->label);
	if (s->packer.filled > 0)
		cli_note(1, "%s: the last block was filled up, by %" PRIu64 " samples",
		    s->out->label, s->packer.filled);
}

bool
samples_end(struct samples *s, bool keep)
{
	bool sound;

	if (s == NULL)
		return true;
	sound = !s->out->failed && (s->have == 0 || put_block(s)) && out_flush(s->out);
	if (s->kind == TO_WAV && s->file.fd != -1) {
		sound = sound && correct_header(s);
		if (!sound || !keep) {
			outfile_discard(&s->file);
		} else if (outfile_commit(&s->file) == -1) {
			cli_warn("%s", s->file.label);
			sound = false;
		}
	}
	if (sound && s->kind != TO_RAW)
		tell_total(s);
	if (sound && s->kind == TO_LOG)
		packer_check(&s->packer, s->out->label, 1);
	encode_free(s->encoder);
	free(s->block);
	free(s->pcm);
	free(s);
	return sound;
}
