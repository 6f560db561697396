/*
 * One segment on its way from .part to complete: measured, decoded to its WAV (render.h),
 * fsynced, renamed.
 */
#ifndef EET_SEGMENT_H
#define EET_SEGMENT_H

#include "adpcm.h"
#include "log.h"
#include "name.h"
#include "render.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Room for the path of a file in a directory whose own path can be opened. */
enum { SEGMENT_PATH = PATH_MAX + NAME_FILE_SIZE };

/* The directory, and how its files are to be. */
struct segment_dir {
	int fd;
	const char *path; /* as the user named it, for messages; without a trailing slash */
	uid_t owner;      /* of new files: segment_owner() */
	mode_t mode;
	bool wav;
	bool sync; /* fsync files and directory */
	bool exec; /* completed segments have a command to be run for them */
	bool layout_given;
	enum adpcm_layout layout;
};

/*
 * Who owns a file that is made in the directory fd: on a disk mounted with uid= (FAT, NTFS, SMB, NFS with
 * all_squash) the mount's owner.  Where none can be made now, the directory's own owner.  Whoever
 * calls has the directory's lock.
 */
uid_t segment_owner(int fd);

/* Is a file ours: of our user, or of whom new files in d belong to? */
bool segment_is_ours(const struct segment_dir *d, const struct stat *st);

enum segment_stage {
	SEGMENT_GROWN,    /* all frames are in its .eet.part (or, found so, in its .eet) */
	SEGMENT_RENDERED, /* .eet and .wav.part are on disk, facts are known */
	SEGMENT_PLACED    /* both have their final names */
};

struct segment {
	struct name name; /* time_ms moves on if the name turns out to be taken */
	enum segment_stage stage;
	bool is_complete; /* the .eet has its final name already (recovery) */
	bool has_wav;     /* the .wav too; after SEGMENT_PLACED: there is one */
	struct render_facts facts;
};

/*
 * Create NAME.eet.part for writing, at n->time_ms or, while that name is taken
 * (.eet, .wav or a .part), at the next free millisecond, which n then says.
 * Descriptor, or -1 with errno (EEXIST: the year 9999 is over); n is then unchanged.
 */
int segment_create(const struct segment_dir *d, struct name *n);

/*
 * Bring n segments from their stages to SEGMENT_PLACED: for all of them .eet
 * fsynced, .wav.part written and fsynced; for all of them renamed, .eet first,
 * never over another file; the directory fsynced.  0; or -1 with errno, what failed in
 * failed[] (a path): those before it are done, and to be called again with the same segments, it
 * goes on where it stopped.
 */
int segment_complete(const struct segment_dir *d, struct segment *const segments[], size_t n,
    char failed[SEGMENT_PATH]);

/*
 * Cut the frame log on fd (open for reading and writing) after its last whole frame.
 * 1: it has frames; 0: it has none (not cut); -1 errno.  *cuto: bytes cut off.
 */
int segment_cut(int fd, uint64_t *cuto);

/*
 * Have the frames of the frame log on fd counted by s, behind those that it has counted so far (zeros:
 * none), but for their samples.  1: it has frames; 0: it has none, s is unchanged; -1 errno.
 */
int segment_follow(int fd, struct stream *s);

/* "DIR/NAME.eet" and the like. */
void segment_path(const struct segment_dir *d, const struct name *n, const char *extension,
    char out[SEGMENT_PATH]);

#endif
