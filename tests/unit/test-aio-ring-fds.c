/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptors of an event loop that come, go, and are ready at the wrong time.
 */

#include "qemu/osdep.h"
#include <sys/eventfd.h>
#include <sys/resource.h>
#include "ring-world.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"

/* A removed descriptor whose completion is there */

typedef struct Removed {
    AioContext *ctx;
    Source old, reused;
    bool by_other;
} Removed;

static void remove_and_reuse(void *opaque)
{
    Removed *r = opaque;
    int fd = r->old.fd;

    source_close(&r->old);
    source_open(&r->reused, r->ctx);
    g_assert_cmpint(r->reused.fd, ==, fd);
}

/* A bottom half runs when the completion is in the ring, and not yet taken out. */
static void remove_between(void *opaque)
{
    Removed *r = opaque;

    g_assert_true(!has_ring(r->ctx) || aio_ring_ready(r->ctx->loop.ring));
    if (r->by_other) {
        elsewhere(remove_and_reuse, r);
    } else {
        remove_and_reuse(r);
    }
}

static void removed_with_its_completion_there(AioContext *ctx, bool by_other)
{
    Removed r = { .ctx = ctx, .by_other = by_other };
    int i;

    for (i = 0; i < 20; i++) {
        r.old.called = r.reused.called = 0;
        source_open(&r.old, ctx);
        while (aio_poll(ctx, false)) {
            continue;
        }
        source_set(&r.old);
        aio_bh_schedule_oneshot(ctx, remove_between, &r);
        aio_poll(ctx, true);
        while (aio_poll(ctx, false)) {
            continue;
        }
        g_assert_cmpint(r.old.called, ==, 0);
        g_assert_cmpint(r.reused.called, ==, 0);

        source_set(&r.reused);
        poll_until(ctx, r.reused.called);
        g_assert_cmpint(r.old.called, ==, 0);
        source_close(&r.reused);
    }
}

static void removed_by_its_thread_is_not_called(AioContext *ctx)
{
    removed_with_its_completion_there(ctx, false);
}

static void removed_by_another_thread_is_not_called(AioContext *ctx)
{
    removed_with_its_completion_there(ctx, true);
}

static void remove_sibling(Source *s)
{
    source_close(s->opaque);
}

static void ready_together_the_first_removes_the_other(AioContext *ctx)
{
    Source a = { .then = remove_sibling }, b = { .then = remove_sibling };

    a.opaque = &b;
    b.opaque = &a;
    source_open(&a, ctx);
    source_open(&b, ctx);
    source_set(&a);
    source_set(&b);
    poll_until(ctx, a.called + b.called);
    while (aio_poll(ctx, false)) {
        continue;
    }
    g_assert_cmpint(a.called + b.called, ==, 1);
    source_close(a.called ? &a : &b);
}

static void reopen(Source *s)
{
    int fd = s->fd;

    source_close(s);
    source_open(s, s->ctx);
    g_assert_cmpint(s->fd, ==, fd);
    source_set(s);
}

static void a_handler_replaces_itself_under_its_number(AioContext *ctx)
{
    Source s = { .then = reopen };

    source_open(&s, ctx);
    source_set(&s);
    poll_until(ctx, s.called == 1000);
    source_close(&s);
}

static void added_and_removed_before_a_turn_is_nothing(AioContext *ctx)
{
    Source s = { 0 }, other = { 0 };
    int i;

    for (i = 0; i < 1000; i++) {
        source_open(&s, ctx);
        source_set(&s);
        source_close(&s);
    }
    source_open(&other, ctx);
    source_set(&other);
    poll_until(ctx, other.called);
    g_assert_cmpint(s.called, ==, 0);
    g_assert_cmpint(world.warnings, ==, 0);
    source_close(&other);
}

/* The other thread closes it after the loop has made up its mind to watch it. */
static Source *closed_late;

static void close_late(void)
{
    elsewhere((void (*)(void *))source_close, closed_late);
}

static void closed_in_the_last_moment_is_no_mistake(AioContext *ctx)
{
    Source s = { 0 };

    closed_late = &s;
    source_open(&s, ctx);
    world.before_enter = close_late;
    while (aio_poll(ctx, false)) {
        continue;
    }
    g_assert_null(world.before_enter);
    g_assert_cmpint(world.warnings, ==, 0);
}

static void closed_without_removal_harms_no_other(AioContext *ctx)
{
    Source bad = { 0 }, good = { 0 };
    int enters;

    source_open(&bad, ctx);
    close(bad.fd);
    while (aio_poll(ctx, false)) {
        continue;
    }
    source_open(&good, ctx);    /* under the same number */
    source_set(&good);
    poll_until(ctx, good.called);

    bad.called = 0;
    source_close(&good);
    source_open(&bad, ctx);
    close(bad.fd);
    while (aio_poll(ctx, false)) {
        continue;
    }
    enters = world.enters;
    while (aio_poll(ctx, false)) {
        continue;
    }
    g_assert_cmpint(world.enters, ==, enters);      /* it is not asked for again */
    g_assert_cmpint(world.warnings, ==, 1);
    source_remove(&bad);
}

/* Level-triggered */

static void what_is_left_is_announced_again(AioContext *ctx)
{
    Source s = { .leaves = true };
    int i;

    source_open(&s, ctx);
    source_set(&s);
    for (i = 1; i < 100; i++) {
        aio_poll(ctx, true);
        g_assert_cmpint(s.called, ==, i);
    }
    s.leaves = false;
    aio_poll(ctx, true);
    while (aio_poll(ctx, false)) {
        continue;
    }
    g_assert_cmpint(s.called, ==, 100);
    source_close(&s);
}

/* What was taken back before the handler could be called is announced again. */
static void ready_for_two_kinds_is_called_for_both(AioContext *ctx)
{
    int pair[2];
    Source s = { 0 }, out = { 0 };

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), ==, 0);
    s.fd = pair[0];
    out.leaves = true;
    aio_set_fd_handler(ctx, s.fd, NULL, source_read, NULL, NULL, &out);
    poll_until(ctx, out.called == 3);
    g_assert_cmpint(write(pair[1], "x", 1), ==, 1);
    aio_set_fd_handler(ctx, s.fd, source_read, NULL, NULL, NULL, &s);
    s.leaves = true;
    poll_until(ctx, s.called == 3);
    g_assert_cmpint(out.called, ==, 3);
    aio_set_fd_handler(ctx, s.fd, NULL, NULL, NULL, NULL, NULL);
    close(pair[0]);
    close(pair[1]);
}

/* Turns in turns */

typedef struct Three {
    Source source[3];
    AioContext *ctx;
    bool nested;
} Three;

static void wait_for_the_others(Source *s)
{
    Three *t = s->opaque;

    if (!t->nested) {
        t->nested = true;
        poll_until(t->ctx, t->source[0].called && t->source[1].called &&
                           t->source[2].called);
    }
}

static void three_open(Three *t, AioContext *ctx)
{
    int i;

    t->ctx = ctx;
    for (i = 0; i < 3; i++) {
        t->source[i] = (Source) { .then = wait_for_the_others, .opaque = t };
        source_open(&t->source[i], ctx);
    }
    while (aio_poll(ctx, false)) {
        continue;
    }
    for (i = 0; i < 3; i++) {
        source_set(&t->source[i]);
    }
}

static void three_close(Three *t)
{
    int i;

    while (aio_poll(t->ctx, false)) {
        continue;
    }
    for (i = 0; i < 3; i++) {
        g_assert_cmpint(t->source[i].called, ==, 1);
        source_close(&t->source[i]);
    }
}

static void a_turn_in_a_handler_finds_the_others(AioContext *ctx)
{
    Three t = { 0 };

    three_open(&t, ctx);
    aio_poll(ctx, true);
    g_assert_true(t.nested);
    three_close(&t);
}

static void wait_for_all_three(void *opaque)
{
    Three *t = opaque;

    t->nested = true;
    poll_until(t->ctx, t->source[0].called && t->source[1].called &&
                       t->source[2].called);
}

static void a_turn_in_a_bottom_half_finds_descriptors(AioContext *ctx)
{
    Three t = { 0 };

    three_open(&t, ctx);
    aio_bh_schedule_oneshot(ctx, wait_for_all_three, &t);
    aio_poll(ctx, true);
    g_assert_true(t.nested);
    three_close(&t);
}

static void wait_for_two_more(void *opaque)
{
    Three *t = opaque;
    Requests *r = t->ctx->loop.ring->user_opaque;

    r->then = NULL;
    request_nop(t->ctx);
    poll_until(t->ctx, r->done == 4);
    wait_for_all_three(t);
}

static void a_turn_in_a_completion_finds_requests_and_descriptors(AioContext *ctx)
{
    Three t = { 0 };
    Requests r = { .then = wait_for_two_more, .opaque = &t };
    int i;

    requests_init(&r, ctx);
    three_open(&t, ctx);
    for (i = 0; i < 3; i++) {
        request_nop(ctx);
    }
    poll_until(ctx, r.done == 4);
    three_close(&t);
}

static void remove_self_and_turn(Source *s)
{
    source_close(s);
    while (aio_poll(s->ctx, false)) {
        continue;
    }
    /* its memory is the outer turn's still */
    g_assert_cmpint(s->called, ==, 1);
}

static void a_removed_handler_outlives_a_turn_in_it(AioContext *ctx)
{
    int i;

    for (i = 0; i < 100; i++) {
        Source s = { .then = remove_self_and_turn };

        source_open(&s, ctx);
        source_set(&s);
        poll_until(ctx, s.called);
    }
}

/* Many */

static int how_many(void)
{
    struct rlimit limit;

    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return MIN(3000, limit.rlim_max - 100);
}

/* More changes in a turn than the submission queue has entries. */
static Source *many_open(AioContext *ctx, int n)
{
    Source *s = g_new0(Source, n);
    int i;

    for (i = 0; i < n; i++) {
        source_open(&s[i], ctx);
    }
    return s;
}

static bool all_called(Source *s, int n, int times)
{
    int i;

    for (i = 0; i < n; i++) {
        g_assert_cmpint(s[i].called, <=, times);
        if (s[i].called < times) {
            return false;
        }
    }
    return true;
}

/* ... and more completions than the completion queue. */
static void thousands_are_ready_at_once(AioContext *ctx)
{
    int n = how_many(), round, i;
    Source *s = many_open(ctx, n);

    while (aio_poll(ctx, false)) {
        continue;
    }
    for (round = 1; round <= 3; round++) {
        for (i = 0; i < n; i++) {
            source_set(&s[i]);
        }
        poll_until(ctx, all_called(s, n, round));
    }
    for (i = 0; i < n; i++) {
        source_close(&s[i]);
    }
    while (aio_poll(ctx, false)) {
        continue;
    }
    g_assert_true(all_called(s, n, 3));
    g_free(s);
}

static void thousands_are_removed_when_ready(AioContext *ctx)
{
    int n = how_many(), round, i;

    for (round = 0; round < 3; round++) {
        Source *s = many_open(ctx, n);
        Source *again;

        for (i = 0; i < n; i++) {
            source_set(&s[i]);
        }
        if (round > 0) {
            aio_poll(ctx, false);
        }
        for (i = 0; i < n; i++) {
            s[i].called = 0;
            source_close(&s[i]);
        }
        if (round == 2) {
            /* places are free, with completions for them still to come */
            aio_poll(ctx, false);
        }
        again = many_open(ctx, n);
        while (aio_poll(ctx, false)) {
            continue;
        }
        for (i = 0; i < n; i++) {
            g_assert_cmpint(s[i].called, ==, 0);
            g_assert_cmpint(again[i].called, ==, 0);
            source_set(&again[i]);
        }
        poll_until(ctx, all_called(again, n, 1));
        for (i = 0; i < n; i++) {
            source_close(&again[i]);
        }
        g_free(again);
        g_free(s);
    }
}

static void requests_complete_among_thousands(AioContext *ctx)
{
    Requests r = { 0 };
    int n = how_many(), i;
    Source *s = many_open(ctx, n);

    requests_init(&r, ctx);
    for (i = 0; i < n; i++) {
        source_set(&s[i]);
        request_nop(ctx);
    }
    poll_until(ctx, r.done == n && all_called(s, n, 1));
    for (i = 0; i < n; i++) {
        source_close(&s[i]);
    }
    g_free(s);
}

/* The end: a leak checker's business */

static void handlers_may_be_left_at_the_end(AioContext *ctx)
{
    static Source left[4];
    int i;

    memset(left, 0, sizeof(left));
    for (i = 0; i < 4; i++) {
        source_open(&left[i], ctx);
        if (i == 1) {
            while (aio_poll(ctx, false)) {
                continue;
            }
        }
    }
    source_set(&left[0]);
    source_remove(&left[1]);    /* noted by nobody */
    source_remove(&left[2]);
}

#define ADD(test, kinds) world_add("aio-ring-fds", #test, test, kinds)

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    g_test_init(&argc, &argv, NULL);
    ADD(removed_by_its_thread_is_not_called, WITH_ALL);
    ADD(removed_by_another_thread_is_not_called, WITH_ALL);
    ADD(ready_together_the_first_removes_the_other, WITH_ALL);
    ADD(a_handler_replaces_itself_under_its_number, WITH_ALL);
    ADD(added_and_removed_before_a_turn_is_nothing, WITH_ALL);
    ADD(closed_in_the_last_moment_is_no_mistake, 1 << KIND_RING);
    ADD(closed_without_removal_harms_no_other, 1 << KIND_RING);
    ADD(what_is_left_is_announced_again, WITH_ALL);
    ADD(ready_for_two_kinds_is_called_for_both, WITH_ALL);
    ADD(a_turn_in_a_handler_finds_the_others, WITH_ALL);
    ADD(a_turn_in_a_bottom_half_finds_descriptors, WITH_ALL);
    ADD(a_turn_in_a_completion_finds_requests_and_descriptors, WITH_RING);
    ADD(a_removed_handler_outlives_a_turn_in_it, WITH_ALL);
    ADD(thousands_are_ready_at_once, WITH_ALL);
    ADD(thousands_are_removed_when_ready, WITH_ALL);
    ADD(requests_complete_among_thousands, WITH_RING);
    ADD(handlers_may_be_left_at_the_end, WITH_ALL);
    return g_test_run();
}
