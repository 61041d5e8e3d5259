/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The poll modes of an event loop: who is asked, who is not kept waiting, and when
 * the thread sleeps.
 */

#include "qemu/osdep.h"
#include "ring-world.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"

#define POLL_MAX_NS 32768

static void drain(AioContext *ctx)
{
    while (aio_poll(ctx, false)) {
        continue;
    }
}

static void count(void *opaque)
{
    ++*(int *)opaque;
}

/* As the event loop finds a virtqueue: it has been kicked, and takes part. */
static void queue_start(Queue *q, AioContext *ctx)
{
    queue_open(q, ctx);
    drain(ctx);
    queue_add(q);
    poll_until(ctx, queue_is_empty(q));
}

static const struct {
    AioPollMode mode;
    int64_t max_ns;
} modes[] = {
    { AIO_POLL_ADAPTIVE, 0 },
    { AIO_POLL_ADAPTIVE, POLL_MAX_NS },
    { AIO_POLL_ADAPTIVE, 10 * SCALE_MS },
    { AIO_POLL_BUSY, 0 },
    { AIO_POLL_BUSY, POLL_MAX_NS },
    { AIO_POLL_OFF, POLL_MAX_NS },
};

static void set_mode(AioContext *ctx, int i)
{
    aio_context_set_poll_mode(ctx, modes[i].mode);
    aio_context_set_poll_params(ctx, modes[i].max_ns, 0, 0, &error_abort);
}

/* Nobody starves */

typedef struct Fair {
    AioContext *ctx;
    Source source;              /* set by another thread */
    int bh, timer;
    Requests requests;
    bool has_requests;
} Fair;

static void *fair_thread(void *opaque)
{
    Fair *f = opaque;

    source_set(&f->source);
    aio_bh_schedule_oneshot(f->ctx, count, &f->bh);
    return NULL;
}

/* While something always happens that never gives the thread a pause. */
static void all_are_called(AioContext *ctx)
{
    int i;

    for (i = 0; i < ARRAY_SIZE(modes); i++) {
        Fair f = { .ctx = ctx, .has_requests = has_ring(ctx) };
        QEMUTimer *timer = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS, count,
                                         &f.timer);
        QemuThread thread;
        int turns = 0;

        set_mode(ctx, i);
        source_open(&f.source, ctx);
        if (f.has_requests) {
            requests_init(&f.requests, ctx);
        }
        for (turns = 0; turns < 100; turns++) {
            aio_poll(ctx, true);
        }
        qemu_thread_create(&thread, "fair", fair_thread, &f, QEMU_THREAD_JOINABLE);
        timer_mod(timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + SCALE_MS);
        if (f.has_requests) {
            request_nop(ctx);
        }
        poll_until(ctx, f.source.called && f.bh && f.timer &&
                        (f.requests.done || !f.has_requests));
        qemu_thread_join(&thread);

        /* what this thread sets waits for a few turns only */
        source_set(&f.source);
        for (turns = 0; turns < 20; turns++) {
            aio_poll(ctx, true);
        }
        g_assert_cmpint(f.source.called, ==, 2);
        source_close(&f.source);
        timer_free(timer);
    }
}

static void refill(void *opaque)
{
    queue_add(opaque);
}

static void a_queue_that_is_never_empty_starves_nobody(AioContext *ctx)
{
    Queue q = { 0 };

    aio_context_set_poll_params(ctx, POLL_MAX_NS, 0, 0, &error_abort);
    queue_start(&q, ctx);
    q.then = refill;
    q.opaque = &q;
    queue_add(&q);
    all_are_called(ctx);
    queue_close(&q);
}

/* Each descriptor has a poll function, and one is not polled yet. */
static void a_new_queue_is_heard_beside_it(AioContext *ctx)
{
    int i;

    for (i = 0; i < ARRAY_SIZE(modes); i++) {
        Queue always = { 0 }, new = { 0 };
        int turns;

        set_mode(ctx, i);
        queue_start(&always, ctx);
        always.then = refill;
        always.opaque = &always;
        queue_add(&always);
        for (turns = 0; turns < 10; turns++) {
            aio_poll(ctx, true);
        }
        queue_open(&new, ctx);
        queue_add(&new);
        g_assert_cmpint(new.kicks, ==, 1);
        for (turns = 0; turns < 30; turns++) {
            aio_poll(ctx, true);
        }
        g_assert_true(queue_is_empty(&new));
        queue_close(&new);
        queue_close(&always);
    }
}

static void reschedule(void *opaque)
{
    QEMUBH **bh = opaque;

    qemu_bh_schedule(*bh);
}

static void a_bottom_half_that_returns_starves_nobody(AioContext *ctx)
{
    Queue q = { 0 };
    QEMUBH *bh = aio_bh_new(ctx, reschedule, &bh);

    queue_start(&q, ctx);
    qemu_bh_schedule(bh);
    all_are_called(ctx);
    qemu_bh_delete(bh);
    queue_close(&q);
}

static void again(void *opaque)
{
    request_nop(opaque);
}

static void requests_without_end_starve_nobody(AioContext *ctx)
{
    Requests r = { .then = again, .opaque = ctx };
    Source s = { 0 };
    int bh = 0, timer_called = 0, i;
    QEMUTimer *timer = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS, count,
                                     &timer_called);

    requests_init(&r, ctx);
    source_open(&s, ctx);
    request_nop(ctx);
    for (i = 0; i < ARRAY_SIZE(modes); i++) {
        set_mode(ctx, i);
        s.called = bh = timer_called = 0;
        source_set(&s);
        aio_bh_schedule_oneshot(ctx, count, &bh);
        timer_mod(timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + SCALE_MS);
        poll_until(ctx, s.called && bh && timer_called);
    }
    r.then = NULL;
    poll_until(ctx, !ctx->loop.ring->in_flight);
    source_close(&s);
    timer_free(timer);
}

/* Sleep */

static void a_busy_thread_never_sleeps_with_a_source(AioContext *ctx)
{
    Queue q = { 0 };
    QEMUTimer *timer;
    uint64_t sleeps;
    int called = 0, waits, i;

    queue_start(&q, ctx);
    aio_context_set_poll_mode(ctx, AIO_POLL_BUSY);
    drain(ctx);
    sleeps = ctx->loop.counters.sleeps;
    waits = world.waits + world.asides;
    timer = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS, count, &called);
    for (i = 0; i < 10; i++) {
        timer_mod(timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + SCALE_MS);
        queue_add(&q);
        poll_until(ctx, called == i + 1);
    }
    g_assert_true(queue_is_empty(&q));
    g_assert_cmpint(ctx->loop.counters.sleeps, ==, sleeps);
    g_assert_cmpint(world.waits + world.asides, ==, waits);
    g_assert_cmpint(q.begun, ==, q.ended + 1);

    /* ... and sleeps as soon as it has none */
    queue_close(&q);
    do {                        /* it may be due before the thread gets so far */
        called = 0;
        timer_mod(timer,
                  qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + 50 * SCALE_MS);
        poll_until(ctx, called);
    } while (ctx->loop.counters.sleeps == sleeps);
    g_assert_cmpint(world.waits + world.asides, >, waits);
    timer_free(timer);
}

static void a_busy_thread_waits_awake_for_requests(AioContext *ctx)
{
    Requests r = { 0 };
    Source s = { 0 };
    uint64_t value, sleeps;
    int called = 0;
    QEMUTimer *timer = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS, count,
                                     &called);

    requests_init(&r, ctx);
    source_open(&s, ctx);
    source_remove(&s);
    aio_context_set_poll_mode(ctx, AIO_POLL_BUSY);
    drain(ctx);
    request_read(ctx, s.fd, &value);
    sleeps = ctx->loop.counters.sleeps;
    timer_mod(timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + SCALE_MS);
    poll_until(ctx, called);
    source_set(&s);
    poll_until(ctx, r.done);
    g_assert_cmpint(ctx->loop.counters.sleeps, ==, sleeps);
    close(s.fd);
    timer_free(timer);
}

typedef struct Caller {
    AioContext *ctx;
    int called;                 /* atomic */
} Caller;

#define CALLS 500

static void caller_called(void *opaque)
{
    qatomic_inc(&((Caller *)opaque)->called);
}

static void *caller_thread(void *opaque)
{
    Caller *c = opaque;
    int i;

    for (i = 0; i < CALLS; i++) {
        aio_bh_schedule_oneshot(c->ctx, caller_called, c);
        while (qatomic_read(&c->called) == i) {
            sched_yield();
        }
    }
    return NULL;
}

/* The loop's own notifier has never been set, and takes no part in polling. */
static void bottom_halves_end_polling(AioContext *ctx)
{
    Caller c = { .ctx = ctx };
    Queue q = { 0 };
    QemuThread thread;

    queue_start(&q, ctx);
    aio_context_set_poll_mode(ctx, AIO_POLL_BUSY);
    drain(ctx);
    qemu_thread_create(&thread, "caller", caller_thread, &c, QEMU_THREAD_JOINABLE);
    poll_until(ctx, qatomic_read(&c.called) == CALLS);
    qemu_thread_join(&thread);
    queue_close(&q);
}

/* No announcement is lost */

static void *producer_thread(void *opaque)
{
    Queue *q = opaque;
    int i, spins;

    for (i = 0; i < 20000; i++) {
        queue_add(q);
        for (spins = 0; !queue_is_empty(q); spins++) {
            cpu_relax();
            /* or, where there is one CPU, each takes a time slice */
            if (i % 16 == 0 || spins > 10000) {
                sched_yield();
            }
        }
    }
    aio_notify(q->ctx);
    return NULL;
}

typedef struct Switcher {
    AioContext *ctx;
    int stop;
    unsigned switched;
} Switcher;

static void *switcher_thread(void *opaque)
{
    Switcher *s = opaque;
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);

    while (!qatomic_read(&s->stop)) {
        set_mode(s->ctx, g_rand_int_range(rand, 0, ARRAY_SIZE(modes)));
        s->switched++;
        g_usleep(g_rand_int_range(rand, 1, 200));
    }
    return NULL;
}

static void no_event_is_lost_when_the_mode_changes(AioContext *ctx)
{
    Queue q = { 0 };
    Switcher s = { .ctx = ctx };
    QemuThread producer, switcher;

    queue_open(&q, ctx);
    qemu_thread_create(&producer, "producer", producer_thread, &q,
                       QEMU_THREAD_JOINABLE);
    qemu_thread_create(&switcher, "switcher", switcher_thread, &s,
                       QEMU_THREAD_JOINABLE);
    poll_until(ctx, qatomic_read(&q.used) == 20000);
    qatomic_set(&s.stop, true);
    qemu_thread_join(&producer);
    qemu_thread_join(&switcher);
    g_assert_cmpuint(s.switched, >, 10);

    set_mode(ctx, ARRAY_SIZE(modes) - 1);
    aio_bh_schedule_oneshot(ctx, count, &s.stop);
    drain(ctx);
    when_asleep((void (*)(void *))aio_notify, ctx);
    aio_poll(ctx, true);
    when_asleep_end();
    g_assert_cmpuint(q.begun, ==, q.ended);
    queue_close(&q);
}

/* Handlers that run turns of their own */

static void sleep_a_little(void *opaque)
{
    AioContext *ctx = opaque;
    int called = 0;
    QEMUTimer *timer = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS, count,
                                     &called);

    timer_mod(timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + SCALE_MS);
    poll_until(ctx, called);
    timer_free(timer);
}

static void off_then_sleep(void *opaque)
{
    AioContext *ctx = opaque;

    aio_context_set_poll_mode(ctx, AIO_POLL_OFF);
    sleep_a_little(ctx);
}

static void nothing_is_lost_after_a_turn_in_a_poll_handler(AioContext *ctx)
{
    Queue q = { 0 };

    queue_start(&q, ctx);
    aio_context_set_poll_mode(ctx, AIO_POLL_BUSY);
    sleep_a_little(ctx);        /* now it is polled */
    g_assert_cmpuint(q.begun, ==, q.ended + 1);

    q.then = off_then_sleep;
    q.opaque = ctx;
    queue_add(&q);
    poll_until(ctx, queue_is_empty(&q));
    q.then = NULL;
    g_assert_cmpuint(q.begun, ==, q.ended);
    when_asleep((void (*)(void *))queue_add, &q);
    poll_until(ctx, q.avail == 3 && queue_is_empty(&q));
    when_asleep_end();
    queue_close(&q);
}

/* Something came while the handler ran, and it did not see it. */
static void add_off_then_sleep(void *opaque)
{
    Queue *q = opaque;

    q->then = NULL;
    queue_add(q);
    off_then_sleep(q->ctx);
}

static void what_came_during_a_poll_handler_is_found(AioContext *ctx)
{
    Queue q = { 0 };

    queue_start(&q, ctx);
    aio_context_set_poll_mode(ctx, AIO_POLL_BUSY);
    sleep_a_little(ctx);

    q.then = add_off_then_sleep;
    q.opaque = &q;
    queue_add(&q);
    poll_until(ctx, q.avail == 3 && queue_is_empty(&q));
    g_assert_cmpuint(q.begun, ==, q.ended);
    queue_close(&q);
}

typedef struct Pair {
    AioContext *ctx;
    Queue q[2];
    bool nested, blocking;
} Pair;

static void wait_for_both(void *opaque)
{
    Pair *p = opaque;

    if (p->nested) {
        return;
    }
    p->nested = true;
    aio_context_set_poll_mode(p->ctx, AIO_POLL_OFF);
    while (!queue_is_empty(&p->q[0]) || !queue_is_empty(&p->q[1])) {
        aio_poll(p->ctx, p->blocking);
    }
}

static void pair_of_queues(AioContext *ctx, bool blocking)
{
    Pair p = { .ctx = ctx, .blocking = blocking };
    int i;

    for (i = 0; i < 2; i++) {
        queue_start(&p.q[i], ctx);
        p.q[i].then = wait_for_both;
        p.q[i].opaque = &p;
    }
    p.nested = true;
    aio_context_set_poll_mode(ctx, AIO_POLL_BUSY);
    sleep_a_little(ctx);
    p.nested = false;
    for (i = 0; i < 2; i++) {
        g_assert_cmpuint(p.q[i].begun, ==, p.q[i].ended + 1);
        queue_add(&p.q[i]);
    }
    /* both are found by the last look before the thread would sleep */
    aio_context_set_poll_mode(ctx, AIO_POLL_OFF);
    aio_notify_accept(ctx);
    poll_until(ctx, p.nested);
    g_assert_true(queue_is_empty(&p.q[0]) && queue_is_empty(&p.q[1]));
    queue_close(&p.q[0]);
    queue_close(&p.q[1]);
}

static void a_turn_in_a_poll_handler_finds_the_other(AioContext *ctx)
{
    pair_of_queues(ctx, true);
}

static void a_turn_that_does_not_wait_finds_it_too(AioContext *ctx)
{
    pair_of_queues(ctx, false);
}

/* Counters */

static void counters_count(AioContext *ctx)
{
    AioLoopCounters *c = &ctx->loop.counters, was;
    Queue q = { 0 };
    Source s = { 0 };
    Requests r = { 0 };
    int called = 0, i;
    QEMUTimer *timer = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS, count,
                                     &called);

    requests_init(&r, ctx);
    source_open(&s, ctx);
    queue_start(&q, ctx);
    aio_context_set_poll_mode(ctx, AIO_POLL_BUSY);
    drain(ctx);
    sleep_a_little(ctx);

    was = *c;
    for (i = 0; i < 10; i++) {
        queue_add(&q);
        aio_poll(ctx, true);
    }
    g_assert_true(queue_is_empty(&q));
    g_assert_cmpint(c->polled, ==, was.polled + 10);
    g_assert_cmpint(c->polls_hit, ==, was.polls_hit + 10);
    g_assert_cmpint(c->polls_vain, ==, was.polls_vain);
    g_assert_cmpint(c->descriptors, ==, was.descriptors);
    g_assert_cmpint(c->requests, ==, was.requests);

    was = *c;
    timer_mod(timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + 200 * SCALE_MS);
    drain(ctx);
    poll_until(ctx, called);
    g_assert_cmpint(c->polls_vain, ==, was.polls_vain + 1);
    g_assert_cmpint(c->timers, ==, was.timers + 1);
    g_assert_cmpint(c->sleeps, ==, was.sleeps);

    was = *c;
    source_set(&s);
    poll_until(ctx, s.called);
    g_assert_cmpint(c->descriptors, ==, was.descriptors + 1);

    was = *c;
    for (i = 0; i < 5; i++) {
        request_nop(ctx);
    }
    poll_until(ctx, r.done == 5);
    g_assert_cmpint(c->requests, ==, was.requests + 5);

    called = 0;
    was = *c;
    aio_bh_schedule_oneshot(ctx, count, &called);
    aio_bh_schedule_oneshot(ctx, count, &called);
    poll_until(ctx, called == 2);
    g_assert_cmpint(c->bottom_halves, ==, was.bottom_halves + 1);

    queue_close(&q);
    source_close(&s);
    aio_context_set_poll_mode(ctx, AIO_POLL_OFF);
    drain(ctx);
    was = *c;
    i = world.enters + world.asides;
    timer_mod(timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + 100 * SCALE_US);
    called = 0;
    poll_until(ctx, called);
    /* the notifier may have been set by timer_mod(): then again */
    g_assert_cmpint(c->sleeps, >=, was.sleeps);
    g_assert_cmpint(c->syscalls - was.syscalls, ==, world.enters + world.asides - i);
    timer_free(timer);
}

#define ADD(test, kinds) world_add("aio-ring-modes", #test, test, kinds)

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    g_test_init(&argc, &argv, NULL);
    ADD(a_queue_that_is_never_empty_starves_nobody, WITH_ALL);
    ADD(a_new_queue_is_heard_beside_it, WITH_ALL);
    ADD(a_bottom_half_that_returns_starves_nobody, WITH_ALL);
    ADD(requests_without_end_starve_nobody, WITH_RING);
    ADD(a_busy_thread_never_sleeps_with_a_source, WITH_ALL);
    ADD(a_busy_thread_waits_awake_for_requests, WITH_RING);
    ADD(bottom_halves_end_polling, WITH_ALL);
    ADD(no_event_is_lost_when_the_mode_changes, WITH_ALL);
    ADD(nothing_is_lost_after_a_turn_in_a_poll_handler, WITH_ALL);
    ADD(what_came_during_a_poll_handler_is_found, WITH_ALL);
    ADD(a_turn_in_a_poll_handler_finds_the_other, WITH_ALL);
    ADD(a_turn_that_does_not_wait_finds_it_too, WITH_ALL);
    ADD(counters_count, WITH_RING);
    return g_test_run();
}
