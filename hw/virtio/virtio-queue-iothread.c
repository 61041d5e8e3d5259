/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command virtio-queue-set-iothread: finds the device, the virtqueue and the
 * IOThread, and lets the device do the rest.
 */

#include "qemu/osdep.h"
#include "hw/qdev-core.h"
#include "hw/virtio/virtio-blk.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-virtio-queues.h"
#include "qemu/main-loop.h"

static Object *find_device(const char *id, Error **errp)
{
    Object *obj = *id == '/' ? object_resolve_path(id, NULL)
        : object_resolve_path_component(machine_get_container("peripheral"), id);

    if (!obj || !object_dynamic_cast(obj, TYPE_DEVICE)) {
        error_set(errp, ERROR_CLASS_DEVICE_NOT_FOUND, "Device '%s' not found", id);
        return NULL;
    }
    return obj;
}

/* The device with this ID or path, or the one behind its transport. */
static VirtIOBlock *find_virtio_blk(const char *id, Error **errp)
{
    Object *obj = find_device(id, errp);
    Object *behind;

    if (!obj) {
        return NULL;
    }
    behind = object_resolve_path_component(obj, "virtio-backend");
    if (behind) {
        obj = behind;
    }
    if (!object_dynamic_cast(obj, TYPE_VIRTIO_BLK)) {
        error_setg(errp, "Device '%s' is not a virtio-blk device, and cannot "
                   "move its virtqueues", id);
        return NULL;
    }
    if (!qdev_is_realized(DEVICE(obj))) {
        error_setg(errp, "Device '%s' is not realized", id);
        return NULL;
    }
    return VIRTIO_BLK(obj);
}

static AioContext *find_context(const StrOrNull *name, Error **errp)
{
    Object *obj;

    if (name->type == QTYPE_QNULL) {
        return qemu_get_aio_context();
    }
    obj = object_resolve_path_component(object_get_objects_root(), name->u.s);
    if (!obj || !object_dynamic_cast(obj, TYPE_IOTHREAD)) {
        error_setg(errp, "IOThread '%s' not found", name->u.s);
        return NULL;
    }
    return iothread_get_aio_context(IOTHREAD(obj));
}

void qmp_virtio_queue_set_iothread(const char *id, uint16_t queue,
                                   StrOrNull *iothread, Error **errp)
{
    VirtIOBlock *s = find_virtio_blk(id, errp);
    AioContext *ctx = s ? find_context(iothread, errp) : NULL;

    if (!ctx) {
        return;
    }
    if (queue >= s->conf.num_queues) {
        error_setg(errp, "Device '%s' has no virtqueue %u: it has %u, from 0 to "
                   "%u", id, queue, s->conf.num_queues, s->conf.num_queues - 1u);
        return;
    }
    VIRTIO_BLK_GET_CLASS(s)->set_queue_context(s, queue, ctx, errp);
}
