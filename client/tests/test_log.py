"""Logs: what is read from them, and that they are replayed byte for byte, at their pace."""

import asyncio
import contextlib
import os
import struct
import subprocess

import log_reader
import pytest
import stream_client
from conftest import DATA, WebSocketServer

LOGS = os.path.join(DATA, "logs")
EPOCH = 1700000000000000


def golden(name):
    with open(os.path.join(LOGS, name), "rb") as file:
        return file.read()


def handshake(stream_id=1, rate=8000, channels=1, codec=0, n=160, reserved=0, timestamp=0):
    return struct.pack("<IHHIIHHHHQ", 0x41445043, 1, 32, stream_id, rate, channels, codec, n,
                       reserved, timestamp)


def frame(seq, payload=bytes(320), magic=0x464D4350):
    return struct.pack("<III", magic, len(payload), seq) + payload


def record(kind, session, ms, body=b""):
    return struct.pack("<IIIHHQ", 0x4D544545, len(body) + 12, session, kind, 0,
                       EPOCH + ms * 1000) + body


def parse(data, step=None):
    """All records of the log, fed in pieces of so many bytes; and the damage at its end."""
    parser, records = log_reader.LogParser(), []
    step = step or len(data) or 1
    for at in range(0, len(data), step):
        parser.push(data[at:at + step])
        records += parser.records()
    parser.finish()
    return records + list(parser.records())


def told(records):
    return [(r.kind, r.session, r.time_us, r.message, r.offset, r.text) for r in records]


def test_a_damaged_time_costs_nothing_but_itself():
    late = struct.pack("<IIIHHQ", 0x4D544545, 12 + 32, 1, 2, 0, 1 << 60) + frame(1, bytes(20))
    records = parse(record(1, 1, 0, handshake()) + record(2, 1, 1, frame(0)) + late
                    + record(2, 1, 2, frame(2)))
    assert [r.kind for r in records] == [log_reader.OPEN] + 3 * [log_reader.FRAME]
    assert [r.time_us - EPOCH for r in records] == [0, 1000, 1000, 2000]
    sound = b"".join(record(2, 1, 20 * i, frame(i)) for i in range(6))
    sound = record(1, 1, 0, handshake()) + sound
    for at in range(len(sound)):
        if sound[at:at + 4] != struct.pack("<I", 0x4D544545) or at + 56 > len(sound):
            continue
        for bit in range(64):
            damaged = bytearray(sound)
            damaged[at + 16 + bit // 8] ^= 1 << bit % 8
            records = parse(bytes(damaged))
            assert [r.kind for r in records] == [log_reader.OPEN] + 6 * [log_reader.FRAME]
            for r in records[1 if at == 0 else 0:]:
                assert abs(r.time_us - EPOCH) < 11000000


def test_a_doubtful_time_waits_for_the_next_record_in_pieces_too():
    """What is believed of a time does not depend on how the log comes in."""
    sound = record(1, 1, 0, handshake()) + b"".join(record(2, 1, i, frame(i)) for i in range(3))
    for at in (16, 56 + 16, 56 + 356 + 16, len(sound) - 340):
        data = bytearray(sound)
        data[at:at + 8] = bytes([255] * 8)
        assert told(parse(bytes(data), 1)) == told(parse(bytes(data)))
    parser = log_reader.LogParser()
    parser.push(sound[:56 + 23])
    assert list(parser.records()) == []
    parser.push(sound[56 + 23:56 + 24])
    assert [r.kind for r in parser.records()] == [log_reader.OPEN]


def test_a_clock_may_move():
    records = parse(record(1, 1, 0, handshake()) + record(2, 1, 1, frame(0))
                    + record(4, 0, 90000000) + record(2, 1, 90000000, frame(1))
                    + record(4, 0, -5000000) + record(2, 1, -5000000, frame(2))
                    + record(3, 1, -4999000, struct.pack("<H", 1000)))
    assert [r.kind for r in records] == [1, 2, 2, 2, 3]
    assert [(r.time_us - EPOCH) // 1000 for r in records] == [0, 1, 90000000, -5000000, -4999000]


@pytest.fixture
def log(tmp_path):
    """log(bytes): a file of these."""
    def make(data):
        path = tmp_path / "a.log"
        path.write_bytes(data)
        return path
    return make


# --- reading ---


@pytest.mark.parametrize("name", ["gap.eet", "stereo_adpcm.eet", "three.mux", "garbage.mux",
                                  "cut.mux", "badlen.eet", "notopen.mux"])
def test_pieces_do_not_matter(name):
    data = golden(name)
    whole = told(parse(data))
    assert told(parse(data, 1)) == whole
    assert told(parse(data, 1000)) == whole


@pytest.mark.parametrize("name", ["sine_adpcm.eet", "stereo_pcm.eet", "repeat-restart.eet",
                                  "layout-bare.eet", "layout-wav505-stereo.eet", "wrap.eet"])
def test_a_frame_log_is_its_messages(name):
    records = parse(golden(name))
    assert [r.kind for r in records] == [1] + [2] * (len(records) - 1)
    assert b"".join(r.message for r in records) == golden(name)


@pytest.mark.parametrize("name", ["sine_adpcm.eet", "three.mux"])
def test_cut_anywhere_only_what_is_whole_comes(name):
    data = golden(name)[:3000]
    whole = [r for r in parse(data) if r.kind is not None]
    for end in range(len(data)):
        records = parse(data[:end])
        sound = [r for r in records if r.kind is not None]
        assert told(sound) == told(whole[:len(sound)])
        assert len(records) - len(sound) <= 1
        for torn in records[len(sound):]:
            assert torn.text == f"the log ends {end - torn.offset} bytes into a record"


@pytest.mark.parametrize("data, offset, text", [
    (b"RIFF12345678", 0, "magic 0x46464952, expected a handshake's or a log's"),
    (frame(0), 0, "magic 0x464D4350, expected a handshake's or a log's"),
    (handshake(rate=0), 0, "handshake sample_rate 0, must be 1 to 768000"),
    (handshake() + frame(0, bytes(322)), 32, "frame length 322, at most 320"),
    (handshake() + frame(0, bytes(3)), 32, "frame length 3, must be a multiple of 2"),
    (handshake() + frame(0, b"", 0x41445046), 32,
     "magic 0x41445046, expected a frame's or a handshake's"),
    (record(1, 1, 0, handshake()) + b"x" * 24, 56,
     "magic 0x78787878, expected a record's 0x4D544545"),
    (record(1, 1, 0, handshake()) + struct.pack("<III", 0x4D544545, 11, 1), 56,
     "record length 11, must be 12 to 16777240"),
    (record(1, 1, 0, b"short"), 0, "OPEN of session 1: 5 bytes"),
    (record(1, 0, 0, handshake()), 0, "OPEN of session 0"),
    (record(2, 1, 0, frame(0)), 0, "session 1 is not open"),
    (record(1, 1, 0, handshake()) + record(2, 1, 0, frame(0) + b"x"), 56,
     "frame length 320 in a message of 333 bytes"),
    (record(1, 2, 5, handshake()) + record(1, 1, 4, handshake()) + record(2, 2, 4, frame(0)),
     112, "session 2 is not open"),  # two logs, joined
])
def test_damage_has_its_offset(data, offset, text):
    damage = parse(data)[-1]
    assert (damage.kind, damage.offset, damage.text) == (None, offset, text)


def test_frames_of_a_damaged_handshake_are_skipped_with_it():
    """They are given neither to the take before nor reading ends: the next handshake is a take."""
    first, last = handshake(1) + frame(0), handshake(3, n=80) + frame(7, bytes(160))
    data = (first + handshake(2, rate=0) + frame(1, bytes(7)) + frame(2, b"", 0x41445046) + last)
    for size in (1, len(data)):
        records = parse(data, size)
        assert [(r.kind, r.session) for r in records] == [(1, 1), (2, 1), (None, 0), (1, 3), (2, 3)]
        assert records[2].offset == len(first)
        assert b"".join(r.message for r in records) == first + last
    # What is no frame of any format ends the reading there.
    for end in (b"XXXXXXXXXXXX", struct.pack("<III", 0x464D4350, 1 << 24, 1)):
        records = parse(first + handshake(2, channels=0) + frame(1) + end + last)
        assert [r.offset for r in records if r.kind is None] == [364, 728]
        assert records[-1].kind is None


def test_samples_in_a_frame():
    def samples(length, **options):
        return log_reader.Format(handshake(**options)).samples(length)
    assert [samples(n) for n in (0, 2, 320)] == [0, 1, 160]
    assert samples(8, channels=2) == 2
    # Full blocks of any layout, short ones of the usual.
    assert [samples(n, codec=1) for n in (0, 3, 4, 5, 80, 84)] == [0, 0, 0, 2, 160, 160]
    assert [samples(n, codec=1, n=441) for n in (224, 225)] == [441, 441]
    assert [samples(n, codec=1, n=505, channels=2) for n in (0, 8, 16, 512)] == [0, 0, 8, 505]


# --- replaying ---


@contextlib.contextmanager
def pipe_from(path):
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as process:
        yield process.stdout


def replay(serve, run_client, *arguments, **options):
    server = serve(WebSocketServer())
    client = run_client("--url", server.url, *arguments, **options)
    return client, [b"".join(r.messages) for r in server.ended()], server


@pytest.mark.parametrize("name", ["gap.eet", "repeat-restart.eet", "empty-frames.eet",
                                  "layout-state-high-odd.eet", "stereo_adpcm.eet"])
def test_frame_log_byte_for_byte(serve, run_client, name):
    client, sent, server = replay(serve, run_client, "--log", os.path.join(LOGS, name))
    assert (client.status, client.out, sent) == (0, "", [golden(name)])
    assert server.connections[0].code == 1000
    assert client.err.startswith("stream_client.py: 1 stream: ")


def test_handshake_is_verbatim(serve, run_client, log):
    data = handshake(0xFFFFFFFF, 44100, 2, 0, 7, 0xABCD, 1 << 63) + frame(4294967295, bytes(28))
    _, sent, _ = replay(serve, run_client, "--log", log(data), "--streams", 3)
    assert sent == [data] * 3


def test_one_session_of_a_mux_log(serve, run_client):
    path = os.path.join(LOGS, "three.mux")
    for session in 1, 2, 3:
        expected = b"".join(r.message for r in parse(golden("three.mux"))
                            if r.session == session and r.kind in (1, 2))
        client, sent, _ = replay(serve, run_client, "-q", "--log", path, "--session", session)
        assert (client.status, client.err, sent) == (0, "", [expected])
        # From a pipe, too.
        with pipe_from(path) as pipe:
            client, sent, _ = replay(serve, run_client, "-q", "--log", "-", "--session", session,
                                     stdin=pipe)
        assert (client.status, client.err, sent) == (0, "", [expected])


def test_several_sessions_need_a_choice(serve, run_client, log):
    path = os.path.join(LOGS, "three.mux")
    client, sent, _ = replay(serve, run_client, "--log", path)
    assert (client.status, sent) == (1, [])
    assert client.err == (f"stream_client.py: {path}: more than one session in it: "
                          "choose one with --session\n")
    client, sent, _ = replay(serve, run_client, "--log", path, "--session", 4)
    assert (client.status, sent) == (1, [])
    assert client.err == f"stream_client.py: {path}: no session 4 in it, but 1, 2, 3\n"
    # Takes in a frame log are sessions.
    two = log(handshake(1) + frame(0) + handshake(2) + frame(5))
    client, sent, _ = replay(serve, run_client, "-q", "--log", two, "--session", 2)
    assert (client.status, sent) == (0, [handshake(2) + frame(5)])
    # A pipe can't be looked through first: the first session is sent, and the exit status tells.
    with pipe_from(two) as pipe:
        client, sent, _ = replay(serve, run_client, "-q", "--log", "-", stdin=pipe)
    assert (client.status, sent) == (1, [handshake(1) + frame(0)])
    assert client.err == ("stream_client.py: -: more than one session in it: "
                          "choose one with --session\n")


@pytest.mark.parametrize("data, err", [
    (b"", "no stream in it"),
    (b"RIFFxxxxxxxx", "no stream in it"),
    (record(4, 0, 0), "no stream in it"),
])
def test_no_log(serve, run_client, log, data, err):
    path = log(data)
    client, sent, _ = replay(serve, run_client, "--log", path)
    assert (client.status, sent) == (1, [])
    assert client.err.endswith(f"stream_client.py: {path}: {err}\n")


def test_what_is_sound_of_a_damaged_log_is_sent(serve, run_client):
    for name, offset in ("cut.eet", 1792), ("badlen.eet", 1264):
        path = os.path.join(LOGS, name)
        client, sent, server = replay(serve, run_client, "-q", "--log", path)
        assert (client.status, sent) == (1, [golden(name)[:offset]])
        assert client.err.startswith(f"stream_client.py: {path}: offset {offset}: ")
        assert client.err.count("\n") == 1
        assert server.connections[0].code == 1000


def test_options_that_do_not_go_together(run_client):
    log = os.path.join(LOGS, "gap.eet")
    for arguments in (["--log", log, "--wav", log], ["--log", log, "--codec", "pcm"],
                      ["--log", log, "--realtime"], ["--log", log, "--loop"],
                      ["--log", log, "--stream-id-base", "0"], ["--log", log, "--frame-ms", "20"],
                      ["--wav", log, "--session", "0"], ["--wav", log, "--speed", "max"],
                      ["--log", log, "--speed", "2"], []):
        client = run_client(*arguments)
        assert client.status == 2, arguments
        assert "stream_client.py: error: " in client.err
    assert run_client("--log", "no-such.log").err == (
        "stream_client.py: no-such.log: No such file or directory\n")


def due(path, session=None):
    """When the log's frames are due, in seconds."""
    def damage(text):
        raise AssertionError(text)

    async def run():
        frames = []
        while batch := await source.batch():
            frames += batch
        return [tick / source.ticks for _, _, tick in frames]
    fd = os.open(path, os.O_RDONLY)
    try:
        source = stream_client.Replay(fd, session, damage)
        return asyncio.run(run())
    finally:
        os.close(fd)


def test_the_pace_of_a_mux_log_is_that_of_its_records(log):
    path = log(record(1, 7, 100, handshake()) + record(2, 7, 350, frame(9))
               + record(1, 8, 400, handshake()) + record(2, 8, 450, frame(1))
               + record(4, 0, 1500) + record(2, 7, 2100, frame(9)) + record(3, 7, 2100, b"\xe8\3")
               + record(2, 8, 2500, frame(2)))
    assert due(path, 7) == [0.25, 2.0]
    assert due(path, 8) == [0.05, 2.1]


def test_the_pace_of_a_frame_log_is_that_of_its_samples(log):
    frames = [
        (0xFFFFFFFF, 0), (0, 0.02), (3, 0.08),  # a gap of two
        (2, 0.10), (3, 0.10),  # repeats
        (4, 0.10), (100000, 0.12 + 99995 * 0.02),
        (50, None), (51, None)]  # a restart: on from there
    path = log(handshake() + b"".join(frame(seq) for seq, _ in frames))
    last = 0.12 + 99995 * 0.02 + 0.02
    expected = [last + 0.02 * (i - 7) if at is None else at for i, (_, at) in enumerate(frames)]
    assert due(path) == pytest.approx(expected)


def test_speed_1_takes_its_time(serve, run_client, log):
    path = log(record(1, 1, 0, handshake()) + record(2, 1, 0, frame(0))
               + record(2, 1, 700, frame(1)))
    client, sent, _ = replay(serve, run_client, "--log", path, "--speed", "1")
    assert client.status == 0
    assert float(client.err.rsplit(" in ")[-1].split()[0]) >= 0.7
    assert sent == [handshake() + frame(0) + frame(1)]
