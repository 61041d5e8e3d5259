/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A turn of an AioContext's event loop, and the parameters of it.
 */

#include "qemu/osdep.h"
#include "block/aio-wait.h"
#include "qemu/lockcnt.h"
#include "qemu/main-loop.h"
#include "loop-internal.h"

/*
 * Whether descriptors are to be looked at in a turn that does not wait.  A ring
 * tells.  poll() and epoll have to be asked: always, if there are handlers without
 * a poll function, and now and then if all have one, since not all take part in
 * polling.  Or else what always finds something, or a bottom half that schedules
 * itself, would shut out the others.
 */
static bool is_to_look(AioContext *ctx)
{
    if (ctx->fdmon_ops->need_wait(ctx)) {
        return true;
    }
    if (aio_loop_has_ring(ctx) || ++ctx->loop.unlooked < AIO_TURNS_UNLOOKED) {
        return false;
    }
    ctx->loop.unlooked = 0;
    return true;
}

static void look(AioContext *ctx, AioHandlerList *ready_list, int64_t timeout)
{
    int n = ctx->fdmon_ops->wait(ctx, ready_list, timeout);

    if (!aio_loop_has_ring(ctx)) {
        aio_loop_count(ctx, syscalls);
        aio_loop_count_many(ctx, descriptors, MAX(n, 0));
    }
}

/* Sleeps, unless something has come meanwhile. */
static void sleep_for(AioContext *ctx, AioHandlerList *ready_list, int64_t timeout)
{
    /* aio_notify() is to wake this thread up */
    qatomic_set(&ctx->notify_me, ctx->notify_me + 2);
    /* notify_me; then notified, with smp_mb() between them in aio_notify() too */
    smp_mb();

    if (qatomic_read(&ctx->notified) || aio_polling_end(ctx, ready_list)) {
        timeout = 0;
    } else {
        aio_loop_count(ctx, sleeps);
    }
    if (timeout || is_to_look(ctx)) {
        look(ctx, ready_list, timeout);
    }
    /* after the wait */
    qatomic_store_release(&ctx->notify_me, ctx->notify_me - 2);
}

/* Calls back the ring's requests; returns whether there were any. */
static bool reap(AioContext *ctx, AioHandlerList *ready_list, int64_t block_ns)
{
#ifdef CONFIG_LINUX_IO_URING
    AioRing *ring = ctx->loop.ring;

    if (aio_loop_has_ring(ctx) && aio_ring_reap(ring, ready_list)) {
        if (ctx->poll_max_ns) {
            aio_polling_adjust(ctx, &ring->poll, block_ns);
        }
        return true;
    }
#endif
    return false;
}

static bool dispatch(AioContext *ctx, AioHandlerList *ready_list, int64_t block_ns)
{
    AioHandler *node;
    bool progress = false;

    while ((node = QLIST_FIRST(ready_list))) {
        QLIST_REMOVE(node, node_ready);
        progress |= aio_dispatch_handler(ctx, node);
        /* after it was called, which lets it take part in polling */
        if (ctx->poll_max_ns && QLIST_IS_INSERTED(node, node_poll)) {
            aio_polling_adjust(ctx, &node->poll, block_ns);
        }
    }
    return progress;
}

bool aio_poll(AioContext *ctx, bool blocking)
{
    AioHandlerList ready = QLIST_HEAD_INITIALIZER(ready);
    AioContext *home = ctx == iohandler_get_aio_context() ? qemu_get_aio_context()
                                                          : ctx;
    bool busy = qatomic_read(&ctx->loop.mode) == AIO_POLL_BUSY;
    bool adapts = ctx->poll_max_ns && !busy;
    int64_t timeout, start, block_ns = 0;
    bool progress, ran;

    /* so notify_me has one writer */
    assert(in_aio_context_home_thread(home));

    qemu_lockcnt_inc(&ctx->list_lock);

    start = busy || adapts ? get_clock() : 0;
    timeout = blocking ? aio_compute_timeout(ctx) : 0;
    if (qemu_lockcnt_count(&ctx->list_lock) > 1 && aio_polling_inherit(ctx, &ready)) {
        timeout = 0;
    }
    start = aio_polling_run(ctx, &ready, start, &timeout);
    if (timeout) {
        sleep_for(ctx, &ready, timeout);
    } else if (is_to_look(ctx)) {
        look(ctx, &ready, 0);
    }
    aio_notify_accept(ctx);
    if (adapts) {
        block_ns = get_clock() - start;
    }

    ran = aio_bh_poll(ctx);
    progress = ran;
    aio_loop_count_many(ctx, bottom_halves, ran);
    progress |= reap(ctx, &ready, block_ns);
    progress |= dispatch(ctx, &ready, block_ns);

    aio_free_deleted_handlers(ctx);
    qemu_lockcnt_dec(&ctx->list_lock);

    ran = timerlistgroup_run_timers(&ctx->tlg);
    aio_loop_count_many(ctx, timers, ran);
    return progress | ran;
}

void aio_context_setup(AioContext *ctx)
{
    ctx->fdmon_ops = &fdmon_poll_ops;
    ctx->epollfd = -1;
    fdmon_epoll_setup(ctx);
}

void aio_loop_enter(AioContext *ctx)
{
#ifdef CONFIG_LINUX_IO_URING
    if (ctx != qemu_get_aio_context()) {
        aio_ring_start(ctx);
    }
#endif
}

/* glib may or may not come to run it: see aio_prepare(). */
void aio_context_use_g_source(AioContext *ctx)
{
}

void aio_context_destroy(AioContext *ctx)
{
    AioHandler *node;

#ifdef CONFIG_LINUX_IO_URING
    aio_ring_end(ctx);
#endif
    fdmon_epoll_disable(ctx);
    while ((node = QLIST_FIRST(&ctx->aio_handlers))) {
        QLIST_REMOVE(node, node);
        g_free(node);
    }
}

void aio_context_set_poll_params(AioContext *ctx, int64_t max_ns, int64_t grow,
                                 int64_t shrink, Error **errp)
{
    AioHandler *node;

    qemu_lockcnt_inc(&ctx->list_lock);
    QLIST_FOREACH_RCU(node, &ctx->aio_handlers, node) {
        node->poll.ns = 0;
    }
    qemu_lockcnt_dec(&ctx->list_lock);

    /* a turn may go by until the thread sees them */
    ctx->poll_max_ns = max_ns;
    ctx->poll_grow = grow;
    ctx->poll_shrink = shrink;
    aio_notify(ctx);
}

void aio_context_set_aio_params(AioContext *ctx, int64_t max_batch)
{
    ctx->aio_max_batch = max_batch;
    aio_notify(ctx);
}
