/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fetches commands from submission queues and posts completions: what runs for
 * every command.
 */
#include "target.h"

#define BATCH 64                /* commands of a queue before the next one's turn */

static uint32_t ring_used(uint32_t head, uint32_t tail, uint32_t size)
{
    return tail >= head ? tail - head : tail + size - head;
}

static void __attribute__((cold))
refuse_doorbell(Target *t, const char *what, unsigned id, uint32_t value)
{
    driver_error(t, ERROR_DOORBELL, "%s doorbell of queue %u: %u is out of range",
                 what, id, value);
    event_raise(t, NVME_AER_TYPE_ERROR, NVME_AER_INFO_ERR_INVALID_DB_VALUE,
                NVME_LOG_ERROR_INFO);
}

/* Takes what the client says it has read.  The entry at its head must be posted. */
static void cq_take_doorbell(Target *t, Cq *cq)
{
    uint32_t value = qatomic_load_acquire(cq->doorbell);

    if (value == cq->head) {
        return;
    }
    if (value < cq->size && ring_used(cq->head, value, cq->size) <=
                            ring_used(cq->head, cq->tail, cq->size)) {
        cq->head = value;
        cq->bad_head = UINT32_MAX;
    } else if (value != cq->bad_head) {
        cq->bad_head = value;
        refuse_doorbell(t, "head", cq->id, value);
    }
}

/* Free entries; the doorbell is read only if they were less than @wanted. */
unsigned cq_room(Target *t, Cq *cq, unsigned wanted)
{
    unsigned room = cq->size - 1 - ring_used(cq->head, cq->tail, cq->size);

    if (room < wanted) {
        cq_take_doorbell(t, cq);
        room = cq->size - 1 - ring_used(cq->head, cq->tail, cq->size);
    }
    return room;
}

/*
 * Hot: two stores into the client's memory, of which the second one holds the phase
 * (Base 3.3.3.2: the entry is valid with it).  There must be room.
 */
void cq_post(Cq *cq, uint32_t result, uint16_t sqid, uint16_t sq_head, uint16_t cid,
             uint16_t status, bool phase)
{
    uint64_t *slot = (void *)&cq->entries[cq->tail];

    QEMU_BUILD_BUG_ON(offsetof(NvmeCqe, sq_head) != 8);
    qatomic_set(&slot[0], result);
    qatomic_store_release(&slot[1], sq_head | (uint64_t)sqid << 16 |
                          (uint64_t)cid << 32 |
                          (uint64_t)(uint16_t)(status << 1 | phase) << 48);
    if (++cq->tail == cq->size) {
        cq->tail = 0;
        cq->phase = !cq->phase;
    }
    cq->posted++;
    cq->notify = true;
}

void queue_complete(Target *t, Sq *sq, uint16_t cid, uint16_t status, uint32_t result)
{
    cq_post(sq->cq, result, sq->id, sq->head, cid, status, sq->cq->phase);
}

/* The stamps of commands that are answered are of no use after a wrap. */
static void __attribute__((cold)) restart_batches(Sq *sq)
{
    unsigned i;

    for (i = 0; i <= UINT16_MAX; i++) {
        if (sq->seen[i] != CID_PENDING) {
            sq->seen[i] = 0;
        }
    }
    sq->batch = 0;
}

static bool sq_take_doorbell(Target *t, Sq *sq)
{
    uint32_t value = qatomic_load_acquire(sq->doorbell);

    if (value == sq->tail) {
        return false;
    }
    if (unlikely(value >= sq->size)) {
        if (value != sq->bad_tail) {
            sq->bad_tail = value;
            refuse_doorbell(t, "tail", sq->id, value);
        }
        return false;
    }
    sq->tail = value;
    sq->doorbells++;
    if (unlikely(++sq->batch == CID_PENDING)) {
        restart_batches(sq);
        sq->batch = 1;
    }
    return true;
}

uint16_t command_execute(Target *t, Sq *sq, const NvmeCmd *cmd, uint32_t *result)
{
    uint16_t status = sq->id ? io_execute(t, cmd)
                             : admin_execute(t, sq, cmd, result);

    if (unlikely(status) && status != NVME_NO_COMPLETE) {
        log_error(t, sq, cmd, status);
    }
    return status;
}

/* Returns false if the state of queues may have changed. */
static bool sq_execute(Target *t, Sq *sq, const NvmeCmd *cmd)
{
    uint32_t result = 0;
    uint16_t status;

    sq->commands[cmd->opcode]++;
    if (unlikely(sq->seen[cmd->cid] >= sq->batch)) {
        driver_error(t, ERROR_CID, "command identifier %u of queue %u is in use",
                     cmd->cid, sq->id);
        queue_complete(t, sq, cmd->cid, NVME_CID_CONFLICT | NVME_DNR, 0);
        return true;
    }
    sq->seen[cmd->cid] = sq->batch;
    if (unlikely(t->n_faults)) {
        const Fault *fault = fault_find(t, sq, cmd);

        if (fault) {
            fault_apply(t, fault, sq, cmd);
            return false;
        }
    }
    status = command_execute(t, sq, cmd, &result);
    if (likely(status != NVME_NO_COMPLETE)) {
        queue_complete(t, sq, cmd->cid, status, result);
    }
    return sq->id != 0;
}

/*
 * Hot: in all, a load of the doorbell, and for each command 64 bytes read and 16
 * written in the client's memory.
 */
static bool sq_poll(Target *t, Sq *sq)
{
    unsigned n, room;

    if (sq->head == sq->tail && !sq_take_doorbell(t, sq)) {
        return false;
    }
    n = MIN(ring_used(sq->head, sq->tail, sq->size), BATCH);
    room = cq_room(t, sq->cq, n);
    if (!room) {
        return false;
    }
    n = MIN(n, room);
    while (n--) {
        NvmeCmd cmd = sq->entries[sq->head];    /* which the client can change */

        if (++sq->head == sq->size) {
            sq->head = 0;
        }
        if (!sq_execute(t, sq, &cmd)) {
            break;
        }
    }
    return true;
}

void queues_interrupt(Target *t)
{
    unsigned i;

    for (i = 0; i < t->n_live; i++) {
        Cq *cq = t->live[i]->cq;

        if (cq->notify) {
            cq->notify = false;
            device_interrupt(t, cq);
        }
    }
}

bool queues_poll(Target *t)
{
    bool worked = false;
    unsigned i;

    for (i = 0; i < t->n_live && t->running; i++) {
        worked |= sq_poll(t, t->live[i]);
    }
    if (worked) {
        queues_interrupt(t);
    }
    return worked;
}

/* A word of the doorbells that belongs to no queue was written. */
static void check_word(Target *t, unsigned i)
{
    uint32_t *word = (uint32_t *)(t->bar + TARGET_DOORBELLS) + i;
    uint32_t value = qatomic_read(word);

    if (value) {
        qatomic_set(word, 0);
        driver_error(t, ERROR_DOORBELL, "%s doorbell of queue %u, which does not "
                     "exist, was written (%u)", i % 2 ? "head" : "tail", i / 2,
                     value);
        event_raise(t, NVME_AER_TYPE_ERROR, NVME_AER_INFO_ERR_INVALID_DB_REGISTER,
                    NVME_LOG_ERROR_INFO);
    }
}

/* What a client wrote into doorbells that nobody reads for commands. */
void queues_check_doorbells(Target *t)
{
    unsigned i;

    if (t->gone) {
        return;
    }
    for (i = 0; i < TARGET_PAGE / sizeof(uint32_t); i++) {
        unsigned id = i / 2;

        if (id > TARGET_MAX_QUEUES || !(i % 2 ? (void *)t->cq[id]
                                              : (void *)t->sq[id])) {
            check_word(t, i);
        } else if (i % 2 && t->running) {
            cq_take_doorbell(t, t->cq[id]);
        }
    }
}

/* From here on the client shall say when there is something new (Base B.5). */
void queues_before_sleep(Target *t)
{
    unsigned i;

    for (i = 0; t->event_idx && i < t->n_live; i++) {
        Sq *sq = t->live[i];

        if (sq->event_idx) {
            qatomic_set(sq->event_idx, sq->tail);
            qatomic_set(sq->cq->event_idx, sq->cq->head);
        }
    }
    smp_mb();
}
