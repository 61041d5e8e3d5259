/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The built-in server's side of a ring (VIRTIO 1.2, section 2.7), and what it
 * does with a request, right or wrong.
 */
#include "self-device.h"
#include "options.h"
#include "queue.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

/* As the driver's: what is there is taken in pieces. */
#define PASS_MAX 32

/* The longest chain that ringload makes. */
#define CHAIN_MAX 4

static void *translate(const struct shared_memory *m, uint64_t address,
                       uint32_t len)
{
    uint64_t offset = address - m->device_base;

    if (offset > m->size || len > m->size - offset) {
        die("built-in server: address 0x%" PRIx64 " is not in memory", address);
    }
    return m->base + offset;
}

/* One request as the device sees it. */
struct request {
    const struct virtio_blk_outhdr *header;
    char *data;
    uint32_t data_len;
    bool data_writable;
    uint8_t *status;
    uint32_t used_len;
};

static void take_request(struct device_ring *r, uint16_t head,
                         struct request *req)
{
    const struct shared_memory *m = &r->device->memory;
    const struct vring_desc *table = r->desc, *d = &table[head & r->mask];
    unsigned i;

    if (d->flags & VRING_DESC_F_INDIRECT) {
        table = d = translate(m, d->addr, d->len);
    }
    memset(req, 0, sizeof(*req));
    req->header = translate(m, d->addr, d->len);
    for (i = 1; d->flags & VRING_DESC_F_NEXT; i++) {
        if (i == CHAIN_MAX) {
            die("built-in server: chain at descriptor %u is too long", head);
        }
        d = &table[d->next];
        if (d->flags & VRING_DESC_F_NEXT) {
            req->data = translate(m, d->addr, d->len);
            req->data_len = d->len;
            req->data_writable = d->flags & VRING_DESC_F_WRITE;
        } else {
            req->status = translate(m, d->addr, d->len);
        }
        if (d->flags & VRING_DESC_F_WRITE) {
            req->used_len += d->len;
        }
    }
}

/* True for one in --corrupt-every requests, of those it is asked for. */
static bool err_now(struct device_ring *r, enum self_mode mode)
{
    if (r->device->options->self_mode != mode ||
        ++r->requests < r->device->options->corrupt_every) {
        return false;
    }
    r->requests = 0;
    return true;
}

static void memory_read(struct device_ring *r, struct request *req,
                        uint64_t offset)
{
    if (err_now(r, SELF_CORRUPT_STALE)) {
        memcpy(req->data, r->device->disk_before + offset, req->data_len);
    } else if (err_now(r, SELF_CORRUPT_PLACE)) {
        uint64_t other = offset ? offset - req->data_len : req->data_len;

        memcpy(req->data, r->device->disk + other, req->data_len);
    } else {
        memcpy(req->data, r->device->disk + offset, req->data_len);
    }
    if (err_now(r, SELF_CORRUPT_DATA)) {
        req->data[req->data_len - 7] ^= 0x10;
    }
}

static void memory_write(struct device_ring *r, struct request *req,
                         uint64_t offset)
{
    if (err_now(r, SELF_CORRUPT_LOST)) {
        return;
    }
    if (r->device->disk_before) {
        memcpy(r->device->disk_before + offset, r->device->disk + offset,
               req->data_len);
    }
    memcpy(r->device->disk + offset, req->data, req->data_len);
}

static uint8_t memory_request(struct device_ring *r, struct request *req)
{
    uint64_t offset = req->header->sector * 512;

    /* VIRTIO 1.2, 5.2.6: who writes the data, and a flush has none */
    if (req->data_writable != (req->header->type == VIRTIO_BLK_T_IN) ||
        !req->data != (req->header->type == VIRTIO_BLK_T_FLUSH)) {
        return VIRTIO_BLK_S_UNSUPP;
    }
    if (offset > r->device->options->self_size ||
        req->data_len > r->device->options->self_size - offset) {
        return VIRTIO_BLK_S_IOERR;
    }
    switch (req->header->type) {
    case VIRTIO_BLK_T_IN:
        memory_read(r, req, offset);
        return VIRTIO_BLK_S_OK;
    case VIRTIO_BLK_T_OUT:
        memory_write(r, req, offset);
        return VIRTIO_BLK_S_OK;
    case VIRTIO_BLK_T_FLUSH:
        return VIRTIO_BLK_S_OK;
    default:
        return VIRTIO_BLK_S_UNSUPP;
    }
}

static void push_used(struct device_ring *r, uint32_t id, uint32_t len)
{
    struct vring_used_elem *e = &r->used->ring[r->used_next++ & r->mask];

    atomic_put(&e->id, id);
    atomic_put(&e->len, len);
}

static void serve_one(struct device_ring *r, uint16_t head)
{
    enum self_mode mode = r->device->options->self_mode;
    struct request req;

    take_request(r, head, &req);
    if (mode == SELF_NULL) {
        *req.status = VIRTIO_BLK_S_OK;
        push_used(r, head, req.used_len);
        return;
    }
    *req.status = memory_request(r, &req);
    if (err_now(r, SELF_CORRUPT_STATUS)) {
        *req.status = VIRTIO_BLK_S_IOERR;
    }
    if (err_now(r, SELF_CORRUPT_LENGTH)) {
        req.used_len--;
    }
    if (err_now(r, SELF_CORRUPT_SILENT)) {
        return;
    }
    if (err_now(r, SELF_CORRUPT_DEATH)) {
        atomic_put(&r->device->dead, true);
        return;
    }
    push_used(r, head + (err_now(r, SELF_CORRUPT_ID) ? 1 : 0), req.used_len);
    if (err_now(r, SELF_CORRUPT_TWICE)) {
        push_used(r, head, req.used_len);
    }
}

/* Makes what was pushed visible; interrupts if the driver sleeps. */
static void publish_used(struct device_ring *r)
{
    uint16_t old = r->used_published;
    uint64_t one = 1;
    bool call;

    if (r->used_next == old) {
        return;
    }
    r->used_published = r->used_next;
    atomic_put_seq_cst(&r->used->idx, r->used_published);
    if (r->event_idx) {
        call = vring_need_event(atomic_get_seq_cst(r->used_event),
                                r->used_published, old);
    } else {
        call = !(atomic_get_seq_cst(&r->avail->flags) &
                 VRING_AVAIL_F_NO_INTERRUPT);
    }
    if (call && err_now(r, SELF_CORRUPT_MUTE)) {
        return;
    }
    if (call && write(r->q->call_fd, &one, sizeof(one)) < 0) {
        complain("built-in server: interrupt: %s", strerror(errno));
    }
}

bool device_ring_serve(struct device_ring *r)
{
    uint16_t n = atomic_get_acquire(&r->avail->idx) - r->avail_seen;
    unsigned i;

    if (!n) {
        return false;
    }
    for (i = 0; i < n && i < PASS_MAX && !atomic_get(&r->device->dead); i++) {
        serve_one(r, atomic_get(&r->avail->ring[r->avail_seen & r->mask]));
        r->avail_seen++;
    }
    if (r->event_idx && r->device->options->self_mode == SELF_NULL) {
        /* no kicks: the event stays half the index space away */
        atomic_put(r->avail_event, (uint16_t)(r->avail_seen + 0x8000));
    }
    publish_used(r);
    return true;
}

bool device_ring_arm(struct device_ring *r)
{
    if (r->event_idx) {
        atomic_put_seq_cst(r->avail_event, r->avail_seen);
    } else {
        atomic_put_seq_cst(&r->used->flags, (uint16_t)0);
    }
    return atomic_get_seq_cst(&r->avail->idx) == r->avail_seen;
}

void device_ring_disarm(struct device_ring *r)
{
    if (!r->event_idx) {
        atomic_put(&r->used->flags, (uint16_t)VRING_USED_F_NO_NOTIFY);
    }
}

struct device_ring *device_ring_new(struct self_device *device,
                                    struct queue *q)
{
    struct device_ring *r = alloc_apart(sizeof(*r));

    r->device = device;
    r->q = q;
    r->desc = q->ring.desc;
    r->avail = q->ring.avail;
    r->used = q->ring.used;
    r->used_event = q->ring.used_event;
    r->avail_event = q->ring.avail_event;
    r->mask = q->ring.mask;
    r->event_idx = q->ring.event_idx;
    if (device->options->self_mode == SELF_NULL) {
        /* polled: no kicks */
        device_ring_disarm(r);
        *r->avail_event = 0x8000;
    }
    return r;
}
