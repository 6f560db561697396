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
