# Blue Pill and all that are like it: STM32F103C8 or CB, 8 MHz crystal, D+ pulled up for good.
bluepill.CHOICES := -DHSE_MHZ=8
# Head layout: the application stands at 0x08001000.
bluepill.HEAD_KB := 4
