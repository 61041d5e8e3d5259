/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Split virtqueues: VIRTIO 1.3, 2.7.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "vring-internal.h"

/* the available ring: flags, index, heads, used_event */
#define AVAIL_FLAGS     0
#define AVAIL_IDX       2
#define AVAIL_RING      4
/* the used ring: flags, index, elements of 8 bytes, avail_event */
#define USED_FLAGS      0
#define USED_IDX        2
#define USED_RING       4
#define USED_ELEM       8

static size_t desc_size(uint16_t num)
{
    return (size_t)num * sizeof(VringDesc);
}

static size_t avail_size(uint16_t num)
{
    return AVAIL_RING + (size_t)num * sizeof(uint16_t);
}

static size_t used_size(uint16_t num)
{
    return USED_RING + (size_t)num * USED_ELEM;
}

static VringPop add_chain(Vring *vring, VringElem *elem, uint16_t head,
                          Error **errp)
{
    VringDesc desc;
    VringPop pop;
    unsigned n = 0;
    uint16_t i = head;

    do {
        if (n++ == vring->num) {
            return vring_fail(vring, errp, "the chain at descriptor %u loops",
                              head);
        }
        vring_read_desc(&desc, vring->desc.host + i * sizeof(VringDesc));
        if (desc.flags & VRING_DESC_F_INDIRECT) {
            return vring_elem_add_table(vring, elem, &desc, true, errp);
        }
        pop = vring_elem_add(vring, elem, &desc, errp);
        if (pop != VRING_POPPED) {
            return pop;
        }
        i = desc.next;
        if ((desc.flags & VRING_DESC_F_NEXT) && i >= vring->num) {
            return vring_fail(vring, errp, "descriptor %u follows in the chain "
                              "at %u, of a ring of %u", i, head, vring->num);
        }
    } while (desc.flags & VRING_DESC_F_NEXT);
    return VRING_POPPED;
}

VringPop vring_split_pop_head(Vring *vring, uint16_t head, VringElem **elem,
                              Error **errp)
{
    VringPop pop = vring_elem_begin(vring, elem, errp);

    if (pop != VRING_POPPED) {
        return pop;
    }
    (*elem)->id = head;
    (*elem)->ndescs = 1;
    return vring_elem_end(vring, *elem, add_chain(vring, *elem, head, errp));
}

/* How many are available, with those of the index as the driver has it now. */
static uint16_t look(Vring *vring)
{
    vring->shadow = vring_read16(vring->avail.host + AVAIL_IDX);
    /* the index; then the heads and descriptors that the driver wrote before it */
    smp_rmb();
    return vring->shadow - vring->at.avail;
}

static VringPop pop(Vring *vring, VringElem **elem, Error **errp)
{
    uint16_t head;
    VringPop pop;

    if (vring->at.avail == vring->shadow) {
        uint16_t n = look(vring);

        if (n == 0) {
            return VRING_EMPTY;
        }
        /* those that the driver has not got back are not free to be reused */
        if (n > vring->num - (uint16_t)(vring->at.avail - vring->at.used)) {
            return vring_fail(vring, errp, "the available index went from %u to "
                              "%u, in a ring of %u", vring->at.avail,
                              vring->shadow, vring->num);
        }
    }
    head = vring_read16(vring->avail.host + AVAIL_RING +
                        (vring->at.avail & (vring->num - 1)) * sizeof(uint16_t));
    if (head >= vring->num) {
        return vring_fail(vring, errp, "descriptor %u is made available, of a "
                          "ring of %u", head, vring->num);
    }
    pop = vring_split_pop_head(vring, head, elem, errp);
    if (pop == VRING_POPPED) {
        vring->at.avail++;
        if (unlikely(vring->inflight)) {
            vring_inflight_begin_split(vring->inflight, *elem);
        }
    }
    return pop;
}

static void put(Vring *vring, const VringElem *elem, uint32_t len)
{
    uint16_t slot = (uint16_t)(vring->at.used + vring->pushed) &
                    (vring->num - 1);
    size_t offset = USED_RING + slot * USED_ELEM;

    stl_le_p(vring->used.host + offset, elem->id);
    stl_le_p(vring->used.host + offset + 4, len);
    vring_written(vring, &vring->used, offset, USED_ELEM);
    vring->pushed++;
}

static bool wants_interrupt(Vring *vring, uint16_t old)
{
    bool valid = vring->at.signalled_valid;

    /*
     * The used index; then what the driver says of interrupts.  Against: the
     * driver asks for one, then looks at the used index.
     */
    smp_mb();
    if (!vring->event_idx) {
        return !(vring_read16(vring->avail.host + AVAIL_FLAGS) &
                 VRING_AVAIL_F_NO_INTERRUPT);
    }
    if (valid) {
        old = vring->at.signalled;
    }
    vring->at.signalled = vring->at.used;
    vring->at.signalled_valid = true;
    return !valid ||
           vring_need_event(vring_read16(vring->avail.host +
                                         avail_size(vring->num)),
                            vring->at.used, old);
}

static bool publish(Vring *vring)
{
    uint16_t old = vring->at.used;

    vring->at.used += vring->pushed;
    vring->pushed = 0;
    /* the used elements, and the data; then the index that makes them valid */
    smp_wmb();
    vring_write16(vring->used.host + USED_IDX, vring->at.used);
    vring_written(vring, &vring->used, USED_IDX, sizeof(uint16_t));
    if (unlikely(vring->inflight)) {
        vring_inflight_published(vring->inflight, vring->at.used);
    }
    return wants_interrupt(vring, old);
}

static bool is_empty(Vring *vring)
{
    return vring->at.avail == vring->shadow &&
           vring_read16(vring->avail.host + AVAIL_IDX) == vring->at.avail;
}

static void set_kicks(Vring *vring, bool on)
{
    size_t offset = USED_FLAGS;
    uint16_t value = on ? 0 : VRING_USED_F_NO_NOTIFY;

    if (vring->event_idx) {
        if (!on) {
            return;             /* the event stays behind */
        }
        offset = used_size(vring->num);
        value = vring->at.avail;
    }
    vring_write16(vring->used.host + offset, value);
    vring_written(vring, &vring->used, offset, sizeof(value));
    if (on) {
        /* the wish; then the look at the available index, see vring.h */
        smp_mb();
    }
}

const VringLayout vring_split = {
    .pop = pop,
    .put = put,
    .publish = publish,
    .is_empty = is_empty,
    .set_kicks = set_kicks,
    .desc_size = desc_size,
    .avail_size = avail_size,
    .used_size = used_size,
};
