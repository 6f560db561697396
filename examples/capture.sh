#!/bin/bash
# capture.sh HOST FILE DIR [OPTION]...: listen on another machine, over ssh, and record here: all of
# it into FILE, and rotating files into DIR.  OPTION: of eet-listen there.
#
# FILE can be replayed: eet-rotate OTHER_DIR < FILE makes the same files again.  EET_SSH: the command
# that reaches HOST, ssh unless set.
set -eu -o pipefail

[ $# -ge 3 ] || {
	echo "usage: capture.sh HOST FILE DIR [OPTION]..." >&2
	exit 2
}
host=$1 file=$2 dir=$3
shift 3
PATH=${EET_BIN:-$(dirname "$0")/../build/bin}:$PATH

${EET_SSH:-ssh} "$host" eet-listen "$@" | tee -ip "$file" | eet-rotate "$dir"
