/* SPDX-License-Identifier: MIT */
#ifndef IMAGE_CRC32_H
#define IMAGE_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* The CRC of IEEE 802.3 (reflected, 0xEDB88320) from all ones on, without the final inversion, as DFU 1.1
 * appendix B has it: 0x340bc6d9 of "123456789". */
uint32_t crc32_dfu(const uint8_t *data, size_t size);

#endif
