/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The messages of the vhost-user protocol, see vhost-user-wire.h.
 */
#include "vhost-user-wire.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

/* "Header": flags */
#define FLAG_VERSION    0x1
#define FLAG_REPLY      0x4
#define FLAG_NEED_REPLY 0x8

#define HEADER_SIZE offsetof(struct message, payload)

_Static_assert(HEADER_SIZE == 12, "request, flags, size");
_Static_assert(sizeof(struct memory_table) == 40, "one region");

static struct {
    int fd;
    bool reply_ack;
} wire = { .fd = -1 };

int vu_connect(const char *path, double timeout)
{
    struct timeval limit = { .tv_sec = (time_t)timeout + 1 };

    wire.fd = connect_unix(path);
    setsockopt(wire.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return wire.fd;
}

void vu_use_reply_ack(bool use)
{
    wire.reply_ack = use;
}

static const char *message_name(uint32_t request)
{
    static const char *const names[] = {
        [GET_FEATURES] = "GET_FEATURES",
        [SET_FEATURES] = "SET_FEATURES",
        [SET_OWNER] = "SET_OWNER",
        [SET_MEM_TABLE] = "SET_MEM_TABLE",
        [SET_VRING_NUM] = "SET_VRING_NUM",
        [SET_VRING_ADDR] = "SET_VRING_ADDR",
        [SET_VRING_BASE] = "SET_VRING_BASE",
        [GET_VRING_BASE] = "GET_VRING_BASE",
        [SET_VRING_KICK] = "SET_VRING_KICK",
        [SET_VRING_CALL] = "SET_VRING_CALL",
        [GET_PROTOCOL_FEATURES] = "GET_PROTOCOL_FEATURES",
        [SET_PROTOCOL_FEATURES] = "SET_PROTOCOL_FEATURES",
        [GET_QUEUE_NUM] = "GET_QUEUE_NUM",
        [SET_VRING_ENABLE] = "SET_VRING_ENABLE",
        [GET_CONFIG] = "GET_CONFIG",
    };

    return names[request];
}

/* Sends @m, with the descriptor @fd unless it is -1. */
static void send_message(struct message *m, int fd)
{
    struct iovec iov = { .iov_base = m, .iov_len = HEADER_SIZE + m->size };
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t n;

    if (fd >= 0) {
        struct cmsghdr *c;

        msg.msg_control = control.space;
        msg.msg_controllen = sizeof(control.space);
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    }
    do {
        n = sendmsg(wire.fd, &msg, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)iov.iov_len) {
        die("vhost-user server: %s cannot be sent: %s",
            message_name(m->request), n < 0 ? strerror(errno) : "cut short");
    }
}

static void receive_bytes(void *to, size_t size, uint32_t request)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = recv(wire.fd, (char *)to + done, size - done, 0);

        if (n > 0) {
            done += n;
        } else if (n == 0) {
            die("the vhost-user server closed the connection at %s",
                message_name(request));
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            die("the vhost-user server does not answer %s",
                message_name(request));
        } else if (errno != EINTR) {
            die("vhost-user server: %s: %s", message_name(request),
                strerror(errno));
        }
    }
}

/* Receives the reply to @m into @m. */
static void receive_reply(struct message *m)
{
    uint32_t request = m->request;

    receive_bytes(m, HEADER_SIZE, request);
    if (m->request != request || !(m->flags & FLAG_REPLY) ||
        m->size > sizeof(m->payload)) {
        die("the vhost-user server's reply to %s is malformed",
            message_name(request));
    }
    receive_bytes(&m->payload, m->size, request);
}

void vu_tell(struct message *m, int fd)
{
    uint32_t request = m->request;

    m->flags = FLAG_VERSION | (wire.reply_ack ? FLAG_NEED_REPLY : 0);
    send_message(m, fd);
    if (wire.reply_ack) {
        receive_reply(m);
        if (m->payload.u64) {
            die("the vhost-user server refuses %s", message_name(request));
        }
    }
}

void vu_tell_u64(enum vu_request request, uint64_t value, int fd)
{
    struct message m = { .request = request, .size = sizeof(value) };

    m.payload.u64 = value;
    vu_tell(&m, fd);
}

void vu_tell_state(enum vu_request request, uint32_t index, uint32_t num)
{
    struct message m = {
        .request = request,
        .size = sizeof(m.payload.state),
        .payload.state = { .index = index, .num = num },
    };

    vu_tell(&m, -1);
}

void vu_ask(struct message *m)
{
    m->flags = FLAG_VERSION;
    send_message(m, -1);
    receive_reply(m);
}

uint64_t vu_ask_u64(enum vu_request request)
{
    struct message m = { .request = request };

    vu_ask(&m);
    if (m.size != sizeof(m.payload.u64)) {
        die("the vhost-user server's reply to %s is malformed",
            message_name(request));
    }
    return m.payload.u64;
}
