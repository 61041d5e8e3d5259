/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ordinary way of a request to the ring: a coroutine, which waits for it.
 */

#include "qemu/osdep.h"
#include "block/block.h"
#include "block/io-uring.h"
#include "qemu/coroutine.h"
#include "qemu/coroutine_int.h"
#include "../trace.h"

struct LuringCo {
    Coroutine *co;
    int fd;
    int type;                   /* QEMU_AIO_... */
    int rw_flags;
    uint64_t offset;
    QEMUIOVector *qiov;         /* or NULL: a flush */
    size_t done;                /* bytes; the transfer was short */
    QEMUIOVector rest;          /* of @qiov after @done, if that is not 0 */
    int ret;
    QSIMPLEQ_ENTRY(LuringCo) next;
};

static void co_prepare(struct io_uring_sqe *sqe, LuringCo *c)
{
    QEMUIOVector *qiov = c->done ? &c->rest : c->qiov;
    uint64_t offset = c->offset + c->done;

    switch (c->type) {
    case QEMU_AIO_READ:
        io_uring_prep_readv(sqe, c->fd, qiov->iov, qiov->niov, offset);
        break;
    case QEMU_AIO_WRITE:
    case QEMU_AIO_ZONE_APPEND:
        io_uring_prep_writev(sqe, c->fd, qiov->iov, qiov->niov, offset);
        sqe->rw_flags = c->rw_flags;
        break;
    case QEMU_AIO_FLUSH:
        io_uring_prep_fsync(sqe, c->fd, IORING_FSYNC_DATASYNC);
        break;
    default:
        g_assert_not_reached();
    }
    sqe->user_data = (uintptr_t)c | LURING_CO;
}

static void co_queue(LuringState *s, LuringCo *c)
{
    struct io_uring_sqe *sqe = aio_ring_get_sqe(s->ring);

    if (sqe) {
        co_prepare(sqe, c);
    } else {
        QSIMPLEQ_INSERT_TAIL(&s->co_waiting, c, next);
    }
    luring_queued(s, !sqe);
}

void luring_co_fill(LuringState *s)
{
    LuringCo *c;

    while ((c = QSIMPLEQ_FIRST(&s->co_waiting))) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring->uring);

        if (!sqe) {
            return;
        }
        QSIMPLEQ_REMOVE_HEAD(&s->co_waiting, next);
        co_prepare(sqe, c);
    }
}

/* The rest of a short transfer. */
static void co_queue_rest(LuringState *s, LuringCo *c, int n)
{
    trace_luring_resubmit_short(s, c, n);
    if (c->done == 0) {
        qemu_iovec_init(&c->rest, c->qiov->niov);
    } else {
        qemu_iovec_reset(&c->rest);
    }
    c->done += n;
    qemu_iovec_concat(&c->rest, c->qiov, c->done, c->qiov->size - c->done);
    co_queue(s, c);
}

static void co_wake(LuringState *s, LuringCo *c, int ret)
{
    if (c->done) {
        qemu_iovec_destroy(&c->rest);
    }
    c->ret = ret;
    assert(c->co->ctx == s->ctx);
    aio_co_wake(c->co);
}

/* At the end of the file nothing is read, and nothing can be written. */
static int co_end_of_file(LuringCo *c)
{
    if (c->type != QEMU_AIO_READ) {
        return -ENOSPC;
    }
    qemu_iovec_memset(c->qiov, c->done, 0, c->qiov->size - c->done);
    return 0;
}

void luring_co_done(LuringState *s, LuringCo *c, int res)
{
    trace_luring_co_done(s, c, res);
    if (res == -EINTR || res == -EAGAIN) {
        /*
         * Files and block devices are not to answer so, but some SCSI drivers
         * do: again, until they have room.
         */
        co_queue(s, c);
    } else if (res < 0 || !c->qiov) {
        co_wake(s, c, MIN(res, 0));
    } else if (c->done + res == c->qiov->size) {
        co_wake(s, c, 0);
    } else if (res > 0 && c->type != QEMU_AIO_ZONE_APPEND) {
        co_queue_rest(s, c, res);
    } else {
        co_wake(s, c, co_end_of_file(c));
    }
}

int coroutine_fn luring_co_submit(BlockDriverState *bs, int fd, uint64_t offset,
                                  QEMUIOVector *qiov, int type,
                                  BdrvRequestFlags flags)
{
    LuringState *s = aio_get_linux_io_uring(qemu_get_current_aio_context());
    LuringCo c = {
        .co = qemu_coroutine_self(),
        .fd = fd,
        .type = type,
        .rw_flags = flags & BDRV_REQ_FUA ? RWF_DSYNC : 0,
        .offset = offset,
        .qiov = qiov,
    };

    trace_luring_co_begin(s, &c, fd, offset, qiov ? qiov->size : 0, type);
    co_queue(s, &c);
    /* aio_ring_submit() completes nothing: the coroutine is not entered before */
    qemu_coroutine_yield();
    return c.ret;
}

bool luring_has_fua(void)
{
    return true;
}
