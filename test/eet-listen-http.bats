#!/usr/bin/env bats
# eet-listen: paths and methods, the echoes, and requests that are none.
# shellcheck disable=SC2154
load helper

# reply METHOD PATH [CURL OPTION...]: status, body and some headers in $reply, $body and $headers.
reply() {
	local method=$1 path=$2

	shift 2
	reply=$(curl -sS --max-time "$PATIENCE" -X "$method" -o body -D headers -w '%{http_code}' "$@" \
		"http://127.0.0.1:$port$path")
	body=$(tr -d '\0' < body)
	headers=$(tr -d '\r' < headers | tr '[:upper:]' '[:lower:]')$'\n'
}

@test "listen: paths, methods and what they answer" {
	start_listen -q -o log
	reply GET /healthz
	[ "$reply $body" = "200 ok" ]
	reply GET '/healthz?from=monitor'
	[ "$reply $body" = "200 ok" ]
	reply POST /healthz -d x
	[ "$reply" = 405 ] && [[ $headers == *$'\nallow: get, head\n'* ]]
	reply GET /echo
	[ "$reply" = 405 ] && [[ $headers == *$'\nallow: post\n'* ]]
	reply PUT /echo -d x
	[ "$reply" = 405 ]
	reply DELETE /echo
	[ "$reply" = 405 ]
	reply OPTIONS /echo
	[ "$reply" = 405 ]
	for path in / /wsx /ws/ /ws/a/b /ws/-x '/ws/a%20b' /ws/echo/x /healthz/ /metrics \
		"/ws/$(printf 'a%.0s' {1..65})" "/$(printf 'a%.0s' {1..3000})"; do
		reply GET "$path" --path-as-is
		[ "$reply" = 404 ]
	done
	reply POST /nothing -d x
	[ "$reply" = 404 ]
	for path in /ws /ws/kitchen /ws/echo; do
		reply GET "$path"
		[ "$reply" = 426 ] && [[ $headers == *$'\nupgrade: websocket\n'* ]]
	done
	reply POST /ws -d x
	[ "$reply" = 405 ]
	[ "$(curl -sS -I "http://127.0.0.1:$port/healthz" | head -n 1)" = $'HTTP/1.1 200 OK\r' ]
	py "$port" <<-'PY'
		import sys
		from wsclient import *
		port = sys.argv[1]
		def head(path):
		    return http(port, f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
		status, headers, body = head("/healthz")
		assert (status, headers["content-length"], body) == (200, "3", b"")
		assert head("/nothing")[0] == 404 and head("/nothing")[2] == b""
		for path in ("/ws", "/ws/kitchen", "/ws/aa:bb:cc:dd:ee:ff", "/ws/" + "a" * 64, "/ws?x=1",
		             "/ws/echo", "/ws/echo?y", "/ws/%6bitchen", "/ws//kitchen", "//ws/./kitchen",
		             "/x/../ws/kitchen"):
		    connect(port, path).close()
		def refused(status, *args, **how):
		    try:
		        connect(port, *args, **how)
		    except Refused as e:
		        assert e.status == status, e
		    else:
		        assert False, (args, how)
		for path in ("/", "/ws/", "/ws/a/b", "/ws/_x", "/ws/index.jsonl", "/ws/a.JSONL", "/ws/" + "a" * 65, "/WS", "/echo", "/healthy"):
		    refused(404, path)
		refused(426, version="8")
		refused(426, version="")
		refused(400, key="")
		refused(400, extra="Sec-WebSocket-Protocol: chat\r\n")
		# Extensions are not taken, which is no reason to refuse.
		connect(port, extra="Sec-WebSocket-Extensions: permessage-deflate\r\n").close()
	PY
}

@test "listen: POST /echo gives bodies of any size back, as they come" {
	start_listen -q -o log
	printf 'h\xc3\xb6ren' > small
	head -c 30000000 /dev/urandom > large
	: > empty
	for f in small empty large; do
		reply POST /echo -H 'Content-Type: audio/x-test; a=b' --data-binary @"$f"
		[ "$reply" = 200 ]
		cmp body "$f"
		[[ $headers == *$'\ncontent-type: audio/x-test; a=b\n'* ]]
	done
	reply POST /echo -H 'Content-Type:' --data-binary @small
	[[ $headers == *$'\ncontent-type: application/octet-stream\n'* ]]
	reply POST /echo -H 'Expect: 100-continue' --expect100-timeout "$PATIENCE" --data-binary @large
	[ "$reply" = 200 ]
	cmp body large
	reply POST /echo -H 'Expect: miracles' -d x
	[ "$reply" = 417 ]
	reply POST /echo -H 'Transfer-Encoding: chunked' -d x
	[ "$reply" = 411 ]
	py "$port" "$pid" <<-'PY'
		import sys, threading
		from wsclient import *
		port, pid = sys.argv[1], sys.argv[2]
		def post(*lines, body=b"x"):
		    return http(port, "\r\n".join(("POST /echo HTTP/1.1", "Host: x") + lines + ("", "")).encode()
		                + body)[0]
		assert post() == 411
		for length in ("5x", "-5", "+5", "0x5", "5 5", "99999999999999999999", "5, 5"):
		    assert post(f"Content-Length: {length}") == 400, length
		assert post("Content-Length: 1", "Content-Length: 1") == 400
		assert post("Content-Length: 1", "Transfer-Encoding: chunked") == 411
		assert post("Content-Length: 1") == 200
		# Who does not read gets no more than the sockets hold, and the server does not grow.
		before = memory(pid)
		s = open_socket(port, rcvbuf=4096, sndbuf=65536)
		size = 64 << 20
		s.sendall(f"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode())
		s.settimeout(1)
		sent = 0
		block = bytes(range(256)) * 256
		try:
		    while sent < size:
		        sent += s.send(block[sent % 65536:])
		except TimeoutError:
		    pass
		assert 65536 < sent < size, sent
		assert memory(pid) - before < 1024 + MEMORY_SLACK, memory(pid) - before
		s.settimeout(TIMEOUT)
		def rest():
		    global sent
		    while sent < size:
		        sent += s.send(block[sent % 65536:])
		t = threading.Thread(target=rest, daemon=True)
		t.start()
		status, headers, body = read_head(s)
		got = bytearray(body)
		while more := s.recv(1 << 16):
		    got += more
		assert status == 200 and len(got) == size and got == block * (size >> 16)
	PY
	[ "$(curl -sS "http://127.0.0.1:$port/healthz")" = ok ]
}

@test "listen: /ws/echo gives every message back, of any size, in pieces or not" {
	start_listen -q -o log --max-frame 1k
	py "$port" "$pid" <<-'PY'
		import os, sys, threading
		from wsclient import *
		port, pid = sys.argv[1], sys.argv[2]
		ws = connect(port, "/ws/echo")
		for op, payload in ((TEXT, b""), (BINARY, b""), (TEXT, "größer".encode()), (BINARY, bytes(125)),
		                    (BINARY, bytes(126)), (BINARY, bytes(65535)), (BINARY, bytes(65536)),
		                    (BINARY, os.urandom(5000000)), (TEXT, b"x" * 3000000)):
		    t = threading.Thread(target=ws.send, args=(payload, op))
		    t.start()
		    assert ws.recv() == (op, payload), len(payload)
		    t.join()
		text = ("ä€😀" * 100).encode()
		for size in (1, 2, 3, 7, 100):
		    ws.send_pieces(text, size, TEXT)
		    assert ws.recv() == (TEXT, text)
		# Many at once come back in order, pings between them.
		def many():
		    for i in range(5000):
		        ws.send(b"%d" % i, BINARY if i % 2 else TEXT)
		t = threading.Thread(target=many)
		t.start()
		for i in range(5000):
		    assert ws.recv() == (BINARY if i % 2 else TEXT, b"%d" % i)
		t.join()
		ws.send(b"half", fin=False)
		ws.send(b"ping!", PING)
		ws.send(b" way", CONTINUATION)
		got = [ws.recv_frame() for i in range(3)]
		assert (PONG, b"ping!", True) in got
		assert b"".join(p for op, p, fin in got if op != PONG) == b"half way"
		assert ws.close(1000, "bye") == (1000, "bye")
		for bad in (b"\xc3(", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"\xe2\x82", b"\xff"):
		    ws = connect(port, "/ws/echo")
		    ws.send(bad, TEXT)
		    assert ws.closed() == (1007, "text that is not valid UTF-8"), bad
		# Who does not read its echo is read no more.
		before = memory(pid)
		ws = connect(port, "/ws/echo", rcvbuf=4096, sndbuf=65536)
		ws.sock.settimeout(1)
		block = ws_frame(BINARY, bytes(1000)) * 100
		sent = 0
		try:
		    while sent < 64 << 20:
		        sent += ws.sock.send(block[sent % len(block):])
		except TimeoutError:
		    pass
		assert sent < 64 << 20
		assert memory(pid) - before < 1024 + MEMORY_SLACK, memory(pid) - before
		ws.sock.settimeout(TIMEOUT)
		for i in range(sent // (len(block) // 100)):
		    assert ws.recv() == (BINARY, bytes(1000))
	PY
}

@test "listen: what is no HTTP, or too much of it, ends in a reply or a close, and hurts nobody" {
	start_listen -q -o log --handshake-timeout 1s
	py "$port" <<-'PY'
		import os, sys
		from wsclient import *
		port = sys.argv[1]
		def attempt(data):
		    s = open_socket(port)
		    try:
		        s.sendall(data)
		        got = b""
		        while more := s.recv(65536):
		            got += more
		        return got
		    except ConnectionError:
		        return b""
		H = b"Host: x\r\n"
		for data in (b"\r\n\r\n", b"GET\r\n\r\n", b"TRACE / HTTP/1.1\r\n" + H + b"\r\n",
		             b"GET / HTTP/9.9\r\n\r\n", b"GET /ws" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
		             b"GET /ws HTTP/1.1\r\n" + b"X: " + b"y" * 100000 + b"\r\n\r\n",
		             b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01" + os.urandom(200),
		             b"CONNECT localhost:22 HTTP/1.1\r\n" + H + b"\r\nraw bytes",
		             b"GET http://other/ws HTTP/1.1\r\n" + H + b"\r\n",
		             b"GET /healthz HTTP/1.1\r\n" + H + b"Upgrade: foo\r\nConnection: upgrade\r\n\r\n",
		             b"GET /healthz HTTP/1.1\r\n" + H + b"\r\nGET /x HTTP/1.1\r\n" + H +
		             b"Upgrade: foo\r\nConnection: upgrade\r\n\r\n",
		             b"POST /echo HTTP/1.1\r\n" + H + b"Content-Length: 3\r\n\r\nabcPOST /echo HTTP/1.1\r\n",
		             b"POST /echo HTTP/1.1\r\n" + H + b"Content-Length: 3\r\nUpgrade: websocket\r\n"
		             b"Connection: Upgrade\r\n\r\nabc", os.urandom(5000), b"\0" * 5000):
		    attempt(data)
		# An upgrade to another protocol is an offer, which is not taken.
		got = attempt(b"GET /healthz HTTP/1.1\r\n" + H + b"Connection: Upgrade, HTTP2-Settings\r\n"
		              b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n")
		assert got.startswith(b"HTTP/1.1 200 OK"), got
		# Sent along with the request, before the reply: taken all the same.
		s = open_socket(port)
		s.sendall(upgrade_request() + ws_frame(BINARY, handshake()) + ws_frame(BINARY, frame(0)))
		status, headers, rest = read_head(s)
		ws = WebSocket(s)
		ws.buf = rest
		assert status == 101 and ws.close() == (1000, "")
	PY
	stop listen
	[ "$status" = 0 ]
	py <<-'PY'
		from wsclient import *
		log = sessions(read_log("log"))
		assert len(log) == 1 and log[1][1] == [frame(0)]
	PY
}

@test "listen: who sends more than a request may hold is named with -v, libwebsockets' own lines are few" {
	start_listen -v -o log
	py "$port" > peer <<-'PY'
		import sys
		from wsclient import *
		for _ in range(50):
		    s = open_socket(sys.argv[1])
		    try:
		        s.sendall(b"GET /ws HTTP/1.1\r\nX: " + b"y" * 20000 + b"\r\n\r\n")
		        assert s.recv(1) == b""
		    except ConnectionError:
		        pass
		print("%s:%d" % s.getsockname())
	PY
	wait_for grep -qx "eet-listen: $(< peer): closed without a request" listen.err
	count=$(grep -c '^eet-listen: libwebsockets: ' listen.err)
	[ "$count" -ge 1 ] && [ "$count" -le 20 ] # ten in a minute
	stop listen
	[ "$status" = 0 ]
}

@test "listen: who does not read an echo is not read from, and closed when it takes too long" {
	start_listen -q --idle-timeout 1s -o log
	py "$port" "$pid" <<-'PY'
		import sys
		from wsclient import *
		port, pid = sys.argv[1], int(sys.argv[2])
		before = memory(pid)
		def post():
		    s = open_socket(port, rcvbuf=4096)
		    s.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
		    return s
		def echo():
		    return connect(port, "/ws/echo", rcvbuf=4096).sock
		for open_one, data in (post, bytes(65536)), (echo, ws_frame(BINARY, bytes(60000))):
		    s, sent = open_one(), 0
		    try:
		        while True:
		            sent += s.send(data)
		            assert memory(pid) - before < 1024 + MEMORY_SLACK
		    except OSError as e:
		        assert not isinstance(e, TimeoutError), "it is not closed"
		    assert sent > 65536, sent
		connect(port).close()
	PY
	stop listen
	[ "$status" = 0 ]
}

@test "listen: what libwebsockets refuses or takes by itself is what the manual says" {
	start_listen -q -o log
	py "$port" <<-'PY'
		import sys
		from wsclient import *
		port = sys.argv[1]
		def refused(status, **how):
		    try:
		        connect(port, **how)
		    except Refused as e:
		        assert e.status == status, e
		    else:
		        assert False, how
		refused(403, path="/ws/%zz")
		refused(403, path="/ws/%")
		connect(port, extra=f"X-Y: {'y' * 3500}\r\n").close()
		refused(0, extra=f"X-Y: {'y' * 4500}\r\n")
		assert http(port, b"TRACE /ws HTTP/1.1\r\nHost: x\r\n\r\n")[0] == 403
		ws = connect(port)
		ws.send(handshake(), mask=False)
		ws.send(frame(0), mask=False)
		assert ws.close() == (1000, "")
		ws = connect(port)
		ws.raw(ws_frame(PING, bytes(125)) + ws_frame(PING, b"not answered"))
		assert ws.recv() == (PONG, bytes(125))
		assert ws.close() == (1000, "")
		for op in PING, PONG, CLOSE:
		    ws = connect(port)
		    ws.send(bytes(126), op)
		    assert ws.closed() == (1006, "")
	PY
	stop listen
	[ "$status" = 0 ]
}
