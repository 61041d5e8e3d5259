/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Numbers and layouts of the vhost-user protocol, as far as a back-end of a block
 * device needs them: docs/interop/vhost-user.rst.  All are in native byte order.
 */

#ifndef BLOCK_EXPORT_VHOST_USER_PROTOCOL_H
#define BLOCK_EXPORT_VHOST_USER_PROTOCOL_H

enum {
    VU_GET_FEATURES             = 1,
    VU_SET_FEATURES             = 2,
    VU_SET_OWNER                = 3,
    VU_RESET_OWNER              = 4,
    VU_SET_MEM_TABLE            = 5,
    VU_SET_LOG_BASE             = 6,
    VU_SET_LOG_FD               = 7,
    VU_SET_VRING_NUM            = 8,
    VU_SET_VRING_ADDR           = 9,
    VU_SET_VRING_BASE           = 10,
    VU_GET_VRING_BASE           = 11,
    VU_SET_VRING_KICK           = 12,
    VU_SET_VRING_CALL           = 13,
    VU_SET_VRING_ERR            = 14,
    VU_GET_PROTOCOL_FEATURES    = 15,
    VU_SET_PROTOCOL_FEATURES    = 16,
    VU_GET_QUEUE_NUM            = 17,
    VU_SET_VRING_ENABLE         = 18,
    VU_SET_BACKEND_REQ_FD       = 21,
    VU_GET_CONFIG               = 24,
    VU_SET_CONFIG               = 25,
    VU_POSTCOPY_ADVISE          = 28,
    VU_POSTCOPY_LISTEN          = 29,
    VU_POSTCOPY_END             = 30,
    VU_GET_INFLIGHT_FD          = 31,
    VU_SET_INFLIGHT_FD          = 32,
    VU_GET_MAX_MEM_SLOTS        = 36,
    VU_ADD_MEM_REG              = 37,
    VU_REM_MEM_REG              = 38,
};

/* of the back-end, on the channel of VU_SET_BACKEND_REQ_FD */
#define VU_BACKEND_CONFIG_CHANGE 2

/* bits of a message's flags */
#define VU_VERSION_MASK         3u
#define VU_VERSION              1u
#define VU_REPLY                (1u << 2)
#define VU_NEED_REPLY           (1u << 3)

/* bits of the features, beside those of the device */
#define VU_F_LOG_ALL            26
#define VU_F_PROTOCOL_FEATURES  30

/* bits of the protocol features */
#define VU_PROTOCOL_MQ                  0
#define VU_PROTOCOL_LOG_SHMFD           1
#define VU_PROTOCOL_REPLY_ACK           3
#define VU_PROTOCOL_BACKEND_REQ         5
#define VU_PROTOCOL_PAGEFAULT           8
#define VU_PROTOCOL_CONFIG              9
#define VU_PROTOCOL_INFLIGHT_SHMFD      12
#define VU_PROTOCOL_MEM_SLOTS           15

/* of the number that comes with a file descriptor of a virtqueue */
#define VU_FD_QUEUE_MASK        0xffu
#define VU_FD_NONE              (1u << 8)

#define VU_LOG_PAGE             4096u
#define VU_TABLE_REGIONS        8
#define VU_MAX_FDS              8
#define VU_CONFIG_MAX           256

/* of VU_SET_CONFIG: a write of the driver, not of a migration */
#define VU_CONFIG_FROM_DRIVER   0

typedef struct VuHeader {
    uint32_t request;
    uint32_t flags;
    uint32_t size;
} VuHeader;

typedef struct VuVringNumber {
    uint32_t index;
    uint32_t num;
} VuVringNumber;

typedef struct VuVringAddr {
    uint32_t index;
    uint32_t flags;
    uint64_t desc;              /* user addresses */
    uint64_t used;
    uint64_t avail;
    uint64_t log;
} VuVringAddr;

typedef struct VuRegionInfo {
    uint64_t gpa;
    uint64_t size;
    uint64_t user;
    uint64_t offset;            /* in the file */
} VuRegionInfo;

typedef struct VuRegionTable {
    uint32_t n;
    uint32_t padding;
    VuRegionInfo region[VU_TABLE_REGIONS];
} VuRegionTable;

typedef struct VuSingleRegion {
    uint64_t padding;
    VuRegionInfo region;
} VuSingleRegion;

typedef struct VuLogInfo {
    uint64_t size;
    uint64_t offset;
} VuLogInfo;

typedef struct VuConfig {
    uint32_t offset;
    uint32_t size;
    uint32_t flags;
    uint8_t data[VU_CONFIG_MAX];
} VuConfig;

typedef struct VuInflightInfo {
    uint64_t size;
    uint64_t offset;
    uint16_t num_queues;
    uint16_t queue_size;
    uint32_t padding;           /* not in the specification, but in all programs */
} VuInflightInfo;

QEMU_BUILD_BUG_MSG(sizeof(VuHeader) != 12 || sizeof(VuVringNumber) != 8 ||
                   sizeof(VuVringAddr) != 40 || sizeof(VuRegionInfo) != 32 ||
                   sizeof(VuRegionTable) != 264 ||
                   sizeof(VuSingleRegion) != 40 || sizeof(VuLogInfo) != 16 ||
                   sizeof(VuConfig) != 268 || sizeof(VuInflightInfo) != 24,
                   "the layouts of the vhost-user protocol");

#endif /* BLOCK_EXPORT_VHOST_USER_PROTOCOL_H */
