#!/usr/bin/env bats
# Programs in a pipe: a reader that dies, stands still or is slow; Ctrl-C on all of them; SIGTERM to
# one or another; a second signal.  Random moments and orders of it: test/torture/kill.py.
#
# EET_STOP: seconds for which a reader stands still (5).
# shellcheck disable=SC2030,SC2031,SC2035,SC2154 # names of our own; the helper and `run` set variables
load helper

logs=$EET_ROOT/test/logs.py
data=$EET_ROOT/data

setup_file() {
	cd "$BATS_FILE_TMPDIR" || return
	"$logs" pcm "$data/speech_8k.wav" n=160 id=1 > a.eet
	"$logs" state "$data/stereo_44k1.wav" n=882 id=2 > b.eet
	"$logs" pcm "$data/noise_48k.wav" n=960 id=3 > c.eet
	"$logs" state "$data/sine_pcm16.wav" n=320 id=4 > d.eet
}

setup() {
	eet_setup
	cp "$BATS_FILE_TMPDIR"/*.eet .
}

# start_pipe [OPTION...]: eet-listen OPTION... | eet-rotate -s 100k out
start_pipe() {
	mkfifo pipe
	in=pipe spawn rotate eet-rotate -q -s 100k out
	out=pipe start_listen "$@"
}

# start_sending [OPTION...]: streams that tell what is stored.
start_sending() {
	rm -f send.out
	spawn send "$EET_ROOT/test/send.py" --acks 20 "$@" "$url" ?.eet
}

# acked N: send.py has told so often that something is stored.
acked() {
	[ "$(grep -c ' acked ' send.out)" -ge "$1" ]
}

# held N: so many streams are held back.
held() {
	kill -USR1 "${pids[listen]}"
	grep -q "streams open, $1 held back" listen.err
}

says() {
	grep -Exq "$2" "$1.err"
}

@test "pipe: the reader dies: said, with what is lost; clients see 1011, exit 1" {
	for reader in 'eet-rotate -q rotated' 'eet-demux -d demuxed' 'eet-wav -q -d wavs'; do
		rm -f pipe
		mkfifo pipe
		# shellcheck disable=SC2086 # words
		in=pipe spawn reader $reader
		out=pipe start_listen -q
		start_sending --repeat 10000
		wait_for acked 20
		kill -STOP "${pids[reader]}"
		wait_for held 4
		kill -KILL "${pids[reader]}"
		finish reader
		finish listen
		[ "$status" = 1 ]
		says listen 'eet-listen: standard output: the reader is gone: Broken pipe'
		says listen 'eet-listen: standard output: the last [0-9]+ bytes of the log could not be stored'
		finish send
		[ "$(grep -c ' closed 1011 ' send.out)" = 4 ]
	done
	# What had reached it is there, after a restart if need be.
	eet-rotate -q rotated < /dev/null > list
	: > told
	"$logs" acked rotated told ?.eet
	for log in demuxed/*.eet; do
		eet-wav -q -o "${log%.eet}.wav" "$log" || [ $? = 3 ]
	done
	[ "$(cd demuxed && echo *.wav | wc -w)" = 4 ]
}

@test "pipe: the reader stands still for longer than any timeout: held back, and nothing is lost" {
	start_pipe --idle-timeout 3s
	start_sending --repeat 10
	# A client that leaves pinging to the server.
	spawn client /usr/bin/python3 "$EET_ROOT/client/stream_client.py" --url "$url" --wav "$data/stereo_44k1.wav" \
		--codec pcm --streams 4 --stream-id-base 100
	py "${pids[listen]}" "${pids[rotate]}" "${EET_STOP:-5}" <<-'PY'
		import os, signal, sys, time
		from wsclient import MEMORY_SLACK, memory
		listener, rotator, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
		os.kill(rotator, signal.SIGSTOP)
		before = most = memory(listener)
		end = time.monotonic() + seconds
		while time.monotonic() < end:
		    most = max(most, memory(listener))
		    time.sleep(0.05)
		os.kill(rotator, signal.SIGCONT)
		# 1 MiB, 64 KiB and an unfinished message per stream.
		limit = 1024 + 8 * (64 + 16) + MEMORY_SLACK
		assert most - before < limit, f"{most - before} KiB more, at most {limit}"
	PY
	finish send
	[ "$status" = 0 ]
	finish client
	[ "$status" = 0 ]
	stop listen
	[ "$status" = 0 ]
	finish rotate
	[ "$status" = 0 ]
	# All frames of all, and from the four of the client the same sound.
	[ "$(jq -s 'map(select(.event == "session" and .stream_id >= 100)) | map(.samples) | unique[]' \
		out/index.jsonl)" = 66150 ]
	[ "$(jq -s 'map(select(.event == "session" and .close_code == 1000)) | length' out/index.jsonl)" = 8 ]
	mkdir others
	for session in $(jq 'select(.event == "session" and .stream_id >= 100) | .session' out/index.jsonl); do
		mv out/*_s"$session".* others
	done
	"$logs" acked out send.out ?.eet
}

# A reader that takes N KiB/s.
throttle() {
	/usr/bin/python3 -c '
import os, sys, time
while data := os.read(0, 1 << 14):
    os.write(1, data)
    time.sleep(len(data) / 1024 / float(sys.argv[1]))' "$1"
}

@test "pipe: the reader is slow: all of many streams get through" {
	mkfifo pipe pipe2
	in=pipe2 spawn rotate eet-rotate -q out
	in=pipe out=pipe2 spawn throttle throttle 3000
	out=pipe start_listen
	# It stands until they are held back, and then is slow.
	kill -STOP "${pids[throttle]}"
	for i in {1..32}; do
		ln -s a.eet "$i.eet"
	done
	spawn send "$EET_ROOT/test/send.py" --repeat 2 "$url" [0-9]*.eet
	wait_for held '[1-9][0-9]*'
	kill -CONT "${pids[throttle]}"
	finish send
	[ "$status" = 0 ]
	[ "$(grep -c ' acked 338$' send.out)" = 32 ]
	stop listen
	finish throttle
	finish rotate
	[ "$status" = 0 ]
	[ "$(jq -s 'map(select(.event == "session")) | map(.frames) | unique == [338]' out/index.jsonl)" = true ]
	: > told
	"$logs" acked out told a.eet
	[ "$(echo out/*.eet | wc -w)" = 32 ]
}

# terminal COMMAND: in bash, in a terminal, with everything in its foreground; when there is a file
# "interrupt", Ctrl-C is typed.  Prints what the terminal shows, and the exit statuses.
terminal() {
	rm -f interrupt
	py "$1" <<-'PY'
		import os, pty, select, sys
		pid, tty = pty.fork()
		if pid == 0:
		    os.execvp("bash", ["bash", "-c", "trap : INT\n" + sys.argv[1] +
		                       "\necho status ${PIPESTATUS[*]}"])
		while True:
		    if os.path.exists("interrupt"):
		        os.unlink("interrupt")
		        os.write(tty, b"\x03")
		    if select.select([tty], [], [], 0.02)[0]:
		        try:
		            print(os.read(tty, 4096).decode(), end="", flush=True)
		        except OSError:
		            break
		os.waitpid(pid, 0)
	PY
}

# ctrl_c PIPELINE FILES: with streams that send, until Ctrl-C, when its last program has made such
# files, and so has its signals in hand.  All programs exit with 0.
ctrl_c() {
	rm -f ready
	mkfifo ready
	spawn terminal terminal "eet-listen -q --ready-fd 4 localhost:0 4> ready $1"
	await_ready ready
	start_sending --repeat 10000
	wait_for acked 20
	wait_for compgen -G "$2"
	: > interrupt
	finish terminal
	finish send
	[ "$(grep -c ' closed 1001 ' send.out)" = 4 ]
	tr -d '\r' < terminal.out
	tr -d '\r' < terminal.out | grep -q 'status 0 0\( 0\)*$'
}

@test "pipe: Ctrl-C on a pipeline: what was confirmed is stored, all exit with 0" {
	ctrl_c '| eet-rotate -q -s 50k out > list' 'out/*.eet*'
	"$logs" acked out send.out ?.eet
	# Not so any program that is not told to go on.
	ctrl_c '| tee -ip all.log | eet-rotate -q -t 1s kept > list' 'kept/*.eet*'
	"$logs" acked kept send.out ?.eet
	eet-rotate -q -t 1s again < all.log > list
	diff -r kept again
	ctrl_c '| tee -ip all.log | eet-demux -d demuxed' 'demuxed/*.eet'
	eet-demux -d demuxed2 all.log
	diff -r demuxed demuxed2
	eet-rotate -q -t 0 replayed < all.log > list
	"$logs" acked replayed send.out ?.eet
	ctrl_c '| tee -ip all.log | eet-wav -q -d wavs' wavs
	eet-wav -q -d wavs2 all.log
	diff -r wavs wavs2
}

@test "pipe: SIGTERM to eet-rotate alone: it reads on for 5 s, then says where it stopped; exit 3 and 1" {
	mkfifo pipe
	in=pipe spawn rotate eet-rotate -q -t 0 --sync none out
	out=pipe start_listen -q
	start_sending --repeat 10000
	wait_for acked 20
	began=${EPOCHREALTIME/./}
	kill -TERM "${pids[rotate]}"
	within 9 gone "${pids[rotate]}"
	[ "$(since "$began")" -ge 4500000 ]
	finish rotate
	[ "$status" = 3 ]
	says rotate 'eet-rotate: standard input: offset [0-9]+: stopped here, the input has not ended'
	finish listen
	[ "$status" = 1 ]
	says listen 'eet-listen: standard output: the reader is gone: Broken pipe'
	finish send
	[ "$(echo out/*.part)" = 'out/*.part' ]
	: > told
	"$logs" acked out told ?.eet
}

# stalled FUNCTION...: fsyncs of what it starts take as long as there is a file "stall".
stalled() {
	LD_PRELOAD=${EET_BIN%/bin}/test/torture/faults.so EET_WHILE=$PWD/stall EET_ACTION=stall \
		EET_CALLS='fsync fdatasync' ASAN_OPTIONS=${ASAN_OPTIONS-}:verify_asan_link_order=0 "$@"
}

# Does it accept no more connections?
refuses() {
	! curl -s "http://127.0.0.1:$port/healthz"
}

@test "pipe: a second signal ends eet-listen --spool at once: exit 1 if not all is complete" {
	stalled start_listen -q --spool out
	: > stall
	spawn send "$EET_ROOT/test/send.py" --hold "$url" a.eet
	wait_for grep -q acked send.out
	kill "${pids[listen]}"
	wait_for refuses
	kill "${pids[listen]}"
	finish send
	grep -q 'closed 1001' send.out
	# The disk is still waited for.
	rm stall
	finish listen
	[ "$status" = 1 ]
	[ "$(< listen.err)" = 'eet-listen: out: what is not completed will be by the next start' ]
	eet-rotate -q out < /dev/null > list
	"$logs" spool out a.eet
}

@test "pipe: a second signal ends what a command is given no chance to end: exit 1, segments too" {
	start_listen -q --spool out -- sh -c 'trap "echo deaf" TERM; while :; do sleep 0.05; done'
	spawn send "$EET_ROOT/test/send.py" --hold "$url" a.eet
	wait_for grep -q acked send.out
	kill "${pids[listen]}"
	wait_for grep -qx deaf listen.out
	stop listen
	[[ $status == 1 || $status == 137 ]]
	[ "$status" = 137 ] || says listen 'eet-listen: out: what is not completed will be by the next start'
	finish send
	eet-rotate -q out < /dev/null > list
	"$logs" acked out send.out a.eet
}

# recovering PID: the directory is open, which is the first thing that is done with it.
recovering() {
	find "/proc/$1/fd" -lname "$PWD/out" | grep -q .
}

@test "pipe: SIGTERM ends salvage after the segments in hand; the next start goes on" {
	mkdir out
	for i in {100..299}; do
		cp a.eet "out/stream_1_20260131T101500.${i}Z_s$i.eet.part"
	done
	before=200
	for program in 'eet-rotate out' 'eet-listen --spool out localhost:0'; do
		: > stall
		# shellcheck disable=SC2086 # words
		stalled spawn recovery $program
		wait_for recovering "${pids[recovery]}"
		kill "${pids[recovery]}"
		rm stall
		finish recovery
		[ "$status" = 0 ]
		after=$(find out -name '*.eet.part' | wc -l)
		says recovery "${program%% *}: out: $after unfinished segments? left to the next start"
		[ "$after" -le "$before" ] && [ "$after" -gt 0 ]
		before=$after
	done
	eet-rotate -q out < /dev/null > list
	[ "$(find out -name '*.eet' | wc -l)" = 200 ]
	[ "$(echo out/*.part)" = 'out/*.part' ]
	[ "$(jq -s 'map(.eet) | unique | length' out/index.jsonl)" = 200 ]
}
