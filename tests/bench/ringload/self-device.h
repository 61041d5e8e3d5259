/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The built-in server's side of a ring. One server thread calls all of these
 * for a ring, once it runs.
 */
#ifndef RINGLOAD_SELF_DEVICE_H
#define RINGLOAD_SELF_DEVICE_H

#include "transport.h"
#include "vring.h"

/* Of all rings. Set up before threads start, but for dead. */
struct self_device {
    const struct options *options;
    struct shared_memory memory;
    char *disk;
    char *disk_before;          /* what the last write of each place replaced */
    bool dead;                  /* no more answers; set by any server thread */
};

/* The device's side of a ring; used by one server thread. */
struct device_ring {
    struct self_device *device;
    struct queue *q;
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    uint16_t *used_event;
    uint16_t *avail_event;
    uint16_t mask;
    bool event_idx;
    __attribute__((aligned(CACHE_APART)))
    uint16_t avail_seen;
    uint16_t used_next;
    uint16_t used_published;
    uint64_t requests;          /* since the last one that was erred on */
};

struct device_ring *device_ring_new(struct self_device *device,
                                    struct queue *q);

/* Serves some of what is there; false where nothing is. */
bool device_ring_serve(struct device_ring *r);

/* Asks for a kick; false where requests have come in the meantime. */
bool device_ring_arm(struct device_ring *r);

/* After sleep: no kicks again. */
void device_ring_disarm(struct device_ring *r);

#endif
