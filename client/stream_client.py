#!/usr/bin/env python3
"""Streams a WAV file, or a stored log, to eet-listen, over one WebSocket connection or many.

Every connection sends a handshake and then the file as PCM or IMA ADPCM frames.  The frames are
made once, and all connections send the same bytes; only stream_id and timestamp in their
handshakes differ.  A log is replayed byte for byte, its handshake too.  The file is read as it is
needed: memory is bounded by Feed.AHEAD, however long the file is or however often it is repeated.
"""

import argparse
import asyncio
import errno
import fractions
import inspect
import logging
import os
import re
import resource
import signal
import sys
import time

import eet_wire
import ima_adpcm
import log_reader
from wav_reader import WavError, WavReader

try:
    import websockets
    from websockets.exceptions import ConnectionClosed, InvalidURI, WebSocketException
    from websockets.uri import parse_uri
except ImportError:
    websockets = None  # --help needs none

VERSION = "0.1.0"
PROGRAM = "stream_client.py"

OPEN_TIMEOUT = 20  # seconds, from connect to the upgrade's answer
CLOSE_TIMEOUT = 10  # seconds, for the close handshake; the server has read everything by then
INTERRUPT_TIMEOUT = 2  # seconds, to close all streams after a signal
WRITE_LIMIT = 32768  # bytes queued for a connection beyond which sending waits
MAX_MESSAGE = 1 << 20  # what eet-listen accepts unless told otherwise
YIELD_EVERY = 32  # frames that one stream may send before another gets its turn


class StreamError(Exception):
    """A stream failed; the message says why."""


# --- frames: from the file to messages ready to send ---


class Framer:
    """Cuts the samples of a WavReader into frames and packs them as messages.

    A source of frames: `rate` samples per second, `ticks` per second for real time.

    wav: where the samples come from.
    codec: eet_wire.PCM16 or eet_wire.ADPCM.
    frame_samples: samples per channel in a full frame; only the last one may be shorter.
    loop: begin again at the end, for ever: frames and encoder run on over the seam.

    What pads a short ADPCM block at the end of the file, a reader takes for samples: at most
    one (mono) or seven (more channels) that are not in the file.
    """

    READ = 16384

    def __init__(self, wav, codec, frame_samples, loop=False):
        self.rate = self.ticks = wav.rate
        self._samples = 0  # per channel, so far
        self._frame_samples = frame_samples
        self._wav = wav
        self._codec = codec
        self._frame_bytes = frame_samples * wav.align
        self._loop = loop
        self._rest = bytearray()
        self._seq = 0
        self._ended = False
        encoder = ima_adpcm.Encoder(wav.channels)
        self._pack = bytes if codec == eet_wire.PCM16 else encoder.encode

    def handshake(self, stream_id):
        """The first message of a stream that begins now."""
        return eet_wire.pack_handshake(stream_id, self.rate, self._wav.channels, self._codec,
                                       self._frame_samples, time.time_ns() // 1000000)

    async def batch(self):
        """The next messages, each with its samples per channel and the tick when it is due.

        An empty list at the end.

        As many as one read of the file gives, so that a live source is sent as it comes.
        Raises StreamError.
        """
        while len(self._rest) < self._frame_bytes and not self._ended:
            await self._read()
        whole = len(self._rest) // self._frame_bytes * self._frame_bytes
        if self._ended:
            whole = len(self._rest)
        made = [self._message(self._rest[at:min(at + self._frame_bytes, whole)])
                for at in range(0, whole, self._frame_bytes)]
        del self._rest[:whole]
        return made

    async def _read(self):
        await readable(self._wav.fd)
        most = max(self.READ, self._frame_bytes)
        try:
            data = self._wav.read(most)
            if not data and self._loop:
                self._trim()
                self._wav.rewind()
                data = self._wav.read(most)
        except OSError as error:
            raise StreamError(f"the file can't be read: {error.strerror}") from None
        if not data:
            self._trim()
            self._ended = True
        self._rest += data

    def _trim(self):
        """A file that ends within a sample: that sample is not sent."""
        del self._rest[len(self._rest) - len(self._rest) % self._wav.align:]

    def _message(self, pcm):
        message = eet_wire.pack_frame(self._codec, self._seq, self._pack(pcm))
        self._seq += 1
        due, samples = self._samples, len(pcm) // self._wav.align
        self._samples += samples
        return message, samples, due


class Replay:
    """The frames of one session of a stored log, verbatim, in their order.

    fd: the log.  session: its number, or None for the only one.  damage: called with a text for
    each place where the log is damaged.

    A source of frames as Framer is.  A mux log's frames are due when they were received, counted
    from the session's beginning; a frame log's by the samples before them, gaps counted.
    Raises log_reader.LogError if the log can't be replayed, OSError.
    """

    READ = 65536
    SEQ_MASK, HALF, MAX_BEHIND = 0xFFFFFFFF, 1 << 31, 1024  # eet-formats(5), "seq"

    def __init__(self, fd, session, damage):
        self._fd = fd
        self._session = session
        self._damage = damage
        self._over = False  # no more of the log comes
        self._ended = False  # nothing more is wanted
        self._samples = 0  # before the next frame, those of gaps included
        self._expected = None
        self._behind = 0  # repeats in a row
        try:
            start = os.lseek(fd, 0, os.SEEK_CUR)
        except OSError:
            start = None  # a pipe: what is in it shows as it comes
        if start is not None:
            self._look_through()
            os.lseek(fd, start, os.SEEK_SET)
        self._find()

    def handshake(self, _):
        """The first message: the log's, whatever a stream's number is."""
        return self._open.message

    async def batch(self):
        """As Framer's."""
        made = []
        while not made and not self._ended:
            made = self._frames(self._records)
            if not made and not self._ended:
                await readable(self._fd)
                try:
                    self._read()
                except OSError as error:
                    raise StreamError(f"the log can't be read: {error.strerror}") from None
        return made

    def _read(self):
        if self._over:
            self._ended = True
            return
        self._over = not self._feed(self._parser)
        self._records = self._parser.records()

    def _feed(self, parser):
        """More of the log; False: there is no more."""
        data = os.read(self._fd, self.READ)
        if data:
            parser.push(data)
        else:
            parser.finish()
        return bool(data)

    def _tell(self, record):
        self._damage(f"offset {record.offset}: {record.text}")

    def _look_through(self):
        """A file: which sessions has it?  (Two are enough to know if there is a choice.)"""
        parser, sessions, more = log_reader.LogParser(), [], True
        while more:
            more = self._feed(parser)
            for record in parser.records():
                if record.kind == log_reader.OPEN:
                    sessions.append(record.session)
                    if self._session == record.session:
                        return
            if self._session is None and len(sessions) > 1:
                raise log_reader.LogError(self._choose())
        if self._session is not None and sessions:
            few = ", ".join(map(str, sessions[:10])) + (", ..." if len(sessions) > 10 else "")
            raise log_reader.LogError(f"no session {self._session} in it, but {few}")

    @staticmethod
    def _choose():
        return "more than one session in it: choose one with --session"

    def _find(self):
        """Read up to the session's handshake."""
        self._parser = log_reader.LogParser()
        self._records = iter(())
        while not self._ended:
            for record in self._records:
                if record.kind is None:
                    self._tell(record)
                elif record.kind == log_reader.OPEN and self._session in (None, record.session):
                    self._open = record
                    self.rate = record.format.rate
                    self.ticks = self.rate if record.time_us is None else 1000000
                    return
            self._read()
        what = "stream" if self._session is None else f"session {self._session}"
        raise log_reader.LogError(f"no {what} in it")

    def _frames(self, records):
        made = []
        for record in records:
            if record.kind is None:
                self._tell(record)
            elif record.kind == log_reader.OPEN and self._session is None:
                self._damage(self._choose())  # a pipe's: too late to refuse it
                self._ended = True
            elif record.session != self._open.session:
                continue
            elif record.kind == log_reader.FRAME:
                made.append(self._frame(record))
                continue
            else:
                self._ended = True  # closed, or its number begins anew
            if self._ended:
                break
        return made

    def _frame(self, record):
        samples = record.format.samples(len(record.message) - eet_wire.FRAME_HEADER_SIZE)
        if record.time_us is not None:
            return record.message, samples, record.time_us - self._open.time_us
        seq = int.from_bytes(record.message[8:12], "little")
        ahead = 0 if self._expected is None else seq - self._expected & self.SEQ_MASK
        repeat = ahead >= self.HALF and (self.SEQ_MASK + 1 - ahead <= self.MAX_BEHIND
                                         and self._behind < self.MAX_BEHIND)
        self._behind = self._behind + 1 if repeat else 0
        if repeat:
            return record.message, samples, self._samples
        if ahead < self.HALF:
            self._samples += ahead * record.format.frame_samples
        due = self._samples
        self._expected = seq + 1 & self.SEQ_MASK
        self._samples += samples
        return record.message, samples, due


async def readable(fd):
    """Wait until a read would not block, and let other streams go on meanwhile."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(fd, ready.set)
    except PermissionError:  # epoll takes no regular files: they never block
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


class Feed:
    """Hands the frames of one source to many streams, each at its own pace.

    source: `await source.batch()` gives a list of next frames, an empty one at the end.

    The frames form a linked list whose end grows when the foremost stream needs more, and whose
    beginning is freed as the hindmost moves on.  Streams don't wait for each other unless they
    are AHEAD bytes apart.
    """

    AHEAD = 64 << 20

    class _Node:
        __slots__ = ("frame", "next")

        def __init__(self, frame):
            self.frame = frame
            self.next = None

    class Cursor:
        """One stream's place in the feed."""

        def __init__(self, feed, node):
            self._feed = feed
            self._node = node
            self.passed = 0  # bytes

        async def next(self):
            """The next frame, or None at the end, again and again."""
            if self._node.next is None:
                await self._feed._extend(self._node)
            following = self._node.next
            if following.frame is not None:
                self._node = following
                self.passed += len(following.frame[0])
                self._feed._moved.set()
            return following.frame

        def close(self):
            """Hold nothing and nobody back any more."""
            self._feed._cursors.discard(self)
            self._feed._moved.set()
            self._node = None

    def __init__(self, source, streams):
        self._source = source
        self._tail = self._Node(None)
        self._made = 0  # bytes
        self._lock = asyncio.Lock()
        self._moved = asyncio.Event()
        self._cursors = {self.Cursor(self, self._tail) for _ in range(streams)}

    def cursors(self):
        """The streams' cursors; each must be closed."""
        return list(self._cursors)

    async def _extend(self, node):
        async with self._lock:
            if node.next is not None:
                return
            while self._made - min(cursor.passed for cursor in self._cursors) >= self.AHEAD:
                self._moved.clear()
                await self._moved.wait()
            for frame in await self._source.batch() or [None]:
                self._tail.next = self._Node(frame)
                self._tail = self._tail.next
                if frame is not None:
                    self._made += len(frame[0])


class Schedule:
    """Real time: when each frame is due, counted from one start, so that no error adds up.

    rate: ticks per second.
    clock, sleep: time.monotonic and asyncio.sleep, or what a test has instead.
    """

    def __init__(self, rate, clock=time.monotonic, sleep=asyncio.sleep):
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._start = clock()

    async def wait(self, tick):
        """Return when it is time for that tick; at once when that is over."""
        delay = self._start + tick / self._rate - self._clock()
        if delay > 0:
            await self._sleep(delay)


# --- streams: messages to the server ---


class Stream:
    """One connection: its source of frames, and what has been sent on it so far."""

    def __init__(self, stream_id, source, options):
        self.id = stream_id
        self._source = source
        self._options = options
        self.frames = self.bytes = self.samples = 0
        self.seconds = 0.0  # from the handshake to the end of the close handshake

    async def run(self, cursor):
        """Send everything that the cursor gives.  Raises StreamError."""
        try:
            connection = await self._connect()
            began = time.monotonic()
            reader = asyncio.ensure_future(discard(connection))
            try:
                await self._send(connection, cursor)
            except ConnectionClosed as closed:
                code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")
                raise StreamError(self._why_closed(code, reason)) from None
            except OSError as error:
                raise StreamError(self._why_closed(1006, error.strerror or str(error))) from None
            except (asyncio.CancelledError, StreamError):
                await connection.close(1001, "the sender stopped")
                raise
            finally:
                reader.cancel()
                self.seconds = time.monotonic() - began
        finally:
            cursor.close()

    async def _connect(self):
        url = self._options.url
        try:
            return await websockets.connect(url, **connect_options())
        except (asyncio.TimeoutError, TimeoutError):
            raise StreamError(f"{url}: no answer within {OPEN_TIMEOUT} s") from None
        except OSError as error:
            raise StreamError(f"{url}: {why_unreachable(error)}") from None
        except WebSocketException as error:
            raise StreamError(f"{url}: {why_refused(error)}") from None

    async def _send(self, connection, cursor):
        options = self._options
        await connection.send(self._source.handshake(self.id))
        schedule = Schedule(self._source.ticks) if options.realtime else None
        while True:
            frame = await cursor.next()
            if frame is None:
                break
            message, samples, due = frame
            if schedule:
                await schedule.wait(due)
            if self.frames % YIELD_EVERY == 0:
                await asyncio.sleep(0)
            await connection.send(message)
            self.frames += 1
            self.bytes += len(message)
            self.samples += samples
        # A server may hold us back for any length of time, but a close handshake must not take
        # for ever.  The answer to one ping behind the last frame tells that all was read.
        await (await connection.ping())
        await connection.close()
        if connection.close_code != 1000:
            raise StreamError(self._why_closed(connection.close_code, connection.close_reason))

    def _why_closed(self, code, reason):
        why = "the connection was lost" if code == 1006 else f"closed by the server with {code}"
        if reason:
            why += f" ({printable(reason)})"
        return f"{why} after {self.frames} frames"


async def discard(connection):
    """Read what the server sends, or neither its pings nor its closing would be noticed."""
    try:
        async for _ in connection:
            pass
    except ConnectionClosed:
        pass


def connect_options():
    """Keyword arguments for websockets.connect, of version 10.4 and of those after it."""
    options = {
        "compression": None,
        "ping_interval": None,  # a server that holds us back answers none
        "open_timeout": OPEN_TIMEOUT,
        "close_timeout": CLOSE_TIMEOUT,
        "write_limit": WRITE_LIMIT,
        "max_size": 2 * MAX_MESSAGE,  # an echo server returns our own messages
    }
    if "proxy" in inspect.signature(websockets.connect).parameters:
        options["proxy"] = None
    return options


def why_unreachable(error):
    # For a name with several addresses the error is of no class and no number of its own.
    if isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(error):
        return "connection refused; is eet-listen running?"
    return error.strerror or str(error)


def why_refused(error):
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    if status is None:
        return f"no WebSocket server: {error}"
    body = getattr(response, "body", None) or b""
    text = printable(body.decode("utf-8", "replace").strip().partition("\n")[0])
    return f"refused with HTTP status {status}" + (f": {text}" if text else "")


def printable(text):
    """Text from the other side, without control characters."""
    return "".join(c if c.isprintable() else "".join(f"\\x{b:02x}" for b in c.encode())
                   for c in text)


# --- the program ---


class Report:
    """Messages on standard error: level 0 is errors only, 1 the summary too, 2 every stream."""

    def __init__(self, level):
        self.level = level

    def say(self, level, text):
        if self.level >= level:
            print(f"{PROGRAM}: {text}", file=sys.stderr, flush=True)


async def stream_all(options, source, report):
    """Run all streams; returns the exit status."""
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    received = []

    def interrupt(number):
        received.append(number)
        task.cancel()
        for each in (signal.SIGINT, signal.SIGTERM):  # a second one ends at once
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)

    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, interrupt, each)

    feed = Feed(source, options.streams)
    streams = [Stream(options.stream_id_base + i, source, options) for i in range(options.streams)]

    async def run(stream, cursor):
        try:
            await stream.run(cursor)
        except StreamError as error:
            report.say(0, f"stream {stream.id}: {error}")
            return False
        report.say(2, f"stream {stream.id}: {amounts([stream], source)} "
                      f"in {stream.seconds:.2f} s")
        return True

    began = time.monotonic()
    tasks = [asyncio.ensure_future(run(*pair)) for pair in zip(streams, feed.cursors())]
    try:
        done = await asyncio.gather(*tasks)
        failed = done.count(False)
    except asyncio.CancelledError:
        for each in tasks:
            each.cancel()
        await asyncio.wait(tasks, timeout=INTERRUPT_TIMEOUT)
        failed = 0
    elapsed = time.monotonic() - began

    text = f"{len(streams)} stream{'s' if len(streams) != 1 else ''}"
    if received:
        text += f", interrupted by {signal.Signals(received[0]).name}"
    elif failed:
        text += f", {failed} failed"
    report.say(1, f"{text}: {amounts(streams, source)} in {elapsed:.2f} s")
    return 128 + received[0] if received else 1 if failed else 0


def amounts(streams, source):
    """What these streams sent, in words."""
    return (f"{sum(s.frames for s in streams)} frames, {sum(s.bytes for s in streams)} bytes, "
            f"{sum(s.samples for s in streams) / source.rate:.3f} s of audio")


def integer(low, high):
    """An argument type: a decimal number within limits, and nothing but that."""
    def parse(text):
        if not re.fullmatch("[0-9]{1,20}", text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {low} to {high}")
        return int(text)
    return parse


def milliseconds(text):
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no length in milliseconds")
    return fractions.Fraction(text)


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(
        prog=PROGRAM, allow_abbrev=False,
        description="Stream a 16-bit WAV file, or a stored log, to a WebSocket server such as "
                    "eet-listen.",
        epilog="Exit status: 0 everything was sent and every stream closed cleanly; 1 the file "
               "can't be streamed, a log is damaged, or a stream failed; 2 usage; 130 or 143 "
               "interrupted by SIGINT or SIGTERM.")
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--wav", metavar="FILE", help="the file; - is standard input")
    what.add_argument("--log", metavar="FILE",
                      help="replay a frame log, or one session of a mux log, byte for byte, "
                           "handshake included; - is standard input")
    add("--session", metavar="N", type=integer(0, 0xFFFFFFFF),
        help="with --log: which of the log's sessions, if it has several")
    add("--speed", choices=("1", "max"),
        help="with --log: at the pace at which it was recorded, or as fast as the server takes "
             "it (default: max)")
    add("--codec", choices=("adpcm", "pcm"), help="default: adpcm")
    add("--url", default="ws://localhost:5096/ws",
        help="ws:// or wss://; /ws/TAG names the device or room (default: %(default)s)")
    add("--streams", metavar="N", type=integer(1, 65535), default=1,
        help="so many connections at once (default: %(default)s)")
    add("--stream-id-base", metavar="ID", type=integer(0, 0xFFFFFFFF),
        help="the first stream's stream_id; the next have the next ones (default: 1)")
    add("--frame-ms", metavar="MS", type=milliseconds,
        help="length of a frame, rounded to whole samples (default: 20)")
    add("--realtime", action="store_true",
        help="send each frame when it is due, not as fast as the server takes them")
    add("--loop", action="store_true",
        help="repeat the file until the server closes or a signal comes")
    add("-q", "--quiet", action="store_const", dest="level", const=0, default=1,
        help="print errors only")
    add("-v", "--verbose", action="store_const", dest="level", const=2,
        help="print a line for every stream")
    add("-V", "--version", action="version", version=f"{PROGRAM} {VERSION}")
    options = parser.parse_args(arguments)
    if websockets is None:
        parser.exit(1, f"{PROGRAM}: the Python package websockets is missing; install it with: "
                    "python3 -m pip install -r "
                    + os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                   "requirements.txt\n"))
    others = (("session", "speed") if options.log is None else
              ("codec", "stream_id_base", "frame_ms", "realtime", "loop"))
    for name in others:
        if getattr(options, name) is not None and getattr(options, name) is not False:
            parser.error(f"argument --{name.replace('_', '-')}: goes with "
                         f"{'--log' if options.log is None else '--wav'}")
    options.codec = eet_wire.PCM16 if options.codec == "pcm" else eet_wire.ADPCM
    options.frame_ms = options.frame_ms or fractions.Fraction(20)
    if options.stream_id_base is None:
        options.stream_id_base = 1
    options.realtime = options.realtime or options.speed == "1"
    try:
        parse_uri(options.url)
    except (InvalidURI, ValueError) as error:
        parser.error(f"argument --url: {error}")
    if options.stream_id_base + options.streams - 1 > 0xFFFFFFFF:
        parser.error("argument --stream-id-base: the last stream's id would exceed 4294967295")
    return parser, options


def make_framer(parser, options, wav):
    """A source of frames from the file; what it makes impossible is a usage error."""
    if not 1 <= wav.rate <= eet_wire.MAX_RATE:
        raise WavError(f"{wav.rate} Hz; it must be 1 to {eet_wire.MAX_RATE}")
    if not 1 <= wav.channels <= eet_wire.MAX_CHANNELS:
        raise WavError(f"{wav.channels} channels; at most {eet_wire.MAX_CHANNELS}")
    samples = round(wav.rate * options.frame_ms / 1000)
    if not 1 <= samples <= eet_wire.MAX_FRAME_SAMPLES:
        parser.error(f"argument --frame-ms: a frame of {samples} samples at {wav.rate} Hz; "
                     f"it must be 1 to {eet_wire.MAX_FRAME_SAMPLES}")
    size = eet_wire.FRAME_HEADER_SIZE + (
        ima_adpcm.block_size(wav.channels, samples) if options.codec == eet_wire.ADPCM
        else samples * wav.align)
    if size > MAX_MESSAGE:
        parser.error(f"argument --frame-ms: a frame of {size} bytes; at most {MAX_MESSAGE}")
    if options.loop and not wav.rewindable:
        parser.error("argument --loop: needs a file, not a pipe")
    return Framer(wav, options.codec, samples, options.loop)


def allow_descriptors(count):
    """Raise the limit on open files for so many connections, as far as it may be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 64
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main(arguments=None):
    parser, options = parse_arguments(arguments)
    report = Report(options.level)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there are streams to close
    # What goes wrong is reported per stream, in one line; the library would add tracebacks.
    logging.getLogger("websockets").setLevel(logging.CRITICAL + 1)
    file, damages, wav = options.wav or options.log, [], None

    def damage(text):
        damages.append(text)
        report.say(0, f"{file}: {text}")

    try:
        fd = 0 if file == "-" else os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        if options.log is not None:
            source = Replay(fd, options.session, damage)
        else:
            wav = WavReader(fd)
            source = make_framer(parser, options, wav)
    except OSError as error:
        report.say(0, f"{file}: {error.strerror}")
        return 1
    except (WavError, log_reader.LogError) as error:
        report.say(0, f"{file}: {error}")
        return 1
    allow_descriptors(options.streams)
    status = asyncio.run(stream_all(options, source, report))
    if wav and wav.missing:
        report.say(0, f"{file}: warning: the file is cut: its header promises "
                      f"{wav.missing} more bytes")
    return status or (1 if damages else 0)


if __name__ == "__main__":
    sys.exit(main())
