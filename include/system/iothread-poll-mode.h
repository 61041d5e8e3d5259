/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How an IOThread waits: the property poll-mode of -object iothread, and the
 * counters that tell how it went.
 *
 * The IOThread keeps what was asked for; its AioContext does it (see
 * block/aio-loop.h).  Everything here is called from the main loop with the BQL
 * held.
 */

#ifndef SYSTEM_IOTHREAD_POLL_MODE_H
#define SYSTEM_IOTHREAD_POLL_MODE_H

#include "qapi/qapi-types-iothread.h"
#include "qom/object.h"

struct IOThread;

/* Adds the property of this file to TYPE_IOTHREAD. */
void iothread_poll_mode_class_init(ObjectClass *klass);

/* Tells the mode to the IOThread's AioContext, which must have been made. */
void iothread_poll_mode_start(struct IOThread *iothread);

/* Fills in the members of @info that tell how the thread waits. */
void iothread_poll_mode_query(struct IOThread *iothread, IOThreadInfo *info);

#endif /* SYSTEM_IOTHREAD_POLL_MODE_H */
