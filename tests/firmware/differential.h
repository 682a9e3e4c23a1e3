/* SPDX-License-Identifier: MIT */
/*
 * What the generator of random programs (tests/differential.c) and the guest that runs them agree on.
 *
 * An image is the guest, then this header, then the programs. A program is entered in thread mode on
 * the process stack and ends with SVC 255.
 */
#ifndef DIFFERENTIAL_H
#define DIFFERENTIAL_H

#include <stdint.h>

#define IMAGE_BASE UINT32_C(0x08000000)
#define IMAGE_SIZE UINT32_C(0x00020000) /* as QEMU's stm32vldiscovery */
#define BATCH_ADDR UINT32_C(0x08002000)

/* RAM of 8 KB, from below: the guest's data, the process stack growing down to PROCESS_STACK_END,
 * the programs' data, the guest's stack. What lies above the process stack is data, so that stores
 * relative to SP do no harm. */
#define PROCESS_STACK_END UINT32_C(0x20000e00)
#define PROCESS_STACK     UINT32_C(0x20001200)
#define DATA_ADDR         UINT32_C(0x20001240)
#define DATA_SIZE         UINT32_C(0x000008c0)

/* A register that only stores, here and on QEMU (USART2_BRR): 1 written when a program begins or goes
 * on, 0 when it has been left. Who runs the image can count the programs' own instructions. */
#define MARKER_ADDR UINT32_C(0x40004408)

enum {
    SVC_END = 255,
    SVC_UNPRIVILEGED = 254,
    SVC_PRIVILEGED = 253,

    PROGRAM_PRIVILEGED = 1, /* bit 0 of an entry */

    MAX_PROGRAMS = 256,
};

struct batch {
    uint32_t programs;
    uint32_t runs; /* of each program, from different registers, flags and modes */
    uint32_t seed;
    uint32_t show;                /* not 0: print the registers whenever a program is left */
    uint32_t entry[MAX_PROGRAMS]; /* address, | PROGRAM_PRIVILEGED */
};

#endif
