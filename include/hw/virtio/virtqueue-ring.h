/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VirtQueue that is served by a Vring now and then.
 *
 * The VirtQueue stays the one that knows where the ring stands.  Who serves it by
 * a Vring loads that state, pops, pushes and publishes, and stores it, before
 * anybody else looks: virtqueue_pop(), virtqueue_push(), the event loop's poll
 * function, migration.  So requests of both kinds can be in flight on one ring.
 *
 * In the thread that serves the VirtQueue.
 */

#ifndef HW_VIRTIO_VIRTQUEUE_RING_H
#define HW_VIRTIO_VIRTQUEUE_RING_H

#include "hw/virtio/virtio.h"
#include "hw/virtio/vring.h"

/*
 * Fills in @config as @vq is set up.  Returns false if a Vring cannot serve it:
 * it is not set up, or the driver has accepted features that only the base knows
 * (VIRTIO_F_IN_ORDER, whose order covers requests of both kinds, and
 * VIRTIO_F_NOTIFY_ON_EMPTY), or it is a legacy driver of the other endianness.
 */
bool virtqueue_ring_config(VirtQueue *vq, VringConfig *config);

/* Whether @vq is still set up as @config.  Cost: ten or so comparisons. */
bool virtqueue_ring_is(VirtQueue *vq, const VringConfig *config);

/* @inuse: as virtqueue_pop() counts, of both kinds */
void virtqueue_ring_load(VirtQueue *vq, VringState *state, unsigned *inuse);
void virtqueue_ring_store(VirtQueue *vq, const VringState *state, unsigned inuse);

/* Interrupts, as virtio_notify(), which vring_publish() has said to do. */
void virtqueue_ring_interrupt(VirtQueue *vq);

/*
 * The request @elem as virtqueue_pop() would have returned it, in @size bytes.
 * It is in use already.  NULL if its memory is not there any more; the device is
 * broken then.
 */
void *virtqueue_ring_take(VirtQueue *vq, const VringElem *elem, size_t size);

#endif /* HW_VIRTIO_VIRTQUEUE_RING_H */
