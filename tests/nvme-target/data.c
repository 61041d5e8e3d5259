/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a command's data is: PRP entries and lists (Base 4.1.1), and scatter
 * gather lists (Base 4.1.2).  Fills t->iov.
 */
#include "target.h"

/* What one data block covers may lie in several mappings. */
static uint16_t __attribute__((cold))
add_pages(Target *t, uint64_t iova, uint64_t bytes, bool write)
{
    while (bytes) {
        uint64_t part = MIN(bytes, TARGET_PAGE - iova % TARGET_PAGE);
        uint16_t status = data_add(t, iova, part, write);

        if (status) {
            return status;
        }
        iova += part;
        bytes -= part;
    }
    return NVME_SUCCESS;
}

/* More of the data: @bytes at @iova, which the controller writes if @write. */
uint16_t data_add(Target *t, uint64_t iova, uint64_t bytes, bool write)
{
    struct iovec *last = &t->iov[t->n_iov - 1];
    uint8_t *host = memory_find(t, iova, bytes, write);

    if (unlikely(!host)) {
        if (iova % TARGET_PAGE + bytes > TARGET_PAGE) {
            return add_pages(t, iova, bytes, write);
        }
        driver_error(t, ERROR_ADDRESS, "%" PRIu64 " bytes of data at 0x%" PRIx64
                     " are not mapped for this", bytes, iova);
        return NVME_DATA_TRAS_ERROR | NVME_DNR;
    }
    if (t->n_iov && (uint8_t *)last->iov_base + last->iov_len == host) {
        last->iov_len += bytes;
        return NVME_SUCCESS;
    }
    if (t->n_iov == TARGET_MAX_IOV) {
        return NVME_INVALID_NUM_SGL_DESCRS | NVME_DNR;
    }
    t->iov[t->n_iov++] = (struct iovec) { host, bytes };
    return NVME_SUCCESS;
}

/* The entries from @list on for @bytes more; lists end with pages. */
static uint16_t map_prp_list(Target *t, uint64_t list, uint64_t bytes, bool write)
{
    uint64_t entries = DIV_ROUND_UP(bytes, TARGET_PAGE);

    while (entries) {
        uint64_t room = (TARGET_PAGE - list % TARGET_PAGE) / sizeof(uint64_t);
        uint64_t n = MIN(room, entries), i;
        const uint64_t *host;

        if (list % sizeof(uint64_t)) {
            driver_error(t, ERROR_PRP, "PRP list at 0x%" PRIx64
                         ", which is no multiple of 8", list);
            return NVME_INVALID_PRP_OFFSET | NVME_DNR;
        }
        host = memory_find(t, list, n * sizeof(uint64_t), false);
        if (!host) {
            driver_error(t, ERROR_ADDRESS, "PRP list at 0x%" PRIx64
                         " is not mapped", list);
            return NVME_DATA_TRAS_ERROR | NVME_DNR;
        }
        if (entries > n) {
            n--;                /* the last one is the address of the next list */
        }
        for (i = 0; i < n; i++) {
            uint64_t prp = qatomic_read(&host[i]);
            uint64_t part = MIN(bytes, TARGET_PAGE);
            uint16_t status;

            if (prp % TARGET_PAGE) {
                driver_error(t, ERROR_PRP, "entry 0x%" PRIx64
                             " of a PRP list has an offset", prp);
                return NVME_INVALID_PRP_OFFSET | NVME_DNR;
            }
            status = data_add(t, prp, part, write);
            if (status) {
                return status;
            }
            bytes -= part;
        }
        entries -= n;
        if (entries) {
            list = qatomic_read(&host[n]);
            if (list % TARGET_PAGE) {
                driver_error(t, ERROR_PRP, "next PRP list at 0x%" PRIx64
                             " has an offset", list);
                return NVME_INVALID_PRP_OFFSET | NVME_DNR;
            }
        }
    }
    return NVME_SUCCESS;
}

uint16_t data_map_prps(Target *t, const NvmeCmd *cmd, uint64_t bytes, bool write)
{
    uint64_t prp1 = cmd->dptr.prp1, prp2 = cmd->dptr.prp2;
    uint64_t first = MIN(bytes, TARGET_PAGE - prp1 % TARGET_PAGE);
    uint16_t status;

    t->n_iov = 0;
    if (unlikely(prp1 % 4)) {
        driver_error(t, ERROR_PRP, "PRP1 0x%" PRIx64 " is no multiple of 4", prp1);
        return NVME_INVALID_PRP_OFFSET | NVME_DNR;
    }
    status = data_add(t, prp1, first, write);
    bytes -= first;
    if (status || !bytes) {
        return status;
    }
    if (bytes > TARGET_PAGE) {
        return map_prp_list(t, prp2, bytes, write);
    }
    if (prp2 % TARGET_PAGE) {
        driver_error(t, ERROR_PRP, "PRP2 0x%" PRIx64 " has an offset", prp2);
        return NVME_INVALID_PRP_OFFSET | NVME_DNR;
    }
    return data_add(t, prp2, bytes, write);
}

static uint16_t sgl_error(Target *t, uint16_t status, const char *what, uint64_t value)
{
    driver_error(t, ERROR_SGL, "%s: 0x%" PRIx64, what, value);
    return status | NVME_DNR;
}

/* One data block; what remains of the transfer is counted down. */
static uint16_t map_data_block(Target *t, const NvmeSglDescriptor *d,
                               uint64_t *bytes, bool write)
{
    uint16_t status;

    if (d->addr % 4 || d->len % 4) {    /* SGLS: dwords */
        return sgl_error(t, NVME_INVALID_SGL_SEG_DESCR,
                         "data block that is not of whole dwords", d->addr);
    }
    if (d->len > *bytes) {
        return sgl_error(t, NVME_DATA_SGL_LEN_INVALID,
                         "longer than the transfer by", d->len - *bytes);
    }
    status = d->len ? data_add(t, d->addr, d->len, write) : NVME_SUCCESS;
    *bytes -= d->len;
    return status;
}

static bool is_segment(const NvmeSglDescriptor *d)
{
    return NVME_SGL_TYPE(d->type) == NVME_SGL_DESCR_TYPE_SEGMENT ||
           NVME_SGL_TYPE(d->type) == NVME_SGL_DESCR_TYPE_LAST_SEGMENT;
}

/*
 * The segment that @here describes; where that is not the last one, @here is then
 * the descriptor of the next.
 */
static uint16_t map_segment(Target *t, NvmeSglDescriptor *here, uint64_t *bytes,
                            bool write)
{
    bool last = NVME_SGL_TYPE(here->type) == NVME_SGL_DESCR_TYPE_LAST_SEGMENT;
    uint32_t n = here->len / sizeof(*here), i;
    const NvmeSglDescriptor *host;

    if (!n || here->len % sizeof(*here) || here->addr % 8) {
        return sgl_error(t, NVME_INVALID_SGL_SEG_DESCR,
                         "segment that is not of whole descriptors", here->len);
    }
    if (n > TARGET_MAX_IOV) {
        return sgl_error(t, NVME_INVALID_NUM_SGL_DESCRS, "descriptors", n);
    }
    host = memory_find(t, here->addr, here->len, false);
    if (!host) {
        driver_error(t, ERROR_ADDRESS, "SGL segment at 0x%" PRIx64
                     " is not mapped", here->addr);
        return NVME_DATA_TRAS_ERROR | NVME_DNR;
    }
    for (i = 0; i < n; i++) {
        NvmeSglDescriptor d = host[i];  /* the client can change it meanwhile */
        uint16_t status;

        if (is_segment(&d)) {
            if (last || i != n - 1) {
                return sgl_error(t, NVME_INVALID_SGL_SEG_DESCR,
                                 "segment descriptor before the end", i);
            }
            *here = d;
            return NVME_SUCCESS;
        }
        if (d.type) {
            return sgl_error(t, NVME_SGL_DESCR_TYPE_INVALID, "type", d.type);
        }
        status = map_data_block(t, &d, bytes, write);
        if (status) {
            return status;
        }
    }
    if (!last) {
        return sgl_error(t, NVME_INVALID_SGL_SEG_DESCR,
                         "segment that leads nowhere", here->addr);
    }
    here->type = 0;
    return NVME_SUCCESS;
}

uint16_t data_map_sgl(Target *t, const NvmeCmd *cmd, uint64_t bytes, bool write)
{
    NvmeSglDescriptor here = cmd->dptr.sgl;
    unsigned segments = 0;
    uint16_t status;

    t->n_iov = 0;
    if (!t->sgl) {
        return sgl_error(t, NVME_INVALID_FIELD, "SGL, which was not offered", 0);
    }
    if (here.type == NVME_SGL_DESCR_TYPE_DATA_BLOCK << 4) {
        status = map_data_block(t, &here, &bytes, write);
        if (status) {
            return status;
        }
    } else {
        do {
            if (here.type & 0xf || !is_segment(&here)) {
                return sgl_error(t, NVME_SGL_DESCR_TYPE_INVALID, "type", here.type);
            }
            if (++segments > TARGET_MAX_IOV) {
                return sgl_error(t, NVME_INVALID_NUM_SGL_DESCRS, "segments",
                                 segments);
            }
            status = map_segment(t, &here, &bytes, write);
            if (status) {
                return status;
            }
        } while (here.type);
    }
    if (bytes) {
        return sgl_error(t, NVME_DATA_SGL_LEN_INVALID,
                         "shorter than the transfer by", bytes);
    }
    return NVME_SUCCESS;
}

uint16_t data_map(Target *t, const NvmeCmd *cmd, uint64_t bytes, bool write)
{
    if (likely(NVME_CMD_FLAGS_PSDT(cmd->flags) == NVME_PSDT_PRP)) {
        return data_map_prps(t, cmd, bytes, write);
    }
    if (NVME_CMD_FLAGS_PSDT(cmd->flags) == 3) {
        return sgl_error(t, NVME_INVALID_FIELD, "reserved PSDT", 3);
    }
    return data_map_sgl(t, cmd, bytes, write);
}

void data_to_client(Target *t, const void *from, size_t bytes)
{
    const uint8_t *p = from;
    unsigned i;

    for (i = 0; i < t->n_iov && bytes; i++) {
        size_t part = MIN(bytes, t->iov[i].iov_len);

        memcpy(t->iov[i].iov_base, p, part);
        p += part;
        bytes -= part;
    }
}

void data_from_client(Target *t, void *to, size_t bytes)
{
    uint8_t *p = to;
    unsigned i;

    for (i = 0; i < t->n_iov && bytes; i++) {
        size_t part = MIN(bytes, t->iov[i].iov_len);

        memcpy(p, t->iov[i].iov_base, part);
        p += part;
        bytes -= part;
    }
}
