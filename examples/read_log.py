#!/usr/bin/env python3
"""read_log.py: a reader of mux logs in 25 lines.  Prints each session's frames, bytes and times."""
import struct
import sys


def records(f):
    """Yields each record as kind (1 OPEN, 2 FRAME, 3 CLOSE), session, time in seconds, body."""
    while len(prefix := f.read(12)) == 12:
        magic, length, session = struct.unpack("<III", prefix)
        if magic != 0x4D544545:
            sys.exit("not a mux log, or damaged")
        kind, _, time_us = struct.unpack("<HHQ", f.read(12))
        yield kind, session, time_us / 1e6, f.read(length - 12)


found = {}
for kind, session, time, body in records(sys.stdin.buffer):
    if kind == 1:
        stream_id, rate = struct.unpack_from("<II", body, 8)
        found[session] = dict(stream=stream_id, rate=rate, frames=0, bytes=0, start=time, end=time)
    elif kind == 2:
        found[session].update(frames=found[session]["frames"] + 1, end=time,
                              bytes=found[session]["bytes"] + len(body) - 12)
print(*(f"{number}: {facts}" for number, facts in found.items()), sep="\n")
