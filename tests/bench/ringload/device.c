/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all transports do with a virtio-blk device's features and configuration
 * (VIRTIO 1.2, sections 5.2.3, 5.2.4 and 6).
 */
#include "transport.h"
#include "options.h"
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

uint64_t device_choose_features(const struct options *o, uint64_t offered)
{
    uint64_t wanted = 1ull << VIRTIO_F_VERSION_1 |
                      1ull << VIRTIO_BLK_F_MQ |
                      1ull << VIRTIO_BLK_F_SEG_MAX |
                      1ull << VIRTIO_BLK_F_BLK_SIZE |
                      1ull << VIRTIO_BLK_F_FLUSH;

    if (!(offered & 1ull << VIRTIO_F_VERSION_1)) {
        die("the server does not offer VIRTIO_F_VERSION_1");
    }
    if (o->event_idx) {
        wanted |= 1ull << VIRTIO_RING_F_EVENT_IDX;
    }
    if (o->indirect != INDIRECT_OFF) {
        wanted |= 1ull << VIRTIO_RING_F_INDIRECT_DESC;
    }
    if (o->writes && (offered & 1ull << VIRTIO_BLK_F_RO)) {
        die("the device is read-only");
    }
    /* 5.2.5: a driver of a read-only device accepts VIRTIO_BLK_F_RO */
    wanted |= 1ull << VIRTIO_BLK_F_RO;
    return offered & wanted;
}

void device_read_config(struct device *dev, const void *config, size_t size)
{
    struct virtio_blk_config c = { 0 };

    memcpy(&c, config, size < sizeof(c) ? size : sizeof(c));
    dev->sectors = c.capacity;
    dev->logical_block = 512;
    if (dev->features & 1ull << VIRTIO_BLK_F_BLK_SIZE) {
        dev->logical_block = c.blk_size;
    }
    dev->max_queues = 1;
    if (dev->features & 1ull << VIRTIO_BLK_F_MQ) {
        dev->max_queues = c.num_queues;
    }
    if (dev->logical_block < 512 ||
        (dev->logical_block & (dev->logical_block - 1))) {
        die("the device's logical block size %u makes no sense",
            dev->logical_block);
    }
}
