#!/usr/bin/env bats
# eet-adpcm: PCM in, ADPCM out, and back.
# Where a file goes through cat, a pipe is wanted.
# shellcheck disable=SC2002,SC2016,SC2154
load helper

setup() {
	eet_setup
	logs=$EET_ROOT/test/logs.py
	data=$EET_ROOT/data
	golden=$EET_ROOT/data/logs
}

# The samples of a WAV of ours with exact sizes: fails on any other.
samples() {
	"$logs" wav "$@"
}

size() {
	stat -c %s "$1"
}

at_least() {
	[ -e "$2" ] && [ "$(size "$2")" -ge "$1" ]
}

no_leftovers() {
	[ -z "$(find . -name '.eet-adpcm*')" ]
}

# reading PID: it waits for input; so it has taken its signals over.
reading() {
	cat "/proc/$1/task"/*/wchan | grep -q poll
}

# snr SOURCE HEARD: how much stronger the source is than what differs from it, in whole dB.
snr() {
	/usr/bin/python3 - "$1" "$2" <<-'END'
		import array, math, sys, wave
		a, b = (array.array("h", wave.open(name).readframes(1 << 30)) for name in sys.argv[1:])
		assert len(a) <= len(b) < len(a) + 16, (len(a), len(b))
		error = sum((x - y) ** 2 for x, y in zip(a, b))
		print(int(10 * math.log10(sum(x * x for x in a) / error)) if error else 99)
	END
}

# records LOG: of a mux log or frame log, one line per record, without the payloads.
records() {
	/usr/bin/python3 - "$1" <<-'END'
		import struct, sys
		data, at = open(sys.argv[1], "rb").read(), 0
		def frame(p):
		    magic, length, seq = struct.unpack_from("<III", p)
		    return f"{magic:x} seq {seq}" + (" empty" if length == 0 else "")
		while at < len(data):
		    magic, length = struct.unpack_from("<II", data, at)
		    if magic == 0x4D544545:
		        session, kind, flags, time = struct.unpack_from("<IHHQ", data, at + 8)
		        body = data[at + 24:at + 12 + length]
		        what = frame(body) if kind == 2 else body.hex()
		        print(session, kind, flags, time, what)
		        at += 12 + length
		    elif magic == 0x41445043:
		        print(data[at:at + 32].hex())
		        at += 32
		    else:
		        print(frame(data[at:at + 12]))
		        at += 12 + length
	END
}

# --- how it sounds ---

@test "adpcm: encoded and decoded, it is what sox, libsndfile and audioop decode from the same blocks" {
	local wav n effort by layout

	for wav in speech_8k stereo_44k1; do
		for effort in 0 1 3; do
			for n in 2 161 441; do
				eet-adpcm -e -Q $effort -n $n "$data/$wav.wav" > log
				eet-adpcm -d log | eet-wav -q -o out.wav
				"$logs" samples log state | cmp - <(samples out.wav)
				[ "$n" = 441 ] || continue
				for by in sox sndfile; do
					"$logs" "$by" log state | cmp - <(samples out.wav)
				done
				eet-adpcm -e -Q $effort -n $n -l wav "$data/$wav.wav" > log
				eet-adpcm -d log | eet-wav -q -o out.wav
				"$logs" sox log wav | cmp - <(samples out.wav)
			done
		done
	done
}

@test "adpcm: the pipeline of the manual gives what was put in, at -Q 0 as the greedy encoders, better above" {
	local greedy default best

	cp "$data/speech_8k.wav" song.wav
	eet-adpcm -e < song.wav | eet-adpcm -d | eet-wav > heard.wav
	default=$(snr song.wav heard.wav)
	eet-adpcm -e -Q 0 < song.wav | eet-adpcm -d | eet-wav > heard.wav
	greedy=$(snr song.wav heard.wav)
	eet-adpcm -e -Q 4 song.wav | eet-wav > heard.wav
	best=$(snr song.wav heard.wav)
	echo "greedy $greedy, default $default, best $best"
	[ "$greedy" -ge 19 ]
	[ "$default" -ge $((greedy + 2)) ]
	[ "$best" -ge "$default" ]
}

@test "adpcm: golden logs decode as by eet-wav, from a file and from a pipe, as logs and as samples" {
	local log layout rate channels sha count=0

	while IFS=$'\t' read -r log _ layout rate channels _ _ _ sha; do
		[ "$log" != log ] || continue
		count=$((count + 1))
		echo "$log"
		eet-adpcm -d "$golden/$log" > pcm.eet
		eet-wav -q -o out.wav pcm.eet
		[ "$(samples out.wav | sha256sum)" = "$sha  -" ]
		eet-adpcm -q -d --raw "$golden/$log" > raw
		[ "$(sha256sum < raw)" = "$sha  -" ]
		# Nobody knows how many silent samples a frame without header has before there is sound.
		[ "$layout" != bare ] || continue
		cat "$golden/$log" | eet-adpcm -d | cmp - pcm.eet
		cat "$golden/$log" | eet-adpcm -q -d --raw | cmp - raw
	done < "$golden/expected.tsv"
	[ "$count" -ge 15 ]
}

@test "adpcm: readers find the layout that was written, from the first frames on" {
	local layout effort name out

	/usr/bin/python3 - <<-'END'
		import array, math, random
		random.seed(3)
		kinds = {
		    "silence": lambda i: 0,
		    "constant": lambda i: 1000,
		    "quiet": lambda i: random.choice((-1, 0, 0, 0, 0, 0, 0, 1)),
		    "slow": lambda i: int(500 * math.sin(i * 0.0005)),
		    "noise": lambda i: random.randint(-32768, 32767),
		    "bursts": lambda i: int(8000 * math.sin(i * 0.2)) if i // 3000 % 2 else 0,
		    "square": lambda i: 20000 if i // 400 % 2 else -20000,
		}
		for name, f in kinds.items():
		    for frames in 2, 5, 70:
		        samples = [f(i) for i in range(frames * 160 - 50) for c in range(1)]
		        open(f"{name}.{frames}.raw", "wb").write(array.array("h", samples).tobytes())
	END
	for layout in state wav; do
		for effort in 0 1; do
			for name in *.raw; do
				echo "$name $layout $effort"
				out=$(eet-adpcm -e --raw -r 8000 -c 1 -l $layout -Q $effort "$name" 2>&1 > log)
				[ -z "$out" ]
				run -0 --separate-stderr eet-wav -v -o out.wav log
				[[ $stderr == *"ADPCM layout $layout ("* ]]
			done
		done
	done
	# A single block says too little: it is said.
	head -c 300 noise.5.raw | eet-adpcm -e --raw -r 8000 -c 1 -l wav 2> err > log
	[[ $(cat err) == *"session 1: its blocks will be taken for layout state: readers need --layout wav" ]]
	run -0 --separate-stderr bash -c 'eet-adpcm -v -d --layout wav log > pcm.eet'
	[[ $stderr == *"ADPCM layout wav (given)"* ]]
}

# --- what comes in ---

@test "adpcm: the same samples give the same bytes, as a file, through a pipe, and raw" {
	cp "$data/stereo_44k1.wav" song.wav
	eet-adpcm -e song.wav > log
	eet-adpcm -e < song.wav | cmp - log
	cat song.wav | eet-adpcm -e | cmp - log
	mkfifo fifo
	cat song.wav > fifo &
	eet-adpcm -e fifo | cmp - log
	tail -c +45 song.wav > song.raw
	eet-adpcm -e --raw -r 44100 -c 2 song.raw | cmp - log
	cat song.raw | eet-adpcm -e --raw -r 44100 -c 2 - | cmp - log
	"$logs" pcm song.wav n=882 > pcm.eet
	eet-adpcm -e pcm.eet | cmp - log
	cat pcm.eet | eet-adpcm -e | cmp - log
	for type in flac aiff au w64; do
		sndfile-convert song.wav song.$type
		eet-adpcm -e song.$type | cmp - log
	done
	for type in aiff au w64; do
		cat song.$type | eet-adpcm -e | cmp - log
	done
	# A WAV whose size nobody knew.
	cat pcm.eet | eet-wav | cat | eet-adpcm -e | cmp - log
}

@test "adpcm: finer samples are converted to 16 bit, floats scaled and clipped; -v says so" {
	local type

	cp "$data/stereo_44k1.wav" song.wav
	eet-adpcm -e song.wav > log
	for type in "-b 24" "-b 32" "-e float -b 32" "-e float -b 64"; do
		# shellcheck disable=SC2086 # options
		sox song.wav $type fine.wav
		run -0 --separate-stderr eet-adpcm -v -e -o small.wav fine.wav
		[[ $stderr == *"fine.wav: WAV"*", 44100 Hz, channels 2, converted to 16 bit"* ]]
		eet-adpcm -e fine.wav | cmp - log
		cat fine.wav | eet-adpcm -e | cmp - log
	done
	run -0 --separate-stderr eet-adpcm -v -e -o small.wav song.wav
	[[ $stderr == *"song.wav: WAV"*", Signed 16 bit PCM, 44100 Hz, channels 2"* ]]
	[[ $stderr != *converted* ]]
	sox -v 1.5 -D song.wav -e float -b 32 loud.wav
	/usr/bin/python3 - <<-'END'
		import struct
		body = struct.pack("<6f", 0, 2, -3, float("nan"), 1, -1)
		open("wild.wav", "wb").write(b"RIFF" + struct.pack("<I", 36 + len(body)) + b"WAVEfmt " +
		    struct.pack("<IHHIIHH", 16, 3, 1, 8000, 32000, 4, 32) + b"data" +
		    struct.pack("<I", len(body)) + body)
	END
	run -0 --separate-stderr eet-adpcm -e -o small.wav wild.wav
	[ "$stderr" = "eet-adpcm: wild.wav: values too large for 16 bit, which are clipped: 2" ]
}

@test "adpcm: a new log's handshake is what the options say" {
	head -c 3200 /dev/zero > raw
	run -0 bash -c "eet-adpcm -e --raw -r 16000 -c 1 raw | head -c 32 | xxd -p -c 32"
	[ "$output" = "$(handshake adpcm 1 16000 1 320 0 | xxd -p -c 32)" ]
	run -0 bash -c "eet-adpcm -e --raw -r 11025 -c 2 -n 100 --stream-id 4294967295 --timestamp 1767225600000 raw |
		head -c 32 | xxd -p -c 32"
	[ "$output" = "$(handshake adpcm 4294967295 11025 2 100 1767225600000 | xxd -p -c 32)" ]
	# 20 ms are not always a whole number of samples; in layout wav it is 1 more than a multiple of 8.
	for rate in 8000:160:161 11025:221:225 44100:882:881 48000:960:961 20:1:1 1:1:1; do
		IFS=: read -r rate state wav <<< "$rate"
		eet-adpcm -q -e --raw -r "$rate" -c 1 raw | head -c 22 | tail -c 2 | cmp - <(le16 "$state")
		eet-adpcm -q -e --raw -r "$rate" -c 1 -l wav raw | head -c 22 | tail -c 2 | cmp - <(le16 "$wav")
	done
}

@test "adpcm: what is no audio, cut or empty is 3, with what there is; a missing file 1" {
	echo "this is no audio, and no log either" > text
	run -3 --separate-stderr eet-adpcm -e text
	[[ $stderr == "eet-adpcm: text: neither a log nor audio that can be read: "* ]]
	[ -z "$output" ]
	run -3 --separate-stderr bash -c 'cat text | eet-adpcm -e'
	[[ $stderr == "eet-adpcm: standard input: neither a log nor audio that can be read from a pipe: "* ]]

	ffmpeg -v error -i "$data/stereo_44k1.wav" song.mp3
	eet-adpcm -e song.mp3 | eet-wav -q -o out.wav
	[ "$(soxi -r out.wav)" = 44100 ]
	run -3 --separate-stderr bash -c 'cat song.mp3 | eet-adpcm -e'
	[ "$stderr" = "eet-adpcm: standard input: MP3 can't be read from a pipe" ]

	head -c 100000 "$data/stereo_44k1.wav" > cut.wav
	run -3 --separate-stderr eet-adpcm -e -o cut.out.wav cut.wav
	[ "$stderr" = "eet-adpcm: cut.wav: shorter than its header says" ]
	[ "$(ffprobe -v error -show_entries stream=duration_ts -of csv=p=0 cut.out.wav)" = 24989 ]
	run -3 --separate-stderr bash -c 'cat cut.wav | eet-adpcm -e > cut.eet'
	[ "$stderr" = "eet-adpcm: standard input: ends after 24989 samples, its header says 66150" ]
	eet-wav -o out.wav cut.eet
	[ "$(soxi -s out.wav)" = 24992 ]

	head -c 1001 /dev/zero > odd.raw
	run -3 --separate-stderr bash -c 'eet-adpcm -e --raw -r 8000 -c 2 odd.raw > odd.eet'
	[ "$stderr" = "eet-adpcm: odd.raw: offset 1000: the input ends 1 bytes into a sample of 4" ]
	run -0 bash -c 'eet-adpcm -d --raw odd.eet | wc -c'
	[ "$output" = 1024 ] # 250 samples, of which the last 90 fill a block of 96

	run -1 --separate-stderr eet-adpcm -e missing.wav
	[ "$stderr" = "eet-adpcm: missing.wav: No such file or directory" ]
	run -1 --separate-stderr eet-adpcm -d .
	[ "$stderr" = "eet-adpcm: .: offset 0: Is a directory" ]
	run -1 --separate-stderr eet-adpcm -e .
	[ "$stderr" = "eet-adpcm: .: offset 0: Is a directory" ]
	run -1 --separate-stderr bash -c 'eet-adpcm -e 0<&-'
	[ "$stderr" = "eet-adpcm: standard input: offset 0: Bad file descriptor" ]

	# Nothing is a log, though of nothing.
	run -0 --separate-stderr eet-adpcm -e /dev/null
	[ -z "$output$stderr" ]
	run -0 --separate-stderr eet-adpcm -d /dev/null
	[ -z "$output$stderr" ]
	run -3 --separate-stderr eet-adpcm -e -o none.wav /dev/null
	[ "$stderr" = "eet-adpcm: /dev/null: no audio in it" ]
	[ ! -e none.wav ]
}

# sizes KIND RIFF DATA FILE [BEHIND]: a WAV (RF64, AU, AIFF, W64) of the samples in "audio" whose header
# says these sizes, with a chunk behind its samples or not.
sizes() {
	/usr/bin/python3 - "$@" <<-'END'
		import struct, sys
		kind, riff, data, name = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
		pcm = open("audio", "rb").read()
		fmt = struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
		swapped = b"".join(pcm[i + 1:i - 1 if i else None:-1] for i in range(0, len(pcm), 2))
		if kind in ("RIFF", "RF64"):
		    head = kind.encode() + struct.pack("<I", min(riff, 0xFFFFFFFF)) + b"WAVE"
		    if kind == "RF64":
		        head += b"ds64" + struct.pack("<IQQQI", 28, riff, data, data // 2, 0)
		    head += b"fmt " + fmt + b"data" + struct.pack("<I", data if kind == "RIFF" else 0xFFFFFFFF)
		elif kind == "AU":
		    head, pcm = b".snd" + struct.pack(">IIIII", 24, data, 3, 16000, 1), swapped
		elif kind == "AIFF":
		    head = b"FORM" + struct.pack(">I", riff) + b"AIFFCOMM"
		    head += struct.pack(">IhIhHQ", 18, 1, data // 2, 16, 0x400C, 0xFA << 56)
		    head += b"SSND" + struct.pack(">III", data + 8, 0, 0)
		    pcm = swapped
		else:
		    guid = lambda s, t: s + bytes.fromhex(t)
		    tail = "f3acd3118cd100c04f8edb8a"
		    head = guid(b"riff", "2e91cf11a5d628db04c10000") + struct.pack("<Q", riff) + guid(
		        b"wave", tail) + guid(b"fmt ", tail) + struct.pack("<Q", 40) + fmt[4:] + guid(
		        b"data", tail) + struct.pack("<Q", data)
		behind = b"LIST" + struct.pack("<I", 12) + b"INFOISFT\0\0\0\0" if len(sys.argv) > 5 else b""
		open(name, "wb").write(head + pcm + behind)
	END
}

@test "adpcm: a file that is cut within its header is no empty log: exit 3" {
	sox "$EET_ROOT/data/speech_8k.wav" x.wav trim 0 1
	sox x.wav x.w64
	for file in x.wav x.w64; do
		for n in 40 41 42 43 44 80 96 100 104; do
			head -c $n $file > short
			run -3 --separate-stderr eet-adpcm -e short
			[ -n "$stderr" ]
			run -3 --separate-stderr bash -c 'cat short | eet-adpcm -e'
		done
	done
	# One that holds nothing, and says so, is.
	sox x.wav empty.wav trim 0 0
	run -0 --separate-stderr eet-adpcm -e empty.wav
}

@test "adpcm: files whose writer could not go back to their sizes are read to their end" {
	local kind riff bytes unknown=4294967295 long=18446744073709551615

	samples "$data/speech_8k.wav" | head -c 32000 > audio
	eet-adpcm -e --raw -r 16000 -c 1 audio > expected.eet
	while read -r kind riff bytes; do
		echo "$kind $riff $bytes"
		sizes "$kind" "$riff" "$bytes" in
		eet-adpcm -e in | cmp - expected.eet
		cat in | eet-adpcm -e | cmp - expected.eet
		eet-adpcm -e -o file.wav in
		cat in | eet-adpcm -e -o pipe.wav
		cmp file.wav pipe.wav
	done <<-END
		RIFF 32036 32000
		RIFF 0 0
		RIFF 36 0
		RIFF 32036 0
		RIFF 0 32000
		RIFF 36 32000
		RIFF $unknown $unknown
		RIFF $unknown 0
		RIFF 0 $unknown
		RIFF 2147479588 2147479552
		RIFF 2147483684 2147483648
		RF64 32072 32000
		RF64 0 0
		RF64 $long $long
		RF64 0 $long
		AU 0 32000
		AU 0 0
		AU 0 $unknown
		AIFF 32046 32000
		AIFF 46 0
		AIFF 0 0
		W64 32104 32024
		W64 0 0
		W64 104 24
		W64 9223372036854775807 9223372036854775807
	END

	# A few samples; half a sample at the end; what is behind them is no sound.
	head -c 5 audio > few && mv few audio
	sizes RIFF 0 0 in
	[ "$(eet-adpcm -e in | eet-adpcm -d --raw | wc -c)" = 4 ]
	: > audio
	for bytes in 0 $unknown; do
		sizes RIFF "$bytes" "$bytes" in
		run -0 --separate-stderr bash -c 'eet-adpcm -e in > out'
		[[ $stderr == *"holds no samples" ]]
	done
	sizes RIFF 56 0 in behind
	[ "$(eet-adpcm -q -e in | wc -c)" = 32 ]
	[ "$(cat in | eet-adpcm -q -e | wc -c)" = 32 ]
	head -c 3200 /dev/zero > audio # silence is sound
	sizes RIFF 0 0 in
	[ "$(eet-adpcm -e in | eet-adpcm -d --raw | wc -c)" = 3200 ]
}

@test "adpcm: files shorter than they say are 3, with what there is" {
	local kind riff bytes

	samples "$data/speech_8k.wav" | head -c 32000 > audio
	eet-adpcm -e --raw -r 16000 -c 1 audio > expected.eet
	while read -r kind riff bytes; do
		echo "$kind $riff $bytes"
		sizes "$kind" "$riff" "$bytes" in
		run -3 bash -c 'eet-adpcm -e in > out'
		cmp out expected.eet
		run -3 bash -c 'cat in | eet-adpcm -e > out'
		cmp out expected.eet
	done <<-END
		RIFF 32038 32002
		RIFF 64036 64000
		RF64 64072 64000
		AU 0 64000
		AIFF 64046 64000
		W64 64104 64024
	END
	# Microsoft's ADPCM ends where its size says, or nobody can tell.
	ffmpeg -v error -i "$data/speech_8k.wav" -c:a adpcm_ms -f wav - < /dev/null > ms.wav
	run -3 --separate-stderr bash -c 'cat ms.wav | eet-adpcm -e'
	[[ $stderr == *"can't be read from a pipe" ]]
}

@test "adpcm: files without samples are empty logs" {
	local type

	for type in ogg flac wav aiff au w64 caf; do
		sox -n -r 16000 -c 1 -b 16 empty.$type trim 0 0
		run -0 --separate-stderr bash -c "eet-adpcm -e empty.$type > out"
		[[ $stderr == *"holds no samples" ]]
		[ "$(size out)" = 32 ]
	done
}

@test "adpcm: of an IMA ADPCM WAV, its fact chunk's samples come, and no others, whoever wrote it" {
	local channels writer n bytes

	for channels in 1 2; do
		# A second and a few samples, which end in a block.
		sox -D "$data/stereo_44k1.wav" song.wav channels $channels rate 16000 trim 0 16011s
		sox -D song.wav -e ima-adpcm sox.wav
		eet-adpcm -e -o ours.wav song.wav
		for writer in sox ours; do
			n=$(eet-adpcm -v -e $writer.wav 2>&1 > out | sed -n 's/.* \([0-9.]*\) s, blocks of.*/\1/p')
			[ "$n" = 1.001 ]
		done
		# libsndfile's says half of it for stereo, ffmpeg's all that its blocks hold.
		sndfile-convert -ima-adpcm song.wav sndfile.wav > /dev/null
		ffmpeg -v error -y -i song.wav -c:a adpcm_ima_wav ffmpeg.wav < /dev/null
		for writer in sndfile ffmpeg; do
			n=$(eet-adpcm -q -e $writer.wav | eet-adpcm -q -d --raw | wc -c)
			[ "$n" -ge $((2 * channels * 16011)) ]
			[ "$n" -le $((2 * channels * (16011 + 2041))) ]
		done
		# Cut, and so the last block short: what it holds.  As a file, and through a pipe.
		bytes=$((60 + 20 * 256 * channels + 100 * channels))
		head -c $bytes ours.wav > cut.wav
		run -3 bash -c 'eet-adpcm -e cut.wav > out'
		run -3 bash -c 'cat cut.wav | eet-adpcm -e | cmp - out; exit ${PIPESTATUS[1]}'
		# The log's last block has a multiple of 2 samples, or of 8.
		n=$(($(eet-adpcm -q -d --raw out | wc -c) / 2 / channels))
		[ $n -ge $((20 * 505 + 193)) ]
		[ $n -lt $((20 * 505 + 193 + 8)) ]
	done
}

@test "adpcm: limits of the format are told as usage" {
	sox -n -r 8000 -c 65 wide.wav trim 0 0.01
	run -2 --separate-stderr eet-adpcm -e wide.wav
	[ "$stderr" = "eet-adpcm: wide.wav: 65 channels, at most 64" ]
	sox -n -r 8000 -c 64 wide.wav trim 0 0.05
	eet-adpcm -e wide.wav | eet-adpcm -d | eet-wav -q -o out.wav
	[ "$(soxi -c out.wav)" = 64 ]
	run -2 --separate-stderr eet-adpcm -e --raw -r 768001 -c 1 wide.wav
	run -2 --separate-stderr eet-adpcm -e --raw -r 8000 -c 65 wide.wav
}

# --- logs ---

@test "adpcm: in a log all but codec and payload of the streams that change stays as it is" {
	sed 's/^ *//' > script <<-'END'
		0 OPEN 1 pcm id=7 rate=8000 n=160 ts=55 reserved=9 tag=kitchen peer=10.0.0.1:99
		0.01 OPEN 4 adpcm id=9 rate=8000 ch=2 n=160
		0.02 FRAME 1 seq=4294967294 count=3 step=0
		0.02 FRAME 4 seq=5 count=20 step=0
		0.1 TICK
		0.1 FRAME 1 seq=9 len=101
		0.1 FRAME 1 seq=9 len=0
		0.11 ROTATE
		0.12 OPEN 2 pcm id=7 rate=48000 ch=6 n=960
		0.12 FRAME 2 seq=0 count=2 step=0
		0.13 CLOSE 1 1001 the end
		0.2 FRAME 2 seq=8
		0.3 CLOSE 4 1000
	END
	"$logs" mux < script > all.log
	# A record of a kind that nobody knows yet, with flags.
	{ le32 0x4D544545 15 0; le16 77 3; le64 1769854501000000; printf abc; } >> all.log
	run -0 --separate-stderr bash -c 'eet-adpcm -e all.log > small.log'
	[[ $stderr == "eet-adpcm: all.log: offset "*": session 2 has no CLOSE, ended as 1006" ]]
	records all.log | sed 's/464d4350/41445046/; s/\(^[124] 1 .*\)0000\(a000\|c003\)\(0900\|0000\)/\1XXXX\2\3/
		s/\(^4 1 .*\)0100\(a000\)/\1XXXX\2/' > expected
	records small.log | sed 's/\(^[124] 1 .*\)0100\(a000\|c003\)\(0900\|0000\)/\1XXXX\2\3/' > found
	diff expected found
	[ "$(grep -c XXXX found)" = 3 ]
	cat all.log | eet-adpcm -q -e | cmp - small.log

	# And back: stream 9 is decoded too.
	eet-adpcm -q -d small.log > big.log
	records all.log | sed 's/41445046/464d4350/; s/\(^4 1 .*\)0100\(a000\)/\10000\2/' | diff - <(records big.log)
	cat small.log | eet-adpcm -q -d | cmp - big.log
	eet-wav -q -d wav small.log
	eet-wav -q -d again big.log
	diff -r wav again
}

@test "adpcm: streams of other shapes before it change nothing in a stream" {
	# The samples of the one take as many bytes as those of the other, the blocks do not.
	local shape one number=0

	for shape in "ch=1 n=64" "ch=64 n=1" "ch=1 n=65" "ch=7 n=9" "ch=64 n=2" "ch=2 n=2000" "ch=63 n=9" \
		"ch=1 n=5000" "ch=64 n=65"; do
		number=$((number + 1))
		printf '%s\n' "0 OPEN $number pcm id=$number $shape" \
			"0 FRAME $number count=2 step=0" "0 CLOSE $number 1000" | tee "script$number"
	done > script
	"$logs" mux < script | eet-adpcm -q -e > many
	eet-adpcm -q -d many > back
	for ((one = 1; one <= number; one++)); do
		"$logs" mux < "script$one" | eet-adpcm -q -e | cmp - <(eet-demux -q -S "$one" many)
		cmp <(eet-demux -q -S "$one" back) <(eet-demux -q -S "$one" many | eet-adpcm -q -d)
	done
}

@test "adpcm: streams that have the codec already pass, byte for byte" {
	cmp "$golden/sine_adpcm.eet" <(eet-adpcm -e "$golden/sine_adpcm.eet")
	cmp "$golden/layout-bare.eet" <(cat "$golden/layout-bare.eet" | eet-adpcm -e)
	cmp "$golden/stereo_pcm.eet" <(eet-adpcm -d "$golden/stereo_pcm.eet")
	cat "$golden/stereo_pcm.eet" "$golden/gap.eet" > two.eet
	eet-adpcm -d two.eet > pcm.eet
	head -c "$(size "$golden/stereo_pcm.eet")" pcm.eet | cmp - "$golden/stereo_pcm.eet"
	eet-adpcm -d "$golden/gap.eet" | cmp - <(tail -c +$(($(size "$golden/stereo_pcm.eet") + 1)) pcm.eet)
}

@test "adpcm: gaps, repeats and restarts stay, and sound the same after encoding and decoding" {
	local log

	for log in gap repeat-restart wrap empty-frames; do
		eet-adpcm -d "$golden/$log.eet" > pcm.eet
		eet-adpcm -e pcm.eet > again.eet
		diff <(records "$golden/$log.eet" | tail -n +2 | sed s/464d4350/41445046/) <(records again.eet | tail -n +2)
		eet-wav -q -o a.wav "$golden/$log.eet"
		eet-wav -q -o b.wav again.eet
		[ "$(snr a.wav b.wav)" -ge 15 ]
		run -0 --separate-stderr eet-wav -v -o b.wav again.eet
		[[ $stderr == *"ADPCM layout state ("* ]]
	done
}

@test "adpcm: short frames are filled up with their last sample" {
	handshake pcm 1 8000 2 160 > log
	le16 100 200 300 400 500 600 > payload
	frame pcm 0 payload >> log
	run -0 --separate-stderr bash -c 'eet-adpcm -v -e log > short.eet'
	[[ $stderr == *"log: session 1: short blocks were filled up, by 5 samples"* ]]
	eet-adpcm -d --raw short.eet > raw
	[ "$(size raw)" = 32 ]
	/usr/bin/python3 - <<-'END'
		import struct
		v = struct.unpack("<16h", open("raw", "rb").read())
		assert all(abs(x - 500) < 120 for x in v[8::2]), v
		assert all(abs(x - 600) < 120 for x in v[9::2]), v
	END
	# The chain holds although each block is short.
	"$logs" pcm "$data/speech_8k.wav" n=151 > short.pcm
	{ handshake pcm 1 8000 1 160; tail -c +33 short.pcm; } > log
	run -0 --separate-stderr bash -c 'eet-adpcm -e log | eet-wav -v -o out.wav'
	[[ $stderr == *"ADPCM layout state (chain)"* ]]
}

@test "adpcm: damaged logs are 3, with the offset, and what is before it; --recover goes on" {
	local log offset

	for log in cut.eet badlen.eet badmagic.eet cut.mux garbage.mux notopen.mux badindex.eet; do
		run -3 --separate-stderr bash -c "eet-adpcm -q -d '$golden/$log' > file.log"
		[[ $stderr == "eet-adpcm: $golden/$log: offset "* ]]
		offset=$(grep -o 'offset [0-9]*' <<< "$stderr" | head -n 1)
		run -3 --separate-stderr bash -c "cat '$golden/$log' | eet-adpcm -q -d > pipe.log"
		[[ $stderr == "eet-adpcm: standard input: $offset:"* ]]
		cmp file.log pipe.log
		eet-wav -q -d before "$golden/$log" 2> /dev/null || [ $? = 3 ]
		run -0 eet-wav -q -d after file.log
		diff <(cat before/*.wav | md5sum) <(cat after/*.wav | md5sum)
		rm -r before after
		run -3 --separate-stderr bash -c "eet-adpcm -q -d --recover '$golden/$log' > more.log"
		[ "$(size more.log)" -ge "$(size file.log)" ]
	done
	[[ $stderr == *"session 1, frame seq 4: ADPCM block is too short for its header, or its step index not 0 to 88" ]]
	# A log is what --recover makes of it.
	{ echo garbage; cat "$golden/stereo_pcm.eet"; } > log
	run -3 --separate-stderr eet-adpcm -e log
	[[ $stderr == *"neither a log nor audio"* ]]
	run -3 --separate-stderr bash -c 'eet-adpcm -e --recover log > out.eet'
	[[ $stderr == "eet-adpcm: log: offset 0: "*"skipped, up to offset 8" ]]
	cmp out.eet <(eet-adpcm -e "$golden/stereo_pcm.eet")
}

@test "adpcm: a log without handshake gets one" {
	tail -c +33 "$golden/stereo_pcm.eet" > headless
	run -3 --separate-stderr eet-adpcm -e headless
	[[ $stderr == *"give -r RATE -c CHANNELS -n FRAME_SAMPLES" ]]
	eet-adpcm -e -r 44100 -c 2 -n 882 headless > out.eet
	eet-wav -q -o a.wav out.eet
	eet-adpcm -e "$golden/stereo_pcm.eet" | eet-wav -q -o b.wav
	cmp a.wav b.wav
	eet-adpcm -d -r 44100 -c 2 -n 882 headless > out.eet # what passes does, too
	eet-wav -q -o a.wav out.eet
	eet-wav -q -o b.wav "$golden/stereo_pcm.eet"
	cmp a.wav b.wav
}

@test "adpcm: --layout must be possible" {
	run -2 --separate-stderr bash -c "eet-adpcm -d --layout bare '$golden/layout-state-six.eet' > out"
	[[ $stderr == *"offset 0: session 1 (stream 20) has 6 channels, --layout bare is for 1" ]]
	eet-adpcm -d --layout state-high "$golden/layout-state.eet" | eet-wav -q -o a.wav
	eet-wav -q --layout state-high -o b.wav "$golden/layout-state.eet"
	cmp a.wav b.wav
}

@test "adpcm: what follows a recording has no say in its layout" {
	local before command

	head -c $((32 + 80 * 96)) "$golden/layout-state-high.eet" > first
	# A take of another stream and format before it, which has no frames.
	head -c 32 "$golden/sine_adpcm.eet" > none
	for before in /dev/null none; do
		cat $before first "$golden/layout-dvi4.eet" > two.eet
		for command in "eet-adpcm -q -d --raw two.eet" "eet-adpcm -q -d --raw < <(cat two.eet)"; do
			run -2 bash -c "$command > out 2> err"
			cmp out <(eet-adpcm -q -d --raw first)
		done
	done
}

@test "adpcm: samples are of one stream, joined from segments" {
	eet-rotate -q -s 1000 parts < "$golden/gap.eet" > list
	[ "$(grep -c 'eet$' list)" -ge 3 ]
	cat parts/*.eet | eet-adpcm -q -d --raw > joined
	eet-wav -q "$golden/gap.eet" | tail -c +45 | cmp - joined

	run -2 --separate-stderr bash -c "eet-adpcm -d --raw '$golden/three.mux' > raw"
	[[ $stderr == *"session 2 (stream 9) begins during session 1 (stream 7): choose one with eet-demux -S SESSION" ]]
	cat "$golden/sine_adpcm.eet" "$golden/stereo_pcm.eet" > two.eet
	run -2 --separate-stderr bash -c "eet-adpcm -d --raw two.eet > raw"
	[[ $stderr == *"session 2 (stream "*") has another format or id than session 1 (stream "* ]]
	eet-adpcm -d --raw "$golden/sine_adpcm.eet" | cmp - raw
	eet-demux -S 2 "$golden/three.mux" | eet-adpcm -d --raw > raw
	eet-demux -S 2 "$golden/three.mux" | eet-wav | tail -c +45 | cmp - raw
}

@test "adpcm: the samples of a recording's segments are those of the whole, whatever its layout" {
	local log name

	for log in "$golden"/layout-*.eet; do
		name=$(basename "$log" .eet)
		eet-rotate -q -s 4k "$name" < "$log"
		eet-adpcm -q -d --raw "$log" > whole
		cat "$name"/*.eet > joined
		eet-adpcm -q -d --raw joined | cmp - whole
	done
	# Frames that are sent again are heard once.
	"$logs" bare "$data/speech_8k.wav" n=160 id=1 > whole.eet
	{
		head -c $((32 + 6 * 92)) whole.eet
		head -c 32 whole.eet
		tail -c +$((33 + 3 * 92)) whole.eet
	} > again.eet
	eet-adpcm -q -d --raw again.eet | cmp - <(eet-adpcm -q -d --raw whole.eet)
}

@test "adpcm: a stream that hardly sends holds up the others for 5 s, no longer" {
	sed 's/^ *//' > script <<-'END'
		0 OPEN 1 adpcm id=1
		0 FRAME 1 seq=0
		0 OPEN 2 adpcm id=2
		0 FRAME 2 seq=0 count=300
	END
	"$logs" mux < script > all.log
	mkfifo in
	in=in spawn adpcm eet-adpcm -v -d
	exec 7> in
	cat all.log >&7
	# 64 blocks of stream 2 would do for it, but stream 1 is first.
	wait_for at_least 80000 adpcm.out
	grep -q 'session 1 (stream 1): ADPCM layout state (length)' adpcm.err
	exec 7>&-
	finish adpcm
	[ "$status" = 0 ]
	eet-adpcm -q -d all.log | cmp - adpcm.out
}

# --- WAV ---

@test "adpcm: an IMA ADPCM WAV opens everywhere, at the right length, with the same samples" {
	local wav channels n name

	for wav in speech_8k:1:505 sine_pcm16:1:505 stereo_44k1:2:2041 noise_48k:1:2041; do
		IFS=: read -r wav channels n <<< "$wav"
		eet-adpcm -e -o ima.wav "$data/$wav.wav"
		/usr/bin/python3 - "$(soxi -s "$data/$wav.wav")" "$channels" "$n" <<-'END'
			import struct, sys
			samples, channels, n = map(int, sys.argv[1:])
			d = open("ima.wav", "rb").read()
			assert d[:4] == b"RIFF" and struct.unpack_from("<I", d, 4)[0] == len(d) - 8
			assert d[8:16] == b"WAVEfmt " and d[40:44] == b"fact" and d[52:56] == b"data"
			size, tag, ch, rate, speed, align, bits, more, per_block = struct.unpack_from("<IHHIIHHHH", d, 16)
			assert (size, tag, ch, bits, more) == (20, 17, channels, 4, 2)
			assert per_block == n == (align // ch - 4) * 2 + 1 and abs(speed - rate * align / n) <= 0.5
			assert struct.unpack_from("<II", d, 44) == (4, samples)
			blocks = -(-samples // n)
			assert struct.unpack_from("<I", d, 56)[0] == len(d) - 60 == blocks * align
		END
		[ "$(ffprobe -v error -show_entries stream=duration_ts -of csv=p=0 ima.wav)" = "$(soxi -s "$data/$wav.wav")" ]
		n=$((($(soxi -s "$data/$wav.wav") + n - 1) / n * n)) # whole blocks
		[ "$(soxi -s ima.wav)" = "$n" ]
		[ "$(sndfile-info ima.wav | sed -n 's/^Frames *: //p')" = "$n" ]
		sox ima.wav -e signed -b 16 sox.wav
		sndfile-convert -pcm16 ima.wav sndfile.wav
		cmp <(samples sox.wav) <(samples sndfile.wav)
		"$logs" blocks ima.wav | eet-wav -q --layout wav -o ours.wav
		cmp <(samples sox.wav) <(samples ours.wav)
		sox ima.wav -e signed -b 16 cut.wav trim 0 "$(soxi -s "$data/$wav.wav")s"
		[ "$(snr "$data/$wav.wav" cut.wav)" -ge 21 ]
	done
	# Whole blocks: nothing is filled up.
	sox "$data/noise_48k.wav" even.wav trim 0 2490s
	eet-adpcm -e -n 249 -o ima.wav even.wav
	[ "$(soxi -s ima.wav)" = 2490 ]
	[ "$(sndfile-info ima.wav | sed -n 's/^Frames *: //p')" = 2490 ]
	[ "$(ffmpeg -v error -i ima.wav -f s16le - | wc -c)" = 4980 ]
}

@test "adpcm: a WAV is the same from a file, a pipe, raw samples and logs, and to a pipe but for the sizes" {
	cp "$data/stereo_44k1.wav" song.wav
	eet-adpcm -e -o a.wav song.wav
	cat song.wav | eet-adpcm -e -o b.wav
	cmp a.wav b.wav
	tail -c +45 song.wav | eet-adpcm -e --raw -r 44100 -c 2 -o b.wav
	cmp a.wav b.wav
	"$logs" pcm song.wav n=441 > log
	eet-adpcm -e -o b.wav log
	cmp a.wav b.wav
	cat log | eet-adpcm -e -o b.wav
	cmp a.wav b.wav
	eet-adpcm -e -o - song.wav > b.wav
	cmp a.wav b.wav
	eet-adpcm -e -o - song.wav | cmp - a.wav # the file says how many there are
	cat song.wav | eet-adpcm -e -o - | cmp - a.wav
	tail -c +45 song.wav | eet-adpcm -e --raw -r 44100 -c 2 -o - | cat > b.wav
	cmp <(tail -c +61 a.wav) <(tail -c +61 b.wav)
	[ "$(head -c 8 b.wav | tail -c 4 | xxd -p)$(head -c 60 b.wav | tail -c 12 | xxd -p)" = ffffffffffffffff64617461ffffffff ]
	sox --ignore-length b.wav -e signed -b 16 c.wav
	sox a.wav -e signed -b 16 d.wav
	cmp <(samples c.wav) <(samples d.wav)
	# Behind what is there, and without going back.
	printf before > b.wav
	tail -c +45 song.wav | eet-adpcm -e --raw -r 44100 -c 2 -o - >> b.wav
	cmp <(tail -c +67 b.wav) <(tail -c +61 a.wav)
	# A stream of ADPCM is decoded for it; one without frames gives a WAV without samples.
	eet-adpcm -e -o b.wav "$golden/gap.eet" 2> err
	grep -q 'gap.eet: gaps: 2 (frames missing: 4, not filled: 0), repeats: 0' err
	[ "$(ffprobe -v error -show_entries stream=duration_ts -of csv=p=0 b.wav)" = \
		"$(eet-wav -q "$golden/gap.eet" | soxi -s -)" ] || [ "$(soxi -s b.wav)" -gt 0 ]
	handshake pcm 1 8000 1 160 > empty.eet
	run -0 --separate-stderr eet-adpcm -e -o b.wav empty.eet
	[ "$stderr" = "eet-adpcm: b.wav: holds no samples" ]
	[ "$(size b.wav)" = 60 ]
	run -0 --separate-stderr eet-adpcm -e -o b.wav "$golden/layout-state-six.eet"
	[[ $stderr == *"b.wav: few programs read IMA ADPCM WAVs of more than 2 channels" ]]
	[ "$(soxi -c b.wav)" = 6 ]
}

@test "adpcm: -o replaces a file only when the new one is whole" {
	printf old > out.wav
	echo "no audio" > text
	run -3 eet-adpcm -e -o out.wav text
	run -1 eet-adpcm -e -o out.wav missing
	run -2 eet-adpcm -e -o out.wav -n 160 "$data/speech_8k.wav"
	run -2 eet-adpcm -e -o out.wav "$golden/three.mux"
	[ "$(cat out.wav)" != old ] # what came before the second session is written
	printf old > out.wav
	run -1 --separate-stderr bash -c "trap '' XFSZ; ulimit -f 4; eet-adpcm -e -o out.wav '$data/stereo_44k1.wav'"
	[ "$stderr" = "eet-adpcm: out.wav: File too large" ]
	[ "$(cat out.wav)" = old ]
	no_leftovers
	chmod 600 out.wav
	ln -s out.wav link.wav
	eet-adpcm -e -o link.wav "$data/speech_8k.wav"
	[ -L link.wav ]
	[ "$(stat -c %a out.wav)" = 600 ]
	[ "$(head -c 4 out.wav)" = RIFF ]
	no_leftovers
	run -1 --separate-stderr eet-adpcm -e -o missing/out.wav "$data/speech_8k.wav"
	[ "$stderr" = "eet-adpcm: missing/out.wav: No such file or directory" ]
	run -1 --separate-stderr eet-adpcm -e -o /dev/full "$data/speech_8k.wav"
	[ "$stderr" = "eet-adpcm: /dev/full: No space left on device" ]
}

# --- as a filter ---

@test "adpcm: what comes goes on at once, whatever it is" {
	local kind options

	mkfifo in
	# Three frames of 20 ms, and the input stays open.
	for kind in wav raw log; do
		case $kind in
		wav) head -c $((44 + 960)) "$data/speech_8k.wav" > part; options= ;;
		raw) head -c 960 /dev/zero > part; options="--raw -r 8000 -c 1" ;;
		log) "$logs" pcm "$data/speech_8k.wav" n=160 | head -c $((32 + 3 * 332)) > part; options= ;;
		esac
		# shellcheck disable=SC2086 # options
		in=in spawn adpcm eet-adpcm -e $options
		exec 7> in
		cat part >&7
		wait_for at_least $((32 + 3 * 96)) adpcm.out
		[ "$(size adpcm.out)" = $((32 + 3 * 96)) ]
		exec 7>&-
		finish adpcm
	done
	# Decoding: silence at once, the rest when 64 blocks are there.
	"$logs" state "$data/speech_8k.wav" n=160 > log
	in=in spawn adpcm eet-adpcm -d
	exec 7> in
	head -c $((32 + 63 * 96)) log >&7
	wait_for reading "$pid"
	head -c $((32 + 66 * 96)) log | tail -c $((3 * 96)) >&7
	wait_for at_least $((32 + 66 * 332)) adpcm.out
	exec 7>&-
	finish adpcm
	[ "$status" = 0 ]
}

@test "adpcm: memory does not grow with the length" {
	(ulimit -v 100000 && eet-adpcm --version) > /dev/null 2>&1 || skip "no room for a sanitizer"
	run -0 bash -c 'set -o pipefail; ulimit -v 80000
		head -c 100M /dev/zero | eet-adpcm -e -Q 0 --raw -r 48000 -c 2 | eet-adpcm -d --raw | wc -c'
	[ "$output" = $((100 << 20)) ]
}

@test "adpcm: a signal: it reads on to the end of its input" {
	local signal kind options

	for signal in TERM INT HUP; do
		for kind in wav raw log; do
			case $kind in
			wav) cp "$data/speech_8k.wav" all; options= ;;
			raw) tail -c +45 "$data/speech_8k.wav" > all; options="--raw -r 8000 -c 1" ;;
			log) "$logs" pcm "$data/speech_8k.wav" n=160 > all; options= ;;
			esac
			rm -f in
			mkfifo in
			# shellcheck disable=SC2086 # options
			in=in spawn adpcm eet-adpcm -e $options
			exec 7> in
			head -c 2000 all >&7
			wait_for reading "$pid"
			kill -s $signal "$pid"
			tail -c +2001 all >&7
			exec 7>&-
			finish adpcm
			[ "$status" = 0 ]
			[ ! -s adpcm.err ]
			# shellcheck disable=SC2086 # options
			eet-adpcm -e $options all | cmp - adpcm.out
		done
	done
}

@test "adpcm: a second signal, or 5 seconds: it ends with what there is" {
	local kind options signals signal began

	for kind in "raw:TERM TERM" "wav:TERM TERM" "log:HUP INT" "adpcm:TERM INT" wav:TERM; do
		IFS=: read -r kind signals <<< "$kind"
		case $kind in
		wav) head -c $((44 + 1000)) "$data/speech_8k.wav" > part; options="-o out.wav" ;;
		raw) head -c 1001 /dev/zero > part; options="--raw -r 8000 -c 1" ;;
		log) "$logs" pcm "$data/speech_8k.wav" n=160 | head -c 1000 > part; options= ;;
		adpcm) "$logs" state "$data/speech_8k.wav" n=160 | head -c 1000 > part; options=-d ;;
		esac
		[ "$kind" = adpcm ] || options="-e $options"
		rm -f in out.wav
		mkfifo in
		# shellcheck disable=SC2086 # options
		in=in spawn adpcm eet-adpcm $options
		exec 7> in
		cat part >&7
		wait_for reading "$pid"
		began=${EPOCHREALTIME/./}
		for signal in $signals; do
			kill -s "$signal" "$pid"
			[ "$signals" = TERM ] || wait_for taken "$pid"
		done
		within 9 gone "$pid"
		finish adpcm
		exec 7>&-
		[ "$status" = 3 ]
		case $kind in
		wav)
			[ "$(cat adpcm.err)" = "eet-adpcm: standard input: offset 1044: stopped here, the input has not ended" ]
			[ "$(ffprobe -v error -show_entries stream=duration_ts -of csv=p=0 out.wav)" = 500 ]
			;;
		raw)
			[ "$(cat adpcm.err)" = "eet-adpcm: standard input: offset 1001: stopped here, the input has not ended" ]
			[ "$(size adpcm.out)" = $((32 + 3 * 96 + 12 + 4 + 10)) ]
			;;
		log)
			grep -q "^eet-adpcm: standard input: offset 696: stopped here" adpcm.err
			[ "$(size adpcm.out)" = $((32 + 2 * 96)) ]
			;;
		adpcm) # what waited to be understood is decoded
			grep -q "^eet-adpcm: standard input: offset 992: stopped here" adpcm.err
			[ "$(size adpcm.out)" = $((32 + 10 * 332)) ]
			;;
		esac
	done
	[ "$(since "$began")" -ge 4500000 ]
	no_leftovers
}

@test "adpcm: an output whose reader takes nothing does not keep it for ever" {
	local options

	sox "$data/speech_8k.wav" long.wav repeat 30
	tail -c +45 long.wav > long.raw
	mkfifo out
	exec 8<> out
	for options in "-e -Q 0 long.wav" "-e -Q 0" "-e -Q 0 --raw -r 8000 -c 1 long.raw"; do
		# shellcheck disable=SC2086 # options
		in=long.wav out=out spawn adpcm bash -c "cat | exec eet-adpcm $options"
		wait_for writing
		child=$(pgrep -P "$pid" -x eet-adpcm)
		for _ in 1 2 3; do
			kill -TERM "$child"
			wait_for taken "$child"
		done
		finish adpcm
		[ "$status" = 1 ]
		[ "$(cat adpcm.err)" = "eet-adpcm: the output's reader takes nothing" ]
		timeout 0.2 cat <&8 > /dev/null || :
	done
	exec 8<&-
}

# writing: what was spawned waits for room in a pipe.
writing() {
	local child

	child=$(pgrep -P "$pid" -x eet-adpcm) && [[ $(cat "/proc/$child/wchan") == *pipe_write* ]]
}

@test "adpcm: a full disk or a reader that goes away is 1" {
	local options

	"$logs" pcm "$data/stereo_44k1.wav" n=441 > log
	for options in "-e $data/stereo_44k1.wav" "-e log" "-d log" "-d --raw log" "-e --raw -r 8000 -c 1 log"; do
		run -1 --separate-stderr bash -c "eet-adpcm $options > /dev/full"
		[ "$stderr" = "eet-adpcm: standard output: No space left on device" ]
		run -0 --separate-stderr bash -c "{ eet-adpcm $options; echo \$? >&2; } | head -c 10 | wc -c"
		[ "$stderr" = $'eet-adpcm: standard output: Broken pipe\n1' ] || [ "$stderr" = 0 ]
	done
	run -1 --separate-stderr bash -c "cat '$data/stereo_44k1.wav' | eet-adpcm -e > /dev/full"
	[ "$stderr" = "eet-adpcm: standard output: No space left on device" ]
}

@test "adpcm: whoever feeds it is read to the end" {
	# Behind the samples is something that nobody asked for.
	{ cat "$data/speech_8k.wav"; head -c 1M /dev/zero; } > long.wav
	run -0 bash -c 'set -o pipefail; cat long.wav | eet-adpcm -e > log'
	eet-adpcm -e "$data/speech_8k.wav" | cmp - log
}

# --- usage ---

@test "adpcm: options that make no sense together are 2, and nothing is read or written" {
	local n=0 line

	cp "$golden/three.mux" all.log
	cp "$data/speech_8k.wav" song.wav
	while read -r line; do
		n=$((n + 1))
		echo "$line"
		run -2 --separate-stderr bash -c "eet-adpcm ${line%%#*}"
		[[ $stderr == "eet-adpcm: "*"${line##*# }"* ]]
		[ -z "$output" ]
		[ ! -e out.wav ]
	done <<-'END'
		song.wav # either -e or -d is needed
		-e -d song.wav # either -e or -d is needed
		-e song.wav all.log # one input at a time
		-d -o out.wav all.log # -o goes with -e; eet-wav -o makes a WAV
		-d -Q 3 all.log # -Q goes with -e
		-d --stream-id 3 all.log # --stream-id or --timestamp goes with -e
		-d -n 160 all.log # --rate, --channels and --frame-samples go together
		-d --codec pcm all.log # --codec goes with --rate
		-e -Q 10 song.wav # -Q 10: not a number from 0 to 9
		-e -l bare song.wav # -e -l bare: state or wav
		-e -l other song.wav # --layout other: state, state-high, dvi4, wav or bare
		-e -l state -o out.wav song.wav # -l state: the layout of a WAV's blocks is wav
		-e --stream-id 3 -o out.wav song.wav # are for a log
		-e --raw song.wav # -e --raw needs -r RATE and -c CHANNELS
		-e --raw -r 8000 song.wav # -e --raw needs -r RATE and -c CHANNELS
		-e --raw -r 8000 -c 1 --codec pcm song.wav # are for logs
		-e --raw -r 8000 -c 1 --recover song.wav # are for logs
		-e -r 8000 song.wav # --rate, --channels and --frame-samples go together
		-e -r 8000 -c 1 -n 160 song.wav # song.wav: -r and -c are for raw samples (--raw) and for logs
		-e -n 160 all.log # all.log: a log, whose frames stay as long as they are
		-e --timestamp 5 all.log # all.log: a log, whose stream ids and times stay
		-e -n 0 song.wav # not a number from 1 to 65535
		-e -n 504 -o out.wav song.wav # -n 504: a WAV's blocks hold 1 sample more than a multiple of 8
		-e --raw -r 8000 -c 64 -n 2041 -o out.wav song.wav # at most 2033 samples in a WAV's block of 64 channels
	END
	[ "$n" -ge 24 ]
}

@test "adpcm: nothing binary goes to a terminal, and none is read" {
	cp "$data/speech_8k.wav" song.wav
	run -2 script -qec 'eet-adpcm -e song.wav' /dev/null
	[[ $output == *"eet-adpcm: a log is binary, and the output is a terminal: redirect it, or use -o FILE"* ]]
	run -2 script -qec 'eet-adpcm -e -o - song.wav' /dev/null
	[[ $output == *"a WAV is binary"* ]]
	run -2 script -qec 'eet-adpcm -d --raw song.wav' /dev/null
	[[ $output == *"raw audio is binary"* ]]
	run -2 script -qec 'eet-adpcm -e > out' /dev/null
	[[ $output == *"standard input is a terminal"* ]]
}
