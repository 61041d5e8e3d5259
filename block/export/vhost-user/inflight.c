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

/* of an area, so that those of two threads are in no common cache line */
#define AREA_ALIGN 64

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

/* All back-ends lay the areas out in the same way: whole, each after the last. */
VuInflight *vu_inflight_map(VuBlkExport *vexp, const VuInflightInfo *info,
                            int fd, Error **errp)
{
    VuInflight *inflight;

    if (!check_info(info, errp)) {
        return NULL;
    }
    inflight = g_new0(VuInflight, 1);
    inflight->num_queues = info->num_queues;
    inflight->stride = QEMU_ALIGN_DOWN(info->size / info->num_queues,
                                       AREA_ALIGN);
    if (!vu_mapping_init(vexp, &inflight->mapping, fd, info->offset, info->size,
                         errp)) {
        g_free(inflight);
        return NULL;
    }
    return inflight;
}

/*
 * For the largest of rings: a guest may give its virtqueues more entries than the
 * front-end asks for, and another layout than was negotiated before.
 */
VuInflight *vu_inflight_new(VuBlkExport *vexp, VuInflightInfo *info, int *fd,
                            Error **errp)
{
    VuInflight *inflight;

    if (!check_info(info, errp)) {
        return NULL;
    }
    info->size = info->num_queues * MAX(vring_inflight_size(VRING_MAX_SIZE, true),
                                        vring_inflight_size(VRING_MAX_SIZE,
                                                            false));
    info->offset = 0;
    *fd = qemu_memfd_create("vhost-user-inflight", info->size, false, 0,
                            F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL, errp);
    if (*fd < 0) {
        return NULL;
    }
    inflight = vu_inflight_map(vexp, info, *fd, errp);
    if (!inflight) {
        close(*fd);
        *fd = -1;
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
