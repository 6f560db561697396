#!/usr/bin/env bats
# Every file in examples/ does what it says.
# shellcheck disable=SC2154 # the helper and `run` set them
load helper

setup() {
	eet_setup
	examples=$EET_ROOT/examples
	client=$EET_ROOT/client/stream_client.py
	export PYTHON=${PYTHON:-/usr/bin/python3}
}

@test "examples: each has a test here" {
	local file

	for file in "$examples"/*; do
		grep -q -e "^@test \"${file##*/}: " "$BATS_TEST_FILENAME"
	done
}

@test "examples: installed, they run what is in PATH" {
	local root="$PWD/a root" log=$EET_ROOT/data/logs/three.mux installed sender

	make -s -C "$EET_ROOT" B="${EET_BIN%/bin}" DESTDIR="$root" PREFIX=/usr install
	sender=$root/usr/share/eet/client/stream_client.py
	installed=$root/usr/share/doc/eet/examples
	diff <(cd "$EET_ROOT/examples" && ls -I demo.sh) <(ls "$installed")
	grep -q '^ExecStart=/usr/bin/eet-listen ' "$installed/eet-listen.service"
	unset EET_BIN
	PATH=$root/usr/bin:/usr/bin:/bin
	"$installed/flac.sh" music "$log"
	[ "$(find music -name '*.flac' | wc -l)" = 3 ]
	mkdir there
	EET_UPLOAD="cp" "$installed/upload.sh" out there < "$log"
	[ "$(find there -name '*.wav' | wc -l)" = 3 ]
	# shellcheck disable=SC2016 # for the inner shell
	set -- sh -c '"$PYTHON" "$0" -q --url "$EET_URL" --wav "$1"' "$sender" "$EET_ROOT/data/speech_8k.wav"
	"$installed/record.sh" recorded 1 "$@"
	"$installed/check-index.sh" recorded
	run -0 "$installed/smoke-test.sh" tested "$@"
	[ "$output" = "session 1: ok" ]
	EET_PLAYER="cat" run --separate-stderr "$installed/monitor.sh" localhost:0 --idle-exit 1ms
	[[ $stderr == *"listening on"* ]]
	EET_SSH='env -u HOST' run -0 --separate-stderr "$installed/capture.sh" HOST=other all.mux captured \
		localhost:0 --idle-exit 1ms
	[ -s all.mux ] && [ -d captured ]
	run -0 "$PYTHON" "$installed/read_log.py" < "$log"
}

@test "demo.sh: shows streams become rotating files, and one that is what was sent" {
	run -0 --separate-stderr "$examples/demo.sh" demo
	# Speech and sine rotate, the other two are shorter than 2 s.
	[ "$(grep -c 'complete: .*\.wav$' <<< "$output")" = 6 ]
	[[ $output == *"sample for sample."* ]]
	[ -z "$stderr" ]
	[ "$(jq -s 'map(select(.event == "session" and .close_code == 1000)) | length' demo/index.jsonl)" = 4 ]
	[ "$(cd demo && echo *.part)" = '*.part' ]
	[ "$(find demo/wav -name '*.wav' | wc -l)" = 4 ]
}

@test "demo.sh: fails, and leaves nothing running, when a client or the recording fails" {
	PYTHON=false run --separate-stderr "$examples/demo.sh" demo
	[ "$status" = 1 ]
	touch file
	run --separate-stderr "$examples/demo.sh" file
	[ "$status" = 1 ]
	mkdir locked
	exec 7< locked
	flock 7
	run --separate-stderr "$examples/demo.sh" locked
	[ "$status" = 1 ]
	[[ $stderr == *"eet-rotate: locked: "* ]]
}

@test "record.sh: runs a command and has its streams when that has ended" {
	# shellcheck disable=SC2016 # for the inner shell
	run -0 --separate-stderr "$examples/record.sh" out 2 sh -c \
		'"$PYTHON" "$0" -q --url "$EET_URL" --wav "$1" --streams 2' "$client" "$EET_ROOT/data/speech_8k.wav"
	[ "$(find out -name '*.wav' | wc -l)" = 2 ]
	run -0 "$examples/check-index.sh" out
}

@test "record.sh: its status says what failed" {
	run -2 "$examples/record.sh" out
	run -7 "$examples/record.sh" out 1 sh -c 'exit 7'
	EET_IDLE=100ms run -3 "$examples/record.sh" out 1 true
}

@test "check-index.sh: names recordings with something wrong" {
	eet-rotate -q good < <("$EET_ROOT/test/logs.py" mux <<-SCRIPT
		0 OPEN 1 pcm id=7
		0 FRAME 1 seq=0 count=50
		1 CLOSE 1 1000
	SCRIPT
	)
	run -0 "$examples/check-index.sh" good
	[ -z "$output" ]
	eet-rotate -q bad < <("$EET_ROOT/test/logs.py" mux <<-SCRIPT
		0 OPEN 1 pcm id=7
		0 FRAME 1 seq=0 count=50
		0.98 FRAME 1 seq=53
		1 CLOSE 1 1006
		1 OPEN 1 pcm id=8
		1 CLOSE 1 1000
	SCRIPT
	)
	run -1 "$examples/check-index.sh" bad
	[ "${lines[0]}" = "session 1 stream 7: 3 frames missing, ended with 1006" ]
	[ "${lines[1]}" = "session 2 stream 8: silent" ]
	[ "${#lines[@]}" = 2 ]
	run "$examples/check-index.sh" missing
	[ "$status" != 0 ]
}

@test "each-wav.sh: runs a command with each WAV, and goes on when that fails" {
	eet-rotate -q -t 400ms out < "$EET_ROOT/data/logs/sine_adpcm.eet" > list
	first=$(grep -m 1 wav list)
	# shellcheck disable=SC2016 # for the inner shell
	run -0 --separate-stderr "$examples/each-wav.sh" sh -c 'echo "$1"; [ "$1" != "$0" ]' "$first" < list
	[ "$output" = "$(grep wav list)" ]
	[ "$stderr" = "each-wav.sh: $first: exit status 1" ]
}

@test "eet-listen.service: is a sound unit, and its command records" {
	local unit=$examples/eet-listen.service command

	sed "s,/usr/local/bin/,$EET_BIN/," "$unit" > eet-listen.service
	if command -v systemd-analyze > /dev/null; then
		run -0 systemd-analyze verify --man=no ./eet-listen.service
		[ -z "$output" ]
	fi
	# The same line with a port and a directory of ours.
	command=$(sed -n "s,^ExecStart=/usr/local/bin/,,p" "$unit")
	[[ $command == "eet-listen :5096 --spool /var/lib/eet "* ]]
	read -ra words <<< "${command#eet-listen :5096 }"
	words[1]=spool
	start_listen "${words[@]}"
	"$PYTHON" "$client" -q --url "$url" --wav "$EET_ROOT/data/speech_8k.wav"
	kill -HUP "$pid"
	stop listen
	[ "$status" = 0 ]
	[ "$(find spool -name '*.wav' | wc -l)" = 1 ]
}

@test "eet-listen.service: a failure is retried without end, at intervals, and what cannot work is not" {
	setting() { # SECTION KEY
		sed -n "/^\\[$1\\]/,/^\\[/s/^$2=//p" "$examples/eet-listen.service"
	}
	[ "$(setting Service Restart)" = on-failure ] # 1, but not 0
	(($(setting Service RestartSec) >= 1))
	[ "$(setting Unit StartLimitIntervalSec)" = 0 ] # or 5 starts in 10 s would be the last
	[ "$(setting Service RestartPreventExitStatus)" = 2 ]
	[ "$(setting Service SuccessExitStatus)" = 3 ]
}

@test "upload.sh: has each segment uploaded, and again what could not be" {
	cat > uploader <<- 'SH'
		#!/bin/sh
		# Fails the first time.
		[ -e tried ] || { : > tried; exit 1; }
		cp "$1" "$2"
	SH
	chmod +x uploader
	mkdir there
	EET_UPLOAD=$PWD/uploader run -0 --separate-stderr "$examples/upload.sh" out there -t 1 \
		< "$EET_ROOT/data/logs/three.mux"
	diff <(cd out && ls -- *.eet *.wav) <(cd there && ls)
	for file in there/*; do cmp "$file" "out/${file##*/}"; done
}

@test "flac.sh: makes one FLAC of each stream, sample for sample" {
	run -0 --separate-stderr "$examples/flac.sh" music "$EET_ROOT/data/logs/three.mux"
	eet-wav -q -d wav "$EET_ROOT/data/logs/three.mux"
	[ "$(find music -name '*.flac' | wc -l)" = 3 ]
	for file in music/*.flac; do
		name=${file##*/}
		flac --silent --decode --force-raw-format --endian=little --sign=signed -c "$file" > raw
		tail -c +45 "wav/${name%.flac}.wav" | cmp - raw
	done
}

@test "monitor.sh: plays a stream as it comes" {
	EET_PLAYER='tee heard.wav' spawn monitor "$examples/monitor.sh" localhost:0
	wait_for grep -q 'listening on' monitor.err
	url=$(sed -n 's/.*listening on //p' monitor.err)
	"$PYTHON" "$client" -q --url "$url" --wav "$EET_ROOT/data/speech_8k.wav" --codec pcm
	finish monitor
	[ "$status" = 0 ]
	cmp <(tail -c +45 "$EET_ROOT/data/speech_8k.wav") <(tail -c +45 heard.wav)
}

@test "smoke-test.sh: tells a client that streams well from others" {
	# shellcheck disable=SC2016 # for the inner shell
	run -0 --separate-stderr "$examples/smoke-test.sh" good sh -c \
		'"$PYTHON" "$0" -q --url "$EET_URL" --wav "$1" --streams 2' "$client" "$EET_ROOT/data/speech_8k.wav"
	[ "$output" = $'session 1: ok\nsession 2: ok' ]
	run -3 --separate-stderr "$examples/smoke-test.sh" none true
	[[ $stderr == *"no stream came"* ]]
	run -7 "$examples/smoke-test.sh" failed sh -c 'exit 7'
	# shellcheck disable=SC2016
	run -3 --separate-stderr "$examples/smoke-test.sh" gap sh -c \
		'"$0" "$EET_URL" "$1"' "$EET_ROOT/test/send.py" "$EET_ROOT/data/logs/gap.eet"
	[ "$output" = "session 1: 4 frames missing" ]
	run -2 --separate-stderr "$examples/smoke-test.sh" gap true
	[ "$stderr" = "smoke-test.sh: gap: not empty: what is there would be judged too" ]
	mkdir empty
	run -3 "$examples/smoke-test.sh" empty true
}

@test "nightly.sh: archives complete segments, and leaves what grows or is new" {
	eet-rotate -q out < "$EET_ROOT/data/logs/three.mux" > list
	mkdir expected
	cp out/*.eet out/*.wav expected
	touch -d '2 days ago' out/*.eet out/*.wav
	: > out/stream_1_20260101T000000.000Z_s99.eet.part
	cp expected/stream_9_hall_* out
	run -0 --separate-stderr "$examples/nightly.sh" out archive
	[[ $output == *.tar.zst ]]
	mkdir back
	zstd -q -d -c "$output" | tar -x -C back
	rm expected/stream_9_*
	[ "$(cd back && ls)" = "$(cd expected && ls)" ]
	for file in back/*; do cmp "$file" "expected/${file##*/}"; done
	[ "$(cd out && ls)" = "$(printf '%s\n' index.jsonl stream_1_20260101T000000.000Z_s99.eet.part \
		stream_9_hall_20231114T221320.080Z_s2.{eet,wav})" ]
}

@test "capture.sh: captures over ssh what makes the same files again" {
	# Stands in for ssh: the other machine is this one.
	printf '#!/bin/sh\nshift\nexec sh -c "$*"\n' > ssh
	chmod +x ssh
	EET_SSH=$PWD/ssh spawn capture "$examples/capture.sh" somewhere all.mux out --sessions 1 localhost:0
	wait_for grep -q 'listening on' capture.err
	url=$(sed -n 's/.*listening on //p' capture.err)
	"$PYTHON" "$client" -q --url "$url" --wav "$EET_ROOT/data/speech_8k.wav"
	finish capture
	[ "$status" = 0 ]
	eet-rotate -q again < all.mux > list
	diff -r out again
}

@test "read_log.py: reads a mux log" {
	run -0 --separate-stderr "$PYTHON" "$examples/read_log.py" < "$EET_ROOT/data/logs/three.mux"
	[[ ${lines[0]} == "1: {'stream': 7, 'rate': 8000, 'frames': 25, 'bytes': 2100, "* ]]
	[ "${#lines[@]}" = 3 ]
	run -3 --separate-stderr "$PYTHON" "$examples/read_log.py" < "$EET_ROOT/README.md"
	[ "$stderr" = "read_log.py: offset 0: not a mux log, or damaged" ]
}

@test "read_log.py: says where a log is cut, and counts what is before" {
	local log=$EET_ROOT/data/logs/three.mux size said

	for size in 5 20 70 100 5000; do
		head -c "$size" "$log" > cut.mux
		run -3 --separate-stderr eet-info --json cut.mux
		[[ $stderr =~ offset\ [0-9]+ ]]
		said="read_log.py: ${BASH_REMATCH[0]}: the log ends inside a record"
		jq -r 'select(.event == "stream").frames' <<< "$output" > frames
		run -3 --separate-stderr "$PYTHON" "$examples/read_log.py" < cut.mux
		[ "$stderr" = "$said" ]
		diff frames <(sed -n "s/.*'frames': \([0-9]*\).*/\1/p" <<< "$output")
	done
	[ "$(cat frames)" = $'7\n2' ]
}
