/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The connection of a front-end, one at a time: another waits in the socket's
 * backlog.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "export.h"

/* in a turn of the main loop */
#define MESSAGES_MAX 16

void coroutine_fn vu_connection_wait(VuBlkExport *vexp)
{
    vexp->waits = true;
    qemu_coroutine_yield();
}

void vu_connection_wake(VuBlkExport *vexp)
{
    if (vexp->waits) {
        vexp->waits = false;
        aio_co_wake(vexp->co);
    }
}

/* The coroutine finds that nothing more comes. */
static void begin_end(VuBlkExport *vexp)
{
    vexp->dropped = true;
    vu_postcopy_lose(vexp);
    qio_channel_shutdown(QIO_CHANNEL(vexp->sioc), QIO_CHANNEL_SHUTDOWN_BOTH,
                         NULL);
    vu_queues_update(vexp);
    if (vexp->waits) {
        /* for what may not happen any more; not from here, see vu_drop()'s callers */
        vexp->waits = false;
        aio_co_schedule(qemu_get_aio_context(), vexp->co);
    }
}

void vu_drop(VuBlkExport *vexp, Error *err)
{
    if (!vexp->sioc || vexp->dropped) {
        error_free(err);
        return;
    }
    error_reportf_err(err, "vhost-user-blk export '%s': the front-end is "
                      "disconnected: ", vexp->export.id);
    begin_end(vexp);
}

/* One message; whether the connection goes on. */
static bool coroutine_fn serve_message(VuBlkExport *vexp, Error **errp)
{
    QIOChannel *ioc = QIO_CHANNEL(vexp->sioc);
    VuMessage msg;
    bool ok;

    if (vu_message_read(ioc, &msg, errp) <= 0) {
        return false;
    }
    ok = vu_message_handle(vexp, &msg, errp);
    if (msg.header.flags & VU_NEED_REPLY && !msg.replied) {
        vu_message_answer_u64(&msg, !ok);
    }
    if (msg.replied && vu_message_reply(ioc, &msg, ok ? errp : NULL) < 0) {
        ok = false;
    }
    vu_message_clear(&msg);
    return ok;
}

static void listen_on(VuBlkExport *vexp);

static void end(VuBlkExport *vexp)
{
    for (unsigned i = 0; i < vexp->num_queues; i++) {
        vu_queue_reset(&vexp->queues[i]);
    }
    timer_del(vexp->patience);
    vring_map_unref(&vexp->map->map);
    vu_log_unref(vexp->log);
    vu_inflight_free(vexp->inflight);
    vu_postcopy_free(vexp);
    vu_close(&vexp->log_fd);
    vu_close(&vexp->backend_fd);
    object_unref(OBJECT(vexp->sioc));
    vexp->sioc = NULL;
    vexp->co = NULL;
    if (vexp->listener) {
        listen_on(vexp);
    } else {
        blk_exp_unref(&vexp->export);
    }
}

static void coroutine_fn connection(void *opaque)
{
    VuBlkExport *vexp = opaque;
    Error *err = NULL;
    unsigned n = 0;

    while (!vexp->dropped && serve_message(vexp, &err)) {
        if (++n % MESSAGES_MAX == 0) {
            /* a front-end that always has one more is not all there is to do */
            aio_co_schedule(qemu_get_aio_context(), vexp->co);
            qemu_coroutine_yield();
        }
    }
    if (err) {
        vu_drop(vexp, err);
    }
    if (!vexp->dropped) {
        begin_end(vexp);
    }
    /* their memory is there until the last request has ended */
    vu_queues_hold(vexp);
    end(vexp);
}

static void accept_client(QIONetListener *listener, QIOChannelSocket *sioc,
                          gpointer opaque)
{
    VuBlkExport *vexp = opaque;

    qio_net_listener_set_client_func(listener, NULL, NULL, NULL);
    qio_channel_set_name(QIO_CHANNEL(sioc), "vhost-user client");
    qio_channel_set_blocking(QIO_CHANNEL(sioc), false, NULL);
    /* so that it goes on in nested event loops, which wait for its end */
    qio_channel_set_follow_coroutine_ctx(QIO_CHANNEL(sioc), true);

    vexp->sioc = sioc;
    object_ref(OBJECT(sioc));
    vexp->dropped = false;
    vexp->log_all = false;
    vexp->config_changed = false;
    vexp->features = 0;
    vexp->protocol = 0;
    vexp->map = vu_map_new(vexp, NULL, NULL, 0, NULL, &error_abort);
    vexp->log = NULL;
    vexp->log_fd = -1;
    vexp->backend_fd = -1;
    vexp->inflight = NULL;
    vexp->postcopy = NULL;
    vexp->co = qemu_coroutine_create(connection, vexp);
    aio_co_enter(qemu_get_aio_context(), vexp->co);
}

static void listen_on(VuBlkExport *vexp)
{
    qio_net_listener_set_client_func(vexp->listener, accept_client, vexp, NULL);
}

bool vu_listen(VuBlkExport *vexp, SocketAddress *addr, Error **errp)
{
    QIONetListener *listener;

    if (addr->type != SOCKET_ADDRESS_TYPE_UNIX &&
        addr->type != SOCKET_ADDRESS_TYPE_FD) {
        error_setg(errp, "Only socket address types 'unix' and 'fd' are supported");
        return false;
    }
    listener = qio_net_listener_new();
    if (qio_net_listener_open_sync(listener, addr, 1, errp) < 0) {
        object_unref(OBJECT(listener));
        return false;
    }
    qio_net_listener_set_name(listener, "vhost-user-backend-listener");
    vexp->listener = listener;
    listen_on(vexp);
    return true;
}

void vu_shutdown(VuBlkExport *vexp)
{
    qio_net_listener_disconnect(vexp->listener);
    object_unref(OBJECT(vexp->listener));
    vexp->listener = NULL;
    if (vexp->sioc) {
        blk_exp_ref(&vexp->export);     /* until its end() */
        if (!vexp->dropped) {
            begin_end(vexp);
        }
    }
}
