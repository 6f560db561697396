#!/usr/bin/env python3
"""read_log.py: a reader of mux logs in a few lines.  Prints each session's frames, bytes and times.

Exit status: 3 when the log is damaged, or ends inside a record; what comes before that is counted.
"""
import struct
import sys


def records(f):
    """Yields each record as kind (1 OPEN, 2 FRAME, 3 CLOSE), session, time in seconds, body."""
    at = 0
    while prefix := f.read(12):
        if len(prefix) == 12:
            magic, length, session = struct.unpack("<III", prefix)
            if magic != 0x4D544545 or length < 12:
                raise ValueError(f"offset {at}: not a mux log, or damaged")
            rest = f.read(length)
        if len(prefix) < 12 or len(rest) < length:
            raise ValueError(f"offset {at}: the log ends inside a record")
        kind, _, time_us = struct.unpack_from("<HHQ", rest)
        yield kind, session, time_us / 1e6, rest[12:]
        at += 12 + length


found, status = {}, 0
try:
    for kind, session, time, body in records(sys.stdin.buffer):
        if kind == 1:
            stream_id, rate = struct.unpack_from("<II", body, 8)
            found[session] = dict(stream=stream_id, rate=rate, frames=0, bytes=0, start=time,
                                  end=time)
        elif kind == 2:
            found[session].update(frames=found[session]["frames"] + 1, end=time,
                                  bytes=found[session]["bytes"] + len(body) - 12)
except ValueError as error:
    print(f"read_log.py: {error}", file=sys.stderr)
    status = 3
for number, facts in found.items():
    print(f"{number}: {facts}")
sys.exit(status)
