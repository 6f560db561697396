#!/usr/bin/python3
"""Makes the seeds in corpus/wire, corpus/adpcm, corpus/stream, corpus/log and corpus/name, from the
WAV files and logs in data/ and with the encoders that senders use: ffmpeg, sox, libsndfile (sndfile-convert), and
audioop, which Python lost with 3.13.

corpus/adpcm: channels - 1 (a byte), frame_samples (u16), then blocks: a length (u16), its bytes.
The unit tests decide their layouts, too.  corpus/stream: a byte of options, a frame log.
corpus/log: a byte of options, a byte that divides, the beginning of a log of either kind.
corpus/name: a name, or lines of an index.
"""

import array
import audioop
import os
import struct
import subprocess
import tempfile
import wave

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, os.pardir, os.pardir, "data")


def samples(name, first, count):
    """count sample frames of a WAV file in data/, from first on, as s16le."""
    with wave.open(os.path.join(DATA, name)) as file:
        file.setpos(first)
        return file.readframes(count)


def save(kind, name, content):
    folder = os.path.join(HERE, "corpus", kind)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as file:
        file.write(content)


def save_blocks(name, channels, frame_samples, blocks):
    save("adpcm", name, struct.pack("<BH", channels - 1, frame_samples)
         + b"".join(struct.pack("<H", len(block)) + block for block in blocks))


def blocks_of_wav(path):
    """The blocks of an IMA ADPCM WAV file, and how many samples a full one has."""
    with open(path, "rb") as file:
        riff = file.read()
    at = 12
    while riff[at:at + 4] != b"data":
        length = struct.unpack_from("<I", riff, at + 4)[0]
        if riff[at:at + 4] == b"fmt ":
            align, per_block = (struct.unpack_from("<H", riff, at + 8 + k)[0] for k in (12, 18))
        at += 8 + length + length % 2
    length = struct.unpack_from("<I", riff, at + 4)[0]
    data = riff[at + 8:at + 8 + length]
    return [data[k:k + align] for k in range(0, len(data), align)], per_block


def encoders(folder, name, channels, pcm):
    """The same samples as each encoder of WAV files writes them, in blocks of 505 samples."""
    wav, out = os.path.join(folder, "in.wav"), os.path.join(folder, "out.wav")
    with wave.open(wav, "wb") as file:
        file.setparams((channels, 2, 8000, 0, "NONE", ""))
        file.writeframes(pcm)
    for encoder, command in (
            ("ffmpeg", ["ffmpeg", "-v", "error", "-y", "-i", wav, "-c:a", "adpcm_ima_wav",
                        "-block_size", str(256 * channels), out]),
            ("sox", ["sox", wav, "-e", "ima-adpcm", out]),
            ("sndfile", ["sndfile-convert", "-ima-adpcm", wav, out])):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        blocks, per_block = blocks_of_wav(out)
        assert per_block == 505
        save_blocks(encoder + name, channels, per_block, blocks)


def audioop_blocks(pcm, size, header):
    state = (0, 0)
    for at in range(0, len(pcm), 2 * size):
        before = struct.pack("<hBx", *state) if header else b""
        codes, state = audioop.lin2adpcm(pcm[at:at + 2 * size], 2, state)
        yield before + codes


def main():
    mono = samples("speech_8k.wav", 3000, 20 * 505)
    stereo = array.array("h", samples("stereo_44k1.wav", 10000, 20 * 505))
    with tempfile.TemporaryDirectory() as folder:
        encoders(folder, "", 1, mono)
        encoders(folder, "-stereo", 2, stereo.tobytes())
    save_blocks("audioop", 1, 160, audioop_blocks(mono[:320 * 40], 160, True))
    save_blocks("audioop-odd", 1, 441, audioop_blocks(mono[:882 * 15], 441, True))
    save_blocks("audioop-bare", 1, 160, audioop_blocks(mono[:320 * 40], 160, False))

    def log(name):
        with open(os.path.join(DATA, "logs", name), "rb") as file:
            return file.read()

    for name in ("sine_adpcm", "stereo_adpcm", "stereo_pcm", "layout-state-six"):
        content = log(name + ".eet")
        length = struct.unpack_from("<I", content, 36)[0]
        save("wire", name, content[:32 + 12 + length])
    for name, options in (("gap", 4), ("repeat-restart", 4), ("wrap", 0), ("layout-bare", 7),
                          ("layout-state-six", 4), ("empty-frames", 4)):
        save("stream", name, bytes([options]) + log(name + ".eet")[:4000])
    save("stream", "joined", b"\4" + log("wrap.eet") + log("wrap.eet") + log("gap.eet"))

    for path in sorted(os.listdir(os.path.join(DATA, "logs"))):
        if not path.endswith(".tsv"):
            save("log", path, bytes([len(path) % 2, 7]) + log(path)[:2500])
    save("log", "takes.eet", b"\1\x20" + log("wrap.eet")[:1000] + log("stereo_pcm.eet")[:32]
         + log("gap.eet")[:500])
    save("log", "headless", b"\2\x03" + log("gap.eet")[32:1500])
    save("log", "headless-codec", b"\x0e\x03" + log("gap.eet")[32:1500])
    save("log", "joined.mux", b"\1\x40" + log("three.mux")[:1200] + log("three.mux")[:1200])

    names = ("stream_7_kitchen_20260131T101500.250Z_s3", "stream_0_19700101T000000.000Z_s0",
             "stream_4294967295_a_s1_99991231T235959.999Z_s4294967295")
    for i, name in enumerate(names):
        save("name", f"name{i}", name.encode())
    line = ('{"event":"%s","eet":%s,"wav":null,"session":%d,"stream_id":7,"tag":null,'
            '"peer":"1.2.3.4:5"%s}\n')
    save("name", "lines", (
        line % ("segment", f'"{names[0]}.eet"', 3, "")
        + line % ("session", "null", 3, ',"close_code":1000,"close_reason":"a\\"b"')
        + '\n{}\n{"event":"segment","eet":"x","session":99999999999}\n'
        + line % ("exec", f'"{names[0]}.eet"', 3, ',"state":"done"')).encode())


main()
