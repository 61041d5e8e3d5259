/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nvmeping's measurement: random reads or writes of 4 KiB with a fixed number of
 * them outstanding, one thread, no interrupts.
 */
#include "ping.h"

#define BYTES 4096u
#define PATIENCE_NS (300ull * 1000 * 1000 * 1000)

static void fill(Ping *p, const uint8_t *buffers, uint16_t cid, bool write)
{
    NvmeCmd *slot = ping_next(p);
    unsigned blocks = BYTES >> p->shift;
    uint64_t lba = random_next() % (p->blocks / blocks) * blocks;

    *slot = (NvmeCmd) {
        .opcode = write ? NVME_CMD_WRITE : NVME_CMD_READ,
        .cid = cid,
        .nsid = 1,
        .dptr.prp1 = ping_iova(p, buffers + cid * BYTES),
        .cdw10 = lba,
        .cdw11 = lba >> 32,
        .cdw12 = blocks - 1,
    };
}

/* All that is there; new ones in their place unless it is the end. */
static unsigned pass(Ping *p, const uint8_t *buffers, bool write, bool last)
{
    unsigned n = 0;
    NvmeCqe cqe;

    while (ping_reap(p, &cqe)) {
        if (cqe.status >> 1 || cqe.cid >= p->depth) {
            die("command %u: status 0x%x", cqe.cid, cqe.status >> 1);
        }
        if (!last) {
            fill(p, buffers, cqe.cid, write);
        }
        n++;
    }
    if (n) {
        ping_reaped(p);
        if (!last) {
            ping_submit(p);
        }
    }
    return n;
}

void load_run(Ping *p, bool write, double seconds)
{
    const uint8_t *buffers = ping_alloc(p, (size_t)p->depth * BYTES);
    uint64_t start = now_ns(), end = start + seconds * 1e9, now = start;
    uint64_t done = 0, before = 0, last = start;
    unsigned i, turn = 0, left;

    if (p->blocks << p->shift < BYTES) {
        die("namespace 1 is too small");
    }
    for (i = 0; i < p->depth; i++) {
        fill(p, buffers, i, write);
    }
    ping_submit(p);
    while (now < end) {
        done += pass(p, buffers, write, false);
        if (++turn % 1024 == 0) {
            now = now_ns();
            if (done != before) {
                before = done;
                last = now;
            } else if (now - last > PATIENCE_NS) {
                die("no command is answered");
            }
        }
    }
    /* by Little's law: depth = rate * latency */
    printf("{\"op\": \"%s\", \"depth\": %u, \"iops\": %.0f, \"mean_us\": %.3f}\n",
           write ? "write" : "read", p->depth, done * 1e9 / (now - start),
           done ? p->depth * (now - start) / 1e3 / done : 0.0);
    for (left = p->depth, last = now_ns(); left;) {
        left -= pass(p, buffers, write, true);
        if (left && now_ns() - last > PATIENCE_NS) {
            die("%u commands are not answered", left);
        }
    }
}
