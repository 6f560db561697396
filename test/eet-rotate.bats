#!/usr/bin/env bats
# eet-rotate: a log in, a spool out.
# Here all names are of our making, so ls may be read; conditions for wait_for are expanded later.
# shellcheck disable=SC2010,SC2012,SC2016,SC2035,SC2154
load helper

setup() {
	eet_setup
	logs=$EET_ROOT/test/logs.py
	golden=$EET_ROOT/data/logs
}

# A mux log from a script; times are seconds after 10:15:00.
mux() {
	"$logs" mux
}

# The names in out/ that end so, without stream id and session: the times.
times() {
	(cd "${2:-out}" && ls) | sed -n "s/^stream_.*_20260131T\(.*\)Z_s[0-9]*\.$1\$/\1/p" | tr '\n' ' '
}

# Frames per segment of a session, in order.
frames() {
	jq -r "select(.event == \"segment\" and .session == $1) | .frames" "${2:-out}/index.jsonl" | tr '\n' ' '
}

# lines N FILE: it has so many.
lines() {
	[ "$(wc -l < "$2")" = "$1" ]
}

one_second() {
	mux <<-SCRIPT
		0 OPEN 1 pcm id=7 tag=kitchen peer=127.0.0.1:4711
		0 FRAME 1 seq=5 count=50
		1 CLOSE 1 1000 done
	SCRIPT
}

# --- names, files, index ---

@test "rotate: a session becomes a frame log, a WAV and two lines of index" {
	one_second > log
	run -0 --separate-stderr eet-rotate out < log
	name=stream_7_kitchen_20260131T101500.000Z_s1
	[ "$output" = "out/$name.eet"$'\n'"out/$name.wav" ]
	[ "$(cd out && echo *)" = "index.jsonl $name.eet $name.wav" ]
	mux_frames=$("$logs" frames <<-SCRIPT | md5sum
		0 OPEN 1 pcm id=7
		0 FRAME 1 seq=5 count=50
	SCRIPT
	)
	[ "$(md5sum < "out/$name.eet")" = "$mux_frames" ]
	[ "$("$logs" wav "out/$name.wav" | md5sum)" = "$("$logs" samples "out/$name.eet" - | md5sum)" ]
	[ "$(soxi -r "out/$name.wav") $(soxi -c "out/$name.wav") $(soxi -s "out/$name.wav")" = "8000 1 8000" ]
	[ "$(soxi -e "out/$name.wav")" = "Signed Integer PCM" ]
	[ "$(wc -l < out/index.jsonl)" = 2 ]
}

@test "rotate: index lines have these keys, in this order, with these values" {
	one_second | eet-rotate -q out
	us=1769854500000000
	common='"session":1,"stream_id":7,"tag":"kitchen","peer":"127.0.0.1:4711","codec":"pcm",'
	common+='"layout":null,"rate":8000,"channels":1,"frame_samples":160,"first_seq":5,"last_seq":54,'
	common+="\"first_us\":$us,\"last_us\":$((us + 980000)),"
	common+='"frames":50,"samples":8000,"seconds":1.000000,"gaps":0,"gap_frames":0,'
	rest='"repeats":0,"restarts":0,"damaged":0,'
	name=stream_7_kitchen_20260131T101500.000Z_s1
	sed 's/"peak_dbfs.*"clipped/"clipped/' out/index.jsonl > lines
	cat > expected <<-LINES
		{"event":"segment","eet":"$name.eet","wav":"$name.wav",$common"gap_before":0,$rest"clipped":0,"recovered":false,"error":null}
		{"event":"session","eet":null,"wav":null,$common"gap_before":null,$rest"clipped":0,"recovered":false,"error":null,"close_code":1000,"close_reason":"done"}
	LINES
	diff expected lines
	# A sine of 9000: 20 log10(9000 / 32768), and 3.01 dB less, rounded.
	grep -o '"peak_dbfs":[^r]*"rms_dbfs":[^,]*,"clipped"' out/index.jsonl | sort -u > levels
	[ "$(cat levels)" = '"peak_dbfs":-11.22,"rms_dbfs":-14.24,"clipped"' ]
}

@test "rotate: digital silence has no level, and full scale is clipped" {
	{
		handshake pcm 1 8000 1 4
		head -c 8 /dev/zero > payload
		frame pcm 0 payload
	} > silence.eet
	eet-rotate -q silence < silence.eet
	[ "$(jq -c '[.peak_dbfs, .rms_dbfs, .clipped]' silence/index.jsonl | sort -u)" = '[null,null,0]' ]
	{
		handshake pcm 1 8000 1 4
		le16 32767 -32768 -32768 32766 > payload
		frame pcm 0 payload
	} > loud.eet
	eet-rotate -q loud < loud.eet
	grep -q '"peak_dbfs":0.00,"rms_dbfs":-\?0.00,"clipped":3,' loud/index.jsonl
}

@test "rotate: sessions are told apart though they have one stream_id" {
	mux > log <<-SCRIPT
		0.000 OPEN 4 pcm id=7
		0.000 OPEN 9 adpcm id=7 ch=2 rate=44100
		0.010 FRAME 4 seq=0 count=3
		0.100 FRAME 9 seq=9 count=5
		0.300 CLOSE 9 1001 bye
		0.300 CLOSE 4 1006
	SCRIPT
	eet-rotate -q out < log
	[ "$(times eet)" = "101500.010 101500.100 " ]
	[ "$(frames 1)" = "3 " ]
	[ "$(frames 2)" = "5 " ]
	[ "$(jq -c 'select(.event == "session") | [.session, .close_code, .close_reason]' out/index.jsonl)" = \
		$'[2,1001,"bye"]\n[1,1006,null]' ]
}

@test "rotate: a tag's : becomes -, a bad tag is dropped and reported" {
	mux > log <<-SCRIPT
		0 OPEN 1 pcm id=3 tag=00:1B:44:11:3A:B7
		0 FRAME 1
		0 CLOSE 1 1000
	SCRIPT
	run -0 eet-rotate -q out < log
	[ -f out/stream_3_00-1B-44-11-3A-B7_20260131T101500.000Z_s1.eet ]
	[ "$(jq -r .tag out/index.jsonl | sort -u)" = 00:1B:44:11:3A:B7 ]
	run -0 --separate-stderr eet-rotate bad < "$golden/badtag.mux"
	[[ $stderr == "eet-rotate: "*'"../etc"'* ]]
	[ "$(cd bad && echo *)" = "$(cd bad && echo index.jsonl stream_[0-9]*_2*)" ]
	[ "$(jq -r .tag bad/index.jsonl | sort -u)" = null ]
}

@test "rotate: what comes from outside can't forge a line" {
	{
		handshake pcm 1 > open
		printf 'peer=1.2.3.4:5\033[2J\377"\n' >> open
		le16 1000 > close
		printf 'a"b\\c\nd\001\377' >> close
		echo -n ab > payload
		frame pcm 0 payload > message
		record OPEN 1 1000000 open
		record FRAME 1 1000000 message
		record CLOSE 1 1000000 close
	} > log
	run -0 --separate-stderr eet-rotate -v out < log
	refute grep -q $'[\001\033\377]' <<< "$stderr$output"
	[ "$(wc -l < out/index.jsonl)" = 2 ]
	[ "$(jq -r 'select(.event == "session") | .close_reason' out/index.jsonl | head -n 1)" = 'a"b\c' ]
}

@test "rotate: --no-wav, --mode and the umask" {
	one_second > log
	(umask 026 && eet-rotate -q --no-wav --mode 666 out < log) > list
	[ "$(cat list)" = out/stream_7_kitchen_20260131T101500.000Z_s1.eet ]
	[ "$(ls out | wc -l)" = 2 ]
	[ "$(stat -c %a out/*.eet out/index.jsonl | sort -u)" = 640 ]
	[ "$(stat -c %a out)" = 750 ]
	[ "$(jq -r .wav out/index.jsonl | sort -u)" = null ]
	(umask 0 && eet-rotate -q default < log)
	[ "$(stat -c %a default/*.eet default/*.wav | sort -u)" = 640 ]
}

@test "rotate: --sync none gives the same files, segment syncs them" {
	one_second > log
	eet-rotate -q --sync none a < log
	strace -f -e trace=fsync,fdatasync,syncfs -o calls eet-rotate -q --sync segment b < log
	diff -r a b
	[ "$(grep -cE '(fsync|syncfs)\(' calls)" -ge 3 ]
	strace -f -e trace=fsync,fdatasync,syncfs -o calls eet-rotate -q --sync none c < log
	refute grep -qE 'sync(fs)?\(' calls
}

@test "rotate: syncs what an earlier start made, and did not sync: the directory, the log" {
	one_second > log
	eet-rotate -q --sync none out < log
	(cd out && mv stream*.eet "$(echo stream*.eet).part" && rm stream*.wav)
	strace -f -y -e trace=fsync,fdatasync -o calls eet-rotate -q out < /dev/null
	grep -q "fsync([0-9]*<$PWD>)" calls
	grep -q 'fsync(.*\.eet\.part>)' calls
	grep -q 'fsync(.*\.wav\.part>)' calls
	grep -q 'fdatasync(.*/\.next>)' calls
}

@test "rotate: many segments that end at once are synced with one call, or each for itself" {
	for i in {1..20}; do echo "0 OPEN $i pcm id=$i"; done > script
	for i in {1..20}; do echo "0 FRAME $i count=5 step=0"; done >> script
	echo "1 ROTATE" >> script
	mux < script > log
	strace -f -y -e trace=fsync,syncfs -o calls eet-rotate -q one < log
	grep -q 'syncfs(.*one>)' calls
	[ "$(grep -c 'fsync(.*\.part>)' calls)" -lt 20 ]
	strace -f -y -e trace=fsync,syncfs -e inject=syncfs:error=EIO -o calls eet-rotate -q each < log
	[ "$(grep -c 'fsync(.*\.eet\.part>)' calls)" = 20 ]
	[ "$(grep -c 'fsync(.*\.wav\.part>)' calls)" = 20 ]
	diff -r one each
	[ "$(ls one | wc -l)" = 41 ]
}

@test "rotate: what is cut off the index can't come back around a line" {
	one_second > log
	eet-rotate -q --sync none out < log
	printf '{"event":"segment","eet":"s' >> out/index.jsonl
	strace -f -y -e trace=ftruncate,fdatasync -o calls eet-rotate -q --sync none out < log
	[ "$(grep -o '[a-z]*([0-9]*<[^>]*>' calls | grep -o '^[a-z]*\|[^/]*$' | tr '\n' ' ')" = \
		"ftruncate index.jsonl> fdatasync index.jsonl> " ]
}

# --- rotation ---

@test "rotate: boundaries lie at t0 + k T, wherever the frames lie" {
	mux > log <<-SCRIPT
		0.500 OPEN 1 pcm
		0.700 FRAME 1 seq=0 count=100 step=0.03
		5.150 FRAME 1 seq=100 count=20 step=0.03
		6.000 CLOSE 1 1000
	SCRIPT
	eet-rotate -q -t 1 out < log
	# 0.7, 1.72 (1.7 is a boundary), 2.71, 3.67 is the last; then 5.15 and, past 5.7, 5.72.
	[ "$(times eet)" = "101500.700 101501.720 101502.710 101505.150 101505.720 " ]
	[ "$(frames 1)" = "34 33 33 19 1 " ]
}

@test "rotate: a frame at the boundary belongs to the next segment" {
	mux > log <<-SCRIPT
		0 OPEN 1 pcm
		0 FRAME 1 seq=0 count=3 step=0.5
		1.1 CLOSE 1 1000
	SCRIPT
	eet-rotate -q -t 1 out < log
	[ "$(frames 1)" = "2 1 " ]
	[ "$(times eet)" = "101500.000 101501.000 " ]
}

@test "rotate: any record of any session ends a segment whose time is over" {
	for last in "1 TICK" "1 OPEN 2 pcm" "1 FRAME 3" "1 CLOSE 3 1000" "1 ROTATE"; do
		rm -rf out
		mux > log <<-SCRIPT
			0 OPEN 1 pcm
			0 OPEN 3 pcm
			0 FRAME 1
			$last
			1.2 FRAME 1 seq=1
			1.3 CLOSE 1 1001
		SCRIPT
		eet-rotate -q -t 1 out < log
		[ "$(frames 1)" = "1 1 " ]
		[ "$(times eet | cut -d' ' -f1-2)" = "101500.000 101501.000" ] ||
			[ "$(times eet)" = "101500.000 101501.200 " ]
	done
}

@test "rotate: a segment is complete as soon as its time is over, not when the next one begins" {
	mkfifo pipe
	in=pipe spawn rotate eet-rotate -t 1 out
	exec 7> pipe
	mux >&7 <<-SCRIPT
		0 OPEN 1 pcm
		0 FRAME 1 seq=0 count=10
		1 TICK
	SCRIPT
	wait_for test -s rotate.out
	wait_for test -f out/stream_1_20260131T101500.000Z_s1.wav
	no_parts out
	exec 7>&-
	finish rotate
	[ "$status" = 0 ]
}

@test "rotate: -t 0 never rotates, and one of a millisecond over eight thousand years does it once" {
	mux > log <<-SCRIPT
		0 OPEN 1 pcm
		0 FRAME 1 seq=0
		251632446299 FRAME 1 seq=1
		251632446299.9 CLOSE 1 1000
	SCRIPT
	eet-rotate -q -t 0 never < log
	[ "$(frames 1 never)" = "2 " ]
	eet-rotate -q -t 1ms often < log
	[ "$(frames 1 often)" = "1 1 " ]
	[ "$(cd often && ls | grep -c 99991231T235959.000Z)" = 2 ]
}

@test "rotate: -s: no .eet becomes larger, but for one frame that is" {
	mux > log <<-SCRIPT
		0 OPEN 1 pcm
		0 FRAME 1 seq=0 count=10
		0.5 CLOSE 1 1000
	SCRIPT
	# 32 + 332 per frame
	eet-rotate -q -s 1028 out < log
	[ "$(frames 1)" = "3 3 3 1 " ]
	eet-rotate -q -s 1027 less < log
	[ "$(frames 1 less)" = "2 2 2 2 2 " ]
	eet-rotate -q -s 100 tiny < log
	[ "$(frames 1 tiny)" = "1 1 1 1 1 1 1 1 1 1 " ]
	[ "$(stat -c %s out/*.eet | sort -n | tail -n 1)" = 1028 ]
}

@test "rotate: ROTATE and SIGHUP end every open segment, at once" {
	mkfifo pipe
	in=pipe spawn rotate eet-rotate out
	exec 7> pipe
	mux >&7 <<-SCRIPT
		0 OPEN 1 pcm
		0 OPEN 2 pcm
		0 OPEN 3 pcm
		0 FRAME 1 seq=0 count=10 step=0
		0 FRAME 2 seq=0 count=20 step=0
		0 ROTATE
	SCRIPT
	wait_for lines 2 out/index.jsonl
	# The same session goes on: its FRAME, without the OPEN of 24 + 32 bytes before it.
	mux <<< $'0 OPEN 1 pcm\n0.2 FRAME 1 seq=10' | tail -c +57 >&7
	wait_for compgen -G 'out/*.part'
	kill -HUP "$pid"
	wait_for lines 3 out/index.jsonl
	exec 7>&-
	finish rotate
	[ "$status" = 0 ]
	[ "$(frames 1)" = "10 1 " ]
	[ "$(frames 2)" = "20 " ]
	[ "$(frames 3)" = "" ]
}

@test "rotate: a session without frames has a line and no file" {
	mux > log <<-SCRIPT
		0 OPEN 1 adpcm id=3
		1 CLOSE 1 1008 nothing came
	SCRIPT
	run -0 eet-rotate -q out < log
	[ "$(ls out)" = index.jsonl ]
	[ "$(jq -c '[.event, .session, .frames, .first_seq, .first_us, .samples, .peak_dbfs, .close_code]' \
		out/index.jsonl)" = '["session",1,0,null,null,0,null,1008]' ]
}

@test "rotate: names of a session sort, though several segments begin in one millisecond" {
	mux > log <<-SCRIPT
		0 OPEN 1 pcm
		0 FRAME 1 seq=0
		0 ROTATE
		0 FRAME 1 seq=1
		0 ROTATE
		0.0005 FRAME 1 seq=2
		0.0005 ROTATE
		0.001 FRAME 1 seq=3
		0.001 CLOSE 1 1000
	SCRIPT
	eet-rotate -q out < log
	[ "$(times eet)" = "101500.000 101500.001 101500.002 101500.003 " ]
	[ "$(jq -c 'select(.event == "segment") | .first_seq' out/index.jsonl | tr '\n' ' ')" = "0 1 2 3 " ]
}

@test "rotate: several that end by one record complete by session number" {
	mux > log <<-SCRIPT
		0 OPEN 1 pcm id=30
		0 OPEN 2 pcm id=20
		0 OPEN 3 pcm id=10
		0.1 FRAME 3
		0.2 FRAME 1
		0.3 FRAME 2
		5 TICK
	SCRIPT
	eet-rotate -q -t 1 out < log | grep eet > list
	[ "$(grep -o 's[0-9].eet' list | tr '\n' ' ')" = "s1.eet s2.eet s3.eet " ]
	[ "$(jq -c '[.event, .session]' out/index.jsonl | tr -d '\n')" = \
		'["segment",1]["segment",2]["segment",3]["session",1]["session",2]["session",3]' ]
}

@test "rotate: session numbers go on where .next says, or after the highest in names and index" {
	one_second > log
	eet-rotate -q out < log
	eet-rotate -q out < log
	[ "$(cd out && ls *.eet | grep -o 's[0-9]*\.eet' | tr '\n' ' ')" = "s1.eet s2.eet " ]
	[ "$(cat out/.next)" = 3 ]
	echo 41 > out/.next
	eet-rotate -q out < log
	[ -f out/stream_7_kitchen_20260131T101500.000Z_s41.eet ]
	# What is unfinished has a number, too.
	cp out/*_s1.eet out/stream_9_20250101T000000.000Z_s50.eet.part
	eet-rotate -q out < log
	[ -f out/stream_7_kitchen_20260131T101500.000Z_s51.eet ]
	# Missing or damaged, it is reported, and the highest number of all is found.
	touch out/stream_9_20250101T000000.000Z_s99.wav
	rm out/.next
	run -0 --separate-stderr eet-rotate out < log
	[[ $stderr == *"out/.next: missing"* ]]
	[ -f out/stream_7_kitchen_20260131T101500.000Z_s100.eet ]
	sed -i 's/"session":100/"session":200/' out/index.jsonl
	printf '1\0\0' > out/.next
	run -0 --separate-stderr eet-rotate out < log
	[[ $stderr == *"out/.next: damaged"* ]]
	[ -f out/stream_7_kitchen_20260131T101500.000Z_s201.eet ]
	[ "$(cat out/.next)" = 202 ]
}

@test "rotate: gaps, repeats and restarts are counted, and a gap between segments is gap_before" {
	mux > log <<-SCRIPT
		0.0 OPEN 1 pcm
		0.0 FRAME 1 seq=4294967290 count=5
		0.2 FRAME 1 seq=4294967293 count=2
		0.3 FRAME 1 seq=1 count=2
		0.4 ROTATE
		0.5 FRAME 1 seq=6 count=1
		0.6 FRAME 1 seq=3000000000 count=2
		0.7 CLOSE 1 1000
	SCRIPT
	run -0 --separate-stderr eet-rotate out < log
	# 4294967290..94, twice ..93 and ..94 again, then 1, 2 where 4294967295 was due: a gap of 2.
	# 6 where 3 was due; 3000000000 is behind.
	[ "$(jq -c 'select(.event == "segment") | [.first_seq, .last_seq, .frames, .samples, .gaps,
		.gap_frames, .gap_before, .repeats, .restarts]' out/index.jsonl)" = \
		$'[4294967290,2,9,1440,1,2,0,2,0]\n[6,3000000001,3,480,0,0,3,0,1]' ]
	[ "$(jq -c 'select(.event == "session") | [.frames, .samples, .gaps, .gap_frames, .repeats,
		.restarts]' out/index.jsonl)" = '[12,1920,2,5,2,1]' ]
}

@test "rotate: a log behind a log, as cat joins them, ends the sessions of the first" {
	one_second > log
	head -c -30 log | cat - log > both # the first one without its CLOSE
	run -0 --separate-stderr eet-rotate out < both
	[[ $stderr == *1006* ]]
	[ "$(jq -c 'select(.event == "session") | [.session, .close_code]' out/index.jsonl)" = \
		$'[1,1006]\n[2,1000]' ]
}

@test "rotate: the same log gives the same directory, byte for byte" {
	eet-rotate -q -t 1 a < "$golden/three.mux"
	eet-rotate -q -t 1 b < "$golden/three.mux"
	(cat "$golden/three.mux") | eet-rotate -q -t 1 c
	diff -r a b
	diff -r a c
	[ "$(ls a/*.eet | wc -l)" -ge 3 ]
}

# --- the list on stdout ---

@test "rotate: the list names files that are there, in the order of the index" {
	mkfifo list
	in=$golden/three.mux out=list spawn rotate eet-rotate -t 1 out
	while read -r file; do
		[ -f "$file" ]
		echo "$file" >> seen
	done < list
	finish rotate
	[ "$status" = 0 ]
	jq -r 'select(.event == "segment") | "out/\(.eet)\nout/\(.wav)"' out/index.jsonl | diff - seen
}

@test "rotate: --json lists the lines of the index" {
	eet-rotate -q --json -t 1 out < "$golden/three.mux" > list
	diff list out/index.jsonl
}

@test "rotate: a list whose reader is gone is reported once, and ends nothing" {
	run -1 --separate-stderr bash -c 'eet-rotate -t 1 out < "$1" > /dev/full' - "$golden/three.mux"
	[ "$(grep -c "No space left" <<< "$stderr")" = 1 ]
	eet-rotate -q -t 1 whole < "$golden/three.mux"
	diff -r whole out
	spawn gone bash -c 'eet-rotate -t 1 gone < "$1" | true; exit ${PIPESTATUS[0]}' - "$golden/three.mux"
	finish gone
	# A reader that ends at once may still have been there for the few lines; no more is asked.
	[ "$status" = 0 ] || grep -q 'Broken pipe' gone.err
	diff -r whole gone
}

@test "rotate: a list that nobody reads does not hold up the recording" {
	mkfifo list
	exec 7<> list
	# More than a pipe and what may wait: 2 lines of 50 bytes for each of 12000 segments.
	{
		echo '0 OPEN 1 pcm tag=a23456789b23456789c23456789d23456789e23456789f23456789g234 n=1'
		echo '0 FRAME 1 seq=0 count=8000 len=1 step=0.001'
		echo '9 CLOSE 1 1000'
	} | mux > log
	in=log out=list spawn rotate eet-rotate --sync none --no-wav -s 46 out
	wait_for lines 8001 out/index.jsonl
	finish rotate
	[ "$status" = 1 ]
	grep -q 'dropped' rotate.err
	exec 7>&-
}

# --- the directory ---

@test "rotate: two writers do not share a directory" {
	mkfifo pipe
	in=pipe spawn rotate eet-rotate out
	exec 7> pipe
	wait_for test -f out/index.jsonl
	run -1 --separate-stderr eet-rotate out < /dev/null
	[[ $stderr == "eet-rotate: out: "* ]]
	exec 7>&-
	finish rotate
	run -0 eet-rotate out < /dev/null
}

@test "rotate: a directory that can't be is named, exit 1" {
	touch file
	run -1 --separate-stderr eet-rotate file < /dev/null
	[[ $stderr == "eet-rotate: file: Not a directory" || $stderr == "eet-rotate: file: "* ]]
	run -1 --separate-stderr eet-rotate missing/out < /dev/null
	[[ $stderr == "eet-rotate: missing/out: "*"No such file or directory" ]]
	mkdir -p strange/index.jsonl
	run -1 --separate-stderr eet-rotate strange < /dev/null
	[[ $stderr == "eet-rotate: strange/index.jsonl: "* ]]
}

@test "rotate: no file is ever written over" {
	one_second > log
	mkdir out
	# Taken names: the segment goes on to the next free millisecond.
	echo mine > out/stream_7_kitchen_20260131T101500.000Z_s1.eet
	echo mine > out/stream_7_kitchen_20260131T101500.000Z_s1.wav
	run --separate-stderr eet-rotate -q out < log
	[ "$status" = 0 ]
	[ "$(cat out/stream_7_kitchen_20260131T101500.000Z_s1.eet)" = mine ]
	[ "$(cat out/stream_7_kitchen_20260131T101500.000Z_s1.wav)" = mine ]
	[ -f out/stream_7_kitchen_20260131T101500.000Z_s2.eet ]
}

@test "rotate: a name taken while the segment grows is left alone, the segment moves on" {
	mkfifo pipe
	in=pipe spawn rotate eet-rotate out
	exec 7> pipe
	mux >&7 <<-SCRIPT
		0 OPEN 1 pcm
		0 FRAME 1 seq=0 count=10
	SCRIPT
	wait_for test -f out/stream_1_20260131T101500.000Z_s1.eet.part
	echo mine > out/stream_1_20260131T101500.000Z_s1.eet
	echo mine > out/stream_1_20260131T101500.001Z_s1.wav
	exec 7>&-
	finish rotate
	[ "$status" = 0 ]
	[ "$(cat out/stream_1_20260131T101500.000Z_s1.eet)" = mine ]
	[ "$(cat out/stream_1_20260131T101500.001Z_s1.wav)" = mine ]
	[ "$(ls out | grep -c part)" = 0 ]
	[ -f out/stream_1_20260131T101500.002Z_s1.eet ]
	"$logs" wav out/stream_1_20260131T101500.002Z_s1.wav > /dev/null
	[ "$(jq -r 'select(.event == "segment") | .eet' out/index.jsonl)" = stream_1_20260131T101500.002Z_s1.eet ]
}

# change_part HOW SCRIPT: the growing file of session 1 is changed after the script's fourth line, that of
# session 2 is not.
change_part() {
	local part=out/stream_7_20260131T101500.000Z_s1.eet.part begun

	rm -rf out pipe
	mkfifo pipe
	in=pipe spawn rotate eet-rotate out
	exec 7> pipe
	mux < "$2" > log
	begun=$(head -n 4 "$2" | mux | wc -c)
	head -c "$begun" log >&7
	wait_for test -s out/stream_8_20260131T101500.200Z_s2.eet.part
	case $1 in
	inside) truncate -s $((32 + 3 * 332)) $part ;; # at the end of a frame
	torn) truncate -s 500 $part ;;
	emptied) truncate -s 0 $part ;;
	replaced) cp $part copy && mv copy $part ;;
	byte) printf '\377' | dd of=$part bs=1 seek=$((32 + 332)) conv=notrunc status=none ;;
	longer) head -c 9999 /dev/zero >> $part ;;
	esac
	tail -c +$((begun + 1)) log >&7
	exec 7>&-
	finish rotate
}

@test "rotate: a growing file that somebody cut, replaced or wrote to fails alone, and is salvaged later" {
	cat > script <<-SCRIPT
		0 OPEN 1 pcm id=7
		0 FRAME 1 seq=0 count=10
		0.2 OPEN 2 pcm id=8
		0.2 FRAME 2 seq=0 count=10
		0.4 FRAME 1 seq=10 count=3
		0.5 FRAME 2 seq=10 count=3
	SCRIPT
	name=stream_7_20260131T101500.000Z_s1
	for how in inside torn emptied replaced byte longer; do
		echo "$how"
		change_part $how script
		[ "$status" = 1 ]
		grep -q "^eet-rotate: out/$name.eet.part: not what was written" rotate.err
		[ -f out/$name.eet.part ]
		[ ! -e out/$name.eet ]
		[[ $(jq -r 'select(.stream_id == 7 and .event == "segment") | .error' out/index.jsonl) == $name* ]]
		[ "$(jq 'select(.stream_id == 8 and .event == "segment") | .frames' out/index.jsonl)" = 13 ]
		run eet-rotate -q out < /dev/null
		[ "$(ls out | grep -c part)" = 0 ]
		if [ $how = emptied ]; then
			[ -f out/$name.eet.damaged ] # with no handshake
		else
			eet-info --check out/$name.eet
		fi
	done
}

longer_than() {
	[ "$(stat -c %s "$2")" -gt "$1" ]
}

@test "rotate: another file under a growing one's name is not written to, nor waited for" {
	for how in closed synced; do
		rm -rf out pipe
		mkfifo pipe
		# With few descriptors all but some are closed between writes; in a shell of its own, for the limit.
		if [ $how = closed ]; then
			in=pipe spawn rotate bash -c 'ulimit -n 20 && exec eet-rotate -t 0 out'
		else
			in=pipe spawn rotate eet-rotate -t 0 --sync 10ms out
		fi
		exec 7> pipe
		{
			for i in {1..40}; do
				echo "0 OPEN $i pcm id=$i"
				echo "0 FRAME $i seq=0 count=1"
			done
			for i in {1..40}; do
				echo "1 FRAME $i seq=1 count=3"
			done
			echo '2 TICK'
		} > script
		mux < script > log
		begun=$(head -n 80 script | mux | wc -c)
		head -c "$begun" log >&7
		wait_for test -s out/stream_39_20260131T101500.000Z_s39.eet.part
		rm out/stream_1_*.part out/stream_2_*.part
		mkfifo out/stream_1_20260131T101500.000Z_s1.eet.part
		echo mine > out/stream_2_20260131T101500.000Z_s2.eet.part
		tail -c +$((begun + 1)) log | head -c -24 >&7
		wait_for longer_than 500 out/stream_39_20260131T101500.000Z_s39.eet.part
		tail -c 24 log >&7 # what was written is to be synced now
		exec 7>&-
		finish rotate
		[ "$status" = 1 ]
		[ "$(cat out/stream_2_20260131T101500.000Z_s2.eet.part)" = mine ]
		[ "$(jq -r 'select(.event == "segment" and .stream_id > 2) | .frames' out/index.jsonl | sort | uniq -c | xargs)" = "38 4" ]
	done
}

@test "rotate: a directory that is removed ends the recording, exit 1 with its name" {
	mkfifo pipe
	in=pipe spawn rotate eet-rotate -t 1 out
	exec 7> pipe
	mux > log <<-SCRIPT
		0 OPEN 1 pcm
		0 FRAME 1 seq=0 count=150
		3 CLOSE 1 1000
	SCRIPT
	head -c 5000 log >&7
	wait_for compgen -G 'out/*.part'
	rm -r out
	tail -c +5001 log >&7 || : # it may have ended by then
	exec 7>&-
	finish rotate
	[ "$status" = 1 ]
	grep -q '^eet-rotate: out/.*: No such file or directory$' rotate.err
}

# A directory as a killed writer leaves it: a segment that grows, cut inside a frame.
killed() {
	one_second > log
	eet-rotate -q "$1" < log
	(
		cd "$1" || exit
		name=stream_7_kitchen_20260131T101500.000Z_s1
		head -c $((32 + 20 * 332 + 100)) $name.eet > $name.eet.part
		rm $name.eet $name.wav index.jsonl
	)
}

@test "recovery: a .part is cut after its last whole frame and completed" {
	killed out
	run -0 --separate-stderr eet-rotate out < /dev/null
	name=stream_7_kitchen_20260131T101500.000Z_s1
	[ "$output" = "out/$name.eet"$'\n'"out/$name.wav" ]
	[ "$(ls out | wc -l)" = 3 ]
	[ "$(stat -c %s "out/$name.eet")" = $((32 + 20 * 332)) ]
	[ "$("$logs" wav "out/$name.wav" | wc -c)" = $((20 * 320)) ]
	[ "$(jq -c '[.event, .session, .tag, .peer, .frames, .first_us, .last_us, .gap_before, .recovered]' \
		out/index.jsonl)" = \
		'["segment",1,"kitchen",null,20,1769854500000000,null,null,true]' ]
	# Nothing is left to do for the next one.
	find out -type f -exec md5sum {} + | sort > before
	run -0 --separate-stderr eet-rotate out < /dev/null
	[ -z "$output" ]
	find out -type f -exec md5sum {} + | sort | diff before -
}

@test "recovery: what was interrupted while completing is completed, at every step" {
	one_second > log
	eet-rotate -q whole < log
	name=stream_7_kitchen_20260131T101500.000Z_s1
	jq -c 'select(.event == "segment") | .peer = null | .last_us = null | .gap_before = null |
		.recovered = true' whole/index.jsonl > line
	for step in wav-part-torn wav-part eet-linked wav-linked index-torn index-there; do
		rm -rf out
		mkdir out
		cp "whole/$name.eet" "out/$name.eet.part"
		case $step in
		wav-part-torn) head -c 1000 "whole/$name.wav" > "out/$name.wav.part" ;;
		*) cp "whole/$name.wav" "out/$name.wav.part" ;;
		esac
		case $step in
		eet-linked | wav-linked | index-*) ln "out/$name.eet.part" "out/$name.eet" ;;&
		wav-linked | index-*) ln "out/$name.wav.part" "out/$name.wav" ;;&
		index-torn) head -c 100 line > out/index.jsonl ;;
		index-there) cp line out/index.jsonl ;;
		esac
		run -0 eet-rotate -q out < /dev/null
		cmp "whole/$name.eet" "out/$name.eet"
		cmp "whole/$name.wav" "out/$name.wav"
		[ "$(ls out | wc -l)" = 3 ]
		jq -c . out/index.jsonl | diff line -
	done
}

@test "recovery: each segment is opened a few times, however many short ones there are" {
	mkdir out
	for ((i = 0; i < 200; i++)); do
		head -c $((32 + 332)) "$golden/layout-state.eet" > part
		mv part "$(printf 'out/stream_7_20260131T101500.%03dZ_s1.eet.part' $i)"
	done
	strace -f -e trace=open,openat -o calls eet-rotate -q out < /dev/null
	[ "$(jq -s length out/index.jsonl)" = 200 ]
	[ "$(grep -c '_s1\.eet' calls)" -lt $((5 * 200)) ]
}

@test "recovery: what is complete is left alone, with or without its WAV, in the index or not" {
	one_second > log
	eet-rotate -q --no-wav out < log
	eet-rotate -q out < /dev/null
	[ "$(ls out/*.wav 2>/dev/null | wc -l)" = 0 ]
	[ "$(wc -l < out/index.jsonl)" = 2 ]
	rm out/index.jsonl
	eet-rotate -q out < /dev/null
	[ "$(ls out/*.wav 2>/dev/null | wc -l)" = 0 ]
	[ ! -s out/index.jsonl ]
}

@test "recovery: a .part without a whole frame is removed and reported" {
	mkdir out
	name=stream_7_20260131T101500.000Z_s1
	handshake pcm 7 > out/$name.eet.part
	: > out/stream_8_20260131T101500.000Z_s2.eet.part
	run -0 --separate-stderr eet-rotate out < /dev/null
	[[ $stderr == *"out/$name.eet.part: "* && $stderr == *"s2.eet.part: "* ]]
	[ "$(ls out)" = index.jsonl ]
}

@test "recovery: links, FIFOs and strangers are reported and left alone" {
	one_second > log
	eet-rotate -q whole < log
	mkdir out
	good=$PWD/whole/stream_7_kitchen_20260131T101500.000Z_s1.eet
	cp "$good" target
	ln -s ../target out/stream_1_20260131T101500.000Z_s1.eet.part
	ln target out/stream_1_20260131T101500.000Z_s2.eet.part
	mkfifo out/stream_1_20260131T101500.000Z_s3.eet.part
	mkdir out/stream_1_20260131T101500.000Z_s4.eet.part
	cp "$good" out/holiday.eet.part
	ln -s ../target out/stream_1_20260131T101500.000Z_s6.wav.part
	run -0 --separate-stderr eet-rotate out < log
	for i in 1 2 3 4 6; do
		[[ $stderr == *"_s$i."* ]]
	done
	[[ $stderr == *holiday.eet.part* ]]
	cmp target "$good"
	[ -L out/stream_1_20260131T101500.000Z_s1.eet.part ]
	[ -L out/stream_1_20260131T101500.000Z_s6.wav.part ]
	[ -p out/stream_1_20260131T101500.000Z_s3.eet.part ]
	[ -d out/stream_1_20260131T101500.000Z_s4.eet.part ]
	[ "$(stat -c %h target)" = 2 ]
	# Their session numbers are taken all the same.
	[ -f out/stream_7_kitchen_20260131T101500.000Z_s7.eet ]
	if [ "$(id -u)" = 0 ]; then
		cp "$good" out/stream_1_20260131T101500.000Z_s8.eet.part
		chown 65534 out/stream_1_20260131T101500.000Z_s8.eet.part
		run -0 --separate-stderr eet-rotate out < /dev/null
		[[ $stderr == *"_s8."* ]]
		[ -f out/stream_1_20260131T101500.000Z_s8.eet.part ]
	fi
}

@test "recovery: an index that is a link is not followed" {
	mkdir out
	echo precious > target
	ln -s ../target out/index.jsonl
	run -1 --separate-stderr eet-rotate out < /dev/null
	[[ $stderr == "eet-rotate: out/index.jsonl: "* ]]
	[ "$(cat target)" = precious ]
}

# --- input ---

@test "rotate: a cut log: all before the cut is stored, exit 3" {
	run -3 --separate-stderr eet-rotate out < "$golden/cut.mux"
	[[ $stderr == "eet-rotate: "*"offset "* ]]
	[ "$(jq -s 'map(select(.event == "segment") | .frames) | add' out/index.jsonl)" -gt 0 ]
	no_parts out
	run -3 eet-rotate -q cut < "$golden/cut.eet"
	[ "$(frames 1 cut)" = "10 " ]
}

@test "rotate: damage is reported with its offset; --recover finds what comes after it" {
	run -3 --separate-stderr eet-rotate out < "$golden/garbage.mux"
	[[ $stderr == *"offset "* ]]
	before=$(jq -s 'map(select(.event == "segment") | .frames) | add' out/index.jsonl)
	run -3 --separate-stderr eet-rotate --recover saved < "$golden/garbage.mux"
	after=$(jq -s 'map(select(.event == "segment") | .frames) | add' saved/index.jsonl)
	eet-rotate -q whole < "$golden/three.mux"
	whole=$(jq -s 'map(select(.event == "segment") | .frames) | add' whole/index.jsonl)
	[ "$before" -lt "$after" ]
	[ "$after" = "$whole" ]
}

@test "rotate: a frame log is stored as well, its time from its handshake" {
	eet-rotate -q -t 400ms out < "$golden/sine_adpcm.eet"
	"$logs" strip out/*.eet | cmp - "$golden/sine_adpcm.eet"
	[ "$(cd out && ls *.eet | wc -l)" = 3 ]
	run -0 --separate-stderr eet-rotate -q two < <(cat "$golden/gap.eet" "$golden/wrap.eet")
	[ "$(ls two/*_s1.eet two/*_s2.eet | wc -l)" = 2 ]
}

@test "rotate: a frame log without a handshake is readable with -r -c -n" {
	tail -c +33 "$golden/sine_adpcm.eet" > headless
	run -3 --separate-stderr eet-rotate out < headless
	eet-rotate -q -t 0 -r 16000 -c 1 -n 320 given < headless
	eet-rotate -q -t 0 whole < "$golden/sine_adpcm.eet"
	tail -c +33 given/*.eet | cmp - headless
	cmp given/*.wav whole/*.wav
	eet-rotate -q -t 0 -r 16000 -c 1 -n 320 --codec adpcm codec < headless
	cmp codec/*.wav whole/*.wav
	run -3 eet-rotate -q -r 16000 -c 1 -n 320 --codec pcm wrong < headless
}

@test "rotate: --layout overrides what the blocks say, -v tells what they said" {
	run -0 --separate-stderr eet-rotate -v out < "$golden/layout-state-high.eet"
	[[ $stderr == *state-high*chain* ]]
	[ "$(jq -r .layout out/index.jsonl | sort -u)" = state-high ]
	run -0 eet-rotate -q --layout state given < "$golden/layout-state-high.eet"
	[ "$(jq -r .layout given/index.jsonl | sort -u)" = state ]
	refute cmp -s out/*.wav given/*.wav
}

@test "rotate: bare blocks know no state: -v tells which WAVs may carry an offset" {
	run -0 --separate-stderr eet-rotate -v -s 4k out < "$golden/layout-bare.eet"
	[ "$(grep -c ': layout bare ' <<< "$stderr")" -ge 3 ]
	[ "$(grep ': layout bare ' <<< "$stderr" | grep -vc ' may carry an offset$')" = 1 ]
	eet-wav -q -d wav out
	eet-wav -q -o whole.wav "$golden/layout-bare.eet"
	cmp whole.wav wav/*.wav
}

@test "rotate: unreadable input is exit 1 with its name" {
	mkdir folder
	run -1 --separate-stderr eet-rotate out < folder
	[[ $stderr == "eet-rotate: standard input: "*"Is a directory" ]]
	run -1 --separate-stderr bash -c 'eet-rotate out <&-'
	[[ $stderr == "eet-rotate: standard input: "* ]]
}

@test "rotate: an empty log is no damage" {
	run -0 --separate-stderr eet-rotate out < /dev/null
	[ -z "$output" ]
	[ "$(ls out)" = index.jsonl ]
}

@test "rotate: what is wrong with the options is said, exit 2, and nothing is done" {
	while read -r options; do
		# shellcheck disable=SC2086 # words
		run -2 --separate-stderr eet-rotate $options < /dev/null
		[[ $stderr == "eet-rotate: "*"--help"* ]]
		[ -z "$output" ]
		[ ! -e out ]
	done <<-OPTIONS

		out more
		--unknown out
		-t out
		-t x out
		-t -1 out
		-t 1x out
		-s x out
		-s 1T out
		--mode 8 out
		--mode 1777 out
		--sync 5q out
		--sync never out
		--layout ima out
		--codec mp3 out
		-r 0 -c 1 -n 1 out
		-r 8000 out
		-r 8000 -c 65 -n 1 out
		-r 8000 -c 1 -n 65536 out
		--no-wav=1 out
	OPTIONS
}

# --- signals ---

@test "rotate: SIGTERM waits for the end of the input" {
	mkfifo pipe
	in=pipe spawn rotate eet-rotate out
	exec 7> pipe
	one_second | head -c 5000 >&7
	wait_for compgen -G 'out/*.part'
	kill -TERM "$pid"
	one_second | tail -c +5001 >&7
	exec 7>&-
	finish rotate
	[ "$status" = 0 ]
	[ "$(frames 1)" = "50 " ]
}

@test "rotate: a second signal ends at once what the first one waits for: exit 3 with the offset" {
	mkfifo pipe
	in=pipe spawn rotate eet-rotate out
	exec 7> pipe
	one_second > log
	head -c 5000 log >&7
	wait_for compgen -G 'out/*.part'
	kill -INT "$pid"
	kill -TERM "$pid"
	finish rotate
	exec 7>&-
	[ "$status" = 3 ]
	grep -q 'offset' rotate.err
	no_parts out
	[ "$(frames 1)" -gt 10 ]
}

@test "rotate: SIGTERM does not wait for ever" {
	mkfifo pipe
	in=pipe spawn rotate eet-rotate out
	exec 7> pipe
	one_second | head -c 5000 >&7
	wait_for compgen -G 'out/*.part'
	began=${EPOCHREALTIME/./}
	kill -TERM "$pid"
	within 15 gone "$pid"
	[ "$(since "$began")" -ge 4500000 ]
	finish rotate
	exec 7>&-
	[ "$status" = 3 ]
	no_parts out
}

# --- a full disk ---

# Its files are reached through the process, and through descriptor 8 when that is gone.
small() {
	echo "/proc/$pid/root$PWD/small"
}

more_files() {
	[ "$(ls "$(small)/out" | wc -l)" -gt "$1" ]
}

ten_seconds() {
	mux <<-SCRIPT
		0 OPEN 1 pcm
		0 FRAME 1 seq=0 count=500 step=0.02
		10 CLOSE 1 1000
	SCRIPT
}

@test "rotate: a full disk holds up; when there is space, it goes on" {
	needs_mount
	ten_seconds > log
	# 166 KB of frames and as much of WAV
	in=log spawn rotate on_tmpfs 256k \
		sh -c 'head -c 200000 /dev/zero > small/ballast; exec eet-rotate -t 1 small/out'
	wait_for grep -q 'No space left' rotate.err
	before=$(ls "$(small)/out" | wc -l)
	rm "$(small)/ballast"
	wait_for more_files "$before"
	refute gone "$pid"
	exec 8< "$(small)"
	nsenter -t "$pid" -m mount -o remount,size=4m "$PWD/small"
	finish rotate
	[ "$status" = 0 ]
	[ "$(jq -s 'map(select(.event == "segment") | .frames) | add' /dev/fd/8/out/index.jsonl)" = 500 ]
	cp -r /dev/fd/8/out out
	exec 8<&-
	eet-rotate -q -t 1 whole < log
	diff -r whole out
	# Said when it began, and perhaps once more: it was full twice.
	[ "$(grep -c 'No space left' rotate.err)" -le 2 ]
}

@test "rotate: SIGTERM while the disk is full is answered at once, exit 1" {
	needs_mount
	ten_seconds > log
	in=log spawn rotate on_tmpfs 64k eet-rotate -t 1 small/out
	wait_for grep -q 'No space left' rotate.err
	kill -TERM "$pid"
	within 5 gone "$pid"
	finish rotate
	[ "$status" = 1 ]
	grep -q 'not stored' rotate.err
}

# A full disk with a segment of 50 frames, unfinished, in small/out.
full_and_killed() {
	one_second | eet-rotate -q whole
	in=/dev/null spawn rotate on_tmpfs 128k sh -c 'mkdir small/out
		cp "$0" small/out/stream_7_20260131T101500.000Z_s1.eet.part
		head -c 200000 /dev/zero > small/ballast 2> /dev/null
		exec eet-rotate small/out' whole/*.eet
	wait_for grep -q 'No space left' rotate.err
}

@test "recovery: a full disk is waited for" {
	needs_mount
	full_and_killed
	exec 8< "$(small)"
	rm "$(small)/ballast"
	finish rotate
	[ "$status" = 0 ]
	cmp whole/*.wav /dev/fd/8/out/stream_7_20260131T101500.000Z_s1.wav
	no_parts /dev/fd/8/out
	exec 8<&-
}

@test "recovery: SIGTERM while it waits for space is answered at once, exit 1; nothing is lost" {
	needs_mount
	full_and_killed
	exec 8< "$(small)"
	kill -TERM "$pid"
	within 5 gone "$pid"
	finish rotate
	[ "$status" = 1 ]
	cmp whole/*.eet /dev/fd/8/out/stream_7_20260131T101500.000Z_s1.eet.part
	exec 8<&-
}
