/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A memory barrier in two halves: one that costs nothing, for what is done
 * millions of times a second, and one that pays for both.
 *
 * Two threads that each write a variable and then read the other's must not
 * both read the old value (Dekker).  With a full barrier between write and read
 * in both they do not; with asymmetric_barrier_light() in one and
 * asymmetric_barrier_heavy() in the other they do not either, and the light
 * half only keeps the compiler from reordering: the heavy half makes every
 * running thread of the process execute a full barrier, by membarrier(2),
 * MEMBARRIER_CMD_PRIVATE_EXPEDITED.
 *
 * (smp_mb_placeholder() and smp_mb_global() of qemu/sys_membarrier.h are this
 * too, but are chosen when building: off in Debian's build, and where they are
 * on, a kernel or a seccomp filter without the system call ends the process.)
 */

#ifndef QEMU_ASYMMETRIC_BARRIER_H
#define QEMU_ASYMMETRIC_BARRIER_H

#include "qemu/atomic.h"

/*
 * True where the kernel gives no expedited membarrier: the light half is then a
 * full barrier.  Written once, before main().
 */
extern bool asymmetric_barrier_symmetric;

/* Any thread.  Cost: one load that is never written, one branch. */
static inline void asymmetric_barrier_light(void)
{
    if (unlikely(asymmetric_barrier_symmetric)) {
        smp_mb();
    } else {
        barrier();
    }
}

/* Any thread.  Cost: a system call, and an interrupt to each running thread. */
void asymmetric_barrier_heavy(void);

#endif /* QEMU_ASYMMETRIC_BARRIER_H */
