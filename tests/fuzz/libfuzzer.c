/* SPDX-License-Identifier: MIT */
/* One target as libFuzzer wants it; -DTARGET=fuzz_hex says which. */
#include "targets.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return TARGET(data, size);
}
