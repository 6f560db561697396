"""Reads a stored log, a frame log or a mux log, as eet-formats(5) describes them.

A frame log has sessions, too: each of its handshakes begins one, and they are counted from 1.
"""

import struct

import eet_wire

RECORD_MAGIC = 0x4D544545
PREFIX_SIZE = 12  # magic, length, number: of records and frames alike
RECORD_HEADER_SIZE = 24
MAX_RECORD = (16 << 20) + 24
OPEN, FRAME, CLOSE = 1, 2, 3
MAX_KEYS = 4096
MAX_TIME = 253402300799999999  # the year 9999 ends, in microseconds
NEAR, HOUR = 10000000, 3600000000  # how far a time may be from the last one, and the next from it

_PREFIX = struct.Struct("<III")
_RECORD = struct.Struct("<IIIHHQ")
_HANDSHAKE = struct.Struct("<IHHIIHHHHQ")


class LogError(Exception):
    """A log that can't be replayed; the message says why."""


class Format:
    """What a handshake says; raises ValueError if it breaks the rules."""

    def __init__(self, handshake):
        (magic, version, size, self.stream_id, self.rate, self.channels, self.codec,
         self.frame_samples, _, self.timestamp_ms) = _HANDSHAKE.unpack(handshake)
        if magic != eet_wire.HANDSHAKE_MAGIC:
            raise ValueError(f"magic 0x{magic:08X} in a handshake")
        for name, value, low, high in (
                ("version", version, eet_wire.VERSION, eet_wire.VERSION),
                ("header_len", size, eet_wire.HANDSHAKE_SIZE, eet_wire.HANDSHAKE_SIZE),
                ("sample_rate", self.rate, 1, eet_wire.MAX_RATE),
                ("channels", self.channels, 1, eet_wire.MAX_CHANNELS),
                ("codec", self.codec, eet_wire.PCM16, eet_wire.ADPCM),
                ("frame_samples", self.frame_samples, 1, eet_wire.MAX_FRAME_SAMPLES)):
            if not low <= value <= high:
                raise ValueError(f"handshake {name} {value}, must be {low} to {high}")

    @property
    def max_payload(self):
        """Bytes in the longest frame."""
        if self.codec == eet_wire.PCM16:
            return 2 * self.channels * self.frame_samples
        return self.channels * (4 + 4 * -(-self.frame_samples // 8))

    def check(self, magic, length):
        """Raise ValueError if a frame with this magic and so long a payload breaks the rules."""
        if magic != eet_wire.FRAME_MAGIC[self.codec]:
            raise ValueError(f"magic 0x{magic:08X}, expected a frame's or a handshake's")
        if length > self.max_payload:
            raise ValueError(f"frame length {length}, at most {self.max_payload}")
        unit = 2 * self.channels if self.codec == eet_wire.PCM16 else (
            4 * self.channels if self.channels > 1 else 1)
        if length % unit:
            raise ValueError(f"frame length {length}, must be a multiple of {unit}")

    def samples(self, length):
        """Samples per channel in a frame; of a short ADPCM block those of the usual layout."""
        n, channels = self.frame_samples, self.channels
        if self.codec == eet_wire.PCM16:
            return length // (2 * channels)
        if channels == 1:
            full = {4 + -(-n // 2), 4 + n // 2, 4 + 4 * -(-(n - 1) // 8), -(-n // 2), n // 2}
            short = 2 * (length - 4)
        else:
            full = {channels * (4 + 4 * -(-n // 8)), channels * (4 + 4 * -(-(n - 1) // 8))}
            short = 8 * (length // (4 * channels) - 1)
        return n if length > 0 and length in full else max(0, min(n, short))


class _Missing(Exception):
    """More of the log is needed to go on."""


class UnknownFormat:
    """That of a take whose handshake is damaged: its frames are known from their headers only."""

    MAX_PAYLOAD = 2 * eet_wire.MAX_CHANNELS * eet_wire.MAX_FRAME_SAMPLES

    @classmethod
    def check(cls, magic, length):
        """Raise ValueError if no format has frames with this magic and so long a payload."""
        if magic not in eet_wire.FRAME_MAGIC.values():
            raise ValueError(f"magic 0x{magic:08X}, expected a frame's or a handshake's")
        if length > cls.MAX_PAYLOAD:
            raise ValueError(f"frame length {length}, at most {cls.MAX_PAYLOAD}")


class Record:
    """A handshake (kind OPEN), a frame (FRAME), the end of a session (CLOSE), or None: damage.

    session counts a log's sessions as the log does; time_us is None in a frame log; message is
    what was sent; text says what is damaged.
    """

    __slots__ = ("kind", "session", "time_us", "message", "format", "offset", "text")

    def __init__(self, kind, session=0, time_us=None, message=b"", format=None, offset=0, text=""):
        self.kind = kind
        self.session = session
        self.time_us = time_us
        self.message = message
        self.format = format
        self.offset = offset
        self.text = text


class LogParser:
    """Bytes in, records out.  Memory: what is not whole yet, and a Format per open session."""

    def __init__(self):
        self._data = bytearray()
        self._at = 0  # in _data
        self._offset = 0  # in the log, of _data's beginning
        self._mux = None  # what kind of log it is, not known yet
        self._open = {}
        self._takes = 0
        self._last_us = None  # the last time believed
        self._highest = 0  # session number in this log
        self._ended = False  # nothing can be read behind damage
        self._complete = False  # no more of the log comes

    def push(self, data):
        """More of the log."""
        del self._data[:self._at]
        self._offset += self._at
        self._at = 0
        if not self._ended:
            self._data += data

    def finish(self):
        """The log has ended: what waited comes from records(), and the damage of a torn record."""
        self._complete = True

    def records(self):
        """Those that are whole, each once; one whose time is doubtful when the next one is there."""
        while not self._ended:
            try:
                record = self._next()
            except _Missing:
                record = None
            if record is None:
                rest = len(self._data) - self._at
                if self._complete and rest:
                    yield self._end(f"the log ends {rest} bytes into a record")
                return
            if record.kind != 0:
                yield record

    def _damage(self, text):
        return Record(None, offset=self._offset + self._at, text=text)

    def _end(self, text):
        self._ended = True
        return self._damage(text)

    def _take(self, size):
        """The next bytes, or None if they are not there yet."""
        if len(self._data) - self._at < size:
            return None
        return bytes(self._data[self._at:self._at + size])

    def _next(self):
        prefix = self._take(PREFIX_SIZE)
        if prefix is None:
            return None
        magic, length, _ = _PREFIX.unpack(prefix)
        if self._mux is None:
            self._mux = magic == RECORD_MAGIC
        return self._record(magic, length) if self._mux else self._message(magic, length)

    # --- frame logs ---

    def _message(self, magic, length):
        if magic == eet_wire.HANDSHAKE_MAGIC:
            message = self._take(eet_wire.HANDSHAKE_SIZE)
            if message is None:
                return None
            self._takes += 1
            self._open = {self._takes: None}
            try:
                format = self._open[self._takes] = Format(message)
            except ValueError as error:
                record = self._damage(str(error))
            else:
                record = self._sound(OPEN, message, format)
        elif not self._open:
            return self._end(f"magic 0x{magic:08X}, expected a handshake's or a log's")
        else:
            format = self._open[self._takes]
            try:
                (format or UnknownFormat).check(magic, length)
            except ValueError as error:
                return self._end(str(error))
            message = self._take(PREFIX_SIZE + length)
            if message is None:
                return None
            record = self._sound(FRAME, message, format) if format else Record(0)
        self._at += len(message)
        return record

    def _sound(self, kind, message, format):
        return Record(kind, self._takes, None, message, format, self._offset + self._at)

    # --- mux logs ---

    def _record(self, magic, length):
        if magic != RECORD_MAGIC:
            return self._end(f"magic 0x{magic:08X}, expected a record's 0x{RECORD_MAGIC:08X}")
        if not 12 <= length <= MAX_RECORD:
            return self._end(f"record length {length}, must be 12 to {MAX_RECORD}")
        whole = self._take(PREFIX_SIZE + length)
        if whole is None:
            return None
        _, _, session, kind, _, time_us = _RECORD.unpack_from(whole)
        body = whole[RECORD_HEADER_SIZE:]
        if kind == OPEN and 0 < session <= self._highest and time_us < self._last_us:
            self._open.clear()  # another log, joined to the one before
            self._last_us, self._highest = None, 0
        time_us = self._last_us = self._believe(min(time_us, MAX_TIME), len(whole))
        try:
            record = self._read(kind, session, time_us, body)
        except ValueError as error:
            record = self._damage(str(error))
        self._at += len(whole)
        return record

    def _believe(self, time_us, size):
        """What to believe of a time: the next record's decides if it is far from the last one."""
        last = self._last_us
        if last is not None and abs(time_us - last) <= NEAR:
            return max(time_us, last)
        coming, after = self._peek(self._at + size)
        if coming is None:
            return time_us if last is None else last
        if last is None:
            third, _ = (None, 0) if -NEAR <= coming - time_us <= HOUR else self._peek(after)
            nearer = third is not None and abs(third - coming) < abs(third - time_us)
            return coming if nearer else time_us
        return time_us if 0 <= coming - time_us <= HOUR and abs(coming - last) > NEAR else last

    def _peek(self, at):
        """The time of the record there in _data, and where the next one is; None: there is none."""
        if len(self._data) - at < RECORD_HEADER_SIZE:
            if self._complete:
                return None, at
            raise _Missing
        magic, length, _, _, _, time_us = _RECORD.unpack_from(self._data, at)
        if magic != RECORD_MAGIC or not 12 <= length <= MAX_RECORD:
            return None, at
        return min(time_us, MAX_TIME), at + PREFIX_SIZE + length

    def _read(self, kind, session, time_us, body):
        format, offset = self._open.get(session), self._offset + self._at
        if kind == OPEN:
            if session == 0:
                raise ValueError("OPEN of session 0")
            if not eet_wire.HANDSHAKE_SIZE <= len(body) <= eet_wire.HANDSHAKE_SIZE + MAX_KEYS:
                raise ValueError(f"OPEN of session {session}: {len(body)} bytes")
            body = body[:eet_wire.HANDSHAKE_SIZE]
            format = self._open[session] = Format(body)
            self._highest = max(self._highest, session)
        elif kind not in (FRAME, CLOSE):
            return Record(0)
        elif format is None:
            raise ValueError(f"session {session} is not open")
        elif kind == CLOSE:
            del self._open[session]
        else:
            if len(body) < PREFIX_SIZE:
                raise ValueError(f"frame of {len(body)} bytes")
            magic, length, _ = _PREFIX.unpack_from(body)
            format.check(magic, length)
            if len(body) != PREFIX_SIZE + length:
                raise ValueError(f"frame length {length} in a message of {len(body)} bytes")
        return Record(kind, session, time_us, body, format, offset)
