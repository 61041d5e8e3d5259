/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ordinary way of a request: a coroutine, which goes to a queue's thread, waits
 * for a free request there and for the command's completion, and goes back.
 */

#include "qemu/osdep.h"
#include "qemu/coroutine_int.h"
#include "queues.h"
#include "submit.h"
#include "../trace.h"

/* Transient mappings cost two system calls: less is copied instead. */
#define COPY_AT_MOST (64 * KiB)

/* The data cannot be reached as it is; not an errno. */
#define UNREACHABLE 1

typedef struct Waiting {
    Coroutine *co;
    int ret;
} Waiting;

static void co_done(NvmeQueue *q, NvmeRequest *req, int ret)
{
    Waiting *w = req->opaque;

    w->ret = ret;
    aio_co_wake(w->co);
}

/* A free request, in the queue's thread; NULL if the controller is dead. */
static NvmeRequest *coroutine_fn get_request(NvmeQueue *q)
{
    while (!nvme_queue_is_ready(q)) {
        if (q->is_dead) {
            return NULL;
        }
        q->n_waiting++;
        qemu_co_queue_wait(&q->waiting, NULL);
        q->n_waiting--;
    }
    return nvme_queue_get_request(q);
}

/* Submits @req and waits for its end, when it is free again. */
static int coroutine_fn run(NvmeQueue *q, NvmeRequest *req)
{
    Waiting w = { .co = qemu_coroutine_self() };

    req->opaque = &w;
    req->done = co_done;
    nvme_queue_submit(q, req);
    qemu_coroutine_yield();
    nvme_queue_put_request(q, req);
    return w.ret;
}

/* What a command says but for its data; in the queue's thread. */
typedef struct Command {
    NvmeCmd cmd;
    QEMUIOVector *qiov;         /* of whole blocks, in memory as it is; or NULL */
    uint64_t iova;              /* else: of @bytes that are mapped */
    size_t bytes;               /* 0: there is no data */
    const void *list;           /* what is written to the request's own page */
    size_t list_bytes;
} Command;

/* 0 or UNREACHABLE */
static int prepare(NvmeQueue *q, NvmeRequest *req, const Command *command)
{
    uint16_t cid = req->cmd.cid;
    uint32_t nsid = req->cmd.nsid;

    req->cmd = command->cmd;
    req->cmd.cid = cid;
    req->cmd.nsid = nsid;
    if (command->qiov) {
        return nvme_data_prepare(q, req, command->qiov, command->bytes)
               ? 0 : UNREACHABLE;
    }
    if (command->bytes) {
        nvme_data_prepare_range(req, command->iova, command->bytes);
    }
    if (command->list) {
        memcpy(req->list, command->list, command->list_bytes);
        req->cmd.dptr.prp1 = cpu_to_le64(req->list_iova);
    }
    return 0;
}

static void count_access(NvmeQueue *q, const Command *command)
{
    uint64_t *counter = command->qiov ? &q->counters.aligned
                                      : &q->counters.unaligned;

    if (command->bytes) {
        qatomic_set_u64(counter, *counter + 1);
    }
}

/* 0, -errno or UNREACHABLE */
static int coroutine_fn execute(NvmeController *c, const Command *command)
{
    AioContext *home = qemu_get_current_aio_context();
    NvmeQueue *q = nvme_queues_enter(c);
    NvmeRequest *req;
    int ret = -EIO;

    if (!q) {
        return -EIO;
    }
    req = get_request(q);
    if (req) {
        ret = prepare(q, req, command);
        if (ret == 0) {
            count_access(q, command);
            ret = run(q, req);
        } else {
            nvme_queue_put_request(q, req);
        }
    }
    nvme_queues_leave(q, home);
    return ret;
}

/* In pieces through the driver's own memory. */
static int coroutine_fn rw_bounced(NvmeController *c, uint64_t offset,
                                   QEMUIOVector *qiov, bool is_write, bool fua)
{
    Command command = { 0 };
    size_t done, n;
    int ret = 0;
    void *piece = nvme_bounce_get(c, &command.iova);

    if (!piece) {
        return -ENOMEM;
    }
    for (done = 0; done < qiov->size && ret == 0; done += n) {
        n = MIN(qiov->size - done, MIN(NVME_BOUNCE_PIECE, c->max_transfer));
        command.bytes = n;
        nvme_command_rw(c, &command.cmd, is_write, offset + done, n, fua);
        if (is_write) {
            qemu_iovec_to_buf(qiov, done, piece, n);
        }
        ret = execute(c, &command);
        if (ret == 0 && !is_write) {
            qemu_iovec_from_buf(qiov, done, piece, n);
        }
    }
    nvme_bounce_put(c, piece);
    return ret;
}

/* Of one piece of memory; UNREACHABLE if it cannot be mapped now. */
static int coroutine_fn rw_mapped(NvmeController *c, uint64_t offset,
                                  QEMUIOVector *qiov, bool is_write, bool fua)
{
    Command command = { .bytes = qiov->size };
    int ret;

    if (qiov->niov != 1 || qiov->size <= COPY_AT_MOST ||
        ((uintptr_t)qiov->iov[0].iov_base & 3)) {
        return UNREACHABLE;
    }
    /* first the memory that those will need which find no mapping left */
    nvme_bounce_make(c);
    if (nvme_memory_map_transient(&c->memory, qiov->iov[0].iov_base, qiov->size,
                                  &command.iova) < 0) {
        return UNREACHABLE;
    }
    nvme_command_rw(c, &command.cmd, is_write, offset, qiov->size, fua);
    ret = execute(c, &command);
    nvme_memory_unmap_transient(&c->memory, command.iova);
    return ret;
}

int coroutine_fn nvme_co_rw(NvmeController *c, uint64_t offset, uint64_t bytes,
                            QEMUIOVector *qiov, bool is_write,
                            BdrvRequestFlags flags)
{
    bool fua = flags & BDRV_REQ_FUA;
    Command command = { .qiov = qiov, .bytes = bytes };
    int ret;

    if (bytes == 0) {
        return 0;
    }
    nvme_command_rw(c, &command.cmd, is_write, offset, bytes, fua);
    ret = execute(c, &command);
    if (ret == UNREACHABLE) {
        ret = rw_mapped(c, offset, qiov, is_write, fua);
    }
    if (ret == UNREACHABLE) {
        ret = rw_bounced(c, offset, qiov, is_write, fua);
    }
    return ret;
}

int coroutine_fn nvme_co_flush(NvmeController *c)
{
    Command command = { 0 };

    if (!c->has_write_cache) {
        return 0;
    }
    nvme_command_flush(&command.cmd);
    return execute(c, &command);
}

int coroutine_fn nvme_co_discard(NvmeController *c, uint64_t offset,
                                 uint64_t bytes)
{
    NvmeDsmRange range = {
        .nlb = cpu_to_le32(bytes >> c->block_bits),
        .slba = cpu_to_le64(offset >> c->block_bits),
    };
    Command command = {
        .cmd = {
            .opcode = NVME_CMD_DSM,
            .cdw11 = cpu_to_le32(NVME_DSMGMT_AD),
        },
        .list = &range,
        .list_bytes = sizeof(range),
    };

    /* the block layer's heads and tails may be parts of a block */
    if (!(c->oncs & NVME_ONCS_DSM) || !range.nlb) {
        return -ENOTSUP;
    }
    return execute(c, &command);
}

int coroutine_fn nvme_co_write_zeroes(NvmeController *c, uint64_t offset,
                                      uint64_t bytes, BdrvRequestFlags flags)
{
    Command command = { 0 };

    if (!(c->oncs & NVME_ONCS_WRITE_ZEROES)) {
        return -ENOTSUP;
    }
    nvme_command_rw(c, &command.cmd, true, offset, bytes, flags & BDRV_REQ_FUA);
    command.cmd.opcode = NVME_CMD_WRITE_ZEROES;
    if ((flags & BDRV_REQ_MAY_UNMAP) && c->deallocated_reads_zero) {
        command.cmd.cdw12 |= cpu_to_le32(NVME_CDW12_DEALLOCATE);
    }
    return execute(c, &command);
}
