/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Wraps the system call and functions of liburing (see meson.build).
 */

#include "qemu/osdep.h"
#include "block/io-uring.h"
#include "fast-file-ring.h"

FaultState fault;
int setup_error;

/*
 * No device here polls.  A ring with DEFER_TASKRUN stands for a polled one: it too
 * completes nothing until it is entered, and wakes nobody who polls its descriptor.
 */
static unsigned stand_in(unsigned flags)
{
    return flags & IORING_SETUP_IOPOLL
           ? (flags & ~IORING_SETUP_IOPOLL) | IORING_SETUP_SINGLE_ISSUER |
             IORING_SETUP_DEFER_TASKRUN
           : flags;
}

int __real_io_uring_queue_init_params(unsigned entries, struct io_uring *uring,
                                      struct io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *uring,
                                      struct io_uring_params *params);
int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *uring,
                                      struct io_uring_params *params)
{
    if (setup_error) {
        return setup_error;
    }
    params->flags = stand_in(params->flags);
    return __real_io_uring_queue_init_params(entries, uring, params);
}

int __real_io_uring_queue_init(unsigned entries, struct io_uring *uring,
                               unsigned flags);
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *uring,
                               unsigned flags);
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *uring,
                               unsigned flags)
{
    return __real_io_uring_queue_init(entries, uring, stand_in(flags));
}

bool kernel_has_stand_in(void)
{
    struct io_uring uring;

    if (__wrap_io_uring_queue_init(2, &uring, IORING_SETUP_IOPOLL) < 0) {
        return false;
    }
    io_uring_queue_exit(&uring);
    return true;
}

int __real_aio_ring_enter(AioRing *ring, unsigned wait_nr, int64_t timeout);
int __wrap_aio_ring_enter(AioRing *ring, unsigned wait_nr, int64_t timeout);

#ifndef IORING_NOP_INJECT_RESULT
#define IORING_NOP_INJECT_RESULT 1
#endif

static void inject(struct io_uring_sqe *sqe)
{
    if (fault.left == 0) {
        return;
    }
    if (fault.kind == FAULT_SHORT) {
        if (sqe->len == 1) {    /* the rest of a request, one element */
            return;
        }
        sqe->len /= 2;          /* elements, or bytes if it has but one */
    } else {
        uint64_t data = sqe->user_data;

        memset(sqe, 0, sizeof(*sqe));
        sqe->opcode = IORING_OP_NOP;
        sqe->rw_flags = IORING_NOP_INJECT_RESULT;
        sqe->len = fault.result;
        sqe->user_data = data;
    }
    fault.left--;
}

static struct io_uring_sqe *queued(AioRing *ring, unsigned i)
{
    struct io_uring_sq *sq = &ring->uring.sq;
    struct io_uring_sqe *sqe = &sq->sqes[i & *sq->kring_mask];

    return sqe->user_data & LURING_WAY_MASK ? sqe : NULL;
}

int __wrap_aio_ring_enter(AioRing *ring, unsigned wait_nr, int64_t timeout)
{
    unsigned end = ring->uring.sq.sqe_tail, n = 0, i;
    unsigned begin = end - io_uring_sq_ready(&ring->uring);
    struct io_uring_sqe *sqe;

    for (i = begin; i != end; i++) {
        n += queued(ring, i) != NULL;
    }
    if (n && fault.after > 0) {
        fault.after--;
    } else if (fault.kind == FAULT_REFUSE && n && fault.left > 0) {
        fault.left--;
        return fault.result;
    }
    qatomic_add(&fault.calls, n > 0);
    for (i = begin; i != end; i++) {
        sqe = queued(ring, i);
        if (!sqe) {
            continue;
        }
        qatomic_add(&fault.entries, 1);
        qatomic_add(&fault.fsync, sqe->opcode == IORING_OP_FSYNC);
        qatomic_add(&fault.dsync, sqe->opcode == IORING_OP_WRITE &&
                                  sqe->rw_flags == RWF_DSYNC);
        qatomic_add(&fault.fixed, !!(sqe->flags & IOSQE_FIXED_FILE));
        if (fault.kind == FAULT_RESULT || fault.kind == FAULT_SHORT) {
            inject(sqe);
        }
    }
    return __real_aio_ring_enter(ring, wait_nr, timeout);
}

void fault_set(Fault kind, int result, int times)
{
    memset(&fault, 0, sizeof(fault));
    fault.kind = kind;
    fault.result = result;
    fault.left = times;
}

bool kernel_injects(void)
{
    struct io_uring uring;
    struct io_uring_cqe *cqe;
    struct io_uring_sqe *sqe;
    int res;

    g_assert_cmpint(io_uring_queue_init(2, &uring, 0), ==, 0);
    sqe = io_uring_get_sqe(&uring);
    io_uring_prep_nop(sqe);
    sqe->rw_flags = IORING_NOP_INJECT_RESULT;
    sqe->len = -EAGAIN;
    io_uring_submit(&uring);
    g_assert_cmpint(io_uring_wait_cqe(&uring, &cqe), ==, 0);
    res = cqe->res;
    io_uring_queue_exit(&uring);
    return res == -EAGAIN;
}
