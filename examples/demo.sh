#!/bin/bash
# demo.sh [DIR]: four audio files are streamed in real time, as PCM and ADPCM, and become rotating
# files in DIR (build/demo, made anew).  Ends by itself after some five seconds; fails when
# something went wrong or nothing was recorded.
#
# PYTHON: the Python that has websockets (/usr/bin/python3).  EET_BIN: where the programs are.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
PATH=${EET_BIN:-$root/build/bin}:$PATH
python=${PYTHON:-/usr/bin/python3}
out=${1:-$root/build/demo}
[ $# -gt 0 ] || rm -rf "$out"
mkdir -p "$out"
temporary=$(mktemp -d)

# The first process of a background pipeline, eet-listen, ends the others with it.
cleanup() {
	local jobs

	jobs=$(jobs -p)
	# shellcheck disable=SC2086 # one word each
	[ -z "$jobs" ] || kill $jobs 2>/dev/null || :
	wait
	rm -rf "$temporary"
}
trap cleanup EXIT

started=$EPOCHREALTIME
say() {
	local us=$((${EPOCHREALTIME/[.,]/} - ${started/[.,]/}))

	printf '%3d.%d s  %s\n' $((us / 1000000)) $((us / 100000 % 10)) "$1"
}

# client FILE OPTION...: stream a file at the speed at which it would be played.
client() {
	say "stream $1 ${*:2}"
	"$python" "$root/client/stream_client.py" --quiet --realtime --url "$url" \
		--wav "$root/data/$1" "${@:2}"
}

say "eet-listen localhost:0 | eet-rotate -t 2 $out"
mkfifo "$temporary/ready"
eet-listen -q localhost:0 --sessions 4 --idle-exit 20 --ready-fd 4 4> "$temporary/ready" |
	eet-rotate -t 2 "$out" |
	while read -r file; do
		say "complete: ${file##*/}"
	done &
recording=$!
read -r -t 20 url < "$temporary/ready"
say "listening on $url"

clients=()
client speech_8k.wav --codec pcm --stream-id-base 1 &
clients+=($!)
client sine_pcm16.wav --codec adpcm --stream-id-base 2 &
clients+=($!)
client stereo_44k1.wav --codec adpcm --stream-id-base 3 &
clients+=($!)
client noise_48k.wav --codec pcm --stream-id-base 4 &
clients+=($!)
for pid in "${clients[@]}"; do
	wait "$pid"
done
wait "$recording"

echo
eet-wav -q -d "$out/wav" "$out"
(cd "$out" && ls -l ./*.eet ./*.wav wav/*)
echo
"$python" - "$out"/wav/stream_1_*.wav "$root/data/speech_8k.wav" <<'PYTHON'
import sys, wave

with wave.open(sys.argv[1]) as heard, wave.open(sys.argv[2]) as sent:
    print("To play:", sys.argv[1])
    print(f"{heard.getnframes() / heard.getframerate():.3f} s, {heard.getframerate()} Hz,",
          f"{heard.getnchannels()} channel,", 8 * heard.getsampwidth(), "bit")
    if heard.readframes(-1) != sent.readframes(-1):
        sys.exit("which is not what was sent")
    print("Its segments joined, it is", sys.argv[2], "again, sample for sample.")
PYTHON
