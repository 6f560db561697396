#!/usr/bin/python3
"""faults.py [OPTION...] SHIM: kill eet-rotate at each point where a file changes.

SHIM is faults.so.  A log is recorded again and again, killed at the first point, at the second, and
so on until it survives.  What is then on the disk says what the next start has to make of it: each
log is what it was, a growing one cut after its last whole frame, with the WAV that eet-wav makes of
it and one line in the index, that of a run that nobody disturbed, or one marked as recovered.  That
start records the log once more, which has to give the files that it always gives, beside the old
ones.  The same again with --exec: there is no segment whose command was not run.

For some of those states the recovery is killed at each of its points too, and the one after that
has to come to the same.

  --recoveries N   so many, taken at random (-1: all)
  --every N        only each Nth point, beginning with one at random (1)
  --seed S         of what is random; printed

Prints a table; exit status 1 at the first thing that is wrong.
"""

import argparse
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

PATIENCE = 60
HERE = os.path.dirname(os.path.abspath(__file__))
NAME = re.compile(r"^(stream_.*_s)(\d+)(\.eet|\.wav|\.eet\.part|\.wav\.part)$")
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


class Wrong(Exception):
    pass


def read(path):
    with open(path, "rb") as f:
        return f.read()


def files(folder):
    return {name: read(os.path.join(folder, name)) for name in os.listdir(folder)}


def segments(found):
    return {name: data for name, data in found.items() if NAME.match(name)}


def lines(found):
    try:
        return [json.loads(line) for line in found["index.jsonl"].splitlines()]
    except ValueError as error:
        raise Wrong(f"index.jsonl: {error}") from None


def whole(data):
    """A frame log, cut after its last whole frame; None if it has none."""
    at = 32
    while at + 12 <= len(data) and at + 12 + struct.unpack_from("<I", data, at + 4)[0] <= len(data):
        at += 12 + struct.unpack_from("<I", data, at + 4)[0]
    return data[:at] if at > 32 else None


def highest(found):
    """The highest session that names or whole lines of the index speak of."""
    numbers = [int(NAME.match(name)[2]) for name in segments(found)]
    index = found.get("index.jsonl", b"")
    for line in index[:index.rfind(b"\n") + 1].splitlines():
        numbers.append(json.loads(line)["session"])
    return max(numbers, default=0)


class Faults:
    def __init__(self, folder, shim, options, points):
        self.shim, self.options, self.points = shim, OPTIONS + options, points
        self.out = os.path.join(folder, "out")
        self.log = os.path.join(folder, "log")
        self.ran = os.path.join(folder, "ran") if options else None
        self.runs = 0
        with open(self.log, "wb") as f:
            subprocess.run([os.path.join(HERE, "..", "logs.py"), "mux"], input=SCRIPT.encode(),
                           stdout=f, check=True)
        self.run(self.log)
        self.undisturbed = files(self.out)
        self.wavs = {data: self.undisturbed[name[:-4] + ".wav"]
                     for name, data in self.undisturbed.items() if name.endswith(".eet")}
        if len(self.wavs) < 6:
            raise Wrong(f"only {len(self.wavs)} segments")

    def run(self, log, fault=None):
        """Record log, or nothing.  True if it was killed at point `fault`."""
        environment = dict(os.environ, RUN=str(self.runs), RAN=self.ran or "", LD_PRELOAD=self.shim)
        # A program with AddressSanitizer wants to be first.
        environment["ASAN_OPTIONS"] = ":".join(
            filter(None, (os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0")))
        if fault is not None:
            environment["EET_FAULT"] = str(fault)
        with open(log or os.devnull, "rb") as f:
            done = subprocess.run(["eet-rotate", *self.options, self.out], stdin=f, check=False,
                                  env=environment, timeout=PATIENCE, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE)
        self.said = done.stderr.decode().strip()
        if done.returncode == -signal.SIGKILL and fault is not None:
            return True
        if done.returncode != 0:
            raise Wrong(f"exit status {done.returncode}: {self.said}")
        return False

    def wav(self, log):
        if log not in self.wavs:
            self.wavs[log] = subprocess.run(["eet-wav", "-q"], input=log, check=True,
                                            timeout=PATIENCE, stdout=subprocess.PIPE).stdout
        return self.wavs[log]

    def expected(self, left):
        """What has to become of the segments in a directory that was left like that."""
        logs = {}
        for name, data in left.items():
            if name.endswith(".eet"):
                logs[name] = data
            elif name.endswith(".eet.part") and whole(data) is not None:
                logs[name[:-5]] = whole(data)
        wavs = {name[:-4] + ".wav": self.wav(data) for name, data in logs.items()}
        return {**logs, **wavs}

    def again(self, offset):
        """The undisturbed run's segments, as they are called after so many sessions."""
        return {NAME.sub(lambda m: f"{m[1]}{int(m[2]) + offset}{m[3]}", name): data
                for name, data in segments(self.undisturbed).items()}

    def check(self, left, log, before=None):
        """left: the directory as run `before` left it; then log, or nothing, was recorded."""
        found = files(self.out)
        expected = self.expected(left)
        if log is not None:
            expected.update(self.again(highest(left)))
        for name in sorted(set(expected) | set(segments(found))):
            if name not in found:
                raise Wrong(f"{name} is missing")
            if name not in expected:
                raise Wrong(f"{name} is there")
            if found[name] != expected[name]:
                raise Wrong(f"{name} has other bytes")
        if set(found) != set(expected) | {"index.jsonl"}:
            raise Wrong(f"there are {' '.join(found)}")
        self.check_index(found)
        if self.ran is not None:
            ran = set(read(self.ran).decode().splitlines())
            for name in expected:
                if name.endswith(".eet") and not {f"{self.runs} {name}",
                                                  f"{before} {name}"} & ran:
                    raise Wrong(f"{name}: its command was not run")

    def check_index(self, found):
        undisturbed = {line["eet"]: line for line in lines(self.undisturbed)
                       if line["event"] == "segment"}
        listed = [line for line in lines(found) if line["event"] == "segment"]
        logs = sorted(name for name in found if name.endswith(".eet"))
        if sorted(line["eet"] for line in listed) != logs:
            raise Wrong(f"the index lists {[line['eet'] for line in listed]}")
        for line in listed:
            # Of a segment that is whole, recovery knows all but this.
            other = dict(undisturbed.get(line["eet"], line))
            if found[line["eet"]] != self.undisturbed.get(line["eet"]):
                continue
            if line["recovered"]:
                other.update(first_us=line["first_us"], last_us=None, peer=None, recovered=True)
            if line != other:
                raise Wrong(f"{line['eet']} is listed as {line}")

    def fresh(self, found):
        """A new run: the directory holds what was found, None: there is none."""
        self.runs += 1
        shutil.rmtree(self.out, ignore_errors=True)
        if found is not None:
            os.mkdir(self.out)
            for name, data in found.items():
                with open(os.path.join(self.out, name), "wb") as f:
                    f.write(data)

    def recording(self):
        """Kill it at each point.  Yields the point, the run and what it left, which was checked."""
        for fault in self.points():
            self.fresh(None)
            if not self.run(self.log, fault):
                return
            point = self.said
            left = files(self.out) if os.path.isdir(self.out) else None
            try:
                self.run(self.log)
                self.check(left or {}, self.log)
            except Wrong as wrong:
                raise Wrong(f"recording killed at {point}: {wrong}") from None
            yield point, self.runs, left

    def recovery(self, point, before, left):
        """Kill it at each point.  Returns how many there were."""
        for count, fault in enumerate(self.points()):
            self.fresh(left)
            killed = self.run(None, fault)
            second = self.said
            try:
                if killed:
                    self.run(None)
                self.check(left or {}, None, before)
            except Wrong as wrong:
                raise Wrong(f"recording killed at {point}, recovery at {second}: {wrong}") from None
            if not killed:
                return count


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--recoveries", type=int, default=-1)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("shim", type=os.path.abspath)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    rng = random.Random(options.seed)
    folder = tempfile.mkdtemp(prefix="eet-faults.")
    table = []
    try:
        for name, more in (("recording", []), ("with --exec", EXEC)):
            faults = Faults(tempfile.mkdtemp(dir=folder), options.shim, more,
                            lambda: itertools.count(rng.randint(1, options.every), options.every))
            states = list(faults.recording())
            if len(states) < 50 // options.every:
                raise Wrong(f"{len(states)} points: is {options.shim} loaded?")
            chosen = rng.sample(states,
                                len(states) if options.recoveries < 0 else options.recoveries)
            table.append((name, 1, len(states)))
            table.append(("recovery", len(chosen), sum(faults.recovery(*one) for one in chosen)))
    except Wrong as wrong:
        print(f"{wrong}\nleft as it is: {folder}")
        return 1
    print("killed          runs  points")
    for row in table:
        print("{:12}{:8}{:8}".format(*row))
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
