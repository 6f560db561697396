#!/usr/bin/env bats
# eet-listen under pressure: readers that sleep, disks that are full, crashes, crowds.
# shellcheck disable=SC2154
load helper

py() {
	PYTHONPATH=$EET_ROOT/test /usr/bin/python3 - "$@"
}

# Memory of $pid in KiB that is not shared: what it has allocated, not what it has mapped.
private_memory() {
	sed -n 's/^RssAnon:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$pid/status"
}

@test "listen: 50 streams against a reader that sleeps: nothing lost, little memory, all served" {
	mkfifo pipe
	exec 8<> pipe # so that neither end waits for the other
	out=pipe start_listen -q
	exec 9< pipe 8>&-
	before=$(private_memory)
	py "$port" "$pid" "$before" <<-'PY'
		import os, select, struct, sys, threading, time
		from wsclient import *
		port, pid, before = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
		N = 50
		stop = threading.Event()
		sent = [0] * N

		def flood(i, ws):
		    ws.send(handshake(stream_id=i, samples=160))
		    while not stop.is_set():
		        ws.raw(b"".join(ws_frame(BINARY, frame(n, bytes([i]) * 320))
		                        for n in range(sent[i], sent[i] + 20)))
		        sent[i] += 20
		    assert ws.close() == (1000, "")

		def memory():
		    with open(f"/proc/{pid}/status") as f:
		        return next(int(l.split()[1]) for l in f if l.startswith("RssAnon"))

		sockets = [connect(port, sndbuf=65536) for i in range(N)]
		threads = [threading.Thread(target=flood, args=(i, ws), daemon=True)
		           for i, ws in enumerate(sockets)]
		for t in threads:
		    t.start()
		# They stand still when nothing has moved for a while.
		last, since = None, time.monotonic()
		while time.monotonic() - since < 1:
		    if sent != last:
		        last, since = list(sent), time.monotonic()
		    time.sleep(0.05)
		grown = memory() - before
		# 1 MiB, 64 KiB and an unfinished message per stream, and what a connection takes at all.
		limit = 1024 + N * (64 + 1 + 16)
		assert grown < limit, f"{grown} KiB more, at most {limit}"

		# Meanwhile others are served.
		echo = connect(port, "/ws/echo")
		echo.send(b"are you there?", TEXT)
		assert echo.recv() == (TEXT, b"are you there?")
		assert http(port, b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")[0] == 404
		late = connect(port, "/ws/late")
		late.send(handshake(stream_id=99))

		# Now it reads.  What waited at first may be of few; then all have their turn.
		data = bytearray()
		def read_until(done):
		    while not done():
		        if select.select([9], [], [], 0.2)[0]:
		            chunk = os.read(9, 1 << 16)
		            if not chunk:
		                return
		            data.extend(chunk)
		read_until(lambda: len(data) > 40 << 20)
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
