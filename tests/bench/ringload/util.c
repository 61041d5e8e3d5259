/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every file of ringload uses, see util.h.
 */
#include "util.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void __attribute__((format(printf, 1, 0)))
print_line(const char *fmt, va_list ap)
{
    char line[512];

    vsnprintf(line, sizeof(line), fmt, ap);
    fflush(stdout);
    fprintf(stderr, "ringload: %s\n", line);
}

void die(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    print_line(fmt, ap);
    va_end(ap);
    exit(EXIT_ENVIRONMENT);
}

void complain(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    print_line(fmt, ap);
    va_end(ap);
}

void *alloc_apart(size_t size)
{
    void *p = aligned_alloc(CACHE_APART, ROUND_UP_TO(size, CACHE_APART));

    if (!p) {
        die("out of memory (%zu bytes)", size);
    }
    return memset(p, 0, ROUND_UP_TO(size, CACHE_APART));
}

void *alloc_sparse(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) {
        die("out of memory (%zu bytes)", size);
    }
    return p;
}

void pin_thread(int cpu)
{
    cpu_set_t set;
    int ret;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    ret = pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
    if (ret) {
        die("cannot run on CPU %d: %s", cpu, strerror(ret));
    }
}

int connect_unix(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd, tries;

    if (strlen(path) >= sizeof(addr.sun_path)) {
        die("%s: path too long for a socket", path);
    }
    memcpy(addr.sun_path, path, strlen(path));

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        die("socket: %s", strerror(errno));
    }
    for (tries = 0; connect(fd, (struct sockaddr *)&addr, sizeof(addr));
         tries++) {
        if ((errno != ENOENT && errno != ECONNREFUSED) || tries == 20) {
            die("cannot connect to %s: %s", path, strerror(errno));
        }
        usleep(50 * 1000);
    }
    return fd;
}

bool cpu_list_parse(struct cpu_list *list, const char *text)
{
    list->cpu = NULL;
    list->count = 0;
    while (*text) {
        char *end;
        long first = strtol(text, &end, 10), last = first;

        if (end == text) {
            return false;
        }
        if (*end == '-') {
            text = end + 1;
            last = strtol(text, &end, 10);
            if (end == text) {
                return false;
            }
        }
        if (first < 0 || last < first || last >= CPU_SETSIZE) {
            return false;
        }
        for (; first <= last; first++) {
            list->cpu = realloc(list->cpu,
                                (list->count + 1) * sizeof(*list->cpu));
            if (!list->cpu) {
                die("out of memory");
            }
            list->cpu[list->count++] = first;
        }
        if (*end == ',' && end[1]) {
            end++;
        } else if (*end) {
            return false;
        }
        text = end;
    }
    return list->count > 0;
}

int cpu_list_pick(const struct cpu_list *list, unsigned i)
{
    return list->count ? list->cpu[i % list->count] : -1;
}
