/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine of one queue: a thread that keeps a fixed number of requests in
 * flight on one virtqueue.
 *
 * Each of the depth slots owns, for good, a chain of descriptors, a line of
 * shared memory with the request's header and status, and a data buffer. The
 * thread goes round: take the used elements that are there (a bounded number),
 * account for each and prepare the next request in its slot; then publish all
 * new entries with one store of the avail index, and kick if asked for.
 *
 * A run has up to three phases, each ends with nothing in flight, and all
 * queues begin one together:
 *   prefill    writes each block in turn           (--prefill)
 *   run        the load; warm-up, then measured
 *   read back  reads each block written            (--verify)
 *
 * Made of queue-init.c (the layout), queue-load.h (what to ask for), queue.c
 * (one pass) and queue-thread.c (phases, measuring, sleep).
 *
 * The thread that runs queue_thread() owns the struct. Others read progress and
 * active while it runs, results when it has been joined, and set the control.
 */
#ifndef RINGLOAD_QUEUE_H
#define RINGLOAD_QUEUE_H

#include "histogram.h"
#include "transport.h"
#include "util.h"
#include "verify.h"
#include "vring.h"
#include <linux/virtio_blk.h>
#include <pthread.h>

struct options;

enum phase { PHASE_PREFILL, PHASE_RUN, PHASE_READ_BACK, PHASES };

enum operation { OP_READ, OP_WRITE, OP_FLUSH, OP_NONE };

/* One for all queues. The words are written rarely, by anyone. */
struct run_control {
    int stop;                   /* enum stop, only ever raised */
    int exit_status;
    pthread_barrier_t phase;    /* all queues begin a phase together */
};

enum stop {
    STOP_NO,
    STOP_FINISH,                /* submit no more, wait for what is in flight */
    STOP_ABORT,                 /* the server has gone: wait for nothing */
};

/* A request's part in shared memory: one cache line. */
struct shared_slot {
    struct virtio_blk_outhdr header;
    uint8_t status;
} __attribute__((aligned(64)));

/* A request's private part. */
struct slot {
    uint64_t start;             /* ticks; 0: not in flight */
    uint64_t block;
    uint32_t generation;
    uint8_t operation;          /* also what the descriptors are set up for */
};

/* Counted while measuring. */
struct queue_stats {
    uint64_t reads;
    uint64_t writes;
    uint64_t flushes;
    uint64_t kicks;
    uint64_t interrupts;
    uint64_t begin;             /* when measuring began */
    uint64_t ticks;             /* how long it took */
};

struct queue {
    /* Set up before the thread starts, then only read. */
    unsigned index;
    const struct options *options;
    const struct transport *transport;
    struct run_control *control;
    struct slot *slots;
    struct shared_slot *shared_slots;
    struct vring_desc *indirect;        /* four a slot, or NULL */
    char *data;
    size_t data_stride;
    unsigned depth;
    unsigned slot_shift;                /* descriptors a slot, as a power */
    unsigned ring_size;
    uint32_t block_size;
    unsigned block_sectors;
    uint64_t first_sector;
    uint64_t blocks;
    uint64_t read_below;                /* a random number below it: read */
    uint64_t think;                     /* ticks before the next request */
    int kick_fd;                        /* -1 where there is none */
    int call_fd;
    struct vring_driver ring;

    /* Written by the thread for every request. */
    __attribute__((aligned(CACHE_APART)))
    uint64_t random;
    uint64_t cursor;                    /* next block of sequential access */
    uint64_t left;                      /* requests that may be submitted */
    uint64_t deadline;                  /* ticks; next call of queue_tick() */
    unsigned in_flight;
    unsigned writes_since_flush;
    unsigned complaints;
    int phase;
    bool recording;
    bool broken;                        /* the ring cannot be used any more */
    struct queue_stats stats;
    struct verify verify;
    struct histogram latency;

    /* Written by the thread once a pass, read by the main thread. */
    __attribute__((aligned(CACHE_APART)))
    uint64_t progress;
    bool active;                        /* requests should complete */

    /* Written by the thread at the end of the measurement. */
    __attribute__((aligned(CACHE_APART)))
    struct queue_stats result;
};

/*
 * How a queue for @o fits a device: ring entries and whether descriptors must
 * be indirect. Dies where it does not fit.
 */
struct queue_shape {
    unsigned ring_size;
    bool indirect;
    size_t bytes;               /* of shared memory */
};

void queue_shape(struct queue_shape *shape, const struct options *o,
                 const struct device *dev);

/*
 * Lays @q over @mem in @shared and writes all descriptors. The queue's part of
 * the disk is @blocks blocks from @first_sector.
 */
void queue_init(struct queue *q, const struct queue_shape *shape,
                const struct shared_memory *shared, void *mem, bool event_idx,
                uint64_t first_sector, uint64_t blocks, uint64_t run_id);

/* The thread; @arg is the struct queue. */
void *queue_thread(void *arg);

#endif
