/* SPDX-License-Identifier: MIT */
/*
 * Private to the board and its peripherals: the whole state of a board in one struct, and what the
 * peripherals ask of one another.
 *
 * Peripheral states hold no pointers, so that struct board can be copied by assignment; the few
 * pointers stand at the front, and board.c puts them right after a copy.
 */
#ifndef SIM_BOARD_STATE_H
#define SIM_BOARD_STATE_H

#include "board.h"
#include "cpu.h"
#include "machine.h"
#include "parts.h"
#include "usb_state.h"

enum {
    MAX_DEVICES = 64,
    DEVICE_SLOTS = 144, /* of 1 KB: 0x40000000 … 0x40023FFF */
    MAX_PAGES = 256,
    PORTS = 7,  /* GPIOA … GPIOG */
    TIMERS = 8, /* TIM1 … TIM8 */
    USARTS = 3,
    PLAIN_DEVICES = 16, /* that only store */
    PLAIN_REGS = 24,
    UART_QUEUE = 4096, /* bytes on their way to one receiver; a power of two */
    SYSTEM_MEMORY_SIZE = 0x800,
    OPTION_SIZE = 16,
};

#define FLASH_BASE         UINT32_C(0x08000000)
#define RAM_BASE           UINT32_C(0x20000000)
#define SYSTEM_MEMORY_BASE UINT32_C(0x1FFFF000)
#define OPTION_BASE        UINT32_C(0x1FFFF800)
#define NEVER              UINT64_MAX

/* Virtual time: ns, and part/hz of one more, when the CPU had done that many cycles. Changing the
 * clock starts a new stretch; nothing is lost but less than one cycle's fraction. */
struct clock {
    uint64_t ns, cycles;
    uint64_t part; /* < hz */
    uint32_t hz;   /* HCLK */
};

/* RCC_CSR (RM0008 §7.3.10). */
enum {
    RCC_CSR_PINRSTF = 1 << 26,
    RCC_CSR_PORRSTF = 1 << 27,
    RCC_CSR_SFTRSTF = 1 << 28,
    RCC_CSR_IWDGRSTF = 1 << 29,
    RCC_CSR_WWDGRSTF = 1 << 30,
};

struct rcc_state {
    uint32_t cr, cfgr, cir, apb2rstr, apb1rstr, ahbenr, apb2enr, apb1enr, bdcr, csr;
    uint64_t hsi_ready, hse_ready, pll_ready, lsi_ready,
        lse_ready; /* when; NEVER: not on its way */
};

enum flash_key { KEY_LOCKED, KEY_FIRST, KEY_OPEN, KEY_DEAD }; /* dead: until reset */

struct flash_state {
    uint32_t acr, cr, sr, ar, obr, wrpr;
    enum flash_key key, option_key;
    bool busy, busy_is_late; /* late: begun by STRT (erratum) */
    uint64_t end;            /* of the operation, ns */
    uint64_t begun_at_insn;  /* cpu.instructions */
    bool of_options;         /* the operation changes option bytes, else main flash */
    uint32_t offset, size;   /* what it changes */
    bool then_option;        /* RDP removal: after the mass erase this option half-word follows */
    uint32_t then_offset;
    uint16_t then_value;
    uint8_t option[OPTION_SIZE];
    /* Bits that a power cut left undecided: in main flash b->marginal has them, all in this range. */
    uint32_t marginal_from, marginal_to;
    uint8_t marginal_option[OPTION_SIZE];
    uint64_t marginal_random; /* what they read as at the next power-up */
    struct board_flash_failure failure;
    enum board_flash_fault struck; /* what the operation under way suffers from */
    /* Page 0 window: the vector at 0x08000004 does not stand since. */
    bool open;
    uint64_t open_since;
    uint32_t wear[MAX_PAGES];
};

struct gpio_state {
    uint32_t crl, crh, lckr;
    uint16_t odr, locked;
    uint8_t lock_step;
    uint16_t driven, driven_high; /* from outside */
    uint16_t level, shown;        /* of each pin; as last told to the pin callback */
};

struct afio_state {
    uint32_t evcr, mapr, exticr[4], mapr2;
};

struct exti_state {
    uint32_t imr, emr, rtsr, ftsr, swier, pr;
};

struct backup_state {
    uint16_t dr[43]; /* [1] is BKP_DR1 */
    uint16_t rtccr, cr, csr;
};

struct iwdg_state {
    bool open, running;
    uint32_t pr, rlr;
    uint64_t pr_busy, rlr_busy; /* SR.PVU, SR.RVU until */
    uint64_t end;
};

struct wwdg_state {
    uint32_t cfr, sr, counter;
    bool running;
    uint64_t since; /* the counter had its value at, ns */
};

struct usart_state {
    uint32_t sr, brr, cr1, cr2, cr3, gtpr;
    uint8_t rdr, tdr, shift;
    bool shifting, sr_was_read, told;
    uint64_t tx_end, rx_end; /* NEVER: nothing on the line */
    uint16_t queue_in, queue_out;
    uint8_t queue[UART_QUEUE];
};

struct tim_state {
    uint32_t r[20];         /* by offset / 4; CNT is true at `since` only */
    uint32_t psc, arr, rcr; /* shadow registers, repetitions left */
    bool running, told;
    uint64_t since; /* cycle count at which CNT was true and the prescaler 0 */
};

struct dma_channel {
    uint32_t ccr, cndtr, cpar, cmar;
    uint32_t left, at; /* transfers left, and done */
};

struct dma_state {
    uint32_t isr;
    struct dma_channel channel[7];
};

struct rtc_state {
    uint32_t crh, crl, prl, alarm;
    uint32_t count;
    uint64_t since; /* the counter had its value at, ns */
};

struct adc_state {
    uint32_t r[20];
};

struct plain_state {
    bool told;
    uint32_t r[PLAIN_REGS]; /* by row of the register table */
};

enum boot_mode { BOOT_FLASH, BOOT_SYSTEM, BOOT_RAM };
/* Why the CPU does not run though time passes. */
enum halt { HALT_NONE, HALT_OFF, HALT_RESET, HALT_LOCKUP };

struct board {
    /* Pointers, and what belongs to the one who made the board: not copied by board_restore(). */
    struct board_config config;
    const struct part *part;
    uint8_t *flash, *ram;
    uint8_t *undo;     /* what the flash operation under way found; flash_size bytes */
    uint8_t *marginal; /* undecided bits of flash: 0 outside fpec.marginal_from … _to */

    struct cpu_bus bus;

    struct cpu cpu; /* first of what is the state */

    struct clock clock;
    uint64_t deadline[MAX_DEVICES];
    uint64_t limit;      /* board_run_until() stops at */
    uint64_t release_at; /* end of the reset under way */
    uint64_t random;     /* generator's state */
    enum halt halt;
    enum boot_mode boot;
    bool fault;                 /* the access under way becomes a bus fault */
    uint32_t reset_asked;       /* RCC_CSR_… of a reset that a peripheral asked for; 0: none */
    bool error;                 /* a rule was broken since board_run_until() began */
    bool rom_loaded;            /* somebody put a real ROM into system memory */
    uint8_t slot[DEVICE_SLOTS]; /* row of the device there + 1; 0: none */
    uint64_t lost_told; /* devices that were accessed without clock: bit per row, told once */

    uint64_t cut_after; /* flash operations until power is cut; 0: not ordered */
    enum board_torn cut_torn;
    uint64_t cut_random;
    bool cut; /* it has happened */
    uint64_t cut_time;

    struct board_counts counts;
    bool complained;
    struct board_complaint complaint;

    uint8_t system_memory[SYSTEM_MEMORY_SIZE];
    struct rcc_state rcc;
    struct flash_state fpec;
    struct gpio_state gpio[PORTS];
    struct afio_state afio;
    struct exti_state exti;
    uint32_t pwr_cr, pwr_csr;
    struct backup_state backup;
    struct iwdg_state iwdg;
    struct wwdg_state wwdg;
    struct usart_state usart[USARTS];
    struct tim_state tim[TIMERS];
    struct dma_state dma[2];
    struct rtc_state rtc;
    struct adc_state adc[3];
    uint32_t crc_dr, crc_idr;
    struct plain_state plain[PLAIN_DEVICES];
    struct usb_state usb;
};

/* --- board.c --- */

/* A system reset for that reason as soon as the instruction under way is done. */
void board_ask_reset(struct board *b, uint32_t rcc_csr_flag);
/* HCLK has changed: time goes on from here at another pace. */
void board_set_hclk(struct board *b, uint32_t hz);
/* Resets the devices that hang on this bit of RCC (as struct device.clock). */
void board_reset_devices(struct board *b, uint16_t clock);
/* Power goes off at that time, in the middle of a flash operation. */
void board_cut(struct board *b, uint64_t when_ns);
/* An access by DMA: no side effects on the CPU. False: bus error. */
bool board_dma_read(struct board *b, uint32_t addr, unsigned size, uint32_t *value);
bool board_dma_write(struct board *b, uint32_t addr, unsigned size, uint32_t value);
/* splitmix64; for generators of their own. */
uint64_t random_next(uint64_t *state);

/* The value that a register table resets to, or writes to. */
const struct reg *reg_find(const struct reg *regs, unsigned count, uint32_t offset);

/* --- rcc.c --- */
extern const struct device rcc_device;
uint32_t rcc_enable_register(const struct board *b, uint32_t offset); /* AHBENR, APB2ENR, APB1ENR */
uint32_t rcc_reset_register(const struct board *b, uint32_t offset);  /* by the offset of …ENR */
uint32_t rcc_sysclk_hz(const struct board *b);
uint32_t rcc_timer_hz(const struct board *b, bool apb2);
uint32_t rcc_rtc_hz(const struct board *b); /* 0: no clock */
bool rcc_hsi_runs(const struct board *b);
void rcc_start_lsi(struct board *b); /* the watchdog does */
void rcc_set_reset_flags(struct board *b, uint32_t flags);

/* --- flash.c --- */
extern const struct device flash_device;
void flash_store(struct board *b, uint32_t addr, unsigned size, uint32_t value);
void flash_store_option(struct board *b, uint32_t addr, unsigned size, uint32_t value);
uint32_t flash_size(const struct board *b);
/* Complains if the wait states do not suit the clock. */
void flash_check_latency(struct board *b);
void flash_clock_changed(struct board *b);
void flash_lose_power(struct board *b);
void flash_gain_power(struct board *b);
void flash_loaded(struct board *b, uint32_t offset, uint32_t size); /* a probe wrote there */
uint64_t flash_open_ns(const struct board *b); /* of the window that is open now */

/* --- gpio.c, afio_exti.c --- */
extern const struct device gpio_devices[PORTS], afio_device, exti_device;
bool gpio_is_alternate_output(const struct board *b, char port, unsigned pin);
void gpio_update(struct board *b, unsigned port); /* what drives its pins has changed */
void exti_edge(struct board *b, unsigned line, bool rising);
void exti_pin_edge(struct board *b, unsigned port, unsigned pin, bool rising);
uint32_t afio_mapr(const struct board *b);

/* --- pwr_bkp.c --- */
extern const struct device pwr_device, bkp_device;
bool pwr_backup_writable(const struct board *b);
void bkp_reset_domain(struct board *b); /* RCC_BDCR.BDRST, loss of power */
void rtc_reset_domain(struct board *b);

/* --- the rest --- */
extern const struct device iwdg_device, wwdg_device, crc_device, rtc_device, dbgmcu_device;
extern const struct device usart_devices[USARTS], tim_devices[TIMERS], dma_devices[2],
    adc_devices[3];
extern const struct device plain_devices[];
extern const unsigned plain_device_count;
void usart_receive(struct board *b, unsigned index, uint8_t byte);
void tim_before_clock_change(struct board *b);
void tim_after_clock_change(struct board *b);
/* A peripheral's DMA request: one transfer of that channel (1 …), at once. */
void dma_request(struct board *b, unsigned dma, unsigned channel);
void usart_dma_ready(struct board *b); /* a channel was enabled: requests that wait are served */

#endif
