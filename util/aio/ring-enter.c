/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * io_uring_enter(2).
 */

#include "qemu/osdep.h"
#include "block/aio-ring.h"

/* Linux 6.15: include/uapi/linux/io_uring.h */
#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7)
#endif

/*
 * What liburing does not offer in one call: to submit, and to wait for a time, and
 * to say whether the wait is one for I/O.
 */
int aio_ring_enter(AioRing *ring, unsigned wait_nr, int64_t timeout)
{
    struct io_uring_sq *sq = &ring->uring.sq;
    struct __kernel_timespec ts = {
        .tv_sec = timeout / NANOSECONDS_PER_SECOND,
        .tv_nsec = timeout % NANOSECONDS_PER_SECOND,
    };
    struct io_uring_getevents_arg arg = { .ts = (uintptr_t)&ts };
    const bool timed = wait_nr && timeout >= 0;
    unsigned flags = IORING_ENTER_GETEVENTS, to_submit = 0;

    if (timed) {
        flags |= IORING_ENTER_EXT_ARG;
    }
    /* poll requests alone are no reason to count the processor as waiting for I/O */
    if (!ring->in_flight && (ring->uring.features & AIO_RING_FEAT_NO_IOWAIT)) {
        flags |= IORING_ENTER_NO_IOWAIT;
    }

    /* the entries; then the tail, which lets the kernel see them */
    sq->sqe_head = sq->sqe_tail;
    qatomic_store_release(sq->ktail, sq->sqe_tail);

    aio_loop_count(ring->ctx, syscalls);
    /* a kernel that has just refused them is not asked again in a wait */
    if (!ring->refused || !wait_nr) {
        to_submit = io_uring_sq_ready(&ring->uring);
    }
    return io_uring_enter2(ring->uring.ring_fd, to_submit,
                           wait_nr, flags, timed ? (void *)&arg : NULL,
                           timed ? sizeof(arg) : _NSIG / 8);
}
