/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nvmeping's controller: from power on to one pair of I/O queues.
 */
#include "ping.h"
#include <sys/mman.h>
#include "qemu/memfd.h"

#define ADMIN_ENTRIES 16
#define PATIENCE_NS (300ull * 1000 * 1000 * 1000)

void *ping_alloc(Ping *p, size_t bytes)
{
    void *host = p->memory + p->used;

    p->used += ROUND_UP(bytes, PAGE);
    if (p->used > p->size) {
        die("out of memory for the controller");
    }
    return host;
}

void ping_doorbell(Ping *p, unsigned index, uint32_t value)
{
    if (p->wire.doorbells) {
        qatomic_store_release((uint32_t *)&p->wire.doorbells[index], value);
    } else {
        wire_write(&p->wire, 0x1000 + 4 * index, 4, value);
    }
}

/* The command alone is outstanding; a failure ends the program. */
NvmeCqe ping_admin(Ping *p, NvmeCmd cmd)
{
    NvmeCqe *slot = &p->admin_cq[p->admin_head], cqe;
    uint64_t since = now_ns();

    cmd.cid = p->admin_tail;
    p->admin_sq[p->admin_tail] = cmd;
    p->admin_tail = (p->admin_tail + 1) % ADMIN_ENTRIES;
    ping_doorbell(p, 0, p->admin_tail);
    while ((qatomic_load_acquire(&slot->status) & 1) != p->admin_phase) {
        if (now_ns() - since > PATIENCE_NS) {
            die("admin command 0x%02x is not answered", cmd.opcode);
        }
    }
    cqe = *slot;
    if (++p->admin_head == ADMIN_ENTRIES) {
        p->admin_head = 0;
        p->admin_phase = !p->admin_phase;
    }
    ping_doorbell(p, 1, p->admin_head);
    if (cqe.status >> 1) {
        die("admin command 0x%02x: status 0x%x", cmd.opcode, cqe.status >> 1);
    }
    return cqe;
}

static void identify(Ping *p)
{
    void *page = ping_alloc(p, PAGE);
    NvmeIdCtrl *controller = page;
    NvmeIdNs *ns = page;
    NvmeCmd cmd = {
        .opcode = NVME_ADM_CMD_IDENTIFY, .dptr.prp1 = ping_iova(p, page),
        .cdw10 = NVME_ID_CNS_CTRL,
    };

    ping_admin(p, cmd);
    p->mdts_bytes = controller->mdts ? PAGE << controller->mdts : 1u << 20;
    cmd.cdw10 = NVME_ID_CNS_NS;
    cmd.nsid = 1;
    ping_admin(p, cmd);
    p->shift = ns->lbaf[ns->flbas & 0xf].ds;
    p->blocks = ns->nsze;
    if (!p->blocks) {
        die("there is no namespace 1");
    }
}

static void enable(Ping *p)
{
    uint32_t cc = 6 << CC_IOSQES_SHIFT | 4 << CC_IOCQES_SHIFT | 1;
    uint64_t since = now_ns();

    p->admin_sq = ping_alloc(p, ADMIN_ENTRIES * sizeof(NvmeCmd));
    p->admin_cq = ping_alloc(p, ADMIN_ENTRIES * sizeof(NvmeCqe));
    p->admin_phase = true;
    wire_write(&p->wire, NVME_REG_CC, 4, 0);
    wire_write(&p->wire, NVME_REG_AQA, 4,
               (ADMIN_ENTRIES - 1) << AQA_ACQS_SHIFT | (ADMIN_ENTRIES - 1));
    wire_write(&p->wire, NVME_REG_ASQ, 8, ping_iova(p, p->admin_sq));
    wire_write(&p->wire, NVME_REG_ACQ, 8, ping_iova(p, p->admin_cq));
    wire_write(&p->wire, NVME_REG_CC, 4, cc);
    while (!NVME_CSTS_RDY(wire_read(&p->wire, NVME_REG_CSTS, 4))) {
        if (now_ns() - since > PATIENCE_NS) {
            die("the controller does not become ready");
        }
    }
}

static void create_queues(Ping *p)
{
    uint32_t size = (p->entries - 1) << 16 | 1;

    p->sq = ping_alloc(p, p->entries * sizeof(NvmeCmd));
    p->cq = ping_alloc(p, p->entries * sizeof(NvmeCqe));
    p->phase = true;
    ping_admin(p, (NvmeCmd) { .opcode = NVME_ADM_CMD_SET_FEATURES,
                              .cdw10 = NVME_NUMBER_OF_QUEUES });
    ping_admin(p, (NvmeCmd) { .opcode = NVME_ADM_CMD_CREATE_CQ, .cdw10 = size,
                              .cdw11 = NVME_CQ_PC,
                              .dptr.prp1 = ping_iova(p, p->cq) });
    ping_admin(p, (NvmeCmd) { .opcode = NVME_ADM_CMD_CREATE_SQ, .cdw10 = size,
                              .cdw11 = 1 << 16 | NVME_SQ_PC,
                              .dptr.prp1 = ping_iova(p, p->sq) });
}

/* @memory: bytes for the caller's ping_alloc(). */
void ping_open(Ping *p, const char *path, unsigned depth, size_t memory)
{
    uint64_t cap;
    int fd;

    p->depth = depth;
    p->size = ROUND_UP(memory, PAGE) + (1 << 20);
    fd = memfd_create("nvmeping", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, p->size) < 0) {
        die("memfd: %s", strerror(errno));
    }
    p->memory = mmap(NULL, p->size, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_POPULATE, fd, 0);
    if (p->memory == MAP_FAILED) {
        die("cannot map memory: %s", strerror(errno));
    }
    wire_open(&p->wire, path);
    wire_map(&p->wire, fd, IOVA, p->size);
    close(fd);
    cap = wire_read(&p->wire, NVME_REG_CAP, 8);
    p->entries = NVME_CAP_MQES(cap) + 1;
    if (NVME_CAP_DSTRD(cap) || depth >= p->entries) {
        die("--depth: the controller's queues take %u", p->entries - 1);
    }
    p->entries = MIN(p->entries, MAX_DEPTH + 1);
    enable(p);
    identify(p);
    create_queues(p);
}

/* As a driver should: delete what was created, then shut down. */
void ping_close(Ping *p)
{
    uint64_t since = now_ns();

    ping_admin(p, (NvmeCmd) { .opcode = NVME_ADM_CMD_DELETE_SQ, .cdw10 = 1 });
    ping_admin(p, (NvmeCmd) { .opcode = NVME_ADM_CMD_DELETE_CQ, .cdw10 = 1 });
    wire_write(&p->wire, NVME_REG_CC, 4,
               wire_read(&p->wire, NVME_REG_CC, 4) | 1 << CC_SHN_SHIFT);
    while (NVME_CSTS_SHST(wire_read(&p->wire, NVME_REG_CSTS, 4)) != 2) {
        if (now_ns() - since > PATIENCE_NS) {
            die("the controller does not shut down");
        }
    }
    close(p->wire.fd);
}

NvmeCmd *ping_next(Ping *p)
{
    NvmeCmd *slot = &p->sq[p->tail];

    p->tail = p->tail + 1 == p->entries ? 0 : p->tail + 1;
    return slot;
}

void ping_submit(Ping *p)
{
    ping_doorbell(p, 2, p->tail);
}

bool ping_reap(Ping *p, NvmeCqe *cqe)
{
    NvmeCqe *slot = &p->cq[p->head];

    if ((qatomic_load_acquire(&slot->status) & 1) != p->phase) {
        return false;
    }
    *cqe = *slot;
    if (++p->head == p->entries) {
        p->head = 0;
        p->phase = !p->phase;
    }
    return true;
}

void ping_reaped(Ping *p)
{
    ping_doorbell(p, 3, p->head);
}
