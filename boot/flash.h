/* SPDX-License-Identifier: MIT */
/* Flash: erase and program in place, read back (PM0075); records. Included by what stands first in a layout,
 * and offered to the bootloader proper (stub.h). */
#ifndef BOOT_FLASH_H
#define BOOT_FLASH_H

#include "stub.h"

/* The size of the page at addr. */
static uint32_t page_size_at(uint32_t addr);

/* cr: what to do, as bits of FLASH_CR. The CPU stands still at its next instruction while flash is busy
 * (PM0075 §1.1), so the loop finds the work done; a watchdog that option bytes started is fed. */
SERVICE flash_operate(uint32_t addr, unsigned value, uint32_t cr)
{
    if (FLASH_REGS->CR & FLASH_CR_LOCK) { /* since reset; PM0075 §2.3.1 */
        FLASH_REGS->KEYR = FLASH_KEY1;
        FLASH_REGS->KEYR = FLASH_KEY2;
    }
    if (WITH_OPTIONS && cr & ~FLASH_REGS->CR & FLASH_CR_OPTWRE) { /* PM0075 §2.3.5 */
        FLASH_REGS->OPTKEYR = FLASH_KEY1;
        FLASH_REGS->OPTKEYR = FLASH_KEY2;
    }
    FLASH_REGS->SR = FLASH_SR_PGERR | FLASH_SR_WRPRTERR | FLASH_SR_EOP;
    FLASH_REGS->CR = cr;
    if (cr & (FLASH_CR_PG | FLASH_CR_OPTPG)) { /* PM0075 §2.3.3 */
        *(volatile uint16_t *)addr = (uint16_t)value;
    } else { /* PM0075 §2.3.4 */
        FLASH_REGS->AR = addr;
        FLASH_REGS->CR = cr | FLASH_CR_STRT;
    }
    uint32_t sr = FLASH_REGS->SR; /* BSY rises one cycle late (errata sheet of F10xx8/B) */
    for (unsigned i = 0; i < 1U << 23; i++) {
        sr = FLASH_REGS->SR;
        if (!(sr & FLASH_SR_BSY))
            break;
    }
    IWDG_KR = IWDG_KR_RELOAD;
    return sr & FLASH_SR_WRPRTERR ? DFU_ERR_WRITE : DFU_OK;
}

SERVICE flash_erase(uint32_t page)
{
    enum dfu_status status = flash_operate(page, 0, FLASH_CR_PER);

    for (uint32_t i = page_size_at(page); i; i -= 4)
        if (((const volatile uint32_t *)(page + i))[-1] != 0xFFFFFFFF && status == DFU_OK)
            status = DFU_ERR_ERASE;
    return status;
}

SERVICE flash_program(uint32_t addr, unsigned value)
{
    enum dfu_status status = flash_operate(addr, value, FLASH_CR_PG);

    if (*(const volatile uint16_t *)addr != value && status == DFU_OK)
        status = DFU_ERR_VERIFY;
    return status;
}

/* A record's half-words, the first to be programmed in the lowest four bits (layout.h). */
enum { ORDER = HEAD ? 0x1032 : 0x3201, LAST = ORDER >> 12 };

static enum dfu_status program_record(struct record *at, uint32_t word0, uint32_t word1)
{
    uint16_t half[4] = {
        (uint16_t)word0, (uint16_t)(word0 >> 16), (uint16_t)word1, (uint16_t)(word1 >> 16)};
    enum dfu_status status = DFU_OK;

    for (unsigned order = ORDER; order && status == DFU_OK; order >>= 4)
        status = flash_program((uint32_t)at + (order & 3) * 2, half[order & 3]);
    return status;
}

/* Whatever it reads as: a cut may have left it half written, half zeroed. */
static enum dfu_status clear_record(struct record *at)
{
    flash_program((uint32_t)at + LAST * 2, 0);
    return program_record(at, 0, 0);
}

#endif
