/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What each message of a front-end does, but for those of one virtqueue.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "export.h"

static const uint64_t always_offered =
    1ull << VU_PROTOCOL_MQ |
    1ull << VU_PROTOCOL_LOG_SHMFD |
    1ull << VU_PROTOCOL_REPLY_ACK |
    1ull << VU_PROTOCOL_BACKEND_REQ |
    1ull << VU_PROTOCOL_CONFIG |
    1ull << VU_PROTOCOL_INFLIGHT_SHMFD |
    1ull << VU_PROTOCOL_MEM_SLOTS;

/* What decides how a ring lies in memory, or behaves. */
static const uint64_t ring_features =
    1ull << VIRTIO_F_RING_PACKED |
    1ull << VIRTIO_F_IN_ORDER |
    1ull << VIRTIO_RING_F_EVENT_IDX;

static bool coroutine_fn get_features(VuBlkExport *vexp, VuMessage *msg,
                                      Error **errp)
{
    vu_message_answer_u64(msg, vu_device_features(vexp));
    return true;
}

static uint64_t protocol_features(void)
{
    return always_offered |
           (uint64_t)vu_postcopy_can() << VU_PROTOCOL_PAGEFAULT;
}

/* No virtqueue takes a request with an old map when this returns. */
static void coroutine_fn use_map(VuBlkExport *vexp)
{
    VuMap *map = vexp->map;

    for (unsigned i = 0; i < vexp->num_queues; i++) {
        VuQueue *q = &vexp->queues[i];
        VringConfig config;

        if (q->vring && (!vu_queue_locate(q, map, &config) ||
                         memcmp(&config, &q->config, sizeof(config)))) {
            /* the ring itself has gone, or is elsewhere */
            vu_queue_hold(q);
            vu_queue_renew(q);
            vu_queue_release(q);
        } else if (q->vring) {
            vu_queue_apply(q, vu_pass_set_map, &map->map);
        } else {
            vu_queue_update(q);         /* it was put off */
        }
    }
}

static void coroutine_fn replace_map(VuBlkExport *vexp, VuMap *map)
{
    VuMap *old = vexp->map;

    vexp->map = map;
    if (!vu_postcopy_holds(vexp)) {
        use_map(vexp);
    }
    vring_map_unref(&old->map);
}

/*
 * All virtqueues are held: what a request writes that was taken with a map without a
 * log would be missing in it.
 */
static void coroutine_fn update_log(VuBlkExport *vexp)
{
    VuLog *log = vexp->log_all ? vexp->log : NULL;

    if (vexp->map->log != log) {
        replace_map(vexp, vu_map_log(vexp->map, log));
    }
}

static bool coroutine_fn set_features(VuBlkExport *vexp, VuMessage *msg,
                                      Error **errp)
{
    /* others than were offered mean nothing: an earlier daemon may have had them */
    uint64_t features = msg->u64 & vu_device_features(vexp);
    uint64_t changed = features ^ vexp->features;

    if (!(features >> VIRTIO_F_VERSION_1 & 1)) {
        error_setg(errp, "features %#" PRIx64 ": legacy devices are not supported",
                   features);
        return false;
    }
    vu_queues_hold(vexp);
    vexp->features = features;
    vexp->log_all = vu_has_feature(vexp, VU_F_LOG_ALL);
    for (unsigned i = 0; i < vexp->num_queues; i++) {
        VuQueue *q = &vexp->queues[i];

        if (changed & ring_features) {
            vu_queue_renew(q);
        }
        if (changed >> VIRTIO_F_RING_PACKED & 1) {
            /* a place in a ring of one layout is none in the other */
            q->has_place = q->has_base = false;
            q->base = 0;
        }
        if (!vu_has_feature(vexp, VU_F_PROTOCOL_FEATURES)) {
            q->enabled = true;
        }
    }
    update_log(vexp);
    vu_queues_release(vexp);
    return true;
}

static bool coroutine_fn set_owner(VuBlkExport *vexp, VuMessage *msg,
                                   Error **errp)
{
    return true;
}

static bool coroutine_fn reset_owner(VuBlkExport *vexp, VuMessage *msg,
                                     Error **errp)
{
    vu_queues_hold(vexp);
    for (unsigned i = 0; i < vexp->num_queues; i++) {
        vexp->queues[i].enabled = false;
    }
    vu_queues_release(vexp);
    return true;
}

static bool coroutine_fn get_protocol_features(VuBlkExport *vexp, VuMessage *msg,
                                               Error **errp)
{
    vu_message_answer_u64(msg, protocol_features());
    return true;
}

static bool coroutine_fn set_protocol_features(VuBlkExport *vexp, VuMessage *msg,
                                               Error **errp)
{
    if (msg->u64 & ~protocol_features()) {
        error_setg(errp, "protocol features %#" PRIx64 ": there are some that "
                   "were not offered", msg->u64);
        return false;
    }
    vexp->protocol = msg->u64;
    return true;
}

static bool coroutine_fn get_queue_num(VuBlkExport *vexp, VuMessage *msg,
                                       Error **errp)
{
    vu_message_answer_u64(msg, vexp->num_queues);
    return true;
}

static bool coroutine_fn get_max_mem_slots(VuBlkExport *vexp, VuMessage *msg,
                                           Error **errp)
{
    vu_message_answer_u64(msg, VU_MEM_SLOTS);
    return true;
}

/*
 * A map with new memory, that of @info in @msg.  In a postcopy migration @msg goes
 * back with where that is mapped.
 */
static void coroutine_fn bring_map(VuBlkExport *vexp, VuMap *map, VuMessage *msg,
                                   VuRegionInfo *info, unsigned n)
{
    if (vu_postcopy_listens(vexp)) {
        vu_postcopy_hold(vexp);
        for (unsigned i = 0; i < n; i++) {
            vu_map_locate(map, &info[i]);
        }
        msg->replied = true;
    }
    replace_map(vexp, map);
}

static bool coroutine_fn set_mem_table(VuBlkExport *vexp, VuMessage *msg,
                                       Error **errp)
{
    VuRegionTable *table = &msg->table;
    VuMap *map;

    if (table->n > VU_TABLE_REGIONS || table->n != msg->n_fds ||
        msg->header.size < offsetof(VuRegionTable, region[table->n])) {
        error_setg(errp, "a table of %u memory regions, of %u bytes, with %u file "
                   "descriptors", table->n, msg->header.size, msg->n_fds);
        return false;
    }
    map = vu_map_new(vexp, table->region, msg->fds, table->n, vexp->map->log,
                     errp);
    if (map) {
        bring_map(vexp, map, msg, table->region, table->n);
    }
    return map;
}

static bool coroutine_fn add_mem_reg(VuBlkExport *vexp, VuMessage *msg,
                                     Error **errp)
{
    VuMap *map = vu_map_add(vexp, vexp->map, &msg->single.region, msg->fds[0],
                            errp);

    if (map) {
        bring_map(vexp, map, msg, &msg->single.region, 1);
    }
    return map;
}

static bool coroutine_fn rem_mem_reg(VuBlkExport *vexp, VuMessage *msg,
                                     Error **errp)
{
    VuMap *map = vu_map_remove(vexp->map, &msg->single.region, errp);

    if (map) {
        replace_map(vexp, map);
    }
    return map;
}

static bool coroutine_fn set_log_base(VuBlkExport *vexp, VuMessage *msg,
                                      Error **errp)
{
    VuLog *log = vu_log_new(vexp, msg->fds[0], &msg->log, errp);

    if (!log) {
        return false;
    }
    vu_queues_hold(vexp);
    vu_log_unref(vexp->log);
    vexp->log = log;
    update_log(vexp);
    vu_queues_release(vexp);
    vu_message_answer_u64(msg, 0);
    return true;
}

static bool coroutine_fn set_log_fd(VuBlkExport *vexp, VuMessage *msg,
                                    Error **errp)
{
    vu_queues_hold(vexp);
    vu_close(&vexp->log_fd);
    vexp->log_fd = vu_message_take_eventfd(msg, errp);
    vu_queues_release(vexp);
    return vexp->log_fd >= 0;
}

static bool coroutine_fn set_backend_req_fd(VuBlkExport *vexp, VuMessage *msg,
                                            Error **errp)
{
    vu_close(&vexp->backend_fd);
    vexp->backend_fd = vu_message_take_fd(msg, 0);
    vu_device_tell(vexp);
    return true;
}

static bool check_config(const VuMessage *msg, Error **errp)
{
    const VuConfig *config = &msg->config;

    if (config->size > VU_CONFIG_MAX) {
        error_setg(errp, "%u bytes of configuration space", config->size);
        return false;
    }
    return true;
}

static bool coroutine_fn get_config(VuBlkExport *vexp, VuMessage *msg,
                                    Error **errp)
{
    if (!check_config(msg, errp)) {
        return false;
    }
    vu_device_get_config(vexp, &msg->config);
    msg->header.size = offsetof(VuConfig, data[msg->config.size]);
    msg->replied = true;
    return true;
}

static bool coroutine_fn set_config(VuBlkExport *vexp, VuMessage *msg,
                                    Error **errp)
{
    if (!check_config(msg, errp)) {
        return false;
    }
    if (msg->header.size < offsetof(VuConfig, data[msg->config.size])) {
        error_setg(errp, "a message of %u bytes with %u of configuration space",
                   msg->header.size, msg->config.size);
        return false;
    }
    return vu_device_set_config(vexp, &msg->config, errp);
}

/* Rings begin with it anew: what is in flight there is theirs. */
static void coroutine_fn replace_inflight(VuBlkExport *vexp,
                                          VuInflight *inflight)
{
    vu_queues_hold(vexp);
    for (unsigned i = 0; i < vexp->num_queues; i++) {
        vu_queue_renew(&vexp->queues[i]);
    }
    vu_inflight_free(vexp->inflight);
    vexp->inflight = inflight;
    vu_queues_release(vexp);
}

static bool coroutine_fn postcopy_advise(VuBlkExport *vexp, VuMessage *msg,
                                         Error **errp)
{
    msg->header.size = 0;
    vu_queues_hold(vexp);
    msg->replied = vu_postcopy_advise(vexp, &msg->reply_fd, errp);
    vu_queues_release(vexp);
    return msg->replied;
}

static bool coroutine_fn postcopy_listen(VuBlkExport *vexp, VuMessage *msg,
                                         Error **errp)
{
    bool ok;

    vu_queues_hold(vexp);
    ok = vu_postcopy_listen(vexp, errp);
    vu_queues_release(vexp);
    return ok;
}

/*
 * The front-end has got where its memory is, and waits for page faults: 0 in a
 * message of the kind that it sent last, or of kind 0 if it sent none.
 */
static bool is_postcopy_ack(VuBlkExport *vexp, const VuMessage *msg)
{
    uint32_t request = msg->header.request;

    return vu_postcopy_listens(vexp) && msg->n_fds == 0 &&
           msg->header.size == sizeof(msg->u64) && msg->u64 == 0 &&
           (request == 0 || request == VU_SET_MEM_TABLE ||
            request == VU_ADD_MEM_REG || request == VU_REM_MEM_REG);
}

static bool coroutine_fn postcopy_ack(VuBlkExport *vexp, VuMessage *msg,
                                      Error **errp)
{
    if (!vu_map_register(vexp, vexp->map, errp)) {
        return false;
    }
    if (vu_postcopy_holds(vexp)) {
        use_map(vexp);
        vu_postcopy_release(vexp);
    }
    return true;
}

static bool coroutine_fn postcopy_end(VuBlkExport *vexp, VuMessage *msg,
                                      Error **errp)
{
    if (!vexp->postcopy || vu_postcopy_holds(vexp)) {
        error_setg(errp, vexp->postcopy ? "new memory was not acknowledged" :
                   "no postcopy migration was advised");
        return false;
    }
    /* who waits for a page may do so since it came: the front-end wakes nobody more */
    vu_postcopy_come(vexp);
    vu_queues_hold(vexp);
    vu_postcopy_free(vexp);
    vu_queues_release(vexp);
    vu_message_answer_u64(msg, 0);
    return true;
}

static bool coroutine_fn get_inflight_fd(VuBlkExport *vexp, VuMessage *msg,
                                         Error **errp)
{
    VuInflight *inflight = vu_inflight_new(vexp, &msg->inflight, &msg->reply_fd,
                                           errp);

    if (!inflight) {
        return false;
    }
    replace_inflight(vexp, inflight);
    msg->replied = true;
    return true;
}

static bool coroutine_fn set_inflight_fd(VuBlkExport *vexp, VuMessage *msg,
                                         Error **errp)
{
    VuInflight *inflight = vu_inflight_map(vexp, &msg->inflight, msg->fds[0],
                                           errp);

    if (!inflight) {
        return false;
    }
    replace_inflight(vexp, inflight);
    return true;
}

typedef struct MessageType {
    const char *name;
    VuHandler *handle;
    uint32_t size;              /* bytes of the payload, at least */
    uint8_t min_fds;
    uint8_t max_fds;
} MessageType;

#define NUMBER  sizeof(VuVringNumber)
#define U64     sizeof(uint64_t)

static const MessageType types[] = {
    [VU_GET_FEATURES] = { "GET_FEATURES", get_features },
    [VU_SET_FEATURES] = { "SET_FEATURES", set_features, U64 },
    [VU_SET_OWNER] = { "SET_OWNER", set_owner },
    [VU_RESET_OWNER] = { "RESET_OWNER", reset_owner },
    [VU_SET_MEM_TABLE] = { "SET_MEM_TABLE", set_mem_table,
        offsetof(VuRegionTable, region), 0, VU_TABLE_REGIONS },
    [VU_SET_LOG_BASE] = { "SET_LOG_BASE", set_log_base, sizeof(VuLogInfo), 1, 1 },
    [VU_SET_LOG_FD] = { "SET_LOG_FD", set_log_fd, 0, 1, 1 },
    [VU_SET_VRING_NUM] = { "SET_VRING_NUM", vu_set_vring_num, NUMBER },
    [VU_SET_VRING_ADDR] = { "SET_VRING_ADDR", vu_set_vring_addr,
        sizeof(VuVringAddr) },
    [VU_SET_VRING_BASE] = { "SET_VRING_BASE", vu_set_vring_base, NUMBER },
    [VU_GET_VRING_BASE] = { "GET_VRING_BASE", vu_get_vring_base, NUMBER },
    [VU_SET_VRING_KICK] = { "SET_VRING_KICK", vu_set_vring_kick, U64, 0, 1 },
    [VU_SET_VRING_CALL] = { "SET_VRING_CALL", vu_set_vring_call, U64, 0, 1 },
    [VU_SET_VRING_ERR] = { "SET_VRING_ERR", vu_set_vring_err, U64, 0, 1 },
    [VU_GET_PROTOCOL_FEATURES] = { "GET_PROTOCOL_FEATURES",
        get_protocol_features },
    [VU_SET_PROTOCOL_FEATURES] = { "SET_PROTOCOL_FEATURES",
        set_protocol_features, U64 },
    [VU_GET_QUEUE_NUM] = { "GET_QUEUE_NUM", get_queue_num },
    [VU_SET_VRING_ENABLE] = { "SET_VRING_ENABLE", vu_set_vring_enable, NUMBER },
    [VU_SET_BACKEND_REQ_FD] = { "SET_BACKEND_REQ_FD", set_backend_req_fd,
        0, 1, 1 },
    [VU_GET_CONFIG] = { "GET_CONFIG", get_config, offsetof(VuConfig, data) },
    [VU_SET_CONFIG] = { "SET_CONFIG", set_config, offsetof(VuConfig, data) },
    [VU_POSTCOPY_ADVISE] = { "POSTCOPY_ADVISE", postcopy_advise },
    [VU_POSTCOPY_LISTEN] = { "POSTCOPY_LISTEN", postcopy_listen },
    [VU_POSTCOPY_END] = { "POSTCOPY_END", postcopy_end },
    [VU_GET_INFLIGHT_FD] = { "GET_INFLIGHT_FD", get_inflight_fd,
        offsetof(VuInflightInfo, padding) },
    [VU_SET_INFLIGHT_FD] = { "SET_INFLIGHT_FD", set_inflight_fd,
        offsetof(VuInflightInfo, padding), 1, 1 },
    [VU_GET_MAX_MEM_SLOTS] = { "GET_MAX_MEM_SLOTS", get_max_mem_slots },
    [VU_ADD_MEM_REG] = { "ADD_MEM_REG", add_mem_reg, sizeof(VuSingleRegion),
        1, 1 },
    /* one that it does not need is let pass, as the protocol asks */
    [VU_REM_MEM_REG] = { "REM_MEM_REG", rem_mem_reg, sizeof(VuSingleRegion),
        0, 1 },
};

static const MessageType ack_type = { "acknowledgement", postcopy_ack, U64 };

bool coroutine_fn vu_message_handle(VuBlkExport *vexp, VuMessage *msg,
                                    Error **errp)
{
    uint32_t request = msg->header.request;
    const MessageType *type = request < G_N_ELEMENTS(types) ? &types[request]
                                                            : NULL;
    ERRP_GUARD();

    if (is_postcopy_ack(vexp, msg)) {
        type = &ack_type;
    }
    if (!type || !type->handle) {
        error_setg(errp, "message %u is unknown", request);
        return false;
    }
    if (msg->header.size < type->size || msg->n_fds < type->min_fds ||
        msg->n_fds > type->max_fds) {
        error_setg(errp, "%s of %u bytes with %u file descriptors", type->name,
                   msg->header.size, msg->n_fds);
        return false;
    }
    if (!type->handle(vexp, msg, errp)) {
        error_prepend(errp, "%s: ", type->name);
        return false;
    }
    return true;
}
