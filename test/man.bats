#!/usr/bin/env bats
# The manual and the README: every option is described and exists, and every example works.
# shellcheck disable=SC2154 # the helper sets them
load helper

setup() {
	eet_setup
	logs="$EET_ROOT/test/logs.py"
}

# Options that begin a line of --help, short and long.
help_options() {
	"$1" --help | grep -E '^ +-' | sed -E 's/^ +//; s/  .*//' | grep -oE -e '(^|[ ,])--?[a-zA-Z0-9][a-z0-9-]*' |
		tr -d ' ,' | sort -u
}

# Options that have an .It in the manual: the words behind Fl, up to another macro.
manual_options() {
	awk '/^\.It / { for (i = 2; i <= NF; i++) {
		if ($i ~ /^[A-Z][a-z]$/) flag = $i == "Fl"
		else if (flag && $i ~ /^-?[a-zA-Z0-9]/) print "-" $i
	}; flag = 0 }' "$1" | sort -u
}

# The lines of a page's EXAMPLES that begin with `$ `, as a reader sees and copies them.
examples() {
	mandoc -Tutf8 -Owidth=80 "$1" | col -bx | awk '/^[A-Z]/ { on = $0 == "EXAMPLES" } on' |
		sed -n 's/^ *\$ //p'
}

@test "man: every page is clean mdoc" {
	run -0 mandoc -Tlint -Wwarning "$EET_ROOT"/man/*
	[ -z "$output" ]
}

@test "man: every program has a page with EXIT STATUS, EXAMPLES and DIAGNOSTICS, and no other has" {
	local program page section

	for program in "$EET_BIN"/*; do
		page=$EET_ROOT/man/${program##*/}.1
		[ -f "$page" ]
		for section in 'EXIT STATUS' EXAMPLES DIAGNOSTICS; do
			grep -qx "\.Sh $section" "$page"
		done
	done
	for page in "$EET_ROOT"/man/*.1; do
		program=${page##*/}
		[ -x "$EET_BIN/${program%.1}" ]
	done
}

@test "man: what --help lists and what the page describes are the same options" {
	local program

	for program in "$EET_BIN"/*; do
		help_options "$program" > help
		manual_options "$EET_ROOT/man/${program##*/}.1" > manual
		grep -qx -e --version help
		diff help manual
	done
}

@test "man: a cross reference names a page that is here" {
	local name section

	grep -hE '^\.Xr (eet|EET)' "$EET_ROOT"/man/* | sort -u > references
	[ -s references ]
	while read -r _ name section _; do
		[ -f "$EET_ROOT/man/$name.$section" ]
	done < references
}

@test "man: an example is one line of at most 80 columns" {
	local page n

	for page in "$EET_ROOT"/man/*; do
		n=$(grep -c '^\.Dl \$ ' "$page" || :)
		[ "$(examples "$page" | wc -l)" = "$n" ]
		mandoc -Tutf8 -Owidth=80 "$page" | col -bx > narrow
		mandoc -Tutf8 -Owidth=300 "$page" | col -bx > wide
		diff <(sed -n 's/^ *\$ //p' narrow) <(sed -n 's/^ *\$ //p' wide)
	done
}

# What the examples work on.
sandbox() {
	local golden=$EET_ROOT/data/logs

	cp "$golden/three.mux" all.log
	cp "$golden/garbage.mux" damaged.log
	eet-rotate -q out < all.log > /dev/null
	cp "$EET_ROOT/data/speech_8k.wav" song.wav
	mkdir bin
	# eet-listen on a port that is free, whatever the example says; what it prints at start and
	# its process are left in files.
	cat > bin/eet-listen <<-SCRIPT
		#!/bin/bash
		args=(--ready-fd 9)
		address=localhost:0
		command=
		for arg; do
			if [ -z "\$command" ] && [[ \$arg =~ ^(localhost|[0-9.]*|\[.*\]):[0-9]+\$ ]]; then
				continue
			fi
			case \$arg in
			--) command=1 ;;
			unix:*) address= ;;
			--ready-fd*) args=("\${args[@]:2}") ;;
			esac
			args+=("\$arg")
		done
		echo \$\$ > listen.pid
		exec "$EET_BIN/eet-listen" \$address "\${args[@]}" 9> listen.url
	SCRIPT
	cat > my-client <<-SCRIPT
		#!/bin/sh
		exec /usr/bin/python3 "$EET_ROOT/client/stream_client.py" -q --streams 2 \
			--url "\$EET_URL" --wav song.wav
	SCRIPT
	chmod +x bin/eet-listen my-client
	PATH=$PWD/bin:$PATH
}

listens_or_gone() {
	[ -s listen.url ] || gone "${pids[example]}"
}

# Run one example in the background as a reader would; where it listens, send two streams and
# then press Ctrl-C, unless it ends by itself.
example() {
	local line=$1 url listen=

	rm -f listen.pid listen.url
	spawn example bash -c "set -o pipefail; $line"
	if [[ $line == *eet-listen* ]]; then
		wait_for listens_or_gone
		read -r listen < listen.pid
		read -r url < listen.url
		if [[ $url == ws://127.0.0.1:* && $line != *' -- '* ]]; then
			/usr/bin/python3 "$EET_ROOT/client/stream_client.py" -q --url "$url" --streams 2 \
				--wav song.wav
		fi
		# An example with --sessions 2 has seen enough by now, one with a command ends with it.
		[[ $line == *--sessions* || $line == *' -- '* ]] || kill -INT "$listen"
	fi
	wait_for gone "${pids[example]}"
	finish example
}

@test "man: the examples work" {
	local page line count=0

	sandbox
	for page in "$EET_ROOT"/man/*; do
		examples "$page" > lines
		while read -r line <&5; do
			echo "${page##*/}: $line"
			count=$((count + 1))
			example "$line"
			cat example.out example.err
			# The damaged log is damaged.
			[ "$status" = 0 ] || { [ "$status" = 3 ] && [[ $line == *damaged.log* ]]; }
		done 5< lines
	done
	[ "$count" -ge 10 ]
}

@test "README: the pipelines work" {
	local line count=0

	sandbox
	sed -n 's/^    \(eet-[^#]*\).*/\1/p' "$EET_ROOT/README.md" | grep -v -e --ready-fd -e device-under-test > lines
	while read -r line <&5; do
		echo "README: $line"
		count=$((count + 1))
		example "$line"
		cat example.out example.err
		[ "$status" = 0 ]
	done 5< lines
	[ "$count" -ge 6 ]
}

@test "README: the lines for CI work" {
	awk '/^## /{ on = $0 == "## In CI" } on' "$EET_ROOT/README.md" | sed -n 's/^    //p' > script
	grep -q -e --ready-fd script
	cat > device-under-test <<-SCRIPT
		#!/bin/sh
		exec /usr/bin/python3 "$EET_ROOT/client/stream_client.py" -q --streams 2 --url "\${1-\$EET_URL}" \
			--wav "$EET_ROOT/data/speech_8k.wav"
	SCRIPT
	chmod +x device-under-test
	run -0 --separate-stderr bash -e script
	# Two by each way.
	[ "$(find out -name '*.wav' | wc -l)" = 4 ]
}

# literal N PAGE: the Nth literal block of a page's EXAMPLES.
literal() {
	awk -v n="$1" '/^\.Sh/ { on = /EXAMPLES/ } on && /^\.Ed/ { inside = 0 } inside && i == n
		on && /^\.Bd -literal/ { i++; inside = 1 }' "$2"
}

@test "man: eet-formats(5)'s sender sends, its reader reads, and its bytes are a frame log" {
	local page=$EET_ROOT/man/eet-formats.5

	literal 1 "$page" | tr -d ' \n' | sed 's/../\\x&/g' > hex
	# shellcheck disable=SC2059 # it is the format that holds the bytes
	printf "$(cat hex)" > bytes.eet
	literal 2 "$page" > sender.py
	literal 3 "$page" > reader.py
	run -0 eet-wav -o bytes.wav bytes.eet
	[ "$("$logs" wav bytes.wav | xxd -p)" = 0100ffff ]

	start_listen -o all.log
	/usr/bin/python3 sender.py "$url"
	stop listen
	[ "$status" = 0 ]
	run -0 /usr/bin/python3 reader.py < all.log
	[[ ${lines[0]} == "record session 1 kind 1 time "* ]]
	[ "$(grep -c ' kind 2 ' <<< "$output")" = 50 ]
	[[ ${lines[-1]} == *" kind 3 "* ]]
	eet-wav -o tone.wav all.log
	[ "$("$logs" wav tone.wav | wc -c)" = 32000 ]
	run -0 /usr/bin/python3 reader.py < bytes.eet
	[ "$output" = $'handshake stream_id 7 rate 16000\nframe seq 0 payload 4' ]
	run -1 /usr/bin/python3 reader.py < "$EET_ROOT/data/logs/cut.eet"
}
