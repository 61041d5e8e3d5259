/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Maps of an AddressSpace's RAM, see vring-memory.h.
 */

#include "qemu/osdep.h"
#include "hw/virtio/vring-memory.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "system/xen.h"

/* VringRegion.opaque: where the region is in a MemoryRegion. */
typedef struct RamPiece {
    MemoryRegion *mr;           /* referenced */
    hwaddr offset;
} RamPiece;

typedef struct RamMap {
    struct rcu_head rcu;        /* first, for call_rcu() */
    VringMap map;
    RamPiece *piece;            /* of map.region[] */
} RamMap;

static QLIST_HEAD(, VringMemory) memories = QLIST_HEAD_INITIALIZER(memories);

static void ram_map_written(VringMap *map, const VringRegion *region,
                            uint64_t offset, uint64_t size)
{
    const RamPiece *piece = region->opaque;

    if (likely(!memory_region_get_dirty_log_mask(piece->mr))) {
        return;
    }
    memory_region_ram_written(piece->mr, piece->offset + offset, size);
}

/* The last reference of a MemoryRegion may be the device's, and needs the BQL. */
static void ram_map_free_bh(void *opaque)
{
    RamMap *ram = opaque;
    unsigned i;

    for (i = 0; i < ram->map.n; i++) {
        memory_region_unref(ram->piece[i].mr);
    }
    g_free(ram->piece);
    g_free(ram->map.region);
    g_free(ram);
}

static void ram_map_release(VringMap *map)
{
    aio_bh_schedule_oneshot(qemu_get_aio_context(), ram_map_free_bh,
                            container_of(map, RamMap, map));
}

static bool section_is_ram(const MemoryRegionSection *section)
{
    MemoryRegion *mr = section->mr;

    return memory_region_is_ram(mr) && !section->readonly && !mr->readonly &&
           !memory_region_is_ram_device(mr) && int128_nz(section->size) &&
           !int128_gethi(section->size);
}

static VringRegion region_of(const MemoryRegionSection *section)
{
    return (VringRegion) {
        .gpa = section->offset_within_address_space,
        .size = int128_get64(section->size),
        .host = (uint8_t *)memory_region_get_ram_ptr(section->mr) +
                section->offset_within_region,
    };
}

static bool piece_goes_on(const VringRegion *region, const RamPiece *piece,
                          const MemoryRegionSection *section)
{
    return piece->mr == section->mr &&
           region->gpa + region->size == section->offset_within_address_space &&
           piece->offset + region->size == section->offset_within_region;
}

/* Of @found, which is in order of the addresses. */
static RamMap *ram_map_new(const GArray *found)
{
    RamMap *ram = g_new0(RamMap, 1);
    VringMap *map = &ram->map;
    unsigned i;

    map->refs = 1;
    map->release = ram_map_release;
    map->written = ram_map_written;
    map->region = g_new(VringRegion, found->len);
    ram->piece = g_new(RamPiece, found->len);
    for (i = 0; i < found->len; i++) {
        MemoryRegionSection *section =
            &g_array_index(found, MemoryRegionSection, i);

        if (map->n && piece_goes_on(&map->region[map->n - 1],
                                    &ram->piece[map->n - 1], section)) {
            map->region[map->n - 1].size += int128_get64(section->size);
            continue;
        }
        memory_region_ref(section->mr);
        ram->piece[map->n] = (RamPiece) {
            .mr = section->mr,
            .offset = section->offset_within_region,
        };
        map->region[map->n] = region_of(section);
        map->region[map->n].opaque = &ram->piece[map->n];
        map->n++;
    }
    return ram;
}

static bool same_ram(const VringMap *a, const VringMap *b)
{
    unsigned i;

    if (!a || a->n != b->n) {
        return false;
    }
    for (i = 0; i < a->n; i++) {
        const VringRegion *x = &a->region[i], *y = &b->region[i];
        const RamPiece *p = x->opaque, *q = y->opaque;

        if (x->gpa != y->gpa || x->size != y->size || x->host != y->host ||
            p->mr != q->mr || p->offset != q->offset) {
            return false;
        }
    }
    return true;
}

static void drop_pointers_reference(RamMap *ram)
{
    vring_map_unref(&ram->map);
}

/* Readers that found the old map may be about to take a reference. */
static void set_map(VringMemory *memory, VringMap *map)
{
    VringMap *old = memory->map;

    qatomic_rcu_set(&memory->map, map);
    if (old) {
        call_rcu(container_of(old, RamMap, map), drop_pointers_reference, rcu);
    }
}

static void begin(MemoryListener *listener)
{
    VringMemory *memory = container_of(listener, VringMemory, listener);

    g_array_set_size(memory->found, 0);
}

static void region_found(MemoryListener *listener, MemoryRegionSection *section)
{
    VringMemory *memory = container_of(listener, VringMemory, listener);

    if (section_is_ram(section)) {
        g_array_append_vals(memory->found, section, 1);
    }
}

/* Most transactions are of devices' registers, and leave the RAM as it was. */
static void commit(MemoryListener *listener)
{
    VringMemory *memory = container_of(listener, VringMemory, listener);
    RamMap *ram = ram_map_new(memory->found);

    if (same_ram(memory->map, &ram->map)) {
        ram_map_free_bh(ram);
        return;
    }
    set_map(memory, &ram->map);
    notifier_list_notify(&memory->changed, memory);
}

VringMemory *vring_memory_get(AddressSpace *as)
{
    VringMemory *memory;

    GLOBAL_STATE_CODE();
    QLIST_FOREACH(memory, &memories, next) {
        if (memory->as == as) {
            memory->refs++;
            return memory;
        }
    }

    memory = g_new0(VringMemory, 1);
    memory->as = as;
    memory->refs = 1;
    memory->found = g_array_new(false, false, sizeof(MemoryRegionSection));
    notifier_list_init(&memory->changed);
    QLIST_INSERT_HEAD(&memories, memory, next);
    if (xen_enabled()) {
        /* its RAM comes and goes with a cache of mappings */
        commit(&memory->listener);
        return memory;
    }
    memory->listener = (MemoryListener) {
        .name = "vring-memory",
        .begin = begin,
        .region_add = region_found,
        .region_nop = region_found,
        .commit = commit,
    };
    memory_listener_register(&memory->listener, as);
    return memory;
}

void vring_memory_put(VringMemory *memory)
{
    GLOBAL_STATE_CODE();
    if (--memory->refs) {
        return;
    }
    if (!xen_enabled()) {
        memory_listener_unregister(&memory->listener);
    }
    QLIST_REMOVE(memory, next);
    set_map(memory, NULL);
    g_array_free(memory->found, true);
    g_free(memory);
}

VringMap *vring_memory_map(VringMemory *memory)
{
    VringMap *map;

    RCU_READ_LOCK_GUARD();
    map = qatomic_rcu_read(&memory->map);
    vring_map_ref(map);
    return map;
}
