/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fast way of a request: from a virtqueue to the doorbell in one thread, with
 * neither coroutine nor lock.  What is not at hand goes the ordinary way (io.c):
 * no queue yet, none of its requests free, memory that is not mapped.
 */

#include "qemu/osdep.h"
#include "block/fast-path.h"
#include "queues.h"
#include "submit.h"

static void fast_done(NvmeQueue *q, NvmeRequest *req, int ret)
{
    BlkFastRequest *fast = req->opaque;

    nvme_queue_put_request(q, req);
    blk_fast_complete(fast, ret);
}

static inline int submit(NvmeQueue *q, NvmeRequest *req, BlkFastRequest *fast)
{
    req->opaque = fast;
    req->done = fast_done;
    nvme_queue_submit(q, req);
    return -EINPROGRESS;
}

static int __attribute__((noinline)) submit_flush(NvmeController *c,
                                                  BlkFastRequest *fast)
{
    NvmeQueue *q;
    NvmeRequest *req;

    if (!c->has_write_cache) {
        return 0;
    }
    q = nvme_queues_own(c, fast->queue->slot.home);
    if (!q || !nvme_queue_is_ready(q)) {
        return BDRV_FAST_ORDINARY;
    }
    req = nvme_queue_get_request(q);
    nvme_command_flush(&req->cmd);
    return submit(q, req, fast);
}

int nvme_fast_submit(const BdrvFastPath *path, BlkFastRequest *fast,
                     int64_t offset)
{
    NvmeController *c = path->opaque;
    NvmeQueue *q;
    NvmeRequest *req;

    if (unlikely(fast->op == BLK_FAST_FLUSH)) {
        return submit_flush(c, fast);
    }
    q = nvme_queues_own(c, fast->queue->slot.home);
    if (unlikely(!q || !nvme_queue_is_ready(q))) {
        return BDRV_FAST_ORDINARY;
    }
    req = nvme_queue_get_request(q);
    if (unlikely(!nvme_data_prepare(q, req, fast->qiov, fast->bytes))) {
        nvme_queue_put_request(q, req);
        return BDRV_FAST_ORDINARY;
    }
    nvme_command_rw(c, &req->cmd, fast->op == BLK_FAST_WRITE, offset,
                    fast->bytes, fast->flags & BDRV_REQ_FUA);
    qatomic_set_u64(&q->counters.aligned, q->counters.aligned + 1);
    return submit(q, req, fast);
}
