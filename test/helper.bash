# shellcheck shell=bash
# What the bats files share: `load helper`.  bats 1.8.2 (Debian 12).
#
# Every test starts in a folder of its own, with the programs in PATH.  Programs in the background:
#
#	mkfifo pipe
#	in=pipe spawn rotate eet-rotate -t 1 out	# a name, then the command
#	out=pipe start_listen -q			# its name is "listen"
#	...						# $url and $port say where it listens
#	stop listen					# SIGTERM, wait, set $status
#	finish rotate					# wait for its own end, set $status
#	grep closed listen.err
#
# stdout and stderr go to NAME.out and NAME.err; all .err files are shown when a test fails.  What
# still runs when a test ends is ended, by pid.

EET_ROOT=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)
EET_BIN=${EET_BIN:-$EET_ROOT/build/bin}
PATH=$EET_BIN:$PATH
# Seconds for which a test waits for what does not come.  Where all is well they cost nothing, so they
# are many enough for a machine that has much else to do.
PATIENCE=${PATIENCE:-300}
BATS_TEST_TIMEOUT=${BATS_TEST_TIMEOUT:-1200}
LC_ALL=C
TZ='<+0530>-5:30' # a name or a time that is not UTC shows
export EET_ROOT EET_BIN PATH PATIENCE BATS_TEST_TIMEOUT LC_ALL TZ
unset EET_URL NO_COLOR LISTEN_FDS LISTEN_PID

# bats ends the children of a test that takes too long.  Theirs would live on, and hold the pipes that
# bats reads to their end, for ever.
bats_kill_childprocesses_of() {
	local child

	for child in $(pgrep -P "$1"); do
		if [ "$child" != "$BASHPID" ]; then
			bats_kill_childprocesses_of "$child"
			kill -KILL "$child" 2> /dev/null || :
		fi
	done
}

declare -gA pids=() # of what spawn started and nobody waited for

setup() {
	eet_setup
}

teardown() {
	eet_teardown
}

# For files that have a setup or teardown of their own.
eet_setup() {
	bats_require_minimum_version 1.5.0
	cd "$BATS_TEST_TMPDIR" || return
}

eet_teardown() {
	local name file

	for name in "${!pids[@]}"; do
		kill -TERM "${pids[$name]}" 2>/dev/null || :
		within 5 gone "${pids[$name]}" 2>/dev/null ||
			kill -KILL "${pids[$name]}" 2>/dev/null || :
		wait "${pids[$name]}" 2>/dev/null || :
	done
	if [ -z "${BATS_TEST_COMPLETED-}" ]; then
		for file in "$BATS_TEST_TMPDIR"/*.err; do
			[ -s "$file" ] || continue
			printf -- '--- %s\n' "${file##*/}"
			tail -n 40 "$file"
		done
	fi
}

# spawn NAME COMMAND...: in the background, stdin from $in (/dev/null), stdout to $out (NAME.out).
# Both are opened by the new process, so a FIFO does not hold the test up.  Sets $pid.
spawn() {
	local name=$1

	shift
	# What an earlier one of that name said is not taken for this one's.
	[ -n "${out-}" ] || : > "$name.out"
	: > "$name.err"
	# 3 and 4 are bats' own: who keeps them open keeps bats waiting
	"$@" < "${in:-/dev/null}" > "${out:-$name.out}" 2> "$name.err" 3>&- 4>&- &
	pid=$!
	pids[$name]=$pid
}

# start_listen [OPTION...] [-- COMMAND...]: eet-listen on $address (localhost:0), called $name
# (listen).  Returns when it accepts connections; sets $pid, $url and $port.
start_listen() {
	local name=${name:-listen}

	rm -f "$name.ready"
	mkfifo "$name.ready"
	spawn "$name" listen_ready "$name.ready" "${address:-localhost:0}" "$@"
	await_ready "$name.ready"
}

# await_ready FIFO: the line of --ready-fd that comes from it, or its writer's end.  Sets $url and $port.
await_ready() {
	if ! read -r url < "$1"; then
		echo "eet-listen is not ready"
		return 1
	fi
	port=${url##*:}
	port=${port%%/*}
}

# In the child: the ready line goes to the FIFO on descriptor 4.
listen_ready() {
	local fifo=$1

	shift
	exec eet-listen --ready-fd 4 "$@" 4> "$fifo"
}

# stop NAME [SIGNAL]: send it (TERM), then finish.
stop() {
	kill -s "${2:-TERM}" "${pids[$1]}" && finish "$1"
}

# finish NAME: wait until it ends.  Sets $status and returns 0, so the test compares.
# shellcheck disable=SC2034 # $status is for the test
finish() {
	status=0
	wait "${pids[$1]}" || status=$?
	unset "pids[$1]"
}

# wait_for COMMAND...: until it succeeds.  Fails after $PATIENCE seconds, or 20 after all that was
# spawned has ended: nothing changes then.
wait_for() {
	local limit=$((EPOCHSECONDS + PATIENCE)) ended=

	until "$@" > /dev/null 2>&1; do
		if [ -z "$ended" ] && all_gone; then
			ended=1
			limit=$((EPOCHSECONDS + 20))
		fi
		if [ "$EPOCHSECONDS" -ge "$limit" ]; then
			echo "never came true: $*"
			return 1
		fi
		sleep 0.02
	done
}

# within SECONDS COMMAND...: until it succeeds, where it is the time that is promised.  The time is
# counted in turns of this loop: what keeps the processors from the program keeps them from it, too.
within() {
	local turns=$(($1 * 50)) seconds=$1

	shift
	until "$@" > /dev/null 2>&1; do
		if [ $((turns -= 1)) -lt 0 ]; then
			echo "not within $seconds s: $*"
			return 1
		fi
		sleep 0.02
	done
}

# all_gone: something was spawned, and nothing of it is left.
all_gone() {
	local pid

	[ ${#pids[@]} -gt 0 ] || return
	for pid in "${pids[@]}"; do
		gone "$pid" || return
	done
}

# refute COMMAND...: it fails.  (bats does not notice when a line with ! does.)
refute() {
	! "$@"
}

# gone PID: it ended, waited for or not.
gone() {
	local stat

	read -r stat 2> /dev/null < "/proc/$1/stat" || return 0
	[[ ${stat##*) } == Z* ]]
}

# taken PID: it has taken the signals sent to it, or is gone.
taken() {
	! grep -q '^S[hi][dg]Pnd:.*[1-9a-f]' "/proc/$1/status" || gone "$1"
}

# since FROM: how many microseconds have passed; FROM is what ${EPOCHREALTIME/./} was then.
since() {
	echo $((${EPOCHREALTIME/./} - $1))
}

# py [ARGUMENT...]: the program on stdin, which may import wsclient.
py() {
	PYTHONPATH=$EET_ROOT/test /usr/bin/python3 - "$@"
}

# on_tmpfs SIZE COMMAND...: where "small" is a file system of that size, its own.  For spawn.
on_tmpfs() {
	local size=$1

	shift
	mkdir -p small
	# shellcheck disable=SC2016 # the inner shell expands
	exec unshare -m sh -c 'mount -t tmpfs -o size="$0" none small && exec "$@"' "$size" "$@"
}

needs_mount() {
	{ [ "$(id -u)" = 0 ] && unshare -m true 2> /dev/null; } ||
		skip "needs root, to mount a small file system"
}

# LeakSanitizer can't work in a process that is traced.
strace() {
	ASAN_OPTIONS=${ASAN_OPTIONS-}:detect_leaks=0 command strace "$@"
}

# Numbers as little-endian bytes: le16 N...; le32 N...; le64 N...
le16() {
	le 2 "$@"
}

le32() {
	le 4 "$@"
}

le64() {
	le 8 "$@"
}

le() {
	local size=$1 n i out=

	shift
	for n in "$@"; do
		for ((i = 0; i < size; i++)); do
			printf -v out '%s\\x%02x' "$out" $((n >> 8 * i & 255))
		done
	done
	printf '%b' "$out"
}

# handshake CODEC [STREAM_ID [RATE [CHANNELS [FRAME_SAMPLES [TIMESTAMP_MS]]]]]: 32 bytes.
# CODEC is pcm, adpcm or a number.
handshake() {
	local codec=$1

	case $codec in
	pcm) codec=0 ;;
	adpcm) codec=1 ;;
	esac
	le32 0x41445043
	le16 1 32
	le32 "${2:-1}" "${3:-16000}"
	le16 "${4:-1}" "$codec" "${5:-320}" 0
	le64 "${6:-0}"
}

# frame CODEC SEQ [FILE]: an audio frame with FILE, or nothing, as its payload.
frame() {
	local magic=$1 len=0

	case $magic in
	pcm) magic=0x464D4350 ;;
	adpcm) magic=0x41445046 ;;
	esac
	[ -z "${3-}" ] || len=$(stat -c %s "$3")
	le32 "$magic" "$len" "$2"
	[ -z "${3-}" ] || cat "$3"
}

# record KIND SESSION TIME_US [FILE]: a mux record with FILE, or nothing, as its body.
record() {
	local kind=$1 len=0

	case $kind in
	OPEN) kind=1 ;;
	FRAME) kind=2 ;;
	CLOSE) kind=3 ;;
	TICK) kind=4 ;;
	ROTATE) kind=5 ;;
	esac
	[ -z "${4-}" ] || len=$(stat -c %s "$4")
	le32 0x4D544545 $((len + 12)) "$2"
	le16 "$kind" 0
	le64 "$3"
	[ -z "${4-}" ] || cat "$4"
}

# A spool has nothing unfinished.
no_parts() {
	[ "$(cd "$1" && echo *.part)" = '*.part' ]
}
