/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asynchronous events (Base 5.2): one of a type at a time, until the driver has
 * read the log page that goes with it.
 */
#include "target.h"

#define EVENT_QUEUED (1u << 31)         /* a bit that the result never has */

void events_reset(Target *t)
{
    t->n_aer = 0;
    memset(t->event_masked, 0, sizeof(t->event_masked));
    memset(t->event_queued, 0, sizeof(t->event_queued));
}

/* What is due goes out as far as there are requests and room for completions. */
void events_flush(Target *t)
{
    unsigned type;

    for (type = 0; type < ARRAY_SIZE(t->event_queued); type++) {
        uint32_t event = t->event_queued[type];
        uint16_t cid;

        if (!event || t->event_masked[type]) {
            continue;
        }
        if (!t->running || !t->n_aer || !cq_room(t, t->cq[0], 1)) {
            return;
        }
        cid = t->aer_cid[0];
        memmove(t->aer_cid, t->aer_cid + 1, --t->n_aer * sizeof(t->aer_cid[0]));
        t->event_queued[type] = 0;
        t->event_masked[type] = true;
        t->sq[0]->seen[cid] = 0;
        queue_complete(t, t->sq[0], cid, NVME_SUCCESS, event & ~EVENT_QUEUED);
    }
}

/* Goes out by events_flush(), which the main loop calls. */
void event_raise(Target *t, unsigned type, unsigned info, unsigned page)
{
    t->event_queued[type] = type | info << 8 | page << 16 | EVENT_QUEUED;
}

void event_log_read(Target *t, unsigned page)
{
    switch (page) {
    case NVME_LOG_ERROR_INFO:
        t->event_masked[NVME_AER_TYPE_ERROR] = false;
        break;
    case NVME_LOG_SMART_INFO:
        t->event_masked[NVME_AER_TYPE_SMART] = false;
        break;
    case NVME_LOG_CHANGED_NSLIST:
        t->event_masked[NVME_AER_TYPE_NOTICE] = false;
        break;
    }
}

void event_namespace_changed(Target *t, unsigned nsid)
{
    t->changed[nsid - 1] = true;
    if (NVME_AEC_NS_ATTR(t->aec)) {
        event_raise(t, NVME_AER_TYPE_NOTICE, NVME_AER_INFO_NOTICE_NS_ATTR_CHANGED,
                    NVME_LOG_CHANGED_NSLIST);
    }
}

uint16_t event_request(Target *t, uint16_t cid)
{
    if (t->n_aer == ARRAY_SIZE(t->aer_cid)) {
        driver_error(t, ERROR_FIELD, "more than %u event requests", TARGET_AERL + 1);
        return NVME_AER_LIMIT_EXCEEDED | NVME_DNR;
    }
    t->aer_cid[t->n_aer++] = cid;
    t->sq[0]->seen[cid] = CID_PENDING;
    return NVME_NO_COMPLETE;
}

bool event_abort(Target *t, uint16_t cid)
{
    unsigned i;

    for (i = 0; i < t->n_aer; i++) {
        if (t->aer_cid[i] == cid && cq_room(t, t->cq[0], 2) > 1) {
            memmove(t->aer_cid + i, t->aer_cid + i + 1,
                    (--t->n_aer - i) * sizeof(t->aer_cid[0]));
            t->sq[0]->seen[cid] = 0;
            queue_complete(t, t->sq[0], cid, NVME_CMD_ABORT_REQ, 0);
            return true;
        }
    }
    return false;
}
