#!/bin/bash
# nightly.sh SPOOL ARCHIVE [MINUTES]: move complete segments older than MINUTES (a day) into
# ARCHIVE/DATE.tar.zst, where nothing is written over.  For cron; recording may go on meanwhile.
set -eu -o pipefail

[ $# -ge 2 ] || {
	echo "usage: nightly.sh SPOOL ARCHIVE [MINUTES]" >&2
	exit 2
}
spool=$1
minutes=${3:-1440}
mkdir -p "$2"
archive=$(cd "$2" && pwd)/$(date -u +%Y%m%dT%H%M%SZ).tar.zst
[ ! -e "$archive" ]
cd "$spool"

# A name without .part is complete, and never changes again.
find . -maxdepth 1 -name 'stream_*' \( -name '*.eet' -o -name '*.wav' \) -mmin "+$minutes" -print0 |
	sort -z > "$archive.list"
if [ -s "$archive.list" ]; then
	tar --create --null --files-from "$archive.list" | zstd -q -o "$archive.part"
	# Only what can be read back is removed here.
	zstd -q --test "$archive.part"
	sync "$archive.part"
	mv -n "$archive.part" "$archive"
	xargs -0 rm -f -- < "$archive.list"
	echo "$archive"
fi
rm -f "$archive.list"
