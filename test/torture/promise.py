"""What a start has to make of a directory, whatever state it was left in: eet-formats(5), "Salvage".

Nothing here reads a log as the programs do.  It is known what was sent, and each frame is looked for
among the bytes that were on the disk: if it was there, it is in the result.
"""

import collections
import json
import os
import re
import struct
import subprocess
import tempfile

NAME = re.compile(r"^stream_(\d+)(?:_.+)?_\d{8}T\d{6}\.\d{3}Z_s(\d+)(\.[a-z.]+)$")
PATIENCE = 300
INDEX = "index.jsonl"
NEXT = ".next"
SEEN = ".seen"
FINAL = (".eet", ".wav", ".eet.damaged")
LOGS = (".eet", ".eet.part", ".eet.new.part", ".eet.damaged")
HEAD = 32  # of a handshake
FRAME = 12  # of a frame's header
MAGIC_AND_LENGTH = 8


class Wrong(Exception):
    def __init__(self, text, lost=0, damaged=0):
        super().__init__(text)
        self.lost, self.damaged = lost, damaged


def read(path):
    with open(path, "rb") as f:
        return f.read()


def until_salvaged(out):
    """A command that ends when nothing in that directory is unfinished: salvage goes on in the background."""
    return ["sh", "-c", "for _ in $(seq 6000); do ls \"$0\" | grep -q '[.]part$' || exit 0; "
                        "sleep 0.05; done; exit 1", out]


class Wavs(dict):
    """{log: the WAV that eet-wav makes of it}."""

    def __missing__(self, log):
        with tempfile.TemporaryFile() as f:
            f.write(log)
            f.seek(0)
            done = subprocess.run(["eet-wav", "-q"], stdin=f, check=False, timeout=PATIENCE,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if done.returncode not in (0, 3):  # what was put into a log can be damage
            raise Wrong(f"eet-wav: exit status {done.returncode}")
        self[log] = done.stdout
        return done.stdout


def stem(name):
    """What the names of all files of a segment begin with."""
    return name[:NAME.match(name).start(3)]


class State(dict):
    """{name: data} of a directory; inodes: {name: which file it is}, for names share files."""

    def __init__(self, some=(), inodes=None):
        super().__init__(some)
        self.inodes = dict(inodes or {name: number for number, name in enumerate(self)})

    @staticmethod
    def of(folder):
        some = {entry.name: (read(entry.path), entry.inode()) for entry in os.scandir(folder)}
        return State({name: data for name, (data, _) in some.items()},
                     {name: inode for name, (_, inode) in some.items()})

    def put(self, folder):
        """Make such a directory."""
        os.mkdir(folder)
        first = {}
        for name, data in self.items():
            path = os.path.join(folder, name)
            if self.inodes[name] in first:
                os.link(first[self.inodes[name]], path)
                continue
            first[self.inodes[name]] = path
            with open(path, "wb") as f:
                f.write(data)

    def segments(self):
        return {name: data for name, data in self.items() if NAME.match(name)}

    def final(self):
        return {name: data for name, data in self.segments().items() if NAME.match(name)[3] in FINAL}

    def logs(self):
        return {name: data for name, data in self.final().items() if name.endswith(".eet")}

    def is_linked(self, part):
        """Has it its final name, too?"""
        return self.inodes.get(part[:-len(".part")]) == self.inodes[part]

    def growing(self, synced):
        """Logs without a final name, by the name of their .eet.  Where nothing was synced, those with
        one, and without a line, are not complete either."""
        some = {}
        for name, data in self.segments().items():
            if name.endswith(".eet.new.part"):
                some.setdefault(stem(name) + ".eet", data)
            elif name.endswith(".eet.part") and not (self.is_linked(name) and (
                    synced or name[:-len(".part")] in self.listed())):
                some[stem(name) + ".eet"] = data
        return some

    def lines(self):
        """The whole lines of the index that are some."""
        found = []
        for line in self.get(INDEX, b"").split(b"\n")[:-1]:
            try:
                found.append(json.loads(line.decode()))
            except ValueError:
                pass
        return [line for line in found if isinstance(line, dict) and "event" in line]

    def listed(self):
        """Logs that are complete, as the index says."""
        return [line["eet"] for line in self.lines()
                if line["event"] == "segment" and line.get("error", 0) is None and line.get("eet")]

    def numbers(self):
        """Sessions that names and lines tell of."""
        return {int(NAME.match(name)[2]) for name in self.segments()} | {
            line["session"] for line in self.lines() if isinstance(line.get("session"), int)}


def again(undisturbed, found, left):
    """A recording that followed what was left, as one that nobody disturbed has it, but for the numbers of
    its sessions: the first of these, and {name: data}."""
    numbers = sorted(found.numbers(), reverse=True)
    for first in numbers:
        new = {NAME.sub(lambda m, first=first: m[0][:m.start(2)] + str(int(m[2]) + first - 1) + m[3],
                        name): data for name, data in undisturbed.final().items()}
        if not set(new) & set(left) and all(found.get(name) == new[name] for name in new):
            return first, new
    raise Wrong(f"what was recorded is not there, as {numbers}: {' '.join(found)}", damaged=1)


class Sent:
    """What one stream sends: a handshake, and frames, none of which is like another."""

    def __init__(self, handshake, frames):
        self.handshake, self.frames = handshake, frames
        self.heads = {frame[:MAGIC_AND_LENGTH] for frame in frames}

    def on_disk(self, some):
        """Those of its frames that are whole somewhere in some bytes."""
        return [frame for frame in self.frames if any(frame in data for data in some)]

    def stands_alone(self, frame, data):
        """Is it followed by damage?  A reader that has lost its place takes for a frame only what is
        followed by another one, or the end."""
        at = data.find(frame)
        rest = data[at + len(frame):]
        return at != -1 and rest != b"" and rest[:4] != self.frames[0][:4]

    def walk(self, data):
        """Where the frames end that lie side by side behind the handshake."""
        at = HEAD
        while data[at:at + MAGIC_AND_LENGTH] in self.heads:
            end = at + FRAME + struct.unpack_from("<I", data, at + 4)[0]
            if end > len(data):
                break
            at = end
        return at

    def judge(self, data):
        """(kind, end) of a log that is not complete: "nothing" is in it; "sound": what is behind end is
        torn, or zeros; "damaged"; "either": it can't be told whether it is."""
        if len(data) < HEAD + FRAME or not data.strip(b"\0"):
            return "nothing", 0
        end = self.walk(data)
        if data[:HEAD] != self.handshake:
            unread = data[:MAGIC_AND_LENGTH] != self.handshake[:MAGIC_AND_LENGTH]
            return "damaged" if unread and end > HEAD else "either", 0
        rest = data[end:]
        torn = rest.rstrip(b"\0")
        magic = self.frames[0][:4]
        whole = "sound" if end > HEAD else "nothing"
        if not torn or rest[:MAGIC_AND_LENGTH] in self.heads:
            return whole, end
        if any(head.startswith(torn) for head in self.heads):
            # A magic before zeros is that of a frame without samples, too.
            return "either" if rest[:4] == magic and len(rest) >= FRAME else whole, end
        if rest[:4] == magic and (len(rest) < FRAME or
                                  FRAME + struct.unpack_from("<I", rest, 4)[0] > len(rest)):
            return "either", end
        return "damaged", end


class Salvage:
    """left: a directory; found: what a start has made of it."""

    def __init__(self, sent, left, found, wavs, synced=True, gone=()):
        """sent: {stream_id: Sent}; wavs: Wavs; synced: its files were; gone: what was
        removed to keep a limit."""
        self.sent, self.left, self.found, self.wavs = sent, left, found, wavs
        self.synced, self.gone = synced, gone
        self.kept = collections.defaultdict(list)  # {session: damaged logs as they were}
        for name, data in found.segments().items():
            if name.endswith(".eet.damaged"):
                self.kept[self.session(name)].append(data)
        self.new = {name: data for name, data in found.logs().items() if name not in left}

    @staticmethod
    def session(name):
        match = NAME.match(name)
        return int(match[1]), int(match[2])

    def check(self, new=()):
        """new: names of logs that were recorded by that start.  Returns the exit statuses that it may
        have had."""
        statuses = {0}
        self.new = {name: data for name, data in self.new.items() if name not in new}
        self.check_unchanged()
        for name, data in self.left.growing(self.synced).items():
            if self.is_doubly_damaged(name):
                statuses.add(1)
                continue
            statuses = self.check_grown(name, data, statuses)
        for session in sorted({self.session(name) for name in self.left.segments()}):
            statuses |= self.check_session(session)
        self.check_completed()
        self.check_index()
        self.check_next()
        if any(name.endswith(".eet.damaged") and stem(name) + ".eet.part" in self.left
               for name in self.left.segments()):
            statuses.add(3)
        return statuses

    def check_unchanged(self):
        """What was complete is what it was."""
        for name, data in self.left.final().items():
            if name in self.gone or self.found.get(name) == data or self.is_unsynced(name):
                continue
            # It goes with its segment, if that has to take another name.
            if name.endswith(".damaged") and data in self.kept[self.session(name)]:
                continue
            raise Wrong(f"{name} was complete, and {'is not' if name not in self.found else 'has other bytes'}",
                        damaged=1)

    def is_unsynced(self, name):
        """It has its final name, but was neither complete nor synced."""
        return not self.synced and stem(name) + ".eet.part" in self.left

    def is_doubly_damaged(self, name):
        """Without a sync, what was sound of a damaged log can be damaged again: it stays as it is."""
        return not self.synced and stem(name) + ".eet.part" in self.left and \
            stem(name) + ".eet.damaged" in self.left

    def check_grown(self, name, data, statuses):
        """What grew is complete, and if it is damaged, kept as it was, too."""
        sent = self.sent[self.session(name)[0]]
        kind, end = sent.judge(data)
        # What an earlier start took for sound of a damaged one, such as a frame with another length, is
        # kept as it was there.
        if kind == "damaged" and stem(name) + ".eet.damaged" in self.left:
            kind = "either"
        kept = data in self.kept[self.session(name)]
        complete = data[:end] in self.found.logs().values()
        if kind == "damaged" and not kept:
            raise Wrong(f"{name} is damaged, and was not kept as it was", damaged=1)
        if kind == "sound" and not complete:
            raise Wrong(f"{name} is not what was whole of it", damaged=1)
        if kind in ("sound", "nothing") and kept and stem(name) + ".eet.damaged" not in self.left:
            raise Wrong(f"{name} was not damaged", damaged=1)
        return statuses - {0} | {3} if kind == "damaged" else statuses | {3} if kind == "either" else statuses

    def excused(self, session):
        """Bytes on the disk whose frames need be nowhere else: their handshake is not known."""
        sent, here = self.sent[session[0]], self.files_of(session)
        # One without a frame is removed, and cannot lend its own.
        known = [data for data in here.values()
                 if data.startswith(sent.handshake) and sent.judge(data)[0] != "nothing"]
        for name, data in here.items():
            if data not in self.kept[session] or data.startswith(sent.handshake):
                continue
            if not known or data[:MAGIC_AND_LENGTH] == sent.handshake[:MAGIC_AND_LENGTH]:
                yield data
        for name, data in here.items():
            if name.endswith(".damaged") and (stem(name) + ".eet.part" not in self.left or
                                              not self.synced):
                yield data

    def files_of(self, session):
        return {name: data for name, data in self.left.segments().items()
                if NAME.match(name)[3] in LOGS and self.session(name) == session
                and name not in self.gone}

    def check_session(self, session):
        """Each frame that is on the disk is in the result, once, in order, and nothing else is."""
        sent, here = self.sent[session[0]], self.files_of(session)
        logs = [(name, data) for name, data in sorted(self.found.logs().items())
                if self.session(name) == session]
        places = []
        for frame in sent.frames:
            of = [(name, at.start()) for name, data in logs
                  for at in re.finditer(re.escape(frame), data)]
            # Without a sync, a name of a file can outlive what should have replaced it.
            if len(of) > 1 and self.synced:
                raise Wrong(f"a frame of session {session[1]} is in {of}", damaged=1)
            places += of
        if places != sorted(places) and self.synced:
            raise Wrong(f"session {session[1]} is not in order: {places}", damaged=1)
        lost = [frame for frame in sent.on_disk(here.values())
                if not any(frame in data for _, data in logs)]
        excused = list(self.excused(session))
        lost = [frame for frame in lost if not any(frame in data for data in excused)
                and not any(sent.stands_alone(frame, data) for data in self.kept[session])]
        if lost:
            raise Wrong(f"session {session[1]}: {len(lost)} frames were on the disk, and are not in "
                        f"the result, the first with seq {struct.unpack_from('<I', lost[0], 8)[0]}",
                        lost=len(lost), damaged=1)
        return self.check_made_of(session, here.values())

    def check_made_of(self, session, here):
        """A log that was completed holds nothing but what was on the disk.  {3} if it may be damaged."""
        sent, statuses = self.sent[session[0]], set()
        for name, data in self.new.items():
            if self.session(name) != session:
                continue
            if data[:HEAD] != sent.handshake and not any(one.startswith(data[:HEAD]) for one in here):
                raise Wrong(f"{name}: whose handshake is that", damaged=1)
            at = HEAD
            while at < len(data):
                end = at + FRAME + int.from_bytes(data[at + 4:at + 8], "little")
                frame = data[at:end]
                if len(frame) < FRAME or end > len(data) or not any(frame in one for one in here):
                    raise Wrong(f"{name}: offset {at}: that was not on the disk", damaged=1)
                statuses |= set() if frame in sent.frames else {3}
                at = end
        return statuses

    def check_completed(self):
        """Nothing is unfinished; what was completed has its WAV and one line."""
        for name in self.found:
            if name.endswith(".part") and not self.is_doubly_damaged(name):
                raise Wrong(f"{name} is left", damaged=1)
            if name not in (INDEX, NEXT, SEEN) and not NAME.match(name):
                raise Wrong(f"{name} is there", damaged=1)
        listed = self.found.listed()
        for name, data in self.found.logs().items():
            was_under_way = name[:-4] + ".line.part" in self.left or (
                name + ".part" in self.left and self.left.is_linked(name + ".part"))
            if name in self.new or (was_under_way and self.synced):
                if self.found.get(name[:-4] + ".wav") != self.wavs[data]:
                    raise Wrong(f"{name} has another WAV", damaged=1)
            # Where nothing is synced, a line can outlive what it is about.
            if (listed.count(name) > 1 and self.synced) or (
                    listed.count(name) == 0 and (name in self.new or was_under_way)):
                raise Wrong(f"{name} is {listed.count(name)} times in the index", damaged=1)

    def check_index(self):
        """Of its lines only those are lost that are damaged."""
        found = self.found.get(INDEX, b"")
        if found and not found.endswith(b"\n"):
            raise Wrong("the last line of the index is torn", damaged=1)
        old = self.left.get(INDEX, b"").split(b"\n")
        torn = old.pop()
        now = found.split(b"\n")
        if now[:len(old)] != old:
            raise Wrong("lines of the index were lost", damaged=1)
        for line in now[len(old):-1]:
            try:
                json.loads(line)
            except ValueError:
                raise Wrong(f"a line of the index: {line}, after {torn}", damaged=1) from None
        if self.synced:
            for name in set(self.found.listed()) - set(self.left.listed()):
                if name not in self.found and name not in self.gone:
                    raise Wrong(f"{name} is in the index, but not there", damaged=1)

    def check_next(self):
        """No number will be used twice."""
        text = self.found.get(NEXT, b"")
        used = self.found.numbers() | self.left.numbers() if self.synced else {
            self.session(name)[1] for name in self.left.segments() if name.endswith(".part")}
        if not re.fullmatch(rb"[1-9][0-9]*\n", text) or int(text) <= max(used, default=0):
            raise Wrong(f".next: {text}", damaged=1)
