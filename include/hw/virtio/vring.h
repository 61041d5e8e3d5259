/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device's end of a virtqueue: VIRTIO 1.3, sections 2.7 (split) and 2.8
 * (packed), for virtio-blk and the vhost-user-blk export.
 *
 *     while (vring_pop(vring, &elem, &err) == VRING_POPPED) {
 *         ...                              a request, in preallocated memory
 *     }
 *     vring_push(vring, elem, in_len);     answered; the driver cannot see it yet
 *     if (vring_publish(vring)) {          now it can: once a batch
 *         ...                              interrupt it
 *     }
 *
 * The ring is in memory that the driver can change at any time.  Each of its
 * fields is read once, and nothing of it is trusted: what is wrong makes the
 * ring broken, with one error, until it is set up anew.
 *
 * A Vring has one thread at a time.  It allocates nothing for a request, but for
 * one of more than VRING_SG buffers.
 */

#ifndef HW_VIRTIO_VRING_H
#define HW_VIRTIO_VRING_H

#include "exec/hwaddr.h"

/* Buffers of a request without an allocation: seg_max 126, header and status. */
#define VRING_SG 128

/* Of a ring, and of a chain (VIRTIO 1.3, 2.7: 32768; QEMU's own limit). */
#define VRING_MAX_SIZE 1024

/* Memory of the driver that is plain memory of this process, in one piece. */
typedef struct VringRegion {
    hwaddr gpa;             /* what descriptors call it */
    uint64_t size;          /* bytes */
    uint8_t *host;
    void *opaque;           /* the map's maker's */
} VringRegion;

/*
 * All such memory, immutable.  Who changes the memory makes a new map; the old
 * one, and what it names, lives until the last request that was popped with it
 * is pushed.
 */
typedef struct VringMap VringMap;
struct VringMap {
    unsigned refs;          /* atomic */
    /* the last reference is gone: in any thread */
    void (*release)(VringMap *map);
    /*
     * The device has written @size bytes at @offset of @region; in the ring's
     * thread.  NULL if nobody wants to know.
     */
    void (*written)(VringMap *map, const VringRegion *region, uint64_t offset,
                    uint64_t size);
    unsigned n;
    VringRegion *region;    /* by gpa, disjoint */
};

void vring_map_ref(VringMap *map);
void vring_map_unref(VringMap *map);

/*
 * @size bytes of @map at @gpa, or NULL if they are not all there, in one region,
 * which is then in *@region, if that is not NULL.
 */
void *vring_map_find(const VringMap *map, hwaddr gpa, uint64_t size,
                     const VringRegion **region);

/* Where requests that were popped and not pushed yet are remembered. */
typedef struct VringInflight VringInflight;

/* A request; first member of what the user of a Vring has of each. */
typedef struct VringElem {
    uint16_t id;            /* split: the head; packed: the buffer id */
    uint16_t ndescs;        /* packed: slots in the ring */
    uint16_t inflight;      /* where VringInflight has it */
    unsigned out_num;       /* buffers that the driver has written */
    unsigned in_num;        /* buffers that the device is to write */
    struct iovec *sg;       /* out, then in; the user leaves them as they are */
    hwaddr *addr;           /* of each, as the driver calls it */

    /* private */
    struct VringMapUse *use;
    unsigned sg_max;
    struct VringElem *next; /* free; or in_order */
    uint32_t len;           /* in_order */
    bool done;              /* in_order */
} VringElem;

/* Where a ring stands: what a migration or a front-end carries. */
typedef struct VringState {
    uint16_t avail;         /* next to pop; packed: a slot, else runs freely */
    uint16_t used;          /* next to be used */
    bool avail_wrap;        /* packed: wrap counters; true at first */
    bool used_wrap;
    uint16_t signalled;     /* split: used index of the last look at used_event */
    bool signalled_valid;
} VringState;

typedef struct VringConfig {
    uint16_t num;           /* slots; split: a power of two */
    bool packed;            /* VIRTIO_F_RING_PACKED */
    bool event_idx;         /* VIRTIO_F_EVENT_IDX */
    bool in_order;          /* VIRTIO_F_IN_ORDER */
    hwaddr desc;            /* packed: the ring */
    hwaddr avail;           /* packed: driver event suppression */
    hwaddr used;            /* packed: device event suppression */
} VringConfig;

typedef struct Vring Vring;

/*
 * Returns a ring with @config, at the state of a new one, whose requests are of
 * @elem_size bytes, the first of which are a VringElem.  NULL and an error if
 * @config cannot be: the number or the alignment (VIRTIO 1.3, 2.7 and 2.8).
 * There is no map yet: vring_pop() says VRING_UNMAPPED.
 */
Vring *vring_new(const VringConfig *config, size_t elem_size, Error **errp);

/* No request may be popped and not pushed. */
void vring_free(Vring *vring);

/*
 * Takes a reference of @map, for what is popped from now on, and drops that of the one
 * before.  Returns false if the ring itself is not all in it: VRING_UNMAPPED then.
 */
bool vring_set_map(Vring *vring, VringMap *map);

const VringMap *vring_map(const Vring *vring);

void vring_get_state(const Vring *vring, VringState *state);
/* false, and nothing is set, if there is no such place in a packed ring. */
bool vring_set_state(Vring *vring, const VringState *state);

/*
 * The state as the vhost-user protocol has it in VHOST_USER_SET_VRING_BASE and
 * _GET_VRING_BASE.  set: the map is set; what is used is read from a split ring.
 * false and an error if there is no such place in the ring.
 */
uint32_t vring_base(const Vring *vring);
bool vring_set_base(Vring *vring, uint32_t base, Error **errp);

typedef enum VringPop {
    VRING_POPPED,
    VRING_EMPTY,
    VRING_UNMAPPED,         /* a buffer or the ring is not in the map; nothing taken */
    VRING_BROKEN,           /* now, with an error, or since before, without */
} VringPop;

/* The next request, *@elem. */
VringPop vring_pop(Vring *vring, VringElem **elem, Error **errp);

/*
 * The driver gets @elem back, of which the device has written the first @len
 * bytes, with the next vring_publish().  The memory of @elem is the ring's again.
 */
void vring_push(Vring *vring, VringElem *elem, uint32_t len);

/*
 * @elem is given up without an answer: somebody else pushes it, or the device is
 * reset.
 */
void vring_forget(Vring *vring, VringElem *elem);

/* What was pushed is the driver's.  Returns whether it wants to be interrupted. */
bool vring_publish(Vring *vring);

/* Whether there is something to publish. */
bool vring_has_pushed(const Vring *vring);

/* Popped, and neither pushed nor forgotten. */
unsigned vring_in_flight(const Vring *vring);

/*
 * Whether there is nothing to pop: reads the ring, and changes nothing.  Also of
 * an unmapped ring, and a broken one.
 */
bool vring_is_empty(Vring *vring);

/*
 * Asks the driver to kick, or not to, for what it makes available.  After @on,
 * who wants to sleep looks at vring_is_empty() once more: the write is ordered
 * before that.
 */
void vring_set_kicks(Vring *vring, bool on);

/* Nothing is popped any more. */
void vring_break(Vring *vring);
bool vring_is_broken(const Vring *vring);

/*
 * Remembers requests in @size bytes at @area, which outlive this process: the
 * vhost-user protocol's "Inflight I/O tracking", whose layout it has, of one
 * queue.  An area that was used before: sets the ring's state from it, and the
 * requests in it are the first to be popped, in their order.  Before the first
 * vring_pop(); the map is set.  false and an error if it does not fit.
 */
bool vring_set_inflight(Vring *vring, void *area, size_t size, Error **errp);

/* Some of those are yet to be popped: who goes on with the ring's state lacks them. */
bool vring_is_recovering(const Vring *vring);

/* Bytes of an area for a ring of @num slots, a multiple of 64. */
size_t vring_inflight_size(uint16_t num, bool packed);

#endif /* HW_VIRTIO_VRING_H */
