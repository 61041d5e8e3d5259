/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file in a BlockBackend, IOThreads, and batches of requests.
 */

#include "qemu/osdep.h"
#include "block/block.h"
#include "block/block_int.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "qemu/defer-call.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "fast-file-ring.h"
#include "fast-file-world.h"

const Where wheres[] = {
    { ".", "io_uring", true },
    { ".", "io_uring", false },
    { ".", "io_uring", true, true },
    { ".", "io_uring", true, true, 32768 },
    { ".", "native", true },
    { "/dev/shm", "io_uring", true },
    { "/dev/shm", "io_uring", false },
    { "/dev/shm", "native", true },
};

bool uses_ring(World *w)
{
    return !strcmp(w->where->aio, "io_uring") && !strcmp(w->where->dir, ".");
}

/* The path is resolved in a bottom half of the main loop. */
void wait_resolved(World *w)
{
    do {
        while (aio_poll(qemu_get_aio_context(), false)) {
        }
    } while (qatomic_read(&w->fast->reasons) & (1u << BLK_FAST_CHANGING));
}

void world_open(World *w)
{
    QDict *options = qdict_new();

    qdict_put_str(options, "driver", "file");
    qdict_put_str(options, "aio", w->where->aio);
    qdict_put_bool(options, "io-uring-iopoll", w->where->polled);
    w->blk = blk_new_open(w->path, NULL, options,
                          BDRV_O_RDWR | (w->where->direct ? BDRV_O_NOCACHE : 0),
                          &error_abort);
    w->fast = blk_fast(w->blk);
    blk_set_allow_write_beyond_eof(w->blk, false);
    wait_resolved(w);
}

void world_new(World *w, const Where *where)
{
    int fd, i;

    memset(w, 0, sizeof(*w));
    w->where = where;
    w->path = g_strdup_printf("%s/test-fast-file-XXXXXX", where->dir);
    fd = g_mkstemp(w->path);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, FILE_SIZE), ==, 0);
    close(fd);
    world_open(w);
    for (i = 0; i < ARRAY_SIZE(w->thread); i++) {
        w->thread[i] = iothread_new();
        aio_context_set_poll_params(iothread_get_aio_context(w->thread[i]),
                                    where->poll_ns, 0, 0, &error_abort);
    }
    fault_set(FAULT_NONE, 0, 0);
}

void world_free(World *w)
{
    int i;

    for (i = 0; i < ARRAY_SIZE(w->thread); i++) {
        if (w->thread[i]) {
            iothread_join(w->thread[i]);
        }
    }
    blk_unref(w->blk);
    unlink(w->path);
    g_free(w->path);
}

uint64_t fast_ops(World *w, BlkFastOp op)
{
    BlkQueue *q;

    return QUEUE_SLOTS_SUM(q, &w->fast->queues,
                           qatomic_read_u64(&q->fast_ops[op]));
}

uint64_t ordinary_ops(World *w, BlkFastOp op)
{
    BlkQueue *q;

    return QUEUE_SLOTS_SUM(q, &w->fast->queues,
                           qatomic_read_u64(&q->ordinary_ops[op]));
}

/* Runs in a thread, which the main loop waits for */

static void call_bh(void *opaque)
{
    Call *call = opaque;

    call->fn(call->opaque);
    qatomic_store_release(&call->done, true);
    aio_wait_kick();
}

static void start_in(World *w, int thread, Call *call)
{
    aio_bh_schedule_oneshot(iothread_get_aio_context(w->thread[thread]),
                            call_bh, call);
}

static void finish(Call *call)
{
    AIO_WAIT_WHILE_UNLOCKED(NULL, !qatomic_load_acquire(&call->done));
}

void run_in(World *w, int thread, void (*fn)(void *), void *opaque)
{
    Call call = { .fn = fn, .opaque = opaque };

    start_in(w, thread, &call);
    finish(&call);
}

/* Requests: submitted as one batch, by the thread that calls */

static void request_done(BlkFastRequest *fast, int ret)
{
    Request *req = container_of(fast, Request, fast);

    req->ret = ret;
    req->done++;
    req->batch->left--;
}

void request_init(Batch *b, int i)
{
    Request *req = &b->req[i];
    uint8_t *buf = b->buf + b->misalign + (size_t)i * b->bytes;
    int n_iov = MAX(b->n_iov, 1), element = b->bytes / n_iov, j;

    memset(req, 0, sizeof(*req));
    req->batch = b;
    for (j = 0; j < n_iov; j++) {
        req->iov[j] = (struct iovec) { buf + j * element, element };
    }
    qemu_iovec_init_external(&req->qiov, req->iov, n_iov);
    req->fast = (BlkFastRequest) {
        .op = b->op,
        .flags = b->flags,
        .offset = b->offset + (int64_t)i * b->bytes,
        .bytes = b->op == BLK_FAST_FLUSH ? 0 : b->bytes,
        .qiov = b->op == BLK_FAST_FLUSH ? NULL : &req->qiov,
        .cb = request_done,
    };
}

void batch_init(Batch *b)
{
    size_t size = (size_t)b->n * b->bytes + BLOCK;

    b->buf = qemu_memalign(BLOCK, size);
    memset(b->buf, 0xee, size);
    b->req = g_new0(Request, b->n);
}

void batch_free(Batch *b)
{
    qemu_vfree(b->buf);
    g_free(b->req);
}

void batch_submit(Batch *b)
{
    int i;

    b->left = b->n;
    defer_call_begin();
    for (i = 0; i < b->n; i++) {
        int ret;

        request_init(b, i);
        ret = blk_fast_submit(b->w->blk, &b->req[i].fast);
        if (ret != -EINPROGRESS) {
            g_assert_cmpint(b->req[i].done, ==, 0);
            request_done(&b->req[i].fast, ret);
        }
    }
    defer_call_end();
}

void batch_run(void *opaque)
{
    Batch *b = opaque;
    int i;

    batch_submit(b);
    while (b->left) {
        aio_poll(qemu_get_current_aio_context(), true);
    }
    for (i = 0; i < b->n; i++) {
        g_assert_cmpint(b->req[i].done, ==, 1);
    }
}

/* The pattern of each byte tells its offset in blocks, and the writer. */
void fill(Batch *b, uint8_t seed)
{
    size_t i;

    for (i = 0; i < (size_t)b->n * b->bytes; i++) {
        uint64_t at = b->offset + i;

        b->buf[b->misalign + i] = at / 512 * 7 + at + seed;
    }
}

void verify(Batch *b, uint8_t seed, size_t bytes)
{
    size_t i;

    for (i = 0; i < bytes; i++) {
        uint64_t at = b->offset + i;
        uint8_t want = at / 512 * 7 + at + seed;

        if (b->buf[b->misalign + i] != want) {
            g_error("offset %" PRIu64 ": read 0x%x, wrote 0x%x", at,
                    b->buf[b->misalign + i], want);
        }
    }
}

void all_are(Batch *b, int ret)
{
    int i;

    for (i = 0; i < b->n; i++) {
        g_assert_cmpint(b->req[i].ret, ==, ret);
    }
}

void batch_in(int thread, Batch *b)
{
    run_in(b->w, thread, batch_run, b);
}

void write_and_verify(World *w, int thread, int64_t offset, int n,
                             int n_iov, uint8_t seed)
{
    Batch b = {
        .w = w, .op = BLK_FAST_WRITE, .offset = offset, .bytes = n_iov * BLOCK,
        .n = n, .n_iov = n_iov,
    };

    batch_init(&b);
    fill(&b, seed);
    batch_in(thread, &b);
    all_are(&b, 0);
    memset(b.buf, 0, (size_t)n * b.bytes);
    b.op = BLK_FAST_READ;
    batch_in(thread, &b);
    all_are(&b, 0);
    verify(&b, seed, (size_t)n * b.bytes);
    batch_free(&b);
}

/* Two threads at a time */

static void rounds_run(void *opaque)
{
    Rounds *r = opaque;
    int i;

    for (i = 0; i < r->rounds; i++) {
        r->b.op = BLK_FAST_WRITE;
        fill(&r->b, r->seed + i);
        batch_run(&r->b);
        all_are(&r->b, 0);
        memset(r->b.buf, 0, (size_t)r->b.n * r->b.bytes);
        r->b.op = BLK_FAST_READ;
        batch_run(&r->b);
        all_are(&r->b, 0);
        verify(&r->b, r->seed + i, (size_t)r->b.n * r->b.bytes);
    }
}

void load_start(Load *load, World *w)
{
    int i;

    for (i = 0; i < 2; i++) {
        Rounds *r = &load->rounds[i];

        *r = (Rounds) {
            .b = { .w = w, .offset = i * FILE_SIZE / 2, .bytes = BLOCK * (i + 1),
                   .n = 32, .n_iov = i + 1 },
            .rounds = 50,
            .seed = i * 100,
        };
        batch_init(&r->b);
        load->call[i] = (Call) { .fn = rounds_run, .opaque = r };
        start_in(w, i, &load->call[i]);
    }
}

void load_finish(Load *load)
{
    int i;

    for (i = 0; i < 2; i++) {
        finish(&load->call[i]);
        batch_free(&load->rounds[i].b);
    }
}

/* Each test in each place */

typedef struct Case {
    const Where *where;
    Test *test;
} Case;

static void run_case(gconstpointer data)
{
    const Case *c = data;
    World w;

    world_new(&w, c->where);
    g_assert_cmphex(w.fast->reasons, ==, 0);
    c->test(&w);
    world_free(&w);
}

void test_everywhere(const char *name, Test *test)
{
    int i;

    for (i = 0; i < ARRAY_SIZE(wheres); i++) {
        g_autofree char *path =
            g_strdup_printf("/fast-file/%s/%s/%s-%s%s%s", name, wheres[i].aio,
                            strcmp(wheres[i].dir, ".") ? "memory" : "disk",
                            wheres[i].direct ? "direct" : "cached",
                            wheres[i].polled ? "-polled" : "",
                            wheres[i].poll_ns ? "-by-thread" : "");
        Case *c;

        if (wheres[i].polled && !kernel_has_stand_in()) {
            continue;
        }
        c = g_new(Case, 1);
        *c = (Case) { &wheres[i], test };
        g_test_add_data_func_full(path, c, run_case, g_free);
    }
}

void fast_file_init(int *argc, char ***argv)
{
    g_unsetenv("QEMU_FAST_PATH");
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    g_test_init(argc, argv, NULL);
}
