#!/usr/bin/env bats
# The shells' completions: what --help lists is completed, and nothing else.
# shellcheck disable=SC2016,SC2154 # scripts for other shells; the helper and `run` set variables
load helper

setup() {
	eet_setup
	completions=$EET_ROOT/cmd/completions
	mkdir bin
	ln -s /usr/bin/python3 bin/python3 # which the client is for
	PATH=$PWD/bin:$EET_ROOT/client:$PATH
}

programs() {
	local program

	for program in "$EET_BIN"/*; do
		echo "${program##*/}"
	done
	echo stream_client.py
}

# The options in a program's --help, as a reader finds them: in front of the texts.
help_options() {
	"$1" --help | grep -E '^ +-' | sed -E 's/^ +//; s/  .*//' |
		grep -oE -e '(^|[ ,])--?[a-zA-Z0-9][a-z0-9-]*' | tr -d ' ,' | sort -u
}

# complete WORD...: what bash offers for the last one, as it splits words at = and :.
complete_words() {
	bash -c '
		source "$0"
		COMP_WORDS=("$@")
		COMP_CWORD=$(($# - 1))
		COMPREPLY=()
		_eet "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
		[ ${#COMPREPLY[@]} = 0 ] || printf "%s\n" "${COMPREPLY[@]}"
	' "$completions/eet.bash" "$@" | sort -u
}

@test "completions: bash and zsh know all programs, and no others" {
	programs | sort > want
	bash -c 'source "$0"; complete -p' "$completions/eet.bash" | grep -oE '[^ ]+$' | sort > have
	diff want have
	sed -n '1s/#compdef //p' "$completions/_eet" | tr ' ' '\n' | sort | diff have -
}

@test "completions: bash offers each program's options, and no others" {
	local program

	while read -r program; do
		help_options "$program" > want
		grep -qx -e --version want
		complete_words "$program" - | diff want -
		complete_words "$program" file -- | diff <(grep -e ^-- want) -
	done < <(programs)
	[ "$(complete_words eet-info --la)" = --layout ]
	# Not behind --, and not for operands.
	[ -z "$(complete_words eet-info -- -)" ]
	[ -z "$(complete_words eet-info a)" ]
}

@test "completions: bash offers an option's values, which the program takes" {
	local layout

	mkdir folder
	: > file
	[ "$(complete_words eet-wav --layout '' | tr '\n' ' ')" = "bare dvi4 state state-high wav " ]
	[ "$(complete_words eet-wav --layout = s | tr '\n' ' ')" = "state state-high " ]
	[ "$(complete_words eet-wav --layout = | wc -l)" = 5 ]
	for layout in $(complete_words eet-wav --layout ''); do
		eet-info --layout "$layout" /dev/null
	done
	for codec in $(complete_words eet-wav --codec ''); do
		eet-info -r 8000 -c 1 -n 160 --codec "$codec" /dev/null
	done
	for kind in $(complete_words eet-wav --gaps ''); do
		eet-wav -q --gaps "$kind" "$EET_ROOT/data/logs/gap.eet" > /dev/null
	done
	for when in $(complete_words eet-rotate --sync ''); do
		eet-rotate --sync "$when" out < /dev/null
	done
	[ "$(complete_words eet-wav --gaps '' | wc -l) $(complete_words eet-rotate --sync '' | wc -l)" = "2 2" ]
	[ "$(complete_words stream_client.py --speed '' | tr '\n' ' ')" = "1 max " ]
	# A short option takes what the long one does.
	[ "$(complete_words eet-wav -d f)" = folder ]
	[ "$(complete_words eet-wav --directory f)" = folder ]
	[ "$(complete_words eet-wav -o f | tr '\n' ' ')" = "file folder " ]
	[ "$(complete_words eet-rotate --exec eet-rot)" = eet-rotate ]
	[ -z "$(complete_words eet-rotate -t '')" ]
	[ "$(complete_words eet-listen -- eet-rot)" = eet-rotate ]
}

# What zsh is told: one specification a line.
zsh_specs() {
	zsh -fc '
		setopt extendedglob # as completions have it
		_call_program() { shift; eval "$@"; }
		_arguments() { print -rl -- "$@"; }
		words=($1)
		source $0
	' "$completions/_eet" "$1"
}

@test "completions: zsh offers each program's options, and no others" {
	local program

	command -v zsh > /dev/null || skip "needs zsh"
	zsh -n "$completions/_eet"
	while read -r program; do
		zsh_specs "$program" > specs
		help_options "$program" | diff - <(sed -nE 's/^\*(--?[a-zA-Z0-9][a-z0-9-]*).*/\1/p' specs | sort -u)
	done < <(programs)
	zsh_specs eet-wav > specs
	grep -qx '\*--layout=\[.*\]:LAYOUT:(state state-high dvi4 wav bare)' specs
	grep -qx '\*-d+\[one WAV per recording, in DIR\]:DIR:_files -/' specs
	grep -qx '\*--recover\[.*\]' specs
	zsh_specs stream_client.py | grep -q '^\*--speed=\[.*\]:{1,max}:(1 max)$'
}

# In a terminal of zsh's own, a line and TAB: what stands in it then.
@test "completions: zsh completes a line" {
	command -v zsh > /dev/null || skip "needs zsh"
	run -0 zsh -fc '
		zmodload zsh/zpty
		zpty shell zsh -f -i
		say() { zpty -w shell "$@"; }
		until_seen() { local seen; zpty -r -m shell seen "*$1*" && print -r -- "$seen"; }
		say "PS1=; fpath=($0 \$fpath); autoload -Uz compinit; compinit -u -D; echo rea\"\"dy"
		until_seen ready > /dev/null
		zpty -w -n shell $'"'"'eet-info --reind\t'"'"'
		until_seen "--reindex" > /dev/null && print completed
		zpty -d shell
	' "$completions"
	[ "$output" = completed ]
}

@test "completions: they are installed where the shells look for them" {
	grep -q 'share/bash-completion/completions' "$EET_ROOT/Makefile"
	make -s -C "$EET_ROOT" B="${EET_BIN%/bin}" DESTDIR="$PWD/root" PREFIX=/usr install-completions
	while read -r program; do
		cmp "root/usr/share/bash-completion/completions/$program" "$completions/eet.bash"
	done < <(programs)
	cmp root/usr/share/zsh/site-functions/_eet "$completions/_eet"
}
