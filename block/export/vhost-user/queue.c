/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A virtqueue, as the main loop sees it: when it runs, and when it does not.  See
 * export.h.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/main-loop.h"
#include "export.h"

/*
 * A front-end that replaces a region of memory takes it away first: requests there
 * are put off, but not for ever.
 */
#define PATIENCE_MS 1000

void vu_queue_init(VuQueue *q, VuBlkExport *vexp, unsigned index)
{
    *q = (VuQueue) {
        .vexp = vexp,
        .index = index,
        .kick_fd = -1,
        .call_fd = -1,
        .err_fd = -1,
    };
}

/*
 * Its thread: the last of what was posted has been done.  Bottom halves do not run
 * in the order in which they were scheduled, so that only the last may say that
 * the virtqueue is idle.
 */
static void posted_end(VuQueue *q)
{
    if (qatomic_fetch_dec(&q->posted) == 1 && vu_pass_is_idle(q)) {
        vu_queue_is_idle(q);
    }
}

static void sync_bh(void *opaque)
{
    VuQueue *q = opaque;

    vu_pass_sync(q);
    posted_end(q);
}

static void post(VuQueue *q, QEMUBHFunc *bh, void *opaque)
{
    qatomic_inc(&q->posted);
    aio_bh_schedule_oneshot(q->ctx, bh, opaque);
}

/* Whether the front-end lets it run, and no message at work keeps it from it. */
static bool is_started(VuQueue *q)
{
    VuBlkExport *vexp = q->vexp;

    return vexp->sioc && !vexp->dropped && q->holds == 0 &&
           q->kick_fd >= 0 && q->enabled && q->has_addr && q->num;
}

/* And the block layer. */
static bool is_wanted(VuQueue *q)
{
    return is_started(q) && q->vexp->drains == 0;
}

bool vu_queue_locate(VuQueue *q, const VuMap *map, VringConfig *config)
{
    *config = (VringConfig) {
        .num = q->num,
        .packed = vu_has_feature(q->vexp, VIRTIO_F_RING_PACKED),
        .event_idx = vu_has_feature(q->vexp, VIRTIO_RING_F_EVENT_IDX),
        .in_order = vu_has_feature(q->vexp, VIRTIO_F_IN_ORDER),
    };
    return vu_map_guest_address(map, q->addr.desc, &config->desc) &&
           vu_map_guest_address(map, q->addr.avail, &config->avail) &&
           vu_map_guest_address(map, q->addr.used, &config->used);
}

static bool set_inflight(VuQueue *q, Vring *vring, Error **errp)
{
    VuInflight *inflight = q->vexp->inflight;

    if (!inflight || q->index >= inflight->num_queues) {
        return true;
    }
    return vring_set_inflight(vring, inflight->mapping.host +
                              q->index * inflight->stride, inflight->stride,
                              errp);
}

/* Where it is to begin: where it was, where the front-end says, or at the start. */
static bool set_place(VuQueue *q, Vring *vring, Error **errp)
{
    if (q->has_place && !vring_set_state(vring, &q->place)) {
        error_setg(errp, "it has become too small for where it was, %u",
                   q->place.avail);
        return false;
    }
    if (q->has_place) {
        return true;
    }
    if (!q->has_base && q->config.packed) {
        return true;
    }
    return vring_set_base(vring, q->base, errp);
}

/* false and no error: its memory is away, and the ring is put off. */
static bool make_ring(VuQueue *q, Error **errp)
{
    VuMap *map = q->vexp->map;
    Vring *vring;

    if (!vu_queue_locate(q, map, &q->config)) {
        return false;
    }
    vring = vring_new(&q->config, sizeof(VuRequest), errp);
    if (!vring) {
        return false;
    }
    if (!vring_set_map(vring, &map->map) || !set_place(q, vring, errp) ||
        !set_inflight(q, vring, errp)) {
        vring_free(vring);
        return false;
    }
    q->vring = vring;
    q->has_place = false;
    q->recovering = vring_is_recovering(vring);
    return true;
}

/* There is a ring; the front-end is dropped if there cannot be. */
static bool have_ring(VuQueue *q)
{
    Error *err = NULL;

    if (q->vring || make_ring(q, &err)) {
        return true;
    }
    if (err) {
        error_prepend(&err, "virtqueue %u: ", q->index);
        vu_drop(q->vexp, err);
    }
    return false;
}

static void start(VuQueue *q)
{
    AioContext *ctx = blk_exp_queue_ctx(&q->vexp->export, q->index);

    /* without one: between two of them, in a drained section */
    if (!ctx || !have_ring(q)) {
        return;
    }
    q->ctx = ctx;
    q->phase = VU_RUNNING;
    qatomic_set(&q->run, true);
    post(q, sync_bh, q);
}

static void stop(VuQueue *q)
{
    q->phase = VU_STOPPING;
    /* posted; then it is not to run: its thread, which may see that at once, says once
     * that it is idle */
    qatomic_inc(&q->posted);
    qatomic_store_release(&q->run, false);
    aio_bh_schedule_oneshot(q->ctx, sync_bh, q);
}

void vu_queue_update(VuQueue *q)
{
    bool wanted = is_wanted(q);

    if (wanted && q->phase == VU_IDLE) {
        start(q);
    } else if (!wanted && q->phase == VU_RUNNING) {
        stop(q);
    }
}

void vu_queues_update(VuBlkExport *vexp)
{
    for (unsigned i = 0; i < vexp->num_queues; i++) {
        vu_queue_update(&vexp->queues[i]);
    }
}

/* Before the main loop hears that it is idle, whichever bottom half runs first. */
static void report_broken(VuQueue *q)
{
    Error *err = qatomic_xchg(&q->error, NULL);

    if (err) {
        /* a ring that is gone reads as a broken one: said is why it is gone */
        truncated_memory_look();
        error_prepend(&err, "virtqueue %u: ", q->index);
        vu_drop(q->vexp, err);
    }
}

static void idle_bh(void *opaque)
{
    VuQueue *q = opaque;

    report_broken(q);
    q->phase = VU_IDLE;
    q->ctx = NULL;
    vu_queue_update(q);
    vu_connection_wake(q->vexp);
}

/* The last that its thread does with it. */
void vu_queue_is_idle(VuQueue *q)
{
    aio_bh_schedule_oneshot(qemu_get_aio_context(), idle_bh, q);
}

static void broken_bh(void *opaque)
{
    report_broken(opaque);
}

void vu_queue_is_broken(VuQueue *q, Error *err)
{
    qatomic_store_release(&q->error, err);
    aio_bh_schedule_oneshot(qemu_get_aio_context(), broken_bh, q);
}

static void put_off_bh(void *opaque)
{
    VuQueue *q = opaque;

    if (q->vexp->sioc) {
        timer_mod(q->vexp->patience, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                  PATIENCE_MS);
    }
}

void vu_queue_is_put_off(VuQueue *q)
{
    aio_bh_schedule_oneshot(qemu_get_aio_context(), put_off_bh, q);
}

static void recovered_bh(void *opaque)
{
    VuQueue *q = opaque;

    vu_connection_wake(q->vexp);
}

void vu_queue_is_recovered(VuQueue *q)
{
    aio_bh_schedule_oneshot(qemu_get_aio_context(), recovered_bh, q);
}

void vu_queues_lose_patience(void *opaque)
{
    VuBlkExport *vexp = opaque;

    for (unsigned i = 0; i < vexp->num_queues; i++) {
        VuQueue *q = &vexp->queues[i];

        if (q->phase == VU_RUNNING && qatomic_read(&q->put_off)) {
            Error *err = NULL;

            error_setg(&err, "virtqueue %u: a request is in memory that is not "
                       "shared", i);
            vu_drop(vexp, err);
            return;
        }
    }
}

static void begin_hold(VuQueue *q)
{
    q->holds++;
    vu_queue_update(q);
}

static void coroutine_fn wait_idle(VuQueue *q)
{
    while (q->phase != VU_IDLE) {
        vu_connection_wait(q->vexp);
    }
}

void coroutine_fn vu_queue_hold(VuQueue *q)
{
    begin_hold(q);
    wait_idle(q);
}

void vu_queue_release(VuQueue *q)
{
    q->holds--;
    vu_queue_update(q);
}

void coroutine_fn vu_queue_recover(VuQueue *q)
{
    if (is_started(q) && q->phase == VU_IDLE) {
        have_ring(q);           /* a drained section may have kept it from that */
    }
    while (is_started(q) && qatomic_read(&q->recovering)) {
        vu_connection_wait(q->vexp);
    }
}

void coroutine_fn vu_queues_hold(VuBlkExport *vexp)
{
    for (unsigned i = 0; i < vexp->num_queues; i++) {
        begin_hold(&vexp->queues[i]);
    }
    for (unsigned i = 0; i < vexp->num_queues; i++) {
        wait_idle(&vexp->queues[i]);
    }
}

void vu_queues_release(VuBlkExport *vexp)
{
    for (unsigned i = 0; i < vexp->num_queues; i++) {
        vu_queue_release(&vexp->queues[i]);
    }
}

typedef struct Apply {
    VuQueue *queue;
    VuQueueFunc *fn;
    void *opaque;
    bool done;
} Apply;

static void applied_bh(void *opaque)
{
    Apply *apply = opaque;
    VuBlkExport *vexp = apply->queue->vexp;

    apply->done = true;
    vu_connection_wake(vexp);
}

static void apply_bh(void *opaque)
{
    Apply *apply = opaque;
    VuQueue *q = apply->queue;

    apply->fn(q, apply->opaque);
    /* the coroutine may go on from here: @apply is on its stack */
    aio_bh_schedule_oneshot(qemu_get_aio_context(), applied_bh, apply);
    posted_end(q);
}

void coroutine_fn vu_queue_apply(VuQueue *q, VuQueueFunc *fn, void *opaque)
{
    Apply apply = { .queue = q, .fn = fn, .opaque = opaque };

    /* It may have said already that it is idle: too late to post. */
    while (q->phase == VU_STOPPING) {
        vu_connection_wait(q->vexp);
    }
    if (q->phase == VU_IDLE) {
        fn(q, opaque);
        return;
    }
    post(q, apply_bh, &apply);
    while (!apply.done) {
        vu_connection_wait(q->vexp);
    }
}

void vu_queue_renew(VuQueue *q)
{
    assert(q->phase == VU_IDLE && q->holds);
    if (q->vring) {
        vring_get_state(q->vring, &q->place);
        q->has_place = true;
        q->base = vring_base(q->vring);
        vring_free(q->vring);
        q->vring = NULL;
        q->recovering = false;
    }
}

void vu_queue_reset(VuQueue *q)
{
    assert(q->phase == VU_IDLE && q->posted == 0);
    vu_close(&q->kick_fd);
    vu_close(&q->call_fd);
    vu_close(&q->err_fd);
    vring_free(q->vring);
    vu_queue_init(q, q->vexp, q->index);
}
