/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is asked of a vfio-user server that has a controller: registers, memory,
 * interrupts, doorbells.
 */

#include "qemu/osdep.h"
#include <sys/eventfd.h>
#include "hw/pci/pci_regs.h"
#include "qemu/bswap.h"
#include "nvme-transport-world.h"

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
        g_assert_cmpint(make(t, CALL_MAP), ==, errors[i].ours);
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
        make(t, CALL_UNMAP);
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
    g_assert_cmpint(make(t, CALL_SET_IRQS), ==, 0);
    g_free(server_log(&server));
    g_assert_cmpint(make(t, CALL_RESET), ==, 0);
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
    g_assert_cmpint(make(t, CALL_RESET), ==, -ENOTSUP);
    g_assert_cmpint(call_read(t), ==, 0);
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
    ADD("calls_of_many_threads", test_threads);
    return g_test_run();
}
