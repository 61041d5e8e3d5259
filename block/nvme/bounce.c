/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pieces of the driver's own memory for data that the controller cannot reach
 * where it is.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/units.h"
#include "controller.h"

#define PIECES 32

void nvme_bounce_init(NvmeController *c)
{
    qemu_mutex_init(&c->bounce.lock);
    qemu_co_queue_init(&c->bounce.waiting);
}

void nvme_bounce_destroy(NvmeController *c)
{
    NvmeBounce *b = &c->bounce;

    nvme_memory_free(&c->memory, b->memory, PIECES * NVME_BOUNCE_PIECE);
    qemu_mutex_destroy(&b->lock);
}

/* With the lock. */
static bool make(NvmeController *c)
{
    NvmeBounce *b = &c->bounce;
    Error *err = NULL;

    if (b->memory) {
        return true;
    }
    b->memory = nvme_memory_alloc(&c->memory, PIECES * NVME_BOUNCE_PIECE,
                                  &b->iova, &err);
    b->free = b->memory ? MAKE_64BIT_MASK(0, PIECES) : 0;
    if (b->memory) {
        return true;
    }
    if (b->is_lack_said) {
        error_free(err);
    } else {
        b->is_lack_said = true;
        error_reportf_err(err, "NVMe: no memory to copy data through, and "
                          "requests that need it fail: ");
    }
    return false;
}

void nvme_bounce_make(NvmeController *c)
{
    QEMU_LOCK_GUARD(&c->bounce.lock);
    make(c);
}

void *coroutine_fn nvme_bounce_get(NvmeController *c, uint64_t *iova)
{
    NvmeBounce *b = &c->bounce;
    unsigned n;

    QEMU_LOCK_GUARD(&b->lock);
    if (!make(c)) {
        return NULL;
    }
    while (!b->free) {
        qemu_co_queue_wait(&b->waiting, &b->lock);
    }
    n = ctz64(b->free);
    b->free &= ~(1ull << n);
    *iova = b->iova + n * NVME_BOUNCE_PIECE;
    return b->memory + n * NVME_BOUNCE_PIECE;
}

void nvme_bounce_put(NvmeController *c, void *piece)
{
    NvmeBounce *b = &c->bounce;

    QEMU_LOCK_GUARD(&b->lock);
    b->free |= 1ull << (((uint8_t *)piece - b->memory) / NVME_BOUNCE_PIECE);
    qemu_co_enter_next(&b->waiting, &b->lock);
}
