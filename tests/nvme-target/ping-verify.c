/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nvmeping's verification: what is written is read, whatever the shape of the
 * memory it lies in, and nothing beside it is touched.
 *
 * Each slot has blocks of its own, a model of what is in them, and pages in which
 * the data lies in random order at a random offset.  In each round every slot has
 * one command in flight.
 */
#include "ping.h"

#define PATIENCE_NS (300ull * 1000 * 1000 * 1000)
#define GUARD 0xa5
#define LIST_PAGES 4

typedef struct Slot {
    uint8_t *pages, *lists, *model;
    unsigned n_pages;
    uint16_t *order;            /* of the pages */
    uint64_t first;             /* block */
    unsigned blocks;
    /* the command */
    unsigned opcode, offset, bytes;
    uint64_t block;
} Slot;

static uint8_t *byte_at(const Slot *s, unsigned at)
{
    return s->pages + s->order[at / PAGE] * PAGE + at % PAGE;
}

static void shuffle(Slot *s)
{
    unsigned i;

    for (i = 0; i < s->n_pages; i++) {
        unsigned j = random_next() % (i + 1);

        s->order[i] = s->order[j];
        s->order[j] = i;
    }
}

/* PRP entries of pages 1 and on, the lists chained where a page ends. */
static uint64_t build_list(Ping *p, Slot *s, unsigned n)
{
    unsigned at = (random_next() % 510) * 8, i, list = 0;
    uint64_t start = ping_iova(p, s->lists) + at;

    for (i = 0; i < n; i++) {
        if (at % PAGE == PAGE - 8 && i != n - 1) {
            list = at / PAGE + 1;
            *(uint64_t *)(s->lists + at) = ping_iova(p, s->lists + list * PAGE);
            at = list * PAGE;
        }
        *(uint64_t *)(s->lists + at) = ping_iova(p, byte_at(s, (i + 1) * PAGE));
        at += 8;
    }
    return start;
}

static void set_prps(Ping *p, Slot *s, NvmeCmd *cmd)
{
    unsigned n = DIV_ROUND_UP(s->offset + s->bytes, PAGE);

    cmd->dptr.prp1 = ping_iova(p, byte_at(s, s->offset));
    if (n == 2) {
        cmd->dptr.prp2 = ping_iova(p, byte_at(s, PAGE));
    } else if (n > 2) {
        cmd->dptr.prp2 = build_list(p, s, n - 1);
    }
}

/* Pieces that end with pages, half of them in a segment and half in the last. */
static void set_sgl(Ping *p, Slot *s, NvmeCmd *cmd)
{
    NvmeSglDescriptor *d = (NvmeSglDescriptor *)s->lists;
    unsigned at = s->offset, end = s->offset + s->bytes, i = 0, half;
    unsigned n = DIV_ROUND_UP(end, PAGE);

    cmd->flags = NVME_PSDT_SGL_MPTR_CONTIGUOUS << 6;
    if (n == 1) {
        cmd->dptr.sgl = (NvmeSglDescriptor) {
            .addr = ping_iova(p, byte_at(s, at)), .len = s->bytes,
        };
        return;
    }
    half = random_next() % n;
    while (at < end) {
        unsigned bytes = MIN(end - at, PAGE - at % PAGE);

        if (i == half && half) {
            d[i] = (NvmeSglDescriptor) {
                .addr = ping_iova(p, &d[i + 1]), .len = (n - half) * sizeof(*d),
                .type = NVME_SGL_DESCR_TYPE_LAST_SEGMENT << 4,
            };
            i++;
        }
        d[i++] = (NvmeSglDescriptor) {
            .addr = ping_iova(p, byte_at(s, at)), .len = bytes,
        };
        at += bytes;
    }
    cmd->dptr.sgl = (NvmeSglDescriptor) {
        .addr = ping_iova(p, d), .len = (half ? half + 1 : n) * sizeof(*d),
        .type = (half ? NVME_SGL_DESCR_TYPE_SEGMENT
                      : NVME_SGL_DESCR_TYPE_LAST_SEGMENT) << 4,
    };
}

static void choose(Ping *p, Slot *s, bool first)
{
    unsigned most = MIN(p->mdts_bytes >> p->shift, s->blocks);
    unsigned blocks = 1 + random_next() % most;
    unsigned i;

    if (random_next() % 4 == 0) {
        blocks = 1;             /* the short ones are as interesting */
    }
    s->bytes = blocks << p->shift;
    s->block = random_next() % (s->blocks - blocks + 1);
    s->offset = random_next() % 2 ? 0 : random_next() % (PAGE / 4) * 4;
    i = random_next() % 8;
    if (first) {                /* of the slot: what its model says is there */
        i = 0;
        s->block = 0;
        s->bytes = s->blocks << p->shift;
    }
    s->opcode = i == 0 ? NVME_CMD_WRITE_ZEROES :
                i < 4 ? NVME_CMD_WRITE : NVME_CMD_READ;
    shuffle(s);
    memset(s->pages, GUARD, s->n_pages * PAGE);
    for (i = 0; s->opcode == NVME_CMD_WRITE && i < s->bytes; i++) {
        *byte_at(s, s->offset + i) = random_next();
    }
}

static void submit(Ping *p, Slot *s, unsigned cid, bool sgl)
{
    uint64_t lba = s->first + s->block;
    NvmeCmd cmd = {
        .opcode = s->opcode, .cid = cid, .nsid = 1, .cdw10 = lba, .cdw11 = lba >> 32,
        .cdw12 = (s->bytes >> p->shift) - 1,
    };

    if (s->opcode != NVME_CMD_WRITE_ZEROES) {
        if (sgl && random_next() % 2) {
            set_sgl(p, s, &cmd);
        } else {
            set_prps(p, s, &cmd);
        }
    }
    *ping_next(p) = cmd;
}

static void check(Ping *p, Slot *s)
{
    uint8_t *model = s->model + (s->block << p->shift);
    unsigned i;

    if (s->opcode == NVME_CMD_WRITE_ZEROES) {
        memset(model, 0, s->bytes);
        return;
    }
    for (i = 0; i < s->n_pages * PAGE; i++) {
        bool inside = i >= s->offset && i - s->offset < s->bytes;
        uint8_t *byte = byte_at(s, i);

        if (inside && s->opcode == NVME_CMD_WRITE) {
            model[i - s->offset] = *byte;
        } else if (*byte != (inside ? model[i - s->offset] : GUARD)) {
            die("read of %u bytes at block %" PRIu64 ", offset %u: byte %u is "
                "0x%02x", s->bytes, s->first + s->block, s->offset, i, *byte);
        }
    }
}

static void round_trip(Ping *p, Slot *slots, bool first, bool sgl)
{
    uint64_t since = now_ns();
    unsigned left = p->depth, i;
    NvmeCqe cqe;

    for (i = 0; i < p->depth; i++) {
        choose(p, &slots[i], first);
        submit(p, &slots[i], i, sgl);
    }
    ping_submit(p);
    while (left) {
        if (!ping_reap(p, &cqe)) {
            if (now_ns() - since > PATIENCE_NS) {
                die("%u commands are not answered", left);
            }
            continue;
        }
        if (cqe.status >> 1 || cqe.cid >= p->depth) {
            die("command %u: status 0x%x", cqe.cid, cqe.status >> 1);
        }
        check(p, &slots[cqe.cid]);
        left--;
    }
    ping_reaped(p);
}

void verify_run(Ping *p, unsigned rounds, bool sgl)
{
    g_autofree Slot *slots = g_new0(Slot, p->depth);
    uint64_t each = MIN(p->blocks / p->depth, 4ull * p->mdts_bytes >> p->shift);
    unsigned i;

    if (!each) {
        die("--depth: namespace 1 has fewer blocks");
    }
    for (i = 0; i < p->depth; i++) {
        Slot *s = &slots[i];

        s->n_pages = p->mdts_bytes / PAGE + 1;
        s->pages = ping_alloc(p, s->n_pages * PAGE);
        s->lists = ping_alloc(p, LIST_PAGES * PAGE);
        s->order = g_new0(uint16_t, s->n_pages);
        s->first = i * each;
        s->blocks = each;
        s->model = g_malloc0(each << p->shift);
    }
    for (i = 0; i < rounds; i++) {
        round_trip(p, slots, i == 0, sgl);
    }
    printf("{\"verified\": %u}\n", rounds * p->depth);
    for (i = 0; i < p->depth; i++) {
        g_free(slots[i].order);
        g_free(slots[i].model);
    }
}
