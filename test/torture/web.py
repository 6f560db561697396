#!/usr/bin/python3
"""web.py [OPTION...]: what no client should send, on many sockets, while one stream records.

  request    request lines and headers that are wrong, endless, in pieces, many in one go
  upgrade    handshakes of WebSocket with something wrong, missing or twice
  frames     WebSocket frames: unmasked, reserved bits and opcodes, control frames that are too long
             or in pieces, lengths that never come, fragments in any order, audio that breaks rules
  bytes      all of that, with bytes changed, lost and doubled
  other      TLS, HTTP/2, other protocols and noise

Connections end in all ways there are: half closed, reset, closed.  Each answer is HTTP or WebSocket
as it should be, and each connection that we half-close is closed.  The stream loses nothing, none of
its files is damaged, and in the end memory and descriptors are what they were.

  --rounds N      of each kind (1000), or a few more; up to 16 connections each
  --seed S        of all that is random but time; printed
  --only KIND

Prints a table; exit status 1 if anything is wrong, and the directory is kept then.
"""

import argparse
import glob
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import table

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
from wsclient import (BINARY, CLOSE, CONTINUATION, MEMORY_SLACK, PING, PONG, TEXT, connect, frame,
                      handshake, memory, open_socket, upgrade_request, ws_frame)

PATIENCE = 300
LEAST = 30  # frames of the stream that are recorded meanwhile
GROWTH = 4096 + MEMORY_SLACK  # KiB that it may have more after all than after a part of it
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
STATUSES = {100, 101, 200, 400, 401, 403, 404, 405, 411, 413, 414, 417, 426, 431, 500, 503}
CODES = {1000, 1001, 1002, 1003, 1005, 1007, 1008, 1009, 1011, 1013}
TLS_HELLO = bytes.fromhex(
    "1603010200010001fc0303") + bytes(range(32)) + bytes.fromhex("20") + bytes(range(64, 96)) + \
    bytes.fromhex("0006130113021303c02b010001ad00000010000e00000b6578616d706c652e6f7267")
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000012040000000000000300000064")
PATHS = ("/ws", "/ws/kitchen", "/ws/echo", "/echo", "/healthz", "/metrics", "/", "/ws/", "/ws/a/b")


class Wrong(Exception):
    """What must not be."""


# ---- What is sent ----

def noise(rng, most):
    return rng.randbytes(rng.randint(0, most))


def word(rng):
    return rng.choice((
        b"", b"\0", b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"%00", b"%2e%2e/", b"../", b"?", b"#",
        b"\xff\xfe", b"*", b"1" * 40, b"-1", b"0x10", b"a" * rng.choice((60, 130, 300, 5000)),
        b"websocket", b"Upgrade", b"close", b"chunked", b"100-continue", noise(rng, 12)))


def path(rng):
    text = rng.choice(PATHS).encode()
    if rng.random() < 0.4:
        text += rng.choice((b"?token=", b"/", b"%", b"")) + word(rng)
    if rng.random() < 0.1:
        text = b"http://localhost" + text
    return text


def header(rng):
    name = rng.choice((
        b"Host", b"Connection", b"Upgrade", b"Sec-WebSocket-Key", b"Sec-WebSocket-Version",
        b"Sec-WebSocket-Protocol", b"Sec-WebSocket-Extensions", b"Content-Length", b"Content-Type",
        b"Transfer-Encoding", b"Expect", b"Origin", b"Authorization", b"Cookie", b"Accept",
        b"X-" + b"y" * rng.choice((1, 40, 3000)), word(rng)))
    value = rng.choice((word(rng), word(rng) + word(rng), b"13", b"17", KEY.encode(), b"localhost",
                        b"z" * rng.choice((1, 1000, 20000))))
    return name + rng.choice((b": ", b":", b" : ", b":\t", b"")) + value + \
        rng.choice((b"\r\n",) * 8 + (b"\n", b"\r", b"\r\n "))


def request(rng):
    method = rng.choice((b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"TRACE",
                         b"get", b"G", word(rng)))
    version = rng.choice((b"HTTP/1.1",) * 6 + (b"HTTP/1.0", b"HTTP/9.9", b"", word(rng)))
    head = method + rng.choice((b" ",) * 8 + (b"", b"  ")) + path(rng) + b" " + version + b"\r\n"
    head += b"Host: localhost\r\n" * rng.choice((0, 1, 1, 1, 2))
    head += b"".join(header(rng) for _ in range(rng.choice((0, 1, 2, 5, 5, 120))))
    if rng.random() < 0.3:
        body = noise(rng, 3000)
        length = rng.choice((len(body), len(body), len(body) + 5, 1 << 62))
        head += b"Content-Length: %d\r\n" % length
        return head + b"\r\n" + body
    return head + (b"\r\n" if rng.random() < 0.9 else b"")


def requests(rng):
    if rng.random() < 0.2:
        one = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
        return one * rng.choice((2, 50, 500))
    return b"".join(request(rng) for _ in range(rng.choice((1, 1, 1, 2, 5))))


def upgrade(rng):
    lines = [b"GET " + rng.choice(PATHS[:3]).encode() + b" HTTP/1.1", b"Host: localhost",
             b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Key: " + KEY.encode(),
             b"Sec-WebSocket-Version: 13"]
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        at = rng.randrange(1, len(lines))
        name = lines[at].split(b":")[0]
        lines[at:at + 1] = rng.choice((
            [], [lines[at]] * 2, [name + b": " + word(rng)], [name + b":" + noise(rng, 80)],
            [lines[at], b"Sec-WebSocket-Protocol: " + word(rng)],
            [lines[at], b"Sec-WebSocket-Extensions: permessage-deflate; " + word(rng)],
            [lines[at], b"Origin: http://" + word(rng)], [lines[at].upper()]))
    if rng.random() < 0.1:
        lines[0] = lines[0].replace(b"GET", b"POST")
    return b"\r\n".join(lines) + b"\r\n\r\n" + (frames(rng) if rng.random() < 0.5 else b"")


def payload(rng):
    return rng.choice((
        handshake(stream_id=666), handshake(stream_id=667, channels=rng.randrange(70)),
        handshake(stream_id=668, codec=rng.randrange(3), samples=rng.randrange(400)),
        frame(rng.randrange(1 << 32), noise(rng, 700)), frame(0, bytes(640)), frame(1, b""),
        frame(2, bytes(640), length=rng.randrange(1 << 32)), noise(rng, 40), noise(rng, 3000), b"",
        b"CPDA", b"\xc3\xa4\xf0\x9f", bytes([rng.randrange(256), rng.randrange(256)]) + b"why"))


def one_frame(rng):
    data = payload(rng)
    control = [PING] if rng.pings else []
    announce = rng.choice((None,) * 12 + (125, 126, 65535, 1 << 20, 1 << 40, (1 << 63) - 1, 1 << 63))
    return ws_frame(
        rng.choice([BINARY] * 8 + [TEXT, CONTINUATION, CONTINUATION, PONG, CLOSE, 3, 7, 11, 15] +
                   control),
        data, fin=rng.random() < 0.8, mask=rng.random() < 0.95,
        rsv=rng.choice((0,) * 14 + (1, 2, 4, 7)), announce=announce)


def frames(rng):
    start = ws_frame(BINARY, handshake(stream_id=666)) if rng.random() < 0.5 else b""
    return start + b"".join(one_frame(rng) for _ in range(rng.choice((0, 1, 3, 10, 60))))


def upgraded(rng):
    return upgrade_request(rng.choice(PATHS[:3])) + frames(rng)


def changed(rng):
    data = bytearray(rng.choice((requests, upgrade, upgraded))(rng))
    for _ in range(rng.choice((1, 2, 5, 40))):
        at, end = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
        end = min(end, at + rng.choice((1, 1, 4, 300)))
        data[at:end] = rng.choice((b"", data[at:end] * 2, noise(rng, end - at)))
    return bytes(data)


def other(rng):
    return rng.choice((
        TLS_HELLO, TLS_HELLO[:rng.randint(0, 80)] + noise(rng, 500), HTTP2, HTTP2 + noise(rng, 100),
        noise(rng, 5000), b"\0" * rng.choice((1, 100, 70000)), b"SSH-2.0-x\r\n", b"QUIT\r\n",
        b"\r\n" * rng.choice((1, 1000)), b"GET /\r\n\r\n", handshake() + frame(0, bytes(640)),
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"))


KINDS = {"request": requests, "upgrade": upgrade, "frames": upgraded, "bytes": changed,
         "other": other}


# ---- What comes back ----

def check_frames(data, any_code):
    """
    The server's frames: whole ones, up to the end or a close frame.  Its code is not the server's
    own if a ping comes while it waits to be sent: libwebsockets 4.1 has one buffer for both.
    """
    while len(data) >= 2:
        opcode, n, at = data[0] & 15, data[1], 2
        if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG) or data[0] & 0x70:
            raise Wrong(f"a frame that begins {data[:2].hex()}")
        if n & 128:
            raise Wrong("a masked frame")
        if opcode >= CLOSE and (n > 125 or not data[0] & 128):
            raise Wrong(f"a control frame that begins {data[:2].hex()}")
        if n >= 126:
            size = 2 if n == 126 else 8
            n, at = int.from_bytes(data[2:2 + size], "big"), 2 + size
        if opcode == CLOSE and n >= 2 and len(data) >= at + n:
            code = int.from_bytes(data[at:at + 2], "big")
            if not any_code and code not in CODES and not 3000 <= code <= 4999:
                raise Wrong(f"a close frame with {code}")
            if not any_code:
                data[at + 2:at + n].decode()
        data = data[at + n:]


def check_answer(data, any_code):
    """HTTP, and what it leads to."""
    if not data:
        return
    head, end, rest = data.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.[01] (\d{3})[ \r]", data)
    if not status or int(status[1]) not in STATUSES:
        raise Wrong(f"an answer that begins {data[:60]!r}")
    if not end:
        raise Wrong(f"an answer without an end: {data[-60:]!r}")
    if int(status[1]) == 101:
        check_frames(rest, any_code)
    elif int(status[1]) == 100:
        check_answer(rest, any_code)
    elif int(status[1]) != 200:
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        if length and len(rest) not in (0, int(length[1])):
            raise Wrong(f"{head[:60]!r} with {len(rest)} bytes of {length[1]!r}")


# ---- The connections ----

class Connection:
    """One that sends its bytes in pieces, and hears what comes meanwhile."""

    def __init__(self, port, kind, rng):
        rng.pings = rng.random() < 0.5
        data = KINDS[kind](rng)
        self.any_code = rng.pings or KINDS[kind] is changed
        self.sock = open_socket(port)
        self.sock.setblocking(False)
        most = rng.choice((1, 7, 100, 1400, 70000))
        if len(data) > 3000:
            most = max(most, 100)
        self.data, self.most, self.rng = data, most, rng
        self.heard, self.over = b"", False

    def listen(self):
        try:
            while more := self.sock.recv(1 << 16):
                self.heard += more
            self.over = True
        except BlockingIOError:
            pass
        except OSError:
            self.over = True

    def send(self):
        """A piece.  True: there is more to do."""
        try:
            piece = self.data[:self.rng.randint(1, self.most)]
            self.data = self.data[self.sock.send(piece):]
        except BlockingIOError:
            pass
        except OSError:
            self.over = True
        self.listen()
        return bool(self.data) and not self.over

    def end(self):
        how = self.rng.choice(("half", "half", "half", "reset", "close"))
        try:
            if how == "reset":
                self.sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER
            elif how == "half":
                self.sock.shutdown(1)
                self.sock.settimeout(PATIENCE)
                while not self.over:
                    more = self.sock.recv(1 << 16)
                    self.heard += more
                    self.over = not more
        except TimeoutError as e:
            raise Wrong(f"not closed within {PATIENCE} s, after {self.heard[-60:]!r}") from e
        except OSError:
            pass
        self.sock.close()
        if how == "half":
            check_answer(self.heard, self.any_code)


def attack(port, kind, rng):
    """One round."""
    some = [Connection(port, kind, rng) for _ in range(rng.choice((1, 2, 4, 16)))]
    busy = list(some)
    limit = time.monotonic() + PATIENCE
    while busy:
        one = rng.choice(busy)
        if not one.send() or time.monotonic() > limit:
            busy.remove(one)
    for one in some:
        one.end()


class Good(threading.Thread):
    """The stream that must not notice."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.ws = connect(port, "/ws/good")
        self.sent, self.stop, self.wrong = 0, threading.Event(), None

    def payload(self, seq):
        return bytes((seq * 7 + i * i) & 255 for i in range(320))

    def run(self):
        try:
            self.ws.send(handshake(stream_id=1, rate=16000, samples=160))
            while not self.stop.wait(0.005):
                self.ws.send(frame(self.sent, self.payload(self.sent)))
                self.sent += 1
            if self.ws.close() != (1000, ""):
                self.wrong = "the good stream was not closed as it asked for"
        except (OSError, EOFError) as e:
            self.wrong = f"the good stream: {e!r}"


# ---- The server ----

class Server:
    def __init__(self, folder):
        self.out = os.path.join(folder, "out")
        self.errors = os.path.join(folder, "listen.err")
        ready, tell = os.pipe()
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                ["eet-listen", "-q", "--ready-fd", str(tell), "--spool", self.out, "-t", "1s",
                 "--sync", "none", "localhost:0"], pass_fds=[tell], stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=errors)
        os.close(tell)
        with open(ready, encoding="ascii") as f:
            self.port = re.search(r":(\d+)/", f.readline())[1]

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def settle(self, most):
        """Wait until there are no more descriptors than that."""
        limit = time.monotonic() + PATIENCE
        while self.descriptors() > most:
            if self.process.poll() is not None or time.monotonic() > limit:
                raise Wrong(f"{self.descriptors()} descriptors, {most} before")
            time.sleep(0.02)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE)
        with open(self.errors, encoding="utf-8") as f:
            said = f.read()
        if status != 0 or "Sanitizer" in said or "runtime error" in said:
            raise Wrong(f"the server's exit status is {status}: {said[:3000]}")


def stored(out, good, before):
    """Frames of the good stream that are missing, and files that are not as they should be."""
    count, damaged = 0, 0
    for name in sorted(set(glob.glob(os.path.join(out, "stream_1_good_*.eet"))) - before):
        with open(name, "rb") as f:
            data = f.read()
        at = 32
        while at < len(data):
            expected = frame(count, good.payload(count))
            if data[at:at + len(expected)] != expected:
                damaged += 1
                break
            at += len(expected)
            count += 1
        with open(name[:-4] + ".wav", "rb") as f:
            if len(f.read()) != 44 + (len(data) - 32) // 332 * 320:
                damaged += 1
    return good.sent - count, damaged


def run_kind(server, kind, rng, rounds):
    """(frames sent, frames lost, damaged files)"""
    before = set(glob.glob(os.path.join(server.out, "stream_1_good_*.eet")))
    base = server.descriptors()
    good = Good(server.port)
    good.start()
    early = None
    number = 0
    try:
        while number < rounds or (good.sent < LEAST and good.is_alive()):
            if server.process.poll() is not None:
                raise Wrong(f"round {number}: the server has died")
            attack(server.port, kind, rng)
            if number == rounds // 4:
                early = memory(server.process.pid)
            number += 1
    finally:
        good.stop.set()
        good.join(PATIENCE)
    if good.wrong:
        raise Wrong(good.wrong)
    server.settle(base)
    late = memory(server.process.pid)
    if late > early + GROWTH:
        raise Wrong(f"{late} KiB of memory, {early} after a quarter of the rounds")
    limit = time.monotonic() + PATIENCE
    while glob.glob(os.path.join(server.out, "stream_1_good_*.part")):
        if time.monotonic() > limit:
            raise Wrong("the good stream's segments were not completed")
        time.sleep(0.02)
    return (good.sent, *stored(server.out, good, before))


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--only", choices=KINDS)
    table.add_option(parser)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = tempfile.mkdtemp(prefix="eet-web.")
    server, rows, wrong = Server(folder), [], None
    try:
        for kind in [options.only] if options.only else KINDS:
            rng = random.Random(f"{options.seed} {kind}")
            sent, lost, damaged = run_kind(server, kind, rng, options.rounds)
            rows.append((f"web: {kind}", options.rounds, sent, lost, damaged, None,
                         f"web.py --seed {options.seed} --rounds {options.rounds} --only {kind}"))
            if lost or damaged:
                raise Wrong(f"{kind}: frames were lost or files damaged")
        server.stop()
    except Wrong as e:
        wrong = str(e)
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
    table.show(rows, options)
    if wrong:
        with open(server.errors, encoding="utf-8", errors="replace") as f:
            print(f.read()[-3000:])
        print(f"{wrong}\nleft as it is: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
