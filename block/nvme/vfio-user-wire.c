/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests to a vfio-user server and their replies.
 */

#include "qemu/osdep.h"
#include <sys/un.h>
#include "block/aio.h"
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/sockets.h"
#include "qemu/timer.h"
#include "vfio-user-wire.h"

#define FLAGS_TYPE     0xf
#define FLAGS_COMMAND  0
#define FLAGS_REPLY    1
#define FLAGS_NO_REPLY (1 << 4)
#define FLAGS_ERROR    (1 << 5)

/* Messages that are answered in one pass of the main loop. */
#define PASS 16

typedef struct Header {
    uint16_t id;
    uint16_t command;
    uint32_t size;              /* of the message with this header */
    uint32_t flags;
    uint32_t error;
} Header;

QEMU_BUILD_BUG_MSG(sizeof(Header) != 16, "the protocol's header has 16 bytes");

/* The message that is being received.  Its descriptors are open. */
typedef struct Incoming {
    size_t got;
    union {
        Header header;
        /* DMA_WRITE has 16 bytes before its data, what it may carry after them */
        char bytes[sizeof(Header) + 16 + VFIO_USER_MAX_DATA];
    };
    unsigned n_fds;
    int fds[VFIO_USER_MAX_FDS];
} Incoming;

struct VfioUserWire {
    char *path;
    int fd;
    QEMUBH *lost_bh;            /* once watched */
    NvmeTransportLost *lost;
    void *opaque;

    QemuMutex lock;             /* protects all below */
    uint16_t id;                /* of the last request */
    char *why;                  /* the connection is over; written once */
    bool is_hung_up;
    Incoming in;
};

static void G_GNUC_PRINTF(2, 0) end_va(VfioUserWire *w, const char *why,
                                       va_list args)
{
    if (w->why) {
        return;
    }
    w->why = g_strdup_vprintf(why, args);
    if (w->lost_bh) {
        qemu_bh_schedule(w->lost_bh);
    }
}

static void G_GNUC_PRINTF(2, 3) end(VfioUserWire *w, const char *why, ...)
{
    va_list args;

    va_start(args, why);
    end_va(w, why, args);
    va_end(args);
}

void vfio_user_end(VfioUserWire *w, const char *why, ...)
{
    va_list args;

    QEMU_LOCK_GUARD(&w->lock);
    va_start(args, why);
    end_va(w, why, args);
    va_end(args);
}

void vfio_user_hang_up(VfioUserWire *w)
{
    QEMU_LOCK_GUARD(&w->lock);
    w->is_hung_up = !w->why;
    end(w, "it is used no more");
    shutdown(w->fd, SHUT_RDWR);
}

static bool is_hung_up(VfioUserWire *w)
{
    QEMU_LOCK_GUARD(&w->lock);
    return w->is_hung_up;
}

const char *vfio_user_why(VfioUserWire *w)
{
    QEMU_LOCK_GUARD(&w->lock);
    return w->why;
}

static void drop_incoming(Incoming *in)
{
    for (unsigned i = 0; i < in->n_fds; i++) {
        close(in->fds[i]);
    }
    in->n_fds = 0;
    in->got = 0;
}

/* Takes the descriptors of @msg, so that none is lost; false if they are too many. */
static bool take_fds(Incoming *in, struct msghdr *msg)
{
    bool fit = !(msg->msg_flags & MSG_CTRUNC);
    struct cmsghdr *cmsg;

    for (cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        size_t n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(fd), sizeof(fd));
            if (in->n_fds < ARRAY_SIZE(in->fds)) {
                in->fds[in->n_fds++] = fd;
            } else {
                close(fd);
                fit = false;
            }
        }
    }
    return fit;
}

/* Up to @end of the message.  1: there; 0: not yet; -1: the connection is over. */
static int receive_up_to(VfioUserWire *w, size_t end_at)
{
    Incoming *in = &w->in;

    while (in->got < end_at) {
        char control[CMSG_SPACE(sizeof(int) * VFIO_USER_MAX_FDS)]
            QEMU_ALIGNED(sizeof(size_t));
        struct iovec iov = { in->bytes + in->got, end_at - in->got };
        struct msghdr msg = {
            .msg_iov = &iov,
            .msg_iovlen = 1,
            .msg_control = control,
            .msg_controllen = sizeof(control),
        };
        ssize_t got = RETRY_ON_EINTR(recvmsg(w->fd, &msg, MSG_CMSG_CLOEXEC));

        if (got < 0 && errno == EAGAIN) {
            return 0;
        }
        if (got < 0) {
            end(w, "it cannot be read from: %s", strerror(errno));
            return -1;
        }
        if (!take_fds(in, &msg)) {
            end(w, "it has sent more than %u descriptors", VFIO_USER_MAX_FDS);
            return -1;
        }
        if (!got) {
            end(w, "it has closed the connection");
            return -1;
        }
        in->got += got;
    }
    return 1;
}

/* One message, as far as it has come; returns as receive_up_to(). */
static int receive(VfioUserWire *w)
{
    int ret = receive_up_to(w, sizeof(Header));

    if (ret <= 0) {
        return ret;
    }
    if (w->in.header.size < sizeof(Header) ||
        w->in.header.size > sizeof(w->in.bytes)) {
        end(w, "it has sent a message of %" PRIu32 " bytes", w->in.header.size);
        return -1;
    }
    return receive_up_to(w, w->in.header.size);
}

/*
 * A request of the server's, of which there can be none but for memory: that it has
 * mapped.  The reply is short: a socket that does not take it whole is not read.
 */
static void refuse(VfioUserWire *w)
{
    const Header *request = &w->in.header;
    Header reply = {
        .id = request->id,
        .command = request->command,
        .size = sizeof(reply),
        .flags = FLAGS_REPLY | FLAGS_ERROR,
        .error = ENOTSUP,
    };

    if (!(request->flags & FLAGS_NO_REPLY) &&
        RETRY_ON_EINTR(send(w->fd, &reply, sizeof(reply), MSG_NOSIGNAL)) !=
        sizeof(reply)) {
        end(w, "it sends requests and does not read what they are answered");
    }
    drop_incoming(&w->in);
}

static bool is_request(const VfioUserWire *w)
{
    return (w->in.header.flags & FLAGS_TYPE) == FLAGS_COMMAND;
}

/* Until there is something to read, or the connection is over. */
static void wait_until(VfioUserWire *w, int64_t deadline)
{
    GPollFD poll_fd = { .fd = w->fd, .events = G_IO_IN };
    int64_t left = deadline - qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    int ret = left > 0 ? qemu_poll_ns(&poll_fd, 1, left) : 0;

    if (!ret) {
        end(w, "it has not replied in %d seconds",
            (int)(VFIO_USER_LIMIT_NS / NANOSECONDS_PER_SECOND));
    } else if (ret < 0 && errno != EINTR) {
        end(w, "poll(): %s", strerror(errno));
    }
}

/* The descriptors of @call, which go with the first byte. */
static void put_fds(struct msghdr *msg, char *control, const VfioUserCall *call)
{
    size_t size = call->n_fds * sizeof(int);
    struct cmsghdr *cmsg;

    if (!call->n_fds) {
        return;
    }
    memset(control, 0, CMSG_SPACE(size));
    msg->msg_control = control;
    msg->msg_controllen = CMSG_SPACE(size);
    cmsg = CMSG_FIRSTHDR(msg);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(cmsg), call->fds, size);
}

/*
 * Linux takes a message of this size whole or not at all, and the latter only if the
 * server has left unread what it was sent before.
 */
static bool send_request(VfioUserWire *w, const VfioUserCall *call)
{
    Header header = {
        .id = ++w->id,
        .command = call->command,
        .size = sizeof(header) + call->request_size,
        .flags = FLAGS_COMMAND,
    };
    struct iovec parts[] = {
        { &header, sizeof(header) },
        { (void *)call->request, call->request_size },
    };
    g_autofree char *control = g_malloc(CMSG_SPACE(call->n_fds * sizeof(int)));
    struct msghdr msg = { .msg_iov = parts, .msg_iovlen = ARRAY_SIZE(parts) };
    ssize_t sent;

    put_fds(&msg, control, call);
    sent = RETRY_ON_EINTR(sendmsg(w->fd, &msg, MSG_NOSIGNAL));
    if (sent != header.size) {
        end(w, "it cannot be written to: %s",
            sent < 0 ? strerror(errno) : "not all at once");
    }
    return !w->why;
}

/* What has been received is the reply to @call; false if it is not. */
static bool take_reply(VfioUserWire *w, VfioUserCall *call)
{
    const Header *reply = &w->in.header;
    size_t size = reply->size - sizeof(*reply);

    if ((reply->flags & FLAGS_TYPE) != FLAGS_REPLY || reply->id != w->id ||
        reply->command != call->command) {
        end(w, "it has replied to no request");
        return false;
    }
    if (reply->flags & FLAGS_ERROR) {
        /* the protocol lets it be 0; others are not to be believed to be errnos */
        call->error = reply->error && reply->error < 4096 ? reply->error : EIO;
        return true;
    }
    if (size < call->reply_min || size > call->reply_max) {
        end(w, "its reply to command %u has %zu bytes", call->command, size);
        return false;
    }
    if (w->in.n_fds && !call->reply_fds) {
        end(w, "its reply to command %u has descriptors", call->command);
        return false;
    }
    if (size) {
        memcpy(call->reply, w->in.bytes + sizeof(*reply), size);
    }
    call->reply_size = size;
    if (w->in.n_fds) {
        memcpy(call->reply_fds, w->in.fds, w->in.n_fds * sizeof(int));
    }
    call->n_reply_fds = w->in.n_fds;
    w->in.n_fds = 0;
    return true;
}

bool vfio_user_call(VfioUserWire *w, VfioUserCall *call)
{
    int64_t deadline;
    bool done = false;
    int ret;

    QEMU_LOCK_GUARD(&w->lock);
    /* from now: others may have waited for their replies before */
    deadline = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + VFIO_USER_LIMIT_NS;
    call->error = 0;
    call->n_reply_fds = 0;
    if (w->why || !send_request(w, call)) {
        return false;
    }
    while (!done && !w->why) {
        ret = receive(w);
        if (ret > 0 && !is_request(w)) {
            done = take_reply(w, call);
            drop_incoming(&w->in);
        } else if (ret > 0) {
            refuse(w);
            /* a server that has no end of them is not waited for longer */
            ret = 0;
        }
        if (!ret && !w->why) {
            wait_until(w, deadline);
        }
    }
    return done;
}

/* Between calls: an end, or a request.  A call that is under way sees it itself. */
static void readable(void *opaque)
{
    VfioUserWire *w = opaque;

    if (qemu_mutex_trylock(&w->lock)) {
        return;
    }
    for (int i = 0; i < PASS && !w->why && receive(w) > 0; i++) {
        if (is_request(w)) {
            refuse(w);
        } else {
            end(w, "it has replied to no request");
        }
    }
    qemu_mutex_unlock(&w->lock);
}

static void unwatch(VfioUserWire *w)
{
    aio_set_fd_handler(qemu_get_aio_context(), w->fd, NULL, NULL, NULL, NULL,
                       NULL);
}

static void lost_bh(void *opaque)
{
    VfioUserWire *w = opaque;

    unwatch(w);
    if (is_hung_up(w)) {
        return;
    }
    error_report("path '%s': the vfio-user server is lost: %s", w->path,
                 vfio_user_why(w));
    w->lost(w->opaque);
}

void vfio_user_watch(VfioUserWire *w, NvmeTransportLost *lost, void *opaque)
{
    w->lost = lost;
    w->opaque = opaque;
    w->lost_bh = aio_bh_new(qemu_get_aio_context(), lost_bh, w);
    aio_set_fd_handler(qemu_get_aio_context(), w->fd, readable, NULL, NULL,
                       NULL, w);
}

/* connect() waits while the server's queue of connections is full. */
static int connect_to(const char *path, Error **errp)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct timeval limit = {
        .tv_sec = VFIO_USER_LIMIT_NS / NANOSECONDS_PER_SECOND,
    };
    int fd;

    if (strlen(path) >= sizeof(address.sun_path)) {
        error_setg(errp, "path '%s' is too long: a UNIX socket's has at most "
                   "%zu bytes", path, sizeof(address.sun_path) - 1);
        return -1;
    }
    strcpy(address.sun_path, path);
    fd = qemu_socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) {
        error_setg_errno(errp, errno, "path '%s': no socket", path);
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (RETRY_ON_EINTR(connect(fd, (struct sockaddr *)&address,
                               sizeof(address)))) {
        error_setg_errno(errp, errno, "path '%s': cannot connect to a vfio-user "
                         "server", path);
        close(fd);
        return -1;
    }
    qemu_socket_set_nonblock(fd);
    return fd;
}

VfioUserWire *vfio_user_connect(const char *path, Error **errp)
{
    int fd = connect_to(path, errp);
    VfioUserWire *w;

    if (fd < 0) {
        return NULL;
    }
    w = g_new0(VfioUserWire, 1);
    w->path = g_strdup(path);
    w->fd = fd;
    qemu_mutex_init(&w->lock);
    return w;
}

void vfio_user_disconnect(VfioUserWire *w)
{
    if (w->lost_bh) {
        unwatch(w);
        qemu_bh_delete(w->lost_bh);
    }
    drop_incoming(&w->in);
    close(w->fd);
    qemu_mutex_destroy(&w->lock);
    g_free(w->why);
    g_free(w->path);
    g_free(w);
}
