/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two event loops, and for each a thread that does to it what other threads may, at
 * random: handlers come and go, bottom halves, virtqueues, files, the poll mode.
 * Each thing that is to happen is waited for, and what must not happen is looked
 * for.  Meant for sanitizers too.
 *
 * MQ_STRESS_SECONDS: how long (4).  MQ_STRESS_SEED: what is done when; printed.
 */

#include "qemu/osdep.h"
#include <sys/eventfd.h>
#include "tests/unit/iothread.h"
#include "block/aio.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "system/block-backend.h"

#define WATCHDOG_S 600
#define LOOPS 2
#define BLOCK 4096
#define BLOCKS 16
#define SOURCES 40

typedef struct Loop Loop;

typedef struct Source {
    Loop *loop;
    int fd;
    int called;                 /* atomic */
} Source;

/* As in ring-world.h, with one who adds to it in another thread. */
typedef struct Queue {
    int fd;
    unsigned avail, used;       /* atomic */
    int notify;                 /* atomic */
} Queue;

struct Loop {
    IOThread *iothread;
    AioContext *ctx;
    QemuThread thread;
    GRand *rand;
    int64_t end;
    Source source[SOURCES];
    Queue queue;
    BlockBackend *blk;
    char *path;
    uint8_t *buf[BLOCKS];
    QEMUIOVector qiov[BLOCKS];
    bool reads;
    int pending;                /* atomic */
    int bottom_halves;          /* atomic */
    unsigned long deeds;
};

/* Waits in a thread that has no event loop. */
#define wait_for(condition)     \
    do {                        \
        while (!(condition)) {  \
            g_usleep(20);       \
        }                       \
    } while (0)

static void source_read(void *opaque)
{
    Source *s = opaque;
    eventfd_t value;

    eventfd_read(s->fd, &value);
    qatomic_inc(&s->called);
}

static void source_open(Source *s, Loop *l)
{
    s->loop = l;
    s->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    qatomic_set(&s->called, 0);
    aio_set_fd_handler(l->ctx, s->fd, source_read, NULL, NULL, NULL, s);
}

static void bh_called(void *opaque)
{
    qatomic_inc(&((Loop *)opaque)->bottom_halves);
}

/* The loop has been through a turn. */
static void do_bottom_half(Loop *l)
{
    int was = qatomic_read(&l->bottom_halves);

    aio_bh_schedule_oneshot(l->ctx, bh_called, l);
    wait_for(qatomic_read(&l->bottom_halves) == was + 1);
}

static Source *any_source(Loop *l)
{
    return &l->source[g_rand_int_range(l->rand, 0, SOURCES)];
}

static void do_set(Loop *l)
{
    Source *s = any_source(l);
    int was = qatomic_read(&s->called);

    eventfd_write(s->fd, 1);
    wait_for(qatomic_read(&s->called) == was + 1);
}

/* Perhaps just when it is ready. */
static void source_renew(Source *s)
{
    Loop *l = s->loop;
    int called;

    if (g_rand_boolean(l->rand)) {
        eventfd_write(s->fd, 1);
    }
    aio_set_fd_handler(l->ctx, s->fd, NULL, NULL, NULL, NULL, NULL);
    do_bottom_half(l);
    called = qatomic_read(&s->called);
    close(s->fd);
    do_bottom_half(l);
    g_assert_cmpint(qatomic_read(&s->called), ==, called);
    source_open(s, l);
}

static void do_renew(Loop *l)
{
    source_renew(any_source(l));
    do_set(l);
}

/* Come and gone, and perhaps not noted; closed at once. */
static void do_fleeting(Loop *l)
{
    Source s[30];
    int i, n = g_rand_int_range(l->rand, 1, ARRAY_SIZE(s));

    for (i = 0; i < n; i++) {
        source_open(&s[i], l);
        if (g_rand_boolean(l->rand)) {
            eventfd_write(s[i].fd, 1);
        }
    }
    if (g_rand_boolean(l->rand)) {
        do_bottom_half(l);
    }
    for (i = 0; i < n; i++) {
        aio_set_fd_handler(l->ctx, s[i].fd, NULL, NULL, NULL, NULL, NULL);
    }
    /* handlers may be called until now */
    do_bottom_half(l);
    for (i = 0; i < n; i++) {
        close(s[i].fd);
    }
}

/* The virtqueue */

static bool queue_poll(void *opaque)
{
    Queue *q = opaque;

    return qatomic_read(&q->avail) != qatomic_read(&q->used);
}

static void queue_ready(void *opaque)
{
    Queue *q = opaque;

    qatomic_set(&q->used, qatomic_read(&q->avail));
}

static void queue_kicked(void *opaque)
{
    Queue *q = opaque;
    eventfd_t value;

    eventfd_read(q->fd, &value);
    queue_ready(q);
}

static void queue_begin(void *opaque)
{
    qatomic_set(&((Queue *)opaque)->notify, false);
}

static void queue_end(void *opaque)
{
    qatomic_set(&((Queue *)opaque)->notify, true);
    smp_mb();
}

static void do_queue(Loop *l)
{
    Queue *q = &l->queue;
    int i, n = g_rand_int_range(l->rand, 1, 16);

    for (i = 0; i < n; i++) {
        qatomic_set(&q->avail, q->avail + 1);
        smp_mb();
        if (qatomic_read(&q->notify)) {
            eventfd_write(q->fd, 1);
        }
        while (queue_poll(q)) {
            sched_yield();
        }
    }
}

/* Files: this thread owns the buffers when nothing is pending */

static void io_done(void *opaque, int ret)
{
    g_assert_cmpint(ret, ==, 0);
    qatomic_dec(&((Loop *)opaque)->pending);
}

static void io_bh(void *opaque)
{
    Loop *l = opaque;
    int i;

    for (i = 0; i < BLOCKS; i++) {
        qemu_iovec_init_buf(&l->qiov[i], l->buf[i], BLOCK);
        if (l->reads) {
            blk_aio_preadv(l->blk, i * BLOCK, &l->qiov[i], 0, io_done, l);
        } else {
            blk_aio_pwritev(l->blk, i * BLOCK, &l->qiov[i], 0, io_done, l);
        }
    }
}

static void io_start(Loop *l, bool reads)
{
    l->reads = reads;
    qatomic_set(&l->pending, BLOCKS);
    aio_bh_schedule_oneshot(l->ctx, io_bh, l);
}

static void do_io(Loop *l)
{
    uint8_t version = g_rand_int(l->rand);
    int i, j;

    for (i = 0; i < BLOCKS; i++) {
        memset(l->buf[i], version + i, BLOCK);
    }
    io_start(l, false);
    do_set(l);
    do_queue(l);
    wait_for(qatomic_load_acquire(&l->pending) == 0);
    for (i = 0; i < BLOCKS; i++) {
        memset(l->buf[i], ~(version + i), BLOCK);
    }
    io_start(l, true);
    do_set(l);
    wait_for(qatomic_load_acquire(&l->pending) == 0);
    for (i = 0; i < BLOCKS; i++) {
        for (j = 0; j < BLOCK; j++) {
            g_assert_cmpint(l->buf[i][j], ==, (uint8_t)(version + i));
        }
    }
}

static const AioPollMode modes[] = { AIO_POLL_ADAPTIVE, AIO_POLL_BUSY, AIO_POLL_OFF };

static void do_mode(Loop *l)
{
    aio_context_set_poll_mode(l->ctx,
                              modes[g_rand_int_range(l->rand, 0, ARRAY_SIZE(modes))]);
}

static void do_parameters(Loop *l)
{
    static const int64_t max_ns[] = { 0, 4000, 32768, 1000000 };

    aio_context_set_poll_params(l->ctx,
                                max_ns[g_rand_int_range(l->rand, 0, ARRAY_SIZE(max_ns))],
                                0, 0, &error_abort);
}

static void do_notify(Loop *l)
{
    aio_notify(l->ctx);
}

static void (*const deeds[])(Loop *l) = {
    do_set, do_renew, do_fleeting, do_bottom_half, do_queue, do_io, do_mode,
    do_parameters, do_notify,
};

static void *meddler(void *opaque)
{
    Loop *l = opaque;

    rcu_register_thread();
    while (!l->deeds || g_get_monotonic_time() < l->end) {
        deeds[g_rand_int_range(l->rand, 0, ARRAY_SIZE(deeds))](l);
        l->deeds++;
    }
    rcu_unregister_thread();
    return NULL;
}

static void queue_open(Loop *l)
{
    Queue *q = &l->queue;

    q->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    q->notify = true;
    aio_set_fd_handler(l->ctx, q->fd, queue_kicked, NULL, queue_poll, queue_ready, q);
    aio_set_fd_poll(l->ctx, q->fd, queue_begin, queue_end);
}

static void file_open(Loop *l)
{
    QDict *options = qdict_new();
    int fd, i;

    l->path = g_strdup("./test-aio-ring-stress-XXXXXX");
    fd = g_mkstemp(l->path);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, BLOCKS * BLOCK), ==, 0);
    close(fd);
    qdict_put_str(options, "driver", "file");
    qdict_put_str(options, "aio", "io_uring");
    l->blk = blk_new_open(l->path, NULL, options, BDRV_O_RDWR, &error_abort);
    blk_set_aio_context(l->blk, l->ctx, &error_abort);
    for (i = 0; i < BLOCKS; i++) {
        l->buf[i] = qemu_memalign(BLOCK, BLOCK);
    }
}

static void loop_open(Loop *l, uint32_t seed, int64_t end)
{
    int i;

    l->iothread = iothread_new();
    l->ctx = iothread_get_aio_context(l->iothread);
    l->rand = g_rand_new_with_seed(seed);
    l->end = end;
    for (i = 0; i < SOURCES; i++) {
        source_open(&l->source[i], l);
    }
    queue_open(l);
    file_open(l);
}

/* Half of the handlers are left to the end of the loop. */
static void loop_close(Loop *l)
{
    int i;

    for (i = 0; i < SOURCES / 2; i++) {
        aio_set_fd_handler(l->ctx, l->source[i].fd, NULL, NULL, NULL, NULL, NULL);
    }
    aio_set_fd_handler(l->ctx, l->queue.fd, NULL, NULL, NULL, NULL, NULL);
    blk_set_aio_context(l->blk, qemu_get_aio_context(), &error_abort);
    blk_unref(l->blk);
    iothread_join(l->iothread);
    for (i = 0; i < SOURCES; i++) {
        close(l->source[i].fd);
    }
    for (i = 0; i < BLOCKS; i++) {
        qemu_vfree(l->buf[i]);
    }
    close(l->queue.fd);
    unlink(l->path);
    g_free(l->path);
    g_rand_free(l->rand);
}

static void stress(void)
{
    const char *seed_text = getenv("MQ_STRESS_SEED");
    const char *time_text = getenv("MQ_STRESS_SECONDS");
    uint32_t seed = seed_text ? strtoul(seed_text, NULL, 0) : g_random_int();
    double seconds = (time_text ? g_ascii_strtod(time_text, NULL) : 4) / 2;
    int64_t end = g_get_monotonic_time() + seconds * G_USEC_PER_SEC;
    g_autofree Loop *loops = g_new0(Loop, LOOPS);
    int i;

    g_test_message("MQ_STRESS_SEED=0x%x", seed);
    alarm(seconds + WATCHDOG_S);
    for (i = 0; i < LOOPS; i++) {
        loop_open(&loops[i], seed + i, end);
    }
    for (i = 0; i < LOOPS; i++) {
        qemu_thread_create(&loops[i].thread, "meddler", meddler, &loops[i],
                           QEMU_THREAD_JOINABLE);
    }
    for (i = 0; i < LOOPS; i++) {
        qemu_thread_join(&loops[i].thread);
        g_test_message("loop %d: %lu deeds", i, loops[i].deeds);
        g_assert_cmpuint(loops[i].deeds, >, 0);
        loop_close(&loops[i]);
    }
    alarm(0);
}

static void with_rings_nothing_is_lost(void)
{
    g_unsetenv("QEMU_IO_URING_LOOP");
    stress();
}

static void with_epoll_nothing_is_lost(void)
{
    g_setenv("QEMU_IO_URING_LOOP", "off", true);
    stress();
}

#define ADD(test) g_test_add_func("/aio-ring-stress/" #test, test)

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    g_test_init(&argc, &argv, NULL);
    ADD(with_rings_nothing_is_lost);
    ADD(with_epoll_nothing_is_lost);
    return g_test_run();
}
