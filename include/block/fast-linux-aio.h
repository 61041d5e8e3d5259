/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux native AIO for fast requests: a queue a thread, beside the one that
 * block/linux-aio.c keeps for coroutines.  A request's control block is made when
 * its batch is submitted, and is the queue's; the kernel keeps none.
 */

#ifndef BLOCK_FAST_LINUX_AIO_H
#define BLOCK_FAST_LINUX_AIO_H

#include "block/fast-path.h"

/*
 * Submits @req, a read, write or flush, from the home thread of an AioContext, as
 * BdrvFastSubmit does.
 */
int laio_fast_submit(BlkFastRequest *req, int fd, int64_t offset);

#endif /* BLOCK_FAST_LINUX_AIO_H */
