/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mappings of memory, and the addresses that they get.
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qapi/error.h"
#include "exec/cpu-common.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/memfd.h"
#include "qemu/shared-memory.h"
#include "qemu/units.h"
#include "memory.h"

/*
 * The part of all mappings that may be for one request each: those of queues and of
 * memory come later, and there is no other way for them.
 */
#define NVME_TRANSIENT_PART 4

/* The largest block of guest memory that is not RAM of its own right. */
#define NVME_SMALL_RAM (64 * MiB)

/* A range within @range, below which nothing more is to be placed. */
static bool fits(const NvmeIovaRange *range, uint64_t first, uint64_t size)
{
    return first >= range->first && first <= range->last &&
           size - 1 <= range->last - first;
}

/*
 * The lowest address with room for @size bytes, and where in @mappings it goes.
 * Address 0 is left free: it means nothing in a command.  With the lock.
 */
static bool place(NvmeMemory *m, uint64_t size, uint64_t *iova, unsigned *index)
{
    unsigned i, range = 0;
    uint64_t first = MAX(m->t->ranges[0].first, m->t->page_size);

    for (i = 0; range < m->t->n_ranges; ) {
        NvmeMapping *next = i < m->mappings->len
                          ? g_ptr_array_index(m->mappings, i) : NULL;

        first = MAX(first, ROUND_UP(m->t->ranges[range].first, m->t->page_size));
        if (next && next->dma.iova < first + size) {
            /* in the way, or already behind */
            first = MAX(first, next->dma.iova + next->dma.size);
            i++;
        } else if (fits(&m->t->ranges[range], first, size)) {
            *iova = first;
            *index = i;
            return true;
        } else {
            range++;
        }
    }
    return false;
}

/* The file that is mapped at @host, if there is one. */
static void find_file(NvmeDmaMapping *dma)
{
    ram_addr_t offset;
    RAMBlock *rb;

    dma->fd = -1;
    if (shared_memory_find(dma->host, dma->size, &dma->fd, &dma->fd_offset)) {
        return;
    }
    rb = qemu_ram_block_from_host(dma->host, false, &offset);
    if (rb && qemu_ram_get_fd(rb) >= 0 && (rb->flags & RAM_SHARED)) {
        dma->fd = qemu_ram_get_fd(rb);
        dma->fd_offset = rb->fd_offset + offset;
    }
}

/* With the lock.  Returns the new mapping, in its place, or NULL. */
static NvmeMapping *map(NvmeMemory *m, NvmeDmaMapping *dma, int *ret,
                        Error **errp)
{
    NvmeMapping *mapping;
    unsigned index;

    if (!place(m, dma->size, &dma->iova, &index)) {
        error_setg(errp, "no addresses are left for the NVMe controller");
        *ret = -ENOSPC;
        return NULL;
    }
    *ret = m->t->ops->map(m->t, dma, errp);
    if (*ret < 0) {
        return NULL;
    }
    mapping = g_new0(NvmeMapping, 1);
    mapping->dma = *dma;
    mapping->users = 1;
    g_ptr_array_insert(m->mappings, index, mapping);
    return mapping;
}

static void unmap(NvmeMemory *m, NvmeMapping *mapping)
{
    m->t->ops->unmap(m->t, &mapping->dma);
    g_ptr_array_remove(m->mappings, mapping);   /* and frees it */
}

static NvmeMapping *find_region(NvmeMemory *m, void *host, size_t size)
{
    unsigned i;

    for (i = 0; i < m->mappings->len; i++) {
        NvmeMapping *mapping = g_ptr_array_index(m->mappings, i);

        if (!mapping->transient && host >= mapping->dma.host &&
            host + size <= mapping->dma.host + mapping->dma.size) {
            return mapping;
        }
    }
    return NULL;
}

static int add(NvmeMemory *m, NvmeDmaMapping *dma, bool is_ram, Error **errp)
{
    NvmeMapping *mapping;
    int ret = 0;

    QEMU_LOCK_GUARD(&m->lock);
    mapping = find_region(m, dma->host, dma->size);
    if (mapping) {
        mapping->users++;
        dma->iova = mapping->dma.iova + (dma->host - mapping->dma.host);
    } else {
        mapping = map(m, dma, &ret, errp);
        if (!mapping) {
            return ret;
        }
        qatomic_set(&m->generation, m->generation + 1);
    }
    mapping->is_ram |= is_ram;
    return 0;
}

static int add_memory(NvmeMemory *m, void *host, size_t size, bool is_ram,
                      Error **errp)
{
    uint64_t page = m->t->page_size;
    NvmeDmaMapping dma = { .host = host, .size = size };

    if (!size || !QEMU_PTR_IS_ALIGNED(host, page) || size % page) {
        error_setg(errp, "memory that is not whole pages cannot be mapped");
        return -ENOTSUP;
    }
    find_file(&dma);
    return add(m, &dma, is_ram, errp);
}

int nvme_memory_add(NvmeMemory *m, void *host, size_t size, Error **errp)
{
    return add_memory(m, host, size, false, errp);
}

void nvme_memory_remove(NvmeMemory *m, void *host, size_t size)
{
    NvmeMapping *mapping;

    QEMU_LOCK_GUARD(&m->lock);
    mapping = find_region(m, host, size);
    if (mapping && !mapping->is_ram && --mapping->users == 0) {
        qatomic_set(&m->generation, m->generation + 1);
        unmap(m, mapping);
    }
}

/* It is no more, whoever uses it. */
static void forget(NvmeMemory *m, void *host, size_t size)
{
    unsigned i;

    QEMU_LOCK_GUARD(&m->lock);
    for (i = m->mappings->len; i-- > 0; ) {
        NvmeMapping *mapping = g_ptr_array_index(m->mappings, i);

        if (!mapping->transient && mapping->dma.host >= host &&
            mapping->dma.host < host + size) {
            qatomic_set(&m->generation, m->generation + 1);
            unmap(m, mapping);
        }
    }
}

void *nvme_memory_alloc(NvmeMemory *m, size_t size, uint64_t *iova, Error **errp)
{
    NvmeDmaMapping dma = { .size = ROUND_UP(size, m->t->page_size) };

    /* who is given the file is not to make it shorter */
    dma.host = qemu_memfd_alloc("nvme", dma.size,
                                F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL, &dma.fd,
                                errp);
    if (!dma.host) {
        return NULL;
    }
    if (add(m, &dma, false, errp) < 0) {
        qemu_memfd_free(dma.host, dma.size, dma.fd);
        return NULL;
    }
    close(dma.fd);              /* the mapping keeps the memory */
    *iova = dma.iova;
    return dma.host;
}

void nvme_memory_free(NvmeMemory *m, void *host, size_t size)
{
    if (host) {
        size = ROUND_UP(size, m->t->page_size);
        nvme_memory_remove(m, host, size);
        qemu_memfd_free(host, size, -1);
    }
}

int nvme_memory_map_transient(NvmeMemory *m, void *host, size_t size,
                              uint64_t *iova)
{
    uint64_t page = m->t->page_size;
    uintptr_t in_page = (uintptr_t)host & (page - 1);
    NvmeDmaMapping dma = {
        .host = host - in_page,
        .size = ROUND_UP(in_page + size, page),
        .fd = -1,
    };
    NvmeMapping *mapping;
    int ret;

    if (m->t->needs_fd) {
        return -ENOTSUP;
    }
    QEMU_LOCK_GUARD(&m->lock);
    if (m->t->max_mappings &&
        m->n_transient >= m->t->max_mappings / NVME_TRANSIENT_PART) {
        return -ENOSPC;
    }
    mapping = map(m, &dma, &ret, NULL);
    if (mapping) {
        m->n_transient++;
        mapping->transient = true;
        *iova = dma.iova + in_page;
    }
    return ret;
}

void nvme_memory_unmap_transient(NvmeMemory *m, uint64_t iova)
{
    unsigned i;

    QEMU_LOCK_GUARD(&m->lock);
    for (i = 0; i < m->mappings->len; i++) {
        NvmeMapping *mapping = g_ptr_array_index(m->mappings, i);

        if (iova - mapping->dma.iova < mapping->dma.size) {
            assert(mapping->transient);
            m->n_transient--;
            unmap(m, mapping);
            return;
        }
    }
    g_assert_not_reached();
}

static int compare(const void *a, const void *b)
{
    const NvmeRegion *ra = a, *rb = b;

    return ra->first < rb->first ? -1 : ra->first > rb->first;
}

static void copy_regions(NvmeMemory *m, NvmeRegions *r)
{
    unsigned i;

    QEMU_LOCK_GUARD(&m->lock);
    r->region = g_renew(NvmeRegion, r->region, m->mappings->len);
    r->n = 0;
    r->last = (NvmeRegion) { 0 };
    r->generation = m->generation;
    for (i = 0; i < m->mappings->len; i++) {
        NvmeMapping *mapping = g_ptr_array_index(m->mappings, i);

        if (!mapping->transient) {
            r->region[r->n++] = (NvmeRegion) {
                .first = (uintptr_t)mapping->dma.host,
                .end = (uintptr_t)mapping->dma.host + mapping->dma.size,
                .iova = mapping->dma.iova,
            };
        }
    }
    qsort(r->region, r->n, sizeof(r->region[0]), compare);
}

uint64_t nvme_memory_search(NvmeMemory *m, NvmeRegions *r, uintptr_t first,
                            uintptr_t end)
{
    unsigned low = 0, high;

    if (r->generation != qatomic_read(&m->generation)) {
        copy_regions(m, r);
    }
    high = r->n;
    while (low < high) {
        unsigned mid = (low + high) / 2;

        if (first >= r->region[mid].end) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    if (low == r->n || first < r->region[low].first ||
        end > r->region[low].end || end < first) {
        return NVME_UNMAPPED;
    }
    r->last = r->region[low];
    return r->last.iova + (first - r->last.first);
}

void nvme_regions_destroy(NvmeRegions *r)
{
    g_free(r->region);
    memset(r, 0, sizeof(*r));
}

/*
 * RAM that cannot be mapped is still served, through the driver's own memory.  That
 * is worth a word, once, but for the ROMs and video memory of a transport that
 * takes only files.
 */
static void ram_added(RAMBlockNotifier *n, void *host, size_t size,
                      size_t max_size)
{
    NvmeMemory *m = container_of(n, NvmeMemory, notifier);
    Error *err = NULL;
    int ret = add_memory(m, host, max_size, true, &err);

    if (ret == 0) {
        return;
    }
    if (m->limit_said || (ret == -ENOTSUP && max_size <= NVME_SMALL_RAM)) {
        error_free(err);
        return;
    }
    m->limit_said = true;
    warn_reportf_err(err, "NVMe: guest RAM is not mapped, and requests copy "
                     "their data: ");
}

static void ram_removed(RAMBlockNotifier *n, void *host, size_t size,
                        size_t max_size)
{
    forget(container_of(n, NvmeMemory, notifier), host, max_size);
}

static void shared_gone(Notifier *n, void *data)
{
    const SharedMemoryRange *range = data;

    forget(container_of(n, NvmeMemory, gone), range->host, range->size);
}

/* A notifier is told of the blocks that there are when it is added. */
void nvme_memory_init(NvmeMemory *m, NvmeTransport *t)
{
    m->t = t;
    m->generation = 1;
    m->mappings = g_ptr_array_new_with_free_func(g_free);
    qemu_mutex_init(&m->lock);
    m->notifier = (RAMBlockNotifier) {
        .ram_block_added = ram_added,
        .ram_block_removed = ram_removed,
    };
    ram_block_notifier_add(&m->notifier);
    m->gone.notify = shared_gone;
    shared_memory_add_notifier(&m->gone);
}

void nvme_memory_destroy(NvmeMemory *m)
{
    if (m->mappings) {
        /* tells of the blocks that there are */
        ram_block_notifier_remove(&m->notifier);
        notifier_remove(&m->gone);
        g_ptr_array_free(m->mappings, true);
        m->mappings = NULL;
        qemu_mutex_destroy(&m->lock);
    }
}
