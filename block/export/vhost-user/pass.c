/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A virtqueue in its own thread: requests are taken from the ring in passes, and
 * answered.
 *
 * A pass submits plain requests (block/virtio-blk-plain.h) itself, while the fast
 * path is open; every other is a coroutine.  It is one deferred section, so that
 * what it submits goes down as a batch.
 *
 * A pass is bounded: with a leaf that answers at once, the guest can fill the ring
 * as fast as it is emptied, and the thread's other work would wait for ever.  One
 * that is cut short goes on in the next turn of the event loop.  It also ends when
 * the main loop wants the virtqueue to stop, which is so before its thread is asked:
 * requests of a MiB each take long.
 *
 * The thread learns of requests by the kick's file descriptor, or, while it polls,
 * by the available index; then the driver is asked not to kick.
 *
 * Answers are published once a batch: of a pass, or of the completions of a turn.
 * In a pass the driver is told at the first that is given at once, and after so
 * many more: it wakes up meanwhile.
 */

#include "qemu/osdep.h"
#include <sys/eventfd.h>
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/defer-call.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "standard-headers/linux/virtio_blk.h"
#include "export.h"

/* some tens of microseconds, for requests that are answered at once */
#define PASS_MAX 128
#define PASS_TELL 16

/* The front-end can make the descriptor one that blocks when it is full. */
static bool is_writable(int fd)
{
    GPollFD pfd = { .fd = fd, .events = G_IO_OUT };

    return g_poll(&pfd, 1, 0) == 1 && pfd.revents & G_IO_OUT;
}

static void signal_fd(int fd)
{
    if (fd >= 0 && (!qemu_in_main_thread() || is_writable(fd))) {
        /* fails when as many signals are unread as it counts */
        eventfd_write(fd, 1);
    }
}

/* What was pushed is the driver's. */
static void tell(VuQueue *q)
{
    if (!vring_has_pushed(q->vring)) {
        return;
    }
    if (vring_publish(q->vring)) {
        signal_fd(q->call_fd);
    }
    if (unlikely(vu_map_of(vring_map(q->vring))->log)) {
        signal_fd(q->vexp->log_fd);
    }
}

bool vu_pass_is_idle(VuQueue *q)
{
    return !q->attached && !qatomic_read(&q->run) && !q->publishing &&
           qatomic_read(&q->posted) == 0 && vring_in_flight(q->vring) == 0;
}

static void publish(void *opaque)
{
    VuQueue *q = opaque;

    q->publishing = false;
    tell(q);
    if (unlikely(vu_pass_is_idle(q))) {
        vu_queue_is_idle(q);
    }
}

/* Not in the pass: a request ends later. */
static void answer_later(VuRequest *req, uint32_t in_len)
{
    VuQueue *q = req->queue;

    vring_push(q->vring, &req->elem, in_len);
    if (!q->publishing) {
        q->publishing = true;
        defer_call(publish, q);
    }
}

static void broken(VuQueue *q, Error *err)
{
    signal_fd(q->err_fd);
    vu_queue_is_broken(q, err);
}

static void plain_done(BlkFastRequest *fast, int ret)
{
    VuRequest *req = container_of(fast, VuRequest, plain.fast);

    virtio_blk_plain_answer(&req->plain, ret);
    answer_later(req, req->plain.in_len);
}

static void submit_plain(VuQueue *q, VuRequest *req, bool tell_now)
{
    int ret;

    req->plain.fast.cb = plain_done;
    ret = blk_fast_submit(q->vexp->handler.blk, &req->plain.fast);
    if (ret == -EINPROGRESS) {
        return;
    }
    virtio_blk_plain_answer(&req->plain, ret);
    vring_push(q->vring, &req->elem, req->plain.in_len);
    if (tell_now) {
        tell(q);
    }
}

/* Each buffer has bytes, see vring_pop(). */
static bool has_header_and_status(const VringElem *elem)
{
    return elem->in_num &&
           iov_size(elem->sg, elem->out_num) >= sizeof(struct virtio_blk_outhdr);
}

/* As a broken ring; the base would log it once more, and without a name. */
static void refuse(VuRequest *req)
{
    VuQueue *q = req->queue;

    if (!vring_is_broken(q->vring)) {
        Error *err = NULL;

        vring_break(q->vring);
        error_setg(&err, "a request without header or status");
        broken(q, err);
    }
    answer_later(req, 0);
}

static void coroutine_fn process(void *opaque)
{
    VuRequest *req = opaque;
    VuQueue *q = req->queue;
    VringElem *elem = &req->elem;
    g_autofree struct iovec *sg = NULL;

    if (unlikely(q->postcopy)) {
        answer_later(req, vu_postcopy_process(req));
        return;
    }
    /* a copy, of which what it has looked at is cut off: those are still written */
    sg = g_memdup2(elem->sg, sizeof(*sg) * (elem->out_num + elem->in_num));
    answer_later(req, virtio_blk_process_req(&q->vexp->handler,
                                             sg + elem->out_num, sg,
                                             elem->in_num, elem->out_num));
}

static void serve(VuQueue *q, VuRequest *req, bool tell_now)
{
    VirtioBlkHandler *handler = &q->vexp->handler;
    VringElem *elem = &req->elem;

    req->queue = q;
    if (blk_fast_is_open(handler->blk) && likely(!q->postcopy) &&
        virtio_blk_plain_parse(&req->plain, elem->sg + elem->out_num,
                               elem->in_num, elem->sg, elem->out_num,
                               handler->logical_block_size, handler->writable)) {
        submit_plain(q, req, tell_now);
    } else if (unlikely(!has_header_and_status(elem))) {
        refuse(req);
    } else {
        qemu_coroutine_enter(qemu_coroutine_create(process, req));
    }
}

/*
 * The ring is empty only if it is so after the driver has been told up to where it
 * was seen: it does not kick for a request that it added before that.
 */
static bool is_empty(VuQueue *q)
{
    tell(q);
    if (!q->polled) {
        vring_set_kicks(q->vring, true);
    }
    return vring_is_empty(q->vring);
}

static void pass(VuQueue *q)
{
    VringElem *elem;
    Error *err = NULL;
    VringPop pop = VRING_POPPED;
    unsigned n = 0;

    defer_call_begin();
    for (; n < PASS_MAX && likely(qatomic_read(&q->run)); n++) {
        pop = vring_pop(q->vring, &elem, &err);
        if (likely(pop == VRING_POPPED)) {
            serve(q, container_of(elem, VuRequest, elem), n % PASS_TELL == 0);
        } else if (pop != VRING_EMPTY || is_empty(q)) {
            break;
        }
    }
    tell(q);
    if (unlikely(qatomic_read(&q->recovering)) &&
        !vring_is_recovering(q->vring)) {
        qatomic_set(&q->recovering, false);
        vu_queue_is_recovered(q);
    }
    if (n == PASS_MAX && !q->polled) {
        qemu_bh_schedule(q->pass_bh);
    }
    if (unlikely(pop == VRING_UNMAPPED)) {
        if (!q->put_off) {
            qatomic_set(&q->put_off, true);
            vu_queue_is_put_off(q);
        }
    } else if (unlikely(err)) {
        broken(q, err);
    }
    defer_call_end();
}

static void pass_again(void *opaque)
{
    pass(opaque);
}

static void kick_ready(void *opaque)
{
    VuQueue *q = opaque;
    uint64_t kicks;
    struct iovec iov = { &kicks, sizeof(kicks) };

    /* not by the flag of its file, which is the front-end's too */
    if (preadv2(q->kick_fd, &iov, 1, -1, RWF_NOWAIT) < 0 && errno == EOPNOTSUPP) {
        eventfd_read(q->kick_fd, &kicks);
    }
    pass(q);
}

/* Cost: the loads of vring_is_empty(), and two more. */
static bool kick_poll(void *opaque)
{
    VuQueue *q = opaque;

    return !vring_is_empty(q->vring) && !q->put_off;
}

static void kick_poll_begin(void *opaque)
{
    VuQueue *q = opaque;

    q->polled = true;
    vring_set_kicks(q->vring, false);
}

static void kick_poll_end(void *opaque)
{
    VuQueue *q = opaque;

    q->polled = false;
    vring_set_kicks(q->vring, true);
}

/*
 * What polled the ring before, in another connection or before a drained section,
 * may have left kicks off.  And a handler takes part in polling only from when its
 * descriptor was ready: hence the kick, which may also be the one that was lost.
 */
static void attach(VuQueue *q)
{
    AioContext *ctx = qemu_get_current_aio_context();

    q->attached = true;
    q->polled = false;
    q->postcopy = vu_postcopy_listens(q->vexp);
    qatomic_set(&q->put_off, false);
    vring_set_kicks(q->vring, true);
    q->pass_bh = aio_bh_new(ctx, pass_again, q);
    aio_set_fd_handler(ctx, q->kick_fd, kick_ready, NULL, kick_poll, pass_again,
                       q);
    aio_set_fd_poll(ctx, q->kick_fd, kick_poll_begin, kick_poll_end);
    signal_fd(q->kick_fd);
}

static void detach(VuQueue *q)
{
    aio_set_fd_handler(qemu_get_current_aio_context(), q->kick_fd, NULL, NULL,
                       NULL, NULL, NULL);
    qemu_bh_delete(q->pass_bh);
    q->pass_bh = NULL;
    q->attached = false;
}

void vu_pass_sync(VuQueue *q)
{
    bool run = qatomic_load_acquire(&q->run);

    if (run && !q->attached) {
        attach(q);
    } else if (!run && q->attached) {
        detach(q);
    }
}

void vu_pass_set_map(VuQueue *q, void *map)
{
    if (!q->vring) {
        return;
    }
    vring_set_map(q->vring, map);
    tell(q);                    /* of answers that waited for it */
    if (q->attached && q->put_off) {
        qatomic_set(&q->put_off, false);
        qemu_bh_schedule(q->pass_bh);
    }
}

static void replace_fd(int *fd, int *new)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = *new;
    *new = -1;
}

/* The driver may have missed what was signalled before, to another process. */
void vu_pass_set_call(VuQueue *q, void *fd)
{
    replace_fd(&q->call_fd, fd);
    signal_fd(q->call_fd);
}

void vu_pass_set_err(VuQueue *q, void *fd)
{
    replace_fd(&q->err_fd, fd);
}
