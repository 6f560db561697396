#!/usr/bin/env bats
# What all programs have in common: help, options, exit statuses, messages.
# shellcheck disable=SC2154 # the helper and `run` set them
load helper

setup() {
	eet_setup
	golden=$EET_ROOT/data/logs
}

@test "all: --help and --version are on stdout, exit 0; on a full disk they are 1" {
	local program name option

	for program in "$EET_BIN"/*; do
		name=${program##*/}
		for option in --help -h; do
			run -0 --separate-stderr "$name" $option < /dev/null
			[[ $output == "Usage: $name "* ]]
			[ -z "$stderr" ]
			# Lines fit a terminal.
			[ "$(wc -L <<< "$output")" -le 80 ]
		done
		for option in --version -V; do
			run -0 --separate-stderr "$name" $option
			[[ $output =~ ^"$name "[0-9]+\.[0-9]+\.[0-9]+ ]]
			[ -z "$stderr" ]
			# shellcheck disable=SC2016 # for the inner shell
			run -1 --separate-stderr bash -c '"$0" "$1" > /dev/full' "$name" $option
			[[ $stderr == "$name: standard output: No space left on device" ]]
		done
	done
}

@test "all: wrong options are 2, with the program's name and the option on stderr" {
	local program name

	for program in "$EET_BIN"/*; do
		name=${program##*/}
		run -2 --separate-stderr "$name" --no-such-option < /dev/null
		[[ $stderr == "$name: "*--no-such-option*"$name --help"* ]]
		[ -z "$output" ]
		run -2 --separate-stderr "$name" -Y < /dev/null
		[[ $stderr == "$name: "*Y* ]]
		run -2 --separate-stderr "$name" --quiet=yes < /dev/null
		[[ $stderr == "$name: "*--quiet* ]]
	done
}

@test "all: options may follow operands, and -- ends them" {
	run -0 eet-rotate out -q -t 400ms < "$golden/sine_adpcm.eet"
	[ "$(find out -name '*.eet' | wc -l)" = 3 ]
	run -0 eet-rotate -q -- -t < "$golden/sine_adpcm.eet"
	[ -f -t/index.jsonl ]
	cp "$golden/sine_adpcm.eet" ./-q
	run -0 --separate-stderr eet-wav -o heard.wav -- -q
	run -0 --separate-stderr eet-wav "$golden/sine_adpcm.eet" -o again.wav
	cmp heard.wav again.wav
}

@test "all: readers of logs say the same of damage: 3, where it is, and what came before it" {
	local log offset

	for log in cut.eet badlen.eet badmagic.eet cut.mux garbage.mux; do
		rm -rf out wav
		run -3 --separate-stderr eet-rotate -q -t 0 out < "$golden/$log"
		[[ $stderr == *"eet-rotate: standard input: offset "* ]]
		offset=$(grep -o 'offset [0-9]*' <<< "$stderr" | head -n 1)
		run -3 --separate-stderr eet-wav -q -d wav "$golden/$log"
		[[ $stderr == *"eet-wav: $golden/$log: $offset:"* ]]
		# The same samples, by both.
		for wav in out/*.wav; do
			[ "$(md5sum wav/* | grep -c "^$(md5sum < "$wav" | cut -d' ' -f1) ")" = 1 ]
		done
	done
}

@test "all: messages are one line each, begin with the program's name, and hold no control characters" {
	local log

	for log in "$golden"/*.mux "$golden"/*.eet; do
		rm -rf out wav
		eet-rotate -v out < "$log" > /dev/null 2> rotate.err || :
		eet-wav -v -d wav "$log" 2> wav.err || :
		refute grep -vE '^eet-rotate: [[:print:]]+$' rotate.err
		refute grep -vE '^eet-wav: [[:print:]]+$' wav.err
	done
}

@test "all: -q leaves only errors" {
	eet-rotate -q out < "$golden/three.mux" > list 2> err
	[ ! -s err ]
	eet-wav -q -d wav out 2> err
	[ ! -s err ]
	# A tag that is dropped is none.
	eet-rotate tags < "$golden/badtag.mux" > list 2> err
	grep -q 'tag .*dropped' err
	eet-rotate -q more < "$golden/badtag.mux" > list 2> err
	eet-demux -q "$golden/badtag.mux" 2>> err | eet-wav -q -d tagged 2>> err
	eet-info -q "$golden/badtag.mux" > table 2>> err
	[ ! -s err ]
}

@test "all: a file that is input and output at once is refused, and left as it is" {
	local command

	cp "$golden/three.mux" log
	cp "$golden/stereo_pcm.eet" pcm
	cp pcm before
	ln -s log link
	for command in 'eet-demux log >> log' 'eet-demux < log >> log' 'eet-demux - < log 1<> log' \
		'eet-demux link >> log' 'eet-demux pcm log >> log' 'eet-wav log >> log' \
		'eet-wav -o log < log' 'eet-wav pcm -o link log' 'eet-info log >> log' \
		'eet-info --json pcm log >> log' 'eet-rotate out < log >> log' \
		'eet-adpcm -d log >> log' 'eet-adpcm -e < pcm >> pcm' 'eet-adpcm -e -o pcm pcm'; do
		run -2 --separate-stderr bash -c "$command"
		[[ $stderr == 'eet-'*': the input is the output, too; try '* ]]
		cmp log "$golden/three.mux"
		cmp pcm before
	done
	[ ! -e out ]
	# Not one file: it has two names, or there is no output.
	eet-demux -d files log
	# shellcheck disable=SC2094 # it is what is tested
	eet-demux --filter 'cat > /dev/null' < log >> log
	cmp log "$golden/three.mux"
	# shellcheck disable=SC2094
	eet-info log < log > /dev/null
}

@test "all: standard input is read once" {
	local program

	for program in eet-demux eet-wav eet-info; do
		run -2 --separate-stderr "$program" - - < "$golden/sine_adpcm.eet"
		[[ $stderr == "$program: standard input can be read once; try "* ]]
	done
}

@test "all: 0 is refused where it has no meaning" {
	local option

	for option in --size --sync --exec-jobs --rate; do
		run -2 --separate-stderr eet-rotate "$option" 0 out < "$golden/three.mux"
		[[ $stderr == "eet-rotate: $option 0"* ]]
	done
	[ ! -e out ]
	# And a limit that is none removes nothing.
	eet-rotate -q -t 500ms --keep-bytes 0 --keep-age 0 --min-free 0 out < "$golden/three.mux" > list
	eet-rotate -q -t 500ms kept < "$golden/three.mux" > list
	diff -r out kept
}

@test "all: an empty command is refused" {
	local command

	for command in 'eet-rotate --exec' 'eet-listen --spool out --exec' 'eet-demux --filter'; do
		run -2 --separate-stderr bash -c "$command ''" < "$golden/three.mux"
		[[ $stderr == *'needs a command; try '* ]]
	done
	[ ! -e out ]
}

@test "all: a log whose session numbers were chosen with care costs no more time than others" {
	# What a multiplication by a constant that everybody knows would put into a few slots.
	/usr/bin/python3 - > log <<-'PY'
		import struct, sys
		inverse = pow(2654435761, -1, 1 << 32)
		handshake = struct.pack("<IHHIIHHHHQ", 0x41445043, 1, 32, 1, 8000, 1, 0, 160, 0, 0)
		for i in range(1, 100000):
		    number = (i & 127 | (i >> 7 & 127) << 25 | i >> 14 << 7) * inverse & 0xffffffff
		    sys.stdout.buffer.write(struct.pack("<IIIHHQ", 0x4D544545, 44, number, 1, 0, 0) + handshake)
	PY
	(
		ulimit -t 2
		eet-demux -q -i 9 log > /dev/null
	)
}

@test "all: the client is of the programs' version" {
	run -0 /usr/bin/python3 "$EET_ROOT/client/stream_client.py" --version
	[ "${output#* }" = "$(eet-listen --version | cut -d ' ' -f 2)" ]
}

@test "common: any amount of damage is a few messages and a count" {
	# Half a sample in each frame but the first.
	/usr/bin/python3 - > log <<-'PY'
		import struct, sys
		out = struct.pack("<IHHIIHHHHQ", 0x41445043, 1, 32, 1, 8000, 1, 0, 160, 0, 0)
		for seq in range(50):
		    out += struct.pack("<III", 0x464D4350, 3 if seq else 2, seq) + bytes(3 if seq else 2)
		sys.stdout.buffer.write(out)
	PY
	for command in 'eet-rotate -q out' 'eet-wav -d wav' 'eet-demux -d split' 'eet-info --check' 'eet-adpcm -d'; do
		run -3 --separate-stderr bash -c "$command < log > listed"
		[ "$(grep -c 'standard input: offset' <<< "$stderr")" = 20 ]
		[ "$(grep -c 'standard input: damage: the rest is counted$' <<< "$stderr")" = 1 ]
		[[ ${stderr_lines[-1]} =~ 'standard input: damage: '[0-9]+', the first 20 were named'$ ]]
	done
	n=$(eet-info --json log 2> err | jq -r 'select(.event == "damage") | .offset' | wc -l)
	[ "$n" -gt 20 ]
	grep -qx "eet-info: log: damage: $n, the first 20 were named" err
	# Each log by itself.
	run -3 --separate-stderr eet-info --check log "$golden/cut.eet" log
	[ "$(grep -c ": damage: $n, the first 20 were named$" <<< "$stderr")" = 2 ]
	[ "$(grep -c 'cut.eet: offset' <<< "$stderr")" = 1 ]
	# No more than 20: each is named, and nothing else said.
	run -3 --separate-stderr eet-info --check "$golden/cut.eet"
	[ "${#stderr_lines[@]}" = 1 ]
}
