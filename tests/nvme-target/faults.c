/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Faults that a test asks for: each waits for commands that match it.
 */
#include "target.h"
#include "qemu/cutils.h"
#include "qemu/timer.h"

#define ANY_QUEUE -1
#define ANY_IO_QUEUE -2

static const char *const kind_name[FAULT__MAX] = {
    [FAULT_HOLD] = "hold",
    [FAULT_DELAY] = "delay",
    [FAULT_STATUS] = "status",
    [FAULT_WRONG_CID] = "wrong-cid",
    [FAULT_DUPLICATE] = "duplicate",
    [FAULT_WRONG_PHASE] = "wrong-phase",
    [FAULT_BAD_SQ_HEAD] = "bad-sq-head",
    [FAULT_CFS] = "cfs",
    [FAULT_GONE] = "gone",
    [FAULT_DIE] = "die",
};

static bool parse_number(const char *text, unsigned *value)
{
    return qemu_strtoui(text, NULL, 0, value) == 0;
}

/* One NAME=VALUE; false if it is not known. */
static bool parse_property(Fault *f, char *word, unsigned *sct, unsigned *sc)
{
    char *value = strchr(word, '=');
    unsigned n = 0;
    bool is_number;

    if (!strcmp(word, "dnr")) {
        f->status |= NVME_DNR;
        return true;
    }
    if (!value) {
        return false;
    }
    *value++ = 0;
    is_number = parse_number(value, &n);
    if (!strcmp(word, "queue") && !strcmp(value, "io")) {
        f->queue = ANY_IO_QUEUE;
    } else if (!strcmp(word, "queue") && !strcmp(value, "admin")) {
        f->queue = 0;
    } else if (!strcmp(word, "count") && !strcmp(value, "all")) {
        f->count = UINT32_MAX;
    } else if (!is_number) {
        return false;
    } else if (!strcmp(word, "queue") && n <= TARGET_MAX_QUEUES) {
        f->queue = n;
    } else if (!strcmp(word, "opcode") && n <= UINT8_MAX) {
        f->opcode = n;
    } else if (!strcmp(word, "skip")) {
        f->skip = n;
    } else if (!strcmp(word, "count") && n) {
        f->count = n;
    } else if (!strcmp(word, "ms")) {
        f->ms = n;
    } else if (!strcmp(word, "sct") && n <= 7) {
        *sct = n;
    } else if (!strcmp(word, "sc") && n <= UINT8_MAX) {
        *sc = n;
    } else {
        return false;
    }
    return true;
}

/* @words: the kind and its properties, as after "fault" on the control socket. */
char *fault_add(Target *t, char **words)
{
    Fault f = { .queue = ANY_QUEUE, .opcode = -1, .count = 1 };
    unsigned sct = 0, sc = NVME_INTERNAL_DEV_ERROR;

    for (f.kind = 0; f.kind < FAULT__MAX; f.kind++) {
        if (!g_strcmp0(words[0], kind_name[f.kind])) {
            break;
        }
    }
    if (f.kind == FAULT__MAX) {
        return g_strdup_printf("no fault '%s'", words[0] ?: "");
    }
    while (*++words) {
        if (**words && !parse_property(&f, *words, &sct, &sc)) {
            return g_strdup_printf("fault takes queue=, opcode=, skip=, count=, ms=, "
                                   "sct=, sc= and dnr, not '%s'", *words);
        }
    }
    if (t->n_faults == TARGET_MAX_FAULTS) {
        return g_strdup("there are too many faults");
    }
    f.status |= sct << 8 | sc;
    t->faults[t->n_faults++] = f;
    return NULL;
}

/* The first that acts on @cmd, counted down; valid until the next call. */
const Fault *fault_find(Target *t, const Sq *sq, const NvmeCmd *cmd)
{
    static Fault found;
    unsigned i;

    for (i = 0; i < t->n_faults; i++) {
        Fault *f = &t->faults[i];

        if ((f->queue >= 0 && f->queue != sq->id) ||
            (f->queue == ANY_IO_QUEUE && !sq->id) ||
            (f->opcode >= 0 && f->opcode != cmd->opcode)) {
            continue;
        }
        if (f->skip) {
            f->skip--;
            continue;
        }
        found = *f;
        if (f->count != UINT32_MAX && !--f->count) {
            t->n_faults--;
            memmove(f, f + 1, (t->n_faults - i) * sizeof(*f));
        }
        return &found;
    }
    return NULL;
}

/* Those that execute the command and get its completion wrong. */
static void apply_to_completion(Target *t, FaultKind kind, Sq *sq,
                                const NvmeCmd *cmd)
{
    Cq *cq = sq->cq;
    uint32_t result = 0;
    uint16_t status = command_execute(t, sq, cmd, &result);
    uint16_t cid = cmd->cid, head = sq->head;
    bool phase = cq->phase;
    Pending *p;

    if (status == NVME_NO_COMPLETE) {
        return;
    }
    switch (kind) {
    case FAULT_WRONG_CID:
        cid ^= 0x5a5a;
        p = pending_add(t, sq, cmd, 0);
        if (p) {
            p->executed = true;
        }
        break;
    case FAULT_DUPLICATE:
        if (cq_room(t, cq, 2) > 1) {
            queue_complete(t, sq, cid, status, result);
            phase = cq->phase;
        }
        break;
    case FAULT_WRONG_PHASE:
        phase = !phase;
        break;
    default:
        head = sq->size + 7;
        break;
    }
    cq_post(cq, result, sq->id, head, cid, status, phase);
}

void fault_apply(Target *t, const Fault *fault, Sq *sq, const NvmeCmd *cmd)
{
    switch (fault->kind) {
    case FAULT_HOLD:
        pending_add(t, sq, cmd, 0);
        break;
    case FAULT_DELAY:
        pending_add(t, sq, cmd, clock_ns() + (int64_t)fault->ms * SCALE_MS);
        break;
    case FAULT_STATUS:
        log_error(t, sq, cmd, fault->status);
        queue_complete(t, sq, cmd->cid, fault->status, 0);
        break;
    case FAULT_CFS:
        controller_fail(t);
        break;
    case FAULT_GONE:
        controller_set_gone(t, true);
        break;
    case FAULT_DIE:
        _exit(3);
    default:
        apply_to_completion(t, fault->kind, sq, cmd);
        break;
    }
}
