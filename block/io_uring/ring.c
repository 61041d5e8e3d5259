/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Joins the block layer to an AioContext's ring.
 */

#include "qemu/osdep.h"
#include "block/block.h"
#include "block/io-uring.h"
#include "qapi/error.h"

static void luring_done(void *opaque, uint64_t data, int res)
{
    void *request = (void *)(uintptr_t)(data & ~(uint64_t)LURING_WAY_MASK);

    if ((data & LURING_WAY_MASK) == LURING_FAST) {
        luring_fast_done(opaque, request, res);
    } else {
        luring_co_done(opaque, request, res);
    }
}

static bool luring_fill(void *opaque)
{
    LuringState *s = opaque;

    luring_co_fill(s);
    luring_fast_fill(s);
    return !QSIMPLEQ_EMPTY(&s->co_waiting) || !QSIMPLEQ_EMPTY(&s->fast_waiting);
}

static const AioRingUser luring_user = {
    .done = luring_done,
    .fill = luring_fill,
};

void luring_bh(void *opaque)
{
    LuringState *s = opaque;

    luring_files_sweep(s);
    if (s->iopoll) {
        luring_polled_look(s);
    }
}

LuringState *luring_new(AioRing *ring)
{
    LuringState *s = g_new0(LuringState, 1);

    s->ring = ring;
    QSIMPLEQ_INIT(&s->co_waiting);
    QSIMPLEQ_INIT(&s->fast_waiting);
    ring->user = &luring_user;
    ring->user_opaque = s;
    return s;
}

/* By the home thread of the AioContext: see raw_check_linux_io_uring(). */
LuringState *luring_init(Error **errp)
{
    AioContext *ctx = qemu_get_current_aio_context();
    AioRing *ring = ctx->loop.ring;

    if (!ring) {
        ring = aio_ring_new(ctx, ctx == qemu_get_aio_context() ? AIO_RING_SHARED
                                                               : AIO_RING_OWNED,
                            errp);
    }
    return ring ? luring_new(ring) : NULL;
}

void luring_attach_aio_context(LuringState *s, AioContext *ctx)
{
    s->ctx = ctx;
    s->bh = aio_bh_new(ctx, luring_bh, s);
    if (s->ring != ctx->loop.ring) {
        aio_ring_watch(s->ring);
    }
    luring_files_attach(s);
}

void luring_detach_aio_context(LuringState *s, AioContext *ctx)
{
    if (s->polled) {
        luring_polled_free(s->polled);
        s->polled = NULL;
    }
    luring_files_detach(s);
    if (s->ring != ctx->loop.ring) {
        aio_ring_unwatch(s->ring);
    }
    qemu_bh_delete(s->bh);
}

void luring_cleanup(LuringState *s)
{
    if (s->ring != s->ctx->loop.ring) {
        aio_ring_free(s->ring);
    }
    g_free(s);
}
