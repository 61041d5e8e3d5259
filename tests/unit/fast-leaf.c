/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The disk in memory of fast-leaf.h.
 */

#include "qemu/osdep.h"
#include "fast-leaf.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qemu/option.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "system/block-backend.h"

FastLeaf fast_leaf;

static void transfer(BlkFastRequest *req, int64_t offset)
{
    if (req->op == BLK_FAST_READ) {
        qemu_iovec_from_buf(req->qiov, 0, fast_leaf.data + offset, req->bytes);
    } else if (req->op == BLK_FAST_WRITE) {
        qemu_iovec_to_buf(req->qiov, 0, fast_leaf.data + offset, req->bytes);
    }
}

static void complete(BlkFastRequest *req, int ret)
{
    qatomic_dec(&fast_leaf.in_flight);
    blk_fast_complete(req, ret);
}

/* Writes land when they complete: what overtakes them on the way shows. */
static void complete_bh(void *opaque)
{
    BlkFastRequest *req = opaque;

    g_assert_false(qatomic_read(&fast_leaf.quiet));
    transfer(req, req->leaf_data[0]);
    complete(req, fast_leaf.result);
}

static void retry_bh(void *opaque)
{
    qatomic_dec(&fast_leaf.in_flight);
    blk_fast_retry(opaque);
}

static int leaf_submit(const BdrvFastPath *path, BlkFastRequest *req,
                       int64_t offset)
{
    unsigned n = qatomic_fetch_inc(&fast_leaf.fast);
    FastLeafMode mode = qatomic_read(&fast_leaf.mode);
    AioContext *ctx = qemu_get_current_aio_context();

    g_assert_false(qatomic_read(&fast_leaf.quiet));
    g_assert_cmpint(offset % FAST_LEAF_ALIGN, ==, 0);
    if (mode == FAST_LEAF_MIXED) {
        static const FastLeafMode mix[] = {
            FAST_LEAF_AT_ONCE, FAST_LEAF_BOTTOM_HALF, FAST_LEAF_RETRY,
        };
        mode = mix[n % ARRAY_SIZE(mix)];
    }

    qatomic_set(&fast_leaf.last_flags, req->flags);
    req->leaf_data[0] = offset;
    switch (mode) {
    case FAST_LEAF_AT_ONCE:
        transfer(req, offset);
        return fast_leaf.result;
    case FAST_LEAF_BOTTOM_HALF:
        qatomic_inc(&fast_leaf.in_flight);
        aio_bh_schedule_oneshot(ctx, complete_bh, req);
        break;
    case FAST_LEAF_RETRY:
        qatomic_inc(&fast_leaf.in_flight);
        aio_bh_schedule_oneshot(ctx, retry_bh, req);
        break;
    case FAST_LEAF_HOLD:
        g_assert_null(fast_leaf.held);
        qatomic_inc(&fast_leaf.in_flight);
        fast_leaf.held = req;
        break;
    default:
        g_assert_not_reached();
    }
    return -EINPROGRESS;
}

void fast_leaf_release(int ret)
{
    BlkFastRequest *req = fast_leaf.held;

    fast_leaf.held = NULL;
    transfer(req, req->leaf_data[0]);
    complete(req, ret);
}

void fast_leaf_retry(void)
{
    BlkFastRequest *req = fast_leaf.held;

    fast_leaf.held = NULL;
    retry_bh(req);
}

static void leaf_fast_step(BlockDriverState *bs, BdrvFastStep *step)
{
    step->ops = 1u << BLK_FAST_READ | 1u << BLK_FAST_WRITE;
    step->submit = leaf_submit;
}

/* Elsewhere in between, so that other requests come first where they may. */
static void coroutine_fn take_time(void)
{
    aio_co_schedule(qemu_get_current_aio_context(), qemu_coroutine_self());
    qemu_coroutine_yield();
}

static int coroutine_fn leaf_co_preadv(BlockDriverState *bs, int64_t offset,
                                       int64_t bytes, QEMUIOVector *qiov,
                                       BdrvRequestFlags flags)
{
    qatomic_inc(&fast_leaf.ordinary);
    qemu_iovec_from_buf(qiov, 0, fast_leaf.data + offset, bytes);
    take_time();
    return 0;
}

static int coroutine_fn leaf_co_pwritev(BlockDriverState *bs, int64_t offset,
                                        int64_t bytes, QEMUIOVector *qiov,
                                        BdrvRequestFlags flags)
{
    qatomic_inc(&fast_leaf.ordinary);
    take_time();
    qemu_iovec_to_buf(qiov, 0, fast_leaf.data + offset, bytes);
    return 0;
}

static int coroutine_fn leaf_co_flush(BlockDriverState *bs)
{
    qatomic_inc(&fast_leaf.flushes);
    return 0;
}

static int leaf_open(BlockDriverState *bs, QDict *options, int flags,
                     Error **errp)
{
    g_assert_null(fast_leaf.data);
    fast_leaf = (FastLeaf) {
        .data = g_malloc0(2 * FAST_LEAF_SIZE),
        .length = FAST_LEAF_SIZE,
    };
    bs->supported_write_flags = BDRV_REQ_FUA;
    return 0;
}

static void leaf_close(BlockDriverState *bs)
{
    g_assert_cmpuint(fast_leaf.in_flight, ==, 0);
    g_free(fast_leaf.data);
    fast_leaf.data = NULL;
}

static int64_t coroutine_fn leaf_co_getlength(BlockDriverState *bs)
{
    return qatomic_read_i64(&fast_leaf.length);
}

/* Up to twice the size that it is opened with. */
static int coroutine_fn leaf_co_truncate(BlockDriverState *bs, int64_t offset,
                                         bool exact, PreallocMode prealloc,
                                         BdrvRequestFlags flags, Error **errp)
{
    if (offset > 2 * FAST_LEAF_SIZE) {
        error_setg(errp, "too large");
        return -EFBIG;
    }
    qatomic_set_i64(&fast_leaf.length, offset);
    return 0;
}

static void leaf_refresh_limits(BlockDriverState *bs, Error **errp)
{
    bs->bl.request_alignment = FAST_LEAF_ALIGN;
}

static int leaf_reopen_prepare(BDRVReopenState *state, BlockReopenQueue *queue,
                               Error **errp)
{
    return 0;
}

static BlockDriver bdrv_fast_leaf = {
    .format_name            = "fast-leaf",
    .protocol_name          = "fast-leaf",
    .bdrv_open              = leaf_open,
    .bdrv_close             = leaf_close,
    .bdrv_co_getlength      = leaf_co_getlength,
    .bdrv_co_preadv         = leaf_co_preadv,
    .bdrv_co_pwritev        = leaf_co_pwritev,
    .bdrv_co_flush_to_disk  = leaf_co_flush,
    .bdrv_co_truncate       = leaf_co_truncate,
    .bdrv_refresh_limits    = leaf_refresh_limits,
    .bdrv_reopen_prepare    = leaf_reopen_prepare,
    .bdrv_fast_step         = leaf_fast_step,
};

void fast_leaf_register(void)
{
    bdrv_register(&bdrv_fast_leaf);
}

void fast_leaf_settle(void)
{
    while (aio_poll(qemu_get_aio_context(), false)) {
    }
}

BlockBackend *fast_leaf_open(const char *json)
{
    g_autofree char *name = g_strdup_printf("json:%s", json);
    BlockBackend *blk = blk_new_open(name, NULL, NULL, BDRV_O_RDWR | BDRV_O_RESIZE,
                                     &error_abort);

    blk_set_allow_aio_context_change(blk, true);
    fast_leaf_settle();
    return blk;
}
