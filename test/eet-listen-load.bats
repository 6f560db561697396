#!/usr/bin/env bats
# eet-listen under pressure: readers that sleep, disks that are full, crashes, crowds.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper

# start_small SIZE OPTION...: eet-listen there.
start_small() {
	local size=$1

	shift
	rm -f ready
	mkfifo ready
	spawn listen on_tmpfs "$size" sh -c 'exec eet-listen --ready-fd 4 "$@" 4> ready' - "$@" \
		localhost:0
	await_ready ready
	server=$pid
	small=/proc/$server/root$PWD/small
}

grow() {
	nsenter -t "$server" -m mount -o remount,size="$1" "$PWD/small"
}

# In the background: streams frames of 640 bytes until the server closes; its code into closed.
flood() {
	spawn flood env PYTHONPATH="$EET_ROOT/test" /usr/bin/python3 -c '
import sys, threading
from wsclient import *
ws = connect(sys.argv[1], sndbuf=65536)
ws.send(handshake())
sent = 0
def send():
    global sent
    try:
        while sent < int(sys.argv[2]):
            ws.send(frame(sent, sent.to_bytes(4, "little") * 160))
            sent += 1
        ws.send(struct.pack("!H", 1000), CLOSE)
    except OSError:
        pass
threading.Thread(target=send, daemon=True).start()
print(*ws.closed(answer=False))
' "$port" "${1:-1000000}"
}

# whole FILE: a mux log of whole records, whose frames of each session have no gap.  Prints how many.
whole() {
	py "$1" <<-'PY'
		import sys
		from wsclient import *
		for o, frames, close in sessions(read_log(sys.argv[1])).values():
		    assert [Record(0, 0, 0, f).seq for f in frames] == list(range(len(frames)))
		    print(len(frames))
	PY
}

# Can nothing be written into the pipe?  (Its pages may be half full: the bytes in it do not tell.)
pipe_is_full() {
	py <<-'PY'
		import os, select, sys
		sys.exit(bool(select.select([], [os.open("pipe", os.O_WRONLY)], [], 0)[1]))
	PY
}

# Does it accept no more connections?
refuses() {
	! curl -s "http://127.0.0.1:$port/healthz"
}

says() {
	grep -q "$1" listen.err
}

@test "listen: 50 streams against a reader that sleeps: nothing lost, little memory, all served" {
	mkfifo pipe
	exec 8<> pipe # so that neither end waits for the other
	out=pipe start_listen -q
	exec 9< pipe 8>&-
	py "$port" "$pid" <<-'PY'
		import os, select, struct, sys, threading, time
		from wsclient import *
		port, pid = sys.argv[1], int(sys.argv[2])
		before = memory(pid)
		N = 50
		stop = threading.Event()
		sent = [0] * N

		def batch(i):
		    return b"".join(ws_frame(BINARY, frame(n, bytes([i]) * 320))
		                    for n in range(sent[i], sent[i] + 20))

		# One thread for all of them: how evenly they are served is the server's doing alone.
		def flood():
		    rest = [b""] * N
		    by_socket = {ws.sock: i for i, ws in enumerate(sockets)}
		    for i, ws in enumerate(sockets):
		        ws.send(handshake(stream_id=i, samples=160))
		        ws.sock.setblocking(False)
		    while not stop.is_set():
		        for sock in select.select([], by_socket, [], 0.1)[1]:
		            i = by_socket[sock]
		            data = rest[i] or batch(i)
		            rest[i] = data[sock.send(data):]
		            sent[i] += 0 if rest[i] else 20
		    for i, ws in enumerate(sockets):
		        ws.sock.setblocking(True)
		        if rest[i]:
		            ws.raw(rest[i])
		            sent[i] += 20
		        assert ws.close() == (1000, "")

		sockets = [connect(port, sndbuf=65536) for i in range(N)]
		threads = [threading.Thread(target=flood, daemon=True)]
		for t in threads:
		    t.start()
		# They stand still when nothing has moved for a while.
		last, since = None, time.monotonic()
		while time.monotonic() - since < 1:
		    if sent != last:
		        last, since = list(sent), time.monotonic()
		    time.sleep(0.05)
		grown = memory(pid) - before
		# 1 MiB, 64 KiB and an unfinished message per stream, and what a connection takes at all.
		limit = 1024 + N * (64 + 1 + 16) + MEMORY_SLACK
		assert grown < limit, f"{grown} KiB more, at most {limit}"

		# Meanwhile others are served.
		echo = connect(port, "/ws/echo")
		echo.send(b"are you there?", TEXT)
		assert echo.recv() == (TEXT, b"are you there?")
		assert http(port, b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")[0] == 404
		late = connect(port, "/ws/late")
		late.send(handshake(stream_id=99))

		# Now it reads, whenever nobody can go on: so there are always streams held back, that have more
		# to send.  What waited at first may be of few; then all have their turn.
		data = bytearray()
		other_end = os.open("pipe", os.O_WRONLY)
		while len(data) < 24 << 20:
		    if select.select([], [other_end, *(ws.sock for ws in sockets)], [], 0)[1]:
		        time.sleep(0.001)
		    else:
		        data.extend(os.read(9, 1 << 16))
		os.close(other_end)
		def read_until(done):
		    while not done():
		        if select.select([9], [], [], 0.2)[0]:
		            chunk = os.read(9, 1 << 16)
		            if not chunk:
		                return
		            data.extend(chunk)
		counts, at = [0] * (N + 2), 0
		while at + 12 <= len(data):
		    magic, length, session = struct.unpack_from("<III", data, at)
		    if at > 4 << 20 and session <= N:
		        counts[session] += 1
		    at += 12 + length
		counts = sorted(counts[1:N + 1])
		assert counts[0] >= counts[-1] / 2, f"unevenly served: {counts}"

		stop.set()
		read_until(lambda: not any(t.is_alive() for t in threads))
		late.send(frame(0, bytes(640)))
		closed = threading.Thread(target=late.close, daemon=True)
		closed.start()
		read_until(lambda: not closed.is_alive())
		os.kill(pid, 15)
		read_until(lambda: False)

		log = sessions(list(records(bytes(data))))
		for s, (o, frames, close) in log.items():
		    i = int.from_bytes(o.body[8:12], "little")
		    assert close.code == 1000
		    if i == 99:
		        assert o.keys["tag"] == "late" and frames == [frame(0, bytes(640))]
		        continue
		    assert len(frames) == sent[i], f"stream {i}: {len(frames)} of {sent[i]}"
		    for n, f in enumerate(frames):
		        assert f == frame(n, bytes([i]) * 320), f"stream {i}, frame {n}"
		assert len(log) == N + 1
	PY
	exec 9<&-
	finish listen
	[ "$status" = 0 ]
}

@test "listen: nobody reads: said once after 5 s, /healthz says so, and it goes on when read" {
	mkfifo pipe
	exec 8<> pipe
	out=pipe start_listen
	exec 9< pipe 8>&-
	[ "$(curl -sS "http://127.0.0.1:$port/healthz")" = ok ]
	flood 20000
	wait_for says 'standard output: nobody reads it; 1 stream is held back'
	run -0 curl -sS -w '%{http_code}' "http://127.0.0.1:$port/healthz"
	[ "$output" = $'nobody reads the output\n503' ]
	in=/dev/fd/9 out=all spawn reader cat
	exec 9<&-
	finish flood
	[ "$(cat flood.out)" = "1000" ] || [ "$(cat flood.out)" = "1000 " ]
	wait_for says 'taken again'
	[ "$(curl -sS "http://127.0.0.1:$port/healthz")" = ok ]
	stop listen
	[ "$status" = 0 ]
	finish reader
	[ "$(whole all)" = 20000 ]
	[ "$(grep -c 'nobody reads' listen.err)" = 1 ]
}

@test "listen: who was held back for longer than --idle-timeout, and has no more to send, is still there" {
	mkfifo pipe
	exec 8<> pipe
	out=pipe start_listen --idle-timeout 3s
	exec 9< pipe 8>&-
	flood 20000
	wait_for pipe_is_full
	cat > held.py <<-'PY'
		import sys
		from wsclient import *
		ws = connect(sys.argv[1])
		ws.send(handshake(stream_id=2))
		ws.send(frame(0, bytes(640)))
		assert ws.recv_frame()[0] == PING  # when it is let go, and a while has passed
		ws.send(b"", PONG)
		ws.send(frame(1, bytes(640)))
		assert ws.close() == (1000, "")
	PY
	spawn held env PYTHONPATH="$EET_ROOT/test" /usr/bin/python3 held.py "$port"
	wait_for two_held
	sleep 4 # the passing of time is what is tested
	in=/dev/fd/9 out=all spawn reader cat
	exec 9<&-
	finish held
	[ "$status" = 0 ]
	finish flood
	stop listen
	[ "$status" = 0 ]
	finish reader
	[ "$(whole all | sort -n | tr '\n' ' ')" = '2 20000 ' ]
}

two_held() {
	kill -USR1 "${pids[listen]}"
	says '2 streams open, 2 held back'
}

@test "listen: SIGTERM while nobody reads: 5 s without progress, then 1 and what was lost" {
	mkfifo pipe
	exec 8<> pipe
	out=pipe start_listen -q
	server=$pid
	exec 9< pipe 8>&-
	began=${EPOCHREALTIME/./} # before the last progress
	flood
	wait_for pipe_is_full
	kill -TERM "$server"
	within 9 gone "$server"
	[ "$(since "$began")" -ge 4500000 ]
	finish listen
	[ "$status" = 1 ]
	finish flood
	[ "$(cat flood.out)" = "1001 the server shuts down" ]
	grep -qx 'eet-listen: standard output: the last [0-9]* bytes of the log could not be stored' listen.err
	exec 9<&-
}

@test "listen: a second signal ends it at once" {
	mkfifo pipe
	exec 8<> pipe
	out=pipe start_listen -q
	exec 9< pipe 8>&-
	py "$port" <<-'PY'
		import sys
		from wsclient import *
		ws = connect(sys.argv[1])
		ws.send(handshake())
		for n in range(400):
		    ws.send(frame(n, bytes(640)))
		ws.close()
	PY
	kill -TERM "$pid"
	wait_for refuses
	kill -TERM "$pid"
	within 2 gone "$pid"
	finish listen
	[ "$status" = 1 ]
	exec 9<&-
}

@test "listen: the reader dies: said, clients closed with 1011, exit 1" {
	mkfifo pipe
	spawn reader head -c 100000 pipe
	out=pipe start_listen -q
	flood
	finish flood
	[ "$(cat flood.out)" = "1011 the server's output is gone" ]
	finish listen
	[ "$status" = 1 ]
	[[ $(< listen.err) == "eet-listen: standard output: the reader is gone: Broken pipe"* ]]
	# Also when nothing is sent.
	in=pipe spawn reader2 cat
	out=pipe start_listen -q
	stop reader2
	finish listen
	[ "$status" = 1 ]
}

@test "listen: /dev/full is a full disk like others" {
	for how in 'out=/dev/full start_listen -q' 'start_listen -q -o /dev/full'; do
		eval "$how"
		flood
		wait_for says 'no space left on the disk: clients wait until there is'
		stop listen
		[ "$status" = 1 ]
		finish flood
		[ "$(cat flood.out)" = "1001 the server shuts down" ]
		grep -q 'the last [0-9]* bytes of the log could not be stored' listen.err
		[ "$(wc -l < listen.err)" = 2 ]
	done
}

@test "listen: -o on a full disk: clients wait, said once, and it goes on when there is space" {
	needs_mount
	start_small 1m -o small/log
	flood 5000
	wait_for says 'small/log: no space left'
	run -0 curl -sS -w '%{http_code}' "http://127.0.0.1:$port/healthz"
	[ "$output" = $'the disk is full\n503' ]
	py "$port" <<-'PY'
		import sys
		from wsclient import *
		ws = connect(sys.argv[1], "/ws/echo")
		ws.send(b"x")
		assert ws.recv() == (BINARY, b"x")
	PY
	grow 8m
	finish flood
	[[ $(< flood.out) == 1000* ]]
	says 'small/log: there is space on the disk again'
	cp "$small/log" log
	[ "$(whole log)" = 5000 ]
	stop listen
	[ "$status" = 0 ]
	[ "$(grep -c 'no space left' listen.err)" = 1 ]
}

@test "listen: SIGTERM while the disk is full: exit 1 within about a second, what was lost" {
	needs_mount
	start_small 256k -q -o small/log
	flood
	wait_for says 'no space left'
	kill -TERM "$server"
	within 3 gone "$server"
	finish listen
	[ "$status" = 1 ]
	says 'small/log: the last [0-9]* bytes of the log could not be stored'
	finish flood
	[[ $(< flood.out) == 1001* ]]
}

@test "listen: --spool on a full disk waits, and goes on when there is space" {
	needs_mount
	start_small 1m --spool small/out -t 1 --no-wav
	flood 5000
	wait_for says 'No space left'
	run -0 curl -sS -w '%{http_code}' "http://127.0.0.1:$port/healthz"
	[ "$output" = $'the disk is full\n503' ]
	grow 16m
	finish flood
	[[ $(< flood.out) == 1000* ]]
	exec 8< "$small"
	stop listen
	[ "$status" = 0 ]
	[ "$(jq -s 'map(select(.event == "segment") | .frames) | add' /dev/fd/8/out/index.jsonl)" = 5000 ]
	exec 8<&-
}

@test "listen: SIGTERM while the spool's disk is full: exit 1; a restart completes what is there" {
	needs_mount
	start_small 512k -q --spool small/out -t 1 --no-wav
	flood
	wait_for says 'No space left'
	exec 8< "$small"
	kill -TERM "$server"
	within 3 gone "$server"
	finish listen
	[ "$status" = 1 ]
	finish flood
	cp -r /dev/fd/8/out out
	exec 8<&-
	start_listen -q --spool out
	wait_for no_parts out
	stop listen
	[ "$status" = 0 ]
}

@test "listen: many connections that come and go, and crowds that say nothing" {
	start_listen -q --handshake-timeout 2s --idle-timeout 0
	py "$port" "$pid" <<-'PY'
		import os, socket, sys
		from wsclient import *
		port, pid = int(sys.argv[1]), int(sys.argv[2])
		healthy = connect(port)
		healthy.send(handshake())
		def descriptors():
		    return len(os.listdir(f"/proc/{pid}/fd"))
		before = descriptors()
		for i in range(3000):
		    s = socket.create_connection(("127.0.0.1", port))
		    if i % 3 == 0:
		        s.sendall(upgrade_request()[:i % 100])
		    if i % 5 == 0:
		        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
		    s.close()
		crowd = [socket.create_connection(("127.0.0.1", port)) for i in range(800)]
		healthy.send(frame(0, bytes(640)))
		connect(port, "/ws/echo").close()
		for s in crowd:
		    assert s.recv(1) == b""  # each is closed in its time
		healthy.send(frame(1, bytes(640)))
		assert healthy.close() == (1000, "")
		healthy.sock.close()
		while descriptors() > before - 1:
		    connect(port, "/ws/echo").close()
	PY
	stop listen
	[ "$status" = 0 ]
	[ "$(whole listen.out)" = 2 ]
}

@test "listen: more connections than descriptors: the others wait, said once" {
	mkfifo ready
	spawn listen bash -c 'ulimit -n 84; exec eet-listen --handshake-timeout 0 --ready-fd 4 localhost:0 4> ready'
	await_ready ready
	py "$port" "$pid" <<-'PY'
		import sys, time
		from wsclient import *
		port, pid = sys.argv[1], sys.argv[2]
		clients = [connect(port) for i in range(20)]
		waiting = [open_socket(port) for i in range(20)]
		for s in waiting:
		    s.sendall(upgrade_request())
		def cpu():
		    with open(f"/proc/{pid}/stat") as f:
		        fields = f.read().rsplit(")", 1)[1].split()
		    return int(fields[11]) + int(fields[12])
		for _ in range(100):
		    before = cpu()
		    time.sleep(1)
		    if cpu() - before <= 2:  # less than what spins gets of a busy machine
		        break
		else:
		    assert False, "it spins"
		for ws in clients:
		    assert ws.close() == (1000, "")
		for s in waiting:
		    assert read_head(s)[0] == 101
	PY
	stop listen
	[ "$status" = 0 ]
	[ "$(grep -c 'connections, as many as' listen.err)" = 1 ]
}

@test "listen: a file that may not grow, and a closed standard output, are exit 1" {
	mkfifo ready
	spawn listen bash -c 'ulimit -f 100; exec eet-listen -q --ready-fd 4 localhost:0 -o log 4> ready'
	await_ready ready
	flood
	finish flood
	[ "$(cat flood.out)" = "1011 the server's output is gone" ]
	finish listen
	[ "$status" = 1 ]
	grep -qx 'eet-listen: log: File too large' listen.err
	run -1 --separate-stderr bash -c 'exec eet-listen localhost:0 >&-'
	[ "$stderr" = "eet-listen: standard output: Bad file descriptor" ]
	run -1 --separate-stderr bash -c 'exec eet-listen localhost:0 1< log'
	[ "$stderr" = "eet-listen: standard output: Bad file descriptor" ]
}

@test "listen: a socket as standard output is not left non-blocking, and holds clients back too" {
	py "$EET_BIN/eet-listen" <<-'PY'
		import fcntl, os, select, socket, subprocess, sys, threading
		from wsclient import *
		ours, theirs = socket.socketpair()
		r, w = os.pipe()
		server = subprocess.Popen([sys.argv[1], "-q", "--ready-fd", str(w), "localhost:0"],
		                          stdout=theirs, pass_fds=[w])
		os.close(w)
		with os.fdopen(r) as f:
		    port = f.readline().strip().rsplit(":", 1)[1].split("/")[0]
		ws = connect(port)
		ws.send(handshake())
		sent = 20000
		def flood():
		    for n in range(sent):
		        ws.send(frame(n, bytes(640)))
		    ws.close()
		    server.terminate()
		t = threading.Thread(target=flood, daemon=True)
		t.start()
		t.join(1)
		assert t.is_alive()  # nobody reads
		data = bytearray()
		while server.poll() is None or select.select([ours], [], [], 0)[0]:
		    if select.select([ours], [], [], 0.1)[0]:
		        data += ours.recv(1 << 16)
		assert server.wait() == 0
		assert not fcntl.fcntl(theirs, fcntl.F_GETFL) & os.O_NONBLOCK
		log = sessions(list(records(bytes(data))))
		assert [Record(0, 0, 0, f).seq for f in log[1][1]] == list(range(sent))
	PY
}

@test "listen: SIGTERM does not wait for echoes that nobody reads" {
	start_listen -q
	cat > stuck.py <<-'PY'
		import signal, sys
		from wsclient import *
		port = sys.argv[1]
		post = open_socket(port, rcvbuf=4096)
		post.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
		echo = connect(port, "/ws/echo", rcvbuf=4096)
		for s in (post, echo.sock):
		    s.settimeout(0.5)
		    try:
		        while True:
		            s.send(ws_frame(BINARY, bytes(10000)))
		    except OSError:
		        pass
		open("stuck", "w").close()
		signal.pause()
	PY
	server=$pid
	spawn client env PYTHONPATH="$EET_ROOT/test" /usr/bin/python3 stuck.py "$port"
	wait_for test -e stuck
	kill -TERM "$server"
	within 3 gone "$server"
	finish listen
	[ "$status" = 0 ]
	stop client
}
