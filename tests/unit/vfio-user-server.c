/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A vfio-user server for tests.
 */

#include "qemu/osdep.h"
#include <sys/eventfd.h>
#include <sys/un.h>
#include "hw/pci/pci_regs.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/memfd.h"
#include "qemu/sockets.h"
#include "vfio-user-server.h"

typedef struct Message {
    struct {
        uint16_t id;
        uint16_t command;
        uint32_t size;
        uint32_t flags;
        uint32_t error;
    } header;
    QEMU_ALIGNED(8) uint8_t payload[8192];
    unsigned n_fds;
    int fds[32];
} Message;

#define HEADER   sizeof(((Message *)0)->header)
#define IS_REPLY 1
#define IS_ERROR (1 << 5)

static void G_GNUC_PRINTF(2, 3) say(Server *s, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_mutex_lock(&s->lock);
    g_string_append_vprintf(s->log, format, args);
    g_mutex_unlock(&s->lock);
    va_end(args);
}

char *server_log(Server *s)
{
    char *log;

    g_mutex_lock(&s->lock);
    log = g_strdup(s->log->str);
    g_string_truncate(s->log, 0);
    g_mutex_unlock(&s->lock);
    return log;
}

static bool read_all(int fd, uint8_t *bytes, size_t size, Message *m)
{
    while (size) {
        char control[CMSG_SPACE(sizeof(m->fds))] QEMU_ALIGNED(sizeof(size_t));
        struct iovec iov = { bytes, size };
        struct msghdr msg = {
            .msg_iov = &iov,
            .msg_iovlen = 1,
            .msg_control = control,
            .msg_controllen = sizeof(control),
        };
        ssize_t got = RETRY_ON_EINTR(recvmsg(fd, &msg, MSG_CMSG_CLOEXEC));
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

        if (got <= 0) {
            return false;
        }
        if (cmsg) {
            m->n_fds = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(m->fds, CMSG_DATA(cmsg), m->n_fds * sizeof(int));
        }
        bytes += got;
        size -= got;
    }
    return true;
}

static void write_all(int fd, const uint8_t *bytes, size_t size, const int *fds,
                      unsigned n_fds)
{
    char control[CMSG_SPACE(32 * sizeof(int))] QEMU_ALIGNED(sizeof(size_t)) = { };
    struct iovec iov = { (void *)bytes, size };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (n_fds) {
        struct cmsghdr *cmsg;

        msg.msg_control = control;
        msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(cmsg), fds, n_fds * sizeof(int));
    }
    /* a client that has gone is none of the server's business */
    if (RETRY_ON_EINTR(sendmsg(fd, &msg, MSG_NOSIGNAL)) < 0) {
        g_assert_true(errno == EPIPE || errno == ECONNRESET);
    }
}

static void version(Server *s, ServerReply *r)
{
    uint16_t numbers[] = { 0, 1 };
    int n;

    memcpy(r->payload, numbers, sizeof(numbers));
    n = sprintf((char *)r->payload + 4, "{\"capabilities\":{\"max_msg_fds\":%d,"
                "\"max_data_xfer_size\":1048576}}", SERVER_MSG_FDS);
    r->size = 4 + n + 1;
}

static void device_info(ServerReply *r)
{
    uint32_t info[] = {
        16, VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET,
        VFIO_PCI_NUM_REGIONS, VFIO_PCI_NUM_IRQS,
    };

    r->size = sizeof(info);
    memcpy(r->payload, info, sizeof(info));
}

static void region_info(Server *s, ServerReply *r)
{
    struct {
        struct vfio_region_info info;
        struct vfio_info_cap_header header;
        uint32_t nr_areas;
        uint32_t reserved;
        struct vfio_region_sparse_mmap_area areas[2];
    } reply = {
        .info = {
            .argsz = sizeof(reply),
            .flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
                     VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS,
            .index = VFIO_PCI_BAR0_REGION_INDEX,
            .cap_offset = sizeof(struct vfio_region_info),
            .size = SERVER_BAR,
        },
        .header = { .id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1 },
        .nr_areas = 2,
        .areas = { { 0x3000, 0x1000 }, { 0x1000, 0x1000 } },
    };

    r->size = sizeof(reply);
    memcpy(r->payload, &reply, sizeof(reply));
    r->n_fds = 2;
    for (int i = 0; i < 2; i++) {
        r->fds[i] = dup(s->doorbells);
    }
}

static void irq_info(const Message *m, ServerReply *r)
{
    struct vfio_irq_info info;

    memcpy(&info, m->payload, sizeof(info));
    g_assert_cmpuint(info.argsz, ==, sizeof(info));
    info.flags = VFIO_IRQ_INFO_EVENTFD;
    info.count = info.index == VFIO_PCI_MSIX_IRQ_INDEX ? SERVER_VECTORS : 0;
    r->size = sizeof(info);
    memcpy(r->payload, &info, sizeof(info));
}

static void set_irqs(Server *s, Message *m, ServerReply *r)
{
    struct vfio_irq_set set;

    memcpy(&set, m->payload, sizeof(set));
    say(s, "irqs %u flags 0x%x start %u count %u fds %u\n", set.index, set.flags,
        set.start, set.count, m->n_fds);
    if (m->n_fds > SERVER_MSG_FDS || set.start + set.count > SERVER_VECTORS) {
        r->error = EINVAL;
        return;
    }
    g_mutex_lock(&s->lock);
    for (unsigned i = 0; i < m->n_fds; i++) {
        s->irqs[set.start + i] = m->fds[i];
    }
    g_mutex_unlock(&s->lock);
    m->n_fds = 0;
}

static void access_region(Server *s, const Message *m, ServerReply *r)
{
    bool writes = m->header.command == VFIO_USER_REGION_WRITE;
    uint64_t offset = ldq_le_p(m->payload);
    uint32_t region = ldl_le_p(m->payload + 8);
    uint32_t count = ldl_le_p(m->payload + 12);
    bool config = region == VFIO_PCI_CONFIG_REGION_INDEX;
    uint8_t *bytes = config ? s->config : s->registers;
    size_t size = config ? sizeof(s->config) : sizeof(s->registers);

    if (offset + count > size) {
        r->error = EINVAL;
        return;
    }
    if (!config || writes) {
        say(s, "%s %s 0x%x size %u\n", writes ? "write" : "read",
            config ? "config" : "bar", (unsigned)offset, count);
    }
    memcpy(r->payload, m->payload, 16);
    r->size = 16 + (writes ? 0 : count);
    g_mutex_lock(&s->lock);
    if (writes) {
        memcpy(bytes + offset, m->payload + 16, count);
    } else {
        memcpy(r->payload + 16, bytes + offset, count);
    }
    g_mutex_unlock(&s->lock);
}

static void answer(Server *s, Message *m, ServerReply *r)
{
    switch (m->header.command) {
    case VFIO_USER_VERSION:
        version(s, r);
        break;
    case VFIO_USER_DEVICE_GET_INFO:
        device_info(r);
        break;
    case VFIO_USER_DEVICE_GET_REGION_INFO:
        region_info(s, r);
        break;
    case VFIO_USER_DEVICE_GET_IRQ_INFO:
        irq_info(m, r);
        break;
    case VFIO_USER_DEVICE_SET_IRQS:
        set_irqs(s, m, r);
        break;
    case VFIO_USER_REGION_READ:
    case VFIO_USER_REGION_WRITE:
        access_region(s, m, r);
        break;
    case VFIO_USER_DMA_MAP:
        say(s, "map flags 0x%x offset 0x%" PRIx64 " address 0x%" PRIx64
            " size 0x%" PRIx64 " fds %u\n", ldl_le_p(m->payload + 4),
            ldq_le_p(m->payload + 8), ldq_le_p(m->payload + 16),
            ldq_le_p(m->payload + 24), m->n_fds);
        break;
    case VFIO_USER_DMA_UNMAP:
        say(s, "unmap address 0x%" PRIx64 " size 0x%" PRIx64 "\n",
            ldq_le_p(m->payload + 8), ldq_le_p(m->payload + 16));
        r->size = 24;
        memcpy(r->payload, m->payload, r->size);
        break;
    case VFIO_USER_DEVICE_RESET:
        say(s, "reset\n");
        g_mutex_lock(&s->lock);
        memset(s->config + PCI_COMMAND, 0, 2);
        memset(s->config + PCI_BASE_ADDRESS_0, 0, 4);
        memset(s->config + SERVER_MSIX + PCI_MSIX_FLAGS, 0, 2);
        g_mutex_unlock(&s->lock);
        break;
    default:
        g_assert_not_reached();
    }
}

/* Changes the reply.  How many bytes are sent of it. */
static size_t spoil(Server *s, Message *out, ServerReply *r)
{
    size_t size = out->header.size;

    switch (s->fault) {
    case FAULT_ID:
        out->header.id++;
        break;
    case FAULT_COMMAND:
        out->header.command++;
        break;
    case FAULT_TYPE:
        out->header.flags = 2;
        break;
    case FAULT_SIZE_SMALL:
        out->header.size = HEADER - 1;
        break;
    case FAULT_SIZE_LARGE:
        out->header.size = HEADER + 16 + VFIO_USER_MAX_DATA + 1;
        break;
    case FAULT_SIZE_WILD:
        out->header.size = UINT32_MAX;
        break;
    case FAULT_SHORT:
        out->header.size--;
        return MAX(size - 1, HEADER);
    case FAULT_LONG:
        return ++out->header.size;
    case FAULT_FDS:
    case FAULT_MANY_FDS:
        while (r->n_fds < (s->fault == FAULT_FDS ? 1 : 32)) {
            r->fds[r->n_fds++] = dup(s->doorbells);
        }
        break;
    case FAULT_CUT_HEADER:
        return HEADER / 2;
    case FAULT_CUT_PAYLOAD:
        return size - 1;
    case FAULT_CLOSE:
    case FAULT_SILENT:
        return 0;
    default:
        g_assert_not_reached();
    }
    return size;
}

/* What it must not ask for; the client's answers are read among its requests. */
static void ask(Server *s)
{
    Message m = { .header = {
        .id = 0x1234, .command = VFIO_USER_DMA_READ, .size = HEADER + 16,
    } };

    write_all(s->fd, (uint8_t *)&m.header, HEADER, NULL, 0);
    write_all(s->fd, m.payload, 16, NULL, 0);
}

static bool reply_to(Server *s, Message *m)
{
    ServerReply r = { };
    Message out = { .header = m->header };
    bool faulty = m->header.command == s->fault_at && s->fault &&
                  !s->fault_after--;
    size_t size;

    for (unsigned i = 0; i < s->requests; i++) {
        ask(s);
    }
    answer(s, m, &r);
    if (s->edit) {
        s->edit(s, m->header.command, &r);
    }
    out.header.flags = IS_REPLY | (r.error ? IS_ERROR : 0);
    out.header.error = r.error;
    out.header.size = HEADER + (r.error ? 0 : r.size);
    size = faulty ? spoil(s, &out, &r) : out.header.size;
    /* one piece: it goes with the descriptors */
    memcpy(out.payload, r.payload, r.size);
    if (size) {
        write_all(s->fd, (uint8_t *)&out.header, size, r.fds, r.n_fds);
    }
    for (unsigned i = 0; i < r.n_fds; i++) {
        close(r.fds[i]);
    }
    if (faulty && s->fault == FAULT_SILENT) {
        uint64_t one = 1;

        g_assert_cmpint(write(s->silence, &one, sizeof(one)), ==, sizeof(one));
    }
    return !faulty || (s->fault != FAULT_CUT_HEADER && s->fault != FAULT_CLOSE &&
                       s->fault != FAULT_CUT_PAYLOAD);
}

static bool serve_one(Server *s)
{
    g_autofree Message *m = g_new0(Message, 1);
    bool more;

    if (!read_all(s->fd, (uint8_t *)&m->header, HEADER, m) ||
        !read_all(s->fd, m->payload, m->header.size - HEADER, m)) {
        return false;
    }
    if (m->header.flags & IS_REPLY) {
        g_assert_cmphex(m->header.id, ==, 0x1234);
        g_assert_cmpuint(m->header.command, ==, VFIO_USER_DMA_READ);
        g_assert_cmphex(m->header.flags, ==, IS_REPLY | IS_ERROR);
        g_assert_cmpuint(m->header.size, ==, HEADER);
        g_mutex_lock(&s->lock);
        s->refused++;
        g_mutex_unlock(&s->lock);
        return true;
    }
    more = reply_to(s, m);
    for (unsigned i = 0; i < m->n_fds; i++) {
        close(m->fds[i]);
    }
    return more;
}

static void *serve(void *opaque)
{
    Server *s = opaque;
    int fd = RETRY_ON_EINTR(accept(s->listener, NULL, NULL));

    g_mutex_lock(&s->lock);
    s->fd = fd;
    g_mutex_unlock(&s->lock);
    while (serve_one(s)) {
        ;
    }
    /* not closed: server_send() may be using it */
    shutdown(fd, SHUT_RDWR);
    return NULL;
}

void server_send(Server *s, const void *bytes, size_t size)
{
    write_all(s->fd, bytes, size, NULL, 0);
}

void server_hang_up(Server *s)
{
    shutdown(s->fd, SHUT_RDWR);
}

void server_init(Server *s)
{
    *s = (Server) { .fd = -1 };
    g_mutex_init(&s->lock);
    s->log = g_string_new(NULL);
    s->folder = g_dir_make_tmp("nvme-transport-XXXXXX", NULL);
    s->path = g_build_filename(s->folder, "socket", NULL);
    s->doorbells = qemu_memfd_create("bar", SERVER_BAR, false, 0, 0, &error_abort);
    s->silence = eventfd(0, EFD_CLOEXEC);
    for (int i = 0; i < SERVER_VECTORS; i++) {
        s->irqs[i] = -1;
    }
    s->config[PCI_CAPABILITY_LIST] = 0x50;
    s->config[0x50] = PCI_CAP_ID_PM;
    s->config[0x51] = SERVER_MSIX;
    s->config[SERVER_MSIX] = PCI_CAP_ID_MSIX;
}

void server_start(Server *s)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    strcpy(address.sun_path, s->path);
    s->listener = qemu_socket(AF_UNIX, SOCK_STREAM, 0);
    g_assert_cmpint(bind(s->listener, (struct sockaddr *)&address,
                         sizeof(address)), ==, 0);
    g_assert_cmpint(listen(s->listener, 1), ==, 0);
    s->thread = g_thread_new("server", serve, s);
}

void server_join(Server *s)
{
    if (s->thread) {
        g_thread_join(s->thread);
        s->thread = NULL;
    }
}

void server_stop(Server *s)
{
    server_join(s);
    close(s->fd);
    close(s->listener);
    close(s->doorbells);
    close(s->silence);
    for (int i = 0; i < SERVER_VECTORS; i++) {
        if (s->irqs[i] >= 0) {
            close(s->irqs[i]);
        }
    }
    unlink(s->path);
    rmdir(s->folder);
    g_free(s->path);
    g_free(s->folder);
    g_string_free(s->log, true);
    g_mutex_clear(&s->lock);
}
