/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transport: virtio-blk-pci of a QEMU that runs no guest. ringload is firmware
 * and driver in one: it finds the device, gives it addresses and brings it up
 * (VIRTIO 1.2, section 3.1.1) through QEMU's qtest socket. The rings and data
 * are in the guest's memory, a file that both map, so under load only kicks go
 * over the socket, and the device's IOThreads run as they do for a guest.
 *
 * For the QEMU command line see --help. The machine needs at least the memory
 * that the queues take and 16 MiB; the device sits on the root bus.
 */
#include "transport.h"
#include "ioeventfd.h"
#include "options.h"
#include "pci.h"
#include "qtest.h"
#include "queue.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define VENDOR_VIRTIO  0x1af4
#define DEVICE_BLK     (0x1040 + 2)     /* VIRTIO 1.2, 4.1.2: 0x1040 + id */

/* Above the video memory and firmware of a PC, and below the PCI hole. */
#define MEMORY_BEGIN   (16ull << 20)
#define MEMORY_LIMIT   (2ull << 30)

/* In the PCI hole of both machine types, below IOAPIC and firmware. */
#define BARS_BEGIN     0xe0000000ull

#define RESET_TRIES    1000

static struct {
    struct pci_function function;
    uint64_t common;            /* addresses of the structures of 4.1.4 */
    uint64_t device;
    uint64_t notify;
    uint32_t notify_multiplier;
    uint32_t device_length;
    const char *mem_path;
    struct shared_memory memory;
    uint64_t kick_address[1024];
    int gone;                   /* a kick found no QEMU */
    bool by_eventfd;
    unsigned queues;            /* of the device */
    int kick_fd[1024];
} pci;

#define COMMON(field) \
    (pci.common + offsetof(struct virtio_pci_common_cfg, field))

/* VIRTIO 1.2, 4.1.4: capabilities say where the structures are. */
static void find_structures(void)
{
    const struct pci_function *f = &pci.function;
    unsigned at = 0;

    while ((at = pci_capability(f, PCI_CAP_ID_VNDR, at))) {
        unsigned type = pci_config_read(f, 1, at + VIRTIO_PCI_CAP_CFG_TYPE);
        unsigned bar = pci_config_read(f, 1, at + VIRTIO_PCI_CAP_BAR);
        uint32_t offset = pci_config_read(f, 4, at + VIRTIO_PCI_CAP_OFFSET);
        uint64_t address;

        if (bar >= PCI_BARS || !f->bar[bar]) {
            continue;
        }
        address = f->bar[bar] + offset;
        /* 4.1.4.1: the first of a type that can be used */
        if (type == VIRTIO_PCI_CAP_COMMON_CFG && !pci.common) {
            pci.common = address;
        } else if (type == VIRTIO_PCI_CAP_DEVICE_CFG && !pci.device) {
            pci.device = address;
            pci.device_length =
                pci_config_read(f, 4, at + VIRTIO_PCI_CAP_LENGTH);
        } else if (type == VIRTIO_PCI_CAP_NOTIFY_CFG && !pci.notify) {
            pci.notify = address;
            pci.notify_multiplier =
                pci_config_read(f, 4, at + VIRTIO_PCI_NOTIFY_CAP_MULT);
        }
    }
    if (!pci.common || !pci.device || !pci.notify) {
        die("the virtio-blk device has not the capabilities of VIRTIO 1");
    }
}

static void set_status(uint8_t status)
{
    qtest_write(1, COMMON(device_status), status);
}

/* 4.1.4.3.2: the driver waits until the reset is done. */
static void reset_device(void)
{
    unsigned tries;

    set_status(0);
    for (tries = 0; qtest_read(1, COMMON(device_status)); tries++) {
        if (tries == RESET_TRIES) {
            die("the device's reset does not end");
        }
        usleep(1000);
    }
}

static uint64_t offered_features(void)
{
    uint64_t features = 0;
    unsigned half;

    for (half = 0; half < 2; half++) {
        qtest_write(4, COMMON(device_feature_select), half);
        features |= qtest_read(4, COMMON(device_feature)) << 32 * half;
    }
    return features;
}

static void accept_features(uint64_t features)
{
    const uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE |
                           VIRTIO_CONFIG_S_DRIVER |
                           VIRTIO_CONFIG_S_FEATURES_OK;
    unsigned half;

    for (half = 0; half < 2; half++) {
        qtest_write(4, COMMON(guest_feature_select), half);
        qtest_write(4, COMMON(guest_feature),
                    (uint32_t)(features >> 32 * half));
    }
    set_status(status);
    if (!(qtest_read(1, COMMON(device_status)) & VIRTIO_CONFIG_S_FEATURES_OK)) {
        die("the device refuses the features 0x%" PRIx64, features);
    }
}

static void read_config(struct device *dev)
{
    uint8_t config[sizeof(struct virtio_blk_config)] = { 0 };
    size_t i;

    for (i = 0; i < sizeof(config) && i < pci.device_length; i++) {
        config[i] = qtest_read(1, pci.device + i);
    }
    device_read_config(dev, config, sizeof(config));
}

static void qp_open(const struct options *o, struct device *dev)
{
    uint64_t next = BARS_BEGIN;

    pci.mem_path = o->mem_path;
    pci.by_eventfd = o->kick_ioeventfd;
    qtest_open(o->socket, o->timeout);
    if (!pci_find(&pci.function, VENDOR_VIRTIO, DEVICE_BLK)) {
        die("no virtio-blk device (1af4:1042) on the root bus");
    }
    pci_enable(&pci.function, &next);
    find_structures();
    reset_device();
    set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE);
    set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    dev->features = device_choose_features(o, offered_features());
    accept_features(dev->features);
    read_config(dev);
    pci.queues = dev->max_queues;
    qtest_write(2, COMMON(queue_select), 0);
    dev->max_ring = qtest_read(2, COMMON(queue_size));
    if (!dev->max_ring || (dev->max_ring & (dev->max_ring - 1))) {
        die("the device's queue 0 has %u entries", dev->max_ring);
    }
    snprintf(dev->description, sizeof(dev->description),
             "virtio-blk-pci at %02x.%x of %s, %" PRIu64 " bytes, %u queues",
             pci.function.devfn >> 3, pci.function.devfn & 7, o->socket,
             dev->sectors * 512, dev->max_queues);
}

static void qp_memory(size_t size, struct shared_memory *m)
{
    int fd = open(pci.mem_path, O_RDWR | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st)) {
        die("%s: %s", pci.mem_path, strerror(errno));
    }
    if (MEMORY_BEGIN + size > (uint64_t)st.st_size ||
        MEMORY_BEGIN + size > MEMORY_LIMIT) {
        die("%s: the guest's memory is too small, the queues take %llu MiB",
            pci.mem_path, (MEMORY_BEGIN + size + (1 << 20) - 1) >> 20);
    }
    m->base = mmap(NULL, size, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_POPULATE, fd, MEMORY_BEGIN);
    if (m->base == MAP_FAILED) {
        die("%s: %s", pci.mem_path, strerror(errno));
    }
    close(fd);
    memset(m->base, 0, size);
    m->size = size;
    m->device_base = MEMORY_BEGIN;
    pci.memory = *m;
}

static void write_address(uint64_t low, uint64_t value)
{
    qtest_write(4, low, (uint32_t)value);
    qtest_write(4, low + 4, value >> 32);
}

/* VIRTIO 1.2, 4.1.5.1.3 (the queue) and 4.1.4.4 (where it is notified) */
static void qp_start(struct queue *q)
{
    uint64_t offset;

    qtest_write(2, COMMON(queue_select), q->index);
    if (qtest_read(2, COMMON(queue_size)) < q->ring.size) {
        die("queue %u: the device has not room for %u entries", q->index,
            q->ring.size);
    }
    qtest_write(2, COMMON(queue_size), q->ring.size);
    write_address(COMMON(queue_desc_lo),
                  shared_address(&pci.memory, q->ring.desc));
    write_address(COMMON(queue_avail_lo),
                  shared_address(&pci.memory, q->ring.avail));
    write_address(COMMON(queue_used_lo),
                  shared_address(&pci.memory, q->ring.used));
    offset = qtest_read(2, COMMON(queue_notify_off));
    pci.kick_address[q->index] = pci.notify + offset * pci.notify_multiplier;
    qtest_write(2, COMMON(queue_enable), 1);
}

static void qp_run(void)
{
    if (pci.by_eventfd) {
        ioeventfd_before(qtest_pid());
    }
    set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
               VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
    if (pci.by_eventfd) {
        ioeventfd_find(pci.kick_fd, pci.queues);
    }
}

/* VIRTIO 1.2, 4.1.5.2: the queue's number is the value written */
static void qp_kick(struct queue *q)
{
    if (pci.by_eventfd) {
        eventfd_write(pci.kick_fd[q->index], 1);
    } else if (!qtest_post_write(pci.kick_address[q->index], q->index)) {
        atomic_put(&pci.gone, 1);
    }
}

static bool qp_supervise(int timeout_ms)
{
    if (atomic_get(&pci.gone) || !qtest_watch(timeout_ms)) {
        complain("QEMU closed the qtest connection");
        return false;
    }
    return true;
}

/* A device that saw a broken ring says so (VIRTIO 1.2, 2.1.2). */
static void qp_stop(struct queue *q)
{
    if (qtest_read(1, COMMON(device_status)) & VIRTIO_CONFIG_S_NEEDS_RESET) {
        complain("queue %u: the device needs a reset", q->index);
        atomic_put(&q->control->exit_status, EXIT_DATA);
    }
}

/* Leaves the device reset and without access to memory. */
static void qp_close(void)
{
    reset_device();
    pci_config_write(&pci.function, 2, PCI_COMMAND, 0);
    qtest_close();
}

const struct transport qtest_pci_transport = {
    .name = "qtest",
    .has_interrupts = false,
    .open = qp_open,
    .memory = qp_memory,
    .start = qp_start,
    .run = qp_run,
    .kick = qp_kick,
    .supervise = qp_supervise,
    .stop = qp_stop,
    .close = qp_close,
};
