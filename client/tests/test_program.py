"""The program against servers that behave, refuse, hold back, and die."""

import asyncio
import functools
import os
import signal
import socket
import struct
import subprocess
import sys
import threading

import eet_wire
import ima_reference
import pytest
import stream_client
from conftest import CLIENT, DATA, RawServer, WebSocketServer, data, fmt, riff

SINE = os.path.join(DATA, "sine_pcm16.wav")
STEREO = os.path.join(DATA, "stereo_44k1.wav")


def pcm_of(path):
    with open(path, "rb") as file:
        return file.read()[44:]


def handshake(message):
    names = ("magic", "version", "header_len", "stream_id", "rate", "channels", "codec",
             "frame_samples", "reserved", "timestamp_ms")
    return dict(zip(names, struct.unpack("<IHHIIHHHHQ", message)))


def payloads(messages):
    for seq, message in enumerate(messages):
        assert struct.unpack_from("<II", message, 4) == (len(message) - 12, seq)
    return [message[12:] for message in messages]


# --- what is sent ---


def test_adpcm_by_default(serve, run_client):
    server = serve(WebSocketServer())
    client = run_client("--wav", SINE, "--url", server.url)
    assert (client.status, client.out) == (0, "")
    received, = server.ended()
    first = handshake(received.messages[0])
    assert first.pop("timestamp_ms") > 1600000000000
    assert first == {"magic": 0x41445043, "version": 1, "header_len": 32, "stream_id": 1,
                     "rate": 16000, "channels": 1, "codec": 1, "frame_samples": 320,
                     "reserved": 0}
    blocks = payloads(received.messages[1:])
    assert [len(block) for block in blocks] == [164] * 150
    samples = struct.unpack("<48000h", pcm_of(SINE))
    decoded = [s for block in blocks for s in ima_reference.decode(block, 1, 320)[0][0]]
    assert max(abs(a - b) for a, b in zip(samples[100:], decoded[100:])) < 1500
    assert received.code == 1000
    assert client.err == (f"stream_client.py: 1 stream: 150 frames, {150 * 176} bytes, "
                          f"3.000 s of audio in {client.err.split(' in ')[1]}")


def test_pcm_stereo_is_the_file(serve, run_client):
    server = serve(WebSocketServer())
    assert run_client("--wav", STEREO, "--codec", "pcm", "--url", server.url).status == 0
    received, = server.ended()
    first = handshake(received.messages[0])
    assert (first["rate"], first["channels"], first["codec"], first["frame_samples"]) == (
        44100, 2, 0, 882)
    assert b"".join(payloads(received.messages[1:])) == pcm_of(STEREO)
    assert received.code == 1000


def test_many_streams_send_the_same_bytes(serve, run_client):
    server = serve(WebSocketServer())
    client = run_client("--wav", SINE, "--url", server.url, "--streams", 8,
                        "--stream-id-base", 40, "-v")
    assert client.status == 0
    assert sorted(handshake(r.messages[0])["stream_id"] for r in server.ended()) == list(
        range(40, 48))
    assert {r.code for r in server.ended()} == {1000}
    assert len({b"".join(r.messages[1:]) for r in server.ended()}) == 1
    lines = client.err.splitlines()
    assert len(lines) == 9
    assert sorted(line.split(": ")[1] for line in lines[:8]) == [f"stream {k}"
                                                                for k in range(40, 48)]
    assert all(": 150 frames, 26400 bytes, 3.000 s of audio in " in line for line in lines[:8])
    assert lines[8].startswith("stream_client.py: 8 streams: 1200 frames, 211200 bytes, 24.000 s ")


def test_frame_length(serve, run_client):
    server = serve(WebSocketServer())
    assert run_client("--wav", SINE, "--codec", "pcm", "--frame-ms", "2.5",
                      "--url", server.url).status == 0
    messages = server.ended()[0].messages
    assert handshake(messages[0])["frame_samples"] == 40
    assert len(messages) == 1 + 1200


def test_path_and_request(serve, run_client):
    server = serve(WebSocketServer())
    assert run_client("--wav", SINE, "--url", server.url + "/kitchen").status == 0
    received, = server.ended()
    assert received.path == "/ws/kitchen"
    assert "Sec-WebSocket-Extensions" not in received.headers


def test_standard_input(serve, run_client):
    server = serve(WebSocketServer())
    with open(SINE, "rb") as file:
        pipe = subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE)
        with pipe.stdout:
            client = run_client("--wav", "-", "--codec", "pcm", "--url", server.url,
                                stdin=pipe.stdout)
        pipe.wait()
    assert client.status == 0
    assert b"".join(payloads(server.ended()[0].messages[1:])) == pcm_of(SINE)


def test_file_without_samples(serve, run_client, make_wav):
    server = serve(WebSocketServer())
    client = run_client("--wav", make_wav([]), "--url", server.url)
    assert client.status == 0
    assert len(server.ended()[0].messages) == 1
    assert "1 stream: 0 frames, 0 bytes, 0.000 s of audio" in client.err


def test_cut_file_is_sent_with_a_warning(serve, run_client, tmp_path):
    server = serve(WebSocketServer())
    path = tmp_path / "cut.wav"
    path.write_bytes(riff(fmt(), data(bytes(800), size=1000)))
    client = run_client("--wav", path, "--codec", "pcm", "--url", server.url, "-q")
    assert client.status == 0
    assert client.err == (f"stream_client.py: {path}: warning: the file is cut: "
                          "its header promises 200 more bytes\n")
    assert b"".join(payloads(server.ended()[0].messages[1:])) == bytes(800)


def test_a_server_that_talks_back_is_no_trouble(serve, run_client):
    async def echo(connection, received):
        await connection.send(received.messages[-1])
    server = serve(WebSocketServer(echo))
    assert run_client("--wav", STEREO, "--codec", "pcm", "--url", server.url).status == 0
    assert b"".join(payloads(server.ended()[0].messages[1:])) == pcm_of(STEREO)


def test_proxies_in_the_environment_are_not_used(serve, run_client, refusing_port):
    server = serve(WebSocketServer())
    proxy = f"http://127.0.0.1:{refusing_port}"
    env = {**os.environ, "no_proxy": "", **{name: proxy for name in (
        "http_proxy", "https_proxy", "ws_proxy", "all_proxy", "socks_proxy")}}
    assert run_client("--wav", SINE, "--url", server.url, env=env).status == 0


def test_every_address_of_a_name_is_tried(serve):
    server = serve(WebSocketServer())  # on 127.0.0.1 only
    code = f"""
import socket, sys
sys.path.insert(0, {CLIENT!r})
real = socket.getaddrinfo
def both(host, port, *a, **k):
    assert host == "localhost"
    return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
socket.getaddrinfo = both
import stream_client
sys.exit(stream_client.main(sys.argv[1:]))
"""
    done = subprocess.run([sys.executable, "-c", code, "--wav", SINE, "--url",
                           f"ws://localhost:{server.port}/ws"], stderr=subprocess.PIPE, timeout=300)
    assert done.returncode == 0, done.stderr
    assert server.ended()[0].code == 1000
    # And when none of them answers, it says so like for a single one.
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        done = subprocess.run([sys.executable, "-c", code, "--wav", SINE, "--url",
                               f"ws://localhost:{holder.getsockname()[1]}/ws"],
                              stderr=subprocess.PIPE, timeout=300, text=True)
    assert done.returncode == 1
    assert "connection refused; is eet-listen running?" in done.stderr


# --- servers that don't want it ---


def test_nobody_there(run_client, refusing_port):
    url = f"ws://127.0.0.1:{refusing_port}/ws"
    client = run_client("--wav", SINE, "--url", url, "-q")
    assert client.status == 1
    assert client.err == (f"stream_client.py: stream 1: {url}: connection refused; "
                          "is eet-listen running?\n")


def test_unknown_host(run_client):
    client = run_client("--wav", SINE, "--url", "ws://nowhere.invalid/ws", "-q")
    assert client.status == 1
    assert client.err.startswith("stream_client.py: stream 1: ws://nowhere.invalid/ws: ")
    assert len(client.err.splitlines()) == 1


def test_refused_with_a_status(serve, run_client):
    server = serve(RawServer(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 10\r\n"
                             b"Connection: close\r\n\r\ndisk full\n"))
    client = run_client("--wav", SINE, "--url", server.url, "--streams", 2)
    assert client.status == 1
    lines = sorted(client.err.splitlines())
    assert lines[0].startswith("stream_client.py: 2 streams, 2 failed: 0 frames, ")
    for k in (1, 2):
        assert lines[k].startswith(f"stream_client.py: stream {k}: {server.url}: "
                                   "refused with HTTP status 503")


@pytest.mark.parametrize("answer", [b"", b"hello\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_no_websocket_server(serve, run_client, answer):
    server = serve(RawServer(answer))
    client = run_client("--wav", SINE, "--url", server.url, "-q")
    assert client.status == 1
    assert client.err.startswith(f"stream_client.py: stream 1: {server.url}: ")
    assert "no WebSocket server" in client.err or "HTTP status 200" in client.err
    assert len(client.err.splitlines()) == 1


def test_no_answer(monkeypatch):
    monkeypatch.setattr(stream_client, "OPEN_TIMEOUT", 0.05)
    monkeypatch.setattr(stream_client, "CLOSE_TIMEOUT", 0.05)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        _, options = stream_client.parse_arguments(
            ["--wav", "-", "--url", f"ws://127.0.0.1:{listener.getsockname()[1]}/ws"])
        with pytest.raises(stream_client.StreamError, match="no answer within 0.05 s"):
            asyncio.run(stream_client.Stream(1, None, options)._connect())


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1009, 1011, 1013])
def test_closed_by_the_server(serve, run_client, code):
    async def close(connection, received):
        if len(received.messages) == 5:
            await connection.close(code, "because \x07")
    server = serve(WebSocketServer(close))
    client = run_client("--wav", SINE, "--url", server.url, "--loop")
    assert client.status == 1
    lines = client.err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(
        f"stream_client.py: stream 1: closed by the server with {code} (because \\x07) after ")
    assert lines[1].startswith("stream_client.py: 1 stream, 1 failed: ")


def test_one_stream_fails_and_the_others_go_on(serve, run_client):
    async def close(connection, received):
        if handshake(received.messages[0])["stream_id"] == 2 and len(received.messages) == 3:
            await connection.close(1008, "not you")
    server = serve(WebSocketServer(close))
    client = run_client("--wav", STEREO, "--codec", "pcm", "--url", server.url, "--streams", 3)
    assert client.status == 1
    assert "stream 2: closed by the server with 1008 (not you)" in client.err
    assert "3 streams, 1 failed" in client.err
    whole = [r for r in server.ended() if handshake(r.messages[0])["stream_id"] != 2]
    assert [b"".join(payloads(r.messages[1:])) for r in whole] == [pcm_of(STEREO)] * 2


def test_server_dies(serve, run_client):
    async def die(connection, received):
        if len(received.messages) == 5:
            connection.transport.abort()
    server = serve(WebSocketServer(die))
    client = run_client("--wav", SINE, "--url", server.url, "--loop", "-q")
    assert client.status == 1
    assert client.err.startswith("stream_client.py: stream 1: the connection was lost after ")
    assert len(client.err.splitlines()) == 1


def test_close_is_answered_with_a_complaint(serve, run_client, make_wav):
    """Everything was sent, but the server says that it could not be kept."""
    async def close(connection, received):
        if len(received.messages) == 11:
            await connection.close(1011, "no space left")
    server = serve(WebSocketServer(close))
    client = run_client("--wav", make_wav([0] * 1600), "--url", server.url, "-q")
    assert client.status == 1
    assert client.err == ("stream_client.py: stream 1: closed by the server with 1011 "
                          "(no space left) after 10 frames\n")


def test_file_that_becomes_unreadable(serve, monkeypatch, capsys):
    class Failing(stream_client.WavReader):
        def read(self, most):
            if self.reads == 0:
                raise OSError(5, "Input/output error")
            self.reads -= 1
            return super().read(most)
        reads = 3
    monkeypatch.setattr(stream_client, "WavReader", Failing)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    server = serve(WebSocketServer())
    assert stream_client.main(["--wav", SINE, "--url", server.url, "--streams", "2", "-q"]) == 1
    assert sorted(capsys.readouterr().err.splitlines()) == [
        f"stream_client.py: stream {k}: the file can't be read: Input/output error"
        for k in (1, 2)]
    assert [received.code for received in server.ended()] == [1001, 1001]
    assert b"".join(server.connections[0].messages[1:]) == b"".join(
        server.connections[1].messages[1:])
    assert len(server.connections[0].messages) == 1 + 3 * 16384 // 640


# --- pace, back-pressure, signals ---


def test_realtime_keeps_the_schedule(serve, monkeypatch, make_wav):
    class Clock:
        now = 0.0

        async def sleep(self, seconds):
            slept.append(seconds)
            self.now += seconds
    clock, slept = Clock(), []
    monkeypatch.setattr(stream_client, "Schedule", functools.partial(
        stream_client.Schedule, clock=lambda: clock.now, sleep=clock.sleep))
    server = serve(WebSocketServer())
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert stream_client.main(["--wav", str(make_wav([0] * 1000)), "--realtime", "-q",
                               "--url", server.url]) == 0
    assert len(server.ended()[0].messages) == 1 + 7
    assert slept == pytest.approx([0.02] * 6)


def test_a_server_that_does_not_read_stops_the_sending(serve, monkeypatch, make_wav):
    release = threading.Event()

    async def hold(connection, received):
        if len(received.messages) == 1:
            await asyncio.get_running_loop().run_in_executor(None, release.wait, 30)
    server = serve(WebSocketServer(hold, queue=4))
    real, opened = stream_client.websockets.connect, []

    @functools.wraps(real)  # the options depend on its signature
    async def connect(*arguments, **options):
        opened.append(await real(*arguments, **options))
        return opened[0]
    monkeypatch.setattr(stream_client.websockets, "connect", connect)
    _, options = stream_client.parse_arguments(["--wav", "-", "--codec", "pcm",
                                                "--url", server.url])
    total = 16 << 20

    class Source:
        left = total // 4000

        def handshake(self, stream_id):
            return eet_wire.pack_handshake(stream_id, 8000, 1, eet_wire.PCM16, 2000, 0)

        async def batch(self):
            self.left -= 1
            return [(bytes(4000), 1994, 0)] if self.left >= 0 else []

    async def run():
        source = Source()
        cursor, = stream_client.Feed(source, 1).cursors()
        stream = stream_client.Stream(1, source, options)
        task = asyncio.ensure_future(stream.run(cursor))
        while not opened:
            await asyncio.sleep(0)
        high = stream_client.WRITE_LIMIT
        while opened[0].transport.get_write_buffer_size() <= high and not task.done():
            await asyncio.sleep(0)
        held = []
        for _ in range(200):
            await asyncio.sleep(0)
            held.append((stream.frames, opened[0].transport.get_write_buffer_size()))
        release.set()
        await task
        return held
    held = asyncio.run(run())
    assert held[-1][0] < total // 4000  # it stopped before the end
    assert max(size for _, size in held) <= stream_client.WRITE_LIMIT + 4100
    received, = server.ended()
    assert sum(map(len, received.messages[1:])) == total // 4000 * 4000
    assert received.code == 1000


def test_close_waits_until_a_server_that_held_back_has_read_everything(serve, monkeypatch,
                                                                       make_wav):
    release, pongs, answered = threading.Event(), [], []

    async def hold(connection, received):
        if len(received.messages) == 1:
            await asyncio.get_running_loop().run_in_executor(None, release.wait, 30)
    server = serve(WebSocketServer(hold, queue=1))
    real = stream_client.websockets.connect

    @functools.wraps(real)
    async def connect(*arguments, **options):
        connection = await real(*arguments, **options)
        real_ping, real_close = connection.ping, connection.close

        async def ping():
            pongs.append(await real_ping())
            release.set()
            return pongs[0]

        async def close(*reason):
            answered.append(bool(pongs) and pongs[0].done())
            release.set()
            await real_close(*reason)
        connection.ping, connection.close = ping, close
        return connection
    monkeypatch.setattr(stream_client.websockets, "connect", connect)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    path = make_wav([1, 2, 3, 4] * 2000)
    assert stream_client.main(["--wav", str(path), "--codec", "pcm", "-q",
                               "--url", server.url]) == 0
    assert answered == [True]
    received, = server.ended()
    assert b"".join(payloads(received.messages[1:])) == pcm_of(path)
    assert received.code == 1000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(serve, start_client, number):
    clients = []

    async def interrupt(connection, received):
        if len(received.messages) == 5:
            clients[0].interrupt(number)
    server = serve(WebSocketServer(interrupt))
    clients.append(start_client("--wav", SINE, "--url", server.url, "--loop", "--realtime"))
    client = clients[0].finish()
    assert client.status == 128 + number
    assert client.err.startswith(
        f"stream_client.py: 1 stream, interrupted by {signal.Signals(number).name}: ")
    assert len(client.err.splitlines()) == 1
    assert server.ended()[0].code == 1001


def test_interrupted_while_it_waits_for_its_input(serve, start_client):
    async def interrupt(connection, received):
        clients[0].interrupt()
    server = serve(WebSocketServer(interrupt))
    source, target = os.pipe()
    os.write(target, riff(fmt(), data(b"", size=0xFFFFFFFF)))
    clients = [start_client("--wav", "-", "--url", server.url, stdin=source)]
    client = clients[0].finish()
    os.close(source)
    os.close(target)
    assert client.status == 130
    assert server.ended()[0].code == 1001


# --- the command line ---


def test_help_and_version(run_client):
    for flag in ("-h", "--help"):
        client = run_client(flag)
        assert (client.status, client.err) == (0, "")
        for option in ("--wav", "--codec", "--url", "--streams", "--stream-id-base", "--frame-ms",
                       "--realtime", "--loop", "-q", "-v", "-V"):
            assert option in client.out
    for flag in ("-V", "--version"):
        client = run_client(flag)
        assert (client.status, client.out) == (0, f"stream_client.py {stream_client.VERSION}\n")


@pytest.mark.parametrize("arguments, says", [
    ([], "--wav"),
    (["--wav"], "--wav"),
    (["--wav", SINE, "extra"], "extra"),
    (["--wav", SINE, "--nonsense"], "--nonsense"),
    (["--wav", SINE, "--codec", "mp3"], "--codec"),
    (["--wav", SINE, "--streams", "0"], "'0' is no number from 1 to 65535"),
    (["--wav", SINE, "--streams", "3x"], "'3x' is no number"),
    (["--wav", SINE, "--streams", "1_0"], "'1_0' is no number"),
    (["--wav", SINE, "--stream-id-base", "4294967296"], "no number from 0 to 4294967295"),
    (["--wav", SINE, "--stream-id-base", "4294967295", "--streams", "2"], "--stream-id-base"),
    (["--wav", SINE, "--frame-ms", "0"], "'0' is no length"),
    (["--wav", SINE, "--frame-ms", "-5"], "--frame-ms"),
    (["--wav", SINE, "--frame-ms", "0.03"], "a frame of 0 samples at 16000 Hz"),
    (["--wav", SINE, "--frame-ms", "5000"], "a frame of 80000 samples at 16000 Hz"),
    (["--wav", SINE, "--url", "http://localhost/ws"], "--url"),
    (["--wav", SINE, "--url", "ws:///ws"], "--url"),
    (["--wav", SINE, "--url", "ws://localhost:99999/ws"], "--url"),
    (["--wav", "-", "--loop"], "--loop"),
])
def test_usage(run_client, arguments, says):
    with open(SINE, "rb") as file, subprocess.Popen(["cat"], stdin=file,
                                                    stdout=subprocess.PIPE) as cat:
        client = run_client(*arguments, stdin=cat.stdout)
        cat.stdout.close()
    assert (client.status, client.out) == (2, "")
    assert says in client.err


def test_frames_too_large(run_client, make_wav):
    path = make_wav([0] * 64, channels=64, rate=48000)
    client = run_client("--wav", path, "--codec", "pcm", "--frame-ms", "1000")
    assert client.status == 2
    assert "a frame of 6144012 bytes; at most 1048576" in client.err


@pytest.mark.parametrize("content, says", [
    (b"hello, this is no audio", "not a WAV file"),
    (riff(fmt(bits=24), data(bytes(6))), "24-bit PCM, not 16-bit PCM; convert it with: sox"),
    (riff(fmt(channels=65), data(bytes(130))), "65 channels; at most 64"),
    (riff(fmt(rate=768001), data(bytes(2))), "768001 Hz; it must be 1 to 768000"),
    (riff(fmt(rate=0), data(bytes(2))), "0 Hz"),
])
def test_files_that_cannot_be_streamed(run_client, tmp_path, content, says):
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    client = run_client("--wav", path)
    assert client.status == 1
    assert client.err.startswith(f"stream_client.py: {path}: ") and says in client.err
    assert len(client.err.splitlines()) == 1


def test_no_such_file(run_client, tmp_path):
    client = run_client("--wav", tmp_path / "none.wav")
    assert client.status == 1
    assert client.err == f"stream_client.py: {tmp_path}/none.wav: No such file or directory\n"
    client = run_client("--wav", tmp_path)
    assert client.status == 1
    assert client.err == f"stream_client.py: {tmp_path}: Is a directory\n"


def test_without_the_package(tmp_path):
    (tmp_path / "websockets.py").write_text("raise ImportError")

    def client(*arguments):
        return subprocess.run([sys.executable, os.path.join(CLIENT, "stream_client.py"), *arguments],
                              env={**os.environ, "PYTHONPATH": str(tmp_path)}, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)

    done = client("--wav", "none.wav")
    assert done.returncode == 1
    assert "websockets is missing" in done.stderr and "requirements.txt" in done.stderr
    assert client("--help").stdout.startswith("usage: ")
    assert client("--version").returncode == client("--help").returncode == 0


def test_runs_as_a_command_from_anywhere(tmp_path):
    done = subprocess.run([os.path.join(CLIENT, "stream_client.py"), "--version"], cwd=tmp_path,
                          env={**os.environ, "PATH": os.path.dirname(sys.executable) + ":"
                               + os.environ["PATH"]}, stdout=subprocess.PIPE, timeout=300)
    assert done.returncode == 0
