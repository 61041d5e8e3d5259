/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Making and freeing the slots of an object.
 */

#include "qemu/osdep.h"
#include "block/queue-slots.h"
#include "qemu/lockable.h"
#include "qemu/memalign.h"

/* The main loop and one IOThread, beside home 0, without growing. */
#define FIRST_SIZE 3

static QueueTable *table_new(unsigned n)
{
    QueueTable *table = g_malloc0(sizeof(*table) + n * sizeof(table->slot[0]));

    table->n = n;
    return table;
}

void queue_slots_init(QueueSlots *slots, size_t size, QueueSlotInit *init)
{
    assert(size % QUEUE_SLOT_ALIGN == 0);
    slots->size = size;
    slots->init = init;
    slots->table = table_new(FIRST_SIZE);
    qemu_mutex_init(&slots->lock);
}

void queue_slots_destroy(QueueSlots *slots, QueueSlotInit *cleanup)
{
    QueueTable *table = slots->table;
    unsigned i;

    for (i = 0; i < table->n; i++) {
        if (table->slot[i] && cleanup) {
            cleanup(table->slot[i]);
        }
        qemu_vfree(table->slot[i]);
    }
    while (table) {
        QueueTable *outgrown = table->outgrown;

        g_free(table);
        table = outgrown;
    }
    slots->table = NULL;
    qemu_mutex_destroy(&slots->lock);
}

/*
 * A larger table replaces the smaller one, which stays: a thread may be reading
 * it, and finds the same slots there.  Doubling, all tables together are less
 * than twice the last.
 */
static QueueTable *grow(QueueSlots *slots, unsigned home)
{
    QueueTable *old = slots->table;
    QueueTable *table = table_new(MAX(home + 1, 2 * old->n));

    memcpy(table->slot, old->slot, old->n * sizeof(old->slot[0]));
    table->outgrown = old;
    qatomic_store_release(&slots->table, table);
    return table;
}

QueueSlot *queue_slot_make(QueueSlots *slots, unsigned home)
{
    QueueTable *table;
    QueueSlot *slot;

    QEMU_LOCK_GUARD(&slots->lock);
    table = slots->table;
    if (home >= table->n) {
        table = grow(slots, home);
    }
    slot = table->slot[home];
    if (!slot) {    /* home 0: another thread may have been first */
        slot = qemu_memalign(QUEUE_SLOT_ALIGN, slots->size);
        memset(slot, 0, slots->size);
        slot->home = home;
        slot->shared = home == AIO_HOME_SHARED;
        if (slots->init) {
            slots->init(slot);
        }
        qatomic_store_release(&table->slot[home], slot);
    }
    return slot;
}
