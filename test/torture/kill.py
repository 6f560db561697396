#!/usr/bin/python3
"""kill.py [OPTION...]: programs end or stop at random moments; what must be stored is stored.

In each round some streams send frames whose bytes follow from stream and seq, programs are sent
signals, and what is left is started again on the same directory, perhaps after a recovery that is
ended by a signal too.  Then

- each session in the directory is a beginning of what its stream sent, to the byte;
- a frame is there if the server had read it (two pings behind it were answered), but for what
  eet-listen(1) and eet-rotate(1) allow the fault to cost: nothing with --spool, and nothing when
  programs were asked to end; with SIGKILL in a pipe, what waits in the server's memory, in the
  pipe, and one read; nothing either once that has settled; and what a program says that it lost;
- programs that were asked to end have done so with the right exit status, completed all, and have
  a line in the index for each session;
- nothing ends in .part, every log is in the index once, and each WAV is what eet-wav makes of it;
- files that were complete when the program died are the same.

  --rounds N        of each fault (50)
  --streams N       at most so many (64), at least 8 or N
  --seconds S       at most so long until the first signal (0.8)
  --stop S          at most so long from SIGSTOP to SIGCONT (1)
  --seed S          of all that is random but time; printed
  --only FAULT      one of the table below; may be repeated
  --rows FILE       append the table's rows to it

A directory serves for 8 rounds, so that old and new runs lie side by side.  Prints a table; exit
status 1 if anything is wrong, and the directory is kept then.
"""

import argparse
import asyncio
import collections
import contextlib
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
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import table
from wsclient import (ADPCM, BINARY, CLOSE, PCM, PING, PONG, frame, handshake,
                      upgrade_request)

SAMPLES = 160
PIPE = 64 << 10  # what a pipe holds, and one read of eet-rotate
MEMORY = 1 << 20  # what may wait in eet-listen while its output takes nothing
RECORD = 24  # a frame's header in a mux log
PATIENCE = 300
SAMPLE = 30  # WAVs that are made again in a round, besides recovered ones
NOISE = hashlib.shake_128(b"eet").digest(1 << 16)

# What happens, in this order and with pauses; at once, in any order, what has a + in between.  The
# exit statuses that eet-listen and eet-rotate may have then.  Bytes of log, read by the server, that
# it may cost beyond what it says.  Without a rotator, eet-listen has --spool.
Fault = collections.namedtuple("Fault", "strikes listener rotator cost")
GONE = 2 * PIPE
FAULTS = {
    "server": Fault("listener:KILL", (-9,), None, 0),
    "listener": Fault("listener:KILL", (-9,), (0, 3), MEMORY),
    "rotator": Fault("rotator:KILL", (1,), (-9,), GONE),
    "both": Fault("listener:KILL + rotator:KILL", (-9,), (-9,), MEMORY + GONE),
    "term-server": Fault("listener:TERM", (0,), None, 0),
    "term-server-twice": Fault("listener:TERM listener:TERM", (0, 1), None, 0),
    "term-listener": Fault("listener:TERM", (0,), (0,), 0),
    "term-listener-twice": Fault("listener:TERM listener:TERM", (0, 1), (0, 3), 0),
    "term-listener-first": Fault("listener:TERM rotator:TERM", (0,), (0,), 0),
    "term-rotator-first": Fault("rotator:TERM listener:TERM", (0,), (0,), 0),
    "term-rotator-twice": Fault("rotator:TERM rotator:TERM", (1,), (3,), GONE),
    "term-both": Fault("listener:TERM + rotator:TERM", (0,), (0,), 0),
    "int-pipeline": Fault("pipeline:INT", (0,), (0,), 0),
    "int-pipeline-twice": Fault("pipeline:INT pipeline:INT", (0, 1), (0, 1, 3), GONE),
    "stop-listener": Fault("listener:STOP listener:CONT listener:TERM", (0,), (0,), 0),
    "stop-rotator": Fault("rotator:STOP rotator:CONT listener:TERM", (0,), (0,), 0),
    "stop-rotator-to-end": Fault("rotator:STOP listener:TERM rotator:CONT", (0,), (0,), 0),
}


def ws_frame(opcode, payload):
    """Masked with 0, so that the payload can be copied."""
    n = len(payload)
    length = struct.pack("!B", 128 | n) if n < 126 else struct.pack("!BH", 128 | 126, n)
    return bytes([128 | opcode]) + length + bytes(4) + payload


def blocks(program, number):
    with open(f"/proc/{program.pid}/status", encoding="utf-8") as f:
        return int(re.search(r"SigBlk:\s*(\w+)", f.read())[1], 16) >> (number - 1) & 1


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
        except (OSError, EOFError):
            pass
        self.settled = True

    async def session(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(upgrade_request("/ws"))
        if b" 101 " not in await self.reader.readuntil(b"\r\n\r\n"):
            raise EOFError
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

    def __init__(self, folder, fault, rng, options):
        self.folder, self.fault, self.rng = folder, fault, rng
        self.out = os.path.join(folder, "out")
        self.sessions = []
        self.count = rng.randint(min(8, options.streams), options.streams)
        self.seconds = rng.uniform(0.02, options.seconds)
        self.stop = rng.uniform(options.stop / 2, options.stop)
        self.settle = rng.random() < 0.5
        self.spool = ["-t", rng.choice(("100ms", "300ms", "1s", "0"))]
        if rng.random() < 0.5:
            self.spool += ["-s", rng.choice(("10k", "100k"))]
        if rng.random() < 0.7:
            self.spool += ["--sync", "none"]
        self.wrong, self.lost, self.damaged = [], 0, 0
        self.listener = self.rotator = None
        self.errors = os.path.join(folder, "errors")
        self.old = set()  # what is there from the rounds before

    def start(self):
        ready, tell = os.pipe()
        listen = ["eet-listen", "-q", "--ready-fd", str(tell), "localhost:0"]
        with open(self.errors, "wb") as errors:
            if self.fault.rotator is None:
                self.listener = subprocess.Popen(
                    listen + ["--spool", self.out] + self.spool, pass_fds=[tell],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
            else:
                self.listener = subprocess.Popen(
                    listen, pass_fds=[tell], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                    stderr=errors, process_group=0)
                self.rotator = subprocess.Popen(
                    ["eet-rotate", "-q"] + self.spool + [self.out], stdin=self.listener.stdout,
                    stdout=subprocess.DEVNULL, stderr=errors, process_group=self.listener.pid)
                self.listener.stdout.close()
        os.close(tell)
        with open(ready, encoding="ascii") as f:
            line = f.readline()
        self.port = re.search(r":(\d+)/", line)[1]
        # Until it takes signals, the rotator would just die of them.
        limit = time.monotonic() + PATIENCE
        while self.rotator is not None and not blocks(self.rotator, signal.SIGTERM):
            time.sleep(0.01)
            if time.monotonic() > limit:
                sys.exit("eet-rotate does not start")

    def stands(self):
        """All that was sent is in files of this round."""
        try:
            size = sum(entry.stat().st_size - len(self.sessions[0].handshake)
                       for entry in os.scandir(self.out)
                       if entry.name.endswith((".eet", ".eet.part")) and entry.name not in self.old)
        except FileNotFoundError:  # it has just got another name
            return False
        return size == sum(s.sent * len(s.frame(0)) for s in self.sessions)

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
            while not (all(stream.settled for stream in streams) and self.stands()):
                await asyncio.sleep(0.02)
                if time.monotonic() > limit:
                    self.wrong.append("the streams did not settle")
                    break
        await self.strike()
        for program in (self.listener, self.rotator):
            limit = time.monotonic() + PATIENCE
            while program is not None and program.poll() is None:
                await asyncio.sleep(0.01)
                if time.monotonic() > limit:
                    self.wrong.append(f"{program.args[0]}: it does not end")
                    program.kill()
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)

    async def strike(self):
        stopped = False
        for number, strike in enumerate(self.fault.strikes.replace(" + ", "+").split()):
            if number > 0:
                await asyncio.sleep(self.stop if stopped else self.rng.choice(
                    (0, self.rng.uniform(0, 0.01), self.rng.uniform(0, 0.5))))
            stopped = "STOP" in strike
            victims = strike.split("+")
            self.rng.shuffle(victims)
            for victim in victims:
                name, number = victim.split(":")
                number = getattr(signal, "SIG" + number)
                if name == "pipeline":
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(self.listener.pid, number)
                else:
                    getattr(self, name).send_signal(number)

    def check_ends(self):
        """As they should have, and what they say.  True if all was to be completed."""
        orderly = True
        for program, expected in ((self.listener, self.fault.listener),
                                  (self.rotator, self.fault.rotator)):
            if program is not None and program.returncode not in expected:
                self.wrong.append(f"{program.args[0]}: exit status {program.returncode}")
            orderly = orderly and (program is None or program.returncode == 0)
        return orderly

    def allowed(self):
        """Bytes of log, read by the server, that it may cost."""
        with open(self.errors, encoding="utf-8") as f:
            said = re.findall(r"the last (\d+) bytes of the log could not be stored", f.read())
        return sum(map(int, said)) + (0 if self.settle else self.fault.cost)

    def restart(self):
        """Seconds that it takes."""
        if self.fault.rotator is None:
            command = ["eet-listen", "-q", "localhost:0", "--spool", self.out] + self.spool
            command += ["--", "true"]
        else:
            command = ["eet-rotate", "-q"] + self.spool + [self.out]
        null = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        if self.rng.random() < 0.5:
            recovery = subprocess.Popen(command, stderr=subprocess.DEVNULL, **null)
            time.sleep(self.rng.uniform(0, 0.03))
            recovery.send_signal(self.rng.choice((signal.SIGKILL, signal.SIGTERM)))
            recovery.wait(PATIENCE)
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

    def lines(self):
        """Those of the index."""
        with open(os.path.join(self.out, "index.jsonl"), encoding="utf-8") as f:
            return [json.loads(line) for line in f]

    def check_completed(self, old):
        """Without any recovery.  old: lines of the index before."""
        for name in os.listdir(self.out):
            if name.endswith(".part"):
                self.spoilt(f"{name}: left by programs that ended as they should")
        frames = collections.Counter()
        for line in self.lines()[old:]:
            frames[line["event"]] += line["frames"]
        if frames["session"] != frames["segment"]:
            self.spoilt(f"{frames['session']} frames in the index's sessions, "
                        f"{frames['segment']} in its segments")

    def check(self, before):
        """before: complete files when it died."""
        after = self.files()
        for name in before:
            if after.get(name) != before[name]:
                self.spoilt(f"{name}: it was complete, and is another one now")
        for name in os.listdir(self.out):
            if name.endswith(".part"):
                self.spoilt(f"{name}: left")
        lines = self.lines()
        listed = collections.Counter(line["eet"] for line in lines if line["event"] == "segment")
        logs = {name for name in after if name.endswith(".eet")}
        for name in logs.symmetric_difference(listed) | {n for n in listed if listed[n] > 1}:
            self.spoilt(f"{name}: {'a log' if name in logs else 'no log'}, "
                        f"{listed[name]} times in the index")
        new = logs - self.old
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
        self.old = set(self.files())
        lines = len(self.lines()) if self.old else 0
        try:
            self.start()
            asyncio.run(self.flow())
        finally:
            for program in (self.listener, self.rotator):
                if program is not None and program.poll() is None:
                    program.kill()
        if self.check_ends():
            self.check_completed(lines)
        before = self.files()
        seconds = self.restart()
        self.check(before)
        return seconds


class Row:
    """What all rounds of a fault come to."""

    def __init__(self, name, options):
        self.name, self.options = name, options
        self.rounds = self.sent = self.lost = self.damaged = 0
        self.slowest = 0.0
        self.good = True

    def add(self, one, seconds):
        for what in one.wrong:
            print(f"{self.name}, round {self.rounds}{', settled' if one.settle else ''}: {what}")
        self.good = not one.wrong
        self.rounds += 1
        self.sent += sum(session.sent for session in one.sessions)
        self.lost += one.lost
        self.damaged += one.damaged
        self.slowest = max(self.slowest, seconds)

    def cells(self):
        o = self.options
        return (self.name, self.rounds, self.sent, self.lost, self.damaged, self.slowest,
                f"test/torture/kill.py --only {self.name} --seed {o.seed} --rounds {self.rounds} "
                f"--streams {o.streams} --seconds {o.seconds:g} --stop {o.stop:g}")


def torture(name, options):
    """A row; a directory that something is wrong with is kept."""
    row = Row(name, options)
    folder = None
    while row.good and row.rounds < options.rounds:
        if row.rounds % 8 == 0:
            if folder is not None:
                shutil.rmtree(folder)
            folder = tempfile.mkdtemp(prefix="eet-kill.")
        one = Round(folder, FAULTS[name], random.Random(f"{options.seed} {name} {row.rounds}"),
                    options)
        row.add(one, one.run())
    print(f"{name}: {row.rounds} rounds", flush=True)
    if row.good:
        shutil.rmtree(folder)
    else:
        print(f"left as it is: {folder}")
    return row


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=0.8)
    parser.add_argument("--stop", type=float, default=1)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--only", choices=FAULTS, action="append")
    table.add_option(parser)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    rows = [torture(name, options) for name in options.only or FAULTS]
    table.show([row.cells() for row in rows], options)
    return int(not all(row.good for row in rows))


if __name__ == "__main__":
    sys.exit(main())
