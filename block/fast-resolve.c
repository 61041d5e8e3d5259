/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finds the path of a BlockBackend, or the reasons why it has none, and opens
 * and closes it.
 */

#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/dirty-bitmap.h"
#include "block/fast-path.h"
#include "block/write-threshold.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/processor.h"
#include "system/block-backend.h"
#include "system/replay.h"
#include "trace.h"

#define REASON(name) (1u << BLK_FAST_##name)

#define OPS_WRITE \
    (1u << BLK_FAST_WRITE | 1u << BLK_FAST_DISCARD | 1u << BLK_FAST_WRITE_ZEROES)

/* Of a driver that knows nothing of paths. */
static uint32_t driver_reason(const BlockDriver *drv)
{
    return drv->is_filter ? REASON(FILTER_NODE)
         : drv->is_format ? REASON(IMAGE_FORMAT)
         : REASON(NO_DRIVER_SUPPORT);
}

/* What block/io.c would do in any node, whatever its driver, and a path does not. */
static uint32_t node_reasons(BlockDriverState *bs)
{
    uint32_t reasons = 0;

    if (qatomic_read(&bs->copy_on_read)) {
        reasons |= REASON(COPY_ON_READ);
    }
    if (bs->detect_zeroes != BLOCKDEV_DETECT_ZEROES_OPTIONS_OFF) {
        reasons |= REASON(DETECT_ZEROES);
    }
    if (!QLIST_EMPTY(&bs->dirty_bitmaps)) {
        reasons |= REASON(DIRTY_BITMAP);
    }
    if (bdrv_write_threshold_get(bs)) {
        reasons |= REASON(WRITE_THRESHOLD);
    }
    if (bs->bl.zoned != BLK_Z_NONE) {
        reasons |= REASON(ZONED);
    }
    return reasons;
}

static uint32_t node_ops(BlockDriverState *bs, uint64_t perm)
{
    uint32_t ops = ~0;

    if (!(perm & BLK_PERM_WRITE) || bdrv_is_read_only(bs)) {
        ops &= ~OPS_WRITE;
    }
    if (bdrv_is_read_only(bs) || (bs->open_flags & BDRV_O_NO_FLUSH)) {
        ops &= ~(1u << BLK_FAST_FLUSH);
    }
    return ops;
}

static void apply_limits(BdrvFastPath *path, const BlockLimits *bl)
{
    path->align = MAX(path->align, bl->request_alignment);
    path->max_transfer = MIN_NON_ZERO(path->max_transfer, bl->max_transfer);
    path->max_transfer = MIN_NON_ZERO(path->max_transfer, bl->max_hw_transfer);
    path->max_iov = MIN_NON_ZERO(path->max_iov, bl->max_iov);
    path->max_iov = MIN_NON_ZERO(path->max_iov, bl->max_hw_iov);
}

/*
 * The path from @blk down, into @path, which is all zeroes, and the reasons why it may not be used;
 * with a reason, @path has the nodes that were looked at.
 */
static uint32_t GRAPH_RDLOCK resolve(BlockBackend *blk, BdrvFastPath *path)
{
    BlockDriverState *bs;
    bool write_through, no_flush = false;
    uint64_t perm;
    uint32_t reasons = blk_fast_step(blk, &bs, &perm, &write_through);

    path->ops = ~0;
    path->align = 1;
    path->length = INT64_MAX;
    path->max_transfer = BDRV_REQUEST_MAX_BYTES;
    path->max_iov = IOV_MAX;
    path->write_flags = write_through ? BDRV_REQ_FUA : 0;
    if (replay_mode != REPLAY_MODE_NONE) {
        reasons |= REASON(REPLAY);
    }

    while (bs) {
        BdrvFastStep step = { .length = INT64_MAX, .ops = ~0 };

        if (!bs->drv) {
            return reasons | REASON(NO_MEDIUM);
        }
        reasons |= node_reasons(bs);
        if (!bs->drv->bdrv_fast_step) {
            return reasons | driver_reason(bs->drv);
        }
        if (path->n_nodes == BDRV_FAST_MAX_NODES) {
            return reasons | REASON(NO_DRIVER_SUPPORT);
        }
        bs->drv->bdrv_fast_step(bs, &step);
        reasons |= step.reasons;

        path->node[path->n_nodes] = bs;
        path->node_offset[path->n_nodes] = path->offset;
        path->n_nodes++;
        path->ops &= step.ops & node_ops(bs, perm);
        no_flush |= bs->open_flags & BDRV_O_NO_FLUSH;
        apply_limits(path, &bs->bl);
        if (!QEMU_IS_ALIGNED(path->offset, bs->bl.request_alignment)) {
            /* aligned requests are not aligned here: the block layer pads them */
            reasons |= REASON(NO_DRIVER_SUPPORT);
        }
        /* as bdrv_getlength(), without asking a driver whose length varies */
        path->length = MIN(path->length,
                           MIN(step.length, bs->total_sectors * BDRV_SECTOR_SIZE)
                           - path->offset);
        path->write_from = MAX(path->write_from, step.write_from - path->offset);
        if (!step.next) {
            path->submit = step.submit;
            path->opaque = step.opaque;
            path->supported_flags = BDRV_REQ_REGISTERED_BUF |
                (bs->supported_write_flags & BDRV_REQ_FUA);
        }
        path->offset += step.offset;
        bs = step.next;
    }

    if (no_flush) {
        /* the block layer drops it, whoever asks */
        path->write_flags = 0;
        path->supported_flags &= ~BDRV_REQ_FUA;
    }
    path->length = MAX(path->length, 0);
    path->max_transfer = MIN(path->max_transfer, path->length);
    return reasons;
}

static bool same_path(const BdrvFastPath *a, const BdrvFastPath *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

/*
 * A path that is in use is written only once it is closed and empty, which is
 * when the last of its requests calls for this again.
 */
static void resolve_bh(void *opaque)
{
    BlockBackend *blk = opaque;
    BlkFast *fast = blk_fast(blk);
    unsigned changes = qatomic_read(&fast->changes);
    BdrvFastPath path;
    uint32_t reasons;

    GRAPH_RDLOCK_GUARD_MAINLOOP();

    smp_mb();   /* the number of changes; then what has changed */
    memset(&path, 0, sizeof(path));
    reasons = resolve(blk, &path);

    WITH_QEMU_LOCK_GUARD(&fast->queues.lock) {
        if (changes != fast->changes) {
            /* changed while we looked: scheduled again, closed until then */
            return;
        }
        if (!same_path(&path, &fast->path)) {
            qatomic_or(&fast->reasons, REASON(CHANGING));
            asymmetric_barrier_heavy();         /* the reason; then the counts */
            if (blk_fast_in_flight(blk)) {
                return;
            }
            fast->path = path;
        }
        if (!reasons) {
            assert(path.submit);
            fast->was_open = true;
        }
        if (fast->serialising) {
            reasons |= REASON(SERIALISING);
        }
        trace_blk_fast_resolve(blk, blk_name(blk), reasons);
        /* release: who sees the path open sees the path */
        qatomic_store_release(&fast->reasons, reasons);
    }
}

/* What QEMU_FAST_PATH in the environment says, for tests and comparisons. */
static bool off_by_environment(void)
{
    static gsize known;             /* 0: not asked yet; 1: on; 2: off */

    if (g_once_init_enter(&known)) {
        const char *value = getenv("QEMU_FAST_PATH");
        bool off = value && strcmp(value, "off") == 0;

        if (value && !off && strcmp(value, "on") != 0) {
            error_report("QEMU_FAST_PATH=%s in the environment: it is to be "
                         "'on' or 'off'", value);
            exit(1);
        }
        g_once_init_leave(&known, off ? 2 : 1);
    }
    return known == 2;
}

void blk_fast_init(BlockBackend *blk)
{
    BlkFast *fast = blk_fast(blk);

    fast->switched_off = off_by_environment();
    queue_slots_init(&fast->queues, sizeof(BlkQueue), NULL);
    fast->reasons = REASON(NO_MEDIUM);
    fast->resolve_bh = aio_bh_new(qemu_get_aio_context(), resolve_bh, blk);
}

void blk_fast_destroy(BlockBackend *blk)
{
    BlkFast *fast = blk_fast(blk);
    unsigned home;
    BlkQueue *q;

    assert(blk_queues_in_flight(blk) == 0);
    QUEUE_SLOTS_FOREACH(q, &fast->queues, home) {
        while (qatomic_load_acquire(&q->ending)) {
            cpu_relax();
        }
    }
    qemu_bh_delete(fast->resolve_bh);
    queue_slots_destroy(&fast->queues, NULL);
}

void blk_fast_close(BlockBackend *blk, BlkFastReason reason)
{
    BlkFast *fast = blk_fast(blk);

    WITH_QEMU_LOCK_GUARD(&fast->queues.lock) {
        qatomic_set(&fast->changes, fast->changes + 1);
        qatomic_or(&fast->reasons, 1u << reason);
    }
    qemu_bh_schedule(fast->resolve_bh);
}

void blk_fast_changed(BlockBackend *blk)
{
    blk_fast_close(blk, BLK_FAST_CHANGING);
}

void blk_set_fast_path(BlockBackend *blk, bool on)
{
    GLOBAL_STATE_CODE();
    blk_fast(blk)->switched_off = !on || off_by_environment();
    blk_fast_close(blk, on ? BLK_FAST_CHANGING : BLK_FAST_SWITCHED_OFF);
}
