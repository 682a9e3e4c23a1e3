/* SPDX-License-Identifier: MIT */
/* Option bytes (PM0075 §2.3.5): all of them are erased, then those that came are programmed; the chip
 * adds the complements. RDP comes first: erased it means protected. */
#include "boot.h"

static void options_wait(void)
{
    for (unsigned i = 0; i < 1U << 23 && FLASH_REGS->SR & FLASH_SR_BSY; i++) {
    }
}

void options_write(void)
{
    volatile uint16_t *option = (volatile uint16_t *)OPTION_BYTES;

    if (FLASH_REGS->CR & FLASH_CR_LOCK) {
        FLASH_REGS->KEYR = FLASH_KEY1;
        FLASH_REGS->KEYR = FLASH_KEY2;
    }
    FLASH_REGS->OPTKEYR = FLASH_KEY1;
    FLASH_REGS->OPTKEYR = FLASH_KEY2;
    FLASH_REGS->CR = FLASH_CR_OPTWRE | FLASH_CR_OPTER;
    FLASH_REGS->CR = FLASH_CR_OPTWRE | FLASH_CR_OPTER | FLASH_CR_STRT;
    (void)FLASH_REGS->SR;
    options_wait();
    FLASH_REGS->CR = FLASH_CR_OPTWRE | FLASH_CR_OPTPG;
    for (unsigned i = 0; i < OPTION_BYTES_SIZE / 2; i++) {
        option[i] = S->block[2 * i];
        options_wait();
        if ((uint8_t)option[i] != S->block[2 * i])
            S->status = DFU_ERR_VERIFY;
    }
    FLASH_REGS->CR = 0;
    S->options = true; /* a reset, for the chip to take them over */
    S->leave_ms = LEAVE_MS;
}

/* The bootloader's own 4 KB (head layout; PM0075 table 9: bit 0 of WRP0), if they are not protected yet. The host
 * writes option bytes by the same way; the reset comes when it comes. */
static inline void options_protect(void)
{
    const volatile uint16_t *option = (const volatile uint16_t *)OPTION_BYTES;

    if (!(option[4] & 1))
        return;
    for (unsigned i = 0; i < OPTION_BYTES_SIZE / 2; i++)
        S->block[2 * i] = (uint8_t)option[i];
    S->block[2 * 4] &= 0xFE;
    options_write();
    S->options = false;
    S->leave_ms = 0;
}
