/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The front-end's memory is made known to the nodes below the export, so that a
 * drive may transfer to it without a copy.
 *
 * That is done in bottom halves of the main loop, out of the coroutine that
 * handles messages: until then, and where a node takes none, data is copied.  With
 * postcopy it always is: a drive that touches a page does not wait for its contents.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/shared-memory.h"
#include "system/block-backend.h"
#include "export.h"

struct VuShared {
    BlockBackend *blk;          /* the export may be gone before */
    void *base;
    size_t length;
    int fd;
    uint64_t offset;            /* of @base in @fd */
    bool known;
    bool waits;                 /* for make_known() */
    bool ended;                 /* meanwhile */
};

static void destroy(VuShared *shared)
{
    if (shared->fd >= 0) {
        close(shared->fd);
    }
    blk_unref(shared->blk);
    g_free(shared);
}

/* Bottom halves run in any order: it may have been freed. */
static void make_known(void *opaque)
{
    VuShared *shared = opaque;

    shared->waits = false;
    if (shared->ended) {
        destroy(shared);
    } else if (shared->fd >= 0) {
        shared_memory_add(shared->base, shared->length, shared->fd,
                          shared->offset);
        /* a node that cannot take it copies */
        shared->known = blk_register_buf(shared->blk, shared->base,
                                         shared->length, NULL);
        if (!shared->known) {
            shared_memory_remove(shared->base);
        }
    }
}

VuShared *vu_shared_new(VuBlkExport *vexp, const VuMapping *mapping, int fd,
                        uint64_t offset)
{
    VuShared *shared = g_new(VuShared, 1);

    *shared = (VuShared) {
        .blk = vexp->export.blk,
        .base = mapping->base,
        .length = mapping->length,
        .fd = vexp->postcopy ? -1 : dup(fd),
        .offset = offset - (mapping->host - (uint8_t *)mapping->base),
        .waits = true,
    };
    blk_ref(shared->blk);
    if (shared->fd >= 0) {
        qemu_set_cloexec(shared->fd);
    }
    aio_bh_schedule_oneshot(qemu_get_aio_context(), make_known, shared);
    return shared;
}

void vu_shared_free(VuShared *shared)
{
    GLOBAL_STATE_CODE();
    if (shared->known) {
        blk_unregister_buf(shared->blk, shared->base, shared->length);
        shared_memory_remove(shared->base);
    }
    if (shared->waits) {
        shared->ended = true;
    } else {
        destroy(shared);
    }
}
