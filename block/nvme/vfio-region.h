/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What VFIO says of a region and of an IOMMU, read without trust: the kernel and
 * vfio-user servers use the same structures (linux/vfio.h).
 */

#ifndef BLOCK_NVME_VFIO_REGION_H
#define BLOCK_NVME_VFIO_REGION_H

#include "transport.h"

/* A part of a region that can be mapped. */
typedef struct NvmeVfioArea {
    uint64_t offset;            /* in the region */
    uint64_t size;
    unsigned index;             /* in the list of them */
} NvmeVfioArea;

/*
 * The offset in @info, of @size bytes, of the first capability @id, whose structure
 * is at least @min bytes long; 0 if there is none.  @first: cap_offset.
 */
uint32_t nvme_vfio_find_cap(const void *info, size_t size, uint32_t first,
                            uint16_t id, size_t min);

/*
 * @info: struct vfio_region_info, of @size bytes with its capabilities.  Whether
 * @at in the region can be mapped; then @area is what can be mapped around it.
 */
bool nvme_vfio_find_area(const void *info, size_t size, uint64_t at,
                         NvmeVfioArea *area);

/*
 * Sets t->doorbells and its size, if they can be mapped from @fd, in which BAR0 is
 * at @offset.  Without, doorbells are registers.
 */
void nvme_vfio_map_doorbells(NvmeTransport *t, int fd, uint64_t offset,
                             const NvmeVfioArea *area);

/* They become memory that nobody looks at, while others may write to them. */
void nvme_vfio_drop_doorbells(NvmeTransport *t);
void nvme_vfio_unmap_doorbells(NvmeTransport *t);

#endif /* BLOCK_NVME_VFIO_REGION_H */
