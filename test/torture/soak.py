#!/usr/bin/python3
"""soak.py [OPTION...] CHURN: many streams that come and go, for long; all is stored, nothing grows.

CHURN is the program of test/bench: its streams end in all ways that a client can, and it gives an
account of what each has sent.  That is compared with the directory while it is recorded, segment by
segment, before --keep-bytes takes the segment away:

- the SHA-256 of a session's segments, joined, is that of what was sent; after a reset, which costs
  what the server has not read, that of a beginning which holds all that it had read;
- no segment goes past a boundary, each WAV is as long as the index says, and one in fifty is
  compared with what eet-wav makes of the log;
- resident memory and threads of each program are in the last quarter what they were in the first;
  there are no more descriptors than eet-listen(1) says, and when all streams have ended,
  descriptors and threads are what they were before.

  --minutes N     (30)
  --streams N     (500)
  --rotate TIME   (2)
  --seed S        of all that is random but time; printed
  --only LAYOUT   spool (eet-listen --spool) or pipe (eet-listen | eet-rotate); both by default

Prints a table, what the programs took, and what it was like for the streams; exit status 1 if
anything is wrong, and the directory is kept then.
"""

import argparse
import collections
import hashlib
import json
import os
import random
import re
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import table

PATIENCE = 300
KEEP = 1 << 20  # bytes of segments for each stream, so long that they are compared in time
IDLE = 5  # seconds until the server has enough of a silent stream
CLOSES = {"close": 1000, "eof": 1006, "half": 1006, "silent": 1001, "reset": 1006}
TOLD = {"close": 1000, "silent": 1001}  # what the server says to the client
Account = collections.namedtuple("Account", "ending code sent read hashes")
Sample = collections.namedtuple("Sample", "memory descriptors threads seconds state")


class Lines:
    """What has been appended to a file since the last time."""

    def __init__(self, path):
        self.file = open(path, "rb")
        self.rest = b""

    def __iter__(self):
        while True:
            data = self.file.read(1 << 20)
            if not data:
                return
            *lines, self.rest = (self.rest + data).split(b"\n")
            yield from lines


class Program:
    def __init__(self, folder, command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                 fds=()):
        self.name = command[0]
        self.errors = os.path.join(folder, self.name + ".err")
        with open(self.errors, "wb") as errors:
            self.popen = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=errors,
                                          pass_fds=fds)
        self.samples = []

    def sample(self):
        proc = f"/proc/{self.popen.pid}"
        with open(f"{proc}/status", encoding="ascii") as f:
            status = dict(line.split(":", 1) for line in f)
        with open(f"{proc}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(") ", 1)[1].split()
        return Sample(int(status["VmRSS"].split()[0]) / 1024, len(os.listdir(f"{proc}/fd")),
                      int(status["Threads"]),
                      (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), fields[0])

    def waits(self):
        """All is set up, and there is nothing to do."""
        sample = self.sample()
        return sample.threads > 1 and sample.state == "S"

    def quarters(self, what):
        """Medians of the first and of the last one."""
        values = [getattr(sample, what) for sample in self.samples]
        n = max(1, len(values) // 4)
        return statistics.median(values[:n]), statistics.median(values[-n:])

    def said(self):
        with open(self.errors, "rb") as f:
            return f.read().decode(errors="replace")


class Recording:
    """A session, as far as it is in the directory."""

    def __init__(self, handshake, first_us):
        self.handshake, self.first_us = handshake, first_us
        self.number = struct.unpack_from("<Q", handshake, 24)[0]
        self.hash = hashlib.sha256(handshake)
        self.frames = 0


class Soak:
    def __init__(self, layout, options, seed):
        self.layout, self.options = layout, options
        self.seed = seed
        self.folder = tempfile.mkdtemp(prefix="eet-soak.")
        self.out = os.path.join(self.folder, "out")
        self.seconds = options.minutes * 60
        self.programs, self.load = [], None
        self.recordings = {}  # by the directory's number
        self.stored, self.accounts = {}, {}  # by the sender's
        self.settled = set()
        self.segments = self.compared = self.nameless = 0
        self.behind = []
        self.figures = None
        self.wrong, self.lost, self.damaged = [], 0, 0

    # --- what is stored, and what was sent ---

    def spoilt(self, what):
        self.damaged += 1
        self.wrong.append(what)

    def segment(self, line):
        path = os.path.join(self.out, line["eet"])
        with open(path, "rb") as f:
            data = f.read()
        self.segments += 1
        recording = self.recordings.get(line["session"])
        if recording is None:
            recording = self.recordings[line["session"]] = Recording(data[:32], line["first_us"])
        if data[:32] != recording.handshake:
            self.spoilt(f"{line['eet']}: another handshake")
        recording.hash.update(memoryview(data)[32:])
        recording.frames += line["frames"]
        period = self.options.rotate * 1e6
        first, last = ((line[key] - recording.first_us) // period for key in
                       ("first_us", "last_us"))
        if first != last or line["gaps"] or line["gap_before"] or line["damaged"]:
            self.spoilt(f"{line['eet']}: {line}")
        wav = os.path.join(self.out, line["wav"])
        if os.stat(wav).st_size != 44 + 2 * line["samples"]:
            self.spoilt(f"{line['wav']}: {os.stat(wav).st_size} bytes, {line['samples']} samples")
        elif self.segments % 50 == 1:
            self.compared += 1
            made = subprocess.run(["eet-wav", "-q", path], check=False, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE).stdout
            with open(wav, "rb") as f:
                if f.read()[44:] != made[44:]:
                    self.spoilt(f"{line['wav']}: not what eet-wav makes of its log")
        self.behind.append(time.time() - line["last_us"] / 1e6)

    def session(self, line):
        recording = self.recordings.pop(line["session"], None)
        if recording is None:
            self.nameless += 1
            return
        if recording.frames != line["frames"]:
            self.spoilt(f"session {line['session']}: {recording.frames} frames in its segments, "
                        f"{line['frames']} in its line")
        if recording.number in self.stored or recording.number in self.settled:
            self.spoilt(f"stream {recording.number} is there twice")
        self.stored[recording.number] = (recording.frames, recording.hash.hexdigest(),
                                         line["close_code"])
        self.settle(recording.number)

    def settle(self, number):
        """Compare, when both sides are known."""
        if number not in self.stored or number not in self.accounts:
            return
        frames, digest, code = self.stored.pop(number)
        account = self.accounts.pop(number)
        self.settled.add(number)
        if CLOSES.get(account.ending) != code or TOLD.get(account.ending, 0) != account.code:
            self.wrong.append(f"stream {number}, {account.ending}: closed as {code} in the "
                              f"index, {account.code} was said")
        least = account.read if account.ending == "reset" else account.sent
        if not least <= frames <= account.sent:
            self.lost += max(0, least - frames)
            self.wrong.append(f"stream {number}, {account.ending}: {frames} frames stored, "
                              f"{account.sent} sent, {account.read} known as read")
        elif account.hashes[frames - least] != digest:
            self.spoilt(f"stream {number}, {account.ending}: {frames} frames stored, but others")

    def compare(self):
        for line in self.index:
            line = json.loads(line)
            if line["event"] == "segment":
                self.segment(line)
            elif line["event"] == "session":
                self.session(line)
        for line in self.account:
            if line.startswith(b"{"):
                self.figures = json.loads(line)
                continue
            number, ending, *rest = line.decode("ascii").split()
            code, sent, read = map(int, rest[:3])
            self.accounts[int(number)] = Account(ending, code, sent, read, rest[3:])
            self.settle(int(number))

    def compare_rest(self):
        """All has ended."""
        self.compare()
        for number in self.recordings:
            self.wrong.append(f"session {number} has no line")
        for number in self.stored:
            self.spoilt(f"stream {number}: stored, but nobody sent it")
        empty = 0
        for number, account in self.accounts.items():
            least = account.read if account.ending == "reset" else account.sent
            self.lost += least
            empty += 1
            if least > 0 or account.ending not in CLOSES:
                self.wrong.append(f"stream {number}, {account.ending}: nothing is stored, "
                                  f"{account.sent} sent, {account.read} known as read")
        if self.nameless > empty:
            self.wrong.append(f"{self.nameless} sessions without frames, {empty} were sent")
        if self.figures is None or \
                self.figures["sessions"] != len(self.settled) + len(self.accounts):
            self.wrong.append(f"the account is not whole: {self.figures}")
        for name in os.listdir(self.out):
            if name.endswith(".part"):
                self.spoilt(f"{name}: left")

    # --- the programs ---

    def start(self):
        ready, tell = os.pipe()
        spool = ["-t", str(self.options.rotate), "--keep-bytes", str(KEEP * self.options.streams),
                 self.out]
        listen = ["eet-listen", "--ready-fd", str(tell), "--idle-timeout", str(IDLE), "localhost:0"]
        if self.layout == "spool":
            self.programs = [Program(self.folder, listen + ["--spool", spool.pop()] + spool,
                                     fds=[tell])]
        else:
            self.programs = [Program(self.folder, listen, stdout=subprocess.PIPE, fds=[tell])]
            pipe = self.programs[0].popen.stdout
            self.programs.append(Program(self.folder, ["eet-rotate"] + spool, stdin=pipe))
            pipe.close()
        os.close(tell)
        with open(ready, encoding="ascii") as f:
            port = re.search(r":(\d+)/", f.read())[1]
        index = os.path.join(self.out, "index.jsonl")
        self.wait(lambda: os.path.exists(index) and self.programs[-1].waits(), "it does not start")
        self.before = [program.sample() for program in self.programs]
        account = os.path.join(self.folder, "account")
        with open(account, "wb") as f:
            self.load = subprocess.Popen(
                [self.options.churn, "-n", str(self.options.streams), "-t", str(self.seconds),
                 "-l", str(min(300, self.seconds)), "-s", str(self.seed), port], stdout=f)
        self.index, self.account = Lines(index), Lines(account)

    def wait(self, true, otherwise):
        limit = time.monotonic() + PATIENCE
        while not true():
            if time.monotonic() > limit:
                self.wrong.append(otherwise)
                return
            time.sleep(0.05)

    def flow(self):
        start = time.monotonic()
        pause = min(1, self.seconds / 100)
        due, minute = start + pause, start + 60
        while self.load.poll() is None and not self.wrong:
            time.sleep(min(pause, 0.1))
            self.compare()
            t = time.monotonic()
            if due <= t < start + self.seconds:
                for program in self.programs:
                    program.samples.append(program.sample())
                due = t + pause
            if t > minute:
                minute += 60
                print(f"# {round(t - start)} s: {len(self.settled)} sessions,", "; ".join(
                    f"{program.name} {program.samples[-1].memory:.1f} MiB, "
                    f"{program.samples[-1].descriptors} descriptors" for program in self.programs),
                    flush=True)
            if t > start + self.seconds + 2 * PATIENCE:
                self.wrong.append("the streams do not end")
        if self.load.poll() not in (None, 0):
            self.wrong.append(f"{self.options.churn}: exit status {self.load.returncode}")

    def check_growth(self):
        def counts(sample):
            return sample.descriptors, sample.threads

        # Fewer are no fault: at the start the directory is being listed.
        self.wait(lambda: all(now <= then for program, before in zip(self.programs, self.before)
                              for now, then in zip(counts(program.sample()), counts(before))),
                  "descriptors or threads were left behind")
        for program in self.programs:
            for what, part, more in (("memory", 1.1, 4), ("threads", 1, 0)):
                first, last = program.quarters(what)
                if last > first * part + more:
                    self.wrong.append(f"{program.name}: {what} grew from {first} to {last}")
            most = max(sample.descriptors for sample in program.samples)
            if most > 2 * self.options.streams + 64:
                self.wrong.append(f"{program.name}: {most} descriptors")

    def stop(self):
        self.programs[0].popen.terminate()
        for program in self.programs:
            status = program.popen.wait(PATIENCE)
            if status != 0:
                self.wrong.append(f"{program.name}: exit status {status}")

    def run(self):
        try:
            self.start()
            self.flow()
            if not self.wrong:
                self.check_growth()
                self.stop()
                self.compare_rest()
        finally:
            for popen in [self.load] + [program.popen for program in self.programs]:
                if popen is not None and popen.poll() is None:
                    popen.kill()
                    popen.wait()

    # --- what it was like ---

    def row(self):
        sessions, sent = (self.figures or {}).get("sessions"), (self.figures or {}).get("frames")
        options = self.options
        return (f"soak, {self.layout}", sessions, sent, self.lost, self.damaged, None,
                f"test/torture/soak.py --seed {self.seed} --minutes {options.minutes:g} "
                f"--streams {options.streams} --only {self.layout} {options.churn}")

    def show(self):
        for what in self.wrong[:20]:
            print(f"{self.layout}: {what}")
        for program in self.programs:
            if self.wrong:
                print(program.said()[-2000:], end="")
            if not program.samples:
                continue
            quarters = (f"{what} {program.quarters(what)[0]:.{digits}f} -> "
                        f"{program.quarters(what)[1]:.{digits}f}, at most "
                        f"{max(getattr(sample, what) for sample in program.samples):.{digits}f}"
                        for what, digits in (("memory", 1), ("descriptors", 0), ("threads", 0)))
            print(f"{self.layout}: {program.name}: {'; '.join(quarters)}; CPU "
                  f"{100 * program.samples[-1].seconds / self.seconds:.0f} %")
        if self.figures is None or not self.behind:
            return
        behind = sorted(self.behind)
        print(f"{self.layout}: {self.segments} segments, {self.compared} WAVs made again, stored "
              "and compared {:.2f}/{:.2f}/{:.2f} s after their last frame".format(
                  behind[len(behind) // 2], behind[len(behind) * 99 // 100], behind[-1]))
        print(f"{self.layout}: pings {{:g}}/{{:g}}/{{:g}} ms, frames sent late by {{:g}}/{{:g}}/"
              f"{{:g}} ms (50 %, 99 %, most); held back {self.figures['held']} times, at most "
              f"{self.figures['longest_s']} s".format(*self.figures["ping_ms"],
                                                      *self.figures["late_ms"]))


def main():
    layouts = ("spool", "pipe")
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--rotate", type=float, default=2)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--only", choices=layouts)
    parser.add_argument("churn", type=os.path.abspath)
    table.add_option(parser)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # Under AddressSanitizer what is freed stays, so memory would grow.
    os.environ["ASAN_OPTIONS"] = ":".join(
        filter(None, (os.environ.get("ASAN_OPTIONS"), "quarantine_size_mb=1")))
    soaks = []
    for layout in layouts if options.only is None else (options.only,):
        soaks.append(Soak(layout, options, options.seed))
        try:
            soaks[-1].run()
        except (KeyboardInterrupt, SystemExit):
            shutil.rmtree(soaks[-1].folder)
            raise
        if soaks[-1].wrong:
            print(f"left as it is: {soaks[-1].folder}")
            break
        shutil.rmtree(soaks[-1].folder)
    for soak in soaks:
        soak.show()
    table.show([soak.row() for soak in soaks], options)
    return int(bool(soaks[-1].wrong))


if __name__ == "__main__":
    sys.exit(main())
