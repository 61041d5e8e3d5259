/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Postcopy migration of the front-end's guest to here: the vhost-user protocol,
 * "Migration" and VHOST_USER_POSTCOPY_ADVISE, _LISTEN and _END.
 *
 * The guest runs before all of its memory has come.  Who touches a page that has not
 * come waits in the kernel, which tells the front-end by the userfaultfd that both
 * sides have; the front-end fetches the page and wakes who waits.
 *
 * A page must not be touched before that: the kernel would make an empty one, and the
 * real one would find its place taken.  So no virtqueue runs, and none hears of new
 * memory, from when the front-end is told where that is until it acknowledges.
 *
 * The main loop waits as any thread does, for instance in the used index of a ring
 * that starts, and then cannot see that the front-end has gone.  A thread looks for
 * that.  What was shared becomes a file without an end, as one that was truncated
 * (truncated-memory.h), so that nobody waits any more.  A front-end that stays and
 * brings no page holds up who waits for it: nothing tells it from one whose migration
 * is slow.
 *
 * Pages that will never come read as zeroes then, which are not to be written to the
 * disk.  So a request's header and data are fetched before anything is done with them,
 * and it fails if the front-end has gone by then.
 *
 * Threads of virtqueues look at a VuPostcopy too, while it listens: it is made, begins
 * to listen, and ends, while they are idle.
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/mman.h>
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/co-shared-resource.h"
#include "qemu/event_notifier.h"
#include "qemu/iov.h"
#include "qemu/lockable.h"
#include "qemu/madvise.h"
#include "qemu/memalign.h"
#include "qemu/memfd.h"
#include "qemu/thread.h"
#include "qemu/units.h"
#include "qemu/userfaultfd.h"
#include "export.h"

/* of memory of the two kinds that a front-end can share */
#define FEATURES (UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MISSING_HUGETLBFS)

/* Data of an export's requests that are fetched: others wait. */
#define FETCHED_MAX (64 * MiB)

struct VuPostcopy {
    int uffd;
    int empty;                  /* a file */
    bool listening;
    bool held;                  /* the virtqueues, until it acknowledges */
    int socket;                 /* the connection's */
    QemuThread watcher;         /* while it listens */
    EventNotifier end;          /* of the watcher */
    bool lost;                  /* atomic; the front-end has gone */
    SharedResource *fetched;    /* bytes */
    QLIST_HEAD(, VuMapping) mappings;   /* that are registered */
};

/* Protects @lost and @mappings: memory is unmapped in any thread. */
static QemuMutex lock;

static void __attribute__((__constructor__)) lock_init(void)
{
    qemu_mutex_init(&lock);
}

bool vu_postcopy_can(void)
{
    uint64_t features;

    return uffd_query_features(&features) == 0 &&
           (features & FEATURES) == FEATURES;
}

bool vu_postcopy_listens(VuBlkExport *vexp)
{
    return vexp->postcopy && vexp->postcopy->listening;
}

bool vu_postcopy_holds(VuBlkExport *vexp)
{
    return vexp->postcopy && vexp->postcopy->held;
}

bool vu_postcopy_is_lost(VuBlkExport *vexp)
{
    return vexp->postcopy && qatomic_read(&vexp->postcopy->lost);
}

/* Any thread, whatever the others wait for. */
static void lose(VuPostcopy *postcopy)
{
    VuMapping *mapping;

    QEMU_LOCK_GUARD(&lock);
    if (postcopy->lost) {
        return;
    }
    qatomic_set(&postcopy->lost, true);
    QLIST_FOREACH(mapping, &postcopy->mappings, next) {
        /* in place of it; then who waits finds that */
        if (mmap(mapping->base, mapping->length, PROT_READ | PROT_WRITE,
                 MAP_FIXED | MAP_SHARED | MAP_NORESERVE, postcopy->empty,
                 0) == MAP_FAILED) {
            uffd_unregister_memory(postcopy->uffd, mapping->base,
                                   mapping->length);
        }
        uffd_wakeup(postcopy->uffd, mapping->base, mapping->length);
    }
}

void vu_postcopy_lose(VuBlkExport *vexp)
{
    if (vu_postcopy_listens(vexp)) {
        lose(vexp->postcopy);
    }
}

static void *watch(void *opaque)
{
    VuPostcopy *postcopy = opaque;
    struct pollfd fds[] = {
        { .fd = postcopy->socket, .events = POLLRDHUP },
        { .fd = event_notifier_get_fd(&postcopy->end), .events = POLLIN },
    };

    if (RETRY_ON_EINTR(poll(fds, G_N_ELEMENTS(fds), -1)) > 0 &&
        !fds[1].revents) {
        lose(postcopy);
    }
    return NULL;
}

bool vu_postcopy_advise(VuBlkExport *vexp, int *fd, Error **errp)
{
    VuPostcopy *postcopy;

    if (!(vexp->protocol >> VU_PROTOCOL_PAGEFAULT & 1) ||
        vu_postcopy_listens(vexp)) {
        error_setg(errp, vexp->postcopy ? "there is a postcopy migration already" :
                   "page faults were not negotiated");
        return false;
    }
    vu_postcopy_free(vexp);     /* one that came to nothing */
    postcopy = vexp->postcopy = g_new0(VuPostcopy, 1);
    postcopy->socket = vexp->sioc->fd;
    postcopy->fetched = shres_create(FETCHED_MAX);
    postcopy->empty = memfd_create("vhost-user-empty", MFD_CLOEXEC);
    postcopy->uffd = uffd_create_fd(FEATURES, true);
    *fd = postcopy->uffd < 0 ? -1 : qemu_dup(postcopy->uffd);
    if (*fd < 0 || postcopy->empty < 0) {
        error_setg_errno(errp, errno, "no userfaultfd");
        return false;           /* freed with the connection */
    }
    return true;
}

bool vu_postcopy_listen(VuBlkExport *vexp, Error **errp)
{
    VuPostcopy *postcopy = vexp->postcopy;

    if (!postcopy || postcopy->listening || vexp->map->map.n) {
        error_setg(errp, !postcopy ? "no postcopy migration was advised" :
                   postcopy->listening ? "there is a postcopy migration already" :
                   "memory was shared before the postcopy migration");
        return false;
    }
    if (event_notifier_init(&postcopy->end, false) < 0) {
        error_setg_errno(errp, errno, "no eventfd");
        return false;
    }
    postcopy->listening = true;
    qemu_thread_create(&postcopy->watcher, "vu-postcopy", watch, postcopy,
                       QEMU_THREAD_JOINABLE);
    return true;
}

void coroutine_fn vu_postcopy_hold(VuBlkExport *vexp)
{
    if (!vexp->postcopy->held) {
        vexp->postcopy->held = true;
        vu_queues_hold(vexp);
    }
}

void vu_postcopy_release(VuBlkExport *vexp)
{
    if (vu_postcopy_holds(vexp)) {
        vexp->postcopy->held = false;
        vu_queues_release(vexp);
    }
}

bool vu_postcopy_register(VuBlkExport *vexp, VuMapping *mapping, Error **errp)
{
    VuPostcopy *postcopy = vexp->postcopy;

    QEMU_LOCK_GUARD(&lock);
    if (mapping->postcopy) {
        return true;
    }
    if (postcopy->lost) {
        error_setg(errp, "the front-end has gone");
        return false;
    }
    /* pages come one by one */
    qemu_madvise(mapping->base, mapping->length, QEMU_MADV_NOHUGEPAGE);
    if (uffd_register_memory(postcopy->uffd, mapping->base, mapping->length,
                             UFFDIO_REGISTER_MODE_MISSING, NULL) < 0) {
        error_setg_errno(errp, errno, "page faults in a memory region of %zu "
                         "bytes cannot be served", mapping->length);
        return false;
    }
    mapping->postcopy = postcopy;
    QLIST_INSERT_HEAD(&postcopy->mappings, mapping, next);
    return true;
}

void vu_postcopy_forget(VuMapping *mapping)
{
    QEMU_LOCK_GUARD(&lock);
    if (mapping->postcopy) {
        mapping->postcopy = NULL;
        QLIST_REMOVE(mapping, next);
    }
}

/* Into @header and @data; false if it has not all come. */
static bool fetch(VuPostcopy *postcopy, const VringElem *elem,
                  struct virtio_blk_outhdr *header, void *data, size_t size)
{
    iov_to_buf(elem->sg, elem->out_num, 0, header, sizeof(*header));
    iov_to_buf(elem->sg, elem->out_num, sizeof(*header), data, size);
    /* what was read; then whether it was there, as lose() says before it is not */
    smp_rmb();
    return !qatomic_read(&postcopy->lost);
}

static void fail(const struct iovec *in, unsigned in_num)
{
    uint8_t status = VIRTIO_BLK_S_IOERR;

    iov_from_buf(in, in_num, iov_size(in, in_num) - 1, &status, sizeof(status));
}

uint32_t coroutine_fn vu_postcopy_process(VuRequest *req)
{
    VuPostcopy *postcopy = req->queue->vexp->postcopy;
    VirtioBlkHandler *handler = &req->queue->vexp->handler;
    const VringElem *elem = &req->elem;
    unsigned in_num = elem->in_num;
    /* a copy, of which the status is cut off */
    g_autofree struct iovec *in = g_memdup2(elem->sg + elem->out_num,
                                            sizeof(*in) * in_num);
    uint32_t in_len = iov_size(in, in_num);
    struct virtio_blk_outhdr header;
    size_t size = iov_size(elem->sg, elem->out_num) - sizeof(header);
    uint64_t share = MIN(size, FETCHED_MAX);
    struct iovec out[] = {
        { .iov_base = &header, .iov_len = sizeof(header) },
        { .iov_len = size },
    };

    if (size > BDRV_REQUEST_MAX_BYTES) {
        fail(in, in_num);
        return in_len;
    }
    co_get_from_shres(postcopy->fetched, share);
    out[1].iov_base = blk_try_blockalign(handler->blk, size);
    if (out[1].iov_base &&
        fetch(postcopy, elem, &header, out[1].iov_base, size)) {
        virtio_blk_process_req(handler, in, out, in_num, G_N_ELEMENTS(out));
    } else {
        fail(in, in_num);
    }
    qemu_vfree(out[1].iov_base);
    co_put_to_shres(postcopy->fetched, share);
    return in_len;
}

static void unregister(VuPostcopy *postcopy)
{
    VuMapping *mapping, *next;

    QEMU_LOCK_GUARD(&lock);
    QLIST_FOREACH_SAFE(mapping, &postcopy->mappings, next, next) {
        /* also wakes: the front-end may keep its descriptor */
        uffd_unregister_memory(postcopy->uffd, mapping->base, mapping->length);
        mapping->postcopy = NULL;
        QLIST_REMOVE(mapping, next);
    }
}

void vu_postcopy_come(VuBlkExport *vexp)
{
    unregister(vexp->postcopy);
}

void vu_postcopy_free(VuBlkExport *vexp)
{
    VuPostcopy *postcopy = vexp->postcopy;

    if (!postcopy) {
        return;
    }
    if (postcopy->listening) {
        event_notifier_set(&postcopy->end);
        qemu_thread_join(&postcopy->watcher);
        event_notifier_cleanup(&postcopy->end);
    }
    unregister(postcopy);
    vu_close(&postcopy->empty);
    vu_close(&postcopy->uffd);
    shres_destroy(postcopy->fetched);
    g_free(postcopy);
    vexp->postcopy = NULL;
}
