# caboose: bootloader, host command, simulated board.
#
#   make             everything that can be built
#   make firmware    build/firmware/<board>-<layout>.{elf,bin,hex,dfu}
#   make host sim    build/bin/caboose, build/bin/caboose-sim
#   make check       every test (./check also installs what is missing)
#   make coverage sanitize fuzz: see tests/parsers.mk
#   make differential   random programs on our CPU core and QEMU's: INSTRUCTIONS=1000000000
#   make torture     power cuts everywhere for MINUTES=60; writes RELIABILITY.md
#   make strangers   Debian's kernel and other people's tools against the simulated board, in QEMU
#   make install     DESTDIR= and PREFIX= are honoured
#
# One file, not recursive: a variant of a program is a few lines here, a board is a file in
# boot/boards/.

VERSION := 0.1.0
B       := build
PREFIX  ?= /usr/local
CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))
ARM     := arm-none-eabi-
WERROR  ?= -Werror

WARN := -Wall -Wextra -Wshadow -Wconversion -Wundef -Wvla -Wcast-qual -Wstrict-prototypes \
        -Wmissing-prototypes -Wswitch-enum -Wdouble-promotion -Wformat=2 -Wdate-time \
        -Wduplicated-cond -Wduplicated-branches -Wlogical-op -Wnull-dereference $(WERROR)
BASE := -std=c11 -I. -MMD -MP -ffile-prefix-map=$(CURDIR)/= $(WARN)
CFLAGS ?= -O2 -g
HOSTFLAGS = $(BASE) -D_GNU_SOURCE -DCABOOSE_VERSION='"$(VERSION)"' $(CFLAGS)

# make V=1 shows the commands.
ifndef V
.SILENT:
endif
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all tests firmware host sim examples check differential coverage sanitize fuzz corpus torture strangers install clean measure format analyse
all: firmware host sim examples

# --- the computer's programs --------------------------------------------------------------------

obj = $(patsubst %.c,$B/obj/%.o,$(wildcard $1))

CORE  := $(call obj,core/*.c)
IMAGE := $(call obj,image/*.c)
HOST  := $(filter-out $B/obj/host/main.o,$(call obj,host/*.c))
SIM   := $(filter-out $(addprefix $B/obj/sim/,main.o server.o usbip.o ctl.o),$(call obj,sim/*.c))
SERVE := $(filter $B/obj/sim/server.o $B/obj/sim/usbip.o,$(call obj,sim/*.c))

# libcaboose: what flashing is, without files, USB or printing, and without any other library. Its header is
# made of those that it consists of, in the order in which they need each other; names get the prefix that
# they do without in here (host/public.sed). The example is built as a stranger would build it.
LIBRARY := $(patsubst %,$B/obj/host/%.o,caboose device engine inspect plan vectors) $(CORE) \
           $(filter-out $B/obj/image/elf.o $B/obj/image/file.o,$(IMAGE))
HEADERS := core/memory_map.h host/transfer.h host/device.h image/image.h host/plan.h host/caboose.h

host: $B/bin/caboose $B/lib/libcaboose.a $B/include/caboose.h $B/example/flash
sim: $B/bin/caboose-sim $B/bin/caboose-sim-ctl $B/bin/caboose-with-board $B/lib/caboose-usbfs.so

$B/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(HOSTFLAGS) -c $< -o $@

$B/libsim.a: $(SIM)
$B/libimage.a: $(IMAGE)
$B/libhost.a: $(HOST) $(CORE)
$B/lib%.a:
	@rm -f $@
	ar rcs $@ $^

$B/lib/libcaboose.a: $(LIBRARY)
	@mkdir -p $(@D)
	@rm -f $@
	ar rcs $@ $^
	nm -g --defined-only $@ | awk 'NF == 3 && $$3 !~ /^caboose_/ { print $$3, "caboose_" $$3 }' >$@.names
	objcopy --redefine-syms=$@.names $@
	@rm -f $@.names
$B/include/caboose.h: $(HEADERS) host/public.sed
	@mkdir -p $(@D)
	sed -E -f host/public.sed $(HEADERS) >$@
$B/example/flash: host/example/flash.c $B/include/caboose.h $B/lib/libcaboose.a
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_DEFAULT_SOURCE $(WARN) $(CFLAGS) -I$B/include $< -L$B/lib -lcaboose -lusb-1.0 -o $@

$B/bin/caboose: $B/obj/host/main.o $B/libhost.a $B/libimage.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $^ -o $@ -lusb-1.0 -lelf -ljansson

$B/bin/caboose-sim: $B/obj/sim/main.o $(SERVE) $B/libsim.a $B/libimage.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $^ -o $@ -lelf -ljansson

$B/bin/caboose-sim-ctl: sim/usbfs/ctl.c
	@mkdir -p $(@D)
	$(CC) $(filter-out -MMD -MP,$(HOSTFLAGS)) $< -o $@

$B/bin/caboose-with-board: sim/usbfs/with-board
	@mkdir -p $(@D)
	install -m 755 $< $@

# A library that is loaded in front of the C library: it must define what it wraps.
$B/lib/caboose-usbfs.so: $(wildcard sim/usbfs/preload*.c) | $B/bin/caboose-sim-ctl
	@mkdir -p $(@D)
	$(CC) $(filter-out -Wconversion -MMD -MP,$(HOSTFLAGS)) -shared -fPIC $(filter %.c,$^) -o $@ -ldl -lpthread

# --- the firmware -------------------------------------------------------------------------------

include boot/boot.mk
include examples/examples.mk

# --- tests --------------------------------------------------------------------------------------

TESTS := $(patsubst tests/test_%.c,$B/tests/test_%,$(wildcard tests/test_*.c))
GUESTS := $(patsubst tests/firmware/%.c,$B/tests/firmware/%.bin,\
            $(filter-out tests/firmware/startup.c,$(wildcard tests/firmware/*.c))) \
          $(patsubst %,$B/tests/firmware/%-usart2.bin,mix table ticks)
SUPPORT := $(filter-out $B/obj/tests/torture.o $(patsubst tests/%.c,$B/obj/tests/%.o,$(wildcard tests/test_*.c)),$(call obj,tests/*.c)) $B/obj/tests/fuzz/targets.o $B/obj/sim/usbip.o

GUESTFLAGS := -mcpu=cortex-m3 -mthumb -std=gnu11 -Os -Wall -Wextra -ffunction-sections -fdata-sections \
              -I. -nostartfiles -Wl,--gc-sections --specs=nano.specs
$B/tests/firmware/%.elf: tests/firmware/%.c tests/firmware/startup.c tests/firmware/stm32.ld \
        $(wildcard tests/firmware/*.h)
	@mkdir -p $(@D)
	$(ARM)gcc $(GUESTFLAGS) -T tests/firmware/stm32.ld $(filter %.c,$^) -o $@
# Where USART1 is elsewhere: QEMU's netduino2.
$B/tests/firmware/%-usart2.elf: tests/firmware/%.c tests/firmware/startup.c tests/firmware/stm32.ld \
        $(wildcard tests/firmware/*.h)
	@mkdir -p $(@D)
	$(ARM)gcc $(GUESTFLAGS) -DCONSOLE=0x40004400u -T tests/firmware/stm32.ld $(filter %.c,$^) -o $@
$B/tests/firmware/asks.elf: examples/caboose.h
$B/tests/firmware/%.bin: $B/tests/firmware/%.elf
	$(ARM)objcopy -O binary $< $@

# What goes wrong on the computer's side.
PRELOADS := $(patsubst tests/preload/%.c,$B/tests/preload/%.so,$(wildcard tests/preload/*.c))
$B/tests/preload/%.so: tests/preload/%.c
	@mkdir -p $(@D)
	$(CC) $(filter-out -MMD -MP,$(HOSTFLAGS)) -shared -fPIC $< -o $@ -ldl

$B/tests/test_%: $B/obj/tests/test_%.o $(SUPPORT) $B/libhost.a $B/libsim.a $B/libimage.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $^ -o $@ -lcriterion -lusb-1.0 -lelf -lz -ljansson

# These look at what is built, and must not look at what was.
$B/tests/test_library $B/tests/test_pack $B/tests/test_caboose $B/tests/test_starved $B/tests/test_refused: | host $(PRELOADS)

include tests/parsers.mk

# Bootloaders with choices that no board makes.
TRIALS := $(patsubst tests/boards/%.mk,$B/firmware/%-tail.bin,$(wildcard tests/boards/*.mk))

tests: $(TESTS) $(GUESTS) $(SANITIZED) $(TRIALS)
check: all tests
	@tests/run $(TESTS) $(SANITIZED)

# The campaigns of power cuts, failing flash, events on the cable and requests: MINUTES of them on two
# processes; writes RELIABILITY.md. The firmware is copied first, so that another build meanwhile does no harm.
MINUTES ?= 60
$B/tests/torture: $(patsubst %,$B/obj/tests/%.o,torture campaign dfu_host usb_events requests request_model) \
        $B/obj/core/dfu_state.o $B/libsim.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $^ -o $@
torture: $B/tests/torture firmware
	cp $B/firmware/bluepill-tail.bin $B/tests/torture.firmware
	cp $B/firmware/bluepill-head.bin $B/tests/torture.head
	$B/tests/torture --minutes $(MINUTES) --firmware $B/tests/torture.firmware \
	    --head $B/tests/torture.head --report RELIABILITY.md \
	    --commit "$$(git rev-parse --short HEAD)$$(git diff --quiet HEAD -- boot core || echo ', boot changed')"

# Hosts that we have not written: strangers/README.md.
strangers: firmware host sim examples
	strangers/run; run=$$?; strangers/chromium && exit $$run

# The CPU core against QEMU's, for longer than ./check takes; a billion instructions are some ten minutes.
INSTRUCTIONS ?= 1000000000
SEED ?= 1
differential: $B/tests/test_differential $B/tests/firmware/differential.bin
	INSTRUCTIONS=$(INSTRUCTIONS) SEED=$(SEED) $< --verbose=0

# --- measurements (./bench): programs, never tests -----------------------------------------------------------

BENCH := $(patsubst measure/%.c,$B/measure/%,$(wildcard measure/*.c))
$B/measure/%: $B/obj/measure/%.o $B/libhost.a $B/libsim.a $B/libimage.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $^ -o $@ -lusb-1.0 -lelf -ljansson
$B/measure/cuts: $(patsubst %,$B/obj/%.o,measure/cuts tests/dfu_host core/dfu_state) $B/libsim.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $^ -o $@
measure: all $(BENCH) $B/tests/firmware/mix.bin $B/measure/peer-100.bin $B/measure/peer-0.bin

# What ours is compared with: peer-100 says 100 ms whatever it does, peer-0 how long it takes.
PEER := measure/peer/main.c examples/common/startup.c examples/common/clock.c
$B/measure/peer-%.elf: $(PEER) $(examples.LDSCRIPT)
	@mkdir -p $(@D)
	$(ARM)gcc $(examples.CFLAGS) -DPOLL_MS=$* $(examples.LDFLAGS) $(PEER) -o $@
$B/measure/peer-%.bin: $B/measure/peer-%.elf
	$(ARM)objcopy -O binary $< $@

# --- the rest -----------------------------------------------------------------------------------

install: all
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $B/bin/*
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/lib/caboose $B/lib/caboose-usbfs.so
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/caboose/firmware $(FIRMWARE)
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 docs/*.1
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib $B/lib/libcaboose.a
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/include $B/include/caboose.h

SOURCES = $(shell git ls-files '*.c' '*.h')
format:
	clang-format -i $(SOURCES)
analyse:
	cppcheck --enable=warning,portability --inline-suppr --error-exitcode=1 -q -I. core host image sim boot

clean:
	rm -rf $B

-include $(shell find $B -path $B/strangers -prune -o -type f -name '*.d' -print 2>/dev/null)
