#!/usr/bin/env bats
# The main job, all programs together: streams in, rotating files out, and nothing lost on the way.
# shellcheck disable=SC2035,SC2154 # names of our own; the helper and `run` set variables
load helper

logs=$EET_ROOT/test/logs.py
data=$EET_ROOT/data

# Ten streams of all sorts; c and d have one stream_id.
setup_file() {
	cd "$BATS_FILE_TMPDIR" || return
	"$logs" pcm "$data/speech_8k.wav" n=160 id=1 > a.eet
	"$logs" pcm "$data/stereo_44k1.wav" n=441 id=2 > b.eet
	"$logs" state "$data/speech_8k.wav" n=160 id=3 > c.eet
	"$logs" state "$data/sine_pcm16.wav" n=320 id=3 > d.eet
	"$logs" state "$data/stereo_44k1.wav" n=882 id=4 > e.eet
	"$logs" pcm "$data/noise_48k.wav" n=960 id=5 > f.eet
	"$logs" state "$data/noise_48k.wav" n=480 id=4294967295 > g.eet
	"$logs" pcm "$data/sine_pcm16.wav" n=1000 id=0 > h.eet
	# Two that send the same bytes, handshake and all.
	cp a.eet i.eet
	cp e.eet j.eet
}

setup() {
	eet_setup
	cp "$BATS_FILE_TMPDIR"/*.eet .
}

send() {
	"$EET_ROOT/test/send.py" "$@"
}

# start_pipeline OPTION...: eet-listen | eet-rotate OPTION...
start_pipeline() {
	mkfifo pipe
	in=pipe spawn rotate eet-rotate "$@"
	out=pipe start_listen
}

stop_pipeline() {
	stop listen
	[ "$status" = 0 ]
	finish rotate
	[ "$status" = 0 ]
}

# eet-wav makes the same of each .eet as the recording did.
same_wavs() {
	local eet

	for eet in "$1"/*.eet; do
		eet-wav -q "$eet" | cmp - "${eet%.eet}.wav"
	done
}

@test "record: parallel streams of all sorts through a pipe" {
	start_pipeline -s 40k out
	run -0 send "$url" ?.eet
	stop_pipeline
	"$logs" spool out ?.eet
	[ "$(find out -name '*.eet' | wc -l)" -gt 20 ]
	same_wavs out
	# One WAV for each recording, and it is all of it.
	eet-wav -q -d wav out
	[ "$(find wav -name '*.wav' | wc -l)" = 10 ]
	"$logs" wav wav/stream_2_*.wav | cmp - <("$logs" wav "$data/stereo_44k1.wav")
	"$logs" wav wav/stream_4294967295_*.wav | cmp - <("$logs" sox g.eet state)
}

@test "record: the same with --spool, rotating by time, while clients send in real time" {
	local client=$EET_ROOT/client/stream_client.py

	start_listen --spool out -t 300ms
	for codec in pcm adpcm; do
		spawn "$codec" /usr/bin/python3 "$client" -q --url "$url/$codec" --realtime --streams 3 \
			--codec "$codec" --wav "$data/noise_48k.wav"
	done
	finish pcm
	[ "$status" = 0 ]
	finish adpcm
	[ "$status" = 0 ]
	stop listen
	[ "$status" = 0 ]
	# On a busy machine frames come late and in bursts, but never past a boundary.
	[ "$(find out -name '*.wav' | wc -l)" -ge 12 ]
	[ "$(jq -s 'map(select(.event == "segment") | .last_us - .first_us) | max < 300000' \
		out/index.jsonl)" = true ]
	[ "$(jq -s 'map(select(.event == "session")) | length' out/index.jsonl)" = 6 ]
	eet-wav -q -d wav out
	"$logs" state "$data/noise_48k.wav" n=960 > sent.eet
	for id in 1 2 3; do
		"$logs" wav wav/stream_${id}_pcm_*.wav | cmp - <("$logs" wav "$data/noise_48k.wav")
		"$logs" wav wav/stream_${id}_adpcm_*.wav | cmp - <("$logs" sndfile sent.eet state)
	done
}

@test "record: --spool and a replay of its capture are the same files, each time" {
	start_listen --spool a -o cap -t 50ms -s 30k
	run -0 send "$url/kitchen:1" ?.eet
	# One that dies, one that is refused, one without frames.
	head -c 1000 d.eet > torn.eet
	spawn dies "$EET_ROOT/test/send.py" --hold "$url" d.eet
	wait_for grep -q acked dies.out
	kill -KILL "$pid"
	finish dies
	{ head -c 2000 a.eet && head -c 32 a.eet; } > second.eet
	run -1 send "$url" torn.eet
	handshake adpcm 9 > empty.eet
	run -0 send "$url" empty.eet
	stop listen
	[ "$status" = 0 ]
	eet-rotate -q -t 50ms -s 30k b < cap
	diff -r a b
	eet-rotate -q -t 50ms -s 30k c < cap > list
	diff -r a c
	same_wavs a
	[ "$(jq -s 'map(select(.event == "session")) | length' a/index.jsonl)" = 13 ]
	# The list is the spool's, too.
	sed 's,^c/,a/,' list | diff listen.out -
}

@test "record: a capture of one process is what the pipe carries" {
	mkfifo pipe
	in=pipe spawn tee bash -c 'tee all.log | eet-rotate -q out'
	out=pipe start_listen
	run -0 send "$url" a.eet e.eet
	stop listen
	[ "$status" = 0 ]
	finish tee
	[ "$status" = 0 ]
	eet-rotate -q again < all.log
	diff -r out again
	"$logs" spool out a.eet e.eet
}

@test "record: SIGTERM: all that was read is stored, clients see 1001" {
	start_pipeline out
	spawn send "$EET_ROOT/test/send.py" --hold "$url" ?.eet
	wait_for acked 10
	stop_pipeline
	finish send
	[ "$(grep -c ' closed 1001' send.out)" = 10 ]
	"$logs" spool out ?.eet
	[ "$(jq -r 'select(.event == "session") | .close_code' out/index.jsonl | sort -u)" = 1001 ]
}

# acked N: send.py has told so often that something is stored.
acked() {
	[ "$(grep -c ' acked ' send.out)" -ge "$1" ]
}

@test "record: Ctrl-C with --spool, in mid-flow: what was read is stored, exit 0" {
	start_listen --spool out -s 30k
	spawn send "$EET_ROOT/test/send.py" --acks 50 --repeat 1000 "$url" [a-h].eet
	wait_for acked 50
	stop listen INT
	[ "$status" = 0 ]
	finish send
	[ "$(grep -c ' closed 1001' send.out)" = 8 ]
	"$logs" acked out send.out [a-h].eet
}

@test "record: a spool that is removed ends it: clients see 1011, exit 1" {
	start_listen --spool out -s 30k
	spawn send "$EET_ROOT/test/send.py" --acks 50 --repeat 1000 "$url" [a-h].eet
	wait_for acked 10
	wait_for rm -r out # it may fill again meanwhile
	finish send
	[ "$(grep -c ' closed 1011' send.out)" = 8 ]
	finish listen
	[ "$status" = 1 ]
	grep -q '^eet-listen: out/.*: No such file or directory$' listen.err
}
