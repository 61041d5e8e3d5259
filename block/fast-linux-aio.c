/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fast requests by Linux native AIO.
 *
 * A thread's queue is made by its first request and goes when the thread ends.
 * Requests of a section of defer_call_begin() and defer_call_end() go down by one
 * io_submit().  Completions are read from the ring that the kernel maps into this
 * process, without a system call; the event notifier wakes who sleeps.
 */

#include "qemu/osdep.h"
#include <libaio.h>
#include "block/aio.h"
#include "block/fast-linux-aio.h"
#include "qemu/defer-call.h"
#include "qemu/event_notifier.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "trace.h"

#define MAX_EVENTS 1024
#define MAX_BATCH 128

/* What the kernel maps at an io_context_t; its magic says that it is as here. */
typedef struct AioRing {
    unsigned id;
    unsigned nr;
    unsigned head;              /* ours */
    unsigned tail;              /* the kernel's */
    unsigned magic;
    unsigned compat_features;
    unsigned incompat_features;
    unsigned header_length;
    struct io_event event[];
} AioRing;
#define AIO_RING_MAGIC 0xa10a10a1

typedef struct LaioFast {
    AioContext *ctx;
    io_context_t io;
    EventNotifier e;
    QEMUBH *bh;                 /* submits again */
    unsigned in_flight;
    bool refused;               /* the kernel took no more, last time */
    QSIMPLEQ_HEAD(, BlkFastRequest) queued;
    Notifier thread_exit;
    struct iocb iocb[MAX_BATCH];
    struct iocb *batch[MAX_BATCH];
} LaioFast;

/* BlkFastRequest.leaf_data */
enum {
    DATA_OFFSET,
    DATA_FD,
};

static __thread LaioFast *laio_fast;
static __thread bool laio_fast_failed;

static void prepare(LaioFast *l, struct iocb *iocb, BlkFastRequest *req)
{
    const QEMUIOVector *qiov = req->qiov;
    int64_t offset = req->leaf_data[DATA_OFFSET];
    int fd = req->leaf_data[DATA_FD];

    switch (req->op) {
    case BLK_FAST_READ:
        io_prep_preadv(iocb, fd, qiov->iov, qiov->niov, offset);
        break;
    case BLK_FAST_WRITE:
#ifdef HAVE_IO_PREP_PWRITEV2
        io_prep_pwritev2(iocb, fd, qiov->iov, qiov->niov, offset,
                         req->flags & BDRV_REQ_FUA ? RWF_DSYNC : 0);
#else
        io_prep_pwritev(iocb, fd, qiov->iov, qiov->niov, offset);
#endif
        break;
    case BLK_FAST_FLUSH:
        io_prep_fdsync(iocb, fd);
        break;
    default:
        g_assert_not_reached();
    }
    io_set_eventfd(iocb, event_notifier_get_fd(&l->e));
    iocb->data = req;
}

static int prepare_batch(LaioFast *l)
{
    BlkFastRequest *req;
    int n = 0;

    QSIMPLEQ_FOREACH(req, &l->queued, leaf_next) {
        if (n == MAX_BATCH) {
            break;
        }
        prepare(l, &l->iocb[n], req);
        n++;
    }
    return n;
}

/*
 * The queue is full (EAGAIN): what is left goes down when something completes.
 * Another error is of the first request, which the ordinary way will report.
 */
static bool __attribute__((cold)) submit_refused(LaioFast *l, int err)
{
    BlkFastRequest *req = QSIMPLEQ_FIRST(&l->queued);

    trace_laio_fast_refused(l, err, l->in_flight);
    if (err == -EINTR) {
        return true;
    }
    if (err != -EAGAIN) {
        QSIMPLEQ_REMOVE_HEAD(&l->queued, leaf_next);
        blk_fast_retry(req);
        return true;
    }
    l->refused = true;
    if (!l->in_flight) {
        qemu_bh_schedule(l->bh);
    }
    return false;
}

static void submit(void *opaque)
{
    LaioFast *l = opaque;

    l->refused = false;
    while (!QSIMPLEQ_EMPTY(&l->queued)) {
        int ret = io_submit(l->io, prepare_batch(l), l->batch);

        if (ret <= 0) {
            if (!submit_refused(l, ret ?: -EAGAIN)) {
                return;
            }
            continue;
        }
        l->in_flight += ret;
        while (ret--) {
            QSIMPLEQ_REMOVE_HEAD(&l->queued, leaf_next);
        }
    }
}

static inline AioRing *ring(LaioFast *l)
{
    return (AioRing *)l->io;
}

static inline bool ready(LaioFast *l)
{
    return ring(l)->head != qatomic_load_acquire(&ring(l)->tail);
}

/* What is not whole is done again, the ordinary way, from its beginning. */
static void done(BlkFastRequest *req, int64_t res)
{
    int64_t bytes = req->op == BLK_FAST_FLUSH ? 0 : req->bytes;

    if (likely(res == bytes)) {
        blk_fast_complete(req, 0);
    } else if (res >= 0 || res == -EAGAIN || res == -EINTR) {
        blk_fast_retry(req);
    } else {
        blk_fast_complete(req, res);
    }
}

/* One event is taken out at a time: a nested event loop finds the others. */
static void reap(LaioFast *l)
{
    AioRing *r = ring(l);

    defer_call_begin();
    while (ready(l)) {
        BlkFastRequest *req = r->event[r->head].data;
        int64_t res = r->event[r->head].res;

        qatomic_store_release(&r->head, (r->head + 1) % r->nr);
        l->in_flight--;
        done(req, res);
    }
    defer_call_end();
    if (unlikely(l->refused)) {
        submit(l);
    }
}

/* The notifier stays set until the ring is empty, for nested event loops. */
static void laio_notified(EventNotifier *e)
{
    LaioFast *l = container_of(e, LaioFast, e);

    reap(l);
    event_notifier_test_and_clear(e);
    reap(l);
}

static bool laio_poll(void *opaque)
{
    EventNotifier *e = opaque;

    return ready(container_of(e, LaioFast, e));
}

static void laio_poll_ready(EventNotifier *e)
{
    reap(container_of(e, LaioFast, e));
}

static void laio_bh(void *opaque)
{
    LaioFast *l = opaque;

    if (l->refused) {
        submit(l);
    }
}

static void laio_fast_free(Notifier *notifier, void *value)
{
    LaioFast *l = container_of(notifier, LaioFast, thread_exit);

    assert(!l->in_flight && QSIMPLEQ_EMPTY(&l->queued));
    aio_set_event_notifier(l->ctx, &l->e, NULL, NULL, NULL);
    qemu_bh_delete(l->bh);
    io_destroy(l->io);
    event_notifier_cleanup(&l->e);
    g_free(l);
    laio_fast = NULL;
}

static bool setup(LaioFast *l)
{
    if (io_setup(MAX_EVENTS, &l->io) < 0) {
        return false;
    }
    if (ring(l)->magic != AIO_RING_MAGIC || ring(l)->incompat_features ||
        event_notifier_init(&l->e, false) < 0) {
        io_destroy(l->io);
        return false;
    }
    return true;
}

static LaioFast * __attribute__((cold)) laio_fast_new(void)
{
    LaioFast *l;
    int i;

    if (laio_fast_failed) {
        return NULL;
    }
    l = g_new0(LaioFast, 1);
    if (!setup(l)) {
        g_free(l);
        laio_fast_failed = true;
        return NULL;
    }
    QSIMPLEQ_INIT(&l->queued);
    for (i = 0; i < MAX_BATCH; i++) {
        l->batch[i] = &l->iocb[i];
    }
    l->ctx = qemu_get_current_aio_context();
    l->bh = aio_bh_new(l->ctx, laio_bh, l);
    aio_set_event_notifier(l->ctx, &l->e, laio_notified, laio_poll,
                           laio_poll_ready);
    /* The main loop's goes with the process. */
    if (l->ctx != qemu_get_aio_context()) {
        l->thread_exit.notify = laio_fast_free;
        qemu_thread_atexit_add(&l->thread_exit);
    }
    laio_fast = l;
    return l;
}

int laio_fast_submit(BlkFastRequest *req, int fd, int64_t offset)
{
    LaioFast *l = laio_fast;

    if (unlikely(!l)) {
        l = laio_fast_new();
        if (!l) {
            return BDRV_FAST_ORDINARY;
        }
    }
    req->leaf_data[DATA_OFFSET] = offset;
    req->leaf_data[DATA_FD] = fd;
    QSIMPLEQ_INSERT_TAIL(&l->queued, req, leaf_next);
    defer_call(submit, l);
    return -EINPROGRESS;
}
