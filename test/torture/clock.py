#!/usr/bin/python3
"""clock.py [OPTION...] SHIM: clocks are set, programs stopped, machines sleep, at random moments.

In each round streams send in real time, and meanwhile, again and again,

  stepped    the system's clock is set, by hours and years, forward and back;
  stopped    the server, the rotator or both get SIGSTOP, and SIGCONT some periods later;
  asleep     the machine has slept for hours: system clock and boot-time clock jump, the monotonic
             clock does not.

SHIM, clock.so, does that to the clocks.

The server records into a spool and a capture, or through tee and a pipe into eet-rotate.  Then

- each session is stored as it was sent, to the byte, and was ended by its sender, although the
  server's timeouts are short;
- no segment crosses a boundary of its period, and there are no more of them than periods and jumps;
- times never decrease, and a session has lasted as long as it was sent;
- nothing was removed because of --keep-age, though the clock was set far beyond it;
- a replay of the capture makes the same spool;
- the next start, whose clock is further back for good, goes on with other session numbers, and
  leaves all that is there as it is.

  --rounds N    of all faults together (12)
  --streams N   at most so many (12)
  --seconds S   how long they send (4)
  --seed S      of all that is random but time; printed
  --only FAULT  stepped, stopped or asleep

Prints its part of the table of `make torture`; exit status 1 if anything is wrong.
"""

import argparse
import asyncio
import collections
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

import table
from kill import Session, ws_frame

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from wsclient import (BINARY, CLOSE, PING, PONG, open_socket, read_head, read_log,
                      upgrade_request)

FAULTS = ("stepped", "stopped", "asleep")
FRAME = 0.02  # seconds that a frame lasts
LATE = 10  # seconds that a busy machine may be late with anything
PATIENCE = 300
KEEP_AGE = "10m"


class Clock:
    """The clock of what is started with its environment."""

    def __init__(self, folder, shim):
        self.path = os.path.join(folder, "clock")
        self.ahead = self.slept = 0
        with open(self.path, "wb") as f:
            f.write(bytes(16))
        self.environment = dict(os.environ, LD_PRELOAD=os.path.abspath(shim), EET_CLOCK=self.path)
        self.environment["ASAN_OPTIONS"] = ":".join(
            filter(None, (os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0")))

    def set(self, ahead=0, slept=0):
        """So many seconds further ahead of the true clock, so many more seconds slept."""
        self.ahead += ahead
        self.slept += slept
        with open(self.path, "r+b") as f:
            f.write(struct.pack("=qq", self.ahead, self.slept))


class Stream:
    """One client, in real time; a quiet one sends nothing between its first frame and its last."""

    def __init__(self, session, wait, seconds, quiet):
        self.session, self.wait, self.seconds, self.quiet = session, wait, seconds, quiet
        self.took = 0
        self.code = None

    async def run(self, port):
        await asyncio.sleep(self.wait)
        sock = open_socket(port)
        sock.sendall(upgrade_request("/ws"))
        await asyncio.get_running_loop().run_in_executor(None, read_head, sock)
        sock.setblocking(False)
        reader, self.writer = await asyncio.open_connection(sock=sock)
        listening = asyncio.ensure_future(self.listen(reader))
        self.writer.write(ws_frame(BINARY, self.session.handshake))
        self.send_frame()
        start = time.monotonic()
        if self.quiet:
            await asyncio.wait([listening], timeout=self.seconds)
            self.send_frame()
        while not self.quiet and not listening.done():
            now = time.monotonic() - start
            if now >= self.seconds:
                break
            while self.session.sent * FRAME <= now:
                self.send_frame()
            await asyncio.sleep(FRAME)
        self.took = time.monotonic() - start
        if not listening.done():
            self.writer.write(ws_frame(CLOSE, struct.pack("!H", 1000)))
        self.code = await listening
        self.writer.close()

    def send_frame(self):
        self.writer.write(ws_frame(BINARY, self.session.frame(self.session.sent)))
        self.session.sent += 1

    async def listen(self, reader):
        """Answers pings.  Returns the code that the server closes with."""
        while True:
            try:
                opcode, size = await reader.readexactly(2)
                payload = await reader.readexactly(size)
            except (asyncio.IncompleteReadError, OSError):
                return 1006
            if opcode & 15 == PING:
                self.writer.write(ws_frame(PONG, payload))
            elif opcode & 15 == CLOSE:
                return struct.unpack("!H", payload[:2])[0]


class Round:
    def __init__(self, folder, fault, rng, options):
        self.folder, self.fault, self.rng = folder, fault, rng
        self.out = os.path.join(folder, "out")
        self.capture = os.path.join(folder, "capture.log")
        self.seconds = options.seconds
        self.piped = rng.random() < 0.5
        self.period = rng.choice((0.2, 0.5, 1))
        self.spool = ["-t", f"{self.period}", "--sync", "none"]
        if fault == "stepped":
            self.spool += ["--keep-age", KEEP_AGE]
        self.clock = Clock(folder, options.shim)
        if fault == "stepped":
            self.clock.set(ahead=rng.randint(-10 ** 6, 10 ** 6))
        self.first_ahead = self.clock.ahead
        self.streams = []
        for number in range(1, rng.randint(min(3, options.streams), options.streams) + 1):
            wait = rng.uniform(0, self.seconds / 2)
            self.streams.append(Stream(Session(number), wait, self.seconds - wait,
                                       number % 3 == 0))
        self.jumps, self.stopped = 0, 0
        self.programs, self.wrong, self.lost, self.damaged = [], [], 0, 0

    def start(self):
        """Sets self.port."""
        ready, tell = os.pipe()
        command = ["eet-listen", "-q", "--ready-fd", str(tell), "--idle-timeout", "2",
                   "--handshake-timeout", "2", "localhost:0"]
        with open(os.path.join(self.folder, "programs.err"), "ab") as errors:
            def spawn(args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **how):
                program = subprocess.Popen(args, stdin=stdin, stdout=stdout, stderr=errors,
                                           env=self.clock.environment, **how)
                self.programs.append(program)
                return program

            if not self.piped:
                spawn(command + ["-o", self.capture, "--append", "--spool", self.out, *self.spool],
                      pass_fds=[tell])
            else:
                listener = spawn(command, stdout=subprocess.PIPE, pass_fds=[tell])
                with listener.stdout:
                    # In true time: it is not ours.
                    tee = subprocess.Popen(["tee", "-a", self.capture], stdin=listener.stdout,
                                           stdout=subprocess.PIPE)
                self.programs.append(tee)
                with tee.stdout:
                    spawn(["eet-rotate", "-q", *self.spool, self.out], stdin=tee.stdout)
        os.close(tell)
        with open(ready, encoding="ascii") as f:
            self.port = re.search(r":(\d+)/", f.readline())[1]

    def finish(self):
        self.programs[0].terminate()
        for program in self.programs:
            try:
                status = program.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                status = "none"
            if status != 0:
                self.wrong.append(f"{program.args[0]}: exit status {status}")
                program.kill()
        self.programs = []

    async def happen(self):
        """The fault, again and again."""
        while True:
            await asyncio.sleep(self.rng.uniform(0.1, 0.8))
            self.jumps += 1
            if self.fault == "stepped":
                self.clock.set(ahead=self.rng.choice(
                    (3600, -3600, 86400 * 366, -86400, self.rng.randint(-5000, 5000))))
            elif self.fault == "asleep":
                self.clock.set(slept=self.rng.choice((3600, 8 * 3600, self.rng.randint(1, 60))))
            else:
                programs = self.rng.sample(self.programs,
                                           self.rng.randint(1, len(self.programs)))
                seconds = self.rng.uniform(0, 3 + self.period)
                start = time.monotonic()
                for program in programs:
                    program.send_signal(signal.SIGSTOP)
                try:
                    await asyncio.sleep(seconds)
                finally:
                    for program in programs:
                        program.send_signal(signal.SIGCONT)
                    self.stopped += time.monotonic() - start

    async def flow(self):
        happening = asyncio.ensure_future(self.happen())
        try:
            await asyncio.wait_for(asyncio.gather(*(s.run(self.port) for s in self.streams)),
                                   self.seconds + PATIENCE)
        finally:
            happening.cancel()
            await asyncio.wait([happening])
            if not happening.cancelled():
                happening.result()

    # --- what is in the directory ---

    def spoilt(self, what):
        self.wrong.append(what)
        self.damaged += 1

    def files(self):
        found = {}
        for name in os.listdir(self.out):
            with open(os.path.join(self.out, name), "rb") as f:
                found[name] = f.read()
        return found

    def check_segments(self, stream, lines, files):
        """lines: of its segments, in the order of the index."""
        session, count, last = stream.session, 0, -1
        names = [line["eet"] for line in lines]
        if names != sorted(names):
            self.wrong.append(f"stream {session.number}: its names do not sort")
        start = lines[0]["first_us"]
        period = round(self.period * 1000000)
        for line in lines:
            data, at = files.get(line["eet"], b""), 32
            if data[:32] != session.handshake:
                self.spoilt(f"{line['eet']}: not of stream {session.number}")
                return
            while at < len(data):
                expected = session.frame(count)
                if data[at:at + len(expected)] != expected:
                    self.spoilt(f"{line['eet']}: offset {at}: not frame {count}")
                    return
                at += len(expected)
                count += 1
            first, end = ((line[key] - start) // period for key in ("first_us", "last_us"))
            if not last < first == end:
                self.wrong.append(f"{line['eet']}: from period {first} to {end}, the one before "
                                  f"ended in {last}")
            last = end
        if count != session.sent:
            self.lost += session.sent - count
            self.wrong.append(f"stream {session.number}: {count} of {session.sent} frames")
        lasted = (lines[-1]["last_us"] - start) / 1000000
        if not stream.took - LATE - self.stopped <= lasted <= \
                stream.took + self.clock.slept + self.stopped + LATE:
            self.wrong.append(f"stream {session.number}: sent in {stream.took:.2f} s, stored as "
                              f"if in {lasted:.2f} s")
        most = (stream.took + self.stopped + LATE) / self.period + self.jumps + 2
        if len(lines) > most:
            self.wrong.append(f"stream {session.number}: {len(lines)} segments, of {most:.0f}")

    def check(self):
        files = self.files()
        lines = [json.loads(line) for line in files["index.jsonl"].splitlines()]
        segments = collections.defaultdict(list)
        for line in lines:
            if line["event"] == "segment":
                segments[line["stream_id"]].append(line)
            elif line["event"] == "removed":
                self.lost += 1
                self.wrong.append(f"{line['eet']}: removed")
            elif line["close_code"] != 1000:
                self.wrong.append(f"stream {line['stream_id']}: closed with {line['close_code']} "
                                  f"{line['close_reason']}")
        listed = sum(map(len, segments.values()))
        if listed * 2 + 2 != len(files):  # with the index and the next number
            self.spoilt(f"{len(files)} files, {listed} segments in the index")
        for stream in self.streams:
            if stream.code != 1000:
                self.wrong.append(f"stream {stream.session.number}: it hears {stream.code}")
            if stream.session.number not in segments:
                self.lost += stream.session.sent
                self.wrong.append(f"stream {stream.session.number}: nothing is stored")
            else:
                self.check_segments(stream, segments[stream.session.number], files)
        times = [record.time_us for record in read_log(self.capture)]
        if times != sorted(times):
            self.wrong.append("times decrease in the capture")
        again = os.path.join(self.folder, "again")
        with open(self.capture, "rb") as f:
            subprocess.run(["eet-rotate", "-q", "-t", str(self.period), "--sync", "none", again],
                           stdin=f, stdout=subprocess.DEVNULL, check=True)
        if subprocess.run(["diff", "-rq", self.out, again], stdout=subprocess.DEVNULL,
                          check=False).returncode != 0:
            self.spoilt("a replay of the capture makes another spool")
        return files

    def check_restart(self, before):
        """With a clock that was set back behind all that is there."""
        if self.fault == "stepped":
            self.clock.set(ahead=self.first_ahead - self.clock.ahead -
                           self.rng.randint(0, 10 ** 7))
        self.start()
        number = len(self.streams) + 1
        stream = Stream(Session(number), 0, 0.3, False)
        asyncio.run(asyncio.wait_for(stream.run(self.port), PATIENCE))
        self.finish()
        self.streams.append(stream)
        after = self.files()
        if after.pop(".next") != b"%d\n" % (number + 1):
            self.spoilt(".next: not the number after the last session's")
        for name, data in before.items():
            if name != ".next" and not after.get(name, b"").startswith(data):
                self.spoilt(f"{name}: not what it was before the next start")
        sessions = {int(re.search(r"_s(\d+)\.eet", name)[1])
                    for name in after if name.endswith(".eet")}
        if sessions != set(range(1, number + 1)):
            self.wrong.append(f"{number} sessions are numbered {sorted(sessions)}")

    def run(self):
        try:
            self.start()
            asyncio.run(self.flow())
            self.finish()
            self.check_restart(self.check())
        finally:
            for program in self.programs:
                program.kill()
                program.wait()


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("shim")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--streams", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--only", choices=FAULTS)
    table.add_option(parser)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    faults = [options.only] if options.only else FAULTS
    rows = {fault: [0, 0, 0, 0] for fault in faults}
    wrong = []
    for number in range(options.rounds):
        fault = faults[number % len(faults)]
        folder = tempfile.mkdtemp(prefix="eet-clock.")
        # Of this fault alone it would be the same.
        rng = random.Random(f"{options.seed} {fault} {number // len(faults)}")
        one = Round(folder, fault, rng, options)
        one.run()
        wrong = one.wrong
        rows[fault] = [a + b for a, b in zip(rows[fault], (
            1, sum(stream.session.sent for stream in one.streams), one.lost, one.damaged))]
        for what in wrong[:10]:
            print(f"round {number}, {fault}, {'piped' if one.piped else 'spool'}: {what}")
        if wrong:
            print(f"left as it is: {folder}")
            break
        shutil.rmtree(folder)
    table.show([[f"clock: {fault}", *row, None,
                 f"test/torture/clock.py --seed {options.seed} --rounds {row[0]} --only {fault} "
                 f"{options.shim}"] for fault, row in rows.items() if row[0]], options)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
