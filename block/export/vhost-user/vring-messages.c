/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What messages about one virtqueue do.  What its thread works with changes while
 * it is held, or there.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "export.h"

static VuQueue *find(VuBlkExport *vexp, uint32_t index, Error **errp)
{
    if (index >= vexp->num_queues) {
        error_setg(errp, "there is no virtqueue %u", index);
        return NULL;
    }
    return &vexp->queues[index];
}

bool coroutine_fn vu_set_vring_num(VuBlkExport *vexp, VuMessage *msg,
                                   Error **errp)
{
    VuQueue *q = find(vexp, msg->number.index, errp);

    if (!q) {
        return false;
    }
    if (msg->number.num == 0 || msg->number.num > VRING_MAX_SIZE) {
        error_setg(errp, "a virtqueue cannot have %u entries", msg->number.num);
        return false;
    }
    vu_queue_hold(q);
    vu_queue_renew(q);
    q->num = msg->number.num;
    vu_queue_release(q);
    return true;
}

/* A front-end says them again when a migration begins: nothing has changed then. */
bool coroutine_fn vu_set_vring_addr(VuBlkExport *vexp, VuMessage *msg,
                                    Error **errp)
{
    VuQueue *q = find(vexp, msg->addr.index, errp);
    const VuVringAddr *addr = &msg->addr;

    if (!q) {
        return false;
    }
    if (q->has_addr && addr->desc == q->addr.desc &&
        addr->avail == q->addr.avail && addr->used == q->addr.used) {
        return true;
    }
    vu_queue_hold(q);
    vu_queue_renew(q);
    q->addr = *addr;
    q->has_addr = true;
    vu_queue_release(q);
    return true;
}

bool coroutine_fn vu_set_vring_base(VuBlkExport *vexp, VuMessage *msg,
                                    Error **errp)
{
    VuQueue *q = find(vexp, msg->number.index, errp);

    if (!q) {
        return false;
    }
    vu_queue_hold(q);
    vu_queue_renew(q);
    q->has_place = false;
    q->base = msg->number.num;
    q->has_base = true;
    vu_queue_release(q);
    return true;
}

/* Stops the virtqueue, until it gets another descriptor for kicks. */
bool coroutine_fn vu_get_vring_base(VuBlkExport *vexp, VuMessage *msg,
                                    Error **errp)
{
    VuQueue *q = find(vexp, msg->number.index, errp);

    if (!q) {
        return false;
    }
    vu_queue_recover(q);
    vu_queue_hold(q);
    vu_queue_renew(q);
    vu_close(&q->kick_fd);
    vu_close(&q->call_fd);
    vu_queue_release(q);
    msg->number.num = q->base;
    if (!q->has_base && !q->has_place &&
        vu_has_feature(vexp, VIRTIO_F_RING_PACKED)) {
        msg->number.num = VU_PACKED_BASE;
    }
    msg->header.size = sizeof(msg->number);
    msg->replied = true;
    return true;
}

/* The virtqueue of @msg, and its file descriptor, or -1. */
static VuQueue *take_fd(VuBlkExport *vexp, VuMessage *msg, int *fd, Error **errp)
{
    VuQueue *q = find(vexp, msg->u64 & VU_FD_QUEUE_MASK, errp);

    if (!q) {
        return NULL;
    }
    if (msg->n_fds != !(msg->u64 & VU_FD_NONE)) {
        error_setg(errp, "%#" PRIx64 " with %u file descriptors", msg->u64,
                   msg->n_fds);
        return NULL;
    }
    *fd = -1;
    if (msg->n_fds) {
        *fd = vu_message_take_eventfd(msg, errp);
    }
    return *fd >= 0 || !msg->n_fds ? q : NULL;
}

/* Without one the driver's requests would not be noticed: it does not run. */
bool coroutine_fn vu_set_vring_kick(VuBlkExport *vexp, VuMessage *msg,
                                    Error **errp)
{
    int fd;
    VuQueue *q = take_fd(vexp, msg, &fd, errp);

    if (!q) {
        return false;
    }
    vu_queue_hold(q);
    vu_close(&q->kick_fd);
    q->kick_fd = fd;
    vu_queue_release(q);
    vu_device_tell(vexp);
    return true;
}

static bool coroutine_fn set_fd(VuBlkExport *vexp, VuMessage *msg,
                                VuQueueFunc *set, Error **errp)
{
    int fd;
    VuQueue *q = take_fd(vexp, msg, &fd, errp);

    if (q) {
        vu_queue_apply(q, set, &fd);
    }
    return q;
}

bool coroutine_fn vu_set_vring_call(VuBlkExport *vexp, VuMessage *msg,
                                    Error **errp)
{
    return set_fd(vexp, msg, vu_pass_set_call, errp);
}

bool coroutine_fn vu_set_vring_err(VuBlkExport *vexp, VuMessage *msg,
                                   Error **errp)
{
    return set_fd(vexp, msg, vu_pass_set_err, errp);
}

bool coroutine_fn vu_set_vring_enable(VuBlkExport *vexp, VuMessage *msg,
                                      Error **errp)
{
    VuQueue *q = find(vexp, msg->number.index, errp);

    if (!q) {
        return false;
    }
    if (msg->number.num > 1) {
        error_setg(errp, "virtqueue %u is to be enabled %u", q->index,
                   msg->number.num);
        return false;
    }
    if (!msg->number.num) {
        vu_queue_recover(q);
    }
    vu_queue_hold(q);
    q->enabled = msg->number.num;
    vu_queue_release(q);
    return true;
}
