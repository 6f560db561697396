#!/usr/bin/env bats
# eet-listen: where it listens, where it writes, and how it ends.
# shellcheck disable=SC2154
load helper

# stream [PORT [PATH]]: one stream of three frames, whole.
stream() {
	py "${1:-$port}" "${2:-/ws}" <<-'PY'
		import sys
		from wsclient import *
		ws = connect(sys.argv[1], sys.argv[2])
		ws.send(handshake(stream_id=7))
		for n in range(3):
		    ws.send(frame(n, bytes([n]) * 640))
		assert ws.close() == (1000, "")
	PY
}

# kinds FILE: the kinds of its records, in order: 1 OPEN 2 FRAME 3 CLOSE 4 TICK 5 ROTATE.
kinds() {
	py "$1" <<-'PY'
		import sys
		from wsclient import *
		print(*(r.kind for r in read_log(sys.argv[1])), sep="")
	PY
}

# numbers FILE: the sessions and how they ended.
numbers() {
	py "$1" <<-'PY'
		import sys
		from wsclient import *
		print(*(f"{n}:{len(s[1])}:{s[2].code}" for n, s in sessions(read_log(sys.argv[1])).items()))
	PY
}

# --- how it is called ---

@test "listen: --help, --version, and what is refused" {
	run -0 --separate-stderr eet-listen --help
	[[ $output == Usage:\ eet-listen* ]] && [ "$stderr" = "" ]
	run -0 eet-listen -V
	[[ $output == "eet-listen "[0-9]* ]]
	mkdir empty
	cd empty
	for args in --no-such 'localhost' '5096' '::1:5096' 'localhost:99999' 'a:1 b:2' '--sessions 0' \
		'--sessions x' '--idle-exit 1y' '--max-frame 1X' '--ready-fd 77' '--ready-fd 1' \
		'--append' '--append -o x --raw' '-t 5' '--no-wav' '--spool d -o -' '--spool d --raw' \
		"unix:$(printf 'x%.0s' {1..108})" 'unix:' '--' '-q --' '--idle-exit 1 -- true' '-o'; do
		# shellcheck disable=SC2086
		run -2 --separate-stderr eet-listen $args
		[ "$output" = "" ]
		[[ $stderr == "eet-listen: "*"; try 'eet-listen --help'" ]]
	done
	[ "$(echo *)" = '*' ]
}

@test "listen: 0 is never, or refused" {
	run -2 --separate-stderr eet-listen --max-frame 0 -o log localhost:0
	[[ $stderr == "eet-listen: --max-frame 0, at least 12; try "* ]]
	run -2 --separate-stderr eet-listen --sessions 0 -o log localhost:0
	start_listen --idle-exit 0 --idle-timeout 0 --handshake-timeout 0 --max-frame 652 \
		--spool out -t 0 --keep-bytes 0 --keep-age 0 --min-free 0
	py "$port" <<-'PY'
		import sys, time
		from wsclient import *
		late = open_socket(sys.argv[1])
		ws = connect(sys.argv[1])
		time.sleep(0.5) # what would end at once has ended
		ws.send(handshake())
		ws.send(frame(0, bytes(640)))
		time.sleep(0.5)
		ws.send(frame(1, bytes(640)))
		assert ws.close() == (1000, "")
		late.sendall(upgrade_request("/ws"))
		assert read_head(late)[0] == 101
	PY
	stop listen
	[ "$status" = 0 ]
	[ "$(stat -c %s out/*.eet)" = $((32 + 2 * 652)) ]
}

@test "listen: a log is not written to a terminal" {
	run -2 script -qec 'eet-listen localhost:0 2>&1' /dev/null
	[[ $output == *'a log is binary'*terminal* ]]
	run -2 script -qec 'eet-listen localhost:0 -o /dev/tty 2>&1' /dev/null
	[[ $output == */dev/tty:\ a\ terminal* ]]
}

# --- where it listens ---

@test "listen: localhost is both families on one port, and this machine only" {
	start_listen -q --sessions 2
	[ "$url" = "ws://127.0.0.1:$port/ws" ]
	py "$port" <<-'PY'
		import socket, sys
		from wsclient import *
		port = int(sys.argv[1])
		for host in ("127.0.0.1", "::1"):
		    ws = connect(port, host=host)
		    ws.send(handshake())
		    assert ws.close() == (1000, "")
	PY
	finish listen
	[ "$status" = 0 ]
	[ "$(numbers listen.out)" = "1:0:1000 2:0:1000" ]
	py <<-'PY'
		from wsclient import *
		peers = [r.keys["peer"] for r in read_log("listen.out") if r.kind == OPEN]
		assert peers[0].startswith("127.0.0.1:") and peers[1].startswith("[::1]:"), peers
	PY
}

@test "listen: every interface, one address, a name, a unix socket" {
	address=:0 name=any start_listen -q
	[[ $url == ws://127.0.0.1:* ]]
	stream
	py "$port" <<-'PY'
		import sys
		from wsclient import *
		connect(sys.argv[1], host="::1").close()
		connect(sys.argv[1], host="127.0.0.2").close()
	PY
	address='[::1]:0' name=six start_listen -q
	[ "$url" = "ws://[::1]:$port/ws" ]
	run -1 stream
	py "$port" <<-'PY'
		import sys
		from wsclient import *
		connect(sys.argv[1], host="::1").close()
	PY
	address=127.0.0.3:0 name=three start_listen -q
	[ "$url" = "ws://127.0.0.3:$port/ws" ]
	run -1 stream
	address=unix:./socket name=unix start_listen -q
	[ "$url" = "ws+unix:./socket" ] && [ -S socket ]
	stream ./socket
	for name in any six three unix; do
		stop "$name"
		[ "$status" = 0 ]
	done
	[ ! -e socket ]
	[ "$(kinds unix.out)" = 12223 ]
}

@test "listen: an address in use is named; a socket file is replaced only if nobody listens" {
	start_listen -q
	run -1 --separate-stderr eet-listen "localhost:$port" -o new
	[ "$stderr" = "eet-listen: 127.0.0.1:$port: Address already in use" ]
	[ ! -e new ]
	address=unix:socket name=unix start_listen -q
	run -1 --separate-stderr eet-listen unix:socket -o new
	[ "$stderr" = "eet-listen: unix:socket: Address already in use" ]
	stream ./socket
	kill -KILL "$pid"
	finish unix
	[ -S socket ]
	address=unix:socket name=unix start_listen -q
	stream ./socket
	# One that was put in its place is not removed.
	mv socket old
	: > socket
	stop unix
	[ -f socket ]
	run -1 --separate-stderr eet-listen unix:socket -o new
	[ "$stderr" = "eet-listen: unix:socket: Address already in use" ]
	[ -f socket ]
	run -1 --separate-stderr eet-listen 192.0.2.1:0 -o new
	[[ $stderr == "eet-listen: 192.0.2.1:0: "* ]]
	run -1 --separate-stderr eet-listen no.such.host.invalid:0 -o new
	[[ $stderr == "eet-listen: no.such.host.invalid: "* ]]
}

@test "listen: ready is said on stderr and on --ready-fd, when connections are taken" {
	start_listen
	grep -qxF "eet-listen: listening on $url" listen.err
	stream
	stop listen
	# Descriptor 2 is possible, and stays open.
	run -0 --separate-stderr eet-listen -q --ready-fd 2 --idle-exit 10ms localhost:0 -o log
	[[ $stderr == ws://127.0.0.1:*/ws ]]
}

# --- where it writes ---

@test "listen: a mux log holds what was sent, in order, with peer and tag, and a TICK when silent" {
	began=${EPOCHREALTIME/./}
	start_listen -q
	stream "$port" /ws/aa:bb:cc
	py "$port" <<-'PY'
		import sys, time
		from wsclient import *
		ws = connect(sys.argv[1], "/ws?room=1")
		ws.send(handshake(codec=ADPCM, reserved=0xBEEF, timestamp=123))
		while open("listen.out", "rb").read().count(b"EETM") < 9:  # three TICKs
		    time.sleep(0.05)
		ws.send(frame(9, bytes(164), ADPCM))
		ws.close(4711, "that's it")
	PY
	stop listen
	[ "$status" = 0 ]
	py "$began" <<-'PY'
		import sys, time
		from wsclient import *
		recs = read_log("listen.out")
		# It may have been silent for one more second when the client came to send.
		while recs[9].kind == TICK:
		    del recs[9]
		assert [r.kind for r in recs] == [1, 2, 2, 2, 3, 1, 4, 4, 4, 2, 3]
		assert recs[0].body[:32] == handshake(stream_id=7) and recs[0].keys["tag"] == "aa:bb:cc"
		assert [r.body for r in recs[1:4]] == [frame(n, bytes([n]) * 640) for n in range(3)]
		assert recs[5].body[:32] == handshake(codec=ADPCM, reserved=0xBEEF, timestamp=123)
		assert "tag" not in recs[5].keys
		gaps = [b.time_us - a.time_us for a, b in zip(recs[5:8], recs[6:9])]
		# A busy machine may be late with one, but not with each.
		assert min(gaps) > 990000 and min(gaps) < 1500000, gaps
		assert (recs[10].code, recs[10].reason) == (4711, "that's it")
		assert int(sys.argv[1]) < recs[0].time_us and recs[10].time_us < time.time() * 1e6
	PY
}

@test "listen: -o is new or empty, --append goes on: torn end cut, open sessions closed, numbers on" {
	start_listen -q -o log
	stream
	[ "$(stat -c %a log)" = 640 ]
	run -1 --separate-stderr eet-listen localhost:0 -o log --append
	[ "$stderr" = "eet-listen: log: another program is writing it" ]
	py "$port" "$pid" <<-'PY'
		import os, sys, time
		from wsclient import *
		open_ones = [connect(sys.argv[1]) for i in range(2)]
		for ws in open_ones:
		    ws.send(handshake())
		    ws.send(frame(0, bytes(640)))
		while open("log", "rb").read().count(b"PCMF") < 5:
		    time.sleep(0.01)
		os.kill(int(sys.argv[2]), 9)
	PY
	finish listen
	run -1 --separate-stderr eet-listen localhost:0 -o log
	[[ $stderr == "eet-listen: log: not empty: --append"* ]]
	size=$(stat -c %s log)
	head -c 17 log > end && cat end >> log
	start_listen -o log --append
	grep -qxF "eet-listen: log: offset $size: torn record cut off, 17 bytes" listen.err
	grep -qxF "eet-listen: log: 2 sessions were left open, closed now as 1006" listen.err
	stream
	stop listen
	[ "$(numbers log)" = "1:3:1000 2:1:1006 3:1:1006 4:3:1000" ]
	# A record cut at any byte leaves the records before it.
	for bytes in 1 3 11 12 23 24 30; do
		head -c $((size - bytes)) log > short
		start_listen -q -o short --append
		stop listen
		[ "$status" = 0 ]
		numbers short > /dev/null
	done
	# So do zeros, as a power cut leaves them at the end.
	for bytes in 1 11 40 20000; do
		{ cat short && head -c "$bytes" /dev/zero; } > zeros
		start_listen -q -o zeros --append
		stop listen
		[ "$status" = 0 ]
		cmp short zeros
	done
	printf 'EE\0' > torn
	start_listen -q -o torn --append
	stream
	stop listen
	[ "$(numbers torn)" = "1:3:1000" ]
}

@test "listen: --append leaves alone what is no mux log" {
	printf 'EETX and more that is no log' > text
	handshake pcm > frames
	{ record TICK 0 5; printf 'garbage that is longer than a header'; } > garbage
	{ record TICK 0 5; printf 'short one'; } > rest
	{ record TICK 0 5; printf 'EETM\1\0\0\100 longer than a record can be'; record TICK 0 6; } > length
	{ record TICK 0 5; head -c 100 /dev/zero; record TICK 0 6; } > zeros
	for f in text frames garbage rest length zeros; do
		cp "$f" copy
		run -1 --separate-stderr eet-listen localhost:0 -o "$f" --append
		[[ $stderr == "eet-listen: $f: "*"nothing can be appended"* ]]
		cmp "$f" copy
	done
	mkdir dir
	run -1 --separate-stderr eet-listen localhost:0 -o dir
	[ "$stderr" = "eet-listen: dir: Is a directory" ]
	run -1 --separate-stderr eet-listen localhost:0 -o no/such/dir
	[ "$stderr" = "eet-listen: no/such/dir: No such file or directory" ]
	mkfifo fifo
	run -1 --separate-stderr eet-listen localhost:0 -o fifo
	[ "$stderr" = "eet-listen: fifo: No such device or address" ]
}

@test "listen: --append refuses a capture with sound records after the damage, and leaves every byte" {
	# 200 records of 36 + 640 bytes after the OPEN's.
	printf '0 OPEN 1 pcm id=7 rate=16000 n=320\n0 FRAME 1 count=200\n' | "$EET_ROOT/test/logs.py" mux > whole
	size=$(stat -c %s whole)
	first=$((size - 200 * 676))
	# A bit of the second frame's length; a page of zeros; a bit of the magic of the last but one.
	for damage in $((first + 676 + 7)):1:40 $((first + 10 * 676)):4096:00 $((size - 1352)):1:44; do
		IFS=: read -r offset count byte <<< "$damage"
		cp whole damaged
		for ((i = 0; i < count; i++)); do printf '%b' "\\x$byte"; done |
			dd of=damaged bs=1 seek="$offset" conv=notrunc status=none
		cp damaged copy
		start=$((first + (offset - first) / 676 * 676))
		run -1 --separate-stderr eet-listen localhost:0 -o damaged --append
		[[ $stderr == "eet-listen: damaged: offset $start: "*"eet-demux --recover"* ]]
		cmp damaged copy
		# Which saves them.
		run -3 --separate-stderr bash -c 'eet-demux --recover damaged > saved'
		start_listen -q -o saved --append
		stop listen
		[ "$status" = 0 ]
		lost=$(((count + 675) / 676 + (count > 1)))
		[ "$(eet-info --json saved | jq 'select(.event == "stream").frames')" -ge $((200 - lost)) ]
	done
}

@test "listen: --raw is a frame log, one stream at a time" {
	start_listen -q --raw
	stream
	py "$port" <<-'PY'
		import sys
		from wsclient import *
		port = sys.argv[1]
		one, early = connect(port), connect(port)
		one.send(handshake(stream_id=8))
		one.send(b"?", PING)
		one.recv()
		try:
		    connect(port)
		    assert False
		except Refused as e:
		    assert (e.status, e.text) == (503, "one stream at a time, and one is open")
		early.send(handshake(stream_id=9))
		assert early.closed() == (1013, "one stream at a time, and one is open")
		connect(port, "/ws/echo").close()
		one.send(frame(5, bytes(640)))
		assert one.close() == (1000, "")
	PY
	stop listen
	{ handshake pcm 7; for n in 0 1 2; do
		head -c 640 /dev/zero | tr '\0' "\\$n" > payload
		frame pcm "$n" payload
	done; handshake pcm 8; head -c 640 /dev/zero > payload; frame pcm 5 payload; } | cmp - listen.out
}

@test "listen: --spool records like eet-rotate, beside -o too, and lists the files" {
	start_listen -q --spool out -o log -t 1
	py "$port" <<-'PY'
		import sys, time
		from wsclient import *
		clients = []
		for n, path in enumerate(("/ws", "/ws/room", "/ws/room")):
		    ws = connect(sys.argv[1], path)
		    ws.send(handshake(stream_id=n, codec=n % 2))
		    clients.append(ws)
		for n in range(30):
		    for i, ws in enumerate(clients):
		        ws.send(frame(n, bytes(164 if i == 1 else 640), i % 2))
		    time.sleep(0.05)
		for ws in clients[1:]:
		    assert ws.close() == (1000, "")
	PY
	stop listen
	[ "$status" = 0 ]
	[ "$(echo out/*.part)" = 'out/*.part' ]
	eet-rotate -q -t 1 again < log > list
	diff -r out again
	sed 's/^again/out/' list | sort | diff - <(sort listen.out)
	[ "$(jq -s 'map(select(.event == "segment")) | length' out/index.jsonl)" -ge 6 ]
	[ "$(jq -sc 'map(select(.event == "session") | [.frames, .close_code])' out/index.jsonl)" = \
		'[[30,1000],[30,1000],[30,1006]]' ]
}

@test "listen: with too few descriptors it does not start, and says how many are needed" {
	for most in 8 12 64; do
		run -1 --separate-stderr bash -c "ulimit -n $most; exec eet-listen --idle-exit 1ms -o log localhost:0 3>&-"
		[ "$stderr" = "eet-listen: descriptors: the limit is $most, at least 65 are needed (see ulimit -n)" ]
	done
	[ ! -e log ]
	run -0 bash -c 'ulimit -n 65; exec eet-listen --idle-exit 1ms -o log localhost:0'
	run -0 bash -c 'ulimit -n 70; exec eet-listen --idle-exit 1ms --spool z --exec true -o both localhost:0'
}

@test "listen: -o is no file that the spool uses" {
	mkdir z other
	echo '{"event":"session"}' > z/index.jsonl
	cp z/index.jsonl before
	ln -s z link
	ln -s ../z/index.jsonl other/file
	for file in z/index.jsonl ./z/../z/index.jsonl link/index.jsonl other/file new/index.jsonl \
		z/stream_9_20260131T101500.000Z_s9.eet z/x.wav.part z/index.jsonl.part; do
		spool=z
		[[ $file != new/* ]] || spool=new/
		run -2 --separate-stderr eet-listen --spool "$spool" -o "$file" --idle-exit 1ms localhost:0
		[[ $stderr == "eet-listen: -o $file: a name that the spool uses itself"* ]]
	done
	[ ! -e new ]
	[ "$(ls z)" = index.jsonl ]
	cmp before z/index.jsonl
	# Elsewhere, and under other names.
	for file in index.jsonl z/all.mux; do
		run -0 --separate-stderr eet-listen -q --spool z -o "$file" --idle-exit 1ms localhost:0
	done
}

@test "listen: a spool in use, or that can't be made, is named" {
	start_listen -q --spool out
	run -1 --separate-stderr eet-listen localhost:0 --spool out
	[[ $stderr == "eet-listen: out: another program records into it"* ]]
	: > file
	run -1 --separate-stderr eet-listen localhost:0 --spool file
	[[ $stderr == "eet-listen: file"* ]]
}

# --- how it ends ---

@test "listen: --sessions ends after so many, and takes no more than that" {
	start_listen -q --sessions 2 -o log
	py "$port" <<-'PY'
		import sys
		from wsclient import *
		port = sys.argv[1]
		bad = connect(port)
		bad.send(b"no handshake")
		assert bad.closed()[0] == 1008  # it does not count
		one, two, early = connect(port), connect(port), connect(port)
		one.send(handshake(stream_id=1))
		assert one.close() == (1000, "")
		two.send(handshake(stream_id=2))
		two.send(b"?", PING)
		two.recv()
		try:
		    connect(port)
		    assert False
		except Refused as e:
		    assert (e.status, e.text) == (503, "all sessions of this run have been taken")
		early.send(handshake(stream_id=3))
		assert early.closed() == (1013, "all sessions of this run have been taken")
		echo = connect(port, "/ws/echo")
		two.send(frame(0, bytes(640)))
		assert two.close() == (1000, "")
		assert echo.closed() == (1001, "the server shuts down")
	PY
	finish listen
	[ "$status" = 0 ]
	[ "$(numbers log)" = "1:0:1000 2:1:1000" ]
}

@test "listen: --idle-exit ends when no stream was open for so long; 3 if --sessions lacks some" {
	start_listen -q --idle-exit 100ms --sessions 2 -o log
	finish listen
	[ "$status" = 3 ]
	start_listen -q --idle-exit 2s -o log2
	kill -STOP "$pid" # no time runs for it until the stream is there
	py "$port" "$pid" <<-'PY'
		import os, signal, sys, time
		from wsclient import *
		s = open_socket(sys.argv[1])
		s.sendall(upgrade_request() + ws_frame(BINARY, handshake()))
		os.kill(int(sys.argv[2]), signal.SIGCONT)
		status, headers, rest = read_head(s)
		ws = WebSocket(s)
		ws.buf = rest
		time.sleep(5)  # silent, but open
		ws.send(frame(0))
		assert ws.close() == (1000, "")
	PY
	finish listen
	[ "$status" = 0 ]
	[ "$(numbers log2)" = 1:1:1000 ]
}

@test "listen: SIGTERM and SIGINT: all that was read is stored, clients see 1001, exit 0" {
	for signal in TERM INT; do
		start_listen -q
		py "$port" "$pid" "$signal" <<-'PY'
			import os, signal, sys
			from wsclient import *
			port, pid = sys.argv[1], int(sys.argv[2])
			clients = [connect(port) for i in range(20)] + [connect(port, "/ws/echo")]
			idle = connect(port)
			for i, ws in enumerate(clients[:20]):
			    ws.send(handshake(stream_id=i))
			    ws.raw(b"".join(ws_frame(BINARY, frame(n, bytes(640))) for n in range(100)))
			for ws in clients[:20]:
			    ws.send(b"?", PING)  # what came before the answer was read
			    assert ws.recv() == (PONG, b"?")
			os.kill(pid, getattr(signal, "SIG" + sys.argv[3]))
			for ws in clients + [idle]:
			    assert ws.closed() == (1001, "the server shuts down")
		PY
		finish listen
		[ "$status" = 0 ]
		expected=
		for n in {1..20}; do expected+="$n:100:1001 "; done
		[ "$(numbers listen.out) " = "$expected" ]
	done
}

@test "listen: SIGTERM in the middle of a flood: whole records, 1001 for all" {
	start_listen -q
	py "$port" "$pid" <<-'PY'
		import os, sys, threading, time
		from wsclient import *
		port, pid = sys.argv[1], int(sys.argv[2])
		results = []
		connected = threading.Barrier(10)
		def flood(i):
		    ws = connect(port)
		    ws.send(handshake(stream_id=i))
		    connected.wait()
		    block = b"".join(ws_frame(BINARY, frame(n, bytes(640))) for n in range(200))
		    def send():
		        try:
		            while True:
		                ws.raw(block)
		        except OSError:
		            pass
		    t = threading.Thread(target=send, daemon=True)
		    t.start()
		    results.append(ws.closed(answer=False))
		threads = [threading.Thread(target=flood, args=(i,)) for i in range(10)]
		for t in threads:
		    t.start()
		while os.path.getsize("listen.out") < 20 << 20:
		    time.sleep(0.01)
		os.kill(pid, 15)
		for t in threads:
		    t.join()
		assert results == [(1001, "the server shuts down")] * 10, results
	PY
	finish listen
	[ "$status" = 0 ]
	[[ $(numbers listen.out) == 1:*:1001\ 2:*:1001* ]]
}

@test "listen: SIGHUP is a ROTATE, SIGUSR1 a table of open streams" {
	start_listen -q
	py "$port" "$pid" <<-'PY'
		import os, signal, sys, time
		from wsclient import *
		port, pid = sys.argv[1], int(sys.argv[2])
		ws = connect(port, "/ws/hall")
		ws.send(handshake(stream_id=42, channels=2))
		ws.send(frame(0, bytes(1280)))
		ws.send(frame(5, bytes(640)))
		ws.send(b"", PING); ws.recv()
		os.kill(pid, signal.SIGHUP)
		os.kill(pid, signal.SIGUSR1)
		while "session 1" not in open("listen.err").read():
		    time.sleep(0.01)
		ws.send(frame(6, bytes(640)))
		assert ws.close() == (1000, "")
	PY
	stop listen
	[ "$(kinds listen.out)" = 122523 ]
	grep -qx 'eet-listen: 1 streams open, 0 held back, 1 connections' listen.err
	grep -qx 'eet-listen: 127.0.0.1:[0-9]* (hall): session 1: stream 42, pcm, 16000 Hz, 2 channels, 2 frames, 0.030 s, 1 gaps, 0 repeats, 0 restarts' listen.err
}

@test "listen: lines for streams opened, closed and refused; -q is silent" {
	start_listen
	stream "$port" /ws/hall
	stop listen
	grep -qx 'eet-listen: 127.0.0.1:[0-9]* (hall): session 1 opened: stream 7, pcm, 16000 Hz, 1 channel, 320 samples a frame' listen.err
	grep -qx 'eet-listen: 127.0.0.1:[0-9]* (hall): session 1 closed: 1000, 3 frames, 0.060 s, 0 gaps' listen.err
	start_listen -q
	stream
	stop listen
	[ ! -s listen.err ]
}
