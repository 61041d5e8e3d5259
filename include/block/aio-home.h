/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Each thread that runs an AioContext has a home: a small number, which no other
 * thread has at the same time.  What the block layer keeps per queue is an array
 * indexed by it (block/queue-slots.h), so that a thread finds the state that it
 * alone writes without a lock.
 *
 * Threads without an AioContext of their own (vCPUs, migration) share home 0,
 * also while they hold the BQL and act as the main loop.
 */

#ifndef BLOCK_AIO_HOME_H
#define BLOCK_AIO_HOME_H

#include "block/aio.h"

#define AIO_HOME_SHARED 0

/*
 * The home of the calling thread.  Never kept across a coroutine's yield, after
 * which it may be another thread.  Cost: a call and a load of thread-local
 * memory.
 */
unsigned aio_home(void);

/*
 * Changes whenever a thread gets a home: who has kept something of a thread looks
 * whether it still is that thread's.  Atomic; any thread.
 */
extern unsigned aio_home_epoch;

/*
 * Gives the calling thread a home until it ends, for @ctx, the AioContext that
 * it runs.  Once a thread.  The home of a thread that has ended is given again,
 * with what the arrays counted at it.
 */
void aio_home_enter(AioContext *ctx);

/*
 * The AioContext whose thread has home @home, or NULL.  It may be gone before
 * the caller looks: for comparing, under the BQL, with AioContexts that live.
 */
AioContext *aio_home_context(unsigned home);

/* Whether a thread runs @ctx now. */
bool aio_home_lives(AioContext *ctx);

#endif /* BLOCK_AIO_HOME_H */
