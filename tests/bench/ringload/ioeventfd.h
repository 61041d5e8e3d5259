/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The eventfds by which a QEMU's virtio-blk device is kicked: KVM signals them
 * for a guest, and ringload can for itself, without the socket, and the main loop
 * that serves it.
 *
 *     ioeventfd_before(pid);
 *     ...                          the device is started
 *     if (!ioeventfd_find(fds, n)) the device has other eventfds than expected
 */
#ifndef RINGLOAD_IOEVENTFD_H
#define RINGLOAD_IOEVENTFD_H

#include "util.h"

/* Notes the eventfds of @pid.  Dies if they cannot be seen. */
void ioeventfd_before(int pid);

/*
 * Duplicates, of the eventfds that @pid has more since, those of the virtqueues,
 * of which there are @n.
 */
void ioeventfd_find(int *fds, unsigned n);

#endif
