/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A node's queues: sums over them, and their tracked requests.
 */

#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/bdrv-queue.h"

QEMU_BUILD_BUG_MSG(sizeof(BdrvQueue) % QUEUE_SLOT_ALIGN,
                   "two queues of a node would write one cache line");

static void bdrv_queue_init(QueueSlot *slot)
{
    BdrvQueue *q = (BdrvQueue *)slot;

    qemu_spin_init(&q->lock);
    QLIST_INIT(&q->tracked);
}

static void bdrv_queue_cleanup(QueueSlot *slot)
{
    BdrvQueue *q = (BdrvQueue *)slot;

    assert(QLIST_EMPTY(&q->tracked));
    qemu_spin_destroy(&q->lock);
}

void bdrv_queues_init(QueueSlots *queues)
{
    queue_slots_init(queues, sizeof(BdrvQueue), bdrv_queue_init);
}

void bdrv_queues_destroy(QueueSlots *queues)
{
    assert(bdrv_queues_in_flight(queues) == 0);
    queue_slots_destroy(queues, bdrv_queue_cleanup);
}

void bdrv_queue_wrote_up_to(QueueSlots *queues, uint64_t end)
{
    BdrvQueue *q = bdrv_queue(queues);
    uint64_t old = qatomic_read_u64(&q->wr_highest_offset);

    if (!q->slot.shared) {
        if (end > old) {
            qatomic_set_u64(&q->wr_highest_offset, end);
        }
        return;
    }
    /* 32-bit hosts have no 64-bit compare-and-swap: under the lock */
    QEMU_LOCK_GUARD(&q->lock);
    old = qatomic_read_u64(&q->wr_highest_offset);
    if (end > old) {
        qatomic_set_u64(&q->wr_highest_offset, end);
    }
}

unsigned long bdrv_queues_in_flight(QueueSlots *queues)
{
    BdrvQueue *q;
    unsigned long ended = QUEUE_SLOTS_SUM(q, queues, queue_read(&q->ended));

    /*
     * Every end has been read (acquire) before the first begin is.  A slot that
     * the first walk did not see is seen here if it holds the begin of an end
     * that was: it was made before that begin.
     */
    return QUEUE_SLOTS_SUM(q, queues, queue_read(&q->begun)) - ended;
}

unsigned bdrv_queues_write_gen(QueueSlots *queues)
{
    BdrvQueue *q;

    return QUEUE_SLOTS_SUM(q, queues, queue_read(&q->write_gen));
}

uint64_t bdrv_queues_wr_highest_offset(QueueSlots *queues)
{
    uint64_t highest = 0;
    BdrvQueue *q;
    unsigned home;

    QUEUE_SLOTS_FOREACH(q, queues, home) {
        highest = MAX(highest, qatomic_read_u64(&q->wr_highest_offset));
    }
    return highest;
}

void bdrv_queue_track(QueueSlots *queues, BdrvTrackedRequest *req)
{
    BdrvQueue *q = bdrv_queue(queues);

    req->queue = q;
    qemu_spin_lock(&q->lock);
    QLIST_INSERT_HEAD(&q->tracked, req, list);
    qemu_spin_unlock(&q->lock);
}

void bdrv_queue_untrack(BdrvTrackedRequest *req)
{
    BdrvQueue *q = req->queue;

    qemu_spin_lock(&q->lock);
    QLIST_REMOVE(req, list);
    qemu_spin_unlock(&q->lock);
}

bool bdrv_queues_none_tracked(QueueSlots *queues)
{
    BdrvTrackedRequest *req;
    bool none = true;

    bdrv_queues_lock(queues);
    BDRV_QUEUES_FOREACH_TRACKED(req, queues) {
        none = false;
    }
    bdrv_queues_unlock(queues);
    return none;
}

/* In the order of homes, after the lock that keeps queues from being added. */
void bdrv_queues_lock(void *opaque)
{
    QueueSlots *queues = opaque;
    BdrvQueue *q;
    unsigned home;

    qemu_mutex_lock(&queues->lock);
    QUEUE_SLOTS_FOREACH(q, queues, home) {
        qemu_spin_lock(&q->lock);
    }
}

void bdrv_queues_unlock(void *opaque)
{
    QueueSlots *queues = opaque;
    BdrvQueue *q;
    unsigned home;

    QUEUE_SLOTS_FOREACH(q, queues, home) {
        qemu_spin_unlock(&q->lock);
    }
    qemu_mutex_unlock(&queues->lock);
}
