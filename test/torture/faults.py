#!/usr/bin/python3
"""faults.py [OPTION...] SHIM: let eet-rotate go wrong at each point where a file changes.

SHIM is faults.so.  A log is recorded again and again, with the first point going wrong, with the
second, and so on to the last.  What is then on the disk says what the next start has to make of it:
each log is what it was, a growing one cut after its last whole frame, with the WAV that eet-wav makes
of it and one line in the index, that of a run that nobody disturbed, or one marked as recovered.
That start records the log once more, which has to give the files that it always gives, beside the
old ones.  What goes wrong is that

- the process is killed;
- the same, where renaming is linking and unlinking, because the file system knows nothing better;
- the same, with --exec: there is no segment whose command was not run;
- the same, with --keep-bytes, in a directory that has a recording: what was not removed is whole, but
  for the WAV of a segment that was just to go;
- the call fails, once, or a reading one.  Then all is as if nobody had disturbed it, or the exit status is 1, the
  error is told with the file it happened to, and each frame is stored that stands before the offset
  from which on, as is said, it is not.  When a sync fails it is always so.

For some of the states that a kill leaves, the recovery goes wrong at each of its points too, and the
one after that has to come to the same.

  --recoveries N   for so many states, taken at random (-1: all)
  --every N        only each Nth point, beginning with one at random (1)
  --only FAULT     one of the table below; may be repeated
  --seed S         of what is random; printed
  --rows FILE      append the table's rows to it

Prints a table; exit status 1 if anything is wrong, and the directory of the first one is kept.
"""

import argparse
import collections
import concurrent.futures
import errno
import itertools
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

import promise
import table
from promise import NAME, PATIENCE, Salvage, Sent, State, Wrong, read

AT_ONCE = 8  # most of them wait for a disk that is full, for a second
HERE = os.path.dirname(os.path.abspath(__file__))
POINT = re.compile(r"^point \d+: (\w+) (.*)$", re.MULTILINE)
NOT_STORED = re.compile(r"offset (\d+): from here on it is not stored$", re.MULTILINE)
NOT_COMPLETED = "what is not completed will be by the next start"
# Two streams with three segments each: by size, by ROTATE, by CLOSE and by the end of the input.
SCRIPT = """
0 OPEN 1 adpcm id=1 tag=one
0 OPEN 2 pcm id=2 ch=2
0 FRAME 1 seq=0 count=12 step=0
0 FRAME 2 seq=0 count=4 step=0
1 ROTATE
1 FRAME 1 seq=13 count=20 step=0
1 FRAME 2 seq=4 count=4 step=0
2 CLOSE 1 1000
"""
OPTIONS = ["-q", "-t", "0", "-s", "1500"]
EXEC = ["--exec", 'echo "$RUN ${1##*/}" >> "$RAN"']
KEEP = ["--keep-bytes", "1"]
FAULTS = {
    "killed": {},
    "killed, links": {"EET_RENAME": "link"},
    "killed, no links": {"EET_RENAME": "plain"},
    "killed, --exec": {},
    "killed, --keep-bytes": {},
    "EIO": {"EET_ACTION": "EIO"},
    "EIO, reading": {"EET_ACTION": "EIO", "EET_CALLS": "read pread readdir"},
    "ENOSPC": {"EET_ACTION": "ENOSPC"},
}


def sent(log, end):
    """{stream_id: Sent} of the frames in a mux log that end before there.  A session's number is its
    stream_id."""
    handshakes, frames = {}, collections.defaultdict(list)
    at = 0
    while at + 12 <= len(log):
        length, session, kind = struct.unpack_from("<IIH", log, at + 4)
        at += 12 + length
        body = log[at - length + 12:at]
        if kind == 1:
            handshakes[session] = body[:32]
        if kind == 2 and at <= end:
            frames[session].append(body)
    return {session: Sent(handshake, frames[session]) for session, handshake in handshakes.items()}


class Faults:
    """One fault, wherever it can happen."""

    def __init__(self, name, options, folder):
        self.name, self.options, self.folder = name, options, folder
        self.random = random.Random(f"{options.seed} {name}")
        self.settings = FAULTS[name]
        self.error = self.settings.get("EET_ACTION")
        self.exec = EXEC if "--exec" in name else []
        self.keep = KEEP if "--keep-bytes" in name else []
        self.rounds = self.sent = self.lost = self.damaged = 0
        self.slowest, self.failed = 0.0, False
        self.wavs = promise.Wavs()
        self.log = os.path.join(folder, "log")
        with open(self.log, "wb") as f:
            subprocess.run([os.path.join(HERE, "..", "logs.py"), "mux"], input=SCRIPT.encode(),
                           stdout=f, check=True)
        self.streams = sent(read(self.log), os.path.getsize(self.log))
        self.sends = sum(len(one.frames) for one in self.streams.values())
        run = Run(self)
        run.record(self.log)
        self.recorded = run.out
        self.undisturbed = run.files()
        if len(self.undisturbed.logs()) < 6:
            raise Wrong(f"only {len(self.undisturbed.logs())} segments")

    def each(self, visit):
        """visit(point) for all of them, until one is beyond the last.  Yields what it returns."""
        every = self.options.every
        points = itertools.count(self.random.randint(1, every), every)
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            while True:
                some = list(pool.map(visit, itertools.islice(points, AT_ONCE)))
                yield from filter(None, some)
                if None in some:
                    return

    def count(self, run, sends):
        self.rounds += 1
        self.sent += sends
        self.slowest = max(self.slowest, run.seconds)
        if run.wrong is not None:
            self.failed = True
            print(f"{self.name}, {run.wrong}\nleft as it is: {run.out}")
            self.lost += run.wrong.lost
            self.damaged += run.wrong.damaged
        else:
            run.drop()

    def torture(self):
        """True if nothing is wrong."""
        for run in self.each(lambda point: Run(self).recording(point)):
            self.count(run, self.sends)
        points, some = self.rounds * self.options.every, self.options.recoveries
        if points < 30:
            raise Wrong(f"{points} points: is {self.options.shim} loaded?")
        for last in self.random.sample(range(1, points), points - 1 if some < 0 else some):
            state = Run(self)
            state.killed(last)
            for run in self.each(lambda point, state=state: Run(self).recovery(point, state)):
                self.count(run, 0)
            state.drop()
        return self.good()

    def good(self):
        return not self.failed

    def cells(self):
        o = self.options
        return (self.name, self.rounds, self.sent, self.lost, self.damaged, self.slowest,
                f"test/torture/faults.py --only '{self.name}' --seed {o.seed} --every {o.every} "
                f"--recoveries {o.recoveries} {os.path.relpath(o.shim)}")


class Run:
    """A directory of its own, in which something goes wrong."""

    numbers = itertools.count()

    def __init__(self, faults):
        self.faults = faults
        self.number = next(Run.numbers)
        self.out = os.path.join(faults.folder, str(self.number))
        self.ran = os.path.join(faults.folder, "ran") if faults.exec else None
        self.said = self.said_first = ""
        self.hit = self.left = self.wrong = None  # what went wrong; what was left
        self.is_done = False  # nevertheless
        self.seconds = 0.0  # of the start after that
        self.status = None

    def files(self):
        return State.of(self.out) if os.path.isdir(self.out) else State()

    def drop(self):
        shutil.rmtree(self.out, ignore_errors=True)

    def prepare(self):
        """What is there before anything goes wrong."""
        if self.faults.keep:
            subprocess.run(["cp", "-a", self.faults.recorded, self.out], check=True)

    def record(self, log, point=None, more=None):
        """Record log, or nothing.  Returns the exit status, None if it was killed at that point."""
        faults = self.faults
        environment = dict(os.environ, RUN=str(self.number), RAN=self.ran or "",
                           LD_PRELOAD=faults.options.shim)
        # A program with AddressSanitizer wants to be first.
        environment["ASAN_OPTIONS"] = ":".join(
            filter(None, (os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0")))
        if "EET_RENAME" in faults.settings:
            environment["EET_RENAME"] = faults.settings["EET_RENAME"]
        if point is not None:
            environment.update(faults.settings, EET_FAULT=str(point), **(more or {}))
        keep = faults.keep if log is not None and point is not None else []
        with open(log or os.devnull, "rb") as f:
            done = subprocess.run(["eet-rotate", *OPTIONS, *faults.exec, *keep, self.out],
                                  stdin=f, check=False, env=environment, timeout=PATIENCE,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.said = done.stderr.decode().strip()
        if done.returncode == -signal.SIGKILL and point is not None:
            return None
        self.status = done.returncode
        if self.status not in (0, 3) and (point is None or self.status != 1):
            raise Wrong(f"exit status {self.status}: {self.said}")
        return self.status

    def go_wrong(self, log, point):
        """The first half: record log with that point going wrong.  False: there is no such point."""
        status = self.record(log, point)
        hit = POINT.search(self.said)
        if hit is None:
            return False
        self.hit, self.said_first = hit[0], self.said
        self.left = self.files()
        if (status is None) != (self.faults.error is None):
            raise Wrong(f"exit status {status}: {self.said}")
        if status == 0 and "sync" in hit[1]:
            raise Wrong(f"exit status 0: {self.said}")
        if status == 1:
            self.check_said(hit[2], "sync" in hit[1])
            if log is not None:
                self.check_stored(log)
        self.is_done = status == 0
        return True

    def check_said(self, file, sync):
        """The error was told, and what it happened to."""
        error = os.strerror(errno.EIO if sync else getattr(errno, self.faults.error))
        name = os.path.basename(file)
        told = POINT.sub("", self.said).splitlines()
        place = "standard input" if file == self.faults.log else self.out
        if not any(error in line and place in line for line in told):
            raise Wrong(f"exit status 1, but only: {self.said}")
        if file in (self.faults.log, self.out):
            return
        # A segment's two files are made of each other, and have one name in a message.
        stem = name.split(".eet")[0].split(".wav")[0]
        if not any(stem in line for line in told):
            raise Wrong(f"exit status 1, and {name} is not named: {self.said}")

    def check_stored(self, log):
        """Each frame is there that stands before where it said that it gave up."""
        at = NOT_STORED.search(self.said)
        if at is None and NOT_COMPLETED not in self.said:
            return  # it has not even started
        expected = sent(read(log), int(at[1]) if at else os.path.getsize(log))
        for session, theirs in expected.items():
            ours = [data for name, data in self.left.segments().items() if f"Z_s{session}." in name]
            missing = len(theirs.frames) - len(theirs.on_disk(ours))
            if missing:
                raise Wrong(f"session {session} misses {missing} frames that were stored, it was "
                            f"said: {self.said}", lost=missing)

    def again(self, log):
        """The second half: a start that has to put it right."""
        begin = time.monotonic()
        self.record(log)
        self.seconds = time.monotonic() - begin

    def recording(self, point):
        faults = self.faults
        self.prepare()
        try:
            if not self.go_wrong(faults.log, point):
                return None
            if self.is_done:
                self.check(State(), faults.log)
            self.again(faults.log)
            self.check(self.left, faults.log)
        except Wrong as wrong:
            self.wrong = Wrong(f"recording, {self.hit}: {wrong}", wrong.lost, wrong.damaged)
        return self

    def killed(self, point):
        self.prepare()
        self.record(self.faults.log, point, {"EET_ACTION": "kill"})
        hit = POINT.search(self.said)
        self.hit = hit[0] if hit else "not killed"

    def recovery(self, point, before):
        """before: a run that was killed."""
        if os.path.isdir(before.out):
            # As it is: of two names of one file, too.
            subprocess.run(["cp", "-a", before.out, self.out], check=True)
        left = self.files()
        try:
            if not self.go_wrong(None, point):
                return None
            if self.is_done:
                self.check(left, None, before.number)
            self.again(None)
            self.check(left, None, before.number)
        except Wrong as wrong:
            self.wrong = Wrong(f"recording, {before.hit}, recovery, {self.hit}: {wrong}",
                               wrong.lost, wrong.damaged)
        return self

    def check(self, left, log, before=None):
        """left: the directory as the run of that number left it; then log, or nothing, came."""
        faults, found = self.faults, self.files()
        gone = set(left.listed()) - set(left) if faults.keep else set()
        first, new = promise.again(faults.undisturbed, found, left) if log is not None else (1, {})
        if log is not None and first <= max(left.numbers(), default=0):
            raise Wrong(f"{first} was the number of another session", damaged=1)
        statuses = Salvage(faults.streams, left, found, faults.wavs, gone=gone).check(new)
        if self.status not in statuses:
            raise Wrong(f"exit status {self.status}: {self.said}", damaged=1)
        self.check_index(found)
        if self.ran is not None:
            ran = set(read(self.ran).decode().splitlines())
            for name in found.logs():
                if not {f"{self.number} {name}", f"{before} {name}"} & ran:
                    raise Wrong(f"{name}: its command was not run", damaged=1)

    def check_index(self, found):
        undisturbed = {line["eet"]: line for line in self.faults.undisturbed.lines()
                       if line["event"] == "segment"}
        for line in found.lines():
            name = line["eet"]
            if line["event"] != "segment" or line["error"] is not None or \
                    found.get(name) != self.faults.undisturbed.get(name, b""):
                continue
            # Of a segment that is whole, salvage knows all but this.
            other = dict(undisturbed[name])
            if line["recovered"]:
                other.update(first_us=line["first_us"], last_us=None, peer=None, gap_before=None,
                             recovered=True)
            if line != other:
                raise Wrong(f"{name} is listed as {line}", damaged=1)


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--recoveries", type=int, default=-1)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--only", choices=FAULTS, action="append")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    table.add_option(parser)
    parser.add_argument("shim", type=os.path.abspath)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    folder = tempfile.mkdtemp(prefix="eet-faults.")
    rows = []
    for name in options.only or FAULTS:
        rows.append(Faults(name, options, tempfile.mkdtemp(dir=folder)))
        rows[-1].torture()
    table.show([row.cells() for row in rows], options)
    if not all(row.good() for row in rows):
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
