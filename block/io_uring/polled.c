/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rings whose completions are polled for.
 */

#include "qemu/osdep.h"
#include "block/block.h"
#include "block/io-uring.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/memalign.h"

/* The kernel looks for completions, once. */
void luring_polled_look(LuringState *s)
{
    if (s->ring->in_flight) {
        aio_ring_enter(s->ring, 0, 0);
        aio_ring_reap(s->ring, NULL);
    }
    if (s->ring->in_flight) {
        qemu_bh_schedule(s->bh);
    }
}

LuringState *luring_polled_new(LuringState *s)
{
    bool shared = s->ctx == qemu_get_aio_context();
    AioRing *ring = aio_ring_new(s->ctx, shared ? AIO_RING_IOPOLL_SHARED
                                                : AIO_RING_IOPOLL, NULL);

    if (!ring) {
        warn_report_once("no memory for a polled io_uring: "
                         "io-uring-iopoll=on has no effect");
        return NULL;
    }
    s->polled = luring_new(ring);
    s->polled->iopoll = true;
    luring_attach_aio_context(s->polled, s->ctx);
    return s->polled;
}

void luring_polled_free(LuringState *s)
{
    luring_detach_aio_context(s, s->ctx);
    luring_cleanup(s);
}

/* A read at the beginning: its contents, and whether there are any, do not matter. */
static int probe_read(struct io_uring *uring, int fd)
{
    size_t size = qemu_real_host_page_size();
    void *buf = qemu_memalign(size, size);
    struct io_uring_cqe *cqe;
    int ret;

    io_uring_prep_read(io_uring_get_sqe(uring), fd, buf, size, 0);
    do {
        ret = io_uring_submit_and_wait(uring, 1);
    } while (ret == -EINTR);
    if (ret >= 0) {
        ret = io_uring_wait_cqe(uring, &cqe) ?: cqe->res;
    }
    qemu_vfree(buf);
    return ret;
}

bool luring_probe_polled(int fd, Error **errp)
{
    struct io_uring uring;
    int ret = io_uring_queue_init(1, &uring, IORING_SETUP_IOPOLL);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "io-uring-iopoll=on: no polled io_uring");
        return false;
    }
    ret = probe_read(&uring, fd);
    io_uring_queue_exit(&uring);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "io-uring-iopoll=on: requests of this file "
                         "cannot be polled for");
        error_append_hint(errp, "The file system or the device does not do it; a "
                          "device needs polled queues, as /sys/block/DEVICE/queue/"
                          "io_poll tells.\nLeave out io-uring-iopoll.\n");
        return false;
    }
    return true;
}
