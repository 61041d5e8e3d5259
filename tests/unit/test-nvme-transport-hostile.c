/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A vfio-user server that answers wrongly, late, or what nobody asked for.
 */

#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "nvme-transport-world.h"

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

/* A server that will err so, or false. */
static bool init_faulty(uint16_t command, Fault fault)
{
    if (!is_fault(command, fault)) {
        return false;
    }
    g_test_message("command %u fault %d", command, fault);
    server_init(&server);
    server.fault_at = command;
    server.fault = fault;
    return true;
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

        if (!init_faulty(command, fault)) {
            continue;
        }
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

    for (unsigned i = 0; i < CALLS * FAULTS; i++) {
        unsigned call = i / FAULTS;
        uint16_t command = call_command(call);
        Fault fault = i % FAULTS;
        NvmeTransport *t;

        if (!init_faulty(command, fault)) {
            continue;
        }
        /* open() has read and written the configuration space */
        server.fault_after = command == VFIO_USER_REGION_READ ||
                             command == VFIO_USER_REGION_WRITE ? 2 : 0;
        t = open_server();
        g_assert_cmpint(make(t, call), ==, call == CALL_UNMAP ? 0 : -EIO);
        g_assert_cmpuint(lost, ==, 0);
        poll_until(lost);
        for (unsigned j = 0; j < CALLS; j++) {
            g_assert_cmpint(make(t, j), ==, j == CALL_UNMAP ? 0 : -EIO);
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
    g_assert_cmpint(make(t, CALL_RESET), ==, -EIO);
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
    g_assert_cmpint(make(t, CALL_MAP), ==, -EIO);
    /* the socket has room for some hundred answers */
    g_assert_cmpuint(n_waits, <, 10000);
    poll_until(lost);
    close_server(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    /* descriptors that a process has from the first time on */
    server_init(&server);
    close_server(open_server());

#define ADD(name, function) g_test_add_func("/nvme-transport/" name, function)
    ADD("hostile_server_at_open", test_hostile_open);
    ADD("hostile_server_in_a_call", test_hostile_call);
    ADD("silence_has_a_limit", test_limit);
    ADD("lost_between_calls", test_lost_between_calls);
    ADD("requests_of_the_server_are_refused", test_requests_of_the_server);
    ADD("flood_ends_the_connection", test_flood);
    return g_test_run();
}
