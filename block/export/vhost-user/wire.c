/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages of the vhost-user protocol, to and from the socket.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/sockets.h"
#include "export.h"

static void close_fds(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
}

void vu_message_clear(VuMessage *msg)
{
    close_fds(msg->fds, msg->n_fds);
    msg->n_fds = 0;
    vu_close(&msg->reply_fd);
}

int vu_message_take_fd(VuMessage *msg, unsigned i)
{
    int fd = msg->fds[i];

    msg->fds[i] = -1;
    return fd;
}

int vu_message_take_eventfd(VuMessage *msg, Error **errp)
{
    int fd = vu_message_take_fd(msg, 0);
    int ret = qemu_socket_try_set_nonblock(fd);

    if (ret < 0) {
        error_setg_errno(errp, -ret, "a file descriptor that is no eventfd");
        close(fd);
        return -1;
    }
    return fd;
}

void vu_message_answer_u64(VuMessage *msg, uint64_t value)
{
    msg->u64 = value;
    msg->header.size = sizeof(msg->u64);
    msg->replied = true;
}

/* The header, and the file descriptors that come with its first byte. */
static int coroutine_fn read_header(QIOChannel *ioc, VuMessage *msg,
                                    Error **errp)
{
    struct iovec iov = { &msg->header, sizeof(msg->header) };
    g_autofree int *fds = NULL;
    size_t n = 0;
    int ret = qio_channel_readv_full_all_eof(ioc, &iov, 1, &fds, &n, 0, errp);

    if (ret <= 0) {
        return ret;
    }
    if (n > VU_MAX_FDS) {
        error_setg(errp, "%zu file descriptors in a message", n);
        close_fds(fds, n);
        return -1;
    }
    for (; msg->n_fds < n; msg->n_fds++) {
        msg->fds[msg->n_fds] = fds[msg->n_fds];
    }
    return 1;
}

int coroutine_fn vu_message_read(QIOChannel *ioc, VuMessage *msg, Error **errp)
{
    int ret;

    *msg = (VuMessage) { .reply_fd = -1 };
    ret = read_header(ioc, msg, errp);
    if (ret <= 0) {
        return ret;
    }
    if ((msg->header.flags & VU_VERSION_MASK) != VU_VERSION ||
        msg->header.flags & VU_REPLY ||
        msg->header.size > sizeof(msg->config)) {
        error_setg(errp, "message %u with flags %#x and %u bytes",
                   msg->header.request, msg->header.flags, msg->header.size);
        ret = -1;
    } else if (msg->header.size) {
        ret = qio_channel_read_all(ioc, (char *)&msg->u64, msg->header.size,
                                   errp) < 0 ? -1 : 1;
    }
    if (ret < 0) {
        vu_message_clear(msg);
    }
    return ret;
}

int coroutine_fn vu_message_reply(QIOChannel *ioc, VuMessage *msg, Error **errp)
{
    struct iovec iov[] = {
        { &msg->header, sizeof(msg->header) },
        { &msg->u64, msg->header.size },
    };

    msg->header.flags = VU_VERSION | VU_REPLY;
    return qio_channel_writev_full_all(ioc, iov, G_N_ELEMENTS(iov),
                                       &msg->reply_fd, msg->reply_fd >= 0, 0,
                                       errp);
}

bool vu_backend_send(int fd, uint32_t request)
{
    VuHeader header = { .request = request, .flags = VU_VERSION };

    /* nothing waits for a front-end that does not read */
    return send(fd, &header, sizeof(header), MSG_DONTWAIT | MSG_NOSIGNAL) ==
           sizeof(header);
}
