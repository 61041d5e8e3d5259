/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a command's status means to the block layer.
 * NVM Express Base Specification 2.0, 3.3.3.2.1 (status field), figures 94 to 98.
 */

#include "qemu/osdep.h"
#include "queue.h"

/* The status code with its type, without the bits for retries. */
#define STATUS_MASK 0x7ff

int nvme_status_to_errno(uint16_t status)
{
    switch (status & STATUS_MASK) {
    case NVME_SUCCESS:
        return 0;
    case NVME_INVALID_OPCODE:
        return -ENOTSUP;
    case NVME_INVALID_FIELD:
    case NVME_INVALID_PRP_OFFSET:
    case NVME_CMD_SIZE_LIMIT:
        return -EINVAL;
    case NVME_INVALID_NSID:
    case NVME_NS_NOT_ATTACHED:
        return -ENODEV;
    case NVME_CAP_EXCEEDED:
        return -ENOSPC;
    case NVME_ACCESS_DENIED:
    case NVME_NS_RESV_CONFLICT:
        return -EACCES;
    case NVME_WRITE_TO_RO:
        return -EROFS;
    case NVME_CMD_ABORT_REQ:
        return -ETIMEDOUT;
    default:
        return -EIO;
    }
}

/*
 * DNR is the controller's word that it is of no use.  Else these say that the
 * cause is of the moment; a medium's error is not tried again: the controller has.
 * Nobody else sends aborts to this driver's queues, but one that comes late may hit
 * the next command of the same identifier.
 */
bool nvme_status_is_transient(uint16_t status)
{
    if (status & NVME_DNR) {
        return false;
    }
    switch (status & STATUS_MASK) {
    case NVME_DATA_TRAS_ERROR:
    case NVME_INTERNAL_DEV_ERROR:
    case NVME_COMMAND_INTERRUPTED:
    case NVME_NS_NOT_READY:
    case NVME_FORMAT_IN_PROGRESS:
    case NVME_CMD_ABORT_REQ:
        return true;
    default:
        return false;
    }
}
