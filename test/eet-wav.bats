#!/usr/bin/env bats
# eet-wav: logs in, WAV out.
# Names are of our making, so ls may be read; where a file goes through cat, a pipe is wanted.
# shellcheck disable=SC2002,SC2010,SC2012,SC2016,SC2154
load helper

setup() {
	eet_setup
	logs=$EET_ROOT/test/logs.py
	data=$EET_ROOT/data
	golden=$EET_ROOT/data/logs
}

# The samples of a WAV of ours with exact sizes: fails on any other.
samples() {
	"$logs" wav "$@"
}

# pcm_log ID RATE CHANNELS FRAME_SAMPLES FIRST_SEQ COUNT: a frame log whose samples count up.
pcm_log() {
	handshake pcm "$1" "$2" "$3" "$4"
	pcm_frames "${@:3}"
}

pcm_frames() {
	local i size=$((2 * $1 * $2))

	for ((i = $3; i < $3 + $4; i++)); do
		printf "%0${size}d" "$i" > payload
		frame pcm "$i" payload
	done
}

# size FILE
size() {
	stat -c %s "$1"
}

# at_least N FILE: it has grown to so many bytes.
at_least() {
	[ -e "$2" ] && [ "$(size "$2")" -ge "$1" ]
}

no_leftovers() {
	[ -z "$(find . -name '.eet-wav*')" ]
}

# --- what is decoded ---

@test "wav: golden logs from a file, from a pipe, and from a pipe to a file have these samples" {
	local log layout rate channels sha count=0

	while IFS=$'\t' read -r log _ layout rate channels _ _ _ sha; do
		[ "$log" != log ] || continue
		count=$((count + 1))
		echo "$log"
		eet-wav -q "$golden/$log" > exact.wav
		[ "$(samples exact.wav | sha256sum)" = "$sha  -" ]
		[ "$(soxi -r exact.wav) $(soxi -c exact.wav) $(soxi -b exact.wav)" = "$rate $channels 16" ]
		eet-wav -q -o file.wav - < "$golden/$log"
		cmp exact.wav file.wav
		cat "$golden/$log" | eet-wav -q -o piped.wav
		cmp exact.wav piped.wav
		cat "$golden/$log" | eet-wav -q > redirected.wav
		cmp exact.wav redirected.wav
		# Nobody knows how many silent samples a frame without header has before there is sound.
		[ "$layout" != bare ] || continue
		cat "$golden/$log" | eet-wav -q | tail -c +45 > streamed
		[ "$(sha256sum < streamed)" = "$sha  -" ]
	done < "$golden/expected.tsv"
	[ "$count" -ge 15 ]
}

@test "wav: PCM is the source, sample for sample, whatever the frames' size" {
	local wav n

	for wav in sine_pcm16 stereo_44k1 noise_48k; do
		for n in 1 7 441 65535; do
			[ "$n" != 1 ] || [ "$wav" = noise_48k ] || continue
			"$logs" pcm "$data/$wav.wav" "n=$n" > log
			eet-wav log > out.wav
			cmp out.wav "$data/$wav.wav"
		done
	done
}

@test "wav: ADPCM is what sox and libsndfile decode, mono and stereo, and not only they" {
	local wav n by

	for wav in speech_8k stereo_44k1; do
		for n in 1 2 7 9 160 441; do
			"$logs" state "$data/$wav.wav" "n=$n" > log
			eet-wav log > out.wav
			"$logs" samples log state | cmp - <(samples out.wav)
			[ "$n" = 160 ] || continue
			for by in sox sndfile; do
				"$logs" "$by" log state | cmp - <(samples out.wav)
			done
		done
	done
	"$logs" padded "$data/speech_8k.wav" n=480 > log
	eet-wav log > out.wav
	"$logs" sox log wav | cmp - <(samples out.wav)
}

@test "wav: blocks of sox, ffmpeg and libsndfile are known by what they are" {
	local wav

	for wav in speech_8k stereo_44k1; do
		sox "$data/$wav.wav" -e ima-adpcm sox.wav
		ffmpeg -y -v error -i "$data/$wav.wav" -c:a adpcm_ima_wav ffmpeg.wav
		sndfile-convert -ima-adpcm "$data/$wav.wav" sndfile.wav
		for by in sox ffmpeg sndfile; do
			"$logs" blocks $by.wav > log
			run -0 --separate-stderr eet-wav -v -o out.wav log
			[[ $stderr == *"ADPCM layout wav ("* ]]
			"$logs" sox log wav | cmp - <(samples out.wav)
		done
	done
	for layout in state-high bare; do
		"$logs" $layout "$data/speech_8k.wav" n=160 > log
		run -0 --separate-stderr eet-wav -v -o out.wav log
		[[ $stderr == *"ADPCM layout $layout ("* ]]
		"$logs" samples log $layout | cmp - <(samples out.wav)
	done
}

@test "wav: --layout overrides, and must be possible" {
	"$logs" state "$data/speech_8k.wav" n=160 > log
	run -0 --separate-stderr eet-wav -v --layout state-high -o high.wav log
	[[ $stderr == *"ADPCM layout state-high (given)"* ]]
	"$logs" samples log state-high | cmp - <(samples high.wav)
	cat log | eet-wav --layout state-high | tail -c +45 | cmp - <(samples high.wav)
	run -2 --separate-stderr eet-wav --layout bare -o six.wav "$golden/layout-state-six.eet"
	[[ $stderr == *": session 1 (stream 20) has 6 channels, --layout bare is for 1" ]]
	[ ! -e six.wav ]
	# Recordings that it does fit are written.
	run -2 --separate-stderr eet-wav --layout bare -d wav "$golden/layout-state-six.eet" "$golden/layout-bare.eet"
	[ "$(cd wav && echo *)" = layout-bare.wav ]
}

@test "wav: a spool's WAVs are what eet-wav makes of its logs, and joined they are the source" {
	"$logs" pcm "$data/stereo_44k1.wav" n=441 > log
	eet-rotate -q -t 0.3 out < log > list
	[ "$(grep -c 'wav$' list)" = 5 ]
	for eet in out/*.eet; do
		eet-wav "$eet" | cmp - "${eet%.eet}.wav"
		eet-wav -o one.wav "$eet"
		cmp one.wav "${eet%.eet}.wav"
	done
	eet-wav out/*.eet | cmp - "$data/stereo_44k1.wav"
	eet-wav out | cmp - "$data/stereo_44k1.wav"
	cat out/*.eet | eet-wav -o joined.wav
	cmp joined.wav "$data/stereo_44k1.wav"
}

@test "wav: joining decides the layout once and carries bare's state, over gaps too" {
	"$logs" bare "$data/speech_8k.wav" n=160 > log
	eet-wav -o whole.wav log
	eet-rotate -q -t 0.5 out < log > /dev/null
	run -0 --separate-stderr eet-wav -v -o joined.wav out/*.eet
	cmp whole.wav joined.wav
	[ "$(grep -c 'ADPCM layout' <<< "$stderr")" = 1 ]
	# One segment lost: its time is silent, and the rest as it was.
	rm "$(ls out/*.eet | sed -n 3p)"
	run -0 --separate-stderr eet-wav -v -o less.wav out/*.eet
	[[ $stderr == *"gap of 25, 0.500 s of silence at 1.000 s"* ]]
	[ "$(size less.wav)" = "$(size whole.wav)" ]
	cmp -n 16044 whole.wav less.wav
	run -1 cmp -i 16044 -n 8000 whole.wav less.wav
}

# --- sizes ---

@test "wav: RIFF sizes are exact from a file, and 0xFFFFFFFF from pipe to pipe" {
	pcm_log 7 16000 2 3 0 4 > log
	eet-wav log | head -c 44 | xxd -p | tr -d '\n' > header
	[ "$(cat header)" = "5249464654000000""57415645666d7420""10000000""01000200""803e0000""00fa0000""04001000""6461746130000000" ]
	cat log | eet-wav | head -c 44 | xxd -p | tr -d '\n' > header
	[ "$(cat header)" = "52494646ffffffff""57415645666d7420""10000000""01000200""803e0000""00fa0000""04001000""64617461ffffffff" ]
	cat log | eet-wav | sox -t wav - streamed.wav 2> /dev/null
	eet-wav log | cmp - streamed.wav
	[ "$(sndfile-info streamed.wav | sed -n 's/^Frames *: //p')" = 12 ]
	[ "$(ffprobe -v error -show_entries stream=sample_rate,channels,duration_ts -of csv=p=0 streamed.wav)" = 16000,2,12 ]
}

# An ADPCM frame log whose PCM is longer than 4 GiB, most of it a hole.
sparse() {
	handshake adpcm 7 48000 64 65535
	/usr/bin/python3 -c 'import os, struct
for i in range(513):
    os.write(1, struct.pack("<III", 0x41445046, 2097408, i))
    os.ftruncate(1, os.lseek(1, 2097408, 1))'
}

@test "wav: from 4 GiB on it is RF64, with exact sizes in a pipe too" {
	local length=$((513 * 65535 * 128))

	sparse > log
	# The rest need not be waited for.
	eet-wav -q --layout state log 2> message | head -c 104 > header || :
	[ "$(head -c 16 header)" = $'RF64\xff\xff\xff\xffWAVEds64' ]
	tail -c +21 header | head -c 24 | cmp - <(le64 $((length + 96)) $length $((513 * 65535)))
}

@test "wav: a file that grows is read as far as it was at first" {
	pcm_log 7 8000 1 160 0 5 > log
	pcm_frames 1 160 5 20 > more.frames
	spawn grow bash -c 'while [ ! -e enough ]; do head -c 3000 more.frames >> log; done'
	for ((i = 0; i < 10; i++)); do
		eet-wav -q log > "out$i.wav" 2> message || [ $? = 3 ]
		samples "out$i.wav" > /dev/null
	done
	touch enough
	finish grow
}

@test "wav: standard input may be a file that stands somewhere in its middle" {
	pcm_log 7 16000 1 10 0 3 > log
	{ printf 'something else'; cat log; } > both
	{ head -c 14 > /dev/null; eet-wav > out.wav; } < both
	eet-wav log | cmp - out.wav
}

@test "wav: a log without frames is an empty WAV, and one without a stream is none" {
	handshake pcm 7 > log
	run -0 --separate-stderr eet-wav -o empty.wav log
	[ "$(size empty.wav) $(soxi -s empty.wav)" = "44 0" ]
	[ "$(cat log | eet-wav | wc -c)" = 44 ]
	run -3 --separate-stderr eet-wav -o none.wav /dev/null
	[ "$stderr" = "eet-wav: /dev/null: no stream in it, so no WAV" ]
	[ ! -e none.wav ]
}

# --- gaps, repeats, restarts ---

@test "wav: gaps become silence or are skipped, and are told with seq and time" {
	{
		pcm_log 7 8000 1 160 0 2
		pcm_frames 1 160 5 1
	} > log
	run -0 --separate-stderr eet-wav -v -o filled.wav log
	[[ $stderr == *"log: offset 696: seq 5, 1970-01-01T00:00:00.100Z: gap of 3, 0.060 s of silence at 0.040 s"* ]]
	[[ $stderr == *"filled.wav: gaps: 1 (frames missing: 3, not filled: 0), repeats: 0, restarts: 0"* ]]
	[ "$(samples filled.wav | xxd -p -c 320 -s 640 -l 960 | tr -d '0\n')" = "" ]
	[ "$(samples filled.wav | wc -c)" = 1920 ]
	run -0 --separate-stderr eet-wav -v --gaps skip -o skipped.wav log
	[[ $stderr == *"gap of 3, skipped, at 0.040 s"* ]]
	{ samples filled.wav | head -c 640; samples filled.wav | tail -c 320; } | cmp - <(samples skipped.wav)
	run -0 --separate-stderr eet-wav -q -o quiet.wav log
	[ -z "$stderr" ]
}

@test "wav: a gap too long for silence is told, not filled" {
	{
		pcm_log 7 8000 1 160 0 2
		pcm_frames 1 160 3003 1
	} > log
	run -0 --separate-stderr eet-wav -v -o out.wav log
	[[ $stderr == *"seq 3003, "*": gap of 3001, too long to be filled, at 0.040 s"* ]]
	[[ $stderr == *"not filled: 1)"* ]]
	[ "$(samples out.wav | wc -c)" = 960 ]
}

@test "wav: a few bytes that claim gaps become no megabytes on the disk" {
	local file

	# Frames of a sample, each 8 MiB after the one before; then frames without any.
	"$logs" mux > all.mux <<-'END'
		0 OPEN 1 pcm id=7 rate=768000 ch=64 n=65535
		0 FRAME 1 seq=0 len=1
		0 FRAME 1 seq=2 len=1
		0 FRAME 1 seq=4 len=1
		0 FRAME 1 seq=6 len=0
		0 FRAME 1 seq=8 len=0
		0 CLOSE 1 1000
	END
	eet-rotate -q -t 0 out < all.mux
	eet-wav -q -o file.wav all.mux
	eet-wav -q -d dir all.mux
	eet-wav -q all.mux > redirected.wav
	eet-wav -q all.mux | cat > dense.wav
	eet-wav -q all.mux >> appended.wav
	for file in out/*.wav file.wav dir/*.wav redirected.wav appended.wav; do
		cmp "$file" dense.wav
	done
	[ "$(size dense.wav)" = $((44 + 128 * (4 * 65535 + 3))) ]
	sync -f .
	[ "$(stat -c %b dense.wav)" -gt 60000 ]
	for file in out/*.wav file.wav dir/*.wav redirected.wav; do
		[ "$(stat -c %b "$file")" -le 128 ]
	done
}

@test "wav: repeats are left out, restarts begin again" {
	run -0 --separate-stderr eet-wav -v -o out.wav "$golden/repeat-restart.eet"
	[[ $stderr == *"seq 5008, "*": a repeat, left out"* ]]
	[[ $stderr == *"seq 0, "*": restart, expected was seq 5020, at 0.400 s"* ]]
	[[ $stderr == *"gaps: 0 (frames missing: 0, not filled: 0), repeats: 2, restarts: 1"* ]]
}

# --- joining ---

@test "wav: inputs with equal handshakes carry seq over, others begin anew" {
	pcm_log 7 8000 1 10 0 3 > a
	pcm_log 7 8000 1 10 5 2 > b
	pcm_log 7 8000 1 10 $((7 - 1025)) 2 > c
	{ handshake pcm 7 8000 1 10 99; pcm_frames 1 10 9 1; } > d
	eet-wav -q -o out.wav a b
	[ "$(soxi -s out.wav)" = 70 ] # two frames are missing between them
	eet-wav -q -o out.wav b c
	[ "$(soxi -s out.wav)" = 40 ]
	eet-wav -q -o out.wav a d
	[ "$(soxi -s out.wav)" = 40 ]
	cat a b | eet-wav -q | tail -c +45 | cmp - <(eet-wav -q a b | tail -c +45)
}

@test "wav: a rotation among frames that are sent again changes nothing in the joined audio" {
	local codec ts script first log expected

	for codec in pcm adpcm; do
		for ts in 0 1769854500000; do
			rm -rf out
			script=$(printf '%s\n' "0 OPEN 1 $codec id=7 n=10 ts=$ts" \
				"0 FRAME 1 seq=0 count=6 step=0" "1 ROTATE" "1 FRAME 1 seq=3 count=3 step=0" \
				"2 ROTATE" "2 FRAME 1 seq=5 count=3 step=0" "3 CLOSE 1 1000")
			"$logs" mux <<< "$script" | eet-rotate -q -t 0 out
			# A segment's own WAV is what its log is, by itself.
			for log in out/*.eet; do
				eet-wav -q -o alone.wav "$log"
				cmp alone.wav "${log%.eet}.wav"
			done
			[ "$(cat out/*.wav | wc -c)" = $((3 * 44 + 2 * 10 * 12)) ]
			eet-wav -q out/*.eet | samples /dev/stdin > heard
			[ "$(wc -c < heard)" = 160 ]
			eet-wav -q -d wav out
			samples wav/*.wav | cmp - heard
			rm -r wav
			head -c 120 heard | cmp - <(samples "$(echo out/*.wav | cut -d ' ' -f 1)")
		done
	done

	# However far it goes back, if its handshake is one connection's; each of a device without
	# a clock is alike.
	while read -r ts expected; do
		for first in "seq=0 count=2000" "seq=0 count=2001"; do
			"$logs" frames <<< "0 OPEN 1 pcm n=10 ts=$ts
				0 FRAME 1 $first step=0"
		done > log
		run -0 --separate-stderr eet-wav -o out.wav log
		[ "$(soxi -s out.wav)" = "$expected" ]
	done <<-END
		0 40010
		1769854500000 20010
	END
}

@test "wav: what differs ends with 2, and what came before is written" {
	pcm_log 7 8000 1 10 0 3 > a
	pcm_log 8 8000 1 10 3 3 > id
	pcm_log 7 8001 1 10 3 3 > rate
	eet-wav -o a.wav a
	for other in id rate; do
		run -2 --separate-stderr eet-wav -o out.wav a $other
		[[ $stderr == "eet-wav: $other: offset 32: session 1 is stream "* ]]
		[[ $stderr == *"eet-demux -S SESSION"*"-d DIR" ]]
		cmp a.wav out.wav
		run -2 bash -c "cat a $other | eet-wav | tail -c +45 | cmp - <(tail -c +45 a.wav); exit \${PIPESTATUS[1]}"
		rm out.wav
	done
}

# Two sessions of stream 7, the second from time $1 on.
two_sessions() {
	"$logs" mux <<-SCRIPT
		0 OPEN 1 pcm id=7 tag=hall
		0 FRAME 1 seq=5 count=10
		0.3 OPEN 2 pcm id=7 ts=5
		$1
	SCRIPT
}

@test "wav: sessions of a mux log that follow each other are joined, sessions that overlap are not" {
	two_sessions $'0.4 CLOSE 1 1000\n0.5 FRAME 2 count=10\n0.8 CLOSE 2 1000' > follow
	eet-wav -o out.wav follow
	[ "$(soxi -s out.wav)" = 3200 ]
	cat follow | eet-wav | tail -c +45 | cmp - <(samples out.wav)

	two_sessions $'0.4 FRAME 2 count=10\n0.6 CLOSE 1 1000\n0.8 CLOSE 2 1000' > overlap
	run -2 --separate-stderr eet-wav -o first.wav overlap
	[[ $stderr == *"overlap: offset "*": session 2 (stream 7) begins while session 1 (stream 7) is open, "*"eet-demux -S SESSION"*"-d DIR" ]]
	[ "$(soxi -s first.wav)" = 1600 ]
	run -2 bash -c 'cat overlap | eet-wav > streamed; exit ${PIPESTATUS[1]}'
	cat overlap | { eet-wav 2> /dev/null || :; } | tail -c +45 | cmp - <(samples first.wav)
	run -2 --separate-stderr eet-wav "$golden/three.mux"
}

@test "wav: two recordings of a spool that overlap in time are not taken for one" {
	for ((i = 0; i < 8; i++)); do
		echo "0.$((4 + i / 2))$((i % 2 * 5)) FRAME $((1 + i % 2)) seq=$((15 + i))"
	done > frames
	two_sessions "$(cat frames)" > log
	eet-rotate -q -t 0.1 out < log > /dev/null
	run -2 --separate-stderr eet-wav out
	[[ $stderr == *"returns after another one"*"-d DIR"* ]]
	run -0 --separate-stderr eet-wav -d wav out
	[ "$(ls wav | wc -l)" = 2 ]
}

@test "wav: a session without a CLOSE is whole" {
	two_sessions '0.4 CLOSE 1 1000' > log
	run -0 --separate-stderr eet-wav -o out.wav log
	[[ $stderr == *"session 2 has no CLOSE, ended as 1006"* ]]
	[ "$(soxi -s out.wav)" = 1600 ]
}

# --- -d ---

@test "wav: -d makes one WAV for each session of a mux log, from a file and from a pipe" {
	run -0 --separate-stderr eet-wav -d wav "$golden/three.mux"
	[ "$(cd wav && echo *)" = "stream_7_20231114T221320.180Z_s3.wav stream_7_kitchen_20231114T221320.000Z_s1.wav stream_9_hall_20231114T221320.080Z_s2.wav" ]
	[ "$(stat -c %a wav wav/*_s1.wav | tr '\n' ' ')" = "750 640 " ]
	eet-rotate -q -t 0 out < "$golden/three.mux" > /dev/null
	for session in 1 2 3; do
		cmp wav/*_s$session.wav out/*_s$session.wav
	done
	cat "$golden/three.mux" | eet-wav -q -d piped
	diff -r wav piped
	no_leftovers
}

@test "wav: -d joins the segments of each recording of a spool and leaves growing ones alone" {
	local wav

	eet-rotate -q -t 0.1 out < "$golden/three.mux" > /dev/null
	[ "$(ls out/*.eet | wc -l)" -gt 4 ]
	last=$(ls out/*_s1.eet | tail -n 1)
	mv "$last" "$last.part"
	run -0 --separate-stderr eet-wav -v -d wav out
	[[ $stderr == *"_s1.eet.part: left alone, it still grows"* ]]
	eet-wav -q -d whole "$golden/three.mux"
	for session in 2 3; do
		cmp whole/*_s$session.wav wav/*_s$session.wav
	done
	wav=$(echo wav/*_s1.wav)
	[ "$(size "$wav")" -lt "$(size whole/*_s1.wav)" ]
	samples "$wav" | cmp -n "$(samples "$wav" | wc -c)" - <(samples whole/*_s1.wav)
	# Operands of any order and kind: a glob, a directory with slashes behind it, and twice the same.
	find out -name "*.eet" | sort -r | xargs eet-wav -q -d glob
	eet-wav -q -d slash out// out "$(find out -name "*.eet" | head -n 1)"
	diff -r wav glob
	diff -r wav slash
}

@test "wav: -d never overwrites, and writes the others" {
	eet-wav -q -d wav "$golden/three.mux"
	rm wav/*_s2.wav
	cp -r wav before
	run -1 --separate-stderr eet-wav -q -d wav "$golden/three.mux"
	[ "$(grep -c 'File exists$' <<< "$stderr")" = 2 ]
	[[ $stderr == *"eet-wav: wav/stream_7_kitchen_20231114T221320.000Z_s1.wav: File exists"* ]]
	[ "$(ls wav | wc -l)" = 3 ]
	rm wav/*_s2.wav
	diff -r before wav
	no_leftovers
}

@test "wav: -d calls other frame logs by their own names, and tells takes that differ apart" {
	mkdir in
	pcm_log 7 8000 1 10 0 3 > in/a.eet
	pcm_log 7 8000 1 10 3 3 > in/b.c.eet
	{ cat in/a.eet; pcm_log 7 8000 1 10 3 1; pcm_log 9 8000 1 10 0 5; } > in/many.log
	run -0 --separate-stderr eet-wav -d wav in/a.eet in/b.c.eet in/many.log
	[ "$(cd wav && echo *)" = "a.wav b.c.wav many.wav many_s3.wav" ]
	[ "$(soxi -s wav/many.wav wav/many_s3.wav | tr '\n' ' ')" = "40 50 " ]
	# The .eet files of a directory, whatever they are called; standard input has no name.
	eet-wav -d again in
	[ "$(cd again && echo *)" = "a.wav b.c.wav" ]
	eet-wav -d stdin < in/a.eet
	[ "$(cd stdin && echo *)" = stream_7_19700101T000000.000Z_s1.wav ]
	cmp stdin/* wav/a.wav
}

@test "wav: -d makes no file of a session without frames" {
	two_sessions '0.4 CLOSE 1 1000' > log
	run -0 --separate-stderr eet-wav -d wav log
	[[ $stderr == *"session 2 (stream 7) has no frames"* ]]
	[ "$(cd wav && echo *)" = stream_7_hall_20260131T101500.000Z_s1.wav ]
}

@test "wav: -d takes hundreds of sessions at the same time" {
	{
		for ((i = 1; i <= 300; i++)); do echo "0 OPEN $i pcm id=$i n=10"; done
		for ((i = 1; i <= 300; i++)); do echo "1 FRAME $i"; done
		for ((i = 1; i <= 300; i++)); do echo "2 FRAME $i seq=1"; done
	} | "$logs" mux > log
	eet-wav -q -d wav log
	[ "$(ls wav | wc -l)" = 300 ]
	[ "$(soxi -s wav/* | sort -u)" = 20 ]
}

# --- a part of it ---

# slice WHOLE RATE BYTES FROM TO: the samples between two times in microseconds, of so many bytes.
slice() {
	local from=$(($4 * $2 / 1000000)) to=$(($5 * $2 / 1000000))

	samples "$1" | tail -c +$((from * $3 + 1)) | head -c $(((to - from) * $3))
}

@test "wav: --from and --to cut at any sample: in frames, at their borders, in silence" {
	local seq i=0 from to

	# 21 samples of 1 ms: a gap in their middle, then a repeat and a restart.
	handshake pcm 7 1000 2 3 > log
	for seq in 5000 5001 5004 5004 5005 0; do
		tail -c +$((48045 + 12 * i)) "$data/stereo_44k1.wav" | head -c 12 > payload
		frame pcm $seq payload >> log
		i=$((i + 1))
	done
	eet-wav -q -o whole.wav log
	samples whole.wav > whole
	[ "$(size whole)" = 84 ]
	for ((from = 0; from < 22; from++)); do
		for ((to = from + 1; to <= 23; to++)); do
			eet-wav -q --from ${from}ms --to ${to}ms -o "$from-$to.wav" log
			cat log | eet-wav -q --from ${from}ms --to ${to}ms | tail -c +45 >> streamed
			tail -c +$((4 * from + 1)) whole | head -c $((4 * (to - from))) >> expected
			echo "$from-$to.wav" >> names
		done
	done
	xargs "$logs" wav < names | cmp expected -
	cmp expected streamed
	[ "$(wc -l < names)" -gt 250 ]
	# Either alone, and with gaps that are left out.
	eet-wav -q --from 0.0055 log > tail.wav
	eet-wav -q --to 5.5ms log > head.wav
	samples head.wav tail.wav | cmp - whole
	eet-wav -q --gaps skip --from 5ms --to 8ms log > skipped.wav
	eet-wav -q --gaps skip log > short.wav
	slice short.wav 1000 4 5000 8000 | cmp - <(samples skipped.wav)
}

@test "wav: --from and --to: every layout, file and pipe, rounded down to the sample" {
	local log layout rate channels range

	while IFS=$'\t' read -r log _ layout rate channels _; do
		[ "$log" != log ] || continue
		eet-wav -q "$golden/$log" > whole.wav
		for range in 30513:170051 0:20000 99999:100000; do
			echo "$log $range"
			slice whole.wav "$rate" $((2 * channels)) ${range/:/ } > expected
			set -- --from "$(us ${range%:*})" --to "$(us ${range#*:})"
			eet-wav -q "$@" "$golden/$log" > cut.wav
			samples cut.wav | cmp expected -
			cat "$golden/$log" | eet-wav -q "$@" -o piped.wav
			cmp cut.wav piped.wav
			[ "$layout" != bare ] || continue
			cat "$golden/$log" | eet-wav -q "$@" | tail -c +45 | cmp expected -
		done
	done < "$golden/expected.tsv"
	[ -s expected ]
}

# us MICROSECONDS: as seconds
us() {
	printf '%d.%06d' $(($1 / 1000000)) $(($1 % 1000000))
}

@test "wav: --from and --to count through joined segments and the gaps between them" {
	"$logs" bare "$data/speech_8k.wav" n=160 > log
	eet-rotate -q -t 0.5 out < log > /dev/null
	rm "$(ls out/*.eet | sed -n 2p)"
	eet-wav -q -o whole.wav out
	for range in 450000:1100000 500001:999999 0:3000000; do
		eet-wav -q --from "$(us ${range%:*})" --to "$(us ${range#*:})" out > cut.wav
		slice whole.wav 8000 2 ${range/:/ } | cmp - <(samples cut.wav)
	done
	# Segments behind it are not read.
	echo damaged > "$(ls out/*.eet | tail -n 1)"
	run -3 eet-wav -q -o damaged.wav out
	run -0 --separate-stderr eet-wav --to 1.2 -o cut.wav out
	[ "$(soxi -s cut.wav)" = 9600 ]
}

@test "wav: --from and --to as times, of a frame log, a mux log and a segment" {
	local start=1769854500250 log

	{ handshake pcm 7 8000 1 800 $start; pcm_frames 1 800 0 10; } > frames.log
	"$logs" mux <<-SCRIPT > mux.log
		0 OPEN 1 pcm id=7 n=800 rate=8000 ts=99
		0.25 FRAME 1 count=10
	SCRIPT
	# A segment's time is its name's, whatever the sender's clock said.
	{ handshake pcm 7 8000 1 800 12345; pcm_frames 1 800 0 10; } \
		> stream_7_20260131T101500.250Z_s1.eet
	for log in frames.log mux.log stream_7_20260131T101500.250Z_s1.eet; do
		echo "$log"
		eet-wav -q --from 0.25 --to 0.75 $log > position.wav
		[ "$(soxi -s position.wav)" = 4000 ]
		eet-wav -q --from 2026-01-31T10:15:00.5Z --to 2026-01-31T10:15:01Z $log > time.wav
		cmp position.wav time.wav
		eet-wav -q --from 0.25 --to 2026-01-31T10:15:01.000000Z $log | cmp position.wav -
		eet-wav -q --from 1999-12-31T23:59:59Z $log > all.wav
		eet-wav -q $log | cmp all.wav -
	done
}

@test "wav: -d cuts every recording by the same range" {
	local wav

	eet-wav -q -d whole "$golden/three.mux"
	eet-rotate -q -t 0.1 out < "$golden/three.mux" > /dev/null
	run -0 --separate-stderr eet-wav -q --from 0.0501 --to 0.15 -d cut out
	run -0 --separate-stderr eet-wav -q --from 0.0501 --to 0.15 -d mux "$golden/three.mux"
	diff -r cut mux
	for wav in whole/*; do
		slice "$wav" "$(soxi -r "$wav")" $((2 * $(soxi -c "$wav"))) 50100 150000 |
			cmp - <(samples "cut/${wav#*/}")
	done
	[ "$(ls whole cut | grep -c wav)" = 6 ]
	# All of a log is read: damage is told wherever it is.
	run -3 --separate-stderr eet-wav --layout state --to 20ms -d damaged "$golden/badlen.eet"
	[ "$(soxi -d damaged/*)" = 00:00:00.02 ]
	run -0 --separate-stderr eet-wav --layout state --to 20ms -o out.wav "$golden/badlen.eet"
	cmp out.wav damaged/*
}

@test "wav: a range with nothing in it gives an empty WAV, and a word about it" {
	pcm_log 7 8000 1 160 0 5 > log
	for range in "--from 0.1" "--from 1h --to 2h" "--to 1970-01-01T00:00:00Z" "--from 0.00001 --to 0.00002" \
		"--from 1970-01-01T00:00:00.09Z --to 50ms"; do
		# shellcheck disable=SC2086 # several arguments
		run -0 --separate-stderr eet-wav $range -o out.wav log
		[ "$stderr" = "eet-wav: out.wav: nothing lies between --from and --to" ]
		[ "$(size out.wav) $(soxi -s out.wav)" = "44 0" ]
	done
	run -0 --separate-stderr eet-wav -q --from 1h -o out.wav log
	[ -z "$stderr" ]
}

@test "wav: reading a pipe ends at --to, though its writer goes on" {
	mkfifo in
	pcm_log 7 8000 1 160 0 3 | eet-wav | tail -c +525 | head -c 320 > expected
	for command in 'eet-wav --from 30ms --to 50ms | cat > out' \
		'eet-wav --from 30ms --to 50ms -o out; samples out' \
		'eet-wav --from 30ms --to 50ms > out; samples out'; do
		echo "$command"
		in=in spawn wav eval "$command"
		exec 7> in
		pcm_log 7 8000 1 160 0 3 >&7
		finish wav
		exec 7>&-
		[ "$status" = 0 ]
		tail -c +45 out | cmp expected -
		rm out
	done
	no_leftovers
}

# --- damage ---

# cuts LOG OFFSET...: what eet-wav makes of a log cut after each byte.  The offsets are where records
# end, the first one the OPEN's.
cuts() {
	local log=$1 first=$2 n rc expected

	shift
	for n; do
		head -c "$n" "$log" > cut.log
		eet-wav -q -o "$n.wav" cut.log
		samples "$n.wav" | cmp -n $(($(size "$n.wav") - 44)) - <(samples whole.wav)
		size "$n.wav" >> sizes
	done
	for ((n = 0; n < $(size "$log"); n++)); do
		head -c "$n" "$log" > cut.log
		rc=0
		eet-wav -q cut.log > cut.wav 2> message || rc=$?
		if [[ " $* " == *" $n "* ]]; then
			[ "$rc" = 0 ]
			expected=$n.wav
			continue
		fi
		echo "offset $n: exit $rc"
		[ "$rc" = 3 ]
		grep -q '^eet-wav: cut.log: ' message
		if [ "$n" -lt "$first" ]; then
			[ ! -s cut.wav ]
			continue
		fi
		cmp cut.wav "$expected"
		[ $((n % 7)) != 0 ] || {
			rc=0
			eet-wav -q < <(cat cut.log) 2> message | cat > piped.wav || rc=$?
			cmp -i 44 cut.wav piped.wav
			grep -q '^eet-wav: standard input: ' message
		}
	done
}

@test "wav: a frame log cut at any byte: 3, and all whole frames before it" {
	pcm_log 7 8000 1 4 0 3 > log
	eet-wav -o whole.wav log
	cuts log 32 52 72
	[ "$(tr '\n' ' ' < sizes)" = "44 52 60 " ]
}

@test "wav: a mux log cut at any byte: 3, and all whole frames before it" {
	"$logs" mux <<-SCRIPT > log
		0 OPEN 1 adpcm n=8
		0 FRAME 1 count=2
		1 CLOSE 1 1000 bye
	SCRIPT
	eet-wav -o whole.wav log
	cuts log 56 100 144
	[ "$(tr '\n' ' ' < sizes)" = "44 60 76 " ]
}

@test "wav: damage is told with its place, and what came before is written" {
	run -3 --separate-stderr eet-wav -o out.wav "$golden/badlen.eet"
	[ "${stderr_lines[0]}" = "eet-wav: $golden/badlen.eet: offset 1264: frame length 1000000, at most 164" ]
	[ "$(soxi -s out.wav)" = 2240 ]
	run -3 --separate-stderr bash -c "cat '$golden/badlen.eet' | eet-wav | tail -c +45 | cmp - <(tail -c +45 out.wav); exit \${PIPESTATUS[1]}"
	[ "${stderr_lines[0]}" = "eet-wav: standard input: offset 1264: frame length 1000000, at most 164" ]
	run -3 --separate-stderr eet-wav -o index.wav "$golden/badindex.eet"
	[[ $stderr == *"badindex.eet: offset 736: frame seq 4: ADPCM step index, at most 88, decoded as that"* ]]
	[ "$(soxi -s index.wav)" = 6400 ]
	run -3 --separate-stderr eet-wav -d damaged "$golden/garbage.mux"
	[[ $stderr == *"garbage.mux: offset "*": magic "* ]]
}

@test "wav: --recover goes on behind the damage" {
	run -3 --separate-stderr eet-wav --recover -o out.wav "$golden/badmagic.eet"
	[[ $stderr == *"offset 1264: magic 0x58585858"*"bytes skipped, up to offset 1440"* ]]
	eet-wav -q -o whole.wav "$golden/sine_adpcm.eet"
	[ "$(soxi -s out.wav)" -gt 2240 ]
	run -3 eet-wav -q --recover -d recovered "$golden/garbage.mux"
	eet-wav -q -d whole "$golden/three.mux"
	diff -r whole recovered
}

@test "wav: a log without handshake needs to be described" {
	pcm_log 7 8000 2 10 0 3 > log
	tail -c +33 log > headless
	run -3 --separate-stderr eet-wav headless
	[[ $stderr == *"headless: offset 0: a frame without a handshake before it: give -r RATE -c CHANNELS -n FRAME_SAMPLES"* ]]
	eet-wav -r 8000 -c 2 -n 10 headless | cmp - <(eet-wav log)
	eet-wav -r 8000 -c 2 -n 10 --codec pcm headless | cmp - <(eet-wav log)
	run -3 --separate-stderr eet-wav -r 8000 -c 2 -n 10 --codec adpcm headless
}

# --- failures of the system ---

@test "wav: a full disk is 1, from a file and from a pipe" {
	pcm_log 7 8000 1 160 0 5 > log
	run -1 --separate-stderr bash -c 'eet-wav log > /dev/full'
	[ "$stderr" = "eet-wav: standard output: No space left on device" ]
	run -1 --separate-stderr bash -c 'cat log | eet-wav > /dev/full'
	[ "$stderr" = "eet-wav: standard output: No space left on device" ]
	run -1 --separate-stderr eet-wav -o /dev/full log
	[ "$stderr" = "eet-wav: /dev/full: No space left on device" ]
	[ -c /dev/full ]
}

@test "wav: temporary files go to TMPDIR and nowhere else" {
	pcm_log 7 8000 1 160 0 5 > log
	eet-wav -o file.wav log
	run -1 --separate-stderr bash -c 'cat log | TMPDIR=$PWD/gone eet-wav > piped.wav'
	[[ $stderr == *"$PWD/gone: "*"No such file or directory" ]]
	[ ! -s piped.wav ]
	cat log | TMPDIR='' eet-wav > piped.wav # as good as unset
	cmp file.wav piped.wav
}

@test "wav: without TMPDIR temporary files go to /tmp if /var/tmp cannot be written to or is missing" {
	unshare -rm true 2> /dev/null || skip "needs file systems of its own"
	pcm_log 7 8000 1 160 0 5 > log
	eet-wav -o file.wav log
	unset TMPDIR
	# shellcheck disable=SC2016 # is for the inner shell
	unshare -rm bash -euc 'mount -t tmpfs -o ro none /var/tmp
		cat log | eet-wav > read-only.wav'
	cmp file.wav read-only.wav
	unshare -rm bash -euc 'mount -t tmpfs none /var
		cat log | eet-wav > missing.wav'
	cmp file.wav missing.wav
	cp "$EET_BIN/eet-wav" . # /tmp may be where all this is
	run -1 --separate-stderr unshare -rm bash -euc 'mount -t tmpfs -o ro none /var/tmp
		mount -t tmpfs -o ro none /tmp
		cat log | ./eet-wav > refused.wav'
	[[ $stderr == *"/var/tmp, /tmp: "*"Read-only file system" ]]
}

@test "wav: a reader that goes away is 1, from a file and from a pipe" {
	"$logs" pcm "$data/stereo_44k1.wav" n=441 > log
	run -1 --separate-stderr bash -c 'eet-wav log | head -c 10 > /dev/null; exit ${PIPESTATUS[0]}'
	[ "$stderr" = "eet-wav: standard output: Broken pipe" ]
	run -1 --separate-stderr bash -c 'cat log | eet-wav | head -c 10 > /dev/null; exit ${PIPESTATUS[1]}'
	[ "$stderr" = "eet-wav: standard output: Broken pipe" ]
	run -1 --separate-stderr bash -c 'eet-wav log >&-'
	[[ $stderr == "eet-wav: standard output: "* ]]
}

@test "wav: a file that can't be read is 1, with its name, and nothing is written" {
	pcm_log 7 8000 1 160 0 5 > log
	run -1 --separate-stderr eet-wav -o out.wav log missing.eet
	[ "$stderr" = "eet-wav: missing.eet: No such file or directory" ]
	[ ! -e out.wav ]
	run -1 --separate-stderr eet-wav -d wav missing.eet log
	[ "$(cd wav && echo *)" = log.wav ]
	mkdir dir.eet
	run -3 --separate-stderr eet-wav dir.eet
	[ "$stderr" = "eet-wav: dir.eet: no complete frame log in it" ]
	run -0 --separate-stderr eet-wav -d wav dir.eet
	run -1 --separate-stderr eet-wav -o nowhere/out.wav log
	[[ $stderr == "eet-wav: nowhere/out.wav: No such file or directory" ]]
	run -1 --separate-stderr eet-wav -o dir.eet log
	[[ $stderr == "eet-wav: dir.eet: Is a directory" ]]
	run -1 --separate-stderr eet-wav -d nowhere/wav log
	run -1 --separate-stderr bash -c 'eet-wav -o out.wav <&-'
	[[ $stderr == "eet-wav: standard input"* ]]
}

@test "wav: -o replaces a file only when the new one is whole" {
	"$logs" pcm "$data/stereo_44k1.wav" n=441 > log
	echo old > out.wav
	chmod 604 out.wav
	ln -s out.wav link.wav
	for input in 'log' '<(cat log)'; do
		# 100 KiB: not enough for it.
		run -1 --separate-stderr bash -c "trap '' XFSZ; ulimit -f 100; eet-wav -o out.wav $input"
		[[ $stderr == "eet-wav: "*": File too large" ]]
		[ "$(cat out.wav)" = old ]
		no_leftovers
	done
	eet-wav -o link.wav log
	[ -L link.wav ]
	[ "$(stat -c '%a %s' out.wav)" = "604 264644" ]
	(umask 027 && eet-wav -o new.wav log)
	[ "$(stat -c %a new.wav)" = 640 ]
	cmp new.wav out.wav
	no_leftovers
}

@test "wav: -o and -d killed at any moment: no part of a file, under whatever name, is left" {
	py > /dev/null 2>&1 << 'EOF' || skip "needs files without a name (O_TMPFILE)"
import os
os.open(".", os.O_RDWR | os.O_TMPFILE)
EOF
	mkdir wav
	for output in '-o wav/x.wav' '-d wav'; do
		rm -f in
		mkfifo in
		# shellcheck disable=SC2086 # an option and its argument
		in=in spawn wav eet-wav $output -
		exec 7> in
		if [ "$output" = '-d wav' ]; then
			head -c -100 "$golden/three.mux" >&7
		else
			pcm_log 7 8000 1 160 0 1 >&7
		fi
		wait_for writes_unnamed "$pid"
		kill -KILL "$pid"
		exec 7>&-
		finish wav
		[ "$status" = 137 ]
		[ -z "$(ls -A wav)" ]
	done
}

# writes_unnamed PID: it writes to a file that has no name.
writes_unnamed() {
	find "/proc/$1/fd" -lname "$PWD/wav/*(deleted)" | grep -q .
}

@test "wav: -o and -d are the same where no file can be without a name" {
	local named=(strace -f -o calls -P wav -e inject=openat:error=EOPNOTSUPP)

	mkdir wav
	echo old > wav/old.wav
	eet-wav -o unnamed.wav "$golden/stereo_pcm.eet"
	"${named[@]}" eet-wav -o wav/old.wav "$golden/stereo_pcm.eet"
	"${named[@]}" eet-wav -o wav/new.wav "$golden/stereo_pcm.eet"
	"${named[@]}" eet-wav -q -d wav "$golden/stereo_pcm.eet"
	grep -q 'EOPNOTSUPP.*INJECTED' calls
	[ "$(ls -A wav | wc -l)" = 3 ]
	for file in wav/*; do
		cmp unnamed.wav "$file"
	done
	no_leftovers
}

@test "wav: memory does not grow with the log" {
	(ulimit -v 100000 && eet-wav --version) > /dev/null 2>&1 || skip "no room for a sanitizer"
	head -c 1920000 /dev/zero > payload
	{
		handshake pcm 7 48000 64 15000
		for ((i = 0; i < 40; i++)); do frame pcm $i payload; done
	} > log
	(
		ulimit -v 60000
		eet-wav log | wc -c > exact
		cat log | eet-wav | wc -c > streamed
		eet-wav -o out.wav <(cat log)
	)
	[ "$(cat exact) $(cat streamed) $(size out.wav)" = "76800044 76800044 76800044" ]
}

# --- while the input grows ---

@test "wav: from pipe to pipe, output flows with the input" {
	mkfifo in out
	in=in out=out spawn wav eet-wav -v
	exec 7> in 8< out
	pcm_log 7 8000 1 160 0 1 >&7
	[ "$(head -c $((44 + 320)) <&8 | wc -c)" = 364 ]
	pcm_frames 1 160 1 1 >&7
	[ "$(head -c 320 <&8 | tr -d 0)" = 1 ]
	exec 7>&-
	finish wav
	[ "$status" = 0 ]
	[ "$(wc -c <&8)" = 0 ]
	exec 8<&-
}

@test "wav: live ADPCM: silence is heard at once, sound after 64 blocks" {
	"$logs" state "$data/speech_8k.wav" n=160 > sound
	mkfifo in out
	in=in out=out spawn wav eet-wav -v
	exec 7> in 8< out
	handshake adpcm 7 8000 1 160 >&7
	head -c 84 /dev/zero > payload
	for i in 0 1 2; do
		frame adpcm $i payload >&7
	done
	[ "$(head -c $((44 + 3 * 320)) <&8 | wc -c)" = 1004 ]
	run ! grep -q layout wav.err
	# 64 blocks of sound.
	tail -c +$((33 + 96 * 20)) sound | head -c $((96 * 64)) > blocks
	cat blocks >&7
	[ "$(head -c $((64 * 320)) <&8 | wc -c)" = 20480 ]
	grep -q 'ADPCM layout state (chain)' wav.err
	exec 7>&- 8<&-
	finish wav
}

@test "wav: a signal: it reads on to the end of its input" {
	for signal in TERM INT HUP; do
		rm -f in
		mkfifo in
		in=in out=out.wav spawn wav eet-wav
		exec 7> in
		pcm_log 7 8000 1 160 0 1 >&7
		wait_for reading "$pid"
		kill -s $signal "$pid"
		pcm_frames 1 160 1 1 >&7
		exec 7>&-
		finish wav
		[ "$status" = 0 ]
		[ "$(soxi -s out.wav)" = 320 ]
	done
}

# reading PID: it waits for input; so it has taken its signals over.
reading() {
	[[ $(cat "/proc/$1/wchan") == *poll* ]]
}

@test "wav: a second signal, or 5 seconds: it ends with what there is" {
	for signals in "TERM TERM" INT; do
		rm -f in
		mkfifo in
		in=in spawn wav eet-wav -o out.wav
		exec 7> in
		pcm_log 7 8000 1 160 0 1 >&7
		pcm_frames 1 160 1 1 | head -c 200 >&7
		wait_for reading "$pid"
		began=${EPOCHREALTIME/./}
		for signal in $signals; do
			kill -s "$signal" "$pid"
			[ "$signals" = INT ] || wait_for taken "$pid"
		done
		within 9 gone "$pid"
		finish wav
		[ "$status" = 3 ]
		exec 7>&-
		grep -q '^eet-wav: standard input: offset 364: stopped here, the input has not ended$' wav.err
		[ "$(soxi -s out.wav)" = 160 ]
	done
	[ "$(since "$began")" -ge 4500000 ]
	no_leftovers
}

@test "wav: a signal ends reading of a pipe into a pipe as well" {
	mkfifo in
	in=in out=out.pipe spawn wav bash -c 'eet-wav | cat'
	exec 7> in
	pcm_log 7 8000 1 160 0 1 >&7
	wait_for at_least 364 out.pipe
	child=$(pgrep -P "$pid" -x eet-wav)
	kill -TERM "$child"
	wait_for taken "$child"
	kill -TERM "$child"
	finish wav
	exec 7>&-
	grep -q 'offset 364: stopped here' wav.err
	[ "$(size out.pipe)" = 364 ]
}

@test "wav: an output whose reader takes nothing does not keep it for ever" {
	"$logs" pcm "$data/stereo_44k1.wav" n=441 > log
	mkfifo out
	exec 8<> out
	out=out spawn wav eet-wav log
	wait_for writing "$pid"
	for ((i = 0; i < 3; i++)); do
		kill -TERM "$pid"
		wait_for taken "$pid"
	done
	finish wav
	exec 8<&-
	[ "$status" = 1 ]
	[ "$(cat wav.err)" = "eet-wav: the output's reader takes nothing" ]
}

# writing PID: it waits for room in a pipe.
writing() {
	[[ $(cat "/proc/$1/wchan") == *pipe_write* ]]
}

@test "wav: -d and a signal: what came is written, what is left out is named" {
	pcm_log 7 8000 1 160 0 2 > a.eet
	mkfifo in b.fifo
	in=in spawn wav eet-wav -d wav a.eet - b.fifo
	exec 7> in
	pcm_log 9 8000 1 160 0 3 >&7
	wait_for reading "$pid"
	kill -TERM "$pid"
	wait_for taken "$pid"
	kill -TERM "$pid"
	finish wav
	exec 7>&-
	[ "$status" = 3 ]
	[ "$(cat wav.err)" = "eet-wav: standard input: offset 1028: stopped here, the input has not ended
eet-wav: b.fifo: not read" ]
	[ "$(soxi -s wav/* | tr '\n' ' ')" = "320 480 " ]
}

@test "wav: -d and a signal: a pipe behind the one that has ended is not read for ever" {
	mkfifo a.fifo b.fifo
	spawn wav eet-wav -d wav a.fifo b.fifo
	exec 7> a.fifo
	pcm_log 7 8000 1 160 0 2 >&7
	wait_for reading "$pid"
	kill -TERM "$pid"
	wait_for taken "$pid"
	exec 7>&-
	exec 7> b.fifo
	pcm_log 9 8000 1 160 0 3 >&7
	wait_for reading "$pid"
	kill -TERM "$pid" # the second one
	within 4 gone "$pid"
	finish wav
	exec 7>&-
	[ "$status" = 3 ]
	[ "$(cat wav.err)" = "eet-wav: b.fifo: offset 1028: stopped here, the input has not ended" ]
	[ "$(soxi -s wav/a.wav wav/b.wav | head -n 2 | tr '\n' ' ')" = "320 480 " ]
}

@test "wav: -d: what can't be read is named, and the others are written" {
	local first=out/stream_7_20260131T101500.000Z_s1.eet second=out/stream_7_20260131T101500.000Z_s2.eet
	local broken=(strace -f -o calls -P "$PWD/$second" -e 'inject=read,pread64,readv,preadv:error=EIO')

	mkdir out
	pcm_log 7 8000 1 160 0 2 | tee $second > $first
	pcm_log 7 8000 1 160 0 3 > other.eet
	run -1 --separate-stderr "${broken[@]}" eet-wav -d wav out other.eet
	[ "$stderr" = "eet-wav: $second: offset 0: Input/output error" ]
	[ "$(soxi -s wav/*_s1.wav wav/other.wav | head -n 2 | tr '\n' ' ')" = "320 480 " ]
	[ "$(find wav -type f | wc -l)" = 2 ]
	run -1 "${broken[@]}" eet-wav -o one.wav out
	[ ! -e one.wav ]
}

@test "wav: -d of what holds no stream is no error" {
	mkdir out
	: > empty
	run -0 --separate-stderr eet-wav -d wav empty out
	[ "$stderr" = "eet-wav: out: no complete frame log in it
eet-wav: empty: no stream in it" ]
	[ -z "$(ls wav)" ]
	run -3 --separate-stderr eet-wav -d wav - <<< "no log"
	[[ $stderr == *"neither a mux log nor a frame log"*"standard input: no stream in it" ]]
	# One WAV can't be made of nothing.
	for input in empty out; do
		run -3 eet-wav -o one.wav $input
	done
	[ ! -e one.wav ]
}

@test "wav: -d: names of one run go on to the next millisecond, those before are left alone" {
	cat "$golden/three.mux" "$golden/three.mux" > joined.mux
	eet-wav -q -d once "$golden/three.mux"
	run -0 eet-wav -q -d wav joined.mux
	eet-demux -q -d split joined.mux
	diff <(cd wav && ls) <(cd split && ls | sed 's/eet$/wav/')
	for file in once/*; do
		cmp "$file" "wav/${file#once/}"
	done
	[ "$(cd wav && md5sum -- * | cut -d' ' -f1 | sort | uniq -c | grep -c '^ *2 ')" = 3 ]
	run -1 --separate-stderr eet-wav -q -d once joined.mux
	[ "$(grep -c 'File exists$' <<< "$stderr")" = 6 ]
	[ "$(find once -type f | wc -l)" = 3 ]
	# Two spools, each with a first session of that moment.
	for dir in out1 out2; do
		mkdir $dir
		pcm_log 7 8000 1 160 0 2 > $dir/stream_7_20260131T101500.999Z_s1.eet
	done
	run -0 eet-wav -q -d spools out1 out2
	[ "$(cd spools && echo *)" = "stream_7_20260131T101500.999Z_s1.wav stream_7_20260131T101501.000Z_s1.wav" ]
}

@test "wav: garbage without end is noticed at its beginning" {
	for arguments in "-o x.wav" "-d wav"; do
		# shellcheck disable=SC2086 # several arguments
		run -3 --separate-stderr eet-wav $arguments < <(yes garbage)
		[[ $stderr == "eet-wav: standard input: offset 0: magic 0x62726167: neither "* ]]
	done
}

# --- the program ---

@test "wav: help and version" {
	run -0 --separate-stderr eet-wav --help
	[[ $output == "Usage: eet-wav "*"--gaps"* ]]
	[ -z "$stderr" ]
	run -0 eet-wav -V
	[[ $output == "eet-wav "* ]]
}

@test "wav: usage errors are 2, and nothing is done" {
	pcm_log 7 8000 1 160 0 1 > log
	for arguments in "--no-such-option log" "-o" "-o a -d b log" "--gaps loud log" "--layout x log" \
		"-r 8000 log" "-r 0 -c 1 -n 1 log" "-r 768001 -c 1 -n 1 log" "-c 65 -r 1 -n 1 log" \
		"-n 65536 -r 1 -c 1 log" "--codec mp3 log" "--codec pcm log" "- -" \
		"--from 2 --to 2s log" "--from 1h --to 59m log" "--to 0 log" "--from -1 log" "--to soon log" \
		"--from 0.0000001 log" "--to 2026-01-31 log" "--to 2026-01-31T10:15:00 log" \
		"--to 2026-02-30T10:15:00Z log" "--to 2026-1-31T10:15:00Z log" "--to 2026-01-31T10:15:00.Z log" \
		"--to 2026-01-31T10:15:00.1234567Z log" "--to 1969-12-31T23:59:59Z log" \
		"--from 2026-01-31T10:15:00Z --to 2026-01-31T10:15:00.000Z log"; do
		echo "$arguments"
		# shellcheck disable=SC2086 # several arguments
		run -2 --separate-stderr eet-wav -o out.wav $arguments < log
		[[ $stderr == "eet-wav: "*"try 'eet-wav --help'"* ]]
		[ ! -e out.wav ]
	done
}

@test "wav: nothing binary to a terminal" {
	pcm_log 7 8000 1 160 0 1 > log
	run -0 script -qec 'eet-wav log; echo "exit $?"' /dev/null
	[[ $output == *"eet-wav: "*"terminal"*"-o FILE"* ]]
	[[ $output == *"exit 2"* ]]
	[[ $output != *RIFF* ]]
	run -0 script -qec 'eet-wav -o /dev/tty log; echo "exit $?"' /dev/null
	[[ $output != *RIFF* ]]
	[[ $output == *"exit 2"* ]]
}
