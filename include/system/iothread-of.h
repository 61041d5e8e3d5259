/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From an AioContext to its IOThread.
 */

#ifndef SYSTEM_IOTHREAD_OF_H
#define SYSTEM_IOTHREAD_OF_H

#include "block/aio.h"
#include "system/iothread.h"

/*
 * The IOThread among the user's objects that runs @ctx, or NULL; no reference is
 * taken.  Main loop, with the BQL held.
 */
IOThread *iothread_of(AioContext *ctx);

#endif /* SYSTEM_IOTHREAD_OF_H */
