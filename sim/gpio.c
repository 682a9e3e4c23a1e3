/* SPDX-License-Identifier: MIT */
/*
 * GPIOA … GPIOG: what each pin is set to, and the level that this and the world outside give it.
 *
 * Sources: RM0008 §9 (registers, pulls, lock).
 */
#include "board_state.h"

enum { CRL = 0x00, CRH = 0x04, IDR = 0x08, ODR = 0x0C, BSRR = 0x10, BRR = 0x14, LCKR = 0x18 };
#define LCKR_LCKK UINT32_C(0x10000)

// clang-format off
static const struct reg regs[] = {
    {"CRL",  CRL,  0x44444444, 0xFFFFFFFF},
    {"CRH",  CRH,  0x44444444, 0xFFFFFFFF},
    {"IDR",  IDR,  0,          0},
    {"ODR",  ODR,  0,          0x0000FFFF},
    {"BSRR", BSRR, 0,          0},
    {"BRR",  BRR,  0,          0},
    {"LCKR", LCKR, 0,          0x0001FFFF},
};

/* What boards of the Blue Pill kind have on their pins: a level that nobody need drive. */
static const struct {
    char port;
    uint8_t pin;
} pulled_up[] = {
    {'A', 12}, /* D+: 1.5 kΩ to 3.3 V (USB 2.0 §7.1.5.1), unless a pin switches it */
    {'C', 13}, /* LED to 3.3 V */
};
// clang-format on

/* --- one pin ------------------------------------------------------------------------------------ */

static uint32_t config_of(const struct gpio_state *g, unsigned pin)
{
    uint32_t reg = pin < 8 ? g->crl : g->crh;
    return reg >> pin % 8 * 4 & 15; /* CNF[1:0], MODE[1:0] */
}

static bool is_output(const struct gpio_state *g, unsigned pin)
{
    return config_of(g, pin) & 3;
}

static bool is_alternate(const struct gpio_state *g, unsigned pin)
{
    return is_output(g, pin) && config_of(g, pin) & 8;
}

static bool is_d_plus(unsigned port, unsigned pin)
{
    return port == 0 && pin == 12;
}

static bool outside_level(const struct board *b, unsigned port, unsigned pin)
{
    const struct gpio_state *g = &b->gpio[port];
    if (g->driven >> pin & 1)
        return g->driven_high >> pin & 1;
    for (unsigned i = 0; i < sizeof pulled_up / sizeof pulled_up[0]; i++)
        if (pulled_up[i].port == (char)('A' + port) && pulled_up[i].pin == pin)
            return board_powered(b) && (!is_d_plus(port, pin) || gpio_pulls_up_usb(b));
    if (port == 1 && pin == 2) /* BOOT1's jumper */
        return b->config.boot1;
    return false;
}

static bool level_of(const struct board *b, unsigned port, unsigned pin)
{
    const struct gpio_state *g = &b->gpio[port];
    bool odr = g->odr >> pin & 1, open_drain = config_of(g, pin) & 4;
    if (is_alternate(g, pin)) /* the peripherals' lines idle high */
        return g->driven >> pin & 1 ? outside_level(b, port, pin) : true;
    if (is_output(g, pin))
        return odr && open_drain ? outside_level(b, port, pin) : odr;
    if (config_of(g, pin) == 8 && !(g->driven >> pin & 1)) /* input with pull */
        return odr;
    return outside_level(b, port, pin);
}

bool gpio_drives_low(const struct board *b, char port, unsigned pin)
{
    const struct gpio_state *g = &b->gpio[port - 'A'];
    return is_output(g, pin) && !is_alternate(g, pin) && !(g->odr >> pin & 1);
}

/* The switch is a transistor that conducts while its base is pulled low: a pin that floats, or the weak
 * pull of an input, leaves it open. */
bool gpio_pulls_up_usb(const struct board *b)
{
    return !b->config.pull_up_port ||
           gpio_drives_low(b, b->config.pull_up_port, b->config.pull_up_pin);
}

bool gpio_is_alternate_output(const struct board *b, char port, unsigned pin)
{
    return is_alternate(&b->gpio[port - 'A'], pin);
}

/* --- changes ------------------------------------------------------------------------------------ */

static void tell(struct board *b, unsigned port, unsigned pin, bool level)
{
    struct gpio_state *g = &b->gpio[port];
    uint16_t bit = (uint16_t)(1U << pin);
    if ((g->shown >> pin & 1) == level)
        return;
    g->shown ^= bit;
    if (b->config.pin)
        b->config.pin(b->config.context, (char)('A' + port), pin, level);
}

void gpio_update(struct board *b, unsigned port)
{
    struct gpio_state *g = &b->gpio[port];
    uint16_t old = g->level;
    g->level = 0;
    for (unsigned pin = 0; pin < 16; pin++)
        if (level_of(b, port, pin))
            g->level |= (uint16_t)(1U << pin);
    for (unsigned pin = 0; pin < 16; pin++) {
        bool level = g->level >> pin & 1;
        /* The pin's watcher hears of outputs, and of the end of an output. */
        bool output = is_output(g, pin) && !is_alternate(g, pin);
        if (output || !(g->driven >> pin & 1))
            tell(b, port, pin, level);
        if ((old >> pin & 1) != level)
            exti_pin_edge(b, port, pin, level);
    }
}

/* A port's registers have changed: so have its pins, and D+ where it hangs on one of them. */
static void port_changed(struct board *b, unsigned port)
{
    bool switches = b->config.pull_up_port == (char)('A' + port);
    gpio_update(b, port);
    if (switches && port != 0)
        gpio_update(b, 0);
    if (switches || port == 0)
        usb_pin_changed(b);
}

static uint32_t gpio_read(struct board *b, const struct device *d, uint32_t offset, unsigned size)
{
    const struct gpio_state *g = &b->gpio[d->index];
    (void)size;
    switch (offset) {
    case CRL:
        return g->crl;
    case CRH:
        return g->crh;
    case IDR: { /* analog inputs read 0 (RM0008 §9.1.10) */
        uint32_t level = g->level;
        for (unsigned pin = 0; pin < 16; pin++)
            if (config_of(g, pin) == 0)
                level &= ~(1U << pin);
        return level;
    }
    case ODR:
        return g->odr;
    case LCKR:
        return g->lckr;
    default:
        return 0; /* BSRR, BRR are write-only */
    }
}

/* Locked pins keep their configuration (RM0008 §9.2.7). */
static uint32_t configure(const struct gpio_state *g, uint32_t old, uint32_t value, unsigned first)
{
    for (unsigned pin = 0; pin < 8; pin++)
        if (g->locked >> (first + pin) & 1) {
            uint32_t mask = 15U << pin * 4;
            value = (value & ~mask) | (old & mask);
        }
    return value;
}

/* The key: LCKK written 1, 0, 1 with the same pins. Then it is locked until reset. */
static void write_lock(struct gpio_state *g, uint32_t value)
{
    if (g->locked)
        return;
    bool key = value & LCKR_LCKK, same = (value ^ g->lckr) << 16 == 0;
    bool wanted = g->lock_step != 1;
    if (g->lock_step == 0)
        same = true;
    g->lock_step = key == wanted && same ? (uint8_t)(g->lock_step + 1) : 0;
    g->lckr = value & 0xFFFF;
    if (g->lock_step == 3) {
        g->locked = (uint16_t)g->lckr;
        g->lckr |= LCKR_LCKK;
    }
}

static void gpio_write(
    struct board *b, const struct device *d, uint32_t offset, unsigned size, uint32_t value)
{
    struct gpio_state *g = &b->gpio[d->index];
    (void)size;
    switch (offset) {
    case CRL:
        g->crl = configure(g, g->crl, value, 0);
        break;
    case CRH:
        g->crh = configure(g, g->crh, value, 8);
        break;
    case ODR:
        g->odr = (uint16_t)value;
        break;
    case BSRR: /* set wins over reset (RM0008 §9.2.5) */
        g->odr = (uint16_t)((g->odr & ~(value >> 16)) | value);
        break;
    case BRR:
        g->odr = (uint16_t)(g->odr & ~value);
        break;
    case LCKR:
        write_lock(g, value);
        break;
    default:
        break;
    }
    port_changed(b, d->index);
}

static void gpio_reset(struct board *b, const struct device *d, enum reset_kind kind)
{
    struct gpio_state *g = &b->gpio[d->index];
    (void)kind;
    *g = (struct gpio_state){.crl = 0x44444444,
        .crh = 0x44444444,
        .driven = g->driven,
        .driven_high = g->driven_high,
        .level = g->level,
        .shown = g->shown};
    port_changed(b, d->index);
}

bool board_pin(const struct board *b, char port, unsigned pin)
{
    if (port < 'A' || port >= 'A' + PORTS || pin > 15)
        return false;
    return b->gpio[port - 'A'].level >> pin & 1;
}

void board_drive_pin(struct board *b, char port, unsigned pin, bool level)
{
    if (port < 'A' || port >= 'A' + PORTS || pin > 15)
        return;
    struct gpio_state *g = &b->gpio[port - 'A'];
    uint16_t bit = (uint16_t)(1U << pin);
    g->driven |= bit;
    g->driven_high = (uint16_t)(level ? g->driven_high | bit : g->driven_high & ~bit);
    gpio_update(b, (unsigned)(port - 'A'));
}

#define PORT(letter, number, address, densities)                                                   \
    {                                                                                              \
        .name = "GPIO" letter, .base = UINT32_C(address), .size = 0x400,                           \
        .clock = 0x18 << 8 | ((number) + 2), .read = gpio_read, .write = gpio_write,               \
        .reset = gpio_reset, .index = (number), .regs = regs,                                      \
        .reg_count = sizeof regs / sizeof regs[0], .density = (densities)                          \
    }

/* F and G: high density only (DS5319 has A … E). */
const struct device gpio_devices[PORTS] = {
    PORT("A", 0, 0x40010800, 0),
    PORT("B", 1, 0x40010C00, 0),
    PORT("C", 2, 0x40011000, 0),
    PORT("D", 3, 0x40011400, 0),
    PORT("E", 4, 0x40011800, 0),
    PORT("F", 5, 0x40011C00, DENSITY_HIGH),
    PORT("G", 6, 0x40012000, DENSITY_HIGH),
};
