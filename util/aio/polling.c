/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Polling in user space: an event loop that asks its handlers' poll functions, and
 * looks at its ring in memory, for a while before it sleeps, or in place of it.
 *
 * While it polls (ctx->poll_started), what can be asked need not announce itself:
 * io_poll_begin() and io_poll_end() switch a virtqueue's notifications.  They stay
 * off from turn to turn; the thread switches them on when it goes to sleep.
 *
 * A handler takes part from when its descriptor was ready the first time, until
 * its poll function has said no for some seconds; then its descriptor is watched
 * again, which costs nothing where the ring does that.
 */

#include "qemu/osdep.h"
#include "qemu/rcu.h"
#include "loop-internal.h"
#include "../trace.h"

/* How long a handler may find nothing before it takes no part. */
#define IDLE_NS (7 * NANOSECONDS_PER_SECOND)
#define IDLE_CHECK_NS NANOSECONDS_PER_SECOND

/* What to start with where poll-grow has nothing to multiply. */
#define FIRST_NS 4000

/* Rounds between two looks at the clock, and between two ends of RCU sections. */
#define ROUNDS_TIME 16
#define ROUNDS_RCU 256

/*
 * Without a ring descriptors are not seen while polling: a busy thread has a look
 * with a system call so often.
 */
#define LOOK_NS (20 * SCALE_US)

void aio_context_set_poll_mode(AioContext *ctx, AioPollMode mode)
{
    qatomic_set(&ctx->loop.mode, mode);
    aio_notify(ctx);
}

static unsigned requests_in_flight(AioContext *ctx)
{
#ifdef CONFIG_LINUX_IO_URING
    return aio_loop_has_ring(ctx) ? ctx->loop.ring->in_flight : 0;
#else
    return 0;
#endif
}

/* Whether there is what a busy thread stays awake for; its own notifier is not. */
static bool has_sources(AioContext *ctx)
{
    return qatomic_read(&ctx->loop.poll_sources) > 1 || requests_in_flight(ctx);
}

/* For how long it was worth it of late. */
static int64_t adapted_ns(AioContext *ctx)
{
    AioHandler *node;
    int64_t ns = 0;

    QLIST_FOREACH(node, &ctx->poll_aio_handlers, node_poll) {
        ns = MAX(ns, node->poll.ns);
    }
#ifdef CONFIG_LINUX_IO_URING
    /* also while none is in flight: what a request's end is followed by comes soon */
    if (aio_loop_has_ring(ctx)) {
        ns = MAX(ns, ctx->loop.ring->poll.ns);
    }
#endif
    return ns;
}

static bool is_busy(AioContext *ctx)
{
    return qatomic_read(&ctx->loop.mode) == AIO_POLL_BUSY && has_sources(ctx);
}

/* How long to poll; 0: not at all. */
static int64_t time_to_poll(AioContext *ctx, int64_t timeout, bool busy)
{
    if (timeout == 0 || qatomic_read(&ctx->loop.mode) == AIO_POLL_OFF) {
        return 0;
    }
    if (busy) {
        return qemu_soonest_timeout(timeout, aio_loop_has_ring(ctx) ? INT64_MAX
                                                                    : LOOK_NS);
    }
    if (!ctx->poll_max_ns || (!aio_loop_has_ring(ctx) && aio_poll_disabled(ctx))) {
        return 0;
    }
    return qemu_soonest_timeout(timeout, adapted_ns(ctx));
}

void aio_polling_add(AioContext *ctx, AioHandler *node)
{
    if (QLIST_IS_INSERTED(node, node_poll)) {
        return;
    }
    trace_aio_polling_add(ctx, node, node->pfd.fd);
    node->poll_idle_timeout = 0;
    if (ctx->poll_started && node->io_poll_begin) {
        node->io_poll_begin(node->opaque);
    }
    QLIST_INSERT_HEAD(&ctx->poll_aio_handlers, node, node_poll);
}

/* Asks @node; returns whether it is ready. */
static inline bool ask(AioHandler *node, AioHandlerList *ready_list)
{
    if (!node->io_poll(node->opaque)) {
        return false;
    }
    QLIST_SAFE_REMOVE(node, node_ready);
    node->poll_ready = true;
    QLIST_INSERT_HEAD(ready_list, node, node_ready);
    return true;
}

/* Announcements are on; what came before that is found by asking once more. */
static bool announce(AioHandler *node, AioHandlerList *ready_list)
{
    if (node->io_poll_end) {
        node->io_poll_end(node->opaque);
    }
    return ask(node, ready_list);
}

static void begin(AioContext *ctx)
{
    AioHandler *node;

    if (ctx->poll_started && !qatomic_read(&ctx->loop.begin_again)) {
        return;
    }
    ctx->poll_started = true;
    /* a full barrier: the functions, which were written before it, are read after */
    qatomic_xchg(&ctx->loop.begin_again, false);
    QLIST_FOREACH(node, &ctx->poll_aio_handlers, node_poll) {
        if (!aio_handler_is_deleted(node) && node->io_poll_begin) {
            node->io_poll_begin(node->opaque);
        }
    }
}

bool aio_polling_end(AioContext *ctx, AioHandlerList *ready_list)
{
    AioHandler *node;
    bool found = false;

    if (!ctx->poll_started) {
        return false;
    }
    ctx->poll_started = false;
    QLIST_FOREACH(node, &ctx->poll_aio_handlers, node_poll) {
        if (!aio_handler_is_deleted(node)) {
            found |= announce(node, ready_list);
        }
    }
    return found;
}

bool aio_polling_inherit(AioContext *ctx, AioHandlerList *ready_list)
{
    AioHandler *node;
    bool found = false;

    QLIST_FOREACH_RCU(node, &ctx->aio_handlers, node) {
        if (QLIST_IS_INSERTED(node, node_ready) && node->poll_ready &&
            !aio_handler_is_deleted(node)) {
            QLIST_REMOVE(node, node_ready);
            QLIST_INSERT_HEAD(ready_list, node, node_ready);
            found = true;
        }
    }
    return found;
}

bool aio_polling_return(AioContext *ctx, AioHandler *node, bool started)
{
    IOHandler *fn = started ? node->io_poll_end : node->io_poll_begin;

    if (likely(started == ctx->poll_started) || aio_handler_is_deleted(node)) {
        return false;
    }
    if (fn) {
        fn(node->opaque);
    }
    return started && node->io_poll(node->opaque);
}

/* One round.  Returns whether any handler is ready. */
static inline bool ask_all(AioContext *ctx, AioHandlerList *ready_list, int64_t now)
{
    AioHandler *node;
    bool found = false;

    QLIST_FOREACH(node, &ctx->poll_aio_handlers, node_poll) {
        if (!aio_handler_is_deleted(node) && ask(node, ready_list)) {
            node->poll_idle_timeout = now + IDLE_NS;
            found = true;
            /* its own notifier is no event */
            if (node->opaque != &ctx->notifier) {
                aio_loop_count(ctx, polled);
            }
        }
    }
    return found;
}

/* Whether something else than a poll function has to be looked after. */
static inline bool is_called(AioContext *ctx)
{
    return qatomic_read(&ctx->notified) ||
           (aio_loop_has_ring(ctx) && ctx->fdmon_ops->need_wait(ctx));
}

/*
 * Rounds until something is there or @max_ns have gone since @start.  Each few of
 * them are an RCU read-side section, which makes those of the poll functions cheap;
 * none is long, since others wait for its end.
 */
static bool rounds(AioContext *ctx, AioHandlerList *ready_list, int64_t start,
                   int64_t max_ns)
{
    unsigned n = 0;

    for (;;) {
        RCU_READ_LOCK_GUARD();
        do {
            if (ask_all(ctx, ready_list, start) || is_called(ctx)) {
                return true;
            }
            if (++n % ROUNDS_TIME == 0 && get_clock() - start >= max_ns) {
                return false;
            }
        } while (n % ROUNDS_RCU);
    }
}

/* Handlers that have found nothing for long leave. */
static bool remove_idle(AioContext *ctx, AioHandlerList *ready_list, int64_t now)
{
    AioHandler *node, *next;
    bool found = false;

    if (!aio_loop_has_ring(ctx) || now < ctx->loop.idle_check) {
        return false;
    }
    ctx->loop.idle_check = now + IDLE_CHECK_NS;
    QLIST_FOREACH_SAFE(node, &ctx->poll_aio_handlers, node_poll, next) {
        if (node->poll_idle_timeout == 0) {
            node->poll_idle_timeout = now + IDLE_NS;
        } else if (now >= node->poll_idle_timeout) {
            trace_aio_polling_remove(ctx, node, node->pfd.fd);
            QLIST_SAFE_REMOVE(node, node_poll);
            node->poll.ns = 0;
            if (ctx->poll_started && !aio_handler_is_deleted(node)) {
                found |= announce(node, ready_list);
            }
        }
    }
    return found;
}

/* What waits for the kernel goes there first; that is no time spent in waiting. */
static int64_t submit(AioContext *ctx, AioHandlerList *ready_list, int64_t start)
{
    if (aio_loop_has_ring(ctx) && ctx->fdmon_ops->need_wait(ctx)) {
        ctx->fdmon_ops->wait(ctx, ready_list, 0);
        return get_clock();
    }
    return start;
}

/*
 * Whether to submit apart from the sleep, to know how long the requests took: one
 * that would be worth polling for might look too long with its submission.
 */
static bool adapts(AioContext *ctx)
{
#ifdef CONFIG_LINUX_IO_URING
    return ctx->poll_max_ns && qatomic_read(&ctx->loop.mode) == AIO_POLL_ADAPTIVE &&
           aio_loop_has_ring(ctx) && aio_ring_has_queued(ctx->loop.ring);
#else
    return false;
#endif
}

int64_t aio_polling_run(AioContext *ctx, AioHandlerList *ready_list, int64_t start,
                        int64_t *timeout)
{
    bool busy = is_busy(ctx);
    int64_t max_ns = time_to_poll(ctx, *timeout, busy);
    bool found;

    if (max_ns == 0) {
        if (*timeout == 0 && ctx->poll_started) {
            /* a turn that does not wait leaves out nobody */
            ask_all(ctx, ready_list, start);
        }
        return adapts(ctx) ? submit(ctx, ready_list, start) : start;
    }

    begin(ctx);
    start = submit(ctx, ready_list, start);
    found = rounds(ctx, ready_list, start, max_ns);
    found |= remove_idle(ctx, ready_list, start);
    trace_aio_polling(ctx, max_ns, found);
    if (found) {
        aio_loop_count(ctx, polls_hit);
        *timeout = 0;
    } else {
        aio_loop_count(ctx, polls_vain);
        if (busy) {
            *timeout = 0;
            ctx->loop.unlooked = AIO_TURNS_UNLOOKED;
        } else if (*timeout > 0) {
            *timeout = MAX(*timeout - (get_clock() - start), 0);
        }
    }
    return start;
}

void aio_polling_adjust(AioContext *ctx, AioPolledEvent *poll, int64_t block_ns)
{
    int64_t from = poll->ns;

    if (block_ns <= from) {
        return;                 /* it came while polling */
    }
    if (block_ns > ctx->poll_max_ns) {
        poll->ns = ctx->poll_shrink ? from / ctx->poll_shrink : 0;
        trace_aio_polling_shrink(ctx, from, poll->ns);
    } else if (from < ctx->poll_max_ns) {
        int64_t factor = ctx->poll_grow ?: 2;

        poll->ns = MIN(from ? from * factor : FIRST_NS, ctx->poll_max_ns);
        trace_aio_polling_grow(ctx, from, poll->ns);
    }
}
