#!/bin/bash
# monitor.sh [ADDRESS]: hear a stream while it comes in; a second one at the same time is refused.
#
# EET_PLAYER: what plays a WAV on its standard input, sox's play unless set.
set -eu

PATH=${EET_BIN:-$(dirname "$0")/../build/bin}:$PATH

eet-listen --raw --sessions 1 "$@" | eet-wav | ${EET_PLAYER:-play -q -t wav --ignore-length -}
