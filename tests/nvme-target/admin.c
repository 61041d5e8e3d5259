/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The admin commands: Base 5.
 */
#include "target.h"

/* Abort, Base 5.1: it is never refused, but may come too late. */
static uint16_t abort_command(Target *t, const NvmeCmd *cmd, uint32_t *result)
{
    uint16_t sqid = cmd->cdw10, cid = cmd->cdw10 >> 16;

    *result = 1;
    if (t->ignore_abort) {
        return NVME_SUCCESS;
    }
    if (pending_abort(t, sqid, cid, NVME_CMD_ABORT_REQ) ||
        (!sqid && event_abort(t, cid))) {
        *result = 0;
    }
    return NVME_SUCCESS;
}

uint16_t admin_execute(Target *t, Sq *sq, const NvmeCmd *cmd, uint32_t *result)
{
    if (cmd->flags) {
        driver_error(t, ERROR_FIELD, "admin command 0x%02x with SGL or fused: "
                     "flags 0x%02x", cmd->opcode, cmd->flags);
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    switch (cmd->opcode) {
    case NVME_ADM_CMD_DELETE_SQ:
        return sq_delete(t, cmd);
    case NVME_ADM_CMD_CREATE_SQ:
        return sq_create(t, cmd);
    case NVME_ADM_CMD_GET_LOG_PAGE:
        return log_page_get(t, cmd);
    case NVME_ADM_CMD_DELETE_CQ:
        return cq_delete(t, cmd);
    case NVME_ADM_CMD_CREATE_CQ:
        return cq_create(t, cmd);
    case NVME_ADM_CMD_IDENTIFY:
        return identify(t, cmd);
    case NVME_ADM_CMD_ABORT:
        return abort_command(t, cmd, result);
    case NVME_ADM_CMD_SET_FEATURES:
        return features_set(t, cmd, result);
    case NVME_ADM_CMD_GET_FEATURES:
        return features_get(t, cmd, result);
    case NVME_ADM_CMD_ASYNC_EV_REQ:
        return event_request(t, cmd->cid);
    case NVME_ADM_CMD_DBBUF_CONFIG:
        if (t->shadow_doorbells) {
            return queues_set_shadow(t, cmd);
        }
        /* fall through */
    default:
        return NVME_INVALID_OPCODE | NVME_DNR;
    }
}
