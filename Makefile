# EET: see README.md.  All output goes below $B; programs are in $B/bin.
#
#	make [all]	programs and library		make check	every test, installing what that needs
#	make unit	cmocka tests of the library	make bats	tests of the programs
#	make valgrind	unit tests under valgrind	make asan	unit and bats under ASan and UBSan
#	make fuzz	FUZZ_SECONDS per fuzz target	make pytest	tests of the client
#	make lint	style and include rules		make bench	measure
#	make demo	streams become files		make setup	install what the build needs
#	make install	PREFIX=, DESTDIR=		make dist, make distcheck, make clean

VERSION	= 0.1.0
B	?= build
PREFIX	?= /usr/local
PYTHON	?= /usr/bin/python3
CFLAGS	?= -O2 -g
HARDEN	?= -D_FORTIFY_SOURCE=2 -fstack-protector-strong
FUZZ_SECONDS ?= 60

STD	= -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DEET_VERSION='"$(VERSION)"' -Ilib
WARN	= -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wformat=2 $(WERROR)
COMPILE	= $(CC) $(STD) $(WARN) $(HARDEN) $(CPPFLAGS) $(CFLAGS) -pthread -MMD -MP
LINK	= $(CC) $(CFLAGS) -pthread -Wl,-z,relro,-z,now $(LDFLAGS)

objects	= $(patsubst %.c,$B/%.o,$(wildcard $1))
PROGS	= $(sort $(patsubst cmd/%.c,%,$(wildcard cmd/*.c)) \
	  $(patsubst cmd/%/main.c,%,$(wildcard cmd/*/main.c)))
UNITS	= $(patsubst %.c,$B/%,$(wildcard test/unit/test_*.c))
FUZZERS	= $(patsubst %.c,$B/%,$(wildcard test/fuzz/fuzz_*.c))

all: $(PROGS:%=$B/bin/%) $B/libeet.a

# A foreign library belongs to the programs that need it, and to no other.
$B/bin/eet-listen: LDLIBS += -lwebsockets -luv
$B/bin/eet-listen $B/bin/eet-rotate $B/bin/eet-wav $B/bin/eet-adpcm: LDLIBS += -lsndfile -lm
$(UNITS): LDLIBS += -lcmocka -lsndfile -lm
$(FUZZERS): LDLIBS += -lsndfile -lm

.SECONDEXPANSION:
$B/bin/%: $$(call objects,cmd/$$*.c cmd/$$*/*.c) $B/libeet.a
	@mkdir -p $(@D)
	$(LINK) -o $@ $^ $(LDLIBS)

$B/test/%: $B/test/%.o $B/libeet.a
	$(LINK) -o $@ $^ $(LDLIBS)

$B/libeet.a: $(call objects,lib/*.c)
	rm -f $@
	$(AR) rcs $@ $^

$B/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(COMPILE) -c -o $@ $<

-include $(patsubst %.o,%.d,$(call objects,lib/*.c cmd/*.c cmd/*/*.c test/*/*.c))

unit: $(UNITS)
	@for t in $(UNITS); do $$t || exit; done

bats: all
	EET_BIN=$(abspath $B/bin) bats --jobs 2 test

pytest:
	$(PYTHON) -m pytest -q -p no:cacheprovider client/tests

clean:
	rm -rf $B

.PHONY: all unit bats pytest clean
.DELETE_ON_ERROR:
.SECONDARY:
