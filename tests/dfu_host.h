/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the bootloader share: boards that carry it, applications to put on them, and a
 * DFU host that speaks to them as the tools in the field do. Nothing here asserts: what goes wrong
 * is returned, and the test says what that means.
 *
 *     struct host h = host_on_new_board("stm32f103c8");      // installed, enumerated
 *     struct app app = app_build(8192, 1, 0);
 *     dfu_download_like_dfu_util(&h, FLASH, app.data, app.size) && dfu_leave(&h, 2)
 *     hears(h.board, app.tag, 500)                            // it runs
 */
#ifndef TESTS_DFU_HOST_H
#define TESTS_DFU_HOST_H

#include "core/dfu.h"
#include "sim/board.h"
#include "sim/usb_host.h"

/* --- the chip and the bootloader, as its users know them ---------------------------------------- */

enum {
    FLASH = 0x08000000,
    RAM = 0x20000000,
    SYSTEM_MEMORY = 0x1FFFF000,
    OPTION_BYTES = 0x1FFFF800,
    OPTION_BYTES_SIZE = 16,
    OPTION_BYTES_END = OPTION_BYTES + OPTION_BYTES_SIZE,
    OWN_RAM_END = RAM + 0x1800, /* below is the bootloader's own */
    PAGE = 1024,
    XFER = 1024, /* wTransferSize */
};
enum { /* why a reset: RCC_CSR, RM0008 §7.3.10 */
    CAUSE_PIN = 1 << 26,
    CAUSE_POWER = 1 << 27,
    CAUSE_SOFTWARE = 1 << 28,
    CAUSE_WATCHDOG = 1 << 29,
};
#define CAUSES 0xFC000000U
enum { ALL_PARTS = 7 };
extern const char *const all_parts[ALL_PARTS]; /* every size of flash, 16 to 512 KB */
#define BOOTLOADER      "build/firmware/bluepill-tail.bin"
#define FULL_BOOTLOADER "build/firmware/bluepill-full-tail.bin"
#define HEAD_BOOTLOADER "build/firmware/bluepill-head.bin"
extern const char *bootloader_path; /* what new_board() loads: BOOTLOADER, or what a program says */
extern struct board_config board_design; /* what its boards are like: crystal, pull-up of D+ */
/* Where applications begin: FLASH, or behind the bootloader if that is one of the head layout. */
extern uint32_t app_base;

void put32(uint8_t *to, uint32_t value); /* little endian */
uint32_t get32(const uint8_t *from);
uint64_t random64(uint64_t *state);

/* --- applications ------------------------------------------------------------------------------- */

struct app {
    uint8_t *data;
    size_t size;
    char tag[5]; /* what the program says on USART1 when it starts */
};

/* An application for app_base with noise behind it: the vector table, and at APP_PROGRAM_AT a program
 * that keeps r0, as it was at its first instruction, in RAM at APP_KEEPS_R0; says its tag on USART1;
 * then obeys bytes received there: 'R' resets the chip, 'W' waits for the watchdog to do so, 'T' and
 * '1' ask for the bootloader in BKP_DR10 and BKP_DR1, then reset. */
enum {
    APP_SMALLEST = 0x220,
    APP_PROGRAM_AT = 0x150,
    APP_ENTRY = FLASH + APP_PROGRAM_AT + 1, /* its reset vector, if app_base is FLASH */
    APP_KEEPS_R0 = RAM + 0x400,
};
enum image_kind {
    IMAGE_FILLS_RESERVED_VECTORS = 1, /* words 0x1C to 0x28 are not zero */
    IMAGE_BREAKS = 2,                 /* the first instruction is BKPT */
};
struct app app_build(size_t size, uint64_t seed, unsigned kind);
struct app app_load(const char *path); /* size 0: it cannot be read */
void app_free(struct app *image);

/* What a host that writes in pieces of any length at any address might write next, in [from, to) of the application:
 * at most 1 KB, each third piece 16 bytes. */
struct piece {
    uint32_t at, size;
    uint8_t data[XFER];
};
struct piece random_piece(uint64_t *random, unsigned nth, size_t from, size_t to);

/* --- boards ------------------------------------------------------------------------------------- */

struct step { /* what a host does next: a control transfer, or sleep */
    uint8_t setup[8];
    uint8_t *data;
    uint64_t sleep_ns; /* 0: a control transfer */
};
int step_do(struct board *b, const struct step *s);

struct dfu_reply { /* what GETSTATUS said; result < 0: enum usb_result */
    int result;
    uint8_t status, state, string;
    uint32_t poll_ms;
};

struct host {
    struct board *board;
    struct dfu_reply last;  /* the answer to the last GETSTATUS */
    uint64_t transfers;     /* control transfers so far … */
    uint64_t give_up_after; /* … and when the host is killed; 0: never */
    uint64_t slowest_ns;    /* the longest that a control transfer took */
    void *context;
    /* Called before each step; NULL: nobody watches. */
    void (*watch)(struct host *h, const struct step *s);
    /* Does the step in place of step_do(): something happens on the cable meanwhile. NULL: nothing. */
    int (*perform)(struct host *h, const struct step *s);
};

/* A board without power whose flash holds the bootloader at 0x08000000, as a probe leaves it. What
 * its applications say on USART1 is heard by heard() until forget(). */
struct board *new_board(const char *part, uint64_t seed);
struct board *new_board_timed(const char *part, uint64_t seed, enum board_timing timing);
/* The same, powered, its cable plugged; it has installed itself and is enumerated. */
struct host host_on_new_board(const char *part);
/* The same with an application downloaded, the board without power. */
struct host host_with_application(const char *part, const struct app *app);
/* The same in DFU, by the reset button. */
struct host host_in_dfu(const char *part, const struct app *app, enum board_timing timing);

const char *heard(void);
void forget(void);
/* Runs the board until it says `text`, for at most so long; forgets what was said before. */
bool hears(struct board *b, const char *text, unsigned timeout_ms);
/* Sends the application an order (app_build()); true: it says its tag again, before long. */
bool app_obeys(struct host *h, const struct app *app, char order);

void power_cycle(struct board *b);
/* Presses the reset button for RESET_HOLD; false: it does not lead to DFU. */
bool press_reset(struct host *h);
enum { RESET_HOLD = 20 * 1000000 }; /* ns */
/* Leaves the word in RAM that asks for the bootloader at the next reset: "cabo", and an image in RAM that is
 * to be started, or 0. */
void request_in_ram(struct board *b, uint32_t image);
bool host_enumerate(struct host *h); /* within a second or two; false: no DFU device */
void host_sleep(struct host *h, uint64_t ns);

uint8_t *flash_dump(const struct board *b); /* board_flash_size() bytes, to be freed */
uint32_t flash_word(const struct board *b, uint32_t addr);
uint32_t taken_by_bootloader(const struct board *b);
uint32_t stub_at(const struct board *b); /* where the installed stub begins: its page is the last */
uint32_t app_room(const struct board *b); /* bytes from app_base that may be an application's */
/* The journal, without power, as after so many updates: its valid record behind `used` void ones. */
void journal_use(struct board *b, unsigned used);
/* Flash holds the image: at 0x08000000 but for the reset vector, which leads into the bootloader. */
bool flash_holds(const struct board *b, const struct app *image);

struct work { /* flash operations */
    uint64_t erases, halfwords;
};
struct work work_so_far(const struct board *b);
struct work work_since(const struct board *b, struct work before);
uint64_t option_erases(const struct board *b); /* so far */

/* --- DFU: one request each; count of bytes or enum usb_result ------------------------------------ */

int host_control(struct host *h, uint8_t bmRequestType, uint8_t bRequest, uint16_t wValue,
    uint16_t wIndex, uint8_t *data, uint16_t wLength);
int dfu_detach(struct host *h);
int dfu_dnload(struct host *h, uint16_t wBlockNum, const void *data, size_t size);
int dfu_upload_block(struct host *h, uint16_t wBlockNum, void *data, size_t size);
struct dfu_reply dfu_getstatus(struct host *h); /* also h->last */
int dfu_clrstatus(struct host *h);
int dfu_getstate(struct host *h); /* enum dfu_state, or enum usb_result */
int dfu_abort(struct host *h);
int dfu_set_interface(struct host *h);
/* The name of the alternate setting: the memory map. "": there is none. */
void host_memory_string(struct host *h, char text[128]);

/* --- DfuSe: sequences. True: as a tool wants it; else h->last or a failed request says why -------- */

/* DNLOAD, then GETSTATUS as dfu-util does: dfuDNBUSY first, its bwPollTimeout slept, repeated until
 * it is not busy any more. True: dfuDNLOAD-IDLE, OK. */
bool dfu_download(struct host *h, uint16_t wBlockNum, const void *data, size_t size);
bool dfu_set_address(struct host *h, uint32_t addr);
bool dfu_erase(struct host *h, uint32_t addr);
bool dfu_mass_erase(struct host *h);
bool dfu_write(struct host *h, uint32_t addr, const void *data, size_t size); /* one block */
/* In blocks of wTransferSize, each with SET_ADDRESS and block 2; erases nothing. */
bool dfu_write_all(struct host *h, uint32_t addr, const void *data, size_t size);
bool dfu_to_idle(struct host *h); /* ABORT, GETSTATUS: dfuIDLE */

/* What dfu-util does when it opens a device: SET_INTERFACE, GETSTATUS, until it is idle. */
bool dfu_open(struct host *h);
/* Each page erased, dfu_write_all(), ABORT, GETSTATUS. */
bool dfu_download_like_dfu_util(struct host *h, uint32_t addr, const void *data, size_t size);
/* Addressed once, then blocks 2, 3, 4 … of wTransferSize; ABORT, GETSTATUS. */
bool dfu_download_counting(struct host *h, uint32_t addr, const void *data, size_t size);
/* SET_ADDRESS, ABORT, blocks 2, 3, 4 … of `block` bytes, the last shorter, ABORT. */
bool dfu_read(struct host *h, uint32_t addr, void *data, size_t size, unsigned block);
/* The zero-length DNLOAD; then GETSTATUS until dfuMANIFEST. */
bool dfu_leave(struct host *h, uint16_t wValue);

/* dfu_open(), dfu_download_like_dfu_util() at app_base. */
bool flash_application(struct host *h, const struct app *app);

/* --- cutting the power everywhere ---------------------------------------------------------------- */

/* While a host is explored, each of its steps is tried on a second board first: once for each flash
 * operation in it and each torn outcome, with the power cut there. `check` is shown the board that
 * is left, without power, once for each content of flash that is new. The session itself goes on. */
struct explorer {
    void (*check)(struct explorer *e, struct board *b);
    void *context;
    uint64_t seed;
    uint64_t every[BOARD_TORN_KINDS]; /* enum board_torn: at each n-th operation, 0: never */
    uint64_t only;                    /* not 0: at this operation alone, and … */
    int only_torn;                    /* … with this outcome */
    uint64_t operations;              /* seen so far; the one at which the power was cut: */
    enum board_torn torn;
    uint64_t cuts, checks; /* made, and different in what they left */
    struct board *before, *scratch;
    uint64_t *known; /* hashes of flash; those of a former explorer may be handed to the next */
    size_t known_size;
    uint8_t *dump, *undecided; /* scratch: flash_size bytes each */
};
void explore(struct explorer *e, struct host *h);
void explore_end(struct explorer *e, struct host *h);
const char *torn_name(enum board_torn torn);

/* A hash of all that can matter to what a board does at power-up, before it looks at the rest: what
 * stands at 0x08000000 and 0x08000004 (or the whole image, where that leads into it), and all that
 * the bootloader keeps, undecided bits included; in the head layout the bootloader and the first two words
 * of the application. Boards that agree in it decide alike; tests try a part of them anyway. */
uint64_t decision(const struct board *b);
/* A power cut now would leave no way into the bootloader at 0x08000004: the published window. */
bool page0_open(const struct board *b);
/* Some bit in that range was left undecided by a cut (BOARD_TORN_MARGINAL). */
bool undecided(const struct board *b, uint32_t addr, uint32_t size);

#endif
