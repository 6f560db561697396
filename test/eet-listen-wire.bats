#!/usr/bin/env bats
# eet-listen: each rule of the wire, with the close code and the reason of its breach.
# shellcheck disable=SC2154
load helper

@test "listen: each malformed message gets its code and reason; a healthy stream loses nothing" {
	start_listen -o log --max-frame 2k
	py "$port" > count <<-'PY'
		import sys
		from wsclient import *
		port = sys.argv[1]
		healthy = connect(port, "/ws/healthy")
		healthy.send(handshake(codec=ADPCM, stream_id=77))
		seq = 0

		def breach(code, reason, *messages, raw=None):
		    """Each message is (payload, opcode) or payload; the last one is the breach."""
		    global seq
		    ws = connect(port)
		    for m in messages:
		        payload, how = m if isinstance(m, tuple) else (m, {})
		        healthy.send(frame(seq, bytes([seq % 256]) * 164, ADPCM))
		        seq += 1
		        ws.send(payload, **how)
		    if raw:
		        ws.raw(raw)
		    got = ws.closed(answer=raw is None)  # it would be taken for the rest of raw
		    assert got == (code, reason), f"{got}, expected {(code, reason)}"

		H = handshake()  # PCM, 1 channel, 320 samples: 640 bytes
		A = handshake(codec=ADPCM)  # 4 + 160 bytes

		# Before the handshake.
		breach(1003, "text message, audio is sent in binary ones", (b"hello", {"opcode": TEXT}))
		breach(1008, "frame magic 0x464D4350 before the handshake, whose magic is 0x41445043",
		       frame(0, bytes(640)))
		breach(1008, "frame magic 0x41445046 before the handshake, whose magic is 0x41445043",
		       frame(0, bytes(640), ADPCM))
		breach(1009, "first message of 65537 bytes, must be a handshake of 32", b"x" * 65537)
		breach(1009, "first message of 1099511627776 bytes, must be a handshake of 32",
		       raw=ws_frame(BINARY, b"x" * 100, announce=1 << 40))
		breach(1008, "handshake of 65536 bytes, must be 32", b"x" * 65536)
		breach(1008, "handshake of 0 bytes, must be 32", b"")
		breach(1008, "handshake of 31 bytes, must be 32", H[:31])
		breach(1008, "handshake of 33 bytes, must be 32", H + b"\0")
		breach(1008, 'handshake magic is the text "ADPC"; it is the number 0x41445043, '
		       'little-endian: bytes "CPDA"', b"ADPC" + H[4:])
		breach(1008, "handshake magic 0x12345678, must be 0x41445043", handshake(magic=0x12345678))
		breach(1008, "handshake version 2, must be 1", handshake(version=2))
		breach(1008, "handshake header_len 40, must be 32", handshake(header_len=40))
		breach(1008, "handshake sample_rate 0, 1 to 768000", handshake(rate=0))
		breach(1008, "handshake sample_rate 768001, 1 to 768000", handshake(rate=768001))
		breach(1008, "handshake channels 0, 1 to 64", handshake(channels=0))
		breach(1008, "handshake channels 65, 1 to 64", handshake(channels=65))
		breach(1008, "handshake codec 2, 0 (PCM16) or 1 (IMA ADPCM)", handshake(codec=2))
		breach(1008, "handshake frame_samples 0, 1 to 65535", handshake(samples=0))
		breach(1008, "handshake: frames of up to 2052 bytes, at most 2048 here "
		       "(channels 1, frame_samples 1020)", handshake(samples=1020))

		# After it.
		breach(1003, "text message, audio is sent in binary ones", H, (b"hello", {"opcode": TEXT}))
		breach(1008, "second handshake (magic 0x41445043), one per connection", H, H)
		breach(1008, "frame magic 0x41445046, must be 0x464D4350 (handshake codec 0, pcm)",
		       H, frame(0, bytes(100), ADPCM))
		breach(1008, "frame magic 0x464D4350, must be 0x41445046 (handshake codec 1, adpcm)",
		       A, frame(0, bytes(100), PCM))
		breach(1009, "frame seq 17: payload 642 bytes, at most 640 (frame_samples 320)",
		       H, frame(16, bytes(640)), frame(17, bytes(642)))
		breach(1009, "frame seq 5: payload 165 bytes, at most 164 (frame_samples 320)",
		       A, frame(5, bytes(165), ADPCM))
		breach(1009, "frame seq 9: payload 1099511627764 bytes, at most 640 (frame_samples 320)",
		       H, raw=ws_frame(BINARY, frame(9, bytes(640)), announce=1 << 40))
		breach(1008, "frame of 11 bytes, at least 12", H, frame(0)[:11])
		breach(1008, "frame of 0 bytes, at least 12", H, b"")
		breach(1008, "frame seq 3: length 639, must be 640, the message's 652 bytes less 12",
		       H, frame(3, bytes(640), length=639))
		breach(1008, "frame seq 4: payload 3 bytes, must be a multiple of 2 (channels 1)",
		       H, frame(4, bytes(3)))
		breach(1008, "frame seq 4: payload 12 bytes, must be a multiple of 8 (channels 2)",
		       handshake(codec=ADPCM, channels=2), frame(4, bytes(12), ADPCM))
		breach(1008, "frame magic 0x00000000, must be 0x464D4350", H, bytes(12))
		breach(1008, 'frame magic is the text "FMCP"; it is the number 0x464D4350, '
		       'little-endian: bytes "PCMF"', H, b"FMCP" + frame(0)[4:])

		# What is not a message at all (RFC 6455).
		for bad in (ws_frame(3, b"x"), ws_frame(BINARY, b"x", rsv=4), ws_frame(PING, b"", fin=False),
		            ws_frame(CONTINUATION, b"x"),
		            ws_frame(BINARY, b"x", fin=False) + ws_frame(BINARY, b"x")):
		    ws = connect(port)
		    ws.send(H)
		    ws.raw(bad)
		    code, reason = ws.closed(answer=False)
		    assert code == 1002, (bad, code, reason)

		assert healthy.close() == (1000, "")
		print(seq)
	PY
	stop listen
	[ "$status" = 0 ]
	py <<-'PY'
		from wsclient import *
		log = sessions(read_log("log"))
		o, frames, close = log[1]
		assert o.keys["tag"] == "healthy" and close.code == 1000
		assert frames == [frame(n, bytes([n % 256]) * 164, ADPCM) for n in range(len(frames))]
		assert len(frames) == int(open("count").read()) > 40
		# What came before a breach stays stored, and the log says why it ended.
		ended = [c.reason for o, f, c in log.values() if len(f) == 1 and f[0] == frame(16, bytes(640))]
		assert ended == ["frame seq 17: payload 642 bytes, at most 640 (frame_samples 320)"]
		assert {c.code for o, f, c in log.values()} == {1000, 1002, 1003, 1008, 1009}
	PY
	grep -q 'refused: 1008 handshake version 2, must be 1$' listen.err
	grep -q 'closed: 1009 frame seq 17: payload 642 bytes, at most 640 (frame_samples 320), 1 frames' \
		listen.err
}

@test "listen: messages may come in pieces, whole or torn anywhere, and at their longest" {
	start_listen -q -o log --max-frame 8389000
	py "$port" <<-'PY'
		import sys
		from wsclient import *
		port = sys.argv[1]
		ws = connect(port)
		ws.send_pieces(handshake(), 1)
		ws.send_pieces(frame(0, bytes(range(100))), 1)
		ws.send_pieces(frame(1, b"ab" * 320), 7)
		ws.send(b"", fin=False)
		ws.send(b"", CONTINUATION, fin=False)
		ws.send(b"?", PING)
		ws.send(frame(2), CONTINUATION)
		assert ws.recv() == (PONG, b"?")
		stream = b"".join(ws_frame(BINARY, frame(n, bytes([n]) * 640)) for n in range(3, 23))
		for i in range(0, len(stream), 333):
		    ws.raw(stream[i:i + 333])
		assert ws.close() == (1000, "")
		# 64 channels of 65535 samples: the longest there is.
		big = connect(port)
		big.send(handshake(stream_id=2, channels=64, samples=65535))
		for n in range(3):
		    big.send(frame(n, bytes([n]) * (2 * 64 * 65535)))
		big.send_pieces(frame(3, b"3" * (2 * 64 * 65535)), 100000)
		assert big.close(3000, "enough") == (3000, "enough")
		# A frame without samples, seq that wraps, a gap, a repeat, a restart: all are stored.
		odd = connect(port)
		odd.send(handshake(stream_id=3))
		for n in (0xFFFFFFFE, 0xFFFFFFFF, 0, 5, 4, 0x80000000, 7):
		    odd.send(frame(n))
		assert odd.close() == (1000, "")
	PY
	stop listen
	py <<-'PY'
		from wsclient import *
		log = sessions(read_log("log"))
		a, b, c = log[1][1], log[2][1], log[3][1]
		assert a[:3] == [frame(0, bytes(range(100))), frame(1, b"ab" * 320), frame(2)]
		assert a[3:] == [frame(n, bytes([n]) * 640) for n in range(3, 23)]
		assert [f[:12] for f in b] == [frame(n, bytes(2 * 64 * 65535))[:12] for n in range(4)]
		assert [set(f[12:]) for f in b] == [{0}, {1}, {2}, {ord("3")}]
		assert (log[2][2].code, log[2][2].reason) == (3000, "enough")
		assert [Record(0, 0, 0, f).seq for f in c] == [0xFFFFFFFE, 0xFFFFFFFF, 0, 5, 4, 0x80000000, 7]
	PY
}

@test "listen: handshakes that are late are refused, dripped ones too" {
	start_listen -o log --handshake-timeout 500ms
	py "$port" <<-'PY'
		import sys, time
		from wsclient import *
		port = sys.argv[1]
		begin = time.monotonic()
		silent, half = open_socket(port), open_socket(port)
		half.sendall(b"GET /ws HTTP/1.1\r\nHost:")
		upgraded, dripping, echo = connect(port), connect(port), connect(port, "/ws/echo")
		stream = ws_frame(BINARY, handshake())
		for i in range(len(stream) - 1):
		    dripping.raw(stream[i:i + 1])
		    time.sleep(0.001)
		late_reason = (1008, "no handshake within 0.5 s")
		assert upgraded.closed() == late_reason
		assert dripping.closed() == late_reason
		assert silent.recv(1) == b"" and half.recv(1) == b""
		assert 0.4 < time.monotonic() - begin < 9  # it is 10 s otherwise
		echo.send(b"the echo needs none")
		assert echo.recv() == (BINARY, b"the echo needs none")
	PY
	stop listen
	[ ! -s log ]
	grep -q 'refused: 1008 no handshake within 0.5 s' listen.err
	grep -q 'closed: no request within 0.5 s' listen.err
}

@test "listen: who is silent is pinged, then closed; any received byte is life" {
	start_listen -o log --idle-timeout 2s
	py "$port" <<-'PY'
		import sys, threading, time
		from wsclient import *
		port = sys.argv[1]
		begin = time.monotonic()
		deaf, ponging, dripping, pinging = (connect(port) for i in range(4))
		silent = [connect(port) for i in range(32)]
		echo = connect(port, "/ws/echo")
		for ws in (deaf, ponging, dripping, pinging, *silent):
		    ws.send(handshake())
		    time.sleep(0.003)  # at all phases of the kernel's clock
		alive = True
		def pong():
		    try:
		        while True:
		            op, payload, fin = ponging.recv_frame()
		            if op == PING:
		                ponging.send(payload, PONG)
		            if op == CLOSE:
		                return
		    except OSError:
		        return
		threading.Thread(target=pong, daemon=True).start()
		def busy(ws, pieces):
		    while alive:
		        ws.raw(next(pieces))
		        time.sleep(0.1)
		def drip(message):
		    while True:
		        for i in range(len(message)):
		            yield message[i:i + 1]
		def pings():
		    while True:
		        yield ws_frame(PING, b"")
		threads = [threading.Thread(target=busy, args=a, daemon=True) for a in (
		    (dripping, drip(ws_frame(BINARY, frame(0, bytes(640))))), (pinging, pings()))]
		for t in threads:
		    t.start()
		op, payload, fin = deaf.recv_frame()
		assert op == PING and time.monotonic() - begin > 0.9, op
		assert deaf.closed(pong=False) == (1001, "nothing received for 2 s")
		assert 1.9 < time.monotonic() - begin < 20
		assert echo.closed(pong=False) == (1001, "nothing received for 2 s")
		for ws in silent:
		    assert [ws.recv_frame()[0] for i in range(2)] == [PING, CLOSE]
		time.sleep(max(0, begin + 6 - time.monotonic()))
		alive = False
		for t in threads:
		    t.join()
		# The others are alive after three times that long: their frames are taken.
		ponging.send(frame(1))
		pinging.send(frame(1))
		ponging.sock.shutdown(1)
	PY
	stop listen
	py <<-'PY'
		from wsclient import *
		log = sessions(read_log("log"))
		assert (log[1][2].code, log[1][2].reason) == (1001, "nothing received for 2 s")
		assert log[2][1] == [frame(1)] and log[4][1] == [frame(1)]
	PY
}

@test "listen: clients that vanish, say nonsense at the end, or hang up halfway" {
	start_listen -o log
	py "$port" <<-'PY'
		import struct, sys
		from wsclient import *
		port = sys.argv[1]
		def client(n):
		    ws = connect(port)
		    ws.send(handshake(stream_id=n))
		    ws.send(frame(0, bytes(640)))
		    return ws
		# 1: reset
		ws = client(1); ws.send(b"", PING); ws.recv(); ws.reset()
		# 2: shut down for writing, in the middle of a frame
		ws = client(2); ws.raw(ws_frame(BINARY, frame(1, bytes(640)))[:100]); ws.sock.shutdown(1)
		try:
		    while ws.sock.recv(100): pass
		except OSError: pass
		# 3: a close frame without a code
		ws = client(3); ws.send(b"", CLOSE); assert ws.closed() == (1005, "")
		# 4-7: codes that must not be sent
		for code in (1005, 1006, 0, 5000):
		    ws = client(4); ws.send(struct.pack("!H", code) + b"why", CLOSE)
		    assert ws.closed()[0] == 1002
		# 8: a reason that is not UTF-8
		ws = client(8); ws.send(struct.pack("!H", 1000) + b"\xff\xfe", CLOSE)
		assert ws.closed(answer=False) == (1007, "close reason that is not valid UTF-8")
		# 9: half a code
		ws = client(9); ws.send(b"\x03", CLOSE); ws.closed()
		# 10: frames after the close frame are nothing
		ws = client(10)
		ws.raw(ws_frame(CLOSE, struct.pack("!H", 1001) + "schöner Grund".encode()) +
		       ws_frame(BINARY, frame(1, bytes(640))))
		assert ws.closed() == (1001, "schöner Grund")
	PY
	stop listen
	[ "$status" = 0 ]
	py <<-'PY'
		from wsclient import *
		log = sessions(read_log("log"))
		for s, (o, frames, close) in log.items():
		    assert frames == [frame(0, bytes(640))], s
		codes = [close.code for o, f, close in log.values()]
		assert codes == [1006, 1006, 1005, 1002, 1002, 1002, 1002, 1007, 1002, 1001], codes
		assert log[10][2].reason == "schöner Grund"
	PY
}

@test "listen: who closes right behind a message that is refused hears why all the same" {
	start_listen -o log
	py "$port" <<-'PY'
		import struct, sys
		from wsclient import *
		for _ in range(10):
		    ws = connect(sys.argv[1])
		    ws.raw(ws_frame(BINARY, handshake()) + ws_frame(BINARY, frame(0, bytes(642)))
		           + ws_frame(8, struct.pack(">H", 1000)))
		    got = ws.closed(answer=False)
		    assert got == (1009, "frame seq 0: payload 642 bytes, at most 640 (frame_samples 320)"), got
	PY
	stop listen
	[ "$status" = 0 ]
}

@test "listen: who is closed in the middle of a message has 5 s, however much it sends" {
	start_listen -q -o log
	py "$port" "$pid" <<-'PY'
		import sys, threading, time
		from wsclient import *
		port, pid = sys.argv[1], int(sys.argv[2])
		before = memory(pid)
		def begin():
		    ws = connect(port)
		    ws.send(handshake())
		    ws.raw(ws_frame(BINARY, frame(0, bytes(100), length=1 << 30), announce=1 << 40))
		    return ws, time.monotonic()
		def gone(ws, began):
		    try:
		        while ws.sock.recv(65536):
		            pass
		    except ConnectionError:
		        pass
		    took[ws] = time.monotonic() - began
		took = {}
		silent, busy = begin(), begin()
		wait = threading.Thread(target=gone, args=silent)
		wait.start()
		try:
		    while True:
		        busy[0].raw(bytes(1000))
		        time.sleep(0.01)
		        assert memory(pid) - before < 512 + MEMORY_SLACK
		except OSError:
		    gone(*busy)
		wait.join()
		assert all(4.5 < t < 30 for t in took.values()) and len(took) == 2, took.values()
	PY
	py <<-'PY'
		from wsclient import *
		log = sessions(read_log("log"))
		assert [s[2].code for s in log.values()] == [1009, 1009]
	PY
	stop listen
}
