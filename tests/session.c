/* SPDX-License-Identifier: MIT */
#include "session.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SESSIONS = 32, LINE = 32768 };

static struct session *sessions[SESSIONS];
static unsigned used_sessions;

/* --- processes ---------------------------------------------------------------------------------- */

/* A shell command that dies with the test. Its standard output goes to *out, if that is given. */
static pid_t spawn(const char *command, int *out)
{
    int ends[2] = {-1, -1};
    cr_assert(!out || !pipe(ends));
    pid_t pid = fork();
    cr_assert(pid >= 0);
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (out)
            dup2(ends[1], STDOUT_FILENO), close(ends[0]), close(ends[1]);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    if (out) {
        close(ends[1]);
        *out = ends[0];
    }
    return pid;
}

static int wait_for(pid_t pid)
{
    int status = 0;
    cr_assert(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

uint8_t *file_read(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    size_t room = 65536, used = 0, n;
    uint8_t *data = malloc(room + 1);
    cr_assert(f && data, "%s cannot be read", path);
    while ((n = fread(data + used, 1, room - used, f)) != 0) {
        used += n;
        if (used == room)
            data = realloc(data, (room *= 2) + 1);
        cr_assert_not_null(data);
    }
    fclose(f);
    data[used] = 0;
    if (size)
        *size = used;
    return data;
}

/* A text in which @ is the session's directory. */
static char *with_directory(const struct session *s, const char *text)
{
    size_t room = strlen(text) * sizeof s->dir + 1, n = 0;
    char *whole = malloc(room);
    cr_assert_not_null(whole);
    for (; *text; text++) {
        if (*text == '@')
            n += (size_t)snprintf(whole + n, room - n, "%s", s->dir);
        else
            whole[n++] = *text;
    }
    whole[n] = 0;
    return whole;
}

static struct outcome run_limited(struct session *s, const char *before, const char *command)
{
    char line[8192], path[64];
    char *whole = with_directory(s, command);
    struct outcome o;
    int n = snprintf(line, sizeof line, "exec timeout -k 2 60 %s %s >%s/out 2>%s/err </dev/null",
        before, whole, s->dir, s->dir);
    free(whole);
    cr_assert(n > 0 && (size_t)n < sizeof line);
    o.code = wait_for(spawn(line, NULL));
    snprintf(path, sizeof path, "%s/out", s->dir);
    o.out = (char *)file_read(path, NULL);
    snprintf(path, sizeof path, "%s/err", s->dir);
    o.err = (char *)file_read(path, NULL);
    const char *end = strchr(o.err, '\n');
    o.one_line_of_error = end && end > o.err && !end[1];
    return o;
}

#define FORMATTED(text, format)                                                                    \
    char text[4096];                                                                               \
    do {                                                                                           \
        va_list args;                                                                              \
        va_start(args, format);                                                                    \
        int length = vsnprintf(text, sizeof text, format, args);                                   \
        va_end(args);                                                                              \
        cr_assert(length >= 0 && (size_t)length < sizeof text);                                    \
    } while (0)

struct outcome run(struct session *s, const char *format, ...)
{
    FORMATTED(command, format);
    return run_limited(s, "", command);
}

struct outcome on_board(struct session *s, const char *format, ...)
{
    char before[128];
    FORMATTED(command, format);
    snprintf(before, sizeof before, "build/bin/caboose-with-board %s --", s->control);
    return run_limited(s, before, command);
}

/* --- the simulated board ------------------------------------------------------------------------ */

struct session *session_bare(const char *options)
{
    char command[8192], line[256];
    int out, port;
    cr_assert(used_sessions < SESSIONS);
    struct session *s = calloc(1, sizeof *s);
    char dir[] = "/tmp/caboose-test-XXXXXX";
    cr_assert(s && mkdtemp(dir));
    sessions[used_sessions++] = s;
    memcpy(s->dir, dir, sizeof dir);
    snprintf(s->control, sizeof s->control, "%s/control", dir);
    snprintf(s->uart, sizeof s->uart, "%s/uart", dir);
    char *more = with_directory(s, options);
    snprintf(command, sizeof command,
        "exec build/bin/caboose-sim --usbip=0 --control=%s --clock=virtual --uart=%s %s "
        "2>%s/sim.err </dev/null",
        s->control, s->uart, more, s->dir);
    free(more);
    s->sim = spawn(command, &out);
    FILE *f = fdopen(out, "r");
    char *said = f ? fgets(line, sizeof line, f) : NULL;
    cr_assert(said && sscanf(line, "USB/IP on 127.0.0.1 port %d", &port) == 1,
        "caboose-sim %s does not start: %s", options, said ? said : "no word");
    fclose(f);
    snprintf(s->usbip, sizeof s->usbip, "127.0.0.1:%d", port);
    return s;
}

struct session *session_new(const char *options)
{
    char all[2048];
    snprintf(all, sizeof all, "--load build/firmware/bluepill-tail.bin %s", options);
    struct session *s = session_bare(all);
    session_say(s, "wait-device 3s");
    cr_assert(session_in_dfu(s));
    return s;
}

int session_end(struct session *s)
{
    session_say(s, "quit");
    int code = wait_for(s->sim);
    s->sim = 0;
    return code;
}

void session_end_all(void)
{
    for (unsigned i = 0; i < used_sessions; i++) {
        struct session *s = sessions[i];
        char command[64];
        if (s->sim > 0) {
            kill(s->sim, SIGKILL);
            waitpid(s->sim, NULL, 0);
        }
        snprintf(command, sizeof command, "rm -rf %.31s", s->dir);
        if (system(command))
            printf("%s is left\n", s->dir);
        free(s);
    }
    used_sessions = 0;
}

/* --- its control channel ------------------------------------------------------------------------ */

static FILE *dial(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    bool good = fd >= 0 && !connect(fd, (const struct sockaddr *)&at, sizeof at);
    FILE *channel = good ? fdopen(fd, "r+") : NULL;
    cr_assert_not_null(channel, "caboose-sim has gone: see its last words in %s", path);
    return channel;
}

const char *session_say(struct session *s, const char *format, ...)
{
    static char answer[LINE];
    FORMATTED(line, format);
    FILE *channel = dial(s->control);
    fprintf(channel, "%s\n", line);
    fflush(channel);
    cr_assert_not_null(fgets(answer, sizeof answer, channel), "no answer to \"%s\"", line);
    fclose(channel);
    answer[strcspn(answer, "\n")] = 0;
    cr_assert(!strncmp(answer, "ok", 2), "\"%s\": %s", line, answer);
    return answer[2] == ' ' ? answer + 3 : answer + 2;
}

void session_sleep(struct session *s, const char *duration)
{
    session_say(s, "sleep %s", duration);
}

uint64_t session_now(struct session *s)
{
    return strtoull(session_say(s, "now"), NULL, 10);
}

uint64_t session_count(struct session *s, const char *what)
{
    json_t *all = json_loads(session_say(s, "counts"), 0, NULL);
    json_t *one = json_object_get(all, what);
    cr_assert(json_is_integer(one), "there is no count \"%s\"", what);
    uint64_t value = (uint64_t)json_integer_value(one);
    json_decref(all);
    return value;
}

const char *session_ids(struct session *s)
{
    static char ids[16];
    json_t *all = json_loads(session_say(s, "devices"), 0, NULL);
    const char *d = json_string_value(json_object_get(json_array_get(all, 0), "device"));
    ids[0] = 0;
    if (d && strlen(d) >= 24) /* idVendor, idProduct: little-endian */
        snprintf(ids, sizeof ids, "%.2s%.2s:%.2s%.2s", d + 18, d + 16, d + 22, d + 20);
    json_decref(all);
    return ids;
}

bool session_in_dfu(struct session *s)
{
    return !strcmp(session_ids(s), "0483:df11");
}

unsigned session_toggles(struct session *s, const char *pin, unsigned ms)
{
    unsigned changes = 0;
    char was = *session_say(s, "pin %s", pin);
    for (unsigned t = 0; t < ms; t += 10) {
        session_sleep(s, "10ms");
        char is = *session_say(s, "pin %s", pin);
        changes += is != was;
        was = is;
    }
    return changes;
}

void session_power_cycle(struct session *s)
{
    session_say(s, "power off");
    session_sleep(s, "100ms");
    session_say(s, "power on");
    session_sleep(s, "500ms");
}

void session_press_reset(struct session *s)
{
    session_say(s, "reset 10ms");
    session_sleep(s, "500ms");
}

/* --- what its firmware says, and its flash ------------------------------------------------------ */

const char *session_text(struct session *s)
{
    static char *text;
    size_t size;
    free(text);
    text = (char *)file_read(s->uart, &size);
    return text + (s->heard < size ? s->heard : size);
}

bool session_heard(struct session *s, const char *what)
{
    return strstr(session_text(s), what) != NULL;
}

void session_forget(struct session *s)
{
    free(file_read(s->uart, &s->heard));
}

const uint8_t *session_flash(struct session *s, unsigned slot)
{
    static uint8_t *dumps[2];
    char path[64];
    size_t size;
    snprintf(path, sizeof path, "%s/flash", s->dir);
    session_say(s, "save %s", path);
    free(dumps[slot]);
    dumps[slot] = file_read(path, &size);
    cr_assert_eq(size, (size_t)SESSION_FLASH);
    return dumps[slot];
}
