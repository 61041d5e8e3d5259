/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory of a driver: see hw/virtio/vring.h.
 */

#include "qemu/osdep.h"
#include "vring-internal.h"

void vring_map_ref(VringMap *map)
{
    qatomic_inc(&map->refs);
}

void vring_map_unref(VringMap *map)
{
    if (qatomic_fetch_dec(&map->refs) == 1) {
        map->release(map);
    }
}

void *vring_map_find(const VringMap *map, hwaddr gpa, uint64_t size,
                     const VringRegion **region)
{
    unsigned low = 0, high = map->n;

    while (low < high) {
        unsigned middle = (low + high) / 2;
        const VringRegion *r = &map->region[middle];

        if (gpa < r->gpa) {
            high = middle;
        } else if (gpa - r->gpa >= r->size) {
            low = middle + 1;
        } else if (size > r->size - (gpa - r->gpa)) {
            return NULL;
        } else {
            if (region) {
                *region = r;
            }
            return r->host + (gpa - r->gpa);
        }
    }
    return NULL;
}
