#!/usr/bin/env bats
# Clocks that are set, programs that are stopped, machines that sleep: recording goes on as if not.
# shellcheck disable=SC2154 # the helper and `run` set them
load helper

setup() {
	eet_setup
	shims=${EET_BIN%/bin}/test/torture
	export ASAN_OPTIONS=${ASAN_OPTIONS-}:verify_asan_link_order=0
}

mux() {
	/usr/bin/python3 "$EET_ROOT/test/logs.py" mux
}

# clock AHEAD [SLEPT]: set the clock of what is started by on_our_clock, or say how long its machine
# has slept so far; in seconds.
clock() {
	[ -e clock ] || head -c 16 /dev/zero > clock
	le64 "$1" "${2:-0}" | dd of=clock bs=16 conv=notrunc status=none
}

# on_our_clock COMMAND...: its monotonic clock is the true one.
on_our_clock() {
	LD_PRELOAD=$shims/clock.so EET_CLOCK=$PWD/clock "$@"
}

# index EXPRESSION: what jq makes of each line, on one line.
index() {
	jq -r "$1" out/index.jsonl | tr '\n' ' '
}

clocks() {
	TMPDIR=$PWD "$EET_ROOT/test/torture/clock.py" --seconds 2.5 --streams 6 "$@" \
		"$shims/clock.so"
}

@test "clock: set by hours while streams flow: rotation neither stalls nor bursts" {
	clocks --rounds 2 --only stepped
}

@test "clock: stopped for periods while streams flow: as many segments as periods, nobody closed" {
	clocks --rounds 1 --only stopped
}

@test "clock: asleep for hours while streams flow: one more segment, nobody closed" {
	clocks --rounds 1 --only asleep
}

# --- eet-listen ---

# stepping PORT PIPE: a stream of two frames, the second one when PIPE has been opened and closed.
stepping() {
	py "$@" <<-'PY'
		import sys
		from wsclient import *
		ws = connect(sys.argv[1])
		ws.send(handshake())
		ws.send(frame(0, bytes(640)))
		open(sys.argv[2]).read()
		ws.send(frame(1, bytes(640)))
		assert ws.close() == (1000, ""), "closed"
	PY
}

@test "clock: eet-listen says that it was set, once, and goes on by the one of its start" {
	local first last

	# libfaketime lets condition variables on the monotonic clock time out at once, so it is
	# for programs that wait for none: no spool.
	fake=$(echo /usr/lib/*/faketime/libfaketime.so.1)
	[ -e "$fake" ] || skip "needs libfaketime"
	ahead() { echo "$1" > fake.new && mv fake.new fake; }
	ahead -500000
	first=$((${EPOCHREALTIME/./} - 500000000000))
	LD_PRELOAD=$fake FAKETIME_TIMESTAMP_FILE=$PWD/fake FAKETIME_NO_CACHE=1 \
		FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_DISABLE_SHM=1 NO_FAKE_STAT=1 start_listen
	mkfifo step
	spawn stream stepping "$port" step
	wait_for grep -q 'opened' listen.err
	ahead -499999
	wait_for [ -s listen.out ]
	refute grep clock listen.err
	ahead -496400
	wait_for grep -q 'clock' listen.err
	ahead -503600
	: > step
	finish stream
	[ "$status" = 0 ]
	stop listen
	[ "$status" = 0 ]
	[ "$(grep -c 'clock' listen.err)" = 1 ]
	grep -qE "clock was set: it is 3(599|600)\.[0-9] s ahead of the times recorded since the start$" \
		listen.err
	# All of its times go on from the start.
	last=$((${EPOCHREALTIME/./} - 500000000000))
	py "$first" "$last" <<-'PY'
		import sys
		from wsclient import *
		times = [int(sys.argv[1]), *(r.time_us for r in read_log("listen.out")), int(sys.argv[2])]
		assert times == sorted(times) and len(times) >= 6, times
	PY
	eet-rotate -q -t 1 out < listen.out > paths
	[ "$(wc -l < paths)" -le 4 ]
}

@test "clock: while the server is stopped, or its machine asleep, no timeout runs" {
	clock 0
	on_our_clock start_listen -q --idle-timeout 4 --handshake-timeout 4
	py "$port" "$pid" <<-'PY'
		import os, signal, sys, time
		from wsclient import *
		port, pid = sys.argv[1], int(sys.argv[2])
		late, mute, echo = connect(port), connect(port), connect(port, "/ws/echo")
		mute.send(handshake())
		mute.send(frame(0, bytes(640)))
		echo.send(b"1")
		assert echo.recv() == (BINARY, b"1")
		os.kill(pid, signal.SIGSTOP)
		while " T " not in open(f"/proc/{pid}/stat").read():
		    time.sleep(0.01)
		late.send(handshake())
		late.send(frame(0, bytes(640)))
		time.sleep(5)
		os.kill(pid, signal.SIGCONT)
		with open("clock", "r+b") as f:
		    f.write(bytes(8) + (86400).to_bytes(8, sys.byteorder))
		for ws in late, mute:
		    ws.send(frame(1, bytes(640)))
		    assert ws.close() == (1000, ""), "closed"
		echo.send(b"2")
		assert echo.recv() == (BINARY, b"2")
		# But then one does again.
		code, reason = echo.closed(pong=False)
		assert (code, reason) == (1001, "nothing received for 4 s"), (code, reason)
	PY
	stop listen
	[ "$status" = 0 ]
	run -0 eet-info --check listen.out
}

@test "clock: a start whose clock was set back overwrites nothing, and counts on" {
	local hours before=

	for hours in 0 0 -1; do
		clock $((hours * 3600))
		on_our_clock start_listen -q --spool out -o capture --append -t 0
		py "$port" <<-'PY'
			import sys
			from wsclient import *
			streams = [connect(sys.argv[1]) for _ in range(5)]
			for ws in streams:
			    ws.send(handshake())
			    ws.send(frame(0, bytes(640)))
			for ws in streams:
			    assert ws.close() == (1000, "")
		PY
		stop listen
		[ "$status" = 0 ]
		[ -z "$before" ] || md5sum --quiet -c <<< "$before"
		before=$(md5sum out/*.eet out/*.wav)
	done
	jq 'select(.event == "segment") | .session' out/index.jsonl | sort -n | diff - <(seq 15)
	# What was recorded last sorts first: it is the session's number that tells.
	[[ $(cd out && echo *.eet) =~ ^(stream_1_[0-9T.]*Z_s1[1-5].eet\ ){5}.*Z_s([1-9]|10).eet$ ]]
	# One log after the other, for all programs.
	run -0 --separate-stderr eet-info --check capture
	eet-rotate -q -t 0 again < capture > paths
	diff -r out again
}

# sends PORT PIPE N: a stream of N frames, the first at once, each other one after a line in PIPE.
sends() {
	py "$@" <<-'PY'
		import sys
		from wsclient import *
		ws = connect(sys.argv[1])
		ws.send(handshake())
		ws.send(frame(0, bytes(640)))
		with open(sys.argv[2]) as lines:
		    for seq in range(1, int(sys.argv[3])):
		        assert lines.readline() == "\n"
		        ws.send(frame(seq, bytes(640)))
		assert ws.close() == (1000, ""), "closed"
	PY
}

# announced LOG N: each time in LOG that is more than ten seconds after the one before, or before it,
# is that of a TICK and of the record after it; there are N such.
announced() {
	py "$@" <<-'PY'
		import sys
		from wsclient import *
		records = read_log(sys.argv[1])
		moved = [i for i in range(1, len(records))
		         if not 0 <= records[i].time_us - records[i - 1].time_us <= 10000000]
		for i in moved:
		    assert records[i].kind == TICK and records[i + 1].kind != TICK, records
		    assert records[i].time_us == records[i + 1].time_us, records
		assert len(moved) == int(sys.argv[2]), (moved, records)
	PY
}

@test "clock: a machine slept, with a stream and without: a TICK goes before the next record" {
	clock 0
	mkfifo step
	on_our_clock start_listen -q
	spawn stream sends "$port" step 2
	exec 7> step
	wait_for [ -s listen.out ]
	clock 0 90000
	echo >&7
	finish stream
	[ "$status" = 0 ]
	clock 0 180000
	py "$port" <<-'PY'
		import sys
		from wsclient import *
		ws = connect(sys.argv[1])
		ws.send(handshake())
		assert ws.close() == (1000, ""), "closed"
	PY
	stop listen
	[ "$status" = 0 ]
	exec 7>&-
	announced listen.out 2
	run -0 --separate-stderr eet-info --check listen.out
	[ -z "$stderr" ]
}

@test "clock: a machine without one starts in 1970: times move on when it is set, once" {
	local now

	clock $((1200 - EPOCHSECONDS))
	mkfifo step
	on_our_clock start_listen -q --spool out -o capture
	spawn stream sends "$port" step 3
	exec 7> step
	wait_for [ -s capture ]
	clock 0
	echo >&7
	wait_for announced capture 1
	clock 7200
	echo >&7
	finish stream
	[ "$status" = 0 ]
	exec 7>&-
	stop listen
	[ "$status" = 0 ]
	announced capture 1
	now=$EPOCHSECONDS
	[ "$(index 'select(.event == "segment") | .first_us < 1e15')" = "true false " ]
	[ "$(index "select(.event == \"segment\") | $now - .last_us / 1e6 | . > -2 and . < 600")" = "false true " ]
	eet-rotate -q again < capture > paths
	diff -r out again
	run -0 --separate-stderr eet-info --check capture
}

@test "clock: what is appended to a capture begins with its own time, earlier or later" {
	local hours

	for hours in 0 -1 -1 5; do
		clock $((hours * 3600))
		on_our_clock start_listen -q -o capture --append
		py "$port" <<-'PY'
			import sys
			from wsclient import *
			ws = connect(sys.argv[1])
			ws.send(handshake())
			ws.send(frame(0, bytes(640)))
			assert ws.close() == (1000, ""), "closed"
		PY
		stop listen
		[ "$status" = 0 ]
	done
	announced capture 2
	run -0 --separate-stderr eet-info --check capture
	[ -z "$stderr" ]
}

# --- eet-rotate, eet-demux ---

@test "clock: stored logs are taken apart by their own times, in any time zone, by any clock" {
	mux <<-SCRIPT > log
		0 OPEN 1 adpcm id=7 tag=kitchen
		0.1 OPEN 2 pcm id=7 ch=2
		0.2 FRAME 1 count=60
		1.4 FRAME 2 count=60
		2.6 FRAME 1 seq=60 count=60
		3.8 FRAME 2 seq=60 count=60
		5 CLOSE 1 1000
		5 CLOSE 2 1000
	SCRIPT
	for zone in UTC Asia/Kolkata Europe/Berlin; do
		for ahead in 0 86400000 -600000000; do
			clock $ahead
			TZ=$zone on_our_clock eet-rotate -q -t 1 --align out < log > paths
			TZ=$zone on_our_clock eet-demux -d split log
			if [ ! -e spool.sum ]; then
				(cd out && md5sum -- *) > spool.sum
				(cd split && md5sum -- *) > split.sum
				[ "$(wc -l < spool.sum)" -ge 9 ]
			fi
			(cd out && md5sum -- *) | diff spool.sum -
			(cd split && md5sum -- *) | diff split.sum -
			rm -r out split
		done
	done
}

# recorded N: eet-rotate has listed so many segments.
recorded() {
	[ "$(grep -c 'eet$' rotate.out)" = "$1" ]
}

# recording SECONDS: a log of one session that began so long after 2026-01-31T10:15:00Z.
recording() {
	mux <<-SCRIPT
		$1 OPEN 1 pcm
		$1 FRAME 1 count=10 step=0
		$1 CLOSE 1 1000
	SCRIPT
}

@test "clock: set a year forward, it makes nothing older for --keep-age; a night's sleep does" {
	local now=$((EPOCHSECONDS - 1769854500)) at

	mkfifo pipe
	clock 0
	in=pipe spawn rotate on_our_clock eet-rotate --keep-age 2h out
	exec 7> pipe
	recording $((now - 3600)) >&7
	wait_for recorded 1
	clock 31536000
	for at in 1 2 3; do
		recording $((now + at)) >&7
		wait_for recorded $((at + 1)) # and what was listed before was looked at, too
	done
	[ "$(find out -name '*.eet' | wc -l)" = 4 ]
	clock 31536000 5400
	wait_for [ ! -e "$(sed -n 1p rotate.out)" ]
	[ "$(find out -name '*.eet' | wc -l)" = 3 ]
	exec 7>&-
	finish rotate
	[ "$status" = 0 ]
	# The next start believes the clock.
	run -0 on_our_clock eet-rotate --keep-age 2h out < /dev/null
	[ "$(ls out)" = index.jsonl ]
}

@test "clock: set while it records, from 1970: what it recorded before ages from then on" {
	mkfifo pipe
	clock $((1200 - EPOCHSECONDS))
	in=pipe spawn rotate on_our_clock eet-rotate --no-wav --keep-age 24h out
	exec 7> pipe
	recording -1769853900 >&7
	wait_for recorded 1
	[ ! -e out/.seen ]
	clock 0
	wait_for grep -q '^2 ' out/.seen
	# Not a day yet, and then a day.
	clock 0 86000
	recording $((EPOCHSECONDS + 86000 - 1769854500)) >&7
	wait_for recorded 2
	[ "$(find out -name '*.eet' | wc -l)" = 2 ]
	clock 0 86500
	wait_for [ ! -e "$(sed -n 1p rotate.out)" ]
	[ "$(find out -name '*.eet' | wc -l)" = 1 ]
	exec 7>&-
	finish rotate
	[ "$status" = 0 ]
	[ "$(wc -l < out/.seen)" = 1 ]
}

@test "clock: --sync TIME goes on when a log with earlier times follows" {
	strace -f -o /dev/null true || skip "needs strace"
	mkfifo pipe
	in=pipe spawn rotate strace -f -y -e trace=fdatasync -o trace eet-rotate -q -t 0 --sync 1 out
	exec 7> pipe
	mux <<-SCRIPT >&7
		3600 OPEN 1 pcm
		3600 FRAME 1
	SCRIPT
	wait_for grep -q 'fdatasync(.*_s1\.eet\.part>)' trace
	mux <<-SCRIPT >&7
		0 OPEN 1 pcm
		0 FRAME 1
	SCRIPT
	wait_for grep -q '_s1\.eet"' out/index.jsonl
	mux <<-SCRIPT >&7
		2 TICK
	SCRIPT
	wait_for grep -q 'fdatasync(.*_s2\.eet\.part>)' trace
	exec 7>&-
	finish rotate
	[ "$status" = 0 ]
}
