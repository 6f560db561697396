#!/usr/bin/env bats
# The short form of `make torture`: nothing is lost, whatever dies and when.
# shellcheck disable=SC2154 # the helper and `run` set variables
load helper

torture() {
	local program=$1

	shift
	TMPDIR=$PWD "$EET_ROOT/test/torture/$program" "$@"
}

@test "torture: killed at random moments, server, listener, rotator, both" {
	torture kill.py --rounds 2 --streams 12 --seconds 0.4 --only server --only listener \
		--only rotator --only both
}

@test "torture: asked to end, in every order and twice, interrupted, stopped for a while" {
	torture kill.py --rounds 1 --streams 8 --seconds 0.3 --stop 0.5
}

@test "torture: killed, and failing, at points where files change, recovery too" {
	torture faults.py --every 8 --recoveries 1 \
		"${EET_BIN%/bin}/test/torture/faults.so"
}

@test "torture: holes, flipped bits and garbage in what was left, and faults in its salvage" {
	torture holes.py --states 12 "${EET_BIN%/bin}/test/torture/faults.so"
}

@test "torture: 60 streams come and go, all is stored, nothing grows" {
	torture soak.py --minutes 0.05 --streams 60 "${EET_BIN%/bin}/test/bench/churn"
}

@test "torture: one lost frame or damaged file in the table is a failure" {
	printf 'one\t2\t3\t0\t0\t0.50 s\tit\ntwo\t2\t-\t-\t-\t-\tit\n' > rows
	run -0 "$EET_ROOT/test/torture/table.py" rows
	[ "${#lines[@]}" = 3 ]
	printf 'three\t2\t3\t1\t0\t0.50 s\tit\n' >> rows
	run -1 "$EET_ROOT/test/torture/table.py" rows
	printf 'three\t2\t3\t0\t1\t0.50 s\tit\n' > rows
	run -1 "$EET_ROOT/test/torture/table.py" rows
	: > rows
	run -1 "$EET_ROOT/test/torture/table.py" rows
}

@test "torture: clients that send what they should not, while one stream records" {
	torture web.py --rounds 12
}
