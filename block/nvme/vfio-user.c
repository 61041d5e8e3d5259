/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A controller that another process serves with the vfio-user protocol.
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include "hw/pci/pci_regs.h"
#include "qapi/error.h"
#include "qemu/mmap-alloc.h"
#include "qemu/truncated-memory.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "vfio-region.h"
#include "vfio-user-wire.h"

/* One message carries no more descriptors than this (SCM_MAX_FD of Linux). */
#define SCM_MAX_FDS 253

/* PCI Local Bus Specification 3.0, 6.8.2.3: the table's size has 11 bits. */
#define MAX_VECTORS 2048

/* Nobody reads it; a multiple of any size that BAR0 has, and none that is special. */
#define BAR_ADDRESS 0xe0000000

typedef struct VfioUser {
    NvmeTransport t;
    VfioUserWire *wire;
    TruncatedMemory *doorbells; /* NULL: they are not mapped */
    unsigned max_msg_fds;       /* that the server takes */
    bool can_reset;
    bool irqs_set;              /* one call at a time */
} VfioUser;

/* The messages' own structures; others are those of linux/vfio.h. */

typedef struct DeviceInfo {
    uint32_t argsz;
    uint32_t flags;
    uint32_t num_regions;
    uint32_t num_irqs;
} DeviceInfo;

typedef struct DmaMap {
    uint32_t argsz;
    uint32_t flags;             /* VFIO_DMA_MAP_FLAG_* */
    uint64_t offset;
    uint64_t address;
    uint64_t size;
} DmaMap;

typedef struct DmaUnmap {
    uint32_t argsz;
    uint32_t flags;
    uint64_t address;
    uint64_t size;
} DmaUnmap;

typedef struct RegionAccess {
    uint64_t offset;
    uint32_t region;
    uint32_t count;
    uint32_t data;              /* not in all of them */
} RegionAccess;

#define ACCESS_BASE offsetof(RegionAccess, data)

QEMU_BUILD_BUG_MSG(sizeof(DmaMap) != 32, "as the protocol has it");
QEMU_BUILD_BUG_MSG(sizeof(DmaUnmap) != 24, "as the protocol has it");
QEMU_BUILD_BUG_MSG(ACCESS_BASE != 16, "as the protocol has it");

static VfioUser *user_of(NvmeTransport *t)
{
    return container_of(t, VfioUser, t);
}

/* 0, or -errno: -EIO if the connection is over. */
static int call_server(VfioUser *u, VfioUserCall *call)
{
    return vfio_user_call(u->wire, call) ? -call->error : -EIO;
}

static int region_read(VfioUser *u, unsigned region, unsigned offset,
                       unsigned size, uint32_t *value)
{
    RegionAccess request = { .offset = offset, .region = region, .count = size };
    RegionAccess reply = { };
    VfioUserCall call = {
        .command = VFIO_USER_REGION_READ,
        .request = &request,
        .request_size = ACCESS_BASE,
        .reply = &reply,
        .reply_min = ACCESS_BASE + size,
        .reply_max = ACCESS_BASE + size,
    };
    int ret = call_server(u, &call);

    if (!ret && memcmp(&reply, &request, ACCESS_BASE)) {
        vfio_user_end(u->wire, "it has read other than it was told to");
        return -EIO;
    }
    *value = reply.data;
    return ret;
}

static int region_write(VfioUser *u, unsigned region, unsigned offset,
                        unsigned size, uint32_t value)
{
    RegionAccess request = {
        .offset = offset,
        .region = region,
        .count = size,
        .data = value,
    };
    RegionAccess reply;
    VfioUserCall call = {
        .command = VFIO_USER_REGION_WRITE,
        .request = &request,
        .request_size = ACCESS_BASE + size,
        .reply = &reply,
        .reply_min = ACCESS_BASE,
        .reply_max = ACCESS_BASE,
    };
    int ret = call_server(u, &call);

    if (!ret && memcmp(&reply, &request, ACCESS_BASE)) {
        vfio_user_end(u->wire, "it has written other than it was told to");
        return -EIO;
    }
    return ret;
}

/* By halves, the lower first, which all controllers understand. */
static int user_read(NvmeTransport *t, unsigned offset, unsigned size,
                     uint64_t *value)
{
    uint64_t result = 0;

    for (unsigned done = 0; done < size; done += 4) {
        uint32_t part;

        if (region_read(user_of(t), VFIO_PCI_BAR0_REGION_INDEX, offset + done, 4,
                        &part)) {
            return -EIO;
        }
        result |= (uint64_t)part << (done * 8);
    }
    *value = result;
    return 0;
}

static int user_write(NvmeTransport *t, unsigned offset, unsigned size,
                      uint64_t value)
{
    for (unsigned done = 0; done < size; done += 4) {
        if (region_write(user_of(t), VFIO_PCI_BAR0_REGION_INDEX, offset + done, 4,
                         value >> (done * 8))) {
            return -EIO;
        }
    }
    return 0;
}

static int user_map(NvmeTransport *t, const NvmeDmaMapping *m, Error **errp)
{
    VfioUser *u = user_of(t);
    DmaMap request = {
        .argsz = sizeof(request),
        .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
        .offset = m->fd_offset,
        .address = m->iova,
        .size = m->size,
    };
    VfioUserCall call = {
        .command = VFIO_USER_DMA_MAP,
        .request = &request,
        .request_size = sizeof(request),
        .fds = &m->fd,
        .n_fds = 1,
    };
    int ret;

    if (m->fd < 0) {
        error_setg(errp, "a vfio-user server can only be given memory that is a "
                   "file");
        error_append_hint(errp, "Give the guest its memory with -object "
                          "memory-backend-memfd,share=on\n");
        return -ENOTSUP;
    }
    ret = call_server(u, &call);
    if (ret == -EINVAL || ret == -ENOMEM) {
        /* libvfio-user's answers when it has all the regions it can have: 16 */
        ret = -ENOSPC;
    }
    if (ret) {
        error_setg_errno(errp, -ret, "the vfio-user server does not map %" PRIu64
                         " bytes of memory", m->size);
    }
    if (ret == -ENOSPC) {
        error_append_hint(errp, "Raise the server's limit of mappings: each block "
                          "of guest RAM and each of the drive's queues is one\n");
    }
    return ret;
}

/* A server that would go on to access the memory is not talked to any more. */
static void user_unmap(NvmeTransport *t, const NvmeDmaMapping *m)
{
    VfioUser *u = user_of(t);
    DmaUnmap request = {
        .argsz = sizeof(request),
        .address = m->iova,
        .size = m->size,
    };
    DmaUnmap reply;
    VfioUserCall call = {
        .command = VFIO_USER_DMA_UNMAP,
        .request = &request,
        .request_size = sizeof(request),
        .reply = &reply,
        .reply_min = sizeof(reply),
        .reply_max = sizeof(reply),
    };
    int ret = call_server(u, &call);

    if (ret || reply.address != m->iova || reply.size != m->size) {
        vfio_user_end(u->wire, "it does not unmap memory");
    }
}

static int config_read(VfioUser *u, unsigned offset, unsigned size,
                       uint32_t *value)
{
    return region_read(u, VFIO_PCI_CONFIG_REGION_INDEX, offset, size, value);
}

static int config_set(VfioUser *u, unsigned offset, uint16_t bits)
{
    uint32_t value;
    int ret = config_read(u, offset, 2, &value);

    return ret ?: region_write(u, VFIO_PCI_CONFIG_REGION_INDEX, offset, 2,
                               value | bits);
}

/*
 * What firmware and a kernel do for users of VFIO is the client's part here: BAR0 is
 * somewhere, memory is decoded, bus mastering is on.  QEMU's server wants all of it.
 * One that models no configuration space refuses, and needs nothing.
 */
static void enable_device(VfioUser *u)
{
    uint32_t bar;

    if (!config_read(u, PCI_BASE_ADDRESS_0, 4, &bar) &&
        !(bar & PCI_BASE_ADDRESS_MEM_MASK)) {
        region_write(u, VFIO_PCI_CONFIG_REGION_INDEX, PCI_BASE_ADDRESS_0, 4,
                     BAR_ADDRESS);
    }
    config_set(u, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

/* The capability's offset in the configuration space, or 0. */
static unsigned find_msix(VfioUser *u)
{
    uint32_t at;

    if (config_read(u, PCI_CAPABILITY_LIST, 1, &at)) {
        return 0;
    }
    /* as many as there is room for: a list may be a circle */
    for (int i = 0; i < 48 && at >= PCI_STD_HEADER_SIZEOF; i++) {
        uint32_t header;

        at &= ~3;
        if (config_read(u, at, 2, &header)) {
            return 0;
        }
        if ((header & 0xff) == PCI_CAP_ID_MSIX) {
            return at;
        }
        at = header >> 8;
    }
    return 0;
}

static int set_irqs_message(VfioUser *u, uint32_t flags, unsigned start,
                            unsigned count, const int *fds, unsigned n_fds)
{
    struct vfio_irq_set request = {
        .argsz = sizeof(request),
        .flags = flags,
        .index = VFIO_PCI_MSIX_IRQ_INDEX,
        .start = start,
        .count = count,
    };
    VfioUserCall call = {
        .command = VFIO_USER_DEVICE_SET_IRQS,
        .request = &request,
        .request_size = sizeof(request),
        .fds = fds,
        .n_fds = n_fds,
    };

    return call_server(u, &call);
}

/*
 * So are MSI-X's enable bit and the vectors' masks.  A server that has no masks
 * refuses that, and needs none.
 */
static void enable_irqs(VfioUser *u)
{
    unsigned msix = find_msix(u);

    if (msix) {
        config_set(u, msix + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE);
    }
    set_irqs_message(u, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, 0,
                     u->t.n_irqs, NULL, 0);
}

/* Each run of descriptors, in as many messages as it needs. */
static int send_irqs(VfioUser *u, const int *fds, unsigned n)
{
    unsigned count;

    for (unsigned i = 0; i < n; i += count) {
        int ret;

        count = 0;
        while (i + count < n && count < u->max_msg_fds && fds[i + count] >= 0) {
            count++;
        }
        if (!count) {
            count = 1;
            continue;
        }
        ret = set_irqs_message(u, VFIO_IRQ_SET_DATA_EVENTFD |
                               VFIO_IRQ_SET_ACTION_TRIGGER, i, count, fds + i,
                               count);
        if (ret) {
            return ret;
        }
    }
    return 0;
}

static int user_set_irqs(NvmeTransport *t, const int *fds, unsigned n,
                         Error **errp)
{
    VfioUser *u = user_of(t);
    int ret = 0;

    assert(n <= t->n_irqs);
    if (u->irqs_set) {
        ret = set_irqs_message(u, VFIO_IRQ_SET_DATA_NONE |
                               VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL, 0);
    }
    u->irqs_set = n;
    ret = ret ?: send_irqs(u, fds, n);
    if (ret) {
        error_setg_errno(errp, -ret, "the vfio-user server does not take %u "
                         "interrupts", n);
        return ret;
    }
    if (n) {
        enable_irqs(u);
    }
    return 0;
}

static int user_reset(NvmeTransport *t)
{
    VfioUser *u = user_of(t);
    VfioUserCall call = { .command = VFIO_USER_DEVICE_RESET };
    int ret = u->can_reset ? call_server(u, &call) : -ENOTSUP;

    if (!ret) {
        enable_device(u);
        if (u->irqs_set) {
            enable_irqs(u);
        }
    }
    return ret;
}

/* The server forgets the memory, as that of a client that has ended. */
static void user_give_up(NvmeTransport *t)
{
    vfio_user_hang_up(user_of(t)->wire);
}

static void user_close(NvmeTransport *t)
{
    VfioUser *u = user_of(t);

    vfio_user_disconnect(u->wire);
    if (u->doorbells) {
        truncated_memory_remove(u->doorbells);
    }
    nvme_vfio_unmap_doorbells(t);
    g_free(t->ranges);
    g_free(u);
}

static const NvmeTransportOps user_ops = {
    .read = user_read,
    .write = user_write,
    .map = user_map,
    .unmap = user_unmap,
    .set_irqs = user_set_irqs,
    .reset = user_reset,
    .give_up = user_give_up,
    .close = user_close,
};

/* What the server says of itself; what it does not say is as the protocol has it. */
static void take_limits(const QObject *json, int64_t *fds, int64_t *data)
{
    const QDict *top = qobject_to(QDict, json);
    const QDict *capabilities = top ? qdict_get_qdict(top, "capabilities") : NULL;

    *fds = 1;
    *data = 1 * MiB;
    if (capabilities) {
        *fds = qdict_get_try_int(capabilities, "max_msg_fds", *fds);
        *data = qdict_get_try_int(capabilities, "max_data_xfer_size", *data);
    }
}

/* The server's side of the negotiation: @text of @size bytes, or nothing. */
static bool take_capabilities(VfioUser *u, const char *text, size_t size)
{
    QObject *json = NULL;
    int64_t fds, data;

    if (size) {
        json = text[size - 1] ? NULL : qobject_from_json(text, NULL);
        if (!json) {
            return false;
        }
    }
    take_limits(json, &fds, &data);
    qobject_unref(json);
    u->max_msg_fds = MAX(1, MIN(fds, SCM_MAX_FDS));
    return data >= sizeof(uint32_t);
}

static bool negotiate(VfioUser *u)
{
    static const char ours[] =
        "{\"capabilities\":{\"max_msg_fds\":" stringify(VFIO_USER_MAX_FDS) ","
        "\"max_data_xfer_size\":" stringify(VFIO_USER_MAX_DATA) "}}";
    struct Version {
        uint16_t major;
        uint16_t minor;
        char data[VFIO_USER_MAX_DATA];
    } request = { .major = 0, .minor = 1 }, reply;
    VfioUserCall call = {
        .command = VFIO_USER_VERSION,
        .request = &request,
        .request_size = offsetof(struct Version, data) + sizeof(ours),
        .reply = &reply,
        .reply_min = offsetof(struct Version, data),
        .reply_max = sizeof(reply),
    };

    memcpy(request.data, ours, sizeof(ours));
    if (call_server(u, &call)) {
        vfio_user_end(u->wire, "it refuses version 0.1 of the protocol");
        return false;
    }
    if (reply.major != request.major || reply.minor > request.minor) {
        vfio_user_end(u->wire, "it speaks version %u.%u of the protocol, not 0.1",
                      reply.major, reply.minor);
        return false;
    }
    if (!take_capabilities(u, reply.data, call.reply_size - call.reply_min)) {
        vfio_user_end(u->wire, "its capabilities cannot be understood");
        return false;
    }
    return true;
}

static bool get_device(VfioUser *u)
{
    DeviceInfo info = { .argsz = sizeof(info) };
    VfioUserCall call = {
        .command = VFIO_USER_DEVICE_GET_INFO,
        .request = &info,
        .request_size = sizeof(info),
        .reply = &info,
        .reply_min = sizeof(info),
        .reply_max = sizeof(info),
    };

    if (call_server(u, &call) || !(info.flags & VFIO_DEVICE_FLAGS_PCI) ||
        info.num_regions <= VFIO_PCI_CONFIG_REGION_INDEX ||
        info.num_irqs <= VFIO_PCI_MSIX_IRQ_INDEX) {
        vfio_user_end(u->wire, "it serves no PCI device");
        return false;
    }
    u->can_reset = info.flags & VFIO_DEVICE_FLAGS_RESET;
    return true;
}

/* Who rings them gets on; the controller has heard nothing, and is left. */
static void doorbells_short(void *opaque)
{
    VfioUser *u = opaque;

    vfio_user_end(u->wire, "it has made the file of its doorbells shorter");
}

/* The pages that nvme_vfio_map_doorbells() has mapped. */
static void watch_doorbells(VfioUser *u)
{
    size_t page = qemu_real_host_page_size();
    size_t before = NVME_DOORBELLS % page;

    if (u->t.doorbells) {
        u->doorbells = truncated_memory_add((char *)u->t.doorbells - before,
                                            u->t.doorbells_size + before, page,
                                            doorbells_short, u);
    }
}

/* @fds: one, or one for each area; libvfio-user sends the latter. */
static void map_doorbells(VfioUser *u, const void *reply, size_t size,
                          const int *fds, unsigned n_fds)
{
    struct vfio_region_info info;
    NvmeVfioArea area;
    unsigned index;
    struct stat st;

    memcpy(&info, reply, sizeof(info));
    if (!n_fds || !nvme_vfio_find_area(reply, size, NVME_DOORBELLS, &area)) {
        return;
    }
    index = n_fds > 1 ? area.index : 0;
    /*
     * What is behind the end of a file cannot be touched; and a part of a huge page
     * cannot be replaced, when it is made shorter.
     */
    if (index < n_fds && !fstat(fds[index], &st) &&
        qemu_fd_getpagesize(fds[index]) == qemu_real_host_page_size() &&
        (uint64_t)st.st_size >= area.offset + area.size &&
        st.st_size - (area.offset + area.size) >= info.offset) {
        nvme_vfio_map_doorbells(&u->t, fds[index], info.offset, &area);
        watch_doorbells(u);
    }
}

static bool get_bar(VfioUser *u)
{
    union {
        struct vfio_region_info info;
        char bytes[VFIO_USER_MAX_DATA];
    } buffer = { .info.argsz = sizeof(buffer) };
    int fds[VFIO_USER_MAX_FDS];
    VfioUserCall call = {
        .command = VFIO_USER_DEVICE_GET_REGION_INFO,
        .request = &buffer,
        .request_size = sizeof(buffer.info),
        .reply = &buffer,
        .reply_min = sizeof(buffer.info),
        .reply_max = sizeof(buffer),
        .reply_fds = fds,
    };
    const uint32_t access = VFIO_REGION_INFO_FLAG_READ |
                            VFIO_REGION_INFO_FLAG_WRITE;
    bool good;

    buffer.info.index = VFIO_PCI_BAR0_REGION_INDEX;
    good = !call_server(u, &call) &&
           buffer.info.index == VFIO_PCI_BAR0_REGION_INDEX &&
           buffer.info.size > NVME_DOORBELLS &&
           (buffer.info.flags & access) == access;
    if (good) {
        u->t.registers_size = buffer.info.size;
        map_doorbells(u, &buffer, call.reply_size, fds, call.n_reply_fds);
    } else {
        vfio_user_end(u->wire, "its BAR0 is not an NVMe controller's");
    }
    for (unsigned i = 0; i < call.n_reply_fds; i++) {
        close(fds[i]);
    }
    return good;
}

static bool get_irqs(VfioUser *u)
{
    struct vfio_irq_info info = {
        .argsz = sizeof(info),
        .index = VFIO_PCI_MSIX_IRQ_INDEX,
    };
    VfioUserCall call = {
        .command = VFIO_USER_DEVICE_GET_IRQ_INFO,
        .request = &info,
        .request_size = sizeof(info),
        .reply = &info,
        .reply_min = sizeof(info),
        .reply_max = sizeof(info),
    };

    if (call_server(u, &call) || info.index != VFIO_PCI_MSIX_IRQ_INDEX ||
        info.count > MAX_VECTORS) {
        vfio_user_end(u->wire, "its MSI-X vectors are not a PCI device's");
        return false;
    }
    u->t.n_irqs = info.flags & VFIO_IRQ_INFO_EVENTFD ? info.count : 0;
    return true;
}

NvmeTransport *nvme_vfio_user_open(const char *path, NvmeTransportLost *lost,
                                   void *opaque, Error **errp)
{
    VfioUserWire *wire;
    VfioUser *u;

    if (HOST_BIG_ENDIAN) {
        error_setg(errp, "path: vfio-user works on little-endian hosts only");
        return NULL;
    }
    wire = vfio_user_connect(path, errp);
    if (!wire) {
        return NULL;
    }
    u = g_new0(VfioUser, 1);
    u->wire = wire;
    u->t.ops = &user_ops;
    u->t.needs_fd = true;
    u->t.page_size = qemu_real_host_page_size();
    /* the server has no limit; this one keeps sums from overflowing */
    u->t.n_ranges = 1;
    u->t.ranges = g_new(NvmeIovaRange, 1);
    u->t.ranges[0] = (NvmeIovaRange) { 0, (1ULL << 48) - 1 };

    if (negotiate(u) && get_device(u) && get_bar(u) && get_irqs(u)) {
        enable_device(u);
    }
    if (vfio_user_why(wire)) {
        error_setg(errp, "path '%s': the vfio-user server cannot be used: %s",
                   path, vfio_user_why(wire));
        user_close(&u->t);
        return NULL;
    }
    vfio_user_watch(wire, lost, opaque);
    return &u->t;
}
