/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fast path: requests of a BlockBackend that go to the leaf node's driver
 * without coroutine, allocation or lock, while nothing on the way needs one.
 *
 * For a device or an export:
 *
 *     req->op = BLK_FAST_READ;          the request is the caller's memory
 *     req->offset = ...;
 *     req->bytes = ...;
 *     req->qiov = ...;
 *     req->cb = done;
 *     defer_call_begin();               a batch: one system call, one doorbell
 *     ret = blk_fast_submit(blk, req);
 *     if (ret != -EINPROGRESS)          answered at once: done is not called
 *         ...
 *     defer_call_end();
 *
 * blk_fast_submit() takes every request that the blk_aio_*() functions take.  If
 * the path is closed, or is not for this request, or the leaf cannot finish it
 * (a short read, EAGAIN), the request goes the ordinary way and completes the
 * same: the caller need not know.
 *
 * The path is open or closed.  BlkFast holds a set of reasons (BlkFastReason);
 * open is having none.  Reasons are found by looking at the nodes from the
 * BlockBackend down to a leaf (block/fast-resolve.c) whenever something may have
 * changed (blk_fast_changed(), bdrv_fast_changed()), in a bottom half of the main
 * loop.  The path itself is written only while it is closed and none of its
 * requests is in flight.
 *
 * What holds for requests in flight, and why:
 *
 *  - Drain.  A request is counted in the BlockBackend, which every drain of a
 *    node below it polls, exactly as block/bdrv-queue.h says, with the reasons in
 *    the place of quiesce_counter: count, light barrier, look at the reasons;
 *    against: add a reason, heavy barrier, sum the counts.
 *  - Serialising requests of a node add a reason to all BlockBackends above it,
 *    and wait until none of their fast requests is in flight, in the same way.
 *  - Flush: a write has raised the generation of each node on its way before it
 *    completes, so that no later flush of them is skipped.
 *  - A request that ends looks at the reasons again, after its count and a light
 *    barrier, and if there are any does what a closed path needs: wakes who
 *    waits, and marks dirty bitmaps that were added while it was on its way.
 */

#ifndef BLOCK_FAST_PATH_H
#define BLOCK_FAST_PATH_H

#include "block/block-common.h"
#include "block/queue-slots.h"
#include "qemu/asymmetric-barrier.h"
#include "qemu/iov.h"

typedef enum BlkFastOp {
    BLK_FAST_READ,
    BLK_FAST_WRITE,
    BLK_FAST_FLUSH,
    BLK_FAST_DISCARD,
    BLK_FAST_WRITE_ZEROES,
    BLK_FAST__MAX,
} BlkFastOp;

/*
 * Why a path is closed; the order is that of BlockFastPathReason in
 * qapi/block-queues.json, whose documentation explains them.
 */
typedef enum BlkFastReason {
    BLK_FAST_SWITCHED_OFF,
    BLK_FAST_NO_MEDIUM,
    BLK_FAST_INACTIVE,
    BLK_FAST_DRAINED,
    BLK_FAST_CHANGING,
    BLK_FAST_SERIALISING,
    BLK_FAST_THROTTLED,
    BLK_FAST_NO_DRIVER_SUPPORT,
    BLK_FAST_IMAGE_FORMAT,
    BLK_FAST_FILTER_NODE,
    BLK_FAST_COPY_ON_READ,
    BLK_FAST_DETECT_ZEROES,
    BLK_FAST_DIRTY_BITMAP,
    BLK_FAST_WRITE_THRESHOLD,
    BLK_FAST_ZONED,
    BLK_FAST_AIO_THREADS,
    BLK_FAST_LATENCY,
    BLK_FAST_REPLAY,
    BLK_FAST_REASON__MAX,
} BlkFastReason;

typedef struct BlkFastRequest BlkFastRequest;
typedef struct BdrvFastPath BdrvFastPath;
typedef struct BdrvQueue BdrvQueue;

/*
 * A request is done, in the thread that submitted it: @ret is 0 or -errno.  @req
 * is the caller's again.
 */
typedef void BlkFastFunc(BlkFastRequest *req, int ret);

struct BlkFastRequest {
    /* set by the caller; constant until done */
    BlkFastOp op;
    BdrvRequestFlags flags;     /* BDRV_REQ_FUA, BDRV_REQ_MAY_UNMAP */
    int64_t offset;             /* bytes; not for a flush */
    int64_t bytes;
    QEMUIOVector *qiov;         /* of @bytes, for reads and writes; else NULL */
    BlkFastFunc *cb;

    /* private to the fast path */
    BlockBackend *blk;
    struct BlkQueue *queue;     /* the thread's; for the leaf to read its home */

    /* private to the leaf, from its submit function until it is done */
    QSIMPLEQ_ENTRY(BlkFastRequest) leaf_next;
    uint64_t leaf_data[4];
};

/* One AioContext's counts in a BlockBackend. */
typedef struct QEMU_ALIGNED(QUEUE_SLOT_ALIGN) BlkQueue {
    QueueSlot slot;
    unsigned long begun;                /* ordinary requests, see blk_inc_in_flight() */
    unsigned long ended;
    unsigned long fast_begun;
    unsigned long fast_ended;
    bool ending;                        /* atomic; see end() in fast-path.c */
    uint64_t fast_ops[BLK_FAST__MAX];   /* submitted since the BlockBackend exists */
    uint64_t fast_bytes[BLK_FAST__MAX];
    uint64_t ordinary_ops[BLK_FAST__MAX];
    uint64_t ordinary_bytes[BLK_FAST__MAX];
} BlkQueue;

/* The nodes of a path: raw over raw over file, and one to spare. */
#define BDRV_FAST_MAX_NODES 4

/*
 * Hands @req to the leaf, with @offset in the leaf's bytes.  In the thread that
 * will complete it.  Returns -EINPROGRESS if blk_fast_complete() or
 * blk_fast_retry() will be called, from the thread's event loop; 0 or -errno if
 * the request is done; BDRV_FAST_ORDINARY if the leaf cannot take it.
 */
typedef int BdrvFastSubmit(const BdrvFastPath *path, BlkFastRequest *req,
                           int64_t offset);
#define BDRV_FAST_ORDINARY 1

/* From a BlockBackend to its leaf.  Read by each request. */
struct BdrvFastPath {
    BdrvFastSubmit *submit;
    void *opaque;               /* the leaf driver's */
    int64_t offset;             /* in the leaf, of the BlockBackend's byte 0 */
    int64_t length;             /* bytes, of the window */
    int64_t write_from;         /* writes that begin below go the ordinary way */
    uint32_t ops;               /* bit mask by BlkFastOp */
    uint32_t align;             /* of offset and bytes; a power of two */
    uint32_t max_transfer;      /* bytes */
    int max_iov;
    BdrvRequestFlags write_flags;       /* added to each write and write-zeroes */
    BdrvRequestFlags supported_flags;   /* of the leaf, for writes */
    unsigned n_nodes;
    BlockDriverState *node[BDRV_FAST_MAX_NODES];        /* leaf last */
    int64_t node_offset[BDRV_FAST_MAX_NODES];   /* of the BlockBackend's byte 0 */
};

/* Embedded in a BlockBackend, as its first member: see blk_fast(). */
typedef struct BlkFast {
    /* read by each request, written rarely */
    uint32_t reasons;           /* atomic; bit mask by BlkFastReason; 0 is open */
    BdrvFastPath path;
    QueueSlots queues;

    /*
     * Protected by @queues.lock, as are changes of @reasons.
     */
    unsigned changes;           /* calls of blk_fast_close() */
    unsigned serialising;       /* requests, on nodes below */
    bool was_open;              /* there may be requests in flight */

    /* main loop */
    bool switched_off;
    QEMUBH *resolve_bh;
} BlkFast;

/*
 * Submits @req to @blk.  Any thread that runs @blk's requests; not in a drained
 * section of its own making.  Returns -EINPROGRESS if @req->cb will be called,
 * from this thread's event loop and never from within this call; otherwise 0 or
 * -errno, and the request is done.
 */
int blk_fast_submit(BlockBackend *blk, BlkFastRequest *req);

/*
 * Whether @blk's path is open, for a caller that has an ordinary way of its own.
 * It may be closed the moment after.  Any thread.  Cost: a load.
 */
static inline bool blk_fast_is_open(BlockBackend *blk)
{
    return qatomic_read(&((BlkFast *)blk)->reasons) == 0;
}

/*
 * Whether @req is within the medium, whose size is the path's: for a caller that
 * treats one beyond it in a way of its own.  Of an open path, which may be changing
 * now: blk_fast_submit() looks again.  Any thread.  Cost: a load.
 */
static inline bool blk_fast_is_within(BlockBackend *blk,
                                      const BlkFastRequest *req)
{
    int64_t length = qatomic_read_i64(&((BlkFast *)blk)->path.length);

    return req->bytes <= length && req->offset <= length - req->bytes;
}

/* The leaf is done with a request for which it returned -EINPROGRESS. */
void blk_fast_complete(BlkFastRequest *req, int ret);

/*
 * As blk_fast_complete(), but the leaf could not finish: the ordinary way now.
 * Also from within the leaf's submit function.  The request stays counted as one
 * that went the fast way.
 */
void blk_fast_retry(BlkFastRequest *req);

/*
 * Its part in block-backend.c: starts the request, which began before any drained
 * section that there is now, and is in flight until it is done.
 */
void blk_fast_retry_start(BlkFastRequest *req);

/* BlockBackend's part; called by block/block-backend.c. */
void blk_fast_init(BlockBackend *blk);
void blk_fast_destroy(BlockBackend *blk);

/* A BlockBackend begins with its BlkFast. */
static inline BlkFast *blk_fast(BlockBackend *blk)
{
    return (BlkFast *)blk;
}

/*
 * A request is counted in @blk, see block/bdrv-queue.h.  begin orders the count
 * before what is read next; who ends a request then wakes who waits.
 */
void blk_queue_begin(BlockBackend *blk);
void blk_queue_end(BlockBackend *blk);

/* Requests of both ways, and fast ones, in flight; zero is exact after quiescing. */
unsigned long blk_queues_in_flight(BlockBackend *blk);
unsigned long blk_fast_in_flight(BlockBackend *blk);

/* An ordinary request was submitted. */
void blk_queue_count(BlockBackend *blk, BlkFastOp op, int64_t bytes);

/*
 * The path of @blk is closed when this returns, for @reason, and is resolved
 * anew by the main loop.  Requests in flight may still be: drain waits for them.
 * Any thread.
 */
void blk_fast_close(BlockBackend *blk, BlkFastReason reason);

/* As blk_fast_close(): something that the path was resolved from has changed. */
void blk_fast_changed(BlockBackend *blk);

/*
 * As blk_fast_changed(), for every BlockBackend above @bs.  Fast writes that
 * complete afterwards look at the dirty bitmaps of @bs.  Main loop, or any thread
 * with the graph lock.
 */
void bdrv_fast_changed(BlockDriverState *bs);

/*
 * The user's option fast-path of a device or an export: off keeps every request
 * of @blk on the ordinary way.  Main loop.  With QEMU_FAST_PATH=off in its
 * environment, a program keeps those of all BlockBackends there, whatever the
 * options say; =on is as nothing, and any other value ends it with an error.
 */
void blk_set_fast_path(BlockBackend *blk, bool on);

/*
 * A serialising request of @bs begins and ends: begin closes the paths above @bs,
 * wait returns when none of their requests is in flight, end lets them open.
 * All in one section of the graph lock, so that what is above does not change.
 * begin and end: any thread, also with the locks of @bs's queues held.
 */
void bdrv_fast_serialising_begin(BlockDriverState *bs);
void coroutine_fn bdrv_fast_serialising_wait(BlockDriverState *bs);
void bdrv_fast_serialising_end(BlockDriverState *bs);

/*
 * wait, for a write with @flags: only if BDRV_REQ_SERIALISING is one of them, and
 * not with BDRV_REQ_NO_WAIT: false then, if it would have had to.
 */
bool coroutine_fn bdrv_fast_serialising_try(BlockDriverState *bs,
                                            BdrvRequestFlags flags);

/* Wakes who waits there; a fast request of a closed path has ended. */
void blk_fast_wake_serialising(void);

/* The next node down from @bs on the way to a leaf, and what it adds. */
typedef struct BdrvFastStep {
    BlockDriverState *next;     /* or NULL: @bs is the leaf */
    uint32_t reasons;           /* bit mask by BlkFastReason */
    int64_t offset;             /* of @bs in @next, bytes */
    int64_t length;             /* of @bs, if it limits it, else INT64_MAX */
    int64_t write_from;         /* see BdrvFastPath */
    uint32_t ops;               /* that @bs can pass or do */

    /* of a leaf */
    BdrvFastSubmit *submit;
    void *opaque;
} BdrvFastStep;

/*
 * The part of the path that @blk itself decides: its reasons, as a mask, its root
 * node, or NULL, and the permissions that it has there.  In block-backend.c.
 */
uint32_t GRAPH_RDLOCK blk_fast_step(BlockBackend *blk, BlockDriverState **root,
                                    uint64_t *perm, bool *write_through);

/* The BlockBackend that @child is the root of, or NULL.  In block-backend.c. */
BlockBackend *blk_by_root_child(BdrvChild *child);

/* BlockDevOps.queue_context of the device, NULL if it has none; BQL held. */
AioContext *blk_queue_context(BlockBackend *blk, unsigned queue);

/*
 * BlockDriver.bdrv_fast_step: fills in @step, which is zeroed but for @length,
 * @ops (all) and @reasons.  Main loop, graph lock held.  What it fills in stays
 * true until bdrv_fast_changed() or the end of a drained section.
 */
typedef void BdrvFastStepFunc(BlockDriverState *bs, BdrvFastStep *step);

#endif /* BLOCK_FAST_PATH_H */
