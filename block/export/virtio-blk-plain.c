/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parsing and answering plain virtio-blk requests.
 */

#include "qemu/osdep.h"
#include "block/block.h"
#include "block/virtio-blk-plain.h"
#include "qemu/bswap.h"
#include "standard-headers/linux/virtio_blk.h"

/* The header and the status in buffers of their own, as drivers lay them out. */
static bool has_plain_buffers(const struct iovec *in, unsigned in_num,
                              const struct iovec *out, unsigned out_num)
{
    return out_num >= 1 && out[0].iov_len == sizeof(struct virtio_blk_outhdr) &&
           in_num >= 1 && in[in_num - 1].iov_len == sizeof(uint8_t);
}

/* Whether the block layer will judge the range as virtio_blk_process_req() does. */
static bool is_plain_range(uint64_t sector, uint64_t bytes, uint32_t block_size)
{
    return bytes > 0 && bytes <= BDRV_REQUEST_MAX_BYTES &&
           bytes % BDRV_SECTOR_SIZE == 0 &&
           sector <= INT64_MAX / BDRV_SECTOR_SIZE &&
           sector * BDRV_SECTOR_SIZE % block_size == 0;
}

bool virtio_blk_plain_parse(VirtioBlkPlain *plain,
                            struct iovec *in, unsigned in_num,
                            struct iovec *out, unsigned out_num,
                            uint32_t logical_block_size, bool writable)
{
    BlkFastRequest *fast = &plain->fast;
    struct virtio_blk_outhdr header;
    uint64_t sector;

    if (!has_plain_buffers(in, in_num, out, out_num)) {
        return false;
    }
    /* A copy: the guest can change its memory between two looks. */
    memcpy(&header, out[0].iov_base, sizeof(header));
    fast->flags = 0;
    plain->status = in[in_num - 1].iov_base;

    switch (le32_to_cpu(header.type)) {
    case VIRTIO_BLK_T_IN:
        fast->op = BLK_FAST_READ;
        qemu_iovec_init_external(&plain->qiov, in, in_num - 1);
        plain->in_len = plain->qiov.size + sizeof(*plain->status);
        break;
    case VIRTIO_BLK_T_OUT:
        if (!writable) {
            return false;
        }
        fast->op = BLK_FAST_WRITE;
        qemu_iovec_init_external(&plain->qiov, out + 1, out_num - 1);
        plain->in_len = iov_size(in, in_num);
        break;
    case VIRTIO_BLK_T_FLUSH:
        fast->op = BLK_FAST_FLUSH;
        fast->offset = 0;
        fast->bytes = 0;
        fast->qiov = NULL;
        plain->in_len = iov_size(in, in_num);
        return true;
    default:
        return false;
    }

    sector = le64_to_cpu(header.sector);
    if (!is_plain_range(sector, plain->qiov.size, logical_block_size)) {
        return false;
    }
    fast->offset = sector * BDRV_SECTOR_SIZE;
    fast->bytes = plain->qiov.size;
    fast->qiov = &plain->qiov;
    return true;
}

void virtio_blk_plain_answer(VirtioBlkPlain *plain, int ret)
{
    *plain->status = ret == 0 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
}
