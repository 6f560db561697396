/*
 * A directory of whatever somebody put there.  The first byte: options; then entries, each of them
 * four bytes (what it is, its name, how it begins, how long its text is) and that text.  A spool
 * that opens it keeps every whole frame that an unfinished log holds, completes what is its own,
 * once, and touches nothing else: not in the directory, not behind a link.
 */
#include "fuzz.h"
#include "log.h"
#include "name.h"
#include "spool.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_ENTRIES = 12, MAX_NAME = 256, MAX_FOUND = 64 };

enum what {
	REGULAR, /* and all above STRANGE_NAME */
	LINK_OUT,
	LINK_IN,
	FIFO,
	FOLDER,
	FULL_FOLDER,
	SECOND_NAME_OUT,
	SECOND_NAME_IN,
	SOMEBODY_ELSES,
	SOCKET,
	INDEX,
	STRANGE_NAME
};

/* Something in a directory, as it was, and what was in it. */
struct found {
	char name[MAX_NAME];
	struct stat st;
	uint8_t *content;
	bool used; /* what it became was found */
};

static char place[128];     /* … of this process; in it: */
static int outside, inside; /* "outside", "spool" */
static char spool_path[sizeof place + 8];
static bool recovered; /* a segment was reported */
static bool removing;  /* complete segments may go, too */

/* Six frames of PCM; the beginning of each file that is to be a sound log, or nearly. */
static uint8_t sound[WIRE_HANDSHAKE_SIZE + 6 * (WIRE_FRAME_HEADER_SIZE + 8)];

static void
make_sound(void)
{
	const struct wire_handshake h = { 7, 8000, 1, WIRE_PCM16, 4, 0, 0 };
	uint8_t *p = sound;

	wire_pack_handshake(p, &h);
	p += WIRE_HANDSHAKE_SIZE;
	for (uint32_t seq = 0; seq < 6; seq++) {
		wire_pack_frame(p, WIRE_PCM16, 8, seq);
		memset(p + WIRE_FRAME_HEADER_SIZE, (int)seq, 8);
		p += WIRE_FRAME_HEADER_SIZE + 8;
	}
}

static void
put_file(int dir, const char *name, const uint8_t *p, size_t len)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

	if (fd == -1)
		return; /* another entry has that name, or nobody can have it */
	require(write(fd, p, len) == (ssize_t)len && close(fd) == 0);
}

static void
empty(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fdopendir(fd);
	struct dirent *e;

	require(dir != NULL);
	while ((e = readdir(dir)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd, e->d_name, 0) == 0)
			continue;
		fd = openat(dirfd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		require(fd != -1);
		empty(fd);
		close(fd);
		require(unlinkat(dirfd, e->d_name, AT_REMOVEDIR) == 0);
	}
	closedir(dir);
}

static void
go_away(void)
{
	int fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	empty(fd);
	close(fd);
	rmdir(place);
}

/* A descriptor of a new folder in our place, whose path is then in spool_path. */
static int
make_folder(const char *name)
{
	int fd;

	snprintf(spool_path, sizeof spool_path, "%s/%s", place, name);
	require(mkdir(spool_path, 0750) == 0);
	require((fd = open(spool_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) != -1);
	return fd;
}

static void
find_place(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(place, sizeof place, "%s/eet-fuzz.XXXXXX", tmp != NULL ? tmp : "/tmp");
	require(mkdtemp(place) != NULL);
	outside = make_folder("outside");
	inside = make_folder("spool");
	make_sound();
	atexit(go_away);
}

/* One of a few names, so that they meet. */
static void
make_name(uint8_t choice, uint8_t ending, char out[MAX_NAME])
{
	static const char *const endings[] = { ".eet.part", ".wav.part", ".eet", ".wav",
		".eet.part", ".eet.new.part", ".eet.damaged", ".line.part" };
	struct name n = {
		.stream_id = 7,
		.session = choice & 1 ? 2 : 1,
		.time_ms = UINT64_C(1769854500000) + (choice >> 1 & 3),
	};

	if (choice & 8)
		strcpy(n.tag, "a");
	name_file(&n, endings[ending & 7], out);
}

static void
make_entry(struct input *in)
{
	uint8_t what = input_byte(in) % 16, choice = input_byte(in), how = input_byte(in);
	size_t len = input_byte(in) * (size_t)(1 + (how >> 7) * 15), cut = how >> 2 & 31;
	char name[MAX_NAME], other[MAX_NAME], *text = input_text(in, &len);
	uint8_t *content;
	size_t begin = 0;
	int dir;

	make_name(choice, how, name);
	make_name((uint8_t)(choice >> 4), how >> 2, other);
	if (cut > 0)
		begin = sizeof sound - (cut & 15) * 5;
	content = malloc(begin + len + 1);
	require(content != NULL);
	memcpy(content, sound, begin);
	memcpy(content + begin, text, len);

	switch (what) {
	case LINK_OUT: symlinkat("../outside/target", inside, name); break;
	case LINK_IN: symlinkat(other, inside, name); break;
	case FIFO: mkfifoat(inside, name, 0640); break;
	case FOLDER: mkdirat(inside, name, 0750); break;
	case FULL_FOLDER:
		if (mkdirat(inside, name, 0750) == 0) {
			dir = openat(inside, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			put_file(dir, "file", content, begin + len);
			close(dir);
		}
		break;
	case SECOND_NAME_OUT: linkat(outside, "target", inside, name, 0); break;
	case SECOND_NAME_IN: linkat(inside, other, inside, name, 0); break;
	case SOMEBODY_ELSES:
		put_file(inside, name, content, begin + len);
		if (geteuid() == 0)
			fchownat(inside, name, 65534, 65534, AT_SYMLINK_NOFOLLOW);
		break;
	case SOCKET: mknodat(inside, name, S_IFSOCK | 0640, 0); break;
	case INDEX: put_file(inside, "index.jsonl", (uint8_t *)text, len); break;
	case STRANGE_NAME:
		for (char *p = text; *p != '\0'; p++)
			if (*p == '/')
				*p = '_';
		if (text[0] != '\0' && strcmp(text, ".") != 0 && strcmp(text, "..") != 0)
			put_file(inside, text, content, begin);
		break;
	default: put_file(inside, name, content, begin + len); break;
	}
	free(content);
	free(text);
}

/*
 * ---- What was there, and what is there now ----
 */

static size_t
look(int dirfd, struct found *f)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fdopendir(fd);
	struct dirent *e;
	size_t n = 0;

	require(dir != NULL);
	while ((e = readdir(dir)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		require(n < MAX_FOUND);
		f[n] = (struct found){ 0 };
		strcpy(f[n].name, e->d_name);
		require(fstatat(dirfd, e->d_name, &f[n].st, AT_SYMLINK_NOFOLLOW) == 0);
		if (S_ISREG(f[n].st.st_mode)) {
			size_t size = (size_t)f[n].st.st_size;

			f[n].content = malloc(size + 1);
			fd = openat(dirfd, e->d_name, O_RDONLY | O_CLOEXEC);
			require(f[n].content != NULL && fd != -1);
			require(read(fd, f[n].content, size + 1) == (ssize_t)size);
			close(fd);
		}
		n++;
	}
	closedir(dir);
	return n;
}

static void
forget(struct found *f, size_t n)
{
	while (n-- > 0)
		free(f[n].content);
}

static struct found *
by_name(struct found *f, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(f[i].name, name) == 0)
			return &f[i];
	return NULL;
}

static bool
same(const struct found *a, const struct found *b)
{
	return b != NULL && a->st.st_ino == b->st.st_ino && a->st.st_mode == b->st.st_mode &&
	    a->st.st_uid == b->st.st_uid && a->st.st_size == b->st.st_size &&
	    (a->content == NULL || memcmp(a->content, b->content, (size_t)a->st.st_size) == 0);
}

static enum name_suffix
kind_of(const struct found *f)
{
	struct name n;

	return name_read(f->name, &n);
}

/* The same name, ending otherwise; NULL if nothing has that. */
static struct found *
sibling(struct found *f, size_t n, const char *name, enum name_suffix suffix)
{
	char other[NAME_FILE_SIZE];
	struct name parsed;

	require(name_read(name, &parsed) != NAME_NONE);
	name_file(&parsed, name_extension(suffix), other);
	return by_name(f, n, other);
}

static bool
is_same_file(const struct found *a, const struct found *b)
{
	return b != NULL && a->st.st_ino == b->st.st_ino;
}

/* May it be completed, cut or removed? */
static bool
is_ours(const struct found *f, struct found *all, size_t n)
{
	if (!S_ISREG(f->st.st_mode) || f->st.st_uid != geteuid())
		return false;
	if (f->st.st_nlink == 1)
		return true;
	return f->st.st_nlink == 2 && kind_of(f) >= NAME_EET_PART &&
	    (is_same_file(f, sibling(all, n, f->name, NAME_EET)) ||
		is_same_file(f, sibling(all, n, f->name, NAME_WAV)) ||
		is_same_file(f, sibling(all, n, f->name, NAME_DAMAGED)));
}

/* A part, or what has its final name as well as that of a part: it may move on. */
static bool
is_unfinished(const struct found *f, struct found *all, size_t n)
{
	switch (kind_of(f)) {
	case NAME_NONE:
	case NAME_DAMAGED: return false;
	case NAME_EET: return is_same_file(f, sibling(all, n, f->name, NAME_EET_PART));
	case NAME_WAV: return is_same_file(f, sibling(all, n, f->name, NAME_WAV_PART));
	default: return is_ours(f, all, n);
	}
}

/* What is kept beside a segment moves on with it. */
static bool
is_kept_damaged(const struct found *was, const struct found *after, size_t n)
{
	if (kind_of(was) != NAME_DAMAGED)
		return false;
	for (size_t i = 0; i < n; i++)
		if (kind_of(&after[i]) == NAME_DAMAGED && same(was, &after[i]))
			return true;
	return false;
}

/* Is a frame of the sound log somewhere in a regular file? */
static bool
is_kept(const struct found *f, size_t n, const uint8_t *frame)
{
	for (size_t i = 0; i < n; i++)
		if (f[i].content != NULL &&
		    memmem(f[i].content, (size_t)f[i].st.st_size, frame,
			WIRE_FRAME_HEADER_SIZE + 8) != NULL)
			return true;
	return false;
}

/* Nothing that holds a whole frame is cut off or deleted. */
static void
check_frames(const struct found *was, const struct found *after, size_t n)
{
	for (size_t i = 0; i < 6; i++) {
		const uint8_t *frame =
		    sound + WIRE_HANDSHAKE_SIZE + i * (WIRE_FRAME_HEADER_SIZE + 8);

		require(!is_kept(was, 1, frame) || is_kept(after, n, frame));
	}
}

/* Lines of the index are never rewritten; a torn end is cut off. */
static void
check_index(const struct found *was, const struct found *is)
{
	const uint8_t *nl = memrchr(was->content, '\n', (size_t)was->st.st_size);
	size_t whole = nl != NULL ? (size_t)(nl + 1 - was->content) : 0;

	require(is != NULL && (size_t)is->st.st_size >= whole);
	require(memcmp(is->content, was->content, whole) == 0);
}

static void
check(struct found *before, size_t n_before, struct found *after, size_t n_after)
{
	for (size_t i = 0; i < n_before; i++) {
		struct found *was = &before[i], *is = by_name(after, n_after, was->name);
		enum name_suffix kind = kind_of(was);

		if (strcmp(was->name, "index.jsonl") == 0)
			check_index(was, is);
		else if (strcmp(was->name, ".next") == 0 || strcmp(was->name, ".seen") == 0)
			continue;
		else if (is_unfinished(was, before, n_before)) {
			if (!removing && (kind == NAME_EET_PART || kind == NAME_EET))
				check_frames(was, after, n_after);
		} else if (!removing || kind == NAME_NONE || !S_ISREG(was->st.st_mode) ||
		    was->st.st_uid != geteuid())
			require(same(was, is) || is_kept_damaged(was, after, n_after));
	}
	for (size_t i = 0; i < n_after; i++) {
		struct found *is = &after[i];
		enum name_suffix kind = kind_of(is);

		/* One that waits for a name that is being freed is taken by the next start. */
		if (by_name(before, n_before, is->name) == NULL &&
		    !(removing && kind == NAME_EET_PART))
			require(kind == NAME_EET || kind == NAME_WAV || kind == NAME_DAMAGED ||
			    strcmp(is->name, "index.jsonl") == 0 ||
			    strcmp(is->name, ".next") == 0 || strcmp(is->name, ".seen") == 0);
	}
}

static void
note(void *arg, const struct spool_report *r)
{
	(void)arg;
	if (r->kind == SPOOL_SEGMENT)
		recovered = true;
	else if (r->text != NULL)
		require(strncmp(r->text, spool_path, strlen(spool_path)) == 0);
}

/* Open it, and wait until all that is left over is completed. */
static void
open_spool(const struct spool_options *o)
{
	char text[SPOOL_TEXT];
	struct spool *sp = spool_open(spool_path, o, text);

	require(sp != NULL);
	while (spool_reap(sp) == 0)
		poll(&(struct pollfd){ .fd = spool_fd(sp), .events = POLLIN }, 1, 1000);
	require(spool_reap(sp) == 1);
	spool_close(sp);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct found before[MAX_FOUND], after[MAX_FOUND], again[MAX_FOUND];
	struct input in = { data, size };
	struct spool_options o;
	uint8_t how = input_byte(&in);
	size_t n_before, n_after, n_again;

	if (place[0] == '\0')
		find_place();
	empty(outside);
	empty(inside);
	put_file(outside, "target", sound, sizeof sound - 3);
	for (int i = 0; i < MAX_ENTRIES && in.left > 0; i++)
		make_entry(&in);

	spool_defaults(&o);
	o.wav = (how & 1) == 0;
	o.sync = SPOOL_SYNC_NONE;
	o.report = note;
	removing = (how & 6) == 6;
	if (how & 2)
		o.keep.keep_bytes = removing ? 1 : UINT64_MAX;
	n_before = look(inside, before);
	open_spool(&o);
	n_after = look(inside, after);
	check(before, n_before, after, n_after);

	/* Once is enough, unless what was removed has made something else recoverable. */
	if (!removing) {
		recovered = false;
		open_spool(&o);
		require(!recovered);
		n_again = look(inside, again);
		require(n_again == n_after);
		for (size_t i = 0; i < n_after; i++)
			require(same(&after[i], by_name(again, n_again, after[i].name)));
		forget(again, n_again);
	}
	forget(before, n_before);
	forget(after, n_after);

	require(look(outside, before) == 1);
	require((size_t)before[0].st.st_size == sizeof sound - 3);
	require(memcmp(before[0].content, sound, sizeof sound - 3) == 0);
	forget(before, 1);
	return 0;
}
