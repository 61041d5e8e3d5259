/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory that a controller may access, and the addresses it has there.
 *
 * Three kinds, by how long they stay mapped:
 *
 *  - regions: guest RAM and the driver's own rings, from nvme_memory_add() or
 *    nvme_memory_alloc() until they are removed.  Each thread that submits looks
 *    them up in a copy of its own (NvmeRegions), without a lock.
 *  - transient mappings: for one request (nvme_memory_map_transient()).
 *  - neither: the request's data goes through memory of the driver's (bounce.c).
 *
 * A region counts its users.  But one that is guest RAM, of this process or of an
 * export's front-end, goes when that memory goes: bdrv_register_buf() tells of it too,
 * and its end may go to another node, after a change of the graph.
 */

#ifndef BLOCK_NVME_MEMORY_H
#define BLOCK_NVME_MEMORY_H

#include "transport.h"
#include "exec/ramlist.h"
#include "qemu/thread.h"

typedef struct NvmeRegion {
    uintptr_t first;
    uintptr_t end;
    uint64_t iova;
} NvmeRegion;

/* A thread's copy of the regions, in ascending order. */
typedef struct NvmeRegions {
    uint32_t generation;        /* of the NvmeMemory that it was copied from */
    unsigned n;
    NvmeRegion last;            /* the one that was found last; empty: none */
    NvmeRegion *region;
} NvmeRegions;

typedef struct NvmeMapping {
    NvmeDmaMapping dma;
    unsigned users;             /* but for RAM of this process */
    bool is_ram;
    bool transient;
} NvmeMapping;

typedef struct NvmeMemory {
    NvmeTransport *t;
    RAMBlockNotifier notifier;
    Notifier gone;              /* memory of front-ends */
    uint32_t generation;        /* atomic; of the regions; starts at 1 */
    bool limit_said;

    QemuMutex lock;             /* what follows */
    GPtrArray *mappings;        /* of NvmeMapping, by ascending iova */
    unsigned n_transient;
} NvmeMemory;

/* Main loop.  Guest RAM that there is, and that comes, becomes regions. */
void nvme_memory_init(NvmeMemory *m, NvmeTransport *t);

/* Main loop; nothing is in flight. */
void nvme_memory_destroy(NvmeMemory *m);

/*
 * [@host, @host + @size) becomes a region, or has one more user if it lies in one.
 * Main loop.  0 or -errno with @errp set, as NvmeTransportOps.map.
 */
int nvme_memory_add(NvmeMemory *m, void *host, size_t size, Error **errp);

/* One user less; no request uses that memory.  Unknown memory is ignored. */
void nvme_memory_remove(NvmeMemory *m, void *host, size_t size);

/*
 * @size bytes of zeroed memory of the driver's own, whole pages, and their address
 * @iova.  NULL with @errp set on failure.  Any thread.
 */
void *nvme_memory_alloc(NvmeMemory *m, size_t size, uint64_t *iova,
                        Error **errp);
void nvme_memory_free(NvmeMemory *m, void *host, size_t size);

/*
 * The pages of [@host, @host + @size) until nvme_memory_unmap_transient().  Any
 * thread.  Returns 0 and the address of @host, or -errno: -ENOSPC if there is no
 * room now, another cannot be helped.
 */
int nvme_memory_map_transient(NvmeMemory *m, void *host, size_t size,
                              uint64_t *iova);
void nvme_memory_unmap_transient(NvmeMemory *m, uint64_t iova);

/* No address of the controller's. */
#define NVME_UNMAPPED UINT64_MAX

/* private to nvme_memory_find() */
uint64_t nvme_memory_search(NvmeMemory *m, NvmeRegions *r, uintptr_t first,
                            uintptr_t end);

/*
 * The address of [@host, @host + @size), @size > 0, or NVME_UNMAPPED if it does not
 * lie in one region.  The thread that owns @r.  Memory is announced before the first
 * request with it, by who orders the two, so that the generation is not older than
 * the memory.  Cost: five loads, three comparisons.
 */
static inline uint64_t nvme_memory_find(NvmeMemory *m, NvmeRegions *r,
                                        const void *host, size_t size)
{
    uintptr_t first = (uintptr_t)host;
    uintptr_t end = first + size;

    if (likely(r->generation == qatomic_read(&m->generation) &&
               first >= r->last.first && end <= r->last.end)) {
        return r->last.iova + (first - r->last.first);
    }
    return nvme_memory_search(m, r, first, end);
}

void nvme_regions_destroy(NvmeRegions *r);

#endif /* BLOCK_NVME_MEMORY_H */
