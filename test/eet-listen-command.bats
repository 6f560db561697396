#!/usr/bin/env bats
# eet-listen ... -- CMD: a server for as long as a command runs.
# shellcheck disable=SC2016,SC2154 # $ is for the inner shell; the helper and `run` set variables
load helper

# client NAME: stdin becomes a program with wsclient that is given the URL's port.
client() {
	{
		echo '#!/usr/bin/python3'
		echo 'import os, sys, time'
		echo "sys.path.insert(0, '$EET_ROOT/test')"
		echo 'from wsclient import *'
		echo 'port = os.environ["EET_URL"].split(":")[2].split("/")[0]'
		cat
	} > "$1"
	chmod +x "$1"
}

# frames DIR: how many each session has, from the index, and how it ended.
frames() {
	jq -r 'select(.event == "session") | "\(.session):\(.frames):\(.close_code)"' "$1/index.jsonl" |
		sort -n | tr '\n' ' '
}

# complete DIR: nothing in it still grows.
complete() {
	[ "$(find "$1" -name '*.part')" = '' ]
	[ "$(find "$1" -name '*.eet' | wc -l)" = "$(find "$1" -name '*.wav' | wc -l)" ]
}

@test "command: it is given the URL, and everything ends with it" {
	run -0 --separate-stderr eet-listen localhost:0 --spool out -q -- /usr/bin/python3 \
		"$EET_ROOT/client/stream_client.py" -q --url unused --help
	[[ $output == *--frame-ms* ]]
	run -0 --separate-stderr eet-listen localhost:0 --spool out -q -- sh -c \
		'"$@" --url "$EET_URL"; echo "status $?"' sh /usr/bin/python3 \
		"$EET_ROOT/client/stream_client.py" -q --streams 3 --wav "$EET_ROOT/data/speech_8k.wav"
	[ "$stderr" = '' ]
	# Its standard output is ours, beside the list of files.
	[ "$(grep -c '^out/stream_.*\.eet$' <<< "$output")" = 3 ]
	[ "$(grep -c '^status 0$' <<< "$output")" = 1 ]
	complete out
	[ "$(frames out)" = '1:169:1000 2:169:1000 3:169:1000 ' ]
}

@test "command: with a log on standard output, its own goes to standard error" {
	client send <<-'PY'
		ws = connect(port)
		ws.send(handshake())
		ws.send(frame(0, bytes(640)))
		assert ws.close() == (1000, "")
		print(sys.stdin.read(), os.environ["EET_URL"])
	PY
	echo hello | eet-listen -q :0 -- ./send > log 2> said
	[[ $(cat said) == 'hello'*'ws://127.0.0.1:'*/ws ]]
	run -0 eet-wav -q log
	run -0 --separate-stderr eet-listen localhost:0 -q -o file -- ./send
	[[ $output == *ws://* && $stderr == '' ]]
	eet-wav -q log | cmp - <(eet-wav -q file)
	run -0 --separate-stderr eet-listen unix:socket -q -o - -- sh -c 'echo "$EET_URL"'
	[[ $output == '' && $stderr == ws+unix:socket ]]
}

@test "command: its exit status is ours, 128 + n for signal n, 127 and 126 when it can't be run" {
	run -5 --separate-stderr eet-listen localhost:0 -o log -- sh -c 'exit 5'
	run -137 --separate-stderr eet-listen localhost:0 -o log -- sh -c 'kill -KILL $$'
	[[ $stderr == *'eet-listen: sh: killed by signal 9 (Killed)' ]]
	run -127 --separate-stderr eet-listen -q localhost:0 -o log -- ./nosuch --help
	[ "$stderr" = 'eet-listen: ./nosuch: No such file or directory' ]
	: > plain
	run -126 --separate-stderr eet-listen -q localhost:0 -o log -- ./plain
	[ "$stderr" = 'eet-listen: ./plain: Permission denied' ]
	# -- only introduces it: options before, and what is behind is the command's.
	run -0 eet-listen -o log localhost:0 -q -- echo -o --help --
	[ "$output" = '-o --help --' ]
}

@test "command: 3 when what was stored is damaged, 1 when it could not be" {
	client damaged <<-'PY'
		ws = connect(port)
		ws.send(handshake(codec=ADPCM))
		ws.send(frame(0, bytes([0, 0, 200, 0]) + bytes(160), codec=ADPCM))
		assert ws.close() == (1000, "")
		sys.exit(4)
	PY
	run -3 --separate-stderr eet-listen -q localhost:0 --spool out -- ./damaged
	complete out
	client full <<-'PY'
		ws = connect(port)
		ws.send(handshake())
		ws.send(frame(0, bytes(640)))
		ws.send(frame(1, bytes(640)))
		assert ws.closed() == (1011, "the server's output is gone")
		time.sleep(60)
	PY
	# It is told to end then.
	run -1 --separate-stderr bash -c 'ulimit -f 1; exec eet-listen localhost:0 -o log -- ./full'
	[[ $stderr == *'eet-listen: ./full: killed by signal 15 (Terminated)'* ]]
}

@test "command: what it had sent when it ended is stored, however much" {
	client send <<-'PY'
		many = b"".join(ws_frame(BINARY, frame(n, bytes(640))) for n in range(2000))
		clients = [connect(port) for _ in range(8)]
		for i, ws in enumerate(clients):
		    ws.send(handshake(stream_id=i))
		for ws in clients:
		    ws.raw(many)
		os._exit(0)
	PY
	run -0 --separate-stderr eet-listen -q localhost:0 --spool out -t 0 -- ./send
	expected=
	for n in {1..8}; do expected+="$n:2000:1006 "; done
	[ "$(frames out)" = "$expected" ]
	complete out
	# A reader that is asleep when it ends, for longer than others' streams are waited for, holds it
	# back; all is there in the end.
	run -0 --separate-stderr bash -c 'set -o pipefail
		eet-listen -q localhost:0 -- ./send | { sleep 4; eet-rotate -q -t 0 slow; }'
	[ "$(jq -s 'map(select(.event == "session") | .frames) | add' slow/index.jsonl)" = 16000 ]
}

@test "command: streams that others have open are closed with 1001, busy ones too" {
	client quiet <<-'PY'
		ws = connect(port)
		ws.send(handshake())
		for n in range(50):
		    ws.send(frame(n, bytes(640)))
		if os.fork() == 0:
		    print(*ws.closed(), file=open("quiet.closed", "w"))
	PY
	run -0 --separate-stderr eet-listen -q localhost:0 --spool out -- ./quiet
	[ "$(frames out)" = '1:50:1001 ' ]
	wait_for grep -qx '1001 the server shuts down' quiet.closed
	client busy <<-'PY'
		ws = connect(port)
		ws.send(handshake())
		if os.fork() == 0:
		    try:
		        for n in range(1000000):
		            ws.send(frame(n, bytes(640)))
		            time.sleep(0.01)
		    except OSError:
		        print(*ws.closed(), file=open("busy.closed", "w"))
	PY
	run -0 --separate-stderr eet-listen -q localhost:0 --spool busy.out -- ./busy
	[[ $(frames busy.out) == 1:*:1001' ' ]]
	wait_for grep -q . busy.closed
	complete busy.out
}

@test "command: --sessions limits it, does not end it, and has to be reached" {
	client send <<-'PY'
		ws = connect(port)
		ws.send(handshake())
		assert ws.close() == (1000, "")
		try:
		    connect(port)
		    assert False
		except Refused as e:
		    assert e.status == 503
		sys.exit(6)
	PY
	run -6 --separate-stderr eet-listen -q localhost:0 -o log --sessions 1 -- ./send
	run -3 --separate-stderr eet-listen -q localhost:0 -o log2 --sessions 1 -- true
	[ "$stderr" = 'eet-listen: true: ended after 0 of 1 sessions' ]
}

@test "command: SIGTERM and SIGINT are passed on to it; a second one ends it and us at once" {
	for signal in TERM INT; do
		start_listen -q --spool "$signal" -- sh -c \
			'trap "echo got it; exit 7" '$signal'; echo begun; while :; do sleep 0.05; done'
		wait_for grep -q begun listen.out
		stop listen $signal
		[ "$status" = 7 ]
		grep -qx 'got it' listen.out
	done
	start_listen -q --spool out -- sh -c \
		'trap "echo deaf" TERM; echo $$; while :; do sleep 0.05; done'
	wait_for grep -q . listen.out
	child=$(head -n 1 listen.out)
	kill "$pid"
	wait_for grep -qx deaf listen.out
	refute gone "$pid"
	stop listen
	[ "$status" = 137 ]
	gone "$child"
}

@test "command: Ctrl-C in a terminal reaches it once" {
	client terminal <<-'PY'
		import pty
		pid, tty = pty.fork()
		if pid == 0:
		    os.execvp("eet-listen", ["eet-listen", "localhost:0", "-o", "log", "--", "sh", "-c",
		        "trap 'echo caught' INT; echo begun; until [ -e go ]; do sleep 0.05; done; exit 8"])
		seen, sent = b"", False
		while True:
		    try:
		        more = os.read(tty, 4096)
		    except OSError:
		        break
		    seen += more
		    if b"begun" in seen and not sent:
		        os.write(tty, b"\x03")
		        sent = True
		    if b"caught" in seen and not os.path.exists("go"):
		        time.sleep(0.5)  # for a second one
		        open("go", "w").close()
		print(seen.decode())
		assert seen.count(b"caught") == 1
		assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 8
	PY
	EET_URL=:: run -0 ./terminal
}

@test "command: it has default signals, our limit of descriptors, and those from 0 to 2" {
	# Less glibc's own 32 and 33, which it leaves ignored in what make starts.
	show='grep -E "^Sig(Blk|Ign)" /proc/self/status | cut -f2 | sed "s/^000000018/000000000/"'
	show+='; ulimit -n; ls /proc/self/fd'
	(
		trap '' INT USR2
		ulimit -S -n 200
		exec 9< /dev/null
		exec eet-listen -q localhost:0 -o log -- sh -c "$show"
	) > shown
	# 3 is ls's own, for the folder.
	[ "$(tr '\n' ' ' < shown)" = '0000000000000000 0000000000000000 200 0 1 2 3 ' ]
	nohup eet-listen -q localhost:0 -o log -- sh -c "$show" > shown
	[ "$(sed -n 2p shown)" = 0000000000000001 ]
	# So have commands for segments.
	"$EET_ROOT/test/logs.py" pcm "$EET_ROOT/data/speech_8k.wav" n=160 > a.eet
	eet-rotate -q --exec 'ls /proc/self/fd >&2' out 9< /dev/null < a.eet 2>&1 > /dev/null |
		tr '\n' ' ' > shown
	[ "$(cat shown)" = '0 1 2 3 ' ]
}

@test "command: --exec works beside it, also when we were started with SIGCHLD ignored" {
	"$EET_ROOT/test/logs.py" pcm "$EET_ROOT/data/speech_8k.wav" n=160 > a.eet
	cat > ignored <<-'PY'
		import os, signal, sys
		signal.signal(signal.SIGCHLD, signal.SIG_IGN)
		os.execvp(sys.argv[1], sys.argv[1:])
	PY
	run -9 --separate-stderr /usr/bin/python3 ignored \
		eet-listen -q localhost:0 --spool out -s 8k --exec 'echo "$1" >> run' -- sh -c \
		'"$0" "$EET_URL" a.eet > sent; until [ -s run ]; do sleep 0.05; done; exit 9' \
		"$EET_ROOT/test/send.py"
	[ "$(wc -l < run)" -gt 4 ]
	diff <(sort run) <(printf '%s\n' out/*.eet)
	# eet-rotate has no other child.
	run -0 /usr/bin/python3 ignored eet-rotate -q --exec 'echo "$1" >> again' rotated \
		< a.eet
	diff again <(printf '%s\n' rotated/*.eet)
}
