/* SPDX-License-Identifier: MIT */
/* What fuzzing kept, tests/fuzz/corpus, through the same targets: no libFuzzer needed. */
#include "fuzz/targets.h"
#include "image/file.h"
#include "leaks.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(corpus, .fini = leaks_expect_none, .timeout = 60);

enum { CORPUS_MAX = 100 * 1024 };

static char running[512];

/* A broken promise aborts, and the promise is told already: says of which file. */
static void tell(int number)
{
    (void)number;
    fprintf(stderr, "%s\n", running);
    _Exit(1);
}

/* Runs every file of the target's directory; their size. */
static size_t replay(const struct fuzz_target *target, unsigned *files)
{
    char path[512], why[IMAGE_ERROR_SIZE];
    size_t bytes = 0;
    snprintf(path, sizeof path, "tests/fuzz/corpus/%s", target->name);
    DIR *directory = opendir(path);
    cr_assert(directory, "%s is missing: make corpus", path);
    for (struct dirent *entry; (entry = readdir(directory));) {
        uint8_t *data;
        size_t size;
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "tests/fuzz/corpus/%s/%s", target->name, entry->d_name);
        cr_assert(image_load(path, &data, &size, why) == 0, "%s", why);
        snprintf(running, sizeof running, "%s", path);
        target->run(data, size);
        free(data);
        bytes += size;
        ++*files;
    }
    closedir(directory);
    return bytes;
}

Test(corpus, every_file_of_it_keeps_the_promises)
{
    size_t bytes = 0;
    signal(SIGABRT, tell);
    for (size_t i = 0; i < FUZZ_TARGETS; i++) {
        unsigned files = 0;
        bytes += replay(&fuzz_targets[i], &files);
        cr_expect(files > 0, "%s: %u files", fuzz_targets[i].name, files);
    }
    cr_expect(bytes < CORPUS_MAX, "the corpus has %zu bytes", bytes);
}
