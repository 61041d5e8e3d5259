/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory in which the ring engine remembers requests in flight: the vhost-user
 * protocol, "Inflight I/O tracking".  The front-end keeps its file while the daemon
 * is restarted.
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qapi/error.h"
#include "qemu/memfd.h"
#include "export.h"

static bool check_info(const VuInflightInfo *info, Error **errp)
{
    if (info->num_queues == 0 || info->queue_size == 0 ||
        info->queue_size > VRING_MAX_SIZE) {
        error_setg(errp, "requests in flight of %u virtqueues of %u entries",
                   info->num_queues, info->queue_size);
        return false;
    }
    return true;
}

VuInflight *vu_inflight_map(const VuInflightInfo *info, bool packed, int fd,
                            Error **errp)
{
    size_t stride = vring_inflight_size(info->queue_size, packed);
    VuInflight *inflight;

    if (!check_info(info, errp)) {
        return NULL;
    }
    if (info->size < stride * info->num_queues) {
        error_setg(errp, "%" PRIu64 " bytes are too few for requests in flight of "
                   "%u virtqueues of %u entries", info->size, info->num_queues,
                   info->queue_size);
        return NULL;
    }
    inflight = g_new0(VuInflight, 1);
    inflight->stride = stride;
    inflight->num_queues = info->num_queues;
    inflight->queue_size = info->queue_size;
    if (!vu_mapping_init(&inflight->mapping, fd, info->offset, info->size,
                         errp)) {
        g_free(inflight);
        return NULL;
    }
    return inflight;
}

VuInflight *vu_inflight_new(VuInflightInfo *info, bool packed, int *fd,
                            Error **errp)
{
    VuInflight *inflight;

    if (!check_info(info, errp)) {
        return NULL;
    }
    info->size = vring_inflight_size(info->queue_size, packed) * info->num_queues;
    info->offset = 0;
    *fd = qemu_memfd_create("vhost-user-inflight", info->size, false, 0,
                            F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL, errp);
    if (*fd < 0) {
        return NULL;
    }
    inflight = vu_inflight_map(info, packed, *fd, errp);
    if (!inflight) {
        close(*fd);
    }
    return inflight;
}

void vu_inflight_free(VuInflight *inflight)
{
    if (inflight) {
        vu_mapping_destroy(&inflight->mapping);
        g_free(inflight);
    }
}
