/* SPDX-License-Identifier: MIT */
#include "dfu_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 5000 }; /* as dfu-util */

const char *bootloader_path = BOOTLOADER;
struct board_config board_design;
uint32_t app_base = FLASH;
const char *const all_parts[ALL_PARTS] = {"stm32f103c4", "stm32f103c6", "stm32f103c8",
    "stm32f103cb", "stm32f103rc", "stm32f103rd", "stm32f103re"};

static void put16(uint8_t *to, unsigned value)
{
    to[0] = (uint8_t)value;
    to[1] = (uint8_t)(value >> 8);
}

void put32(uint8_t *to, uint32_t value)
{
    put16(to, value & 0xFFFF);
    put16(to + 2, value >> 16);
}

uint32_t get32(const uint8_t *from)
{
    return from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

uint64_t random64(uint64_t *state) /* splitmix64 */
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

/* --- applications ------------------------------------------------------------------------------- */

/*
 *  start:  ldr r1, keep          dr10:   movs r5, #0x28           keep:        0x20000400
 *          str r0, [r1]                  movw r6, #0x424C         apb2enr:     0x40021018
 *          ldr r1, apb2enr               b ask                    apb1enr:     0x4002101C
 *          movw r2, #0x4004      dr1:    movs r5, #0x04           gpioa_crh:   0x40010804
 *          str r2, [r1]                  movw r6, #0x4F42         pa9:         0x444444B4
 *          ldr r1, gpioa_crh     ask:    ldr r1, apb1enr          usart1:      0x40013800
 *          ldr r2, pa9                   ldr r2, pwren_bkpen      pwren_bkpen: 0x18000000
 *          str r2, [r1]                  str r2, [r1]             pwr_cr:      0x40007000
 *          ldr r4, usart1                ldr r1, pwr_cr           bkp:         0x40006C00
 *          movs r2, #69                  mov r2, #0x100           aircr:       0xE000ED0C
 *          str r2, [r4, #8]              str r2, [r1]             sysresetreq: 0x05FA0004
 *          movw r2, #0x200C              ldr r1, bkp              iwdg:        0x40003000
 *          str r2, [r4, #12]             str r6, [r1, r5]         tag:         "????"
 *          adr r3, tag           reset:  ldr r1, aircr
 *          movs r5, #4                   ldr r2, sysresetreq
 *  1:      ldr r2, [r4]                  str r2, [r1]
 *          lsls r2, r2, #24              b .
 *          bpl 1b                dog:    ldr r1, iwdg
 *          ldrb r2, [r3], #1             movw r2, #0x5555
 *          str r2, [r4, #4]              str r2, [r1]
 *          subs r5, #1                   movs r2, #0
 *          bne 1b                        str r2, [r1, #4]
 *  wait:   ldr r2, [r4]                  movs r2, #100
 *          lsls r2, r2, #26              str r2, [r1, #8]
 *          bpl wait                      movw r2, #0xCCCC
 *          ldr r2, [r4, #4]              str r2, [r1]
 *          'R' reset, 'W' dog,           b .
 *          '1' dr1, 'T' dr10, wait
 */
// clang-format off
static const uint16_t program[] = {
    0x4922, 0x6008, 0x4922, 0xf244, 0x0204, 0x600a, 0x4922, 0x4a23,
    0x600a, 0x4c23, 0x2245, 0x60a2, 0xf242, 0x020c, 0x60e2, 0xa327,
    0x2504, 0x6822, 0x0612, 0xd5fc, 0xf813, 0x2b01, 0x6062, 0x3d01,
    0xd1f7, 0x6822, 0x0692, 0xd5fc, 0x6862, 0x2a52, 0xd015, 0x2a57,
    0xd017, 0x2a31, 0xd005, 0x2a54, 0xd1f3, 0x2528, 0xf244, 0x264c,
    0xe002, 0x2504, 0xf644, 0x7642, 0x490e, 0x4a12, 0x600a, 0x4912,
    0xf44f, 0x7280, 0x600a, 0x4911, 0x514e, 0x4911, 0x4a11, 0x600a,
    0xe7fe, 0x4911, 0xf245, 0x5255, 0x600a, 0x2200, 0x604a, 0x2264,
    0x608a, 0xf64c, 0x42cc, 0x600a, 0xe7fe, 0xbf00, 0x0400, 0x2000,
    0x1018, 0x4002, 0x101c, 0x4002, 0x0804, 0x4001, 0x44b4, 0x4444,
    0x3800, 0x4001, 0x0000, 0x1800, 0x7000, 0x4000, 0x6c00, 0x4000,
    0xed0c, 0xe000, 0x0004, 0x05fa, 0x3000, 0x4000, 0x3f3f, 0x3f3f,
};
// clang-format on
enum { BKPT = 0xBE00 };

struct app app_build(size_t size, uint64_t seed, unsigned kind)
{
    if (size < APP_SMALLEST)
        size = APP_SMALLEST;
    struct app image = {.data = malloc(size), .size = size};
    uint64_t random = seed;

    for (size_t i = 0; i < size; i++)
        image.data[i] = (uint8_t)random64(&random);
    for (unsigned i = 0; i < APP_PROGRAM_AT; i += 4)
        put32(image.data + i, APP_ENTRY + (app_base - FLASH));
    put32(image.data, RAM + 0x5000);
    for (unsigned at = 0x1C; at <= 0x28; at += 4)
        put32(
            image.data + at, kind & IMAGE_FILLS_RESERVED_VECTORS ? (uint32_t)random64(&random) : 0);
    for (unsigned i = 0; i < sizeof program / 2; i++)
        put16(image.data + APP_PROGRAM_AT + 2 * i, program[i]);
    if (kind & IMAGE_BREAKS)
        put16(image.data + APP_PROGRAM_AT, BKPT);
    snprintf(image.tag, sizeof image.tag, "%04x", (unsigned)(random64(&random) & 0xFFFF));
    memcpy(image.data + APP_PROGRAM_AT + sizeof program - 4, image.tag, 4);
    return image;
}

struct app app_load(const char *path)
{
    struct app image = {0};
    FILE *f = fopen(path, "rb");
    long size;

    if (!f)
        return image;
    if (fseek(f, 0, SEEK_END) == 0 && (size = ftell(f)) > 0) {
        rewind(f);
        image.data = malloc((size_t)size);
        image.size = fread(image.data, 1, (size_t)size, f);
    }
    fclose(f);
    return image;
}

void app_free(struct app *image)
{
    free(image->data);
    *image = (struct app){0};
}

struct piece random_piece(uint64_t *random, unsigned nth, size_t from, size_t to)
{
    struct piece p = {.size = 1 + (uint32_t)(random64(random) % XFER) / (nth % 3 ? 1 : 64)};

    p.at = (uint32_t)(from + random64(random) % (to - from - p.size + 1));
    for (unsigned i = 0; i < p.size; i++)
        p.data[i] = (uint8_t)random64(random);
    return p;
}

/* --- boards ------------------------------------------------------------------------------------- */

static char said[4096];
static size_t said_size;

static void on_uart(void *context, unsigned usart, uint8_t byte)
{
    (void)context;
    if (usart == 1 && said_size < sizeof said - 1)
        said[said_size++] = (char)byte;
    said[said_size] = 0;
}

static void on_log(void *context, const char *line)
{
    (void)context;
    if (getenv("CABOOSE_LOG"))
        fprintf(stderr, "%s\n", line);
}

const char *heard(void)
{
    return said;
}

void forget(void)
{
    said_size = 0;
    said[0] = 0;
}

bool hears(struct board *b, const char *text, unsigned timeout_ms)
{
    forget();
    for (unsigned ms = 0; ms < timeout_ms && !strstr(said, text); ms++)
        if (board_run_for(b, BOARD_MS) != BOARD_DONE)
            return false;
    return strstr(said, text);
}

bool app_obeys(struct host *h, const struct app *app, char order)
{
    board_uart_send(h->board, 1, (uint8_t)order);
    return hears(h->board, app->tag, 700);
}

struct board *new_board_timed(const char *part, uint64_t seed, enum board_timing timing)
{
    struct board_config config = board_design;
    config.part = part;
    config.seed = seed;
    config.timing = timing;
    config.uart = on_uart;
    config.log = on_log;
    struct board *b = board_new(&config);
    struct app bootloader = app_load(bootloader_path);

    forget();
    if (b && bootloader.size)
        board_load(b, FLASH, bootloader.data, bootloader.size);
    app_free(&bootloader);
    return b;
}

struct board *new_board(const char *part, uint64_t seed)
{
    return new_board_timed(part, seed, BOARD_TYPICAL);
}

static struct host installed_on(struct board *b)
{
    struct host h = {.board = b};

    board_power(b, true);
    usb_plug(b);
    host_enumerate(&h);
    return h;
}

struct host host_on_new_board(const char *part)
{
    return installed_on(new_board(part, 1));
}

static struct host loaded(struct board *b, const struct app *app)
{
    struct host h = installed_on(b);

    if (!flash_application(&h, app))
        fprintf(stderr, "the first application cannot be downloaded\n");
    board_power(h.board, false);
    return h;
}

struct host host_with_application(const char *part, const struct app *app)
{
    return loaded(new_board(part, 1), app);
}

struct host host_in_dfu(const char *part, const struct app *app, enum board_timing timing)
{
    struct host h = loaded(new_board_timed(part, 1, timing), app);

    board_power(h.board, true);
    if (!hears(h.board, app->tag, 20))
        fprintf(stderr, "the first application does not run\n");
    if (!press_reset(&h))
        fprintf(stderr, "the reset button does not lead to DFU\n");
    return h;
}

void power_cycle(struct board *b)
{
    board_power(b, false);
    board_run_for(b, 10 * BOARD_MS);
    board_power(b, true);
}

bool press_reset(struct host *h)
{
    board_press_reset(h->board, RESET_HOLD);
    return host_enumerate(h);
}

void request_in_ram(struct board *b, uint32_t image)
{
    uint8_t request[8] = "cabo";

    put32(request + 4, image);
    board_load(b, RAM, request, sizeof request);
}

int step_do(struct board *b, const struct step *s)
{
    if (!s->sleep_ns)
        return usb_control(b, s->setup, s->data, TIMEOUT_MS);
    return (int)usb_wait_until(b, usb_host_now(b) + s->sleep_ns);
}

static int perform(struct host *h, const struct step *s)
{
    if (h->give_up_after && h->transfers >= h->give_up_after)
        return USB_GONE;
    if (h->watch)
        h->watch(h, s);
    h->transfers += !s->sleep_ns;
    return h->perform ? h->perform(h, s) : step_do(h->board, s);
}

bool host_enumerate(struct host *h)
{
    int address = usb_enumerate(h->board, 2000);
    const uint8_t *d = usb_descriptors(h->board)->device;

    return address > 0 && d[8] == 0x83 && d[9] == 0x04 && d[10] == 0x11 && d[11] == 0xDF;
}

void host_sleep(struct host *h, uint64_t ns)
{
    perform(h, &(struct step){.sleep_ns = ns});
}

uint8_t *flash_dump(const struct board *b)
{
    uint8_t *dump = malloc(board_flash_size(b));

    board_peek(b, FLASH, dump, board_flash_size(b));
    return dump;
}

uint32_t flash_word(const struct board *b, uint32_t addr)
{
    uint8_t bytes[4] = {0};

    board_peek(b, addr, bytes, sizeof bytes);
    return get32(bytes);
}

uint32_t taken_by_bootloader(const struct board *b)
{
    static uint32_t image; /* bytes */
    static const char *path;

    if (app_base != FLASH)
        return app_base - FLASH;
    if (!image || path != bootloader_path) {
        path = bootloader_path;
        struct app file = app_load(path ? path : BOOTLOADER);
        image = (uint32_t)file.size;
        app_free(&file);
    }
    return board_page_size(b) == PAGE ? image + PAGE : 8 * PAGE;
}

uint32_t stub_at(const struct board *b)
{
    return FLASH + board_flash_size(b) - board_page_size(b);
}

uint32_t app_room(const struct board *b)
{
    return board_flash_size(b) - taken_by_bootloader(b);
}

void journal_use(struct board *b, unsigned used)
{
    enum { RECORDS = 128, RECORD = 8 };
    uint32_t journal = FLASH + app_room(b), at = journal;
    uint8_t valid[RECORD], none[RECORDS * RECORD] = {0};

    while (flash_word(b, at) == 0 && at < journal + sizeof none - RECORD)
        at += RECORD;
    board_peek(b, at, valid, RECORD);
    board_load(b, journal, none, RECORD * used);
    board_load(b, journal + RECORD * used, valid, RECORD);
}

bool flash_holds(const struct board *b, const struct app *image)
{
    uint8_t *dump = flash_dump(b), *at = dump + (app_base - FLASH);
    bool head = app_base != FLASH;
    bool led = head || get32(dump + 4) - stub_at(b) < PAGE;
    bool same = memcmp(at, image->data, head ? 8 : 4) == 0 &&
                memcmp(at + 8, image->data + 8, image->size - 8) == 0;

    free(dump);
    return led && same;
}

struct work work_so_far(const struct board *b)
{
    struct board_counts n;

    board_counts(b, &n);
    return (struct work){n.page_erases + n.mass_erases, n.halfwords};
}

struct work work_since(const struct board *b, struct work before)
{
    struct work now = work_so_far(b);

    return (struct work){now.erases - before.erases, now.halfwords - before.halfwords};
}

uint64_t option_erases(const struct board *b)
{
    struct board_counts n;

    board_counts(b, &n);
    return n.option_erases;
}

/* --- DFU ---------------------------------------------------------------------------------------- */

int host_control(struct host *h, uint8_t bmRequestType, uint8_t bRequest, uint16_t wValue,
    uint16_t wIndex, uint8_t *data, uint16_t wLength)
{
    struct step s = {
        .setup = {bmRequestType, bRequest},
          .data = data
    };

    put16(s.setup + 2, wValue);
    put16(s.setup + 4, wIndex);
    put16(s.setup + 6, wLength);
    uint64_t begun = board_now(h->board);
    int result = perform(h, &s);
    if (board_now(h->board) - begun > h->slowest_ns)
        h->slowest_ns = board_now(h->board) - begun;
    return result;
}

int dfu_detach(struct host *h)
{
    return host_control(h, 0x21, DFU_DETACH, 1000, 0, NULL, 0);
}
int dfu_clrstatus(struct host *h)
{
    return host_control(h, 0x21, DFU_CLRSTATUS, 0, 0, NULL, 0);
}
int dfu_abort(struct host *h)
{
    return host_control(h, 0x21, DFU_ABORT, 0, 0, NULL, 0);
}
int dfu_set_interface(struct host *h)
{
    return host_control(h, 0x01, 11, 0, 0, NULL, 0);
}

void host_memory_string(struct host *h, char text[128])
{
    uint8_t string[255], iInterface = usb_descriptors(h->board)->config[9 + 8];
    int n = host_control(h, 0x80, 6, 0x0300 | iInterface, 0x0409, string, sizeof string);

    memset(text, 0, 128);
    for (int c = 2; c + 1 < n; c += 2)
        text[c / 2 - 1] = (char)string[c];
}

int dfu_dnload(struct host *h, uint16_t wBlockNum, const void *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    int result;

    if (size)
        memcpy(copy, data, size);
    result = host_control(h, 0x21, DFU_DNLOAD, wBlockNum, 0, copy, (uint16_t)size);
    free(copy);
    return result;
}

int dfu_upload_block(struct host *h, uint16_t wBlockNum, void *data, size_t size)
{
    return host_control(h, 0xA1, DFU_UPLOAD, wBlockNum, 0, data, (uint16_t)size);
}

struct dfu_reply dfu_getstatus(struct host *h)
{
    uint8_t data[DFU_STATUS_SIZE] = {0};

    h->last.result = host_control(h, 0xA1, DFU_GETSTATUS, 0, 0, data, sizeof data);
    h->last.status = data[0];
    h->last.poll_ms = get32(data) >> 8;
    h->last.state = data[4];
    h->last.string = data[5];
    return h->last;
}

int dfu_getstate(struct host *h)
{
    uint8_t state = 0;
    int result = host_control(h, 0xA1, DFU_GETSTATE, 0, 0, &state, 1);

    return result == 1 ? state : result < 0 ? result : USB_ERROR;
}

/* --- DfuSe -------------------------------------------------------------------------------------- */

static bool status_is(const struct host *h, enum dfu_state state)
{
    return h->last.result == DFU_STATUS_SIZE && h->last.status == DFU_OK && h->last.state == state;
}

bool dfu_download(struct host *h, uint16_t wBlockNum, const void *data, size_t size)
{
    h->last = (struct dfu_reply){.result = dfu_dnload(h, wBlockNum, data, size)};
    if (h->last.result < 0)
        return false;
    dfu_getstatus(h);
    if (!status_is(h, DFU_DNBUSY))
        return false;
    while (h->last.result > 0 && h->last.state == DFU_DNBUSY) {
        host_sleep(h, h->last.poll_ms * BOARD_MS);
        dfu_getstatus(h);
    }
    return status_is(h, DFU_DNLOAD_IDLE);
}

static bool command(struct host *h, uint8_t code, uint32_t addr)
{
    uint8_t data[5] = {code};

    put32(data + 1, addr);
    return dfu_download(h, 0, data, sizeof data);
}

bool dfu_set_address(struct host *h, uint32_t addr)
{
    return command(h, DFUSE_SET_ADDRESS, addr);
}
bool dfu_erase(struct host *h, uint32_t addr)
{
    return command(h, DFUSE_ERASE, addr);
}
bool dfu_mass_erase(struct host *h)
{
    return dfu_download(h, 0, &(uint8_t){DFUSE_ERASE}, 1);
}

bool dfu_write(struct host *h, uint32_t addr, const void *data, size_t size)
{
    return dfu_set_address(h, addr) && dfu_download(h, DFUSE_FIRST_BLOCK, data, size);
}

bool dfu_write_all(struct host *h, uint32_t addr, const void *data, size_t size)
{
    const uint8_t *from = data;

    for (size_t at = 0; at < size; at += XFER)
        if (!dfu_write(h, addr + (uint32_t)at, from + at, size - at < XFER ? size - at : XFER))
            return false;
    return true;
}

bool dfu_to_idle(struct host *h)
{
    h->last.result = dfu_abort(h);
    if (h->last.result < 0)
        return false;
    dfu_getstatus(h);
    if (!status_is(h, DFU_IDLE))
        return false;
    host_sleep(h, (h->last.poll_ms + 1) * BOARD_MS);
    return true;
}

bool dfu_open(struct host *h)
{
    if (dfu_set_interface(h) < 0)
        return false;
    for (unsigned tries = 0; tries < 5; tries++) {
        dfu_getstatus(h);
        if (h->last.result != DFU_STATUS_SIZE)
            return false;
        host_sleep(h, h->last.poll_ms * BOARD_MS + 1);
        if (h->last.state == DFU_ERROR)
            dfu_clrstatus(h);
        else if (h->last.state == DFU_DNLOAD_IDLE || h->last.state == DFU_UPLOAD_IDLE)
            dfu_abort(h);
        else
            return status_is(h, DFU_IDLE);
    }
    return false;
}

static bool erase_range(struct host *h, uint32_t addr, size_t size)
{
    uint32_t page = board_page_size(h->board);

    for (uint32_t at = addr; at < addr + size; at = (at / page + 1) * page)
        if (!dfu_erase(h, at))
            return false;
    return true;
}

bool dfu_download_like_dfu_util(struct host *h, uint32_t addr, const void *data, size_t size)
{
    return erase_range(h, addr, size) && dfu_write_all(h, addr, data, size) && dfu_to_idle(h);
}

bool dfu_download_counting(struct host *h, uint32_t addr, const void *data, size_t size)
{
    const uint8_t *from = data;
    uint16_t block = DFUSE_FIRST_BLOCK;

    if (!erase_range(h, addr, size) || !dfu_set_address(h, addr))
        return false;
    for (size_t at = 0; at < size; at += XFER)
        if (!dfu_download(h, block++, from + at, size - at < XFER ? size - at : XFER))
            return false;
    return dfu_to_idle(h);
}

bool dfu_read(struct host *h, uint32_t addr, void *data, size_t size, unsigned block)
{
    uint8_t *to = data;
    uint16_t number = DFUSE_FIRST_BLOCK;

    if (!dfu_set_address(h, addr) || !dfu_to_idle(h))
        return false;
    for (size_t at = 0; at < size; at += block) {
        size_t n = size - at < block ? size - at : block;
        if (dfu_upload_block(h, number++, to + at, n) != (int)n)
            return false;
    }
    return dfu_to_idle(h);
}

bool dfu_leave(struct host *h, uint16_t wValue)
{
    if (dfu_dnload(h, wValue, NULL, 0) < 0)
        return false;
    for (unsigned tries = 0; tries < 100; tries++) {
        dfu_getstatus(h);
        if (h->last.result < 0 || h->last.status != DFU_OK || h->last.state != DFU_MANIFEST_SYNC)
            break;
        host_sleep(h, h->last.poll_ms * BOARD_MS);
    }
    return status_is(h, DFU_MANIFEST);
}

bool flash_application(struct host *h, const struct app *app)
{
    return dfu_open(h) && dfu_download_like_dfu_util(h, app_base, app->data, app->size);
}

/* --- cutting the power everywhere ---------------------------------------------------------------- */

const char *torn_name(enum board_torn torn)
{
    static const char *const names[] = {
        "not begun", "half done", "random bits", "done", "marginal"};

    return names[torn];
}

static uint64_t hash(uint64_t so_far, const uint8_t *data, size_t size)
{
    uint64_t word;

    for (size_t at = 0; at < size; at += 8) {
        memcpy(&word, data + at, 8);
        so_far = (so_far ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        so_far ^= so_far >> 29;
    }
    return so_far ? so_far : 1;
}

bool undecided(const struct board *b, uint32_t addr, uint32_t size)
{
    uint8_t mask[2048];

    for (uint32_t at = 0; at < size; at += sizeof mask) {
        uint32_t n = size - at < sizeof mask ? size - at : sizeof mask;
        board_peek_marginal(b, addr + at, mask, n);
        for (uint32_t i = 0; i < n; i++)
            if (mask[i])
                return true;
    }
    return false;
}

/* All that a board without power holds: flash and option bytes. What undecided bits read as now says
 * nothing of how they will read: the seed of a cut is hashed with them, so that no two are taken for
 * the same. */
static uint64_t hash_flash(const struct explorer *e, const struct board *b)
{
    uint32_t size = board_flash_size(b);
    uint8_t options[OPTION_BYTES_SIZE];

    board_peek(b, FLASH, e->dump, size);
    board_peek(b, OPTION_BYTES, options, sizeof options);
    uint64_t all = hash(hash(1, e->dump, size), options, sizeof options);
    if (e->torn == BOARD_TORN_MARGINAL &&
        (undecided(b, FLASH, size) || undecided(b, OPTION_BYTES, sizeof options))) {
        board_peek_marginal(b, FLASH, e->undecided, size);
        board_peek_marginal(b, OPTION_BYTES, options, sizeof options);
        all = hash(all + e->seed + e->operations, e->undecided, size);
        all = hash(all, options, sizeof options);
    }
    return all;
}

uint64_t decision(const struct board *b)
{
    uint8_t *dump = flash_dump(b), *end = dump + board_flash_size(b);
    bool head = app_base != FLASH, own = get32(dump + 4) - FLASH < PAGE;
    uint32_t taken = taken_by_bootloader(b);
    uint32_t low = head ? taken + 8 : own ? taken : 8, high = head ? 0 : taken;
    uint64_t all = hash(1, dump, low);

    all = hash(all, end - high, high);
    board_peek_marginal(b, FLASH, dump, board_flash_size(b));
    all = hash(all, dump, low);
    all = hash(all, end - high, high);
    free(dump);
    return all;
}

bool page0_open(const struct board *b)
{
    uint32_t reset = flash_word(b, FLASH + 4), stub = stub_at(b);
    bool installer = reset - FLASH < PAGE, installed = reset - stub < PAGE;

    return !(reset & 1) || (!installer && !installed);
}

/* Is it new? A table of hashes, 0 is a free place; large enough for what a test can do. */
enum { KNOWN_MAX = 1 << 20 };
static bool learn(struct explorer *e, uint64_t hash)
{
    size_t at = hash % KNOWN_MAX;

    while (e->known[at] && e->known[at] != hash)
        at = (at + 1) % KNOWN_MAX;
    if (e->known[at] || e->known_size >= KNOWN_MAX / 2)
        return !e->known[at];
    e->known[at] = hash;
    e->known_size++;
    return true;
}

static uint64_t operations(const struct board *b)
{
    struct board_counts n;

    board_counts(b, &n);
    return n.flash_operations;
}

static void cut_in_step(struct explorer *e, const struct step *s, uint64_t nth)
{
    board_restore(e->scratch, e->before);
    board_cut_at(e->scratch, nth, e->torn, e->seed + e->operations);
    step_do(e->scratch, s);
    e->cuts++;
    if (board_powered(e->scratch)) {
        fprintf(stderr, "operation %llu did not come again\n", (unsigned long long)e->operations);
        return;
    }
    if (learn(e, hash_flash(e, e->scratch))) {
        e->checks++;
        e->check(e, e->scratch);
    }
}

static void try_step(struct host *h, const struct step *s)
{
    struct explorer *e = h->context;

    board_restore(e->before, h->board);
    board_restore(e->scratch, h->board);
    step_do(e->scratch, s);
    uint64_t first = operations(e->before), count = operations(e->scratch) - first;
    for (uint64_t nth = 1; nth <= count; nth++) {
        e->operations++;
        for (int torn = BOARD_TORN_NOT_BEGUN; torn < BOARD_TORN_KINDS; torn++) {
            e->torn = (enum board_torn)torn;
            if (e->only ? e->operations == e->only && torn == e->only_torn
                        : e->every[torn] && e->operations % e->every[torn] == 0)
                cut_in_step(e, s, nth);
        }
    }
}

void explore(struct explorer *e, struct host *h)
{
    e->before = board_copy(h->board);
    e->scratch = board_copy(h->board);
    if (!e->known)
        e->known = calloc(KNOWN_MAX, sizeof *e->known);
    e->dump = malloc(board_flash_size(h->board));
    e->undecided = malloc(board_flash_size(h->board));
    h->context = e;
    h->watch = try_step;
}

void explore_end(struct explorer *e, struct host *h)
{
    board_free(e->before);
    board_free(e->scratch);
    free(e->known);
    free(e->dump);
    free(e->undecided);
    e->known = NULL;
    h->watch = NULL;
}
