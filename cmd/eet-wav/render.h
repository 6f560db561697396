/*
 * One WAV in the making: frames in, samples out, with a word about what was missing.  Where the
 * layout of its ADPCM blocks is not known beforehand (a pipe can't be read twice), frames wait until
 * enough of them were seen to tell, but silence, which sounds the same in every layout, does not.
 */
#ifndef EET_WAV_RENDER_H
#define EET_WAV_RENDER_H

#include "measure.h"
#include "outfile.h"
#include "pcm.h"
#include "settings.h"

/* Where a frame was found, for messages. */
struct place {
	const char *label;
	uint64_t offset;
	uint64_t time_us;
};

struct render;

/*
 * Begin a WAV on out (whose label must stay), with a take's handshake; what is in the range is
 * written.  plan: what was measured, or NULL if nothing was.  NULL on failure, with errno.
 */
struct render *render_new(const struct outfile *out, const struct wire_handshake *h,
    struct range range, const struct plan *plan, const struct settings *set);

/*
 * Take a frame; join: the handshake of the take that begins with it (but for the first one), else
 * NULL.  0, or -1 with errno.
 */
int render_frame(struct render *r, const struct wire_handshake *join, const struct wire_frame *f,
    const struct place *at);

/* True when all that is in the range was written. */
bool render_is_complete(const struct render *r);

/* Hand all that is decoded to the kernel.  0, or -1 with errno. */
int render_flush(struct render *r);

/*
 * All frames are in (cut: not all that were planned, and the header is to say so if it can).
 * 0, or -1 with errno, EINVAL if there should have been more or fewer; *damagedo is then unchanged,
 * else true if blocks were damaged.  r is freed.
 */
int render_end(struct render *r, bool cut, bool *damagedo);

#endif
