/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a queue asks for next: operation and block, by phase and options.
 * Inline, as every request passes here; for queue.c alone.
 */
#ifndef RINGLOAD_QUEUE_LOAD_H
#define RINGLOAD_QUEUE_LOAD_H

#include "options.h"
#include "queue.h"

/* Hot: xorshift64 (Marsaglia, 2003). */
static inline uint64_t next_random(struct queue *q)
{
    uint64_t x = q->random;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    q->random = x;
    return x;
}

/* Hot: a random number below @n, without a division. */
static inline uint64_t random_below(struct queue *q, uint64_t n)
{
    return (unsigned __int128)next_random(q) * n >> 64;
}

static inline uint64_t sequential(struct queue *q)
{
    uint64_t block = q->cursor;

    q->cursor = block + 1 < q->blocks ? block + 1 : 0;
    return block;
}

/*
 * Chooses the block of a request in the run. Where data are verified it is one
 * that no other request is at; there are more blocks than slots.
 */
static inline uint64_t choose_block(struct queue *q)
{
    uint64_t block = q->options->random ? random_below(q, q->blocks)
                                        : sequential(q);

    if (q->options->verify) {
        while (verify_is_busy(&q->verify, block)) {
            block = q->options->random
                  ? (block + 1 < q->blocks ? block + 1 : 0) : sequential(q);
        }
    }
    return block;
}

static inline enum operation choose_operation(struct queue *q)
{
    const struct options *o = q->options;

    if (o->flush_every && q->writes_since_flush >= o->flush_every) {
        q->writes_since_flush = 0;
        return OP_FLUSH;
    }
    if (o->read_percent == 100 ||
        (o->read_percent && (next_random(q) >> 32) < q->read_below)) {
        return OP_READ;
    }
    q->writes_since_flush++;
    return OP_WRITE;
}

/* What comes next in this phase; OP_NONE where nothing does. */
static inline enum operation choose_request(struct queue *q, uint64_t *block)
{
    enum operation op;

    if (unlikely(!q->left)) {
        return OP_NONE;
    }
    switch (q->phase) {
    case PHASE_RUN:
        q->left--;
        op = choose_operation(q);
        if (op != OP_FLUSH) {
            *block = choose_block(q);
        }
        return op;
    case PHASE_PREFILL:
        if (q->cursor == q->blocks) {
            return OP_NONE;
        }
        *block = q->cursor++;
        return OP_WRITE;
    default:
        while (q->cursor < q->blocks &&
               !q->verify.generation[q->cursor]) {
            q->cursor++;
        }
        if (q->cursor == q->blocks) {
            return OP_NONE;
        }
        *block = q->cursor++;
        return OP_READ;
    }
}

#endif
