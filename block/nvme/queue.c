/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Submission and completion: the hot path of the driver.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/asymmetric-barrier.h"
#include "qemu/defer-call.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "controller.h"
#include "submit.h"
#include "../trace.h"

/* How often a command is submitted, all in all. */
#define MAX_TRIES 4

#define LIST_SIZE NVME_PAGE_SIZE

uint64_t nvme_queue_cq_iova(const NvmeQueue *q)
{
    return q->rings_iova + ((uint8_t *)q->cq - (uint8_t *)q->sq);
}

static void init_requests(NvmeQueue *q, void *lists, uint64_t iova)
{
    unsigned i;

    q->free = NVME_NO_REQUEST;
    for (i = q->entries - 1; i-- > 0; ) {
        NvmeRequest *req = &q->req[i];

        req->cmd.cid = cpu_to_le16(i);
        req->cmd.nsid = cpu_to_le32(q->c->nsid);
        req->list = lists + i * LIST_SIZE;
        req->list_iova = iova + i * LIST_SIZE;
        req->next_free = q->free;
        q->free = i;
    }
}

void nvme_queue_reset_rings(NvmeQueue *q)
{
    memset(q->sq, 0, q->entries * sizeof(NvmeCmd));
    memset(q->cq, 0, q->entries * sizeof(NvmeCqe));
    q->sq_tail = q->sq_rung = 0;
    q->cq_head = q->cq_rung = 0;
    q->phase = 1;
}

static void init_bell(NvmeController *c, NvmeDoorbell *bell, unsigned n)
{
    NvmeTransport *t = c->transport;
    size_t offset = (size_t)n * c->doorbell_stride;

    bell->offset = NVME_DOORBELLS + offset;
    if (t->doorbells && offset + sizeof(uint32_t) <= t->doorbells_size) {
        bell->reg = t->doorbells + offset / sizeof(uint32_t);
    }
    if (c->shadow) {
        bell->shadow = (uint32_t *)(c->shadow + offset);
        bell->event = (uint32_t *)(c->shadow + NVME_PAGE_SIZE + offset);
    }
}

/* One piece of memory: the rings, each from a page on, and a page a request. */
NvmeQueue *nvme_queue_new(NvmeController *c, uint16_t id, uint16_t entries,
                          bool is_polled, Error **errp)
{
    size_t sq_size = ROUND_UP(entries * sizeof(NvmeCmd), NVME_PAGE_SIZE);
    size_t cq_size = ROUND_UP(entries * sizeof(NvmeCqe), NVME_PAGE_SIZE);
    NvmeQueue *q = qemu_memalign(64, sizeof(*q));

    memset(q, 0, sizeof(*q));
    q->c = c;
    q->id = id;
    q->entries = entries;
    q->is_polled = is_polled;
    q->rings_size = sq_size + cq_size + (entries - 1) * LIST_SIZE;
    q->rings = nvme_memory_alloc(&c->memory, q->rings_size, &q->rings_iova, errp);
    if (!q->rings) {
        qemu_vfree(q);
        return NULL;
    }
    q->sq = q->rings;
    q->cq = q->rings + sq_size;
    q->req = qemu_memalign(64, entries * sizeof(NvmeRequest));
    memset(q->req, 0, entries * sizeof(NvmeRequest));
    init_requests(q, q->rings + sq_size + cq_size,
                  q->rings_iova + sq_size + cq_size);
    init_bell(c, &q->sq_bell, 2 * id);
    init_bell(c, &q->cq_bell, 2 * id + 1);
    qemu_co_queue_init(&q->waiting);
    nvme_queue_reset_rings(q);
    return q;
}

void nvme_queue_free(NvmeQueue *q)
{
    assert(!q->ctx);
    nvme_memory_free(&q->c->memory, q->rings, q->rings_size);
    nvme_regions_destroy(&q->regions);
    qemu_vfree(q->req);
    qemu_vfree(q);
}

static void __attribute__((cold)) ring_message(NvmeQueue *q, unsigned offset,
                                               uint32_t value)
{
    NvmeTransport *t = q->c->transport;

    /* one that cannot be rung is found by the watch */
    t->ops->write(t, offset, sizeof(value), value);
}

/*
 * Whether the controller, which has told in the event index what it has seen, is
 * to be told by the register.  NVM Express Base Specification 2.0, 8.18 and B.5.
 */
static bool shadow_needs_register(NvmeDoorbell *bell, uint16_t old, uint16_t new)
{
    uint16_t event;

    qatomic_set(bell->shadow, cpu_to_le32(new));
    /* the shadow; then the event: the controller does it the other way around */
    smp_mb();
    event = le32_to_cpu(qatomic_read(bell->event));
    return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

/* Cost: one store; what was written before it is seen before it. */
static inline void ring(NvmeQueue *q, NvmeDoorbell *bell, uint16_t old,
                        uint16_t new)
{
    /* the entries of the rings; then the doorbell */
    smp_wmb();
    if (unlikely(bell->shadow) && !shadow_needs_register(bell, old, new)) {
        return;
    }
    if (likely(bell->reg)) {
        *bell->reg = cpu_to_le32(new);
    } else {
        ring_message(q, bell->offset, new);
    }
}

/* The end of a batch. */
void nvme_queue_ring(void *opaque)
{
    NvmeQueue *q = opaque;

    q->in_section = false;
    if (likely(q->sq_tail != q->sq_rung && !q->is_stopped)) {
        ring(q, &q->sq_bell, q->sq_rung, q->sq_tail);
        q->sq_rung = q->sq_tail;
    }
}

/*
 * The count; then whether the watch is awake: against may_sleep() of watch.c, which
 * does not let it sleep while there are others.
 */
void nvme_queue_first(NvmeQueue *q)
{
    asymmetric_barrier_light();
    if (unlikely(!qatomic_read(&q->c->watch.is_awake))) {
        nvme_watch_wake(q->c);
    }
    /* a turn with a bottom half is none in which a busy thread begins to poll */
    if (q->is_polled && !q->is_in_loop &&
        !(q->takes_part && nvme_queue_is_busy(q))) {
        qemu_bh_schedule(q->bh);
    }
}

bool nvme_queue_is_busy(const NvmeQueue *q)
{
    return qatomic_read(&q->ctx->loop.mode) == AIO_POLL_BUSY;
}

void nvme_queue_wake(NvmeQueue *q)
{
    qemu_co_enter_next(&q->waiting, NULL);
}

static void end(NvmeQueue *q, NvmeRequest *req, int ret)
{
    qatomic_set(&q->in_flight, q->in_flight - 1);
    req->tries = 0;
    req->done(q, req, ret);
}

/* A completion that no controller that works would post. */
static void __attribute__((cold)) broken(NvmeQueue *q, const NvmeCqe *cqe,
                                         const char *what)
{
    g_autofree char *why =
        g_strdup_printf("%s in a completion of queue %u (identifier %u, head %u)",
                        what, q->id, le16_to_cpu(cqe->cid),
                        le16_to_cpu(cqe->sq_head));

    q->is_stopped = true;
    nvme_controller_trouble(q->c, NVME_TROUBLE_DEAD, why);
}

static void __attribute__((cold)) end_with_error(NvmeQueue *q, NvmeRequest *req,
                                                 uint16_t status, uint32_t tick)
{
    bool was_aborted = qatomic_read(&req->aborted) == tick;
    bool is_abort = (status & 0x7ff) == NVME_CMD_ABORT_REQ;

    qatomic_set_u64(&q->counters.errors, q->counters.errors + 1);
    trace_nvme_queue_error(q->c, q->id, req - q->req, status);
    if (++req->tries < MAX_TRIES &&
        (nvme_status_is_transient(status) || (was_aborted && is_abort))) {
        qatomic_set_u64(&q->counters.retries, q->counters.retries + 1);
        nvme_queue_put_command(q, req);
        return;
    }
    end(q, req, nvme_status_to_errno(status));
}

/*
 * Takes one completion.  All state is as after it before done() is called, which
 * may run a nested event loop, and so this again.
 */
static inline bool complete_one(NvmeQueue *q)
{
    const NvmeCqe *cqe = &q->cq[q->cq_head];
    /* acquire: the phase; then the rest of the entry, which came before it */
    uint16_t status = le16_to_cpu(qatomic_load_acquire(&cqe->status));
    uint16_t cid;
    NvmeRequest *req;
    uint32_t tick;
    unsigned next;

    if ((status & 1) != q->phase) {
        return false;
    }
    cid = le16_to_cpu(cqe->cid);
    req = &q->req[cid];
    if (unlikely(cid >= q->entries - 1 || !(tick = req->tick))) {
        broken(q, cqe, "no such command");
        return false;
    }
    if (unlikely(le16_to_cpu(cqe->sq_head) >= q->entries)) {
        broken(q, cqe, "an impossible submission queue head");
        return false;
    }
    next = q->cq_head + 1;
    if (unlikely(next == q->entries)) {
        next = 0;
        q->phase ^= 1;
    }
    q->cq_head = next;
    qatomic_set(&req->tick, 0);
    if (likely(status <= 1)) {
        end(q, req, 0);
    } else {
        end_with_error(q, req, status >> 1, tick);
    }
    return true;
}

/*
 * The doorbell tells of free entries, which the controller never lacks: there are
 * more than requests.  So it is rung once for all.
 */
bool nvme_queue_complete(NvmeQueue *q)
{
    bool may_nest = q->ctx == qemu_get_aio_context();
    unsigned n = 0;

    if (unlikely(q->is_stopped) || !nvme_queue_has_completion(q)) {
        return false;
    }
    if (may_nest) {
        /*
         * A nested event loop of done() finds the rest by this; what it submits is
         * not to wait for the end of a section around it.
         */
        qemu_bh_schedule(q->bh);
    } else {
        defer_call_begin();
    }
    while (likely(!q->is_stopped) && complete_one(q)) {
        n++;
    }
    if (likely(n && q->cq_rung != q->cq_head && !q->is_stopped)) {
        ring(q, &q->cq_bell, q->cq_rung, q->cq_head);
        q->cq_rung = q->cq_head;
    }
    if (!may_nest) {
        defer_call_end();
    } else if (!q->is_polled) {
        qemu_bh_cancel(q->bh);
    }
    return n > 0;
}

void nvme_queue_restart(NvmeQueue *q)
{
    unsigned i;

    q->is_stopped = false;
    for (i = 0; i < q->entries - 1; i++) {
        NvmeRequest *req = &q->req[i];

        if (req->tick) {
            nvme_queue_put_command(q, req);
        }
    }
    if (q->is_polled && q->in_flight) {
        /* who looked for completions has ceased to */
        qemu_bh_schedule(q->bh);
    }
    while (nvme_queue_is_ready(q) && !qemu_co_queue_empty(&q->waiting)) {
        nvme_queue_wake(q);
    }
}

void nvme_queue_fail(NvmeQueue *q)
{
    unsigned i;

    q->is_dead = true;
    for (i = 0; i < q->entries - 1; i++) {
        NvmeRequest *req = &q->req[i];

        if (req->tick) {
            qatomic_set(&req->tick, 0);
            end(q, req, -EIO);
        }
    }
    while (!qemu_co_queue_empty(&q->waiting)) {
        nvme_queue_wake(q);
    }
}
