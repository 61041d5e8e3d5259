/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A command on its way into the submission queue.
 */

#ifndef BLOCK_NVME_SUBMIT_H
#define BLOCK_NVME_SUBMIT_H

#include "qemu/defer-call.h"
#include "controller.h"

/* The doorbell, for all that has been put since. */
void nvme_queue_ring(void *opaque);

/* The first command of an idle queue: somebody must see to its end. */
void nvme_queue_first(NvmeQueue *q);

/*
 * So many entries ahead the submission queue's memory is asked for: the controller,
 * or its server, has read it since it was last written, and stores to it wait in
 * order until it is this CPU's again.
 */
#define NVME_PREFETCHED 8

/*
 * Private: asks for the memory at @p, which is going to be written.  @p need not be
 * valid.
 */
static inline void nvme_prefetch_to_write(const NvmeCmd *p)
{
#ifdef __x86_64__
    /*
     * __builtin_prefetch() would be this only if every CPU of the kind had it: those
     * that have not do nothing (Intel SDM, volume 2, PREFETCHW).
     */
    asm volatile("prefetchw %0" : : "m"(*(const char *)p));
#else
    __builtin_prefetch(p, 1);
#endif
}

/* Private: also for a command that is already in flight. */
static inline void nvme_queue_put_command(NvmeQueue *q, NvmeRequest *req)
{
    unsigned tail = q->sq_tail;

    nvme_prefetch_to_write(&q->sq[tail] + NVME_PREFETCHED);
    memcpy(&q->sq[tail], &req->cmd, sizeof(NvmeCmd));
    tail++;
    q->sq_tail = likely(tail != q->entries) ? tail : 0;
    qatomic_set(&req->tick, qatomic_read(&q->c->watch.tick));
    if (!q->in_section) {
        q->in_section = true;
        defer_call(nvme_queue_ring, q);
    }
}

/*
 * @req->cmd is filled in, but for its identifier and namespace, and @req->done set.
 * The thread of @q.  Cost: 64 bytes copied, four loads, four stores, three branches.
 */
static inline void nvme_queue_submit(NvmeQueue *q, NvmeRequest *req)
{
    uint16_t in_flight = q->in_flight;

    qatomic_set(&q->in_flight, in_flight + 1);
    if (in_flight == 0) {
        nvme_queue_first(q);
    }
    nvme_queue_put_command(q, req);
}

#endif /* BLOCK_NVME_SUBMIT_H */
