/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The way of a fast request: submitted, done, or sent the ordinary way.
 */

#include "qemu/osdep.h"
#include "block/aio-wait.h"
#include "block/block_int.h"
#include "block/fast-path.h"
#include "qemu/iov.h"
#include "system/block-backend.h"

QEMU_BUILD_BUG_MSG(sizeof(BlkQueue) % QUEUE_SLOT_ALIGN,
                   "two queues of a BlockBackend would write one cache line");
QEMU_BUILD_BUG_MSG(offsetof(BlkFast, reasons) / QUEUE_SLOT_ALIGN !=
                   offsetof(BlkFast, path.max_iov) / QUEUE_SLOT_ALIGN,
                   "what each request reads is to be in one pair of lines");

static inline BlkQueue *blk_queue(BlockBackend *blk)
{
    return (BlkQueue *)queue_slot(&blk_fast(blk)->queues);
}

void blk_queue_begin(BlockBackend *blk)
{
    BlkQueue *q = blk_queue(blk);

    queue_add(&q->slot, &q->begun, 1);
    asymmetric_barrier_light();
}

void blk_queue_end(BlockBackend *blk)
{
    BlkQueue *q = blk_queue(blk);

    queue_add(&q->slot, &q->ended, 1);
}

/* All ends before all begins, in both, see block/bdrv-queue.h. */
unsigned long blk_fast_in_flight(BlockBackend *blk)
{
    QueueSlots *queues = &blk_fast(blk)->queues;
    BlkQueue *q;
    unsigned long ended = QUEUE_SLOTS_SUM(q, queues, queue_read(&q->fast_ended));

    return QUEUE_SLOTS_SUM(q, queues, queue_read(&q->fast_begun)) - ended;
}

unsigned long blk_queues_in_flight(BlockBackend *blk)
{
    QueueSlots *queues = &blk_fast(blk)->queues;
    BlkQueue *q;
    unsigned long ended = QUEUE_SLOTS_SUM(q, queues, queue_read(&q->ended) +
                                                     queue_read(&q->fast_ended));

    return QUEUE_SLOTS_SUM(q, queues, queue_read(&q->begun) +
                                      queue_read(&q->fast_begun)) - ended;
}

static inline void count(uint64_t *ops, uint64_t *bytes, int64_t n)
{
    qatomic_set_u64(ops, *ops + 1);
    qatomic_set_u64(bytes, *bytes + n);
}

void blk_queue_count(BlockBackend *blk, BlkFastOp op, int64_t bytes)
{
    BlkQueue *q = blk_queue(blk);

    if (unlikely(q->slot.shared)) {
        /* several threads count here: rare enough for the lock of the slots */
        QEMU_LOCK_GUARD(&blk_fast(blk)->queues.lock);
        count(&q->ordinary_ops[op], &q->ordinary_bytes[op], bytes);
        return;
    }
    count(&q->ordinary_ops[op], &q->ordinary_bytes[op], bytes);
}

/*
 * Whether the path, which is open, is for this request.
 * Cost: ten or so comparisons within two cache lines that nobody writes.
 */
static inline bool path_takes(const BdrvFastPath *path, BlkFastRequest *req)
{
    if (unlikely(!(path->ops & (1u << req->op)))) {
        return false;
    }
    if (req->op == BLK_FAST_FLUSH) {
        return true;
    }
    if (unlikely((uint64_t)(req->bytes - 1) >= path->max_transfer ||
                 ((req->offset | req->bytes) & (path->align - 1)) ||
                 /* max_transfer is at most the length */
                 (uint64_t)req->offset > path->length - req->bytes)) {
        return false;
    }
    if (req->qiov && unlikely(req->qiov->niov > path->max_iov)) {
        return false;
    }
    if (req->op != BLK_FAST_READ) {
        req->flags |= path->write_flags;
        return likely(req->offset >= path->write_from &&
                      !(req->flags & ~path->supported_flags));
    }
    return likely(!(req->flags & ~BDRV_REQ_REGISTERED_BUF));
}

/*
 * The write @req, which has ended, in the nodes of its path: two stores a node.
 * Apart, so that reads need not save the registers that it takes.
 */
static void __attribute__((noinline)) note_write(const BdrvFastPath *path,
                                                 BlkFastRequest *req)
{
    unsigned i;

    for (i = 0; i < path->n_nodes; i++) {
        QueueSlots *queues = &path->node[i]->queues;

        bdrv_queue_wrote(queues);
        bdrv_queue_wrote_up_to(queues, req->offset + path->node_offset[i] +
                                       req->bytes);
    }
}

/*
 * A dirty bitmap may have been added since @req was submitted; the ordinary way
 * too looks for bitmaps when a write ends.  The adder inserts the bitmap, closes
 * the path and executes the heavy barrier: who does not see the path closed has
 * written before that, and before anything that uses the bitmap reads.
 */
static void __attribute__((cold)) note_write_closed(const BdrvFastPath *path,
                                                    BlkFastRequest *req)
{
    unsigned i;

    for (i = 0; i < path->n_nodes; i++) {
        bdrv_set_dirty(path->node[i], req->offset + path->node_offset[i],
                       req->bytes);
    }
}

/* The last of what @req does to the nodes, before its caller hears of it. */
static inline void note_done(BlkFast *fast, BlkFastRequest *req)
{
    if (req->op != BLK_FAST_READ && req->op != BLK_FAST_FLUSH) {
        note_write(&fast->path, req);
        asymmetric_barrier_light();     /* the write; then the reasons */
        if (unlikely(qatomic_read(&fast->reasons))) {
            note_write_closed(&fast->path, req);
        }
    }
}

/* A fast request, whose path was closed for @reasons meanwhile, has ended. */
static void __attribute__((cold)) ended_closed(BlkFast *fast, BlkQueue *q,
                                               uint32_t reasons)
{
    if (reasons & (1u << BLK_FAST_CHANGING)) {
        qemu_bh_schedule(fast->resolve_bh);
    }
    qatomic_store_release(&q->ending, false);

    if (reasons & (1u << BLK_FAST_SERIALISING)) {
        blk_fast_wake_serialising();
    }
    aio_wait_kick();
}

/*
 * Once it is counted as ended, the main loop may find none in flight and free the
 * BlockBackend: blk_fast_destroy() waits while a slot says that one is ending.
 */
static inline void end(BlkFast *fast, BlkQueue *q)
{
    uint32_t reasons;

    qatomic_set(&q->ending, true);
    queue_add(&q->slot, &q->fast_ended, 1);
    asymmetric_barrier_light();         /* the end; then the reasons */
    reasons = qatomic_read(&fast->reasons);
    if (unlikely(reasons)) {
        ended_closed(fast, q, reasons);
        return;
    }
    qatomic_store_release(&q->ending, false);
}

static void ordinary_done(void *opaque, int ret)
{
    BlkFastRequest *req = opaque;

    req->cb(req, ret);
}

static void __attribute__((cold)) submit_ordinary(BlkFastRequest *req)
{
    BlockBackend *blk = req->blk;

    switch (req->op) {
    case BLK_FAST_READ:
        blk_aio_preadv(blk, req->offset, req->qiov, req->flags,
                       ordinary_done, req);
        break;
    case BLK_FAST_WRITE:
        blk_aio_pwritev(blk, req->offset, req->qiov, req->flags,
                        ordinary_done, req);
        break;
    case BLK_FAST_FLUSH:
        blk_aio_flush(blk, ordinary_done, req);
        break;
    case BLK_FAST_DISCARD:
        blk_aio_pdiscard(blk, req->offset, req->bytes, ordinary_done, req);
        break;
    case BLK_FAST_WRITE_ZEROES:
        blk_aio_pwrite_zeroes(blk, req->offset, req->bytes, req->flags,
                              ordinary_done, req);
        break;
    default:
        g_assert_not_reached();
    }
}

int blk_fast_submit(BlockBackend *blk, BlkFastRequest *req)
{
    BlkFast *fast = blk_fast(blk);
    BlkQueue *q;
    int ret;

    req->blk = blk;
    if (unlikely(qatomic_read(&fast->reasons))) {
        goto ordinary;
    }
    q = blk_queue(blk);
    if (unlikely(q->slot.shared)) {
        /* This thread has no event loop of its own to complete in. */
        goto ordinary;
    }

    queue_add(&q->slot, &q->fast_begun, 1);
    asymmetric_barrier_light();         /* the begin; then the reasons */
    /* acquire: pairs with the release that opened the path, after writing it */
    if (unlikely(qatomic_load_acquire(&fast->reasons)) ||
        !path_takes(&fast->path, req)) {
        end(fast, q);
        goto ordinary;
    }

    req->queue = q;
    ret = fast->path.submit(&fast->path, req, fast->path.offset + req->offset);
    if (unlikely(ret == BDRV_FAST_ORDINARY)) {
        end(fast, q);
        goto ordinary;
    }
    count(&q->fast_ops[req->op], &q->fast_bytes[req->op], req->bytes);
    if (ret != -EINPROGRESS) {
        note_done(fast, req);
        end(fast, q);
    }
    return ret;

ordinary:
    submit_ordinary(req);
    return -EINPROGRESS;
}

void blk_fast_complete(BlkFastRequest *req, int ret)
{
    BlkFast *fast = blk_fast(req->blk);
    BlkQueue *q = req->queue;

    note_done(fast, req);
    req->cb(req, ret);
    end(fast, q);               /* @req is the caller's again */
}

void blk_fast_retry(BlkFastRequest *req)
{
    BlkFast *fast = blk_fast(req->blk);
    BlkQueue *q = req->queue;

    /*
     * In flight all the while: drain sees no moment without it.  It may start by
     * waiting for a serialising request, which waits for the end of fast ones.
     */
    blk_fast_retry_start(req);
    end(fast, q);
}
