/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a controller may be like, and say of itself, when it is opened; and its
 * address.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "nvme-transport-world.h"

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

            g_assert_cmpint(make(t, CALL_SET_IRQS), ==, 0);
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
    g_assert_cmpint(make(t, CALL_SET_IRQS), ==, 0);
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
    ADD("version", test_version);
    ADD("one_descriptor_if_nothing_is_said", test_one_fd);
    ADD("areas_that_hold_no_doorbells", test_no_doorbells);
    ADD("wild_numbers_are_refused", test_wild_numbers);
    ADD("circle_of_capabilities_ends", test_circle_of_capabilities);
    ADD("path_is_named", test_path);
    ADD("pci_address_is_checked", test_pci_address);
    return g_test_run();
}
