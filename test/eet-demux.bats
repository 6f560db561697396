#!/usr/bin/env bats
# eet-demux: some sessions of a log, to standard output, to a file each or to a command each.
# Here all names are of our making, so ls may be read; commands in quotes are expanded later.
# shellcheck disable=SC2010,SC2012,SC2016,SC2154
load helper

# log.py make SESSIONS FRAMES SEED [LEN]  a mux log: all sessions open, frames of up to LEN bytes in
#                          a random order, some TICKs and ROTATEs among them, every other session
#                          closed as soon as it has nothing more to say; stream ids are 1 to 5
# log.py pick LOG [i=ID]... [S=N]...  the records of those sessions, and those of no session
# log.py own LOG N         session N's handshake and frames
# log.py ends LOG          where its records end
setup_file() {
	cat > "$BATS_FILE_TMPDIR/log.py" <<-'PYTHON'
		import random, struct, sys

		RECORD = struct.Struct("<IIIHHQ")
		out = sys.stdout.buffer


		def put(session, kind, time, body):
		    out.write(RECORD.pack(0x4D544545, len(body) + 12, session, kind, 0, time) + body)


		def make(sessions, frames, seed, longest=200):
		    chance = random.Random(seed)
		    time, left, seq = 1769854500123456, {}, {}
		    for s in range(1, sessions + 1):
		        put(s, 1, time, struct.pack("<IHHIIHHHHQ", 0x41445043, 1, 32, s % 5 + 1, 8000, 1, 0,
		                                    longest // 2, 0, 0) + b"tag=t%d\n" % s * (s % 2))
		        left[s], seq[s] = frames, 0
		    while left:
		        time += chance.randrange(1000)
		        s = chance.choice(list(left))
		        payload = chance.randbytes(2 * chance.randrange(longest // 2 + 1))
		        put(s, 2, time, struct.pack("<III", 0x464D4350, len(payload), seq[s]) + payload)
		        seq[s] += 1
		        left[s] -= 1
		        if left[s] == 0:
		            del left[s]
		            if s % 2:
		                put(s, 3, time, struct.pack("<H", 1000) + b"done")
		        if chance.random() < 0.05:
		            put(0, chance.choice((4, 5)), time, b"")


		def records(path):
		    with open(path, "rb") as f:
		        while head := f.read(12):
		            magic, length, session = struct.unpack("<III", head)
		            assert magic == 0x4D544545
		            record = head + f.read(length)
		            yield session, record[12], record


		def pick(path, *wanted):
		    ids = {int(w[2:]) for w in wanted if w[0] == "i"}
		    numbers = {int(w[2:]) for w in wanted if w[0] == "S"}
		    chosen = {0}
		    for session, kind, record in records(path):
		        if kind == 1:
		            stream_id = int.from_bytes(record[32:36], "little")
		            if (not ids or stream_id in ids) and (not numbers or session in numbers):
		                chosen.add(session)
		        if session in chosen:
		            out.write(record)


		def ends(path):
		    at = 0
		    for _, _, record in records(path):
		        at += len(record)
		        print(at, end=" ")


		def own(path, number):
		    for session, kind, record in records(path):
		        if session == number and kind in (1, 2):
		            out.write(record[24:56] if kind == 1 else record[24:])


		command, *arguments = sys.argv[1:]
		if command == "make":
		    make(*map(int, arguments))
		elif command == "pick":
		    pick(*arguments)
		elif command == "ends":
		    ends(*arguments)
		else:
		    own(arguments[0], int(arguments[1]))
	PYTHON
}

setup() {
	eet_setup
	logs=$EET_ROOT/test/logs.py
	golden=$EET_ROOT/data/logs
}

# Those whose name says that they should not be there are ended with the rest.
teardown() {
	local file

	for file in "$BATS_TEST_TMPDIR"/*.pid; do
		[ ! -e "$file" ] || kill "$(cat "$file")" 2> /dev/null || :
	done
	eet_teardown
}

muxlog() {
	/usr/bin/python3 "$BATS_FILE_TMPDIR/log.py" "$@"
}

mux() {
	"$logs" mux
}

# size FILE N: it has so many bytes.
size() {
	[ "$(stat -c %s "$1")" = "$2" ]
}

# waits PID: it waits for something to happen.
waits() {
	[[ $(cat "/proc/$1/wchan") == *poll* ]]
}

# each_own LOG DIR: DIR holds each session's own bytes, in one file each, and nothing else.
each_own() {
	local file number count=0

	for file in "$2"/*; do
		number=${file##*_s}
		muxlog own "$1" "${number%.eet}" | cmp - "$file"
		count=$((count + 1))
	done
	[ "$count" = "$(muxlog pick "$1" | grep -aobF CPDA | wc -l)" ]
}

three_streams() {
	mux <<-SCRIPT
		0 OPEN 1 pcm id=7 tag=kitchen peer=127.0.0.1:4711
		0.1 OPEN 2 adpcm id=9 ch=2
		0.11 FRAME 1 seq=5 count=3
		0.2 FRAME 2 count=5
		0.5 OPEN 3 pcm id=7
		1.5 TICK
		1.6 FRAME 3 count=2
		1.65 ROTATE
		1.7 FRAME 1 seq=8 count=2
		1.8 CLOSE 2 1001 bye
		1.9 CLOSE 1 1000
		2 CLOSE 3 1000
	SCRIPT
}

# --- selection ---

@test "demux: without a selection it passes every sound log on as it is" {
	local file

	for file in three.mux badtag.mux gap.eet repeat-restart.eet layout-bare.eet stereo_pcm.eet; do
		eet-demux -q < "$golden/$file" > out
		cmp "$golden/$file" out
		# shellcheck disable=SC2002 # a pipe it shall be
		cat "$golden/$file" | eet-demux -q - | cat > out
		cmp "$golden/$file" out
		eet-demux -q "$golden/$file" | cmp "$golden/$file" -
	done
	muxlog make 40 50 1 > log
	eet-demux -q log | cmp log -
	run -0 eet-demux < /dev/null
	[ -z "$output" ]
}

@test "demux: what -i and -S select comes out verbatim, with the records of no session" {
	local wanted option

	muxlog make 30 40 2 > log
	for wanted in "i=3" "S=17" "S=1 S=2 S=30" "i=1 i=4" "i=2 S=6 S=7 S=8" "i=1 i=2 S=1 S=5 S=10"; do
		option=${wanted//i=/-i }
		option=${option//S=/-S }
		# shellcheck disable=SC2086 # words are wanted
		eet-demux -q $option < log > out
		# shellcheck disable=SC2086
		muxlog pick log $wanted | cmp - out
		[ "$(stat -c %s out)" -lt "$(stat -c %s log)" ]
	done
	eet-demux -q --stream-id 2 --session=6 log | cmp - <(muxlog pick log i=2 S=6)
}

@test "demux: a selection of sessions is a sound log" {
	muxlog make 30 40 3 > log
	eet-demux -i 3 log > some 2> notes
	run -0 --separate-stderr eet-demux some
	refute grep -q offset.*expected <<< "$stderr"
	# It tells only of the missing CLOSEs of what was selected: 2, 12 and 22.
	[ "$(sed -n 's/.*session \([0-9]*\) has no CLOSE.*/\1/p' notes | tr '\n' ' ')" = "2 12 22 " ]
}

@test "demux: nothing that is asked for is there: time goes on, and it says so" {
	three_streams > log
	run -0 --separate-stderr bash -c 'eet-demux -i 7 -S 2 log > out'
	[ "$stderr" = "eet-demux: no session has such a stream id and number" ]
	size out 48
	muxlog pick log S=99 | cmp - out
	run -0 --separate-stderr bash -c 'eet-demux -q -S 99 log'
	[ -z "$stderr" ]
	run -0 --separate-stderr eet-demux -S 99 -d out.d log
	[ -n "$stderr" ]
	[ "$(ls out.d | wc -l)" = 0 ]
}

@test "demux: records of a kind that it does not know pass, unless it has to select" {
	echo -n future > body
	{
		three_streams | head -c 300
		muxlog pick <(three_streams) > whole
	} > /dev/null
	{
		cat whole
		record 6 1 1769854510000000 body
		record 7 0 1769854510000000 body
		record TICK 0 1769854511000000
	} > log
	eet-demux -q log | cmp log -
	eet-demux -q -S 1 log > out
	{ muxlog pick whole S=1; record TICK 0 1769854511000000; } | cmp - out
}

@test "demux: of a log with damaged times comes a sound one, which only they differ from" {
	local at command

	three_streams > sound
	# A record's time: of the first, of the second, of one in the middle.
	for at in 16 104 $((144 + 356 + 16)); do
		cp sound damaged
		printf '\377\377\377\377\377\377\0\20' | dd of=damaged bs=1 seek=$at conv=notrunc 2> dd.err
		for command in "eet-demux damaged" "eet-demux --recover damaged" "eet-demux -S 1 damaged"; do
			run -3 bash -c "$command > out 2> err"
			grep -q 'time .* does not fit' err
			eet-info --check -q out
		done
		run -3 bash -c "eet-demux damaged > out 2> err"
		[ "$(cmp -l sound out | awk -v at=$at '$1 <= at || $1 > at + 8' | wc -l)" = 0 ]
	done
}

@test "demux: a stream that sends once in hours keeps its times without the others" {
	/usr/bin/python3 "$EET_ROOT/test/logs.py" mux > log <<-SCRIPT
		0 OPEN 1 pcm
		0 OPEN 2 pcm
		0 FRAME 2
		0 FRAME 1 count=900 step=9
		8100 FRAME 2 seq=1
		8100 FRAME 1 seq=900 count=900 step=9
		16200 FRAME 2 seq=2
		16200 CLOSE 2 1000
		16200 CLOSE 1 1000
	SCRIPT
	eet-demux -S 2 log > two
	run -0 --separate-stderr eet-info --json two
	[ -z "$stderr" ]
	[ "$(jq -r 'select(.frames) | .last_us - .first_us' <<< "$output")" = 16200000000 ]
	# Of all sessions, it is the log.
	eet-demux log | cmp - log
}

@test "demux: takes of a frame log are sessions, and come out verbatim" {
	cat "$golden/stereo_pcm.eet" "$golden/gap.eet" "$golden/wrap.eet" > takes
	eet-demux -q -S 2 takes | cmp - "$golden/gap.eet"
	eet-demux -q -S 3 -S 1 takes | cmp - <(cat "$golden/stereo_pcm.eet" "$golden/wrap.eet")
	eet-demux -q -d out takes
	cmp out/*_s1.eet "$golden/stereo_pcm.eet"
	cmp out/*_s2.eet "$golden/gap.eet"
	cmp out/*_s3.eet "$golden/wrap.eet"
	# As many logs they are the same, so that no two have one name.
	eet-demux -q -d again "$golden/stereo_pcm.eet" "$golden/gap.eet" - < "$golden/wrap.eet"
	diff -r out again
	eet-demux -q -S 2 "$golden/stereo_pcm.eet" "$golden/gap.eet" | cmp - "$golden/gap.eet"
}

@test "demux: a frame log without handshake is passed on without, and becomes a file with" {
	handshake pcm 0 8000 1 4 > whole
	le16 1 2 3 4 > payload
	{ frame pcm 0 payload; frame pcm 1 payload; } > headless
	cat headless >> whole
	run -3 --separate-stderr eet-demux headless
	[[ $stderr == "eet-demux: headless: offset 0: a frame without a handshake"* ]]
	eet-demux -q -r 8000 -c 1 -n 4 headless | cmp - headless
	eet-demux -q -r 8000 -c 1 -n 4 --codec pcm -d out headless
	cmp whole out/stream_0_19700101T000000.000Z_s1.eet
	run -3 --separate-stderr eet-demux -r 8000 -c 1 -n 4 --codec adpcm headless
	[[ $stderr == "eet-demux: headless: offset 0: magic 0x464d4350"* ]]
}

@test "demux: an OPEN of a session that is open ends that, and stands in the log once" {
	mux > log <<-SCRIPT
		0 OPEN 1 pcm id=7
		0 FRAME 1 count=3
		1 OPEN 1 pcm id=8
		1 FRAME 1 count=2
		2 OPEN 1 pcm id=7
		2 FRAME 1 count=4
		3 CLOSE 1 1000
	SCRIPT
	eet-demux -q log | cmp log -
	eet-demux -q -i 8 log > out
	[ "$(grep -aobF CPDA out | wc -l) $(grep -aobF PCMF out | wc -l)" = "1 2" ]
	eet-demux -q -i 7 log > out
	[ "$(grep -aobF CPDA out | wc -l) $(grep -aobF PCMF out | wc -l)" = "2 7" ]
	eet-demux -q -d files log
	[ "$(ls files | tr '\n' ' ')" = "stream_7_20260131T101500.000Z_s1.eet \
stream_7_20260131T101502.000Z_s1.eet stream_8_20260131T101501.000Z_s1.eet " ]
	[ "$(cat files/* | wc -c)" = $((3 * 32 + 9 * 332)) ]
}

@test "demux: logs that were joined are told apart though their sessions have one number" {
	three_streams > log
	cat log log > twice
	eet-demux -q twice | cmp twice -
	eet-demux -q -S 2 twice | cmp - <(muxlog pick twice S=2)
	eet-demux -q -d out twice
	[ "$(ls out | wc -l)" = 6 ]
	muxlog own log 2 | cmp - out/stream_9_20260131T101500.100Z_s2.eet
	muxlog own log 2 | cmp - out/stream_9_20260131T101500.101Z_s2.eet
}

@test "demux: operands are logs of their own, as for cat" {
	three_streams > log
	cat log log > twice
	cp log copy
	eet-demux -q log - < copy | cmp twice -
	eet-demux -q -S 3 log log | cmp - <(muxlog pick twice S=3)
	run -1 --separate-stderr bash -c 'eet-demux -q log missing . log > out'
	[ "$stderr" = $'eet-demux: missing: No such file or directory\neet-demux: .: offset 0: Is a directory' ]
	cmp twice out
	head -c 100 log > torn
	run -3 --separate-stderr bash -c 'eet-demux -q torn log > out'
	[[ $stderr == "eet-demux: torn: offset 88: the input ends "* ]]
	{ head -c 88 log; cat log; } | cmp - out
}

@test "demux: one output does not hold both kinds of log, files do" {
	three_streams > log
	run -2 --separate-stderr bash -c 'eet-demux log "$1" log > out' - "$golden/wrap.eet"
	[ "$stderr" = "eet-demux: $golden/wrap.eet: a frame log behind a mux log, one output holds one kind" ]
	cmp log out
	run -2 --separate-stderr bash -c 'eet-demux -q "$1" log > out' - "$golden/wrap.eet"
	cmp "$golden/wrap.eet" out
	eet-demux -q -d out.d log "$golden/wrap.eet"
	[ "$(ls out.d | wc -l)" = 4 ]
	# Of which nothing would come out is no matter.
	eet-demux -q -S 2 "$golden/wrap.eet" log | cmp - <(muxlog pick log S=2)
}

# --- damage ---

@test "demux: a log cut at any byte: all whole records, 3 inside one" {
	local length at whole=0 ends

	mux > log <<-SCRIPT
		0 OPEN 1 pcm id=7 n=4 tag=kitchen
		0.1 OPEN 2 adpcm id=9 n=8
		0.1 FRAME 1 count=2 len=4
		0.2 FRAME 2 count=2 len=8
		0.3 TICK
		0.4 CLOSE 1 1000 done
	SCRIPT
	length=$(stat -c %s log)
	ends=" $(muxlog ends log) "
	for ((at = 1; at <= length; at++)); do
		head -c "$at" log > torn
		status=0
		eet-demux torn > out 2> err || status=$?
		if [[ $ends == *" $at "* ]]; then
			whole=$at
			[ "$status" = 0 ]
		else
			[ "$status" = 3 ]
			grep -q "^eet-demux: torn: offset $whole: the input ends $((at - whole)) bytes into a record" err
		fi
		head -c "$whole" log | cmp - out
	done
	[ "$whole" = "$length" ]
}

@test "demux: damage ends the reading with 3, and all before it is delivered" {
	run -3 --separate-stderr bash -c 'eet-demux "$1" > out' - "$golden/garbage.mux"
	[[ $stderr == "eet-demux: $golden/garbage.mux: offset 8451: magic 0x67666564, expected"* ]]
	head -c 8451 "$golden/garbage.mux" | cmp - out
	run -3 --separate-stderr eet-demux -q -d files "$golden/garbage.mux"
	each_own <(head -c 8451 "$golden/garbage.mux" | tee copy) files || each_own copy files
	run -3 --separate-stderr eet-demux -q --filter 'cat > $EET_NAME.eet' "$golden/cut.eet"
	head -c 1792 "$golden/cut.eet" | cmp - stream_*.eet
}

@test "demux: --recover goes on behind the damage, which does not come out" {
	run -3 --separate-stderr bash -c 'eet-demux --recover "$1" > out' - "$golden/garbage.mux"
	[[ $stderr == *"offset 8451: "*"100 bytes skipped, up to offset 8551"* ]]
	cmp "$golden/three.mux" out
	# In the middle of a record: what comes out is sound all the same.
	for at in 300 700 2000 9000; do
		{ head -c $at "$golden/three.mux"; head -c 50 /dev/zero; tail -c +$((at + 1)) "$golden/three.mux"; } > log
		run -3 --separate-stderr bash -c 'eet-demux --recover log > out'
		[ "$(stat -c %s out)" -gt 2000 ]
		eet-demux -q out | cmp - out
	done
	run -3 --separate-stderr eet-demux -q --recover -d files "$golden/garbage.mux"
	each_own "$golden/three.mux" files
	run -3 --separate-stderr bash -c 'eet-demux "$1" > out' - "$golden/notopen.mux"
	[[ $stderr == *"offset 656: FRAME of session 2, which is not open"* ]]
	muxlog pick "$golden/notopen.mux" S=1 | cmp - out
}

@test "demux: garbage makes no files, and a bad tag no path" {
	head -c 100000 /dev/urandom | tr 'EFPC' x > garbage
	run -3 eet-demux -d out garbage
	run -3 eet-demux --recover -d out garbage
	run -3 eet-demux --filter 'touch ran' garbage
	[ "$(ls out | wc -l)" = 0 ]
	[ ! -e ran ]
	run eet-demux -d out "$golden/badtag.mux"
	[[ $output == *'tag "../etc" dropped'* ]]
	[[ $(ls out) == stream_[0-9]*_20*Z_s1.eet ]]
	run --separate-stderr eet-demux -q --filter 'echo "<$EET_TAG>"' "$golden/badtag.mux"
	[ "$output" = "<>" ]
}

# --- -d ---

@test "demux: -d makes one frame log per session, with its own bytes" {
	muxlog make 50 60 4 > log
	run -0 --separate-stderr eet-demux -q -d out log
	[ -z "$output$stderr" ]
	[ "$(ls out | wc -l)" = 50 ]
	each_own log out
	eet-demux -q -i 1 -i 2 --directory some < log
	[ "$(ls some | wc -l)" = 20 ]
	[ "$(ls some | grep -c '^stream_[12]_')" = 20 ]
}

@test "demux: a file is named by the stream, its tag, the time of its OPEN and its session" {
	three_streams > log
	run -0 --separate-stderr eet-demux -v -d out log
	[ "$(ls out)" = "stream_7_20260131T101500.500Z_s3.eet
stream_7_kitchen_20260131T101500.000Z_s1.eet
stream_9_20260131T101500.100Z_s2.eet" ]
	[[ $stderr == "eet-demux: session 1: out/stream_7_kitchen_20260131T101500.000Z_s1.eet"$'\n'* ]]
	mux > log <<-SCRIPT
		0 OPEN 4294967295 pcm id=4294967295 tag=00:1B:44:11:3A:B7
		0.0015 OPEN 5 pcm id=0 tag=$(printf 'x%.0s' {1..64})
	SCRIPT
	eet-demux -q -d tags log
	[ "$(ls tags)" = "stream_0_$(printf 'x%.0s' {1..64})_20260131T101500.001Z_s5.eet
stream_4294967295_00-1B-44-11-3A-B7_20260131T101500.000Z_s4294967295.eet" ]
}

@test "demux: a session without frames is a file with its handshake" {
	mux <<< '0 OPEN 1 pcm id=7' | eet-demux -q -d out
	handshake pcm 7 8000 1 160 | cmp - out/stream_7_20260131T101500.000Z_s1.eet
}

@test "demux: DIR is 0750 and files 0640, less the umask" {
	three_streams > log
	(umask 0 && eet-demux -q -d a log)
	[ "$(stat -c %a a) $(stat -c %a a/* | sort -u)" = "750 640" ]
	(umask 077 && eet-demux -q -d b log)
	[ "$(stat -c %a b) $(stat -c %a b/* | sort -u)" = "700 600" ]
}

@test "demux: a taken name goes on to the next free millisecond, and nothing is overwritten" {
	three_streams > log
	mkdir out
	base=stream_7_20260131T101500
	echo kept > out/$base.500Z_s3.eet
	ln -s /nonexistent/x out/$base.501Z_s3.eet
	ln -s ../victim out/$base.502Z_s3.eet
	echo victim > victim
	mkdir out/$base.503Z_s3.eet
	touch out/$base.504Z_s3.wav out/$base.505Z_s3.eet.part out/$base.506Z_s3.wav.part
	eet-demux -q -d out log
	muxlog own log 3 | cmp - out/$base.507Z_s3.eet
	[ "$(cat out/$base.500Z_s3.eet) $(cat victim)" = "kept victim" ]
	eet-demux -q -d out log
	muxlog own log 3 | cmp - out/$base.508Z_s3.eet
	muxlog own log 1 | cmp - out/stream_7_kitchen_20260131T101500.001Z_s1.eet
}

@test "demux: no time is left for a name at the end of the year 9999" {
	handshake pcm > open
	record OPEN 1 253402300799999000 open > log
	eet-demux -q -d out log
	[ "$(ls out)" = stream_1_99991231T235959.999Z_s1.eet ]
	run -1 --separate-stderr eet-demux -q -d out log
	[ "$stderr" = "eet-demux: out/stream_1_99991231T235959.999Z_s1.eet: File exists" ]
}

@test "demux: a file grows as its session's frames come in, and is closed when that ends" {
	three_streams > log
	file=out/stream_7_kitchen_20260131T101500.000Z_s1.eet
	mkfifo pipe
	in=pipe spawn demux eet-demux -d out
	exec 7> pipe
	head -c 115 log >&7 # OPEN, and of the next one its time, without which that of the first is doubtful
	wait_for size $file 32
	tail -c +116 log | head -c 435 >&7 # its first frame and a part of the next one
	wait_for size $file 364
	ls -l "/proc/$pid/fd" | grep -q $file
	tail -c +551 log >&7
	wait_for size $file $((32 + 5 * 332))
	wait_for bash -c "! ls -l /proc/$pid/fd | grep -q out/"
	exec 7>&-
	finish demux
	[ "$status" = 0 ]
	each_own log out
}

@test "demux: more sessions than descriptors: files take turns" {
	muxlog make 300 6 5 > log
	bash -c 'ulimit -n 20; exec eet-demux -q -d out log'
	[ "$(ls out | wc -l)" = 300 ]
	each_own log out
}

@test "demux: a file that is not the one it was is not written to" {
	local file

	muxlog make 60 4 6 > log
	mkfifo pipe
	in=pipe spawn demux bash -c 'ulimit -n 16; exec eet-demux -q -d out'
	exec 7> pipe
	head -c 4000 log >&7 # all OPENs
	wait_for bash -c '[ "$(find out -type f -size +31c | wc -l)" = 60 ]'
	file=$(comm -13 <(ls -l "/proc/$pid/fd" | grep -o 'stream_.*eet' | sort) <(ls out) | head -n 1)
	rm "out/$file"
	echo mine > "out/$file"
	tail -c +4001 log >&7 || :
	exec 7>&-
	finish demux
	[ "$status" = 1 ]
	grep -qx "eet-demux: out/$file: Stale file handle" demux.err
	[ "$(cat "out/$file")" = mine ]
}

@test "demux: what can't be written is named, exit 1" {
	muxlog make 3 100 7 > log
	# No space, in a form that needs no disk: files of at most 2 KiB.
	run -1 --separate-stderr bash -c "trap '' XFSZ; ulimit -f 2; eet-demux -q -d out log"
	[[ $stderr == "eet-demux: out/stream_"*"_s"[123]".eet: File too large" ]]
	muxlog own log "${stderr:(-21):1}" | head -c 2048 | cmp - out/*_s"${stderr:(-21):1}".eet
	touch file
	run -1 --separate-stderr eet-demux -q -d file log
	[ "$stderr" = "eet-demux: file: Not a directory" ]
	run -1 --separate-stderr eet-demux -q -d no/where log
	[ "$stderr" = "eet-demux: no/where: No such file or directory" ]
	run -1 --separate-stderr eet-demux -q -d '' log
}

@test "demux: a capture of 100 clients becomes what each of them sent" {
	local id

	mkdir sent
	for ((id = 1; id <= 100; id++)); do
		"$logs" frames > sent/$id.eet <<-SCRIPT
			0 OPEN 1 $([ $((id % 3)) = 0 ] && echo adpcm || echo pcm) id=$id ch=$((id % 2 + 1)) ts=$id
			0 FRAME 1 seq=$id count=$((5 + id % 7))
			0 FRAME 1 seq=$((id + 20)) len=$((id % 160))
		SCRIPT
	done
	start_listen -o all.log
	/usr/bin/python3 "$EET_ROOT/test/send.py" "$url" sent/*.eet > send.out
	stop listen
	[ "$status" = 0 ]
	eet-demux -d out all.log
	[ "$(ls out | wc -l)" = 100 ]
	for ((id = 1; id <= 100; id++)); do
		cmp sent/$id.eet out/stream_${id}_*.eet
		eet-demux -i $id all.log | eet-demux -q -d again
	done
	diff -r out again
	mkdir filtered
	eet-demux --filter 'cat > filtered/$EET_NAME.eet' all.log
	diff -r out filtered
}

# --- --filter ---

@test "demux: --filter feeds each session's frame log to a command of its own" {
	muxlog make 40 60 8 > log
	run -0 --separate-stderr eet-demux -q --filter 'mkdir -p out; cat > out/$EET_NAME.eet' log
	[ -z "$output$stderr" ]
	each_own log out
	eet-demux -q -d files log
	diff -r files out
	eet-demux -q -i 3 --filter 'echo $EET_SESSION' log | sort -n > list
	[ "$(tr '\n' ' ' < list)" = "2 7 12 17 22 27 32 37 " ]
}

@test "demux: a filter knows from its environment what it is fed" {
	three_streams > log
	EET_TAG=outer EET_SESSION=outer eet-demux -q \
		--filter 'echo "$EET_SESSION,$EET_STREAM_ID,$EET_TAG,$EET_NAME"' log | sort > list
	[ "$(cat list)" = "1,7,kitchen,stream_7_kitchen_20260131T101500.000Z_s1
2,9,,stream_9_20260131T101500.100Z_s2
3,7,,stream_7_20260131T101500.500Z_s3" ]
	mux <<< '0 OPEN 1 pcm tag=a:b' > log
	[ "$(eet-demux -q --filter 'echo $EET_TAG $EET_NAME' log)" = "a:b stream_1_a-b_20260131T101500.000Z_s1" ]
	[ "$(eet-demux -q --filter '-no-such-command 2> /dev/null || echo "$0"' log)" = sh ]
}

@test "demux: a filter has default signals, its own limits and no descriptors but 0 to 2" {
	mux <<< '0 OPEN 1 pcm' > log
	cat > look <<-'SCRIPT'
		grep -E '^Sig(Blk|Ign)' /proc/self/status
		echo $(ls -v /proc/self/fd)
		ulimit -Sn
	SCRIPT
	run -0 bash -c "trap '' INT USR1 CHLD PIPE; ulimit -Sn 100; exec 8< look
		exec env --ignore-signal=CHLD eet-demux -q --filter '. ./look' log"
	[ "${lines[0]}" = $'SigBlk:\t0000000000000000' ]
	# Less glibc's own 32 and 33, which it leaves ignored in what make starts.
	[ $((0x${lines[1]#SigIgn:?} & ~0x180000000)) = 0 ]
	[ "${lines[2]}" = "0 1 2 3" ] # 3 is the folder that ls reads
	[ "${lines[3]}" = 100 ]
}

@test "demux: how a filter failed is told, and makes 1 of it; the others are served" {
	three_streams > log
	run -1 --separate-stderr eet-demux -q --filter 'cat > $EET_SESSION; [ $EET_SESSION != 2 ] || exit 7' log
	[ "$stderr" = "eet-demux: session 2 (stream_9_20260131T101500.100Z_s2): the filter exited with status 7" ]
	muxlog own log 3 | cmp - 3
	run -1 --separate-stderr eet-demux -q --filter 'cat > $EET_SESSION; [ $EET_SESSION != 3 ] || kill -9 $$' log
	[ "$stderr" = "eet-demux: session 3 (stream_7_20260131T101500.500Z_s3): the filter was killed by signal 9 (Killed)" ]
	run -1 --separate-stderr eet-demux -q -S 1 --filter 'no-such-command' log
	[[ $stderr == *"not found"*"session 1 ("*"): the filter exited with status 127" ]]
	# Damage is not hidden by success, nor failure by damage.
	run -3 eet-demux -q --filter 'cat > /dev/null' "$golden/cut.mux"
	run -1 eet-demux -q --filter 'cat > /dev/null; false' "$golden/cut.mux"
}

@test "demux: a filter that ends early gets no more, the others get all" {
	muxlog make 8 400 9 2000 > log # much more than a pipe holds
	run -0 --separate-stderr eet-demux -S 1 -S 2 -S 3 \
		--filter 'if [ $EET_SESSION = 2 ]; then head -c 100 > 2; else cat > $EET_SESSION; fi' log
	[ "$(grep -c "session 2 .*the filter reads no more, the rest is dropped" <<< "$stderr")" = 1 ]
	muxlog own log 2 | head -c 100 | cmp - 2
	muxlog own log 1 | cmp - 1
	muxlog own log 3 | cmp - 3
	run -1 --separate-stderr eet-demux -q \
		--filter 'if [ $EET_SESSION = 2 ]; then exec 0<&-; exit 5; else cat > $EET_SESSION; fi' log
	[[ $stderr == "eet-demux: session 2 ("*"): the filter exited with status 5" ]]
	for n in 1 3 4 5 6 7 8; do
		muxlog own log $n | cmp - $n
	done
}

# Session 1's first frames fill its pipe and more, then comes all of session 2, in the same read.
one_is_slow() {
	mux <<-SCRIPT
		0 OPEN 1 pcm n=1000
		0 OPEN 2 pcm n=1000
		0 FRAME 1 count=45 len=1000
		1 FRAME 2 count=5 len=1000
		2 CLOSE 2 1000
		3 FRAME 1 seq=45 count=100 len=1000
	SCRIPT
}

@test "demux: a slow filter holds up no other one, and loses nothing" {
	one_is_slow > log
	# Session 1 is read when session 2's filter has seen its end: never, if it waited for 1.
	eet-demux -q --filter '
		if [ $EET_SESSION = 1 ]; then until [ -e over ]; do sleep 0.02; done; fi
		cat > $EET_SESSION
		[ $EET_SESSION = 1 ] || touch over' log
	muxlog own log 1 | cmp - 1
	muxlog own log 2 | cmp - 2
}

@test "demux: filters that wait for each other's pace, in a random order, get all they should" {
	muxlog make 12 150 10 4000 > log
	eet-demux -q --filter '
		while dd bs=${EET_SESSION}000 count=1 2> /dev/null | grep -q .; do :; done; cat > $EET_SESSION.rest' log
	eet-demux -q --filter 'dd bs=$((EET_SESSION * 777)) 2> /dev/null > $EET_SESSION' log
	for n in {1..12}; do
		muxlog own log "$n" | cmp - "$n"
		size "$n.rest" 0
	done
}

@test "demux: a filter that never reads holds the input back; when it dies the rest goes on" {
	one_is_slow > log
	spawn demux eet-demux --filter '
		if [ $EET_SESSION = 1 ]; then echo $$ > 1.pid; exec sleep 1000; else cat > $EET_SESSION; touch over; fi' log
	wait_for test -e over
	muxlog own log 2 | cmp - 2
	wait_for waits "$pid"
	kill "$(cat 1.pid)"
	finish demux
	[ "$status" = 1 ]
	grep -q '^eet-demux: session 1 (.*): the filter reads no more, the rest is dropped$' demux.err
	grep -q '^eet-demux: session 1 (.*): the filter was killed by signal 15 (Terminated)$' demux.err
}

@test "demux: a filter sees the end of its session while others go on" {
	three_streams > log
	mkfifo pipe
	in=pipe spawn demux eet-demux -v --filter 'cat > $EET_SESSION; touch $EET_SESSION.done'
	exec 7> pipe
	head -c -26 log >&7 # all but the last CLOSE
	wait_for test -e 1.done
	wait_for test -e 2.done
	wait_for grep -q '^eet-demux: session 1 (.*): the filter exited with status 0$' demux.err
	[ ! -e 3.done ]
	wait_for size 3 $((32 + 2 * 332))
	exec 7>&-
	finish demux
	[ -e 3.done ]
}

@test "demux: with filters, 300 sessions one after the other need few descriptors" {
	for n in {1..300}; do
		echo "$n OPEN $n pcm id=$n n=4"
		echo "$n FRAME $n count=2 len=4"
		echo "$n.5 CLOSE $n 1000"
	done | mux > log
	bash -c 'ulimit -n 14; exec eet-demux -q --filter "wc -c > \$EET_SESSION.count" log' 2> err || {
		# Slow filters may still be there, but they hold no descriptors of ours.
		cat err
		false
	}
	[ "$(cat ./*.count | sort | uniq -c | tr -s ' ')" = " 300 72" ]
}

@test "demux: a session too many for the descriptors is dropped, said, and makes 1 of it" {
	muxlog make 30 5 11 > log
	run -1 --separate-stderr bash -c 'ulimit -n 20; exec eet-demux -q --filter "cat > \$EET_SESSION" log'
	[[ $stderr == "eet-demux: session "*"): no filter, the session is dropped: Too many open files"* ]]
	dropped=$(grep -c "no filter, the session is dropped: Too many open files$" <<< "$stderr")
	[ "$dropped" -gt 5 ]
	[ "$(ls | grep -c '^[0-9]*$')" = $((30 - dropped)) ]
	for n in $(ls | grep '^[0-9]*$'); do
		muxlog own log "$n" | cmp - "$n"
	done
}

@test "demux: hundreds of sessions at once, each with its filter" {
	muxlog make 300 3 12 > log
	mkdir out
	eet-demux -q --filter 'cat > out/$EET_NAME.eet' log
	each_own log out
}

# --- pipes, signals, errors ---

@test "demux: on a live pipe everything of one read is written before the next" {
	three_streams > log
	mkfifo pipe
	in=pipe spawn demux eet-demux
	exec 7> pipe
	head -c 112 log >&7 # OPEN, and of the next one its time, without which that of the first is doubtful
	wait_for size demux.out 88
	head -c 500 log | tail -c +113 >&7
	whole=$((88 + 24 + 32 + 356))
	wait_for size demux.out $whole
	tail -c +501 log >&7
	wait_for cmp log demux.out
	exec 7>&-
	finish demux
	[ "$status" = 0 ]
}

@test "demux: standard output may be a socket, and a slow one" {
	muxlog make 20 400 13 1000 > log
	socat -u EXEC:"eet-demux -q log" CREATE:out
	cmp log out
	socat -u EXEC:"eet-demux -q log" SYSTEM:'while dd bs=1000 count=40 2> /dev/null | grep -a .; do :; done > slow' || :
	eet-demux -q log | { sleep 0.3; cat; } | cmp log -
}

@test "demux: a pipe is not left in a mode that others do not expect" {
	run -0 bash -c '{ eet-demux -q "$1" | cat > copy; } &&
		{ eet-demux -q "$1"; grep -h flags /proc/self/fdinfo/1 >&2; } 2> flags | cat > /dev/null' - "$golden/three.mux"
	cmp copy "$golden/three.mux"
	# O_NONBLOCK is 04000.
	[[ $(cat flags) =~ ^flags:.*[0-3][0-7]{3}$ ]]
}

@test "demux: output that fails is 1: full, gone, closed" {
	muxlog make 20 100 14 1000 > log
	run -1 --separate-stderr bash -c 'eet-demux log > /dev/full'
	[ "$stderr" = "eet-demux: standard output: No space left on device" ]
	run -1 --separate-stderr bash -c 'eet-demux log | head -c 10 > /dev/null; exit ${PIPESTATUS[0]}'
	[ "$stderr" = "eet-demux: standard output: Broken pipe" ]
	run -1 --separate-stderr bash -c 'eet-demux log >&-'
	[ "$stderr" = "eet-demux: standard output: Bad file descriptor" ]
	run -1 --separate-stderr bash -c 'eet-demux <&-'
	[ "$stderr" = "eet-demux: standard input: offset 0: Bad file descriptor" ]
	# Files and filters need no standard output.
	run -0 bash -c 'eet-demux -q -d out log >&- && eet-demux -q --filter "cat > /dev/null" log >&-'
}

@test "demux: a reader that goes away is noticed while nothing comes in" {
	mkfifo pipe to
	in=pipe out=to spawn demux eet-demux
	exec 7> pipe
	exec 8< to
	three_streams | head -c 112 >&7
	head -c 88 <&8 > /dev/null
	exec 8<&-
	finish demux
	exec 7>&-
	[ "$status" = 1 ]
	grep -qx "eet-demux: standard output: Broken pipe" demux.err
}

@test "demux: nothing binary to a terminal, and no log from one" {
	three_streams > log
	run -0 script -qec 'eet-demux log; echo "exit $?"; eet-demux > x; echo "exit $?"' /dev/null
	[[ $output == *"eet-demux: a log is binary, and the output is a terminal: redirect it, or use -d DIR"* ]]
	[[ $output == *"eet-demux: standard input is a terminal"* ]]
	[[ $output == *"exit 2"*"exit 2"* ]]
	[[ $output != *EETM* ]]
	run -0 script -qec 'eet-demux -d out log; echo "exit $?"' /dev/null
	[[ $output == *"exit 0"* ]]
}

@test "demux: SIGTERM, SIGINT, SIGHUP: it reads on to the end of its input, exit 0" {
	local signal

	three_streams > log
	for signal in TERM INT HUP; do
		rm -rf pipe out
		mkfifo pipe
		in=pipe spawn demux eet-demux -q -d out
		exec 7> pipe
		head -c 500 log >&7
		wait_for test -e out/stream_9_20260131T101500.100Z_s2.eet
		kill -s $signal "$pid"
		wait_for taken "$pid"
		tail -c +501 log >&7
		exec 7>&-
		finish demux
		[ "$status" = 0 ]
		[ ! -s demux.err ]
		each_own log out
	done
}

@test "demux: a second signal ends it with what there is, 3 and the offset" {
	three_streams > log
	mkfifo pipe
	in=pipe spawn demux eet-demux -d out - other.log
	exec 7> pipe
	head -c 112 log >&7 # OPEN, and the time of the next one
	wait_for size out/stream_7_kitchen_20260131T101500.000Z_s1.eet 32
	kill "$pid"
	wait_for taken "$pid"
	kill "$pid"
	finish demux
	exec 7>&-
	[ "$status" = 3 ]
	[ "$(head -n 1 demux.err)" = "eet-demux: standard input: offset 88: stopped here, the input has not ended" ]
	[ "$(tail -n 1 demux.err)" = "eet-demux: other.log: not read" ]
	size out/stream_7_kitchen_20260131T101500.000Z_s1.eet 32
}

@test "demux: 5 seconds after a signal it ends, even if its reader takes nothing" {
	muxlog make 10 500 15 1000 > log
	mkfifo pipe to
	in=pipe spawn input eet-demux
	exec 7> pipe
	out=to spawn output eet-demux log
	exec 8< to
	three_streams | head -c 112 >&7
	wait_for size input.out 88
	wait_for waits "${pids[output]}"
	began=${EPOCHREALTIME/./}
	kill "${pids[input]}" "${pids[output]}"
	within 15 gone "${pids[input]}"
	within 15 gone "${pids[output]}"
	[ "$(since "$began")" -ge 4900000 ]
	finish input
	[ "$status" = 3 ]
	finish output
	[ "$status" = 1 ]
	exec 7>&- 8<&-
	grep -q "^eet-demux: standard output: stopped, its reader takes nothing" output.err
	grep -qE "^eet-demux: log: offset [0-9]+: not all is delivered from here on" output.err
}

@test "demux: filters are waited for, until a second signal" {
	three_streams > log
	spawn demux eet-demux -S 3 --filter 'cat > /dev/null; echo $$ > 3.pid; exec sleep 1000' log
	wait_for test -s 3.pid
	kill "$pid"
	wait_for taken "$pid"
	wait_for waits "$pid"
	kill "$pid"
	finish demux
	[ "$status" = 1 ]
	grep -qx "eet-demux: session 3 (stream_7_20260131T101500.500Z_s3): the filter still runs, process $(cat 3.pid)" demux.err
	kill -0 "$(cat 3.pid)" # no signal came from us
}

@test "demux: nohup stays in force, for the filters too" {
	three_streams > log
	mkfifo pipe
	in=pipe spawn demux env --ignore-signal=HUP eet-demux -q \
		--filter 'kill -HUP $$; cat > $EET_SESSION'
	exec 7> pipe
	head -c 112 log >&7
	wait_for size 1 32
	kill -HUP "$pid"
	kill -HUP "$pid"
	wait_for taken "$pid"
	tail -c +113 log >&7
	exec 7>&-
	finish demux
	[ "$status" = 0 ]
	muxlog own log 3 | cmp - 3
}

@test "demux: a FIFO is an operand like any other, and waiting for its writer can be ended" {
	three_streams > log
	mkfifo pipe
	spawn demux eet-demux pipe
	wait_for waits "$pid"
	cat log > pipe
	finish demux
	[ "$status" = 0 ]
	cmp log demux.out
	spawn demux eet-demux pipe
	wait_for waits "$pid"
	kill "$pid"
	wait_for taken "$pid"
	kill "$pid"
	finish demux
	[ "$status" = 3 ]
}

@test "demux: memory does not grow with the log" {
	cat > peak.py <<-'PYTHON'
		import resource, subprocess, sys
		subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
		print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
	PYTHON
	muxlog make 20 100 16 4000 > short
	for _ in {1..16}; do cat short; done > long
	for option in -q "-q -d out" "-q --filter true"; do
		# shellcheck disable=SC2086 # words are wanted
		a=$(/usr/bin/python3 peak.py eet-demux $option short) b=$(/usr/bin/python3 peak.py eet-demux $option long)
		[ "$b" -lt $((a + 1024)) ]
	done
}

@test "demux: what is wrong with the options is said, exit 2, and nothing is done" {
	local option

	three_streams > log
	for option in '-i x' '-i -1' '-i 4294967296' '-S 0' '-S 4294967296' '-S 1,2' '-d' '-d out --filter true' \
		'--filter=' '--layout x' '-r 8000' '--codec pcm' '--no-such' '- -' '-q=1'; do
		# shellcheck disable=SC2086 # words are wanted
		run -2 --separate-stderr eet-demux $option < log
		[[ $stderr == "eet-demux: "*"--help'" ]] || [[ $stderr == "eet-demux: "*"; try "* ]]
		[ -z "$output" ]
		[ ! -e out ]
	done
	eet-demux -q --layout wav log | cmp log -
}
