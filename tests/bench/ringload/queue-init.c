/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a queue is laid out in shared memory: the ring, then a line a slot for
 * header and status, indirect tables, and data buffers aligned to pages (files
 * opened with O_DIRECT want that).
 */
#include "queue.h"
#include "options.h"
#include "tsc.h"
#include <string.h>

#define DATA_ALIGN 4096

_Static_assert(sizeof(struct virtio_blk_outhdr) == 16, "VIRTIO 1.2, 5.2.6");
_Static_assert(sizeof(struct shared_slot) == 64,
               "one line goes to the server with the header and comes back "
               "with the status");
_Static_assert(offsetof(struct queue, random) % CACHE_APART == 0,
               "what a request writes is apart from what is only read");
_Static_assert(offsetof(struct queue, progress) % CACHE_APART == 0,
               "what the main thread reads is apart from the hot state");

struct queue_offsets {
    size_t shared_slots, indirect, data, data_stride, end;
};

static void queue_offsets(struct queue_offsets *at, unsigned ring_size,
                          unsigned depth, bool indirect, uint32_t block_size)
{
    struct vring_layout ring;

    vring_layout(&ring, ring_size);
    at->shared_slots = ROUND_UP_TO(ring.bytes, DATA_ALIGN);
    at->indirect = at->shared_slots + depth * sizeof(struct shared_slot);
    at->data = at->indirect;
    if (indirect) {
        at->data += depth * 4 * sizeof(struct vring_desc);
    }
    at->data = ROUND_UP_TO(at->data, DATA_ALIGN);
    at->data_stride = ROUND_UP_TO((size_t)block_size, DATA_ALIGN);
    at->end = at->data + depth * at->data_stride;
}

void queue_shape(struct queue_shape *shape, const struct options *o,
                 const struct device *dev)
{
    bool can_indirect = dev->features & 1ull << VIRTIO_RING_F_INDIRECT_DESC;
    unsigned limit = o->ring_size ? o->ring_size : dev->max_ring;
    unsigned size = 128;
    struct queue_offsets at;

    if (o->indirect == INDIRECT_ON && !can_indirect) {
        die("--indirect: the server does not offer indirect descriptors");
    }
    if (limit > dev->max_ring) {
        die("--ring-size %u: the server's limit is %u", limit, dev->max_ring);
    }
    shape->indirect = o->indirect == INDIRECT_ON ||
                      (can_indirect && o->depth * 4 > limit);
    while (size < o->depth * (shape->indirect ? 1 : 4)) {
        size *= 2;
    }
    if (o->ring_size) {
        shape->ring_size = o->ring_size;
    } else {
        shape->ring_size = size < limit ? size : limit;
    }
    if (size > shape->ring_size &&
        o->depth * (shape->indirect ? 1 : 4) > shape->ring_size) {
        die("--depth %u does not fit into a ring of %u entries%s", o->depth,
            shape->ring_size,
            shape->indirect ? "" : " without indirect descriptors");
    }
    queue_offsets(&at, shape->ring_size, o->depth, shape->indirect,
                  o->block_size);
    shape->bytes = at.end;
}

/*
 * VIRTIO 1.2, 5.2.6: header, data, status. The device reads the header and, in
 * a write, the data; the rest it writes (VRING_DESC_F_WRITE is added to the
 * data's descriptor in queue_set_operation()).
 */
static void init_chain(struct queue *q, unsigned i,
                       const struct shared_memory *shared)
{
    unsigned first = q->indirect ? 0 : i << q->slot_shift;
    struct vring_desc *d = q->indirect ? &q->indirect[i * 4]
                                       : &q->ring.desc[first];
    struct shared_slot *s = &q->shared_slots[i];

    d[0] = (struct vring_desc) {
        .addr = shared_address(shared, &s->header),
        .len = sizeof(s->header),
        .flags = VRING_DESC_F_NEXT,
        .next = first + 1,
    };
    d[1] = (struct vring_desc) {
        .addr = shared_address(shared, q->data + i * q->data_stride),
        .len = q->block_size,
        .flags = VRING_DESC_F_NEXT | VRING_DESC_F_WRITE,
        .next = first + 2,
    };
    d[2] = (struct vring_desc) {
        .addr = shared_address(shared, &s->status),
        .len = sizeof(s->status),
        .flags = VRING_DESC_F_WRITE,
    };
    if (q->indirect) {
        /* 2.7.5.3.1: the table's chain uses indices within the table */
        q->ring.desc[i] = (struct vring_desc) {
            .addr = shared_address(shared, d),
            .len = 3 * sizeof(*d),
            .flags = VRING_DESC_F_INDIRECT,
        };
    }
    s->header.type = VIRTIO_BLK_T_IN;
    q->slots[i].operation = OP_READ;
}

void queue_init(struct queue *q, const struct queue_shape *shape,
                const struct shared_memory *shared, void *mem, bool event_idx,
                uint64_t first_sector, uint64_t blocks, uint64_t run_id)
{
    const struct options *o = q->options;
    struct queue_offsets at;
    unsigned i;

    queue_offsets(&at, shape->ring_size, o->depth, shape->indirect,
                  o->block_size);
    q->depth = o->depth;
    q->slot_shift = shape->indirect ? 0 : 2;
    q->ring_size = shape->ring_size;
    q->block_size = o->block_size;
    q->block_sectors = o->block_size / 512;
    q->first_sector = first_sector;
    q->blocks = blocks;
    q->shared_slots = (void *)((char *)mem + at.shared_slots);
    q->indirect = shape->indirect ? (void *)((char *)mem + at.indirect) : NULL;
    q->data = (char *)mem + at.data;
    q->data_stride = at.data_stride;
    q->slots = alloc_apart(q->depth * sizeof(*q->slots));
    /* a random number of 32 bits is below it for read_percent of them */
    q->read_below = (1ull << 32) * o->read_percent / 100;
    q->think = tsc_from_seconds(o->think_us / 1e6);
    /* any start but 0 will do for xorshift; apart for each queue */
    q->random = (o->seed + 1) * 0x9e3779b97f4a7c15ull ^
                (q->index + 1) * 0xd1342543de82ef95ull;
    if (!q->random) {
        q->random = 1;
    }
    vring_driver_init(&q->ring, mem, shape->ring_size, event_idx);
    for (i = 0; i < q->depth; i++) {
        init_chain(q, i, shared);
    }
    if (o->verify) {
        verify_init(&q->verify, q->index, run_id, first_sector, blocks,
                    o->block_size);
    }
}
