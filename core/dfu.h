/* SPDX-License-Identifier: MIT */
/*
 * The words of USB Device Firmware Upgrade 1.1 and of ST's extension DfuSe, as both ends of the
 * cable must agree on them.
 *
 * DFU 1.1: USB-IF "Device Class Specification for Device Firmware Upgrade", 2004.
 * DfuSe: ST AN3156 and UM0424; bcdDFUVersion 0x011A.
 */
#ifndef CORE_DFU_H
#define CORE_DFU_H

enum dfu_request { /* DFU 1.1 table 3.2 */
    DFU_DETACH,
    DFU_DNLOAD,
    DFU_UPLOAD,
    DFU_GETSTATUS,
    DFU_CLRSTATUS,
    DFU_GETSTATE,
    DFU_ABORT,
};

enum dfu_state { /* DFU 1.1 §6.1.2, bState */
    DFU_APP_IDLE,
    DFU_APP_DETACH,
    DFU_IDLE,
    DFU_DNLOAD_SYNC,
    DFU_DNBUSY,
    DFU_DNLOAD_IDLE,
    DFU_MANIFEST_SYNC,
    DFU_MANIFEST,
    DFU_MANIFEST_WAIT_RESET,
    DFU_UPLOAD_IDLE,
    DFU_ERROR,
};

enum dfu_status { /* DFU 1.1 §6.1.2, bStatus */
    DFU_OK,
    DFU_ERR_TARGET,
    DFU_ERR_FILE,
    DFU_ERR_WRITE,
    DFU_ERR_ERASE,
    DFU_ERR_CHECK_ERASED,
    DFU_ERR_PROG,
    DFU_ERR_VERIFY,
    DFU_ERR_ADDRESS,
    DFU_ERR_NOTDONE,
    DFU_ERR_FIRMWARE,
    DFU_ERR_VENDOR,
    DFU_ERR_USBR,
    DFU_ERR_POR,
    DFU_ERR_UNKNOWN,
    DFU_ERR_STALLEDPKT,
};

enum dfu_attribute { /* bmAttributes of the functional descriptor, DFU 1.1 table 4.2 */
    DFU_CAN_DNLOAD = 1,
    DFU_CAN_UPLOAD = 2,
    DFU_MANIFESTATION_TOLERANT = 4,
    DFU_WILL_DETACH = 8,
};

enum dfuse_command { /* first byte of DNLOAD block 0; AN3156 §5 */
    DFUSE_GET = 0x00,
    DFUSE_SET_ADDRESS = 0x21,
    DFUSE_ERASE = 0x41,
    DFUSE_READ_UNPROTECT = 0x92,
};

enum {
    DFU_CLASS = 0xFE,
    DFU_SUBCLASS = 0x01,
    DFU_PROTOCOL_RUNTIME = 0x01,
    DFU_PROTOCOL_DFU = 0x02,
    DFU_FUNCTIONAL_DESCRIPTOR = 0x21,
    DFU_VERSION_DFUSE = 0x011A,
    DFU_STATUS_SIZE = 6,   /* GETSTATUS: bStatus, bwPollTimeout[3], bState, iString */
    DFUSE_FIRST_BLOCK = 2, /* wBlockNum of the first data block; 0 is a command, 1 undefined */
};

#endif
