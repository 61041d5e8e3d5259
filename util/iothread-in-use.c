/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether an IOThread can be removed.
 */

#include "qemu/osdep.h"
#include "system/iothread-in-use.h"

bool iothread_can_be_deleted(EventLoopBase *base)
{
    /* the tree of objects holds one, each user another */
    return OBJECT(base)->ref == 1;
}
