/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finds the IOThread of an AioContext: one does not know the other.
 */

#include "qemu/osdep.h"
#include "system/iothread-of.h"

typedef struct Find {
    AioContext *ctx;
    IOThread *found;
} Find;

static int look(Object *obj, void *opaque)
{
    IOThread *iothread = (IOThread *)object_dynamic_cast(obj, TYPE_IOTHREAD);
    Find *find = opaque;

    if (iothread && iothread_get_aio_context(iothread) == find->ctx) {
        find->found = iothread;
    }
    return find->found != NULL;
}

IOThread *iothread_of(AioContext *ctx)
{
    Find find = { .ctx = ctx };

    object_child_foreach(object_get_objects_root(), look, &find);
    return find.found;
}
