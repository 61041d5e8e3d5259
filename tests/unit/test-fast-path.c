/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fast path of a BlockBackend: when it is open, where requests land, and
 * what holds while they are in flight.  One thread; test-fast-path-stress.c has
 * more.
 */

#include "qemu/osdep.h"
#include "block/dirty-bitmap.h"
#include "block/throttle-groups.h"
#include "block/write-threshold.h"
#include "fast-leaf.h"
#include "qapi/error.h"
#include "qapi/qapi-types-block-core.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qemu/module.h"
#include "qemu/option.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "system/block-backend.h"

#define LEAF "{\"driver\":\"fast-leaf\"}"
#define RAW  "{\"driver\":\"raw\",\"file\":" LEAF "}"

#define REASON(name) (1u << BLK_FAST_##name)

typedef struct {
    BlkFastRequest fast;
    QEMUIOVector qiov;
    uint8_t buf[2 * FAST_LEAF_ALIGN] QEMU_ALIGNED(FAST_LEAF_ALIGN);
    bool done;
    int ret;
} Request;

static uint32_t reasons(BlockBackend *blk)
{
    return qatomic_read(&blk_fast(blk)->reasons);
}

static void request_done(BlkFastRequest *fast, int ret)
{
    Request *r = container_of(fast, Request, fast);

    g_assert_false(r->done);
    r->done = true;
    r->ret = ret;
}

static int submit(BlockBackend *blk, Request *r, BlkFastOp op, int64_t offset,
                  int64_t bytes, BdrvRequestFlags flags)
{
    int ret;

    qemu_iovec_init_buf(&r->qiov, r->buf, bytes);
    r->done = false;
    r->fast = (BlkFastRequest) {
        .op = op,
        .flags = flags,
        .offset = offset,
        .bytes = bytes,
        .qiov = op == BLK_FAST_READ || op == BLK_FAST_WRITE ? &r->qiov : NULL,
        .cb = request_done,
    };
    ret = blk_fast_submit(blk, &r->fast);
    g_assert_false(r->done);        /* never from within the call */
    return ret;
}

static int run(BlockBackend *blk, Request *r, BlkFastOp op, int64_t offset,
               int64_t bytes, BdrvRequestFlags flags)
{
    int ret = submit(blk, r, op, offset, bytes, flags);

    if (ret != -EINPROGRESS) {
        return ret;
    }
    while (!r->done) {
        aio_poll(qemu_get_aio_context(), true);
    }
    return r->ret;
}

/* Whether a request of one block at @offset goes the fast way, and what it gives. */
static bool goes_fast(BlockBackend *blk, BlkFastOp op, int64_t offset, int *ret)
{
    Request *r = qemu_memalign(FAST_LEAF_ALIGN, sizeof(*r));
    unsigned before = fast_leaf.fast;

    memset(r, 0, sizeof(*r));
    *ret = run(blk, r, op, offset, FAST_LEAF_ALIGN, 0);
    qemu_vfree(r);
    return fast_leaf.fast != before;
}

/* Each graph and its reasons. */
static void test_reasons(void)
{
    static const struct {
        const char *graph;
        uint32_t reasons;
    } graphs[] = {
        { "{\"driver\":\"null-co\"}", 0 },
        { "{\"driver\":\"null-aio\"}", 0 },
        { "{\"driver\":\"null-aio\",\"latency-ns\":1000}", REASON(LATENCY) },
        { "{\"driver\":\"raw\",\"file\":{\"driver\":\"null-co\"}}", 0 },
        { "{\"driver\":\"raw\",\"file\":{\"driver\":\"raw\","
          "\"file\":{\"driver\":\"null-co\"}}}", 0 },
        { RAW, 0 },
        { "{\"driver\":\"raw\",\"detect-zeroes\":\"on\",\"file\":" LEAF "}",
          REASON(DETECT_ZEROES) },
        { "{\"driver\":\"raw\",\"file\":{\"driver\":\"null-co\","
          "\"detect-zeroes\":\"on\"}}", REASON(DETECT_ZEROES) },
        { "{\"driver\":\"copy-on-read\",\"file\":" RAW "}", REASON(FILTER_NODE) },
        { "{\"driver\":\"blkdebug\",\"image\":" RAW "}", REASON(FILTER_NODE) },
        { "{\"driver\":\"raw\",\"file\":{\"driver\":\"blkdebug\",\"image\":"
          LEAF "}}", REASON(FILTER_NODE) },
        { "{\"driver\":\"null-co\",\"latency-ns\":5,\"detect-zeroes\":\"on\"}",
          REASON(LATENCY) | REASON(DETECT_ZEROES) },
    };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(graphs); i++) {
        BlockBackend *blk = fast_leaf_open(graphs[i].graph);

        g_test_message("%s: 0x%x", graphs[i].graph, reasons(blk));
        g_assert_cmphex(reasons(blk), ==, graphs[i].reasons);
        blk_unref(blk);
    }
}

/* Each reason that comes and goes: requests go the ordinary way, and back. */
static void test_reasons_at_run_time(void)
{
    BlockBackend *blk = fast_leaf_open(RAW);
    BlockDriverState *top = blk_bs(blk), *leaf;
    BdrvDirtyBitmap *bitmap;
    ThrottleConfig cfg;
    int ret;

    bdrv_graph_rdlock_main_loop();
    leaf = top->file->bs;
    bdrv_graph_rdunlock_main_loop();

#define CLOSED(reason) do {                                         \
        g_assert_cmphex(reasons(blk), !=, 0);       /* at once */   \
        fast_leaf_settle();                                         \
        g_assert_cmphex(reasons(blk), ==, REASON(reason));          \
        g_assert_false(goes_fast(blk, BLK_FAST_WRITE, 0, &ret));    \
        g_assert_cmpint(ret, ==, 0);                                \
    } while (0)
#define OPEN() do {                                                 \
        fast_leaf_settle();                                         \
        g_assert_cmphex(reasons(blk), ==, 0);                       \
        g_assert_true(goes_fast(blk, BLK_FAST_WRITE, 0, &ret));     \
        g_assert_cmpint(ret, ==, 0);                                \
    } while (0)

    OPEN();
    blk_set_fast_path(blk, false);
    CLOSED(SWITCHED_OFF);
    blk_set_fast_path(blk, true);
    OPEN();

    bitmap = bdrv_create_dirty_bitmap(top, 65536, NULL, &error_abort);
    CLOSED(DIRTY_BITMAP);
    bdrv_release_dirty_bitmap(bitmap);
    OPEN();
    bitmap = bdrv_create_dirty_bitmap(leaf, 65536, NULL, &error_abort);
    CLOSED(DIRTY_BITMAP);
    bdrv_release_dirty_bitmap(bitmap);
    OPEN();

    bdrv_write_threshold_set(leaf, FAST_LEAF_SIZE / 2);
    CLOSED(WRITE_THRESHOLD);
    /* exceeded once, it is gone */
    g_assert_false(goes_fast(blk, BLK_FAST_WRITE, FAST_LEAF_SIZE / 2, &ret));
    OPEN();

    blk_io_limits_enable(blk, "limits");
    throttle_config_init(&cfg);
    cfg.buckets[THROTTLE_OPS_TOTAL].avg = 1000000;
    blk_set_io_limits(blk, &cfg);
    CLOSED(THROTTLED);
    blk_io_limits_disable(blk);
    OPEN();
    blk_unref(blk);
}

/* No request is lost where the path is not for it. */
static void test_not_for_the_path(void)
{
    BlockBackend *blk = fast_leaf_open(RAW);
    Request *r = qemu_memalign(FAST_LEAF_ALIGN, sizeof(*r));
    unsigned before = fast_leaf.fast;
    BdrvFastPath *path = &blk_fast(blk)->path;

    g_assert_cmpuint(path->align, ==, FAST_LEAF_ALIGN);
    memset(r->buf, 1, sizeof(r->buf));
    g_assert_cmpint(run(blk, r, BLK_FAST_WRITE, 512, 512, 0), ==, 0);
    g_assert_cmpint(run(blk, r, BLK_FAST_READ, 4096 + 512, 4096, 0), ==, 0);
    g_assert_cmpint(run(blk, r, BLK_FAST_READ, 0, 0, 0), ==, 0);
    g_assert_cmpint(run(blk, r, BLK_FAST_FLUSH, 0, 0, 0), ==, 0);
    g_assert_cmpint(run(blk, r, BLK_FAST_DISCARD, 0, 4096, 0), ==, 0);
    g_assert_cmpint(run(blk, r, BLK_FAST_WRITE_ZEROES, 0, 4096, 0), ==, 0);
    g_assert_cmpint(run(blk, r, BLK_FAST_READ, -4096, 4096, 0), ==, -EIO);
    g_assert_cmpint(run(blk, r, BLK_FAST_READ, FAST_LEAF_SIZE, 4096, 0), ==, -EIO);
    g_assert_cmpint(run(blk, r, BLK_FAST_READ, FAST_LEAF_SIZE - 4096, 8192, 0),
                    ==, -EIO);
    g_assert_cmpint(run(blk, r, BLK_FAST_READ, INT64_MAX - 4095, 4096, 0),
                    ==, -EIO);
    g_assert_cmpuint(fast_leaf.fast, ==, before);
    /* the last block is for it */
    g_assert_cmpint(run(blk, r, BLK_FAST_READ, FAST_LEAF_SIZE - 4096, 4096, 0),
                    ==, 0);
    g_assert_cmpuint(fast_leaf.fast, ==, before + 1);
    qemu_vfree(r);
    blk_unref(blk);
}

/* What raw adds: requests land behind its offset and stay within its size. */
static void test_raw_window(void)
{
    BlockBackend *blk = fast_leaf_open(
        "{\"driver\":\"raw\",\"offset\":65536,\"size\":131072,\"file\":" LEAF "}");
    Request *r = qemu_memalign(FAST_LEAF_ALIGN, sizeof(*r));
    unsigned before = fast_leaf.fast;

    memset(r->buf, 0xab, sizeof(r->buf));
    g_assert_cmpint(run(blk, r, BLK_FAST_WRITE, 8192, 4096, 0), ==, 0);
    g_assert_cmpuint(fast_leaf.fast, ==, before + 1);
    g_assert_cmphex(fast_leaf.data[65536 + 8191], ==, 0);
    g_assert_cmphex(fast_leaf.data[65536 + 8192], ==, 0xab);
    g_assert_cmphex(fast_leaf.data[65536 + 12287], ==, 0xab);
    g_assert_cmphex(fast_leaf.data[65536 + 12288], ==, 0);
    g_assert_cmpint(run(blk, r, BLK_FAST_WRITE, 131072, 4096, 0), <, 0);
    g_assert_cmphex(fast_leaf.data[65536 + 131072], ==, 0);
    qemu_vfree(r);
    blk_unref(blk);
}

/* Requests that are aligned above the offset of raw are not below. */
static void test_raw_window_unaligned(void)
{
    BlockBackend *blk = fast_leaf_open(
        "{\"driver\":\"raw\",\"offset\":32256,\"file\":" LEAF "}");
    Request *r = qemu_memalign(FAST_LEAF_ALIGN, sizeof(*r));
    unsigned before = fast_leaf.fast;

    memset(r->buf, 0xcd, sizeof(r->buf));
    g_assert_cmpint(run(blk, r, BLK_FAST_WRITE, 4096, 4096, 0), ==, 0);
    g_assert_cmpuint(fast_leaf.fast, ==, before);
    g_assert_cmphex(fast_leaf.data[32256 + 4095], !=, 0xcd);
    g_assert_cmphex(fast_leaf.data[32256 + 4096], ==, 0xcd);
    g_assert_cmphex(fast_leaf.data[32256 + 8191], ==, 0xcd);
    g_assert_cmphex(fast_leaf.data[32256 + 8192], !=, 0xcd);
    qemu_vfree(r);
    blk_unref(blk);
}

/* At once, later, an error, or sent the ordinary way: each once, with its data. */
static void test_answers(void)
{
    BlockBackend *blk = fast_leaf_open(RAW);
    Request *r = qemu_memalign(FAST_LEAF_ALIGN, sizeof(*r));

    memset(fast_leaf.data + 4096, 0x11, 4096);
    g_assert_cmpint(submit(blk, r, BLK_FAST_READ, 4096, 4096, 0), ==, 0);
    g_assert_cmphex(r->buf[4095], ==, 0x11);

    fast_leaf.result = -EIO;
    g_assert_cmpint(submit(blk, r, BLK_FAST_READ, 4096, 4096, 0), ==, -EIO);
    fast_leaf.mode = FAST_LEAF_BOTTOM_HALF;
    g_assert_cmpint(submit(blk, r, BLK_FAST_READ, 4096, 4096, 0), ==, -EINPROGRESS);
    blk_drain(blk);
    g_assert_true(r->done);
    g_assert_cmpint(r->ret, ==, -EIO);
    fast_leaf_settle();

    fast_leaf.result = 0;
    fast_leaf.mode = FAST_LEAF_RETRY;
    memset(r->buf, 0, 4096);
    fast_leaf.ordinary = 0;
    g_assert_cmpint(run(blk, r, BLK_FAST_READ, 4096, 4096, 0), ==, 0);
    g_assert_cmphex(r->buf[4095], ==, 0x11);
    g_assert_cmpuint(fast_leaf.ordinary, ==, 1);
    qemu_vfree(r);
    blk_unref(blk);
}

/* FUA reaches the leaf: asked for, and because the disk has no write cache. */
static void test_fua(void)
{
    BlockBackend *blk = fast_leaf_open(RAW);
    Request *r = qemu_memalign(FAST_LEAF_ALIGN, sizeof(*r));

    memset(r, 0, sizeof(*r));
    run(blk, r, BLK_FAST_WRITE, 0, 4096, 0);
    g_assert_false(fast_leaf.last_flags & BDRV_REQ_FUA);
    run(blk, r, BLK_FAST_WRITE, 0, 4096, BDRV_REQ_FUA);
    g_assert_true(fast_leaf.last_flags & BDRV_REQ_FUA);
    blk_set_enable_write_cache(blk, false);
    fast_leaf_settle();
    run(blk, r, BLK_FAST_WRITE, 0, 4096, 0);
    g_assert_true(fast_leaf.last_flags & BDRV_REQ_FUA);
    qemu_vfree(r);
    blk_unref(blk);
}

/* But for nodes that are not flushed, where it is dropped. */
static void test_fua_without_flush(void)
{
    BlockBackend *blk = fast_leaf_open("{\"driver\":\"raw\",\"cache\":{\"no-flush\":true},"
                                       "\"file\":" LEAF "}");
    Request *r = qemu_memalign(FAST_LEAF_ALIGN, sizeof(*r));
    unsigned before = fast_leaf.fast;

    memset(r, 0, sizeof(*r));
    blk_set_enable_write_cache(blk, false);
    fast_leaf_settle();
    g_assert_cmpint(run(blk, r, BLK_FAST_WRITE, 0, 4096, 0), ==, 0);
    g_assert_cmpuint(fast_leaf.fast, ==, before + 1);
    g_assert_false(fast_leaf.last_flags & BDRV_REQ_FUA);
    g_assert_cmpint(run(blk, r, BLK_FAST_WRITE, 0, 4096, BDRV_REQ_FUA), ==, 0);
    g_assert_cmpuint(fast_leaf.fast, ==, before + 1);
    qemu_vfree(r);
    blk_unref(blk);
}

/* A flush of the ordinary way is not skipped after a fast write. */
static void test_flush_covers_fast_writes(void)
{
    BlockBackend *blk = fast_leaf_open(RAW);
    Request *r = qemu_memalign(FAST_LEAF_ALIGN, sizeof(*r));
    unsigned i;

    memset(r, 0, sizeof(*r));
    for (i = 0; i < 3; i++) {
        unsigned before = fast_leaf.flushes;

        run(blk, r, BLK_FAST_WRITE, 0, 4096, 0);
        blk_flush(blk);
        g_assert_cmpuint(fast_leaf.flushes, ==, before + 1);
        blk_flush(blk);     /* nothing written since */
        g_assert_cmpuint(fast_leaf.flushes, ==, before + 1);
    }
    g_assert_cmpuint(bdrv_queues_wr_highest_offset(&blk_bs(blk)->queues), ==, 4096);
    qemu_vfree(r);
    blk_unref(blk);
}

static void release_bh(void *opaque)
{
    g_assert_true(qatomic_read(&fast_leaf.in_flight));
    fast_leaf_release(0);
}

/* Whichever node is drained, of the chain or the BlockBackend. */
static void test_drain(void)
{
    BlockBackend *blk = fast_leaf_open(RAW);
    Request *r = qemu_memalign(FAST_LEAF_ALIGN, sizeof(*r));
    Request *r2 = qemu_memalign(FAST_LEAF_ALIGN, sizeof(*r2));
    unsigned i;

    memset(r, 0, sizeof(*r));
    memset(r2, 0, sizeof(*r2));
    for (i = 0; i < 4; i++) {
        BlockDriverState *leaf;
        unsigned before;

        bdrv_graph_rdlock_main_loop();
        leaf = blk_bs(blk)->file->bs;
        bdrv_graph_rdunlock_main_loop();
        fast_leaf.mode = FAST_LEAF_HOLD;
        g_assert_cmpint(submit(blk, r, BLK_FAST_WRITE, 0, 4096, 0),
                        ==, -EINPROGRESS);
        aio_bh_schedule_oneshot(qemu_get_aio_context(), release_bh, NULL);
        switch (i) {
        case 0:
            bdrv_drained_begin(leaf);
            break;
        case 1:
            bdrv_drained_begin(blk_bs(blk));
            break;
        case 2:
            bdrv_drain_all_begin();
            break;
        case 3:
            blk_drain(blk);
            break;
        }
        g_assert_true(r->done);
        if (i < 3) {
            /* none starts, at once or from the main loop, until the end */
            g_assert_true(reasons(blk) & REASON(DRAINED));
            fast_leaf.quiet = true;
            before = fast_leaf.ordinary;
            g_assert_cmpint(submit(blk, r2, BLK_FAST_WRITE, 0, 4096, 0),
                            ==, -EINPROGRESS);
            fast_leaf_settle();
            g_assert_false(r2->done);
            g_assert_cmpuint(fast_leaf.ordinary, ==, before);
            fast_leaf.quiet = false;
            switch (i) {
            case 0:
                bdrv_drained_end(leaf);
                break;
            case 1:
                bdrv_drained_end(blk_bs(blk));
                break;
            case 2:
                bdrv_drain_all_end();
                break;
            }
            while (!r2->done) {
                aio_poll(qemu_get_aio_context(), true);
            }
        }
        fast_leaf_settle();
        g_assert_cmphex(reasons(blk), ==, 0);
    }
    qemu_vfree(r2);
    qemu_vfree(r);
    blk_unref(blk);
}

static void retry_held_bh(void *opaque)
{
    fast_leaf_retry();
}

/* A request that the leaf gives back in a drained section is drained all the same. */
static void test_drain_waits_for_retry(void)
{
    BlockBackend *blk = fast_leaf_open(RAW);
    Request *r = qemu_memalign(FAST_LEAF_ALIGN, sizeof(*r));
    static const BlkFastOp ops[] = { BLK_FAST_READ, BLK_FAST_WRITE };
    unsigned i;

    memset(r, 0, sizeof(*r));
    for (i = 0; i < ARRAY_SIZE(ops); i++) {
        memset(r->buf, i, 4096);
        memset(fast_leaf.data, 0x77, 4096);
        fast_leaf.mode = FAST_LEAF_HOLD;
        submit(blk, r, ops[i], 0, 4096, 0);
        aio_bh_schedule_oneshot(qemu_get_aio_context(), retry_held_bh, NULL);
        bdrv_drained_begin(blk_bs(blk));
        g_assert_true(r->done);
        g_assert_cmpint(r->ret, ==, 0);
        g_assert_cmphex(r->buf[4095], ==, fast_leaf.data[4095]);
        g_assert_cmpuint(blk_queues_in_flight(blk), ==, 0);
        bdrv_drained_end(blk_bs(blk));
        fast_leaf_settle();
    }
    qemu_vfree(r);
    blk_unref(blk);
}

/* A bitmap that is added while a fast write is on its way knows of the write. */
static void test_bitmap_added_in_flight(void)
{
    BlockBackend *blk = fast_leaf_open(RAW);
    Request *r = qemu_memalign(FAST_LEAF_ALIGN, sizeof(*r));
    BlockDriverState *leaf;
    BdrvDirtyBitmap *top_bitmap, *leaf_bitmap;

    memset(r, 0, sizeof(*r));
    bdrv_graph_rdlock_main_loop();
    leaf = blk_bs(blk)->file->bs;
    bdrv_graph_rdunlock_main_loop();
    fast_leaf.mode = FAST_LEAF_HOLD;
    submit(blk, r, BLK_FAST_WRITE, 65536, 4096, 0);
    top_bitmap = bdrv_create_dirty_bitmap(blk_bs(blk), 4096, NULL, &error_abort);
    leaf_bitmap = bdrv_create_dirty_bitmap(leaf, 4096, NULL, &error_abort);
    fast_leaf_settle();
    g_assert_cmpint(bdrv_get_dirty_count(top_bitmap), ==, 0);
    fast_leaf_release(0);
    g_assert_true(r->done);
    g_assert_cmpint(bdrv_get_dirty_count(top_bitmap), ==, 4096);
    g_assert_cmpint(bdrv_get_dirty_count(leaf_bitmap), ==, 4096);
    g_assert_true(bdrv_dirty_bitmap_get(leaf_bitmap, 65536));
    bdrv_release_dirty_bitmap(top_bitmap);
    bdrv_release_dirty_bitmap(leaf_bitmap);
    qemu_vfree(r);
    blk_unref(blk);
}

/* A path that changes while a request is on its way changes once that has ended. */
static void test_resize_in_flight(void)
{
    BlockBackend *blk = fast_leaf_open(RAW);
    Request *r = qemu_memalign(FAST_LEAF_ALIGN, sizeof(*r));
    BdrvFastPath *path = &blk_fast(blk)->path;

    memset(r, 0, sizeof(*r));
    g_assert_cmpint(path->length, ==, FAST_LEAF_SIZE);
    fast_leaf.mode = FAST_LEAF_HOLD;
    submit(blk, r, BLK_FAST_WRITE, 65536, 4096, 0);
    aio_bh_schedule_oneshot(qemu_get_aio_context(), release_bh, NULL);
    g_assert_cmpint(blk_truncate(blk, 2 * FAST_LEAF_SIZE, true, PREALLOC_MODE_OFF,
                                 0, &error_abort), ==, 0);
    fast_leaf_settle();
    g_assert_true(r->done);
    g_assert_cmphex(reasons(blk), ==, 0);
    g_assert_cmpint(path->length, ==, 2 * FAST_LEAF_SIZE);
    fast_leaf.mode = FAST_LEAF_AT_ONCE;
    g_assert_cmpint(submit(blk, r, BLK_FAST_WRITE, FAST_LEAF_SIZE, 4096, 0), ==, 0);
    qemu_vfree(r);
    blk_unref(blk);
}

/* So does one that changes without a drain: who is on its way goes on as it was. */
static void test_change_in_flight(void)
{
    BlockBackend *blk = fast_leaf_open(RAW);
    Request *r = qemu_memalign(FAST_LEAF_ALIGN, sizeof(*r));
    BdrvFastPath *path = &blk_fast(blk)->path;

    memset(r, 0, sizeof(*r));
    fast_leaf.mode = FAST_LEAF_HOLD;
    submit(blk, r, BLK_FAST_WRITE, 65536, 4096, 0);
    blk_set_enable_write_cache(blk, false);
    fast_leaf_settle();
    g_assert_cmphex(reasons(blk), ==, REASON(CHANGING));
    g_assert_cmphex(path->write_flags, ==, 0);
    fast_leaf_release(0);
    g_assert_true(r->done);
    fast_leaf_settle();
    g_assert_cmphex(reasons(blk), ==, 0);
    g_assert_cmphex(path->write_flags, ==, BDRV_REQ_FUA);
    qemu_vfree(r);
    blk_unref(blk);
}

/* No writes without permission, or to a read-only node: the path is for reads. */
static void test_read_only(void)
{
    g_autofree char *name = g_strdup("json:" RAW);
    BlockBackend *blk = blk_new_open(name, NULL, NULL, 0, &error_abort);

    fast_leaf_settle();
    g_assert_cmphex(reasons(blk), ==, 0);
    g_assert_true(blk_fast(blk)->path.ops & 1u << BLK_FAST_READ);
    g_assert_false(blk_fast(blk)->path.ops & 1u << BLK_FAST_WRITE);
    blk_unref(blk);
}

/* Requests are counted by way and kind, and while they are in flight. */
static void test_counts(void)
{
    BlockBackend *blk = fast_leaf_open(RAW);
    Request *r = qemu_memalign(FAST_LEAF_ALIGN, sizeof(*r));
    BlkQueue *q;

    memset(r, 0, sizeof(*r));
    run(blk, r, BLK_FAST_READ, 0, 8192, 0);
    run(blk, r, BLK_FAST_READ, 0, 512, 0);
    run(blk, r, BLK_FAST_WRITE, 0, 4096, 0);
    run(blk, r, BLK_FAST_FLUSH, 0, 0, 0);
    q = (BlkQueue *)queue_slot_at(&blk_fast(blk)->queues, aio_home());
    g_assert_cmpuint(q->fast_ops[BLK_FAST_READ], ==, 1);
    g_assert_cmpuint(q->fast_bytes[BLK_FAST_READ], ==, 8192);
    g_assert_cmpuint(q->ordinary_ops[BLK_FAST_READ], ==, 1);
    g_assert_cmpuint(q->ordinary_bytes[BLK_FAST_READ], ==, 512);
    g_assert_cmpuint(q->fast_ops[BLK_FAST_WRITE], ==, 1);
    g_assert_cmpuint(q->ordinary_ops[BLK_FAST_FLUSH], ==, 1);

    fast_leaf.mode = FAST_LEAF_HOLD;
    submit(blk, r, BLK_FAST_READ, 0, 4096, 0);
    g_assert_cmpuint(blk_queues_in_flight(blk), ==, 1);
    g_assert_cmpuint(blk_fast_in_flight(blk), ==, 1);
    fast_leaf_release(0);
    g_assert_cmpuint(blk_queues_in_flight(blk), ==, 0);
    qemu_vfree(r);
    blk_unref(blk);
}

int main(int argc, char **argv)
{
    g_unsetenv("QEMU_FAST_PATH");
    module_call_init(MODULE_INIT_QOM);
    bdrv_init();
    qemu_init_main_loop(&error_abort);
    fast_leaf_register();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fast-path/reasons", test_reasons);
    g_test_add_func("/fast-path/reasons-at-run-time", test_reasons_at_run_time);
    g_test_add_func("/fast-path/not-for-the-path", test_not_for_the_path);
    g_test_add_func("/fast-path/raw-window", test_raw_window);
    g_test_add_func("/fast-path/raw-window-unaligned", test_raw_window_unaligned);
    g_test_add_func("/fast-path/answers", test_answers);
    g_test_add_func("/fast-path/fua", test_fua);
    g_test_add_func("/fast-path/fua-without-flush", test_fua_without_flush);
    g_test_add_func("/fast-path/flush-covers-fast-writes",
                    test_flush_covers_fast_writes);
    g_test_add_func("/fast-path/drain", test_drain);
    g_test_add_func("/fast-path/drain-waits-for-retry",
                    test_drain_waits_for_retry);
    g_test_add_func("/fast-path/bitmap-added-in-flight",
                    test_bitmap_added_in_flight);
    g_test_add_func("/fast-path/resize-in-flight", test_resize_in_flight);
    g_test_add_func("/fast-path/change-in-flight", test_change_in_flight);
    g_test_add_func("/fast-path/read-only", test_read_only);
    g_test_add_func("/fast-path/counts", test_counts);
    return g_test_run();
}
