#!/usr/bin/env bats
# kill -9 at any moment, then a restart: what was acknowledged is there, and nothing is written over.
# shellcheck disable=SC2035,SC2154 # names of our own; the helper and `run` set variables
load helper

logs=$EET_ROOT/test/logs.py
data=$EET_ROOT/data

setup_file() {
	cd "$BATS_FILE_TMPDIR" || return
	"$logs" pcm "$data/speech_8k.wav" n=160 id=1 > a.eet
	"$logs" state "$data/speech_8k.wav" n=80 id=2 > b.eet
	"$logs" state "$data/stereo_44k1.wav" n=882 id=3 > c.eet
	"$logs" pcm "$data/sine_pcm16.wav" n=320 id=4 > d.eet
}

setup() {
	eet_setup
	cp "$BATS_FILE_TMPDIR"/*.eet .
}

# Streams that go on until the server dies, and tell what it has stored.
start_sending() {
	spawn send "$EET_ROOT/test/send.py" --acks 20 --repeat 1000 "$url" "$@"
}

# acked N: send.py has told so often that something is stored.
acked() {
	[ "$(grep -c ' acked ' send.out)" -ge "$1" ]
}

# Remember what is complete in out/ …
complete() {
	(cd out && find . \( -name '*.eet' -o -name '*.wav' \) -exec md5sum {} +) > before
}

# … and see that it is still there, and the same.
unchanged() {
	[ ! -s before ] || (cd out && md5sum --check --quiet ../before)
}

# Everything in out/ is complete, listed once, and each WAV is what eet-wav makes of its log.
sound() {
	local eet

	jq -r 'select(.event == "segment") | .eet' out/index.jsonl | sort > listed
	(cd out && echo *.eet) | tr ' ' '\n' | diff - listed
	for eet in out/*.eet; do
		eet-wav -q "$eet" | cmp - "${eet%.eet}.wav"
	done
	[ "$(cd out && echo *.part)" = '*.part' ]
}

@test "crash: eet-listen --spool is killed in mid-flow, again and again" {
	local count

	for count in 8 60 150; do
		start_listen --spool out -s 100k
		start_sending ?.eet
		wait_for acked "$count"
		kill -KILL "${pids[listen]}"
		finish listen
		finish send
		[ "$(grep -c ' closed 1006' send.out)" = 4 ]
		cat send.out >> told
		complete
		start_listen --spool out
		unchanged
		"$logs" acked out told ?.eet
		stop listen
		[ "$status" = 0 ]
	done
	sound
	# A session per stream and round, each with a number of its own.
	[ "$(jq .session out/index.jsonl | sort -u | wc -l)" = 12 ]
	[ "$(jq -r 'select(.recovered) | .session' out/index.jsonl | sort -u | wc -l)" -ge 3 ]
}

# kill_pipeline: eet-listen dies, eet-rotate completes what came through.
kill_pipeline() {
	kill -KILL "${pids[listen]}"
	finish listen
	finish send
	finish rotate
}

@test "crash: eet-listen is killed in a pipeline, which completes what came through" {
	mkfifo pipe
	in=pipe spawn rotate eet-rotate out
	out=pipe start_listen
	# All of it has room in the pipe, so it can't be held back: what is acknowledged is there.
	spawn send "$EET_ROOT/test/send.py" --hold "$url" b.eet
	wait_for acked 1
	kill_pipeline
	[ "$status" = 0 ]
	"$logs" spool out b.eet

	in=pipe spawn rotate eet-rotate -s 100k out
	out=pipe start_listen
	start_sending ?.eet
	wait_for acked 40
	kill_pipeline
	# 3: the pipe was full, and ends inside a record; what waited in memory then is lost.
	[[ $status == [03] ]]
	: > told
	"$logs" acked out told ?.eet
	sound
}

@test "crash: eet-rotate is killed: clients see 1011, the listener says so and exits 1" {
	mkfifo pipe
	in=pipe spawn rotate eet-rotate -s 100k out
	out=pipe start_listen
	start_sending ?.eet
	wait_for acked 40
	kill -KILL "${pids[rotate]}"
	finish rotate
	finish send
	[ "$(grep -c ' closed 1011' send.out)" = 4 ]
	finish listen
	[ "$status" = 1 ]
	grep -q '^eet-listen: standard output: .*Broken pipe' listen.err
	complete
	run -0 --separate-stderr eet-rotate out < /dev/null
	unchanged
	: > told
	"$logs" acked out told ?.eet
	sound
}

# whole LOG: it stands in out/ as a growing segment, to its end.
whole() {
	cmp -s "$1" out/stream_"$(od -An -tu4 -j8 -N4 "$1" | tr -d ' ')"_*.part
}

@test "crash: killing eet-rotate costs no more than what it had not read" {
	mkfifo pipe
	in=pipe spawn rotate eet-rotate -t 0 out
	out=pipe start_listen
	spawn send "$EET_ROOT/test/send.py" --hold "$url" a.eet b.eet
	wait_for whole a.eet
	wait_for whole b.eet
	kill -STOP "${pids[rotate]}"
	# These stay in the pipe.
	spawn more "$EET_ROOT/test/send.py" --hold "$url" c.eet
	wait_for grep -q ' acked ' more.out
	kill -KILL "${pids[rotate]}"
	finish rotate
	finish send
	finish more
	finish listen
	[ "$status" = 1 ]
	run -0 eet-rotate -q out < /dev/null
	"$logs" spool out a.eet b.eet
}

# A log with many short segments of several sessions.
long_log() {
	"$logs" mux > log <<-SCRIPT
		0 OPEN 1 adpcm id=1
		0 OPEN 2 pcm id=2 ch=2
		0 FRAME 1 seq=0 count=60 step=0
		0 FRAME 2 seq=0 count=60 step=0
		0 ROTATE
		1 FRAME 1 seq=60 count=60 step=0
		1 FRAME 2 seq=60 count=60 step=0
		1 CLOSE 1 1000
		1 CLOSE 2 1000
	SCRIPT
}

@test "crash: eet-rotate is killed at any moment, and its recovery too" {
	local i pause

	long_log
	mkdir whole
	eet-rotate -q -s 4k whole < log > list
	"$logs" strip whole/*_s1.eet > a.eet
	"$logs" strip whole/*_s2.eet > b.eet
	: > told
	for i in {0..9}; do
		rm -rf out
		pause=0.0$((i / 2))$((RANDOM % 10))
		echo "killed after $pause"
		in=log spawn rotate eet-rotate -q -s 4k out
		sleep "$pause" # the passing of time is what is tested
		kill -KILL "$pid" 2> /dev/null || :
		finish rotate
		mkdir -p out
		complete
		spawn recovery eet-rotate -q out
		sleep "0.00$((RANDOM % 10))"
		kill -KILL "$pid" 2> /dev/null || :
		finish recovery
		run -0 eet-rotate -q out < /dev/null
		unchanged
		"$logs" acked out told a.eet b.eet
		if compgen -G 'out/*.eet' > /dev/null; then
			sound
		fi
	done
}
