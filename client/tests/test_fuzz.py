"""Whatever bytes come: logs and WAV files with bytes changed, lost and doubled, the same each time."""

import os
import random
import struct
import subprocess

import eet_wire
import log_reader
import pytest
from conftest import DATA, data, fmt, riff
from test_log import parse, told
from wav_reader import WavError, WavReader

LOGS = os.path.join(DATA, "logs")
NAMES = sorted(name for name in os.listdir(LOGS) if not name.endswith(".tsv"))
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 63)


def changed(rng, content):
    """A copy in which a few things are different."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randint(0, len(content))
        end = min(len(content), at + rng.choice((1, 2, 4, 12, 300)))
        content[at:end] = rng.choice((
            b"", rng.randbytes(end - at), 2 * content[at:end], content[:end - at],
            rng.choice(EDGES).to_bytes(8, "little")[:end - at]))
    return bytes(content)


def logs(count):
    """Some of each golden log's beginning, each with its own seed."""
    for name in NAMES:
        with open(os.path.join(LOGS, name), "rb") as file:
            content = file.read(3000)
        for seed in range(count):
            rng = random.Random(f"{name} {seed}")
            yield rng, changed(rng, content)


def test_log_parser_keeps_the_rules():
    for rng, log in logs(30):
        records = parse(log)
        assert told(records) == told(parse(log, rng.choice((1, 7, 100, 1000))))
        offset = -1
        for record in records:
            assert offset < record.offset <= len(log)
            offset = record.offset
            if record.kind == log_reader.FRAME:
                magic, length, _ = struct.unpack_from("<III", record.message)
                record.format.check(magic, length)
                assert len(record.message) == eet_wire.FRAME_HEADER_SIZE + length
                assert 0 <= record.format.samples(length) <= record.format.frame_samples
            elif record.kind is None:
                assert record.text


@pytest.mark.skipif("EET_BIN" not in os.environ, reason="the programs are not built")
def test_log_parser_reads_what_the_programs_read():
    def frames(log):
        return [(record.session, record.message) for record in parse(log)
                if record.kind == log_reader.FRAME]

    for _, log in logs(4):
        passed = subprocess.run([os.path.join(os.environ["EET_BIN"], "eet-demux"), "-q"], input=log,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        assert passed.returncode in (0, 2, 3)
        if passed.returncode != 2:
            assert frames(passed.stdout) == frames(log), passed.stderr


def read_wav(fd, most):
    """All that there is to know of it: the complaint, or format, samples and what is missing."""
    try:
        wav = WavReader(fd)
    except WavError as error:
        return str(error)
    samples = b"".join(iter(lambda: wav.read(most), b""))
    return wav.rate, wav.channels, wav.align, samples, wav.missing


def test_wav_reader(tmp_path):
    rng = random.Random("wav")
    path = tmp_path / "a.wav"
    sound = rng.randbytes(200)
    for number in range(600):
        content = changed(rng, rng.choice((
            riff(fmt(2, 44100), data(sound)),
            riff(fmt(), b"LIST\x03\0\0\0abc\0", data(sound), b"id3 \x04\0\0\0abcd"),
            riff(fmt(), data(sound, size=0xFFFFFFFF), size=0xFFFFFFFF),
            riff(b"ds64" + struct.pack("<IQQQI", 28, 72, 8, 4, 0), fmt(),
                 data(sound, size=0xFFFFFFFF), size=0xFFFFFFFF, name=b"RF64"))))
        path.write_bytes(content)
        with open(path, "rb") as file:
            whole = read_wav(file.fileno(), 1 << 16)
        with open(path, "rb") as file:
            assert read_wav(file.fileno(), rng.randint(1, 50)) == whole, number
        ends = os.pipe()
        try:
            os.write(ends[1], content)
            os.close(ends[1])
            assert read_wav(ends[0], 100) == whole, number
        finally:
            os.close(ends[0])
        if not isinstance(whole, str):
            rate, channels, align, samples, missing = whole
            assert channels > 0 and align == 2 * channels and rate >= 0 and missing >= 0
            assert samples in content
