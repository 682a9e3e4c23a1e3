/* SPDX-License-Identifier: MIT */
/* The commands: each takes its parsed options and returns an exit code of sysexits.h. */
#ifndef HOST_CMD_H
#define HOST_CMD_H

#include "host/options.h"

int cmd_list(const struct options *options);
int cmd_info(const struct options *options);
int cmd_flash(const struct options *options);
int cmd_read(const struct options *options);
int cmd_verify(const struct options *options);
int cmd_erase(const struct options *options);
int cmd_leave(const struct options *options);
int cmd_unprotect(const struct options *options);
int cmd_udev(const struct options *options);
int cmd_completion(const struct options *options);
int cmd_pack(const struct options *options);
int cmd_unpack(const struct options *options);
int cmd_inspect(const struct options *options);

#endif
