"""An IMA decoder for `state` blocks by the book, one code at a time: what tests compare with."""

import struct

STEPS = [
    7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 19, 21, 23, 25, 28, 31, 34, 37, 41, 45, 50, 55, 60, 66,
    73, 80, 88, 97, 107, 118, 130, 143, 157, 173, 190, 209, 230, 253, 279, 307, 337, 371, 408,
    449, 494, 544, 598, 658, 724, 796, 876, 963, 1060, 1166, 1282, 1411, 1552, 1707, 1878, 2066,
    2272, 2499, 2749, 3024, 3327, 3660, 4026, 4428, 4871, 5358, 5894, 6484, 7132, 7845, 8630,
    9493, 10442, 11487, 12635, 13899, 15289, 16818, 18500, 20350, 22385, 24623, 27086, 29794,
    32767]


def headers(block, channels):
    """The (predictor, index) pairs that a block begins with."""
    return [struct.unpack_from("<hB", block, 4 * c) for c in range(channels)]


def channel_codes(block, channels, c):
    """One channel's codes, padding and all."""
    body = block[4 * channels:]
    if channels > 1:
        body = b"".join(body[at:at + 4] for at in range(4 * c, len(body), 4 * channels))
    return [code for byte in body for code in (byte & 15, byte >> 4)]


def decode(block, channels, samples):
    """At most `samples` of each channel as lists, and the states behind the last of them."""
    decoded, states = [], []
    for c, (predictor, index) in enumerate(headers(block, channels)):
        out = []
        for code in channel_codes(block, channels, c)[:samples]:
            step = STEPS[index]
            difference = step >> 3
            for bit, part in ((4, step), (2, step >> 1), (1, step >> 2)):
                if code & bit:
                    difference += part
            predictor += -difference if code >= 8 else difference
            predictor = min(32767, max(-32768, predictor))
            index += {4: 2, 5: 4, 6: 6, 7: 8}.get(code & 7, -1)
            index = min(88, max(0, index))
            out.append(predictor)
        decoded.append(out)
        states.append((predictor, index))
    return decoded, states
