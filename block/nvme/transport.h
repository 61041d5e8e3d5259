/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the NVMe driver reaches a controller: registers, doorbells, interrupts, and
 * the memory that the controller may access.
 *
 * There are two: a PCI function that the kernel's VFIO hands out (vfio-pci.c), and
 * a controller that another process serves over a UNIX socket with the vfio-user
 * protocol (vfio-user.c).  Nothing here knows of NVMe but for where the doorbells
 * are: at NVME_DOORBELLS in BAR0.
 *
 *     nvme_vfio_pci_open() / nvme_vfio_user_open()
 *     set_irqs()                      once, before the first interrupt is wanted
 *     read(), write(), map(), unmap(), reset()
 *     give_up()                       once, if it is used no more
 *     close()
 *
 * Threads.  open and close: main loop.  The rest: any thread, one call at a time
 * each; the transport has a lock where it needs one.  The doorbells, where they
 * are mapped, are written by anybody without a call.
 */

#ifndef BLOCK_NVME_TRANSPORT_H
#define BLOCK_NVME_TRANSPORT_H

/* NVM Express Base Specification 2.0, figure 35; NVMe over PCIe Transport 1.0, 3.1.2 */
#define NVME_DOORBELLS 0x1000

typedef struct NvmeTransport NvmeTransport;

/* Addresses that the controller may be given: first and last. */
typedef struct NvmeIovaRange {
    uint64_t first;
    uint64_t last;
} NvmeIovaRange;

/* Memory of this process, and the address by which the controller shall know it. */
typedef struct NvmeDmaMapping {
    void *host;                 /* page aligned */
    uint64_t size;              /* bytes; whole pages */
    uint64_t iova;              /* page aligned */
    int fd;                     /* of the file that is mapped at @host, or -1 */
    uint64_t fd_offset;         /* of @host in it */
} NvmeDmaMapping;

typedef struct NvmeTransportOps {
    /*
     * A register of BAR0: @size is 4 or 8 bytes; @value in the host's byte order.
     * Returns 0 or -errno: -EIO if the device is gone.  A device that was pulled
     * answers with all ones, which is no error here.
     */
    int (*read)(NvmeTransport *t, unsigned offset, unsigned size, uint64_t *value);
    int (*write)(NvmeTransport *t, unsigned offset, unsigned size, uint64_t value);

    /*
     * The controller can read and write @m until it is unmapped.  Returns 0, or
     * -errno with @errp set: -ENOSPC if there are as many mappings as there can be
     * (unmapping another helps), -ENOTSUP if memory of this kind cannot be mapped.
     */
    int (*map)(NvmeTransport *t, const NvmeDmaMapping *m, Error **errp);

    /* Exactly what was mapped; the controller accesses it no more. */
    void (*unmap)(NvmeTransport *t, const NvmeDmaMapping *m);

    /*
     * MSI-X vector i signals the eventfd @fds[i], or none where that is -1; @n is at
     * most n_irqs.  All that was set before is replaced.  0 or -errno, @errp set.
     */
    int (*set_irqs)(NvmeTransport *t, const int *fds, unsigned n, Error **errp);

    /* The device as after power on, with no access to memory under way; 0 or -errno. */
    int (*reset)(NvmeTransport *t);

    /*
     * The controller accesses no memory from now on, and others may have it; what
     * is asked of it afterwards fails, and doorbells lead nowhere.
     */
    void (*give_up)(NvmeTransport *t);

    /* Also after an error.  Frees @t; mappings end with it. */
    void (*close)(NvmeTransport *t);
} NvmeTransportOps;

/*
 * The device can no longer be reached.  Once, in the main loop's event loop, and
 * not from within a call of the transport.
 */
typedef void NvmeTransportLost(void *opaque);

/* The first member of each transport's own state.  Constant once it is open. */
struct NvmeTransport {
    const NvmeTransportOps *ops;

    /*
     * BAR0 from NVME_DOORBELLS on, mapped, @doorbells_size bytes of it; or NULL:
     * doorbells are registers as others are.  Stays readable and writable until
     * close(), whatever becomes of the device.
     */
    volatile uint32_t *doorbells;
    size_t doorbells_size;
    uint64_t registers_size;    /* of BAR0 */

    unsigned n_irqs;            /* MSI-X vectors; 0: none */
    bool needs_fd;              /* map() takes only memory with a file descriptor */
    uint64_t page_size;         /* granularity of mappings, at least the host's */
    NvmeIovaRange *ranges;      /* ascending, disjoint */
    unsigned n_ranges;
    unsigned max_mappings;      /* 0: not known */
};

/*
 * @device: the address of a PCI function that is bound to vfio-pci, as
 * "0000:01:00.0".  NULL with @errp set on failure: the message names the option
 * device and, where there is one, the remedy.
 */
NvmeTransport *nvme_vfio_pci_open(const char *device, NvmeTransportLost *lost,
                                  void *opaque, Error **errp);

/*
 * @path: that of the UNIX socket of a vfio-user server (docs/vfio-user.rst of
 * libvfio-user, protocol version 0.1).  Else as nvme_vfio_pci_open().
 */
NvmeTransport *nvme_vfio_user_open(const char *path, NvmeTransportLost *lost,
                                   void *opaque, Error **errp);

#endif /* BLOCK_NVME_TRANSPORT_H */
