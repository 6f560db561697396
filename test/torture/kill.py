#!/usr/bin/python3
"""kill.py [OPTION...]: SIGKILL at random moments, then a restart; what must be stored is stored.

In each round some streams send frames whose bytes follow from stream and seq, a program is killed,
perhaps its recovery too, and it is started again on the same directory.  Then

- each session in the directory is a beginning of what its stream sent, to the byte;
- a frame is there if the server had read it (two pings behind it were answered), but for what
  eet-listen(1) and eet-rotate(1) allow a kill to cost: nothing with --spool; in a pipe, what waits
  in the server's memory, in the pipe, and one read; nothing either once that has settled;
- nothing ends in .part, every log is in the index once, and each WAV is what eet-wav makes of it;
- files that were complete when the program died are the same.

  --rounds N        (200)
  --streams N       at most so many (64), at least 8 or N
  --seconds S       at most so long until the kill (0.8)
  --seed S          of all that is random but time; printed
  --only FAULT      server, listener, rotator or both

A directory serves for 8 rounds, so that old and new runs lie side by side.  Prints a table; exit
status 1 if anything is wrong, and the directory is kept then.
"""

import argparse
import asyncio
import collections
import fcntl
import hashlib
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from wsclient import (ADPCM, BINARY, CLOSE, PCM, PING, PONG, Refused, frame, handshake,
                      open_socket, read_head, upgrade_request)

SAMPLES = 160
PIPE = 64 << 10  # what a pipe holds, and one read of eet-rotate
MEMORY = 1 << 20  # what may wait in eet-listen while its output takes nothing
RECORD = 24  # a frame's header in a mux log
PATIENCE = 60
SAMPLE = 30  # WAVs that are made again in a round, besides recovered ones
NOISE = hashlib.shake_128(b"eet").digest(1 << 16)


def ws_frame(opcode, payload):
    """Masked with 0, so that the payload can be copied."""
    n = len(payload)
    length = struct.pack("!B", 128 | n) if n < 126 else struct.pack("!BH", 128 | 126, n)
    return bytes([128 | opcode]) + length + bytes(4) + payload


class Session:
    """What one stream sends: nothing of it is kept, all of it follows from the number."""

    def __init__(self, number):
        self.number = number
        self.codec = ADPCM if number % 3 == 0 else PCM
        self.handshake = handshake(codec=self.codec, stream_id=number, rate=8000, samples=SAMPLES)
        self.sent = self.read = 0  # frames written, and known as read by the server

    def frame(self, seq):
        size = 4 + SAMPLES // 2 if self.codec == ADPCM else 2 * SAMPLES
        at = (self.number * 40503 + seq * 2654435761) % (len(NOISE) - size)
        noise = NOISE[at:at + size]
        if self.codec == ADPCM:
            noise = noise[:2] + bytes([noise[2] % 89, 0]) + noise[4:]
        return frame(seq, noise, codec=self.codec)

    @property
    def record(self):
        return RECORD + len(self.frame(0))


class Stream:
    """One client: a session, perhaps another one after it, until the server is gone."""

    def __init__(self, port, rng, sessions, pause):
        self.port, self.rng, self.sessions, self.pause = port, rng, sessions, pause
        self.settled = False

    async def run(self):
        try:
            while not self.settled:
                await self.session()
        except (OSError, EOFError, Refused):
            pass
        self.settled = True

    async def session(self):
        sock = open_socket(self.port)
        sock.sendall(upgrade_request("/ws"))
        read_head(sock)
        sock.setblocking(False)
        self.reader, self.writer = await asyncio.open_connection(sock=sock)
        session = Session(len(self.sessions) + 1)
        self.sessions.append(session)
        self.writer.write(ws_frame(BINARY, session.handshake))
        last = self.rng.choice((30, 300, 1000000))
        slow = self.rng.random() < 0.3
        try:
            while session.sent < last:
                end = session.sent + self.rng.randint(1, 24)
                self.writer.write(b"".join(ws_frame(BINARY, session.frame(seq))
                                           for seq in range(session.sent, end)))
                session.sent = end
                await self.writer.drain()
                if self.pause.is_set() or self.rng.random() < 0.2:
                    await self.acknowledge(session)
                if self.pause.is_set():
                    self.settled = True
                    await self.reader.read()
                    raise EOFError
                await asyncio.sleep(0.02 if slow else 0)
            self.writer.write(ws_frame(CLOSE, struct.pack("!H", 1000)))
            await self.reader.read()
        finally:
            self.writer.close()

    async def acknowledge(self, session):
        """Two pings: a turn of the server's loop lies between the answers."""
        sent = session.sent
        for _ in range(2):
            self.writer.write(ws_frame(PING, b"kill"))
            while True:
                opcode, size = await self.reader.readexactly(2)
                payload = await self.reader.readexactly(size)
                if opcode & 15 == PONG:
                    break
                if opcode & 15 == CLOSE:
                    raise EOFError
        session.read = sent


class Round:
    """One fault, and what becomes of it."""

    def __init__(self, folder, fault, rng, streams, seconds):
        self.folder, self.fault, self.rng = folder, fault, rng
        self.out = os.path.join(folder, "out")
        self.sessions = []
        self.count = rng.randint(min(8, streams), streams)
        self.seconds = rng.uniform(0.02, seconds)
        self.settle = rng.random() < 0.5
        self.spool = ["-t", rng.choice(("100ms", "300ms", "1s", "0"))]
        if rng.random() < 0.5:
            self.spool += ["-s", rng.choice(("10k", "100k"))]
        if rng.random() < 0.7:
            self.spool += ["--sync", "none"]
        self.wrong, self.lost, self.damaged = [], 0, 0
        self.listener = self.rotator = None

    def start(self):
        ready, tell = os.pipe()
        with open(os.path.join(self.folder, "listen.err"), "wb") as errors:
            listen = ["eet-listen", "-q", "--ready-fd", str(tell), "localhost:0"]
            if self.fault == "server":
                self.listener = subprocess.Popen(
                    listen + ["--spool", self.out] + self.spool, pass_fds=[tell],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
            else:
                self.listener = subprocess.Popen(
                    listen, pass_fds=[tell], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                    stderr=errors)
                self.rotator = subprocess.Popen(
                    ["eet-rotate", "-q"] + self.spool + [self.out], stdin=self.listener.stdout,
                    stdout=subprocess.DEVNULL, stderr=errors)
                self.listener.stdout.close()
        os.close(tell)
        with open(ready, encoding="ascii") as f:
            line = f.readline()
        self.port = re.search(r":(\d+)/", line)[1]

    def idle(self):
        """The rotator has read all, and waits for more."""
        try:
            pipe = os.open(f"/proc/{self.rotator.pid}/fd/0", os.O_RDONLY | os.O_NONBLOCK)
            try:
                unread = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]
            finally:
                os.close(pipe)
            with open(f"/proc/{self.rotator.pid}/stat", encoding="ascii") as f:
                return unread == 0 and f.read().rsplit(") ", 1)[1][0] == "S"
        except OSError:
            return True

    async def flow(self):
        """Streams flow until something is killed."""
        pause = asyncio.Event()
        streams = [Stream(self.port, random.Random(self.rng.random()), self.sessions, pause)
                   for _ in range(self.count)]
        tasks = [asyncio.ensure_future(stream.run()) for stream in streams]
        await asyncio.sleep(self.seconds)
        if self.settle:
            pause.set()
            limit = time.monotonic() + PATIENCE
            while not (all(stream.settled for stream in streams) and
                       (self.rotator is None or self.idle())):
                await asyncio.sleep(0.01)
                if time.monotonic() > limit:
                    self.wrong.append("the streams did not settle")
                    break
        victims = [p for p, faults in ((self.listener, ("server", "listener", "both")),
                                       (self.rotator, ("rotator", "both"))) if self.fault in faults]
        self.rng.shuffle(victims)
        for victim in victims:
            victim.kill()
        for program in (self.listener, self.rotator):
            while program is not None and program.poll() is None:
                await asyncio.sleep(0.01)
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)

    def allowed(self):
        """Bytes of log, read by the server, that the kill may have cost."""
        if self.fault == "server" or self.settle:
            return 0
        if self.fault == "listener":
            return MEMORY
        if self.fault == "both":
            return MEMORY + 2 * PIPE
        # It says what it could not hand on.
        with open(os.path.join(self.folder, "listen.err"), encoding="utf-8") as f:
            said = re.search(r"the last (\d+) bytes of the log could not be stored", f.read())
        return 2 * PIPE + (int(said[1]) if said else 0)

    def restart(self):
        """Seconds that it takes."""
        if self.fault == "server":
            command = ["eet-listen", "-q", "localhost:0", "--spool", self.out] + self.spool
            command += ["--", "true"]
        else:
            command = ["eet-rotate", "-q"] + self.spool + [self.out]
        null = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        if self.rng.random() < 0.5:
            recovery = subprocess.Popen(command, **null)
            time.sleep(self.rng.uniform(0, 0.03))
            recovery.kill()
            recovery.wait()
        start = time.monotonic()
        status = subprocess.run(command, timeout=PATIENCE, check=False, **null).returncode
        if status != 0:
            self.wrong.append(f"{' '.join(command)}: exit status {status}")
        return time.monotonic() - start

    # --- what is in the directory ---

    def files(self):
        """{name: hash} of what is complete."""
        found = {}
        for name in os.listdir(self.out) if os.path.isdir(self.out) else ():
            if name.endswith((".eet", ".wav")):
                with open(os.path.join(self.out, name), "rb") as f:
                    found[name] = hashlib.sha256(f.read()).digest()
        return found

    def spoilt(self, what):
        self.wrong.append(what)
        self.damaged += 1

    def check(self, before, old):
        """before: complete files when it died; old: those of the rounds before."""
        after = self.files()
        for name in before:
            if after.get(name) != before[name]:
                self.spoilt(f"{name}: it was complete, and is another one now")
        for name in os.listdir(self.out):
            if name.endswith(".part"):
                self.spoilt(f"{name}: left")
        with open(os.path.join(self.out, "index.jsonl"), encoding="utf-8") as f:
            lines = [json.loads(line) for line in f]
        listed = collections.Counter(line["eet"] for line in lines if line["event"] == "segment")
        logs = {name for name in after if name.endswith(".eet")}
        for name in logs.symmetric_difference(listed) | {n for n in listed if listed[n] > 1}:
            self.spoilt(f"{name}: {'a log' if name in logs else 'no log'}, "
                        f"{listed[name]} times in the index")
        new = logs & (set(after) - old)
        recordings = collections.defaultdict(list)
        for name in sorted(new):
            recordings[int(re.search(r"_s(\d+)\.eet$", name)[1])].append(name)
        recovered = {line["eet"] for line in lines if line.get("recovered")}
        for name in (recovered & new) | set(self.rng.sample(sorted(new), min(SAMPLE, len(new)))):
            wav = name[:-4] + ".wav"
            made = subprocess.run(["eet-wav", "-q", os.path.join(self.out, name)], check=False,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout
            if hashlib.sha256(made).digest() != after.get(wav):
                self.spoilt(f"{wav}: not what eet-wav makes of its log")
        self.check_sessions(recordings)

    def check_sessions(self, recordings):
        stored = collections.Counter()
        for number, names in recordings.items():
            session, count = None, 0
            for name in names:  # they sort as they follow each other
                with open(os.path.join(self.out, name), "rb") as f:
                    data = f.read()
                stream = struct.unpack_from("<I", data, 8)[0]
                if session is None and 0 < stream <= len(self.sessions) and not stored[stream]:
                    session = self.sessions[stream - 1]
                if session is None or data[:32] != session.handshake:
                    self.spoilt(f"{name}: not of that session")
                    break
                at = 32
                while at < len(data):
                    expected = session.frame(count)
                    if data[at:at + len(expected)] != expected or count == session.sent:
                        self.spoilt(f"{name}: offset {at}: not frame {count} of session {number}")
                        break
                    at += len(expected)
                    count += 1
            if session is not None:
                stored[session.number] = count
        missing = {s: s.read - stored[s.number] for s in self.sessions
                   if s.read > stored[s.number]}
        excess = sum(n * s.record for s, n in missing.items()) - self.allowed()
        if excess > 0:
            self.lost = -(-excess // max(s.record for s in missing))
            self.wrong.append(f"{sum(missing.values())} frames that the server had read are "
                              f"missing, {excess} bytes more than allowed")

    def run(self):
        old = self.files()
        try:
            self.start()
            asyncio.run(self.flow())
        finally:
            for program in (self.listener, self.rotator):
                if program is not None and program.poll() is None:
                    program.kill()
        before = self.files()
        seconds = self.restart()
        self.check(before, set(old))
        return seconds


def main():
    faults = ("server", "listener", "rotator", "both")
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--only", choices=faults)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    rng = random.Random(options.seed)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    table = {}
    folder, wrong = None, []
    for number in range(options.rounds):
        if number % 8 == 0:
            if folder is not None:
                shutil.rmtree(folder)
            folder = tempfile.mkdtemp(prefix="eet-kill.")
        fault = options.only or faults[number % len(faults)]
        one = Round(folder, fault, rng, options.streams, options.seconds)
        seconds = one.run()
        wrong = one.wrong
        rounds, sent, lost, damaged, slowest = table.get(fault, (0, 0, 0, 0, 0))
        table[fault] = (rounds + 1, sent + sum(session.sent for session in one.sessions),
                        lost + one.lost, damaged + one.damaged, max(slowest, seconds))
        for what in wrong:
            print(f"round {number}, {fault}{', settled' if one.settle else ''}: {what}")
        if wrong:
            break
    print("killed      rounds  frames sent  frames lost  damaged files  slowest recovery")
    for fault, row in table.items():
        print("{:10}{:8}{:13}{:13}{:15}{:16.2f} s".format(fault, *row))
    if wrong:
        print(f"left as it is: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
