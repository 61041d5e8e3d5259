/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a ringload queue reaches a server: the interface between the engine and
 * the transports (vhost-user.c, qtest-pci.c, self.c).
 *
 * The main thread calls, in this order:
 *   open      connects, negotiates, fills in struct device
 *   memory    gives memory that both sides see, zeroed
 *   start     for each queue: its ring is in that memory
 *   run       the device may work from now on
 *   supervise again and again while the queues' threads run
 *   stop      for each queue: nothing is in flight
 *   close     leaves the server as it was found
 * and each queue's own thread calls only
 *   kick      new entries are in the avail ring
 *
 * All but supervise die on failure: there is nothing to go on with.
 */
#ifndef RINGLOAD_TRANSPORT_H
#define RINGLOAD_TRANSPORT_H

#include "util.h"

struct options;
struct queue;

/* What the server offers and what was made of it; written by open. */
struct device {
    char description[160];
    uint64_t features;          /* those negotiated */
    uint64_t sectors;           /* capacity, in 512-byte sectors */
    unsigned logical_block;     /* bytes */
    unsigned max_queues;
    unsigned max_ring;          /* entries */
};

struct shared_memory {
    char *base;
    size_t size;
    uint64_t device_base;       /* the device's address of base */
};

/* The device's address of @p in shared memory. */
static inline uint64_t shared_address(const struct shared_memory *m,
                                      const void *p)
{
    return m->device_base + ((const char *)p - m->base);
}

struct transport {
    const char *name;
    bool has_interrupts;        /* queues may sleep on their call eventfd */
    void (*open)(const struct options *o, struct device *dev);
    void (*memory)(size_t size, struct shared_memory *m);
    void (*start)(struct queue *q);
    void (*run)(void);
    void (*kick)(struct queue *q);
    /*
     * Waits up to @timeout_ms; false where the server has gone, of which
     * it has complained then.
     */
    bool (*supervise)(int timeout_ms);
    void (*stop)(struct queue *q);
    void (*close)(void);
};

extern const struct transport vhost_user_transport;
extern const struct transport qtest_pci_transport;
extern const struct transport self_transport;

/*
 * The features that ringload can use, out of @offered: what the command line
 * wants, and VIRTIO_F_VERSION_1, without which it dies.
 */
uint64_t device_choose_features(const struct options *o, uint64_t offered);

/*
 * Reads struct virtio_blk_config (VIRTIO 1.2, 5.2.4), of which @size bytes are
 * there, into @dev whose features are set.
 */
void device_read_config(struct device *dev, const void *config, size_t size);

#endif
