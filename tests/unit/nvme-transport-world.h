/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For tests of the vfio-user transport: a client of the server in vfio-user-server.h,
 * and the calls that it makes.
 */

#ifndef TESTS_UNIT_NVME_TRANSPORT_WORLD_H
#define TESTS_UNIT_NVME_TRANSPORT_WORLD_H

#include "block/aio.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "vfio-user-server.h"

#define poll_until(condition)                         \
    do {                                              \
        while (!(condition)) {                        \
            aio_poll(qemu_get_aio_context(), true);   \
        }                                             \
    } while (0)

/* For what another thread does, which wakes nobody. */
#define spin_until(condition)                         \
    do {                                              \
        while (!(condition)) {                        \
            aio_poll(qemu_get_aio_context(), false);  \
            g_thread_yield();                         \
        }                                             \
    } while (0)

extern Server server;
extern unsigned lost;           /* how often; main loop */
extern bool in_call;            /* of the transport, in the main loop's thread */

/* What waits of the client have been for, since open_server(). */
#define MAX_WAITS 64
extern int64_t waits[MAX_WAITS];
extern unsigned n_waits;

void on_lost(void *opaque);

/* A started server is tried; or started, and must be good. */
NvmeTransport *try_open(Error **errp);
NvmeTransport *open_server(void);

/* @t may be NULL */
void close_server(NvmeTransport *t);

unsigned count_fds(void);

/* What the server has logged since the last time. */
void assert_log(const char *expected);

/* Its requests that were refused. */
unsigned refused(void);

/* What a test maps: none of it is touched. */
NvmeDmaMapping mapping(void);

/* Calls, by the command that they send: what they return. */
enum {
    CALL_READ,
    CALL_WRITE,
    CALL_MAP,
    CALL_UNMAP,
    CALL_SET_IRQS,
    CALL_RESET,
    CALLS
};
uint16_t call_command(unsigned call);
int make(NvmeTransport *t, unsigned call);

/* As make(), for a server that answers. */
int call_read(NvmeTransport *t);

#endif /* TESTS_UNIT_NVME_TRANSPORT_WORLD_H */
