# SPDX-License-Identifier: MIT
# Firmware as any user would write it, for the tests. Included by the top Makefile; stands alone
# too: make -f examples/examples.mk
#
#   $(B)/examples/NAME.{elf,bin}     VERSION=1
#   $(B)/examples/NAME-2.{elf,bin}   VERSION=2: the same program, flashed again differently

B   ?= build
ARM ?= arm-none-eabi-

EXAMPLES := blinky vectors usbdev large hsi runtime

examples.COMMON := common/startup.c common/uart.c
blinky.SRC  := blinky/main.c common/clock.c
vectors.SRC := vectors/main.c common/clock.c
usbdev.SRC  := usbdev/main.c usbdev/usb.c common/clock.c common/tick.c
runtime.SRC := runtime/main.c runtime/usb.c common/clock.c common/tick.c
large.SRC   := large/main.c common/clock.c common/tick.c common/syscalls.c
large.GEN   := large/tables.c
hsi.SRC     := hsi/main.c common/tick.c
hsi.LDFLAGS := -Wl,--defsym=RAM_SIZE=8K

examples.CFLAGS := -std=c11 -Os -g -mcpu=cortex-m3 -mthumb -ffunction-sections -fdata-sections \
	-fno-common -ffile-prefix-map=$(CURDIR)=. -Iexamples -Iexamples/common -Iexamples/large \
	-Wall -Wextra -Wshadow -Wconversion -Wundef -Wvla -Wcast-qual -Wstrict-prototypes \
	-Wmissing-prototypes -Wswitch-enum -Wdouble-promotion -Wformat=2 -Wdate-time \
	-Wduplicated-cond -Wduplicated-branches -Wlogical-op -Wnull-dereference $(WERROR)
examples.LDSCRIPT := examples/common/stm32f103c8.ld
examples.LDFLAGS := -mcpu=cortex-m3 -mthumb -nostartfiles -Wl,--gc-sections \
	-Wl,--fatal-warnings -T $(examples.LDSCRIPT)
examples.IMAGES := $(foreach e,$(EXAMPLES),$B/examples/$e $B/examples/$e-2)

.PHONY: examples
examples: $(examples.IMAGES:=.bin)
	@for image in $(examples.IMAGES); do \
		printf '%-28s %6d bytes\n' $$image.bin $$(wc -c < $$image.bin); \
	done

$B/examples/%.bin: $B/examples/%.elf
	$(ARM)objcopy -O binary $< $@

# large's tables are made by a program that runs here.
$B/examples/gentables: examples/large/gentables.c examples/large/tables.h
	@mkdir -p $(@D)
	$(CC) -std=c11 -O2 -Wall -Wextra -o $@ $< -lm

# $1: a version
define EXAMPLES_VERSION
$B/examples/v$1/%.o: examples/%.c
	@mkdir -p $$(@D)
	$(ARM)gcc $$(examples.CFLAGS) -DVERSION=$1 -MMD -MP -c $$< -o $$@

$B/examples/v$1/large/tables.c: $B/examples/gentables
	@mkdir -p $$(@D)
	$$< $1 > $$@.new
	mv $$@.new $$@

$B/examples/v$1/%.o: $B/examples/v$1/%.c
	$(ARM)gcc $$(examples.CFLAGS) -MMD -MP -c $$< -o $$@
endef

# $1: an example, $2: a version, $3: the image's name
define EXAMPLES_IMAGE
$3.OBJ := $$(patsubst %.c,$B/examples/v$2/%.o,$$(examples.COMMON) $$($1.SRC) $$($1.GEN))
$B/examples/$3.elf: $$($3.OBJ) $$(examples.LDSCRIPT)
	$(ARM)gcc $$(examples.LDFLAGS) $$($1.LDFLAGS) -o $$@ $$($3.OBJ) -lm
-include $$($3.OBJ:.o=.d)
endef

$(foreach v,1 2,$(eval $(call EXAMPLES_VERSION,$v)))
$(foreach e,$(EXAMPLES),$(eval $(call EXAMPLES_IMAGE,$e,1,$e)))
$(foreach e,$(EXAMPLES),$(eval $(call EXAMPLES_IMAGE,$e,2,$e-2)))
