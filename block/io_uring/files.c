/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files registered with rings: a request then takes no reference to the file,
 * whose count all queues would write.
 *
 * A registered file is open as far as the kernel is concerned: its locks stay,
 * and its file system cannot be unmounted.  So when its descriptor is closed,
 * each ring lets go of it, in the ring's own thread, since the kernel takes it
 * from no other, and the main loop waits for that.  Not forever: a thread may
 * itself wait for the main loop.  It lets go then as soon as it runs.
 *
 * A number is given to another file only with a new generation, see
 * luring_file_use(): that a ring is late does no harm to requests.
 */

#include "qemu/osdep.h"
#include "block/io-uring.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "../trace.h"

#define LET_GO_WAIT_US (100 * 1000)
#define LET_GO_STEP_US 20

unsigned luring_file_generation[LURING_FILES];

static uint64_t numbers_used = 1;   /* bit mask; main loop */
QEMU_BUILD_BUG_ON(LURING_FILES != 64);

static QemuMutex rings_lock;
static QLIST_HEAD(, LuringState) rings;

static void __attribute__((__constructor__)) luring_files_init(void)
{
    qemu_mutex_init(&rings_lock);
}

void luring_files_attach(LuringState *s)
{
    s->files_fail = io_uring_register_files_sparse(&s->ring->uring, LURING_FILES) < 0;
    QEMU_LOCK_GUARD(&rings_lock);
    QLIST_INSERT_HEAD(&rings, s, next);
}

void luring_files_detach(LuringState *s)
{
    QEMU_LOCK_GUARD(&rings_lock);
    QLIST_REMOVE(s, next);
}

/* What is queued refers to what is registered now. */
static int update(LuringState *s, int number, int fd)
{
    if (io_uring_sq_ready(&s->ring->uring)) {
        aio_ring_submit(s->ring);
        if (io_uring_sq_ready(&s->ring->uring)) {
            return -EBUSY;
        }
    }
    return io_uring_register_files_update(&s->ring->uring, number, &fd, 1);
}

bool luring_file_register(LuringState *s, int number, int fd)
{
    unsigned generation = qatomic_load_acquire(&luring_file_generation[number]);
    int ret;

    if (s->files_fail) {
        return false;
    }
    ret = update(s, number, fd);
    trace_luring_file_register(s, number, fd, ret);
    if (ret == 1) {
        qatomic_store_release(&s->file[number], generation);
        return true;
    }
    /* of no use to try again for each request, but if the kernel was busy */
    s->files_fail = ret != -EBUSY;
    return false;
}

void luring_files_sweep(LuringState *s)
{
    int i;

    for (i = 0; i < LURING_FILES; i++) {
        if (s->file[i] == 0 ||
            s->file[i] == qatomic_read(&luring_file_generation[i])) {
            continue;
        }
        if (update(s, i, -1) == -EBUSY) {
            qemu_bh_schedule(s->bh);
            return;
        }
        qatomic_store_release(&s->file[i], 0);
    }
}

static bool has_let_go(LuringState *s, int number)
{
    unsigned generation = qatomic_load_acquire(&s->file[number]);

    return generation == 0 || generation == luring_file_generation[number];
}

static void let_go(LuringState *s, int number)
{
    int us;

    if (has_let_go(s, number)) {
        return;
    }
    if (s->ctx == qemu_get_current_aio_context()) {
        luring_files_sweep(s);
        return;
    }
    qemu_bh_schedule(s->bh);
    for (us = 0; us < LET_GO_WAIT_US && !has_let_go(s, number);
         us += LET_GO_STEP_US) {
        g_usleep(LET_GO_STEP_US);
    }
}

void luring_file_init(LuringFile *file)
{
    int number = ctz64(~numbers_used);

    GLOBAL_STATE_CODE();
    if (file->number || number == LURING_FILES) {
        return;
    }
    numbers_used |= 1ull << number;
    if (!luring_file_generation[number]) {
        qatomic_set(&luring_file_generation[number], 1);
    }
    file->number = number;
}

void luring_file_changed(LuringFile *file)
{
    unsigned old;
    LuringState *s;

    GLOBAL_STATE_CODE();
    if (!file->number) {
        return;
    }
    old = luring_file_generation[file->number];
    /* 0 is no generation: it means that a ring has none */
    qatomic_store_release(&luring_file_generation[file->number], old + 1 ?: 1);
    /* Rings go in the main loop only; new ones come at the head. */
    WITH_QEMU_LOCK_GUARD(&rings_lock) {
        s = QLIST_FIRST(&rings);
    }
    for (; s; s = QLIST_NEXT(s, next)) {
        let_go(s, file->number);
    }
}

void luring_file_destroy(LuringFile *file)
{
    luring_file_changed(file);
    if (file->number) {
        numbers_used &= ~(1ull << file->number);
        file->number = 0;
    }
}
