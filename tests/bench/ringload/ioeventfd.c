/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finds the eventfds of a device, see ioeventfd.h.
 *
 * When a virtio-blk device is started, QEMU makes an eventfd for the interrupts
 * of each virtqueue, one for those of the configuration, and one for the kicks of
 * each virtqueue, in this order.  A new descriptor has the lowest free number, so
 * that they ascend.
 */
#include "ioeventfd.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_FDS 4096
#define REMEDY "; leave --kick ioeventfd away"

static struct {
    int pid;
    bool before[MAX_FDS];
} seen;

/* @found[fd]: whether it is an eventfd. */
static void find_eventfds(bool found[MAX_FDS])
{
    char path[64], what[64];
    struct dirent *entry;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/fd", seen.pid);
    dir = opendir(path);
    if (!dir) {
        die("%s: %s" REMEDY, path, strerror(errno));
    }
    memset(found, 0, MAX_FDS * sizeof(*found));
    while ((entry = readdir(dir))) {
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, what,
                               sizeof(what) - 1);
        int fd = atoi(entry->d_name);

        if (n > 0 && fd < MAX_FDS) {
            what[n] = 0;
            found[fd] = !strcmp(what, "anon_inode:[eventfd]");
        }
    }
    closedir(dir);
}

void ioeventfd_before(int pid)
{
    seen.pid = pid;
    find_eventfds(seen.before);
}

static int duplicate(int fd)
{
    int pidfd = syscall(SYS_pidfd_open, seen.pid, 0);
    int ours = pidfd < 0 ? -1 : syscall(SYS_pidfd_getfd, pidfd, fd, 0);

    if (ours < 0) {
        die("QEMU's eventfd %d: %s" REMEDY, fd, strerror(errno));
    }
    close(pidfd);
    return ours;
}

void ioeventfd_find(int *fds, unsigned n)
{
    bool now[MAX_FDS];
    int more[MAX_FDS];
    unsigned count = 0, i;
    int fd;

    find_eventfds(now);
    for (fd = 0; fd < MAX_FDS; fd++) {
        if (now[fd] && !seen.before[fd]) {
            more[count++] = fd;
        }
    }
    if (count != 2 * n + 1) {
        die("the device has %u eventfds, for %u queues" REMEDY, count, n);
    }
    for (i = 0; i < n; i++) {
        fds[i] = duplicate(more[n + 1 + i]);
    }
}
