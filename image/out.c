/* SPDX-License-Identifier: MIT */
#include "image/out.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_ROOM = 4096 };

static void make_room(struct out *out, size_t size)
{
    size_t room = out->room ? out->room : FIRST_ROOM;
    while (room - out->size < size)
        room *= 2;
    uint8_t *grown = room == out->room ? out->data : realloc(out->data, room);
    out->failed |= !grown;
    if (!grown)
        return;
    out->data = grown;
    out->room = room;
}

void out_add(struct out *out, const void *bytes, size_t size)
{
    make_room(out, size);
    if (out->failed)
        return;
    memcpy(out->data + out->size, bytes, size);
    out->size += size;
}
