load helper

# The lints are worth what they find: each breach, put into a sound tree, is named and fails.

# shellcheck disable=SC2016 # what is in the files below stays as it is

setup() {
	eet_setup
	mkdir -p lib cmd/eet-listen doc
	echo '#include <stdint.h>' > lib/bytes.h
	printf '#include "wire.h"\n#include "bytes.h"\n#include <string.h>\n' > lib/wire.c
	echo '#include <stddef.h>' > lib/wire.h
	printf '#include "wav.h"\n#include <sndfile.h>\n' > lib/wav.c
	echo '/* does not call printf() or exit(), nor uses stdout */' > lib/wav.h
	printf '#include "cli.h"\n#include <stdio.h>\nvoid f(void) { printf("x"); }\n' > lib/cli.c
	: > lib/cli.h
	: > cmd/eet-listen/server.h
	printf '#include "cli.h"\n#include "wire.h"\nint main(void) { exit(0); }\n' > cmd/eet-wav.c
	printf '#include <libwebsockets.h>\n#include <uv.h>\n' > cmd/eet-listen/main.c
	echo 'files go to $HOME/work/x and /tmp/x, as in http://example.org/home/x' > doc/text
}

rules() {
	"$EET_ROOT/test/lint/rules" "$PWD"
}

# breach FILE LINE TEXT: with LINE added, FILE is found, and TEXT said of it.
breach() {
	cp "$1" saved 2> /dev/null || : > saved
	printf '%s\n' "$2" >> "$1"
	run -1 rules
	echo "$output"
	[[ $output == "$1: "*"$3"* ]]
	[ "${#lines[@]}" = 1 ]
	mv saved "$1"
}

@test "lint: a sound tree has no breach" {
	run -0 rules
	[ "$output" = "" ]
}

@test "lint: this tree has no breach" {
	run -0 "$EET_ROOT/test/lint/rules"
}

@test "lint: a module that includes what is above it is named" {
	breach lib/bytes.h '#include "wire.h"' 'includes wire.h, may include: nothing'
	breach lib/wire.h '#include "wav.h"' 'includes wav.h, may include: bytes'
	breach lib/wire.c '  #  include <wav.h> /* hidden */' 'includes wav.h'
	breach lib/wav.c '#include "cli.h"' 'includes cli.h'
	breach lib/wire.c '#include "lib/bytes.h"' 'by a path'
}

@test "lint: a module without a row is named" {
	touch lib/other.c
	run -1 rules
	[[ $output == 'lib/other.c: no row'* ]]
}

@test "lint: a foreign header in the wrong place is named" {
	breach lib/wire.c '#include <sndfile.h>' 'sndfile.h'
	breach cmd/eet-listen/main.c '#include <sndfile.h>' 'sndfile.h'
	breach lib/wav.c '#include <uv.h>' 'uv.h'
	breach cmd/eet-wav.c '#include <libwebsockets.h>' 'libwebsockets.h'
	breach cmd/eet-wav.c '#include "eet-listen/server.h"' "another program's"
}

@test "lint: a library that prints or exits is named" {
	breach lib/wav.c 'void f(void) { printf("x"); }' 'calls printf()'
	breach lib/wav.c 'void f(FILE *f) { fputs("x", stderr); }' 'standard output or error'
	breach lib/wav.c 'void f(void) { write(STDOUT_FILENO, "x", 1); }' 'standard output'
	breach lib/wav.c 'void f(void) { exit (1); }' 'calls exit()'
	breach lib/wav.c 'void f(void) { _exit(1); }' 'calls _exit()'
	breach lib/wav.c 'void f(void) { perror("x"); }' 'calls perror()'
}

@test "lint: a pure module that allocates or reads is named" {
	breach lib/wire.c 'void f(void) { malloc(1); }' 'calls malloc()'
	breach lib/wire.c 'void f(void) { read(0, 0, 0); }' 'calls read()'
}

@test "lint: a folder of somebody's machine is named" {
	breach doc/text 'see /''home/me/eet' "names a machine's folder"
	breach doc/text 'cd "/''root/x"' "names a machine's folder"
}

@test "lint: a program that links what is not its own is named" {
	mkdir bin
	echo 'int main(void) { return 0; }' > main.c
	cc -o bin/eet-demux main.c
	run -0 "$EET_ROOT/test/lint/links" bin
	[ "$output" = "" ]
	cc -Wl,--no-as-needed -o bin/eet-demux main.c -lsndfile
	run -1 "$EET_ROOT/test/lint/links" bin
	[[ $output == 'bin/eet-demux: links libsndfile'* ]]
	mv bin/eet-demux bin/eet-wav
	run -0 "$EET_ROOT/test/lint/links" bin
	cc -Wl,--no-as-needed -o bin/eet-wav main.c -luv
	run -1 "$EET_ROOT/test/lint/links" bin
	[[ $output == 'bin/eet-wav: links libuv'* ]]
}
