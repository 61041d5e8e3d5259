/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands that take too long.
 *
 * A request notes the tick, a count of the main loop's timer, when it was
 * submitted: a load and a store.  The timer looks through the requests of all
 * queues, and sleeps when there are none.  A process that was stopped for long
 * finds no request old: ticks are counted, not time.
 *
 * What is too old the controller is asked to abort; what is then not answered
 * either makes for a reset.
 */

#include "qemu/osdep.h"
#include "block/thread-pool.h"
#include "qemu/asymmetric-barrier.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "controller.h"
#include "../trace.h"

#define TICK_MS 250

/* A command as old as this makes the status of the controller worth a look. */
#define SLOW_TICKS 4

/* For the answer to an abort, and to the command that was aborted. */
#define ABORT_TICKS (2 * 1000 / TICK_MS)

typedef struct Look {
    NvmeController *c;
    bool is_slow;
    bool is_stuck;              /* an abort did not help */
    uint64_t resets;            /* before it */
    NvmeQueue *queue;           /* of a command that is too old, or NULL */
    unsigned cid;
    uint32_t tick;              /* of its submission */
} Look;

static unsigned timeout_ticks(NvmeController *c)
{
    return c->options.timeout * 1000 / TICK_MS;
}

static bool any_in_flight(NvmeController *c)
{
    unsigned i;

    QEMU_LOCK_GUARD(&c->lock);
    for (i = 0; i < c->queues->len; i++) {
        NvmeQueue *q = g_ptr_array_index(c->queues, i);

        if (qatomic_read(&q->in_flight)) {
            return true;
        }
    }
    return false;
}

/* The oldest first, or any: there is another look in a tick. */
static void look_at_queue(Look *look, NvmeQueue *q, uint32_t now)
{
    unsigned limit = timeout_ticks(look->c);
    unsigned i;

    for (i = 0; i < q->entries - 1; i++) {
        NvmeRequest *req = &q->req[i];
        uint32_t tick = qatomic_read(&req->tick);
        uint32_t age = now - tick;

        if (!tick || age < SLOW_TICKS) {
            continue;
        }
        look->is_slow = true;
        if (q->bh) {
            /* an interrupt may have been lost */
            qemu_bh_schedule(q->bh);
        }
        if (limit && age >= limit) {
            if (qatomic_read(&req->aborted) != tick) {
                look->queue = q;
                look->cid = i;
                look->tick = tick;
            } else if (age >= limit + ABORT_TICKS) {
                look->is_stuck = true;
            }
        }
    }
}

static void look_at_queues(Look *look)
{
    uint32_t now = look->c->watch.tick;
    unsigned i;

    QEMU_LOCK_GUARD(&look->c->lock);
    if (look->c->state != NVME_RUNNING) {
        return;
    }
    look->resets = look->c->resets;
    for (i = 0; i < look->c->queues->len; i++) {
        NvmeQueue *q = g_ptr_array_index(look->c->queues, i);

        if (qatomic_read(&q->in_flight)) {
            look_at_queue(look, q, now);
        }
    }
}

/* With the lock: what was seen of a controller is of no interest after a reset. */
static bool is_of_now(const Look *look)
{
    return look->c->state == NVME_RUNNING && look->c->resets == look->resets;
}

static void tell(Look *look, unsigned what, const char *why)
{
    QEMU_LOCK_GUARD(&look->c->lock);
    if (is_of_now(look)) {
        nvme_controller_trouble(look->c, what, why);
    }
}

/* The command, if it still is the one that was seen; false: it has ended. */
static bool mark_aborted(Look *look)
{
    NvmeRequest *req = &look->queue->req[look->cid];

    QEMU_LOCK_GUARD(&look->c->lock);
    if (!is_of_now(look) || qatomic_read(&req->tick) != look->tick) {
        return false;
    }
    qatomic_set(&req->aborted, look->tick);
    return true;
}

/* In a worker thread: registers and admin commands may take their time. */
static int ask_controller(void *opaque)
{
    Look *look = opaque;
    uint32_t csts = nvme_controller_status(look->c);

    if (csts == UINT32_MAX) {
        tell(look, NVME_TROUBLE_DEAD, "the device is gone");
    } else if (NVME_CSTS_CFS(csts)) {
        tell(look, NVME_TROUBLE_RESET, "fatal controller status");
    } else if (look->is_stuck) {
        tell(look, NVME_TROUBLE_RESET | NVME_TROUBLE_SILENT,
             "a command timed out, and was not aborted");
    } else if (look->queue && mark_aborted(look)) {
        trace_nvme_watch_abort(look->c, look->queue->id, look->cid);
        nvme_admin_abort(look->c, look->queue, look->cid);
    }
    return 0;
}

/*
 * Nobody is awake; then the counts, against nvme_queue_submit(): the count; then
 * whether somebody is awake.
 */
static bool may_sleep(NvmeController *c)
{
    if (any_in_flight(c)) {
        return false;
    }
    qatomic_set(&c->watch.is_awake, false);
    asymmetric_barrier_heavy();
    if (any_in_flight(c)) {
        qatomic_set(&c->watch.is_awake, true);
        return false;
    }
    return true;
}

static void arm(NvmeController *c)
{
    timer_mod(c->watch.timer,
              qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + TICK_MS);
}

static void coroutine_fn look_co(void *opaque)
{
    NvmeController *c = opaque;
    Look look = { .c = c };

    look_at_queues(&look);
    if (look.is_slow) {
        thread_pool_submit_co(ask_controller, &look);
    }
    if (!may_sleep(c)) {
        arm(c);
    }
    c->watch.is_looking = false;
    bdrv_dec_in_flight(c->bs);
}

static void tick(void *opaque)
{
    NvmeController *c = opaque;
    uint32_t next = c->watch.tick + 1;

    qatomic_set(&c->watch.tick, next ?: 1);
    c->watch.is_looking = true;
    bdrv_inc_in_flight(c->bs);
    aio_co_enter(qemu_get_aio_context(), qemu_coroutine_create(look_co, c));
}

static void wake_bh(void *opaque)
{
    NvmeController *c = opaque;

    if (!c->watch.is_looking && !timer_pending(c->watch.timer)) {
        arm(c);
    }
}

void nvme_watch_wake(NvmeController *c)
{
    if (!qatomic_xchg(&c->watch.is_awake, true)) {
        qemu_bh_schedule(c->watch.bh);
    }
}

void nvme_watch_init(NvmeController *c)
{
    c->watch.tick = 1;
    c->watch.bh = aio_bh_new(qemu_get_aio_context(), wake_bh, c);
    c->watch.timer = aio_timer_new(qemu_get_aio_context(), QEMU_CLOCK_REALTIME,
                                   SCALE_MS, tick, c);
}

void nvme_watch_destroy(NvmeController *c)
{
    assert(!c->watch.is_looking);
    timer_free(c->watch.timer);
    qemu_bh_delete(c->watch.bh);
}
