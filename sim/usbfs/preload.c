/* SPDX-License-Identifier: MIT */
/*
 * A usbfs whose device is a USB/IP server's: preloaded before umockdev's library, which makes up the
 * sysfs. Stock programs on the stock libusb talk to the simulated board with it; no kernel module,
 * no root.
 *
 *     CABOOSE_USBIP=127.0.0.1:3240   where the server is
 *     CABOOSE_CONTROL=/tmp/board     its control channel: sleeps are handed to the board's clock
 *
 * Nodes. Opening /dev/bus/usb/BBB/DDD for writing imports the device. The descriptor that the program
 * gets is the writing end of a pipe, because poll() then says what it says of the kernel's node: a
 * full pipe is not writable, an emptied one (POLLOUT) means that an URB can be reaped, and one whose
 * reader has gone (POLLERR) that the device has. A thread takes the server's answers.
 *
 * Time. nanosleep(), usleep(), … and poll() and select() on nothing let the board's time pass instead
 * of ours; CLOCK_MONOTONIC jumps ahead by what was slept in no time. A server with a virtual clock
 * ends a control transfer that was NAKed for 5 s with -ETIMEDOUT. The kernel knows no such answer:
 * there, libusb's timerfd expires and libusb takes the URB back. So the URB stays where it is, and
 * CLOCK_MONOTONIC jumps to the time for which the program's next timerfd is set.
 *
 * Programs that open no USB node and do not sleep notice nothing.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/usbdevice_fs.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum {
    NODES = 32,
    TIMERS = 16,
    PIPE_ROOM = 4096,
    OP_SIZE = 8,
    DEVICE_SIZE = 312,
    HEADER_SIZE = 48,
    VERSION = 0x0111,
    REQ_IMPORT = 0x8003,
    REP_IMPORT = 0x0003,
    CMD_SUBMIT = 1,
    CMD_UNLINK = 2,
    RET_SUBMIT = 3,
    RET_UNLINK = 4,
    SPEED_FULL = 2,
};
#define SECOND INT64_C(1000000000)

enum urb_state { IN_FLIGHT, STUCK /* timed out at the server */, DONE };

struct request {
    struct request *next;
    struct usbdevfs_urb *urb; /* the program's; NULL: our own, of a synchronous ioctl */
    uint32_t seqnum, unlink;  /* unlink: seqnum of CMD_UNLINK; 0: none */
    enum urb_state state;
    bool in;
    uint8_t *data;
    uint32_t size;
    int status; /* of ours: 0 or -errno */
    uint32_t actual;
};

struct node {
    bool used, gone;
    int fd, reader; /* the pipe: the program's end, ours */
    int conn;
    uint32_t seqnum;
    struct request *requests; /* in order of submission, later of completion */
    pthread_t thread;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct node nodes[NODES];

/* The C library's function behind ours. */
#define NEXT(name) ((__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name))

/* --- bytes -------------------------------------------------------------------------------------- */

static void put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24), p[1] = (uint8_t)(v >> 16), p[2] = (uint8_t)(v >> 8),
    p[3] = (uint8_t)v;
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool send_all(int fd, const void *data, size_t size)
{
    for (const char *p = data; size;) {
        ssize_t n = send(fd, p, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        size -= (size_t)n;
    }
    return true;
}

static bool recv_all(int fd, void *data, size_t size)
{
    for (char *p = data; size;) {
        ssize_t n = recv(fd, p, size, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        size -= (size_t)n;
    }
    return true;
}

/* --- the clock ---------------------------------------------------------------------------------- */

static pthread_mutex_t clock_lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t ahead; /* CLOCK_MONOTONIC as the program sees it, minus the real one, in ns */
static int control = -1;

/* timerfds that are set to a time of CLOCK_MONOTONIC. */
static struct timer {
    bool used;
    int fd;
    int64_t at, interval;
} timers[TIMERS];

static int64_t to_ns(const struct timespec *t)
{
    return (int64_t)t->tv_sec * SECOND + t->tv_nsec;
}

static struct timespec to_timespec(int64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / SECOND), .tv_nsec = (long)(ns % SECOND)};
}

static int64_t real_now(void)
{
    struct timespec t;
    NEXT(clock_gettime)(CLOCK_MONOTONIC, &t);
    return to_ns(&t);
}

static void arm(const struct timer *t)
{
    int64_t real = t->at - ahead;
    struct itimerspec spec = {
        .it_value = to_timespec(real > 0 ? real : 1), .it_interval = to_timespec(t->interval)};
    NEXT(timerfd_settime)(t->fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

/* Call with clock_lock held. */
static void jump(int64_t ns)
{
    if (ns <= 0)
        return;
    ahead += ns;
    for (unsigned i = 0; i < TIMERS; i++) {
        if (timers[i].used)
            arm(&timers[i]);
    }
}

/* To the time for which a timerfd is set. False: there is none. */
static bool jump_to_timer(void)
{
    const struct timer *first = NULL;
    pthread_mutex_lock(&clock_lock);
    for (unsigned i = 0; i < TIMERS; i++) {
        if (timers[i].used && (!first || timers[i].at < first->at))
            first = &timers[i];
    }
    if (first)
        jump(first->at - (real_now() + ahead) + 1000000);
    pthread_mutex_unlock(&clock_lock);
    return first != NULL;
}

static int dial_control(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (!path || strlen(path) >= sizeof at.sun_path)
        return -1;
    memcpy(at.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&at, sizeof at)) {
        NEXT(close)(fd);
        return -1;
    }
    return fd;
}

/* A child of fork() must not share its parent's conversation. */
static void forget_control(void)
{
    if (control >= 0)
        NEXT(close)(control);
    control = -1;
}

/* Lets the board's time pass. False: there is no board. */
static bool board_sleep(int64_t ns)
{
    char text[64], c = 0;
    static bool hooked;
    const char *path = getenv("CABOOSE_CONTROL");
    if (!path || ns < 0)
        return false;
    int saved = errno;
    pthread_mutex_lock(&clock_lock);
    if (!hooked)
        hooked = pthread_atfork(NULL, NULL, forget_control) == 0;
    if (control < 0)
        control = dial_control(path);
    bool good = control >= 0;
    if (good) {
        int64_t begin = real_now();
        int n = snprintf(text, sizeof text, "sleep %lldns\n", (long long)ns);
        good = send_all(control, text, (size_t)n);
        while (good && c != '\n')
            good = recv_all(control, &c, 1);
        if (good)
            jump(ns - (real_now() - begin));
        else
            forget_control();
    }
    pthread_mutex_unlock(&clock_lock);
    errno = saved;
    return good;
}

static bool is_monotonic(clockid_t id)
{
    return id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_RAW || id == CLOCK_MONOTONIC_COARSE ||
           id == CLOCK_BOOTTIME;
}

EXPORT int clock_gettime(clockid_t id, struct timespec *t)
{
    static int (*next)(clockid_t, struct timespec *);
    if (!next)
        next = NEXT(clock_gettime);
    int rc = next(id, t);
    if (!rc && is_monotonic(id))
        *t = to_timespec(to_ns(t) + __atomic_load_n(&ahead, __ATOMIC_RELAXED));
    return rc;
}

EXPORT int timerfd_settime(int fd, int flags, const struct itimerspec *spec, struct itimerspec *old)
{
    struct timer *slot = NULL;
    pthread_mutex_lock(&clock_lock);
    for (unsigned i = 0; i < TIMERS; i++) {
        if (timers[i].used && timers[i].fd == fd)
            timers[i].used = false;
        if (!timers[i].used)
            slot = &timers[i];
    }
    int64_t at = spec ? to_ns(&spec->it_value) : 0;
    int rc;
    /* Times after the epoch by more than the uptime are of CLOCK_REALTIME: not ours. */
    if (slot && at && flags & TFD_TIMER_ABSTIME && at < real_now() + ahead + 86400 * SECOND) {
        *slot =
            (struct timer){.used = true, .fd = fd, .at = at, .interval = to_ns(&spec->it_interval)};
        arm(slot);
        rc = 0;
    } else {
        rc = NEXT(timerfd_settime)(fd, flags, spec, old);
    }
    pthread_mutex_unlock(&clock_lock);
    return rc;
}

EXPORT int nanosleep(const struct timespec *t, struct timespec *left)
{
    if (!t || t->tv_sec < 0 || t->tv_nsec < 0 || t->tv_nsec >= SECOND || !board_sleep(to_ns(t)))
        return NEXT(nanosleep)(t, left);
    return 0;
}

EXPORT int clock_nanosleep(clockid_t id, int flags, const struct timespec *t, struct timespec *left)
{
    struct timespec now = {0};
    int64_t ns = t ? to_ns(t) : -1;
    if (flags & TIMER_ABSTIME) {
        clock_gettime(id, &now);
        ns -= to_ns(&now);
        if (t && ns < 0)
            return 0;
    }
    if (!t || t->tv_nsec < 0 || t->tv_nsec >= SECOND || !board_sleep(ns))
        return NEXT(clock_nanosleep)(id, flags, t, left);
    return 0;
}

EXPORT int usleep(useconds_t us)
{
    return board_sleep((int64_t)us * 1000) ? 0 : NEXT(usleep)(us);
}

EXPORT unsigned sleep(unsigned seconds)
{
    return board_sleep(seconds * SECOND) ? 0 : NEXT(sleep)(seconds);
}

EXPORT int poll(struct pollfd *fds, nfds_t n, int timeout)
{
    if (n == 0 && timeout > 0 && board_sleep(timeout * INT64_C(1000000)))
        return 0;
    return NEXT(poll)(fds, n, timeout);
}

EXPORT int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
    if (n == 0 && timeout && board_sleep(to_ns(timeout)))
        return 0;
    return NEXT(ppoll)(fds, n, timeout, mask);
}

EXPORT int select(int n, fd_set *in, fd_set *out, fd_set *except, struct timeval *timeout)
{
    bool nothing = n == 0 || (!in && !out && !except);
    if (nothing && timeout &&
        board_sleep((int64_t)timeout->tv_sec * SECOND + (int64_t)timeout->tv_usec * 1000)) {
        *timeout = (struct timeval){0};
        return 0;
    }
    return NEXT(select)(n, in, out, except, timeout);
}

/* --- nodes: importing the device ---------------------------------------------------------------- */

static int dial_usbip(void)
{
    const char *server = getenv("CABOOSE_USBIP");
    const char *colon = server ? strrchr(server, ':') : NULL;
    char host[256];
    if (!colon || (size_t)(colon - server) >= sizeof host)
        return -1;
    memcpy(host, server, (size_t)(colon - server));
    host[colon - server] = 0;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *all;
    if (getaddrinfo(host, colon + 1, &hints, &all))
        return -1;
    int fd = -1;
    for (const struct addrinfo *a = all; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen)) {
            NEXT(close)(fd);
            fd = -1;
        }
    }
    freeaddrinfo(all);
    if (fd >= 0)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return fd;
}

/* The connection; -1 if the server has no device of that number now. */
static int import(unsigned bus, unsigned number)
{
    uint8_t request[OP_SIZE + 32] = {
        VERSION >> 8, VERSION & 0xFF, REQ_IMPORT >> 8, REQ_IMPORT & 0xFF};
    uint8_t reply[OP_SIZE], device[DEVICE_SIZE];
    memcpy(request + OP_SIZE, "1-1", 3);
    int fd = dial_usbip();
    if (fd < 0)
        return -1;
    if (send_all(fd, request, sizeof request) && recv_all(fd, reply, sizeof reply) &&
        !get32(reply + 4) && recv_all(fd, device, sizeof device) && get32(device + 288) == bus &&
        get32(device + 292) == number)
        return fd;
    NEXT(close)(fd);
    return -1;
}

static void set_reapable(const struct node *n, bool reapable)
{
    char room[PIPE_ROOM] = {0};
    if (reapable) {
        while (read(n->reader, room, sizeof room) > 0)
            continue;
    } else {
        while (write(n->fd, room, sizeof room) > 0)
            continue;
    }
}

static bool any_done(const struct node *n)
{
    for (const struct request *r = n->requests; r; r = r->next) {
        if (r->urb && r->state == DONE)
            return true;
    }
    return false;
}

/* Moves a finished request to the end: URBs are reaped in the order of their completion. */
static void complete(struct node *n, struct request *r, int status, uint32_t actual)
{
    r->state = DONE;
    r->status = status;
    r->actual = actual;
    if (r->urb) {
        r->urb->status = status;
        r->urb->actual_length = (int)actual;
        struct request **p = &n->requests;
        while (*p != r)
            p = &(*p)->next;
        *p = r->next;
        while (*p)
            p = &(*p)->next;
        r->next = NULL;
        *p = r;
        set_reapable(n, true);
    }
    pthread_cond_broadcast(&changed);
}

static struct request *find_request(struct node *n, uint32_t seqnum, bool unlink)
{
    for (struct request *r = n->requests; r; r = r->next) {
        if (r->state != DONE && seqnum == (unlink ? r->unlink : r->seqnum))
            return r;
    }
    return NULL;
}

/* One answer of the server. False: it cannot be one. */
static bool take_answer(struct node *n, const uint8_t *header)
{
    uint32_t command = get32(header), actual = get32(header + 24);
    int status = (int)get32(header + 20);
    pthread_mutex_lock(&lock);
    struct request *r = find_request(n, get32(header + 4), command == RET_UNLINK);
    bool good = command == RET_UNLINK || (command == RET_SUBMIT && r && actual <= r->size);
    /* The program may not free the buffer before it has reaped the URB: read without the lock. */
    bool data = good && command == RET_SUBMIT && r->in && actual;
    pthread_mutex_unlock(&lock);
    if (data && !recv_all(n->conn, r->data, actual))
        return false;
    pthread_mutex_lock(&lock);
    bool late = command == RET_SUBMIT && status == -ETIMEDOUT && r && r->urb && !r->unlink;
    if (late) /* before its timer goes off, when the program takes it back at once */
        r->state = STUCK;
    pthread_mutex_unlock(&lock);
    if (late && jump_to_timer())
        return true;
    pthread_mutex_lock(&lock);
    r = find_request(n, get32(header + 4), command == RET_UNLINK);
    if (command == RET_SUBMIT && good && r)
        complete(n, r, status, actual);
    else if (r && status == -ECONNRESET)
        complete(n, r, -ENOENT, 0);
    pthread_mutex_unlock(&lock);
    return good;
}

static void *listen_to_server(void *argument)
{
    struct node *n = argument;
    uint8_t header[HEADER_SIZE];
    while (recv_all(n->conn, header, sizeof header) && take_answer(n, header))
        continue;
    pthread_mutex_lock(&lock);
    n->gone = true;
    for (struct request *r = n->requests, *next; r; r = next) {
        next = r->next;
        if (r->state != DONE) {
            complete(n, r, -ESHUTDOWN, 0);
            next = n->requests; /* the list was rearranged */
        }
    }
    NEXT(close)(n->reader);
    n->reader = -1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return NULL;
}

static struct node *find_node(int fd)
{
    for (unsigned i = 0; fd >= 0 && i < NODES; i++) {
        if (nodes[i].used && nodes[i].fd == fd)
            return &nodes[i];
    }
    return NULL;
}

/* A descriptor, or -1 and errno. */
static int start_node(struct node *n, int conn)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
        return -1;
    fcntl(ends[1], F_SETPIPE_SZ, PIPE_ROOM);
    *n = (struct node){.used = true, .fd = ends[1], .reader = ends[0], .conn = conn};
    set_reapable(n, false);
    if (pthread_create(&n->thread, NULL, listen_to_server, n)) {
        NEXT(close)(ends[0]);
        NEXT(close)(ends[1]);
        n->used = false;
        errno = ENOMEM;
        return -1;
    }
    return n->fd;
}

static int open_node(unsigned bus, unsigned number)
{
    int fd = -1;
    int conn = import(bus, number);
    if (conn < 0) {
        errno = ENODEV;
        return -1;
    }
    pthread_mutex_lock(&lock);
    struct node *n = NULL;
    for (unsigned i = 0; i < NODES; i++) {
        if (!nodes[i].used)
            n = &nodes[i];
    }
    errno = EMFILE;
    if (n)
        fd = start_node(n, conn);
    pthread_mutex_unlock(&lock);
    if (fd < 0)
        NEXT(close)(conn);
    return fd;
}

static void end_node(struct node *n)
{
    shutdown(n->conn, SHUT_RDWR);
    pthread_join(n->thread, NULL);
    NEXT(close)(n->conn);
    pthread_mutex_lock(&lock);
    while (n->requests) {
        struct request *r = n->requests;
        n->requests = r->next;
        free(r);
    }
    int fd = n->fd;
    n->used = false;
    pthread_mutex_unlock(&lock);
    NEXT(close)(fd);
}

/* Is it a node of ours, opened to be written to? */
static bool is_node(const char *path, int flags, unsigned *bus, unsigned *number)
{
    int end = 0;
    return path && (flags & O_ACCMODE) == O_RDWR && getenv("CABOOSE_USBIP") &&
           !strncmp(path, "/dev/bus/usb/", 13) &&
           sscanf(path + 13, "%3u/%3u%n", bus, number, &end) == 2 && !path[13 + end];
}

#define WRAP_OPEN(name)                                                                            \
    EXPORT int name(const char *path, int flags, ...)                                              \
    {                                                                                              \
        unsigned bus, number;                                                                      \
        mode_t mode = 0;                                                                           \
        if (is_node(path, flags, &bus, &number))                                                   \
            return open_node(bus, number);                                                         \
        if (__OPEN_NEEDS_MODE(flags)) {                                                            \
            va_list arguments;                                                                     \
            va_start(arguments, flags);                                                            \
            mode = va_arg(arguments, mode_t);                                                      \
            va_end(arguments);                                                                     \
        }                                                                                          \
        return NEXT(name)(path, flags, mode);                                                      \
    }
WRAP_OPEN(open)
WRAP_OPEN(open64)

#define WRAP_OPENAT(name)                                                                          \
    EXPORT int name(int directory, const char *path, int flags, ...)                               \
    {                                                                                              \
        unsigned bus, number;                                                                      \
        mode_t mode = 0;                                                                           \
        if (is_node(path, flags, &bus, &number))                                                   \
            return open_node(bus, number);                                                         \
        if (__OPEN_NEEDS_MODE(flags)) {                                                            \
            va_list arguments;                                                                     \
            va_start(arguments, flags);                                                            \
            mode = va_arg(arguments, mode_t);                                                      \
            va_end(arguments);                                                                     \
        }                                                                                          \
        return NEXT(name)(directory, path, flags, mode);                                           \
    }
WRAP_OPENAT(openat)
WRAP_OPENAT(openat64)

/* What fortified callers (Debian's libusb) call instead. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int directory, const char *path, int flags);
int __openat64_2(int directory, const char *path, int flags);

#define WRAP_OPEN_2(name)                                                                          \
    EXPORT int name(const char *path, int flags)                                                   \
    {                                                                                              \
        unsigned bus, number;                                                                      \
        if (is_node(path, flags, &bus, &number))                                                   \
            return open_node(bus, number);                                                         \
        return NEXT(name)(path, flags);                                                            \
    }
WRAP_OPEN_2(__open_2)
WRAP_OPEN_2(__open64_2)

#define WRAP_OPENAT_2(name)                                                                        \
    EXPORT int name(int directory, const char *path, int flags)                                    \
    {                                                                                              \
        unsigned bus, number;                                                                      \
        if (is_node(path, flags, &bus, &number))                                                   \
            return open_node(bus, number);                                                         \
        return NEXT(name)(directory, path, flags);                                                 \
    }
WRAP_OPENAT_2(__openat_2)
WRAP_OPENAT_2(__openat64_2)

EXPORT int close(int fd)
{
    pthread_mutex_lock(&lock);
    struct node *n = find_node(fd);
    pthread_mutex_unlock(&lock);
    pthread_mutex_lock(&clock_lock);
    for (unsigned i = 0; i < TIMERS; i++) {
        if (timers[i].used && timers[i].fd == fd)
            timers[i].used = false;
    }
    pthread_mutex_unlock(&clock_lock);
    if (!n)
        return NEXT(close)(fd);
    end_node(n);
    return 0;
}

/* --- requests ----------------------------------------------------------------------------------- */

static struct request *new_request(struct node *n)
{
    struct request *r = calloc(1, sizeof *r);
    struct request **p = &n->requests;
    if (!r)
        return NULL;
    r->seqnum = ++n->seqnum;
    while (*p)
        p = &(*p)->next;
    *p = r;
    return r;
}

static void free_request(struct node *n, struct request *r)
{
    struct request **p = &n->requests;
    while (*p != r)
        p = &(*p)->next;
    *p = r->next;
    free(r);
}

/* CMD_SUBMIT. setup is NULL but for control. Call with the lock held. */
static void send_request(struct node *n, const struct request *r, unsigned endpoint,
    const uint8_t *setup, uint32_t flags)
{
    uint8_t header[HEADER_SIZE] = {0};
    put32(header, CMD_SUBMIT);
    put32(header + 4, r->seqnum);
    put32(header + 8, 1 << 16 | 2);
    put32(header + 12, r->in);
    put32(header + 16, endpoint & 15);
    put32(header + 20, flags);
    put32(header + 24, r->size);
    put32(header + 32, UINT32_MAX); /* not isochronous */
    if (setup)
        memcpy(header + 40, setup, 8);
    /* If it fails, the listener finds out that the server has gone, and ends the request. */
    if (send_all(n->conn, header, sizeof header) && !r->in && r->size)
        send_all(n->conn, r->data, r->size);
}

static int fail(int error)
{
    errno = error;
    return -1;
}

static int submit(struct node *n, struct usbdevfs_urb *urb)
{
    bool is_control = urb->type == USBDEVFS_URB_TYPE_CONTROL;
    uint8_t *buffer = urb->buffer;
    if (!is_control && urb->type != USBDEVFS_URB_TYPE_BULK &&
        urb->type != USBDEVFS_URB_TYPE_INTERRUPT)
        return fail(EINVAL);
    if (urb->buffer_length < 0 || (is_control && urb->buffer_length < 8))
        return fail(EINVAL);
    uint32_t length = is_control ? (uint32_t)(buffer[6] | buffer[7] << 8) : 0;
    if (is_control && (uint32_t)urb->buffer_length < 8 + length)
        return fail(EINVAL);
    struct request *r = new_request(n);
    if (!r)
        return fail(ENOMEM);
    r->urb = urb;
    r->in = is_control ? buffer[0] & 0x80 : urb->endpoint & 0x80;
    r->data = is_control ? buffer + 8 : buffer;
    r->size = is_control ? length : (uint32_t)urb->buffer_length;
    send_request(
        n, r, urb->endpoint, is_control ? buffer : NULL, urb->flags & USBDEVFS_URB_ZERO_PACKET);
    return 0;
}

static int reap(struct node *n, struct usbdevfs_urb **urb, bool wait)
{
    for (;;) {
        for (struct request *r = n->requests; r; r = r->next) {
            if (!r->urb || r->state != DONE)
                continue;
            *urb = r->urb;
            free_request(n, r);
            if (!n->gone && !any_done(n))
                set_reapable(n, false);
            return 0;
        }
        if (n->gone)
            return fail(ENODEV);
        if (!wait)
            return fail(EAGAIN);
        pthread_cond_wait(&changed, &lock);
    }
}

static int discard(struct node *n, const struct usbdevfs_urb *urb)
{
    for (struct request *r = n->requests; r; r = r->next) {
        if (r->urb != urb || r->state == DONE)
            continue;
        if (r->state == STUCK) {
            complete(n, r, -ENOENT, 0);
        } else if (!r->unlink) {
            uint8_t header[HEADER_SIZE] = {0};
            r->unlink = ++n->seqnum;
            put32(header, CMD_UNLINK);
            put32(header + 4, r->unlink);
            put32(header + 8, 1 << 16 | 2);
            put32(header + 20, r->seqnum);
            send_all(n->conn, header, sizeof header);
        }
        return 0;
    }
    return fail(EINVAL);
}

/* A transfer that is waited for. Bytes moved, or -1 and errno. Call with the lock held. */
static int transfer(
    struct node *n, unsigned endpoint, const uint8_t *setup, uint8_t *data, uint32_t size)
{
    struct request *r = n->gone ? NULL : new_request(n);
    if (!r)
        return fail(ENODEV);
    r->in = setup ? setup[0] & 0x80 : endpoint & 0x80;
    r->data = data;
    r->size = size;
    send_request(n, r, endpoint, setup, 0);
    while (r->state != DONE)
        pthread_cond_wait(&changed, &lock);
    int status = r->status;
    uint32_t actual = r->actual;
    free_request(n, r);
    if (status)
        return fail(status == -ESHUTDOWN ? ENODEV : -status);
    return (int)actual;
}

static int plain(struct node *n, uint8_t type, uint8_t code, uint16_t value, uint16_t index)
{
    const uint8_t setup[8] = {
        type, code, (uint8_t)value, (uint8_t)(value >> 8), (uint8_t)index, (uint8_t)(index >> 8)};
    return transfer(n, 0, setup, NULL, 0) < 0 ? -1 : 0;
}

static int control_ioctl(struct node *n, const struct usbdevfs_ctrltransfer *c)
{
    const uint8_t setup[8] = {c->bRequestType, c->bRequest, (uint8_t)c->wValue,
        (uint8_t)(c->wValue >> 8), (uint8_t)c->wIndex, (uint8_t)(c->wIndex >> 8),
        (uint8_t)c->wLength, (uint8_t)(c->wLength >> 8)};
    return transfer(n, 0, setup, c->data, c->wLength);
}

static int driver_ioctl(const struct usbdevfs_ioctl *c)
{
    bool known =
        c->ioctl_code == (int)USBDEVFS_DISCONNECT || c->ioctl_code == (int)USBDEVFS_CONNECT;
    return fail(known ? ENODATA : ENOTTY); /* no kernel driver is bound */
}

static int node_ioctl(struct node *n, unsigned long code, void *argument)
{
    const struct usbdevfs_setinterface *interface = argument;
    const struct usbdevfs_bulktransfer *bulk = argument;

    if (n->gone && code != USBDEVFS_REAPURB && code != USBDEVFS_REAPURBNDELAY)
        return fail(ENODEV);
    switch (code) {
    case USBDEVFS_SUBMITURB:
        return submit(n, argument);
    case USBDEVFS_REAPURB:
        return reap(n, argument, true);
    case USBDEVFS_REAPURBNDELAY:
        return reap(n, argument, false);
    case USBDEVFS_DISCARDURB:
        return discard(n, argument);
    case USBDEVFS_CONTROL:
        return control_ioctl(n, argument);
    case USBDEVFS_BULK:
        return transfer(n, bulk->ep, NULL, bulk->data, bulk->len);
    case USBDEVFS_SETINTERFACE:
        return plain(n, 0x01, 11, (uint16_t)interface->altsetting, (uint16_t)interface->interface);
    case USBDEVFS_SETCONFIGURATION:
        return plain(n, 0x00, 9, (uint16_t) * (const unsigned *)argument, 0);
    case USBDEVFS_CLEAR_HALT:
        return plain(n, 0x02, 1, 0, (uint16_t) * (const unsigned *)argument);
    case USBDEVFS_RESET:
        return plain(n, 0x23, 3, 4, 0); /* SET_FEATURE(PORT_RESET) */
    case USBDEVFS_CLAIMINTERFACE:
    case USBDEVFS_RELEASEINTERFACE:
    case USBDEVFS_DISCONNECT_CLAIM:
    case USBDEVFS_RESETEP:
    case USBDEVFS_CLAIM_PORT:
    case USBDEVFS_RELEASE_PORT:
        return 0;
    case USBDEVFS_GETDRIVER:
        return fail(ENODATA);
    case USBDEVFS_IOCTL:
        return driver_ioctl(argument);
    case USBDEVFS_GET_CAPABILITIES:
        *(uint32_t *)argument = USBDEVFS_CAP_ZERO_PACKET | USBDEVFS_CAP_NO_PACKET_SIZE_LIM |
                                USBDEVFS_CAP_REAP_AFTER_DISCONNECT;
        return 0;
    case USBDEVFS_GET_SPEED:
        return SPEED_FULL;
    default:
        return fail(ENOTTY);
    }
}

EXPORT int ioctl(int fd, unsigned long code, ...)
{
    va_list arguments;
    va_start(arguments, code);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    pthread_mutex_lock(&lock);
    struct node *n = find_node(fd);
    int rc = n ? node_ioctl(n, code, argument) : 0;
    pthread_mutex_unlock(&lock);
    return n ? rc : NEXT(ioctl)(fd, code, argument);
}
