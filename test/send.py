#!/usr/bin/python3
"""send.py [OPTION...] URL LOG...: sends each frame log on a connection of its own, all at once.

The bytes of a log are sent as they are: its first 32 as the handshake, then one message a frame.
Tells on stdout, one line each, how far it has come:

  LOG acked N          the server has stored the first N frames: it has answered a ping behind
                       them, and then a second one, so a turn of its loop lies in between
  LOG sent N           all N frames were handed to the connection
  LOG closed CODE REASON  the connection is closed; 1006: it just died

  --acks K   find out after every K frames
  --hold     leave the connections open when all is sent, until the server or SIGTERM closes them
  --repeat N send the frames of each log N times over, seq counting on
  --raw      the logs hold messages, each behind its length as u32: sent as they are

Exit status 0 when every connection was closed with 1000.
"""

import argparse
import asyncio
import os
import signal
import struct
import sys

import websockets
from websockets.exceptions import ConnectionClosed

PATIENCE = float(os.environ.get("PATIENCE", "300"))


def messages(path, raw, repeat):
    """Yields the handshake and then the frames."""
    with open(path, "rb") as f:
        data = f.read()
    at, found = 0, []
    while at < len(data):
        if raw:
            size = 4 + int.from_bytes(data[at:at + 4], "little")
        else:
            size = 12 + int.from_bytes(data[at + 4:at + 8], "little") if at else 32
        found.append(data[at + (4 if raw else 0):at + size])
        at += size
    yield found[0]
    seq = 0
    for _ in range(repeat):
        for message in found[1:]:
            if repeat > 1:
                message = message[:8] + struct.pack("<I", seq & 0xFFFFFFFF) + message[12:]
                seq += 1
            yield message


async def acknowledged(connection):
    for _ in range(2):
        await (await connection.ping())


async def send(connection, options, path, stop):
    def tell(what):
        print(os.path.basename(path), what, flush=True)

    count = -1  # the handshake is no frame
    try:
        for message in messages(path, options.raw, options.repeat):
            await connection.send(message)
            count += 1
            if options.acks and count and count % options.acks == 0:
                await acknowledged(connection)
                tell(f"acked {count}")
            elif count % 16 == 0:
                await asyncio.sleep(0)
        tell(f"sent {count}")
        await acknowledged(connection)
        tell(f"acked {count}")
        if options.hold:
            closed = asyncio.ensure_future(connection.wait_closed())
            stopped = asyncio.ensure_future(stop.wait())
            await asyncio.wait([closed, stopped], return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
        await connection.close()
    except ConnectionClosed:
        pass
    tell(f"closed {connection.close_code} {connection.close_reason}".rstrip())
    return connection.close_code == 1000


async def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--acks", type=int, default=0)
    parser.add_argument("--hold", action="store_true")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--raw", action="store_true")
    parser.add_argument("url")
    parser.add_argument("logs", nargs="+")
    options = parser.parse_args()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    connections = await asyncio.gather(*(
        websockets.connect(options.url, compression=None, ping_interval=None, open_timeout=PATIENCE,
                           close_timeout=PATIENCE, max_size=None) for _ in options.logs))
    done = await asyncio.gather(*(send(connection, options, path, stop)
                                  for connection, path in zip(connections, options.logs)))
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
