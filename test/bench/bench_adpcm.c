/*
 * How fast blocks become samples and samples become blocks, on one core, in process.
 *
 *	bench_adpcm
 *
 * Prints a line for each case: layout, channels, samples a block, and million samples (all
 * channels) a second decoded and encoded, the best of several rounds; then what each effort costs
 * that eet-adpcm can take to encode.
 */
#include "adpcm.h"

#include "encode.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { VALUES = 1 << 21, ROUNDS = 7 };

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *
allocate(size_t size)
{
	void *p = malloc(size);

	if (p == NULL) {
		perror("bench_adpcm");
		exit(1);
	}
	return p;
}

static void
measure(enum adpcm_layout layout, unsigned ch, uint32_t n)
{
	struct adpcm_state state[ADPCM_MAX_CHANNELS];
	size_t values = (size_t)n * ch, blocks = VALUES / values, i;
	uint32_t length = adpcm_block_length(layout, ch, n), seed = 1;
	int16_t *pcm = allocate(sizeof *pcm * values * blocks);
	uint8_t *adpcm = allocate(length * blocks);
	double encode = 1e9, decode = 1e9, start, took;
	bool damaged = false;
	int round;

	/* A triangle with noise on it: all codes come, and no branch can be foreseen. */
	for (i = 0; i < values * blocks; i++) {
		seed = seed * 1664525 + 1013904223;
		pcm[i] = (int16_t)((i / ch % 200 < 100 ? 1 : -1) * (int)(i / ch % 100) * 100 +
		    (int)(seed >> 22));
	}
	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < ch; i++)
			state[i] = (struct adpcm_state){ 0, 0 };
		start = now();
		for (i = 0; i < blocks; i++)
			adpcm_encode(layout, ch, pcm + i * values, n, state, adpcm + i * length);
		took = now() - start;
		encode = took < encode ? took : encode;
	}
	for (round = 0; round < ROUNDS; round++) {
		start = now();
		for (i = 0; i < blocks; i++)
			adpcm_decode(layout, ch, n, adpcm + i * length, length, state,
			    pcm + i * values, &damaged);
		took = now() - start;
		decode = took < decode ? took : decode;
	}
	printf("%-10s  channels %2u  block %3u  decode %4.0f  encode %4.0f Ms/s\n",
	    adpcm_layout_name(layout), ch, n, (double)(blocks * values) / decode * 1e-6,
	    (double)(blocks * values) / encode * 1e-6);
	free(pcm);
	free(adpcm);
}

/* Mono blocks of 20 ms at 48 kHz, the same again and again for half a second. */
static void
measure_effort(unsigned effort)
{
	enum { SAMPLES = 960 };
	struct adpcm_state state = { 0, ENCODE_ANY_INDEX };
	struct encoder *e = encode_new(effort);
	double start = now(), took;
	uint8_t block[SAMPLES];
	int16_t pcm[SAMPLES];
	uint32_t seed = 1;
	unsigned blocks = 0;

	if (e == NULL) {
		perror("bench_adpcm");
		exit(1);
	}
	for (int i = 0; i < SAMPLES; i++) {
		seed = seed * 1664525 + 1013904223;
		pcm[i] =
		    (int16_t)((i % 200 < 100 ? i % 100 : 100 - i % 100) * 100 + (int)(seed >> 22));
	}
	do {
		encode_block(e, ADPCM_STATE, 1, pcm, SAMPLES, &state, block);
		blocks++;
	} while ((took = now() - start) < 0.5);
	printf("effort %u  encode %8.3f Ms/s\n", effort, (double)blocks * SAMPLES / took * 1e-6);
	encode_free(e);
}

int
main(void)
{
	measure(ADPCM_STATE, 1, 160);
	measure(ADPCM_STATE, 1, 504);
	measure(ADPCM_STATE_HIGH, 1, 160);
	measure(ADPCM_WAV, 1, 505);
	measure(ADPCM_BARE, 1, 160);
	measure(ADPCM_STATE, 2, 160);
	measure(ADPCM_WAV, 2, 505);
	measure(ADPCM_STATE, 6, 160);
	measure(ADPCM_STATE, 64, 160);
	for (unsigned effort = 0; effort <= ENCODE_MAX_EFFORT; effort++)
		measure_effort(effort);
	return ferror(stdout) || fclose(stdout) != 0;
}
