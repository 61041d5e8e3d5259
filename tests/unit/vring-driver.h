/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The driver's end of a virtqueue, in memory of its own, for tests of the ring
 * engine: it can also do what a driver must not.
 */

#ifndef TESTS_UNIT_VRING_DRIVER_H
#define TESTS_UNIT_VRING_DRIVER_H

#include "hw/virtio/vring.h"

/* What descriptors call the first byte of the memory. */
#define DRIVER_GPA 0x40000000ull
#define DRIVER_BUFFERS 0x20000  /* offset of what is for buffers and tables */
#define DRIVER_SIZE 0x100000    /* bytes in all */

/* the flags of a descriptor: VIRTIO 1.3, 2.7.5 and 2.8.1 */
enum { F_NEXT = 1, F_WRITE = 2, F_INDIRECT = 4, F_AVAIL = 1 << 7, F_USED = 1 << 15 };

typedef struct DriverDesc {
    uint64_t addr;
    uint32_t len;
    union {
        struct { uint16_t flags, next; } split;
        struct { uint16_t id, flags; } packed;
    };
} DriverDesc;

typedef struct DriverBuffer {
    uint64_t addr;
    uint32_t len;
    bool write;         /* the device's to write */
} DriverBuffer;

typedef struct Driver {
    VringConfig config;
    uint8_t *mem;
    bool own_mem;
    VringMap map;
    VringRegion region;

    /* of the ring, in @mem */
    DriverDesc *desc;
    uint16_t *avail;    /* flags, index, heads, used_event; packed: off_wrap, flags */
    uint16_t *used;     /* flags, index, elements, avail_event; off_wrap, flags */

    uint16_t next_avail, next_used;     /* packed: slots */
    bool avail_wrap, used_wrap;
    unsigned free_slots;
    uint16_t *free_ids, n_free_ids;
    uint64_t serial;
    uint16_t slots_of[VRING_MAX_SIZE];  /* packed, by id */
} Driver;

/* In @mem, of DRIVER_SIZE bytes, zeroes, which stays the caller's; or NULL. */
Driver *driver_new(uint16_t num, bool packed, bool event_idx, bool in_order,
                   void *mem);
void driver_free(Driver *d);

/* A ring of @d's, mapped. */
Vring *driver_ring(Driver *d);

/*
 * Makes a chain of @n buffers available, all in the ring, or, with @indirect,
 * in a table there.  Returns its id, or -1 if the ring is full.
 */
int driver_add(Driver *d, const DriverBuffer *buffers, unsigned n, void *indirect);

/* One out buffer with the id and the serial number, one in: of 16 and 512 bytes. */
int driver_add_simple(Driver *d);

/* What the device has used next, if anything. */
bool driver_collect(Driver *d, uint16_t *id, uint32_t *len);

uint64_t driver_gpa(Driver *d, const void *at);

/* Asks for an interrupt when what is used @n from now on is. */
void driver_want_interrupt_after(Driver *d, unsigned n);
void driver_want_interrupts(Driver *d, bool on);

/* Whether the device asks for a kick for the last of the @n that were added last. */
bool driver_should_kick(Driver *d, unsigned n);

#endif /* TESTS_UNIT_VRING_DRIVER_H */
