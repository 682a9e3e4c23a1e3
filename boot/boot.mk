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
# r7 holds the state (boot.h). The rest was found by trying: together they make the image 50 bytes
# smaller with gcc 12.2.
PROPERFLAGS := -fwhole-program -ffixed-r7 -fno-move-loop-invariants -fno-caller-saves \
           -fno-tree-dominator-opts -fno-schedule-insns2 -fno-inline-functions-called-once \
           -flive-range-shrinkage -fno-tree-coalesce-vars -fno-tree-ter -fno-forward-propagate \
           -fno-tree-scev-cprop
FWLINK  := -nostdlib -nostartfiles -static -Wl,--gc-sections -Wl,--build-id=none -Wl,-z,max-page-size=4

BOARDS     := $(patsubst boot/boards/%.mk,%,$(wildcard boot/boards/*.mk))
include $(wildcard boot/boards/*.mk)
IMAGES     := $(BOARDS:=-tail)
FIRMWARE   := $(foreach i,$(IMAGES),$(addprefix $B/firmware/$i.,elf bin hex dfu))
IMAGE_MAX  := 4096 # bytes
TAKEN_MAX  := 5120 # bytes of flash taken when installed, on a part with 1 KB pages

$B/boot/stub.o: boot/stub.c
	@mkdir -p $(@D)
	$(ARM)gcc $(FWFLAGS) -ffixed-r7 -c $< -o $@
	@awk '$$1 ~ /reset_entry/ && $$2 != 0 { print "reset_entry() must not use the stack: it uses " $$2 " bytes"; exit 1 }' $(@:.o=.su)
$B/boot/%/proper.o: boot/proper.c boot/boards/%.mk
	@mkdir -p $(@D)
	$(ARM)gcc $(FWFLAGS) $(PROPERFLAGS) $($*.CHOICES) -c $< -o $@

$B/firmware/%-tail.elf: $B/boot/stub.o $B/boot/%/proper.o boot/link.ld
	@mkdir -p $(@D)
	$(ARM)gcc $(FWFLAGS) $(FWLINK) -T boot/link.ld \
	    -Wl,--defsym=proper_sum=$$(cksum <$B/boot/$*/proper.o | cut -d' ' -f1) -Wl,-Map=$(@:.elf=.map) $(filter %.o,$^) -o $@

$B/firmware/%.bin: $B/firmware/%.elf
	$(ARM)objcopy -O binary $< $@
$B/firmware/%.hex: $B/firmware/%.elf
	$(ARM)objcopy -O ihex $< $@
$B/firmware/%.dfu: $B/firmware/%.bin $B/bin/caboose
	$B/bin/caboose pack -q -o $@ --address 0x08000000 $<

firmware: $(FIRMWARE)
	@for i in $(IMAGES); do \
	    size=$$(stat -c %s $B/firmware/$$i.bin); taken=$$((($$size + 1023) / 1024 * 1024 + 1024)); \
	    printf '%-20s image %5d bytes (limit %d)   takes %d bytes of flash when installed (limit %d)\n' \
	        $$i $$size $(IMAGE_MAX) $$taken $(TAKEN_MAX); \
	    [ $$size -le $(IMAGE_MAX) ] && [ $$taken -le $(TAKEN_MAX) ]; \
	done
