load helper

# The counting that CI relies on, and the set-up, with a make and an apt-get of our own.

# shellcheck disable=SC2016 # what is in the files below stays as it is

setup() {
	eet_setup
	mkdir fake
	PATH=$PWD/fake:$PATH
}

# fake NAME: a program with standard input as its script.
fake() {
	{
		echo '#!/bin/bash'
		cat
	} > "fake/$1"
	chmod +x "fake/$1"
}

check() {
	MAKEFLAGS='' MAKE=$PWD/fake/make B=$PWD/b "$EET_ROOT/.ci/check" "$@"
}

fake_make() {
	fake make <<-'EOF'
		case ${!#} in
		tap) printf '1..3\nok 1 a\nok 2 b # skip no b here\nok 3 - c\n# ok - all\n' ;;
		tap-bad) printf 'ok 1 a\nnot ok 2 b\n# not ok\n'; exit 1 ;;
		crash) printf 'ok 1 a\n'; exit 2 ;;
		pytest) printf 't.py::one PASSED [ 5%%]\nt.py::two[a b] PASSED [99%%]\nt.py::x SKIPPED (no x)\n' ;;
		pytest-bad) printf 't.py::one FAILED [ 5%%]\nt.py::two ERROR\nFAILED t.py::one - why\n'; exit 1 ;;
		plain) echo fine ;;
		plain-bad) exit 1 ;;
		gone) rm -rf b ;;
		skipped) echo 'ok 1 a # SKIP' ;;
		esac
	EOF
}

# counts EXIT LINE STEP...
counts() {
	run -"$1" check "${@:3}"
	echo "$output"
	[ "${lines[-1]}" = "$2" ]
}

@test "ci: tests of every kind are counted, and skipped ones are neither" {
	fake_make
	counts 0 '2 passed, 0 failed' tap
	counts 0 '2 passed, 0 failed' pytest
	counts 0 '1 passed, 0 failed' plain
	counts 0 '0 passed, 0 failed' skipped
	counts 0 '5 passed, 0 failed' tap pytest plain skipped
}

@test "ci: a failure of every kind is counted, and hides nothing after it" {
	fake_make
	counts 1 '1 passed, 1 failed' tap-bad
	counts 1 '1 passed, 1 failed' crash
	counts 1 '0 passed, 2 failed' pytest-bad
	counts 1 '0 passed, 1 failed' plain-bad
	counts 1 '0 passed, 1 failed' gone
	counts 1 '7 passed, 5 failed' plain-bad tap-bad crash pytest-bad tap pytest plain
	[[ $output == *'tap-bad.log:not ok 2 b'* ]]
}

# Every package is there but those in $absent.
fake_debian() {
	absent=$1
	export absent
	fake dpkg-query <<-'EOF'
		[[ " $absent " == *" ${!#} "* ]] || printf installed
	EOF
	fake apt-get <<-'EOF'
		echo "apt-get $*" >> log
		[ ! -e "fail-${1#-}" ]
	EOF
	fake id <<< 'echo 0'
}

@test "ci: set-up leaves apt-get alone when nothing is missing" {
	fake_debian ''
	run -0 "$EET_ROOT/.ci/setup" build demo check lint
	[ "$output" = '' ]
	[ ! -e log ]
}

@test "ci: set-up installs what is missing, and says so" {
	fake_debian 'bats sox clang-format'
	run -1 "$EET_ROOT/.ci/setup" -n build check
	[ "$output" = 'setup: missing packages: bats sox' ]
	[ ! -e log ]
	run -0 "$EET_ROOT/.ci/setup" build check
	[ "$output" = 'setup: installing bats sox' ]
	grep -q '^apt-get install .* bats sox$' log
}

@test "ci: set-up fails when nothing can be installed" {
	fake_debian jq
	touch fail-install
	run ! "$EET_ROOT/.ci/setup" demo
	grep -q '^apt-get update' log # perhaps the lists are old
	[ "$(grep -c '^apt-get install' log)" -ge 1 ]
}

@test "ci: set-up takes known groups only" {
	run -2 "$EET_ROOT/.ci/setup" build everything
	[ "$output" = 'setup: no group everything' ]
}

@test "ci: make demo works in a folder with a space in its name" {
	mkdir -p 'a tree/.ci' 'a tree/examples'
	cp "$EET_ROOT/Makefile" 'a tree'
	printf '#!/bin/sh\n' > 'a tree/.ci/setup'
	# shellcheck disable=SC2016 # for the inner shell
	printf '#!/bin/sh\necho "$PATH"\n' > 'a tree/examples/demo.sh'
	chmod +x 'a tree/.ci/setup' 'a tree/examples/demo.sh'
	run -0 make -s -C 'a tree' B=build demo
	[[ $output == *"$PWD/a tree/build/bin:"* ]]
}
