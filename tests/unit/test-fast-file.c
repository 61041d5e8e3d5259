/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file leaves of the fast path, on real files: in the current folder, which
 * should be a disk, and in /dev/shm.
 *
 * The system call and functions of liburing are wrapped (see meson.build), to count batches, to make
 * requests fail that no file would, and to stand in for devices that poll.
 */

#include "qemu/osdep.h"
#include "block/block.h"
#include "block/block_int.h"
#include "block/fast-path.h"
#include "block/io-uring.h"
#include "tests/unit/iothread.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "qemu/defer-call.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qemu/units.h"
#include "system/block-backend.h"

#define FILE_SIZE (8 * MiB)
#define BLOCK 4096
#define MAX_REQUESTS 1024
#define MAX_IOV 8

/* Faults and counts */

typedef enum Fault {
    FAULT_NONE,
    FAULT_RESULT,               /* the request answers @fault.result */
    FAULT_SHORT,                /* the request transfers its first half only */
    FAULT_REFUSE,               /* the system call fails with @fault.result */
} Fault;

static struct {
    Fault kind;
    int result;
    int left;                   /* how often, still */
    int after;                  /* as many calls, still, that go well */
    int calls;                  /* of aio_ring_enter() that had requests */
    int entries;
    int dsync;                  /* entries with RWF_DSYNC */
    int fsync;
    int fixed;                  /* entries with IOSQE_FIXED_FILE */
} fault;

/*
 * No device here polls.  A ring with DEFER_TASKRUN stands for a polled one: it too
 * completes nothing until it is entered, and wakes nobody who polls its descriptor.
 */
static unsigned stand_in(unsigned flags)
{
    return flags & IORING_SETUP_IOPOLL
           ? (flags & ~IORING_SETUP_IOPOLL) | IORING_SETUP_SINGLE_ISSUER |
             IORING_SETUP_DEFER_TASKRUN
           : flags;
}

static int setup_error;         /* of rings, if not 0 */

int __real_io_uring_queue_init_params(unsigned entries, struct io_uring *uring,
                                      struct io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *uring,
                                      struct io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *uring,
                                      struct io_uring_params *params)
{
    if (setup_error) {
        return setup_error;
    }
    params->flags = stand_in(params->flags);
    return __real_io_uring_queue_init_params(entries, uring, params);
}

int __real_io_uring_queue_init(unsigned entries, struct io_uring *uring,
                               unsigned flags);
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *uring,
                               unsigned flags);
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *uring,
                               unsigned flags)
{
    return __real_io_uring_queue_init(entries, uring, stand_in(flags));
}

static bool kernel_has_stand_in(void)
{
    struct io_uring uring;

    if (__wrap_io_uring_queue_init(2, &uring, IORING_SETUP_IOPOLL) < 0) {
        return false;
    }
    io_uring_queue_exit(&uring);
    return true;
}

int __real_aio_ring_enter(AioRing *ring, unsigned wait_nr, int64_t timeout);
int __wrap_aio_ring_enter(AioRing *ring, unsigned wait_nr, int64_t timeout);

#ifndef IORING_NOP_INJECT_RESULT
#define IORING_NOP_INJECT_RESULT 1
#endif

static void inject(struct io_uring_sqe *sqe)
{
    if (fault.left == 0) {
        return;
    }
    if (fault.kind == FAULT_SHORT) {
        if (sqe->len == 1) {    /* the rest of a request, one element */
            return;
        }
        sqe->len /= 2;          /* elements, or bytes if it has but one */
    } else {
        uint64_t data = sqe->user_data;

        memset(sqe, 0, sizeof(*sqe));
        sqe->opcode = IORING_OP_NOP;
        sqe->rw_flags = IORING_NOP_INJECT_RESULT;
        sqe->len = fault.result;
        sqe->user_data = data;
    }
    fault.left--;
}

static struct io_uring_sqe *queued(AioRing *ring, unsigned i)
{
    struct io_uring_sq *sq = &ring->uring.sq;
    struct io_uring_sqe *sqe = &sq->sqes[i & *sq->kring_mask];

    return sqe->user_data & LURING_WAY_MASK ? sqe : NULL;
}

int __wrap_aio_ring_enter(AioRing *ring, unsigned wait_nr, int64_t timeout)
{
    unsigned end = ring->uring.sq.sqe_tail, n = 0, i;
    unsigned begin = end - io_uring_sq_ready(&ring->uring);
    struct io_uring_sqe *sqe;

    for (i = begin; i != end; i++) {
        n += queued(ring, i) != NULL;
    }
    if (n && fault.after > 0) {
        fault.after--;
    } else if (fault.kind == FAULT_REFUSE && n && fault.left > 0) {
        fault.left--;
        return fault.result;
    }
    qatomic_add(&fault.calls, n > 0);
    for (i = begin; i != end; i++) {
        sqe = queued(ring, i);
        if (!sqe) {
            continue;
        }
        qatomic_add(&fault.entries, 1);
        qatomic_add(&fault.fsync, sqe->opcode == IORING_OP_FSYNC);
        qatomic_add(&fault.dsync, sqe->opcode == IORING_OP_WRITE &&
                                  sqe->rw_flags == RWF_DSYNC);
        qatomic_add(&fault.fixed, !!(sqe->flags & IOSQE_FIXED_FILE));
        if (fault.kind == FAULT_RESULT || fault.kind == FAULT_SHORT) {
            inject(sqe);
        }
    }
    return __real_aio_ring_enter(ring, wait_nr, timeout);
}

static void fault_set(Fault kind, int result, int times)
{
    memset(&fault, 0, sizeof(fault));
    fault.kind = kind;
    fault.result = result;
    fault.left = times;
}

static bool kernel_injects(void)
{
    struct io_uring uring;
    struct io_uring_cqe *cqe;
    struct io_uring_sqe *sqe;
    int res;

    g_assert_cmpint(io_uring_queue_init(2, &uring, 0), ==, 0);
    sqe = io_uring_get_sqe(&uring);
    io_uring_prep_nop(sqe);
    sqe->rw_flags = IORING_NOP_INJECT_RESULT;
    sqe->len = -EAGAIN;
    io_uring_submit(&uring);
    g_assert_cmpint(io_uring_wait_cqe(&uring, &cqe), ==, 0);
    res = cqe->res;
    io_uring_queue_exit(&uring);
    return res == -EAGAIN;
}

/* A file in a BlockBackend, and IOThreads */

typedef struct Where {
    const char *dir;
    const char *aio;
    bool direct;
    bool polled;
    int64_t poll_ns;            /* of the IOThreads */
} Where;

static const Where wheres[] = {
    { ".", "io_uring", true },
    { ".", "io_uring", false },
    { ".", "io_uring", true, true },
    { ".", "io_uring", true, true, 32768 },
    { ".", "native", true },
    { "/dev/shm", "io_uring", true },
    { "/dev/shm", "io_uring", false },
    { "/dev/shm", "native", true },
};

typedef struct World {
    const Where *where;
    char *path;
    BlockBackend *blk;
    BlkFast *fast;
    IOThread *thread[2];
} World;

typedef void Test(World *w);

static bool uses_ring(World *w)
{
    return !strcmp(w->where->aio, "io_uring") && !strcmp(w->where->dir, ".");
}

/* The path is resolved in a bottom half of the main loop. */
static void wait_resolved(World *w)
{
    do {
        while (aio_poll(qemu_get_aio_context(), false)) {
        }
    } while (qatomic_read(&w->fast->reasons) & (1u << BLK_FAST_CHANGING));
}

static void world_open(World *w)
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

static void world_new(World *w, const Where *where)
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

static void world_free(World *w)
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

static uint64_t fast_ops(World *w, BlkFastOp op)
{
    uint64_t sum = 0;
    BlkQueue *q;
    unsigned home;

    QUEUE_SLOTS_FOREACH(q, &w->fast->queues, home) {
        sum += qatomic_read_u64(&q->fast_ops[op]);
    }
    return sum;
}

static uint64_t ordinary_ops(World *w, BlkFastOp op)
{
    uint64_t sum = 0;
    BlkQueue *q;
    unsigned home;

    QUEUE_SLOTS_FOREACH(q, &w->fast->queues, home) {
        sum += qatomic_read_u64(&q->ordinary_ops[op]);
    }
    return sum;
}

/* Runs in a thread, which the main loop waits for */

typedef struct Call {
    void (*fn)(void *opaque);
    void *opaque;
    bool done;
} Call;

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

static void run_in(World *w, int thread, void (*fn)(void *), void *opaque)
{
    Call call = { .fn = fn, .opaque = opaque };

    start_in(w, thread, &call);
    finish(&call);
}

/* Requests: submitted as one batch, by the thread that calls */

typedef struct Request {
    BlkFastRequest fast;
    QEMUIOVector qiov;
    struct iovec iov[MAX_IOV];
    int ret;
    int done;                   /* how often */
    struct Batch *batch;
} Request;

typedef struct Batch {
    World *w;
    BlkFastOp op;
    BdrvRequestFlags flags;
    int64_t offset;
    int bytes;                  /* of each */
    int n;
    int n_iov;
    size_t misalign;            /* of the buffers */
    uint8_t *buf;
    Request *req;
    int left;
} Batch;

static void request_done(BlkFastRequest *fast, int ret)
{
    Request *req = container_of(fast, Request, fast);

    req->ret = ret;
    req->done++;
    req->batch->left--;
}

static void request_init(Batch *b, int i)
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

static void batch_init(Batch *b)
{
    size_t size = (size_t)b->n * b->bytes + BLOCK;

    b->buf = qemu_memalign(BLOCK, size);
    memset(b->buf, 0xee, size);
    b->req = g_new0(Request, b->n);
}

static void batch_free(Batch *b)
{
    qemu_vfree(b->buf);
    g_free(b->req);
}

static void batch_submit(Batch *b)
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

static void batch_run(void *opaque)
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
static void fill(Batch *b, uint8_t seed)
{
    size_t i;

    for (i = 0; i < (size_t)b->n * b->bytes; i++) {
        uint64_t at = b->offset + i;

        b->buf[b->misalign + i] = at / 512 * 7 + at + seed;
    }
}

static void verify(Batch *b, uint8_t seed, size_t bytes)
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

static void all_are(Batch *b, int ret)
{
    int i;

    for (i = 0; i < b->n; i++) {
        g_assert_cmpint(b->req[i].ret, ==, ret);
    }
}

static void batch_in(int thread, Batch *b)
{
    run_in(b->w, thread, batch_run, b);
}

/*
 * Writes @n times @n_iov blocks at @offset and reads them back, in @thread.
 */
static void write_and_verify(World *w, int thread, int64_t offset, int n,
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

typedef struct Rounds {
    Batch b;
    int rounds;
    uint8_t seed;
} Rounds;

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

typedef struct Load {
    Rounds rounds[2];
    Call call[2];
} Load;

static void load_start(Load *load, World *w)
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

static void load_finish(Load *load)
{
    int i;

    for (i = 0; i < 2; i++) {
        finish(&load->call[i]);
        batch_free(&load->rounds[i].b);
    }
}

static void two_threads_read_what_they_wrote(World *w)
{
    Load load;

    load_start(&load, w);
    load_finish(&load);
    g_assert_cmpint(fast_ops(w, BLK_FAST_WRITE), ==, 2 * 50 * 32);
    g_assert_cmpint(fast_ops(w, BLK_FAST_READ), ==, 2 * 50 * 32);
    g_assert_cmpint(ordinary_ops(w, BLK_FAST_READ), ==, 0);
}

static void more_requests_than_entries(World *w)
{
    write_and_verify(w, 0, 0, MAX_REQUESTS, 1, 3);
    g_assert_cmpint(fast_ops(w, BLK_FAST_WRITE), ==, MAX_REQUESTS);
    if (uses_ring(w)) {
        /* no system call a request: one a batch */
        g_assert_cmpint(fault.entries, ==, 2 * MAX_REQUESTS);
        g_assert_cmpint(fault.calls, <=, 2 * MAX_REQUESTS / LURING_BATCH + 4);
        g_assert_cmpint(fault.fixed, ==, 2 * MAX_REQUESTS);
    }
}

/* The main loop, whose ring any thread with the BQL may use. */
static void the_main_loop_has_a_queue_too(World *w)
{
    Batch b = { .w = w, .op = BLK_FAST_WRITE, .bytes = BLOCK, .n = 300 };

    batch_init(&b);
    fill(&b, 9);
    batch_run(&b);
    all_are(&b, 0);
    b.op = BLK_FAST_READ;
    memset(b.buf, 0, BLOCK * 300);
    batch_run(&b);
    verify(&b, 9, BLOCK * 300);
    g_assert_cmpint(fast_ops(w, BLK_FAST_READ), ==, 300);
    batch_free(&b);
}

static void beyond_the_end_are_zeroes(World *w)
{
    Batch b = { .w = w, .op = BLK_FAST_READ, .bytes = 2 * BLOCK, .n = 3 };
    size_t end = 5 * BLOCK / 2 - 13;    /* within the second request */
    size_t i;

    write_and_verify(w, 0, 0, 6, 1, 4);
    g_assert_cmpint(truncate(w->path, end), ==, 0);
    batch_init(&b);
    batch_in(1, &b);
    all_are(&b, 0);
    verify(&b, 4, end);
    for (i = end; i < 3 * 2 * BLOCK; i++) {
        g_assert_cmpint(b.buf[i], ==, 0);
    }
    batch_free(&b);
}

static void fua_and_flush_reach_the_file(World *w)
{
    Batch b = {
        .w = w, .op = BLK_FAST_WRITE, .flags = BDRV_REQ_FUA, .bytes = BLOCK,
        .n = 4,
    };

    batch_init(&b);
    fill(&b, 1);
    batch_in(0, &b);
    all_are(&b, 0);
    b.op = BLK_FAST_FLUSH;
    b.flags = 0;
    b.n = 2;
    fault.fixed = 0;
    batch_in(0, &b);
    all_are(&b, 0);
    /* the file that a worker looks up is there until it does */
    g_assert_cmpint(fault.fixed, ==, 0);
    g_assert_cmpint(fast_ops(w, BLK_FAST_WRITE), ==, 4);
    g_assert_cmpint(fast_ops(w, BLK_FAST_FLUSH), ==, 2);
    if (uses_ring(w)) {
        g_assert_cmpint(fault.dsync, ==, 4);
        g_assert_cmpint(fault.fsync, ==, 2);
    }
    batch_free(&b);
}

static void misaligned_buffers_work(World *w)
{
    Batch b = {
        .w = w, .op = BLK_FAST_WRITE, .bytes = BLOCK, .n = 8, .misalign = 1,
    };
    bool fast = !w->where->direct || !strcmp(w->where->dir, "/dev/shm");

    batch_init(&b);
    fill(&b, 77);
    batch_in(0, &b);
    all_are(&b, 0);
    memset(b.buf, 0, BLOCK * 9);
    b.op = BLK_FAST_READ;
    batch_in(0, &b);
    all_are(&b, 0);
    verify(&b, 77, BLOCK * 8);
    g_assert_cmpint(fast_ops(w, BLK_FAST_READ), ==, fast ? 8 : 0);
    batch_free(&b);
}

/* Completions that wait for other requests in a nested event loop */

typedef struct Nested {
    Request outer;
    Batch inner;
} Nested;

static void nested_done(BlkFastRequest *fast, int ret)
{
    Nested *n = container_of(fast, Nested, outer.fast);

    g_assert_cmpint(ret, ==, 0);
    n->outer.done++;
    /* most of the inner ones are complete by now, and not seen */
    while (n->inner.left) {
        aio_poll(qemu_get_current_aio_context(), true);
    }
}

static void nested_run(void *opaque)
{
    Nested *n = opaque;
    int ret;

    request_init(&n->inner, 0);
    n->outer = n->inner.req[0];
    n->outer.qiov.iov = n->outer.iov;
    n->outer.fast.qiov = &n->outer.qiov;
    n->outer.fast.cb = nested_done;
    defer_call_begin();
    ret = blk_fast_submit(n->inner.w->blk, &n->outer.fast);
    batch_submit(&n->inner);
    defer_call_end();
    if (ret != -EINPROGRESS) {
        nested_done(&n->outer.fast, ret);
    }
    while (!n->outer.done || n->inner.left) {
        aio_poll(qemu_get_current_aio_context(), true);
    }
    g_assert_cmpint(n->outer.done, ==, 1);
}

static void nested_event_loops_see_the_rest(World *w)
{
    Nested n = {
        .inner = { .w = w, .op = BLK_FAST_READ, .bytes = BLOCK, .n = 64 },
    };
    int i;

    batch_init(&n.inner);
    for (i = 0; i < 20; i++) {
        n.outer.done = 0;
        run_in(w, i % 2, nested_run, &n);
        all_are(&n.inner, 0);
    }
    batch_free(&n.inner);
}

/* An open file cannot be leased for reading while anyone has it open to write. */
static bool somebody_has_it_open(const char *path)
{
    int fd = open(path, O_RDONLY);
    bool refused;

    g_assert_cmpint(fd, >=, 0);
    refused = fcntl(fd, F_SETLEASE, F_RDLCK) < 0;
    close(fd);
    return refused;
}

static void a_closed_file_is_let_go(World *w)
{
    int i;

    for (i = 0; i < 3; i++) {
        write_and_verify(w, 0, 0, 8, 1, i);
        write_and_verify(w, 1, BLOCK * 8, 8, 1, i);
        g_assert_true(somebody_has_it_open(w->path));
        blk_unref(w->blk);
        g_assert_false(somebody_has_it_open(w->path));
        world_open(w);
    }
}

/* Other files come and go, and get the numbers of those that went. */
static void each_file_gets_its_own_data(World *w)
{
    World other[8];
    int i, round;

    for (round = 0; round < 3; round++) {
        for (i = 0; i < ARRAY_SIZE(other); i++) {
            other[i] = *w;
            other[i].path = g_strdup_printf("%s-%d", w->path, i);
            g_assert_true(g_file_set_contents(other[i].path, "", 0, NULL));
            g_assert_cmpint(truncate(other[i].path, FILE_SIZE), ==, 0);
            world_open(&other[i]);
            write_and_verify(&other[i], i % 2, 0, 4, 1, round * 8 + i);
        }
        for (i = 0; i < ARRAY_SIZE(other); i++) {
            Batch b = {
                .w = &other[i], .op = BLK_FAST_READ, .bytes = BLOCK, .n = 4
            };

            batch_init(&b);
            batch_in(!(i % 2), &b);
            verify(&b, round * 8 + i, BLOCK * 4);
            batch_free(&b);
        }
        for (i = 0; i < ARRAY_SIZE(other); i++) {
            blk_unref(other[i].blk);
            unlink(other[i].path);
            g_free(other[i].path);
        }
    }
}

static void files_come_and_go_under_load(World *w)
{
    Load load;

    load_start(&load, w);
    each_file_gets_its_own_data(w);
    load_finish(&load);
    /* a change of the graph drains all: some of them went the ordinary way */
    g_assert_cmpint(fast_ops(w, BLK_FAST_READ) + ordinary_ops(w, BLK_FAST_READ),
                    ==, 2 * 50 * 32);
}

/* With auto-read-only the node opens its file again when somebody is to write. */
static void a_file_opened_again_is_used(World *w)
{
    QDict *options = qdict_new();
    BlockDriverState *bs;
    Batch b = { .w = w, .op = BLK_FAST_READ, .bytes = BLOCK, .n = 4 };

    write_and_verify(w, 0, 0, 4, 1, 50);
    blk_unref(w->blk);
    qdict_put_str(options, "driver", "file");
    qdict_put_str(options, "aio", w->where->aio);
    qdict_put_bool(options, BDRV_OPT_AUTO_READ_ONLY, true);
    qdict_put_bool(options, BDRV_OPT_READ_ONLY, false);
    bs = bdrv_open(w->path, NULL, options,
                   BDRV_O_RDWR | BDRV_O_AUTO_RDONLY |
                   (w->where->direct ? BDRV_O_NOCACHE : 0), &error_abort);
    w->blk = blk_new(qemu_get_aio_context(), BLK_PERM_CONSISTENT_READ,
                     BLK_PERM_ALL);
    blk_insert_bs(w->blk, bs, &error_abort);
    bdrv_unref(bs);
    w->fast = blk_fast(w->blk);
    wait_resolved(w);

    batch_init(&b);
    batch_in(0, &b);
    all_are(&b, 0);
    verify(&b, 50, BLOCK * 4);
    g_assert_cmpint(fast_ops(w, BLK_FAST_READ), ==, 4);
    g_assert_false(somebody_has_it_open(w->path));      /* to write */

    blk_set_perm(w->blk, BLK_PERM_CONSISTENT_READ | BLK_PERM_WRITE, BLK_PERM_ALL,
                 &error_abort);
    wait_resolved(w);
    write_and_verify(w, 0, 0, 4, 1, 51);
    g_assert_cmpint(fast_ops(w, BLK_FAST_WRITE), ==, 4);

    blk_set_perm(w->blk, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL, &error_abort);
    wait_resolved(w);
    g_assert_false(somebody_has_it_open(w->path));
    batch_in(0, &b);
    verify(&b, 51, BLOCK * 4);
    batch_free(&b);
}

static void no_request_is_lost_when(World *w, Fault kind, int result, int times,
                                    int n_iov)
{
    fault_set(kind, result, times);
    write_and_verify(w, 0, 0, 64, n_iov, times);
    g_assert_cmpint(fault.left, ==, 0);
    fault_set(FAULT_NONE, 0, 0);
    write_and_verify(w, 0, 0, 64, 1, 1);
    g_assert_cmpint(blk_fast_in_flight(w->blk), ==, 0);
}

/* More than the queue holds: some wait, while others are under way or none is. */
static void refused_requests_wait(World *w)
{
    static const int times[] = { 1, 300, 1000 };
    int i, after;

    if (!uses_ring(w)) {
        return;
    }
    for (i = 0; i < ARRAY_SIZE(times); i++) {
        for (after = 0; after < 4; after++) {
            fault_set(FAULT_REFUSE, after % 2 ? -EBUSY : -EAGAIN, times[i]);
            fault.after = after;
            write_and_verify(w, 0, 0, MAX_REQUESTS, 1, i + after);
        }
    }
}

static void interrupted_requests_are_made_again(World *w)
{
    static const int errors[] = { -EAGAIN, -EINTR };
    static const int times[] = { 1, 64, 130, 1000 };
    int i, j;

    if (!uses_ring(w)) {
        return;
    }
    for (i = 0; i < ARRAY_SIZE(times); i++) {
        for (j = 0; j < ARRAY_SIZE(errors); j++) {
            if (kernel_injects()) {
                no_request_is_lost_when(w, FAULT_RESULT, errors[j], times[i], 1);
            }
            no_request_is_lost_when(w, FAULT_REFUSE, errors[j], times[i], 1);
        }
    }
}

static void short_transfers_are_completed(World *w)
{
    if (uses_ring(w)) {
        no_request_is_lost_when(w, FAULT_SHORT, 0, 1, 2);
        no_request_is_lost_when(w, FAULT_SHORT, 0, 64, 2);
        no_request_is_lost_when(w, FAULT_SHORT, 0, 200, 8);
    }
}

static void other_errors_are_told(World *w)
{
    Batch b = { .w = w, .op = BLK_FAST_WRITE, .bytes = BLOCK, .n = 8 };

    if (!uses_ring(w) || !kernel_injects()) {
        return;
    }
    batch_init(&b);
    fault_set(FAULT_RESULT, -ENOSPC, 8);
    batch_in(0, &b);
    all_are(&b, -ENOSPC);
    fault_set(FAULT_NONE, 0, 0);
    batch_in(0, &b);
    all_are(&b, 0);
    batch_free(&b);
}

/* The ordinary way, with as many faults as a request can have. */
static void ordinary_requests_survive_the_same(World *w)
{
    blk_set_fast_path(w->blk, false);
    wait_resolved(w);
    interrupted_requests_are_made_again(w);
    short_transfers_are_completed(w);
    refused_requests_wait(w);
    write_and_verify(w, 0, 0, MAX_REQUESTS, 1, 8);
    g_assert_cmpint(fast_ops(w, BLK_FAST_WRITE), ==, 0);
}

static void threads_stay_ordinary(void)
{
    static const Where where = { ".", "threads", false };
    World w;

    world_new(&w, &where);
    g_assert_cmphex(w.fast->reasons, ==, 1u << BLK_FAST_AIO_THREADS);
    write_and_verify(&w, 0, 0, 4, 1, 1);
    g_assert_cmpint(fast_ops(&w, BLK_FAST_WRITE), ==, 0);
    world_free(&w);
}

static void without_a_ring_there_are_threads(void)
{
    World w;

    setup_error = -EPERM;
    world_new(&w, &wheres[0]);
    g_assert_cmphex(w.fast->reasons, ==, 0);    /* no ring was needed yet */
    write_and_verify(&w, 0, 0, 4, 1, 1);
    g_assert_cmpint(fast_ops(&w, BLK_FAST_WRITE), ==, 0);
    wait_resolved(&w);
    g_assert_cmphex(w.fast->reasons, ==, 1u << BLK_FAST_AIO_THREADS);
    world_free(&w);
    setup_error = 0;
}

static void polling_needs_direct_io_uring(void)
{
    static const struct {
        const char *aio;
        int flags;
        const char *error;
    } wrong[] = {
        { "threads", BDRV_O_NOCACHE, "io-uring-iopoll=on requires aio=io_uring" },
        { "native", BDRV_O_NOCACHE, "io-uring-iopoll=on requires aio=io_uring" },
        { "io_uring", 0, "io-uring-iopoll=on requires cache.direct=on" },
    };
    g_autofree char *path = g_strdup("./test-fast-file-XXXXXX");
    int fd = g_mkstemp(path);
    int i;

    for (i = 0; i < ARRAY_SIZE(wrong); i++) {
        QDict *options = qdict_new();
        Error *err = NULL;

        qdict_put_str(options, "driver", "file");
        qdict_put_str(options, "aio", wrong[i].aio);
        qdict_put_bool(options, "io-uring-iopoll", true);
        g_assert_null(blk_new_open(path, NULL, options, wrong[i].flags, &err));
        g_assert_true(g_str_has_prefix(error_get_pretty(err), wrong[i].error));
        error_free(err);
    }
    unlink(path);
    close(fd);
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

static void add(const char *name, Test *test)
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
#define ADD(test) add(#test, test)

int main(int argc, char **argv)
{
    g_unsetenv("QEMU_FAST_PATH");
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    g_test_init(&argc, &argv, NULL);
    ADD(two_threads_read_what_they_wrote);
    ADD(more_requests_than_entries);
    ADD(the_main_loop_has_a_queue_too);
    ADD(beyond_the_end_are_zeroes);
    ADD(fua_and_flush_reach_the_file);
    ADD(misaligned_buffers_work);
    ADD(nested_event_loops_see_the_rest);
    ADD(a_closed_file_is_let_go);
    ADD(each_file_gets_its_own_data);
    ADD(files_come_and_go_under_load);
    ADD(a_file_opened_again_is_used);
    ADD(refused_requests_wait);
    ADD(interrupted_requests_are_made_again);
    ADD(short_transfers_are_completed);
    ADD(other_errors_are_told);
    ADD(ordinary_requests_survive_the_same);
    g_test_add_func("/fast-file/threads_stay_ordinary", threads_stay_ordinary);
    g_test_add_func("/fast-file/without_a_ring_there_are_threads",
                    without_a_ring_there_are_threads);
    g_test_add_func("/fast-file/polling_needs_direct_io_uring",
                    polling_needs_direct_io_uring);
    return g_test_run();
}
