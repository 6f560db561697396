"""Reads 16-bit PCM WAV files, also from a pipe.

A reader of its own because the standard library's refuses WAVE_FORMAT_EXTENSIBLE and RF64, and
needs a file whose header tells the truth.  Here chunks may come in any number and with or
without the padding byte at the end of the file, the data's size may be one that a streaming
writer left (0, 0xFFFFFFFF and the like: the data then runs to the end of the file), and a file
that ends too early gives what is there.
"""

import os
import stat
import struct

PCM = 0x0001
EXTENSIBLE = 0xFFFE
FORMAT_NAMES = {0x0002: "MS ADPCM", 0x0003: "float", 0x0006: "A-law", 0x0007: "mu-law",
                0x0011: "IMA ADPCM", 0x0055: "MP3"}
CONVERT = "convert it with: sox in.wav -e signed-integer -b 16 out.wav"

# The last 14 bytes of the GUIDs that begin with a format tag.
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")


class WavError(Exception):
    """Not a file that can be streamed; the message says why."""


def _size_left_by_streaming(size):
    """Sizes that writers put down when they can't go back to fill in the right one."""
    return 0x7FFFF000 <= size <= 0x80000000 or size >= 0xFFFFFF00


class WavReader:
    """The format and the samples of the WAV file open at fd, from its present position.

    rate, channels, align (bytes of one sample of all channels): as in the file.
    fd: the caller's, to wait on and to close.
    rewindable: a regular file, no pipe.
    missing: after the end, the bytes of samples that the header promised and the file lacks.
    """

    def __init__(self, fd):
        """Read up to the first sample.  Raises WavError or OSError."""
        self.fd = fd
        self.missing = 0
        self._riff_size, rf64 = self._read_riff()
        self._position = 12
        self.rate = self.channels = 0
        data_size = None
        while True:
            name, size = self._read_chunk_header()
            if name == b"data":
                break
            if name == b"ds64" and rf64:
                body = self._read_body(size, 24)
                self._riff_size, data_size = struct.unpack("<QQ", body[:16])
            elif name == b"fmt ":
                self._parse_format(self._read_body(size, 16))
            else:
                self._skip(size)
            if size % 2:
                self._skip(1)
        if not self.channels:
            raise WavError("a damaged WAV file: no format before the data")
        self.align = 2 * self.channels
        if data_size is None or size != 0xFFFFFFFF:
            data_size = size
        self._size = None if self._is_open_ended(data_size) else data_size
        self._left = self._size
        self.rewindable = stat.S_ISREG(os.fstat(fd).st_mode)
        self._start = os.lseek(fd, 0, os.SEEK_CUR) if self.rewindable else None

    def read(self, most):
        """Up to `most` bytes of samples, as many as one read gives; b"" at the end."""
        if self._left is not None:
            most = min(most, self._left)
        if most == 0:
            return b""
        data = os.read(self.fd, most)
        if self._left is not None:
            self._left -= len(data)
            if not data:
                self.missing, self._left = self._left, 0
        return data

    def rewind(self):
        """Back to the first sample, if the file is rewindable."""
        os.lseek(self.fd, self._start, os.SEEK_SET)
        self._left = self._size

    def _is_open_ended(self, size):
        """Whether the data runs to the end of the file, whatever size the header says."""
        if size == 0:
            # A file may really be empty; then what follows the data is within the RIFF chunk.
            return self._riff_size + 8 <= self._position or self._riff_size == 0xFFFFFFFF
        return _size_left_by_streaming(size)

    def _read_riff(self):
        start = self._read_exactly(12, "not a WAV file: it is too short")
        if start[:4] not in (b"RIFF", b"RF64", b"BW64") or start[8:] != b"WAVE":
            raise WavError(f"not a WAV file: it begins with {start[:4]!r}")
        return struct.unpack("<I", start[4:8])[0], start[:4] != b"RIFF"

    def _read_chunk_header(self):
        header = self._read_exactly(8, "a damaged WAV file: it ends before its samples")
        self._position += 8
        return struct.unpack("<4sI", header)

    def _read_body(self, size, least):
        """A small chunk's bytes."""
        if not least <= size <= 65536:
            raise WavError(f"a damaged WAV file: a header chunk of {size} bytes")
        self._position += size
        return self._read_exactly(size, "a damaged WAV file: it ends within its header")

    def _skip(self, size):
        self._position += size
        while size > 0:
            data = os.read(self.fd, min(size, 65536))
            if not data:
                raise WavError("a damaged WAV file: it ends before its samples")
            size -= len(data)

    def _read_exactly(self, size, complaint):
        data = b""
        while len(data) < size:
            piece = os.read(self.fd, size - len(data))
            if not piece:
                raise WavError(complaint)
            data += piece
        return data

    def _parse_format(self, body):
        tag, channels, rate, _, align, bits = struct.unpack("<HHIIHH", body[:16])
        if tag == EXTENSIBLE and len(body) >= 40 and body[26:40] == _GUID_TAIL:
            tag = struct.unpack("<H", body[24:26])[0]
        if tag != PCM or bits != 16:
            kind = "PCM" if tag == PCM else FORMAT_NAMES.get(tag, f"format 0x{tag:04x}")
            raise WavError(f"{bits}-bit {kind}, not 16-bit PCM; {CONVERT}")
        if channels == 0 or align != 2 * channels:
            raise WavError(f"a damaged WAV file: {channels} channels in {align} bytes")
        self.rate, self.channels = rate, channels
