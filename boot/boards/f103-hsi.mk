# Any STM32F103 without a crystal, D+ pulled up for good. Out of USB's specification: see HSE_MHZ in
# choices.h. Two presses of the reset button enter DFU.
f103-hsi.CHOICES := -DHSE_MHZ=0 -DENTER_BY_RESET=2 -DENTER_BY_DR1=0
