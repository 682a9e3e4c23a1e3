/* SPDX-License-Identifier: MIT */
#include "tests/usb_stage.h"
#include "host/transfer.h"
#include "sim/usbip.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CONTROL, BEFORE_IMPORT, IMPORTED };
enum { LISTENERS = 3, ROOM = 16384, TIMEOUT_NS_PER_S = 1000000000 };

/* --- the control channel ------------------------------------------------------------------------ */

struct text {
    char bytes[ROOM];
    size_t used;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    t->used += (size_t)vsnprintf(t->bytes + t->used, sizeof t->bytes - t->used, format, args);
    va_end(args);
    cr_assert(t->used < sizeof t->bytes);
}

static void put_hex(struct text *t, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        put(t, "%02x", data[i]);
}

/* As umockdev wants it, newlines written as \n. */
static void put_sysfs(struct text *t, const struct stage_face *f, unsigned index)
{
    unsigned number = STAGE_FIRST_NUMBER + index, port = 1 + index;
    const uint8_t *d = f->device;
    put(t, "P: /devices/pci0000:00/0000:00:14.0/usb1/1-%u\\n", port);
    put(t, "N: bus/usb/001/%03u\\nE: DEVNAME=/dev/bus/usb/001/%03u\\n", number, number);
    put(t, "E: SUBSYSTEM=usb\\nE: DEVTYPE=usb_device\\nE: BUSNUM=001\\nE: DEVNUM=%03u\\n", number);
    put(t, "E: MAJOR=189\\nE: MINOR=%u\\n", number - 1);
    put(t, "A: idVendor=%04x\\nA: idProduct=%04x\\nA: bcdDevice=%04x\\n", transfer_get16(d + 8),
        transfer_get16(d + 10), transfer_get16(d + 12));
    put(t, "A: busnum=1\\nA: devnum=%u\\nA: devpath=%u\\nA: speed=12\\n", number, port);
    put(t, "A: bConfigurationValue=%u\\nA: bNumConfigurations=1\\n", f->config[5]);
    put(t, "H: descriptors=");
    put_hex(t, f->device, sizeof f->device);
    put_hex(t, f->config, f->config_size);
    put(t, "\\n\\n");
}

static void answer_line(struct stage *s, const struct stage_connection *c)
{
    struct text *t = calloc(1, sizeof *t);
    cr_assert_not_null(t);
    unsigned long long ns;
    put(t, "ok ");
    if (!strcmp(c->line, "usbip")) {
        put(t, "127.0.0.1:%u", s->port);
    } else if (!strcmp(c->line, "sysfs")) {
        for (unsigned i = 0; i < s->player.face_count; i++)
            put_sysfs(t, &s->player.faces[i], i);
    } else if (sscanf(c->line, "sleep %lluns", &ns) == 1) {
        s->player.sleep(s->player.self, ns);
    }
    put(t, "\n");
    if (send(c->fd, t->bytes, t->used, MSG_NOSIGNAL) < 0)
        perror("control channel");
    free(t);
}

/* --- USB/IP ------------------------------------------------------------------------------------- */

static bool receive(int fd, void *data, size_t size)
{
    return !size || recv(fd, data, size, MSG_WAITALL) == (ssize_t)size;
}

static bool send_both(int fd, const void *a, size_t a_size, const void *b, size_t b_size)
{
    return send(fd, a, a_size, MSG_NOSIGNAL | (b_size ? MSG_MORE : 0)) == (ssize_t)a_size &&
           (!b_size || send(fd, b, b_size, MSG_NOSIGNAL) == (ssize_t)b_size);
}

static bool import(struct stage *s, struct stage_connection *c)
{
    uint8_t request[USBIP_OP_SIZE + USBIP_BUSID_SIZE], op[USBIP_OP_SIZE];
    uint8_t device[USBIP_DEVICE_SIZE] = {0};
    if (!receive(c->fd, request, sizeof request) || usbip_get16(request + 2) != USBIP_REQ_IMPORT)
        return false;
    c->face = s->player.face(s->player.self);
    usbip_make_op(op, USBIP_REP_IMPORT, c->face < 0);
    usbip_put32(device + 288, 1);
    usbip_put32(device + 292, (uint32_t)(STAGE_FIRST_NUMBER + c->face));
    c->kind = IMPORTED;
    return send_both(c->fd, op, sizeof op, device, c->face < 0 ? 0 : sizeof device) && c->face >= 0;
}

static int status_of(int result)
{
    return result >= 0 ? 0 : result == TRANSFER_TIMEOUT ? -ETIMEDOUT : -EPIPE;
}

static bool submit(struct stage *s, struct stage_connection *c, const struct usbip_command *command)
{
    static uint8_t data[65536];
    uint8_t header[USBIP_HEADER_SIZE];
    bool in = command->direction;
    if (command->length > sizeof data || (!in && !receive(c->fd, data, command->length)))
        return false;
    if (s->player.face(s->player.self) != c->face)
        return false;
    int result = s->player.transfer(s->player.self, command->setup, data);
    if (result == TRANSFER_GONE)
        return false;
    if (result == TRANSFER_TIMEOUT)
        s->player.sleep(s->player.self, 5ULL * TIMEOUT_NS_PER_S);
    uint32_t size = result > 0 ? (uint32_t)result : 0;
    usbip_make_return(header, USBIP_RET_SUBMIT, command->seqnum, status_of(result), size);
    return send_both(c->fd, header, sizeof header, data, in ? size : 0);
}

static bool serve(struct stage *s, struct stage_connection *c)
{
    uint8_t header[USBIP_HEADER_SIZE];
    struct usbip_command command;
    if (c->kind == BEFORE_IMPORT)
        return import(s, c);
    if (!receive(c->fd, header, sizeof header))
        return false;
    usbip_parse_command(header, &command);
    if (command.command == USBIP_CMD_SUBMIT)
        return submit(s, c, &command);
    /* Only what timed out is taken back. */
    usbip_make_return(header, USBIP_RET_UNLINK, command.seqnum, -ECONNRESET, 0);
    return send_both(c->fd, header, sizeof header, NULL, 0);
}

static bool hear(struct stage *s, struct stage_connection *c)
{
    char byte;
    if (read(c->fd, &byte, 1) != 1 || c->used + 1 >= sizeof c->line)
        return false;
    if (byte != '\n') {
        c->line[c->used++] = byte;
        return true;
    }
    c->line[c->used] = '\0';
    c->used = 0;
    answer_line(s, c);
    return true;
}

/* --- the thread --------------------------------------------------------------------------------- */

static void drop(struct stage_connection *c)
{
    close(c->fd);
    c->fd = -1;
}

static void admit(struct stage *s, int listener, int kind)
{
    for (unsigned i = 0; i < STAGE_CONNECTIONS; i++) {
        struct stage_connection *c = &s->connections[i];
        if (c->fd >= 0)
            continue;
        *c =
            (struct stage_connection){.fd = accept(listener, NULL, NULL), .kind = kind, .face = -1};
        if (c->fd >= 0 && kind != CONTROL)
            setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        return;
    }
}

/* Who is gone is gone for everybody that has it open. */
static void drop_the_gone(struct stage *s)
{
    int face = s->player.face(s->player.self);
    for (unsigned i = 0; i < STAGE_CONNECTIONS; i++) {
        struct stage_connection *c = &s->connections[i];
        if (c->fd >= 0 && c->kind == IMPORTED && c->face != face)
            drop(c);
    }
}

static void *play(void *argument)
{
    struct stage *s = argument;
    for (;;) {
        struct pollfd fds[LISTENERS + STAGE_CONNECTIONS] = {
            {.fd = s->quit[0], .events = POLLIN},
            {.fd = s->control, .events = POLLIN},
            {.fd = s->usbip,   .events = POLLIN},
        };
        for (unsigned i = 0; i < STAGE_CONNECTIONS; i++)
            fds[LISTENERS + i] = (struct pollfd){.fd = s->connections[i].fd, .events = POLLIN};
        poll(fds, LISTENERS + STAGE_CONNECTIONS, -1);
        if (fds[0].revents)
            return NULL;
        for (unsigned i = 0; i < STAGE_CONNECTIONS; i++) {
            struct stage_connection *c = &s->connections[i];
            if (fds[LISTENERS + i].revents && c->fd >= 0 &&
                !(c->kind == CONTROL ? hear(s, c) : serve(s, c)))
                drop(c);
        }
        if (fds[1].revents)
            admit(s, s->control, CONTROL);
        if (fds[2].revents)
            admit(s, s->usbip, BEFORE_IMPORT);
        drop_the_gone(s);
    }
}

static int listen_control(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0 && !bind(fd, (const struct sockaddr *)&at, sizeof at) && !listen(fd, 8));
    return fd;
}

static int listen_usbip(unsigned *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0 && !bind(fd, (const struct sockaddr *)&at, sizeof at) && !listen(fd, 8));
    cr_assert(!getsockname(fd, (struct sockaddr *)&at, &size));
    *port = ntohs(at.sin_port);
    return fd;
}

struct stage *stage_open(const struct stage_player *player)
{
    struct stage *s = calloc(1, sizeof *s);
    char dir[] = "/tmp/caboose-test-XXXXXX";
    cr_assert(s && mkdtemp(dir));
    s->player = *player;
    memcpy(s->session.dir, dir, sizeof dir);
    snprintf(s->session.control, sizeof s->session.control, "%s/control", dir);
    for (unsigned i = 0; i < STAGE_CONNECTIONS; i++)
        s->connections[i].fd = -1;
    s->control = listen_control(s->session.control);
    s->usbip = listen_usbip(&s->port);
    snprintf(s->session.usbip, sizeof s->session.usbip, "127.0.0.1:%u", s->port);
    cr_assert(!pipe(s->quit) && !pthread_create(&s->thread, NULL, play, s));
    return s;
}

void stage_close(struct stage *s)
{
    char command[64];
    cr_assert(write(s->quit[1], "", 1) == 1);
    pthread_join(s->thread, NULL);
    for (unsigned i = 0; i < STAGE_CONNECTIONS; i++)
        if (s->connections[i].fd >= 0)
            drop(&s->connections[i]);
    close(s->control), close(s->usbip), close(s->quit[0]), close(s->quit[1]);
    snprintf(command, sizeof command, "rm -rf %.31s", s->session.dir);
    if (system(command))
        printf("%s is left\n", s->session.dir);
    free(s);
}
