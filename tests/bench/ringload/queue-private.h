/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the two halves of the engine call of each other: queue.c has the passes,
 * queue-thread.c the phases that they make up. Only the queue's thread calls.
 */
#ifndef RINGLOAD_QUEUE_PRIVATE_H
#define RINGLOAD_QUEUE_PRIVATE_H

#include "queue.h"

/*
 * Complains; the run ends with EXIT_DATA when what is in flight has completed.
 */
void queue_fail(struct queue *q, const char *fmt, ...)
    __attribute__((cold, format(printf, 2, 3)));

/* Submits a request in each slot, all of which are free, as the phase has. */
void queue_fill(struct queue *q);

/*
 * Hot: takes some of @n used elements that are there, submits as many new
 * requests; false where the server broke the ring.
 */
bool queue_pass(struct queue *q, unsigned n, uint64_t now);

#endif
