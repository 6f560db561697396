#!/usr/bin/python3
"""Makes the seeds in corpus, from the WAV files and logs in data/ and with the encoders that senders
use: ffmpeg, sox, libsndfile (sndfile-convert), and audioop, which Python lost with 3.13.  What else
is in a folder of corpus, under names that are hashes, fuzzers have found.

corpus/adpcm: channels - 1 (a byte), frame_samples (u16), then blocks: a length (u16), its bytes.
The unit tests decide their layouts, too.  corpus/stream: a byte of options, a frame log.
corpus/log: a byte of options, a byte that divides, the beginning of a log of either kind.
corpus/name: a name.  The others: as their target's head says.
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
            ("sox", ["sox", "-D", wav, "-e", "ima-adpcm", out]),
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
    lines = (
        line % ("segment", f'"{names[0]}.eet"', 3, "")
        + line % ("session", "null", 3, ',"close_code":1000,"close_reason":"a\\"b"')
        + '\n{}\n{"event":"segment","eet":"x","session":99999999999}\n'
        + line % ("exec", f'"{names[0]}.eet"', 3, ',"state":"done"')).encode()
    save("index", "lines", b"\0" + lines)
    save("index", "many", b"\xff" + lines)

    three, pcm = log("three.mux"), log("stereo_pcm.eet")
    for name, content in (("open", three[:1800]), ("torn", three[:1791]), ("twice", 2 * three[:900]),
                          ("frames", pcm[:800]), ("garbage", three[:1800] + b"?" * 20),
                          ("rest", three[:209] + b"?" * 10), ("empty", b""),
                          ("length", three[:93] + struct.pack("<I", 1 << 30) + three[97:900]),
                          ("earlier", three[:105] + bytes(8) + three[113:1000])):
        save("capture", name, content)

    text = "aé€😀\u0800\ud7ff\ue000\U00010000\U0010ffff".encode()
    save("utf8", "text", b"\1" + text)
    save("utf8", "bad", b"\0" + text + b"\xed\xa0\x80\xc0\x80\xf4\x90\x80\x80\xf0\x8f\xbf\xbf")
    save("utf8", "tag", b"\3Kitchen_1.a:b-c" + b"x" * 49)

    with tempfile.TemporaryDirectory() as folder:
        sounds(folder)
    talk(log)
    folders()


def sounds(folder):
    """Audio files of a few kinds, short: corpus/wav."""
    wav = os.path.join(folder, "in.wav")
    with wave.open(wav, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(samples("speech_8k.wav", 3000, 400))
    with open(wav, "rb") as file:
        pcm = file.read()
    save("wav", "pcm.wav", b"\0" + pcm)
    save("wav", "pipe.wav", b"\1" + pcm[:4] + b"\xff" * 4 + pcm[8:40] + b"\xff" * 4 + pcm[44:])
    save("wav", "short.wav", b"\0" + pcm[:500])
    save("wav", "write", b"\6" + pcm[44:500])
    for kind, options in (("ima.wav", ["-ima-adpcm"]), ("float.wav", ["-float32"]),
                          ("24.aiff", ["-pcm24"]), ("ulaw.au", ["-ulaw"]), ("flac.flac", []),
                          ("gsm.wav", ["-gsm610"]), ("alaw.w64", ["-alaw"])):
        out = os.path.join(folder, kind)
        subprocess.run(["sndfile-convert", *options, wav, out], check=True,
                       stdout=subprocess.DEVNULL)
        with open(out, "rb") as file:
            content = file.read()[:4000]
        peak = content.find(b"PEAK")  # a chunk with the time of its making
        if peak != -1:
            content = content[:peak + 12] + bytes(4) + content[peak + 16:]
        save("wav", kind, b"\0" + content)
    # libsndfile gives each stream another number.
    out = os.path.join(folder, "vorbis.ogg")
    subprocess.run(["sox", "-R", "-D", wav, out], check=True)
    with open(out, "rb") as file:
        save("wav", "vorbis.ogg", b"\0" + file.read()[:4000])


def message(payload, how=0, length=None):
    """One message, or a piece of one, of corpus/audio and corpus/echo."""
    return struct.pack("<BH", how, len(payload) if length is None else length) + payload


def talk(log):
    """What clients send: corpus/audio, corpus/echo, corpus/http."""
    for name in ("sine_adpcm", "stereo_pcm", "wrap"):
        content, at, messages = log(name + ".eet"), 32, b""
        while len(messages) < 1200:
            end = at + 12 + struct.unpack_from("<I", content, at + 4)[0]
            messages += message(content[at:end], len(messages) % 3 * 0x20)
            at = end
        save("audio", name, message(content[:32], 0x40) + messages)
        save("audio", name + "-twice", 2 * message(content[:32]) + messages[:400])
        save("audio", name + "-long", message(content[:32])
             + message(content[32:44] + bytes(2600), 0xc0))
    save("audio", "text", message(b"hello", 31))
    save("echo", "binary", message(b"abc", 1) + message(b"", 1) + message(b"x" * 700, 0x85))
    save("echo", "text", message("schöner Grund".encode()[:4], 2) + message("ö€😀".encode(), 0x36)
         + message(b"", 3) + message(b"\xf0\x9f", 2) + message(b"\x98\x80", 7))
    save("echo", "bad", message(b"\xed\xa0\x80", 3))

    # Numbers of headers in libwebsockets 4.1.
    host, connection, upgrade, key, version, protocol = 3, 4, 5, 32, 33, 12
    length, kind, coding, expect = 27, 28, 68, 51

    def request(name, method, path, *fields):
        save("http", name, bytes([method]) + path + b"\n"
             + b"".join(bytes([number]) + value + b"\n" for number, value in fields))

    whole = ((host, b"localhost"), (connection, b"keep-alive, Upgrade"), (upgrade, b"websocket"),
             (key, b"dGhlIHNhbXBsZSBub25jZQ=="), (version, b"13"))
    for path in (b"/ws", b"/ws/kitchen", b"/ws/echo", b"/ws/", b"/nothing"):
        request("upgrade" + path.decode().replace("/", "-"), 0, path, *whole)
    request("upgrade-old", 0, b"/ws", *whole[:4], (version, b"8"))
    request("upgrade-protocol", 0, b"/ws", *whole, (protocol, b"chat"))
    request("upgrade-h2c", 0, b"/healthz", (upgrade, b"h2c"), (connection, b"Upgrade"))
    request("upgrade-post", 2, b"/ws", *whole)
    request("healthz", 1, b"/healthz")
    request("ill", 16, b"/healthz")
    request("ws", 0, b"/ws/kitchen")
    request("echo", 2, b"/echo", (length, b"17"), (kind, b"text/plain"), (expect, b"100-continue"))
    request("echo-chunked", 2, b"/echo", (coding, b"chunked"), (kind, b"a\rb"))
    request("echo-length", 2, b"/echo", (length, b"-1"))
    request("echo-get", 0, b"/echo")


def folders():
    """Directories: corpus/salvage."""
    regular, link_out, link_in, fifo, folder, full, out2, in2, others, socket, index, strange = \
        range(12)

    def entry(what, choice=0, how=0, text=b""):
        return bytes([what, choice, how, len(text)]) + text

    whole, torn, part, wav_part, eet, wav = 1 << 6, 2 << 2, 0, 1, 2, 3
    save("salvage", "parts", b"\0" + entry(regular, 0, whole | part)
         + entry(regular, 1, torn | part) + entry(regular, 3, part, b"nothing")
         + entry(regular, 0, wav_part, b"x"))
    save("salvage", "strangers", b"\2" + entry(link_out, 0, part) + entry(fifo, 2, part)
         + entry(folder, 4, eet) + entry(full, 6, wav_part) + entry(out2, 1, part)
         + entry(others, 3, torn | part) + entry(socket, 5, wav) + entry(link_in, 0x37, eet)
         + entry(strange, 0, torn, b"x" * 240 + b".eet.part"))
    # Those that were wrong once.
    save("salvage", "one-name", b"\0" + entry(regular, 0, whole | eet) + entry(regular, 0, torn | part)
         + entry(regular, 2, whole | part))
    save("salvage", "no-place", b"\0" + entry(regular, 0, whole | part) + entry(link_out, 0, wav_part)
         + entry(regular, 1, whole | eet) + entry(folder, 1, wav_part))
    save("salvage", "keep", b"\6" + entry(folder, 0, eet) + entry(link_out, 2, eet)
         + entry(regular, 4, whole | part) + entry(folder, 4, wav))
    save("salvage", "renamed", b"\0" + entry(regular, 0, whole | part) + entry(in2, 0, eet)
         + entry(regular, 1, wav_part, b"x") + entry(in2, 0x11, 4 | wav))
    name = "stream_7_20260131T101500.%03dZ_s1"
    lines = "".join('{"event":"%s","eet":"%s.eet","wav":null,"session":%d%s}\n' % what for what in (
        ("segment", name % 0, 1, ""), ("exec", name % 1, 2, ',"state":"pending"'),
        ("session", "", 4294967295, ""))) + '{"event":"segm'
    save("salvage", "index", b"\6" + entry(regular, 0, torn | eet) + entry(regular, 2, torn | eet)
         + entry(folder, 4, eet) + struct.pack("<BBBB", index, 0, 0x80, len(lines) // 16 + 1)
         + lines.encode().ljust((len(lines) // 16 + 1) * 16))
    save("seen", "lines", b"3 1800000000\n2 1790000000\n4294967296 253402300799\n")
    save("seen", "damaged", b"3 1800000000\n\0\0\0\0\n 4 1800000000\n04 1800000000\n5 18000")


main()
