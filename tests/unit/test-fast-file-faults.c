/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file leaves of the fast path: requests that are refused, interrupted, short; and no ring.
 */

#include "qemu/osdep.h"
#include "fast-file-ring.h"
#include "fast-file-world.h"

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

int main(int argc, char **argv)
{
    fast_file_init(&argc, &argv);
    ADD(refused_requests_wait);
    ADD(interrupted_requests_are_made_again);
    ADD(short_transfers_are_completed);
    ADD(other_errors_are_told);
    ADD(ordinary_requests_survive_the_same);
    g_test_add_func("/fast-file/threads_stay_ordinary", threads_stay_ordinary);
    g_test_add_func("/fast-file/without_a_ring_there_are_threads",
                    without_a_ring_there_are_threads);
    return g_test_run();
}
