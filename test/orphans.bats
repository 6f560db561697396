#!/usr/bin/env bats
# Process 1 of a container inherits orphans, and waits for them.
# shellcheck disable=SC2016,SC2154 # $ is for the inner shell; the helper and `run` set variables
load helper

# A log of nine seconds, in frames of 20 ms.
nine_seconds() {
	printf '0 OPEN 1 pcm id=7\n0 FRAME 1 count=450\n' | "$EET_ROOT/test/logs.py" mux
}

# heir COMMAND...: orphans of its descendants become its children, as they do in process 1.
heir() {
	exec /usr/bin/python3 -c 'import ctypes, os, sys
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
os.execvp(sys.argv[1], sys.argv[1:])' "$@"
}

# A command that leaves an orphan, which ends after `go` is there, telling whose child it was.
leave='(until [ -e go ]; do sleep 0.02; done; exec cut -d" " -f4 /proc/self/stat >> heirs) &'

# inherited PID N: PID had N orphans, and all have ended and been waited for.
inherited() {
	[ "$(wc -l < heirs)" = "$2" ] && ! grep -qvx "$1" heirs && [ "$(zombies "$1")" = 0 ]
}

zombies() {
	local child n=0

	for child in $(pgrep -P "$1"); do
		! grep -q '^State:.Z' "/proc/$child/status" 2> /dev/null || n=$((n + 1))
	done
	echo $n
}

@test "orphans: eet-rotate waits for those that it inherits, and hears how its own commands ended" {
	mkfifo pipe
	in=pipe spawn rotate heir eet-rotate -t 1 --no-wav --exec "$leave"' mkdir "$EET_NAME" && exit 9; exit 0' out
	exec 7> pipe
	nine_seconds >&7
	# The first eight are complete: each runs twice.
	wait_for eval '[ "$(grep -c ": exit status 9, again" rotate.err)" = 8 ]'
	wait_for eval '[ "$(grep -c "\"done\"" out/index.jsonl)" = 8 ]'
	touch go
	wait_for inherited "$pid" 16
	exec 7>&-
	finish rotate
	[ "$status" = 0 ]
}

@test "orphans: eet-listen waits for those of --exec" {
	mkfifo heir.ready
	spawn heir heir sh -c 'exec eet-listen --ready-fd 4 localhost:0 --spool out -t 0.1 --exec "$1" 4> heir.ready' sh "$leave"
	read -r -t 20 url < heir.ready
	/usr/bin/python3 "$EET_ROOT/client/stream_client.py" -q --url "$url" --wav "$EET_ROOT/data/speech_8k.wav"
	wait_for eval '[ "$(grep -c "\"done\"" out/index.jsonl)" -ge 1 ]'
	touch go
	n=$(grep -c '"segment"' out/index.jsonl)
	wait_for inherited "$pid" "$n"
	stop heir
	[ "$status" = 0 ]
}

@test "orphans: eet-listen's exit status is its command's, whatever else ends" {
	run -5 heir eet-listen -q localhost:0 -o log -- sh -c '
		for i in 1 2 3 4 5 6 7 8; do (: &); (sleep 0.0$i &); done
		until [ "$(pgrep -P $PPID | wc -l)" = 1 ]; do sleep 0.02; done # itself
		exit 5'
}

@test "orphans: eet-demux waits for those of --filter" {
	mkfifo pipe
	in=pipe spawn demux heir eet-demux -v --filter "$leave cat > /dev/null"
	exec 7> pipe
	for i in 1 2 3; do
		printf '0 OPEN %d pcm\n0 FRAME %d count=5\n1 CLOSE %d 1000\n' $i $i $i
	done | "$EET_ROOT/test/logs.py" mux >&7
	wait_for eval '[ "$(grep -c "exited with status 0" demux.err)" = 3 ]'
	touch go
	wait_for inherited "$pid" 3
	exec 7>&-
	finish demux
	[ "$status" = 0 ]
}

@test "orphans: as process 1 it is the same" {
	unshare -rfp --mount-proc true 2> /dev/null || skip "needs process numbers of its own"
	mkfifo pipe
	in=pipe spawn rotate unshare -rfp --mount-proc --kill-child eet-rotate -q -t 1 --no-wav --exec "$leave" out
	exec 7> pipe
	nine_seconds >&7
	wait_for eval '[ "$(grep -c "\"done\"" out/index.jsonl)" = 8 ]'
	touch go
	wait_for eval '[ "$(grep -cx 1 heirs)" = 8 ]'
	wait_for eval '[ "$(zombies "$(pgrep -P "$pid")")" = 0 ]'
	exec 7>&-
	finish rotate
	[ "$status" = 0 ]
}
