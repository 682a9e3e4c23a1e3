/* SPDX-License-Identifier: MIT */
/* The state machine against a table of its own. */
#include "core/dfu_state.h"

#include <criterion/criterion.h>

/* Written from DFU 1.1 appendix A.2 and core/dfu_state.h's list of deviations, as letters:
 *   D take a download   U send   S tell status   s tell state   I to idle   A abort, to idle
 *   G go   x STALL, dfuERROR   - STALL, the state stays */
static const struct {
    enum dfu_state state;
    const char *reactions; /* DETACH DNLOAD UPLOAD GETSTATUS CLRSTATUS GETSTATE ABORT */
} rows[] = {
    {DFU_IDLE,                "GDUSIsA"}, /* A.2.3 */
    {DFU_DNLOAD_SYNC,         "AxxSAsA"}, /* A.2.4; a block that was not asked for is dropped */
    {DFU_DNBUSY,              "GxxSIsA"}, /* A.2.5 */
    {DFU_DNLOAD_IDLE,         "GDxSIsA"}, /* A.2.6 */
    {DFU_MANIFEST_SYNC,       "GxxSIsA"}, /* A.2.7 */
    {DFU_MANIFEST,            "G--S-s-"}, /* A.2.8: it is as good as gone */
    {DFU_MANIFEST_WAIT_RESET, "G--S-s-"}, /* A.2.9 */
    {DFU_UPLOAD_IDLE,         "GxUSIsA"}, /* A.2.10 */
    {DFU_ERROR,               "G--SIs-"}, /* A.2.11 */
};

static char letter(enum dfu_reaction reaction)
{
    static const char letters[] = {
        [DFU_REFUSE] = 'x',
        [DFU_IGNORE] = '-',
        [DFU_DOWNLOAD] = 'D',
        [DFU_SEND] = 'U',
        [DFU_TELL] = 'S',
        [DFU_STATE] = 's',
        [DFU_TO_IDLE] = 'I',
        [DFU_STOP] = 'A',
        [DFU_GO] = 'G',
    };
    return (unsigned)reaction < sizeof letters ? letters[reaction] : '?';
}

Test(dfu_state, each_request_in_each_state_means_what_the_standard_says)
{
    for (unsigned row = 0; row < sizeof rows / sizeof *rows; row++)
        for (unsigned request = DFU_DETACH; request <= DFU_ABORT; request++) {
            char got = letter(dfu_react(rows[row].state, request)),
                 want = rows[row].reactions[request];
            cr_expect_eq(got, want, "state %u, request %u: '%c', not '%c'", rows[row].state,
                request, got, want);
        }
}

Test(dfu_state, what_is_no_request_is_refused_everywhere)
{
    for (unsigned state = DFU_APP_IDLE; state <= DFU_ERROR + 5; state++)
        for (unsigned request = DFU_ABORT + 1; request < 0x300; request++)
            cr_assert_eq(dfu_react((enum dfu_state)state, request), DFU_REFUSE,
                "state %u, request %u", state, request);
    cr_expect_eq(dfu_react(DFU_IDLE, 0xFFFFFFFF), DFU_REFUSE);
}

Test(dfu_state, states_of_the_run_time_refuse_everything)
{
    for (unsigned request = 0; request < 256; request++) {
        cr_expect_eq(dfu_react(DFU_APP_IDLE, request), DFU_REFUSE);
        cr_expect_eq(dfu_react(DFU_APP_DETACH, request), DFU_REFUSE);
        cr_expect_eq(dfu_react((enum dfu_state)(DFU_ERROR + 1), request), DFU_REFUSE);
    }
}
