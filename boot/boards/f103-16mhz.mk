# Any STM32F103 with a 16 MHz crystal and D+ pulled up for good. Five resets in a row without the
# application writing 0 to BKP_DR7 end in DFU.
f103-16mhz.CHOICES := -DHSE_MHZ=16 -DPROPER_KB=4 -DENTER_AFTER_RESETS=5 -DENTER_BY_DR1=HEAD -DPROTECT_ITSELF=HEAD
# Head layout: the application stands at 0x08008000, and the bootloader write-protects itself.
f103-16mhz.HEAD_KB := 32
