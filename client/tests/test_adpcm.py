"""The encoder's blocks, read back by a decoder by the book, by sox and by libsndfile."""

import random
import shutil
import struct
import subprocess

import ima_adpcm
import ima_reference
import pytest
from conftest import DATA, riff
from wav_reader import WavReader


def pack(samples):
    return struct.pack(f"<{len(samples)}h", *samples)


def signal(count, seed=1):
    """Something of everything: silence, full scale square, noise, small steps."""
    source = random.Random(seed)
    out = [0] * (count // 8)
    out += [32767 if (k // 40) % 2 else -32768 for k in range(count // 4)]
    out += [source.randint(-32768, 32767) for _ in range(count // 4)]
    out += [source.randint(-3, 3) for _ in range(count - len(out))]
    return out


def encode(samples, channels, block_samples):
    encoder = ima_adpcm.Encoder(channels)
    size = block_samples * channels
    return [encoder.encode(pack(samples[at:at + size])) for at in range(0, len(samples), size)]


def decode(blocks, channels, block_samples):
    """Interleaved samples."""
    out = []
    for block in blocks:
        decoded, _ = ima_reference.decode(block, channels, block_samples)
        out += [sample for together in zip(*decoded) for sample in together]
    return out


def speech():
    with open(f"{DATA}/speech_8k.wav", "rb") as file:
        wav = WavReader(file.fileno())
        content = b"".join(iter(lambda: wav.read(65536), b""))
    return list(struct.unpack(f"<{len(content) // 2}h", content))


def noise_ratio(wanted, got):
    """Power of the signal over power of the error."""
    error = sum((a - b) ** 2 for a, b in zip(wanted, got))
    return sum(a * a for a in wanted) / error


def test_first_block_by_hand():
    # From predictor 0, index 0 (step 7): code 7 adds 7/8 + 7 + 7/2 + 7/4 = 0 + 7 + 3 + 1 = 11
    # and raises the index by 8 (step 16); code 12 takes 2 + 16 away: -7, index 10 (step 19);
    # code 0 adds 2: -5.
    assert ima_adpcm.Encoder(1).encode(pack([20, -8, -5])) == bytes.fromhex("00000000" "c7" "00")


def test_silence_is_all_zeros():
    assert encode([0] * 320, 1, 160) == [bytes(84)] * 2
    assert encode([0] * 640, 2, 160) == [bytes(168)] * 2


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 64])
@pytest.mark.parametrize("samples", [1, 2, 7, 8, 9, 160, 441])
def test_block_length_and_padding(channels, samples):
    blocks = encode(signal(channels * samples * 3), channels, samples)
    for block in blocks:
        assert len(block) == ima_adpcm.block_size(channels, samples)
        for c in range(channels):
            padding = ima_reference.channel_codes(block, channels, c)[samples:]
            assert padding == [0] * len(padding)
    mono = 4 + (samples + 1) // 2
    assert len(blocks[0]) == (mono if channels == 1 else channels * (4 + 4 * -(-samples // 8)))


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("samples", [1, 7, 160, 441])
def test_each_block_ends_where_the_next_begins(channels, samples):
    states = [(0, 0)] * channels
    for block in encode(signal(channels * samples * 20), channels, samples):
        assert ima_reference.headers(block, channels) == states
        _, states = ima_reference.decode(block, channels, samples)
    assert states != [(0, 0)] * channels


def test_channels_do_not_mix():
    left, right = signal(1600, 1), signal(1600, 2)
    together = decode(encode([s for pair in zip(left, right) for s in pair], 2, 160), 2, 160)
    assert together[0::2] == decode(encode(left, 1, 160), 1, 160)
    assert together[1::2] == decode(encode(right, 1, 160), 1, 160)


def test_block_size_does_not_change_the_sound():
    samples = speech()[:4410]
    assert decode(encode(samples, 1, 441), 1, 441) == decode(encode(samples, 1, 90), 1, 90)


def test_it_sounds_like_the_original():
    samples = speech()
    assert noise_ratio(samples, decode(encode(samples, 1, 160), 1, 160)) > 10 ** 1.9  # 19 dB


def test_full_scale_does_not_wrap():
    samples = [32767] * 200 + [-32768] * 200
    got = decode(encode(samples, 1, 400), 1, 400)
    assert min(got[50:200]) > 30000 and max(got[250:400]) < -30000


# A `state` block of n samples, n a multiple of 8, is a WAV block of n + 1 samples: what is the
# state before the block to us is the first sample to a WAV file's reader.


def ima_wav(blocks, channels, block_samples):
    spec = struct.pack("<HH", 2, block_samples + 1)
    head = struct.pack("<HHIIHH", 0x11, channels, 8000, 8000 * channels, len(blocks[0]), 4)
    chunk = b"fmt " + struct.pack("<I", len(head + spec)) + head + spec
    fact = b"fact" + struct.pack("<II", 4, len(blocks) * (block_samples + 1))
    content = b"".join(blocks)
    return riff(chunk, fact, b"data" + struct.pack("<I", len(content)) + content)


def sox(source, target):
    return ["sox", "-D", source, "-e", "signed-integer", "-b", "16", target]


def sndfile(source, target):
    return ["sndfile-convert", "-pcm16", source, target]


@pytest.mark.parametrize("decoder, channels", [(sox, 1), (sox, 2), (sox, 6), (sndfile, 1),
                                               (sndfile, 2)])
@pytest.mark.parametrize("block_samples", [8, 160, 504])
def test_other_decoders_agree(decoder, channels, block_samples, tmp_path):
    command = decoder(str(tmp_path / "in.wav"), str(tmp_path / "out.wav"))
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    blocks = encode(signal(channels * block_samples * 30), channels, block_samples)
    (tmp_path / "in.wav").write_bytes(ima_wav(blocks, channels, block_samples))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(tmp_path / "out.wav", "rb") as file:
        wav = WavReader(file.fileno())
        content = b"".join(iter(lambda: wav.read(65536), b""))
    samples = struct.unpack(f"<{len(content) // 2}h", content)
    size = (block_samples + 1) * channels
    assert len(samples) == size * len(blocks)
    got = [s for at in range(0, len(samples), size) for s in samples[at + channels:at + size]]
    assert got == decode(blocks, channels, block_samples)
