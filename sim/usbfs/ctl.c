/* SPDX-License-Identifier: MIT */
/*
 * caboose-sim-ctl SOCKET WORD...: says one line to the control channel of caboose-sim and prints the
 * answer. With -e, backslash escapes in the answer ("\n") become what they stand for.
 *
 *     caboose-sim-ctl board.sock sleep 10ms
 *
 * Exit status: 0 for "ok", 1 for "error", 2 when nobody listens.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { FAILED = 1, NOBODY = 2, USAGE = 64 };

static int dial(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof at.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(at.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&at, sizeof at)) {
        int why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

static void print_unescaped(const char *text)
{
    for (; *text; text++) {
        if (text[0] == '\\' && (text[1] == 'n' || text[1] == '\\')) {
            putchar(text[1] == 'n' ? '\n' : '\\');
            text++;
        } else {
            putchar(*text);
        }
    }
}

static int print_answer(FILE *channel, int unescape)
{
    char line[16384];
    if (!fgets(line, sizeof line, channel)) {
        fprintf(stderr, "caboose-sim-ctl: no answer\n");
        return NOBODY;
    }
    line[strcspn(line, "\n")] = 0;
    if (strncmp(line, "ok", 2) != 0) {
        fprintf(stderr, "caboose-sim-ctl: %s\n", line);
        return FAILED;
    }
    const char *text = line + 2 + (line[2] == ' ');
    if (unescape)
        print_unescaped(text);
    else if (*text)
        puts(text);
    return fflush(stdout) ? FAILED : 0;
}

int main(int argc, char **argv)
{
    int unescape = argc > 1 && !strcmp(argv[1], "-e");
    argv += unescape;
    argc -= unescape;
    if (argc < 3) {
        fprintf(stderr, "usage: caboose-sim-ctl [-e] SOCKET WORD...\n");
        return USAGE;
    }
    int fd = dial(argv[1]);
    FILE *channel = fd < 0 ? NULL : fdopen(fd, "r+");
    if (!channel) {
        fprintf(stderr, "caboose-sim-ctl: %s: %s\n", argv[1], strerror(errno));
        return NOBODY;
    }
    for (int i = 2; i < argc; i++)
        fprintf(channel, "%s%c", argv[i], i + 1 < argc ? ' ' : '\n');
    fflush(channel);
    return print_answer(channel, unescape);
}
