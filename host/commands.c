/* SPDX-License-Identifier: MIT */
#include "host/commands.h"
#include "host/cmd.h"

#define BOARD  "dwu" /* which board */
#define BOARDS "dmwu"
#define TELL   "jqh"

// clang-format off
const struct command commands[] = {
    {"list",       cmd_list,       "",                 0, 0,   "dujh",               "show the boards that are there"},
    {"info",       cmd_info,       "",                 0, 0,   BOARD "aJh",          "show one board: memory, state, program"},
    {"flash",      cmd_flash,      "FILE",             1, 1,   BOARDS "aAnrVLfy" TELL, "write what differs, verify, start it"},
    {"verify",     cmd_verify,     "FILE",             1, 1,   BOARDS "aAy" TELL,    "compare a file with what the board holds"},
    {"read",       cmd_read,       "FILE",             1, 1,   BOARD "aAs" TELL,     "read memory into a file"},
    {"erase",      cmd_erase,      "",                 0, 0,   BOARDS "aAsn" TELL,   "erase all that can be written, or a range"},
    {"leave",      cmd_leave,      "[ADDR]",           0, 1,   BOARDS "aAnf" TELL,   "start the program that is on the board"},
    {"unprotect",  cmd_unprotect,  "",                 0, 0,   BOARDS "anf" TELL,    "remove read protection, and all of flash"},
    {"inspect",    cmd_inspect,    "FILE",             1, 1,   "AyJh",               "show what a file holds, or what is wrong"},
    {"pack",       cmd_pack,       "OUT FILE[@ADDR]…", 1, 255, "DAoatyJqh",           "make one file of others, of any kind"},
    {"unpack",     cmd_unpack,     "FILE",             1, 1,   "AotfyJqh",             "write each part of a file to its own file"},
    {"udev",       cmd_udev,       "",                 0, 0,   "h",                  "print the udev rule for using boards"},
    {"completion", cmd_completion, "SHELL",            1, 1,   "h",                  "print a completion script: bash, zsh, fish"},
};
// clang-format on

const size_t command_count = sizeof commands / sizeof commands[0];
