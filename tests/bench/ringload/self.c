/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transport: a server in ringload itself. Doing nothing, it shows how fast the
 * generator is; with data in memory it is a disk to try ringload on; and with
 * faults of every kind it proves that ringload finds them.
 *
 * What is done with requests is in self-device.c. In mode null the threads poll
 * and never want a kick; else they sleep on the queues' kick eventfds when
 * idle, so that a kick that is missing shows as a stall.
 */
#include "transport.h"
#include "options.h"
#include "queue.h"
#include "self-device.h"
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define IDLE_SPINS 2000

struct server_thread {
    pthread_t thread;
    unsigned index;
    unsigned count;
    unsigned rings;
    struct device_ring **ring;
    struct pollfd *fds;         /* the rings' kicks and stop_fd */
};

static struct {
    struct self_device device;
    struct device_ring **rings;
    unsigned ring_count;
    struct server_thread *threads;
    unsigned thread_count;
    int stop_fd;
    bool stop;
} self;

static void sleep_until_kicked(struct server_thread *t)
{
    struct pollfd *fds = t->fds;
    bool idle = true;
    uint64_t count;
    unsigned i;

    for (i = 0; i < t->rings; i++) {
        fds[i] = (struct pollfd) { t->ring[i]->q->kick_fd, POLLIN, 0 };
        idle &= device_ring_arm(t->ring[i]);
    }
    fds[i] = (struct pollfd) { self.stop_fd, POLLIN, 0 };
    if (idle) {
        poll(fds, t->rings + 1, -1);
    }
    for (i = 0; i < t->rings; i++) {
        if (read(fds[i].fd, &count, sizeof(count)) < 0 && errno != EAGAIN) {
            complain("built-in server: kick: %s", strerror(errno));
        }
        device_ring_disarm(t->ring[i]);
    }
}

static void *server_thread(void *arg)
{
    struct server_thread *t = arg;
    int cpu = cpu_list_pick(&self.device.options->self_cpus, t->index);
    unsigned idle = 0, i;

    if (cpu >= 0) {
        pin_thread(cpu);
    }
    while (!atomic_get(&self.stop)) {
        bool served = false;

        for (i = 0; i < t->rings; i++) {
            served |= device_ring_serve(t->ring[i]);
        }
        if (served) {
            idle = 0;
        } else if (self.device.options->self_mode != SELF_NULL) {
            sleep_until_kicked(t);
        } else if (++idle < IDLE_SPINS) {
            cpu_pause();
        } else {
            /* it may have no CPU of its own */
            sched_yield();
            idle = 0;
        }
    }
    return NULL;
}

static void self_open(const struct options *o, struct device *dev)
{
    self.device.options = o;
    dev->sectors = o->self_size / 512;
    dev->logical_block = 512;
    dev->max_queues = 1024;
    dev->max_ring = 32768;
    dev->features = device_choose_features(o,
                        1ull << VIRTIO_F_VERSION_1 |
                        1ull << VIRTIO_BLK_F_FLUSH |
                        1ull << VIRTIO_RING_F_EVENT_IDX |
                        1ull << VIRTIO_RING_F_INDIRECT_DESC);
    snprintf(dev->description, sizeof(dev->description),
             "built-in server%s, %" PRIu64 " bytes",
             o->self_mode == SELF_NULL ? " that does nothing" :
             o->self_mode == SELF_MEMORY ? " with data in memory" :
             " that errs", o->self_size);
    if (o->self_mode != SELF_NULL) {
        self.device.disk = alloc_sparse(o->self_size);
    }
    if (o->self_mode == SELF_CORRUPT_STALE) {
        self.device.disk_before = alloc_sparse(o->self_size);
    }
    self.rings = alloc_apart(o->queues * sizeof(*self.rings));
}

static void self_memory(size_t size, struct shared_memory *m)
{
    size = ROUND_UP_TO(size, 2 << 20);
    m->base = alloc_sparse(size);
    m->size = size;
    /* not the pointer: an address that was not translated must show */
    m->device_base = 1ull << 32;
    self.device.memory = *m;
}

static void self_start(struct queue *q)
{
    self.rings[self.ring_count++] = device_ring_new(&self.device, q);
}

static void self_run(void)
{
    unsigned n = self.device.options->self_cpus.count, i;

    if (n > self.ring_count) {
        n = self.ring_count;
    }
    self.thread_count = n ? n : 1;
    self.threads = alloc_apart(self.thread_count * sizeof(*self.threads));
    self.stop_fd = eventfd(0, EFD_CLOEXEC);
    for (i = 0; i < self.thread_count; i++) {
        self.threads[i].index = i;
        self.threads[i].ring =
            alloc_apart(self.ring_count * sizeof(struct device_ring *));
        self.threads[i].fds =
            alloc_apart((self.ring_count + 1) * sizeof(struct pollfd));
    }
    for (i = 0; i < self.ring_count; i++) {
        struct server_thread *t = &self.threads[i % self.thread_count];

        t->ring[t->rings++] = self.rings[i];
    }
    for (i = 0; i < self.thread_count; i++) {
        if (pthread_create(&self.threads[i].thread, NULL, server_thread,
                           &self.threads[i])) {
            die("cannot start a thread of the built-in server");
        }
    }
}

static void self_kick(struct queue *q)
{
    uint64_t one = 1;

    if (write(q->kick_fd, &one, sizeof(one)) < 0) {
        return;     /* 2^64 - 2 kicks wait */
    }
}

static bool self_supervise(int timeout_ms)
{
    usleep(timeout_ms * 1000);
    if (atomic_get(&self.device.dead)) {
        complain("the built-in server died, as told");
        return false;
    }
    return true;
}

static void self_stop(struct queue *q)
{
    (void)q;
}

static void self_close(void)
{
    uint64_t one = 1;
    unsigned i;

    atomic_put(&self.stop, true);
    if (write(self.stop_fd, &one, sizeof(one)) < 0) {
        die("built-in server: %s", strerror(errno));
    }
    for (i = 0; i < self.thread_count; i++) {
        pthread_join(self.threads[i].thread, NULL);
    }
}

const struct transport self_transport = {
    .name = "self",
    .has_interrupts = true,
    .open = self_open,
    .memory = self_memory,
    .start = self_start,
    .run = self_run,
    .kick = self_kick,
    .supervise = self_supervise,
    .stop = self_stop,
    .close = self_close,
};
