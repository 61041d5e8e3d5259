/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which file is mapped where, for memory that another process gave to this one (a
 * vhost-user front-end) and that a third may need (a vfio-user server): it can be
 * passed on by its file descriptor alone.  Guest RAM of this process is not here:
 * its RAMBlock knows.
 *
 * Main loop.
 */

#ifndef QEMU_SHARED_MEMORY_H
#define QEMU_SHARED_MEMORY_H

#include "qemu/notify.h"

/*
 * [@host, @host + @size) is the file @fd from @offset on, MAP_SHARED.  @fd stays
 * open and the memory mapped until shared_memory_remove() of the same @host.
 */
void shared_memory_add(void *host, size_t size, int fd, uint64_t offset);
void shared_memory_remove(void *host);

/* What a notifier gets: it is about to be unmapped. */
typedef struct SharedMemoryRange {
    void *host;
    size_t size;
} SharedMemoryRange;

/* Until notifier_remove(), @notifier hears of what is removed. */
void shared_memory_add_notifier(Notifier *notifier);

/* The file of [@host, @host + @size), and the offset of @host in it. */
bool shared_memory_find(void *host, size_t size, int *fd, uint64_t *offset);

#endif /* QEMU_SHARED_MEMORY_H */
