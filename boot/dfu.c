/* SPDX-License-Identifier: MIT */
/* DFU 1.1 class requests and the commands of DfuSe (AN3156). */
#include "core/dfu_state.h"

#include "boot.h"

/* Block 0 of a download, by its first byte and its size (AN3156 §5). */
enum {
    SET_POINTER = DFUSE_SET_ADDRESS | 5 << 8,
    ERASE = DFUSE_ERASE | 5 << 8,
    MASS_ERASE = DFUSE_ERASE | 1 << 8,
    READ_UNPROTECT = DFUSE_READ_UNPROTECT | 1 << 8,
};

/* The end of the memory that addr is in, if it is below that, else in none that a host may see. */
static uint32_t memory_end(uint32_t addr)
{
    if (WITH_RAM && addr >= FROM_S(STACK_TOP)) /* below is the bootloader's own */
        return S->ram_end;
    if (WITH_SYSTEM && addr >= FROM_S(SYSTEM_MEMORY))
        return FROM_S(OPTION_BYTES_END);
    return addr >= FLASH_BASE ? S->end : 0;
}

/* Where the block of this request lies. A step of wBlockNum is the length of block 2, where the host
 * sent one since it set the address (hosts with smaller blocks than ours count in those), else
 * wTransferSize. The sum cannot wrap: a step is at most 64 MB away from the pointer. */
INLINE uint32_t block_address(unsigned wBlockNum, unsigned length)
{
    if (wBlockNum == DFUSE_FIRST_BLOCK)
        S->stride = (uint16_t)length;
    return S->pointer + (wBlockNum - DFUSE_FIRST_BLOCK) * S->stride;
}

/* A block of data, where it belongs. */
INLINE enum dfu_status write(void)
{
    uint32_t addr = block_address(S->wBlockNum, S->length), end = addr + S->length;

    if (in_app(end - 1) && (!HEAD || addr >= S->zero)) {
        app_write(addr);
        return S->status;
    }
    if (WITH_RAM && S->limit > (uint32_t)S && end <= S->limit) {
        unsigned i = S->length;
        do {
            i--;
            ((uint8_t *)addr)[i] = S->block[i];
        } while (i);
        return DFU_OK;
    }
    if (WITH_OPTIONS && addr == FROM_S(OPTION_BYTES) && S->pointer == addr &&
        S->length == OPTION_BYTES_SIZE) {
        if (HEAD && S->locked)
            return DFU_ERR_VENDOR; /* it would erase all */
        return options_write();
    }
    return DFU_ERR_TARGET;
}

/* Does what was downloaded; what goes wrong is in S->status. */
static void execute(void)
{
    uint32_t addr;
    __builtin_memcpy(&addr, S->block + 1, sizeof addr); /* little endian, as this core is */
    unsigned command = S->block[0] | (unsigned)S->length << 8, status = DFU_OK;

    if (S->wBlockNum)
        command = 0; /* none */
    if (command == SET_POINTER) {
        uint32_t limit = memory_end(addr);
        if (addr < limit) {
            S->pointer = addr;
            S->limit = limit;
            S->stride = TRANSFER_SIZE;
        } else {
            status = DFU_ERR_TARGET;
        }
    } else if (WITH_UNPROTECT && command == READ_UNPROTECT) {
        for (unsigned i = 0; i < OPTION_BYTES_SIZE; i++)
            S->block[i] = i ? 0xFF : OPTION_RDP_OPEN;
        status = options_write();
    } else if (command == READ_UNPROTECT || (!HEAD && S->locked)) {
        status = DFU_ERR_VENDOR; /* it would mass-erase the chip, and this bootloader */
    } else if (S->wBlockNum >= DFUSE_FIRST_BLOCK) {
        status = write();
    } else if (command == MASS_ERASE) {
        app_mass_erase();
    } else if (command == ERASE) {
        if (addr >= S->zero && in_app(addr))
            app_erase(addr);
        else
            status = DFU_ERR_TARGET;
    } else {
        status = DFU_ERR_STALLEDPKT;
    }
    S->status = (uint8_t)status;
}

/* Finishing goes on for a page; then the host is heard again. dfuDNBUSY ends here, when the host has been told,
 * not when it asks: a GETSTATUS that comes twice, because its acknowledgement was lost, is answered the same. An error
 * tears the download, for hosts that clear it and say that they are done; but not the refusal of a request, such as
 * UPLOAD behind a whole download: nothing is missing then. */
void dfu_work(void)
{
    if (S->finishing)
        app_finish_step();
    unsigned state = S->dfu;
    if (state == DFU_DNBUSY)
        state = DFU_DNLOAD_IDLE;
    if (S->status != DFU_OK) {
        state = DFU_ERROR;
        if (S->status != DFU_ERR_STALLEDPKT)
            tear();
    }
    S->dfu = (uint8_t)state;
}

INLINE void dfu_session(void)
{
    app_session();
    S->dfu_status = DFU_IDLE;
}

/*
 * What was downloaded is done now, while the host waits for the answer: at most 156 ms (a block across two
 * pages of 1 KB, DS5319), of the 500 that it must wait (USB 2.0 §9.2.6.4). Then the answer is dfuDNBUSY, as hosts
 * expect, and the next one tells that it is done.
 */
static int tell_status(void)
{
    unsigned ms = S->finishing ? app_left() * ERASE_MS : 0;
    unsigned state = S->dfu;

    if (state == DFU_DNLOAD_SYNC) {
        state = DFU_DNBUSY;
        if (!S->finishing) {
            S->dfu = DFU_DNBUSY;
            execute();
        }
    } else if (state == DFU_MANIFEST_SYNC && !S->finishing) {
        state = S->dfu = DFU_MANIFEST;
        S->leaving = LEAVE_TICKS;
        if (!S->valid && !(WITH_RAM && ram_startable())) {
            S->status = DFU_ERR_FIRMWARE;
            S->leaving = 0;
        }
    }
    unsigned status = S->status;
    if (status != DFU_OK)
        state = DFU_ERROR;
    if (WITH_TEXT && status == DFU_ERR_VENDOR)
        state |= PROTECTED << 8;
    S->reply[0] = status | ms << 8; /* bStatus, bwPollTimeout[3], bState, iString */
    S->reply[1] = state;
    return DFU_STATUS_SIZE;
}

/* UPLOAD: block 0 lists the commands (AN3156 §4.2), 2 and up read memory; nothing behind its end. */
INLINE int send(void)
{
    int size = S->setup.wLength;

    if (S->setup.wValue == 1)
        return USB_STALL;
    if (!S->setup.wValue) {
        *S->reply = DFUSE_GET | DFUSE_SET_ADDRESS << 8 | DFUSE_ERASE << 16 |
                    (uint32_t)DFUSE_READ_UNPROTECT << 24;
        return 4;
    }
    if (S->locked) {
        S->status = DFU_ERR_VENDOR;
        return USB_STALL;
    }
    app_finish(NOWHERE); /* a host that reads back has written all */
    uint32_t addr = block_address(S->setup.wValue, (unsigned)size);
    int room = (int)(S->limit - addr);
    S->dfu = DFU_UPLOAD_IDLE;
    if (size > room) {
        size = room > 0 ? room : 0;
        S->dfu = DFU_IDLE;
    }
    app_read(addr, (unsigned)size);
    return size;
}

int dfu_request(void)
{
    unsigned size = S->setup.wLength, request = S->setup.request >> 8;
    enum { IN = 1 << DFU_UPLOAD | 1 << DFU_GETSTATUS | 1 << DFU_GETSTATE };

    enum dfu_reaction reaction = DFU_REFUSE;

    if (S->dfu > DFU_ERROR)
        __builtin_unreachable();
    if (size <= TRANSFER_SIZE && request <= DFU_ABORT && /* not too much, the right direction */
        !((IN >> request ^ S->setup.request >> 7) & 1))
        reaction = dfu_react(S->dfu, request);
    switch (reaction) {
    case DFU_DOWNLOAD:
        S->wBlockNum = S->setup.wValue;
        S->length = (uint16_t)size;
        if (size) {
            S->leaving = 0;     /* of a host killed behind its leave: this one wants more */
            return USB_RECEIVE; /* dfuDNLOAD-SYNC when it has come: usb.c */
        }
        app_finish(S->pointer);
        S->leaving = LEAVE_UNASKED_TICKS;
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
        *S->reply = S->dfu;
        return 1;
    case DFU_STOP:
        if (S->dfu == DFU_DNLOAD_SYNC)
            tear(); /* the block under way is dropped */
        app_finish(NOWHERE);
        S->dfu = DFU_IDLE;
        return 0;
    case DFU_TO_IDLE:
        S->dfu_status = DFU_IDLE;
        return 0;
    case DFU_GO:
        app_finish(S->valid ? NOWHERE : S->pointer);
        S->leaving = LEAVE_TICKS;
        return 0;
    case DFU_IGNORE:
        return USB_STALL;
    case DFU_REFUSE:
        break;
    default:
        __builtin_unreachable();
    }
    if (S->status == DFU_OK)
        S->status = DFU_ERR_STALLEDPKT;
    return USB_STALL;
}
