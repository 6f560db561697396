#!/usr/bin/env bats
# eet-listen -o FILE while other programs rotate, empty, replace or remove FILE.
# shellcheck disable=SC2154 # the helper and `run` set variables
load helper

setup() {
	eet_setup
	cat > rotating.py <<- 'PYTHON'
		import os, signal, struct, subprocess, threading, time, urllib.request
		from wsclient import *

		OPEN, FRAME, CLOSE, TICK, ROTATE = 1, 2, 3, 4, 5

		class Server:
		    """eet-listen -o log."""
		    def __init__(self, *options):
		        ready, ready_in = os.pipe()
		        self.err = open("listen.err", "a")
		        self.p = subprocess.Popen(["eet-listen", "localhost:0", "-o", "log", *options, "--ready-fd",
		            str(ready_in)], stderr=self.err, stdout=subprocess.DEVNULL, pass_fds=[ready_in])
		        os.close(ready_in)
		        self.port = int(os.read(ready, 100).split(b":")[2].split(b"/")[0])
		    def hang_up(self):
		        self.p.send_signal(signal.SIGHUP)
		    def stop(self):
		        self.p.terminate()
		        return self.p.wait(60)

		def said(text):
		    return text in open("listen.err").read()

		def wait_for(true):
		    end = time.monotonic() + 60
		    while not true():
		        assert time.monotonic() < end, open("listen.err").read()
		        time.sleep(0.01)

		def health(server):
		    try: return urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz", timeout=60).status
		    except urllib.error.HTTPError as e: return e.code

		class Sender:
		    """A stream whose frames hold their number; send(n) more of them."""
		    def __init__(self, server, stream_id):
		        self.ws = connect(server.port, f"/ws/tag{stream_id}")
		        self.ws.send(handshake(stream_id=stream_id, timestamp=stream_id, reserved=0xBEEF))
		        self.sent = 0
		    def send(self, n):
		        for _ in range(n):
		            self.ws.send(frame(self.sent, struct.pack("<I", self.sent) * 160))
		            self.sent += 1

		def records(path):
		    """(session, kind, time, body) of each record; the file ends with a whole one."""
		    data, at, last = open(path, "rb").read(), 0, 0
		    while at < len(data):
		        magic, length, session, kind, flags, time_us = struct.unpack_from("<IIIHHQ", data, at)
		        assert magic == 0x4D544545 and at + 12 + length <= len(data), (path, at)
		        assert time_us >= last, (path, at)
		        last = time_us
		        yield session, kind, time_us, data[at + 24:at + 12 + length]
		        at += 12 + length

		def sound(path):
		    """As its readers see it, and it begins with the OPENs of what follows."""
		    opened, seen = set(), {}
		    for session, kind, _, body in records(path):
		        if kind == OPEN:
		            opened.add(session)
		        elif kind in (FRAME, CLOSE):
		            assert session in opened, (path, session)
		        if kind == FRAME:
		            seen.setdefault(session, []).append(struct.unpack_from("<I", body, 8)[0])
		    assert subprocess.run(["eet-info", "-q", "--check", path], stdout=subprocess.DEVNULL).returncode == 0
		    return seen

		def has(path, session, number):
		    """The log, which is growing, has that frame."""
		    return any(s == session and k == FRAME and struct.unpack_from("<I", b, 8)[0] == number
		        for s, k, _, b in whole(path))

		def whole(path):
		    try: yield from records(path)
		    except (AssertionError, struct.error, FileNotFoundError): return
	PYTHON
}

rotating() {
	{
		echo 'from rotating import *'
		cat
	} > test.py
	PYTHONPATH=$EET_ROOT/test:$PWD /usr/bin/python3 test.py
}

@test "capture: SIGHUP after its file was moved: what was sent is in the two files, each complete in itself" {
	rotating <<- 'PYTHON'
		server = Server()
		senders = [Sender(server, i) for i in (1, 2, 3)]
		senders[2].send(5)
		senders[2].ws.close()
		flood = threading.Event()
		def run(s):
		    while not flood.is_set(): s.send(20)
		threads = [threading.Thread(target=run, args=[s]) for s in senders[:2]]
		for t in threads: t.start()
		for i in range(1, 6):
		    before = [s.sent for s in senders[:2]]
		    wait_for(lambda: all(s.sent > b + 50 for s, b in zip(senders, before)))
		    os.rename("log", f"log.{i}")
		    server.hang_up()
		    wait_for(lambda: os.path.exists("log") and os.path.getsize("log") > 20000)
		flood.set()
		for t in threads: t.join()
		late = Sender(server, 4)
		late.send(1)
		for s in (*senders[:2], late): assert s.ws.close() == (1000, "")
		assert server.stop() == 0
		files = [*(f"log.{i}" for i in range(1, 6)), "log"]
		seen = [sound(f) for f in files]
		for session, s in ((1, senders[0]), (2, senders[1]), (3, senders[2]), (4, late)):
		    assert sum((f.get(session, []) for f in seen), []) == list(range(s.sent)), session
		for f in files[:-1]:
		    assert list(records(f))[-1][1] == ROTATE
		for f in files[1:]:
		    heads = list(records(f))[:2]
		    assert [(h[0], h[1]) for h in heads] == [(1, OPEN), (2, OPEN)], heads
		    assert heads[0][3][:32] == handshake(stream_id=1, timestamp=1, reserved=0xBEEF)
		    assert b"tag=tag1\n" in heads[0][3] and b"peer=127.0.0.1:" in heads[0][3]
		    # Then, not when they were opened.
		    assert heads[0][2] >= list(records(files[files.index(f) - 1]))[-1][2]
	PYTHON
	run -1 grep -E 'emptied|removed' listen.err
}

@test "capture: SIGHUP with its file in place ends segments, and changes nothing else" {
	rotating <<- 'PYTHON'
		server = Server()
		s = Sender(server, 1)
		s.send(3)
		wait_for(lambda: has("log", 1, 2))
		inode = os.stat("log").st_ino
		server.hang_up()
		wait_for(lambda: any(k == ROTATE for _, k, _, _ in whole("log")))
		s.send(3)
		s.ws.close()
		assert server.stop() == 0
		assert os.stat("log").st_ino == inode
		assert [k for _, k, _, _ in records("log") if k != TICK] == [OPEN, *[FRAME] * 3, ROTATE, *[FRAME] * 3, CLOSE]
		assert sound("log") == {1: list(range(6))}
	PYTHON
}

@test "capture: one that is emptied begins anew, readable, reported, exit 3" {
	rotating <<- 'PYTHON'
		server = Server()
		a, b = Sender(server, 1), Sender(server, 2)
		sent = []
		for i in range(5):
		    for s in (a, b): s.send(20)
		    wait_for(lambda: has("log", 1, a.sent - 1) and has("log", 2, b.sent - 1))
		    # As copytruncate does; nothing is sent between its copy and the cut.
		    data = open("log", "rb").read()
		    os.truncate("log", 0)
		    open(f"copy.{i}", "wb").write(data)
		a.send(1)
		a.ws.close()
		b.send(1)
		b.ws.close()
		assert server.stop() == 3
		seen = [sound(f) for f in (*(f"copy.{i}" for i in range(5)), "log")]
		for session, s in ((1, a), (2, b)):
		    assert sum((f.get(session, []) for f in seen), []) == list(range(s.sent)), (session, seen)
	PYTHON
	grep -q '^eet-listen: log: emptied' listen.err
}

@test "capture: emptied at any moment of a flood it can be read from its beginning" {
	rotating <<- 'PYTHON'
		server = Server()
		senders = [Sender(server, i) for i in range(1, 5)]
		flood = threading.Event()
		def run(s):
		    while not flood.is_set(): s.send(10)
		threads = [threading.Thread(target=run, args=[s]) for s in senders]
		for t in threads: t.start()
		wait_for(lambda: os.path.getsize("log") > 100000)
		emptied = 0
		def begins_with_open():
		    head = open("log", "rb").read(24)
		    return len(head) == 24 and head[12] == OPEN
		while emptied < 200:
		    wait_for(begins_with_open)
		    time.sleep(emptied % 7 * 0.0007)
		    os.truncate("log", 0)
		    emptied += 1
		flood.set()
		for t in threads: t.join()
		for s in senders: s.ws.close()
		assert server.stop() == 3
		seen = sound("log")
		for i, s in enumerate(senders, 1):
		    assert seen.get(i, []) == list(range(s.sent))[s.sent - len(seen.get(i, [])):]
	PYTHON
}

@test "capture: one that is emptied while nothing is open is reported, and goes on" {
	rotating <<- 'PYTHON'
		server = Server()
		s = Sender(server, 1)
		s.send(5)
		s.ws.close()
		wait_for(lambda: any(k == CLOSE for _, k, _, _ in whole("log")))
		os.truncate("log", 0)
		wait_for(lambda: said("emptied"))
		s = Sender(server, 1)
		s.send(5)
		s.ws.close()
		assert server.stop() == 3
		assert sound("log") == {2: list(range(5))}
	PYTHON
}

@test "capture: one that was moved, replaced or removed is reported, and exit 1 is due until SIGHUP" {
	rotating <<- 'PYTHON'
		def remove(): os.remove("log")
		def move(): os.rename("log", "moved")
		def replace():
		    os.rename("log", "moved")
		    open("log", "w").close()
		for what, word in ((move, "moved"), (replace, "replaced"), (remove, "removed")):
		    for hang_up in (False, True):
		        server = Server()
		        s = Sender(server, 1)
		        s.send(5)
		        wait_for(lambda: has("log", 1, 4))
		        what()
		        wait_for(lambda: said(word))
		        assert health(server) == (503 if what == remove else 200)
		        s.send(5) # it is taken all the same
		        if hang_up:
		            server.hang_up()
		            wait_for(lambda: os.path.exists("log") and os.path.getsize("log") > 0)
		            s.send(5)
		            assert health(server) == 200
		        s.ws.close()
		        assert server.stop() == (0 if hang_up else 1), (word, hang_up)
		        if what != remove:
		            assert sound("moved") == {1: list(range(10))}
		        if hang_up:
		            assert sound("log") == {1: list(range(10, 15))}
		        for f in ("log", "moved", "listen.err"):
		            if os.path.exists(f): os.remove(f)
	PYTHON
}

@test "capture: what is not ours is never written to: SIGHUP says so, and the old file goes on" {
	rotating <<- 'PYTHON'
		def other(): open("log", "w").write("somebody else's\n")
		def directory(): os.mkdir("log")
		def fifo(): os.mkfifo("log")
		for make, word in ((other, "not empty"), (directory, "Is a directory"), (fifo, "No such device")):
		    server = Server(*(["--append"] if make == other else []))
		    s = Sender(server, 1)
		    s.send(5)
		    wait_for(lambda: has("log", 1, 4))
		    os.rename("log", "moved")
		    make()
		    server.hang_up()
		    wait_for(lambda: said(word) and said("goes on in the old file"))
		    s.send(5)
		    s.ws.close()
		    assert server.stop() == 1
		    assert sound("moved") == {1: list(range(10))}
		    if make == other: assert open("log").read() == "somebody else's\n"
		    (os.rmdir if make == directory else os.remove)("log")
		    os.remove("moved")
		    os.remove("listen.err")
	PYTHON
}

@test "capture: beside a spool, which notices nothing; and --raw, whose handshake begins each file" {
	rotating <<- 'PYTHON'
		server = Server("--spool", "out", "-t", "0")
		s = Sender(server, 1)
		s.send(5)
		wait_for(lambda: has("log", 1, 4))
		os.rename("log", "log.1")
		server.hang_up()
		wait_for(lambda: os.path.exists("log") and os.path.getsize("log") > 0)
		s.send(5)
		wait_for(lambda: has("log", 1, 9))
		os.truncate("log", 0)
		s.send(5)
		s.ws.close()
		assert server.stop() == 3
		assert sound("log.1") == {1: list(range(5))} and sound("log") == {1: list(range(10, 15))}
		index = open("out/index.jsonl").read()
		assert index.count('"event":"session"') == 1 and index.count('"event":"segment"') == 2
		os.remove("log")

		server = Server("--raw")
		s = Sender(server, 1)
		s.send(5)
		size = 32 + 5 * 652
		wait_for(lambda: os.path.getsize("log") == size)
		os.rename("log", "raw.1")
		server.hang_up()
		wait_for(lambda: os.path.exists("log") and os.path.getsize("log") == 32)
		s.send(5)
		wait_for(lambda: os.path.getsize("log") == size)
		os.truncate("log", 0)
		s.send(5)
		s.ws.close()
		assert server.stop() == 3
		for f in ("raw.1", "log"):
		    data = open(f, "rb").read()
		    assert len(data) == size and data[:32] == handshake(stream_id=1, timestamp=1, reserved=0xBEEF)
	PYTHON
}

@test "capture: SIGHUP with a FIFO for -o is a ROTATE" {
	mkfifo log
	cat log > got &
	reader=$!
	rotating <<- 'PYTHON'
		server = Server()
		s = Sender(server, 1)
		s.send(2)
		server.hang_up()
		wait_for(lambda: any(k == ROTATE for _, k, _, _ in whole("got")))
		s.ws.close()
		assert server.stop() == 0
	PYTHON
	wait $reader
	[ "$(eet-info --json got | jq 'select(.event == "stream").frames')" = 2 ]
}
