"""The two messages an audio stream consists of, little-endian throughout.

Handshake, the first message, 32 bytes:

    magic u32, version u16, header_len u16, stream_id u32, sample_rate u32, channels u16,
    codec u16, frame_samples u16, reserved u16, timestamp_ms u64

Audio frame, every later message:

    magic u32, length u32, seq u32, payload

The frame's magic says the codec, length counts the payload's bytes, seq counts frames modulo
2^32.  eet-formats(5) describes both in full.
"""

import struct

PCM16 = 0
ADPCM = 1

HANDSHAKE_MAGIC = 0x41445043
FRAME_MAGIC = {PCM16: 0x464D4350, ADPCM: 0x41445046}

VERSION = 1
HANDSHAKE_SIZE = 32
FRAME_HEADER_SIZE = 12

MAX_RATE = 768000
MAX_CHANNELS = 64
MAX_FRAME_SAMPLES = 65535

_HANDSHAKE = struct.Struct("<IHHIIHHHHQ")
_FRAME = struct.Struct("<III")


def pack_handshake(stream_id, rate, channels, codec, frame_samples, timestamp_ms):
    """The handshake message."""
    return _HANDSHAKE.pack(HANDSHAKE_MAGIC, VERSION, HANDSHAKE_SIZE, stream_id, rate, channels,
                           codec, frame_samples, 0, timestamp_ms)


def pack_frame(codec, seq, payload):
    """The audio frame message; seq is taken modulo 2^32."""
    return _FRAME.pack(FRAME_MAGIC[codec], len(payload), seq & 0xFFFFFFFF) + payload
