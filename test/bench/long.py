#!/usr/bin/env python3
"""long.py GIGABYTES [mux|frames] [pcm|adpcm]: a log of that size on standard output.

For seeing that a filter's memory does not grow with its input:

    test/bench/long.py 10 mux pcm | command time -v eet-demux -i 7 > /dev/null
"""
import struct
import sys

gigabytes = float(sys.argv[1])
mux = (sys.argv[2:] or ["mux"])[0] == "mux"
pcm = (sys.argv[3:] or ["pcm"])[0] == "pcm"
BATCH = 4096  # frames made at once
SAMPLES = 960
START = 1_700_000_000_000_000
payload = bytes(i * 7 % 251 for i in range(2 * SAMPLES)) if pcm else bytes(4 + SAMPLES // 2)
magic = 0x464D4350 if pcm else 0x41445046
handshake = struct.pack("<IHHIIHHHHQ", 0x41445043, 1, 32, 7, 48000, 1, 0 if pcm else 1, SAMPLES, 0,
                        START // 1000)
frame = struct.pack("<III", magic, len(payload), 0) + payload
head = b""
if mux:
    head = struct.pack("<IIIHHQ", 0x4D544545, 12 + len(frame), 1, 2, 0, 0)
    handshake = struct.pack("<IIIHHQ", 0x4D544545, 12 + 32, 1, 1, 0, START) + handshake
size = len(head) + len(frame)
batch = bytearray((head + frame) * BATCH)
out = sys.stdout.buffer
out.write(handshake)
for first in range(0, int(gigabytes * 2**30) // size, BATCH):
    for i in range(BATCH):
        seq = first + i
        struct.pack_into("<I", batch, i * size + len(head) + 8, seq & 0xFFFFFFFF)
        if mux:
            struct.pack_into("<Q", batch, i * size + 16, START + seq * 20000)
    out.write(batch)
