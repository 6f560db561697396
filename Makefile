# All output goes below $B, programs to $B/bin.
#
#	make [all]	programs		make check	set-up, then all quick tests, counted
#	make setup	what they need		make unit bats pytest	library, programs, client
#	make demo	see them work		make valgrind asan tsan fuzz	harder
#	make torture	kill it, again and again	make lint	style and rules
#	make install	PREFIX=, DESTDIR=
#	make dist	tarball of HEAD		make bench	measure

VERSION	= 0.1.0
B	?= build
PREFIX	?= /usr/local
PYTHON	?= /usr/bin/python3
CFLAGS	?= -O2 -g
HARDEN	?= -D_FORTIFY_SOURCE=2 -fstack-protector-strong
FUZZ_SECONDS ?= 60
TESTS	?= test
TSAN_UNITS ?= exec lines retention segment spool
TSAN_TESTS ?= test/record.bats test/eet-rotate-upkeep.bats

STD	= -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DEET_VERSION='"$(VERSION)"' -iquote lib
WARN	= -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wformat=2 $(WERROR)
COMPILE	= $(CC) $(STD) $(WARN) $(HARDEN) $(CPPFLAGS) $(CFLAGS) -pthread -MMD -MP
LINK	= $(CC) $(CFLAGS) -pthread -Wl,-z,relro,-z,now,--as-needed $(LDFLAGS)
SAN	= -g -fno-omit-frame-pointer -fno-sanitize-recover=all -fsanitize=address,undefined

objects	= $(patsubst %.c,$B/%.o,$(wildcard $1))
PROGS	= $(sort $(patsubst cmd/%.c,%,$(wildcard cmd/*.c)) \
	  $(patsubst cmd/%/main.c,%,$(wildcard cmd/*/main.c)))
UNITS	= $(patsubst %.c,$B/%,$(wildcard test/unit/test_*.c))
FUZZERS	= $(patsubst %.c,$B/%,$(wildcard test/fuzz/fuzz_*.c))
SHIMS	= $(patsubst %.c,$B/%.so,$(wildcard test/torture/*.c))
LOADS	= $(patsubst %.c,$B/%,$(wildcard test/bench/*.c))
CFILES	= $(wildcard lib/*.[ch] cmd/*.[ch] cmd/*/*.[ch] test/*.h test/*/*.[ch])
SCRIPTS	= $(wildcard .ci/* cmd/*/*.bash test/*.bats test/*.bash test/lint/* test/fuzz/run \
	  test/bench/run test/torture/run *.sh */*.sh */*/*.sh)
MAN	= $(wildcard man/*.[1-8])
EXAMPLES = $(filter-out examples/demo.sh,$(wildcard examples/*))
ROOT	= $(DESTDIR)$(PREFIX)

export EET_BIN = $(abspath $B/bin)
export ROUNDS STATES MINUTES SEED
export PYTHONDONTWRITEBYTECODE = 1

all: $(PROGS:%=$B/bin/%)

# A foreign library belongs to the programs that need it, and to no other.
$B/bin/eet-listen: LDLIBS += -lwebsockets -luv
$B/bin/eet-listen $B/bin/eet-rotate $B/bin/eet-wav $B/bin/eet-adpcm: LDLIBS += -lsndfile -lm
$B/bin/eet-info: LDLIBS += -lcrypto -lsndfile -lm
$(UNITS): LDLIBS += -lcmocka -lsndfile -lm
$B/test/bench/churn: LDLIBS += -lcrypto -lm
$(FUZZERS): LDLIBS += -fsanitize=fuzzer -lsndfile -lm

.SECONDEXPANSION:
$B/bin/%: $$(call objects,cmd/$$*.c cmd/$$*/*.c) $B/libeet.a
	@mkdir -p $(@D)
	$(LINK) -o $@ $^ $(LDLIBS)

$(UNITS) $(FUZZERS) $(LOADS): %: %.o $B/libeet.a
	$(LINK) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LDLIBS)

# What clients send, and what a log holds, goes through these parts of the server.
$B/test/unit/test_capture: $B/cmd/eet-listen/capture.o
$B/test/unit/test_opens: $B/cmd/eet-listen/opens.o
$B/test/unit/test_writer: $(addprefix $B/cmd/eet-listen/,writer.o queue.o clock.o)
$B/test/unit/test_writer: LDLIBS += -luv
$B/test/fuzz/fuzz_audio: $B/cmd/eet-listen/audio.o
$B/test/fuzz/fuzz_capture: $B/cmd/eet-listen/capture.o
$B/test/fuzz/fuzz_echo: $B/cmd/eet-listen/echo.o
$B/test/fuzz/fuzz_http: $B/cmd/eet-listen/http.o $B/cmd/eet-listen/post.o
$B/test/fuzz/fuzz_http: LDLIBS += -luv

# Preloaded into any program, with a sanitizer or without.
$(SHIMS): $B/%.so: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(STD) $(WARN) -O2 -g -fPIC -shared -o $@ $<

$B/libeet.a: $(call objects,lib/*.c)
	rm -f $@
	$(AR) rcs $@ $^

$B/%.o: %.c Makefile | $B/needs
	@mkdir -p $(@D)
	$(COMPILE) -c -o $@ $<

-include $(patsubst %.o,%.d,$(call objects,lib/*.c cmd/*.c cmd/*/*.c test/*/*.c))

# A compiler's error about a header is no good answer to the first `make`.
$B/needs:
	@mkdir -p $(@D)
	@for p in sndfile.h:libsndfile1-dev uv.h:libuv1-dev libwebsockets.h:libwebsockets-dev \
		openssl/evp.h:libssl-dev; do \
		echo "#include <$${p%:*}>" | $(CC) -E -x c -o $@ - || { \
		echo "Missing: $${p#*:}, or a compiler.  'make setup' installs both." >&2; exit 1; }; \
	done

setup:
	.ci/setup build

demo:
	.ci/setup build demo
	$(MAKE) all
	PATH="$(EET_BIN):$$PATH" PYTHON="$(PYTHON)" examples/demo.sh

check:
	.ci/setup build demo check
	@B=$B MAKE=$(MAKE) .ci/check unit bats pytest pytest-newest fuzz-short lint-man

# What one says stays together.
unit: $(UNITS)
	@printf '%s\n' $(UNITS) | xargs -P "$$(nproc)" -I{} sh -c ' \
		said=$$(CMOCKA_MESSAGE_OUTPUT=TAP timeout 1200 $(RUNNER) {} 2>&1); status=$$?; \
		exec 9< Makefile; flock 9; printf "# %s\n%s\n" {} "$$said"; \
		[ $$status = 0 ] || { echo "# exit $$status"; exit 1; }'

# Most tests wait most of the time.
bats: all $(SHIMS) $(LOADS)
	@bats --formatter tap \
		$$(parallel --version 2>&1 | grep -q '^GNU' && echo --jobs $$((3 * $$(nproc)))) $(TESTS)

pytest: all
	@timeout 1800 $(PYTHON) -m pytest -v --color=no -p no:cacheprovider client/tests

# The client on the newest websockets, whose API is another one.
pytest-newest: all
	@[ -x $B/venv/bin/pytest ] || { rm -rf $B/venv && $(PYTHON) -m venv $B/venv && \
		PIP_DISABLE_PIP_VERSION_CHECK=1 $B/venv/bin/python -m pip install -q --retries 1 \
		--timeout 10 websockets pytest; } || { \
		echo "ok - # SKIP no package index can be reached for the newest websockets"; exit 0; }; \
	$B/venv/bin/python -c 'import websockets; print("# websockets", websockets.__version__)' && \
	timeout 1800 $B/venv/bin/python -m pytest -v --color=no -p no:cacheprovider client/tests

# Debian's valgrind does not know pidfd_open(2), which exec lives on.
valgrind:
	@$(MAKE) unit UNITS='$(filter-out %/test_exec,$(UNITS))' \
		RUNNER='valgrind -q --leak-check=full --error-exitcode=99'

asan:
	@export ASAN_OPTIONS=exitcode=99 UBSAN_OPTIONS=print_stacktrace=1:exitcode=99; \
	failed=0; for t in unit bats; do \
		$(MAKE) B=$B/asan CFLAGS='-O1 $(SAN)' HARDEN= $$t || failed=1; \
	done; exit $$failed

# Races between threads: in the units and bats files that have any.
tsan:
	@rm -f $B/tsan/race.*; failed=0; \
	export TSAN_OPTIONS=exitcode=99:log_path=$(abspath $B)/tsan/race; \
	$(MAKE) -k B=$B/tsan CFLAGS='-O1 -g -fsanitize=thread -include test/tsan.h' HARDEN= \
		UNITS='$(TSAN_UNITS:%=$B/tsan/test/unit/test_%)' TESTS='$(TSAN_TESTS)' unit bats || \
		failed=1; \
	! cat $B/tsan/race.* 2> /dev/null && exit $$failed

fuzz:
	@$(MAKE) B=$B/fuzz CC=clang CFLAGS='-O1 $(SAN),fuzzer-no-link' HARDEN= fuzzers
	@test/fuzz/run $(FUZZ_SECONDS) $(FUZZERS:$B/%=$B/fuzz/%)

fuzz-short:
	@$(MAKE) fuzz FUZZ_SECONDS=1

units: $(UNITS) $(LOADS) $(SHIMS)
fuzzers: $(FUZZERS)

# ROUNDS=, STATES=, MINUTES=, SEED= as it was printed: see there
torture: all $(SHIMS) $(LOADS)
	@B=$B test/torture/run

bench: all $(LOADS)
	PATH="$(EET_BIN):$(abspath $B/test/bench):$$PATH" test/bench/run

lint: lint-format lint-tidy lint-shell lint-man lint-rules lint-gcc lint-clang

lint-format:
	clang-format --dry-run -Werror $(CFILES)

lint-tidy: $(addprefix tidy/,$(filter lib/%.c cmd/%.c,$(CFILES)))

tidy/%:
	@clang-tidy --quiet $* -- $(STD) 2>/dev/null

lint-shell:
	shellcheck $(SCRIPTS)

lint-man:
	mandoc -Tlint -Wwarning $(MAN)

lint-rules: all
	test/lint/rules
	test/lint/links $B/bin

lint-gcc lint-clang: lint-%:
	@$(MAKE) B=$B/$* CC=$* WERROR=-Werror all units

# demo.sh needs data/, and is for the tree.
install: all install-completions
	install -d "$(ROOT)/bin" "$(ROOT)/share/eet/client" "$(ROOT)/share/doc/eet/examples"
	install $(PROGS:%=$B/bin/%) "$(ROOT)/bin"
	for page in $(MAN); do \
		install -D -m 644 $$page "$(ROOT)/share/man/man$${page##*.}/$${page##*/}" || exit; \
	done
	install -m 644 README.md LICENSE "$(ROOT)/share/doc/eet"
	install $(filter %.sh %.py,$(EXAMPLES)) "$(ROOT)/share/doc/eet/examples"
	sed 's,/usr/local/,$(PREFIX)/,' examples/eet-listen.service | \
		install -m 644 /dev/stdin "$(ROOT)/share/doc/eet/examples/eet-listen.service"
	install -m 644 client/*.py client/requirements.txt "$(ROOT)/share/eet/client"

install-completions:
	for p in $(PROGS) stream_client.py; do \
		install -D -m 644 cmd/completions/eet.bash \
			"$(ROOT)/share/bash-completion/completions/$$p" || exit; \
	done
	install -D -m 644 cmd/completions/_eet "$(ROOT)/share/zsh/site-functions/_eet"

dist:
	@mkdir -p $B
	git archive --prefix=eet-$(VERSION)/ -o $B/eet-$(VERSION).tar.gz HEAD

# What the tarball holds is enough to build, install and run.
distcheck: dist
	rm -rf $B/distcheck
	mkdir $B/distcheck
	tar -xf $B/eet-$(VERSION).tar.gz -C $B/distcheck
	$(MAKE) -C $B/distcheck/eet-$(VERSION) B=build PREFIX=/usr DESTDIR="$(abspath $B)/distcheck" install
	for p in $B/distcheck/usr/bin/*; do $$p --version || exit; done

clean:
	rm -rf $B

.PHONY: all setup demo check unit bats pytest pytest-newest valgrind asan tsan fuzz fuzz-short \
	fuzzers units torture bench lint lint-format lint-tidy lint-shell lint-man lint-rules lint-gcc \
	lint-clang install install-completions dist distcheck clean
.DELETE_ON_ERROR:
.SECONDARY:
