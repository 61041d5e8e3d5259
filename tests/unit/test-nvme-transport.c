/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reaching an NVMe controller: what a vfio-user server may say and do, and the
 * address of a PCI function.
 */

#include "qemu/osdep.h"
#include <sys/eventfd.h>
#include "block/aio.h"
#include "hw/pci/pci_regs.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/main-loop.h"
#include "qemu/memfd.h"
#include "qemu/timer.h"
#include "vfio-user-server.h"

#define poll_until(condition)                         \
    do {                                              \
        while (!(condition)) {                        \
            aio_poll(qemu_get_aio_context(), true);   \
        }                                             \
    } while (0)

/* For what another thread does, which wakes nobody. */
#define spin_until(condition)                         \
    do {                                              \
        while (!(condition)) {                        \
            aio_poll(qemu_get_aio_context(), false);  \
            g_thread_yield();                         \
        }                                             \
    } while (0)

static Server server;
static unsigned lost;           /* how often; main loop */
static bool in_call;            /* of the transport, in the main loop's thread */

/* What waits of the client have been for, since open(). */
static int64_t waits[64];
static unsigned n_waits;

int __real_qemu_poll_ns(GPollFD *fds, guint nfds, int64_t timeout);
int __wrap_qemu_poll_ns(GPollFD *fds, guint nfds, int64_t timeout);

/* A client's wait ends at once when the server will not answer. */
int __wrap_qemu_poll_ns(GPollFD *fds, guint nfds, int64_t timeout)
{
    GPollFD both[2];
    int ret;

    if (!in_call || nfds != 1) {
        return __real_qemu_poll_ns(fds, nfds, timeout);
    }
    if (n_waits < ARRAY_SIZE(waits)) {
        waits[n_waits] = timeout;
    }
    n_waits++;
    both[0] = fds[0];
    both[1] = (GPollFD) { .fd = server.silence, .events = G_IO_IN };
    ret = __real_qemu_poll_ns(both, 2, -1);
    fds[0].revents = both[0].revents;
    return ret < 0 ? ret : !!both[0].revents;
}

static void on_lost(void *opaque)
{
    g_assert_false(in_call);
    g_assert_true(opaque == &server);
    lost++;
}

static NvmeTransport *try_open(Error **errp)
{
    NvmeTransport *t;

    lost = 0;
    n_waits = 0;
    in_call = true;
    t = nvme_vfio_user_open(server.path, on_lost, &server, errp);
    in_call = false;
    return t;
}

static NvmeTransport *open_server(void)
{
    server_start(&server);
    return try_open(&error_abort);
}

static void close_server(NvmeTransport *t)
{
    if (t) {
        t->ops->close(t);
    }
    server_stop(&server);
}

static unsigned count_fds(void)
{
    GDir *dir = g_dir_open("/proc/self/fd", 0, NULL);
    unsigned n = 0;

    while (g_dir_read_name(dir)) {
        n++;
    }
    g_dir_close(dir);
    return n;
}

static void assert_log(const char *expected)
{
    g_autofree char *log = server_log(&server);

    g_assert_cmpstr(log, ==, expected);
}

/* Calls, by the command that they send. */

static int call_read(NvmeTransport *t)
{
    uint64_t value;

    return t->ops->read(t, 0, 8, &value);
}

static int call_write(NvmeTransport *t)
{
    return t->ops->write(t, 0x14, 4, 1);
}

static NvmeDmaMapping mapping(void)
{
    return (NvmeDmaMapping) {
        .size = 0x200000, .iova = 0x40000000, .fd = server.doorbells,
        .fd_offset = 0x1000,
    };
}

static int call_map(NvmeTransport *t)
{
    NvmeDmaMapping m = mapping();
    Error *err = NULL;
    int ret = t->ops->map(t, &m, &err);

    g_assert_true(!ret == !err);
    error_free(err);
    return ret;
}

static int call_unmap(NvmeTransport *t)
{
    NvmeDmaMapping m = mapping();

    t->ops->unmap(t, &m);
    return 0;
}

static int call_set_irqs(NvmeTransport *t)
{
    int fds[] = { server.silence };
    Error *err = NULL;
    int ret = t->ops->set_irqs(t, fds, 1, &err);

    g_assert_true(!ret == !err);
    error_free(err);
    return ret;
}

static int call_reset(NvmeTransport *t)
{
    return t->ops->reset(t);
}

static const struct {
    uint16_t command;
    int (*make)(NvmeTransport *t);
} calls[] = {
    { VFIO_USER_REGION_READ, call_read },
    { VFIO_USER_REGION_WRITE, call_write },
    { VFIO_USER_DMA_MAP, call_map },
    { VFIO_USER_DMA_UNMAP, call_unmap },
    { VFIO_USER_DEVICE_SET_IRQS, call_set_irqs },
    { VFIO_USER_DEVICE_RESET, call_reset },
};

static int make(NvmeTransport *t, unsigned call)
{
    int ret;

    in_call = true;
    ret = calls[call].make(t);
    in_call = false;
    return ret;
}

static void test_registers(void)
{
    NvmeTransport *t;
    uint64_t value;

    server_init(&server);
    stq_le_p(server.registers, 0x1122334455667788);
    t = open_server();
    g_assert_cmpint(t->n_irqs, ==, SERVER_VECTORS);
    g_assert_true(t->needs_fd);
    g_assert_cmpuint(t->n_ranges, ==, 1);
    /* BAR0 has an address; bus mastering is on */
    assert_log("write config 0x10 size 4\nwrite config 0x4 size 2\n");
    g_assert_cmphex(server.config[PCI_COMMAND], ==,
                    PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);

    g_assert_cmpint(t->ops->read(t, 0, 8, &value), ==, 0);
    g_assert_cmphex(value, ==, 0x1122334455667788);
    assert_log("read bar 0x0 size 4\nread bar 0x4 size 4\n");
    g_assert_cmpint(t->ops->read(t, 4, 4, &value), ==, 0);
    g_assert_cmphex(value, ==, 0x11223344);
    assert_log("read bar 0x4 size 4\n");

    g_assert_cmpint(t->ops->write(t, 0x28, 8, 0xaabbccdd00010002), ==, 0);
    assert_log("write bar 0x28 size 4\nwrite bar 0x2c size 4\n");
    g_assert_cmphex(ldq_le_p(server.registers + 0x28), ==, 0xaabbccdd00010002);
    g_assert_cmpint(t->ops->write(t, 0x14, 4, 0x460001), ==, 0);
    g_assert_cmphex(ldq_le_p(server.registers + 0x14), ==, 0x460001);
    close_server(t);
}

/* An error reply is an error of the call, not of the connection. */
static void test_refused(void)
{
    NvmeTransport *t;
    uint64_t value;

    server_init(&server);
    t = open_server();
    g_assert_cmpint(t->ops->read(t, NVME_DOORBELLS - 4, 8, &value), ==, -EIO);
    g_assert_cmpint(t->ops->write(t, NVME_DOORBELLS, 4, 1), ==, -EIO);
    g_assert_cmpint(call_read(t), ==, 0);
    close_server(t);
    g_assert_cmpuint(lost, ==, 0);
}

static void test_doorbells(void)
{
    NvmeTransport *t;
    uint32_t value = 0;

    server_init(&server);
    t = open_server();
    g_assert_nonnull((void *)t->doorbells);
    g_assert_cmphex(t->doorbells_size, ==, 0x1000);
    t->doorbells[3] = 0x5678;
    g_assert_cmpint(pread(server.doorbells, &value, 4, NVME_DOORBELLS + 12), ==, 4);
    g_assert_cmphex(value, ==, 0x5678);
    close_server(t);
}

/* Who writes to them does so in vain, and whoever waits is told. */
static void test_doorbells_taken_away(void)
{
    NvmeTransport *t;

    server_init(&server);
    t = open_server();
    g_assert_cmpint(ftruncate(server.doorbells, 0), ==, 0);
    g_assert_cmpuint(lost, ==, 0);
    t->doorbells[3] = 0x5678;
    g_assert_cmphex(t->doorbells[3], ==, 0x5678);
    poll_until(lost);
    t->doorbells[3] = 0x1234;
    g_assert_cmpint(call_read(t), ==, -EIO);
    g_assert_cmpuint(lost, ==, 1);
    close_server(t);
}

static void edit_errno(Server *s, uint16_t command, ServerReply *reply)
{
    if (command == VFIO_USER_DMA_MAP) {
        reply->error = s->value;
    }
}

static void test_map(void)
{
    NvmeDmaMapping m;
    NvmeTransport *t;
    Error *err = NULL;

    server_init(&server);
    t = open_server();
    g_free(server_log(&server));
    m = mapping();
    g_assert_cmpint(t->ops->map(t, &m, &error_abort), ==, 0);
    assert_log("map flags 0x3 offset 0x1000 address 0x40000000 size 0x200000 "
               "fds 1\n");
    t->ops->unmap(t, &m);
    assert_log("unmap address 0x40000000 size 0x200000\n");

    m.fd = -1;
    g_assert_cmpint(t->ops->map(t, &m, &err), ==, -ENOTSUP);
    error_free_or_abort(&err);
    assert_log("");
    close_server(t);
}

static void test_map_refused(void)
{
    static const struct {
        int theirs;
        int ours;
    } errors[] = {
        { ENOSPC, -ENOSPC }, { EINVAL, -ENOSPC }, { ENOMEM, -ENOSPC },
        { EACCES, -EACCES }, { -1, -EIO },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(errors); i++) {
        NvmeTransport *t;

        server_init(&server);
        server.edit = edit_errno;
        server.value = errors[i].theirs;
        t = open_server();
        g_assert_cmpint(make(t, 2), ==, errors[i].ours);
        g_assert_cmpint(call_read(t), ==, 0);
        close_server(t);
    }
}

static void edit_unmap(Server *s, uint16_t command, ServerReply *reply)
{
    if (command == VFIO_USER_DMA_UNMAP) {
        reply->error = s->value;
        reply->payload[16] ^= 1;        /* its size */
    }
}

/* Memory that is still accessed: the process on the other side is left. */
static void test_unmap_refused(void)
{
    for (int error = 0; error < 2; error++) {
        NvmeTransport *t;

        server_init(&server);
        server.edit = edit_unmap;
        server.value = error;
        t = open_server();
        make(t, 3);
        g_free(server_log(&server));
        g_assert_cmpint(call_read(t), ==, -EIO);
        poll_until(lost);
        t->ops->close(t);
        server_join(&server);
        assert_log("");
        close_server(NULL);
    }
}

static void expect_irq(int fd, unsigned vector)
{
    uint64_t value = 0, one = 1;

    g_assert_cmpint(write(server.irqs[vector], &one, 8), ==, 8);
    g_assert_cmpint(read(fd, &value, 8), ==, 8);
}

static void test_irqs(void)
{
    int fds[SERVER_VECTORS];
    NvmeTransport *t;

    for (int i = 0; i < SERVER_VECTORS; i++) {
        fds[i] = i == 0 || i == 6 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    server_init(&server);
    t = open_server();
    g_free(server_log(&server));
    g_assert_cmpint(t->ops->set_irqs(t, fds, 8, &error_abort), ==, 0);
    /* three a message; -1 is skipped; then MSI-X is enabled and unmasked */
    assert_log("irqs 2 flags 0x24 start 1 count 3 fds 3\n"
               "irqs 2 flags 0x24 start 4 count 2 fds 2\n"
               "irqs 2 flags 0x24 start 7 count 1 fds 1\n"
               "write config 0x42 size 2\n"
               "irqs 2 flags 0x11 start 0 count 16 fds 0\n");
    g_assert_cmphex(lduw_le_p(server.config + SERVER_MSIX + PCI_MSIX_FLAGS), ==,
                    PCI_MSIX_FLAGS_ENABLE);
    for (int i = 0; i < 8; i++) {
        if (fds[i] >= 0) {
            expect_irq(fds[i], i);
        }
    }

    g_assert_cmpint(t->ops->set_irqs(t, NULL, 0, &error_abort), ==, 0);
    assert_log("irqs 2 flags 0x21 start 0 count 0 fds 0\n");
    close_server(t);
    for (int i = 0; i < SERVER_VECTORS; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
}

/* What was set up once stays so. */
static void test_reset(void)
{
    NvmeTransport *t;

    server_init(&server);
    t = open_server();
    g_assert_cmpint(make(t, 4), ==, 0);
    g_free(server_log(&server));
    g_assert_cmpint(make(t, 5), ==, 0);
    assert_log("reset\nwrite config 0x10 size 4\nwrite config 0x4 size 2\n"
               "write config 0x42 size 2\n"
               "irqs 2 flags 0x11 start 0 count 16 fds 0\n");
    close_server(t);
}

static void edit_no_reset(Server *s, uint16_t command, ServerReply *reply)
{
    if (command == VFIO_USER_DEVICE_GET_INFO) {
        reply->payload[4] &= ~VFIO_DEVICE_FLAGS_RESET;
    }
}

static void test_no_reset(void)
{
    NvmeTransport *t;

    server_init(&server);
    server.edit = edit_no_reset;
    t = open_server();
    g_assert_cmpint(make(t, 5), ==, -ENOTSUP);
    g_assert_cmpint(call_read(t), ==, 0);
    close_server(t);
}

/* Some variants are no faults: these replies may be longer, or have descriptors. */
static bool is_fault(uint16_t command, Fault fault)
{
    bool varies = command == VFIO_USER_VERSION ||
                  command == VFIO_USER_DEVICE_GET_REGION_INFO;

    switch (fault) {
    case FAULT_NONE:
        return false;
    case FAULT_LONG:
        return !varies;
    case FAULT_FDS:
        return command != VFIO_USER_DEVICE_GET_REGION_INFO;
    case FAULT_SHORT:           /* of a NUL at the end; or of a list of areas */
        return command != VFIO_USER_DEVICE_GET_REGION_INFO;
    default:
        return true;
    }
}

static void test_hostile_open(void)
{
    static const uint16_t commands[] = {
        VFIO_USER_VERSION, VFIO_USER_DEVICE_GET_INFO,
        VFIO_USER_DEVICE_GET_REGION_INFO, VFIO_USER_DEVICE_GET_IRQ_INFO,
        VFIO_USER_REGION_READ, VFIO_USER_REGION_WRITE,
    };
    unsigned fds = count_fds();

    for (unsigned i = 0; i < ARRAY_SIZE(commands) * FAULTS; i++) {
        uint16_t command = commands[i / FAULTS];
        Fault fault = i % FAULTS;
        g_autoptr(Error) err = NULL;
        NvmeTransport *t;

        if (!is_fault(command, fault)) {
            continue;
        }
        g_test_message("command %u fault %d", command, fault);
        server_init(&server);
        server.fault_at = command;
        server.fault = fault;
        server_start(&server);
        t = try_open(&err);
        g_assert_null(t);
        g_assert_nonnull(strstr(error_get_pretty(err), server.path));
        close_server(t);
        g_assert_cmpuint(lost, ==, 0);
        g_assert_cmpuint(count_fds(), ==, fds);
    }
}

/* The call fails, whoever waits is told once, and all that follows fails. */
static void test_hostile_call(void)
{
    unsigned fds = count_fds();

    for (unsigned i = 0; i < ARRAY_SIZE(calls) * FAULTS; i++) {
        unsigned call = i / FAULTS;
        uint16_t command = calls[call].command;
        Fault fault = i % FAULTS;
        NvmeTransport *t;

        if (!is_fault(command, fault)) {
            continue;
        }
        g_test_message("command %u fault %d", command, fault);
        server_init(&server);
        server.fault_at = command;
        server.fault = fault;
        /* open() has read and written the configuration space */
        server.fault_after = command == VFIO_USER_REGION_READ ||
                             command == VFIO_USER_REGION_WRITE ? 2 : 0;
        t = open_server();
        g_assert_cmpint(make(t, call), ==, call == 3 ? 0 : -EIO);
        g_assert_cmpuint(lost, ==, 0);
        poll_until(lost);
        for (unsigned j = 0; j < ARRAY_SIZE(calls); j++) {
            g_assert_cmpint(make(t, j), ==, j == 3 ? 0 : -EIO);
        }
        t->doorbells[0] = 1;
        while (aio_poll(qemu_get_aio_context(), false)) {
            ;
        }
        g_assert_cmpuint(lost, ==, 1);
        close_server(t);
        g_assert_cmpuint(count_fds(), ==, fds);
    }
}

static void test_limit(void)
{
    NvmeTransport *t;

    server_init(&server);
    server.fault_at = VFIO_USER_DEVICE_RESET;
    server.fault = FAULT_SILENT;
    server.requests = 3;        /* each ends a wait, and none makes it longer */
    t = open_server();
    n_waits = 0;
    g_assert_cmpint(make(t, 5), ==, -EIO);
    g_assert_cmpuint(n_waits, >=, 2);
    for (unsigned i = 0; i < n_waits; i++) {
        g_assert_cmpint(waits[i], <=, i ? waits[i - 1] - 1 : VFIO_USER_LIMIT_NS);
        g_assert_cmpint(waits[i], >, 0);
    }
    poll_until(lost);
    close_server(t);
}

static void test_lost_between_calls(void)
{
    static const struct {
        const char *what;
        unsigned size;
        uint32_t header[4];
    } sent[] = {
        { "nothing", 0 },
        { "a reply", 16, { 0x90001, 16, 1, 0 } },
        { "part of a reply", 8, { 0x90001, 16 } },
        { "a wild size", 16, { 0xb0001, UINT32_MAX, 0, 0 } },
        { "a small size", 16, { 0xb0001, 15, 0, 0 } },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(sent); i++) {
        NvmeTransport *t;

        g_test_message("%s", sent[i].what);
        server_init(&server);
        t = open_server();
        if (sent[i].size) {
            server_send(&server, sent[i].header, sent[i].size);
        }
        if (sent[i].size < 16) {
            server_hang_up(&server);
        }
        poll_until(lost);
        g_assert_cmpint(call_read(t), ==, -EIO);
        g_assert_cmpuint(lost, ==, 1);
        close_server(t);
    }
}

static unsigned refused(void)
{
    unsigned n;

    g_mutex_lock(&server.lock);
    n = server.refused;
    g_mutex_unlock(&server.lock);
    return n;
}

/* The server checks that the answer is an error. */
static void test_requests_of_the_server(void)
{
    static const uint32_t request[8] = { 0xb1234, 32 };
    NvmeTransport *t;

    server_init(&server);
    server.requests = 5;
    t = open_server();
    g_assert_cmpint(call_read(t), ==, 0);
    /* version, device, region, interrupts, config four times, and two halves */
    spin_until(refused() == 10 * 5);

    server_send(&server, request, 20);
    while (aio_poll(qemu_get_aio_context(), false)) {
        ;
    }
    server_send(&server, &request[5], 12);
    spin_until(refused() == 10 * 5 + 1);
    g_assert_cmpint(call_read(t), ==, 0);
    g_assert_cmpuint(lost, ==, 0);
    close_server(t);
}

static gpointer flood(gpointer opaque)
{
    static const uint32_t request[8] = { 0xb1234, 32 };
    int fd = GPOINTER_TO_INT(opaque);

    while (send(fd, request, sizeof(request), MSG_NOSIGNAL) > 0) {
        ;
    }
    return NULL;
}

static void no_reply(Server *s, uint16_t command, ServerReply *reply)
{
    /* the server's thread ends up here and reads nothing any more */
    if (command == VFIO_USER_DMA_MAP) {
        flood(GINT_TO_POINTER(s->fd));
    }
}

/* Who sends without end and does not read is left. */
static void test_flood(void)
{
    NvmeTransport *t;

    server_init(&server);
    server.edit = no_reply;
    t = open_server();
    n_waits = 0;
    g_assert_cmpint(make(t, 2), ==, -EIO);
    /* the socket has room for some hundred answers */
    g_assert_cmpuint(n_waits, <, 10000);
    poll_until(lost);
    close_server(t);
}

static void edit_version(Server *s, uint16_t command, ServerReply *reply)
{
    static const char *const texts[] = {
        "", "{}", "{\"capabilities\":{}}", "{\"capabilities\":3}", "[]", "17",
        "{\"capabilities\":{\"max_msg_fds\":-5}}",
        "{\"capabilities\":{\"max_msg_fds\":99999999999999}}",
        "{\"capabilities\":{\"max_msg_fds\":\"x\"}}",
        "{\"capabilities\":{\"max_msg_fds\":0}}",
        /* refused: */
        "{", "\xff\xfe", "{\"capabilities\":{\"max_data_xfer_size\":3}}",
    };
    static const uint16_t versions[][2] = { { 1, 0 }, { 0, 2 } };

    if (command != VFIO_USER_VERSION) {
        return;
    }
    if (s->value < ARRAY_SIZE(texts)) {
        strcpy((char *)reply->payload + 4, texts[s->value]);
        reply->size = 4 + strlen(texts[s->value]) + !!s->value;
    } else if (s->value == ARRAY_SIZE(texts)) {
        reply->payload[reply->size - 1] = '}';
    } else {
        memcpy(reply->payload, versions[s->value - ARRAY_SIZE(texts) - 1], 4);
    }
}

static void test_version(void)
{
    for (int i = 0; i < 16; i++) {
        g_autoptr(Error) err = NULL;
        NvmeTransport *t;

        server_init(&server);
        server.edit = edit_version;
        server.value = i;
        server_start(&server);
        t = try_open(&err);
        g_test_message("%d: %s", i, err ? error_get_pretty(err) : "opened");
        g_assert_true(!!t == (i < 10));
        if (t) {
            g_autofree char *before = server_log(&server);
            g_autofree char *log = NULL;

            g_assert_cmpint(make(t, 4), ==, 0);
            log = server_log(&server);
            g_assert_nonnull(strstr(log, "start 0 count 1 fds 1"));
        }
        close_server(t);
    }
}

static void edit_silent_version(Server *s, uint16_t command, ServerReply *reply)
{
    if (command == VFIO_USER_VERSION) {
        reply->size = 4;
    }
}

/* Who does not say how many descriptors it takes gets one a message. */
static void test_one_fd(void)
{
    int fds[3];
    NvmeTransport *t;

    server_init(&server);
    server.edit = edit_silent_version;
    t = open_server();
    g_free(server_log(&server));
    fds[0] = fds[1] = fds[2] = server.silence;
    g_assert_cmpint(t->ops->set_irqs(t, fds, 2, &error_abort), ==, 0);
    assert_log("irqs 2 flags 0x24 start 0 count 1 fds 1\n"
               "irqs 2 flags 0x24 start 1 count 1 fds 1\n"
               "write config 0x42 size 2\n"
               "irqs 2 flags 0x11 start 0 count 16 fds 0\n");
    close_server(t);
}

#define AREA_OFFSET 48          /* of the first in the reply */

/* What a region may look like without its doorbells being mapped. */
static void edit_region(Server *s, uint16_t command, ServerReply *reply)
{
    struct vfio_region_info *info = (void *)reply->payload;
    struct vfio_info_cap_header *cap = (void *)(info + 1);
    struct vfio_region_sparse_mmap_area *areas =
        (void *)(reply->payload + AREA_OFFSET);

    if (command != VFIO_USER_DEVICE_GET_REGION_INFO) {
        return;
    }
    switch (s->value) {
    case 0:                     /* beyond the region */
        areas[1].size = SERVER_BAR;
        break;
    case 1:                     /* a sum that overflows */
        areas[1].size = UINT64_MAX - 0xfff;
        break;
    case 2:                     /* a hole where doorbells are */
        areas[1].offset = 0x2000;
        break;
    case 3:                     /* behind the end of the file */
        info->offset = 0x3000;
        break;
    case 4:
        info->offset = UINT64_MAX - 0xfff;
        break;
    case 5:
        info->offset = 1ULL << 62;
        break;
    case 6:
        info->offset = 0x10;
        break;
    case 7:                     /* no area in the list, or in the reply */
        memset(&areas[0], 0, sizeof(areas[0]));
        reply->size = AREA_OFFSET + 16;
        break;
    case 8:
        info->flags &= ~VFIO_REGION_INFO_FLAG_MMAP;
        break;
    case 9:                     /* not as many as there are areas, nor one */
        close(reply->fds[0]);
        close(reply->fds[1]);
        reply->n_fds = 0;
        break;
    case 10:                    /* the page before it is not to be mapped */
        areas[1].offset = 0x1004;
        areas[1].size = 0x1000;
        break;
    case 11:                    /* the region is wild, and so is the area */
        info->size = UINT64_MAX;
        areas[1].size = UINT64_MAX - 0x1000;
        break;
    case 12:                    /* the list is all that says what is no area */
        cap->id = 77;
        cap->next = sizeof(*info);      /* a circle */
        info->size = 0x1001;
        info->offset = 0x4000;
        break;
    case 13:                    /* capabilities outside */
        info->cap_offset = reply->size - 4;
        info->offset = 0x4000;
        break;
    case 14:
        info->cap_offset = UINT32_MAX;
        info->offset = 0x4000;
        break;
    case 15:                    /* beyond the region, and in the file */
        info->size = 0x1800;
        break;
    default:
        g_assert_not_reached();
    }
}

static void test_no_doorbells(void)
{
    unsigned fds = count_fds();

    for (int i = 0; i < 16; i++) {
        NvmeTransport *t;

        g_test_message("%d", i);
        server_init(&server);
        server.edit = edit_region;
        server.value = i;
        t = open_server();
        g_assert_null((void *)t->doorbells);
        g_assert_cmpuint(t->doorbells_size, ==, 0);
        g_assert_cmpint(call_read(t), ==, 0);
        close_server(t);
        g_assert_cmpuint(count_fds(), ==, fds);
    }
}

static void edit_wild(Server *s, uint16_t command, ServerReply *reply)
{
    static const struct {
        uint16_t command;
        unsigned offset;
        uint32_t value;
    } wild[] = {
        { VFIO_USER_DEVICE_GET_INFO, 4, VFIO_DEVICE_FLAGS_RESET },
        { VFIO_USER_DEVICE_GET_INFO, 8, 7 },
        { VFIO_USER_DEVICE_GET_INFO, 12, 2 },
        { VFIO_USER_DEVICE_GET_REGION_INFO, 8, 1 },
        { VFIO_USER_DEVICE_GET_REGION_INFO, 16, 0x1000 },
        { VFIO_USER_DEVICE_GET_REGION_INFO, 4, VFIO_REGION_INFO_FLAG_READ },
        { VFIO_USER_DEVICE_GET_IRQ_INFO, 8, 0 },
        { VFIO_USER_DEVICE_GET_IRQ_INFO, 12, 2049 },
        { VFIO_USER_DEVICE_GET_IRQ_INFO, 12, UINT32_MAX },
        { VFIO_USER_REGION_READ, 8, 0 },
        { VFIO_USER_REGION_READ, 0, 8 },
        { VFIO_USER_REGION_WRITE, 12, 4 },
    };

    g_assert_cmpint(s->value, <, ARRAY_SIZE(wild));
    if (command == wild[s->value].command) {
        stl_le_p(reply->payload + wild[s->value].offset, wild[s->value].value);
    }
}

static void test_wild_numbers(void)
{
    for (int i = 0; i < 12; i++) {
        g_autoptr(Error) err = NULL;
        NvmeTransport *t;

        server_init(&server);
        server.edit = edit_wild;
        server.value = i;
        server_start(&server);
        t = try_open(&err);
        g_test_message("%d: %s", i, err ? error_get_pretty(err) : "opened");
        g_assert_null(t);
        close_server(t);
    }
}

/* A list of PCI capabilities that has no end. */
static void test_circle_of_capabilities(void)
{
    NvmeTransport *t;

    server_init(&server);
    server.config[0x51] = 0x50;
    t = open_server();
    g_assert_cmpint(make(t, 4), ==, 0);
    close_server(t);
}

static gpointer many_reads(gpointer opaque)
{
    NvmeTransport *t = opaque;
    uint64_t value;

    for (int i = 0; i < 500; i++) {
        g_assert_cmpint(t->ops->read(t, 0, 8, &value), ==, 0);
        g_assert_cmphex(value, ==, 0x1122334455667788);
    }
    return NULL;
}

/* While the main loop watches the socket too. */
static void test_threads(void)
{
    GThread *threads[3];
    NvmeTransport *t;

    server_init(&server);
    server.requests = 1;
    stq_le_p(server.registers, 0x1122334455667788);
    t = open_server();
    for (int i = 0; i < ARRAY_SIZE(threads); i++) {
        threads[i] = g_thread_new("reads", many_reads, t);
    }
    spin_until(refused() > 500 * 3);
    for (int i = 0; i < ARRAY_SIZE(threads); i++) {
        g_thread_join(threads[i]);
    }
    g_assert_cmpuint(lost, ==, 0);
    close_server(t);
}

static void test_path(void)
{
    g_autofree char *long_path = g_strnfill(200, 'x');
    Error *err = NULL;

    g_assert_null(nvme_vfio_user_open("/nonexistent", on_lost, NULL, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "path '/nonexistent'"));
    error_free(err);
    err = NULL;
    g_assert_null(nvme_vfio_user_open(long_path, on_lost, NULL, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "too long"));
    error_free(err);
}

static void test_pci_address(void)
{
    static const char *const wrong[] = {
        "", "nvme0", "01:00.0", "0000:01:00", "0000:01:00.8", "0000:1:00.0",
        "0000:01:00.0 ", " 0000:01:00.0", "0000:01:00.0/..", "../../x",
        "-000:01:00.0", "0x00:01:00.0", "00000000000000000000000:01:00.0",
    };
    static const char *const absent[] = { "0000:fe:1e.7", "1abcd:fe:1E.7" };

    for (int i = 0; i < ARRAY_SIZE(wrong); i++) {
        Error *err = NULL;

        g_assert_null(nvme_vfio_pci_open(wrong[i], on_lost, NULL, &err));
        g_assert_nonnull(strstr(error_get_pretty(err), "is not the address"));
        error_free(err);
    }
    for (int i = 0; i < ARRAY_SIZE(absent); i++) {
        Error *err = NULL;

        g_assert_null(nvme_vfio_pci_open(absent[i], on_lost, NULL, &err));
        g_assert_nonnull(strstr(error_get_pretty(err), "no such PCI function"));
        error_free(err);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);

#define ADD(name, function) g_test_add_func("/nvme-transport/" name, function)
    ADD("registers_by_halves", test_registers);
    ADD("refused_access_is_an_error", test_refused);
    ADD("doorbells_are_mapped", test_doorbells);
    ADD("doorbells_that_are_taken_away", test_doorbells_taken_away);
    ADD("maps_memory_that_is_a_file", test_map);
    ADD("too_many_mappings_are_ENOSPC", test_map_refused);
    ADD("refused_unmap_ends_the_connection", test_unmap_refused);
    ADD("interrupts_arrive", test_irqs);
    ADD("reset_keeps_what_was_set_up", test_reset);
    ADD("reset_that_is_not_there", test_no_reset);
    ADD("hostile_server_at_open", test_hostile_open);
    ADD("hostile_server_in_a_call", test_hostile_call);
    ADD("silence_has_a_limit", test_limit);
    ADD("lost_between_calls", test_lost_between_calls);
    ADD("requests_of_the_server_are_refused", test_requests_of_the_server);
    ADD("flood_ends_the_connection", test_flood);
    ADD("version", test_version);
    ADD("one_descriptor_if_nothing_is_said", test_one_fd);
    ADD("areas_that_hold_no_doorbells", test_no_doorbells);
    ADD("wild_numbers_are_refused", test_wild_numbers);
    ADD("circle_of_capabilities_ends", test_circle_of_capabilities);
    ADD("calls_of_many_threads", test_threads);
    ADD("path_is_named", test_path);
    ADD("pci_address_is_checked", test_pci_address);
    return g_test_run();
}
