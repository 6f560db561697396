#!/bin/sh
# each-wav.sh COMMAND...: reads eet-rotate's list of files and runs COMMAND with each WAV, one after
# the other, as they are completed.  The recording never waits for it.
#
#	eet-listen :5096 | eet-rotate out/ | each-wav.sh flac -s
set -u

while read -r file; do
	case $file in
	*.wav) "$@" "$file" < /dev/null || echo "each-wav.sh: $file: exit status $?" >&2 ;;
	esac
done
