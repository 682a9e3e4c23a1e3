# Any STM32F103 with a 12 MHz crystal and D+ pulled up for good, of high density above all: there a proper
# of 4 KB costs no page.
f103-12mhz.CHOICES := -DHSE_MHZ=12 -DPROPER_KB=4
