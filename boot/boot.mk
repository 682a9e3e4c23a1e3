# The firmware. A board is a file boot/boards/<board>.mk of choices; a layout is a linker script.
#
#   build/firmware/<board>-<layout>.elf   for a debugger: symbols where the parts stand on a 64 KB part
#                                  .bin   for a probe, or any bootloader, at 0x08000000
#                                  .hex   the same with its address
#                                  .dfu   the same for dfu-util and its like

FWFLAGS := -mcpu=cortex-m3 -mthumb -std=c11 -Os -ffreestanding -fpie -fvisibility=hidden -fno-common \
           -ffunction-sections -fdata-sections -fno-jump-tables -fno-tree-loop-distribute-patterns \
           -fno-unwind-tables -fno-asynchronous-unwind-tables -fno-short-enums \
           -fstack-usage -g -I. -Iboot -MMD -MP -ffile-prefix-map=$(CURDIR)/= \
           $(filter-out -Wnull-dereference,$(WARN)) -Wstack-usage=256
# r7 holds the state (boot.h). The rest was found by trying: together they make the proper some 60 bytes
# smaller with gcc 12.2.
PROPERFLAGS := -fwhole-program -ffixed-r7 -fjump-tables -fno-move-loop-invariants -fno-tree-dominator-opts \
           -fno-schedule-insns2 -fno-inline-functions-called-once -flive-range-shrinkage -fno-tree-loop-im \
           -fno-optimize-sibling-calls -fno-expensive-optimizations -fno-if-conversion \
           --param=logical-op-non-short-circuit=1 -fno-ssa-phiopt -fno-tree-sink -fno-tree-tail-merge \
           -fno-tree-coalesce-vars
# The stub's the same way; some of them keep reset_entry() off the stack.
STUBFLAGS := -ffixed-r7 -fno-move-loop-invariants -fno-expensive-optimizations -fno-if-conversion -fno-thread-jumps \
           -fno-optimize-sibling-calls -fno-compare-elim -fno-tree-loop-im -fno-guess-branch-probability \
           -fno-split-paths --param=early-inlining-insns=0 -fno-ssa-phiopt -fno-tree-dominator-opts \
           -fno-partial-inlining -fno-ipa-sra -fno-early-inlining -fno-schedule-insns2 -fno-tree-scev-cprop
FWLINK  := -nostdlib -nostartfiles -static -Wl,--gc-sections -Wl,--build-id=none -Wl,-z,max-page-size=4

BOARDS     := $(patsubst boot/boards/%.mk,%,$(wildcard boot/boards/*.mk))
include $(wildcard boot/boards/*.mk tests/boards/*.mk)
vpath %.mk boot/boards tests/boards
IMAGES     := $(BOARDS:=-tail) $(foreach b,$(BOARDS),$(if $($b.HEAD_KB),$b-head))
FIRMWARE   := $(foreach i,$(IMAGES),$(addprefix $B/firmware/$i.,elf bin hex dfu))

# What a board may choose, and what it gets if it doesn't (boot/choices.h says what they mean).
choice = $(or $(patsubst -D$1=%,%,$(filter -D$1=%,$($2.CHOICES))),$3)
PROPER_KB = $(call choice,PROPER_KB,$1,3)

$B/boot/%/stub.o: boot/stub.c %.mk boot/boot.mk
	@mkdir -p $(@D)
	$(ARM)gcc $(FWFLAGS) $(STUBFLAGS) $($*.CHOICES) -c $< -o $@
	@awk '$$1 ~ /reset_entry/ && $$2 != 0 { print "reset_entry() must not use the stack: it uses " $$2 " bytes"; exit 1 }' $(@:.o=.su)
$B/boot/%/proper.o: boot/proper.c %.mk boot/boot.mk
	@mkdir -p $(@D)
	$(ARM)gcc $(FWFLAGS) $(PROPERFLAGS) $($*.CHOICES) -c $< -o $@

$B/firmware/%-tail.elf: $B/boot/%/stub.o $B/boot/%/proper.o boot/link.ld
	@mkdir -p $(@D)
	@echo link $@
	@sum=0; for pass in 1 2; do \
	    $(ARM)gcc $(FWFLAGS) $(FWLINK) -T boot/link.ld -Wl,--defsym=proper_size=$(call PROPER_KB,$*)K \
	        -Wl,--defsym=proper_sum=$$sum -Wl,-Map=$(@:.elf=.map) $(filter %.o,$^) -o $@ && \
	    $(ARM)objcopy -O binary $@ $(@:.elf=.bin) || exit; \
	    sum=$$(tail -c +1025 $(@:.elf=.bin) | od -An -v -tu4 -w4 | \
	        awk '{ sum = (sum + $$1) % 4294967296 } END { printf "%.0f", sum }'); \
	done

# The head layout is one translation unit, bootloader proper and all.
$B/boot/%/head.o: boot/head.c %.mk boot/boot.mk
	@mkdir -p $(@D)
	$(ARM)gcc $(FWFLAGS) $(PROPERFLAGS) $($*.CHOICES) -DAPP_AT=$($*.HEAD_KB)*1024 -c $< -o $@
	@awk '$$1 ~ /reset_entry/ && $$2 != 0 { print "reset_entry() must not use the stack: it uses " $$2 " bytes"; exit 1 }' $(@:.o=.su)

$B/firmware/%-head.elf: $B/boot/%/head.o boot/head.ld
	@mkdir -p $(@D)
	$(ARM)gcc $(FWFLAGS) $(FWLINK) -T boot/head.ld \
	    -Wl,-Map=$(@:.elf=.map) $< -o $@

$B/firmware/%.bin: $B/firmware/%.elf
	$(ARM)objcopy -O binary $< $@
$B/firmware/%.hex: $B/firmware/%.elf
	$(ARM)objcopy -O ihex $< $@
$B/firmware/%.dfu: $B/firmware/%.bin $B/bin/caboose
	$B/bin/caboose pack -q -o $@ --address 0x08000000 $<

# Bytes of code in stub and proper (the head layout is one), and of the image; pages that it takes when installed, the
# journal's among them.
firmware: $(FIRMWARE)
	@printf '%-24s %8s %8s %8s   %s\n' image stub proper bytes 'pages of 1 KB, 2 KB'
	@for i in $(IMAGES); do \
	    set -- $$($(ARM)nm $B/firmware/$$i.elf | awk '{ at[$$3] = $$1 } END { \
	        print at["proper_end"], at["dfu_main"], at["stub_vectors"], at["stub_end"] }'); \
	    size=$$(stat -c %s $B/firmware/$$i.bin); \
	    case $$i in \
	    *-head) set -- - $$((0x$$1 - 0x$$3)) $$((size / 1024)), $$((size / 2048));; \
	    *) set -- $$((0x$$4 - 0x$$3)) $$((0x$$1 - 0x$$2)) $$((size / 1024 + 1)), $$(((size + 1023) / 2048 + 2));; \
	    esac; \
	    printf '%-24s %8s %8d %8d   %s %s\n' $$i $$1 $$2 $$size $$3 $$4; \
	done
