# bash completion for all programs, from what their --help says: options, and what they take.
# shellcheck shell=bash disable=SC2207 # no word that is completed here has blanks

# _eet_options PROGRAM: each option in its --help and the name of its value, if it takes one.
_eet_options() {
	"$1" --help 2> /dev/null < /dev/null | awk '/^ +-/ {
		sub(/^ +/, ""); sub(/  .*/, "")
		n = split($0, items, ", "); short = ""
		for (i = 1; i <= n; i++) {
			value = ""; split(items[i], words, " ")
			if (2 in words) value = words[2]
			# What stands behind the long name goes for the short one before it, too.
			if (short != "") print short, words[1] ~ /^--/ ? value : ""
			short = ""
			if (words[1] ~ /^--/ || value != "") print words[1], value
			else short = words[1]
		}
		if (short != "") print short
	}'
}

# _eet_value NAME CUR: the words that a value of that name may be.
_eet_value() {
	case $1 in
	LAYOUT) compgen -W 'state state-high dvi4 wav bare' -- "$2" ;;
	CODEC) compgen -W 'pcm adpcm' -- "$2" ;;
	KIND) compgen -W 'silence skip' -- "$2" ;;
	WHEN) compgen -W 'segment none' -- "$2" ;;
	\{*\}) compgen -W "$(tr -d '{}' <<< "${1//,/ }")" -- "$2" ;;
	DIR) compgen -d -- "$2" ;;
	CMD) compgen -c -- "$2" ;;
	FILE) compgen -f -- "$2" ;;
	esac
}

_eet() {
	local program=$1 cur=$2 prev=$3 options value i

	COMPREPLY=()
	# --option=value is three words to bash.
	if [ "$cur" = = ]; then
		cur=
	elif [ "$prev" = = ]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	for ((i = 1; i < COMP_CWORD; i++)); do
		[ "${COMP_WORDS[i]}" = -- ] || continue
		# eet-listen's command; elsewhere, operands.
		[ "${program##*/}" = eet-listen ] && [ "$i" = $((COMP_CWORD - 1)) ] &&
			COMPREPLY=($(compgen -c -- "$cur"))
		return
	done
	options=$(_eet_options "$program")
	value=$(awk -v option="$prev" '$1 == option { print $2 }' <<< "$options")
	if [ -n "$value" ]; then
		[[ $value != DIR && $value != FILE ]] || compopt -o filenames 2> /dev/null
		mapfile -t COMPREPLY < <(_eet_value "$value" "$cur")
	elif [[ $cur == -* ]]; then
		COMPREPLY=($(compgen -W "$(cut -d' ' -f1 <<< "$options")" -- "$cur"))
	fi
}

complete -o bashdefault -o default -F _eet \
	eet-listen eet-rotate eet-demux eet-adpcm eet-wav eet-info stream_client.py
