#!/usr/bin/python3
"""holes.py [OPTION...] SHIM: damage what a recorder left, anywhere, and start it again.

SHIM is faults.so.  A log is recorded, and killed or not, so that segments of several sessions grow, are
under way, or are complete; then pages of zeros, flipped bits or garbage are put into them.  What a
start has to make of that follows from what was sent, and from the bytes that are there: each frame that
is whole anywhere is in a completed segment, once and in order; a damaged log is kept as it was; the
exit status is 3 then, and 0 where nothing was cut off but the end; of the index, only damaged lines
are lost.  The start records a log besides, which has to give the files that it always gives.

  --states N       so many of each kind (500)
  --only KIND      one of the table below; may be repeated
  --state N        only that one
  --seed S         of what is random; printed
  --rows FILE      append the table's rows to it

Prints a table; exit status 1 if anything is wrong, and the directory of the first one is kept.
"""

import argparse
import concurrent.futures
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import promise
import table
from faults import HERE, OPTIONS, PATIENCE, sent
from promise import HEAD, INDEX, NEXT, SEEN, Salvage, State, Wrong, read, stem

# Three sessions, of some segments each; one ends early, so that its number is not the last one.
SCRIPT = """
0 OPEN 1 adpcm id=1 tag=one
0 OPEN 2 pcm id=2 ch=2 n=40
0 OPEN 3 pcm id=3 n=400
0 FRAME 1 seq=0 count=30 step=0
0 FRAME 2 seq=0 count=30 step=0
0 FRAME 3 seq=0 count=12 step=0
1 ROTATE
1 FRAME 1 seq=33 count=40 step=0
1 FRAME 2 seq=30 count=40 step=0
2 CLOSE 3 1000
2 FRAME 1 seq=73 count=10 step=0
"""
KINDS = {
    "holes": {},
    "holes, killed in salvage": {"EET_ACTION": "kill"},
    "holes, EIO in salvage": {"EET_ACTION": "EIO"},
    "holes, EIO reading a leftover": {"EET_ACTION": "EIO", "EET_ON": ".eet.part",
                                      "EET_CALLS": "read pread"},
    "holes, ENOSPC in salvage": {"EET_ACTION": "ENOSPC"},
    "damaged index": {},
    "damaged .next and .seen": {},
}
POINT = re.compile(r"^point \d+: (\w+) (.*)$", re.MULTILINE)


def damage(rng, data):
    """Data with something wrong somewhere."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.choice((rng.randrange(len(data) + 1), rng.randrange(min(64, len(data)) + 1)))
        size = rng.choice((1, 4, 12, rng.randint(1, 200), 512, 4096))
        what = rng.choice(("zeros", "page", "bit", "bit", "bit", "garbage", "cut", "longer", "first"))
        if what == "page":
            at = at // 512 * 512
        if what in ("zeros", "page"):
            size = min(size, len(data) - at)
            data[at:at + size] = bytes(size)
        elif what == "garbage":
            size = min(size, len(data) - at)
            data[at:at + size] = rng.randbytes(size)
        elif what == "bit" and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif what == "first" and len(data) > 0:
            # In a handshake, or in the first frame's header.
            data[rng.randrange(min(HEAD + 12, len(data)))] ^= 1 << rng.randrange(8)
        elif what == "cut":
            del data[at:]
        elif what == "longer":
            data += rng.choice((bytes(size), rng.randbytes(size)))
    return bytes(data)


class Holes:
    """One kind."""

    def __init__(self, name, options, folder):
        self.name, self.options, self.folder = name, options, folder
        self.settings = KINDS[name]
        self.states = self.lost = self.damaged = self.frames = 0
        self.slowest, self.failed = 0.0, False
        self.wavs = promise.Wavs()
        self.log = os.path.join(folder, "log")
        with open(self.log, "wb") as f:
            subprocess.run([os.path.join(HERE, "..", "logs.py"), "mux"], input=SCRIPT.encode(),
                           stdout=f, check=True)
        self.streams = sent(read(self.log), os.path.getsize(self.log))
        out = os.path.join(folder, "undisturbed")
        self.rotate(out, self.log)
        self.undisturbed = State.of(out)

    def rotate(self, out, log, options=(), **settings):
        """(exit status, what it said) of eet-rotate, with such a shim."""
        environment = dict(os.environ, **settings)
        if settings:
            environment["LD_PRELOAD"] = self.options.shim
            environment["ASAN_OPTIONS"] = ":".join(
                filter(None, (os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0")))
        with open(log or os.devnull, "rb") as f:
            done = subprocess.run(["eet-rotate", *OPTIONS, *options, out], stdin=f, check=False,
                                  env=environment, timeout=PATIENCE, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE)
        return done.returncode, done.stderr.decode().strip()

    def leave(self, rng):
        """A directory as a recorder leaves it: some logs still grow, some are under way, some complete."""
        left = State()
        # Where there are few, no other segment may have a session's handshake.
        few = rng.random() < 0.4
        for name, data in self.undisturbed.logs().items():
            if few and rng.random() < 0.9:
                continue
            part, wav = name + ".part", name[:-4] + ".wav"
            what = rng.choice(("grows", "grows", "grows", "torn", "complete", "gone"))
            if what == "complete":
                left[name], left[wav] = data, self.undisturbed[wav]
            elif what != "gone":
                left[part] = data if what == "grows" else data[:rng.randrange(len(data))]
                if rng.random() < 0.3:
                    left[name[:-4] + ".wav.part"] = rng.choice((b"", self.undisturbed[wav]))
        lines = self.undisturbed[INDEX].splitlines(keepends=True)
        names = {name for name in left if name.endswith(".eet")}
        left[INDEX] = b"".join(line for line in lines if b'"event":"session"' in line or
                               any(f'"{name}"'.encode() in line for name in names))
        left[NEXT] = self.undisturbed[NEXT]
        return left

    def spoil(self, rng, left):
        """Damage some of it, as the kind says."""
        if self.name == "damaged index":
            left[INDEX] = self.spoil_index(rng, left[INDEX])
        elif self.name == "damaged .next and .seen":
            left[NEXT] = rng.choice((b"", b"\0\0", b"4", b"4\n\n", b"-4\n", b"x\n", b"4\0\n", b"0\n",
                                     b"99999999999\n", rng.randbytes(rng.randint(1, 20))))
            left[SEEN] = rng.choice((b"", b"\0" * 20, b"5 1769\n", b"5 17698545\n\0\0\0\n4 ",
                                     rng.randbytes(rng.randint(1, 60))))
        else:
            for name in [name for name in left if name.endswith(".eet.part")]:
                if rng.random() < 0.6:
                    left[name] = damage(rng, left[name])
        return State(left)

    @staticmethod
    def spoil_index(rng, index):
        data = bytearray(index)
        if not data:
            return index
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(data))
            what = rng.choice(("zero", "zeros", "bit", "torn"))
            if what == "zero":
                data[at] = 0
            elif what == "zeros":
                size = min(rng.choice((7, 300, 512)), len(data) - at)
                data[at:at + size] = bytes(size)
            elif what == "bit":
                data[at] ^= 1 << rng.randrange(8)
            elif len(data) > 10:
                del data[rng.randrange(len(data) // 2, len(data)):]
        return bytes(data)

    def torture(self, number):
        """(number, seconds, what is wrong) of the state of that number."""
        rng = random.Random(f"{self.options.seed} {self.name} {number}")
        left = self.spoil(rng, self.leave(rng))
        out = os.path.join(self.folder, str(number))
        log = self.log if rng.random() < 0.4 else None
        left.put(out)
        frames = sum(len(one.on_disk(left.values())) for one in self.streams.values())
        try:
            seconds = self.start(rng, out, left, log)
        except Wrong as wrong:
            left.put(out + ".left")
            return number, frames, 0.0, wrong
        shutil.rmtree(out)
        return number, frames, seconds, None

    def start(self, rng, out, left, log):
        """Seconds that it takes, after one in which something else goes wrong."""
        first, before = "", left
        if self.settings:
            status, first = self.rotate(out, None, EET_FAULT=str(rng.randint(1, 60)), **self.settings)
            hit = POINT.search(first)
            if hit and (status == -signal.SIGKILL) != (self.settings["EET_ACTION"] == "kill"):
                raise Wrong(f"{hit[0]}: exit status {status}: {first}")
            if hit and self.settings["EET_ACTION"] == "EIO" and status != 1 and "sync" in hit[1]:
                raise Wrong(f"{hit[0]}: exit status {status}: {first}")
            left = State.of(out)
            self.check_nothing_lost(before, left, first)
        begin = time.monotonic()
        status, said = self.rotate(out, log)
        seconds = time.monotonic() - begin
        found = State.of(out)
        one, new = promise.again(self.undisturbed, found, left) if log else (1, {})
        if log and one <= max(left.numbers(), default=0) and self.name != "damaged index":
            raise Wrong(f"{one} was the number of another session", damaged=1)
        statuses = Salvage(self.streams, left, found, self.wavs).check(new)
        if status not in statuses:
            raise Wrong(f"exit status {status}, not {statuses}: {said}", damaged=1)
        self.check_nothing_lost(before, found, said)
        return seconds

    def check_nothing_lost(self, before, after, said):
        """Whatever went wrong: each frame that was on the disk still is."""
        for session in {Salvage.session(name) for name in before.segments()}:
            one = self.streams[session[0]]
            here, there = ([data for name, data in state.segments().items()
                            if Salvage.session(name) == session] for state in (before, after))
            lost = set(one.on_disk(here)) - set(one.on_disk(there))
            if lost:
                raise Wrong(f"session {session[1]}: {len(lost)} frames are gone: {said}",
                            lost=len(lost), damaged=1)

    def all(self):
        only = self.options.state
        numbers = range(self.options.states) if only is None else [only]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for number, frames, seconds, wrong in pool.map(self.torture, numbers):
                self.states += 1
                self.frames += frames
                self.slowest = max(self.slowest, seconds)
                if wrong is not None:
                    self.tell(number, wrong)

    def tell(self, number, wrong):
        self.lost += wrong.lost
        self.damaged += wrong.damaged
        self.failed = True
        out = os.path.join(self.folder, str(number))
        print(f"{self.name}, state {number}: {wrong}\nleft as {out}.left, and became {out}\n"
              f"once more: {self.command()} --state {number}", flush=True)

    def command(self):
        o = self.options
        return (f"test/torture/holes.py {os.path.relpath(o.shim)} --only '{self.name}' "
                f"--seed {o.seed} --states {o.states}")

    def cells(self):
        return (self.name, self.states, self.frames, self.lost, self.damaged, self.slowest,
                self.command())


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--states", type=int, default=500)
    parser.add_argument("--state", type=int)
    parser.add_argument("--only", choices=KINDS, action="append")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    table.add_option(parser)
    parser.add_argument("shim", type=os.path.abspath)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    folder = tempfile.mkdtemp(prefix="eet-holes.")
    rows = []
    for name in options.only or KINDS:
        rows.append(Holes(name, options, tempfile.mkdtemp(dir=folder)))
        rows[-1].all()
    table.show([row.cells() for row in rows], options)
    if any(row.failed for row in rows):
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
