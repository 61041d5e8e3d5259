/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A pair of an I/O submission queue and its completion queue.
 *
 * A queue belongs to one AioContext at a time, that of the thread that first
 * submitted (queues.c); all here is that thread's, so that nothing has a lock.
 * The words that others look at say so.
 *
 *     nvme_queue_get_request()    a free command identifier, and what is kept by it
 *     nvme_queue_submit()         the command, into the submission queue; the doorbell
 *                                 is rung at the end of the section of
 *                                 defer_call_begin() (submit.h)
 *     nvme_queue_complete()       calls request->done() for each completion
 *
 * A request is of the caller from nvme_queue_get_request() to
 * nvme_queue_put_request(), which done() calls.  There are fewer of them than
 * entries in either ring: neither can overflow, and room in the submission queue
 * need not be counted.
 */

#ifndef BLOCK_NVME_QUEUE_H
#define BLOCK_NVME_QUEUE_H

#include "block/nvme.h"
#include "qemu/coroutine.h"
#include "qemu/event_notifier.h"
#include "memory.h"

typedef struct NvmeController NvmeController;
typedef struct NvmeQueue NvmeQueue;
typedef struct NvmeRequest NvmeRequest;

/* @ret: 0 or -errno.  In the queue's thread. */
typedef void NvmeDone(NvmeQueue *q, NvmeRequest *req, int ret);

struct QEMU_ALIGNED(64) NvmeRequest {
    NvmeCmd cmd;                /* kept, to be submitted again; cid and nsid stay */

    NvmeDone *done;
    void *opaque;
    void *list;                 /* a page: PRPs, SGL or ranges; in DMA memory */
    uint64_t list_iova;
    uint32_t tick;              /* atomic, for the watch: when; 0: not submitted */
    uint32_t aborted;           /* atomic: the tick of what the watch has aborted */
    uint16_t next_free;
    uint8_t tries;              /* 0 of a free request */
    uint64_t reserved;
};
QEMU_BUILD_BUG_MSG(sizeof(NvmeRequest) != 128,
                   "a request is two cache lines: its command, and what is kept");

/* No request, as a number in the stack of free ones. */
#define NVME_NO_REQUEST UINT16_MAX

/* Where one end of a queue is told of, and, shadowed, where it is looked for. */
typedef struct NvmeDoorbell {
    volatile uint32_t *reg;     /* NULL: not mapped */
    uint32_t *shadow;           /* NULL: the controller has none */
    uint32_t *event;            /* tell when this is passed */
    unsigned offset;            /* of the register in BAR0 */
} NvmeDoorbell;

/* Since the queue was made; written by its thread, read with qatomic_read_u64(). */
typedef struct NvmeQueueCounters {
    uint64_t aligned;           /* accesses of memory as it is */
    uint64_t unaligned;         /* ... through the driver's own */
    uint64_t errors;            /* completions with an error */
    uint64_t retries;
} NvmeQueueCounters;

struct NvmeQueue {
    /* read by each request; written while no thread uses the queue */
    NvmeController *c;
    NvmeCmd *sq;
    NvmeCqe *cq;
    NvmeRequest *req;
    AioContext *ctx;            /* NULL: the queue is free; holds a reference */
    unsigned guests;            /* with the controller's lock: coroutines of others */
    uint16_t entries;           /* of both rings; requests are one fewer */
    uint16_t id;                /* 1 is the first; 0 is the admin queue's */
    uint16_t vector;            /* of its interrupt; 0 if it is polled */
    bool is_polled;             /* made without an interrupt */
    NvmeDoorbell sq_bell;
    NvmeDoorbell cq_bell;

    /* written by the owner */
    QEMU_ALIGNED(64) uint16_t sq_tail;
    uint16_t sq_rung;           /* the tail that the controller knows */
    uint16_t cq_head;
    uint16_t cq_rung;
    uint16_t phase;             /* of new completions */
    uint16_t free;              /* the top of the stack of free requests */
    uint16_t in_flight;         /* atomic, for the watch */
    bool is_stopped;            /* the controller is being reset */
    bool is_dead;               /* ... or is no more: requests end with -EIO */
    bool in_section;            /* the doorbell waits for the end of a batch */
    bool is_asked;              /* see spin() of queues.c */
    bool takes_part;            /* ... in polling, when the event loop comes to it */
    bool is_in_loop;            /* the event loop asks nvme_queue_has_completion() */
    NvmeRegions regions;
    NvmeQueueCounters counters;
    unsigned n_waiting;         /* coroutines, there: */
    CoQueue waiting;            /* for a free request, or for the end of a reset */

    EventNotifier notifier;     /* the interrupt's; of a polled queue, only a handle */
    QEMUBH *bh;
    void *rings;
    uint64_t rings_iova;
    size_t rings_size;
};

/*
 * Memory for a queue of @entries entries and its requests.  Any thread.  NULL with
 * @errp set on failure.  The controller is told of it by nvme_admin_create_queue().
 */
NvmeQueue *nvme_queue_new(NvmeController *c, uint16_t id, uint16_t entries,
                          bool is_polled, Error **errp);
void nvme_queue_free(NvmeQueue *q);

/* Empty rings, as for a controller that has just been told of them. */
void nvme_queue_reset_rings(NvmeQueue *q);

static inline uint64_t nvme_queue_sq_iova(const NvmeQueue *q)
{
    return q->rings_iova;
}
uint64_t nvme_queue_cq_iova(const NvmeQueue *q);

/* Whether nvme_queue_get_request() has one, and it can be submitted. */
static inline bool nvme_queue_is_ready(const NvmeQueue *q)
{
    return !q->is_stopped && q->free != NVME_NO_REQUEST;
}

/* Whether its thread never sleeps. */
bool nvme_queue_is_busy(const NvmeQueue *q);

/* There is one: nvme_queue_is_ready().  Cost: three loads, a store. */
static inline NvmeRequest *nvme_queue_get_request(NvmeQueue *q)
{
    NvmeRequest *req = &q->req[q->free];

    q->free = req->next_free;
    return req;
}

void nvme_queue_wake(NvmeQueue *q) __attribute__((cold));

static inline void nvme_queue_put_request(NvmeQueue *q, NvmeRequest *req)
{
    req->next_free = q->free;
    q->free = req - q->req;
    if (unlikely(q->n_waiting)) {
        nvme_queue_wake(q);
    }
}

/* Whether nvme_queue_complete() would find any.  Cost: three loads. */
static inline bool nvme_queue_has_completion(const NvmeQueue *q)
{
    return (le16_to_cpu(qatomic_read(&q->cq[q->cq_head].status)) & 1) == q->phase;
}

/* Returns whether there were any. */
bool nvme_queue_complete(NvmeQueue *q);

/* A reset is over, the rings are empty: what was in flight is submitted again. */
void nvme_queue_restart(NvmeQueue *q);

/* The controller is no more, and does not touch memory: all ends with -EIO. */
void nvme_queue_fail(NvmeQueue *q);

/* The errno of a completion's status field without its phase, <= 0.  status.c */
int nvme_status_to_errno(uint16_t status);

/* Whether a command that ended so may succeed if it is submitted again. */
bool nvme_status_is_transient(uint16_t status);

#endif /* BLOCK_NVME_QUEUE_H */
