/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A controller's registers, and what it says of itself.
 * NVM Express Base Specification 2.0, 3.1 (registers), 3.5 (initialisation), 3.6
 * (shutdown), 5.17 (Identify).
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/timer.h"
#include "controller.h"
#include "queues.h"
#include "../trace.h"

#define GONE UINT32_MAX

/* Where the controller does not say how long it takes; and what is not believed. */
#define SHUTDOWN_MS 5000
#define SHUTDOWN_MAX_MS 60000

#define VERSION_2_0 0x00020000

static int read_reg(NvmeController *c, unsigned offset, unsigned size,
                    uint64_t *value)
{
    return c->transport->ops->read(c->transport, offset, size, value);
}

uint32_t nvme_controller_status(NvmeController *c)
{
    uint64_t csts;

    return read_reg(c, NVME_REG_CSTS, 4, &csts) < 0 ? GONE : csts;
}

static int write_cc(NvmeController *c, uint32_t value)
{
    return c->transport->ops->write(c->transport, NVME_REG_CC, 4, value);
}

/* Until (CSTS & @mask) is @value; -ENODEV if it has gone, or has failed for good. */
static int wait_status(NvmeController *c, uint32_t mask, uint32_t value,
                       unsigned ms)
{
    int64_t end = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + ms;

    for (;;) {
        uint32_t csts = nvme_controller_status(c);

        if (csts == GONE) {
            return -ENODEV;
        }
        if ((csts & mask) == value) {
            return 0;
        }
        if (value && NVME_CSTS_CFS(csts)) {
            return -EIO;
        }
        if (qemu_clock_get_ms(QEMU_CLOCK_REALTIME) > end) {
            return -ETIMEDOUT;
        }
        g_usleep(100);
    }
}

/* Of a submission and a completion queue each, with the admin queue's. */
static uint64_t doorbell_pairs(const NvmeController *c)
{
    return (c->transport->registers_size - NVME_DOORBELLS) /
           (2 * (uint64_t)c->doorbell_stride);
}

int nvme_controller_probe(NvmeController *c, Error **errp)
{
    int ret = read_reg(c, NVME_REG_CAP, 8, &c->cap);

    if (ret < 0 || c->cap == UINT64_MAX) {
        error_setg(errp, "the NVMe controller does not answer");
        return ret ?: -ENODEV;
    }
    trace_nvme_controller_cap(c, c->cap);
    if (!(NVME_CAP_CSS(c->cap) & NVME_CAP_CSS_NCSS)) {
        error_setg(errp, "the NVMe controller does not have the NVM command set");
        return -ENOTSUP;
    }
    if (NVME_CAP_MPSMIN(c->cap)) {
        error_setg(errp, "the NVMe controller takes no memory pages of %d bytes",
                   NVME_PAGE_SIZE);
        return -ENOTSUP;
    }
    if (!NVME_CAP_MQES(c->cap)) {
        error_setg(errp, "the NVMe controller's queues have no room");
        return -ENOTSUP;
    }
    c->doorbell_stride = 4 << NVME_CAP_DSTRD(c->cap);
    if (doorbell_pairs(c) < 2) {
        error_setg(errp, "the NVMe controller's doorbells, %u bytes apart, are not in "
                   "its BAR0", c->doorbell_stride);
        return -ENOTSUP;
    }
    /* CAP.TO is in units of 500 ms; 0 is not meant */
    c->ready_timeout_ms = 500 * MAX(NVME_CAP_TO(c->cap), 1);
    c->entries = MIN(c->options.depth + 1, NVME_CAP_MQES(c->cap) + 1);
    return 0;
}

int nvme_controller_disable(NvmeController *c, Error **errp)
{
    int ret = write_cc(c, 0) ?: wait_status(c, NVME_CSTS_READY, 0,
                                            c->ready_timeout_ms);

    if (ret < 0) {
        /* harder */
        ret = c->transport->ops->reset(c->transport) ?:
              wait_status(c, NVME_CSTS_READY, 0, c->ready_timeout_ms);
    }
    if (ret < 0) {
        error_setg_errno(errp, -ret, "the NVMe controller cannot be reset");
    }
    return ret;
}

/* Number of Queues, in dword 0: those granted of each kind, less one. */
static int set_queues(NvmeController *c, Error **errp)
{
    unsigned want = MIN(c->max_polled + c->max_irqs, UINT16_MAX) - 1;
    NvmeCmd cmd = {
        .opcode = NVME_ADM_CMD_SET_FEATURES,
        .cdw10 = cpu_to_le32(NVME_NUMBER_OF_QUEUES),
        .cdw11 = cpu_to_le32(want << 16 | want),
    };
    uint32_t granted;
    unsigned n;

    if (nvme_admin(c, &cmd, &granted, NULL, 0) != 0) {
        error_setg(errp, "the NVMe controller grants no queues");
        return -EIO;
    }
    n = MIN(granted & 0xffff, granted >> 16) + 1;
    n = MIN(n, doorbell_pairs(c) - 1);
    /* fewer than asked for: one kind is not to have all of them */
    if (c->max_polled + c->max_irqs > n) {
        unsigned polled = MIN(c->max_polled, MAX(n / 2, n - MIN(n, c->max_irqs)));

        c->max_polled = polled;
        c->max_irqs = MIN(c->max_irqs, n - polled);
    }
    return 0;
}

static void set_events(NvmeController *c)
{
    /* SMART warnings, and namespaces that change */
    NvmeCmd cmd = {
        .opcode = NVME_ADM_CMD_SET_FEATURES,
        .cdw10 = cpu_to_le32(NVME_ASYNCHRONOUS_EVENT_CONF),
        .cdw11 = cpu_to_le32(0x7 | (c->oaes & NVME_OAES_NS_ATTR)),
    };

    nvme_admin(c, &cmd, NULL, NULL, 0);
    nvme_admin_request_event(c);
}

static void set_shadow(NvmeController *c)
{
    NvmeCmd cmd = {
        .opcode = NVME_ADM_CMD_DBBUF_CONFIG,
        .dptr.prp1 = cpu_to_le64(c->shadow_iova),
        .dptr.prp2 = cpu_to_le64(c->shadow_iova + NVME_PAGE_SIZE),
    };

    if (c->shadow) {
        memset(c->shadow, 0, 2 * NVME_PAGE_SIZE);
        if (nvme_admin(c, &cmd, NULL, NULL, 0) != 0) {
            /* event indexes that stay at 0 would keep the registers unwritten */
            nvme_controller_trouble(c, NVME_TROUBLE_DEAD,
                                    "Doorbell Buffer Config failed");
        }
    }
}

int nvme_controller_enable(NvmeController *c, Error **errp)
{
    int ret;

    nvme_admin_reset(c);
    ret = write_cc(c, ctz32(sizeof(NvmeCqe)) << CC_IOCQES_SHIFT |
                      ctz32(sizeof(NvmeCmd)) << CC_IOSQES_SHIFT |
                      1 << CC_EN_SHIFT) ?:
          wait_status(c, NVME_CSTS_READY, NVME_CSTS_READY, c->ready_timeout_ms);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "the NVMe controller does not become ready");
        return ret;
    }
    ret = set_queues(c, errp);
    if (ret < 0) {
        return ret;
    }
    if (c->block_bits) {
        /* else it is not known yet which there are */
        set_events(c);
    }
    set_shadow(c);
    return c->is_write_cache_off ? nvme_controller_disable_write_cache(c, errp)
                                 : 0;
}

static int identify(NvmeController *c, uint8_t cns, uint32_t nsid, void *data)
{
    NvmeCmd cmd = {
        .opcode = NVME_ADM_CMD_IDENTIFY,
        .nsid = cpu_to_le32(nsid),
        .cdw10 = cpu_to_le32(cns),
    };

    return nvme_admin(c, &cmd, NULL, data, NVME_IDENTIFY_DATA_SIZE);
}

/* Two pages: what the controller is told, and what it tells; if all queues fit. */
static void init_shadow(NvmeController *c, const NvmeIdCtrl *id)
{
    size_t queues = 1 + c->max_polled + c->max_irqs;

    if (le16_to_cpu(id->oacs) & NVME_OACS_DBCS &&
        2 * queues * c->doorbell_stride <= NVME_PAGE_SIZE) {
        c->shadow = nvme_memory_alloc(&c->memory, 2 * NVME_PAGE_SIZE,
                                      &c->shadow_iova, NULL);
        set_shadow(c);
    }
}

/*
 * Of commands that move no data: NVM Command Set 1.0, 4.1.5.4; 0 is none.  One of before
 * NVM Express 2.0 has none, and would note the question as an error.
 */
static void identify_limits(NvmeController *c, const NvmeIdCtrl *id)
{
    g_autofree NvmeIdCtrlNvm *nvm = g_new0(NvmeIdCtrlNvm, 1);

    c->max_zeroes = UINT64_MAX;
    c->max_discard = UINT32_MAX;
    if ((le32_to_cpu(id->ver) < VERSION_2_0 &&
         !(NVME_CAP_CSS(c->cap) & NVME_CAP_CSS_IOCSS)) ||
        identify(c, NVME_ID_CNS_CS_CTRL, 0, nvm) != 0) {
        return;
    }
    /* in pages, as a power of two: from 32 on, a command has no room for as many */
    if (nvm->wzsl && nvm->wzsl < 32) {
        c->max_zeroes = (uint64_t)NVME_PAGE_SIZE << nvm->wzsl;
    }
    if (nvm->dmrsl) {
        c->max_discard = le32_to_cpu(nvm->dmrsl);
    }
}

static int identify_controller(NvmeController *c, Error **errp)
{
    g_autofree NvmeIdCtrl *id = g_new0(NvmeIdCtrl, 1);

    if (identify(c, NVME_ID_CNS_CTRL, 0, id) != 0) {
        error_setg(errp, "the NVMe controller does not identify itself");
        return -EIO;
    }
    if (c->options.nsid == 0 || c->options.nsid > le32_to_cpu(id->nn)) {
        error_setg(errp, "Invalid namespace: namespace=%" PRIu32 ", but the "
                   "controller numbers them from 1 to %" PRIu32,
                   c->options.nsid, le32_to_cpu(id->nn));
        return -EINVAL;
    }
    c->nsid = c->options.nsid;
    c->max_transfer = NVME_MAX_TRANSFER;
    if (id->mdts && id->mdts < ctz32(NVME_MAX_TRANSFER / NVME_PAGE_SIZE)) {
        c->max_transfer = NVME_PAGE_SIZE << id->mdts;
    }
    c->has_write_cache = id->vwc & NVME_VWC_PRESENT;
    c->has_sgl = le32_to_cpu(id->sgls) & NVME_CTRL_SGLS_SUPPORT_MASK;
    c->oncs = le16_to_cpu(id->oncs);
    c->oaes = le32_to_cpu(id->oaes);
    /* RTD3E, in microseconds */
    c->shutdown_timeout_ms = MIN(MAX(le32_to_cpu(id->rtd3e) / 1000, SHUTDOWN_MS),
                                 SHUTDOWN_MAX_MS);
    identify_limits(c, id);
    init_shadow(c, id);
    return 0;
}

static int identify_namespace(NvmeController *c, Error **errp)
{
    g_autofree NvmeIdNs *id = g_new0(NvmeIdNs, 1);
    const NvmeLBAF *format;

    if (identify(c, NVME_ID_CNS_NS, c->nsid, id) != 0 || !id->nsze) {
        error_setg(errp, "Invalid namespace: the controller has no active "
                   "namespace=%" PRIu32, c->nsid);
        return -ENODEV;
    }
    format = &id->lbaf[NVME_ID_NS_FLBAS_INDEX(id->flbas)];
    if (format->ms) {
        error_setg(errp, "Namespaces with metadata are not yet supported");
        return -ENOTSUP;
    }
    if (format->ds < BDRV_SECTOR_BITS || format->ds > ctz32(NVME_PAGE_SIZE)) {
        error_setg(errp, "Namespace has unsupported block size (2^%d)",
                   format->ds);
        return -ENOTSUP;
    }
    if (le64_to_cpu(id->nsze) > INT64_MAX >> format->ds) {
        error_setg(errp, "the NVMe namespace has an impossible size");
        return -EINVAL;
    }
    c->block_bits = format->ds;
    c->n_blocks = le64_to_cpu(id->nsze);
    c->deallocated_reads_zero =
        NVME_ID_NS_DLFEAT_WRITE_ZEROES(id->dlfeat) &&
        NVME_ID_NS_DLFEAT_READ_BEHAVIOR(id->dlfeat) ==
            NVME_ID_NS_DLFEAT_READ_BEHAVIOR_ZEROES;
    return 0;
}

int nvme_controller_identify(NvmeController *c, Error **errp)
{
    int ret = identify_controller(c, errp) ?: identify_namespace(c, errp);

    if (ret == 0) {
        set_events(c);
    }
    return ret;
}

int nvme_controller_identify_size(NvmeController *c, uint64_t *n_blocks)
{
    g_autofree NvmeIdNs *id = g_new0(NvmeIdNs, 1);
    int ret = identify(c, NVME_ID_CNS_NS, c->nsid, id);
    const NvmeLBAF *format = &id->lbaf[NVME_ID_NS_FLBAS_INDEX(id->flbas)];

    if (ret < 0) {
        return ret;
    }
    *n_blocks = ret == 0 ? le64_to_cpu(id->nsze) : 0;
    if (*n_blocks && (format->ds != c->block_bits || format->ms)) {
        /* formatted anew: what was written by one size is not read by another */
        nvme_controller_trouble(c, NVME_TROUBLE_DEAD, "the namespace has been "
                                "formatted with another block size");
        return -EIO;
    }
    *n_blocks = MIN(*n_blocks, INT64_MAX >> c->block_bits);
    return 0;
}

int nvme_controller_disable_write_cache(NvmeController *c, Error **errp)
{
    NvmeCmd cmd = {
        .opcode = NVME_ADM_CMD_SET_FEATURES,
        .cdw10 = cpu_to_le32(NVME_VOLATILE_WRITE_CACHE),
    };

    c->is_write_cache_off = c->has_write_cache;
    if (c->has_write_cache && nvme_admin(c, &cmd, NULL, NULL, 0) != 0) {
        error_setg(errp, "Failed to configure NVMe write cache");
        error_append_hint(errp, "cache.direct=on switches the drive's volatile "
                          "write cache off; leave it out to keep the cache.\n");
        return -EIO;
    }
    return 0;
}

void nvme_controller_shutdown(NvmeController *c)
{
    uint64_t cc;

    if (read_reg(c, NVME_REG_CC, 4, &cc) < 0 || cc == GONE ||
        !(cc & 1 << CC_EN_SHIFT) || NVME_CSTS_CFS(nvme_controller_status(c))) {
        return;
    }
    /* CC.SHN: normal */
    if (write_cc(c, cc | 1 << CC_SHN_SHIFT) == 0 &&
        wait_status(c, CSTS_SHST_MASK << CSTS_SHST_SHIFT,
                    NVME_CSTS_SHST_COMPLETE, c->shutdown_timeout_ms) < 0) {
        warn_report("NVMe: the controller did not shut down in time");
    }
}
