/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packed virtqueues: VIRTIO 1.3, 2.8.
 *
 * The flags of a descriptor say whose it is: available if AVAIL is the wrap
 * counter of the side that looks and USED is not, used if both are.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "vring-internal.h"

#define DESC_AVAIL      (1u << VRING_PACKED_DESC_F_AVAIL)
#define DESC_USED       (1u << VRING_PACKED_DESC_F_USED)

/* a descriptor: address, length, buffer id, flags */
#define DESC_SIZE       16
#define DESC_LEN        8
#define DESC_ID         12
#define DESC_FLAGS      14
/* event suppression: offset and wrap counter, flags */
#define EVENT_OFF_WRAP  0
#define EVENT_FLAGS     2
#define EVENT_WRAP      (1u << VRING_PACKED_EVENT_F_WRAP_CTR)

static size_t desc_size(uint16_t num)
{
    return (size_t)num * DESC_SIZE;
}

static size_t event_size(uint16_t num)
{
    return 4;
}

static uint8_t *slot_at(Vring *vring, uint16_t slot)
{
    return vring->desc.host + slot * DESC_SIZE;
}

bool vring_packed_is_available(Vring *vring, uint16_t slot, bool wrap)
{
    uint16_t flags = vring_read16(slot_at(vring, slot) + DESC_FLAGS);

    return !!(flags & DESC_AVAIL) == wrap && !!(flags & DESC_USED) != wrap;
}

/* As it lies in the ring, where the flags and what is "next" change places. */
static void read_slot(Vring *vring, uint16_t slot, VringDesc *desc)
{
    uint16_t flags;

    vring_read_desc(desc, slot_at(vring, slot));
    flags = desc->next;
    desc->next = desc->flags;
    desc->flags = flags;
}

static VringPop add_desc(Vring *vring, VringElem *elem, const VringDesc *desc,
                         Error **errp)
{
    if (desc->flags & VRING_DESC_F_INDIRECT) {
        return vring_elem_add_table(vring, elem, desc, false, errp);
    }
    return vring_elem_add(vring, elem, desc, errp);
}

static bool is_last(const VringDesc *desc)
{
    return (desc->flags & VRING_DESC_F_INDIRECT) ||
           !(desc->flags & VRING_DESC_F_NEXT);
}

/* The buffers of @n descriptors, read before, of which the last has the id. */
static VringPop add_descs(Vring *vring, VringElem *elem, const VringDesc *desc,
                          unsigned n, Error **errp)
{
    for (unsigned i = 0; i < n; i++) {
        VringPop pop = add_desc(vring, elem, &desc[i], errp);

        if (pop != VRING_POPPED) {
            return pop;
        }
    }
    elem->id = desc[n - 1].next;
    elem->ndescs = n;
    return VRING_POPPED;
}

/* What the driver has not got back is not free to be reused. */
static unsigned free_slots(const Vring *vring)
{
    return vring->num - vring->slots - vring->pushed;
}

/* As add_descs(), from the ring.  Who remembers requests wants the descriptors. */
static VringPop add_chain(Vring *vring, VringElem *elem, Error **errp)
{
    uint16_t slot = vring->at.avail;
    unsigned n = 0;
    VringDesc desc;
    VringPop pop;

    do {
        if (n == free_slots(vring)) {
            return vring_fail(vring, errp, "the chain in slot %u is longer than "
                              "what is free of a ring of %u", vring->at.avail,
                              vring->num);
        }
        read_slot(vring, slot, &desc);
        if (unlikely(vring->inflight)) {
            vring->chain[n] = desc;
        }
        n++;
        pop = add_desc(vring, elem, &desc, errp);
        if (pop != VRING_POPPED) {
            return pop;
        }
        slot = slot + 1 == vring->num ? 0 : slot + 1;
    } while (!is_last(&desc));
    elem->id = desc.next;
    elem->ndescs = n;
    return VRING_POPPED;
}

VringPop vring_packed_pop_descs(Vring *vring, const VringDesc *desc, unsigned n,
                                VringElem **elem, Error **errp)
{
    VringPop pop;

    if (n > free_slots(vring)) {
        return vring_fail(vring, errp, "more is in flight than the %u entries",
                          vring->num);
    }
    pop = vring_elem_begin(vring, elem, errp);
    if (pop != VRING_POPPED) {
        return pop;
    }
    return vring_elem_end(vring, *elem, add_descs(vring, *elem, desc, n, errp));
}

void vring_packed_advance(const Vring *vring, uint16_t *slot, bool *wrap,
                          unsigned n)
{
    unsigned next = *slot + n;

    if (next >= vring->num) {
        next -= vring->num;
        *wrap = !*wrap;
    }
    *slot = next;
}

static bool is_empty(Vring *vring)
{
    return !vring_packed_is_available(vring, vring->at.avail,
                                      vring->at.avail_wrap);
}

static VringPop pop(Vring *vring, VringElem **elem, Error **errp)
{
    VringPop pop;

    if (is_empty(vring)) {
        return VRING_EMPTY;
    }
    /* the flags of the first; then the rest of the chain, written before them */
    smp_rmb();
    pop = vring_elem_begin(vring, elem, errp);
    if (pop != VRING_POPPED) {
        return pop;
    }
    pop = vring_elem_end(vring, *elem, add_chain(vring, *elem, errp));
    if (pop != VRING_POPPED) {
        return pop;
    }
    vring_packed_advance(vring, &vring->at.avail, &vring->at.avail_wrap,
                         (*elem)->ndescs);
    if (unlikely(vring->inflight)) {
        vring_inflight_begin_packed(vring->inflight, *elem, vring->chain,
                                    (*elem)->ndescs);
    }
    return VRING_POPPED;
}

static void write_flags(Vring *vring, uint16_t slot, uint16_t flags)
{
    vring_write16(slot_at(vring, slot) + DESC_FLAGS, flags);
    vring_written(vring, &vring->desc, slot * DESC_SIZE, DESC_SIZE);
}

/*
 * The driver sees the batch once it sees its first entry: the flags of that are
 * written by publish().
 */
static void put(Vring *vring, const VringElem *elem, uint32_t len)
{
    uint16_t slot = vring->at.used;
    bool wrap = vring->at.used_wrap;
    uint16_t flags;

    vring_packed_advance(vring, &slot, &wrap, vring->pushed);
    flags = (wrap ? DESC_AVAIL | DESC_USED : 0) | (len ? VRING_DESC_F_WRITE : 0);
    stl_le_p(slot_at(vring, slot) + DESC_LEN, len);
    stw_le_p(slot_at(vring, slot) + DESC_ID, elem->id);
    if (vring->pushed == 0) {
        vring->first_flags = flags;
    } else {
        write_flags(vring, slot, flags);
    }
    vring->pushed += elem->ndescs;
}

/* Of @n slots used from @old on, with its wrap counter. */
static bool wants_interrupt(Vring *vring, uint16_t old, bool wrap, unsigned n)
{
    uint16_t flags, off_wrap;
    int distance;

    /*
     * The used descriptors; then what the driver says of interrupts.  Against:
     * the driver asks for one, then looks at the descriptors.
     */
    smp_mb();
    flags = vring_read16(vring->avail.host + EVENT_FLAGS);
    if (flags != VRING_PACKED_EVENT_FLAG_DESC || !vring->event_idx) {
        return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
    }
    /* the flags; then the place, which the driver wrote before them */
    smp_rmb();
    off_wrap = vring_read16(vring->avail.host + EVENT_OFF_WRAP);
    distance = (off_wrap & ~EVENT_WRAP) - old;
    if (!!(off_wrap & EVENT_WRAP) != wrap) {
        distance += vring->num;
    }
    return distance >= 0 && distance < (int)n;
}

static bool publish(Vring *vring)
{
    uint16_t old = vring->at.used, n = vring->pushed;
    bool wrap = vring->at.used_wrap;

    vring_packed_advance(vring, &vring->at.used, &vring->at.used_wrap, n);
    vring->pushed = 0;
    if (unlikely(vring->inflight)) {
        vring_inflight_commit(vring->inflight, vring->at.used,
                              vring->at.used_wrap);
    }
    /* the rest of the batch, and the data; then the first entry's flags */
    smp_wmb();
    write_flags(vring, old, vring->first_flags);
    if (unlikely(vring->inflight)) {
        vring_inflight_published(vring->inflight, vring->at.used);
    }
    return wants_interrupt(vring, old, wrap, n);
}

static void set_kicks(Vring *vring, bool on)
{
    uint16_t flags = VRING_PACKED_EVENT_FLAG_DISABLE;

    if (on && vring->event_idx) {
        vring_write16(vring->used.host + EVENT_OFF_WRAP,
                      vring->at.avail | (vring->at.avail_wrap ? EVENT_WRAP : 0));
        /* the place; then the flags that make it valid */
        smp_wmb();
        flags = VRING_PACKED_EVENT_FLAG_DESC;
    } else if (on) {
        flags = VRING_PACKED_EVENT_FLAG_ENABLE;
    }
    vring_write16(vring->used.host + EVENT_FLAGS, flags);
    vring_written(vring, &vring->used, 0, event_size(0));
    if (on) {
        /* the wish; then the look at the descriptors, see vring.h */
        smp_mb();
    }
}

const VringLayout vring_packed = {
    .pop = pop,
    .put = put,
    .publish = publish,
    .is_empty = is_empty,
    .set_kicks = set_kicks,
    .desc_size = desc_size,
    .avail_size = event_size,
    .used_size = event_size,
};
