/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtqueues spread over the IOThreads of iothread-vq-mapping by NUMA node and
 * virtual CPU: the property iothread-vq-spread=numa.
 *
 * What is known of the guest and the host is put into tables,
 * iothread_vq_choose() chooses, and the choice replaces the round-robin of
 * iothread_vq_mapping_apply().  All of it runs in the main loop when the device
 * is realized: a thread that is moved to other CPUs later keeps its virtqueues.
 */

#ifndef HW_VIRTIO_IOTHREAD_VQ_SPREAD_H
#define HW_VIRTIO_IOTHREAD_VQ_SPREAD_H

#include "hw/qdev-properties.h"
#include "qapi/qapi-types-virtio.h"
#include "qapi/qapi-types-virtio-queues.h"

/* The host node of memory or of an IOThread that is bound to no single one. */
#define HOST_NODE_UNKNOWN (-1)

/* What is known when a device is made. */
typedef struct IOThreadVqLayout {
    const unsigned *vcpu_nodes;     /* guest node of each virtual CPU */
    unsigned num_vcpus;
    const int *host_nodes;          /* host node of each guest node's memory */
    unsigned num_nodes;             /* of the guest; 1 where it has none */
    const int *thread_nodes;        /* host node of each IOThread */
    unsigned num_threads;           /* at least 1 */
} IOThreadVqLayout;

/*
 * Chooses an IOThread for each of @num_queues virtqueues: @thread_of_queue[q] is
 * an index of @thread_nodes.  Queues beyond the number of virtual CPUs, which the
 * guest does not use, go to the IOThreads that have the fewest.
 */
void iothread_vq_choose(const IOThreadVqLayout *layout, unsigned *thread_of_queue,
                        unsigned num_queues);

/* Whether @spread can be applied to the property iothread-vq-mapping. */
bool iothread_vq_spread_check(IOThreadVirtQueueSpread spread,
                              const IOThreadVirtQueueMappingList *mapping,
                              Error **errp);

/* After iothread_vq_mapping_apply(), with what the check found right. */
void iothread_vq_spread_apply(IOThreadVirtQueueSpread spread,
                              const IOThreadVirtQueueMappingList *mapping,
                              AioContext **vq_aio_context, uint16_t num_queues);

extern const PropertyInfo qdev_prop_iothread_vq_spread;

#define DEFINE_PROP_IOTHREAD_VQ_SPREAD(name, state, field)                   \
    DEFINE_PROP_SIGNED(name, state, field,                                   \
                       IO_THREAD_VIRT_QUEUE_SPREAD_ROUND_ROBIN,              \
                       qdev_prop_iothread_vq_spread, IOThreadVirtQueueSpread)

#endif /* HW_VIRTIO_IOTHREAD_VQ_SPREAD_H */
