/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The block driver "nvme": options, opening and closing, limits, statistics.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "block/block-io.h"
#include "block/block_int.h"
#include "block/fast-path.h"
#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/option.h"
#include "queues.h"

#define DEFAULT_DEPTH 1024
#define DEFAULT_TIMEOUT 30

/* The largest polled queues make sense for: one a thread. */
#define MAX_POLL_QUEUES 1024

#define OPT_DEVICE "device"
#define OPT_PATH "path"
#define OPT_NAMESPACE "namespace"
#define OPT_POLL_QUEUES "poll-queues"
#define OPT_IRQ_QUEUES "irq-queues"
#define OPT_DEPTH "queue-depth"
#define OPT_TIMEOUT "command-timeout"

static QemuOptsList runtime_opts = {
    .name = "nvme",
    .head = QTAILQ_HEAD_INITIALIZER(runtime_opts.head),
    .desc = {
        {
            .name = OPT_DEVICE,
            .type = QEMU_OPT_STRING,
            .help = "address of the controller's PCI function",
        }, {
            .name = OPT_PATH,
            .type = QEMU_OPT_STRING,
            .help = "UNIX socket of a vfio-user server that has the controller",
        }, {
            .name = OPT_NAMESPACE,
            .type = QEMU_OPT_NUMBER,
            .help = "NVMe namespace, from 1",
        }, {
            .name = OPT_POLL_QUEUES,
            .type = QEMU_OPT_NUMBER,
            .help = "queues without interrupts",
        }, {
            .name = OPT_IRQ_QUEUES,
            .type = QEMU_OPT_NUMBER,
            .help = "queues with interrupts",
        }, {
            .name = OPT_DEPTH,
            .type = QEMU_OPT_NUMBER,
            .help = "commands in flight in each queue",
        }, {
            .name = OPT_TIMEOUT,
            .type = QEMU_OPT_NUMBER,
            .help = "seconds until a command is aborted; 0: never",
        },
        { /* end of list */ }
    },
};

/* A number of the options, between @least and @most. */
static bool get_number(QemuOpts *opts, const char *name, uint64_t value,
                       uint64_t least, uint64_t most, uint64_t *result,
                       Error **errp)
{
    *result = qemu_opt_get_number(opts, name, value);
    if (*result < least || (*result > most && *result != value)) {
        error_setg(errp, "%s=%" PRIu64 " is not a number from %" PRIu64 " to %"
                   PRIu64, name, *result, least, most);
        return false;
    }
    return true;
}

static bool parse(NvmeOptions *o, QemuOpts *opts, Error **errp)
{
    uint64_t nsid, poll, irq, depth, timeout;

    o->device = g_strdup(qemu_opt_get(opts, OPT_DEVICE));
    o->path = g_strdup(qemu_opt_get(opts, OPT_PATH));
    if (!o->device == !o->path) {
        if (o->device) {
            error_setg(errp, "'device' and 'path' exclude each other");
        } else {
            error_setg(errp, "'" OPT_DEVICE "' option is required");
            error_append_hint(errp, "Or 'path', for a vfio-user server.\n");
        }
        return false;
    }
    if (!get_number(opts, OPT_NAMESPACE, 1, 1, UINT32_MAX - 1, &nsid, errp) ||
        !get_number(opts, OPT_POLL_QUEUES, 0, 0, MAX_POLL_QUEUES, &poll, errp) ||
        !get_number(opts, OPT_IRQ_QUEUES, UINT_MAX, 0, UINT16_MAX, &irq, errp) ||
        !get_number(opts, OPT_DEPTH, DEFAULT_DEPTH, 1, UINT16_MAX - 1, &depth,
                    errp) ||
        !get_number(opts, OPT_TIMEOUT, DEFAULT_TIMEOUT, 0, 24 * 3600, &timeout,
                    errp)) {
        return false;
    }
    o->nsid = nsid;
    o->n_poll = poll;
    o->n_irq = irq;
    o->depth = depth;
    o->timeout = timeout;
    return true;
}

/* nvme://DEVICE or nvme://DEVICE/NAMESPACE */
static void nvme_parse_filename(const char *filename, QDict *options,
                                Error **errp)
{
    g_auto(GStrv) part = NULL;
    const char *rest;
    uint64_t nsid = 1;

    if (!strstart(filename, "nvme://", &rest) || !*rest) {
        return;
    }
    part = g_strsplit(rest, "/", 2);
    qdict_put_str(options, OPT_DEVICE, part[0]);
    if (!part[1]) {
        return;
    }
    if (*part[1] && qemu_strtou64(part[1], NULL, 10, &nsid) < 0) {
        error_setg(errp, "Invalid namespace '%s', positive number expected",
                   part[1]);
        return;
    }
    qdict_put_str(options, OPT_NAMESPACE, *part[1] ? part[1] : "1");
}

static void lost_bh(void *opaque)
{
    nvme_controller_trouble(opaque, NVME_TROUBLE_DEAD, "the device is gone");
}

static bool open_transport(NvmeController *c, Error **errp)
{
    const NvmeOptions *o = &c->options;

    c->transport = o->device
                 ? nvme_vfio_pci_open(o->device, lost_bh, c, errp)
                 : nvme_vfio_user_open(o->path, lost_bh, c, errp);
    return c->transport;
}

static int bring_up(NvmeController *c, Error **errp)
{
    return nvme_controller_probe(c, errp) ?:
           nvme_controller_disable(c, errp) ?:
           nvme_admin_init(c, errp) ?:
           nvme_queues_init(c, errp) ?:
           nvme_controller_enable(c, errp) ?:
           nvme_controller_identify(c, errp) ?:
           nvme_queues_start(c, errp);
}

/* In the order that the parts need each other; backwards in tear_down(). */
static int set_up(NvmeController *c, Error **errp)
{
    int ret;

    nvme_recover_init(c);
    nvme_watch_init(c);
    ret = nvme_events_init(c);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "no event notifier for the NVMe controller");
        return ret;
    }
    if (!open_transport(c, errp)) {
        return -EINVAL;
    }
    nvme_memory_init(&c->memory, c->transport);
    nvme_bounce_init(c);
    return bring_up(c, errp);
}

static void tear_down(NvmeController *c)
{
    nvme_watch_destroy(c);
    if (c->transport && c->state != NVME_DEAD) {
        if (c->n_blocks) {
            nvme_controller_shutdown(c);
        }
        nvme_controller_disable(c, NULL);
    }
    nvme_queues_destroy(c);
    if (c->transport) {
        nvme_memory_free(&c->memory, c->shadow, 2 * NVME_PAGE_SIZE);
        nvme_bounce_destroy(c);
        nvme_admin_destroy(c);
        nvme_memory_destroy(&c->memory);
        c->transport->ops->close(c->transport);
    }
    nvme_events_destroy(c);
    nvme_recover_destroy(c);
    g_free(c->options.device);
    g_free(c->options.path);
}

static void nvme_close(BlockDriverState *bs)
{
    tear_down(bs->opaque);
}

static int nvme_open(BlockDriverState *bs, QDict *options, int flags,
                     Error **errp)
{
    NvmeController *c = bs->opaque;
    QemuOpts *opts = qemu_opts_create(&runtime_opts, NULL, 0, &error_abort);
    bool ok;
    int ret;

    c->bs = bs;
    ok = qemu_opts_absorb_qdict(opts, options, errp) &&
         parse(&c->options, opts, errp);
    qemu_opts_del(opts);
    if (!ok) {
        g_free(c->options.device);
        g_free(c->options.path);
        return -EINVAL;
    }
    ret = set_up(c, errp);
    if (ret == 0 && (flags & BDRV_O_NOCACHE)) {
        ret = nvme_controller_disable_write_cache(c, errp);
    }
    if (ret < 0) {
        tear_down(c);
        return ret;
    }
    nvme_events_start(c);
    bs->supported_write_flags = BDRV_REQ_FUA;
    bs->supported_zero_flags = BDRV_REQ_FUA |
        (c->deallocated_reads_zero ? BDRV_REQ_MAY_UNMAP : 0);
    return 0;
}

static int64_t coroutine_fn nvme_co_getlength(BlockDriverState *bs)
{
    NvmeController *c = bs->opaque;

    return qatomic_read_u64(&c->n_blocks) << c->block_bits;
}

static int nvme_probe_blocksizes(BlockDriverState *bs, BlockSizes *bsz)
{
    NvmeController *c = bs->opaque;

    bsz->phys = bsz->log = 1u << c->block_bits;
    return 0;
}

static int coroutine_fn nvme_co_truncate(BlockDriverState *bs, int64_t offset,
                                         bool exact, PreallocMode prealloc,
                                         BdrvRequestFlags flags, Error **errp)
{
    int64_t length = nvme_co_getlength(bs);

    if (prealloc != PREALLOC_MODE_OFF) {
        error_setg(errp, "Unsupported preallocation mode '%s'",
                   PreallocMode_str(prealloc));
        return -ENOTSUP;
    }
    if (offset != length && exact) {
        error_setg(errp, "Cannot resize NVMe devices");
        return -ENOTSUP;
    }
    if (offset > length) {
        error_setg(errp, "Cannot grow NVMe devices");
        return -EINVAL;
    }
    return 0;
}

static int coroutine_fn nvme_driver_co_preadv(BlockDriverState *bs,
                                              int64_t offset, int64_t bytes,
                                              QEMUIOVector *qiov,
                                              BdrvRequestFlags flags)
{
    return nvme_co_rw(bs->opaque, offset, bytes, qiov, false, flags);
}

static int coroutine_fn nvme_driver_co_pwritev(BlockDriverState *bs,
                                               int64_t offset, int64_t bytes,
                                               QEMUIOVector *qiov,
                                               BdrvRequestFlags flags)
{
    return nvme_co_rw(bs->opaque, offset, bytes, qiov, true, flags);
}

static int coroutine_fn nvme_driver_co_pwrite_zeroes(BlockDriverState *bs,
                                                     int64_t offset,
                                                     int64_t bytes,
                                                     BdrvRequestFlags flags)
{
    return nvme_co_write_zeroes(bs->opaque, offset, bytes, flags);
}

static int coroutine_fn nvme_driver_co_pdiscard(BlockDriverState *bs,
                                                int64_t offset, int64_t bytes)
{
    return nvme_co_discard(bs->opaque, offset, bytes);
}

static int coroutine_fn nvme_driver_co_flush(BlockDriverState *bs)
{
    return nvme_co_flush(bs->opaque);
}

static int nvme_reopen_prepare(BDRVReopenState *reopen_state,
                               BlockReopenQueue *queue, Error **errp)
{
    return 0;
}

static void nvme_refresh_filename(BlockDriverState *bs)
{
    NvmeController *c = bs->opaque;

    if (c->options.device) {
        snprintf(bs->exact_filename, sizeof(bs->exact_filename),
                 "nvme://%s/%" PRIu32, c->options.device, c->nsid);
    }
}

static void nvme_refresh_limits(BlockDriverState *bs, Error **errp)
{
    NvmeController *c = bs->opaque;
    uint32_t block = 1u << c->block_bits;

    bs->bl.request_alignment = block;
    bs->bl.min_mem_alignment = sizeof(uint32_t);
    bs->bl.opt_mem_alignment = NVME_PAGE_SIZE;
    bs->bl.max_transfer = MIN(c->max_transfer, (uint64_t)block << 16);
    /* number of logical blocks, less one, in 16 bits; of a range, in 32 */
    bs->bl.max_pwrite_zeroes = MIN(c->max_zeroes, (uint64_t)block << 16);
    bs->bl.pwrite_zeroes_alignment = block;
    bs->bl.max_pdiscard = (int64_t)c->max_discard << c->block_bits;
    bs->bl.pdiscard_alignment = block;
}

/*
 * Sections that change the graph do not wait for requests: after one that found
 * some, queues stay whose they are until the next.
 */
static void GRAPH_RDLOCK nvme_drain_end(BlockDriverState *bs)
{
    if (!bdrv_drain_poll(bs, NULL, false)) {
        nvme_queues_release(bs->opaque);
    }
}

static bool nvme_register_buf(BlockDriverState *bs, void *host, size_t size,
                              Error **errp)
{
    NvmeController *c = bs->opaque;

    return nvme_memory_add(&c->memory, host, size, errp) == 0;
}

static void nvme_unregister_buf(BlockDriverState *bs, void *host, size_t size)
{
    NvmeController *c = bs->opaque;

    nvme_memory_remove(&c->memory, host, size);
}

static void nvme_fast_step(BlockDriverState *bs, BdrvFastStep *step)
{
    step->ops = 1u << BLK_FAST_READ | 1u << BLK_FAST_WRITE | 1u << BLK_FAST_FLUSH;
    step->submit = nvme_fast_submit;
    step->opaque = bs->opaque;
}

static uint64_t sum(NvmeController *c, size_t counter)
{
    uint64_t n = 0;
    unsigned i;

    QEMU_LOCK_GUARD(&c->lock);
    for (i = 0; i < c->queues->len; i++) {
        void *counters = &((NvmeQueue *)g_ptr_array_index(c->queues, i))->counters;

        n += qatomic_read_u64((uint64_t *)(counters + counter));
    }
    return n;
}

/* Of the 16 bytes that the log has for a number. */
static uint64_t log_number(const NvmeSmartLog *log, size_t offset)
{
    const uint8_t *number = (const uint8_t *)log + offset;

    return ldq_le_p(number + 8) ? UINT64_MAX : ldq_le_p(number);
}

#define LOG_NUMBER(log, name) \
    log_number(&(log), offsetof(NvmeSmartLog, name))

static NvmeHealth *get_health(NvmeController *c)
{
    NvmeSmartLog log;
    NvmeHealth *health;

    if (!nvme_health(c, &log)) {
        return NULL;
    }
    health = g_new(NvmeHealth, 1);
    *health = (NvmeHealth) {
        .critical_warning = log.critical_warning,
        .temperature = le16_to_cpu(log.temperature),
        .available_spare = log.available_spare,
        .percentage_used = log.percentage_used,
        .data_units_read = LOG_NUMBER(log, data_units_read),
        .data_units_written = LOG_NUMBER(log, data_units_written),
        .media_errors = LOG_NUMBER(log, media_errors),
        .error_log_entries = LOG_NUMBER(log, number_of_error_log_entries),
        .unsafe_shutdowns = LOG_NUMBER(log, unsafe_shutdowns),
    };
    return health;
}

static NvmeDriverStats *get_driver_stats(NvmeController *c)
{
    NvmeDriverStats *stats = g_new(NvmeDriverStats, 1);

    *stats = (NvmeDriverStats) {
        .queues = c->queues->len,
        .polled_queues = c->n_polled,
        .retries = sum(c, offsetof(NvmeQueueCounters, retries)),
        .resets = c->resets,
    };
    return stats;
}

static BlockStatsSpecific *nvme_get_specific_stats(BlockDriverState *bs)
{
    NvmeController *c = bs->opaque;
    BlockStatsSpecific *stats = g_new0(BlockStatsSpecific, 1);

    stats->driver = BLOCKDEV_DRIVER_NVME;
    stats->u.nvme = (BlockStatsSpecificNvme) {
        .completion_errors = sum(c, offsetof(NvmeQueueCounters, errors)),
        .aligned_accesses = sum(c, offsetof(NvmeQueueCounters, aligned)),
        .unaligned_accesses = sum(c, offsetof(NvmeQueueCounters, unaligned)),
        .counters = get_driver_stats(c),
        .health = get_health(c),
    };
    return stats;
}

static const char *const nvme_strong_runtime_opts[] = {
    OPT_DEVICE,
    OPT_PATH,
    OPT_NAMESPACE,
    NULL
};

static BlockDriver bdrv_nvme = {
    .format_name              = "nvme",
    .protocol_name            = "nvme",
    .instance_size            = sizeof(NvmeController),

    .bdrv_co_create_opts      = bdrv_co_create_opts_simple,
    .create_opts              = &bdrv_create_opts_simple,

    .bdrv_parse_filename      = nvme_parse_filename,
    .bdrv_open                = nvme_open,
    .bdrv_close               = nvme_close,
    .bdrv_co_getlength        = nvme_co_getlength,
    .bdrv_probe_blocksizes    = nvme_probe_blocksizes,
    .bdrv_co_truncate         = nvme_co_truncate,

    .bdrv_co_preadv           = nvme_driver_co_preadv,
    .bdrv_co_pwritev          = nvme_driver_co_pwritev,
    .bdrv_co_pwrite_zeroes    = nvme_driver_co_pwrite_zeroes,
    .bdrv_co_pdiscard         = nvme_driver_co_pdiscard,
    .bdrv_co_flush_to_disk    = nvme_driver_co_flush,

    .bdrv_reopen_prepare      = nvme_reopen_prepare,
    .bdrv_refresh_filename    = nvme_refresh_filename,
    .bdrv_refresh_limits      = nvme_refresh_limits,
    .strong_runtime_opts      = nvme_strong_runtime_opts,
    .bdrv_get_specific_stats  = nvme_get_specific_stats,

    .bdrv_drain_end           = nvme_drain_end,
    .bdrv_fast_step           = nvme_fast_step,

    .bdrv_register_buf        = nvme_register_buf,
    .bdrv_unregister_buf      = nvme_unregister_buf,
};

static void bdrv_nvme_init(void)
{
    bdrv_register(&bdrv_nvme);
}

block_init(bdrv_nvme_init);
