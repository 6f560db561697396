"""A WebSocket client on a plain socket, for tests: it can send what no library would.

    ws = connect(port)                  # upgraded; raises Refused with the HTTP status otherwise
    ws.send(handshake(stream_id=7))
    ws.send(frame(0, bytes(640)))
    ws.close()                          # the closing handshake; returns (code, reason)
    code, reason = ws.closed()          # wait until the server closes; 1006: without a close frame

Frames are masked, unless told otherwise.  Everything has a timeout: $PATIENCE seconds (300).
"""

import os
import socket
import struct

PCM, ADPCM = 0, 1
MAGIC_HANDSHAKE, MAGIC_ADPCM, MAGIC_PCM = 0x41445043, 0x41445046, 0x464D4350
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
TIMEOUT = float(os.environ.get("PATIENCE", "300"))


class Refused(Exception):
    def __init__(self, status, text):
        super().__init__(f"{status}: {text}")
        self.status = status
        self.text = text


def handshake(codec=PCM, stream_id=1, rate=16000, channels=1, samples=320, timestamp=0,
              magic=MAGIC_HANDSHAKE, version=1, header_len=32, reserved=0):
    return struct.pack("<IHHIIHHHHQ", magic, version, header_len, stream_id, rate, channels,
                       codec, samples, reserved, timestamp)


def frame(seq, payload=b"", codec=PCM, magic=None, length=None):
    if magic is None:
        magic = MAGIC_PCM if codec == PCM else MAGIC_ADPCM
    return struct.pack("<III", magic, len(payload) if length is None else length,
                       seq & 0xFFFFFFFF) + payload


def masked(payload, mask):
    """XOR with the mask: quick enough for megabytes."""
    n = len(payload)
    if n == 0:
        return b""
    key = (mask * (n // 4 + 1))[:n]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(n, "big")


def ws_frame(opcode, payload=b"", fin=True, mask=True, rsv=0, announce=None):
    """One WebSocket frame; announce: another length than the payload's."""
    length = len(payload) if announce is None else announce
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if mask else 0
    if length < 126:
        head += bytes([bit | length])
    elif length < 65536:
        head += struct.pack("!BH", bit | 126, length)
    else:
        head += struct.pack("!BQ", bit | 127, length)
    if not mask:
        return head + payload
    key = os.urandom(4)
    return head + key + masked(payload, key)


def open_socket(port, host="127.0.0.1", rcvbuf=None, sndbuf=None):
    """port: a number, or the path of a unix socket.  Buffers: what the system would choose."""
    if isinstance(port, str) and not port.isdigit():
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(TIMEOUT)
        s.connect(port)
        return s
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    s.settimeout(TIMEOUT)
    if rcvbuf:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    if sndbuf:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)
    s.connect((host, int(port)))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def upgrade_request(path="/ws", version="13", key="dGhlIHNhbXBsZSBub25jZQ==", extra=""):
    return (f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            f"Sec-WebSocket-Version: {version}\r\n{extra}\r\n").encode()


class WebSocket:
    def __init__(self, sock):
        self.sock = sock
        self.buf = b""

    def fill(self):
        data = self.sock.recv(1 << 16)
        if not data:
            raise EOFError
        self.buf += data

    def need(self, n):
        while len(self.buf) < n:
            self.fill()
        head, self.buf = self.buf[:n], self.buf[n:]
        return head

    def raw(self, data):
        self.sock.sendall(data)

    def send(self, payload, opcode=BINARY, **how):
        self.raw(ws_frame(opcode, payload, **how))

    def send_pieces(self, payload, size, opcode=BINARY):
        """One message in frames of that many bytes."""
        pieces = [payload[i:i + size] for i in range(0, len(payload), size)] or [b""]
        for i, p in enumerate(pieces):
            self.send(p, opcode if i == 0 else CONTINUATION, fin=i == len(pieces) - 1)

    def recv_frame(self):
        """(opcode, payload, fin)"""
        b0, b1 = self.need(2)
        n = b1 & 127
        if n == 126:
            n, = struct.unpack("!H", self.need(2))
        elif n == 127:
            n, = struct.unpack("!Q", self.need(8))
        assert not b1 & 128, "the server masks"
        return b0 & 15, self.need(n), bool(b0 & 128)

    def recv(self, pong=True):
        """The next message, (opcode, payload), fragments joined; pings are answered."""
        kind, parts = None, []
        while True:
            op, payload, fin = self.recv_frame()
            if op == PING and pong:
                self.send(payload, PONG)
                continue
            if op >= 8:
                return op, payload
            kind = op if kind is None else kind
            parts.append(payload)
            if fin:
                return kind, b"".join(parts)

    def closed(self, pong=True, answer=True):
        """Wait for the server to close: (code, reason).  Its close frame is answered."""
        try:
            while True:
                op, payload = self.recv(pong)
                if op == CLOSE:
                    break
        except (EOFError, ConnectionError):
            return 1006, ""
        code = struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 1005
        try:
            if answer:
                self.send(payload, CLOSE)
                while self.sock.recv(1 << 16):
                    pass
        except OSError:
            pass
        self.sock.close()
        return code, payload[2:].decode()

    def close(self, code=1000, reason=""):
        """Close; returns what the server answers."""
        self.raw(ws_frame(CLOSE, struct.pack("!H", code) + reason.encode()))
        try:
            while True:
                op, payload = self.recv()
                if op == CLOSE:
                    break
        except (EOFError, ConnectionError):
            return 1006, ""
        try:
            while self.sock.recv(1 << 16):
                pass
        except OSError:
            pass
        self.sock.close()
        return (struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 1005,
                payload[2:].decode())

    def reset(self):
        """Away, with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def read_head(sock):
    """(status, headers, what came behind) of an HTTP reply."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(4096)
        if not more:
            raise Refused(0, "closed without a reply")
        data += more
    head, rest = data.split(b"\r\n\r\n", 1)
    lines = head.decode().split("\r\n")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(lines[0].split()[1]), headers, rest


def connect(port, path="/ws", host="127.0.0.1", rcvbuf=None, sndbuf=None, **how):
    sock = open_socket(port, host, rcvbuf, sndbuf)
    sock.sendall(upgrade_request(path, **how))
    status, headers, rest = read_head(sock)
    if status != 101:
        try:
            while more := sock.recv(4096):
                rest += more
        except OSError:
            pass
        sock.close()
        raise Refused(status, rest.decode(errors="replace").strip())
    ws = WebSocket(sock)
    ws.buf = rest
    return ws


def http(port, request, host="127.0.0.1"):
    """Send bytes, read to the end: (status, headers, body)."""
    sock = open_socket(port, host)
    sock.sendall(request)
    status, headers, body = read_head(sock)
    try:
        while more := sock.recv(1 << 16):
            body += more
    except ConnectionError:
        pass
    sock.close()
    return status, headers, body


# ---- The server's memory ----

# A sanitizer keeps for a while what was freed.
MEMORY_SLACK = 256 << 10 if "ASAN_OPTIONS" in os.environ else 0


def memory(pid):
    """KiB that it has allocated and touched."""
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon"))


# ---- Mux logs ----

OPEN, FRAME, CLOSED, TICK, ROTATE = 1, 2, 3, 4, 5


class Record:
    def __init__(self, kind, session, time_us, body):
        self.kind, self.session, self.time_us, self.body = kind, session, time_us, body

    @property
    def code(self):
        return struct.unpack("<H", self.body[:2])[0]

    @property
    def reason(self):
        return self.body[2:].decode()

    @property
    def keys(self):
        return dict(line.split("=", 1) for line in self.body[32:].decode().splitlines())

    @property
    def seq(self):
        return struct.unpack("<I", self.body[8:12])[0]


def records(data):
    """The records of a mux log; a torn one at the end is an error."""
    at, last = 0, 0
    while at < len(data):
        magic, length, session, kind, flags, time_us = struct.unpack_from("<IIIHHQ", data, at)
        assert magic == 0x4D544545, f"offset {at}: magic {magic:#x}"
        assert 12 <= length and at + 12 + length <= len(data), f"offset {at}: length {length}"
        # Only after a TICK that says so does a log go on with an earlier time.
        assert flags == 0 and (time_us >= last or kind == TICK), f"offset {at}: flags or time"
        assert (session == 0) == (kind in (TICK, ROTATE)), f"offset {at}: session {session}"
        last = time_us
        yield Record(kind, session, time_us, data[at + 24:at + 12 + length])
        at += 12 + length


def read_log(path):
    with open(path, "rb") as f:
        return list(records(f.read()))


def sessions(recs):
    """{session: (OPEN, [frame messages], CLOSE or None)}, TICKs left out; checks their order."""
    out = {}
    for r in recs:
        if r.kind == OPEN:
            assert r.session == len(out) + 1 or r.session not in out, "sessions are numbered"
            out[r.session] = [r, [], None]
        elif r.kind in (FRAME, CLOSED):
            s = out[r.session]
            assert s[2] is None, "nothing after CLOSE"
            if r.kind == FRAME:
                s[1].append(r.body)
            else:
                s[2] = r
    return out
