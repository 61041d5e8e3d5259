/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/memalign.h"
#include "vring-driver.h"

#define NO_INTERRUPT 1
#define NO_NOTIFY 1
#define EVENT_ENABLE 0
#define EVENT_DISABLE 1
#define EVENT_DESC 2

/* A page each, so that the parts do not lie in one another's way. */
#define DESC_AT 0
#define AVAIL_AT 0x8000
#define USED_AT 0x10000

QEMU_BUILD_BUG_ON(sizeof(DriverDesc) != 16);

Driver *driver_new(uint16_t num, bool packed, bool event_idx, bool in_order,
                   void *mem)
{
    Driver *d = g_new0(Driver, 1);

    d->own_mem = !mem;
    if (!mem) {
        mem = qemu_memalign(4096, DRIVER_SIZE);
        memset(mem, 0, DRIVER_SIZE);
    }
    d->mem = mem;
    d->config = (VringConfig) {
        .num = num, .packed = packed, .event_idx = event_idx,
        .in_order = in_order, .desc = DRIVER_GPA + DESC_AT,
        .avail = DRIVER_GPA + AVAIL_AT, .used = DRIVER_GPA + USED_AT,
    };
    d->region = (VringRegion) {
        .gpa = DRIVER_GPA, .size = DRIVER_SIZE, .host = d->mem,
    };
    d->map = (VringMap) { .refs = 1, .n = 1, .region = &d->region };
    d->desc = (void *)(d->mem + DESC_AT);
    d->avail = (void *)(d->mem + AVAIL_AT);
    d->used = (void *)(d->mem + USED_AT);
    d->avail_wrap = d->used_wrap = true;
    d->free_slots = num;
    d->free_ids = g_new(uint16_t, num);
    for (int i = num; i-- > 0; ) {
        d->free_ids[d->n_free_ids++] = i;
    }
    return d;
}

void driver_free(Driver *d)
{
    g_assert_cmpuint(d->map.refs, ==, 1);
    if (d->own_mem) {
        qemu_vfree(d->mem);
    }
    g_free(d->free_ids);
    g_free(d);
}

Vring *driver_ring(Driver *d)
{
    Vring *vring = vring_new(&d->config, sizeof(VringElem), &error_abort);

    g_assert_true(vring_set_map(vring, &d->map));
    return vring;
}

uint64_t driver_gpa(Driver *d, const void *at)
{
    return DRIVER_GPA + ((uint8_t *)at - d->mem);
}

static DriverDesc describe(const DriverBuffer *buffer)
{
    return (DriverDesc) { .addr = buffer->addr, .len = buffer->len };
}

static int add_split(Driver *d, const DriverDesc *descs, const uint16_t *flags,
                     unsigned n)
{
    uint16_t ids[VRING_MAX_SIZE];

    for (unsigned i = 0; i < n; i++) {
        ids[i] = d->free_ids[--d->n_free_ids];
    }
    for (unsigned i = 0; i < n; i++) {
        DriverDesc *desc = &d->desc[ids[i]];

        *desc = descs[i];
        desc->split.flags = flags[i] | (i + 1 < n ? F_NEXT : 0);
        desc->split.next = i + 1 < n ? ids[i + 1] : 0;
    }
    d->avail[2 + (d->next_avail++ & (d->config.num - 1))] = ids[0];
    smp_wmb();
    qatomic_set(&d->avail[1], d->next_avail);
    return ids[0];
}

static int add_packed(Driver *d, const DriverDesc *descs, const uint16_t *flags,
                      unsigned n)
{
    uint16_t first = d->next_avail, first_flags = 0;
    uint16_t id = d->free_ids[--d->n_free_ids];

    for (unsigned i = 0; i < n; i++) {
        DriverDesc *desc = &d->desc[d->next_avail];
        uint16_t f = flags[i] | (i + 1 < n ? F_NEXT : 0) |
                     (d->avail_wrap ? F_AVAIL : F_USED);

        desc->addr = descs[i].addr;
        desc->len = descs[i].len;
        desc->packed.id = id;
        if (i == 0) {
            first_flags = f;
        } else {
            desc->packed.flags = f;
        }
        if (++d->next_avail == d->config.num) {
            d->next_avail = 0;
            d->avail_wrap = !d->avail_wrap;
        }
    }
    d->slots_of[id] = n;
    smp_wmb();
    qatomic_set(&d->desc[first].packed.flags, first_flags);
    return id;
}

int driver_add(Driver *d, const DriverBuffer *buffers, unsigned n, void *indirect)
{
    DriverDesc *descs = g_newa(DriverDesc, n);
    uint16_t *flags = g_newa(uint16_t, n);
    unsigned slots = indirect ? 1 : n;

    for (unsigned i = 0; i < n; i++) {
        descs[i] = describe(&buffers[i]);
        flags[i] = buffers[i].write ? F_WRITE : 0;
    }
    if (d->free_slots < slots ||
        d->n_free_ids < (d->config.packed ? 1 : slots)) {
        return -1;
    }
    if (indirect) {
        DriverDesc *table = indirect;

        for (unsigned i = 0; i < n; i++) {
            table[i] = descs[i];
            if (d->config.packed) {
                table[i].packed.flags = flags[i];
            } else {
                table[i].split.flags = flags[i] | (i + 1 < n ? F_NEXT : 0);
                table[i].split.next = i + 1;
            }
        }
        descs[0] = (DriverDesc) {
            .addr = driver_gpa(d, table), .len = n * sizeof(DriverDesc),
        };
        flags[0] = F_INDIRECT;
    }
    d->free_slots -= slots;
    return d->config.packed ? add_packed(d, descs, flags, slots) :
                              add_split(d, descs, flags, slots);
}

int driver_add_simple(Driver *d)
{
    uint16_t id = d->n_free_ids ? d->free_ids[d->n_free_ids - 1] : 0;
    uint8_t *at = d->mem + DRIVER_BUFFERS + id * 0x240;
    DriverBuffer buffers[] = {
        { driver_gpa(d, at), 16, false },
        { driver_gpa(d, at + 0x40), 512, true },
    };

    ((uint64_t *)at)[0] = id;
    ((uint64_t *)at)[1] = d->serial++;
    return driver_add(d, buffers, 2, NULL);
}

static void release_split(Driver *d, uint16_t id)
{
    uint16_t flags;

    do {
        flags = d->desc[id].split.flags;
        d->free_ids[d->n_free_ids++] = id;
        d->free_slots++;
        id = d->desc[id].split.next;
    } while (!(flags & F_INDIRECT) && (flags & F_NEXT));
}

static bool collect_split(Driver *d, uint16_t *id, uint32_t *len)
{
    uint32_t *elem;

    if (qatomic_read(&d->used[1]) == d->next_used) {
        return false;
    }
    smp_rmb();
    elem = (uint32_t *)(d->used + 2) + 2 * (d->next_used++ & (d->config.num - 1));
    *id = elem[0];
    *len = elem[1];
    release_split(d, *id);
    return true;
}

static bool collect_packed(Driver *d, uint16_t *id, uint32_t *len)
{
    DriverDesc *desc = &d->desc[d->next_used];
    uint16_t flags = qatomic_read(&desc->packed.flags);

    if (!!(flags & F_AVAIL) != d->used_wrap || !!(flags & F_USED) != d->used_wrap) {
        return false;
    }
    smp_rmb();
    *id = desc->packed.id;
    *len = desc->len;
    g_assert_cmpuint(*id, <, d->config.num);
    d->next_used += d->slots_of[*id];
    if (d->next_used >= d->config.num) {
        d->next_used -= d->config.num;
        d->used_wrap = !d->used_wrap;
    }
    d->free_slots += d->slots_of[*id];
    d->free_ids[d->n_free_ids++] = *id;
    return true;
}

bool driver_collect(Driver *d, uint16_t *id, uint32_t *len)
{
    return d->config.packed ? collect_packed(d, id, len) :
                              collect_split(d, id, len);
}

void driver_want_interrupt_after(Driver *d, unsigned n)
{
    g_assert_true(d->config.event_idx);
    if (d->config.packed) {
        unsigned at = d->next_used + n;
        bool wrap = d->used_wrap;

        if (at >= d->config.num) {
            at -= d->config.num;
            wrap = !wrap;
        }
        d->avail[0] = at | wrap << 15;
        d->avail[1] = EVENT_DESC;
    } else {
        d->avail[2 + d->config.num] = d->next_used + n;
    }
}

void driver_want_interrupts(Driver *d, bool on)
{
    if (d->config.packed) {
        d->avail[1] = on ? EVENT_ENABLE : EVENT_DISABLE;
    } else {
        d->avail[0] = on ? 0 : NO_INTERRUPT;
    }
}

bool driver_should_kick(Driver *d, unsigned n)
{
    if (!d->config.event_idx) {
        return d->config.packed ? d->used[1] == EVENT_ENABLE :
                                  !(d->used[0] & NO_NOTIFY);
    }
    if (!d->config.packed) {
        uint16_t event = d->used[2 + 4 * d->config.num];

        return (uint16_t)(d->next_avail - event - 1) < n;
    }
    for (unsigned i = 1; d->used[1] == EVENT_DESC && i <= n; i++) {
        int at = d->next_avail - i;
        bool wrap = d->avail_wrap;

        if (at < 0) {
            at += d->config.num;
            wrap = !wrap;
        }
        if (d->used[0] == (at | wrap << 15)) {
            return true;
        }
    }
    return d->used[1] == EVENT_ENABLE;
}
