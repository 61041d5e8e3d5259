/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client's side of vfio-user (docs/vfio-user.rst of libvfio-user), as far as
 * nvmeping needs it.
 */
#include "ping.h"
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "vfio-user.h"

#define DOORBELLS 0x1000

static void receive(Wire *w, void *to, size_t bytes, int *fd)
{
    char control[CMSG_SPACE(8 * sizeof(int))];
    struct iovec iov = { to, bytes };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    struct cmsghdr *cmsg;

    if (fd) {
        msg.msg_control = control;
        msg.msg_controllen = sizeof(control);
    }
    if (bytes && recvmsg(w->fd, &msg, MSG_WAITALL) != (ssize_t)bytes) {
        die("the target has gone");
    }
    cmsg = fd ? CMSG_FIRSTHDR(&msg) : NULL;
    if (cmsg && cmsg->cmsg_type == SCM_RIGHTS) {
        memcpy(fd, CMSG_DATA(cmsg), sizeof(int));
    }
}

/*
 * Sends a command and waits for its reply, of which *out_size bytes at most are
 * stored.  @fd goes with the command unless it is -1; *reply_fd comes back.
 */
static void call(Wire *w, unsigned command, const void *in, size_t in_size, int fd,
                 void *out, size_t out_size, int *reply_fd)
{
    struct vfio_user_header header = {
        .msg_id = ++w->id, .cmd = command, .msg_size = sizeof(header) + in_size,
    };
    struct iovec iov[2] = { { &header, sizeof(header) }, { (void *)in, in_size } };
    char control[CMSG_SPACE(sizeof(int))] = { };
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
    g_autofree uint8_t *body = NULL;
    size_t size;

    if (fd >= 0) {
        struct cmsghdr *cmsg;

        msg.msg_control = control;
        msg.msg_controllen = sizeof(control);
        cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
    }
    if (sendmsg(w->fd, &msg, MSG_NOSIGNAL) != (ssize_t)header.msg_size) {
        die("cannot send to the target: %s", strerror(errno));
    }
    receive(w, &header, sizeof(header), reply_fd);
    if (header.flags.error) {
        die("vfio-user command %u: %s", command, strerror(header.error_no));
    }
    if (header.msg_size < sizeof(header) || header.msg_size > 1 << 20) {
        die("vfio-user command %u: a reply of %u bytes", command, header.msg_size);
    }
    size = header.msg_size - sizeof(header);
    body = g_malloc(size);
    receive(w, body, size, NULL);
    if (out) {
        memcpy(out, body, MIN(size, out_size));
    }
}

/* The first area of BAR0 that can be mapped, which starts with the doorbells. */
static void map_doorbells(Wire *w)
{
    struct {
        struct vfio_region_info info;
        struct vfio_region_info_cap_sparse_mmap sparse;
        struct vfio_region_sparse_mmap_area area;
    } reply = { .info = { .argsz = sizeof(reply) } };
    int fd = -1;
    void *p;

    call(w, VFIO_USER_DEVICE_GET_REGION_INFO, &reply.info, sizeof(reply.info), -1,
         &reply, sizeof(reply), &fd);
    if (fd < 0) {
        return;
    }
    if (!(reply.info.flags & VFIO_REGION_INFO_FLAG_CAPS) ||
        reply.info.cap_offset != sizeof(reply.info) ||
        reply.area.offset != DOORBELLS) {
        die("BAR0 is mapped in another way than this program knows");
    }
    p = mmap(NULL, reply.area.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
             reply.info.offset + reply.area.offset);
    if (p == MAP_FAILED) {
        die("cannot map the doorbells: %s", strerror(errno));
    }
    w->doorbells = p;
    close(fd);
}

void wire_open(Wire *w, const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct {
        struct vfio_user_version version;
        char json[80];
    } QEMU_PACKED hello = {
        .version = { .major = 0, .minor = 1 },
        .json = "{\"capabilities\":{\"max_msg_fds\":8}}",
    };
    unsigned tries;

    if (strlen(path) >= sizeof(address.sun_path)) {
        die("--socket: %s is too long", path);
    }
    memcpy(address.sun_path, path, strlen(path));
    w->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    for (tries = 0; connect(w->fd, (struct sockaddr *)&address, sizeof(address));
         tries++) {
        if ((errno != ENOENT && errno != ECONNREFUSED) || tries == 15000) {
            die("--socket: cannot connect to %s: %s", path, strerror(errno));
        }
        g_usleep(20 * 1000);            /* it may be starting */
    }
    call(w, VFIO_USER_VERSION, &hello,
         sizeof(hello.version) + strlen(hello.json) + 1, -1, NULL, 0, NULL);
    map_doorbells(w);
}

uint64_t wire_read(Wire *w, unsigned offset, unsigned size)
{
    struct vfio_user_region_access in = { .offset = offset, .count = size };
    struct {
        struct vfio_user_region_access head;
        uint64_t value;
    } QEMU_PACKED out = { };

    call(w, VFIO_USER_REGION_READ, &in, sizeof(in), -1, &out, sizeof(out), NULL);
    return out.value;
}

void wire_write(Wire *w, unsigned offset, unsigned size, uint64_t value)
{
    struct {
        struct vfio_user_region_access head;
        uint64_t value;
    } QEMU_PACKED in = { { .offset = offset, .count = size }, value };

    call(w, VFIO_USER_REGION_WRITE, &in, sizeof(in.head) + size, -1, NULL, 0, NULL);
}

void wire_map(Wire *w, int fd, uint64_t iova, uint64_t size)
{
    struct vfio_user_dma_map in = {
        .argsz = sizeof(in),
        .flags = VFIO_USER_F_DMA_REGION_READ | VFIO_USER_F_DMA_REGION_WRITE,
        .addr = iova,
        .size = size,
    };

    call(w, VFIO_USER_DMA_MAP, &in, sizeof(in), fd, NULL, 0, NULL);
}
