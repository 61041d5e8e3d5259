/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nvmeping: the least that can drive an NVMe controller over vfio-user.
 *
 * wire.c speaks vfio-user, controller.c sets up an admin queue and one pair of I/O
 * queues without interrupts, and then load.c measures, or verify.c looks whether
 * what was written is read.  All memory that the controller sees is one mapping.
 */

#ifndef NVMEPING_H
#define NVMEPING_H

#include "qemu/osdep.h"
#include "block/nvme.h"
#include "qemu/atomic.h"
#include "options.h"

#define PAGE 4096u
#define IOVA 0x100000000ull             /* of the memory's first byte */
#define MAX_DEPTH 1023

typedef struct Wire {
    int fd;
    uint16_t id;
    volatile uint32_t *doorbells;       /* NULL: they are messages */
} Wire;

typedef struct Ping {
    Wire wire;
    uint8_t *memory;                    /* of the controller too */
    size_t used, size;
    NvmeCmd *admin_sq, *sq;
    NvmeCqe *admin_cq, *cq;
    unsigned admin_tail, admin_head, tail, head, entries;
    bool admin_phase, phase;
    unsigned depth;
    uint32_t mdts_bytes;
    unsigned shift;                     /* of the block size of namespace 1 */
    uint64_t blocks;
} Ping;

/* All of these end the program with a message when something goes wrong. */
uint64_t now_ns(void);
uint64_t random_next(void);
void random_seed(uint64_t seed);

void wire_open(Wire *w, const char *path);
uint64_t wire_read(Wire *w, unsigned offset, unsigned size);
void wire_write(Wire *w, unsigned offset, unsigned size, uint64_t value);
void wire_map(Wire *w, int fd, uint64_t iova, uint64_t size);

void ping_open(Ping *p, const char *path, unsigned depth, size_t memory);
void *ping_alloc(Ping *p, size_t bytes);        /* zeroed whole pages */
NvmeCqe ping_admin(Ping *p, NvmeCmd cmd);
void ping_doorbell(Ping *p, unsigned index, uint32_t value);
void ping_close(Ping *p);

/* The next slot of the queue; goes out with ping_submit(). */
NvmeCmd *ping_next(Ping *p);
void ping_submit(Ping *p);
/* False: there is none. */
bool ping_reap(Ping *p, NvmeCqe *cqe);
void ping_reaped(Ping *p);              /* tells the controller */

static inline uint64_t ping_iova(const Ping *p, const void *host)
{
    return IOVA + ((const uint8_t *)host - p->memory);
}

void load_run(Ping *p, bool write, double seconds);
void verify_run(Ping *p, unsigned rounds, bool sgl);

#endif
