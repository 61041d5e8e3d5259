/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What requests write in a BlockDriverState, per queue: counts of requests in
 * flight, the list of tracked requests, the write generation and the highest
 * offset written.  block/io.c calls it where the base had one field for all.
 *
 * Counting without a shared word: each slot counts requests begun and requests
 * ended, apart, since a request may end in another thread than it began in.
 * Their difference, summed by who drains, is exact enough because
 *
 *  - all ends are read before all begins (as in SRCU).  An end is a release and
 *    is read with acquire, and whoever ends a request knows that it has begun:
 *    the begin of every end that is seen is seen, so the sum is never too low.
 *    If it is zero, every begin that was seen has ended.
 *  - a begin that was not seen came after the drain.  bdrv_queue_begin() is a
 *    store and asymmetric_barrier_light(); then the request looks for drained
 *    sections (blk_wait_while_drained()).  Drain raises quiesce_counter,
 *    executes asymmetric_barrier_heavy() and then sums.  So either the sum has
 *    the begin, or the request sees the drain and waits.  Requests that do not
 *    look are made by ones that are counted in a parent, which drain polls too.
 *
 * Waking up who waits for zero is as in the base: a full barrier in
 * aio_wait_kick() between the end and reading the number of waiters.
 */

#ifndef BLOCK_BDRV_QUEUE_H
#define BLOCK_BDRV_QUEUE_H

#include "block/queue-slots.h"
#include "qemu/asymmetric-barrier.h"
#include "qemu/queue.h"

struct BdrvTrackedRequest;

typedef struct QEMU_ALIGNED(QUEUE_SLOT_ALIGN) BdrvQueue {
    QueueSlot slot;
    QemuSpin lock;              /* protects @tracked; its own thread's, mostly */
    QLIST_HEAD(, BdrvTrackedRequest) tracked;
    unsigned long begun;
    unsigned long ended;
    unsigned long write_gen;    /* writes that have ended */
    uint64_t wr_highest_offset;
} BdrvQueue;

/* Set up and torn down with the BlockDriverState. */
void bdrv_queues_init(QueueSlots *queues);
void bdrv_queues_destroy(QueueSlots *queues);

static inline BdrvQueue *bdrv_queue(QueueSlots *queues)
{
    return (BdrvQueue *)queue_slot(queues);
}

/* A request begins; any thread.  Orders the count before what is read next. */
static inline void bdrv_queue_begin(QueueSlots *queues)
{
    BdrvQueue *q = bdrv_queue(queues);

    queue_add(&q->slot, &q->begun, 1);
    asymmetric_barrier_light();
}

/* A request ends, in any thread; the caller then wakes who waits. */
static inline void bdrv_queue_end(QueueSlots *queues)
{
    BdrvQueue *q = bdrv_queue(queues);

    queue_add(&q->slot, &q->ended, 1);
}

/* A write has ended: the next flush of the node must not be skipped. */
static inline void bdrv_queue_wrote(QueueSlots *queues)
{
    BdrvQueue *q = bdrv_queue(queues);

    queue_add(&q->slot, &q->write_gen, 1);
}

/* A write up to @end, in bytes, has ended. */
void bdrv_queue_wrote_up_to(QueueSlots *queues, uint64_t end);

/* Requests in flight; zero is exact after quiescing, see above.  Any thread. */
unsigned long bdrv_queues_in_flight(QueueSlots *queues);

/*
 * A number that has grown by each write that ended before the call.  Any thread:
 * each slot's generation only grows, so that equal sums of one thread, one read
 * after the other, mean that no write ended between.
 */
unsigned bdrv_queues_write_gen(QueueSlots *queues);

/* The offset, in bytes, after the highest byte written.  Any thread. */
uint64_t bdrv_queues_wr_highest_offset(QueueSlots *queues);

/*
 * The tracked requests of a node.  A request enters the list of the thread that
 * begins it, under that list's lock, which no other thread takes unless a
 * request is serialising.
 *
 * Who looks for conflicts takes the locks of all queues (no queue is added
 * meanwhile).  That finds every request that must be waited for: a serialising
 * one first raises serialising_in_flight, then takes the locks; another enters
 * its list under its lock, then reads serialising_in_flight.  Whichever was
 * second in that lock has seen the other.
 */
void bdrv_queue_track(QueueSlots *queues, struct BdrvTrackedRequest *req);
void bdrv_queue_untrack(struct BdrvTrackedRequest *req);
bool bdrv_queues_none_tracked(QueueSlots *queues);
void bdrv_queues_lock(void *queues);
void bdrv_queues_unlock(void *queues);

/* All locks of @queues, a QueueSlots, as one, for qemu_co_queue_wait(). */
#define BDRV_QUEUES_LOCKABLE(queues)                                        \
    (&(QemuLockable) {                                                      \
        .object = (queues),                                                 \
        .lock = bdrv_queues_lock,                                           \
        .unlock = bdrv_queues_unlock,                                       \
    })

/* Every tracked request of @queues, whose locks are held. */
#define BDRV_QUEUES_FOREACH_TRACKED(req, queues)                            \
    for (unsigned home_ = 0; home_ < queue_slots_n(queues); home_++)        \
        if (queue_slot_at(queues, home_) == NULL) { } else                  \
            QLIST_FOREACH(req,                                              \
                &((BdrvQueue *)queue_slot_at(queues, home_))->tracked, list)

#endif /* BLOCK_BDRV_QUEUE_H */
