/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the fast path knows of a file or host_device node: a member of the
 * driver's state, zeroed with it.  Written by the main loop, read by each request.
 */

#ifndef BLOCK_FAST_FILE_H
#define BLOCK_FAST_FILE_H

#ifdef CONFIG_LINUX_IO_URING
#include "block/io-uring.h"
#endif

typedef struct RawFast {
    /*
     * Atomic.  What they are changes with a file that is opened anew, when no
     * request looks; else they are written as they were, while requests do.
     */
    uint32_t mem_mask;          /* bits that are zero in the address of a buffer */
    uint32_t len_mask;          /* and in its length */
#ifdef CONFIG_LINUX_IO_URING
    LuringFile file;
    bool iopoll;                /* the option io-uring-iopoll */
#endif
} RawFast;

/* Takes its options from @opts: of @fd, as it was opened. */
bool raw_fast_open(RawFast *fast, QemuOpts *opts, int fd, bool io_uring,
                   bool direct, Error **errp);

#endif /* BLOCK_FAST_FILE_H */
