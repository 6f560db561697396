#!/usr/bin/env python3
"""Makes the golden logs in logs/ from the WAV files beside this script; README.md says what
each is for.  Same input, same bytes: every time in them is made up.

With an argument, writes into that folder instead.

The blocks of the `layout-*` logs and the sums in expected.tsv come from the small codec below,
which is written out step by step as the IMA reference describes it, and shares nothing with
the client's.
"""

import hashlib
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "client"))

import ima_adpcm  # noqa: E402
from eet_wire import ADPCM, PCM16, pack_frame, pack_handshake  # noqa: E402
from wav_reader import WavReader  # noqa: E402

TIME_MS = 1700000000000

MUX_MAGIC = 0x4D544545
OPEN, FRAME, CLOSE, TICK, ROTATE = range(1, 6)


# --- samples ---


def wav_samples(name):
    """All samples of a WAV file beside this script, interleaved, as a list; and its reader."""
    fd = os.open(os.path.join(HERE, name), os.O_RDONLY)
    try:
        wav = WavReader(fd)
        data = b"".join(iter(lambda: wav.read(65536), b""))
    finally:
        os.close(fd)
    return list(struct.unpack(f"<{len(data) // 2}h", data)), wav


def pack_samples(samples):
    return struct.pack(f"<{len(samples)}h", *samples)


def blocks_of(samples, size):
    return [samples[at:at + size] for at in range(0, len(samples), size)]


# --- an IMA codec by the book ---


class State:
    def __init__(self):
        self.predictor = 0
        self.index = 0

    def decode(self, code):
        """Take one code in; the new predictor is the sample."""
        step = ima_adpcm.STEPS[self.index]
        difference = step >> 3
        if code & 4:
            difference += step
        if code & 2:
            difference += step >> 1
        if code & 1:
            difference += step >> 2
        self.predictor += -difference if code & 8 else difference
        self.predictor = max(-32768, min(32767, self.predictor))
        self.index += (-1, -1, -1, -1, 2, 4, 6, 8)[code & 7]
        self.index = max(0, min(88, self.index))
        return self.predictor

    def encode(self, sample):
        """The code by successive comparison; then take it in as a decoder would."""
        step = ima_adpcm.STEPS[self.index]
        difference = sample - self.predictor
        code = 0
        if difference < 0:
            code, difference = 8, -difference
        for bit in (4, 2, 1):
            if difference >= step:
                code |= bit
                difference -= step
            step >>= 1
        self.decode(code)
        return code


def nibbles(codes, high_first):
    if len(codes) % 2:
        codes = codes + [0]
    if high_first:
        return bytes(a << 4 | b for a, b in zip(codes[::2], codes[1::2]))
    return bytes(a | b << 4 for a, b in zip(codes[::2], codes[1::2]))


def grouped(channels):
    """Codes of several channels: groups of 8, one of each channel in turn, the last padded."""
    length = (len(channels[0]) + 7) // 8 * 8
    padded = [codes + [0] * (length - len(codes)) for codes in channels]
    return b"".join(nibbles(codes[at:at + 8], False)
                    for at in range(0, length, 8) for codes in padded)


HEADERS = {"dvi4": ">hBx"}


def encode_block(layout, states, samples):
    """One block of interleaved samples; states has one State per channel."""
    channels = [samples[c::len(states)] for c in range(len(states))]
    header = b""
    codes = []
    for state, own in zip(states, channels):
        if layout == "wav":
            state.predictor = own[0]
            own = own[1:]
        if layout != "bare":
            header += struct.pack(HEADERS.get(layout, "<hBx"), state.predictor, state.index)
        codes.append([state.encode(sample) for sample in own])
    if layout == "wav" or len(states) > 1:
        return header + grouped(codes)
    return header + nibbles(codes[0], layout != "state")


def decode_block(layout, states, most, block):
    """The samples of a block, interleaved, at most `most` per channel."""
    count = len(states)
    first = []
    if layout != "bare":
        for c, state in enumerate(states):
            state.predictor, state.index = struct.unpack_from(HEADERS.get(layout, "<hBx"), block,
                                                               4 * c)
            state.index = min(state.index, 88)
            if layout == "wav":
                first.append(state.predictor)
        block = block[4 * count:]
    if layout in ("bare", "state-high", "dvi4"):
        codes = [[n for byte in block for n in (byte >> 4, byte & 15)]]
    else:
        codes = [[n for at in range(4 * c, len(block), 4 * count)
                  for byte in block[at:at + 4] for n in (byte & 15, byte >> 4)]
                 for c in range(count)] if count > 1 else \
                [[n for byte in block for n in (byte & 15, byte >> 4)]]
    out = []
    for c, state in enumerate(states):
        wanted = codes[c][:most - len(first[c:c + 1])]
        out.append(first[c:c + 1] + [state.decode(code) for code in wanted])
    return [sample for together in zip(*out) for sample in together]


# --- streams ---


class Stream:
    """A stream in the making: its handshake, its frames, and what a reader makes of them."""

    def __init__(self, stream_id, rate, channels, codec, size, layout="state"):
        self.rate, self.channels, self.codec, self.size = rate, channels, codec, size
        self.layout = layout
        self.log = self.handshake = pack_handshake(stream_id, rate, channels, codec, size, TIME_MS)
        self.messages = []
        self.samples = []
        self._decoder = [State() for _ in range(channels)]

    def add(self, seq, payload, gap=0, heard=True):
        """Append a frame.  gap: frames lost before it.  heard: false for a repeat."""
        message = pack_frame(self.codec, seq, payload)
        self.messages.append(message)
        self.log += message
        if not heard:
            return
        self.samples += [0] * (gap * self.size * self.channels)
        if self.codec == PCM16:
            self.samples += struct.unpack(f"<{len(payload) // 2}h", payload)
        elif payload:
            self.samples += decode_block(self.layout, self._decoder, self.size, payload)


def client_stream(stream_id, samples, rate, channels, codec, size):
    """A stream as the client would send it."""
    stream = Stream(stream_id, rate, channels, codec, size)
    for seq, payload in enumerate(client_payloads(samples, channels, codec, size)):
        stream.add(seq, payload)
    return stream


def client_payloads(samples, channels, codec, size):
    encoder = ima_adpcm.Encoder(channels)
    pack = bytes if codec == PCM16 else encoder.encode
    return [pack(pack_samples(block)) for block in blocks_of(samples, size * channels)]


def layout_stream(stream_id, layout, samples, channels, size, drop_odd=False):
    """A stream whose blocks have that layout, at 8 kHz, without a short last one."""
    stream = Stream(stream_id, 8000, channels, ADPCM, size, layout)
    encoder = [State() for _ in range(channels)]
    for seq, block in enumerate(blocks_of(samples, size * channels)):
        if len(block) < size * channels:
            break
        payload = encode_block(layout, encoder, block)
        stream.add(seq, payload[:4 + size // 2] if drop_odd else payload)
    return stream


# --- mux logs ---


class Mux:
    """A mux log in the making, with a clock that moves by hand."""

    def __init__(self):
        self.log = b""
        self.time_us = TIME_MS * 1000
        self.offsets = []

    def add(self, kind, session=0, body=b""):
        self.offsets.append(len(self.log))
        self.log += struct.pack("<IIIHHQ", MUX_MAGIC, 12 + len(body), session, kind, 0,
                                self.time_us) + body

    def open(self, session, stream, **keys):
        lines = "".join(f"{key}={value}\n" for key, value in keys.items())
        self.add(OPEN, session, stream.handshake + lines.encode())

    def close(self, session, code, reason=""):
        self.add(CLOSE, session, struct.pack("<H", code) + reason.encode())

    def wait(self, milliseconds):
        self.time_us += milliseconds * 1000


def main_mux(kitchen, hall, again):
    """Three sessions that overlap; the first and the last have the same stream_id."""
    mux = Mux()
    mux.open(1, kitchen, peer="127.0.0.1:40001", tag="kitchen")
    for k, message in enumerate(kitchen.messages):
        mux.add(FRAME, 1, message)
        if k == 4:
            mux.open(2, hall, peer="[::1]:40002", tag="hall")
        if 4 <= k < 4 + len(hall.messages):
            mux.add(FRAME, 2, hall.messages[k - 4])
        if k == 9:
            mux.open(3, again, peer="127.0.0.1:40003")
        if 9 <= k < 9 + len(again.messages):
            mux.add(FRAME, 3, again.messages[k - 9])
        mux.wait(20)
    mux.close(1, 1000)
    mux.wait(1000)
    mux.add(TICK)
    mux.wait(1000)
    mux.add(TICK)
    mux.add(ROTATE)
    mux.wait(300)
    mux.close(2, 1001, "idle for 2 s")
    return mux


# --- the folder ---


def make():
    """Everything in the folder: name -> bytes."""
    speech, _ = wav_samples("speech_8k.wav")
    sine, sine_wav = wav_samples("sine_pcm16.wav")
    stereo, stereo_wav = wav_samples("stereo_44k1.wav")
    silence = [0] * 8000
    talk = speech[2000:]

    streams = {}
    streams["sine_adpcm.eet"] = client_stream(1, sine[:16000], sine_wav.rate, 1, ADPCM, 320)
    # The last frame is short: 5.5 frames, 15.4 frames.
    streams["stereo_pcm.eet"] = client_stream(2, stereo[20000:20000 + 2 * 4851], stereo_wav.rate,
                                              2, PCM16, 882)
    streams["stereo_adpcm.eet"] = client_stream(3, stereo[20000:20000 + 2 * 13583],
                                                stereo_wav.rate, 2, ADPCM, 882)

    payloads = client_payloads(talk[:6400], 1, ADPCM, 160)
    gap = streams["gap.eet"] = Stream(4, 8000, 1, ADPCM, 160)
    for seq, payload in enumerate(payloads):
        if seq not in (3, 4, 5, 20):
            gap.add(seq, payload, gap={6: 3, 21: 1}.get(seq, 0))

    payloads = client_payloads(talk[:6400], 1, PCM16, 160)
    restart = streams["repeat-restart.eet"] = Stream(5, 8000, 1, PCM16, 160)
    for k, payload in enumerate(payloads[:20]):
        restart.add(5000 + k, payload)
        if k == 9:  # frames 5008 and 5009 once more
            restart.add(5008, payloads[8], heard=False)
            restart.add(5009, payloads[9], heard=False)
    for k, payload in enumerate(payloads[20:]):  # the sender begins again at 0
        restart.add(k, payload)

    payloads = client_payloads(talk[:3200], 1, ADPCM, 160)
    wrap = streams["wrap.eet"] = Stream(6, 8000, 1, ADPCM, 160)
    for k, payload in enumerate(payloads):
        wrap.add(0xFFFFFFF8 + k, payload)

    payloads = client_payloads(talk[:800], 1, PCM16, 160)
    empty = streams["empty-frames.eet"] = Stream(7, 8000, 1, PCM16, 160)
    empty.add(0, b"")
    for k, payload in enumerate(payloads):
        empty.add(1 + 2 * k, payload)
        empty.add(2 + 2 * k, b"")

    six = [sample for k in range(2400) for sample in talk[k:k + 6 * 400:400]]
    for name, layout, samples, channels, size in (
            ("state", "state", silence + talk[:8000], 1, 160),
            ("state-odd", "state", talk[:8000], 1, 441),
            ("state-stereo", "state", stereo[20000:36000], 2, 167),
            ("state-six", "state", six, 6, 160),
            ("state-high", "state-high", silence + talk[:8000], 1, 160),
            ("wav505", "wav", talk, 1, 505),
            ("wav505-stereo", "wav", stereo[20000:52000], 2, 505),
            ("wav480", "wav", silence + talk[:16000], 1, 480),
            ("bare", "bare", silence + talk[:8000], 1, 160)):
        streams[f"layout-{name}.eet"] = layout_stream(10 + len(streams), layout, samples,
                                                      channels, size)
    streams["layout-state-high-odd.eet"] = layout_stream(30, "state-high", talk[:8000], 1, 441,
                                                         drop_odd=True)

    streams["layout-dvi4.eet"] = layout_stream(31, "dvi4", silence + talk[:8000], 1, 160)

    files = {name: stream.log for name, stream in streams.items()}
    files["expected.tsv"] = expected(streams).encode()

    sine_log = files["sine_adpcm.eet"]
    frame = 12 + 4 + 160
    files["cut.eet"] = sine_log[:32 + 10 * frame + 50]
    at = 32 + 7 * frame
    files["badlen.eet"] = (sine_log[:at + 4] + struct.pack("<I", 1000000)
                           + sine_log[at + 8:32 + 20 * frame])
    files["badmagic.eet"] = sine_log[:at] + b"XXXX" + sine_log[at + 4:32 + 20 * frame]
    # The fifth frame's header has step index 200.
    at = 32 + 4 * frame + 12 + 2
    files["badindex.eet"] = sine_log[:at] + b"\xc8" + sine_log[at + 1:32 + 20 * frame]

    kitchen = client_stream(7, talk[:4000], 8000, 1, ADPCM, 160)
    hall = client_stream(9, stereo[20000:20000 + 2 * 1764], 44100, 2, PCM16, 441)
    again = client_stream(7, talk[4000:7200], 8000, 1, ADPCM, 160)
    three = main_mux(kitchen, hall, again)
    files["three.mux"] = three.log
    files["cut.mux"] = three.log[:three.offsets[20] + 70]
    at = three.offsets[15]
    files["garbage.mux"] = three.log[:at] + bytes(range(100, 200)) + three.log[at:]

    notopen = Mux()
    notopen.open(1, kitchen)
    for message in kitchen.messages[:5]:
        notopen.add(FRAME, 1, message)
        notopen.wait(20)
    notopen.add(FRAME, 2, again.messages[0])
    for message in kitchen.messages[5:10]:
        notopen.add(FRAME, 1, message)
        notopen.wait(20)
    notopen.close(1, 1000)
    files["notopen.mux"] = notopen.log

    badtag = Mux()
    badtag.open(1, kitchen, tag="../etc")
    for message in kitchen.messages[:10]:
        badtag.add(FRAME, 1, message)
        badtag.wait(20)
    badtag.close(1, 1000)
    files["badtag.mux"] = badtag.log
    return files


def expected(streams):
    """A line per sound frame log: what a reader finds, and the SHA-256 of its samples (s16le)."""
    lines = ["log\tcodec\tlayout\trate\tchannels\tframe_samples\tframes\tsamples\tsha256\n"]
    for name, s in sorted(streams.items()):
        lines.append("\t".join(str(field) for field in (
            name, "adpcm" if s.codec == ADPCM else "pcm", s.layout if s.codec == ADPCM else "-",
            s.rate, s.channels, s.size, len(s.messages), len(s.samples) // s.channels,
            hashlib.sha256(pack_samples(s.samples)).hexdigest())) + "\n")
    return "".join(lines)


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "logs")
    os.makedirs(folder, exist_ok=True)
    for name, content in make().items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content)


if __name__ == "__main__":
    main()
