/*
 * One segment on its way from .part to complete: decoded to its WAV (render.h), synced, placed
 * under its names (eet-formats(5), "Completing").  A file that can't be read, written or placed
 * fails alone: that is the segment's own result, and its files stay as they are.
 */
#ifndef EET_SEGMENT_H
#define EET_SEGMENT_H

#include "adpcm.h"
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
	int next;         /* the file NEXT_FILE, open; -1: none */
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
	SEGMENT_GROWN,    /* all its frames are in its log, .eet.part */
	SEGMENT_RENDERED, /* .wav.part is written, facts are known */
	SEGMENT_SYNCED,   /* both are on the disk */
	SEGMENT_PLACED, /* both have their final names; the names of the parts remain to be removed */
	SEGMENT_FAILED /* its files are left as they are; error and failed say why */
};

/* Among the errors of a segment: its log is not what was written to it. */
enum { SEGMENT_CHANGED = -1 };

struct segment {
	struct name name; /* time_ms moves on if the name is taken */
	enum segment_stage stage;
	uint64_t size;       /* bytes that were written to its log; 0: not known */
	bool is_renamed;     /* no links: its log is NAME.eet, and NAME.line.part holds its line */
	bool has_placed_wav; /* NAME.wav was placed by an earlier run: it will do if there is no
	                            room to make it again */
	bool has_damaged;    /* NAME.eet.damaged belongs to it */
	bool has_wav;        /* from SEGMENT_RENDERED on */
	int wav_error;       /* EFBIG: its WAV is too large for the file system; else 0 */
	int error;           /* SEGMENT_FAILED: an errno, or SEGMENT_CHANGED */
	enum name_suffix failed;   /* … of which file */
	struct render_facts facts; /* from SEGMENT_RENDERED on */
};

/* Write the index line of a segment, whose name is final, to out.  Returns its length. */
struct segment_line {
	size_t (*format)(void *arg, const struct segment *s, char *out); /* INDEX_LINE + 1 bytes */
	void *arg;
};

/*
 * Create NAME.eet.part for writing, at n->time_ms or, while that name is taken
 * (.eet, .wav or a .part), at the next free millisecond, which n then says.
 * Descriptor, or -1 with errno (EEXIST: the year 9999 is over); n is then unchanged.
 */
int segment_create(const struct segment_dir *d, struct name *n);

/* Give s up: its files stay as they are. */
void segment_fail(struct segment *s, enum name_suffix file, int error);

/* Why it failed, in words. */
const char *segment_why(const struct segment *s);

/*
 * SEGMENT_GROWN -> SEGMENT_RENDERED; other stages stay.  A log that is known to be size bytes long, and is
 * not, or has damage, has been changed: SEGMENT_FAILED.  0 then, and if the segment has failed; -1:
 * errno is one that passes (fdio_passes()), to be called again; failed[] (a path) says where.
 */
int segment_render(const struct segment_dir *d, struct segment *s, char failed[SEGMENT_PATH]);

/* SEGMENT_RENDERED -> SEGMENT_SYNCED, or SEGMENT_FAILED, for n segments; other stages stay. */
void segment_sync(const struct segment_dir *d, struct segment *const segments[], size_t n);

/*
 * Give all its files the next free name, which s->name then is, instead of the final one that its log
 * may have by now.  The log is the last: by it a start finds the others.  0, or -1 with errno.
 */
int segment_move_on(const struct segment_dir *d, struct segment *s);

/*
 * SEGMENT_SYNCED -> SEGMENT_PLACED; other stages stay.  Never over another file.  line is asked
 * where the file system has no links.  Returns as segment_render().  The directory is to be synced
 * afterwards.
 */
int segment_place(const struct segment_dir *d, struct segment *s, const struct segment_line *line,
    char failed[SEGMENT_PATH]);

/*
 * Of a segment that is placed, and whose index line is on the disk: remove the names of its parts,
 * the log's last.  0, or -1 with errno and failed[].
 */
int segment_finish(const struct segment_dir *d, const struct segment *s, char failed[SEGMENT_PATH]);

/* "DIR/NAME.eet" and the like. */
void segment_path(const struct segment_dir *d, const struct name *n, const char *extension,
    char out[SEGMENT_PATH]);

/* Does the directory have a file of that name and suffix?  *sto (if not NULL): lstat(2) of it. */
bool segment_has(const struct segment_dir *d, const struct name *n, enum name_suffix suffix,
    struct stat *sto);

#endif
