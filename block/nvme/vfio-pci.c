/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A controller that is a PCI function of this host, by the kernel's VFIO
 * (linux/vfio.h; Documentation/driver-api/vfio.rst of Linux).
 */

#include "qemu/osdep.h"
#include <linux/vfio.h>
#include <sys/ioctl.h>
#include "block/aio.h"
#include "exec/cpu-common.h"
#include "exec/memory.h"
#include "hw/pci/pci_regs.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/error-report.h"
#include "qemu/event_notifier.h"
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "vfio-region.h"

#define CONTAINER "/dev/vfio/vfio"

/* The kernel's answers are of a few hundred bytes; more than this is an error. */
#define MAX_INFO (1 * MiB)

typedef struct VfioPci {
    NvmeTransport t;
    char *device;               /* as sysfs has it */
    int container;
    int group;
    int fd;
    uint64_t bar;               /* where BAR0 is in @fd */
    uint64_t config;            /* where the configuration space is in @fd */
    int nowhere;                /* what the three are once it is given up */
    bool is_given_up;           /* atomic */
    bool discard_disabled;
    bool irqs_set;              /* one call at a time */

    /* Main loop: */
    EventNotifier error;
    EventNotifier wanted;
    NvmeTransportLost *lost;    /* NULL once it has been called */
    void *opaque;
} VfioPci;

static VfioPci *pci_of(NvmeTransport *t)
{
    return container_of(t, VfioPci, t);
}

/* Registers and configuration space are accessed in the order of PCI's bytes. */
static int access_read(VfioPci *p, uint64_t at, void *bytes, size_t size)
{
    ssize_t ret = RETRY_ON_EINTR(pread(p->fd, bytes, size, at));

    return ret == size ? 0 : -EIO;
}

static int access_write(VfioPci *p, uint64_t at, const void *bytes, size_t size)
{
    ssize_t ret = RETRY_ON_EINTR(pwrite(p->fd, bytes, size, at));

    return ret == size ? 0 : -EIO;
}

/* By halves, the lower first, which all controllers understand. */
static int pci_read(NvmeTransport *t, unsigned offset, unsigned size,
                    uint64_t *value)
{
    VfioPci *p = pci_of(t);
    uint64_t result = 0;

    if (offset + size > p->t.registers_size) {
        return -EIO;
    }
    for (unsigned done = 0; done < size; done += 4) {
        uint32_t part;

        if (access_read(p, p->bar + offset + done, &part, sizeof(part))) {
            return -EIO;
        }
        result |= (uint64_t)le32_to_cpu(part) << (done * 8);
    }
    *value = result;
    return 0;
}

static int pci_write(NvmeTransport *t, unsigned offset, unsigned size,
                     uint64_t value)
{
    VfioPci *p = pci_of(t);

    if (offset + size > p->t.registers_size) {
        return -EIO;
    }
    for (unsigned done = 0; done < size; done += 4) {
        uint32_t part = cpu_to_le32(value >> (done * 8));

        if (access_write(p, p->bar + offset + done, &part, sizeof(part))) {
            return -EIO;
        }
    }
    return 0;
}

static int pci_map(NvmeTransport *t, const NvmeDmaMapping *m, Error **errp)
{
    struct vfio_iommu_type1_dma_map map = {
        .argsz = sizeof(map),
        .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
        .vaddr = (uintptr_t)m->host,
        .iova = m->iova,
        .size = m->size,
    };
    int err;

    if (!ioctl(pci_of(t)->container, VFIO_IOMMU_MAP_DMA, &map)) {
        return 0;
    }
    err = errno;
    error_setg_errno(errp, err, "device '%s': cannot map %" PRIu64 " bytes of "
                     "memory for it", pci_of(t)->device, m->size);
    if (err == ENOMEM) {
        error_append_hint(errp, "Memory that a device accesses is locked: raise "
                          "RLIMIT_MEMLOCK (ulimit -l) to the guest's memory and "
                          "some more\n");
    } else if (err == ENOSPC) {
        error_append_hint(errp, "Raise dma_entry_limit of the module "
                          "vfio_iommu_type1\n");
    }
    return -err;
}

static void pci_unmap(NvmeTransport *t, const NvmeDmaMapping *m)
{
    struct vfio_iommu_type1_dma_unmap unmap = {
        .argsz = sizeof(unmap),
        .iova = m->iova,
        .size = m->size,
    };

    /* fails only for what was not mapped, or is not any more */
    if (ioctl(pci_of(t)->container, VFIO_IOMMU_UNMAP_DMA, &unmap) &&
        !qatomic_read(&pci_of(t)->is_given_up)) {
        error_report_once("device '%s': cannot unmap memory: %s",
                          pci_of(t)->device, strerror(errno));
    }
}

/* @n descriptors for the interrupts @index; 0: none of them any more */
static int set_irqs(VfioPci *p, unsigned index, const int *fds, unsigned n)
{
    size_t size = sizeof(struct vfio_irq_set) + n * sizeof(int32_t);
    g_autofree struct vfio_irq_set *set = g_malloc0(size);

    set->argsz = size;
    set->flags = VFIO_IRQ_SET_ACTION_TRIGGER |
                 (n ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE);
    set->index = index;
    set->count = n;
    memcpy(set->data, fds, n * sizeof(int32_t));
    return ioctl(p->fd, VFIO_DEVICE_SET_IRQS, set) ? -errno : 0;
}

static int pci_set_irqs(NvmeTransport *t, const int *fds, unsigned n,
                        Error **errp)
{
    VfioPci *p = pci_of(t);
    int ret = 0;

    assert(n <= t->n_irqs);
    if (p->irqs_set) {
        ret = set_irqs(p, VFIO_PCI_MSIX_IRQ_INDEX, NULL, 0);
        p->irqs_set = false;
    }
    if (!ret && n) {
        ret = set_irqs(p, VFIO_PCI_MSIX_IRQ_INDEX, fds, n);
        p->irqs_set = !ret;
    }
    if (ret) {
        error_setg_errno(errp, -ret, "device '%s': cannot set up %u interrupts",
                         p->device, n);
    }
    return ret;
}

static int enable_bus_master(VfioPci *p)
{
    uint16_t command;
    int ret = access_read(p, p->config + PCI_COMMAND, &command,
                          sizeof(command));

    command |= cpu_to_le16(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    return ret ?: access_write(p, p->config + PCI_COMMAND, &command,
                               sizeof(command));
}

/* The kernel saves and restores the configuration space, MSI-X with it. */
static int pci_reset(NvmeTransport *t)
{
    return ioctl(pci_of(t)->fd, VFIO_DEVICE_RESET) ? -errno : 0;
}

static void close_notifier(EventNotifier *notifier)
{
    if (event_notifier_get_fd(notifier) >= 0) {
        aio_set_event_notifier(qemu_get_aio_context(), notifier, NULL, NULL,
                               NULL);
        event_notifier_cleanup(notifier);
    }
}

static void close_fd(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

/*
 * The kernel waits until nobody has the device open or mapped.  Other threads may
 * be about to use the descriptors, which therefore keep their numbers.  In the
 * order of pci_close().
 */
static void pci_give_up(NvmeTransport *t)
{
    VfioPci *p = pci_of(t);
    const int fds[] = { p->fd, p->group, p->container };

    qatomic_set(&p->is_given_up, true);
    nvme_vfio_drop_doorbells(t);
    for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
        if (RETRY_ON_EINTR(dup3(p->nowhere, fds[i], O_CLOEXEC)) < 0) {
            error_report("device '%s' cannot be given up: %s", p->device,
                         strerror(errno));
        }
    }
}

/*
 * The device first: with its last descriptor the kernel takes bus mastering away
 * and resets it; then the container, and with it the mappings.
 */
static void pci_close(NvmeTransport *t)
{
    VfioPci *p = pci_of(t);

    close_notifier(&p->error);
    close_notifier(&p->wanted);
    nvme_vfio_unmap_doorbells(t);
    close_fd(p->fd);
    close_fd(p->group);
    close_fd(p->container);
    close_fd(p->nowhere);
    if (p->discard_disabled) {
        ram_block_discard_disable(false);
    }
    g_free(t->ranges);
    g_free(p->device);
    g_free(p);
}

static const NvmeTransportOps pci_ops = {
    .read = pci_read,
    .write = pci_write,
    .map = pci_map,
    .unmap = pci_unmap,
    .set_irqs = pci_set_irqs,
    .reset = pci_reset,
    .give_up = pci_give_up,
    .close = pci_close,
};

static void tell_lost(VfioPci *p, const char *why)
{
    NvmeTransportLost *lost = p->lost;

    p->lost = NULL;
    if (lost) {
        error_report("device '%s': %s", p->device, why);
        lost(p->opaque);
    }
}

static void device_error(EventNotifier *notifier)
{
    event_notifier_test_and_clear(notifier);
    tell_lost(container_of(notifier, VfioPci, error),
              "the kernel reports an unrecoverable error of it");
}

static void device_wanted(EventNotifier *notifier)
{
    event_notifier_test_and_clear(notifier);
    tell_lost(container_of(notifier, VfioPci, wanted),
              "the kernel wants it back");
}

/* As sysfs writes it: "0000:01:00.0". */
static char *parse_address(const char *device, Error **errp)
{
    unsigned domain, bus, slot, function;
    g_autofree char *name = NULL;

    if (sscanf(device, "%8x:%2x:%2x.%1o", &domain, &bus, &slot, &function) == 4) {
        name = g_strdup_printf("%04x:%02x:%02x.%o", domain, bus, slot, function);
    }
    if (!name || g_ascii_strcasecmp(name, device)) {
        error_setg(errp, "device '%s' is not the address of a PCI function, as "
                   "'0000:01:00.0'", device);
        return NULL;
    }
    return g_steal_pointer(&name);
}

/* Where the link @name of the device leads, without folders; NULL if there is none */
static char *sysfs_link(const char *device, const char *name)
{
    g_autofree char *path = g_strdup_printf("/sys/bus/pci/devices/%s/%s", device,
                                            name);
    g_autofree char *target = g_file_read_link(path, NULL);

    return target ? g_path_get_basename(target) : NULL;
}

static void hint_bind(Error **errp, const char *device)
{
    error_append_hint(errp, "Bind it, as root: modprobe vfio-pci; "
                      "echo vfio-pci > /sys/bus/pci/devices/%s/driver_override; "
                      "echo %s > /sys/bus/pci/devices/%s/driver/unbind; "
                      "echo %s > /sys/bus/pci/drivers_probe\n",
                      device, device, device, device);
}

static bool check_driver(const char *device, Error **errp)
{
    g_autofree char *folder = g_strdup_printf("/sys/bus/pci/devices/%s", device);
    g_autofree char *driver = sysfs_link(device, "driver");

    if (!g_file_test(folder, G_FILE_TEST_IS_DIR)) {
        error_setg(errp, "device '%s': this host has no such PCI function",
                   device);
        return false;
    }
    /* "nvgrace-gpu-vfio-pci" and the like are variants of it */
    if (!driver || !g_str_has_suffix(driver, "vfio-pci")) {
        error_setg(errp, "device '%s' is not bound to vfio-pci but to %s", device,
                   driver ?: "no driver");
        hint_bind(errp, device);
        return false;
    }
    return true;
}

static int open_vfio(const char *device, const char *path, int flags,
                     Error **errp)
{
    int fd = qemu_open_old(path, flags);
    int err = errno;

    if (fd >= 0) {
        return fd;
    }
    error_setg_errno(errp, err, "device '%s': cannot open %s", device, path);
    if (err == EACCES || err == EPERM) {
        error_append_hint(errp, "Let this user read and write it: chown, or a "
                          "rule of udev\n");
    } else if (err == EBUSY) {
        error_append_hint(errp, "Another process uses a device of this group\n");
    } else if (err == ENOENT) {
        error_append_hint(errp, "Load the module vfio-pci\n");
    }
    return -1;
}

static bool open_container(VfioPci *p, Error **errp)
{
    /* it takes no data, and no ioctl */
    p->nowhere = open_vfio(p->device, "/dev/null", O_RDONLY, errp);
    if (p->nowhere < 0) {
        return false;
    }
    p->container = open_vfio(p->device, CONTAINER, O_RDWR, errp);
    if (p->container < 0) {
        return false;
    }
    if (ioctl(p->container, VFIO_GET_API_VERSION) != VFIO_API_VERSION) {
        error_setg(errp, "device '%s': the kernel's VFIO has an unknown version",
                   p->device);
        return false;
    }
    return true;
}

static bool open_group(VfioPci *p, Error **errp)
{
    struct vfio_group_status status = { .argsz = sizeof(status) };
    g_autofree char *number = sysfs_link(p->device, "iommu_group");
    g_autofree char *path = NULL;

    if (!number) {
        error_setg(errp, "device '%s' has no IOMMU", p->device);
        error_append_hint(errp, "Switch it on in the firmware and on the kernel's "
                          "command line: intel_iommu=on\n");
        return false;
    }
    path = g_strdup_printf("/dev/vfio/%s", number);
    p->group = open_vfio(p->device, path, O_RDWR, errp);
    if (p->group < 0) {
        return false;
    }
    if (ioctl(p->group, VFIO_GROUP_GET_STATUS, &status)) {
        error_setg_errno(errp, errno, "device '%s': no status of IOMMU group %s",
                         p->device, number);
        return false;
    }
    if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE)) {
        error_setg(errp, "device '%s': other devices of its IOMMU group %s are "
                   "in use by the kernel", p->device, number);
        error_append_hint(errp, "Bind all of /sys/kernel/iommu_groups/%s/devices "
                          "to vfio-pci\n", number);
        return false;
    }
    return true;
}

static bool set_iommu(VfioPci *p, Error **errp)
{
    int type = ioctl(p->container, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) > 0
               ? VFIO_TYPE1v2_IOMMU : VFIO_TYPE1_IOMMU;

    if (ioctl(p->group, VFIO_GROUP_SET_CONTAINER, &p->container)) {
        error_setg_errno(errp, errno, "device '%s': its IOMMU group cannot be "
                         "used", p->device);
        return false;
    }
    if (ioctl(p->container, VFIO_SET_IOMMU, type)) {
        error_setg_errno(errp, errno, "device '%s': its IOMMU cannot be used",
                         p->device);
        return false;
    }
    return true;
}

/*
 * The answer to @request, of which @size bytes are fixed and @index says of what,
 * with its capabilities; NULL with errno set.  All of them begin with argsz.
 */
static void *get_info(int fd, unsigned long request, const void *fixed,
                      size_t size, size_t *got)
{
    g_autofree void *info = g_memdup2(fixed, size);
    uint32_t argsz;

    *got = size;
    for (int i = 0; i < 2; i++) {
        argsz = *got;
        memcpy(info, &argsz, sizeof(argsz));
        if (ioctl(fd, request, info)) {
            return NULL;
        }
        memcpy(&argsz, info, sizeof(argsz));
        if (argsz <= *got) {
            return g_steal_pointer(&info);
        }
        if (argsz > MAX_INFO) {
            break;
        }
        g_free(info);
        *got = argsz;
        info = g_malloc0(argsz);
        memcpy(info, fixed, size);
    }
    errno = E2BIG;
    return NULL;
}

/* @at: the offset of the capability in @info */
static bool take_ranges(VfioPci *p, const char *info, size_t size, uint32_t at)
{
    struct vfio_iommu_type1_info_cap_iova_range head;
    size_t room = (size - at - sizeof(head)) / sizeof(struct vfio_iova_range);
    uint64_t after = 0;         /* the last of the range before */

    memcpy(&head, info + at, sizeof(head));
    if (!head.nr_iovas || head.nr_iovas > room) {
        return false;
    }
    p->t.ranges = g_new(NvmeIovaRange, head.nr_iovas);
    p->t.n_ranges = head.nr_iovas;
    for (unsigned i = 0; i < head.nr_iovas; i++) {
        struct vfio_iova_range range;

        memcpy(&range, info + at + sizeof(head) + i * sizeof(range),
               sizeof(range));
        if (range.end < range.start || (i && range.start <= after)) {
            return false;
        }
        p->t.ranges[i] = (NvmeIovaRange) { range.start, range.end };
        after = range.end;
    }
    return true;
}

static bool get_iommu(VfioPci *p, Error **errp)
{
    const struct vfio_iommu_type1_info fixed = { };
    g_autofree struct vfio_iommu_type1_info *info = NULL;
    uint32_t first, at;
    size_t size;

    info = get_info(p->container, VFIO_IOMMU_GET_INFO, &fixed, sizeof(fixed),
                    &size);
    if (!info) {
        error_setg_errno(errp, errno, "device '%s': nothing is known of its IOMMU",
                         p->device);
        return false;
    }
    p->t.page_size = qemu_real_host_page_size();
    if ((info->flags & VFIO_IOMMU_INFO_PGSIZES) && info->iova_pgsizes) {
        p->t.page_size = MAX(p->t.page_size,
                             1ULL << ctz64(info->iova_pgsizes));
    }
    first = info->flags & VFIO_IOMMU_INFO_CAPS ? info->cap_offset : 0;
    at = nvme_vfio_find_cap(info, size, first,
                            VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE,
                            sizeof(struct vfio_iommu_type1_info_cap_iova_range));
    if (!at || !take_ranges(p, (char *)info, size, at)) {
        error_setg(errp, "device '%s': the kernel does not say which addresses "
                   "its IOMMU takes", p->device);
        error_append_hint(errp, "Linux 5.4 or later does\n");
        return false;
    }
    at = nvme_vfio_find_cap(info, size, first, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL,
                            sizeof(struct vfio_iommu_type1_info_dma_avail));
    if (at) {
        struct vfio_iommu_type1_info_dma_avail avail;

        memcpy(&avail, (char *)info + at, sizeof(avail));
        p->t.max_mappings = avail.avail;
    }
    return true;
}

static bool open_device(VfioPci *p, Error **errp)
{
    struct vfio_device_info info = { .argsz = sizeof(info) };

    p->fd = ioctl(p->group, VFIO_GROUP_GET_DEVICE_FD, p->device);
    if (p->fd < 0) {
        error_setg_errno(errp, errno, "device '%s' cannot be opened", p->device);
        return false;
    }
    if (ioctl(p->fd, VFIO_DEVICE_GET_INFO, &info) ||
        !(info.flags & VFIO_DEVICE_FLAGS_PCI) ||
        info.num_regions <= VFIO_PCI_CONFIG_REGION_INDEX) {
        error_setg(errp, "device '%s' is no PCI function to VFIO", p->device);
        return false;
    }
    return true;
}

static struct vfio_region_info *get_region(VfioPci *p, unsigned index,
                                           size_t *size, Error **errp)
{
    const struct vfio_region_info fixed = { .index = index };
    struct vfio_region_info *info;

    info = get_info(p->fd, VFIO_DEVICE_GET_REGION_INFO, &fixed, sizeof(fixed),
                    size);
    if (!info) {
        error_setg_errno(errp, errno, "device '%s': nothing is known of its "
                         "region %u", p->device, index);
    }
    return info;
}

static bool open_regions(VfioPci *p, Error **errp)
{
    g_autofree struct vfio_region_info *bar = NULL, *config = NULL;
    NvmeVfioArea area;
    size_t size;

    config = get_region(p, VFIO_PCI_CONFIG_REGION_INDEX, &size, errp);
    if (!config) {
        return false;
    }
    p->config = config->offset;
    bar = get_region(p, VFIO_PCI_BAR0_REGION_INDEX, &size, errp);
    if (!bar) {
        return false;
    }
    p->bar = bar->offset;
    p->t.registers_size = bar->size;
    if (bar->size <= NVME_DOORBELLS) {
        error_setg(errp, "device '%s' is not an NVMe controller: its BAR0 has "
                   "%" PRIu64 " bytes", p->device, (uint64_t)bar->size);
        return false;
    }
    if (nvme_vfio_find_area(bar, size, NVME_DOORBELLS, &area)) {
        nvme_vfio_map_doorbells(&p->t, p->fd, bar->offset, &area);
    }
    if (enable_bus_master(p)) {
        error_setg(errp, "device '%s': its configuration space cannot be accessed",
                   p->device);
        return false;
    }
    return true;
}

/* How many interrupts of a kind there are that can signal an eventfd. */
static unsigned count_irqs(VfioPci *p, unsigned index)
{
    struct vfio_irq_info info = { .argsz = sizeof(info), .index = index };

    if (ioctl(p->fd, VFIO_DEVICE_GET_IRQ_INFO, &info) ||
        !(info.flags & VFIO_IRQ_INFO_EVENTFD)) {
        return 0;
    }
    return info.count;
}

static bool watch(VfioPci *p, unsigned index, EventNotifier *notifier,
                  EventNotifierHandler *handler, Error **errp)
{
    int ret, fd;

    if (!count_irqs(p, index)) {
        return true;
    }
    ret = event_notifier_init(notifier, false);
    if (!ret) {
        aio_set_event_notifier(qemu_get_aio_context(), notifier, handler, NULL,
                               NULL);
        fd = event_notifier_get_fd(notifier);
        ret = set_irqs(p, index, &fd, 1);
    }
    if (ret) {
        error_setg_errno(errp, -ret, "device '%s': its errors cannot be watched",
                         p->device);
    }
    return !ret;
}

static bool open_all(VfioPci *p, Error **errp)
{
    int ret;

    if (!check_driver(p->device, errp) || !open_container(p, errp) ||
        !open_group(p, errp) || !set_iommu(p, errp) || !get_iommu(p, errp) ||
        !open_device(p, errp) || !open_regions(p, errp) ||
        !watch(p, VFIO_PCI_ERR_IRQ_INDEX, &p->error, device_error, errp) ||
        !watch(p, VFIO_PCI_REQ_IRQ_INDEX, &p->wanted, device_wanted, errp)) {
        return false;
    }
    p->t.n_irqs = count_irqs(p, VFIO_PCI_MSIX_IRQ_INDEX);
    /* what is mapped is pinned: discarded, the device would still write to it */
    ret = ram_block_discard_disable(true);
    if (ret) {
        error_setg_errno(errp, -ret, "device '%s' needs memory that is not "
                         "discarded, as a virtio-mem device does", p->device);
        return false;
    }
    p->discard_disabled = true;
    return true;
}

NvmeTransport *nvme_vfio_pci_open(const char *device, NvmeTransportLost *lost,
                                  void *opaque, Error **errp)
{
    char *name = parse_address(device, errp);
    VfioPci *p;

    if (!name) {
        return NULL;
    }
    p = g_new0(VfioPci, 1);
    p->device = name;
    p->container = p->group = p->fd = p->nowhere = -1;
    event_notifier_init_fd(&p->error, -1);
    event_notifier_init_fd(&p->wanted, -1);
    p->lost = lost;
    p->opaque = opaque;
    p->t.ops = &pci_ops;
    if (!open_all(p, errp)) {
        pci_close(&p->t);
        return NULL;
    }
    return &p->t;
}
