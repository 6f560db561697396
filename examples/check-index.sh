#!/bin/sh
# check-index.sh DIR: fails when a recording in DIR lost frames, is damaged, silent or was cut off,
# and says which: one line each, session, stream id, what.
set -eu

test -s "$1/index.jsonl"
bad=$(jq -r 'select(.event == "session")
	| [if .gap_frames > 0 then "\(.gap_frames) frames missing" else empty end,
	   if .damaged > 0 then "\(.damaged) frames damaged" else empty end,
	   if .rms_dbfs == null then "silent" else empty end,
	   if .close_code != 1000 then "ended with \(.close_code)" else empty end] as $what
	| select($what | length > 0)
	| "session \(.session) stream \(.stream_id): \($what | join(", "))"' "$1/index.jsonl")
[ -z "$bad" ] || {
	printf '%s\n' "$bad"
	exit 1
}
