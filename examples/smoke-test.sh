#!/bin/bash
# smoke-test.sh DIR COMMAND...: does a client of yours stream as it should?  For CI.
#
# Runs COMMAND with the URL of a server of its own in EET_URL.  Success when COMMAND succeeded, and
# each stream that it sent is in DIR, new or empty until then, whole: frames came, none is missing or
# damaged, it was closed by the client with 1000, and there is something to be heard.
set -eu

[ $# -ge 2 ] || {
	echo "usage: smoke-test.sh DIR COMMAND..." >&2
	exit 2
}
dir=$1
shift
[ -z "$(ls -A "$dir" 2> /dev/null)" ] || {
	echo "smoke-test.sh: $dir: not empty: what is there would be judged too" >&2
	exit 2
}
PATH=${EET_BIN:-$(dirname "$0")/../build/bin}:$PATH

eet-listen -q localhost:0 --spool "$dir" -- "$@" > /dev/null
jq -s -e -r '
	map(select(.event == "session")) | sort_by(.session) |
	if length == 0 then "no stream came\n" | halt_error(3) else .[] end |
	[
		if .frames == 0 then "no frames" else empty end,
		if .gap_frames > 0 then "\(.gap_frames) frames missing" else empty end,
		if .repeats + .restarts > 0 then "sequence numbers go back" else empty end,
		if .damaged > 0 then "\(.damaged) damaged blocks" else empty end,
		if .peak_dbfs == null then "silence" else empty end,
		if .close_code != 1000 then "closed with \(.close_code)" else empty end
	] as $wrong |
	"session \(.session): \(if $wrong == [] then "ok" else $wrong | join(", ") end)"
' "$dir/index.jsonl" > "$dir/smoke-test.txt" || exit 3
cat "$dir/smoke-test.txt"
! grep -qv ': ok$' "$dir/smoke-test.txt" || exit 3
