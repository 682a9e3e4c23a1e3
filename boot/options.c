/* SPDX-License-Identifier: MIT */
/* Option bytes (PM0075 §2.3.5): all of them are erased, then those that came are programmed; the chip
 * adds the complements. RDP comes first: erased it means protected. */
#include "boot.h"

enum dfu_status options_write(void)
{
    enum dfu_status status = DFU_OK;

    stub_flash_operate(0, 0, FLASH_CR_OPTWRE | FLASH_CR_OPTER);
    for (unsigned i = 0; i < OPTION_BYTES_SIZE; i += 2) {
        stub_flash_operate(FROM_S(OPTION_BYTES) + i, S->block[i], FLASH_CR_OPTWRE | FLASH_CR_OPTPG);
        if (*(const volatile uint8_t *)(FROM_S(OPTION_BYTES) + i) != S->block[i])
            status = DFU_ERR_VERIFY;
    }
    S->leaving = LEAVE_TICKS; /* a reset, for the chip to take them over */
    return status;
}

/* The bootloader's own 4 KB (head layout; PM0075 table 9: bit 0 of WRP0), if they are not protected yet, by that
 * or by read-out protection (then to write option bytes would erase the chip). It counts from the next reset
 * on. */
static inline void options_protect(void)
{
    const volatile uint16_t *option = (const volatile uint16_t *)OPTION_BYTES;

    if (FLASH_REGS->OBR & FLASH_OBR_RDPRT || !(FLASH_REGS->WRPR & 1))
        return;
    for (unsigned i = 0; i < OPTION_BYTES_SIZE / 2; i++)
        S->block[2 * i] = (uint8_t)option[i];
    S->block[2 * 4] &= 0xFE;
    options_write();
    S->leaving = 0;
}
