/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log of written pages, while the front-end's guest migrates: the vhost-user
 * protocol, "Migration".
 *
 * Data and used rings go there alike, by where they are in the driver's memory.  The
 * log address of a ring would say something else only behind an IOMMU, which the
 * device does not offer.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "export.h"

VuLog *vu_log_new(VuBlkExport *vexp, int fd, const VuLogInfo *info,
                  Error **errp)
{
    VuLog *log = g_new0(VuLog, 1);

    log->refs = 1;
    log->size = info->size;
    if (!vu_mapping_init(vexp, &log->mapping, fd, info->offset, info->size,
                         errp)) {
        g_free(log);
        return NULL;
    }
    return log;
}

VuLog *vu_log_ref(VuLog *log)
{
    if (log) {
        qatomic_inc(&log->refs);
    }
    return log;
}

void vu_log_unref(VuLog *log)
{
    if (log && qatomic_fetch_dec(&log->refs) == 1) {
        vu_mapping_destroy(&log->mapping);
        g_free(log);
    }
}

void vu_log_mark(VuLog *log, uint64_t gpa, uint64_t size)
{
    uint64_t page = gpa / VU_LOG_PAGE;
    uint64_t last = (gpa + size - 1) / VU_LOG_PAGE;

    for (; size && page <= last && page / 8 < log->size; page++) {
        /* the data; then the bit, after which the front-end copies it */
        qatomic_or(&log->mapping.host[page / 8], 1 << page % 8);
    }
}
