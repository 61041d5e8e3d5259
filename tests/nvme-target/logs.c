/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Get Log Page: Base 5.16.
 */
#include "target.h"

/* A failed command, Base 5.16.1.2; the newest is at n_errors_logged - 1. */
void log_error(Target *t, const Sq *sq, const NvmeCmd *cmd, uint16_t status)
{
    unsigned slot = t->n_errors_logged++ % ARRAY_SIZE(t->errors_logged);

    t->errors_logged[slot] = (NvmeErrorLog) {
        .error_count = t->n_errors_logged,
        .sqid = sq->id,
        .cid = cmd->cid,
        .status_field = status << 1,
        .param_error_location = UINT16_MAX,
        .lba = sq->id ? cmd->cdw10 | (uint64_t)cmd->cdw11 << 32 : 0,
        .nsid = cmd->nsid,
    };
    t->smart.number_of_error_log_entries[0] = t->n_errors_logged;
}

static void fill_errors(Target *t, uint8_t *page)
{
    NvmeErrorLog *entry = (NvmeErrorLog *)page;
    uint64_t n = MIN(t->n_errors_logged, ARRAY_SIZE(t->errors_logged)), i;

    for (i = 0; i < n; i++) {
        entry[i] = t->errors_logged[(t->n_errors_logged - 1 - i) %
                                    ARRAY_SIZE(t->errors_logged)];
    }
}

static void fill_firmware(uint8_t *page)
{
    NvmeFwSlotInfoLog log = { .afi = 1 };

    memset(log.frs1, ' ', sizeof(log.frs1));
    log.frs1[0] = '1';
    memcpy(page, &log, sizeof(log));
}

/* Changed namespaces; reading clears it. */
static void fill_changed(Target *t, uint8_t *page, bool clear)
{
    uint32_t *list = (uint32_t *)page;
    unsigned i;

    for (i = 0; i < t->n_ns; i++) {
        if (t->changed[i]) {
            *list++ = i + 1;
            t->changed[i] = !clear;
        }
    }
}

uint16_t log_page_get(Target *t, const NvmeCmd *cmd)
{
    union {
        uint8_t bytes[4096];
        uint64_t aligned;
    } page = { };
    uint64_t bytes = ((cmd->cdw10 >> 16 | (uint64_t)(cmd->cdw11 & 0xffff) << 16) +
                      1) * 4;
    uint64_t offset = cmd->cdw12 | (uint64_t)cmd->cdw13 << 32;
    unsigned id = cmd->cdw10 & 0xff;
    bool retain = cmd->cdw10 & 1 << 15;
    uint16_t status;

    if (bytes > sizeof(page.bytes) || offset % 4 ||
        offset > sizeof(page.bytes) - bytes) {
        return NVME_INVALID_FIELD | NVME_DNR;
    }
    status = data_map_prps(t, cmd, bytes, true);
    if (status) {
        return status;
    }
    switch (id) {
    case NVME_LOG_ERROR_INFO:
        fill_errors(t, page.bytes);
        break;
    case NVME_LOG_SMART_INFO:
        memcpy(page.bytes, &t->smart, sizeof(t->smart));
        break;
    case NVME_LOG_FW_SLOT_INFO:
        fill_firmware(page.bytes);
        break;
    case NVME_LOG_CHANGED_NSLIST:
        fill_changed(t, page.bytes, !retain);
        break;
    default:
        return NVME_INVALID_LOG_ID | NVME_DNR;
    }
    data_to_client(t, page.bytes + offset, bytes);
    if (!retain) {
        event_log_read(t, id);
    }
    return NVME_SUCCESS;
}

/* By the control socket; false: there is no such field, or it holds less. */
bool smart_set(Target *t, const char *field, uint64_t value)
{
    NvmeSmartLog *smart = &t->smart;

    if (!strcmp(field, "critical-warning") && value <= UINT8_MAX) {
        smart->critical_warning = value;
    } else if (!strcmp(field, "temperature") && value <= UINT16_MAX) {
        smart->temperature = value;
    } else if (!strcmp(field, "available-spare") && value <= UINT8_MAX) {
        smart->available_spare = value;
    } else if (!strcmp(field, "available-spare-threshold") && value <= UINT8_MAX) {
        smart->available_spare_threshold = value;
    } else if (!strcmp(field, "percentage-used") && value <= UINT8_MAX) {
        smart->percentage_used = value;
    } else if (!strcmp(field, "media-errors")) {
        smart->media_errors[0] = value;
    } else {
        return false;
    }
    if (smart->critical_warning & t->aec) {
        event_raise(t, NVME_AER_TYPE_SMART, NVME_AER_INFO_SMART_RELIABILITY,
                    NVME_LOG_SMART_INFO);
    }
    return true;
}
