/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The list of memory whose files are known.
 */

#include "qemu/osdep.h"
#include "qemu/queue.h"
#include "qemu/shared-memory.h"

typedef struct SharedMemory {
    uintptr_t first;
    uintptr_t end;
    int fd;
    uint64_t offset;
    QLIST_ENTRY(SharedMemory) next;
} SharedMemory;

static QLIST_HEAD(, SharedMemory) list = QLIST_HEAD_INITIALIZER(list);
static NotifierList removed = NOTIFIER_LIST_INITIALIZER(removed);

void shared_memory_add_notifier(Notifier *notifier)
{
    notifier_list_add(&removed, notifier);
}

void shared_memory_add(void *host, size_t size, int fd, uint64_t offset)
{
    SharedMemory *memory = g_new(SharedMemory, 1);

    *memory = (SharedMemory) {
        .first = (uintptr_t)host,
        .end = (uintptr_t)host + size,
        .fd = fd,
        .offset = offset,
    };
    QLIST_INSERT_HEAD(&list, memory, next);
}

void shared_memory_remove(void *host)
{
    SharedMemory *memory;

    QLIST_FOREACH(memory, &list, next) {
        if (memory->first == (uintptr_t)host) {
            SharedMemoryRange range = { host, memory->end - memory->first };

            QLIST_REMOVE(memory, next);
            g_free(memory);
            notifier_list_notify(&removed, &range);
            return;
        }
    }
}

bool shared_memory_find(void *host, size_t size, int *fd, uint64_t *offset)
{
    uintptr_t first = (uintptr_t)host;
    SharedMemory *memory;

    QLIST_FOREACH(memory, &list, next) {
        if (first >= memory->first && first + size <= memory->end) {
            *fd = memory->fd;
            *offset = memory->offset + (first - memory->first);
            return true;
        }
    }
    return false;
}
