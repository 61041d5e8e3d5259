/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ringload: a load generator that drives the virtqueues of a block device from
 * outside: of a vhost-user-blk server, of QEMU's virtio-blk-pci without a
 * guest, or of a server of its own that shows what the generator can do.
 *
 * How it is made, in the order to read it:
 *   options.h    what the user can ask for
 *   transport.h  how a server is reached (vhost-user.c on
 *                vhost-user-wire.c; qtest-pci.c on qtest.c and pci.c; self.c),
 *                and device.c for what they have in common
 *   vring.h      the driver's side of a split virtqueue
 *   queue.h      the engine: one thread that keeps one queue busy
 *   verify.h     how it knows whether data are right
 *   histogram.h, tsc.h, report.h   what was measured
 * This file sets up the world, starts the threads, and watches over them.
 */
#include "util.h"
#include "options.h"
#include "queue.h"
#include "report.h"
#include "transport.h"
#include "tsc.h"
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

static struct run_control control;

/* The first signal ends the run in an orderly way, the next one at once. */
static void on_signal(int sig)
{
    if (atomic_get(&control.stop) != STOP_NO) {
        _exit(128 + sig);
    }
    atomic_put(&control.stop, STOP_FINISH);
}

static void catch_signals(void)
{
    struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static int new_eventfd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (fd < 0) {
        die("eventfd: %s", strerror(errno));
    }
    return fd;
}

/* Blocks of the disk that each queue gets. */
static uint64_t blocks_per_queue(const struct options *o,
                                 const struct device *dev)
{
    uint64_t bytes = dev->sectors * 512, blocks;

    if (o->size && o->size < bytes) {
        bytes = o->size;
    }
    blocks = bytes / o->block_size / o->queues;
    if (o->block_size % dev->logical_block) {
        die("--block-size %u: the device's logical blocks have %u bytes",
            o->block_size, dev->logical_block);
    }
    if (!blocks || (o->verify && blocks <= o->depth)) {
        die("the disk of %" PRIu64 " bytes is too small for %u queue%s of "
            "depth %u", bytes, o->queues, o->queues > 1 ? "s" : "", o->depth);
    }
    if (o->queues > dev->max_queues) {
        die("--queues %u: the server has %u", o->queues, dev->max_queues);
    }
    return blocks;
}

/* Not the seed: data of an earlier run with the same seed are other data. */
static uint64_t new_run_id(void)
{
    return clock_raw_ns() ^ (uint64_t)time(NULL) << 32 ^
           (uint64_t)getpid() << 44;
}

static struct queue *new_queue(const struct options *o, unsigned i)
{
    struct queue *q = alloc_apart(sizeof(*q));

    q->index = i;
    q->options = o;
    q->transport = o->transport;
    q->control = &control;
    q->kick_fd = o->transport->has_interrupts ? new_eventfd() : -1;
    q->call_fd = o->transport->has_interrupts ? new_eventfd() : -1;
    return q;
}

static struct queue **setup_queues(const struct options *o, struct device *dev)
{
    struct queue **queues = alloc_apart(o->queues * sizeof(*queues));
    uint64_t blocks = blocks_per_queue(o, dev);
    bool event_idx = dev->features & 1ull << VIRTIO_RING_F_EVENT_IDX;
    uint64_t run_id = new_run_id();
    struct shared_memory shared;
    struct queue_shape shape;
    unsigned i;

    queue_shape(&shape, o, dev);
    o->transport->memory(shape.bytes * o->queues, &shared);
    madvise(shared.base, shared.size, MADV_HUGEPAGE);   /* a hint */
    for (i = 0; i < o->queues; i++) {
        queues[i] = new_queue(o, i);
        queue_init(queues[i], &shape, &shared,
                   shared.base + i * shape.bytes, event_idx,
                   i * blocks * (o->block_size / 512), blocks, run_id);
        o->transport->start(queues[i]);
    }
    o->transport->run();
    return queues;
}

/*
 * Complains about each queue that should make progress and has made none for
 * the timeout; false where there is one.
 */
static bool all_make_progress(const struct options *o,
                              struct queue *const *queues,
                              uint64_t *seen, uint64_t *since, uint64_t now)
{
    bool good = true;
    unsigned i;

    for (i = 0; i < o->queues; i++) {
        uint64_t progress = atomic_get(&queues[i]->progress);

        if (progress != seen[i] || !atomic_get(&queues[i]->active)) {
            seen[i] = progress;
            since[i] = now;
        } else if ((now - since[i]) / 1e9 > o->timeout) {
            complain("queue %u: nothing completed for %g seconds, requests "
                     "are in flight", i, o->timeout);
            good = false;
        }
    }
    return good;
}

/* Until all threads have ended; sets the exit status. */
static void supervise(const struct options *o, struct queue *const *queues,
                      const int *running)
{
    uint64_t *seen = alloc_apart(o->queues * sizeof(*seen));
    uint64_t *since = alloc_apart(o->queues * sizeof(*since));
    uint64_t start = clock_raw_ns();
    unsigned i;

    for (i = 0; i < o->queues; i++) {
        since[i] = start;
    }
    while (atomic_get_acquire(running)) {
        if (!o->transport->supervise(20)) {
            atomic_put(&control.exit_status, EXIT_ENVIRONMENT);
            atomic_put(&control.stop, STOP_ABORT);
            break;
        }
        if (!all_make_progress(o, queues, seen, since, clock_raw_ns())) {
            atomic_put(&control.exit_status, EXIT_DATA);
            atomic_put(&control.stop, STOP_ABORT);
            break;
        }
    }
    free(seen);
    free(since);
}

static int threads_running;

static void *run_queue(void *arg)
{
    queue_thread(arg);
    __atomic_fetch_sub(&threads_running, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void run_queues(const struct options *o, struct queue *const *queues)
{
    pthread_t *threads = alloc_apart(o->queues * sizeof(*threads));
    unsigned i;
    int ret;

    pthread_barrier_init(&control.phase, NULL, o->queues);
    threads_running = o->queues;
    for (i = 0; i < o->queues; i++) {
        ret = pthread_create(&threads[i], NULL, run_queue, queues[i]);
        if (ret) {
            die("cannot start a thread: %s", strerror(ret));
        }
    }
    supervise(o, queues, &threads_running);
    for (i = 0; i < o->queues; i++) {
        pthread_join(threads[i], NULL);
    }
    free(threads);
}

/* A server whose ring is broken, or that has gone, is just left. */
static void leave(const struct options *o, struct queue *const *queues)
{
    unsigned i;

    if (control.exit_status == EXIT_ENVIRONMENT) {
        return;
    }
    for (i = 0; i < o->queues; i++) {
        if (queues[i]->broken) {
            return;
        }
    }
    for (i = 0; i < o->queues; i++) {
        o->transport->stop(queues[i]);
    }
    o->transport->close();
}

int main(int argc, char **argv)
{
    struct options o;
    struct device dev = { .max_queues = 1 };
    static struct queue **queues;

    options_parse(&o, argc, argv);
    catch_signals();
    tsc_calibrate();
    o.transport->open(&o, &dev);
    queues = setup_queues(&o, &dev);
    run_queues(&o, queues);
    leave(&o, queues);
    /* where the server has gone, figures would mislead */
    if (control.exit_status != EXIT_ENVIRONMENT &&
        (!o.json || strcmp(o.json, "-"))) {
        report_table(&o, &dev, queues);
    }
    if (o.json) {
        report_json(&o, &dev, queues, control.exit_status);
    }
    return control.exit_status;
}
