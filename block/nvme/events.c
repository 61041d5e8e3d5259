/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the controller tells of itself: asynchronous events, and its health.
 * NVM Express Base Specification 2.0, 5.2 (events), 5.16.1 (log pages).
 */

#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/thread-pool.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "controller.h"
#include "../trace.h"

/* A look at the health that is younger than this will do. */
#define HEALTH_NS NANOSECONDS_PER_SECOND

/* What a worker thread does for the main loop. */
typedef struct Task {
    NvmeController *c;
    uint8_t log;
    uint8_t data[NVME_PAGE_SIZE];
} Task;

typedef struct Size {
    NvmeController *c;
    uint64_t n_blocks;
} Size;

static int read_log(NvmeController *c, uint8_t log, void *data, size_t size)
{
    NvmeCmd cmd = {
        .opcode = NVME_ADM_CMD_GET_LOG_PAGE,
        .nsid = cpu_to_le32(UINT32_MAX),
        .cdw10 = cpu_to_le32((size / 4 - 1) << 16 | log),
    };

    return nvme_admin(c, &cmd, NULL, data, size);
}

static int read_health(void *opaque)
{
    NvmeController *c = opaque;
    NvmeSmartLog log;

    if (read_log(c, NVME_LOG_SMART_INFO, &log, sizeof(log)) != 0) {
        return -EIO;
    }
    QEMU_LOCK_GUARD(&c->admin.lock);
    c->health.log = log;
    c->health.is_known = true;
    c->health.when_ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    return 0;
}

/* Reading its log page is what lets an event of this kind come again. */
static int acknowledge(void *opaque)
{
    Task *task = opaque;

    return read_log(task->c, task->log, task->data,
                    task->log == NVME_LOG_CHANGED_NSLIST ? NVME_PAGE_SIZE : 512);
}

static int identify_size(void *opaque)
{
    Size *size = opaque;

    return nvme_controller_identify_size(size->c, &size->n_blocks);
}

/* Devices and exports above @bs look at its size again. */
static void GRAPH_RDLOCK tell_parents(BlockDriverState *bs)
{
    BdrvChild *child;

    QLIST_FOREACH(child, &bs->parents, next_parent) {
        if (child->klass->resize) {
            child->klass->resize(child);
        }
    }
}

static void coroutine_fn look_at_namespace(NvmeController *c)
{
    Size size = { .c = c };

    if (thread_pool_submit_co(identify_size, &size) < 0 ||
        size.n_blocks == c->n_blocks) {
        return;
    }
    trace_nvme_namespace_changed(c, c->n_blocks, size.n_blocks);
    if (!size.n_blocks) {
        error_report("NVMe: namespace %" PRIu32 " has been removed", c->nsid);
    }
    qatomic_set_u64(&c->n_blocks, size.n_blocks);
    bdrv_graph_co_rdlock();
    bdrv_co_refresh_total_sectors(c->bs, 0);
    bdrv_fast_changed(c->bs);
    tell_parents(c->bs);
    bdrv_graph_co_rdunlock();
}

static void coroutine_fn handle(NvmeController *c, uint32_t event)
{
    g_autofree Task *task = g_new0(Task, 1);
    unsigned type = event & 7;
    unsigned info = (event >> 8) & 0xff;

    trace_nvme_event(c, type, info);
    task->c = c;
    task->log = (event >> 16) & 0xff;
    if (task->log) {
        thread_pool_submit_co(acknowledge, task);
    }
    if (type == NVME_AER_TYPE_NOTICE &&
        info == NVME_AER_INFO_NOTICE_NS_ATTR_CHANGED) {
        look_at_namespace(c);
    } else if (type == NVME_AER_TYPE_ERROR) {
        warn_report("NVMe: the controller reports an error (type %u, "
                    "information %#x)", type, info);
    } else if (type == NVME_AER_TYPE_SMART) {
        warn_report("NVMe: the controller warns of its health (information %#x); "
                    "query-blockstats has more", info);
    }
    nvme_admin_request_event(c);
}

static bool next_event(NvmeController *c, uint32_t *event)
{
    GArray *events = c->admin.events;

    QEMU_LOCK_GUARD(&c->admin.lock);
    if (events->len == 0) {
        return false;
    }
    *event = g_array_index(events, uint32_t, 0);
    g_array_remove_index(events, 0);
    return true;
}

static void coroutine_fn events_co(void *opaque)
{
    NvmeController *c = opaque;
    uint32_t event;

    for (;;) {
        bool is_running = qatomic_read(&c->state) == NVME_RUNNING;

        if (is_running && next_event(c, &event)) {
            handle(c, event);
        } else if (is_running && c->was_reset) {
            c->was_reset = false;
            look_at_namespace(c);
        } else if (c->health.is_asked) {
            thread_pool_submit_co(read_health, c);
            c->health.is_asked = false;
        } else {
            break;
        }
    }
    c->is_handling = false;
    bdrv_dec_in_flight(c->bs);
}

static void events_bh(void *opaque)
{
    NvmeController *c = opaque;

    if (!c->is_handling) {
        c->is_handling = true;
        bdrv_inc_in_flight(c->bs);
        aio_co_enter(qemu_get_aio_context(), qemu_coroutine_create(events_co, c));
    }
}

static void notified(EventNotifier *e)
{
    event_notifier_test_and_clear(e);
    nvme_admin_look(container_of(e, NvmeController, admin_notifier));
}

bool nvme_health(NvmeController *c, NvmeSmartLog *log)
{
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    if (!c->health.is_asked && now - c->health.when_ns > HEALTH_NS &&
        qatomic_read(&c->state) == NVME_RUNNING) {
        c->health.is_asked = true;
        qemu_bh_schedule(c->events_bh);
    }
    if (qemu_mutex_trylock(&c->admin.lock) == 0) {
        c->health.shown = c->health.log;
        qemu_mutex_unlock(&c->admin.lock);
    }                           /* else what was shown last */
    *log = c->health.shown;
    return c->health.is_known;
}

int nvme_events_init(NvmeController *c)
{
    int ret = event_notifier_init(&c->admin_notifier, 0);

    if (ret < 0) {
        return ret;
    }
    c->events_bh = aio_bh_new(qemu_get_aio_context(), events_bh, c);
    aio_set_event_notifier(qemu_get_aio_context(), &c->admin_notifier, notified,
                           NULL, NULL);
    return 0;
}

void nvme_events_start(NvmeController *c)
{
    read_health(c);
    c->health.shown = c->health.log;
}

void nvme_events_destroy(NvmeController *c)
{
    if (c->events_bh) {
        assert(!c->is_handling);
        aio_set_event_notifier(qemu_get_aio_context(), &c->admin_notifier, NULL,
                               NULL, NULL);
        event_notifier_cleanup(&c->admin_notifier);
        qemu_bh_delete(c->events_bh);
    }
}
