/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Event loops for tests, their system calls, and what they watch.
 */

#include "qemu/osdep.h"
#include <sys/eventfd.h>
#include "ring-world.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"

/* What hangs has lost an event. */
#define WATCHDOG_S 600

struct World world;
GMainContext *world_glib;
static __thread bool under_test;

/* The system calls */

int __real_io_uring_queue_init_params(unsigned entries, struct io_uring *uring,
                                      struct io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *uring,
                                      struct io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *uring,
                                      struct io_uring_params *params)
{
    int ret = world.setup_error ?:
              __real_io_uring_queue_init_params(entries, uring, params);

    if (ret == 0 && world.kind == KIND_ASIDE) {
        uring->features &= ~AIO_RING_FEAT_NO_IOWAIT;
    }
    return ret;
}

int __real_io_uring_enter2(unsigned fd, unsigned to_submit, unsigned min_complete,
                           unsigned flags, void *arg, size_t size);
int __wrap_io_uring_enter2(unsigned fd, unsigned to_submit, unsigned min_complete,
                           unsigned flags, void *arg, size_t size);

static void begin_wait(unsigned flags, int64_t timeout)
{
    world.flags = flags;
    world.timeout = timeout;
    qatomic_set(&world.asleep, true);
}

static int64_t timeout_of(unsigned flags, void *arg)
{
    if (flags & IORING_ENTER_EXT_ARG) {
        struct io_uring_getevents_arg *ext = arg;
        struct __kernel_timespec *ts = (void *)(uintptr_t)ext->ts;

        return ts->tv_sec * NANOSECONDS_PER_SECOND + ts->tv_nsec;
    }
    return -1;
}

int __wrap_io_uring_enter2(unsigned fd, unsigned to_submit, unsigned min_complete,
                           unsigned flags, void *arg, size_t size)
{
    int ret;

    if (!under_test) {
        return __real_io_uring_enter2(fd, to_submit, min_complete, flags, arg, size);
    }
    if (world.before_enter) {
        void (*fn)(void) = world.before_enter;

        world.before_enter = NULL;
        fn();
    }
    qatomic_set(&world.enters, world.enters + 1);
    if (to_submit && world.refuse > 0) {
        world.refuse--;
        return world.refuse_error;
    }
    if (min_complete) {
        qatomic_set(&world.waits, world.waits + 1);
        begin_wait(flags, timeout_of(flags, arg));
    }
    ret = __real_io_uring_enter2(fd, to_submit, min_complete, flags, arg, size);
    qatomic_set(&world.asleep, false);
    g_assert_cmpint(ret, !=, -EINVAL);
    return ret;
}

int __real_qemu_poll_ns(GPollFD *fds, guint n, int64_t timeout);
int __wrap_qemu_poll_ns(GPollFD *fds, guint n, int64_t timeout);
int __wrap_qemu_poll_ns(GPollFD *fds, guint n, int64_t timeout)
{
    int ret, saved_errno;

    if (!under_test || timeout == 0) {
        return __real_qemu_poll_ns(fds, n, timeout);
    }
    qatomic_set(&world.asides, world.asides + 1);
    begin_wait(0, timeout);
    ret = __real_qemu_poll_ns(fds, n, timeout);
    saved_errno = errno;
    qatomic_set(&world.asleep, false);
    errno = saved_errno;
    return ret;
}

bool __wrap_warn_report_once_cond(bool *printed, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);
bool __wrap_warn_report_once_cond(bool *printed, const char *fmt, ...)
{
    if (*printed) {
        return false;
    }
    *printed = true;
    qatomic_inc(&world.warnings);
    return true;
}

/* Descriptors */

void source_read(void *opaque)
{
    Source *s = opaque;

    s->called++;
    if (!s->leaves) {
        source_clear(s);
    }
    if (s->then) {
        s->then(s);
    }
}

void source_open(Source *s, AioContext *ctx)
{
    s->ctx = ctx;
    s->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    g_assert_cmpint(s->fd, >=, 0);
    aio_set_fd_handler(ctx, s->fd, source_read, NULL, NULL, NULL, s);
}

void source_set(Source *s)
{
    g_assert_cmpint(eventfd_write(s->fd, 1), ==, 0);
}

void source_clear(Source *s)
{
    eventfd_t value;

    eventfd_read(s->fd, &value);
}

void source_remove(Source *s)
{
    aio_set_fd_handler(s->ctx, s->fd, NULL, NULL, NULL, NULL, NULL);
}

void source_close(Source *s)
{
    source_remove(s);
    close(s->fd);
}

/* Requests */

static void request_done(void *opaque, uint64_t user_data, int res)
{
    Requests *r = opaque;

    g_assert_cmpint(res, >=, 0);
    r->done++;
    if (r->then) {
        r->then(r->opaque);
    }
}

static bool requests_fill(void *opaque)
{
    return false;
}

static const AioRingUser requests_user = { request_done, requests_fill };

void requests_init(Requests *r, AioContext *ctx)
{
    ctx->loop.ring->user = &requests_user;
    ctx->loop.ring->user_opaque = r;
}

void request_nop(AioContext *ctx)
{
    struct io_uring_sqe *sqe = aio_ring_get_sqe(ctx->loop.ring);

    io_uring_prep_nop(sqe);
    sqe->user_data = 1;
    aio_ring_queued(ctx->loop.ring, false);
}

void request_read(AioContext *ctx, int fd, uint64_t *value)
{
    struct io_uring_sqe *sqe = aio_ring_get_sqe(ctx->loop.ring);

    io_uring_prep_read(sqe, fd, value, sizeof(*value), 0);
    sqe->user_data = 1;
    aio_ring_queued(ctx->loop.ring, false);
}

/* Threads */

typedef struct Call {
    void (*fn)(void *opaque);
    void *opaque;
    QemuThread thread;
} Call;

static void *call_thread(void *opaque)
{
    Call *c = opaque;

    rcu_register_thread();
    c->fn(c->opaque);
    rcu_unregister_thread();
    return NULL;
}

void elsewhere(void (*fn)(void *opaque), void *opaque)
{
    Call c = { fn, opaque };

    qemu_thread_create(&c.thread, "elsewhere", call_thread, &c, QEMU_THREAD_JOINABLE);
    qemu_thread_join(&c.thread);
}

static Call sleeper;

static void *asleep_thread(void *opaque)
{
    while (!qatomic_read(&world.asleep)) {
        g_usleep(100);
    }
    return call_thread(opaque);
}

void when_asleep(void (*fn)(void *opaque), void *opaque)
{
    sleeper = (Call) { fn, opaque };
    qemu_thread_create(&sleeper.thread, "asleep", asleep_thread, &sleeper,
                       QEMU_THREAD_JOINABLE);
}

void when_asleep_end(void)
{
    qemu_thread_join(&sleeper.thread);
}

/* The virtqueue */

bool queue_poll(void *opaque)
{
    return !queue_is_empty(opaque);
}

static void queue_ready(void *opaque)
{
    Queue *q = opaque;

    qatomic_set(&q->used, qatomic_read(&q->avail));
    if (q->then) {
        q->then(q->opaque);
    }
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
    Queue *q = opaque;

    /* to be told again is harmless, as it is to a virtqueue */
    q->begun += q->notify;
    qatomic_set(&q->notify, false);
}

static void queue_end(void *opaque)
{
    Queue *q = opaque;

    q->ended += !q->notify;
    qatomic_set(&q->notify, true);
    smp_mb();
}

void queue_open(Queue *q, AioContext *ctx)
{
    q->ctx = ctx;
    q->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    q->notify = true;
    aio_set_fd_handler(ctx, q->fd, queue_kicked, NULL, queue_poll, queue_ready, q);
    aio_set_fd_poll(ctx, q->fd, queue_begin, queue_end);
}

void queue_close(Queue *q)
{
    aio_set_fd_handler(q->ctx, q->fd, NULL, NULL, NULL, NULL, NULL);
    close(q->fd);
}

void queue_add(Queue *q)
{
    qatomic_set(&q->avail, q->avail + 1);
    smp_mb();
    if (qatomic_read(&q->notify)) {
        qatomic_inc(&q->kicks);
        eventfd_write(q->fd, 1);
    }
}

/* Tests */

typedef struct Case {
    Kind kind;
    Body *body;
} Case;

static void *loop_thread(void *opaque)
{
    Case *c = opaque;
    AioContext *ctx = aio_context_new(&error_abort);
    GSource *source = aio_get_g_source(ctx);

    rcu_register_thread();
    world_glib = g_main_context_new();
    g_source_attach(source, world_glib);
    g_source_unref(source);
    qemu_set_current_aio_context(ctx);
    under_test = true;

    c->body(ctx);

    under_test = false;
    aio_context_unref(ctx);
    g_main_context_unref(world_glib);
    world_glib = NULL;
    rcu_unregister_thread();
    return NULL;
}

void world_run(Kind kind, Body *body)
{
    Case c = { kind, body };
    QemuThread thread;

    world.kind = kind;
    if (kind == KIND_EPOLL) {
        g_setenv("QEMU_IO_URING_LOOP", "off", true);
    } else {
        g_unsetenv("QEMU_IO_URING_LOOP");
    }
    qemu_thread_create(&thread, "loop", loop_thread, &c, QEMU_THREAD_JOINABLE);
    qemu_thread_join(&thread);
}

static bool kernel_has_rings(void)
{
    struct io_uring uring;

    if (io_uring_queue_init(2, &uring, 0) < 0) {
        return false;
    }
    io_uring_queue_exit(&uring);
    return true;
}

static void run_case(gconstpointer data)
{
    const Case *c = data;

    if (c->kind != KIND_EPOLL && !kernel_has_rings()) {
        g_test_skip("io_uring cannot be used here");
        return;
    }
    memset(&world, 0, sizeof(world));
    alarm(WATCHDOG_S);
    world_run(c->kind, c->body);
    alarm(0);
}

void world_add(const char *room, const char *name, Body *body, unsigned kinds)
{
    static const char *const names[] = { "ring", "aside", "epoll" };
    Kind kind;

    for (kind = 0; kind < KINDS; kind++) {
        g_autofree char *path = g_strdup_printf("/%s/%s/%s", room, name, names[kind]);
        Case *c;

        if (kinds & 1 << kind) {
            c = g_new(Case, 1);
            *c = (Case) { kind, body };
            g_test_add_data_func_full(path, c, run_case, g_free);
        }
    }
}
