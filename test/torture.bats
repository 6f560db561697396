#!/usr/bin/env bats
# The short form of `make torture`: nothing is lost, whatever dies and when.
# shellcheck disable=SC2154 # the helper and `run` set variables
load helper

@test "torture: killed at random moments, server, listener, rotator, both" {
	TMPDIR=$PWD "$EET_ROOT/test/torture/kill.py" --rounds 10 --streams 12 --seconds 0.4
}

@test "torture: killed at points where files change, recovery too" {
	TMPDIR=$PWD "$EET_ROOT/test/torture/faults.py" --every 4 --recoveries 2 \
		"${EET_BIN%/bin}/test/torture/faults.so"
}
