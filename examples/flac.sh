#!/bin/bash
# flac.sh DIR [FILE]: one FLAC per stream of a mux log (standard input), while it comes in.
#
#	eet-listen :5096 | flac.sh music/
set -eu

[ $# -ge 1 ] || {
	echo "usage: flac.sh DIR [FILE]" >&2
	exit 2
}
PATH=${EET_BIN:-$(dirname "$0")/../build/bin}:$PATH
mkdir -p "$1"
export DIR=$1
shift

# A WAV on a pipe says nothing of its length.
# shellcheck disable=SC2016 # for the shells that run it
exec eet-demux --filter \
	'eet-wav -q | flac --silent --ignore-chunk-sizes - -o "$DIR/$EET_NAME.flac"' "$@"
