/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The property iothread-vq-mapping of a device whose virtqueues have been moved
 * at run time: the list is made anew from where they are.
 */

#ifndef HW_VIRTIO_IOTHREAD_VQ_CONTEXTS_H
#define HW_VIRTIO_IOTHREAD_VQ_CONTEXTS_H

#include "qapi/qapi-types-virtio.h"

/*
 * The mapping that @vq_aio_context is; NULL if all are the main loop, whose
 * virtqueues are left out.  Like iothread_vq_mapping_apply(), takes a reference
 * to each IOThread of the list, for iothread_vq_mapping_cleanup().  BQL held.
 */
IOThreadVirtQueueMappingList *
iothread_vq_mapping_from_contexts(AioContext **vq_aio_context,
                                  uint16_t num_queues);

#endif /* HW_VIRTIO_IOTHREAD_VQ_CONTEXTS_H */
