/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An array with one slot for each thread that runs an AioContext, which alone
 * writes it: what an object of the block layer keeps per queue.
 *
 * The objects: QueueSlots is embedded in the object (a BlockDriverState, a
 * BlockBackend, BlockAcctStats) and set up with the size of a slot.  A slot
 * begins with QueueSlot; it is made, zeroed, when its thread first asks for it,
 * and lives as long as the object.
 *
 * Who writes: the home thread, plainly; at home 0 any thread without a home,
 * atomically.  queue_add() does either.  Who reads: any thread, a
 * value at a time, with queue_read(); QUEUE_SLOTS_FOREACH() walks the slots.
 * Sums are of moments that differ: where that matters the reader says why it
 * does not, see bdrv_queues_in_flight().
 */

#ifndef BLOCK_QUEUE_SLOTS_H
#define BLOCK_QUEUE_SLOTS_H

#include "block/aio-home.h"
#include "qemu/thread.h"

/*
 * What different threads write is this far apart: a cache line is 64 bytes on
 * the hosts in question, and their prefetchers take lines in pairs.
 */
#define QUEUE_SLOT_ALIGN 128

typedef struct QueueSlot {
    unsigned home;          /* constant */
    bool shared;            /* constant: home 0, written by several threads */
} QueueSlot;

/* private; grows, and keeps what it has outgrown until the object goes */
typedef struct QueueTable {
    unsigned n;
    struct QueueTable *outgrown;
    QueueSlot *slot[];      /* by home; NULL: not made yet */
} QueueTable;

typedef void QueueSlotInit(QueueSlot *slot);

typedef struct QueueSlots {
    /* private */
    QueueTable *table;      /* read by any thread; written under @lock */
    size_t size;
    QueueSlotInit *init;
    QemuMutex lock;         /* no slot is made while it is held */
} QueueSlots;

/*
 * @size of a slot: a multiple of QUEUE_SLOT_ALIGN.  @init, if not NULL, is called
 * for each slot that is made, by the thread that asked for it.
 */
void queue_slots_init(QueueSlots *slots, size_t size, QueueSlotInit *init);

/* @cleanup, if not NULL, is called for each slot.  No thread uses them any more. */
void queue_slots_destroy(QueueSlots *slots, QueueSlotInit *cleanup);

/* Makes the slot of @home. */
QueueSlot *queue_slot_make(QueueSlots *slots, unsigned home)
    __attribute__((cold, returns_nonnull));

/* The slot of @home, or NULL where none was made. */
static inline QueueSlot *queue_slot_at(QueueSlots *slots, unsigned home)
{
    /* acquire: pairs with the releases of queue_slot_make() */
    QueueTable *table = qatomic_load_acquire(&slots->table);

    return home < table->n ? qatomic_load_acquire(&table->slot[home]) : NULL;
}

/*
 * The slot of the calling thread.  Never kept across a yield.
 * Cost: aio_home(), three loads, two branches.
 */
static inline QueueSlot *queue_slot(QueueSlots *slots)
{
    unsigned home = aio_home();
    QueueSlot *slot = queue_slot_at(slots, home);

    return likely(slot) ? slot : queue_slot_make(slots, home);
}

/* One more than the highest home that has a slot. */
static inline unsigned queue_slots_n(QueueSlots *slots)
{
    return qatomic_load_acquire(&slots->table)->n;
}

/* The slots that have been made, as @slot, with @home as the variable. */
#define QUEUE_SLOTS_FOREACH(slot, slots, home)                              \
    for ((home) = 0; (home) < queue_slots_n(slots); (home)++)               \
        if (((slot) = (void *)queue_slot_at(slots, home)) == NULL) { } else

/* The sum of @term, made of each slot in turn as @slot; an unsigned long. */
#define QUEUE_SLOTS_SUM(slot, slots, term) ({                               \
        unsigned long sum_ = 0;                                             \
        unsigned home_;                                                     \
        QUEUE_SLOTS_FOREACH(slot, slots, home_) {                           \
            sum_ += (term);                                                 \
        }                                                                   \
        sum_; })

/*
 * Adds @n to *@ptr, a word of @slot, which is the calling thread's.
 * Release: who reads the sum with queue_read() sees what was done before.
 */
#define queue_add(slot, ptr, n) do {                                        \
        if (unlikely((slot)->shared)) {                                     \
            qatomic_fetch_add(ptr, n);                                      \
        } else {                                                            \
            qatomic_store_release(ptr, *(ptr) + (n));                       \
        }                                                                   \
    } while (0)

#define queue_read(ptr) qatomic_load_acquire(ptr)

#endif /* BLOCK_QUEUE_SLOTS_H */
