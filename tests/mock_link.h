/* SPDX-License-Identifier: MIT */
/* A link to a scripted device: transfers take no time, everything else takes the device's. */
#ifndef TESTS_MOCK_LINK_H
#define TESTS_MOCK_LINK_H

#include "host/link.h"
#include "tests/mock_device.h"

/* The device's path is "mock". It is open from the start. */
struct link *mock_link(struct mock *mock);

#endif
