/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vhost-user-blk export: what the user, and the block layer, ask of it.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "system/block-backend.h"
#include "util/block-helpers.h"
#include "block/export/vhost-user-blk-server.h"
#include "export.h"

static void drained_begin(void *opaque)
{
    VuBlkExport *vexp = opaque;

    vexp->drains++;
    vu_queues_update(vexp);
}

static void drained_end(void *opaque)
{
    VuBlkExport *vexp = opaque;

    vexp->drains--;
    vu_queues_update(vexp);
}

static bool drained_poll(void *opaque)
{
    VuBlkExport *vexp = opaque;

    for (unsigned i = 0; i < vexp->num_queues; i++) {
        if (vexp->queues[i].phase != VU_IDLE) {
            return true;
        }
    }
    return false;
}

/* Any thread: a write at the end of a file may be what changes its size. */
static void resized(void *opaque)
{
    VuBlkExport *vexp = opaque;

    qemu_bh_schedule(vexp->resize_bh);
}

static const BlockDevOps dev_ops = {
    .drained_begin = drained_begin,
    .drained_end = drained_end,
    .drained_poll = drained_poll,
    .resize_cb = resized,
};

/* In a drained section, at whose end the virtqueues run there. */
static void aio_attached(AioContext *ctx, void *opaque)
{
    VuBlkExport *vexp = opaque;

    vexp->export.ctx = ctx;
}

static void aio_detach(void *opaque)
{
    VuBlkExport *vexp = opaque;

    vexp->export.ctx = NULL;
}

static void destroy(VuBlkExport *vexp)
{
    blk_remove_aio_context_notifier(vexp->export.blk, aio_attached, aio_detach,
                                    vexp);
    qemu_bh_delete(vexp->resize_bh);
    timer_free(vexp->patience);
    g_free(vexp->handler.serial);
    g_free(vexp->queues);
}

static void init(VuBlkExport *vexp, uint32_t block_size, bool writable)
{
    BlockBackend *blk = vexp->export.blk;

    vexp->handler = (VirtioBlkHandler) {
        .blk = blk,
        .serial = g_strdup("vhost_user_blk"),
        .logical_block_size = block_size,
        .writable = writable,
    };
    vexp->queues = g_new(VuQueue, vexp->num_queues);
    for (unsigned i = 0; i < vexp->num_queues; i++) {
        vu_queue_init(&vexp->queues[i], vexp, i);
    }
    vu_device_init(vexp, block_size);
    vexp->patience = aio_timer_new(qemu_get_aio_context(), QEMU_CLOCK_REALTIME,
                                   SCALE_MS, vu_queues_lose_patience, vexp);
    vexp->resize_bh = aio_bh_new(qemu_get_aio_context(), vu_device_resize, vexp);
    blk_add_aio_context_notifier(blk, aio_attached, aio_detach, vexp);
    blk_set_dev_ops(blk, &dev_ops, vexp);
    /* a drain waits for the virtqueues, whose requests must not wait for it */
    blk_set_disable_request_queuing(blk, true);
}

static int create(BlockExport *exp, BlockExportOptions *opts, Error **errp)
{
    VuBlkExport *vexp = container_of(exp, VuBlkExport, export);
    BlockExportOptionsVhostUserBlk *vu_opts = &opts->u.vhost_user_blk;
    uint64_t block_size = VIRTIO_BLK_SECTOR_SIZE;

    if (vu_opts->has_logical_block_size) {
        block_size = vu_opts->logical_block_size;
    }
    if (!check_block_size("logical-block-size", block_size, errp)) {
        return -EINVAL;
    }
    vexp->num_queues = vu_opts->has_num_queues ? vu_opts->num_queues
                                               : VU_NUM_QUEUES_DEFAULT;
    if (vexp->num_queues == 0) {
        error_setg(errp, "num-queues must be greater than 0");
        return -EINVAL;
    }
    init(vexp, block_size, opts->writable);
    if (!vu_listen(vexp, vu_opts->addr, errp)) {
        destroy(vexp);
        return -EADDRNOTAVAIL;
    }
    return 0;
}

static void delete(BlockExport *exp)
{
    destroy(container_of(exp, VuBlkExport, export));
}

static void request_shutdown(BlockExport *exp)
{
    vu_shutdown(container_of(exp, VuBlkExport, export));
}

const BlockExportDriver blk_exp_vhost_user_blk = {
    .type               = BLOCK_EXPORT_TYPE_VHOST_USER_BLK,
    .instance_size      = sizeof(VuBlkExport),
    .supports_iothread_list = true,
    .create             = create,
    .delete             = delete,
    .request_shutdown   = request_shutdown,
};
