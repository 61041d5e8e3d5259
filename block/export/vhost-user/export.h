/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vhost-user-blk export: a virtio-blk device whose driver is the guest of
 * another process, the front-end, which shares its memory over a UNIX socket.
 *
 *     blk.c           the export: what QMP, drains and resizes ask of it
 *     connection.c    one front-end at a time: its coroutine, from accept to end
 *     wire.c          messages, to and from the socket
 *     messages.c      what each message does; vring-messages.c: of a virtqueue
 *     device.c        features, and the device's configuration space
 *     queue.c         a virtqueue, as the main loop sees it: runs, or does not
 *     pass.c          the same in its own thread: requests and answers
 *     memory.c        the front-end's memory; log.c: which pages were written
 *     postcopy.c      memory that comes when it is touched
 *     inflight.c      memory in which requests in flight are remembered
 *     mapping.c       what those three map
 *
 * Two kinds of thread.  The main loop has all of the protocol and of the control:
 * connections, messages, drains, the export's end.  They happen one after the
 * other there, and nothing of them blocks: who has to wait for a virtqueue is the
 * connection's coroutine, and it yields.
 *
 * A virtqueue is IDLE, and then all of it is the main loop's; or RUNNING; or
 * STOPPING, which means that its requests are yet to end.  From the moment when it
 * is to run until it is idle again, the ring, its file descriptors and its requests
 * are touched by one thread, its home, alone: the main loop asks it with bottom
 * halves there, and it tells the main loop with bottom halves here.
 *
 *        vu_queue_update(): it is to run            vu_queue_update(): it is not
 *     IDLE -------------------------> RUNNING ------------------------> STOPPING
 *      ^                                                                   |
 *      +---- its thread: detached, nothing in flight, all published -------+
 *
 * Whether it is to run is computed anew from what is so (vu_queue_update()), never
 * from what happened: a drain that ends before the virtqueue was idle, or a message
 * in a drained section, needs no care.
 *
 * A drained section waits until no virtqueue is RUNNING or STOPPING.  Then each
 * answer has been published, and none is given before the end of it.  So requests
 * need not be counted in the BlockBackend, nor held up in it (where the drain would
 * wait for them).
 */

#ifndef BLOCK_EXPORT_VHOST_USER_EXPORT_H
#define BLOCK_EXPORT_VHOST_USER_EXPORT_H

#include "block/block.h"
#include "block/export.h"
#include "block/export-threads.h"
#include "block/virtio-blk-plain.h"
#include "block/export/virtio-blk-handler.h"
#include "hw/virtio/vring.h"
#include "io/channel-socket.h"
#include "io/net-listener.h"
#include "qemu/truncated-memory.h"
#include "standard-headers/linux/virtio_blk.h"
#include "standard-headers/linux/virtio_ring.h"
#include "protocol.h"

#define VU_NUM_QUEUES_DEFAULT 1

/* What the base's front-end asks for at most. */
#define VU_MEM_SLOTS 509

/* Where a packed ring begins: slot 0, with both wrap counters at 1. */
#define VU_PACKED_BASE 0x80008000

typedef struct VuBlkExport VuBlkExport;
typedef struct VuQueue VuQueue;
typedef struct VuPostcopy VuPostcopy;
typedef struct VuRequest VuRequest;

/* mapping.c: a part of a file that the front-end shares */
typedef struct VuMapping {
    uint8_t *host;              /* NULL: none */
    void *base;                 /* as the kernel wants it */
    size_t length;
    TruncatedMemory *truncated;
    VuPostcopy *postcopy;       /* postcopy.c's; or NULL */
    QLIST_ENTRY(VuMapping) next;
} VuMapping;

bool vu_mapping_init(VuBlkExport *vexp, VuMapping *mapping, int fd,
                     uint64_t offset, uint64_t size, Error **errp);
void vu_mapping_destroy(VuMapping *mapping);

/*
 * shared.c: @mapping of @fd, from @offset on, is made known to the nodes below, from
 * soon after new until free.  Holds a reference to the BlockBackend, not to the
 * export, whose user may remove it at once.  Context: main loop
 */
typedef struct VuShared VuShared;
VuShared *vu_shared_new(VuBlkExport *vexp, const VuMapping *mapping, int fd,
                        uint64_t offset);
void vu_shared_free(VuShared *shared);

/*
 * log.c: a bit for each page that the device has written, for migration.  One
 * reference each: the connection, and every map.
 */
typedef struct VuLog {
    unsigned refs;              /* atomic */
    VuMapping mapping;
    uint64_t size;              /* bytes */
} VuLog;

VuLog *vu_log_new(VuBlkExport *vexp, int fd, const VuLogInfo *info,
                  Error **errp);
VuLog *vu_log_ref(VuLog *log);
void vu_log_unref(VuLog *log);
/* Any thread. */
void vu_log_mark(VuLog *log, uint64_t gpa, uint64_t size);

/* memory.c */
typedef struct VuMap {
    VringMap map;
    VuLog *log;                 /* or NULL */
    VringRegion region[];       /* opaque: its VuRegion */
} VuMap;

static inline const VuMap *vu_map_of(const VringMap *map)
{
    return container_of(map, VuMap, map);
}

/* New maps, from none, or from @map; NULL and an error if it cannot be. */
VuMap *vu_map_new(VuBlkExport *vexp, const VuRegionInfo *info, const int *fds,
                  unsigned n, VuLog *log, Error **errp);
VuMap *vu_map_add(VuBlkExport *vexp, const VuMap *map, const VuRegionInfo *info,
                  int fd, Error **errp);
VuMap *vu_map_remove(const VuMap *map, const VuRegionInfo *info, Error **errp);
VuMap *vu_map_log(const VuMap *map, VuLog *log);

/* Where the driver's memory has the front-end's @user; false if nowhere. */
bool vu_map_guest_address(const VuMap *map, uint64_t user, hwaddr *gpa);

/* Puts where it is mapped here in place of the front-end's address. */
void vu_map_locate(const VuMap *map, VuRegionInfo *info);
/* Page faults in it are the front-end's. */
bool vu_map_register(VuBlkExport *vexp, const VuMap *map, Error **errp);

/*
 * postcopy.c; the main loop.  advise, listen and free: all virtqueues are idle.
 * advise: *@fd is the front-end's end of it.  hold: no virtqueue runs, and none gets a
 * new map, until the new memory is registered.
 */
bool vu_postcopy_can(void);
bool vu_postcopy_advise(VuBlkExport *vexp, int *fd, Error **errp);
bool vu_postcopy_listen(VuBlkExport *vexp, Error **errp);
bool vu_postcopy_listens(VuBlkExport *vexp);
void coroutine_fn vu_postcopy_hold(VuBlkExport *vexp);
bool vu_postcopy_holds(VuBlkExport *vexp);
void vu_postcopy_release(VuBlkExport *vexp);
bool vu_postcopy_register(VuBlkExport *vexp, VuMapping *mapping, Error **errp);
/* Before it is unmapped, in any thread. */
void vu_postcopy_forget(VuMapping *mapping);
/* All memory has come: nobody waits for it. */
void vu_postcopy_come(VuBlkExport *vexp);
/* The front-end has gone: nobody waits for it. */
void vu_postcopy_lose(VuBlkExport *vexp);
bool vu_postcopy_is_lost(VuBlkExport *vexp);
void vu_postcopy_free(VuBlkExport *vexp);
/* While it listens: @req, which has header and status, is done; bytes that it wrote. */
uint32_t coroutine_fn vu_postcopy_process(VuRequest *req);

/* inflight.c: an area for each virtqueue */
typedef struct VuInflight {
    VuMapping mapping;
    size_t stride;              /* from one to the next, bytes */
    unsigned num_queues;
} VuInflight;

/* Makes one for @info's virtqueues; fills in the rest of it; *@fd is the caller's. */
VuInflight *vu_inflight_new(VuBlkExport *vexp, VuInflightInfo *info, int *fd,
                            Error **errp);
VuInflight *vu_inflight_map(VuBlkExport *vexp, const VuInflightInfo *info,
                            int fd, Error **errp);
void vu_inflight_free(VuInflight *inflight);

static inline void vu_close(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

/* wire.c */
typedef struct VuMessage {
    VuHeader header;
    union {
        uint64_t u64;
        VuVringNumber number;
        VuVringAddr addr;
        VuRegionTable table;
        VuSingleRegion single;
        VuLogInfo log;
        VuConfig config;
        VuInflightInfo inflight;
    };
    unsigned n_fds;
    int fds[VU_MAX_FDS];        /* -1: taken */
    bool replied;               /* the message is its own reply */
    int reply_fd;               /* -1, or one that goes with it, and is closed */
} VuMessage;

/* 1; 0 at the end of the connection; -1 and an error. */
int coroutine_fn vu_message_read(QIOChannel *ioc, VuMessage *msg, Error **errp);
int coroutine_fn vu_message_reply(QIOChannel *ioc, VuMessage *msg, Error **errp);
/* What it has not given away. */
void vu_message_clear(VuMessage *msg);
int vu_message_take_fd(VuMessage *msg, unsigned i);
/* The first, which is not to block; -1 and an error if it cannot be. */
int vu_message_take_eventfd(VuMessage *msg, Error **errp);
void vu_message_answer_u64(VuMessage *msg, uint64_t value);
/* Whether it went out. */
bool vu_backend_send(int fd, uint32_t request);

/*
 * messages.c: does what @msg asks.  false and an error if it is not what the
 * protocol allows, or cannot be done: the front-end is dropped.
 */
bool coroutine_fn vu_message_handle(VuBlkExport *vexp, VuMessage *msg,
                                    Error **errp);
typedef bool coroutine_fn VuHandler(VuBlkExport *vexp, VuMessage *msg,
                                    Error **errp);
VuHandler vu_set_vring_num, vu_set_vring_addr, vu_set_vring_base,
          vu_get_vring_base, vu_set_vring_kick, vu_set_vring_call,
          vu_set_vring_err, vu_set_vring_enable;

/* A request; in memory of the ring. */
struct VuRequest {
    VringElem elem;
    VuQueue *queue;
    VirtioBlkPlain plain;
};

typedef enum VuPhase {
    VU_IDLE,
    VU_RUNNING,
    VU_STOPPING,
} VuPhase;

struct VuQueue {
    VuBlkExport *vexp;
    unsigned index;

    /* the main loop's */
    VuPhase phase;
    unsigned holds;             /* reasons not to run, of messages at work */
    AioContext *ctx;            /* its home, unless it is idle */
    bool enabled;
    bool has_addr;
    bool has_base;
    bool has_place;
    uint16_t num;
    VuVringAddr addr;
    uint32_t base;              /* where to begin, unless there is a @place */
    VringState place;           /* where it was when its ring was freed */
    VringConfig config;         /* of the ring that there is */

    /* the main loop's while it is idle, else its thread's */
    Vring *vring;               /* or NULL: there is to be a new one */
    int kick_fd;                /* -1: none */
    int call_fd;
    int err_fd;

    /* from one to the other */
    bool run;                   /* atomic; written by the main loop */
    bool recovering;            /* atomic; has requests of an earlier process */
    unsigned posted;            /* atomic; bottom halves on their way there */
    Error *error;               /* atomic; written by its thread, once a connection */

    /* its thread's */
    bool attached;
    bool polled;                /* kicks are off */
    bool postcopy;              /* it listens */
    bool put_off;               /* atomic; until there is more memory */
    bool publishing;            /* publish() will be called */
    QEMUBH *pass_bh;            /* while it is attached */
};

/* queue.c; the main loop */
void vu_queue_init(VuQueue *q, VuBlkExport *vexp, unsigned index);
/* Something that says whether it is to run may have changed. */
void vu_queue_update(VuQueue *q);
void vu_queues_update(VuBlkExport *vexp);
/* It is idle, and stays so until it is released. */
void coroutine_fn vu_queue_hold(VuQueue *q);
void vu_queue_release(VuQueue *q);
/*
 * It has taken what an earlier process had in flight, unless it is not to run.  Before
 * it is stopped: who goes on from its base does not have the memory with those.
 */
void coroutine_fn vu_queue_recover(VuQueue *q);
void coroutine_fn vu_queues_hold(VuBlkExport *vexp);
void vu_queues_release(VuBlkExport *vexp);
/* @fn in the thread that has it; returns when it was done. */
typedef void VuQueueFunc(VuQueue *q, void *opaque);
void coroutine_fn vu_queue_apply(VuQueue *q, VuQueueFunc *fn, void *opaque);
/* Held: it will have a new ring, at the place of this one. */
void vu_queue_renew(VuQueue *q);
/* Held: as it was before the connection. */
void vu_queue_reset(VuQueue *q);
/* Where the ring of @q is in @map: false if it is not. */
bool vu_queue_locate(VuQueue *q, const VuMap *map, VringConfig *config);

/* pass.c; its thread */
void vu_pass_sync(VuQueue *q);          /* does as @run says */
void vu_pass_set_map(VuQueue *q, void *map);
void vu_pass_set_call(VuQueue *q, void *fd);
void vu_pass_set_err(VuQueue *q, void *fd);
/* Whether it can become the main loop's. */
bool vu_pass_is_idle(VuQueue *q);

/* queue.c; its thread tells the main loop */
void vu_queue_is_idle(VuQueue *q);
void vu_queue_is_broken(VuQueue *q, Error *err);
void vu_queue_is_put_off(VuQueue *q);
void vu_queue_is_recovered(VuQueue *q);
/* One has been so for as long as a front-end may take to bring memory. */
void vu_queues_lose_patience(void *opaque);

struct VuBlkExport {
    BlockExport export;         /* first member */
    VirtioBlkHandler handler;
    struct virtio_blk_config config;
    unsigned num_queues;
    VuQueue *queues;
    unsigned drains;            /* drained sections that there are */
    QEMUBH *resize_bh;
    QEMUTimer *patience;        /* with virtqueues that are put off */
    QIONetListener *listener;   /* NULL: the export ends */

    /* of the connection; NULL or 0 without one */
    QIOChannelSocket *sioc;
    Coroutine *co;
    bool waits;                 /* the coroutine, for vu_connection_wake() */
    bool dropped;               /* it ends; nothing runs */
    bool log_all;
    bool config_changed;        /* the front-end is to be told */
    uint64_t features;
    uint64_t protocol;
    VuMap *map;
    VuLog *log;
    int log_fd;                 /* written by rings, which are idle when it changes */
    int backend_fd;
    VuInflight *inflight;
    VuPostcopy *postcopy;       /* from its advice to its end */
};

static inline bool vu_has_feature(VuBlkExport *vexp, unsigned bit)
{
    return vexp->features >> bit & 1;
}

/* connection.c */
bool vu_listen(VuBlkExport *vexp, SocketAddress *addr, Error **errp);
/* No more connections, and an end of this one; the export lives until then. */
void vu_shutdown(VuBlkExport *vexp);
/* Says @err, once, and ends the connection. */
void vu_drop(VuBlkExport *vexp, Error *err);
/* The coroutine lets others go on, until something may have changed. */
void coroutine_fn vu_connection_wait(VuBlkExport *vexp);
void vu_connection_wake(VuBlkExport *vexp);

/* device.c */
void vu_device_init(VuBlkExport *vexp, uint32_t block_size);
uint64_t vu_device_features(VuBlkExport *vexp);
void vu_device_get_config(VuBlkExport *vexp, VuConfig *config);
bool vu_device_set_config(VuBlkExport *vexp, const VuConfig *config,
                          Error **errp);
/* The size has changed; main loop. */
void vu_device_resize(void *opaque);
/* Tells the front-end what it was not told yet. */
void vu_device_tell(VuBlkExport *vexp);

#endif /* BLOCK_EXPORT_VHOST_USER_EXPORT_H */
