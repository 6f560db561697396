"""Handshake and frames against bytes written out by hand."""

import eet_wire


def test_handshake_bytes():
    packed = eet_wire.pack_handshake(0x01020304, 44100, 2, eet_wire.ADPCM, 882,
                                     0x1122334455667788)
    assert packed == bytes.fromhex(
        "43504441"  # magic 0x41445043
        "0100"  # version
        "2000"  # header_len 32
        "04030201"  # stream_id
        "44ac0000"  # sample_rate
        "0200"  # channels
        "0100"  # codec
        "7203"  # frame_samples
        "0000"  # reserved
        "8877665544332211")  # timestamp_ms
    assert len(packed) == eet_wire.HANDSHAKE_SIZE


def test_pcm_handshake_at_the_limits():
    packed = eet_wire.pack_handshake(0xFFFFFFFF, eet_wire.MAX_RATE, eet_wire.MAX_CHANNELS,
                                     eet_wire.PCM16, eet_wire.MAX_FRAME_SAMPLES, 0)
    assert packed == bytes.fromhex("43504441" "0100" "2000" "ffffffff" "00b80b00" "4000" "0000"
                                   "ffff" "0000" "0000000000000000")


def test_frame_bytes():
    assert eet_wire.pack_frame(eet_wire.PCM16, 7, b"\x01\x02\x03\x04") == (
        b"PCMF" b"\x04\x00\x00\x00" b"\x07\x00\x00\x00" b"\x01\x02\x03\x04")
    assert eet_wire.pack_frame(eet_wire.ADPCM, 0xFFFFFFFF, b"") == (
        b"FPDA" b"\x00\x00\x00\x00" b"\xff\xff\xff\xff")


def test_seq_wraps():
    assert eet_wire.pack_frame(eet_wire.PCM16, 1 << 32, b"")[8:] == bytes(4)
    assert eet_wire.pack_frame(eet_wire.PCM16, (1 << 32) + 5, b"")[8:] == b"\x05\0\0\0"
