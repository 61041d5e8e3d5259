/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The NVMe driver's memory: what a command says of its data, read by the rules of
 * the specification, is what it was made for; and which addresses memory gets,
 * from a transport that has no device.
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "block/block.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "../../block/nvme/controller.h"

#define PAGE NVME_PAGE_SIZE
#define MEMORY (8 * MiB)
#define MAX_PIECES (PAGE / 16 + 1)      /* more than a list of SGLs takes */

/* A transport */

typedef struct Fake {
    NvmeTransport t;
    GArray *mapped;             /* of NvmeDmaMapping */
    int seals;                  /* of the file of the last one */
    unsigned limit;             /* more is refused */
} Fake;

static Fake fake;
static uint8_t *memory;         /* MEMORY bytes, page aligned */

static bool is_in_range(const NvmeDmaMapping *m)
{
    unsigned i;

    for (i = 0; i < fake.t.n_ranges; i++) {
        if (m->iova >= fake.t.ranges[i].first &&
            m->iova + m->size - 1 <= fake.t.ranges[i].last) {
            return true;
        }
    }
    return false;
}

static int fake_map(NvmeTransport *t, const NvmeDmaMapping *m, Error **errp)
{
    unsigned i;

    g_assert_cmpuint(m->iova, !=, 0);
    g_assert_cmpuint((m->iova | m->size | (uintptr_t)m->host) % PAGE, ==, 0);
    g_assert(is_in_range(m));
    for (i = 0; i < fake.mapped->len; i++) {
        NvmeDmaMapping *other = &g_array_index(fake.mapped, NvmeDmaMapping, i);

        g_assert(m->iova + m->size <= other->iova ||
                 other->iova + other->size <= m->iova);
    }
    if (fake.mapped->len == fake.limit) {
        error_setg(errp, "no more");
        return -ENOSPC;
    }
    g_array_append_vals(fake.mapped, m, 1);
    fake.seals = fcntl(m->fd, F_GET_SEALS);
    return 0;
}

static void fake_unmap(NvmeTransport *t, const NvmeDmaMapping *m)
{
    unsigned i;

    for (i = 0; i < fake.mapped->len; i++) {
        NvmeDmaMapping *other = &g_array_index(fake.mapped, NvmeDmaMapping, i);

        if (other->iova == m->iova) {
            g_assert_cmpuint(other->size, ==, m->size);
            g_assert(other->host == m->host);
            g_array_remove_index(fake.mapped, i);
            return;
        }
    }
    g_assert_not_reached();
}

static const NvmeTransportOps fake_ops = {
    .map = fake_map,
    .unmap = fake_unmap,
};

static NvmeIovaRange everywhere[] = { { 0, UINT32_MAX } };

static void begin(NvmeMemory *m, NvmeIovaRange *ranges, unsigned n)
{
    fake = (Fake) {
        .t = {
            .ops = &fake_ops,
            .page_size = PAGE,
            .ranges = ranges,
            .n_ranges = n,
        },
        .mapped = g_array_new(false, false, sizeof(NvmeDmaMapping)),
        .limit = UINT_MAX,
    };
    nvme_memory_init(m, &fake.t);
}

static void end(NvmeMemory *m, NvmeRegions *r)
{
    nvme_regions_destroy(r);
    nvme_memory_destroy(m);
    g_array_free(fake.mapped, true);
}

static uint8_t *host_of(uint64_t iova, size_t size)
{
    unsigned i;

    for (i = 0; i < fake.mapped->len; i++) {
        NvmeDmaMapping *m = &g_array_index(fake.mapped, NvmeDmaMapping, i);

        if (iova >= m->iova && iova + size <= m->iova + m->size) {
            return (uint8_t *)m->host + (iova - m->iova);
        }
    }
    g_assert_not_reached();
}

/* What a command describes, piece by piece, against what it was made for */

typedef struct Reader {
    const QEMUIOVector *qiov;
    int i;
    size_t in_piece;
    size_t left;
} Reader;

static void take(Reader *r, uint64_t iova, size_t size)
{
    g_assert_cmpuint(size, <=, r->left);
    while (size) {
        const struct iovec *iov = &r->qiov->iov[r->i];
        size_t n = MIN(size, iov->iov_len - r->in_piece);

        g_assert(host_of(iova, n) == (uint8_t *)iov->iov_base + r->in_piece);
        r->in_piece += n;
        if (r->in_piece == iov->iov_len) {
            r->i++;
            r->in_piece = 0;
        }
        iova += n;
        size -= n;
        r->left -= n;
    }
}

/* Base 2.0, 4.1.1: a list ends with its page, where it would go on elsewhere. */
static void take_prps(Reader *r, const NvmeRequest *req)
{
    uint64_t prp1 = le64_to_cpu(req->cmd.dptr.prp1);
    uint64_t prp2 = le64_to_cpu(req->cmd.dptr.prp2);
    const uint64_t *list;

    g_assert_cmpuint(prp1 % 4, ==, 0);
    take(r, prp1, MIN(r->left, PAGE - prp1 % PAGE));
    if (r->left == 0) {
        g_assert_cmpuint(prp2, ==, 0);
        return;
    }
    g_assert_cmpuint(prp2 % PAGE, ==, 0);
    if (r->left <= PAGE) {
        take(r, prp2, r->left);
        return;
    }
    g_assert_cmpuint(prp2, ==, req->list_iova);
    g_assert_cmpuint(DIV_ROUND_UP(r->left, PAGE), <=, PAGE / sizeof(*list));
    for (list = req->list; r->left; list++) {
        g_assert_cmpuint(le64_to_cpu(*list) % PAGE, ==, 0);
        take(r, le64_to_cpu(*list), MIN(r->left, PAGE));
    }
}

/* Base 2.0, 4.1.2: one last segment of data blocks. */
static void take_sgl(Reader *r, const NvmeRequest *req)
{
    const NvmeSglDescriptor *list = req->list;
    uint32_t size = le32_to_cpu(req->cmd.dptr.sgl.len);
    unsigned i;

    g_assert_cmpuint(req->cmd.dptr.sgl.type, ==, 3 << 4);
    g_assert_cmpuint(le64_to_cpu(req->cmd.dptr.sgl.addr), ==, req->list_iova);
    g_assert_cmpuint(size % sizeof(*list), ==, 0);
    g_assert_cmpuint(size, <=, PAGE);
    for (i = 0; i < size / sizeof(*list); i++) {
        g_assert_cmpuint(list[i].type, ==, 0);
        g_assert_cmpuint(le64_to_cpu(list[i].addr) % 4, ==, 0);
        g_assert_cmpuint(le32_to_cpu(list[i].len) % 4, ==, 0);
        take(r, le64_to_cpu(list[i].addr), le32_to_cpu(list[i].len));
    }
}

static void check_command(const NvmeRequest *req, const QEMUIOVector *qiov)
{
    Reader r = { .qiov = qiov, .left = qiov->size };

    switch (req->cmd.flags >> 6) {
    case 0:
        take_prps(&r, req);
        break;
    case 1:
        take_sgl(&r, req);
        break;
    default:
        g_assert_not_reached();
    }
    g_assert_cmpuint(r.left, ==, 0);
}

/* Whether one is mapped: all of it in one of these, which leave a hole. */
static bool is_mapped(const struct iovec *iov)
{
    size_t first = (uint8_t *)iov->iov_base - memory;
    size_t last = first + iov->iov_len;

    return last <= 3 * MiB || (first >= 4 * MiB && last <= 6 * MiB);
}

static bool can_be_said(const QEMUIOVector *qiov, bool has_sgl)
{
    bool pages = true, dwords = qiov->niov <= PAGE / 16;
    int i;

    for (i = 0; i < qiov->niov; i++) {
        size_t at = (uint8_t *)qiov->iov[i].iov_base - memory;
        size_t len = qiov->iov[i].iov_len;

        if (!is_mapped(&qiov->iov[i])) {
            return false;
        }
        pages &= i == 0 ? at % 4 == 0 : at % PAGE == 0;
        pages &= i == qiov->niov - 1 || (at + len) % PAGE == 0;
        dwords &= at % 4 == 0 && len % 4 == 0;
    }
    return pages || (has_sgl && qiov->niov > 1 && dwords);
}

/* @bytes cut into pieces of multiples of @unit, which mostly follow a pattern. */
static void cut(QEMUIOVector *qiov, size_t bytes, size_t unit)
{
    size_t at = g_test_rand_int_range(0, MEMORY - 4 * MiB) / unit * unit;

    if (unit == 2 * MiB) {
        at += g_test_rand_int_range(0, 8);
    }
    while (bytes && qiov->niov < MAX_PIECES) {
        size_t n = MIN(bytes, unit * g_test_rand_int_range(1, 20));

        if (qiov->niov == 0 && unit == PAGE && g_test_rand_bit()) {
            /* a page of which only the end is used */
            size_t skip = g_test_rand_int_range(0, PAGE / 4) * 4;

            at += skip;
            n = MIN(bytes, PAGE - skip);
        }
        if (at + n > MEMORY || g_test_rand_int_range(0, 30) == 0) {
            at = g_test_rand_int_range(0, 4 * MiB) / unit * unit;
        }
        qemu_iovec_add(qiov, memory + at, n);
        bytes -= n;
        at += n + g_test_rand_int_range(0, 3) * unit;
    }
}

static void test_commands_describe_their_data(void)
{
    static const size_t units[] = { 1, 4, 512, PAGE, PAGE, 2 * MiB };
    uint64_t list[PAGE / sizeof(uint64_t)];
    unsigned n_said = 0, n_sgl = 0, n_not = 0;
    NvmeController c = { 0 };
    NvmeQueue q = { .c = &c };
    NvmeRequest req = { .list = list };
    QEMUIOVector qiov;
    int i;

    begin(&c.memory, everywhere, 1);
    nvme_memory_add(&c.memory, memory, 3 * MiB, &error_abort);
    nvme_memory_add(&c.memory, memory + 4 * MiB, 2 * MiB, &error_abort);
    req.list_iova = 0xabcd000;
    qemu_iovec_init(&qiov, MAX_PIECES);
    for (i = 0; i < 30000; i++) {
        bool said;

        qemu_iovec_reset(&qiov);
        c.has_sgl = g_test_rand_bit();
        cut(&qiov, 512 * g_test_rand_int_range(1, i % 2 ? 64 : 4097),
            units[g_test_rand_int_range(0, ARRAY_SIZE(units))]);
        memset(&req.cmd, 0xa5, sizeof(req.cmd));
        memset(list, 0xa5, sizeof(list));
        said = nvme_data_prepare(&q, &req, &qiov, qiov.size);
        g_assert_cmpint(said, ==, can_be_said(&qiov, c.has_sgl));
        if (said) {
            check_command(&req, &qiov);
        }
        n_said += said;
        n_not += !said;
        n_sgl += said && req.cmd.flags;
    }
    g_test_message("%u described, %u of them by SGLs, %u not", n_said, n_sgl, n_not);
    g_assert_cmpuint(MIN(MIN(n_sgl, n_said - n_sgl), n_not), >, 100);
    qemu_iovec_destroy(&qiov);
    end(&c.memory, &q.regions);
}

/* Each place in the first page, each end in the last ones. */
static void test_ranges_describe_their_data(void)
{
    uint64_t list[PAGE / sizeof(uint64_t)];
    NvmeController c = { 0 };
    NvmeRequest req = { .list = list, .list_iova = 0xabcd000 };
    NvmeRegions unused = { 0 };
    QEMUIOVector qiov;
    size_t first, size;
    uint64_t iova;

    begin(&c.memory, everywhere, 1);
    nvme_memory_add(&c.memory, memory, MEMORY, &error_abort);
    iova = nvme_memory_find(&c.memory, &unused, memory, MEMORY);
    g_assert(iova != NVME_UNMAPPED);
    for (first = 0; first < PAGE; first += 508) {
        for (size = 4; size <= NVME_MAX_TRANSFER; size += size < 16 * KiB ? 124
                                                          : 131068) {
            qemu_iovec_init(&qiov, 1);
            qemu_iovec_add(&qiov, memory + first, size);
            nvme_data_prepare_range(&req, iova + first, size);
            check_command(&req, &qiov);
            qemu_iovec_destroy(&qiov);
        }
    }
    end(&c.memory, &unused);
}

/* Placement */

static uint64_t map_pages(NvmeMemory *m, unsigned n)
{
    uint64_t iova;
    int ret = nvme_memory_map_transient(m, memory, n * PAGE, &iova);

    g_assert(ret == 0 || ret == -ENOSPC);
    return ret == 0 ? iova : 0;
}

static void test_memory_is_placed_in_the_ranges(void)
{
    /* one that is unaligned, one too small for a page, one of two pages */
    NvmeIovaRange ranges[] = {
        { 0, 0x2fff }, { 0x5800, 0x6fff }, { 0x8001, 0x8fff }, { 0x10000, 0x11fff },
    };
    NvmeRegions none = { 0 };
    NvmeMemory m = { 0 };

    begin(&m, ranges, ARRAY_SIZE(ranges));
    g_assert_cmphex(map_pages(&m, 1), ==, 0x1000);      /* 0 means nothing */
    g_assert_cmphex(map_pages(&m, 2), ==, 0x10000);
    g_assert_cmphex(map_pages(&m, 1), ==, 0x2000);
    g_assert_cmphex(map_pages(&m, 1), ==, 0x6000);
    g_assert_cmphex(map_pages(&m, 1), ==, 0);
    nvme_memory_unmap_transient(&m, 0x1000);
    nvme_memory_unmap_transient(&m, 0x6000);
    g_assert_cmphex(map_pages(&m, 2), ==, 0);           /* not one after the other */
    nvme_memory_unmap_transient(&m, 0x2000);
    g_assert_cmphex(map_pages(&m, 2), ==, 0x1000);
    g_assert_cmphex(map_pages(&m, 1), ==, 0x6000);
    nvme_memory_unmap_transient(&m, 0x11fff);
    g_assert_cmphex(map_pages(&m, 1), ==, 0x10000);
    g_assert_cmphex(map_pages(&m, 1), ==, 0x11000);
    end(&m, &none);
}

static void test_refused_memory_takes_no_addresses(void)
{
    NvmeRegions r = { 0 };
    NvmeMemory m = { 0 };
    Error *err = NULL;

    begin(&m, everywhere, 1);
    fake.limit = 1;
    nvme_memory_add(&m, memory, MiB, &error_abort);
    g_assert_cmpint(nvme_memory_add(&m, memory + MiB, MiB, &err), ==, -ENOSPC);
    error_free_or_abort(&err);
    g_assert(nvme_memory_find(&m, &r, memory + MiB, 1) == NVME_UNMAPPED);
    g_assert_cmphex(map_pages(&m, 1), ==, 0);
    nvme_memory_remove(&m, memory, MiB);
    g_assert_cmphex(map_pages(&m, 1), ==, PAGE);
    /* pages alone */
    g_assert_cmpint(nvme_memory_add(&m, memory + 1, MiB, &err), ==, -ENOTSUP);
    error_free_or_abort(&err);
    g_assert_cmpint(nvme_memory_add(&m, memory, 1, &err), ==, -ENOTSUP);
    error_free_or_abort(&err);
    end(&m, &r);
}

/* Who is given the file of a ring can write to it, and not make it shorter. */
static void test_own_memory_cannot_be_taken_away(void)
{
    NvmeRegions none = { 0 };
    NvmeMemory m = { 0 };
    uint64_t iova;
    void *ring;

    begin(&m, everywhere, 1);
    ring = nvme_memory_alloc(&m, PAGE, &iova, &error_abort);
    g_assert_cmpint(fake.seals & F_SEAL_SHRINK, !=, 0);
    g_assert_cmpint(fake.seals & F_SEAL_WRITE, ==, 0);
    nvme_memory_free(&m, ring, PAGE);
    end(&m, &none);
}

static void test_transient_memory_is_no_region(void)
{
    NvmeRegions r = { 0 };
    NvmeMemory m = { 0 };
    uint64_t iova;

    begin(&m, everywhere, 1);
    g_assert_cmpint(nvme_memory_map_transient(&m, memory + 5, PAGE, &iova), ==, 0);
    g_assert(host_of(iova, PAGE) == memory + 5);
    g_assert(nvme_memory_find(&m, &r, memory + 5, 1) == NVME_UNMAPPED);
    nvme_memory_unmap_transient(&m, iova);
    g_assert_cmpuint(fake.mapped->len, ==, 0);
    fake.t.needs_fd = true;
    g_assert_cmpint(nvme_memory_map_transient(&m, memory, PAGE, &iova), ==, -ENOTSUP);
    end(&m, &r);
}

/* Regions: added and removed at random, counted, and looked up by two threads */

#define BLOCKS 16
#define BLOCK (MEMORY / BLOCKS)

static void check_find(NvmeMemory *m, NvmeRegions *r, const unsigned *users)
{
    unsigned i = g_test_rand_int_range(0, BLOCKS);
    size_t at = g_test_rand_int_range(0, BLOCK), size;
    uint64_t iova;

    size = g_test_rand_int_range(1, BLOCK - at + 1);
    iova = nvme_memory_find(m, r, memory + i * BLOCK + at, size);
    g_assert_cmpint(iova != NVME_UNMAPPED, ==, users[i] > 0);
    if (iova != NVME_UNMAPPED) {
        g_assert(host_of(iova, size) == memory + i * BLOCK + at);
    }
    /* never what lies in two */
    g_assert(at == 0 || nvme_memory_find(m, r, memory + i * BLOCK + at,
                                         BLOCK) == NVME_UNMAPPED);
}

static void test_regions_are_found_while_they_are_there(void)
{
    NvmeRegions r[2] = { };
    unsigned users[BLOCKS] = { 0 };
    NvmeMemory m = { 0 };
    int i;

    begin(&m, everywhere, 1);
    for (i = 0; i < 20000; i++) {
        unsigned n = g_test_rand_int_range(0, BLOCKS);
        /* a part of it counts as much, but for the first user */
        size_t part = users[n] && g_test_rand_bit() ? PAGE : 0;

        if (i % 4 == 0 && users[n] < 3) {
            nvme_memory_add(&m, memory + n * BLOCK + part, BLOCK - part,
                            &error_abort);
            users[n]++;
        } else if (i % 4 == 1 && users[n]) {
            nvme_memory_remove(&m, memory + n * BLOCK + part, BLOCK - part);
            users[n]--;
        }
        /* one of them is behind for a while */
        check_find(&m, &r[i / 100 % 2], users);
    }
    nvme_memory_remove(&m, memory + MEMORY, PAGE);      /* unknown */
    nvme_regions_destroy(&r[1]);
    end(&m, &r[0]);
}

/* Status */

static void test_status_has_its_errno(void)
{
    static const struct {
        uint16_t status;
        int ret;
        bool transient;
    } table[] = {
        { 0x000, 0, false },
        { 0x001, -ENOTSUP, false },     /* Invalid Command Opcode */
        { 0x002, -EINVAL, false },      /* Invalid Field in Command */
        { 0x004, -EIO, true },          /* Data Transfer Error */
        { 0x006, -EIO, true },          /* Internal Error */
        { 0x007, -ETIMEDOUT, true },    /* Command Abort Requested */
        { 0x00b, -ENODEV, false },      /* Invalid Namespace or Format */
        { 0x013, -EINVAL, false },      /* PRP Offset Invalid */
        { 0x021, -EIO, true },          /* Command Interrupted */
        { 0x080, -EIO, false },         /* LBA Out of Range */
        { 0x081, -ENOSPC, false },      /* Capacity Exceeded */
        { 0x082, -EIO, true },          /* Namespace Not Ready */
        { 0x083, -EACCES, false },      /* Reservation Conflict */
        { 0x084, -EIO, true },          /* Format In Progress */
        { 0x182, -EROFS, false },       /* Attempted Write to Read Only Range */
        { 0x280, -EIO, false },         /* Write Fault */
        { 0x281, -EIO, false },         /* Unrecovered Read Error */
        { 0x286, -EACCES, false },      /* Access Denied */
        { 0x7ff, -EIO, false },
    };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(table); i++) {
        uint16_t status = table[i].status;

        g_test_message("status %#x", status);
        /* with the retry delay, and More */
        g_assert_cmpint(nvme_status_to_errno(status), ==, table[i].ret);
        g_assert_cmpint(nvme_status_to_errno(status | 0x3800), ==, table[i].ret);
        g_assert(nvme_status_is_transient(status) == table[i].transient);
        g_assert(nvme_status_is_transient(status | 0x3800) == table[i].transient);
        /* Do Not Retry */
        g_assert_cmpint(nvme_status_to_errno(status | 0x4000), ==, table[i].ret);
        g_assert(!nvme_status_is_transient(status | 0x4000));
    }
}

int main(int argc, char **argv)
{
    int ret;

    bdrv_init();
    memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g_assert(memory != MAP_FAILED);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/nvme-data/commands_describe_their_data",
                    test_commands_describe_their_data);
    g_test_add_func("/nvme-data/ranges_describe_their_data",
                    test_ranges_describe_their_data);
    g_test_add_func("/nvme-memory/is_placed_in_the_ranges",
                    test_memory_is_placed_in_the_ranges);
    g_test_add_func("/nvme-memory/refused_takes_no_addresses",
                    test_refused_memory_takes_no_addresses);
    g_test_add_func("/nvme-memory/own_cannot_be_taken_away",
                    test_own_memory_cannot_be_taken_away);
    g_test_add_func("/nvme-memory/transient_is_no_region",
                    test_transient_memory_is_no_region);
    g_test_add_func("/nvme-memory/regions_are_found_while_they_are_there",
                    test_regions_are_found_while_they_are_there);
    g_test_add_func("/nvme-status/has_its_errno", test_status_has_its_errno);
    ret = g_test_run();
    munmap(memory, MEMORY);
    return ret;
}
