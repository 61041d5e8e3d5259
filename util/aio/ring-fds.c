/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * File descriptors, watched by the ring of an event loop.
 *
 * Each has a poll request in the ring, which completes once and is made again
 * before the thread next enters the kernel: after its handler was called, so that
 * it completes at once if the handler has left something (level-triggered).
 *
 * Handlers come and go in any thread.  They join a list, ctx->submit_list, from
 * which the home thread takes them; aio_notify() wakes it up for that.
 *
 * A completion names no handler but a place in an array, which does, and the
 * generation of it.  When a handler goes, its place gets the next generation, and
 * a completion that was under way, or that tells of the cancelled request, finds
 * nobody.  So the handler can be freed without waiting for its request.
 *
 * A removed descriptor is watched until the home thread has taken note.  If it was
 * closed by then, the kernel closes the file behind it only then.
 */

#include "qemu/osdep.h"
#include <poll.h>
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/lockcnt.h"
#include "qemu/rcu_queue.h"
#include "loop-internal.h"
#include "../trace.h"

/* AioHandler.flags, atomic */
enum {
    LISTED = 1,                 /* in ctx->submit_list */
    REMOVED = 2,
    PLACE_SHIFT = 2,            /* above: place in the array + 1; home thread */
};

static uint64_t poll_data(AioRing *ring, uint32_t place)
{
    return (uint64_t)ring->polls[place].generation << 32 | (uint64_t)(place + 1) << 2;
}

static AioRingPoll *poll_of_data(AioRing *ring, uint64_t data)
{
    uint32_t number = (uint32_t)data >> 2;
    AioRingPoll *poll = number ? &ring->polls[number - 1] : NULL;

    return poll && poll->node && poll->generation == data >> 32 ? poll : NULL;
}

static void list(AioContext *ctx, AioHandler *node, unsigned flag)
{
    if (!(qatomic_fetch_or(&node->flags, LISTED | flag) & LISTED)) {
        QSLIST_INSERT_HEAD_ATOMIC(&ctx->submit_list, node, node_submitted);
    }
}

/* Marks as deleted what is in no list of the deleted yet. */
static AioHandler *no_list;

/* Any thread, with ctx->list_lock. */
static void update(AioContext *ctx, AioHandler *old_node, AioHandler *new_node)
{
    if (new_node) {
        list(ctx, new_node, 0);
    }
    if (old_node) {
        /* deleted for everybody, and to be freed when the home thread agrees */
        old_node->node_deleted.le_prev = &no_list;
        list(ctx, old_node, REMOVED);
    }
}

static uint32_t take_place(AioRing *ring, AioHandler *node)
{
    uint32_t place;

    if (!ring->free_poll) {
        uint32_t i, n = MAX(2 * ring->n_polls, 16);

        ring->polls = g_renew(AioRingPoll, ring->polls, n);
        for (i = ring->n_polls; i < n; i++) {
            ring->polls[i] = (AioRingPoll) { .next_free = ring->free_poll };
            ring->free_poll = i + 1;
        }
        ring->n_polls = n;
    }
    place = ring->free_poll - 1;
    ring->free_poll = ring->polls[place].next_free;
    ring->polls[place].node = node;
    qatomic_or(&node->flags, (place + 1) << PLACE_SHIFT);
    return place;
}

static bool cancel(AioRing *ring, uint32_t place)
{
    struct io_uring_sqe *sqe = aio_ring_get_sqe(ring);

    if (!sqe) {
        return false;
    }
    io_uring_prep_poll_remove(sqe, poll_data(ring, place));
    sqe->user_data = 0;
    return true;
}

/* Returns false if no entry is free. */
static bool give_place_back(AioRing *ring, uint32_t place)
{
    AioRingPoll *poll = &ring->polls[place];

    if (poll->armed && !cancel(ring, place)) {
        return false;
    }
    poll->node = NULL;
    poll->armed = false;
    poll->generation++;
    poll->next_free = ring->free_poll;
    ring->free_poll = place + 1;
    return true;
}

static bool let_go(AioRing *ring, AioHandler *node, unsigned flags)
{
    uint32_t number = flags >> PLACE_SHIFT;

    if (number && !give_place_back(ring, number - 1)) {
        return false;
    }
    QLIST_INSERT_HEAD_RCU(&ring->ctx->deleted_aio_handlers, node, node_deleted);
    return true;
}

static bool arm(AioRing *ring, AioHandler *node, unsigned flags)
{
    uint32_t number = flags >> PLACE_SHIFT;
    struct io_uring_sqe *sqe;
    AioRingPoll *poll;

    if (!node->pfd.events) {
        if (node->io_poll) {                    /* else it is being removed */
            aio_polling_add(ring->ctx, node);   /* nothing will announce it */
        }
        return true;
    }
    sqe = aio_ring_get_sqe(ring);
    if (!sqe) {
        return false;
    }
    if (!number) {
        number = take_place(ring, node) + 1;
    }
    poll = &ring->polls[number - 1];
    poll->armed = true;
    /* G_IO_ values are those of poll(2) */
    io_uring_prep_poll_add(sqe, node->pfd.fd, node->pfd.events);
    sqe->user_data = poll_data(ring, number - 1);
    return true;
}
QEMU_BUILD_BUG_ON(G_IO_IN != POLLIN || G_IO_OUT != POLLOUT || G_IO_ERR != POLLERR ||
                  G_IO_HUP != POLLHUP);

/* Takes note of handlers that came, went, or were called. */
static void take_note(AioContext *ctx)
{
    AioRing *ring = ctx->loop.ring;
    AioHandlerSList nodes;
    AioHandler *node;

    if (QSLIST_EMPTY_RCU(&ctx->submit_list)) {
        return;
    }
    QSLIST_MOVE_ATOMIC(&nodes, &ctx->submit_list);
    while ((node = QSLIST_FIRST(&nodes))) {
        unsigned flags;

        QSLIST_REMOVE_HEAD(&nodes, node_submitted);
        flags = qatomic_fetch_and(&node->flags, ~LISTED);
        if (flags & REMOVED ? !let_go(ring, node, flags)
                            : !arm(ring, node, flags)) {
            list(ctx, node, 0);     /* the ring is full: in the next turn */
        }
    }
}

void aio_ring_poll_done(AioRing *ring, uint64_t data, int res,
                        AioHandlerList *ready_list)
{
    AioRingPoll *poll = poll_of_data(ring, data);

    if (!poll) {
        return;
    }
    poll->armed = false;
    if (aio_handler_is_deleted(poll->node)) {
        return;                 /* and its descriptor may be closed */
    }
    if (res == -EBADF) {
        /* poll() would call it ready for ever */
        warn_report_once("file descriptor %d is watched and not open",
                         poll->node->pfd.fd);
        return;
    }
    list(ring->ctx, poll->node, 0);
    if (res < 0) {
        return;                 /* no memory: again */
    }
    aio_add_ready_handler(ready_list, poll->node, res);
    aio_loop_count(ring->ctx, descriptors);
}

static bool need_wait(AioContext *ctx)
{
    AioRing *ring = ctx->loop.ring;

    return aio_ring_ready(ring) || aio_ring_has_queued(ring) ||
           !QSLIST_EMPTY_RCU(&ctx->submit_list);
}

/*
 * Until Linux 6.15 a thread that waits in a ring counts as one that waits for I/O,
 * as soon as a poll request is in it, and an idle one as pressure (from 6.5 on).
 * So it waits there for a moment, in which a busy one is woken up, and then on the
 * ring's descriptor.
 */
#define ASIDE_AFTER_NS SCALE_MS

static int wait_aside(AioRing *ring, int64_t timeout)
{
    GPollFD pfd = { .fd = ring->uring.ring_fd, .events = G_IO_IN };
    int ret = aio_ring_enter(ring, 1, ASIDE_AFTER_NS);

    if (ret == -ETIME && !aio_ring_ready(ring)) {
        aio_loop_count(ring->ctx, syscalls);
        if (qemu_poll_ns(&pfd, 1, timeout < 0 ? -1 : timeout - ASIDE_AFTER_NS) < 0) {
            return -EINTR;
        }
    }
    return ret;
}

static int wait_once(AioRing *ring, int64_t timeout)
{
    if (!ring->in_flight && (timeout < 0 || timeout > ASIDE_AFTER_NS) &&
        !(ring->uring.features & AIO_RING_FEAT_NO_IOWAIT)) {
        return wait_aside(ring, timeout);
    }
    return aio_ring_enter(ring, timeout != 0, timeout);
}

/* How long to leave the kernel alone that has just taken no requests. */
#define REFUSED_WAIT_NS SCALE_MS

/*
 * The kernel may return without a completion, for a signal or when it took only
 * some of the entries: then again, for the rest of the time.
 */
static int wait_in_ring(AioContext *ctx, AioHandlerList *ready_list, int64_t timeout)
{
    AioRing *ring = ctx->loop.ring;
    int64_t end = timeout > 0 ? get_clock() + timeout : 0;
    int ret;

    take_note(ctx);
    if (timeout == 0 && !aio_ring_has_queued(ring)) {
        return 0;               /* what is there, aio_ring_reap() finds */
    }
    if (unlikely(ring->refused || ring->waiting)) {
        aio_ring_submit(ring);
        take_note(ctx);         /* of what the ring had no room for */
    }
    if (unlikely(ring->refused)) {
        timeout = qemu_soonest_timeout(timeout, REFUSED_WAIT_NS);
        aio_ring_enter(ring, timeout != 0, timeout);
        return 0;
    }
    do {
        ret = wait_once(ring, timeout);
        if (ret == -ETIME ||
            (ret != -EINTR && unlikely(!aio_ring_took(ring, ret)))) {
            return 0;
        }
        if (timeout > 0) {
            timeout = MAX(end - get_clock(), 0);
        }
    } while (timeout && !aio_ring_ready(ring));
    return 0;
}

static const FDMonOps ring_ops = {
    .update = update,
    .wait = wait_in_ring,
    .need_wait = need_wait,
};

static bool wanted(void)
{
    const char *value = getenv("QEMU_IO_URING_LOOP");

    return !value || strcmp(value, "off");
}

void aio_ring_start(AioContext *ctx)
{
    AioRing *ring;
    AioHandler *node;
    Error *err = NULL;

    if (!wanted()) {
        return;
    }
    ring = aio_ring_new(ctx, AIO_RING_OWNED, &err);
    if (ring && !(ring->uring.features & IORING_FEAT_EXT_ARG)) {
        error_setg(&err, "the kernel is older than Linux 5.11");
        g_clear_pointer(&ring, aio_ring_free);
    }
    if (!ring) {
        warn_report_once("IOThreads wait with epoll, not io_uring: %s",
                         error_get_pretty(err));
        error_free(err);
        return;
    }
    trace_aio_ring_start(ctx, ring);

    qemu_lockcnt_lock(&ctx->list_lock);
    fdmon_epoll_disable(ctx);
    ctx->loop.ring = ring;
    ring->loops = true;
    ctx->fdmon_ops = &ring_ops;
    QLIST_FOREACH(node, &ctx->aio_handlers, node) {
        if (!aio_handler_is_deleted(node)) {
            list(ctx, node, 0);
        }
    }
    qemu_lockcnt_unlock(&ctx->list_lock);
}

/* Handlers are watched no more; those that are removed may be freed. */
static void forget_handlers(AioContext *ctx)
{
    AioHandlerSList nodes;
    AioHandler *node;

    QSLIST_MOVE_ATOMIC(&nodes, &ctx->submit_list);
    while ((node = QSLIST_FIRST(&nodes))) {
        QSLIST_REMOVE_HEAD(&nodes, node_submitted);
        if (qatomic_read(&node->flags) & REMOVED) {
            QLIST_INSERT_HEAD_RCU(&ctx->deleted_aio_handlers, node, node_deleted);
        }
    }
    QLIST_FOREACH(node, &ctx->aio_handlers, node) {
        qatomic_set(&node->flags, 0);
    }
}

void aio_ring_leave(AioContext *ctx)
{
    AioRing *ring = ctx->loop.ring;
    uint32_t place;

    if (!aio_loop_has_ring(ctx)) {
        return;
    }
    trace_aio_ring_leave(ctx, ring);

    qemu_lockcnt_lock(&ctx->list_lock);
    for (place = 0; place < ring->n_polls; place++) {
        /* where no entry is free, its completion will be ignored all the same */
        if (ring->polls[place].node && ring->polls[place].armed) {
            cancel(ring, place);
        }
        ring->polls[place].node = NULL;
    }
    forget_handlers(ctx);
    ctx->fdmon_ops = &fdmon_poll_ops;
    fdmon_epoll_setup(ctx);
    ring->loops = false;
    qemu_lockcnt_unlock(&ctx->list_lock);

    aio_ring_submit(ring);
    aio_ring_watch(ring);
}

void aio_ring_end(AioContext *ctx)
{
    AioRing *ring = ctx->loop.ring;

    if (ring) {
        forget_handlers(ctx);
        ctx->fdmon_ops = &fdmon_poll_ops;
        ctx->loop.ring = NULL;
        aio_ring_free(ring);
    }
}
