/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An AioContext's ring: set up, entered, reaped.
 */

#include "qemu/osdep.h"
#include "block/block.h"
#include "block/io-uring.h"
#include "qapi/error.h"
#include "qemu/defer-call.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "../trace.h"

/*
 * Entries of the submission queue: the largest batch of one system call.  More
 * requests than that may be in flight; the completion queue has room for as many
 * as devices have, and what does not fit in it waits in the kernel.
 */
#define SQ_ENTRIES 256
#define CQ_ENTRIES 1024

#define SETUP_BASIC (IORING_SETUP_CQSIZE)
#define SETUP_OWNED (SETUP_BASIC | IORING_SETUP_SUBMIT_ALL | \
                     IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | \
                     IORING_SETUP_SINGLE_ISSUER)

/* What to ask the kernel for, the best first: Linux 6.0, 5.19, 5.18, any. */
static const unsigned owned_setup[] = {
    SETUP_OWNED,
    SETUP_OWNED & ~IORING_SETUP_SINGLE_ISSUER,
    SETUP_BASIC | IORING_SETUP_SUBMIT_ALL,
    SETUP_BASIC,
};
static const unsigned shared_setup[] = {
    SETUP_BASIC | IORING_SETUP_SUBMIT_ALL,
    SETUP_BASIC,
};

static int ring_setup(struct io_uring *uring, const unsigned *flags, int n)
{
    int i, ret = -EINVAL;

    for (i = 0; i < n && ret == -EINVAL; i++) {
        struct io_uring_params params = {
            .flags = flags[i],
            .cq_entries = CQ_ENTRIES,
        };

        ret = io_uring_queue_init_params(SQ_ENTRIES, uring, &params);
        trace_luring_setup(uring, flags[i], ret);
    }
    return ret;
}

struct io_uring_sqe *luring_get_sqe_full(LuringState *s)
{
    luring_submit(s);
    return io_uring_get_sqe(&s->uring);
}

static void submit_deferred(void *opaque)
{
    luring_submit(opaque);
}

void luring_queued(LuringState *s)
{
    if (!s->deferred) {
        s->deferred = s->owned;
        defer_call(submit_deferred, s);
    }
}

static bool anything_queued(LuringState *s)
{
    return io_uring_sq_ready(&s->uring) ||
           !QSIMPLEQ_EMPTY(&s->co_waiting) || !QSIMPLEQ_EMPTY(&s->fast_waiting);
}

/*
 * The kernel is short of memory (EAGAIN) or of room for completions (EBUSY): what
 * is left goes down when something has completed, or in a while.
 */
static void __attribute__((cold)) submit_refused(LuringState *s, int err)
{
    trace_luring_submit_refused(s, err, s->in_flight);
    if (err != -EAGAIN && err != -EBUSY) {
        error_report_once("io_uring takes no requests: %s", strerror(-err));
    }
    s->refused = true;
    if (!s->in_flight || s->iopoll) {
        qemu_bh_schedule(s->bh);
    }
}

void luring_submit(LuringState *s)
{
    s->deferred = false;
    s->refused = false;
    while (anything_queued(s)) {
        int ret = io_uring_submit(&s->uring);

        if (ret == -EINTR) {
            continue;
        }
        if (ret < 0 || (ret == 0 && io_uring_sq_ready(&s->uring))) {
            submit_refused(s, ret ?: -EAGAIN);
            return;
        }
        s->in_flight += ret;
        luring_co_fill(s);
        luring_fast_fill(s);
    }
    if (s->iopoll) {
        luring_polled_submitted(s);
    }
}

static inline void done(LuringState *s, uint64_t data, int res)
{
    void *opaque = (void *)(uintptr_t)(data & ~(uint64_t)LURING_WAY_MASK);

    switch (data & LURING_WAY_MASK) {
    case LURING_FAST:
        luring_fast_done(s, opaque, res);
        break;
    case LURING_CO:
        luring_co_done(s, opaque, res);
        break;
    default:
        g_assert_not_reached();
    }
}

/*
 * One entry is taken out of the queue at a time, before its request is called
 * back: a nested event loop finds the ring as it is, and its descriptor readable
 * while entries are left.  No more than are in flight now: those that are called
 * back may submit others that complete at once.
 */
void luring_reap(LuringState *s)
{
    unsigned most = s->in_flight;
    struct io_uring_cqe *cqe;

    defer_call_begin();
    while (most-- && io_uring_peek_cqe(&s->uring, &cqe) == 0 && cqe) {
        uint64_t data = cqe->user_data;
        int res = cqe->res;

        io_uring_cqe_seen(&s->uring, cqe);
        s->in_flight--;
        done(s, data, res);
    }
    defer_call_end();

    if (unlikely(s->refused)) {
        luring_submit(s);
    }
}

void luring_bh(void *opaque)
{
    LuringState *s = opaque;

    luring_files_sweep(s);
    if (s->refused) {
        luring_submit(s);
    }
    if (s->iopoll) {
        luring_polled_look(s);
    }
}

static void ring_readable(void *opaque)
{
    luring_reap(opaque);
}

static bool ring_poll(void *opaque)
{
    return luring_ready(opaque);
}

LuringState *luring_new(const unsigned *flags, int n_flags, Error **errp)
{
    LuringState *s = g_new0(LuringState, 1);
    int ret = ring_setup(&s->uring, flags, n_flags);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "failed to init linux io_uring ring");
        g_free(s);
        return NULL;
    }
    QSIMPLEQ_INIT(&s->co_waiting);
    QSIMPLEQ_INIT(&s->fast_waiting);
    return s;
}

/* By the home thread of the AioContext: see raw_check_linux_io_uring(). */
LuringState *luring_init(Error **errp)
{
    bool owned = qemu_get_current_aio_context() != qemu_get_aio_context();
    LuringState *s;

    s = owned ? luring_new(owned_setup, ARRAY_SIZE(owned_setup), errp)
              : luring_new(shared_setup, ARRAY_SIZE(shared_setup), errp);
    if (s) {
        s->owned = owned;
    }
    return s;
}

void luring_attach_aio_context(LuringState *s, AioContext *ctx)
{
    s->ctx = ctx;
    s->bh = aio_bh_new(ctx, luring_bh, s);
    aio_set_fd_handler(ctx, s->uring.ring_fd, ring_readable, NULL, ring_poll,
                       ring_readable, s);
    luring_files_attach(s);
}

void luring_detach_aio_context(LuringState *s, AioContext *ctx)
{
    if (s->polled) {
        luring_polled_free(s->polled);
        s->polled = NULL;
    }
    luring_files_detach(s);
    aio_set_fd_handler(ctx, s->uring.ring_fd, NULL, NULL, NULL, NULL, s);
    qemu_bh_delete(s->bh);
    s->ctx = NULL;
}

void luring_cleanup(LuringState *s)
{
    assert(!s->in_flight && !anything_queued(s));
    io_uring_queue_exit(&s->uring);
    g_free(s);
}
