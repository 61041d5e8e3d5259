/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The front-end's memory, as maps of the ring engine.
 *
 * Each change makes a new map of the same regions; a region is unmapped with the
 * last map that has it, which is when the last request that may use it has ended.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/main-loop.h"
#include "export.h"

typedef struct VuRegion {
    unsigned refs;              /* atomic: maps are released in any thread */
    VuRegionInfo info;
    VuMapping mapping;
    VuShared *shared;
} VuRegion;

static VuRegion *region_new(VuBlkExport *vexp, const VuRegionInfo *info, int fd,
                            Error **errp)
{
    VuRegion *region;

    if (info->size == 0 || info->gpa > UINT64_MAX - info->size ||
        info->user > UINT64_MAX - info->size) {
        error_setg(errp, "a memory region of %" PRIu64 " bytes at %#" PRIx64
                   " wraps around or is empty", info->size, info->gpa);
        return NULL;
    }
    region = g_new0(VuRegion, 1);
    region->info = *info;
    if (!vu_mapping_init(vexp, &region->mapping, fd, info->offset, info->size,
                         errp)) {
        g_free(region);
        return NULL;
    }
    region->shared = vu_shared_new(vexp, &region->mapping, fd, info->offset);
    return region;
}

static void region_ref(VuRegion *region)
{
    qatomic_inc(&region->refs);
}

static void region_free(void *opaque)
{
    VuRegion *region = opaque;

    vu_shared_free(region->shared);
    vu_mapping_destroy(&region->mapping);
    g_free(region);
}

/* What is shared is so until the main loop, out of any coroutine, ends it. */
static void region_unref(VuRegion *region)
{
    if (qatomic_fetch_dec(&region->refs) == 1) {
        aio_bh_schedule_oneshot(qemu_get_aio_context(), region_free, region);
    }
}

static void map_release(VringMap *map)
{
    VuMap *vu_map = container_of(map, VuMap, map);

    for (unsigned i = 0; i < map->n; i++) {
        region_unref(map->region[i].opaque);
    }
    vu_log_unref(vu_map->log);
    g_free(vu_map);
}

static void map_written(VringMap *map, const VringRegion *region,
                        uint64_t offset, uint64_t size)
{
    vu_log_mark(container_of(map, VuMap, map)->log, region->gpa + offset, size);
}

/* With room for @n regions. */
static VuMap *map_alloc(unsigned n, VuLog *log)
{
    VuMap *map = g_malloc0(sizeof(VuMap) + n * sizeof(VringRegion));

    map->map.refs = 1;
    map->map.release = map_release;
    map->map.region = map->region;
    map->log = vu_log_ref(log);
    map->map.written = log ? map_written : NULL;
    return map;
}

/* In its place; false and an error if there is something there. */
static bool map_insert(VuMap *map, VuRegion *region, Error **errp)
{
    VringRegion *at = map->region + map->map.n;
    const VuRegionInfo *info = &region->info;

    for (; at > map->region && at[-1].gpa > info->gpa; at--) {
        ;
    }
    if ((at > map->region && info->gpa - at[-1].gpa < at[-1].size) ||
        (at < map->region + map->map.n && at->gpa - info->gpa < info->size)) {
        error_setg(errp, "the memory region at %#" PRIx64 " overlaps another",
                   info->gpa);
        return false;
    }
    memmove(at + 1, at, (map->region + map->map.n - at) * sizeof(*at));
    map->map.n++;
    region_ref(region);
    *at = (VringRegion) {
        .gpa = info->gpa,
        .size = info->size,
        .host = region->mapping.host,
        .opaque = region,
    };
    return true;
}

static bool map_insert_new(VuBlkExport *vexp, VuMap *map,
                           const VuRegionInfo *info, int fd, Error **errp)
{
    VuRegion *region = region_new(vexp, info, fd, errp);
    bool ok;

    if (!region) {
        return false;
    }
    region_ref(region);
    ok = map_insert(map, region, errp);
    region_unref(region);
    return ok;
}

/* The regions of @map but @except, with room for one more. */
static VuMap *map_copy(const VuMap *map, const VuRegion *except, VuLog *log)
{
    VuMap *copy = map_alloc(map->map.n + 1, log);

    for (unsigned i = 0; i < map->map.n; i++) {
        if (map->region[i].opaque != except) {
            map_insert(copy, map->region[i].opaque, &error_abort);
        }
    }
    return copy;
}

VuMap *vu_map_new(VuBlkExport *vexp, const VuRegionInfo *info, const int *fds,
                  unsigned n, VuLog *log, Error **errp)
{
    VuMap *map = map_alloc(n, log);

    for (unsigned i = 0; i < n; i++) {
        if (!map_insert_new(vexp, map, &info[i], fds[i], errp)) {
            vring_map_unref(&map->map);
            return NULL;
        }
    }
    return map;
}

VuMap *vu_map_add(VuBlkExport *vexp, const VuMap *map, const VuRegionInfo *info,
                  int fd, Error **errp)
{
    VuMap *more;

    if (map->map.n == VU_MEM_SLOTS) {
        error_setg(errp, "more than %u memory regions", VU_MEM_SLOTS);
        return NULL;
    }
    more = map_copy(map, NULL, map->log);
    if (!map_insert_new(vexp, more, info, fd, errp)) {
        vring_map_unref(&more->map);
        return NULL;
    }
    return more;
}

VuMap *vu_map_remove(const VuMap *map, const VuRegionInfo *info, Error **errp)
{
    for (unsigned i = 0; i < map->map.n; i++) {
        VuRegion *region = map->region[i].opaque;

        if (region->info.gpa == info->gpa && region->info.user == info->user &&
            region->info.size == info->size) {
            return map_copy(map, region, map->log);
        }
    }
    error_setg(errp, "there is no memory region of %" PRIu64 " bytes at %#"
               PRIx64 " to remove", info->size, info->gpa);
    return NULL;
}

VuMap *vu_map_log(const VuMap *map, VuLog *log)
{
    return map_copy(map, NULL, log);
}

void vu_map_locate(const VuMap *map, VuRegionInfo *info)
{
    for (unsigned i = 0; i < map->map.n; i++) {
        if (map->region[i].gpa == info->gpa) {
            info->user = (uintptr_t)map->region[i].host;
        }
    }
}

bool vu_map_register(VuBlkExport *vexp, const VuMap *map, Error **errp)
{
    for (unsigned i = 0; i < map->map.n; i++) {
        VuRegion *region = map->region[i].opaque;

        if (!vu_postcopy_register(vexp, &region->mapping, errp)) {
            return false;
        }
    }
    return true;
}

bool vu_map_guest_address(const VuMap *map, uint64_t user, hwaddr *gpa)
{
    for (unsigned i = 0; i < map->map.n; i++) {
        const VuRegionInfo *info = &((VuRegion *)map->region[i].opaque)->info;

        if (user >= info->user && user - info->user < info->size) {
            *gpa = info->gpa + (user - info->user);
            return true;
        }
    }
    return false;
}
