"""What the client's tests share: its modules on the path, servers to stream to, WAV files."""

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
import threading

import pytest
import websockets

TESTS = os.path.dirname(os.path.abspath(__file__))
CLIENT = os.path.dirname(TESTS)
DATA = os.path.join(os.path.dirname(CLIENT), "data")
sys.path.insert(0, CLIENT)


class Loop:
    """An event loop in a thread of its own, for servers that run beside the test."""

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.run(self._cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    async def _cancel_all(self):
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class Received:
    """What a server got on one connection."""

    def __init__(self, path, headers):
        self.path = path
        self.headers = headers
        self.messages = []
        self.code = None
        self.ended = threading.Event()


class WebSocketServer:
    """Receives messages; `act(connection, received)` is awaited after each of them.

    queue: messages read from the network while `act` is busy; None is no limit, so that a close
    handshake in `act` gets its answer.
    Works with the legacy API of websockets 10.4 and with the one that replaced it.
    """

    def __init__(self, act=None, queue=None):
        self.act = act
        self.queue = queue
        self.connections = []

    async def start(self):
        self._server = await websockets.serve(self._handle, "127.0.0.1", 0, ping_interval=None,
                                              max_queue=self.queue)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self):
        self._server.close()
        await self._server.wait_closed()

    async def _handle(self, connection):
        if hasattr(connection, "request_headers"):
            received = Received(connection.path, connection.request_headers)
        else:
            received = Received(connection.request.path, connection.request.headers)
        self.connections.append(received)
        try:
            async for message in connection:
                received.messages.append(message)
                if self.act:
                    await self.act(connection, received)
        except websockets.exceptions.ConnectionClosed:
            pass
        finally:
            await connection.wait_closed()
            received.code = connection.close_code
            received.ended.set()

    def ended(self):
        """All connections so far, when the server too is done with them."""
        assert all(received.ended.wait(30) for received in self.connections)
        return self.connections

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}/ws"


class RawServer:
    """Answers each connection's first bytes with these bytes, and ends it."""

    def __init__(self, answer):
        self.answer = answer

    async def start(self):
        self._server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self):
        self._server.close()
        await self._server.wait_closed()

    async def _handle(self, reader, writer):
        await reader.read(65536)
        writer.write(self.answer)
        await writer.drain()
        writer.close()

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}/ws"


@pytest.fixture
def serve():
    """serve(server) starts it; it is stopped when the test ends."""
    started = []
    with Loop() as loop:
        def start(server):
            loop.run(server.start())
            started.append(server)
            return server
        yield start
        for server in started:
            loop.run(server.stop())


@pytest.fixture
def refusing_port():
    """A port that nobody listens on, and that nobody else can get."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


class Client:
    """The program, as a process of its own."""

    def __init__(self, arguments, **options):
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(CLIENT, "stream_client.py"), *map(str, arguments)],
            stdin=options.pop("stdin", subprocess.DEVNULL), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, **options)

    def finish(self):
        self.out, self.err = self.process.communicate(timeout=300)
        self.status = self.process.returncode
        assert "Traceback" not in self.err, self.err
        return self

    def interrupt(self, number=signal.SIGINT):
        self.process.send_signal(number)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def start_client():
    """start_client(arguments ...) runs the program; a process still there is ended."""
    clients = []

    def start(*arguments, **options):
        clients.append(Client(arguments, **options))
        return clients[-1]
    yield start
    for client in clients:
        client.kill()


@pytest.fixture
def run_client(start_client):
    """run_client(arguments ...) runs the program to its end: .status, .out, .err."""
    return lambda *arguments, **options: start_client(*arguments, **options).finish()


def fmt(channels=1, rate=8000, bits=16, tag=1, extra=b""):
    """A WAV file's `fmt ` chunk."""
    align = channels * ((bits + 7) // 8)
    body = struct.pack("<HHIIHH", tag, channels, rate, rate * align, align, bits) + extra
    return b"fmt " + struct.pack("<I", len(body)) + body


def riff(*chunks, size=None, name=b"RIFF"):
    """A WAV file of these chunks."""
    body = b"WAVE" + b"".join(chunks)
    return name + struct.pack("<I", len(body) if size is None else size) + body


def data(content, size=None):
    """A `data` chunk, with its padding byte."""
    return (b"data" + struct.pack("<I", len(content) if size is None else size) + content
            + b"\0" * (len(content) % 2))


@pytest.fixture
def make_wav(tmp_path):
    """make_wav(samples, channels, rate): a WAV file with these interleaved samples."""
    def make(samples, channels=1, rate=8000, name="test.wav"):
        path = tmp_path / name
        content = struct.pack(f"<{len(samples)}h", *samples)
        path.write_bytes(riff(fmt(channels, rate), data(content)))
        return path
    return make
