/* segment: what a frame log holds, and how it gets its name and its WAV. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "scratch.h"
#include "segment.h"

static const struct wire_handshake mono = { 7, 8000, 1, WIRE_PCM16, 4, 0, 1000 };
static const struct wire_handshake stereo = { 7, 8000, 2, WIRE_PCM16, 4, 0, 1000 };
static const struct wire_handshake coded = { 7, 8000, 1, WIRE_ADPCM, 8, 0, 1000 };

static struct scratch place;
static struct segment_dir dir;

static int refused; /* among the flags of openat(2): the file system can't, or the disk is full */

int
openat(int fd, const char *file, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	/* O_TMPFILE is two bits, one of which is O_DIRECTORY. */
	if ((flags & refused & ~O_DIRECTORY) != 0) {
		errno = (flags & O_CREAT) != 0 ? ENOSPC : EOPNOTSUPP;
		return -1;
	}
	if ((flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) != 0) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	return (int)syscall(SYS_openat, fd, file, flags, mode);
}

static int
set_up(void **state)
{
	(void)state;
	place = scratch_new();
	dir = (struct segment_dir){ .fd = place.fd, .path = place.path, .mode = 0640, .wav = true };
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	refused = 0;
	scratch_free(&place);
	return 0;
}

/*
 * ---- Ours ----
 */

/* A new file's owner is found with each way to make one, and nothing stays behind. */
static void
owner(void **state)
{
	static const int refusals[] = { 0, O_TMPFILE };
	char *list;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		refused = refusals[i];
		assert_int_equal(segment_owner(place.fd), geteuid());
	}
	/* One that was left by a crash, or by a stranger, says nothing. */
	scratch_write(&place, ".owner", "", 0);
	if (geteuid() == 0)
		assert_int_equal(fchownat(place.fd, ".owner", 65534, 65534, 0), 0);
	assert_int_equal(segment_owner(place.fd), geteuid());
	list = scratch_list(&place);
	assert_string_equal(list, "");
	free(list);

	/* No file can be made: it is the directory's. */
	refused = O_TMPFILE | O_CREAT;
	assert_int_equal(segment_owner(place.fd), geteuid());
	if (geteuid() == 0) {
		assert_int_equal(fchown(place.fd, 65534, 65534), 0);
		assert_int_equal(segment_owner(place.fd), 65534);
	}
}

static void
ours(void **state)
{
	const struct stat st[] = {
		{ .st_uid = geteuid() },
		{ .st_uid = geteuid() + 1 },
		{ .st_uid = geteuid() + 2 },
	};

	(void)state;
	dir.owner = geteuid() + 1;
	assert_true(segment_is_ours(&dir, &st[0]));
	assert_true(segment_is_ours(&dir, &st[1]));
	assert_false(segment_is_ours(&dir, &st[2]));
}

/* A file in memory with these bytes. */
static int
file_of(const struct bytes *b)
{
	int fd = memfd_create("log", MFD_CLOEXEC);

	assert_true(fd != -1);
	assert_int_equal(write(fd, b->p, b->len), b->len);
	return fd;
}

/* A frame of one sample value, n times. */
static void
put_samples(struct bytes *b, uint32_t seq, int16_t value, uint32_t n)
{
	uint8_t head[WIRE_FRAME_HEADER_SIZE], sample[2];

	wire_pack_frame(head, WIRE_PCM16, 2 * n, seq);
	bytes_add(b, head, sizeof head);
	le16_store(sample, (uint16_t)value);
	while (n-- > 0)
		bytes_add(b, sample, 2);
}

/*
 * ---- Rendering ----
 */

static struct render_facts
render(const struct bytes *log, struct bytes *wav)
{
	int in = file_of(log), out = wav != NULL ? memfd_create("wav", MFD_CLOEXEC) : -1;
	struct render_facts facts;
	uint8_t buf[4096];
	ssize_t n;

	assert_int_equal(render_log(in, out, dir.layout_given ? &dir.layout : NULL, &facts), 0);
	close(in);
	if (wav == NULL)
		return facts;
	*wav = (struct bytes){ 0 };
	assert_int_equal(lseek(out, 0, SEEK_SET), 0);
	while ((n = read(out, buf, sizeof buf)) > 0)
		bytes_add(wav, buf, (size_t)n);
	close(out);
	return facts;
}

/* A WAV of these samples, with a header of 44 bytes. */
static void
assert_wav(const struct bytes *wav, const int16_t *samples, size_t n)
{
	assert_int_equal(wav->len, 44 + 2 * n);
	assert_memory_equal(wav->p, "RIFF", 4);
	assert_int_equal(le32_load(wav->p + 40), 2 * n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal((int16_t)le16_load(wav->p + 44 + 2 * i), samples[i]);
}

static void
sound_and_silence(void **state)
{
	/* A gap of 2 frames, one that comes again, an empty one, and a restart far behind. */
	static const int16_t expected[] = { 100, 100, 100, 100, 0, 0, 0, 0, 0, 0, 0, 0, -32768,
		-32768, 200, 300 };
	struct render_facts f, again;
	struct bytes b = { 0 }, wav;

	(void)state;
	put_handshake(&b, &mono);
	put_samples(&b, 2000, 100, 4);
	put_samples(&b, 2003, -32768, 2);
	put_samples(&b, 2002, 77, 4);
	put_samples(&b, 2004, 0, 0);
	put_samples(&b, 2005, 200, 1);
	put_samples(&b, 5, 300, 1);
	f = render(&b, &wav);
	assert_wav(&wav, expected, 16);
	assert_int_equal(f.format.stream_id, 7);
	assert_true(f.has_frames);
	assert_int_equal(f.first_seq, 2000);
	assert_int_equal(f.last_seq, 5);
	assert_int_equal(f.expected, 6);
	assert_int_equal(f.frames, 6);
	assert_int_equal(f.gaps, 1);
	assert_int_equal(f.gap_frames, 2);
	assert_int_equal(f.repeats, 1);
	assert_int_equal(f.restarts, 1);
	assert_int_equal(f.samples, 16);
	assert_int_equal(f.unfilled, 0);
	assert_int_equal(f.damaged, 0);
	assert_int_equal(f.levels.peak, 32768);
	assert_int_equal(f.levels.clipped, 2);
	assert_int_equal(f.levels.values, 8);
	/* Without a WAV the facts are the same. */
	again = render(&b, NULL);
	assert_int_equal(again.frames, f.frames);
	assert_int_equal(again.samples, f.samples);
	assert_int_equal(again.expected, f.expected);
	assert_int_equal(again.levels.values, f.levels.values);
	assert_true(again.levels.squares == f.levels.squares);
	bytes_free(&wav);
	bytes_free(&b);
}

static void
gap_too_long(void **state)
{
	static const int16_t expected[] = { 1, 2 };
	struct bytes b = { 0 }, wav;
	struct render_facts f;

	(void)state;
	put_handshake(&b, &mono);
	put_samples(&b, 0, 1, 1);
	put_samples(&b, 1000000, 2, 1);
	f = render(&b, &wav);
	assert_wav(&wav, expected, 2);
	assert_int_equal(f.unfilled, 1);
	assert_int_equal(f.gap_frames, 999999);
	bytes_free(&wav);
	bytes_free(&b);
}

static void
without_frames(void **state)
{
	struct bytes b = { 0 }, wav;
	struct render_facts f;
	int fd;

	(void)state;
	put_handshake(&b, &mono);
	f = render(&b, &wav);
	assert_wav(&wav, NULL, 0);
	assert_false(f.has_frames);
	assert_int_equal(f.frames, 0);
	bytes_free(&wav);
	/* No handshake, no format: the facts stay as they are. */
	b.len = 20;
	memset(&f, 0x5a, sizeof f);
	fd = file_of(&b);
	assert_int_equal(render_log(fd, -1, NULL, &f), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(f.frames, UINT64_C(0x5a5a5a5a5a5a5a5a));
	close(fd);
	bytes_free(&b);
}

/* Several takes in one log are one sound while the format stays; then it ends. */
static void
takes(void **state)
{
	static const int16_t expected[] = { 1, 0, 0, 0, 0, 2, 3, 4 };
	struct wire_handshake later = mono;
	struct bytes b = { 0 }, wav;
	struct render_facts f;

	(void)state;
	later.timestamp_ms = 5000;
	put_handshake(&b, &mono);
	put_samples(&b, 0, 1, 1);
	put_handshake(&b, &mono); /* equal: carries on, its gap too */
	put_samples(&b, 2, 2, 1);
	put_handshake(&b, &later); /* another: the count starts again */
	put_samples(&b, 100, 3, 1);
	put_samples(&b, 101, 4, 1);
	f = render(&b, &wav);
	assert_wav(&wav, expected, 8);
	assert_int_equal(f.frames, 4);
	assert_int_equal(f.gaps, 1);
	assert_int_equal(f.restarts, 0);
	assert_int_equal(f.damaged, 0);
	bytes_free(&wav);
	put_handshake(&b, &stereo);
	put_frame(&b, WIRE_PCM16, 0, 16);
	f = render(&b, &wav);
	assert_wav(&wav, expected, 8);
	assert_int_equal(f.frames, 4);
	assert_int_equal(f.damaged, 1);
	bytes_free(&wav);
	bytes_free(&b);
}

/* Damage in the log ends it, or leaves a frame out; both are counted. */
static void
damaged_log(void **state)
{
	static const int16_t expected[] = { 1, 1, 2, 2 };
	struct bytes b = { 0 }, wav;
	struct render_facts f;

	(void)state;
	put_handshake(&b, &mono);
	put_samples(&b, 0, 1, 2);
	put_frame(&b, WIRE_PCM16, 1, 3);
	put_samples(&b, 1, 2, 2);
	bytes_add(&b, "junk", 4);
	put_samples(&b, 2, 3, 2);
	f = render(&b, &wav);
	assert_wav(&wav, expected, 4);
	assert_int_equal(f.damaged, 2);
	bytes_free(&wav);
	bytes_free(&b);
}

static void
layouts(void **state)
{
	struct bytes b = { 0 }, wav, given;
	struct render_facts f;
	uint8_t block[12] = { 0 };

	(void)state;
	/* All blocks have exactly the length of bare ones, and their fourth byte is not 0. */
	put_handshake(&b, &coded);
	memset(block, 0x17, sizeof block);
	for (uint32_t seq = 0; seq < 5; seq++) {
		uint8_t head[WIRE_FRAME_HEADER_SIZE];

		wire_pack_frame(head, WIRE_ADPCM, 4, seq);
		bytes_add(&b, head, sizeof head);
		bytes_add(&b, block, 4);
	}
	f = render(&b, &wav);
	assert_int_equal(f.verdict.layout, ADPCM_BARE);
	assert_int_equal(f.verdict.rule, ADPCM_BY_LENGTH);
	assert_int_equal(f.samples, 40);
	assert_int_equal(f.damaged, 0);
	assert_int_equal(wav.len, 44 + 80);
	dir.layout_given = true;
	dir.layout = ADPCM_WAV;
	f = render(&b, &given);
	assert_int_equal(f.verdict.layout, ADPCM_WAV);
	assert_int_equal(f.verdict.rule, ADPCM_GIVEN);
	assert_int_equal(f.samples, 5); /* the header's own sample each */
	bytes_free(&wav);
	bytes_free(&given);
	bytes_free(&b);
}

static void
no_room_for_the_wav(void **state)
{
	struct bytes b = { 0 };
	struct render_facts f;
	int in, full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	(void)state;
	put_handshake(&b, &mono);
	put_samples(&b, 0, 1, 4);
	in = file_of(&b);
	memset(&f, 0x5a, sizeof f);
	assert_int_equal(render_log(in, full, NULL, &f), -1);
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(f.frames, UINT64_C(0x5a5a5a5a5a5a5a5a));
	close(in);
	close(full);
	bytes_free(&b);
}

/*
 * ---- Names ----
 */

#define T "stream_7_19700101T000001."

static void
taken_names(void **state)
{
	struct name n = { .stream_id = 7, .session = 2, .time_ms = 1000 };
	struct stat st;
	mode_t old;
	char *list;
	int fd;

	(void)state;
	scratch_write(&place, T "000Z_s2.eet", "", 0);
	scratch_write(&place, T "001Z_s2.wav", "", 0);
	scratch_write(&place, T "002Z_s2.eet.part", "", 0);
	scratch_write(&place, T "003Z_s2.wav.part", "", 0);
	assert_int_equal(symlinkat("nowhere", place.fd, T "004Z_s2.eet"), 0);
	assert_int_equal(symlinkat("nowhere", place.fd, T "005Z_s2.eet.part"), 0);
	assert_int_equal(mkdirat(place.fd, T "006Z_s2.eet.part", 0700), 0);
	/* Other sessions' names are other names. */
	scratch_write(&place, T "007Z_s1.eet", "", 0);
	dir.mode = 0666;
	old = umask(026);
	fd = segment_create(&dir, &n);
	umask(old);
	assert_true(fd != -1);
	assert_int_equal(n.time_ms, 1007);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
	close(fd);
	list = scratch_list(&place);
	assert_non_null(strstr(list, T "007Z_s2.eet.part\n"));
	assert_null(strstr(list, "nowhere"));
	free(list);
}

static void
no_name_left(void **state)
{
	struct name n = { .stream_id = 7, .session = 2, .time_ms = NAME_MAX_MS };
	const struct name before = n;

	(void)state;
	scratch_write(&place, "stream_7_99991231T235959.999Z_s2.eet", "", 0);
	assert_int_equal(segment_create(&dir, &n), -1);
	assert_int_equal(errno, EEXIST);
	assert_memory_equal(&n, &before, sizeof n);
	/* The directory is gone. */
	n.time_ms = 0;
	scratch_empty(&place);
	assert_int_equal(rmdir(place.path), 0);
	assert_int_equal(segment_create(&dir, &n), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(mkdir(place.path, 0700), 0);
	close(place.fd);
	place.fd = open(place.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/*
 * ---- Completing ----
 */

/* A segment that has grown: a frame of n samples. */
static struct segment
grown(uint64_t time_ms, uint32_t n)
{
	struct segment s = { .name = { .stream_id = 7, .session = 2, .time_ms = time_ms } };
	struct bytes b = { 0 };
	char file[NAME_SIZE + 16];

	put_handshake(&b, &mono);
	for (uint32_t seq = 0; seq < n; seq++)
		put_samples(&b, seq, (int16_t)seq, 4);
	name_format(&s.name, file);
	strcat(file, ".eet.part");
	scratch_write(&place, file, b.p, b.len);
	bytes_free(&b);
	return s;
}

static void
assert_list(const char *expected)
{
	char *list = scratch_list(&place);

	assert_string_equal(list, expected);
	free(list);
}

static size_t
no_line(void *arg, const struct segment *s, char *out)
{
	(void)arg;
	return (size_t)sprintf(out, "line of %llu\n", (unsigned long long)s->name.time_ms);
}

/* All steps, for all of them; the names of the parts are removed only if finish. */
static void
complete(struct segment *const segments[], size_t n, bool finish)
{
	const struct segment_line line = { no_line, NULL };
	char failed[SEGMENT_PATH];

	for (size_t i = 0; i < n; i++)
		assert_int_equal(segment_render(&dir, segments[i], failed), 0);
	segment_sync(&dir, segments, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(segment_place(&dir, segments[i], &line, failed), 0);
	for (size_t i = 0; i < n && finish; i++)
		if (segments[i]->stage == SEGMENT_PLACED)
			assert_int_equal(segment_finish(&dir, segments[i], failed), 0);
}

static void
completed(void **state)
{
	struct segment a = grown(1000, 3), b = grown(1001, 5);
	struct segment *both[] = { &a, &b };
	struct bytes wav;

	(void)state;
	dir.sync = true;
	complete(both, 2, false);
	/* Until their lines are on the disk, the parts' names say that something is unfinished. */
	assert_list(
	    T "000Z_s2.eet\n" T "000Z_s2.eet.part\n" T "000Z_s2.wav\n" T "000Z_s2.wav.part\n" T
	      "001Z_s2.eet\n" T "001Z_s2.eet.part\n" T "001Z_s2.wav\n" T "001Z_s2.wav.part\n");
	complete(both, 2, true);
	assert_list(T "000Z_s2.eet\n" T "000Z_s2.wav\n" T "001Z_s2.eet\n" T "001Z_s2.wav\n");
	assert_int_equal(a.stage, SEGMENT_PLACED);
	assert_true(a.has_wav && b.has_wav);
	assert_int_equal(a.facts.frames, 3);
	assert_int_equal(b.facts.frames, 5);
	wav = scratch_read(&place, T "001Z_s2.wav");
	assert_int_equal(wav.len, 44 + 40);
	bytes_free(&wav);
	/* Once more: there is nothing left to do. */
	complete(both, 2, true);
	complete(both, 0, true);
}

static void
completed_without_wav(void **state)
{
	struct segment a = grown(1000, 3), *one[] = { &a };

	(void)state;
	dir.wav = false;
	complete(one, 1, true);
	assert_list(T "000Z_s2.eet\n");
	assert_false(a.has_wav);
	assert_int_equal(a.facts.levels.peak, 2);
}

/* Names that somebody took meanwhile are left alone, and a .wav.part of old is nothing. */
static void
names_taken_meanwhile(void **state)
{
	struct segment a = grown(1000, 3), *one[] = { &a };
	struct bytes file;

	(void)state;
	scratch_write(&place, T "000Z_s2.wav.part", "old", 3);
	scratch_write(&place, T "000Z_s2.eet", "mine", 4);
	scratch_write(&place, T "001Z_s2.wav", "mine", 4);
	complete(one, 1, true);
	assert_list(T "000Z_s2.eet\n" T "001Z_s2.wav\n" T "002Z_s2.eet\n" T "002Z_s2.wav\n");
	assert_int_equal(a.name.time_ms, 1002);
	file = scratch_read(&place, T "000Z_s2.eet");
	assert_int_equal(file.len, 4);
	bytes_free(&file);
	file = scratch_read(&place, T "002Z_s2.wav");
	assert_int_equal(file.len, 44 + 24);
	bytes_free(&file);
}

/* … but the segment's own WAV may be there already: a crash came after it was placed. */
static void
own_wav_is_there(void **state)
{
	struct segment a = grown(1000, 3), again = a, *one[] = { &a };
	struct bytes wav, part;

	(void)state;
	complete(one, 1, true);
	wav = scratch_read(&place, T "000Z_s2.wav");
	assert_int_equal(renameat(dir.fd, T "000Z_s2.eet", dir.fd, T "000Z_s2.eet.part"), 0);
	a = again;
	complete(one, 1, true);
	assert_list(T "000Z_s2.eet\n" T "000Z_s2.wav\n");
	assert_true(a.has_wav && a.name.time_ms == 1000);

	/* One byte less or another one: not its own. */
	assert_int_equal(renameat(dir.fd, T "000Z_s2.eet", dir.fd, T "000Z_s2.eet.part"), 0);
	wav.p[wav.len - 1] ^= 1;
	scratch_write(&place, T "000Z_s2.wav", wav.p, wav.len);
	scratch_write(&place, T "001Z_s2.wav", wav.p, wav.len - 1);
	a = again;
	complete(one, 1, true);
	assert_list(T "000Z_s2.wav\n" T "001Z_s2.wav\n" T "002Z_s2.eet\n" T "002Z_s2.wav\n");
	part = scratch_read(&place, T "000Z_s2.wav");
	assert_int_equal(part.len, wav.len);
	assert_memory_equal(part.p, wav.p, wav.len);
	bytes_free(&part);
	bytes_free(&wav);
}

/* A WAV that the file system can't hold fails alone, and its space is given back. */
static void
wav_too_large(void **state)
{
	struct segment a = grown(1000, 3), b = grown(1001, 100), c = grown(1002, 3);
	struct segment *all[] = { &a, &b, &c };
	struct rlimit old, small;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = 600;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	complete(all, 3, true);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_list(T "000Z_s2.eet\n" T "000Z_s2.wav\n" T "001Z_s2.eet\n" T "002Z_s2.eet\n" T
		      "002Z_s2.wav\n");
	assert_int_equal(b.stage, SEGMENT_PLACED);
	assert_false(b.has_wav);
	assert_int_equal(b.wav_error, EFBIG);
	assert_int_equal(b.facts.samples, 400);
	assert_int_equal(a.wav_error, 0);
}

/* One whose log is gone fails alone. */
static void
lost_meanwhile(void **state)
{
	struct segment a = grown(1000, 3), b = grown(1001, 3), *both[] = { &a, &b };

	(void)state;
	assert_int_equal(unlinkat(place.fd, T "000Z_s2.eet.part", 0), 0);
	complete(both, 2, true);
	assert_int_equal(a.stage, SEGMENT_FAILED);
	assert_int_equal(a.error, ENOENT);
	assert_int_equal(a.failed, NAME_EET_PART);
	assert_int_equal(b.stage, SEGMENT_PLACED);
	assert_list(T "001Z_s2.eet\n" T "001Z_s2.wav\n");
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(owner),
		TEST(ours),
		TEST(sound_and_silence),
		TEST(gap_too_long),
		TEST(without_frames),
		TEST(takes),
		TEST(damaged_log),
		TEST(layouts),
		TEST(no_room_for_the_wav),
		TEST(taken_names),
		TEST(no_name_left),
		TEST(completed),
		TEST(completed_without_wav),
		TEST(names_taken_meanwhile),
		TEST(own_wav_is_there),
		TEST(wav_too_large),
		TEST(lost_meanwhile),
	};

	return cmocka_run_group_tests_name("segment", tests, NULL, NULL);
}
