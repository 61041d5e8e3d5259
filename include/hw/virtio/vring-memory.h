/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The RAM of an AddressSpace as a VringMap, for devices that serve their rings
 * in threads of their own.
 *
 *     memory = vring_memory_get(vdev->dma_as);       BQL held
 *     ...
 *     map = vring_memory_map(memory);                any thread
 *     vring_set_map(vring, map);
 *     vring_map_unref(map);
 *     ...
 *     if (!vring_memory_is(memory, vring_map(vring)))  it has changed since
 *     ...
 *     vring_memory_put(memory);                      BQL held
 *
 * What is in it: RAM that the device may write, at the addresses where the
 * AddressSpace shows it.  Not ROM, also where it is RAM that a chipset has
 * protected, not RAM of assigned devices, which is to be accessed by the width,
 * and nothing behind an IOMMU: an AddressSpace that translates has no RAM in its
 * view.
 *
 * When the view changes, a new map is there before the transaction's commit ends.
 * It replaces the old one's pointer; the reference that was the pointer's is
 * dropped after an RCU grace period, so that who has read the pointer in a
 * read-side section can still take its own: vring_memory_map().  Memory that was
 * removed is not in the new map; it stays allocated, by a reference of its
 * MemoryRegion, as long as the old map has users.  These are told of the change,
 * to let go of the old one soon: who still uses it, by having popped a request
 * with it, looks at vring_memory_is() after that.
 */

#ifndef HW_VIRTIO_VRING_MEMORY_H
#define HW_VIRTIO_VRING_MEMORY_H

#include "exec/memory.h"
#include "hw/virtio/vring.h"
#include "qemu/notify.h"

typedef struct VringMemory {
    VringMap *map;              /* RCU; written with the BQL held */

    /* the rest with the BQL held */
    AddressSpace *as;
    unsigned refs;
    MemoryListener listener;
    GArray *found;              /* MemoryRegionSection, between begin and commit */
    NotifierList changed;       /* after each change, with the VringMemory */
    QLIST_ENTRY(VringMemory) next;
} VringMemory;

/* That of @as, which lives until it is put as often. */
VringMemory *vring_memory_get(AddressSpace *as);
void vring_memory_put(VringMemory *memory);

/* The map of now, with a reference for the caller. */
VringMap *vring_memory_map(VringMemory *memory);

/* Whether @map is the map of now.  Cost: a load of a line that is rarely written. */
static inline bool vring_memory_is(const VringMemory *memory, const VringMap *map)
{
    return qatomic_read(&memory->map) == map;
}

/*
 * A device has written @size bytes at @offset of @mr, which is RAM: for migration,
 * displays and translated code, as after dma_memory_unmap().  In physmem.c.
 */
void memory_region_ram_written(MemoryRegion *mr, hwaddr offset, hwaddr size);

#endif /* HW_VIRTIO_VRING_MEMORY_H */
