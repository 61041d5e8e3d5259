/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ring engine with a driver that does what it should, for split and packed
 * rings, with and without event index, in order and out of order.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/iov.h"
#include "vring-driver.h"

#define NUM 8

typedef struct Kind {
    bool packed, event_idx, in_order;
} Kind;

static Driver *new_driver(gconstpointer opaque)
{
    const Kind *kind = opaque;

    return driver_new(NUM, kind->packed, kind->event_idx, kind->in_order, NULL);
}

static VringElem *pop(Vring *vring)
{
    VringElem *elem = NULL;
    VringPop popped = vring_pop(vring, &elem, &error_abort);

    g_assert_cmpint(popped, ==, VRING_POPPED);
    return elem;
}

static void pop_none(Vring *vring)
{
    VringElem *elem;

    g_assert_true(vring_is_empty(vring));
    g_assert_cmpint(vring_pop(vring, &elem, &error_abort), ==, VRING_EMPTY);
}

static void collect(Driver *d, int want_id, uint32_t want_len)
{
    uint16_t id;
    uint32_t len;

    g_assert_true(driver_collect(d, &id, &len));
    g_assert_cmpint(id, ==, want_id);
    g_assert_cmpuint(len, ==, want_len);
}

static void collect_none(Driver *d)
{
    uint16_t id;
    uint32_t len;

    g_assert_false(driver_collect(d, &id, &len));
}

static void end(Vring *vring, Driver *d)
{
    g_assert_cmpuint(vring_in_flight(vring), ==, 0);
    vring_free(vring);
    driver_free(d);
}

/* Many times around the ring, and the 16 bits of a split one's index. */
static void test_around(gconstpointer kind)
{
    Driver *d = new_driver(kind);
    Vring *vring = driver_ring(d);

    for (unsigned i = 0; i < 70000; i++) {
        int id = driver_add_simple(d);
        VringElem *elem = pop(vring);

        g_assert_cmpuint(elem->out_num, ==, 1);
        g_assert_cmpuint(elem->in_num, ==, 1);
        g_assert_cmpuint(iov_size(elem->sg + elem->out_num, elem->in_num), ==, 512);
        g_assert_cmpuint(elem->sg[0].iov_len, ==, 16);
        g_assert_cmpuint(*(uint64_t *)elem->sg[0].iov_base, ==, id);
        g_assert_true(elem->sg[1].iov_base == elem->sg[0].iov_base + 0x40);
        g_assert_cmphex(elem->addr[1], ==,
                        driver_gpa(d, elem->sg[1].iov_base));
        vring_push(vring, elem, i);
        collect_none(d);            /* not published */
        g_assert_true(vring_has_pushed(vring));
        vring_publish(vring);
        g_assert_false(vring_has_pushed(vring));
        collect(d, id, i);
        pop_none(vring);
    }
    end(vring, d);
}

/* A batch becomes the driver's at once; answered backwards. */
static void test_batch(gconstpointer opaque)
{
    const Kind *kind = opaque;
    Driver *d = new_driver(kind);
    Vring *vring = driver_ring(d);

    for (unsigned round = 0; round < 100; round++) {
        VringElem *elem[NUM / 2];
        int id[NUM / 2], n = 0;

        while ((id[n] = driver_add_simple(d)) >= 0) {
            elem[n] = pop(vring);
            if (++n == NUM / 2) {
                break;
            }
        }
        g_assert_cmpint(n, ==, NUM / 2);
        pop_none(vring);
        for (int i = n - 1; i >= 0; i--) {
            collect_none(d);
            vring_push(vring, elem[i], i);
        }
        vring_publish(vring);
        for (int i = 0; i < n; i++) {
            int which = kind->in_order ? i : n - 1 - i;

            collect(d, id[which], which);
        }
        collect_none(d);
    }
    end(vring, d);
}

/* In order, the one that is first is waited for. */
static void test_in_order(gconstpointer kind)
{
    Driver *d = new_driver(kind);
    Vring *vring = driver_ring(d);
    int a = driver_add_simple(d), b = driver_add_simple(d);
    VringElem *first = pop(vring), *second = pop(vring);

    vring_push(vring, second, 2);
    vring_publish(vring);
    collect_none(d);
    vring_push(vring, first, 1);
    vring_publish(vring);
    collect(d, a, 1);
    collect(d, b, 2);
    end(vring, d);
}

static void test_indirect(gconstpointer kind)
{
    Driver *d = new_driver(kind);
    Vring *vring = driver_ring(d);
    uint8_t *at = d->mem + DRIVER_BUFFERS;
    unsigned n = VRING_MAX_SIZE;
    g_autofree DriverBuffer *buffers = g_new(DriverBuffer, n);

    for (unsigned i = 0; i < n; i++) {
        buffers[i].addr = driver_gpa(d, at + 64 * i);
        buffers[i].len = i + 1;
        buffers[i].write = i >= 3;
    }
    /* more than there is preallocated, then what there is: twice around */
    for (unsigned round = 0; round < 2 * NUM; round++) {
        unsigned count = round % 3 == 0 ? n : round % 3 == 1 ? VRING_SG : 4;
        int id = driver_add(d, buffers, count, d->mem + DRIVER_SIZE / 2);
        VringElem *elem = pop(vring);

        g_assert_cmpuint(elem->out_num, ==, 3);
        g_assert_cmpuint(elem->in_num, ==, count - 3);
        for (unsigned i = 0; i < count; i++) {
            g_assert_true(elem->sg[i].iov_base == at + 64 * i);
            g_assert_cmpuint(elem->sg[i].iov_len, ==, i + 1);
            g_assert_cmphex(elem->addr[i], ==, buffers[i].addr);
        }
        vring_push(vring, elem, 7);
        vring_publish(vring);
        collect(d, id, 7);
    }
    end(vring, d);
}

static void test_interrupts(gconstpointer opaque)
{
    const Kind *kind = opaque;
    Driver *d = new_driver(kind);
    Vring *vring = driver_ring(d);

    if (!kind->packed && kind->event_idx) {
        /* what the driver was told of before is not known: tell it */
        driver_want_interrupt_after(d, 3);
        driver_add_simple(d);
        vring_push(vring, pop(vring), 0);
        g_assert_true(vring_publish(vring));
        collect(d, 0, 0);
    }
    for (unsigned round = 0; round < 5 * NUM; round++) {
        for (unsigned ask = 0; ask <= 4; ask++) {
            int id[4];
            bool told[2];

            /* two batches of two; the interrupt is to come with the one of @ask */
            if (kind->event_idx) {
                driver_want_interrupt_after(d, ask);
            } else {
                driver_want_interrupts(d, ask < 4);
            }
            for (unsigned i = 0; i < 4; i++) {
                id[i] = driver_add_simple(d);
                g_assert_cmpint(id[i], >=, 0);
            }
            for (unsigned batch = 0; batch < 2; batch++) {
                vring_push(vring, pop(vring), 0);
                vring_push(vring, pop(vring), 0);
                told[batch] = vring_publish(vring);
            }
            if (!kind->event_idx) {
                g_assert_true(told[0] == (ask < 4) && told[1] == (ask < 4));
            } else if (kind->packed) {
                /* a place is a slot, of which each has two */
                g_assert_true(told[0] == (ask < 4));
                g_assert_true(told[1] == (ask >= 4));
            } else {
                g_assert_true(told[0] == (ask < 2));
                g_assert_true(told[1] == (ask >= 2 && ask < 4));
            }
            for (unsigned i = 0; i < 4; i++) {
                collect(d, id[i], 0);
            }
        }
    }
    end(vring, d);
}

static void test_kicks(gconstpointer kind)
{
    Driver *d = new_driver(kind);
    Vring *vring = driver_ring(d);

    for (unsigned round = 0; round < 5 * NUM; round++) {
        vring_set_kicks(vring, true);
        pop_none(vring);
        driver_add_simple(d);
        g_assert_true(driver_should_kick(d, 2));
        vring_set_kicks(vring, false);
        vring_push(vring, pop(vring), 0);
        driver_add_simple(d);
        g_assert_false(driver_should_kick(d, 1));
        vring_push(vring, pop(vring), 0);
        vring_publish(vring);
        for (unsigned i = 0; i < 2; i++) {
            uint16_t id;
            uint32_t len;

            g_assert_true(driver_collect(d, &id, &len));
        }
    }
    end(vring, d);
}

/* The state of one ring begins another: as a migration does it, or a front-end. */
static void test_state(gconstpointer kind)
{
    Driver *d = new_driver(kind);
    Vring *vring = driver_ring(d), *next;
    VringState state;

    for (unsigned round = 0; round < 5 * NUM; round++) {
        int id;

        for (unsigned i = 0; i < 3; i++) {
            id = driver_add_simple(d);
            vring_push(vring, pop(vring), 0);
            vring_publish(vring);
            collect(d, id, 0);
        }
        id = driver_add_simple(d);
        next = driver_ring(d);
        if (round & 1) {
            vring_get_state(vring, &state);
            vring_set_state(next, &state);
        } else {
            g_assert_true(vring_set_base(next, vring_base(vring), &error_abort));
        }
        vring_free(vring);
        vring = next;
        vring_push(vring, pop(vring), 9);
        vring_publish(vring);
        collect(d, id, 9);
    }
    end(vring, d);
}

typedef struct Maps {
    VringMap map;
    VringRegion region[3];
    bool released;
    uint64_t written;       /* bytes of buffers that the device said it wrote */
    uint64_t written_ring;
} Maps;

static void map_released(VringMap *map)
{
    Maps *maps = container_of(map, Maps, map);

    g_assert_false(maps->released);
    maps->released = true;
}

static void map_written(VringMap *map, const VringRegion *region,
                        uint64_t offset, uint64_t size)
{
    Maps *maps = container_of(map, Maps, map);
    uint64_t at = region->gpa + offset - DRIVER_GPA;

    g_assert_cmpuint(offset + size, <=, region->size);
    if (at < DRIVER_BUFFERS) {
        maps->written_ring += size;
    } else {
        maps->written += size;
    }
}

/* The memory of @d, in pieces that are not in a row here. */
static void split_memory(Maps *maps, Driver *d, const uint64_t *size)
{
    uint64_t at = 0;

    *maps = (Maps) {
        .map = {
            .refs = 1, .release = map_released, .written = map_written, .n = 3,
        },
    };
    maps->map.region = maps->region;
    for (unsigned i = 0; i < 3; i++) {
        maps->region[i] = (VringRegion) {
            .gpa = DRIVER_GPA + at, .size = size[i], .host = d->mem + at,
        };
        at += size[i];
    }
}

/* A buffer across regions; what is popped with a map keeps it; no other does. */
static void test_maps(gconstpointer kind)
{
    static const uint64_t size[] = { DRIVER_BUFFERS + 100, 50, 1000 };
    static const uint64_t less[] = { DRIVER_BUFFERS + 60, 40, 30 };
    Driver *d = new_driver(kind);
    Vring *vring = driver_ring(d);
    Maps first, second;
    DriverBuffer buffers[] = {
        { DRIVER_GPA + DRIVER_BUFFERS, 16, false },
        { DRIVER_GPA + DRIVER_BUFFERS + 64, 200, true },
    };
    VringElem *elem, *other;
    int id, other_id;

    split_memory(&first, d, size);
    g_assert_true(vring_set_map(vring, &first.map));
    vring_map_unref(&first.map);
    g_assert_cmpuint(d->map.refs, ==, 1);

    id = driver_add(d, buffers, 2, NULL);
    elem = pop(vring);
    g_assert_cmpuint(elem->in_num, ==, 3);
    g_assert_cmpuint(elem->sg[1].iov_len, ==, 36);
    g_assert_cmpuint(elem->sg[2].iov_len, ==, 50);
    g_assert_cmpuint(elem->sg[3].iov_len, ==, 114);
    g_assert_cmpuint(iov_size(elem->sg + elem->out_num, elem->in_num), ==, 200);

    split_memory(&second, d, less);
    g_assert_true(vring_set_map(vring, &second.map));
    vring_map_unref(&second.map);
    g_assert_false(first.released);
    other_id = driver_add_simple(d);    /* beyond the second map */
    g_assert_cmpint(vring_pop(vring, &other, &error_abort), ==, VRING_UNMAPPED);
    g_assert_cmpint(vring_pop(vring, &other, &error_abort), ==, VRING_UNMAPPED);
    g_assert_cmpuint(vring_in_flight(vring), ==, 1);

    vring_push(vring, elem, 120);
    g_assert_true(first.released);
    g_assert_cmpuint(first.written, ==, 120);
    g_assert_cmpuint(second.written, ==, 0);
    vring_publish(vring);
    g_assert_cmpuint(second.written_ring, >=, 8);
    collect(d, id, 120);

    /* the ring's memory goes away while a request is in flight, and comes back */
    g_assert_true(vring_set_map(vring, &d->map));
    g_assert_true(second.released);
    elem = pop(vring);
    split_memory(&second, d, less);
    second.region[0].size = 64;
    g_assert_false(vring_set_map(vring, &second.map));
    g_assert_cmpint(vring_pop(vring, &other, &error_abort), ==, VRING_UNMAPPED);
    g_assert_true(vring_is_empty(vring));
    vring_push(vring, elem, 5);
    g_assert_cmpuint(d->map.refs, ==, 1);
    g_assert_false(vring_publish(vring));
    collect_none(d);
    g_assert_true(vring_set_map(vring, &d->map));
    vring_publish(vring);
    collect(d, other_id, 5);
    end(vring, d);
}

/* Somebody else answers it. */
static void test_forget(gconstpointer kind)
{
    Driver *d = new_driver(kind);
    Vring *vring = driver_ring(d);

    for (unsigned i = 0; i < NUM / 2; i++) {
        driver_add_simple(d);
        vring_forget(vring, pop(vring));
        g_assert_cmpuint(vring_in_flight(vring), ==, 0);
        vring_publish(vring);
        collect_none(d);
    }
    end(vring, d);
}

static void test_config(void)
{
    static const VringConfig bad[] = {
        { .num = 0 }, { .num = 12 }, { .num = 2048 },
        { .num = 2048, .packed = true }, { .num = 0, .packed = true },
        { .num = 8, .desc = 8 }, { .num = 8, .avail = 1 }, { .num = 8, .used = 2 },
        { .num = 8, .avail = 2, .packed = true },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        Error *err = NULL;

        g_assert_null(vring_new(&bad[i], sizeof(VringElem), &err));
        error_free_or_abort(&err);
    }
    /* packed rings of any number */
    vring_free(vring_new(&(VringConfig) { .num = 12, .packed = true },
                         sizeof(VringElem), &error_abort));
}

/* Places that a front-end names and that are not in the ring. */
static void test_bad_base(void)
{
    static const uint32_t bad[] = { NUM, NUM << 16, 0x7fff, 0x7fff0000 };
    Driver *d = driver_new(NUM, true, false, false, NULL);
    Vring *vring = driver_ring(d);

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        Error *err = NULL;

        g_assert_false(vring_set_base(vring, bad[i], &err));
        error_free_or_abort(&err);
    }
    end(vring, d);
}

static void add(const char *name, unsigned kinds, GTestDataFunc func)
{
    static const Kind kind[8] = {
        { false, false }, { false, true }, { true, false }, { true, true },
        { false, false, true }, { false, true, true }, { true, false, true },
        { true, true, true },
    };
    static const char *const names[] = { "split", "split-event-idx", "packed",
                                         "packed-event-idx" };

    for (unsigned i = 0; i < 8; i++) {
        if (kinds & (i < 4 ? 1 : 2)) {
            g_autofree char *path = g_strdup_printf("/vring/%s/%s%s", name,
                                                    names[i % 4],
                                                    i < 4 ? "" : "-in-order");

            g_test_add_data_func(path, &kind[i], func);
        }
    }
}

int main(int argc, char **argv)
{
    enum { ANY_ORDER = 1, IN_ORDER = 2, BOTH = 3 };

    g_test_init(&argc, &argv, NULL);
    add("around", BOTH, test_around);
    add("batch", BOTH, test_batch);
    add("in-order", IN_ORDER, test_in_order);
    add("indirect", BOTH, test_indirect);
    add("interrupts", BOTH, test_interrupts);
    add("kicks", BOTH, test_kicks);
    add("state", ANY_ORDER, test_state);
    add("maps", ANY_ORDER, test_maps);
    add("forget", ANY_ORDER, test_forget);
    g_test_add_func("/vring/config", test_config);
    g_test_add_func("/vring/bad-base", test_bad_base);
    return g_test_run();
}
