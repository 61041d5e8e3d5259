/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The admin queue: one command at a time, waited for, beside requests for events,
 * which the controller answers when something happens.
 *
 * Its doorbells are written as registers, and to the shadow too where there is one:
 * controllers differ in whether they shadow the admin queue.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/timer.h"
#include "controller.h"
#include "../trace.h"

#define ENTRIES 32
#define CQ_OFFSET NVME_PAGE_SIZE
#define DATA_OFFSET (2 * NVME_PAGE_SIZE)
#define SIZE (3 * NVME_PAGE_SIZE)

/* Of commands that transfer little and wait for no medium. */
#define TIMEOUT_NS (10 * NANOSECONDS_PER_SECOND)

/* Asked for without a pause; then with one. */
#define SPIN_NS (50 * SCALE_US)
#define PAUSE_US 50

/* Between looks at the status of a controller that does not answer. */
#define LOOK_NS (100 * SCALE_MS)

/* Identifiers of requests for events; those of commands are below. */
#define EVENT_CID 0x8000

/* As many as it makes sense to be told of at a time. */
#define MAX_EVENTS 4

int nvme_admin_init(NvmeController *c, Error **errp)
{
    NvmeAdmin *a = &c->admin;

    qemu_mutex_init(&a->lock);
    a->events = g_array_new(false, false, sizeof(uint32_t));
    a->memory = nvme_memory_alloc(&c->memory, SIZE, &a->iova, errp);
    if (!a->memory) {
        return -ENOMEM;
    }
    a->sq = a->memory;
    a->cq = a->memory + CQ_OFFSET;
    a->data = a->memory + DATA_OFFSET;
    return 0;
}

void nvme_admin_destroy(NvmeController *c)
{
    NvmeAdmin *a = &c->admin;

    if (a->events) {
        nvme_memory_free(&c->memory, a->memory, SIZE);
        g_array_free(a->events, true);
        qemu_mutex_destroy(&a->lock);
        *a = (NvmeAdmin) { 0 };
    }
}

static int write_reg(NvmeController *c, unsigned offset, unsigned size,
                     uint64_t value)
{
    return c->transport->ops->write(c->transport, offset, size, value);
}

void nvme_admin_reset(NvmeController *c)
{
    NvmeAdmin *a = &c->admin;

    QEMU_LOCK_GUARD(&a->lock);
    memset(a->memory, 0, DATA_OFFSET);
    a->tail = a->head = 0;
    a->phase = 1;
    a->asked = 0;
    a->is_gone = false;
    write_reg(c, NVME_REG_AQA, 4, (ENTRIES - 1) << AQA_ACQS_SHIFT |
                                  (ENTRIES - 1) << AQA_ASQS_SHIFT);
    write_reg(c, NVME_REG_ASQ, 8, a->iova);
    write_reg(c, NVME_REG_ACQ, 8, a->iova + CQ_OFFSET);
    /* what others were told by the controller as it was */
    qatomic_and(&c->trouble, ~(NVME_TROUBLE_RESET | NVME_TROUBLE_SILENT));
}

/* @n: 0 the submission queue's, 1 the completion queue's. */
static void ring(NvmeController *c, unsigned n, uint16_t value)
{
    smp_wmb();                  /* the entry; then the doorbell */
    if (c->shadow) {
        qatomic_set((uint32_t *)(c->shadow + n * c->doorbell_stride),
                    cpu_to_le32(value));
    }
    write_reg(c, NVME_DOORBELLS + n * c->doorbell_stride, 4, value);
}

static void submit(NvmeController *c, NvmeCmd cmd, uint16_t cid)
{
    NvmeAdmin *a = &c->admin;

    cmd.cid = cpu_to_le16(cid);
    a->sq[a->tail] = cmd;
    a->tail = (a->tail + 1) % ENTRIES;
    ring(c, 0, a->tail);
}

static void take_event(NvmeController *c, const NvmeCqe *cqe)
{
    uint32_t result = le32_to_cpu(cqe->result);

    c->admin.asked &= ~(1u << (le16_to_cpu(cqe->cid) - EVENT_CID) % 32);
    if (le16_to_cpu(cqe->status) >> 1) {
        return;                 /* refused, or a limit: there are fewer then */
    }
    g_array_append_val(c->admin.events, result);
    qemu_bh_schedule(c->events_bh);
}

/* With the lock.  Returns whether the answer to @cid has come, in @answer. */
static bool look(NvmeController *c, int cid, NvmeCqe *answer)
{
    NvmeAdmin *a = &c->admin;
    bool found = false;

    for (;;) {
        NvmeCqe *cqe = &a->cq[a->head];
        /* acquire: the phase; then the rest of the entry */
        uint16_t status = le16_to_cpu(qatomic_load_acquire(&cqe->status));

        if ((status & 1) != a->phase) {
            return found;
        }
        if (le16_to_cpu(cqe->cid) >= EVENT_CID) {
            take_event(c, cqe);
        } else if (le16_to_cpu(cqe->cid) == cid) {
            *answer = *cqe;
            found = true;
        }                       /* else late: who asked has given up */
        a->head = (a->head + 1) % ENTRIES;
        a->phase ^= a->head == 0;
        ring(c, 1, a->head);
    }
}

static bool wait_for(NvmeController *c, int cid, NvmeCqe *answer)
{
    int64_t start = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    int64_t next_look = LOOK_NS;

    while (!look(c, cid, answer)) {
        int64_t ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - start;

        if (ns > TIMEOUT_NS ||
            qatomic_read(&c->trouble) & NVME_TROUBLE_DEAD) {
            return false;
        }
        if (ns > next_look) {
            /* one that has failed, or gone, has this bit set: a reset waits */
            if (NVME_CSTS_CFS(nvme_controller_status(c))) {
                return false;
            }
            next_look = ns + LOOK_NS;
        }
        if (ns > SPIN_NS) {
            g_usleep(PAUSE_US);
        }
    }
    return true;
}

/* With the lock, so that a reset that has begun meanwhile forgets it. */
static void __attribute__((cold)) give_up(NvmeController *c)
{
    c->admin.is_gone = true;
    if (!c->block_bits || qatomic_read(&c->state) != NVME_RUNNING) {
        return;
    }
    if (NVME_CSTS_CFS(nvme_controller_status(c))) {
        nvme_controller_trouble(c, NVME_TROUBLE_RESET, "fatal controller status");
    } else {
        nvme_controller_trouble(c, NVME_TROUBLE_RESET | NVME_TROUBLE_SILENT,
                                "the admin queue does not answer");
    }
}

static int ask(NvmeController *c, const NvmeCmd *cmd, uint32_t *result,
               void *data, size_t size)
{
    NvmeAdmin *a = &c->admin;
    NvmeCmd command = *cmd;
    NvmeCqe answer;
    uint16_t cid;

    assert(size <= NVME_PAGE_SIZE);
    QEMU_LOCK_GUARD(&a->lock);
    if (a->is_gone) {
        return -EIO;
    }
    if (data) {
        memset(a->data, 0, NVME_PAGE_SIZE);
        command.dptr.prp1 = cpu_to_le64(a->iova + DATA_OFFSET);
    }
    cid = a->next_cid++ % EVENT_CID;
    submit(c, command, cid);
    if (!wait_for(c, cid, &answer)) {
        give_up(c);
        return -ETIMEDOUT;
    }
    trace_nvme_admin(c, cmd->opcode, le16_to_cpu(answer.status) >> 1);
    if (data) {
        memcpy(data, a->data, size);
    }
    if (result) {
        *result = le32_to_cpu(answer.result);
    }
    return (le16_to_cpu(answer.status) >> 1) & 0x7ff;
}

int nvme_admin(NvmeController *c, const NvmeCmd *cmd, uint32_t *result,
               void *data, size_t size)
{
    int ret = ask(c, cmd, result, data, size);

    /* of an event since its last look, who was told has not looked: once more */
    event_notifier_set(&c->admin_notifier);
    return ret;
}

/* NVM Express Base Specification 2.0, 5.4 and 5.5. */
int nvme_admin_create_queue(NvmeController *c, NvmeQueue *q)
{
    uint32_t size_and_id = (uint32_t)(q->entries - 1) << 16 | q->id;
    NvmeCmd cq = {
        .opcode = NVME_ADM_CMD_CREATE_CQ,
        .dptr.prp1 = cpu_to_le64(nvme_queue_cq_iova(q)),
        .cdw10 = cpu_to_le32(size_and_id),
        .cdw11 = cpu_to_le32(q->is_polled ? NVME_CQ_PC :
                             NVME_CQ_PC | NVME_CQ_IEN |
                             (uint32_t)q->vector << 16),
    };
    NvmeCmd sq = {
        .opcode = NVME_ADM_CMD_CREATE_SQ,
        .dptr.prp1 = cpu_to_le64(nvme_queue_sq_iova(q)),
        .cdw10 = cpu_to_le32(size_and_id),
        .cdw11 = cpu_to_le32((uint32_t)q->id << 16 | NVME_SQ_PC),
    };
    NvmeCmd delete_cq = {
        .opcode = NVME_ADM_CMD_DELETE_CQ,
        .cdw10 = cpu_to_le32(q->id),
    };
    int ret = nvme_admin(c, &cq, NULL, NULL, 0);

    if (ret == 0) {
        ret = nvme_admin(c, &sq, NULL, NULL, 0);
        if (ret > 0) {
            nvme_admin(c, &delete_cq, NULL, NULL, 0);
        }
    }
    return ret;
}

int nvme_admin_abort(NvmeController *c, NvmeQueue *q, unsigned cid)
{
    NvmeCmd cmd = {
        .opcode = NVME_ADM_CMD_ABORT,
        .cdw10 = cpu_to_le32(cid << 16 | q->id),
    };

    return nvme_admin(c, &cmd, NULL, NULL, 0);
}

void nvme_admin_request_event(NvmeController *c)
{
    NvmeAdmin *a = &c->admin;
    unsigned n;                 /* the lowest that is free */

    QEMU_LOCK_GUARD(&a->lock);
    n = cto32(a->asked);
    if (!a->is_gone && n < MAX_EVENTS) {
        a->asked |= 1u << n;
        submit(c, (NvmeCmd) { .opcode = NVME_ADM_CMD_ASYNC_EV_REQ },
               EVENT_CID + n);
    }
}

void nvme_admin_look(NvmeController *c)
{
    NvmeCqe unused;

    /* who holds it looks too, and tells again */
    if (qemu_mutex_trylock(&c->admin.lock) == 0) {
        look(c, -1, &unused);
        qemu_mutex_unlock(&c->admin.lock);
    }
}
