#!/usr/bin/env bats
# Standard error that nobody reads holds nothing up.
# shellcheck disable=SC2154 # the helper and `run` set variables
load helper

setup() {
	eet_setup
	cat > stuck.py <<- 'PYTHON'
		import fcntl, os, select, socket, subprocess, sys, termios, time

		# Ways in which standard error can be stuck: what takes it, and gives it back.
		class Pipe:
		    def __init__(self):
		        self.reader, self.writer = os.pipe()
		    def send(self, data):
		        # The file's flags are the program's too: it is not to see them change.
		        again = os.open(f"/proc/self/fd/{self.writer}", os.O_WRONLY | os.O_NONBLOCK)
		        try: return os.write(again, data)
		        finally: os.close(again)
		    def stop(self):
		        try:
		            while self.send(b"filler\n" * 100): pass
		        except BlockingIOError: pass
		        try:
		            while self.send(b"\n"): pass
		        except BlockingIOError: pass
		    def go(self): pass

		class Socket(Pipe):
		    def __init__(self):
		        self.pair = socket.socketpair()
		        self.reader, self.writer = (s.fileno() for s in self.pair)
		    def send(self, data):
		        return self.pair[1].send(data, socket.MSG_DONTWAIT)

		class Terminal(Pipe):
		    def __init__(self):
		        self.reader, self.writer = os.openpty()
		    def stop(self): termios.tcflow(self.writer, termios.TCOOFF)
		    def go(self): termios.tcflow(self.writer, termios.TCOON)

		KINDS = {"pipe": Pipe, "socket": Socket, "terminal": Terminal}

		def read_until(err, text, said=b""):
		    while text not in said:
		        assert select.select([err.reader], [], [], 30)[0], said
		        said += os.read(err.reader, 65536)
		    return said.replace(b"\r\n", b"\n")

		def flags(fd):
		    return fcntl.fcntl(fd, fcntl.F_GETFL)
	PYTHON
}

@test "stderr: a pipe, a socket or a terminal that takes nothing holds up neither streams nor signals" {
	PYTHONPATH=$EET_ROOT/test /usr/bin/python3 - <<- 'PYTHON'
		import signal, urllib.request
		from stuck import *
		from wsclient import *

		for kind, Kind in KINDS.items():
		    err = Kind()
		    before = flags(err.writer)
		    ready, ready_in = os.pipe()
		    server = subprocess.Popen(["eet-listen", "localhost:0", "--spool", "out." + kind, "--ready-fd",
		        str(ready_in)], stderr=err.writer, stdout=subprocess.DEVNULL, pass_fds=[ready_in])
		    port = int(os.read(ready, 100).split(b":")[2].split(b"/")[0])
		    read_until(err, b"listening on")
		    err.stop()
		    for i in range(5):
		        ws = connect(port)
		        ws.send(handshake(stream_id=i))
		        ws.send(frame(0, bytes(640)))
		        assert ws.close() == (1000, ""), kind
		    assert urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=20).read() == b"ok\n"
		    server.send_signal(signal.SIGUSR1)
		    assert urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=20).read() == b"ok\n"
		    assert flags(err.writer) == before, kind
		    # When it is taken again, everything comes, in order.
		    err.go()
		    said = read_until(err, b"0 streams open")
		    places = [said.index(b"session %d %s" % (i, what)) for i in range(1, 6) for what in (b"opened", b"closed")]
		    assert places == sorted(places) and said.index(b"0 streams open") > places[-1], (kind, said)
		    assert b"dropped" not in said
		    # A signal ends it.
		    err.stop()
		    server.send_signal(signal.SIGTERM)
		    assert server.wait(30) == 0, kind
	PYTHON
	for kind in pipe socket terminal; do
		[ "$(find out.$kind -name '*.wav' | wc -l)" = 5 ]
	done
}

@test "stderr: what it can't take is limited; more is dropped, and counted where it is missing" {
	PYTHONPATH=$EET_ROOT/test /usr/bin/python3 - <<- 'PYTHON'
		import re
		from stuck import *
		from wsclient import *

		N = 400
		err = Pipe()
		ready, ready_in = os.pipe()
		server = subprocess.Popen(["eet-listen", "localhost:0", "-o", "log", "--ready-fd", str(ready_in)],
		    stderr=err.writer, pass_fds=[ready_in])
		port = int(os.read(ready, 100).split(b":")[2].split(b"/")[0])
		os.close(ready_in)
		read_until(err, b"listening on")
		err.stop()
		for i in range(N): # two messages each, of more than 128 bytes
		    ws = connect(port, "/ws/" + "x" * 64)
		    ws.send(handshake())
		    ws.close()
		os.close(err.writer)
		server.terminate()
		# It waits for its reader as long as that reads.
		said = b""
		while more := os.read(err.reader, 1000):
		    said += more
		assert server.wait(30) == 0
		lines = [l for l in said.decode().split("\n") if l and l != "filler"]
		dropped = [(i, int(m[1])) for i, l in enumerate(lines) if (m := re.search(r": (\d+) messages? dropped", l))]
		assert dropped, lines[-3:]
		told = [l for l in lines if re.search(r"session \d+ (opened|closed): ", l)]
		assert len(told) + sum(n for _, n in dropped) == 2 * N, (len(told), dropped)
		# 64 KiB waited, and every line is whole.
		assert 63000 < sum(len(l) + 1 for l in told) < 70000, told[-1]
		assert all(l.startswith("eet-listen: ") for l in lines)
		first = lines[:dropped[0][0]]
		assert [l for l in first if l in told] == told[:len(first)]
	PYTHON
}

@test "stderr: programs end in time with what they have to say unread, and with the same exit status" {
	PYTHONPATH=$EET_ROOT/test /usr/bin/python3 - "$EET_ROOT/data/logs/cut.mux" <<- 'PYTHON'
		from stuck import *

		cut = sys.argv[1]
		err = Pipe()
		err.stop()
		runs = {status: [subprocess.Popen(c, stderr=err.writer, stdin=open(cut), stdout=subprocess.DEVNULL) for c in commands]
		    for status, commands in {
		        1: [["eet-wav", "-o", "x.wav", "missing"], ["eet-info", "missing"], ["eet-adpcm", "-d", "missing"],
		            ["eet-demux", "missing"], ["eet-listen", "-o", "no/such/file", "localhost:0"]],
		        2: [["eet-rotate"], ["eet-listen", "--no-such-option"]],
		        3: [["eet-rotate", "out"], ["eet-demux"], ["eet-adpcm", "-d"]],
		        127: [["eet-listen", "-q", "localhost:0", "-o", "log", "--", "no-such-command"]],
		    }.items()}
		for status, programs in runs.items():
		    for p in programs:
		        assert p.wait(30) == status, p.args
	PYTHON
}

@test "stderr: a short program's last message is not lost on a reader that is slow" {
	/usr/bin/python3 - <<- 'PYTHON'
		from stuck import *

		err = Pipe()
		err.stop()
		program = subprocess.Popen(["eet-wav", "-o", "x.wav", "missing"], stderr=err.writer)
		while len(os.listdir(f"/proc/{program.pid}/task")) < 2: # now it waits
		    pass
		said = read_until(err, b"missing")
		assert said.endswith(b"\neet-wav: missing: No such file or directory\n"), said
		assert program.wait(30) == 1
	PYTHON
}

@test "stderr: a signal that ends a program at once does so with its messages unread" {
	/usr/bin/python3 - "$EET_ROOT/data/logs/sine_adpcm.eet" <<- 'PYTHON'
		import re, signal
		from stuck import *

		# Its output is not read either: the second signal is answered where it waits for that.
		err, out = Pipe(), Pipe()
		err.stop()
		out.stop()
		program = subprocess.Popen(["eet-wav"], stdin=open(sys.argv[1]), stdout=out.writer, stderr=err.writer)
		def handled(): # is SIGTERM?
		    status = open(f"/proc/{program.pid}/status").read()
		    return int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16) >> (signal.SIGTERM - 1) & 1
		while not handled():
		    pass
		while program.poll() is None:
		    program.send_signal(signal.SIGTERM)
		    time.sleep(0.05)
		assert program.returncode == 1, program.returncode
	PYTHON
}
