/*
 * Where an audio file says that its samples are, and what to change in its header where that is
 * wrong: a writer that was cut off, or wrote into a pipe, could not go back and fill in the sizes.
 * RIFF, RIFX, RF64 and BW64 (EBU Tech 3306), W64, AIFF and AIFF-C, AU.  No I/O, no allocation.
 */
#ifndef EET_CONTAINER_H
#define EET_CONTAINER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A size that is not known: to the end of the file, however far that is. */
#define CONTAINER_UNKNOWN UINT64_MAX

/* Read len bytes at offset of the file into buf.  Returns how many there are. */
typedef size_t container_look(void *arg, uint64_t offset, uint8_t *buf, size_t len);

enum { CONTAINER_PATCH = 4, CONTAINER_PATCHES = 3 };

struct container {
	uint64_t data; /* offset of the samples; 0: none were found */
	bool
	    has_no_data; /* … though a file of its kind (RIFF, W64) has a chunk of them, maybe empty */
	uint64_t size;  /* bytes of samples as it says, or CONTAINER_UNKNOWN */
	bool in_blocks; /* of RIFF: a coder's, so that its decoder must know where they end */
	/* IMA ADPCM in RIFF: samples can be decoded from data on. */
	bool ima;
	unsigned channels;      /* 1..64 */
	uint32_t rate;          /* more than 0 */
	uint32_t block;         /* bytes, at least 4 * channels */
	uint32_t block_samples; /* per channel in a full block, 1..65535 */
	uint64_t fact;          /* what it says of all samples, or CONTAINER_UNKNOWN */
	/* With these bytes in their places, sizes are what they are, or unknown to all who read it. */
	struct {
		uint64_t at;
		uint8_t bytes[CONTAINER_PATCH];
	} patches[CONTAINER_PATCHES];
	unsigned n_patches;
};

/* Look into the file that look(arg, ...) reads.  total: its size, or CONTAINER_UNKNOWN for a pipe. */
void container_parse(container_look *look, void *arg, uint64_t total, struct container *o);

/* Lay the patches over buf[0..len), which is the file's from offset on. */
void container_patch(const struct container *c, uint64_t offset, uint8_t *buf, size_t len);

/* True if there are fewer bytes of samples than it says, in a file of that size. */
bool container_is_cut(const struct container *c, uint64_t total);

/*
 * Samples per channel in size bytes of IMA ADPCM, a short last block included: as many as the fact
 * chunk says if that ends in the last block, else as many as the blocks hold.
 */
uint64_t container_ima_samples(const struct container *c, uint64_t size);

#endif
