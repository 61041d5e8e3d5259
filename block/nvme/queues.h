/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which thread has which queue.
 *
 * One is made when the node is opened.  An AioContext that first submits takes one
 * that is free, or has one made.  It is its own until the end of the next drained
 * section in which nothing is in flight, or until another needs it and the
 * AioContext has gone.
 * A thread in busy mode gets a polled queue if there are any, another one with an
 * interrupt.
 *
 * Where there are fewer queues than threads, for the controller grants no more or
 * takes no more memory, those that come late have their requests submitted and
 * completed in the thread of another (nvme_queues_enter()): slower for them, and no
 * lock for who has one.
 */

#ifndef BLOCK_NVME_QUEUES_H
#define BLOCK_NVME_QUEUES_H

#include "controller.h"

int nvme_queues_init(NvmeController *c, Error **errp);
void nvme_queues_destroy(NvmeController *c);

/* The first queue, so that there is one to share.  Blocking.  0, or -EIO. */
int nvme_queues_start(NvmeController *c, Error **errp);

/* After a reset: the controller is told of all queues anew.  Blocking. */
int nvme_queues_tell(NvmeController *c);

/* Main loop, under drain: soon no queue is any thread's that does not submit again. */
void nvme_queues_release(NvmeController *c);

/* Of one that is an AioContext's: an IOThread may have gone since its last request. */
bool nvme_queues_has_thread(const NvmeQueue *q);

/* private: looks whether @slot is of a thread that has ended */
NvmeQueue *nvme_queues_own_slow(NvmeSlot *slot) __attribute__((cold));

/*
 * The queue of the calling thread, whose home is @home, or NULL if it has none that
 * it may use now.  Cost: queue_slot_at(), three loads.
 */
static inline NvmeQueue *nvme_queues_own(NvmeController *c, unsigned home)
{
    NvmeSlot *slot = (NvmeSlot *)queue_slot_at(&c->slots, home);

    if (unlikely(!slot)) {
        return NULL;
    }
    if (unlikely(slot->epoch != qatomic_read(&aio_home_epoch))) {
        return nvme_queues_own_slow(slot);
    }
    return slot->queue;
}

/*
 * A queue for a coroutine, in whose thread it runs when this returns.  May yield
 * until a reset is over.  NULL if the controller is dead.
 */
NvmeQueue *coroutine_fn nvme_queues_enter(NvmeController *c);

/* Back to @home, where it was. */
void coroutine_fn nvme_queues_leave(NvmeQueue *q, AioContext *home);

#endif /* BLOCK_NVME_QUEUES_H */
