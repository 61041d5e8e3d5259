/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file descriptors of an AioContext, and what is called for them.
 *
 * ctx->list_lock: handlers are added and removed with it locked, by any thread.
 * The home thread counts itself in (qemu_lockcnt_inc()) while it goes through
 * lists or calls handlers; a handler that is removed then is freed later.
 */

#include "qemu/osdep.h"
#include "qemu/lockcnt.h"
#include "qemu/rcu_queue.h"
#include "loop-internal.h"

#define EVENTS_READ (G_IO_IN | G_IO_HUP | G_IO_ERR)
#define EVENTS_WRITE (G_IO_OUT | G_IO_ERR)

bool aio_poll_disabled(AioContext *ctx)
{
    return qatomic_read(&ctx->poll_disable_cnt);
}

void aio_add_ready_handler(AioHandlerList *ready_list, AioHandler *node,
                           int revents)
{
    /* it may be in the list of a turn that this one is nested in */
    QLIST_SAFE_REMOVE(node, node_ready);
    node->pfd.revents = revents;
    QLIST_INSERT_HEAD(ready_list, node, node_ready);
}

/* Under ctx->list_lock, or counted in. */
static AioHandler *find_handler(AioContext *ctx, int fd)
{
    AioHandler *node;

    QLIST_FOREACH_RCU(node, &ctx->aio_handlers, node) {
        if (node->pfd.fd == fd && !aio_handler_is_deleted(node)) {
            return node;
        }
    }
    return NULL;
}

static void unlink_handler(AioHandler *node)
{
    QLIST_REMOVE(node, node);
    QLIST_SAFE_REMOVE(node, node_poll);
    QLIST_SAFE_REMOVE(node, node_ready);
}

/* What watches the descriptors knows.  Returns whether @node can be freed. */
static bool remove_handler(AioContext *ctx, AioHandler *node)
{
    if (!g_source_is_destroyed(&ctx->source)) {
        g_source_remove_poll(&ctx->source, &node->pfd);
    }
    node->pfd.revents = 0;
    node->poll_ready = false;

    if (aio_handler_is_deleted(node)) {
        return false;           /* by the ring, which lets go of it later */
    }
    if (qemu_lockcnt_count(&ctx->list_lock)) {
        QLIST_INSERT_HEAD_RCU(&ctx->deleted_aio_handlers, node, node_deleted);
        return false;
    }
    unlink_handler(node);
    return true;
}

void aio_free_deleted_handlers(AioContext *ctx)
{
    AioHandler *node;

    if (QLIST_EMPTY_RCU(&ctx->deleted_aio_handlers) ||
        !qemu_lockcnt_dec_if_lock(&ctx->list_lock)) {
        return;                 /* nothing; or the turn around this one will */
    }
    while ((node = QLIST_FIRST_RCU(&ctx->deleted_aio_handlers))) {
        QLIST_REMOVE(node, node_deleted);
        unlink_handler(node);
        g_free(node);
    }
    qemu_lockcnt_inc_and_unlock(&ctx->list_lock);
}

static AioHandler *new_handler(AioContext *ctx, int fd, IOHandler *io_read,
                               IOHandler *io_write, AioPollFn *io_poll,
                               IOHandler *io_poll_ready, void *opaque)
{
    AioHandler *node = g_new0(AioHandler, 1);

    node->io_read = io_read;
    node->io_write = io_write;
    node->io_poll = io_poll;
    node->io_poll_ready = io_poll_ready;
    node->opaque = opaque;
    node->pfd.fd = fd;
    node->pfd.events = (io_read ? EVENTS_READ : 0) | (io_write ? EVENTS_WRITE : 0);
    g_source_add_poll(&ctx->source, &node->pfd);
    QLIST_INSERT_HEAD_RCU(&ctx->aio_handlers, node, node);
    return node;
}

void aio_set_fd_handler(AioContext *ctx, int fd, IOHandler *io_read,
                        IOHandler *io_write, AioPollFn *io_poll,
                        IOHandler *io_poll_ready, void *opaque)
{
    AioHandler *old, *node = NULL;
    bool free_old = false;
    int unpolled;               /* how many more handlers have no poll function */

    if (!io_poll_ready) {
        io_poll = NULL;
    }

    qemu_lockcnt_lock(&ctx->list_lock);
    old = find_handler(ctx, fd);
    unpolled = old ? -!old->io_poll : 0;
    if (io_read || io_write || io_poll) {
        node = new_handler(ctx, fd, io_read, io_write, io_poll, io_poll_ready,
                           opaque);
        unpolled += !io_poll;
    } else if (old) {
        old->pfd.events = 0;
    }
    qatomic_set(&ctx->poll_disable_cnt, ctx->poll_disable_cnt + unpolled);
    qatomic_set(&ctx->loop.poll_sources,
                ctx->loop.poll_sources + !!io_poll - (old && old->io_poll));

    if (old || node) {
        ctx->fdmon_ops->update(ctx, old, node);
    }
    if (old) {
        free_old = remove_handler(ctx, old);
    }
    qemu_lockcnt_unlock(&ctx->list_lock);

    if (old || node) {
        aio_notify(ctx);
    }
    if (free_old) {
        g_free(old);
    }
}

void aio_set_event_notifier(AioContext *ctx, EventNotifier *notifier,
                            EventNotifierHandler *io_read, AioPollFn *io_poll,
                            EventNotifierHandler *io_poll_ready)
{
    aio_set_fd_handler(ctx, event_notifier_get_fd(notifier),
                       (IOHandler *)io_read, NULL, io_poll,
                       (IOHandler *)io_poll_ready, notifier);
}

void aio_set_fd_poll(AioContext *ctx, int fd, IOHandler *io_poll_begin,
                     IOHandler *io_poll_end)
{
    AioHandler *node;

    qemu_lockcnt_inc(&ctx->list_lock);
    node = find_handler(ctx, fd);
    if (node) {
        /* in this order: what has begun can be ended */
        qatomic_set(&node->io_poll_end, io_poll_end);
        qatomic_store_release(&node->io_poll_begin, io_poll_begin);
        /* it may take part in polling already: the home thread is to look */
        qatomic_store_release(&ctx->loop.begin_again, true);
    }
    qemu_lockcnt_dec(&ctx->list_lock);
    aio_notify(ctx);
}

void aio_set_event_notifier_poll(AioContext *ctx, EventNotifier *notifier,
                                 EventNotifierHandler *io_poll_begin,
                                 EventNotifierHandler *io_poll_end)
{
    aio_set_fd_poll(ctx, event_notifier_get_fd(notifier),
                    (IOHandler *)io_poll_begin, (IOHandler *)io_poll_end);
}

/*
 * A poll function has said yes.  Its handler leaves the set of those that are
 * polled until it returns: it may run turns of its own, which would find it again
 * and again.
 */
static bool dispatch_polled(AioContext *ctx, AioHandler *node)
{
    bool started;

    do {
        started = ctx->poll_started;
        QLIST_SAFE_REMOVE(node, node_poll);
        node->io_poll_ready(node->opaque);
        if (!QLIST_IS_INSERTED(node, node_poll)) {
            QLIST_INSERT_HEAD(&ctx->poll_aio_handlers, node, node_poll);
        }
    } while (aio_polling_return(ctx, node, started));
    return node->opaque != &ctx->notifier;
}

bool aio_dispatch_handler(AioContext *ctx, AioHandler *node)
{
    int revents = node->pfd.revents & node->pfd.events;
    bool polled = node->poll_ready;
    bool progress = false;

    node->pfd.revents = 0;
    node->poll_ready = false;

    if (aio_handler_is_deleted(node)) {
        return false;
    }
    if (node->io_poll && (revents || polled)) {
        aio_polling_add(ctx, node);
    }
    if (polled && !revents) {
        return dispatch_polled(ctx, node);
    }
    if ((revents & EVENTS_READ) && node->io_read) {
        node->io_read(node->opaque);
        /* to be woken up is no progress */
        progress = node->opaque != &ctx->notifier;
    }
    if ((revents & EVENTS_WRITE) && node->io_write &&
        !aio_handler_is_deleted(node)) {
        node->io_write(node->opaque);
        progress = true;
    }
    return progress;
}
