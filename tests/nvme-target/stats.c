/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What has happened so far, as JSON: the answer to "stats".
 */
#include "target.h"

static void print_commands(GString *out, const uint64_t *commands)
{
    const char *comma = "";
    unsigned i;

    g_string_append_c(out, '{');
    for (i = 0; i < 256; i++) {
        if (commands[i]) {
            g_string_append_printf(out, "%s\"0x%02x\": %" PRIu64, comma, i,
                                   commands[i]);
            comma = ", ";
        }
    }
    g_string_append_c(out, '}');
}

/* Those of deleted queues and of the ones that there are. */
static void print_all_commands(Target *t, GString *out, bool admin)
{
    uint64_t sum[256];
    unsigned id, i;

    memcpy(sum, admin ? t->commands_admin : t->commands_io, sizeof(sum));
    for (id = 0; id <= TARGET_MAX_QUEUES; id++) {
        for (i = 0; i < 256 && t->sq[id] && !id == admin; i++) {
            sum[i] += t->sq[id]->commands[i];
        }
    }
    print_commands(out, sum);
}

static void print_errors(Target *t, GString *out)
{
    uint64_t total = 0;
    DriverError i;

    for (i = 0; i < ERROR__MAX; i++) {
        total += t->errors[i];
    }
    g_string_append_printf(out, "{\"total\": %" PRIu64, total);
    for (i = 0; i < ERROR__MAX; i++) {
        if (t->errors[i]) {
            g_string_append_printf(out, ", \"%s\": %" PRIu64, driver_error_name(i),
                                   t->errors[i]);
        }
    }
    g_string_append_c(out, '}');
}

static void print_queues(Target *t, GString *out)
{
    const char *comma = "";
    unsigned id;

    g_string_append(out, "\"sq\": [");
    for (id = 0; id <= TARGET_MAX_QUEUES; id++) {
        const Sq *sq = t->sq[id];

        if (sq) {
            g_string_append_printf(out, "%s{\"id\": %u, \"size\": %u, \"cq\": %u, "
                                   "\"head\": %u, \"doorbells\": %" PRIu64
                                   ", \"commands\": ", comma, id, sq->size,
                                   sq->cq->id, sq->head, sq->doorbells);
            print_commands(out, sq->commands);
            g_string_append_c(out, '}');
            comma = ", ";
        }
    }
    g_string_append(out, "], \"cq\": [");
    comma = "";
    for (id = 0; id <= TARGET_MAX_QUEUES; id++) {
        const Cq *cq = t->cq[id];

        if (cq) {
            g_string_append_printf(out, "%s{\"id\": %u, \"size\": %u, \"ien\": %s, "
                                   "\"vector\": %u, \"posted\": %" PRIu64
                                   ", \"interrupts\": %" PRIu64 "}", comma, id,
                                   cq->size, cq->ien ? "true" : "false", cq->vector,
                                   cq->posted, cq->interrupts);
            comma = ", ";
        }
    }
    g_string_append_c(out, ']');
}

static void print_namespaces(Target *t, GString *out)
{
    unsigned nsid;
    const char *comma = "";

    for (nsid = 1; nsid <= t->n_ns; nsid++) {
        const Namespace *ns = namespace_get(t, nsid);

        if (ns) {
            g_string_append_printf(out, "%s{\"id\": %u, \"blocks\": %" PRIu64
                                   ", \"block-size\": %u}", comma, nsid, ns->blocks,
                                   1u << ns->shift);
            comma = ", ";
        }
    }
}

void stats_print(Target *t, GString *out)
{
    g_string_append_printf(out, "{\"running\": %s, \"csts\": %u, \"resets\": %" PRIu64
                           ", \"enables\": %" PRIu64 ", \"interrupts\": %" PRIu64
                           ", \"interrupts-lost\": %" PRIu64
                           ", \"doorbell-messages\": %" PRIu64
                           ", \"dma-regions\": %u, \"pending\": %u, "
                           "\"event-requests\": %u, \"shadow-doorbells\": %s, "
                           "\"driver-errors\": ",
                           t->running ? "true" : "false", t->reg.csts, t->resets,
                           t->enables, t->interrupts, t->interrupts_lost,
                           t->doorbell_messages, t->n_regions, t->n_pending,
                           t->n_aer, t->shadow ? "true" : "false");
    print_errors(t, out);
    g_string_append(out, ", \"admin\": ");
    print_all_commands(t, out, true);
    g_string_append(out, ", \"io\": ");
    print_all_commands(t, out, false);
    g_string_append_printf(out, ", \"fua\": %" PRIu64 ", ", t->fua);
    print_queues(t, out);
    g_string_append(out, ", \"namespaces\": [");
    print_namespaces(t, out);
    g_string_append(out, "]}");
}
