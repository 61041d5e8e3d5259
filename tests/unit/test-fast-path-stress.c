/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Verified load from several IOThreads on one BlockBackend, while the main loop
 * drains it, throttles it, adds dirty bitmaps, resizes it, moves it, and so on,
 * one after the other at random.  Nothing is lost, doubled or stale, and requests
 * take both ways.  Meant for thread sanitizer too.
 *
 * MQ_STRESS_SECONDS: how long (4).  MQ_STRESS_SEED: what is done when; printed.
 */

#include "qemu/osdep.h"
#include "block/dirty-bitmap.h"
#include "block/throttle-groups.h"
#include "block/write-threshold.h"
#include "fast-leaf.h"
#include "tests/unit/iothread.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qemu/module.h"
#include "qemu/option.h"
#include "qemu/units.h"
#include "system/block-backend.h"

#define RAW "{\"driver\":\"raw\",\"file\":{\"driver\":\"fast-leaf\"}}"

#define BLOCK   FAST_LEAF_ALIGN
#define WORKERS 3               /* with blocks of their own; one more meddles */
#define BLOCKS  64              /* of each worker */
#define DEPTH   4

/* The middle of each block is written by the meddler, whatever else is there. */
#define MEDDLE_AT   2048
#define MEDDLE_SIZE 512

typedef struct Worker Worker;

typedef struct {
    BlkFastRequest fast;
    QEMUIOVector qiov;
    uint8_t *buf;
    Worker *worker;
    unsigned block;
    bool pending;
} Slot;

struct Worker {
    AioContext *ctx;
    IOThread *iothread;
    unsigned index;
    bool meddler;
    GRand *rand;
    Slot slot[DEPTH];
    bool busy[BLOCKS];
    uint64_t version[BLOCKS];   /* atomic: of the last write that is complete */
    unsigned long requests;
    unsigned pending;
    int stopped;                /* atomic */
};

static BlockBackend *blk;
static Worker workers[WORKERS + 1];
static int stop;                /* atomic */

static uint64_t pattern(Worker *w, unsigned block, uint64_t version)
{
    return version << 32 | w->index << 16 | block;
}

static void fill(Slot *s, uint64_t version)
{
    uint64_t *words = (uint64_t *)s->buf;
    unsigned i;

    for (i = 0; i < BLOCK / sizeof(*words); i++) {
        words[i] = pattern(s->worker, s->block, version);
    }
}

static void verify(Worker *w, unsigned block, const void *buf)
{
    const uint64_t *words = buf;
    uint64_t version = w->version[block];
    uint64_t expected = version ? pattern(w, block, version) : 0;
    unsigned i;

    for (i = 0; i < BLOCK / sizeof(*words); i++) {
        unsigned at = i * sizeof(*words);

        if (at >= MEDDLE_AT && at < MEDDLE_AT + MEDDLE_SIZE) {
            continue;
        }
        if (words[i] != expected) {
            g_error("worker %u, block %u, byte %u: 0x%" PRIx64 ", not 0x%" PRIx64,
                    w->index, block, at, words[i], expected);
        }
    }
}

static void slot_next(Slot *s);

static void slot_answered(Slot *s, int ret)
{
    Worker *w = s->worker;

    g_assert_cmpint(ret, ==, 0);
    g_assert_true(s->pending);
    s->pending = false;
    w->pending--;
    w->requests++;
    if (w->meddler) {
        return;
    }
    w->busy[s->block] = false;
    if (s->fast.op == BLK_FAST_WRITE) {
        qatomic_set(&w->version[s->block], w->version[s->block] + 1);
    } else if (s->fast.op == BLK_FAST_READ) {
        verify(w, s->block, s->buf);
    }
}

static void slot_done(BlkFastRequest *fast, int ret)
{
    Slot *s = container_of(fast, Slot, fast);

    slot_answered(s, ret);
    slot_next(s);
}

static bool slot_submit(Slot *s)
{
    Worker *w = s->worker;
    unsigned kind = g_rand_int_range(w->rand, 0, 32);
    int ret;

    do {
        s->block = g_rand_int_range(w->rand, 0, BLOCKS);
    } while (w->busy[s->block]);

    s->fast = (BlkFastRequest) {
        .op = kind == 0 ? BLK_FAST_FLUSH
            : kind < 16 || w->meddler ? BLK_FAST_WRITE : BLK_FAST_READ,
        .offset = (int64_t)(w->index * BLOCKS + s->block) * BLOCK,
        .bytes = BLOCK,
        .qiov = &s->qiov,
        .cb = slot_done,
    };
    if (w->meddler) {
        unsigned other = g_rand_int_range(w->rand, 0, WORKERS);

        s->fast.op = BLK_FAST_WRITE;
        s->fast.offset = (int64_t)(other * BLOCKS + s->block) * BLOCK + MEDDLE_AT;
        s->fast.bytes = MEDDLE_SIZE;
    } else {
        w->busy[s->block] = true;
        if (s->fast.op == BLK_FAST_WRITE) {
            fill(s, w->version[s->block] + 1);
        } else if (s->fast.op == BLK_FAST_FLUSH) {
            s->fast.qiov = NULL;
        }
    }
    qemu_iovec_init_buf(&s->qiov, s->buf, s->fast.bytes);
    s->pending = true;
    w->pending++;
    ret = blk_fast_submit(blk, &s->fast);
    if (ret == -EINPROGRESS) {
        return false;
    }
    slot_answered(s, ret);
    return true;
}

static void slot_bh(void *opaque)
{
    slot_next(opaque);
}

static void worker_stopped(Worker *w)
{
    if (w->pending == 0) {
        qatomic_store_release(&w->stopped, 1);
    }
}

static void slot_next(Slot *s)
{
    Worker *w = s->worker;
    unsigned n;

    for (n = 0; n < 16; n++) {
        if (qatomic_read(&stop)) {
            worker_stopped(w);
            return;
        }
        if (w->meddler && n) {
            break;              /* now and then, not all the time */
        }
        if (!slot_submit(s)) {
            return;
        }
    }
    /* the leaf answers at once: let the event loop run, too */
    aio_bh_schedule_oneshot(w->ctx, slot_bh, s);
}

static void worker_start_bh(void *opaque)
{
    Worker *w = opaque;
    unsigned i;

    for (i = 0; i < (w->meddler ? 1 : DEPTH); i++) {
        slot_next(&w->slot[i]);
    }
}

static void worker_init(Worker *w, unsigned index, uint32_t seed)
{
    unsigned i;

    w->index = index;
    w->meddler = index == WORKERS;
    w->rand = g_rand_new_with_seed(seed + index);
    w->iothread = iothread_new();
    w->ctx = iothread_get_aio_context(w->iothread);
    for (i = 0; i < DEPTH; i++) {
        w->slot[i].worker = w;
        w->slot[i].buf = qemu_memalign(BLOCK, BLOCK);
        memset(w->slot[i].buf, 0xee, BLOCK);
    }
}

/* Lets the load run for a while, and with it the main loop. */
static void meanwhile(GRand *rand)
{
    int64_t until = g_get_monotonic_time() + g_rand_int_range(rand, 0, 3000);

    do {
        while (aio_poll(qemu_get_aio_context(), false)) {
        }
        g_usleep(20);
    } while (g_get_monotonic_time() < until);
}

static BlockDriverState *leaf_node(void)
{
    GRAPH_RDLOCK_GUARD_MAINLOOP();
    return blk_bs(blk)->file->bs;
}

static void do_drain(GRand *rand)
{
    BlockDriverState *bs = g_rand_boolean(rand) ? leaf_node() : blk_bs(blk);

    bdrv_drained_begin(bs);
    g_assert_cmpuint(qatomic_read(&fast_leaf.in_flight), ==, 0);
    qatomic_set(&fast_leaf.quiet, true);
    meanwhile(rand);
    qatomic_set(&fast_leaf.quiet, false);
    bdrv_drained_end(bs);
}

static void do_drain_all(GRand *rand)
{
    bdrv_drain_all_begin();
    g_assert_cmpuint(qatomic_read(&fast_leaf.in_flight), ==, 0);
    bdrv_drain_all_end();
}

static void do_throttle(GRand *rand)
{
    ThrottleConfig cfg;

    blk_io_limits_enable(blk, "limits");
    throttle_config_init(&cfg);
    cfg.buckets[THROTTLE_OPS_TOTAL].avg = 1000000;
    blk_set_io_limits(blk, &cfg);
    meanwhile(rand);
    blk_io_limits_disable(blk);
}

/*
 * Every block that was written since the bitmap was there is dirty in it.  Of the
 * first write that we see complete, all but telling us may have been before.
 */
static void do_bitmap(GRand *rand)
{
    g_autofree uint64_t *before = g_new(uint64_t, WORKERS * BLOCKS);
    BlockDriverState *bs = g_rand_boolean(rand) ? leaf_node() : blk_bs(blk);
    BdrvDirtyBitmap *bitmap = bdrv_create_dirty_bitmap(bs, BLOCK, NULL,
                                                       &error_abort);
    unsigned i, j;

    for (i = 0; i < WORKERS; i++) {
        for (j = 0; j < BLOCKS; j++) {
            before[i * BLOCKS + j] = qatomic_read(&workers[i].version[j]);
        }
    }
    meanwhile(rand);
    bdrv_drained_begin(bs);
    for (i = 0; i < WORKERS; i++) {
        for (j = 0; j < BLOCKS; j++) {
            int64_t block = i * BLOCKS + j;

            if (qatomic_read(&workers[i].version[j]) > before[block] + 1) {
                g_assert_true(bdrv_dirty_bitmap_get(bitmap, block * BLOCK));
            }
        }
    }
    bdrv_drained_end(bs);
    bdrv_release_dirty_bitmap(bitmap);
}

static void do_threshold(GRand *rand)
{
    bdrv_write_threshold_set(leaf_node(), BLOCKS * BLOCK);
    meanwhile(rand);
    bdrv_write_threshold_set(leaf_node(), 0);
}

static void do_switch(GRand *rand)
{
    blk_set_fast_path(blk, false);
    meanwhile(rand);
    blk_set_fast_path(blk, true);
}

static void do_resize(GRand *rand)
{
    int64_t size = FAST_LEAF_SIZE + g_rand_int_range(rand, 0, 2) * FAST_LEAF_SIZE / 2;

    g_assert_cmpint(blk_truncate(blk, size, true, PREALLOC_MODE_OFF, 0,
                                 &error_abort), ==, 0);
}

static void do_move(GRand *rand)
{
    unsigned to = g_rand_int_range(rand, 0, WORKERS + 1);
    AioContext *ctx = to < WORKERS ? workers[to].ctx : qemu_get_aio_context();

    blk_set_aio_context(blk, ctx, &error_abort);
}

static void do_write_cache(GRand *rand)
{
    blk_set_enable_write_cache(blk, false);
    meanwhile(rand);
    blk_set_enable_write_cache(blk, true);
}

static void do_flush(GRand *rand)
{
    g_assert_cmpint(blk_flush(blk), ==, 0);
}

static void (*const deeds[])(GRand *rand) = {
    do_drain, do_drain_all, do_throttle, do_bitmap, do_threshold, do_switch,
    do_resize, do_move, do_write_cache, do_flush,
};

static void test_stress(void)
{
    const char *seed_text = getenv("MQ_STRESS_SEED");
    const char *time_text = getenv("MQ_STRESS_SECONDS");
    uint32_t seed = seed_text ? strtoul(seed_text, NULL, 0) : g_random_int();
    double seconds = time_text ? g_ascii_strtod(time_text, NULL) : 4;
    int64_t end = g_get_monotonic_time() + seconds * G_USEC_PER_SEC;
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    unsigned long requests = 0, done[ARRAY_SIZE(deeds)] = {};
    unsigned i, j;

    g_test_message("MQ_STRESS_SEED=0x%x", seed);
    blk = fast_leaf_open(RAW);
    qatomic_set(&fast_leaf.mode, FAST_LEAF_MIXED);
    for (i = 0; i < ARRAY_SIZE(workers); i++) {
        worker_init(&workers[i], i, seed);
    }
    for (i = 0; i < ARRAY_SIZE(workers); i++) {
        aio_bh_schedule_oneshot(workers[i].ctx, worker_start_bh, &workers[i]);
    }
    while (g_get_monotonic_time() < end ||
           qatomic_read(&fast_leaf.fast) <= 100 ||
           qatomic_read(&fast_leaf.ordinary) <= 100) {
        i = g_rand_int_range(rand, 0, ARRAY_SIZE(deeds));
        deeds[i](rand);
        done[i]++;
        meanwhile(rand);
    }
    qatomic_set(&stop, 1);
    for (i = 0; i < ARRAY_SIZE(workers); i++) {
        while (!qatomic_load_acquire(&workers[i].stopped)) {
            aio_poll(qemu_get_aio_context(), false);
            g_usleep(50);
        }
    }
    blk_set_aio_context(blk, qemu_get_aio_context(), &error_abort);
    for (i = 0; i < ARRAY_SIZE(workers); i++) {
        iothread_join(workers[i].iothread);
        requests += workers[i].requests;
        for (j = 0; j < DEPTH; j++) {
            qemu_vfree(workers[i].slot[j].buf);
        }
        g_rand_free(workers[i].rand);
    }
    for (i = 0; i < WORKERS; i++) {
        for (j = 0; j < BLOCKS; j++) {
            verify(&workers[i], j, fast_leaf.data + (i * BLOCKS + j) * BLOCK);
        }
    }
    g_test_message("%lu requests: %u fast, %u ordinary ones in the driver; "
                   "drained %lu, throttled %lu, bitmaps %lu", requests,
                   fast_leaf.fast, fast_leaf.ordinary, done[0] + done[1], done[2],
                   done[3]);
    g_assert_cmpuint(fast_leaf.fast, >, 100);
    g_assert_cmpuint(fast_leaf.ordinary, >, 100);
    blk_unref(blk);
}

/*
 * The one moment, over and over: the path is closed while a thread submits as
 * fast as it can.  Once none is in flight none may reach the leaf.
 */
static __thread unsigned dawdle;

unsigned __wrap_aio_home(void);
unsigned __real_aio_home(void);

/* Where a request has looked whether the path is open, and not yet been counted. */
unsigned __wrap_aio_home(void)
{
    unsigned spin;

    if (dawdle) {
        dawdle = (dawdle + 1) % 4096 + 1;
        for (spin = dawdle; spin; spin--) {
            barrier();
        }
    }
    return __real_aio_home();
}

static int closer_stop;         /* atomic */
static int closer_stopped;      /* atomic */

static int ordinary_ones;       /* in the IOThread alone */

static void ordinary_one(BlkFastRequest *req, int ret)
{
    ordinary_ones--;
}

static void submit_all_the_time(void *opaque)
{
    static uint8_t buf[BLOCK] QEMU_ALIGNED(BLOCK);
    static BlkFastRequest req;
    QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, BLOCK);

    dawdle = 1;
    while (!qatomic_read(&closer_stop)) {
        while (qatomic_read(&blk_fast(blk)->reasons)) {
            /* the ordinary way is not what is looked at here */
        }
        req = (BlkFastRequest) {
            .op = BLK_FAST_READ, .bytes = BLOCK, .qiov = &qiov,
            .cb = ordinary_one,
        };
        if (blk_fast_submit(blk, &req) == -EINPROGRESS) {
            /* closed in between */
            ordinary_ones++;
            while (ordinary_ones) {
                aio_poll(qemu_get_current_aio_context(), true);
            }
        }
    }
    dawdle = 0;
    qatomic_store_release(&closer_stopped, 1);
}

static void test_closed_is_closed(void)
{
    IOThread *iothread = iothread_new();
    int64_t end = g_get_monotonic_time() + G_USEC_PER_SEC;
    unsigned long closed = 0;
    unsigned spin;

    blk = fast_leaf_open(RAW);
    aio_bh_schedule_oneshot(iothread_get_aio_context(iothread),
                            submit_all_the_time, NULL);
    while (g_get_monotonic_time() < end || !qatomic_read(&fast_leaf.fast)) {
        blk_fast_changed(blk);
        asymmetric_barrier_heavy();
        while (blk_fast_in_flight(blk)) {
        }
        qatomic_set(&fast_leaf.quiet, true);
        for (spin = 0; spin < 1000; spin++) {
            barrier();
        }
        qatomic_set(&fast_leaf.quiet, false);
        fast_leaf_settle();
        for (spin = closed++ % 1000; spin; spin--) {
            barrier();
        }
    }
    qatomic_set(&closer_stop, 1);
    while (!qatomic_load_acquire(&closer_stopped)) {
        aio_poll(qemu_get_aio_context(), false);
    }
    iothread_join(iothread);
    g_test_message("closed %lu times, %u requests", closed, fast_leaf.fast);
    g_assert_cmpuint(fast_leaf.fast, >, 0);
    blk_unref(blk);
}

/*
 * A BlockBackend that goes as soon as its last request has ended, in another
 * thread: nothing of it is touched afterwards.  For the sanitizers.
 */
static QemuSemaphore submitted;

static void submit_bh(void *opaque)
{
    blk_fast_submit(blk, opaque);
    qemu_sem_post(&submitted);
}

static void one_request_done(BlkFastRequest *req, int ret)
{
    g_assert_cmpint(ret, ==, 0);
}

static void test_gone_after_drain(void)
{
    IOThread *iothread = iothread_new();
    int64_t end = g_get_monotonic_time() + G_USEC_PER_SEC;
    unsigned long times = 0;

    qemu_sem_init(&submitted, 0);
    while (g_get_monotonic_time() < end) {
        uint8_t *buf = qemu_memalign(BLOCK, BLOCK);
        QEMUIOVector qiov = QEMU_IOVEC_INIT_BUF(qiov, buf, BLOCK);
        BlkFastRequest req = {
            .op = BLK_FAST_READ, .bytes = BLOCK, .qiov = &qiov,
            .cb = one_request_done,
        };

        blk = fast_leaf_open(RAW);
        qatomic_set(&fast_leaf.mode, FAST_LEAF_BOTTOM_HALF);
        aio_bh_schedule_oneshot(iothread_get_aio_context(iothread), submit_bh,
                                &req);
        qemu_sem_wait(&submitted);
        blk_unref(blk);
        qemu_vfree(buf);
        times++;
    }
    iothread_join(iothread);
    qemu_sem_destroy(&submitted);
    g_test_message("%lu times", times);
}

int main(int argc, char **argv)
{
    g_unsetenv("QEMU_FAST_PATH");
    module_call_init(MODULE_INIT_QOM);
    bdrv_init();
    qemu_init_main_loop(&error_abort);
    fast_leaf_register();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fast-path/closed-is-closed", test_closed_is_closed);
    g_test_add_func("/fast-path/gone-after-drain", test_gone_after_drain);
    g_test_add_func("/fast-path/stress", test_stress);
    return g_test_run();
}
