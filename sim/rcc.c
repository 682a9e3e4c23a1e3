/* SPDX-License-Identifier: MIT */
/*
 * RCC: clocks, and the enables and resets that hang on them.
 *
 * Sources: RM0008 §7 (registers, reset flags), DS5319 (limits, start-up times).
 */
#include "board_state.h"

#define HSI_HZ UINT32_C(8000000)
#define LSI_HZ UINT32_C(40000)
#define LSE_HZ UINT32_C(32768)

/* DS5319 tables 22 … 27. */
enum {
    HSI_START_NS = 2000,
    LSI_START_NS = 85000,
    PLL_LOCK_NS = 200000,
    HSE_START_NS = 2000000,
    LSE_START_MS = 3000,
};

/* DS5319 table 9. */
#define SYSCLK_MAX UINT32_C(72000000)
#define PCLK1_MAX  UINT32_C(36000000)
#define PLL_MIN    UINT32_C(16000000)

enum {
    CR = 0x00,
    CFGR = 0x04,
    CIR = 0x08,
    APB2RSTR = 0x0C,
    APB1RSTR = 0x10,
    AHBENR = 0x14,
    APB2ENR = 0x18,
    APB1ENR = 0x1C,
    BDCR = 0x20,
    CSR = 0x24
};

enum {
    CR_HSION = 1 << 0,
    CR_HSIRDY = 1 << 1,
    CR_HSEON = 1 << 16,
    CR_HSERDY = 1 << 17,
    CR_HSEBYP = 1 << 18,
    CR_PLLON = 1 << 24,
    CR_PLLRDY = 1 << 25,
    CFGR_SW = 3,
    CFGR_SWS = 3 << 2,
    CFGR_PLLSRC = 1 << 16,
    CFGR_PLLXTPRE = 1 << 17,
    CFGR_PLLMUL = 15 << 18,
    CFGR_PLL = CFGR_PLLSRC | CFGR_PLLXTPRE | CFGR_PLLMUL,
    CFGR_USBPRE = 1 << 22,
    BDCR_LSEON = 1 << 0,
    BDCR_LSERDY = 1 << 1,
    BDCR_LSEBYP = 1 << 2,
    BDCR_RTCSEL = 3 << 8,
    BDCR_RTCEN = 1 << 15,
    BDCR_BDRST = 1 << 16,
    CSR_LSION = 1 << 0,
    CSR_LSIRDY = 1 << 1,
    CSR_RMVF = 1 << 24,
    APB1ENR_USBEN = 1 << 23,
    SW_HSI = 0,
    SW_HSE = 1,
    SW_PLL = 2,
    IRQ_RCC = 5,
};
#define CSR_FLAGS UINT32_C(0xFC000000)

/* What may be set, low and medium density; more on high density (SVD). */
// clang-format off
static const struct reg regs[] = {
    {"CR",       CR,       0x00000083, 0x010D00F9},
    {"CFGR",     CFGR,     0,          0x077FFFF3},
    {"CIR",      CIR,      0,          0x00001F00},
    {"APB2RSTR", APB2RSTR, 0,          0x0038FFFD},
    {"APB1RSTR", APB1RSTR, 0,          0x3AFEC9FF},
    {"AHBENR",   AHBENR,   0x00000014, 0x00000557},
    {"APB2ENR",  APB2ENR,  0,          0x0038FFFD},
    {"APB1ENR",  APB1ENR,  0,          0x3AFEC9FF},
    {"BDCR",     BDCR,     0,          0x00008305},
    {"CSR",      CSR,      0x0C000000, 0x00000001},
};
// clang-format on
enum { REGS = sizeof regs / sizeof regs[0] };

/* --- frequencies -------------------------------------------------------------------------------- */

bool rcc_hsi_runs(const struct board *b)
{
    return b->rcc.cr & CR_HSIRDY;
}

static bool has_crystal(const struct board *b)
{
    return b->config.hse_hz != BOARD_NO_CRYSTAL;
}

static uint32_t pll_hz(const struct board *b, uint32_t cfgr)
{
    uint32_t in = HSI_HZ / 2;
    if (cfgr & CFGR_PLLSRC)
        in = has_crystal(b) ? b->config.hse_hz : 0;
    if (cfgr & CFGR_PLLSRC && cfgr & CFGR_PLLXTPRE)
        in /= 2;
    uint32_t code = (cfgr & CFGR_PLLMUL) >> 18;
    return in * (code == 15 ? 16 : code + 2);
}

uint32_t rcc_sysclk_hz(const struct board *b)
{
    switch (b->rcc.cfgr >> 2 & 3) {
    case SW_HSE:
        return b->config.hse_hz;
    case SW_PLL:
        return pll_hz(b, b->rcc.cfgr);
    default:
        return HSI_HZ;
    }
}

static uint32_t hclk_shift(const struct board *b)
{
    static const uint8_t shift[16] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 6, 7, 8, 9};
    return shift[b->rcc.cfgr >> 4 & 15];
}

static uint32_t pclk_shift(uint32_t code)
{
    return code & 4 ? (code & 3) + 1 : 0;
}

static uint32_t hclk_hz(const struct board *b)
{
    return rcc_sysclk_hz(b) >> hclk_shift(b);
}

uint32_t board_pclk1_hz(const struct board *b)
{
    return hclk_hz(b) >> pclk_shift(b->rcc.cfgr >> 8 & 7);
}

uint32_t board_pclk2_hz(const struct board *b)
{
    return hclk_hz(b) >> pclk_shift(b->rcc.cfgr >> 11 & 7);
}

/* The timers' clock is PCLK, or twice PCLK if that is divided (RM0008 fig. 8). */
uint32_t rcc_timer_hz(const struct board *b, bool apb2)
{
    uint32_t shift = pclk_shift(b->rcc.cfgr >> (apb2 ? 11 : 8) & 7);
    return shift ? hclk_hz(b) >> (shift - 1) : hclk_hz(b);
}

uint32_t rcc_rtc_hz(const struct board *b)
{
    const struct rcc_state *r = &b->rcc;
    if (!(r->bdcr & BDCR_RTCEN))
        return 0;
    switch (r->bdcr >> 8 & 3) {
    case 1:
        return r->bdcr & BDCR_LSERDY ? LSE_HZ : 0;
    case 2:
        return r->csr & CSR_LSIRDY ? LSI_HZ : 0;
    case 3:
        return r->cr & CR_HSERDY ? b->config.hse_hz / 128 : 0;
    default:
        return 0;
    }
}

/* USB needs 48 MHz from the PLL (RM0008 §7.2.3), 0.25 % exact (USB 2.0 §7.1.11), which only the crystal is. */
const char *board_usb_clock_fault(const struct board *b)
{
    const struct rcc_state *r = &b->rcc;
    if (!(r->cr & CR_PLLRDY))
        return "the PLL does not run";
    if (!(r->cfgr & CFGR_PLLSRC) && !b->config.usb_on_hsi)
        return "the PLL runs on the HSI, which is too inaccurate for USB";
    uint32_t hz = pll_hz(b, r->cfgr);
    if ((r->cfgr & CFGR_USBPRE ? hz : hz / 3 * 2) != 48000000)
        return "PLL and USBPRE do not give 48 MHz";
    return NULL;
}

static void check_limits(struct board *b)
{
    uint32_t addr = rcc_device.base + CFGR;
    if (rcc_sysclk_hz(b) > SYSCLK_MAX)
        board_break_rule(b, addr, "SYSCLK at %u Hz: 72 MHz at most (DS5319 table 9)",
            (unsigned)rcc_sysclk_hz(b));
    if (board_pclk1_hz(b) > PCLK1_MAX)
        board_break_rule(b, addr, "PCLK1 at %u Hz: 36 MHz at most (DS5319 table 9)",
            (unsigned)board_pclk1_hz(b));
    flash_check_latency(b);
}

/* --- changes ------------------------------------------------------------------------------------ */

static void update_irq(struct board *b)
{
    board_irq(b, IRQ_RCC, b->rcc.cir & 0x1F & b->rcc.cir >> 8);
}

static bool source_ready(const struct board *b, uint32_t source)
{
    static const uint32_t ready[] = {CR_HSIRDY, CR_HSERDY, CR_PLLRDY, 0};
    return b->rcc.cr & ready[source];
}

/* SWS follows SW when the source is ready; then the frequencies are new. */
static void follow(struct board *b, uint32_t old_cfgr)
{
    struct rcc_state *r = &b->rcc;
    tim_before_clock_change(b);
    uint32_t source = r->cfgr & CFGR_SW;
    if (source_ready(b, source))
        r->cfgr = (r->cfgr & ~(uint32_t)CFGR_SWS) | source << 2;
    const uint32_t paces = CFGR_SWS | 0x3FF0; /* SWS, HPRE, PPRE1, PPRE2 */
    if ((old_cfgr ^ r->cfgr) & paces) {
        if (hclk_hz(b) != board_hclk_hz(b)) {
            board_set_hclk(b, hclk_hz(b));
            board_log(b, "HCLK %u Hz", (unsigned)hclk_hz(b));
        }
        check_limits(b);
    }
    tim_after_clock_change(b);
}

static void set_deadline(struct board *b)
{
    const struct rcc_state *r = &b->rcc;
    const uint64_t when[] = {r->hsi_ready, r->hse_ready, r->pll_ready, r->lsi_ready, r->lse_ready};
    uint64_t first = NEVER;
    for (unsigned i = 0; i < 5; i++)
        if (when[i] < first)
            first = when[i];
    board_set_deadline(b, &rcc_device, first);
}

/* Turns an oscillator on or off: its ready flag falls at once and rises after its time. */
static void turn(struct board *b, bool on, uint32_t *reg, uint32_t ready_flag, uint64_t *ready,
    uint64_t delay_ns)
{
    if (!on) {
        *reg &= ~ready_flag;
        *ready = NEVER;
    } else if (!(*reg & ready_flag) && *ready == NEVER && delay_ns != NEVER) {
        *ready = board_now(b) + delay_ns;
    }
}

/* The PLL locks when its source runs. */
static void turn_pll(struct board *b)
{
    struct rcc_state *r = &b->rcc;
    bool source = r->cr & (r->cfgr & CFGR_PLLSRC ? CR_HSERDY : CR_HSIRDY);
    turn(b, r->cr & CR_PLLON, &r->cr, CR_PLLRDY, &r->pll_ready, source ? PLL_LOCK_NS : NEVER);
}

/* An oscillator has become ready. */
static void arrive(struct board *b, uint64_t *when, uint32_t *reg, uint32_t flag, unsigned cir_bit)
{
    if (*when > board_now(b))
        return;
    *when = NEVER;
    *reg |= flag;
    if (b->rcc.cir & 1U << (cir_bit + 8))
        b->rcc.cir |= 1U << cir_bit;
}

static void rcc_tick(struct board *b, const struct device *d)
{
    (void)d;
    struct rcc_state *r = &b->rcc;
    arrive(b, &r->lsi_ready, &r->csr, CSR_LSIRDY, 0);
    arrive(b, &r->lse_ready, &r->bdcr, BDCR_LSERDY, 1);
    arrive(b, &r->hsi_ready, &r->cr, CR_HSIRDY, 2);
    arrive(b, &r->hse_ready, &r->cr, CR_HSERDY, 3);
    arrive(b, &r->pll_ready, &r->cr, CR_PLLRDY, 4);
    turn_pll(b);
    follow(b, r->cfgr);
    update_irq(b);
    set_deadline(b);
}

void rcc_start_lsi(struct board *b)
{
    struct rcc_state *r = &b->rcc;
    r->csr |= CSR_LSION;
    turn(b, true, &r->csr, CSR_LSIRDY, &r->lsi_ready, LSI_START_NS);
    set_deadline(b);
}

/* Is the oscillator (HSIRDY, HSERDY or PLLRDY) what the system runs on now or is about to? */
static bool in_use(const struct board *b, uint32_t on)
{
    const uint32_t cfgr = b->rcc.cfgr;
    const uint32_t sources[] = {cfgr & CFGR_SW, cfgr >> 2 & 3};
    for (unsigned i = 0; i < 2; i++) {
        uint32_t source = sources[i];
        if (source == SW_PLL && on != CR_PLLON)
            source = cfgr & CFGR_PLLSRC ? SW_HSE : SW_HSI;
        if ((source == SW_HSI && on == CR_HSION) || (source == SW_HSE && on == CR_HSEON) ||
            (source == SW_PLL && on == CR_PLLON))
            return true;
    }
    return false;
}

static void write_cr(struct board *b, uint32_t value)
{
    static const struct {
        uint32_t on;
        const char *name;
    } oscillators[] = {
        {CR_HSION, "HSI"},
        {CR_HSEON, "HSE"},
        {CR_PLLON, "PLL"}
    };
    struct rcc_state *r = &b->rcc;
    for (unsigned i = 0; i < 3; i++)
        if (r->cr & ~value & oscillators[i].on && in_use(b, oscillators[i].on)) {
            board_break_rule(b, rcc_device.base + CR,
                "%s turned off while the system clock comes from it (RM0008 §7.3.1)",
                oscillators[i].name);
            value |= oscillators[i].on;
        }
    if ((value ^ r->cr) & CR_HSEBYP && r->cr & CR_HSEON)
        board_break_rule(b, rcc_device.base + CR, "HSEBYP changed while HSE is on (RM0008 §7.3.1)");
    bool pll_starts = value & ~r->cr & CR_PLLON;
    r->cr = (r->cr & ~regs[0].writable) | (value & regs[0].writable);
    if (pll_starts && (pll_hz(b, r->cfgr) < PLL_MIN || pll_hz(b, r->cfgr) > SYSCLK_MAX))
        board_break_rule(b, rcc_device.base + CR,
            "the PLL is asked for %u Hz: 16 to 72 MHz (DS5319 table 27)",
            (unsigned)pll_hz(b, r->cfgr));
    if (pll_starts && r->cfgr & CFGR_PLLSRC && !(r->cr & CR_HSERDY))
        board_break_rule(b, rcc_device.base + CR,
            "PLL turned on before its source, HSE, is ready (RM0008 §7.2.3)");
    turn(b, r->cr & CR_HSION, &r->cr, CR_HSIRDY, &r->hsi_ready, HSI_START_NS);
    turn(b, r->cr & CR_HSEON, &r->cr, CR_HSERDY, &r->hse_ready,
        has_crystal(b) ? HSE_START_NS : NEVER);
    turn_pll(b);
}

static void write_cfgr(struct board *b, uint32_t value)
{
    struct rcc_state *r = &b->rcc;
    uint32_t addr = rcc_device.base + CFGR, old = r->cfgr;
    value = (old & ~regs[1].writable) | (value & regs[1].writable);
    if ((value ^ old) & CFGR_PLL && r->cr & CR_PLLON) {
        board_break_rule(b, addr, "PLL set up while it is on: no effect (RM0008 §7.3.2)");
        value = (value & ~(uint32_t)CFGR_PLL) | (old & CFGR_PLL);
    }
    if ((value ^ old) & CFGR_USBPRE && r->apb1enr & APB1ENR_USBEN)
        board_break_rule(b, addr, "USBPRE changed while the USB clock is on (RM0008 §7.3.2)");
    if ((value & CFGR_SW) == 3) {
        board_break_rule(b, addr, "SW = 3 is not allowed (RM0008 §7.3.2)");
        value = (value & ~(uint32_t)CFGR_SW) | (old & CFGR_SW);
    }
    r->cfgr = value;
    follow(b, old);
}

static void write_cir(struct board *b, uint32_t value)
{
    uint32_t cleared = value >> 16 & 0x9F;
    b->rcc.cir = ((b->rcc.cir & 0xFF) & ~cleared) | (value & 0x1F00);
    update_irq(b);
}

/* Bits that rise reset their devices (RM0008 §7.3.4). */
static void write_reset(struct board *b, uint32_t *reg, uint32_t value, uint32_t enr)
{
    uint32_t risen = value & ~*reg;
    *reg = value;
    for (unsigned bit = 0; bit < 32; bit++)
        if (risen >> bit & 1)
            board_reset_devices(b, (uint16_t)(enr << 8 | bit));
}

static void write_bdcr(struct board *b, uint32_t value)
{
    struct rcc_state *r = &b->rcc;
    if (!pwr_backup_writable(b)) {
        board_log(b, "write to RCC.BDCR is lost: PWR_CR.DBP is 0");
        return;
    }
    if (value & BDCR_BDRST) {
        bkp_reset_domain(b);
        r->bdcr = BDCR_BDRST;
        r->lse_ready = NEVER;
        return;
    }
    const uint32_t writable = BDCR_LSEON | BDCR_LSEBYP | BDCR_RTCSEL | BDCR_RTCEN;
    if (r->bdcr & BDCR_RTCSEL) /* once chosen it stays until BDRST (RM0008 §7.3.9) */
        value = (value & ~(uint32_t)BDCR_RTCSEL) | (r->bdcr & BDCR_RTCSEL);
    r->bdcr = (r->bdcr & BDCR_LSERDY) | (value & writable);
    turn(b, r->bdcr & BDCR_LSEON, &r->bdcr, BDCR_LSERDY, &r->lse_ready, LSE_START_MS * BOARD_MS);
}

static void write_csr(struct board *b, uint32_t value)
{
    struct rcc_state *r = &b->rcc;
    if (value & CSR_RMVF)
        r->csr &= ~CSR_FLAGS;
    if (!(value & CSR_LSION) && b->iwdg.running)
        value |= CSR_LSION; /* the watchdog keeps it on (RM0008 §7.2.5) */
    r->csr = (r->csr & ~(uint32_t)CSR_LSION) | (value & CSR_LSION);
    turn(b, r->csr & CSR_LSION, &r->csr, CSR_LSIRDY, &r->lsi_ready, LSI_START_NS);
}

/* --- registers ---------------------------------------------------------------------------------- */

static uint32_t *storage(struct rcc_state *r, uint32_t offset)
{
    uint32_t *at[] = {&r->cr, &r->cfgr, &r->cir, &r->apb2rstr, &r->apb1rstr, &r->ahbenr,
        &r->apb2enr, &r->apb1enr, &r->bdcr, &r->csr};
    return at[offset / 4];
}

uint32_t rcc_enable_register(const struct board *b, uint32_t offset)
{
    switch (offset) {
    case AHBENR:
        return b->rcc.ahbenr;
    case APB2ENR:
        return b->rcc.apb2enr;
    default:
        return b->rcc.apb1enr;
    }
}

uint32_t rcc_reset_register(const struct board *b, uint32_t offset)
{
    switch (offset) {
    case APB2ENR:
        return b->rcc.apb2rstr;
    case APB1ENR:
        return b->rcc.apb1rstr;
    default:
        return 0; /* AHBRSTR exists on connectivity line only */
    }
}

static uint32_t rcc_read(struct board *b, const struct device *d, uint32_t offset, unsigned size)
{
    (void)d;
    (void)size;
    return *storage(&b->rcc, offset);
}

static void rcc_write(
    struct board *b, const struct device *d, uint32_t offset, unsigned size, uint32_t value)
{
    (void)d;
    (void)size;
    uint32_t *reg = storage(&b->rcc, offset), kept = value & regs[offset / 4].writable;
    switch (offset) {
    case CR:
        write_cr(b, value);
        break;
    case CFGR:
        write_cfgr(b, value);
        break;
    case CIR:
        write_cir(b, value);
        break;
    case APB2RSTR:
        write_reset(b, reg, kept, APB2ENR);
        break;
    case APB1RSTR:
        write_reset(b, reg, kept, APB1ENR);
        break;
    case BDCR:
        write_bdcr(b, value);
        break;
    case CSR:
        write_csr(b, value);
        break;
    default:
        *reg = kept;
        break;
    }
    set_deadline(b);
}

void rcc_set_reset_flags(struct board *b, uint32_t flags)
{
    b->rcc.csr |= flags;
}

static void rcc_reset(struct board *b, const struct device *d, enum reset_kind kind)
{
    (void)d;
    struct rcc_state *r = &b->rcc;
    struct rcc_state old = *r;
    *r = (struct rcc_state){.cr = 0x5283, /* HSICAL as some chip has it */
        .ahbenr = 0x14,
        .hsi_ready = NEVER,
        .hse_ready = NEVER,
        .pll_ready = NEVER,
        .lsi_ready = NEVER,
        .lse_ready = NEVER};
    if (kind == RESET_SYSTEM) { /* RM0008 §7.1: flags and the backup domain stay */
        r->csr = old.csr & CSR_FLAGS;
        r->bdcr = old.bdcr;
        r->lse_ready = old.lse_ready;
    }
    board_set_hclk(b, HSI_HZ);
    set_deadline(b);
}

const struct device rcc_device = {
    .name = "RCC",
    .base = UINT32_C(0x40021000),
    .size = 0x400,
    .read = rcc_read,
    .write = rcc_write,
    .reset = rcc_reset,
    .tick = rcc_tick,
    .regs = regs,
    .reg_count = REGS,
};
