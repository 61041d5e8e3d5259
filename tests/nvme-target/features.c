/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Set Features and Get Features: Base 5.27, NVM 4.1.3.
 */
#include "target.h"

#define AEC_SUPPORTED (0x1fu | NVME_OAES_NS_ATTR)

void features_reset(Target *t)
{
    t->arbitration = t->power_state = 0;
    t->temperature_threshold = 343;
    t->write_cache = t->vwc;
    t->aec = 0;
    t->allocated = t->max_queues;
    t->queues_set = false;
}

static bool has_io_queues(Target *t)
{
    unsigned id;

    for (id = 1; id <= TARGET_MAX_QUEUES; id++) {
        if (t->sq[id] || t->cq[id]) {
            return true;
        }
    }
    return false;
}

/* Number of Queues, Base 5.27.1.5: both 0's based */
static uint16_t set_queues(Target *t, uint32_t value, uint32_t *result)
{
    unsigned sqs = value & 0xffff, cqs = value >> 16;

    if (sqs == 0xffff || cqs == 0xffff) {
        driver_error(t, ERROR_FIELD, "number of queues: 0x%x", value);
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    if (t->queues_set || has_io_queues(t)) {
        driver_error(t, ERROR_QUEUE, "number of queues set again or too late");
        return NVME_CMD_SEQ_ERROR | NVME_DNR;
    }
    t->queues_set = true;
    t->allocated = MIN(MAX(sqs, cqs) + 1, t->max_queues);
    *result = (t->allocated - 1) * 0x10001u;
    return NVME_SUCCESS;
}

uint16_t features_set(Target *t, const NvmeCmd *cmd, uint32_t *result)
{
    uint32_t value = cmd->cdw11;

    if (NVME_SETFEAT_SAVE(cmd->cdw10)) {
        return NVME_FID_NOT_SAVEABLE | NVME_DNR;
    }
    switch (NVME_GETSETFEAT_FID(cmd->cdw10)) {
    case NVME_ARBITRATION:
        t->arbitration = value;
        return NVME_SUCCESS;
    case NVME_POWER_MANAGEMENT:
        if (value & 0x1f) {
            return NVME_INVALID_FIELD | NVME_DNR;
        }
        return NVME_SUCCESS;
    case NVME_TEMPERATURE_THRESHOLD:
        t->temperature_threshold = value & 0xffff;
        return NVME_SUCCESS;
    case NVME_VOLATILE_WRITE_CACHE:
        if (!t->vwc) {
            return NVME_INVALID_FIELD | NVME_DNR;
        }
        t->write_cache = value & 1;
        return NVME_SUCCESS;
    case NVME_NUMBER_OF_QUEUES:
        return set_queues(t, value, result);
    case NVME_ASYNCHRONOUS_EVENT_CONF:
        t->aec = value & AEC_SUPPORTED;
        return NVME_SUCCESS;
    default:
        return NVME_INVALID_FIELD | NVME_DNR;
    }
}

uint16_t features_get(Target *t, const NvmeCmd *cmd, uint32_t *result)
{
    if (NVME_GETFEAT_SELECT(cmd->cdw10) != NVME_GETFEAT_SELECT_CURRENT) {
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    switch (NVME_GETSETFEAT_FID(cmd->cdw10)) {
    case NVME_ARBITRATION:
        *result = t->arbitration;
        return NVME_SUCCESS;
    case NVME_POWER_MANAGEMENT:
        *result = 0;
        return NVME_SUCCESS;
    case NVME_TEMPERATURE_THRESHOLD:
        *result = t->temperature_threshold;
        return NVME_SUCCESS;
    case NVME_VOLATILE_WRITE_CACHE:
        if (!t->vwc) {
            return NVME_INVALID_FIELD | NVME_DNR;
        }
        *result = t->write_cache;
        return NVME_SUCCESS;
    case NVME_NUMBER_OF_QUEUES:
        *result = (t->allocated - 1) * 0x10001u;
        return NVME_SUCCESS;
    case NVME_ASYNCHRONOUS_EVENT_CONF:
        *result = t->aec;
        return NVME_SUCCESS;
    default:
        return NVME_INVALID_FIELD | NVME_DNR;
    }
}
