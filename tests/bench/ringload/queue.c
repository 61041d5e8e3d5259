/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One pass of a queue: take completions, check them, prepare the next requests,
 * publish and kick. The hot part of queue.h.
 */
#include "queue.h"
#include "options.h"
#include "queue-load.h"
#include "queue-private.h"
#include "tsc.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/*
 * At most so many completions a pass: what a server completed at once comes
 * back to it in pieces, so that it never waits for a whole batch to be taken.
 */
#define PASS_MAX 32

/* How far ahead status lines are fetched: they come from another processor. */
#define PREFETCH_AHEAD 6

void queue_fail(struct queue *q, const char *fmt, ...)
{
    char text[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    /* one fault often brings many: what is drained may be wrong as well */
    if (q->complaints++ < 3) {
        complain("queue %u: %s", q->index, text);
    }
    atomic_put(&q->control->exit_status, EXIT_DATA);
    if (atomic_get(&q->control->stop) == STOP_NO) {
        atomic_put(&q->control->stop, STOP_FINISH);
    }
}

/* Makes the slot's chain and header fit @op, which differs from the last. */
static void queue_set_operation(struct queue *q, unsigned i, enum operation op)
{
    static const uint32_t types[] = {
        [OP_READ] = VIRTIO_BLK_T_IN,
        [OP_WRITE] = VIRTIO_BLK_T_OUT,
        [OP_FLUSH] = VIRTIO_BLK_T_FLUSH,
    };
    unsigned first = q->indirect ? 0 : i << q->slot_shift;
    struct vring_desc *d = q->indirect ? &q->indirect[i * 4]
                                       : &q->ring.desc[first];

    /* a flush has no data: from the header straight to the status */
    d[0].next = first + (op == OP_FLUSH ? 2 : 1);
    d[1].flags = VRING_DESC_F_NEXT | (op == OP_READ ? VRING_DESC_F_WRITE : 0);
    if (q->indirect) {
        /* all three stay in the table; the chain skips one */
        q->ring.desc[i].len = 3 * sizeof(*d);
    }
    q->shared_slots[i].header.type = types[op];
    if (op == OP_FLUSH) {
        /* VIRTIO 1.2, 5.2.6.1: the sector of a flush is 0 */
        q->shared_slots[i].header.sector = 0;
    }
    q->slots[i].operation = op;
}

static void verify_submit(struct queue *q, unsigned i)
{
    struct slot *s = &q->slots[i];

    if (s->operation == OP_FLUSH) {
        return;
    }
    verify_set_busy(&q->verify, s->block);
    s->generation = q->verify.generation[s->block];
    if (s->operation == OP_WRITE) {
        s->generation++;
        verify_fill(&q->verify, q->data + i * q->data_stride, s->block,
                    s->generation);
    } else if (s->generation) {
        /* a read that transfers nothing must not find the last one's data */
        memset(q->data + i * q->data_stride, 0xa5, q->block_size);
    }
}

/*
 * Hot: the next request of slot @i goes into the ring, if there is one. Writes
 * the slot's private and shared line and a ring entry.
 */
static inline bool queue_submit(struct queue *q, unsigned i, uint64_t now)
{
    struct slot *s = &q->slots[i];
    struct shared_slot *shared = &q->shared_slots[i];
    uint64_t block = 0;
    enum operation op = choose_request(q, &block);

    if (unlikely(op == OP_NONE)) {
        return false;
    }
    if (unlikely(op != s->operation)) {
        queue_set_operation(q, i, op);
    }
    if (likely(op != OP_FLUSH)) {
        shared->header.sector = q->first_sector + block * q->block_sectors;
    }
    shared->status = 0xff;
    s->block = block;
    if (q->options->verify) {
        verify_submit(q, i);
        now = tsc_now();
    }
    s->start = now;
    q->in_flight++;
    vring_add(&q->ring, i << q->slot_shift);
    return true;
}

static void verify_complete(struct queue *q, unsigned i, uint32_t used_len)
{
    struct slot *s = &q->slots[i];
    uint64_t sector = q->first_sector + s->block * q->block_sectors;
    uint32_t wanted = s->operation == OP_READ ? q->block_size + 1 : 1;
    char why[300];

    /* 2.7.8.2: the bytes written to the chain's device-writable part */
    if (used_len != wanted) {
        queue_fail(q, "request at sector %" PRIu64 ": used length %u, "
                   "expected %u", sector, used_len, wanted);
    }
    if (s->operation == OP_FLUSH) {
        return;
    }
    verify_clear_busy(&q->verify, s->block);
    if (s->operation == OP_WRITE) {
        q->verify.generation[s->block] = s->generation;
    } else if (s->generation &&
               !verify_check(&q->verify, q->data + i * q->data_stride,
                             s->block, s->generation, why, sizeof(why))) {
        queue_fail(q, "wrong data: %s", why);
    }
}

static void COLD queue_io_error(struct queue *q, unsigned i)
{
    static const char *const names[] = { "read", "write", "flush" };
    struct slot *s = &q->slots[i];

    queue_fail(q, "%s at sector %" PRIu64 ": status %u%s",
               names[s->operation],
               q->first_sector + s->block * q->block_sectors,
               q->shared_slots[i].status,
               q->shared_slots[i].status == 0xff ? " (not written)" : "");
}

/* Hot: reads the slot's two lines, counts. */
static inline void queue_complete(struct queue *q, unsigned i,
                                  uint32_t used_len, uint64_t now)
{
    struct slot *s = &q->slots[i];

    if (unlikely(q->shared_slots[i].status != VIRTIO_BLK_S_OK)) {
        queue_io_error(q, i);
    } else if (q->options->verify) {
        verify_complete(q, i, used_len);
    }
    if (likely(q->recording)) {
        histogram_add(&q->latency, now > s->start ? now - s->start : 0);
        q->stats.reads += s->operation == OP_READ;
        q->stats.writes += s->operation == OP_WRITE;
        q->stats.flushes += s->operation == OP_FLUSH;
    }
    s->start = 0;
    q->in_flight--;
}

/* Hot: publishes what was added, kicks if wanted. */
static inline void queue_publish(struct queue *q)
{
    if (vring_publish(&q->ring) || q->options->kick_always) {
        q->stats.kicks++;
        q->transport->kick(q);
    }
}

void queue_fill(struct queue *q)
{
    uint64_t now = tsc_now();
    unsigned i;

    for (i = 0; i < q->depth; i++) {
        if (!queue_submit(q, i, now)) {
            break;
        }
    }
    if (q->in_flight) {
        queue_publish(q);
    }
}

/* --think-time: spins until it has passed since @now; the time it is then. */
static uint64_t COLD queue_think(const struct queue *q, uint64_t now)
{
    uint64_t later;

    do {
        cpu_pause();
        later = tsc_now();
    } while (later - now < q->think);
    return later;
}

bool queue_pass(struct queue *q, unsigned n, uint64_t now)
{
    uint64_t start = unlikely(q->think) ? queue_think(q, now) : now;
    unsigned low_bits = (1u << q->slot_shift) - 1;
    bool added = false;
    unsigned k;

    if (n > PASS_MAX) {
        n = PASS_MAX;
    }
    for (k = 0; k < n; k++) {
        const struct vring_used_elem *e = vring_used_at(&q->ring, k);
        uint32_t id = atomic_get(&e->id);
        uint32_t i = id >> q->slot_shift;

        if (k + PREFETCH_AHEAD < n) {
            uint32_t id2 = vring_used_at(&q->ring, k + PREFETCH_AHEAD)->id;

            __builtin_prefetch(&q->shared_slots[id2 >> q->slot_shift], 1);
        }
        if (unlikely(i >= q->depth || (id & low_bits) ||
                     !q->slots[i].start)) {
            queue_fail(q, "used ring element %u: descriptor %u is not in "
                       "flight", (uint16_t)(q->ring.used_seen + k), id);
            return false;
        }
        queue_complete(q, i, atomic_get(&e->len), now);
        added |= queue_submit(q, i, start);
    }
    q->ring.used_seen += n;
    vring_want_no_interrupt(&q->ring);
    if (likely(added)) {
        queue_publish(q);
    }
    return true;
}
