/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transport: the front-end of a vhost-user-blk server. The order of messages
 * and the states of rings are those of the vhost-user protocol specification
 * ("Vhost-user Protocol", section "Ring states"); vhost-user-wire.h has the
 * messages.
 */
#include "transport.h"
#include "options.h"
#include "queue.h"
#include "vhost-user-wire.h"
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* "Feature bits": VHOST_USER_F_PROTOCOL_FEATURES */
#define F_PROTOCOL_FEATURES 30

/* "Protocol features" */
#define PROTOCOL_MQ        0
#define PROTOCOL_REPLY_ACK 3
#define PROTOCOL_CONFIG    9

/* What servers take; the protocol has no way to ask. */
#define MAX_RING 1024

/* The main thread's; kick() uses none of it. */
static struct {
    int fd;
    uint64_t features;
    int memory_fd;
    struct shared_memory memory;
} server = { .fd = -1 };

/* "Backend configuration space access" */
static void ask_config(struct device *dev)
{
    struct message m = {
        .request = GET_CONFIG,
        .size = sizeof(m.payload.config),
        .payload.config.size = CONFIG_SIZE,
    };
    struct config_space config;

    vu_ask(&m);
    if (m.size != sizeof(m.payload.config)) {
        die("the vhost-user server refuses GET_CONFIG of %d bytes",
            CONFIG_SIZE);
    }
    config = m.payload.config;
    device_read_config(dev, config.payload, sizeof(config.payload));
}

static void vu_open(const struct options *o, struct device *dev)
{
    struct message owner = { .request = SET_OWNER };
    uint64_t offered, protocol;
    unsigned queues = 1;

    server.fd = vu_connect(o->socket, o->timeout);
    offered = vu_ask_u64(GET_FEATURES);
    vu_tell(&owner, -1);
    if (!(offered & 1ull << F_PROTOCOL_FEATURES)) {
        die("the vhost-user server has no protocol features");
    }
    protocol = vu_ask_u64(GET_PROTOCOL_FEATURES);
    if (!(protocol & 1ull << PROTOCOL_CONFIG)) {
        die("the vhost-user server does not offer its configuration");
    }
    protocol &= 1ull << PROTOCOL_MQ | 1ull << PROTOCOL_REPLY_ACK |
                1ull << PROTOCOL_CONFIG;
    vu_tell_u64(SET_PROTOCOL_FEATURES, protocol, -1);
    vu_use_reply_ack(protocol & 1ull << PROTOCOL_REPLY_ACK);
    if (protocol & 1ull << PROTOCOL_MQ) {
        queues = vu_ask_u64(GET_QUEUE_NUM);
    }

    dev->features = device_choose_features(o, offered);
    dev->max_ring = MAX_RING;
    ask_config(dev);
    if (dev->max_queues > queues) {
        dev->max_queues = queues;
    }
    server.features = dev->features;
    snprintf(dev->description, sizeof(dev->description),
             "vhost-user-blk at %s, %" PRIu64 " bytes, %u queues", o->socket,
             dev->sectors * 512, dev->max_queues);
}

/* One region; 2 MiB pieces, as servers map memory in huge pages. */
static void vu_memory(size_t size, struct shared_memory *m)
{
    struct message msg = {
        .request = SET_MEM_TABLE,
        .size = sizeof(msg.payload.memory),
    };
    int fd = memfd_create("ringload", MFD_CLOEXEC);

    size = ROUND_UP_TO(size, 2 << 20);
    if (fd < 0 || ftruncate(fd, size)) {
        die("no shared memory of %zu bytes: %s", size, strerror(errno));
    }
    m->base = mmap(NULL, size, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_POPULATE, fd, 0);
    if (m->base == MAP_FAILED) {
        die("no shared memory of %zu bytes: %s", size, strerror(errno));
    }
    m->size = size;
    m->device_base = 1ull << 32;
    server.memory_fd = fd;
    server.memory = *m;

    vu_tell_u64(SET_FEATURES,
                server.features | 1ull << F_PROTOCOL_FEATURES, -1);
    msg.payload.memory = (struct memory_table) {
        .regions = 1,
        .region = {
            .guest_address = m->device_base,
            .size = size,
            .user_address = (uintptr_t)m->base,
        },
    };
    vu_tell(&msg, fd);
}

/* "Ring states": initialised, started by the kick descriptor, enabled. */
static void vu_start(struct queue *q)
{
    struct message m = {
        .request = SET_VRING_ADDR,
        .size = sizeof(m.payload.address),
        .payload.address = {
            .index = q->index,
            .descriptor = (uintptr_t)q->ring.desc,
            .used = (uintptr_t)q->ring.used,
            .available = (uintptr_t)q->ring.avail,
        },
    };

    vu_tell_state(SET_VRING_NUM, q->index, q->ring.size);
    vu_tell_state(SET_VRING_BASE, q->index, 0);
    vu_tell(&m, -1);
    vu_tell_u64(SET_VRING_CALL, q->index, q->call_fd);
    vu_tell_u64(SET_VRING_KICK, q->index, q->kick_fd);
    vu_tell_state(SET_VRING_ENABLE, q->index, 1);
}

/* Without acks: an answer shows that all before it has been taken. */
static void vu_run(void)
{
    vu_ask_u64(GET_FEATURES);
}

static void vu_kick(struct queue *q)
{
    uint64_t one = 1;

    /* fails only where 2^64 - 2 kicks wait, and those will do */
    if (write(q->kick_fd, &one, sizeof(one)) < 0) {
        return;
    }
}

static bool vu_supervise(int timeout_ms)
{
    struct pollfd pfd = { .fd = server.fd, .events = POLLIN | POLLRDHUP };

    if (poll(&pfd, 1, timeout_ms) > 0) {
        complain("the vhost-user server %s",
                 pfd.revents & (POLLRDHUP | POLLHUP | POLLERR)
                 ? "closed the connection" : "sent what nobody asked for");
        return false;
    }
    return true;
}

static void vu_stop(struct queue *q)
{
    struct message m = {
        .request = GET_VRING_BASE,
        .size = sizeof(m.payload.state),
        .payload.state = { .index = q->index },
    };

    vu_ask(&m);
    if (m.size == sizeof(m.payload.state) &&
        m.payload.state.num != q->ring.avail_published) {
        complain("queue %u: the server stopped at avail index %u, "
                 "all up to %u had been completed", q->index,
                 m.payload.state.num, q->ring.avail_published);
        atomic_put(&q->control->exit_status, EXIT_DATA);
    }
}

static void vu_close(void)
{
    close(server.fd);
    munmap(server.memory.base, server.memory.size);
    close(server.memory_fd);
}

const struct transport vhost_user_transport = {
    .name = "vhost-user",
    .has_interrupts = true,
    .open = vu_open,
    .memory = vu_memory,
    .start = vu_start,
    .run = vu_run,
    .kick = vu_kick,
    .supervise = vu_supervise,
    .stop = vu_stop,
    .close = vu_close,
};
