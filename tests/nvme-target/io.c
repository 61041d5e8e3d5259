/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The I/O commands: NVM 3.2.
 */
#include "target.h"

static uint16_t __attribute__((cold))
refuse(Target *t, DriverError kind, const char *what, uint64_t value)
{
    driver_error(t, kind, "%s: %" PRIu64, what, value);
    return NVME_INVALID_FIELD | NVME_DNR;
}

static bool in_range(const Namespace *ns, uint64_t slba, uint64_t blocks)
{
    return blocks <= ns->blocks && slba <= ns->blocks - blocks;
}

/* Hot for a null namespace: range, size and address are checked, no data moves. */
static uint16_t rw(Target *t, Namespace *ns, const NvmeRwCmd *rw, bool write)
{
    uint64_t blocks = rw->nlb + 1ull;
    uint64_t bytes = blocks << ns->shift;
    uint16_t status;

    if (unlikely(write && rw->control & NVME_RW_FUA)) {
        t->fua++;
    }
    if (unlikely(bytes > (uint64_t)TARGET_PAGE << t->mdts)) {
        return refuse(t, ERROR_SIZE, "transfer beyond MDTS", bytes);
    }
    if (unlikely(NVME_RW_PRINFO(rw->control))) {
        return refuse(t, ERROR_FIELD, "PRINFO without protection information",
                      NVME_RW_PRINFO(rw->control));
    }
    if (unlikely(!in_range(ns, rw->slba, blocks))) {
        return NVME_LBA_RANGE | NVME_DNR;
    }
    status = data_map(t, (const NvmeCmd *)rw, bytes, !write);
    if (unlikely(status) || ns->kind == NAMESPACE_NULL) {
        return status;
    }
    status = namespace_rw(t, ns, rw->slba << ns->shift, write);
    if (!status && write && (rw->control & NVME_RW_FUA || !t->write_cache)) {
        status = namespace_flush(ns);
    }
    return status;
}

static uint16_t compare(Target *t, Namespace *ns, const NvmeRwCmd *rw)
{
    uint64_t blocks = rw->nlb + 1ull;
    uint64_t bytes = blocks << ns->shift;
    uint16_t status;

    if (bytes > (uint64_t)TARGET_PAGE << t->mdts) {
        return refuse(t, ERROR_SIZE, "transfer beyond MDTS", bytes);
    }
    if (!in_range(ns, rw->slba, blocks)) {
        return NVME_LBA_RANGE | NVME_DNR;
    }
    status = data_map(t, (const NvmeCmd *)rw, bytes, false);
    return status ? status : namespace_compare(t, ns, rw->slba << ns->shift);
}

static uint16_t write_zeroes(Target *t, Namespace *ns, const NvmeRwCmd *rw)
{
    uint64_t blocks = rw->nlb + 1ull;

    t->fua += !!(rw->control & NVME_RW_FUA);
    if (t->wzsl && blocks << ns->shift > (uint64_t)TARGET_PAGE << t->wzsl) {
        return refuse(t, ERROR_SIZE, "write zeroes beyond WZSL", blocks);
    }
    if (!in_range(ns, rw->slba, blocks)) {
        return NVME_LBA_RANGE | NVME_DNR;
    }
    return namespace_zero(ns, rw->slba << ns->shift, blocks << ns->shift,
                          rw->control & NVME_RW_PIREMAP);      /* bit 25: DEAC */
}

static uint16_t dataset_management(Target *t, Namespace *ns, const NvmeCmd *cmd)
{
    NvmeDsmRange ranges[256];
    unsigned n = (cmd->cdw10 & 0xff) + 1, i;
    uint16_t status = data_map(t, cmd, n * sizeof(ranges[0]), false);

    if (status) {
        return status;
    }
    data_from_client(t, ranges, n * sizeof(ranges[0]));
    for (i = 0; i < n; i++) {
        if (t->dmrsl && ranges[i].nlb > t->dmrsl) {
            driver_error(t, ERROR_SIZE, "range beyond DMRSL: %u", ranges[i].nlb);
            return NVME_CMD_SIZE_LIMIT | NVME_DNR;
        }
        if (!in_range(ns, ranges[i].slba, ranges[i].nlb)) {
            return NVME_LBA_RANGE | NVME_DNR;
        }
    }
    for (i = 0; i < n && !status && cmd->cdw11 & NVME_DSMGMT_AD; i++) {
        if (ranges[i].nlb) {
            status = namespace_zero(ns, ranges[i].slba << ns->shift,
                                    (uint64_t)ranges[i].nlb << ns->shift, true);
        }
    }
    return status;
}

static uint16_t flush_all(Target *t)
{
    uint16_t status = NVME_SUCCESS;
    unsigned i;

    for (i = 0; i < t->n_ns && !status; i++) {
        if (t->ns[i].present) {
            status = namespace_flush(&t->ns[i]);
        }
    }
    return status;
}

uint16_t io_execute(Target *t, const NvmeCmd *cmd)
{
    Namespace *ns = namespace_get(t, cmd->nsid);

    if (unlikely(NVME_CMD_FLAGS_FUSE(cmd->flags))) {
        return refuse(t, ERROR_FIELD, "fused command", cmd->flags);
    }
    if (unlikely(!ns)) {
        if (cmd->opcode == NVME_CMD_FLUSH && cmd->nsid == NVME_NSID_BROADCAST) {
            return flush_all(t);
        }
        return NVME_INVALID_NSID | NVME_DNR;
    }
    switch (cmd->opcode) {
    case NVME_CMD_READ:
        return rw(t, ns, (const NvmeRwCmd *)cmd, false);
    case NVME_CMD_WRITE:
        return rw(t, ns, (const NvmeRwCmd *)cmd, true);
    case NVME_CMD_FLUSH:
        return namespace_flush(ns);
    case NVME_CMD_WRITE_ZEROES:
        return write_zeroes(t, ns, (const NvmeRwCmd *)cmd);
    case NVME_CMD_DSM:
        return dataset_management(t, ns, cmd);
    case NVME_CMD_COMPARE:
        return compare(t, ns, (const NvmeRwCmd *)cmd);
    default:
        return NVME_INVALID_OPCODE | NVME_DNR;
    }
}
