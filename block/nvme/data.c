/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory of a command: physical region pages, or a scatter gather list where
 * pages cannot say it.
 *
 * NVM Express Base Specification 2.0, 4.1.1 (PRPs): but for the beginning of the
 * first and the end of the last, all pages are whole.  4.1.2 (SGLs): any pieces,
 * whose length and address are multiples of four where the controller says so.
 */

#include "qemu/osdep.h"
#include "controller.h"

/* PRPs are dword aligned; SGLs are kept so too. */
#define ALIGN_MASK 3

void nvme_data_list_pages(NvmeRequest *req, uint64_t iova, size_t bytes)
{
    uint64_t *list = req->list;
    uint64_t end = iova + bytes;
    uint64_t page = (iova | NVME_PAGE_MASK) + 1;
    unsigned n = 0;

    if (page + NVME_PAGE_SIZE >= end) {
        req->cmd.dptr.prp2 = cpu_to_le64(page);
        return;
    }
    for (; page < end; page += NVME_PAGE_SIZE) {
        list[n++] = cpu_to_le64(page);
    }
    req->cmd.dptr.prp2 = cpu_to_le64(req->list_iova);
}

static uint64_t find(NvmeQueue *q, const struct iovec *iov)
{
    return nvme_memory_find(&q->c->memory, &q->regions, iov->iov_base,
                            iov->iov_len);
}

/* Whether there is no gap within a page between the pieces. */
static bool fits_pages(const QEMUIOVector *qiov)
{
    int i;

    for (i = 0; i < qiov->niov; i++) {
        uintptr_t first = (uintptr_t)qiov->iov[i].iov_base;

        if (!qiov->iov[i].iov_len || (i && (first & NVME_PAGE_MASK)) ||
            (i < qiov->niov - 1 &&
             ((first + qiov->iov[i].iov_len) & NVME_PAGE_MASK))) {
            return false;
        }
    }
    return !((uintptr_t)qiov->iov[0].iov_base & ALIGN_MASK);
}

/* The pages of all pieces in order: the first in the command, the rest listed. */
static bool prepare_pages(NvmeQueue *q, NvmeRequest *req,
                          const QEMUIOVector *qiov)
{
    uint64_t *list = req->list;
    unsigned n = 0;
    uint64_t iova;
    int i;

    for (i = 0; i < qiov->niov; i++) {
        uint64_t end;

        iova = find(q, &qiov->iov[i]);
        if (iova == NVME_UNMAPPED) {
            return false;
        }
        end = iova + qiov->iov[i].iov_len;
        if (i == 0) {
            req->cmd.dptr.prp1 = cpu_to_le64(iova);
            iova = (iova | NVME_PAGE_MASK) + 1;
        }
        for (; iova < end; iova += NVME_PAGE_SIZE) {
            list[n++] = cpu_to_le64(iova);
        }
    }
    req->cmd.flags = NVME_PSDT_PRP << 6;
    req->cmd.dptr.prp2 = n == 0 ? 0 : n == 1 ? list[0]
                                             : cpu_to_le64(req->list_iova);
    return true;
}

static NvmeSglDescriptor sgl(uint64_t addr, uint32_t len, uint8_t type)
{
    return (NvmeSglDescriptor) {
        .addr = cpu_to_le64(addr),
        .len = cpu_to_le32(len),
        .type = type << 4,
    };
}

static bool prepare_sgl(NvmeQueue *q, NvmeRequest *req, const QEMUIOVector *qiov)
{
    NvmeSglDescriptor *list = req->list;
    uint64_t iova;
    int i;

    if (qiov->niov > NVME_MAX_SGL) {
        return false;
    }
    for (i = 0; i < qiov->niov; i++) {
        const struct iovec *iov = &qiov->iov[i];

        iova = find(q, iov);
        if (iova == NVME_UNMAPPED ||
            (((uintptr_t)iov->iov_base | iov->iov_len) & ALIGN_MASK)) {
            return false;
        }
        list[i] = sgl(iova, iov->iov_len, NVME_SGL_DESCR_TYPE_DATA_BLOCK);
    }
    req->cmd.flags = NVME_PSDT_SGL_MPTR_CONTIGUOUS << 6;
    req->cmd.dptr.sgl = sgl(req->list_iova, qiov->niov * sizeof(*list),
                            NVME_SGL_DESCR_TYPE_LAST_SEGMENT);
    return true;
}

bool nvme_data_prepare_vector(NvmeQueue *q, NvmeRequest *req,
                              const QEMUIOVector *qiov)
{
    if (fits_pages(qiov)) {
        return prepare_pages(q, req, qiov);
    }
    return q->c->has_sgl && prepare_sgl(q, req, qiov);
}
