/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A ring: set up, submitted to, reaped.
 */

#include "qemu/osdep.h"
#include "block/aio-ring.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/defer-call.h"
#include "qemu/error-report.h"
#include "loop-internal.h"
#include "../trace.h"

#define SETUP_BASIC IORING_SETUP_CQSIZE
#define SETUP_ALL (SETUP_BASIC | IORING_SETUP_SUBMIT_ALL)
#define SETUP_COOP (SETUP_ALL | IORING_SETUP_COOP_TASKRUN | \
                    IORING_SETUP_TASKRUN_FLAG)
#define SETUP_OWNED (SETUP_COOP | IORING_SETUP_SINGLE_ISSUER)

/* For each kind of ring what to ask the kernel for, the best first; 0 ends it. */
static const unsigned setups[][5] = {
    /* Linux 6.0, 5.19, 5.18, any */
    [AIO_RING_OWNED] = { SETUP_OWNED, SETUP_COOP, SETUP_ALL, SETUP_BASIC },
    [AIO_RING_SHARED] = { SETUP_ALL, SETUP_BASIC },
    [AIO_RING_IOPOLL] = {
        SETUP_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_IOPOLL,
        SETUP_BASIC | IORING_SETUP_IOPOLL,
    },
    [AIO_RING_IOPOLL_SHARED] = { SETUP_BASIC | IORING_SETUP_IOPOLL },
};

static int ring_setup(struct io_uring *uring, const unsigned *flags)
{
    int ret = -EINVAL;

    for (; *flags && ret == -EINVAL; flags++) {
        struct io_uring_params params = {
            .flags = *flags,
            .cq_entries = AIO_RING_CQ_ENTRIES,
        };

        ret = io_uring_queue_init_params(AIO_RING_SQ_ENTRIES, uring, &params);
        trace_aio_ring_setup(uring, *flags, ret);
    }
    return ret;
}

AioRing *aio_ring_new(AioContext *ctx, AioRingKind kind, Error **errp)
{
    AioRing *ring = g_new0(AioRing, 1);
    int ret = ring_setup(&ring->uring, setups[kind]);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "failed to init linux io_uring ring");
        g_free(ring);
        return NULL;
    }
    ring->ctx = ctx;
    return ring;
}

void aio_ring_free(AioRing *ring)
{
    assert(!ring->in_flight);
    io_uring_queue_exit(&ring->uring);
    g_free(ring->polls);
    g_free(ring);
}

struct io_uring_sqe *aio_ring_get_sqe_full(AioRing *ring)
{
    aio_ring_submit(ring);
    return io_uring_get_sqe(&ring->uring);
}

static void submit_deferred(void *opaque)
{
    AioRing *ring = opaque;

    ring->deferred = false;
    aio_ring_submit(ring);
}

void aio_ring_defer_submit(AioRing *ring)
{
    /* in a shared ring, each thread that submits has a section of its own */
    ring->deferred = qemu_get_current_aio_context() != qemu_get_aio_context();
    defer_call(submit_deferred, ring);
}

static void retry(void *opaque)
{
    AioRing *ring = opaque;

    ring->retries = false;
    aio_ring_submit(ring);
}

/*
 * The kernel is short of memory (EAGAIN) or of room for completions (EBUSY): what
 * is left goes down when something has completed, or in a while.
 */
static void __attribute__((cold)) submit_refused(AioRing *ring, int err)
{
    trace_aio_ring_submit_refused(ring, err, ring->in_flight);
    if (err != -EAGAIN && err != -EBUSY) {
        error_report_once("io_uring takes no requests: %s", strerror(-err));
    }
    ring->refused = true;
    if (!ring->loops && !ring->retries) {
        ring->retries = true;
        aio_bh_schedule_oneshot(ring->ctx, retry, ring);
    }
}

bool aio_ring_took(AioRing *ring, int ret)
{
    if (ret < 0 || (ret == 0 && io_uring_sq_ready(&ring->uring))) {
        submit_refused(ring, ret ?: -EAGAIN);
        return false;
    }
    ring->refused = false;
    if (unlikely(ring->waiting)) {
        ring->waiting = ring->user->fill(ring->user_opaque);
    }
    return true;
}

void aio_ring_submit(AioRing *ring)
{
    while (aio_ring_has_queued(ring)) {
        int ret = aio_ring_enter(ring, 0, 0);

        if (ret != -EINTR && !aio_ring_took(ring, ret)) {
            return;
        }
    }
    /* who was refused may have got rid of it elsewhere: aio_ring_reap() */
    ring->refused = false;
}

static struct io_uring_cqe *first_cqe(AioRing *ring)
{
    struct io_uring_cqe *cqe;
    unsigned head;

    io_uring_for_each_cqe(&ring->uring, head, cqe) {
        return cqe;
    }
    return NULL;
}

/*
 * One entry is taken out of the queue at a time, before its request is called
 * back: a nested event loop finds the ring as it is.  No more than are there now:
 * those that are called back may submit others that complete at once.
 */
unsigned aio_ring_reap(AioRing *ring, AioHandlerList *ready_list)
{
    unsigned most = io_uring_cq_ready(&ring->uring), requests = 0;
    struct io_uring_cqe *cqe;

    if (!most && aio_ring_ready(ring)) {
        /* the kernel's part is yet to be done */
        aio_ring_enter(ring, 0, 0);
        most = io_uring_cq_ready(&ring->uring);
    }
    if (!most) {
        return 0;
    }

    defer_call_begin();
    while (most-- && (cqe = first_cqe(ring))) {
        uint64_t data = cqe->user_data;
        int res = cqe->res;

        io_uring_cqe_seen(&ring->uring, cqe);
        if (aio_ring_is_request(data)) {
            ring->in_flight--;
            requests++;
            ring->user->done(ring->user_opaque, data, res);
        } else {
            aio_ring_poll_done(ring, data, res, ready_list);
        }
    }
    defer_call_end();

    aio_loop_count_many(ring->ctx, requests, requests);
    return requests;
}

static void ring_readable(void *opaque)
{
    aio_ring_reap(opaque, NULL);
}

static bool ring_polled(void *opaque)
{
    return aio_ring_ready(opaque);
}

void aio_ring_watch(AioRing *ring)
{
    /* in an IOPOLL ring nothing comes but by entering the kernel */
    bool polled = !(ring->uring.flags & IORING_SETUP_IOPOLL);

    aio_set_fd_handler(ring->ctx, ring->uring.ring_fd, ring_readable, NULL,
                       polled ? ring_polled : NULL, ring_readable, ring);
}

void aio_ring_unwatch(AioRing *ring)
{
    aio_set_fd_handler(ring->ctx, ring->uring.ring_fd, NULL, NULL, NULL, NULL, NULL);
}
