/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file leaves of the fast path: what is written is read, by the ring and in batches.
 */

#include "qemu/osdep.h"
#include "block/io-uring.h"
#include "qemu/defer-call.h"
#include "fast-file-ring.h"
#include "fast-file-world.h"

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

int main(int argc, char **argv)
{
    fast_file_init(&argc, &argv);
    ADD(two_threads_read_what_they_wrote);
    ADD(more_requests_than_entries);
    ADD(the_main_loop_has_a_queue_too);
    ADD(beyond_the_end_are_zeroes);
    ADD(fua_and_flush_reach_the_file);
    ADD(misaligned_buffers_work);
    ADD(nested_event_loops_see_the_rest);
    return g_test_run();
}
