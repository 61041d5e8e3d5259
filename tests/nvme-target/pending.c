/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands that a fault holds back: until they are released, aborted, or their
 * time has come.
 */
#include "target.h"
#include "qemu/timer.h"

#define MAX_PENDING 65536

/* @due: in ns, or 0 for "when it is released".  NULL if there are too many. */
Pending *pending_add(Target *t, Sq *sq, const NvmeCmd *cmd, int64_t due)
{
    Pending *p;

    if (t->n_pending == MAX_PENDING) {
        return NULL;
    }
    p = g_new0(Pending, 1);
    *p = (Pending) { .sq = sq, .cmd = *cmd, .due = due };
    sq->seen[cmd->cid] = CID_PENDING;
    QTAILQ_INSERT_TAIL(&t->pending, p, next);
    t->n_pending++;
    return p;
}

static void forget(Target *t, Pending *p)
{
    QTAILQ_REMOVE(&t->pending, p, next);
    t->n_pending--;
    p->sq->seen[p->cmd.cid] = 0;
    g_free(p);
}

/* False if there is no room for the completion: nothing happened. */
static bool answer(Target *t, Pending *p, uint16_t status)
{
    if (!cq_room(t, p->sq->cq, 1)) {
        return false;
    }
    queue_complete(t, p->sq, p->cmd.cid, status, 0);
    forget(t, p);
    return true;
}

static bool execute(Target *t, Pending *p)
{
    NvmeCmd cmd = p->cmd;
    Sq *sq = p->sq;
    uint32_t result = 0;
    uint16_t status;

    /* deletion of a queue and the like post completions of their own */
    if (cq_room(t, sq->cq, 1) < 1) {
        return false;
    }
    if (p->executed) {
        return answer(t, p, NVME_SUCCESS);
    }
    forget(t, p);
    status = command_execute(t, sq, &cmd, &result);
    if (status != NVME_NO_COMPLETE) {
        queue_complete(t, sq, cmd.cid, status, result);
    }
    return true;
}

bool pending_abort(Target *t, uint16_t sqid, uint16_t cid, uint16_t status)
{
    Pending *p;

    QTAILQ_FOREACH(p, &t->pending, next) {
        if (p->sq->id == sqid && p->cmd.cid == cid) {
            /* the Abort command itself is to be answered too */
            return (sqid || cq_room(t, p->sq->cq, 2) > 1) && answer(t, p, status);
        }
    }
    return false;
}

/* Before a queue is deleted, Base 5.7; those without room are lost. */
void pending_abort_queue(Target *t, Sq *sq)
{
    Pending *p, *next;

    QTAILQ_FOREACH_SAFE(p, &t->pending, next, next) {
        if (p->sq == sq && !answer(t, p, NVME_CMD_ABORT_SQ_DEL)) {
            forget(t, p);
        }
    }
}

/* How many of the held ones there was room for, oldest first. */
unsigned pending_release(Target *t, unsigned most)
{
    unsigned n = 0;
    Pending *p;

    while (n < most && t->running) {
        QTAILQ_FOREACH(p, &t->pending, next) {
            if (!p->due) {
                break;
            }
        }
        if (!p || !execute(t, p)) {
            break;
        }
        n++;
    }
    return n;
}

int64_t pending_run(Target *t)
{
    int64_t now = clock_ns(), soonest = INT64_MAX;
    Pending *p;

again:
    QTAILQ_FOREACH(p, &t->pending, next) {
        if (p->due && p->due <= now && t->running) {
            if (execute(t, p)) {
                goto again;     /* the list may be another one now */
            }
            soonest = MIN(soonest, now + SCALE_MS);
        } else if (p->due) {
            soonest = MIN(soonest, p->due);
        }
    }
    return soonest;
}

void pending_drop(Target *t)
{
    Pending *p, *next;

    QTAILQ_FOREACH_SAFE(p, &t->pending, next, next) {
        forget(t, p);
    }
}
