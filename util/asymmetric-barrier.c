/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The heavy half of the asymmetric barrier, and whether there is one.
 */

#include "qemu/osdep.h"
#include "qemu/asymmetric-barrier.h"

#ifdef CONFIG_LINUX
#include <linux/membarrier.h>
#include <sys/syscall.h>
#endif

bool asymmetric_barrier_symmetric = true;

#ifdef CONFIG_LINUX
/*
 * Before main(), while there is one thread: registering a process with several
 * waits until each has passed through the scheduler.  A child made by fork()
 * (-daemonize) inherits it.
 */
static void __attribute__((__constructor__)) asymmetric_barrier_init(void)
{
    asymmetric_barrier_symmetric =
        syscall(__NR_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0);
}
#endif

void asymmetric_barrier_heavy(void)
{
#ifdef CONFIG_LINUX
    if (!asymmetric_barrier_symmetric) {
        /* Registered, so that it fails only under a filter set up since. */
        if (syscall(__NR_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0)) {
            abort();
        }
        return;
    }
#endif
    smp_mb();
}
