#!/usr/bin/env bats
# What eet(7) promises in DURABILITY, each promise by the name that it has there.
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

# Ten streams of so many frames; when all are read, eet-listen dies a turn later.
kill_a_turn_later() {
	py "$port" "${pids[listen]}" "${1:-300}" <<-'PY'
		import os, sys
		from wsclient import *
		port, pid, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
		clients = [connect(port) for i in range(10)]
		for i, ws in enumerate(clients):
		    ws.send(handshake(stream_id=i))
		    ws.raw(b"".join(ws_frame(BINARY, frame(n, bytes([i]) * 640)) for n in range(count)))
		for ws in clients:
		    ws.send(b"", PING)
		    ws.recv()
		echo = connect(port, "/ws/echo")  # a turn later
		os.kill(pid, 9)
	PY
	finish listen
}

@test "durability: spool: eet-listen is killed in mid-flow, again and again" {
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
		# Recording goes on at once, and what was left is completed meanwhile.
		start_listen --spool out
		wait_for no_parts out
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

@test "durability: restart: none is needed where eet-listen is killed in a pipeline" {
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

@test "durability: restart: eet-rotate is killed; clients see 1011, and what was complete stays" {
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

@test "durability: pipe: killing eet-rotate costs no more than what it had not read" {
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

@test "durability: restart: eet-rotate is killed at any moment, and its recovery too" {
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

@test "durability: turn: kill -9 loses nothing that was read a turn before" {
	start_listen -q -o log
	kill_a_turn_later
	py log <<-'PY'
		import sys
		from wsclient import *
		found = sessions(read_log(sys.argv[1]))
		assert [len(frames) for _, frames, _ in found.values()] == [300] * 10
	PY
}

@test "durability: spool: kill -9 loses nothing that was read a turn before" {
	start_listen -q --spool out
	kill_a_turn_later
	start_listen -q --spool out
	wait_for no_parts out
	stop listen
	[ "$(jq -sc 'map(select(.event == "segment") | [.frames, .recovered])' out/index.jsonl)" = \
		"[[300,true]$(printf ',[300,true]%.0s' {2..10})]" ]
	sound
}

@test "durability: spool: neither does it with a capture of tee, whoever is killed" {
	mkfifo pipe pipe2
	in=pipe2 spawn rotate eet-rotate out
	in=pipe out=pipe2 spawn tee tee -p capture
	out=pipe start_listen -q
	kill -STOP "${pids[rotate]}"
	# Less than a pipe's pages hold, be they half full, so that the server's output takes all,
	# whenever tee has its turn.
	kill_a_turn_later 4
	kill -KILL "${pids[rotate]}"
	finish rotate
	finish tee
	eet-rotate -q again < capture
	[ "$(jq -sc 'map(select(.event == "segment") | .frames) | unique' again/index.jsonl)" = '[4]' ]
	[ "$(jq -s 'map(select(.event == "segment")) | length' again/index.jsonl)" = 10 ]
}

@test "durability: blocked: kill -9 costs 1 MiB, and a message and 64 KiB per stream, at most" {
	mkfifo pipe
	exec 8<> pipe
	out=pipe start_listen -q
	exec 9< pipe 8>&-
	py "$port" "$pid" <<-'PY'
		import os, select, sys, time
		from wsclient import *
		port, pid = sys.argv[1], int(sys.argv[2])
		STREAMS, PAYLOAD = 20, 640
		RECORD, MESSAGE = 24 + 12 + PAYLOAD, 8 + 12 + PAYLOAD

		def unread():
		    """What the kernel has of all connections: sent by clients, not read by the server."""
		    waiting = 0
		    for line in open("/proc/net/tcp").read().splitlines()[1:]:
		        _, local, remote, _, queues, *_ = line.split()
		        if int(local[-4:], 16) == int(port):
		            waiting += int(queues[9:], 16)
		        if int(remote[-4:], 16) == int(port):
		            waiting += int(queues[:8], 16)
		    return waiting

		clients = [connect(port) for _ in range(STREAMS)]
		for i, ws in enumerate(clients):
		    ws.send(handshake(stream_id=i))
		    ws.sock.setblocking(False)
		batch = b"".join(ws_frame(BINARY, frame(0, bytes(PAYLOAD))) for _ in range(100))
		sent, left, quiet = 0, [batch] * STREAMS, time.monotonic()
		other_end = os.open("pipe", os.O_WRONLY)
		# Until nobody can send any more.
		while time.monotonic() < quiet + 1 or select.select([], [other_end], [], 0)[1]:
		    for i, ws in enumerate(clients):
		        try:
		            n = ws.sock.send(left[i])
		        except BlockingIOError:
		            continue
		        sent += n
		        left[i] = left[i][n:] or batch
		        quiet = time.monotonic()
		    time.sleep(0.01)
		os.close(other_end)
		read = sent - unread()
		os.kill(pid, 9)
		stored = 0
		while data := os.read(9, 1 << 16):
		    stored += len(data)
		assert stored < 100 << 10, stored
		lost = read // MESSAGE * RECORD - stored
		print(sent, read, stored, lost)
		assert 0 < lost <= (1 << 20) + STREAMS * (MESSAGE + (64 << 10)), lost
	PY
	exec 9<&-
	finish listen
}

@test "durability: cut: a log that is cut anywhere loses only its last, partial record" {
	printf '0 OPEN 1 adpcm id=1\n0 FRAME 1 seq=0 count=5 step=0\n' > script
	"$logs" mux < script > log.mux
	"$logs" frames < script > log.frames
	py log.mux log.frames <<-'PY'
		import json, os, struct, subprocess, sys

		def run(command, data):
		    done = subprocess.run(command, input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
		    return done.returncode, done.stdout

		for path in sys.argv[1:]:
		    log = open(path, "rb").read()
		    mux = path == "log.mux"
		    at, ends = 0, {}  # end of each record: frames until there
		    while at < len(log):
		        opening = at == 0
		        if mux:
		            at += 12 + struct.unpack_from("<I", log, at + 4)[0]
		        else:
		            at += 32 if opening else 12 + struct.unpack_from("<I", log, at + 4)[0]
		        ends[at] = 0 if opening else len(ends)
		    assert at == len(log) and max(ends.values()) == 5, ends
		    sizes = {}
		    for cut in range(len(log)):
		        whole = max((end for end in ends if end <= cut), default=0)
		        expected = 0 if cut == whole else 3
		        status, out = run(["eet-wav", "-q"], log[:cut])
		        if whole == 0:
		            continue
		        assert status == expected, (path, cut, status)
		        assert out == sizes.setdefault(whole, run(["eet-wav", "-q"], log[:whole])[1]), cut
		    frames = [json.loads(run(["eet-info", "--json"], log[:end])[1].splitlines()[0])["frames"]
		              for end in ends if ends[end]]
		    assert frames == [1, 2, 3, 4, 5], frames
	PY
}

# cut_power KIND...: wherever a file changes, in recovery too.
cut_power() {
	local kind

	for kind; do
		TMPDIR=$PWD "$EET_ROOT/test/torture/power.py" --states 60 --only "power cut, $kind" \
			"${EET_BIN%/bin}/test/torture/power.so"
	done
}

@test "durability: segment: a power cut costs no completed segment, nor its command" {
	cut_power '--sync segment' --exec
}

@test "durability: time: with --sync TIME, a power cut costs no more than TIME" {
	cut_power '--sync 1'
}

@test "durability: none: with --sync none, what a power cut leaves is recovered" {
	cut_power '--sync none'
}

@test "durability: each promise of eet(7) has its test" {
	sed -n '/^\.Sh DURABILITY/,/^\.Sh EXIT/s/^\.It Sy //p' "$EET_ROOT/man/eet.7" | sort > promises
	[ -s promises ]
	sed -n 's/^@test "durability: \([a-z]*\): .*/\1/p' "$EET_ROOT/test/durability.bats" |
		sort -u | diff promises -
}
