/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "info block-queues".
 */

#include "qemu/osdep.h"
#include "block/block-hmp-cmds.h"
#include "monitor/monitor.h"
#include "qapi/qapi-commands-block-queues.h"

/* "disk0 (node0), export e0" */
static void print_name(Monitor *mon, const BlockQueues *info)
{
    const char *names[] = { info->device, info->qdev, info->export };
    const char *kinds[] = { "", "", "export " };
    const char *comma = "";
    int i;

    for (i = 0; i < ARRAY_SIZE(names); i++) {
        if (names[i]) {
            monitor_printf(mon, "%s%s%s", comma, kinds[i], names[i]);
            comma = ", ";
        }
    }
    if (info->node_name) {
        monitor_printf(mon, " (%s)", info->node_name);
    }
    monitor_printf(mon, "\n");
}

static void print_path(Monitor *mon, const BlockQueues *info)
{
    BlockFastPathReasonList *reason;

    monitor_printf(mon, "    Fast path:        %s", info->fast_path ? "on" : "off");
    for (reason = info->reasons; reason; reason = reason->next) {
        monitor_printf(mon, "%s%s", reason == info->reasons ? ", because: " : ", ",
                       BlockFastPathReason_str(reason->value));
    }
    monitor_printf(mon, "\n    In flight:        %" PRId64 "\n", info->in_flight);
}

static void print_requests(Monitor *mon, const char *kind,
                           const BlockQueueRequests *requests)
{
    if (!requests->fast_requests && !requests->ordinary_requests) {
        return;
    }
    monitor_printf(mon, "        %-14s%" PRIu64 " fast (%" PRIu64 " bytes), %"
                   PRIu64 " ordinary (%" PRIu64 " bytes)\n", kind,
                   requests->fast_requests, requests->fast_bytes,
                   requests->ordinary_requests, requests->ordinary_bytes);
}

static void print_queue(Monitor *mon, const BlockQueue *queue)
{
    monitor_printf(mon, "    Queue %" PRIu32 ", %s:\n", queue->home,
                   queue->iothread ?: "no IOThread");
    print_requests(mon, "read", queue->read);
    print_requests(mon, "write", queue->write);
    print_requests(mon, "flush", queue->flush);
    print_requests(mon, "discard", queue->discard);
    print_requests(mon, "write-zeroes", queue->write_zeroes);
}

static void print_virtqueues(Monitor *mon, const BlockVirtqueueList *list)
{
    if (!list) {
        return;
    }
    monitor_printf(mon, "    Virtqueues:       ");
    for (; list; list = list->next) {
        monitor_printf(mon, "%" PRIu16 " %s%s", list->value->queue,
                       list->value->iothread ?: "no IOThread",
                       list->next ? ", " : "\n");
    }
}

void hmp_info_block_queues(Monitor *mon, const QDict *qdict)
{
    g_autoptr(BlockQueuesList) list = qmp_query_block_queues(NULL);
    BlockQueuesList *info;
    BlockQueueList *queue;

    for (info = list; info; info = info->next) {
        print_name(mon, info->value);
        print_path(mon, info->value);
        print_virtqueues(mon, info->value->virtqueues);
        for (queue = info->value->queues; queue; queue = queue->next) {
            print_queue(mon, queue->value);
        }
    }
}
