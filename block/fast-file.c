/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The options of files that are of the fast path.
 */

#include "qemu/osdep.h"
#include "block/fast-file.h"
#include "qapi/error.h"
#include "qemu/option.h"

bool raw_fast_open(RawFast *fast, QemuOpts *opts, int fd, bool io_uring,
                   bool direct, Error **errp)
{
#ifdef CONFIG_LINUX_IO_URING
    fast->iopoll = qemu_opt_get_bool(opts, "io-uring-iopoll", false);
    if (!fast->iopoll) {
        return true;
    }
    if (!io_uring) {
        error_setg(errp, "io-uring-iopoll=on requires aio=io_uring, which was "
                         "not specified");
        return false;
    }
    if (!direct) {
        error_setg(errp, "io-uring-iopoll=on requires cache.direct=on, which was "
                         "not specified");
        return false;
    }
    return luring_probe_polled(fd, errp);
#else
    return true;
#endif
}
