/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How an event loop's thread sleeps: as long as it may, no longer, and unseen.
 */

#include "qemu/osdep.h"
#include <signal.h>
#include "ring-world.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"

static void drain(AioContext *ctx)
{
    while (aio_poll(ctx, false)) {
        continue;
    }
}

/* Timers */

static void timer_called(void *opaque)
{
    ++*(int *)opaque;
}

static QEMUTimer *timer_start(AioContext *ctx, int64_t ns, int *called)
{
    QEMUTimer *timer = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS,
                                     timer_called, called);

    timer_mod(timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + ns);
    return timer;
}

static void timeouts_below_a_millisecond_are_passed(AioContext *ctx)
{
    static const int64_t times[] = { 200 * SCALE_US, 999 * SCALE_US, 20 * SCALE_MS };
    int i, called = 0;

    drain(ctx);
    for (i = 0; i < ARRAY_SIZE(times); i++) {
        QEMUTimer *timer = timer_start(ctx, times[i], &called);
        int64_t due = timer_expire_time_ns(timer);
        int turns = 0;

        world.timeout = 0;
        while (called == i) {
            aio_poll(ctx, true);
            turns++;
        }
        g_assert_cmpint(qemu_clock_get_ns(QEMU_CLOCK_REALTIME), >=, due);
        /* the set timer wakes up the loop; a busy machine may be late already */
        g_assert_cmpint(turns, <=, 3);
        g_assert_cmpint(world.timeout, >=, 0);
        g_assert_cmpint(world.timeout, <=, times[i]);
        timer_free(timer);
    }
}

/* Signals */

static int signals;             /* atomic */

static void on_signal(int signal)
{
    qatomic_inc(&signals);
}

typedef struct Signaller {
    pthread_t to;
    int stop;
} Signaller;

static void *signaller_thread(void *opaque)
{
    Signaller *s = opaque;

    while (!qatomic_read(&s->stop)) {
        if (qatomic_read(&world.asleep)) {
            pthread_kill(s->to, SIGUSR1);
        }
        g_usleep(5000);         /* it is back in what it did */
    }
    return NULL;
}

static bool wait_was_interrupted(void)
{
    int waits = world.kind == KIND_ASIDE ? world.asides : world.waits;

    return qatomic_read(&signals) && waits > 1;
}

static void signals_do_not_end_a_wait(AioContext *ctx)
{
    struct sigaction action = { .sa_handler = on_signal };
    Signaller s = { .to = pthread_self() };
    sigset_t set;
    QemuThread thread;
    QEMUTimer *timer;
    int called;

    drain(ctx);
    sigaction(SIGUSR1, &action, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    signals = 0;
    qemu_thread_create(&thread, "signals", signaller_thread, &s, QEMU_THREAD_JOINABLE);
    do {                        /* the other thread may get no CPU for a while */
        called = 0;
        timer = timer_start(ctx, 100 * SCALE_MS, &called);
        aio_poll(ctx, false);
        while (!called) {
            /* a wait that returns has something to tell; the notifier's is "false" */
            g_assert_true(aio_poll(ctx, true));
        }
        timer_free(timer);
    } while (!wait_was_interrupted());
    qatomic_set(&s.stop, true);
    qemu_thread_join(&thread);
}

/* Idle threads */

typedef struct Idle {
    QEMUBH *bh;
    clockid_t clock;
    int called;
    int enters[2];
    int64_t cpu_ns[2];
} Idle;

static int64_t cpu_ns(clockid_t clock)
{
    struct timespec ts;

    g_assert_cmpint(clock_gettime(clock, &ts), ==, 0);
    return ts.tv_sec * NANOSECONDS_PER_SECOND + ts.tv_nsec;
}

static void idle_snap(Idle *idle, int i)
{
    idle->enters[i] = qatomic_read(&world.enters) + qatomic_read(&world.asides);
    idle->cpu_ns[i] = cpu_ns(idle->clock);
}

static bool was_idle(const Idle *idle)
{
    return idle->enters[1] == idle->enters[0] &&
           idle->cpu_ns[1] - idle->cpu_ns[0] < 10 * SCALE_MS;
}

/*
 * In another thread: the loop has gone to sleep, and is soon where it will stay;
 * on a busy host that may take a while.
 */
static void watch_idle(void *opaque)
{
    Idle *idle = opaque;
    int i;

    for (i = 0; i < 50; i++) {
        g_usleep(20000);
        idle_snap(idle, 0);
        g_usleep(200000);
        idle_snap(idle, 1);
        if (was_idle(idle)) {
            break;
        }
    }
    qemu_bh_schedule(idle->bh);
}

static void idle_ends(void *opaque)
{
    ((Idle *)opaque)->called++;
}

static void check_idle(AioContext *ctx)
{
    Idle idle = { 0 };

    drain(ctx);
    pthread_getcpuclockid(pthread_self(), &idle.clock);
    idle.bh = aio_bh_new(ctx, idle_ends, &idle);
    when_asleep(watch_idle, &idle);
    poll_until(ctx, idle.called);
    when_asleep_end();
    g_assert_true(was_idle(&idle));
    qemu_bh_delete(idle.bh);
}

static void an_idle_thread_sleeps_in_one_call(AioContext *ctx)
{
    Source s[4] = { 0 };
    Queue q = { 0 };
    int i;

    queue_open(&q, ctx);
    for (i = 0; i < 4; i++) {
        source_open(&s[i], ctx);
        source_set(&s[i]);
    }
    queue_add(&q);
    drain(ctx);
    check_idle(ctx);

    aio_context_set_poll_params(ctx, 32768, 0, 0, &error_abort);
    queue_add(&q);
    for (i = 0; i < 10; i++) {
        queue_add(&q);
        poll_until(ctx, queue_is_empty(&q));
    }
    check_idle(ctx);

    aio_context_set_poll_mode(ctx, AIO_POLL_OFF);
    queue_add(&q);
    poll_until(ctx, queue_is_empty(&q));
    check_idle(ctx);
    for (i = 0; i < 4; i++) {
        source_close(&s[i]);
    }
    queue_close(&q);
}

static void an_idle_thread_is_no_pressure(AioContext *ctx)
{
    check_idle(ctx);
    if (world.kind == KIND_ASIDE) {
        g_assert_cmpint(world.asides, >, 0);
        g_assert_cmphex(world.flags, ==, 0);    /* the last wait was in poll() */
    } else if (ctx->loop.ring->uring.features & AIO_RING_FEAT_NO_IOWAIT) {
        g_assert_cmpint(world.asides, ==, 0);
        g_assert_true(world.flags & (1U << 7)); /* IORING_ENTER_NO_IOWAIT */
    } else {
        g_test_skip("the kernel is older than 6.15");
    }
}

static void set_source(void *opaque)
{
    source_set(opaque);
}

static void a_wait_for_requests_is_one_for_io(AioContext *ctx)
{
    Requests r = { 0 };
    Source s = { 0 };
    uint64_t value;

    requests_init(&r, ctx);
    source_open(&s, ctx);
    source_remove(&s);          /* read by a request only */
    drain(ctx);
    request_read(ctx, s.fd, &value);
    when_asleep(set_source, &s);
    poll_until(ctx, r.done);
    when_asleep_end();
    g_assert_cmpint(world.asides, ==, 0);
    g_assert_false(world.flags & (1U << 7));
    close(s.fd);
}

/* What wakes a sleeper up */

static void bh_called(void *opaque)
{
    ++*(int *)opaque;
}

typedef struct Late {
    AioContext *ctx;
    Source source;
    int called;
} Late;

/* In another thread, which has time to let the loop fall asleep for good. */
static void set_late(void *opaque)
{
    g_usleep(10000);
    source_set(opaque);
}

static void schedule_late(void *opaque)
{
    Late *l = opaque;

    g_usleep(10000);
    aio_bh_schedule_oneshot(l->ctx, bh_called, &l->called);
}

static void add_late(void *opaque)
{
    Late *l = opaque;

    g_usleep(10000);
    source_open(&l->source, l->ctx);
    source_set(&l->source);
}

static void all_wake_a_sleeper(AioContext *ctx)
{
    Late l = { .ctx = ctx };
    Source s = { 0 };
    int i;

    for (i = 1; i <= 3; i++) {
        source_open(&s, ctx);
        drain(ctx);
        when_asleep(set_late, &s);
        poll_until(ctx, s.called == i);
        when_asleep_end();

        when_asleep(schedule_late, &l);
        poll_until(ctx, l.called == i);
        when_asleep_end();

        when_asleep(add_late, &l);
        poll_until(ctx, l.source.called == i);
        when_asleep_end();
        source_close(&l.source);
        source_close(&s);
    }
}

/* The kernel refuses */

static void refused_entries_are_made_again(AioContext *ctx)
{
    static const int errors[] = { -EAGAIN, -EBUSY };
    static const int times[] = { 1, 2, 3, 50 };
    int i, j, n;

    for (i = 0; i < ARRAY_SIZE(errors); i++) {
        for (j = 0; j < ARRAY_SIZE(times); j++) {
            Source s[300] = { 0 };
            Requests r = { 0 };

            requests_init(&r, ctx);
            world.refuse_error = errors[i];
            world.refuse = times[j];
            for (n = 0; n < ARRAY_SIZE(s); n++) {
                source_open(&s[n], ctx);
                source_set(&s[n]);
            }
            request_nop(ctx);
            poll_until(ctx, r.done);
            for (n = 0; n < ARRAY_SIZE(s); n++) {
                poll_until(ctx, s[n].called);
                source_close(&s[n]);
            }
        }
    }
}

static void a_thread_that_was_refused_sleeps_again(AioContext *ctx)
{
    int refuse, blocking;

    for (refuse = 1; refuse <= 4; refuse++) {
        for (blocking = 0; blocking <= 1; blocking++) {
            Source s = { .then = source_close };

            check_idle(ctx);
            source_open(&s, ctx);
            source_set(&s);
            aio_notify_accept(ctx);
            world.refuse_error = -EAGAIN;
            world.refuse = refuse;
            while (!s.called) {
                aio_poll(ctx, blocking);
            }
            g_assert_cmpint(world.refuse, ==, 0);
            check_idle(ctx);
        }
    }
}

/* No ring */

static void no_ring(AioContext *ctx)
{
    Source s = { 0 };

    g_assert_false(has_ring(ctx));
    source_open(&s, ctx);
    source_set(&s);
    poll_until(ctx, s.called);
    source_close(&s);
    all_wake_a_sleeper(ctx);
}

static void without_a_ring_there_is_epoll_and_one_warning(void)
{
    memset(&world, 0, sizeof(world));
    world.setup_error = -EPERM;
    world_run(KIND_RING, no_ring);
    world_run(KIND_RING, no_ring);
    g_assert_cmpint(world.warnings, ==, 1);
}

static void unwanted_rings_need_no_warning(AioContext *ctx)
{
    no_ring(ctx);
    g_assert_cmpint(world.warnings, ==, 0);
}

#define ADD(test, kinds) world_add("aio-ring-waits", #test, test, kinds)

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    g_test_init(&argc, &argv, NULL);
    ADD(timeouts_below_a_millisecond_are_passed, WITH_ALL);
    ADD(signals_do_not_end_a_wait, WITH_RING);
    ADD(an_idle_thread_sleeps_in_one_call, WITH_ALL);
    ADD(an_idle_thread_is_no_pressure, WITH_RING);
    ADD(a_wait_for_requests_is_one_for_io, WITH_RING);
    ADD(all_wake_a_sleeper, WITH_ALL);
    ADD(refused_entries_are_made_again, WITH_RING);
    ADD(a_thread_that_was_refused_sleeps_again, WITH_RING);
    ADD(unwanted_rings_need_no_warning, 1 << KIND_EPOLL);
    g_test_add_func("/aio-ring-waits/without_a_ring_there_is_epoll_and_one_warning",
                    without_a_ring_there_is_epoll_and_one_warning);
    return g_test_run();
}
