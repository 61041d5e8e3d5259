/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between the files of the ring engine: vring.c has what both layouts share,
 * split.c and packed.c how each lies in memory.
 */

#ifndef HW_VIRTIO_VRING_INTERNAL_H
#define HW_VIRTIO_VRING_INTERNAL_H

#include "hw/virtio/vring.h"
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "standard-headers/linux/virtio_ring.h"

/* A reference of a map, and the requests that were popped with it. */
typedef struct VringMapUse {
    VringMap *map;
    unsigned in_flight;
    unsigned last;          /* the region that was found last */
} VringMapUse;

/* One of the three parts of a ring. */
typedef struct VringPart {
    uint8_t *host;          /* NULL: not in the map */
    VringRegion region;
    uint64_t offset;        /* in the region */
} VringPart;

/* A descriptor, as it was read. */
typedef struct VringDesc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next;          /* packed: the buffer id */
} VringDesc;

typedef struct VringLayout {
    VringPop (*pop)(Vring *vring, VringElem **elem, Error **errp);
    /* @elem in the next used slots, which the driver sees after publish */
    void (*put)(Vring *vring, const VringElem *elem, uint32_t len);
    bool (*publish)(Vring *vring);
    bool (*is_empty)(Vring *vring);
    void (*set_kicks)(Vring *vring, bool on);
    /* bytes of the parts */
    size_t (*desc_size)(uint16_t num);
    size_t (*avail_size)(uint16_t num);
    size_t (*used_size)(uint16_t num);
} VringLayout;

struct Vring {
    /* what each request touches */
    VringState at;
    uint16_t num;
    uint16_t shadow;        /* split: the available index as last read */
    uint16_t pushed;        /* entries, split, or slots, packed, to publish */
    bool event_idx;
    bool in_order;
    bool broken;
    bool mapped;            /* all parts are */
    VringPart desc;
    VringPart avail;
    VringPart used;
    VringMapUse *use;
    VringElem *free;
    unsigned fresh;         /* from here on they were never used */
    unsigned in_flight;
    const VringLayout *layout;
    VringInflight *inflight;

    /* packed */
    uint16_t first_flags;   /* of the first entry of the batch, which publish it */
    unsigned slots;         /* of what is in flight */
    VringDesc *chain;       /* of @num: the one that is popped, for @inflight */

    /*
     * Pushed, or, in order, popped, requests in their order: not in the ring yet,
     * since one before them is not answered, or the ring is not mapped.
     */
    VringElem *wait_first;
    VringElem **wait_last;

    VringConfig config;
    uint8_t *elems;
    size_t stride;          /* from one request to the next */
    size_t elem_size;       /* of which the user's */
};

/* Sets an error, and the ring is broken. */
VringPop G_GNUC_PRINTF(3, 4)
vring_fail(Vring *vring, Error **errp, const char *fmt, ...);

/* A request from the pool, empty. */
VringPop vring_elem_begin(Vring *vring, VringElem **elem, Error **errp);

/* @pop says whether it is popped; if not, it is given back.  Returns @pop. */
VringPop vring_elem_end(Vring *vring, VringElem *elem, VringPop pop);

/* Adds the buffer of @desc to @elem: VRING_POPPED, or why not. */
VringPop vring_elem_add(Vring *vring, VringElem *elem, const VringDesc *desc,
                        Error **errp);

/*
 * The descriptors of an indirect table, which is @table: @linked by next, else
 * all in turn.
 */
VringPop vring_elem_add_table(Vring *vring, VringElem *elem,
                              const VringDesc *table, bool linked, Error **errp);

/* The device has written @size bytes at @offset of @part. */
static inline void vring_written(Vring *vring, const VringPart *part,
                                 uint64_t offset, uint64_t size)
{
    VringMap *map = vring->use->map;

    if (unlikely(map->written)) {
        map->written(map, &part->region, part->offset + offset, size);
    }
}

/*
 * Reads 16 bytes of the driver's memory once: the compiler could otherwise look
 * there again for what it needs again.
 */
static inline void vring_read_desc(VringDesc *desc, const void *from)
{
    memcpy(desc, from, sizeof(*desc));
    barrier();
    desc->addr = le64_to_cpu(desc->addr);
    desc->len = le32_to_cpu(desc->len);
    desc->flags = le16_to_cpu(desc->flags);
    desc->next = le16_to_cpu(desc->next);
}

static inline uint16_t vring_read16(const void *from)
{
    return le16_to_cpu(qatomic_read((const uint16_t *)from));
}

static inline void vring_write16(void *to, uint16_t value)
{
    qatomic_set((uint16_t *)to, cpu_to_le16(value));
}

extern const VringLayout vring_split;
extern const VringLayout vring_packed;

/*
 * In split.c and packed.c: the request at a head, or of descriptors that were read,
 * as they are also found in what an earlier process had in flight.
 */
VringPop vring_split_pop_head(Vring *vring, uint16_t head, VringElem **elem,
                              Error **errp);
VringPop vring_packed_pop_descs(Vring *vring, const VringDesc *desc, unsigned n,
                                VringElem **elem, Error **errp);

/* Whether @slot is the device's, by its flags and the wrap counter @wrap. */
bool vring_packed_is_available(Vring *vring, uint16_t slot, bool wrap);

/* @n slots on from @slot; @wrap as the counter there. */
void vring_packed_advance(const Vring *vring, uint16_t *slot, bool *wrap,
                          unsigned n);

/*
 * inflight.c.  Each call in its place as the protocol orders it; a process that
 * dies between any two leaves what the next can go on from.
 */
VringPop vring_inflight_pop(Vring *vring, VringElem **elem, Error **errp);
bool vring_inflight_has_more(const VringInflight *inflight);
void vring_inflight_begin_split(VringInflight *inflight, VringElem *elem);
void vring_inflight_begin_packed(VringInflight *inflight, VringElem *elem,
                                 const VringDesc *descs, unsigned n);
/* it is in the used ring, not published */
void vring_inflight_put(VringInflight *inflight, const VringElem *elem);
/* packed: the batch up to @used will be published now */
void vring_inflight_commit(VringInflight *inflight, uint16_t used,
                           bool used_wrap);
/* published, up to @used */
void vring_inflight_published(VringInflight *inflight, uint16_t used);
void vring_inflight_free(VringInflight *inflight);

#endif /* HW_VIRTIO_VRING_INTERNAL_H */
