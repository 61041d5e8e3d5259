/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is done about a controller in trouble: a reset, after which all that was in
 * flight is submitted again, or, where that does not help, the end.
 *
 * All commands of this driver may be done twice: their callers have heard of
 * nothing, and have none in flight that depend on each other.
 *
 * A coroutine of the main loop goes from thread to thread, as the owner of each
 * queue, to stop and to restart it; what blocks is done by a worker thread.  Ended
 * with an error are requests only after the controller has been kept from memory.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "block/aio-wait.h"
#include "block/thread-pool.h"
#include "qemu/defer-call.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "queues.h"
#include "../trace.h"

/*
 * Resets in a row, after which no command was completed, are the end; so many fewer
 * if it takes a command's timeout to know.
 */
#define MAX_RESETS 3
#define MAX_RESETS_SILENT 1

typedef void OnQueue(NvmeQueue *q);

void nvme_controller_trouble(NvmeController *c, unsigned what, const char *why)
{
    unsigned before = qatomic_fetch_or(&c->trouble, what);

    if (!(before & (what | NVME_TROUBLE_DEAD))) {
        error_report("NVMe %s: %s: %s", c->options.device ?: c->options.path, why,
                     what & NVME_TROUBLE_DEAD ? "it is used no more"
                                              : "it is reset");
    }
    qemu_bh_schedule(c->trouble_bh);
}

static void stop(NvmeQueue *q)
{
    q->is_stopped = true;
    /* the ring begins anew with each reset */
    if (q->cq_head || q->phase != 1) {
        q->c->n_resets = q->c->n_silent = 0;
    }
}

static void restart(NvmeQueue *q)
{
    defer_call_begin();
    nvme_queue_restart(q);
    defer_call_end();
}

/* @fn for each queue in its thread, one after the other. */
static void coroutine_fn on_queues(NvmeController *c, OnQueue *fn)
{
    unsigned i;

    /* none is made, bound or released while the state is not NVME_RUNNING */
    for (i = 0; i < c->queues->len; i++) {
        NvmeQueue *q = g_ptr_array_index(c->queues, i);
        bool moves = q->ctx && q->ctx != qemu_get_aio_context() &&
                     nvme_queues_has_thread(q);

        if (moves) {
            aio_co_reschedule_self(q->ctx);
        }
        fn(q);
        if (moves) {
            aio_co_reschedule_self(qemu_get_aio_context());
        }
    }
}

static int reset_in_worker(void *opaque)
{
    NvmeController *c = opaque;
    Error *err = NULL;
    int ret = nvme_controller_disable(c, &err) ?:
              nvme_controller_enable(c, &err);

    if (ret == 0 && nvme_queues_tell(c) != 0) {
        error_setg(&err, "the NVMe controller has lost its queues");
        ret = -EIO;
    }
    if (ret < 0) {
        error_report_err(err);
    }
    return ret;
}

/* One that cannot even be disabled loses its mappings. */
static int give_up_in_worker(void *opaque)
{
    NvmeController *c = opaque;
    Error *err = NULL;

    if (nvme_controller_status(c) != UINT32_MAX &&
        nvme_controller_disable(c, &err) < 0) {
        error_report_err(err);
    }
    c->transport->ops->give_up(c->transport);
    return 0;
}

static void set_state(NvmeController *c, NvmeState state)
{
    QEMU_LOCK_GUARD(&c->lock);
    qatomic_set(&c->state, state);
}

static void coroutine_fn wake_waiting(NvmeController *c)
{
    QEMU_LOCK_GUARD(&c->lock);
    qemu_co_queue_restart_all(&c->recovered);
}

/* The node is being closed: nobody hears how its last flush ends. */
static bool is_ending(NvmeController *c)
{
    return c->bs->refcnt == 0;
}

/* Whether another reset is worth it. */
static bool may_reset(NvmeController *c, unsigned trouble)
{
    if (trouble & NVME_TROUBLE_SILENT) {
        return c->n_silent < MAX_RESETS_SILENT && !is_ending(c);
    }
    return c->n_resets < MAX_RESETS;
}

static bool coroutine_fn reset(NvmeController *c, unsigned trouble)
{
    if (trouble & NVME_TROUBLE_DEAD || !may_reset(c, trouble)) {
        return false;
    }
    c->resets++;
    c->n_resets++;
    c->n_silent += !!(trouble & NVME_TROUBLE_SILENT);
    return thread_pool_submit_co(reset_in_worker, c) == 0 &&
           !(qatomic_read(&c->trouble) & NVME_TROUBLE_DEAD);
}

static void coroutine_fn recover_co(void *opaque)
{
    NvmeController *c = opaque;
    unsigned trouble;

    while ((trouble = qatomic_read(&c->trouble)) && c->state != NVME_DEAD) {
        trace_nvme_recover(c, trouble);
        set_state(c, NVME_RECOVERING);
        on_queues(c, stop);
        if (reset(c, trouble)) {
            on_queues(c, restart);
            set_state(c, NVME_RUNNING);
            c->was_reset = true;
            qemu_bh_schedule(c->events_bh);
        } else {
            nvme_controller_trouble(c, NVME_TROUBLE_DEAD,
                                    is_ending(c) ? "its node is closed"
                                                 : "a reset did not help");
            thread_pool_submit_co(give_up_in_worker, c);
            on_queues(c, nvme_queue_fail);
            set_state(c, NVME_DEAD);
        }
        wake_waiting(c);
    }
    c->is_recovering = false;
    bdrv_dec_in_flight(c->bs);
    aio_wait_kick();
}

static void trouble_bh(void *opaque)
{
    NvmeController *c = opaque;

    if (!c->is_recovering && c->state != NVME_DEAD && qatomic_read(&c->trouble)) {
        c->is_recovering = true;
        bdrv_inc_in_flight(c->bs);
        aio_co_enter(qemu_get_aio_context(),
                     qemu_coroutine_create(recover_co, c));
    }
}

void nvme_recover_init(NvmeController *c)
{
    c->trouble_bh = aio_bh_new(qemu_get_aio_context(), trouble_bh, c);
}

void nvme_recover_destroy(NvmeController *c)
{
    assert(!c->is_recovering);      /* it is in flight, as a request is */
    qemu_bh_delete(c->trouble_bh);
}
