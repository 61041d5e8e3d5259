/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PCI function, as libvfio-user offers it to a client.
 */
#include "target.h"
#include <sys/mman.h>
#include <sys/socket.h>
#include <linux/pci_regs.h>
#include "qemu/memfd.h"

#define MAX_MESSAGES 64         /* of the client before the queues' turn */
#define MAX_LOGGED 20

static void log_message(vfu_ctx_t *vfu, int level, const char *text)
{
    static unsigned logged;

    /* a completion without a listener is no error: the client may be polling */
    if (strncmp(text, "no fd for interrupt", 19) && logged++ < MAX_LOGGED) {
        fprintf(stderr, "nvme-target: vfio-user: %s\n", text);
    }
}

static ssize_t access_registers(Target *t, char *buf, size_t count, unsigned offset,
                                bool is_write)
{
    uint64_t value = 0;

    if ((count != 4 && count != 8) || offset % count) {
        driver_error(t, ERROR_REGISTER, "access of %zu bytes at 0x%x", count, offset);
        errno = EINVAL;
        return -1;
    }
    if (is_write) {
        memcpy(&value, buf, count);
        register_write(t, offset, count, value);
    } else {
        value = register_read(t, offset, count);
        memcpy(buf, &value, count);
    }
    return count;
}

/* Doorbells that the client has not mapped, and the MSI-X table, which is inert. */
static ssize_t access_rest(Target *t, char *buf, size_t count, unsigned offset,
                           bool is_write)
{
    if (!is_write) {
        memcpy(buf, t->bar + offset, count);
        if (t->gone) {
            memset(buf, 0xff, count);
        }
    } else if (offset >= TARGET_MSIX_TABLE) {
        memcpy(t->bar + offset, buf, count);
    } else if (count != 4 || offset % 4) {
        driver_error(t, ERROR_DOORBELL, "%zu bytes written at 0x%x", count, offset);
        errno = EINVAL;
        return -1;
    } else if (!t->gone) {
        t->doorbell_messages++;
        memcpy(t->bar + offset, buf, count);
    }
    return count;
}

static ssize_t access_bar(vfu_ctx_t *vfu, char *buf, size_t count, loff_t offset,
                          bool is_write)
{
    Target *t = vfu_get_private(vfu);

    if (offset < 0 || offset > TARGET_BAR_SIZE || count > TARGET_BAR_SIZE - offset) {
        errno = EINVAL;
        return -1;
    }
    return offset < TARGET_DOORBELLS
           ? access_registers(t, buf, count, offset, is_write)
           : access_rest(t, buf, count, offset, is_write);
}

static void dma_register(vfu_ctx_t *vfu, vfu_dma_info_t *info)
{
    memory_add(vfu_get_private(vfu), (uintptr_t)info->iova.iov_base,
               info->iova.iov_len, info->vaddr, info->prot & PROT_WRITE);
}

static void dma_unregister(vfu_ctx_t *vfu, vfu_dma_info_t *info)
{
    Target *t = vfu_get_private(vfu);

    memory_remove(t, (uintptr_t)info->iova.iov_base);
    /* a message unmaps one: what follows goes since the client takes no reply */
    t->message = 0;
}

static int reset(vfu_ctx_t *vfu, vfu_reset_type_t type)
{
    registers_reset(vfu_get_private(vfu));
    return 0;
}

/* Is asked before memory is mapped, among others: the one place to say no. */
static int quiesce(vfu_ctx_t *vfu)
{
    Target *t = vfu_get_private(vfu);

    if (t->message == VFIO_USER_DMA_MAP && t->n_regions >= t->max_regions) {
        errno = ENOSPC;
        return -1;
    }
    return 0;
}

static bool create_bar(Target *t)
{
    t->bar_fd = memfd_create("nvme-target-bar", MFD_CLOEXEC);
    if (t->bar_fd < 0 || ftruncate(t->bar_fd, TARGET_BAR_SIZE) < 0) {
        return false;
    }
    t->bar = mmap(NULL, TARGET_BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
                  t->bar_fd, 0);
    return t->bar != MAP_FAILED;
}

bool device_truncate_bar(Target *t)
{
    g_autofree uint8_t *copy = g_memdup2(t->bar, TARGET_BAR_SIZE);

    if (mmap(t->bar, TARGET_BAR_SIZE, PROT_READ | PROT_WRITE,
             MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) {
        return false;
    }
    memcpy(t->bar, copy, TARGET_BAR_SIZE);
    return ftruncate(t->bar_fd, 0) == 0;
}

static bool setup_pci(Target *t)
{
    struct iovec doorbells = { (void *)(uintptr_t)TARGET_DOORBELLS, TARGET_PAGE };
    struct msixcap msix = {
        .hdr.id = PCI_CAP_ID_MSIX,
        .mxc.ts = t->max_queues,
        .mtab.to = TARGET_MSIX_TABLE >> 3,
        .mpba.pbao = TARGET_MSIX_PBA >> 3,
    };

    if (vfu_pci_init(t->vfu, VFU_PCI_TYPE_CONVENTIONAL, PCI_HEADER_TYPE_NORMAL,
                     0) < 0) {
        return false;
    }
    vfu_pci_set_id(t->vfu, 0x1b36, 0x0010, 0x1b36, 0x0010);
    vfu_pci_set_class(t->vfu, 1, 8, 2);         /* NVM, NVM Express */
    return vfu_setup_region(t->vfu, VFU_PCI_DEV_BAR0_REGION_IDX, TARGET_BAR_SIZE,
                            access_bar, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM,
                            t->map_doorbells ? &doorbells : NULL, t->map_doorbells,
                            t->map_doorbells ? t->bar_fd : -1, 0) == 0 &&
           vfu_setup_device_nr_irqs(t->vfu, VFU_DEV_MSIX_IRQ,
                                    t->max_queues + 1) == 0 &&
           vfu_pci_add_capability(t->vfu, 0, 0, &msix) >= 0;
}

bool device_init(Target *t)
{
    if (!create_bar(t)) {
        return false;
    }
    t->vfu = vfu_create_ctx(VFU_TRANS_SOCK, t->socket_path,
                            LIBVFIO_USER_FLAG_ATTACH_NB, t, VFU_DEV_TYPE_PCI);
    if (!t->vfu || vfu_setup_log(t->vfu, log_message, LOG_ERR) < 0 ||
        !setup_pci(t) || vfu_setup_device_reset_cb(t->vfu, reset) < 0 ||
        vfu_setup_device_dma(t->vfu, dma_register, dma_unregister) < 0) {
        return false;
    }
    vfu_setup_device_quiesce_cb(t->vfu, quiesce);
    return vfu_realize_ctx(t->vfu) == 0;
}

void device_destroy(Target *t)
{
    vfu_destroy_ctx(t->vfu);
    unlink(t->socket_path);
}

int device_fd(Target *t)
{
    return vfu_get_poll_fd(t->vfu);
}

static void attach(Target *t)
{
    struct timeval limit = { .tv_sec = 2 };     /* for half of a message */

    if (vfu_attach_ctx(t->vfu) == 0) {
        t->attached = true;
        t->connection = device_fd(t);
        setsockopt(device_fd(t), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        setsockopt(device_fd(t), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    }
}

void device_serve(Target *t, bool hung_up)
{
    struct vfio_user_header header;
    unsigned i;

    if (!t->attached) {
        attach(t);
    }
    for (i = 0; i < MAX_MESSAGES && t->attached; i++) {
        /* libvfio-user takes half a header for the connection's end */
        ssize_t n = recv(device_fd(t), &header, sizeof(header),
                         MSG_PEEK | MSG_DONTWAIT);

        if (n > 0 && (size_t)n < sizeof(header) && !hung_up) {
            return;
        }
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        t->message = n == sizeof(header) ? header.cmd : 0;
        if (vfu_run_ctx(t->vfu) < 0 && device_fd(t) == t->connection) {
            shutdown(t->connection, SHUT_RDWR);         /* seen by the next turn */
        }
        /* it is not always said when the connection has ended */
        t->attached = device_fd(t) == t->connection;
        t->message = 0;
    }
}

void device_interrupt(Target *t, Cq *cq)
{
    if (!cq->ien) {
        return;
    }
    if (vfu_irq_trigger(t->vfu, cq->vector) == 0) {
        cq->interrupts++;
        t->interrupts++;
    } else {
        t->interrupts_lost++;
    }
}
