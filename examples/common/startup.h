/* SPDX-License-Identifier: MIT */
/*
 * Reset entry and interrupt handlers. A program defines the handlers it wants and main(); all
 * others hang in default_handler().
 */
#ifndef STARTUP_H
#define STARTUP_H

void reset_handler(void);
void default_handler(void);
int main(void);

void nmi_handler(void);
void hard_fault_handler(void);
void mem_manage_handler(void);
void bus_fault_handler(void);
void usage_fault_handler(void);
void svc_handler(void);
void debug_mon_handler(void);
void pend_sv_handler(void);
void systick_handler(void);
void tim2_handler(void);
void usb_lp_handler(void);

/* The words that ARMv7-M reserves, by offset. Zero unless the program defines a handler. */
void reserved_1c_handler(void);
void reserved_20_handler(void);
void reserved_24_handler(void);
void reserved_28_handler(void);
void reserved_34_handler(void);

#endif
