# LeafLabs Maple Mini and its clones: STM32F103CB, 8 MHz crystal; PB9 low pulls D+ up; button at PB8, high
# when pressed.
maple-mini.CHOICES := -DHSE_MHZ=8 -DCONNECT_PORT="'B'" -DCONNECT_PIN=9 \
                      -DENTER_BY_RESET=0 -DENTER_PORT="'B'" -DENTER_PIN=8 -DENTER_LEVEL=1
# Head layout: the application stands at 0x08002000, as sketches for the STM32duino bootloader do.
maple-mini.HEAD_KB := 8
