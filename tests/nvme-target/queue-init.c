/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Creates and deletes queues (Base 5.4 to 5.7), and says where their doorbells are.
 */
#include "target.h"

static uint32_t *register_doorbell(Target *t, unsigned index)
{
    return (uint32_t *)(t->bar + TARGET_DOORBELLS) + index;
}

/*
 * The admin queue's doorbells stay the registers: drivers differ in whether they
 * use its shadows.
 */
static void place_doorbells(Target *t, unsigned id)
{
    Sq *sq = t->sq[id];
    Cq *cq = t->cq[id];
    bool shadow = id && t->shadow;

    if (sq) {
        sq->doorbell = shadow ? &t->shadow[2 * id] : register_doorbell(t, 2 * id);
        sq->event_idx = shadow ? &t->event_idx[2 * id] : NULL;
    }
    if (cq) {
        cq->doorbell = shadow ? &t->shadow[2 * id + 1]
                              : register_doorbell(t, 2 * id + 1);
        cq->event_idx = shadow ? &t->event_idx[2 * id + 1] : NULL;
    }
}

static void list_live(Target *t)
{
    unsigned id;

    t->n_live = 0;
    for (id = 0; id <= TARGET_MAX_QUEUES; id++) {
        if (t->sq[id]) {
            t->live[t->n_live++] = t->sq[id];
        }
    }
}

/* A shadow is the client's: what it has left there counts. */
static void check_shadow(Target *t, unsigned id, const uint32_t *doorbell,
                         uint32_t *event_idx)
{
    if (event_idx) {
        qatomic_set(event_idx, 0);
        if (qatomic_read(doorbell)) {
            driver_error(t, ERROR_DOORBELL, "shadow doorbell of the new queue %u "
                         "is not 0", id);
        }
    }
}

static void add_cq(Target *t, unsigned id, void *entries, uint64_t address,
                   uint32_t size, bool ien, unsigned vector)
{
    Cq *cq = g_new0(Cq, 1);

    *cq = (Cq) {
        .entries = entries, .address = address, .size = size, .id = id, .ien = ien,
        .vector = vector, .phase = true, .bad_head = UINT32_MAX,
    };
    t->cq[id] = cq;
    qatomic_set(register_doorbell(t, 2 * id + 1), 0);
    place_doorbells(t, id);
    check_shadow(t, id, cq->doorbell, cq->event_idx);
}

static void add_sq(Target *t, unsigned id, Cq *cq, void *entries, uint64_t address,
                   uint32_t size)
{
    Sq *sq = g_new0(Sq, 1);

    *sq = (Sq) {
        .entries = entries, .address = address, .size = size, .id = id, .cq = cq,
        .bad_tail = UINT32_MAX, .seen = g_new0(uint32_t, UINT16_MAX + 1),
    };
    cq->n_sqs++;
    t->sq[id] = sq;
    qatomic_set(register_doorbell(t, 2 * id), 0);
    place_doorbells(t, id);
    check_shadow(t, id, sq->doorbell, sq->event_idx);
    list_live(t);
}

static void remove_sq(Target *t, Sq *sq)
{
    uint64_t *sum = sq->id ? t->commands_io : t->commands_admin;
    unsigned i;

    for (i = 0; i < 256; i++) {
        sum[i] += sq->commands[i];
    }
    sq->cq->n_sqs--;
    t->sq[sq->id] = NULL;
    qatomic_set(register_doorbell(t, 2 * sq->id), 0);
    g_free(sq->seen);
    g_free(sq);
    list_live(t);
}

static void remove_cq(Target *t, Cq *cq)
{
    t->cq[cq->id] = NULL;
    qatomic_set(register_doorbell(t, 2 * cq->id + 1), 0);
    g_free(cq);
}

static uint16_t refuse(Target *t, uint16_t status, const char *what, unsigned value)
{
    driver_error(t, ERROR_QUEUE, "%s: %u", what, value);
    return status | NVME_DNR;
}

/* What creation of either kind must get right; the memory in *entries. */
static uint16_t check_new(Target *t, unsigned id, void *existing, unsigned qsize,
                          unsigned flags, uint64_t address, unsigned entry,
                          void **entries)
{
    if (!id || id > t->allocated || existing) {
        return refuse(t, NVME_INVALID_QID,
                      "new queue's identifier is taken, or none", id);
    }
    if (!qsize || qsize >= t->max_entries) {
        return refuse(t, NVME_MAX_QSIZE_EXCEEDED, "new queue's size - 1", qsize);
    }
    if (!(flags & NVME_SQ_PC)) {        /* CAP.CQR */
        return refuse(t, NVME_INVALID_FIELD, "queue that is not contiguous", id);
    }
    if (NVME_CC_IOSQES(t->reg.cc) != 6 || NVME_CC_IOCQES(t->reg.cc) != 4) {
        return refuse(t, NVME_INVALID_FIELD, "entry sizes in CC are not set; CC",
                      t->reg.cc);
    }
    if (address % TARGET_PAGE) {
        driver_error(t, ERROR_PRP, "queue %u is not page aligned", id);
        return NVME_INVALID_PRP_OFFSET | NVME_DNR;
    }
    *entries = memory_find(t, address, (qsize + 1ull) * entry, true);
    if (!*entries) {
        driver_error(t, ERROR_ADDRESS, "queue %u at 0x%" PRIx64 " is not mapped",
                     id, address);
        return NVME_DATA_TRAS_ERROR | NVME_DNR;
    }
    return NVME_SUCCESS;
}

uint16_t cq_create(Target *t, const NvmeCmd *cmd)
{
    NvmeCreateCq c;
    void *entries;
    uint16_t status;

    memcpy(&c, cmd, sizeof(c));
    status = check_new(t, c.cqid, c.cqid <= TARGET_MAX_QUEUES ? t->cq[c.cqid] : NULL,
                       c.qsize, c.cq_flags, c.prp1, sizeof(NvmeCqe), &entries);
    if (status) {
        return status;
    }
    if (c.irq_vector > t->max_queues) {
        return refuse(t, NVME_INVALID_IRQ_VECTOR, "interrupt vector", c.irq_vector);
    }
    add_cq(t, c.cqid, entries, c.prp1, c.qsize + 1, NVME_CQ_FLAGS_IEN(c.cq_flags),
           c.irq_vector);
    return NVME_SUCCESS;
}

uint16_t sq_create(Target *t, const NvmeCmd *cmd)
{
    NvmeCreateSq c;
    void *entries;
    uint16_t status;

    memcpy(&c, cmd, sizeof(c));
    if (!c.cqid || c.cqid > t->allocated) {
        return refuse(t, NVME_INVALID_QID, "completion queue", c.cqid);
    }
    if (!t->cq[c.cqid]) {
        return refuse(t, NVME_INVALID_CQID, "completion queue", c.cqid);
    }
    status = check_new(t, c.sqid, c.sqid <= TARGET_MAX_QUEUES ? t->sq[c.sqid] : NULL,
                       c.qsize, c.sq_flags, c.prp1, sizeof(NvmeCmd), &entries);
    if (status) {
        return status;
    }
    add_sq(t, c.sqid, t->cq[c.cqid], entries, c.prp1, c.qsize + 1);
    return NVME_SUCCESS;
}

uint16_t sq_delete(Target *t, const NvmeCmd *cmd)
{
    uint16_t id = cmd->cdw10;

    if (!id || id > TARGET_MAX_QUEUES || !t->sq[id]) {
        return refuse(t, NVME_INVALID_QID, "deleted submission queue", id);
    }
    pending_abort_queue(t, t->sq[id]);
    remove_sq(t, t->sq[id]);
    return NVME_SUCCESS;
}

uint16_t cq_delete(Target *t, const NvmeCmd *cmd)
{
    uint16_t id = cmd->cdw10;

    if (!id || id > TARGET_MAX_QUEUES || !t->cq[id]) {
        return refuse(t, NVME_INVALID_QID, "deleted completion queue", id);
    }
    if (t->cq[id]->n_sqs) {
        return refuse(t, NVME_INVALID_QUEUE_DEL, "deleted completion queue is used",
                      id);
    }
    remove_cq(t, t->cq[id]);
    return NVME_SUCCESS;
}

/* From AQA, ASQ and ACQ; false if they are not as they must be. */
bool queues_create_admin(Target *t)
{
    uint32_t sq_size = NVME_AQA_ASQS(t->reg.aqa) + 1;
    uint32_t cq_size = NVME_AQA_ACQS(t->reg.aqa) + 1;
    void *sq, *cq;

    if (sq_size < 2 || cq_size < 2 || t->reg.asq % TARGET_PAGE ||
        t->reg.acq % TARGET_PAGE) {
        driver_error(t, ERROR_REGISTER, "admin queues: AQA 0x%x ASQ 0x%" PRIx64
                     " ACQ 0x%" PRIx64, t->reg.aqa, t->reg.asq, t->reg.acq);
        return false;
    }
    sq = memory_find(t, t->reg.asq, sq_size * sizeof(NvmeCmd), true);
    cq = memory_find(t, t->reg.acq, cq_size * sizeof(NvmeCqe), true);
    if (!sq || !cq) {
        driver_error(t, ERROR_ADDRESS, "admin queues at 0x%" PRIx64 " and 0x%" PRIx64
                     " are not mapped", t->reg.asq, t->reg.acq);
        return false;
    }
    add_cq(t, 0, cq, t->reg.acq, cq_size, true, 0);
    add_sq(t, 0, t->cq[0], sq, t->reg.asq, sq_size);
    return true;
}

void queues_delete_all(Target *t)
{
    unsigned id;

    pending_drop(t);
    for (id = 0; id <= TARGET_MAX_QUEUES; id++) {
        if (t->sq[id]) {
            remove_sq(t, t->sq[id]);
        }
    }
    for (id = 0; id <= TARGET_MAX_QUEUES; id++) {
        if (t->cq[id]) {
            remove_cq(t, t->cq[id]);
        }
    }
    t->shadow = t->event_idx = NULL;
    memset(t->bar + TARGET_DOORBELLS, 0, TARGET_PAGE);
}

static bool within(uint64_t address, uint64_t iova, uint64_t size)
{
    return address - iova < size;
}

/* The client takes memory back.  With queues in it, that is the controller's end. */
void queues_unmapped(Target *t, uint64_t iova, uint64_t size)
{
    bool used = t->shadow && (within(t->shadow_address, iova, size) ||
                              within(t->event_idx_address, iova, size));
    unsigned id;

    for (id = 0; id <= TARGET_MAX_QUEUES; id++) {
        used |= t->sq[id] && within(t->sq[id]->address, iova, size);
        used |= t->cq[id] && within(t->cq[id]->address, iova, size);
    }
    if (!used) {
        return;
    }
    if (t->message == VFIO_USER_DMA_UNMAP) {
        driver_error(t, ERROR_UNMAP, "memory at 0x%" PRIx64
                     " was unmapped with queues in it", iova);
    }
    controller_fail(t);
    queues_delete_all(t);
}

/* Doorbell Buffer Config, Base 5.8 */
uint16_t queues_set_shadow(Target *t, const NvmeCmd *cmd)
{
    uint64_t prp1 = cmd->dptr.prp1, prp2 = cmd->dptr.prp2;
    void *shadow, *event_idx;
    unsigned id;

    if (prp1 % TARGET_PAGE || prp2 % TARGET_PAGE) {
        driver_error(t, ERROR_PRP, "doorbell buffers are not page aligned");
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    shadow = memory_find(t, prp1, TARGET_PAGE, true);
    event_idx = memory_find(t, prp2, TARGET_PAGE, true);
    if (!shadow || !event_idx) {
        driver_error(t, ERROR_ADDRESS, "doorbell buffers are not mapped");
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    t->shadow = shadow;
    t->event_idx = event_idx;
    t->shadow_address = prp1;
    t->event_idx_address = prp2;
    for (id = 1; id <= TARGET_MAX_QUEUES; id++) {
        place_doorbells(t, id);
    }
    return NVME_SUCCESS;
}
