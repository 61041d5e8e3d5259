/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Gives queues to threads, and joins them to their event loops.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "block/aio-home.h"
#include "block/aio-loop.h"
#include "block/aio-wait.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "queues.h"
#include "../trace.h"

/* More than there are threads; what a controller can do is often far more. */
#define MAX_IRQS 128

static NvmeQueue *queue_of(EventNotifier *e)
{
    return container_of(e, NvmeQueue, notifier);
}

static bool poll_cb(void *opaque)
{
    NvmeQueue *q = queue_of(opaque);

    return q->in_flight && nvme_queue_has_completion(q) && !q->is_stopped;
}

static void poll_ready(EventNotifier *e)
{
    nvme_queue_complete(queue_of(e));
}

static void poll_begin(EventNotifier *e)
{
    NvmeQueue *q = queue_of(e);

    q->is_in_loop = true;
}

static void poll_end(EventNotifier *e)
{
    NvmeQueue *q = queue_of(e);

    q->is_in_loop = q->takes_part = false;
    if (q->is_polled && q->in_flight) {
        qemu_bh_schedule(q->bh);
    }
}

/*
 * A polled queue that its thread does not poll: it is looked at in each turn of the
 * event loop, which does not sleep meanwhile.  A busy thread, which does not sleep
 * anyway, is asked to poll it: a handler takes part once it has been ready.
 */
static void spin(NvmeQueue *q)
{
    if (!q->is_polled || q->is_in_loop || q->is_stopped) {
        return;
    }
    if (!nvme_queue_is_busy(q)) {
        if (q->in_flight) {
            qemu_bh_schedule(q->bh);
        }
    } else if (!q->is_asked) {
        q->is_asked = true;
        event_notifier_set(&q->notifier);
    }
}

static void queue_bh(void *opaque)
{
    NvmeQueue *q = opaque;

    nvme_queue_complete(q);
    spin(q);
}

/*
 * The interrupt; of a polled queue, what spin() has set.  It takes part when this
 * returns; a thread whose event loop glib runs is asked again and again.
 */
static void notified(EventNotifier *e)
{
    NvmeQueue *q = queue_of(e);

    event_notifier_test_and_clear(e);
    q->is_asked = false;
    q->takes_part = true;
    nvme_queue_complete(q);
    if (q->in_flight) {
        spin(q);
    }
}

/* @q, which is nobody's, is @ctx's from now on. */
static void bind_to(NvmeQueue *q, AioContext *ctx)
{
    trace_nvme_queue_bind(q->c, q->id, ctx, q->is_polled);
    aio_context_ref(ctx);
    q->ctx = ctx;
    q->is_in_loop = q->is_asked = q->takes_part = false;
    q->bh = aio_bh_new(ctx, queue_bh, q);
    aio_set_event_notifier(ctx, &q->notifier, notified, poll_cb, poll_ready);
    aio_set_event_notifier_poll(ctx, &q->notifier, poll_begin, poll_end);
}

/* In the thread of @q, or when there is none: its handlers may be running else. */
static void unbind(NvmeQueue *q)
{
    AioContext *ctx = q->ctx;

    if (ctx) {
        aio_set_event_notifier(ctx, &q->notifier, NULL, NULL, NULL);
        qemu_bh_delete(q->bh);
        q->bh = NULL;
        q->ctx = NULL;
        aio_context_unref(ctx);
    }
}

bool nvme_queues_has_thread(const NvmeQueue *q)
{
    return q->ctx == qemu_get_aio_context() || aio_home_lives(q->ctx);
}

/* With the lock. */
static NvmeQueue *find_free(NvmeController *c, bool polled)
{
    unsigned i;

    for (i = 0; i < c->queues->len; i++) {
        NvmeQueue *q = g_ptr_array_index(c->queues, i);

        if (q->ctx && !nvme_queues_has_thread(q)) {
            unbind(q);
        }
        if (!q->ctx && q->is_polled == polled) {
            return q;
        }
    }
    return NULL;
}

/*
 * With the lock.  Blocks for two admin commands.  0: it is the last of the queues.
 * Else, with @errp set, -ENOMEM, or as nvme_admin().
 */
static int make(NvmeController *c, bool polled, Error **errp)
{
    NvmeQueue *q = nvme_queue_new(c, c->queues->len + 1, c->entries, polled, errp);
    int ret;

    if (!q) {
        return -ENOMEM;
    }
    q->notifier = c->notifiers[polled ? c->max_vectors + c->n_polled
                                      : c->n_irqs];
    q->vector = polled ? 0 : c->n_irqs + 1;
    ret = nvme_admin_create_queue(c, q);
    trace_nvme_queue_make(c, q->id, q->entries, polled, ret);
    if (ret != 0) {
        nvme_queue_free(q);
        if (ret > 0) {
            error_setg(errp, "the NVMe controller refuses a queue that it has "
                       "granted (status 0x%x)", ret);
        } else {
            error_setg(errp, "the NVMe controller does not answer");
        }
        return ret;
    }
    g_ptr_array_add(c->queues, q);
    (*(polled ? &c->n_polled : &c->n_irqs))++;
    return 0;
}

/* With the lock.  NULL if there is to be no other of this kind. */
static NvmeQueue *make_another(NvmeController *c, bool polled)
{
    Error *err = NULL;
    int ret;

    if (polled ? c->n_polled >= c->max_polled : c->n_irqs >= c->max_irqs) {
        return NULL;
    }
    ret = make(c, polled, &err);
    if (ret == 0) {
        return g_ptr_array_index(c->queues, c->queues->len - 1);
    }
    if (ret == -ENOMEM) {
        c->max_polled = c->n_polled;
        c->max_irqs = c->n_irqs;
        c->is_sharing_said = true;
        warn_reportf_err(err, "NVMe: no memory for more than %u queues, which "
                         "IOThreads share: ", c->queues->len);
        return NULL;
    }
    error_free(err);
    if (ret > 0) {
        /* it has granted more than it has */
        *(polled ? &c->max_polled : &c->max_irqs) = polled ? c->n_polled
                                                           : c->n_irqs;
    }
    return NULL;
}

/* With the lock.  The one that is @ctx's, or becomes it, or NULL. */
static NvmeQueue *take(NvmeController *c, AioContext *ctx)
{
    bool polled = qatomic_read(&ctx->loop.mode) == AIO_POLL_BUSY;
    NvmeQueue *q;
    unsigned i;

    for (i = 0; i < c->queues->len; i++) {
        q = g_ptr_array_index(c->queues, i);
        if (q->ctx == ctx) {
            return q;
        }
    }
    q = find_free(c, polled) ?: make_another(c, polled) ?:
        find_free(c, !polled) ?: make_another(c, !polled);
    if (q) {
        bind_to(q, ctx);
    }
    return q;
}

/* With the lock: that of another thread. */
static NvmeQueue *share(NvmeController *c)
{
    NvmeQueue *q;

    if (!c->is_sharing_said) {
        c->is_sharing_said = true;
        warn_report("NVMe: the controller grants %u queues, fewer than there are "
                    "IOThreads that use it: some share one, which is slower",
                    c->queues->len);
    }
    q = g_ptr_array_index(c->queues, c->next_shared++ % c->queues->len);
    q->guests++;
    return q;
}

/* The AioContext of this thread, or the main loop's for one that has none. */
static AioContext *home_context(void)
{
    return qemu_get_current_aio_context() ?: qemu_get_aio_context();
}

NvmeQueue *nvme_queues_own_slow(NvmeSlot *slot)
{
    if (slot->slot.shared) {
        return NULL;
    }
    slot->epoch = qatomic_read(&aio_home_epoch);
    if (slot->queue && slot->queue->ctx != qemu_get_current_aio_context()) {
        slot->queue = NULL;
    }
    return slot->queue;
}

static NvmeQueue *coroutine_fn find_queue(NvmeController *c)
{
    AioContext *ctx = home_context();
    NvmeQueue *q;

    QEMU_LOCK_GUARD(&c->lock);
    while (c->state == NVME_RECOVERING) {
        qemu_co_queue_wait(&c->recovered, &c->lock);
    }
    if (c->state == NVME_DEAD) {
        return NULL;
    }
    q = take(c, ctx);
    if (q) {
        NvmeSlot *slot = (NvmeSlot *)queue_slot(&c->slots);

        /* home 0 is no thread's: it acts for the main loop, under the BQL */
        if (!slot->slot.shared) {
            slot->epoch = qatomic_read(&aio_home_epoch);
            qatomic_set(&slot->queue, q);
        }
        return q;
    }
    return share(c);
}

NvmeQueue *coroutine_fn nvme_queues_enter(NvmeController *c)
{
    NvmeQueue *q = nvme_queues_own(c, aio_home()) ?: find_queue(c);

    if (q && q->ctx != qemu_get_current_aio_context()) {
        aio_co_reschedule_self(q->ctx);
    }
    return q;
}

void coroutine_fn nvme_queues_leave(NvmeQueue *q, AioContext *home)
{
    if (home && home != qemu_get_current_aio_context()) {
        WITH_QEMU_LOCK_GUARD(&q->c->lock) {
            q->guests--;
        }
        aio_co_reschedule_self(home);
    }
}

static bool is_in_a_slot(const NvmeQueue *q)
{
    NvmeSlot *slot;
    unsigned i;

    QUEUE_SLOTS_FOREACH(slot, &q->c->slots, i) {
        if (qatomic_read(&slot->queue) == q) {
            return true;
        }
    }
    return false;
}

/*
 * In the thread of the queue, which may have submitted again meanwhile; for the main
 * loop's also in a vCPU's, under the BQL.
 */
static void let_go(void *opaque)
{
    NvmeQueue *q = opaque;
    NvmeController *c = q->c;

    WITH_QEMU_LOCK_GUARD(&c->lock) {
        /* a recovery that has begun goes to its thread */
        if (q->ctx == qemu_get_current_aio_context() && !q->in_flight &&
            !q->guests && !is_in_a_slot(q) && c->state != NVME_RECOVERING) {
            unbind(q);
        }
    }
    qatomic_dec(&c->n_letting_go);
    aio_wait_kick();
}

/* Not waited for: the main loop holds the graph lock. */
void nvme_queues_release(NvmeController *c)
{
    NvmeSlot *slot;
    unsigned i;

    QEMU_LOCK_GUARD(&c->lock);
    if (c->is_recovering) {
        return;                 /* it goes to their threads; the next time will do */
    }
    QUEUE_SLOTS_FOREACH(slot, &c->slots, i) {
        qatomic_set(&slot->queue, NULL);
    }
    for (i = 0; i < c->queues->len; i++) {
        NvmeQueue *q = g_ptr_array_index(c->queues, i);

        if (q->ctx && nvme_queues_has_thread(q)) {
            qatomic_inc(&c->n_letting_go);
            aio_bh_schedule_oneshot(q->ctx, let_go, q);
        } else {
            unbind(q);
        }
    }
}

int nvme_queues_tell(NvmeController *c)
{
    unsigned i;
    int ret = 0;

    for (i = 0; i < c->queues->len && ret == 0; i++) {
        NvmeQueue *q = g_ptr_array_index(c->queues, i);

        nvme_queue_reset_rings(q);
        ret = nvme_admin_create_queue(c, q);
    }
    return ret;
}

/* All vectors are set at once: more cannot be, later, in all kernels. */
static int set_irqs(NvmeController *c, Error **errp)
{
    g_autofree int *fds = g_new(int, c->max_vectors + 1);
    unsigned i;

    fds[0] = event_notifier_get_fd(&c->admin_notifier);
    for (i = 0; i < c->max_vectors; i++) {
        fds[i + 1] = event_notifier_get_fd(&c->notifiers[i]);
    }
    return c->transport->ops->set_irqs(c->transport, fds, c->max_vectors + 1,
                                       errp);
}

/* Vector 0 is the admin queue's. */
int nvme_queues_init(NvmeController *c, Error **errp)
{
    unsigned i, vectors = MAX(c->transport->n_irqs, 1) - 1;
    unsigned wanted = c->options.n_irq;

    qemu_mutex_init(&c->lock);
    qemu_co_queue_init(&c->recovered);
    c->queues = g_ptr_array_new();
    queue_slots_init(&c->slots, sizeof(NvmeSlot), NULL);

    if (wanted != UINT_MAX && wanted > vectors) {
        error_setg(errp, "irq-queues=%u: the NVMe controller has %u interrupts "
                   "for queues", wanted, vectors);
        return -EINVAL;
    }
    c->max_irqs = c->max_vectors = MIN(MIN(wanted, vectors), MAX_IRQS);
    c->max_polled = c->options.n_poll;
    if (!c->max_irqs && !c->max_polled) {
        error_setg(errp, vectors ? "irq-queues=0 needs poll-queues"
                   : "the NVMe controller has no interrupts: poll-queues is "
                   "needed");
        return -EINVAL;
    }
    c->n_notifiers = c->max_vectors + c->max_polled;
    c->notifiers = g_new0(EventNotifier, c->n_notifiers);
    for (i = 0; i < c->n_notifiers; i++) {
        int ret = event_notifier_init(&c->notifiers[i], 0);

        if (ret < 0) {
            c->n_notifiers = i;
            error_setg_errno(errp, -ret, "no event notifier for a queue");
            return ret;
        }
    }
    return c->transport->n_irqs ? set_irqs(c, errp) : 0;
}

int nvme_queues_start(NvmeController *c, Error **errp)
{
    QEMU_LOCK_GUARD(&c->lock);
    return make(c, !c->max_irqs, errp) == 0 ? 0 : -EIO;
}

void nvme_queues_destroy(NvmeController *c)
{
    unsigned i;

    if (!c->queues) {
        return;
    }
    nvme_queues_release(c);
    AIO_WAIT_WHILE(NULL, qatomic_read(&c->n_letting_go));
    for (i = 0; i < c->queues->len; i++) {
        nvme_queue_free(g_ptr_array_index(c->queues, i));
    }
    for (i = 0; i < c->n_notifiers; i++) {
        event_notifier_cleanup(&c->notifiers[i]);
    }
    g_free(c->notifiers);
    g_ptr_array_free(c->queues, true);
    queue_slots_destroy(&c->slots, NULL);
    qemu_mutex_destroy(&c->lock);
    c->queues = NULL;
}
