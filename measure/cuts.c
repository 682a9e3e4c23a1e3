/* SPDX-License-Identifier: MIT */
/*
 * How many power cuts a second? While an application replaces another one, each flash operation is cut, from a
 * snapshot of the board before the request in which it happens; the board that is left is powered up and
 * runs until it shows what it is: an application says its tag, the bootloader holds D+ low, by which the host
 * sees that what was there is gone. That is one run: to restore, to cut, to boot. The download itself goes on once, on another board, and is not counted.
 *
 *     build/measure/cuts      // by the CPU's time, so that what else the machine does changes little
 */
#include "tests/dfu_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct {
    struct board *before, *scratch;
    struct app old, new;
    uint64_t runs, applications, bootloaders, window, silent, instructions;
    double seconds;
} m;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static uint64_t instructions(const struct board *b)
{
    struct board_counts counts;
    board_counts(b, &counts);
    return counts.instructions;
}

static bool says_a_tag(void)
{
    return strstr(heard(), m.old.tag) || strstr(heard(), m.new.tag);
}

static void boot(struct board *b)
{
    bool open = page0_open(b);
    forget();
    board_power(b, true);
    for (unsigned ms = 0; ms < 100 && usb_attached(b) && !says_a_tag(); ms++)
        board_run_for(b, BOARD_MS);
    if (says_a_tag())
        m.applications++;
    else if (!usb_attached(b))
        m.bootloaders++;
    else if (open)
        m.window++;
    else
        m.silent++;
}

/* Before the step is done on the host's own board: all its operations, one after the other, each torn otherwise. */
static void cut_everywhere(struct host *h, const struct step *s)
{
    board_restore(m.before, h->board);
    for (uint64_t n = 1;; n++) {
        double begin = seconds();
        board_restore(m.scratch, m.before);
        uint64_t done = instructions(m.scratch);
        board_cut_at(m.scratch, n, (enum board_torn)((n - 1) % BOARD_TORN_MARGINAL), n);
        uint8_t data[XFER];
        struct step same = *s;
        if (s->data)
            same.data = memcpy(data, s->data, (size_t)(s->setup[6] | s->setup[7] << 8));
        step_do(m.scratch, &same);
        if (board_powered(m.scratch))
            return; /* there are no more */
        boot(m.scratch);
        m.seconds += seconds() - begin;
        m.instructions += instructions(m.scratch) - done;
        m.runs++;
    }
}

int main(void)
{
    m.old = app_build(6000, 1, 0);
    m.new = app_build(6000, 2, 0);
    struct host h = host_in_dfu("stm32f103c8", &m.old, BOARD_TYPICAL);
    m.before = board_copy(h.board);
    m.scratch = board_copy(h.board);
    h.watch = cut_everywhere;
    bool good = flash_application(&h, &m.new) && dfu_leave(&h, 2);
    h.watch = NULL;
    if (!good || !hears(h.board, m.new.tag, 1000) || m.silent) {
        fprintf(stderr, "cuts: the download failed, or %llu boards are silent\n",
            (unsigned long long)m.silent);
        return 1;
    }
    printf("%llu power cuts, each with its boot, in %.2f s: %.0f a second, %.0f MIPS; they leave "
           "%llu applications, "
           "%llu bootloaders, %llu neither (the window of page 0)\n",
        (unsigned long long)m.runs, m.seconds, (double)m.runs / m.seconds,
        (double)m.instructions / m.seconds * 1e-6, (unsigned long long)m.applications,
        (unsigned long long)m.bootloaders, (unsigned long long)m.window);
    board_free(m.before);
    board_free(m.scratch);
    board_free(h.board);
    app_free(&m.old);
    app_free(&m.new);
    return 0;
}
