"""From the file to messages, and from one source to many streams: without a network."""

import asyncio
import os
import struct

import eet_wire
import ima_reference
import pytest
import stream_client
from conftest import data, fmt, riff
from wav_reader import WavReader


@pytest.fixture
def framer(make_wav):
    """framer(samples, channels, codec, frame_samples): a Framer over such a file."""
    files = []

    def make(samples, channels, codec, frame_samples, loop=False):
        files.append(os.open(make_wav(samples, channels), os.O_RDONLY))
        return stream_client.Framer(WavReader(files[-1]), codec, frame_samples, loop)
    yield make
    for fd in files:
        os.close(fd)


def collect(source, most=None):
    """The messages of a source, all of them or the first few, and their sample counts."""
    async def run():
        frames = []
        while most is None or len(frames) < most:
            batch = await source.batch()
            if not batch:
                break
            frames += batch
        return frames[:most]
    frames = asyncio.run(run())
    return [message for message, _, _ in frames], [samples for _, samples, _ in frames]


def payloads(messages):
    """Payloads of messages whose headers are checked on the way: length, seq from 0."""
    out = []
    for seq, message in enumerate(messages):
        _, length, number = struct.unpack_from("<III", message)
        assert (length, number) == (len(message) - 12, seq)
        out.append(message[12:])
    return out


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_pcm_is_the_file(framer, channels):
    samples = list(range(-3000, 3000 + channels * 7))
    samples = samples[:len(samples) // channels * channels]
    messages, counts = collect(framer(samples, channels, eet_wire.PCM16, 160))
    assert b"".join(payloads(messages)) == struct.pack(f"<{len(samples)}h", *samples)
    assert all(message[:4] == b"PCMF" for message in messages)
    assert counts[:-1] == [160] * (len(counts) - 1) and sum(counts) == len(samples) // channels
    assert 0 < counts[-1] <= 160


@pytest.mark.parametrize("channels", [1, 2])
def test_adpcm_chain_holds(framer, channels):
    samples = [((k * 977) % 20000) - 10000 for k in range(channels * 2005)]
    messages, counts = collect(framer(samples, channels, eet_wire.ADPCM, 160))
    assert counts == [160] * 12 + [85]
    states = [(0, 0)] * channels
    for block, count in zip(payloads(messages), counts):
        assert ima_reference.headers(block, channels) == states
        states = ima_reference.decode(block, channels, count)[1]
    assert len(payloads(messages)[-1]) == (4 + 43 if channels == 1 else 2 * (4 + 44))


def test_frames_longer_than_one_read(framer):
    samples = [k % 30000 for k in range(70000)]
    messages, counts = collect(framer(samples, 1, eet_wire.PCM16, 30000))
    assert counts == [30000, 30000, 10000]
    assert b"".join(payloads(messages)) == struct.pack("<70000h", *samples)


def test_loop_runs_on_over_the_seam(framer):
    samples = list(range(1, 251))
    messages, counts = collect(framer(samples, 1, eet_wire.PCM16, 100, loop=True), 10)
    assert counts == [100] * 10
    assert b"".join(payloads(messages)) == struct.pack("<250h", *samples) * 4


def test_loop_keeps_the_chain(framer):
    messages, _ = collect(framer([k * 100 for k in range(250)], 1, eet_wire.ADPCM, 100, loop=True),
                          10)
    states = [(0, 0)]
    for block in payloads(messages):
        assert ima_reference.headers(block, 1) == states
        states = ima_reference.decode(block, 1, 100)[1]


def test_empty_file_ends_at_once_even_in_a_loop(framer):
    assert collect(framer([], 1, eet_wire.PCM16, 160)) == ([], [])
    assert collect(framer([], 1, eet_wire.PCM16, 160, loop=True)) == ([], [])


def test_half_a_sample_at_the_end_is_not_sent(tmp_path):
    path = tmp_path / "cut.wav"
    path.write_bytes(riff(fmt(2), data(bytes(range(11)), size=400))[:-1])
    fd = os.open(path, os.O_RDONLY)
    wav = WavReader(fd)
    messages, counts = collect(stream_client.Framer(wav, eet_wire.PCM16, 160))
    os.close(fd)
    assert (payloads(messages), counts, wav.missing) == ([bytes(range(8))], [2], 389)


def test_a_pipe_is_sent_as_it_comes():
    source, target = os.pipe()
    os.write(target, riff(fmt(), data(b"", size=0xFFFFFFFF)))
    wav = WavReader(source)

    async def run():
        framer = stream_client.Framer(wav, eet_wire.PCM16, 4)
        os.write(target, bytes(20))
        first = await framer.batch()
        waiting = asyncio.ensure_future(framer.batch())
        await asyncio.sleep(0)
        blocked = not waiting.done()
        os.write(target, bytes(5))
        second = await waiting
        os.close(target)
        return blocked, [len(b) for b in (first, second, await framer.batch())]
    blocked, lengths = asyncio.run(run())
    os.close(source)
    assert blocked
    assert lengths == [2, 1, 0]  # 25 bytes: 3 frames of 8 bytes, and half a sample


class Source:
    """Counts what is asked of it; numbered messages of 100 bytes, five a batch."""

    def __init__(self, frames):
        self.frames = frames
        self.made = 0

    async def batch(self):
        count = min(5, self.frames - self.made)
        batch = [(struct.pack("<I96x", self.made + k), 1) for k in range(count)]
        self.made += count
        await asyncio.sleep(0)
        return batch


async def numbers(cursor, most=None):
    out = []
    while most is None or len(out) < most:
        frame = await cursor.next()
        if frame is None:
            break
        out.append(struct.unpack_from("<I", frame[0])[0])
    return out


def test_feed_gives_everything_to_everybody_once_made():
    source = Source(1003)

    async def run():
        feed = stream_client.Feed(source, 20)
        return await asyncio.gather(*map(numbers, feed.cursors()))
    assert asyncio.run(run()) == [list(range(1003))] * 20
    assert source.made == 1003


def test_feed_end_stays_the_end():
    async def run():
        cursor, = stream_client.Feed(Source(2), 1).cursors()
        return [await cursor.next() for _ in range(4)]
    assert [frame is None for frame in asyncio.run(run())] == [False, False, True, True]


def test_feed_frees_what_all_have_passed(monkeypatch):
    live = set()

    class Node:
        def __init__(self, frame):
            self.frame, self.next = frame, None
            live.add(id(self))

        def __del__(self):
            live.discard(id(self))
    monkeypatch.setattr(stream_client.Feed, "_Node", Node)

    async def run():
        first, second = stream_client.Feed(Source(1000), 2).cursors()
        await numbers(first, 500)
        apart = len(live)
        await numbers(second, 495)
        close = len(live)
        second.close()
        await numbers(first)
        return apart, close, len(live)
    apart, close, end = asyncio.run(run())
    assert apart >= 500 and close <= 12 and end <= 7


def test_feed_holds_the_foremost_back_for_the_hindmost(monkeypatch):
    monkeypatch.setattr(stream_client.Feed, "AHEAD", 2000)
    source = Source(1000)

    async def run():
        fast, slow = stream_client.Feed(source, 2).cursors()
        racing = asyncio.ensure_future(numbers(fast))
        for _ in range(1000):
            await asyncio.sleep(0)
        held = source.made
        await numbers(slow, 100)
        for _ in range(1000):
            await asyncio.sleep(0)
        moved = source.made
        slow.close()
        return held, moved, await racing
    held, moved, everything = asyncio.run(run())
    assert held == 20 and moved == 120
    assert everything == list(range(1000))


def test_feed_can_drop_very_many_frames_at_once():
    source = Source(500000)

    async def run():
        fast, slow = stream_client.Feed(source, 2).cursors()
        while await fast.next() is not None:
            pass
        slow.close()
        return await fast.next()
    assert asyncio.run(run()) is None
    assert source.made == 500000


class Clock:
    """Time that passes only when somebody sleeps or works."""

    def __init__(self):
        self.now = 1000.0
        self.sleeps = 0

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.sleeps += 1
        self.now += seconds + 0.0007  # no sleep ends on time


def test_schedule_does_not_drift():
    clock = Clock()

    async def run():
        schedule = stream_client.Schedule(44100, clock, clock.sleep)
        late = []
        for k in range(20000):
            await schedule.wait(k * 882)
            late.append(clock.now - (1000.0 + k * 882 / 44100))
            clock.now += 0.004  # the work of sending
        return late
    late = asyncio.run(run())
    assert clock.sleeps == 19999
    assert -1e-6 <= min(late) and max(late) < 0.00071


def test_schedule_catches_up_after_a_stall():
    clock = Clock()

    async def run():
        schedule = stream_client.Schedule(8000, clock, clock.sleep)
        sent = []
        for k in range(200):
            await schedule.wait(k * 160)
            sent.append(clock.now)
            if k == 10:
                clock.now += 1.0
        return sent
    sent = asyncio.run(run())
    assert len({round(t, 6) for t in sent[11:60]}) == 1  # overdue ones go out at once
    assert abs(sent[199] - (1000.0 + 199 * 0.02)) < 0.001
