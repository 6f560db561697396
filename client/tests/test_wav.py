"""WAV files: the honest ones, the odd ones, and those that can't be streamed."""

import os
import struct

import pytest
from conftest import DATA, data, fmt, riff
from wav_reader import WavError, WavReader

GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
PCM = bytes(range(1, 9))


def extensible(tag, channels=1):
    return fmt(channels, tag=0xFFFE,
               extra=struct.pack("<HHI", 22, 16, 0) + struct.pack("<H", tag) + GUID_TAIL)


@pytest.fixture
def read(tmp_path):
    """read(content): the reader of such a file, and all its samples."""
    files = []

    def open_and_read(content):
        path = tmp_path / "test.wav"
        path.write_bytes(content)
        files.append(os.open(path, os.O_RDONLY))
        wav = WavReader(files[-1])
        return wav, b"".join(iter(lambda: wav.read(3), b""))
    yield open_and_read
    for fd in files:
        os.close(fd)


def test_plain(read):
    wav, samples = read(riff(fmt(2, 44100), data(PCM)))
    assert (wav.rate, wav.channels, wav.align, samples, wav.missing) == (44100, 2, 4, PCM, 0)


@pytest.mark.parametrize("content", [
    riff(fmt(), b"LIST\x03\0\0\0abc\0", data(PCM), b"id3 \x04\0\0\0abcd"),  # odd chunk, padded
    riff(extensible(1), data(PCM)),
    riff(fmt(extra=b"\0\0"), data(PCM)),
    riff(fmt(), data(PCM, size=0xFFFFFFFF), size=0xFFFFFFFF),  # streamed by ffmpeg
    riff(fmt(), data(PCM, size=0x7FFFF000), size=0x7FFFF024),  # streamed by sox
    riff(fmt(), data(PCM, size=0x80000000), size=0x80000024),  # streamed by arecord
    riff(fmt(), data(PCM, size=0), size=0),  # header never filled in
    riff(fmt(), data(PCM, size=0), size=36),  # header of an empty file, then killed
    riff(fmt(), data(PCM, size=0), size=0xFFFFFFFF),
    riff(b"ds64" + struct.pack("<IQQQI", 28, 72, 8, 4, 0), fmt(),
         data(PCM, size=0xFFFFFFFF) + b"LIST\x04\0\0\0abcd", size=0xFFFFFFFF, name=b"RF64"),
], ids=["chunks", "extensible", "cbSize", "ffmpeg", "sox", "arecord", "zeros", "killed",
        "size-0", "RF64"])
def test_odd_but_sound(read, content):
    wav, samples = read(content)
    assert (samples, wav.missing) == (PCM, 0)


def test_empty(read):
    assert read(riff(fmt(), data(b"")))[1] == b""
    assert read(riff(fmt(), data(b""), b"LIST\x04\0\0\0abcd"))[1] == b""


def test_cut(read):
    wav, samples = read(riff(fmt(), data(PCM, size=20)))
    assert (samples, wav.missing) == (PCM, 12)


def test_rewind(read, tmp_path):
    wav, _ = read(riff(fmt(), data(PCM), b"LIST\x04\0\0\0abcd"))
    assert wav.rewindable
    wav.rewind()
    assert b"".join(iter(lambda: wav.read(100), b"")) == PCM


def test_pipe():
    source, target = os.pipe()
    content = riff(fmt(), b"LIST\x03\0\0\0abc\0", data(PCM))
    os.write(target, content)
    os.close(target)
    wav = WavReader(source)
    assert not wav.rewindable
    assert b"".join(iter(lambda: wav.read(100), b"")) == PCM
    os.close(source)


@pytest.mark.parametrize("content, says", [
    (b"", "not a WAV file: it is too short"),
    (b"fLaC" + bytes(100), r"not a WAV file: it begins with b'fLaC'"),
    (riff(fmt(bits=24), data(PCM)), "24-bit PCM, not 16-bit PCM; convert it with: sox in.wav"),
    (riff(fmt(bits=8), data(PCM)), "8-bit PCM, not 16-bit"),
    (riff(fmt(bits=32, tag=3), data(PCM)), "32-bit float, not 16-bit"),
    (riff(extensible(3), data(PCM)), "16-bit float, not 16-bit PCM"),
    (riff(fmt(bits=4, tag=0x11), data(PCM)), "4-bit IMA ADPCM, not 16-bit"),
    (riff(fmt(tag=0x1234), data(PCM)), "format 0x1234, not 16-bit"),
    (riff(fmt(channels=0), data(PCM)), "damaged WAV file: 0 channels"),
    (riff(data(PCM), fmt()), "damaged WAV file: no format before the data"),
    (riff(fmt()), "damaged WAV file: it ends before its samples"),
    (riff(fmt())[:-4], "damaged WAV file: it ends within its header"),
    (riff(fmt(), b"LIST\xff\0\0\0abc"), "damaged WAV file: it ends before its samples"),
    (riff(b"fmt \x04\0\0\0abcd"), "damaged WAV file: a header chunk of 4 bytes"),
])
def test_refused(read, content, says):
    with pytest.raises(WavError) as error:
        read(content)
    assert says in str(error.value)


@pytest.mark.parametrize("name, rate, channels, seconds", [
    ("sine_pcm16.wav", 16000, 1, 3), ("stereo_44k1.wav", 44100, 2, 1.5),
    ("speech_8k.wav", 8000, 1, 3.36025), ("noise_48k.wav", 48000, 1, 1)])
def test_files_of_the_project(name, rate, channels, seconds):
    with open(f"{DATA}/{name}", "rb") as file:
        wav = WavReader(file.fileno())
        length = sum(map(len, iter(lambda: wav.read(65536), b"")))
    assert (wav.rate, wav.channels, wav.missing) == (rate, channels, 0)
    assert length == seconds * rate * channels * 2
