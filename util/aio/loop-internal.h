/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The event loop of an AioContext: what its files share.
 *
 *     handlers.c      file descriptors and what is called for them
 *     poll.c          aio_poll(): one turn
 *     polling.c       ... in user space, before or in place of a wait
 *     glib.c          a turn that glib makes
 *     ring.c          the io_uring, ring-enter.c its system call
 *     ring-fds.c      file descriptors, watched by it
 *
 * The base's fdmon-poll.c and fdmon-epoll.c watch them where there is no ring.
 *
 * A handler that is removed is freed when no turn is under way that may have it
 * in a list, and when what watches the descriptor has let go of it; meanwhile it
 * is marked deleted, by its entry node_deleted.
 */

#ifndef UTIL_AIO_LOOP_INTERNAL_H
#define UTIL_AIO_LOOP_INTERNAL_H

#include "util/aio-posix.h"

static inline bool aio_handler_is_deleted(const AioHandler *node)
{
    return QLIST_IS_INSERTED(node, node_deleted);
}

/* handlers.c: frees what is marked deleted, if this turn is not a nested one. */
void aio_free_deleted_handlers(AioContext *ctx);

/* Calls what is to be called for @node; returns whether that was progress. */
bool aio_dispatch_handler(AioContext *ctx, AioHandler *node);

/* Turns that do not wait, until one looks at descriptors that have to be asked. */
#define AIO_TURNS_UNLOOKED 8

/* polling.c */

/* The handler takes part in polling: it has been found ready. */
void aio_polling_add(AioContext *ctx, AioHandler *node);

/*
 * Polls, for as long as the mode has it and no longer than *@timeout (-1: no
 * limit), since @start.  *@timeout is then what is left of it: 0 where the turn is
 * not to wait.  Returns when waiting began: @start, or after what was queued went down.
 */
int64_t aio_polling_run(AioContext *ctx, AioHandlerList *ready_list, int64_t start,
                        int64_t *timeout);

/*
 * The thread is about to sleep, or glib to run: descriptors are to announce what
 * polling would have found.  Returns whether something came meanwhile.
 */
bool aio_polling_end(AioContext *ctx, AioHandlerList *ready_list);

/*
 * This turn may be in one whose handlers wait to be called.  Takes those that were
 * found by polling, which may not be found again; returns whether there are any.
 */
bool aio_polling_inherit(AioContext *ctx, AioHandlerList *ready_list)
    __attribute__((cold));

/*
 * @node was in no list while its handler ran, which may have ended or begun what was
 * @started before.  Returns whether it is ready, which nothing else would tell.
 */
bool aio_polling_return(AioContext *ctx, AioHandler *node, bool started);

/* @poll's event came @block_ns after the turn began. */
void aio_polling_adjust(AioContext *ctx, AioPolledEvent *poll, int64_t block_ns);

#ifdef CONFIG_LINUX_IO_URING
#include "block/aio-ring.h"

/* ring.c: what aio_ring_enter() returned; false if the kernel takes no more. */
bool aio_ring_took(AioRing *ring, int ret);

/* user_data of descriptors has neither of its low two bits. */
static inline bool aio_ring_is_request(uint64_t user_data)
{
    return user_data & 3;
}

/* ring-fds.c: a poll request has completed. */
void aio_ring_poll_done(AioRing *ring, uint64_t user_data, int res,
                        AioHandlerList *ready_list);

/* Gives the thread's own AioContext a ring, if it can have one. */
void aio_ring_start(AioContext *ctx);

/* glib takes over the watching of descriptors.  Home thread. */
void aio_ring_leave(AioContext *ctx);

/* The event loop is no more. */
void aio_ring_end(AioContext *ctx);
#endif

/* Whether the ring of the event loop has descriptors in it. */
static inline bool aio_loop_has_ring(AioContext *ctx)
{
#ifdef CONFIG_LINUX_IO_URING
    return ctx->loop.ring && ctx->loop.ring->loops;
#else
    return false;
#endif
}

#endif /* UTIL_AIO_LOOP_INTERNAL_H */
