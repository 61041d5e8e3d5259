/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-blk requests that an export can answer without a coroutine: reads,
 * writes and flushes in the form that drivers give them, with nothing wrong.
 * The export gives every other to virtio_blk_process_req(), which looks at it
 * anew and answers as it always has.
 */

#ifndef BLOCK_VIRTIO_BLK_PLAIN_H
#define BLOCK_VIRTIO_BLK_PLAIN_H

#include "block/fast-path.h"

/* Embedded in the export's request. */
typedef struct VirtioBlkPlain {
    BlkFastRequest fast;
    QEMUIOVector qiov;
    uint8_t *status;        /* in the guest's memory */
    size_t in_len;          /* bytes of the used element */
} VirtioBlkPlain;

/*
 * Fills in @plain, but for fast.cb, from a request in @in and @out, which stay
 * as they are.  Returns false if the request is not plain.
 */
bool virtio_blk_plain_parse(VirtioBlkPlain *plain,
                            struct iovec *in, unsigned in_num,
                            struct iovec *out, unsigned out_num,
                            uint32_t logical_block_size, bool writable);

/* Writes the status of @plain, for which the block layer returned @ret. */
void virtio_blk_plain_answer(VirtioBlkPlain *plain, int ret);

#endif /* BLOCK_VIRTIO_BLK_PLAIN_H */
