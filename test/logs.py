#!/usr/bin/python3
"""logs.py COMMAND: makes logs for tests, takes them apart, and decodes them by other means.

  mux                    a mux log on stdout, from a script on stdin, one line per record:
                             TIME OPEN SESSION CODEC [id= rate= ch= n= ts= tag= peer= ...]
                             TIME FRAME SESSION [seq=0 count=1 step=0.02 len=N]
                             TIME CLOSE SESSION CODE [REASON]
                             TIME TICK | TIME ROTATE | RAW HEX
                         TIME is in seconds from 2026-01-31T10:15:00Z.  Frames hold a tone that
                         goes on by itself from frame to frame; CODEC is pcm or adpcm.
  frames                 the same, but only the handshakes and frames: a frame log
  pcm WAV [n= id=]       a frame log of that WAV, as PCM
  state WAV [n= id=]     ... as ADPCM, encoded by the client's encoder
  padded WAV [n= id=]    ... as ADPCM in blocks of WAV layout, N of any size, padded
  state-high WAV [n= id=]  ... by CPython's audioop, with its state before each block
  dvi4 WAV [n= id=]      ... the same with the predictor big-endian, as RFC 3551 has it
  swapped WAV [n= id=]   ... as state, with the predictor big-endian, which is no known layout
  bare WAV [n= id=]      ... by CPython's audioop, codes only
  blocks IMA-WAV [id=]   a frame log with one frame per block of an IMA ADPCM WAV file
  samples LOG LAYOUT     decoded by audioop: raw s16le on stdout (no gaps, no repeats)
  sox LOG LAYOUT         decoded by sox, from a WAV file made of the blocks
  sndfile LOG LAYOUT     decoded by libsndfile, likewise
  wav WAV...             the samples of 16-bit PCM WAVs with a header of 44 bytes, joined
  strip SEGMENT...       segments joined, less the repeated handshakes
  spool DIR LOG...       fails unless DIR holds one session for each LOG and nothing else: its
                         segments joined are the LOG, and their WAVs joined are its samples as sox
                         (or audioop, if sox can't) decodes them, in the layout that the index names
  acked DIR TOLD LOG...  fails unless each session in DIR, with its files complete, is a beginning
                         of one LOG (sent over and over, seq counting on), and for each LOG one of
                         them has all frames that send.py, whose output is TOLD, knows as stored
"""

import json
import math
import os
import struct
import subprocess
import sys
import tempfile
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "client"))
import ima_adpcm

EPOCH = 1769854500
HANDSHAKE = struct.Struct("<IHHIIHHHHQ")
FRAME = struct.Struct("<III")
RECORD = struct.Struct("<IIIHHQ")
MAGIC = {0: 0x464D4350, 1: 0x41445046}
CODECS = {"pcm": 0, "adpcm": 1}
KINDS = {"OPEN": 1, "FRAME": 2, "CLOSE": 3, "TICK": 4, "ROTATE": 5}
HEADERS = {"state-high": "<hBx", "dvi4": ">hBx"}  # with the high nibble first
SWAPPED = bytes((i & 15) << 4 | i >> 4 for i in range(256))


def options(words):
    return dict(word.split("=", 1) for word in words)


def handshake(codec, o):
    return HANDSHAKE.pack(0x41445043, 1, 32, int(o.get("id", 1)), int(o.get("rate", 8000)),
                          int(o.get("ch", 1)), codec, int(o.get("n", 160)),
                          int(o.get("reserved", 0)), int(o.get("ts", 0)))


def frame(codec, seq, payload):
    return FRAME.pack(MAGIC[codec], len(payload), seq & 0xFFFFFFFF) + payload


# --- logs from scripts ---


class Session:
    def __init__(self, codec, o):
        self.codec = CODECS[codec]
        self.handshake = handshake(self.codec, o)
        self.keys = "".join(f"{k}={v}\n" for k, v in o.items()
                            if k not in ("id", "rate", "ch", "n", "ts", "reserved")).encode()
        self.channels = int(o.get("ch", 1))
        self.n = int(o.get("n", 160))
        self.at = 0
        self.encoder = ima_adpcm.Encoder(self.channels)

    def frame(self, seq, samples):
        tone = [round(9000 * math.sin((self.at + i) * (0.05 + 0.02 * c)))
                for i in range(samples) for c in range(self.channels)]
        self.at += samples
        pcm = struct.pack(f"<{len(tone)}h", *tone)
        return frame(self.codec, seq, self.encoder.encode(pcm) if self.codec and pcm else pcm)


def records(script):
    """(kind, session, time in microseconds, body) of each line; kind None: body as it is."""
    sessions = {}
    for line in script:
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "RAW":
            yield None, 0, 0, bytes.fromhex("".join(words[1:]))
            continue
        time = EPOCH * 1000000 + round(float(words[0]) * 1000000)
        kind, rest = words[1], words[2:]
        number = int(rest.pop(0)) if rest else 0
        if kind == "OPEN":
            sessions[number] = session = Session(rest[0], options(rest[1:]))
            yield kind, number, time, session.handshake + session.keys
        elif kind == "FRAME":
            o = options(rest)
            session = sessions[number]
            for i in range(int(o.get("count", 1))):
                body = session.frame(int(o.get("seq", 0)) + i, int(o.get("len", session.n)))
                yield kind, number, time + round(i * float(o.get("step", 0.02)) * 1000000), body
        elif kind == "CLOSE":
            yield kind, number, time, struct.pack("<H", int(rest[0])) + " ".join(rest[1:]).encode()
        else:
            yield kind, number, time, b""


def mux(out):
    for kind, number, time, body in records(sys.stdin):
        if kind is not None:
            out.write(RECORD.pack(0x4D544545, len(body) + 12, number, KINDS[kind], 0, time))
        out.write(body)


def frames(out):
    for kind, _, _, body in records(sys.stdin):
        if kind in ("OPEN", "FRAME", None):
            out.write(body[:32] if kind == "OPEN" else body)


# --- logs from audio files ---


def chunks(path):
    with open(path, "rb") as f:
        data = f.read()
    assert data[:4] == b"RIFF" and data[8:12] == b"WAVE", path
    found, at = {}, 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4:at + 8], "little")
        found.setdefault(data[at:at + 4], data[at + 8:at + 8 + length])
        at += 8 + length + length % 2
    return found


def audio(path, o):
    """A WAV's samples, and its format among the options."""
    wav = chunks(path)
    _, channels, rate, _, align = struct.unpack("<HHIIH", wav[b"fmt "][:14])
    assert align == 2 * channels, path
    o.update(rate=rate, ch=channels)
    o.setdefault("n", 320)
    size = int(o["n"]) * align
    data = wav[b"data"]
    return [data[at:at + size] for at in range(0, len(data), size)]


def encode(samples, predictor, index):
    """The plain greedy encoder for one channel: codes, and the index after them."""
    codes = []
    for sample in samples:
        step = ima_adpcm.STEPS[index]
        size, code, change = abs(sample - predictor), 0, step >> 3
        for bit in (4, 2, 1):
            if size >= step:
                code, size, change = code | bit, size - step, change + step
            step >>= 1
        if sample < predictor:
            code, change = code | 8, -change
        predictor = max(-32768, min(32767, predictor + change))
        index = max(0, min(88, index + ima_adpcm.INDEX_SHIFT[code & 7]))
        codes.append(code)
    return codes, index


def nibbles(codes):
    """Two codes a byte, low nibble first."""
    return bytes(a | b << 4 for a, b in zip(codes[::2], codes[1::2]))


def from_wav(kind, path, o):
    """Yields a frame log's handshake and frames."""
    parts = audio(path, o)
    channels = int(o["ch"])
    codec = 0 if kind == "pcm" else 1
    yield handshake(codec, o)
    encoder = ima_adpcm.Encoder(channels)
    state, indexes = (0, 0), [0] * channels
    for seq, pcm in enumerate(parts):
        if kind == "pcm":
            payload = pcm
        elif kind == "state":
            payload = encoder.encode(pcm)
        elif kind == "swapped":
            payload = encoder.encode(pcm)
            payload = payload[1::-1] + payload[2:]
        elif kind in ("state-high", "dvi4", "bare"):
            head = struct.pack(HEADERS[kind], *state) if kind in HEADERS else b""
            codes, state = audioop.lin2adpcm(pcm, 2, state)
            payload = head + codes
        else:
            head, runs = b"", []
            samples = struct.unpack(f"<{len(pcm) // 2}h", pcm)
            for c in range(channels):
                own = samples[c::channels]
                head += struct.pack("<hBx", own[0], indexes[c])
                codes, indexes[c] = encode(own[1:], own[0], indexes[c])
                runs.append(nibbles(codes + [0] * (-len(codes) % 8)))
            payload = head + b"".join(run[at:at + 4] for at in range(0, len(runs[0]), 4)
                                      for run in runs)
        yield frame(codec, seq, payload)


def from_blocks(path, o):
    """Yields a frame log with one frame for each whole block of an IMA ADPCM WAV file."""
    wav = chunks(path)
    tag, channels, rate, _, align, _, _, n = struct.unpack("<HHIIHHHH", wav[b"fmt "][:20])
    assert tag == 17, path
    o.update(rate=rate, ch=channels, n=n)
    yield handshake(1, o)
    data = wav[b"data"]
    for seq in range(len(data) // align):
        yield frame(1, seq, data[seq * align:(seq + 1) * align])


# --- logs taken apart ---


def parse(path):
    """A frame log's first handshake's fields, and its frames as (message, payload)."""
    with open(path, "rb") as f:
        data = f.read()
    head, found, at = HANDSHAKE.unpack(data[:32]), [], 32
    while at < len(data):
        magic, length, _ = FRAME.unpack(data[at:at + 12])
        assert magic in MAGIC.values() and at + 12 + length <= len(data), f"{path}: offset {at}"
        found.append((data[at:at + 12 + length], data[at + 12:at + 12 + length]))
        at += 12 + length
    return head, found


def block_samples(layout, channels, n, length):
    """Samples per channel in a block."""
    if not length:
        return 0
    if layout == "bare":
        return min(n, 2 * length)
    first = 1 if layout == "wav" else 0
    if channels == 1:
        return min(n, first + 2 * (length - 4))
    return min(n, first + 8 * (length // (4 * channels) - 1))


def decode(path, layout):
    """The samples of a frame log, s16le, interleaved, decoded by audioop channel by channel."""
    head, found = parse(path)
    channels, codec, n = head[5:8]
    out, carried = [], (0, 0)
    for _, payload in found:
        if codec == 0 or not payload:
            out.append(payload)
            continue
        count = block_samples(layout, channels, n, len(payload))
        if layout == "bare":
            pcm, _ = audioop.adpcm2lin(payload, 2, carried)
            # The state after the samples that count: a padding code has none.
            _, carried = audioop.adpcm2lin(payload[:count // 2], 2, carried)
            assert count % 2 == 0, "an odd number of samples"
            out.append(pcm[:2 * count])
            continue
        lines = []
        for c in range(channels):
            head = HEADERS.get(layout, "<hBx")
            predictor, index = struct.unpack(head, payload[4 * c:4 * c + 4])
            body = payload[4 * channels:]
            if channels > 1:
                body = b"".join(body[at:at + 4] for at in range(4 * c, len(body), 4 * channels))
            if layout not in HEADERS:
                body = body.translate(SWAPPED)
            pcm, _ = audioop.adpcm2lin(body, 2, (predictor, min(index, 88)))
            if layout == "wav":
                pcm = struct.pack("<h", predictor) + pcm
            lines.append(pcm[:2 * count])
        out.append(b"".join(line[at:at + 2] for at in range(0, 2 * count, 2) for line in lines))
    return b"".join(out)


def decode_by(program, path, layout):
    """The same by a program that reads IMA ADPCM WAV files: layouts state and wav.

    A block of layout state is a WAV block of one sample more whose first is not wanted.
    """
    head, found = parse(path)
    rate, channels, _, n = head[4:8]
    payloads = [payload for _, payload in found if payload]
    counts = [block_samples(layout, channels, n, len(payload)) for payload in payloads]
    align = max(map(len, payloads))
    align += -align % (4 * channels)
    full = 1 + 8 * (align // (4 * channels) - 1)
    data = b"".join(payload.ljust(align, b"\0") for payload in payloads)
    fmt = struct.pack("<HHIIHHHH", 17, channels, rate, rate * align // full, align, 4, 2, full)
    fact = struct.pack("<I", full * len(payloads))
    with tempfile.TemporaryDirectory() as folder:
        ima, plain = os.path.join(folder, "ima.wav"), os.path.join(folder, "plain.wav")
        with open(ima, "wb") as f:
            f.write(b"RIFF" + struct.pack("<I", 4 + 8 + len(fmt) + 8 + 4 + 8 + len(data)) + b"WAVE")
            for name, body in ((b"fmt ", fmt), (b"fact", fact), (b"data", data)):
                f.write(name + struct.pack("<I", len(body)) + body)
        command = ["sox", ima, "-e", "signed", "-b", "16", plain] if program == "sox" else \
            ["sndfile-convert", "-pcm16", ima, plain]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        pcm = chunks(plain)[b"data"]
    out, first = [], 0 if layout == "wav" else 1
    for i, count in enumerate(counts):
        at = 2 * channels * (i * full + first)
        out.append(pcm[at:at + 2 * channels * count])
    return b"".join(out)


def samples_of(path):
    """The data of a WAV file as we write them: 44 bytes of header, nothing behind the data."""
    with open(path, "rb") as f:
        data = f.read()
    riff, size, wave, fmt, length, tag, channels, rate, speed, align, bits, name, data_length = \
        struct.unpack("<4sI4s4sIHHIIHH4sI", data[:44])
    assert (riff, wave, fmt, length, tag, bits, name) == (
        b"RIFF", b"WAVE", b"fmt ", 16, 1, 16, b"data"), f"{path}: header {data[:44]}"
    assert align == 2 * channels and speed == rate * align, f"{path}: {align} {speed}"
    assert size == len(data) - 8 and data_length == len(data) - 44, f"{path}: {size} {data_length}"
    return data[44:]


def strip(paths):
    """Segments of a session joined: the first one's handshake, then the frames of all."""
    out = b""
    for path in paths:
        with open(path, "rb") as f:
            data = f.read()
        assert not out or data[:32] == out[:32], f"{path}: another handshake"
        out += data[32:] if out else data
    return out


def acked(folder, told, logs):
    """What survived in a directory, against what its writer had acknowledged."""
    sessions = {}
    for name in sorted(os.listdir(folder)):
        if name not in ("index.jsonl", ".next", ".seen") and not name.endswith((".eet", ".wav")):
            sys.exit(f"{folder}/{name}: left behind")
        if name.endswith(".eet"):
            samples_of(os.path.join(folder, name[:-3] + "wav"))
            sessions.setdefault(name[name.rindex("_s"):], []).append(os.path.join(folder, name))
    sources, most = {}, {}
    for path in logs:
        head, found = parse(path)
        with open(path, "rb") as f:
            sources[f.read(32)] = (os.path.basename(path), head[6], [load for _, load in found])
    for segments in sessions.values():
        data = strip(segments)
        name, codec, payloads = sources[data[:32]]
        at, count = 32, 0
        while at < len(data):
            meant = frame(codec, count, payloads[count % len(payloads)])
            if data[at:at + len(meant)] != meant:
                sys.exit(f"{segments}: not what was sent, from frame {count} on")
            at += len(meant)
            count += 1
        most[name] = max(most.get(name, 0), count)
    with open(told, encoding="utf-8") as f:
        words = [line.split() for line in f]
    for name, what, *rest in words:
        if what == "acked" and int(rest[0]) > most.get(name, 0):
            sys.exit(f"{folder}: {most.get(name)} frames of {name}, but {rest[0]} were acknowledged")


def spool(folder, logs):
    """What is recorded in a directory, against what was sent."""
    with open(os.path.join(folder, "index.jsonl"), "rb") as f:
        lines = [json.loads(line) for line in f]
    segments, names = {}, {"index.jsonl"}
    for line in lines:
        if line["event"] == "segment":
            segments.setdefault(line["session"], []).append(line)
            names |= {line["eet"], line["wav"]} - {None}
    if set(os.listdir(folder)) - {".next", ".seen"} != names:
        sys.exit(f"{folder}: {set(os.listdir(folder)) ^ names} not in both directory and index")
    wanted = {}
    for path in logs:
        with open(path, "rb") as f:
            wanted.setdefault(f.read(), []).append(path)
    for number, lines in segments.items():
        paths = [os.path.join(folder, line["eet"]) for line in lines]
        if paths != sorted(paths):
            sys.exit(f"{folder}: the names of session {number} do not sort")
        found = wanted.get(strip(paths))
        if not found:
            sys.exit(f"{folder}: session {number} is not what was sent")
        path = found.pop()
        heard = b"".join(samples_of(os.path.join(folder, line["wav"])) for line in lines)
        layouts = {line["layout"] for line in lines}
        if len(layouts) != 1:
            sys.exit(f"{folder}: session {number} has layouts {layouts}")
        layout = layouts.pop()
        by_sox = layout in ("state", "wav") and lines[0]["frame_samples"] < 60000  # u16 in a WAV
        if heard != (decode_by("sox", path, layout) if by_sox else decode(path, layout)):
            sys.exit(f"{folder}: session {number}, layout {layout}: does not sound like {path}")
    left = [path for paths in wanted.values() for path in paths]
    if left:
        sys.exit(f"{folder}: {left} not recorded")


def main(command, *arguments):
    out = sys.stdout.buffer
    if command == "mux":
        mux(out)
    elif command == "frames":
        frames(out)
    elif command == "blocks":
        out.writelines(from_blocks(arguments[0], options(arguments[1:])))
    elif command == "samples":
        out.write(decode(*arguments))
    elif command in ("sox", "sndfile"):
        out.write(decode_by(command, *arguments))
    elif command == "wav":
        out.writelines(map(samples_of, arguments))
    elif command == "strip":
        out.write(strip(arguments))
    elif command == "spool":
        spool(arguments[0], arguments[1:])
    elif command == "acked":
        acked(arguments[0], arguments[1], arguments[2:])
    elif command in ("pcm", "state", "padded", "state-high", "dvi4", "swapped", "bare"):
        out.writelines(from_wav(command, arguments[0], options(arguments[1:])))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
