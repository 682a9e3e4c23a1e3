/* SPDX-License-Identifier: MIT */
/* Between the files of host/dfu_util*.c only. Functions that can fail return 0 or an exit code of
 * sysexits.h, and have said what went wrong. */
#ifndef HOST_DFU_UTIL_PARTS_H
#define HOST_DFU_UTIL_PARTS_H

#include "core/memory_map.h"
#include "host/detach.h"
#include "host/link.h"
#include "image/image.h"

#include <stdbool.h>
#include <stdint.h>

enum { DFU_UTIL_ANY = -1, DFU_UTIL_NONE = 0x10000 }; /* of ids: all, and none at all */
enum { DFU_UTIL_TEXT = 128 }; /* a string descriptor has at most 126 characters */

/* --- the command line --------------------------------------------------------------------------- */

struct dfu_util_ids {
    int vendor, product; /* or DFU_UTIL_ANY, DFU_UTIL_NONE */
};

struct dfu_util_options {
    enum dfu_util_mode {
        DFU_UTIL_NOTHING,
        DFU_UTIL_VERSION,
        DFU_UTIL_LIST,
        DFU_UTIL_DETACH,
        DFU_UTIL_UPLOAD,
        DFU_UTIL_DOWNLOAD,
    } mode;
    const char *file;                          /* NULL: commands only */
    struct dfu_util_ids runtime, dfu;          /* -d, for each of the two modes of a device */
    const char *serial, *serial_dfu;           /* -S; NULL: any */
    const char *path, *alt_name;               /* NULL: any */
    int number, configuration, interface, alt; /* DFU_UTIL_ANY */
    int detach_delay_s, transfer_size, upload_size, verbose;
    bool reset, wait, silent; /* silent: what cannot be opened has been told before */
    const char *usbip;        /* HOST[:PORT]; NULL: this computer's USB */

    /* -s */
    bool dfuse, has_address, force, leave, unprotect, mass_erase, will_reset;
    uint32_t address, length; /* length 0: not given */
};

/* --- what there is ------------------------------------------------------------------------------ */

struct dfu_util_alt { /* an alternate setting of a DFU interface: a line of -l */
    struct link_device where;
    uint16_t vendor, product, version;
    uint16_t dfu_version, transfer_size, detach_timeout_ms; /* transfer_size 0: not known */
    uint8_t attributes, configuration, interface, alt, max_packet;
    bool dfu_mode;
    char name[DFU_UTIL_TEXT], serial[DFU_UTIL_TEXT];
};

struct dfu_util_list {
    struct dfu_util_alt *alts; /* in the order in which they are listed */
    size_t count;
};

/* Looks at every device that the options select. The list is the caller's to free. */
int dfu_util_find(
    struct link *link, const struct dfu_util_options *options, struct dfu_util_list *list);
void dfu_util_free(struct dfu_util_list *list);
void dfu_util_print(const struct dfu_util_list *list);

/* --- the conversation --------------------------------------------------------------------------- */

struct dfu_util_wire {
    struct link *link;
    uint8_t interface, attributes;
    int verbose;
    bool will_reset; /* dfuDNBUSY is the last that is heard of it */
    uint16_t transfer_size;
    uint8_t status, state; /* of the last GETSTATUS */
    uint32_t poll_ms;
    bool plain; /* DFU 1.1 */
    bool left;  /* a leave request was obeyed: what is gone is no error */
};

enum dfu_util_command {
    DFU_UTIL_SET_ADDRESS,
    DFU_UTIL_ERASE_PAGE,
    DFU_UTIL_MASS_ERASE,
    DFU_UTIL_READ_UNPROTECT,
};

/* One request of the DFU class: the count of bytes or enum transfer_error. */
int wire_request(
    struct dfu_util_wire *wire, uint8_t request, uint16_t value, uint8_t *data, uint16_t size);
/* GETSTATUS into wire; 0 or enum transfer_error. */
int wire_status(struct dfu_util_wire *wire);
/* Selects an alternate setting. */
int wire_select(struct dfu_util_wire *wire, uint8_t alt);
/* From whatever state it is found in to one that takes a DNLOAD. */
int wire_ready(struct dfu_util_wire *wire);
/* ABORT, and dfuIDLE after it. */
int wire_abort(struct dfu_util_wire *wire);
/* A command of DfuSe and its execution; addr is for the first two. */
int wire_command(struct dfu_util_wire *wire, enum dfu_util_command command, uint32_t addr);
/* A block and its execution. DfuSe: block 2. */
int wire_block(struct dfu_util_wire *wire, uint16_t block, const uint8_t *data, uint16_t size);
/* The request to leave DFU mode and seeing the device off. */
int wire_leave(struct dfu_util_wire *wire);
/* -R */
int wire_reset(struct dfu_util_wire *wire);
/* "DFU state(2) = dfuIDLE, status(0) = …" to a stream: stdio's FILE. */
void wire_tell(const struct dfu_util_wire *wire, bool error);
const char *wire_error(int error); /* "LIBUSB_ERROR_PIPE" */

/* --- the memory --------------------------------------------------------------------------------- */

/* Commands, then the image (NULL: none), then leave, as DfuSe. The wire's device is list->alts[0]; the
 * others are further alternate settings of the same one. */
int dfuse_download(struct dfu_util_wire *wire, const struct dfu_util_list *list,
    const struct dfu_util_options *options, const struct image *image);
int dfuse_upload(struct dfu_util_wire *wire, const struct dfu_util_alt *alt,
    const struct dfu_util_options *options, int fd);
/* The same for devices that know DFU 1.1 only. */
int plain_download(struct dfu_util_wire *wire, const struct image *image);
int plain_upload(struct dfu_util_wire *wire, const struct dfu_util_options *options, int fd);

/* --- what people and programs read -------------------------------------------------------------- */

/* "dfu-util: …" to standard error. */
__attribute__((format(printf, 1, 2))) void dfu_util_say(const char *format, ...);
/* The bar that dfu-util draws; done == total ends it. total 0: not known. */
void dfu_util_bar(const char *what, uint64_t done, uint64_t total);
void dfu_util_sleep(uint32_t ms);

#endif
