#!/bin/bash
# upload.sh DIR DEST [OPTION]...: record the log on standard input into DIR, and upload each finished
# segment to DEST as soon as it is complete.  OPTION: of eet-rotate.
#
# An upload that fails is tried again until it succeeds; what was not uploaded when this was killed
# is when it is started again.  EET_UPLOAD: the command, "rclone copyto" unless set; it is given a
# file and its name at DEST ("s3cmd put", or for another disk "cp").
#
#	eet-listen :5096 | upload.sh out/ remote:bucket/kitchen -t 1m
set -eu

[ $# -ge 2 ] || {
	echo "usage: upload.sh DIR DEST [OPTION]..." >&2
	exit 2
}
dir=$1
export DEST=$2 EET_UPLOAD="${EET_UPLOAD:-rclone copyto}"
shift 2
PATH=${EET_BIN:-$(dirname "$0")/../build/bin}:$PATH

# shellcheck disable=SC2016 # for the shell that runs it
exec eet-rotate "$dir" --exec '$EET_UPLOAD "$1" "$DEST/$EET_NAME.eet" &&
	{ [ -z "$2" ] || $EET_UPLOAD "$2" "$DEST/$EET_NAME.wav"; }' "$@"
