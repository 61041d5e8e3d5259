/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finds the IOThreads that a device's virtqueues are in.
 */

#include "qemu/osdep.h"
#include "hw/virtio/iothread-vq-contexts.h"
#include "system/iothread-of.h"

static IOThreadVirtQueueMapping *find_entry(IOThreadVirtQueueMappingList *list,
                                            const char *id)
{
    for (; list; list = list->next) {
        if (!strcmp(list->value->iothread, id)) {
            return list->value;
        }
    }
    return NULL;
}

static IOThreadVirtQueueMapping *new_entry(IOThread *iothread)
{
    IOThreadVirtQueueMapping *entry = g_new0(IOThreadVirtQueueMapping, 1);

    entry->iothread = iothread_get_id(iothread);
    entry->has_vqs = true;
    object_ref(OBJECT(iothread));
    return entry;
}

static void append_queue(IOThreadVirtQueueMapping *entry, uint16_t queue)
{
    uint16List **tail = &entry->vqs;

    while (*tail) {
        tail = &(*tail)->next;
    }
    QAPI_LIST_APPEND(tail, queue);
}

IOThreadVirtQueueMappingList *
iothread_vq_mapping_from_contexts(AioContext **vq_aio_context,
                                  uint16_t num_queues)
{
    IOThreadVirtQueueMappingList *list = NULL, **tail = &list;
    uint16_t queue;

    for (queue = 0; queue < num_queues; queue++) {
        IOThread *iothread = iothread_of(vq_aio_context[queue]);
        g_autofree char *id = iothread ? iothread_get_id(iothread) : NULL;
        IOThreadVirtQueueMapping *entry;

        if (!iothread) {
            continue;
        }
        entry = find_entry(list, id);
        if (!entry) {
            entry = new_entry(iothread);
            QAPI_LIST_APPEND(tail, entry);
        }
        append_queue(entry, queue);
    }
    return list;
}
