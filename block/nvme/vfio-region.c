/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Capabilities and mappable areas in VFIO's answers, and the doorbells in them.
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include <sys/mman.h>
#include "qemu/error-report.h"
#include "vfio-region.h"

uint32_t nvme_vfio_find_cap(const void *info, size_t size, uint32_t first,
                            uint16_t id, size_t min)
{
    struct vfio_info_cap_header header;
    uint32_t at = first;

    /* a chain may be a circle: no more steps than there is room for */
    for (size_t steps = size / sizeof(header); at && steps; steps--) {
        if (size < sizeof(header) || at > size - sizeof(header)) {
            return 0;
        }
        memcpy(&header, (const char *)info + at, sizeof(header));
        if (header.id == id) {
            return min <= size - at ? at : 0;
        }
        at = header.next;
    }
    return 0;
}

static bool holds(uint64_t offset, uint64_t size, uint64_t at)
{
    return at >= offset && at - offset < size;
}

/* @cap: the offset of the list of areas in @info */
static bool find_sparse(const void *info, size_t size, uint32_t cap,
                        uint64_t region_size, uint64_t at, NvmeVfioArea *found)
{
    struct vfio_region_info_cap_sparse_mmap list;
    struct vfio_region_sparse_mmap_area area;
    const char *areas = (const char *)info + cap + sizeof(list);
    size_t room = (size - cap - sizeof(list)) / sizeof(area);

    memcpy(&list, (const char *)info + cap, sizeof(list));
    for (unsigned i = 0; i < MIN(list.nr_areas, room); i++) {
        memcpy(&area, areas + i * sizeof(area), sizeof(area));
        if (area.offset <= region_size &&
            area.size <= region_size - area.offset &&
            holds(area.offset, area.size, at)) {
            *found = (NvmeVfioArea) { area.offset, area.size, i };
            return true;
        }
    }
    return false;
}

bool nvme_vfio_find_area(const void *info, size_t size, uint64_t at,
                         NvmeVfioArea *area)
{
    struct vfio_region_info region;
    uint32_t cap = 0;

    memcpy(&region, info, sizeof(region));
    if (!(region.flags & VFIO_REGION_INFO_FLAG_MMAP)) {
        return false;
    }
    if (region.flags & VFIO_REGION_INFO_FLAG_CAPS) {
        cap = nvme_vfio_find_cap(info, size, region.cap_offset,
                                 VFIO_REGION_INFO_CAP_SPARSE_MMAP,
                                 sizeof(struct vfio_region_info_cap_sparse_mmap));
    }
    if (cap) {
        return find_sparse(info, size, cap, region.size, at, area);
    }
    *area = (NvmeVfioArea) { .size = region.size };
    return holds(0, region.size, at);
}

void nvme_vfio_map_doorbells(NvmeTransport *t, int fd, uint64_t offset,
                             const NvmeVfioArea *area)
{
    uint64_t page = qemu_real_host_page_size();
    uint64_t start = QEMU_ALIGN_DOWN(NVME_DOORBELLS, page);
    uint64_t end = area->offset + area->size;
    void *map;

    /* a file offset is signed; more than 2^40 of doorbells is no controller */
    if (start < area->offset || offset > INT64_MAX / 2 || end > 1ULL << 40 ||
        !QEMU_IS_ALIGNED(offset, page)) {
        return;
    }
    map = mmap(NULL, end - start, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
               offset + start);
    if (map != MAP_FAILED) {
        t->doorbells = map + (NVME_DOORBELLS - start);
        t->doorbells_size = end - NVME_DOORBELLS;
    }
}

void nvme_vfio_drop_doorbells(NvmeTransport *t)
{
    size_t before = NVME_DOORBELLS % qemu_real_host_page_size();

    if (t->doorbells &&
        mmap((char *)t->doorbells - before, t->doorbells_size + before,
             PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
             0) == MAP_FAILED) {
        error_report("NVMe: doorbells cannot be given up: %s", strerror(errno));
    }
}

void nvme_vfio_unmap_doorbells(NvmeTransport *t)
{
    if (t->doorbells) {
        size_t before = NVME_DOORBELLS % qemu_real_host_page_size();

        munmap((char *)t->doorbells - before, t->doorbells_size + before);
        t->doorbells = NULL;
    }
}
