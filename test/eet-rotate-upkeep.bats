#!/usr/bin/env bats
# What becomes of complete segments: --exec, --keep-bytes, --keep-age, --min-free; and --align, --sync.
# Names are of our making; scripts are for other shells; the helper and `run` set variables.
# shellcheck disable=SC2012,SC2016,SC2154
load helper

setup() {
	eet_setup
	logs=$EET_ROOT/test/logs.py
}

# A mux log from a script; times are seconds after 10:15:00.
mux() {
	"$logs" mux
}

# Four segments of a second each, 16032 + 12 * 50 bytes (and a WAV of 16044).
four_seconds() {
	mux <<-SCRIPT
		0 OPEN 1 pcm id=7 tag=kitchen
		0 FRAME 1 count=200
		4 CLOSE 1 1000
	SCRIPT
}

# index FILTER [DIR]: jq over the lines of the index.
index() {
	jq -r "$1" "${2:-out}/index.jsonl"
}

# The index's lines of that event: of which segment, by the second of its name, and how it went.
events() {
	index "select(.event == \"$1\") | (.eet | capture(\"T1015(?<s>..)\").s) + \" \" + (.$2 | tostring)" | tr '\n' ' '
}

# The seconds of the segments that are there.
kept() {
	(cd out && ls) | sed -n 's/.*T1015\(..\)\..*\.eet$/\1/p' | tr '\n' ' '
}

# --- --exec ---

@test "upkeep: --exec gets each segment's log and WAV once it is complete; the index says so" {
	four_seconds > log
	run -0 --separate-stderr eet-rotate -t 1 --exec \
		'cmp "$1" "$1" && cmp "$2" "$2" && echo "$EET_STREAM_ID $EET_SESSION $EET_TAG $EET_NAME $1 $2" >> ran; echo out' \
		out < log
	# The command's output is not among the list's lines.
	[ "${#lines[@]}" = 8 ]
	[ "$(grep -cx out <<< "$stderr")" = 4 ]
	[ "$(grep -vx out <<< "$stderr")" = "" ]
	for s in 0 1 2 3; do
		name=stream_7_kitchen_20260131T10150$s.000Z_s1
		grep -qxF "7 1 kitchen $name out/$name.eet out/$name.wav" ran
	done
	[ "$(wc -l < ran)" = 4 ]
	# To be run, before the segment's own line; has succeeded, after it.
	for s in 0 1 2 3; do
		index "select(.eet // \"\" | contains(\"T10150$s\")) | [.event, .state] | map(values) | join(\" \")" |
			diff - <(printf 'exec pending\nsegment\nexec done\n')
	done
	[ "$(index 'select(.event == "exec") | keys_unsorted | join(" ")' | sort -u)" = "event eet wav session state" ]
	# Nothing is left to do for the next start.
	rm ran
	run -0 --separate-stderr eet-rotate --exec ': > ran' out < /dev/null
	[ ! -e ran ]
	# Without WAVs $2 is empty.
	run -0 eet-rotate -q -t 0 --no-wav --exec 'printf "<%s>" "$2" > ran' dry < log
	[ "$(< ran)" = "<>" ]
}

@test "upkeep: --exec is run again until it succeeds" {
	four_seconds > log
	run -0 --separate-stderr eet-rotate -q -t 2 --exec 'mkdir "$EET_NAME" && exit 9; rmdir "$EET_NAME"' out < log
	[ "$(grep -c 'its command failed: exit status 9, again in 1 s$' <<< "$stderr")" = 2 ]
	[ "$(ls -d stream* 2> /dev/null)" = "" ]
	[ "$(index 'select(.event == "exec") | .state' | sort | uniq -c | tr -s ' \n' ' ')" = " 2 done 2 pending " ]
}

@test "upkeep: damage in the index is that line's: all others stay, and no command runs again" {
	four_seconds | eet-rotate -q -t 1 --exec 'echo "$EET_NAME" >> ran' out > list
	[ "$(wc -l < ran)" = 4 ]
	count=$(wc -l < out/index.jsonl)
	# A zero byte in each line in turn.
	at=0
	while IFS= read -r line; do
		if [[ $line == *'"state":"done"'* ]]; then # that command would run again
			at=$((at + ${#line} + 1))
			continue
		fi
		cp out/index.jsonl before
		printf '\0' | dd of=out/index.jsonl bs=1 seek=$((at + ${#line} / 2)) conv=notrunc 2> dd.err
		cp out/index.jsonl damaged
		run -0 eet-rotate -q --exec 'echo "$EET_NAME" >> ran' out < /dev/null
		cmp damaged out/index.jsonl
		[ "$(wc -l < ran)" = 4 ]
		cp before out/index.jsonl
		at=$((at + ${#line} + 1))
	done < <(head -n $((count - 1)) out/index.jsonl)
	[ "$at" -gt 3000 ]
}

@test "upkeep: --exec-jobs: so many at once" {
	four_seconds > log
	# Two would meet.
	run -0 --separate-stderr eet-rotate -q -t 1 --exec-jobs 1 --exec 'mkdir one && rmdir one' out < log
	[ -z "$stderr" ]
	# Four wait for each other.
	mkfifo begun
	in=log spawn rotate eet-rotate -t 1 --exec-jobs 4 --exec 'echo > begun; until [ -e go ]; do sleep 0.02; done' four
	exec 7<> begun
	for _ in 1 2 3 4; do
		read -r -t "$PATIENCE" <&7
	done
	: > go
	finish rotate
	exec 7>&-
	[ "$status" = 0 ]
	run -2 --separate-stderr eet-rotate --exec true --exec-jobs 0 out < /dev/null
	[[ $stderr == "eet-rotate: --exec-jobs 0: "* ]]
}

in_index() {
	grep -q "$1" out/index.jsonl
}

@test "upkeep: what is pending when it is killed is taken up by the next start with --exec" {
	four_seconds > log
	mkfifo pipe
	# Of the three segments that are complete, one succeeds.
	in=pipe spawn rotate eet-rotate -t 1 --exec 'case $1 in *01.000Z*) ;; *) exit 1 ;; esac' out
	exec 7> pipe
	cat log >&7
	wait_for in_index '"event":"exec".*T101503.*pending'
	wait_for in_index '"event":"exec".*T101501.*done'
	wait_for grep -q 'T101503.*its command failed' rotate.err
	kill -KILL "${pids[rotate]}"
	finish rotate
	exec 7>&-
	# A start without --exec leaves them.
	run -0 --separate-stderr eet-rotate out < /dev/null
	run -0 --separate-stderr eet-rotate --exec 'echo "$1 $2" >> ran' out < /dev/null
	index 'select(.event == "exec" and .state == "pending" and (.eet | contains("T101501") | not)) | "out/\(.eet) out/\(.wav)"' | sort > pending
	sort ran | diff pending -
	[ "$(index 'select(.event == "exec" and .state == "done") | .eet' | sort -u | wc -l)" = 4 ]
	# Nobody is left; and what is gone can't be done.
	run -0 --separate-stderr eet-rotate --exec 'echo "$1" >> again' out < /dev/null
	[ ! -e again ]
	sed -i '/"done"/d' out/index.jsonl
	rm out/*T101502*
	run -0 --separate-stderr eet-rotate --exec 'echo "$1" >> again' out < /dev/null
	[ "$stderr" = "eet-rotate: out/stream_7_kitchen_20260131T101502.000Z_s1.eet: its command was still to be run, but it is gone" ]
	[ "$(wc -l < again)" = 3 ]
}

@test "upkeep: a crash between the segment and its line, or of what grew, costs no command" {
	four_seconds > log
	mkfifo pipe
	in=pipe spawn rotate eet-rotate -t 1 --exec true out
	exec 7> pipe
	head -c 50000 log >&7
	wait_for in_index '"event":"exec".*T101500.*done'
	wait_for sh -c 'ls out/*T101502*.eet.part'
	kill -KILL "${pids[rotate]}"
	finish rotate
	exec 7>&-
	run -0 --separate-stderr eet-rotate -q --exec 'echo "$1" >> ran' out < /dev/null
	grep -q T101502 ran
	refute grep -q T101500 ran
}

@test "upkeep: at the end it waits for commands; a second signal abandons them, and names their files" {
	four_seconds > log
	mkfifo begun
	in=log spawn rotate eet-rotate -t 2 --exec 'echo > begun; exec sleep 1000' out
	exec 7<> begun
	read -r -t "$PATIENCE" <&7
	read -r -t "$PATIENCE" <&7
	wait_for in_index '"event":"session"'
	kill -TERM "$pid"
	wait_for taken "$pid"
	refute gone "$pid"
	kill -TERM "$pid"
	finish rotate
	exec 7>&-
	cat rotate.err
	[ "$status" = 1 ]
	for s in 0 2; do
		grep -qF "out/stream_7_kitchen_20260131T10150$s.000Z_s1.eet: its command was not run, or did not succeed; the next start runs it" rotate.err
	done
	run -0 eet-rotate -q --exec 'echo "$1" >> ran' out < /dev/null
	[ "$(wc -l < ran)" = 2 ]
}

@test "upkeep: eet-listen --spool runs commands, too" {
	start_listen -q --spool out --exec 'cp "$1" "$2" copies' --sessions 1
	mkdir copies
	/usr/bin/python3 "$EET_ROOT/client/stream_client.py" -q --url "$url" --wav "$EET_ROOT/data/speech_8k.wav"
	finish listen
	[ "$status" = 0 ]
	[ "$(ls copies | wc -l)" = 2 ]
	for file in copies/*; do
		cmp "$file" "out/${file##*/}"
	done
}

# --- retention ---

@test "upkeep: --keep-bytes removes the oldest complete segments, and says so" {
	four_seconds > log
	eet-rotate -q -t 1 out < log > /dev/null
	# One segment and its WAV are 32676 bytes.
	run -0 --separate-stderr eet-rotate --keep-bytes 65352 out < /dev/null
	[ "$(kept)" = "02 03 " ]
	[ "$(ls out/*.wav | wc -l)" = 2 ]
	[ "$(grep -c 'removed because of --keep-bytes, 32676 bytes$' <<< "$stderr")" = 2 ]
	# No line is written for it, and nothing is said, or recovered, of what was removed.
	[ "$(index '.event' | sort | uniq -c | tr -s ' \n' ' ')" = " 4 segment 1 session " ]
	run -0 --separate-stderr eet-rotate --keep-bytes 65352 out < /dev/null
	[ -z "$output$stderr" ]
	# While it records, what is complete counts with what was there.
	mux <<-SCRIPT | eet-rotate -q -t 1 --keep-bytes 65352 out > /dev/null
		10 OPEN 1 pcm id=7
		10 FRAME 1 count=100
		12 CLOSE 1 1000
	SCRIPT
	[ "$(kept)" = "10 11 " ]
	run -0 eet-info --check out
	# The index may be made anew: it then has what is left.
	rm out/index.jsonl
	run -0 eet-info --reindex out
	[ "$(index 'select(.event == "segment") | .eet | capture("T1015(?<s>..)").s' | tr '\n' ' ')" = "10 11 " ]
}

@test "upkeep: --keep-age goes by the segments' names and the system's clock" {
	local now

	now=$(($(date +%s) - 1769854500))
	for at in $((now - 7200)) $((now - 60)); do
		mux <<-SCRIPT | eet-rotate -q -t 0 out > /dev/null
			$at OPEN 1 pcm
			$at FRAME 1
		SCRIPT
	done
	run -0 --separate-stderr eet-rotate --keep-age 1h out < /dev/null
	[[ $stderr == *"_s1.eet: removed because of --keep-age, "*" bytes" ]]
	[ "$(cd out && echo *.eet)" = "$(cd out && echo *_s2.eet)" ]
}

# A log whose writer's clock had not been set: a second from 1970-01-01T00:10:00 on.
before_the_clock() {
	mux <<-SCRIPT
		-1769853900 OPEN 1 pcm id=7
		-1769853900 FRAME 1 count=50
		-1769853899 CLOSE 1 1000
	SCRIPT
}

@test "upkeep: --keep-age: what is dated before 2026 ages from when it was first there" {
	before_the_clock | eet-rotate -q --no-wav out > /dev/null
	before=$(date +%s)
	for _ in 1 2; do
		run -0 --separate-stderr eet-rotate --keep-age 1h out < /dev/null
		[ -z "$stderr" ]
	done
	# Known once, it is not noted again.
	[ "$(wc -l < out/.seen)" = 1 ]
	read -r next time < out/.seen
	[ "$next" = 2 ]
	[ "$time" -ge "$before" ] && [ "$time" -le "$(date +%s)" ]
	# What is recorded later is not covered; nor by a line that is damaged, or of a clock that was ahead.
	before_the_clock | eet-rotate -q --no-wav --keep-age 1h out > /dev/null
	[ "$(cut -d' ' -f1 out/.seen | tr '\n' ' ')" = "2 3 " ]
	printf '2 %d\n\0\0\0\0 17\n3 99999999999\n3 %d' $((time - 7200)) $((time - 7200)) > out/.seen
	run -0 --separate-stderr eet-rotate --keep-age 1h out < /dev/null
	[ "$(grep -c 'removed because of --keep-age' <<< "$stderr")" = 1 ]
	[[ $stderr == *"_s1.eet: removed because of --keep-age"* ]]
	[ "$(tail -n 1 out/.seen | cut -d' ' -f1)" = 3 ]
	# An hour later.
	printf '3 %d\n' $((time - 3601)) > out/.seen
	run -0 --separate-stderr eet-rotate --keep-age 1h out < /dev/null
	[[ $stderr == *"_s2.eet: removed because of --keep-age"* ]]
	[ "$(find out -name '*.eet')" = "" ]
}

@test "upkeep: --min-free removes until so much is free, space or inodes" {
	unshare -rm true 2> /dev/null || skip "needs a file system of its own"
	four_seconds > log
	mkdir small
	unshare -rm bash -c '
		mount -t tmpfs -o size=1M none small
		eet-rotate -q -t 1 small/out < log > /dev/null
		free=$(($(stat -f -c "%a * %S" small)))
		eet-rotate --min-free $((free + 60000)) small/out < /dev/null 2> err
		ls small/out > left
	'
	cat err
	[ "$(grep -c '\.eet$' left)" = 2 ]
	[ "$(grep -c 'removed because of --min-free' err)" = 2 ]
	# Of 40 inodes at least 8: two segments of two files each are one too few.
	unshare -rm bash -c '
		mount -t tmpfs -o size=1M,nr_inodes=40 none small
		eet-rotate -q -t 1 small/out < log > /dev/null
		i=0
		while [ "$(stat -f -c %d small)" -gt 5 ]; do
			: > small/$((i += 1))
		done
		eet-rotate --min-free 1 small/out < /dev/null 2> err
		ls small/out > left
	'
	cat err
	[ "$(grep -c '\.eet$' left)" = 2 ]
	[ "$(grep -c 'removed because of --min-free' err)" = 2 ]
}

@test "upkeep: no segment whose command is still to be run is removed, nor one that grows" {
	four_seconds > log
	mkfifo pipe
	in=pipe spawn rotate eet-rotate -t 1 --keep-bytes 1 --exec 'case $1 in *01.000Z*) [ -e go ] ;; esac' out
	exec 7> pipe
	head -c -26 log >&7
	wait_for grep -q 'T101500.*: removed because of --keep-bytes' rotate.err
	wait_for grep -q 'T101502.*: removed because of --keep-bytes' rotate.err
	wait_for sh -c 'ls out/*T101503*.eet.part'
	ls out/*T101501*.eet
	refute grep -q 'T101501.*: removed' rotate.err
	: > go
	wait_for grep -q 'T101501.*: removed because of --keep-bytes' rotate.err
	tail -c 26 log >&7
	exec 7>&-
	finish rotate
	[ "$status" = 0 ]
	[ "$(kept)" = "" ]
	[ "$(cd out && echo *)" = index.jsonl ]
	[ "$(grep -c ': removed because of --keep-bytes' rotate.err)" = 4 ]
}

# --- --align, --sync ---

@test "upkeep: --align ends segments at multiples of the period in UTC" {
	mux > log <<-SCRIPT
		0.7 OPEN 1 pcm id=1
		0.7 FRAME 1 count=8
		0.9 OPEN 2 pcm id=2
		0.9 FRAME 2 count=5
		1 FRAME 1 seq=8 count=55
		2.1 FRAME 2 seq=5
		2.2 CLOSE 1 1000
		2.2 CLOSE 2 1000
	SCRIPT
	eet-rotate -q -t 1 --align out < log > /dev/null
	[ "$(ls out | sed -n 's/.*T1015\(.*\)Z_s\(.\)\.eet/\2:\1/p' | sort | tr '\n' ' ')" = \
		"1:00.700 1:01.000 1:02.000 2:00.900 2:02.100 " ]
	[ "$(index 'select(.event == "segment" and .session == 1) | .frames' | tr '\n' ' ')" = "8 50 5 " ]
	# Without it, each session counts from its own first frame.
	eet-rotate -q -t 1 plain < log > /dev/null
	[ "$(ls plain | sed -n 's/.*T1015\(.*\)Z_s1\.eet/\1/p' | tr '\n' ' ')" = "00.700 01.700 " ]
	# A multiple in UTC is one whatever the time zone.
	TZ=Asia/Kolkata eet-rotate -q -t 1h --align hour < log > /dev/null
	[ "$(ls hour/*.eet | wc -l)" = 2 ]
}

@test "upkeep: --sync TIME syncs growing files so often, segment only complete ones, none nothing" {
	strace -f -o /dev/null true || skip "needs strace"
	four_seconds > log
	for sync in none segment; do
		strace -f -y -e trace=fsync,fdatasync,syncfs,sync_file_range -o $sync.trace \
			eet-rotate -q -t 0 --no-wav --sync $sync $sync < log > /dev/null
	done
	refute grep -qE 'sync(fs)?\(' none.trace
	grep -q 'fsync(.*\.eet\.part>)' segment.trace
	refute grep -q 'fdatasync(.*\.part>)' segment.trace
	# While it grows, because no more comes.
	mkfifo pipe
	in=pipe spawn rotate strace -f -y -e trace=fdatasync -o 1.trace \
		eet-rotate -q -t 0 --no-wav --sync 1 1
	exec 7> pipe
	head -c 66000 log >&7
	wait_for grep -q 'fdatasync(.*\.eet\.part>)' 1.trace
	exec 7>&-
	finish rotate
	[ "$status" = 3 ]
	run -2 --separate-stderr eet-rotate --sync often out < /dev/null
	[[ $stderr == "eet-rotate: --sync often: "* ]]
}

@test "upkeep: --sync TIME does not wait for segments that wait to be completed, and syncs them" {
	strace -f -o /dev/null true || skip "needs strace"
	{
		for i in {1..300}; do
			echo "0 OPEN $i pcm n=4"
			echo "0 FRAME $i"
		done
		echo "1 ROTATE"
		echo "1 FRAME 1 seq=1"
	} | mux > log
	# A slow disk: 20 ms and more for each of 300.
	strace -f -y -e trace=fsync,fdatasync -e inject=fsync:delay_enter=20000 -o calls \
		eet-rotate -q -t 0 --no-wav --sync 1 out < log
	[ "$(grep -c 'fdatasync(.*01\.000Z_s1\.eet\.part>)' calls)" -ge 1 ]
	[ "$(sed '/fdatasync(.*01\.000Z_s1\.eet\.part>)/,$d' calls | grep -c ' fsync(.*\.part>)')" -lt 200 ]
	sed '/fdatasync(.*01\.000Z_s1\.eet\.part>)/,$d' calls |
		grep -q 'fdatasync(.*_s300\.eet\.part>)'
}

@test "upkeep: names decide what is removed, and files of others stay" {
	four_seconds > log
	eet-rotate -q -t 2 --no-wav out < log > /dev/null
	# What an earlier program recorded there, in no index, with the original of a log that was damaged.
	cp log out/stream_3_20260102T000000.000Z_s3.eet
	cp log out/stream_3_20260102T000000.000Z_s3.eet.damaged
	cp log out/stream_3_20260102T000000.000Z_s3.wav
	cp log out/stream_3_20260102T000001.000Z_s3.eet.damaged
	# No segments: names that are none, what grows, a WAV alone, no regular files.
	mkdir out/stream_4_20260102T000000.000Z_s4.eet
	ln -s ../log out/stream_5_20260102T000000.000Z_s5.eet
	touch out/{holiday,stream_6_20260102T000000.000Z}.eet out/stream_7_20260102T000000.000Z_s7.wav
	stay='holiday.eet index.jsonl stream_4_20260102T000000.000Z_s4.eet stream_5_20260102T000000.000Z_s5.eet stream_6_20260102T000000.000Z.eet stream_7_20260102T000000.000Z_s7.wav'
	if [ "$(id -u)" = 0 ]; then
		cp log out/stream_8_20260102T000000.000Z_s8.eet
		cp log out/stream_8_20260102T000000.000Z_s8.wav
		chown 65534 out/stream_8_*.eet
		stay+=' stream_8_20260102T000000.000Z_s8.eet stream_8_20260102T000000.000Z_s8.wav'
	fi
	run -0 --separate-stderr eet-rotate --keep-bytes 1 out < /dev/null
	[ "$(cd out && echo *)" = "$stay" ]
	sizes=$(($(stat -c %s log) * 3))
	[[ $stderr == *"_s3.eet: removed because of --keep-bytes, $sizes bytes"* ]]
}

@test "upkeep: a thread that can't be started is no lock" {
	mkdir out
	# shellcheck disable=SC2030,SC2031
	run -1 --separate-stderr flock out eet-rotate out < /dev/null
	[ "$stderr" = 'eet-rotate: out: another program records into it' ]
	(ulimit -v 100000 && eet-rotate --version) > /dev/null 2>&1 || skip "no room for a sanitizer"
	run -1 --separate-stderr bash -c 'ulimit -v 18000; eet-rotate out < /dev/null'
	[ "$stderr" = 'eet-rotate: out: Resource temporarily unavailable' ]
}

@test "upkeep: what is pending is kept by a start without --exec, too" {
	in=$EET_ROOT/data/logs/three.mux spawn rotate eet-rotate -q -t 1 --exec false out
	wait_for grep -q '"event":"session","eet":null,"wav":null,"session":3' out/index.jsonl
	kill -KILL "${pids[rotate]}"
	finish rotate
	run -0 --separate-stderr eet-rotate --keep-bytes 1 out < /dev/null
	[ "$(find out -name '*.eet' | wc -l)" = 3 ]
	# shellcheck disable=SC2016 # for the command's shell
	run -0 --separate-stderr eet-rotate --exec 'echo "$EET_NAME" >> ran' out < /dev/null
	[ "$(sort -u ran | wc -l)" = 3 ]
	run -0 --separate-stderr eet-rotate --keep-bytes 1 out < /dev/null
	[ "$(find out -name '*.eet' | wc -l)" = 0 ]
}
