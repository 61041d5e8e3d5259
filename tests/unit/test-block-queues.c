/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Homes of threads, slots of objects, and the counting of requests in flight by
 * several threads while another drains.  Meant for thread sanitizer too.
 */

#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qemu/thread.h"

#define MAX_THREADS 8

/* Stress: 2 s unless MQ_STRESS_SECONDS says otherwise. */
static double stress_seconds(void)
{
    const char *text = getenv("MQ_STRESS_SECONDS");

    return text ? g_ascii_strtod(text, NULL) : 2;
}

typedef struct QEMU_ALIGNED(QUEUE_SLOT_ALIGN) TestSlot {
    QueueSlot slot;
    unsigned long counter;
} TestSlot;

typedef struct {
    QemuThread thread;
    QueueSlots *slots;
    AioContext *ctx;
    unsigned home;
    TestSlot *slot;
    QemuSemaphore stay;
    QemuSemaphore ready;
} SlotThread;

static void *slot_thread(void *opaque)
{
    SlotThread *t = opaque;
    int i;

    if (t->ctx) {
        qemu_set_current_aio_context(t->ctx);
    }
    t->home = aio_home();
    for (i = 0; i < 10000; i++) {
        TestSlot *s = (TestSlot *)queue_slot(t->slots);

        queue_add(&s->slot, &s->counter, 1);
        t->slot = s;
    }
    qemu_sem_post(&t->ready);
    qemu_sem_wait(&t->stay);
    return NULL;
}

static void start_slot_thread(SlotThread *t, QueueSlots *slots, AioContext *ctx)
{
    t->slots = slots;
    t->ctx = ctx;
    qemu_sem_init(&t->stay, 0);
    qemu_sem_init(&t->ready, 0);
    qemu_thread_create(&t->thread, "slot", slot_thread, t, QEMU_THREAD_JOINABLE);
}

static void end_slot_thread(SlotThread *t)
{
    qemu_sem_post(&t->stay);
    qemu_thread_join(&t->thread);
    qemu_sem_destroy(&t->stay);
    qemu_sem_destroy(&t->ready);
}

static unsigned long slots_sum(QueueSlots *slots)
{
    unsigned long sum = 0;
    unsigned home;
    TestSlot *s;

    QUEUE_SLOTS_FOREACH(s, slots, home) {
        sum += queue_read(&s->counter);
    }
    return sum;
}

/* Threads that live together have slots of their own, on lines of their own. */
static void test_slots_apart(void)
{
    QueueSlots slots;
    SlotThread t[MAX_THREADS];
    AioContext *ctx[MAX_THREADS];
    int i, j;

    queue_slots_init(&slots, sizeof(TestSlot), NULL);
    for (i = 0; i < MAX_THREADS; i++) {
        ctx[i] = aio_context_new(&error_abort);
        start_slot_thread(&t[i], &slots, ctx[i]);
    }
    for (i = 0; i < MAX_THREADS; i++) {
        qemu_sem_wait(&t[i].ready);
        g_assert_cmpuint(t[i].home, !=, AIO_HOME_SHARED);
        g_assert(aio_home_context(t[i].home) == ctx[i]);
        g_assert_cmpuint(t[i].slot->slot.home, ==, t[i].home);
        g_assert_false(t[i].slot->slot.shared);
        g_assert_cmpuint((uintptr_t)t[i].slot % QUEUE_SLOT_ALIGN, ==, 0);
        for (j = 0; j < i; j++) {
            g_assert_cmpuint(t[i].home, !=, t[j].home);
        }
    }
    g_assert_cmpuint(slots_sum(&slots), ==, MAX_THREADS * 10000);
    for (i = 0; i < MAX_THREADS; i++) {
        end_slot_thread(&t[i]);
        aio_context_unref(ctx[i]);
    }
    queue_slots_destroy(&slots, NULL);
}

/* A home is given again when its thread has ended, with what was counted there. */
static void test_home_given_again(void)
{
    QueueSlots slots;
    SlotThread t;
    AioContext *ctx = aio_context_new(&error_abort);
    unsigned home = 0;
    int i;

    queue_slots_init(&slots, sizeof(TestSlot), NULL);
    for (i = 0; i < 20; i++) {
        start_slot_thread(&t, &slots, ctx);
        qemu_sem_wait(&t.ready);
        if (i) {
            g_assert_cmpuint(t.home, ==, home);
        }
        home = t.home;
        end_slot_thread(&t);
        g_assert(aio_home_context(home) == NULL);
        g_assert_cmpuint(slots_sum(&slots), ==, (i + 1) * 10000);
    }
    queue_slots_destroy(&slots, NULL);
    aio_context_unref(ctx);
}

/* Threads without an AioContext share home 0, and none of their counts is lost. */
static void test_homeless_share(void)
{
    QueueSlots slots;
    SlotThread t[4];
    int i;

    queue_slots_init(&slots, sizeof(TestSlot), NULL);
    for (i = 0; i < ARRAY_SIZE(t); i++) {
        start_slot_thread(&t[i], &slots, NULL);
    }
    for (i = 0; i < ARRAY_SIZE(t); i++) {
        qemu_sem_wait(&t[i].ready);
        g_assert_cmpuint(t[i].home, ==, AIO_HOME_SHARED);
        g_assert_true(t[i].slot->slot.shared);
    }
    g_assert_cmpuint(slots_sum(&slots), ==, ARRAY_SIZE(t) * 10000);
    for (i = 0; i < ARRAY_SIZE(t); i++) {
        end_slot_thread(&t[i]);
    }
    queue_slots_destroy(&slots, NULL);
}

/*
 * Requests begin in one thread and end in it or, handed on, in the next, while
 * this thread quiesces, waits for zero, and holds.  While it holds no request is
 * between begin and end: not one that began before, not one that slipped in.
 */
typedef struct {
    QueueSlots queues;
    unsigned threads;
    int quiesced;               /* atomic, as quiesce_counter */
    int stop;                   /* atomic */
    /* by the drainer while it holds; by no request: seen by thread sanitizer */
    unsigned long held;
    struct QEMU_ALIGNED(QUEUE_SLOT_ALIGN) {
        int handed;             /* atomic: a request to be ended by this thread */
        unsigned long done;
        unsigned long seen;
        QemuThread thread;
        AioContext *ctx;
    } worker[MAX_THREADS];
} Count;

static void *count_thread(void *opaque)
{
    Count *c = opaque;
    AioContext *ctx;
    unsigned me;

    /* the worker's number is that of the context that it takes */
    for (me = 0; !(ctx = qatomic_xchg(&c->worker[me].ctx, NULL)); me++) {
    }
    qemu_set_current_aio_context(ctx);

    while (!qatomic_read(&c->stop)) {
        unsigned next = (me + 1) % c->threads;

        if (qatomic_load_acquire(&c->worker[me].handed)) {
            c->worker[me].seen += c->held;          /* still in flight */
            qatomic_store_release(&c->worker[me].handed, 0);
            bdrv_queue_end(&c->queues);
        }
        bdrv_queue_begin(&c->queues);
        if (qatomic_load_acquire(&c->quiesced)) {
            bdrv_queue_end(&c->queues);
            g_usleep(5);
            continue;
        }
        c->worker[me].seen += c->held;
        qatomic_set(&c->worker[me].done, c->worker[me].done + 1);
        if (c->worker[me].done % 3 == 0 &&
            !qatomic_cmpxchg(&c->worker[next].handed, 0, 1)) {
            continue;
        }
        bdrv_queue_end(&c->queues);
    }
    return NULL;
}

static void test_drain_waits(const void *opaque)
{
    const unsigned threads = GPOINTER_TO_UINT(opaque);
    Count *c = qemu_memalign(QUEUE_SLOT_ALIGN, sizeof(*c));
    AioContext *ctx[MAX_THREADS];
    int64_t end = g_get_monotonic_time() + stress_seconds() / 3 * G_USEC_PER_SEC;
    unsigned long drains = 0, done = 0;
    unsigned i;

    memset(c, 0, sizeof(*c));
    bdrv_queues_init(&c->queues);
    c->threads = threads;
    for (i = 0; i < threads; i++) {
        c->worker[i].ctx = ctx[i] = aio_context_new(&error_abort);
    }
    for (i = 0; i < threads; i++) {
        qemu_thread_create(&c->worker[i].thread, "count", count_thread, c,
                           QEMU_THREAD_JOINABLE);
    }
    while (g_get_monotonic_time() < end ||
           !qatomic_read(&c->worker[0].done)) {
        unsigned long before[MAX_THREADS];

        qatomic_set(&c->quiesced, 1);
        asymmetric_barrier_heavy();
        while (bdrv_queues_in_flight(&c->queues)) {
            g_usleep(1);
        }
        c->held++;
        for (i = 0; i < threads; i++) {
            before[i] = qatomic_read(&c->worker[i].done);
        }
        if (drains % 8 == 0) {
            g_usleep(50);
        }
        for (i = 0; i < threads; i++) {
            g_assert_cmpuint(qatomic_read(&c->worker[i].done), ==, before[i]);
        }
        c->held++;
        drains++;
        qatomic_store_release(&c->quiesced, 0);
        if (drains % 16 == 0) {
            g_usleep(20);
        }
    }
    qatomic_set(&c->stop, 1);
    for (i = 0; i < threads; i++) {
        qemu_thread_join(&c->worker[i].thread);
        done += c->worker[i].done;
        aio_context_unref(ctx[i]);
    }
    for (i = 0; i < threads; i++) {
        if (c->worker[i].handed) {
            bdrv_queue_end(&c->queues);
        }
    }
    g_assert_cmpuint(bdrv_queues_in_flight(&c->queues), ==, 0);
    g_test_message("%u threads: %lu requests, %lu drains", threads, done, drains);
    g_assert_cmpuint(done, >, 0);
    bdrv_queues_destroy(&c->queues);
    qemu_vfree(c);
}

/*
 * The one moment that matters, over and over, the two threads let loose at once:
 * a request begins and looks whether it must wait; the drainer says so and looks
 * for requests.  At least one of them must see the other.
 */
typedef struct {
    QueueSlots queues;
    AioContext *ctx;
    int quiesced;                                   /* atomic */
    QEMU_ALIGNED(QUEUE_SLOT_ALIGN) unsigned go;     /* atomic: the round */
    QEMU_ALIGNED(QUEUE_SLOT_ALIGN) unsigned done;   /* atomic: the round */
    bool saw;
} Dekker;

static void *dekker_thread(void *opaque)
{
    Dekker *d = opaque;
    unsigned round = 0, go;

    qemu_set_current_aio_context(d->ctx);
    for (;;) {
        while ((go = qatomic_load_acquire(&d->go)) == round) {
        }
        if (go == UINT_MAX) {
            break;
        }
        bdrv_queue_begin(&d->queues);
        d->saw = qatomic_read(&d->quiesced);
        qatomic_store_release(&d->done, go);
        round = go;
        /* the end is the drainer's to see, in the next round */
        while (qatomic_load_acquire(&d->go) == round) {
        }
        bdrv_queue_end(&d->queues);
        qatomic_store_release(&d->done, go + 1);
        round = go + 1;
    }
    return NULL;
}

static void test_begin_or_drain_sees(void)
{
    Dekker *d = qemu_memalign(QUEUE_SLOT_ALIGN, sizeof(*d));
    int64_t end = g_get_monotonic_time() + stress_seconds() / 2 * G_USEC_PER_SEC;
    unsigned long begin_saw = 0, drain_saw = 0;
    unsigned round = 0, spin;
    QemuThread thread;

    memset(d, 0, sizeof(*d));
    bdrv_queues_init(&d->queues);
    d->ctx = aio_context_new(&error_abort);
    qemu_thread_create(&thread, "begin", dekker_thread, d, QEMU_THREAD_JOINABLE);
    while (g_get_monotonic_time() < end) {
        unsigned long in_flight;

        qatomic_store_release(&d->go, ++round);
        /* the other thread needs the time of a cache miss; try them all */
        for (spin = round / 2 % 128; spin; spin--) {
            barrier();
        }
        qatomic_set(&d->quiesced, 1);
        asymmetric_barrier_heavy();
        in_flight = bdrv_queues_in_flight(&d->queues);
        while (qatomic_load_acquire(&d->done) != round) {
        }
        begin_saw += d->saw;
        drain_saw += in_flight;
        g_assert(d->saw || in_flight);

        qatomic_set(&d->quiesced, 0);
        qatomic_store_release(&d->go, ++round);
        while (qatomic_load_acquire(&d->done) != round) {
        }
        g_assert_cmpuint(bdrv_queues_in_flight(&d->queues), ==, 0);
    }
    qatomic_store_release(&d->go, UINT_MAX);
    qemu_thread_join(&thread);
    g_test_message("%u rounds: the request saw the drain in %lu, the drain the "
                   "request in %lu", round / 2, begin_saw, drain_saw);
    bdrv_queues_destroy(&d->queues);
    aio_context_unref(d->ctx);
    qemu_vfree(d);
}

/* A generation read after a write is not one read before it; the highest offset. */
static void test_write_gen(void)
{
    QueueSlots queues;
    unsigned gen;

    bdrv_queues_init(&queues);
    gen = bdrv_queues_write_gen(&queues);
    bdrv_queue_wrote(&queues);
    g_assert_cmpuint(bdrv_queues_write_gen(&queues), !=, gen);

    g_assert_cmpuint(bdrv_queues_wr_highest_offset(&queues), ==, 0);
    bdrv_queue_wrote_up_to(&queues, 8192);
    bdrv_queue_wrote_up_to(&queues, 4096);
    g_assert_cmpuint(bdrv_queues_wr_highest_offset(&queues), ==, 8192);
    bdrv_queues_destroy(&queues);
}

int main(int argc, char **argv)
{
    unsigned threads;

    qemu_init_main_loop(&error_abort);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/queues/slots-apart", test_slots_apart);
    g_test_add_func("/queues/home-given-again", test_home_given_again);
    g_test_add_func("/queues/homeless-share", test_homeless_share);
    g_test_add_func("/queues/write-gen", test_write_gen);
    g_test_add_func("/queues/begin-or-drain-sees", test_begin_or_drain_sees);
    for (threads = 2; threads <= MAX_THREADS; threads *= 2) {
        g_autofree char *name = g_strdup_printf("/queues/drain-waits/%u", threads);

        g_test_add_data_func(name, GUINT_TO_POINTER(threads), test_drain_waits);
    }
    return g_test_run();
}
