/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An NVMe controller, with one of its namespaces, as a node of the block layer.
 *
 * The way of a read, file by file:
 *
 *     fast.c       the request of a virtqueue, or
 *     io.c         a coroutine, for all else, finds
 *     queues.c     the queue of its thread, fills in a command with
 *     data.c       the addresses of its memory, from
 *     memory.c     what is mapped, or through bounce.c, and hands it to
 *     queue.c      which writes it to the ring, and later takes its completion.
 *
 * Beside it: driver.c (options, life), controller.c (registers, reset), admin.c (the
 * admin queue), watch.c (commands that take too long), recover.c (what is done about
 * them), events.c (what the controller tells of itself), transport.h (how it is reached).
 *
 * Threads.  A queue is its AioContext's.  The admin queue has a lock, and is used
 * with blocking calls.  All else is the main loop's, if it does not say otherwise.
 */

#ifndef BLOCK_NVME_CONTROLLER_H
#define BLOCK_NVME_CONTROLLER_H

#include "block/block_int.h"
#include "block/queue-slots.h"
#include "qemu/units.h"
#include "queue.h"

/* CC.MPS is 0, whatever the host's pages are. */
#define NVME_PAGE_SIZE 4096
#define NVME_PAGE_MASK (NVME_PAGE_SIZE - 1)

/* A request's list has one page of PRPs; the first page of data is not in it. */
#define NVME_MAX_TRANSFER (NVME_PAGE_SIZE / sizeof(uint64_t) * NVME_PAGE_SIZE)
#define NVME_MAX_SGL (NVME_PAGE_SIZE / sizeof(NvmeSglDescriptor))

/* What a user asks for; driver.c. */
typedef struct NvmeOptions {
    char *device;               /* one of these two is set */
    char *path;
    uint32_t nsid;
    unsigned n_poll;
    unsigned n_irq;             /* UINT_MAX: as many as there are vectors */
    unsigned depth;
    unsigned timeout;           /* of a command, seconds; 0: none */
} NvmeOptions;

typedef struct NvmeAdmin {
    QemuMutex lock;
    NvmeCmd *sq;
    NvmeCqe *cq;
    uint8_t *data;              /* a page for what a command transfers */
    uint64_t iova;              /* of the rings, and data */
    void *memory;
    uint16_t tail, head, phase;
    uint16_t next_cid;
    bool is_gone;               /* it did not answer: nothing more is asked */
    unsigned asked;             /* bit mask: event requests outstanding */
    GArray *events;             /* of uint32_t: told, and not yet looked at */
} NvmeAdmin;

/* Looks for commands that take too long; watch.c. */
typedef struct NvmeWatch {
    uint32_t tick;              /* atomic; time, see watch.c; never 0 */
    bool is_awake;              /* atomic */
    QEMUTimer *timer;
    QEMUBH *bh;
    bool is_looking;
} NvmeWatch;

/* What is wrong: a bit mask. */
enum {
    NVME_TROUBLE_RESET = 1,     /* it may be well again after a reset */
    NVME_TROUBLE_DEAD = 2,
    NVME_TROUBLE_SILENT = 4,    /* beside a reset: a command's timeout is over */
};

typedef enum NvmeState {
    NVME_RUNNING,
    NVME_RECOVERING,
    NVME_DEAD,
} NvmeState;

/* What is copied through, for memory that the controller cannot reach; bounce.c. */
typedef struct NvmeBounce {
    QemuMutex lock;
    uint8_t *memory;            /* NULL: not made yet */
    uint64_t iova;
    uint64_t free;              /* bit mask of pieces */
    bool is_lack_said;
    CoQueue waiting;
} NvmeBounce;

/* A thread's queue. */
typedef struct QEMU_ALIGNED(QUEUE_SLOT_ALIGN) NvmeSlot {
    QueueSlot slot;
    NvmeQueue *queue;           /* written by the thread, or under drain */
    unsigned epoch;             /* aio_home_epoch, when it was known to be the thread's */
} NvmeSlot;
QEMU_BUILD_BUG_MSG(sizeof(NvmeSlot) % QUEUE_SLOT_ALIGN,
                   "two threads would write one cache line");

/* SMART / Health Information, of the last look; events.c */
typedef struct NvmeHealthLook {
    bool is_known;
    bool is_asked;
    int64_t when_ns;
    NvmeSmartLog log;           /* with the admin queue's lock */
    NvmeSmartLog shown;
} NvmeHealthLook;

struct NvmeController {
    /* read by each request; written while there is none */
    NvmeTransport *transport;
    QueueSlots slots;
    NvmeMemory memory;
    uint32_t nsid;
    unsigned block_bits;
    unsigned doorbell_stride;   /* bytes */
    bool has_sgl;
    bool has_write_cache;
    bool is_write_cache_off;    /* and is to be after a reset */
    NvmeWatch watch;

    BlockDriverState *bs;
    NvmeOptions options;

    /* what the controller says of itself; from then on constant */
    uint64_t cap;
    unsigned ready_timeout_ms;
    uint8_t *shadow;            /* doorbells and event indexes, a page each; or NULL */
    uint64_t shadow_iova;
    uint32_t max_transfer;      /* bytes */
    uint64_t max_zeroes;        /* bytes of a Write Zeroes */
    uint32_t max_discard;       /* blocks of a range */
    uint16_t oncs;
    uint32_t oaes;
    unsigned shutdown_timeout_ms;
    bool deallocated_reads_zero;
    uint64_t n_blocks;          /* atomic: main loop writes */

    NvmeAdmin admin;
    EventNotifier admin_notifier;
    NvmeBounce bounce;
    NvmeHealthLook health;

    /* The queues: written with the lock; @state too, by the main loop. */
    QemuMutex lock;
    NvmeState state;            /* atomic */
    GPtrArray *queues;          /* of NvmeQueue; its place is its identifier - 1 */
    unsigned n_polled, n_irqs;  /* made */
    unsigned max_polled, max_irqs;      /* that the controller grants */
    uint16_t entries;
    CoQueue recovered;          /* for the end of NVME_RECOVERING */
    unsigned max_vectors;       /* of queues */
    EventNotifier *notifiers;   /* those of vectors, then those of polled queues */
    unsigned n_notifiers;
    unsigned next_shared;
    unsigned n_letting_go;      /* atomic: threads that have yet to unbind theirs */
    bool is_sharing_said;

    /* Whoever finds trouble sets it; the main loop sees to it. */
    unsigned trouble;           /* atomic */
    QEMUBH *trouble_bh;
    bool is_recovering;
    unsigned n_resets;          /* in a row */
    unsigned n_silent;          /* ... of these, those for NVME_TROUBLE_SILENT */
    uint64_t resets;            /* all in all */

    QEMUBH *events_bh;
    bool is_handling;           /* events */
    bool was_reset;             /* the namespace may have changed meanwhile */
};

/* controller.c: blocking, in the main loop or a worker thread.  0 or -errno. */

/* From any state to a disabled controller that accesses no memory. */
int nvme_controller_disable(NvmeController *c, Error **errp);

/* From disabled to enabled, with an admin queue and the features that are set. */
int nvme_controller_enable(NvmeController *c, Error **errp);

/* Reads CAP, at first. */
int nvme_controller_probe(NvmeController *c, Error **errp);

/* Looks at controller and namespace, at first. */
int nvme_controller_identify(NvmeController *c, Error **errp);

/* The namespace again; *n_blocks is 0 if it has gone. */
int nvme_controller_identify_size(NvmeController *c, uint64_t *n_blocks);

/* Turns the volatile write cache off, as cache.direct=on has it. */
int nvme_controller_disable_write_cache(NvmeController *c, Error **errp);

/* Before power off: what is cached goes to the medium.  Bounded; cannot fail. */
void nvme_controller_shutdown(NvmeController *c);

/* CSTS; all ones if the device is gone. */
uint32_t nvme_controller_status(NvmeController *c);

/*
 * admin.c: blocking, bounded, any thread; one command at a time.  The status field
 * without its phase bit, > 0, or 0, or -errno: nothing was answered, which makes
 * for a reset if the controller was running.
 */
int nvme_admin_init(NvmeController *c, Error **errp);
void nvme_admin_destroy(NvmeController *c);

/* Empty rings: the controller is disabled. */
void nvme_admin_reset(NvmeController *c);

/* @result, @data: NULL, or for dword 0 of the completion, and @size bytes read. */
int nvme_admin(NvmeController *c, const NvmeCmd *cmd, uint32_t *result,
               void *data, size_t size);
int nvme_admin_create_queue(NvmeController *c, NvmeQueue *q);
int nvme_admin_abort(NvmeController *c, NvmeQueue *q, unsigned cid);

/* One request more for the controller to tell of events by. */
void nvme_admin_request_event(NvmeController *c);

/* What has come on the admin queue; events go to @admin.events.  Main loop. */
void nvme_admin_look(NvmeController *c);

/*
 * recover.c: any thread.  @what is wrong, said once with @why; requests wait until
 * the controller is well, or end with -EIO.
 */
void nvme_controller_trouble(NvmeController *c, unsigned what, const char *why)
    __attribute__((cold));
void nvme_recover_init(NvmeController *c);
void nvme_recover_destroy(NvmeController *c);

/* watch.c */
void nvme_watch_init(NvmeController *c);
void nvme_watch_destroy(NvmeController *c);
void nvme_watch_wake(NvmeController *c) __attribute__((cold));

/* events.c */
int nvme_events_init(NvmeController *c);
void nvme_events_start(NvmeController *c);
void nvme_events_destroy(NvmeController *c);

/* The SMART log, of late; asks for a newer one if it is not of this second. */
bool nvme_health(NvmeController *c, NvmeSmartLog *log);

/* bounce.c */
#define NVME_BOUNCE_PIECE (128 * KiB)
void nvme_bounce_init(NvmeController *c);
void nvme_bounce_destroy(NvmeController *c);

/* The memory, at the latest now.  That there is none is said, once. */
void nvme_bounce_make(NvmeController *c);

/* NVME_BOUNCE_PIECE bytes; NULL if there is no memory at all. */
void *coroutine_fn nvme_bounce_get(NvmeController *c, uint64_t *iova);
void nvme_bounce_put(NvmeController *c, void *piece);

/*
 * data.c: the memory of a command, in the request's @cmd and @list.  False if it
 * is not all in regions, or is laid out in a way that neither PRPs nor SGLs have.
 */
bool nvme_data_prepare_vector(NvmeQueue *q, NvmeRequest *req,
                              const QEMUIOVector *qiov);

/* One range of addresses, of several pages; the list ends where @bytes do. */
void nvme_data_list_pages(NvmeRequest *req, uint64_t iova, size_t bytes);

/* One range of addresses. */
static inline void nvme_data_prepare_range(NvmeRequest *req, uint64_t iova,
                                           size_t bytes)
{
    req->cmd.flags = NVME_PSDT_PRP << 6;
    req->cmd.dptr.prp1 = cpu_to_le64(iova);
    req->cmd.dptr.prp2 = 0;
    if ((iova & NVME_PAGE_MASK) + bytes > NVME_PAGE_SIZE) {
        nvme_data_list_pages(req, iova, bytes);
    }
}

static inline bool nvme_data_prepare(NvmeQueue *q, NvmeRequest *req,
                                     const QEMUIOVector *qiov, size_t bytes)
{
    uint64_t iova;

    if (unlikely(qiov->niov != 1)) {
        return nvme_data_prepare_vector(q, req, qiov);
    }
    iova = nvme_memory_find(&q->c->memory, &q->regions, qiov->iov[0].iov_base,
                            bytes);
    /* PRPs are dword aligned, which NVME_UNMAPPED is not */
    if (unlikely(iova & 3)) {
        return false;
    }
    nvme_data_prepare_range(req, iova, bytes);
    return true;
}

/* fast.c */
int nvme_fast_submit(const BdrvFastPath *path, BlkFastRequest *req,
                     int64_t offset);

/* io.c: offsets and lengths are whole blocks. */
int coroutine_fn nvme_co_rw(NvmeController *c, uint64_t offset, uint64_t bytes,
                            QEMUIOVector *qiov, bool is_write,
                            BdrvRequestFlags flags);
int coroutine_fn nvme_co_flush(NvmeController *c);
int coroutine_fn nvme_co_discard(NvmeController *c, uint64_t offset,
                                 uint64_t bytes);
int coroutine_fn nvme_co_write_zeroes(NvmeController *c, uint64_t offset,
                                      uint64_t bytes, BdrvRequestFlags flags);

/* NVM Command Set Specification 1.0, 3.2: bits of command dword 12 */
#define NVME_CDW12_FUA (1u << 30)
#define NVME_CDW12_DEALLOCATE (1u << 25)

/* A read or write of whole blocks, all but its data. */
static inline void nvme_command_rw(const NvmeController *c, NvmeCmd *cmd,
                                   bool is_write, uint64_t offset,
                                   uint64_t bytes, bool fua)
{
    uint64_t lba = offset >> c->block_bits;

    cmd->opcode = is_write ? NVME_CMD_WRITE : NVME_CMD_READ;
    cmd->cdw10 = cpu_to_le32(lba);
    cmd->cdw11 = cpu_to_le32(lba >> 32);
    cmd->cdw12 = cpu_to_le32(((bytes >> c->block_bits) - 1) |
                             (fua ? NVME_CDW12_FUA : 0));
}

/* All but these are the same in all commands, or are set by each that has them. */
static inline void nvme_command_flush(NvmeCmd *cmd)
{
    cmd->opcode = NVME_CMD_FLUSH;
    cmd->flags = 0;
    cmd->dptr = (NvmeCmdDptr) { 0 };
    cmd->cdw10 = cmd->cdw11 = cmd->cdw12 = 0;
}

#endif /* BLOCK_NVME_CONTROLLER_H */
