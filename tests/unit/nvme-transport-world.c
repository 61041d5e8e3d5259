/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client of vfio-user-server.c.
 */

#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "nvme-transport-world.h"

Server server;
unsigned lost;
bool in_call;
int64_t waits[MAX_WAITS];
unsigned n_waits;

int __real_qemu_poll_ns(GPollFD *fds, guint nfds, int64_t timeout);
int __wrap_qemu_poll_ns(GPollFD *fds, guint nfds, int64_t timeout);

/* A client's wait ends at once when the server will not answer. */
int __wrap_qemu_poll_ns(GPollFD *fds, guint nfds, int64_t timeout)
{
    GPollFD both[2];
    int ret;

    if (!in_call || nfds != 1) {
        return __real_qemu_poll_ns(fds, nfds, timeout);
    }
    if (n_waits < ARRAY_SIZE(waits)) {
        waits[n_waits] = timeout;
    }
    n_waits++;
    both[0] = fds[0];
    both[1] = (GPollFD) { .fd = server.silence, .events = G_IO_IN };
    ret = __real_qemu_poll_ns(both, 2, -1);
    fds[0].revents = both[0].revents;
    return ret < 0 ? ret : !!both[0].revents;
}

void on_lost(void *opaque)
{
    g_assert_false(in_call);
    g_assert_true(opaque == &server);
    lost++;
}

NvmeTransport *try_open(Error **errp)
{
    NvmeTransport *t;

    lost = 0;
    n_waits = 0;
    in_call = true;
    t = nvme_vfio_user_open(server.path, on_lost, &server, errp);
    in_call = false;
    return t;
}

NvmeTransport *open_server(void)
{
    server_start(&server);
    return try_open(&error_abort);
}

void close_server(NvmeTransport *t)
{
    if (t) {
        t->ops->close(t);
    }
    server_stop(&server);
}

unsigned count_fds(void)
{
    GDir *dir = g_dir_open("/proc/self/fd", 0, NULL);
    unsigned n = 0;

    while (g_dir_read_name(dir)) {
        n++;
    }
    g_dir_close(dir);
    return n;
}

void assert_log(const char *expected)
{
    g_autofree char *log = server_log(&server);

    g_assert_cmpstr(log, ==, expected);
}

int call_read(NvmeTransport *t)
{
    uint64_t value;

    return t->ops->read(t, 0, 8, &value);
}

static int call_write(NvmeTransport *t)
{
    return t->ops->write(t, 0x14, 4, 1);
}

NvmeDmaMapping mapping(void)
{
    return (NvmeDmaMapping) {
        .size = 0x200000, .iova = 0x40000000, .fd = server.doorbells,
        .fd_offset = 0x1000,
    };
}

static int call_map(NvmeTransport *t)
{
    NvmeDmaMapping m = mapping();
    Error *err = NULL;
    int ret = t->ops->map(t, &m, &err);

    g_assert_true(!ret == !err);
    error_free(err);
    return ret;
}

static int call_unmap(NvmeTransport *t)
{
    NvmeDmaMapping m = mapping();

    t->ops->unmap(t, &m);
    return 0;
}

static int call_set_irqs(NvmeTransport *t)
{
    int fds[] = { server.silence };
    Error *err = NULL;
    int ret = t->ops->set_irqs(t, fds, 1, &err);

    g_assert_true(!ret == !err);
    error_free(err);
    return ret;
}

static int call_reset(NvmeTransport *t)
{
    return t->ops->reset(t);
}

static const struct {
    uint16_t command;
    int (*make)(NvmeTransport *t);
} calls[CALLS] = {
    [CALL_READ] = { VFIO_USER_REGION_READ, call_read },
    [CALL_WRITE] = { VFIO_USER_REGION_WRITE, call_write },
    [CALL_MAP] = { VFIO_USER_DMA_MAP, call_map },
    [CALL_UNMAP] = { VFIO_USER_DMA_UNMAP, call_unmap },
    [CALL_SET_IRQS] = { VFIO_USER_DEVICE_SET_IRQS, call_set_irqs },
    [CALL_RESET] = { VFIO_USER_DEVICE_RESET, call_reset },
};

uint16_t call_command(unsigned call)
{
    return calls[call].command;
}

int make(NvmeTransport *t, unsigned call)
{
    int ret;

    in_call = true;
    ret = calls[call].make(t);
    in_call = false;
    return ret;
}

unsigned refused(void)
{
    unsigned n;

    g_mutex_lock(&server.lock);
    n = server.refused;
    g_mutex_unlock(&server.lock);
    return n;
}
