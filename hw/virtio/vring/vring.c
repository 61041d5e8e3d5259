/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ring engine: what split and packed rings have in common.  See
 * hw/virtio/vring.h.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/host-utils.h"
#include "vring-internal.h"

/*
 * A request, its addresses and its buffers, of which a driver needs the first
 * few.  An odd number of cache lines, or those of all requests would be in a few
 * sets of the first level cache.
 */
#define CACHE_LINE 64

static size_t stride_for(size_t elem_size)
{
    size_t stride = ROUND_UP(elem_size, sizeof(struct iovec)) +
                    VRING_SG * (sizeof(struct iovec) + sizeof(hwaddr));

    return ROUND_UP(stride, CACHE_LINE) | CACHE_LINE;
}

/* @elem with the buffers that are preallocated behind it. */
static void elem_reset_sg(Vring *vring, VringElem *elem)
{
    size_t sg_at = ROUND_UP(vring->elem_size, sizeof(struct iovec));

    elem->sg = (struct iovec *)((uint8_t *)elem + sg_at);
    elem->addr = (hwaddr *)(elem->sg + VRING_SG);
    elem->sg_max = VRING_SG;
}

/*
 * The one that was given back last, whose memory is in the cache; or one that was
 * not used yet, whose memory the kernel has not found yet; or NULL.
 */
static VringElem *elem_get(Vring *vring)
{
    VringElem *elem = vring->free;

    if (likely(elem)) {
        vring->free = elem->next;
    } else if (vring->fresh < vring->num) {
        elem = (VringElem *)(vring->elems + vring->fresh++ * vring->stride);
        elem_reset_sg(vring, elem);
    }
    return elem;
}

static void elem_put(Vring *vring, VringElem *elem)
{
    elem->next = vring->free;
    vring->free = elem;
}

static bool check_config(const VringConfig *config, Error **errp)
{
    bool packed = config->packed;

    if (config->num == 0 || config->num > VRING_MAX_SIZE ||
        (!packed && !is_power_of_2(config->num))) {
        error_setg(errp, "a virtqueue cannot have %u entries", config->num);
        return false;
    }
    if (!QEMU_IS_ALIGNED(config->desc, 16) ||
        !QEMU_IS_ALIGNED(config->avail, packed ? 4 : 2) ||
        !QEMU_IS_ALIGNED(config->used, 4)) {
        error_setg(errp, "a virtqueue is not aligned");
        return false;
    }
    return true;
}

Vring *vring_new(const VringConfig *config, size_t elem_size, Error **errp)
{
    Vring *vring;

    assert(elem_size >= sizeof(VringElem));
    if (!check_config(config, errp)) {
        return NULL;
    }
    vring = g_new0(Vring, 1);
    vring->config = *config;
    vring->num = config->num;
    vring->event_idx = config->event_idx;
    vring->in_order = config->in_order;
    vring->layout = config->packed ? &vring_packed : &vring_split;
    vring->wait_last = &vring->wait_first;
    vring->elem_size = elem_size;
    vring->stride = stride_for(elem_size);
    vring->elems = g_malloc0_n(config->num, vring->stride);
    vring_set_state(vring, &(VringState) {
        .avail_wrap = true, .used_wrap = true,
    });
    return vring;
}

static void use_drop(VringMapUse *use)
{
    vring_map_unref(use->map);
    g_free(use);
}

/* @elem does not need its map, and more memory than all have, any longer. */
static void elem_clear(Vring *vring, VringElem *elem)
{
    VringMapUse *use = elem->use;

    if (--use->in_flight == 0 && use != vring->use) {
        use_drop(use);
    }
    if (unlikely(elem->sg_max > VRING_SG)) {
        g_free(elem->sg);
        g_free(elem->addr);
        elem_reset_sg(vring, elem);
    }
}

void vring_free(Vring *vring)
{
    if (!vring) {
        return;
    }
    assert(vring->in_flight == 0);
    if (vring->use) {
        use_drop(vring->use);
    }
    vring_inflight_free(vring->inflight);
    g_free(vring->chain);
    g_free(vring->elems);
    g_free(vring);
}

static bool find_part(const VringMap *map, hwaddr gpa, size_t size,
                      unsigned align, VringPart *part)
{
    const VringRegion *region;

    part->host = vring_map_find(map, gpa, size, &region);
    if (!part->host || !QEMU_PTR_IS_ALIGNED(part->host, align)) {
        part->host = NULL;
        return false;
    }
    part->region = *region;
    part->offset = gpa - region->gpa;
    return true;
}

static bool find_parts(Vring *vring, const VringMap *map)
{
    const VringConfig *config = &vring->config;
    const VringLayout *layout = vring->layout;
    unsigned event = !config->packed && config->event_idx ? sizeof(uint16_t) : 0;

    return find_part(map, config->desc, layout->desc_size(config->num), 8,
                     &vring->desc) &&
           find_part(map, config->avail, layout->avail_size(config->num) + event,
                     2, &vring->avail) &&
           find_part(map, config->used, layout->used_size(config->num) + event,
                     4, &vring->used);
}

static void put(Vring *vring, VringElem *elem)
{
    if (unlikely(vring->inflight)) {
        vring_inflight_put(vring->inflight, elem);
    }
    vring->layout->put(vring, elem, elem->len);
    vring->slots -= elem->ndescs;
    elem_put(vring, elem);
}

/* What waits, up to the first that is not answered. */
static void put_waiting(Vring *vring)
{
    VringElem *elem;

    while ((elem = vring->wait_first) && elem->done) {
        vring->wait_first = elem->next;
        if (!vring->wait_first) {
            vring->wait_last = &vring->wait_first;
        }
        put(vring, elem);
    }
}

static void wait_add(Vring *vring, VringElem *elem)
{
    elem->next = NULL;
    *vring->wait_last = elem;
    vring->wait_last = &elem->next;
}

bool vring_set_map(Vring *vring, VringMap *map)
{
    VringMapUse *old = vring->use;

    vring->use = g_new0(VringMapUse, 1);
    vring->use->map = map;
    vring_map_ref(map);
    if (old && old->in_flight == 0) {
        use_drop(old);
    }
    vring->mapped = find_parts(vring, map);
    if (vring->mapped) {
        put_waiting(vring);
    }
    return vring->mapped;
}

const VringMap *vring_map(const Vring *vring)
{
    return vring->use ? vring->use->map : NULL;
}

void vring_get_state(const Vring *vring, VringState *state)
{
    *state = vring->at;
}

bool vring_set_state(Vring *vring, const VringState *state)
{
    if (vring->config.packed &&
        (state->avail >= vring->num || state->used >= vring->num)) {
        return false;
    }
    vring->at = *state;
    vring->shadow = state->avail;
    return true;
}

uint32_t vring_base(const Vring *vring)
{
    const VringState *at = &vring->at;

    if (!vring->config.packed) {
        return at->avail;
    }
    return at->avail | at->avail_wrap << 15 |
           (uint32_t)(at->used | at->used_wrap << 15) << 16;
}

bool vring_set_base(Vring *vring, uint32_t base, Error **errp)
{
    VringState state = { .avail = base };

    assert(vring->mapped);
    if (!vring->config.packed) {
        state.used = lduw_le_p(vring->used.host + sizeof(uint16_t));
    } else {
        state.avail = base & 0x7fff;
        state.avail_wrap = base >> 15 & 1;
        state.used = base >> 16 & 0x7fff;
        state.used_wrap = base >> 31;
    }
    if (!vring_set_state(vring, &state)) {
        error_setg(errp, "a virtqueue of %u entries cannot begin at %#x",
                   vring->num, base);
        return false;
    }
    return true;
}

VringPop vring_fail(Vring *vring, Error **errp, const char *fmt, ...)
{
    g_autofree char *why = NULL;
    va_list ap;

    va_start(ap, fmt);
    why = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    error_setg(errp, "the driver broke the virtqueue: %s", why);
    vring->broken = true;
    return VRING_BROKEN;
}

VringPop vring_elem_begin(Vring *vring, VringElem **elem, Error **errp)
{
    *elem = elem_get(vring);
    if (unlikely(!*elem)) {
        return vring_fail(vring, errp, "it has made more requests available "
                          "than the %u entries", vring->num);
    }
    (*elem)->out_num = 0;
    (*elem)->in_num = 0;
    (*elem)->done = false;
    (*elem)->use = vring->use;
    vring->use->in_flight++;
    return VRING_POPPED;
}

VringPop vring_elem_end(Vring *vring, VringElem *elem, VringPop pop)
{
    if (unlikely(pop != VRING_POPPED)) {
        elem_clear(vring, elem);
        elem_put(vring, elem);
        return pop;
    }
    vring->in_flight++;
    vring->slots += elem->ndescs;
    if (vring->in_order) {
        wait_add(vring, elem);
    }
    return VRING_POPPED;
}

/* The region with @addr, and how much of it there is from there. */
static const VringRegion *find_region(VringMapUse *use, hwaddr addr)
{
    const VringMap *map = use->map;
    const VringRegion *region;

    if (likely(use->last < map->n)) {
        region = &map->region[use->last];
        if (likely(addr - region->gpa < region->size)) {
            return region;
        }
    }
    if (!vring_map_find(map, addr, 1, &region)) {
        return NULL;
    }
    use->last = region - map->region;
    return region;
}

static void elem_grow(VringElem *elem)
{
    unsigned n = elem->out_num + elem->in_num;
    struct iovec *sg = g_new(struct iovec, VRING_MAX_SIZE);
    hwaddr *addr = g_new(hwaddr, VRING_MAX_SIZE);

    memcpy(sg, elem->sg, n * sizeof(*sg));
    memcpy(addr, elem->addr, n * sizeof(*addr));
    elem->sg = sg;
    elem->addr = addr;
    elem->sg_max = VRING_MAX_SIZE;
}

VringPop vring_elem_add(Vring *vring, VringElem *elem, const VringDesc *desc,
                        Error **errp)
{
    bool in = desc->flags & VRING_DESC_F_WRITE;
    hwaddr addr = desc->addr;
    uint64_t left = desc->len;

    if (unlikely(left == 0)) {
        return vring_fail(vring, errp, "a buffer of no bytes");
    }
    if (unlikely(!in && elem->in_num)) {
        return vring_fail(vring, errp, "a buffer to read behind one to write");
    }
    if (unlikely(addr > UINT64_MAX - left)) {
        return vring_fail(vring, errp, "a buffer at %#" PRIx64 " that wraps "
                          "around", addr);
    }
    /* mostly once: memory that is in one piece for the driver only is rare */
    while (left) {
        unsigned n = elem->out_num + elem->in_num;
        const VringRegion *region = find_region(elem->use, addr);
        uint64_t size;

        if (unlikely(!region)) {
            return VRING_UNMAPPED;
        }
        if (unlikely(n == elem->sg_max)) {
            if (n == VRING_MAX_SIZE) {
                return vring_fail(vring, errp, "a chain of more than %u buffers",
                                  n);
            }
            elem_grow(elem);
        }
        size = MIN(left, region->size - (addr - region->gpa));
        elem->sg[n].iov_base = region->host + (addr - region->gpa);
        elem->sg[n].iov_len = size;
        elem->addr[n] = addr;
        if (in) {
            elem->in_num++;
        } else {
            elem->out_num++;
        }
        addr += size;
        left -= size;
    }
    return VRING_POPPED;
}

VringPop vring_elem_add_table(Vring *vring, VringElem *elem,
                              const VringDesc *table, bool linked, Error **errp)
{
    uint32_t n = table->len / sizeof(VringDesc), i = 0;
    const uint8_t *host;
    VringDesc desc;

    if (table->len % sizeof(VringDesc) || n == 0) {
        return vring_fail(vring, errp, "an indirect table of %u bytes",
                          table->len);
    }
    host = vring_map_find(elem->use->map, table->addr, table->len, NULL);
    if (!host) {
        return VRING_UNMAPPED;
    }
    for (uint32_t seen = 0; ; seen++) {
        VringPop pop;

        if (seen == n) {
            return vring_fail(vring, errp, "an indirect table loops");
        }
        vring_read_desc(&desc, host + (size_t)i * sizeof(VringDesc));
        if (!linked) {
            desc.flags = desc.next;
        }
        if (desc.flags & VRING_DESC_F_INDIRECT) {
            return vring_fail(vring, errp, "an indirect table in another");
        }
        pop = vring_elem_add(vring, elem, &desc, errp);
        if (pop != VRING_POPPED) {
            return pop;
        }
        if (linked && !(desc.flags & VRING_DESC_F_NEXT)) {
            return VRING_POPPED;
        }
        i = linked ? desc.next : i + 1;
        if (!linked && i == n) {
            return VRING_POPPED;
        }
        if (i >= n) {
            return vring_fail(vring, errp, "descriptor %u of an indirect table "
                              "of %u", i, n);
        }
    }
}

VringPop vring_pop(Vring *vring, VringElem **elem, Error **errp)
{
    if (unlikely(vring->broken)) {
        return VRING_BROKEN;
    }
    if (unlikely(!vring->mapped)) {
        return VRING_UNMAPPED;
    }
    if (unlikely(vring->inflight && vring_inflight_has_more(vring->inflight))) {
        return vring_inflight_pop(vring, elem, errp);
    }
    return vring->layout->pop(vring, elem, errp);
}

/* Tells who wants to know that the first @len bytes for the driver are written. */
static void tell_written(VringElem *elem, uint32_t len)
{
    VringMap *map = elem->use->map;
    const struct iovec *in = elem->sg + elem->out_num;
    const hwaddr *addr = elem->addr + elem->out_num;

    for (unsigned i = 0; i < elem->in_num && len; i++) {
        uint64_t size = MIN(in[i].iov_len, len);
        const VringRegion *region = find_region(elem->use, addr[i]);

        map->written(map, region, addr[i] - region->gpa, size);
        len -= size;
    }
}

void vring_push(Vring *vring, VringElem *elem, uint32_t len)
{
    if (unlikely(elem->use->map->written)) {
        tell_written(elem, len);
    }
    elem_clear(vring, elem);
    vring->in_flight--;
    elem->len = len;
    elem->done = true;
    if (likely(!vring->in_order && vring->mapped)) {
        put(vring, elem);
        return;
    }
    if (!vring->in_order) {
        wait_add(vring, elem);
    }
    if (vring->mapped) {
        put_waiting(vring);
    }
}

void vring_forget(Vring *vring, VringElem *elem)
{
    assert(!vring->in_order && !vring->inflight);
    vring->in_flight--;
    vring->slots -= elem->ndescs;
    elem_clear(vring, elem);
    elem_put(vring, elem);
}

bool vring_publish(Vring *vring)
{
    return vring->pushed && vring->mapped && vring->layout->publish(vring);
}

bool vring_has_pushed(const Vring *vring)
{
    return vring->pushed;
}

unsigned vring_in_flight(const Vring *vring)
{
    return vring->in_flight;
}

bool vring_is_empty(Vring *vring)
{
    if (unlikely(!vring->mapped || vring->broken)) {
        return true;
    }
    if (unlikely(vring->inflight && vring_inflight_has_more(vring->inflight))) {
        return false;
    }
    return vring->layout->is_empty(vring);
}

bool vring_is_recovering(const Vring *vring)
{
    return vring->inflight && vring_inflight_has_more(vring->inflight);
}

void vring_set_kicks(Vring *vring, bool on)
{
    if (vring->mapped) {
        vring->layout->set_kicks(vring, on);
    }
}

void vring_break(Vring *vring)
{
    vring->broken = true;
}

bool vring_is_broken(const Vring *vring)
{
    return vring->broken;
}
