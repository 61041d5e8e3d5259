/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What happens in a node, told to the BlockBackends above it.
 */

#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/fast-path.h"
#include "qemu/lockable.h"

/* Coroutines that wait until no fast request is in flight. */
static QemuMutex waiters_lock;
static CoQueue waiters;

static void __attribute__((__constructor__)) fast_above_init(void)
{
    qemu_mutex_init(&waiters_lock);
    qemu_co_queue_init(&waiters);
}

/*
 * What is above a node: its parents are BlockBackends, nodes, and jobs, which
 * make no requests as parents.
 */
typedef bool BlkFastVisit(BlockBackend *blk);

static bool GRAPH_RDLOCK any_above(BlockDriverState *bs, BlkFastVisit *visit)
{
    bool any = false;
    BdrvChild *c;

    QLIST_FOREACH(c, &bs->parents, next_parent) {
        if (c->klass->parent_is_bds) {
            any |= any_above(c->opaque, visit);
        } else {
            BlockBackend *blk = blk_by_root_child(c);

            any |= blk && visit(blk);
        }
    }
    return any;
}

static bool serialising_begin(BlockBackend *blk)
{
    BlkFast *fast = blk_fast(blk);

    QEMU_LOCK_GUARD(&fast->queues.lock);
    fast->serialising++;
    qatomic_or(&fast->reasons, 1u << BLK_FAST_SERIALISING);
    return fast->was_open;
}

static bool serialising_end(BlockBackend *blk)
{
    BlkFast *fast = blk_fast(blk);

    QEMU_LOCK_GUARD(&fast->queues.lock);
    if (--fast->serialising == 0) {
        qatomic_and(&fast->reasons, ~(1u << BLK_FAST_SERIALISING));
    }
    return false;
}

static bool has_fast_in_flight(BlockBackend *blk)
{
    return blk_fast_in_flight(blk) > 0;
}

static bool changed(BlockBackend *blk)
{
    blk_fast_changed(blk);
    return true;
}

void bdrv_fast_serialising_begin(BlockDriverState *bs)
{
    assume_graph_lock();
    assert_bdrv_graph_readable();
    if (any_above(bs, serialising_begin)) {
        asymmetric_barrier_heavy();     /* the reason; then the counts */
    }
}

void coroutine_fn bdrv_fast_serialising_wait(BlockDriverState *bs)
{
    assume_graph_lock();
    assert_bdrv_graph_readable();
    QEMU_LOCK_GUARD(&waiters_lock);
    while (any_above(bs, has_fast_in_flight)) {
        qemu_co_queue_wait(&waiters, &waiters_lock);
    }
}

bool coroutine_fn bdrv_fast_serialising_try(BlockDriverState *bs,
                                            BdrvRequestFlags flags)
{
    assume_graph_lock();
    if (!(flags & BDRV_REQ_SERIALISING)) {
        return true;
    }
    if ((flags & BDRV_REQ_NO_WAIT) && any_above(bs, has_fast_in_flight)) {
        return false;
    }
    bdrv_fast_serialising_wait(bs);
    return true;
}

void bdrv_fast_serialising_end(BlockDriverState *bs)
{
    assume_graph_lock();
    assert_bdrv_graph_readable();
    any_above(bs, serialising_end);
}

void blk_fast_wake_serialising(void)
{
    CoQueue woken;

    /* From a queue of their own: one that must wait on, queues up again. */
    qemu_co_queue_init(&woken);
    qemu_mutex_lock(&waiters_lock);
    QSIMPLEQ_CONCAT(&woken.entries, &waiters.entries);
    qemu_co_enter_all(&woken, &waiters_lock);
    qemu_mutex_unlock(&waiters_lock);
}

void bdrv_fast_changed(BlockDriverState *bs)
{
    assume_graph_lock();
    assert_bdrv_graph_readable();
    if (any_above(bs, changed)) {
        /* see note_write_closed() in block/fast-path.c */
        asymmetric_barrier_heavy();
    }
}
