/* See container.h. */
#include "container.h"

#include "adpcm.h"
#include "bytes.h"

#include <string.h>

enum {
	CHUNK = 8,         /* a chunk's header: id, size */
	MOST_CHUNKS = 256, /* before the samples */
	IMA_ADPCM = 17,
	PCM = 1, /* the tags of samples that stand alone */
	FLOAT = 3,
	ALAW = 6,
	ULAW = 7,
	EXTENSIBLE = 0xfffe,
	/* Programs that don't know a size put about the largest there is. */
	ANY_SIZE = 0x7f000000,
};

#define ANY_LONG_SIZE (UINT64_C(1) << 62)

struct parser {
	container_look *look;
	void *arg;
	uint64_t total;
	bool big;           /* endian */
	uint64_t ds64;      /* offset of that chunk; 0: none */
	uint64_t long_size; /* of the samples, says ds64 */
	bool has_format;
	struct container *o;
};

static bool
get(const struct parser *p, uint64_t offset, uint8_t *buf, size_t len)
{
	return p->look(p->arg, offset, buf, len) == len;
}

static uint32_t
load32(const struct parser *p, const uint8_t *b)
{
	return p->big ? be32_load(b) : le32_load(b);
}

static uint16_t
load16(const struct parser *p, const uint8_t *b)
{
	return p->big ? be16_load(b) : le16_load(b);
}

static void
patch(struct container *o, uint64_t at, const void *bytes)
{
	o->patches[o->n_patches].at = at;
	memcpy(o->patches[o->n_patches++].bytes, bytes, CONTAINER_PATCH);
}

/* Is what stands there a chunk, and no samples?  Few of these have four letters, and then a small number. */
static bool
is_chunk(const struct parser *p, const uint8_t b[CHUNK])
{
	for (int i = 0; i < 4; i++)
		if (b[i] < ' ' || b[i] > '~')
			return false;
	return load32(p, b + 4) < 1 << 20;
}

/* Samples that begin at data, of which a header says that there are none: are there? */
static bool
has_samples(const struct parser *p, uint64_t data)
{
	uint8_t b[CHUNK];
	size_t n = p->look(p->arg, data, b, sizeof b);

	return n > 0 && (n < sizeof b || !is_chunk(p, b));
}

/* The 32 bits at at say how many bytes there are from data on, which are more by extra. */
static void
found(struct parser *p, uint64_t data, uint64_t at, uint32_t said, uint32_t extra)
{
	struct container *o = p->o;

	o->data = data;
	o->size = said >= ANY_SIZE ? CONTAINER_UNKNOWN : said > extra ? said - extra : 0;
	if (o->size > 0 || !has_samples(p, data))
		return;
	o->size = CONTAINER_UNKNOWN;
	patch(o, at, "\xff\xff\xff\xff");
}

/* RF64: a plain RIFF says it as well, and better where sizes are wrong, or nobody can look ahead. */
static void
found_long(struct parser *p, uint64_t data)
{
	struct container *o = p->o;
	uint64_t size = p->long_size;
	uint8_t plain[4];
	bool wrong = size == 0
	    ? has_samples(p, data)
	    : size >= ANY_LONG_SIZE || (p->total != CONTAINER_UNKNOWN && size > p->total - data);

	o->data = data;
	o->size = size >= ANY_LONG_SIZE || (size == 0 && wrong) ? CONTAINER_UNKNOWN : size;
	if ((!wrong && p->total != CONTAINER_UNKNOWN) || (o->size > ANY_SIZE && !wrong))
		return;
	le32_store(plain, o->size < UINT32_MAX ? (uint32_t)o->size : UINT32_MAX);
	patch(o, 0, "RIFF");
	patch(o, p->ds64, "JUNK");
	patch(o, data - 4, plain);
}

/* A fmt chunk. */
static void
take_format(struct parser *p, uint64_t at, uint32_t size)
{
	struct container *o = p->o;
	uint8_t b[20];
	unsigned tag;

	if (size < 2 || !get(p, at, b, 2))
		return;
	tag = load16(p, b);
	o->in_blocks =
	    tag != PCM && tag != FLOAT && tag != ALAW && tag != ULAW && tag != EXTENSIBLE;
	if (size < sizeof b || !get(p, at, b, sizeof b))
		return;
	o->channels = load16(p, b + 2);
	o->rate = load32(p, b + 4);
	o->block = load16(p, b + 12);
	o->block_samples = load16(p, b + 18);
	o->ima = tag == IMA_ADPCM && load16(p, b + 14) == 4 && o->rate > 0 &&
	    o->rate <= INT32_MAX && o->channels > 0 && o->channels <= ADPCM_MAX_CHANNELS &&
	    o->block_samples > 0 &&
	    adpcm_block_length(ADPCM_WAV, o->channels, o->block_samples) <= o->block;
}

/* A chunk of RIFF, its content at at.  True: it was the one with the samples. */
static bool
take_chunk(struct parser *p, const uint8_t head[CHUNK], uint64_t at)
{
	uint32_t size = load32(p, head + 4);
	uint8_t b[16];

	if (memcmp(head, "data", 4) == 0) {
		if (p->ds64 > 0 && (size == 0 || size == UINT32_MAX))
			found_long(p, at);
		else
			found(p, at, at - 4, size, 0);
		return true;
	}
	if (memcmp(head, "fmt ", 4) == 0)
		take_format(p, at, size);
	else if (memcmp(head, "fact", 4) == 0 && size >= 4 && get(p, at, b, 4))
		p->o->fact = load32(p, b);
	else if (memcmp(head, "ds64", 4) == 0 && size >= sizeof b && get(p, at, b, sizeof b)) {
		p->ds64 = at - CHUNK;
		p->long_size = le64_load(b + 8);
	}
	return false;
}

/* The same of AIFF, whose samples stand behind two numbers. */
static bool
take_aiff_chunk(struct parser *p, const uint8_t head[CHUNK], uint64_t at)
{
	if (memcmp(head, "SSND", 4) != 0)
		return false;
	found(p, at + 8, at - 4, load32(p, head + 4), 8);
	return true;
}

static void
walk(struct parser *p, bool (*take)(struct parser *p, const uint8_t head[CHUNK], uint64_t at))
{
	uint8_t head[CHUNK];
	uint64_t at = 12;

	for (int i = 0; i < MOST_CHUNKS && get(p, at, head, CHUNK); i++) {
		uint32_t size = load32(p, head + 4);

		if (take(p, head, at + CHUNK))
			return;
		at += CHUNK + (uint64_t)size + size % 2;
	}
}

/* Sony's W64: as RIFF, but ids have 16 bytes, sizes 8 and count their header, and all lie at eights. */
static void
walk_w64(struct parser *p)
{
	enum { LONG_CHUNK = 24 };
	uint8_t head[LONG_CHUNK];
	uint64_t at = 40, size;

	for (int i = 0; i < MOST_CHUNKS && get(p, at, head, LONG_CHUNK);
	     i++, at += (size + 7) / 8 * 8) {
		size = le64_load(head + 16);
		if (memcmp(head, "data", 4) == 0) {
			/* Readers take a size of nothing as it is meant. */
			p->o->data = at + LONG_CHUNK;
			p->o->size = size <= LONG_CHUNK || size >= ANY_LONG_SIZE
			    ? CONTAINER_UNKNOWN
			    : size - LONG_CHUNK;
			return;
		}
		if (size < LONG_CHUNK || size >= ANY_LONG_SIZE)
			return;
	}
}

void
container_parse(container_look *look, void *arg, uint64_t total, struct container *o)
{
	struct parser p = { .look = look, .arg = arg, .total = total, .o = o };
	uint8_t b[12];

	memset(o, 0, sizeof *o);
	o->fact = CONTAINER_UNKNOWN;
	if (!get(&p, 0, b, sizeof b))
		return;
	p.big = memcmp(b, "RIFX", 4) == 0 || memcmp(b, "FORM", 4) == 0 || memcmp(b, ".snd", 4) == 0;
	if ((memcmp(b, "RIF", 3) == 0 || memcmp(b, "RF64", 4) == 0 || memcmp(b, "BW64", 4) == 0) &&
	    memcmp(b + 8, "WAVE", 4) == 0)
		walk(&p, take_chunk);
	else if (memcmp(b, "FORM", 4) == 0 && memcmp(b + 8, "AIF", 3) == 0)
		walk(&p, take_aiff_chunk);
	else if (memcmp(b, ".snd", 4) == 0)
		found(&p, be32_load(b + 4), 8, be32_load(b + 8), 0);
	else if (memcmp(b, "riff", 4) == 0)
		walk_w64(&p);
	o->has_no_data = o->data == 0 &&
	    (memcmp(b, "RIF", 3) == 0 || memcmp(b, "RF64", 4) == 0 || memcmp(b, "BW64", 4) == 0 ||
		memcmp(b, "riff", 4) == 0);
	o->ima = o->ima && o->data > 0;
}

void
container_patch(const struct container *c, uint64_t offset, uint8_t *buf, size_t len)
{
	for (unsigned i = 0; i < c->n_patches; i++)
		for (size_t k = 0; k < CONTAINER_PATCH; k++) {
			uint64_t at = c->patches[i].at + k;

			if (at >= offset && at - offset < len)
				buf[at - offset] = c->patches[i].bytes[k];
		}
}

bool
container_is_cut(const struct container *c, uint64_t total)
{
	return c->data > 0 && c->size != CONTAINER_UNKNOWN &&
	    (c->data > total || c->size > total - c->data);
}

uint64_t
container_ima_samples(const struct container *c, uint64_t size)
{
	uint32_t n = c->block_samples;
	uint64_t whole = size / c->block * n;
	uint64_t most =
	    whole + adpcm_block_samples(ADPCM_WAV, c->channels, n, (size_t)(size % c->block));
	uint64_t before = most == whole && whole > 0 ? whole - n : whole;
	/* libsndfile says half of it for stereo, others twice as much. */
	const uint64_t facts[] = { c->fact, c->fact * c->channels, c->fact / c->channels };

	if (c->fact != CONTAINER_UNKNOWN)
		for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++)
			if (facts[i] > before && facts[i] <= most)
				return facts[i];
	return most;
}
