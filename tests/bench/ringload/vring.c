/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Layout and the interrupt side of a split virtqueue, see vring.h.
 */
#include "vring.h"

_Static_assert(sizeof(struct vring_desc) == 16, "VIRTIO 1.2, 2.7.5");
_Static_assert(sizeof(struct vring_used_elem) == 8, "VIRTIO 1.2, 2.7.8");
_Static_assert(offsetof(struct vring_avail, ring) == 4, "VIRTIO 1.2, 2.7.6");
_Static_assert(offsetof(struct vring_driver, avail_next) % CACHE_APART == 0,
               "what each request writes is apart from what is only read");

/*
 * VIRTIO 1.2, 2.7: alignments 16, 2 and 4. Ours are larger: what the driver
 * writes and what the device writes must not share a cache line.
 */
void vring_layout(struct vring_layout *layout, unsigned size)
{
    layout->avail = ROUND_UP_TO(sizeof(struct vring_desc) * size, CACHE_APART);
    /* flags, idx, the ring, used_event */
    layout->used = layout->avail +
        ROUND_UP_TO(sizeof(uint16_t) * (size + 3), CACHE_APART);
    /* flags, idx, the ring, avail_event */
    layout->bytes = layout->used +
        ROUND_UP_TO(sizeof(uint16_t) * 3 +
                    sizeof(struct vring_used_elem) * size, CACHE_APART);
}

void vring_driver_init(struct vring_driver *vr, void *mem, unsigned size,
                       bool event_idx)
{
    struct vring_layout layout;

    vring_layout(&layout, size);
    vr->desc = mem;
    vr->avail = (void *)((char *)mem + layout.avail);
    vr->used = (void *)((char *)mem + layout.used);
    vr->used_event = (void *)&vr->avail->ring[size];
    vr->avail_event = (void *)&vr->used->ring[size];
    vr->size = size;
    vr->mask = size - 1;
    vr->event_idx = event_idx;
    vr->avail_next = 0;
    vr->avail_published = 0;
    vr->used_seen = 0;
    vr->used_event_set = 0;
    vring_disarm_interrupt(vr);
}

bool vring_arm_interrupt(struct vring_driver *vr)
{
    if (vr->event_idx) {
        /* 2.7.7.2: interrupt once used_event has been passed */
        vr->used_event_set = vr->used_seen;
        atomic_put_seq_cst(vr->used_event, vr->used_event_set);
    } else {
        atomic_put_seq_cst(&vr->avail->flags, (uint16_t)0);
    }
    return atomic_get_seq_cst(&vr->used->idx) == vr->used_seen;
}

void vring_disarm_interrupt(struct vring_driver *vr)
{
    if (vr->event_idx) {
        vring_want_no_interrupt(vr);
    } else {
        atomic_put(&vr->avail->flags, (uint16_t)VRING_AVAIL_F_NO_INTERRUPT);
    }
}
