/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which virtio-blk requests are plain, and what is read from them.
 */

#include "qemu/osdep.h"
#include "block/block.h"
#include "block/virtio-blk-plain.h"
#include "qemu/bswap.h"
#include "standard-headers/linux/virtio_blk.h"

/* A request in memory of this size, as a driver lays it out. */
typedef struct Layout {
    struct virtio_blk_outhdr header;
    uint8_t data[4096];
    uint8_t status;
    struct iovec in[3];
    struct iovec out[3];
    unsigned in_num;
    unsigned out_num;
} Layout;

static struct iovec buffer(void *base, size_t len)
{
    return (struct iovec) { .iov_base = base, .iov_len = len };
}

static Layout layout(uint32_t type, uint64_t sector)
{
    return (Layout) {
        .header.type = cpu_to_le32(type),
        .header.sector = cpu_to_le64(sector),
        .status = 0x55,
    };
}

/* @l has its final address: gives its buffers to a read, a write or neither. */
static void lay_out(Layout *l, bool data_in, bool data_out)
{
    l->out[l->out_num++] = buffer(&l->header, sizeof(l->header));
    if (data_out) {
        l->out[l->out_num++] = buffer(l->data, sizeof(l->data));
    }
    if (data_in) {
        l->in[l->in_num++] = buffer(l->data, sizeof(l->data));
    }
    l->in[l->in_num++] = buffer(&l->status, sizeof(l->status));
}

static bool parse(VirtioBlkPlain *plain, Layout *l, uint32_t block_size,
                  bool writable)
{
    struct iovec in[3], out[3];
    bool is_plain;

    memcpy(in, l->in, sizeof(in));
    memcpy(out, l->out, sizeof(out));
    is_plain = virtio_blk_plain_parse(plain, l->in, l->in_num, l->out, l->out_num,
                                      block_size, writable);
    g_assert_cmpmem(l->in, sizeof(in), in, sizeof(in));
    g_assert_cmpmem(l->out, sizeof(out), out, sizeof(out));
    return is_plain;
}

static void reads_and_writes_are_plain(void)
{
    int write;

    for (write = 0; write < 2; write++) {
        Layout l = layout(write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, 8);
        VirtioBlkPlain plain;

        lay_out(&l, !write, write);
        g_assert_true(parse(&plain, &l, 4096, true));
        g_assert_cmpint(plain.fast.op, ==, write ? BLK_FAST_WRITE : BLK_FAST_READ);
        g_assert_cmpint(plain.fast.flags, ==, 0);
        g_assert_cmpint(plain.fast.offset, ==, 4096);
        g_assert_cmpint(plain.fast.bytes, ==, 4096);
        g_assert_true(plain.fast.qiov == &plain.qiov);
        g_assert_cmpint(plain.qiov.niov, ==, 1);
        g_assert_true(plain.qiov.iov[0].iov_base == l.data);
        g_assert_cmpint(plain.in_len, ==, write ? 1 : 4097);
        g_assert_true(plain.status == &l.status);
    }
}

static void flush_is_plain(void)
{
    Layout l = layout(VIRTIO_BLK_T_FLUSH, 7);
    VirtioBlkPlain plain;

    lay_out(&l, false, false);
    g_assert_true(parse(&plain, &l, 4096, false));
    g_assert_cmpint(plain.fast.op, ==, BLK_FAST_FLUSH);
    g_assert_cmpint(plain.fast.offset, ==, 0);
    g_assert_cmpint(plain.fast.bytes, ==, 0);
    g_assert_null(plain.fast.qiov);
    g_assert_cmpint(plain.in_len, ==, 1);
}

static void other_types_are_not(void)
{
    const uint32_t types[] = {
        VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES,
        VIRTIO_BLK_T_SCSI_CMD, VIRTIO_BLK_T_IN | VIRTIO_BLK_T_BARRIER,
        VIRTIO_BLK_T_OUT | VIRTIO_BLK_T_BARRIER, 77777,
    };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(types); i++) {
        Layout l = layout(types[i], 0);
        VirtioBlkPlain plain;

        lay_out(&l, true, true);
        g_assert_false(parse(&plain, &l, 512, true));
    }
}

static void write_to_read_only_is_not(void)
{
    Layout l = layout(VIRTIO_BLK_T_OUT, 0);
    VirtioBlkPlain plain;

    lay_out(&l, false, true);
    g_assert_false(parse(&plain, &l, 512, false));
}

static void bad_ranges_are_not(void)
{
    /* the last would be 0 as an offset in bytes */
    const uint64_t sectors[] = { 1, 7, INT64_MAX / 512 + 1, UINT64_MAX, 1ull << 55 };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(sectors); i++) {
        Layout l = layout(VIRTIO_BLK_T_IN, sectors[i]);
        VirtioBlkPlain plain;

        lay_out(&l, true, false);
        g_assert_false(parse(&plain, &l, 4096, true));
    }
}

static void bad_sizes_are_not(void)
{
    const size_t sizes[] = {
        0, 1, 511, 513, 4095, BDRV_REQUEST_MAX_BYTES + 512ul, SIZE_MAX - 511,
    };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(sizes); i++) {
        Layout l = layout(VIRTIO_BLK_T_IN, 0);
        VirtioBlkPlain plain;

        lay_out(&l, true, false);
        l.in[0].iov_len = sizes[i];     /* only summed up */
        g_assert_false(parse(&plain, &l, 512, true));
    }
}

static void headers_elsewhere_are_not(void)
{
    Layout l = layout(VIRTIO_BLK_T_IN, 0);
    VirtioBlkPlain plain;

    lay_out(&l, true, false);
    g_assert_true(parse(&plain, &l, 512, true));
    l.out[0].iov_len = sizeof(l.header) - 1;
    g_assert_false(parse(&plain, &l, 512, true));
    l.out[0].iov_len = sizeof(l.header) + 1;
    g_assert_false(parse(&plain, &l, 512, true));
    l.out[0].iov_len = sizeof(l.header);
    l.in[1].iov_len = 2;
    g_assert_false(parse(&plain, &l, 512, true));
    l.in[1].iov_len = 0;
    g_assert_false(parse(&plain, &l, 512, true));
    l.in[1].iov_len = 1;
    l.in_num = 0;
    g_assert_false(parse(&plain, &l, 512, true));
    l.in_num = 2;
    l.out_num = 0;
    g_assert_false(parse(&plain, &l, 512, true));
}

static void answer_is_the_status(void)
{
    Layout l = layout(VIRTIO_BLK_T_IN, 0);
    VirtioBlkPlain plain;

    lay_out(&l, true, false);
    g_assert_true(parse(&plain, &l, 512, true));
    virtio_blk_plain_answer(&plain, 0);
    g_assert_cmpint(l.status, ==, VIRTIO_BLK_S_OK);
    virtio_blk_plain_answer(&plain, -ENOSPC);
    g_assert_cmpint(l.status, ==, VIRTIO_BLK_S_IOERR);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-blk-plain/reads-and-writes", reads_and_writes_are_plain);
    g_test_add_func("/virtio-blk-plain/flush", flush_is_plain);
    g_test_add_func("/virtio-blk-plain/other-types", other_types_are_not);
    g_test_add_func("/virtio-blk-plain/read-only", write_to_read_only_is_not);
    g_test_add_func("/virtio-blk-plain/ranges", bad_ranges_are_not);
    g_test_add_func("/virtio-blk-plain/sizes", bad_sizes_are_not);
    g_test_add_func("/virtio-blk-plain/headers", headers_elsewhere_are_not);
    g_test_add_func("/virtio-blk-plain/answer", answer_is_the_status);
    return g_test_run();
}
