#!/bin/bash
# record.sh DIR STREAMS COMMAND...: record what COMMAND streams, for tests and CI.
#
# Runs COMMAND with the URL of a server of its own in EET_URL, and ends when COMMAND has ended and
# its STREAMS streams are stored in DIR: completely, so that the next line of a script can use them.
# Exit status: COMMAND's if it failed; else 3 when what came is damaged, or when a stream is missing
# and none was open for a minute (EET_IDLE: a time, as of --idle-exit).
set -eu

[ $# -ge 3 ] || {
	echo "usage: record.sh DIR STREAMS COMMAND..." >&2
	exit 2
}
dir=$1
streams=$2
shift 2
PATH=${EET_BIN:-$(dirname "$0")/../build/bin}:$PATH

temporary=$(mktemp -d)
listener=
cleanup() {
	[ -z "$listener" ] || kill "$listener" 2> /dev/null || :
	wait
	rm -rf "$temporary"
}
trap cleanup EXIT

mkfifo "$temporary/ready"
eet-listen -q localhost:0 --spool "$dir" --sessions "$streams" --idle-exit "${EET_IDLE:-60}" \
	--ready-fd 4 4> "$temporary/ready" &
listener=$!
read -r -t 20 EET_URL < "$temporary/ready"
export EET_URL

"$@"
wait "$listener"
