/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * object-del of an IOThread: refused while a device holds a reference to it.
 * Devices find their IOThreads by name again, to show and to release them.
 */

#ifndef SYSTEM_IOTHREAD_IN_USE_H
#define SYSTEM_IOTHREAD_IN_USE_H

#include "system/event-loop-base.h"

/* EventLoopBaseClass.can_be_deleted; BQL held. */
bool iothread_can_be_deleted(EventLoopBase *base);

#endif /* SYSTEM_IOTHREAD_IN_USE_H */
