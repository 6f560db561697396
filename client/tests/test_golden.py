"""The logs in data/logs are what their script makes, and what it says of them is true."""

import hashlib
import os
import shutil
import struct
import subprocess
import sys

import ima_reference
import pytest
from conftest import DATA, riff
from wav_reader import WavReader

LOGS = os.path.join(DATA, "logs")


def table():
    with open(os.path.join(LOGS, "expected.tsv")) as file:
        names, *lines = [line.rstrip("\n").split("\t") for line in file]
    return {fields[0]: dict(zip(names, fields)) for fields in lines}


def log(name):
    """(rate, channels, frame_samples), and the payloads of a frame log with their seq."""
    with open(os.path.join(LOGS, name), "rb") as file:
        content = file.read()
    magic, _, _, _, rate, channels, _, size, _, _ = struct.unpack_from("<IHHIIHHHHQ", content)
    assert magic == 0x41445043
    frames, at = [], 32
    while at < len(content):
        _, length, seq = struct.unpack_from("<III", content, at)
        frames.append((seq, content[at + 12:at + 12 + length]))
        at += 12 + length
    assert at == len(content)
    return (rate, channels, size), frames


def checksum(samples):
    return hashlib.sha256(struct.pack(f"<{len(samples)}h", *samples)).hexdigest()


def test_script_makes_the_same_bytes(tmp_path):
    subprocess.run([sys.executable, os.path.join(DATA, "make-logs.py"), str(tmp_path)], check=True)
    made = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    stored = {}
    for name in os.listdir(LOGS):
        with open(os.path.join(LOGS, name), "rb") as file:
            stored[name] = file.read()
    assert sorted(made) == sorted(stored)
    assert [name for name in made if made[name] != stored[name]] == []
    assert max(map(len, stored.values())) < 30000


def test_every_log_is_described():
    with open(os.path.join(DATA, "README.md")) as file:
        text = file.read()
    assert [name for name in os.listdir(LOGS) if f"`{name}`" not in text] == []


@pytest.mark.parametrize("name", sorted(n for n, row in table().items()
                                        if row["layout"] == "state" and n != "gap.eet"))
def test_sums_of_our_own_layout(name):
    row = table()[name]
    (rate, channels, size), frames = log(name)
    assert [rate, channels, size, len(frames)] == [
        int(row[key]) for key in ("rate", "channels", "frame_samples", "frames")]
    samples = []
    for _, payload in frames:
        decoded, _ = ima_reference.decode(payload, channels, size)
        samples += [s for together in zip(*decoded) for s in together]
    assert len(samples) == int(row["samples"]) * channels
    assert checksum(samples) == row["sha256"]


@pytest.mark.parametrize("name", ["layout-wav505.eet", "layout-wav505-stereo.eet"])
def test_wav_blocks_are_what_sox_takes_them_for(name, tmp_path):
    if not shutil.which("sox"):
        pytest.skip("sox is not installed")
    (rate, channels, size), frames = log(name)
    blocks = [payload for _, payload in frames]
    assert {len(block) for block in blocks} == {256 * channels}
    head = struct.pack("<HHIIHHHH", 0x11, channels, rate, 0, 256 * channels, 4, 2, size)
    (tmp_path / "in.wav").write_bytes(riff(
        b"fmt " + struct.pack("<I", len(head)) + head,
        b"fact" + struct.pack("<II", 4, size * len(blocks)),
        b"data" + struct.pack("<I", sum(map(len, blocks))) + b"".join(blocks)))
    subprocess.run(["sox", "-D", tmp_path / "in.wav", "-e", "signed-integer", "-b", "16",
                    tmp_path / "out.wav"], check=True)
    with open(tmp_path / "out.wav", "rb") as file:
        wav = WavReader(file.fileno())
        content = b"".join(iter(lambda: wav.read(65536), b""))
    assert hashlib.sha256(content).hexdigest() == table()[name]["sha256"]


def test_sequences():
    assert [seq for seq, _ in log("gap.eet")[1]] == [
        seq for seq in range(40) if seq not in (3, 4, 5, 20)]
    assert [seq for seq, _ in log("wrap.eet")[1]] == [
        *range(4294967288, 4294967296), *range(12)]
    assert [seq for seq, _ in log("repeat-restart.eet")[1]] == [
        *range(5000, 5010), 5008, 5009, *range(5010, 5020), *range(20)]


def test_mux_log_has_what_its_description_says():
    with open(os.path.join(LOGS, "three.mux"), "rb") as file:
        content = file.read()
    records, at = [], 0
    while at < len(content):
        magic, length, session, kind, _, time = struct.unpack_from("<IIIHHQ", content, at)
        assert magic == 0x4D544545
        records.append((kind, session, time, content[at + 24:at + 12 + length]))
        at += 12 + length
    assert at == len(content)
    assert [r[2] for r in records] == sorted(r[2] for r in records)
    opened = {r[1]: struct.unpack_from("<I", r[3], 8)[0] for r in records if r[0] == 1}
    assert opened == {1: 7, 2: 9, 3: 7}
    assert [(r[1], r[3]) for r in records if r[0] == 3] == [
        (1, b"\xe8\x03"), (2, b"\xe9\x03idle for 2 s")]
    assert [r[0] for r in records].count(4) == 2
    assert [r[0] for r in records].count(5) == 1
