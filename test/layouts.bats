#!/usr/bin/env bats
# ADPCM as real senders lay it out, through the server to the WAV, without being told.
# shellcheck disable=SC2035,SC2154 # names of our own; the helper and `run` set variables
load helper

logs=$EET_ROOT/test/logs.py

# Logs called LAYOUT.KIND.eet, each with a stream_id of its own.
setup_file() {
	cd "$BATS_FILE_TMPDIR" || return
	local data=$EET_ROOT/data wav sender id=0

	cp "$data/speech_8k.wav" mono.wav
	sox -D "$data/stereo_44k1.wav" stereo.wav rate 8000
	sox mono.wav quiet-mono.wav pad 1
	sox stereo.wav quiet-stereo.wav pad 1
	for wav in mono stereo quiet-mono quiet-stereo; do
		# 505 samples: 256 bytes for each channel
		ffmpeg -loglevel error -i $wav.wav -c:a adpcm_ima_wav \
			-block_size $((256 * $(soxi -c $wav.wav))) ffmpeg.wav < /dev/null
		sox -D $wav.wav -e ima-adpcm sox.wav
		sndfile-convert -ima-adpcm $wav.wav sndfile.wav > /dev/null
		for sender in ffmpeg sox sndfile; do
			"$logs" blocks $sender.wav id=$((++id)) > wav.$sender-$wav.eet
		done
		rm ffmpeg.wav
		"$logs" padded $wav.wav n=480 id=$((++id)) > wav.padded-$wav.eet
		"$logs" state $wav.wav n=320 id=$((++id)) > state.ours-$wav.eet
	done
	for wav in mono quiet-mono; do
		"$logs" state-high $wav.wav n=320 id=$((++id)) > state-high.audioop-$wav.eet
		"$logs" dvi4 $wav.wav n=320 id=$((++id)) > dvi4.audioop-$wav.eet
		"$logs" bare $wav.wav n=320 id=$((++id)) > bare.audioop-$wav.eet
	done
}

setup() {
	eet_setup
	cp "$BATS_FILE_TMPDIR"/*.eet .
}

send() {
	"$EET_ROOT/test/send.py" "$@"
}

# stream_id LOG
stream_id() {
	od -An -tu4 -j8 -N4 "$1" | tr -d ' '
}

# Each log's layout is the one in its name, in all segments.
right_layouts() {
	local log

	for log in *.eet; do
		echo "$log"
		[ "$(jq -r "select(.event == \"segment\" and .stream_id == $(stream_id "$log")) | .layout" \
			out/index.jsonl | sort -u)" = "${log%%.*}" ]
	done
}

@test "layouts: a block of 505 samples has 256 bytes for each channel" {
	for log in wav.{ffmpeg,sndfile}-mono.eet; do
		[ "$(od -An -tu2 -j20 -N2 "$log")" -eq 505 ]
		[ "$(od -An -tu4 -j36 -N4 "$log")" -eq 256 ]
	done
	[ "$(od -An -tu2 -j20 -N2 wav.ffmpeg-stereo.eet)" -eq 505 ]
	[ "$(od -An -tu4 -j36 -N4 wav.ffmpeg-stereo.eet)" -eq 512 ]
}

@test "layouts: blocks of real senders are known, and decoded as sox decodes them" {
	start_listen --spool out -t 0
	run -0 send "$url" *.eet
	stop listen
	[ "$status" = 0 ]
	right_layouts
	"$logs" spool out *.eet
}

@test "layouts: the segments of a recording, joined, sound as the whole, whatever each alone may tell" {
	start_listen --spool out -s 6k
	run -0 send "$url" *.eet
	stop listen
	[ "$status" = 0 ]
	eet-wav -q -d wav out
	for log in *.eet; do
		echo "$log"
		eet-wav -q "$log" | cmp - wav/stream_"$(stream_id "$log")"_*.wav
		"$logs" wav wav/stream_"$(stream_id "$log")"_*.wav | cmp - <("$logs" samples "$log" "${log%%.*}")
	done
}

@test "layouts: our own blocks of any length: mono, stereo, six channels" {
	local id=0 n

	rm *.eet
	sox -R -D -r 16000 -n -b 16 -c 1 long-1.wav synth 140000s brownnoise gain -6
	sox -R -D -r 16000 -n -b 16 -c 2 long-2.wav synth 70000s pinknoise brownnoise gain -6
	sox -R -D -r 16000 -n -b 16 -c 6 long-6.wav synth 66000s brownnoise gain -6
	for ch in 1 2 6; do
		sox -D long-$ch.wav short-$ch.wav trim 0 2001s
		for n in 1 2 7 9 160 320 441; do
			"$logs" state short-$ch.wav n=$n id=$((++id)) > state.$n-$ch.eet
		done
		"$logs" state long-$ch.wav n=65535 id=$((++id)) > state.65535-$ch.eet
	done
	start_listen --spool out -t 0
	run -0 send "$url" *.eet
	stop listen
	[ "$status" = 0 ]
	right_layouts
	"$logs" spool out *.eet
}

@test "layouts: blocks that fit none are told once for each session, by every program, and are unknown in the index" {
	local said="fit no known layout" program

	"$logs" swapped "$EET_ROOT/data/speech_8k.wav" n=160 id=1 > odd.eet
	"$logs" state "$EET_ROOT/data/speech_8k.wav" n=160 id=2 > even.eet
	run -0 --separate-stderr eet-rotate -t 0 -s 5k out < odd.eet
	[ "$(grep -c "$said" <<< "$stderr")" = 1 ]
	[[ $stderr == *--layout* ]]
	[ "$(jq -r 'select(.event == "session") | .layout' out/index.jsonl)" = unknown ]
	[ "$(jq -r 'select(.event == "segment" and .frames > 16) | .layout' out/index.jsonl | uniq)" = unknown ]
	[ "$(grep -c '"segment".*"unknown"' out/index.jsonl)" -gt 2 ]

	# As a recovery of it; as a file; through a pipe.
	mkdir left
	cp odd.eet left/stream_1_20260131T101500.000Z_s1.eet.part
	run -0 --separate-stderr eet-rotate left < even.eet
	[ "$(grep -c "$said" <<< "$stderr")" = 1 ]
	[ "$(jq -r 'select(.event == "segment") | .layout' left/index.jsonl | sort | uniq -c | awk '{ print $2 }' | paste -s -d ' ')" = "state unknown" ]
	run -0 --separate-stderr eet-wav -o file.wav odd.eet
	[ "$(grep -c "$said" <<< "$stderr")" = 1 ]
	run -0 --separate-stderr bash -c 'cat odd.eet | eet-wav | tail -c +45 > pipe.raw'
	[ "$(grep -c "$said" <<< "$stderr")" = 1 ]
	"$logs" wav file.wav | cmp - pipe.raw
	for program in "eet-info odd.eet" "eet-adpcm -d odd.eet" "eet-adpcm -d < odd.eet" "cat odd.eet | eet-adpcm -d"; do
		run -0 --separate-stderr bash -c "$program > out.log"
		[ "$(grep -c "$said" <<< "$stderr")" = 1 ]
	done
	cmp out.log <(eet-adpcm -d --layout state odd.eet)
	[ "$(eet-info --json odd.eet | jq -r 'select(.event == "stream") | .layout')" = unknown ]
	eet-info odd.eet 2> /dev/null | grep -q 'unknown (length)'

	# Who says what they are hears nothing of it; nor is it said of blocks that fit.
	run -0 --separate-stderr eet-wav --layout state-high -o given.wav odd.eet
	[[ $stderr != *"$said"* ]]
	run -0 --separate-stderr eet-rotate even < even.eet
	[[ $stderr != *"$said"* ]]
	run -0 --separate-stderr eet-rotate -q quiet < odd.eet
	[ -z "$stderr" ]
}

@test "layouts: a pipe's reader finds what a file's does, from whole blocks to the first short one" {
	local layout n cut

	# The last block of a log may be short; the one before it speaks.
	for layout in bare:80 padded:36; do
		n=$([ "${layout%:*}" = bare ] && echo 160 || echo 65)
		"$logs" "${layout%:*}" "$EET_ROOT/data/speech_8k.wav" n="$n" id=1 > whole.eet
		for blocks in 1 2 63 64 65; do
			head -c $((32 + blocks * (12 + ${layout#*:}))) whole.eet > some.eet
			{
				cat some.eet
				le32 0x41445046 20 "$blocks"
				head -c 20 /dev/zero
			} > short.eet
			{
				cat short.eet
				tail -c +$((33 + blocks * (12 + ${layout#*:}))) whole.eet |
					head -c $((12 + ${layout#*:}))
			} > inside.eet
			for cut in some short inside; do
				# Where bare ends, headers are looked for that are none.
				eet-wav -q -o file.wav $cut.eet 2> /dev/null || [ $? = 3 ]
				cat $cut.eet | eet-wav -q | tail -c +45 | cmp - <("$logs" wav file.wav)
				eet-adpcm -q -d --raw $cut.eet | cmp - <("$logs" wav file.wav)
				cat $cut.eet | eet-adpcm -q -d --raw | cmp - <("$logs" wav file.wav)
			done
		done
	done
}

@test "layouts: leading silence is as long from a pipe as from a file, and no sound is taken for it" {
	local form n file

	sox "$EET_ROOT/data/speech_8k.wav" padded.wav pad 2 0
	for form in bare:160 padded:505 state:160 state-high:160; do
		n=${form#*:}
		"$logs" "${form%:*}" padded.wav n="$n" id=1 > "${form%:*}.eet"
	done
	# In the silence one block of sound, of which the next one that is there says nothing.
	{
		head -c $((32 + 4 * 96 + 16)) "$EET_ROOT/data/logs/layout-dvi4.eet"
		head -c 80 /dev/zero | tr '\0' w
		tail -c +$((32 + 6 * 96 + 1)) "$EET_ROOT/data/logs/layout-dvi4.eet"
	} > one.eet
	for file in *.eet; do
		eet-wav -q -o file.wav "$file"
		eet-wav -q < <(cat "$file") | tail -c +45 | cmp - <("$logs" wav file.wav)
		eet-adpcm -q -d --raw < <(cat "$file") | cmp - <("$logs" wav file.wav)
	done
}

@test "layouts: a segment of one WAV block keeps its first sample" {
	"$logs" padded "$EET_ROOT/data/speech_8k.wav" n=65 id=1 | head -c $((32 + 12 + 36)) > one.eet
	eet-rotate -q out < one.eet
	[ "$(jq -r 'select(.event == "segment") | .layout' out/index.jsonl)" = wav ]
	"$logs" wav out/*.wav | cmp - <("$logs" samples one.eet wav)
	[ "$("$logs" wav out/*.wav | wc -c)" = 130 ]
}
