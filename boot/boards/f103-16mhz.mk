# Any STM32F103 with a 16 MHz crystal and D+ pulled up for good.
f103-16mhz.CHOICES := -DHSE_MHZ=16 -DPROPER_KB=4
