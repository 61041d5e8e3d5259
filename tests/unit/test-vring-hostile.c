/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ring engine with a driver that does what it must not: the ring is broken,
 * with one error that says why, and nothing outside the driver's memory is read or
 * written (which the sanitizers see, and a map of fewer bytes than there are).
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/thread.h"
#include "vring-driver.h"

#define NUM 8

typedef struct Fault {
    const char *name;
    const char *says;               /* part of the error; NULL: UNMAPPED */
    void (*make)(Driver *d);
} Fault;

typedef struct Case {
    const Fault *fault;
    bool packed;
} Case;

static void set_flags(Driver *d, unsigned slot, uint16_t flags)
{
    if (d->config.packed) {
        d->desc[slot].packed.flags = flags | F_AVAIL;
    } else {
        d->desc[slot].split.flags = flags;
    }
}

/* One available chain that begins at descriptor 0, with @flags. */
static void make_one(Driver *d, uint64_t addr, uint32_t len, uint16_t flags)
{
    d->desc[0].addr = addr;
    d->desc[0].len = len;
    set_flags(d, 0, flags);
    if (!d->config.packed) {
        d->desc[0].split.next = 1;
        d->avail[2] = 0;
        d->avail[1] = 1;
    }
}

static void make_loop(Driver *d)
{
    for (unsigned i = 0; i < NUM; i++) {
        d->desc[i].addr = DRIVER_GPA;
        d->desc[i].len = 1;
        set_flags(d, i, F_NEXT);
        if (!d->config.packed) {
            d->desc[i].split.next = (i + 1) % NUM;
        }
    }
    if (!d->config.packed) {
        d->avail[1] = 1;
    }
}

static void make_self_loop(Driver *d)
{
    make_one(d, DRIVER_GPA, 1, F_NEXT);
    d->desc[0].split.next = 0;
}

static void make_no_bytes(Driver *d)
{
    make_one(d, DRIVER_GPA, 0, 0);
}

static void make_wrapping(Driver *d)
{
    make_one(d, UINT64_MAX - 15, 512, F_WRITE);
}

static void make_below(Driver *d)
{
    make_one(d, DRIVER_GPA - 1, 512, F_WRITE);
}

static void make_above(Driver *d)
{
    make_one(d, DRIVER_GPA + DRIVER_SIZE, 1, 0);
}

static void make_across_end(Driver *d)
{
    make_one(d, DRIVER_GPA + DRIVER_SIZE - 511, 512, F_WRITE);
}

static void make_long(Driver *d)
{
    make_one(d, DRIVER_GPA + DRIVER_BUFFERS, UINT32_MAX, F_WRITE);
}

static void make_out_after_in(Driver *d)
{
    make_one(d, DRIVER_GPA, 512, F_WRITE | F_NEXT);
    d->desc[1].addr = DRIVER_GPA;
    d->desc[1].len = 16;
    set_flags(d, 1, 0);
}

static void make_next_outside(Driver *d)
{
    make_one(d, DRIVER_GPA, 1, F_NEXT);
    d->desc[0].split.next = NUM;
}

static void make_head_outside(Driver *d)
{
    d->avail[2] = NUM;
    d->avail[1] = 1;
}

static void make_index_jump(Driver *d)
{
    d->avail[1] = NUM + 1;
}

static void make_index_back(Driver *d)
{
    d->avail[1] = UINT16_MAX;
}

static DriverDesc *make_table(Driver *d, uint32_t len)
{
    DriverDesc *table = (void *)(d->mem + DRIVER_BUFFERS);

    make_one(d, driver_gpa(d, table), len, F_INDIRECT);
    for (unsigned i = 0; i < 4 * VRING_MAX_SIZE; i++) {
        table[i].addr = DRIVER_GPA;
        table[i].len = 1;
        if (!d->config.packed) {
            table[i].split.flags = F_NEXT;
            table[i].split.next = i + 1;
        }
    }
    return table;
}

static void make_table_empty(Driver *d)
{
    make_table(d, 0);
}

static void make_table_odd(Driver *d)
{
    make_table(d, 24);
}

static void make_table_outside(Driver *d)
{
    make_table(d, 32);
    d->desc[0].addr = DRIVER_GPA + DRIVER_SIZE - 16;
}

static void make_table_huge(Driver *d)
{
    make_table(d, UINT32_MAX - 15);
}

static void make_table_long(Driver *d)
{
    make_table(d, (VRING_MAX_SIZE + 1) * 16);
}

static void make_table_loop(Driver *d)
{
    make_table(d, 64)[2].split.next = 1;
}

static void make_table_next_outside(Driver *d)
{
    make_table(d, 64)[2].split.next = 4;
}

static void make_table_nested(Driver *d)
{
    DriverDesc *table = make_table(d, 64);

    if (d->config.packed) {
        table[1].packed.flags = F_INDIRECT;
    } else {
        table[1].split.flags = F_INDIRECT | F_NEXT;
    }
}

static void make_table_no_bytes(Driver *d)
{
    make_table(d, 64)[3].len = 0;
}

static const Fault both[] = {
    { "loop", "", make_loop },
    { "no-bytes", "no bytes", make_no_bytes },
    { "address-wraps", "wraps around", make_wrapping },
    { "below-memory", NULL, make_below },
    { "above-memory", NULL, make_above },
    { "across-the-end", NULL, make_across_end },
    { "four-gigabytes", NULL, make_long },
    { "out-after-in", "behind one to write", make_out_after_in },
    { "table-empty", "table of 0 bytes", make_table_empty },
    { "table-odd", "table of 24 bytes", make_table_odd },
    { "table-outside", NULL, make_table_outside },
    { "table-huge", NULL, make_table_huge },
    { "table-long", "more than 1024 buffers", make_table_long },
    { "table-nested", "in another", make_table_nested },
    { "table-no-bytes", "no bytes", make_table_no_bytes },
};

static const Fault only_split[] = {
    { "self-loop", "loops", make_self_loop },
    { "next-outside", "descriptor 8 follows", make_next_outside },
    { "head-outside", "descriptor 8 is made available", make_head_outside },
    { "index-jump", "went from 0 to 9", make_index_jump },
    { "index-back", "went from 0 to 65535", make_index_back },
    { "table-loop", "loops", make_table_loop },
    { "table-next-outside", "descriptor 4 of", make_table_next_outside },
};

static void test_fault(gconstpointer opaque)
{
    const Case *c = opaque;
    Driver *d = driver_new(NUM, c->packed, false, false, NULL);
    Vring *vring = driver_ring(d);
    VringElem *elem;
    Error *err = NULL;
    VringPop popped;

    c->fault->make(d);
    popped = vring_pop(vring, &elem, &err);
    if (!c->fault->says) {
        /* not taken: who knows other memory may */
        g_assert_cmpint(popped, ==, VRING_UNMAPPED);
        g_assert_null(err);
        g_assert_false(vring_is_empty(vring));
        g_assert_false(vring_is_broken(vring));
    } else {
        g_assert_cmpint(popped, ==, VRING_BROKEN);
        g_assert_nonnull(strstr(error_get_pretty(err), c->fault->says));
        error_free_or_abort(&err);
        /* once */
        g_assert_cmpint(vring_pop(vring, &elem, &err), ==, VRING_BROKEN);
        g_assert_null(err);
        g_assert_true(vring_is_empty(vring));
    }
    g_assert_cmpuint(vring_in_flight(vring), ==, 0);
    vring_free(vring);
    driver_free(d);
}

/* As many as there are slots, and then the same ones again. */
static void test_too_many(void)
{
    Driver *d = driver_new(NUM, false, false, false, NULL);
    Vring *vring = driver_ring(d);
    VringElem *elem[NUM], *none;
    Error *err = NULL;

    make_one(d, DRIVER_GPA, 1, 0);
    for (unsigned i = 0; i < NUM; i++) {
        d->avail[1] = i + 1;
        g_assert_cmpint(vring_pop(vring, &elem[i], &error_abort), ==,
                        VRING_POPPED);
    }
    d->avail[1] = NUM + 1;
    g_assert_cmpint(vring_pop(vring, &none, &err), ==, VRING_BROKEN);
    error_free_or_abort(&err);
    for (unsigned i = 0; i < NUM; i++) {
        vring_push(vring, elem[i], 0);
    }
    vring_publish(vring);
    vring_free(vring);
    driver_free(d);
}

/* The same while none of the answers are the driver's yet. */
static void test_too_many_pushed(gconstpointer packed)
{
    Driver *d = driver_new(NUM, GPOINTER_TO_INT(packed), false, false, NULL);
    Vring *vring = driver_ring(d);
    VringElem *elem;
    Error *err = NULL;

    make_one(d, DRIVER_GPA, 1, 0);
    for (unsigned i = 0; i < NUM; i++) {
        d->avail[1] = i + 1;
        set_flags(d, i, 0);
        d->desc[i].addr = DRIVER_GPA;
        d->desc[i].len = 1;
        g_assert_cmpint(vring_pop(vring, &elem, &error_abort), ==, VRING_POPPED);
        vring_push(vring, elem, 0);
    }
    d->avail[1] = NUM + 1;
    for (unsigned i = 0; i < NUM; i++) {
        d->desc[i].packed.flags = packed ? F_USED : 0;  /* the next time around */
    }
    g_assert_cmpint(vring_pop(vring, &elem, &err), ==, VRING_BROKEN);
    error_free_or_abort(&err);
    vring_free(vring);
    driver_free(d);
}

/* Packed: more slots than those that are not in flight. */
static void test_too_many_slots(void)
{
    Driver *d = driver_new(NUM, true, false, false, NULL);
    Vring *vring = driver_ring(d);
    VringElem *elem, *none;
    Error *err = NULL;

    driver_add_simple(d);
    g_assert_cmpint(vring_pop(vring, &elem, &error_abort), ==, VRING_POPPED);
    for (unsigned i = 0; i < NUM; i++) {
        d->desc[i].addr = DRIVER_GPA;
        d->desc[i].len = 1;
        d->desc[i].packed.flags = F_NEXT | F_AVAIL;
    }
    g_assert_cmpint(vring_pop(vring, &none, &err), ==, VRING_BROKEN);
    error_free_or_abort(&err);
    vring_push(vring, elem, 0);
    vring_publish(vring);
    vring_free(vring);
    driver_free(d);
}

/* A thread that writes to the ring and its tables while they are read. */
typedef struct Scribbler {
    Driver *d;
    bool stop;
    unsigned seed;
} Scribbler;

static void *scribble(void *opaque)
{
    Scribbler *s = opaque;
    static const uint64_t addrs[] = {
        DRIVER_GPA, DRIVER_GPA + DRIVER_BUFFERS, DRIVER_GPA + DRIVER_SIZE - 8,
        DRIVER_GPA - 1, UINT64_MAX - 3,
    };
    static const uint32_t lens[] = { 16, 1, 0, 64, 4096, UINT32_MAX };

    while (!qatomic_read(&s->stop)) {
        unsigned r = rand_r(&s->seed);
        DriverDesc *desc = r & 1 ? &s->d->desc[r >> 4 & (NUM - 1)] :
            (DriverDesc *)(s->d->mem + DRIVER_BUFFERS) + (r >> 4 & 15);

        switch (r >> 1 & 3) {
        case 0:
            qatomic_set(&desc->addr, addrs[(r >> 8) % G_N_ELEMENTS(addrs)]);
            break;
        case 1:
            qatomic_set(&desc->len, lens[(r >> 8) % G_N_ELEMENTS(lens)]);
            break;
        default:
            qatomic_set(&desc->split.flags, r >> 8);
            qatomic_set(&desc->split.next, r >> 12);
        }
        qatomic_set(&s->d->avail[1], s->d->avail[1] + (r >> 20 & 1));
    }
    return NULL;
}

/* What was popped is within memory, whatever it is; then a new ring. */
static void test_changing(gconstpointer opaque)
{
    bool packed = GPOINTER_TO_INT(opaque);
    Driver *d = driver_new(NUM, packed, true, false, NULL);
    Scribbler s = { .d = d, .seed = g_test_rand_int() };
    QemuThread thread;
    int64_t until = g_get_monotonic_time() + 2 * G_USEC_PER_SEC;
    uint64_t popped = 0, broken = 0;

    qemu_thread_create(&thread, "scribbler", scribble, &s, QEMU_THREAD_JOINABLE);
    while (g_get_monotonic_time() < until || !popped || !broken) {
        Vring *vring = driver_ring(d);
        VringElem *elem;
        Error *err = NULL;
        VringPop pop;

        if (!packed) {
            vring_set_state(vring, &(VringState) {
                .avail = qatomic_read(&d->avail[1]) - 1,
                .used = qatomic_read(&d->avail[1]) - 1,
            });
        }
        for (unsigned n = 0; n < 100; n++) {
            pop = vring_pop(vring, &elem, &err);
            if (pop != VRING_POPPED) {
                broken += pop == VRING_BROKEN;
                error_free(err);
                break;
            }
            popped++;
            for (unsigned i = 0; i < elem->out_num + elem->in_num; i++) {
                uint8_t *at = elem->sg[i].iov_base;
                size_t len = elem->sg[i].iov_len;

                g_assert_cmpuint(len, >, 0);
                g_assert_true(at >= d->mem && len <= DRIVER_SIZE &&
                              at - d->mem <= DRIVER_SIZE - len);
            }
            vring_push(vring, elem, UINT32_MAX);
            vring_publish(vring);
        }
        vring_free(vring);
    }
    qatomic_set(&s.stop, true);
    qemu_thread_join(&thread);
    g_test_message("%" PRIu64 " popped, %" PRIu64 " broken", popped, broken);
    driver_free(d);
}

static void add(const Fault *faults, unsigned n, bool packed)
{
    for (unsigned i = 0; i < n; i++) {
        g_autofree char *path = g_strdup_printf("/vring-hostile/%s/%s",
                                                faults[i].name,
                                                packed ? "packed" : "split");
        Case *c = g_new(Case, 1);

        *c = (Case) { &faults[i], packed };
        g_test_add_data_func_full(path, c, test_fault, g_free);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add(both, G_N_ELEMENTS(both), false);
    add(both, G_N_ELEMENTS(both), true);
    add(only_split, G_N_ELEMENTS(only_split), false);
    g_test_add_func("/vring-hostile/too-many", test_too_many);
    g_test_add_data_func("/vring-hostile/too-many-pushed/split",
                         GINT_TO_POINTER(false), test_too_many_pushed);
    g_test_add_data_func("/vring-hostile/too-many-pushed/packed",
                         GINT_TO_POINTER(true), test_too_many_pushed);
    g_test_add_func("/vring-hostile/too-many-slots", test_too_many_slots);
    g_test_add_data_func("/vring-hostile/changing/split", GINT_TO_POINTER(false),
                         test_changing);
    g_test_add_data_func("/vring-hostile/changing/packed", GINT_TO_POINTER(true),
                         test_changing);
    return g_test_run();
}
