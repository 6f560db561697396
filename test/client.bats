#!/usr/bin/env bats
# The client as the README shows it, against `eet-listen | eet-rotate out/` with no options at all.
# That is port 5096, so each test has a network of its own where it may; else the port must be free.
# shellcheck disable=SC2016,SC2154 # scripts for other shells; the helper and `run` set variables
load helper

# A clone's files, and in it the first two lines as they stand: with a package index that can be
# reached, else over Debian's package.
setup_file() {
	cd "$BATS_FILE_TMPDIR" || return
	mkdir clone bin
	cp -r "$EET_ROOT/client" "$EET_ROOT/data" clone
	# The Python that a fresh Debian has.
	ln -s "${PYTHON:-/usr/bin/python3}" bin/python3
	export PATH=$PWD/bin:$PATH
	cd clone || return
	if python3 -m venv .venv && PIP_RETRIES=1 PIP_DEFAULT_TIMEOUT=10 PIP_DISABLE_PIP_VERSION_CHECK=1 \
		.venv/bin/python -m pip install -q -r client/requirements.txt; then
		echo "# venv with websockets from the package index" >&3
	else
		rm -rf .venv
		python3 -m venv --system-site-packages .venv &&
			.venv/bin/python -m pip install -q -r client/requirements.txt
		echo "# venv over the system's websockets" >&3
	fi
	wav=$EET_ROOT/data/sine_pcm16.wav
	"$EET_ROOT/test/logs.py" wav "$wav" > ../pcm
	"$EET_ROOT/test/logs.py" state "$wav" n=320 > ../adpcm.eet
	"$EET_ROOT/test/logs.py" sox ../adpcm.eet state > ../adpcm
}

setup() {
	eet_setup
	clone=$BATS_FILE_TMPDIR/clone
}

# on_5096 SCRIPT: run it while the server is up; what it leaves in out/ is complete afterwards.
on_5096() {
	local network=()

	cat > script <<-SCRIPT
		set -eu -o pipefail
		mkfifo up
		eet-listen 2> up | eet-rotate out/ > list &
		server=\$!
		exec 7< up
		read -r line <&7
		[ "\$line" = "eet-listen: listening on ws://127.0.0.1:5096/ws" ]
		cat <&7 > listen.err &
		status=0
		( $1 ) || status=\$?
		kill -INT "\$(jobs -p | head -n 1)" # eet-listen, the first of the first
		wait "\$server"
		exit \$status
	SCRIPT
	if unshare -n true 2> /dev/null; then
		network=(unshare -n)
	elif unshare -rn true 2> /dev/null; then
		network=(unshare -rn)
	elif (: < /dev/tcp/127.0.0.1/5096) 2> /dev/null; then
		skip "port 5096 is in use, and no network of our own can be had"
	fi
	if [ ${#network[@]} -gt 0 ]; then
		"${network[@]}" bash -c "$loopback_up && exec bash script"
	else
		bash script
	fi
}

# SIOCSIFFLAGS with IFF_UP and IFF_RUNNING; `ip link set lo up` needs a package.
loopback_up='/usr/bin/python3 -c "
import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack(\"16sH14x\", b\"lo\", 0x41))"'

# heard STREAM_ID CODEC: its recording, all segments joined, is the file that was sent; as ADPCM, as
# sox decodes it.
heard() {
	eet-wav -q out/stream_"$1"_*.eet | tail -c +45 | cmp - "$BATS_FILE_TMPDIR/$2"
}

@test "client: the README shows these lines" {
	local line

	for line in 'python3 -m venv .venv' \
		'.venv/bin/python -m pip install -r client/requirements.txt' \
		'.venv/bin/python client/stream_client.py --wav data/sine_pcm16.wav --codec adpcm' \
		'.venv/bin/python client/stream_client.py --wav data/sine_pcm16.wav --codec pcm'; do
		grep -qxF "    $line" "$EET_ROOT/README.md"
	done
}

@test "client: the lines of the README record the same stream as ADPCM and as PCM" {
	cd "$clone"
	on_5096 '
		.venv/bin/python client/stream_client.py --wav data/sine_pcm16.wav --codec adpcm
		.venv/bin/python client/stream_client.py --wav data/sine_pcm16.wav --codec pcm'
	[ "$(jq -sc 'map(select(.event == "session") | [.session, .codec, .frames, .close_code])' \
		out/index.jsonl)" = '[[1,"adpcm",150,1000],[2,"pcm",150,1000]]' ]
	mkdir first
	mv out/stream_1_*_s1.* first
	heard 1 pcm
	rm -r out
	mv first out
	heard 1 adpcm
}

@test "client: they work from any other directory, eight at once, and two clients at once" {
	export clone
	on_5096 '
		p=$clone/.venv/bin/python c=$clone/client/stream_client.py w=$clone/data/sine_pcm16.wav
		$p $c --wav $w --streams 8
		$p $c --wav $w --codec pcm --streams 8 --stream-id-base 11 & one=$!
		$p $c --wav $w --codec adpcm --stream-id-base 11 & two=$!
		wait $one
		wait $two'
	[ "$(jq -s 'map(select(.event == "session" and .frames == 150 and .close_code == 1000)) | length' \
		out/index.jsonl)" = 17 ]
	for id in 1 2 3 4 5 6 7 8; do
		heard $id adpcm
	done
	for id in 12 13 14 15 16 17 18; do
		heard $id pcm
	done
	[ "$(find out -name 'stream_11_*.wav' | wc -l)" -ge 2 ]
}

@test "client: a log replayed and recorded again is the same log, byte for byte" {
	local log logs=$EET_ROOT/data/logs client=$clone/client/stream_client.py

	mkfifo records
	in=records spawn rotate eet-rotate -q -t 0 out
	out=records start_listen -q
	for log in gap repeat-restart empty-frames layout-bare stereo_pcm; do
		"$clone/.venv/bin/python" "$client" -q --url "$url" --log "$logs/$log.eet"
	done
	for session in 1 2 3; do
		"$clone/.venv/bin/python" "$client" -q --url "$url" --log "$logs/three.mux" \
			--session $session --speed 1
	done
	stop listen
	finish rotate
	[ "$status" = 0 ]
	session=0
	for log in gap repeat-restart empty-frames layout-bare stereo_pcm; do
		cmp out/*_s$((session += 1)).eet "$logs/$log.eet"
	done
	eet-rotate -q -t 0 three < "$logs/three.mux"
	for log in 1 2 3; do
		cmp out/*_s$((session += 1)).eet three/*_s$log.eet
	done
}

@test "client: without a server it says so" {
	run -1 "$clone/.venv/bin/python" "$clone/client/stream_client.py" \
		--wav "$clone/data/sine_pcm16.wav" --url ws://127.0.0.1:1/ws
	[[ $output == *"connection refused"* ]]
}
