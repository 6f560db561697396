"""IMA ADPCM encoder: 16-bit PCM in, blocks of 4-bit codes out.

A block begins with one header per channel: the decoder's state *before* the block as
s16 predictor, u8 step index, u8 0.  Then come the codes of all its samples, low nibble first.
Mono codes run on, and the last byte is padded with a 0 code.  With more channels they come in
groups of 8 codes (4 bytes), one group per channel in turn, and the last group is padded.

The state is carried from block to block: where one block ends, the next one's header begins.
So nothing jumps at a block's edge, and a reader can check that no block is missing.

Decoding is the IMA reference: a code's low three bits add step, step>>1 and step>>2 to
step>>3, its fourth bit is the sign; the predictor is clamped to 16 bits, the index to 0...88.
"""

import struct
import sys
from array import array
from bisect import bisect

STEPS = (
    7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 19, 21, 23, 25, 28, 31, 34, 37, 41, 45, 50, 55, 60, 66,
    73, 80, 88, 97, 107, 118, 130, 143, 157, 173, 190, 209, 230, 253, 279, 307, 337, 371, 408,
    449, 494, 544, 598, 658, 724, 796, 876, 963, 1060, 1166, 1282, 1411, 1552, 1707, 1878, 2066,
    2272, 2499, 2749, 3024, 3327, 3660, 4026, 4428, 4871, 5358, 5894, 6484, 7132, 7845, 8630,
    9493, 10442, 11487, 12635, 13899, 15289, 16818, 18500, 20350, 22385, 24623, 27086, 29794,
    32767,
)
INDEX_SHIFT = (-1, -1, -1, -1, 2, 4, 6, 8)

# A step index's 16 differences in rising order belong to the codes 15, 14 ... 8, 0, 1 ... 7.
_RISING = bytes(range(15, 7, -1)) + bytes(range(8))
_LOW_NIBBLE = bytes(_RISING[i % 16] for i in range(256))
_HIGH_NIBBLE = bytes(_RISING[i % 16] << 4 for i in range(256))


def _make_rows():
    """One row per step index: (thresholds, differences, next rows, the index itself).

    The place at which a difference sorts into the thresholds, which lie half-way between
    neighbouring differences, is the place of the nearest one: one bisection finds the code.
    """
    rows = [([], [], [], index) for index in range(len(STEPS))]
    for (thresholds, differences, following, index), step in zip(rows, STEPS):
        for code in _RISING:
            size = step >> 3
            size += step if code & 4 else 0
            size += step >> 1 if code & 2 else 0
            size += step >> 2 if code & 1 else 0
            differences.append(-size if code & 8 else size)
            target = min(max(index + INDEX_SHIFT[code & 7], 0), len(STEPS) - 1)
            following.append(rows[target])
        thresholds.extend((a + b + 1) // 2 for a, b in zip(differences, differences[1:]))
    return rows


_ROWS = _make_rows()


def _pack_nibbles(places):
    """Places in the rows, an even number of them, as codes: two a byte, low nibble first."""
    low = int.from_bytes(places[0::2].translate(_LOW_NIBBLE), "little")
    high = int.from_bytes(places[1::2].translate(_HIGH_NIBBLE), "little")
    return (low | high).to_bytes(len(places) // 2, "little")


def block_size(channels, samples):
    """Bytes in a block of so many samples per channel."""
    if channels == 1:
        return 4 + (samples + 1) // 2
    return channels * (4 + 4 * ((samples + 7) // 8))


class Encoder:
    """Encodes one stream of interleaved s16le samples, a block at a time."""

    def __init__(self, channels):
        self.channels = channels
        self._state = [(0, _ROWS[0])] * channels

    def encode(self, pcm):
        """The block for pcm: bytes of whole sample frames, any number of them."""
        samples = array("h", pcm)
        if sys.byteorder == "big":
            samples.byteswap()
        channels = self.channels
        header = b"".join(struct.pack("<hBx", pred, row[3]) for pred, row in self._state)
        codes = [self._codes(c, samples[c::channels]) for c in range(channels)]
        if channels == 1:
            return header + codes[0]
        groups = array("I", bytes(channels * len(codes[0])))
        for c in range(channels):
            groups[c::channels] = array("I", codes[c])
        return header + groups.tobytes()

    def _codes(self, channel, samples):
        """Encode one channel's samples; carries its state on."""
        predictor, row = self._state[channel]
        places = bytearray()
        add = places.append
        thresholds, differences, following, _ = row
        for sample in samples:
            place = bisect(thresholds, sample - predictor)
            add(place)
            predictor += differences[place]
            if predictor > 32767:
                predictor = 32767
            elif predictor < -32768:
                predictor = -32768
            row = following[place]
            thresholds, differences, following, _ = row
        self._state[channel] = predictor, row
        unit = 2 if self.channels == 1 else 8
        places.extend(bytes((8,)) * (-len(places) % unit))  # place 8 is code 0
        return _pack_nibbles(places)
