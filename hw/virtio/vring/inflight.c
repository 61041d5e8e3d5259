/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests in flight, in memory that outlives the process: the vhost-user
 * protocol, "Inflight I/O tracking", which gives the layout and the order of the
 * steps.
 *
 * What a process that is killed has stored, and no more, is there for the next
 * one: a thread's stores need no order but the compiler's, barrier().
 *
 * The front-end can write there too.  What is read is checked, and only when a ring
 * begins; afterwards the process goes by its own copies.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "vring-internal.h"

#define VERSION 1
#define NONE UINT16_MAX

typedef struct SplitDesc {
    uint8_t inflight;
    uint8_t padding[5];
    uint16_t next;          /* of the last batch */
    uint64_t counter;       /* the order in which they were popped */
} SplitDesc;

typedef struct SplitRegion {
    uint64_t features;
    uint16_t version;
    uint16_t desc_num;
    uint16_t last_batch_head;
    uint16_t used_idx;
    SplitDesc desc[];
} SplitRegion;

typedef struct PackedDesc {
    uint8_t inflight;
    uint8_t padding;
    uint16_t next;          /* of the chain, or of the free list */
    uint16_t last;
    uint16_t num;
    uint64_t counter;
    uint16_t id;
    uint16_t flags;
    uint32_t len;
    uint64_t addr;
} PackedDesc;

typedef struct PackedRegion {
    uint64_t features;
    uint16_t version;
    uint16_t desc_num;
    uint16_t free_head;
    uint16_t old_free_head;
    uint16_t used_idx;
    uint16_t old_used_idx;
    uint8_t used_wrap_counter;
    uint8_t old_used_wrap_counter;
    uint8_t padding[7];
    PackedDesc desc[];
} PackedRegion;

QEMU_BUILD_BUG_ON(sizeof(SplitDesc) != 16 || sizeof(SplitRegion) != 16);
QEMU_BUILD_BUG_ON(sizeof(PackedDesc) != 32 || sizeof(PackedRegion) != 32);

/* Popped by an earlier process. */
typedef struct Found {
    uint16_t entry;
    uint64_t counter;
} Found;

struct VringInflight {
    SplitRegion *split;     /* one of the two */
    PackedRegion *packed;
    uint16_t num;
    uint64_t counter;
    uint16_t *batch;        /* entries that are pushed, not published */
    unsigned n_batch;
    Found *found;
    unsigned n_found;
    unsigned taken;         /* of those found */

    /* packed: copies of what is in the region */
    uint16_t *next;
    uint16_t *last;
    uint16_t free_head;
};

size_t vring_inflight_size(uint16_t num, bool packed)
{
    size_t size = packed ? sizeof(PackedRegion) + num * sizeof(PackedDesc) :
                           sizeof(SplitRegion) + num * sizeof(SplitDesc);

    return ROUND_UP(size, 64);
}

bool vring_inflight_has_more(const VringInflight *inflight)
{
    return inflight->taken < inflight->n_found;
}

static int by_counter(const void *a, const void *b)
{
    const Found *x = a, *y = b;

    return x->counter < y->counter ? -1 : x->counter > y->counter;
}

static void found_add(VringInflight *inflight, uint16_t entry, uint64_t counter)
{
    inflight->found[inflight->n_found++] = (Found) { entry, counter };
    inflight->counter = MAX(inflight->counter, counter + 1);
}

/* Split */

static void split_begin(VringInflight *inflight, uint16_t used)
{
    SplitRegion *region = inflight->split;

    region->desc_num = inflight->num;
    region->used_idx = used;
    barrier();
    region->version = VERSION;
}

/* The last batch was published, as the index @used shows, but still counts. */
static void split_finish_batch(VringInflight *inflight, uint16_t used)
{
    SplitRegion *region = inflight->split;
    uint16_t n = used - region->used_idx;
    uint16_t entry = region->last_batch_head;

    for (unsigned i = 0; i < MIN(n, inflight->num) && entry < inflight->num; i++) {
        region->desc[entry].inflight = 0;
        entry = region->desc[entry].next;
    }
    barrier();
    region->used_idx = used;
}

static void split_resume(VringInflight *inflight, Vring *vring)
{
    SplitRegion *region = inflight->split;

    split_finish_batch(inflight, vring->at.used);
    for (unsigned i = 0; i < inflight->num; i++) {
        if (region->desc[i].inflight) {
            found_add(inflight, i, region->desc[i].counter);
        }
    }
    vring_set_state(vring, &(VringState) {
        .avail = vring->at.used + inflight->n_found,
        .used = vring->at.used,
    });
}

void vring_inflight_begin_split(VringInflight *inflight, VringElem *elem)
{
    SplitDesc *desc = &inflight->split->desc[elem->id];

    elem->inflight = elem->id;
    desc->counter = inflight->counter++;
    barrier();
    desc->inflight = 1;
}

/* Packed */

static void packed_begin(VringInflight *inflight, const VringState *at)
{
    PackedRegion *region = inflight->packed;

    region->desc_num = inflight->num;
    for (unsigned i = 0; i < inflight->num; i++) {
        region->desc[i].next = i + 1 < inflight->num ? i + 1 : NONE;
    }
    region->free_head = region->old_free_head = 0;
    region->used_idx = region->old_used_idx = at->used;
    region->used_wrap_counter = region->old_used_wrap_counter = at->used_wrap;
    barrier();
    region->version = VERSION;
}

/* The batch that was being published: it is the driver's, or is taken back. */
static void packed_finish_batch(VringInflight *inflight, bool published)
{
    PackedRegion *region = inflight->packed;

    if (published) {
        region->old_free_head = region->free_head;
        region->old_used_idx = region->used_idx;
        region->old_used_wrap_counter = region->used_wrap_counter;
    } else {
        region->free_head = region->old_free_head;
        region->used_idx = region->old_used_idx;
        region->used_wrap_counter = region->old_used_wrap_counter;
    }
}

/* What is free is not in flight: it was on its way to or from there. */
static void packed_clear_free(VringInflight *inflight)
{
    PackedRegion *region = inflight->packed;
    uint16_t entry = region->free_head;

    for (unsigned i = 0; i < inflight->num && entry < inflight->num; i++) {
        region->desc[entry].inflight = 0;
        entry = region->desc[entry].next;
    }
}

static bool packed_resume(VringInflight *inflight, Vring *vring, Error **errp)
{
    PackedRegion *region = inflight->packed;
    /* once: the front-end may change it after it was checked */
    uint16_t old_used = qatomic_read(&region->old_used_idx);
    bool old_wrap = qatomic_read(&region->old_used_wrap_counter);
    VringState at;
    unsigned slots = 0;

    if (old_used >= inflight->num) {
        error_setg(errp, "the used index of the requests in flight is not one "
                   "of %u", inflight->num);
        return false;
    }
    packed_finish_batch(inflight,
                        !vring_packed_is_available(vring, old_used, old_wrap));
    packed_clear_free(inflight);
    for (unsigned i = 0; i < inflight->num; i++) {
        inflight->next[i] = qatomic_read(&region->desc[i].next);
        inflight->last[i] = qatomic_read(&region->desc[i].last);
        if (qatomic_read(&region->desc[i].inflight)) {
            found_add(inflight, i, qatomic_read(&region->desc[i].counter));
            slots += qatomic_read(&region->desc[i].num);
        }
    }
    inflight->free_head = qatomic_read(&region->free_head);
    at = (VringState) {
        .avail = qatomic_read(&region->used_idx),
        .avail_wrap = qatomic_read(&region->used_wrap_counter),
    };
    at.used = at.avail;
    at.used_wrap = at.avail_wrap;
    if (slots <= inflight->num && at.used < inflight->num) {
        vring_packed_advance(vring, &at.avail, &at.avail_wrap, slots);
        return vring_set_state(vring, &at);
    }
    error_setg(errp, "requests of %u slots from %u are in flight, in a virtqueue "
               "of %u", slots, at.used, inflight->num);
    return false;
}

void vring_inflight_begin_packed(VringInflight *inflight, VringElem *elem,
                                 const VringDesc *descs, unsigned n)
{
    PackedRegion *region = inflight->packed;
    uint16_t head = inflight->free_head, entry = head;

    elem->inflight = NONE;
    if (head >= inflight->num) {
        return;             /* the front-end had spoilt the free list */
    }
    region->desc[head].counter = inflight->counter++;
    region->desc[head].num = n;
    region->desc[head].inflight = 1;
    for (unsigned i = 0; i < n; i++) {
        PackedDesc *desc = &region->desc[entry];

        desc->addr = descs[i].addr;
        desc->len = descs[i].len;
        desc->flags = descs[i].flags;
        desc->id = descs[i].next;
        region->desc[head].last = inflight->last[head] = entry;
        entry = inflight->next[entry];
        if (i + 1 < n && entry >= inflight->num) {
            region->desc[head].inflight = 0;
            return;
        }
    }
    region->free_head = inflight->free_head = entry;
    barrier();
    /* from here on the entries are not free, if this process ends */
    region->old_free_head = entry;
    elem->inflight = head;
}

/* The descriptors of the chain at @head, as they were in the ring. */
static unsigned packed_chain(const VringInflight *inflight, uint16_t head,
                             VringDesc *chain)
{
    const PackedRegion *region = inflight->packed;
    uint16_t entry = head;
    unsigned n = 0;

    while (entry < inflight->num && n < inflight->num) {
        const PackedDesc *desc = &region->desc[entry];

        chain[n++] = (VringDesc) {
            .addr = desc->addr,
            .len = desc->len,
            .flags = desc->flags,
            .next = desc->id,
        };
        if (entry == inflight->last[head]) {
            return n;
        }
        entry = inflight->next[entry];
    }
    return 0;
}

void vring_inflight_commit(VringInflight *inflight, uint16_t used,
                           bool used_wrap)
{
    PackedRegion *region = inflight->packed;

    for (unsigned i = 0; i < inflight->n_batch; i++) {
        uint16_t head = inflight->batch[i], last = inflight->last[head];

        region->desc[last].next = inflight->next[last] = inflight->free_head;
        inflight->free_head = head;
    }
    barrier();
    region->free_head = inflight->free_head;
    region->used_wrap_counter = used_wrap;
    region->used_idx = used;
    barrier();
}

/* Both */

VringPop vring_inflight_pop(Vring *vring, VringElem **elem, Error **errp)
{
    VringInflight *inflight = vring->inflight;
    uint16_t entry = inflight->found[inflight->taken].entry;
    VringPop pop;

    if (inflight->split) {
        pop = vring_split_pop_head(vring, entry, elem, errp);
    } else {
        unsigned n = packed_chain(inflight, entry, vring->chain);

        if (n == 0) {
            return vring_fail(vring, errp, "a request in flight has no end");
        }
        pop = vring_packed_pop_descs(vring, vring->chain, n, elem, errp);
    }
    if (pop == VRING_POPPED) {
        (*elem)->inflight = entry;
        inflight->taken++;
    }
    return pop;
}

void vring_inflight_put(VringInflight *inflight, const VringElem *elem)
{
    uint16_t entry = elem->inflight;

    if (entry == NONE) {
        return;
    }
    inflight->batch[inflight->n_batch++] = entry;
    if (inflight->split) {
        inflight->split->desc[entry].next = inflight->split->last_batch_head;
        barrier();
        inflight->split->last_batch_head = entry;
    }
}

void vring_inflight_published(VringInflight *inflight, uint16_t used)
{
    barrier();
    for (unsigned i = 0; i < inflight->n_batch; i++) {
        uint16_t entry = inflight->batch[i];

        if (inflight->split) {
            inflight->split->desc[entry].inflight = 0;
        } else {
            inflight->packed->desc[entry].inflight = 0;
        }
    }
    inflight->n_batch = 0;
    barrier();
    if (inflight->split) {
        inflight->split->used_idx = used;
    } else {
        packed_finish_batch(inflight, true);
    }
}

bool vring_set_inflight(Vring *vring, void *area, size_t size, Error **errp)
{
    VringInflight *inflight;
    bool packed = vring->config.packed;
    SplitRegion *split = packed ? NULL : area;
    uint16_t version, num;

    assert(vring->mapped && !vring->inflight);
    if (size < vring_inflight_size(vring->num, packed)) {
        error_setg(errp, "%zu bytes for requests in flight are too few for a "
                   "virtqueue of %u entries", size, vring->num);
        return false;
    }
    inflight = g_new0(VringInflight, 1);
    vring->inflight = inflight;
    inflight->split = split;
    inflight->packed = packed ? area : NULL;
    inflight->num = vring->num;
    inflight->batch = g_new0(uint16_t, vring->num);
    inflight->found = g_new0(Found, vring->num);
    inflight->next = g_new0(uint16_t, vring->num);
    inflight->last = g_new0(uint16_t, vring->num);
    vring->chain = g_new0(VringDesc, vring->num);

    version = packed ? inflight->packed->version : split->version;
    num = packed ? inflight->packed->desc_num : split->desc_num;
    if (version == 0) {
        num = vring->num;
        version = VERSION;
        if (packed) {
            packed_begin(inflight, &vring->at);
        } else {
            split_begin(inflight, vring->at.used);
        }
    }
    /* others make it for a split ring as large as it could be */
    if (version != VERSION || num < vring->num || (packed && num > vring->num)) {
        error_setg(errp, "requests in flight are of version %u, in a virtqueue "
                   "of %u entries: not of version %u, of %u", version, num,
                   VERSION, vring->num);
        return false;
    }
    if (packed && !packed_resume(inflight, vring, errp)) {
        return false;
    }
    if (!packed) {
        split_resume(inflight, vring);
    }
    qsort(inflight->found, inflight->n_found, sizeof(Found), by_counter);
    return true;
}

void vring_inflight_free(VringInflight *inflight)
{
    if (inflight) {
        g_free(inflight->batch);
        g_free(inflight->found);
        g_free(inflight->next);
        g_free(inflight->last);
        g_free(inflight);
    }
}
