/* SPDX-License-Identifier: MIT */
/* DFU 1.1 class requests and the commands of DfuSe (AN3156). */
#include "core/dfu_state.h"

#include "boot.h"

/* Flash is protected against reading: AN3156 wants everything refused. In the tail layout the chip refuses to
 * write page 0, too; in the head layout all of the application can be written, but not be read. */
static bool locked(void)
{
    return FLASH_REGS->OBR & FLASH_OBR_RDPRT;
}

/* Block 0 of a download, by its first byte and its size (AN3156 §5); and any from 2 on. */
enum {
    SET_ADDRESS = DFUSE_SET_ADDRESS | 5 << 8,
    ERASE = DFUSE_ERASE | 5 << 8,
    MASS_ERASE = DFUSE_ERASE | 1 << 8,
    READ_UNPROTECT = DFUSE_READ_UNPROTECT | 1 << 8,
    WRITE = 1,
};

/* The end of the memory that addr is in; 0: in none that a host may see. */
static uint32_t memory_end(uint32_t addr)
{
    if (addr - FLASH_BASE < S->end - FLASH_BASE)
        return S->end;
    if (WITH_SYSTEM && addr - SYSTEM_MEMORY < OPTION_BYTES_END - SYSTEM_MEMORY)
        return OPTION_BYTES_END;
    if (WITH_RAM && addr - STACK_TOP < S->ram_end - STACK_TOP) /* below is the bootloader's own */
        return S->ram_end;
    return 0;
}

/* Where the block of this request lies. A step of wBlockNum is the length of block 2, where the host
 * sent one since it set the address (hosts with smaller blocks than ours count in those), else
 * wTransferSize. The sum cannot wrap: a step is at most 64 MB away from the pointer. */
static uint32_t block_address(unsigned wBlockNum, unsigned length)
{
    if (wBlockNum == DFUSE_FIRST_BLOCK)
        S->stride = (uint16_t)length;
    return S->pointer + (wBlockNum - DFUSE_FIRST_BLOCK) * S->stride;
}

/* Does what was downloaded; what goes wrong is in S->status. */
static void execute(void)
{
    uint32_t addr;
    __builtin_memcpy(&addr, S->block + 1, sizeof addr); /* little endian, as this core is */
    unsigned command = S->block[0] | (unsigned)S->length << 8, status = DFU_OK;

    if (S->wBlockNum >= DFUSE_FIRST_BLOCK) {
        command = WRITE;
        addr = block_address(S->wBlockNum, S->length);
    } else if (S->wBlockNum) {
        command = 0;
    }
    if (command == SET_ADDRESS) {
        uint32_t limit = memory_end(addr);
        if (limit) {
            S->pointer = addr;
            S->limit = limit;
            S->stride = TRANSFER_SIZE;
        } else {
            status = DFU_ERR_TARGET;
        }
    } else if (WITH_UNPROTECT && command == READ_UNPROTECT) {
        for (unsigned i = 0; i < OPTION_BYTES_SIZE; i++)
            S->block[i] = i ? 0xFF : OPTION_RDP_OPEN;
        options_write();
        return;
    } else if (command == READ_UNPROTECT || (!HEAD && locked())) {
        status = DFU_ERR_VENDOR; /* it would mass-erase the chip, and this bootloader */
    } else if (command == MASS_ERASE) {
        app_mass_erase();
    } else if (command == ERASE) {
        if (in_app(addr, 1))
            app_erase(addr);
        else
            status = DFU_ERR_TARGET;
    } else if (command != WRITE) {
        status = DFU_ERR_STALLEDPKT;
    } else if (in_app(addr, S->length)) {
        app_write(addr);
        return;
    } else if (WITH_RAM && addr >= STACK_TOP && addr + S->length <= S->ram_end) {
        for (unsigned i = 0; i < S->length; i++)
            ((volatile uint8_t *)addr)[i] = S->block[i];
    } else if (WITH_OPTIONS && addr == OPTION_BYTES && S->pointer == addr &&
               S->length == OPTION_BYTES_SIZE && !(HEAD && locked())) { /* it would erase all */
        options_write();
        return;
    } else {
        status = DFU_ERR_TARGET;
    }
    S->status = (uint8_t)status;
}

/* Finishing goes on for some pages, 0.3 s at most (DS5319); then the host is heard again. */
void dfu_work(void)
{
    for (unsigned i = 0; i < 8 && S->finishing && !(USB->ISTR & USB_ISTR_RESET); i++)
        app_finish_step();
    if (S->status != DFU_OK)
        S->dfu = DFU_ERROR;
}

void dfu_session(void)
{
    app_session();
    S->dfu = DFU_IDLE;
    S->status = DFU_OK;
}

/* Can what leave names be started, or the application? */
bool dfu_can_leave(void)
{
    return S->valid || (WITH_RAM && S->pointer >= SRAM_BASE && startable(S->pointer));
}

/*
 * What was downloaded is done now, while the host waits for the answer: at most 156 ms (a block across two
 * pages of 1 KB, DS5319), of the 500 that it must wait (USB 2.0 §9.2.6.4). Then the answer is dfuDNBUSY, as hosts
 * expect, and the next one tells that it is done.
 */
static int tell_status(void)
{
    unsigned ms = S->finishing ? app_left() * ERASE_MS : 0;
    uint8_t state = S->dfu;

    if (state == DFU_DNLOAD_SYNC) {
        state = DFU_DNBUSY;
        if (!S->finishing) {
            S->dfu = DFU_DNLOAD_IDLE;
            execute();
        }
    } else if (state == DFU_MANIFEST_SYNC && !S->finishing) {
        S->leave_ms = LEAVE_MS;
        S->dfu = state = DFU_MANIFEST;
        if (!dfu_can_leave())
            S->status = DFU_ERR_FIRMWARE;
    }
    if (S->status != DFU_OK)
        S->dfu = state = DFU_ERROR;
    uint32_t *reply = (uint32_t *)(void *)S->reply; /* bStatus, bwPollTimeout[3], bState, iString */
    reply[0] = S->status | ms << 8;
    reply[1] = state;
    if (WITH_TEXT && S->status == DFU_ERR_VENDOR)
        reply[1] |= PROTECTED << 8;
    return DFU_STATUS_SIZE;
}

/* UPLOAD: block 0 lists the commands (AN3156 §4.2), 2 and up read memory; nothing behind its end. */
INLINE int send(void)
{
    unsigned size = S->setup.wLength;

    if (S->setup.wValue == 1)
        return USB_STALL;
    if (!S->setup.wValue) {
        *(uint32_t *)(void *)S->reply = DFUSE_GET | DFUSE_SET_ADDRESS << 8 | DFUSE_ERASE << 16 |
                                        (uint32_t)DFUSE_READ_UNPROTECT << 24;
        return 4;
    }
    if (locked()) {
        S->status = DFU_ERR_VENDOR;
        return USB_STALL;
    }
    app_finish(NOWHERE); /* a host that reads back has written all */
    uint32_t addr = block_address(S->setup.wValue, size), end = S->limit;
    unsigned room = addr < end ? end - addr : 0;
    S->dfu = DFU_UPLOAD_IDLE;
    if (size > room) {
        size = room;
        S->dfu = DFU_IDLE;
    }
    app_read(S->block, addr, size);
    S->tx = S->block;
    return (int)size;
}

int dfu_request(void)
{
    unsigned size = S->setup.wLength, request = S->setup.request >> 8;
    enum { IN = 1 << DFU_UPLOAD | 1 << DFU_GETSTATUS | 1 << DFU_GETSTATE };

    if (size > TRANSFER_SIZE ||
        (request <= DFU_ABORT && (IN >> request & 1) != (S->setup.request >> 7 & 1)))
        request = DFU_ABORT + 1; /* too much, or the wrong direction: refused */
    switch (dfu_react(S->dfu, request)) {
    case DFU_DOWNLOAD:
        S->wBlockNum = S->setup.wValue;
        S->length = (uint16_t)size;
        if (size)
            return USB_RECEIVE; /* dfuDNLOAD-SYNC when it has come: usb.c */
        app_finish(S->pointer);
        S->leave_ms = LEAVE_UNASKED_MS;
        S->dfu = DFU_MANIFEST_SYNC;
        return 0;
    case DFU_SEND: {
        int n = send();
        if (n >= 0)
            return n;
        break;
    }
    case DFU_TELL:
        return tell_status();
    case DFU_STATE:
        S->reply[0] = S->dfu;
        return 1;
    case DFU_STOP:
        if (S->dfu == DFU_DNLOAD_SYNC)
            tear(); /* the block under way is dropped */
        app_finish(NOWHERE);
        S->dfu = DFU_IDLE;
        return 0;
    case DFU_TO_IDLE:
        S->status = DFU_OK;
        S->dfu = DFU_IDLE;
        return 0;
    case DFU_GO:
        app_finish(S->valid ? NOWHERE : S->pointer);
        S->leave_ms = LEAVE_MS;
        return 0;
    case DFU_IGNORE:
        return USB_STALL;
    case DFU_REFUSE:
        break;
    }
    if (S->status == DFU_OK)
        S->status = DFU_ERR_STALLEDPKT;
    S->dfu = DFU_ERROR;
    return USB_STALL;
}
