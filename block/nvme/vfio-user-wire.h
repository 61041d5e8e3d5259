/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The connection to a vfio-user server: requests and their replies
 * (docs/vfio-user.rst of libvfio-user, "Protocol Specification").
 *
 * The server is not trusted.  A message that is malformed or that nobody asked for,
 * or no reply within VFIO_USER_LIMIT_NS, ends the connection; a request of its own
 * gets an error reply.  Numbers are little-endian, as the host that this builds for:
 * see nvme_vfio_user_open().
 *
 * A call holds the connection's lock until it is replied to.  Between calls the
 * main loop watches the socket.
 */

#ifndef BLOCK_NVME_VFIO_USER_WIRE_H
#define BLOCK_NVME_VFIO_USER_WIRE_H

#include "transport.h"

#define VFIO_USER_LIMIT_NS (10 * NANOSECONDS_PER_SECOND)

/* What the server is told that it may send. */
#define VFIO_USER_MAX_FDS  8
#define VFIO_USER_MAX_DATA 4096

/* Commands */
enum {
    VFIO_USER_VERSION = 1,
    VFIO_USER_DMA_MAP,
    VFIO_USER_DMA_UNMAP,
    VFIO_USER_DEVICE_GET_INFO,
    VFIO_USER_DEVICE_GET_REGION_INFO,
    VFIO_USER_DEVICE_GET_REGION_IO_FDS,
    VFIO_USER_DEVICE_GET_IRQ_INFO,
    VFIO_USER_DEVICE_SET_IRQS,
    VFIO_USER_REGION_READ,
    VFIO_USER_REGION_WRITE,
    VFIO_USER_DMA_READ,
    VFIO_USER_DMA_WRITE,
    VFIO_USER_DEVICE_RESET,
};

typedef struct VfioUserWire VfioUserWire;

typedef struct VfioUserCall {
    uint16_t command;
    const void *request;        /* without the header */
    size_t request_size;
    const int *fds;             /* that go with it; stay the caller's */
    unsigned n_fds;

    void *reply;
    size_t reply_min;           /* fewer bytes, or ... */
    size_t reply_max;           /* ... more are malformed */
    int *reply_fds;             /* VFIO_USER_MAX_FDS; NULL: there must be none */

    /* Set by the call: */
    int error;                  /* errno of an error reply, or 0 */
    size_t reply_size;
    unsigned n_reply_fds;       /* the caller's to close */
} VfioUserCall;

/* NULL with @errp set on failure.  Main loop. */
VfioUserWire *vfio_user_connect(const char *path, Error **errp);

/*
 * Sends a request and waits for the reply.  False if the connection is over, else
 * see @call->error.  Any thread.
 */
bool vfio_user_call(VfioUserWire *w, VfioUserCall *call);

/* Ends the connection for what the server has said.  Any thread, in no call. */
void G_GNUC_PRINTF(2, 3) vfio_user_end(VfioUserWire *w, const char *why, ...);

/* Ends the connection, of which @lost is not told then.  Any thread, in no call. */
void vfio_user_hang_up(VfioUserWire *w);

/* From now on, @lost is called once the connection is over.  Main loop. */
void vfio_user_watch(VfioUserWire *w, NvmeTransportLost *lost, void *opaque);

/* Why the connection is over, or NULL. */
const char *vfio_user_why(VfioUserWire *w);

/* With no call under way.  Main loop. */
void vfio_user_disconnect(VfioUserWire *w);

#endif /* BLOCK_NVME_VFIO_USER_WIRE_H */
