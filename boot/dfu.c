/* SPDX-License-Identifier: MIT */
/* DFU 1.1 class requests and the commands of DfuSe (AN3156). */
#include "core/dfu_state.h"

#include "boot.h"

/* The smallest time that may be announced while busy: dfu-util takes a hundred zeros in a row for a
 * device that is stuck. */
enum { BUSY_MS = 1 };

static void error(enum dfu_status status)
{
    S->status = (uint8_t)status;
    S->dfu = DFU_ERROR;
}

/* Where the block of this request lies. A step of wBlockNum is the length of block 2, where the host
 * sent one since it set the address (hosts with smaller blocks than ours count in those), else
 * wTransferSize. The sum cannot wrap: a pointer is in flash, a step at most 64 MB away from it. */
static uint32_t block_address(unsigned wBlockNum, unsigned length)
{
    if (wBlockNum == DFUSE_FIRST_BLOCK)
        S->stride = (uint16_t)length;
    return S->pointer + (wBlockNum - DFUSE_FIRST_BLOCK) * S->stride;
}

/* Is [addr, addr + size) the application's? */
static bool in_app(uint32_t addr, uint32_t size)
{
    uint32_t room = S->app_end - FLASH_BASE;
    return addr - FLASH_BASE < room && size <= room - (addr - FLASH_BASE);
}

/* Does what was downloaded; or, without go, checks it and says how much work it will be. */
static unsigned execute(bool go)
{
    uint32_t addr;
    __builtin_memcpy(&addr, S->block + 1, sizeof addr); /* little endian, as this core is */

    if (S->wBlockNum >= DFUSE_FIRST_BLOCK) {
        addr = block_address(S->wBlockNum, S->length);
        if (!in_app(addr, S->length))
            error(DFU_ERR_TARGET);
        else
            return app_write(addr, go);
    } else if (S->wBlockNum) {
        error(DFU_ERR_STALLEDPKT);
    } else if (S->block[0] == DFUSE_SET_ADDRESS && S->length == 5) {
        if (addr - FLASH_BASE >= S->end - FLASH_BASE) {
            error(DFU_ERR_TARGET);
        } else {
            S->pointer = addr;
            S->stride = TRANSFER_SIZE;
        }
    } else if (S->block[0] == DFUSE_ERASE && S->length == 5) {
        if (!in_app(addr, 1))
            error(DFU_ERR_TARGET);
        else if (go)
            app_erase(addr);
    } else if (S->block[0] == DFUSE_ERASE && S->length == 1) {
        if (go)
            app_mass_erase();
    } else if (S->block[0] == DFUSE_READ_UNPROTECT && S->length == 1) {
        error(DFU_ERR_VENDOR); /* it would mass-erase the chip, and this bootloader */
    } else {
        error(DFU_ERR_STALLEDPKT);
    }
    return 0;
}

/* Some steps of finishing: a second, 1.3 s at most (DS5319); then the host is heard again. */
static void finish_some(void)
{
    for (unsigned i = 0; i < 32 && S->finishing && !(USB->ISTR & USB_ISTR_RESET); i++)
        app_finish_step(true);
}

void dfu_work(void)
{
    if (S->finishing)
        finish_some();
    else if (S->dfu == DFU_DNBUSY) {
        S->dfu = DFU_DNLOAD_IDLE;
        execute(true);
    } else
        return;
    if (S->status != DFU_OK) {
        S->dfu = DFU_ERROR;
        S->torn = true;
    }
}

void dfu_session(void)
{
    app_session();
    S->dfu = DFU_IDLE;
    S->status = DFU_OK;
}

static int tell_status(void)
{
    bool busy = S->finishing;
    unsigned work = busy ? app_finish_step(false) : 0;

    if (S->dfu == DFU_DNLOAD_SYNC || S->dfu == DFU_DNBUSY) {
        busy = true;
        S->dfu = DFU_DNBUSY;
        work += execute(false); /* or an error */
    } else if (S->dfu == DFU_MANIFEST_SYNC && !S->finishing) {
        busy = true;
        S->dfu = DFU_MANIFEST;
        S->leave_ms = LEAVE_MS;
        if (!S->valid)
            error(DFU_ERR_FIRMWARE);
    }
    unsigned ms = busy ? BUSY_MS + (work * 3441 >> 16) : 0; /* 52.5 µs for each half-word */
    uint32_t *reply = (uint32_t *)(void *)S->page; /* bStatus, bwPollTimeout[3], bState, iString */
    reply[0] = S->status | ms << 8;
    reply[1] = S->dfu;
    return DFU_STATUS_SIZE;
}

/* UPLOAD: block 0 lists the commands (AN3156 §4.2), 2 and up read memory; nothing behind its end. */
static int send(void)
{
    unsigned size = S->setup.wLength;

    if (S->setup.wValue == 1)
        return USB_STALL;
    if (!S->setup.wValue) {
        *(uint32_t *)(void *)S->page = DFUSE_GET | DFUSE_SET_ADDRESS << 8 | DFUSE_ERASE << 16 |
                                       (uint32_t)DFUSE_READ_UNPROTECT << 24;
        return 4;
    }
    app_finish(false); /* a host that reads back has written all */
    uint32_t addr = block_address(S->setup.wValue, size), end = S->end;
    unsigned room = addr < end ? end - addr : 0;
    S->dfu = DFU_UPLOAD_IDLE;
    if (size > room) {
        size = room;
        S->dfu = DFU_IDLE;
    }
    app_read(S->page, addr, size);
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
        app_finish(true);
        S->leave_ms = LEAVE_UNASKED_MS;
        S->dfu = DFU_MANIFEST_SYNC;
        return 0;
    case DFU_SEND: {
        int n = send();
        if (n == USB_STALL)
            break;
        return n;
    }
    case DFU_TELL:
        return tell_status();
    case DFU_STATE:
        S->page[0] = S->dfu;
        return 1;
    case DFU_STOP:
        if ((unsigned)S->dfu - DFU_DNLOAD_SYNC <= DFU_DNBUSY - DFU_DNLOAD_SYNC)
            S->fresh = 0; /* the block under way is dropped: that is no end of a download */
        app_finish(false);
        S->dfu = DFU_IDLE;
        return 0;
    case DFU_TO_IDLE:
        S->status = DFU_OK;
        S->dfu = DFU_IDLE;
        return 0;
    case DFU_GO:
        app_finish(true);
        S->leave_ms = LEAVE_MS;
        return 0;
    case DFU_IGNORE:
        return USB_STALL;
    case DFU_REFUSE:
        break;
    }
    error(DFU_ERR_STALLEDPKT);
    return USB_STALL;
}
