/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fast way of a request to the ring.  All that it needs is in the request.
 */

#include "qemu/osdep.h"
#include "block/block.h"
#include "block/io-uring.h"

/* BlkFastRequest.leaf_data, for who waits for an entry */
enum {
    DATA_OFFSET,
    DATA_FD,
};

/* A single element needs no vector, which the kernel would have to copy. */
static inline void prepare_rw(struct io_uring_sqe *sqe, BlkFastRequest *req,
                              int fd, int64_t offset)
{
    const QEMUIOVector *qiov = req->qiov;
    bool is_read = req->op == BLK_FAST_READ;

    if (likely(qiov->niov == 1)) {
        io_uring_prep_rw(is_read ? IORING_OP_READ : IORING_OP_WRITE, sqe, fd,
                         qiov->iov[0].iov_base, req->bytes, offset);
    } else {
        io_uring_prep_rw(is_read ? IORING_OP_READV : IORING_OP_WRITEV, sqe, fd,
                         qiov->iov, qiov->niov, offset);
    }
    if (req->flags & BDRV_REQ_FUA) {
        sqe->rw_flags = RWF_DSYNC;
    }
}

static inline void prepare(struct io_uring_sqe *sqe, BlkFastRequest *req,
                           int fd, bool registered,
                           int64_t offset)
{
    if (req->op == BLK_FAST_FLUSH) {
        io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
    } else {
        prepare_rw(sqe, req, fd, offset);
    }
    if (likely(registered)) {
        sqe->flags |= IOSQE_FIXED_FILE;
    }
    sqe->user_data = (uintptr_t)req | LURING_FAST;
}

static void __attribute__((cold)) wait_for_sqe(LuringState *s,
                                               BlkFastRequest *req, int fd,
                                               int64_t offset)
{
    req->leaf_data[DATA_OFFSET] = offset;
    req->leaf_data[DATA_FD] = fd;
    QSIMPLEQ_INSERT_TAIL(&s->fast_waiting, req, leaf_next);
}

void luring_fast_fill(LuringState *s)
{
    BlkFastRequest *req;

    while ((req = QSIMPLEQ_FIRST(&s->fast_waiting))) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring->uring);

        if (!sqe) {
            return;
        }
        QSIMPLEQ_REMOVE_HEAD(&s->fast_waiting, leaf_next);
        prepare(sqe, req, req->leaf_data[DATA_FD], false,
                req->leaf_data[DATA_OFFSET]);
    }
}

/*
 * A flush has its file looked up by the kernel's worker, at any time later, when the
 * ring may have let go of it (files.c): an fd's number stays (raw_fast_replace_fd()).
 */
int luring_fast_submit(LuringState *s, BlkFastRequest *req, int fd,
                       const LuringFile *file, int64_t offset)
{
    bool registered = req->op != BLK_FAST_FLUSH &&
                      luring_file_use(s, file->number, fd);
    struct io_uring_sqe *sqe = aio_ring_get_sqe(s->ring);

    if (likely(sqe)) {
        prepare(sqe, req, registered ? file->number : fd, registered, offset);
    } else {
        wait_for_sqe(s, req, fd, offset);
    }
    luring_queued(s, !sqe);
    return -EINPROGRESS;
}

/* What is not whole is done again, the ordinary way, from its beginning. */
void luring_fast_done(LuringState *s, BlkFastRequest *req, int res)
{
    int64_t bytes = req->op == BLK_FAST_FLUSH ? 0 : req->bytes;

    if (likely(res == bytes)) {
        blk_fast_complete(req, 0);
    } else if (res >= 0 || res == -EAGAIN || res == -EINTR ||
               (s->iopoll && res == -EOPNOTSUPP)) {
        blk_fast_retry(req);
    } else {
        blk_fast_complete(req, res);
    }
}
