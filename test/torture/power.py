#!/usr/bin/python3
"""power.py [OPTION...] SHIM: cut the power wherever a file changes.

SHIM is power.so, which writes down what eet-rotate does to its directory.  From that follows what a
disk may hold when the power is cut, on a file system that promises no more than POSIX: of what was
written to a file and not synced since, all may be there, nothing, some of it, a part of it, or zeros
in its place; each name that came, went or was changed, and whose directory was not synced since, may
be the old one or the new one.  Such states are made, at random, and the next start recovers them:

- with --sync segment, each segment that was in the index or printed is there, byte for byte, with its
  WAV; a growing one is cut after its last whole frame; the index has everything once;
- with --sync TIME, each frame is there, too, that was older than TIME;
- with --sync none, all that is there was recorded, but for zeros, and nothing fails;
- with --exec, there is no segment whose command was not run.

No complete file is changed; a log that is recorded then gives the files that it always gives, beside
the old ones.  The power is cut while a log is recorded, while that is recovered, and while what a
killed process left is recovered.

  --states N       so many states of each kind (4000)
  --only KIND      one of the table below; may be repeated
  --state N        only that one of them
  --trace FILE     what the threads did, as it was written down before: a failure tells where
  --seed S         of what is random; printed
  --rows FILE      append the table's rows to it

Prints a table; exit status 1 if anything is wrong, and of each kind the first state that is, is kept.
"""

import argparse
import collections
import concurrent.futures
import copy
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import logs
import table
import promise
from promise import INDEX, NAME, PATIENCE, Salvage, Sent, State, Wrong, read

CREATE, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, LINK, MKDIR, PRINT, MARK = range(10)
HEAD = struct.Struct("<IIQQQQ")
Op = collections.namedtuple("Op", "kind file dir where first second data")
SECTOR = 512
LISTED = re.compile(rb'^{"event":"segment","eet":"([^"]*)".*"error":null', re.MULTILINE)
PRINTED = re.compile(rb"/([^/\n]*\.eet)$", re.MULTILINE)
RECORD = struct.Struct("<IIIHHQ")
# What the shim would miss.
UNSEEN = set("""copy_file_range creat creat64 fallocate fallocate64 fopen fopen64 freopen link mkdirat
    mkostemp mkstemp mkstemp64 mmap posix_fallocate posix_fallocate64 pwritev pwritev2 pwritev64
    remove rmdir sendfile sendfile64 splice symlink symlinkat sync sync_file_range truncate
    truncate64""".split())
# Segments end by size, by ROTATE, by CLOSE and by the end of the input.  The session with the highest
# number ends before others do, so that no file that grows tells of it.
SCRIPT = """
0 OPEN 1 adpcm id=1 tag=one
0 OPEN 2 pcm id=2 ch=2
0 FRAME 1 seq=0 count=5 step=0
0 FRAME 2 seq=0 count=2 step=0
0.4 OPEN 3 pcm id=3 n=80
0.4 FRAME 3 seq=0 count=2 step=0
0.4 FRAME 1 seq=5 count=7 step=0
0.4 FRAME 2 seq=2 count=1 step=0
1.1 FRAME 1 seq=12 count=3 step=0
1.1 FRAME 2 seq=3 count=2 step=0
1.1 CLOSE 3 1000
1.5 ROTATE
1.5 FRAME 1 seq=16 count=4 step=0
1.5 FRAME 2 seq=5 count=1 step=0
2.2 OPEN 4 pcm id=4 n=80
2.2 FRAME 1 seq=20 count=9 step=0
2.2 FRAME 2 seq=6 count=2 step=0
2.2 FRAME 4 seq=0 count=3 step=0
2.7 CLOSE 1 1000
2.7 FRAME 2 seq=8 count=1 step=0
2.7 FRAME 4 seq=3 count=2 step=0
3.3 FRAME 2 seq=9 count=1 step=0
3.3 FRAME 4 seq=5 count=6 step=0
"""
EXEC = ["--exec", 'echo "$RUN ${1##*/}" >> "$RAN"']
KINDS = {
    "power cut, --sync segment": [],
    "power cut, --exec": EXEC,
    "power cut, --sync 1": ["--sync", "1"],
    "power cut, --sync none": ["--sync", "none"],
}
TIME = 1000000
# Shares of the states: cut in a recording, in its recovery, in that of a killed process.
CUTS = ("recording",) * 7 + ("recovery",) * 2 + ("killed",)


# --- what was written down ---


def operations(data):
    at, found = 0, []
    while at + HEAD.size <= len(data):
        kind, strings, size, file, folder, where = HEAD.unpack_from(data, at)
        end = at + HEAD.size + strings + size
        if end > len(data):
            break
        first, second, _ = data[at + HEAD.size:at + HEAD.size + strings].split(b"\0")
        found.append(Op(kind, file, folder, where, first.decode(), second.decode(),
                        data[end - size:end]))
        at = end
    return found


class File:
    def __init__(self, data=b""):
        self.data = data  # on the disk
        self.pending = []  # (offset, data), or (size, None)

    def after(self, pending):
        data = bytearray(self.data)
        for where, what in pending:
            if what is None:
                del data[where:]
            data += bytes(max(where - len(data), 0))
            if what is not None:
                data[where:where + len(what)] = what
        return bytes(data)

    def sync(self):
        self.data, self.pending = self.after(self.pending), []

    def maybe(self, rng, how):
        """What the disk may have of it."""
        if not self.pending or how == "nothing":
            return self.data
        if how == "begin":
            return self.after(torn(rng, self.pending[:rng.randint(1, len(self.pending))], 0.7))
        if how == "some":
            return self.after([one for op in self.pending if rng.random() < 0.6
                               for one in torn(rng, [op], 0.2)])
        everything = bytearray(self.after(self.pending))
        if how == "zeros":
            for _ in range(rng.randint(1, 3)):
                a, b = sorted(rng.randrange(len(everything) + 1) for _ in "ab")
                if rng.random() < 0.5:
                    a, b = a // SECTOR * SECTOR, -(-b // SECTOR) * SECTOR
                elif rng.random() < 0.3:
                    a, b = 0, len(everything)
                b = min(b, len(everything))
                everything[a:b] = self.data[a:b].ljust(b - a, b"\0")
        return bytes(everything)


def torn(rng, pending, chance):
    """The last of them is cut."""
    where, what = pending[-1]
    if what and rng.random() < chance:
        what = what[:rng.randrange(len(what))]
    return pending[:-1] + [(where, what)]


class Folder:
    def __init__(self):
        self.names = {}
        self.pending = []  # (name that goes, name that comes, what)

    def after(self, pending):
        names = dict(self.names)
        for old, new, what in pending:
            if names.get(old) is what:
                del names[old]
            if new is not None:
                names[new] = what
        return names

    def sync(self):
        self.names, self.pending = self.after(self.pending), []

    def maybe(self, rng, how):
        if how == "nothing":
            return self.names
        if how == "everything":
            return self.after(self.pending)
        if how == "begin":
            return self.after(self.pending[:rng.randint(0, len(self.pending))])
        chance = rng.random()
        return self.after([one for one in self.pending if rng.random() < chance])


class Disk:
    """A directory out/, what of it is on the disk, and what may be."""

    def __init__(self, out=None):
        """out: such a directory after a start; else there was none."""
        self.top = Folder()
        self.nodes = {}
        if out is not None:
            self.top.names["out"] = there = Folder()
            self.nodes[os.stat(os.path.dirname(out)).st_ino] = self.top
            self.nodes[os.stat(out).st_ino] = there
            state = State.of(out)
            for name, data in state.items():
                # Names that share a file go on sharing it.
                there.names[name] = self.nodes.setdefault(state.inodes[name], File(data))

    def apply(self, op):
        if op.kind in (PRINT, MARK):
            return
        if op.kind == MKDIR:
            self.nodes[op.dir] = self.top
        if op.kind == SYNC and op.file == 0:
            for node in self.nodes.values():
                node.sync()
            return
        if op.kind in (CREATE, MKDIR):
            self.nodes[op.file] = File() if op.kind == CREATE else Folder()
        node = self.nodes.get(op.file)
        if node is None:
            raise Wrong(f"a file that nobody has made: {op}")
        if op.kind == WRITE:
            node.pending.append((op.where, op.data))
        elif op.kind == TRUNCATE:
            node.pending.append((op.where, None))
        elif op.kind == SYNC:
            node.sync()
        elif op.kind == UNLINK:
            self.nodes[op.dir].pending.append((op.first, None, node))
        elif op.kind == RENAME and op.dir == op.where:
            self.nodes[op.dir].pending.append((op.first, op.second, node))
        elif op.kind in (CREATE, MKDIR, LINK):
            self.nodes[op.dir].pending.append((None, op.first, node))
        else:
            raise Wrong(f"what does this do: {op}")

    def state(self, rng, how=("nothing", "everything", "begin", "some")):
        """{name: data} after a power cut; None: not even the directory is there."""
        names = rng.choice(how)
        out = self.top.maybe(rng, names).get("out")
        if out is None:
            return None
        how += ("zeros",) if len(how) > 1 else ()
        of_all = rng.choice(how) if rng.random() < 0.7 else None
        state, contents = State(), {}
        for name, file in sorted(out.maybe(rng, names).items(), key=lambda item: item[0]):
            if id(file) not in contents:
                contents[id(file)] = file.maybe(rng, of_all or rng.choice(how))
            state[name], state.inodes[name] = contents[id(file)], id(file)
        return state

    def now(self):
        """The same without one."""
        return self.state(random, ("everything",))


# --- what is recorded ---


class Log:
    """In pieces, of one time each."""

    def __init__(self):
        self.pieces = []  # (time, bytes, frames)
        self.frames = collections.defaultdict(list)  # of a session: (time, frame)
        self.sent = {}  # by stream_id, which is the session's number
        for when, records in itertools.groupby(logs.records(SCRIPT.splitlines()), lambda r: r[2]):
            data, inside = b"", []
            for kind, session, _, body in records:
                data += RECORD.pack(0x4D544545, len(body) + 12, session, logs.KINDS[kind], 0, when)
                data += body
                if kind == "FRAME":
                    self.frames[session].append((when, body))
                    inside.append(body)
                elif kind == "OPEN":
                    self.sent[session] = Sent(body[:32], [])
            self.pieces.append((when, data, inside))
        for session, sent in self.sent.items():
            self.sent[session] = Sent(sent.handshake, [frame for _, frame in self.frames[session]])

    def older(self, when):
        """How many frames each session has by then."""
        return {session: sum(t <= when for t, _ in theirs)
                for session, theirs in self.frames.items()}


def of_segments(listed):
    return [line for line in listed if line["event"] == "segment"]


def wav_of(name):
    return name[:-4] + ".wav"


class Promise:
    """What has to be there after a power cut."""

    def __init__(self):
        self.segments = {}  # name: data
        self.printed = set()
        self.frames = {}  # session: how many
        self.numbers = set()  # of sessions with a segment

    def key(self):
        return f"{sorted(self.segments)} {sorted(self.printed)} {sorted(self.frames.items())}"


class Power:
    """One kind of sync."""

    def __init__(self, name, options, folder):
        self.name, self.options, self.folder = name, options, folder
        self.kind = KINDS[name]
        self.synced = "none" not in self.kind
        # Where TIME counts, most of it is in files that grow.
        self.flags = ["-q", "-t", "0", "-s", "6000" if "1" in self.kind else "1500"]
        self.log = Log()
        self.log_file = os.path.join(folder, "log")
        with open(self.log_file, "wb") as f:
            f.write(b"".join(data for _, data, _ in self.log.pieces))
        self.wavs, self.seen = promise.Wavs(), set()
        self.states = self.lost = self.damaged = 0
        self.slowest, self.failed = 0.0, False
        run = Run(self, "undisturbed")
        run.rotate(self.log_file)
        self.undisturbed = State.of(run.out)
        self.lines = {line["eet"]: line for line in of_segments(self.undisturbed.lines())}
        run = Run(self, "recorded")
        self.trace = options.trace or os.path.join(folder, "trace")
        self.ops = self.record(run)
        self.commands = run.commands() if options.trace is None else set(self.lines)

    def frames_in(self, name, data):
        return self.log.sent[int(NAME.match(name)[1])].on_disk([data])

    def record(self, run):
        """What a recording does to the disk."""
        if self.options.trace is not None:
            return operations(read(self.trace))
        run.feed(self.trace)
        if State.of(run.out).segments() != self.undisturbed.segments():
            raise Wrong("fed slowly, it makes other files")
        ops = operations(read(self.trace))
        self.check_seen(ops, run.out, Disk())
        return ops

    def check_seen(self, ops, out, disk):
        """The shim has missed nothing."""
        for op in ops:
            disk.apply(op)
        if disk.now() != State.of(out):
            raise Wrong(f"{out} holds something else than what was written down would give")

    # --- states ---

    def behind(self, ops, disk, told, first=0):
        """The disk has come so far.  What is then told is promised, but not by the first ones."""
        given = 0
        for number, op in enumerate(ops):
            disk.apply(op)
            given += op.kind == MARK
            if number < first or op.kind not in (WRITE, PRINT) or not self.synced:
                continue
            names = (LISTED if op.kind == WRITE else PRINTED).findall(op.data)
            for name in map(bytes.decode, names):
                told.segments[name] = disk.now()[name]
                told.numbers.add(int(NAME.match(name)[2]))
                told.printed |= {name} if op.kind == PRINT else set()
        # What was older than TIME when the last piece but one had been read.
        if "1" in self.kind and given > 1:
            told.frames = self.log.older(self.log.pieces[given - 2][0] - TIME)

    def torture(self, number):
        """The state of that number: what has become of it."""
        run = Run(self, str(number))
        rng = random.Random(f"{self.options.seed} {self.name} {number}")
        try:
            getattr(run, "cut_" + rng.choice(CUTS))(rng)
        except Wrong as wrong:
            run.wrong = wrong
        else:
            shutil.rmtree(run.folder)
        return number, run

    def all(self):
        only = self.options.state
        numbers = range(self.options.states) if only is None else [only]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for number, run in pool.map(self.torture, numbers):
                self.states += run.states
                self.slowest = max(self.slowest, run.seconds)
                if run.wrong is not None:
                    self.tell(number, run)

    def tell(self, number, run):
        self.lost += run.wrong.lost
        self.damaged += run.wrong.damaged
        print(f"{self.name}, state {number}, {run.point}: {run.wrong}", flush=True)
        if self.failed:
            shutil.rmtree(run.folder)
            return
        self.failed = True
        print(f"out/ is that state, found/ what became of it: {run.folder}\nonce more: "
              f"{self.command()} --state {number} --trace {self.trace}", flush=True)

    def command(self):
        o = self.options
        return (f"test/torture/power.py {os.path.relpath(o.shim)} --only '{self.name}' "
                f"--seed {o.seed} --states {o.states}")

    def cells(self):
        sent = self.states * sum(map(len, self.log.frames.values()))
        return (self.name, self.states, sent, self.lost, self.damaged, self.slowest, self.command())


class Run:
    """A directory that something is recorded into, and what becomes of it."""

    def __init__(self, power, name):
        self.power = power
        self.folder = os.path.join(power.folder, name)
        self.out = os.path.join(self.folder, "out")
        self.ran = os.path.join(self.folder, "ran")
        self.said, self.point = "", ""
        self.states, self.seconds, self.wrong = 0, 0.0, None
        os.mkdir(self.folder)

    # --- programs ---

    def environment(self, **more):
        environment = dict(os.environ, RUN=str(self.states), RAN=self.ran,
                           LD_PRELOAD=self.power.options.shim, **more)
        # A program with AddressSanitizer wants to be first.
        environment["ASAN_OPTIONS"] = ":".join(
            filter(None, (os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0")))
        return environment

    def rotate(self, log, listen=False, sync=None, **more):
        """Record log, or nothing.  The exit status."""
        flags = self.power.flags + self.power.kind + (sync or [])
        command = ["eet-rotate", *flags, self.out]
        if listen:
            command = ["eet-listen", *flags, "--spool", self.out, "localhost:0", "--",
                       *promise.until_salvaged(self.out)]
        with open(log or os.devnull, "rb") as f:
            done = subprocess.run(command, stdin=f, check=False, env=self.environment(**more),
                                  timeout=PATIENCE, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE)
        self.said = done.stderr.decode().strip()
        return done.returncode

    def feed(self, trace):
        """Record the log and have it written down; each piece is read before the next one comes."""
        with subprocess.Popen(["eet-rotate", *self.power.flags, *self.power.kind, self.out],
                              stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                              env=self.environment(EET_POWER=trace)) as rotate:
            sync_at = 0
            for when, data, inside in self.power.log.pieces:
                with open(trace, "ab", buffering=0) as f:
                    f.write(HEAD.pack(MARK, 2, 0, 0, 0, 0) + b"\0\0")
                rotate.stdin.write(data)
                rotate.stdin.flush()
                due = "1" in self.power.kind and when >= sync_at
                sync_at = when + TIME if due else sync_at
                limit = time.monotonic() + PATIENCE
                while not taken(operations(read(trace)), inside, due):
                    if time.monotonic() > limit or rotate.poll() is not None:
                        raise Wrong(f"a piece of the log was not written{' and synced' * due}")
                    time.sleep(0.001)
            rotate.stdin.close()
            if rotate.wait(PATIENCE) != 0:
                raise Wrong(f"exit status {rotate.returncode}")

    # --- states ---

    def cut_recording(self, rng):
        ops = self.power.ops
        cut = rng.randint(0, len(ops))
        disk, told = Disk(), Promise()
        self.power.behind(ops[:cut], disk, told)
        self.point = f"behind operation {cut}"
        self.recover(rng, disk.state(rng), told, self.power.synced, self.power.commands)

    def cut_recovery(self, rng):
        """A recovery, and cuts in it."""
        ops = self.power.ops
        cut = rng.randint(0, len(ops))
        disk, told = Disk(), Promise()
        self.power.behind(ops[:cut], disk, told)
        self.point = point = f"behind operation {cut}"
        left = disk.state(rng)
        if left is None:
            return
        self.put(left)
        before = Disk(self.out)
        trace = os.path.join(self.folder, "trace")
        self.rotate(None, EET_POWER=trace)
        again = operations(read(trace))
        self.power.check_seen(again, self.out, copy.deepcopy(before))
        earlier = self.commands() | self.power.commands
        for _ in range(4):
            disk, more = copy.deepcopy((before, told))
            cut = rng.randint(0, len(again))
            self.power.behind(again[:cut], disk, more)
            self.point = f"{point}, then behind {cut} of its recovery"
            self.recover(rng, disk.state(rng), more, self.power.synced, earlier)

    def cut_killed(self, rng):
        """A recording that is killed, and cuts in what comes then.  It may not have synced at all."""
        trace = os.path.join(self.folder, "trace")
        sync = rng.choice((None, ["--sync", "none"]))
        kill = rng.randint(1, len(self.power.ops) - 1)
        self.rotate(self.power.log_file, sync=sync, EET_POWER=trace, EET_POWER_KILL=str(kill))
        first = len(operations(read(trace)))
        self.rotate(None, EET_POWER=trace)
        ops = operations(read(trace))
        self.power.check_seen(ops, self.out, Disk())
        earlier = self.commands()
        for _ in range(4):
            disk, told = Disk(), Promise()
            cut = rng.randint(first, len(ops))
            self.power.behind(ops[:cut], disk, told, 0 if sync is None else first)
            self.point = f"killed behind {first}{', ' + ' '.join(sync or [])}, cut behind {cut}"
            self.recover(rng, disk.state(rng), told, self.power.synced and sync is None, earlier)

    # --- recovery ---

    def put(self, left):
        shutil.rmtree(self.out, ignore_errors=True)
        if left is not None:
            left.put(self.out)

    def commands(self):
        """The segments that they were run for."""
        ran = read(self.ran).decode().splitlines() if os.path.exists(self.ran) else []
        return {line.split()[1] for line in ran}

    def recover(self, rng, left, told, synced, earlier):
        """Start in a directory that was left like that, and look at what becomes of it."""
        # Without a sync, a number can be used again, and its names be taken.
        log = self.power.log_file if synced and rng.random() < 0.3 else None
        listen = log is None and rng.random() < 0.1
        key = hashlib.sha256(repr((left, told.key(), log, listen)).encode()).digest()
        if key in self.power.seen:
            return
        self.power.seen.add(key)
        self.states += 1
        self.put(left)
        left = left if left is not None else State()
        if os.path.exists(self.ran):
            os.unlink(self.ran)
        begin = time.monotonic()
        status = self.rotate(log, listen)
        self.seconds = max(self.seconds, time.monotonic() - begin)
        try:
            self.check(left, told, synced, log is not None, earlier, status)
        except Wrong:
            os.rename(self.out, os.path.join(self.folder, "found"))
            self.put(left)
            raise

    def check(self, left, told, synced, recorded, earlier, status):
        found, power = State.of(self.out), self.power
        first, new = promise.again(power.undisturbed, found, left) if recorded else (1, {})
        if recorded and first <= max(left.numbers() | told.numbers, default=0):
            raise Wrong(f"{first} was the number of another session", damaged=1)
        expected = Salvage(power.log.sent, left, found, power.wavs, synced).check(new)
        if status not in expected:
            raise Wrong(f"exit status {status}: {self.said}", damaged=1)
        self.check_promise(found, left, told)
        for line in {line["eet"]: line for line in of_segments(found.lines())}.values():
            self.check_line(line, found, left, synced)
        if "--exec" in power.kind:
            done = {line["eet"] for line in left.lines() if
                    line["event"] == "exec" and line["state"] == "done"}
            # Damage in the index costs a line, which can be that of a command.
            whole = synced and b"\0" not in left.get(INDEX, b"")
            for name in found.logs() if whole else set(found.logs()) - set(left):
                if name not in self.commands() | (done & earlier):
                    raise Wrong(f"{name}: its command was not run", damaged=1)

    def check_promise(self, found, left, told):
        for name, data in told.segments.items():
            if found.get(name) != data:
                raise Wrong(f"{name} was complete, and is not",
                            lost=len(self.power.frames_in(name, data)), damaged=1)
            if found.get(wav_of(name)) != self.power.wavs[data]:
                raise Wrong(f"{wav_of(name)} was complete, and is not", damaged=1)
            if name not in found.listed():
                raise Wrong(f"{name} was complete, and is not in the index", damaged=1)
        for name in told.printed - set(left.listed()):
            raise Wrong(f"{name} was printed, and was not in the index", damaged=1)
        for session, count in told.frames.items():
            logs = [data for name, data in found.logs().items() if name.endswith(f"_s{session}.eet")]
            missing = [frame for _, frame in self.power.log.frames[session][:count]
                       if not any(frame in data for data in logs)]
            if missing:
                raise Wrong(f"session {session} misses {len(missing)} of {count} frames that were "
                            f"older", lost=len(missing))

    def check_line(self, line, found, left, synced):
        name, power = line["eet"], self.power
        if name not in power.lines or found.get(name) != power.undisturbed[name]:
            return
        expected = dict(power.lines[name])
        if line["recovered"]:
            # Of a segment that is whole, salvage knows all but this.
            expected.update(first_us=line["first_us"], last_us=None, peer=None, gap_before=None,
                            recovered=True)
            if name[:-4] + ".eet.damaged" in found:
                expected["damaged"] = line["damaged"]
        if line != expected:
            raise Wrong(f"{name} is listed as {line}", damaged=1)


def taken(ops, inside, due):
    """True when those frames, behind the last mark, were written, and if it is due, synced."""
    made = {op.file: op.first for op in ops if op.kind == CREATE}
    folders = {op.dir for op in ops if op.kind == CREATE}
    ops = ops[max(number for number, op in enumerate(ops) if op.kind == MARK):]
    written = b"".join(op.data for op in ops if op.kind == WRITE)
    if not all(frame in written for frame in inside):
        return False
    unsynced, folder_is_due = set(), due
    for op in ops:
        is_log = made.get(op.file, "").endswith(".eet.part")
        if op.kind == WRITE and is_log:
            unsynced.add(op.file)
        elif op.kind == SYNC and op.file == 0:
            unsynced, folder_is_due = set(), False
        elif op.kind == SYNC and op.file in folders:
            folder_is_due = False
        elif op.kind == SYNC and is_log:
            unsynced.discard(op.file)
            folder_is_due = due
    return not due or not (unsynced or folder_is_due)


def check_calls():
    """No program calls what the shim does not see."""
    for program in ("eet-rotate", "eet-listen"):
        called = subprocess.run(["nm", "-D", "--undefined-only", shutil.which(program)], check=True,
                                stdout=subprocess.PIPE).stdout.decode()
        missed = {line.split()[-1].split("@")[0] for line in called.splitlines()} & UNSEEN
        if missed:
            raise Wrong(f"{program} calls {' '.join(missed)}, which is not written down")


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--states", type=int, default=4000)
    parser.add_argument("--state", type=int)
    parser.add_argument("--only", choices=KINDS, action="append")
    parser.add_argument("--trace", type=os.path.abspath)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    table.add_option(parser)
    parser.add_argument("shim", type=os.path.abspath)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    check_calls()
    folder = tempfile.mkdtemp(prefix="eet-power.")
    rows, failed = [], False
    for name in options.only or KINDS:
        try:
            rows.append(Power(name, options, tempfile.mkdtemp(dir=folder)))
            rows[-1].all()
        except Wrong as wrong:
            print(f"{name}: {wrong}\nleft as it is: {folder}", flush=True)
            failed = True
    table.show([row.cells() for row in rows], options)
    if failed or any(row.failed for row in rows):
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
