#!/bin/sh
# Makes the WAV files of this folder; README.md says what they are.
# Needs sox and espeak-ng.  Same versions of these, same bytes: -R seeds sox's random numbers
# the same each time, -D leaves dither out, and nothing writes a date.
set -eu
cd "$(dirname "$0")"

temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT

sox -R -D -n -r 16000 -c 1 -b 16 sine_pcm16.wav synth 3 sine 440 gain -6

sox -R -D -n -r 44100 -c 2 -b 16 stereo_44k1.wav synth 1.5 sine 330 sine 200-6000 \
	tremolo 3 60 gain -6

espeak-ng -v en -s 160 -w "$temporary/speech.wav" \
	'Every frame that was sent is in the log, and in order.'
sox -R -D "$temporary/speech.wav" -r 8000 -c 1 -b 16 speech_8k.wav gain -n -3

sox -R -D -n -r 48000 -c 1 -b 16 noise_48k.wav synth 1 pinknoise gain -n -6
