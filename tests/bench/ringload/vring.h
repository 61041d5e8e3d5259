/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The driver's side of one split virtqueue (VIRTIO 1.2, section 2.7).
 *
 * The descriptor table is filled once. Slot i of the queue owns the chain that
 * starts at descriptor i << slot_shift: four descriptors a slot, of which three
 * are used (so a chain is one cache line), or one that points to an indirect
 * table. To submit is to write the slot's number into the avail ring.
 *
 * Order of accesses, between the thread that owns this structure (the driver)
 * and the server (the device):
 *  - avail->idx is stored after the entries, the request headers and the data
 *    (release; the server's load of it is an acquire);
 *  - used->idx is loaded (acquire) before the used elements, status bytes and
 *    data that it covers;
 *  - "may the server be asleep?" and "was something used while I went to
 *    sleep?" are each a store followed by a load of another word that the other
 *    side does the other way around, so both are sequentially consistent.
 */
#ifndef RINGLOAD_VRING_H
#define RINGLOAD_VRING_H

#include "util.h"
#include <linux/virtio_ring.h>

struct vring_driver {
    /* Set up before the thread starts, then only read. */
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    uint16_t *used_event;       /* in the avail ring: ours to write */
    uint16_t *avail_event;      /* in the used ring: the server's */
    uint16_t size;
    uint16_t mask;
    bool event_idx;

    /* Written by the owner for every request. */
    __attribute__((aligned(CACHE_APART)))
    uint16_t avail_next;        /* where the next entry goes */
    uint16_t avail_published;   /* the avail->idx that the server sees */
    uint16_t used_seen;         /* first used element not yet taken */
    uint16_t used_event_set;    /* what *used_event holds */
};

/* Bytes of the three parts, and where they start in one block of memory. */
struct vring_layout {
    size_t avail;
    size_t used;
    size_t bytes;
};

void vring_layout(struct vring_layout *layout, unsigned size);

/* Lays the ring of @size entries, a power of two, over zeroed memory @mem. */
void vring_driver_init(struct vring_driver *vr, void *mem, unsigned size,
                       bool event_idx);

/* Hot: one store. The server sees it with the next vring_publish(). */
static inline void vring_add(struct vring_driver *vr, uint16_t head)
{
    atomic_put(&vr->avail->ring[vr->avail_next++ & vr->mask], head);
}

/*
 * Hot: publishes what vring_add() queued; true where the server wants a kick
 * for it. One locked store and one load, once a pass.
 */
static inline bool vring_publish(struct vring_driver *vr)
{
    uint16_t old = vr->avail_published;

    vr->avail_published = vr->avail_next;
    atomic_put_seq_cst(&vr->avail->idx, vr->avail_published);
    if (vr->event_idx) {
        /* VIRTIO 1.2, 2.7.10: avail_event */
        return vring_need_event(atomic_get_seq_cst(vr->avail_event),
                                vr->avail_published, old);
    }
    return !(atomic_get_seq_cst(&vr->used->flags) & VRING_USED_F_NO_NOTIFY);
}

/* Hot: how many used elements wait; more than the ring holds is an error. */
static inline uint16_t vring_used_count(const struct vring_driver *vr)
{
    return (uint16_t)(atomic_get_acquire(&vr->used->idx) - vr->used_seen);
}

/* The used element @ahead of the first not yet taken. */
static inline const struct vring_used_elem *
vring_used_at(const struct vring_driver *vr, uint16_t ahead)
{
    return &vr->used->ring[(uint16_t)(vr->used_seen + ahead) & vr->mask];
}

/*
 * Hot: the owner polls and wants no interrupts. With event index the flag has
 * no meaning (2.7.7.1); the event is kept half the index space away instead,
 * which takes a store every 16384 requests.
 */
static inline void vring_want_no_interrupt(struct vring_driver *vr)
{
    uint16_t ahead = vr->used_event_set - vr->used_seen;

    if (vr->event_idx && (ahead < 0x4000 || ahead > 0x8000)) {
        vr->used_event_set = vr->used_seen + 0x8000;
        atomic_put(vr->used_event, vr->used_event_set);
    }
}

/*
 * Asks for an interrupt with the next used element; false where one is there
 * already, in which case there may come none and the owner must not sleep.
 */
bool vring_arm_interrupt(struct vring_driver *vr);

/* After sleep: no interrupts again. */
void vring_disarm_interrupt(struct vring_driver *vr);

#endif
