/* SPDX-License-Identifier: MIT */
/*
 * The DFU state machine of a DfuSe device in DFU mode, as a table: what a request means in a state.
 *
 * DFU 1.1 appendix A.2, with AN3156's additions (commands, leave from dfuIDLE) and what tools need:
 * CLRSTATUS leads to dfuIDLE from everywhere (OpenMV's pydfu, ST's DfuSeDemo use it to get there);
 * GETSTATUS and GETSTATE are answered in every state (DFU 1.1 wants a STALL in dfuDNBUSY; fwupd takes
 * a STALLed GETSTATUS for "appIDLE, OK"); ABORT is accepted while a download waits for GETSTATUS; DETACH
 * everywhere (dfu-util -R and -e). Once dfuMANIFEST was told nothing changes the mind: the rest is
 * STALLed, the state stays.
 */
#ifndef CORE_DFU_STATE_H
#define CORE_DFU_STATE_H

#include "dfu.h"

enum dfu_reaction { /* as a rule what the request says; so they are numbered as those are */
    DFU_GO,         /* DETACH: leave for the application, if there is one */
    DFU_DOWNLOAD,   /* take wLength bytes; with none: leave */
    DFU_SEND,       /* send memory, or the list of commands */
    DFU_TELL,       /* GETSTATUS */
    DFU_TO_IDLE,    /* dfuIDLE, the error forgotten */
    DFU_STATE,      /* GETSTATE */
    DFU_STOP, /* dfuIDLE; a block that no GETSTATUS asked for is dropped, else all may be complete */
    DFU_REFUSE, /* STALL, dfuERROR, errSTALLEDPKT */
    DFU_IGNORE, /* STALL; the state stays */
};

/* What request (bRequest) means in state. Anything that is no DFU request, or a state of the
 * run-time (appIDLE, appDETACH): DFU_REFUSE. */
enum dfu_reaction dfu_react(enum dfu_state state, unsigned request);

#endif
