#!/usr/bin/env bats
# eet-info: what is in a log.
# Scripts for jq are quoted; names are of our making; the helper and `run` set variables.
# shellcheck disable=SC2010,SC2012,SC2016,SC2046,SC2154
load helper

setup() {
	eet_setup
	logs=$EET_ROOT/test/logs.py
	golden=$EET_ROOT/data/logs
}

# value FILTER: jq over what the last run printed, one value a line.
value() {
	jq -r "$1" <<< "$output"
}

# of EVENT KEY...: their values in all lines of that event, a line each.
of() {
	local event=$1 keys

	shift
	keys=$(printf ', .%s' "$@")
	value "select(.event == \"$event\") | [${keys:2}] | map(tostring) | join(\" \")"
}

# A frame of 160 samples, each of that number: level NUMBER SEQ
level() {
	local i value

	value=$(le16 "$1" | xxd -p)
	for ((i = 0; i < 160; i++)); do
		printf %s "$value"
	done | xxd -r -p > payload
	frame pcm "$2" payload
}

# --- what is printed ---

@test "info: --json has these keys, in this order, of these types, and no others" {
	cat > schema <<-'SCHEMA'
		stream event string
		stream file string
		stream session number
		stream stream_id number
		stream tag string null
		stream peer string null
		stream codec string
		stream layout string null
		stream layout_rule string null
		stream rate number
		stream channels number
		stream frame_samples number
		stream timestamp_ms number
		stream first_seq number null
		stream last_seq number null
		stream first_us number null
		stream last_us number null
		stream frames number
		stream bytes number
		stream samples number
		stream seconds number
		stream gaps number
		stream gap_frames number
		stream unfilled number
		stream repeats number
		stream restarts number
		stream damaged number
		stream peak_dbfs number null
		stream rms_dbfs number null
		stream clipped number
		stream silent_frames number
		stream chain_pairs number null
		stream chain_held number null
		stream jitter_us number null
		stream drift_ppm number null
		stream close_code number null
		stream close_reason string null
		stream sha256 string null
		gap event string
		gap file string
		gap session number
		gap offset number
		gap seq number
		gap time_us number
		gap frames number
		gap silence number
		damage event string
		damage file string
		damage offset number
		damage skipped number
		damage text string
		log event string
		log file string
		log kind string null
		log bytes number
		log streams number
		log damage number
	SCHEMA
	handshake pcm > empty.eet
	run -3 --separate-stderr eet-info --json --hash --recover "$golden"/*.{eet,mux} empty.eet /dev/null
	# Each line has its event's keys in the schema's order ...
	value '.event + " " + (keys_unsorted | join(" "))' | sort -u > have
	awk '{ keys[$1] = keys[$1] " " $2 } END { for (event in keys) print event keys[event] }' schema |
		sort > want
	diff want have
	# ... and all types of the schema, and no others, come.
	value '.event as $e | to_entries[] | "\($e) \(.key) \(.value | type)"' | sort -u > have
	awk '{ for (i = 3; i <= NF; i++) print $1, $2, $i }' schema | sort > want
	# (Without --hash there is no hash; drift needs more than 10 seconds.)
	grep -vx 'stream drift_ppm number' want | grep -vx 'stream sha256 null' | diff - have
	# Numbers with a fixed count of decimals.
	[ "$(grep -c '"seconds":[0-9]*\.[0-9]\{6\},' <<< "$output")" = "$(of stream session | wc -l)" ]
	[[ $output =~ '"peak_dbfs":'-[0-9]+\.[0-9]{2}',"rms_dbfs":'-[0-9]+\.[0-9]{2}, ]]
}

@test "info: the table" {
	run -0 --separate-stderr eet-info -v "$golden/gap.eet" "$golden/three.mux" /dev/null
	cat > want <<-TABLE
		$golden/gap.eet:
		session     stream codec layout               rate ch     n    frames     seconds  gaps   lost   rep  rest   dmg    peak     rms  clip  tag
		      1          4 gap of 3 frames before seq 6, 2023-11-14T22:13:20.120Z, offset 320
		      1          4 gap of 1 frame before seq 21, 2023-11-14T22:13:20.420Z, offset 1664
		      1          4 adpcm state (chain)        8000  1   160        36       0.800     2      4     0     0     0    -3.9   -21.3     0
		    seq 0 to 39, 2023-11-14T22:13:20.000Z to 2023-11-14T22:13:20.780Z, 3024 bytes of payload
		    frames of digital silence: 0 of 36
		    chain holds between 33 of 33 blocks, 100.0 %
		$golden/three.mux:
		session     stream codec layout               rate ch     n    frames     seconds  gaps   lost   rep  rest   dmg    peak     rms  clip  tag
		      1          7 adpcm state (chain)        8000  1   160        25       0.500     0      0     0     0     0    -3.9   -22.2     0  kitchen
		    peer 127.0.0.1:40001
		    seq 0 to 24, 2023-11-14T22:13:20.000Z to 2023-11-14T22:13:20.480Z, 2100 bytes of payload
		    frames of digital silence: 0 of 25
		    chain holds between 24 of 24 blocks, 100.0 %
		    arrival jitter 0 us
		    closed with 1000
		      2          9 pcm                       44100  2   441         4       0.040     0      0     0     0     0    -8.1   -12.3     0  hall
		    peer [::1]:40002
		    seq 0 to 3, 2023-11-14T22:13:20.080Z to 2023-11-14T22:13:20.140Z, 7056 bytes of payload
		    frames of digital silence: 0 of 4
		    arrival jitter 1760 us
		    closed with 1001: idle for 2 s
		      3          7 adpcm state (chain)        8000  1   160        16       0.320     0      0     0     0     0    -5.1   -21.3     0
		    peer 127.0.0.1:40003
		    seq 0 to 15, 2023-11-14T22:13:20.180Z to 2023-11-14T22:13:20.480Z, 1344 bytes of payload
		    frames of digital silence: 0 of 16
		    chain holds between 15 of 15 blocks, 100.0 %
		    arrival jitter 0 us
		    closed with 1006
		/dev/null: no stream in it
	TABLE
	diff want <(expand -t 4 <<< "$output")
	[ "$stderr" = "eet-info: $golden/three.mux: offset 12504: session 3 has no CLOSE, ended as 1006" ]
	# Without -v only heading and rows; with -q the same, and no notes.
	run -0 --separate-stderr eet-info -q "$golden/gap.eet" "$golden/three.mux"
	diff <(grep -v -e '^    [a-z]' -e 'no stream' want) - <<< "$output"
	[ -z "$stderr" ]
}

@test "info: bytes from outside move no cursor and break no line or column" {
	local tag peer

	tag=$(printf 'a%.0s' {1..64})
	peer=$(printf 'x\033[2J\377y')
	"$logs" mux > made.mux <<-END
		0 OPEN 1 pcm id=4294967295 tag=$tag
		0 FRAME 1
		0 CLOSE 1 1000 bye
	END
	{ handshake pcm; printf 'peer=%s\ntag=t\x1b[31m\n' "$peer"; } > body
	record OPEN 2 1769854500000000 body >> made.mux
	cp made.mux $'od\nd\377.mux'
	run -0 --separate-stderr eet-info -v $'od\nd\377.mux'
	[ "$(tr -d '[:print:]\n\t' <<< "$output$stderr" | wc -c)" = 0 ]
	[ "${lines[0]}" = 'od\x0Ad\xFF.mux:' ]
	[[ $output == *"peer x\\x1B[2J\\xFFy"* ]]
	[[ $stderr == *tag*dropped* ]]
	# Up to the tag, rows are as wide as the heading.
	[[ ${lines[1]} == *"  tag" && ${lines[2]} == *"  $tag" ]]
	[ "$(grep -boE 'tag$' <<< "${lines[1]}")" = "$(grep -boE 'a+$' <<< "${lines[2]}" | sed 's/:.*/:tag/')" ]
	run -0 --separate-stderr eet-info --json $'od\nd\377.mux'
	[ "$(jq -r 'select(.event == "log") | .file' <<< "$output")" = $'od\nd\xef\xbf\xbd.mux' ]
	[ "$(jq -r 'select(.session == 2) | .peer' <<< "$output")" = $'x\033[2J\xef\xbf\xbdy' ]
}

# --- what it says ---

@test "info: golden logs hold these formats and, by --hash, these samples; cut into other frames too" {
	local log codec layout rate channels n frames samples sha file

	run -0 --separate-stderr eet-info --json --hash \
		$(sed "1d; s|\t.*||; s|^|$golden/|" "$golden/expected.tsv")
	of stream file codec layout rate channels frame_samples frames samples sha256 > have
	while IFS=$'\t' read -r log codec layout rate channels n frames samples sha; do
		[ "$log" != log ] || continue
		echo "$golden/$log $codec ${layout/#-/null} $rate $channels $n $frames $samples $sha"
	done < "$golden/expected.tsv" > want
	[ -s want ]
	diff want have
	eet-info --hash "$golden/gap.eet" | grep -qF "	sha256 $(awk '$1 == "gap.eet" { print $9 }' "$golden/expected.tsv")"

	# All are as they should be, and where there is a chain it holds.
	[ "$(value 'select(.event == "stream" and .chain_pairs != .chain_held) | .file')" = "" ]
	[ "$(value 'select(.layout == "bare") | .chain_pairs')" = null ]
	[ "$(value 'select(.codec == "pcm") | .chain_pairs' | sort -u)" = null ]

	for n in 100 333; do
		"$logs" pcm "$EET_ROOT/data/speech_8k.wav" n=$n > $n.eet
	done
	run -0 eet-info --json --hash 100.eet 333.eet
	[ "$(of stream sha256 | sort -u)" = "$("$logs" wav "$EET_ROOT/data/speech_8k.wav" | sha256sum | cut -d' ' -f1)" ]
}

@test "info: --hash is that of what eet-wav writes, for each session of a mux log" {
	local session

	run -0 --separate-stderr eet-info --json --hash "$golden/three.mux"
	eet-wav -q -d wav "$golden/three.mux"
	for session in 1 2 3; do
		[ "$(value "select(.session == $session) | .sha256")  -" = \
			"$("$logs" wav wav/*_s$session.wav | sha256sum)" ]
	done
}

@test "info: gaps have seq, time and offset; repeats, restarts and long gaps are counted" {
	run -0 --separate-stderr eet-info --json "$golden/gap.eet"
	diff - <(of gap session offset seq time_us frames silence) <<-END
		1 320 6 1700000000120000 3 480
		1 1664 21 1700000000420000 1 160
	END
	[ "$(of stream gaps gap_frames unfilled samples)" = "2 4 0 6400" ]

	"$logs" mux > gaps.mux <<-END
		0 OPEN 1 pcm
		1 FRAME 1 seq=4294967295
		2 FRAME 1 seq=2
		3 FRAME 1 seq=1
		4 FRAME 1 seq=900000000
		5 FRAME 1 seq=5
		6 CLOSE 1 1000
	END
	run -0 --separate-stderr eet-info --json gaps.mux
	diff - <(of gap seq time_us frames silence) <<-END
		2 1769854502000000 2 320
		900000000 1769854504000000 899999997 0
	END
	[ "$(of stream first_seq last_seq frames gaps gap_frames unfilled repeats restarts)" = \
		"4294967295 5 5 2 899999999 1 1 1" ]
	run -0 --separate-stderr eet-info gaps.mux
	[[ $output == *"gap of 899999997 frames before seq 900000000, 2026-01-31T10:15:04.000Z, offset"*", too long to be filled"* ]]
}

@test "info: levels: a dead microphone is silent, clipping is counted" {
	{
		handshake pcm 1 8000 1 160
		level 0 0
		level 0 1
		handshake pcm 2 8000 1 160
		level 0 0
		level 16384 1
		handshake pcm 3 8000 1 160
		level 32767 0
		level 32768 1
		level 100 2
		handshake pcm 4 8000 1 160
	} > levels.eet
	run -0 --separate-stderr eet-info --json levels.eet
	diff - <(of stream stream_id peak_dbfs rms_dbfs clipped silent_frames frames) <<-END
		1 null null 0 2 2
		2 -6.02 -9.03 0 1 2
		3 0 -1.76 320 0 3
		4 null null 0 0 0
	END
	run -0 --separate-stderr eet-info levels.eet
	[[ ${lines[2]} == *" silent  silent     0" ]]
	[[ ${lines[4]} == *"    0.0    -1.8   320" ]]
}

# clock PPM: a mux log of 20 s from a sender whose clock runs that much faster, frames 3 ms early or late.
clock() {
	/usr/bin/python3 - "$1" <<-'END' > clock.mux
		import struct, sys
		ppm = float(sys.argv[1])
		hs = struct.pack("<IHHIIHHHHQ", 0x41445043, 1, 32, 1, 8000, 1, 0, 160, 0, 0)
		def record(kind, us, body):
		    return struct.pack("<IIIHHQ", 0x4D544545, len(body) + 12, 1, kind, 0, us) + body
		out, start, n = sys.stdout.buffer, 1769854500000000, 1000
		out.write(record(1, start, hs))
		for i in range(n):
		    late = 3000 if i % 2 else -3000
		    us = start + 3000 + round(i * 20000 / (1 + ppm / 1e6)) + late
		    out.write(record(2, us, struct.pack("<III", 0x464D4350, 320, i) + bytes(320)))
	END
}

@test "info: the drift of the sender's clock, and jitter" {
	local ppm

	for ppm in 100 -250; do
		clock $ppm
		run -0 --separate-stderr eet-info -q --json clock.mux
		[ "$(value "select(.event == \"stream\") | (.drift_ppm - $ppm | fabs < 2) and
			(.jitter_us - 6000 | fabs < 20)")" = true ]
	done
	run -0 --separate-stderr eet-info -v clock.mux
	[[ $output =~ "the sender's clock runs 2"(49|50|51)\.[0-9]" ppm slower than ours" ]]
	# A log without arrival times says nothing of them, nor does what was not sent in real time.
	head -c $((24 + 32 + 20 * (24 + 332))) clock.mux > short.mux
	clock 300000
	run -0 --separate-stderr eet-info -q --json short.mux clock.mux "$golden/sine_adpcm.eet"
	[ "$(of stream drift_ppm)" = $'null\nnull\nnull' ]
	[ "$(of stream jitter_us | grep -c null)" = 1 ]
}

@test "info: a restart of the count does not spoil the drift" {
	"$logs" mux > restart.mux <<-END
		0 OPEN 1 pcm n=1600
		0 FRAME 1 seq=5000 count=20 step=0.2
		7 FRAME 1 seq=0 count=60 step=0.2
		20 CLOSE 1 1000
	END
	run -0 --separate-stderr eet-info --json restart.mux
	[ "$(of stream restarts drift_ppm)" = "1 0" ] || [ "$(of stream restarts drift_ppm)" = "1 -0" ]
}

@test "info: a layout given is the one that is used" {
	run -0 eet-info --json --hash --layout bare "$golden/layout-bare.eet"
	[ "$(of stream layout layout_rule)" = "bare given" ]
	[ "$(of stream sha256)" = "$(awk '$1 == "layout-bare.eet" { print $9 }' "$golden/expected.tsv")" ]
	run -2 --separate-stderr eet-info --layout wave "$golden/layout-bare.eet"
	[[ $stderr == "eet-info: --layout wave: "* ]]
}

# --- where it comes from ---

@test "info: a file, a pipe, standard input, a FIFO say the same; a log without handshake with -r -c -n" {
	local file=$golden/three.mux

	eet-info -q --json "$file" | sed "s|\"file\":\"[^\"]*\"||" > want
	mkfifo fifo
	cat "$file" > fifo &
	for input in "-" "" "fifo"; do
		# shellcheck disable=SC2086,SC2002 # no operand at all; a pipe is wanted
		cat "$file" | eet-info -q --json $input | sed "s|\"file\":\"[^\"]*\"||" | diff want -
	done
	run -0 eet-info < "$golden/gap.eet"
	[ "${lines[0]}" = "standard input:" ]

	tail -c +33 "$golden/sine_adpcm.eet" > headless
	run -3 --separate-stderr eet-info headless
	run -0 --separate-stderr eet-info --json --hash -r 16000 -c 1 -n 320 headless
	[ "$(of stream sha256)" = "$(awk '$1 == "sine_adpcm.eet" { print $9 }' "$golden/expected.tsv")" ]
}

@test "info: a spool's complete segments, recording by recording, in the order of time" {
	eet-rotate -q -t 200ms out < "$golden/three.mux" > /dev/null
	: > out/stream_9_20260131T101500.250Z_s9.eet.part
	: > out/notes.eet
	run -0 --separate-stderr eet-info --json out/
	of log file > have
	printf '%s\n' out/*_s1.eet out/*_s2.eet out/*_s3.eet | diff - have
	[ "$(wc -l < have)" = 6 ]
	mkdir nothing
	run -0 --separate-stderr eet-info nothing
	[ -z "$output$stderr" ]
}

# --- damage ---

@test "info: damage has its offset, exit status 3, and what stands around it is shown" {
	run -3 --separate-stderr eet-info --json "$golden/badlen.eet"
	[ "$stderr" = "eet-info: $golden/badlen.eet: offset 1264: frame length 1000000, at most 164" ]
	[ "$(of damage offset text)" = "1264 frame length 1000000, at most 164" ]
	[ "$(of stream frames)" = 7 ]
	[ "$(of log damage)" = 1 ]
	run -3 --separate-stderr eet-info --json "$golden/badindex.eet"
	[ "$(of damage offset text)" = "736 session 1: damaged ADPCM blocks: 1, the first one here" ]
	[ "$(of stream damaged chain_held chain_pairs)" = "1 17 19" ]
	[ "$(of log damage)" = 1 ]
	run -3 --separate-stderr eet-info --json --recover "$golden/garbage.mux"
	[ "$(of damage offset skipped | wc -l)" -ge 1 ]
	[ "$(of damage skipped | sort -n | tail -n 1)" -gt 0 ]
	# No log at all.
	run -3 --separate-stderr eet-info --json "$EET_ROOT/README.md"
	[[ $stderr == "eet-info: $EET_ROOT/README.md: offset 0: magic "* ]]
	[ "$(of log kind streams damage)" = "null 0 1" ]
	# The others are shown all the same.
	run -3 --separate-stderr eet-info "$EET_ROOT/README.md" "$golden/gap.eet"
	[[ $output == *"README.md: no stream in it"*"$golden/gap.eet:"*"adpcm state"* ]]
}

@test "info: --check says damage and nothing else" {
	run -0 --separate-stderr eet-info --check "$golden/three.mux" "$golden/gap.eet"
	[ -z "$output$stderr" ]
	run -3 --separate-stderr eet-info --check "$golden/gap.eet" "$golden/cut.eet"
	[ -z "$output" ]
	[ "$stderr" = "eet-info: $golden/cut.eet: offset 1792: the input ends 50 bytes into a record of 176" ]
	run -2 --separate-stderr eet-info --check --json "$golden/cut.eet"
	[[ $stderr == "eet-info: --check "* ]]
}

@test "info: a log cut at any byte is 0 at the end of a record, else 3, and never more than was there" {
	local size at status

	{ handshake pcm 1 8000 1 4; printf 12345678 > payload; frame pcm 0 payload; frame pcm 1 payload; } > small.eet
	"$logs" mux > small.mux <<-END
		0 OPEN 1 adpcm n=8 tag=a
		0 FRAME 1
		1 CLOSE 1 1000 x
	END
	for log in small.eet small.mux; do
		size=$(stat -c %s $log)
		for ((at = 0; at <= size; at++)); do
			head -c "$at" "$log" > part
			status=0
			eet-info --json -q part > out 2> err || status=$?
			echo "$at $status $(jq -s 'map(.frames // 0) | add' out)"
			[ "$status" = 0 ] || grep -q "^eet-info: part: offset [0-9]*: the input ends $((at - $(sed 's/.*offset \([0-9]*\).*/\1/' err))) bytes" err
		done > $log.table
	done
	# Whole at these lengths, with that many frames, and nowhere else.
	[ "$(grep -v ' 3 ' small.eet.table)" = $'0 0 0\n32 0 0\n52 0 1\n72 0 2' ]
	[ "$(grep -cv -e ' [03] ' small.eet.table small.mux.table | grep -cv ':0')" = 0 ]
	[ "$(grep -c ' 0 ' small.mux.table)" = 4 ]
	[ "$(awk '$3 < last { bad = 1 } { last = $3 } END { print last, bad + 0 }' small.mux.table)" = "1 0" ]
}

# --- the system ---

@test "info: what can't be read or written is 1, and the other logs are shown" {
	run -1 --separate-stderr eet-info missing.eet "$golden/gap.eet"
	[ "$stderr" = "eet-info: missing.eet: No such file or directory" ]
	[[ $output == *"adpcm state"* ]]
	run -1 --separate-stderr eet-info missing.eet "$golden/cut.eet"
	run -1 --separate-stderr eet-info ""
	run -1 --separate-stderr bash -c 'eet-info --json "$0" > /dev/full' "$golden/gap.eet"
	[ "$stderr" = "eet-info: standard output: No space left on device" ]
	run -1 --separate-stderr bash -c 'eet-info <&-'
	[[ $stderr == "eet-info: standard input: "*"Bad file descriptor" ]]
	run -2 --separate-stderr script -qec 'eet-info' /dev/null < /dev/null
	[[ $output == *"eet-info: standard input is a terminal"* ]]
}

@test "info: a live log whose reader goes away ends it" {
	mkfifo pipe out
	in=pipe out=out spawn info eet-info --json
	exec 7> pipe 8< out
	"$logs" mux >&7 <<-END
		0 OPEN 1 pcm
		0 FRAME 1
		0 CLOSE 1 1000
		0 OPEN 2 pcm
	END
	# What has ended is shown, though the log goes on.
	read -r line <&8
	[[ $line == '{"event":"stream",'* ]]
	exec 8<&-
	"$logs" mux >&7 <<-END
		0 OPEN 1 pcm
		0 CLOSE 1 1000
	END
	finish info
	[ "$status" = 1 ]
	grep -qx 'eet-info: standard output: Broken pipe' info.err
	exec 7>&-
}

@test "info: SIGTERM: read on to the end; a second one: stop, say where, exit 3, name what was not read" {
	# Once the first take is shown, the second one has begun.
	handshake pcm | cat - "$golden/sine_adpcm.eet" > both
	head -c 500 both > begin
	mkfifo pipe
	in=pipe spawn info eet-info --json -
	exec 7> pipe
	cat begin >&7
	wait_for test -s info.out
	kill -TERM "$pid"
	wait_for taken "$pid"
	tail -c +501 both >&7
	exec 7>&-
	finish info
	[ "$status" = 0 ]
	[ "$(jq 'select(.event == "stream") | .frames' info.out)" = $'0\n50' ]

	in=pipe spawn info eet-info --json - "$golden/gap.eet"
	exec 7> pipe
	cat begin >&7
	wait_for test -s info.out
	kill -TERM "$pid"
	wait_for taken "$pid"
	kill -TERM "$pid"
	finish info
	exec 7>&-
	[ "$status" = 3 ]
	grep -q '^eet-info: standard input: offset [0-9]*: stopped here, the input has not ended$' info.err
	grep -qx "eet-info: $golden/gap.eet: not read" info.err
}

@test "info: memory does not grow with the log" {
	(ulimit -v 100000 && eet-info --version) > /dev/null 2>&1 || skip "no room for a sanitizer"
	# 60 MB, in 180000 frames of one stream that never ends.
	/usr/bin/python3 - <<-'END' | (ulimit -v 65536 && eet-info --json --hash) > out
		import struct, sys
		out = sys.stdout.buffer
		out.write(struct.pack("<IHHIIHHHHQ", 0x41445043, 1, 32, 1, 8000, 1, 1, 640, 0, 0))
		for part in range(180):
		    out.write(b"".join(struct.pack("<III", 0x41445046, 324, part * 1000 + i) + bytes(324)
		                       for i in range(1000)))
	END
	[ "$(jq 'select(.event == "stream") | .silent_frames' out)" = 180000 ]
}

# --- index.jsonl ---

# The index's lines, but for what a recovery can't know.
index() {
	jq -cS 'del(.last_us, .first_us, .peer, .recovered, .close_reason, .gap_before)' "$1/index.jsonl"
}

@test "info: --reindex appends the lines that are missing, and rewrites nothing" {
	local n

	eet-rotate -q -t 200ms --exec true spool < "$golden/three.mux" > /dev/null
	cp -r spool lost
	cp -r spool torn
	n=$(ls spool/*.eet | wc -l)

	# All of it lost: segments come back, session and exec lines do not.
	rm lost/index.jsonl
	run -0 --separate-stderr eet-info --reindex lost
	[[ $stderr == *"lost/index.jsonl: "*" $n" ]]
	[ -z "$output" ]
	diff <(index spool | grep '"event":"segment"' | sort) <(index lost | sort)
	eet-info --check lost

	# A line in the middle is garbage, the last one torn, a segment gone, another one there twice.
	rm torn/*000Z_s1.*
	sed -i '/"event":"segment".*_s3/s/.*/{"event":"seg/' torn/index.jsonl
	[ "$(grep -cx '{"event":"seg' torn/index.jsonl)" = 2 ]
	grep '"event":"segment".*_s2' torn/index.jsonl > twice
	cat twice >> torn/index.jsonl
	cp torn/index.jsonl before
	printf '{"event":"segment","eet":"stream_' >> torn/index.jsonl
	chmod 600 torn/index.jsonl
	run -0 --separate-stderr eet-info --reindex torn
	[[ $stderr == *"torn/index.jsonl: "*" 2" ]]
	cmp before <(head -c "$(stat -c %s before)" torn/index.jsonl)
	[ "$(wc -l < torn/index.jsonl)" = $(($(wc -l < before) + 2)) ]
	[ "$(stat -c %a torn/index.jsonl)" = 600 ]
	tail -n 2 torn/index.jsonl | jq -es 'all(.recovered and .error == null)' > /dev/null

	# Again: nothing to do.
	cp torn/index.jsonl before
	run -0 --separate-stderr eet-info -q --reindex torn
	[ -z "$output$stderr" ]
	cmp before torn/index.jsonl
}

@test "info: --reindex makes no files, and leaves what is unfinished to the next recording" {
	eet-rotate -q -t 0 --no-wav spool < "$golden/sine_adpcm.eet" > /dev/null
	cp spool/stream*.eet spool/stream_9_20260131T101500.000Z_s9.eet.part
	rm spool/index.jsonl
	run -0 --separate-stderr eet-info --reindex spool
	[ "$(ls spool | grep -c '^stream')" = 2 ]
	[ "$(jq -r '"\(.frames) \(.wav)"' spool/index.jsonl)" = "50 null" ]
	# A log that can't be read is named, and the others get their lines.
	echo garbage > spool/stream_8_20260131T101500.000Z_s8.eet
	rm spool/index.jsonl
	run -1 --separate-stderr eet-info --reindex spool
	[[ $stderr == *"_s8.eet: "* ]]
	[ "$(jq -r '"\(.frames) \(.wav)"' spool/index.jsonl)" = "50 null" ]
}

@test "info: --reindex leaves a spool that is recorded into, and what is none" {
	mkfifo pipe
	in=pipe spawn rotate eet-rotate -t 0 spool
	exec 7> pipe
	head -c 1000 "$golden/sine_adpcm.eet" >&7
	wait_for sh -c 'ls spool/*.eet.part'
	run -1 --separate-stderr eet-info --reindex spool
	[ "$stderr" = "eet-info: spool: another program records into it" ]
	tail -c +1001 "$golden/sine_adpcm.eet" >&7
	exec 7>&-
	finish rotate
	[ "$status" = 0 ]
	run -1 --separate-stderr eet-info --reindex missing
	[ "$stderr" = "eet-info: missing: No such file or directory" ]
	run -2 --separate-stderr eet-info --reindex spool other
	run -1 --separate-stderr eet-info --reindex "$golden/gap.eet"
	[[ $stderr == *": Not a directory" ]]
}

@test "info: in a directory only regular files are segments" {
	mkdir -p d elsewhere
	cp "$golden/sine_adpcm.eet" elsewhere/log
	cp elsewhere/log d/stream_1_20260131T101500.000Z_s1.eet
	mkfifo d/stream_2_20260131T101500.000Z_s2.eet
	ln -s ../elsewhere/log d/stream_3_20260131T101500.000Z_s3.eet
	run -0 --separate-stderr eet-info --json d
	[ "$(of stream file)" = d/stream_1_20260131T101500.000Z_s1.eet ]
	[ "$stderr" = "$(printf 'eet-info: d/stream_%s, left out\n' \
		'2_20260131T101500.000Z_s2.eet: not a regular file' '3_20260131T101500.000Z_s3.eet: not a regular file')" ]
	run -0 --separate-stderr eet-wav -q -d w d
	[ "$(ls w)" = stream_1_20260131T101500.000Z_s1.wav ]
	[ "$(grep -c '^eet-wav: d/.*: not a regular file, left out$' <<< "$stderr")" = 2 ]
	# Named itself, it is read.
	run -0 eet-info --check d/stream_3_20260131T101500.000Z_s3.eet
}
