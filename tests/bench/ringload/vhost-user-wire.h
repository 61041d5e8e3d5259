/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The messages of the vhost-user protocol ("Vhost-user Protocol", section
 * "Message Specification"), front-end side: what ringload uses of them. One
 * connection, used by the main thread. All of these die where the server
 * answers wrong, late or not at all.
 */
#ifndef RINGLOAD_VHOST_USER_WIRE_H
#define RINGLOAD_VHOST_USER_WIRE_H

#include "util.h"

/* "Front-end message types" */
enum vu_request {
    GET_FEATURES = 1,
    SET_FEATURES = 2,
    SET_OWNER = 3,
    SET_MEM_TABLE = 5,
    SET_VRING_NUM = 8,
    SET_VRING_ADDR = 9,
    SET_VRING_BASE = 10,
    GET_VRING_BASE = 11,
    SET_VRING_KICK = 12,
    SET_VRING_CALL = 13,
    GET_PROTOCOL_FEATURES = 15,
    SET_PROTOCOL_FEATURES = 16,
    GET_QUEUE_NUM = 17,
    SET_VRING_ENABLE = 18,
    GET_CONFIG = 24,
};

/*
 * struct virtio_blk_config up to and with the fields of write zeroes: some
 * servers refuse to be asked for more, none for this.
 */
#define CONFIG_SIZE 60

struct vring_state {
    uint32_t index;
    uint32_t num;
};

struct vring_address {
    uint32_t index;
    uint32_t flags;
    uint64_t descriptor;
    uint64_t used;
    uint64_t available;
    uint64_t log;
};

struct memory_region {
    uint64_t guest_address;
    uint64_t size;
    uint64_t user_address;
    uint64_t mmap_offset;
};

struct memory_table {
    uint32_t regions;
    uint32_t padding;
    struct memory_region region;
};

struct config_space {
    uint32_t offset;
    uint32_t size;
    uint32_t flags;
    uint8_t payload[CONFIG_SIZE];
};

struct message {
    uint32_t request;
    uint32_t flags;
    uint32_t size;
    union {
        uint64_t u64;
        struct vring_state state;
        struct vring_address address;
        struct memory_table memory;
        struct config_space config;
    } __attribute__((packed)) payload;
} __attribute__((packed));

/* Connects; an answer may take @timeout seconds. The socket. */
int vu_connect(const char *path, double timeout);

/* After PROTOCOL_REPLY_ACK was negotiated: vu_tell() waits for the ack. */
void vu_use_reply_ack(bool use);

/* Sends @m, which has no reply of its own, with the descriptor @fd or -1. */
void vu_tell(struct message *m, int fd);
void vu_tell_u64(enum vu_request request, uint64_t value, int fd);
void vu_tell_state(enum vu_request request, uint32_t index, uint32_t num);

/* Sends @m and receives the reply in its place. */
void vu_ask(struct message *m);
uint64_t vu_ask_u64(enum vu_request request);

#endif
