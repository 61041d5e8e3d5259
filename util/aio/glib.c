/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A turn of an AioContext that glib makes, as the main loop: glib watches the
 * descriptors, which aio_set_fd_handler() tells it of, and there is no polling.
 */

#include "qemu/osdep.h"
#include "qemu/lockcnt.h"
#include "qemu/rcu_queue.h"
#include "loop-internal.h"

bool aio_prepare(AioContext *ctx)
{
    AioHandlerList ready = QLIST_HEAD_INITIALIZER(ready);
    AioHandler *node;
    bool found = false;

    if (ctx->poll_started) {
        qemu_lockcnt_inc(&ctx->list_lock);
        found = aio_polling_end(ctx, &ready);
        /* aio_dispatch() looks at each handler, not into lists */
        while ((node = QLIST_FIRST(&ready))) {
            QLIST_REMOVE(node, node_ready);
        }
        qemu_lockcnt_dec(&ctx->list_lock);
    }
#ifdef CONFIG_LINUX_IO_URING
    aio_ring_leave(ctx);
#endif
    return found;
}

static bool is_pending(const AioHandler *node)
{
    int revents = node->pfd.revents & node->pfd.events;

    return node->poll_ready ||
           ((revents & (G_IO_IN | G_IO_HUP | G_IO_ERR)) && node->io_read) ||
           ((revents & (G_IO_OUT | G_IO_ERR)) && node->io_write);
}

bool aio_pending(AioContext *ctx)
{
    AioHandler *node;
    bool pending = false;

    qemu_lockcnt_inc(&ctx->list_lock);
    QLIST_FOREACH_RCU(node, &ctx->aio_handlers, node) {
        if (is_pending(node)) {
            pending = true;
            break;
        }
    }
    qemu_lockcnt_dec(&ctx->list_lock);
    return pending;
}

void aio_dispatch(AioContext *ctx)
{
    AioHandler *node, *next;

    qemu_lockcnt_inc(&ctx->list_lock);
    aio_bh_poll(ctx);
    QLIST_FOREACH_SAFE_RCU(node, &ctx->aio_handlers, node, next) {
        aio_dispatch_handler(ctx, node);
    }
    aio_free_deleted_handlers(ctx);
    qemu_lockcnt_dec(&ctx->list_lock);

    timerlistgroup_run_timers(&ctx->tlg);
}
