/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * glib comes to run an IOThread's AioContext, as iothread_get_g_main_context() has
 * it: in the middle of what is going on, and in turns with aio_poll().
 */

#include "qemu/osdep.h"
#include "ring-world.h"
#include "qemu/lockcnt.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"

#define glib_until(condition)                               \
    do {                                                    \
        while (!(condition)) {                              \
            g_main_context_iteration(world_glib, true);     \
        }                                                   \
    } while (0)

static void count(void *opaque)
{
    ++*(int *)opaque;
}

static void drain(AioContext *ctx)
{
    while (aio_poll(ctx, false)) {
        continue;
    }
}

/* Descriptors of before, in between, and after. */
static void glib_sees_every_descriptor(AioContext *ctx)
{
    Source s[4] = { 0 };
    int i;

    source_open(&s[0], ctx);
    source_open(&s[1], ctx);
    drain(ctx);
    source_remove(&s[1]);       /* not noted by the ring */
    source_open(&s[2], ctx);    /* nor this */
    for (i = 0; i < 3; i++) {
        source_set(&s[i]);
    }
    glib_until(s[0].called && s[2].called);
    g_assert_false(has_ring(ctx));
    source_open(&s[3], ctx);
    source_set(&s[3]);
    glib_until(s[3].called);
    g_assert_cmpint(s[1].called, ==, 0);
    close(s[1].fd);
    source_close(&s[0]);
    source_close(&s[2]);
    source_close(&s[3]);
}

static void turns_of_both_kinds_alternate(AioContext *ctx)
{
    Source s = { 0 };
    int bh = 0, timer_called = 0, i;
    QEMUTimer *timer = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS, count,
                                     &timer_called);

    for (i = 1; i <= 100; i++) {
        bool glib = i % 3 == 0;

        source_open(&s, ctx);
        source_set(&s);
        aio_bh_schedule_oneshot(ctx, count, &bh);
        timer_mod(timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + 10 * SCALE_US);
        while (s.called < i || bh < i || timer_called < i) {
            if (glib) {
                g_main_context_iteration(world_glib, true);
            } else {
                aio_poll(ctx, true);
            }
        }
        source_close(&s);
    }
    timer_free(timer);
}

static void set_source(void *opaque)
{
    g_usleep(10000);
    source_set(opaque);
}

static void requests_under_way_are_completed(AioContext *ctx)
{
    Requests r = { 0 };
    Source s[8] = { 0 };
    uint64_t value[8];
    int i;

    requests_init(&r, ctx);
    for (i = 0; i < 8; i++) {
        source_open(&s[i], ctx);
        source_remove(&s[i]);
    }
    drain(ctx);
    for (i = 0; i < 4; i++) {
        request_read(ctx, s[i].fd, &value[i]);
    }
    drain(ctx);
    source_set(&s[0]);          /* completed before, and not taken out */
    request_read(ctx, s[4].fd, &value[4]);      /* queued, not submitted */
    g_main_context_iteration(world_glib, false);
    g_assert_false(has_ring(ctx));

    source_set(&s[1]);
    source_set(&s[4]);
    glib_until(r.done == 3);
    when_asleep(set_source, &s[2]);
    poll_until(ctx, r.done == 4);
    when_asleep_end();

    request_read(ctx, s[5].fd, &value[5]);      /* submitted by glib's turns */
    source_set(&s[5]);
    glib_until(r.done == 5);
    source_set(&s[3]);
    glib_until(r.done == 6);
    g_assert_cmpint(ctx->loop.ring->in_flight, ==, 0);
    for (i = 0; i < 8; i++) {
        close(s[i].fd);
    }
}

/* The watched descriptors are let go of: their files close with them. */
static void the_ring_holds_no_files_afterwards(AioContext *ctx)
{
    Source s = { 0 };
    int pair[2];

    g_assert_cmpint(pipe(pair), ==, 0);
    aio_set_fd_handler(ctx, pair[0], source_read, NULL, NULL, NULL, &s);
    drain(ctx);
    g_main_context_iteration(world_glib, false);
    aio_set_fd_handler(ctx, pair[0], NULL, NULL, NULL, NULL, NULL);
    drain(ctx);
    close(pair[0]);
    signal(SIGPIPE, SIG_IGN);
    g_assert_cmpint(write(pair[1], "x", 1), ==, -1);
    g_assert_cmpint(errno, ==, EPIPE);
    close(pair[1]);
}

/* A polled queue is to announce itself to glib. */
static void polling_ends_when_glib_comes(AioContext *ctx)
{
    Queue q = { 0 };
    int called = 0;
    QEMUTimer *timer = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS, count,
                                     &called);

    queue_open(&q, ctx);
    drain(ctx);
    queue_add(&q);
    poll_until(ctx, queue_is_empty(&q));
    aio_context_set_poll_mode(ctx, AIO_POLL_BUSY);
    timer_mod(timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + SCALE_MS);
    poll_until(ctx, called);
    g_assert_cmpuint(q.begun, ==, q.ended + 1);

    queue_add(&q);              /* without a kick */
    g_assert_cmpuint(q.kicks, ==, 1);
    glib_until(queue_is_empty(&q));
    g_assert_cmpuint(q.begun, ==, q.ended);
    queue_add(&q);
    g_assert_cmpuint(q.kicks, ==, 2);
    glib_until(queue_is_empty(&q));
    queue_close(&q);
    timer_free(timer);
}

typedef struct Gone {
    AioContext *ctx;
    int fd, called, ended;
} Gone;

static bool gone_poll(void *opaque)
{
    return false;
}

static void gone_remove(void *opaque)
{
    Gone *g = opaque;

    aio_set_fd_handler(g->ctx, g->fd, NULL, NULL, NULL, NULL, NULL);
}

static void gone_end(void *opaque)
{
    Gone *g = opaque;

    g->ended++;
    elsewhere(gone_remove, g);
    g_assert_cmpuint(qemu_lockcnt_count(&g->ctx->list_lock), >, 0);
}

static void gone_read(void *opaque)
{
    Gone *g = opaque;
    Source s = { .fd = g->fd };

    g->called++;
    source_clear(&s);
}

/* Another thread removes a handler that glib has just to be told of. */
static void handlers_may_go_when_glib_comes(AioContext *ctx)
{
    Source s = { 0 };
    Gone g = { .ctx = ctx };

    source_open(&s, ctx);
    g.fd = s.fd;
    aio_set_fd_handler(ctx, g.fd, gone_read, NULL, gone_poll, gone_read, &g);
    aio_set_fd_poll(ctx, g.fd, NULL, gone_end);
    source_set(&s);
    poll_until(ctx, g.called);
    aio_context_set_poll_mode(ctx, AIO_POLL_BUSY);
    aio_poll(ctx, true);
    g_assert_true(ctx->poll_started);
    g_main_context_iteration(world_glib, false);
    g_assert_cmpint(g.ended, ==, 1);
    g_main_context_iteration(world_glib, false);
    close(s.fd);
}

/* In a handler of aio_poll(), which has more to call afterwards. */
static void let_glib_run(Source *s)
{
    Source *other = s->opaque;

    if (!other->called) {
        glib_until(other->called);
    }
}

static void glib_may_run_in_a_turn(AioContext *ctx)
{
    Source a = { .then = let_glib_run }, b = { .then = let_glib_run };

    a.opaque = &b;
    b.opaque = &a;
    source_open(&a, ctx);
    source_open(&b, ctx);
    drain(ctx);
    source_set(&a);
    source_set(&b);
    poll_until(ctx, a.called && b.called);
    drain(ctx);
    g_assert_cmpint(a.called, ==, 1);
    g_assert_cmpint(b.called, ==, 1);
    source_close(&a);
    source_close(&b);
}

static void handlers_may_be_left_with_glib(AioContext *ctx)
{
    static Source left[3];
    int i;

    memset(left, 0, sizeof(left));
    for (i = 0; i < 3; i++) {
        source_open(&left[i], ctx);
    }
    drain(ctx);
    source_remove(&left[1]);
    g_main_context_iteration(world_glib, false);
    source_remove(&left[2]);
}

#define ADD(test, kinds) world_add("aio-ring-glib", #test, test, kinds)

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    g_test_init(&argc, &argv, NULL);
    ADD(glib_sees_every_descriptor, WITH_ALL);
    ADD(turns_of_both_kinds_alternate, WITH_ALL);
    ADD(requests_under_way_are_completed, WITH_RING);
    ADD(the_ring_holds_no_files_afterwards, WITH_ALL);
    ADD(polling_ends_when_glib_comes, WITH_ALL);
    ADD(handlers_may_go_when_glib_comes, WITH_ALL);
    ADD(glib_may_run_in_a_turn, WITH_ALL);
    ADD(handlers_may_be_left_with_glib, WITH_ALL);
    return g_test_run();
}
