#!/usr/bin/env bats
# Disks that are full, slow, read-only or broken, and directories that go away: always a message with
# the path, never a busy loop, never a frame that is lost without a word.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154 # inner shells expand; the helper and `run` set variables
load helper

logs=$EET_ROOT/test/logs.py
data=$EET_ROOT/data

setup_file() {
	cd "$BATS_FILE_TMPDIR" || return
	"$logs" pcm "$data/speech_8k.wav" n=160 id=1 > a.eet
	"$logs" state "$data/stereo_44k1.wav" n=882 id=2 > b.eet
}

setup() {
	eet_setup
	cp "$BATS_FILE_TMPDIR"/*.eet .
	# What the shim reads; it is loaded into what faulty starts.
	export EET_WHILE=$PWD/flag EET_CALLS='' EET_ACTION='' EET_ON=''
}

# faulty FUNCTION...: in what it starts, as long as ./flag is there, the calls in $EET_CALLS do $EET_ACTION.
faulty() {
	LD_PRELOAD=${EET_BIN%/bin}/test/torture/faults.so \
		ASAN_OPTIONS=${ASAN_OPTIONS-}:verify_asan_link_order=0 "$@"
}

says() {
	grep -q "$2" "$1.err"
}

says_once() {
	[ "$(grep -c "$2" "$1.err")" = 1 ]
}

# What the processes have used of a processor, in ticks.
ticks() {
	local pid stat sum=0

	for pid; do
		stat=$(< "/proc/$pid/stat")
		# shellcheck disable=SC2086 # words
		set -- ${stat##*) }
		sum=$((sum + ${12} + ${13}))
	done
	echo $sum
}

# rests PID...: in a second they use less than what spins gets of a busy machine.
rests() {
	local before

	before=$(ticks "$@")
	sleep 1 # the passing of time is what is tested
	[ $(($(ticks "$@") - before)) -le 2 ]
}

# idle PID...: when they have done what there is to do, they use next to nothing.
idle() {
	wait_for rests "$@"
}

healthz() {
	curl -sS -w ' %{http_code}' "http://127.0.0.1:$port/healthz"
}

# Names and sums of what is complete in out.
complete() {
	(cd out && find . -name '*.eet' -o -name '*.wav' | sort | xargs -r md5sum)
}

# --- full ---

# A sink for a.eet and b.eet: its programs are started, what they write to disk fails.
start_full() {
	EET_ACTION=ENOSPC EET_CALLS='openat write writev'
	case $1 in
	spool) faulty start_listen --spool out -s 20k ;;
	file) faulty start_listen -o log ;;
	pipe)
		mkfifo pipe
		in=pipe faulty spawn rotate eet-rotate -s 20k out
		out=pipe start_listen
		wait_for test -s out/.next
		;;
	esac
}

@test "disk: full, spool, file and pipe: said once, nobody spins, and nothing is lost when it goes on" {
	for sink in spool file pipe; do
		full=listen
		[ $sink != pipe ] || full=rotate
		start_full $sink
		spawn first "$EET_ROOT/test/send.py" "$url" a.eet
		finish first
		[ "$status" = 0 ]
		[ $sink = file ] || wait_for compgen -G 'out/*.wav'
		[ $sink = file ] || complete > before
		: > flag
		spawn send "$EET_ROOT/test/send.py" "$url" a.eet b.eet
		wait_for says $full 'No space left on device\|no space left on the disk'
		[ $sink = pipe ] || [ "$(healthz)" = $'the disk is full\n 503' ]
		idle "${pids[$full]}"
		rm flag
		finish send
		[ "$status" = 0 ]
		says_once $full 'No space left on device\|no space left on the disk'
		wait_for says $full 'there is space'
		[ "$(healthz)" = $'ok\n 200' ]
		stop listen
		[ "$status" = 0 ]
		if [ $sink = pipe ]; then
			finish rotate
			[ "$status" = 0 ]
		elif [ $sink = file ]; then
			run -0 eet-rotate -q out < log
		fi
		[ $sink = file ] || (cd out && md5sum --check --quiet ../before)
		"$logs" spool out a.eet a.eet b.eet
		rm -r out before "$full.err" send.out log pipe 2> /dev/null || :
	done
}

@test "disk: SIGTERM while it is full is answered within a second, exit 1, with what is not stored" {
	for sink in spool file pipe; do
		full=listen
		[ $sink != pipe ] || full=rotate
		start_full $sink
		: > flag
		spawn send "$EET_ROOT/test/send.py" "$url" a.eet b.eet
		wait_for says $full 'No space left on device\|no space left on the disk'
		kill -TERM "${pids[$full]}"
		within 2 gone "${pids[$full]}"
		finish $full
		[ "$status" = 1 ]
		says $full 'could not be stored\|not stored'
		[ $sink != pipe ] || finish listen
		finish send
		rm flag
		[ $sink = file ] || run -0 eet-rotate -q out < /dev/null
		[ $sink = file ] || [ "$(cd out && echo *.part)" = '*.part' ]
		rm -r out "$full.err" log pipe 2> /dev/null || :
	done
}

@test "disk: half of --min-free is kept for completing: SIGTERM finds room for all, exit 0" {
	needs_mount
	in=/dev/null spawn listen on_tmpfs 16M bash -c 'head -c 11M /dev/zero > small/ballast
		mkfifo ready
		exec eet-listen --spool small/out -t 0 --min-free 8M --ready-fd 4 localhost:0 4> ready'
	wait_for [ -p ready ]
	await_ready ready
	spawn send "$EET_ROOT/test/send.py" --repeat 1000 "$url" a.eet
	wait_for says listen 'small/out: no more than half of --min-free is free: recording waits for space'
	[ "$(healthz)" = $'the disk is full\n 503' ]
	exec 8< "/proc/${pids[listen]}/root$PWD/small"
	[ "$(stat -f -c '%a * %S' /dev/fd/8/ | xargs expr)" -gt 3500000 ]
	stop listen
	[ "$status" = 0 ]
	finish send
	says_once listen 'recording waits'
	# As soon as it is complete it is the oldest one, and there is still too little space.
	says listen 'removed because of --min-free'
	[ "$(cd /dev/fd/8/out && echo *)" = index.jsonl ]
	[ "$(jq 'select(.event == "segment") | .frames' /dev/fd/8/out/index.jsonl)" = \
		"$(sed -n 's/.* closed: 1001 .*, \([0-9]*\) frames.*/\1/p' listen.err)" ]
	exec 8<&-
}

# --- gone ---

@test "disk: a directory or file that is removed is missed within a second or two: exit 1, its path" {
	start_listen --spool out -t 0
	spawn send "$EET_ROOT/test/send.py" --acks 5 --repeat 1000000 "$url" a.eet
	wait_for grep -q acked send.out
	rm -r out
	finish listen
	[ "$status" = 1 ]
	grep -q '^eet-listen: out/.*: No such file or directory$' listen.err
	finish send
	grep -q 'closed 1011' send.out
	# A capture's can be made anew, and SIGHUP reopens it.
	mkdir out
	start_listen -o out/log
	spawn send "$EET_ROOT/test/send.py" --acks 5 --repeat 1000000 "$url" a.eet
	wait_for grep -q acked send.out
	rm -r out
	wait_for grep -q '^eet-listen: out/log: removed' listen.err
	stop listen
	[ "$status" = 1 ]
	finish send
	# Its lines would be missing.
	for gone in 'rm out/index.jsonl' 'mv out/index.jsonl moved' 'mv moved out/index.jsonl'; do
		start_listen --spool out -t 0
		spawn send "$EET_ROOT/test/send.py" --acks 5 --repeat 1000000 "$url" a.eet
		wait_for grep -q acked send.out
		$gone
		finish listen
		[ "$status" = 1 ]
		grep -q '^eet-listen: out/index.jsonl: No such file or directory$' listen.err
		finish send
		run -0 eet-rotate -q out < /dev/null
		: > told
		"$logs" acked out told a.eet
	done
	rm -r out
	mkfifo pipe
	in=pipe spawn rotate eet-rotate -t 0 out
	out=pipe start_listen
	spawn send "$EET_ROOT/test/send.py" --acks 5 --repeat 1000000 "$url" a.eet
	wait_for compgen -G 'out/*.part'
	rm -r out
	finish rotate
	[ "$status" = 1 ]
	grep -q '^eet-rotate: out/.*: No such file or directory$' rotate.err
	finish listen
	[ "$status" = 1 ]
	finish send
}

@test "disk: what eet-demux writes is missed when it ends: exit 1, its path; the others are whole" {
	mkfifo pipe
	in=pipe spawn demux eet-demux -d out
	exec 7> pipe
	"$logs" mux > log <<-SCRIPT
		0 OPEN 1 pcm id=1
		0 OPEN 2 pcm id=2
		0 FRAME 1 count=5 step=0
		0 FRAME 2 count=5 step=0
		1 CLOSE 1 1000
		1 CLOSE 2 1000
	SCRIPT
	head -c -52 log >&7
	wait_for compgen -G 'out/*_s2.eet'
	rm out/*_s1.eet
	tail -c 52 log >&7
	exec 7>&-
	finish demux
	[ "$status" = 1 ]
	grep -q '^eet-demux: out/.*_s1\.eet: No such file or directory$' demux.err
	[ "$(stat -c %s out/*_s2.eet)" = 1692 ]
}

@test "disk: where nothing is written a removed directory is missed by the next segment" {
	start_listen --spool out
	spawn send "$EET_ROOT/test/send.py" "$url" a.eet
	finish send
	wait_for compgen -G 'out/*.wav'
	rm -r out
	idle "${pids[listen]}"
	spawn send "$EET_ROOT/test/send.py" "$url" a.eet
	finish listen
	[ "$status" = 1 ]
	grep -q '^eet-listen: out/.*: No such file or directory$' listen.err
	finish send
}

# --- broken ---

@test "disk: EIO of all files is told with the path, clients see 1011, exit 1; the next start recovers" {
	EET_ACTION=EIO
	for EET_CALLS in write writev fsync openat pwrite; do
		faulty start_listen --spool out -s 20k
		: > flag
		spawn send "$EET_ROOT/test/send.py" --hold "$url" a.eet b.eet
		finish listen
		[ "$status" = 1 ]
		grep -q '^eet-listen: out.*: Input/output error' listen.err
		finish send
		grep -q 'closed 1011' send.out
		rm flag
		run -0 eet-rotate -q out < /dev/null
		[ "$(cd out && echo *.part)" = '*.part' ]
		: > told
		"$logs" acked out told a.eet b.eet
		rm -r out
	done
}

# Ten streams beside one whose file fails; all frames of a log, each a segment of its own.
@test "disk: a file that fails, at any step, fails alone: ten streams beside it notice nothing" {
	for i in {0..10}; do echo "0 OPEN $((i + 1)) pcm id=$i"; done > script
	for t in {1..3}; do
		for i in {0..10}; do echo "$t FRAME $((i + 1)) count=20 step=0"; done
	done >> script
	for i in {0..10}; do echo "5 CLOSE $((i + 1)) 1000"; done >> script
	"$logs" mux < script > log
	eet-rotate -q -t 1 whole < log
	bad=stream_3_20260131T101502.000Z_s4
	EET_ACTION=EIO
	: > flag
	for fault in "writev .eet.part" "fsync .eet.part" "fsync .wav.part" "openat .wav.part" \
		"write .wav.part" "read .eet.part" "linkat .eet" "linkat .wav"; do
		# Where many end at once, one call syncs them all.
		EET_CALLS="${fault% *} syncfs" EET_ON=$bad${fault#* }
		run -1 --separate-stderr faulty eet-rotate -t 1 out < log
		[[ $stderr == *"$bad"*": Input/output error"* ]]
		# The others' files are the same, byte for byte, and their lines too.
		for f in whole/*; do
			case $f in
			*"$bad"* | *index.jsonl | *_s4.*) ;;
			*) cmp "$f" "out/${f#whole/}" ;;
			esac
		done
		diff <(grep -v '"session":4,' whole/index.jsonl) <(grep -v '"session":4,' out/index.jsonl)
		[ "$(jq -r 'select(.error != null) | .eet' out/index.jsonl)" = "$bad.eet" ]
		# All frames of the broken one are on the disk, and the next start finds them.
		eet-rotate -q out < /dev/null
		[ "$(cd out && echo *.part)" = '*.part' ]
		[ "$(eet-wav -q out/*_s4.eet | md5sum)" = "$(eet-wav -q whole/*_s4.eet | md5sum)" ]
		rm -r out
	done
}

@test "disk: what an earlier run left holds nobody up: streams are recorded while it is being completed" {
	mkdir out
	cp a.eet out/stream_9_20260101T000000.000Z_s1.eet.part
	EET_ACTION=stall EET_CALLS='fsync syncfs' EET_ON=_s1.eet.part
	: > flag
	faulty start_listen --spool out -s 20k
	spawn send "$EET_ROOT/test/send.py" "$url" a.eet b.eet
	finish send
	[ "$status" = 0 ]
	wait_for sessions_end 2
	[ -e out/stream_9_20260101T000000.000Z_s1.eet.part ]
	[ "$(healthz)" = $'ok\n 200' ]
	rm flag
	wait_for no_parts out
	stop listen
	[ "$status" = 0 ]
	cmp a.eet out/stream_9_20260101T000000.000Z_s1.eet
	"$logs" spool out a.eet a.eet b.eet
}

@test "disk: a directory that can't be read, or not be written, is said so at the start" {
	mkdir out
	: > flag
	# shellcheck disable=SC2086 # words
	for EET_CALLS in readdir openat; do
		: > out/index.jsonl
		cp a.eet out/stream_1_20260131T101500.000Z_s1.eet.part
		for program in 'eet-rotate out' 'eet-listen --spool out localhost:0'; do
			EET_ACTION=EIO run -1 --separate-stderr faulty $program < /dev/null
			[[ $stderr == *": out"*": Input/output error" ]]
			EET_ACTION=EROFS EET_CALLS='open openat' run -1 --separate-stderr \
				faulty $program < /dev/null
			[ "$stderr" = "${program%% *}: out/index.jsonl: Read-only file system" ]
		done
	done
	cmp a.eet out/*.part
	"$logs" mux > log <<-SCRIPT
		0 OPEN 1 pcm
		0 FRAME 1 count=5
		1 CLOSE 1 1000
	SCRIPT
	export EET_ACTION=EROFS EET_CALLS='open openat mkdir'
	for program in 'eet-listen -o new localhost:0' 'eet-demux -d new log' 'eet-wav -d new log' \
		'eet-wav -o new log' "eet-adpcm -e -o new $data/speech_8k.wav"; do
		# shellcheck disable=SC2086 # words
		run -1 --separate-stderr faulty $program
		[[ $stderr == "${program%% *}: new"*": Read-only file system" ]]
		[ ! -e new ]
	done
}

# --- few descriptors ---

# twenty_sessions: a mux log of them, all open at once.
twenty_sessions() {
	local i k

	for i in {1..20}; do
		echo "0 OPEN $i pcm id=$i"
	done
	for k in {0..3}; do
		for i in {1..20}; do
			echo "$k FRAME $i seq=$k"
		done
	done
}

@test "disk: more sessions than descriptors: eet-rotate makes the same files" {
	twenty_sessions | "$logs" mux > log
	eet-rotate -q -t 2 --sync none whole < log
	for most in 18 70; do
		# An unhurried log, and one that comes at once.
		bash -c "ulimit -n $most; exec eet-rotate -q -t 2 --sync none out" < log
		diff -r whole out
		rm -r out
	done
}

@test "disk: more sessions than descriptors: eet-wav makes the same files, and says no more" {
	{
		twenty_sessions
		for i in {1..20}; do
			echo "4 CLOSE $i 1000"
		done
		# Damage is told once.
		echo "RAW 00"
	} | "$logs" mux > log
	run -3 --separate-stderr eet-wav -d whole log
	expected=$stderr
	for most in 8 14; do
		run -3 --separate-stderr bash -c "ulimit -n $most; exec eet-wav -d out log"
		[ "$stderr" = "$expected" ]
		diff -r whole out
		rm -r out
	done
	# shellcheck disable=SC2002 # a pipe can't be read twice
	cat log | bash -c 'ulimit -n 14; exec eet-wav -q -d out' || [ $? = 3 ]
	diff -r whole out
	# One that is there is told once, and the others are written.
	rm out/*_s[1-5].wav out/*_s[12][0-9].wav
	run -1 --separate-stderr bash -c 'ulimit -n 8; exec eet-wav -q -d out log'
	[ "$(grep -c 'File exists' <<< "$stderr")" = 4 ]
	diff -r whole out
}

@test "disk: fewer descriptors than clients: with --spool the others wait, and all are stored" {
	mkfifo ready
	spawn listen bash -c 'ulimit -n 72; exec eet-listen --spool out --ready-fd 4 localhost:0 4> ready'
	await_ready ready
	spawn first "$EET_ROOT/test/send.py" --hold "$url" a.eet b.eet a.eet b.eet
	wait_for says listen 'connections, as many as'
	spawn send "$EET_ROOT/test/send.py" "$url" a.eet a.eet b.eet b.eet
	idle "${pids[listen]}"
	stop first
	finish send
	[ "$status" = 0 ]
	stop listen
	[ "$status" = 0 ]
	says_once listen '4 connections, as many as the limit of descriptors allows: more have to wait'
	"$logs" spool out a.eet a.eet a.eet a.eet b.eet b.eet b.eet b.eet
}

# --- stalled ---

# serves N: so many new streams, one after the other, and their pings are answered.
serves() {
	py "$port" "$1" <<-'PY'
		import sys, time
		from wsclient import *
		for i in range(int(sys.argv[2])):
		    ws = connect(sys.argv[1])
		    ws.send(handshake(stream_id=9))
		    ws.send(b"", PING)
		    assert ws.recv()[0] == PONG
		    assert ws.close() == (1000, "")
		    time.sleep(0.05)
	PY
	[ "$(healthz)" = $'ok\n 200' ]
	idle "${pids[listen]}"
}

@test "disk: while a sync does not return, streams, echo and new clients are served, then all is complete" {
	EET_ACTION=stall EET_CALLS='fsync fdatasync'
	faulty start_listen --spool out -s 20k --sync 1
	: > flag
	spawn send "$EET_ROOT/test/send.py" --acks 20 "$url" a.eet b.eet
	finish send
	[ "$status" = 0 ]
	serves 20
	# Nothing is called complete that is not synced.
	refute compgen -G 'out/*.wav'
	[ ! -s out/index.jsonl ]
	kill -TERM "${pids[listen]}"
	rm flag
	finish listen
	[ "$status" = 0 ]
	jq -r 'select(.event == "segment") | .eet' out/index.jsonl | wc -l
	"$logs" spool out a.eet b.eet
}

@test "disk: a second signal ends what a sync holds up, exit 1; the next start completes it" {
	EET_ACTION=stall EET_CALLS='fsync fdatasync'
	for program in listen rotate; do
		if [ $program = listen ]; then
			faulty start_listen --spool out -t 0
		else
			mkfifo pipe
			in=pipe faulty spawn rotate eet-rotate -t 0 out
			out=pipe start_listen
		fi
		wait_for [ -e out/index.jsonl ]
		: > flag
		spawn send "$EET_ROOT/test/send.py" "$url" a.eet
		finish send
		wait_for compgen -G 'out/*.part'
		[ $program = listen ] || stop listen
		kill -TERM "${pids[$program]}"
		idle "${pids[$program]}"
		wait_for says $program 'out: completing segments, or their commands, takes long'
		kill -TERM "${pids[$program]}"
		within 2 gone "${pids[$program]}"
		finish $program
		[ "$status" = 1 ]
		says $program 'what is not completed will be by the next start'
		says_once $program 'takes long'
		rm flag
		run -0 eet-rotate -q out < /dev/null
		"$logs" spool out a.eet
		rm -r out
	done
}

# How many lines of the index are of that event.
count() {
	grep -c "\"event\":\"$1\"" out/index.jsonl
}

sessions_end() {
	[ "$(count session)" -ge "$1" ]
}

@test "disk: while an unlink does not return, streams are served and completed; then the limits are kept" {
	# Completing unlinks the names of its parts, which is not what is meant.
	EET_ACTION=stall EET_CALLS=unlinkat EET_ON=.eet
	faulty start_listen --spool out -s 20k --no-wav --keep-bytes 1
	: > flag
	spawn send "$EET_ROOT/test/send.py" --acks 20 "$url" a.eet b.eet
	finish send
	[ "$status" = 0 ]
	wait_for sessions_end 2
	serves 5
	refute says listen 'removed because'
	kill -TERM "${pids[listen]}"
	rm flag
	finish listen
	[ "$status" = 0 ]
	[ "$(cd out && echo *)" = index.jsonl ]
	[ "$(count segment)" -gt 5 ]
	jq -r 'select(.event == "segment") | .eet' out/index.jsonl | sort > segments
	sed -n 's/^eet-listen: out\/\(.*\): removed because of --keep-bytes, .*/\1/p' listen.err | sort |
		cmp - segments
}

@test "disk: a second signal ends what an unlink holds up, exit 1; the next start removes it" {
	EET_ACTION=stall EET_CALLS=unlinkat EET_ON=.eet
	eet-rotate -q -s 20k --no-wav out < a.eet
	complete > before
	: > flag
	faulty spawn rotate eet-rotate -q --keep-bytes 1 out
	# It is there, and all that it was to read.
	wait_for stalls "${pids[rotate]}"
	kill -TERM "${pids[rotate]}"
	idle "${pids[rotate]}"
	refute gone "${pids[rotate]}"
	kill -TERM "${pids[rotate]}"
	within 2 gone "${pids[rotate]}"
	finish rotate
	[ "$status" = 1 ]
	says rotate 'what is not completed will be by the next start'
	complete | cmp - before
	rm flag
	run -0 eet-rotate -q --keep-bytes 1 out < /dev/null
	[ "$(cd out && echo *)" = index.jsonl ]
}

# stalls PID: it has its threads, and each of them waits.
stalls() {
	[ "$(grep -lE '^State:.S' "/proc/$1"/task/*/status | wc -l)" -gt 3 ]
}

@test "disk: what can't be removed is told once, with its path, and exit 1; the next start removes it" {
	EET_ACTION=EIO EET_CALLS=unlinkat
	eet-rotate -q -s 20k out < a.eet
	complete > before
	: > flag
	faulty spawn rotate eet-rotate -q --keep-bytes 1 out
	finish rotate
	[ "$status" = 1 ]
	says_once rotate '.'
	says rotate '^eet-rotate: out/.*\.wav: can.t be removed: Input/output error$'
	complete | cmp - before
	rm flag
	run -0 eet-rotate -q --keep-bytes 1 out < /dev/null
	[ "$(cd out && echo *)" = index.jsonl ]
}

# As many as can wait to be completed, or nearly.
queue_is_full() {
	[ "$(find out -name '*.eet*' | wc -l)" -gt 4096 ]
}

@test "disk: a sync that holds up so much that nothing more is read is said, and a second signal ends it" {
	{
		printf '0 OPEN %d pcm n=4\n' {1..250}
		for i in {0..20}; do
			printf "0 FRAME %d seq=$i\\n" {1..250}
		done
	} | "$logs" mux > log
	EET_ACTION=stall EET_CALLS='fsync fdatasync'
	mkfifo pipe
	in=pipe faulty spawn rotate eet-rotate -q -s 1 --no-wav out
	exec 7> pipe
	wait_for [ -e out/index.jsonl ]
	: > flag
	out=/dev/fd/7 spawn feed cat log
	pid=${pids[rotate]}
	wait_for queue_is_full
	idle "$pid"
	wait_for says rotate 'out: completing segments, or their commands, takes long'
	kill -TERM "$pid"
	idle "$pid"
	refute gone "$pid"
	kill -TERM "$pid"
	within 2 gone "$pid"
	exec 7>&-
	finish feed
	finish rotate
	[ "$status" = 1 ]
	[[ $(tail -n 2 rotate.err) == *'standard input: offset '*': from here on it is not stored
'*': out: what is not completed will be by the next start' ]]
	rm flag
	eet-rotate -q --no-wav --sync none out < /dev/null > list
	offset=$(sed -n 's/.*offset \([0-9]*\): from.*/\1/p' rotate.err)
	[ "$(jq -s 'map(select(.event == "segment").frames) | add' out/index.jsonl)" = \
		"$(head -c "$offset" log | eet-info --json | jq -s 'map(.frames) | add')" ]
}

# --- disks whose files belong to somebody else ---

# ./theirs: whoever makes a file in it, it belongs to user 1000.
with_uid() {
	[ "$(id -u)" = 0 ] || skip 'needs root'
	command -v bindfs > /dev/null || skip 'needs bindfs'
	mkdir -m 777 backing theirs
	bindfs --force-user=1000 --force-group=1000 -p a+rwX backing theirs 2> /dev/null ||
		skip 'bindfs cannot mount here'
}

teardown() {
	eet_teardown
	! mountpoint -q theirs || umount theirs
}

@test "disk: where files belong to another user whoever makes them, what a recorder left is completed" {
	with_uid
	mkfifo pipe
	in=pipe spawn rotate eet-rotate -q -t 0 theirs/out
	exec 7> pipe
	head -c 4000 a.eet >&7
	wait_for sh -c '[ -s theirs/out/*.eet.part ]'
	kill -KILL "$pid"
	finish rotate
	exec 7>&-
	run -0 --separate-stderr eet-rotate theirs/out < /dev/null
	[[ $stderr == *': recovered, '*' frames' ]]
	[ "$(ls theirs/out/*.part 2> /dev/null)" = "" ]
	cmp <(head -c "$(stat -c %s theirs/out/*.eet)" a.eet) theirs/out/*.eet
}

@test "disk: where files belong to another user whoever makes them, limits remove what is over" {
	with_uid
	for i in 1 2 3; do
		eet-rotate -q --no-wav theirs/out < a.eet
	done
	run -0 eet-rotate -q --keep-bytes "$(stat -c %s a.eet)" theirs/out < /dev/null
	[ "$(find theirs/out -name '*.eet' | sed 's/.*_s//')" = 3.eet ]
}

# --- full at the start ---

# small SIZE INODES SCRIPT: with ./small of so much, for as long as the script runs.
small() {
	unshare -rm true 2> /dev/null || skip 'needs a file system of its own'
	mkdir small
	small_size=$1 small_inodes=$2 unshare -rm bash -c '
		mount -t tmpfs -o size="$small_size,nr_inodes=$small_inodes" none small
		'"$3"
}

# Segments of 100 ms, and what a crash left growing; the script goes on to fill the disk.
crash='
	eet-rotate -q -t 100ms small/out < b.eet > list
	cut=$(($(stat -c %s a.eet) - 100))
	cp a.eet small/out/stream_1_20260131T101500.000Z_s9.eet.part
	head -c $cut a.eet > small/out/stream_1_20260131T101501.000Z_s9.eet.part
'

# start LIMIT...: the next one removes what is over it, completes what was left, and ends.
start() {
	echo "
		timeout -s KILL 20 eet-rotate $* small/out < /dev/null > left 2> err
		echo \$? > status
		cp -r small/out out
	"
}

# All that was left growing is there, and was not at the cost of all others.
went_on() {
	cat err
	[ "$(< status)" = 0 ]
	[ "$(ls out/*.part 2> /dev/null)" = "" ]
	cmp a.eet out/stream_1_20260131T101500.000Z_s9.eet
	cmp <(head -c "$(stat -c %s out/stream_1_20260131T101501.000Z_s9.eet)" a.eet) \
		out/stream_1_20260131T101501.000Z_s9.eet
	[ "$(find out -name '*_s9.wav' | wc -l)" = 2 ]
	grep -q "removed because of $1" err
	[ "$(find out -name '*_s1.eet' | wc -l)" -gt 1 ]
}

@test "disk: full at the start: limits make room for what an earlier run left" {
	small 1300k 1000 "$crash"'cat /dev/zero > small/other 2> /dev/null
		'"$(start --min-free 100k)"
	went_on --min-free
}

@test "disk: no inode free at the start: limits make room for what an earlier run left" {
	small 4M 100 "$crash"'while : > small/$((i += 1)); do :; done 2> /dev/null
		'"$(start --keep-bytes 300k)"
	went_on --keep-bytes
	rm -r small out
	small 4M 100 "$crash"'while : > small/$((i += 1)); do :; done 2> /dev/null
		'"$(start --min-free 64k)"
	went_on --min-free
}
