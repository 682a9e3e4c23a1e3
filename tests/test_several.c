/* SPDX-License-Identifier: MIT */
/* Two boards at one place: a USB/IP server with two scripted devices, and the command as it is. Nothing may
 * happen to the board that is not meant. */
#include "core/dfu.h"
#include "sim/usbip.h"
#include "tests/mock_device.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BOARDS = 2, CONNECTIONS = 8 };

static struct mock *boards; /* shared with the server's process */
static pid_t server;
static unsigned port;

/* --- the server ---------------------------------------------------------------------------------- */

static bool take(int fd, void *data, size_t size)
{
    return recv(fd, data, size, MSG_WAITALL) == (ssize_t)size;
}

static void give(int fd, const void *data, size_t size)
{
    send(fd, data, size, MSG_NOSIGNAL);
}

static void put_device(uint8_t text[USBIP_DEVICE_SIZE], int which)
{
    memset(text, 0, USBIP_DEVICE_SIZE);
    snprintf((char *)text + 256, 32, "1-%d", which + 1);
    usbip_put32(text + 288, 1);
    usbip_put32(text + 292, (uint32_t)which + 2);
    usbip_put32(text + 296, 2);
    usbip_put16(text + 300, 0x0483);
    usbip_put16(text + 302, 0xDF11);
    text[309] = text[310] = text[311] = 1;
}

static void answer_list(int fd)
{
    static const uint8_t interface[4] = {DFU_CLASS, DFU_SUBCLASS, DFU_PROTOCOL_DFU};
    uint8_t head[USBIP_OP_SIZE + 4], device[USBIP_DEVICE_SIZE];
    usbip_make_op(head, USBIP_REP_DEVLIST, 0);
    usbip_put32(head + USBIP_OP_SIZE, BOARDS);
    give(fd, head, sizeof head);
    for (int i = 0; i < BOARDS; i++) {
        put_device(device, i);
        give(fd, device, sizeof device);
        give(fd, interface, sizeof interface);
    }
}

/* -1: the connection is over; else the board that it is for, BOARDS: none yet. */
static int answer_operation(int fd)
{
    uint8_t head[USBIP_OP_SIZE], device[USBIP_DEVICE_SIZE];
    char busid[USBIP_BUSID_SIZE];
    if (!take(fd, head, sizeof head))
        return -1;
    if (usbip_get16(head + 2) == USBIP_REQ_DEVLIST) {
        answer_list(fd);
        return -1;
    }
    if (!take(fd, busid, sizeof busid))
        return -1;
    usbip_make_op(head, USBIP_REP_IMPORT, 0);
    give(fd, head, sizeof head);
    put_device(device, busid[2] - '1');
    give(fd, device, sizeof device);
    return busid[2] - '1';
}

static bool answer_transfer(int fd, struct mock *board)
{
    uint8_t head[USBIP_HEADER_SIZE], data[TRANSFER_MAX];
    struct usbip_command c;
    if (!take(fd, head, sizeof head))
        return false;
    usbip_parse_command(head, &c);
    if (c.command != USBIP_CMD_SUBMIT || (!c.direction && c.length && !take(fd, data, c.length)))
        return false;
    int n = mock_transfer(board, c.setup, data);
    if (n == TRANSFER_GONE)
        return false;
    usbip_make_return(head, USBIP_RET_SUBMIT, c.seqnum, n < 0 ? -32 : 0,
        n < 0         ? 0
        : c.direction ? (uint32_t)n
                      : c.length);
    give(fd, head, sizeof head);
    if (c.direction && n > 0)
        give(fd, data, (size_t)n);
    return true;
}

static void serve(int listener)
{
    struct pollfd fds[CONNECTIONS + 1] = {
        {.fd = listener, .events = POLLIN}
    };
    int of[CONNECTIONS + 1] = {0};
    for (int i = 1; i <= CONNECTIONS; i++)
        fds[i].fd = -1;
    while (poll(fds, CONNECTIONS + 1, -1) > 0) {
        for (int i = 1; i <= CONNECTIONS; i++) {
            if (fds[i].fd < 0 || !fds[i].revents)
                continue;
            if (of[i] == BOARDS)
                of[i] = answer_operation(fds[i].fd);
            else if (!answer_transfer(fds[i].fd, &boards[of[i]]))
                of[i] = -1;
            if (of[i] < 0) {
                close(fds[i].fd);
                fds[i].fd = -1;
            }
        }
        for (int i = 1; i <= CONNECTIONS && fds[0].revents; i++)
            if (fds[i].fd < 0) {
                fds[i] = (struct pollfd){.fd = accept(listener, NULL, NULL), .events = POLLIN};
                of[i] = BOARDS;
                break;
            }
    }
}

static void set_up(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    boards = mmap(
        NULL, BOARDS * sizeof *boards, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert(boards != MAP_FAILED);
    for (int i = 0; i < BOARDS; i++) {
        mock_init(&boards[i]);
        boards[i].serial = i ? "0002" : "0001";
        boards[i].done_at_once = true;
        boards[i].leave = MOCK_VANISHES_AT_ONCE;
    }
    cr_assert(bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 8) == 0);
    getsockname(listener, (struct sockaddr *)&address, &size);
    port = ntohs(address.sin_port);
    server = fork();
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(listener);
        _exit(0);
    }
    close(listener);
}

static void tear_down(void)
{
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
}

TestSuite(several, .init = set_up, .fini = tear_down, .timeout = 60);

/* --- promises ------------------------------------------------------------------------------------ */

static int caboose(const char *arguments)
{
    char command[256];
    snprintf(command, sizeof command,
        "build/bin/caboose flash --quiet --usbip 127.0.0.1:%u %s build/examples/blinky.elf 2>&1",
        port, arguments);
    return WEXITSTATUS(system(command));
}

static void expect_flashed(bool first, bool second, const char *when)
{
    cr_expect((boards[0].blocks > 0) == first, "%s: the first board", when);
    cr_expect((boards[1].blocks > 0) == second, "%s: the second board", when);
}

Test(several, the_board_that_is_named_is_flashed_and_no_other)
{
    static const char *const names[] = {
        "--device 0001", "--device 0002", "--device 1-1", "--device 1-2"};
    for (int i = 0; i < 4; i++) {
        boards[0].gone = boards[1].gone = boards[0].leaving = boards[1].leaving = false;
        boards[0].state = boards[1].state = DFU_IDLE;
        boards[0].blocks = boards[1].blocks = 0;
        memset(boards[i % 2].flash, 0xA5, MOCK_SIZE);
        cr_expect(caboose(names[i]) == 0, "%s", names[i]);
        expect_flashed(i % 2 == 0, i % 2 == 1, names[i]);
    }
}

Test(several, two_boards_and_no_name_are_an_error_and_all_means_both)
{
    cr_expect(caboose("") == 64);
    expect_flashed(false, false, "no name");
    cr_expect(caboose("--all") == 0);
    expect_flashed(true, true, "--all");
}
