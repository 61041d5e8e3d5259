/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The io_uring of an event loop.
 *
 * An IOThread has one, made when its thread enters its AioContext.  It is all
 * that the thread waits in: file descriptors are watched by poll requests
 * (util/aio/ring-fds.c), and the block layer's requests go into it too
 * (block/io-uring.h).  So a thread that goes to sleep does so in one system call,
 * which also submits what is queued and has the timers' timeout; and a thread that
 * polls sees all of it in memory.
 *
 *     aio_ring_get_sqe()      an entry of the submission queue, to be filled in
 *     aio_ring_queued()       ... it is, for a request of the ring's user
 *     aio_ring_submit()       one io_uring_enter for all that is queued
 *     aio_ring_reap()         hands each completion to whom it belongs
 *
 * What is queued in an IOThread goes down when the thread's turn is over: with the
 * system call in which it sleeps, or before it polls.  Other rings belong to the
 * main loop, which glib runs, or are polled ones (IORING_SETUP_IOPOLL), beside
 * their event loop's.  What is queued there goes down at the end of a section of
 * defer_call_begin() and defer_call_end(), and their owner sees to their reaping.
 *
 * Threads.  A ring is used by its AioContext's home thread only.  An IOThread's
 * says so to the kernel (SINGLE_ISSUER), and that completion work needs no
 * interrupt of the thread: it is done when the thread enters the kernel
 * (COOP_TASKRUN), which a flag in memory asks for (TASKRUN_FLAG).
 *
 * The main loop's ring has none of it: any thread that holds the BQL acts as its
 * home, and completion work belongs to the thread that submitted.  That may be a
 * vCPU, which would do it when its guest next leaves.
 *
 * Where an IOThread can have no ring (old kernel, seccomp, sysctl, memory-lock
 * limit; or QEMU_IO_URING_LOOP=off in the environment), it waits with poll() or
 * epoll as the main loop does.  When glib comes to run the IOThread's AioContext
 * (iothread_get_g_main_context()), it takes over the watching of descriptors.
 */

#ifndef BLOCK_AIO_RING_H
#define BLOCK_AIO_RING_H

#include <liburing.h>
#include "block/aio.h"

/* Who queues requests and gets their completions: the block layer. */
typedef struct AioRingUser {
    /* @user_data's low two bits are not both 0 */
    void (*done)(void *opaque, uint64_t user_data, int res);
    /* Entries are free: takes them for what waits; returns if anything is left. */
    bool (*fill)(void *opaque);
} AioRingUser;

/* What is watched at a place of the array of polls. */
typedef struct AioRingPoll {
    struct AioHandler *node;    /* or NULL: the place is free */
    uint32_t generation;        /* so that what is late is known to be */
    uint32_t next_free;
    bool armed;
} AioRingPoll;

struct AioRing {
    struct io_uring uring;
    AioContext *ctx;
    bool loops;                 /* its event loop waits in it */
    bool deferred;              /* aio_ring_submit() will be called */
    bool refused;               /* the kernel took no more, last time */
    bool retries;               /* a bottom half will submit again */
    bool waiting;               /* for entries: the user has requests */
    unsigned in_flight;         /* requests queued and not reaped */

    const AioRingUser *user;
    void *user_opaque;
    AioPolledEvent poll;        /* how long polling for requests is worth it */

    /* file descriptors */
    AioRingPoll *polls;
    uint32_t n_polls;
    uint32_t free_poll;         /* number + 1 */
};

/* A wait need not count as one for I/O; Linux 6.15, include/uapi/linux/io_uring.h */
#define AIO_RING_FEAT_NO_IOWAIT (1U << 17)

/* Entries of rings; what does not fit in completion queues waits in the kernel. */
#define AIO_RING_SQ_ENTRIES 256
#define AIO_RING_CQ_ENTRIES 1024

/* What to ask the kernel for. */
typedef enum AioRingKind {
    AIO_RING_OWNED,             /* used by one thread */
    AIO_RING_SHARED,            /* used under the BQL */
    AIO_RING_IOPOLL,            /* completions are looked for, in one thread */
    AIO_RING_IOPOLL_SHARED,
} AioRingKind;

/* A ring for @ctx that nothing waits in; NULL with @errp set if it cannot be. */
AioRing *aio_ring_new(AioContext *ctx, AioRingKind kind, Error **errp);

/* Nothing is in flight. */
void aio_ring_free(AioRing *ring);

/*
 * An entry of the submission queue, or NULL if none is free and the kernel takes
 * none: then the user remembers its request, and calls aio_ring_queued() all the
 * same.
 */
static inline struct io_uring_sqe *aio_ring_get_sqe(AioRing *ring);
struct io_uring_sqe *aio_ring_get_sqe_full(AioRing *ring) __attribute__((cold));

static inline struct io_uring_sqe *aio_ring_get_sqe(AioRing *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

    return likely(sqe) ? sqe : aio_ring_get_sqe_full(ring);
}

void aio_ring_defer_submit(AioRing *ring);

/* A request was put into an entry, or, with @waits, must wait for one. */
static inline void aio_ring_queued(AioRing *ring, bool waits)
{
    ring->in_flight++;
    ring->waiting |= waits;
    if (!ring->loops && !ring->deferred) {
        aio_ring_defer_submit(ring);
    }
}

/* All that is queued goes to the kernel.  Calls back no request. */
void aio_ring_submit(AioRing *ring);

/* Whether anything is queued. */
static inline bool aio_ring_has_queued(AioRing *ring)
{
    return io_uring_sq_ready(&ring->uring) || ring->waiting;
}

/*
 * Whether aio_ring_reap() would find something.  Cost: three loads.
 */
static inline bool aio_ring_ready(AioRing *ring)
{
    return io_uring_cq_ready(&ring->uring) ||
           (qatomic_read(ring->uring.sq.kflags) &
            (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW));
}

/*
 * Lets @ring's AioContext watch the ring's own descriptor, and reap: for a ring
 * that no event loop waits in.
 */
void aio_ring_watch(AioRing *ring);
void aio_ring_unwatch(AioRing *ring);

/*
 * Completes what is there, and adds to @ready_list (which may be NULL in rings
 * without descriptors) the handlers of descriptors that are ready.  Requests may be
 * submitted meanwhile, and it may nest.  Returns the number of requests.
 */
unsigned aio_ring_reap(AioRing *ring, AioHandlerList *ready_list);

/*
 * The system call: submits what is in the submission queue (a wait does not, after
 * a refusal), lets the kernel do its completion work, and waits until @wait_nr
 * completions are there, or for @timeout nanoseconds (-1: as long as it takes).  Returns -errno, -ETIME and
 * -EINTR among them, or the number of entries taken.
 */
int aio_ring_enter(AioRing *ring, unsigned wait_nr, int64_t timeout);

#endif /* BLOCK_AIO_RING_H */
