/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device that a front-end finds: its features and its configuration space.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "qemu/error-report.h"
#include "system/block-backend.h"
#include "export.h"

/*
 * VIRTIO_BLK_F_SIZE_MAX though there is no limit to speak of: a guest that has it from
 * a daemon of the base keeps it when that is replaced.
 */
uint64_t vu_device_features(VuBlkExport *vexp)
{
    return 1ull << VIRTIO_BLK_F_SIZE_MAX |
           1ull << VIRTIO_BLK_F_SEG_MAX |
           1ull << VIRTIO_BLK_F_TOPOLOGY |
           1ull << VIRTIO_BLK_F_BLK_SIZE |
           1ull << VIRTIO_BLK_F_FLUSH |
           1ull << VIRTIO_BLK_F_DISCARD |
           1ull << VIRTIO_BLK_F_WRITE_ZEROES |
           1ull << VIRTIO_BLK_F_CONFIG_WCE |
           1ull << VIRTIO_BLK_F_MQ |
           (vexp->handler.writable ? 0 : 1ull << VIRTIO_BLK_F_RO) |
           1ull << VIRTIO_F_VERSION_1 |
           1ull << VIRTIO_F_RING_PACKED |
           1ull << VIRTIO_F_IN_ORDER |
           1ull << VIRTIO_RING_F_INDIRECT_DESC |
           1ull << VIRTIO_RING_F_EVENT_IDX |
           1ull << VU_F_LOG_ALL |
           1ull << VU_F_PROTOCOL_FEATURES;
}

static uint64_t capacity(VuBlkExport *vexp)
{
    BlockDriverState *bs = blk_bs(vexp->export.blk);
    int64_t length = bdrv_getlength(bs);

    if (length < 0) {
        error_report("vhost-user-blk export '%s': cannot get the length of node "
                     "'%s': %s", vexp->export.id, bdrv_get_node_name(bs),
                     strerror(-length));
        return le64_to_cpu(vexp->config.capacity);
    }
    return length >> VIRTIO_BLK_SECTOR_BITS;
}

void vu_device_init(VuBlkExport *vexp, uint32_t block_size)
{
    uint32_t block_sectors = block_size >> VIRTIO_BLK_SECTOR_BITS;

    vexp->config = (struct virtio_blk_config) {
        .capacity = cpu_to_le64(capacity(vexp)),
        /* not 0, which a driver may take for a limit; of whole pages */
        .size_max = cpu_to_le32(QEMU_ALIGN_DOWN(UINT32_MAX, 64 * KiB)),
        .seg_max = cpu_to_le32(VRING_SG - 2),
        .blk_size = cpu_to_le32(block_size),
        .min_io_size = cpu_to_le16(1),
        .opt_io_size = cpu_to_le32(1),
        .num_queues = cpu_to_le16(vexp->num_queues),
        /* else a driver takes what it has written for safe, and does not flush */
        .wce = blk_enable_write_cache(vexp->export.blk),
        .max_discard_sectors = cpu_to_le32(VIRTIO_BLK_MAX_DISCARD_SECTORS),
        .max_discard_seg = cpu_to_le32(1),
        .discard_sector_alignment = cpu_to_le32(block_sectors),
        .max_write_zeroes_sectors =
            cpu_to_le32(VIRTIO_BLK_MAX_WRITE_ZEROES_SECTORS),
        .max_write_zeroes_seg = cpu_to_le32(1),
    };
}

/* The space is as large as a front-end asks, with nothing behind what there is. */
void vu_device_get_config(VuBlkExport *vexp, VuConfig *config)
{
    memset(config->data, 0, sizeof(config->data));
    if (config->offset < sizeof(vexp->config)) {
        memcpy(config->data, (uint8_t *)&vexp->config + config->offset,
               MIN(config->size, sizeof(vexp->config) - config->offset));
    }
}

bool vu_device_set_config(VuBlkExport *vexp, const VuConfig *config,
                          Error **errp)
{
    if (config->flags != VU_CONFIG_FROM_DRIVER ||
        config->offset != offsetof(struct virtio_blk_config, wce) ||
        config->size != sizeof(vexp->config.wce)) {
        error_setg(errp, "%u bytes at %u of the configuration space cannot be set",
                   config->size, config->offset);
        return false;
    }
    vexp->config.wce = config->data[0];
    blk_set_enable_write_cache(vexp->export.blk, vexp->config.wce);
    return true;
}

void vu_device_resize(void *opaque)
{
    VuBlkExport *vexp = opaque;

    vexp->config.capacity = cpu_to_le64(capacity(vexp));
    vexp->config_changed = vexp->sioc;
    vu_device_tell(vexp);
}

/*
 * While no virtqueue is started the device is suspended, and says nothing: "Suspended
 * device state" of the protocol.
 */
static bool is_suspended(VuBlkExport *vexp)
{
    for (unsigned i = 0; i < vexp->num_queues; i++) {
        if (vexp->queues[i].kick_fd >= 0) {
            return false;
        }
    }
    return true;
}

void vu_device_tell(VuBlkExport *vexp)
{
    if (vexp->config_changed && vexp->backend_fd >= 0 && !is_suspended(vexp) &&
        vu_backend_send(vexp->backend_fd, VU_BACKEND_CONFIG_CHANGE)) {
        vexp->config_changed = false;
    }
}
