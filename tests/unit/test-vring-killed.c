/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A device that is killed, after each of its instructions in turn, and another
 * that goes on with what was in flight: the driver gets each request back once.
 *
 * The driver is this process.  The device is a child that works on shared memory,
 * an instruction at a time.  After each, this process does what the driver and the
 * next device would do if that had been the last, and then puts the memory back.
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "vring-driver.h"

#define NUM 16

/* A driver, and what it knows and shares at one time. */
typedef struct World {
    Driver *d;
    uint8_t *area;
    size_t area_size;
    bool outstanding[NUM];      /* by id */
} World;

typedef struct Snapshot {
    Driver d;
    uint16_t free_ids[NUM];
    bool outstanding[NUM];
    uint8_t *mem;           /* the ring; what is in buffers does not change */
    uint8_t *area;
} Snapshot;

static void *shared(size_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    g_assert_true(at != MAP_FAILED);
    return at;
}

static void save(World *w, Snapshot *s)
{
    s->d = *w->d;
    memcpy(s->free_ids, w->d->free_ids, sizeof(s->free_ids));
    memcpy(s->outstanding, w->outstanding, sizeof(s->outstanding));
    memcpy(s->mem, w->d->mem, DRIVER_BUFFERS);
    memcpy(s->area, w->area, w->area_size);
}

static void restore(World *w, const Snapshot *s)
{
    *w->d = s->d;
    memcpy(w->d->free_ids, s->free_ids, sizeof(s->free_ids));
    memcpy(w->outstanding, s->outstanding, sizeof(s->outstanding));
    memcpy(w->d->mem, s->mem, DRIVER_BUFFERS);
    memcpy(w->area, s->area, w->area_size);
}

static Vring *begin_device(World *w)
{
    Vring *vring = driver_ring(w->d);

    /* as a front-end that does not know: of a new ring */
    g_assert_true(vring_set_base(vring, w->d->config.packed ? 0x80008000 : 0,
                                 &error_abort));
    g_assert_true(vring_set_inflight(vring, w->area, w->area_size, &error_abort));
    return vring;
}

static VringElem *pop(Vring *vring)
{
    VringElem *elem = NULL;

    if (vring_pop(vring, &elem, &error_abort) != VRING_POPPED) {
        abort();
    }
    return elem;
}

static void add(World *w)
{
    int id = driver_add_simple(w->d);

    g_assert_cmpint(id, >=, 0);
    g_assert_false(w->outstanding[id]);
    w->outstanding[id] = true;
}

static void collect_all(World *w)
{
    uint16_t id;
    uint32_t len;

    while (driver_collect(w->d, &id, &len)) {
        g_assert_cmpint(id, <, NUM);
        g_assert_true(w->outstanding[id]);
        w->outstanding[id] = false;
    }
}

/* A device's share of the work; A, B and C were in flight before. */
static void operate(Vring *vring)
{
    VringElem *a = pop(vring), *b = pop(vring), *c = pop(vring), *d, *e;

    vring_push(vring, b, 1);
    d = pop(vring);
    vring_push(vring, d, 1);
    vring_publish(vring);
    vring_push(vring, a, 1);
    vring_publish(vring);
    e = pop(vring);
    vring_push(vring, c, 1);
    vring_push(vring, e, 1);
    vring_publish(vring);
}

static uint64_t serial_of(const VringElem *elem)
{
    return ((uint64_t *)elem->sg[0].iov_base)[1];
}

/* The next device answers all there is; @late: the last of it first. */
static void recover(World *w, bool late)
{
    Vring *vring = begin_device(w);
    VringElem *elem[NUM];
    unsigned n = 0;

    collect_all(w);
    add(w);
    while (n < NUM && vring_pop(vring, &elem[n], &error_abort) == VRING_POPPED) {
        /* in the order in which the driver made them available */
        g_assert_true(n == 0 || serial_of(elem[n]) > serial_of(elem[n - 1]));
        n++;
    }
    for (unsigned i = 0; i < n; i++) {
        vring_push(vring, elem[late ? n - 1 - i : i], 1);
        if (i % 2) {
            vring_publish(vring);
        }
    }
    vring_publish(vring);
    collect_all(w);
    for (unsigned i = 0; i < NUM; i++) {
        g_assert_false(w->outstanding[i]);      /* lost */
    }
    vring_free(vring);
}

/* In a child, so that nothing is left of its ring. */
static void run_device(World *w, void (*work)(Vring *vring))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        work(begin_device(w));
        _exit(0);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void answer_two_backwards(Vring *vring)
{
    VringElem *a = pop(vring), *b = pop(vring);

    vring_push(vring, b, 1);
    vring_push(vring, a, 1);
    vring_publish(vring);
}

static void take_three(Vring *vring)
{
    for (unsigned i = 0; i < 3; i++) {
        pop(vring);
    }
}

static void set_up(World *w, bool packed)
{
    size_t size = vring_inflight_size(NUM, packed);

    *w = (World) {
        .d = driver_new(NUM, packed, true, false, shared(DRIVER_SIZE)),
        .area = shared(size), .area_size = size,
    };
    for (unsigned i = 0; i < 5; i++) {
        add(w);
        add(w);
        run_device(w, answer_two_backwards);
        collect_all(w);
    }
    for (unsigned i = 0; i < 3; i++) {
        add(w);
    }
    run_device(w, take_three);
    add(w);
    add(w);
}

static void tear_down(World *w)
{
    munmap(w->area, w->area_size);
    munmap(w->d->mem, DRIVER_SIZE);
    driver_free(w->d);
}

/* A device that stops when its ring is set up, and after its work. */
static pid_t begin_stepped(World *w)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        Vring *vring = begin_device(w);

        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0) {
            _exit(1);
        }
        raise(SIGSTOP);
        operate(vring);
        raise(SIGSTOP);
        _exit(0);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    return WIFSTOPPED(status) ? pid : -1;
}

static bool step(pid_t pid)
{
    int status;

    g_assert_cmpint(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), ==, 0);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFSTOPPED(status));
    return WSTOPSIG(status) != SIGSTOP;
}

static void test_killed(gconstpointer packed)
{
    World w;
    Snapshot at_kill = {
        .mem = g_malloc(DRIVER_BUFFERS),
        .area = g_malloc(vring_inflight_size(NUM, true)),
    };
    unsigned n = 0;
    pid_t pid;

    set_up(&w, GPOINTER_TO_INT(packed));
    pid = begin_stepped(&w);
    if (pid < 0) {
        g_test_skip("this process may not trace another");
    } else {
        do {
            save(&w, &at_kill);
            recover(&w, n % 2);
            restore(&w, &at_kill);
            n++;
        } while (step(pid));
        g_test_message("killed after each of %u instructions", n);
        g_assert_cmpuint(n, >, 500);
        /* by then it had answered everything */
        collect_all(&w);
        for (unsigned i = 0; i < NUM; i++) {
            g_assert_false(w.outstanding[i]);
        }
        kill(pid, SIGKILL);
        g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
    }
    tear_down(&w);
    g_free(at_kill.mem);
    g_free(at_kill.area);
}

/* An area that a front-end has spoilt is refused, or at worst believed. */
static void test_spoilt(gconstpointer packed)
{
    World w;
    unsigned refused = 0, taken = 0;

    for (unsigned i = 0; i < 200; i++) {
        g_autofree uint8_t *area = NULL;
        Error *err = NULL;
        Vring *vring;

        set_up(&w, GPOINTER_TO_INT(packed));
        area = g_malloc(w.area_size);       /* a sanitizer knows its end */
        memcpy(area, w.area, w.area_size);
        for (int n = g_test_rand_int_range(1, 20); n > 0; n--) {
            area[g_test_rand_int_range(0, n % 2 ? 32 : w.area_size)] =
                g_test_rand_int_range(0, n % 3 ? 4 : 256);
        }
        vring = driver_ring(w.d);
        g_assert_true(vring_set_base(vring,
                                     w.d->config.packed ? 0x80008000 : 0,
                                     &error_abort));
        if (vring_set_inflight(vring, area, w.area_size, &err)) {
            VringElem *elem;

            while (vring_pop(vring, &elem, &err) == VRING_POPPED) {
                vring_push(vring, elem, 1);
                vring_publish(vring);
            }
            error_free(err);
            taken++;
        } else {
            error_free_or_abort(&err);
            refused++;
        }
        vring_free(vring);
        tear_down(&w);
    }
    g_test_message("%u refused, %u taken", refused, taken);
    g_assert_cmpuint(refused, >, 0);
    g_assert_cmpuint(taken, >, 0);
}

static void test_too_small(void)
{
    Driver *d = driver_new(NUM, false, false, false, NULL);
    Vring *vring = driver_ring(d);
    uint8_t area[64] = { 0 };
    Error *err = NULL;

    g_assert_false(vring_set_inflight(vring, area, sizeof(area), &err));
    error_free_or_abort(&err);
    vring_free(vring);
    driver_free(d);
}

/* By a device that made the area for the largest ring that the driver may choose. */
static void test_made_for_more(void)
{
    const size_t size = vring_inflight_size(2 * NUM, false);
    g_autofree uint8_t *area = g_malloc0(size), *left = NULL;
    Driver *d = driver_new(NUM, false, false, false, NULL);
    unsigned answered = 0;
    uint16_t id;
    uint32_t len;

    driver_add_simple(d);
    driver_add_simple(d);
    for (int turn = 0; turn < 2; turn++) {
        Vring *vring = driver_ring(d);
        VringElem *first, *second;

        g_assert_true(vring_set_base(vring, 0, &error_abort));
        g_assert_true(vring_set_inflight(vring, turn ? left : area, size,
                                         &error_abort));
        first = pop(vring);
        second = pop(vring);
        if (turn == 0) {
            stw_he_p(area + 10, 2 * NUM);       /* desc_num, in the protocol */
            left = g_memdup2(area, size);
        }
        vring_push(vring, first, 1);
        vring_push(vring, second, 1);
        if (turn == 1) {
            vring_publish(vring);
        }
        vring_free(vring);
    }
    while (driver_collect(d, &id, &len)) {
        answered++;
    }
    g_assert_cmpuint(answered, ==, 2);
    driver_free(d);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/vring-killed/split", GINT_TO_POINTER(false),
                         test_killed);
    g_test_add_data_func("/vring-killed/packed", GINT_TO_POINTER(true),
                         test_killed);
    g_test_add_data_func("/vring-killed/spoilt/split", GINT_TO_POINTER(false),
                         test_spoilt);
    g_test_add_data_func("/vring-killed/spoilt/packed", GINT_TO_POINTER(true),
                         test_spoilt);
    g_test_add_func("/vring-killed/too-small", test_too_small);
    g_test_add_func("/vring-killed/made-for-more", test_made_for_more);
    return g_test_run();
}
