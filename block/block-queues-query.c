/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a user sees of the queues and the fast path of each BlockBackend.
 */

#include "qemu/osdep.h"
#include "block/aio-home.h"
#include "block/block_int.h"
#include "block/export-of.h"
#include "block/fast-path.h"
#include "qapi/qapi-commands-block-queues.h"
#include "qapi/util.h"
#include "system/block-backend.h"
#include "system/iothread-of.h"

#define SAME_REASON(name)                                                   \
    QEMU_BUILD_BUG_MSG((int)BLK_FAST_##name !=                              \
                       (int)BLOCK_FAST_PATH_REASON_##name,                  \
                       "the schema has the reasons in another order")
SAME_REASON(SWITCHED_OFF);
SAME_REASON(NO_MEDIUM);
SAME_REASON(INACTIVE);
SAME_REASON(DRAINED);
SAME_REASON(CHANGING);
SAME_REASON(SERIALISING);
SAME_REASON(THROTTLED);
SAME_REASON(NO_DRIVER_SUPPORT);
SAME_REASON(IMAGE_FORMAT);
SAME_REASON(FILTER_NODE);
SAME_REASON(COPY_ON_READ);
SAME_REASON(DETECT_ZEROES);
SAME_REASON(DIRTY_BITMAP);
SAME_REASON(WRITE_THRESHOLD);
SAME_REASON(ZONED);
SAME_REASON(AIO_THREADS);
SAME_REASON(LATENCY);
SAME_REASON(REPLAY);
QEMU_BUILD_BUG_MSG((int)BLK_FAST_REASON__MAX !=
                   (int)BLOCK_FAST_PATH_REASON__MAX,
                   "a reason is missing here or in the schema");

/* The name of the thread of @ctx, or NULL. */
static char *thread_name(AioContext *ctx)
{
    IOThread *iothread;

    if (!ctx) {
        return NULL;
    }
    if (ctx == qemu_get_aio_context()) {
        return g_strdup("main-loop");
    }
    iothread = iothread_of(ctx);
    return iothread ? iothread_get_id(iothread) : NULL;
}

static BlockQueueRequests *requests(BlkQueue *q, BlkFastOp op)
{
    BlockQueueRequests *info = g_new0(BlockQueueRequests, 1);

    info->fast_requests = qatomic_read_u64(&q->fast_ops[op]);
    info->fast_bytes = qatomic_read_u64(&q->fast_bytes[op]);
    info->ordinary_requests = qatomic_read_u64(&q->ordinary_ops[op]);
    info->ordinary_bytes = qatomic_read_u64(&q->ordinary_bytes[op]);
    return info;
}

static int64_t in_flight(BlkQueue *q)
{
    unsigned long ended = queue_read(&q->ended) + queue_read(&q->fast_ended);

    /* ends before begins, as wherever they are summed */
    return (long)(queue_read(&q->begun) + queue_read(&q->fast_begun) - ended);
}

static BlockQueue *queue(BlkQueue *q)
{
    BlockQueue *info = g_new0(BlockQueue, 1);

    info->home = q->slot.home;
    info->iothread = thread_name(aio_home_context(q->slot.home));
    info->in_flight = in_flight(q);
    info->read = requests(q, BLK_FAST_READ);
    info->write = requests(q, BLK_FAST_WRITE);
    info->flush = requests(q, BLK_FAST_FLUSH);
    info->discard = requests(q, BLK_FAST_DISCARD);
    info->write_zeroes = requests(q, BLK_FAST_WRITE_ZEROES);
    return info;
}

static BlockQueueList *queues(BlockBackend *blk)
{
    BlockQueueList *list = NULL, **tail = &list;
    unsigned home;
    BlkQueue *q;

    QUEUE_SLOTS_FOREACH(q, &blk_fast(blk)->queues, home) {
        QAPI_LIST_APPEND(tail, queue(q));
    }
    return list;
}

static BlockVirtqueueList *virtqueues(BlockBackend *blk)
{
    BlockVirtqueueList *list = NULL, **tail = &list;
    AioContext *ctx;
    unsigned i;

    for (i = 0; (ctx = blk_queue_context(blk, i)); i++) {
        BlockVirtqueue *info = g_new0(BlockVirtqueue, 1);

        info->queue = i;
        info->iothread = thread_name(ctx);
        QAPI_LIST_APPEND(tail, info);
    }
    return list;
}

static BlockFastPathReasonList *reason_list(uint32_t reasons)
{
    BlockFastPathReasonList *list = NULL, **tail = &list;
    int i;

    for (i = 0; i < BLK_FAST_REASON__MAX; i++) {
        if (reasons & (1u << i)) {
            QAPI_LIST_APPEND(tail, i);
        }
    }
    return list;
}

static char *copy_unless_empty(const char *s)
{
    return s && *s ? g_strdup(s) : NULL;
}

/* What @blk is, to a user; NULL for one that belongs to a job, say. */
static BlockQueues *describe(BlockBackend *blk)
{
    g_autofree char *qdev = blk_get_attached_dev_id(blk);
    BlockDriverState *bs = blk_bs(blk);
    BlockQueues *info;

    if (!*blk_name(blk) && !*qdev && !blk_exp_id(blk)) {
        return NULL;
    }
    info = g_new0(BlockQueues, 1);
    info->device = copy_unless_empty(blk_name(blk));
    info->qdev = copy_unless_empty(qdev);
    info->export = copy_unless_empty(blk_exp_id(blk));
    info->node_name = copy_unless_empty(bs ? bdrv_get_node_name(bs) : NULL);
    return info;
}

BlockQueuesList *qmp_query_block_queues(Error **errp)
{
    BlockQueuesList *list = NULL, **tail = &list;
    BlockBackend *blk;

    GLOBAL_STATE_CODE();
    for (blk = blk_all_next(NULL); blk; blk = blk_all_next(blk)) {
        BlockQueues *info = describe(blk);
        uint32_t reasons = qatomic_read(&blk_fast(blk)->reasons);

        if (!info) {
            continue;
        }
        info->fast_path = reasons == 0;
        info->reasons = reason_list(reasons);
        info->in_flight = blk_queues_in_flight(blk);
        info->queues = queues(blk);
        info->virtqueues = virtqueues(blk);
        info->has_virtqueues = info->virtqueues != NULL;
        QAPI_LIST_APPEND(tail, info);
    }
    return list;
}
